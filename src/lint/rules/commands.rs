//! What commands do.

use super::Rule;
use super::release::deploys;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::lint::shell::{Script, SimpleCommand};
use crate::lint::{Item, Subject};
use crate::source::Span;

pub(super) const RULES: &[Rule] = &[
    pipe_hides_failure,
    get_login,
    or_true,
    background,
    exit_in_command,
    cd_leaks,
];

/// A pipe has the status of its last program, so that what fails in front of it is not seen.
fn pipe_hides_failure(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    /// Programs at the end of a pipe that only pass on, show or store what they read.
    const ONLY_PASS_ON: &[&str] = &["tee", "cat", "sed", "awk", "tail", "sort", "ts"];
    for (item, script) in subject.scripts() {
        if item.text().contains("pipefail") {
            continue;
        }
        for command in &script.commands {
            let Some((pipe, index, count)) = command.place.pipe else {
                continue;
            };
            let ends_it = index + 1 == count
                && command
                    .program()
                    .is_some_and(|program| ONLY_PASS_ON.contains(&program));
            if !ends_it || command.place.substituted || command.place.checked {
                continue;
            }
            let first = script.commands.iter().find(|other| {
                other.place.pipe == Some((pipe, 0, count)) && !other.place.substituted
            });
            let Some(first) = first.filter(|first| !only_shows(first)) else {
                continue;
            };
            let message = format!(
                "if `{}` fails, this command succeeds all the same",
                first.words[0].text
            );
            let diagnostic =
                Diagnostic::new(Code::PipeHidesFailure, item.span(&first.range), message)
                    .with_secondary(
                        item.span(&command.range),
                        "the status of the pipe is this one's",
                    )
                    .with_help("with `env.shell: bash`, begin the command with `set -o pipefail`");
            diagnostics.push(diagnostic);
        }
    }
}

/// Programs that only say something, so that nothing is lost with their failure.
fn only_shows(command: &SimpleCommand) -> bool {
    const SAY: &[&str] = &[
        "awk", "cat", "cut", "date", "df", "du", "echo", "env", "find", "grep", "head", "ls",
        "printenv", "printf", "ps", "pwd", "sed", "seq", "sort", "tail", "uname", "which", "yes",
    ];
    const SHOWS: &[&str] = &["version", "--version", "-v", "-V", "log", "status", "ps"];
    let program = command.program().unwrap_or_default();
    let first = command.words.get(1).map_or("", |word| word.text.as_str());
    SAY.contains(&program) || SHOWS.contains(&first)
}

/// `aws ecr get-login` is gone from the AWS command line since its version 2.
fn get_login(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for (item, script) in subject.scripts() {
        for command in script
            .commands
            .iter()
            .filter(|command| command.calls(&["aws", "ecr", "get-login"]))
        {
            let diagnostic = Diagnostic::new(
                Code::DeprecatedGetLogin,
                item.span(&command.range),
                "version 2 of the AWS command line has no `get-login`",
            )
            .with_help("write `aws ecr get-login-password | docker login --username AWS --password-stdin REGISTRY`");
            diagnostics.push(diagnostic);
        }
    }
}

/// `npm test || true` (LINT-27).
fn or_true(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for (item, script) in subject.scripts() {
        for command in &script.commands {
            if command.place.forgiven && !command.place.substituted && is_work(command) {
                let message = format!("nobody sees whether `{}` fails", name(command));
                let diagnostic =
                    Diagnostic::new(Code::OrTrue, item.span(&command.range), message).with_help(
                        "where the build may go on without it, `on-failure: CONTINUE` keeps the failure visible",
                    );
                diagnostics.push(diagnostic);
            }
        }
    }
}

/// Programs whose failure is what a build is for: tests, builds, publishing.
fn is_work(command: &SimpleCommand) -> bool {
    let words: Vec<&str> = command
        .words
        .iter()
        .skip(1)
        .map(|word| word.text.as_str())
        .collect();
    let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
    match command.program() {
        Some("npm" | "yarn" | "pnpm" | "bun") => {
            has(&["test", "t", "run", "build", "ci", "publish", "lint"])
        }
        Some(
            "mvn" | "mvnw" | "gradle" | "gradlew" | "pytest" | "tox" | "phpunit" | "rspec" | "jest",
        ) => true,
        Some("make" | "ninja" | "ctest") => !has(&["clean"]),
        Some("cargo") => has(&["build", "test", "clippy", "publish"]),
        Some("go") => has(&["build", "test", "vet"]),
        Some("dotnet") => has(&["build", "test", "publish", "pack"]),
        Some("docker") => has(&["build", "push", "buildx"]),
        Some("terraform" | "tofu") => has(&["apply", "plan", "validate"]),
        Some(_) => deploys(command).is_some(),
        None => false,
    }
}

/// The program and, where it has many trades, its first words.
fn name(command: &SimpleCommand) -> String {
    let words = command.words.iter().take(2);
    let plain = words.take_while(|word| word.literal && !word.text.starts_with('-'));
    let plain: Vec<&str> = plain.map(|word| word.text.as_str()).collect();
    if plain.is_empty() {
        command
            .words
            .first()
            .map_or_else(String::new, |word| word.text.clone())
    } else {
        plain.join(" ")
    }
}

/// Processes in the background belong to the shell of their item, which ends with it (LINT-27).
fn background(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let mut earlier: Option<(&Item<'_>, &SimpleCommand)> = None;
    for (item, script) in subject.scripts() {
        let mut own = None;
        for command in &script.commands {
            if command.place.background && !command.place.in_function {
                own = own.or(Some((item, command)));
            }
            let waits = matches!(command.program(), Some("wait" | "fg" | "jobs"));
            if waits
                && own.is_none()
                && let Some((before, started)) = earlier
            {
                let message = format!(
                    "`{}` does not know processes that another item started",
                    command.words[0].text
                );
                let diagnostic =
                    Diagnostic::new(Code::BackgroundProcess, item.span(&command.range), message)
                        .with_severity(Severity::Warning)
                        .with_secondary(
                            before.span(&started.range),
                            "it was started here, by another shell",
                        )
                        .with_help("put both in one item");
                diagnostics.push(diagnostic);
            }
        }
        let waits = script
            .commands
            .iter()
            .any(|command| command.program() == Some("wait"));
        if let Some((item, command)) = own
            && !waits
            && !detached(script, command)
        {
            let message = format!(
                "`{}` goes on behind the following commands, and nobody sees whether it fails",
                name(command)
            );
            diagnostics.push(Diagnostic::new(
                Code::BackgroundProcess,
                item.span(&command.range),
                message,
            ));
        }
        earlier = own.or(earlier);
    }
}

/// Whether someone thought of what becomes of the process: it is detached, or its number or output is kept.
fn detached(script: &Script, command: &SimpleCommand) -> bool {
    let kept = script.text().contains("$!");
    let program = matches!(
        command.program(),
        Some("nohup" | "setsid" | "dockerd" | "dockerd-entrypoint.sh")
    );
    let disowned = script
        .commands
        .iter()
        .any(|other| other.program() == Some("disown") || (other.program() == Some("nohup")));
    kept || program || disowned || command.place.to_file
}

/// `exit 0` ends one command, not the phase, and what the command changed is lost (LINT-27).
fn exit_in_command(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for (at, (item, script)) in subject.scripts().enumerate() {
        let Some(next) = subject.items.get(at + 1) else {
            continue;
        };
        let same_list = (next.phase, next.list) == (item.phase, item.list);
        for command in &script.commands {
            let status = command.words.get(1).map_or("0", |word| word.text.as_str());
            let ends = command.program() == Some("exit")
                && status == "0"
                && !command.place.subshell
                && !command.place.in_function;
            if ends && same_list && !only_forgives(item.text(), script, command) {
                let message = "this ends only this command: the next one runs all the same";
                let diagnostic =
                    Diagnostic::new(Code::ExitInCommand, item.span(&command.range), message)
                        .with_secondary(
                            next.whole(),
                            "the build goes on here, without what this command set",
                        );
                diagnostics.push(diagnostic);
                break;
            }
        }
    }
}

/// Whether this `exit` stands at the end of its item only to forgive a failure, as `|| true` does.
fn only_forgives(text: &str, script: &Script, exit: &SimpleCommand) -> bool {
    const ASK: &[&str] = &["test", "grep", "git", "command", "which", "diff", "cmp"];
    let Some(before) = text[..exit.range.start].trim_end().strip_suffix("||") else {
        return false;
    };
    let end = before.trim_end().len();
    let left = script.commands.iter().find(|other| other.range.end == end);
    let is_last = text[exit.range.end..].trim().is_empty();
    let asks = left.is_none_or(|left| left.program().is_none_or(|name| ASK.contains(&name)));
    is_last && !asks
}

/// The directory of one command is that of the next (LINT-27). Found where a path is gone into twice, the second time
/// from within itself.
fn cd_leaks(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let shared = subject
        .buildspec
        .version
        .as_ref()
        .is_none_or(|version| version.value != "0.1");
    if !shared {
        return;
    }
    // The directories gone into from a place that is not known further, innermost last.
    let mut inside: Vec<(String, Span)> = Vec::new();
    for (item, script) in subject.scripts() {
        for command in &script.commands {
            let place = &command.place;
            if !matches!(command.program(), Some("cd" | "pushd" | "popd"))
                || place.subshell
                || place.in_function
            {
                continue;
            }
            let to = command.words.get(1).filter(|word| word.literal);
            let to = to.map(|word| word.text.trim_start_matches("./").trim_end_matches('/'));
            let Some(to) = to.filter(|to| {
                command.program() == Some("cd")
                    && !to.is_empty()
                    && !to.starts_with(['/', '~', '-', '.'])
                    && !place.conditional
            }) else {
                inside.clear();
                continue;
            };
            let span = item.span(&command.range);
            let again = inside.last().filter(|(last, _)| last == to);
            let nested = subject
                .tree
                .is_some_and(|tree| tree.is_directory(&format!("{to}/{to}")));
            if let Some((_, before)) = again.filter(|_| !nested) {
                let message = format!(
                    "this looks for `{to}/{to}`: commands begin where the one before them ended"
                );
                let diagnostic = Diagnostic::new(Code::CdLeaks, span, message)
                    .with_secondary(*before, "since here the build is in it already")
                    .with_help(format!(
                        "remove it, or write `cd \"$CODEBUILD_SRC_DIR/{to}\"`"
                    ));
                diagnostics.push(diagnostic);
            }
            inside.push((to.to_owned(), span));
        }
    }
}
