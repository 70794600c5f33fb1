//! What can be done about a finding: its fix, or a comment that turns it off.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::protocol::{self, Range};
use crate::buildspec;
use crate::buildspec::yaml::{self, Node, NodeKind};
use crate::diagnostic::{Diagnostic, Edit};
use crate::lint::shell::Script;
use crate::source::{SourceText, Span};

/// Checks another text of the same file.
pub(super) type Check<'c> = dyn Fn(&SourceText) -> Vec<Diagnostic> + 'c;

/// Actions for the findings that touch a range; `shown` is a finding as the editor knows it.
pub(super) fn actions(
    source: &SourceText,
    findings: &[Diagnostic],
    around: Range,
    uri: &str,
    shown: impl Fn(&Diagnostic) -> Value,
    check: &Check<'_>,
) -> Vec<Value> {
    let start = protocol::offset(source, around.start);
    let end = protocol::offset(source, around.end).max(start);
    let touched = findings.iter().filter(|finding| {
        let span = finding.primary.span;
        span.start() <= end && start <= span.end()
    });
    let mut actions = Vec::new();
    for finding in touched {
        let mut add = |title: String, edits: &[Edit], preferred: bool| {
            let edits = edits.iter().map(
                |edit| json!({ "range": protocol::range(source, edit.span), "newText": edit.text }),
            );
            actions.push(json!({
                "title": title,
                "kind": "quickfix",
                "diagnostics": [shown(finding)],
                "isPreferred": preferred,
                "edit": { "changes": { uri: edits.collect::<Vec<Value>>() } },
            }));
        };
        if let Some(fix) = &finding.fix {
            add(fix.title.clone(), &fix.edits, true);
        }
        let name = finding.code.name();
        if let Some(edit) = ignore_here(source, findings, finding, check) {
            add(format!("ignore this `{name}` here"), &[edit], false);
        }
        if let Some(edit) = ignore_in_file(source, findings, finding, check) {
            add(format!("ignore `{name}` in this file"), &[edit], false);
        }
    }
    actions
}

/// A comment in front of the line, or else at its end; whichever does that and nothing else.
fn ignore_here(
    source: &SourceText,
    findings: &[Diagnostic],
    finding: &Diagnostic,
    check: &Check<'_>,
) -> Option<Edit> {
    let line = source.line(finding.primary.span.start());
    let start = source.line_start(line)?;
    let text = source.line_text(line);
    let indent = &text[..text.len() - text.trim_start().len()];
    let comment = format!("# runner: ignore[{}]", finding.code.name());
    let insert = |offset, text| Edit {
        span: Span::at(offset),
        text,
    };
    let candidates = [
        insert(start, format!("{indent}{comment}{}", line_end(source))),
        insert(start + text.trim_end().len(), format!(" {comment}")),
    ];
    let mut works = candidates.into_iter();
    works.find(|edit| does_only_that(source, findings, finding, edit, check))
}

fn ignore_in_file(
    source: &SourceText,
    findings: &[Diagnostic],
    finding: &Diagnostic,
    check: &Check<'_>,
) -> Option<Edit> {
    let name = finding.code.name();
    let edit = Edit {
        span: Span::at(0),
        text: format!("# runner: ignore[{name}]{}", line_end(source)),
    };
    does_only_that(source, findings, finding, &edit, check).then_some(edit)
}

/// The line end that the file has.
fn line_end(source: &SourceText) -> &'static str {
    if source.text().contains("\r\n") {
        "\r\n"
    } else {
        "\n"
    }
}

/// Whether an edit takes a finding away, brings no other, and leaves the meaning of the file as it is: a `#` in a folded
/// block, in quotes or behind a `\` is no comment.
fn does_only_that(
    source: &SourceText,
    findings: &[Diagnostic],
    finding: &Diagnostic,
    edit: &Edit,
    check: &Check<'_>,
) -> bool {
    let mut text = source.text().to_owned();
    text.replace_range(edit.span.start()..edit.span.end(), &edit.text);
    let edited = SourceText::new(source.name(), text);
    let (before, after) = (count(findings), count(&check(&edited)));
    let of = |counts: &Counts, key: &Key| counts.get(key).copied().unwrap_or(0);
    let key = key_of(finding);
    of(&after, &key) < of(&before, &key)
        && after.iter().all(|(key, count)| *count <= of(&before, key))
        && same_meaning(source, &edited)
}

type Key = (&'static str, String);
type Counts = HashMap<Key, usize>;

fn key_of(finding: &Diagnostic) -> Key {
    (finding.code.name(), finding.message.clone())
}

fn count(findings: &[Diagnostic]) -> Counts {
    let mut counts = Counts::new();
    for finding in findings {
        *counts.entry(key_of(finding)).or_default() += 1;
    }
    counts
}

fn same_meaning(before: &SourceText, after: &SourceText) -> bool {
    let (ast, _) = buildspec::check(before);
    let phases = ast.phases.iter().flat_map(|phases| &phases.phases);
    let lists = phases.flat_map(|phase| [&phase.commands, &phase.finally]);
    let commands = lists.flatten().flat_map(|list| &list.items);
    let commands: Vec<Span> = commands.map(|command| command.text.span).collect();
    match (yaml::read(before).0.root, yaml::read(after).0.root) {
        (Some(before), Some(after)) => same(&before, &after, &commands),
        (before, after) => before.is_none() && after.is_none(),
    }
}

/// Whether two trees say the same: all texts are equal, and commands run the same programs.
fn same(before: &Node, after: &Node, commands: &[Span]) -> bool {
    match (&before.kind, &after.kind) {
        (NodeKind::Scalar(old), NodeKind::Scalar(new)) => {
            old == new
                || (old.plain == new.plain
                    && commands.contains(&before.span)
                    && same_script(&old.text, &new.text))
        }
        (NodeKind::Sequence(old), NodeKind::Sequence(new)) => {
            let mut pairs = old.iter().zip(new);
            old.len() == new.len() && pairs.all(|(old, new)| same(old, new, commands))
        }
        (NodeKind::Mapping(old), NodeKind::Mapping(new)) => {
            let mut pairs = old.iter().zip(new);
            old.len() == new.len()
                && pairs.all(|(old, new)| {
                    old.key.value == new.key.value && same(&old.value, &new.value, commands)
                })
        }
        _ => false,
    }
}

/// Whether the second is the first with one comment more.
fn same_script(before: &str, after: &str) -> bool {
    let (before, after) = (Script::parse(before), Script::parse(after));
    let words = |script: &Script| -> Vec<Vec<String>> {
        let commands = script.commands.iter();
        let written = |command: &crate::lint::shell::SimpleCommand| {
            command
                .words
                .iter()
                .map(|word| word.written.clone())
                .collect()
        };
        commands.map(written).collect()
    };
    let comments = |script: &Script| script.nodes(&["comment"]).len();
    words(&before) == words(&after)
        && comments(&after) == comments(&before) + 1
        && before.errors.len() == after.errors.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;
    use crate::lint::{self, FileKind, Profile, Settings};

    fn check(source: &SourceText) -> Vec<Diagnostic> {
        let settings = Settings {
            profile: Profile::Codebuild,
            tree: None,
            shellcheck: None,
            directives: true,
        };
        lint::check(source, FileKind::Buildspec, &settings)
    }

    /// The text with the first finding of this rule ignored at its place, if that can be.
    fn ignored(text: &str, rule: &str) -> Option<String> {
        let source = SourceText::new("b.yml", text);
        let findings = check(&source);
        let finding = findings.iter().find(|finding| finding.code.name() == rule);
        let finding = finding.unwrap_or_else(|| panic!("{text}: no {rule}"));
        let edit = ignore_here(&source, &findings, finding, &check)?;
        let mut edited = text.to_owned();
        edited.replace_range(edit.span.start()..edit.span.end(), &edit.text);
        Some(edited)
    }

    fn with_command(command: &str) -> String {
        format!("version: 0.2\nphases:\n  build:\n    commands:\n      - {command}\n")
    }

    // LINT-65
    #[test]
    fn a_comment_is_put_where_it_is_one() {
        let pipe = "pipe-hides-failure";
        let comment = "# runner: ignore[pipe-hides-failure]";
        let table = [
            (
                with_command("make | tee log"),
                with_command("make | tee log")
                    .replace("      - make", &format!("      {comment}\n      - make")),
            ),
            (
                with_command("|\n        true\n        make | tee log"),
                with_command(&format!(
                    "|\n        true\n        {comment}\n        make | tee log"
                )),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(
                ignored(&text, pipe).as_deref(),
                Some(expected.as_str()),
                "{text}"
            );
        }
    }

    // LINT-65
    #[test]
    fn where_no_comment_can_be_none_is_offered() {
        for command in [
            ">\n        make | tee log;\n        echo done",
            "\"true;\n        make | tee log;\n        echo done\"",
        ] {
            assert_eq!(
                ignored(&with_command(command), "pipe-hides-failure"),
                None,
                "{command}"
            );
        }
        // An error cannot be turned off.
        assert_eq!(ignored(&with_command("a: b"), "command-not-string"), None);
    }

    // LINT-65
    #[test]
    fn a_fix_is_offered_first_and_findings_elsewhere_are_not_touched() {
        let source = SourceText::new("b.yml", "version: 0.2\na: 1\nb: 2\n");
        let finding = |at| {
            let fix = [(Span::new(at, at + 1), "c".to_owned())];
            Diagnostic::new(Code::UnknownKey, Span::new(at, at + 1), "m").with_fix("rename it", fix)
        };
        let place = protocol::position(&source, 18);
        let around = Range {
            start: place,
            end: place,
        };
        let shown = |finding: &Diagnostic| json!(finding.primary.span.start());
        let findings = [finding(13), finding(18)];
        let actions = actions(&source, &findings, around, "file:///b.yml", shown, &|_| {
            Vec::new()
        });
        assert_eq!(actions.len(), 3);
        assert_eq!(actions[0]["title"], "rename it");
        assert_eq!(actions[0]["diagnostics"], json!([18]));
        let edit = &actions[0]["edit"]["changes"]["file:///b.yml"][0];
        let start = json!({ "line": 2, "character": 0 });
        assert_eq!(
            (&edit["newText"], &edit["range"]["start"]),
            (&json!("c"), &start)
        );
    }

    // LINT-65
    #[test]
    fn a_comment_is_told_from_text_that_looks_like_one() {
        let table = [
            ("make", "# c\nmake", true),
            ("make | tee log", "make | tee log # c", true),
            ("make \\\n  -k", "make \\\n  # c\n  -k", false),
            ("cat <<E\na\nE", "cat <<E\n# c\na\nE", false),
            ("echo 'a\nb'", "echo 'a\n# c\nb'", false),
            ("make; make -k", "make; # c make -k", false),
        ];
        for (before, after, same) in table {
            assert_eq!(same_script(before, after), same, "{after}");
        }
    }
}
