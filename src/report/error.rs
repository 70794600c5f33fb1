//! Why a report file is not read to its end.

use std::io;

/// Why a report file is not read to its end. Texts are as CodeBuild's agent has them, where they are known (REP-7).
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read at all.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("EOF")]
    Empty,
    /// It breaks off.
    #[error("EOF{}", .within.as_ref().map(|name| format!(" in <{name}>")).unwrap_or_default())]
    Truncated {
        /// The innermost element or key that is open.
        within: Option<String>,
    },
    /// There is text in it, and no element: it is no XML.
    #[error("EOF")]
    NotXml {
        /// Whether it begins as JSON does.
        json: bool,
    },
    /// It is another format.
    #[error("expected element type <{expected}> but have <{found}>")]
    Unexpected {
        /// The element that such files have.
        expected: &'static str,
        /// The one that is there.
        found: String,
    },
    /// It is JSON of another form.
    #[error("expected {expected}: {reason}")]
    Form {
        /// What such files are.
        expected: &'static str,
        /// What is there.
        reason: String,
    },
    /// It is no XML or JSON.
    #[error("{0}")]
    Syntax(String),
    /// Elements stand within one another without an end.
    #[error("more than {0} elements deep")]
    TooDeep(usize),
    /// Somebody asked for the end.
    #[error("stopped")]
    Stopped,
}
