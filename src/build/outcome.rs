//! How a build ended: a fold over its events, and what that means for the exit code of a process.

use std::time::Duration;

use crate::event::{ArtifactStored, Event, EventKind, ExportedVariable, StopReason};
use crate::phase::{Blame, Phase, PhaseContext, RetryScope, Status};

/// How one phase ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseOutcome {
    /// Which one.
    pub phase: Phase,
    /// How.
    pub status: Status,
    /// Why, if it did not succeed.
    pub contexts: Vec<PhaseContext>,
    /// How long it took.
    pub duration: Duration,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How all of it ended.
    pub status: Status,
    /// Its phases, in order: those that a retry repeats are not among them (PHASE-18).
    pub phases: Vec<PhaseOutcome>,
    /// Artifacts that are stored.
    pub artifacts: Vec<ArtifactStored>,
    /// Variables that it gives on.
    pub exported: Vec<ExportedVariable>,
    /// How many retries there were.
    pub retries: usize,
    /// Who asked for its end first, if anyone did.
    pub stopped_by: Option<StopReason>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            status: Status::InProgress,
            phases: Vec::new(),
            artifacts: Vec::new(),
            exported: Vec::new(),
            retries: 0,
            stopped_by: None,
        }
    }
}

impl Outcome {
    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::PhaseFinished {
                phase,
                status,
                contexts,
                duration,
                ..
            } => self.phases.push(PhaseOutcome {
                phase: *phase,
                status: *status,
                contexts: contexts.clone(),
                duration: *duration,
            }),
            EventKind::ArtifactStored(stored) => self.artifacts.push(stored.clone()),
            EventKind::Retried(retried) => {
                self.retries += 1;
                match retried.scope {
                    RetryScope::Build => self.phases.clear(),
                    RetryScope::Phase => drop(self.phases.pop()),
                }
            }
            EventKind::ExportedVariables(variables) => self.exported.clone_from(variables),
            EventKind::StopRequested { by } => self.stopped_by = self.stopped_by.or(Some(*by)),
            EventKind::BuildFinished { status, .. } => self.status = *status,
            _ => {}
        }
    }

    /// The code that a process ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self.status {
            Status::Succeeded => ExitCode::Succeeded,
            Status::Fault | Status::InProgress => ExitCode::Fault,
            Status::TimedOut => ExitCode::TimedOut,
            Status::Stopped => match self.stopped_by {
                Some(StopReason::Signal(signal)) => ExitCode::Signal(signal),
                Some(StopReason::OutputClosed) => ExitCode::Signal(13),
                Some(StopReason::Request) | None => ExitCode::Stopped,
            },
            Status::Failed => match self.first_failure().map(|context| context.blame) {
                Some(Blame::Buildspec) => ExitCode::BuildspecInvalid,
                Some(Blame::Environment) => ExitCode::Fault,
                Some(Blame::Build) | None => ExitCode::BuildFailed,
            },
        }
    }

    /// Why the first phase that did not succeed ended so.
    #[must_use]
    pub fn first_failure(&self) -> Option<&PhaseContext> {
        self.phases
            .iter()
            .find(|phase| phase.status != Status::Succeeded)?
            .contexts
            .first()
    }
}

/// Exit codes of this program: the one list of them (CLI-3). README and `--help` repeat it, and a test compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// The build succeeded.
    Succeeded,
    /// The build failed.
    BuildFailed,
    /// `runner validate` found something.
    Findings,
    /// The command line cannot be used.
    Usage,
    /// The buildspec cannot be used.
    BuildspecInvalid,
    /// The machine, the network or AWS failed.
    Fault,
    /// The build reached its time limit.
    TimedOut,
    /// The build was stopped by request of another program.
    Stopped,
    /// The build was stopped by this signal.
    Signal(i32),
    /// The program was one of its own tools ([`tool`](crate::tool)), which ended with this code.
    Tool(u8),
    /// A shell that a person entered ended so.
    Shell(u8),
}

impl ExitCode {
    /// Every code with its meaning, as documentation shows it.
    pub const MEANINGS: [(&'static str, &'static str); 8] = [
        ("0", "the build succeeded"),
        ("1", "the build failed; with `validate`: findings"),
        ("2", "the command line cannot be used"),
        ("3", "the buildspec cannot be used"),
        (
            "4",
            "fault of the environment: the machine, the network or AWS",
        ),
        ("5", "the build timed out"),
        ("6", "the build was stopped by request"),
        (
            "128+n",
            "the build was stopped by signal n (130 for Ctrl-C)",
        ),
    ];

    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::BuildFailed | Self::Findings => 1,
            Self::Usage => 2,
            Self::BuildspecInvalid => 3,
            Self::Fault => 4,
            Self::TimedOut => 5,
            Self::Stopped => 6,
            Self::Shell(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
            Self::Tool(code) => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(
        status: Status,
        contexts: Vec<PhaseContext>,
        stopped_by: Option<StopReason>,
    ) -> Outcome {
        let phase = PhaseOutcome {
            phase: Phase::Build,
            status,
            contexts,
            duration: Duration::ZERO,
        };
        Outcome {
            status,
            phases: vec![phase],
            artifacts: Vec::new(),
            exported: Vec::new(),
            retries: 0,
            stopped_by,
        }
    }

    #[test]
    fn the_exit_code_says_who_has_to_act() {
        let build = || vec![PhaseContext::build("X", "x")];
        let table = [
            (outcome(Status::Succeeded, vec![], None), 0),
            (outcome(Status::Failed, build(), None), 1),
            (
                outcome(Status::Failed, vec![PhaseContext::buildspec("x")], None),
                3,
            ),
            (
                outcome(
                    Status::Failed,
                    vec![PhaseContext::environment("X", "x")],
                    None,
                ),
                4,
            ),
            (outcome(Status::Fault, build(), None), 4),
            (outcome(Status::TimedOut, build(), None), 5),
            (
                outcome(Status::Stopped, vec![], Some(StopReason::Request)),
                6,
            ),
            (
                outcome(Status::Stopped, vec![], Some(StopReason::Signal(2))),
                130,
            ),
            (
                outcome(Status::Stopped, vec![], Some(StopReason::Signal(15))),
                143,
            ),
            (
                outcome(Status::Stopped, vec![], Some(StopReason::OutputClosed)),
                141,
            ),
        ];
        for (outcome, number) in table {
            assert_eq!(outcome.exit_code().number(), number, "{outcome:?}");
        }
        assert_eq!(ExitCode::Usage.number(), 2);
    }
}
