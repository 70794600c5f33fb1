//! The console of a build in a pipe or a CI system: CodeBuild's log or JSON on standard output, and what CodeBuild has no
//! line for on standard error.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use super::{CodebuildLog, JsonLines, Sink};
use crate::event::{CommandStarted, Event, EventKind, Warning};
use crate::phase::{COMMAND_EXECUTION_ERROR, Phase, PhaseContext, YAML_FILE_ERROR};
use crate::units::render_size;

/// What standard output carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleFormat {
    /// For people at a terminal.
    Pretty,
    /// CodeBuild's log.
    Codebuild,
    /// Events as JSON Lines.
    Json,
}

/// Files of an artifact that are listed one by one.
pub(super) const MAX_LISTED: usize = 20;

/// Standard output and standard error for programs.
pub struct Console {
    output: Box<dyn Sink>,
    notes: Box<dyn Write + Send>,
    /// Name of the buildspec, for places in it.
    buildspec: String,
    /// Whether only failures are noted.
    quiet: bool,
    /// The command that is running.
    command: Option<CommandStarted>,
    /// Files of the artifact that is being stored.
    listed: usize,
}

impl Console {
    /// Standard output without the lock and the line buffer of `std`: what is written is whole lines or raw output.
    pub fn stdout() -> io::Result<BufWriter<File>> {
        Ok(BufWriter::with_capacity(
            16 * 1024,
            unbuffered(&io::stdout())?,
        ))
    }

    /// The console of this process. With `quiet`, only failures are noted on standard error.
    pub fn new(format: ConsoleFormat, buildspec: String, quiet: bool) -> io::Result<Self> {
        let stdout = Self::stdout()?;
        let output: Box<dyn Sink> = match format {
            ConsoleFormat::Json => Box::new(JsonLines::new(stdout, "standard output")),
            ConsoleFormat::Codebuild | ConsoleFormat::Pretty => {
                Box::new(CodebuildLog::new(stdout, "standard output"))
            }
        };
        let notes = Box::new(unbuffered(&io::stderr())?);
        Ok(Self {
            output,
            notes,
            buildspec,
            quiet,
            command: None,
            listed: 0,
        })
    }

    fn note(&mut self, event: &Event) -> io::Result<()> {
        let text = match &event.kind {
            EventKind::CommandStarted(command) => {
                self.command = Some(command.clone());
                return Ok(());
            }
            EventKind::CommandFinished { exit, .. } if !exit.is_success() => {
                let Some(command) = self.command.take() else {
                    return Ok(());
                };
                let CommandStarted { phase, place, .. } = command;
                let phase = phase.phase();
                format!(
                    "error: {}\n  --> {}:{place} in phase {phase}\n",
                    exit.describe(),
                    self.buildspec
                )
            }
            EventKind::PhaseFinished {
                phase, contexts, ..
            } => contexts
                .iter()
                .filter(|context| !is_told_elsewhere(context))
                .map(|context| render_failure(context, *phase, &self.buildspec))
                .collect(),
            _ if self.quiet => return Ok(()),
            EventKind::Warning(warning) => render_warning(warning, &self.buildspec),
            EventKind::ArtifactSelected(_) => {
                self.listed = 0;
                return Ok(());
            }
            EventKind::ArtifactFileStored {
                path,
                bytes,
                sha256,
                ..
            } => {
                self.listed += 1;
                if self.listed > MAX_LISTED {
                    return Ok(());
                }
                format!(
                    "stored: {path} ({}, sha256 {sha256})\n",
                    render_size(*bytes)
                )
            }
            EventKind::ArtifactStored(stored) => {
                let more = self.listed.saturating_sub(MAX_LISTED);
                let mut text = if more > 0 {
                    format!("stored: {more} more files\n")
                } else {
                    String::new()
                };
                let size = render_size(stored.bytes);
                text.push_str(&match &stored.sha256 {
                    Some(sha256) => {
                        format!("artifact: {} ({size}, sha256 {sha256})\n", stored.location)
                    }
                    None => format!(
                        "artifact: {} ({}, {size})\n",
                        stored.location,
                        count(stored.files, "file")
                    ),
                });
                text
            }
            _ => return Ok(()),
        };
        self.notes.write_all(text.as_bytes())
    }
}

impl Sink for Console {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.output.event(event)?;
        // Notes that cannot be written are no reason to lose the log.
        let _ = self.note(event);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.output.finish()
    }

    fn name(&self) -> String {
        self.output.name()
    }
}

fn unbuffered(stream: &impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// A warning as it is read everywhere outside of a snippet.
#[must_use]
pub fn render_warning(warning: &Warning, buildspec: &str) -> String {
    let mut text = format!("warning: {}\n", warning.message);
    if let Some(place) = warning.place {
        text.push_str(&format!("  --> {buildspec}:{place}\n"));
    }
    if let Some(help) = &warning.help {
        text.push_str(&format!("  help: {help}\n"));
    }
    text
}

/// Whether a person has been told already: of the command when it failed, of the buildspec before the build.
fn is_told_elsewhere(context: &PhaseContext) -> bool {
    [COMMAND_EXECUTION_ERROR, YAML_FILE_ERROR].contains(&context.status_code)
}

/// Why a phase ended, as it is read everywhere outside of CodeBuild's log: what, where, and what to do.
pub(super) fn render_failure(context: &PhaseContext, phase: Phase, buildspec: &str) -> String {
    let message = context.message.trim_end();
    // In the log the phase is part of the text; here it has a line of its own.
    let message = message
        .strip_prefix(&format!("Error in {phase} phase: "))
        .unwrap_or(message);
    let place = match context.place {
        Some(place) => format!("  --> {buildspec}:{place} in phase {phase}\n"),
        None => format!("  --> phase {phase}\n"),
    };
    let help = context
        .help
        .as_ref()
        .map(|help| format!("  help: {help}\n"))
        .unwrap_or_default();
    format!("error: {message}\n{place}{help}")
}

/// `1 file`, `2 files`.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}
