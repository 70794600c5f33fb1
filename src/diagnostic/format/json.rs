//! JSON, as one array or as lines.

use serde_json::{Value, json};

use super::File;
use crate::diagnostic::{Diagnostic, Fix, Label};
use crate::source::{SourceText, Span};

/// One array, indented.
pub(super) fn show(files: &[File<'_>]) -> String {
    let all = Value::Array(objects(files).collect());
    format!("{all:#}\n")
}

/// One object a line.
pub(super) fn show_lines(files: &[File<'_>]) -> String {
    let mut text = String::new();
    for object in objects(files) {
        text.push_str(&format!("{object}\n"));
    }
    text
}

fn objects<'a>(files: &'a [File<'a>]) -> impl Iterator<Item = Value> + 'a {
    files.iter().flat_map(|file| {
        let findings = file.findings.iter();
        findings.map(|finding| object(file.source, finding))
    })
}

fn object(source: &SourceText, finding: &Diagnostic) -> Value {
    let info = finding.code.info();
    let related = finding.secondary.iter().map(|label| related(source, label));
    json!({
        "file": source.name(),
        "rule": info.id,
        "name": info.name,
        "severity": finding.severity.word(),
        "message": finding.message,
        "label": Some(&finding.primary.text).filter(|text| !text.is_empty()),
        "range": range(source, finding.primary.span),
        "related": related.collect::<Vec<Value>>(),
        "help": finding.help,
        "fix": finding.fix.as_ref().map(|change| fix(source, change)),
        "url": finding.code.page(),
    })
}

fn related(source: &SourceText, label: &Label) -> Value {
    json!({ "range": range(source, label.span), "message": label.text })
}

fn fix(source: &SourceText, fix: &Fix) -> Value {
    let edits = fix
        .edits
        .iter()
        .map(|edit| json!({ "range": range(source, edit.span), "text": edit.text }));
    json!({ "title": fix.title, "edits": edits.collect::<Vec<Value>>() })
}

fn range(source: &SourceText, span: Span) -> Value {
    json!({ "start": place(source, span.start()), "end": place(source, span.end()) })
}

fn place(source: &SourceText, offset: usize) -> Value {
    let place = source.line_column(offset);
    json!({
        "line": place.line,
        "column": place.column,
        "offset": source.offset_in_file(offset),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{findings, shown, source};
    use super::*;

    #[test]
    fn an_object_has_what_there_is_to_know() {
        let (source, findings) = (source(), findings());
        let place = |line: u32, column: u32, offset: u32| json!({ "line": line, "column": column, "offset": offset });
        let range = json!({ "start": place(2, 2, 13), "end": place(2, 3, 14) });
        let first = json!({ "start": place(1, 1, 3), "end": place(1, 2, 5) });
        let expected = json!({
            "file": "./ci/a b,c.yml",
            "rule": "BS002",
            "name": "duplicate-key",
            "severity": "error",
            "message": "100% `x`:\n<twice>",
            "label": "again here",
            "range": range,
            "related": [{ "range": first, "message": "first here" }],
            "help": "merge the two",
            "fix": { "title": "rename it", "edits": [{ "range": range, "text": "z" }] },
            "url": findings[0].code.page(),
        });
        assert_eq!(object(&source, &findings[0]), expected);
        // The byte at the place, in the file as it lies on the disk.
        assert_eq!(&format!("\u{feff}{}", source.text())[13..14], "x");
    }

    #[test]
    fn what_a_finding_has_not_is_null() {
        let (source, findings) = (source(), findings());
        let object = object(&source, &findings[1]);
        for key in ["label", "help", "fix"] {
            assert_eq!(object[key], Value::Null, "{key}");
        }
    }

    #[test]
    fn an_array_and_lines_say_the_same() {
        let array: Vec<Value> = serde_json::from_str(&shown(show)).unwrap();
        let lines = shown(show_lines);
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(array, lines);
        assert_eq!(array.len(), 2);
    }
}
