//! `runner agent register`: the action type that pipelines use (AGENT-50 to AGENT-56).

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::Value;

use super::agent::CategoryArg;
use super::{aws, complain, print, start, value};
use crate::agent::register::forms::{self, Scope};
use crate::agent::register::service::{self, Error, Registered};
use crate::agent::register::{self, ActionType};
use crate::build::ExitCode;

/// Exit codes as `--help` shows them.
const EXIT_CODES: &str = "\
Exit codes:
  0      the action type is there, or was printed
  2      the command line cannot be used; another action type has this version
  4      fault of the environment: the network or AWS";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(super) struct RegisterArgs {
    /// Ask nothing of AWS, and print what would make it (cli, cloudformation), what an agent has to be allowed (iam), or a
    /// stage of a pipeline that uses it (stage)
    #[arg(long, value_name = "FORM")]
    print: Option<Form>,

    /// Name of the action type
    #[arg(long, value_name = "NAME", default_value = "Runner", value_parser = register::provider)]
    provider: String,

    /// Version of the action type: what is made is never changed, so what differs is a new one
    #[arg(long, value_name = "VERSION", default_value = "1", value_parser = register::version)]
    version: String,

    /// What the action is for
    #[arg(long, value_name = "CATEGORY", default_value = "build")]
    category: CategoryArg,

    /// Have agents take jobs of all projects, rather than name those that they are for
    #[arg(long)]
    all_projects: bool,

    /// Address that the console links a project to, such as `https://ci.example/{Config:ProjectName}`
    #[arg(long, value_name = "TEMPLATE", value_parser = register::url_template)]
    entity_url: Option<String>,

    /// Address that the console links a build to, such as `https://ci.example/builds/{ExternalExecutionId}`
    #[arg(long, value_name = "TEMPLATE", value_parser = register::url_template)]
    execution_url: Option<String>,

    /// Project in the stage that is printed [default: my-project]
    #[arg(long, value_name = "NAME", value_parser = value::queried_project, help_heading = "Policy and stage")]
    project: Option<String>,

    /// Let the policy allow the agent to write to this group of CloudWatch Logs
    #[arg(long, value_name = "GROUP", help_heading = "Policy and stage")]
    cloudwatch_log_group: Option<String>,

    /// Let the policy allow the agent to send to this event bus
    #[arg(long, value_name = "NAME|ARN", value_parser = value::event_bus, help_heading = "Policy and stage")]
    event_bus: Option<String>,

    /// AWS region
    #[arg(long, value_name = "REGION", help_heading = "AWS")]
    region: Option<String>,

    /// AWS profile
    #[arg(long, value_name = "PROFILE", help_heading = "AWS")]
    profile: Option<String>,
}

/// What can be printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// A command of the AWS CLI
    Cli,
    /// A CloudFormation template
    Cloudformation,
    /// The least policy that works for the agent
    Iam,
    /// A stage of a pipeline
    Stage,
}

impl RegisterArgs {
    fn action(&self) -> ActionType {
        ActionType {
            category: self.category.category(),
            provider: self.provider.clone(),
            version: self.version.clone(),
            is_asked_by_project: !self.all_projects,
            entity_url: self.entity_url.clone(),
            execution_url: self.execution_url.clone(),
        }
    }

    fn scope(&self, region: Option<String>) -> Scope {
        Scope {
            region,
            log_group: self.cloudwatch_log_group.clone(),
            event_bus: self.event_bus.clone(),
        }
    }
}

/// Makes the action type, or prints what would.
pub(super) fn register(args: &RegisterArgs) -> ExitCode {
    match start::begin() {
        Ok(runtime) => runtime.block_on(register_or_print(args)),
        Err(code) => code,
    }
}

async fn register_or_print(args: &RegisterArgs) -> ExitCode {
    let action = args.action();
    let region = aws::region(args.region.as_deref(), args.profile.as_deref()).await;
    let scope = args.scope(region);
    match args.print {
        Some(form) => print(printed(form, &action, &scope, args).as_bytes()),
        None => match make(args, &action).await {
            Ok(done) => tell(&done, &action, &scope, args),
            Err(error) => {
                complain(&format!("error: {error}\nhelp: {}\n", error.help));
                ExitCode::Fault
            }
        },
    }
}

fn printed(form: Form, action: &ActionType, scope: &Scope, args: &RegisterArgs) -> String {
    match form {
        Form::Cli => forms::cli(action, scope),
        Form::Cloudformation => forms::cloudformation(action),
        Form::Iam => json(&forms::policy(action, scope)),
        Form::Stage => json(&forms::stage(action, args.project.as_deref())),
    }
}

fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

async fn make(args: &RegisterArgs, action: &ActionType) -> Result<Registered, Error> {
    let settings = aws::settings(args.region.as_deref(), args.profile.as_deref());
    let configuration = aws::configuration(&settings).await;
    let missing = settings.missing_profile.as_deref();
    if configuration.region().is_none() {
        return Err(Error::no_region(action, missing));
    }
    let client = aws_sdk_codepipeline::Client::new(&configuration);
    service::register(&client, action, missing).await
}

/// Says what became of it, and what is to be done now.
fn tell(done: &Registered, action: &ActionType, scope: &Scope, args: &RegisterArgs) -> ExitCode {
    let region = scope.region.as_deref().unwrap_or_default();
    let id = action.id();
    let first = match done {
        Registered::Made => format!("The action type {id} is made in {region}.\n"),
        Registered::Same => {
            format!("The action type {id} is there already in {region}, as it would be made.\n")
        }
        Registered::Different(differences) => {
            complain(&different(action, differences));
            return ExitCode::Usage;
        }
    };
    let policy = json(&forms::policy(action, scope));
    let stage = json(&forms::stage(action, args.project.as_deref()));
    print(
        format!(
            "{first}\n\
             The agent has to be allowed this, and nothing else:\n\n{policy}\n\
             A stage that uses it. In one that uses CodeBuild, change owner and provider in actionTypeId:\n\n{stage}"
        )
        .as_bytes(),
    )
}

fn different(action: &ActionType, differences: &[String]) -> String {
    let lines: Vec<String> = differences
        .iter()
        .map(|difference| format!("  - {difference}\n"))
        .collect();
    let lines = lines.concat();
    format!(
        "error: another action type {} is there already:\n{lines}\
         help: an action type is never changed: make the next one with `--version`, and name that version in the pipeline\n",
        action.id()
    )
}
