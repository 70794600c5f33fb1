//! What is found out before the first command: buckets over real HTTP, directories, users, room.

#![expect(clippy::disallowed_methods, reason = "tests start programs")]

mod support;

use std::fs;
use std::process::Command;

use support::aws::{Bucket, GoBetween, Verdict, command, endpoint, s3_error};
use support::sandbox::{Ran, Sandbox};
use support::skipped;
use support::wait::Bounded as _;

/// A source with one artifact, and more of the buildspec before it.
fn project(more: &str) -> Sandbox {
    Sandbox::with_buildspec(&format!(
        "version: 0.2\n{more}phases:\n  build:\n    commands:\n      - echo it began\n      - echo data > out.txt\nartifacts:\n  files: out.txt\n"
    ))
}

fn run(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
    let arguments = [&["run", "--log-format", "codebuild"], arguments].concat();
    let output = command(sandbox, endpoint, &arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

fn began(ran: &Ran) -> bool {
    ran.stdout.contains("\nit began\n")
}

fn is_trial(line: &str) -> bool {
    line.starts_with("POST") && line.contains("uploads")
}

/// What S3 says to whoever may not begin an upload.
fn refusing(endpoint: &str) -> GoBetween {
    GoBetween::new(endpoint, |line| {
        let refusal = s3_error("403 Forbidden", "AccessDenied", "Access Denied");
        Verdict::when(is_trial(line), refusal)
    })
}

// PRE-1, PRE-2
#[test]
fn a_bucket_that_takes_nothing_ends_a_build_before_it_begins() {
    let Some(endpoint) = endpoint("buckets before the first command") else {
        return;
    };
    let sandbox = project("");
    let arguments = ["--artifacts", "s3://not-there-at-all"];
    let ran = run(&sandbox, &endpoint, &arguments)
        .expect(4)
        .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FAILED\n")
        .stdout_has("Message: artifacts could not be stored: NoSuchBucket: The specified bucket does not exist")
        .stderr_has("make the bucket `not-there-at-all`")
        .stderr_has("`--no-preflight` begins the build all the same");
    assert!(!began(&ran), "{}", ran.stdout);
    let ran = run(
        &sandbox,
        &endpoint,
        &[&arguments[..], &["--no-preflight"]].concat(),
    )
    .expect(4)
    .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: FAILED\n");
    assert!(began(&ran), "{}", ran.stdout);
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let ran = run(&sandbox, &gone, &arguments)
        .expect(4)
        .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FAULT\n");
    assert!(!began(&ran), "{}", ran.stdout);
}

// PRE-1: a secret and a bucket that are not there are told in one build.
#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let Some(endpoint) = endpoint("several problems at once") else {
        return;
    };
    let sandbox = project("env:\n  parameter-store:\n    TOKEN: /not/there/at/all\n");
    let ran = run(
        &sandbox,
        &endpoint,
        &["--artifacts", "s3://not-there-either"],
    )
    .expect(4)
    .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FAILED\n")
    .stdout_has("/not/there/at/all")
    .stderr_has("artifacts could not be stored: NoSuchBucket");
    assert!(!began(&ran), "{}", ran.stdout);
}

// PRE-2
#[test]
fn a_trial_leaves_nothing_in_a_bucket() {
    let Some(endpoint) = endpoint("trials") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "preflight-trials");
    bucket.put("demo.zip", "of an earlier build");
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    commands:\n      - 'false'\nartifacts:\n  files: nothing\n",
    );
    let between = GoBetween::new(&endpoint, |_| Verdict::Pass);
    let arguments = [
        "--artifacts",
        "s3://preflight-trials",
        "--packaging",
        "zip",
        "--artifact-name",
        "demo.zip",
    ];
    run(&sandbox, &between.endpoint, &arguments).expect(1);
    assert_eq!(between.count("POST /preflight-trials/demo.zip?uploads"), 1);
    assert_eq!(
        (bucket.keys(), bucket.unfinished()),
        (vec!["demo.zip".to_owned()], 0)
    );
    assert_eq!(bucket.get("demo.zip").content, b"of an earlier build");
    // A build without artifacts asks nobody.
    let sandbox = Sandbox::with_commands(&["true"]);
    let silent = GoBetween::new(&endpoint, |_| Verdict::Pass);
    run(&sandbox, &silent.endpoint, &["--artifacts", "s3://anyone"]).expect(0);
    assert_eq!(silent.count(""), 0);
}

// PRE-2: who may store only where the artifact goes may not try elsewhere.
#[test]
fn a_refusal_counts_where_the_key_is_known() {
    let Some(endpoint) = endpoint("refused trials") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "preflight-refusals");
    let sandbox = project("");
    let refusing = refusing(&endpoint);
    let ran = run(
        &sandbox,
        &refusing.endpoint,
        &["--artifacts", "s3://preflight-refusals"],
    )
    .expect(0)
    .stderr_has("warning: artifacts could not be stored: AccessDenied");
    assert!(began(&ran), "{}", ran.stdout);
    assert_eq!(bucket.keys(), ["source/out.txt"]);
    let ran = run(
        &sandbox,
        &refusing.endpoint,
        &[
            "--artifacts",
            "s3://preflight-refusals",
            "--packaging",
            "zip",
            "--artifact-name",
            "x.zip",
        ],
    )
    .expect(4)
    .stdout_has("artifacts could not be stored: AccessDenied");
    assert!(!began(&ran), "{}", ran.stdout);
    // Who may store need not be able to give an upload up.
    let keeping = GoBetween::new(&endpoint, |line| {
        let refusal = s3_error("403 Forbidden", "AccessDenied", "Access Denied");
        Verdict::when(line.starts_with("DELETE"), refusal)
    });
    let ran = run(
        &sandbox,
        &keeping.endpoint,
        &["--artifacts", "s3://preflight-refusals"],
    )
    .expect(0)
    .stderr_has("warning: artifacts could not be stored: AccessDenied");
    assert!(began(&ran), "{}", ran.stdout);
}

// PRE-2
#[test]
fn a_directory_that_cannot_be_made_ends_a_build_before_it_begins() {
    let sandbox = project("");
    fs::write(sandbox.path("file"), "").expect("a file can be written");
    let out = sandbox.path("file").join("out");
    let out = out.to_str().expect("a path of a test is text");
    let ran = sandbox
        .run(["run", "--log-format", "codebuild", "--artifacts", out])
        .expect(4)
        .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FAILED\n")
        .stdout_has("artifacts could not be stored: could not make a directory in ");
    assert!(!began(&ran), "{}", ran.stdout);
    sandbox
        .run([
            "run",
            "--log-format",
            "codebuild",
            "--no-preflight",
            "--artifacts",
            out,
        ])
        .expect(4)
        .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: FAILED\n");
}

// PRE-4
#[test]
fn little_room_is_a_warning() {
    let sandbox = Sandbox::with_commands(&["echo it began"]);
    let script = |then: &str| {
        let mount = "mount -t tmpfs none ../tmp -o size=8m";
        let mut shell = Command::new("sh");
        shell
            .args([
                "-c",
                &format!("unshare -m sh -c '{mount} && {then}'"),
                env!("CARGO_BIN_EXE_runner"),
            ])
            .current_dir(sandbox.source());
        shell.env("TMPDIR", sandbox.path("tmp"));
        shell.env("RUNNER", env!("CARGO_BIN_EXE_runner"));
        shell.bounded_output().expect("a shell can be started")
    };
    if !script("true").status.success() {
        return skipped("little room", "no file system can be mounted here");
    }
    let ran = sandbox
        .finish(&script("\"$RUNNER\" run"))
        .expect(0)
        .stderr_has("warning: only 8.0 MiB free at ");
    assert!(began(&ran), "{}", ran.stdout);
    let quiet = sandbox.finish(&script("\"$RUNNER\" run --no-preflight"));
    assert!(!quiet.expect(0).stderr.contains(" free at "));
}
