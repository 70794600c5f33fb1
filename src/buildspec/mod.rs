//! Buildspecs: from text to what is meant.
//!
//! [`read`] is the way in: text → [`yaml::Node`] tree → [`ast::Buildspec`] as written → rules → [`Buildspec`] as meant.
//! There is one reader; whatever shows, plans, runs or checks a buildspec goes through it.

pub mod ast;
pub mod keys;
mod lookalike;
mod mend;
pub mod model;
pub mod parse;
pub mod rules;
pub mod schema;
pub mod text_map;
pub mod yaml;

pub use model::Buildspec;

use crate::diagnostic::{self, Diagnostic};
use crate::source::SourceText;

/// Everything there is to say about a text, sorted by place, and what was written as far as it could be read.
#[must_use]
pub fn check(source: &SourceText) -> (ast::Buildspec, Vec<Diagnostic>) {
    let (document, mut diagnostics) = yaml::read(source);
    // Whatever else is found in a file of another program is no mistake of its author.
    if let Some(found) = lookalike::find(&document) {
        return (ast::Buildspec::default(), vec![found]);
    }
    let (buildspec, found) = parse::buildspec(source, &document);
    diagnostics.extend(found);
    diagnostics.extend(rules::check(&buildspec));
    diagnostic::sort(&mut diagnostics);
    (buildspec, diagnostics)
}

/// A text as a buildspec that can be planned, with the warnings about it; or, with an error in it, all findings.
pub fn read(source: &SourceText) -> Result<(Buildspec, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (ast, diagnostics) = check(source);
    Buildspec::from_ast(ast, diagnostics)
}
