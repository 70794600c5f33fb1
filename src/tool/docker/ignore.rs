//! `.dockerignore`: what of a directory is no part of a build's context.

use std::path::Path;

use regex::Regex;

/// The patterns of one file.
#[derive(Debug, Default)]
pub(in crate::tool) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    /// As it is compared: without the `!`, cleaned.
    text: String,
    /// Behind `!`: what it matches stays.
    keeps: bool,
    expression: Regex,
}

impl Ignore {
    /// Reads a file's text. Nothing is ignored without patterns.
    pub(in crate::tool) fn parse(text: &str) -> Result<Self, String> {
        let mut ignore = Self::default();
        for line in text.trim_start_matches('\u{feff}').lines() {
            if line.starts_with('#') {
                continue;
            }
            ignore.add(line.trim())?;
        }
        Ok(ignore)
    }

    /// Adds the pattern of one line.
    pub(super) fn add(&mut self, line: &str) -> Result<(), String> {
        let (keeps, written) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let text = clean(written);
        // Docker ignores `.`, for the sake of old files.
        if text.is_empty() || text == "." {
            return Ok(());
        }
        let expression = expression(&text).ok_or_else(|| {
            format!("`{line}` in .dockerignore is no pattern that can be matched")
        })?;
        self.patterns.push(Pattern {
            text,
            keeps,
            expression,
        });
        Ok(())
    }

    /// Whether a path, relative and with `/`, is left out. The last pattern that matches it, or a directory above it,
    /// decides.
    pub(in crate::tool) fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for pattern in &self.patterns {
            if pattern.keeps == excluded && pattern.matches(path) {
                excluded = !pattern.keeps;
            }
        }
        excluded
    }

    /// Whether something below an excluded directory may stay, so that it has to be looked at.
    pub(in crate::tool) fn may_keep_below(&self, directory: &str) -> bool {
        let prefix = format!("{directory}/");
        self.patterns
            .iter()
            .filter(|pattern| pattern.keeps)
            .any(|pattern| {
                // A wildcard may reach anywhere; a plain path only where it says.
                let plain = pattern
                    .text
                    .split(['*', '?', '[', '\\'])
                    .next()
                    .unwrap_or_default();
                plain.starts_with(&prefix)
                    || (plain.len() < pattern.text.len() && prefix.starts_with(plain))
            })
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(index, _)| &path[..index]);
        std::iter::once(path)
            .chain(above)
            .any(|path| self.expression.is_match(path))
    }
}

/// A path without `.`, `..` where it can be, double and leading slashes.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let cleaned = parts.join("/");
    if cleaned.is_empty() && !path.is_empty() {
        ".".to_owned()
    } else {
        cleaned
    }
}

/// The regular expression for a pattern: Go's `filepath.Match`, and `**` for any number of directories.
fn expression(pattern: &str) -> Option<Regex> {
    let mut text = "(?s)^".to_owned();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '*' if rest.starts_with('*') => {
                rest = rest.trim_start_matches('*');
                match rest.strip_prefix('/') {
                    Some(behind) => {
                        rest = behind;
                        text.push_str("(?:.*/)?");
                    }
                    None => text.push_str(".*"),
                }
            }
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '[' => {
                let (class, behind) = class(rest)?;
                text.push_str(&class);
                rest = behind;
            }
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                text.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
            }
            other => text.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    text.push('$');
    Regex::new(&text).ok()
}

/// A class of characters behind its `[`, as an expression, and what comes after it.
fn class(text: &str) -> Option<(String, &str)> {
    let mut class = "[".to_owned();
    let mut rest = text;
    if let Some(behind) = rest.strip_prefix('^') {
        class.push('^');
        rest = behind;
    }
    let mut is_empty = true;
    loop {
        let mut first = rest.chars().next()?;
        rest = &rest[first.len_utf8()..];
        match first {
            ']' if !is_empty => break,
            ']' => return None,
            '-' if !is_empty => class.push('-'),
            _ => {
                if first == '\\' {
                    first = rest.chars().next()?;
                    rest = &rest[first.len_utf8()..];
                }
                // Signs that mean something to the expression, such as `&&`, mean nothing here.
                if !first.is_alphanumeric() {
                    class.push('\\');
                }
                class.push(first);
            }
        }
        is_empty = false;
    }
    class.push(']');
    Some((class, rest))
}

/// Where a build's patterns are: beside the Dockerfile under its name, or at the top of the context.
pub(super) fn file_of(dockerfile: Option<&Path>, context: &Path) -> Option<std::path::PathBuf> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        std::path::PathBuf::from(name)
    });
    own.into_iter()
        .chain([context.join(".dockerignore")])
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    // TOOL-8
    #[test]
    fn patterns_decide_as_docker_does() {
        let table: [(&str, &[&str], &[&str]); 14] = [
            ("", &[], &["a", "b/c"]),
            ("# a\n\n  b  \n", &["b", "b/c"], &["a", "x/b"]),
            ("/a/", &["a", "a/b"], &["b/a"]),
            ("*.md", &["x.md"], &["a/x.md", "x.mdx"]),
            ("**/*.md", &["x.md", "a/x.md", "a/b/x.md"], &["x.txt"]),
            ("*.md\n!README.md", &["x.md"], &["README.md"]),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                &["x.md", "README-secret.md"],
                &["README-1.md"],
            ),
            ("a/**", &["a/b", "a/b/c"], &["a", "b"]),
            ("a/**/z", &["a/z", "a/b/c/z"], &["a/y"]),
            ("temp?", &["tempa", "tempa/b"], &["temp", "tempab"]),
            (
                "*/temp*",
                &["a/temporary", "a/temp/x"],
                &["temp", "a/b/temp"],
            ),
            ("[a-c].txt\n[^x]1", &["a.txt", "y1"], &["d.txt", "x1"]),
            (
                "*\n!src\n!Dockerfile",
                &["a", ".git"],
                &["src", "src/x", "Dockerfile"],
            ),
            ("./a/../b\n.\n\\#x", &["b", "#x"], &["a", "x"]),
        ];
        for (text, excluded, kept) in table {
            let ignore = Ignore::parse(text).expect("these are patterns");
            for path in excluded {
                assert!(ignore.excludes(path), "{text:?}: {path} has to be left out");
            }
            for path in kept {
                assert!(!ignore.excludes(path), "{text:?}: {path} has to stay");
            }
        }
    }

    #[test]
    fn an_excluded_directory_is_entered_only_for_what_may_stay() {
        let ignore = Ignore::parse("a\nb\nc\n!a/keep/x\n!b*/y").expect("these are patterns");
        let table = [
            ("a", true),
            ("a/keep", true),
            ("a/other", false),
            ("b", true),
            ("c", false),
        ];
        for (directory, entered) in table {
            assert_eq!(ignore.may_keep_below(directory), entered, "{directory}");
        }
        assert!(
            Ignore::parse("a\n!**/x")
                .expect("these are patterns")
                .may_keep_below("a")
        );
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for text in ["[a", "a\\", "[]"] {
            assert!(Ignore::parse(text).is_err(), "{text}");
        }
    }
}
