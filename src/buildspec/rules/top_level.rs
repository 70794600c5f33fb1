//! The version, and that there is something to run.

use crate::buildspec::ast::Buildspec;
use crate::buildspec::model::Version;
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;

/// `version` is 0.1 or 0.2. A file that only declares a batch may do without, as several in production do (SPEC-4).
pub(super) fn version(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    match &buildspec.version {
        None if buildspec.complete && buildspec.has_phases() => {
            let diagnostic = Diagnostic::new(Code::VersionMissing, top(buildspec), "no `version`")
                .with_help("begin the file with `version: 0.2`");
            diagnostics.push(diagnostic);
        }
        Some(version) if Version::parse(&version.value).is_none() => {
            let message = format!("unsupported buildspec version: {}", version.value);
            let diagnostic = Diagnostic::new(Code::UnsupportedVersion, version.span, message)
                .labelled("expected `0.2` or `0.1`");
            diagnostics.push(diagnostic);
        }
        _ => {}
    }
}

/// There are phases, unless the file only declares a batch (SPEC-11).
pub(super) fn phases(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    if !buildspec.complete || buildspec.has_phases() || buildspec.batch.is_some() {
        return;
    }
    let (span, message) = match &buildspec.phases {
        Some(phases) => (
            phases.key,
            "`phases` holds nothing, so there is nothing to run",
        ),
        None => (top(buildspec), "no `phases`, so there is nothing to run"),
    };
    let diagnostic = Diagnostic::new(Code::PhasesMissing, span, message)
        .with_help("add `phases:` with at least one of `install`, `pre_build`, `build` and `post_build` below it");
    diagnostics.push(diagnostic);
}

fn top(buildspec: &Buildspec) -> Span {
    Span::at(buildspec.span.start())
}
