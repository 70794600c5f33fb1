//! What flags are when the command line does not say: variables, then `runner.toml`, then their defaults (CONF-1 to CONF-10, CONF-14).
//!
//! Nothing here knows a flag. What a flag is called and takes is read off the command line's own definition, and what a
//! variable or a file says of it is given to the parser as the flag would be: so both mean what the flag means, and a new
//! flag has its counterparts by itself. What does not may be set is in [`table`].

mod applied;
mod container;
mod file;
mod show;
mod table;
mod value;
mod variable;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use self::applied::Applied;
use self::table::Table;
use super::args::Args;
use super::refused::Refused;
use super::{CALLED, mistake};

pub(super) use self::file::problems;
pub(super) use self::show::{ConfigArgs as ConfigCommand, run};

/// The arguments with all that is configured, or what is wrong with either.
pub(super) fn parse(arguments: &[OsString]) -> Result<Args, Refused> {
    let mut command = Args::command();
    let Resolved { matches, .. } = resolve(&mut command, arguments, Missing::IsAnError)?;
    Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command).into())
}

/// Whether everything that a command needs has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    IsAnError,
    IsShown,
}

/// What all places together say.
#[derive(Debug)]
struct Resolved {
    matches: ArgMatches,
    /// What variables and the file say, as far as the command line does not say otherwise.
    applied: Applied,
}

fn resolve(
    command: &mut Command,
    arguments: &[OsString],
    missing: Missing,
) -> Result<Resolved, Refused> {
    let (given, wrong) = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => (matches, None),
        // What is missing may be configured.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            match leniently(arguments) {
                Some(matches) => (matches, Some(error)),
                None => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let path = path_of(&given);
    let _ = CALLED.set(path.iter().map(|name| (*name).to_owned()).collect());
    let mut applied = match Table::of(&path) {
        Some(table) => Applied::of(command, table, &path, &given)?,
        None => Applied::default(),
    };
    if let Some(error) = wrong.filter(|_| applied.is_empty() && missing == Missing::IsAnError) {
        return Err(error.into());
    }
    container::leave_host(&mut applied, innermost(&given));
    let mut configured = with(&applied, command, arguments, &given, missing)?;
    if missing == Missing::IsAnError {
        let all = configured.as_ref().unwrap_or(&given);
        let called = command_at(command, &path);
        if called.is_some_and(|called| container::leave_out(&mut applied, called, all)) {
            configured = with(&applied, command, arguments, &given, missing)?;
        }
        let all = configured.as_ref().unwrap_or(&given);
        let called = command_at(command, &path);
        let flag = called.and_then(|called| container::without_container(called, &given, all));
        if let Some(flag) = flag {
            return Err(mistake(format!(
                "`--{flag}` is for builds in containers: add `--image IMAGE`"
            ))
            .into());
        }
    }
    let matches = configured.unwrap_or(given);
    Ok(Resolved { matches, applied })
}

/// What the command line and all that is configured come to together; `None` where nothing is configured.
fn with(
    applied: &Applied,
    command: &mut Command,
    arguments: &[OsString],
    given: &ArgMatches,
    missing: Missing,
) -> Result<Option<ArgMatches>, Refused> {
    if applied.is_empty() {
        return Ok(None);
    }
    let all = applied.among(arguments, path_of(given).len());
    match command.try_get_matches_from_mut(&all) {
        Ok(matches) => Ok(Some(matches)),
        Err(error)
            if missing == Missing::IsShown
                && error.kind() == ErrorKind::MissingRequiredArgument =>
        {
            leniently(&all).map(Some).ok_or_else(|| error.into())
        }
        Err(error) => Err(applied.explain(error)),
    }
}

/// Whether a flag was written on the command line.
fn is_given(matches: &ArgMatches, arg: &Arg) -> bool {
    matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// What is there, whatever is missing.
fn leniently(arguments: &[OsString]) -> Option<ArgMatches> {
    Args::command()
        .ignore_errors(true)
        .try_get_matches_from(arguments)
        .ok()
}

/// The names of the command that is meant.
fn path_of(matches: &ArgMatches) -> Vec<&str> {
    let mut path = Vec::new();
    let mut here = matches;
    while let Some((name, inner)) = here.subcommand() {
        path.push(name);
        here = inner;
    }
    path
}

/// The matches of the command that is meant.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches
        .subcommand()
        .map_or(matches, |(_, inner)| innermost(inner))
}

/// The command with these names.
fn command_at<'c>(command: &'c Command, path: &[&str]) -> Option<&'c Command> {
    path.iter()
        .try_fold(command, |command, name| command.find_subcommand(name))
}
