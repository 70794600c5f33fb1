//! Changes of a text that are certain to mend a finding and leave everything else as it is.
//!
//! Each function looks at the lines themselves and gives nothing where they are not as simple as they have to be: a fix
//! that is not certain is none.

use std::ops::Range;

use crate::diagnostic::Fix;
use crate::source::{SourceText, Span};

/// Lines end with one of these.
const BREAKS: [char; 2] = ['\n', '\r'];

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind(BREAKS).map_or(0, |found| found + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..]
        .find(BREAKS)
        .map_or(text.len(), |found| at + found)
}

/// How far the place is from the beginning of its line, if there are only blanks before it.
fn indentation(text: &str, at: usize) -> Option<usize> {
    let before = &text[line_start(text, at)..at];
    before
        .bytes()
        .all(|byte| byte == b' ')
        .then_some(before.len())
}

fn leading_blanks(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Every line that begins within the range, with its offset, without its line end.
fn lines(text: &str, range: Range<usize>) -> impl Iterator<Item = (usize, &str)> {
    let mut next = Some(range.start);
    std::iter::from_fn(move || {
        let start = next.filter(|start| *start < range.end)?;
        let end = line_end(text, start);
        let broken = if text[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        next = (end < text.len()).then_some(end + broken);
        Some((start, &text[start..end]))
    })
}

/// A scalar that stands alone at the end of its line: as an item of a block list, or behind a key.
struct Alone {
    /// The scalar, without a comment behind it.
    text: Span,
    /// The same with the comment.
    with_comment: Span,
    /// Where the item's dash or the key stands in its line.
    column: usize,
}

impl Alone {
    /// The scalar that begins at this place.
    fn find(source: &SourceText, start: usize) -> Option<Self> {
        let text = source.text();
        let prefix = &text[line_start(text, start)..start];
        let column = leading_blanks(prefix);
        let lead = prefix[column..].trim_end_matches(' ');
        let stands_alone =
            lead == "-" || (lead.ends_with(':') && !lead.contains(['[', '{', '"', '\'']));
        let end = line_end(text, start);
        let line = text[start..end].trim_end();
        if !stands_alone || line.is_empty() || goes_on(&text[end..], column) {
            return None;
        }
        let length = without_comment(line).len();
        Some(Self {
            text: Span::new(start, start + length),
            with_comment: Span::new(start, start + line.len()),
            column,
        })
    }

    /// The change that puts it into quotes, or makes it a block where it has quotes of both kinds.
    fn quote(&self, source: &SourceText) -> (Span, String) {
        let text = source.slice(self.text);
        if !text.contains('\'') {
            return (self.text, format!("'{text}'"));
        }
        if !text.contains(['"', '\\']) {
            return (self.text, format!("\"{text}\""));
        }
        let comment = &source.slice(self.with_comment)[text.len()..];
        let newline = if source.text()[self.with_comment.end()..]
            .trim_start_matches([' ', '\t'])
            .starts_with('\r')
        {
            "\r\n"
        } else {
            "\n"
        };
        let indentation = " ".repeat(self.column + 2);
        (
            self.with_comment,
            format!("|-{comment}{newline}{indentation}{text}"),
        )
    }
}

/// Whether what follows a line still belongs to the item or key in this column: its next line that is no comment is
/// indented deeper.
fn goes_on(rest: &str, column: usize) -> bool {
    let next = rest.split(BREAKS).find(|line| {
        let text = line.trim();
        !text.is_empty() && !text.starts_with('#')
    });
    next.is_some_and(|line| line.starts_with('\t') || leading_blanks(line) > column)
}

/// The line without the comment at its end. A `#` within quotes of the shell is no comment to whoever wrote it.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        match (quote, character) {
            (None, '#') if before == ' ' || before == '\t' => return line[..at].trim_end(),
            (None, '\'' | '"') if before != '\\' => quote = Some(character),
            (Some(open), _) if open == character && (open == '\'' || before != '\\') => {
                quote = None;
            }
            _ => {}
        }
        before = character;
    }
    line
}

/// Puts the command that begins at this place into quotes, as far as its line goes.
pub(super) fn quote_command(source: &SourceText, start: usize) -> Option<Fix> {
    let alone = Alone::find(source, start).filter(|alone| !alone.text.is_empty())?;
    Some(Fix::new("put the command in quotes", [alone.quote(source)]))
}

/// The same for a command that begins with the shell's `[` or `[[`, if it is one and not a list in brackets.
pub(super) fn quote_test(source: &SourceText, at: usize) -> Option<Fix> {
    let text = source.text();
    let line = &text[line_start(text, at)..line_end(text, at)];
    let rest = line.trim_start().strip_prefix('-')?.trim_start();
    let start = line_start(text, at) + line.len() - rest.len();
    let is_test = rest.starts_with("[ ") || rest.starts_with("[[ ");
    (is_test && rest.contains(" ]") && !rest.contains(',')).then(|| quote_command(source, start))?
}

/// A pattern that begins with `*` and has no quotes, and the change that gives it some. In a list the patterns right below
/// it that lack them too are part of the change.
pub(super) fn quote_glob(source: &SourceText, start: usize) -> Option<(Span, Option<Fix>)> {
    let text = source.text();
    if !begins_as_glob(&text[start..line_end(text, start)]) {
        return None;
    }
    let Some(alone) = Alone::find(source, start) else {
        let span = word(text, start);
        return Some((span, quote_in_brackets(source, span)));
    };
    let mut edits = vec![alone.quote(source)];
    let prefix = &text[line_start(text, start)..start];
    let below = (line_end(text, start) + 1).min(text.len());
    for (at, line) in lines(text, below..text.len()) {
        match line.strip_prefix(prefix).filter(|_| prefix.trim() == "-") {
            Some(item) if begins_as_glob(item) => {
                let other = Alone::find(source, at + prefix.len());
                edits.extend(other.map(|other| other.quote(source)));
            }
            Some(_) => {}
            None => break,
        }
    }
    let plain = |text: &str| !text.contains(": ") && !text.ends_with(':');
    let certain = plain(source.slice(alone.text));
    Some((
        alone.text,
        certain.then(|| Fix::new("put the pattern in quotes", edits)),
    ))
}

/// Whether this begins with a `*` that no alias begins with: the name of an alias is letters, digits, `-` and `_`.
fn begins_as_glob(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('*') else {
        return false;
    };
    let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let behind = rest.trim_start_matches(name);
    behind.len() == rest.len()
        || !(behind.is_empty() || behind.starts_with([' ', '\t', ',', ']', '}']))
}

/// From this place to the next blank, comma or closing bracket.
fn word(text: &str, start: usize) -> Span {
    let length = text[start..].find(|c: char| c.is_whitespace() || matches!(c, ',' | ']'));
    Span::new(start, length.map_or(text.len(), |length| start + length))
}

fn quote_in_brackets(source: &SourceText, span: Span) -> Option<Fix> {
    let text = source.slice(span);
    let behind = source.text()[span.end()..].trim_start_matches(' ');
    let before = source.text()[..span.start()].trim_end_matches(' ');
    let simple = !text.contains(['\'', '[', '{', '}']) && before.ends_with(['[', ',']);
    (simple && behind.starts_with([',', ']']))
        .then(|| Fix::new("put the pattern in quotes", [(span, format!("'{text}'"))]))
}

/// Moves the lines from the one in which `start` is to the one before `end` to the left, so that `start` comes to stand in
/// `column`.
pub(super) fn dedent(
    source: &SourceText,
    range: Range<usize>,
    column: usize,
) -> Option<Vec<(Span, String)>> {
    let text = source.text();
    let width = indentation(text, range.start)?;
    let less = width.checked_sub(column).filter(|less| *less > 0)?;
    let mut edits = Vec::new();
    for (at, line) in lines(text, line_start(text, range.start)..range.end) {
        let blanks = leading_blanks(line);
        let rest = &line[blanks..];
        if blanks >= less || rest.is_empty() {
            edits.push((Span::new(at, at + blanks.min(less)), String::new()));
        } else if !rest.starts_with('#') {
            return None;
        }
    }
    Some(edits)
}

/// Moves the lines of a range to the right, so that its beginning comes to stand in `column`.
pub(super) fn indent(
    source: &SourceText,
    range: Range<usize>,
    column: usize,
) -> Option<Vec<(Span, String)>> {
    let text = source.text();
    let more = column
        .checked_sub(indentation(text, range.start)?)
        .filter(|more| *more > 0)?;
    let written = lines(text, line_start(text, range.start)..range.end)
        .filter(|(_, line)| !line.trim().is_empty());
    Some(
        written
            .map(|(at, _)| (Span::at(at), " ".repeat(more)))
            .collect(),
    )
}

/// Column of a place, from 0, if only blanks are before it.
pub(super) fn column(source: &SourceText, at: usize) -> Option<usize> {
    indentation(source.text(), at)
}

/// Gives a key to a block list that stands directly below a section.
pub(super) fn key_above(source: &SourceText, list: Span, section: Span, key: &str) -> Option<Fix> {
    let text = source.text();
    let dash = text[list.start()..].starts_with("- ");
    let own = indentation(text, list.start())?;
    let above = indentation(text, section.start())?;
    let newline = if text[line_end(text, list.start())..].starts_with("\r\n") {
        "\r\n"
    } else {
        "\n"
    };
    let inserted = format!("{key}:{newline}{}", " ".repeat(own));
    (dash && own > above).then(|| {
        Fix::new(
            format!("put the list under `{key}`"),
            [(Span::at(list.start()), inserted)],
        )
    })
}

/// Takes the dashes away from a block list of single pairs, which was meant as one mapping. `pairs` are its items.
pub(super) fn without_dashes(source: &SourceText, pairs: &[Span], section: Span) -> Option<Fix> {
    let text = source.text();
    let above = indentation(text, section.start())?;
    let edits = pairs.iter().map(|pair| {
        let dash = text[..pair.start()]
            .trim_end_matches(' ')
            .strip_suffix('-')?
            .len();
        let one_line = !source.slice(*pair).contains(BREAKS) && indentation(text, dash)? > above;
        one_line.then(|| (Span::new(dash, pair.start()), String::new()))
    });
    let edits: Option<Vec<_>> = edits.collect();
    Some(Fix::new("make it a mapping", edits?))
}

/// A single value instead of a list that holds only it.
pub(super) fn only_item(source: &SourceText, list: Span, item: Span) -> Option<Fix> {
    let text = source.slice(item);
    let simple = !text.contains(BREAKS) && !text.starts_with(['&', '*', '|', '>', '!']);
    let bracketed = source.slice(list).starts_with('[');
    let between = &source.text()[list.start()..item.start()];
    let without_comments =
        !between.contains('#') && !source.text()[item.end()..list.end()].contains('#');
    (simple && without_comments && (bracketed || between.trim() == "-"))
        .then(|| Fix::new("write the value without a list", [(list, text.to_owned())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str, fix: &Fix) -> String {
        let mut edits = fix.edits.clone();
        edits.sort_by_key(|edit| std::cmp::Reverse(edit.span));
        let mut text = text.to_owned();
        for edit in edits {
            text.replace_range(edit.span.start()..edit.span.end(), &edit.text);
        }
        text
    }

    fn quoted(line: &str) -> Option<String> {
        let source = SourceText::new("x", line);
        let start = line.find("- ").expect("an item") + 2;
        quote_command(&source, start).map(|fix| apply(line, &fix))
    }

    #[test]
    fn a_command_gets_the_quotes_that_fit_it() {
        let table = [
            ("- echo \"a: b\"\n", "- 'echo \"a: b\"'\n"),
            ("- echo 'a: b'\n", "- \"echo 'a: b'\"\n"),
            ("- echo 'a: \\b'\n", "- |-\n  echo 'a: \\b'\n"),
            (
                "  - a 'b: \"c\"'  # why\r\n",
                "  - |-  # why\r\n    a 'b: \"c\"'\r\n",
            ),
            (
                "- echo a: b # why\n- next\n",
                "- 'echo a: b' # why\n- next\n",
            ),
            ("- echo \"a: #b\"", "- 'echo \"a: #b\"'"),
        ];
        for (before, after) in table {
            assert_eq!(quoted(before).as_deref(), Some(after), "{before}");
        }
        for several in ["- a: b\n  c\n", "- a: b\n\n  # no\n  c\n"] {
            assert_eq!(quoted(several), None);
        }
    }

    #[test]
    fn patterns_are_told_from_aliases() {
        for glob in ["**/*", "*", "*.jar", "*-x.jar", "*/a"] {
            assert!(begins_as_glob(glob), "{glob}");
        }
        for other in ["*alias", "*alias # why", "*a, b]", "a*"] {
            assert!(!begins_as_glob(other), "{other}");
        }
    }

    #[test]
    fn patterns_right_below_are_quoted_too() {
        let text = "files:\n  - **/*\n  - a\n  - *.jar # b\n  - *alias\nmore:\n  - *\n";
        let source = SourceText::new("x", text);
        let (span, fix) = quote_glob(&source, 11).expect("a pattern");
        assert_eq!(source.slice(span), "**/*");
        assert_eq!(
            apply(text, &fix.expect("it is certain")),
            "files:\n  - '**/*'\n  - a\n  - '*.jar' # b\n  - *alias\nmore:\n  - *\n"
        );
    }

    #[test]
    fn lines_are_moved_whole() {
        let text = "a:\n  b:\n    c: |\n      x\n\n       y\n# why\n    d: 1\ne: 2\n";
        let source = SourceText::new("x", text);
        let end = text.find("\ne:").expect("the end");
        let edits = dedent(&source, 5..end, 0).expect("it can be moved");
        let moved = apply(text, &Fix::new("x", edits));
        assert_eq!(
            moved,
            "a:\nb:\n  c: |\n    x\n\n     y\n# why\n  d: 1\ne: 2\n"
        );
        let source = SourceText::new("x", moved.as_str());
        let end = moved.find("\ne:").expect("the end");
        let edits = indent(&source, 3..end, 2).expect("it can be moved");
        let back = apply(&moved, &Fix::new("x", edits));
        assert_eq!(back, text.replace("# why", "  # why"));
    }
}
