//! The action type by which pipelines hand builds to agents (AGENT-50).
//!
//! [`ActionType`] says what it is, [`forms`] writes it down for others to make, [`service`] makes it.

pub mod forms;
pub mod service;

/// What CodePipeline calls who registers an action type of its own.
pub const OWNER: &str = "Custom";

/// Longest name of a provider, in characters.
const LONGEST_PROVIDER: usize = 35;

/// Longest version, in characters.
const LONGEST_VERSION: usize = 9;

/// Longest address template, in characters.
const LONGEST_TEMPLATE: usize = 2048;

/// Categories of actions that builds are for, in CodePipeline's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// `Build`
    Build,
    /// `Test`
    Test,
}

impl Category {
    /// CodePipeline's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Build => "Build",
            Self::Test => "Test",
        }
    }
}

/// A key of the configuration of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// As it is written in a pipeline.
    pub name: &'static str,
    /// What the console says beside it.
    pub description: &'static str,
    /// Whether an action has to have it.
    pub required: bool,
}

const fn optional(name: &'static str, description: &'static str) -> Property {
    Property {
        name,
        description,
        required: false,
    }
}

/// The keys that a CodeBuild action has, in its own spelling, and two more (AGENT-51). CodePipeline allows ten, and adds
/// one of its own to what has room for it.
pub const PROPERTIES: [Property; 9] = [
    Property {
        name: PROJECT_NAME,
        description: "Project to build: agents take jobs of the projects that they are for",
        required: true,
    },
    optional(
        "PrimarySource",
        "Input artifact with the buildspec, where there are several",
    ),
    optional(
        "BuildspecOverride",
        "Path of the buildspec in the primary source, or its text",
    ),
    optional(
        "EnvironmentVariables",
        "JSON list of name, value and type (PLAINTEXT, PARAMETER_STORE, SECRETS_MANAGER)",
    ),
    optional("Image", "Container image that the build runs in"),
    optional("Timeout", "Minutes until the build is stopped"),
    optional(
        "BatchEnabled",
        "As in CodeBuild actions; true is refused: there are no batch builds",
    ),
    optional(
        "CombineArtifacts",
        "As in CodeBuild actions; only batch builds have anything to combine",
    ),
    optional(
        "ServiceRoleArnOverride",
        "Role that commands of the build have, if the agent allows it",
    ),
];

/// The key by which agents ask for jobs.
pub const PROJECT_NAME: &str = "ProjectName";

/// How many artifacts an action may have: fewest and most going in, fewest and most coming out.
pub const ARTIFACTS: [(i32, i32); 2] = [(1, 5), (0, 5)];

/// An action type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionType {
    /// What the action is for.
    pub category: Category,
    /// Its name: 1 to 35 letters, digits, `-` and `_`.
    pub provider: String,
    /// Which one of that name: 1 to 9 letters, digits, `-` and `_`.
    pub version: String,
    /// Whether a poll names the project that it wants jobs of. Then it has to.
    pub is_asked_by_project: bool,
    /// Template of the address that the console links a project to.
    pub entity_url: Option<String>,
    /// Template of the address that the console links a build to.
    pub execution_url: Option<String>,
}

impl ActionType {
    /// Category, owner, provider and version, as in ARNs.
    #[must_use]
    pub fn id(&self) -> String {
        let category = self.category.name();
        format!("{category}/{OWNER}/{}/{}", self.provider, self.version)
    }

    /// Its name in IAM policies, below the service, the region and the account: the owner stands before the category there.
    #[must_use]
    pub fn resource(&self) -> String {
        let category = self.category.name();
        format!("{OWNER}/{category}/{}/{}", self.provider, self.version)
    }

    /// Whether polls name a project by this key.
    #[must_use]
    pub fn is_queryable(&self, property: &Property) -> bool {
        self.is_asked_by_project && property.name == PROJECT_NAME
    }
}

/// What a provider may be called.
///
/// # Errors
///
/// What was expected, for one who typed something else.
pub fn provider(text: &str) -> Result<String, String> {
    word(text, LONGEST_PROVIDER)
}

/// What a version may be called.
///
/// # Errors
///
/// As of [`provider`].
pub fn version(text: &str) -> Result<String, String> {
    word(text, LONGEST_VERSION)
}

/// A word of at most so many bytes, as CodePipeline takes them in names and in values that jobs are asked for by.
///
/// # Errors
///
/// As of [`provider`].
pub fn word(text: &str, longest: usize) -> Result<String, String> {
    let fits = text.len() <= longest && !text.is_empty();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if fits && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected 1 to {longest} letters, digits, `-` and `_`"
    ))
}

/// A template of an address: what stands in braces is filled in by CodePipeline (AGENT-52).
pub fn url_template(text: &str) -> Result<String, String> {
    if !["https://", "http://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
    {
        return Err("expected an address that begins with https:// or http://".to_owned());
    }
    if text.chars().count() > LONGEST_TEMPLATE {
        return Err(format!("expected at most {LONGEST_TEMPLATE} characters"));
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        let (name, after) = after
            .split_once('}')
            .ok_or("a `{` is not closed".to_owned())?;
        let is_known = name == "ExternalExecutionId"
            || name
                .strip_prefix("Config:")
                .is_some_and(|key| PROPERTIES.iter().any(|one| one.name == key && one.required));
        if !is_known {
            return Err(format!(
                "`{{{name}}}` is not filled in by CodePipeline: there are {{Config:{PROJECT_NAME}}} and {{ExternalExecutionId}}"
            ));
        }
        rest = after;
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_descriptions_are_within_codepipelines_limits() {
        assert!(PROPERTIES.len() <= 10);
        for property in PROPERTIES {
            assert!((1..=50).contains(&property.name.len()), "{property:?}");
            assert!(
                (1..=160).contains(&property.description.len()),
                "{property:?}"
            );
        }
    }

    #[test]
    fn words_are_checked() {
        let table = [
            ("Runner", true),
            ("a-b_9", true),
            ("", false),
            ("a b", false),
            ("ä", false),
        ];
        for (text, is_right) in table {
            assert_eq!(provider(text).is_ok(), is_right, "{text}");
        }
        assert!(provider(&"p".repeat(35)).is_ok() && provider(&"p".repeat(36)).is_err());
        assert!(version("123456789").is_ok() && version("1234567890").is_err());
    }

    #[test]
    fn templates_name_what_codepipeline_fills_in() {
        let table = [
            (
                "https://ci.example/{Config:ProjectName}/{ExternalExecutionId}",
                None,
            ),
            ("https://ci.example/", None),
            ("ci.example", Some("https://")),
            ("https://ci.example/{Config:Image}", Some("{Config:Image}")),
            ("https://ci.example/{Project}", Some("{Project}")),
            ("https://ci.example/{Project", Some("not closed")),
        ];
        for (text, wrong) in table {
            match (url_template(text), wrong) {
                (Ok(same), None) => assert_eq!(same, text),
                (Err(said), Some(part)) => assert!(said.contains(part), "{said}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        assert!(url_template(&format!("https://{}", "x".repeat(2048))).is_err());
    }
}
