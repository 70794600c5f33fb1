//! `# runner: ignore[rule]`: findings that an author has looked at and does not want to see.
//!
//! In a line it is for that line; alone in a line, also inside a block, for the next line; before the first line with
//! anything else, for the file. Rules go by name or id.

use crate::diagnostic::{Code, Diagnostic, nearest};
use crate::source::{SourceText, Span};

const MARK: &str = "runner:";

/// One name in one comment.
struct Ignore {
    /// The name or id as written.
    span: Span,
    code: Option<Code>,
    /// Lines it is for, from 1; `None` for the whole file.
    line: Option<usize>,
    used: bool,
}

/// Takes away what comments ask for, and says which of them ask for nothing.
pub fn apply(source: &SourceText, diagnostics: &mut Vec<Diagnostic>) {
    let mut found = Vec::new();
    let mut ignores = read(source, &mut found);
    if ignores.is_empty() && found.is_empty() {
        return;
    }
    diagnostics.retain(|diagnostic| {
        let line = source.line(diagnostic.primary.span.start());
        let ignore = ignores.iter_mut().find(|ignore| {
            ignore.code == Some(diagnostic.code) && ignore.line.is_none_or(|own| own == line)
        });
        // What the file cannot be used with stays, whoever does not want to see it.
        match ignore {
            Some(ignore) if !diagnostic.is_error() => {
                ignore.used = true;
                false
            }
            _ => true,
        }
    });
    let unused = ignores
        .iter()
        .filter(|ignore| ignore.code.is_some() && !ignore.used);
    diagnostics.extend(unused.map(|ignore| {
        let name = source.slice(ignore.span);
        let message = format!("nothing here is ignored by `{name}`");
        Diagnostic::new(Code::UnusedIgnore, ignore.span, message).with_help("remove it")
    }));
    diagnostics.extend(found);
}

fn read(source: &SourceText, problems: &mut Vec<Diagnostic>) -> Vec<Ignore> {
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
                (_, true) => Some(index + 2),
                (_, false) => Some(index + 1),
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
                    line: place,
                    used: false,
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

fn misspelt(line: &str) -> Option<(usize, usize)> {
    let (start, _) = comment(line)?;
    Some((start, line.trim_end().len()))
}

fn unknown(name: &str, span: Span) -> Diagnostic {
    let names = Code::ALL.iter().flat_map(|code| [code.name(), code.id()]);
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
        apply(&source, &mut diagnostics);
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
            left("a: one # runner: disable\n"),
            [
                "unknown-directive # runner: disable",
                "unknown-key one",
                "wrong-type one"
            ]
        );
    }
}
