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

// PRE-2, PRE-5: the place is known unless the commands decide it.
#[test]
fn a_refusal_counts_where_the_key_is_known() {
    let Some(endpoint) = endpoint("refused trials") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "preflight-refusals");
    let refusing = refusing(&endpoint);
    let named = |name: &str| {
        let sandbox = project("");
        let text = fs::read_to_string(sandbox.source().join("buildspec.yml"));
        let text = format!("{}  name: {name}\n", text.expect("it is there"));
        sandbox.file("buildspec.yml", &text)
    };
    let arguments = ["--artifacts", "s3://preflight-refusals"];
    let zip = [&arguments[..], &["--packaging", "zip"]].concat();
    let fixed = [&zip[..], &["--artifact-name", "x.zip"]].concat();
    for (sandbox, arguments) in [
        (project(""), &arguments[..]),
        (project(""), &zip),
        (project(""), &fixed),
        (named("v1/app"), &arguments),
        (named("app.zip"), &zip),
    ] {
        let ran = run(&sandbox, &refusing.endpoint, arguments)
            .expect(4)
            .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FAILED\n")
            .stdout_has("artifacts could not be stored: AccessDenied");
        assert!(!began(&ran), "{}", ran.stdout);
    }
    assert_eq!(bucket.keys(), Vec::<String>::new());
    // Who may store where the artifact goes may not try elsewhere.
    let ran = run(
        &named("app-$CODEBUILD_BUILD_NUMBER"),
        &refusing.endpoint,
        &arguments,
    )
    .expect(0)
    .stderr_has("warning: artifacts could not be stored: AccessDenied");
    assert!(began(&ran), "{}", ran.stdout);
    assert_eq!(bucket.keys(), ["app-1/out.txt"]);
    let sandbox = project("");
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

// PRE-6: each artifact has its place, and each place its own permissions.
#[test]
fn the_places_of_all_artifacts_are_tried() {
    let Some(endpoint) = endpoint("places of secondary artifacts") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "preflight-secondary");
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    commands:\n      - echo it began\n      - echo data > out.txt\nartifacts:\n  files: out.txt\n  secondary-artifacts:\n    page:\n      name: pages/$CODEBUILD_BUILD_NUMBER\n      files: out.txt\n    data:\n      files: out.txt\n    logs:\n      name: of-logs\n      files: out.txt\n",
    );
    let arguments = [
        "--artifacts",
        "s3://preflight-secondary",
        "--packaging",
        "zip",
    ];
    let counting = GoBetween::new(&endpoint, |_| Verdict::Pass);
    run(&sandbox, &counting.endpoint, &arguments).expect(0);
    assert_eq!(
        (counting.counts("POST", "uploads"), bucket.unfinished()),
        (4, 0)
    );
    let refusing = GoBetween::new(&endpoint, |line| {
        let refusal = s3_error("403 Forbidden", "AccessDenied", "Access Denied");
        let is_forbidden = line.contains("/data?") || line.contains("/logs/of-logs?");
        Verdict::when(is_trial(line) && is_forbidden, refusal)
    });
    let ran = run(&sandbox, &refusing.endpoint, &arguments)
        .expect(4)
        .stdout_has("Message: the artifact data could not be stored: AccessDenied")
        .stderr_has("warning: the artifact logs could not be stored: AccessDenied");
    assert!(!began(&ran), "{}", ran.stdout);
    // A bucket that is not there is told of once.
    let ran = run(
        &sandbox,
        &endpoint,
        &["--artifacts", "s3://not-there-for-four"],
    )
    .expect(4);
    assert_eq!(
        ran.stderr.matches("could not be stored").count(),
        1,
        "{}",
        ran.stderr
    );
}

/// Runs something where `read-only` beside the source is a file system that nobody can write to.
fn with_read_only(sandbox: &Sandbox, then: &str) -> std::process::Output {
    fs::create_dir_all(sandbox.path("read-only")).expect("a directory can be made");
    let mount = "mount -t tmpfs none ../read-only && mkdir ../read-only/sub && mount -o remount,ro ../read-only";
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            &format!("unshare --mount --map-root-user sh -c '{mount} && {then}'"),
        ])
        .current_dir(sandbox.source())
        .env("TMPDIR", sandbox.path("tmp"))
        .env("RUNNER", env!("CARGO_BIN_EXE_runner"));
    shell.bounded_output().expect("a shell can be started")
}

// PRE-5, PRE-8: a place that cannot be written, whatever is to be written there.
#[test]
fn a_place_that_cannot_be_written_ends_a_build_before_it_begins() {
    let sandbox = project("");
    if !with_read_only(&sandbox, "true").status.success() {
        return skipped("a read-only place", "no file system can be mounted here");
    }
    for (flags, what) in [
        (
            "--artifacts ../read-only",
            "artifacts could not be stored: could not write to ",
        ),
        (
            "--artifacts ../read-only/sub --packaging zip",
            "artifacts could not be stored: could not write to ",
        ),
        (
            "--artifacts ../read-only/new",
            "artifacts could not be stored: could not make a directory in ",
        ),
        (
            "--reports ../read-only",
            "reports could not be stored: could not write to ",
        ),
        (
            "--reports ../read-only/new",
            "reports could not be stored: could not make a directory in ",
        ),
    ] {
        let then = format!("\"$RUNNER\" run --log-format codebuild {flags}");
        let ran = sandbox
            .finish(&with_read_only(&sandbox, &then))
            .expect(4)
            .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FAILED\n")
            .stdout_has(what)
            .stderr_has("`--no-preflight` begins the build all the same");
        assert!(!began(&ran), "{}", ran.stdout);
    }
    // Both at once: one is what the phase fails with, the other a warning.
    let then = "\"$RUNNER\" run --log-format codebuild --artifacts ../read-only --reports ../read-only/sub";
    sandbox
        .finish(&with_read_only(&sandbox, then))
        .expect(4)
        .stdout_has("Message: artifacts could not be stored: ")
        .stderr_has("warning: reports could not be stored: ");
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
