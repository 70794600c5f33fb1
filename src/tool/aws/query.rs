//! `--query`, as far as builds use it on the caller's identity.

use serde::{Deserialize, Serialize};

/// What is taken out of an answer: one field, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::tool) struct Query {
    fields: Vec<String>,
    is_list: bool,
}

/// Fields of the answer of `sts get-caller-identity`, in its order.
pub(super) const FIELDS: [&str; 3] = ["UserId", "Account", "Arn"];

impl Query {
    /// Reads a query.
    pub(in crate::tool) fn parse(text: &str) -> Result<Self, String> {
        let inner = text
            .trim()
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        let fields: Vec<String> = match inner {
            Some(list) => list.split(',').map(name).collect(),
            None => vec![name(text)],
        };
        if fields.iter().all(|field| FIELDS.contains(&field.as_str())) {
            return Ok(Self {
                fields,
                is_list: inner.is_some(),
            });
        }
        Err(format!(
            "`--query {text}` is not supported, only `Account`, `Arn`, `UserId` and lists of them such as `[Account,Arn]`"
        ))
    }

    /// The answer as it is written: `values` are those of [`FIELDS`].
    pub(super) fn show(query: Option<&Self>, values: [&str; 3], text: bool) -> String {
        let value = |field: &str| {
            let index = FIELDS.iter().position(|name| *name == field);
            index.map_or("None", |index| values[index])
        };
        let quoted = |value: &str| serde_json::Value::from(value).to_string();
        match query {
            // Text has the fields by their names.
            None if text => format!(
                "{}\t{}\t{}\n",
                value("Account"),
                value("Arn"),
                value("UserId")
            ),
            None => {
                let lines =
                    FIELDS.map(|field| format!("    \"{field}\": {}", quoted(value(field))));
                format!("{{\n{}\n}}\n", lines.join(",\n"))
            }
            Some(query) => {
                let values = query.fields.iter().map(|field| value(field));
                match (text, query.is_list) {
                    (true, _) => format!("{}\n", values.collect::<Vec<&str>>().join("\t")),
                    (false, false) => format!("{}\n", values.map(quoted).collect::<String>()),
                    (false, true) => {
                        let lines: Vec<String> = values
                            .map(|value| format!("    {}", quoted(value)))
                            .collect();
                        format!("[\n{}\n]\n", lines.join(",\n"))
                    }
                }
            }
        }
    }
}

/// A field as it may be written: bare, or in quotes.
fn name(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // TOOL-6
    #[test]
    fn answers_are_written_as_the_real_tool_writes_them() {
        let values = ["AIDA", "123456789012", "arn:aws:iam::123456789012:user/me"];
        let table = [
            (
                None,
                false,
                "{\n    \"UserId\": \"AIDA\",\n    \"Account\": \"123456789012\",\n    \"Arn\": \"arn:aws:iam::123456789012:user/me\"\n}\n",
            ),
            (
                None,
                true,
                "123456789012\tarn:aws:iam::123456789012:user/me\tAIDA\n",
            ),
            (Some("Account"), true, "123456789012\n"),
            (Some("Account"), false, "\"123456789012\"\n"),
            (Some("[Account, UserId]"), true, "123456789012\tAIDA\n"),
            (Some("[Account]"), false, "[\n    \"123456789012\"\n]\n"),
            (Some("\"Arn\""), true, "arn:aws:iam::123456789012:user/me\n"),
        ];
        for (query, text, expected) in table {
            let query = query.map(|query| Query::parse(query).expect("it is supported"));
            assert_eq!(Query::show(query.as_ref(), values, text), expected);
        }
        for query in ["Arn | [0]", "split(@)", "account", "", "[]"] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }
}
