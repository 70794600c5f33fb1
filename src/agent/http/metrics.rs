//! `/metrics`: the board in Prometheus' text format, version 0.0.4 (AGENT-86).

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use crate::agent::board::{Counter, Snapshot, State};

/// What it is.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the system says of this process; nothing where it does not say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    resident: Option<u64>,
    descriptors: Option<u64>,
}

impl Process {
    pub(super) async fn read() -> Self {
        // Both are the kernel's to answer, at once: no disk is asked.
        Self {
            resident: tokio::fs::read_to_string("/proc/self/status")
                .await
                .ok()
                .and_then(|text| resident(&text)),
            descriptors: descriptors().await,
        }
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

async fn descriptors() -> Option<u64> {
    let mut entries = tokio::fs::read_dir("/proc/self/fd").await.ok()?;
    let mut count = 0;
    while entries.next_entry().await.ok()?.is_some() {
        count += 1;
    }
    // One of them is the directory that was read.
    Some(count - 1)
}

/// Families one after the other.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }

    /// A family with one sample.
    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// A family of counters that differ in one label.
    fn counters(
        &mut self,
        board: &Snapshot,
        name: &str,
        help: &str,
        label: &str,
        rows: &[(&str, Counter)],
    ) {
        self.family(name, "counter", help);
        for (text, counter) in rows {
            let labels = [(label, *text)];
            let labels = if text.is_empty() {
                &[][..]
            } else {
                &labels[..]
            };
            self.sample(name, labels, board.counters.of(*counter));
        }
    }
}

/// All families.
pub(super) fn text(board: &Snapshot, process: &Process) -> String {
    let mut text = Text(String::new());
    about(board, &mut text);
    counted(board, &mut text);
    running(board, &mut text);
    own(board, process, &mut text);
    text.0
}

fn about(board: &Snapshot, text: &mut Text) {
    let about = &board.about;
    text.family("runner_agent_info", "gauge", "The agent: always 1.");
    let labels = [
        ("name", about.name.as_str()),
        ("version", about.version),
        ("action_type", &about.action_type),
        ("region", &about.region),
    ];
    text.sample("runner_agent_info", &labels, 1);
    text.family(
        "runner_agent_state",
        "gauge",
        "What the agent is about: 1 for one state, 0 for the others.",
    );
    let all = [
        State::Starting,
        State::Polling,
        State::NoRoom(String::new()),
        State::Draining,
        State::Stopping,
    ];
    for state in all {
        let is_now = u8::from(state.word() == board.state.word());
        text.sample("runner_agent_state", &[("state", state.word())], is_now);
    }
    text.gauge(
        "runner_agent_slots",
        "Builds that may run at the same time.",
        board.slots,
    );
    text.gauge(
        "runner_agent_slots_free",
        "Slots without a build.",
        board.free(),
    );
    if let Some(polled) = board.polled {
        text.gauge(
            "runner_agent_last_poll_timestamp_seconds",
            "When a poll was last answered.",
            unix(polled),
        );
    }
}

fn counted(board: &Snapshot, text: &mut Text) {
    text.counters(
        board,
        "runner_agent_polls_total",
        "Polls, by what came of them.",
        "result",
        &[
            ("answered", Counter::Polls),
            ("failed", Counter::PollFailures),
        ],
    );
    text.counters(
        board,
        "runner_agent_jobs_total",
        "Jobs, by what became of them.",
        "result",
        &[
            ("taken", Counter::JobsTaken),
            ("dropped", Counter::JobsDropped),
            ("refused", Counter::JobsRefused),
        ],
    );
    text.counters(
        board,
        "runner_agent_builds_total",
        "Builds that are over, by their status.",
        "status",
        &[
            ("SUCCEEDED", Counter::Succeeded),
            ("FAILED", Counter::Failed),
            ("FAULT", Counter::Faulted),
            ("TIMED_OUT", Counter::TimedOut),
            ("STOPPED", Counter::Stopped),
        ],
    );
    text.family(
        "runner_agent_build_seconds_total",
        "counter",
        "Time that builds that are over took, from job to answer.",
    );
    text.sample(
        "runner_agent_build_seconds_total",
        &[],
        board.build_time.as_secs_f64(),
    );
    text.counters(
        board,
        "runner_agent_answer_retries_total",
        "Answers that had to be given again.",
        "",
        &[("", Counter::AnswerRetries)],
    );
    text.counters(
        board,
        "runner_agent_answers_refused_total",
        "Answers that CodePipeline did not want any more.",
        "",
        &[("", Counter::AnswersRefused)],
    );
    text.counters(
        board,
        "runner_agent_artifact_bytes_total",
        "Bytes of artifacts.",
        "direction",
        &[
            ("input", Counter::InputBytes),
            ("output", Counter::OutputBytes),
        ],
    );
    text.counters(
        board,
        "runner_agent_log_events_total",
        "Log events for CloudWatch Logs, by what became of them.",
        "result",
        &[
            ("queued", Counter::LogEventsQueued),
            ("sent", Counter::LogEventsSent),
            ("lost", Counter::LogEventsLost),
        ],
    );
    text.counters(
        board,
        "runner_agent_builds_removed_total",
        "Builds whose logs were removed before their time for want of room.",
        "",
        &[("", Counter::BuildsRemoved)],
    );
    text.gauge(
        "runner_agent_log_events_waiting",
        "Log events that wait to be sent.",
        board.log_backlog(),
    );
}

fn running(board: &Snapshot, text: &mut Text) {
    let name = "runner_agent_build_start_timestamp_seconds";
    text.family(
        name,
        "gauge",
        "When the job of a build that goes on was taken.",
    );
    for build in &board.running {
        let phase = build.phase().map_or("", |row| row.phase.name());
        let labels = [
            ("build_id", build.name()),
            ("pipeline", &build.job.pipeline),
            ("action", &build.job.action),
            ("project", &build.job.project),
            ("activity", build.activity.word()),
            ("phase", phase),
        ];
        text.sample(name, &labels, unix(build.taken));
    }
}

fn own(board: &Snapshot, process: &Process, text: &mut Text) {
    text.gauge(
        "process_start_time_seconds",
        "When the agent started.",
        unix(board.about.since),
    );
    if let Some(resident) = process.resident {
        text.gauge(
            "process_resident_memory_bytes",
            "Memory of the agent itself, without its builds.",
            resident,
        );
    }
    if let Some(descriptors) = process.descriptors {
        text.gauge(
            "process_open_fds",
            "File descriptors of the agent itself.",
            descriptors,
        );
    }
}

/// Seconds since 1970.
fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs_f64()
}
