//! Keeps secrets out of everything that leaves a build: the streaming redactor.
//!
//! Output arrives in chunks that are cut anywhere, so a secret may begin in one and end in the next. The law, whatever
//! the cuts: the result is the same as for the whole text at once, and no byte that belongs to a secret is passed on.
//!
//! How: bytes that could be the beginning of a secret are held back until the next chunk decides. Everywhere else all
//! matches, overlapping ones too, are united into ranges, and each range becomes `***` (LOG-15).

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What stands for a secret, as in CodeBuild's log.
pub const MASK: &str = "***";

/// Shortest value that is hidden, in bytes: a shorter one would hide ordinary text everywhere (LOG-22).
pub const SHORTEST: usize = 4;

/// Shortest value whose encoded forms are hidden as well: those of a shorter one are ordinary text too often.
const SHORTEST_ENCODED: usize = 6;

/// A value as it may be seen: itself, each of its lines, and both as programs write them who encode what they are given (LOG-21).
/// Nothing for a value that is too short.
#[must_use]
pub fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let lines = value
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut forms: Vec<Vec<u8>> = std::iter::once(value)
        .chain(lines)
        .filter(|text| text.len() >= SHORTEST)
        .flat_map(encodings)
        .collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn encodings(text: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![text.to_vec()];
    if text.len() < SHORTEST_ENCODED {
        return forms;
    }
    forms.extend(base64(text));
    for digits in ["0123456789abcdef", "0123456789ABCDEF"] {
        let digits = digits.as_bytes();
        forms.push(hex(text, digits));
        forms.push(escaped(text, url_plain, |byte| hex_of(b"%", byte, digits)));
        forms.push(escaped(text, url_plain, |byte| match byte {
            b' ' => b"+".to_vec(),
            _ => hex_of(b"%", byte, digits),
        }));
    }
    if let Ok(text) = std::str::from_utf8(text) {
        let json = serde_json::Value::from(text).to_string();
        forms.push(json.as_bytes()[1..json.len() - 1].to_vec());
    }
    forms.extend(shell(text));
    forms
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
            forms.push(alphabet.encode(&padded).as_bytes()[from..to].to_vec());
        }
    }
    forms
}

fn hex(text: &[u8], digits: &[u8]) -> Vec<u8> {
    text.iter()
        .flat_map(|&byte| hex_of(b"", byte, digits))
        .collect()
}

fn hex_of(before: &[u8], byte: u8, digits: &[u8]) -> Vec<u8> {
    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
    [before, &[digits[high], digits[low]]].concat()
}

const fn url_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// As shells quote it: `'…'` with its quotes as `'\''` or `'"'"'`, `"…"`, with a backslash before what means something, and the
/// `$'…'` of bash.
fn shell(text: &[u8]) -> [Vec<u8>; 5] {
    let special = |byte: u8| matches!(byte, b'"' | b'\\' | b'$' | b'`');
    let quoted =
        |quote: &'static [u8]| escaped(text, |byte| byte != b'\'', move |_| quote.to_vec());
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || byte > 127 || b"%+,-./:=@_".contains(&byte);
    [
        quoted(br"'\''"),
        quoted(br#"'"'"'"#),
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

/// The secrets of a build.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    needles: Vec<Vec<u8>>,
    longest: usize,
    automaton: Option<AhoCorasick>,
}

impl Secrets {
    /// The secrets with these values. Empty ones would match everywhere and are left out.
    #[must_use]
    pub fn new<T: Into<Vec<u8>>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut needles: Vec<Vec<u8>> = values
            .into_iter()
            .map(Into::into)
            .filter(|value| !value.is_empty())
            .collect();
        needles.sort();
        needles.dedup();
        let longest = needles.iter().map(Vec::len).max().unwrap_or(0);
        let automaton = (!needles.is_empty()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .build(&needles)
                .expect("invariant: a build's secrets are far fewer than an automaton can hold")
        });
        Self {
            needles,
            longest,
            automaton,
        }
    }

    /// These and more.
    #[must_use]
    pub fn and<T: Into<Vec<u8>>>(&self, values: impl IntoIterator<Item = T>) -> Self {
        let more = values.into_iter().map(Into::into);
        Self::new(self.needles.iter().cloned().chain(more))
    }

    /// Whether there is nothing to hide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// A text without secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut stream = Redactor::new(self.clone());
        let mut bytes = stream.push(text.as_bytes().to_vec());
        bytes.extend(stream.flush());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The state of one stream.
#[derive(Debug, Default)]
pub struct Redactor {
    secrets: Secrets,
    /// Bytes held back.
    held: Vec<u8>,
    /// How many of the held bytes belong to a secret whose mask was already passed on.
    masked: usize,
}

impl Redactor {
    /// A stream that hides these secrets.
    #[must_use]
    pub const fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            held: Vec::new(),
            masked: 0,
        }
    }

    /// Takes the next chunk and gives back what may be passed on.
    #[must_use]
    pub fn push(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        if self.secrets.is_empty() {
            return chunk;
        }
        if self.held.is_empty() {
            self.held = chunk;
        } else {
            self.held.extend_from_slice(&chunk);
        }
        let safe = self.undecided_from();
        self.pass_on(safe)
    }

    /// The end of the stream, or of waiting for more: what was held back decides itself.
    #[must_use]
    pub fn flush(&mut self) -> Vec<u8> {
        let all = self.held.len();
        self.pass_on(all)
    }

    /// The first held byte from which on everything could be the beginning of a secret.
    fn undecided_from(&self) -> usize {
        let length = self.held.len();
        let earliest = (length + 1).saturating_sub(self.secrets.longest);
        let needles = &self.secrets.needles;
        (earliest..length)
            .find(|&start| {
                let tail = &self.held[start..];
                // Needles are sorted, and no two are the same: what begins with the tail and is longer follows it at once.
                let after = needles.partition_point(|needle| needle.as_slice() <= tail);
                needles
                    .get(after)
                    .is_some_and(|next| next.starts_with(tail))
            })
            .unwrap_or(length)
    }

    /// Passes on the first `safe` held bytes, masked. A match that begins before `safe` is complete by the choice of
    /// `safe`; how far it reaches beyond is remembered, so that its rest is swallowed and no second mask appears.
    fn pass_on(&mut self, safe: usize) -> Vec<u8> {
        let Some(automaton) = &self.secrets.automaton else {
            return std::mem::take(&mut self.held);
        };
        let mut matches: Vec<(usize, usize)> = automaton
            .find_overlapping_iter(&self.held)
            .map(|found| (found.start(), found.end()))
            .filter(|(start, _)| *start < safe)
            .collect();
        if matches.is_empty() && self.masked == 0 {
            let rest = self.held.split_off(safe);
            return std::mem::replace(&mut self.held, rest);
        }
        matches.sort_unstable();
        let mut out = Vec::with_capacity(safe);
        let mut done = self.masked;
        for (start, end) in matches {
            // A match that touches the one before continues its mask only if they overlap.
            if start >= done {
                out.extend_from_slice(&self.held[done..start]);
                out.extend_from_slice(MASK.as_bytes());
            }
            done = done.max(end);
        }
        if done < safe {
            out.extend_from_slice(&self.held[done..safe]);
        }
        self.masked = done.saturating_sub(safe);
        self.held.drain(..safe);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_chunks(secrets: &[&str], chunks: &[&str]) -> String {
        let mut redactor = Redactor::new(Secrets::new(
            secrets.iter().map(|secret| secret.as_bytes().to_vec()),
        ));
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend(redactor.push(chunk.as_bytes().to_vec()));
        }
        out.extend(redactor.flush());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_occurrence_becomes_a_mask() {
        let table = [
            (&["s3cr3t"][..], "a s3cr3t b s3cr3t", "a *** b ***"),
            (&["s3cr3t"], "s3cr3", "s3cr3"),
            (&["s3cr3t"], "s3cr3ts3cr3t", "******"),
            (&["abc", "abcdef"], "abcdef abcd", "*** ***d"),
            (&["abab"], "ababab", "***"),
            (&["ab", "bc"], "abc", "***"),
            (&[""], "text", "text"),
            (&["é\n"], "aé\nb", "a***b"),
            (&["aaa"], "aaaaaaa", "***"),
        ];
        for (secrets, text, expected) in table {
            assert_eq!(
                in_chunks(secrets, &[text]),
                expected,
                "{secrets:?} in {text:?}"
            );
            let bytes: Vec<String> = text.chars().map(String::from).collect();
            let single: Vec<&str> = bytes.iter().map(String::as_str).collect();
            assert_eq!(
                in_chunks(secrets, &single),
                expected,
                "{secrets:?} in {text:?}, one by one"
            );
        }
    }

    #[test]
    fn only_what_may_be_a_secret_is_held_back() {
        let mut redactor = Redactor::new(Secrets::new(["s3cr3t"]));
        assert_eq!(redactor.push(b"password: ".to_vec()), b"password: ");
        assert_eq!(redactor.push(b"xs3c".to_vec()), b"x");
        assert_eq!(redactor.push(b"!".to_vec()), b"s3c!");
        assert_eq!(redactor.flush(), b"");
    }

    /// What `runner` hides for one value, as one stream of all of it.
    fn hidden(value: &str, text: &str) -> String {
        in_chunks(
            &forms(value.as_bytes())
                .iter()
                .map(|form| std::str::from_utf8(form).unwrap())
                .collect::<Vec<_>>(),
            &[text],
        )
    }

    // LOG-21
    #[test]
    fn what_programs_make_of_a_value_is_hidden() {
        let value = "p@ss w'or\"d$1";
        let table = [
            "p@ss w'or\"d$1",
            "p%40ss%20w%27or%22d%241",
            "p%40ss+w%27or%22d%241",
            r#"p@ss w'or\"d$1"#,
            r#"p@ss w'\''or"d$1"#,
            r#"p@ss w'"'"'or"d$1"#,
            r#"p@ss w'or\"d\$1"#,
            r#"p@ss\ w\'or\"d\$1"#,
            r#"p@ss w\'or"d$1"#,
        ];
        let shown: Vec<&str> = table
            .into_iter()
            .filter(|text| hidden(value, text) != MASK)
            .collect();
        assert!(shown.is_empty(), "{shown:?}");
        let pairs: Vec<String> = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let hex = pairs.concat();
        assert_eq!(hidden(value, &hex), MASK);
        assert_eq!(hidden(value, &hex.to_uppercase()), MASK);
    }

    // LOG-21
    #[test]
    fn each_line_of_a_value_is_hidden() {
        let value = "-----BEGIN KEY-----\r\nabcdef123\n}\n";
        assert_eq!(hidden(value, "> abcdef123 <"), "> *** <");
        assert_eq!(hidden(value, "{}"), "{}");
        assert_eq!(hidden(value, value), MASK);
    }

    // LOG-22
    #[test]
    fn short_values_hide_nothing() {
        for value in ["", "a", "abc", "\n", "a\nb"] {
            assert_eq!(
                forms(value.as_bytes()).len(),
                usize::from(value.len() >= SHORTEST),
                "{value:?}"
            );
        }
        assert_eq!(hidden("abcd", "abcd YWJjZA=="), "*** YWJjZA==");
    }

    proptest::proptest! {
        #[test]
        fn base64_of_any_text_around_a_value_shows_nothing_of_it(
            before in "[ -~]{0,7}",
            value in "[ -~]{6,20}",
            after in "[ -~]{0,7}",
        ) {
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let text = engine.encode(format!("{before}{value}{after}"));
                let seen = hidden(&value, &text);
                // Of the value no more than the bits in the two characters at its ends is left.
                proptest::prop_assert!(seen.contains(MASK), "{} in {}", value, text);
                let most = before.len().div_ceil(3) * 4 + after.len().div_ceil(3) * 4 + MASK.len() + 4;
                proptest::prop_assert!(seen.len() <= most, "{} became {}", text, seen);
            }
        }

        #[test]
        fn cuts_change_nothing_and_no_secret_gets_through(
            text in "[abc]{0,40}",
            secrets in proptest::collection::vec("[abc]{1,5}", 0..4),
            cuts in proptest::collection::vec(0usize..41, 0..6),
        ) {
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let whole = in_chunks(&secrets, &[&text]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts {
                chunks.push(&text[from..cut]);
                from = cut;
            }
            chunks.push(&text[from..]);
            proptest::prop_assert_eq!(&in_chunks(&secrets, &chunks), &whole);
            for secret in secrets {
                proptest::prop_assert!(!whole.contains(secret), "{} in {}", secret, whole);
            }
        }
    }
}
