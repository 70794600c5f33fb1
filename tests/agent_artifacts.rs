//! What is hard about an agent's sources and artifacts: large ones, credentials that end in the middle, other users.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use support::aws::{GoBetween, Verdict, s3_error};
use support::sandbox::Sandbox;
use support::stage::{Stage, count, narrow, stderr, unzip};
use support::wait::Bounded as _;
use support::{skipped, wait};

/// An artifact of four parts that nothing makes smaller.
const LARGE: &str = "\
version: 0.2
phases:
  build:
    commands:
      - head -c 30000000 /dev/urandom > large.bin
      - sha256sum < large.bin > \"$SUM\"
artifacts:
  files: large.bin
";

/// Runs the build of a large artifact with this between the agent and its buckets. The job's id.
fn build_large(stage: &Stage, between: &GoBetween) -> String {
    let source = stage.source("A/x", &[("buildspec.yml", LARGE)]);
    let configuration = json!({ "ProjectName": "web" });
    let job = stage.job(&configuration, &[source], &["Out"]);
    let sum = stage.sandbox.path("sum");
    let mut command = stage.agent(&["--once"]);
    command
        .env("AWS_ENDPOINT_URL", &between.endpoint)
        .env("SUM", &sum);
    let ran = wait::output(Sandbox::spawn(&mut command));
    assert!(ran.status.success(), "{}", stderr(&ran));
    stage.succeeded(&job, &ran);
    stage.keeps_secrets(&[&job], &ran.stderr);
    let archive = stage.bucket.get("out/Out").content;
    assert!(archive.len() > 30_000_000);
    let sandbox = Sandbox::new();
    let place = sandbox.path("out.zip");
    fs::write(&place, archive).expect("it can be written");
    let file = fs::File::open(&place).expect("it is there");
    let mut archive = zip::ZipArchive::new(file).expect("it is a ZIP");
    let mut entry = archive.by_index(0).expect("it has an entry");
    let out = sandbox.path("large.bin");
    let mut into = fs::File::create(&out).expect("it can be made");
    std::io::copy(&mut entry, &mut into).expect("it can be unpacked");
    let summed = std::process::Command::new("sha256sum")
        .arg(&out)
        .bounded_output();
    let summed = summed.expect("it can be started").stdout;
    assert_eq!(
        summed[..64],
        fs::read(sum).expect("it was made")[..64],
        "what is stored is what was built"
    );
    job
}

// AGENT-19
#[test]
fn an_upload_in_parts_bears_what_goes_wrong() {
    let Some(stage) = Stage::new("parts") else {
        return;
    };
    // Each way of failing once for each kind of request.
    let (parts, ends) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let between = GoBetween::new(&stage.endpoint, move |line| {
        let counter = if line.contains("partNumber=") {
            &parts
        } else if line.starts_with("POST") {
            &ends
        } else {
            return Verdict::Pass;
        };
        match counter.fetch_add(1, Ordering::Relaxed) {
            0 => s3_error("503 Slow Down", "SlowDown", "slow down"),
            2 => Verdict::Drop,
            3 => s3_error("500 Internal Server Error", "InternalError", "oh"),
            _ => Verdict::Pass,
        }
    });
    build_large(&stage, &between);
    assert!(
        between.counts("PUT", "partNumber=") >= 7,
        "4 parts, 3 faults"
    );
    assert_eq!(stage.bucket.unfinished(), 0);
}

// AGENT-10, AGENT-19
#[test]
fn credentials_that_end_in_the_middle_of_an_upload_are_renewed() {
    let Some(stage) = Stage::new("middle") else {
        return;
    };
    let control = stage.server.endpoint.clone();
    let is_over = AtomicBool::new(false);
    let between = GoBetween::judging_keys(&stage.endpoint, move |line, key| {
        let server = support::codepipeline::Control(&control);
        // With the third part in its hand S3 finds that they are over.
        if line.contains("partNumber=3") && !is_over.swap(true, Ordering::Relaxed) {
            for job in server
                .ask("GET", "/jobs", None)
                .as_array()
                .into_iter()
                .flatten()
            {
                let id = job["id"].as_str().unwrap_or_default();
                server.ask("POST", &format!("/jobs/{id}/expire-credentials"), None);
            }
        }
        let Some(key) = key.filter(|key| key.starts_with("ASIA")) else {
            return Verdict::Pass;
        };
        let known = server.ask("GET", &format!("/credentials/{key}"), None);
        let refused = s3_error(
            "400 Bad Request",
            "ExpiredToken",
            "The provided token has expired.",
        );
        Verdict::when(known["state"] != "good", refused)
    });
    let job = build_large(&stage, &between);
    let calls = stage.server.calls(&job);
    assert!(count(&calls, "GetJobDetails") >= 1, "{calls:?}");
    assert_eq!(count(&calls, "PutJobSuccessResult"), 1, "{calls:?}");
    // What was begun with those that are over, they could not give up.
    assert_eq!(stage.bucket.unfinished(), 0);
}

// AGENT-10
#[test]
fn artifacts_are_fetched_and_stored_with_the_jobs_own_credentials() {
    let Some(stage) = Stage::new("own") else {
        return;
    };
    // Those of the agent are long-lived: theirs begin otherwise.
    let between = GoBetween::judging_keys(&stage.endpoint, |_, key| {
        let denied = s3_error("403 Forbidden", "AccessDenied", "Access Denied");
        Verdict::when(!key.is_some_and(|key| key.starts_with("ASIA")), denied)
    });
    let answer = build_small(&stage, &between);
    assert_eq!(answer["status"], "Succeeded", "{answer}");
    assert!(between.count("GET") > 0 && between.count("PUT") > 0);
}

// AGENT-9, AGENT-10
#[test]
fn an_input_whose_connection_breaks_off_is_asked_for_with_new_credentials() {
    let Some(stage) = Stage::new("broken-off") else {
        return;
    };
    let between = GoBetween::new(&stage.endpoint, |line| {
        Verdict::when(line.starts_with("GET"), Verdict::Drop)
    });
    let answer = build_small(&stage, &between);
    let details = &answer["request"]["failureDetails"];
    assert_eq!(details["type"], "RevisionUnavailable", "{answer}");
    let calls = stage.server.ask("GET", "/calls", None);
    let asked = calls.to_string().matches("GetJobDetails").count();
    assert!(asked >= 1, "{calls}");
}

// AGENT-22
#[test]
fn an_output_that_s3_denies_is_said_to_be_denied() {
    let Some(stage) = Stage::new("put-denied") else {
        return;
    };
    let between = GoBetween::new(&stage.endpoint, |line| {
        let denied = s3_error("403 Forbidden", "AccessDenied", "Access Denied");
        Verdict::when(line.starts_with("PUT"), denied)
    });
    let answer = build_small(&stage, &between);
    let kind = &answer["request"]["failureDetails"]["type"];
    assert_eq!(kind, "PermissionError", "{answer}");
    failed_with(&answer, "the credentials are the job's own");
}

/// Runs a small build with this between the agent and its buckets. What its job was answered with.
fn build_small(stage: &Stage, between: &GoBetween) -> Value {
    let buildspec =
        "version: 0.2\nphases: {build: {commands: [echo a > a.txt]}}\nartifacts: {files: a.txt}\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &["Out"]);
    let mut command = stage.agent(&["--once"]);
    command.env("AWS_ENDPOINT_URL", &between.endpoint);
    let ran = wait::output(Sandbox::spawn(&mut command));
    assert!(ran.status.success(), "{}", stderr(&ran));
    stage.answer(&job)
}

/// Whether a job was answered with a failure that says this.
#[track_caller]
fn failed_with(answer: &Value, said: &str) {
    assert_eq!(answer["status"], "Failed", "{answer}");
    let message = answer["request"]["failureDetails"]["message"].as_str();
    assert!(message.is_some_and(|text| text.contains(said)), "{answer}");
}

// AGENT-19: nobody else stores where CodePipeline says, so it is no success of the build's.
#[test]
fn an_output_that_somebody_replaced_is_no_success() {
    let Some(stage) = Stage::new("replaced") else {
        return;
    };
    let bucket = Arc::clone(&stage.bucket);
    let between = GoBetween::new(&stage.endpoint, move |line| {
        if line.starts_with("HEAD") && line.contains("out/Out") {
            bucket.put("out/Out", "not what the build made");
        }
        Verdict::Pass
    });
    let answer = build_small(&stage, &between);
    failed_with(&answer, "replaced by somebody else");
}

// AGENT-19: a size alone says nothing of what is there.
#[test]
fn an_output_without_a_checksum_is_no_success() {
    let Some(stage) = Stage::new("unverified") else {
        return;
    };
    let between = GoBetween::new(&stage.endpoint, |line| {
        if line.contains("out/Out") {
            Verdict::Without("x-amz-checksum-sha256")
        } else {
            Verdict::Pass
        }
    });
    let answer = build_small(&stage, &between);
    failed_with(&answer, "has no SHA-256 by which it could be verified");
}

// AGENT-98
#[test]
fn a_build_of_another_user_reads_its_sources_and_nobody_else_does() {
    if !rustix::process::geteuid().is_root() {
        skipped("an agent whose builds are others'", "it takes root");
        return;
    }
    let Some(stage) = Stage::new("users") else {
        return;
    };
    // Nobody is in the group of `run-as`, and daemon is not: who knows the way comes no further.
    let buildspec = "\
version: 0.2
phases:
  pre_build:
    run-as: nobody
    commands:
      - id -un > /dev/null && cat name.txt \"$CODEBUILD_SRC_DIR_Lib/lib.txt\"
      - FROM=$(id -un)
      - for place in ../.. ../../.. ../../../..; do ls $place 2>/dev/null && exit 3; done; true
      - for file in job.json handover.json events.jsonl stderr.txt; do cat ../../$file 2>/dev/null && exit 4; done; true
      - touch ../made 2>/dev/null && exit 5; true
  build:
    commands:
      - cd ../.. && ls job.json handover.json events.jsonl stderr.txt > /dev/null && cd - > /dev/null
      - echo \"$FROM $(id -un) $(cat name.txt)\" > who.txt
      - setpriv --reuid daemon --regid daemon --clear-groups ls \"$PWD\" 2>/dev/null && exit 6; true
artifacts:
  files: who.txt
";
    let primary = stage.source(
        "App/x",
        &[("buildspec.yml", buildspec), ("name.txt", "blue")],
    );
    let other = stage.source("Lib/x", &[("lib.txt", "lib")]);
    let configuration = json!({ "ProjectName": "web", "PrimarySource": "App" });
    let inputs = [other, primary];
    let closed = stage.job(&configuration, &inputs, &["Out"]);
    let above = |mode| {
        for place in ["", "state"] {
            let place = stage.sandbox.path(place);
            fs::set_permissions(place, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
    };
    // With the umask of the package's unit: what others have to come through is open to them all the same.
    let run = || wait::output(Sandbox::spawn(&mut narrow(&stage.agent(&["--once"]))));
    above(0o700);
    let ran = run();
    let answer = stage.answer(&closed);
    let message = answer["request"]["failureDetails"]["message"].as_str();
    // What is above the agent's directory is not the agent's.
    assert!(
        message.is_some_and(|text| text.contains("is closed to the user of `run-as`")),
        "{} {answer}",
        stderr(&ran)
    );
    let job = stage.job(&configuration, &inputs, &["Out"]);
    above(0o711);
    let ran = run();
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(
        stage.answer(&job)["status"],
        "Succeeded",
        "{} {}",
        stderr(&ran),
        stage.answer(&job)
    );
    let files = unzip(stage.bucket.get("out/Out").content);
    let who = ("who.txt".to_owned(), "nobody root blue\n".to_owned());
    assert_eq!(files, [who]);
}
