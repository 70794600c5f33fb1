//! From a place in the text of a scalar back to the place where that character was written.
//!
//! A command may be written plain, quoted, or as a block; line breaks may have been folded and escapes resolved. Whoever
//! finds something inside its text points at the file with this map.

use std::ops::Range;

use crate::source::{SourceText, Span};

/// Where each character of a scalar's text was written.
#[derive(Clone, Debug)]
pub struct TextMap {
    /// Offset in the text, and the span in the file: one entry a character, in order.
    places: Vec<(u32, Span)>,
    /// Where the scalar as a whole stands.
    whole: Span,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Block,
    SingleQuoted,
    DoubleQuoted,
}

impl TextMap {
    /// The map of a scalar with this text that was written at `span`. If the two do not fit, as with the text of an
    /// alias, every place is the whole scalar.
    #[must_use]
    pub fn new(source: &SourceText, span: Span, text: &str) -> Self {
        let places = align(source.slice(span), span.start(), text).unwrap_or_default();
        Self {
            places,
            whole: span,
        }
    }

    /// Whether places inside the scalar are known.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.places.is_empty()
    }

    /// Where this range of the text was written, from its first to its last character.
    #[must_use]
    pub fn span(&self, range: Range<usize>) -> Span {
        let at = |offset: usize| {
            let index = self
                .places
                .partition_point(|(start, _)| *start as usize <= offset);
            index.checked_sub(1).map(|index| self.places[index].1)
        };
        let last = range.end.saturating_sub(1).max(range.start);
        match (at(range.start), at(last)) {
            (Some(first), Some(last)) if range.is_empty() => {
                Span::new(first.start(), first.start().min(last.end()))
            }
            (Some(first), Some(last)) if first.start() <= last.end() => {
                Span::new(first.start(), last.end())
            }
            _ => self.whole,
        }
    }
}

/// Walks along the text and what was written, side by side. What is no blank has to be there letter for letter; blanks
/// and line breaks may have been folded.
fn align(written: &str, start: usize, text: &str) -> Option<Vec<(u32, Span)>> {
    let (style, mut at) = begin(written)?;
    let mut places = Vec::with_capacity(text.len());
    for (offset, character) in text.char_indices() {
        let (from, to) = next(written, at, style, character)?;
        let offset = u32::try_from(offset).ok()?;
        places.push((offset, Span::new(start + from, start + to)));
        at = to;
    }
    Some(places)
}

/// The style of a scalar, and where its text begins: behind an anchor, a tag, a quote, the header of a block.
fn begin(written: &str) -> Option<(Style, usize)> {
    let mut at = 0;
    loop {
        let rest = &written[at..];
        match rest.chars().next()? {
            '&' | '!' => at += rest.find(char::is_whitespace)?,
            blank if blank.is_whitespace() => at += blank.len_utf8(),
            '*' => return None,
            '\'' => return Some((Style::SingleQuoted, at + 1)),
            '"' => return Some((Style::DoubleQuoted, at + 1)),
            '|' | '>' => {
                let header = rest.find('\n').map_or(rest.len(), |line| line + 1);
                return Some((Style::Block, at + header));
            }
            _ => return Some((Style::Plain, at)),
        }
    }
}

/// Where the next character of the text was written, from `at` on.
fn next(written: &str, at: usize, style: Style, character: char) -> Option<(usize, usize)> {
    if style == Style::DoubleQuoted
        && let Some(found) = escape(written, at, character)
    {
        return Some(found);
    }
    let first = written[at..].chars().next();
    if character.is_whitespace() {
        // A blank is where it stands, or where a line break was folded into it; its exact place matters to nobody.
        let length = first
            .filter(|c| c.is_whitespace())
            .map_or(0, char::len_utf8);
        return Some((at, at + length));
    }
    let mut at = at;
    loop {
        let rest = &written[at..];
        let found = rest.chars().next()?;
        match found {
            '\'' if style == Style::SingleQuoted && character == '\'' => {
                return rest.starts_with("''").then_some((at, at + 2));
            }
            // An escaped line break is nothing.
            '\\' if style == Style::DoubleQuoted && rest[1..].starts_with(['\n', '\r']) => at += 1,
            '\\' if style == Style::DoubleQuoted => return escape(written, at, character),
            _ if found == character => return Some((at, at + found.len_utf8())),
            _ if found.is_whitespace() => at += found.len_utf8(),
            _ => return None,
        }
    }
}

/// An escape at this place, if it stands for this character.
fn escape(written: &str, at: usize, character: char) -> Option<(usize, usize)> {
    let rest = written[at..].strip_prefix('\\')?;
    let kind = rest.chars().next()?;
    let digits = match kind {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => 0,
    };
    if digits > 0 {
        let number = u32::from_str_radix(rest.get(1..=digits)?, 16).ok()?;
        return (char::from_u32(number)? == character).then_some((at, at + 2 + digits));
    }
    let stands_for = match kind {
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        't' | '\t' => '\t',
        'n' => '\n',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'r' => '\r',
        'e' => '\u{1b}',
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        other => other,
    };
    (stands_for == character).then_some((at, at + 1 + kind.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buildspec::yaml::{self, Node, NodeKind};

    fn scalars<'n>(node: &'n Node, found: &mut Vec<(&'n str, Span)>) {
        match &node.kind {
            NodeKind::Scalar(scalar) => found.push((&scalar.text, node.span)),
            NodeKind::Sequence(items) => items.iter().for_each(|item| scalars(item, found)),
            NodeKind::Mapping(entries) => {
                for entry in entries {
                    scalars(&entry.value, found);
                }
            }
        }
    }

    /// Every word of every scalar is found where it was written.
    fn check(text: &str, expected_words: usize) {
        let source = SourceText::new("x", text);
        let (document, diagnostics) = yaml::read(&source);
        assert_eq!(diagnostics, [], "{text}");
        let mut found = Vec::new();
        scalars(document.root.as_ref().unwrap(), &mut found);
        let mut words = 0;
        for (text, span) in found {
            let map = TextMap::new(&source, span, text);
            assert!(map.is_exact(), "{text:?}");
            for word in text.split_whitespace() {
                let start = word.as_ptr() as usize - text.as_ptr() as usize;
                let written = source.slice(map.span(start..start + word.len()));
                assert_eq!(written.replace("''", "'").replace("\\\"", "\""), word);
                words += 1;
            }
        }
        assert_eq!(words, expected_words);
    }

    #[test]
    fn every_word_is_found_where_it_was_written() {
        for (text, words) in [
            ("- make all\n- two\n  lines here\n", 5),
            (
                "- |\n  cd x\n    indented é\n\n  make\n- >-\n  folded\n  text\n\n   more\n",
                8,
            ),
            ("- 'it''s here'\n- 'two\n   lines'\n", 4),
            ("- \"say \\\"hi\\\" now\"\n- \"a\n   b \\\n   c\"\n", 6),
            ("- &anchor |2  # comment\n    deep\n- !!str text\n", 2),
        ] {
            check(text, words);
        }
    }

    #[test]
    fn escapes_and_line_breaks_have_places() {
        let source = SourceText::new("x", "- \"a\\tb\\n\\x41\\u00e9\"\n");
        let text = "a\tb\nAé";
        let map = TextMap::new(&source, Span::new(2, 20), text);
        let at = |start: usize, end: usize| source.slice(map.span(start..end));
        assert_eq!((at(1, 2), at(3, 4)), ("\\t", "\\n"));
        assert_eq!((at(4, 5), at(5, 7)), ("\\x41", "\\u00e9"));
    }

    #[test]
    fn a_text_that_is_not_there_is_the_whole_scalar() {
        let source = SourceText::new("x", "- *alias\n");
        let map = TextMap::new(&source, Span::new(2, 8), "make");
        assert!(!map.is_exact());
        assert_eq!(map.span(1..2), Span::new(2, 8));
    }
}
