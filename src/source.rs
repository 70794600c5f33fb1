//! The text of a file, and places in it.
//!
//! Everything that talks to an author points at a [`Span`]: a byte range in one [`SourceText`]. Lines and columns are
//! computed from it when somebody wants to read them. This module knows nothing of YAML or of buildspecs.

use std::fmt;

/// The largest buildspec that is read, in bytes (SPEC-3).
///
/// The largest one in public use that we know of has 200 KB; a bound keeps a mistaken path (a core file, `/dev/zero`)
/// from filling memory.
pub const MAX_BYTES: usize = 10 * 1024 * 1024;

/// A byte range in one [`SourceText`]; `start <= end`, both on character boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The range from `start` to `end`, in bytes. Both are at most [`MAX_BYTES`], so 32 bits hold them.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(
            start <= end,
            "invariant: a span does not end before it starts"
        );
        let bound = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self {
            start: bound(start),
            end: bound(end),
        }
    }

    /// The empty range at `offset`.
    #[must_use]
    pub fn at(offset: usize) -> Self {
        Self::new(offset, offset)
    }

    /// Offset of the first byte.
    #[must_use]
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Offset just past the last byte.
    #[must_use]
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.end() - self.start()
    }

    /// Whether nothing is in the range, as with a value that was left out.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// `value`, written at `span`.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// The same place with another value.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: convert(self.value),
            span: self.span,
        }
    }
}

/// A place as people and editors count: both numbers begin at 1, columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for LineColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The text of one file under the name that messages use for it. A byte-order mark is dropped (SPEC-2).
#[derive(Clone, Debug)]
pub struct SourceText {
    name: String,
    text: String,
    /// Bytes of the file in front of the text: those of a byte-order mark.
    dropped: usize,
    /// Offset of the first byte of each line; the first entry is 0.
    line_starts: Vec<u32>,
}

/// The bytes are not UTF-8. The text is readable up to `offset`; the rest shows replacement characters.
#[derive(Clone, Debug)]
pub struct NotUtf8 {
    /// The text with what could not be read replaced, so that the place can still be shown.
    pub source: SourceText,
    /// The first byte that is not UTF-8.
    pub offset: usize,
    /// Another encoding, where a byte-order mark gives it away.
    pub looks_like: Option<&'static str>,
}

impl SourceText {
    /// Text that is known to be text.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let mut dropped = 0;
        if text.starts_with('\u{feff}') {
            dropped = '\u{feff}'.len_utf8();
            text.drain(..dropped);
        }
        let line_starts = line_starts(&text);
        Self {
            name: name.into(),
            text,
            dropped,
            line_starts,
        }
    }

    /// The text of a file's bytes.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, NotUtf8> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let offset = error.utf8_error().valid_up_to();
                let bytes = error.into_bytes();
                let looks_like = match bytes.as_slice() {
                    [0xff, 0xfe, ..] | [_, 0, _, 0, ..] => Some("UTF-16, little-endian"),
                    [0xfe, 0xff, ..] | [0, _, 0, _, ..] => Some("UTF-16, big-endian"),
                    _ => None,
                };
                let source = Self::new(name, String::from_utf8_lossy(&bytes));
                Err(NotUtf8 {
                    offset: offset - source.dropped,
                    source,
                    looks_like,
                })
            }
        }
    }

    /// The name that messages use, usually the path as the user gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text, without a byte-order mark.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where a byte of the text stands in the file: a byte-order mark counts there.
    #[must_use]
    pub fn offset_in_file(&self, offset: usize) -> usize {
        offset + self.dropped
    }

    /// Where a line begins, counted from 1, if there is one.
    #[must_use]
    pub fn line_start(&self, line: usize) -> Option<usize> {
        let start = self.line_starts.get(line.checked_sub(1)?)?;
        Some(*start as usize)
    }

    /// The text of a line, counted from 1, without its end; nothing if there is no such line.
    #[must_use]
    pub fn line_text(&self, line: usize) -> &str {
        let Some(from) = self.line_start(line) else {
            return "";
        };
        let to = self.line_start(line + 1).unwrap_or(self.text.len());
        self.text[from..to].trim_end_matches(['\n', '\r'])
    }

    /// The text of a span.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.text
            .get(span.start()..span.end())
            .expect("invariant: a span lies in its own text, on character boundaries")
    }

    /// Line and column of a byte offset.
    #[must_use]
    pub fn line_column(&self, offset: usize) -> LineColumn {
        let offset = offset.min(self.text.len());
        let line = self
            .line_starts
            .partition_point(|&start| start as usize <= offset);
        let line_start = self.line_starts[line - 1] as usize;
        let column = self.text[line_start..offset].chars().count() + 1;
        LineColumn { line, column }
    }

    /// Line of a byte offset, from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        self.line_column(offset).line
    }

    /// Where a span begins.
    #[must_use]
    pub fn start_of(&self, span: Span) -> LineColumn {
        self.line_column(span.start())
    }

    /// Where a span ends.
    #[must_use]
    pub fn end_of(&self, span: Span) -> LineColumn {
        self.line_column(span.end())
    }
}

/// Offsets at which lines begin. A line ends at `\n`, `\r\n` or a lone `\r`, as YAML has it.
fn line_starts(text: &str) -> Vec<u32> {
    let bytes = text.as_bytes();
    let mut starts = vec![0];
    for (index, byte) in bytes.iter().enumerate() {
        let ends_line = *byte == b'\n' || (*byte == b'\r' && bytes.get(index + 1) != Some(&b'\n'));
        if ends_line {
            starts.push(u32::try_from(index + 1).unwrap_or(u32::MAX));
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_end_as_yaml_ends_them() {
        let source = SourceText::new("x", "aé\r\nb\rc\nd");
        let places: Vec<_> = [0, 3, 5, 7, 9]
            .into_iter()
            .map(|offset| source.line_column(offset).to_string())
            .collect();
        assert_eq!(places, ["1:1", "1:3", "2:1", "3:1", "4:1"]);
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        let source = SourceText::from_bytes("x", b"\xef\xbb\xbfversion: 0.2".to_vec()).unwrap();
        assert_eq!(source.text(), "version: 0.2");
        assert_eq!(source.line_column(0).to_string(), "1:1");
        assert_eq!(source.offset_in_file(0), 3);
        assert_eq!(SourceText::new("x", "version: 0.2").offset_in_file(0), 0);
        let error = SourceText::from_bytes("x", b"\xef\xbb\xbfa: \xe9".to_vec()).unwrap_err();
        assert_eq!(error.source.line_column(error.offset).to_string(), "1:4");
    }

    #[test]
    fn a_line_is_shown_without_its_end() {
        let source = SourceText::new("x", "a\r\nb\rc\n");
        let lines: Vec<&str> = (0..6).map(|line| source.line_text(line)).collect();
        assert_eq!(lines, ["", "a", "b", "c", "", ""]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_placed_and_an_encoding_is_guessed() {
        let error = SourceText::from_bytes("x", b"a: b\nc: \xe9\n".to_vec()).unwrap_err();
        assert_eq!(error.source.line_column(error.offset).to_string(), "2:4");
        assert_eq!(error.looks_like, None);
        let error = SourceText::from_bytes("x", b"\xff\xfev\0e\0".to_vec()).unwrap_err();
        assert_eq!(error.looks_like, Some("UTF-16, little-endian"));
    }

    #[test]
    fn an_offset_past_the_end_is_the_end() {
        assert_eq!(
            SourceText::new("x", "ab").line_column(99).to_string(),
            "1:3"
        );
    }
}
