//! Looking at trees of JSON and YAML.

use crate::buildspec::yaml::{Entry, Node, NodeKind};

/// The keys of a mapping with their values; none of anything else.
pub(super) fn entries(node: &Node) -> &[Entry] {
    match &node.kind {
        NodeKind::Mapping(entries) => entries,
        _ => &[],
    }
}

/// The entry of a mapping with this key.
pub(super) fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n Entry> {
    entries(node).iter().find(|entry| entry.key.value == key)
}

/// The value of a mapping at this key.
pub(super) fn field<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    entry(node, key).map(|entry| &entry.value)
}

/// The items of a list; none of anything else.
pub(super) fn items(node: &Node) -> &[Node] {
    match &node.kind {
        NodeKind::Sequence(items) => items,
        _ => &[],
    }
}

/// The text of a scalar, whether it is in quotes or not, unless it stands for nothing.
pub(super) fn text(node: &Node) -> Option<&str> {
    match &node.kind {
        NodeKind::Scalar(scalar) if !scalar.is_null() => Some(&scalar.text),
        _ => None,
    }
}

/// The text of a string of JSON.
pub(super) fn string(node: &Node) -> Option<&str> {
    match &node.kind {
        NodeKind::Scalar(scalar) if !scalar.plain => Some(&scalar.text),
        _ => None,
    }
}

/// What a value of JSON is, in words for a message.
pub(super) fn describe(node: &Node) -> &'static str {
    match &node.kind {
        NodeKind::Sequence(_) => "an array",
        NodeKind::Mapping(_) => "a single object",
        NodeKind::Scalar(scalar) if !scalar.plain => "a text",
        NodeKind::Scalar(scalar) => match scalar.text.as_str() {
            "null" => "null",
            "true" | "false" => "a flag",
            _ => "a number",
        },
    }
}
