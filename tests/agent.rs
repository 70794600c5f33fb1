//! The agent against a server that hands out jobs, and buckets: from a job to its answer.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use buildspec_runner::agent::control;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::container::{busybox, containers};
use support::sandbox::Sandbox;
use support::stage::{BUILDSPEC, Stage, count, signal, stderr, unzip};
use support::wait;

// AGENT-1: another category is another action type, whatever its provider's name.
#[test]
fn a_worker_of_test_actions_is_handed_their_jobs_only() {
    let Some(mut stage) = Stage::new("category") else {
        return;
    };
    let properties =
        json!([{ "name": "ProjectName", "required": false, "key": true, "secret": false }]);
    let of_tests = stage.server.register_of("Test", "Runner", &properties);
    let files = [("buildspec.yml", BUILDSPEC), ("name.txt", "x")];
    let source = stage.source("App/one", &files);
    let configuration = json!({ "ProjectName": "web" });
    let job = |stage: &Stage| stage.job(&configuration, std::slice::from_ref(&source), &[]);
    let build = job(&stage);
    stage.action_type = of_tests;
    let test = job(&stage);
    let ran = stage.run(&["--once", "--category", "test"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    stage.succeeded(&test, &ran);
    assert_eq!(stage.server.told(&build)["status"], "Queued");
}

// AGENT-1, AGENT-6, AGENT-9, AGENT-18, AGENT-19, AGENT-20, AGENT-21, AGENT-33, AGENT-36, AGENT-38
#[test]
fn a_job_becomes_a_build_and_its_artifact_and_its_answer() {
    let Some(stage) = Stage::new("whole") else {
        return;
    };
    let buildspec = format!("{BUILDSPEC}  name: ignored-$(date)\n").replace(
        "out/\n",
        "out/\n      - env | grep ^CODEBUILD_ > out/env.txt\n      - tr '\\0' '\\n' < /proc/$PPID/cmdline > out/arguments.txt\n",
    );
    let mut source = stage.source(
        "App/one",
        &[("buildspec.yml", &buildspec), ("name.txt", "blue")],
    );
    source["revision"] = json!("abc123");
    let more = json!({ "encryptionKey": { "id": "alias/artifacts", "type": "KMS" } });
    let configuration = json!({ "ProjectName": "web", "EnvironmentVariables": "[{\"name\":\"PASS\",\"value\":\"hunter2\"}]" });
    let job = stage.job_with(&configuration, &[source], &["Anything"], &more);
    let ran = stage.run(&["--once"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&job);
    assert_eq!(answer["status"], "Succeeded", "{}", stderr(&ran));
    let request = &answer["request"];
    assert_eq!(request["outputVariables"], json!({ "TAG": "v-blue" }));
    let build = request["executionDetails"]["externalExecutionId"].as_str();
    assert!(build.is_some_and(|id| id.starts_with("web:")), "{request}");
    assert_eq!(request["executionDetails"].get("summary"), None);
    let object = stage.bucket.get("out/Anything");
    assert_eq!(object.encryption.as_deref(), Some("aws:kms"));
    assert!(
        object
            .kms_key
            .is_some_and(|key| key.contains("alias/artifacts"))
    );
    let files = unzip(object.content);
    let find = |name: &str| {
        files
            .iter()
            .find(|(file, _)| file == name)
            .map(|(_, text)| text.clone())
    };
    assert_eq!(find("name.txt").as_deref(), Some("blue"));
    let variables = find("env.txt").expect("it was made");
    for expected in [
        "CODEBUILD_INITIATOR=codepipeline/web-pipeline\n",
        "CODEBUILD_SOURCE_VERSION=arn:aws:s3:::agent-whole/App/one\n",
        "CODEBUILD_RESOLVED_SOURCE_VERSION=abc123\n",
        &format!("CODEBUILD_BUILD_ID={}\n", build.unwrap_or_default()),
    ] {
        assert!(variables.contains(expected), "no {expected} in {variables}");
    }
    // Everybody on a machine can read arguments.
    let arguments = find("arguments.txt").expect("it was made");
    assert!(arguments.contains("\n--job="), "{arguments}");
    for secret in stage.secrets(&[&job]) {
        assert!(!arguments.contains(&secret), "{secret} in {arguments}");
    }
    let calls = stage.server.calls(&job);
    assert_eq!(count(&calls, "AcknowledgeJob"), 1);
    assert_eq!(count(&calls, "PutJobSuccessResult"), 1);
    stage.keeps_secrets(&[&job], &ran.stderr);
}

// AGENT-12, AGENT-17, AGENT-22
#[test]
fn a_build_has_the_time_limit_of_its_action_or_else_the_agents() {
    let Some(stage) = Stage::new("limits") else {
        return;
    };
    let slow = "version: 0.2\nphases:\n  build:\n    commands:\n      - sleep 600\n";
    let source = stage.source("A/x", &[("buildspec.yml", slow)]);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let ran = stage.run(&["--once", "--timeout", "1s", "--grace", "1s"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let details = stage.answer(&job)["request"]["failureDetails"].clone();
    assert_eq!(details["type"], "JobFailed", "{details}");
    let message = details["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("BUILD_TIMED_OUT: "), "{message}");

    let asks = "version: 0.2\nphases:\n  build:\n    commands:\n      - tr '\\0' '\\n' < /proc/$PPID/cmdline > arguments\nartifacts:\n  files: arguments\n";
    let source = stage.source("B/x", &[("buildspec.yml", asks)]);
    let configuration = json!({ "ProjectName": "web", "Timeout": "90" });
    let job = stage.job(&configuration, &[source], &["Out"]);
    let ran = stage.run(&["--once", "--timeout", "10m"]);
    stage.succeeded(&job, &ran);
    let files = unzip(stage.bucket.get("out/Out").content);
    let lines: Vec<&str> = files[0].1.lines().collect();
    assert!(lines.contains(&"--timeout=1h30m"), "{lines:?}");
}

// AGENT-16: what needs leave, with it.
#[test]
fn a_privileged_container_is_asked_for_where_it_is_allowed() {
    let Some(stage) = Stage::new("leave") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC)]);
    let configuration = json!({ "ProjectName": "web", "Image": "busybox", "Privileged": "true" });
    let job = stage.job(&configuration, &[source], &[]);
    let mut command = stage.agent(&["--once", "--allow-privileged"]);
    command.env("DOCKER_HOST", "unix:///nowhere/engine.sock");
    wait::output(Sandbox::spawn(&mut command));
    let details = stage.answer(&job)["request"]["failureDetails"].clone();
    assert_eq!(details["type"], "SystemUnavailable", "{details}");
}

// AGENT-2
#[test]
fn who_has_no_free_slot_asks_for_nothing_and_then_at_once() {
    let Some(stage) = Stage::new("full-slots") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC), ("name.txt", "x")]);
    let configuration = json!({ "ProjectName": "web" });
    let jobs = [(); 2].map(|()| stage.job(&configuration, std::slice::from_ref(&source), &[]));
    // An answer that takes a minute more would be one too late.
    let agent = Sandbox::spawn(&mut stage.agent(&["--poll-interval", "1h"]));
    for job in &jobs {
        stage.answered(job);
    }
    signal(&agent, Signal::TERM);
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let calls = stage.server.ask("GET", "/calls", None);
    let operations: Vec<&str> = calls
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|call| call["operation"].as_str())
        .filter(|name| ["PollForJobs", "AcknowledgeJob", "PutJobSuccessResult"].contains(name))
        .collect();
    let one = ["PollForJobs", "AcknowledgeJob", "PutJobSuccessResult"];
    assert_eq!(operations[..6], [one, one].concat(), "{operations:?}");
}

// AGENT-30
#[test]
fn only_the_last_builds_are_kept() {
    let Some(stage) = Stage::new("kept") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC), ("name.txt", "x")]);
    let configuration = json!({ "ProjectName": "web" });
    let jobs = [(); 3].map(|()| stage.job(&configuration, std::slice::from_ref(&source), &[]));
    let ran = stage.run(&["--keep-builds", "1", "--max-idle", "1s"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let kept = fs::read_dir(stage.sandbox.path("state/runner/agent/jobs"));
    let kept: Vec<String> = kept
        .expect("it is there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(kept, [jobs[2].clone()]);
}

// AGENT-36
#[test]
fn an_agent_whose_time_is_over_ends_with_its_build() {
    let Some(stage) = Stage::new("uptime") else {
        return;
    };
    let waits = "version: 0.2\nphases:\n  build:\n    commands:\n      - touch \"$MARK\"; while [ -e \"$MARK\" ]; do sleep 0.05; done\n";
    let source = stage.source("A/x", &[("buildspec.yml", waits)]);
    let configuration = json!({ "ProjectName": "web" });
    let first = stage.job(&configuration, std::slice::from_ref(&source), &[]);
    let mark = stage.sandbox.path("mark");
    // By then it has asked for its first job, unless a machine is very slow.
    let mut command = stage.agent(&["--jobs", "2", "--max-uptime", "8s"]);
    let agent = Sandbox::spawn(command.env("MARK", &mark));
    wait::until("the build", {
        let mark = mark.clone();
        move || mark.exists()
    });
    wait::until("the end of its time", {
        let place = stage.sandbox.path("state/runner/agent");
        move || {
            let status = control::ask(&place, "status");
            status
                .ok()
                .flatten()
                .is_some_and(|status| status["state"] == "draining")
        }
    });
    let second = stage.job(&configuration, &[source], &[]);
    fs::remove_file(&mark).expect("it is there");
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("--max-uptime"), "{}", stderr(&ran));
    assert_eq!(stage.answer(&first)["status"], "Succeeded");
    assert_eq!(stage.server.told(&second)["status"], "Queued");
}

// AGENT-9, AGENT-18
#[test]
fn several_artifacts_go_each_to_its_place() {
    let Some(stage) = Stage::new("several") else {
        return;
    };
    let buildspec = "\
version: 0.2
phases:
  build:
    commands:
      - cat \"$CODEBUILD_SRC_DIR_Lib/lib.txt\" name.txt > both.txt
artifacts:
  files: name.txt
  secondary-artifacts:
    docs: { files: both.txt, name: other }
    app: { files: name.txt }
";
    let primary = stage.source(
        "App/one",
        &[("buildspec.yml", buildspec), ("name.txt", "blue")],
    );
    let other = stage.source("Lib/two", &[("lib.txt", "lib-")]);
    let configuration = json!({ "ProjectName": "web", "PrimarySource": "App" });
    let inputs = [other, primary];
    let job = stage.job(&configuration, &inputs, &["docs", "app"]);
    let missing = stage.job(&configuration, &inputs, &["docs", "web"]);
    let none = stage.job(&configuration, &inputs, &[]);
    let ran = stage.run(&["--jobs", "3", "--max-idle", "1s"]);
    stage.succeeded(&job, &ran);
    assert_eq!(stage.answer(&none)["status"], "Succeeded");
    let docs = unzip(stage.bucket.get("out/docs").content);
    assert_eq!(docs, [("both.txt".to_owned(), "lib-blue".to_owned())]);
    // Without a key it is the account's own.
    assert_eq!(
        stage.bucket.get("out/app").encryption.as_deref(),
        Some("aws:kms")
    );
    let answer = stage.answer(&missing);
    assert_eq!(answer["status"], "Failed");
    let details = &answer["request"]["failureDetails"];
    assert_eq!(details["type"], "JobFailed");
    assert!(
        details["message"]
            .as_str()
            .is_some_and(|text| text.contains("called web")),
        "{details}"
    );
    assert!(!stage.bucket.keys().contains(&"out/web".to_owned()));
}

// AGENT-12, AGENT-13, AGENT-16, AGENT-22, AGENT-23
#[test]
fn a_failure_says_what_kind_and_what_to_do() {
    let Some(stage) = Stage::new("failures") else {
        return;
    };
    let source = |name: &str, buildspec: &str| {
        stage.source(&format!("{name}/x"), &[("buildspec.yml", buildspec)])
    };
    let failing = source(
        "A",
        "version: 0.2\nphases:\n  build:\n    commands:\n      - exit 3\n",
    );
    let broken = source("B", "version: 0.2\nphases: [\n");
    let missing = stage.artifact("C", "C/none");
    let table = [
        (
            json!({ "ProjectName": "web" }),
            failing.clone(),
            "JobFailed",
            "COMMAND_EXECUTION_ERROR: ",
        ),
        (
            json!({ "ProjectName": "web" }),
            broken,
            "ConfigurationError",
            "YAML_FILE_ERROR: ",
        ),
        (
            json!({ "ProjectName": "web" }),
            missing,
            "RevisionUnavailable",
            "input artifact C: NoSuchKey",
        ),
        (
            json!({ "ProjectName": "web", "Timeout": "soon" }),
            failing.clone(),
            "ConfigurationError",
            "Timeout",
        ),
        (
            json!({ "ProjectName": "web", "Buildspec": "../x.yml" }),
            failing.clone(),
            "ConfigurationError",
            "leads out",
        ),
        (
            json!({ "ProjectName": "web", "Buildspec": "-" }),
            failing.clone(),
            "ConfigurationError",
            "is no path",
        ),
        (
            json!({ "ProjectName": "web", "Image": "aws/codebuild/standard:7.0" }),
            failing.clone(),
            "ConfigurationError",
            "an image that AWS does not publish",
        ),
        (
            json!({ "ProjectName": "web", "Image": "x", "Privileged": "true" }),
            failing.clone(),
            "ConfigurationError",
            "privileged",
        ),
        (
            json!({ "ProjectName": "web", "Buildspec": "version: 0.2\nphases:\n  build:\n    commands:\n      - exit 5\n", "Extra": "x" }),
            failing,
            "JobFailed",
            "exit status 5",
        ),
    ];
    let jobs: Vec<String> = table
        .iter()
        .map(|(configuration, source, _, _)| {
            stage.job(configuration, std::slice::from_ref(source), &["Out"])
        })
        .collect();
    let ran = stage.run(&["--jobs", "2", "--max-idle", "1s"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    for (job, (configuration, _, kind, words)) in jobs.iter().zip(&table) {
        let answer = stage.answer(job);
        let details = &answer["request"]["failureDetails"];
        assert_eq!(details["type"], *kind, "{configuration} {answer}");
        let message = details["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{message}");
    }
    assert!(stderr(&ran).contains("keys that mean nothing here: Extra"));
    assert_eq!(stage.bucket.keys(), ["A/x", "B/x"]);
}

// AGENT-5, AGENT-7, AGENT-8
#[test]
fn acknowledgements_and_polls_that_go_wrong_lose_nothing() {
    let Some(stage) = Stage::new("acknowledge") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC), ("name.txt", "x")]);
    let configuration = json!({ "ProjectName": "web" });
    for fault in [
        json!({ "kind": "truncate", "operation": "PollForJobs" }),
        json!({ "kind": "duplicate", "operation": "PollForJobs" }),
        json!({ "kind": "duplicate", "operation": "PollForJobs", "mode": "again", "times": 3, "skip": 2 }),
        json!({ "kind": "close", "operation": "AcknowledgeJob", "when": "after", "times": 3 }),
    ] {
        stage.server.fault(&fault);
    }
    let jobs: Vec<String> = (0..3)
        .map(|_| stage.job(&configuration, std::slice::from_ref(&source), &["Out"]))
        .collect();
    let ran = stage.run(&["--jobs", "4", "--max-idle", "2s"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let mut acknowledged = 0;
    for job in &jobs {
        stage.succeeded(job, &ran);
        acknowledged += count(&stage.server.calls(job), "AcknowledgeJob");
    }
    assert!(acknowledged > jobs.len(), "{acknowledged}");
    let names: Vec<&str> = jobs.iter().map(String::as_str).collect();
    stage.keeps_secrets(&names, &ran.stderr);
}

// AGENT-7: C36
#[test]
fn a_job_that_is_somebody_elses_gets_no_result() {
    let Some(stage) = Stage::new("nonce") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC), ("name.txt", "x")]);
    stage.server.fault(
        &json!({ "kind": "error", "operation": "AcknowledgeJob", "code": "InvalidNonceException" }),
    );
    for code in ["JobNotFoundException", "ValidationException"] {
        stage
            .server
            .fault(&json!({ "kind": "error", "operation": "AcknowledgeJob", "code": code }));
    }
    stage
        .server
        .fault(&json!({ "kind": "status", "operation": "AcknowledgeJob", "status": "Succeeded" }));
    let configuration = json!({ "ProjectName": "web" });
    let job = stage.job(&configuration, &[source], &["Out"]);
    // The fifth time it is its own.
    let ran = stage.run(&["--once"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let calls = stage.server.calls(&job);
    // The first three are in no list of the job's: they failed before it was looked at.
    assert_eq!(count(&calls, "AcknowledgeJob"), 2, "{calls:?}");
    assert_eq!(count(&calls, "PutJobSuccessResult"), 1, "{calls:?}");
    assert_eq!(stderr(&ran).matches("left the job to others").count(), 4);
}

// PHASE-17: what was fetched for a job is its build's own.
#[test]
fn a_retried_build_of_a_job_finds_its_input_as_it_came() {
    let Some(stage) = Stage::new("retry") else {
        return;
    };
    let buildspec = "version: 0.2
phases:
  build:
    on-failure: RETRY-1
    commands:
      - '! test -e spoilt'
      - touch spoilt; echo x >> ../attempts; test $(wc -l < ../attempts) -eq 2
";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let ran = stage.run(&["--once"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&job);
    assert_eq!(answer["status"], "Succeeded", "{answer}");
}

// AGENT-24, AGENT-25
#[test]
fn an_answer_is_given_until_it_is_final() {
    let Some(stage) = Stage::new("answers") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC), ("name.txt", "x")]);
    let operation = "PutJobSuccessResult";
    for fault in [
        json!({ "kind": "error", "operation": operation, "code": "ServiceUnavailableException", "times": 3 }),
        json!({ "kind": "error", "operation": operation, "code": "ThrottlingException", "times": 2 }),
        json!({ "kind": "error", "operation": operation, "code": "OutputVariablesSizeExceededException" }),
        json!({ "kind": "close", "operation": operation, "when": "after", "reset": true }),
    ] {
        stage.server.fault(&fault);
    }
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &["Out"]);
    let ran = stage.run(&["--once"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&job);
    assert_eq!(answer["status"], "Succeeded");
    assert!(
        answer["request"]
            .get("outputVariables")
            .is_none_or(|all| all == &json!({})),
        "{answer}"
    );
    assert!(
        stderr(&ran).contains("without output variable TAG"),
        "{}",
        stderr(&ran)
    );
    stage.keeps_secrets(&[&job], &ran.stderr);
}

// AGENT-24: the pipeline was stopped meanwhile, and nobody told the agent.
#[test]
fn an_answer_that_nobody_wants_is_final() {
    let Some(stage) = Stage::new("unwanted") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - touch \"$MARK\"; while [ -e \"$MARK\" ]; do sleep 0.05; done\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let mark = stage.sandbox.path("mark");
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let mut command = stage.agent(&["--once"]);
    let agent = Sandbox::spawn(command.env("MARK", &mark));
    wait::until("the build", {
        let mark = mark.clone();
        move || mark.exists()
    });
    stage.server.ask("POST", &format!("/jobs/{job}/stop"), None);
    fs::remove_file(&mark).expect("it is there");
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(stage.server.told(&job)["answers"], json!([]));
    assert!(stderr(&ran).contains("given it up"), "{}", stderr(&ran));
}

// AGENT-11
#[test]
fn what_never_heals_ends_the_agent_and_says_what_to_do() {
    let Some(stage) = Stage::new("never") else {
        return;
    };
    let mut other = stage.agent(&["--once"]);
    other.args(["--version", "2"]);
    let ran = wait::output(Sandbox::spawn(&mut other));
    assert_eq!(ran.status.code(), Some(4), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("runner agent register"),
        "{}",
        stderr(&ran)
    );
    let mut nobody = stage.agent(&["--once"]);
    nobody
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let ran = wait::output(Sandbox::spawn(&mut nobody));
    assert_eq!(ran.status.code(), Some(4), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("no AWS credentials"),
        "{}",
        stderr(&ran)
    );
    stage.server.fault(
        &json!({ "kind": "error", "operation": "PollForJobs", "code": "AccessDeniedException" }),
    );
    let ran = stage.run(&["--once"]);
    assert_eq!(ran.status.code(), Some(4), "{}", stderr(&ran));
}

// AGENT-31, AGENT-34, AGENT-35
#[test]
fn an_agent_is_alone_shows_what_it_does_and_drains() {
    let Some(stage) = Stage::new("drain") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - touch \"$MARK\"; while [ -e \"$MARK\" ]; do sleep 0.05; done\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let mark = stage.sandbox.path("mark");
    let configuration = json!({ "ProjectName": "web" });
    let job = stage.job(&configuration, std::slice::from_ref(&source), &[]);
    let agent = Sandbox::spawn(stage.agent(&[]).env("MARK", &mark));
    wait::until("the build", {
        let mark = mark.clone();
        move || mark.exists()
    });
    let second = stage.run(&[]);
    assert_eq!(second.status.code(), Some(4));
    assert!(
        stderr(&second).contains("another agent uses"),
        "{}",
        stderr(&second)
    );
    // Who can speak to it can end it.
    let socket = stage.sandbox.path("state/runner/agent/control.sock");
    let mode = fs::metadata(&socket).expect("it is there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let ask = |arguments: &[&str]| stage.sandbox.run(arguments);
    let status = stage.sandbox.command(["agent", "status", "--json"]);
    let status = wait::output(Sandbox::spawn(&mut { status }));
    let status: Value = serde_json::from_slice(&status.stdout).expect("it is JSON");
    assert_eq!(status["running"][0]["job"], json!(job), "{status:#}");
    assert_eq!(status["slots"], 1);
    ask(&["agent", "status"])
        .expect(0)
        .stdout_has("web-pipeline/Build/Build");
    ask(&["agent", "drain"]).expect(0);
    let late = stage.job(&configuration, &[source], &[]);
    fs::remove_file(&mark).expect("it is there");
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(stage.answer(&job)["status"], "Succeeded");
    assert_eq!(stage.server.told(&late)["status"], "Queued");
    ask(&["agent", "status"])
        .expect(4)
        .stderr_has("no agent runs with");
}

// AGENT-34
#[test]
fn the_second_signal_stops_builds_and_answers_for_them() {
    let Some(stage) = Stage::new("stop") else {
        return;
    };
    let buildspec =
        "version: 0.2\nphases:\n  build:\n    commands:\n      - touch \"$MARK\"; sleep 600\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let mark = stage.sandbox.path("mark");
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let agent = Sandbox::spawn(stage.agent(&["--grace", "1s"]).env("MARK", &mark));
    wait::until("the build", move || mark.exists());
    signal(&agent, Signal::TERM);
    signal(&agent, Signal::INT);
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&job);
    assert_eq!(answer["request"]["failureDetails"]["type"], "JobFailed");
    let message = answer["request"]["failureDetails"]["message"].as_str();
    assert!(
        message.is_some_and(|text| text.contains("the agent was stopped")),
        "{answer}"
    );
}

// AGENT-34, AGENT-28: the build does not even end when it is asked to.
#[test]
fn the_third_signal_leaves_at_once_and_the_next_agent_answers() {
    let Some(stage) = Stage::new("third") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - trap '' TERM INT; echo $$ > \"$MARK.new\"; mv \"$MARK.new\" \"$MARK\"; while :; do sleep 600; done\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let mark = stage.sandbox.path("mark");
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    // With a grace that no test would wait for.
    let agent = Sandbox::spawn(stage.agent(&["--grace", "1h"]).env("MARK", &mark));
    wait::until("the build", {
        let mark = mark.clone();
        move || mark.exists()
    });
    for number in [Signal::TERM, Signal::INT, Signal::TERM] {
        let heard = stage.sandbox.path("state/runner/agent");
        signal(&agent, number);
        // Two of one kind that come together are one.
        if number == Signal::INT {
            wait::until("the second signal to be heard", move || {
                let status = control::ask(&heard, "status").ok().flatten();
                status.is_some_and(|status| status["state"] == "stopping")
            });
        }
    }
    let ran = wait::output(agent);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&ran.status)
            .or(ran.status.code().map(|code| code - 128)),
        Some(15),
        "{}",
        stderr(&ran)
    );
    assert!(
        stderr(&ran).contains("leaves at once; open jobs are answered at the next start"),
        "{}",
        stderr(&ran)
    );
    assert_eq!(stage.server.told(&job)["answers"], json!([]));
    let next = stage.run(&["--max-idle", "300ms"]);
    assert!(next.status.success(), "{}", stderr(&next));
    let answer = stage.answer(&job);
    assert_eq!(
        answer["request"]["failureDetails"]["type"],
        "SystemUnavailable"
    );
    let shell = fs::read_to_string(&mark).expect("it is there");
    let stat = format!("/proc/{}/stat", shell.trim());
    // It was ended by force; whoever it was left to takes note of that in their own time.
    wait::until("the end of the build's shell", move || {
        fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}

// AGENT-34: nothing of a build in a container is left when the agent stops it.
#[test]
fn the_second_signal_stops_a_build_in_a_container() {
    let Some(image) = busybox("agent: container") else {
        return;
    };
    let Some(stage) = Stage::new("container") else {
        return;
    };
    let buildspec =
        "version: 0.2\nphases:\n  build:\n    commands:\n      - touch begun; sleep 600\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let configuration = json!({ "ProjectName": stage.sandbox.project(), "Image": image });
    let job = stage.job(&configuration, &[source], &[]);
    let mut command = stage.agent(&["--grace", "1s"]);
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        command.env("DOCKER_HOST", host);
    }
    let agent = Sandbox::spawn(&mut command);
    wait::until("the build", {
        let jobs = stage.sandbox.path("state/runner/agent/jobs");
        let begun = jobs.join(&job).join("work/src/begun");
        move || begun.exists()
    });
    assert_eq!(containers(&stage.sandbox).len(), 1);
    signal(&agent, Signal::TERM);
    signal(&agent, Signal::INT);
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&job);
    let message = answer["request"]["failureDetails"]["message"].as_str();
    assert!(
        message.is_some_and(|text| text.contains("the agent was stopped")),
        "{answer}"
    );
    assert_eq!(containers(&stage.sandbox), Vec::<String>::new());
}

// AGENT-17, AGENT-28, AGENT-34
#[test]
fn what_a_killed_agent_leaves_open_is_answered_by_the_next() {
    let Some(stage) = Stage::new("killed") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - echo $$ > \"$MARK.new\"; mv \"$MARK.new\" \"$MARK\"; sleep 600\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let mark = stage.sandbox.path("mark");
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let agent = Sandbox::spawn(stage.agent(&["--grace", "1s"]).env("MARK", &mark));
    wait::until("the build", {
        let mark = mark.clone();
        move || mark.exists()
    });
    signal(&agent, Signal::KILL);
    let killed = wait::output(agent);
    let ran = stage.run(&["--max-idle", "300ms"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&job);
    let details = &answer["request"]["failureDetails"];
    assert_eq!(details["type"], "SystemUnavailable");
    assert!(
        details["message"]
            .as_str()
            .is_some_and(|text| text.contains("the agent ended")),
        "{details}"
    );
    // Nothing of the build goes on.
    let shell = fs::read_to_string(&mark).expect("it is there");
    assert!(!std::path::Path::new(&format!("/proc/{}", shell.trim())).exists());
    stage.keeps_secrets(&[&job], &[killed.stderr, ran.stderr].concat());
}

// AGENT-28: killed between the acknowledgement and the build, and between the answer on disk and its delivery.
#[test]
fn a_job_that_was_about_to_be_taken_is_built_and_an_answer_is_given_again() {
    let Some(stage) = Stage::new("again") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC), ("name.txt", "x")]);
    let configuration = json!({ "ProjectName": "web" });
    for operation in ["AcknowledgeJob", "PutJobSuccessResult"] {
        for when in ["before", "after"] {
            let job = stage.job(&configuration, std::slice::from_ref(&source), &["Out"]);
            stage
                .server
                .fault(&json!({ "kind": "stall", "operation": operation, "when": when }));
            let agent = Sandbox::spawn(&mut stage.agent(&[]));
            wait::until("the call", {
                let endpoint = stage.server.endpoint.clone();
                move || {
                    let server = support::codepipeline::Control(&endpoint);
                    server.ask("GET", "", None)["stalled"] == 1
                }
            });
            signal(&agent, Signal::KILL);
            wait::output(agent);
            stage.server.ask("POST", "/release", None);
            let ran = stage.run(&["--max-idle", "1s"]);
            assert!(ran.status.success(), "{}", stderr(&ran));
            assert_eq!(
                stage.answer(&job)["status"],
                "Succeeded",
                "{operation} {when} {}",
                stderr(&ran)
            );
        }
    }
}

// AGENT-30 AGENT-37
#[test]
fn without_room_what_is_kept_goes_and_no_job_is_taken() {
    let Some(stage) = Stage::new("room") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC), ("name.txt", "x")]);
    let inline = json!({ "ProjectName": "web", "Buildspec": BUILDSPEC });
    let old = stage.job(&inline, std::slice::from_ref(&source), &["Out"]);
    let ran = stage.run(&["--once"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let jobs = stage.sandbox.path("state/runner/agent/jobs");
    let kept = support::tree::files(&jobs.join(&old));
    assert_eq!(kept, ["build.log", "job.json"]);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let agent = Sandbox::spawn(&mut stage.agent(&["--min-free-space", "100t"]));
    let place = stage.sandbox.path("state/runner/agent");
    let said = wait::within("no room", move || {
        loop {
            let status = control::ask(&place, "status").ok().flatten();
            if let Some(status) = status.filter(|status| status["state"] == "no-room") {
                break status["reason"].to_string();
            }
            std::thread::yield_now();
        }
    });
    assert!(said.contains("--min-free-space"), "{said}");
    signal(&agent, Signal::TERM);
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(stderr(&ran).matches("no jobs are taken").count(), 1);
    let removed = "removed the logs of the 1 oldest builds";
    assert_eq!(stderr(&ran).matches(removed).count(), 1, "{}", stderr(&ran));
    assert!(!jobs.join(&old).exists());
    assert_eq!(stage.server.told(&job)["status"], "Queued");
}

// AGENT-2, AGENT-32
#[test]
fn as_many_jobs_are_asked_for_as_there_are_free_slots() {
    let Some(stage) = Stage::new("slots") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - touch \"$MARK\"; while [ -e \"$MARK\" ]; do sleep 0.05; done\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let mark = stage.sandbox.path("mark");
    let configuration = json!({ "ProjectName": "web" });
    let job = stage.job(&configuration, std::slice::from_ref(&source), &[]);
    let mut command = stage.agent(&["--jobs", "2", "--log-format", "json", "--max-idle", "300ms"]);
    let agent = Sandbox::spawn(command.env("MARK", &mark));
    let endpoint = stage.server.endpoint.clone();
    let polled = move |most: u64| {
        let calls = support::codepipeline::Control(&endpoint).ask("GET", "/calls", None);
        let calls = calls.as_array().cloned().unwrap_or_default();
        calls
            .iter()
            .filter(|call| {
                call["operation"] == "PollForJobs" && call["request"]["maxBatchSize"] == most
            })
            .count()
    };
    wait::until("the build", {
        let mark = mark.clone();
        move || mark.exists()
    });
    // One slot is taken, and one is free.
    let before = polled(2);
    let asked = polled.clone();
    wait::until("questions for one job", move || asked(1) >= 2);
    assert_eq!(polled(2), before);
    let second = stage.job(&configuration, &[source], &[]);
    wait::until("the second build", {
        let (endpoint, second) = (stage.server.endpoint.clone(), second.clone());
        move || {
            let server = support::codepipeline::Control(&endpoint);
            server.told(&second)["status"] == "InProgress"
        }
    });
    fs::remove_file(&mark).expect("it is there");
    // The second build may have come to its mark only now.
    wait::until("the end of both", {
        let endpoint = stage.server.endpoint.clone();
        let jobs = [job.clone(), second.clone()];
        move || {
            let _ = fs::remove_file(&mark);
            let server = support::codepipeline::Control(&endpoint);
            jobs.iter()
                .all(|job| server.told(job)["status"] == "Succeeded")
        }
    });
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    for line in stderr(&ran).lines() {
        let line: Value = serde_json::from_str(line).expect("each line is an object");
        assert!(
            line["message"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
}

// AGENT-10, AGENT-29
#[test]
fn a_job_is_looked_after_and_stopped_when_nobody_knows_it_any_more() {
    let Some(stage) = Stage::new("looked-after") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - sleep 600\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let fault = json!({ "kind": "error", "operation": "GetJobDetails", "code": "JobNotFoundException", "skip": 2 });
    stage.server.fault(&fault);
    let ran = stage.run(&["--once", "--grace", "1s", "--look-after", "200ms"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("has given the job up"),
        "{}",
        stderr(&ran)
    );
    let calls = stage.server.calls(&job);
    // The one that failed is in no list of the job's.
    assert_eq!(count(&calls, "GetJobDetails"), 2, "{calls:?}");
    assert_eq!(stage.answer(&job)["status"], "Failed");
}

// AGENT-9, AGENT-10: the agent's own credentials are not taken in their place.
#[test]
fn without_credentials_there_are_no_artifacts() {
    let Some(stage) = Stage::new("credentials") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC), ("name.txt", "x")]);
    let more = json!({ "artifactCredentials": null });
    let configuration = json!({ "ProjectName": "web" });
    let job = stage.job_with(&configuration, &[source], &["Out"], &more);
    let ran = stage.run(&["--once"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&job);
    let details = &answer["request"]["failureDetails"];
    assert_eq!(details["type"], "PermissionError", "{answer}");
    let message = details["message"].as_str();
    assert!(
        message.is_some_and(|text| text.contains("no credentials for the artifacts")),
        "{answer}"
    );
}

// AGENT-17: what an action says of a build wins over what the operator says of all.
#[test]
fn an_actions_role_takes_the_place_of_the_operators() {
    let Some(stage) = Stage::new("role") else {
        return;
    };
    // The shell's parent is the process of the build.
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - tr '\\0' '\\n' < /proc/$PPID/cmdline | grep -A1 assume-role > role.txt\nartifacts: { files: role.txt }\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    let plain = json!({ "ProjectName": "web" });
    let other = json!({ "ProjectName": "web", "ServiceRoleArnOverride": role("action") });
    let operator = role("operator");
    for (configuration, output, expected) in [
        (plain, "Plain", format!("--assume-role\n{operator}\n")),
        (
            other,
            "Other",
            format!("--assume-role={}\n", role("action")),
        ),
    ] {
        let job = stage.job(&configuration, std::slice::from_ref(&source), &[output]);
        let more = [
            "--once",
            "--allow-role",
            "*",
            "--",
            "--assume-role",
            &operator,
        ];
        let ran = stage.run(&more);
        stage.succeeded(&job, &ran);
        let files = unzip(stage.bucket.get(&format!("out/{output}")).content);
        assert!(files[0].1.starts_with(&expected), "{files:?}");
        assert_eq!(files[0].1.matches("assume-role").count(), 1, "{files:?}");
    }
}

// AGENT-1, AGENT-17
#[test]
fn what_no_agent_can_do_is_a_mistake_on_the_command_line() {
    let sandbox = Sandbox::new();
    sandbox
        .run(["agent"])
        .expect(2)
        .stderr_has("--provider NAME")
        .stderr_has("Usage: runner agent [OPTIONS]");
    let role = "arn:aws:iam::123456789012:role/build";
    let table: [&[&str]; 20] = [
        &["--provider", "R", "--listen", "0.0.0.0:0"],
        &["--provider", "R", "--event-bus", "a b!"],
        &["--provider", "a b"],
        &["--provider", "R", "--jobs", "0"],
        &["--provider", "R", "--query", "ProjectName"],
        &["--provider", "R", "--poll-interval", "1ms"],
        &["--provider", "R", "--", "--artifacts", "x"],
        &["--provider", "R", "--", "--no-such-flag"],
        &["--provider", "R", "--image", "x", "--executor", "host"],
        // What the agent says too, in every way that it can be said.
        &["--provider", "R", "--", "--region", "us-east-1"],
        &["--provider", "R", "--", "--color=never"],
        &["--provider", "R", "--", "--reports", "x"],
        &["--provider", "R", "--", "--no-config"],
        &["--provider", "R", "--", "--config", "x"],
        &["--provider", "R", "--", "--executor", "host"],
        &["--provider", "R", "--", "--image", "x"],
        &["--provider", "R", "--", "-Cx"],
        &["--provider", "R", "--", "-qn"],
        // Fine with an action's role, and nothing without one.
        &["--provider", "R", "--", "--external-id", "x"],
        &[
            "--provider",
            "R",
            "--",
            "--assume-role",
            role,
            "--assume-role",
            role,
        ],
    ];
    for arguments in table {
        let all = std::iter::once(&"agent").chain(arguments);
        let ran = sandbox.run(all).expect(2);
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
    assert!(!sandbox.path("state/runner").exists());
}
