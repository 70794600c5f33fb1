//! Diagnostics for people: the snippet, the caret, the remedy.

use std::borrow::Cow;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::{Diagnostic, Label, Severity};
use crate::source::{SourceText, Span};

/// Whether text may carry colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Escape sequences for a terminal.
    Yes,
    /// Plain text.
    No,
}

/// Widest underline that helps a reader; a span over many lines is shown at its first line only.
const WIDTH: usize = 120;

/// All findings as the text a person sees, a blank line between two, ending in a newline.
#[must_use]
pub fn render(source: &SourceText, diagnostics: &[Diagnostic], colour: Colour) -> String {
    let renderer = match colour {
        Colour::Yes => Renderer::styled(),
        Colour::No => Renderer::plain(),
    }
    .term_width(WIDTH);
    let shown = with_plain_line_ends(source.text());
    let mut text = String::new();
    for diagnostic in diagnostics {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&render_one(&renderer, source, &shown, diagnostic));
        text.push('\n');
    }
    text
}

fn render_one(
    renderer: &Renderer,
    source: &SourceText,
    shown: &str,
    diagnostic: &Diagnostic,
) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let (first, window) = window(source, diagnostic);
    let annotate = |kind: AnnotationKind, label: &Label| {
        let span = first_line(source, label.span);
        let annotation = kind.span(span.start() - window.start..span.end() - window.start);
        if label.text.is_empty() {
            annotation
        } else {
            annotation.label(label.text.clone())
        }
    };
    let mut snippet = Snippet::source(&shown[window.clone()])
        .line_start(first)
        .path(source.name())
        .annotation(annotate(AnnotationKind::Primary, &diagnostic.primary));
    for label in &diagnostic.secondary {
        snippet = snippet.annotation(annotate(AnnotationKind::Context, label));
    }
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.name())
        .element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// The lines that a finding shows something of, and the number of the first one. The renderer reads all that it is given,
/// which for many findings in a large file would be the whole file many times.
fn window(source: &SourceText, diagnostic: &Diagnostic) -> (usize, Range<usize>) {
    let labels = || std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary);
    let starts = labels().map(|label| source.line(label.span.start()));
    let ends = labels().map(|label| source.line(first_line(source, label.span).end()));
    // What stands behind the last line is shown at its end.
    let first = starts.min().unwrap_or(1).saturating_sub(1).max(1);
    let last = ends.max().unwrap_or(1);
    let from = source.line_start(first).unwrap_or(0);
    let to = source.line_start(last + 1).unwrap_or(source.text().len());
    (first, from..to)
}

/// The text with a `\n` for every `\r` that ends a line by itself, which the renderer does not count; places stay as they
/// are.
fn with_plain_line_ends(text: &str) -> Cow<'_, str> {
    if !text.contains('\r') {
        return Cow::Borrowed(text);
    }
    let mut characters = text.chars().peekable();
    let mut shown = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        let ends_line = character == '\r' && characters.peek() != Some(&'\n');
        shown.push(if ends_line { '\n' } else { character });
    }
    Cow::Owned(shown)
}

/// The part of a span on its first line: an underline over a whole block says no more, and hides the rest.
fn first_line(source: &SourceText, span: Span) -> Span {
    let text = source.slice(span);
    let length = text.find(['\n', '\r']).unwrap_or(text.len());
    Span::new(span.start(), span.start() + text[..length].trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;

    #[test]
    fn a_finding_shows_its_place_the_earlier_place_and_the_remedy() {
        let source = SourceText::new(
            "buildspec.yml",
            "phases:\n  build:\n    commands: [a]\n  build:\n    commands: [b]\n",
        );
        let first = Span::new(10, 15);
        let second = Span::new(37, 42);
        let diagnostic = Diagnostic::new(Code::DuplicateKey, second, "`build` is given twice")
            .labelled("again here")
            .with_secondary(first, "first here")
            .with_help("merge the two, or remove one");
        let expected = "\
error[duplicate-key]: `build` is given twice
 --> buildspec.yml:4:3
  |
2 |   build:
  |   ----- first here
3 |     commands: [a]
4 |   build:
  |   ^^^^^ again here
  |
  = help: merge the two, or remove one
";
        assert_eq!(render(&source, &[diagnostic], Colour::No), expected);
    }

    #[test]
    fn lines_end_where_yaml_ends_them() {
        let source = SourceText::new("b.yml", "a: 1\rb: 2\r\nc: 3\n");
        for (span, place) in [
            (Span::new(8, 9), "--> b.yml:2:4"),
            (Span::new(14, 15), "--> b.yml:3:4"),
        ] {
            let diagnostic = Diagnostic::new(Code::WrongType, span, "no");
            let shown = render(&source, &[diagnostic], Colour::No);
            assert!(shown.contains(place), "{shown}");
        }
    }

    #[test]
    fn a_span_over_many_lines_is_shown_at_its_first() {
        let source = SourceText::new("b.yml", "a: |\n  one\n  two\n");
        let diagnostic = Diagnostic::new(Code::WrongType, Span::new(3, 16), "no");
        assert!(render(&source, &[diagnostic], Colour::No).contains("1 | a: |\n  |    ^\n"));
    }
}
