//! Why a source is not there.

/// Why a source is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong. No credentials are in it.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// Whether CodeBuild says it so, and then adds which source it means.
    in_codebuilds_words: bool,
}

impl Error {
    /// In words of our own, which name the source.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
            in_codebuilds_words: false,
        }
    }

    /// In words of CodeBuild's, which are about any source.
    pub(super) fn codebuilds(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            in_codebuilds_words: true,
            ..Self::new(message, help)
        }
    }

    /// As the phase tells it (SRC-30): of which source, and of which version of it where one was asked for.
    #[must_use]
    pub fn of_source(&self, identifier: Option<&str>, version: Option<&str>) -> String {
        if !self.in_codebuilds_words {
            return self.message.clone();
        }
        let source = match identifier {
            None => "primary source".to_owned(),
            Some(identifier) => format!("secondary source {identifier}"),
        };
        let version = version.map_or_else(String::new, |version| {
            format!(" and source version {version}")
        });
        format!("{} for {source}{version}", self.message)
    }
}
