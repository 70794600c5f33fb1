//! What variables say of flags (CONF-2).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use clap::{Arg, Command};

use super::table::{Table, key};
use super::value::{Kind, Origin, Setting, refusal, switch, token};
use crate::cli::machine;

/// What names of all variables begin with.
const PREFIX: &str = "RUNNER_";

/// The environment, as far as it can be about flags.
#[derive(Debug, Default)]
pub(super) struct Variables(Vec<(OsString, OsString)>);

impl Variables {
    /// Those of this process. An empty one is as good as none.
    pub(super) fn read() -> Self {
        let mut variables = machine::variables();
        variables.retain(|(name, value)| {
            name.as_bytes().starts_with(PREFIX.as_bytes()) && !value.is_empty()
        });
        Self(variables)
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of one.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// What they say of these flags, which are a table's.
    pub(super) fn settings(
        &self,
        root: &mut Command,
        table: &Table,
        flags: &[Arg],
    ) -> Result<Vec<Setting>, String> {
        let mut settings = Vec::new();
        for arg in flags {
            let Some(key) = key(arg) else { continue };
            let name = table.variable(key);
            if let Some(value) = self.get(&name) {
                let setting = setting(root, table, arg, key, value);
                let told = |why| format!("error: {name} cannot be used for `--{key}`: {why}\n");
                let (tokens, values) = setting.map_err(told)?;
                settings.push(Setting {
                    key: key.to_owned(),
                    tokens,
                    values,
                    is_last: arg.is_last_set(),
                    origin: Origin::Variable(name),
                });
            }
        }
        Ok(settings)
    }
}

type Said = (Vec<OsString>, Vec<String>);

fn setting(
    root: &mut Command,
    table: &Table,
    arg: &Arg,
    key: &str,
    value: &OsStr,
) -> Result<Said, String> {
    let kind = Kind::of(arg);
    let tokens = match (kind, is_on(value)) {
        (Kind::Switch, None) => {
            return Err(format!(
                "expected true or false, and it is `{}`",
                value.display()
            ));
        }
        (Kind::Switch | Kind::OneOrNone, Some(true)) => vec![switch(key)],
        (Kind::Switch | Kind::OneOrNone, Some(false)) => Vec::new(),
        (Kind::One | Kind::OneOrNone, _) => vec![token(arg, key, value)],
        (Kind::Many, _) => lines(value).map(|line| token(arg, key, line)).collect(),
    };
    for one in &tokens {
        if let Some(why) = refusal(root, table.path(), arg, one) {
            return Err(why);
        }
    }
    let values = match kind {
        Kind::Many => lines(value)
            .map(|line| line.to_string_lossy().into_owned())
            .collect(),
        _ => vec![value.to_string_lossy().into_owned()],
    };
    Ok((tokens, values))
}

/// A value a line: they have commas, colons and blanks in them.
fn lines(value: &OsStr) -> impl Iterator<Item = OsString> {
    let lines = value.as_bytes().split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| OsString::from_vec(line.to_vec()))
}

fn is_on(value: &OsStr) -> Option<bool> {
    match value.to_str()?.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}
