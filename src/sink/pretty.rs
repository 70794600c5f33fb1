//! The console of a build at a terminal: phases, commands with their place in the buildspec, a bar while artifacts are
//! packed and stored, and a table at the end.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::{MAX_LISTED, count, exported_lines, render_warning};
use super::failure::Failures;
use super::{Sink, report};
use crate::event::{
    ArtifactProgress, ArtifactStage, ArtifactStored, CacheEvent, CommandStarted, Event, EventKind,
    Exit, ReportCollected, ReportKind, ReportStatus, ReportsWritten, Retried, StopReason,
};
use crate::phase::{Phase, RetryScope, Status};
use crate::source::LineColumn;
use crate::units::{render_duration, render_size};

/// How the terminal is used.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts about a terminal and its reader"
)]
pub struct PrettyStyle {
    /// Whether text is coloured.
    pub colour: bool,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
    /// Whether bars are drawn.
    pub progress: bool,
    /// Columns of the terminal.
    pub width: usize,
    /// Whether only output and failures are shown.
    pub quiet: bool,
    /// Name of the buildspec, for places in it.
    pub buildspec: String,
    /// Where commands run, such as `on this host`.
    pub place: String,
}

/// Reasons that are told at the end; the first ones matter most.
const MAX_REASONS: usize = 10;

/// Lines of a command that are shown before it runs.
const MAX_COMMAND_LINES: usize = 12;

/// Shows a build to a person.
pub struct Pretty<W> {
    writer: W,
    style: PrettyStyle,
    at_line_start: bool,
    /// The phase whose heading was printed last; phases without commands have none.
    shown: Option<Phase>,
    phases: Vec<(Phase, Status, Duration)>,
    failures: Failures,
    /// Why the build does not succeed, for the end.
    reasons: Vec<String>,
    warnings: usize,
    retries: usize,
    artifacts: Vec<(ArtifactStored, Files)>,
    reports: Vec<ReportCollected>,
    written: Option<ReportsWritten>,
    /// Single files of the artifact that is being stored.
    files: Files,
    exported: Vec<String>,
    bar: Option<ProgressBar>,
    stage: Option<ArtifactStage>,
}

/// Single files of one artifact.
#[derive(Default)]
struct Files {
    /// The first of them, no more than are listed: path, size and SHA-256.
    listed: Vec<(String, u64, String)>,
    /// How many there are.
    all: usize,
}

#[derive(Clone, Copy)]
enum Paint {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl<W: Write + Send> Pretty<W> {
    /// Shows it on this writer.
    pub fn new(writer: W, style: PrettyStyle) -> Self {
        let failures = Failures::new(style.buildspec.clone());
        Self {
            writer,
            style,
            at_line_start: true,
            shown: None,
            phases: Vec::new(),
            failures,
            reasons: Vec::new(),
            warnings: 0,
            retries: 0,
            artifacts: Vec::new(),
            reports: Vec::new(),
            written: None,
            files: Files::default(),
            exported: Vec::new(),
            bar: None,
            stage: None,
        }
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.style.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Red => "1;31",
            Paint::Green => "1;32",
            Paint::Yellow => "1;33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn symbol(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.style.unicode { unicode } else { ascii }
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        self.end_line()?;
        self.writer.write_all(format!("{text}\n").as_bytes())
    }

    fn end_line(&mut self) -> io::Result<()> {
        if !self.at_line_start {
            self.at_line_start = true;
            self.writer.write_all(b"\n")?;
        }
        Ok(())
    }

    fn place(&self, place: LineColumn) -> String {
        format!("{}:{}", self.style.buildspec, place.line)
    }

    fn rule(&mut self, title: &str) -> io::Result<()> {
        let dash = self.symbol("─", "-");
        let width = self.style.width.clamp(20, 100);
        let rest = width.saturating_sub(title.chars().count() + 4);
        let left = self.paint(Paint::Dim, &dash.repeat(2));
        let right = self.paint(Paint::Dim, &dash.repeat(rest));
        let title = self.paint(Paint::Bold, title);
        self.line("")?;
        self.line(&format!("{left} {title} {right}"))
    }

    fn command_started(&mut self, command: &CommandStarted) -> io::Result<()> {
        if self.style.quiet {
            return Ok(());
        }
        let place = self.place(command.place);
        let mut lines = command.text.trim_end().lines();
        let first = lines.next().unwrap_or_default();
        let width = self.style.width.clamp(20, 100);
        let used = first.chars().count() + 2;
        let gap = width.saturating_sub(used + place.chars().count());
        let shown = if gap >= 2 {
            format!("{}{}", " ".repeat(gap), self.paint(Paint::Dim, &place))
        } else {
            String::new()
        };
        let prompt = self.paint(Paint::Dim, "$");
        let text = self.paint(Paint::Bold, first);
        self.line(&format!("{prompt} {text}{shown}"))?;
        let rest: Vec<&str> = lines.collect();
        for line in rest.iter().take(MAX_COMMAND_LINES) {
            let text = self.paint(Paint::Bold, line);
            self.line(&format!("  {text}"))?;
        }
        if let Some(more) = rest
            .len()
            .checked_sub(MAX_COMMAND_LINES)
            .filter(|more| *more > 0)
        {
            let text = self.paint(Paint::Dim, &format!("  ({} more)", count(more, "line")));
            self.line(&text)?;
        }
        Ok(())
    }

    fn command_finished(&mut self, exit: Exit, duration: Duration) -> io::Result<()> {
        self.end_line()?;
        if exit.is_success() {
            return Ok(());
        }
        let cross = self.symbol("✗", "x");
        let text = format!(
            "{cross} {} after {}",
            exit.describe(),
            render_duration(duration)
        );
        let text = self.paint(Paint::Red, &text);
        self.line(&text)
    }

    fn progress(&mut self, progress: &ArtifactProgress) {
        // The first report of a stage knows no size yet, and what is packed at once needs no bar.
        if !self.style.progress || progress.bytes == 0 {
            return;
        }
        if self.stage != Some(progress.stage) {
            self.clear_bar();
            self.stage = Some(progress.stage);
        }
        let unicode = self.style.unicode;
        let bar = self.bar.get_or_insert_with(|| {
            let bar =
                ProgressBar::with_draw_target(Some(progress.bytes), ProgressDrawTarget::stderr());
            let template = "{msg:>8} [{bar:32}] {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars(if unicode {
                    "█▉▊▋▌▍▎▏ "
                } else {
                    "=> "
                }));
            }
            bar.set_message(match progress.stage {
                ArtifactStage::Packing => "packing",
                ArtifactStage::Storing => "storing",
            });
            bar
        });
        bar.set_position(progress.bytes_done);
    }

    fn clear_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let message = first.strip_prefix("warning").unwrap_or(first);
        let word = self.paint(Paint::Yellow, "warning");
        self.line(&format!("{word}{message}"))?;
        for line in lines {
            let text = self.paint(Paint::Dim, line);
            self.line(&text)?;
        }
        Ok(())
    }

    fn cache(&mut self, event: &CacheEvent) -> io::Result<()> {
        if let Some(line) = super::cache::told(event) {
            let line = self.paint(Paint::Dim, &line);
            self.line(&line)?;
        }
        if let Some(warning) = super::cache::warning(event) {
            self.warnings += 1;
            let text = render_warning(&warning, &self.style.buildspec);
            self.warning(&text)?;
        }
        Ok(())
    }

    fn breakpoint(&mut self, text: &str) -> io::Result<()> {
        self.clear_bar();
        let text = self.paint(Paint::Yellow, text);
        self.line(&text)
    }

    fn stop_requested(&mut self, by: StopReason) -> io::Result<()> {
        let why = match by {
            StopReason::Signal(2) => "interrupted",
            StopReason::Signal(15) => "asked to terminate",
            StopReason::Signal(_) => "asked to end by a signal",
            StopReason::OutputClosed => "nobody reads the output any more",
            StopReason::Request => "asked to stop",
        };
        self.line("")?;
        let text = self.paint(Paint::Yellow, &format!("stopping: {why}"));
        let hint = self.paint(
            Paint::Dim,
            " (again: end the command by force; a third time: leave at once)",
        );
        self.line(&format!("{text}{hint}"))
    }

    /// What was told of the phases that run again is no part of the summary (PHASE-18).
    fn retried(&mut self, retried: &Retried) -> io::Result<()> {
        self.retries += 1;
        self.reasons.clear();
        self.shown = None;
        match retried.scope {
            RetryScope::Build => self.phases.clear(),
            RetryScope::Phase => drop(self.phases.pop()),
        }
        if self.style.quiet {
            return Ok(());
        }
        self.line("")?;
        let text = self.paint(Paint::Yellow, &retried.describe());
        self.line(&text)
    }

    fn summary(&mut self, status: Status, duration: Duration) -> io::Result<()> {
        self.clear_bar();
        if self.style.quiet {
            return self.failure_lines(status);
        }
        self.rule("SUMMARY")?;
        for (phase, status, duration) in std::mem::take(&mut self.phases) {
            let paint = colour_of(status);
            let mark = match status {
                Status::Succeeded => self.symbol("✔", "+"),
                _ => self.symbol("✗", "x"),
            };
            let mark = self.paint(paint, mark);
            let status = self.paint(paint, &format!("{status:<9}"));
            let time = self.paint(Paint::Dim, &render_duration(duration));
            self.line(&format!("{mark} {phase:<16} {status} {time}"))?;
        }
        self.report_lines()?;
        self.artifact_lines()?;
        self.exported_lines()?;
        self.failure_lines(status)?;
        let verdict = self.paint(colour_of(status), status.name());
        let time = render_duration(duration);
        let warnings = match self.warnings {
            0 => String::new(),
            number => format!(", {}", count(number, "warning")),
        };
        self.line("")?;
        let retries = match self.retries {
            0 => "",
            1 => " after 1 retry",
            number => &format!(" after {number} retries"),
        };
        self.line(&format!("{verdict} in {time}{retries}{warnings}"))
    }

    fn artifact_lines(&mut self) -> io::Result<()> {
        for (artifact, files) in std::mem::take(&mut self.artifacts) {
            self.line("")?;
            let what = match &artifact.identifier {
                Some(identifier) => format!("artifact {identifier}"),
                None => "artifact".to_owned(),
            };
            let size = format!(
                "{}, {}",
                count(artifact.files, "file"),
                render_size(artifact.bytes)
            );
            let location = self.paint(Paint::Bold, &artifact.location);
            self.line(&format!("{what} {location} ({size})"))?;
            if let Some(sha256) = &artifact.sha256 {
                let text = self.paint(Paint::Dim, &format!("  sha256 {sha256}"));
                self.line(&text)?;
            }
            self.file_lines(&files)?;
        }
        let stored = std::mem::take(&mut self.files);
        self.file_lines(&stored)
    }

    fn file_lines(&mut self, files: &Files) -> io::Result<()> {
        for (path, bytes, sha256) in &files.listed {
            let text = self.paint(Paint::Dim, &format!("  sha256 {sha256}"));
            self.line(&format!("{text}  {path} ({})", render_size(*bytes)))?;
        }
        match files.all.checked_sub(MAX_LISTED) {
            Some(more) if more > 0 => {
                let text = self.paint(Paint::Dim, &format!("  and {}", count(more, "more file")));
                self.line(&text)
            }
            _ => Ok(()),
        }
    }

    /// Tests that did not pass, counts, coverage, and where all of it is (REP-12).
    fn report_lines(&mut self) -> io::Result<()> {
        for collected in std::mem::take(&mut self.reports) {
            let paint = match collected.status {
                ReportStatus::Succeeded => Paint::Green,
                ReportStatus::Failed => Paint::Red,
                ReportStatus::Incomplete => Paint::Yellow,
            };
            let mark = match collected.status {
                ReportStatus::Succeeded => self.symbol("✔", "+"),
                ReportStatus::Failed | ReportStatus::Incomplete => self.symbol("✗", "x"),
            };
            let mark = self.paint(paint, mark);
            let group = self.paint(Paint::Bold, &collected.group);
            let facts = report::facts(&collected);
            let bar = match collected.coverage.lines.percentage() {
                Some(share) if collected.kind == ReportKind::CodeCoverage => {
                    format!("{} ", self.share(share))
                }
                _ => String::new(),
            };
            self.line("")?;
            self.line(&format!("{mark} report {group}  {bar}{facts}"))?;
            let cross = self.symbol("✗", "x");
            let cross = self.paint(Paint::Red, cross);
            for failure in &collected.failures {
                let place = report::place(failure);
                let name = self.paint(Paint::Bold, &failure.name);
                let place = self.paint(Paint::Dim, &place);
                self.line(&format!("  {cross} {place}{name}"))?;
                for line in report::message_lines(failure) {
                    self.line(&format!("      {line}"))?;
                }
            }
            for line in report::rest_lines(&collected) {
                let line = self.paint(Paint::Dim, &line);
                self.line(&format!("  {line}"))?;
            }
        }
        if let Some(written) = self.written.take() {
            let page = format!("{}/index.html", written.directory);
            let page = self.paint(Paint::Bold, &page);
            self.line("")?;
            self.line(&format!("reports {page}"))?;
        }
        Ok(())
    }

    /// A share of 100 as a bar of ten.
    fn share(&self, share: f64) -> String {
        const WIDTH: usize = 10;
        let tenths = (1..=10_u8).filter(|tenth| share >= f64::from(tenth * 10));
        let tenths = tenths.count();
        let (full, empty) = if self.style.unicode {
            ("█", "░")
        } else {
            ("#", ".")
        };
        let paint = match tenths {
            8.. => Paint::Green,
            5..8 => Paint::Yellow,
            _ => Paint::Red,
        };
        let full = self.paint(paint, &full.repeat(tenths));
        let empty = self.paint(Paint::Dim, &empty.repeat(WIDTH - tenths));
        format!("{full}{empty}")
    }

    fn exported_lines(&mut self) -> io::Result<()> {
        let exported = std::mem::take(&mut self.exported);
        if exported.is_empty() {
            return Ok(());
        }
        self.line("")?;
        for line in exported {
            self.line(&format!("exported {line}"))?;
        }
        Ok(())
    }

    fn failure_lines(&mut self, status: Status) -> io::Result<()> {
        if status == Status::Succeeded {
            return Ok(());
        }
        for reason in std::mem::take(&mut self.reasons) {
            let mut lines = reason.lines();
            let first = lines.next().unwrap_or_default();
            let error = self.paint(Paint::Red, "error");
            let message = self.paint(Paint::Bold, first.strip_prefix("error").unwrap_or(first));
            self.line("")?;
            self.line(&format!("{error}{message}"))?;
            for line in lines {
                let text = self.paint(Paint::Dim, line);
                self.line(&text)?;
            }
        }
        Ok(())
    }
}

const fn colour_of(status: Status) -> Paint {
    match status {
        Status::Succeeded => Paint::Green,
        Status::InProgress => Paint::Dim,
        Status::Stopped | Status::TimedOut => Paint::Yellow,
        Status::Failed | Status::Fault => Paint::Red,
    }
}

impl<W: Write + Send> Sink for Pretty<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let reasons = self.failures.event(&event.kind);
        let room = MAX_REASONS.saturating_sub(self.reasons.len());
        self.reasons.extend(reasons.into_iter().take(room));
        match &event.kind {
            EventKind::BuildStarted(_)
            | EventKind::BuildspecRead(_)
            | EventKind::RuntimeChosen(_)
            | EventKind::Cache(_)
            | EventKind::Warning(_)
            | EventKind::ArtifactProgress(_)
                if self.style.quiet => {}
            EventKind::BuildStarted(started) => {
                let title = format!("build {} of {}", started.build_number, started.project);
                let title = self.paint(Paint::Bold, &title);
                let rest = self.paint(Paint::Dim, &format!(" ({})", started.build_id));
                self.line(&format!("{title}{rest}"))?;
            }
            EventKind::BuildspecRead(read) => {
                let dot = self.symbol("·", "-");
                let text = format!(
                    "{} version {} {dot} {} {}",
                    self.style.buildspec, read.version, read.shell, self.style.place
                );
                let text = self.paint(Paint::Dim, &text);
                self.line(&text)?;
            }
            EventKind::RuntimeChosen(choice) => {
                for line in choice.lines() {
                    let line = self.paint(Paint::Dim, &line);
                    self.line(&line)?;
                }
            }
            EventKind::CommandStarted(command) => {
                let phase = command.phase.phase();
                if self.shown != Some(phase) && !self.style.quiet {
                    self.shown = Some(phase);
                    self.rule(phase.name())?;
                }
                self.command_started(command)?;
            }
            EventKind::Output { bytes } => {
                self.clear_bar();
                self.writer.write_all(bytes)?;
                self.at_line_start = bytes.last() == Some(&b'\n');
            }
            EventKind::CommandFinished { exit, duration, .. } => {
                self.command_finished(*exit, *duration)?;
            }
            EventKind::PhaseFinished {
                phase,
                status,
                duration,
                ..
            } => {
                self.clear_bar();
                self.phases.push((*phase, *status, *duration));
            }
            EventKind::ArtifactProgress(progress) => self.progress(progress),
            EventKind::ArtifactFileStored {
                path,
                bytes,
                sha256,
                ..
            } => {
                self.files.all += 1;
                if self.files.listed.len() < MAX_LISTED {
                    let file = (path.clone(), *bytes, sha256.clone());
                    self.files.listed.push(file);
                }
            }
            EventKind::ArtifactStored(stored) => {
                self.clear_bar();
                let files = std::mem::take(&mut self.files);
                self.artifacts.push((stored.clone(), files));
            }
            EventKind::ReportCollected(collected) => self.reports.push(collected.clone()),
            EventKind::ReportsWritten(written) => self.written = Some(written.clone()),
            EventKind::Retried(retried) => self.retried(retried)?,
            EventKind::ExportedVariables(variables) => self.exported = exported_lines(variables),
            EventKind::Warning(warning) => {
                self.warnings += 1;
                self.clear_bar();
                let text = render_warning(warning, &self.style.buildspec);
                self.warning(&text)?;
            }
            EventKind::Cache(event) => self.cache(event)?,
            EventKind::BreakpointReached(reached) => self.breakpoint(&reached.describe())?,
            EventKind::BreakpointLeft(left) => self.breakpoint(&left.describe())?,
            EventKind::StopRequested { by } => self.stop_requested(*by)?,
            EventKind::BuildFinished { status, duration } => self.summary(*status, *duration)?,
            EventKind::PhaseStarted { .. }
            | EventKind::SourceReady(_)
            | EventKind::BuildspecFound { .. }
            | EventKind::RuntimesSkipped
            | EventKind::ArtifactSelected(_)
            | EventKind::ReportSelected(_)
            | EventKind::ReportsDiscovered { .. } => {}
        }
        self.writer.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.clear_bar();
        self.end_line()?;
        self.writer.flush()
    }

    fn name(&self) -> String {
        "standard output".to_owned()
    }
}
