//! What happens in a build, one event after the other.
//!
//! Everything that is seen of a build (console, log file, JSON, exit code) is a fold of this one stream. A stream is a
//! sentence of this grammar (EVENT-2); [`Grammar`] checks it, and every stream of the test suite goes through it:
//!
//! ```text
//! build    = build-started (phase* build-retried)* phase* exported-variables? phase* build-finished
//! phase    = phase-started (source-ready | buildspec-found | buildspec-read | runtime | cache | command | artifact | report)* phase-finished
//! runtime  = runtime-selected | runtime-not-overridden | runtimes-skipped
//! cache    = cache-skipped | cache-expanded | cache-missed | cache-found | cache-fetched | cache-restored | cache-kept |
//!            cache-saved | cache-failed
//! command  = command-started command-finished
//! artifact = artifact-selected? artifact-progress* artifact-file-stored* artifact-stored
//! report   = report-selected | reports-discovered | report-collected | reports-written
//! ```
//!
//! `output`, `warning`, `stop-requested`, `breakpoint-reached` and `breakpoint-left` may stand anywhere between `build-started`
//! and `build-finished`: a process that was left in the background writes when it likes. What is left was reached before.
//!
//! Events are facts for programs; how they look is the business of the sinks. Texts in them have been redacted.

mod report;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

pub use report::{
    CaseStatus, Coverage, CoverageSummary, ReportCollected, ReportFailure, ReportKind,
    ReportProblem, ReportSelected, ReportStatus, ReportsWritten, TestSummary,
};

use crate::buildspec::model::ThroughProxy;
use crate::phase::{CommandPhase, Phase, PhaseContext, RetryScope, Status};
use crate::plan::{CommandList, SourceKind};
use crate::runtime::Choice;
use crate::source::LineColumn;

/// Version of the event stream's form; grows with a change that a reader has to know of (EVENT-1).
pub const FORMAT: u32 = 1;

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts from 0, without gaps.
    pub sequence: u64,
    /// When it happened.
    pub time: SystemTime,
    /// What happened.
    pub kind: EventKind,
}

/// The time that is stamped on events: the one place that looks at the wall clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn stamp() -> SystemTime {
    SystemTime::now()
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// The build begins.
    BuildStarted(BuildStarted),
    /// A phase begins.
    PhaseStarted {
        /// Which one.
        phase: Phase,
    },
    /// A source is there.
    SourceReady(SourceReady),
    /// The buildspec was found; it may still turn out to be unusable.
    BuildspecFound {
        /// Where.
        location: String,
    },
    /// The buildspec is right and planned.
    BuildspecRead(BuildspecRead),
    /// A runtime of the build image is selected (RUN-2).
    RuntimeChosen(Choice),
    /// The build image has no runtimes to select (RUN-7).
    RuntimesSkipped,
    /// A command begins.
    CommandStarted(CommandStarted),
    /// Bytes that a process of the build wrote, to standard output or standard error.
    Output {
        /// The bytes, cut anywhere.
        bytes: Vec<u8>,
    },
    /// A command ended.
    CommandFinished {
        /// How.
        exit: Exit,
        /// How long it took.
        duration: Duration,
        /// Whether it left processes behind, which go on in the background.
        leaked: bool,
    },
    /// A phase ended.
    PhaseFinished {
        /// Which one.
        phase: Phase,
        /// How.
        status: Status,
        /// Whether `on-failure: ABORT` ends the build here.
        aborted: bool,
        /// Why, if it did not succeed.
        contexts: Vec<PhaseContext>,
        /// How long it took.
        duration: Duration,
    },
    /// The files of an artifact were selected.
    ArtifactSelected(ArtifactSelected),
    /// How far packing and storing have come. Sent a few times a second at most.
    ArtifactProgress(ArtifactProgress),
    /// One file of an artifact with packaging `NONE` is stored and verified.
    ArtifactFileStored {
        /// Identifier of the artifact; `None` for the primary one.
        identifier: Option<String>,
        /// Path in the artifact.
        path: String,
        /// Where it is.
        location: String,
        /// Size.
        bytes: u64,
        /// SHA-256 of the content, in hexadecimal.
        sha256: String,
    },
    /// An artifact is stored and verified, whole.
    ArtifactStored(ArtifactStored),
    /// The files of a report group were selected (REP-10).
    ReportSelected(ReportSelected),
    /// A report was read (REP-1).
    ReportCollected(ReportCollected),
    /// What runner makes of all reports is written (REP-13).
    ReportsWritten(ReportsWritten),
    /// Files that look like test or coverage reports were looked for (LOG-14).
    ReportsDiscovered {
        /// The pattern.
        pattern: String,
        /// How many were found.
        files: usize,
        /// How long it took.
        duration: Duration,
    },
    /// A failure is followed by a retry, between phases (PHASE-12).
    Retried(Retried),
    /// The values of exported variables, which nothing changes any more (ENV-40). At most once, between phases.
    ExportedVariables(Vec<ExportedVariable>),
    /// What the cache does (CACHE-14).
    Cache(CacheEvent),
    /// Something a person should know.
    Warning(Warning),
    /// A command waits at a breakpoint of a debug session (TOOL-33).
    BreakpointReached(BreakpointReached),
    /// It waits no longer.
    BreakpointLeft(BreakpointLeft),
    /// Somebody asked the build to end.
    StopRequested {
        /// Who.
        by: StopReason,
    },
    /// The build is over.
    BuildFinished {
        /// How it ended.
        status: Status,
        /// How long it took.
        duration: Duration,
    },
}

/// A source that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReady {
    /// Its identifier; `None` for the primary one.
    pub identifier: Option<String>,
    /// `CODEBUILD_SRC_DIR`, or that of the identifier.
    pub directory: String,
    /// What kind of place it is from.
    pub kind: SourceKind,
}

/// What is known when a build begins.
#[derive(Clone, Debug)]
pub struct BuildStarted {
    /// `project:uuid`.
    pub build_id: String,
    /// Name of the project.
    pub project: String,
    /// Counts the builds of the project.
    pub build_number: u64,
    /// Where commands run: `host`.
    pub executor: &'static str,
    /// Version of this program.
    pub runner_version: &'static str,
}

/// What the log says of a buildspec before the first command.
#[derive(Clone, Debug)]
pub struct BuildspecRead {
    /// `0.1` or `0.2`.
    pub version: &'static str,
    /// The program that runs the commands.
    pub shell: String,
    /// The phases that are in the file, with the number of their commands.
    pub phases: Vec<(CommandPhase, usize)>,
    /// Keys that mean nothing, by section.
    pub unrecognized: Vec<(String, Vec<String>)>,
    /// Whether there are `runtime-versions`, and who brings them.
    pub runtimes: RuntimesNamed,
    /// Whether there are cache paths.
    pub has_cache: bool,
    /// Whether values come from the Parameter Store.
    pub has_parameters: bool,
    /// Whether values are fetched, from wherever: until they are there, nothing else of the build is.
    pub has_fetched: bool,
    /// What is to go through a proxy.
    pub proxy: ThroughProxy,
}

/// Whether a buildspec has `runtime-versions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimesNamed {
    /// It has not.
    None,
    /// It has, and nothing is selected: there is what the machine has.
    OfMachine,
    /// It has, and events that follow tell what of the image is selected.
    OfImage,
}

/// A command that begins.
#[derive(Clone, Debug)]
pub struct CommandStarted {
    /// The phase.
    pub phase: CommandPhase,
    /// The list.
    pub list: CommandList,
    /// Its place in the list as written, from 0.
    pub index: usize,
    /// Its text.
    pub text: String,
    /// Where it stands in the buildspec.
    pub place: LineColumn,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// Nobody knows: what runs commands is broken (PHASE-11).
    Unknown,
}

impl Exit {
    /// Whether it is a success.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// As CodeBuild writes it: `exit status 1`, `signal: killed` (CMD-9).
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Exited(status) => format!("exit status {status}"),
            Self::Signalled(signal) => format!("signal: {}", signal_name(signal)),
            Self::Unknown => "an unknown status".to_owned(),
        }
    }
}

/// Names of signals as Go prints them, for those that end processes.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// The selection of one artifact, as the log shows it (ART-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactSelected {
    /// Identifier of the artifact; `None` for the primary one.
    pub identifier: Option<String>,
    /// `base-directory` after expansion, or `.`.
    pub base_directory: String,
    /// The directories it stands for, with what each pattern matched there. Empty if there is none.
    pub directories: Vec<DirectorySelection>,
    /// How many files were selected.
    pub files: usize,
}

/// What was selected in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySelection {
    /// The directory.
    pub directory: String,
    /// Each pattern after expansion, and how many files it matched.
    pub patterns: Vec<(String, usize)>,
}

/// How far an artifact has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactProgress {
    /// Identifier of the artifact; `None` for the primary one.
    pub identifier: Option<String>,
    /// What is being done.
    pub stage: ArtifactStage,
    /// Files done so far.
    pub files_done: usize,
    /// Files in all.
    pub files: usize,
    /// Bytes done so far.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes: u64,
}

/// What is being done with an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtifactStage {
    /// Its files go into an archive.
    Packing,
    /// It goes to its place.
    Storing,
}

/// An artifact in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactStored {
    /// Identifier of the artifact; `None` for the primary one.
    pub identifier: Option<String>,
    /// Where it is: a path, or `s3://bucket/key`.
    pub location: String,
    /// `ZIP` or `NONE`.
    pub packaging: &'static str,
    /// How many files are in it.
    pub files: usize,
    /// Size of the archive, or of all files.
    pub bytes: u64,
    /// SHA-256 of the archive, in hexadecimal; only with packaging `ZIP`.
    pub sha256: Option<String>,
    /// MD5 of the archive, in hexadecimal; only with packaging `ZIP`.
    pub md5: Option<String>,
}

/// A retry that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retried {
    /// The phase whose failure calls for it.
    pub phase: CommandPhase,
    /// What runs again.
    pub scope: RetryScope,
    /// Counts the retries of this phase, from 1.
    pub retry: u8,
    /// How many there can be for this phase.
    pub most: u8,
}

impl Retried {
    /// What happens, as people read it.
    #[must_use]
    pub fn describe(&self) -> String {
        let what = match self.scope {
            RetryScope::Build => "the build".to_owned(),
            RetryScope::Phase => format!("phase {}", self.phase.phase()),
        };
        format!(
            "retrying {what} after a failure in {}: retry {} of at most {}",
            self.phase.phase(),
            self.retry,
            self.most
        )
    }
}

/// A command that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakpointReached {
    /// Counts the breakpoints of a build, from 1.
    pub breakpoint: u64,
    /// What to write behind `runner shell` to get there.
    pub build: String,
    /// Whether the build's own terminal shows a shell there.
    pub at_terminal: bool,
}

impl BreakpointReached {
    /// What happens and what to do, as people read it.
    #[must_use]
    pub fn describe(&self) -> String {
        if self.at_terminal {
            "waiting at a breakpoint: `codebuild-resume`, or the end of the shell here, lets the build go on".to_owned()
        } else {
            format!(
                "waiting at a breakpoint: get there with `runner shell {}`, and let the build go on with `codebuild-resume` there",
                self.build
            )
        }
    }
}

/// A command that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakpointLeft {
    /// Which breakpoint.
    pub breakpoint: u64,
    /// Whether it was let go; if not, it was ended.
    pub resumed: bool,
    /// How long it waited.
    pub duration: Duration,
}

impl BreakpointLeft {
    /// What happens, as people read it.
    #[must_use]
    pub fn describe(&self) -> String {
        let what = if self.resumed {
            "going on after a breakpoint"
        } else {
            "a command was ended at a breakpoint"
        };
        format!(
            "{what}, after {}",
            crate::units::render_duration(self.duration)
        )
    }
}

/// A variable that a build gives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedVariable {
    /// Its name, one that a shell can read.
    pub name: String,
    /// Its value, without secrets.
    pub value: String,
}

/// What the cache does: what begins before the first command, then what ends after the artifacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheEvent {
    /// The buildspec has one, and nothing is restored or saved.
    Skipped {
        /// Why.
        reason: String,
    },
    /// What it is about, after expansion.
    Expanded {
        /// `paths`.
        paths: Vec<String>,
        /// `key`.
        key: Option<String>,
        /// `fallback-keys`.
        fallback_keys: Vec<String>,
    },
    /// Nothing that could be restored is kept.
    Missed {
        /// The key, if there is one.
        key: Option<String>,
    },
    /// Something that can be restored is kept.
    Found {
        /// Its key, if it has one: not always the one that was looked for.
        key: Option<String>,
        /// Where it is.
        location: String,
        /// Its size, in bytes.
        bytes: u64,
    },
    /// It is here, and is what was saved.
    Fetched,
    /// All of it is where it was.
    Restored(CacheRestored),
    /// Nothing was saved.
    Kept {
        /// The key, if there is one.
        key: Option<String>,
        /// Why.
        reason: CacheKept,
    },
    /// It is saved.
    Saved(CacheSaved),
    /// It could not be done. No build fails with it.
    Failed {
        /// What.
        step: CacheStep,
        /// Why.
        message: String,
        /// What to do about it, where that is known.
        help: Option<String>,
    },
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRestored {
    /// Its key, if it has one.
    pub key: Option<String>,
    /// Whether that is the one that was looked for, and not one that begins as a fallback key does.
    pub is_exact: bool,
    /// Where it was.
    pub location: String,
    /// Files and links.
    pub files: u64,
    /// Their content, in bytes.
    pub bytes: u64,
    /// The archive, in bytes.
    pub archive_bytes: u64,
    /// How long all of it took.
    pub duration: Duration,
}

/// What was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSaved {
    /// Its key, if it has one.
    pub key: Option<String>,
    /// Where it is.
    pub location: String,
    /// Files and links.
    pub files: u64,
    /// Their content, in bytes.
    pub bytes: u64,
    /// The archive, in bytes.
    pub archive_bytes: u64,
    /// How many others had to go for it.
    pub removed: usize,
    /// How long all of it took.
    pub duration: Duration,
}

/// Why nothing is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKept {
    /// The key is there already, and what has a key is never written again.
    Exists,
    /// What would be saved is what is kept.
    Unchanged,
    /// The paths take nothing.
    Nothing,
}

impl CacheKept {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Exists => "its key is saved already",
            Self::Unchanged => "nothing has changed",
            Self::Nothing => "there are no files in its paths",
        }
    }
}

/// What of the cache failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStep {
    /// Restoring.
    Restore,
    /// Saving.
    Save,
    /// Making room.
    Evict,
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// Where in the buildspec.
    pub place: Option<LineColumn>,
}

impl Warning {
    /// A warning without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            place: None,
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place.
    #[must_use]
    pub const fn at(mut self, place: LineColumn) -> Self {
        self.place = Some(place);
        self
    }
}

/// Who asked the build to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// A signal of this number.
    Signal(i32),
    /// Whoever read the output went away.
    OutputClosed,
    /// Another program, such as the agent whose job was cancelled.
    Request,
}

/// Checks that a stream of events is a sentence of the grammar above.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts about what has been said so far"
)]
pub struct Grammar {
    next: u64,
    started: bool,
    finished: bool,
    phase: Option<Phase>,
    in_command: bool,
    exported: bool,
    breakpoints: BTreeSet<u64>,
}

impl Grammar {
    /// Takes the next event, or says why it cannot stand here.
    pub fn accept(&mut self, event: &Event) -> Result<(), String> {
        if event.sequence != self.next {
            return Err(format!(
                "event {} where {} was due",
                event.sequence, self.next
            ));
        }
        self.next += 1;
        let wrong = |what: &str| Err(format!("event {}: {what}", event.sequence));
        if self.finished {
            return wrong("after the end");
        }
        match &event.kind {
            EventKind::BuildStarted(_) if self.started => return wrong("a second beginning"),
            EventKind::BuildStarted(_) => self.started = true,
            _ if !self.started => return wrong("before the beginning"),
            EventKind::Output { .. } | EventKind::Warning(_) | EventKind::StopRequested { .. } => {}
            EventKind::BreakpointReached(reached)
                if !self.breakpoints.insert(reached.breakpoint) =>
            {
                return wrong("a breakpoint reached for a second time");
            }
            EventKind::BreakpointReached(_) => {}
            EventKind::BreakpointLeft(left) if !self.breakpoints.remove(&left.breakpoint) => {
                return wrong("a breakpoint left that was not reached");
            }
            EventKind::BreakpointLeft(_) => {}
            EventKind::Retried(_) if self.phase.is_some() => {
                return wrong("a retry inside a phase");
            }
            EventKind::Retried(_) if self.exported => {
                return wrong("a retry after exported variables");
            }
            EventKind::Retried(_) => {}
            EventKind::ExportedVariables(_) if self.phase.is_some() => {
                return wrong("exported variables inside a phase");
            }
            EventKind::ExportedVariables(_) if std::mem::replace(&mut self.exported, true) => {
                return wrong("exported variables for a second time");
            }
            EventKind::ExportedVariables(_) => {}
            EventKind::BuildFinished { .. } if self.phase.is_some() => {
                return wrong("the end inside a phase");
            }
            EventKind::BuildFinished { .. } => self.finished = true,
            EventKind::PhaseStarted { .. } if self.phase.is_some() => {
                return wrong("a phase inside a phase");
            }
            EventKind::PhaseStarted { phase } => self.phase = Some(*phase),
            EventKind::PhaseFinished { .. } if self.in_command => {
                return wrong("a phase ends inside a command");
            }
            EventKind::PhaseFinished { phase, .. } if self.phase != Some(*phase) => {
                return wrong("another phase ends than the one that goes on");
            }
            EventKind::PhaseFinished { .. } => self.phase = None,
            _ if self.phase.is_none() => return wrong("outside a phase"),
            EventKind::CommandStarted(_) if self.in_command => {
                return wrong("a command inside a command");
            }
            EventKind::CommandStarted(command) if self.phase != Some(command.phase.phase()) => {
                return wrong("a command of another phase");
            }
            EventKind::CommandStarted(_) => self.in_command = true,
            EventKind::CommandFinished { .. } if !self.in_command => {
                return wrong("a command ends that never began");
            }
            EventKind::CommandFinished { .. } => self.in_command = false,
            _ if self.in_command => return wrong("inside a command"),
            EventKind::Cache(_)
                if !matches!(
                    self.phase,
                    Some(Phase::DownloadSource | Phase::UploadArtifacts)
                ) =>
            {
                return wrong("outside DOWNLOAD_SOURCE and UPLOAD_ARTIFACTS");
            }
            EventKind::Cache(_) => {}
            EventKind::SourceReady(_)
            | EventKind::BuildspecFound { .. }
            | EventKind::BuildspecRead(_)
            | EventKind::RuntimeChosen(_)
            | EventKind::RuntimesSkipped
                if self.phase != Some(Phase::DownloadSource) =>
            {
                return wrong("outside DOWNLOAD_SOURCE");
            }
            EventKind::SourceReady(_)
            | EventKind::BuildspecFound { .. }
            | EventKind::BuildspecRead(_)
            | EventKind::RuntimeChosen(_)
            | EventKind::RuntimesSkipped => {}
            EventKind::ArtifactSelected(_)
            | EventKind::ArtifactProgress(_)
            | EventKind::ArtifactFileStored { .. }
            | EventKind::ArtifactStored(_)
            | EventKind::ReportSelected(_)
            | EventKind::ReportCollected(_)
            | EventKind::ReportsWritten(_)
            | EventKind::ReportsDiscovered { .. }
                if self.phase != Some(Phase::UploadArtifacts) =>
            {
                return wrong("outside UPLOAD_ARTIFACTS");
            }
            EventKind::ArtifactSelected(_)
            | EventKind::ArtifactProgress(_)
            | EventKind::ArtifactFileStored { .. }
            | EventKind::ArtifactStored(_)
            | EventKind::ReportSelected(_)
            | EventKind::ReportCollected(_)
            | EventKind::ReportsWritten(_)
            | EventKind::ReportsDiscovered { .. } => {}
        }
        Ok(())
    }

    /// Whether the sentence is complete.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> EventKind {
        EventKind::BuildStarted(BuildStarted {
            build_id: "p:1".to_owned(),
            project: "p".to_owned(),
            build_number: 1,
            executor: "host",
            runner_version: "0",
        })
    }

    fn command(phase: CommandPhase) -> EventKind {
        EventKind::CommandStarted(CommandStarted {
            phase,
            list: CommandList::Commands,
            index: 0,
            text: "true".to_owned(),
            place: LineColumn { line: 1, column: 1 },
        })
    }

    fn command_finished() -> EventKind {
        EventKind::CommandFinished {
            exit: Exit::Exited(0),
            duration: Duration::ZERO,
            leaked: false,
        }
    }

    fn phase_finished(phase: Phase) -> EventKind {
        let status = Status::Succeeded;
        EventKind::PhaseFinished {
            phase,
            status,
            aborted: false,
            contexts: Vec::new(),
            duration: Duration::ZERO,
        }
    }

    fn finished() -> EventKind {
        EventKind::BuildFinished {
            status: Status::Succeeded,
            duration: Duration::ZERO,
        }
    }

    fn check(kinds: Vec<EventKind>) -> Result<bool, String> {
        let mut grammar = Grammar::default();
        for (sequence, kind) in kinds.into_iter().enumerate() {
            let event = Event {
                sequence: sequence as u64,
                time: SystemTime::UNIX_EPOCH,
                kind,
            };
            grammar.accept(&event)?;
        }
        Ok(grammar.is_complete())
    }

    #[test]
    fn a_whole_build_is_a_sentence() {
        let output = || EventKind::Output {
            bytes: b"x".to_vec(),
        };
        let build = vec![
            started(),
            EventKind::PhaseStarted {
                phase: Phase::Build,
            },
            output(),
            command(CommandPhase::Build),
            output(),
            command_finished(),
            phase_finished(Phase::Build),
            output(),
            finished(),
        ];
        assert_eq!(check(build), Ok(true));
    }

    #[test]
    fn what_is_out_of_place_is_refused() {
        let in_build = EventKind::PhaseStarted {
            phase: Phase::Build,
        };
        let table = [
            (vec![in_build.clone()], "before the beginning"),
            (vec![started(), started()], "a second beginning"),
            (
                vec![started(), command(CommandPhase::Build)],
                "outside a phase",
            ),
            (
                vec![started(), in_build.clone(), command(CommandPhase::Install)],
                "a command of another phase",
            ),
            (
                vec![started(), in_build.clone(), in_build.clone()],
                "a phase inside a phase",
            ),
            (
                vec![started(), in_build.clone(), finished()],
                "the end inside a phase",
            ),
            (
                vec![started(), in_build.clone(), phase_finished(Phase::Install)],
                "another phase ends",
            ),
            (
                vec![
                    started(),
                    in_build.clone(),
                    command(CommandPhase::Build),
                    phase_finished(Phase::Build),
                ],
                "ends inside a command",
            ),
            (
                vec![started(), in_build.clone(), command_finished()],
                "never began",
            ),
            (
                vec![
                    started(),
                    in_build,
                    EventKind::SourceReady(SourceReady::default()),
                ],
                "outside DOWNLOAD_SOURCE",
            ),
            (vec![started(), finished(), finished()], "after the end"),
            (
                vec![
                    started(),
                    EventKind::ExportedVariables(Vec::new()),
                    EventKind::Retried(Retried {
                        phase: CommandPhase::Build,
                        scope: RetryScope::Build,
                        retry: 1,
                        most: 3,
                    }),
                ],
                "a retry after exported variables",
            ),
            (
                vec![
                    started(),
                    EventKind::PhaseStarted {
                        phase: Phase::PostBuild,
                    },
                    EventKind::ExportedVariables(Vec::new()),
                ],
                "inside a phase",
            ),
            (
                vec![
                    started(),
                    EventKind::ExportedVariables(Vec::new()),
                    EventKind::ExportedVariables(Vec::new()),
                ],
                "for a second time",
            ),
            (
                vec![
                    started(),
                    EventKind::BreakpointLeft(BreakpointLeft {
                        breakpoint: 1,
                        resumed: true,
                        duration: Duration::ZERO,
                    }),
                ],
                "that was not reached",
            ),
        ];
        for (kinds, expected) in table {
            let error = check(kinds).unwrap_err();
            assert!(
                error.contains(expected),
                "{error:?} does not say {expected:?}"
            );
        }
    }

    #[test]
    fn exits_read_as_codebuild_writes_them() {
        assert_eq!(Exit::Exited(127).describe(), "exit status 127");
        assert_eq!(Exit::Signalled(9).describe(), "signal: killed");
        assert_eq!(Exit::Signalled(40).describe(), "signal: signal 40");
    }
}
