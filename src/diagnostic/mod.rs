//! What is wrong with a text, where, why, and what to do about it.
//!
//! A [`Diagnostic`] is about the author's file. A build that failed is an outcome, a machine that failed is an error;
//! neither comes through here. All diagnostics of a file are reported together, sorted by place.
//!
//! Wording: lower case, a phrase without a full stop, names in backticks; say what was expected; point at the earlier
//! place with a second label instead of describing it; a help line only where it is certain.

mod code;
pub mod format;
mod page;
mod render;
mod suggest;

pub use code::{Code, CodeInfo};
pub use render::{Colour, render};
pub use suggest::{is_one_off, nearest, one_of, slip};

use crate::source::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// CodeBuild, or this program, refuses the file. Nothing runs.
    Error,
    /// Accepted, and very likely not what was meant.
    Warning,
    /// Worth knowing; nothing is wrong.
    Info,
}

impl Severity {
    /// The word that messages begin with.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A place and what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there; empty for a bare underline.
    pub text: String,
}

/// A change of the text that mends a finding and alters nothing else. Only changes that are certain are offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What the change does, as an imperative: ``put the command in quotes``.
    pub title: String,
    /// What is replaced by what. Spans do not overlap.
    pub edits: Vec<Edit>,
}

impl Fix {
    /// A change that makes these replacements.
    #[must_use]
    pub fn new(title: impl Into<String>, edits: impl IntoIterator<Item = (Span, String)>) -> Self {
        let edits = edits.into_iter();
        Self {
            title: title.into(),
            edits: edits.map(|(span, text)| Edit { span, text }).collect(),
        }
    }
}

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What goes; empty for an insertion.
    pub span: Span,
    /// What comes.
    pub text: String,
}

/// One finding about a text.
///
/// Made with [`Diagnostic::new`] and refined with the `with_*` and `labelled` methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which kind of finding it is.
    pub code: Code,
    /// How bad it is; [`Code::severity`] unless the place decides otherwise.
    pub severity: Severity,
    /// One phrase: what is wrong.
    pub message: String,
    /// The place itself.
    pub primary: Label,
    /// Other places that explain it, such as the first of two equal keys.
    pub secondary: Vec<Label>,
    /// What to do, where that is certain.
    pub help: Option<String>,
    /// What CodeBuild says instead, letter for letter, where it is known (section 11 of the reference): the message of
    /// the phase context, which tools look for in the log.
    pub codebuild_message: Option<String>,
    /// The change that mends it, where one is certain to.
    pub fix: Option<Fix>,
}

impl Diagnostic {
    /// A finding of kind `code` at `span`.
    #[must_use]
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            message: message.into(),
            primary: Label {
                span,
                text: String::new(),
            },
            secondary: Vec::new(),
            help: None,
            codebuild_message: None,
            fix: None,
        }
    }

    /// Says something at the primary place.
    #[must_use]
    pub fn labelled(mut self, text: impl Into<String>) -> Self {
        self.primary.text = text.into();
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn with_secondary(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds CodeBuild's own words.
    #[must_use]
    pub fn with_codebuild_message(mut self, message: impl Into<String>) -> Self {
        self.codebuild_message = Some(message.into());
        self
    }

    /// Adds the change that mends it: these edits.
    #[must_use]
    pub fn with_fix(
        mut self,
        title: impl Into<String>,
        edits: impl IntoIterator<Item = (Span, String)>,
    ) -> Self {
        self.fix = Some(Fix::new(title, edits));
        self
    }

    /// Another severity than the usual one of its code.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Whether it stops the build from starting.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// What the phase context says of it: CodeBuild's words where they are known, else our own.
    #[must_use]
    pub fn context_message(&self) -> &str {
        self.codebuild_message.as_deref().unwrap_or(&self.message)
    }
}

/// Sorts by place, and at one place errors before warnings.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        (a.primary.span, a.severity, a.code, &a.message).cmp(&(
            b.primary.span,
            b.severity,
            b.code,
            &b.message,
        ))
    });
}

/// Whether any of them is an error.
#[must_use]
pub fn has_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(Diagnostic::is_error)
}
