//! What artifacts say.

use crate::buildspec::ast::Buildspec;
use crate::buildspec::model::ArtifactIdentifier;
use crate::diagnostic::{Code, Diagnostic};

/// An artifact names its files; the primary one may leave that to secondary ones (SPEC-17).
pub(super) fn files(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    let Some(artifacts) = &buildspec.artifacts else {
        return;
    };
    let without_files = |files: &Option<Vec<_>>| files.is_none();
    let mut report = |key, what: &str| {
        let diagnostic = Diagnostic::new(Code::FilesMissing, key, format!("{what} has no `files`"))
            .with_help("list what to keep, such as `files: [\"**/*\"]`");
        diagnostics.push(diagnostic);
    };
    if without_files(&artifacts.primary.files)
        && artifacts.secondary.is_empty()
        && buildspec.complete
    {
        report(artifacts.primary.key, "`artifacts`");
    }
    for (identifier, artifact) in &artifacts.secondary {
        if without_files(&artifact.files) && buildspec.complete {
            report(
                artifact.key,
                &format!("secondary artifact `{}`", identifier.value),
            );
        }
    }
}

/// Identifiers are letters, digits, underscores and hyphens (SPEC-18).
pub(super) fn identifiers(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    let secondary = buildspec
        .artifacts
        .iter()
        .flat_map(|artifacts| &artifacts.secondary);
    for (identifier, _) in secondary {
        if ArtifactIdentifier::new(&identifier.value).is_none() {
            let message = format!("`{}` cannot be an artifact identifier", identifier.value);
            let diagnostic = Diagnostic::new(Code::SecondaryIdShape, identifier.span, message)
                .labelled("letters, digits, `_` and `-`, at most 127 of them");
            diagnostics.push(diagnostic);
        }
    }
}
