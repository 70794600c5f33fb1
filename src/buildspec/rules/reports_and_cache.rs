//! What reports and the cache say.

use crate::buildspec::ast::Buildspec;
use crate::diagnostic::{Code, Diagnostic};

/// A report group names its files (SPEC-19).
pub(super) fn report_files(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    for report in &buildspec.reports {
        if buildspec.complete && report.files.is_none() {
            let message = format!("report group `{}` has no `files`", report.group.value);
            let diagnostic = Diagnostic::new(Code::ReportFilesMissing, report.group.span, message)
                .with_help("list the report files, such as `files: [\"**/*.xml\"]`");
            diagnostics.push(diagnostic);
        }
    }
}

/// Fallback keys belong to a key, at most five of them; the action is one of two words (SPEC-19).
pub(super) fn cache(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    let Some(cache) = &buildspec.cache else {
        return;
    };
    if buildspec.complete && cache.paths.is_none() {
        let diagnostic = Diagnostic::new(
            Code::CachePathsMissing,
            cache.span,
            "`cache` has no `paths`: it is skipped",
        );
        diagnostics.push(diagnostic);
    }
    if let Some(keys) = &cache.fallback_keys {
        if cache.key.is_none() && buildspec.complete {
            let message = "`fallback-keys` are not used without `key`";
            diagnostics.push(Diagnostic::new(
                Code::FallbackWithoutKey,
                keys.span,
                message,
            ));
        }
        if let Some(sixth) = keys.value.get(5) {
            let diagnostic = Diagnostic::new(
                Code::TooManyFallbackKeys,
                sixth.span,
                "a sixth fallback key",
            )
            .labelled("at most five are tried");
            diagnostics.push(diagnostic);
        }
    }
    if let Some(action) = cache
        .action
        .as_ref()
        .filter(|action| !matches!(action.value.as_str(), "restore" | "save"))
    {
        let diagnostic = Diagnostic::new(
            Code::CacheActionValue,
            action.span,
            format!("`action` cannot be `{}`", action.value),
        )
        .labelled("expected `restore` or `save`, or nothing for both");
        diagnostics.push(diagnostic);
    }
}
