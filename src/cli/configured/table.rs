//! Which commands can be configured, what cannot be, and what a file that merely lies in a source tree may say (CONF-3, CONF-7,
//! CONF-8).

use clap::{Arg, ArgAction, Command};

use super::command_at;

/// A table of `runner.toml`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// The command whose flags are its keys.
    command: &'static [&'static str],
    /// Commands that obey it too, as far as they have these flags.
    others: &'static [&'static [&'static str]],
    /// What names of its variables begin with.
    pub(super) prefix: &'static str,
    /// Where its file is.
    pub(super) place: Place,
}

/// Where the file for a command is looked for, if none is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Upwards from what the command works on.
    SourceTree,
    /// Where the administrator of the machine puts it; never in a source tree.
    Machine,
}

/// The file of the machine.
pub(super) const MACHINE_FILE: &str = "/etc/runner/runner.toml";

/// All of them.
pub(super) const ALL: &[Table] = &[
    Table {
        name: "run",
        command: &["run"],
        // What is planned is what would run.
        others: &[&[], &["plan"]],
        prefix: "RUNNER_",
        place: Place::SourceTree,
    },
    Table {
        name: "agent",
        command: &["agent"],
        others: &[
            &["agent", "drain"],
            &["agent", "status"],
            &["agent", "register"],
        ],
        prefix: "RUNNER_",
        place: Place::Machine,
    },
    Table {
        name: "validate",
        command: &["validate"],
        others: &[],
        // `profile` and `strict` are other things here.
        prefix: "RUNNER_VALIDATE_",
        place: Place::SourceTree,
    },
];

/// What no place but the command line can say, with the reason.
const FIXED: &[(&str, &str)] = &[
    ("config", "it says which file is read"),
    ("no-config", "it says that no file is read"),
    ("directory", "the file is looked for from there"),
    ("dry-run", "it is for one call"),
    ("job", "it is what an agent hands one build"),
    (
        // Or a build that nobody watches would wait at a breakpoint until its time is over (TOOL-54).
        "debug-session",
        "it is for a person who is there, for one call",
    ),
    (
        "shell-on-failure",
        "it is for a person at a terminal, for one call",
    ),
    ("once", "it is for one call"),
    ("json", "it is for whoever reads the output of one call"),
    ("fix", "it changes files, for one call"),
    ("diff", "it is for one call"),
    ("list-rules", "it asks for something else than the command"),
    ("explain", "it asks for something else than the command"),
    ("rule", "`[validate.rules]` is the table for it"),
];

/// Keys that `[validate]` has for itself: the linter reads them.
const OF_LINTER: &[&str] = &["fail-on", "profile", "exclude", "rules", "path"];

/// What a file may say that nobody named and that lies where sources lie: what makes a build another one, and gives it nothing
/// of the machine or of its user that it would not have without. Everything else, and every flag that is not thought of here,
/// only a file that somebody named.
const FOR_ANYONE: &[&str] = &[
    "add-host",
    "artifact-name",
    "artifact-namespace",
    "color",
    "cpus",
    "env",
    "env-type",
    "fail-under",
    "file",
    "format",
    "grace",
    "image",
    "image-map",
    "keep",
    "kind",
    "log-format",
    "memory",
    "no-ecr-login",
    "no-entrypoint",
    "no-ignores",
    "no-preflight",
    "no-tools",
    "no-tree",
    "packaging",
    "pids-limit",
    "platform",
    "project",
    "pull",
    "quiet",
    "region",
    "retry-scope",
    "scan-artifacts",
    "shell",
    "shellcheck",
    "shm-size",
    "source-version",
    "strict",
    "timeout",
    "ulimit",
    "verbose",
];

impl Table {
    /// The table that a command obeys.
    pub(super) fn of(path: &[&str]) -> Option<&'static Self> {
        ALL.iter()
            .find(|table| table.command == path || table.others.contains(&path))
    }

    /// The table with this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|table| table.name == name)
    }

    /// The arguments that call its command.
    pub(super) const fn path(&self) -> &'static [&'static str] {
        self.command
    }

    /// The flags that are its keys, in the order of `--help`.
    pub(super) fn flags<'c>(&self, root: &'c Command) -> Vec<&'c Arg> {
        let command = command_at(root, self.command);
        let all = command.into_iter().flat_map(Command::get_arguments);
        all.filter(|arg| key(arg).is_some()).collect()
    }

    /// Whether the linter reads this key of this table.
    pub(super) fn is_of_linter(&self, key: &str) -> bool {
        self.name == "validate" && OF_LINTER.contains(&key)
    }

    /// The variable of a key.
    pub(super) fn variable(&self, key: &str) -> String {
        format!(
            "{}{}",
            self.prefix,
            key.to_ascii_uppercase().replace('-', "_")
        )
    }
}

/// What a flag is called in files, if it can be there.
pub(super) fn key(arg: &Arg) -> Option<&str> {
    let asks = matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
    );
    if arg.is_last_set() {
        // What stands behind `--` has no other name.
        return Some(arg.get_id().as_str());
    }
    let long = arg.get_long()?;
    (!asks && why_fixed(long).is_none()).then_some(long)
}

/// Why only the command line can say this.
pub(super) fn why_fixed(long: &str) -> Option<&'static str> {
    FIXED
        .iter()
        .find(|(name, _)| *name == long)
        .map(|(_, why)| *why)
}

/// Why a file that nobody named may not say this of a key.
pub(super) fn why_not_for_anyone(key: &str, values: &[String]) -> Option<&'static str> {
    if !FOR_ANYONE.contains(&key) {
        return Some("it decides what a build may have of this machine or of you");
    }
    let passes_on = key == "env" && values.iter().any(|value| !value.contains('='));
    passes_on.then_some("it would give the build a variable of yours")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::args::Args;
    use crate::lint::config::{OTHER_KEYS, OTHER_TABLES};

    /// Every flag of every table, with the table's name.
    fn flags(root: &Command) -> Vec<(&'static Table, &Arg)> {
        let tables = ALL
            .iter()
            .filter(|table| command_at(root, table.command).is_some());
        tables
            .flat_map(|table| table.flags(root).into_iter().map(move |arg| (table, arg)))
            .collect()
    }

    fn built() -> Command {
        let mut root = Args::command();
        root.build();
        root
    }

    #[test]
    fn every_flag_is_a_key_or_has_a_reason_not_to_be() {
        let root = built();
        for table in ALL {
            for arg in command_at(&root, table.command)
                .into_iter()
                .flat_map(Command::get_arguments)
            {
                let long = arg.get_long().unwrap_or_default();
                let asks = ["help", "version"].contains(&arg.get_id().as_str());
                let has = key(arg).is_some() || why_fixed(long).is_some() || asks;
                assert!(
                    has || arg.is_positional(),
                    "{} of {}",
                    arg.get_id(),
                    table.name
                );
            }
        }
    }

    #[test]
    fn no_reason_and_no_permission_is_for_a_flag_that_is_not_there() {
        let root = built();
        let paths = ALL
            .iter()
            .flat_map(|table| [&[table.command], table.others].concat());
        let longs: BTreeSet<&str> = paths
            .filter_map(|path| command_at(&root, path))
            .flat_map(Command::get_arguments)
            .filter_map(Arg::get_long)
            .collect();
        let named = FIXED.iter().map(|(name, _)| name).chain(FOR_ANYONE);
        for name in named {
            assert!(longs.contains(name), "{name}");
        }
    }

    #[test]
    fn no_variable_is_one_that_other_programs_set() {
        // GitHub's runner sets these for every step.
        let taken = [
            "ARCH",
            "DEBUG",
            "ENVIRONMENT",
            "NAME",
            "OS",
            "TEMP",
            "TOOL_CACHE",
            "TRACKING_ID",
            "WORKSPACE",
        ];
        let root = built();
        for (table, arg) in flags(&root) {
            let variable = table.variable(key(arg).unwrap());
            let other = variable.strip_prefix("RUNNER_").unwrap();
            assert!(!taken.contains(&other), "{variable}");
        }
    }

    /// What takes a value or none would take the word behind it, if words could stand there.
    #[test]
    fn where_a_value_may_be_missing_nothing_stands_alone() {
        let root = built();
        for (table, arg) in flags(&root) {
            let may_miss = arg
                .get_num_args()
                .is_some_and(|number| number.min_values() == 0 && number.takes_values());
            let command = command_at(&root, table.command).unwrap();
            let words = command.get_positionals().filter(|arg| !arg.is_last_set());
            assert!(!may_miss || words.count() == 0, "{}", arg.get_id());
        }
    }

    #[test]
    fn the_linter_passes_over_what_is_read_here() {
        let root = built();
        let others: Vec<&str> = ALL
            .iter()
            .map(|table| table.name)
            .filter(|name| *name != "validate")
            .collect();
        assert_eq!(OTHER_TABLES, others);
        let table = Table::named("validate").unwrap();
        let mut keys: Vec<&str> = table.flags(&root).into_iter().filter_map(key).collect();
        keys.retain(|key| !table.is_of_linter(key));
        assert_eq!(OTHER_KEYS, keys);
    }
}
