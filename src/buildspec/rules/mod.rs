//! What is asked of a buildspec beyond its shape: a table of small functions, one file a family.
//!
//! A rule looks at what was written and says what it found; it never changes anything, and it does not know the
//! machine the build will run on. Adding one: a row in [`crate::diagnostic::Code`], a function here, a case under
//! `testdata/check/`.

mod artifacts;
mod batch;
mod environment;
mod phases;
mod reports_and_cache;
mod top_level;

use super::ast::Buildspec;
use crate::diagnostic::Diagnostic;

/// One rule.
type Rule = fn(&Buildspec, &mut Vec<Diagnostic>);

/// All rules, in the order of the families.
const RULES: &[Rule] = &[
    top_level::version,
    top_level::phases,
    environment::names,
    environment::one_name_in_two_maps,
    environment::shell,
    phases::on_failure,
    phases::runtime_versions,
    phases::no_commands_anywhere,
    artifacts::files,
    artifacts::identifiers,
    reports_and_cache::report_files,
    reports_and_cache::cache,
    batch::one_strategy,
    batch::identifiers,
];

/// What the rules say of a buildspec.
#[must_use]
pub fn check(buildspec: &Buildspec) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for rule in RULES {
        rule(buildspec, &mut diagnostics);
    }
    diagnostics
}
