//! `imageDetail.json`: which image a blue/green deployment puts in the place of the placeholder.

use super::fields::{describe, entries, field, items, string};
use super::image::ImageFile;
use crate::buildspec::yaml::{Node, NodeKind};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::{SourceText, Span};

const KEY: &str = "ImageURI";

pub(super) fn check(source: &SourceText) -> Vec<Diagnostic> {
    let rules = ImageFile {
        code: Code::ImageDetail,
        verdict: "the blue/green deploy action would fail with: Exception while trying to read the image artifact file".to_owned(),
        form: "write `{\"ImageURI\":\"<image>\"}`",
    };
    let root = match rules.read(source) {
        Ok(root) => root,
        Err(found) => return vec![*found],
    };
    if !matches!(root.kind, NodeKind::Mapping(_)) {
        return vec![no_object(&rules, &root)];
    }
    let mut found = Vec::new();
    match field(&root, KEY) {
        Some(image) if string(image).is_some() => {
            rules.check_image(image, "`ImageURI`", &mut found);
        }
        Some(other) => {
            let message = format!("`ImageURI` is {}, where a text is needed", describe(other));
            found.push(rules.shape(other.span, message));
        }
        None => found.push(no_image(&rules, &root)),
    }
    found
}

fn no_object(rules: &ImageFile, root: &Node) -> Diagnostic {
    let message = format!("it is {}, where one object is needed", describe(root));
    let found = rules.shape(root.span, message);
    match items(root) {
        [only] if field(only, KEY).is_some() => {
            let edits = [
                (
                    Span::new(root.span.start(), only.span.start()),
                    String::new(),
                ),
                (Span::new(only.span.end(), root.span.end()), String::new()),
            ];
            found.with_fix("take the object out of the array", edits)
        }
        _ => found,
    }
}

fn no_image(rules: &ImageFile, root: &Node) -> Diagnostic {
    let found = rules.shape(root.span, "it has no `ImageURI`");
    // The key as the other file has it, or as one would guess.
    let meant = entries(root)
        .iter()
        .find(|entry| entry.key.value.eq_ignore_ascii_case(KEY));
    match meant {
        Some(entry) => {
            let edit = (entry.key.span, format!("\"{KEY}\""));
            found.with_fix(format!("write `{KEY}`"), [edit])
        }
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_detail_is_one_object() {
        let table: [(&str, &[&str]); 6] = [
            (r#"{"ImageURI":"repo/web@sha256:00"}"#, &[]),
            (
                r#"[{"ImageURI":"x"}]"#,
                &["it is an array, where one object is needed"],
            ),
            (r#"{"imageUri":"x"}"#, &["it has no `ImageURI`"]),
            (
                r#"{"ImageURI":1}"#,
                &["`ImageURI` is a number, where a text is needed"],
            ),
            (r#"{"ImageURI":""}"#, &["`ImageURI` names no image"]),
            (r#"{"ImageURI":":1"}"#, &["`ImageURI` names no image: `:1`"]),
        ];
        for (content, expected) in table {
            let found = check(&SourceText::new("imageDetail.json", content)).into_iter();
            let found: Vec<String> = found.map(|found| found.message).collect();
            assert_eq!(found, expected, "{content}");
        }
    }
}
