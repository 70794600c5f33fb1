//! `imagedefinitions.json`: which image the ECS deploy action puts into which container.

use std::path::Path;

use super::fields::{describe, entry, field, items, string};
use super::image::ImageFile;
use crate::buildspec::yaml::{Node, NodeKind};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::{SourceText, Span};

fn rules(source: &SourceText) -> ImageFile {
    let name = Path::new(source.name()).file_name().unwrap_or_default();
    ImageFile {
        code: Code::ImageDefinitions,
        verdict: format!(
            "the ECS deploy action would fail with: The image definition file {} contents invalid JSON format",
            name.to_string_lossy()
        ),
        form: "write `[{\"name\":\"<container>\",\"imageUri\":\"<image>\"}]`",
    }
}

pub(super) fn check(source: &SourceText) -> Vec<Diagnostic> {
    let rules = rules(source);
    let root = match rules.read(source) {
        Ok(root) => root,
        Err(found) => return vec![*found],
    };
    if !matches!(root.kind, NodeKind::Sequence(_)) {
        return vec![no_array(&rules, &root)];
    }
    let mut found = Vec::new();
    let definitions = items(&root);
    if definitions.is_empty() {
        let message = "it names no container, so nothing would be deployed";
        found.push(rules.warning(root.span, message));
    }
    for (index, definition) in definitions.iter().enumerate() {
        check_definition(&rules, index, definition, &mut found);
    }
    check_twice(&rules, definitions, &mut found);
    found
}

/// The names of containers in the file; none if it cannot be read.
pub(super) fn names(source: &SourceText) -> Vec<(String, Span)> {
    let Ok(root) = rules(source).read(source) else {
        return Vec::new();
    };
    let names = items(&root).iter().filter_map(|one| field(one, "name"));
    names
        .filter_map(|name| Some((string(name)?.to_owned(), name.span)))
        .collect()
}

fn no_array(rules: &ImageFile, root: &Node) -> Diagnostic {
    let message = format!(
        "it is {}, where an array of objects is needed",
        describe(root)
    );
    let found = rules.shape(root.span, message);
    let is_definition = field(root, "name").is_some() && field(root, "imageUri").is_some();
    if !is_definition {
        return found;
    }
    let edits = [
        (Span::at(root.span.start()), "[".to_owned()),
        (Span::at(root.span.end()), "]".to_owned()),
    ];
    found.with_fix("put the object into an array", edits)
}

fn check_definition(
    rules: &ImageFile,
    index: usize,
    definition: &Node,
    found: &mut Vec<Diagnostic>,
) {
    let value = |key| field(definition, key).filter(|value| string(value).is_some());
    match (value("name"), value("imageUri")) {
        (Some(name), Some(image)) => {
            if string(name) == Some("") {
                let message = format!("entry {index} has an empty `name`");
                let help =
                    "the deploy action would fail with: The AWS ECS container  does not exist";
                found.push(Diagnostic::new(rules.code, name.span, message).with_help(help));
            }
            rules.check_image(image, &format!("entry {index}"), found);
        }
        (name, _) => {
            let key = if name.is_none() { "name" } else { "imageUri" };
            let place = entry(definition, key).map_or(definition.span, |entry| entry.value.span);
            let message = match entry(definition, key) {
                None => format!("entry {index} has no `{key}`"),
                Some(entry) => format!(
                    "`{key}` of entry {index} is {}, where a text is needed",
                    describe(&entry.value)
                ),
            };
            found.push(rules.shape(place, message));
        }
    }
}

/// Two images for one container: only one of them can be meant.
fn check_twice(rules: &ImageFile, definitions: &[Node], found: &mut Vec<Diagnostic>) {
    let names = || {
        let names = definitions.iter().filter_map(|one| field(one, "name"));
        names.filter(|name| string(name).is_some_and(|name| !name.is_empty()))
    };
    for (index, name) in names().enumerate() {
        if let Some(first) = names()
            .take(index)
            .find(|first| string(first) == string(name))
        {
            let written = string(name).unwrap_or_default();
            let message = format!("container `{written}` is given two images");
            let finding = rules.warning(name.span, message);
            found.push(finding.with_secondary(first.span, "first here"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_definitions_are_an_array_of_names_and_images() {
        let table: [(&str, &[&str]); 15] = [
            (r#"[{"name":"web","imageUri":"repo/web:1"}]"#, &[]),
            (
                r#"[{"name":"web","imageUri":"repo/web@sha256:00"},{"name":"x","imageUri":"y"}]"#,
                &[],
            ),
            (
                r#"{"name":"web","imageUri":"x:1"}"#,
                &["1:1 it is a single object, where an array of objects is needed"],
            ),
            ("", &["1:1 it is not JSON: the file is empty"]),
            (
                "[{'name':'web'}]",
                &["1:3 it is not JSON: JSON has no single quotes"],
            ),
            (
                "[]",
                &["1:1 it names no container, so nothing would be deployed"],
            ),
            (r#"[{"imageUri":"x:1"}]"#, &["1:2 entry 0 has no `name`"]),
            (r#"[{"name":"web"}]"#, &["1:2 entry 0 has no `imageUri`"]),
            (
                r#"[{"name":"web","imageUri":["x:1"]}]"#,
                &["1:27 `imageUri` of entry 0 is an array, where a text is needed"],
            ),
            (
                r#"[{"name":"web","imageUri":"repo/web:"}]"#,
                &["1:27 entry 0 names an image without a tag: `repo/web:`"],
            ),
            (
                r#"[{"name":"web","imageUri":":"}]"#,
                &["1:27 entry 0 names no image: `:`"],
            ),
            (
                r#"[{"name":"","imageUri":"x:1"}]"#,
                &["1:10 entry 0 has an empty `name`"],
            ),
            (
                r#"[{"name":"web","imageUri":"x:1 "}]"#,
                &["1:27 entry 0 names an image with blanks in it: `x:1 `"],
            ),
            (
                r#"[{"name":"web","imageUri":"$REPO:1"}]"#,
                &["1:27 entry 0 names an image with a variable in it: `$REPO:1`"],
            ),
            (
                r#"[{"name":"a","imageUri":"x:1"},{"name":"a","imageUri":"x:2"}]"#,
                &["1:40 container `a` is given two images"],
            ),
        ];
        for (content, expected) in table {
            let source = SourceText::new("imagedefinitions.json", content);
            let found: Vec<String> = check(&source)
                .into_iter()
                .map(|found| format!("{} {}", source.start_of(found.primary.span), found.message))
                .collect();
            assert_eq!(found, expected, "{content}");
        }
        let large = SourceText::new("imagedefinitions.json", " ".repeat(200_000));
        assert!(check(&large)[0].message.contains("larger than 100 KB"));
    }

    #[test]
    fn the_deploy_actions_own_words_are_in_the_help() {
        let source = SourceText::new("x/web-imagedefinitions.json", "{}");
        let help = check(&source)[0].help.clone().unwrap();
        assert!(help.contains("file web-imagedefinitions.json contents invalid JSON format"));
    }
}
