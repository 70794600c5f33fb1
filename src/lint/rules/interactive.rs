//! Programs that ask, where nobody answers: a command has no terminal and no input.

use super::Rule;
use crate::diagnostic::{Code, Diagnostic};
use crate::lint::Subject;
use crate::lint::shell::{SimpleCommand, Word};

pub(super) const RULES: &[Rule] = &[interactive];

/// A question that nobody answers (LINT-28).
fn interactive(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for (item, script) in subject.scripts() {
        let reads_file = item.text().contains('<');
        for command in &script.commands {
            let place = &command.place;
            // What a pipe feeds may be the answer.
            if place.pipe.is_some_and(|(_, index, _)| index > 0) {
                continue;
            }
            let asks = Call::of(command).and_then(|call| call.asks());
            let loops = place.checked || place.conditional || place.subshell || place.in_function;
            let reads = command.program() == Some("read") && !reads_file && !loops;
            let Some((what, help)) = asks.or(reads.then(|| ("read".to_owned(), None))) else {
                continue;
            };
            let message = format!("`{what}` may ask, and nobody answers in a build");
            let mut diagnostic =
                Diagnostic::new(Code::InteractiveCommand, item.span(&command.range), message);
            diagnostic.help = help;
            diagnostics.push(diagnostic);
        }
    }
}

/// What is asked by, and how it is not.
type Question = (String, Option<String>);

/// A program with its words, without what stands in front of it.
struct Call<'c> {
    program: &'c str,
    words: Vec<&'c str>,
    operands: Vec<&'c str>,
}

impl<'c> Call<'c> {
    fn of(command: &'c SimpleCommand) -> Option<Self> {
        let in_front = |word: &&Word| {
            matches!(word.text.as_str(), "sudo" | "env" | "-E" | "-n")
                || (word.text.contains('=') && !word.text.starts_with('-'))
        };
        let all: Vec<&Word> = command.words.iter().skip_while(in_front).collect();
        let (first, rest) = all.split_first()?;
        // An unquoted variable may hold an option.
        let hides = rest
            .iter()
            .any(|word| word.written.starts_with('$') && !word.literal);
        if !first.literal || hides {
            return None;
        }
        let words: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
        let operands = words.iter().copied();
        Some(Self {
            program: first.text.rsplit('/').next()?,
            operands: operands.filter(|word| !word.starts_with('-')).collect(),
            words,
        })
    }

    /// Whether one of these options is there, or one of one letter among others.
    fn has(&self, letter: char, names: &[&str]) -> bool {
        self.words.iter().any(|word| {
            let bundled = word.strip_prefix('-').is_some_and(|rest| {
                rest.contains(letter) && rest.chars().all(|c| c.is_ascii_alphabetic())
            });
            bundled || names.contains(&word.split('=').next().unwrap_or_default())
        })
    }

    fn asks(&self) -> Option<Question> {
        let first = self.operands.first().copied().unwrap_or_default();
        let adds = |option: &str| Some(format!("add `{option}`"));
        let named = |name: &str| format!("{} {name}", self.program);
        match (self.program, first) {
            ("apt-get" | "apt" | "yum" | "dnf", _) => self.packages(first),
            ("pip" | "pip3", "uninstall") | ("npm" | "yarn", "init")
                if !self.has('y', &["--yes"]) && (first != "init" || self.operands.len() == 1) =>
            {
                Some((named(first), adds("-y")))
            }
            ("terraform" | "tofu", "apply" | "destroy") => {
                // A plan that was made before is applied without a question.
                let planned = first == "apply" && self.operands.len() > 1;
                let answered = self.has('\0', &["-auto-approve", "--auto-approve", "-help"]);
                (!planned && !answered).then(|| (named(first), adds("-auto-approve")))
            }
            ("sam", "deploy") if self.has('g', &["--guided"]) => Some((
                "sam deploy --guided".to_owned(),
                Some("keep the answers in `samconfig.toml`".to_owned()),
            )),
            ("aws", "configure") if self.operands.len() == 1 => Some((
                named(first),
                Some("single values are set with `aws configure set`".to_owned()),
            )),
            ("npm", "login" | "adduser") | ("eb", "init") if self.words.len() == 1 => {
                Some((named(first), None))
            }
            _ => None,
        }
    }

    /// Package managers ask before they change something.
    fn packages(&self, first: &str) -> Option<Question> {
        const CHANGES: &[&str] = &[
            "install",
            "remove",
            "purge",
            "upgrade",
            "dist-upgrade",
            "full-upgrade",
            "autoremove",
            "groupinstall",
            "localinstall",
        ];
        const ANSWERS: &[&str] = &[
            "--yes",
            "--assume-yes",
            "--assumeyes",
            "-qq",
            "--dry-run",
            "--download-only",
            "--assumeno",
            "--version",
            "--force-yes",
        ];
        let updates = first == "update" && matches!(self.program, "yum" | "dnf");
        let changes = CHANGES.contains(&first) || updates;
        let nothing_new = self.words.contains(&"--reinstall");
        let asks = changes && !nothing_new && !self.has('y', ANSWERS);
        asks.then(|| {
            (
                format!("{} {first}", self.program),
                Some("add `-y`".to_owned()),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::shell::Script;

    fn asked(text: &str) -> Option<String> {
        let script = Script::parse(text);
        Some(Call::of(&script.commands[0])?.asks()?.0)
    }

    #[test]
    fn questions_are_known() {
        for (text, expected) in [
            ("apt-get install jq", "apt-get install"),
            ("sudo apt install -q jq", "apt install"),
            ("yum update", "yum update"),
            ("npm init", "npm init"),
            ("terraform apply", "terraform apply"),
            ("terraform destroy -input=false", "terraform destroy"),
            ("aws configure", "aws configure"),
            ("pip uninstall x", "pip uninstall"),
            (
                "DEBIAN_FRONTEND=noninteractive apt-get upgrade",
                "apt-get upgrade",
            ),
        ] {
            assert_eq!(asked(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_answered_is_left_alone() {
        for text in [
            "apt-get install -qy jq",
            "apt-get -y install jq",
            "apt-get install $OPTIONS jq",
            "apt-get update",
            "apt-get install --assume-yes jq",
            "apt-get -qq install jq",
            "npm init -y",
            "npm init vite@latest app",
            "terraform apply -auto-approve",
            "terraform apply plan.out",
            "aws configure set region x",
            "echo apt-get install jq",
        ] {
            assert_eq!(asked(text), None, "{text}");
        }
    }
}
