//! Bytes of a report file become UTF-8, whatever they were (REP-4).
//!
//! UTF-16 is known by its mark or by its first character, Latin-1 by what the file declares. A byte that is no character of
//! UTF-8 becomes U+FFFD: a test that writes such bytes must not cost its report.

use std::io::{self, Read};

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// How much of a file is looked at for what it declares.
const HEAD: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16 { big: bool },
    Latin1,
}

/// Reads UTF-8 from bytes in any of the known encodings.
pub(super) struct Decoder<R> {
    bytes: R,
    encoding: Option<Encoding>,
    /// Bytes that are not decoded yet.
    raw: Vec<u8>,
    text: String,
    /// How much of `text` was handed on.
    taken: usize,
    over: bool,
}

impl<R: Read> Decoder<R> {
    pub(super) const fn new(bytes: R) -> Self {
        Self {
            bytes,
            encoding: None,
            raw: Vec::new(),
            text: String::new(),
            taken: 0,
            over: false,
        }
    }

    /// Decodes the next piece. Nothing is left in `text` at the end of the file only.
    fn fill(&mut self) -> io::Result<()> {
        self.text.clear();
        self.taken = 0;
        while self.text.is_empty() && !self.over {
            let before = self.raw.len();
            self.raw.resize(before + CHUNK, 0);
            let read = loop {
                match self.bytes.read(&mut self.raw[before..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            self.raw.truncate(before + *read.as_ref().unwrap_or(&0));
            self.over = read? == 0;
            if self.encoding.is_none() && self.raw.len() < HEAD && !self.over {
                continue;
            }
            let encoding = *self.encoding.get_or_insert_with(|| detect(&mut self.raw));
            match encoding {
                Encoding::Utf8 => self.decode_utf8(),
                Encoding::Utf16 { big } => self.decode_utf16(big),
                Encoding::Latin1 => self.text.extend(self.raw.drain(..).map(char::from)),
            }
        }
        Ok(())
    }

    fn decode_utf8(&mut self) {
        let mut used = 0;
        while used < self.raw.len() {
            let rest = &self.raw[used..];
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text.push_str(text);
                    used = self.raw.len();
                    break;
                }
                Err(error) => error,
            };
            let valid = error.valid_up_to();
            self.text.push_str(&String::from_utf8_lossy(&rest[..valid]));
            used += valid;
            match error.error_len() {
                // The beginning of a character whose rest is not here yet.
                None if !self.over => break,
                length => {
                    self.text.push('\u{fffd}');
                    used += length.unwrap_or(self.raw.len() - used);
                }
            }
        }
        self.raw.drain(..used);
    }

    fn decode_utf16(&mut self, big: bool) {
        let unit = |pair: &[u8]| {
            let pair = [pair[0], pair[1]];
            if big {
                u16::from_be_bytes(pair)
            } else {
                u16::from_le_bytes(pair)
            }
        };
        let mut whole = self.raw.len() / 2 * 2;
        // The first half of a pair waits for the second.
        if !self.over && whole >= 2 && (0xd800..0xdc00).contains(&unit(&self.raw[whole - 2..whole]))
        {
            whole -= 2;
        }
        let units = self.raw[..whole].chunks_exact(2).map(unit);
        self.text
            .extend(char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')));
        self.raw.drain(..whole);
        if self.over {
            self.raw.clear();
        }
    }
}

/// The encoding of a file that begins like this; its mark is taken away.
fn detect(head: &mut Vec<u8>) -> Encoding {
    let marks = [
        (&b"\xef\xbb\xbf"[..], Encoding::Utf8),
        (b"\xff\xfe", Encoding::Utf16 { big: false }),
        (b"\xfe\xff", Encoding::Utf16 { big: true }),
    ];
    for (mark, encoding) in marks {
        if head.starts_with(mark) {
            head.drain(..mark.len());
            return encoding;
        }
    }
    if head.starts_with(b"<\0") {
        return Encoding::Utf16 { big: false };
    }
    if head.starts_with(b"\0<") {
        return Encoding::Utf16 { big: true };
    }
    let shown = String::from_utf8_lossy(&head[..head.len().min(HEAD)]).to_ascii_lowercase();
    let declared = shown
        .trim_start()
        .strip_prefix("<?xml")
        .and_then(|rest| rest.split_once("?>"))
        .and_then(|(declaration, _)| declaration.split_once("encoding"))
        .map(|(_, name)| name.trim_start_matches(['=', ' ', '"', '\'']).to_owned())
        .unwrap_or_default();
    let is_latin = [
        "iso-8859-1",
        "iso8859-1",
        "latin1",
        "latin-1",
        "windows-1252",
        "cp1252",
    ];
    if is_latin.iter().any(|name| declared.starts_with(name)) {
        Encoding::Latin1
    } else {
        Encoding::Utf8
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken >= self.text.len() {
            self.fill()?;
        }
        let rest = &self.text.as_bytes()[self.taken..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands on a byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (Some((&first, rest)), true) = (self.0.split_first(), !buffer.is_empty()) else {
                return Ok(0);
            };
            buffer[0] = first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let bytes = |unit: u16| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn every_encoding_becomes_text() {
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>";
        let table: Vec<(Vec<u8>, &str)> = vec![
            (b"<a>\xc3\xa9</a>".to_vec(), "<a>é</a>"),
            (b"\xef\xbb\xbf<a/>".to_vec(), "<a/>"),
            (b"<a>\xe9\xff</a>".to_vec(), "<a>\u{fffd}\u{fffd}</a>"),
            (b"<a>\xf0\x9f".to_vec(), "<a>\u{fffd}"),
            (
                latin.to_vec(),
                "<?xml version='1.0' encoding='ISO-8859-1'?><a>é</a>",
            ),
            (utf16("\u{feff}<a>é😀</a>", false), "<a>é😀</a>"),
            (utf16("\u{feff}<a>é😀</a>", true), "<a>é😀</a>"),
            (utf16("<a/>", false), "<a/>"),
            (utf16("<a/>", true), "<a/>"),
            (b"\xff\xfea".to_vec(), ""),
            (Vec::new(), ""),
        ];
        for (bytes, expected) in table {
            for slow in [false, true] {
                let mut text = String::new();
                let read: Box<dyn Read> = if slow {
                    Box::new(Slow(&bytes))
                } else {
                    Box::new(&bytes[..])
                };
                Decoder::new(read).read_to_string(&mut text).unwrap();
                assert_eq!(text, expected, "{bytes:?}, a byte at a time: {slow}");
            }
        }
    }
}
