//! `runner agent`: its flags, and what it is handed of this machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum, ValueHint};

use super::args::{ExecutorArg, duration, positive_duration, size};
use super::complain::complain;
use crate::build::ExitCode;

/// Exit codes as `--help` shows them.
pub(super) const EXIT_CODES: &str = "\
Signals:
  TERM, INT  the first: no new job, running builds end; the second: builds are stopped; the third: leave at once
  HUP        read the configuration again

Exit codes:
  0      it was told to end, and every job is answered; or --once, --max-idle or --max-uptime came true
  2      the command line cannot be used
  4      fault of the environment: no credentials, no such action type, no access, another agent has the directory
  128+n  it was told to leave at once by signal n; what is open is answered when it is started again";

/// What can be done with an agent.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct AgentArgs {
    #[command(subcommand)]
    pub(super) command: Option<AgentCommand>,

    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// Tell the agent of a state directory to take no more jobs and to end with its last build
    Drain(DrainArgs),
    /// Show what the agent of a state directory does
    Status(StatusArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct DrainArgs {
    /// Its state directory [default: runner/agent in your state directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) state: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct StatusArgs {
    /// Its state directory [default: runner/agent in your state directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) state: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What an agent does.
#[derive(Debug, ClapArgs)]
pub(super) struct ServeArgs {
    /// Provider of the custom action whose jobs are taken
    #[arg(long, value_name = "NAME", value_parser = provider, help_heading = "Jobs")]
    pub(super) provider: Option<String>,

    /// Version of the action
    #[arg(long, value_name = "VERSION", default_value = "1", value_parser = version, help_heading = "Jobs")]
    pub(super) version: String,

    /// Category of the action
    #[arg(
        long,
        value_name = "CATEGORY",
        default_value = "build",
        help_heading = "Jobs"
    )]
    pub(super) category: CategoryArg,

    /// Only jobs whose queryable property has this value, such as ProjectName=web
    #[arg(long, value_name = "NAME=VALUE", value_parser = query, help_heading = "Jobs")]
    pub(super) query: Option<(String, String)>,

    /// Builds at the same time
    #[arg(short, long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Jobs")]
    pub(super) jobs: u16,

    /// Time between two questions for jobs; each is a fifth more or less
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval, help_heading = "Jobs")]
    pub(super) poll_interval: Duration,

    /// Take one job, and end with it
    #[arg(long, help_heading = "Jobs")]
    pub(super) once: bool,

    /// End when there was no job for this long
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, help_heading = "Jobs")]
    pub(super) max_idle: Option<Duration>,

    /// Take no more jobs after this time, and end with the last build
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, help_heading = "Jobs")]
    pub(super) max_uptime: Option<Duration>,

    /// Take no job while less than this is free in the state directory
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1g",
        value_parser = size,
        help_heading = "Jobs"
    )]
    pub(super) min_free_space: u64,

    /// What is to outlive the agent: open jobs, and the logs of the last builds [default: runner/agent in your state directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Jobs")]
    pub(super) state: Option<PathBuf>,

    /// How many builds that are over keep their logs and events
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "100",
        help_heading = "Jobs"
    )]
    pub(super) keep_builds: usize,

    /// Where commands run, if the action does not say [default: docker if there is an image, else host]
    #[arg(long, value_name = "EXECUTOR", help_heading = "Builds")]
    pub(super) executor: Option<ExecutorArg>,

    /// Build image, if the action names none
    #[arg(long, value_name = "IMAGE", value_parser = super::container::image_name, help_heading = "Builds")]
    pub(super) image: Option<String>,

    /// End a build after this time, if the action does not say
    #[arg(long, value_name = "DURATION", default_value = "60m", value_parser = positive_duration, help_heading = "Builds")]
    pub(super) timeout: Duration,

    /// Time a command has to end by itself when its build is stopped
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Builds")]
    pub(super) grace: Duration,

    /// Further arguments of `runner run` for every build, such as `-- --cpus 2 --cache`
    #[arg(last = true, value_name = "ARGUMENT", help_heading = "Builds")]
    pub(super) arguments: Vec<std::ffi::OsString>,

    /// Images that actions may name, with `*` and `?` [default: all]
    #[arg(
        long,
        value_name = "PATTERN",
        help_heading = "What actions may ask for"
    )]
    pub(super) allow_image: Vec<String>,

    /// Where actions may have commands run [default: anywhere]
    #[arg(
        long,
        value_name = "EXECUTOR",
        help_heading = "What actions may ask for"
    )]
    pub(super) allow_executor: Vec<ExecutorArg>,

    /// Pipelines whose jobs are built, with `*` and `?` [default: all]
    #[arg(
        long,
        value_name = "PATTERN",
        help_heading = "What actions may ask for"
    )]
    pub(super) allow_pipeline: Vec<String>,

    /// Roles that actions may have builds run as, ARNs with `*` and `?` [default: none]
    #[arg(
        long,
        value_name = "PATTERN",
        help_heading = "What actions may ask for"
    )]
    pub(super) allow_role: Vec<String>,

    /// Actions may ask for privileged containers
    #[arg(long, help_heading = "What actions may ask for")]
    pub(super) allow_privileged: bool,

    /// AWS region
    #[arg(long, value_name = "REGION", help_heading = "AWS")]
    pub(super) region: Option<String>,

    /// AWS profile of the agent's own calls
    #[arg(long, value_name = "PROFILE", help_heading = "AWS")]
    pub(super) profile: Option<String>,

    /// Form of the agent's own lines on standard error
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Output"
    )]
    pub(super) log_format: AgentLogFormat,

    /// How often running jobs are looked after
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = positive_duration, hide = true)]
    pub(super) look_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CategoryArg {
    Build,
    Test,
}

impl CategoryArg {
    const fn name(self) -> &'static str {
        match self {
            Self::Build => "Build",
            Self::Test => "Test",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AgentLogFormat {
    Text,
    Json,
}

fn word(text: &str, most: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=most).contains(&text.len()) && text.bytes().all(allowed)
}

fn provider(text: &str) -> Result<String, String> {
    let rule = "a provider is 1 to 35 letters, digits, `-` and `_`";
    word(text, 35)
        .then(|| text.to_owned())
        .ok_or_else(|| rule.to_owned())
}

fn version(text: &str) -> Result<String, String> {
    let rule = "a version is 1 to 9 letters, digits, `-` and `_`";
    word(text, 9)
        .then(|| text.to_owned())
        .ok_or_else(|| rule.to_owned())
}

fn query(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && name.len() <= 50 && word(value, 50) => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("expected NAME=VALUE, the value 1 to 50 letters, digits, `-` and `_`".to_owned()),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let found = duration(text)?;
    let allowed = Duration::from_millis(50)..=Duration::from_hours(1);
    if allowed.contains(&found) {
        Ok(found)
    } else {
        Err("ask every 50 ms to every hour".to_owned())
    }
}

/// Runs an agent, or speaks to one.
pub(super) fn agent(args: &AgentArgs) -> ExitCode {
    match &args.command {
        None => {
            complain(&format!(
                "error: no agent yet for {}/{:?}/{}\n",
                args.serve.category.name(),
                args.serve.provider,
                args.serve.version
            ));
            ExitCode::Fault
        }
        Some(AgentCommand::Drain(_) | AgentCommand::Status(_)) => ExitCode::Fault,
    }
}
