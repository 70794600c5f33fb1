//! JSON with places.
//!
//! Whether a text is JSON is serde's to say, which is as strict as the deploy actions are: no trailing commas, no
//! comments, no single quotes. Only a text that it accepts becomes a tree, so reading that tree needs no checks of its own.

use serde_json::Value;

use crate::buildspec::yaml::{Entry, Node, NodeKind, Scalar};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::{SourceText, Span, Spanned};

/// Reads a text, or says where it is no JSON, as a finding of this kind.
pub(super) fn read(source: &SourceText, code: Code) -> Result<Node, Box<Diagnostic>> {
    let text = source.text();
    match serde_json::from_str::<Value>(text) {
        // A tree that is not too deep for serde is not too deep for us.
        Ok(_) => Ok(Reader { text, at: 0 }.value()),
        Err(error) => Err(Box::new(no_json(text, &error, code))),
    }
}

/// What stands where JSON ends to be JSON.
fn no_json(text: &str, error: &serde_json::Error, code: Code) -> Diagnostic {
    let offset = offset(text, error.line(), error.column());
    let rest = &text[offset..];
    let said = error.to_string();
    let words = said.split(" at line ").next().unwrap_or(&said);
    let length = rest.chars().next().map_or(0, char::len_utf8);
    let mut span = Span::new(offset, offset + length);
    let why = match rest.chars().next() {
        _ if text.trim().is_empty() => "the file is empty",
        Some('\'') => "JSON has no single quotes",
        Some('/' | '#') => "JSON has no comments",
        _ if words == "trailing comma" => {
            if let Some(comma) = text[..offset].rfind(',') {
                span = Span::new(comma, comma + 1);
            }
            "nothing follows this comma"
        }
        _ if words.starts_with("EOF") => "it ends too early",
        _ => words,
    };
    Diagnostic::new(code, span, format!("it is not JSON: {why}"))
}

/// The place that serde gives as a line and the bytes that were read of it.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
    let start: usize = lines.map(str::len).sum();
    let mut offset = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// A walk through a text that is known to be JSON.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Node {
        let start = self.skip_blanks();
        let kind = match self.byte() {
            b'{' => NodeKind::Mapping(self.object()),
            b'[' => NodeKind::Sequence(self.array()),
            b'"' => NodeKind::Scalar(Scalar {
                text: self.string(),
                plain: false,
            }),
            _ => NodeKind::Scalar(Scalar {
                text: self.bare(),
                plain: true,
            }),
        };
        Node {
            kind,
            span: Span::new(start, self.at),
        }
    }

    fn object(&mut self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        self.at += 1;
        while self.more(b'}') {
            let start = self.skip_blanks();
            let name = self.string();
            let key = Spanned::new(name, Span::new(start, self.at));
            self.skip_blanks();
            self.at += 1;
            let value = self.value();
            // Of a key that is given twice, the last value counts.
            entries.retain(|entry| entry.key.value != key.value);
            entries.push(Entry { key, value });
        }
        entries
    }

    fn array(&mut self) -> Vec<Node> {
        let mut items = Vec::new();
        self.at += 1;
        while self.more(b']') {
            items.push(self.value());
        }
        items
    }

    /// Whether another item comes; goes past a comma, or the end.
    fn more(&mut self, end: u8) -> bool {
        self.skip_blanks();
        match self.byte() {
            b',' => self.at += 1,
            byte if byte == end => {
                self.at += 1;
                return false;
            }
            _ => {}
        }
        true
    }

    fn string(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while self.byte() != b'"' {
            self.at += if self.byte() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_str(&self.text[start..self.at]).unwrap_or_default()
    }

    fn bare(&mut self) -> String {
        let rest = &self.text[self.at..];
        let length = rest
            .find([',', ']', '}', ' ', '\t', '\r', '\n'])
            .unwrap_or(rest.len());
        self.at += length;
        rest[..length].to_owned()
    }

    fn skip_blanks(&mut self) -> usize {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.at
    }

    fn byte(&self) -> u8 {
        let byte = self.text.as_bytes().get(self.at);
        *byte.expect("invariant: JSON does not end inside a value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &SourceText, node: &Node) -> String {
        match &node.kind {
            NodeKind::Scalar(scalar) => scalar.text.clone(),
            NodeKind::Sequence(items) => {
                let items: Vec<String> = items.iter().map(|item| shown(source, item)).collect();
                format!("[{}]", items.join(" "))
            }
            NodeKind::Mapping(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| {
                        let written = source.slice(entry.key.span);
                        format!("{written}={}", shown(source, &entry.value))
                    })
                    .collect();
                format!("{{{}}}", entries.join(" "))
            }
        }
    }

    #[test]
    fn values_have_places() {
        for (text, expected) in [
            (
                " [ {\"a\" : 1.5 ,\n\"b\":[]}, null,true ]\n",
                "[{\"a\"=1.5 \"b\"=[]} null true]",
            ),
            (
                "{\"a\\\"\\u00e9\":\"x\\\\\",\"b\":{}}",
                "{\"a\\\"\\u00e9\"=x\\ \"b\"={}}",
            ),
            ("{\"a\":1,\"a\":2}", "{\"a\"=2}"),
            ("\"é\"", "é"),
        ] {
            let source = SourceText::new("x", text);
            let node = read(&source, Code::ImageDetail).unwrap();
            assert_eq!(shown(&source, &node), expected);
            assert_eq!(source.slice(node.span), text.trim());
        }
    }

    #[test]
    fn what_is_no_json_is_placed() {
        for (text, place, words) in [
            ("[1,\n 2 ,\n]", "2:4", "nothing follows this comma"),
            ("{'a': 1}", "1:2", "JSON has no single quotes"),
            ("[1, # one\n2]", "1:5", "JSON has no comments"),
            ("[\n  // one\n]", "2:3", "JSON has no comments"),
            ("", "1:1", "the file is empty"),
            ("{\"a\": [1", "1:8", "it ends too early"),
            ("[1] x", "1:5", "trailing characters"),
            ("{\"é\" 1}", "1:6", "expected `:`"),
        ] {
            let source = SourceText::new("x", text);
            let found = read(&source, Code::ImageDetail).unwrap_err();
            let at = source.start_of(found.primary.span).to_string();
            assert_eq!(
                (at.as_str(), found.message.as_str()),
                (place, format!("it is not JSON: {words}").as_str()),
                "{text}"
            );
        }
        let deep = "[".repeat(10_000);
        assert!(read(&SourceText::new("x", deep), Code::ImageDetail).is_err());
    }
}
