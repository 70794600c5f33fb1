//! An agent as its operator has it: configured by a file, looked at over HTTP, told things by signals, watched by systemd.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::sandbox::Sandbox;
use support::stage::{Stage, signal, stderr, unzip};
use support::wait;

const BUILDSPEC: &str = "\
version: 0.2
phases:
  build:
    commands:
      - echo \"the build says hello\"
      - mkdir out && env > out/env.txt
artifacts:
  base-directory: out
  files: ['**/*']
";

/// What a repository would like to have.
const LOOSE: &str = "[run]\nprivileged = true\nenv = ['LOOSE=1']\n";

fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream
        .set_read_timeout(Some(wait::LIMIT))
        .expect("a limit can be set");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("it can be asked");
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("it answers with text");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), body.to_owned())
}

/// Waits for a message to systemd that begins like this. Feeding the watchdog, and a status, come whenever they like.
#[track_caller]
fn hear(socket: &UnixDatagram, beginning: &str) -> String {
    let mut bytes = [0; 4096];
    for _ in 0..10_000 {
        let length = socket.recv(&mut bytes).expect("something is said");
        let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if said.starts_with(beginning) {
            return said;
        }
    }
    panic!("nothing begins with {beginning}");
}

/// A port that nobody else asks for meanwhile, most likely.
fn free_port() -> u16 {
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
    free.expect("there is a free port").port()
}

// AGENT-84: the console's link to a build leads there, whatever became of its agent.
#[test]
fn a_build_that_a_killed_agent_left_is_found_by_its_id() {
    let Some(stage) = Stage::new("links") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - echo the build says hello\n      - touch \"$MARK\"; sleep 600\n";
    let source = stage.source("A/x", &[("buildspec.yml", buildspec)]);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mark = stage.sandbox.path("mark");
    let start = || {
        let mut command = stage.agent(&["--listen", &address, "--grace", "1s"]);
        Sandbox::spawn(command.env("MARK", &mark))
    };
    let killed = stage.job(&json!({ "ProjectName": "web" }), &[source], &[]);
    let agent = start();
    wait::until("the build", {
        let mark = mark.clone();
        move || mark.exists()
    });
    signal(&agent, Signal::KILL);
    wait::output(agent);
    let agent = start();
    // And one whose input was not to be had.
    let nothing = stage.artifact("B", "B/none");
    let without = stage.job(&json!({ "ProjectName": "web" }), &[nothing], &[]);
    for (job, has_log) in [(killed, true), (without, false)] {
        let answer = stage.answered(&job);
        let details = &answer["request"]["failureDetails"];
        let build = details["externalExecutionId"].as_str().unwrap_or_default();
        assert!(build.starts_with("web:"), "{answer}");
        let (status, page) = get(port, &format!("/builds/{build}"));
        assert_eq!(status, 200, "{build}");
        assert!(page.contains(build), "{page}");
        let (status, log) = get(port, &format!("/builds/{build}/log"));
        assert_eq!(status == 200, has_log, "{status} {log}");
        assert_eq!(log.contains("the build says hello"), has_log, "{log}");
    }
    signal(&agent, Signal::TERM);
    assert!(wait::output(agent).status.success());
}

// CONF-7, CONF-9, AGENT-82, AGENT-83, AGENT-84, AGENT-87, AGENT-90, AGENT-91, AGENT-92, AGENT-93
#[test]
fn an_agent_is_configured_looked_at_reloaded_and_ended() {
    let Some(stage) = Stage::new("operation") else {
        return;
    };
    let port = free_port();
    let config = stage.sandbox.path("agent.toml");
    let write = |pipelines: &str| {
        let text = format!(
            "[agent]\nlisten = '127.0.0.1:{port}'\nallow-pipeline = {pipelines}\narguments = ['--env', 'FROM_AGENT=yes']\n"
        );
        fs::write(&config, text).expect("a file can be written");
    };
    write("['web-*']");
    let address = stage.sandbox.path("notify");
    let socket = UnixDatagram::bind(&address).expect("a socket can be made");
    socket
        .set_read_timeout(Some(wait::LIMIT))
        .expect("a limit can be set");

    let place = config.display().to_string();
    let mut command = stage.agent(&["--config", &place, "--log-format", "json"]);
    command
        .env("NOTIFY_SOCKET", &address)
        .env("WATCHDOG_USEC", "3000000")
        // A build that read it could not begin.
        .env("RUNNER_FAIL_UNDER", "much");
    let agent = Sandbox::spawn(&mut command);
    assert!(hear(&socket, "READY=1").contains("Build/Runner/1"));
    hear(&socket, "WATCHDOG=1");

    let files = [("buildspec.yml", BUILDSPEC), ("runner.toml", LOOSE)];
    let source = stage.source("App/one", &files);
    let job = || {
        stage.job(
            &json!({ "ProjectName": "web" }),
            std::slice::from_ref(&source),
            &["Out"],
        )
    };
    let first = job();
    assert_eq!(stage.answered(&first)["status"], "Succeeded");
    let files = unzip(stage.bucket.get("out/Out").content);
    let (_, variables) = &files[0];
    assert!(variables.contains("FROM_AGENT=yes\n"), "{variables}");
    for own in [
        "LOOSE=",
        "RUNNER_FAIL_UNDER=",
        "NOTIFY_SOCKET=",
        "WATCHDOG_USEC=",
    ] {
        assert!(!variables.contains(own), "{own} in {variables}");
    }

    assert_eq!(get(port, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(port, "/readyz"), (200, "ready\n".to_owned()));
    let id = first.clone();
    wait::until("the build is over on the board", move || {
        get(port, &format!("/builds/{id}"))
            .1
            .contains("SUCCEEDED</span>")
    });
    let (_, page) = get(port, &format!("/builds/{first}"));
    assert!(page.contains("the build says hello"), "{page}");
    assert!(get(port, "/badge/web.svg").1.contains("build: passing"));

    // What is said now holds from now on.
    write("['other']");
    signal(&agent, Signal::HUP);
    hear(&socket, "RELOADING=1\nMONOTONIC_USEC=");
    hear(&socket, "READY=1");
    let refused = stage.answered(&job());
    assert_eq!(refused["status"], "Failed", "{refused}");
    // What cannot be used changes nothing, and ends nothing.
    write("['web-*']\nlisten-port = 1");
    signal(&agent, Signal::HUP);
    hear(&socket, "RELOADING=1");
    hear(&socket, "READY=1");
    assert_eq!(stage.answered(&job())["status"], "Failed");
    // Nor does what could be read, and is refused at a start.
    for arguments in [
        "['--job', '/etc/passwd']",
        "['--region=x']",
        "['--no-such-flag']",
    ] {
        let text = format!("[agent]\nallow-pipeline = ['web-*']\narguments = {arguments}\n");
        fs::write(&config, text).expect("a file can be written");
        signal(&agent, Signal::HUP);
        hear(&socket, "RELOADING=1");
        hear(&socket, "READY=1");
        assert_eq!(stage.answered(&job())["status"], "Failed", "{arguments}");
    }
    write("['web-*']");
    signal(&agent, Signal::HUP);
    hear(&socket, "READY=1");
    assert_eq!(stage.answered(&job())["status"], "Succeeded");
    // Its slots are what they were; what builds get is new.
    let later = "[agent]\njobs = 5\narguments = ['--env', 'FROM_AGENT=later']\n";
    fs::write(&config, later).expect("a file can be written");
    signal(&agent, Signal::HUP);
    hear(&socket, "READY=1");
    assert_eq!(stage.answered(&job())["status"], "Succeeded");
    let files = unzip(stage.bucket.get("out/Out").content);
    assert!(files[0].1.contains("FROM_AGENT=later\n"), "{files:?}");
    let (_, status) = get(port, "/status.json");
    let status: Value = serde_json::from_str(&status).expect("it is JSON");
    assert_eq!(status["slots"], 1, "{status:#}");

    signal(&agent, Signal::TERM);
    hear(&socket, "STOPPING=1");
    let ran = wait::output(agent);
    assert!(ran.status.success(), "{}", stderr(&ran));
    // Also what is wrong with a configuration is for programs.
    for line in stderr(&ran).lines() {
        let line: Value = serde_json::from_str(line).expect("each line is an object");
        assert!(line["message"].is_string(), "{line}");
    }
    for said in [
        "unexpected key `listen-port` in `[agent]`",
        "`--job` is the agent's to say for each build",
        "`--region` is a flag of the agent's own",
        "unexpected argument '--no-such-flag'",
        "goes on as before",
    ] {
        assert!(stderr(&ran).contains(said), "no {said} in {}", stderr(&ran));
    }
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "the port is closed"
    );
}
