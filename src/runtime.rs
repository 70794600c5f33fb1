//! `runtime-versions`: what an image offers and what of it is selected, and what a machine has instead (RUN-1 to RUN-7).
//!
//! Pure: the table of an image comes in as bytes, and what a machine's tools say as text.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// Where an image has its table.
pub const TABLE_PATH: &str = "/codebuild/image/config/runtimes.yml";

/// Largest table that is read, in bytes. Those of AWS's images have some kilobytes.
pub const MAX_TABLE: u64 = 1024 * 1024;

/// The entry that stands for every version that is not listed.
const DEFAULT: &str = "default";

/// What an image offers.
#[derive(Clone, Debug, Deserialize)]
pub struct Table {
    runtimes: Entries<Runtime>,
}

#[derive(Clone, Debug, Deserialize)]
struct Runtime {
    versions: Entries<Offer>,
}

/// How one version is selected.
#[derive(Clone, Debug, Default, Deserialize)]
struct Offer {
    #[serde(default)]
    requires: Option<Entries<Vec<String>>>,
    #[serde(default)]
    commands: Option<Vec<String>>,
}

/// A mapping in the order in which it is written. Keys are text as it stands there: `3.10` is not `3.1`.
#[derive(Clone, Debug)]
struct Entries<T>(Vec<(String, T)>);

impl<T> Entries<T> {
    fn get(&self, key: &str) -> Option<&T> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries<T>, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// Something that the log tells of the selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A version is selected.
    Selected {
        /// Which runtime.
        runtime: String,
        /// Its version, as the table has it; for one that is not listed, as it was asked for.
        version: String,
        /// Why.
        reason: Reason,
    },
    /// A version that another runtime depends on is not selected, since the buildspec names one itself.
    NotOverridden {
        /// Which runtime, and its version.
        dependent: (String, String),
        /// What it depends on, and the version that the buildspec names.
        dependency: (String, String),
    },
}

/// Why a version is selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The buildspec names it, in these words.
    Asked(String),
    /// This runtime, in this version, depends on it.
    RequiredBy(String, String),
}

impl Choice {
    /// The same with every text changed.
    #[must_use]
    pub fn map(self, mut text: impl FnMut(String) -> String) -> Self {
        let mut both = |(name, version): (String, String)| (text(name), text(version));
        match self {
            Self::Selected {
                runtime,
                version,
                reason,
            } => {
                let (runtime, version) = both((runtime, version));
                let reason = match reason {
                    Reason::Asked(asked) => Reason::Asked(text(asked)),
                    Reason::RequiredBy(name, version) => {
                        Reason::RequiredBy(text(name), text(version))
                    }
                };
                Self::Selected {
                    runtime,
                    version,
                    reason,
                }
            }
            Self::NotOverridden {
                dependent,
                dependency,
            } => Self::NotOverridden {
                dependent: both(dependent),
                dependency: both(dependency),
            },
        }
    }

    /// The lines of CodeBuild's log.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Selected {
                runtime,
                version,
                reason: Reason::Asked(asked),
            } => {
                let resolved =
                    format!("Resolved '{runtime}' runtime alias '{asked}' to '{version}'.");
                let selecting = format!(
                    "Selecting '{runtime}' runtime version '{version}' based on manual selections..."
                );
                let alias = (asked != version).then_some(resolved);
                alias.into_iter().chain([selecting]).collect()
            }
            Self::Selected {
                runtime,
                version,
                reason: Reason::RequiredBy(name, _),
            } => vec![format!(
                "Selecting '{runtime}' runtime version '{version}' based on dependencies of '{name}'..."
            )],
            Self::NotOverridden {
                dependent: (name, version),
                dependency: (other, kept),
            } => vec![format!(
                "Runtime '{name}' version '{version}' has a dependency on runtime '{other}', but '{other}' version '{kept}' has already been manually selected. Not attempting to override."
            )],
        }
    }
}

/// A command of the image that selects a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// For which runtime.
    pub runtime: String,
    /// The command.
    pub command: String,
}

/// Why a table offers nothing that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No runtime of that name.
    #[error(
        "Unknown runtime named '{runtime}'. This build image has the following runtimes: {known}"
    )]
    UnknownRuntime {
        /// Which.
        runtime: String,
        /// Those that are there, by name.
        known: String,
    },
    /// No version of that name.
    #[error(
        "Unknown runtime version named '{version}' of {runtime}. This build image has the following versions: {known}"
    )]
    UnknownVersion {
        /// Of which runtime.
        runtime: String,
        /// Which.
        version: String,
        /// Those that are there, the oldest first.
        known: String,
    },
    /// Two runtimes do not go together.
    #[error(
        "Runtime '{runtime}' version '{version}' requires '{other}' version {wanted}, and version '{selected}' is selected"
    )]
    Conflict {
        /// Which runtime.
        runtime: String,
        /// Its version.
        version: String,
        /// What it depends on.
        other: String,
        /// In which versions.
        wanted: String,
        /// Which version is selected instead.
        selected: String,
    },
}

impl Table {
    /// Reads a table, or says why it is none.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        serde_yaml::from_slice(text).map_err(|error| error.to_string())
    }

    /// Selects the versions that are asked for, as runtime and version in the order of the buildspec, and what they depend
    /// on (RUN-2, RUN-3). Gives what the log tells, also of choices before a problem, and the commands of the image in
    /// order, what is depended on first.
    pub fn select(
        &self,
        asked: &[(String, String)],
    ) -> (Vec<Choice>, Result<Vec<Install>, Problem>) {
        let mut making = Making {
            table: self,
            asked: Vec::new(),
            choices: Vec::new(),
        };
        let made = making.make(asked);
        (making.choices, made)
    }
}

/// A selection while it is made.
struct Making<'t> {
    table: &'t Table,
    /// What the buildspec names.
    asked: Vec<Picked<'t>>,
    choices: Vec<Choice>,
}

/// A version that is selected.
#[derive(Clone)]
struct Picked<'t> {
    runtime: String,
    version: String,
    offer: &'t Offer,
    /// Whether it stands for a version that is not listed.
    unlisted: bool,
}

impl<'t> Making<'t> {
    fn make(&mut self, asked: &[(String, String)]) -> Result<Vec<Install>, Problem> {
        for (runtime, version) in asked {
            let picked = self.pick(runtime, version)?;
            self.choices.push(Choice::Selected {
                runtime: runtime.clone(),
                version: picked.version.clone(),
                reason: Reason::Asked(version.clone()),
            });
            self.asked.push(picked);
        }
        let mut all: Vec<Picked<'t>> = Vec::new();
        for picked in self.asked.clone() {
            self.require(&picked, &mut all)?;
            all.push(picked);
        }
        Ok(all.iter().flat_map(Picked::commands).collect())
    }

    /// Selects what a version depends on, one level deep: tables have no more.
    fn require(&mut self, by: &Picked<'t>, all: &mut Vec<Picked<'t>>) -> Result<(), Problem> {
        for (other, versions) in by.offer.requires.iter().flat_map(|requires| &requires.0) {
            let named = self.asked.iter().find(|picked| picked.runtime == *other);
            if let Some(named) = named {
                self.choices.push(Choice::NotOverridden {
                    dependent: (by.runtime.clone(), by.version.clone()),
                    dependency: (other.clone(), named.version.clone()),
                });
            }
            let present = named.or_else(|| all.iter().find(|picked| picked.runtime == *other));
            match (present, versions.first()) {
                (Some(present), Some(_)) if !versions.contains(&present.version) => {
                    return Err(Problem::Conflict {
                        runtime: by.runtime.clone(),
                        version: by.version.clone(),
                        other: other.clone(),
                        wanted: quoted(versions),
                        selected: present.version.clone(),
                    });
                }
                (None, Some(version)) => {
                    let picked = self.pick(other, version)?;
                    self.choices.push(Choice::Selected {
                        runtime: other.clone(),
                        version: picked.version.clone(),
                        reason: Reason::RequiredBy(by.runtime.clone(), by.version.clone()),
                    });
                    all.push(picked);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn pick(&self, runtime: &str, version: &str) -> Result<Picked<'t>, Problem> {
        let Some(offered) = self.table.runtimes.get(runtime) else {
            let mut known: Vec<&str> = self
                .table
                .runtimes
                .0
                .iter()
                .map(|(name, _)| &**name)
                .collect();
            known.sort_unstable();
            return Err(Problem::UnknownRuntime {
                runtime: runtime.to_owned(),
                known: known.join(", "),
            });
        };
        let picked = |version: &str, offer, unlisted| Picked {
            runtime: runtime.to_owned(),
            version: version.to_owned(),
            offer,
            unlisted,
        };
        let listed = offered
            .versions
            .0
            .iter()
            .filter(|(name, _)| name != DEFAULT);
        let newest = |fits: &dyn Fn(&str) -> bool| {
            let fitting = listed.clone().filter(|(name, _)| fits(name));
            fitting.max_by(|(one, _), (other, _)| compare(one, other))
        };
        let found = if let Some(offer) = offered.versions.get(version) {
            return Ok(picked(version, offer, false));
        } else if version == "latest" {
            newest(&|_| true)
        } else if let Some(line) = version.strip_suffix(".x") {
            newest(&|name| {
                name.strip_prefix(line)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        } else if let Some(offer) = offered.versions.get(DEFAULT) {
            return Ok(picked(version, offer, true));
        } else {
            None
        };
        let unknown = || {
            let mut known: Vec<&str> = listed.clone().map(|(name, _)| name.as_str()).collect();
            known.sort_by(|one, other| compare(one, other));
            Problem::UnknownVersion {
                runtime: runtime.to_owned(),
                version: version.to_owned(),
                known: known.join(", "),
            }
        };
        let (name, offer) = found.ok_or_else(unknown)?;
        Ok(picked(name, offer, false))
    }
}

impl Picked<'_> {
    /// Its commands. A version that is not listed is their `$VERSION`, which is gone afterwards.
    fn commands(&self) -> Vec<Install> {
        let own = self.offer.commands.iter().flatten().cloned();
        let version = self.version.replace('\'', "'\\''");
        let before = self.unlisted.then(|| format!("VERSION='{version}'"));
        let after = self.unlisted.then(|| "unset VERSION".to_owned());
        before
            .into_iter()
            .chain(own)
            .chain(after)
            .map(|command| Install {
                runtime: self.runtime.clone(),
                command,
            })
            .collect()
    }
}

fn quoted(versions: &[String]) -> String {
    let quoted: Vec<String> = versions
        .iter()
        .map(|version| format!("'{version}'"))
        .collect();
    quoted.join(" or ")
}

/// Compares versions by their numbers: 3.9 is before 3.10, and corretto8 before corretto11.
fn compare(one: &str, other: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect()
    };
    numbers(one)
        .cmp(&numbers(other))
        .then_with(|| one.cmp(other))
}

/// A version with its variables, as `$NAME` or `${NAME}`, replaced. What is not set is nothing.
#[must_use]
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let braced = rest
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let (name, after) = match braced {
            Some(found) => found,
            None => rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len())),
        };
        if name.is_empty() || !name.chars().all(is_part) {
            expanded.push('$');
            continue;
        }
        expanded.push_str(&lookup(name).unwrap_or_default());
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

// ── what a machine has ───────────────────────────────────────────────────────────────────────────────────────────────

/// The programs that a runtime is known by, and what makes them say their version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Names on PATH; the first that is there counts.
    pub programs: &'static [&'static str],
    /// Its arguments.
    pub arguments: &'static [&'static str],
}

/// The tool of a runtime, if this program knows one.
#[must_use]
pub fn tool(runtime: &str) -> Option<Tool> {
    let (programs, arguments): (&[&str], &[&str]) = match runtime {
        "docker" => (&["docker"], &["--version"]),
        "dotnet" => (&["dotnet"], &["--version"]),
        "golang" => (&["go"], &["version"]),
        "java" => (&["java"], &["-version"]),
        "nodejs" => (&["node", "nodejs"], &["--version"]),
        "php" => (&["php"], &["--version"]),
        "python" => (&["python", "python3"], &["--version"]),
        "ruby" => (&["ruby"], &["--version"]),
        "rust" => (&["rustc"], &["--version"]),
        _ => return None,
    };
    Some(Tool {
        programs,
        arguments,
    })
}

/// What a machine has of a runtime that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnMachine {
    /// Which runtime.
    pub runtime: String,
    /// The version that is asked for, variables replaced.
    pub asked: String,
    /// What there is.
    pub found: Found,
}

/// What there is of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This program knows no tool of that runtime.
    Unknown,
    /// It is not on PATH.
    Missing(&'static str),
    /// It is there and does not say its version.
    Silent(&'static str),
    /// It is there in this version.
    Version(&'static str, String),
}

impl OnMachine {
    /// What is wrong with it, in a sentence; `None` if it is as asked for (RUN-6).
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let Self { runtime, asked, .. } = self;
        Some(match &self.found {
            Found::Version(_, version) if satisfies(asked, version) => return None,
            Found::Version(program, version) => {
                format!("`{runtime}` {asked} is asked for, and `{program}` on PATH is {version}")
            }
            Found::Missing(program) => {
                format!("`{runtime}` {asked} is asked for, and there is no `{program}` on PATH")
            }
            Found::Silent(program) => format!(
                "`{runtime}` {asked} is asked for, and `{program}` on PATH does not say its version"
            ),
            Found::Unknown => {
                format!(
                    "`{runtime}` {asked} is asked for, and nobody knows how to look for it on a host"
                )
            }
        })
    }
}

/// The version in what a tool says of itself.
#[must_use]
pub fn version_in(runtime: &str, said: &str) -> Option<String> {
    if runtime == "java" {
        // `openjdk version "17.0.9" 2023-10-17`, and before 9 `java version "1.8.0_392"`.
        let version = said.split_once("version \"")?.1;
        let version = version.strip_prefix("1.").unwrap_or(version);
        return Some(leading_version(version)).filter(|version| !version.is_empty());
    }
    let starts = said.match_indices(|c: char| c.is_ascii_digit());
    starts
        .map(|(at, _)| leading_version(&said[at..]))
        .find(|version| version.contains('.'))
}

/// Numbers with dots between them that a text begins with.
fn leading_version(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    text[..end.unwrap_or(text.len())]
        .trim_end_matches('.')
        .to_owned()
}

/// Whether a version is one that was asked for: as precise as that was, `x` standing for any number.
fn satisfies(asked: &str, found: &str) -> bool {
    if asked == "latest" {
        return true;
    }
    // `corretto17`
    let asked = asked.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let mut found = found.split('.');
    asked
        .split('.')
        .all(|part| found.next().is_some_and(|number| number == part) || part == "x")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
version: 0.1
runtimes:
  python:
    versions:
      3.9: { commands: ["use python 3.9"] }
      3.10: { commands: ["use python 3.10"] }
  java:
    versions:
      corretto8: { commands: ["use java 8"] }
      corretto11: { commands: ["use java 11"] }
  android:
    versions:
      28: { requires: { java: [corretto8] }, commands: ["use android 28"] }
      29: { requires: { java: [corretto8, corretto11] } }
  nodejs:
    versions:
      20: { commands: [use node 20] }
      default: { commands: [use node $VERSION] }
"#;

    /// Runtimes with versions.
    type Asked<'t> = &'t [(&'t str, &'t str)];

    fn select(asked: Asked<'_>) -> (Vec<Choice>, Result<Vec<Install>, Problem>) {
        let asked: Vec<(String, String)> = asked
            .iter()
            .map(|(runtime, version)| ((*runtime).to_owned(), (*version).to_owned()))
            .collect();
        Table::parse(TABLE.as_bytes()).unwrap().select(&asked)
    }

    fn told(choices: &[Choice]) -> Vec<String> {
        choices.iter().flat_map(Choice::lines).collect()
    }

    #[test]
    fn versions_are_selected_as_they_are_asked_for() {
        let table: &[(Asked<'_>, &[&str])] = &[
            (&[("python", "3.10")], &["use python 3.10"]),
            (&[("python", "3.x")], &["use python 3.10"]),
            (&[("python", "latest")], &["use python 3.10"]),
            (&[("java", "corretto8.x")], &["use java 8"]),
            (&[("java", "latest")], &["use java 11"]),
            (&[("nodejs", "latest")], &["use node 20"]),
            (&[("nodejs", "20.x")], &["use node 20"]),
            (
                &[("nodejs", "18.1'")],
                &["VERSION='18.1'\\'''", "use node $VERSION", "unset VERSION"],
            ),
            (
                &[("python", "3.9"), ("java", "corretto11")],
                &["use python 3.9", "use java 11"],
            ),
            // What is depended on comes first.
            (&[("android", "28")], &["use java 8", "use android 28"]),
            (
                &[("android", "28"), ("java", "corretto8")],
                &["use android 28", "use java 8"],
            ),
            (
                &[("android", "29"), ("java", "corretto11")],
                &["use java 11"],
            ),
        ];
        for (asked, expected) in table {
            let commands = select(asked).1.unwrap();
            let commands: Vec<&str> = commands.iter().map(|install| &*install.command).collect();
            assert_eq!(commands, *expected, "{asked:?}");
        }
    }

    #[test]
    fn what_is_not_offered_is_told_in_codebuilds_words() {
        let table: &[(Asked<'_>, &str)] = &[
            (
                &[("cobol", "1")],
                "Unknown runtime named 'cobol'. This build image has the following runtimes: android, java, nodejs, python",
            ),
            (
                &[("python", "3.1")],
                "Unknown runtime version named '3.1' of python. This build image has the following versions: 3.9, 3.10",
            ),
            (
                &[("nodejs", "18.x")],
                "Unknown runtime version named '18.x' of nodejs. This build image has the following versions: 20",
            ),
            (
                &[("python", "")],
                "Unknown runtime version named '' of python. This build image has the following versions: 3.9, 3.10",
            ),
            (
                &[("android", "28"), ("java", "corretto11")],
                "Runtime 'android' version '28' requires 'java' version 'corretto8', and version 'corretto11' is selected",
            ),
        ];
        for (asked, expected) in table {
            assert_eq!(select(asked).1.unwrap_err().to_string(), *expected);
        }
    }

    #[test]
    fn the_log_tells_what_is_selected_and_why() {
        let (choices, _) = select(&[("python", "latest"), ("android", "28")]);
        assert_eq!(
            told(&choices),
            [
                "Resolved 'python' runtime alias 'latest' to '3.10'.",
                "Selecting 'python' runtime version '3.10' based on manual selections...",
                "Selecting 'android' runtime version '28' based on manual selections...",
                "Selecting 'java' runtime version 'corretto8' based on dependencies of 'android'...",
            ]
        );
        let (choices, _) = select(&[("android", "28"), ("java", "corretto11")]);
        assert_eq!(
            told(&choices)[2],
            "Runtime 'android' version '28' has a dependency on runtime 'java', but 'java' version 'corretto11' has already been manually selected. Not attempting to override."
        );
    }

    #[test]
    fn a_text_that_is_no_table_is_refused() {
        for text in [
            "",
            "[]",
            "runtimes: 1",
            "runtimes: {a: {}}",
            "runtimes: {a: {versions: {1: {commands: x}}}}",
        ] {
            assert!(Table::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Table::parse(b"runtimes: {a: {versions: {1: {commands: null}}}}").is_ok());
    }

    #[test]
    fn variables_are_replaced() {
        let lookup = |name: &str| (name == "V").then(|| "20".to_owned());
        let table = [
            ("$V", "20"),
            ("${V}.x", "20.x"),
            ("a$V-", "a20-"),
            ("$Nothing", ""),
            ("${V", "${V"),
            ("$", "$"),
            ("$(x)", "$(x)"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }

    #[test]
    fn tools_say_their_versions() {
        let table = [
            ("python", "Python 3.11.2\n", "3.11.2"),
            ("golang", "go version go1.22.1 linux/amd64", "1.22.1"),
            ("nodejs", "v20.1.0", "20.1.0"),
            (
                "php",
                "PHP 8.2.7 (cli) (built: Jun  9 2023 19:37:27) (NTS)",
                "8.2.7",
            ),
            (
                "java",
                "Picked up JAVA_TOOL_OPTIONS: -Da=1.2\nopenjdk version \"17\" 2021-09-14",
                "17",
            ),
            ("java", "java version \"1.8.0_392\"", "8.0"),
            (
                "docker",
                "Docker version 20.10.24+dfsg1, build 297e128",
                "20.10.24",
            ),
        ];
        for (runtime, said, version) in table {
            assert_eq!(version_in(runtime, said).as_deref(), Some(version));
        }
        assert_eq!(version_in("python", "no idea"), None);
        assert_eq!(version_in("java", "1.8"), None);
    }

    #[test]
    fn a_version_is_as_precise_as_it_is_asked_for() {
        for (asked, found, fits) in [
            ("3.12", "3.12.4", true),
            ("3.1", "3.12.4", false),
            ("3.12.4", "3.12", false),
            ("20", "20.1.0", true),
            ("20.x", "20.1.0", true),
            ("20.x", "18.1.0", false),
            ("corretto17", "17.0.9", true),
            ("corretto8", "17.0.9", false),
            ("latest", "0.1", true),
        ] {
            assert_eq!(satisfies(asked, found), fits, "{asked} {found}");
        }
    }
}
