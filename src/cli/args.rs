//! What can be written on the command line (CLI-1 to CLI-8).

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell as CompletionShell;

use super::git_credential::GrantArg;
use super::value;
use crate::buildspec::model::Shell;
use crate::credentials::RoleArn;
use crate::diagnostic::Code;
use crate::diagnostic::format::Format;
use crate::engine::Platform;
use crate::exec::Keep;
use crate::exec::container::{SourceMount, Ulimit};
use crate::lint::FileKind;
use crate::lint::config::Level;
use crate::phase::RetryScope;
use crate::plan::{NamespaceType, Packaging, ProjectName};

/// Colours of `--help`: those of cargo.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Exit codes as `--help` shows them.
const EXIT_CODES: &str = "\
Exit codes:
  0      the build succeeded
  1      the build failed; with `validate`: findings
  2      the command line cannot be used
  3      the buildspec cannot be used
  4      fault of the environment: the machine, the network or AWS
  5      the build timed out
  6      the build was stopped by request
  128+n  the build was stopped by signal n (130 for Ctrl-C)";

/// Run AWS CodeBuild buildspec files on this machine
#[derive(Debug, Parser)]
#[command(
    name = "runner",
    version,
    about,
    styles = STYLES,
    after_help = EXIT_CODES,
    args_conflicts_with_subcommands = true,
    max_term_width = 110
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a build (this is also what `runner` alone does)
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Show what a build would do, without running anything
    Plan(PlanArgs),
    /// Check buildspecs and the files of the deploy stage
    #[command(after_help = EXIT_CODES)]
    Validate(ValidateArgs),
    /// Push images to their registries, through the container engine
    #[command(after_help = super::transfer::EXIT_CODES)]
    Push(super::push::PushArgs),
    /// Pull images from their registries, through the container engine
    #[command(after_help = super::transfer::EXIT_CODES)]
    Pull(super::pull::PullArgs),
    /// Amazon ECR without ceremony
    #[command(subcommand)]
    Ecr(EcrArgs),
    /// Enter the container of a build that was kept, or a build that waits at a breakpoint, or list those
    Shell(ShellArgs),
    /// Hide a value in what the build writes from now on (for commands of a build)
    Mask(super::mask::MaskArgs),
    /// Remove what builds left behind that did not end as they should
    Prune(PruneArgs),
    /// Look at what builds have cached, and remove it
    #[command(subcommand)]
    Cache(CacheArgs),
    /// Check what builds need: the container engine, an image, AWS, room on disks
    Doctor(DoctorArgs),
    /// Build for CodePipeline: take jobs of a custom action, run them here, answer them
    #[command(after_help = super::agent::EXIT_CODES)]
    Agent(Box<super::agent::AgentArgs>),
    /// Show what flags come to, with all that variables and runner.toml say
    #[command(subcommand)]
    Config(super::configured::ConfigCommand),
    /// Check buildspecs as they are written: a language server for editors, on standard input and output
    Lsp,
    /// Print the JSON schema of buildspecs
    Schema,
    /// Write manual pages into a directory (for packages)
    #[command(hide = true)]
    Man {
        /// The directory
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: CompletionShell,
    },
}

/// What can be done with Amazon ECR.
#[derive(Debug, Subcommand)]
pub(super) enum EcrArgs {
    /// Log Docker in to registries (a build needs none of this: it gets tokens when it needs them)
    Login(EcrLoginArgs),
}

/// Which registries, and where to.
#[derive(Debug, ClapArgs)]
pub(super) struct EcrLoginArgs {
    /// Registries, such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com [default: your own, in your region]
    #[arg(value_name = "REGISTRY")]
    pub(super) registries: Vec<String>,

    /// Keep no token: make docker-credential-runner, a link to this program, the credential helper for them
    #[arg(long)]
    pub(super) helper: bool,

    /// Print the password, and keep nothing
    #[arg(long, conflicts_with = "helper")]
    pub(super) print: bool,

    /// AWS region, where no registry is named
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,

    /// AWS profile
    #[arg(long, value_name = "PROFILE")]
    pub(super) profile: Option<String>,
}

/// What can be done with caches.
#[derive(Debug, Subcommand)]
pub(super) enum CacheArgs {
    /// List what is kept
    Ls(CacheLsArgs),
    /// Remove what is kept under keys, or all of it
    Rm(CacheRmArgs),
    /// Remove what was not used for long, or until the rest fits a size
    Prune(CachePruneArgs),
}

/// Which cache.
#[derive(Debug, ClapArgs)]
pub(super) struct CachePlaceArgs {
    /// Where it is: a directory, or s3://BUCKET/PREFIX [default: runner/caches in your cache directory]
    #[arg(long, value_name = "DIR|s3://…", value_hint = ValueHint::AnyPath)]
    pub(super) cache: Option<String>,

    /// Only what this project, or name of `--cache-namespace`, has there
    #[arg(long, value_name = "NAME")]
    pub(super) project: Option<String>,

    /// AWS region
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,

    /// AWS profile
    #[arg(long, value_name = "PROFILE")]
    pub(super) profile: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CacheLsArgs {
    #[command(flatten)]
    pub(super) place: CachePlaceArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CacheRmArgs {
    /// Keys as `runner cache ls` shows them, or names as its JSON has them
    #[arg(
        value_name = "KEY",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(super) keys: Vec<String>,

    /// Remove everything, with `--project` everything of it
    #[arg(long)]
    pub(super) all: bool,

    /// Show what would be removed, and remove nothing
    #[arg(short = 'n', long, alias = "dryrun")]
    pub(super) dry_run: bool,

    #[command(flatten)]
    pub(super) place: CachePlaceArgs,
}

#[derive(Debug, ClapArgs)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["limit", "unused_for"])))]
pub(super) struct CachePruneArgs {
    /// Until all of it has at most this size: what was used longest ago goes first
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub(super) limit: Option<u64>,

    /// What was not used for this long
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(super) unused_for: Option<Duration>,

    /// Show what would be removed, and remove nothing
    #[arg(short = 'n', long, alias = "dryrun")]
    pub(super) dry_run: bool,

    #[command(flatten)]
    pub(super) place: CachePlaceArgs,
}

/// What a build is asked for.
#[derive(Debug, ClapArgs)]
pub(super) struct RequestArgs {
    /// Source directory [default: this directory]
    #[arg(short = 'C', long = "directory", value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Source")]
    pub(super) directory: Option<PathBuf>,

    /// Source: a directory, s3://BUCKET/KEY.zip or git+https://HOST/PATH@REVISION; with ID= a secondary one
    #[arg(long, value_name = "[ID=]SOURCE", value_hint = ValueHint::AnyPath, help_heading = "Source")]
    pub(super) source: Vec<String>,

    /// Buildspec, relative to the source directory; `-` reads standard input [default: buildspec.yml]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Source")]
    pub(super) file: Option<PathBuf>,

    /// Version of the source, for CODEBUILD_SOURCE_VERSION; where it is fetched, this version of it
    #[arg(long, value_name = "VERSION", help_heading = "Source")]
    pub(super) source_version: Option<String>,

    /// Name of the project [default: the name of the source directory]
    #[arg(long, value_name = "NAME", value_parser = value::project_name, help_heading = "Source")]
    pub(super) project: Option<ProjectName>,

    /// Set a variable of this build; without a value, pass on the caller's. Wins over every other place
    #[arg(short, long, value_name = "NAME[=VALUE]", help_heading = "Environment")]
    pub(super) env: Vec<String>,

    /// Read variables of the project from a file of NAME=value lines. Wins over the buildspec
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Environment")]
    pub(super) env_file: Vec<PathBuf>,

    /// Type of a variable that `--env` or `--env-file` sets: what they say is then the name of a parameter, or a reference to a secret
    #[arg(long, value_name = "NAME=TYPE", value_parser = value::variable_type, help_heading = "Environment")]
    pub(super) env_type: Vec<(String, TypeArg)>,

    /// Ask for the value of a variable of this build at the terminal, without showing it; it is hidden in the log
    #[arg(long, value_name = "NAME", help_heading = "Environment")]
    pub(super) secret: Vec<String>,

    /// Read values of `parameter-store`, `secrets-manager` and `--secret` variables from a file of NAME=value lines instead of asking; they are hidden in the log
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Environment")]
    pub(super) secrets_file: Vec<PathBuf>,

    /// Shell that runs the commands, instead of the buildspec's
    #[arg(long, value_name = "SHELL", value_parser = value::shell, help_heading = "Environment")]
    pub(super) shell: Option<Shell>,

    /// AWS region
    #[arg(long, value_name = "REGION", help_heading = "Environment")]
    pub(super) region: Option<String>,

    /// AWS profile
    #[arg(long, value_name = "PROFILE", help_heading = "Environment")]
    pub(super) profile: Option<String>,

    /// Run the build as this role: commands get its credentials, renewed as long as the build lives, and runner's own calls use them too
    #[arg(long, value_name = "ARN", value_parser = value::role, help_heading = "Environment")]
    pub(super) assume_role: Option<RoleArn>,

    /// External id that the role's trust policy asks for
    #[arg(
        long,
        value_name = "ID",
        requires = "assume_role",
        help_heading = "Environment"
    )]
    pub(super) external_id: Option<String>,

    /// How long each set of the role's credentials lasts, 15m to 12h [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = value::role_duration, requires = "assume_role", help_heading = "Environment")]
    pub(super) role_duration: Option<Duration>,

    /// Serve the caller's AWS credentials to commands over a loopback endpoint that renews them, instead of passing variables on
    #[arg(long, help_heading = "Environment")]
    pub(super) credentials_endpoint: bool,

    /// Where the token is that `git-credential-helper` gives to git, for one host [default: the source's]: env:NAME, file:PATH, secret:ID or helper (the caller's own git)
    #[arg(long, value_name = "[[USER@]HOST=]SOURCE", value_parser = super::git_credential::parse, help_heading = "Environment")]
    pub(super) git_credential: Vec<GrantArg>,

    #[command(flatten)]
    pub(super) container: ContainerArgs,

    /// Where artifacts go: a directory, or s3://BUCKET/PREFIX [default: .runner/artifacts beside the source]
    #[arg(long, value_name = "DIR|s3://…", value_hint = ValueHint::AnyPath, help_heading = "Artifacts")]
    pub(super) artifacts: Option<String>,

    /// Store one archive, or single files
    #[arg(
        long,
        value_name = "PACKAGING",
        default_value = "none",
        help_heading = "Artifacts"
    )]
    pub(super) packaging: PackagingArg,

    /// Name of the artifact, instead of the buildspec's [default: the buildspec's, else the project's]
    #[arg(long, value_name = "NAME", help_heading = "Artifacts")]
    pub(super) artifact_name: Option<String>,

    /// Whether the build id is part of the artifact's place
    #[arg(
        long,
        value_name = "NAMESPACE",
        default_value = "none",
        help_heading = "Artifacts"
    )]
    pub(super) artifact_namespace: NamespaceArg,

    /// KMS key that S3 encrypts artifacts with
    #[arg(long, value_name = "KEY", help_heading = "Artifacts")]
    pub(super) kms_key: Option<String>,

    /// Where what is made of reports goes: junit.xml, summary.json and index.html [default: .runner/reports beside the source, if there are reports]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Reports")]
    pub(super) reports: Option<PathBuf>,

    /// Fail the build if reports tell of fewer covered lines than this
    #[arg(long, value_name = "PERCENT", value_parser = value::percent, help_heading = "Reports")]
    pub(super) fail_under: Option<f64>,

    /// Keep what `cache` names, and restore it: in a directory, or in s3://BUCKET/PREFIX [without a value: runner/caches in your cache directory]
    #[arg(long, value_name = "DIR|s3://…", num_args = 0..=1, default_missing_value = "", value_hint = ValueHint::AnyPath, help_heading = "Cache")]
    pub(super) cache: Option<String>,

    /// Whose the cache is: builds of one name share it [default: the project's]
    #[arg(long, value_name = "NAME", requires = "cache", help_heading = "Cache")]
    pub(super) cache_namespace: Option<String>,

    /// Most room for all that is kept there: what was used longest ago goes first
    #[arg(long, value_name = "SIZE", value_parser = value::size, requires = "cache", help_heading = "Cache")]
    pub(super) cache_limit: Option<u64>,

    /// End the build after this time
    #[arg(long, value_name = "DURATION", default_value = "60m", value_parser = value::positive_duration, help_heading = "Limits")]
    pub(super) timeout: Duration,

    /// Time a command has to end by itself when the build is stopped
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::duration, help_heading = "Limits")]
    pub(super) grace: Duration,

    /// What `on-failure: RETRY` runs again: the whole build, or the phase that failed
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "build",
        help_heading = "Limits"
    )]
    pub(super) retry_scope: RetryScopeArg,

    /// Refuse a buildspec that asks for what this version does not do, instead of warning
    #[arg(long, help_heading = "Limits")]
    pub(super) strict: bool,

    #[command(flatten)]
    pub(super) configuration: ConfigurationArgs,

    /// When to use colours
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(super) color: When,

    /// What `runner agent` says of a build that it runs
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) job: Option<PathBuf>,
}

/// Which configuration there is. It is read before there are arguments.
#[derive(Debug, ClapArgs)]
pub(super) struct ConfigurationArgs {
    /// Configuration to use [default: runner.toml, looked for from the source directory up to the top of its repository]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Configuration")]
    config: Option<PathBuf>,

    /// Use no runner.toml
    #[arg(long, conflicts_with = "config", help_heading = "Configuration")]
    no_config: bool,
}

/// What flags of containers are below in `--help`.
pub(super) const CONTAINER: &str = "Container";

/// Where commands run, if not on this machine.
#[derive(Debug, ClapArgs)]
pub(super) struct ContainerArgs {
    /// Where commands run [default: docker if there is `--image`, else host]
    #[arg(long, value_name = "EXECUTOR", help_heading = CONTAINER)]
    pub(super) executor: Option<ExecutorArg>,

    /// Build image: run the commands in a container of it
    #[arg(long, value_name = "IMAGE", value_parser = super::container::image_name, help_heading = CONTAINER)]
    pub(super) image: Option<String>,

    /// Use another image wherever this one is asked for
    #[arg(long, value_name = "NAME=IMAGE", value_parser = value::image_pair, help_heading = CONTAINER)]
    pub(super) image_map: Vec<(String, String)>,

    /// When to pull the image
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "missing",
        help_heading = CONTAINER
    )]
    pub(super) pull: PullArg,

    /// Platform of the image, such as linux/arm64
    #[arg(long, value_name = "PLATFORM", value_parser = super::transfer::platform, help_heading = CONTAINER)]
    pub(super) platform: Option<Platform>,

    /// Do not run the image's entry point
    #[arg(long, help_heading = CONTAINER)]
    pub(super) no_entrypoint: bool,

    /// Give the container the machine's devices and rights, as CodeBuild's privileged mode does
    #[arg(long, help_heading = CONTAINER)]
    pub(super) privileged: bool,

    /// Mount the engine's socket: commands can then do with this machine whatever they want
    #[arg(long, help_heading = CONTAINER)]
    pub(super) engine_socket: bool,

    /// Network of the container: a name, `host` or `none`
    #[arg(long, value_name = "NETWORK", help_heading = CONTAINER)]
    pub(super) network: Option<String>,

    /// A host name that the container knows
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = value::host_pair, help_heading = CONTAINER)]
    pub(super) add_host: Vec<String>,

    /// A directory or a volume in the container
    #[arg(long, value_name = "SOURCE:TARGET[:OPTIONS]", value_parser = super::container::volume, help_heading = CONTAINER)]
    pub(super) volume: Vec<String>,

    /// Most memory, such as 4g
    #[arg(long, value_name = "SIZE", value_parser = value::size, help_heading = CONTAINER)]
    pub(super) memory: Option<u64>,

    /// Most processors, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = value::processors, help_heading = CONTAINER)]
    pub(super) cpus: Option<u64>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = value::size, help_heading = CONTAINER)]
    pub(super) shm_size: Option<u64>,

    /// Most processes and threads
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..), help_heading = CONTAINER)]
    pub(super) pids_limit: Option<u64>,

    /// A limit of each process, such as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = value::ulimit, help_heading = CONTAINER)]
    pub(super) ulimit: Vec<Ulimit>,

    /// How the source gets into the container: `auto` mounts it if the engine is on this machine, else copies it
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        help_heading = CONTAINER
    )]
    pub(super) mount_source: MountArg,
}

/// Types of variables, as CodeBuild and CodePipeline call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeArg {
    Plaintext,
    ParameterStore,
    SecretsManager,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum KeepArg {
    OnFailure,
    Always,
    Never,
}

impl From<KeepArg> for Keep {
    fn from(keep: KeepArg) -> Self {
        match keep {
            KeepArg::OnFailure => Self::OnFailure,
            KeepArg::Always => Self::Always,
            KeepArg::Never => Self::Never,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExecutorArg {
    Host,
    Docker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PullArg {
    Always,
    Missing,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MountArg {
    Auto,
    Bind,
    Copy,
}

impl From<MountArg> for SourceMount {
    fn from(mount: MountArg) -> Self {
        match mount {
            MountArg::Auto => Self::Auto,
            MountArg::Bind => Self::Bind,
            MountArg::Copy => Self::Copy,
        }
    }
}

/// What a build is asked for, and how it is shown.
#[derive(Debug, ClapArgs)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) request: RequestArgs,

    /// Offer no `aws`, `docker` and `codebuild-…` commands of runner's own where a build's environment has none
    #[arg(long, help_heading = "Environment")]
    pub(super) no_tools: bool,

    /// Leave Docker's configuration to the build as it is: no tokens for Amazon ECR
    #[arg(long, help_heading = "Environment")]
    pub(super) no_ecr_login: bool,
    /// Which builds' containers are kept, to be entered with `runner shell`
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "never",
        help_heading = CONTAINER
    )]
    pub(super) keep: KeepArg,

    /// Warn of every file of an artifact that has a secret in it, in any form; it is stored all the same
    #[arg(long, help_heading = "Artifacts")]
    pub(super) scan_artifacts: bool,

    /// Begin without finding out first whether artifacts can be stored and users of `run-as` are there
    #[arg(long, help_heading = "Limits")]
    pub(super) no_preflight: bool,

    /// Give me a shell after the first command that fails, where it ran, before anything follows it
    #[arg(long, help_heading = "Limits")]
    pub(super) shell_on_failure: bool,

    /// Wait at each `codebuild-breakpoint`, with a shell at this terminal or for `runner shell`, until `codebuild-resume`
    #[arg(long, conflicts_with = "no_tools", help_heading = "Limits")]
    pub(super) debug_session: bool,

    /// Show what would be done, and run nothing
    #[arg(short = 'n', long, alias = "dryrun", help_heading = "Output")]
    pub(super) dry_run: bool,

    /// What standard output shows: `auto` is `pretty` at a terminal and `codebuild` elsewhere
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(super) log_format: LogFormat,

    /// Write CodeBuild's log to a file too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(super) log_file: Option<PathBuf>,

    /// Write events to a file, one JSON object a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(super) events: Option<PathBuf>,

    /// Write exported variables to a file, as JSON if its name ends in .json, else as NAME=value lines
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(super) exported: Option<PathBuf>,

    /// Show the plan before the build
    #[arg(short, long, conflicts_with = "quiet", help_heading = "Output")]
    pub(super) verbose: bool,

    /// Show what commands write and what went wrong, nothing else
    #[arg(short, long, help_heading = "Output")]
    pub(super) quiet: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) request: RequestArgs,

    /// Print JSON
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ShellArgs {
    /// Id of the build, its uuid, or the beginning of either
    #[arg(value_name = "BUILD")]
    pub(super) build: Option<String>,
}

#[derive(Debug, ClapArgs)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
pub(super) struct PruneArgs {
    /// Remove the kept containers of these builds: ids, uuids, or the beginning of either
    #[arg(value_name = "BUILD", conflicts_with = "all")]
    pub(super) builds: Vec<String>,

    /// Remove kept containers too, and those of builds of which nobody here can say whether they go on
    #[arg(long)]
    pub(super) all: bool,

    /// Show what would be removed, and remove nothing
    #[arg(short = 'n', long, alias = "dryrun")]
    pub(super) dry_run: bool,

    /// Do not ask before `--all`
    #[arg(short, long)]
    pub(super) yes: bool,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct DoctorArgs {
    /// Source directory whose disk is looked at [default: this directory]
    #[arg(short = 'C', long = "directory", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) directory: Option<PathBuf>,

    /// Build image to look at
    #[arg(long, value_name = "IMAGE", value_parser = super::container::image_name)]
    pub(super) image: Option<String>,

    /// Use another image wherever this one is asked for
    #[arg(long, value_name = "NAME=IMAGE", value_parser = value::image_pair, requires = "image")]
    pub(super) image_map: Vec<(String, String)>,

    /// Where artifacts are to go: a directory, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR|s3://…", value_hint = ValueHint::AnyPath)]
    pub(super) artifacts: Option<String>,

    /// Role that builds are to run as
    #[arg(long, value_name = "ARN", value_parser = value::role)]
    pub(super) assume_role: Option<RoleArn>,

    /// External id that the role's trust policy asks for
    #[arg(long, value_name = "ID", requires = "assume_role")]
    pub(super) external_id: Option<String>,

    /// AWS region
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,

    /// AWS profile
    #[arg(long, value_name = "PROFILE")]
    pub(super) profile: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,

    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(super) color: When,
}

#[derive(Debug, ClapArgs)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
pub(super) struct ValidateArgs {
    /// Files, folders, or `-` for standard input. In a folder: every `*buildspec*.yml`, and the files
    /// of the deploy stage by their names, that are not ignored by git
    #[arg(value_name = "PATH", default_value = "buildspec.yml", value_hint = ValueHint::AnyPath)]
    pub(super) paths: Vec<PathBuf>,

    /// What the files are, instead of what their names say
    #[arg(long, value_name = "KIND", help_heading = "Checking")]
    pub(super) kind: Option<KindArg>,

    /// Who is asked: `runner` also says what this program does not do as CodeBuild does [default: codebuild]
    #[arg(long, value_name = "PROFILE", help_heading = "Checking")]
    pub(super) profile: Option<ProfileArg>,

    /// Do not look at the files around
    #[arg(long, help_heading = "Checking")]
    pub(super) no_tree: bool,

    /// Whether shellcheck reads the commands too: `auto` if it is there, for warnings; `on` for its suggestions too
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Checking"
    )]
    pub(super) shellcheck: ShellcheckArg,

    /// Do not obey `# runner: ignore[…]`
    #[arg(long, help_heading = "Checking")]
    pub(super) no_ignores: bool,

    /// The least that makes this a failure (exit code 1) [default: error]
    #[arg(long, value_name = "SEVERITY", help_heading = "Checking")]
    pub(super) fail_on: Option<FailOn>,

    /// Fail on warnings too
    #[arg(long, conflicts_with = "fail_on", help_heading = "Checking")]
    pub(super) strict: bool,

    /// Give a rule a level: error, warning, info or off. Wins over runner.toml
    #[arg(long, value_name = "NAME=LEVEL", value_parser = super::config::rule_level, help_heading = "Rules")]
    pub(super) rule: Vec<(Code, Level)>,

    /// Configuration to use [default: runner.toml, looked for from the first path up to the top of its repository]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Rules")]
    pub(super) config: Option<PathBuf>,

    /// Use no runner.toml
    #[arg(long, conflicts_with = "config", help_heading = "Rules")]
    pub(super) no_config: bool,

    /// Apply the fixes that are certain, and show what remains
    #[arg(long, conflicts_with = "diff", help_heading = "Fixing")]
    pub(super) fix: bool,

    /// Show what `--fix` would change, as a unified diff, and change nothing
    #[arg(long, help_heading = "Fixing")]
    pub(super) diff: bool,

    /// List every rule and do nothing else
    #[arg(long, exclusive = true, help_heading = "Rules")]
    pub(super) list_rules: bool,

    /// Explain a rule, by its name or id, and do nothing else
    #[arg(long, value_name = "RULE", exclusive = true, help_heading = "Rules")]
    pub(super) explain: Option<String>,

    /// What standard output shows [default: text; under GitHub Actions: github]
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub(super) format: Option<FormatArg>,

    /// When to use colours
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(super) color: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArg {
    Text,
    Json,
    Jsonl,
    Sarif,
    Github,
    Gitlab,
    Junit,
    Checkstyle,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Text => Self::Text,
            FormatArg::Json => Self::Json,
            FormatArg::Jsonl => Self::Jsonl,
            FormatArg::Sarif => Self::Sarif,
            FormatArg::Github => Self::Github,
            FormatArg::Gitlab => Self::Gitlab,
            FormatArg::Junit => Self::Junit,
            FormatArg::Checkstyle => Self::Checkstyle,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum KindArg {
    Buildspec,
    #[value(name = "imagedefinitions")]
    ImageDefinitions,
    #[value(name = "imagedetail", alias = "imageDetail")]
    ImageDetail,
    #[value(name = "appspec")]
    AppSpec,
    #[value(name = "taskdef")]
    TaskDefinition,
}

impl From<KindArg> for FileKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Buildspec => Self::Buildspec,
            KindArg::ImageDefinitions => Self::ImageDefinitions,
            KindArg::ImageDetail => Self::ImageDetail,
            KindArg::AppSpec => Self::AppSpec,
            KindArg::TaskDefinition => Self::TaskDefinition,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProfileArg {
    Codebuild,
    Runner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ShellcheckArg {
    Auto,
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FailOn {
    Error,
    Warning,
    Info,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PackagingArg {
    None,
    Zip,
}

impl From<PackagingArg> for Packaging {
    fn from(packaging: PackagingArg) -> Self {
        match packaging {
            PackagingArg::None => Self::None,
            PackagingArg::Zip => Self::Zip,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum NamespaceArg {
    None,
    BuildId,
}

impl From<NamespaceArg> for NamespaceType {
    fn from(namespace: NamespaceArg) -> Self {
        match namespace {
            NamespaceArg::None => Self::None,
            NamespaceArg::BuildId => Self::BuildId,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RetryScopeArg {
    Build,
    Phase,
}

impl From<RetryScopeArg> for RetryScope {
    fn from(scope: RetryScopeArg) -> Self {
        match scope {
            RetryScopeArg::Build => Self::Build,
            RetryScopeArg::Phase => Self::Phase,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Auto,
    Pretty,
    Codebuild,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::build::ExitCode;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_lists_the_exit_codes() {
        let width = 6;
        let listed: Vec<String> = ExitCode::MEANINGS
            .iter()
            .map(|(code, meaning)| format!("  {code:<width$} {meaning}"))
            .collect();
        assert_eq!(EXIT_CODES, format!("Exit codes:\n{}", listed.join("\n")));
    }
}
