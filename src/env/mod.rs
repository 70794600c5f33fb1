//! Environment variables: names, where they come from, and which one wins.
//!
//! Pure: the variables of the machine are handed in by whoever looked at them.

mod dotenv;
mod reference;

pub use dotenv::{DotenvError, parse as parse_dotenv, render as render_dotenv};
pub use reference::{SecretReference, expand};

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

/// Why a text is no name of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvNameError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// `=` or NUL, which no process can have in a name.
    #[error("it holds `=` or a NUL character")]
    Forbidden,
    /// Something no shell can read: a shell drops such a variable (ENV-7).
    #[error("a shell reads letters, digits and `_`, and no digit first")]
    NotShell,
}

/// Checks a name (ENV-7).
pub fn check_name(name: &str) -> Result<(), EnvNameError> {
    if name.is_empty() {
        return Err(EnvNameError::Empty);
    }
    if name.contains(['=', '\0']) {
        return Err(EnvNameError::Forbidden);
    }
    let digit_first = name.starts_with(|c: char| c.is_ascii_digit());
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if digit_first || !plain {
        Err(EnvNameError::NotShell)
    } else {
        Ok(())
    }
}

/// Where a variable comes from. A later origin wins over an earlier one of the same name (ENV-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The build environment itself: what the image, or the caller of this program, has.
    Environment,
    /// `AWS_REGION` and the like, which the runner adds where nobody else says otherwise.
    Default,
    /// `env` of the buildspec.
    Buildspec,
    /// The project: `--env-file`.
    Project,
    /// The start of this build: `--env`.
    StartBuild,
    /// The runner's own `CODEBUILD_*`, which nobody overrides.
    Runner,
}

impl Origin {
    /// Name for people and machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Default => "default",
            Self::Buildspec => "buildspec",
            Self::Project => "project",
            Self::StartBuild => "start-build",
            Self::Runner => "runner",
        }
    }
}

/// One variable of the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentVariable {
    /// Name.
    pub name: OsString,
    /// Value. Any of them may be a secret: never printed.
    pub value: OsString,
    /// Where it comes from.
    pub origin: Origin,
}

/// Collects variables of all origins; the highest origin of each name wins, and of equal ones the last.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentBuilder {
    variables: Vec<EnvironmentVariable>,
    places: HashMap<OsString, usize>,
}

impl EnvironmentBuilder {
    /// Adds one variable.
    pub fn set(&mut self, origin: Origin, name: impl Into<OsString>, value: impl Into<OsString>) {
        let (name, value) = (name.into(), value.into());
        let variable = EnvironmentVariable {
            name: name.clone(),
            value,
            origin,
        };
        match self.places.get(&name) {
            None => {
                self.places.insert(name, self.variables.len());
                self.variables.push(variable);
            }
            Some(&place) if self.variables[place].origin <= origin => {
                self.variables[place] = variable;
            }
            Some(_) => {}
        }
    }

    /// Whether a name is taken by an origin at or above this one.
    #[must_use]
    pub fn is_set(&self, name: &str, at_least: Origin) -> bool {
        self.places
            .get(OsStr::new(name))
            .is_some_and(|&place| self.variables[place].origin >= at_least)
    }

    /// All variables, sorted by name.
    #[must_use]
    pub fn finish(mut self) -> Vec<EnvironmentVariable> {
        self.variables.sort_by(|a, b| a.name.cmp(&b.name));
        self.variables
    }
}

/// Gives a variable of this origin its value, which was not known when the others were collected. `variables` are sorted by
/// name and stay so; whoever calls has seen to it that nothing above that origin has this name.
pub fn set_late(
    variables: &mut Vec<EnvironmentVariable>,
    origin: Origin,
    name: &str,
    value: OsString,
) {
    let variable = EnvironmentVariable {
        name: name.into(),
        value,
        origin,
    };
    match variables.binary_search_by(|known| known.name.as_os_str().cmp(OsStr::new(name))) {
        Ok(place) => variables[place] = variable,
        Err(place) => variables.insert(place, variable),
    }
}

/// Gives a variable a value of the runner's own that anybody's wins over, but that of the build environment itself. `variables`
/// are sorted by name and stay so.
pub fn set_default(variables: &mut Vec<EnvironmentVariable>, name: &str, value: OsString) {
    let variable = EnvironmentVariable {
        name: name.into(),
        value,
        origin: Origin::Default,
    };
    match variables.binary_search_by(|known| known.name.as_os_str().cmp(OsStr::new(name))) {
        Ok(place) if variables[place].origin <= Origin::Default => variables[place] = variable,
        Ok(_) => {}
        Err(place) => variables.insert(place, variable),
    }
}

/// Whether a name belongs to CodeBuild (ENV-8). Its switches are for users to set.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("CODEBUILD_") && !name.starts_with("CODEBUILD_CONFIG_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_origin_wins_whatever_the_order() {
        let origins = [
            Origin::Environment,
            Origin::Default,
            Origin::Buildspec,
            Origin::Project,
            Origin::StartBuild,
            Origin::Runner,
        ];
        for (low, high) in origins.iter().zip(&origins[1..]) {
            for pair in [[low, high], [high, low]] {
                let mut builder = EnvironmentBuilder::default();
                for origin in pair {
                    builder.set(*origin, "A", origin.name());
                }
                assert_eq!(builder.finish()[0].value, high.name(), "{pair:?}");
            }
        }
    }

    #[test]
    fn of_one_origin_the_last_wins() {
        let mut builder = EnvironmentBuilder::default();
        builder.set(Origin::StartBuild, "A", "1");
        builder.set(Origin::StartBuild, "A", "2");
        assert_eq!(builder.finish()[0].value, "2");
    }

    #[test]
    fn names_are_checked() {
        let table = [
            ("A", Ok(())),
            ("_a9", Ok(())),
            ("", Err(EnvNameError::Empty)),
            ("A=B", Err(EnvNameError::Forbidden)),
            ("A\0", Err(EnvNameError::Forbidden)),
            ("9A", Err(EnvNameError::NotShell)),
            ("MY-VAR", Err(EnvNameError::NotShell)),
            ("É", Err(EnvNameError::NotShell)),
        ];
        for (name, expected) in table {
            assert_eq!(check_name(name), expected, "{name}");
        }
    }
}
