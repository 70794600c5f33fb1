//! What both files that name images have in common.

use super::{fields, json};
use crate::buildspec::yaml::Node;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::source::{SourceText, Span};

/// The largest image definitions that the ECS deploy action reads, in bytes.
pub(super) const MAX_BYTES: usize = 100 * 1024;

/// One of the two files: how findings about it are called, and what is said of a file that cannot be read.
pub(super) struct ImageFile {
    /// The kind of finding.
    pub(super) code: Code,
    /// What the deploy action would say.
    pub(super) verdict: String,
    /// What to write instead.
    pub(super) form: &'static str,
}

impl ImageFile {
    /// The tree of the file.
    pub(super) fn read(&self, source: &SourceText) -> Result<Node, Box<Diagnostic>> {
        if source.text().len() > MAX_BYTES {
            let message = "it is larger than 100 KB, which the deploy action refuses";
            return Err(Box::new(Diagnostic::new(self.code, Span::at(0), message)));
        }
        json::read(source, self.code)
            .map_err(|found| Box::new(found.with_help(format!("{}; {}", self.verdict, self.form))))
    }

    /// The deploy action cannot read the file.
    pub(super) fn shape(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.code, span, message)
            .with_help(format!("{}; {}", self.verdict, self.form))
    }

    /// The file can be read, and very likely is not what was meant.
    pub(super) fn warning(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.code, span, message).with_severity(Severity::Warning)
    }

    /// What variables that were never set, or never expanded, leave of an image.
    pub(super) fn check_image(&self, image: &Node, place: &str, found: &mut Vec<Diagnostic>) {
        const EMPTY: &str = "a variable in it was empty when the file was written";
        let name = fields::string(image).unwrap_or_default();
        let warning = |message: String| self.warning(image.span, message);
        if name.is_empty() {
            let message = format!("{place} names no image");
            found.push(Diagnostic::new(self.code, image.span, message).with_help(EMPTY));
        } else if name.starts_with(':') {
            found.push(warning(format!("{place} names no image: `{name}`")).with_help(EMPTY));
        } else if name.ends_with(':') || name.ends_with('@') {
            let message = format!("{place} names an image without a tag: `{name}`");
            found.push(warning(message).with_help(EMPTY));
        } else if name.contains('$') {
            let message = format!("{place} names an image with a variable in it: `{name}`");
            found.push(warning(message).with_help("in single quotes, the shell puts no values in"));
        } else if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let name = name.escape_debug();
            found.push(warning(format!(
                "{place} names an image with blanks in it: `{name}`"
            )));
        }
    }
}
