//! Settings of containers for builds that have none (CONF-14).
//!
//! One file serves builds in containers and those on this machine, so what it says of containers is not used by the latter.
//! Whoever writes such a flag by hand wants a container, and is told what is missing.

use clap::{Arg, ArgMatches, Command};

use super::applied::Applied;
use super::table::key;
use super::value::Origin;
use super::{innermost, is_given};
use crate::cli::args::{CONTAINER, ExecutorArg};

const IMAGE: &str = "image";
const EXECUTOR: &str = "executor";
const KEEP: &str = "keep";

/// Whether the commands of a build run on this machine; false for what builds nothing.
fn is_on_host(matches: &ArgMatches) -> bool {
    let Ok(executor) = matches.try_get_one::<ExecutorArg>(EXECUTOR) else {
        return false;
    };
    let has_image = matches!(matches.try_get_one::<String>(IMAGE), Ok(Some(_)));
    match executor {
        Some(executor) => *executor == ExecutorArg::Host,
        None => !has_image,
    }
}

/// Whether a flag says something of a container that the build could have.
fn is_of_container(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(CONTAINER) && key(arg) != Some(EXECUTOR)
}

/// Takes out what a build has no use for where it runs. Gives whether there was any.
pub(super) fn leave_out(applied: &mut Applied, command: &Command, all: &ArgMatches) -> bool {
    if !is_on_host(innermost(all)) {
        return false;
    }
    let idle: Vec<&str> = command
        .get_arguments()
        .filter(|arg| is_of_container(arg))
        .filter_map(key)
        .collect();
    applied.drop_where(|setting| idle.contains(&setting.key.as_str()))
}

/// Takes out an executor that has no images where something stronger names an image. Gives whether there was one.
pub(super) fn leave_host(applied: &mut Applied, given: &ArgMatches) -> bool {
    let image = matches!(given.try_get_one::<String>(IMAGE), Ok(Some(_)));
    let image = if image {
        Some(&Origin::Flag)
    } else {
        applied.of_flag(IMAGE).map(|setting| &setting.origin)
    };
    let Some(rank) = image.map(Origin::rank) else {
        return false;
    };
    applied.drop_where(|setting| {
        setting.key == EXECUTOR
            && setting.values.iter().any(|value| value == "host")
            && setting.origin.rank() < rank
    })
}

/// A flag of the command line that means something in containers only, where there is none.
pub(super) fn without_container<'c>(
    command: &'c Command,
    given: &ArgMatches,
    all: &ArgMatches,
) -> Option<&'c str> {
    // An image with `--executor host`, and `--keep`, have messages of their own.
    let has_own = |arg: &&Arg| [Some(IMAGE), Some(KEEP)].contains(&key(arg));
    if !is_on_host(innermost(all)) {
        return None;
    }
    command
        .get_arguments()
        .filter(|arg| is_of_container(arg) && is_given(innermost(given), arg))
        .find(|arg| !has_own(arg))
        .and_then(key)
}
