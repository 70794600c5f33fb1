//! What a secret may look like when it is seen (LOG-21, LOG-23).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::SHORTEST;

/// Shortest value whose encoded forms are hidden as well: those of a shorter one are ordinary text too often.
const SHORTEST_ENCODED: usize = 6;

/// Longest stretch that is looked for at once, in bytes. What is longer is hidden stretch by stretch, so that no more than this
/// is ever held back of a stream.
const LONGEST: usize = 512;

/// Characters in a line where programs break what they encode: Base64 by `base64` and `openssl`, hexadecimal by `xxd`.
const BASE64_LINES: [usize; 2] = [76, 64];
const HEX_LINE: usize = 60;

/// Bytes in a line of a dump.
const DUMP_LINE: usize = 16;

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// A value as it may be seen: itself, each of its lines, and both as programs write them who encode what they are given.
/// Nothing for a value that is too short. A form longer than 512 bytes is there as stretches that overlap.
#[must_use]
pub fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let lines = value
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut forms: Vec<Vec<u8>> = std::iter::once(value)
        .chain(lines)
        .filter(|text| text.len() >= SHORTEST)
        .flat_map(encodings)
        .flat_map(stretches)
        .collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// A form, or what it is cut into: each stretch overlaps the one before, so that all of them together become one mask.
fn stretches(form: Vec<u8>) -> Vec<Vec<u8>> {
    if form.len() <= LONGEST {
        return vec![form];
    }
    let last = form.len() - LONGEST;
    (0..last)
        .step_by(LONGEST - 1)
        .chain(std::iter::once(last))
        .map(|from| form[from..from + LONGEST].to_vec())
        .collect()
}

fn encodings(text: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![text.to_vec()];
    if text.len() < SHORTEST_ENCODED {
        return forms;
    }
    forms.extend(base64(text));
    for digits in [LOWER, UPPER] {
        let hex = hex(text, digits);
        forms.extend(broken(&hex, HEX_LINE));
        forms.extend(dumped(text, &hex));
        forms.push(hex);
        forms.extend(url(text, digits));
    }
    if let Ok(text) = std::str::from_utf8(text) {
        forms.extend(json(text));
        forms.push(xml(text));
    }
    forms.extend(shell(text));
    forms.extend(unquoted(text).map(<[u8]>::to_vec));
    forms
}

/// What is between the quotes of a value that has some around it, as a text in JSON: whoever reads the JSON writes it so.
fn unquoted(text: &[u8]) -> Option<&[u8]> {
    let ([b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\'']) = text else {
        return None;
    };
    (inner.len() >= SHORTEST_ENCODED).then_some(inner)
}

/// What Base64 of any text has in it wherever the value stands in that text: the value may begin at each of the three places of a
/// group. What the neighbours have a part in is left out, at both ends.
fn base64(text: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for (alphabet, end) in [(&STANDARD_NO_PAD, "=="), (&URL_SAFE_NO_PAD, "")] {
        let whole = alphabet.encode(text);
        let padding = (3 - text.len() % 3) % 3;
        forms.push(format!("{whole}{}", &end[..padding.min(end.len())]).into_bytes());
        for before in 0..3 {
            let mut padded = vec![0; before];
            padded.extend_from_slice(text);
            // Six bits a character: those of bits before the value, and of the bits after it, are not only its own.
            let from = (before * 8).div_ceil(6);
            let to = padded.len() * 8 / 6;
            let own = alphabet.encode(&padded).as_bytes()[from..to].to_vec();
            if before == 0 {
                for width in BASE64_LINES {
                    forms.extend(broken(&own, width));
                }
            }
            forms.push(own);
        }
    }
    forms
}

/// The lines of what is broken into several. The last one may be short, and then it is ordinary text.
fn broken(whole: &[u8], width: usize) -> impl Iterator<Item = Vec<u8>> {
    let lines = (whole.len() > width).then(|| whole.chunks(width));
    lines
        .into_iter()
        .flatten()
        .filter(|line| line.len() >= SHORTEST_ENCODED)
        .map(<[u8]>::to_vec)
}

fn hex(text: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    text.iter()
        .flat_map(|&byte| hex_of(b"", byte, digits))
        .collect()
}

/// Hexadecimal as dumps have it: each byte or every two by themselves, with blanks or colons between them. Sixteen to a line, as
/// `od`, `hexdump` and `xxd` begin with the value.
fn dumped(text: &[u8], hex: &[u8]) -> Vec<Vec<u8>> {
    let joined = |pairs: &[u8], digits: usize, between: &[u8]| {
        let groups: Vec<&[u8]> = pairs.chunks(digits).collect();
        groups.join(between)
    };
    let mut forms = vec![joined(hex, 2, b" "), joined(hex, 2, b":")];
    // The blank of `hexdump -C` in the middle of a line is one more.
    for line in hex.chunks(DUMP_LINE * 2) {
        if line.len() >= SHORTEST_ENCODED * 2 && (text.len() > DUMP_LINE || line.len() == hex.len())
        {
            forms.push(joined(line, 2, b" "));
            forms.push(joined(line, 4, b" "));
            let halves: Vec<Vec<u8>> = line
                .chunks(DUMP_LINE)
                .map(|half| joined(half, 2, b" "))
                .collect();
            forms.push(halves.join(&b"  "[..]));
        }
    }
    forms
}

fn hex_of(before: &[u8], byte: u8, digits: &[u8; 16]) -> Vec<u8> {
    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
    [before, &[digits[high], digits[low]]].concat()
}

/// As in a URL, with blanks as `%20` and as `+`. Programs differ in what they leave as it is: nothing but what is unreserved, a
/// path's slashes too, or what JavaScript leaves.
fn url(text: &[u8], digits: &[u8; 16]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for left in [&b""[..], b"/", b"!*'()"] {
        let plain = |byte: u8| {
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || left.contains(&byte)
        };
        forms.push(escaped(text, plain, |byte| hex_of(b"%", byte, digits)));
        forms.push(escaped(text, plain, |byte| match byte {
            b' ' => b"+".to_vec(),
            _ => hex_of(b"%", byte, digits),
        }));
    }
    forms
}

/// As in JSON, and as in that of programs who keep to ASCII or to what HTML may hold.
fn json(text: &str) -> [Vec<u8>; 3] {
    let quoted = serde_json::Value::from(text).to_string();
    let plain = &quoted[1..quoted.len() - 1];
    let code = |unit: u16| format!("\\u{unit:04x}");
    let with_codes = |needs_code: fn(char) -> bool| {
        let mut text = String::with_capacity(plain.len());
        for character in plain.chars() {
            if needs_code(character) {
                let mut units = [0; 2];
                text.extend(
                    character
                        .encode_utf16(&mut units)
                        .iter()
                        .map(|unit| code(*unit)),
                );
            } else {
                text.push(character);
            }
        }
        text.into_bytes()
    };
    [
        plain.as_bytes().to_vec(),
        with_codes(|character| !character.is_ascii()),
        with_codes(|character| matches!(character, '<' | '>' | '&')),
    ]
}

fn xml(text: &str) -> Vec<u8> {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out.into_bytes()
}

/// As shells quote it: `'…'` with its quotes as `'\''`, `'"'"'` or `''`, `"…"`, with a backslash before what means something, and
/// the `$'…'` of bash.
fn shell(text: &[u8]) -> [Vec<u8>; 6] {
    let special = |byte: u8| matches!(byte, b'"' | b'\\' | b'$' | b'`');
    let quoted =
        |quote: &'static [u8]| escaped(text, |byte| byte != b'\'', move |_| quote.to_vec());
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || byte > 127 || b"%+,-./:=@_".contains(&byte);
    [
        quoted(br"'\''"),
        quoted(br#"'"'"'"#),
        quoted(b"''"),
        escaped(text, |byte| !special(byte), |byte| vec![b'\\', byte]),
        escaped(text, plain, |byte| vec![b'\\', byte]),
        escaped(
            text,
            |byte| !matches!(byte, b'\'' | b'\\' | b'\n' | b'\t'),
            |byte| match byte {
                b'\n' => br"\n".to_vec(),
                b'\t' => br"\t".to_vec(),
                _ => vec![b'\\', byte],
            },
        ),
    ]
}

fn escaped(text: &[u8], plain: impl Fn(u8) -> bool, escape: impl Fn(u8) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if plain(byte) {
            out.push(byte);
        } else {
            out.extend(escape(byte));
        }
    }
    out
}
