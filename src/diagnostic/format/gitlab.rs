//! Code quality reports of GitLab.

use serde_json::{Value, json};

use super::fingerprint::fingerprints;
use super::{File, places, plain_path, whole_message};
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::SourceText;

/// One array, indented.
pub(super) fn show(files: &[File<'_>]) -> String {
    let fingerprints = fingerprints(files);
    let all = files.iter().zip(&fingerprints).flat_map(|(file, of_file)| {
        let findings = file.findings.iter().zip(of_file);
        findings.map(|(finding, fingerprint)| issue(file.source, finding, fingerprint))
    });
    let all = Value::Array(all.collect());
    format!("{all:#}\n")
}

fn issue(source: &SourceText, finding: &Diagnostic, fingerprint: &str) -> Value {
    let (start, end) = places(source, finding);
    let severity = match finding.severity {
        Severity::Error => "critical",
        Severity::Warning => "major",
        Severity::Info => "info",
    };
    json!({
        "type": "issue",
        "check_name": finding.code.name(),
        "description": whole_message(finding),
        "categories": ["Bug Risk"],
        "severity": severity,
        "fingerprint": fingerprint,
        "location": {
            "path": plain_path(source.name()),
            "lines": { "begin": start.line, "end": end.line },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::shown;
    use super::*;

    #[test]
    fn an_issue_has_what_gitlab_asks_for() {
        let issues: Value = serde_json::from_str(&shown(show)).unwrap();
        let mut first = issues[0].clone();
        let fingerprint = first["fingerprint"].take();
        assert_eq!(
            first,
            json!({
                "type": "issue",
                "check_name": "duplicate-key",
                "description": "100% `x`:\n<twice> (again here)\nhelp: merge the two",
                "categories": ["Bug Risk"],
                "severity": "critical",
                "fingerprint": null,
                "location": { "path": "ci/a b,c.yml", "lines": { "begin": 2, "end": 2 } },
            })
        );
        assert!(fingerprint.is_string());
        assert_ne!(fingerprint, issues[1]["fingerprint"]);
    }
}
