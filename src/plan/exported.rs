//! `env.exported-variables`: which names are exported (ENV-40 to ENV-43).

use super::types::{ExportedPlan, SecretPlan};
use crate::buildspec::Buildspec;
use crate::diagnostic::{Code, Diagnostic};
use crate::env::{self, EnvNameError};
use crate::source::{SourceText, Spanned};

/// The names whose values are read after the last command, each once, in the order of the file. Of the others the author
/// is told why they are none.
pub(super) fn plan_exported(
    source: &SourceText,
    buildspec: &Buildspec,
    secrets: &[SecretPlan],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<ExportedPlan> {
    let mut planned: Vec<ExportedPlan> = Vec::new();
    for name in &buildspec.exported_variables {
        if planned.iter().any(|known| known.name == name.value) {
            continue;
        }
        match refusal(name, secrets) {
            Some(diagnostic) => diagnostics.push(diagnostic),
            None => planned.push(ExportedPlan {
                name: name.value.clone(),
                place: source.start_of(name.span),
            }),
        }
    }
    planned
}

/// Why a name is not exported, if it is not. CodeBuild does not export it either, so `--strict` changes nothing about it;
/// except for the secrets of a buildspec, of which nothing is written in the open here.
fn refusal(name: &Spanned<String>, secrets: &[SecretPlan]) -> Option<Diagnostic> {
    let text = name.value.as_str();
    if text.starts_with("AWS_") {
        let message = format!("`{text}` is not exported: names that begin with `AWS_` never are");
        return Some(
            Diagnostic::new(Code::ExportedSecret, name.span, message)
                .with_help("give the value another name in a command, and export that"),
        );
    }
    if let Err(problem) = env::check_name(text) {
        let message = match problem {
            EnvNameError::Empty => "an exported variable has no name".to_owned(),
            _ => format!("`{}` is not exported: {problem}", text.escape_debug()),
        };
        let help = match problem {
            EnvNameError::NotShell => {
                "give the value a name that a shell can read, and export that"
            }
            EnvNameError::Empty | EnvNameError::Forbidden => "write the name of a variable",
        };
        return Some(Diagnostic::new(Code::ExportedUndefined, name.span, message).with_help(help));
    }
    if secrets.iter().any(|secret| secret.name == text) {
        let message = format!("`{text}` is not exported: its value is a secret");
        let help = "have whoever needs it fetch it from the same place";
        return Some(Diagnostic::new(Code::ExportedSecret, name.span, message).with_help(help));
    }
    None
}
