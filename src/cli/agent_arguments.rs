//! Arguments of `runner run` that an operator gives every build of an agent (AGENT-17).

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{CommandFactory as _, Parser as _};

use super::args::Args;
use super::mistake;
use crate::agent::child;
use crate::agent::serve::Settings;

/// What is the agent's to say for each build.
const OWN: [&str; 19] = [
    "job",
    "directory",
    "source",
    "source_version",
    "project",
    "file",
    "artifacts",
    "packaging",
    "artifact_name",
    "artifact_namespace",
    "kms_key",
    "reports",
    "log_format",
    "log_file",
    "events",
    "color",
    "dry_run",
    "shell_on_failure",
    "keep",
];

/// What the agent has a flag of its own for.
const WITH_FLAG: [&str; 5] = ["image", "executor", "region", "timeout", "grace"];

/// What has no meaning, as builds of an agent read no configuration.
const CONFIGURATION: [&str; 2] = ["config", "no_config"];

/// Refuses arguments that no build could have, or not every one: it would fail with them.
pub(super) fn check(settings: &Settings) -> Result<(), clap::Error> {
    if settings.arguments.is_empty() {
        return Ok(());
    }
    let all = ["runner", "run"].map(OsString::from).into_iter();
    let given = Args::command().try_get_matches_from(all.chain(settings.arguments.clone()))?;
    let given = given.subcommand_matches("run");
    let is_given = |id: &&&str| {
        given.is_some_and(|given| given.value_source(id) == Some(ValueSource::CommandLine))
    };
    let flag = |id: &str| format!("--{}", id.replace('_', "-"));
    if let Some(own) = OWN.iter().find(is_given) {
        let flag = flag(own);
        return Err(mistake(format!(
            "`{flag}` is the agent's to say for each build: leave it out behind `--`"
        )));
    }
    if let Some(own) = WITH_FLAG.iter().find(is_given) {
        let flag = flag(own);
        return Err(mistake(format!(
            "`{flag}` is a flag of the agent's own: write it before `--`"
        )));
    }
    if let Some(own) = CONFIGURATION.iter().find(is_given) {
        let flag = flag(own);
        return Err(mistake(format!(
            "`{flag}` says nothing to builds of an agent, which read no configuration: leave it out behind `--`"
        )));
    }
    for line in child::command_lines(settings) {
        let program = std::iter::once(OsString::from("runner"));
        Args::try_parse_from(program.chain(line))?;
    }
    Ok(())
}
