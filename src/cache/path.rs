//! `cache.paths`: where each begins, and what it takes there (CACHE-4 to CACHE-6).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Trouble;
use crate::artifact::glob::{self, Pattern, State};
use crate::units::hex;

/// One of `cache.paths` after expansion, where commands run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePath {
    /// The directory up to the first segment with a wildcard; absolute, without `.` and `..`.
    root: PathBuf,
    /// The pattern below it.
    pattern: String,
    /// What it is called in every build: the source directory and the home directory have other names in each.
    identity: String,
}

impl CachePath {
    /// The path of a text. `source` is what relative ones begin at, `home` is what `~` stands for, where there is one.
    pub fn new(text: &str, source: &Path, home: Option<&Path>) -> Result<Self, Trouble> {
        let refuse = |why: &str| {
            Err(Trouble::new(format!("the cache path `{text}` {why}"))
                .with_help("a path names a directory of its own, such as `node_modules/**/*` or `/root/.m2/**/*`"))
        };
        if text.is_empty() {
            return refuse("is empty after expansion");
        }
        let (from, rest) = match (text.strip_prefix('~'), home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                (home, rest.trim_start_matches('/'))
            }
            _ => (source, text),
        };
        let whole = plain(&from.join(rest));
        let Some(whole) = whole.to_str() else {
            return refuse("leads to a directory whose name is not UTF-8");
        };
        let segments: Vec<&str> = whole.split('/').filter(|part| !part.is_empty()).collect();
        let wild = |segment: &&str| segment.contains(['*', '?', '[']);
        let cut = segments
            .iter()
            .position(wild)
            .unwrap_or(segments.len().saturating_sub(1));
        let (root, pattern) = segments.split_at(cut);
        // All of a machine is no cache, and holds what is no file.
        if pattern.is_empty() || (root.is_empty() && wild(&pattern[0])) {
            return refuse("names the whole file system");
        }
        let pattern = pattern.join("/");
        if let Err(error) = glob::parse(pattern.as_bytes()) {
            return refuse(&format!("cannot be used: {error}"));
        }
        let root = PathBuf::from(format!("/{}", root.join("/")));
        Ok(Self {
            identity: identity(Path::new(whole), source, home),
            root,
            pattern,
        })
    }

    /// Where it begins.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it is called in every build.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What it takes below its root.
    pub(super) fn matcher(&self) -> Matcher {
        let last = self.pattern.rsplit('/').next().unwrap_or_default();
        Matcher {
            alternatives: glob::parse(self.pattern.as_bytes()).unwrap_or_default(),
            takes_directories: !last.contains(['*', '?', '[']),
        }
    }
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain
}

fn identity(whole: &Path, source: &Path, home: Option<&Path>) -> String {
    let below = |place: &Path| {
        let real = place != Path::new("/");
        whole.strip_prefix(place).ok().filter(|_| real)
    };
    match (below(source), home.and_then(below)) {
        (Some(rest), _) => rest.display().to_string(),
        (None, Some(rest)) => format!("~/{}", rest.display()),
        (None, None) => whole.display().to_string(),
    }
}

/// Which cache it is, whatever its key: other paths are another one (CACHE-9). 16 hexadecimal digits.
#[must_use]
pub fn version(paths: &[CachePath]) -> String {
    let mut hash = Sha256::new();
    for path in paths {
        hash.update(path.identity.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize()[..8])
}

/// Decides what a path takes, level by level.
pub(super) struct Matcher {
    alternatives: Vec<Pattern>,
    takes_directories: bool,
}

/// How a matcher stands in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everything in it is taken.
    All,
    /// These states of the alternatives.
    States(Vec<State>),
}

impl Matcher {
    /// In the root.
    pub(super) fn start(&self) -> Standing {
        Standing::States(self.alternatives.iter().map(Pattern::start).collect())
    }

    /// Whether something of this name is taken, whatever it is.
    pub(super) fn takes(&self, standing: &Standing, name: &[u8]) -> bool {
        match standing {
            Standing::All => true,
            Standing::States(states) => {
                let mut both = self.alternatives.iter().zip(states);
                both.any(|(pattern, state)| pattern.accepts(*state, name))
            }
        }
    }

    /// In a directory of this name; `None` if nothing in there is taken. A pattern that ends in a name takes all of a
    /// directory of that name.
    pub(super) fn step(&self, standing: &Standing, name: &[u8]) -> Option<Standing> {
        let Standing::States(states) = standing else {
            return Some(Standing::All);
        };
        if self.takes_directories && self.takes(standing, name) {
            return Some(Standing::All);
        }
        let both = self.alternatives.iter().zip(states);
        let next: Vec<State> = both
            .map(|(pattern, state)| pattern.step(*state, name))
            .collect();
        (next.iter().any(|state| *state != 0)).then_some(Standing::States(next))
    }

    /// Whether a path below the root is taken; a directory also if something in it could be.
    pub(super) fn allows(&self, relative: &[u8], is_directory: bool) -> bool {
        let mut standing = self.start();
        let mut names = relative.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() && self.takes(&standing, name) {
                return true;
            }
            match self.step(&standing, name) {
                Some(next) => standing = next,
                None => return false,
            }
        }
        is_directory
    }
}

/// Whether a path is in one of these directories or files.
pub(super) fn is_in(path: &Path, places: &[PathBuf]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// Bytes as a path.
pub(super) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> CachePath {
        CachePath::new(text, Path::new("/b/src"), Some(Path::new("/home/me"))).unwrap()
    }

    #[test]
    fn a_path_has_a_root_a_pattern_and_a_name_that_travels() {
        let table = [
            (
                "node_modules/**/*",
                "/b/src/node_modules",
                "**/*",
                "node_modules/**/*",
            ),
            ("./a/../b/*.jar", "/b/src/b", "*.jar", "b/*.jar"),
            ("node_modules", "/b/src", "node_modules", "node_modules"),
            ("dist/", "/b/src", "dist", "dist"),
            ("~/.m2/**/*", "/home/me/.m2", "**/*", "~/.m2/**/*"),
            ("~", "/home", "me", "~/"),
            ("/home/me/.m2/**/*", "/home/me/.m2", "**/*", "~/.m2/**/*"),
            ("/root/.m2/**/*", "/root/.m2", "**/*", "/root/.m2/**/*"),
            ("/b/src/x/*", "/b/src/x", "*", "x/*"),
            ("../other/**", "/b/other", "**", "/b/other/**"),
            ("/root", "/", "root", "/root"),
        ];
        for (text, root, pattern, identity) in table {
            let found = path(text);
            let expected = (Path::new(root), pattern, identity);
            let found = (found.root(), found.pattern.as_str(), found.identity());
            assert_eq!(found, expected, "{text}");
        }
        for text in ["", "/", "/*", "/**/*", "../../../..", "../../**"] {
            let found = CachePath::new(text, Path::new("/b/src"), None);
            assert!(found.is_err(), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_taken_is_what_the_pattern_says() {
        let table = [
            ("m/**/*", "a", true),
            ("m/**/*", "a/b/.c", true),
            ("m/*", "a", true),
            ("m/*", "a/b", false),
            ("m/*.jar", "a.jar", true),
            ("m/*.jar", "a.class", false),
            // A directory by its name is all of it.
            ("m", "m", true),
            ("m", "m/a/b", true),
            ("m", "n/a", false),
            ("p/*/node_modules", "a/node_modules/x/y", true),
            ("p/*/node_modules", "a/src/x", false),
        ];
        for (text, relative, taken) in table {
            let matcher = path(text).matcher();
            assert_eq!(
                matcher.allows(relative.as_bytes(), false),
                taken,
                "{text} {relative}"
            );
        }
        // A directory on the way is there, though nothing of its own is taken.
        assert!(path("p/*/node_modules").matcher().allows(b"a", true));
        assert!(!path("m/*.jar").matcher().allows(b"a", true));
    }

    #[test]
    fn other_paths_are_another_version() {
        let of = |texts: &[&str]| version(&texts.iter().map(|text| path(text)).collect::<Vec<_>>());
        assert_eq!(of(&["a/**"]), of(&["./a/**"]));
        assert_ne!(of(&["a/**"]), of(&["a/*"]));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
        assert_ne!(of(&["ab"]), of(&["a", "b"]));
        assert_eq!(of(&[]).len(), 16);
    }
}
