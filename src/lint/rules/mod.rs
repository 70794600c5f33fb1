//! The table of rules, one file a family.

mod commands;

use super::Subject;
use crate::diagnostic::Diagnostic;

/// One rule.
type Rule = fn(&Subject<'_>, &mut Vec<Diagnostic>);

/// All rules, family by family.
const RULES: &[&[Rule]] = &[commands::RULES];

/// Asks every rule.
pub(super) fn check(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for rule in RULES.iter().copied().flatten() {
        rule(subject, diagnostics);
    }
}
