//! Reports in events: hidden, as JSON, and as people read them (REP-12).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::console::count;
use super::json::{directories_json, seconds};
use crate::event::{
    Coverage, ReportCollected, ReportFailure, ReportKind, ReportSelected, ReportsWritten,
    TestSummary,
};
use crate::units::render_duration;

/// Lines of a message that are shown.
const MAX_LINES: usize = 3;

/// Characters of a line that are shown.
const MAX_LINE: usize = 160;

/// The same with every text of the build passed through `text`.
pub(super) fn selected(
    mut selected: ReportSelected,
    text: impl Fn(String) -> String,
) -> ReportSelected {
    selected.group = text(selected.group);
    selected.base_directory = text(selected.base_directory);
    for directory in &mut selected.directories {
        directory.directory = text(std::mem::take(&mut directory.directory));
        for (pattern, _) in &mut directory.patterns {
            *pattern = text(std::mem::take(pattern));
        }
    }
    selected
}

/// The same with every text of the build passed through `text`.
pub(super) fn collected(
    mut collected: ReportCollected,
    text: impl Fn(String) -> String,
) -> ReportCollected {
    collected.group = text(collected.group);
    collected.arn = collected.arn.map(&text);
    for failure in &mut collected.failures {
        failure.suite = text(std::mem::take(&mut failure.suite));
        failure.name = text(std::mem::take(&mut failure.name));
        failure.message = failure.message.take().map(&text);
    }
    for problem in &mut collected.problems {
        problem.file = problem.file.take().map(&text);
        problem.message = text(std::mem::take(&mut problem.message));
    }
    collected
}

pub(super) fn selected_json(selected: &ReportSelected) -> (&'static str, Value) {
    (
        "report-selected",
        json!({
            "reportGroup": selected.group,
            "baseDirectory": selected.base_directory,
            "directories": directories_json(&selected.directories),
            "files": selected.files,
        }),
    )
}

pub(super) fn written_json(written: &ReportsWritten) -> (&'static str, Value) {
    (
        "reports-written",
        json!({ "directory": written.directory, "files": written.files }),
    )
}

pub(super) fn discovered_json(
    pattern: &str,
    files: usize,
    duration: Duration,
) -> (&'static str, Value) {
    (
        "reports-discovered",
        json!({ "pattern": pattern, "files": files, "durationSeconds": seconds(duration) }),
    )
}

pub(super) fn collected_json(collected: &ReportCollected) -> (&'static str, Value) {
    let failures: Vec<Value> = collected.failures.iter().map(failure_json).collect();
    let problems = collected.problems.iter();
    let problems: Vec<Value> = problems
        .map(|problem| json!({ "file": problem.file, "message": problem.message }))
        .collect();
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("reportGroup", json!(collected.group));
    put("reportGroupArn", json!(collected.arn));
    put("type", json!(collected.kind.name()));
    put("fileFormat", json!(collected.format));
    put("reportStatus", json!(collected.status.name()));
    put("discovered", json!(collected.discovered));
    put("files", json!(collected.files));
    match collected.kind {
        ReportKind::Test => put("testSummary", tests_json(&collected.tests)),
        ReportKind::CodeCoverage => put(
            "codeCoverageSummary",
            json!({
                "files": collected.coverage.files,
                "lines": coverage_json(collected.coverage.lines),
                "branches": coverage_json(collected.coverage.branches),
            }),
        ),
    };
    put("failures", json!(failures));
    put("truncated", json!(collected.truncated));
    put("problems", json!(problems));
    ("report-collected", Value::Object(fields))
}

fn failure_json(failure: &ReportFailure) -> Value {
    json!({
        "suite": failure.suite,
        "name": failure.name,
        "status": failure.status.name(),
        "message": failure.message,
    })
}

fn tests_json(tests: &TestSummary) -> Value {
    json!({
        "total": tests.total(),
        "succeeded": tests.succeeded,
        "failed": tests.failed,
        "error": tests.error,
        "skipped": tests.skipped,
        "unknown": tests.unknown,
        "testSeconds": tests.duration.as_secs_f64(),
    })
}

fn coverage_json(coverage: Coverage) -> Value {
    json!({
        "covered": coverage.covered,
        "missed": coverage.missed,
        "percentage": coverage.percentage(),
    })
}

/// A report in one line.
pub(super) fn headline(collected: &ReportCollected) -> String {
    format!(
        "{} {}, {}",
        collected.group,
        collected.status.name(),
        facts(collected)
    )
}

/// Counts, and coverage.
pub(super) fn facts(collected: &ReportCollected) -> String {
    match collected.kind {
        ReportKind::Test => test_facts(&collected.tests),
        ReportKind::CodeCoverage => {
            let summary = &collected.coverage;
            let mut text = share("line", summary.lines);
            if summary.branches.total() > 0 {
                text.push_str(&format!(", {}", share("branch", summary.branches)));
            }
            format!("{text} in {}", count(summary.files, "file"))
        }
    }
}

fn test_facts(tests: &TestSummary) -> String {
    let kinds = [
        (tests.failed, "failed"),
        (tests.error, "broken"),
        (tests.unknown, "unknown"),
        (tests.skipped, "skipped"),
    ];
    let mut text = count(tests.total(), "test");
    for (number, what) in kinds.into_iter().filter(|(number, _)| *number > 0) {
        text.push_str(&format!(", {number} {what}"));
    }
    if !tests.duration.is_zero() {
        text.push_str(&format!(" in {}", render_duration(tests.duration)));
    }
    text
}

fn share(what: &str, coverage: Coverage) -> String {
    let plural = if what == "branch" {
        "branches"
    } else {
        "lines"
    };
    match coverage.percentage() {
        Some(percentage) => {
            // 99.96 is not all of them.
            let shown = (percentage * 10.0).floor() / 10.0;
            format!(
                "{shown:.1}% of {plural} ({}/{})",
                coverage.covered,
                coverage.total()
            )
        }
        None => format!("no {plural}"),
    }
}

/// The suite of a case and what stands between it and its name.
pub(super) fn place(failure: &ReportFailure) -> String {
    if failure.suite.is_empty() || failure.suite == failure.name {
        String::new()
    } else {
        format!("{} > ", failure.suite)
    }
}

/// The beginning of a case's message.
pub(super) fn message_lines(failure: &ReportFailure) -> Vec<String> {
    let message = failure.message.as_deref().unwrap_or_default();
    let lines = message
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    lines.take(MAX_LINES).map(cut).collect()
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(MAX_LINE) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// What is left out, and what is wrong with files.
pub(super) fn rest_lines(collected: &ReportCollected) -> Vec<String> {
    let more = collected
        .tests
        .failures()
        .saturating_sub(collected.failures.len());
    let mut lines = Vec::new();
    if more > 0 {
        lines.push(format!("and {}", count(more, "more failure")));
    }
    for problem in &collected.problems {
        let file = problem.file.as_ref();
        lines.push(match file {
            Some(file) => format!("{file}: {}", problem.message),
            None => problem.message.clone(),
        });
    }
    if collected.truncated {
        lines.push("more was in the files than is kept".to_owned());
    }
    lines
}

/// Tests that did not pass, a line each with the beginning of their message, and the rest.
pub(super) fn failure_lines(collected: &ReportCollected) -> Vec<String> {
    let failures = collected.failures.iter().map(|failure| {
        let message = message_lines(failure);
        let message = message.first().map(|line| format!(": {line}"));
        format!(
            "{} {}{}{}",
            failure.status.name(),
            place(failure),
            failure.name,
            message.unwrap_or_default()
        )
    });
    failures.chain(rest_lines(collected)).collect()
}
