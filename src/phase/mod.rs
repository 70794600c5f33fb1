//! The phases of a build, how they can end, and what follows what.
//!
//! Names are CodeBuild's, letter for letter; they appear in logs, events and summaries. Everything here is pure.

mod on_failure;

pub use on_failure::{OnFailure, OnFailureError, Retry, RetryScope};

use std::borrow::Cow;
use std::fmt;

use crate::source::LineColumn;

/// One stage of a build, in CodeBuild's order (PHASE-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The request was accepted.
    Submitted,
    /// Waiting for a place to run.
    Queued,
    /// The build environment is made.
    Provisioning,
    /// Source, buildspec and environment variables are brought together.
    DownloadSource,
    /// `install` commands.
    Install,
    /// `pre_build` commands.
    PreBuild,
    /// `build` commands.
    Build,
    /// `post_build` commands.
    PostBuild,
    /// Artifacts are selected and stored.
    UploadArtifacts,
    /// Everything is torn down.
    Finalizing,
    /// The end.
    Completed,
}

impl Phase {
    /// All of them, in CodeBuild's order.
    pub const ALL: [Self; 11] = [
        Self::Submitted,
        Self::Queued,
        Self::Provisioning,
        Self::DownloadSource,
        Self::Install,
        Self::PreBuild,
        Self::Build,
        Self::PostBuild,
        Self::UploadArtifacts,
        Self::Finalizing,
        Self::Completed,
    ];

    /// The phase with this name, letter for letter.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// CodeBuild's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Queued => "QUEUED",
            Self::Provisioning => "PROVISIONING",
            Self::DownloadSource => "DOWNLOAD_SOURCE",
            Self::Install => "INSTALL",
            Self::PreBuild => "PRE_BUILD",
            Self::Build => "BUILD",
            Self::PostBuild => "POST_BUILD",
            Self::UploadArtifacts => "UPLOAD_ARTIFACTS",
            Self::Finalizing => "FINALIZING",
            Self::Completed => "COMPLETED",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One of the four phases that run commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandPhase {
    /// `install`
    Install,
    /// `pre_build`
    PreBuild,
    /// `build`
    Build,
    /// `post_build`
    PostBuild,
}

impl CommandPhase {
    /// All four, in the order in which they run, whatever their order in the file (PHASE-2).
    pub const ALL: [Self; 4] = [Self::Install, Self::PreBuild, Self::Build, Self::PostBuild];

    /// The key in the buildspec.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::PreBuild => "pre_build",
            Self::Build => "build",
            Self::PostBuild => "post_build",
        }
    }

    /// The phase with this key. Keys are case-sensitive (SPEC-14).
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.key() == key)
    }

    /// The phase of the build.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self {
            Self::Install => Phase::Install,
            Self::PreBuild => Phase::PreBuild,
            Self::Build => Phase::Build,
            Self::PostBuild => Phase::PostBuild,
        }
    }
}

/// How a phase or a build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Still going on.
    InProgress,
    /// All went well.
    Succeeded,
    /// The build's own fault.
    Failed,
    /// The fault of what runs the build: this program, the machine or a service.
    Fault,
    /// The time limit was reached.
    TimedOut,
    /// Somebody asked for it.
    Stopped,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::InProgress,
        Self::Succeeded,
        Self::Failed,
        Self::Fault,
        Self::TimedOut,
        Self::Stopped,
    ];

    /// The status with this name, letter for letter.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// CodeBuild's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Fault => "FAULT",
            Self::TimedOut => "TIMED_OUT",
            Self::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who has to mend it; decides the exit code, not the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The author of the buildspec file.
    Buildspec,
    /// The build's own commands and files.
    Build,
    /// The machine, the network or AWS.
    Environment,
}

/// Why a phase ended as it did: CodeBuild's `statusCode` and `message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseContext {
    /// A code such as `COMMAND_EXECUTION_ERROR`; two of CodeBuild's contain blanks.
    pub status_code: Cow<'static, str>,
    /// The text.
    pub message: String,
    /// Who has to mend it.
    pub blame: Blame,
    /// What to do about it, where that is known. CodeBuild has no such thing.
    pub help: Option<String>,
    /// Where in the buildspec.
    pub place: Option<LineColumn>,
}

/// Status code of a failed command.
pub const COMMAND_EXECUTION_ERROR: &str = "COMMAND_EXECUTION_ERROR";
/// Status code of a buildspec that cannot be used.
pub const YAML_FILE_ERROR: &str = "YAML_FILE_ERROR";
/// Status code of trouble with sources and artifacts.
pub const CLIENT_ERROR: &str = "CLIENT_ERROR";
/// Status code of a build image that cannot be had.
pub const UNABLE_TO_PULL_IMAGE: &str = "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE";
/// Status code of a build past its time limit.
pub const BUILD_TIMED_OUT: &str = "BUILD_TIMED_OUT";

impl PhaseContext {
    /// A context that the build's own commands and files are to blame for.
    pub fn build(status_code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(status_code.into(), message.into(), Blame::Build)
    }

    /// A context that the buildspec file is to blame for.
    pub fn buildspec(message: impl Into<String>) -> Self {
        Self::new(YAML_FILE_ERROR.into(), message.into(), Blame::Buildspec)
    }

    /// A context that the machine, the network or AWS is to blame for.
    pub fn environment(
        status_code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(status_code.into(), message.into(), Blame::Environment)
    }

    const fn new(status_code: Cow<'static, str>, message: String, blame: Blame) -> Self {
        Self {
            status_code,
            message,
            blame,
            help: None,
            place: None,
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place.
    #[must_use]
    pub const fn at(mut self, place: LineColumn) -> Self {
        self.place = Some(place);
        self
    }
}

/// What comes after a phase.
///
/// | phase | after success | after a failure | `ABORT` | `CONTINUE` |
/// | --- | --- | --- | --- | --- |
/// | SUBMITTED | QUEUED | FINALIZING | | |
/// | QUEUED | PROVISIONING | FINALIZING | | |
/// | PROVISIONING | `DOWNLOAD_SOURCE` | FINALIZING | | |
/// | `DOWNLOAD_SOURCE` | INSTALL | FINALIZING | | |
/// | INSTALL | `PRE_BUILD` | FINALIZING | FINALIZING | `PRE_BUILD` |
/// | `PRE_BUILD` | BUILD | FINALIZING | FINALIZING | BUILD |
/// | BUILD | `POST_BUILD` | `POST_BUILD` | FINALIZING | `POST_BUILD` |
/// | `POST_BUILD` | `UPLOAD_ARTIFACTS` | `UPLOAD_ARTIFACTS` | FINALIZING | `UPLOAD_ARTIFACTS` |
/// | `UPLOAD_ARTIFACTS` | FINALIZING | FINALIZING | | |
/// | FINALIZING, COMPLETED | COMPLETED | COMPLETED | | |
///
/// With `RETRY` the build, or the phase, runs again as long as a failure calls for it and the count is not used up
/// ([`Retry::is_due`]). Then what follows is what follows without `on-failure`.
///
/// A phase that timed out, was stopped or met a fault of the environment ends the build whatever `on-failure` says
/// (PHASE-3, PHASE-9): nobody would want the rest of it.
#[must_use]
pub fn next(phase: Phase, status: Status, on_failure: Option<&OnFailure>) -> Phase {
    use Phase::{
        Build, Completed, DownloadSource, Finalizing, Install, PostBuild, PreBuild, Provisioning,
        Queued, Submitted, UploadArtifacts,
    };
    let forward = match phase {
        Submitted => Queued,
        Queued => Provisioning,
        Provisioning => DownloadSource,
        DownloadSource => Install,
        Install => PreBuild,
        PreBuild => Build,
        Build => PostBuild,
        PostBuild => UploadArtifacts,
        UploadArtifacts => Finalizing,
        Finalizing | Completed => return Completed,
    };
    match (status, on_failure) {
        (Status::Succeeded | Status::InProgress, _) => forward,
        (Status::Fault | Status::TimedOut | Status::Stopped, _) => Finalizing,
        (Status::Failed, Some(OnFailure::Abort)) => Finalizing,
        (Status::Failed, Some(OnFailure::Continue)) => match phase {
            Install | PreBuild | Build | PostBuild => forward,
            _ => Finalizing,
        },
        // A retry that is used up leaves the failure standing as if nothing had been said.
        (Status::Failed, None | Some(OnFailure::Retry(_))) => match phase {
            Build | PostBuild => forward,
            _ => Finalizing,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{
        Build, Completed, DownloadSource, Finalizing, Install, PostBuild, PreBuild, Provisioning,
        Queued, Submitted, UploadArtifacts,
    };

    #[test]
    fn transitions_follow_the_table() {
        let (abort, cont) = (OnFailure::Abort, OnFailure::Continue);
        // phase, after success, after a failure, with ABORT, with CONTINUE
        let table = [
            (Submitted, Queued, Finalizing, Finalizing, Finalizing),
            (Queued, Provisioning, Finalizing, Finalizing, Finalizing),
            (
                Provisioning,
                DownloadSource,
                Finalizing,
                Finalizing,
                Finalizing,
            ),
            (DownloadSource, Install, Finalizing, Finalizing, Finalizing),
            (Install, PreBuild, Finalizing, Finalizing, PreBuild),
            (PreBuild, Build, Finalizing, Finalizing, Build),
            (Build, PostBuild, PostBuild, Finalizing, PostBuild),
            (
                PostBuild,
                UploadArtifacts,
                UploadArtifacts,
                Finalizing,
                UploadArtifacts,
            ),
            (
                UploadArtifacts,
                Finalizing,
                Finalizing,
                Finalizing,
                Finalizing,
            ),
            (Finalizing, Completed, Completed, Completed, Completed),
            (Completed, Completed, Completed, Completed, Completed),
        ];
        for (phase, success, failure, aborted, continued) in table {
            assert_eq!(
                next(phase, Status::Succeeded, None),
                success,
                "{phase} succeeded"
            );
            assert_eq!(
                next(phase, Status::Succeeded, Some(&abort)),
                success,
                "{phase} succeeded with ABORT"
            );
            assert_eq!(next(phase, Status::Failed, None), failure, "{phase} failed");
            assert_eq!(
                next(phase, Status::Failed, Some(&abort)),
                aborted,
                "{phase} failed with ABORT"
            );
            assert_eq!(
                next(phase, Status::Failed, Some(&cont)),
                continued,
                "{phase} failed with CONTINUE"
            );
            for status in [Status::Fault, Status::TimedOut, Status::Stopped] {
                let end = if phase >= Finalizing {
                    Completed
                } else {
                    Finalizing
                };
                assert_eq!(next(phase, status, Some(&cont)), end, "{phase} {status}");
            }
        }
    }

    #[test]
    fn every_build_ends() {
        for status in [
            Status::Succeeded,
            Status::Failed,
            Status::Fault,
            Status::TimedOut,
            Status::Stopped,
        ] {
            for on_failure in [None, Some(OnFailure::Abort), Some(OnFailure::Continue)] {
                let mut phase = Submitted;
                for _ in 0..12 {
                    phase = next(phase, status, on_failure.as_ref());
                }
                assert_eq!(phase, Completed, "{status} {on_failure:?}");
            }
        }
    }
}
