//! What is said of variables and of references to values that are kept elsewhere.

use std::ops::Range;

use super::Rule;
use crate::buildspec::ast::Variable;
use crate::buildspec::text_map::TextMap;
use crate::diagnostic::{Code, Diagnostic};
use crate::lint::Subject;
use crate::source::{Span, Spanned};

pub(super) const RULES: &[Rule] = &[
    overrides_path,
    variable_expansion,
    secret_references,
    parameter_names,
    exported_variables,
    git_credential_helper,
];

/// Where a part of a text stands in the file.
fn part(subject: &Subject<'_>, text: &Spanned<String>, range: Range<usize>) -> Span {
    TextMap::new(subject.source, text.span, &text.value).span(range)
}

/// `PATH` in `variables` is the whole of `PATH` (LINT-20).
fn overrides_path(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let variables = &subject.buildspec.env.variables;
    let Some(path) = variables
        .iter()
        .find(|variable| variable.name.value == "PATH")
    else {
        return;
    };
    let message = "`PATH` here replaces that of the image, and the programs in it are not found";
    let diagnostic = Diagnostic::new(Code::OverridesPath, path.name.span, message)
        .with_help("extend it in a command: `export PATH=\"/opt/bin:$PATH\"`");
    diagnostics.push(diagnostic);
}

/// Values of `variables` are literal: nobody expands what is in them (LINT-20).
fn variable_expansion(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if !subject.is_posix_shell() || expands_again(subject) {
        return;
    }
    for variable in &subject.buildspec.env.variables {
        // That one is said already, and in more detail.
        if variable.name.value == "PATH" {
            continue;
        }
        let Some(range) = reference(&variable.value.value) else {
            continue;
        };
        let written = &variable.value.value[range.clone()];
        let message = format!("`{written}` stays as it is: values of `variables` are not expanded");
        let span = part(subject, &variable.value, range);
        let diagnostic =
            Diagnostic::new(Code::VariableExpansion, span, message).with_help(format!(
                "set `{}` in a command, where a shell expands it",
                variable.name.value
            ));
        diagnostics.push(diagnostic);
    }
}

/// Whether commands expand text that they have in variables.
fn expands_again(subject: &Subject<'_>) -> bool {
    let mut commands = subject.scripts().flat_map(|(_, script)| &script.commands);
    commands.any(|command| matches!(command.program(), Some("eval" | "envsubst")))
}

/// The first `$NAME`, `${…}` or `$(…)` in a text that is meant as one: a dollar sign in the middle of a word is rather
/// part of a password.
fn reference(text: &str) -> Option<Range<usize>> {
    text.match_indices('$').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let close = |open: char, close: char| {
            let inside = rest.strip_prefix(open)?;
            let length = inside.find(close).filter(|length| *length > 0)?;
            Some(at..at + length + 3)
        };
        let name = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count();
        let plain = rest.starts_with(|c: char| c.is_ascii_uppercase())
            && !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '$');
        close('{', '}')
            .or_else(|| close('(', ')'))
            .or_else(|| plain.then_some(at..at + 1 + name))
    })
}

/// References of `secrets-manager` have a shape (LINT-21).
fn secret_references(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for variable in &subject.buildspec.env.secrets_manager {
        let text = &variable.value.value;
        // A colon may be in what will be expanded.
        if !text.contains(['$', '<', '{']) {
            diagnostics.extend(secret_reference(variable));
            diagnostics.extend(secret_arn(subject, variable));
        }
    }
}

/// What is wrong with `secret-id:json-key:version-stage:version-id`, if anything.
fn secret_reference(variable: &Variable) -> Option<Diagnostic> {
    let text = &variable.value.value;
    let fields: Vec<&str> = text.split(':').collect();
    let is_arn = fields[0] == "arn";
    let fields_of_id = if is_arn { 7 } else { 1 };
    let message = if is_arn && (fields.len() < 7 || fields[2] != "secretsmanager") {
        "this is not the ARN of a secret"
    } else if fields[0].trim().is_empty() {
        "the name of the secret is missing"
    } else if fields.len() > fields_of_id + 3 {
        "a reference has at most a secret, a key, a stage and a version"
    } else if fields.len() == fields_of_id + 3
        && fields[fields_of_id + 1..]
            .iter()
            .all(|field| !field.is_empty())
    {
        "a stage and a version are given, and only one of them may be"
    } else {
        return None;
    };
    let diagnostic = Diagnostic::new(Code::SecretRefShape, variable.value.span, message)
        .labelled("expected `secret-id:json-key:version-stage:version-id`");
    Some(diagnostic)
}

/// The ARN of a secret ends in a hyphen and six characters that Secrets Manager chose.
fn secret_arn(subject: &Subject<'_>, variable: &Variable) -> Option<Diagnostic> {
    let text = &variable.value.value;
    let mut fields = text.split(':');
    if fields.next() != Some("arn")
        || fields.next()?.is_empty()
        || fields.next()? != "secretsmanager"
    {
        return None;
    }
    let name = fields.nth(3)?;
    let suffix = name.rsplit_once('-').map_or("", |(_, suffix)| suffix);
    let is_suffix = suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_suffix || name.contains(['*', '?']) {
        return None;
    }
    let start = name.as_ptr() as usize - text.as_ptr() as usize;
    let span = part(subject, &variable.value, start..start + name.len());
    let diagnostic = Diagnostic::new(
        Code::SecretArnSuffix,
        span,
        "this ARN has no suffix of six characters, so it may name another secret, or none",
    )
    .with_help("use the whole ARN as Secrets Manager shows it, or the name of the secret alone");
    Some(diagnostic)
}

/// Names of parameters have a shape (LINT-21).
fn parameter_names(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for variable in &subject.buildspec.env.parameter_store {
        let text = &variable.value.value;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/:".contains(c);
        let expanded = text.contains(['$', '<', '{']);
        let wrong = text.chars().find(|c| !allowed(*c)).filter(|_| !expanded);
        let message = if text.is_empty() {
            "the name of the parameter is missing".to_owned()
        } else if text.contains("//") {
            "a part of this path is empty, and no parameter has such a name".to_owned()
        } else if text.ends_with('/') {
            "this path ends in `/`, and no parameter has such a name".to_owned()
        } else if let Some(wrong) = wrong {
            format!("no parameter has `{}` in its name", wrong.escape_debug())
        } else {
            continue;
        };
        diagnostics.push(Diagnostic::new(
            Code::ParameterNameShape,
            variable.value.span,
            message,
        ));
    }
}

/// Names in `exported-variables` get a value somewhere, and may be exported (LINT-22).
fn exported_variables(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let env = &subject.buildspec.env;
    for name in &env.exported_variables {
        if name.value.starts_with("AWS_") {
            let message = "names that begin with `AWS_` are not exported";
            let diagnostic = Diagnostic::new(Code::ExportedSecret, name.span, message)
                .with_help("give the value another name in a command, and export that");
            diagnostics.push(diagnostic);
        } else if let Some(secret) = subject.secrets().find(|one| one.name.value == name.value) {
            let message = format!(
                "the value of `{}` becomes readable to everyone who can see the build",
                name.value
            );
            let diagnostic = Diagnostic::new(Code::ExportedSecret, name.span, message)
                .with_secondary(secret.value.span, "it is fetched here");
            diagnostics.push(diagnostic);
        } else if !may_be_set(subject, &name.value) {
            let message = format!("nothing in this file gives `{}` a value", name.value);
            diagnostics.push(Diagnostic::new(Code::ExportedUndefined, name.span, message));
        }
    }
}

/// Whether a variable can have a value at the end of the build. What is read without being set comes from the project;
/// what other files set cannot be seen.
fn may_be_set(subject: &Subject<'_>, name: &str) -> bool {
    const ELSEWHERE: &[&str] = &[".", "source", "eval", "mapfile", "readarray", "getopts"];
    let written = |variable: &Variable| variable.name.value == name;
    let by_service = name.starts_with("CODEBUILD_") || ["HOME", "PATH", "PWD"].contains(&name);
    let in_file = subject.buildspec.env.variables.iter().any(written);
    by_service
        || in_file
        || !subject.is_posix_shell()
        || subject.scripts().any(|(_, script)| {
            script.assigned.iter().any(|one| one.name == name)
                || script.read.iter().any(|one| one.name == name)
                || script.commands.iter().any(|command| {
                    command.program().is_none_or(|program| {
                        ELSEWHERE.contains(&program)
                            || (program == "printf" && command.has_option(&["-v"]))
                    })
                })
        })
}

/// `git-credential-helper` is documented as `yes` or `no` (LINT-22).
fn git_credential_helper(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(helper) = &subject.buildspec.env.git_credential_helper else {
        return;
    };
    let written = subject.source.slice(helper.span);
    let word = written.trim_matches(['"', '\'']);
    if matches!(word.to_ascii_lowercase().as_str(), "yes" | "no") {
        return;
    }
    let documented = if helper.value { "yes" } else { "no" };
    let message = format!("`{word}` is not documented here: the values are `yes` and `no`");
    let diagnostic = Diagnostic::new(Code::GitCredentialHelperValue, helper.span, message)
        .with_fix(
            format!("write `{documented}`"),
            [(helper.span, documented.to_owned())],
        );
    diagnostics.push(diagnostic);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_expansion_is_told_from_a_dollar_sign() {
        for (text, expected) in [
            ("v-$COMMIT", Some("$COMMIT")),
            ("${ID}.dkr.ecr", Some("${ID}")),
            ("a/$(date +%s)/b", Some("$(date +%s)")),
            ("pa$Sword", None),
            ("$5 and $", None),
            ("costs $$", None),
            ("$lower", None),
            ("^a$|b", None),
            ("${", None),
        ] {
            let found = reference(text).map(|range| &text[range]);
            assert_eq!(found, expected, "{text}");
        }
    }
}
