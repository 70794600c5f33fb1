//! Reports in UPLOAD_ARTIFACTS: files are selected and read, told, and made into files for people and programs.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::drive::{Driver, Left};
use super::upload::Failure;
use crate::artifact::{SelectError, Selected, Selection, Workspace, select, starts};
use crate::directory::{LINK_HELP, Link};
use crate::event::{
    EventKind, ReportCollected, ReportFailure, ReportProblem, ReportSelected, ReportsWritten,
    Warning,
};
use crate::exec::Session;
use crate::phase::{CLIENT_ERROR, PhaseContext, Status};
use crate::plan::{Expandable, Plan, ReportPlan};
use crate::report::made::{self, Overview};
use crate::report::{self, Format, Limits, Problem, Reading, Report};
use crate::source::LineColumn;

/// The switch of report auto-discovery, and its pattern. Both may be set while the build runs.
const AUTO_DISCOVER: &str = "CODEBUILD_CONFIG_AUTO_DISCOVER";
const AUTO_DISCOVER_PATTERN: &str = "${CODEBUILD_CONFIG_AUTO_DISCOVER_DIR:-**/*}";

/// Cases that did not pass and are told of, of each report.
const MAX_TOLD: usize = 20;

/// Problems of one report that the failure of the build names.
const MAX_NAMED: usize = 5;

/// What was read so far.
#[derive(Default)]
pub(super) struct Collected {
    reports: Vec<Report>,
    /// Files that reports of the buildspec were made of: paths of this program's.
    taken: HashSet<PathBuf>,
    /// What is wrong, by group, as CodeBuild's message has it.
    wrong: Vec<String>,
    /// Where the first of that stands, and what to do about it.
    place: Option<LineColumn>,
    help: Option<String>,
}

/// A report of the buildspec with its texts expanded.
struct Wanted {
    group: String,
    format: Option<Format>,
    /// The format as written.
    named: String,
    selection: Selection,
}

impl Collected {
    /// Notes a report whose texts mean nothing.
    fn not_expanded(&mut self, report: &ReportPlan, why: PhaseContext) {
        let group = &report.group.text;
        self.wrong.push(format!("{group}: [{}]", why.message));
        self.place = self.place.or(why.place).or(Some(report.group.place));
        self.help = self.help.take().or(why.help);
    }
}

impl Driver {
    /// Removes what an earlier build's reports were made into, where nobody asked for it by name: it would be taken for this
    /// one's (REP-16).
    pub(super) fn clear_reports(&mut self, plan: &Plan) {
        let asked = &plan.report_request;
        if !asked.is_default {
            return;
        }
        if let Err(error) = made::clear(&asked.directory) {
            let message = format!(
                "could not remove reports of an earlier build from {}: {error}",
                asked.directory.display()
            );
            self.record(EventKind::Warning(Warning::new(message)));
        }
    }

    /// Reads the reports of the plan. What is wrong with them fails the phase when all are read.
    pub(super) async fn collect_reports<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
    ) -> Left<Result<Collected, Failure>> {
        let mut collected = Collected::default();
        for report in &plan.reports {
            if self.stop.is_requested() {
                break;
            }
            let wanted = match self.expand_report(session, report).await? {
                Ok(wanted) => wanted,
                // The others are read all the same (REP-17).
                Err(failure) if failure.status == Status::Failed => {
                    collected.not_expanded(report, failure.context);
                    continue;
                }
                Err(failure) => return Some(Err(failure)),
            };
            let from = starts(&wanted.selection, &self.workspace.source_directory);
            if let Err(failure) = self.bring(session, &from).await? {
                return Some(Err(failure));
            }
            self.collect_report(plan, report, wanted, &mut collected)
                .await?;
        }
        Some(Ok(collected))
    }

    async fn expand_report<S: Session>(
        &mut self,
        session: &mut S,
        report: &ReportPlan,
    ) -> Left<Result<Wanted, Failure>> {
        let all: Vec<&Expandable> = std::iter::once(&report.group)
            .chain(&report.base_directory)
            .chain(&report.files)
            .collect();
        let mut values = match self.expand_texts(session, &all).await? {
            Ok(values) => values.into_iter(),
            Err(failure) => return Some(Err(failure)),
        };
        let group = values.next().unwrap_or_default();
        let base_directory = report.base_directory.as_ref().and_then(|_| values.next());
        let places = report.files.iter().map(|file| file.place);
        let named = report.format.as_ref().map(|format| format.text.as_str());
        let named = named.unwrap_or(Format::JunitXml.name()).trim().to_owned();
        Some(Ok(Wanted {
            group: group.to_string_lossy().into_owned(),
            format: Format::named(&named),
            named,
            selection: Selection {
                identifier: None,
                base_directory,
                files: values.zip(places).collect(),
                exclude_paths: Vec::new(),
                // The paths are those of raw files that are exported, and here none are.
                discard_paths: false,
                keep_symlinks: false,
            },
        }))
    }

    async fn collect_report(
        &mut self,
        plan: &Plan,
        planned: &ReportPlan,
        wanted: Wanted,
        collected: &mut Collected,
    ) -> Left<()> {
        let workspace = self.workspace.clone();
        let stop = self.stop.clone();
        let (group, arn) = group_of(plan, &wanted.group);
        let key = wanted.group.clone();
        let selection = wanted.selection;
        let (format, named) = (wanted.format, wanted.named);
        let reading = tokio::task::spawn_blocking(move || {
            let stopped = || stop.is_requested();
            let selected = select(&selection, &workspace, &stopped);
            let mut report = Report::new(group, format.unwrap_or(Format::JunitXml));
            report.arn = arn;
            let mut reading = Reading::new(report, Limits::default());
            let mut taken = Vec::new();
            match (&selected.manifest, format) {
                (Ok(_), None) => reading.problem(problem_of_format(&named)),
                (Ok(manifest), Some(_)) => {
                    for file in manifest.iter().take_while(|_| !stopped()) {
                        let path = file.source();
                        let name = inside(&workspace, &path);
                        match file.open() {
                            Ok(bytes) => drop(reading.file(&name, bytes, &stopped)),
                            Err(error) => reading.unreadable(&name, &error),
                        }
                        taken.push(path);
                    }
                }
                (Err(error), _) => reading.problem(problem_of_selection(error)),
            }
            (selected, reading.finish(), taken)
        });
        let Ok((selected, mut report, taken)) = self.attend(reading).await? else {
            collected.wrong.push(format!("{key}: [reading broke off]"));
            return Some(());
        };
        self.tell_selection(&key, selected);
        collected.taken.extend(taken);
        if !report.problems.is_empty() && !self.stop.is_requested() {
            let place = if report.problems[0].file.is_some() {
                planned.format.as_ref().map(|format| format.place)
            } else {
                planned.files.first().map(|file| file.place)
            };
            collected.place = collected.place.or(place).or(Some(planned.group.place));
            let help = report
                .problems
                .iter()
                .find_map(|problem| problem.help.clone());
            collected.help = collected.help.take().or(help);
            collected.wrong.push(wrong(&key, &report.problems));
        }
        report.hide(self.recorder.secrets());
        self.record(EventKind::ReportCollected(event(&report)));
        collected.reports.push(report);
        Some(())
    }

    fn tell_selection(&mut self, key: &str, selected: Selected) {
        let summary = selected.summary;
        self.record(EventKind::ReportSelected(ReportSelected {
            group: key.to_owned(),
            base_directory: summary.base_directory,
            directories: summary.directories,
            files: summary.files,
        }));
        for warning in selected.warnings {
            self.record(EventKind::Warning(warning));
        }
    }

    /// Looks for reports that the buildspec does not name, unless the build has said not to (LOG-14), and reads them. Never
    /// fails a build.
    pub(super) async fn discover_reports<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
        collected: &mut Collected,
    ) -> Left<()> {
        let (mut wanted, mut pattern) = (true, OsString::from("**/*"));
        if session.mentions(AUTO_DISCOVER).await {
            let texts = [
                format!("${AUTO_DISCOVER}"),
                AUTO_DISCOVER_PATTERN.to_owned(),
            ];
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let output = self.output.clone();
            let mut cancel = self.cancel.subscribe();
            if let Ok(Ok(values)) = self
                .attend(session.expand(&texts, &output, &mut cancel))
                .await?
            {
                wanted = values[0] != *OsStr::new("false");
                pattern.clone_from(&values[1]);
            }
        }
        let source = [self.workspace.source_directory.clone()];
        if !wanted || self.bring(session, &source).await?.is_err() {
            return Some(());
        }
        let workspace = self.workspace.clone();
        let shown = pattern.to_string_lossy().into_owned();
        let stop = self.stop.clone();
        let project = plan.project.as_str().to_owned();
        let taken = std::mem::take(&mut collected.taken);
        let looking = tokio::task::spawn_blocking(move || {
            let stopped = || stop.is_requested();
            let mut found = report::discover(&workspace, &pattern, &stopped);
            found.found.retain(|(path, _)| !taken.contains(path));
            let reports = read_discovered(&workspace, &project, &found.found, &stopped);
            (found.files, found.duration, reports)
        });
        if let Ok((files, duration, reports)) = self.attend(looking).await? {
            self.record(EventKind::ReportsDiscovered {
                pattern: shown,
                files,
                duration,
            });
            for mut report in reports {
                report.hide(self.recorder.secrets());
                self.record(EventKind::ReportCollected(event(&report)));
                collected.reports.push(report);
            }
        }
        Some(())
    }

    /// Writes what is made of all reports, and says whether they are as they have to be.
    pub(super) async fn finish_reports(
        &mut self,
        plan: &Plan,
        collected: Collected,
    ) -> Left<Result<(), Failure>> {
        let Collected {
            reports,
            wrong,
            place,
            help,
            ..
        } = collected;
        let mut overview = Overview {
            project: plan.project.as_str().to_owned(),
            build_id: plan.build_id.clone(),
            reports,
        };
        let covered = overview.coverage();
        let is_whole = overview.is_whole();
        let asked = &plan.report_request;
        if !overview.reports.is_empty() || !asked.is_default {
            let directory = asked.directory.clone();
            let reports = std::mem::take(&mut overview);
            let writing = tokio::task::spawn_blocking(move || made::write(&directory, &reports));
            let written = self.attend(writing).await?;
            let error = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some(io::Error::other("writing broke off")),
            };
            if let Some(failure) = self.written(plan, error) {
                return Some(Err(failure));
            }
        }
        if !wrong.is_empty() {
            let mut failure = Failure::build(format!(
                "Error in UPLOAD_ARTIFACTS phase: [{}]",
                wrong.join(", ")
            ));
            failure.context.place = place;
            failure.context.help = help;
            return Some(Err(failure));
        }
        Some(match asked.fail_under {
            Some(_) if !is_whole => Err(not_all_counted()),
            Some(least) => enough(least, covered.and_then(|sum| sum.lines.percentage())),
            None => Ok(()),
        })
    }

    /// Tells where the files are, or why they are not there. Nobody may miss what was asked for.
    fn written(&mut self, plan: &Plan, error: Option<io::Error>) -> Option<Failure> {
        let asked = &plan.report_request;
        let directory = asked.directory.display().to_string();
        let Some(error) = error else {
            let files = made::FILES.map(str::to_owned).to_vec();
            self.record(EventKind::ReportsWritten(ReportsWritten {
                directory,
                files,
            }));
            return None;
        };
        let message = format!("could not write reports to {directory}: {error}");
        // Where a build leads them elsewhere, nobody goes on as if nothing was.
        let is_link = Link::of(&error).is_some();
        if asked.is_default && !is_link {
            let warning =
                Warning::new(message).with_help("name another directory with `--reports`");
            self.record(EventKind::Warning(warning));
            return None;
        }
        let context = PhaseContext::environment(
            CLIENT_ERROR,
            format!("Error in UPLOAD_ARTIFACTS phase: {message}"),
        );
        Some(Failure {
            status: Status::Fault,
            context: context.with_help(if is_link {
                LINK_HELP
            } else {
                "name a directory with room that can be written"
            }),
        })
    }
}

/// Name of a group, and its ARN where the buildspec has that (REP-2).
fn group_of(plan: &Plan, text: &str) -> (String, Option<String>) {
    let name = text
        .starts_with("arn:")
        .then(|| text.split_once(":report-group/"))
        .flatten();
    match name {
        Some((_, name)) => (name.to_owned(), Some(text.to_owned())),
        None => (format!("{}-{text}", plan.project), None),
    }
}

fn problem_of_format(named: &str) -> Problem {
    let all = Format::ALL.map(Format::name);
    Problem {
        file: None,
        message: format!("unknown file format: {named}"),
        help: Some(format!("write one of {}", all.join(", "))),
    }
}

fn problem_of_selection(error: &SelectError) -> Problem {
    let (message, help) = match error {
        SelectError::NothingMatched { .. } => (
            "no matching report paths found".to_owned(),
            Some("the files are looked for below the source directory or `base-directory`: did the tests run, and do they write their report there?".to_owned()),
        ),
        SelectError::NoBaseDirectory { .. } => (
            error.to_string(),
            Some(
                "it is looked for below the source directory, wherever the last command went"
                    .to_owned(),
            ),
        ),
        SelectError::Read { source, .. } => (format!("{error}: {source}"), None),
        SelectError::Pattern { .. } | SelectError::Stopped => (error.to_string(), None),
    };
    Problem {
        file: None,
        message,
        help,
    }
}

/// What is wrong with a group, as CodeBuild's message has it (REP-15).
fn wrong(key: &str, problems: &[Problem]) -> String {
    let of_files: Vec<String> = problems
        .iter()
        .filter_map(|problem| Some(format!("{}: {}", problem.file.as_ref()?, problem.message)))
        .take(MAX_NAMED)
        .collect();
    if of_files.is_empty() {
        let messages: Vec<&str> = problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        return format!("{key}: [{}]", messages.join(", "));
    }
    format!(
        "{key}: [error processing report: [{}]]",
        of_files.join(", ")
    )
}

/// A path as commands see it.
fn inside(workspace: &Workspace, path: &Path) -> String {
    let mount = workspace
        .mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.outside))
        .max_by_key(|mount| mount.outside.components().count());
    let seen =
        mount.and_then(|mount| Some(mount.inside.join(path.strip_prefix(&mount.outside).ok()?)));
    seen.unwrap_or_else(|| path.to_owned())
        .display()
        .to_string()
}

/// One report for each format that was found.
fn read_discovered(
    workspace: &Workspace,
    project: &str,
    found: &[(PathBuf, Format)],
    stopped: &dyn Fn() -> bool,
) -> Vec<Report> {
    let mut formats: Vec<Format> = found.iter().map(|(_, format)| *format).collect();
    formats.sort_unstable();
    formats.dedup();
    let read = |format: Format| {
        let group = format!("{project}-{}-AutoDiscovered", format.name());
        let mut report = Report::new(group, format);
        report.discovered = true;
        let mut reading = Reading::new(report, Limits::default());
        for (path, _) in found.iter().filter(|(_, other)| *other == format) {
            let name = inside(workspace, path);
            match workspace.open(path) {
                Ok(bytes) if !stopped() => drop(reading.file(&name, bytes, stopped)),
                Ok(_) => break,
                Err(error) => reading.unreadable(&name, &error),
            }
        }
        reading.finish()
    };
    formats.into_iter().map(read).collect()
}

/// What is told of a report.
fn event(report: &Report) -> ReportCollected {
    let failures = report.cases.iter().filter(|case| case.status.is_failure());
    ReportCollected {
        group: report.group.clone(),
        arn: report.arn.clone(),
        format: report.format.name(),
        kind: report.kind(),
        status: report.status(),
        files: report.files,
        tests: report.tests,
        coverage: report.coverage_summary(),
        failures: failures
            .take(MAX_TOLD)
            .map(|case| ReportFailure {
                suite: report.place(case).to_owned(),
                name: case.name.clone(),
                status: case.status,
                message: case.message.clone(),
            })
            .collect(),
        truncated: report.truncated,
        discovered: report.discovered,
        problems: report
            .problems
            .iter()
            .take(MAX_TOLD)
            .map(|problem| ReportProblem {
                file: problem.file.clone(),
                message: problem.message.clone(),
            })
            .collect(),
    }
}

/// Nobody knows how much of a project is covered whose coverage was not all kept (REP-14).
fn not_all_counted() -> Failure {
    let message = "more lines are in the coverage reports than are counted, so `--fail-under` cannot be decided";
    let mut failure = Failure::build(message.to_owned());
    failure.context.help =
        Some("have fewer source files in one report, or leave `--fail-under` out".to_owned());
    failure
}

/// Whether as many lines are covered as was asked for (REP-14).
fn enough(least: f64, covered: Option<f64>) -> Result<(), Failure> {
    let Some(covered) = covered else {
        let message =
            format!("no report tells the coverage of lines, which has to be {least}% at least");
        let mut failure = Failure::build(message);
        failure.context.help =
            Some("list a coverage report under `reports`, or leave `--fail-under` out".to_owned());
        return Err(failure);
    };
    if covered >= least {
        return Ok(());
    }
    // What is below must not be shown as if it were not.
    let shown = (covered * 100.0).floor() / 100.0;
    let mut failure = Failure::build(format!(
        "{shown:.2}% of lines are covered, and {least}% have to be"
    ));
    failure.context.help =
        Some("cover more of them with tests, or ask for less with `--fail-under`".to_owned());
    Err(failure)
}
