//! Takes what readers find and keeps what there is room for: a file can make us hold only so much.

use std::collections::HashMap;
use std::time::Duration;

use super::model::{
    Case, CoveredFile, MAX_MESSAGE, MAX_NAME, MAX_OUTPUT, Report, push_limited, shortened,
};
use crate::event::{CaseStatus, Coverage};

/// How much is kept of the reports of a build. What goes beyond is counted, and its report says so (REP-8).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Cases of one report.
    pub cases: usize,
    /// Bytes of names, messages and output of one report.
    pub text: usize,
    /// Files of one report of coverage.
    pub files: usize,
    /// Pieces of 64 lines, and lines with branches, of one report of coverage.
    pub lines: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cases: 20_000,
            text: 32 << 20,
            files: 20_000,
            lines: 500_000,
        }
    }
}

/// A suite that cases are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SuiteId(usize);

/// A source file under way; `None` inside if there was no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(Option<usize>);

/// A case as a reader finds it.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) suite: SuiteId,
    pub(super) class: String,
    pub(super) name: String,
    pub(super) status: CaseStatus,
    pub(super) duration: Option<Duration>,
    /// Empty if nothing is told.
    pub(super) message: String,
    pub(super) output: String,
}

impl Draft {
    pub(super) fn new(suite: SuiteId, name: &str) -> Self {
        Self {
            suite,
            class: String::new(),
            name: shortened(name, MAX_NAME),
            status: CaseStatus::Succeeded,
            duration: None,
            message: String::new(),
            output: String::new(),
        }
    }

    /// Adds to the message, as far as there is room.
    pub(super) fn say(&mut self, text: &str) {
        push_limited(&mut self.message, text, MAX_MESSAGE * 4);
    }

    /// Adds to the output, as far as there is room.
    pub(super) fn write(&mut self, text: &str) {
        push_limited(&mut self.output, text, MAX_OUTPUT);
    }

    /// Adds to the output on lines of its own.
    pub(super) fn write_lines(&mut self, text: &str) {
        if !text.trim().is_empty() {
            if !self.output.is_empty() && !self.output.ends_with('\n') {
                self.write("\n");
            }
            self.write(text.trim_matches(['\n', '\r']));
        }
    }
}

/// Fills one report.
#[derive(Debug)]
pub(super) struct Collector {
    report: Report,
    limits: Limits,
    /// Bytes of text that there is still room for.
    text: usize,
    /// Pieces of lines that there is still room for.
    lines: usize,
    by_name: HashMap<String, usize>,
    by_path: HashMap<String, usize>,
    /// Kept cases that give way to one that failed, the last one first.
    passing: Vec<usize>,
}

impl Collector {
    pub(super) fn new(report: Report, limits: Limits) -> Self {
        Self {
            report,
            text: limits.text,
            lines: limits.lines,
            limits,
            by_name: HashMap::new(),
            by_path: HashMap::new(),
            passing: Vec::new(),
        }
    }

    /// What was found, with files in the order of their paths.
    pub(super) fn finish(mut self) -> Report {
        self.report.coverage.sort_by(|a, b| a.path.cmp(&b.path));
        self.report
    }

    /// The next file of the report begins.
    pub(super) fn begin_file(&mut self) {
        self.report.files += 1;
    }

    pub(super) const fn report_mut(&mut self) -> &mut Report {
        &mut self.report
    }

    /// The suite of this name.
    pub(super) fn suite(&mut self, name: &str) -> SuiteId {
        let name = shortened(name.trim(), MAX_NAME);
        if let Some(&known) = self.by_name.get(&name) {
            return SuiteId(known);
        }
        match self.new_suite(name.clone()) {
            Some(id) => {
                self.by_name.insert(name, id);
                SuiteId(id)
            }
            None => SuiteId(usize::MAX),
        }
    }

    /// A suite whose name is not known yet.
    pub(super) fn unnamed_suite(&mut self) -> SuiteId {
        SuiteId(self.new_suite(String::new()).unwrap_or(usize::MAX))
    }

    fn new_suite(&mut self, name: String) -> Option<usize> {
        if self.report.suites.len() >= self.limits.cases || !self.take_text(name.len()) {
            self.report.truncated = true;
            return None;
        }
        self.report.suites.push(name);
        Some(self.report.suites.len() - 1)
    }

    /// Names a suite that had no name.
    pub(super) fn name_suite(&mut self, suite: SuiteId, name: &str) {
        let name = shortened(name.trim(), MAX_NAME);
        if self.take_text(name.len())
            && let Some(known) = self.report.suites.get_mut(suite.0)
        {
            *known = name;
        }
    }

    fn take_text(&mut self, bytes: usize) -> bool {
        let room = self.text.checked_sub(bytes);
        self.text = room.unwrap_or(self.text);
        room.is_some()
    }

    /// Takes a case. All are counted; those that failed are kept before all others.
    pub(super) fn case(&mut self, draft: Draft) {
        self.report.tests.add(draft.status, draft.duration);
        let failed = draft.status.is_failure();
        let message = draft.message.trim();
        let message = if message.is_empty() && failed {
            draft.output.lines().find(|line| !line.trim().is_empty())
        } else {
            Some(message).filter(|message| !message.is_empty())
        };
        let message = message.map(|message| shortened(message.trim(), MAX_MESSAGE));
        let mut case = Case {
            suite: draft.suite.0,
            class: shortened(&draft.class, MAX_NAME),
            name: draft.name,
            status: draft.status,
            duration: draft.duration,
            message,
            output: draft.output.trim_end().to_owned(),
        };
        let bytes = |case: &Case| {
            case.class.len() + case.name.len() + case.message.as_ref().map_or(0, String::len)
        };
        let has_room = self.report.cases.len() < self.limits.cases;
        let fits = self.take_text(bytes(&case) + case.output.len());
        if !fits {
            self.report.truncated |= !case.output.is_empty();
            case.output.clear();
        }
        if has_room && (fits || self.take_text(bytes(&case))) {
            if !failed {
                self.passing.push(self.report.cases.len());
            }
            self.report.cases.push(case);
            return;
        }
        self.report.truncated = true;
        // What it takes is no more than what gives way to it had, give or take a message.
        if failed && let Some(place) = self.passing.pop() {
            self.report.cases[place] = case;
        }
    }

    /// How many cases failed so far.
    pub(super) const fn failures(&self) -> usize {
        self.report.tests.failures()
    }

    /// The source file with this path.
    pub(super) fn file(&mut self, path: &str) -> FileId {
        let path = shortened(path.trim(), MAX_NAME);
        if let Some(&known) = self.by_path.get(&path) {
            return FileId(Some(known));
        }
        if self.report.coverage.len() >= self.limits.files || !self.take_text(path.len() * 2) {
            self.report.truncated = true;
            return FileId(None);
        }
        let place = self.report.coverage.len();
        self.by_path.insert(path.clone(), place);
        self.report.coverage.push(CoveredFile {
            path,
            ..CoveredFile::default()
        });
        FileId(Some(place))
    }

    /// A line of a source file that is code.
    pub(super) fn line(&mut self, file: FileId, number: u64, reached: bool) {
        let Some((file, number)) = self.place(file, number) else {
            return;
        };
        if self.report.coverage[file].lines.add(number, reached) {
            self.lines -= 1;
        }
    }

    /// Branches at a line of a source file: how many were reached, and how many there are.
    pub(super) fn branches(&mut self, file: FileId, number: u64, covered: u64, all: u64) {
        let bounded = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let Some((file, number)) = self.place(file, number) else {
            return;
        };
        let branches = &mut self.report.coverage[file].branches;
        let before = branches.len();
        let known = branches.entry(number).or_default();
        *known = (known.0.max(bounded(covered)), known.1.max(bounded(all)));
        self.lines -= branches.len() - before;
    }

    /// Where a line goes, if there is room for it.
    fn place(&mut self, file: FileId, number: u64) -> Option<(usize, u32)> {
        let number = u32::try_from(number).ok();
        if let (Some(file), Some(number), 1..) = (file.0, number, self.lines) {
            return Some((file, number));
        }
        self.report.truncated = true;
        None
    }

    /// What the report itself counts for a source file. Where the file stands in the report again, its lines count instead,
    /// if they are there (REP-6).
    pub(super) fn counted(&mut self, file: FileId, lines: Coverage, branches: Coverage) {
        let Some(place) = file.0 else { return };
        let file = &mut self.report.coverage[place];
        file.times_counted = file.times_counted.saturating_add(1);
        file.counted = match file.counted {
            _ if file.times_counted > 1 && !file.lines.is_empty() => None,
            Some((known, others)) => Some((known.and(lines), others.and(branches))),
            None => Some((lines, branches)),
        };
    }
}
