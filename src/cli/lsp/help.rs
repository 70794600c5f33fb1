//! What keys mean, and which there are: hover and completion, from the table of keys.

use serde_json::{Value, json};

use super::protocol::{Position, offset, range};
use crate::buildspec::keys::{self, Key, Kind, Place, Since};
use crate::buildspec::yaml::{self, Node, NodeKind};
use crate::source::{SourceText, Span};

/// The meaning of the key at a place, or of the key whose value is there; null if nobody knows.
pub(super) fn hover(source: &SourceText, at: Position) -> Value {
    let (document, _) = yaml::read(source);
    let mut path = Vec::new();
    let root = document.root.as_ref();
    let Some(span) = root.and_then(|root| find(root, offset(source, at), &mut path)) else {
        return Value::Null;
    };
    let Some((name, above)) = path.split_last() else {
        return Value::Null;
    };
    let Some(Place::Section(section)) = keys::place(above.iter().copied()) else {
        return Value::Null;
    };
    match keys::find(section, name) {
        Some(key) => json!({
            "contents": { "kind": "markdown", "value": explain(key) },
            "range": range(source, span),
        }),
        None => Value::Null,
    }
}

/// The keys above a byte, the last one being its own; returns what the byte is part of.
fn find<'n>(node: &'n Node, at: usize, path: &mut Vec<&'n str>) -> Option<Span> {
    let holds = |span: Span| span.start() <= at && at <= span.end();
    match &node.kind {
        NodeKind::Scalar(_) => holds(node.span).then_some(node.span),
        NodeKind::Sequence(items) => items.iter().find_map(|item| find(item, at, path)),
        NodeKind::Mapping(entries) => entries.iter().find_map(|entry| {
            path.push(&entry.key.value);
            if holds(entry.key.span) {
                return Some(entry.key.span);
            }
            let found = find(&entry.value, at, path);
            if found.is_none() {
                path.pop();
            }
            found
        }),
    }
}

fn explain(key: &Key) -> String {
    let mut text = format!(
        "**`{}`** — {}\n\n{}",
        key.name,
        key.since.phrase(),
        key.meaning
    );
    text.push_str(&format!("\n\nValue: {}", key.kind.phrase()));
    let words = key.kind.words();
    if !words.is_empty() && key.kind != Kind::Flag {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        text.push_str(&format!(": {}", words.join(", ")));
    }
    text
}

/// What can be written at a place: keys of the section, or words of the key's value.
pub(super) fn completion(source: &SourceText, at: Position) -> Value {
    let end = offset(source, at);
    let line = source.line(end);
    let start = source.line_start(line).unwrap_or_default();
    let written = Written::new(&source.text()[start..end]);
    let mut path = above(source, line, &written);
    path.extend(written.key.iter().cloned());
    let word = Span::new(end - written.word.len(), end);
    let old = source.text().contains("version: 0.1");
    let items: Vec<Value> = match keys::place(path.iter().map(String::as_str)) {
        Some(Place::Section(section)) if written.key.is_none() => keys::of(section)
            .filter(|key| old || key.since != Since::OnlyV0_1)
            .map(|key| key_item(source, key, word))
            .collect(),
        Some(Place::Value(kind)) if written.key.is_some() || is_list(kind) => {
            let words = kind.words().iter();
            words.map(|text| word_item(source, text, word)).collect()
        }
        _ => Vec::new(),
    };
    json!({ "isIncomplete": false, "items": items })
}

fn is_list(kind: Kind) -> bool {
    matches!(kind, Kind::KnownTexts(_))
}

fn key_item(source: &SourceText, key: &Key, word: Span) -> Value {
    let one_line = matches!(
        key.kind,
        Kind::Text | Kind::Flag | Kind::OneOf(_) | Kind::Known(_) | Kind::Form(..)
    );
    let text = format!("{}:{}", key.name, if one_line { " " } else { "" });
    json!({
        "label": key.name,
        "kind": 10,
        "detail": key.kind.phrase(),
        "documentation": { "kind": "markdown", "value": explain(key) },
        "textEdit": { "range": range(source, word), "newText": text },
    })
}

fn word_item(source: &SourceText, text: &str, word: Span) -> Value {
    json!({
        "label": text,
        "kind": 12,
        "textEdit": { "range": range(source, word), "newText": text },
    })
}

/// A line up to the cursor, or a whole one.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    /// Where its last `- ` begins, if it has one.
    dash: Option<usize>,
    /// Where its text begins.
    column: usize,
    /// Its key, if a colon follows.
    key: Option<String>,
    /// What was written of the word at the end.
    word: String,
}

impl Written {
    fn new(line: &str) -> Self {
        let mut rest = line.trim_start_matches(' ');
        let mut dash = None;
        while let Some(item) = rest
            .strip_prefix("- ")
            .or(rest.strip_prefix('-').filter(|rest| rest.is_empty()))
        {
            dash = Some(line.len() - rest.len());
            rest = item.trim_start_matches(' ');
        }
        let column = line.len() - rest.len();
        let (key, value) = match rest.split_once(':') {
            Some((key, value)) if value.is_empty() || value.starts_with(' ') => (
                Some(key.trim().trim_matches(['"', '\'']).to_owned()),
                value.trim_start(),
            ),
            _ => (None, rest),
        };
        Self {
            dash,
            column,
            key,
            word: value.to_owned(),
        }
    }
}

/// The keys that a line stands below, by indentation: a text that is being written seldom is YAML.
fn above(source: &SourceText, line: usize, written: &Written) -> Vec<String> {
    let mut path = Vec::new();
    // An item of a list may stand as far left as the key of the list.
    let (mut column, mut in_list) = match written.dash {
        Some(dash) => (dash, true),
        None => (written.column, false),
    };
    for number in (1..line).rev() {
        let text = source.line_text(number);
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        let upper = Written::new(text);
        let is_parent =
            upper.column < column || (in_list && upper.column == column && upper.dash.is_none());
        if is_parent && let Some(key) = upper.key {
            path.push(key);
            column = upper.column;
            in_list = false;
        }
        if let Some(dash) = upper.dash
            && dash < column
        {
            (column, in_list) = (dash, true);
        }
        if column == 0 && !in_list {
            break;
        }
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::lsp::protocol::position;

    /// A text with `|` for the cursor.
    fn marked(text: &str) -> (SourceText, Position) {
        let at = text.find('|').expect("there is a cursor");
        let source = SourceText::new("b.yml", text.replacen('|', "", 1));
        let place = position(&source, at);
        (source, place)
    }

    fn completed(text: &str) -> Vec<String> {
        let (source, at) = marked(text);
        let list = completion(&source, at);
        let items = list["items"].as_array().expect("a list");
        let label = |item: &Value| item["label"].as_str().expect("text").to_owned();
        items.iter().map(label).collect()
    }

    // LINT-66
    #[test]
    fn keys_are_completed_by_the_section_they_are_in() {
        let table: [(&str, &[&str]); 10] = [
            ("version: 0.2\np|", &["version", "phases"]),
            (
                "phases:\n  |",
                &["install", "pre_build", "build", "post_build"],
            ),
            (
                "phases:\n  build:\n    commands:\n      - make\n    fin|",
                &["on-failure", "finally"],
            ),
            (
                "phases:\n  install:\n    # a: note\n\n    |\n  build:\n",
                &["runtime-versions"],
            ),
            ("reports:\n  unit:\n    files: a\n    |", &["file-format"]),
            (
                "batch:\n  build-list:\n    - |",
                &["identifier", "depend-on"],
            ),
            (
                "batch:\n  build-list:\n  - identifier: a\n    |",
                &["identifier", "depend-on"],
            ),
            (
                "batch:\n  build-graph:\n    - identifier: a\n      env:\n        |",
                &["compute-type"],
            ),
            ("env:\n  variables:\n    A: 1\n  |", &["parameter-store"]),
            ("version: 0.1\nenvironment_variables:\n  |", &["plaintext"]),
        ];
        for (text, expected) in table {
            let found = completed(text);
            for key in expected {
                assert!(found.iter().any(|found| found == key), "{text}: {found:?}");
            }
        }
        assert!(!completed("version: 0.2\n|").contains(&"environment_variables".to_owned()));
    }

    // LINT-66
    #[test]
    fn values_are_completed_by_their_key() {
        let table: [(&str, &[&str]); 6] = [
            ("cache:\n  action: |", &["restore", "save"]),
            (
                "phases:\n  build:\n    on-failure: A|",
                &["ABORT", "CONTINUE", "RETRY"],
            ),
            ("artifacts:\n  discard-paths: |", &["yes", "no"]),
            ("version: |", &["0.2", "0.1"]),
            ("phases:\n  build:\n    commands:\n      - |", &[]),
            ("env:\n  variables:\n    |", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(completed(text), expected, "{text}");
        }
        let sizes = completed(
            "batch:\n  build-matrix:\n    dynamic:\n      env:\n        compute-type:\n          - |",
        );
        assert!(sizes.contains(&"BUILD_GENERAL1_SMALL".to_owned()));
    }

    // LINT-66
    #[test]
    fn what_was_written_of_a_word_is_replaced() {
        let (source, at) = marked("é: 1\nphases:\n  bui|");
        let list = completion(&source, at);
        let edit = &list["items"][0]["textEdit"];
        assert_eq!(edit["range"]["start"], json!({ "line": 2, "character": 2 }));
        assert_eq!(edit["newText"], "install:");
    }

    // LINT-66
    #[test]
    fn a_key_is_explained_at_itself_and_at_its_value() {
        let has = |text: &str| {
            let (source, at) = marked(text);
            let value = hover(&source, at)["contents"]["value"].clone();
            value.as_str().map(str::to_owned)
        };
        for text in [
            "phases:\n  build:\n    on-fail|ure: ABORT\n",
            "phases: {build: {on-failure: ABO|RT}}\n",
        ] {
            let said = has(text).expect("it is known");
            assert!(
                said.starts_with("**`on-failure`**") && said.contains("`CONTINUE`"),
                "{said}"
            );
        }
        let said = has("batch:\n  build-list:\n    - env:\n        im|age: a\n").expect("known");
        assert!(said.contains("The build image."));
        for text in [
            "a|: 1\n",
            "env:\n  variables:\n    A|: 1\n",
            "|",
            "a: [b\n|",
        ] {
            assert_eq!(has(text), None, "{text}");
        }
    }
}
