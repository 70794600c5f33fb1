//! Keeps secrets out of everything that leaves a build: the streaming redactor.
//!
//! Output arrives in chunks that are cut anywhere, so a secret may begin in one and end in the next. The law, whatever
//! the cuts: the result is the same as for the whole text at once, and no byte that belongs to a secret is passed on.
//!
//! How: bytes that could be the beginning of a secret are held back until the next chunk decides. Everywhere else all
//! matches, overlapping ones too, are united into ranges, and each range becomes `***` (LOG-15).

use aho_corasick::{AhoCorasick, MatchKind};

/// What stands for a secret, as in CodeBuild's log.
pub const MASK: &str = "***";

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
        (earliest..length)
            .find(|&start| {
                let tail = &self.held[start..];
                self.secrets
                    .needles
                    .iter()
                    .any(|needle| needle.len() > tail.len() && needle.starts_with(tail))
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

    proptest::proptest! {
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
