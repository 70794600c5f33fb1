//! Keeps secrets out of everything that leaves a build: the streaming redactor.
//!
//! Output arrives in chunks that are cut anywhere, so a secret may begin in one and end in the next. The law, whatever
//! the cuts: the result is the same as for the whole text at once, and no byte that belongs to a secret is passed on.
//!
//! How: bytes that could be the beginning of a secret are held back until the next chunk decides. Everywhere else all
//! matches, overlapping ones too, are united into ranges, and each range becomes `***` (LOG-15).

mod find;
mod forms;

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::find::Finder;
pub use self::forms::forms;

/// What stands for a secret, as in CodeBuild's log.
pub const MASK: &str = "***";

/// Shortest value that is hidden, in bytes: a shorter one would hide ordinary text everywhere (LOG-22).
pub const SHORTEST: usize = 4;

/// From this length on, in bytes, no secret is in another text by chance.
pub const UNLIKELY: usize = 16;

/// From this length on, in bytes, no secret is the same as another text by chance.
pub const UNLIKELY_ALONE: usize = 8;

/// Bytes that are looked through at once.
const PIECE: usize = 256 * 1024;

/// The secrets of a build. Copies share what is in them.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    finder: Option<Arc<Finder>>,
}

impl Secrets {
    /// The secrets with these values. Empty ones would match everywhere and are left out.
    #[must_use]
    pub fn new<T: Into<Vec<u8>>>(values: impl IntoIterator<Item = T>) -> Self {
        let needles = values.into_iter().map(Into::into).collect();
        Self {
            finder: Finder::new(needles).map(Arc::new),
        }
    }

    /// These and more.
    #[must_use]
    pub fn and<T: Into<Vec<u8>>>(&self, values: impl IntoIterator<Item = T>) -> Self {
        let more = values.into_iter().map(Into::into);
        let known = self.finder.iter().flat_map(|finder| finder.needles());
        Self::new(known.cloned().chain(more))
    }

    /// Whether there is nothing to hide.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.finder.is_none()
    }

    /// Whether a secret is in what comes from there. Reads until one is found, and holds a piece of it at a time.
    pub fn is_in(&self, reader: &mut impl Read) -> io::Result<bool> {
        let Some(finder) = &self.finder else {
            return Ok(false);
        };
        let mut text = vec![0; PIECE + finder.longest()];
        let mut held = 0;
        loop {
            let read = match reader.read(&mut text[held..]) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let filled = held + read;
            if !finder.find(&text[..filled], filled).is_empty() {
                return Ok(true);
            }
            if read == 0 {
                return Ok(false);
            }
            // What may be the beginning of one goes before what comes next.
            let undecided = finder.undecided_from(&text[..filled]);
            text.copy_within(undecided..filled, 0);
            held = filled - undecided;
        }
    }

    /// Whether a text has a secret in it that is not there by chance: one of [`UNLIKELY`] bytes and more, or one of
    /// [`UNLIKELY_ALONE`] that is all of the text. A stage's name or `true` is in many texts that have nothing to do with the
    /// secret of that value.
    #[must_use]
    pub fn are_given_away_by(&self, text: &str) -> bool {
        let Some(finder) = &self.finder else {
            return false;
        };
        let found = finder.find(text.as_bytes(), text.len());
        found.into_iter().any(|(start, end)| {
            let length = end - start;
            length >= UNLIKELY || (length >= UNLIKELY_ALONE && length == text.len())
        })
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

/// Takes values that become known while a build goes on, for whoever records what happens (see
/// [`crate::sink::Recorder::heed`]). A value that was handed in is hidden in everything that is recorded after that.
#[derive(Clone, Default)]
pub struct Hider(Arc<Mutex<Vec<Vec<u8>>>>);

impl std::fmt::Debug for Hider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hider(…)")
    }
}

impl Hider {
    /// Hides these values from now on. Those that nobody took yet wait for whoever does.
    pub fn hide(&self, values: impl IntoIterator<Item = Vec<u8>>) {
        self.values().extend(values);
    }

    /// What was handed in since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.values())
    }

    fn values(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Takes the next chunk and gives back what may be passed on. A chunk without anything to hide is not copied.
    #[must_use]
    pub fn push(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        let Some(finder) = &self.secrets.finder else {
            return chunk;
        };
        if self.held.is_empty() {
            self.held = chunk;
        } else {
            self.held.extend_from_slice(&chunk);
        }
        let safe = finder.undecided_from(&self.held);
        self.pass_on(safe)
    }

    /// The end of the stream, or of waiting for more: what was held back decides itself.
    #[must_use]
    pub fn flush(&mut self) -> Vec<u8> {
        let all = self.held.len();
        self.pass_on(all)
    }

    /// Passes on the first `safe` held bytes, masked. A match that begins before `safe` is complete by the choice of
    /// `safe`; how far it reaches beyond is remembered, so that its rest is swallowed and no second mask appears.
    fn pass_on(&mut self, safe: usize) -> Vec<u8> {
        let Some(finder) = &self.secrets.finder else {
            return std::mem::take(&mut self.held);
        };
        let matches = finder.find(&self.held, safe);
        if matches.is_empty() && self.masked == 0 {
            let rest = self.held.split_off(safe);
            return std::mem::replace(&mut self.held, rest);
        }
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
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

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
            // The second begins within the first, and may go on.
            (&["abcdefgh", "bcdefghijklm"], "xabcdefgh", "x***"),
            (&["abcdefgh", "bcdefghijklm"], "xabcdefghijklmn", "x***n"),
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

    // LOG-23
    #[test]
    fn what_dumps_show_is_hidden_by_the_line() {
        let value = "a-secret-of-24-characters";
        let digits = |text: &str| -> Vec<String> {
            text.bytes().map(|byte| format!("{byte:02x}")).collect()
        };
        let all = digits(value);
        assert_eq!(hidden(value, &all.join(":")), MASK);
        assert_eq!(hidden(value, &all.join(" ").to_uppercase()), MASK);
        let line = &all[..16];
        let pairs: Vec<String> = line.chunks(2).map(<[String]>::concat).collect();
        for shown in [
            line.join(" "),
            pairs.join(" "),
            format!("{}  {}", line[..8].join(" "), line[8..].join(" ")),
        ] {
            assert_eq!(hidden(value, &format!(" {shown}\n")), " ***\n", "{shown}");
        }
    }

    // ENV-43
    #[test]
    fn only_what_is_there_by_no_chance_gives_a_secret_away() {
        let secrets = Secrets::new(["true", "production", "a-password-of-some-length"]);
        for (text, expected) in [
            ("true", false),
            ("production", true),
            ("app:production-42", false),
            ("x a-password-of-some-length", true),
            ("", false),
        ] {
            assert_eq!(secrets.are_given_away_by(text), expected, "{text}");
        }
    }

    // LOG-21
    #[test]
    fn each_line_of_a_value_is_hidden() {
        let value = "-----BEGIN KEY-----\r\nabcdef123\n}\n";
        assert_eq!(hidden(value, "> abcdef123 <"), "> *** <");
        assert_eq!(hidden(value, "{}"), "{}");
        assert_eq!(hidden(value, value), MASK);
    }

    fn parts(number: usize, part: impl Fn(usize) -> String) -> String {
        (0..number).map(part).collect::<Vec<_>>().concat()
    }

    // LOG-23
    #[test]
    fn what_is_broken_into_lines_is_hidden() {
        let value = parts(40, |number| format!("line {number} of it, "));
        let base64 = STANDARD_NO_PAD.encode(format!("{value}\n"));
        let hex = parts(value.len(), |at| format!("{:02x}", value.as_bytes()[at]));
        for (text, width) in [(&base64, 64), (&base64, 76), (&hex, 60)] {
            let lines: Vec<&[u8]> = text.as_bytes().chunks(width).collect();
            let (last, whole) = lines.split_last().unwrap();
            for line in whole {
                assert_eq!(hidden(&value, std::str::from_utf8(line).unwrap()), MASK);
            }
            // Of the last line the value's neighbour has a part in what is at its end.
            let seen = hidden(&value, std::str::from_utf8(last).unwrap());
            assert!(
                seen.starts_with(MASK) && seen.len() < MASK.len() + 4,
                "{seen}"
            );
        }
    }

    // LOG-23
    #[test]
    fn a_long_value_is_one_mask_and_little_of_it_is_held_back() {
        let value = parts(2000, |number| format!("{number}-"));
        assert_eq!(hidden(&value, &format!("<{value}>")), "<***>");
        assert_eq!(
            hidden(&value, &value[1000..3000]).replace(|c: char| c != '*', ""),
            MASK
        );
        let longest = forms(value.as_bytes()).iter().map(Vec::len).max();
        assert_eq!(longest, Some(512));
    }

    // LOG-21
    #[test]
    fn what_json_of_other_programs_and_xml_make_of_a_value_is_hidden() {
        let value = "a<b>&c'd\"é\u{1f511}";
        for text in [
            r#"a<b>&c'd\"\u00e9\ud83d\udd11"#,
            r#"a\u003cb\u003e\u0026c'd\"é🔑"#,
            "a&lt;b&gt;&amp;c&apos;d&quot;é🔑",
            "a%3Cb%3E%26c'd%22%C3%A9%F0%9F%94%91",
            "a<b>&c''d\"é🔑",
        ] {
            assert_eq!(hidden(value, text), MASK, "{text}");
        }
        assert_eq!(hidden("\"quoted\"", "<quoted>"), "<***>");
        assert_eq!(
            hidden("\"short\"", "<short> <'short'>"),
            "<short> <'short'>"
        );
    }

    /// Gives a few bytes at a time.
    struct Slow<'t>(&'t [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let part = self.1.min(to.len()).min(self.0.len());
            (&self.0[..part])
                .read(to)
                .inspect(|read| self.0 = &self.0[*read..])
        }
    }

    // ART-30
    #[test]
    fn a_secret_is_found_wherever_a_file_is_cut() {
        let secrets = Secrets::new(["sesame-open", "other"]);
        let mut text = vec![b's'; PIECE + 3];
        text.extend_from_slice(b"sesame-open and so on");
        for step in [1000, 4096, PIECE, PIECE + 7, usize::MAX] {
            assert!(secrets.is_in(&mut Slow(&text, step)).unwrap(), "{step}");
            let without = &text[..PIECE + 12];
            assert!(!secrets.is_in(&mut Slow(without, step)).unwrap(), "{step}");
        }
        for step in 1..12 {
            assert!(secrets.is_in(&mut Slow(b"xsesame-openx", step)).unwrap());
        }
        assert!(
            !Secrets::default()
                .is_in(&mut Slow(b"sesame-open", 4))
                .unwrap()
        );
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

        // LOG-15
        #[test]
        fn cuts_change_nothing_and_no_secret_gets_through(
            text in "[abc]{0,40}",
            secrets in proptest::collection::vec("[abc]{1,5}", 0..4),
            cuts in cuts(),
        ) {
            let whole = masked(&secrets, &text);
            proptest::prop_assert_eq!(cut(&secrets, &text, &cuts), &*whole);
            for secret in secrets {
                proptest::prop_assert!(!whole.contains(&secret), "{} in {}", secret, whole);
            }
        }

        // LOG-15: what is long is looked for by other means, and text that resembles it is harder.
        #[test]
        fn long_and_short_secrets_are_all_found(
            secrets in proptest::collection::vec("[ab]{1,3}|[ab]{4,9}|[a-d]{8,20}|[ab]{15,40}", 1..40),
            pieces in proptest::collection::vec(
                (proptest::prelude::any::<proptest::sample::Index>(), 0usize..41, 0usize..41, "[abx]{0,6}"),
                0..12,
            ),
            cuts in cuts(),
        ) {
            // Parts of secrets, whole ones too, with something between them.
            let text: Vec<String> = pieces
                .iter()
                .map(|(secret, from, to, noise)| {
                    let secret = secret.get(&secrets);
                    let to = secret.len().min(*to);
                    format!("{}{noise}", &secret[to.min(*from / 2)..to])
                })
                .collect();
            let text = text.concat();
            proptest::prop_assert_eq!(cut(&secrets, &text, &cuts), masked(&secrets, &text));
        }
    }

    fn cuts() -> impl proptest::strategy::Strategy<Value = Vec<usize>> {
        proptest::collection::vec(0usize..200, 0..12)
    }

    fn cut(secrets: &[String], text: &str, cuts: &[usize]) -> String {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.min(&text.len())).collect();
        cuts.sort_unstable();
        let mut from = 0;
        let mut chunks = Vec::new();
        for to in cuts.into_iter().chain([text.len()]) {
            chunks.push(&text[from..to]);
            from = to;
        }
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        in_chunks(&secrets, &chunks)
    }

    /// The law, in the plainest way: every byte of every occurrence is marked, and what overlaps is one.
    fn masked(secrets: &[String], text: &str) -> String {
        let mut found: Vec<(usize, usize)> = (0..text.len())
            .flat_map(|at| secrets.iter().map(move |secret| (at, secret)))
            .filter(|(at, secret)| !secret.is_empty() && text[*at..].starts_with(secret.as_str()))
            .map(|(at, secret)| (at, at + secret.len()))
            .collect();
        found.sort_unstable();
        let (mut out, mut done) = (String::new(), 0);
        for (from, to) in found {
            if from >= done {
                out += &text[done..from];
                out += MASK;
            }
            done = done.max(to);
        }
        out + &text[done..]
    }
}
