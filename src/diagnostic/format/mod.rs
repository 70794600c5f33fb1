//! Findings in the forms that programs read, and in the one that people do: one small file each.
//!
//! All are pure: from files with their findings to a text that ends in a newline, or is empty. Files stay in the order in
//! which they were given, findings in the order of their places.

mod checkstyle;
mod fingerprint;
mod github;
mod gitlab;
mod json;
mod junit;
mod sarif;
mod text;
mod xml;

use super::{Colour, Diagnostic, Severity};
use crate::source::{LineColumn, SourceText};

/// A file and what was found in it, sorted by place.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// The text.
    pub source: &'a SourceText,
    /// What was found.
    pub findings: &'a [Diagnostic],
}

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Snippets with carets, for people.
    Text,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// SARIF 2.1.0.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
    /// Code quality reports of GitLab.
    Gitlab,
    /// JUnit XML, a test case a file.
    Junit,
    /// Checkstyle XML.
    Checkstyle,
}

/// How findings are shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The form.
    pub format: Format,
    /// Whether text for people is coloured.
    pub colour: Colour,
    /// The least that is a failure; nothing if nothing is.
    pub gate: Option<Severity>,
}

/// Shows files and their findings.
#[must_use]
pub fn show(files: &[File<'_>], look: Look) -> String {
    match look.format {
        Format::Text => text::show(files, look.colour),
        Format::Json => json::show(files),
        Format::Jsonl => json::show_lines(files),
        Format::Sarif => sarif::show(files),
        Format::Github => github::show(files),
        Format::Gitlab => gitlab::show(files),
        Format::Junit => junit::show(files, look.gate),
        Format::Checkstyle => checkstyle::show(files),
    }
}

/// Where a finding begins and ends.
fn places(source: &SourceText, finding: &Diagnostic) -> (LineColumn, LineColumn) {
    let span = finding.primary.span;
    (source.start_of(span), source.end_of(span))
}

/// All there is to say, where a form has one field for it: the message, what stands at the place, and the remedy on
/// a line of its own.
#[must_use]
pub fn whole_message(finding: &Diagnostic) -> String {
    let mut message = finding.message.clone();
    if !finding.primary.text.is_empty() {
        message.push_str(&format!(" ({})", finding.primary.text));
    }
    if let Some(help) = &finding.help {
        message.push_str(&format!("\nhelp: {help}"));
    }
    message
}

/// A path as services know it: from the top of the repository, where `./` in front is no part of it.
fn plain_path(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name)
}

#[cfg(test)]
mod samples {
    //! What the tests of all forms show.

    use super::{Diagnostic, File, SourceText};
    use crate::diagnostic::Code;
    use crate::source::Span;

    /// A file with a byte-order mark, a character of two bytes and one of four before the first finding.
    pub(super) fn source() -> SourceText {
        SourceText::new("./ci/a b,c.yml", "\u{feff}é: 1\n𝄞x: \u{1}<&>\n  y: 2\n")
    }

    /// An error with everything and, at the end, a bare warning.
    pub(super) fn findings() -> Vec<Diagnostic> {
        vec![
            Diagnostic::new(Code::DuplicateKey, Span::new(10, 11), "100% `x`:\n<twice>")
                .labelled("again here")
                .with_secondary(Span::new(0, 2), "first here")
                .with_help("merge the two")
                .with_fix("rename it", [(Span::new(10, 11), "z".to_owned())]),
            Diagnostic::new(Code::UnknownKey, Span::new(20, 21), "unexpected \u{1}"),
        ]
    }

    /// Shows the sample in a form.
    pub(super) fn shown(show: impl Fn(&[File<'_>]) -> String) -> String {
        let (source, findings) = (source(), findings());
        show(&[File {
            source: &source,
            findings: &findings,
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_found_is_valid_in_every_form() {
        let source = SourceText::new("b.yml", "");
        let files = [File {
            source: &source,
            findings: &[],
        }];
        let shown = |format| {
            let look = Look {
                format,
                colour: Colour::No,
                gate: None,
            };
            show(&files, look)
        };
        for format in [Format::Text, Format::Jsonl, Format::Github] {
            assert_eq!(shown(format), "", "{format:?}");
        }
        for format in [Format::Json, Format::Gitlab] {
            assert_eq!(shown(format), "[]\n", "{format:?}");
        }
        assert!(shown(Format::Sarif).contains("\"results\": []"));
        assert!(shown(Format::Junit).contains("<testcase name=\"b.yml\""));
        assert!(shown(Format::Checkstyle).contains("<file name=\"b.yml\">"));
    }
}
