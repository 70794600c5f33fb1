//! Secrets Manager (ENV-24).

use aws_sdk_secretsmanager::Client;
use serde_json::Value;

use super::error::{Problem, SECRETS, refused};

/// One version of one secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) id: String,
    pub(super) stage: Option<String>,
    pub(super) version: Option<String>,
}

/// Reads the whole text of a secret.
pub(super) async fn read(
    client: &Client,
    wanted: &Wanted,
    missing_profile: Option<&str>,
) -> Result<String, Problem> {
    let answer = client
        .get_secret_value()
        .secret_id(&wanted.id)
        .set_version_stage(wanted.stage.clone())
        .set_version_id(wanted.version.clone())
        .send()
        .await
        .map_err(|error| refused(SECRETS, &error, missing_profile, &wanted.id))?;
    if let Some(text) = answer.secret_string() {
        return Ok(text.to_owned());
    }
    let bytes = answer
        .secret_binary()
        .map(|blob| blob.as_ref().to_vec())
        .unwrap_or_default();
    String::from_utf8(bytes).map_err(|_| Problem {
        status_code: SECRETS,
        message: format!("the secret {} is binary, and no text", wanted.id),
        help: "store it as text, for instance as Base64".to_owned(),
        about: None,
    })
}

/// What a secret has under a key: a text as it is, anything else as JSON.
pub(super) fn field(id: &str, secret: &str, key: &str) -> Result<String, Problem> {
    let problem = |message: String, help: String| Problem {
        status_code: SECRETS,
        message,
        help,
        about: None,
    };
    // What the parser says could have a part of the secret in it.
    let Ok(Value::Object(fields)) = serde_json::from_str(secret) else {
        return Err(problem(
            format!("the secret {id} is no JSON object, so it has no key {key}"),
            format!("write {id} alone for the whole text, or store the secret as JSON"),
        ));
    };
    match fields.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
        None => Err(problem(
            format!("the secret {id} has no key {key}"),
            format!(
                "correct the key, or add it to the secret; keys are {}",
                keys(&fields)
            ),
        )),
    }
}

/// The keys of a secret: no secrets themselves, and what one looks for after a slip of the pen.
fn keys(fields: &serde_json::Map<String, Value>) -> String {
    const SHOWN: usize = 10;
    let mut names: Vec<&str> = fields.keys().take(SHOWN).map(String::as_str).collect();
    match fields.len() {
        0 => return "none".to_owned(),
        count if count > SHOWN => names.push("…"),
        _ => {}
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_secrets() {
        let secret = r#"{"text":"a\nb","empty":"","number":1.50,"big":12345678901234567890,"yes":true,"nothing":null,"deep":{"a":[1]},"a.b":"dot"}"#;
        let table = [
            ("text", Some("a\nb")),
            ("empty", Some("")),
            ("big", Some("12345678901234567890")),
            ("yes", Some("true")),
            ("nothing", Some("null")),
            ("deep", Some(r#"{"a":[1]}"#)),
            ("a.b", Some("dot")),
            ("none", None),
            ("TEXT", None),
        ];
        for (key, expected) in table {
            let found = field("id", secret, key);
            assert_eq!(found.as_deref().ok(), expected, "{key}");
        }
        let missing = field("id", r#"{"a":"s3cr3t"}"#, "b").unwrap_err();
        assert_eq!(missing.message, "the secret id has no key b");
        assert!(missing.help.ends_with("keys are a"));
        for text in ["s3cr3t", "[\"s3cr3t\"]", "\"s3cr3t\"", "", "{\"a\": s3cr3t"] {
            let refused = field("id", text, "a").unwrap_err();
            assert!(!format!("{refused:?}").contains("s3cr3t"), "{refused:?}");
        }
    }
}
