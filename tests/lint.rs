//! The linter as a whole: what holds over all files.

mod support;

use std::fs;
use std::path::PathBuf;

use buildspec_runner::buildspec;
use buildspec_runner::lint::{FileKind, Profile, Settings, check};
use buildspec_runner::source::SourceText;
use support::{corpus, root, tree};

/// Every file of the project's cases and of the corpus that is text and ends like this.
fn texts(ends: &[&str]) -> Vec<(PathBuf, SourceText)> {
    let mut directories = vec![root().join("testdata")];
    directories.extend(corpus());
    let files = directories.into_iter().flat_map(|directory| {
        let files = tree::files(&directory).into_iter();
        files.map(move |file| directory.join(file))
    });
    files
        .filter(|path| {
            let kind = path.extension().unwrap_or_default();
            ends.iter().any(|end| kind == *end)
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
    let texts = texts(&["yml", "yaml"]);
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

// LINT-43: whatever is in a file that is taken for one of the deploy stage, places are in it, and findings in order.
#[test]
fn any_text_can_be_taken_for_a_file_of_the_deploy_stage() {
    let kinds = [
        FileKind::ImageDefinitions,
        FileKind::ImageDetail,
        FileKind::AppSpec,
        FileKind::TaskDefinition,
    ];
    let settings = Settings {
        profile: Profile::Codebuild,
        tree: None,
        directives: true,
    };
    for (path, source) in texts(&["yml", "yaml", "json"]) {
        for kind in kinds {
            let found = check(&source, kind, &settings);
            let places: Vec<_> = found.iter().map(|finding| finding.primary.span).collect();
            assert!(places.is_sorted(), "{}: {found:?}", path.display());
            for finding in &found {
                let labels = std::iter::once(&finding.primary).chain(&finding.secondary);
                for label in labels {
                    assert!(source.slice(label.span).len() == label.span.len());
                }
            }
        }
    }
}
