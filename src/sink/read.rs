//! JSON Lines back to events (EVENT-1): for whoever shows later, or elsewhere, what a build has written down.
//!
//! Only what CodeBuild's log tells of is read; what is not in it, as what no version of this program knows yet, is
//! nothing to a log.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::json::{CODECOMMIT, GIT, OF_IMAGE, OF_MACHINE};
use crate::buildspec::model::ThroughProxy;
use crate::event::{
    ArtifactSelected, BreakpointLeft, BreakpointReached, BuildStarted, BuildspecRead, CacheEvent,
    CacheKept, CacheRestored, CacheSaved, CacheStep, CommandStarted, DirectorySelection, Event,
    EventKind, Exit, ReportSelected, Retried, RuntimesNamed, SourceReady,
};
use crate::phase::{Blame, CommandPhase, Phase, PhaseContext, RetryScope, Status};
use crate::plan::{CommandList, SourceKind};
use crate::runtime::{Choice, Reason};
use crate::source::LineColumn;

/// Why a line is no event, in words.
type Problem = String;

/// What every event has, and the one that there are most of.
#[derive(Deserialize)]
struct Head<'l> {
    sequence: u64,
    #[serde(borrow)]
    time: Cow<'l, str>,
    #[serde(borrow)]
    event: Cow<'l, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    base64: Option<Cow<'l, str>>,
}

/// The event in a line, if it is one that CodeBuild's log tells of.
pub fn read_event(line: &[u8]) -> Result<Option<Event>, String> {
    let head: Head<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let kind = match &*head.event {
        "output" => Some(output(&head)?),
        name => kind(name, line)?,
    };
    let time = time(&head.time)?;
    Ok(kind.map(|kind| Event {
        sequence: head.sequence,
        time,
        kind,
    }))
}

fn time(text: &str) -> Result<SystemTime, Problem> {
    let time: Timestamp = text
        .parse()
        .map_err(|error| format!("`{text}` is no time: {error}"))?;
    Ok(time.into())
}

fn output(head: &Head<'_>) -> Result<EventKind, Problem> {
    let bytes = match (&head.text, &head.base64) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(base64)) => BASE64
            .decode(base64.as_bytes())
            .map_err(|error| error.to_string())?,
        (None, None) => return Err("there is no output in it".to_owned()),
    };
    Ok(EventKind::Output { bytes })
}

fn fields<T: DeserializeOwned>(line: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

fn kind(name: &str, line: &[u8]) -> Result<Option<EventKind>, Problem> {
    Ok(Some(match name {
        "build-started" => fields::<StartedFields>(line)?.kind(),
        "phase-started" => EventKind::PhaseStarted {
            phase: phase(&fields::<PhaseFields>(line)?.phase)?,
        },
        "source-ready" => fields::<SourceFields>(line)?.kind(),
        "buildspec-found" => EventKind::BuildspecFound {
            location: fields::<LocationFields>(line)?.location,
        },
        "buildspec-read" => fields::<BuildspecFields>(line)?.kind()?,
        "runtime-selected" | "runtime-not-overridden" => fields::<RuntimeFields>(line)?.kind(),
        "runtimes-skipped" => EventKind::RuntimesSkipped,
        "command-started" => fields::<CommandFields>(line)?.kind()?,
        "command-finished" => fields::<CommandEndFields>(line)?.kind(),
        "phase-finished" => fields::<PhaseEndFields>(line)?.kind()?,
        "breakpoint-reached" => fields::<ReachedFields>(line)?.kind(),
        "breakpoint-left" => fields::<LeftFields>(line)?.kind(),
        "build-retried" => fields::<RetriedFields>(line)?.kind()?,
        "artifact-selected" | "report-selected" => fields::<SelectedFields>(line)?.kind(name),
        "reports-discovered" => fields::<DiscoveredFields>(line)?.kind(),
        name if name.starts_with("cache-") => match fields::<CacheFields>(line)?.event(name) {
            Some(event) => EventKind::Cache(event),
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

fn phase(name: &str) -> Result<Phase, Problem> {
    Phase::from_name(name).ok_or_else(|| format!("there is no phase {name}"))
}

fn command_phase(name: &str) -> Result<CommandPhase, Problem> {
    let phase = phase(name)?;
    let mut all = CommandPhase::ALL.into_iter();
    all.find(|one| one.phase() == phase)
        .ok_or_else(|| format!("no command runs in {name}"))
}

/// Seconds as they are written; what is no duration is none.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartedFields {
    build_id: String,
    project_name: String,
    build_number: u64,
}

impl StartedFields {
    fn kind(self) -> EventKind {
        EventKind::BuildStarted(BuildStarted {
            build_id: self.build_id,
            project: self.project_name,
            build_number: self.build_number,
            // No log tells them.
            executor: "",
            runner_version: "",
        })
    }
}

#[derive(Deserialize)]
struct PhaseFields {
    phase: String,
}

#[derive(Deserialize)]
struct LocationFields {
    location: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SourceFields {
    directory: String,
    identifier: Option<String>,
    source_type: Option<String>,
}

impl SourceFields {
    fn kind(self) -> EventKind {
        EventKind::SourceReady(SourceReady {
            identifier: self.identifier,
            directory: self.directory,
            kind: match self.source_type.as_deref() {
                Some(GIT) => SourceKind::Git,
                Some(CODECOMMIT) => SourceKind::CodeCommit,
                _ => SourceKind::S3,
            },
        })
    }
}

#[derive(Deserialize)]
struct CommandCount {
    phase: String,
    commands: usize,
}

#[derive(Deserialize)]
struct SectionKeys {
    section: String,
    keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildspecFields {
    shell: String,
    phases: Vec<CommandCount>,
    unrecognized_keys: Vec<SectionKeys>,
    runtimes: Option<String>,
    #[serde(default)]
    has_cache: bool,
    #[serde(default)]
    has_parameters: bool,
    #[serde(default)]
    has_fetched_values: bool,
    #[serde(flatten)]
    proxy: ProxyFields,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxyFields {
    #[serde(default)]
    uploads_through_proxy: bool,
    #[serde(default)]
    logs_through_proxy: bool,
}

impl BuildspecFields {
    fn kind(self) -> Result<EventKind, Problem> {
        let phases = self.phases.into_iter();
        let phases: Result<Vec<_>, Problem> = phases
            .map(|one| Ok((command_phase(&one.phase)?, one.commands)))
            .collect();
        let unrecognized = self.unrecognized_keys.into_iter();
        Ok(EventKind::BuildspecRead(BuildspecRead {
            // No log tells it.
            version: "",
            shell: self.shell,
            phases: phases?,
            unrecognized: unrecognized.map(|one| (one.section, one.keys)).collect(),
            runtimes: match self.runtimes.as_deref() {
                Some(OF_MACHINE) => RuntimesNamed::OfMachine,
                Some(OF_IMAGE) => RuntimesNamed::OfImage,
                _ => RuntimesNamed::None,
            },
            has_cache: self.has_cache,
            has_parameters: self.has_parameters,
            has_fetched: self.has_fetched_values,
            proxy: ThroughProxy {
                uploads: self.proxy.uploads_through_proxy,
                logs: self.proxy.logs_through_proxy,
            },
        }))
    }
}

#[derive(Deserialize)]
struct RuntimeVersion {
    runtime: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeFields {
    runtime: String,
    version: String,
    asked: Option<String>,
    required_by: Option<RuntimeVersion>,
    dependency: Option<RuntimeVersion>,
}

impl RuntimeFields {
    fn kind(self) -> EventKind {
        let (runtime, version) = (self.runtime, self.version);
        let both = |one: RuntimeVersion| (one.runtime, one.version);
        EventKind::RuntimeChosen(match (self.dependency, self.required_by) {
            (Some(dependency), _) => Choice::NotOverridden {
                dependent: (runtime, version),
                dependency: both(dependency),
            },
            (None, Some(one)) => Choice::Selected {
                runtime,
                version,
                reason: Reason::RequiredBy(one.runtime, one.version),
            },
            (None, None) => {
                let asked = self.asked.unwrap_or_else(|| version.clone());
                Choice::Selected {
                    runtime,
                    version,
                    reason: Reason::Asked(asked),
                }
            }
        })
    }
}

#[derive(Deserialize)]
struct CommandFields {
    phase: String,
    list: String,
    index: usize,
    command: String,
    line: usize,
    column: usize,
}

impl CommandFields {
    fn kind(self) -> Result<EventKind, Problem> {
        Ok(EventKind::CommandStarted(CommandStarted {
            phase: command_phase(&self.phase)?,
            list: match &*self.list {
                "finally" => CommandList::Finally,
                _ => CommandList::Commands,
            },
            index: self.index,
            text: self.command,
            place: LineColumn {
                line: self.line,
                column: self.column,
            },
        }))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommandEndFields {
    exit_status: Option<i32>,
    signal: Option<i32>,
    duration_seconds: f64,
    left_processes: bool,
}

impl CommandEndFields {
    fn kind(self) -> EventKind {
        EventKind::CommandFinished {
            exit: match (self.exit_status, self.signal) {
                (Some(status), _) => Exit::Exited(status),
                (None, Some(signal)) => Exit::Signalled(signal),
                (None, None) => Exit::Unknown,
            },
            duration: duration(self.duration_seconds),
            leaked: self.left_processes,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContextFields {
    status_code: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PhaseEndFields {
    phase: String,
    phase_status: String,
    aborted: bool,
    contexts: Vec<ContextFields>,
    duration_seconds: f64,
}

impl PhaseEndFields {
    fn kind(self) -> Result<EventKind, Problem> {
        let status = Status::from_name(&self.phase_status);
        let contexts = self.contexts.into_iter().map(|one| PhaseContext {
            status_code: one.status_code.into(),
            message: one.message,
            // Nothing that shows a log asks whose fault it was.
            blame: Blame::Build,
            help: None,
            place: None,
        });
        Ok(EventKind::PhaseFinished {
            phase: phase(&self.phase)?,
            status: status.ok_or_else(|| format!("there is no status {}", self.phase_status))?,
            aborted: self.aborted,
            contexts: contexts.collect(),
            duration: duration(self.duration_seconds),
        })
    }
}

#[derive(Deserialize)]
struct RetriedFields {
    phase: String,
    scope: String,
    retry: u8,
    retries: u8,
}

impl RetriedFields {
    fn kind(self) -> Result<EventKind, Problem> {
        Ok(EventKind::Retried(Retried {
            phase: command_phase(&self.phase)?,
            scope: match &*self.scope {
                "phase" => RetryScope::Phase,
                _ => RetryScope::Build,
            },
            retry: self.retry,
            most: self.retries,
        }))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReachedFields {
    breakpoint: u64,
    build: String,
    at_terminal: bool,
}

impl ReachedFields {
    fn kind(self) -> EventKind {
        EventKind::BreakpointReached(BreakpointReached {
            breakpoint: self.breakpoint,
            build: self.build,
            at_terminal: self.at_terminal,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeftFields {
    breakpoint: u64,
    resumed: bool,
    duration_seconds: f64,
}

impl LeftFields {
    fn kind(&self) -> EventKind {
        EventKind::BreakpointLeft(BreakpointLeft {
            breakpoint: self.breakpoint,
            resumed: self.resumed,
            duration: duration(self.duration_seconds),
        })
    }
}

#[derive(Deserialize)]
struct PatternFields {
    pattern: String,
    files: usize,
}

#[derive(Deserialize)]
struct DirectoryFields {
    directory: String,
    patterns: Vec<PatternFields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelectedFields {
    artifact_identifier: Option<String>,
    report_group: Option<String>,
    base_directory: String,
    directories: Vec<DirectoryFields>,
    files: usize,
}

impl SelectedFields {
    fn kind(self, name: &str) -> EventKind {
        let patterns = |patterns: Vec<PatternFields>| {
            let patterns = patterns.into_iter().map(|one| (one.pattern, one.files));
            patterns.collect()
        };
        let directories = self.directories.into_iter().map(|one| DirectorySelection {
            directory: one.directory,
            patterns: patterns(one.patterns),
        });
        let (base_directory, directories) = (self.base_directory, directories.collect());
        if name == "report-selected" {
            EventKind::ReportSelected(ReportSelected {
                group: self.report_group.unwrap_or_default(),
                base_directory,
                directories,
                files: self.files,
            })
        } else {
            EventKind::ArtifactSelected(ArtifactSelected {
                identifier: self.artifact_identifier,
                base_directory,
                directories,
                files: self.files,
            })
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiscoveredFields {
    pattern: String,
    files: usize,
    duration_seconds: f64,
}

impl DiscoveredFields {
    fn kind(self) -> EventKind {
        EventKind::ReportsDiscovered {
            pattern: self.pattern,
            files: self.files,
            duration: duration(self.duration_seconds),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CacheFields {
    reason: String,
    paths: Vec<String>,
    key: Option<String>,
    fallback_keys: Vec<String>,
    location: String,
    archive_bytes: u64,
    is_exact: bool,
    files: u64,
    bytes: u64,
    removed: usize,
    duration_seconds: f64,
    step: String,
    message: String,
}

impl CacheFields {
    fn event(self, name: &str) -> Option<CacheEvent> {
        let duration = duration(self.duration_seconds);
        Some(match name {
            "cache-skipped" => CacheEvent::Skipped {
                reason: self.reason,
            },
            "cache-expanded" => CacheEvent::Expanded {
                paths: self.paths,
                key: self.key,
                fallback_keys: self.fallback_keys,
            },
            "cache-missed" => CacheEvent::Missed { key: self.key },
            "cache-found" => CacheEvent::Found {
                key: self.key,
                location: self.location,
                bytes: self.archive_bytes,
            },
            "cache-fetched" => CacheEvent::Fetched,
            "cache-restored" => CacheEvent::Restored(CacheRestored {
                key: self.key,
                is_exact: self.is_exact,
                location: self.location,
                files: self.files,
                bytes: self.bytes,
                archive_bytes: self.archive_bytes,
                duration,
            }),
            "cache-kept" => CacheEvent::Kept {
                key: self.key,
                reason: match &*self.reason {
                    "exists" => CacheKept::Exists,
                    "unchanged" => CacheKept::Unchanged,
                    _ => CacheKept::Nothing,
                },
            },
            "cache-saved" => CacheEvent::Saved(CacheSaved {
                key: self.key,
                location: self.location,
                files: self.files,
                bytes: self.bytes,
                archive_bytes: self.archive_bytes,
                removed: self.removed,
                duration,
            }),
            "cache-failed" => CacheEvent::Failed {
                step: match &*self.step {
                    "restore" => CacheStep::Restore,
                    "save" => CacheStep::Save,
                    _ => CacheStep::Evict,
                },
                message: self.message,
                help: None,
            },
            _ => return None,
        })
    }
}
