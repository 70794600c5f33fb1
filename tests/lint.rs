//! The linter as a whole: what holds over all files.

mod support;

use std::fs;
use std::path::PathBuf;

use buildspec_runner::buildspec;
use buildspec_runner::lint::{FileKind, Profile, Settings, check};
use buildspec_runner::source::SourceText;
use support::{corpus, root, tree};

/// Every file of the project's cases and of the corpus that is text.
fn texts() -> Vec<(PathBuf, SourceText)> {
    let mut directories = vec![root().join("testdata")];
    directories.extend(corpus());
    let files = directories.into_iter().flat_map(|directory| {
        let files = tree::files(&directory).into_iter();
        files.map(move |file| directory.join(file))
    });
    files
        .filter(|path| {
            let kind = path.extension().unwrap_or_default();
            kind == "yml" || kind == "yaml"
        })
        .filter_map(|path| {
            let bytes = fs::read(&path).ok()?;
            let source = SourceText::from_bytes("x", bytes).ok()?;
            Some((path, source))
        })
        .collect()
}

// LINT-1, LINT-2
#[test]
fn the_linter_and_a_build_refuse_the_same_files() {
    let settings = Settings {
        profile: Profile::Codebuild,
        tree: None,
        directives: true,
    };
    let texts = texts();
    assert!(texts.len() > 100, "the files are not found");
    for (path, source) in texts {
        let refused = buildspec::read(&source).is_err();
        let found = check(&source, FileKind::Buildspec, &settings);
        let errors = found
            .iter()
            .any(buildspec_runner::diagnostic::Diagnostic::is_error);
        assert_eq!(refused, errors, "{}: {found:?}", path.display());
        for finding in found {
            let labels = std::iter::once(&finding.primary).chain(&finding.secondary);
            for label in labels {
                assert!(source.slice(label.span).len() == label.span.len());
            }
        }
    }
}
