//! The JSON schema of buildspecs, made from the table of keys (LINT-59).
//!
//! It accepts what the reader accepts, unknown keys too, since CodeBuild passes over them; what it refuses, CodeBuild would
//! refuse. A schema knows no warnings: those are the linter's.

use serde_json::{Map, Value, json};

use super::keys::{self, FLAG, Key, Kind, Section, Since};

/// The schema, as JSON Schema of draft 7: the latest one that all editors know.
#[must_use]
pub fn schema() -> Value {
    let definitions: Map<String, Value> = Section::ALL
        .iter()
        .filter(|section| **section != Section::TopLevel)
        .map(|section| (name(*section).to_owned(), mapping(*section)))
        .collect();
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "AWS CodeBuild buildspec",
        "description": "The buildspec of AWS CodeBuild, versions 0.2 and 0.1.",
    });
    if let (Value::Object(schema), Value::Object(top)) = (&mut schema, mapping(Section::TopLevel)) {
        schema.extend(top);
        schema.insert("definitions".to_owned(), Value::Object(definitions));
    }
    schema
}

const fn name(section: Section) -> &'static str {
    match section {
        Section::TopLevel => "buildspec",
        Section::Env => "env",
        Section::OldEnv => "environment-variables",
        Section::Proxy => "proxy",
        Section::Phases => "phases",
        Section::InstallPhase => "install-phase",
        Section::Phase => "phase",
        Section::ReportGroup => "report-group",
        Section::Artifacts => "artifacts",
        Section::SecondaryArtifact => "secondary-artifact",
        Section::Cache => "cache",
        Section::Batch => "batch",
        Section::BatchTask => "batch-task",
        Section::BatchEnv => "batch-env",
        Section::Matrix => "matrix",
        Section::MatrixStatic => "matrix-static",
        Section::MatrixDynamic => "matrix-dynamic",
        Section::MatrixEnv => "matrix-env",
        Section::Fanout => "fanout",
    }
}

/// A section as a mapping; nothing stands for an empty one, except where a name of one's own has to hold something.
fn mapping(section: Section) -> Value {
    let properties: Map<String, Value> = keys::of(section)
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let needed = matches!(
        section,
        Section::TopLevel | Section::ReportGroup | Section::SecondaryArtifact | Section::BatchTask
    );
    let kind = if needed {
        json!("object")
    } else {
        json!(["object", "null"])
    };
    let mut mapping = Map::new();
    mapping.insert("type".to_owned(), kind);
    mapping.insert("properties".to_owned(), Value::Object(properties));
    if let Value::Object(more) = constraints(section) {
        mapping.extend(more);
    }
    Value::Object(mapping)
}

/// What a section asks for besides its keys.
fn constraints(section: Section) -> Value {
    let has_phases = json!({
        "required": ["phases"],
        "properties": { "phases": { "type": "object", "minProperties": 1 } },
    });
    let has_batch = json!({
        "required": ["batch"],
        "properties": { "batch": { "type": "object" } },
    });
    match section {
        // A file that only declares a batch may do without phases, and then without a version.
        Section::TopLevel => json!({
            "anyOf": [has_phases, has_batch],
            "if": has_phases,
            "then": { "required": ["version"] },
        }),
        Section::Phases => json!({ "additionalProperties": false }),
        Section::ReportGroup | Section::SecondaryArtifact => json!({ "required": ["files"] }),
        Section::Artifacts => json!({
            "anyOf": [
                { "type": "null" },
                { "required": ["files"] },
                { "required": ["secondary-artifacts"] },
            ],
        }),
        _ => json!({}),
    }
}

fn property(key: &Key) -> Value {
    let mut property = Map::new();
    let description = match key.since {
        Since::OnlyV0_1 => format!("{} ({})", key.meaning, key.since.phrase()),
        _ => key.meaning.to_owned(),
    };
    property.insert("description".to_owned(), json!(description));
    if let Value::Object(kind) = value(key) {
        property.extend(kind);
    }
    Value::Object(property)
}

fn value(key: &Key) -> Value {
    match (key.kind, key.name) {
        (Kind::OneOf(words), "version") => versions(words),
        (Kind::Named(section), "secondary-artifacts") => {
            let mut named = named(section);
            named["propertyNames"] = json!({ "pattern": "^[A-Za-z0-9_-]{1,127}$" });
            named
        }
        (Kind::Texts, "fallback-keys") => {
            let mut texts = texts();
            texts["maxItems"] = json!(5);
            texts
        }
        (kind, _) => of_kind(kind),
    }
}

fn of_kind(kind: Kind) -> Value {
    match kind {
        Kind::Text => text(),
        Kind::Flag => flag(),
        Kind::OneOf(words) => json!({ "enum": nullable(words) }),
        Kind::Known(words) => json!({ "anyOf": [{ "enum": words }, text()] }),
        Kind::Form(words, form) => json!({
            "anyOf": [{ "enum": nullable(words) }, { "type": "string", "pattern": form }],
        }),
        Kind::Texts => texts(),
        Kind::KnownTexts(words) => {
            let mut texts = texts();
            texts["items"] = json!({ "anyOf": [{ "enum": words }, text()] });
            texts
        }
        Kind::Variables => json!({
            "type": ["object", "null"],
            "additionalProperties": text(),
        }),
        Kind::Lists => json!({
            "type": ["object", "null"],
            "additionalProperties": texts(),
        }),
        Kind::Section(section) => json!({ "allOf": [reference(section)] }),
        Kind::Sections(section) => json!({
            "type": ["array", "null"],
            "items": reference(section),
        }),
        Kind::Named(section) => named(section),
    }
}

fn named(section: Section) -> Value {
    json!({
        "type": ["object", "null"],
        "additionalProperties": reference(section),
    })
}

fn reference(section: Section) -> Value {
    json!({ "$ref": format!("#/definitions/{}", name(section)) })
}

/// Numbers and words such as `true` are text to CodeBuild, and nothing is as if the key were not there.
fn text() -> Value {
    json!({ "type": ["string", "number", "boolean", "null"] })
}

fn texts() -> Value {
    json!({
        "type": ["array", "string", "number", "boolean", "null"],
        "items": text(),
    })
}

/// In quotes and in any casing too; `yes` is text to some readers and a boolean to others.
fn flag() -> Value {
    let words = ["yes", "no", "true", "false", "on", "off"].map(any_case);
    json!({
        "anyOf": [
            { "enum": FLAG },
            { "type": ["boolean", "null"] },
            { "type": "string", "pattern": format!("^({})$", words.join("|")) },
        ],
    })
}

/// A pattern for a word in any casing.
fn any_case(word: &str) -> String {
    let letters = word.chars();
    let sets = letters.map(|letter| format!("[{}{letter}]", letter.to_ascii_uppercase()));
    sets.collect::<Vec<String>>().concat()
}

fn nullable(words: &[&str]) -> Vec<Value> {
    let words = words.iter().map(|word| json!(word));
    words.chain([Value::Null]).collect()
}

/// As a number and as text.
fn versions(words: &[&str]) -> Value {
    let numbers = words.iter().filter_map(|word| word.parse::<f64>().ok());
    let numbers = numbers.map(|number| json!(number));
    let all: Vec<Value> = numbers
        .chain(words.iter().map(|word| json!(word)))
        .collect();
    json!({ "enum": all })
}
