//! Files that a deploy action will read: whether they have the shape it wants (ART-15).
//!
//! The build goes on whatever is found here: CodeBuild stores such a file as it is, and the pipeline fails a stage
//! later. The warning says now what the deploy action would say then; the rules are the linter's ([`crate::lint::deploy`]).

use std::path::Path;

use crate::event::Warning;
use crate::lint::{FileKind, deploy};
use crate::source::SourceText;

/// A file that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeployFile(FileKind);

impl DeployFile {
    /// The deploy file that an artifact stores under this path, if it is one.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        match FileKind::of(Path::new(path)) {
            kind @ (FileKind::ImageDefinitions | FileKind::ImageDetail) => Some(Self(kind)),
            _ => None,
        }
    }

    /// Largest content that is worth reading, in bytes.
    #[must_use]
    pub const fn max_bytes(self) -> u64 {
        deploy::MAX_BYTES as u64
    }
}

/// What the deploy action would say of a file. `content` may be cut one byte after the limit.
#[must_use]
pub fn check(file: DeployFile, path: &str, content: &[u8]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if path.contains('/') {
        let message = "it is not at the root of the artifact, where the deploy action looks";
        warnings.push(Warning::new(format!("`{path}`: {message}")));
    }
    let Ok(source) = SourceText::from_bytes(path, content.to_vec()) else {
        let message = "it is not UTF-8, which the deploy action needs";
        warnings.push(Warning::new(format!("`{path}`: {message}")));
        return warnings;
    };
    for finding in deploy::check(&source, file.0) {
        let span = finding.primary.span;
        let place = if span.start() == 0 {
            String::new()
        } else {
            format!(":{}", source.start_of(span))
        };
        let warning = Warning::new(format!("`{path}`{place}: {}", finding.message));
        warnings.push(match finding.help {
            Some(help) => warning.with_help(help),
            None => warning,
        });
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, content: &[u8]) -> Vec<String> {
        let file = DeployFile::of_path(path).unwrap();
        let warnings = check(file, path, content).into_iter();
        warnings.map(|warning| warning.message).collect()
    }

    #[test]
    fn what_the_linter_finds_is_said_with_its_place() {
        assert_eq!(
            messages("imagedefinitions.json", b"[\n{\"name\":\"a\"}]"),
            ["`imagedefinitions.json`:2:1: entry 0 has no `imageUri`"]
        );
        assert_eq!(
            messages("out/imageDetail.json", b"[]"),
            [
                "`out/imageDetail.json`: it is not at the root of the artifact, where the deploy action looks",
                "`out/imageDetail.json`: it is an array, where one object is needed"
            ]
        );
        assert!(messages("imageDetail.json", b"{\"a\":\"\xff\"}")[0].contains("not UTF-8"));
        let large = " ".repeat(200_000);
        assert!(
            messages("imagedefinitions.json", large.as_bytes())[0].contains("larger than 100 KB")
        );
        assert_eq!(DeployFile::of_path("a/b.json"), None);
        assert_eq!(DeployFile::of_path("appspec.yml"), None);
    }
}
