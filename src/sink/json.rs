//! Events for programs: JSON Lines (EVENT-1).
//!
//! The structs here are the form that crosses the boundary; `spec/events.md` describes each field. They are written for
//! readers, and change only with [`crate::event::FORMAT`].

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Sink, report};
use crate::event::{
    ArtifactStage, BuildspecRead, DirectorySelection, Event, EventKind, Exit, FORMAT,
    RuntimesNamed, SourceReady, StopReason,
};
use crate::phase::{Blame, PhaseContext};
use crate::plan::SourceKind;
use crate::runtime::{Choice, Reason};

/// Sources that are from a git repository.
pub(super) const GIT: &str = "GIT";
/// Sources that are from one of CodeCommit.
pub(super) const CODECOMMIT: &str = "CODECOMMIT";
/// Runtimes are what the machine has.
pub(super) const OF_MACHINE: &str = "machine";
/// Runtimes are selected among those of the image.
pub(super) const OF_IMAGE: &str = "image";

/// Writes one JSON object a line.
pub struct JsonLines<W> {
    writer: W,
    name: String,
}

impl<W: Write + Send> JsonLines<W> {
    /// Lines to this writer; `name` says what it is if it fails.
    pub fn new(writer: W, name: impl Into<String>) -> Self {
        Self {
            writer,
            name: name.into(),
        }
    }
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.writer, &event_json(event))?;
        self.writer.write_all(b"\n")?;
        self.writer.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// One event as JSON.
#[must_use]
pub fn event_json(event: &Event) -> Value {
    let (name, fields) = kind_json(&event.kind);
    let mut object = Map::new();
    object.insert("sequence".to_owned(), json!(event.sequence));
    object.insert("time".to_owned(), json!(rfc3339(event.time)));
    object.insert("event".to_owned(), json!(name));
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object)
}

fn source_json(source: &SourceReady) -> Value {
    let mut fields = json!({ "directory": source.directory });
    if let Some(identifier) = &source.identifier {
        fields["identifier"] = json!(identifier);
    }
    let kind = match source.kind {
        SourceKind::S3 => return fields,
        SourceKind::Git => GIT,
        SourceKind::CodeCommit => CODECOMMIT,
    };
    fields["sourceType"] = json!(kind);
    fields
}

fn buildspec_json(read: &BuildspecRead) -> Value {
    let phases: Vec<Value> = read
        .phases
        .iter()
        .map(|(phase, commands)| json!({ "phase": phase.phase().name(), "commands": commands }))
        .collect();
    let unrecognized: Vec<Value> = read
        .unrecognized
        .iter()
        .map(|(section, keys)| json!({ "section": section, "keys": keys }))
        .collect();
    let mut fields = json!({
        "version": read.version,
        "shell": read.shell,
        "phases": phases,
        "unrecognizedKeys": unrecognized,
    });
    match read.runtimes {
        RuntimesNamed::None => {}
        RuntimesNamed::OfMachine => fields["runtimes"] = json!(OF_MACHINE),
        RuntimesNamed::OfImage => fields["runtimes"] = json!(OF_IMAGE),
    }
    for (name, is_so) in [
        ("hasCache", read.has_cache),
        ("hasParameters", read.has_parameters),
        ("hasFetchedValues", read.has_fetched),
        ("uploadsThroughProxy", read.proxy.uploads),
        ("logsThroughProxy", read.proxy.logs),
    ] {
        if is_so {
            fields[name] = json!(true);
        }
    }
    fields
}

fn kind_json(kind: &EventKind) -> (&'static str, Value) {
    match kind {
        EventKind::BuildStarted(started) => (
            "build-started",
            json!({
                "format": FORMAT,
                "buildId": started.build_id,
                "projectName": started.project,
                "buildNumber": started.build_number,
                "executor": started.executor,
                "runnerVersion": started.runner_version,
            }),
        ),
        EventKind::PhaseStarted { phase } => ("phase-started", json!({ "phase": phase.name() })),
        EventKind::SourceReady(source) => ("source-ready", source_json(source)),
        EventKind::BuildspecFound { location } => {
            ("buildspec-found", json!({ "location": location }))
        }
        EventKind::BuildspecRead(read) => ("buildspec-read", buildspec_json(read)),
        EventKind::RuntimeChosen(choice) => runtime_json(choice),
        EventKind::RuntimesSkipped => ("runtimes-skipped", json!({})),
        EventKind::CommandStarted(command) => (
            "command-started",
            json!({
                "phase": command.phase.phase().name(),
                "list": command.list.key(),
                "index": command.index,
                "command": command.text,
                "line": command.place.line,
                "column": command.place.column,
            }),
        ),
        EventKind::Output { bytes } => ("output", output_json(bytes)),
        EventKind::CommandFinished {
            exit,
            duration,
            leaked,
        } => {
            let (status, signal) = match exit {
                Exit::Exited(status) => (Some(status), None),
                Exit::Signalled(signal) => (None, Some(signal)),
                Exit::Unknown => (None, None),
            };
            (
                "command-finished",
                json!({
                    "exitStatus": status,
                    "signal": signal,
                    "durationSeconds": seconds(*duration),
                    "leftProcesses": leaked,
                }),
            )
        }
        EventKind::PhaseFinished {
            phase,
            status,
            aborted,
            contexts,
            duration,
        } => (
            "phase-finished",
            json!({
                "phase": phase.name(),
                "phaseStatus": status.name(),
                "aborted": aborted,
                "contexts": contexts.iter().map(context_json).collect::<Vec<_>>(),
                "durationSeconds": seconds(*duration),
            }),
        ),
        EventKind::ArtifactSelected(_)
        | EventKind::ArtifactProgress(_)
        | EventKind::ArtifactFileStored { .. }
        | EventKind::ArtifactStored(_) => artifact_json(kind),
        EventKind::ReportsDiscovered {
            pattern,
            files,
            duration,
        } => report::discovered_json(pattern, *files, *duration),
        EventKind::ReportSelected(selected) => report::selected_json(selected),
        EventKind::ReportCollected(collected) => report::collected_json(collected),
        EventKind::ReportsWritten(written) => report::written_json(written),
        EventKind::Retried(_) | EventKind::ExportedVariables(_) => between_phases_json(kind),
        EventKind::Cache(event) => super::cache::event_json(event),
        EventKind::Warning(warning) => (
            "warning",
            json!({
                "message": warning.message,
                "help": warning.help,
                "line": warning.place.map(|place| place.line),
                "column": warning.place.map(|place| place.column),
            }),
        ),
        EventKind::BreakpointReached(_) | EventKind::BreakpointLeft(_) => breakpoint_json(kind),
        EventKind::StopRequested { by } => {
            let by = match by {
                StopReason::Signal(signal) => json!({ "by": "signal", "signal": signal }),
                StopReason::OutputClosed => json!({ "by": "output-closed" }),
                StopReason::Request => json!({ "by": "request" }),
            };
            ("stop-requested", by)
        }
        EventKind::BuildFinished { status, duration } => (
            "build-finished",
            json!({ "buildStatus": status.name(), "durationSeconds": seconds(*duration) }),
        ),
    }
}

fn between_phases_json(kind: &EventKind) -> (&'static str, Value) {
    match kind {
        EventKind::Retried(retried) => (
            "build-retried",
            json!({
                "phase": retried.phase.phase().name(),
                "scope": retried.scope.name(),
                "retry": retried.retry,
                "retries": retried.most,
            }),
        ),
        EventKind::ExportedVariables(variables) => {
            let variables: Vec<Value> = variables
                .iter()
                .map(|variable| json!({ "name": variable.name, "value": variable.value }))
                .collect();
            ("exported-variables", json!({ "variables": variables }))
        }
        _ => unreachable!("invariant: only what stands between phases comes here"),
    }
}

fn breakpoint_json(kind: &EventKind) -> (&'static str, Value) {
    match kind {
        EventKind::BreakpointReached(reached) => (
            "breakpoint-reached",
            json!({
                "breakpoint": reached.breakpoint,
                "build": reached.build,
                "atTerminal": reached.at_terminal,
            }),
        ),
        EventKind::BreakpointLeft(left) => (
            "breakpoint-left",
            json!({
                "breakpoint": left.breakpoint,
                "resumed": left.resumed,
                "durationSeconds": seconds(left.duration),
            }),
        ),
        _ => unreachable!("invariant: only what is at a breakpoint comes here"),
    }
}

fn runtime_json(choice: &Choice) -> (&'static str, Value) {
    let both = |runtime: &str, version: &str| json!({ "runtime": runtime, "version": version });
    match choice {
        Choice::Selected {
            runtime,
            version,
            reason,
        } => {
            let (asked, required_by) = match reason {
                Reason::Asked(asked) => (Some(asked), None),
                Reason::RequiredBy(name, version) => (None, Some(both(name, version))),
            };
            (
                "runtime-selected",
                json!({
                    "runtime": runtime,
                    "version": version,
                    "asked": asked,
                    "requiredBy": required_by,
                }),
            )
        }
        Choice::NotOverridden {
            dependent: (runtime, version),
            dependency: (other, kept),
        } => (
            "runtime-not-overridden",
            json!({ "runtime": runtime, "version": version, "dependency": both(other, kept) }),
        ),
    }
}

/// What was selected in each directory, of artifacts and of reports alike.
pub(super) fn directories_json(directories: &[DirectorySelection]) -> Vec<Value> {
    let patterns = |directory: &DirectorySelection| -> Vec<Value> {
        let patterns = directory.patterns.iter();
        patterns
            .map(|(pattern, files)| json!({ "pattern": pattern, "files": files }))
            .collect()
    };
    directories
        .iter()
        .map(|directory| json!({ "directory": directory.directory, "patterns": patterns(directory) }))
        .collect()
}

fn artifact_json(kind: &EventKind) -> (&'static str, Value) {
    match kind {
        EventKind::ArtifactSelected(selected) => (
            "artifact-selected",
            json!({
                "artifactIdentifier": selected.identifier,
                "baseDirectory": selected.base_directory,
                "directories": directories_json(&selected.directories),
                "files": selected.files,
            }),
        ),
        EventKind::ArtifactProgress(progress) => {
            let stage = match progress.stage {
                ArtifactStage::Packing => "packing",
                ArtifactStage::Storing => "storing",
            };
            (
                "artifact-progress",
                json!({
                    "artifactIdentifier": progress.identifier,
                    "stage": stage,
                    "filesDone": progress.files_done,
                    "files": progress.files,
                    "bytesDone": progress.bytes_done,
                    "bytes": progress.bytes,
                }),
            )
        }
        EventKind::ArtifactFileStored {
            identifier,
            path,
            location,
            bytes,
            sha256,
        } => (
            "artifact-file-stored",
            json!({
                "artifactIdentifier": identifier,
                "path": path,
                "location": location,
                "bytes": bytes,
                "sha256": sha256,
            }),
        ),
        EventKind::ArtifactStored(stored) => (
            "artifact-stored",
            json!({
                "artifactIdentifier": stored.identifier,
                "location": stored.location,
                "packaging": stored.packaging,
                "files": stored.files,
                "bytes": stored.bytes,
                "sha256": stored.sha256,
                "md5": stored.md5,
            }),
        ),
        _ => unreachable!("invariant: only artifact events come here"),
    }
}

fn context_json(context: &PhaseContext) -> Value {
    let blame = match context.blame {
        Blame::Buildspec => "buildspec",
        Blame::Build => "build",
        Blame::Environment => "environment",
    };
    json!({
        "statusCode": context.status_code,
        "message": context.message,
        "blame": blame,
        "help": context.help,
        "line": context.place.map(|place| place.line),
        "column": context.place.map(|place| place.column),
    })
}

/// Text as text; what is no UTF-8 in Base64, so that nothing is lost.
fn output_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "base64": BASE64.encode(bytes) }),
    }
}

fn rfc3339(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or_default();
    format!("{timestamp:.6}")
}

/// Seconds of a duration, to the microsecond: as much as anyone can use, and short texts. Whatever shows them takes them
/// from here: of what is halfway between two, each way of rounding makes another one.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: EventKind) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_746_522_611_102_030);
        event_json(&Event {
            sequence: 3,
            time,
            kind,
        })
        .to_string()
    }

    #[test]
    fn an_event_has_number_time_name_and_its_fields() {
        assert_eq!(
            line(EventKind::Output {
                bytes: b"hi\n".to_vec()
            }),
            r#"{"sequence":3,"time":"2025-05-06T09:10:11.102030Z","event":"output","text":"hi\n"}"#
        );
        assert_eq!(
            line(EventKind::Output {
                bytes: vec![0xff, 0x00]
            }),
            r#"{"sequence":3,"time":"2025-05-06T09:10:11.102030Z","event":"output","base64":"/wA="}"#
        );
    }

    #[test]
    fn an_exit_is_a_status_or_a_signal() {
        let finished = |exit| EventKind::CommandFinished {
            exit,
            duration: Duration::from_millis(1500),
            leaked: false,
        };
        assert!(line(finished(Exit::Exited(3))).contains(
            r#""exitStatus":3,"signal":null,"durationSeconds":1.5,"leftProcesses":false"#
        ));
        assert!(
            line(finished(Exit::Signalled(9)))
                .contains(r#""event":"command-finished","exitStatus":null,"signal":9"#)
        );
    }
}
