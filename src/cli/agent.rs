//! `runner agent`: its flags, and what it is handed of this machine.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum, ValueHint};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::agent_operation::{Operation, OperationArgs, handed_on};
use super::args::ExecutorArg;
use super::complain::complain;
use super::{
    agent_arguments as build_arguments, agent_control as control, aws, machine, mistake, start,
    usage, value,
};
use crate::agent;
use crate::agent::board::{About, Board};
use crate::agent::job::{Allowed, Defaults};
use crate::agent::log::{Form, Log};
use crate::agent::logs::ship::Pace;
use crate::agent::logs::shipping::{self, Shipping};
use crate::agent::pipeline::{ActionType, CodePipeline};
use crate::agent::register::{Category, provider, version, word};
use crate::agent::serve::{Agent, Command as AgentOrder, Ended, Settings};
use crate::agent::state::StateDirectory;
use crate::aws::Settings as AwsSettings;
use crate::build::ExitCode;
use crate::event::stamp;
use crate::process;
use crate::proxy::Variables;

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
    /// Make the action type that pipelines use, or print what would
    Register(Box<super::register::RegisterArgs>),
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
    #[arg(long, value_name = "DURATION", value_parser = value::positive_duration, help_heading = "Jobs")]
    pub(super) max_idle: Option<Duration>,

    /// Take no more jobs after this time, and end with the last build
    #[arg(long, value_name = "DURATION", value_parser = value::positive_duration, help_heading = "Jobs")]
    pub(super) max_uptime: Option<Duration>,

    /// Take no job while less than this is free in the state directory
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1g",
        value_parser = value::size,
        help_heading = "Jobs"
    )]
    pub(super) min_free_space: u64,

    /// What is to outlive the agent: open jobs, and the logs of the last builds [default: runner/agent in your state directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Jobs")]
    pub(super) state: Option<PathBuf>,

    /// How many builds that are over keep their logs
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
    #[arg(long, value_name = "DURATION", default_value = "60m", value_parser = value::positive_duration, help_heading = "Builds")]
    pub(super) timeout: Duration,

    /// Time a command has to end by itself when its build is stopped
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::duration, help_heading = "Builds")]
    pub(super) grace: Duration,

    /// Further arguments of `runner run` for every build, such as `-- --cpus 2 --cache`
    #[arg(last = true, value_name = "ARGUMENT", help_heading = "Builds")]
    pub(super) arguments: Vec<OsString>,

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

    #[command(flatten)]
    pub(super) operation: OperationArgs,

    /// Send each build's log to this group of CloudWatch Logs while it runs
    #[arg(long, value_name = "GROUP", value_parser = log_group, help_heading = "Logs and events")]
    pub(super) cloudwatch_log_group: Option<String>,

    /// Send changes of builds and their phases to this EventBridge bus
    #[arg(long, value_name = "NAME|ARN", value_parser = value::event_bus, help_heading = "Logs and events")]
    pub(super) event_bus: Option<String>,

    /// Give the oldest up of more log than this that cannot be sent [default: 1g]
    #[arg(long, value_name = "SIZE", value_parser = value::size, help_heading = "Logs and events")]
    pub(super) log_queue_limit: Option<u64>,

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
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = value::positive_duration, hide = true)]
    pub(super) look_after: Duration,

    /// How long CodePipeline waits for a job before it gives it up
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = value::positive_duration, hide = true)]
    pub(super) patience: Duration,
}

/// Categories in the words of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CategoryArg {
    /// Build actions
    Build,
    /// Test actions
    Test,
}

impl CategoryArg {
    /// The category that is meant.
    pub(super) const fn category(self) -> Category {
        match self {
            Self::Build => Category::Build,
            Self::Test => Category::Test,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AgentLogFormat {
    Text,
    Json,
}

fn query(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && name.len() <= 50 && word(value, 50).is_ok() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("expected NAME=VALUE, the value 1 to 50 letters, digits, `-` and `_`".to_owned()),
    }
}

fn log_group(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/.#".contains(&byte);
    if (1..=512).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("a log group is 1 to 512 letters, digits, `_`, `-`, `/`, `.` and `#`".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let found = value::duration(text)?;
    let allowed = Duration::from_millis(50)..=Duration::from_hours(1);
    if allowed.contains(&found) {
        Ok(found)
    } else {
        Err("ask every 50 ms to every hour".to_owned())
    }
}

/// Runs an agent, or speaks to one.
pub(super) fn agent(args: &AgentArgs, arguments: &[OsString]) -> ExitCode {
    match &args.command {
        None => serve(&args.serve, arguments),
        Some(AgentCommand::Drain(drain)) => control::drain(drain),
        Some(AgentCommand::Status(status)) => control::status(status),
        Some(AgentCommand::Register(args)) => super::register::register(args),
    }
}

fn serve(args: &ServeArgs, arguments: &[OsString]) -> ExitCode {
    let provider = match check(args) {
        Ok(provider) => provider,
        Err(mistake) => return usage(&mistake),
    };
    let runtime = match start::begin() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let code = runtime.block_on(Box::pin(run(args, provider, arguments)));
    runtime.shutdown_background();
    code
}

/// Refuses what no agent can work with, at a start and at every reload. Gives whose jobs are taken.
fn check(args: &ServeArgs) -> Result<&str, clap::Error> {
    let provider = args.provider.as_deref().ok_or_else(|| {
        mistake("whose jobs? Name the provider of the custom action with `--provider NAME`")
    })?;
    if let (Some(ExecutorArg::Host), Some(_)) = (args.executor, &args.image) {
        return Err(mistake(
            "`--image` is for `--executor docker`: on the host there is no image",
        ));
    }
    // Any region does: it is about whether arguments go together.
    let region = args.region.as_deref().unwrap_or("us-east-1");
    match settings(args, AwsSettings::default(), region) {
        Ok(settings) => build_arguments::check(&settings)?,
        Err(why) => return Err(mistake(why)),
    }
    args.operation.check()?;
    Ok(provider)
}

fn fault(message: &str) -> ExitCode {
    complain(&format!("error: {message}\n"));
    ExitCode::Fault
}

async fn run(args: &ServeArgs, provider: &str, arguments: &[OsString]) -> ExitCode {
    let log = log(args);
    let Some(place) = args.state.clone().or_else(machine::agent_directory) else {
        return fault(
            "there is no home directory for the agent's state: name a directory with --state",
        );
    };
    let place = machine::directory().map_or(place.clone(), |here| here.join(place));
    let state = match StateDirectory::open(&place) {
        Ok(state) => state,
        Err(error) => return fault(&error.to_string()),
    };
    let action = ActionType {
        category: args.category.category().name().to_owned(),
        provider: provider.to_owned(),
        version: args.version.clone(),
    };
    let aws = aws::settings(args.region.as_deref(), args.profile.as_deref());
    let made = CodePipeline::new(&aws, action.clone(), args.query.clone()).await;
    let pipeline = match made {
        Ok(pipeline) => pipeline,
        Err((what, help)) => return fault(&format!("{what}\n  help: {help}")),
    };
    let region = pipeline.region();
    let settings = match settings(args, aws.clone(), &region) {
        Ok(settings) => settings,
        Err(why) => return fault(why),
    };
    let about = About {
        name: provider.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        action_type: action.to_string(),
        region: region.clone(),
        pid: std::process::id(),
        since: stamp(),
    };
    let board = Board::new(about, settings.slots, args.keep_builds);
    let (sender, commands) = mpsc::unbounded_channel();
    if let Err(error) = listen(&sender) {
        return fault(&format!("could not listen for signals: {error}"));
    }
    log.info(
        "takes jobs",
        &[
            ("action", &action.to_string()),
            ("region", &region),
            ("slots", &args.jobs.to_string()),
            ("state", &state.path().display().to_string()),
        ],
    );
    let shipping = shipping(args, &settings.aws).await;
    let agent = Agent::new(pipeline, settings, state, board, log.clone(), shipping);
    let variables = machine::variables();
    let begun = Operation::begin(
        &args.operation,
        &variables,
        &agent.board,
        &agent.progress,
        &log,
    );
    let operation = match begun.await {
        Ok(operation) => operation,
        Err(why) => return fault(&why),
    };
    let reload = || {
        operation.reload(arguments, &log, |args| {
            check(args)?;
            agent.follow(self::settings(args, aws.clone(), &region).map_err(mistake)?);
            Ok(())
        });
    };
    let serving = agent::serve::serve(Arc::clone(&agent), commands, sender, reload);
    match operation.during(serving).await {
        Ended::Well => ExitCode::Succeeded,
        Ended::AtOnce(signal) => ExitCode::Signal(signal),
        Ended::Never(_) => ExitCode::Fault,
    }
}

/// What sends logs and changes, if they are to be sent.
async fn shipping(args: &ServeArgs, aws: &AwsSettings) -> Option<Shipping> {
    if args.cloudwatch_log_group.is_none() && args.event_bus.is_none() {
        return None;
    }
    let settings = shipping::Settings {
        log_group: args.cloudwatch_log_group.clone(),
        event_bus: args.event_bus.clone(),
        queue_limit: args.log_queue_limit.unwrap_or(shipping::QUEUE_LIMIT),
        pace: Pace::default(),
        proxy: Variables::of(&machine::variables()),
    };
    let shared = Box::pin(aws.loader().load()).await;
    Some(Shipping::start(settings, &shared))
}

fn log(args: &ServeArgs) -> Log {
    let form = match args.log_format {
        AgentLogFormat::Text => Form::Text,
        AgentLogFormat::Json => Form::Json,
    };
    Log::new(form, Arc::new(complain))
}

fn settings(args: &ServeArgs, aws: AwsSettings, region: &str) -> Result<Settings, &'static str> {
    let program = process::this_program();
    Ok(Settings {
        slots: usize::from(args.jobs),
        interval: args.poll_interval,
        once: args.once,
        max_idle: args.max_idle,
        max_uptime: args.max_uptime,
        min_free: args.min_free_space,
        keep_builds: args.keep_builds,
        attended: std::io::stderr().is_terminal(),
        engine: runs_in_engine(args).then(super::engine::settings),
        patience: args.patience,
        look_after: args.look_after,
        allowed: Allowed {
            images: args.allow_image.clone(),
            privileged: args.allow_privileged,
            executors: args
                .allow_executor
                .iter()
                .map(|one| executor(*one))
                .collect(),
            pipelines: args.allow_pipeline.clone(),
            roles: args.allow_role.clone(),
        },
        defaults: Defaults {
            image: args.image.clone(),
            executor: args.executor.map(executor),
        },
        timeout: args.timeout,
        grace: args.grace,
        program: program.ok_or("this program cannot find itself, to run builds")?,
        variables: handed_on(machine::variables()),
        arguments: args.arguments.clone(),
        aws: AwsSettings {
            region: Some(region.to_owned()),
            ..aws
        },
        custom_endpoint: aws::has_custom_endpoint(),
    })
}

/// Whether builds run in a container that do not say otherwise.
const fn runs_in_engine(args: &ServeArgs) -> bool {
    match args.executor {
        Some(ExecutorArg::Docker) => true,
        Some(ExecutorArg::Host) => false,
        None => args.image.is_some(),
    }
}

fn executor(executor: ExecutorArg) -> String {
    match executor {
        ExecutorArg::Host => "host".to_owned(),
        ExecutorArg::Docker => "docker".to_owned(),
    }
}

/// Hears signals from now on. HUP is about the configuration; the others are about the end.
fn listen(sender: &mpsc::UnboundedSender<AgentOrder>) -> std::io::Result<()> {
    const HANG_UP: i32 = 1;
    for number in machine::stop_signals() {
        let mut signals = signal(SignalKind::from_raw(number))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let order = match number {
                    HANG_UP => AgentOrder::Reload,
                    number => AgentOrder::End(number),
                };
                if sender.send(order).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
