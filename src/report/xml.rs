//! Elements, texts and ends of an XML file, one after the other.

use std::io::{BufRead, Read};

use quick_xml::Reader;
use quick_xml::errors::{Error as XmlError, SyntaxError};
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::clip::Clip;
use super::error::ReadError;
use super::text::Decoder;

/// Most elements within one another. Test tools nest a few dozen at most.
const MAX_DEPTH: usize = 256;

/// Attributes of one element that are looked at.
const MAX_ATTRIBUTES: usize = 256;

/// What stands next in a file.
#[derive(Debug)]
pub(super) enum Node {
    /// An element begins.
    Open(Element),
    /// Text in it, in pieces of any size.
    Text(String),
    /// The element of this name ends.
    Close(String),
}

/// An element, as far as it stands in its first tag.
#[derive(Debug)]
pub(super) struct Element {
    /// Its name without a prefix.
    pub(super) name: String,
    attributes: Vec<(String, String)>,
}

impl Element {
    /// An attribute, by its name without a prefix.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.attributes.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The first of these attributes that has something in it.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        let mut values = names.iter().filter_map(|name| self.get(name));
        values.find(|value| !value.trim().is_empty())
    }
}

/// Reads nodes.
pub(super) struct Xml<'r> {
    reader: Reader<Box<dyn BufRead + 'r>>,
    buffer: Vec<u8>,
    /// Names of the elements that are open.
    open: Vec<String>,
    /// An element without content has its end still to come.
    empty: bool,
    begun: bool,
    /// What the text before the first element begins with.
    before: Option<char>,
}

impl<'r> Xml<'r> {
    pub(super) fn new(bytes: impl Read + 'r) -> Self {
        let bytes: Box<dyn BufRead + 'r> = Box::new(Clip::xml(Decoder::new(bytes)));
        let mut reader = Reader::from_reader(bytes);
        let config = reader.config_mut();
        config.allow_dangling_amp = true;
        config.check_end_names = true;
        Self {
            reader,
            buffer: Vec::new(),
            open: Vec::new(),
            empty: false,
            begun: false,
            before: None,
        }
    }

    /// The first element of the file, which has to be one of these.
    pub(super) fn root(&mut self, expected: &[&'static str]) -> Result<Element, ReadError> {
        let first = loop {
            match self.next()? {
                Some(Node::Open(element)) => break element,
                Some(_) => {}
                None => return Err(nothing(self.before)),
            }
        };
        if expected.contains(&first.name.as_str()) {
            return Ok(first);
        }
        Err(ReadError::Unexpected {
            expected: expected.first().copied().unwrap_or_default(),
            found: first.name,
        })
    }

    /// The next node; `None` at the end of a file that is whole.
    pub(super) fn next(&mut self) -> Result<Option<Node>, ReadError> {
        if std::mem::take(&mut self.empty) {
            return Ok(self.open.pop().map(Node::Close));
        }
        loop {
            self.buffer.clear();
            let event = self.reader.read_event_into(&mut self.buffer);
            let event = event.map_err(|error| match broken(error, self.open.last()) {
                ReadError::Truncated { within: None } if self.before.is_some() => {
                    nothing(self.before)
                }
                error => error,
            })?;
            let node = match event {
                Event::Start(tag) => {
                    let element = element(&tag);
                    self.enter(&element)?;
                    Node::Open(element)
                }
                Event::Empty(tag) => {
                    let element = element(&tag);
                    self.enter(&element)?;
                    self.empty = true;
                    Node::Open(element)
                }
                Event::End(_) => match self.open.pop() {
                    Some(name) => Node::Close(name),
                    None => continue,
                },
                Event::Text(text) => {
                    let text = text.into_inner().into_owned();
                    self.heed_before(&text);
                    Node::Text(text)
                }
                Event::CData(text) => Node::Text(text.into_inner().into_owned()),
                Event::GeneralRef(reference) => Node::Text(resolved(&reference)),
                Event::Eof => {
                    return match self.open.pop() {
                        Some(name) => Err(ReadError::Truncated { within: Some(name) }),
                        None if self.begun => Ok(None),
                        None => Err(nothing(self.before)),
                    };
                }
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => continue,
            };
            return Ok(Some(node));
        }
    }

    /// Remembers how a file begins that does not begin with an element.
    fn heed_before(&mut self, text: &str) {
        if !self.begun && self.before.is_none() {
            self.before = text
                .trim_start_matches('\u{feff}')
                .trim_start()
                .chars()
                .next();
        }
    }

    fn enter(&mut self, element: &Element) -> Result<(), ReadError> {
        self.begun = true;
        if self.open.len() >= MAX_DEPTH {
            return Err(ReadError::TooDeep(MAX_DEPTH));
        }
        self.open.push(element.name.clone());
        Ok(())
    }

    /// The element that the open one stands in.
    pub(super) fn parent(&self) -> &str {
        let above = self.open.len().checked_sub(2);
        above.map_or("", |place| self.open[place].as_str())
    }

    /// Everything in the element that was just opened, as one text of this many bytes at most. Its end is read, too.
    pub(super) fn text(&mut self, most: usize) -> Result<String, ReadError> {
        let mut text = String::new();
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next()? {
                Some(Node::Open(_)) => depth += 1,
                Some(Node::Text(more)) => super::model::push_limited(&mut text, &more, most),
                Some(Node::Close(_)) => depth -= 1,
                None => break,
            }
        }
        Ok(text)
    }

    /// Reads on to the end of the element that was just opened.
    pub(super) fn skip(&mut self) -> Result<(), ReadError> {
        self.text(0).map(drop)
    }
}

/// Why there is no element in a file whose text begins so.
const fn nothing(before: Option<char>) -> ReadError {
    match before {
        None => ReadError::Empty,
        Some(first) => ReadError::NotXml {
            json: matches!(first, '{' | '['),
        },
    }
}

fn element(tag: &BytesStart<'_>) -> Element {
    let mut attributes = tag.attributes();
    let attributes = attributes.with_checks(false).flatten();
    Element {
        name: tag.local_name().as_ref().to_owned(),
        attributes: attributes
            .take(MAX_ATTRIBUTES)
            .map(|attribute| {
                let name = attribute.key.local_name().as_ref().to_owned();
                (name, unescaped(&attribute.value))
            })
            .collect(),
    }
}

/// A value with its references resolved; what is no reference stays as it is.
fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        // No reference is longer.
        let end = rest.bytes().take(16).position(|byte| byte == b';');
        match end {
            Some(end) => {
                text.push_str(&resolved(&BytesRef::new(&rest[..end])));
                rest = &rest[end + 1..];
            }
            None => text.push('&'),
        }
    }
    text.push_str(rest);
    text
}

/// What a reference stands for. Entities of a document type are never expanded: they stay as they are written.
fn resolved(reference: &BytesRef<'_>) -> String {
    let name: &str = reference;
    if reference.is_char_ref() {
        return match reference.resolve_char_ref() {
            Ok(Some(character)) => character.to_string(),
            _ => "\u{fffd}".to_owned(),
        };
    }
    match name {
        "lt" => "<".to_owned(),
        "gt" => ">".to_owned(),
        "amp" => "&".to_owned(),
        "apos" => "'".to_owned(),
        "quot" => "\"".to_owned(),
        _ => format!("&{name};"),
    }
}

fn broken(error: XmlError, within: Option<&String>) -> ReadError {
    match error {
        XmlError::Io(error) => ReadError::Io(std::io::Error::new(error.kind(), error.to_string())),
        XmlError::Syntax(
            SyntaxError::UnclosedCData
            | SyntaxError::UnclosedTag
            | SyntaxError::UnclosedSingleQuotedAttributeValue
            | SyntaxError::UnclosedDoubleQuotedAttributeValue,
        ) => ReadError::Truncated {
            within: within.cloned(),
        },
        error => ReadError::Syntax(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as one text: elements with attributes, texts, ends; then what is wrong.
    fn shown(text: &str) -> String {
        let mut xml = Xml::new(text.as_bytes());
        let mut out = String::new();
        loop {
            match xml.next() {
                Ok(Some(Node::Open(element))) => {
                    out.push_str(&format!("<{}", element.name));
                    for (name, value) in &element.attributes {
                        out.push_str(&format!(" {name}={value}"));
                    }
                    out.push('>');
                }
                Ok(Some(Node::Text(text))) => out.push_str(&text),
                Ok(Some(Node::Close(name))) => out.push_str(&format!("</{name}>")),
                Ok(None) => return out,
                Err(error) => return format!("{out} !{error}"),
            }
        }
    }

    // REP-9
    #[test]
    fn nodes_come_one_after_the_other() {
        let table = [
            ("<a><b c='1'/>x</a>", "<a><b c=1></b>x</a>"),
            ("<n:a n:b='1'></n:a>", "<a b=1></a>"),
            ("<a>&lt;&#65;&#x42;&amp;&b; & c</a>", "<a><AB&&b; & c</a>"),
            ("<a b='&lt;&#10;&c;&'/>", "<a b=<\n&c;&></a>"),
            ("<a><![CDATA[<&]]></a>", "<a><&</a>"),
            (
                "<a>&#0;&#xffffffff;\u{1b}[31m</a>",
                "<a>\u{fffd}\u{fffd}\u{1b}[31m</a>",
            ),
            ("<a b=1 c/>", "<a></a>"),
            ("", " !EOF"),
            ("plain text", "plain text !EOF"),
            ("<a><b>", "<a><b> !EOF in <b>"),
            ("<a><b c='", "<a> !EOF in <a>"),
            ("<a><![CDATA[x", "<a> !EOF in <a>"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert!(shown("<a></b></a>").contains('!'));
    }

    // REP-9
    #[test]
    fn entities_are_never_expanded() {
        let mut text = "<!DOCTYPE a [<!ENTITY b0 \"lol\">".to_owned();
        for level in 1..20 {
            let inner = format!("&b{};", level - 1).repeat(10);
            text.push_str(&format!("<!ENTITY b{level} \"{inner}\">"));
        }
        text.push_str("<!ENTITY file SYSTEM \"file:///etc/passwd\">]><a>&b19;&file;</a>");
        assert_eq!(shown(&text), "<a>&b19;&file;</a>");
    }

    // REP-9
    #[test]
    fn elements_within_elements_have_an_end() {
        assert!(shown(&"<a>".repeat(100_000)).contains("deep"));
    }
}
