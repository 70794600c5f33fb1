//! The linter as a whole: what holds over all files.

mod support;

use std::fs;
use std::path::PathBuf;

use buildspec_runner::buildspec;
use buildspec_runner::diagnostic::{Code, Diagnostic};
use buildspec_runner::lint::fix::{Fixed, apply, fix};
use buildspec_runner::lint::{FileKind, Profile, Settings, check};
use buildspec_runner::source::SourceText;
use support::sandbox::{Sandbox, files_below};
use support::{corpus, root, tree};

const SETTINGS: Settings<'_> = Settings {
    profile: Profile::Codebuild,
    tree: None,
    shellcheck: None,
    directives: true,
};

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
    let texts = texts(&["yml", "yaml"]);
    assert!(texts.len() > 100, "the files are not found");
    for (path, source) in texts {
        let refused = buildspec::read(&source).is_err();
        let found = check(&source, FileKind::Buildspec, &SETTINGS);
        let errors = found.iter().any(Diagnostic::is_error);
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
    for (path, source) in texts(&["yml", "yaml", "json"]) {
        for kind in kinds {
            let found = check(&source, kind, &SETTINGS);
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

fn fixed(source: &SourceText) -> Fixed {
    fix(source, FileKind::Buildspec, &SETTINGS)
}

/// Whether nothing behind this finding could be read.
fn halts(found: &Diagnostic) -> bool {
    matches!(found.code, Code::YamlSyntax | Code::GlobWithoutQuotes)
}

/// Lines that are nothing but a comment, without their indentation and without a dash before them.
fn comments(text: &str) -> Vec<&str> {
    let lines = text.split(['\n', '\r']);
    lines
        .map(|line| line.trim_start_matches([' ', '\t', '-']))
        .filter(|line| line.starts_with('#'))
        .collect()
}

// LINT-10
#[test]
fn fixing_twice_is_fixing_once_and_no_comment_is_lost() {
    let mut changed = 0;
    for (path, source) in texts(&["yml", "yaml"]) {
        let path = path.display();
        let once = fixed(&source);
        let twice = fixed(&once.source);
        assert_eq!(twice.applied, 0, "{path}");
        assert_eq!(twice.source.text(), once.source.text(), "{path}");
        let [now, then] = [&once.source, &source].map(|source| comments(source.text()));
        assert_eq!(now, then, "{path}");
        let errors = |found: &[Diagnostic]| found.iter().filter(|found| found.is_error()).count();
        let before = check(&source, FileKind::Buildspec, &SETTINGS);
        // What stands behind a syntax error is not known before it is mended.
        let worse = errors(&once.findings) > errors(&before);
        assert!(!worse || before.iter().any(halts), "{path}");
        changed += usize::from(once.applied > 0);
    }
    assert!(changed > 10, "only {changed} files can be fixed");
}

// LINT-10
#[test]
fn every_fix_by_itself_mends_what_it_is_for() {
    for (path, source) in texts(&["yml", "yaml"]) {
        let before = check(&source, FileKind::Buildspec, &SETTINGS);
        // A mended syntax error uncovers others like it.
        let uncovers = before.iter().any(halts);
        for finding in &before {
            let Some(fix) = &finding.fix else { continue };
            let after = SourceText::new("x", apply(source.text(), &[fix]));
            let found = check(&after, FileKind::Buildspec, &SETTINGS);
            let same = |other: &&Diagnostic| {
                other.code == finding.code && other.message == finding.message
            };
            let [then, now] = [&before, &found].map(|found| found.iter().filter(same).count());
            assert!(uncovers || now < then, "{}: {finding:?}", path.display());
        }
    }
}

// LINT-10, LINT-11
#[test]
fn a_second_run_of_the_program_changes_no_file() {
    let sandbox = Sandbox::new();
    for (index, (_, source)) in texts(&["yml", "yaml"]).into_iter().enumerate() {
        let name = format!("source/buildspec-{index}.yml");
        fs::write(sandbox.path(&name), source.text()).expect("a file can be written");
    }
    let arguments = ["validate", "--fix", "--no-tree", "--fail-on", "never", "."];
    let first = sandbox.run(arguments).expect(0);
    assert!(first.stderr.contains("fixed "), "{}", first.stderr);
    let before = files_below(&sandbox.source());
    let second = sandbox.run(arguments).expect(0);
    assert!(!second.stderr.contains("fixed "), "{}", second.stderr);
    assert!(
        files_below(&sandbox.source()) == before,
        "something was changed"
    );
    assert_eq!(first.stdout, second.stdout);
}

// LINT-11
#[test]
fn a_fixed_file_keeps_its_permissions_its_mark_and_the_links_to_it() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    const BROKEN: &str =
        "\u{feff}version: 0.2\nphases:\n  build:\n    commands:\n      - echo a: b\n";
    let sandbox = Sandbox::new()
        .file("ci/real.yml", BROKEN)
        .file("locked.yml", BROKEN);
    let real = sandbox.source().join("ci/real.yml");
    let mode = |path: &PathBuf, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    mode(&real, 0o750);
    symlink("ci/real.yml", sandbox.source().join("buildspec.yml")).expect("a link can be made");
    let ran = sandbox.run(["validate", "--fix"]).expect(0);
    assert_eq!(ran.stderr, "fixed 1 finding in 1 file\n");
    let text = fs::read_to_string(&real).expect("it can be read");
    assert_eq!(text, BROKEN.replace("echo a: b", "'echo a: b'"));
    let permissions = fs::metadata(&real).expect("it is there").permissions();
    assert_eq!(permissions.mode() & 0o777, 0o750);
    let link = fs::symlink_metadata(sandbox.source().join("buildspec.yml"));
    assert!(link.expect("it is there").is_symlink());

    let locked = sandbox.source().join("locked.yml");
    mode(&locked, 0o440);
    sandbox
        .run(["validate", "--fix", "locked.yml"])
        .expect(4)
        .stderr_has("could not write locked.yml");
    assert_eq!(fs::read_to_string(&locked).expect("it can be read"), BROKEN);
    assert_eq!(
        files_below(&sandbox.source()).len(),
        3,
        "nothing is left beside the files"
    );
}
