//! Why a build does not succeed, as people read it.

use crate::event::{CommandStarted, EventKind, Exit, StopReason};
use crate::phase::{COMMAND_EXECUTION_ERROR, Phase, PhaseContext, Status, YAML_FILE_ERROR};
use crate::source::LineColumn;

/// A fold of events into reasons. A failed command is told at the end of its phase, or when the next command begins: not
/// before then is it known whether it failed by itself or was made to end.
#[derive(Debug)]
pub(super) struct Failures {
    buildspec: String,
    command: Option<CommandStarted>,
    failed: Option<(CommandStarted, Exit)>,
    /// Whether a command of this phase has failed, and is told of as such.
    command_failed: bool,
    /// Whether the buildspec is right as a file.
    buildspec_read: bool,
    stopped_by: Option<StopReason>,
}

impl Failures {
    pub(super) fn new(buildspec: String) -> Self {
        Self {
            buildspec,
            command: None,
            failed: None,
            command_failed: false,
            buildspec_read: false,
            stopped_by: None,
        }
    }

    /// The reasons that an event makes known. Each has the form `error: what`, then where and what to do.
    pub(super) fn event(&mut self, event: &EventKind) -> Vec<String> {
        match event {
            EventKind::BuildspecRead(_) => {
                self.buildspec_read = true;
                Vec::new()
            }
            EventKind::CommandStarted(command) => {
                self.command = Some(command.clone());
                self.command_failure().into_iter().collect()
            }
            EventKind::CommandFinished { exit, .. } => {
                let command = self.command.take();
                // What is broken around a command is told by its phase.
                if !exit.is_success() && *exit != Exit::Unknown {
                    self.failed = command.map(|command| (command, *exit));
                    self.command_failed = true;
                }
                Vec::new()
            }
            EventKind::StopRequested { by } => {
                self.stopped_by = self.stopped_by.or(Some(*by));
                Vec::new()
            }
            EventKind::PhaseFinished {
                phase,
                status,
                contexts,
                ..
            } => self.phase_finished(*phase, *status, contexts),
            _ => Vec::new(),
        }
    }

    fn phase_finished(
        &mut self,
        phase: Phase,
        status: Status,
        contexts: &[PhaseContext],
    ) -> Vec<String> {
        let ended = matches!(status, Status::Stopped | Status::TimedOut);
        let running = self.failed.as_ref().map(|(command, _)| command.place);
        let mut reasons = Vec::new();
        if ended {
            self.failed = None;
        }
        reasons.extend(self.command_failure());
        if status == Status::Stopped {
            let why = match self.stopped_by {
                Some(StopReason::Signal(signal)) => {
                    format!("stopped by {}", Exit::Signalled(signal).describe())
                }
                Some(StopReason::OutputClosed) => "stopped: nobody reads the output".to_owned(),
                Some(StopReason::Request) | None => "stopped by request".to_owned(),
            };
            reasons.push(format!("error: {why}\n{}", self.place(running, phase)));
        }
        // A command that failed has been told of, and what is wrong with a file by whoever read it.
        let command_failed = std::mem::take(&mut self.command_failed);
        let told = |context: &&PhaseContext| match &*context.status_code {
            COMMAND_EXECUTION_ERROR => command_failed,
            YAML_FILE_ERROR => !self.buildspec_read,
            _ => status == Status::Stopped && context.message.trim() == "stopped",
        };
        let others = contexts.iter().filter(|context| !told(context));
        reasons.extend(others.map(|context| self.reason(context, phase, running)));
        reasons
    }

    fn command_failure(&mut self) -> Option<String> {
        let (command, exit) = self.failed.take()?;
        let mut lines = command.text.trim_end().lines();
        let first = lines.next().unwrap_or_default().trim_end();
        let more = if lines.next().is_some() { " …" } else { "" };
        let phase = command.phase.phase();
        Some(format!(
            "error: `{first}{more}` failed with {}\n{}",
            exit.describe(),
            self.place(Some(command.place), phase)
        ))
    }

    fn place(&self, place: Option<LineColumn>, phase: Phase) -> String {
        match place {
            Some(place) => format!("  --> {}:{place} in phase {phase}\n", self.buildspec),
            None => format!("  --> phase {phase}\n"),
        }
    }

    /// Why a phase ended, as it is read everywhere outside of CodeBuild's log: what, where, and what to do.
    fn reason(&self, context: &PhaseContext, phase: Phase, running: Option<LineColumn>) -> String {
        let message = context.message.trim_end();
        // In the log the phase is part of the text; here it has a line of its own.
        let message = message
            .strip_prefix(&format!("Error in {phase} phase: "))
            .unwrap_or(message);
        let place = self.place(context.place.or(running), phase);
        let help = context.help.as_ref();
        let help = help
            .map(|help| format!("  help: {help}\n"))
            .unwrap_or_default();
        format!("error: {message}\n{place}{help}")
    }
}
