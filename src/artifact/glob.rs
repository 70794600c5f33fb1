//! The patterns of `files`, `exclude-paths` and `base-directory` (ART-4).
//!
//! Pure. A pattern is a list of segments, one for each directory level, so that a walk knows at every directory whether
//! anything below it can still match: [`Pattern::step`] goes down one level, and a state of 0 means "nothing". That is
//! what keeps `dist/**/*` from reading all of `node_modules`.
//!
//! | written | matches |
//! | --- | --- |
//! | `*` | anything inside one segment, also nothing |
//! | `?` | one character of a segment |
//! | `[a-z]`, `[!a-z]`, `[^a-z]` | one character of a segment that is, or is not, in the set |
//! | `**` | any number of segments, also none |
//! | `x**y` | like `*`, and across segments |
//!
//! Everything else stands for itself. Names are bytes: what the file system has is what is matched.

/// Which segments of a pattern may come next, one bit a segment; 0 if none.
pub type State = u64;

/// Most segments a pattern may have; deeper than any path that a system allows to be written.
pub const MAX_SEGMENTS: usize = 63;

/// Most `**` next to other text that a pattern may have: each one doubles what it stands for.
pub const MAX_GLUED: usize = 6;

/// One pattern without variables, relative to some directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// The state before the first segment.
    start: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`: any number of directories.
    Globstar,
    /// `*`
    Any,
    Literal(Vec<u8>),
    /// `*.jar`
    Suffix(Vec<u8>),
    /// `lib*`
    Prefix(Vec<u8>),
    General(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyCharacter,
    Star,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing is left of it.
    #[error("the pattern is empty")]
    Empty,
    /// It names a directory.
    #[error("the pattern ends in `/`")]
    Directory,
    /// More than [`MAX_SEGMENTS`].
    #[error("the pattern has more than {MAX_SEGMENTS} segments")]
    TooLong,
    /// More than [`MAX_GLUED`].
    #[error("the pattern has more than {MAX_GLUED} `**` next to other text")]
    TooManyGlued,
}

/// Splits a text into the patterns it stands for: one, or several where `**` is glued to other text, since `x**y` is
/// `x*y` or `x*/**/*y`.
pub fn parse(text: &[u8]) -> Result<Vec<Pattern>, PatternError> {
    let segments: Vec<&[u8]> = text
        .split(|byte| *byte == b'/')
        .filter(|segment| !segment.is_empty() && *segment != b".")
        .collect();
    if segments.is_empty() {
        return Err(PatternError::Empty);
    }
    if text.ends_with(b"/") {
        return Err(PatternError::Directory);
    }
    if segments.iter().map(|segment| glued(segment)).sum::<usize>() > MAX_GLUED {
        return Err(PatternError::TooManyGlued);
    }
    let mut alternatives: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
    for segment in segments {
        let forms = unglue(segment);
        alternatives = alternatives
            .into_iter()
            .flat_map(|before| {
                forms.iter().map(move |form| {
                    let mut whole = before.clone();
                    whole.extend(form.iter().cloned());
                    whole
                })
            })
            .collect();
    }
    alternatives
        .into_iter()
        .map(|segments| Pattern::new(&segments))
        .collect()
}

fn is_globstar(segment: &[u8]) -> bool {
    segment.len() > 1 && segment.iter().all(|byte| *byte == b'*')
}

/// How many `**` of a segment stand next to other text.
fn glued(segment: &[u8]) -> usize {
    if is_globstar(segment) {
        return 0;
    }
    let runs = segment.split(|byte| *byte != b'*');
    runs.filter(|stars| stars.len() > 1).count()
}

/// The forms of one segment: each glued `**` is a `*`, or crosses segments.
fn unglue(segment: &[u8]) -> Vec<Vec<Vec<u8>>> {
    if is_globstar(segment) {
        return vec![vec![b"**".to_vec()]];
    }
    let Some(at) = segment.windows(2).position(|pair| pair == b"**") else {
        return vec![vec![segment.to_vec()]];
    };
    let stars = segment[at..]
        .iter()
        .take_while(|byte| **byte == b'*')
        .count();
    let left_star = [&segment[..at], b"*"].concat();
    let right = &segment[at + stars..];
    let mut forms = unglue(&[&left_star[..], right].concat());
    for tail in unglue(&[b"*", right].concat()) {
        let mut form = vec![left_star.clone(), b"**".to_vec()];
        form.extend(tail);
        forms.push(form);
    }
    forms
}

impl Pattern {
    fn new(segments: &[Vec<u8>]) -> Result<Self, PatternError> {
        if segments.len() > MAX_SEGMENTS {
            return Err(PatternError::TooLong);
        }
        let mut pattern = Self {
            segments: segments.iter().map(|text| Segment::parse(text)).collect(),
            start: 0,
        };
        pattern.start = pattern.closed(0);
        Ok(pattern)
    }

    /// The state in the directory that the pattern is relative to.
    #[must_use]
    pub const fn start(&self) -> State {
        self.start
    }

    /// The state in a directory of this name, below a directory with `state`.
    #[must_use]
    pub fn step(&self, state: State, name: &[u8]) -> State {
        let mut next = 0;
        for index in bits(state) {
            match &self.segments[index] {
                Segment::Globstar => next |= self.closed(index),
                segment if index + 1 < self.segments.len() && segment.matches(name) => {
                    next |= self.closed(index + 1);
                }
                _ => {}
            }
        }
        next
    }

    /// Whether a directory of this name is gone into by name or wildcard, and not just by a `**` that goes everywhere.
    #[must_use]
    pub fn names(&self, state: State, name: &[u8]) -> bool {
        let inner = self.segments.len() - 1;
        bits(state).any(|index| {
            index < inner
                && self.segments[index] != Segment::Globstar
                && self.segments[index].matches(name)
        })
    }

    /// Whether a file of this name matches by more than a `*` that takes everything.
    #[must_use]
    pub fn spells(&self, state: State, name: &[u8]) -> bool {
        let last = self.segments.last();
        !matches!(last, Some(Segment::Globstar | Segment::Any)) && self.accepts(state, name)
    }

    /// Whether a file of this name matches, in a directory with `state`.
    #[must_use]
    pub fn accepts(&self, state: State, name: &[u8]) -> bool {
        let last = self.segments.len() - 1;
        bits(state).any(|index| index == last && self.segments[index].matches(name))
    }

    /// Whether every file in and below a directory with `state` matches.
    #[must_use]
    pub fn accepts_everything(&self, state: State) -> bool {
        bits(state).any(|index| {
            matches!(
                self.segments[index..],
                [Segment::Globstar] | [Segment::Globstar, Segment::Any]
            )
        })
    }

    /// The leading segments that stand for themselves: where a walk may begin.
    #[must_use]
    pub fn literal_prefix(&self) -> Vec<&[u8]> {
        let literals = self.segments[..self.segments.len() - 1]
            .iter()
            .map_while(|segment| match segment {
                Segment::Literal(text) => Some(text.as_slice()),
                _ => None,
            });
        literals.collect()
    }

    /// The state with segment `index` next; a `**` may stand for nothing, so what follows it may be next as well.
    fn closed(&self, index: usize) -> State {
        let mut state = 0;
        for (offset, segment) in self.segments[index..].iter().enumerate() {
            state |= 1 << (index + offset);
            if *segment != Segment::Globstar {
                break;
            }
        }
        state
    }
}

fn bits(mut state: State) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (state != 0).then(|| {
            let index = state.trailing_zeros() as usize;
            state &= state - 1;
            index
        })
    })
}

impl Segment {
    fn parse(text: &[u8]) -> Self {
        let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[');
        match text {
            b"**" => Self::Globstar,
            b"*" => Self::Any,
            [b'*', rest @ ..] if !rest.iter().any(special) => Self::Suffix(rest.to_vec()),
            [rest @ .., b'*'] if !rest.iter().any(special) => Self::Prefix(rest.to_vec()),
            _ if !text.iter().any(special) => Self::Literal(text.to_vec()),
            _ => Self::general(tokens(text)),
        }
    }

    /// Brackets that turned out to stand for themselves leave nothing but letters.
    fn general(tokens: Vec<Token>) -> Self {
        let letters: Option<Vec<u8>> = tokens
            .iter()
            .map(|token| match token {
                Token::Byte(byte) => Some(*byte),
                _ => None,
            })
            .collect();
        letters.map_or(Self::General(tokens), Self::Literal)
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Globstar | Self::Any => true,
            Self::Literal(text) => name == text.as_slice(),
            Self::Suffix(text) => name.ends_with(text),
            Self::Prefix(text) => name.starts_with(text),
            Self::General(tokens) => matches_tokens(tokens, name),
        }
    }
}

fn tokens(text: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'*' => {
                if tokens.last() != Some(&Token::Star) {
                    tokens.push(Token::Star);
                }
            }
            b'?' => tokens.push(Token::AnyCharacter),
            b'[' => match set(tail) {
                Some((token, after)) => {
                    tokens.push(token);
                    rest = after;
                }
                // A bracket that is not closed stands for itself.
                None => tokens.push(Token::Byte(first)),
            },
            byte => tokens.push(Token::Byte(byte)),
        }
    }
    tokens
}

/// Reads `a-z]` and what follows it.
fn set(text: &[u8]) -> Option<(Token, &[u8])> {
    let (negated, body) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // A closing bracket in first place stands for itself.
    let end = body.iter().skip(1).position(|byte| *byte == b']')? + 1;
    let characters: Vec<char> = std::str::from_utf8(&body[..end]).ok()?.chars().collect();
    let mut ranges = Vec::new();
    let mut rest = characters.as_slice();
    while let [first, tail @ ..] = rest {
        if let ['-', last, after @ ..] = tail {
            ranges.push((*first, *last));
            rest = after;
        } else {
            ranges.push((*first, *first));
            rest = tail;
        }
    }
    Some((Token::Set { negated, ranges }, &body[end + 1..]))
}

/// Matches one segment. On a mismatch it goes back to the last `*` only, and lets it take one more: a `*` before that
/// could not do better. So the time is at most tokens × name, whatever the pattern.
fn matches_tokens(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    loop {
        let step = match tokens.get(token) {
            None if at == name.len() => return true,
            None => None,
            Some(Token::Star) => {
                last_star = Some((token, at));
                token += 1;
                continue;
            }
            Some(other) => other.length_of_match(&name[at..]),
        };
        match (step, last_star) {
            (Some(length), _) => {
                token += 1;
                at += length;
            }
            (None, Some((star, from))) if from < name.len() => {
                last_star = Some((star, from + 1));
                token = star + 1;
                at = from + 1;
            }
            (None, _) => return false,
        }
    }
}

impl Token {
    /// How many bytes of the name it takes; `None` if it does not match there.
    fn length_of_match(&self, rest: &[u8]) -> Option<usize> {
        match self {
            Self::Byte(byte) => (rest.first() == Some(byte)).then_some(1),
            Self::Star => None,
            Self::AnyCharacter => first_character(rest).map(|(_, length)| length),
            Self::Set { negated, ranges } => {
                let (character, length) = first_character(rest)?;
                let inside = ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&character));
                (inside != *negated).then_some(length)
            }
        }
    }
}

/// The first character of a name and its length; a byte that is no UTF-8 counts as a character of its own.
fn first_character(rest: &[u8]) -> Option<(char, usize)> {
    let head = &rest[..rest.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(character) => Some((character, character.len_utf8())),
        None => rest.first().map(|_| (char::REPLACEMENT_CHARACTER, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a pattern matches a file, found as a walk finds it: level by level.
    fn matches(pattern: &str, path: &str) -> bool {
        let patterns = parse(pattern.as_bytes()).unwrap();
        patterns.iter().any(|pattern| {
            let mut state = pattern.start();
            let (directories, file) = path
                .rsplit_once('/')
                .map_or((None, path), |(d, f)| (Some(d), f));
            for directory in directories.into_iter().flat_map(|path| path.split('/')) {
                state = pattern.step(state, directory.as_bytes());
            }
            pattern.accepts(state, file.as_bytes())
        })
    }

    #[test]
    fn patterns_match_as_codebuilds_do() {
        let table = [
            ("a/b.txt", "a/b.txt", true),
            ("a/b.txt", "a/c.txt", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("*", ".hidden", true),
            ("dir/*", "dir/a", true),
            ("dir/*", "dir/a/b", false),
            ("dir/*", "a", false),
            ("**/*", "a", true),
            ("**/*", "a/b/c", true),
            ("**/*", "a/.git/c", true),
            ("dir/**/*", "dir/a", true),
            ("dir/**/*", "dir/a/b", true),
            ("dir/**/*", "a", false),
            ("dir/**", "dir/a", true),
            ("dir/**", "dir/a/b", true),
            ("**", "a/b", true),
            ("***", "a/b", true),
            ("./**/*", "a/b", true),
            (".//a/./b", "a/b", true),
            ("**/*.jar", "x.jar", true),
            ("**/*.jar", "a/b/x.jar", true),
            ("**/*.jar", "a/b/x.war", false),
            ("**.*", "a.b", true),
            ("**.*", "d/a.b", true),
            ("**.*", "d/ab", false),
            ("lib/**.so", "lib/a/b.so", true),
            ("lib/**.so", "lib/b.so", true),
            ("lib/**.so", "b.so", false),
            ("a**b", "ab", true),
            ("a**b", "a/b", true),
            ("a**b", "ax/y/zb", true),
            ("a**b", "ax/y/zc", false),
            ("a**b**c", "a1b2c", true),
            ("a**b**c", "a1/2b/3c", true),
            ("a**b**c", "a1b/3c", true),
            ("a**b**c", "a1/2b3c", true),
            ("a**b**c", "a1/2/3c", false),
            ("**a**", "a/x", true),
            ("**a**b**c**d", "x/a/bc/d", true),
            ("**/build/**/*.js", "build/a.js", true),
            ("**/build/**/*.js", "x/build/y/z/a.js", true),
            ("**/build/**/*.js", "x/built/y/a.js", false),
            ("**/.*", ".env", true),
            ("**/.*", "a/.env", true),
            ("**/.*", "a/env", false),
            ("**/.*/**/*", ".git/config", true),
            ("**/.*/**/*", "a/.git/x/y", true),
            ("**/.*/**/*", "a/git/x", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?c", "aéc", true),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[^a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[x", "[x", true),
            ("a[0-9]*.log", "a7b.log", true),
            ("a[0-9]*.log", "ab.log", false),
            (
                "*a*a*a*b",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                false,
            ),
            ("{a,b}", "{a,b}", true),
            ("{a,b}", "a", false),
            ("a/**/b/**/c", "a/x/b/y/z/c", true),
            ("a/**/b/**/c", "a/b/c", true),
            ("a/**/b/**/c", "a/x/c", false),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(matches(pattern, path), expected, "{pattern} against {path}");
        }
    }

    #[test]
    fn directories_that_cannot_hold_a_match_are_known() {
        let pattern = &parse(b"dist/*/x/**/*").unwrap()[0];
        let dist = pattern.step(pattern.start(), b"dist");
        assert_eq!(pattern.step(pattern.start(), b"node_modules"), 0);
        assert_ne!(dist, 0);
        let below = pattern.step(pattern.step(dist, b"any"), b"x");
        assert!(pattern.accepts_everything(below));
        assert!(!pattern.accepts_everything(dist));
        assert_eq!(pattern.literal_prefix(), [b"dist"]);
    }

    #[test]
    fn texts_that_are_no_patterns_are_refused() {
        for (text, expected) in [
            ("", PatternError::Empty),
            ("./", PatternError::Empty),
            ("a/", PatternError::Directory),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text:?}");
        }
        let long = vec!["a"; 64].join("/");
        assert_eq!(parse(long.as_bytes()), Err(PatternError::TooLong));
        assert_eq!(parse(b"a**b/**/c**/**d").map(|forms| forms.len()), Ok(8));
        let doubling = vec!["a**b"; 32].join("/");
        assert_eq!(parse(doubling.as_bytes()), Err(PatternError::TooManyGlued));
    }

    /// The plain definition of the dialect, slow and obvious: the law that the fast one is held to.
    fn slow(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (["**"], path) => !path.is_empty(),
            (["**", rest @ ..], _) => {
                slow(rest, path) || matches!(path, [_, tail @ ..] if slow(pattern, tail))
            }
            ([first, rest @ ..], [name, tail @ ..]) => {
                slow_name(first.as_bytes(), name.as_bytes()) && slow(rest, tail)
            }
            _ => false,
        }
    }

    fn slow_name(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                slow_name(rest, name) || matches!(name, [_, tail @ ..] if slow_name(pattern, tail))
            }
            ([b'?', rest @ ..], [_, tail @ ..]) => slow_name(rest, tail),
            ([a, rest @ ..], [b, tail @ ..]) => a == b && slow_name(rest, tail),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn the_walk_agrees_with_the_definition(
            pattern in proptest::collection::vec("(\\*\\*|[ab?]\\*?[ab?]?|\\*[ab?]{0,2})", 1..5),
            path in proptest::collection::vec("[ab]{1,3}", 1..5),
        ) {
            let pattern_refs: Vec<&str> = pattern.iter().map(String::as_str).collect();
            let path_refs: Vec<&str> = path.iter().map(String::as_str).collect();
            proptest::prop_assert_eq!(matches(&pattern.join("/"), &path.join("/")), slow(&pattern_refs, &path_refs));
        }
    }
}
