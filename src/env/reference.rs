//! What stands for a value that lies with AWS, and where it lies (ENV-20, ENV-21).

/// Where a value lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretReference {
    /// With whoever starts the build, who hands it over by name of the variable (ENV-50).
    Given,
    /// In the Parameter Store.
    Parameter {
        /// Its name, with `:version` or `:label` where one is asked for, or its ARN.
        name: String,
    },
    /// In Secrets Manager.
    Secret {
        /// Name, or the whole ARN.
        id: String,
        /// The key in a secret that is JSON; without one the whole text is meant.
        json_key: Option<String>,
        /// The staging label of the version.
        stage: Option<String>,
        /// The version.
        version: Option<String>,
    },
}

/// How many fields of an ARN make the id of a secret: `arn:aws:secretsmanager:<region>:<account>:secret:<name>`.
const ARN_FIELDS: usize = 7;

impl SecretReference {
    /// CodeBuild's name for the type of a variable with such a value; a value that is handed over has none of its own.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Given => "SECRET",
            Self::Parameter { .. } => "PARAMETER_STORE",
            Self::Secret { .. } => "SECRETS_MANAGER",
        }
    }

    /// Reads a value of `env.secrets-manager`: `id:json-key:version-stage:version-id`, of which all but the id may be
    /// empty or missing. What follows a fifth colon belongs to the version, and AWS will not know it.
    #[must_use]
    pub fn secret(text: &str) -> Self {
        let (id, rest) = split_id(text);
        let mut fields = rest.splitn(3, ':');
        let mut field = || fields.next().filter(|f| !f.is_empty()).map(str::to_owned);
        Self::Secret {
            id: id.to_owned(),
            json_key: field(),
            stage: field(),
            version: field(),
        }
    }
}

/// The id of a secret, which has colons if it is an ARN, and the other fields.
fn split_id(text: &str) -> (&str, &str) {
    let fields = if text.starts_with("arn:") {
        ARN_FIELDS
    } else {
        1
    };
    match text.match_indices(':').nth(fields - 1) {
        Some((colon, _)) => (&text[..colon], &text[colon + 1..]),
        None => (text, ""),
    }
}

/// Puts values in the place of `$NAME` and `${NAME}` in a reference, as a shell would: what is not set is nothing. Any
/// other `$` stays.
#[must_use]
pub fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        let (name, end) = match after.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                Some((name, _)) if !name.is_empty() && name_length(name) == name.len() => {
                    (name, name.len() + 2)
                }
                _ => ("", 0),
            },
            None => (&after[..name_length(after)], name_length(after)),
        };
        if name.is_empty() {
            out.push('$');
        } else {
            out.push_str(&value(name).unwrap_or_default());
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// How many bytes at the beginning of a text are a name of a variable.
fn name_length(text: &str) -> usize {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    // ENV-21
    #[test]
    fn references_to_secrets_are_read() {
        let arn = "arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/db-AbCdEf";
        let table = [
            ("prod/db", ["prod/db", "", "", ""]),
            ("prod/db:password", ["prod/db", "password", "", ""]),
            (
                "prod/db:password:AWSPREVIOUS",
                ["prod/db", "password", "AWSPREVIOUS", ""],
            ),
            (
                "prod/db:password::7c6e",
                ["prod/db", "password", "", "7c6e"],
            ),
            ("prod/db::AWSPREVIOUS", ["prod/db", "", "AWSPREVIOUS", ""]),
            ("prod/db:::", ["prod/db", "", "", ""]),
            ("prod/db:a:b:c:d", ["prod/db", "a", "b", "c:d"]),
            (arn, [arn, "", "", ""]),
            (&format!("{arn}:password"), [arn, "password", "", ""]),
            (&format!("{arn}:p:S:v"), [arn, "p", "S", "v"]),
            ("arn:aws:short", ["arn:aws:short", "", "", ""]),
            ("", ["", "", "", ""]),
        ];
        for (text, [id, key, stage, version]) in table {
            let field = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let expected = SecretReference::Secret {
                id: id.to_owned(),
                json_key: field(key),
                stage: field(stage),
                version: field(version),
            };
            assert_eq!(SecretReference::secret(text), expected, "{text}");
        }
    }

    // ENV-22
    #[test]
    fn variables_in_references_are_expanded() {
        let value = |name: &str| match name {
            "A" => Some("x".to_owned()),
            "B_2" => Some("$A".to_owned()),
            _ => None,
        };
        let table = [
            ("/app/$A/db", "/app/x/db"),
            ("/${A}/${B_2}", "/x/$A"),
            ("${A}b$A-", "xbx-"),
            ("$none/${none}", "/"),
            ("$", "$"),
            ("a$1$$A", "a$1$x"),
            ("${A", "${A"),
            ("${A:-y}", "${A:-y}"),
            ("${}é$é", "${}é$é"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, value), expected, "{text}");
        }
    }
}
