//! The table of rules, one file a family.

mod artifacts;
mod batch;
mod commands;
mod deploy_files;
mod docker;
mod environment;
mod file;
mod interactive;
mod portability;
mod release;
mod reports_and_cache;
mod secrets;
mod source_tree;
mod syntax;

use super::{Subject, shellcheck};
use crate::diagnostic::Diagnostic;

/// One rule.
type Rule = fn(&Subject<'_>, &mut Vec<Diagnostic>);

/// All rules, family by family.
const RULES: &[&[Rule]] = &[
    file::RULES,
    environment::RULES,
    secrets::RULES,
    syntax::RULES,
    &[shellcheck::check],
    commands::RULES,
    source_tree::RULES,
    release::RULES,
    interactive::RULES,
    artifacts::RULES,
    reports_and_cache::RULES,
    batch::RULES,
    docker::RULES,
    deploy_files::RULES,
    portability::RULES,
];

/// Asks every rule.
pub(super) fn check(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for rule in RULES.iter().copied().flatten() {
        rule(subject, diagnostics);
    }
}
