//! Commands that need no grammar: words as they are or in quotes, with blanks between them and variables in them. Most
//! commands are like that, and for those the grammar takes many times as long.

use std::ops::Range;

use super::shell::{Place, SimpleCommand, VariableUse, Word};

/// Kinds of the grammar's nodes that plain commands have; besides these they have an `expansion` for each `${NAME}`.
pub(super) const NODES: &[&str] = &[
    "program",
    "command",
    "command_name",
    "word",
    "number",
    "string",
    "string_content",
    "raw_string",
    "concatenation",
    "simple_expansion",
    "variable_name",
];

/// First words that begin something else than a program with its words, or give variables their values.
const SPECIAL: &[&str] = &[
    "case", "coproc", "declare", "do", "done", "elif", "else", "esac", "export", "fi", "for",
    "function", "if", "in", "local", "read", "readonly", "select", "then", "time", "typeset",
    "unset", "unsetenv", "until", "while",
];

/// What is in a plain text.
#[derive(Default)]
pub(super) struct Plain {
    /// The commands, one a line.
    pub(super) commands: Vec<SimpleCommand>,
    /// The variables in their words.
    pub(super) read: Vec<VariableUse>,
}

/// The commands of a text, if all of it is plain.
pub(super) fn read(text: &str) -> Option<Plain> {
    let mut plain = Plain::default();
    let mut at = 0;
    for line in text.split('\n') {
        let words = plain.words(text, at..at + line.len())?;
        at += line.len() + 1;
        let (Some(first), Some(last)) = (words.first(), words.last()) else {
            continue;
        };
        if !begins(first) {
            return None;
        }
        plain.commands.push(SimpleCommand {
            range: first.range.start..last.range.end,
            words,
            environment: Vec::new(),
            place: Place::default(),
        });
    }
    (!plain.commands.is_empty()).then_some(plain)
}

/// Whether this is surely the name of a program.
fn begins(word: &Word) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    let mut bytes = word.written.bytes();
    let first = bytes.next().unwrap_or_default();
    (first.is_ascii_alphabetic() || b"./".contains(&first))
        && bytes.all(plain)
        && !SPECIAL.contains(&word.written.as_str())
}

impl Plain {
    /// The words of a line.
    fn words(&mut self, text: &str, line: Range<usize>) -> Option<Vec<Word>> {
        let bytes = text.as_bytes();
        let mut words = Vec::new();
        let mut at = line.start;
        while at < line.end {
            if bytes[at] == b' ' {
                at += 1;
                continue;
            }
            let known = self.read.len();
            let (end, quotes) = match bytes[at] {
                b'\'' => (raw(&bytes[..line.end], at)?, 1),
                b'"' => (self.expanded(text, at + 1..line.end, true)? + 1, 1),
                _ => (self.expanded(text, at..line.end, false)?, 0),
            };
            if bytes[..line.end].get(end).is_some_and(|byte| *byte != b' ') {
                return None;
            }
            words.push(Word {
                range: at..end,
                written: text[at..end].to_owned(),
                text: text[at + quotes..end - quotes].to_owned(),
                literal: self.read.len() == known,
            });
            at = end;
        }
        Some(words)
    }

    /// Where a text with variables ends: at a blank, or at the quote that closes it.
    fn expanded(&mut self, text: &str, range: Range<usize>, quoted: bool) -> Option<usize> {
        let bytes = &text.as_bytes()[..range.end];
        let mut at = range.start;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' if quoted => {
                    // To the grammar blanks beside a variable may be a part of it, and blanks alone are odd.
                    let inside = &bytes[range.start..at];
                    let mixed = inside.contains(&b'$') && inside.contains(&b' ');
                    let blank = inside.trim_ascii().is_empty();
                    return (!blank && !mixed).then_some(at);
                }
                b'`' | b'\\' => return None,
                b'$' => {
                    let variable = variable(text, at..range.end)?;
                    // Behind these the grammar may end the word too early.
                    let odd = at > range.start && b"=}".contains(&bytes[at - 1]);
                    at = variable.range.end;
                    if odd && bytes.get(at).is_some_and(|next| !b" \"".contains(next)) {
                        return None;
                    }
                    self.read.push(variable);
                    continue;
                }
                b' ' if !quoted => break,
                // At the beginning of a word it may be an operator.
                b'=' if !quoted && at == range.start => return None,
                byte if !quoted && !is_bare(*byte) => return None,
                _ => {}
            }
            at += 1;
        }
        (!quoted).then_some(at)
    }
}

/// Whether a character stands for itself without quotes.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._/-:=@%+,".contains(&byte)
}

/// Where the word in single quotes that begins here ends.
fn raw(line: &[u8], start: usize) -> Option<usize> {
    let inside = line[start + 1..].iter().position(|byte| *byte == b'\'')?;
    (inside > 0).then_some(start + inside + 2)
}

/// `$NAME` or `${NAME}` at the beginning of this range.
fn variable(text: &str, range: Range<usize>) -> Option<VariableUse> {
    let rest = &text[range.start + 1..range.end];
    let (inner, braces) = match rest.strip_prefix('{') {
        Some(inner) => (inner, 2),
        None => (rest, 0),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = inner.bytes().take_while(is_name).count();
    let name = &inner[..length];
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let closed = braces == 0 || inner[length..].starts_with('}');
    (begins && closed).then(|| VariableUse {
        range: range.start..range.start + 1 + braces + length,
        name: name.to_owned(),
    })
}
