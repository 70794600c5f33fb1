//! A page for people. It needs nothing from elsewhere, runs no script, and says so to the browser.

use std::io::{self, Write};
use std::time::Duration;

use super::{Overview, escaped};
use crate::event::{CaseStatus, Coverage, CoverageSummary, ReportKind, ReportStatus, TestSummary};
use crate::report::{Case, CoveredFile, Report};
use crate::units::render_duration;

/// How pages of this program look.
pub(crate) const STYLE: &str = include_str!("page.css");

/// Failures that are shown with what they wrote.
const MAX_FAILURES: usize = 200;

/// Bytes of what one of them wrote.
const MAX_OUTPUT: usize = 16 * 1024;

/// Slow tests that are shown.
const SLOWEST: usize = 10;

/// Rows of a table that may have many.
const MAX_ROWS: usize = 2_000;

pub(super) fn write(overview: &Overview, out: &mut dyn Write) -> io::Result<()> {
    let title = escaped(&overview.project);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Reports of {title}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n\
         <header><h1>{title}</h1><small>{}</small></header>\n",
        escaped(&overview.build_id)
    )?;
    let tests = overview.tests();
    tiles(&tests, overview.coverage(), out)?;
    reports(overview, out)?;
    failures(overview, &tests, out)?;
    slowest(overview, out)?;
    coverage(overview, out)?;
    all(overview, out)?;
    writeln!(out, "</main></body></html>")
}

fn tiles(
    tests: &TestSummary,
    coverage: Option<CoverageSummary>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut tiles = String::new();
    let mut tile = |class: &str, value: &str, what: &str| {
        tiles.push_str(&format!(
            "<div class=\"tile\"><b class=\"{class}\">{value}</b><span>{what}</span></div>\n"
        ));
    };
    if tests.total() > 0 {
        let marked = |number: usize, class: &'static str| if number > 0 { class } else { "" };
        tile("", &tests.total().to_string(), "tests");
        tile(
            marked(tests.succeeded, "good"),
            &tests.succeeded.to_string(),
            "passed",
        );
        tile(
            marked(tests.failed, "bad"),
            &tests.failed.to_string(),
            "failed",
        );
        let broken = tests.error + tests.unknown;
        tile(marked(broken, "bad"), &broken.to_string(), "broken");
        tile(
            marked(tests.skipped, "skip"),
            &tests.skipped.to_string(),
            "skipped",
        );
        if !tests.duration.is_zero() {
            tile("", &render_duration(tests.duration), "in tests");
        }
    }
    if let Some(summary) = coverage {
        let (class, value) = share(summary.lines);
        tile(class, &value, "of lines");
        if summary.branches.total() > 0 {
            let (class, value) = share(summary.branches);
            tile(class, &value, "of branches");
        }
    }
    writeln!(out, "<section class=\"tiles\">\n{tiles}</section>")?;
    if tests.total() == 0 {
        return Ok(());
    }
    write!(out, "<div class=\"strip\" aria-hidden=\"true\">")?;
    for (number, class) in [
        (tests.succeeded, "good"),
        (tests.failures(), "bad"),
        (tests.skipped, "skip"),
    ] {
        if number > 0 {
            write!(out, "<i class=\"b-{class}\" style=\"flex:{number}\"></i>")?;
        }
    }
    writeln!(out, "</div>")
}

/// A share with the colour that it deserves.
fn share(coverage: Coverage) -> (&'static str, String) {
    match coverage.percentage() {
        Some(share) => {
            let class = match share {
                80.0.. => "good",
                50.0.. => "warn",
                _ => "bad",
            };
            (class, format!("{:.1}%", (share * 10.0).floor() / 10.0))
        }
        None => ("", "–".to_owned()),
    }
}

fn bar(coverage: Coverage) -> String {
    let (class, value) = share(coverage);
    match coverage.percentage() {
        Some(share) => format!(
            "<span class=\"bar\"><i class=\"b-{class}\" style=\"width:{share:.1}%\"></i></span><span>{value}</span>"
        ),
        None => value,
    }
}

fn reports(overview: &Overview, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<h2>Reports</h2>\n<div class=\"card\"><table><thead><tr><th>Group</th><th>Status</th><th>Format</th><th class=\"n\">Files</th><th>Result</th></tr></thead><tbody>"
    )?;
    for report in &overview.reports {
        let class = match report.status() {
            ReportStatus::Succeeded => "good",
            ReportStatus::Failed => "bad",
            ReportStatus::Incomplete => "warn",
        };
        let mut notes = String::new();
        let mut note = |text: &str| notes.push_str(&format!("<small>{}</small>", escaped(text)));
        if report.discovered {
            note("found, not in the buildspec");
        }
        if report.truncated {
            note("more was in the files than is kept");
        }
        for problem in &report.problems {
            note(&match &problem.file {
                Some(file) => format!("{file}: {}", problem.message),
                None => problem.message.clone(),
            });
        }
        writeln!(
            out,
            "<tr><td class=\"name\">{}{notes}</td><td><span class=\"badge {class}\">{}</span></td><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            escaped(&report.group),
            report.status().name(),
            report.format.name(),
            report.files,
            result(report)
        )?;
    }
    writeln!(out, "</tbody></table></div>")
}

fn result(report: &Report) -> String {
    match report.kind() {
        ReportKind::Test => {
            let tests = &report.tests;
            let bad = tests.failures();
            let mut text = format!("{} tests", tests.total());
            if bad > 0 {
                text.push_str(&format!(", <span class=\"bad\">{bad} did not pass</span>"));
            }
            text
        }
        ReportKind::CodeCoverage => {
            let summary = report.coverage_summary();
            format!("{} of lines", bar(summary.lines))
        }
    }
}

fn badge(status: CaseStatus) -> String {
    let class = match status {
        CaseStatus::Succeeded => "good",
        CaseStatus::Failed | CaseStatus::Error => "bad",
        CaseStatus::Skipped => "skip",
        CaseStatus::Unknown => "warn",
    };
    format!("<span class=\"badge {class}\">{}</span>", status.name())
}

fn time(duration: Option<Duration>) -> String {
    duration.map(render_duration).unwrap_or_default()
}

fn failures(overview: &Overview, tests: &TestSummary, out: &mut dyn Write) -> io::Result<()> {
    let all = tests.failures();
    if all == 0 {
        return Ok(());
    }
    writeln!(out, "<h2>Failures <small>{all}</small></h2>")?;
    let failed = overview
        .cases()
        .filter(|(_, case)| case.status.is_failure());
    let mut shown = 0;
    for (report, case) in failed.take(MAX_FAILURES) {
        shown += 1;
        failure(report, case, shown <= 5, out)?;
    }
    if all > shown {
        writeln!(out, "<p class=\"note\">and {} more</p>", all - shown)?;
    }
    Ok(())
}

fn failure(report: &Report, case: &Case, open: bool, out: &mut dyn Write) -> io::Result<()> {
    let open = if open { " open" } else { "" };
    writeln!(
        out,
        "<details{open}><summary>{}<span class=\"name\">{}</span><span class=\"where\">{}</span><span class=\"time\">{}</span></summary>",
        badge(case.status),
        escaped(&case.name),
        escaped(report.place(case)),
        time(case.duration)
    )?;
    if let Some(message) = &case.message {
        writeln!(out, "<div class=\"message\">{}</div>", escaped(message))?;
    }
    if !case.output.is_empty() {
        let shown = &case.output[..case.output.floor_char_boundary(MAX_OUTPUT)];
        let more = if shown.len() < case.output.len() {
            "\n…"
        } else {
            ""
        };
        writeln!(out, "<pre>{}{more}</pre>", escaped(shown))?;
    }
    writeln!(out, "</details>")
}

fn slowest(overview: &Overview, out: &mut dyn Write) -> io::Result<()> {
    let cases = overview.slowest(SLOWEST);
    let Some(longest) = cases.first().and_then(|(_, case)| case.duration) else {
        return Ok(());
    };
    writeln!(
        out,
        "<h2>Slowest tests</h2>\n<div class=\"card\"><table><thead><tr><th>Test</th><th>Status</th><th class=\"n\">Time</th></tr></thead><tbody>"
    )?;
    for (report, case) in cases {
        let own = case.duration.unwrap_or_default();
        let part = own.as_secs_f64() / longest.as_secs_f64().max(f64::MIN_POSITIVE) * 100.0;
        writeln!(
            out,
            "<tr><td class=\"name\">{}<small>{}</small></td><td>{}</td><td class=\"n\"><span class=\"bar\"><i class=\"b-skip\" style=\"width:{part:.1}%\"></i></span><span>{}</span></td></tr>",
            escaped(&case.name),
            escaped(report.place(case)),
            badge(case.status),
            time(case.duration)
        )?;
    }
    writeln!(out, "</tbody></table></div>")
}

/// Files by what was missed in them, the most first.
fn coverage(overview: &Overview, out: &mut dyn Write) -> io::Result<()> {
    for report in &overview.reports {
        let mut files: Vec<&CoveredFile> = report.coverage.iter().collect();
        if files.is_empty() {
            continue;
        }
        files.sort_by(|a, b| {
            let missed = |file: &CoveredFile| std::cmp::Reverse(file.lines().missed);
            missed(a).cmp(&missed(b)).then_with(|| a.path.cmp(&b.path))
        });
        let has_branches = files.iter().any(|file| file.branches().total() > 0);
        let head = if has_branches {
            "<th class=\"n\">Branches</th>"
        } else {
            ""
        };
        writeln!(
            out,
            "<h2>Coverage <small>{}</small></h2>\n<div class=\"card\"><table><thead><tr><th>File</th><th class=\"n\">Lines</th><th class=\"n\">Missed</th>{head}</tr></thead><tbody>",
            escaped(&report.group)
        )?;
        for file in files.iter().take(MAX_ROWS) {
            let (lines, branches) = (file.lines(), file.branches());
            let cell = if has_branches {
                format!("<td class=\"n\">{}</td>", bar(branches))
            } else {
                String::new()
            };
            writeln!(
                out,
                "<tr><td class=\"path\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>{cell}</tr>",
                escaped(&file.path),
                bar(lines),
                lines.missed
            )?;
        }
        writeln!(out, "</tbody></table></div>")?;
        more(files.len(), "files", out)?;
    }
    Ok(())
}

fn more(all: usize, what: &str, out: &mut dyn Write) -> io::Result<()> {
    match all.checked_sub(MAX_ROWS) {
        Some(more) if more > 0 => writeln!(out, "<p class=\"note\">and {more} more {what}</p>"),
        _ => Ok(()),
    }
}

fn all(overview: &Overview, out: &mut dyn Write) -> io::Result<()> {
    let cases = overview.cases().count();
    if cases == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "<h2>All tests</h2>\n<details><summary><span class=\"name\">{cases} tests</span></summary><table><tbody>"
    )?;
    for (report, case) in overview.cases().take(MAX_ROWS) {
        writeln!(
            out,
            "<tr><td class=\"name\">{}<small>{}</small></td><td>{}</td><td class=\"n\">{}</td></tr>",
            escaped(&case.name),
            escaped(report.place(case)),
            badge(case.status),
            time(case.duration)
        )?;
    }
    writeln!(out, "</tbody></table></details>")?;
    more(cases, "tests", out)
}
