//! What events say of reports.

use std::time::Duration;

use super::DirectorySelection;

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// Test cases.
    Test,
    /// Code coverage.
    CodeCoverage,
}

impl ReportKind {
    /// CodeBuild's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Test => "TEST",
            Self::CodeCoverage => "CODE_COVERAGE",
        }
    }
}

/// How a report ended (REP-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportStatus {
    /// Every case passed or was skipped.
    Succeeded,
    /// Some cases did not.
    Failed,
    /// There is no file, or one that could not be read to its end.
    Incomplete,
}

impl ReportStatus {
    /// CodeBuild's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Incomplete => "INCOMPLETE",
        }
    }
}

/// How a test case ended (REP-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseStatus {
    /// It passed.
    Succeeded,
    /// It did not do what was expected of it.
    Failed,
    /// It could not be carried out.
    Error,
    /// It was not carried out.
    Skipped,
    /// Something else.
    Unknown,
}

impl CaseStatus {
    /// CodeBuild's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Error => "ERROR",
            Self::Skipped => "SKIPPED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether a report with such a case is no success.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Error | Self::Unknown)
    }
}

/// How many test cases ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestSummary {
    /// Cases that passed.
    pub succeeded: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that could not be carried out.
    pub error: usize,
    /// Cases that were skipped.
    pub skipped: usize,
    /// Cases of which nobody knows.
    pub unknown: usize,
    /// The times of all cases together.
    pub duration: Duration,
}

impl TestSummary {
    /// All cases.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.succeeded + self.failed + self.error + self.skipped + self.unknown
    }

    /// Cases that make their report fail.
    #[must_use]
    pub const fn failures(&self) -> usize {
        self.failed + self.error + self.unknown
    }

    /// What is left of these without those.
    #[must_use]
    pub const fn without(&self, those: &Self) -> Self {
        Self {
            succeeded: self.succeeded.saturating_sub(those.succeeded),
            failed: self.failed.saturating_sub(those.failed),
            error: self.error.saturating_sub(those.error),
            skipped: self.skipped.saturating_sub(those.skipped),
            unknown: self.unknown.saturating_sub(those.unknown),
            duration: self.duration.saturating_sub(those.duration),
        }
    }

    /// Takes one more case.
    pub fn add(&mut self, status: CaseStatus, duration: Option<Duration>) {
        let counter = match status {
            CaseStatus::Succeeded => &mut self.succeeded,
            CaseStatus::Failed => &mut self.failed,
            CaseStatus::Error => &mut self.error,
            CaseStatus::Skipped => &mut self.skipped,
            CaseStatus::Unknown => &mut self.unknown,
        };
        *counter = counter.saturating_add(1);
        self.duration = self
            .duration
            .saturating_add(duration.unwrap_or(Duration::ZERO));
    }
}

/// How much of something was reached by tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// What was reached.
    pub covered: u64,
    /// What was not.
    pub missed: u64,
}

impl Coverage {
    /// Both together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.covered.saturating_add(self.missed)
    }

    /// What was reached, from 0 to 100; `None` if there is nothing to reach.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a percentage of lines needs no 53 bits"
    )]
    pub fn percentage(self) -> Option<f64> {
        match self.total() {
            0 => None,
            total => Some(self.covered as f64 * 100.0 / total as f64),
        }
    }

    /// Both added up.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            covered: self.covered.saturating_add(other.covered),
            missed: self.missed.saturating_add(other.missed),
        }
    }
}

/// Lines and branches that were reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoverageSummary {
    /// Lines of code.
    pub lines: Coverage,
    /// Branches.
    pub branches: Coverage,
    /// How many files.
    pub files: usize,
}

/// The files of one report group were selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSelected {
    /// The group as the buildspec names it, after expansion.
    pub group: String,
    /// `base-directory` after expansion, or `.`.
    pub base_directory: String,
    /// The directories it stands for, with what each pattern matched there. Empty if there is none.
    pub directories: Vec<DirectorySelection>,
    /// How many files were selected.
    pub files: usize,
}

/// A report: the results of one build in one report group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportCollected {
    /// Name of the group: with that of the project before it, unless the buildspec names it by its ARN.
    pub group: String,
    /// The ARN, where the buildspec has it.
    pub arn: Option<String>,
    /// CodeBuild's name of the format.
    pub format: &'static str,
    /// What it is about.
    pub kind: ReportKind,
    /// How it ended.
    pub status: ReportStatus,
    /// How many files were read.
    pub files: usize,
    /// Its cases, if it is about tests.
    pub tests: TestSummary,
    /// Its files, if it is about coverage.
    pub coverage: CoverageSummary,
    /// The first of the cases that did not pass.
    pub failures: Vec<ReportFailure>,
    /// Whether more is in the files than is kept of them.
    pub truncated: bool,
    /// Whether it was found without being in the buildspec.
    pub discovered: bool,
    /// What is wrong with its files.
    pub problems: Vec<ReportProblem>,
}

/// A test case that did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFailure {
    /// Its suite.
    pub suite: String,
    /// Its name.
    pub name: String,
    /// How it ended.
    pub status: CaseStatus,
    /// Why, as far as it was told.
    pub message: Option<String>,
}

/// A file of a report that could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportProblem {
    /// The file as commands see it; `None` if there is no file.
    pub file: Option<String>,
    /// What is wrong.
    pub message: String,
}

/// What runner makes of all reports is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportsWritten {
    /// The directory.
    pub directory: String,
    /// The files in it.
    pub files: Vec<String>,
}
