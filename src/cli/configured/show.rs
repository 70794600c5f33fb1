//! `runner config`: what flags come to, and why (CONF-12, CONF-13).

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args as ClapArgs, CommandFactory as _, Subcommand, ValueHint};
use serde_json::{Map, Value, json};

use super::table::{self, Table, key};
use super::value::{Kind, Origin};
use super::{Missing, Resolved, command_at, innermost, resolve};
use crate::build::ExitCode;
use crate::cli::args::Args;
use crate::cli::refused::Refused;
use crate::cli::{mistake, print};

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigArgs {
    /// Show what flags come to, with all that variables and runner.toml say
    Show(ShowArgs),
}

/// What is shown, and how.
#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct ShowArgs {
    /// Command, and flags of it to show what they come to [default: every command that can be configured]
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,

    /// Say of each where it comes from
    #[arg(long)]
    origin: bool,

    /// Print JSON, with where each comes from
    #[arg(long)]
    json: bool,

    /// Configuration to use [default: the one that the command would use]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// Use no runner.toml
    #[arg(long, conflicts_with = "config")]
    no_config: bool,
}

/// One flag, with what it comes to.
struct Shown {
    key: String,
    kind: Kind,
    /// Nothing if nobody says anything and there is no default.
    values: Option<Vec<String>>,
    origin: Origin,
}

/// Shows what is asked for.
pub(in crate::cli) fn run(args: &ConfigArgs) -> ExitCode {
    let ConfigArgs::Show(args) = args;
    match shown(args) {
        Ok(text) => print(text.as_bytes()),
        Err(refused) => refused.say(),
    }
}

fn shown(args: &ShowArgs) -> Result<String, Refused> {
    let mut root = Args::command();
    root.build();
    let mut text = String::new();
    let mut tables = Map::new();
    for (table, rest) in asked(args, &root)? {
        let rows = rows(args, table, rest)?;
        if args.json {
            tables.insert(table.name.to_owned(), json_of(&rows));
        } else {
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(&toml_of(table, &rows, args.origin));
        }
    }
    if args.json {
        text = format!("{:#}\n", Value::Object(tables));
    }
    Ok(text)
}

/// The tables that are asked for, each with the flags that go with its command.
fn asked<'a>(
    args: &'a ShowArgs,
    root: &clap::Command,
) -> Result<Vec<(&'static Table, &'a [OsString])>, Refused> {
    let is_there = |table: &&Table| command_at(root, table.path()).is_some();
    let Some((name, rest)) = args.command.split_first() else {
        let all = table::ALL.iter().filter(is_there);
        return Ok(all.map(|table| (table, &[][..])).collect());
    };
    let found = name.to_str().and_then(Table::named).filter(is_there);
    let found = found.ok_or_else(|| {
        let names: Vec<&str> = table::ALL
            .iter()
            .filter(is_there)
            .map(|table| table.name)
            .collect();
        let expected = crate::diagnostic::one_of(&names);
        let name = name.display();
        mistake(format!(
            "`{name}` cannot be configured: expected {expected}"
        ))
    })?;
    Ok(vec![(found, rest)])
}

fn rows(args: &ShowArgs, table: &'static Table, rest: &[OsString]) -> Result<Vec<Shown>, Refused> {
    let mut arguments: Vec<OsString> = vec!["runner".into()];
    arguments.extend(table.path().iter().map(Into::into));
    if let Some(config) = &args.config {
        arguments.extend(["--config".into(), config.into()]);
    }
    if args.no_config {
        arguments.push("--no-config".into());
    }
    arguments.extend_from_slice(rest);
    let mut root = Args::command();
    let resolved = resolve(&mut root, &arguments, Missing::IsShown)?;
    let flags = table.flags(&root).into_iter();
    Ok(flags.filter_map(|arg| row(arg, &resolved)).collect())
}

fn row(arg: &Arg, resolved: &Resolved) -> Option<Shown> {
    let key = key(arg)?;
    let matches = innermost(&resolved.matches);
    // What is for tests is in no list until somebody sets it.
    if arg.is_hide_set()
        && resolved.applied.origin(key, matches, arg.get_id().as_str()) == Origin::Default
    {
        return None;
    }
    let kind = Kind::of(arg);
    Some(Shown {
        key: key.to_owned(),
        kind,
        values: values(arg, kind, matches).map(|values| hidden(key, values)),
        origin: resolved.applied.origin(key, matches, arg.get_id().as_str()),
    })
}

fn values(arg: &Arg, kind: Kind, matches: &ArgMatches) -> Option<Vec<String>> {
    let id = arg.get_id().as_str();
    if kind == Kind::Switch {
        let is_on = matches.try_get_one::<bool>(id).ok()??;
        return Some(vec![is_on.to_string()]);
    }
    let raw = matches.try_get_raw(id).ok()??;
    Some(
        raw.map(|value| value.to_string_lossy().into_owned())
            .collect(),
    )
}

/// Values of variables may be secrets, and what is shown here is shown around.
fn hidden(key: &str, values: Vec<String>) -> Vec<String> {
    if key != "env" {
        return values;
    }
    let hide = |value: String| match value.split_once('=') {
        Some((name, _)) => format!("{name}=***"),
        None => value,
    };
    values.into_iter().map(hide).collect()
}

fn toml_of(table: &Table, rows: &[Shown], with_origin: bool) -> String {
    let lines: Vec<(String, &Origin)> = rows
        .iter()
        .filter_map(|row| Some((format!("{} = {}", row.key, value_of(row)?), &row.origin)))
        .collect();
    let widths = lines.iter().map(|(line, _)| line.chars().count());
    let width = widths.filter(|width| *width <= 48).max().unwrap_or(0);
    let mut text = format!("[{}]\n", table.name);
    for (line, origin) in lines {
        if with_origin {
            text.push_str(&format!("{line:<width$}  # {origin}\n"));
        } else {
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

/// A value as the file has it.
fn value_of(row: &Shown) -> Option<String> {
    let values = row.values.as_ref()?;
    match row.kind {
        Kind::Switch => values.first().cloned(),
        Kind::Many => {
            let items: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        Kind::OneOrNone if values.iter().all(String::is_empty) => Some("true".to_owned()),
        Kind::One | Kind::OneOrNone => values.first().map(|value| quoted(value)),
    }
}

/// Text in quotes, as TOML reads it.
fn quoted(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007f")
}

fn json_of(rows: &[Shown]) -> Value {
    let row = |row: &Shown| {
        let value = match (&row.values, row.kind) {
            (None, _) => Value::Null,
            (Some(values), Kind::Many) => json!(values),
            (Some(values), Kind::Switch) => {
                json!(values.first().is_some_and(|value| value == "true"))
            }
            (Some(values), Kind::OneOrNone) if values.iter().all(String::is_empty) => json!(true),
            (Some(values), _) => json!(values.first()),
        };
        let mut shown = json!({"value": value});
        let origin = match &row.origin {
            Origin::Default => json!({"origin": "default"}),
            Origin::Flag => json!({"origin": "flag"}),
            Origin::Variable(name) => json!({"origin": "variable", "variable": name}),
            Origin::File { file, line, column } => {
                json!({"origin": "file", "file": file, "line": line, "column": column})
            }
        };
        if let (Value::Object(shown), Value::Object(origin)) = (&mut shown, origin) {
            shown.extend(origin);
        }
        (row.key.clone(), shown)
    };
    Value::Object(rows.iter().map(row).collect())
}
