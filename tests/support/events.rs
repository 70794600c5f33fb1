//! The events of a build, as JSON Lines and as a person reads them.

use std::time::{Duration, SystemTime};

use buildspec_runner::event::{
    BreakpointLeft, BreakpointReached, BuildStarted, CacheEvent, CommandStarted, Event, EventKind,
    Exit, Grammar, Retried, SourceReady,
};
use buildspec_runner::phase::{CommandPhase, Phase, RetryScope, Status};
use buildspec_runner::plan::CommandList;
use buildspec_runner::source::LineColumn;
use serde_json::Value;

/// The events of a file.
pub(crate) fn parse(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Fails unless the stream is a whole sentence of the grammar (EVENT-2). Every stream of every case comes through here.
pub(crate) fn check_grammar(events: &[Value]) {
    let mut grammar = Grammar::default();
    for event in events {
        let event = as_event(event);
        grammar
            .accept(&event)
            .unwrap_or_else(|problem| panic!("{problem} in {events:#?}"));
    }
    assert!(grammar.is_complete(), "the stream has no end");
}

/// As much of an event as its grammar looks at.
fn as_event(event: &Value) -> Event {
    let phase = || phase(event["phase"].as_str().unwrap_or_default());
    let nothing = Duration::ZERO;
    let kind = match event["event"].as_str().unwrap_or_default() {
        "build-started" => EventKind::BuildStarted(BuildStarted {
            build_id: String::new(),
            project: String::new(),
            build_number: 0,
            executor: "",
            runner_version: "",
        }),
        "phase-started" => EventKind::PhaseStarted { phase: phase() },
        "phase-finished" => EventKind::PhaseFinished {
            phase: phase(),
            status: Status::Succeeded,
            aborted: false,
            contexts: Vec::new(),
            duration: nothing,
        },
        "source-ready"
        | "buildspec-found"
        | "buildspec-read"
        | "runtime-selected"
        | "runtime-not-overridden"
        | "runtimes-skipped" => EventKind::SourceReady(SourceReady::default()),
        "command-started" => EventKind::CommandStarted(CommandStarted {
            phase: CommandPhase::ALL
                .into_iter()
                .find(|command| command.phase() == phase())
                .expect("a command phase"),
            list: CommandList::Commands,
            index: 0,
            text: String::new(),
            place: LineColumn { line: 1, column: 1 },
        }),
        "command-finished" => EventKind::CommandFinished {
            exit: Exit::Exited(0),
            duration: nothing,
            leaked: false,
        },
        "output" => EventKind::Output { bytes: Vec::new() },
        "build-retried" => EventKind::Retried(Retried {
            phase: CommandPhase::Build,
            scope: RetryScope::Build,
            retry: 1,
            most: 1,
        }),
        "exported-variables" => EventKind::ExportedVariables(Vec::new()),
        name if name.starts_with("cache-") => EventKind::Cache(CacheEvent::Fetched),
        "breakpoint-reached" => EventKind::BreakpointReached(BreakpointReached {
            breakpoint: event["breakpoint"].as_u64().unwrap_or_default(),
            build: String::new(),
            at_terminal: false,
        }),
        "breakpoint-left" => EventKind::BreakpointLeft(BreakpointLeft {
            breakpoint: event["breakpoint"].as_u64().unwrap_or_default(),
            resumed: true,
            duration: nothing,
        }),
        "warning" | "stop-requested" => {
            EventKind::Warning(buildspec_runner::event::Warning::new(String::new()))
        }
        "build-finished" => EventKind::BuildFinished {
            status: Status::Succeeded,
            duration: nothing,
        },
        name if ["artifact-", "report-", "reports-"]
            .iter()
            .any(|begin| name.starts_with(begin)) =>
        {
            EventKind::ReportsDiscovered {
                pattern: String::new(),
                files: 0,
                duration: nothing,
            }
        }
        name => panic!("an event of no known kind: {name}"),
    };
    Event {
        sequence: event["sequence"].as_u64().expect("a sequence number"),
        time: SystemTime::UNIX_EPOCH,
        kind,
    }
}

fn phase(name: &str) -> Phase {
    let all = [
        Phase::DownloadSource,
        Phase::Install,
        Phase::PreBuild,
        Phase::Build,
        Phase::PostBuild,
        Phase::UploadArtifacts,
    ];
    all.into_iter()
        .find(|phase| phase.name() == name)
        .unwrap_or_else(|| panic!("an unknown phase: {name}"))
}

/// One line an event, without output and progress, which are cut anywhere, and without what changes from run to run.
pub(crate) fn summary(events: &[Value]) -> String {
    let mut text = String::new();
    for event in events {
        let name = event["event"].as_str().unwrap_or_default();
        if matches!(name, "output" | "artifact-progress") {
            continue;
        }
        text.push_str(name);
        for (key, value) in event.as_object().expect("an event is an object") {
            let changes = matches!(
                key.as_str(),
                "sequence"
                    | "time"
                    | "event"
                    | "durationSeconds"
                    | "directory"
                    | "location"
                    | "buildId"
                    | "runnerVersion"
                    | "archiveBytes"
            );
            if !changes && !value.is_null() {
                text.push_str(&format!(" {key}={value}"));
            }
        }
        text.push('\n');
    }
    text
}

/// How the build ended: status, phases with their contexts, exit code.
pub(crate) fn outcome(events: &[Value], code: i32) -> String {
    let mut text = String::new();
    for event in events {
        match event["event"].as_str() {
            Some("phase-finished") => {
                text.push_str(&format!(
                    "{} {}",
                    field(event, "phase"),
                    field(event, "phaseStatus")
                ));
                for context in event["contexts"].as_array().into_iter().flatten() {
                    text.push_str(&format!(
                        " [{}] {}",
                        field(context, "statusCode"),
                        field(context, "message")
                    ));
                }
                text.push('\n');
            }
            Some("build-finished") => {
                text.push_str(&format!("build {}\n", field(event, "buildStatus")));
            }
            _ => {}
        }
    }
    text.push_str(&format!("exit code {code}\n"));
    text
}

fn field(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
