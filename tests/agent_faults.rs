//! The agent while everything goes wrong at once: services that fail, stall, lose and repeat, credentials that are over, a
//! clock that is off, a full disk, and agents that are killed wherever they are.
//!
//! `RUNNER_FAULT_JOBS` says for how many jobs.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::aws::{GoBetween, Verdict, s3_error};
use support::sandbox::Sandbox;
use support::stage::{Stage, signal, stderr, unzip};
use support::wait;

/// What each build does: an artifact that says which job it is of.
const BUILDSPEC: &str = "\
version: 0.2
env:
  exported-variables: [NUMBER]
phases:
  build:
    commands:
      - echo $NUMBER > number.txt
      - if [ $((NUMBER % 7)) = 3 ]; then exit 1; fi
artifacts:
  files: number.txt
";

/// Jobs of one run.
fn jobs() -> u64 {
    let asked = std::env::var("RUNNER_FAULT_JOBS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Numbers that look like chance and are the same each time.
struct Chance(AtomicU64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// From 0 to 999.
    fn next(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut number = self.0.fetch_add(step, Ordering::Relaxed);
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % 1000
    }
}

/// Sets everything that the server can do wrong.
fn all_faults(stage: &Stage) {
    let often = |fault: Value| {
        let mut fault = fault;
        fault["times"] = Value::Null;
        stage.server.fault(&fault);
    };
    often(
        json!({ "kind": "error", "code": "ServiceUnavailableException", "rate": 0.15, "seed": 1 }),
    );
    often(json!({ "kind": "error", "form": "html", "status": 502, "rate": 0.05, "seed": 2 }));
    often(json!({ "kind": "error", "code": "ThrottlingException", "rate": 0.05, "seed": 3 }));
    often(json!({ "kind": "close", "when": "before", "rate": 0.03, "seed": 4 }));
    often(json!({ "kind": "close", "when": "after", "reset": true, "rate": 0.03, "seed": 5 }));
    often(
        json!({ "kind": "close", "operation": "AcknowledgeJob", "when": "after", "rate": 0.1, "seed": 6 }),
    );
    often(json!({ "kind": "truncate", "rate": 0.02, "seed": 7 }));
    often(json!({ "kind": "duplicate", "operation": "PollForJobs", "rate": 0.2, "seed": 8 }));
    often(
        json!({ "kind": "duplicate", "operation": "PollForJobs", "mode": "again", "rate": 0.2, "seed": 9 }),
    );
    often(json!({ "kind": "expired-credentials", "rate": 0.1, "seed": 10 }));
    let stalls = json!({ "kind": "stall", "seconds": 60, "rate": 0.01, "seed": 11, "times": 4 });
    stage.server.fault(&stalls);
}

/// Buckets, with a go-between that fails, and refuses credentials that are over.
fn failing_buckets(stage: &Stage) -> GoBetween {
    let chance = Chance::new(7);
    let control = stage.server.endpoint.clone();
    GoBetween::judging_keys(&stage.endpoint, move |line, key| {
        match chance.next() {
            _ if line.starts_with("DELETE") => return Verdict::Pass,
            0..150 => return s3_error("503 Slow Down", "SlowDown", "slow down"),
            150..200 => return s3_error("500 Internal Server Error", "InternalError", "oh"),
            200..220 => return Verdict::Drop,
            _ => {}
        }
        let Some(key) = key.filter(|key| key.starts_with("ASIA")) else {
            return Verdict::Pass;
        };
        let server = support::codepipeline::Control(&control);
        let known = server.ask("GET", &format!("/credentials/{key}"), None);
        let expired = known["state"] != "good";
        Verdict::when(
            expired,
            s3_error(
                "400 Bad Request",
                "ExpiredToken",
                "The provided token has expired.",
            ),
        )
    })
}

/// An agent that is started again whenever it is killed.
struct Agent<'s> {
    stage: &'s Stage,
    buckets: &'s str,
    state: String,
    slots: &'static str,
    child: Option<Child>,
    written: Vec<u8>,
}

impl<'s> Agent<'s> {
    fn start(stage: &'s Stage, buckets: &'s str, name: &str, slots: &'static str) -> Self {
        let directory = stage.sandbox.path(name).display().to_string();
        let mut agent = Self {
            stage,
            buckets,
            state: directory,
            slots,
            child: None,
            written: Vec::new(),
        };
        agent.again();
        agent
    }

    fn again(&mut self) {
        let more = [
            "--state",
            &self.state,
            "--jobs",
            self.slots,
            "--grace",
            "1s",
        ];
        let mut command = self.stage.agent(&more);
        command.env("AWS_ENDPOINT_URL", self.buckets);
        // What it writes is looked at when it is over.
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(format!("{}.log", self.state));
        command.stderr(log.expect("a file can be written"));
        self.child = Some(command.spawn().expect("it can be started"));
    }

    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        signal(&child, Signal::KILL);
        child.wait().expect("a child can be waited for");
    }

    fn number(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Ends it as it should.
    fn end(mut self) -> Vec<u8> {
        let child = self.child.take().expect("it runs");
        signal(&child, Signal::TERM);
        let status = wait::end(child);
        self.written = fs::read(format!("{}.log", self.state)).unwrap_or_default();
        let text = String::from_utf8_lossy(&self.written).into_owned();
        assert!(status.success(), "{status} {text}");
        self.written
    }
}

/// Resident kilobytes and open files of a process.
fn size(number: u32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    let files = fs::read_dir(format!("/proc/{number}/fd")).map_or(0, Iterator::count);
    (resident.unwrap_or(0), files)
}

fn open_jobs(stage: &Stage) -> u64 {
    let told = stage.server.ask("GET", "", None);
    let open = ["Queued", "Dispatched", "InProgress"];
    open.iter()
        .map(|status| told["jobs"][status].as_u64().unwrap_or(0))
        .sum()
}

// AGENT-4, AGENT-7, AGENT-8, AGENT-10, AGENT-19, AGENT-20, AGENT-24, AGENT-28, AGENT-33
#[test]
fn under_all_faults_each_job_gets_one_answer_and_no_success_is_without_its_artifact() {
    let Some(stage) = Stage::new("faults") else {
        return;
    };
    let source = stage.source("App/one", &[("buildspec.yml", BUILDSPEC)]);
    let count = jobs();
    let ids: Vec<String> = (0..count)
        .map(|number| numbered(&stage, number, &source))
        .collect();
    all_faults(&stage);
    let go_between = failing_buckets(&stage);
    let mut steady = Agent::start(&stage, &go_between.endpoint, "steady", "6");
    let mut killed = Agent::start(&stage, &go_between.endpoint, "killed", "4");
    let chance = Chance::new(3);
    let mut sizes = Vec::new();
    let mut kills = 0;
    let begun = Instant::now();
    let patience = Duration::from_secs(120 + 5 * count);
    while open_jobs(&stage) > 0 {
        assert!(
            begun.elapsed() < patience,
            "{} jobs are open",
            open_jobs(&stage)
        );
        thread::sleep(Duration::from_millis(500 + 3 * chance.next()));
        sizes.push(size(steady.number()));
        if open_jobs(&stage) > 0 {
            killed.kill();
            kills += 1;
            let skew = if kills % 2 == 0 { 0 } else { 900 };
            stage
                .server
                .ask("POST", "/settings", Some(&json!({ "skew": skew })));
            killed.again();
        }
    }
    stage.server.ask("DELETE", "/faults", None);
    stage
        .server
        .ask("POST", "/settings", Some(&json!({ "skew": 0 })));
    steady.written.clear();
    let written = [steady.end(), killed.end()].concat();
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for (number, id) in ids.iter().enumerate() {
        let answer = stage.answer(id);
        let kind = &answer["request"]["failureDetails"]["type"];
        let key = format!("out/{number}");
        if answer["status"] == "Succeeded" {
            let files = unzip(stage.bucket.get(&key).content);
            assert_eq!(files, [("number.txt".to_owned(), format!("{number}\n"))]);
            assert_ne!(number % 7, 3, "it had to fail");
        } else if kind == "JobFailed" {
            assert_eq!(number % 7, 3, "{answer}");
        } else {
            assert!(
                ["SystemUnavailable", "RevisionUnavailable"]
                    .contains(&kind.as_str().unwrap_or_default()),
                "{answer}"
            );
        }
        let outcome = kind.as_str().unwrap_or("Succeeded").to_owned();
        *outcomes.entry(outcome).or_default() += 1;
    }
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    stage.keeps_secrets(&names, &written);
    println!(
        "{count} jobs, {kills} kills, {:?}: {outcomes:?}",
        begun.elapsed()
    );
    println!("steady agent, kilobytes and files: {sizes:?}");
    if let (Some(early), Some(late)) = (sizes.get(sizes.len() / 3), sizes.last()) {
        assert!(late.0 < early.0 + 16 * 1024, "memory grows: {sizes:?}");
        assert!(late.1 < early.1 + 40, "files stay open: {sizes:?}");
    }
}

fn numbered(stage: &Stage, number: u64, source: &Value) -> String {
    let variables = json!([{ "name": "NUMBER", "value": number.to_string() }, { "name": "PASS", "value": "hunter2" }]);
    let configuration =
        json!({ "ProjectName": "web", "EnvironmentVariables": variables.to_string() });
    let output = stage.artifact("Out", &format!("out/{number}"));
    let more = json!({ "outputArtifacts": [output] });
    stage.job_with(&configuration, std::slice::from_ref(source), &[], &more)
}

// AGENT-6, AGENT-20, AGENT-37: a file system of a few megabytes, for these processes only.
#[test]
fn on_a_full_disk_no_job_is_lost_and_none_is_a_success() {
    let Some(stage) = Stage::new("full") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - head -c 5000000 /dev/urandom > big\nartifacts:\n  files: big\n";
    let source = stage.source("App/one", &[("buildspec.yml", buildspec)]);
    let small = stage.source("Small/one", &[("buildspec.yml", BUILDSPEC)]);
    let place = stage.sandbox.path("full");
    fs::create_dir(&place).expect("a directory can be made");
    let mount = "mount -t tmpfs -o size=8m none \"$1\"";
    let possible = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", mount, "sh"])
        .arg(&place)
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        return support::skipped("a full disk", "no file system can be mounted here");
    }
    let big = stage.job(&json!({ "ProjectName": "web" }), &[source], &["Out"]);
    let later = numbered(&stage, 1, &small);
    let agent = stage.agent(&["--max-idle", "1s", "--state"]);
    let mut command = std::process::Command::new("unshare");
    command
        .args([
            "-m",
            "sh",
            "-c",
            &format!("{mount} && where=$1 && shift && exec \"$@\" \"$where\""),
            "sh",
        ])
        .arg(&place)
        .arg(agent.get_program())
        .args(agent.get_args())
        .env_clear()
        .envs(
            agent
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(stage.sandbox.source());
    let ran = wait::output(Sandbox::spawn(&mut command));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&big);
    assert_eq!(answer["status"], "Failed", "{answer}");
    let message = answer["request"]["failureDetails"]["message"].as_str();
    assert!(
        message.is_some_and(|text| text.contains("No space")),
        "{answer}"
    );
    // There is room again.
    stage.succeeded(&later, &ran);
    assert!(!stage.bucket.keys().contains(&"out/Out".to_owned()));
}
