//! `reports`: which files make a report of which group (REP-2, REP-3).

use super::types::{Expandable, ReportPlan};
use crate::buildspec::Buildspec;
use crate::buildspec::keys::REPORT_FORMATS;
use crate::buildspec::model::Report;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::source::{SourceText, Spanned};

/// The reports of a build, in the order of the file. A format that nobody knows is said before anything runs.
pub(super) fn plan_reports(
    source: &SourceText,
    buildspec: &Buildspec,
    strict: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<ReportPlan> {
    let reports = buildspec.reports.iter();
    reports
        .map(|report| {
            diagnostics.extend(unknown_format(report, strict));
            plan_report(source, report)
        })
        .collect()
}

fn plan_report(source: &SourceText, report: &Report) -> ReportPlan {
    let expandable = |text: &Spanned<String>| Expandable {
        text: text.value.clone(),
        place: source.start_of(text.span),
    };
    ReportPlan {
        group: expandable(&report.group),
        files: report.files.iter().flatten().map(expandable).collect(),
        format: report.file_format.as_ref().map(expandable),
        base_directory: report.base_directory.as_ref().map(expandable),
    }
}

fn unknown_format(report: &Report, strict: bool) -> Option<Diagnostic> {
    let format = report.file_format.as_ref()?;
    let is_known = |name: &&str| name.eq_ignore_ascii_case(format.value.trim());
    if REPORT_FORMATS.iter().any(is_known) {
        return None;
    }
    let message = format!(
        "no report format is called `{}`: the build will fail when its reports are read",
        format.value
    );
    let severity = if strict {
        Severity::Error
    } else {
        Severity::Warning
    };
    Some(
        Diagnostic::new(Code::ReportFormatUnknown, format.span, message)
            .with_severity(severity)
            .with_help(format!("write one of {}", REPORT_FORMATS.join(", "))),
    )
}
