//! What holds of all that variables and the file say: what nothing stronger says otherwise (CONF-1).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::table::{MACHINE_FILE, Place, Table, key, why_not_for_anyone};
use super::value::{Origin, Setting};
use super::variable::Variables;
use super::{command_at, file, innermost, is_given};
use crate::cli::args::When;
use crate::cli::config::{self, Unusable};
use crate::cli::mistake;
use crate::cli::refused::Refused;
use crate::diagnostic::{Code, Diagnostic};

/// What holds.
#[derive(Debug, Default)]
pub(super) struct Applied {
    settings: Vec<Setting>,
}

/// A flag of which something stronger spoke.
#[derive(Clone, Copy)]
struct Stronger<'c> {
    arg: &'c Arg,
    /// A switch that it turns off.
    is_off: bool,
}

/// The file that is read.
struct File {
    path: PathBuf,
    /// Whether somebody who may decide for this machine or this user put it there or named it.
    is_named: bool,
}

impl Applied {
    /// What holds for a command that was called like this. Or what is wrong with it.
    pub(super) fn of(
        root: &mut Command,
        table: &'static Table,
        path: &[&str],
        given: &ArgMatches,
    ) -> Result<Self, Refused> {
        let given = innermost(given);
        let variables = Variables::read();
        let file = chosen(table, &variables, given)?;
        let mut applied = Self::default();
        if variables.is_empty() && file.is_none() {
            return Ok(applied);
        }
        root.build();
        let command = command_at(root, path).cloned().unwrap_or_default();
        // Another command obeys what it has of the table.
        let flags: Vec<Arg> = table
            .flags(root)
            .into_iter()
            .filter_map(|arg| same(&command, arg))
            .cloned()
            .collect();
        let said = command.get_arguments().filter(|arg| is_given(given, arg));
        let mut stronger: Vec<Stronger<'_>> =
            said.map(|arg| Stronger { arg, is_off: false }).collect();
        if stronger.iter().any(|said| said.arg.is_exclusive_set()) {
            return Ok(applied);
        }
        let said = variables.settings(root, table, &flags);
        let said = said.map_err(Refused::Variable)?;
        applied.add(said, &command, &mut stronger);
        if let Some(file) = file {
            let said = said_by(&file, root, table, &command, &stronger, given)?;
            applied.add(said, &command, &mut stronger);
        }
        Ok(applied)
    }

    /// Whether nothing does.
    pub(super) fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// What says something of a flag.
    pub(super) fn of_flag(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// Takes settings out. Gives whether there were any.
    pub(super) fn drop_where(&mut self, is_idle: impl Fn(&Setting) -> bool) -> bool {
        let before = self.settings.len();
        self.settings.retain(|setting| !is_idle(setting));
        self.settings.len() < before
    }

    fn add<'c>(
        &mut self,
        said: Vec<Setting>,
        command: &'c Command,
        stronger: &mut Vec<Stronger<'c>>,
    ) {
        let before = stronger.clone();
        for setting in said {
            let arg = command
                .get_arguments()
                .find(|arg| key(arg) == Some(&setting.key));
            let Some(arg) = arg.filter(|arg| !is_settled(command, arg, &before)) else {
                continue;
            };
            let is_off = setting.tokens.is_empty();
            stronger.push(Stronger { arg, is_off });
            self.settings.push(setting);
        }
    }

    /// The arguments with all that holds among them, behind the name of a command that has so many words.
    pub(super) fn among(&self, arguments: &[OsString], words: usize) -> Vec<OsString> {
        let (before, after) = arguments.split_at((1 + words).min(arguments.len()));
        let tokens = |is_last: bool| {
            let settings = self
                .settings
                .iter()
                .filter(move |setting| setting.is_last == is_last);
            settings.flat_map(|setting| setting.tokens.iter().cloned())
        };
        let mut all: Vec<OsString> = before.iter().cloned().chain(tokens(false)).collect();
        all.extend_from_slice(after);
        // It is applied only if nothing stands behind `--` already.
        if tokens(true).next().is_some() {
            all.push("--".into());
            all.extend(tokens(true));
        }
        all
    }

    /// What the parser says of all that holds together, and what of it nobody wrote on the command line.
    pub(super) fn explain(&self, error: clap::Error) -> Refused {
        let said = error.to_string();
        let mut notes = String::new();
        for setting in &self.settings {
            if said.contains(&format!("--{}", setting.key)) {
                let _ = writeln!(
                    notes,
                    "note: `--{}` is set by {}",
                    setting.key, setting.origin
                );
            }
        }
        Refused::Arguments(error, notes)
    }

    /// Where what a flag is comes from.
    pub(super) fn origin(&self, key: &str, matches: &ArgMatches, id: &str) -> Origin {
        if let Some(setting) = self.of_flag(key) {
            return setting.origin.clone();
        }
        match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            _ => Origin::Default,
        }
    }
}

/// What a file says, if all of it may be said there.
fn said_by(
    file: &File,
    root: &mut Command,
    table: &Table,
    command: &Command,
    stronger: &[Stronger<'_>],
    given: &ArgMatches,
) -> Result<Vec<Setting>, Refused> {
    // `validate` says all that is wrong itself, and there are those who only look whether it can be used.
    let is_for_linter = table.name == "validate";
    let refused = |why: Unusable| Refused::File(why, colour(given));
    let source = match config::checked(&file.path) {
        Ok((source, _)) => source,
        Err(_) if is_for_linter => return Ok(Vec::new()),
        Err(why) => return Err(refused(why)),
    };
    let (placed, _) = file::read(&source, root, table);
    let mut problems = Vec::new();
    let mut said = Vec::new();
    for placed in placed {
        let setting = placed.setting;
        let arg = command
            .get_arguments()
            .find(|arg| key(arg) == Some(&setting.key));
        let is_settled = arg.is_none_or(|arg| is_settled(command, arg, stronger));
        let refused = match why_not_for_anyone(&setting.key, &setting.values) {
            Some(why) if !file.is_named && !is_settled && !setting.tokens.is_empty() => Some(why),
            _ => None,
        };
        match refused {
            Some(why) => {
                let name = &setting.key;
                let message = format!("a file in a source tree cannot set `{name}`: {why}");
                let help = format!(
                    "give `--{name}`, set {}, or name the file with `--config {}` if you trust it",
                    table.variable(name),
                    source.name()
                );
                let problem = Diagnostic::new(Code::Configuration, placed.span, message);
                problems.push(problem.with_help(help));
            }
            None => said.push(setting),
        }
    }
    if problems.is_empty() {
        Ok(said)
    } else {
        Err(refused(Unusable::Wrong(Box::new(source), problems)))
    }
}

/// Whether something that is stronger says what a flag is, or forbids it.
fn is_settled(command: &Command, arg: &Arg, stronger: &[Stronger<'_>]) -> bool {
    let forbids = |one: &Arg, other: &Arg| command.get_arg_conflicts_with(one).contains(&other);
    stronger.iter().any(|said| {
        let other = said.arg;
        // What is off is there as little as what nobody names.
        other == arg || (!said.is_off && (forbids(arg, other) || forbids(other, arg)))
    })
}

/// The flag of a command that has the name of another's.
fn same<'c>(command: &'c Command, arg: &Arg) -> Option<&'c Arg> {
    command
        .get_arguments()
        .find(|own| key(own).is_some() && key(own) == key(arg))
}

/// The file that counts: the one that is named, else the one that is found.
fn chosen(
    table: &Table,
    variables: &Variables,
    given: &ArgMatches,
) -> Result<Option<File>, Refused> {
    let named = |path: PathBuf| {
        Some(File {
            path,
            is_named: true,
        })
    };
    let has = |id: &str| matches!(given.try_get_one::<bool>(id), Ok(Some(true)));
    if let Ok(Some(path)) = given.try_get_one::<PathBuf>("config") {
        return Ok(named(path.clone()));
    }
    if has("no_config") {
        return Ok(None);
    }
    if let Some(path) = variables.get("RUNNER_CONFIG") {
        return Ok(named(path.into()));
    }
    match variables
        .get("RUNNER_NO_CONFIG")
        .map(|value| value.to_str())
    {
        None | Some(Some("false" | "0")) => {}
        Some(Some("true" | "1")) => return Ok(None),
        Some(_) => {
            let why = "RUNNER_NO_CONFIG is neither `true` nor `false`";
            return Err(mistake(why).into());
        }
    }
    Ok(match table.place {
        Place::SourceTree => config::find(&start(given)).map(|path| File {
            path,
            is_named: false,
        }),
        Place::Machine => {
            let path = Path::new(MACHINE_FILE);
            path.exists().then(|| path.to_owned()).and_then(named)
        }
    })
}

/// Where a command looks for its file: what it works on.
fn start(given: &ArgMatches) -> PathBuf {
    let first = |id: &str| match given.try_get_raw(id) {
        Ok(Some(mut values)) => values.next().map(PathBuf::from),
        _ => None,
    };
    first("directory")
        .or_else(|| first("paths"))
        .unwrap_or_else(|| PathBuf::from("."))
}

fn colour(given: &ArgMatches) -> When {
    match given.try_get_one::<When>("color") {
        Ok(Some(when)) => *when,
        _ => When::Auto,
    }
}
