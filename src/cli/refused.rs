//! Why a command is not begun: what is wrong with its arguments, or with what is configured for them. It is said with all that
//! helps a person, or in a line where lines are read by programs.

use super::args::When;
use super::complain::complain;
use super::config::Unusable;
use super::usage;
use crate::build::ExitCode;

/// What is wrong. Nothing of it has been said.
#[derive(Debug)]
pub(super) enum Refused {
    /// What the parser says, and lines about it that only this program knows.
    Arguments(clap::Error, String),
    /// A line about a variable.
    Variable(String),
    /// What is wrong with a file, and whether it is said in colours.
    File(Unusable, When),
}

impl From<clap::Error> for Refused {
    fn from(error: clap::Error) -> Self {
        Self::Arguments(error, String::new())
    }
}

impl Refused {
    /// Says it where it belongs: help and versions are refusals of the parser, too, and a success.
    pub(super) fn say(self) -> ExitCode {
        match self {
            Self::Arguments(error, notes) => {
                let code = usage(&error);
                complain(&notes);
                code
            }
            Self::Variable(why) => {
                complain(&why);
                ExitCode::Usage
            }
            Self::File(why, colour) => why.tell(colour),
        }
    }

    /// It in a line.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Arguments(error, notes) => {
                let whole = error.to_string();
                // What follows is how a person would write it.
                let first = whole.split("\n\n").next().unwrap_or_default();
                joined(first.lines().chain(notes.lines()))
            }
            Self::Variable(why) => joined(why.lines()),
            Self::File(why, _) => why.line(),
        }
    }
}

fn joined<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    let lines: Vec<&str> = lines.map(str::trim).collect();
    let all = lines.join("; ");
    all.strip_prefix("error: ").unwrap_or(&all).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Args;
    use clap::Parser as _;

    // AGENT-93
    #[test]
    fn a_refusal_has_a_line() {
        let error = Args::try_parse_from(["runner", "agent", "--no-such-flag"]);
        let notes = "note: something else\n".to_owned();
        let refused = Refused::Arguments(error.expect_err("there is no such flag"), notes);
        assert_eq!(
            refused.line(),
            "unexpected argument '--no-such-flag' found; note: something else"
        );
        let refused = Refused::Variable("error: RUNNER_JOBS is no number\n".to_owned());
        assert_eq!(refused.line(), "RUNNER_JOBS is no number");
    }
}
