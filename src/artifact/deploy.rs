//! Files that a deploy action will read: whether they have the shape it wants (ART-15).
//!
//! The build goes on whatever is found here: CodeBuild stores such a file as it is, and the pipeline fails a stage
//! later. The warning says now what the deploy action would say then.

use serde_json::Value;

use crate::event::Warning;

/// Largest `imagedefinitions.json` that the ECS deploy action reads, in bytes.
const MAX_BYTES: u64 = 100 * 1024;

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeployFile {
    /// `imagedefinitions.json`, for the ECS deploy action.
    ImageDefinitions,
    /// `imageDetail.json`, for blue/green deployments.
    ImageDetail,
}

impl DeployFile {
    /// The deploy file that an artifact stores under this path, if it is one.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        match path.rsplit('/').next() {
            Some("imagedefinitions.json") => Some(Self::ImageDefinitions),
            Some("imageDetail.json") => Some(Self::ImageDetail),
            _ => None,
        }
    }

    /// Largest content that is worth reading, in bytes.
    #[must_use]
    pub const fn max_bytes(self) -> u64 {
        MAX_BYTES
    }
}

/// What the deploy action would say of a file. `content` may be cut one byte after the limit.
#[must_use]
pub fn check(file: DeployFile, path: &str, content: &[u8]) -> Vec<Warning> {
    let mut problems = Vec::new();
    if path.contains('/') {
        problems.push(Problem::new(
            "it is not at the root of the artifact, where the deploy action looks",
        ));
    }
    match file {
        DeployFile::ImageDefinitions => image_definitions(content, &mut problems),
        DeployFile::ImageDetail => image_detail(content, &mut problems),
    }
    let verdict = match file {
        DeployFile::ImageDefinitions => {
            "the ECS deploy action would fail with: The image definition file imagedefinitions.json contents invalid JSON format"
        }
        DeployFile::ImageDetail => {
            "the blue/green deploy action would fail with: Exception while trying to read the image artifact file"
        }
    };
    problems
        .into_iter()
        .map(|problem| {
            let message = format!("`{path}`: {}", problem.what);
            let help = match (problem.breaks_shape, problem.help) {
                (true, Some(help)) => format!("{verdict}; {help}"),
                (true, None) => verdict.to_owned(),
                (false, help) => help.unwrap_or_default(),
            };
            let warning = Warning::new(message);
            if help.is_empty() {
                warning
            } else {
                warning.with_help(help)
            }
        })
        .collect()
}

struct Problem {
    what: String,
    help: Option<String>,
    breaks_shape: bool,
}

impl Problem {
    fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: None,
            breaks_shape: false,
        }
    }

    fn shape(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: None,
            breaks_shape: true,
        }
    }

    fn with_help(self, help: &str) -> Self {
        Self {
            help: Some(help.to_owned()),
            ..self
        }
    }
}

fn image_definitions(content: &[u8], problems: &mut Vec<Problem>) {
    const FORM: &str = "write `[{\"name\":\"<container>\",\"imageUri\":\"<image>\"}]`";
    if content.len() as u64 > MAX_BYTES {
        problems.push(Problem::new(
            "it is larger than 100 KB, which the ECS deploy action refuses",
        ));
        return;
    }
    let definitions = match serde_json::from_slice::<Value>(content) {
        Err(error) => return problems.push(Problem::shape(not_json(&error)).with_help(FORM)),
        Ok(Value::Array(definitions)) => definitions,
        Ok(other) => {
            let what = format!(
                "it is {}, where an array of objects is needed",
                kind(&other)
            );
            return problems.push(Problem::shape(what).with_help(FORM));
        }
    };
    if definitions.is_empty() {
        problems.push(Problem::new(
            "it names no container, so nothing would be deployed",
        ));
    }
    for (index, definition) in definitions.iter().enumerate() {
        match (text_of(definition, "name"), text_of(definition, "imageUri")) {
            (Some(name), Some(image)) => {
                if name.is_empty() {
                    let help =
                        "the deploy action would fail with: The AWS ECS container  does not exist";
                    problems.push(
                        Problem::new(format!("entry {index} has an empty `name`")).with_help(help),
                    );
                }
                image_reference(&image, &format!("entry {index}"), problems);
            }
            (None, _) => problems
                .push(Problem::shape(format!("entry {index} has no `name`")).with_help(FORM)),
            (_, None) => problems
                .push(Problem::shape(format!("entry {index} has no `imageUri`")).with_help(FORM)),
        }
    }
}

fn image_detail(content: &[u8], problems: &mut Vec<Problem>) {
    const FORM: &str = "write `{\"ImageURI\":\"<image>\"}`";
    if content.len() as u64 > MAX_BYTES {
        return problems.push(Problem::new("it is larger than 100 KB"));
    }
    match serde_json::from_slice::<Value>(content) {
        Err(error) => problems.push(Problem::shape(not_json(&error)).with_help(FORM)),
        Ok(detail @ Value::Object(_)) => match text_of(&detail, "ImageURI") {
            Some(image) => image_reference(&image, "`ImageURI`", problems),
            None => problems.push(Problem::shape("it has no `ImageURI`").with_help(FORM)),
        },
        Ok(other) => {
            let what = format!("it is {}, where one object is needed", kind(&other));
            problems.push(Problem::shape(what).with_help(FORM));
        }
    }
}

/// What variables that were never set leave of an image: nothing, or an empty tag.
fn image_reference(image: &str, place: &str, problems: &mut Vec<Problem>) {
    let help = "a variable in it was empty when the file was written";
    if image.is_empty() || image.starts_with(':') {
        problems.push(Problem::new(format!("{place} names no image: `{image}`")).with_help(help));
    } else if image.ends_with(':') || image.ends_with('@') {
        problems.push(
            Problem::new(format!("{place} names an image without a tag: `{image}`"))
                .with_help(help),
        );
    } else if image.contains(|c: char| c.is_whitespace() || c.is_control()) {
        problems.push(Problem::new(format!(
            "{place} names an image with blanks in it: `{}`",
            image.escape_debug()
        )));
    }
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "a single object",
    }
}

fn not_json(error: &serde_json::Error) -> String {
    format!("it is not JSON: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, content: &str) -> Vec<String> {
        let file = DeployFile::of_path(path).unwrap();
        check(file, path, content.as_bytes())
            .into_iter()
            .map(|warning| warning.message)
            .collect()
    }

    #[test]
    fn image_definitions_are_an_array_of_names_and_images() {
        let table: [(&str, &[&str]); 12] = [
            (r#"[{"name":"web","imageUri":"repo/web:1"}]"#, &[]),
            (
                r#"[{"name":"web","imageUri":"repo/web@sha256:00"},{"name":"x","imageUri":"y"}]"#,
                &[],
            ),
            (
                r#"{"name":"web","imageUri":"x:1"}"#,
                &["it is a single object, where an array of objects is needed"],
            ),
            (
                "",
                &["it is not JSON: EOF while parsing a value at line 1 column 0"],
            ),
            (
                "[{'name':'web'}]",
                &["it is not JSON: key must be a string at line 1 column 3"],
            ),
            (
                "[]",
                &["it names no container, so nothing would be deployed"],
            ),
            (r#"[{"imageUri":"x:1"}]"#, &["entry 0 has no `name`"]),
            (r#"[{"name":"web"}]"#, &["entry 0 has no `imageUri`"]),
            (
                r#"[{"name":"web","imageUri":"repo/web:"}]"#,
                &["entry 0 names an image without a tag: `repo/web:`"],
            ),
            (
                r#"[{"name":"web","imageUri":":"}]"#,
                &["entry 0 names no image: `:`"],
            ),
            (
                r#"[{"name":"","imageUri":"x:1"}]"#,
                &["entry 0 has an empty `name`"],
            ),
            (
                r#"[{"name":"web","imageUri":"x:1 "}]"#,
                &["entry 0 names an image with blanks in it: `x:1 `"],
            ),
        ];
        for (content, expected) in table {
            let expected: Vec<String> = expected
                .iter()
                .map(|text| format!("`imagedefinitions.json`: {text}"))
                .collect();
            assert_eq!(
                messages("imagedefinitions.json", content),
                expected,
                "{content}"
            );
        }
        let large = " ".repeat(200_000);
        assert!(messages("imagedefinitions.json", &large)[0].contains("larger than 100 KB"));
        assert!(messages("out/imagedefinitions.json", "[]")[0].contains("not at the root"));
    }

    #[test]
    fn an_image_detail_is_one_object() {
        let table: [(&str, &[&str]); 4] = [
            (r#"{"ImageURI":"repo/web@sha256:00"}"#, &[]),
            (
                r#"[{"ImageURI":"x"}]"#,
                &["it is an array, where one object is needed"],
            ),
            (r#"{"imageUri":"x"}"#, &["it has no `ImageURI`"]),
            (r#"{"ImageURI":""}"#, &["`ImageURI` names no image: ``"]),
        ];
        for (content, expected) in table {
            let expected: Vec<String> = expected
                .iter()
                .map(|text| format!("`imageDetail.json`: {text}"))
                .collect();
            assert_eq!(messages("imageDetail.json", content), expected, "{content}");
        }
    }

    #[test]
    fn the_deploy_actions_own_words_are_in_the_help() {
        let warnings = check(DeployFile::ImageDefinitions, "imagedefinitions.json", b"{}");
        assert!(
            warnings[0]
                .help
                .as_ref()
                .unwrap()
                .contains("contents invalid JSON format")
        );
        assert_eq!(DeployFile::of_path("a/b.json"), None);
    }
}
