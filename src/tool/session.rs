//! `codebuild-breakpoint` and `codebuild-resume`: what production buildspecs leave in, for a debug session that no build
//! here has (TOOL-30 to TOOL-32).

use std::ffi::OsStr;

/// A command of debug sessions that this program can be. Without a session it does nothing, as on CodeBuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionCommand {
    /// `codebuild-breakpoint`
    Breakpoint,
    /// `codebuild-resume`
    Resume,
}

impl SessionCommand {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Breakpoint, Self::Resume];

    /// The command of a name that this program was called by.
    #[must_use]
    pub fn named(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|command| name == command.name())
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Breakpoint => "codebuild-breakpoint",
            Self::Resume => "codebuild-resume",
        }
    }
}
