//! The part of the Language Server Protocol that is used, and places as it counts them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::source::{SourceText, Span};

/// Codes of JSON-RPC and of the protocol.
pub(super) mod error {
    pub(in super::super) const PARSE: i32 = -32700;
    pub(in super::super) const INVALID_REQUEST: i32 = -32600;
    pub(in super::super) const METHOD_NOT_FOUND: i32 = -32601;
    pub(in super::super) const INVALID_PARAMS: i32 = -32602;
    pub(in super::super) const NOT_INITIALIZED: i32 = -32002;
}

/// A place: both numbers from 0, characters in units of UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) character: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) start: Position,
    pub(super) end: Position,
}

#[derive(Debug, Deserialize)]
pub(super) struct DocumentId {
    pub(super) uri: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct VersionedDocumentId {
    pub(super) uri: String,
    pub(super) version: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct DocumentItem {
    pub(super) uri: String,
    pub(super) version: i64,
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DidOpen {
    pub(super) text_document: DocumentItem,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DidChange {
    pub(super) text_document: VersionedDocumentId,
    pub(super) content_changes: Vec<Change>,
}

/// A whole new text: nothing else was offered to the editor.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub(super) text: String,
}

/// What is said of a document without more, when it is saved or closed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About {
    pub(super) text_document: DocumentId,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct At {
    pub(super) text_document: DocumentId,
    pub(super) position: Position,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Around {
    pub(super) text_document: DocumentId,
    pub(super) range: Range,
}

/// A byte of the text as an editor counts.
pub(super) fn position(source: &SourceText, offset: usize) -> Position {
    let place = source.line_column(offset);
    let before = source.line_text(place.line).chars().take(place.column - 1);
    let units: usize = before.map(char::len_utf16).sum();
    Position {
        line: number(place.line - 1),
        character: number(units + mark(source, place.line)),
    }
}

/// The byte at an editor's place; one past the end of a line or of the text is that end.
pub(super) fn offset(source: &SourceText, position: Position) -> usize {
    let line = usize::try_from(position.line).unwrap_or(usize::MAX);
    let Some(start) = source.line_start(line.saturating_add(1)) else {
        return source.text().len();
    };
    let wanted = usize::try_from(position.character).unwrap_or(usize::MAX);
    let wanted = wanted.saturating_sub(mark(source, line + 1));
    let (mut units, mut bytes) = (0, 0);
    for character in source.line_text(line + 1).chars() {
        if units >= wanted {
            break;
        }
        units += character.len_utf16();
        bytes += character.len_utf8();
    }
    start + bytes
}

pub(super) fn range(source: &SourceText, span: Span) -> Range {
    Range {
        start: position(source, span.start()),
        end: position(source, span.end()),
    }
}

/// A byte-order mark is a character to the editor, and no part of the text.
fn mark(source: &SourceText, line: usize) -> usize {
    usize::from(line == 1 && source.offset_in_file(0) > 0)
}

fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The path of a `file:` address.
pub(super) fn path(uri: &str) -> Option<PathBuf> {
    let rest = uri.strip_prefix("file://")?;
    let path = &rest[rest.find('/')?..];
    let mut bytes = Vec::with_capacity(path.len());
    let mut left = path.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || left.next().and_then(|byte| char::from(byte).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // LINT-64
    #[test]
    fn places_are_counted_in_units_of_utf16() {
        let source = SourceText::new("x", "a𝄞é: b\r\nc\rd");
        for (byte, line, character) in [
            (0, 0, 0),
            (1, 0, 1),
            (5, 0, 3),
            (7, 0, 4),
            (12, 1, 0),
            (15, 2, 1),
        ] {
            let place = Position { line, character };
            assert_eq!(position(&source, byte), place, "{byte}");
            assert_eq!(offset(&source, place), byte, "{byte}");
        }
        let marked = SourceText::new("x", "\u{feff}ab\nc");
        let place = Position {
            line: 0,
            character: 2,
        };
        assert_eq!(position(&marked, 1), place);
        assert_eq!(offset(&marked, place), 1);
    }

    // LINT-64
    #[test]
    fn places_that_are_not_there_are_the_next_that_is() {
        let source = SourceText::new("x", "a𝄞\nb");
        let at = |line, character| offset(&source, Position { line, character });
        assert_eq!(
            [
                at(0, 2),
                at(0, 99),
                at(1, 99),
                at(99, 0),
                at(u32::MAX, u32::MAX)
            ],
            [5, 5, 7, 7, 7]
        );
        let empty = SourceText::new("x", "");
        assert_eq!(
            offset(
                &empty,
                Position {
                    line: 3,
                    character: 3
                }
            ),
            0
        );
    }

    #[test]
    fn addresses_are_paths() {
        let path = |uri| path(uri).map(|path| path.display().to_string());
        assert_eq!(
            path("file:///a%20b/%C3%A9.yml").as_deref(),
            Some("/a b/é.yml")
        );
        assert_eq!(path("file://host/a.yml").as_deref(), Some("/a.yml"));
        for none in ["untitled:1", "file://", "file:///a%2", "file:///a%zz", ""] {
            assert_eq!(path(none), None, "{none}");
        }
    }
}
