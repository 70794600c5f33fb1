//! Suites that are open while a test report is read. A suite that failed by itself is a case of its own, so that a failure
//! which no case tells of is not lost (REP-7).

use super::collect::{Collector, Draft, SuiteId};
use crate::event::CaseStatus;

/// A suite that is open.
struct Open {
    suite: SuiteId,
    name: String,
    /// How many cases had failed before it.
    failures_before: usize,
    /// What the suite itself tells of a failure.
    own: Option<Draft>,
    /// How many of its cases failed, as it says itself.
    claimed: u64,
}

/// The open suites, the innermost one last.
#[derive(Default)]
pub(super) struct Suites(Vec<Open>);

impl Suites {
    /// A suite begins.
    pub(super) fn enter(&mut self, name: &str, claimed: u64, into: &mut Collector) {
        self.0.push(Open {
            suite: into.suite(name),
            name: name.to_owned(),
            failures_before: into.failures(),
            own: None,
            claimed,
        });
    }

    /// The innermost suite, or one without a name.
    pub(super) fn current(&self, into: &mut Collector) -> SuiteId {
        self.0
            .last()
            .map_or_else(|| into.suite(""), |open| open.suite)
    }

    /// The innermost suite tells of a failure.
    pub(super) fn failed(&mut self, status: CaseStatus, message: &str, output: &str) {
        if let Some(open) = self.0.last_mut() {
            let own = open.own.get_or_insert_with(|| {
                let mut own = Draft::new(open.suite, &open.name);
                own.status = status;
                own
            });
            own.say(message);
            own.write_lines(output);
        }
    }

    /// The innermost suite ends.
    pub(super) fn leave(&mut self, into: &mut Collector) {
        let Some(open) = self.0.pop() else { return };
        if into.failures() > open.failures_before {
            return;
        }
        if let Some(own) = open.own {
            into.case(own);
        } else if open.claimed > 0 {
            let mut own = Draft::new(open.suite, &open.name);
            own.status = CaseStatus::Error;
            own.say(&format!(
                "the suite counts {} that failed, and no case tells of any",
                open.claimed
            ));
            into.case(own);
        }
    }
}

/// Class and name of a full name such as `Space.Class.Method("a.b")`.
pub(super) fn split_name(full: &str) -> (&str, &str) {
    let arguments = full.find(['(', '"']).unwrap_or(full.len());
    match full[..arguments].rfind('.') {
        Some(at) if at > 0 => (&full[..at], &full[at + 1..]),
        _ => ("", full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_before_their_arguments() {
        let table = [
            ("A.B.c", ("A.B", "c")),
            ("A.B.c(1.5, \"x.y\")", ("A.B", "c(1.5, \"x.y\")")),
            ("c", ("", "c")),
            (".c", ("", ".c")),
            ("", ("", "")),
        ];
        for (full, expected) in table {
            assert_eq!(split_name(full), expected);
        }
    }
}
