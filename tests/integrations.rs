//! Where people work: what other programs need to run the linter and to read what it says.

mod support;

use std::fs;

use regex::Regex;
use serde_json::{Value, json};
use support::python::judge;
use support::root;
use support::sandbox::Sandbox;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a file of the project can be read")
}

fn pattern(value: &Value) -> Regex {
    Regex::new(value.as_str().expect("a pattern is text")).expect("it compiles")
}

/// A file with a finding of each severity, under a name with a colon in it.
const FILE: &str = "ci/a: b.yml";

fn sandbox() -> Sandbox {
    let file = "version: 0.2\nx: 1\nphases:\n  build:\n    y: 1\n    commands: [a: b]\n";
    Sandbox::new()
        .file(FILE, file)
        .file(
            "runner.toml",
            "[validate.rules]\nno-commands-anywhere = 'info'\n",
        )
        .file(
            "b.yml",
            "version: 0.2\nphases:\n  build:\n    commands: []\n",
        )
}

/// What a service makes of a log: lines in a row that match the patterns of one matcher in a row.
fn matched(matcher: &Value, log: &str) -> Vec<Value> {
    let patterns = matcher["pattern"].as_array().expect("a list of patterns");
    let lines: Vec<&str> = log.lines().collect();
    let mut found = Vec::new();
    for window in lines.windows(patterns.len()) {
        let mut said = json!({ "severity": matcher["severity"] });
        let all = patterns.iter().zip(window).all(|(pattern_, line)| {
            let Some(groups) = pattern(&pattern_["regexp"]).captures(line) else {
                return false;
            };
            for (name, index) in pattern_.as_object().expect("a pattern has fields") {
                if let Some(index) = index.as_u64() {
                    let index = usize::try_from(index).expect("it is small");
                    said[name] = json!(groups[index]);
                }
            }
            true
        });
        if all {
            found.push(said);
        }
    }
    found
}

// LINT-61
#[test]
fn the_problem_matcher_finds_what_the_text_says() {
    let files = ["validate", "--no-tree", FILE, "b.yml"];
    let text = sandbox().run(files).expect(1).stdout;
    let json = sandbox()
        .run(files.iter().chain(&["--format", "json"]))
        .expect(1);
    let findings: Vec<Value> = serde_json::from_str(&json.stdout).expect("an array");
    let expected: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let start = &finding["range"]["start"];
            let severity = match finding["severity"].as_str() {
                Some("info") => "notice",
                Some(other) => other,
                None => panic!("no severity"),
            };
            json!({
                "severity": severity,
                "code": finding["name"],
                "message": finding["message"],
                "file": finding["file"],
                "line": start["line"].to_string(),
                "column": start["column"].to_string(),
            })
        })
        .collect();
    let severities: Vec<&Value> = expected
        .iter()
        .map(|finding| &finding["severity"])
        .collect();
    assert_eq!(severities, ["warning", "warning", "error", "notice"]);
    let matchers: Value =
        serde_json::from_str(&read("spec/github-problem-matcher.json")).expect("JSON");
    let matchers = matchers["problemMatcher"].as_array().expect("matchers");
    let found: Vec<Value> = matchers
        .iter()
        .flat_map(|matcher| matched(matcher, &text))
        .collect();
    assert_eq!(found, expected);
}

// LINT-62
#[test]
fn the_hooks_are_hooks_and_run() {
    let manifest = read(".pre-commit-hooks.yaml");
    let hooks: Value = serde_yaml::from_str(&manifest).expect("YAML");
    for hook in hooks.as_array().expect("a list of hooks") {
        let files = pattern(&hook["files"]);
        for name in [
            "buildspec.yml",
            "ci/Buildspec-prod.yaml",
            "a/appspec.yml",
            "taskdef.json",
        ] {
            assert!(files.is_match(name), "{name}");
        }
        for name in [
            "buildspec.json",
            "buildspec/a.yml",
            "buildspec.yml.j2",
            "my-taskdef.json",
        ] {
            assert!(!files.is_match(name), "{name}");
        }
        let entry = hook["entry"].as_str().expect("a command");
        let arguments = entry.strip_prefix("runner ").expect("it runs this program");
        let arguments = arguments.split(' ').chain([FILE, "b.yml"]);
        sandbox()
            .run(arguments)
            .expect(1)
            .stdout_has("command-not-string");
    }
    let script = "
import sys, tempfile
from pre_commit.clientlib import load_manifest
with tempfile.NamedTemporaryFile(suffix='.yaml') as file:
    file.write(sys.stdin.buffer.read())
    file.flush()
    assert len(load_manifest(file.name)) == 2";
    judge(&["pre_commit.clientlib"], script, manifest.as_bytes());
}
