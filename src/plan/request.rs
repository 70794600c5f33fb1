//! What a build is asked for beyond its buildspec.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::buildspec::model::Shell;
use crate::phase::RetryScope;
use crate::runtime::OnMachine;

/// Name of a project, as CodeBuild allows it: 2 to 150 letters, digits, `-` and `_`, a letter or digit first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectName(String);

impl ProjectName {
    /// The name, if the text is one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let length = (2..=150).contains(&text.len());
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (length && first && allowed).then(|| Self(text.to_owned()))
    }

    /// A name made of any text, for a project that was given none: what is not allowed becomes `-`.
    #[must_use]
    pub fn from_directory_name(text: &str) -> Self {
        let mapped: String = text
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let trimmed: String = mapped.trim_matches(['-', '_']).chars().take(150).collect();
        if trimmed.len() < 2 {
            Self("project".to_owned())
        } else {
            Self(trimmed)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of place a source is from, as far as CodeBuild's log tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceKind {
    /// A bucket, or a directory that the caller has: as if it had come from a bucket.
    #[default]
    S3,
    /// A git repository.
    Git,
    /// A git repository of CodeCommit.
    CodeCommit,
}

/// Where the source is and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What kind of place it is from.
    pub kind: SourceKind,
    /// `CODEBUILD_SRC_DIR`: absolute.
    pub directory: PathBuf,
    /// Where it was cloned from, without credentials.
    pub repository_url: Option<String>,
    /// The version that was asked for.
    pub version: Option<String>,
    /// The commit that is checked out.
    pub resolved_version: Option<String>,
}

/// A source beside the primary one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondarySource {
    /// Its identifier: letters, digits, `-` and `_`.
    pub identifier: String,
    /// Where it is and what is known of it.
    pub source: Source,
}

/// Where artifacts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactLocation {
    /// A directory of this machine: absolute.
    Directory(PathBuf),
    /// A bucket, and a key prefix without slashes at its ends.
    S3 {
        /// The bucket.
        bucket: String,
        /// CodeBuild's `path`.
        path: String,
    },
}

/// Whether an artifact is one archive or its single files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packaging {
    /// Every file is stored for itself.
    None,
    /// All files are stored in one ZIP archive.
    Zip,
}

impl Packaging {
    /// CodeBuild's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Zip => "ZIP",
        }
    }
}

/// Whether the build id is part of an artifact's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceType {
    /// It is not: the next build overwrites.
    None,
    /// It is: every build has its own place.
    BuildId,
}

impl NamespaceType {
    /// CodeBuild's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::BuildId => "BUILD_ID",
        }
    }
}

/// The project's artifact settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactRequest {
    /// Where artifacts go.
    pub location: ArtifactLocation,
    /// One archive or single files.
    pub packaging: Packaging,
    /// Whether the build id is part of the place.
    pub namespace_type: NamespaceType,
    /// A name that wins over the buildspec's.
    pub name: Option<String>,
    /// KMS key for S3; the bucket's own default if not given.
    pub encryption_key: Option<String>,
}

/// What is made of reports.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportRequest {
    /// Where runner's own files about them go (REP-13): absolute.
    pub directory: PathBuf,
    /// Whether nobody asked for that directory.
    pub is_default: bool,
    /// Least coverage of lines, from 0 to 100 (REP-14).
    pub fail_under: Option<f64>,
}

/// The project's cache settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRequest {
    /// Where archives are kept.
    pub location: ArtifactLocation,
    /// Whose they are; the project's if not given.
    pub namespace: Option<String>,
    /// Most bytes that all of them may have together.
    pub limit: Option<u64>,
}

/// Who brings the runtimes that a buildspec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtimes {
    /// The build image.
    OfImage,
    /// This machine, which has these of those that are asked for, in the order of the buildspec.
    OnMachine(Vec<OnMachine>),
}

/// What a project or a start says of a variable (ENV-46).
#[derive(Clone, PartialEq, Eq)]
pub struct RequestedVariable {
    /// Its name.
    pub name: String,
    /// Its value, or where that lies.
    pub value: RequestedValue,
}

impl fmt::Debug for RequestedVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestedVariable({}, …)", self.name)
    }
}

/// The value of a variable by its type, as CodeBuild and CodePipeline have types.
#[derive(Clone, PartialEq, Eq)]
pub enum RequestedValue {
    /// `PLAINTEXT`: this.
    Plaintext(OsString),
    /// `PARAMETER_STORE`: the value of the parameter of this name, which is literal.
    ParameterStore(String),
    /// `SECRETS_MANAGER`: what this reference leads to, which is literal.
    SecretsManager(String),
    /// What is handed over by name of the variable when the build begins, and shown to nobody.
    Given,
}

/// As whom commands can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {
    /// As anybody: in a container, or on this machine as root.
    Any,
    /// As one user only, who is known by these names and numbers.
    Only(Vec<String>),
}

/// What a build is asked for beyond its buildspec: by the command line, a project or a pipeline.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The project.
    pub project: ProjectName,
    /// UUID of the build.
    pub build_uuid: String,
    /// Counts the builds of the project, from 1.
    pub build_number: u64,
    /// When the build was asked for.
    pub start_time: SystemTime,
    /// Who asked for it.
    pub initiator: String,
    /// The source.
    pub source: Source,
    /// Other sources, in the order in which they were named.
    pub secondary_sources: Vec<SecondarySource>,
    /// The buildspec's place as it is shown in the log.
    pub buildspec_location: String,
    /// Variables that the build environment has by itself.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether commands get AWS's credentials from an endpoint of the build's own: then nothing in `environment` leads them to
    /// others (CRED-3).
    pub serves_credentials: bool,
    /// The role that the build runs as, if it is another one than the caller's: an ARN.
    pub role: Option<String>,
    /// Whether git can be given credentials, where a buildspec asks for that.
    pub has_git_credentials: bool,
    /// Variables of the project.
    pub project_variables: Vec<RequestedVariable>,
    /// Variables of this start.
    pub start_build_variables: Vec<RequestedVariable>,
    /// As whom commands can run.
    pub users: Users,
    /// Who brings the runtimes that the buildspec names.
    pub runtimes: Runtimes,
    /// A shell that wins over `env.shell`.
    pub shell: Option<Shell>,
    /// The region, where it is known.
    pub region: Option<String>,
    /// Account for the ARNs of the build, where one is known.
    pub account: Option<String>,
    /// Artifact settings.
    pub artifacts: ArtifactRequest,
    /// What is made of reports.
    pub reports: ReportRequest,
    /// Where what builds cache is kept, if it is.
    pub cache: Option<CacheRequest>,
    /// What `on-failure: RETRY` runs again.
    pub retry_scope: RetryScope,
    /// Time limit of the whole build, with its retries.
    pub timeout: Duration,
    /// Time between the request to end and the end by force.
    pub grace: Duration,
    /// Whether what cannot be honoured is an error.
    pub strict: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_codebuilds() {
        for (text, fits) in [
            ("demo", true),
            ("a", false),
            ("my_app-2", true),
            ("-x", false),
            ("a b", false),
            ("é1", false),
        ] {
            assert_eq!(ProjectName::new(text).is_some(), fits, "{text}");
        }
        for (directory, name) in [
            ("demo", "demo"),
            ("My App (2)", "My-App--2"),
            ("...", "project"),
            ("x", "project"),
        ] {
            let made = ProjectName::from_directory_name(directory);
            assert_eq!(made.as_str(), name);
            assert!(ProjectName::new(made.as_str()).is_some());
        }
    }
}
