//! The processes of builds that an agent has started: what they are given, and what is left of them, whatever happens to their
//! agent, its program and themselves.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::RUNNER;
use support::container::{busybox, containers};
use support::sandbox::Sandbox;
use support::stage::{Stage, by, narrow, signal, stderr, unzip};
use support::wait;

/// Names in an archive with their permissions.
fn modes(archive: Vec<u8>) -> Vec<(String, u32)> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).expect("it is a ZIP");
    let mut modes: Vec<(String, u32)> = (0..archive.len())
        .map(|index| {
            let file = archive.by_index(index).expect("an entry can be read");
            let mode = file.unix_mode().expect("it has one") & 0o777;
            (file.name().expect("names are text").into_owned(), mode)
        })
        .collect();
    modes.sort();
    modes
}

// AGENT-99
#[test]
fn a_build_makes_what_others_can_read_and_goes_before_its_agent() {
    let Some(stage) = Stage::new("umask") else {
        return;
    };
    let buildspec = "\
version: 0.2
phases:
  build:
    commands:
      - mkdir made && echo x > made/file && echo x > made/program && chmod +x made/program
      - cat /proc/self/oom_score_adj > score; cat /proc/$PPID/oom_score_adj >> score
      - stat -c '%a' . deep made > modes
artifacts:
  files: [score, modes, 'made/**/*', 'deep/**/*']
";
    let files = [("buildspec.yml", buildspec), ("deep/source", "x")];
    let source = stage.source("App/x", &files);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &["Out"]);
    let ran = wait::output(Sandbox::spawn(&mut narrow(&stage.agent(&["--once"]))));
    stage.succeeded(&job, &ran);
    let object = stage.bucket.get("out/Out").content;
    let modes: Vec<(String, u32)> = modes(object.clone());
    let named = |name: &str| modes.iter().find(|(found, _)| found == name);
    for (name, mode) in [
        ("deep/source", 0o644),
        ("made/file", 0o644),
        ("made/program", 0o755),
        ("modes", 0o644),
    ] {
        assert_eq!(named(name), Some(&(name.to_owned(), mode)));
    }
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("it can be read");
    let own: i32 = own.trim().parse().expect("it is a number");
    let more = (own + 100).clamp(0, 1000);
    let files = unzip(object);
    let text = |name: &str| {
        let found = files.iter().find(|(found, _)| found == name);
        found.map(|(_, text)| text.clone()).unwrap_or_default()
    };
    assert_eq!(text("modes"), "755\n755\n755\n");
    assert_eq!(text("score"), format!("{more}\n{more}\n"));
    // What is the agent's is nobody else's.
    let log = stage
        .sandbox
        .path("state/runner/agent/jobs")
        .join(&job)
        .join("build.log");
    let found = fs::metadata(log).expect("it is there");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&found) & 0o777, 0o600);
}

/// A command that starts a process of a session of its own, and waits; the process's number is in the file `MARK`.
const LEAVES: &str = "\
version: 0.2
phases:
  build:
    commands:
      - setsid sh -c 'echo $$ > \"$MARK.new\"; mv \"$MARK.new\" \"$MARK\"; exec sleep 600' & sleep 600
";

fn kill(number: &str) {
    let number = number.trim().parse().ok().and_then(Pid::from_raw);
    kill_process(number.expect("it is a number"), Signal::KILL).expect("it lives");
}

/// The process of the build of a job.
fn process_of(stage: &Stage, job: &str) -> String {
    let jobs = stage.sandbox.path("state/runner/agent/jobs");
    fs::read_to_string(jobs.join(job).join("pid")).expect("it is there")
}

/// Waits until a process has ended; whoever it was left to takes note of that in their own time.
#[track_caller]
fn gone(mark: &Path) {
    let number = fs::read_to_string(mark).expect("it is there");
    let stat = format!("/proc/{}/stat", number.trim());
    wait::until("the end of what the build has left", move || {
        fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}

// AGENT-28
#[test]
fn nothing_is_left_of_a_build_whose_process_was_killed() {
    let Some(stage) = Stage::new("left") else {
        return;
    };
    let source = stage.source("A/x", &[("buildspec.yml", LEAVES)]);
    for with_agent in [false, true] {
        let mark = stage.sandbox.path(&format!("mark-{with_agent}"));
        let job = stage.job(
            &json!({ "ProjectName": "web" }),
            std::slice::from_ref(&source),
            &[],
        );
        let agent = Sandbox::spawn(stage.agent(&["--once"]).env("MARK", &mark));
        wait::until("the build", {
            let mark = mark.clone();
            move || mark.exists()
        });
        if with_agent {
            signal(&agent, Signal::KILL);
        }
        kill(&process_of(&stage, &job));
        let mut ran = wait::output(agent);
        if with_agent {
            ran = stage.run(&["--max-idle", "300ms"]);
        }
        assert!(ran.status.success(), "{}", stderr(&ran));
        let answer = stage.answer(&job);
        assert_eq!(
            answer["request"]["failureDetails"]["type"], "SystemUnavailable",
            "{answer}"
        );
        gone(&mark);
        assert!(
            stderr(&ran).contains("ended what was left of its build"),
            "{}",
            stderr(&ran)
        );
    }
}

/// The command of an agent that reaches the engine.
fn with_engine(mut command: Command) -> Command {
    command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    command
}

// AGENT-95: an upgrade, which restarts nothing.
#[test]
fn builds_in_containers_go_on_when_the_program_was_replaced() {
    let Some(image) = busybox("agent: upgrade") else {
        return;
    };
    let Some(stage) = Stage::new("upgrade") else {
        return;
    };
    let (program, new) = (stage.sandbox.path("runner"), stage.sandbox.path("new"));
    fs::copy(RUNNER, &program).expect("it can be copied");
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands: ['cat name.txt > out.txt; echo >> name.txt']\nartifacts: { files: out.txt }\n";
    let files = [("buildspec.yml", buildspec), ("name.txt", "blue")];
    let source = stage.source("A/x", &files);
    let configuration = json!({ "ProjectName": stage.sandbox.project(), "Image": image });
    let build = || {
        let job = stage.job(&configuration, std::slice::from_ref(&source), &["Out"]);
        let answer = stage.answered(&job);
        assert_eq!(answer["status"], "Succeeded", "{answer}");
        let files = unzip(stage.bucket.get("out/Out").content);
        assert_eq!(files, [("out.txt".to_owned(), "blue".to_owned())]);
    };
    let mut command = with_engine(by(&stage.agent(&[]), &program, &[]));
    let agent = Sandbox::spawn(&mut command);
    build();
    // One that does nothing of what is asked of it.
    fs::write(&new, "#!/bin/false\n").expect("a file can be written");
    fs::rename(&new, &program).expect("it can take the place");
    build();
    fs::remove_file(&program).expect("it is there");
    build();
    signal(&agent, Signal::TERM);
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(containers(&stage.sandbox), Vec::<String>::new());
}
