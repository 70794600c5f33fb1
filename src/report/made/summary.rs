//! A summary for programs, with CodeBuild's names where it has some.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::Overview;
use crate::event::{Coverage, CoverageSummary, ReportKind, TestSummary};
use crate::report::{Case, CoveredFile, Report};

/// Version of this form; grows with a change that a reader has to know of.
const FORMAT: u32 = 1;

/// Cases and files that are listed of one report.
const MAX_LISTED: usize = 1_000;

/// Slow cases that are listed.
const SLOWEST: usize = 10;

pub(super) fn write(overview: &Overview, out: &mut dyn Write) -> io::Result<()> {
    let slowest: Vec<Value> = overview
        .slowest(SLOWEST)
        .into_iter()
        .map(|(report, case)| case_json(report, case))
        .collect();
    let whole = json!({
        "format": FORMAT,
        "projectName": overview.project,
        "buildId": overview.build_id,
        "testSummary": tests_json(&overview.tests()),
        "codeCoverageSummary": overview.coverage().map(|summary| coverage_json(&summary)),
        "slowest": slowest,
        "reports": overview.reports.iter().map(report_json).collect::<Vec<_>>(),
    });
    serde_json::to_writer_pretty(&mut *out, &whole)?;
    writeln!(out)
}

fn report_json(report: &Report) -> Value {
    let problems = report.problems.iter();
    let problems: Vec<Value> = problems
        .map(|problem| json!({ "file": problem.file, "message": problem.message }))
        .collect();
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("reportGroup", json!(report.group));
    put("reportGroupArn", json!(report.arn));
    put("type", json!(report.kind().name()));
    put("fileFormat", json!(report.format.name()));
    put("status", json!(report.status().name()));
    put("discovered", json!(report.discovered));
    put("files", json!(report.files));
    put("truncated", json!(report.truncated));
    put("problems", json!(problems));
    match report.kind() {
        ReportKind::Test => {
            let failures = report.cases.iter().filter(|case| case.status.is_failure());
            let failures: Vec<Value> = failures
                .take(MAX_LISTED)
                .map(|case| case_json(report, case))
                .collect();
            put("testSummary", tests_json(&report.tests));
            put("failures", json!(failures));
        }
        ReportKind::CodeCoverage => {
            let files = report.coverage.iter().take(MAX_LISTED);
            put(
                "codeCoverageSummary",
                coverage_json(&report.coverage_summary()),
            );
            put(
                "codeCoverages",
                json!(files.map(file_json).collect::<Vec<_>>()),
            );
        }
    }
    Value::Object(fields)
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn tests_json(tests: &TestSummary) -> Value {
    json!({
        "total": tests.total(),
        "statusCounts": {
            "SUCCEEDED": tests.succeeded,
            "FAILED": tests.failed,
            "ERROR": tests.error,
            "SKIPPED": tests.skipped,
            "UNKNOWN": tests.unknown,
        },
        "durationInNanoSeconds": nanoseconds(tests.duration),
    })
}

fn case_json(report: &Report, case: &Case) -> Value {
    json!({
        "reportGroup": report.group,
        "testSuiteName": report.suite(case),
        "prefix": report.place(case),
        "name": case.name,
        "status": case.status.name(),
        "durationInNanoSeconds": case.duration.map(nanoseconds),
        "message": case.message,
    })
}

fn six(lines: Coverage, branches: Coverage) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("lineCoveragePercentage", json!(lines.percentage()));
    put("linesCovered", json!(lines.covered));
    put("linesMissed", json!(lines.missed));
    put("branchCoveragePercentage", json!(branches.percentage()));
    put("branchesCovered", json!(branches.covered));
    put("branchesMissed", json!(branches.missed));
    fields
}

fn coverage_json(summary: &CoverageSummary) -> Value {
    Value::Object(six(summary.lines, summary.branches))
}

fn file_json(file: &CoveredFile) -> Value {
    let mut fields = Map::new();
    fields.insert("filePath".to_owned(), json!(file.path));
    fields.extend(six(file.lines(), file.branches()));
    Value::Object(fields)
}
