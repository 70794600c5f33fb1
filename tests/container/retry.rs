//! Builds that begin anew in a container of their own.

use std::fs;
use std::path::PathBuf;

use crate::support::container::{busybox, containers, docker, run};
use crate::support::git::Repository;
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::tree;

/// A build that fails until it was begun so often, and changes its source. What tells one attempt from another is in a volume.
fn build(attempts: u8, retries: u8) -> String {
    format!(
        "version: 0.2
phases:
  build:
    on-failure: RETRY-{retries}
    commands:
      - echo \"finds\" $(ls) \"and $(cat changed)\"
      - echo x >> /count/n; echo \"attempt $(wc -l < /count/n)\" | tee changed > made; rm -f gone
      - test \"$(wc -l < /count/n)\" -ge {attempts}
"
    )
}

/// A sandbox with the build's source, and what mounts the volume.
fn sandbox(attempts: u8, retries: u8) -> (Sandbox, String) {
    let sandbox = Sandbox::with_buildspec(&build(attempts, retries))
        .file("changed", "as it was\n")
        .file("gone", "");
    let count = sandbox.path("count");
    fs::create_dir(&count).expect("it is new");
    let volume = format!("{}:/count", count.display());
    (sandbox, volume)
}

const FRESH: &str = "finds buildspec.yml changed gone and as it was";

/// What each attempt found.
fn found(ran: &Ran) -> Vec<&str> {
    let lines = ran.stdout.lines();
    lines.filter(|line| line.starts_with("finds ")).collect()
}

/// PHASE-17: a copy goes with the container of a failed attempt; what comes back is that of the last one.
#[test]
fn a_copied_source_is_new_in_each_attempt() {
    let Some(image) = busybox("container") else {
        return;
    };
    let copy = [
        "--log-format",
        "codebuild",
        "--mount-source",
        "copy",
        "--volume",
    ];
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    for (attempts, code) in [(3, 0), (9, 1)] {
        let (sandbox, volume) = sandbox(attempts, 2);
        let ran = run(&sandbox, &image, &[&copy[..], &[&volume]].concat()).expect(code);
        assert_eq!(found(&ran), [FRESH; 3], "{}", ran.stderr);
        assert!(
            !ran.stderr.contains("as the failed attempt left it"),
            "{}",
            ran.stderr
        );
        let files = tree::files(&sandbox.source());
        assert_eq!(files, ["buildspec.yml", "changed", "made"]);
        assert_eq!(read(sandbox.source().join("made")), "attempt 3\n");
        assert_eq!(read(sandbox.source().join("changed")), "attempt 3\n");
        assert!(containers(&sandbox).is_empty());
        assert_eq!(sandbox.leftovers(), Vec::<String>::new());
    }
}

/// PHASE-17: what is mounted is the caller's own, and stays.
#[test]
fn a_mounted_source_stays_and_is_warned_of() {
    let Some(image) = busybox("container") else {
        return;
    };
    let (sandbox, volume) = sandbox(2, 1);
    let bound = [
        "--log-format",
        "codebuild",
        "--mount-source",
        "bind",
        "--volume",
        &volume,
    ];
    let ran = run(&sandbox, &image, &bound).expect(0);
    let again = "finds buildspec.yml changed made and attempt 1";
    assert_eq!(found(&ran), [FRESH, again]);
    ran.stderr_has("the retry finds the source directory as the failed attempt left it");
}

/// PHASE-17: what was fetched is this build's, mounted and copied.
#[test]
fn a_fetched_source_is_new_in_each_attempt() {
    let Some(image) = busybox("container") else {
        return;
    };
    let text = build(3, 2);
    let repository = Repository::with(&[
        ("buildspec.yml", &text),
        ("changed", "as it was\n"),
        ("gone", ""),
    ]);
    for how in ["bind", "copy"] {
        let (sandbox, volume) = sandbox(3, 2);
        let form = repository.form();
        let fetched = [
            "--log-format",
            "codebuild",
            "--mount-source",
            how,
            "--source",
            &form,
        ];
        let ran = run(
            &sandbox,
            &image,
            &[&fetched[..], &["--volume", &volume]].concat(),
        );
        let ran = ran.expect(0);
        assert_eq!(found(&ran), [FRESH; 3], "{how}: {}", ran.stderr);
        assert!(
            !ran.stderr.contains("as the failed attempt left it"),
            "{}",
            ran.stderr
        );
        assert_eq!(sandbox.leftovers(), Vec::<String>::new(), "{how}");
    }
}

/// PHASE-20, CTR-30: of several attempts the place of the last one is kept.
#[test]
fn the_container_of_the_last_attempt_is_kept() {
    let Some(image) = busybox("container") else {
        return;
    };
    for (keep, attempts, code) in [("on-failure", 9, 1), ("always", 2, 0)] {
        for how in ["bind", "copy"] {
            let (sandbox, volume) = sandbox(attempts, 1);
            let arguments = ["--mount-source", how, "--keep", keep, "--volume", &volume];
            let ran = run(&sandbox, &image, &arguments).expect(code);
            let kept = containers(&sandbox);
            assert_eq!(kept.len(), 1, "{keep} {how}: {}", ran.stderr);
            let notes = ran.stderr.matches("the build's container is kept").count();
            assert_eq!(notes, 1, "{keep} {how}: {}", ran.stderr);
            let inside = "cat /codebuild/output/src*/src/made";
            let made = docker(&["exec", &kept[0], "sh", "-c", inside]);
            docker(&["rm", "--force", &kept[0]]);
            assert_eq!(made, "attempt 2", "{keep} {how}");
        }
    }
}
