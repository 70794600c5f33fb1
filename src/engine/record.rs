//! What a record of the engine's is for people: as Docker's command line writes it without a terminal.

use serde_json::Value;

/// What one record of the engine's is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A text for standard output, with the end of its line.
    Text(String),
    /// A bar's new length, or a fact for programs.
    Nothing,
    /// It failed, with this code if a command of a build did.
    Failed {
        /// Exit code, if there is one.
        code: Option<u8>,
        /// The engine's words.
        message: String,
    },
}

impl Said {
    /// Reads a record. What went wrong Docker says twice, Podman once.
    #[must_use]
    pub fn read(record: &Value) -> Self {
        if let Some(failed) = Self::failure(record) {
            return failed;
        }
        if let Some(text) = record["stream"].as_str() {
            return Self::Text(text.to_owned());
        }
        let is_bar =
            record["progressDetail"]["current"].is_number() || record["progress"].is_string();
        match (record["status"].as_str(), record["id"].as_str()) {
            (Some(_), _) if is_bar => Self::Nothing,
            (Some(status), Some(id)) if !id.is_empty() => Self::Text(format!("{id}: {status}\n")),
            (Some(status), _) => Self::Text(format!("{status}\n")),
            (None, _) => Self::Nothing,
        }
    }

    fn failure(record: &Value) -> Option<Self> {
        let detail = &record["errorDetail"];
        let message = detail["message"]
            .as_str()
            .or_else(|| record["error"].as_str())
            .filter(|message| !message.is_empty())?;
        let code = detail["code"].as_u64();
        Some(Self::Failed {
            code: code
                .and_then(|code| u8::try_from(code).ok())
                .filter(|code| *code != 0),
            message: message.trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_as_lines() {
        let text = |text: &str| Said::Text(text.to_owned());
        let table = [
            (
                r#"{"status":"Preparing","progressDetail":{},"id":"a1"}"#,
                text("a1: Preparing\n"),
            ),
            (
                r#"{"status":"Pushing","progressDetail":{"current":1,"total":2},"progress":"[>","id":"a1"}"#,
                Said::Nothing,
            ),
            (
                r#"{"status":"latest: digest: sha256:1 size: 2"}"#,
                text("latest: digest: sha256:1 size: 2\n"),
            ),
            (
                r#"{"progressDetail":{},"aux":{"Tag":"latest"}}"#,
                Said::Nothing,
            ),
            (
                r#"{"stream":"Step 1/2 : FROM a"}"#,
                text("Step 1/2 : FROM a"),
            ),
            (
                r#"{"errorDetail":{"message":"denied"},"error":"denied"}"#,
                Said::Failed {
                    code: None,
                    message: "denied".to_owned(),
                },
            ),
            (
                r#"{"errorDetail":{"code":3,"message":"m"},"error":"m"}"#,
                Said::Failed {
                    code: Some(3),
                    message: "m".to_owned(),
                },
            ),
        ];
        for (record, expected) in table {
            assert_eq!(
                Said::read(&serde_json::from_str(record).expect("JSON")),
                expected,
                "{record}"
            );
        }
    }
}
