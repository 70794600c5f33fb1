//! The log as CodeBuild writes it, letter for letter (LOG-1 to LOG-14): tools parse it.

use std::io::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Sink;
use super::json::seconds;
use crate::event::{
    ArtifactSelected, BuildspecRead, CommandStarted, DirectorySelection, Event, EventKind, Exit,
    RuntimesNamed, SourceReady,
};
use crate::phase::{Phase, PhaseContext, Status};
use crate::plan::SourceKind;

/// Writes CodeBuild's log.
pub struct CodebuildLog<W> {
    writer: W,
    name: String,
    /// Whether the last byte written was the end of a line.
    at_line_start: bool,
    /// Text of the command that is running.
    command: String,
    /// What kinds of places the sources are from, in their order.
    sources: Vec<SourceKind>,
    /// What follows the selection of runtimes and the cache.
    held: Option<Held>,
}

/// What is said when values are fetched, the runtimes are selected and the cache is restored.
struct Held {
    directory: String,
    read: BuildspecRead,
    /// Whether it is said what of runtimes is not selected.
    has_runtimes: bool,
    /// Whether it is said where the build moves to, and what of the cache there is to say before it is restored.
    has_moved: bool,
}

/// What the log says where runtimes cannot be selected.
const NO_RUNTIMES: &str =
    "Skipping install of runtimes. Runtime version selection is not supported by this build image";

impl<W: Write + Send> CodebuildLog<W> {
    /// A log to this writer; `name` says what it is if it fails.
    pub fn new(writer: W, name: impl Into<String>) -> Self {
        Self {
            writer,
            name: name.into(),
            at_line_start: true,
            command: String::new(),
            sources: Vec::new(),
            held: None,
        }
    }

    /// What the log is written to.
    pub const fn writer(&mut self) -> &mut W {
        &mut self.writer
    }

    /// One line of the agent, at the beginning of a line whatever a command has written.
    fn line(&mut self, time: SystemTime, text: &str) -> io::Result<()> {
        self.end_line()?;
        self.writer.write_all(log_line(time, text).as_bytes())
    }

    fn end_line(&mut self) -> io::Result<()> {
        if !self.at_line_start {
            self.writer.write_all(b"\n")?;
            self.at_line_start = true;
        }
        Ok(())
    }

    fn lines<T: AsRef<str>>(
        &mut self,
        time: SystemTime,
        texts: impl IntoIterator<Item = T>,
    ) -> io::Result<()> {
        texts
            .into_iter()
            .try_for_each(|text| self.line(time, text.as_ref()))
    }

    fn source_ready(&mut self, time: SystemTime, source: &SourceReady) -> io::Result<()> {
        self.sources.push(source.kind);
        let directory = &source.directory;
        match &source.identifier {
            None => {
                self.command.clone_from(directory);
                self.line(time, &format!("CODEBUILD_SRC_DIR={directory}"))
            }
            Some(identifier) => {
                self.line(time, &format!("CODEBUILD_SRC_DIR_{identifier}={directory}"))
            }
        }
    }

    fn buildspec_read(&mut self, time: SystemTime, read: &BuildspecRead) -> io::Result<()> {
        let sources = std::mem::take(&mut self.sources);
        self.lines(time, sources.into_iter().map(timeout_of))?;
        if !read.unrecognized.is_empty() {
            self.line(time, &unrecognized(&read.unrecognized))?;
        }
        for (phase, commands) in &read.phases {
            if *commands == 0 {
                self.line(
                    time,
                    &format!("No commands found for phase name: {}", phase.key()),
                )?;
            }
        }
        self.line(time, "Processing environment variables")?;
        if read.has_parameters {
            self.line(time, "Decrypting parameter store environment variables")?;
        }
        Ok(())
    }

    /// Says that no runtime is selected, where that is known without looking, once.
    fn runtimes(&mut self, time: SystemTime, held: &mut Held) -> io::Result<()> {
        if held.has_runtimes {
            return Ok(());
        }
        held.has_runtimes = true;
        match held.read.runtimes {
            RuntimesNamed::None => self.line(time, "No runtime version selected in buildspec."),
            RuntimesNamed::OfMachine => self.line(time, NO_RUNTIMES),
            RuntimesNamed::OfImage => Ok(()),
        }
    }

    /// Says where the build moves to, once.
    fn moving(&mut self, time: SystemTime, held: &mut Held) -> io::Result<()> {
        self.runtimes(time, held)?;
        if held.has_moved {
            return Ok(());
        }
        held.has_moved = true;
        self.line(time, &format!("Moving to directory {}", held.directory))?;
        if !held.read.has_cache {
            self.lines(
                time,
                [
                    "Cache is not defined in the buildspec",
                    "Skip cache due to: no paths specified to be cached",
                ],
            )?;
        }
        Ok(())
    }

    fn moving_on(&mut self, time: SystemTime, mut held: Held) -> io::Result<()> {
        self.moving(time, &mut held)?;
        let read = held.read;
        self.line(time, "Registering with agent")?;
        self.line(
            time,
            &format!("Phases found in YAML: {}", read.phases.len()),
        )?;
        // One blank more before the phase, and always the plural.
        let phases = read
            .phases
            .iter()
            .map(|(phase, commands)| format!(" {}: {commands} commands", phase.phase()));
        self.lines(time, phases)
    }

    fn command_finished(&mut self, time: SystemTime, exit: Exit) -> io::Result<()> {
        self.end_line()?;
        self.writer.write_all(b"\n")?;
        // Of a command whose end nobody knows, only the phase tells.
        if !exit.is_success() && exit != Exit::Unknown {
            let command = std::mem::take(&mut self.command);
            self.line(
                time,
                &format!(
                    "Command did not exit successfully {command} {}",
                    exit.describe()
                ),
            )?;
        }
        Ok(())
    }

    fn phase_finished(
        &mut self,
        time: SystemTime,
        phase: Phase,
        status: Status,
        aborted: bool,
        contexts: &[PhaseContext],
    ) -> io::Result<()> {
        let state = if aborted {
            "FAILED_WITH_ABORT"
        } else {
            status.name()
        };
        self.line(time, &format!("Phase complete: {phase} State: {state}"))?;
        if contexts.is_empty() {
            // Two blanks in the middle and one at the end: some tools look for exactly this.
            return self.line(time, "Phase context status code:  Message: ");
        }
        for context in contexts {
            let PhaseContext {
                status_code,
                message,
                ..
            } = context;
            self.line(
                time,
                &format!("Phase context status code: {status_code} Message: {message}"),
            )?;
        }
        Ok(())
    }

    fn artifact_selected(
        &mut self,
        time: SystemTime,
        selected: &ArtifactSelected,
    ) -> io::Result<()> {
        if let Some(identifier) = &selected.identifier {
            self.line(
                time,
                &format!("Preparing to copy secondary artifacts {identifier}"),
            )?;
        }
        self.selected(
            time,
            &selected.base_directory,
            &selected.directories,
            selected.files,
        )
    }

    /// A selection step by step, of an artifact or of a report.
    fn selected(
        &mut self,
        time: SystemTime,
        base_directory: &str,
        directories: &[DirectorySelection],
        files: usize,
    ) -> io::Result<()> {
        self.expanding(
            time,
            &format!("Expanding base directory path: {base_directory}"),
            base_directory,
        )?;
        for DirectorySelection {
            directory,
            patterns,
        } in directories
        {
            self.line(
                time,
                &format!("Expanding file paths for base directory {directory}"),
            )?;
            self.line(time, "Assembling file list")?;
            self.lines(
                time,
                patterns
                    .iter()
                    .map(|(pattern, _)| format!("Expanding {pattern}")),
            )?;
            let missed = patterns.iter().filter(|(_, matched)| *matched == 0);
            self.lines(
                time,
                missed.map(|(pattern, _)| format!("Skipping invalid file path {pattern}")),
            )?;
        }
        if files > 0 {
            self.line(time, &format!("Found {files} file(s)"))?;
        }
        Ok(())
    }

    fn expanding(&mut self, time: SystemTime, first: &str, directory: &str) -> io::Result<()> {
        self.line(time, first)?;
        self.line(time, "Assembling file list")?;
        self.line(time, &format!("Expanding {directory}"))
    }

    fn reports_discovered(
        &mut self,
        time: SystemTime,
        pattern: &str,
        files: usize,
        seconds: f64,
    ) -> io::Result<()> {
        self.line(time, "Set report auto-discover timeout to 5 seconds")?;
        self.expanding(time, "Expanding base directory path:  .", ".")?;
        self.line(time, "Expanding file paths for base directory .")?;
        self.line(time, "Assembling file list")?;
        self.line(time, &format!("Expanding {pattern}"))?;
        if files == 0 {
            self.line(time, "No matching auto-discover report paths found")?;
        } else {
            self.line(time, &format!("Found {files} file(s)"))?;
        }
        self.line(
            time,
            &format!("Report auto-discover file discovery took {seconds:.6} seconds"),
        )
    }
}

/// A sentence as the log has them.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// A line of the agent, with its end.
#[must_use]
pub fn log_line(time: SystemTime, text: &str) -> String {
    format!("[Container] {} {text}\n", timestamp(time))
}

/// What the log says of how a source is fetched (SRC-31).
const fn timeout_of(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::S3 => "Setting HTTP client timeout to higher timeout for S3 source",
        SourceKind::Git => {
            "Setting HTTP client timeout to higher timeout for Github and GitHub Enterprise sources"
        }
        SourceKind::CodeCommit => "Not setting HTTP client timeout for source type codecommit",
    }
}

impl<W: Write + Send> Sink for CodebuildLog<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let time = event.time;
        match &event.kind {
            EventKind::BuildStarted(_) => self.lines(
                time,
                [
                    "Running on CodeBuild On-demand",
                    "Waiting for agent ping",
                    "Waiting for DOWNLOAD_SOURCE",
                ],
            )?,
            EventKind::PhaseStarted { phase } => match phase {
                Phase::DownloadSource => self.line(time, "Phase is DOWNLOAD_SOURCE")?,
                Phase::Install | Phase::PreBuild | Phase::Build | Phase::PostBuild => {
                    self.line(time, &format!("Entering phase {phase}"))?;
                }
                _ => {}
            },
            EventKind::SourceReady(source) => self.source_ready(time, source)?,
            EventKind::BuildspecFound { location } => {
                self.line(time, &format!("YAML location is {location}"))?;
            }
            EventKind::BuildspecRead(read) => {
                self.buildspec_read(time, read)?;
                let directory = std::mem::take(&mut self.command);
                let mut held = Held {
                    directory,
                    read: read.clone(),
                    has_runtimes: false,
                    has_moved: false,
                };
                // Values are there before anything is selected: if they cannot be had, nothing follows (ENV-52).
                if !read.has_fetched {
                    self.runtimes(time, &mut held)?;
                }
                if read.has_fetched || read.runtimes == RuntimesNamed::OfImage {
                    self.held = Some(held);
                } else if read.has_cache {
                    self.moving(time, &mut held)?;
                    self.held = Some(held);
                } else {
                    self.moving_on(time, held)?;
                }
            }
            EventKind::RuntimeChosen(choice) => self.lines(time, choice.lines())?,
            EventKind::RuntimesSkipped => self.line(time, NO_RUNTIMES)?,
            EventKind::CommandStarted(CommandStarted { text, .. }) => {
                self.command.clone_from(text);
                self.line(time, &format!("Running command {text}"))?;
            }
            EventKind::Output { bytes } => {
                self.writer.write_all(bytes)?;
                self.at_line_start = bytes.last() == Some(&b'\n');
            }
            EventKind::CommandFinished { exit, .. } => self.command_finished(time, *exit)?,
            EventKind::PhaseFinished {
                phase,
                status,
                aborted,
                contexts,
                ..
            } => {
                // What values or a selection that failed never came to is not told.
                let held = self.held.take().filter(|_| *status == Status::Succeeded);
                if let Some(held) = held {
                    self.moving_on(time, held)?;
                }
                self.phase_finished(time, *phase, *status, *aborted, contexts)?;
            }
            EventKind::Retried(retried) => {
                self.line(time, &capitalised(&retried.describe()))?;
            }
            EventKind::BreakpointReached(reached) => {
                self.line(time, &capitalised(&reached.describe()))?;
            }
            EventKind::BreakpointLeft(left) => self.line(time, &capitalised(&left.describe()))?,
            EventKind::ArtifactSelected(selected) => self.artifact_selected(time, selected)?,
            EventKind::ReportSelected(selected) => self.selected(
                time,
                &selected.base_directory,
                &selected.directories,
                selected.files,
            )?,
            EventKind::Cache(event) => {
                if let Some(mut held) = self.held.take() {
                    self.moving(time, &mut held)?;
                    self.held = Some(held);
                }
                self.lines(time, super::cache::log_lines(event))?;
            }
            EventKind::ReportsDiscovered {
                pattern,
                files,
                duration,
            } => {
                self.reports_discovered(time, pattern, *files, seconds(*duration))?;
            }
            EventKind::ArtifactProgress(_)
            | EventKind::ArtifactFileStored { .. }
            | EventKind::ArtifactStored(_)
            | EventKind::ReportCollected(_)
            | EventKind::ReportsWritten(_)
            | EventKind::ExportedVariables(_)
            | EventKind::Warning(_)
            | EventKind::StopRequested { .. }
            | EventKind::BuildFinished { .. } => {}
        }
        self.writer.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.end_line()?;
        self.writer.flush()
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// CodeBuild's own hint at keys that mean nothing, over several lines with a blank at the end of the first (LOG-9).
fn unrecognized(sections: &[(String, Vec<String>)]) -> String {
    let mut text = "Found possible syntax errors in buildspec: ".to_owned();
    for (section, keys) in sections {
        text.push_str("\nIn the section ");
        text.push_str(section);
        text.push_str("\n    The following keys cannot be identified:");
        for key in keys {
            text.push_str("\n        ");
            text.push_str(key);
        }
    }
    text
}

/// `2025/05/06 09:10:11.102030`, UTC.
fn timestamp(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or_default();
    let civil = timestamp.to_zoned(TimeZone::UTC).datetime();
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.{:06}",
        civil.year(),
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second(),
        civil.subsec_nanosecond() / 1000
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::CommandList;
    use crate::source::LineColumn;

    fn log(kinds: Vec<EventKind>) -> String {
        let mut log = CodebuildLog::new(Vec::new(), "test");
        for (sequence, kind) in kinds.into_iter().enumerate() {
            let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_746_522_611_102_030);
            log.event(&Event {
                sequence: sequence as u64,
                time,
                kind,
            })
            .unwrap();
        }
        log.finish().unwrap();
        String::from_utf8(log.writer).unwrap()
    }

    fn command(text: &str) -> EventKind {
        EventKind::CommandStarted(CommandStarted {
            phase: crate::phase::CommandPhase::Build,
            list: CommandList::Commands,
            index: 0,
            text: text.to_owned(),
            place: LineColumn { line: 1, column: 1 },
        })
    }

    fn finished(status: i32) -> EventKind {
        EventKind::CommandFinished {
            exit: Exit::Exited(status),
            duration: Duration::ZERO,
            leaked: false,
        }
    }

    #[test]
    fn a_line_has_the_time_with_microseconds() {
        assert_eq!(
            log(vec![command("a")]),
            "[Container] 2025/05/06 09:10:11.102030 Running command a\n"
        );
    }

    // What is read from the events makes the same log, also of times that lie in the middle of two microseconds.
    #[test]
    fn a_duration_is_the_same_as_in_the_events() {
        let took = |duration: Duration| {
            log(vec![EventKind::ReportsDiscovered {
                pattern: "*".to_owned(),
                files: 0,
                duration,
            }])
        };
        for microseconds in 0..1000 {
            let duration = Duration::from_nanos(microseconds * 1000 + 500);
            let read = Duration::from_secs_f64(seconds(duration));
            assert_eq!(took(duration), took(read), "{duration:?}");
        }
    }

    #[test]
    fn one_empty_line_follows_the_output_of_a_command_whatever_it_printed() {
        let output = |text: &str| EventKind::Output {
            bytes: text.as_bytes().to_vec(),
        };
        let stamp = "[Container] 2025/05/06 09:10:11.102030 ";
        let table = [
            (
                vec![command("a"), finished(0)],
                format!("{stamp}Running command a\n\n"),
            ),
            (
                vec![command("a"), output("x\n"), finished(0)],
                format!("{stamp}Running command a\nx\n\n"),
            ),
            (
                vec![command("a"), output("x"), finished(0)],
                format!("{stamp}Running command a\nx\n\n"),
            ),
            (
                vec![command("a\nb\n"), finished(7)],
                format!(
                    "{stamp}Running command a\nb\n\n\n{stamp}Command did not exit successfully a\nb\n exit status 7\n"
                ),
            ),
        ];
        for (events, expected) in table {
            assert_eq!(log(events), expected);
        }
    }

    #[test]
    fn a_line_of_the_agent_never_continues_a_line_of_a_background_process() {
        let output = EventKind::Output {
            bytes: b"half".to_vec(),
        };
        let stamp = "[Container] 2025/05/06 09:10:11.102030 ";
        assert_eq!(
            log(vec![output, command("a")]),
            format!("half\n{stamp}Running command a\n")
        );
    }

    #[test]
    fn a_phase_without_a_context_keeps_its_blanks() {
        let finished = |aborted, contexts| EventKind::PhaseFinished {
            phase: Phase::Build,
            status: if aborted {
                Status::Failed
            } else {
                Status::Succeeded
            },
            aborted,
            contexts,
            duration: Duration::ZERO,
        };
        assert!(
            log(vec![finished(false, Vec::new())])
                .ends_with(" Phase context status code:  Message: \n")
        );
        let text = log(vec![finished(
            true,
            vec![PhaseContext::build("CODE", "text")],
        )]);
        assert!(text.contains(" Phase complete: BUILD State: FAILED_WITH_ABORT\n"));
        assert!(text.ends_with(" Phase context status code: CODE Message: text\n"));
    }
}
