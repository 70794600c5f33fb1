//! What a batch says. A build of one buildspec ignores `batch`, so none of this stops it (SPEC-21).

use crate::buildspec::ast::{BatchStrategy, Buildspec};
use crate::diagnostic::{Code, Diagnostic};

/// One strategy a batch.
pub(super) fn one_strategy(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    let Some(batch) = &buildspec.batch else {
        return;
    };
    if let [first, rest @ ..] = batch.strategies.as_slice() {
        for other in rest {
            let diagnostic = Diagnostic::new(
                Code::BatchKindConflict,
                other.span,
                "a second strategy in one batch",
            )
            .with_secondary(first.span, "the first one");
            diagnostics.push(diagnostic);
        }
    }
}

/// Identifiers of builds are letters, digits and underscores.
pub(super) fn identifiers(buildspec: &Buildspec, diagnostics: &mut Vec<Diagnostic>) {
    let strategies = buildspec.batch.iter().flat_map(|batch| &batch.strategies);
    for strategy in strategies {
        let (BatchStrategy::List(tasks) | BatchStrategy::Graph(tasks)) = &strategy.value else {
            continue;
        };
        for identifier in tasks.iter().filter_map(|task| task.identifier.as_ref()) {
            if !can_identify(&identifier.value) {
                let message = format!("`{}` cannot identify a build of a batch", identifier.value);
                let diagnostic =
                    Diagnostic::new(Code::BatchIdentifierShape, identifier.span, message)
                        .labelled("letters, digits and underscores, at most 127 of them");
                diagnostics.push(diagnostic);
            }
        }
    }
}

fn can_identify(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=127).contains(&text.len()) && text.bytes().all(allowed)
}
