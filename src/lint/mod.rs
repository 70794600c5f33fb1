//! What is wrong with files that a pipeline is made of: everything `runner validate` says.
//!
//! The reader ([`crate::buildspec`]) has the errors of a buildspec, which are also what `runner run` refuses. What is here is
//! about files that can be read, and very likely do not do what was meant: warnings and information, never errors, so
//! that the two commands agree. Files of the deploy stage are the exception: nothing else reads them.
//!
//! A rule is a function of the [`Subject`] that says what it found; [`rules`] has the table. What a finding is called and
//! why it matters is a row of [`crate::diagnostic::Code`].

pub mod balance;
pub mod config;
pub mod deploy;
pub mod directive;
pub mod fix;
mod kind;
pub mod literals;
pub mod paths;
mod plain;
pub mod rules;
mod secret;
pub mod shell;
mod shellcheck;
mod subject;
pub mod tree;
pub mod written;

pub use kind::FileKind;
pub use shellcheck::Shellcheck;
pub use subject::{Item, Subject};
pub use tree::{SourceTree, SourceTrees};

use crate::buildspec;
use crate::diagnostic::{self, Diagnostic};
use crate::source::{SourceText, Span};

/// Who is asked whether a file is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// CodeBuild.
    Codebuild,
    /// This program too: also what it does otherwise.
    Runner,
}

impl Profile {
    /// Its words.
    pub const WORDS: &'static [&'static str] = &["codebuild", "runner"];

    /// The profile with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "codebuild" => Some(Self::Codebuild),
            "runner" => Some(Self::Runner),
            _ => None,
        }
    }
}

/// What a file is checked against besides itself.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Who is asked.
    pub profile: Profile,
    /// The tree that the file lies in, unless rules about it are turned off.
    pub tree: Option<&'a SourceTree>,
    /// ShellCheck, if it is to be asked.
    pub shellcheck: Option<Shellcheck<'a>>,
    /// Whether comments may turn findings off.
    pub directives: bool,
}

/// Everything there is to say about a file of this kind, sorted by place.
#[must_use]
pub fn check(source: &SourceText, kind: FileKind, settings: &Settings<'_>) -> Vec<Diagnostic> {
    match kind {
        FileKind::Buildspec => check_buildspec(source, settings),
        FileKind::ImageDefinitions
        | FileKind::ImageDetail
        | FileKind::AppSpec
        | FileKind::TaskDefinition => finish(source, settings, &[], deploy::check(source, kind)),
    }
}

fn check_buildspec(source: &SourceText, settings: &Settings<'_>) -> Vec<Diagnostic> {
    let (ast, mut diagnostics) = buildspec::check(source);
    // A file that cannot be read whole is not asked about its meaning: half of it may be elsewhere.
    if ast.complete {
        let subject = Subject::new(source, &ast, settings);
        rules::check(&subject, &mut diagnostics);
    }
    let phases = ast.phases.iter().flat_map(|phases| &phases.phases);
    let lists = phases.flat_map(|phase| [&phase.commands, &phase.finally]);
    let commands = lists.flatten().flat_map(|list| &list.items);
    let items: Vec<Span> = commands.map(|command| command.text.span).collect();
    finish(source, settings, &items, diagnostics)
}

/// Takes away what comments ask for, and puts the rest in order.
fn finish(
    source: &SourceText,
    settings: &Settings<'_>,
    items: &[Span],
    mut diagnostics: Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    if settings.directives {
        directive::apply(source, items, &mut diagnostics);
    }
    diagnostic::sort(&mut diagnostics);
    diagnostics.dedup();
    diagnostics
}
