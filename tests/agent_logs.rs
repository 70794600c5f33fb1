//! Logs of builds on their way to CloudWatch Logs, and changes to EventBridge: against a server of our own that has the
//! services' limits and fails as it is told to, and against the one that `tests/run` starts.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use buildspec_runner::agent::logs::shipping::{
    CHANGES_STATE, EVENTS, LOG_STATE, Settings, Shipping,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::aws::{command, endpoint};
use support::cloudwatch::{CloudWatch, GROUP, Job, agent, settings, shared, until};
use support::python::judge;
use support::sandbox::Sandbox;
use support::stage::{Stage, signal, stderr};
use support::wait::{self, Bounded as _, LIMIT, output};

/// Until everything of a build that is over was sent.
async fn finish(shipping: &Shipping, job: &Job) {
    assert!(shipping.finish(job.path()));
    let left = || shipping.status().queued_builds;
    until(|| shipping.is_done(job.path()) && left() == 0).await;
}

async fn start(server: &CloudWatch, settings: Settings) -> Shipping {
    Shipping::start(settings, &server.shared().await)
}

// AGENT-60 AGENT-61
#[test]
fn a_log_goes_line_by_line_while_its_build_runs() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let shipping = start(&server, settings()).await;
        let mut job = Job::new();
        shipping.begin(job.path(), &job.about()).unwrap();
        job.output("one\ntw");
        // A stream is there before what is in it.
        let lines = || {
            let stream = server.stream("web/1-2-3");
            stream.map_or_else(Vec::new, |stream| stream.messages)
        };
        until(|| !lines().is_empty()).await;
        assert_eq!(lines(), ["one\n"]);
        // The rest of the line, and one without an end.
        job.output("o\n\nthree");
        until(|| server.stream(&job.stream()).unwrap().messages.len() == 3).await;
        assert!(!shipping.is_done(job.path()));
        finish(&shipping, &job).await;
        let stream = server.stream(&job.stream()).unwrap();
        assert_eq!(stream.messages, ["one\n", "two\n", "\n", "three\n"]);
        assert_eq!(stream.times, [job.now.as_millisecond(); 4]);
        assert!(shipping.is_done(job.path()));
        let status = shipping.status();
        let logs = status.logs.unwrap();
        assert_eq!(
            (logs.queued, logs.sent, logs.lost, logs.trouble),
            (4, 4, 0, None)
        );
        assert_eq!(status.changes, None);
        assert_eq!(job.json(LOG_STATE)["accepted"], 4);
        shipping.close(LIMIT).await;
    });
}

// AGENT-61: what is sent is what the build's own log file has.
#[test]
fn the_log_of_a_real_build_is_its_log_file() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "printf 'two\\nlines\\n'",
        "printf half; exit 3",
        "|\n        echo several\n        echo lines\n",
    ]);
    let (events, log) = (sandbox.path("events.jsonl"), sandbox.path("build.log"));
    let (events_flag, log_flag) = (events.to_str().unwrap(), log.to_str().unwrap());
    sandbox
        .run(["run", "--events", events_flag, "--log-file", log_flag])
        .expect(1);
    let expected = fs::read_to_string(&log).unwrap();
    agent(async move || {
        let shipping = start(&server, settings()).await;
        let job = Job::new();
        fs::copy(&events, job.file(EVENTS)).unwrap();
        shipping.begin(job.path(), &job.about()).unwrap();
        finish(&shipping, &job).await;
        let stream = server.stream(&job.stream()).unwrap();
        assert_eq!(stream.messages.concat(), expected);
        assert!(stream.messages.iter().all(|line| line.ends_with('\n')));
        drop(sandbox);
    });
}

/// A log that meets every limit of a request.
fn write_much(job: &mut Job) {
    for line in 0..25_000 {
        job.output(&format!("{line}\n"));
    }
    // More than a request, in lines as long as they may be, and longer.
    for character in ["x", "ä", "🦀"] {
        job.output(&character.repeat(600_000 / character.len()));
        job.output("\n");
    }
    // A clock that is put back, and one that runs ahead by more than a day.
    let now = job.now;
    job.now = now - Duration::from_hours(30);
    job.output("earlier\n");
    job.now = now;
    job.output("now\n");
}

// AGENT-62 AGENT-63: the server refuses what is beyond a limit, and nothing is lost.
#[test]
fn requests_are_within_the_limits_of_the_service() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let shipping = start(&server, settings()).await;
        let mut job = Job::new();
        job.now -= Duration::from_hours(26);
        job.output("a day ago\n");
        job.now += Duration::from_hours(26);
        write_much(&mut job);
        shipping.begin(job.path(), &job.about()).unwrap();
        finish(&shipping, &job).await;
        let stream = server.stream(&job.stream()).unwrap();
        assert!(stream.messages.concat() == job.expected);
        assert!(stream.times.is_sorted());
        assert!(stream.batches.len() >= 5, "{:?}", stream.batches);
        assert!(stream.batches.contains(&10_000), "{:?}", stream.batches);
        assert_eq!(stream.batches[0], 1);
        let logs = shipping.status().logs.unwrap();
        assert_eq!((logs.lost, logs.trouble), (0, None));
        assert_eq!(server.calls("PutLogEvents", "InvalidParameterException"), 0);
    });
}

// AGENT-65
#[test]
fn what_fails_is_sent_again_in_its_order_and_once() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        for fault in [
            json!({ "kind": "error", "code": "ThrottlingException", "share": 0.2 }),
            json!({ "kind": "error", "code": "InternalFailure", "status": 500, "share": 0.2 }),
            json!({ "kind": "error", "code": "ServiceUnavailableException", "status": 503, "share": 0.2 }),
            json!({ "kind": "close", "share": 0.2 }),
            json!({ "kind": "close", "reset": true, "share": 0.2 }),
        ] {
            for operation in ["CreateLogGroup", "CreateLogStream", "PutLogEvents"] {
                let mut fault = fault.clone();
                fault["operation"] = json!(operation);
                fault["times"] = json!(1000);
                server.fault(&fault);
            }
        }
        let shipping = start(&server, settings()).await;
        let mut job = Job::new();
        shipping.begin(job.path(), &job.about()).unwrap();
        for line in 0..60 {
            job.output(&format!("{line}\n"));
            let sent = || {
                server
                    .stream(&job.stream())
                    .map_or(0, |one| one.messages.len())
            };
            until(|| sent() == line + 1).await;
        }
        finish(&shipping, &job).await;
        let stream = server.stream(&job.stream()).unwrap();
        assert_eq!(stream.messages.concat(), job.expected);
        for outcome in ["ThrottlingException", "InternalFailure", "no answer"] {
            assert!(server.calls("PutLogEvents", outcome) > 0, "{outcome}");
        }
        assert_eq!(shipping.status().logs.unwrap().trouble, None);
    });
}

// AGENT-65: the service has it, and nobody knows.
#[test]
fn only_what_had_no_answer_is_sent_twice() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let shipping = start(&server, settings()).await;
        let mut job = Job::new();
        shipping.begin(job.path(), &job.about()).unwrap();
        job.output("one\n");
        until(|| {
            server
                .stream(&job.stream())
                .is_some_and(|one| one.messages.len() == 1)
        })
        .await;
        server.fault(&json!({ "operation": "PutLogEvents", "kind": "close", "when": "after" }));
        job.output("two\n");
        until(|| server.stream(&job.stream()).unwrap().messages.len() == 3).await;
        job.output("three\n");
        finish(&shipping, &job).await;
        let stream = server.stream(&job.stream()).unwrap();
        assert_eq!(stream.messages, ["one\n", "two\n", "two\n", "three\n"]);
    });
}

// AGENT-61 AGENT-66
#[test]
fn a_group_that_may_not_be_made_is_waited_for() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        server.fault(&json!({
            "operation": "CreateLogGroup",
            "kind": "error",
            "code": "AccessDeniedException",
            "message": "not you",
            "times": 1000,
        }));
        // Then it takes its turn at once.
        let mut settings = settings();
        settings.pace.ending = Duration::ZERO;
        let shipping = start(&server, settings).await;
        let mut job = Job::new();
        job.output("line\n");
        shipping.begin(job.path(), &job.about()).unwrap();
        let trouble = || shipping.status().logs.unwrap().trouble;
        until(|| trouble().is_some()).await;
        let expected =
            format!("could not create the log group {GROUP}: AccessDeniedException: not you");
        assert_eq!(trouble().unwrap(), expected);
        // The build is over, and nobody waits for it.
        assert!(shipping.finish(job.path()));
        assert_eq!(shipping.status().queued_builds, 1);
        server.0.ask("DELETE", "/faults", None);
        until(|| shipping.is_done(job.path())).await;
        assert_eq!(server.stream(&job.stream()).unwrap().messages, ["line\n"]);
        until(|| trouble().is_none() && shipping.status().queued_builds == 0).await;
    });
}

// AGENT-67
#[test]
fn what_the_service_rejects_is_counted_and_said_in_the_log() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let shipping = start(&server, settings()).await;
        let mut job = Job::new();
        let now = job.now;
        job.now = now - Duration::from_hours(15 * 24);
        job.output("old\nvery old\n");
        job.now = now;
        job.output("new\n");
        job.now = now + Duration::from_hours(5);
        job.output("ahead\n");
        shipping.begin(job.path(), &job.about()).unwrap();
        finish(&shipping, &job).await;
        let stream = server.stream(&job.stream()).unwrap();
        let [gap, new, end] = &stream.messages[..] else {
            panic!("{stream:?}");
        };
        assert_eq!(new, "new\n");
        let said = " runner: 2 lines of this log are missing here: refused by CloudWatch Logs: older than 14 days\n";
        assert!(
            gap.starts_with("[Container] 20") && gap.ends_with(said),
            "{gap}"
        );
        let said = " runner: 1 line of this log is missing here: refused by CloudWatch Logs: this machine's clock is more than two hours ahead\n";
        assert!(end.ends_with(said), "{end}");
        let logs = shipping.status().logs.unwrap();
        assert_eq!((logs.sent, logs.lost), (1, 3));
        let state = job.json(LOG_STATE);
        assert_eq!((&state["lost"], &state["untold"]), (&json!(3), &json!(0)));
    });
}

// AGENT-67: a request that can never be taken does not stop those behind it.
#[test]
fn a_request_that_is_refused_is_lost_and_the_rest_goes_on() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        server.fault(&json!({
            "operation": "PutLogEvents",
            "kind": "error",
            "code": "InvalidParameterException",
            "message": "no",
        }));
        let shipping = start(&server, settings()).await;
        let mut job = Job::new();
        shipping.begin(job.path(), &job.about()).unwrap();
        job.output("one\n");
        until(|| shipping.status().logs.unwrap().lost == 1).await;
        // Nothing that a build of this program writes: a line of somebody else's.
        job.raw("{\"sequence\":1,\n");
        job.output("two\n");
        finish(&shipping, &job).await;
        let stream = server.stream(&job.stream()).unwrap();
        assert_eq!(stream.messages.last().unwrap(), "two\n");
        let said = stream.messages.concat();
        assert!(said.contains("InvalidParameterException: no"), "{said}");
        assert!(
            said.contains("the file of events has a line that is none"),
            "{said}"
        );
        assert_eq!(shipping.status().logs.unwrap().lost, 2);
    });
}

// AGENT-64 AGENT-68
#[test]
fn the_next_agent_goes_on_where_the_last_one_left() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let mut job = Job::new();
        job.output("one\n");
        job.raw("none\n");
        job.output("two\nhal");
        let shipping = start(&server, settings()).await;
        shipping.begin(job.path(), &job.about()).unwrap();
        until(|| {
            server
                .stream(&job.stream())
                .is_some_and(|one| one.messages.len() == 3)
        })
        .await;
        shipping.close(LIMIT).await;
        job.output("f\nthree\n");
        for _ in 0..3 {
            let shipping = start(&server, settings()).await;
            shipping.resume(job.path(), &job.about());
            until(|| shipping.is_done(job.path())).await;
            shipping.close(LIMIT).await;
        }
        let mut messages = server.stream(&job.stream()).unwrap().messages;
        // What was lost is said once, too.
        assert!(
            messages
                .remove(1)
                .contains("runner: 1 line of this log is missing here")
        );
        assert_eq!(messages, ["one\n", "two\n", "half\n", "three\n"]);
        assert_eq!(job.json(LOG_STATE)["lost"], 1);
    });
}

// AGENT-64: what a crash has spoilt is as good as nothing: twice is better than never.
#[test]
fn what_cannot_be_read_of_an_earlier_agent_is_sent_again() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let mut job = Job::new();
        job.output("one\n");
        let shipping = start(&server, settings()).await;
        shipping.begin(job.path(), &job.about()).unwrap();
        let count = || {
            server
                .stream(&job.stream())
                .map_or(0, |one| one.messages.len())
        };
        until(|| count() == 1).await;
        shipping.close(LIMIT).await;
        // As a power cut leaves them.
        fs::write(job.file(LOG_STATE), "{").unwrap();
        fs::write(job.file("shipping.json"), "").unwrap();
        let shipping = start(&server, settings()).await;
        assert!(!shipping.is_done(job.path()));
        shipping.resume(job.path(), &job.about());
        until(|| shipping.is_done(job.path()) && shipping.status().queued_builds == 0).await;
        assert_eq!(count(), 2);
        assert_eq!(job.json(LOG_STATE)["done"], true);
    });
}

// AGENT-68: an agent that never sent anything, and a job without anything to send.
#[test]
fn a_build_that_nobody_has_begun_to_send_is_no_ones_to_wait_for() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let shipping = start(&server, settings()).await;
        let mut job = Job::new();
        job.output("line\n");
        assert!(shipping.is_done(job.path()));
        assert!(!shipping.finish(job.path()));
        shipping.resume(job.path(), &job.about());
        assert_eq!(shipping.status().queued_builds, 0);
        // A process that was never started has no events.
        let job = Job::new();
        fs::remove_file(job.file(EVENTS)).unwrap();
        shipping.begin(job.path(), &job.about()).unwrap();
        finish(&shipping, &job).await;
        assert!(shipping.is_done(job.path()));
        assert!(server.stream(&job.stream()).is_none());
    });
}

// AGENT-69
#[test]
fn of_what_is_too_much_the_oldest_is_given_up_and_said() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        server.fault(&json!({
            "operation": "CreateLogStream",
            "kind": "error",
            "code": "InternalFailure",
            "status": 500,
            "times": 1_000_000,
        }));
        let mut old = Job::new();
        let lines: Vec<String> = (0..30_000).map(|line| format!("{line}\n")).collect();
        for line in &lines {
            old.output(line);
        }
        let size = fs::metadata(old.file(EVENTS)).unwrap().len();
        let mut new = Job::new();
        new.output("new\n");
        let limit = Settings {
            queue_limit: size / 2,
            ..settings()
        };
        let shipping = start(&server, limit).await;
        // One that an agent before this one has left.
        fs::write(old.file("shipping.json"), r#"{"buildId":"old:1"}"#).unwrap();
        shipping.resume(old.path(), &old.about());
        shipping.begin(new.path(), &new.about()).unwrap();
        until(|| shipping.status().queued_bytes > size).await;
        server.0.ask("DELETE", "/faults", None);
        finish(&shipping, &new).await;
        until(|| shipping.is_done(old.path())).await;
        assert_eq!(server.stream(&new.stream()).unwrap().messages, ["new\n"]);
        let mut messages = server.stream("old/1").unwrap().messages;
        let lost = usize::try_from(shipping.status().logs.unwrap().lost).unwrap();
        // What was on its way already is sent; of the half that is too much, nothing else.
        assert!((1..=16_000).contains(&lost), "{lost}");
        let at = messages.iter().position(|line| line.contains("runner: "));
        let at = at.expect("the gap is told");
        let said = format!(
            " runner: {lost} lines of this log are missing here: too much was waiting to be sent (--log-queue-limit)\n"
        );
        assert!(messages[at].ends_with(&said), "{}", messages[at]);
        messages.remove(at);
        let expected = [&lines[..at], &lines[at + lost..]].concat();
        assert!(messages == expected);
        assert!(at <= 10_001, "{at}");
    });
}

/// What a bus took of one kind: each as text and detail.
fn changes(server: &CloudWatch, kind: &str) -> Vec<Value> {
    let changes = server.0.ask("GET", "/changes", None);
    let changes = changes.as_array().expect("changes are a list");
    let detail_type = format!("CodeBuild Build {kind} Change");
    let of_kind = changes
        .iter()
        .filter(|change| change["DetailType"] == detail_type.as_str());
    of_kind.cloned().collect()
}

fn to_bus() -> Settings {
    Settings {
        event_bus: Some("ci".to_owned()),
        ..settings()
    }
}

/// The events of a build that has an artifact, and fails if it is told to.
fn built(job: &Job, command: &str, code: i32) {
    let sandbox = Sandbox::with_buildspec(&format!(
        "version: 0.2\nphases:\n  build:\n    commands:\n      - echo text > file\n      - {command}\nartifacts:\n  files: file\n"
    ));
    let events = sandbox.path("events.jsonl");
    let flag = events.to_str().expect("a path is text");
    let place = sandbox.path("artifacts");
    let place = place.to_str().expect("a path is text");
    sandbox
        .run([
            "run",
            "--events",
            flag,
            "--artifacts",
            place,
            "--packaging",
            "zip",
        ])
        .expect(code);
    fs::copy(&events, job.file(EVENTS)).expect("it can be copied");
}

// AGENT-70 AGENT-71
#[test]
fn changes_of_a_build_have_the_form_of_codebuilds() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let job = Job::new();
        built(&job, "true", 0);
        let shipping = start(&server, to_bus()).await;
        let mut about = job.about();
        about.image = Some("corp/build:1".to_owned());
        about.timeout_minutes = Some(60);
        about.source = Some("arn:aws:s3:::pipeline-bucket/a/b".to_owned());
        shipping.begin(job.path(), &about).unwrap();
        finish(&shipping, &job).await;
        let states = changes(&server, "State");
        let told: Vec<[&str; 2]> = states
            .iter()
            .map(|one| {
                ["build-status", "current-phase"].map(|key| one["Detail"][key].as_str().unwrap())
            })
            .collect();
        assert_eq!(
            told,
            [["IN_PROGRESS", "SUBMITTED"], ["SUCCEEDED", "COMPLETED"]]
        );
        for change in &states {
            assert_eq!(change["Source"], "runner.codebuild");
            assert_eq!(change["EventBusName"], "ci");
            assert_eq!(change["Resources"], json!([about.arn]));
            assert_eq!(change["Detail"]["build-id"], about.arn.as_str());
            assert_eq!(change["Detail"]["project-name"], "web");
            assert_eq!(change["Detail"]["version"], "1");
            assert_eq!(change["Detail"]["current-phase-context"], "[]");
        }
        let information = &states[1]["Detail"]["additional-information"];
        assert_eq!(information["build-complete"], true);
        assert_eq!(information["initiator"], "codepipeline/web-pipeline");
        assert_eq!(information["timeout-in-minutes"], 60);
        assert_eq!(information["environment"]["image"], "corp/build:1");
        assert_eq!(
            information["environment"]["environment-variables"],
            json!([])
        );
        assert_eq!(
            information["source"]["location"],
            "arn:aws:s3:::pipeline-bucket/a/b"
        );
        assert_eq!(information["logs"]["group-name"], GROUP);
        assert_eq!(information["logs"]["stream-name"], "web/1-2-3");
        let link = information["logs"]["deep-link"].as_str().unwrap();
        assert!(link.ends_with("region=us-east-1#logsV2:log-groups/log-group/$252Frunner$252Fbuilds/log-events/web$252F1-2-3"), "{link}");
        for sum in ["md5sum", "sha256sum", "location"] {
            assert!(information["artifact"][sum].is_string(), "{information:#}");
        }
        let phases = information["phases"].as_array().unwrap();
        let last = phases.last().unwrap();
        assert_eq!(last["phase-type"], "COMPLETED");
        assert_eq!(last.as_object().unwrap().len(), 2);
        let completed = changes(&server, "Phase");
        let told: Vec<&Value> = completed
            .iter()
            .map(|one| &one["Detail"]["completed-phase"])
            .collect();
        let known: Vec<&Value> = phases.iter().map(|one| &one["phase-type"]).collect();
        assert_eq!(told, known[..known.len() - 1]);
        let build = completed
            .iter()
            .find(|one| one["Detail"]["completed-phase"] == "BUILD");
        let build = &build.unwrap()["Detail"];
        assert_eq!(build["completed-phase-status"], "SUCCEEDED");
        assert_eq!(build["completed-phase-context"], "[]");
        assert!(build["completed-phase-duration-seconds"].is_number());
        let form =
            regex::Regex::new(r"^[A-Z][a-z]{2} \d{1,2}, \d{4} \d{1,2}:\d\d:\d\d [AP]M$").unwrap();
        for key in ["completed-phase-start", "completed-phase-end"] {
            assert!(form.is_match(build[key].as_str().unwrap()), "{build:#}");
        }
        assert_eq!(build["additional-information"]["build-complete"], false);
        assert_eq!(job.json(CHANGES_STATE)["done"], true);
    });
}

// AGENT-70: the reason of a failure is told, and a build whose process is gone has an end.
#[test]
fn a_failure_says_why_and_a_build_that_was_killed_is_a_fault() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let job = Job::new();
        built(&job, "exit 3", 1);
        let whole = fs::read_to_string(job.file(EVENTS)).unwrap();
        let shipping = start(&server, to_bus()).await;
        shipping.begin(job.path(), &job.about()).unwrap();
        finish(&shipping, &job).await;
        let phases = changes(&server, "Phase");
        let failed: Vec<&Value> = phases
            .iter()
            .map(|one| &one["Detail"])
            .filter(|one| one["completed-phase-status"] == "FAILED")
            .collect();
        assert_eq!(
            failed[0]["completed-phase-context"],
            "[COMMAND_EXECUTION_ERROR: Error while executing command: exit 3. Reason: exit status 3]"
        );
        let states = changes(&server, "State");
        assert_eq!(states[1]["Detail"]["build-status"], "FAILED");
        let killed = Job::new();
        let lines: Vec<&str> = whole.lines().take(4).collect();
        fs::write(killed.file(EVENTS), lines.join("\n") + "\n").unwrap();
        shipping.begin(killed.path(), &killed.about()).unwrap();
        finish(&shipping, &killed).await;
        let states = changes(&server, "State");
        assert_eq!(states.len(), 4);
        assert_eq!(states[3]["Detail"]["build-status"], "FAULT");
    });
}

// AGENT-72 AGENT-73
#[test]
fn an_entry_that_fails_is_sent_again_and_no_other() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let job = Job::new();
        built(&job, "true", 0);
        for fault in [
            json!({ "kind": "entries", "code": "ThrottlingException", "times": 5, "share": 0.4 }),
            json!({ "kind": "entries", "code": "InternalFailure", "times": 5, "share": 0.4 }),
            json!({ "kind": "error", "code": "InternalFailure", "status": 500, "times": 2 }),
            json!({ "kind": "close", "times": 2 }),
        ] {
            let mut fault = fault;
            fault["operation"] = json!("PutEvents");
            server.fault(&fault);
        }
        let settings = Settings {
            log_group: None,
            ..to_bus()
        };
        let shipping = start(&server, settings).await;
        shipping.begin(job.path(), &job.about()).unwrap();
        finish(&shipping, &job).await;
        let states = changes(&server, "State");
        assert_eq!(states.len(), 2);
        let phases = changes(&server, "Phase");
        let mut names: Vec<&str> = phases
            .iter()
            .filter_map(|one| one["Detail"]["completed-phase"].as_str())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "one was taken twice: {names:?}");
        let standing = shipping.status();
        assert_eq!(standing.logs, None);
        let sent = standing.changes.unwrap();
        assert_eq!(
            (sent.sent, sent.lost, sent.trouble),
            (count as u64 + 2, 0, None)
        );
        assert!(server.calls("PutEvents", "OK") > 1);
        assert_eq!(
            states[0]["Detail"]["additional-information"].get("logs"),
            None
        );
        // A second start has nothing left to send.
        shipping.resume(job.path(), &job.about());
        assert!(shipping.is_done(job.path()));
    });
}

// AGENT-72: what a bus never takes stops nothing.
#[test]
fn an_entry_that_is_refused_is_lost() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let job = Job::new();
        built(&job, "true", 0);
        server.fault(
            &json!({ "operation": "PutEvents", "kind": "entries", "code": "MalformedDetail" }),
        );
        let shipping = start(&server, to_bus()).await;
        shipping.begin(job.path(), &job.about()).unwrap();
        finish(&shipping, &job).await;
        assert_eq!(shipping.status().changes.unwrap().lost, 1);
        assert_eq!(job.json(CHANGES_STATE)["lost"], 1);
        assert_eq!(changes(&server, "State").len(), 1);
    });
}

// AGENT-60 AGENT-61 AGENT-70: a server that others wrote takes the same.
#[test]
fn another_server_of_both_services_takes_the_same() {
    let Some(endpoint) = endpoint("another_server_of_both_services_takes_the_same") else {
        return;
    };
    agent(async move || {
        let config = shared(&endpoint).await;
        let bus = aws_sdk_eventbridge::Client::new(&config);
        let _ = bus.create_event_bus().name("ci").send().await;
        let mut job = Job::new();
        job.output("one\ntwo\n");
        job.event(
            "build-finished",
            &json!({ "buildStatus": "SUCCEEDED", "durationSeconds": 0.1 }),
        );
        let shipping = Shipping::start(to_bus(), &config);
        shipping.begin(job.path(), &job.about()).unwrap();
        finish(&shipping, &job).await;
        let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
        let found = logs
            .get_log_events()
            .log_group_name(GROUP)
            .log_stream_name(job.stream())
            .start_from_head(true)
            .send()
            .await
            .unwrap();
        let found: Vec<&str> = found
            .events()
            .iter()
            .filter_map(|one| one.message())
            .collect();
        assert_eq!(found, ["one\n", "two\n"]);
        let status = shipping.status();
        assert_eq!(status.changes.unwrap().sent, 1);
    });
}

// AGENT-60, AGENT-61, AGENT-68
#[test]
fn the_log_of_a_build_is_in_cloudwatch_when_its_job_is_answered() {
    let Some(stage) = Stage::new("cloudwatch") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - echo into-the-cloud\n";
    let source = stage.source("App/one", &[("buildspec.yml", buildspec)]);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let ran = stage.run(&["--once", "--cloudwatch-log-group", "/runner/agent-tests"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&job);
    assert_eq!(answer["status"], "Succeeded", "{}", stderr(&ran));
    let build = answer["request"]["executionDetails"]["externalExecutionId"].clone();
    let stream = build.as_str().expect("a build has an id").replace(':', "/");
    let found = agent(async move || {
        let logs = aws_sdk_cloudwatchlogs::Client::new(&shared(&stage.endpoint).await);
        let asked = logs.get_log_events().log_group_name("/runner/agent-tests");
        let asked = asked.log_stream_name(stream).start_from_head(true);
        let found = asked.send().await.expect("the log is there");
        let lines = found.events().iter().filter_map(|one| one.message());
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    assert!(
        found.iter().any(|line| line == "into-the-cloud\n"),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|line| line.ends_with("Running command echo into-the-cloud\n")),
        "{found:?}"
    );
}

/// Takes connections and never answers. Tells of each that its client has given up.
fn silent() -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let tell = tell.clone();
            thread::spawn(move || {
                let _ = io::copy(&mut &connection, &mut io::sink());
                let _ = tell.send(());
            });
        }
    });
    (format!("http://{address}"), told)
}

// AGENT-68: a slot is free when its job is answered, whatever becomes of its log.
#[test]
fn no_job_waits_for_the_log_of_another_one() {
    let Some(stage) = Stage::new("stalled") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - echo late\n";
    let source = stage.source("App/one", &[("buildspec.yml", buildspec)]);
    let configuration = json!({ "ProjectName": "web" });
    let job = || stage.job(&configuration, std::slice::from_ref(&source), &[]);
    let jobs = [job(), job(), job()];
    let (endpoint, given_up) = silent();
    let group = ["--cloudwatch-log-group", GROUP];
    let mut command = stage.agent(&[group[0], group[1], "--jobs", "1"]);
    let agent = Sandbox::spawn(command.env("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", endpoint));
    let teller = jobs.each_ref().map(|job| stage.server.teller(job));
    wait::until("three answers", move || {
        teller.iter().all(|told| told()["status"] == "Succeeded")
    });
    // Not one request had come to its own end before the last job was answered.
    assert_eq!(given_up.try_recv(), Err(mpsc::TryRecvError::Empty));
    signal(&agent, Signal::TERM);
    let ran = output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    // What was left is the next agent's.
    let Some(server) = CloudWatch::start() else {
        return;
    };
    let mut command = stage.agent(&[group[0], group[1], "--max-idle", "100ms"]);
    let next = Sandbox::spawn(command.env("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", &server.0.endpoint));
    let ran = output(next);
    assert!(ran.status.success(), "{}", stderr(&ran));
    for job in &jobs {
        let build = stage.answer(job)["request"]["executionDetails"]["externalExecutionId"].clone();
        let stream = build.as_str().expect("a build has an id").replace(':', "/");
        let stream = server.stream(&stream).expect("its log was sent");
        assert!(stream.messages.contains(&"late\n".to_owned()));
        // What was only to be sent is not kept beside the log.
        let kept = stage.sandbox.path("state/runner/agent/jobs").join(job);
        let kept = support::tree::files(&kept);
        assert_eq!(kept, ["build.log", "cloudwatch.json", "job.json"]);
    }
}

// AGENT-67: what a build wrote when its agent was gone already.
#[test]
fn the_log_of_a_build_whose_agent_was_killed_is_whole() {
    let Some(stage) = Stage::new("orphan") else {
        return;
    };
    let Some(server) = CloudWatch::start() else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - trap 'for i in 1 2 3; do echo cleared $i; done; exit 1' TERM; echo begun; while :; do sleep 0.1; done\n";
    let source = stage.source("App/one", &[("buildspec.yml", buildspec)]);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let agent = |more: &[&str]| {
        let flags = [&["--cloudwatch-log-group", GROUP], more].concat();
        let mut command = stage.agent(&flags);
        Sandbox::spawn(command.env("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", &server.0.endpoint))
    };
    let killed = agent(&[]);
    let log = stage
        .sandbox
        .path("state/runner/agent/jobs")
        .join(&job)
        .join("build.log");
    let text = move || fs::read_to_string(&log).unwrap_or_default();
    wait::until("the build", {
        let text = text.clone();
        move || text().contains("\nbegun\n")
    });
    signal(&killed, Signal::KILL);
    output(killed);
    let ran = output(agent(&["--max-idle", "100ms"]));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let build = &stage.answer(&job)["request"]["failureDetails"]["externalExecutionId"];
    let stream = build.as_str().expect("a build has an id").replace(':', "/");
    let stream = server.stream(&stream).expect("its log was sent");
    assert!(text().contains("cleared 3\n"), "{}", text());
    assert_eq!(stream.messages.concat(), text());
}

// AGENT-67: what a build could not write down any more.
#[test]
fn a_log_that_is_cut_short_says_so() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let shipping = start(&server, settings()).await;
        let mut job = Job::new();
        job.event("build-started", &json!({ "format": 1, "buildId": "web:1-2-3", "projectName": "web", "buildNumber": 1, "executor": "host", "runnerVersion": "1" }));
        job.output("one\n");
        job.raw(r#"{"sequence":2,"time":"20"#);
        shipping.begin(job.path(), &job.about()).unwrap();
        finish(&shipping, &job).await;
        let messages = server.stream(&job.stream()).unwrap().messages;
        // CodeBuild's own first words come before them.
        let messages = &messages[messages.len().saturating_sub(3)..];
        assert_eq!(messages[0], "one\n");
        let missing = "1 line of this log is missing here: the file of events ends inside a line\n";
        assert!(messages[1].ends_with(missing), "{messages:?}");
        assert!(
            messages[2].contains("runner: this log ends here"),
            "{messages:?}"
        );
        assert_eq!(shipping.status().logs.unwrap().lost, 1);
        let state = job.json(LOG_STATE);
        assert_eq!([&state["lost"], &state["untold"]], [&json!(1), &json!(0)]);
    });
}

/// A bus whose rule has what it takes written to a log group, which is how it can be looked at.
async fn watched_bus(config: &aws_config::SdkConfig, bus: &str, group: &str) {
    let logs = aws_sdk_cloudwatchlogs::Client::new(config);
    let made = logs.create_log_group().log_group_name(group).send().await;
    made.expect("a group can be made");
    let events = aws_sdk_eventbridge::Client::new(config);
    let made = events.create_event_bus().name(bus).send().await;
    made.expect("a bus can be made");
    // What is said of rules to those who come from CodeBuild: its pattern, with our source.
    let pattern =
        json!({ "source": ["runner.codebuild"], "detail-type": ["CodeBuild Build State Change"] });
    let rule = events.put_rule().name("builds").event_bus_name(bus);
    let rule = rule.event_pattern(pattern.to_string()).send().await;
    rule.expect("a rule can be made");
    let arn = format!("arn:aws:logs:us-east-1:123456789012:log-group:{group}");
    let target = aws_sdk_eventbridge::types::Target::builder()
        .id("logs")
        .arn(arn);
    let target = target.build().expect("it has all that it needs");
    let put = events.put_targets().rule("builds").event_bus_name(bus);
    let put = put.targets(target).send().await;
    put.expect("a rule can have a target");
}

/// Finds both changes of state of each build in the group that the rule writes to. With Python: that server's times are no
/// numbers of the service's, and only boto3 bears them.
const SEEN: &str = r#"
import json, sys, boto3
asked = json.load(sys.stdin)
at = dict(endpoint_url=asked["endpoint"], region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
found = boto3.client("logs", **at).filter_log_events(logGroupName=asked["group"])["events"]
events = [json.loads(one["message"]) for one in found]
assert {one["source"] for one in events} == {"runner.codebuild"}, events
assert {one["detail-type"] for one in events} == {"CodeBuild Build State Change"}, events
for build, end in asked["builds"].items():
    states = [one["detail"]["build-status"] for one in events if one["detail"]["build-id"].endswith(f"build/{build}")]
    assert sorted(states) == sorted(["IN_PROGRESS", end]), (build, states)
assert len(events) == 2 * len(asked["builds"]), events
"#;

// AGENT-70, AGENT-71: from the agent's flag to a rule's target.
#[test]
fn a_rule_of_the_bus_sees_the_builds_of_an_agent() {
    let Some(stage) = Stage::new("bus") else {
        return;
    };
    let endpoint = stage.endpoint.clone();
    agent(async move || {
        watched_bus(&shared(&endpoint).await, "agent-ci", "/agent/changes").await;
    });
    let source = |code: u8| {
        let text = format!("version: 0.2\nphases:\n  build:\n    commands: [exit {code}]\n");
        stage.source(&format!("App/{code}"), &[("buildspec.yml", &text)])
    };
    let configuration = json!({ "ProjectName": "web" });
    let jobs = [0, 7].map(|code| stage.job(&configuration, &[source(code)], &[]));
    let ran = stage.run(&["--max-idle", "1s", "--event-bus", "agent-ci"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let mut builds = serde_json::Map::new();
    for (job, end) in jobs.iter().zip(["SUCCEEDED", "FAILED"]) {
        let answer = stage.answer(job);
        let given = &answer["request"];
        let id = ["executionDetails", "failureDetails"]
            .into_iter()
            .find_map(|details| given[details]["externalExecutionId"].as_str());
        builds.insert(id.expect("a build has an id").to_owned(), json!(end));
    }
    let asked = json!({ "endpoint": stage.endpoint, "group": "/agent/changes", "builds": builds });
    judge(&["boto3"], SEEN, asked.to_string().as_bytes());
}

/// Says to a process of the same program that it is the one whose memory is measured: how many MiB it sends.
const MEASURED: &str = "RUNNER_TEST_SENDS_MIB";

/// Most memory that sending takes, in KiB.
const MOST_MEMORY: u64 = 64 * 1024;

/// Where the server is, for that process.
const MEASURED_AT: &str = "RUNNER_TEST_SENDS_TO";

// AGENT-63: however long a log is. `RUNNER_TEST_SENDS_MIB=1024` makes it a long one.
#[test]
fn a_long_log_takes_little_memory() {
    if let Ok(endpoint) = std::env::var(MEASURED_AT) {
        return send_and_say(endpoint);
    }
    let Some(server) = CloudWatch::start() else {
        return;
    };
    server
        .0
        .ask("POST", "/settings", Some(&json!({ "judge": false })));
    let mebibytes = std::env::var(MEASURED).unwrap_or_else(|_| "48".to_owned());
    let program = std::env::current_exe().expect("it is known");
    let child = Command::new(program)
        .args(["--exact", "a_long_log_takes_little_memory", "--nocapture"])
        .env(MEASURED, &mebibytes)
        .env(MEASURED_AT, &server.0.endpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let output = output(child);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let memory = said
        .split("KiB: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let memory: u64 = memory
        .and_then(|text| text.parse().ok())
        .expect("it is said");
    assert!(memory < MOST_MEMORY, "{memory} KiB");
}

/// Sends a log, and prints how much memory this process had at most.
fn send_and_say(endpoint: String) {
    let mebibytes = std::env::var(MEASURED).expect("it is said");
    let mebibytes: usize = mebibytes.parse().expect("it is a number");
    agent(async move || {
        let mut job = Job::new();
        // What a command writes arrives in chunks, cut anywhere.
        let lines = (0..400).map(|n| format!("line {n} of a chunk\n"));
        let chunk = lines.collect::<Vec<String>>().concat();
        for _ in 0..mebibytes * 1024 * 1024 / chunk.len() {
            job.output(&chunk);
            job.expected.clear();
        }
        let shipping = Shipping::start(settings(), &shared(&endpoint).await);
        let begun = shipping.begin(job.path(), &job.about());
        begun.expect("its directory can be written");
        finish(&shipping, &job).await;
        let status = fs::read_to_string("/proc/self/status").expect("there is a /proc");
        let most = status.split("VmHWM:").nth(1);
        let most = most.and_then(|rest| rest.split_whitespace().next());
        let most = most.expect("it says the most that there was");
        writeln!(io::stdout(), "KiB: {most}").expect("somebody reads it");
    });
}

// AGENT-60: nothing of it is there for who does not ask for it.
#[test]
fn a_build_without_an_agent_sends_nothing() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["true"]);
    let ran = command(&sandbox, &server.0.endpoint, &["run"]).bounded_output();
    sandbox.finish(&ran.unwrap()).expect(0);
    let calls = server.0.ask("GET", "/calls", None);
    assert_eq!(calls, json!({}));
}
