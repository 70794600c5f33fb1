//! The JSON schema of buildspecs. `UPDATE=1 cargo test --test schema` writes it.

mod support;

use std::fs;
use std::path::Path;

use buildspec_runner::buildspec;
use buildspec_runner::buildspec::schema::schema;
use buildspec_runner::diagnostic::Diagnostic;
use buildspec_runner::source::SourceText;
use serde_json::{Value, json};
use support::oracle::Witness;
use support::python::judge;
use support::sandbox::Sandbox;
use support::{corpus, root, skipped, tree, updating};

// LINT-59
#[test]
fn the_schema_in_spec_is_what_the_program_prints() {
    let path = root().join("spec/buildspec.schema.json");
    let printed = Sandbox::new().run(["schema"]).expect(0).stdout;
    if updating() {
        fs::write(&path, &printed).expect("the schema can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == printed,
        "spec/buildspec.schema.json is not what the table of keys says: UPDATE=1 cargo test --test schema"
    );
}

/// The file as an editor hands it to a schema: keys are text, numbers that JSON has not are text.
fn as_json(value: &serde_yaml::Value) -> Value {
    match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(flag) => json!(flag),
        serde_yaml::Value::Number(number) => match number.as_f64() {
            Some(float) if !float.is_finite() => json!(number.to_string()),
            _ => serde_json::to_value(number).expect("it is finite"),
        },
        serde_yaml::Value::String(text) => json!(text),
        serde_yaml::Value::Sequence(items) => items.iter().map(as_json).collect(),
        serde_yaml::Value::Mapping(entries) => entries
            .iter()
            .map(|(key, value)| (key_text(key), as_json(value)))
            .collect(),
        serde_yaml::Value::Tagged(tagged) => as_json(&tagged.value),
    }
}

fn key_text(key: &serde_yaml::Value) -> String {
    match as_json(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A text as the schema sees it, if it is YAML.
fn instance(text: &str) -> Option<Value> {
    Witness::of(text).value.as_ref().map(as_json)
}

/// Texts that the reader finds no error in, by name.
fn accepted() -> Vec<(String, Value)> {
    let mut directories = vec![root().join("testdata")];
    match corpus() {
        Some(corpus) => directories.push(corpus.join("buildspecs")),
        None => skipped("corpus", "no corpus beside the project"),
    }
    let mut found = Vec::new();
    for directory in directories {
        for name in tree::files(&directory) {
            let kind = Path::new(&name).extension().unwrap_or_default();
            let yaml = kind == "yml" || kind == "yaml";
            let bytes = fs::read(directory.join(&name)).expect("a listed file can be read");
            let Some(source) = yaml.then(|| SourceText::from_bytes("b.yml", bytes).ok()) else {
                continue;
            };
            let Some(source) = source else { continue };
            let (_, findings) = buildspec::check(&source);
            if findings.iter().all(|finding| !finding.is_error()) {
                let instance = instance(source.text()).expect("others can read it too");
                found.push((name, instance));
            }
        }
    }
    found
}

/// What the schema refuses, and the reader too.
const REFUSED: &[&str] = &[
    "",
    "version: 0.2\n",
    "version: 0.3\nphases: {build: {commands: [a]}}\n",
    "phases: {build: {commands: [a]}}\n",
    "version: 0.2\nphases:\n",
    "version: 0.2\nphases: {}\n",
    "version: 0.2\nphases: {test: {commands: [a]}}\n",
    "version: 0.2\nphases: {build: {commands: [a: b]}}\n",
    "version: 0.2\nphases: {build: {commands: {a: b}}}\n",
    "version: 0.2\nphases: {build: [a]}\n",
    "version: 0.2\nphases: {build: {on-failure: STOP, commands: [a]}}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nenv: {shell: fish}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nenv: {variables: [A]}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nenv: {variables: {A: [b]}}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nenv: {git-credential-helper: maybe}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nreports: {a: {file-format: JUNITXML}}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nreports: {a: }\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nartifacts: {name: a}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nartifacts: {files: [{a: b}]}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nartifacts: {secondary-artifacts: {a.b: {files: a}}}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nartifacts: {secondary-artifacts: {a: {name: a}}}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\ncache: {action: both, paths: a}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\ncache: {key: k, paths: a, fallback-keys: [1, 2, 3, 4, 5, 6]}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nbatch: {build-list: {identifier: a}}\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nbatch: {build-list: [a]}\n",
];

// LINT-59
#[test]
fn the_schema_is_one_and_accepts_what_the_reader_accepts() {
    let accepted = accepted();
    assert!(accepted.len() > 50, "the files are not found");
    let mut refused = Vec::new();
    for text in REFUSED {
        let (_, findings) = buildspec::check(&SourceText::new("b.yml", *text));
        let error = findings.iter().any(Diagnostic::is_error);
        assert!(error, "{text}");
        refused.push((text, instance(text).expect("it is YAML")));
    }
    let input = json!({ "schema": schema(), "accepted": accepted, "refused": refused });
    let script = "
import json, sys, jsonschema
given = json.load(sys.stdin)
jsonschema.Draft7Validator.check_schema(given['schema'])
checker = jsonschema.Draft7Validator(given['schema'])
problems = []
for name, instance in given['accepted']:
    for error in checker.iter_errors(instance):
        problems.append(f'{name}: {list(error.absolute_path)}: {error.message}')
for text, instance in given['refused']:
    if checker.is_valid(instance):
        problems.append(f'accepted: {text}')
sys.exit('\\n'.join(problems) or None)";
    judge(&["jsonschema"], script, input.to_string().as_bytes());
}

// LINT-60
#[test]
fn the_schema_explains_every_key() {
    fn explained(value: &Value) -> usize {
        let inner = match value {
            Value::Object(entries) => entries.values().map(explained).sum(),
            Value::Array(items) => items.iter().map(explained).sum(),
            _ => 0,
        };
        inner + usize::from(value.get("description").is_some_and(Value::is_string))
    }
    // The schema itself has a description as well.
    assert_eq!(explained(&schema()), buildspec::keys::ALL.len() + 1);
}
