//! What is meant: a buildspec that is complete and known to be right.
//!
//! [`Buildspec::from_ast`] is the only constructor, and it refuses a file with an error in it. From here on there are
//! closed enums and defaults, and places only where somebody will want to point at them.

use super::ast;
use crate::diagnostic::{Diagnostic, has_error};
use crate::phase::{CommandPhase, OnFailure};
use crate::source::{Span, Spanned};

pub use super::ast::{Cache, Command, Report, Unrecognized, Variable};

/// `version` (SPEC-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Every command alone: no directory and no variable is carried over.
    V0_1,
    /// Commands share directory and variables.
    V0_2,
}

impl Version {
    /// The version with this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "0.1" => Some(Self::V0_1),
            "0.2" => Some(Self::V0_2),
            _ => None,
        }
    }

    /// As it is written in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1",
            Self::V0_2 => "0.2",
        }
    }
}

/// `env.shell`: the program that runs the commands (ENV-9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shell {
    /// A shell of the Bourne family, by the name or path that was written.
    Posix(String),
    /// `powershell.exe`, `powershell`, `pwsh`.
    PowerShell,
    /// `cmd.exe`: Windows only.
    Cmd,
}

impl Shell {
    /// The shell with this name: `sh` or `bash`, bare or as an absolute path, or one of the Windows names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "powershell.exe" | "powershell" | "pwsh" | "pwsh.exe" => return Some(Self::PowerShell),
            "cmd.exe" | "cmd" => return Some(Self::Cmd),
            _ => {}
        }
        let (directory, name) = text.rsplit_once('/').unwrap_or(("", text));
        let known = matches!(name, "sh" | "bash");
        let bare_or_absolute =
            !text.contains('/') || directory.is_empty() || directory.starts_with('/');
        (known && bare_or_absolute).then(|| Self::Posix(text.to_owned()))
    }

    /// The name as it was written, or the usual one.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Posix(name) => name,
            Self::PowerShell => "pwsh",
            Self::Cmd => "cmd.exe",
        }
    }
}

impl Default for Shell {
    /// `/bin/sh`, CodeBuild's default on Linux.
    fn default() -> Self {
        Self::Posix("/bin/sh".to_owned())
    }
}

/// Identifier of a secondary artifact: 1 to 127 letters, digits, underscores and hyphens (SPEC-18).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactIdentifier(String);

impl ArtifactIdentifier {
    /// The identifier, if the text is one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=127).contains(&text.len());
        let allowed = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        (fits && allowed).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `proxy`: what is to go through one. Which one that is, is not for a buildspec to say (ENV-56).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThroughProxy {
    /// Artifacts: `upload-artifacts`.
    pub uploads: bool,
    /// The log, where it is sent somewhere: `logs`.
    pub logs: bool,
}

impl ThroughProxy {
    fn from_ast(proxy: &ast::Proxy) -> Self {
        let is_on = |flag: &Option<Spanned<bool>>| flag.as_ref().is_some_and(|flag| flag.value);
        Self {
            uploads: is_on(&proxy.upload_artifacts),
            logs: is_on(&proxy.logs),
        }
    }
}

/// A buildspec without errors.
#[derive(Clone, Debug)]
pub struct Buildspec {
    /// `version`; 0.2 for a file that only declares a batch and names none.
    pub version: Version,
    /// `run-as` of the whole file.
    pub run_as: Option<Spanned<String>>,
    /// `env.shell`.
    pub shell: Option<Spanned<Shell>>,
    /// `env.variables`.
    pub variables: Vec<Variable>,
    /// `env.parameter-store`.
    pub parameter_store: Vec<Variable>,
    /// `env.secrets-manager`.
    pub secrets_manager: Vec<Variable>,
    /// `env.exported-variables`.
    pub exported_variables: Vec<Spanned<String>>,
    /// `env.git-credential-helper`, where it is on.
    pub git_credential_helper: Option<Span>,
    /// `proxy`.
    pub proxy: ThroughProxy,
    /// The phases that are in the file, in the order in which they run.
    pub phases: Vec<Phase>,
    /// `reports`.
    pub reports: Vec<Report>,
    /// `artifacts`.
    pub artifacts: Option<Artifacts>,
    /// `cache`.
    pub cache: Option<Cache>,
    /// The place of `batch`.
    pub batch: Option<Span>,
    /// Keys that mean nothing.
    pub unrecognized: Vec<Unrecognized>,
}

/// A phase that is in the file.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Which one, and where.
    pub name: Spanned<CommandPhase>,
    /// `run-as` of the phase.
    pub run_as: Option<Spanned<String>>,
    /// `on-failure`.
    pub on_failure: Option<Spanned<OnFailure>>,
    /// `runtime-versions`, in `install` only.
    pub runtime_versions: Option<Spanned<Vec<Variable>>>,
    /// `commands`.
    pub commands: Vec<Command>,
    /// `finally`.
    pub finally: Vec<Command>,
}

/// `artifacts`.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The primary artifact; `None` where there are only secondary ones.
    pub primary: Option<Artifact>,
    /// `secondary-artifacts`.
    pub secondary: Vec<(Spanned<ArtifactIdentifier>, Artifact)>,
}

/// One artifact, defaults applied.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Where its key stands.
    pub key: Span,
    /// `files`, at least one.
    pub files: Vec<Spanned<String>>,
    /// `name`.
    pub name: Option<Spanned<String>>,
    /// `base-directory`; the source directory if not given.
    pub base_directory: Option<Spanned<String>>,
    /// `discard-paths`; no if not given.
    pub discard_paths: bool,
    /// `exclude-paths`.
    pub exclude_paths: Vec<Spanned<String>>,
    /// `enable-symlinks`; no if not given.
    pub enable_symlinks: bool,
    /// `s3-prefix`.
    pub s3_prefix: Option<Spanned<String>>,
}

impl Buildspec {
    /// Turns what was written into what is meant.
    ///
    /// `diagnostics` are all findings about the file; with an error among them they come back.
    pub fn from_ast(
        ast: ast::Buildspec,
        diagnostics: Vec<Diagnostic>,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        if has_error(&diagnostics) {
            return Err(diagnostics);
        }
        let mut phases: Vec<Phase> = ast
            .phases
            .into_iter()
            .flat_map(|phases| phases.phases)
            .map(Phase::from_ast)
            .collect();
        phases.sort_by_key(|phase| phase.name.value);
        let buildspec = Self {
            version: ast
                .version
                .and_then(|version| Version::parse(&version.value))
                .unwrap_or(Version::V0_2),
            run_as: ast.run_as,
            shell: ast
                .env
                .shell
                .and_then(|shell| Some(Spanned::new(Shell::parse(&shell.value)?, shell.span))),
            variables: ast.env.variables,
            parameter_store: ast.env.parameter_store,
            secrets_manager: ast.env.secrets_manager,
            exported_variables: ast.env.exported_variables,
            git_credential_helper: ast
                .env
                .git_credential_helper
                .filter(|flag| flag.value)
                .map(|flag| flag.span),
            proxy: ast
                .proxy
                .as_ref()
                .map(ThroughProxy::from_ast)
                .unwrap_or_default(),
            phases,
            reports: ast.reports,
            artifacts: ast.artifacts.map(Artifacts::from_ast),
            cache: ast.cache,
            batch: ast.batch.map(|batch| batch.span),
            unrecognized: ast.unrecognized,
        };
        Ok((buildspec, diagnostics))
    }

    /// The phase of this name, if it is in the file.
    #[must_use]
    pub fn phase(&self, name: CommandPhase) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name.value == name)
    }
}

impl Phase {
    fn from_ast(phase: ast::Phase) -> Self {
        let on_failure = phase.on_failure.and_then(|value| {
            Some(Spanned::new(
                OnFailure::parse(&value.value).ok()?,
                value.span,
            ))
        });
        let install = phase.name.value == CommandPhase::Install;
        let items = |commands: Option<ast::Commands>| {
            commands.map(|commands| commands.items).unwrap_or_default()
        };
        Self {
            name: phase.name,
            run_as: phase.run_as,
            on_failure,
            runtime_versions: phase
                .runtime_versions
                .filter(|_| install)
                .map(|runtimes| Spanned::new(runtimes.versions, runtimes.key)),
            commands: items(phase.commands),
            finally: items(phase.finally),
        }
    }
}

impl Artifacts {
    fn from_ast(artifacts: ast::Artifacts) -> Self {
        let secondary = artifacts
            .secondary
            .into_iter()
            .filter_map(|(identifier, artifact)| {
                let name = ArtifactIdentifier::new(&identifier.value)?;
                Some((
                    Spanned::new(name, identifier.span),
                    Artifact::from_ast(artifact),
                ))
            })
            .collect();
        let has_files = artifacts
            .primary
            .files
            .as_ref()
            .is_some_and(|files| !files.is_empty());
        Self {
            primary: has_files.then(|| Artifact::from_ast(artifacts.primary)),
            secondary,
        }
    }
}

impl Artifact {
    fn from_ast(artifact: ast::Artifact) -> Self {
        let on = |flag: Option<Spanned<bool>>| flag.is_some_and(|flag| flag.value);
        Self {
            key: artifact.key,
            files: artifact.files.unwrap_or_default(),
            name: artifact.name,
            base_directory: artifact.base_directory,
            discard_paths: on(artifact.discard_paths),
            exclude_paths: artifact.exclude_paths,
            enable_symlinks: on(artifact.enable_symlinks),
            s3_prefix: artifact.s3_prefix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_are_known_by_name_or_by_absolute_path() {
        let posix = |text: &str| Some(Shell::Posix(text.to_owned()));
        let table = [
            ("bash", posix("bash")),
            ("/bin/bash", posix("/bin/bash")),
            ("/bin/sh", posix("/bin/sh")),
            ("sh", posix("sh")),
            ("/usr/local/bin/bash", posix("/usr/local/bin/bash")),
            ("powershell.exe", Some(Shell::PowerShell)),
            ("pwsh", Some(Shell::PowerShell)),
            ("cmd.exe", Some(Shell::Cmd)),
            ("zsh", None),
            ("tools/bash", None),
            ("bash -e", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(Shell::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn identifiers_are_letters_digits_underscores_and_hyphens() {
        for (text, fits) in [
            ("docs", true),
            ("A_1", true),
            ("a-b", true),
            ("a.b", false),
            ("", false),
            (&"x".repeat(128), false),
        ] {
            assert_eq!(ArtifactIdentifier::new(text).is_some(), fits, "{text}");
        }
    }
}
