//! What holds for every reading of every text, however broken: places lie in the text, and findings can be shown.

use buildspec_runner::buildspec::yaml::{self, Document, Node, NodeKind};
use buildspec_runner::buildspec::{self, Buildspec};
use buildspec_runner::diagnostic::{Colour, Diagnostic, has_error, render};
use buildspec_runner::source::{SourceText, Span};

/// One reading of a text.
pub(crate) struct Reading {
    /// The tree.
    pub(crate) document: Document,
    /// What was found while the tree was made.
    pub(crate) in_tree: Vec<Diagnostic>,
    /// Everything that was found.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The buildspec, if nothing found is an error.
    pub(crate) buildspec: Option<Buildspec>,
}

/// Reads a text, or says what is not as it has to be.
pub(crate) fn read(source: &SourceText) -> Result<Reading, String> {
    let (document, in_tree) = yaml::read(source);
    if let Some(root) = &document.root {
        check_node(source, root)?;
    }
    let (_, diagnostics) = buildspec::check(source);
    check_diagnostics(source, &diagnostics)?;
    if !document.complete && !has_error(&in_tree) {
        return Err("a part was not read, and nothing says why".to_owned());
    }
    let buildspec = match buildspec::read(source) {
        Ok((buildspec, warnings)) if warnings == diagnostics => Some(buildspec),
        Err(found) if found == diagnostics => None,
        _ => return Err("read and check find different things".to_owned()),
    };
    if buildspec.is_some() == has_error(&diagnostics) {
        return Err("a text is accepted exactly if no finding is an error".to_owned());
    }
    Ok(Reading {
        document,
        in_tree,
        diagnostics,
        buildspec,
    })
}

/// Places of findings lie in the text, findings are in order, and every one can be rendered.
fn check_diagnostics(source: &SourceText, diagnostics: &[Diagnostic]) -> Result<(), String> {
    for diagnostic in diagnostics {
        check_span(source, diagnostic.primary.span)
            .and_then(|()| {
                diagnostic
                    .secondary
                    .iter()
                    .try_for_each(|label| check_span(source, label.span))
            })
            .map_err(|problem| format!("{problem}: {diagnostic:?}"))?;
        let shown = render(source, std::slice::from_ref(diagnostic), Colour::No);
        let place = source.start_of(diagnostic.primary.span);
        // The end of a text is shown at the end of its last line.
        let at_end = diagnostic.primary.span.start() == source.text().len();
        if !at_end && !shown.contains(&format!("{}:{place}\n", source.name())) {
            return Err(format!("the place {place} is not shown:\n{shown}"));
        }
        let _ = render(source, std::slice::from_ref(diagnostic), Colour::Yes);
    }
    let places = diagnostics.iter().map(|diagnostic| diagnostic.primary.span);
    if !places.is_sorted() {
        return Err(format!("not sorted by place: {diagnostics:#?}"));
    }
    let _ = render(source, diagnostics, Colour::No);
    Ok(())
}

fn check_span(source: &SourceText, span: Span) -> Result<(), String> {
    match source.text().get(span.start()..span.end()) {
        Some(_) => Ok(()),
        None => Err(format!(
            "{span:?} is no part of a text of {} bytes",
            source.text().len()
        )),
    }
}

fn check_node(source: &SourceText, node: &Node) -> Result<(), String> {
    check_span(source, node.span).map_err(|problem| format!("{problem}: {node:?}"))?;
    match &node.kind {
        NodeKind::Scalar(scalar) => {
            // An anchor or a tag may stand before it; a text over several lines is folded.
            let written = source.slice(node.span);
            let one_line = !written.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
            if scalar.plain && one_line && !written.ends_with(&scalar.text) {
                return Err(format!("{:?} was read as {:?}", written, scalar.text));
            }
            Ok(())
        }
        NodeKind::Sequence(items) => items.iter().try_for_each(|item| check_node(source, item)),
        NodeKind::Mapping(entries) => entries.iter().try_for_each(|entry| {
            check_span(source, entry.key.span)
                .map_err(|problem| format!("{problem}: {:?}", entry.key))?;
            check_node(source, &entry.value)
        }),
    }
}
