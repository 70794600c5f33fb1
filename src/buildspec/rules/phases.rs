//! What phases say.

use crate::buildspec::ast::{Buildspec, Phase};
use crate::diagnostic::{Code, Diagnostic, nearest};
use crate::phase::{CommandPhase, OnFailure, OnFailureError};

fn phases(buildspec: &Buildspec) -> impl Iterator<Item = &Phase> {
    buildspec.phases.iter().flat_map(|phases| &phases.phases)
}

/// `on-failure` is one of its forms (PHASE-6).
pub(super) fn on_failure(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    for value in phases(buildspec).filter_map(|phase| phase.on_failure.as_ref()) {
        let Err(error) = OnFailure::parse(&value.value) else {
            continue;
        };
        let code = match error {
            OnFailureError::Pattern(_) => Code::OnFailureRegex,
            OnFailureError::Unknown | OnFailureError::Count(_) => Code::OnFailureValue,
        };
        let mut diagnostic = Diagnostic::new(
            code,
            value.span,
            format!("`on-failure` cannot be `{}`", value.value),
        )
        .labelled(error.to_string());
        diagnostic.help = nearest(&value.value, ["ABORT", "CONTINUE", "RETRY"])
            .map(|known| format!("did you mean `{known}`?"));
        diagnostics.push(diagnostic);
    }
}

/// `runtime-versions` stands in `install`. The shape is the same elsewhere, and CodeBuild does not look there (SPEC-16).
pub(super) fn runtime_versions(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    for phase in phases(buildspec).filter(|phase| phase.name.value != CommandPhase::Install) {
        if let Some(versions) = &phase.runtime_versions {
            let message = format!(
                "`runtime-versions` in phase `{}` is not used",
                phase.name.value.key()
            );
            let diagnostic =
                Diagnostic::new(Code::RuntimeVersionsOutsideInstall, versions.key, message)
                    .with_help("move it to phase `install`");
            diagnostics.push(diagnostic);
        }
    }
}

/// Somewhere there is a command; a build that runs nothing succeeds, and nobody meant that (SPEC-15).
pub(super) fn no_commands_anywhere(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    let Some(all) = &buildspec.phases else { return };
    if all.has_errors || all.phases.is_empty() || !buildspec.complete {
        return;
    }
    let lists = all
        .phases
        .iter()
        .flat_map(|phase| [&phase.commands, &phase.finally]);
    if lists.flatten().all(|commands| commands.items.is_empty()) {
        let diagnostic = Diagnostic::new(
            Code::NoCommandsAnywhere,
            all.key,
            "no phase has a command: nothing is run",
        )
        .with_help("commands are listed under `commands:` of a phase");
        diagnostics.push(diagnostic);
    }
}
