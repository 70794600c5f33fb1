//! The command line: arguments become requests, and results become text and exit codes.
//!
//! The only module that reads the process's environment and directory, and that installs signal handlers.

mod agent;
mod agent_arguments;
mod agent_control;
mod agent_operation;
mod args;
mod aws;
mod buildspec_file;
mod cache;
mod cache_kept;
mod complain;
mod config;
mod configured;
mod container;
mod credential_helper;
mod debug_session;
mod deploy_files;
mod doctor;
mod ecr;
mod engine;
mod exported;
mod fix;
mod git_credential;
mod handover;
mod identity;
mod layers;
mod load;
mod lsp;
mod machine;
mod man;
mod mask;
mod plan;
mod plan_json;
mod prompt;
mod provision;
mod proxy;
mod prune;
mod pull;
mod push;
mod refused;
mod register;
mod request;
mod run;
mod runtimes;
mod shell;
mod shellcheck;
mod sources;
mod start;
mod sweep;
mod terminal;
mod tool;
mod transfer;
mod validate;
mod value;
mod variables;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use clap::CommandFactory as _;

use self::args::{Args, Command, EcrArgs};
use self::complain::{complain, says_panic};
use crate::build::ExitCode;
use crate::buildspec::{schema, yaml};
use crate::exec::container::CONTAINER_NAME;
use crate::process;
use crate::registry::isolated;
use crate::tool::{FileCommand, SessionCommand, Tool};

/// Runs the program with these arguments, the name it was called by first.
#[must_use]
pub fn main(arguments: &[OsString]) -> ExitCode {
    let called_as = arguments
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .unwrap_or_default();
    if called_as == process::SESSION_NAME {
        return session(arguments);
    }
    if called_as == process::TERMINAL_NAME {
        return terminal_session(arguments);
    }
    if called_as == process::USER_NAME {
        let (doing, error) = process::become_user(arguments.get(1..).unwrap_or_default());
        complain(&format!("error: could not {doing}: {error}\n"));
        return ExitCode::Fault;
    }
    if called_as == CONTAINER_NAME {
        return container::inside(arguments);
    }
    if called_as == isolated::HELPER_NAME {
        return credential_helper::serve(arguments);
    }
    if called_as == crate::git_credential::HELPER_NAME {
        return git_credential::serve(arguments);
    }
    report_bugs();
    if let Some(tool) = Tool::named(called_as) {
        return ExitCode::Tool(tool::run(tool, &arguments[1..]));
    }
    if let Some(command) = FileCommand::named(called_as) {
        return ExitCode::Tool(tool::run_about_files(command, &arguments[1..]));
    }
    if let Some(command) = SessionCommand::named(called_as) {
        return ExitCode::Tool(debug_session::command(command));
    }
    let args = match configured::parse(arguments) {
        Ok(args) => args,
        Err(refused) => return refused.say(),
    };
    match args.command {
        None => run::run(args.run),
        Some(Command::Run(run)) => run::run(run),
        Some(Command::Plan(plan)) => plan::plan(&plan),
        Some(Command::Validate(validate)) => validate::validate(&validate),
        Some(Command::Push(push)) => push::push(&push),
        Some(Command::Pull(pull)) => pull::pull(&pull),
        Some(Command::Ecr(EcrArgs::Login(login))) => ecr::login(&login),
        Some(Command::Shell(shell)) => shell::shell(&shell),
        Some(Command::Mask(mask)) => mask::mask(&mask),
        Some(Command::Prune(prune)) => prune::prune(&prune),
        Some(Command::Cache(cache)) => cache_kept::run(&cache),
        Some(Command::Doctor(doctor)) => doctor::doctor(&doctor),
        Some(Command::Agent(agent)) => agent::agent(&agent, arguments),
        Some(Command::Config(config)) => configured::run(&config),
        Some(Command::Lsp) => lsp::serve(),
        Some(Command::Man { directory }) => man::man(&directory),
        Some(Command::Schema) => print(format!("{:#}\n", schema::schema()).as_bytes()),
        Some(Command::Completions { shell }) => {
            let mut completions = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "runner", &mut completions);
            print(&completions)
        }
    }
}

/// What this program does as [`process::SESSION_NAME`].
fn session(arguments: &[OsString]) -> ExitCode {
    start(arguments, process::become_session)
}

/// What this program does as [`process::TERMINAL_NAME`].
fn terminal_session(arguments: &[OsString]) -> ExitCode {
    start(arguments, process::become_terminal_session)
}

/// Becomes the program that the arguments name behind this one's name.
fn start(arguments: &[OsString], become_program: fn(&OsStr, &[OsString]) -> io::Error) -> ExitCode {
    let [_, program, arguments @ ..] = arguments else {
        return ExitCode::Usage;
    };
    let error = become_program(program, arguments);
    complain(&format!(
        "error: could not start {}: {error}\n",
        Path::new(program).display()
    ));
    ExitCode::Fault
}

/// Help and versions go to standard output and are a success; mistakes go to standard error.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::Usage
    } else {
        ExitCode::Succeeded
    }
}

/// A panic is a bug of this program: it says so, and where.
fn report_bugs() {
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !yaml::is_guarded() {
            if !says_panic(panic) {
                standard(panic);
            }
            complain("\nThis is a bug in runner. Please report it with the lines above.\n");
        }
    }));
}

/// Writes to standard output. A reader that went away is no failure.
fn print(text: &[u8]) -> ExitCode {
    match io::stdout()
        .write_all(text)
        .and_then(|()| io::stdout().flush())
    {
        Ok(()) => ExitCode::Succeeded,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::Succeeded,
        Err(error) => {
            complain(&format!(
                "error: could not write to standard output: {error}\n"
            ));
            ExitCode::Fault
        }
    }
}

/// Which command was called, by the names of its subcommands: known once the command line was read.
static CALLED: OnceLock<Vec<String>> = OnceLock::new();

/// A mistake on the command line that clap cannot know of, in clap's form.
fn mistake(message: impl std::fmt::Display) -> clap::Error {
    let mut all = Args::command();
    all.build();
    let mut command = &mut all;
    for name in CALLED.get().into_iter().flatten() {
        if command.find_subcommand(name).is_none() {
            break;
        }
        command = command
            .find_subcommand_mut(name)
            .expect("invariant: it was found");
    }
    command.error(clap::error::ErrorKind::ValueValidation, message)
}
