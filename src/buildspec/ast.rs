//! What was written: a buildspec with everything optional and everything placed. It may be wrong.
//!
//! [`super::parse`] makes it, [`super::rules`] look at it, and only [`super::model::Buildspec::from_ast`] turns it into
//! something that can be planned and run.

use crate::phase::CommandPhase;
use crate::source::{Span, Spanned};

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buildspec {
    /// `version`, as written.
    pub version: Option<Spanned<String>>,
    /// `run-as`.
    pub run_as: Option<Spanned<String>>,
    /// `env`, or `environment_variables` of version 0.1.
    pub env: Env,
    /// `proxy`.
    pub proxy: Option<Proxy>,
    /// `batch`.
    pub batch: Option<Batch>,
    /// `phases`: the place of the key, if it was written, and the phases in the order of the file.
    pub phases: Option<Phases>,
    /// `reports`, in the order of the file.
    pub reports: Vec<Report>,
    /// `artifacts`.
    pub artifacts: Option<Artifacts>,
    /// `cache`.
    pub cache: Option<Cache>,
    /// Keys that mean nothing, by section, in the order of the file. CodeBuild lists them in the log (LOG-9).
    pub unrecognized: Vec<Unrecognized>,
    /// Where aliases stand, in the order of the file.
    pub aliases: Vec<Span>,
    /// Whether the whole file could be read. If not, nothing may be said about what is missing.
    pub complete: bool,
    /// Where the file's mapping stands, for findings about what is missing.
    pub span: Span,
}

/// Keys of one section that mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrecognized {
    /// The section as CodeBuild's log names it: `artifacts`, or a phase in capitals.
    pub section: String,
    /// The keys, in the order of the file.
    pub keys: Vec<String>,
}

/// `env`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// `shell`.
    pub shell: Option<Spanned<String>>,
    /// `variables`, literal text.
    pub variables: Vec<Variable>,
    /// `parameter-store`: name to parameter.
    pub parameter_store: Vec<Variable>,
    /// `secrets-manager`: name to secret reference.
    pub secrets_manager: Vec<Variable>,
    /// `exported-variables`.
    pub exported_variables: Vec<Spanned<String>>,
    /// `git-credential-helper`.
    pub git_credential_helper: Option<Spanned<bool>>,
}

/// A name and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Name of the variable.
    pub name: Spanned<String>,
    /// Its text: a value, a parameter or a secret reference.
    pub value: Spanned<String>,
}

/// `proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The key.
    pub span: Span,
    /// `upload-artifacts`.
    pub upload_artifacts: Option<Spanned<bool>>,
    /// `logs`.
    pub logs: Option<Spanned<bool>>,
}

/// `phases`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phases {
    /// The key.
    pub key: Span,
    /// The known phases, in the order of the file.
    pub phases: Vec<Phase>,
    /// Whether something in them could not be read, which may have held commands.
    pub has_errors: bool,
}

impl Buildspec {
    /// Whether there is a phase, even one that could not be read. A key `phases` without anything below it is to
    /// CodeBuild as if it had not been written.
    #[must_use]
    pub fn has_phases(&self) -> bool {
        self.phases
            .as_ref()
            .is_some_and(|phases| phases.has_errors || !phases.phases.is_empty())
    }
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Which one, and where its key stands.
    pub name: Spanned<CommandPhase>,
    /// `run-as`.
    pub run_as: Option<Spanned<String>>,
    /// `on-failure`, as written.
    pub on_failure: Option<Spanned<String>>,
    /// `runtime-versions`.
    pub runtime_versions: Option<RuntimeVersions>,
    /// `commands`.
    pub commands: Option<Commands>,
    /// `finally`.
    pub finally: Option<Commands>,
}

/// `runtime-versions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeVersions {
    /// The key.
    pub key: Span,
    /// Runtime and version, in the order of the file.
    pub versions: Vec<Variable>,
}

/// A list of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// The key.
    pub key: Span,
    /// The commands; items that hold nothing are left out.
    pub items: Vec<Command>,
    /// Where items that hold nothing stand.
    pub nothing: Vec<Span>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its place in the list as written, from 0, items that hold nothing counted.
    pub index: usize,
    /// Its text.
    pub text: Spanned<String>,
}

/// One report group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name, ARN or variable of the group.
    pub group: Spanned<String>,
    /// `files`.
    pub files: Option<Vec<Spanned<String>>>,
    /// `file-format`.
    pub file_format: Option<Spanned<String>>,
    /// `base-directory`.
    pub base_directory: Option<Spanned<String>>,
    /// `discard-paths`.
    pub discard_paths: Option<Spanned<bool>>,
}

/// `artifacts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifacts {
    /// The primary artifact.
    pub primary: Artifact,
    /// `secondary-artifacts`: identifier and artifact, in the order of the file.
    pub secondary: Vec<(Spanned<String>, Artifact)>,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The key that holds it.
    pub key: Span,
    /// `files`.
    pub files: Option<Vec<Spanned<String>>>,
    /// `name`.
    pub name: Option<Spanned<String>>,
    /// `base-directory`.
    pub base_directory: Option<Spanned<String>>,
    /// `discard-paths`.
    pub discard_paths: Option<Spanned<bool>>,
    /// `exclude-paths`.
    pub exclude_paths: Vec<Spanned<String>>,
    /// `enable-symlinks`.
    pub enable_symlinks: Option<Spanned<bool>>,
    /// `s3-prefix`.
    pub s3_prefix: Option<Spanned<String>>,
}

/// `cache`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// The key.
    pub span: Span,
    /// `paths`.
    pub paths: Option<Vec<Spanned<String>>>,
    /// `key`.
    pub key: Option<Spanned<String>>,
    /// `fallback-keys`, with the place of the key.
    pub fallback_keys: Option<Spanned<Vec<Spanned<String>>>>,
    /// `action`, as written.
    pub action: Option<Spanned<String>>,
}

/// `batch`. A build of one buildspec ignores it (SPEC-21); it is read so that mistakes in it are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The key.
    pub span: Span,
    /// `fast-fail`.
    pub fast_fail: Option<Spanned<bool>>,
    /// The strategies that were given; there should be one.
    pub strategies: Vec<Spanned<BatchStrategy>>,
}

/// How a batch comes to its builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchStrategy {
    /// `build-list`.
    List(Vec<BatchTask>),
    /// `build-graph`.
    Graph(Vec<BatchTask>),
    /// `build-matrix`.
    Matrix(Box<BatchMatrix>),
    /// `build-fanout`.
    Fanout(BatchFanout),
}

/// One build of a list or graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchTask {
    /// `identifier`.
    pub identifier: Option<Spanned<String>>,
    /// `buildspec`.
    pub buildspec: Option<Spanned<String>>,
    /// `debug-session`.
    pub debug_session: Option<Spanned<bool>>,
    /// `depend-on`.
    pub depend_on: Vec<Spanned<String>>,
    /// `env`.
    pub env: BatchEnv,
    /// `ignore-failure`.
    pub ignore_failure: Option<Spanned<bool>>,
}

/// `env` of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchEnv {
    /// `compute-type`.
    pub compute_type: Option<Spanned<String>>,
    /// `fleet`.
    pub fleet: Option<Spanned<String>>,
    /// `image`.
    pub image: Option<Spanned<String>>,
    /// `privileged-mode`.
    pub privileged_mode: Option<Spanned<bool>>,
    /// `type`.
    pub environment_type: Option<Spanned<String>>,
    /// `variables`.
    pub variables: Vec<Variable>,
    /// `git-credential-helper`.
    pub git_credential_helper: Option<Spanned<bool>>,
}

/// `build-matrix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchMatrix {
    /// `static.ignore-failure`.
    pub ignore_failure: Option<Spanned<bool>>,
    /// `static.env`.
    pub static_env: BatchEnv,
    /// `dynamic.buildspec`.
    pub buildspecs: Vec<Spanned<String>>,
    /// `dynamic.env.compute-type`.
    pub compute_types: Vec<Spanned<String>>,
    /// `dynamic.env.image`.
    pub images: Vec<Spanned<String>>,
    /// `dynamic.env.variables`: name and values.
    pub variables: Vec<(Spanned<String>, Vec<Spanned<String>>)>,
    /// Keys of lists that are written and hold nothing.
    pub empty_axes: Vec<Spanned<String>>,
}

/// `build-fanout`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFanout {
    /// `parallelism`, as written.
    pub parallelism: Option<Spanned<String>>,
    /// `ignore-failure`.
    pub ignore_failure: Option<Spanned<bool>>,
}
