//! `# runner: ignore[rule]`: findings that an author has looked at and does not want to see.
//!
//! In a line it is for that line; alone in a line, also inside a block, for the next line that is no comment; before the
//! first line with anything else, for the file. A line that a command begins in stands for the whole command. Rules go by
//! name or id.

use std::ops::RangeInclusive;

use crate::diagnostic::{Code, Diagnostic, nearest};
use crate::source::{SourceText, Span};

const MARK: &str = "runner:";

/// One name in one comment.
struct Ignore {
    /// The name or id as written.
    span: Span,
    code: Option<Code>,
    /// Lines it is for, from 1; `None` for the whole file.
    lines: Option<RangeInclusive<usize>>,
    used: bool,
    /// It names something that no comment turns off.
    error: bool,
}

/// Takes away what comments ask for, and says which of them ask for nothing.
///
/// `items` are the places of commands.
pub fn apply(source: &SourceText, items: &[Span], diagnostics: &mut Vec<Diagnostic>) {
    let mut found = Vec::new();
    let mut ignores = read(source, items, &mut found);
    if ignores.is_empty() && found.is_empty() {
        return;
    }
    diagnostics.retain(|diagnostic| {
        let line = source.line(diagnostic.primary.span.start());
        let ignore = ignores.iter_mut().find(|ignore| {
            let lines = ignore.lines.as_ref();
            ignore.code == Some(diagnostic.code) && lines.is_none_or(|own| own.contains(&line))
        });
        // What the file cannot be used with stays, whoever does not want to see it.
        match ignore {
            Some(ignore) if diagnostic.is_error() => {
                ignore.error = true;
                true
            }
            Some(ignore) => {
                ignore.used = true;
                false
            }
            None => true,
        }
    });
    let unused = ignores
        .iter()
        .filter(|ignore| ignore.code.is_some() && !ignore.used);
    diagnostics.extend(unused.map(|ignore| {
        let name = source.slice(ignore.span);
        let message = if ignore.error {
            format!("`{name}` is an error here, which no comment turns off")
        } else {
            format!("nothing here is ignored by `{name}`")
        };
        Diagnostic::new(Code::UnusedIgnore, ignore.span, message).with_help("remove it")
    }));
    diagnostics.extend(found);
}

fn read(source: &SourceText, items: &[Span], problems: &mut Vec<Diagnostic>) -> Vec<Ignore> {
    let mut ignores = Vec::new();
    let mut at_top = true;
    let mut start = 0;
    for (index, line) in source.text().split_inclusive('\n').enumerate() {
        let offset = start;
        start += line.len();
        let alone = line.trim_start().starts_with('#');
        let empty = line.trim().is_empty();
        if let Some((names, open)) = directive(line) {
            let place = match (at_top, alone) {
                (true, true) => None,
                (_, true) => Some(covered(source, items, after_comments(source, index + 2))),
                (_, false) => Some(covered(source, items, index + 1)),
            };
            let mut at = offset + open;
            for written in names.split(',') {
                let name = written.trim();
                let lead = written.len() - written.trim_start().len();
                let span = Span::new(at + lead, at + lead + name.len());
                at += written.len() + 1;
                let code = Code::find(name);
                if code.is_none() {
                    problems.push(unknown(name, span));
                }
                ignores.push(Ignore {
                    span,
                    code,
                    lines: place.clone(),
                    used: false,
                    error: false,
                });
            }
        } else if let Some(at) = misspelt(line) {
            let span = Span::new(offset + at.0, offset + at.1);
            let message = "this comment is for the runner, which does not understand it";
            let diagnostic = Diagnostic::new(Code::UnknownDirective, span, message)
                .with_help("write `# runner: ignore[name-of-a-rule]`");
            problems.push(diagnostic);
        }
        at_top &= alone || empty;
    }
    ignores
}

/// The first line from this one on that is no comment.
fn after_comments(source: &SourceText, line: usize) -> usize {
    let mut line = line;
    while source.line_text(line).trim_start().starts_with('#') {
        line += 1;
    }
    line
}

/// A line, or all lines of the command that begins in it.
fn covered(source: &SourceText, items: &[Span], line: usize) -> RangeInclusive<usize> {
    let item = items.iter().find(|item| source.line(item.start()) == line);
    let last = item.map_or(line, |item| source.line(item.end()));
    line..=last.max(line)
}

/// The names in a line's comment, and where they begin.
fn directive(line: &str) -> Option<(&str, usize)> {
    let (_, rest) = comment(line)?;
    let inner = rest.trim_start().strip_prefix("ignore[")?;
    let names = inner.split(']').next().filter(|_| inner.contains(']'))?;
    Some((names, names.as_ptr() as usize - line.as_ptr() as usize))
}

/// A comment that is addressed to this program: where it begins, and what it says.
fn comment(line: &str) -> Option<(usize, &str)> {
    let mut from = 0;
    while let Some(at) = line[from..].find('#').map(|at| from + at) {
        let starts = at == 0 || line[..at].ends_with([' ', '\t']);
        let said = line[at + 1..].trim_start();
        if let Some(rest) = said.strip_prefix(MARK).filter(|_| starts) {
            return Some((at, rest));
        }
        from = at + 1;
    }
    None
}

/// A comment that was very likely meant for this program, in words that it does not know.
fn misspelt(line: &str) -> Option<(usize, usize)> {
    const MEANT: &[&str] = &["ignore", "disable", "disable-line", "noqa", "skip", "allow"];
    let (start, rest) = comment(line)?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let word = rest.trim_start().split(|c| !is_word(c)).next()?;
    nearest(word, MEANT.iter().copied()).filter(|_| !word.is_empty())?;
    Some((start, line.trim_end().len()))
}

fn unknown(name: &str, span: Span) -> Diagnostic {
    let names = Code::ALL.iter().flat_map(|code| [code.name(), code.id()]);
    if name.is_empty() {
        return Diagnostic::new(Code::UnknownDirective, span, "no rule is named here");
    }
    let mut diagnostic = Diagnostic::new(
        Code::UnknownDirective,
        span,
        format!("there is no rule `{name}`"),
    );
    diagnostic.help = nearest(name, names).map(|known| format!("did you mean `{known}`?"));
    diagnostic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str) -> Vec<String> {
        let source = SourceText::new("x", text);
        let at = |needle: &str| {
            let start = text.find(needle).expect("the text has it");
            Span::new(start, start + needle.len())
        };
        let mut diagnostics = vec![
            Diagnostic::new(Code::UnknownKey, at("one"), "found"),
            Diagnostic::new(Code::WrongType, at("one"), "an error"),
        ];
        let item = text.find("- >").map(|at| Span::new(at + 2, text.len()));
        apply(&source, item.as_slice(), &mut diagnostics);
        let mut shown: Vec<String> = diagnostics
            .iter()
            .map(|diagnostic| {
                format!(
                    "{} {}",
                    diagnostic.code.name(),
                    source.slice(diagnostic.primary.span)
                )
            })
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn findings_are_ignored_in_their_line_the_next_or_the_file() {
        for text in [
            "a: one # runner: ignore[unknown-key]\n",
            "v: 1\n# runner: ignore[BS103]\na: one\n",
            "v: |\n  # runner: ignore[unused-ignore, unknown-key]\n  one\n",
            "# runner: ignore[unknown-key]\n\nv: 1\n\na: one\n",
            "v: 1\n# runner: ignore[BS103]\n# because of that\na: one\n",
            "v: 1\na:\n# runner: ignore[BS103]\n- >\n  two\n  one\n",
            "v: 1\na:\n- > # runner: ignore[BS103]\n  two\n  one\n",
        ] {
            let shown: Vec<String> = left(text)
                .into_iter()
                .filter(|shown| !shown.starts_with("unused-ignore unused"))
                .collect();
            assert_eq!(shown, ["wrong-type one"], "{text}");
        }
    }

    #[test]
    fn a_comment_that_does_nothing_is_said() {
        assert_eq!(
            left("v: 1\na: one\n# runner: ignore[unknown-key]\n"),
            [
                "unknown-key one",
                "unused-ignore unknown-key",
                "wrong-type one"
            ]
        );
        assert_eq!(
            left("a: one # runner: ignore[unknown-keys]\n"),
            [
                "unknown-directive unknown-keys",
                "unknown-key one",
                "wrong-type one"
            ]
        );
        assert_eq!(
            left("v: 1\na: one # runner: the program that does it\n"),
            ["unknown-key one", "wrong-type one"]
        );
        assert_eq!(
            left("a: one # runner: disable\n"),
            [
                "unknown-directive # runner: disable",
                "unknown-key one",
                "wrong-type one"
            ]
        );
    }
}
