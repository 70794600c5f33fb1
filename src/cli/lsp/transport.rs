//! Messages as bytes: a header with the length, a blank line, JSON.

use std::io::{self, BufRead, Read as _, Write};

use serde_json::Value;

/// The longest message that is read. No buildspec comes near it.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Why a message cannot be understood. The next one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Garbage {
    /// The header does not say how long it is.
    NoLength,
    /// It is longer than anything that is read.
    TooLong,
    /// It is no JSON.
    NoJson,
}

impl Garbage {
    /// The same in words.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::NoLength => "its header has no `Content-Length`, or one that is no number",
            Self::TooLong => "it is longer than 64 MiB",
            Self::NoJson => "it is not JSON",
        }
    }
}

/// The next message; nothing at the end of the stream.
pub(super) fn read(input: &mut impl BufRead) -> Option<Result<Value, Garbage>> {
    let length = match header(input)? {
        Ok(length) => length,
        Err(garbage) => return Some(Err(garbage)),
    };
    let mut body = input.take(length);
    if length > MAX_BYTES {
        io::copy(&mut body, &mut io::sink()).ok()?;
        return Some(Err(Garbage::TooLong));
    }
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).ok()?;
    if (bytes.len() as u64) < length {
        return None;
    }
    Some(serde_json::from_slice(&bytes).map_err(|_| Garbage::NoJson))
}

fn header(input: &mut impl BufRead) -> Option<Result<u64, Garbage>> {
    let mut length = None;
    loop {
        let mut line = Vec::new();
        let mut bounded = input.take(MAX_BYTES);
        if bounded.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() {
            return Some(length.ok_or(Garbage::NoLength));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
}

/// Writes a message.
pub(super) fn write(output: &mut impl Write, message: &Value) -> io::Result<()> {
    let body = message.to_string();
    write!(output, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_garbage_does_not_hide_what_follows() {
        let mut stream = Vec::new();
        write(&mut stream, &json!({ "a": "é" })).unwrap();
        stream.extend(b"Content-Length: 3\r\n\r\n{a}X: y\r\n\r\ncontent-length:4\n\nnull");
        stream.extend(b"Content-Length: 67108865\r\n\r\n");
        stream.extend(vec![b' '; 67_108_865]);
        stream.extend(b"Content-Length: 1\r\n\r\n1Content-Length: 9\r\n\r\n{");
        let mut input = stream.as_slice();
        let mut messages = Vec::new();
        while let Some(message) = read(&mut input) {
            messages.push(message);
        }
        let expected = [
            Ok(json!({ "a": "é" })),
            Err(Garbage::NoJson),
            Err(Garbage::NoLength),
            Ok(Value::Null),
            Err(Garbage::TooLong),
            Ok(json!(1)),
        ];
        assert_eq!(messages, expected);
    }
}
