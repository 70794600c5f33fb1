//! Paths and patterns as a buildspec writes them, compared without a file system.

use crate::artifact::glob::{self, Pattern};

/// A path with `//`, `.` and a leading name of the source directory taken away; `None` if it holds any other variable,
/// so that nobody knows where it leads. What is absolute stays so, and `..` stays where it is.
#[must_use]
pub fn plain(text: &str) -> Option<String> {
    let inside = ["$CODEBUILD_SRC_DIR", "${CODEBUILD_SRC_DIR}"]
        .iter()
        .find_map(|top| text.strip_prefix(top))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let text = inside.map_or(text, |rest| rest.trim_start_matches('/'));
    if text.contains(['$', '`']) {
        return None;
    }
    let segments: Vec<&str> = segments(text).collect();
    let start = if text.starts_with('/') { "/" } else { "" };
    Some(format!("{start}{}", segments.join("/")))
}

/// What stands between the slashes, without what means nothing.
pub fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

/// Whether something in a pattern stands for more than itself.
#[must_use]
pub fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// A pattern below its base directory, both without variables.
#[must_use]
pub fn below(base: Option<&str>, pattern: &str) -> Option<String> {
    let pattern = plain(pattern)?;
    let base = plain(base.unwrap_or_default())?;
    if base.is_empty() || pattern.starts_with('/') {
        return Some(pattern);
    }
    Some(format!("{base}/{pattern}"))
}

/// A pattern that paths can be held against.
#[derive(Debug)]
pub struct Globs {
    text: String,
    patterns: Vec<Pattern>,
}

impl Globs {
    /// The pattern of this text, which [`plain`] has seen; `None` if it is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Some(Self {
            text: text.to_owned(),
            patterns: glob::parse(text.as_bytes()).ok()?,
        })
    }

    /// Whether this file is selected.
    #[must_use]
    pub fn selects(&self, path: &str) -> bool {
        self.covers_as(path, false)
    }

    /// Whether every file that the other pattern can select is selected by this one too, as far as that is certain.
    #[must_use]
    pub fn covers(&self, other: &str) -> bool {
        self.text == other || self.covers_as(other, true)
    }

    fn covers_as(&self, other: &str, wildcards: bool) -> bool {
        self.text.starts_with('/') == other.starts_with('/')
            && self
                .patterns
                .iter()
                .any(|pattern| takes(pattern, other, wildcards))
    }
}

fn takes(pattern: &Pattern, path: &str, wildcards: bool) -> bool {
    let mut state = pattern.start();
    let mut rest = segments(path).peekable();
    while let Some(segment) = rest.next() {
        if pattern.accepts_everything(state) {
            return true;
        }
        if wildcards && has_wildcard(segment) {
            return false;
        }
        if rest.peek().is_none() {
            return pattern.accepts(state, segment.as_bytes());
        }
        state = pattern.step(state, segment.as_bytes());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_without_what_means_nothing() {
        for (text, expected) in [
            ("./dist//app/", Some("dist/app")),
            ("$CODEBUILD_SRC_DIR/dist", Some("dist")),
            ("${CODEBUILD_SRC_DIR}", Some("")),
            ("$CODEBUILD_SRC_DIR_other/dist", None),
            ("/tmp/./x", Some("/tmp/x")),
            ("../$NAME", None),
        ] {
            assert_eq!(plain(text).as_deref(), expected, "{text}");
        }
        assert_eq!(below(Some("./dist"), "*.js").as_deref(), Some("dist/*.js"));
        assert_eq!(below(Some("dist"), "/tmp/x").as_deref(), Some("/tmp/x"));
    }

    #[test]
    fn one_pattern_covers_another_only_where_that_is_certain() {
        for (wide, narrow, covers) in [
            ("**/*", "dist/*.js", true),
            ("dist/**/*", "dist/*.js", true),
            ("dist/**/*", "dist/a/b", true),
            ("dist/*", "dist/a/b", false),
            ("dist/*", "dist/*", true),
            ("dist/?.js", "dist/*.js", false),
            ("dist/**/*", "*/x.js", false),
            ("**/*", "/tmp/x", false),
            ("*.map", "a.map", true),
        ] {
            let globs = Globs::new(wide).expect("it is a pattern");
            assert_eq!(globs.covers(narrow), covers, "{wide} {narrow}");
        }
        let globs = Globs::new("*.map").expect("it is a pattern");
        assert!(globs.selects("[a].map") && !globs.selects("a/b.map"));
    }
}
