//! The plan and its parts.

use std::path::PathBuf;
use std::time::Duration;

use super::request::{ArtifactLocation, NamespaceType, Packaging, ProjectName, ReportRequest};
use crate::buildspec::model::{ArtifactIdentifier, Shell, ThroughProxy, Unrecognized, Version};
use crate::env::{EnvironmentVariable, Origin, SecretReference};
use crate::phase::{CommandPhase, OnFailure, RetryScope};
use crate::source::LineColumn;

/// A build, decided.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `project:uuid`.
    pub build_id: String,
    /// UUID of the build.
    pub build_uuid: String,
    /// The project.
    pub project: ProjectName,
    /// Counts the builds of the project.
    pub build_number: u64,
    /// The source directory.
    pub source_directory: PathBuf,
    /// Identifiers and directories of the other sources.
    pub secondary_sources: Vec<(String, PathBuf)>,
    /// The buildspec's place as it is shown in the log.
    pub buildspec_location: String,
    /// How commands share their state.
    pub version: Version,
    /// What runs the commands.
    pub shell: Shell,
    /// What goes through the proxy that variables name (ENV-56, ENV-57).
    pub proxy: ThroughProxy,
    /// Whether git in commands is given credentials (CRED-20).
    pub git_credentials: bool,
    /// Every variable of the first command whose value is known, sorted by name.
    pub environment: Vec<EnvironmentVariable>,
    /// Variables whose values lie with AWS; they win over those of the same name in `environment`.
    pub secrets: Vec<SecretPlan>,
    /// Variables whose values are given on when the commands are over (ENV-40).
    pub exported: Vec<ExportedPlan>,
    /// All four phases, in order, also those that are not in the file (PHASE-2).
    pub phases: [PhasePlan; 4],
    /// `runtime-versions`.
    pub runtime_versions: Vec<RuntimePlan>,
    /// Who brings them.
    pub runtime_source: RuntimeSource,
    /// Artifacts in the order in which they are stored, the primary one first.
    pub artifacts: Vec<ArtifactPlan>,
    /// Reports, in the order of the file.
    pub reports: Vec<ReportPlan>,
    /// What is made of them.
    pub report_request: ReportRequest,
    /// Where artifacts go.
    pub artifact_location: ArtifactLocation,
    /// KMS key for S3.
    pub encryption_key: Option<String>,
    /// The region, where it is known.
    pub region: Option<String>,
    /// Keys that mean nothing, for the log.
    pub unrecognized: Vec<Unrecognized>,
    /// `cache`, if it has paths.
    pub cache: Option<CachePlan>,
    /// What `on-failure: RETRY` runs again.
    pub retry_scope: RetryScope,
    /// Time limit of the whole build, with its retries.
    pub timeout: Duration,
    /// Time between the request to end and the end by force.
    pub grace: Duration,
}

impl Plan {
    /// Whether the value of a variable is to be fetched, whatever else is known of it.
    #[must_use]
    pub fn is_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|secret| secret.name == name)
    }

    /// Whether a failure can make the whole build run again (PHASE-14).
    #[must_use]
    pub fn may_begin_again(&self) -> bool {
        let mut phases = self.phases.iter();
        self.retry_scope == RetryScope::Build
            && phases.any(|phase| {
                matches!(&phase.on_failure, Some(OnFailure::Retry(retry)) if retry.count > 0)
            })
    }
}

/// A variable whose value lies with AWS, or with whoever starts the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPlan {
    /// Name of the variable.
    pub name: String,
    /// Who says so: the buildspec, the project or the start.
    pub origin: Origin,
    /// Where its value lies: nothing is left to expand.
    pub reference: SecretReference,
}

/// One of `exported-variables`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedPlan {
    /// Name of the variable, one that a shell can read.
    pub name: String,
    /// Where it stands in the buildspec.
    pub place: LineColumn,
}

/// One of `runtime-versions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimePlan {
    /// Name of the runtime.
    pub runtime: String,
    /// Its version, as written.
    pub version: String,
    /// Where it stands in the buildspec.
    pub place: LineColumn,
}

/// Who brings the runtimes that a buildspec names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeSource {
    /// This machine: there is what there is, and planning has said so.
    Machine,
    /// The build image.
    Image {
        /// Whether an image that offers none is an error.
        strict: bool,
    },
}

/// One of the four phases.
#[derive(Clone, Debug)]
pub struct PhasePlan {
    /// Which one.
    pub name: CommandPhase,
    /// Whether it is in the file.
    pub declared: bool,
    /// Whom its commands run as; `None` for whoever runs commands anyway (CMD-17).
    pub user: Option<String>,
    /// What follows a failure.
    pub on_failure: Option<OnFailure>,
    /// `commands`.
    pub commands: Vec<CommandPlan>,
    /// `finally`.
    pub finally: Vec<CommandPlan>,
}

impl PhasePlan {
    /// One of its two lists.
    #[must_use]
    pub fn list(&self, list: CommandList) -> &[CommandPlan] {
        match list {
            CommandList::Commands => &self.commands,
            CommandList::Finally => &self.finally,
        }
    }
}

/// Which list of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandList {
    /// `commands`
    Commands,
    /// `finally`
    Finally,
}

impl CommandList {
    /// The key in the buildspec.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Finally => "finally",
        }
    }
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandPlan {
    /// Its place in the list as written, from 0.
    pub index: usize,
    /// Its text.
    pub text: String,
    /// Where it stands in the buildspec.
    pub place: LineColumn,
}

/// What is restored and saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// `paths`; never empty.
    pub paths: Vec<Expandable>,
    /// `key`.
    pub key: Option<Expandable>,
    /// `fallback-keys`; none without a key.
    pub fallback_keys: Vec<Expandable>,
    /// Whether `action` lets it be restored.
    pub restores: bool,
    /// Whether `action` lets it be saved.
    pub saves: bool,
}

/// A text of an artifact that the build shell expands after the last command (ART-8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expandable {
    /// As written.
    pub text: String,
    /// Where it stands in the buildspec.
    pub place: LineColumn,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactPlan {
    /// Its identifier; `None` for the primary one.
    pub identifier: Option<ArtifactIdentifier>,
    /// `base-directory`; the source directory if not given.
    pub base_directory: Option<Expandable>,
    /// `files`.
    pub files: Vec<Expandable>,
    /// `exclude-paths`.
    pub exclude_paths: Vec<Expandable>,
    /// `discard-paths`.
    pub discard_paths: bool,
    /// `enable-symlinks`.
    pub enable_symlinks: bool,
    /// The name.
    pub name: ArtifactName,
    /// `s3-prefix`, where the namespace type lets it count.
    pub s3_prefix: Option<Expandable>,
    /// One archive or single files.
    pub packaging: Packaging,
    /// Whether the build id is part of the place.
    pub namespace_type: NamespaceType,
}

/// The reports of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportPlan {
    /// Name or ARN of the group (REP-2).
    pub group: Expandable,
    /// `files`.
    pub files: Vec<Expandable>,
    /// `file-format`, as written.
    pub format: Option<Expandable>,
    /// `base-directory`; the source directory if not given.
    pub base_directory: Option<Expandable>,
}

/// The name of an artifact (ART-12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactName {
    /// As requested, or the project's name.
    Fixed(String),
    /// As the buildspec has it, expanded after the last command.
    Expanded(Expandable),
}
