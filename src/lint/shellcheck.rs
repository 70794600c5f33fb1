//! ShellCheck over all commands of a file, in one process.
//!
//! The commands go to it as one script in the order in which a build runs them, so that a variable of an earlier command
//! is known in a later one. One that may end its own shell is the body of an `if` whose condition nobody can know, since
//! the next command runs all the same. The places are those of the script; they are mapped back to the lines and columns
//! of the file, whatever style a command is written in.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::balance;
use super::{Item, Subject};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::env;
use crate::process;
use crate::source::Span;

/// Time for one file. ShellCheck needs well under a second for most; the limit is for what nobody foresaw.
const LIMIT: Duration = Duration::from_secs(10);

/// Bytes of findings for one file.
const MOST: u64 = 16 << 20;

/// How many commands of a file may be beyond ShellCheck before it is given up on the file.
const ATTEMPTS: usize = 5;

/// What ShellCheck says about scripts and does not hold for commands of a buildspec.
const OFF: &[u32] = &[
    1090, // A file that is sourced has a computed name.
    1091, // A file that is sourced is not looked at.
    1128, // A `#!` line within: a command is no file, and the line does nothing.
    2010, // `ls | grep`: names in a source tree are known to those who wrote them.
    2034, // A variable that nothing reads: artifacts and the cache do, and all are exported.
    2103, // `cd` back and forth: that is how commands share a directory.
    2129, // Several commands that write one file: each is an item of its own.
    2148, // No `#!` line.
    2153, // A name like another one: most variables come from the project.
    2154, // A variable without a value: those of the project cannot be seen here.
    2317, // A command that is never reached: traps and functions deceive the version that many have.
];

/// Its codes for places where it cannot go on reading, which hides everything else in the script.
const UNREADABLE: &[u32] = &[1070, 1072, 1073, 1080, 1088, 1089];

/// How ShellCheck is asked.
#[derive(Clone, Copy, Debug)]
pub struct Shellcheck<'a> {
    /// The program.
    pub program: &'a Path,
    /// Whether its suggestions are wanted too, and not only what it takes for wrong.
    pub all: bool,
}

#[derive(Deserialize)]
struct Report {
    comments: Vec<Comment>,
}

/// One finding, with lines and columns from 1; the end column is that behind the last character.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Comment {
    line: usize,
    end_line: usize,
    column: usize,
    end_column: usize,
    level: String,
    code: u32,
    message: String,
}

/// Asks ShellCheck, if there is one (LINT-29).
pub(super) fn check(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(shellcheck) = subject.shellcheck.filter(|_| subject.is_posix_shell()) else {
        return;
    };
    let mut items: Vec<&Item<'_>> = subject
        .items
        .iter()
        .filter(|item| balance::check(item.text()).is_none())
        .collect();
    for _ in 0..ATTEMPTS {
        if items.is_empty() {
            return;
        }
        let script = Script::new(subject, &items);
        let Some(comments) = run(shellcheck, subject, &script) else {
            // Never a check less without a word.
            let message = "ShellCheck gave no answer, so the commands are checked without it";
            let diagnostic = Diagnostic::new(Code::Shellcheck, Span::at(0), message)
                .with_severity(Severity::Warning);
            diagnostics.push(diagnostic);
            return;
        };
        let unreadable = comments
            .iter()
            .filter(|comment| UNREADABLE.contains(&comment.code))
            .find_map(|comment| script.item_at(comment.line));
        match unreadable {
            Some(index) => {
                items.remove(index);
            }
            None => {
                let found = comments.iter();
                diagnostics.extend(found.filter_map(|comment| script.finding(comment)));
                return;
            }
        }
    }
}

fn run(
    shellcheck: Shellcheck<'_>,
    subject: &Subject<'_>,
    script: &Script<'_>,
) -> Option<Vec<Comment>> {
    let dialect = if subject.is_bash() { "bash" } else { "sh" };
    let least = if shellcheck.all { "style" } else { "warning" };
    let arguments = ["-s", dialect, "-S", least, "-f", "json1", "-"];
    let output = process::filter(
        shellcheck.program,
        &arguments,
        script.text.as_bytes(),
        LIMIT,
        MOST,
    )?;
    let report: Report = serde_json::from_slice(&output).ok()?;
    Some(report.comments)
}

/// All commands as one script.
struct Script<'s> {
    text: String,
    /// Each command with its first line in the script, from 1.
    items: Vec<(usize, &'s Item<'s>)>,
}

impl<'s> Script<'s> {
    fn new(subject: &Subject<'_>, items: &[&'s Item<'s>]) -> Self {
        let mut text = String::new();
        let env = &subject.buildspec.env;
        let names: Vec<&str> = [&env.variables, &env.parameter_store, &env.secrets_manager]
            .into_iter()
            .flatten()
            .map(|variable| variable.name.value.as_str())
            .filter(|name| env::check_name(name).is_ok())
            .collect();
        if !names.is_empty() {
            // They have values, and nobody knows which.
            text.push_str(&format!("read -r {}\n", names.join(" ")));
        }
        let mut placed = Vec::with_capacity(items.len());
        for item in items {
            let ends = ends_its_shell(item);
            text.push_str(if ends {
                "if next_command; then :\n"
            } else {
                ""
            });
            placed.push((text.matches('\n').count() + 1, *item));
            text.push_str(item.text());
            // The empty line is for a command that ends in a backslash.
            text.push_str(if ends { "\n\nfi\n" } else { "\n\n" });
        }
        Self {
            text,
            items: placed,
        }
    }

    /// Which command this line belongs to.
    fn item_at(&self, line: usize) -> Option<usize> {
        self.items
            .partition_point(|(first, _)| *first <= line)
            .checked_sub(1)
    }

    fn finding(&self, comment: &Comment) -> Option<Diagnostic> {
        let (first, item) = *self.items.get(self.item_at(comment.line)?)?;
        let text = item.text();
        let start = offset(text, comment.line.checked_sub(first)?, comment.column)?;
        let end = offset(
            text,
            comment.end_line.checked_sub(first)?,
            comment.end_column,
        );
        let range = start..end.unwrap_or(text.len()).max(start);
        if is_off(comment.code, item, &range) {
            return None;
        }
        let message = format!("SC{}: {}", comment.code, worded(&comment.message));
        let severity = match comment.level.as_str() {
            "error" | "warning" => Severity::Warning,
            _ => Severity::Info,
        };
        let diagnostic = Diagnostic::new(Code::Shellcheck, item.span(&range), message);
        Some(diagnostic.with_severity(severity))
    }
}

fn ends_its_shell(item: &Item<'_>) -> bool {
    let mut commands = item.script().commands.iter();
    commands.any(|command| matches!(command.program(), Some("exit" | "exec" | "return")))
}

/// Where a line and column of a text are, both as ShellCheck counts them: the line from 0 here, columns in characters.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let start = match line.checked_sub(1) {
        None => 0,
        Some(before) => text.match_indices('\n').nth(before)?.0 + 1,
    };
    let content = text[start..].split('\n').next().unwrap_or_default();
    let mut places = content.char_indices().map(|(at, _)| at);
    let within = places
        .nth(column.saturating_sub(1))
        .unwrap_or(content.len());
    Some(start + within)
}

fn is_off(code: u32, item: &Item<'_>, range: &Range<usize>) -> bool {
    let text = item.text();
    // What only Bash understands has a rule of its own, which knows more of `/bin/sh` in CodeBuild.
    let of_another_shell = (3000..4000).contains(&code) || code == 2039;
    // A `cd` that fails at the end of a command fails the command.
    let last_cd = code == 2164 && text[range.end..].trim().is_empty();
    // That its output is split into words is what it was made for; it has a rule of its own.
    let get_login = [2046, 2091].contains(&code) && text[range.clone()].contains("get-login");
    OFF.contains(&code) || of_another_shell || last_cd || get_login || {
        match program_at(item, range) {
            // Words that are shown may be split as they like.
            Some("echo") => [1010, 2046, 2086].contains(&code),
            // Only old versions of dash split here.
            Some("export" | "readonly" | "local") => [2046, 2086].contains(&code),
            // Backquotes belong to the language of its queries.
            Some("aws") => code == 2016,
            _ => false,
        }
    }
}

/// The program whose words are at this place.
fn program_at<'i>(item: &'i Item<'_>, range: &Range<usize>) -> Option<&'i str> {
    let commands = item.script().commands.iter();
    let around = commands
        .filter(|command| command.range.start <= range.start && range.end <= command.range.end);
    around.min_by_key(|command| command.range.len())?.program()
}

/// Its message in the form of ours: a phrase.
fn worded(message: &str) -> String {
    let message = message.strip_suffix('.').unwrap_or(message);
    let mut characters = message.chars();
    let first = characters.next().unwrap_or_default();
    if characters.next().is_some_and(char::is_lowercase) {
        format!("{}{}", first.to_lowercase(), &message[first.len_utf8()..])
    } else {
        message.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters() {
        let text = "echo é $x\n  y\n";
        assert_eq!(offset(text, 0, 8), Some(8));
        assert_eq!(&text[offset(text, 1, 3).unwrap()..], "y\n");
        assert_eq!(offset(text, 1, 99), Some(14));
        assert_eq!(offset(text, 9, 1), None);
    }

    #[test]
    fn messages_are_phrases() {
        assert_eq!(
            worded("Double quote to prevent it."),
            "double quote to prevent it"
        );
        assert_eq!(
            worded("PATH is the search path."),
            "PATH is the search path"
        );
        assert_eq!(worded("$ is literal"), "$ is literal");
    }
}
