//! The console of a build in a pipe or a CI system: CodeBuild's log or JSON on standard output, and what CodeBuild has no
//! line for on standard error.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use super::failure::Failures;
use super::{CodebuildLog, JsonLines, Sink, report};
use crate::event::{Event, EventKind, ExportedVariable, Warning};
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
    failures: Failures,
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
            failures: Failures::new(buildspec.clone()),
            buildspec,
            quiet,
            listed: 0,
        })
    }

    fn note(&mut self, event: &Event) -> io::Result<()> {
        for reason in self.failures.event(&event.kind) {
            self.notes.write_all(reason.as_bytes())?;
        }
        let text = match &event.kind {
            _ if self.quiet => return Ok(()),
            EventKind::Warning(warning) => render_warning(warning, &self.buildspec),
            EventKind::Cache(event) => match super::cache::warning(event) {
                Some(warning) => render_warning(&warning, &self.buildspec),
                None => return Ok(()),
            },
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
                let what = match &stored.identifier {
                    Some(identifier) => format!("artifact {identifier}"),
                    None => "artifact".to_owned(),
                };
                text.push_str(&match &stored.sha256 {
                    Some(sha256) => {
                        format!("{what}: {} ({size}, sha256 {sha256})\n", stored.location)
                    }
                    None => format!(
                        "{what}: {} ({}, {size})\n",
                        stored.location,
                        count(stored.files, "file")
                    ),
                });
                text
            }
            EventKind::ReportCollected(collected) => {
                let mut text = format!("report: {}\n", report::headline(collected));
                for line in report::failure_lines(collected) {
                    text.push_str(&format!("  {line}\n"));
                }
                text
            }
            EventKind::ReportsWritten(written) => {
                format!("reports: {}\n", written.directory)
            }
            EventKind::Retried(retried) => format!("{}\n", retried.describe()),
            EventKind::BreakpointReached(reached) => format!("{}\n", reached.describe()),
            EventKind::BreakpointLeft(left) => format!("{}\n", left.describe()),
            EventKind::ExportedVariables(variables) => {
                let mut text = String::new();
                for line in exported_lines(variables) {
                    text.push_str(&format!("exported: {line}\n"));
                }
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

/// Most characters of a value that are shown.
const MAX_VALUE: usize = 200;

/// Exported variables for people: one a line, with nothing in it that would change a terminal.
pub(super) fn exported_lines(variables: &[ExportedVariable]) -> Vec<String> {
    let shown = variables.iter().take(MAX_LISTED).map(|variable| {
        let mut value = String::new();
        for c in variable.value.chars().take(MAX_VALUE) {
            if c.is_control() {
                value.extend(c.escape_default());
            } else {
                value.push(c);
            }
        }
        if variable.value.chars().nth(MAX_VALUE).is_some() {
            value.push('…');
        }
        format!("{}={value}", variable.name)
    });
    let more = variables.len().saturating_sub(MAX_LISTED);
    let rest = (more > 0).then(|| count(more, "more variable"));
    shown.chain(rest).collect()
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

/// `1 file`, `2 files`.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}
