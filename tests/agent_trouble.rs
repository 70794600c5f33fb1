//! The agent when what it stands on gives way: its disk, its rights, its engine, the answers to what it says.

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Child;

use buildspec_runner::agent::control;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::aws::{GoBetween, Verdict};
use support::codepipeline::Control;
use support::engine::answering_engine;
use support::sandbox::Sandbox;
use support::stage::{BUILDSPEC, Stage, count, signal, stderr};
use support::terminal;
use support::wait;

/// A build that goes on for as long as a file is there.
const WAITING: &str = "version: 0.2\nphases:\n  build:\n    commands:\n      - touch \"$MARK\"; while [ -e \"$MARK\" ]; do sleep 0.05; done\n";

/// A job that succeeds.
fn easy(stage: &Stage) -> String {
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC), ("name.txt", "x")]);
    stage.job(&json!({ "ProjectName": "web" }), &[source], &["Out"])
}

/// Waits until the agent says this of itself.
#[track_caller]
fn status(stage: &Stage, what: &str, is_so: impl Fn(&Value) -> bool + Send + 'static) -> Value {
    let place = stage.sandbox.path("state/runner/agent");
    wait::within(what, move || {
        loop {
            if let Some(status) = control::ask(&place, "status").ok().flatten()
                && is_so(&status)
            {
                return status;
            }
            std::thread::yield_now();
        }
    })
}

/// Waits until CodePipeline says this of a job.
#[track_caller]
fn told(stage: &Stage, job: &str, what: &str, is_so: impl Fn(&Value) -> bool + Send + 'static) {
    let (endpoint, job) = (stage.server.endpoint.clone(), job.to_owned());
    wait::until(what, move || is_so(&Control(&endpoint).told(&job)));
}

fn is(told: &Value, status: &str) -> bool {
    told["status"] == status
}

#[track_caller]
fn end(agent: Child) -> String {
    signal(&agent, Signal::TERM);
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    stderr(&ran)
}

// AGENT-6, AGENT-37: asked for once, and not again before there is room.
#[test]
fn a_job_that_cannot_be_written_down_is_left_to_others_until_there_is_room() {
    let Some(stage) = Stage::new("unwritten") else {
        return;
    };
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    status(&stage, "polls", |status| status["polled"].is_string());
    // Nobody can make a directory in what is none, whatever their rights and however much is free.
    let jobs = stage.sandbox.path("state/runner/agent/jobs");
    fs::remove_dir(&jobs).expect("it is empty");
    fs::write(&jobs, "").expect("it can be written");
    let job = easy(&stage);
    let no_room = status(&stage, "no room", |status| status["state"] == "no-room");
    let reason = no_room["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("no job can be written down"), "{reason}");
    assert_eq!(stage.server.told(&job)["status"], "Dispatched");
    fs::remove_file(&jobs).expect("it is there");
    fs::create_dir(&jobs).expect("it can be made");
    told(&stage, &job, "the answer", |told| is(told, "Succeeded"));
    let said = end(agent);
    let calls = stage.server.calls(&job);
    assert_eq!(count(&calls, "PollForJobs"), 2, "{said}");
    assert_eq!(count(&calls, "AcknowledgeJob"), 1, "{said}");
    assert!(said.contains("there is room again"), "{said}");
}

// AGENT-7: who may poll and may do nothing else.
#[test]
fn a_job_that_may_not_be_acknowledged_goes_back_and_the_agent_says_why_it_takes_none() {
    let Some(stage) = Stage::new("denied") else {
        return;
    };
    let deny = json!({ "kind": "error", "operation": "AcknowledgeJob", "code": "AccessDeniedException", "times": null });
    stage.server.fault(&deny);
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    let why = |status: &Value| {
        let reason = status["reason"].as_str().unwrap_or_default();
        status["state"] == "no-room" && reason.contains("acknowledge the job: AccessDenied")
    };
    status(&stage, "no rights", why);
    // It is given up by itself.
    let record = stage.sandbox.path("state/runner/agent/jobs").join(&job);
    wait::until("the job is left", move || !record.exists());
    stage.server.ask("DELETE", "/faults", None);
    told(&stage, &job, "the answer", |told| is(told, "Succeeded"));
    status(&stage, "polls", |status| status["state"] == "polling");
    end(agent);
}

// AGENT-7, AGENT-34
#[test]
fn a_job_that_is_not_acknowledged_holds_nobody_up() {
    let Some(stage) = Stage::new("nobodys") else {
        return;
    };
    let deny = json!({ "kind": "error", "operation": "AcknowledgeJob", "code": "AccessDeniedException", "times": null });
    stage.server.fault(&deny);
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&["--log-format", "json"]));
    status(&stage, "no rights", |status| status["state"] == "no-room");
    let said = end(agent);
    assert!(said.contains("left the job to others"), "{said}");
    assert_eq!(stage.server.told(&job)["status"], "Dispatched");
    let record = stage.sandbox.path("state/runner/agent/jobs").join(&job);
    assert!(!record.exists());
}

// AGENT-40: the first attempt arrived, and nobody else will ever answer.
#[test]
fn a_job_that_may_be_its_own_is_said_to_be_and_answered_when_nobody_else_has() {
    let Some(stage) = Stage::new("doubt") else {
        return;
    };
    let once = json!({ "repeatedAcknowledge": "InvalidNonceException" });
    stage.server.ask("POST", "/settings", Some(&once));
    stage
        .server
        .fault(&json!({ "kind": "close", "operation": "AcknowledgeJob", "when": "after" }));
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&["--patience", "3s"]));
    let doubts = status(&stage, "the doubt", |status| {
        status["inDoubt"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    assert_eq!(doubts["inDoubt"][0]["job"], json!(job));
    // The slot is free for others.
    assert_eq!(doubts["running"], json!([]));
    told(&stage, &job, "the answer", |told| is(told, "Failed"));
    status(&stage, "no doubt", |status| status["inDoubt"] == json!([]));
    let said = end(agent);
    assert!(said.contains("nobody knows whose the job"), "{said}");
    let answer = stage.answer(&job);
    let details = &answer["request"]["failureDetails"];
    assert_eq!(details["type"], "SystemUnavailable", "{answer}");
    let calls = stage.server.calls(&job);
    assert_eq!(count(&calls, "AcknowledgeJob"), 2, "{calls:?}");
    stage.keeps_secrets(&[&job], said.as_bytes());
}

// AGENT-40, AGENT-28: killed after the acknowledgement, and before that was written down.
#[test]
fn a_job_that_a_killed_agent_may_have_taken_is_in_doubt_for_the_next() {
    let Some(stage) = Stage::new("doubt-killed") else {
        return;
    };
    let once = json!({ "repeatedAcknowledge": "InvalidNonceException" });
    stage.server.ask("POST", "/settings", Some(&once));
    let stall = json!({ "kind": "stall", "operation": "AcknowledgeJob", "when": "after" });
    stage.server.fault(&stall);
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    told(&stage, &job, "the call", |told| is(told, "InProgress"));
    signal(&agent, Signal::KILL);
    wait::output(agent);
    stage.server.ask("POST", "/release", None);
    // The next one does not wait for it, and leaves it to the one after it.
    let ran = stage.run(&["--max-idle", "300ms"]);
    assert!(
        stderr(&ran).contains("nobody knows whose"),
        "{}",
        stderr(&ran)
    );
    assert!(
        stderr(&ran).contains("the next agent answers"),
        "{}",
        stderr(&ran)
    );
    assert_eq!(stage.server.told(&job)["answers"], json!([]));
    stage.keeps_secrets(&[&job], &ran.stderr);
    // Its patience was that of its own settings, and is on disk: an hour and a half.
    let record = stage
        .sandbox
        .path("state/runner/agent/jobs")
        .join(&job)
        .join("job.json");
    let text = fs::read_to_string(&record).expect("it is there");
    let mut written: Value = serde_json::from_str(&text).expect("it is JSON");
    let until = written["stage"]["Doubtful"]["until"].as_u64();
    let taken = written["taken"].as_u64();
    let minutes = until
        .zip(taken)
        .map(|(until, taken)| (until - taken) / 60_000);
    assert_eq!(minutes, Some(90), "{text}");
    written["stage"]["Doubtful"]["until"] = json!(taken);
    fs::write(&record, written.to_string()).expect("it can be written");
    let last = Sandbox::spawn(&mut stage.agent(&[]));
    told(&stage, &job, "the answer", |told| is(told, "Failed"));
    end(last);
}

// AGENT-28, AGENT-22: what was acknowledged is answered, also by who may not read it.
#[test]
fn a_job_that_may_not_be_read_after_a_restart_is_answered_with_that() {
    let Some(stage) = Stage::new("unread") else {
        return;
    };
    let stall = json!({ "kind": "stall", "operation": "AcknowledgeJob", "when": "after" });
    stage.server.fault(&stall);
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    told(&stage, &job, "the call", |told| is(told, "InProgress"));
    signal(&agent, Signal::KILL);
    wait::output(agent);
    stage.server.ask("POST", "/release", None);
    let deny = json!({ "kind": "error", "operation": "GetJobDetails", "code": "AccessDeniedException", "times": null });
    stage.server.fault(&deny);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    told(&stage, &job, "the answer", |told| is(told, "Failed"));
    end(agent);
    let details = stage.answer(&job)["request"]["failureDetails"].clone();
    assert_eq!(details["type"], "PermissionError", "{details}");
}

// AGENT-28: acknowledged by the second agent, and begun by the third.
#[test]
fn a_job_that_was_taken_and_not_begun_is_built_by_the_next() {
    let Some(stage) = Stage::new("not-begun") else {
        return;
    };
    let stall = json!({ "kind": "stall", "operation": "AcknowledgeJob" });
    stage.server.fault(&stall);
    let away = json!({ "kind": "error", "operation": "GetJobDetails", "code": "ServiceUnavailableException", "times": null });
    stage.server.fault(&away);
    let job = easy(&stage);
    let record = stage.sandbox.path("state/runner/agent/jobs").join(&job);
    let record = record.join("job.json");
    for expected in ["Claimed", "Working"] {
        let agent = Sandbox::spawn(&mut stage.agent(&[]));
        let record = record.clone();
        wait::until("the record", move || {
            let text = fs::read_to_string(&record).unwrap_or_default();
            let found: Value = serde_json::from_str(&text).unwrap_or_default();
            found["stage"] == expected
        });
        signal(&agent, Signal::KILL);
        wait::output(agent);
        stage.server.ask("POST", "/release", None);
    }
    stage.server.ask("DELETE", "/faults", None);
    let once = json!({ "repeatedAcknowledge": "InvalidNonceException" });
    stage.server.ask("POST", "/settings", Some(&once));
    let ran = stage.run(&["--max-idle", "1s"]);
    let answer = stage.answer(&job);
    assert_eq!(answer["status"], "Succeeded", "{}", stderr(&ran));
}

// AGENT-40: the first attempt did not arrive, and the job is handed out again.
#[test]
fn a_job_in_doubt_that_is_handed_out_again_is_nobodys_and_built() {
    let Some(stage) = Stage::new("doubt-again") else {
        return;
    };
    for fault in [
        json!({ "kind": "close", "operation": "AcknowledgeJob", "when": "before" }),
        json!({ "kind": "error", "operation": "AcknowledgeJob", "code": "InvalidNonceException" }),
    ] {
        stage.server.fault(&fault);
    }
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    told(&stage, &job, "the answer", |told| is(told, "Succeeded"));
    let status = status(&stage, "no doubt", |status| status["inDoubt"] == json!([]));
    assert_eq!(status["inDoubt"], json!([]));
    let said = end(agent);
    assert!(said.contains("so nobody had it"), "{said}");
    stage.answer(&job);
}

// AGENT-11, AGENT-4: what a new machine has to wait for.
#[test]
fn a_service_goes_on_asking_until_it_may() {
    let Some(stage) = Stage::new("late") else {
        return;
    };
    for (code, times) in [
        ("AccessDeniedException", 2),
        ("ActionTypeNotFoundException", 1),
    ] {
        let fault =
            json!({ "kind": "error", "operation": "PollForJobs", "code": code, "times": times });
        stage.server.fault(&fault);
    }
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    told(&stage, &job, "the answer", |told| is(told, "Succeeded"));
    let said = end(agent);
    assert!(
        said.contains("could not poll for jobs: AccessDenied"),
        "{said}"
    );
    assert!(
        said.contains("the policy that `runner agent register` prints"),
        "{said}"
    );
}

// AGENT-11: a person would wait for nothing.
#[test]
fn at_a_terminal_what_never_heals_is_said_and_ends_it() {
    let Some(stage) = Stage::new("terminal") else {
        return;
    };
    let usual = stage.agent(&[]);
    let line = "runner agent --provider Nobody --poll-interval 50ms --min-free-space 1m";
    let Some(ran) = terminal::type_at(&stage.sandbox, &usual, line, "") else {
        return;
    };
    assert_eq!(ran.code, 4, "{}", ran.stdout);
    assert!(
        ran.stdout.contains("runner agent register"),
        "{}",
        ran.stdout
    );
}

// AGENT-36, AGENT-37
#[test]
fn an_agent_without_room_and_without_jobs_ends_when_it_was_idle_for_long() {
    let Some(stage) = Stage::new("idle") else {
        return;
    };
    let ran = stage.run(&["--min-free-space", "100t", "--max-idle", "300ms"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("no jobs are taken"),
        "{}",
        stderr(&ran)
    );
}

// AGENT-36: an end that was wanted, and a job that nobody could know of.
#[test]
fn an_agent_that_was_never_answered_is_not_idle() {
    let Some(stage) = Stage::new("unanswered") else {
        return;
    };
    let down = json!({ "kind": "error", "operation": "PollForJobs", "code": "ServiceUnavailableException", "times": null });
    stage.server.fault(&down);
    let ran = stage.run(&["--max-idle", "300ms"]);
    assert_eq!(ran.status.code(), Some(4), "{}", stderr(&ran));
    let said = stderr(&ran);
    let last = said.lines().rev().nth(1).unwrap_or_default();
    assert!(last.contains(" error ") && last.contains("poll"), "{said}");
}

// AGENT-5, AGENT-36: it may have been cut off.
#[test]
fn an_answer_without_a_list_of_jobs_is_none() {
    let Some(stage) = Stage::new("no-list") else {
        return;
    };
    let between = GoBetween::new(&stage.server.endpoint, |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1";
        Verdict::Answer(format!(
            "{head}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        ))
    });
    let mut command = stage.agent(&["--max-idle", "300ms"]);
    command.env("AWS_ENDPOINT_URL_CODEPIPELINE", &between.endpoint);
    let ran = wait::output(Sandbox::spawn(&mut command));
    assert_eq!(ran.status.code(), Some(4), "{}", stderr(&ran));
}

// AGENT-8: what is not acknowledged yet would be handed out again, with another nonce.
#[test]
fn nobody_is_asked_for_more_while_a_job_is_being_acknowledged() {
    let Some(stage) = Stage::new("settling") else {
        return;
    };
    let stall = json!({ "kind": "stall", "operation": "AcknowledgeJob", "seconds": 1 });
    stage.server.fault(&stall);
    let jobs = [easy(&stage), easy(&stage)];
    let agent = Sandbox::spawn(&mut stage.agent(&["--jobs", "2", "--poll-interval", "60s"]));
    for job in &jobs {
        told(&stage, job, "the answer", |told| is(told, "Succeeded"));
    }
    let said = end(agent);
    for job in &jobs {
        let calls = stage.server.calls(job);
        assert_eq!(count(&calls, "PollForJobs"), 1, "{said}");
        assert_eq!(count(&calls, "AcknowledgeJob"), 1, "{said}");
    }
}

// AGENT-8: for one poll interval, no longer.
#[test]
fn an_acknowledgement_that_hangs_holds_up_no_other_job() {
    let Some(stage) = Stage::new("hangs") else {
        return;
    };
    let stall = json!({ "kind": "stall", "operation": "AcknowledgeJob" });
    stage.server.fault(&stall);
    // Else it would be handed out first each time.
    stage.server.ask(
        "POST",
        "/settings",
        Some(&json!({ "redeliverAfter": 3600 })),
    );
    let hangs = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&["--jobs", "2"]));
    wait::until("the call", {
        let endpoint = stage.server.endpoint.clone();
        move || Control(&endpoint).ask("GET", "", None)["stalled"] == 1
    });
    let other = easy(&stage);
    told(&stage, &other, "the answer", |told| is(told, "Succeeded"));
    stage.server.ask("POST", "/release", None);
    told(&stage, &hangs, "the answer", |told| is(told, "Succeeded"));
    end(agent);
    // Without patience of its own the agent gives the call up after a while: then this one would be the later one.
    let answered = |job: &str| stage.server.told(job)["answers"][0]["time"].as_f64();
    assert!(answered(&other) < answered(&hangs));
}

// AGENT-7, AGENT-34: told to end before it knows whose the job is.
#[test]
fn a_job_that_an_agent_leaves_unknown_is_asked_for_by_the_next() {
    let Some(stage) = Stage::new("unknown") else {
        return;
    };
    let lost =
        json!({ "kind": "close", "operation": "AcknowledgeJob", "when": "after", "times": null });
    stage.server.fault(&lost);
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    told(&stage, &job, "the call", |told| is(told, "InProgress"));
    signal(&agent, Signal::TERM);
    status(&stage, "the drain", |status| status["state"] == "draining");
    // Who has no patience for half a minute.
    let said = end(agent);
    assert!(said.contains("the next one asks again"), "{said}");
    let record = stage.sandbox.path("state/runner/agent/jobs").join(&job);
    let record = fs::read_to_string(record.join("job.json")).expect("it is there");
    let record: Value = serde_json::from_str(&record).expect("it is JSON");
    assert_eq!(record["stage"], "Claimed", "{record}");
    stage.server.ask("DELETE", "/faults", None);
    let ran = stage.run(&["--max-idle", "1s"]);
    stage.succeeded(&job, &ran);
}

// AGENT-24: CodePipeline cannot be told, or takes nothing, and that is said.
#[test]
fn an_answer_that_cannot_be_given_ends_all_the_same() {
    let Some(stage) = Stage::new("ungiven") else {
        return;
    };
    for (code, more, words) in [
        (
            "ServiceUnavailableException",
            ["--patience", "3s"],
            "CodePipeline could not be told in time",
        ),
        (
            "ValidationException",
            ["--patience", "24h"],
            "CodePipeline takes no answer to the job",
        ),
    ] {
        for operation in ["PutJobSuccessResult", "PutJobFailureResult"] {
            let fault = json!({ "kind": "error", "operation": operation, "code": code, "message": "hunter2", "times": null });
            stage.server.fault(&fault);
        }
        let job = easy(&stage);
        let ran = stage.run(&[&["--once"][..], &more].concat());
        assert!(ran.status.success(), "{}", stderr(&ran));
        let expected = format!("not answered: {words}");
        assert!(stderr(&ran).contains(&expected), "{}", stderr(&ran));
        assert_eq!(stage.server.told(&job)["answers"], json!([]));
        // Its words may be our own, which may be secret.
        stage.keeps_secrets(&[&job], &ran.stderr);
        stage.server.ask("DELETE", "/faults", None);
    }
}

// AGENT-11: what was good once may be again.
#[test]
fn who_was_answered_once_goes_on_asking() {
    let Some(stage) = Stage::new("again") else {
        return;
    };
    let denied = json!({ "kind": "error", "operation": "PollForJobs", "code": "AccessDeniedException", "skip": 1, "times": null });
    stage.server.fault(&denied);
    let agent = Sandbox::spawn(&mut stage.agent(&["--once"]));
    let failed = |status: &Value| status["pollFailure"].is_string();
    status(&stage, "a failure", failed);
    stage.server.ask("DELETE", "/faults", None);
    let job = easy(&stage);
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(stage.answer(&job)["status"], "Succeeded");
}

// AGENT-66, AGENT-34
#[test]
fn logs_that_cannot_be_sent_are_seen_in_the_status_and_left_to_the_next_agent() {
    let Some(stage) = Stage::new("unsent") else {
        return;
    };
    let mut command = stage.agent(&["--cloudwatch-log-group", "/builds/web"]);
    // Nobody listens there.
    command.env("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "http://127.0.0.1:9");
    let agent = Sandbox::spawn(&mut command);
    let job = easy(&stage);
    assert_eq!(stage.answered(&job)["status"], "Succeeded");
    let what = "logs to CloudWatch Logs";
    let found = status(&stage, "trouble", move |status| {
        status["unsent"][what].is_string()
    });
    let why = found["unsent"][what].as_str().unwrap_or_default();
    assert!(why.contains("/builds/web"), "{why}");
    let mut command = stage.sandbox.command(["agent", "status"]);
    let shown = wait::output(Sandbox::spawn(&mut command));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("not sent  {what}: ")), "{shown}");
    let said = end(agent);
    for words in [
        "waits 10s at most for what is not sent yet of logs and changes; builds: 1",
        "leaves what is not sent of logs and changes to the next agent; builds: 1",
    ] {
        assert!(said.contains(words), "no {words} in {said}");
    }
}

// AGENT-24, AGENT-20: what CodePipeline was told is what the agent says.
#[test]
fn a_success_that_codepipeline_does_not_take_is_none() {
    let Some(stage) = Stage::new("refused") else {
        return;
    };
    let refuse = json!({ "kind": "error", "operation": "PutJobSuccessResult", "code": "ValidationException", "times": null });
    stage.server.fault(&refuse);
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    told(&stage, &job, "the answer", |told| is(told, "Failed"));
    let over = status(&stage, "the end", |status| {
        status["finished"][0].is_object()
    });
    assert_eq!(over["finished"][0]["status"], "FAULT", "{over}");
    let said = end(agent);
    assert!(!said.contains("answered: SUCCEEDED"), "{said}");
    assert!(
        said.contains("answered: FAULT: CodePipeline does not take"),
        "{said}"
    );
    let answer = stage.answer(&job);
    let build = answer["request"]["failureDetails"]["externalExecutionId"].as_str();
    assert!(build.is_some_and(|id| id.starts_with("web:")), "{answer}");
}

// AGENT-24: the pipeline was stopped, and an answer whose receipt was lost.
#[test]
fn an_answer_that_was_not_taken_is_not_said_to_be() {
    let Some(stage) = Stage::new("untaken") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", WAITING)]);
    let mark = stage.sandbox.path("mark");
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let agent = Sandbox::spawn(stage.agent(&[]).env("MARK", &mark));
    wait::until("the build", {
        let mark = mark.clone();
        move || mark.exists()
    });
    stage.server.ask("POST", &format!("/jobs/{job}/stop"), None);
    fs::remove_file(&mark).expect("it is there");
    let over = status(&stage, "the end", |status| {
        status["finished"][0].is_object()
    });
    let message = over["finished"][0]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("not answered: CodePipeline wants no answer"),
        "{over}"
    );
    assert_eq!(over["finished"][0]["status"], "FAULT", "{over}");
    let close = json!({ "kind": "close", "operation": "PutJobSuccessResult", "when": "after" });
    stage.server.fault(&close);
    let lost = easy(&stage);
    told(&stage, &lost, "the answer", |told| is(told, "Succeeded"));
    status(&stage, "the end", |status| {
        status["finished"][1].is_object()
    });
    let said = end(agent);
    assert_eq!(said.matches("answered: SUCCEEDED").count(), 1, "{said}");
    assert!(
        said.contains("the receipt of one was lost before"),
        "{said}"
    );
}

// AGENT-24: the clock was put forward while no agent ran, by any amount.
#[test]
fn an_answer_is_given_again_after_a_restart_whatever_the_clock_says() {
    let Some(stage) = Stage::new("clock") else {
        return;
    };
    let operation = "PutJobSuccessResult";
    let stall = json!({ "kind": "stall", "operation": operation, "when": "before" });
    stage.server.fault(&stall);
    let job = easy(&stage);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    wait::until("the call", {
        let endpoint = stage.server.endpoint.clone();
        move || Control(&endpoint).ask("GET", "", None)["stalled"] == 1
    });
    signal(&agent, Signal::KILL);
    wait::output(agent);
    stage.server.ask("POST", "/release", None);
    let jobs = stage.sandbox.path("state/runner/agent/jobs");
    let record = jobs.join(&job).join("job.json");
    let text = fs::read_to_string(&record).expect("it is there");
    let mut written: Value = serde_json::from_str(&text).expect("it is JSON");
    written["taken"] = json!(0);
    fs::write(&record, written.to_string()).expect("it can be written");
    let away = json!({ "kind": "error", "operation": operation, "code": "ServiceUnavailableException", "times": 3 });
    stage.server.fault(&away);
    let ran = stage.run(&["--max-idle", "300ms"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    stage.succeeded(&job, &ran);
}

// AGENT-29
#[test]
fn a_build_is_stopped_when_its_pipeline_waits_no_longer() {
    let Some(stage) = Stage::new("patience") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - sleep 600\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let ran = stage.run(&["--once", "--grace", "1s", "--patience", "2s"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("a pipeline waits a day"),
        "{}",
        stderr(&ran)
    );
    // CodePipeline's clock may be another one.
    assert_eq!(stage.answer(&job)["status"], "Failed");
}

// AGENT-28, AGENT-90
#[test]
fn what_was_taken_before_a_restart_comes_before_what_is_new() {
    let Some(stage) = Stage::new("line") else {
        return;
    };
    let stall = json!({ "kind": "stall", "operation": "AcknowledgeJob", "when": "after" });
    stage.server.fault(&stall);
    let source = stage.source("A/x", &[("buildspec.yml", WAITING)]);
    let configuration = json!({ "ProjectName": "web" });
    let old = stage.job(&configuration, std::slice::from_ref(&source), &[]);
    let agent = Sandbox::spawn(&mut stage.agent(&[]));
    told(&stage, &old, "the call", |told| is(told, "InProgress"));
    signal(&agent, Signal::KILL);
    wait::output(agent);
    stage.server.ask("POST", "/release", None);
    let new = stage.job(&configuration, &[source], &[]);
    let mark = stage.sandbox.path("mark");
    let address = stage.sandbox.path("notify");
    let socket = UnixDatagram::bind(&address).expect("a socket can be made");
    let limit = socket.set_read_timeout(Some(wait::LIMIT));
    limit.expect("a limit can be set");
    let mut command = stage.agent(&[]);
    command.env("MARK", &mark).env("NOTIFY_SOCKET", &address);
    let agent = Sandbox::spawn(&mut command);
    // systemd does not wait for a build until the service is up (AGENT-90).
    let mut said = [0; 64];
    let length = socket.recv(&mut said).expect("something is said");
    assert!(said[..length].starts_with(b"READY=1"));
    wait::until("a build", {
        let mark = mark.clone();
        move || mark.exists()
    });
    let running = status(&stage, "a build", |status| status["running"][0].is_object());
    assert_eq!(running["running"][0]["job"], json!(old));
    assert_eq!(stage.server.told(&new)["status"], "Queued");
    wait::until("the end of both", {
        let endpoint = stage.server.endpoint.clone();
        move || {
            let _ = fs::remove_file(&mark);
            let server = Control(&endpoint);
            [&old, &new]
                .iter()
                .all(|job| is(&server.told(job), "Succeeded"))
        }
    });
    end(agent);
}

// AGENT-23
#[test]
fn a_build_that_could_not_begin_has_its_id_in_the_answer() {
    let Some(stage) = Stage::new("unbegun") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", BUILDSPEC)]);
    let configuration = json!({ "ProjectName": "web", "Image": "busybox" });
    let job = stage.job(&configuration, &[source], &[]);
    let nowhere = "unix:///nowhere/engine.sock";
    let ran = wait::output(Sandbox::spawn(
        stage.agent(&["--once"]).env("DOCKER_HOST", nowhere),
    ));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&job);
    let details = &answer["request"]["failureDetails"];
    let build = details["externalExecutionId"].as_str();
    assert!(build.is_some_and(|id| id.starts_with("web:")), "{answer}");
    let message = details["message"].as_str().unwrap_or_default();
    assert_eq!(message.matches(nowhere).count(), 1, "{message}");
}

/// An engine that says which version it is, and can do nothing.
fn engine(socket: &Path) {
    answering_engine(socket, |request| {
        let (status, body) = if request.contains("/version") {
            ("200 OK", r#"{"Version":"20.10.24","ApiVersion":"1.41"}"#)
        } else {
            ("500 Internal Server Error", r#"{"message":"not today"}"#)
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json");
        Some(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes())
    });
}

// AGENT-39, AGENT-84
#[test]
fn without_its_engine_an_agent_takes_no_job_until_it_is_back() {
    let Some(stage) = Stage::new("engine") else {
        return;
    };
    let socket = stage.sandbox.path("engine.sock");
    let host = format!("unix://{}", socket.display());
    let mut command = stage.agent(&["--image", "busybox"]);
    let agent = Sandbox::spawn(command.env("DOCKER_HOST", &host));
    let is_away = |status: &Value| {
        let reason = status["reason"].as_str().unwrap_or_default();
        status["state"] == "no-room" && reason.contains("engine.sock")
    };
    let away = status(&stage, "no engine", is_away);
    assert_eq!(away["polled"], Value::Null, "{away}");
    engine(&socket);
    status(&stage, "polls", |status| status["polled"].is_string());
    // It goes away just before there is a job.
    fs::remove_file(&socket).expect("it is there");
    let job = easy(&stage);
    status(&stage, "no engine", is_away);
    assert_eq!(count(&stage.server.calls(&job), "AcknowledgeJob"), 0);
    engine(&socket);
    told(&stage, &job, "the answer", |told| is(told, "Failed"));
    let answer = stage.answer(&job);
    let message = answer["request"]["failureDetails"]["message"].as_str();
    assert!(
        message.is_some_and(|text| text.contains("not today")),
        "{answer}"
    );
    end(agent);
}
