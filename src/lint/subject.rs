//! What a rule looks at.

use std::cell::OnceCell;
use std::ops::Range;

use super::literals::Literals;
use super::shell::Script;
use super::{Profile, Settings, Shellcheck, SourceTree};
use crate::buildspec::ast;
use crate::buildspec::model::Shell;
use crate::buildspec::text_map::TextMap;
use crate::phase::CommandPhase;
use crate::plan::CommandList;
use crate::source::{SourceText, Span};

/// A buildspec with everything that can be known of it without running it.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The text.
    pub source: &'a SourceText,
    /// What was written.
    pub buildspec: &'a ast::Buildspec,
    /// Who is asked.
    pub profile: Profile,
    /// The tree the file lies in.
    pub tree: Option<&'a SourceTree>,
    /// ShellCheck, if it is to be asked.
    pub shellcheck: Option<Shellcheck<'a>>,
    /// Every command in the order in which a build without failures runs them.
    pub items: Vec<Item<'a>>,
    looks_posix: OnceCell<bool>,
    literals: OnceCell<Literals>,
}

/// One command of the buildspec: an item of `commands` or `finally`.
#[derive(Debug)]
pub struct Item<'a> {
    /// Its phase.
    pub phase: CommandPhase,
    /// Its list.
    pub list: CommandList,
    /// What was written.
    pub command: &'a ast::Command,
    /// Its shell text.
    script: OnceCell<Script>,
    /// Where its characters stand.
    map: OnceCell<TextMap>,
    source: &'a SourceText,
}

impl<'a> Subject<'a> {
    pub(super) fn new(
        source: &'a SourceText,
        buildspec: &'a ast::Buildspec,
        settings: &Settings<'a>,
    ) -> Self {
        let mut items = Vec::new();
        let phases = buildspec.phases.iter().flat_map(|phases| &phases.phases);
        for name in CommandPhase::ALL {
            for phase in phases.clone().filter(|phase| phase.name.value == name) {
                let lists = [
                    (CommandList::Commands, &phase.commands),
                    (CommandList::Finally, &phase.finally),
                ];
                for (list, commands) in lists {
                    let commands = commands.iter().flat_map(|commands| &commands.items);
                    items.extend(commands.map(|command| Item {
                        phase: name,
                        list,
                        command,
                        script: OnceCell::new(),
                        map: OnceCell::new(),
                        source,
                    }));
                }
            }
        }
        Self {
            source,
            buildspec,
            profile: settings.profile,
            tree: settings.tree,
            shellcheck: settings.shellcheck,
            items,
            looks_posix: OnceCell::new(),
            literals: OnceCell::new(),
        }
    }

    /// `env.shell` as written, if it was.
    #[must_use]
    pub fn shell(&self) -> Option<&str> {
        let shell = self.buildspec.env.shell.as_ref()?;
        Some(&shell.value)
    }

    /// Whether commands are read by a shell of the Bourne family: not by PowerShell or cmd.exe. A Windows project sets
    /// its shell outside of the buildspec, so the commands themselves are asked too.
    #[must_use]
    pub fn is_posix_shell(&self) -> bool {
        match self.shell().and_then(Shell::parse) {
            Some(Shell::PowerShell | Shell::Cmd) => false,
            Some(Shell::Posix(_)) => true,
            None => *self
                .looks_posix
                .get_or_init(|| !self.items.iter().any(|item| is_powershell(item.text()))),
        }
    }

    /// Whether commands are read by Bash.
    #[must_use]
    pub fn is_bash(&self) -> bool {
        self.shell()
            .is_some_and(|shell| shell.rsplit('/').next() == Some("bash"))
    }

    /// Commands with their shell text, unless another kind of shell reads them.
    pub fn scripts(&self) -> impl Iterator<Item = (&Item<'a>, &Script)> {
        let items = self.is_posix_shell().then_some(&self.items);
        items
            .into_iter()
            .flatten()
            .map(|item| (item, item.script()))
    }

    /// What variables hold, as far as it is written out, followed at the first call.
    pub fn literals(&self) -> &Literals {
        self.literals.get_or_init(|| Literals::of(self))
    }

    /// Variables whose values are secrets: fetched, not written.
    pub fn secrets(&self) -> impl Iterator<Item = &'a ast::Variable> {
        let env = &self.buildspec.env;
        env.parameter_store.iter().chain(&env.secrets_manager)
    }
}

impl Item<'_> {
    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.command.text.value
    }

    /// Its shell text, read at the first call.
    pub fn script(&self) -> &Script {
        self.script.get_or_init(|| Script::parse(self.text()))
    }

    /// Where this range of the text was written.
    pub fn span(&self, range: &Range<usize>) -> Span {
        let map = self
            .map
            .get_or_init(|| TextMap::new(self.source, self.command.text.span, self.text()));
        map.span(range.clone())
    }

    /// Where the whole command stands.
    #[must_use]
    pub fn whole(&self) -> Span {
        self.command.text.span
    }
}

/// Whether a command can only be PowerShell's: `$Env:NAME`, or a verb and a noun such as `Copy-Item`.
fn is_powershell(text: &str) -> bool {
    const VERBS: &[&str] = &[
        "Add", "Copy", "Expand", "Get", "Import", "Install", "Invoke", "Move", "New", "Out",
        "Remove", "Rename", "Set", "Start", "Test", "Write",
    ];
    let is_cmdlet = |word: &str| {
        let Some((verb, noun)) = word.split_once('-') else {
            return false;
        };
        VERBS.contains(&verb) && noun.starts_with(|first: char| first.is_ascii_uppercase())
    };
    // A web address may have a small letter behind it.
    let is_variable = |mark: &str| {
        text.match_indices(mark).any(|(at, _)| {
            let name = &text[at + mark.len()..];
            name.starts_with(|first: char| first.is_ascii_uppercase())
        })
    };
    is_variable("$Env:")
        || is_variable("$env:")
        || text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .any(is_cmdlet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powershell_is_told_by_what_only_it_has() {
        for text in ["Copy-Item a b", "echo $Env:PATH", "x\n  New-Item y"] {
            assert!(is_powershell(text), "{text}");
        }
        for text in ["echo New-Item", "apt-get update", "Get-it", "echo $ENV"] {
            assert!(!is_powershell(text), "{text}");
        }
    }
}
