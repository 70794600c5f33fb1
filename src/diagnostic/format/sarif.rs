//! SARIF 2.1.0, which code scanning reads.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::File;
use super::fingerprint::fingerprints;
use crate::diagnostic::{Code, Diagnostic, Fix, Label, Severity};
use crate::source::{SourceText, Span};

/// One log with one run.
pub(super) fn show(files: &[File<'_>]) -> String {
    let all = files.iter().flat_map(|file| file.findings);
    let codes: BTreeSet<Code> = all.map(|finding| finding.code).collect();
    let codes: Vec<Code> = codes.into_iter().collect();
    let fingerprints = fingerprints(files);
    let results = files.iter().zip(&fingerprints).flat_map(|(file, of_file)| {
        let findings = file.findings.iter().zip(of_file);
        findings.map(|(finding, fingerprint)| result(file.source, finding, &codes, fingerprint))
    });
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": driver(&codes) },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<Value>>(),
        }],
    });
    format!("{log:#}\n")
}

fn driver(codes: &[Code]) -> Value {
    let rules: Vec<Value> = codes.iter().copied().map(rule).collect();
    let mut driver = json!({
        "name": "runner",
        "fullName": "runner validate",
        "semanticVersion": env!("CARGO_PKG_VERSION"),
        "rules": rules,
    });
    if let Some(url) = Some(env!("CARGO_PKG_REPOSITORY")).filter(|url| !url.is_empty()) {
        driver["informationUri"] = json!(url);
    }
    driver
}

fn rule(code: Code) -> Value {
    let info = code.info();
    let more = format!(
        "`runner validate --explain {}` shows an example.",
        info.name
    );
    let mut rule = json!({
        "id": info.id,
        "name": info.name,
        "shortDescription": { "text": info.name.replace('-', " ") },
        "fullDescription": { "text": info.why },
        "help": { "text": format!("{} {more}", info.why) },
        "defaultConfiguration": { "level": level(info.severity) },
    });
    if let Some(url) = code.page() {
        rule["helpUri"] = json!(url);
    }
    rule
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

fn result(source: &SourceText, finding: &Diagnostic, codes: &[Code], fingerprint: &str) -> Value {
    let mut text = finding.message.clone();
    if let Some(help) = &finding.help {
        text.push_str(&format!("\nhelp: {help}"));
    }
    let mut result = Map::new();
    let mut add = |key: &str, value: Value| result.insert(key.to_owned(), value);
    add("ruleId", json!(finding.code.id()));
    let index = codes.iter().position(|code| *code == finding.code);
    add("ruleIndex", json!(index));
    add("level", json!(level(finding.severity)));
    add("message", json!({ "text": text }));
    add("locations", json!([location(source, &finding.primary)]));
    if !finding.secondary.is_empty() {
        let related = finding.secondary.iter().enumerate().map(|(index, label)| {
            let mut location = location(source, label);
            location["id"] = json!(index);
            location
        });
        add("relatedLocations", related.collect());
    }
    add(
        "partialFingerprints",
        json!({ "primaryLocationLineHash": fingerprint }),
    );
    if let Some(change) = &finding.fix {
        add("fixes", json!([fix(source, change)]));
    }
    Value::Object(result)
}

fn location(source: &SourceText, label: &Label) -> Value {
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(source.name()) },
            "region": region(source, label.span),
        },
    });
    if !label.text.is_empty() {
        location["message"] = json!({ "text": label.text });
    }
    location
}

fn fix(source: &SourceText, fix: &Fix) -> Value {
    let replacements = fix.edits.iter().map(|edit| {
        json!({
            "deletedRegion": region(source, edit.span),
            "insertedContent": { "text": edit.text },
        })
    });
    json!({
        "description": { "text": fix.title },
        "artifactChanges": [{
            "artifactLocation": { "uri": uri(source.name()) },
            "replacements": replacements.collect::<Vec<Value>>(),
        }],
    })
}

fn region(source: &SourceText, span: Span) -> Value {
    let (start, end) = (source.start_of(span), source.end_of(span));
    json!({
        "startLine": start.line,
        "startColumn": start.column,
        "endLine": end.line,
        "endColumn": end.column,
        "byteOffset": source.offset_in_file(span.start()),
        "byteLength": span.len(),
    })
}

/// A path as a URI: relative paths stay relative.
fn uri(path: &str) -> String {
    let path = super::plain_path(path);
    let start = if path.starts_with('/') { "file://" } else { "" };
    let mut uri = start.to_owned();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::super::samples::shown;
    use super::*;

    #[test]
    fn results_lead_to_their_rules_places_and_changes() {
        let log: Value = serde_json::from_str(&shown(show)).unwrap();
        let run = &log["runs"][0];
        let rules: Vec<&Value> = run["tool"]["driver"]["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| &rule["id"])
            .collect();
        assert_eq!(rules, ["BS002", "BS103"]);
        let results = run["results"].as_array().unwrap();
        for (index, result) in results.iter().enumerate() {
            assert_eq!(result["ruleIndex"], json!(index));
        }
        let first = &results[0];
        let place = &first["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "ci/a%20b%2Cc.yml");
        let region = json!({
            "startLine": 2, "startColumn": 2, "endLine": 2, "endColumn": 3,
            "byteOffset": 13, "byteLength": 1,
        });
        assert_eq!(place["region"], region);
        assert_eq!(first["level"], "error");
        assert_eq!(
            first["message"]["text"],
            "100% `x`:\n<twice>\nhelp: merge the two"
        );
        assert_eq!(
            first["relatedLocations"][0]["message"]["text"],
            "first here"
        );
        let change = &first["fixes"][0]["artifactChanges"][0]["replacements"][0];
        assert_eq!(change["deletedRegion"], region);
        assert_eq!(change["insertedContent"]["text"], "z");
    }

    #[test]
    fn paths_become_addresses() {
        let table = [
            ("ci/b.yml", "ci/b.yml"),
            ("./é b.yml", "%C3%A9%20b.yml"),
            ("a:b%.yml", "a%3Ab%25.yml"),
            ("/work/b.yml", "file:///work/b.yml"),
            ("<stdin>", "%3Cstdin%3E"),
        ];
        for (path, expected) in table {
            assert_eq!(uri(path), expected);
        }
    }
}
