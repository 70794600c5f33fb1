//! Commands that need no grammar: words as they are or in quotes, with blanks between them. Most commands are like that,
//! and for those the grammar takes many times as long.

use std::ops::Range;

use super::shell::{Place, SimpleCommand, Word};

/// Kinds of the grammar's nodes that plain commands have.
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
];

/// First words that begin something else than a program with its words, or give variables their values.
const SPECIAL: &[&str] = &[
    "case", "coproc", "declare", "do", "done", "elif", "else", "esac", "export", "fi", "for",
    "function", "if", "in", "local", "read", "readonly", "select", "then", "time", "typeset",
    "unset", "unsetenv", "until", "while",
];

/// The commands of a text, one a line, if all of it is plain.
pub(super) fn commands(text: &str) -> Option<Vec<SimpleCommand>> {
    let mut commands = Vec::new();
    let mut at = 0;
    for line in text.split('\n') {
        let words = words(text, at..at + line.len())?;
        at += line.len() + 1;
        let (Some(first), Some(last)) = (words.first(), words.last()) else {
            continue;
        };
        if !begins(first) {
            return None;
        }
        commands.push(SimpleCommand {
            range: first.range.start..last.range.end,
            words,
            environment: Vec::new(),
            place: Place::default(),
        });
    }
    (!commands.is_empty()).then_some(commands)
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

/// The words of a line.
fn words(text: &str, line: Range<usize>) -> Option<Vec<Word>> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let mut at = line.start;
    while at < line.end {
        if bytes[at] == b' ' {
            at += 1;
            continue;
        }
        let rest = &bytes[at..line.end];
        let (length, quotes) = match rest[0] {
            quote @ (b'\'' | b'"') => (quoted(rest, quote)?, 1),
            _ => (bare(rest)?, 0),
        };
        let range = at..at + length;
        at = range.end;
        words.push(Word {
            written: text[range.clone()].to_owned(),
            text: text[range.start + quotes..range.end - quotes].to_owned(),
            literal: true,
            range,
        });
    }
    Some(words)
}

/// How long a word without quotes is, up to a blank.
fn bare(rest: &[u8]) -> Option<usize> {
    let length = rest.iter().position(|byte| *byte == b' ');
    let word = &rest[..length.unwrap_or(rest.len())];
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._/-:=@%+,".contains(byte);
    word.iter().all(plain).then_some(word.len())
}

/// How long a word in quotes is, if nothing in it means anything and a blank follows.
fn quoted(rest: &[u8], quote: u8) -> Option<usize> {
    let inside = rest[1..].iter().position(|byte| *byte == quote)?;
    let means_nothing = |byte: &u8| quote == b'\'' || !b"$`\\".contains(byte);
    let follows = rest.get(inside + 2).is_none_or(|byte| *byte == b' ');
    let plain = inside > 0 && rest[1..=inside].iter().all(means_nothing);
    (plain && follows).then_some(inside + 2)
}
