//! What a place says of one flag.

use std::ffi::OsString;
use std::fmt;

use clap::builder::ValueRange;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::diagnostic::one_of;

/// What one place says of one flag.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The flag, without its hyphens.
    pub(super) key: String,
    /// What would stand on the command line for it; nothing for a switch that is off.
    pub(super) tokens: Vec<OsString>,
    /// The values in it, for what judges them.
    pub(super) values: Vec<String>,
    /// Whether it stands behind `--`.
    pub(super) is_last: bool,
    /// Which place.
    pub(super) origin: Origin,
}

/// Where a value comes from, the strongest last but one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody says anything.
    Default,
    /// A place in a file.
    File {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// The variable with this name.
    Variable(String),
    /// The command line.
    Flag,
}

impl Origin {
    /// How strong it is, beside others.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Variable(_) => 2,
            Self::Flag => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it is there or not.
    Switch,
    /// One value.
    One,
    /// One value, or none.
    OneOrNone,
    /// Values, as often as it is there.
    Many,
}

impl Kind {
    pub(super) fn of(arg: &Arg) -> Self {
        match arg.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => Self::Switch,
            ArgAction::Append => Self::Many,
            _ if arg
                .get_num_args()
                .is_some_and(|number: ValueRange| number.min_values() == 0) =>
            {
                Self::OneOrNone
            }
            _ => Self::One,
        }
    }
}

/// `--key=value`, or the value alone for what stands behind `--`.
pub(super) fn token(arg: &Arg, key: &str, value: impl Into<OsString>) -> OsString {
    if arg.is_last_set() {
        return value.into();
    }
    let mut token = OsString::from(format!("--{key}="));
    token.push(value.into());
    token
}

/// `--key`
pub(super) fn switch(key: &str) -> OsString {
    format!("--{key}").into()
}

/// Why the parser of a command does not take a value, if it does not. What else the command lacks is not asked.
pub(super) fn refusal(
    root: &mut Command,
    path: &[&str],
    arg: &Arg,
    token: &OsString,
) -> Option<String> {
    let mut arguments: Vec<OsString> = vec!["runner".into()];
    arguments.extend(path.iter().map(Into::into));
    if arg.is_last_set() {
        arguments.push("--".into());
    }
    arguments.push(token.clone());
    let error = root.try_get_matches_from_mut(arguments).err()?;
    match error.kind() {
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            Some(why.unwrap_or_else(|| "it is no such value".to_owned()))
        }
        ErrorKind::InvalidValue => Some(match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(values)) if !values.is_empty() => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                format!("expected {}", one_of(&values))
            }
            _ => "a value is missing".to_owned(),
        }),
        ErrorKind::InvalidUtf8 => Some("it is no UTF-8".to_owned()),
        _ => None,
    }
}
