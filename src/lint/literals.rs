//! What variables hold, as far as it is written out: `REPOSITORY=123456789012.dkr.ecr…` in one command tells what a later
//! one pushes to.
//!
//! Nothing is guessed: a variable that is given its value in a branch, by a command or by a loop stays as it is written.

use std::ops::Range;

use super::Subject;

/// A place in the commands of a buildspec: the number of the item, and an offset in its text.
pub type Place = (usize, usize);

/// The assignments of a buildspec, in the order in which they happen.
#[derive(Debug)]
pub struct Literals {
    known: Vec<Known>,
    /// Whether commands hand their variables on: not in version 0.1.
    shared: bool,
}

#[derive(Debug)]
struct Known {
    /// `None` for what holds from the beginning.
    place: Option<Place>,
    name: String,
    /// `None` if it cannot be told.
    value: Option<String>,
}

impl Literals {
    /// Follows the assignments of a buildspec.
    #[must_use]
    pub fn of(subject: &Subject<'_>) -> Self {
        let version = subject.buildspec.version.as_ref();
        let variables = &subject.buildspec.env.variables;
        let mut literals = Self {
            known: variables
                .iter()
                .map(|variable| Known {
                    place: None,
                    name: variable.name.value.clone(),
                    // Nothing is a place that the project fills.
                    value: Some(variable.value.value.clone()).filter(|value| !value.is_empty()),
                })
                .collect(),
            shared: version.is_none_or(|version| version.value != "0.1"),
        };
        for (index, (_, script)) in subject.scripts().enumerate() {
            if script.assigned.is_empty() {
                continue;
            }
            let elsewhere = ranges(
                script,
                &["subshell", "command_substitution", "process_substitution"],
            );
            let perhaps = ranges(
                script,
                &[
                    "if_statement",
                    "case_statement",
                    "while_statement",
                    "for_statement",
                    "c_style_for_statement",
                    "function_definition",
                ],
            );
            for assignment in &script.assigned {
                let within = |ranges: &[Range<usize>]| {
                    let start = assignment.range.start;
                    ranges.iter().any(|range| range.contains(&start))
                };
                if within(&elsewhere) {
                    continue;
                }
                let place = (index, assignment.range.start);
                let value = (!assignment.value.is_empty() && !within(&perhaps))
                    .then(|| literals.resolve(place, &assignment.value));
                literals.known.push(Known {
                    place: Some((index, assignment.range.end)),
                    name: assignment.name.clone(),
                    value,
                });
            }
        }
        literals
    }

    /// A text with variables replaced by what they hold at this place, where that is known.
    #[must_use]
    pub fn resolve(&self, at: Place, text: &str) -> String {
        let mut resolved = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('$') {
            resolved.push_str(&rest[..start]);
            rest = &rest[start..];
            let (name, length) = variable(rest);
            match self.value(at, name) {
                Some(value) => resolved.push_str(value),
                None => resolved.push_str(&rest[..length]),
            }
            rest = &rest[length..];
        }
        resolved + rest
    }

    fn value(&self, at: Place, name: &str) -> Option<&str> {
        let before = self.known.iter().rev().filter(|known| {
            known.name == name
                && known
                    .place
                    .is_none_or(|place| place <= at && (self.shared || place.0 == at.0))
        });
        before.map(|known| known.value.as_deref()).next().flatten()
    }
}

/// Whether everything in a resolved text is written out.
#[must_use]
pub fn is_literal(text: &str) -> bool {
    !text.contains(['$', '`'])
}

fn ranges(script: &super::shell::Script, kinds: &[&str]) -> Vec<Range<usize>> {
    let nodes = script.nodes(kinds).into_iter();
    nodes.map(|(range, _)| range).collect()
}

/// The name behind a `$`, and how long the whole is; an empty name for what is no plain variable.
fn variable(text: &str) -> (&str, usize) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (open, inner) = match text.strip_prefix("${") {
        Some(inner) => (true, inner),
        None => (false, &text[1..]),
    };
    let length = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
    let name = &inner[..length];
    match (open, inner[length..].starts_with('}')) {
        (true, true) => (name, length + 3),
        (true, false) => ("", 2),
        (false, _) => (name, length + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buildspec;
    use crate::lint::{Profile, Settings};
    use crate::source::SourceText;

    /// What the text is at the end of a buildspec with these commands.
    fn resolved(version: &str, commands: &[&str], text: &str) -> String {
        let commands: Vec<String> = commands
            .iter()
            .map(|command| format!("      - {command}\n"))
            .collect();
        let buildspec = format!(
            "version: {version}\nenv: {{variables: {{BASE: base}}}}\nphases:\n  build:\n    commands:\n{}",
            commands.concat()
        );
        let source = SourceText::new("x", buildspec);
        let (ast, _) = buildspec::check(&source);
        let settings = Settings {
            profile: Profile::Codebuild,
            tree: None,
            shellcheck: None,
            directives: false,
        };
        let subject = Subject::new(&source, &ast, &settings);
        Literals::of(&subject).resolve((commands.len() - 1, usize::MAX), text)
    }

    #[test]
    fn what_is_written_out_is_followed() {
        for (commands, text, expected) in [
            (&["A=1", "export B=\"$A-2\""][..], "${B}/$A$C", "1-2/1$C"),
            (&["A=1", "A=2"], "$A", "2"),
            (&["A=$(date)"], "$A", "$(date)"),
            (&["A=1", "if x; then A=2; fi"], "$A", "$A"),
            (&["A=1", "(A=2)", "A=3 make"], "$A", "1"),
            (&["true"], "$BASE:${A:-latest}", "base:${A:-latest}"),
            (&["read A"], "$A$", "$A$"),
        ] {
            assert_eq!(resolved("0.2", commands, text), expected, "{commands:?}");
        }
        assert_eq!(resolved("0.1", &["A=1", "true"], "$A/$BASE"), "$A/base");
    }
}
