//! What is said of the file itself and its top level.

use std::path::Path;

use super::Rule;
use crate::buildspec::ast::{Artifact, BatchEnv, BatchStrategy, Commands, Phase};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::lint::Subject;
use crate::source::{Span, Spanned};

pub(super) const RULES: &[Rule] = &[
    file_name,
    flags,
    aliases,
    size,
    version,
    commands_without_text,
    numbers,
    empty_phases,
];

/// The name that CodeBuild looks for.
const DEFAULT: &str = "buildspec.yml";

/// More than this is much for a buildspec: six times the largest that we know of in public use.
const MUCH: usize = 1024 * 1024;

/// A file at the top of the tree that is named almost as CodeBuild wants it is found by nobody.
fn file_name(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(tree) = subject.tree else { return };
    let path = Path::new(subject.source.name());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folded = name.to_lowercase();
    let almost = name != DEFAULT && (folded == DEFAULT || folded == "buildspec.yaml");
    if almost && tree.has_at_top(path) && !tree.exists(DEFAULT) {
        let message = format!("CodeBuild looks for `{DEFAULT}`, and this is `{name}`");
        let diagnostic = Diagnostic::new(Code::FileName, Span::at(0), message)
            .with_help("rename it, or name it in the project");
        diagnostics.push(diagnostic);
    }
}

/// Flags in other words than the documented ones.
fn flags(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let (plain, batch) = all_flags(subject);
    for (flags, words) in [(plain, ["no", "yes"]), (batch, ["false", "true"])] {
        for flag in flags {
            let written = subject.source.slice(flag.span);
            let text = written.trim_matches(['"', '\'']);
            let expected = words[usize::from(flag.value)];
            if is_documented(text) {
                continue;
            }
            let message = format!("`{text}` is not a documented way to write a flag");
            let mut diagnostic = Diagnostic::new(Code::Yaml11Boolean, flag.span, message)
                .with_help(format!("write `{expected}`"));
            if text == written {
                let edit = (flag.span, expected.to_owned());
                diagnostic = diagnostic.with_fix(format!("write `{expected}`"), [edit]);
            }
            diagnostics.push(diagnostic);
        }
    }
}

/// `yes`, `no`, `true`, `false`, in one of the cases that YAML 1.1 gives them.
fn is_documented(text: &str) -> bool {
    let lower = text.to_lowercase();
    // `on` and `off` are flags to YAML 1.1 and to nobody else.
    let word = ["yes", "no", "true", "false"].contains(&lower.as_str());
    let title = text.get(1..) == lower.get(1..);
    word && (title || text == text.to_uppercase())
}

/// Every flag of the file: those that are `yes` or `no`, and those of a batch, which are `true` or `false`.
fn all_flags<'a>(subject: &Subject<'a>) -> (Vec<&'a Spanned<bool>>, Vec<&'a Spanned<bool>>) {
    let file = subject.buildspec;
    let proxy = file
        .proxy
        .iter()
        .flat_map(|proxy| [&proxy.upload_artifacts, &proxy.logs]);
    let artifact = |artifact: &'a Artifact| [&artifact.discard_paths, &artifact.enable_symlinks];
    let artifacts = file.artifacts.iter().flat_map(|artifacts| {
        let secondary = artifacts.secondary.iter().map(|(_, artifact)| artifact);
        std::iter::once(&artifacts.primary).chain(secondary)
    });
    let plain = std::iter::once(&file.env.git_credential_helper)
        .chain(proxy)
        .chain(file.reports.iter().map(|report| &report.discard_paths))
        .chain(artifacts.flat_map(artifact));
    let batch = file.batch.iter().flat_map(|batch| {
        let strategies = batch.strategies.iter();
        let below = strategies.flat_map(|strategy| batch_flags(&strategy.value));
        std::iter::once(&batch.fast_fail).chain(below)
    });
    (plain.flatten().collect(), batch.flatten().collect())
}

fn batch_flags(strategy: &BatchStrategy) -> Vec<&Option<Spanned<bool>>> {
    fn of_env(env: &BatchEnv) -> [&Option<Spanned<bool>>; 1] {
        [&env.privileged_mode]
    }
    match strategy {
        BatchStrategy::List(tasks) | BatchStrategy::Graph(tasks) => {
            let flags = tasks.iter().flat_map(|task| {
                let own = [&task.debug_session, &task.ignore_failure];
                own.into_iter().chain(of_env(&task.env))
            });
            flags.collect()
        }
        BatchStrategy::Matrix(matrix) => {
            let own = std::iter::once(&matrix.ignore_failure);
            own.chain(of_env(&matrix.static_env)).collect()
        }
        BatchStrategy::Fanout(fanout) => vec![&fanout.ignore_failure],
    }
}

/// Aliases, once a file.
fn aliases(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(&first) = subject.buildspec.aliases.first() else {
        return;
    };
    let before = subject.source.text()[..first.start()].trim_end();
    let what = if before.ends_with("<<:") {
        "a merge key"
    } else {
        "an alias"
    };
    let message = format!("{what} is resolved here, and CodeBuild's documentation knows none");
    diagnostics.push(Diagnostic::new(Code::AnchorsAndMerge, first, message));
}

/// Very large files.
fn size(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let size = subject.source.text().len();
    if size > MUCH {
        let message = format!("this buildspec has {} KiB", size / 1024);
        let diagnostic = Diagnostic::new(Code::FileTooLarge, Span::at(0), message)
            .with_help("move commands into scripts, or builds of a batch into files of their own");
        diagnostics.push(diagnostic);
    }
}

/// Version 0.1, where there is something that it makes run otherwise.
fn version(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if !subject.buildspec.has_phases() {
        return;
    }
    let old = subject
        .buildspec
        .version
        .iter()
        .filter(|version| version.value == "0.1");
    diagnostics.extend(old.map(|version| {
        Diagnostic::new(Code::Version01, version.span, "version 0.1 runs each command in a shell of its own")
            .with_help("with `version: 0.2` a command finds the directory and the variables that the one before it left")
    }));
}

fn phases<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Phase> {
    let phases = subject.buildspec.phases.iter();
    phases.flat_map(|phases| &phases.phases)
}

fn lists<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Commands> {
    phases(subject)
        .flat_map(|phase| [&phase.commands, &phase.finally])
        .flatten()
}

/// Items of a list that hold nothing.
fn commands_without_text(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for nothing in lists(subject).flat_map(|list| &list.nothing) {
        let text = subject.source.text();
        let before = text[..nothing.start()].trim_end_matches(' ');
        let dash = before.strip_suffix('-').map_or(nothing.start(), str::len);
        let span = Span::new(dash, nothing.end().max(dash));
        let comment = text[span.end()..].trim_start_matches(' ');
        let mut diagnostic = Diagnostic::new(
            Code::CommandNull,
            span,
            "this item is no command, and does nothing",
        );
        if comment.starts_with('#') && nothing.is_empty() {
            let blanks = Span::new(dash, text.len() - comment.len());
            diagnostic = diagnostic
                .labelled("what follows is a comment")
                .with_help("give the comment a line without a dash")
                .with_fix(
                    "remove the dash before the comment",
                    [(blanks, String::new())],
                );
        } else {
            diagnostic = diagnostic.with_help("remove it");
        }
        diagnostics.push(diagnostic);
    }
}

/// Commands that are numbers.
fn numbers(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for item in &subject.items {
        let text = item.text();
        let begins = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        if begins && text.parse::<f64>().is_ok() && subject.source.slice(item.whole()) == text {
            let message = format!("a command that is the number {text}");
            let diagnostic = Diagnostic::new(Code::CommandNumber, item.whole(), message)
                .labelled("no program is called this");
            diagnostics.push(diagnostic);
        }
    }
}

/// Phases without anything to do, beside others that have something.
fn empty_phases(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    // That there is no command at all is a finding of its own.
    if subject.items.is_empty()
        || subject
            .buildspec
            .phases
            .as_ref()
            .is_some_and(|phases| phases.has_errors)
    {
        return;
    }
    for phase in phases(subject) {
        let lists = [&phase.commands, &phase.finally];
        let holds = |list: &&Commands| !list.items.is_empty() || !list.nothing.is_empty();
        if phase.runtime_versions.is_some() || lists.into_iter().flatten().any(|list| holds(&list))
        {
            continue;
        }
        let name = phase.name.value.key();
        let message = format!("phase `{name}` has no command");
        let mut diagnostic = Diagnostic::new(Code::PhaseEmpty, phase.name.span, message)
            .with_help("give it commands, or remove it");
        // A list that is there and empty is often kept on purpose, to be filled.
        if phase.commands.is_some() {
            diagnostic = diagnostic.with_severity(Severity::Info);
        }
        diagnostics.push(diagnostic);
    }
}
