//! What reports of all formats have in common: cases in suites, and how much of each file was reached.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Format;
use crate::event::{CaseStatus, Coverage, CoverageSummary, ReportKind, ReportStatus, TestSummary};

/// Most characters of a name or a path, as on CodeBuild.
pub(super) const MAX_NAME: usize = 1_000;

/// Most characters of a case's message, as on CodeBuild.
pub(super) const MAX_MESSAGE: usize = 5_000;

/// Most bytes that are kept of what a case wrote and where it failed.
pub(super) const MAX_OUTPUT: usize = 64 * 1024;

/// A test case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its suite: a place in [`Report::suites`].
    pub suite: usize,
    /// The class or file that it is in; empty where that is not told.
    pub class: String,
    /// Its name.
    pub name: String,
    /// How it ended.
    pub status: CaseStatus,
    /// How long it took, where that is told.
    pub duration: Option<Duration>,
    /// Why it ended so, in short.
    pub message: Option<String>,
    /// Where it failed and what it wrote.
    pub output: String,
}

/// One source file, and how much of it was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoveredFile {
    /// Its path, as the report has it.
    pub path: String,
    pub(super) lines: Lines,
    /// By line: branches that were reached, and all.
    pub(super) branches: BTreeMap<u32, (u32, u32)>,
    /// What the report itself counts, where that is what counts (REP-6).
    pub(super) counted: Option<(Coverage, Coverage)>,
    /// How often the report counted.
    pub(super) times_counted: u32,
}

impl CoveredFile {
    /// Lines of code.
    #[must_use]
    pub fn lines(&self) -> Coverage {
        self.counted
            .map_or_else(|| self.lines.coverage(), |(lines, _)| lines)
    }

    /// Branches.
    #[must_use]
    pub fn branches(&self) -> Coverage {
        if let Some((_, branches)) = self.counted {
            return branches;
        }
        self.branches
            .values()
            .fold(Coverage::default(), |sum, &(covered, all)| {
                sum.and(Coverage {
                    covered: u64::from(covered.min(all)),
                    missed: u64::from(all.saturating_sub(covered)),
                })
            })
    }
}

/// Which lines are code, and which of them were reached: a bit each, so that a file of many lines costs little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// By the number of 64 lines: which of them are code, which were reached.
    blocks: BTreeMap<u32, (u64, u64)>,
}

impl Lines {
    /// Takes a line. Once reached, it stays so. Returns whether it needed more memory.
    pub(super) fn add(&mut self, number: u32, reached: bool) -> bool {
        let before = self.blocks.len();
        let (code, hit) = self.blocks.entry(number / 64).or_default();
        let bit = 1 << (number % 64);
        *code |= bit;
        if reached {
            *hit |= bit;
        }
        self.blocks.len() > before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    fn coverage(&self) -> Coverage {
        let count = |bits: u64| u64::from(bits.count_ones());
        self.blocks
            .values()
            .fold(Coverage::default(), |sum, &(code, hit)| {
                sum.and(Coverage {
                    covered: count(hit),
                    missed: count(code) - count(hit),
                })
            })
    }
}

/// A file that could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as commands see it; `None` if there is no file.
    pub file: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

/// The results of one build in one report group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name of the group.
    pub group: String,
    /// The ARN of the group, where the buildspec has it.
    pub arn: Option<String>,
    /// The format of its files.
    pub format: Format,
    /// Whether it was found without being in the buildspec.
    pub discovered: bool,
    /// How many files were read.
    pub files: usize,
    /// Names of suites.
    pub suites: Vec<String>,
    /// Cases, those that failed before all others if not all could be kept.
    pub cases: Vec<Case>,
    /// All cases, also those that are not kept.
    pub tests: TestSummary,
    /// How much of each file was reached, by path.
    pub coverage: Vec<CoveredFile>,
    /// Whether more is in the files than is kept here.
    pub truncated: bool,
    /// What is wrong with its files.
    pub problems: Vec<Problem>,
}

impl Report {
    /// A report without anything in it.
    #[must_use]
    pub fn new(group: impl Into<String>, format: Format) -> Self {
        Self {
            group: group.into(),
            arn: None,
            format,
            discovered: false,
            files: 0,
            suites: Vec::new(),
            cases: Vec::new(),
            tests: TestSummary::default(),
            coverage: Vec::new(),
            truncated: false,
            problems: Vec::new(),
        }
    }

    /// What it is about.
    #[must_use]
    pub const fn kind(&self) -> ReportKind {
        self.format.kind()
    }

    /// How it ended (REP-7).
    #[must_use]
    pub const fn status(&self) -> ReportStatus {
        if !self.problems.is_empty() {
            ReportStatus::Incomplete
        } else if self.tests.failures() > 0 {
            ReportStatus::Failed
        } else {
            ReportStatus::Succeeded
        }
    }

    /// Name of a case's suite.
    #[must_use]
    pub fn suite(&self, case: &Case) -> &str {
        self.suites.get(case.suite).map_or("", String::as_str)
    }

    /// Where a case is, as people read it: its class, else its suite.
    #[must_use]
    pub fn place<'r>(&'r self, case: &'r Case) -> &'r str {
        if case.class.is_empty() {
            self.suite(case)
        } else {
            &case.class
        }
    }

    /// All of its files together.
    #[must_use]
    pub fn coverage_summary(&self) -> CoverageSummary {
        let files = self.coverage.iter();
        files.fold(CoverageSummary::default(), |sum, file| CoverageSummary {
            lines: sum.lines.and(file.lines()),
            branches: sum.branches.and(file.branches()),
            files: sum.files + 1,
        })
    }
}

/// Adds text to what is kept, up to a number of bytes.
pub(super) fn push_limited(kept: &mut String, text: &str, most: usize) {
    let room = most.saturating_sub(kept.len());
    kept.push_str(&text[..text.floor_char_boundary(room)]);
}

/// The first characters of a text.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => text[..at].to_owned(),
        None => text.to_owned(),
    }
}
