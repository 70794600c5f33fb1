//! One JUnit file of all test reports.

use std::io::{self, Write};

use super::{Overview, attribute, escaped};
use crate::event::{CaseStatus, ReportKind, TestSummary};
use crate::report::{Case, Report};

pub(super) fn write(overview: &Overview, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    let tests = overview.tests();
    writeln!(
        out,
        "<testsuites name=\"{}\" {}>",
        attribute(&overview.project),
        counts(&tests)
    )?;
    for report in &overview.reports {
        if report.kind() == ReportKind::Test {
            suites(report, out)?;
        }
    }
    writeln!(out, "</testsuites>")
}

fn counts(tests: &TestSummary) -> String {
    format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.6}\"",
        tests.total(),
        tests.failed,
        tests.error + tests.unknown,
        tests.skipped,
        tests.duration.as_secs_f64()
    )
}

fn suites(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut by_suite: Vec<(&str, Vec<&Case>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for case in &report.cases {
        let suite = report.suite(case);
        let place = *places.entry(suite).or_insert_with(|| {
            by_suite.push((suite, Vec::new()));
            by_suite.len() - 1
        });
        by_suite[place].1.push(case);
    }
    let mut left_out = report.tests;
    for (suite, cases) in by_suite {
        let mut tests = TestSummary::default();
        for case in &cases {
            tests.add(case.status, case.duration);
        }
        left_out = left_out.without(&tests);
        let name = if suite.is_empty() {
            &report.group
        } else {
            suite
        };
        writeln!(
            out,
            "  <testsuite name=\"{}\" package=\"{}\" {}>",
            attribute(name),
            attribute(&report.group),
            counts(&tests)
        )?;
        for case in cases {
            one(report, case, out)?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    if left_out.total() > 0 {
        not_kept(report, &left_out, out)?;
    }
    Ok(())
}

/// A suite that only counts: what there was no room for, so that the numbers of suites add up to those of the file (REP-13).
fn not_kept(report: &Report, tests: &TestSummary, out: &mut dyn Write) -> io::Result<()> {
    let name = format!("{}: cases that are counted and not listed", report.group);
    writeln!(
        out,
        "  <testsuite name=\"{}\" package=\"{}\" {}/>",
        attribute(&name),
        attribute(&report.group),
        counts(tests)
    )
}

fn one(report: &Report, case: &Case, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "    <testcase name=\"{}\" classname=\"{}\"",
        attribute(&case.name),
        attribute(report.place(case))
    )?;
    if let Some(time) = case.duration {
        write!(out, " time=\"{:.6}\"", time.as_secs_f64())?;
    }
    let message = case.message.as_deref().unwrap_or_default();
    let message = attribute(message);
    let output = escaped(&case.output);
    match case.status {
        CaseStatus::Succeeded if output.is_empty() => writeln!(out, "/>"),
        CaseStatus::Succeeded => writeln!(out, "><system-out>{output}</system-out></testcase>"),
        CaseStatus::Skipped => writeln!(out, "><skipped message=\"{message}\"/></testcase>"),
        CaseStatus::Failed => {
            writeln!(
                out,
                "><failure message=\"{message}\">{output}</failure></testcase>"
            )
        }
        CaseStatus::Error => writeln!(
            out,
            "><error message=\"{message}\">{output}</error></testcase>"
        ),
        CaseStatus::Unknown => writeln!(
            out,
            "><error type=\"UNKNOWN\" message=\"{message}\">{output}</error></testcase>"
        ),
    }
}
