//! Names of variables and the shell.

use std::collections::HashMap;

use crate::buildspec::ast::{Buildspec, Variable};
use crate::buildspec::model::Shell;
use crate::diagnostic::{Code, Diagnostic, Severity, nearest};
use crate::env::{self, EnvNameError};
use crate::source::Span;

/// All maps of `env`, in the order in which they are resolved: the later wins (ENV-6).
fn maps(buildspec: &Buildspec) -> [(&'static str, &[Variable]); 3] {
    let env = &buildspec.env;
    [
        ("variables", &env.variables),
        ("parameter-store", &env.parameter_store),
        ("secrets-manager", &env.secrets_manager),
    ]
}

/// Names that no process can have, that no shell can read, and that belong to CodeBuild (ENV-7, ENV-8).
pub(super) fn names(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    for variable in maps(buildspec).into_iter().flat_map(|(_, map)| map) {
        let name = &variable.name;
        if let Err(error) = env::check_name(&name.value) {
            let message = format!(
                "`{}` cannot be the name of a variable: {error}",
                name.value.escape_debug()
            );
            let severity = match error {
                EnvNameError::NotShell => Severity::Warning,
                EnvNameError::Empty | EnvNameError::Forbidden => Severity::Error,
            };
            let diagnostic =
                Diagnostic::new(Code::InvalidEnvName, name.span, message).with_severity(severity);
            diagnostics.push(diagnostic);
        }
        if variable.value.value.contains('\0') {
            let message = format!(
                "the value of `{}` holds a NUL character, which no variable can",
                name.value
            );
            diagnostics.push(Diagnostic::new(
                Code::WrongType,
                variable.value.span,
                message,
            ));
        }
        if env::is_reserved(&name.value) {
            let message = format!("`{}` is one of CodeBuild's own names", name.value);
            let diagnostic = Diagnostic::new(Code::ReservedPrefix, name.span, message)
                .with_help("where CodeBuild sets it, its own value wins: choose another name");
            diagnostics.push(diagnostic);
        }
    }
}

/// One name in two maps: only one of the values reaches the build (ENV-6).
pub(super) fn one_name_in_two_maps(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<&str, (&str, Span)> = HashMap::new();
    for (map, variables) in maps(buildspec) {
        for variable in variables {
            let name = &variable.name;
            if let Some((earlier, span)) = seen.insert(&name.value, (map, name.span)) {
                let message = format!(
                    "`{}` is in `{earlier}` and in `{map}`; the value of `{map}` is used",
                    name.value
                );
                let diagnostic = Diagnostic::new(Code::DuplicateEnvAcrossMaps, name.span, message)
                    .with_secondary(span, "not used");
                diagnostics.push(diagnostic);
            }
        }
    }
}

/// `env.shell` is one that CodeBuild offers (ENV-9).
pub(super) fn shell(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    let Some(shell) = &buildspec.env.shell else {
        return;
    };
    if Shell::parse(&shell.value).is_some() {
        return;
    }
    let mut diagnostic = Diagnostic::new(
        Code::UnknownShell,
        shell.span,
        format!("unknown shell `{}`", shell.value),
    )
    .labelled("expected `bash`, `/bin/sh`, `powershell.exe` or `cmd.exe`");
    diagnostic.help = nearest(
        &shell.value,
        ["bash", "/bin/sh", "/bin/bash", "powershell.exe", "cmd.exe"],
    )
    .map(|known| format!("did you mean `{known}`?"));
    diagnostics.push(diagnostic);
}
