//! Commands that no shell can read, or not the shell that will read them.

use std::ops::Range;

use super::Rule;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::lint::balance::{self, Problem};
use crate::lint::shell::Script;
use crate::lint::{Item, Subject};

pub(super) const RULES: &[Rule] = &[unfinished, bashisms];

/// Text that opens what it does not close, in one item or over several (LINT-25).
fn unfinished(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if !subject.is_posix_shell() {
        return;
    }
    let mut at = 0;
    while let Some(item) = subject.items.get(at) {
        let Some(problem) = problem_of(item) else {
            at += 1;
            continue;
        };
        match run_from(subject, at, &problem) {
            Some(end) => {
                diagnostics.push(split(item, &subject.items[end], &problem));
                at = end + 1;
            }
            None => {
                diagnostics.push(shell_syntax(item, &problem));
                at += 1;
            }
        }
    }
}

/// What does not fit in an item, if both readers see it.
fn problem_of(item: &Item<'_>) -> Option<Problem> {
    let here_document = item.text().contains("<<");
    if !here_document && item.script().errors.is_empty() {
        return None;
    }
    balance::check(item.text()).filter(|problem| {
        // To a shell the end of the text ends a here-document.
        let here_document = matches!(
            problem,
            Problem::Open {
                here_document: true,
                ..
            }
        );
        here_document || !item.script().errors.is_empty()
    })
}

/// The item that closes what the one at `start` opens, if they make sense together.
fn run_from(subject: &Subject<'_>, start: usize, problem: &Problem) -> Option<usize> {
    let Problem::Open { .. } = problem else {
        return None;
    };
    let first = &subject.items[start];
    let mut text = first.text().to_owned();
    // Nobody spreads a statement over more, and a file may have very many items.
    let rest = subject.items[start + 1..].iter().enumerate().take(50);
    for (offset, next) in rest {
        if (next.phase, next.list) != (first.phase, first.list) {
            return None;
        }
        text.push('\n');
        text.push_str(next.text());
        match balance::check(&text) {
            None => return Some(start + 1 + offset),
            Some(Problem::Stray { .. }) => return None,
            Some(Problem::Open { .. }) => {}
        }
    }
    None
}

fn split(first: &Item<'_>, last: &Item<'_>, problem: &Problem) -> Diagnostic {
    let Problem::Open { range, closer, .. } = problem else {
        return shell_syntax(first, problem);
    };
    let opener = &first.text()[range.clone()];
    let message = format!("each item is a script of its own, and this one ends within `{opener}`");
    Diagnostic::new(Code::SplitCompound, first.span(range), message)
        .with_secondary(
            last.whole(),
            format!("the `{closer}` for it is in this item"),
        )
        .with_help("make one item of them, as a block that begins with `- |`")
}

fn shell_syntax(item: &Item<'_>, problem: &Problem) -> Diagnostic {
    match problem {
        Problem::Open {
            range,
            closer,
            here_document,
        } => {
            let opener = &item.text()[range.clone()];
            let message = if *here_document {
                format!(
                    "no line here is `{closer}`, so `{opener}` takes in what follows the command"
                )
            } else {
                format!("there is no `{closer}` for this `{opener}`")
            };
            Diagnostic::new(Code::ShellSyntax, item.span(range), message)
        }
        Problem::Stray { range, opener } => {
            let written = &item.text()[range.clone()];
            let message = format!("there is no `{opener}` for this `{written}`");
            Diagnostic::new(Code::ShellSyntax, item.span(range), message)
        }
    }
}

/// What `/bin/sh` is likely to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sh {
    Dash,
    Bash,
    Unknown,
}

/// What only Bash understands, where `/bin/sh` reads the commands (LINT-26): in the Ubuntu images that is dash, in those
/// of Amazon Linux it is Bash. The programs that the commands use tell which one it will be.
fn bashisms(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if subject.is_bash() {
        return;
    }
    let severity = match sh(subject) {
        Sh::Bash => return,
        Sh::Dash => Severity::Warning,
        Sh::Unknown => Severity::Info,
    };
    let mut found: Vec<(&Item<'_>, Bashism)> = Vec::new();
    for (item, script) in subject.scripts() {
        for bashism in bashisms_of(script) {
            if !found.iter().any(|(_, known)| known.what == bashism.what) {
                found.push((item, bashism));
            }
        }
    }
    let mut found = found.into_iter();
    let Some((item, first)) = found.next() else {
        return;
    };
    let message = match severity {
        Severity::Info => format!(
            "{} is not understood by `/bin/sh` in the Ubuntu images",
            first.what
        ),
        _ => format!(
            "{} is not understood by `/bin/sh`, which is dash here",
            first.what
        ),
    };
    let mut diagnostic = Diagnostic::new(Code::BashismInSh, item.span(&first.range), message)
        .with_severity(severity)
        .with_help("`env.shell: bash` has the commands read by Bash");
    for (item, other) in found.take(5) {
        let text = format!("nor is {}", other.what);
        diagnostic = diagnostic.with_secondary(item.span(&other.range), text);
    }
    diagnostics.push(diagnostic);
}

fn sh(subject: &Subject<'_>) -> Sh {
    let uses = |names: &[&str]| {
        let mut commands = subject.scripts().flat_map(|(_, script)| &script.commands);
        commands.any(|command| {
            let program = match command.program() {
                Some("sudo") => command.operands().next().map(|word| word.text.as_str()),
                program => program,
            };
            program.is_some_and(|program| names.contains(&program))
        })
    };
    if uses(&["yum", "dnf", "amazon-linux-extras", "microdnf"]) {
        Sh::Bash
    } else if uses(&["apt-get", "apt", "apt-key", "add-apt-repository", "dpkg"]) {
        Sh::Dash
    } else {
        Sh::Unknown
    }
}

/// A place that only Bash understands.
#[derive(Debug, PartialEq, Eq)]
struct Bashism {
    range: Range<usize>,
    /// In backticks, or in words.
    what: &'static str,
}

fn bashisms_of(script: &Script) -> Vec<Bashism> {
    const NODES: &[&str] = &[
        "test_command",
        "array",
        "function_definition",
        "expansion",
        "herestring_redirect",
        "process_substitution",
        "c_style_for_statement",
        "compound_statement",
        "file_redirect",
        "brace_expression",
        "pipeline",
        "binary_expression",
    ];
    let mut found: Vec<Bashism> = Vec::new();
    for (range, kind) in script.nodes(NODES) {
        if let Some(what) = node(kind, &script.text()[range.clone()]) {
            found.push(Bashism { range, what });
        }
    }
    for command in &script.commands {
        if let Some(what) = program(command.program(), &command.words) {
            let range = command.range.clone();
            found.push(Bashism { range, what });
        }
    }
    found.sort_by_key(|one| one.range.start);
    found
}

fn node(kind: &str, text: &str) -> Option<&'static str> {
    match kind {
        "test_command" if text.starts_with("[[") => Some("`[[`"),
        "test_command" | "compound_statement" if text.starts_with("((") => Some("`((`"),
        "c_style_for_statement" => Some("`for ((`"),
        "test_command" if equals_twice(text) => Some("`==` in `[`"),
        "array" => Some("a list of values"),
        "function_definition" if text.starts_with("function") => Some("`function`"),
        "expansion" => expansion(text),
        "herestring_redirect" => Some("`<<<`"),
        "process_substitution" => Some("`<(`"),
        "file_redirect" if text.starts_with("&>") => Some("`&>`"),
        "brace_expression" => Some("`{1..9}`"),
        _ => None,
    }
}

/// `[ a == b ]`, which dash takes for a mistake.
fn equals_twice(text: &str) -> bool {
    text.starts_with("[ ") && text.split_whitespace().any(|word| word == "==")
}

/// `${x:0:7}`, `${x//a/b}` and what else POSIX has no form for.
fn expansion(text: &str) -> Option<&'static str> {
    let inside = text.strip_prefix("${")?.strip_suffix('}')?;
    if inside.starts_with('!') {
        return Some("`${!name}`");
    }
    let rest = inside.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if rest.len() == inside.len() {
        return None;
    }
    let mut after = rest.chars();
    match (after.next()?, after.next()) {
        (':', Some(next)) if next.is_ascii_digit() || next == ' ' || next == '$' => {
            Some("`${name:0:7}`")
        }
        ('/', _) => Some("`${name/a/b}`"),
        ('^' | ',', _) => Some("`${name^^}`"),
        ('@', _) => Some("`${name@Q}`"),
        ('[', _) => Some("a list of values"),
        _ => None,
    }
}

fn program(name: Option<&str>, words: &[crate::lint::shell::Word]) -> Option<&'static str> {
    let second = || words.get(1).map(|word| word.text.as_str());
    match name? {
        "source" => Some("`source`"),
        "pushd" | "popd" => Some("`pushd`"),
        "shopt" => Some("`shopt`"),
        "declare" | "typeset" => Some("`declare`"),
        "mapfile" | "readarray" => Some("`mapfile`"),
        "let" => Some("`let`"),
        "disown" => Some("`disown`"),
        "set" if words.iter().any(|word| word.text == "pipefail") => Some("`pipefail`"),
        "export" if second() == Some("-f") => Some("`export -f`"),
        "test" if words.iter().any(|word| word.text == "==") => Some("`==` in `test`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_bash_understands_is_found() {
        for (text, expected) in [
            ("[[ -f x ]] && y", "`[[`"),
            ("if [ a == b ]; then c; fi", "`==` in `[`"),
            ("a=(1 2)", "a list of values"),
            ("echo ${a[0]}", "a list of values"),
            ("source x.sh", "`source`"),
            ("function f { x; }", "`function`"),
            ("function f() { x; }", "`function`"),
            ("echo ${x:0:7}", "`${name:0:7}`"),
            ("echo \"${x//a/b}\"", "`${name/a/b}`"),
            ("echo ${x^^}", "`${name^^}`"),
            ("echo ${!x}", "`${!name}`"),
            ("cat <<< x", "`<<<`"),
            ("diff <(a) b", "`<(`"),
            ("x &> f", "`&>`"),
            ("(( x++ ))", "`((`"),
            ("for ((i=0; i<3; i++)); do x; done", "`for ((`"),
            ("for i in {1..3}; do x; done", "`{1..9}`"),
            ("pushd x", "`pushd`"),
            ("set -eo pipefail", "`pipefail`"),
        ] {
            let found = bashisms_of(&Script::parse(text));
            assert_eq!(found.first().map(|one| one.what), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_every_shell_understands_is_left_alone() {
        for text in [
            "[ \"$a\" = b ] && . ./x",
            "f() { local a; }; echo ${x:-1} ${x%/*} ${x##*/} ${#x} ${x:+y}",
            "echo $((1 + 2)) \"[[ ==\" '<(x)' \"${x:-a/b}\" a==b",
            "x > f 2>&1; export A=1; cat <<E\n[[ a == b ]]\nE\n",
            "bash -c '[[ a ]]'; for i in 1 2; do x; done",
            "python -c 'a = [1]; print(a[0])'; docker ps --format '{{.ID}}' {}",
        ] {
            assert_eq!(bashisms_of(&Script::parse(text)), [], "{text}");
        }
    }
}
