//! What is made of all reports of a build: one JUnit file, a JSON summary, a page (REP-13).

mod junit;
mod page;
mod summary;

pub(crate) use page::STYLE;

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::{Case, Report};
use crate::directory::Directory;
use crate::event::{CoverageSummary, ReportKind, TestSummary};

/// Names of the files, in the order in which they are written.
pub const FILES: [&str; 3] = ["junit.xml", "summary.json", "index.html"];

/// All reports of a build, with secrets hidden.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Name of the project.
    pub project: String,
    /// `project:uuid`.
    pub build_id: String,
    /// The reports.
    pub reports: Vec<Report>,
}

impl Overview {
    /// All tests of all reports.
    #[must_use]
    pub fn tests(&self) -> TestSummary {
        let mut sum = TestSummary::default();
        for tests in self.reports.iter().map(|report| report.tests) {
            sum.succeeded += tests.succeeded;
            sum.failed += tests.failed;
            sum.error += tests.error;
            sum.skipped += tests.skipped;
            sum.unknown += tests.unknown;
            sum.duration = sum.duration.saturating_add(tests.duration);
        }
        sum
    }

    /// All coverage: of the reports that the buildspec names, or of those that were found, where it names none (REP-14).
    #[must_use]
    pub fn coverage(&self) -> Option<CoverageSummary> {
        let summaries = self.that_count().into_iter().map(Report::coverage_summary);
        summaries.reduce(|sum, next| CoverageSummary {
            lines: sum.lines.and(next.lines),
            branches: sum.branches.and(next.branches),
            files: sum.files + next.files,
        })
    }

    /// Whether [`Self::coverage`] has counted all that is in the files.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.that_count().iter().all(|report| !report.truncated)
    }

    fn that_count(&self) -> Vec<&Report> {
        let of = |discovered: bool| -> Vec<&Report> {
            let reports = self.reports.iter().filter(move |report| {
                report.kind() == ReportKind::CodeCoverage && report.discovered == discovered
            });
            reports.collect()
        };
        let named = of(false);
        if named.is_empty() { of(true) } else { named }
    }

    /// Every case that is kept, with its report.
    fn cases(&self) -> impl Iterator<Item = (&Report, &Case)> {
        self.reports
            .iter()
            .flat_map(|report| report.cases.iter().map(move |case| (report, case)))
    }

    /// The cases that took longest, the slowest first.
    fn slowest(&self, most: usize) -> Vec<(&Report, &Case)> {
        let mut cases: Vec<_> = self
            .cases()
            .filter(|(_, case)| case.duration.is_some_and(|time| !time.is_zero()))
            .collect();
        cases.sort_by_key(|(_, case)| std::cmp::Reverse(case.duration));
        cases.truncate(most);
        cases
    }
}

/// Removes the files of an earlier build, as far as there are any; nothing through a link (CTR-66).
pub fn clear(directory: &Path) -> io::Result<()> {
    let directory = match Directory::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    for name in FILES {
        match directory.remove_file(OsStr::new(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Writes the files into this directory, each as a whole: a reader sees the old one or the new one. Its path is absolute,
/// and nothing is written through a link on it (CTR-66).
pub fn write(directory: &Path, overview: &Overview) -> io::Result<()> {
    let directory = Directory::make(directory, 0o777, &mut Vec::new())?;
    for name in FILES {
        directory.replace(OsStr::new(name), 0o644, |out| match name {
            "junit.xml" => junit::write(overview, out),
            "summary.json" => summary::write(overview, out),
            _ => page::write(overview, out),
        })?;
    }
    Ok(())
}

/// Text in XML and HTML, as content or in quotes. Characters that XML has no place for go.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            _ if c.is_control() => {}
            _ => out.push(c),
        }
    }
    out
}

/// The same for an attribute, where the end of a line has to be written as such.
fn attribute(text: &str) -> String {
    escaped(text).replace('\n', "&#10;").replace('\t', "&#9;")
}
