//! The same text as others read it: `serde_yaml` has libyaml's grammar too, and none of our code.

use buildspec_runner::buildspec::yaml::{Node, NodeKind, Scalar};
use serde::Deserialize as _;
use serde_yaml::Value;

/// What `serde_yaml` makes of a text: its first document, merge keys resolved, and the first error in any document.
pub(crate) struct Witness {
    /// The first document, if it can be read; a text without a document is null.
    pub(crate) value: Option<Value>,
    /// Why the text is refused, if it is.
    pub(crate) error: Option<serde_yaml::Error>,
}

impl Witness {
    /// Reads a text.
    pub(crate) fn of(text: &str) -> Self {
        let mut documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
        let first = documents
            .next()
            .unwrap_or(Ok(Value::Null))
            .and_then(|mut value| {
                value.apply_merge()?;
                Ok(value)
            });
        match first {
            Ok(value) => Self {
                value: Some(value),
                error: documents.find_map(Result::err),
            },
            Err(error) => Self {
                value: None,
                error: Some(error),
            },
        }
    }

    /// What stands under these keys; null if nothing does.
    pub(crate) fn at(&self, path: &[&str]) -> &Value {
        let root = self.value.as_ref().unwrap_or(&Value::Null);
        path.iter()
            .fold(root, |value, key| value.get(key).unwrap_or(&Value::Null))
    }

    /// Every value of the tree, keys too, the outer before the inner.
    pub(crate) fn everything(&self) -> Vec<&Value> {
        let mut all = Vec::new();
        if let Some(value) = &self.value {
            collect(value, &mut all);
        }
        all
    }
}

fn collect<'v>(value: &'v Value, all: &mut Vec<&'v Value>) {
    all.push(value);
    match value {
        Value::Sequence(items) => items.iter().for_each(|item| collect(item, all)),
        Value::Mapping(entries) => entries.iter().for_each(|(key, value)| {
            collect(key, all);
            collect(value, all);
        }),
        Value::Tagged(tagged) => collect(&tagged.value, all),
        _ => {}
    }
}

/// Where two readings of one text differ, as a path and what stands there; nothing if they agree.
pub(crate) fn difference(node: &Node, value: &Value) -> Option<String> {
    differ(node, value, "")
}

fn differ(node: &Node, value: &Value, path: &str) -> Option<String> {
    let differs = || {
        Some(format!(
            "at `{path}`: ours {:?}, theirs {value:?}",
            node.kind
        ))
    };
    match (&node.kind, value) {
        (_, Value::Tagged(tagged)) => differ(node, &tagged.value, path),
        (NodeKind::Scalar(scalar), value) => {
            if same_scalar(scalar, value) {
                None
            } else {
                differs()
            }
        }
        (NodeKind::Sequence(ours), Value::Sequence(theirs)) if ours.len() == theirs.len() => ours
            .iter()
            .zip(theirs)
            .enumerate()
            .find_map(|(index, (ours, theirs))| differ(ours, theirs, &format!("{path}[{index}]"))),
        (NodeKind::Mapping(ours), Value::Mapping(theirs)) if ours.len() == theirs.len() => {
            ours.iter().find_map(|entry| {
                let key = &entry.key.value;
                match theirs.iter().find(|(theirs, _)| same_text(key, theirs)) {
                    Some((_, theirs)) => differ(&entry.value, theirs, &format!("{path}.{key}")),
                    None => Some(format!("at `{path}`: they have no key `{key}`")),
                }
            })
        }
        _ => differs(),
    }
}

/// Text is the same letter for letter. What they take for a number or a flag was written without quotes, and what we
/// kept of it is that number or flag.
pub(crate) fn same_scalar(ours: &Scalar, theirs: &Value) -> bool {
    match theirs {
        Value::Null => ours.is_null(),
        Value::String(text) => !ours.is_null() && ours.text == *text,
        Value::Bool(_) | Value::Number(_) => ours.plain && same_text(&ours.text, theirs),
        _ => false,
    }
}

/// Whether a text, written without quotes, would be this value.
pub(crate) fn same_text(ours: &str, theirs: &Value) -> bool {
    match theirs {
        Value::String(text) => ours == text,
        Value::Tagged(tagged) => same_text(ours, &tagged.value),
        Value::Null => matches!(ours, "" | "~" | "null" | "Null" | "NULL"),
        // `.nan` is not equal to itself.
        Value::Number(number) if number.is_nan() => ours.to_ascii_lowercase().ends_with(".nan"),
        _ => serde_yaml::from_str::<Value>(ours).is_ok_and(|value| value == *theirs),
    }
}
