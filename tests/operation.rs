//! How an agent is looked after: the board, its pages and numbers, and what systemd is told.

#![expect(
    clippy::disallowed_methods,
    reason = "tests are now, and ask as others do"
)]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use buildspec_runner::agent::attend::{Said, Say};
use buildspec_runner::agent::board::{About, Activity, Board, Build, Counter, Job, State};
use buildspec_runner::agent::http::Server;
use buildspec_runner::agent::notify::{Environment, Notifier};
use buildspec_runner::agent::progress::{LONGEST_ROUND, Progress};
use buildspec_runner::phase::{Phase, Status};
use serde_json::json;
use support::wait;

/// A second of a time that stands still.
fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_746_522_600 + second)
}

fn about() -> About {
    About {
        name: "machine-1".to_owned(),
        version: "0.1.0",
        action_type: "Build/Runner/1".to_owned(),
        region: "eu-central-1".to_owned(),
        pid: 42,
        since: at(0),
    }
}

fn board(slots: usize, kept: usize) -> Board {
    Board::new(about(), slots, kept)
}

fn job(id: &str, project: &str) -> Job {
    Job {
        id: id.to_owned(),
        pipeline: "web-pipeline".to_owned(),
        stage: "Build".to_owned(),
        action: "Compile".to_owned(),
        execution: "6a1c".to_owned(),
        project: project.to_owned(),
    }
}

/// A build that went through a phase and ended.
fn built(board: &Board, id: &str, project: &str, status: Status, second: u64) {
    board.taken(job(id, project), at(second));
    let build_id = format!("{project}:uuid-of-{id}");
    board.event(
        id,
        &json!({"event": "build-started", "buildId": build_id}),
        at(second),
    );
    board.event(
        id,
        &json!({"event": "phase-started", "phase": "BUILD"}),
        at(second),
    );
    let finished = json!({"event": "phase-finished", "phase": "BUILD", "phaseStatus": status.name(), "durationSeconds": 1.5});
    board.event(id, &finished, at(second + 1));
    board.finished(id, status, None, at(second + 2));
}

// AGENT-80
#[test]
fn a_job_has_a_slot_from_its_acknowledgement_to_its_final_answer() {
    let board = board(2, 10);
    board.turn_to(State::Polling);
    board.taken(job("j1", "web"), at(10));
    for (activity, second) in [
        (Activity::Downloading, 11),
        (Activity::Building, 12),
        (Activity::Building, 13),
        (Activity::Uploading, 20),
        (Activity::Answering, 21),
    ] {
        board.job_turns_to("j1", activity, at(second));
        let now = board.snapshot();
        assert_eq!((now.running.len(), now.free()), (1, 1));
        assert_eq!(now.running[0].activity, activity);
        // To say the same again does not begin it anew.
        let since = if second == 13 { 12 } else { second };
        assert_eq!(now.running[0].since, at(since));
    }
    board.finished("j1", Status::Failed, Some("it broke"), at(22));
    let now = board.snapshot();
    assert_eq!((now.running.len(), now.free()), (0, 2));
    let build = &now.finished[0];
    assert_eq!(
        (build.status, build.activity),
        (Status::Failed, Activity::Done)
    );
    assert_eq!(build.message.as_deref(), Some("it broke"));
    assert_eq!(build.duration(at(1000)), Duration::from_secs(12));
    // What is over is over: a late word changes nothing.
    board.finished("j1", Status::Succeeded, None, at(30));
    board.job_turns_to("j1", Activity::Building, at(30));
    assert_eq!(board.snapshot(), now);
}

// AGENT-80
#[test]
fn phases_come_from_the_events_of_the_build() {
    let board = board(1, 10);
    board.taken(job("j1", "web"), at(0));
    let events = [
        json!({"event": "build-started", "buildId": "web:8b1d", "projectName": "web"}),
        json!({"event": "phase-finished", "phase": "SUBMITTED", "phaseStatus": "SUCCEEDED", "durationSeconds": 0.25}),
        json!({"event": "phase-started", "phase": "INSTALL"}),
        json!({"event": "output", "text": "hello\n"}),
        json!({"event": "phase-finished", "phase": "INSTALL", "phaseStatus": "SUCCEEDED", "durationSeconds": 2.0}),
        json!({"event": "phase-started", "phase": "BUILD"}),
        json!({"event": "phase-started", "phase": "A_PHASE_OF_TOMORROW"}),
        json!({"event": "phase-finished", "phase": "INSTALL", "phaseStatus": "??", "durationSeconds": -1}),
        json!({"event": 7}),
        json!([1]),
    ];
    for (second, event) in (1..).zip(&events) {
        board.event("j1", event, at(second));
        board.event("another", event, at(second));
    }
    let now = board.snapshot();
    let rows: Vec<_> = now.running[0]
        .phases
        .iter()
        .map(|row| {
            (
                row.phase,
                row.status,
                row.duration.map(|took| took.as_millis()),
            )
        })
        .collect();
    let expected = [
        (Phase::Submitted, Status::Succeeded, Some(250)),
        (Phase::Install, Status::Succeeded, Some(2000)),
        (Phase::Build, Status::InProgress, None),
    ];
    assert_eq!(rows, expected);
    assert_eq!(now.running[0].phase().map(|row| row.since), Some(at(6)));
    for name in ["web:8b1d", "8b1d", "j1"] {
        assert!(now.build(name).is_some(), "{name}");
    }
    for name in ["", "web", "8b", "another"] {
        assert!(now.build(name).is_none(), "{name}");
    }
}

// AGENT-80
#[test]
fn everything_is_counted_where_it_belongs() {
    let board = board(4, 10);
    for (number, status) in Status::ALL.into_iter().skip(1).enumerate() {
        built(&board, &format!("j{number}"), "web", status, 10);
    }
    board.poll_failed("throttled", at(5));
    assert_eq!(
        board
            .snapshot()
            .poll_failure
            .as_ref()
            .map(|failure| failure.message.clone()),
        Some("throttled".to_owned())
    );
    board.polled(at(6));
    board.count(Counter::LogEventsQueued, 10);
    board.count(Counter::LogEventsSent, 6);
    board.count(Counter::LogEventsLost, 1);
    board.count(Counter::InputBytes, u64::MAX);
    board.count(Counter::InputBytes, 1);
    let now = board.snapshot();
    for (counter, expected) in [
        (Counter::Polls, 1),
        (Counter::PollFailures, 1),
        (Counter::JobsTaken, 5),
        (Counter::JobsDropped, 0),
        (Counter::Succeeded, 1),
        (Counter::Failed, 1),
        (Counter::Faulted, 1),
        (Counter::TimedOut, 1),
        (Counter::Stopped, 1),
        (Counter::InputBytes, u64::MAX),
    ] {
        assert_eq!(now.counters.of(counter), expected, "{}", counter.key());
    }
    assert_eq!(now.log_backlog(), 3);
    assert_eq!((now.polled, now.poll_failure.clone()), (Some(at(6)), None));
    assert_eq!(now.build_time, Duration::from_secs(10));
}

// AGENT-81
#[test]
fn what_the_board_remembers_has_an_end() {
    let board = board(1, 3);
    for number in 0..2000 {
        built(
            &board,
            &format!("j{number}"),
            &format!("p{number}"),
            Status::Succeeded,
            number,
        );
    }
    let now = board.snapshot();
    let kept: Vec<&str> = now
        .finished
        .iter()
        .map(|build| build.job.id.as_str())
        .collect();
    assert_eq!(kept, ["j1999", "j1998", "j1997"]);
    assert_eq!(now.projects.len(), 1000);
    assert!(now.projects.contains_key("p1999") && !now.projects.contains_key("p999"));

    board.taken(job("long", "web"), at(0));
    for _ in 0..1000 {
        let started = json!({"event": "phase-started", "phase": "BUILD"});
        board.event("long", &started, at(1));
    }
    let message = "ä".repeat(10_000);
    assert!(board.snapshot().running[0].phases.len() <= 64);
    board.finished("long", Status::Failed, Some(&message), at(2));
    board.poll_failed(&message, at(3));
    let now = board.snapshot();
    assert_eq!(now.finished[0].message.as_deref().map(str::len), Some(5000));
    assert_eq!(
        now.poll_failure
            .as_ref()
            .map(|failure| failure.message.len()),
        Some(5000)
    );
}

// AGENT-81
#[test]
fn a_reader_holds_a_moment_and_nobody_waits_for_it() {
    let board = board(1, 10);
    let before = board.snapshot();
    assert!(
        Arc::ptr_eq(&before, &board.snapshot()),
        "reading copies nothing"
    );
    board.taken(job("j1", "web"), at(0));
    assert_eq!(before.running.len(), 0);
    assert_eq!(board.clone().snapshot().running.len(), 1);
}

// AGENT-80
#[test]
fn builds_of_an_earlier_agent_are_shown_and_not_counted() {
    let earlier = board(1, 10);
    built(&earlier, "j1", "web", Status::Failed, 0);
    let build = Build::clone(&earlier.snapshot().finished[0]);
    let board = board(1, 10);
    board.remembered(build);
    let now = board.snapshot();
    assert_eq!(
        now.build("web:uuid-of-j1").map(|build| build.status),
        Some(Status::Failed)
    );
    assert_eq!(now.projects["web"].status, Status::Failed);
    assert_eq!(now.counters.of(Counter::Failed), 0);
}

#[test]
fn a_log_belongs_to_its_build() {
    let board = board(2, 10);
    board.taken(job("j1", "web"), at(0));
    board.log_is("j1", PathBuf::from("/state/jobs/j1/build.log"));
    board.log_is("j2", PathBuf::from("/elsewhere"));
    let now = board.snapshot();
    assert_eq!(
        now.running[0].log.as_deref(),
        Some("/state/jobs/j1/build.log".as_ref())
    );
}

/// What an agent listens with, on a runtime that goes on beside the test.
struct Listening {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _server: Server,
}

fn listen(board: &Board, progress: &Progress, hosts: &[&str]) -> Listening {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listening = Server::listen(address, &hosts, board.clone(), progress.clone());
    let server = runtime
        .block_on(listening)
        .expect("loopback has a free port");
    Listening {
        address: server.address(),
        _runtime: runtime,
        _server: server,
    }
}

/// What came back.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Listening {
    /// Sends bytes, and reads until the other end closes.
    fn send(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream
            .set_read_timeout(Some(wait::LIMIT))
            .expect("a limit can be set");
        // It may have heard enough before all is said.
        let _ = stream.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = bytes.split_at(end.unwrap_or(bytes.len()));
        let head = String::from_utf8_lossy(head).into_owned();
        let body = body.get(4..).unwrap_or_default();
        let is_chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        let body = if is_chunked {
            unchunked(body)
        } else {
            body.to_owned()
        };
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Reply {
            status: status.unwrap_or_default(),
            head,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    fn get(&self, path: &str) -> Reply {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.address
        ))
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).expect("a size is ASCII");
        let size = usize::from_str_radix(size, 16).expect("a chunk has a size");
        out.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = body.get(end + 2 + size + 2..).unwrap_or_default();
    }
    out
}

/// An agent in the middle of its work.
fn busy() -> Board {
    let board = board(3, 10);
    board.turn_to(State::Polling);
    board.polled(SystemTime::now());
    built(&board, "j1", "web", Status::Succeeded, 10);
    built(&board, "j2", "api", Status::Failed, 20);
    board.taken(job("j3", "web"), SystemTime::now());
    board.event(
        "j3",
        &json!({"event": "build-started", "buildId": "web:0f8fad5b"}),
        SystemTime::now(),
    );
    board.event(
        "j3",
        &json!({"event": "phase-started", "phase": "BUILD"}),
        SystemTime::now(),
    );
    board.job_turns_to("j3", Activity::Building, SystemTime::now());
    board
}

// AGENT-82
#[test]
fn only_loopback_is_listened_on_unless_a_name_is_given() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    let listen = |hosts: &[String]| {
        runtime.block_on(Server::listen(address, hosts, board(1, 1), Progress::new()))
    };
    let refused = listen(&[]).expect_err("others could read logs").to_string();
    assert!(
        refused.starts_with("0.0.0.0:0 can be reached from other machines"),
        "{refused}"
    );
    assert!(refused.contains("--listen-host"), "{refused}");
    let server = listen(&["agent.example".to_owned()]).expect("it is asked for");
    let taken = server.address();
    let error = runtime
        .block_on(Server::listen(
            taken,
            &["a".to_owned()],
            board(1, 1),
            Progress::new(),
        ))
        .expect_err("the port is taken")
        .to_string();
    assert!(
        error.starts_with(&format!("could not listen on {taken}: ")),
        "{error}"
    );
}

// AGENT-89
#[test]
fn only_those_who_call_the_agent_by_its_names_are_answered() {
    let listening = listen(&busy(), &Progress::new(), &["Agent.Example"]);
    let port = listening.address.port();
    for (hosts, target, status) in [
        (format!("Host: 127.0.0.1:{port}\r\n"), "/healthz", 200),
        ("Host: localhost\r\n".to_owned(), "/healthz", 200),
        // A tunnel has another port.
        ("Host: LOCALHOST:8080\r\n".to_owned(), "/healthz", 200),
        ("Host: [::1]:1\r\n".to_owned(), "/healthz", 200),
        ("Host: agent.example.\r\n".to_owned(), "/healthz", 200),
        ("Host: evil.example\r\n".to_owned(), "/healthz", 421),
        (
            "Host: 127.0.0.1.evil.example\r\n".to_owned(),
            "/healthz",
            421,
        ),
        (
            "Host: localhost@evil.example\r\n".to_owned(),
            "/healthz",
            421,
        ),
        (
            "Host: evil.example@localhost\r\n".to_owned(),
            "/healthz",
            421,
        ),
        ("Host: \r\n".to_owned(), "/healthz", 421),
        (String::new(), "/healthz", 421),
        (
            "Host: localhost\r\nHost: evil.example\r\n".to_owned(),
            "/healthz",
            421,
        ),
        (
            "Host: localhost\r\n".to_owned(),
            "http://evil.example/healthz",
            421,
        ),
        (
            "Host: localhost\r\n".to_owned(),
            "http://localhost/healthz",
            200,
        ),
    ] {
        let reply = listening.send(&format!("GET {target} HTTP/1.1\r\n{hosts}\r\n"));
        assert_eq!(reply.status, status, "{target} {hosts}");
    }
}

// AGENT-89
#[test]
fn requests_have_limits() {
    let listening = listen(&busy(), &Progress::new(), &[]);
    let host = "Host: localhost\r\n";
    let long = "x".repeat(3000);
    let headers = "X: 1\r\n".repeat(100);
    for (request, statuses) in [
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello"),
            [405, 405],
        ),
        (
            format!("DELETE /builds/j1 HTTP/1.1\r\n{host}\r\n"),
            [405, 405],
        ),
        (format!("GET /{long} HTTP/1.1\r\n{host}\r\n"), [414, 414]),
        (format!("GET / HTTP/1.1\r\n{host}{headers}\r\n"), [431, 431]),
        (
            format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(40_000)),
            [431, 431],
        ),
        ("garbage\r\n\r\n".to_owned(), [400, 400]),
        // Who says nothing more is not waited for: the connection is closed without a word, or with one.
        (format!("GET / HTTP/1.1\r\n{host}"), [0, 408]),
    ] {
        let reply = listening.send(&request);
        assert!(
            statuses.contains(&reply.status),
            "{} {}",
            reply.status,
            &request[..40]
        );
    }
    // It goes on after all that.
    assert_eq!(listening.get("/healthz").status, 200);
}

// AGENT-89: whoever says nothing, or reads slowly, keeps nobody else out.
#[test]
fn who_takes_all_connections_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("build.log");
    // More than buffers on the way have room for.
    let log = fs::File::create(&file).expect("a file can be made");
    log.set_len(32 * 1024 * 1024).expect("it can be long");
    let board = busy();
    board.log_is("j3", file);
    let listening = listen(&board, &Progress::new(), &[]);
    let connect = || {
        let stream = TcpStream::connect(listening.address).expect("it listens");
        let limit = stream.set_read_timeout(Some(wait::LIMIT));
        limit.expect("a limit can be set");
        stream
    };
    let mut first = [0];
    let mut readers: Vec<TcpStream> = Vec::new();
    for _ in 0..63 {
        let mut reader = connect();
        let request = b"GET /builds/j3/log HTTP/1.1\r\nHost: localhost\r\n\r\n";
        reader.write_all(request).expect("it listens");
        reader.read_exact(&mut first).expect("it answers");
        readers.push(reader);
    }
    let mut silent = connect();
    assert_eq!(listening.get("/healthz").status, 200);
    assert_eq!(silent.read(&mut first).unwrap_or_default(), 0);
    // All of them read: the one that has had the most time goes.
    let mut reader = connect();
    let request = b"GET /builds/j3/log HTTP/1.1\r\nHost: localhost\r\n\r\n";
    reader.write_all(request).expect("it listens");
    reader.read_exact(&mut first).expect("it answers");
    readers.push(reader);
    assert_eq!(listening.get("/healthz").status, 200);
    let read = |mut reader: TcpStream| {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        bytes.len()
    };
    let last = readers.pop().expect("there are some");
    assert!(read(last) > 32 * 1024 * 1024);
    assert!(read(readers.remove(0)) < 32 * 1024 * 1024);
}

// AGENT-89
#[test]
fn no_answer_may_be_kept_framed_guessed_or_run() {
    let listening = listen(&busy(), &Progress::new(), &[]);
    for path in [
        "/",
        "/healthz",
        "/status.json",
        "/metrics",
        "/builds/j3",
        "/badge/web.svg",
        "/none",
    ] {
        let reply = listening.get(path);
        for header in [
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "content-security-policy: default-src 'none';",
        ] {
            assert!(
                reply.head.contains(header),
                "{path}: no {header} in\n{}",
                reply.head
            );
        }
        assert!(!reply.head.contains("access-control-allow"), "{path}");
    }
    let head = listening.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

// AGENT-83 AGENT-84
#[test]
fn health_is_about_progress_and_readiness_about_jobs() {
    let board = board(1, 10);
    let progress = Progress::new();
    let listening = listen(&board, &progress, &[]);
    let ask = || {
        let (health, readiness) = (listening.get("/healthz"), listening.get("/readyz"));
        format!(
            "{} {} · {} {}",
            health.status,
            health.body.trim_end(),
            readiness.status,
            readiness.body.trim_end()
        )
    };
    assert_eq!(ask(), "200 ok · 503 starting");
    board.turn_to(State::Polling);
    assert_eq!(ask(), "200 ok · 503 not polled yet");
    board.polled(at(1));
    assert_eq!(ask(), "200 ok · 200 ready");
    board.poll_failed("the security token is expired", at(2));
    assert_eq!(
        ask(),
        "200 ok · 503 polling fails: the security token is expired"
    );
    board.polled(at(3));
    board.turn_to(State::NoRoom(
        "1.2GiB free below /var/lib/runner".to_owned(),
    ));
    assert_eq!(
        ask(),
        "200 ok · 503 no jobs are taken: 1.2GiB free below /var/lib/runner"
    );
    board.turn_to(State::Draining);
    assert_eq!(ask(), "200 ok · 503 draining");
    board.turn_to(State::Stopping);
    assert_eq!(ask(), "200 ok · 503 stopping");
    board.turn_to(State::Polling);
    // A loop that came round, and one that did not.
    let now = Instant::now();
    let long_ago = now
        .checked_sub(LONGEST_ROUND * 2)
        .expect("the machine is up for minutes");
    let _poll = progress.begin("poll", now);
    let job = progress.begin("job j1", long_ago);
    assert_eq!(ask(), "503 stuck: job j1 · 503 stuck: job j1");
    job.beat(now);
    assert_eq!(ask(), "200 ok · 200 ready");
    job.beat(long_ago);
    drop(job);
    assert_eq!(ask(), "200 ok · 200 ready");
}

// AGENT-85
#[test]
fn the_board_is_there_for_programs() {
    let board = busy();
    board.finished(
        "j3",
        Status::Failed,
        Some("COMMAND_EXECUTION_ERROR: it broke"),
        at(40),
    );
    let status = listen(&board, &Progress::new(), &[]).get("/status.json");
    assert!(
        status.head.contains("content-type: application/json"),
        "{}",
        status.head
    );
    let status: serde_json::Value = serde_json::from_str(&status.body).expect("it is JSON");
    for (place, expected) in [
        ("/format", json!(1)),
        ("/name", json!("machine-1")),
        ("/actionType", json!("Build/Runner/1")),
        ("/state", json!("polling")),
        ("/reason", json!(null)),
        ("/stuck", json!([])),
        ("/slots", json!(3)),
        ("/freeSlots", json!(3)),
        ("/startTime", json!("2025-05-06T09:10:00.000Z")),
        ("/counters/jobsTaken", json!(3)),
        ("/counters/buildsFailed", json!(2)),
        ("/running", json!([])),
        ("/finished/0/buildId", json!("web:0f8fad5b")),
        (
            "/finished/0/message",
            json!("COMMAND_EXECUTION_ERROR: it broke"),
        ),
        ("/finished/1/jobId", json!("j2")),
        ("/finished/1/pipeline", json!("web-pipeline")),
        ("/finished/1/pipelineExecutionId", json!("6a1c")),
        ("/finished/1/buildStatus", json!("FAILED")),
        ("/finished/1/endTime", json!("2025-05-06T09:10:22.000Z")),
        ("/finished/1/durationSeconds", json!(2.0)),
        ("/finished/1/phases/0/phase", json!("BUILD")),
        ("/finished/1/phases/0/durationSeconds", json!(1.5)),
    ] {
        assert_eq!(status.pointer(place), Some(&expected), "{place}");
    }
}

/// Samples of Prometheus' text format by name and labels as written; fails where it is none.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut helped, mut typed) = (String::new(), String::new());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name)) => {
                assert!(!text[..text.find(line).unwrap_or(0)].contains(&format!("{line}\n")));
                name.clone_into(&mut helped);
            }
            (Some("#"), Some("TYPE"), Some(name)) => {
                assert_eq!(name, helped, "TYPE follows its HELP");
                let kind = words.next().unwrap_or_default();
                assert!(["gauge", "counter"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                name.clone_into(&mut typed);
            }
            _ => {
                let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
                assert_eq!(name.split('{').next(), Some(typed.as_str()), "{line}");
                let value = value.parse().expect("a value is a number");
                assert_eq!(samples.insert(name.to_owned(), value), None, "{line}");
            }
        }
    }
    assert!(text.ends_with('\n'));
    samples
}

// AGENT-86
#[test]
fn the_board_is_there_for_prometheus() {
    let board = busy();
    board.taken(job("j4", "a\"b\\c\nd"), at(30));
    board.count(Counter::LogEventsQueued, 7);
    let reply = listen(&board, &Progress::new(), &[]).get("/metrics");
    assert!(
        reply
            .head
            .contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        reply.head
    );
    let samples = samples(&reply.body);
    for (name, value) in [
        ("runner_agent_slots", 3.0),
        ("runner_agent_slots_free", 1.0),
        ("runner_agent_state{state=\"polling\"}", 1.0),
        ("runner_agent_state{state=\"draining\"}", 0.0),
        ("runner_agent_polls_total{result=\"answered\"}", 1.0),
        ("runner_agent_jobs_total{result=\"taken\"}", 4.0),
        ("runner_agent_builds_total{status=\"SUCCEEDED\"}", 1.0),
        ("runner_agent_builds_total{status=\"FAILED\"}", 1.0),
        ("runner_agent_builds_total{status=\"TIMED_OUT\"}", 0.0),
        ("runner_agent_build_seconds_total", 4.0),
        ("runner_agent_answer_retries_total", 0.0),
        ("runner_agent_log_events_waiting", 7.0),
        ("process_start_time_seconds", 1_746_522_600.0),
    ] {
        assert_eq!(
            samples.get(name).copied(),
            Some(value),
            "{name} in\n{}",
            reply.body
        );
    }
    let odd = "runner_agent_build_start_timestamp_seconds{build_id=\"j4\",pipeline=\"web-pipeline\",action=\"Compile\",project=\"a\\\"b\\\\c\\nd\",activity=\"preparing\",phase=\"\"}";
    assert!(samples.contains_key(odd), "{}", reply.body);
    assert!(samples["process_resident_memory_bytes"] > 0.0 && samples["process_open_fds"] > 0.0);
}

// AGENT-66, AGENT-87
#[test]
fn pages_show_everything_escaped_and_load_nothing() {
    let board = busy();
    let evil = "<script>alert('x')</script>";
    board.taken(job("j5", evil), at(30));
    board.finished("j5", Status::Failed, Some(evil), at(31));
    board.poll_failed(evil, at(32));
    board.sending("logs to CloudWatch Logs", Some(evil));
    let listening = listen(&board, &Progress::new(), &[]);
    let page = listening.get("/");
    assert!(
        page.head.contains("content-type: text/html; charset=utf-8"),
        "{}",
        page.head
    );
    for text in [
        "machine-1",
        "Build/Runner/1",
        "Could not send logs to CloudWatch Logs: &lt;script&gt;",
        "http-equiv=\"refresh\"",
        "href=\"/builds/web:0f8fad5b\"",
        "href=\"/builds/api:uuid-of-j2\"",
        "<span class=\"live\">BUILD</span>",
        "FAILED",
        "prefers-color-scheme:dark",
        "&lt;script&gt;",
    ] {
        assert!(page.body.contains(text), "no {text}");
    }
    let build = listening.get("/builds/j5");
    for (name, page) in [("/", &page.body), ("/builds/j5", &build.body)] {
        for text in [
            "<script", "http://", "https://", "url(", "@import", "<link", "<iframe",
        ] {
            assert!(!page.contains(text), "{name} has {text}");
        }
    }
    // What is over does not change.
    assert!(!build.body.contains("http-equiv=\"refresh\""));
    assert!(
        listening
            .get("/builds/web:0f8fad5b")
            .body
            .contains("http-equiv=\"refresh\"")
    );
    for path in [
        "/builds/",
        "/builds/none",
        "/builds/j1/none",
        "/builds/j1/log",
        "/none",
        "/builds",
        "/builds/%ff",
    ] {
        assert_eq!(listening.get(path).status, 404, "{path}");
    }
}

// AGENT-87
#[test]
fn a_build_has_its_log_on_its_page() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("build.log");
    let board = busy();
    board.log_is("j3", file.clone());
    let listening = listen(&board, &Progress::new(), &[]);
    let page = || listening.get("/builds/0f8fad5b").body;
    assert!(page().contains("Nothing was written yet"));
    assert!(!page().contains("/log\""));
    // Who reads a log that grows can have it hold still.
    assert!(page().contains("href=\"/builds/web:0f8fad5b/still\""));
    let still = listening.get("/builds/web:0f8fad5b/still").body;
    assert!(!still.contains("http-equiv=\"refresh\""));
    assert!(still.contains("href=\"/builds/web:0f8fad5b\">follow</a>"));
    fs::write(&file, "one\r\n\u{1b}[31mred\u{1b}[0m <b>\n10%\r20%\n")
        .expect("a file can be written");
    assert!(
        page().contains("<pre>one\nred &lt;b&gt;\n10%\n20%\n</pre>"),
        "{}",
        page()
    );
    let whole = listening.get("/builds/0f8fad5b/log");
    assert!(
        whole
            .head
            .contains("content-type: text/plain; charset=utf-8"),
        "{}",
        whole.head
    );
    assert_eq!(whole.body, "one\r\n\u{1b}[31mred\u{1b}[0m <b>\n10%\r20%\n");
    // Of a long one the page has the end, in whole lines.
    let line = format!("{}\n", "é".repeat(50));
    fs::write(&file, format!("first\n{}last\n", line.repeat(10_000)))
        .expect("a file can be written");
    let long = page();
    assert!(
        long.len() < 200 * 1024 && !long.contains("first\n"),
        "{}",
        long.len()
    );
    assert!(long.contains(&format!("<pre>{line}")) && long.contains("last\n</pre>"));
    assert!(long.contains("before this are not shown here"));
    let whole = listening.get("/builds/j3/log").body;
    assert_eq!(
        (whole.len(), whole.lines().count()),
        (6 + 5 + 101 * 10_000, 10_002)
    );
    // It may go before the build is forgotten.
    board.finished("j3", Status::Failed, None, at(40));
    fs::remove_file(&file).expect("it is there");
    assert!(page().contains("This log is not kept any more"));
    assert_eq!(listening.get("/builds/j3/log").status, 404);
}

// AGENT-88
#[test]
fn badges_say_how_it_ended() {
    let listening = listen(&busy(), &Progress::new(), &[]);
    for (path, status, word) in [
        ("/badge/api.svg", 200, "failing"),
        ("/badge/web.svg", 200, "passing"),
        ("/badge/none.svg", 200, "unknown"),
        ("/badge/%3Cscript%3E.svg", 200, "unknown"),
        ("/builds/j1/badge.svg", 200, "passing"),
        ("/builds/j3/badge.svg", 200, "running"),
        ("/builds/none/badge.svg", 200, "unknown"),
    ] {
        let badge = listening.get(path);
        assert_eq!(badge.status, status, "{path}");
        assert!(badge.head.contains("content-type: image/svg+xml"), "{path}");
        assert!(
            badge
                .body
                .contains(&format!("<title>build: {word}</title>")),
            "{path}: {}",
            badge.body
        );
        assert!(
            badge.body.starts_with("<svg ") && !badge.body.contains("script"),
            "{path}"
        );
    }
}

/// A socket as systemd has it, and what an environment says of it.
fn systemd(directory: &tempfile::TempDir, is_abstract: bool) -> (UnixDatagram, Environment) {
    let path = directory.path().join("notify");
    let (address, name) = if is_abstract {
        let name = format!("runner-test-{}", directory.path().display());
        let address = UnixAddress::from_abstract_name(&name).expect("it is a name");
        (address, OsString::from(format!("@{name}")))
    } else {
        let address = UnixAddress::from_pathname(&path).expect("it is a path");
        (address, path.into_os_string())
    };
    let socket = UnixDatagram::bind_addr(&address).expect("a socket can be made");
    socket
        .set_read_timeout(Some(wait::LIMIT))
        .expect("a limit can be set");
    let environment = Environment {
        socket: Some(name),
        watchdog: Some("30000000".into()),
        watchdog_pid: Some("42".into()),
    };
    (socket, environment)
}

fn heard(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).expect("something is said");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

// AGENT-90 AGENT-92
#[test]
fn systemd_is_told_what_the_agent_does() {
    for is_abstract in [false, true] {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let (socket, environment) = systemd(&directory, is_abstract);
        let notifier = Notifier::new(&environment, 42).expect("it is a socket");
        notifier.ready("polls for Build/Runner/1");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=polls for Build/Runner/1");
        // Another line would be another message.
        notifier.status("one\nREADY=0");
        assert_eq!(heard(&socket), "STATUS=one READY=0");
        notifier.status(&"ä".repeat(1000));
        assert_eq!(heard(&socket).len(), "STATUS=".len() + 500);
        notifier.reloading();
        let said = heard(&socket);
        let micros = said
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .expect("it says when");
        assert!(
            micros.parse::<u64>().is_ok_and(|micros| micros > 0),
            "{said}"
        );
        notifier.stopping("waits for 2 builds");
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=waits for 2 builds");
        // Nobody there any more is no failure.
        drop(socket);
        notifier.status("on");
    }
}

// AGENT-90
#[test]
fn what_is_new_on_the_board_is_said_once() {
    let board = board(2, 10);
    let mut said = Said::default();
    let mut next = |change: &dyn Fn(&Board)| {
        change(&board);
        said.next(&board.snapshot())
    };
    let polls = |rest: &str| format!("polls for Build/Runner/1 with 2 slots; {rest}");
    assert_eq!(next(&|_| {}), None);
    assert_eq!(
        next(&|board| board.turn_to(State::Polling)),
        Some(Say::Ready(polls("nothing runs")))
    );
    assert_eq!(next(&|board| board.polled(at(1))), None);
    assert_eq!(
        next(&|board| board.taken(job("j1", "web"), at(1))),
        Some(Say::Status(polls("1 build runs")))
    );
    assert_eq!(
        next(&|board| board.job_turns_to("j1", Activity::Building, at(2))),
        None
    );
    let failed = "polling for Build/Runner/1 fails: throttled; 1 build runs".to_owned();
    assert_eq!(
        next(&|board| board.poll_failed("throttled", at(3))),
        Some(Say::Status(failed))
    );
    assert_eq!(
        next(&|board| board.polled(at(4))),
        Some(Say::Status(polls("1 build runs")))
    );
    let full = "takes no jobs: the disk is full; 1 build runs".to_owned();
    assert_eq!(
        next(&|board| board.turn_to(State::NoRoom("the disk is full".to_owned()))),
        Some(Say::Status(full))
    );
    let draining = "takes no more jobs; 1 build runs".to_owned();
    assert_eq!(
        next(&|board| board.turn_to(State::Draining)),
        Some(Say::Stopping(draining))
    );
    let over = "takes no more jobs; nothing runs".to_owned();
    let finish = |board: &Board| board.finished("j1", Status::Succeeded, None, at(9));
    assert_eq!(next(&finish), Some(Say::Status(over)));
    assert_eq!(next(&|_| {}), None);
}

// AGENT-91
#[test]
fn the_watchdog_is_fed_by_progress_alone() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (socket, environment) = systemd(&directory, false);
    let notifier = Notifier::new(&environment, 42).expect("it is a socket");
    assert_eq!(notifier.watchdog(), Some(Duration::from_secs(30)));
    let progress = Progress::new();
    let start = Instant::now();
    let (poll, job) = (
        progress.begin("poll", start),
        progress.begin("job j1", start),
    );
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(notifier.feed_once(&progress, after(30)));
    assert_eq!(heard(&socket), "WATCHDOG=1");
    poll.beat(after(30));
    assert!(!notifier.feed_once(&progress, after(31)));
    assert_eq!(heard(&socket), "STATUS=stuck: job j1");
    assert!(!notifier.feed_once(&progress, after(61)));
    assert_eq!(heard(&socket), "STATUS=stuck: poll, job j1");
    // A job that is over has no rounds to come.
    poll.beat(after(61));
    drop(job);
    assert!(notifier.feed_once(&progress, after(62)));
    assert_eq!(heard(&socket), "WATCHDOG=1");
}

// AGENT-91
#[test]
fn the_watchdog_is_fed_again_and_again() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (socket, mut environment) = systemd(&directory, false);
    environment.watchdog = Some("3000".into());
    let notifier = Notifier::new(&environment, 42).expect("it is a socket");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let progress = Progress::new();
    let feeding = runtime.spawn(async move { notifier.feed(&progress).await });
    for _ in 0..3 {
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }
    feeding.abort();
}

// AGENT-90 AGENT-91
#[test]
fn nothing_is_said_where_nobody_listens() {
    let silent = |environment: &Environment| {
        let notifier = Notifier::new(environment, 42).expect("there is nothing to use");
        notifier.ready("up");
        notifier.watchdog()
    };
    let none = Environment::default();
    assert_eq!(silent(&none), None);
    let empty = Environment {
        socket: Some(OsString::new()),
        ..Environment::default()
    };
    assert_eq!(silent(&empty), None);
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (_socket, environment) = systemd(&directory, false);
    for (watchdog, pid, expected) in [
        (Some("30000000"), None, Some(Duration::from_secs(30))),
        (Some("30000000"), Some("42"), Some(Duration::from_secs(30))),
        // Meant for another process, such as a parent.
        (Some("30000000"), Some("41"), None),
        (Some("30000000"), Some("x"), None),
        (Some("0"), None, None),
        (Some("soon"), None, None),
        (None, None, None),
    ] {
        let environment = Environment {
            socket: environment.socket.clone(),
            watchdog: watchdog.map(Into::into),
            watchdog_pid: pid.map(Into::into),
        };
        assert_eq!(silent(&environment), expected, "{watchdog:?} {pid:?}");
    }
    for name in ["relative/path", "@", "vsock:2:1"] {
        let environment = Environment {
            socket: Some(name.into()),
            ..Environment::default()
        };
        let error = Notifier::new(&environment, 42)
            .expect_err("it is no name")
            .to_string();
        assert_eq!(
            error,
            format!("NOTIFY_SOCKET is `{name}`: expected an absolute path, or @ and a name")
        );
    }
}
