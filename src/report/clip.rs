//! What a parser gets to see of a file: every element and key, but no more of a single text than a bounded memory can hold.
//!
//! A parser hands texts on whole, so one text of 200 MB would be 200 MB of memory. Here the rest of a text that is too long
//! is left out while it streams by. In XML, comments, processing instructions and document types go too: nothing in them is of
//! use, and without a document type there are no entities to expand (REP-9).

use std::io::{self, BufRead, Read};

/// Bytes of one text, or of one attribute's value, that are handed on.
const MAX_TEXT: usize = 256 * 1024;

/// Bytes of one tag that are handed on.
const MAX_TAG: usize = 1024 * 1024;

/// Bytes of a name.
const MAX_NAME: usize = 256;

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// Decides byte by byte what is handed on.
trait Filter {
    fn byte(&mut self, byte: u8, out: &mut Vec<u8>);
}

/// Where in an XML file we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Xml {
    Text,
    /// After `<`, as long as it is not clear what it begins.
    Opening,
    Name,
    Tag,
    Value(u8),
    Cdata,
    Comment,
    Instruction,
    /// A document type, with how many `<` are open in it, and the quote that is.
    Doctype(u32, u8),
}

struct XmlFilter {
    state: Xml,
    /// Bytes of what `state` is that were handed on.
    kept: usize,
    /// Bytes of the tag that were handed on.
    tag: usize,
    /// What stands before the next byte: the beginning of a markup, or the last bytes, for its end.
    held: Vec<u8>,
}

impl XmlFilter {
    fn go(&mut self, state: Xml) {
        self.state = state;
        self.kept = 0;
        self.held.clear();
    }

    /// Hands a byte on if it is not too much. A character that was begun is ended.
    fn keep(&mut self, byte: u8, most: usize, out: &mut Vec<u8>) {
        let continues = byte & 0xc0 == 0x80 && self.kept == most;
        if self.kept < most || continues {
            out.push(byte);
            self.kept += usize::from(!continues);
        } else {
            // Whatever follows is not the rest of what was handed on last.
            self.kept = most + 1;
        }
    }

    /// Whether the markup ends with this byte.
    fn ends(&mut self, byte: u8, end: &[u8]) -> bool {
        self.held.push(byte);
        if self.held.len() > end.len() {
            self.held.remove(0);
        }
        self.held == end
    }

    fn opening(&mut self, byte: u8, out: &mut Vec<u8>) {
        const CDATA: &[u8] = b"<![CDATA[";
        const COMMENT: &[u8] = b"<!--";
        self.held.push(byte);
        let held = std::mem::take(&mut self.held);
        match held.as_slice() {
            b"<?" => self.go(Xml::Instruction),
            CDATA => {
                out.extend_from_slice(CDATA);
                self.go(Xml::Cdata);
            }
            COMMENT => self.go(Xml::Comment),
            begun if CDATA.starts_with(begun) || COMMENT.starts_with(begun) => self.held = held,
            [b'<', b'!', ..] if byte == b'>' => self.go(Xml::Text),
            [b'<', b'!', ..] => self.go(Xml::Doctype(1, 0)),
            _ => {
                out.push(b'<');
                self.go(Xml::Name);
                self.tag = 0;
                self.byte(byte, out);
            }
        }
    }

    fn in_tag(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.tag += 1;
        let fits = self.tag < MAX_TAG;
        match (self.state, byte) {
            (_, b'>') => {
                // The end of an element that has nothing in it, where what came before it was left out.
                if !fits && self.held.last() == Some(&b'/') {
                    out.push(b'/');
                }
                out.push(byte);
                self.go(Xml::Text);
                return;
            }
            (Xml::Name, b' ' | b'\t' | b'\r' | b'\n' | b'/')
                if !(byte == b'/' && self.kept == 0) =>
            {
                out.push(byte);
                self.go(Xml::Tag);
            }
            (Xml::Name, _) => self.keep(byte, MAX_NAME, out),
            (_, b'"' | b'\'') => {
                if fits {
                    out.push(byte);
                }
                self.go(Xml::Value(byte));
            }
            _ if fits => out.push(byte),
            _ => {}
        }
        self.held.clear();
        self.held.push(byte);
    }
}

impl Filter for XmlFilter {
    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        let state = self.state;
        match state {
            Xml::Text if byte == b'<' => {
                self.go(Xml::Opening);
                self.held.push(byte);
            }
            Xml::Text => self.keep(byte, MAX_TEXT, out),
            Xml::Opening => self.opening(byte, out),
            Xml::Name | Xml::Tag => self.in_tag(byte, out),
            Xml::Value(quote) if byte == quote => {
                // The value whose beginning was left out has no end either.
                if self.tag < MAX_TAG {
                    out.push(byte);
                }
                self.tag += self.kept + 1;
                self.go(Xml::Tag);
            }
            Xml::Value(_) if self.tag < MAX_TAG => self.keep(byte, MAX_TEXT, out),
            Xml::Value(_) => {}
            Xml::Cdata if self.ends(byte, b"]]>") => {
                // What is handed on may have brackets of the end already, which then are text.
                out.extend_from_slice(b"]]>");
                self.go(Xml::Text);
            }
            // Two bytes behind: the end itself is no text.
            Xml::Cdata if self.held.len() == 3 => {
                let text = self.held[0];
                self.keep(text, MAX_TEXT, out);
            }
            Xml::Cdata => {}
            Xml::Comment if self.ends(byte, b"-->") => self.go(Xml::Text),
            Xml::Instruction if self.ends(byte, b"?>") => self.go(Xml::Text),
            Xml::Comment | Xml::Instruction => {}
            Xml::Doctype(depth, quote) => {
                let state = match (byte, quote) {
                    (b'"' | b'\'', 0) => Xml::Doctype(depth, byte),
                    (_, 0) => match byte {
                        b'<' => Xml::Doctype(depth + 1, 0),
                        b'>' if depth == 1 => Xml::Text,
                        b'>' => Xml::Doctype(depth - 1, 0),
                        _ => self.state,
                    },
                    (_, open) if open == byte => Xml::Doctype(depth, 0),
                    _ => self.state,
                };
                self.go(state);
            }
        }
    }
}

/// Leaves the rest of long strings out of JSON.
#[derive(Default)]
struct JsonFilter {
    in_text: bool,
    /// How many bytes of an escape are still to come.
    escape: u8,
    kept: usize,
}

impl Filter for JsonFilter {
    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        if !self.in_text {
            // Numbers without an end.
            self.kept = if byte.is_ascii_digit() {
                self.kept + 1
            } else {
                0
            };
            if self.kept <= MAX_NAME {
                out.push(byte);
            }
            if byte == b'"' {
                (self.in_text, self.kept) = (true, 0);
            }
            return;
        }
        let inside = self.escape > 0;
        match byte {
            b'"' if !inside => {
                out.push(byte);
                (self.in_text, self.kept) = (false, 0);
                return;
            }
            // `\u` has four digits more, and two such are a pair at times: what begins within is handed on to its end.
            b'u' if self.escape == 1 => self.escape = 4,
            b'\\' if !inside => self.escape = 1,
            _ => self.escape = self.escape.saturating_sub(1),
        }
        let begun = inside || byte & 0xc0 == 0x80;
        if self.kept < MAX_TEXT || (self.kept == MAX_TEXT && begun) {
            out.push(byte);
            self.kept += usize::from(self.kept < MAX_TEXT);
        } else {
            self.kept = MAX_TEXT + 1;
        }
    }
}

/// A reader of what is handed on.
pub(super) struct Clip<R> {
    bytes: R,
    raw: Vec<u8>,
    filter: Box<dyn Filter>,
    out: Vec<u8>,
    taken: usize,
}

impl<R: Read> Clip<R> {
    /// XML without what goes beyond.
    pub(super) fn xml(bytes: R) -> Self {
        Self::new(
            bytes,
            Box::new(XmlFilter {
                state: Xml::Text,
                kept: 0,
                tag: 0,
                held: Vec::new(),
            }),
        )
    }

    /// JSON without what goes beyond.
    pub(super) fn json(bytes: R) -> Self {
        Self::new(bytes, Box::<JsonFilter>::default())
    }

    fn new(bytes: R, filter: Box<dyn Filter>) -> Self {
        Self {
            bytes,
            raw: vec![0; CHUNK],
            filter,
            out: Vec::with_capacity(CHUNK + 64),
            taken: 0,
        }
    }
}

impl<R: Read> BufRead for Clip<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.taken >= self.out.len() {
            self.out.clear();
            self.taken = 0;
            let read = self.bytes.read(&mut self.raw)?;
            if read == 0 {
                break;
            }
            for &byte in &self.raw[..read] {
                self.filter.byte(byte, &mut self.out);
            }
        }
        Ok(&self.out[self.taken..])
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount;
    }
}

impl<R: Read> Read for Clip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.fill_buf()?;
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(text: &str) -> String {
        let mut out = String::new();
        Clip::xml(text.as_bytes()).read_to_string(&mut out).unwrap();
        out
    }

    fn json(text: &str) -> String {
        let mut out = String::new();
        Clip::json(text.as_bytes())
            .read_to_string(&mut out)
            .unwrap();
        out
    }

    #[test]
    fn what_is_of_no_use_goes_and_the_rest_stays() {
        let table = [
            ("<a b=\"1\">x</a>", "<a b=\"1\">x</a>"),
            ("<?xml version='1.0'?><a/>", "<a/>"),
            ("<!-- <b> --><a/><!---->", "<a/>"),
            (
                "<!DOCTYPE a [<!ENTITY b \"<c>]>\">]><a>&b;</a>",
                "<a>&b;</a>",
            ),
            ("<!DOCTYPE a SYSTEM 'x>y'><a/>", "<a/>"),
            ("<a><![CDATA[<b>]]]]></a>", "<a><![CDATA[<b>]]]]></a>"),
            ("<a><![CDATA[]]></a>", "<a><![CDATA[]]></a>"),
            ("<a b='>' c=\"/>\"/>", "<a b='>' c=\"/>\"/>"),
            ("a < b", "a < b"),
            ("<!x><a/>", "<a/>"),
        ];
        for (text, expected) in table {
            assert_eq!(xml(text), expected, "{text}");
        }
    }

    #[test]
    fn long_texts_are_cut_on_the_border_of_a_character() {
        let long = "é".repeat(MAX_TEXT);
        let kept = "é".repeat(MAX_TEXT / 2);
        for (before, after) in [
            ("<a>", "</a>"),
            ("<a b='", "'/>"),
            ("<a><![CDATA[", "]]></a>"),
        ] {
            let out = xml(&format!("{before}x{long}{after}"));
            // An odd byte before it: the last character is begun within the limit.
            assert_eq!(out, format!("{before}x{kept}{after}"));
        }
        let out = json(&format!(
            "{{\"a\": \"{}\\u00e9{long}\"}}",
            "x".repeat(MAX_TEXT - 1)
        ));
        assert_eq!(
            out,
            format!("{{\"a\": \"{}\\u00e9\"}}", "x".repeat(MAX_TEXT - 1))
        );
        assert_eq!(json(&"1".repeat(9999)).len(), MAX_NAME);
    }

    #[test]
    fn a_tag_without_end_costs_no_memory() {
        let attributes = "a='1' ".repeat(MAX_TAG);
        let out = xml(&format!("<b {attributes}/><c/>"));
        assert!(out.len() < MAX_TAG + 100, "{}", out.len());
        assert!(out.ends_with("/><c/>"), "{}", &out[out.len() - 20..]);
        assert!(xml(&format!("<{}>", "n".repeat(99_999))).len() < 300);
    }
}
