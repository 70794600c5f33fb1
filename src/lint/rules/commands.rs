//! What commands do.

use super::Rule;
use crate::diagnostic::{Code, Diagnostic};
use crate::lint::Subject;

pub(super) const RULES: &[Rule] = &[pipe_hides_failure, get_login];

/// A pipe has the status of its last program, so that what fails in front of it is not seen.
fn pipe_hides_failure(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    /// Programs at the end of a pipe that only pass on, show or store what they read.
    const ONLY_PASS_ON: &[&str] = &["tee", "cat", "sed", "awk", "tail", "head", "sort", "ts"];
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
            let Some(first) =
                first.filter(|first| !matches!(first.program(), Some("echo" | "printf" | "cat")))
            else {
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
