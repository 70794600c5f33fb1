//! What can go wrong with credentials of registries.

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}: {why}")]
pub struct Error {
    /// What kind of reason.
    pub kind: ErrorKind,
    /// What was being done, to what: `log in to REGISTRY`.
    pub doing: String,
    /// Why it failed.
    pub why: String,
    /// What to do.
    pub help: Option<String>,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There are no AWS credentials, or none that can be used.
    NoCredentials,
    /// AWS does not know the credentials, or not any more.
    BadCredentials,
    /// No region is known.
    NoRegion,
    /// AWS said no.
    Denied,
    /// No answer in time, or none at all.
    Unreachable,
    /// A file of Docker's, or of ours, cannot be read or written.
    File,
    /// Another credential helper failed.
    Helper,
    /// Something else, which is said.
    Other,
}

impl Error {
    /// The error in one line, with what to do.
    #[must_use]
    pub fn with_help(&self) -> String {
        match &self.help {
            Some(help) => format!("{self}; {help}"),
            None => self.to_string(),
        }
    }

    pub(super) fn new(
        kind: ErrorKind,
        doing: impl Into<String>,
        why: impl Into<String>,
        help: Option<String>,
    ) -> Self {
        Self {
            kind,
            doing: doing.into(),
            why: why.into(),
            help,
        }
    }

    pub(super) fn file(doing: &str, path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        let doing = format!("{doing} {}", path.display());
        Self::new(ErrorKind::File, doing, why.to_string(), None)
    }
}
