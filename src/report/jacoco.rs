//! `JaCoCo` XML.

use super::Format;
use super::collect::{Collector, FileId};
use super::error::ReadError;
use super::numbers::count;
use super::xml::{Element, Node, Xml};
use crate::event::Coverage;

/// The source file that is open.
struct Source {
    file: FileId,
    has_lines: bool,
    lines: Coverage,
    branches: Coverage,
}

pub(super) fn read(xml: &mut Xml<'_>, into: &mut Collector) -> Result<(), ReadError> {
    xml.root(Format::JacocoXml.roots())?;
    let mut groups: Vec<String> = Vec::new();
    let mut package = String::new();
    let mut source: Option<Source> = None;
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(element) => {
                let name = || element.get("name").unwrap_or_default();
                match (element.name.as_str(), &mut source) {
                    // Two modules may have the same package.
                    ("group", _) => groups.push(name().to_owned()),
                    ("package", _) => name().clone_into(&mut package),
                    ("sourcefile", _) => {
                        let mut parts: Vec<&str> = groups.iter().map(String::as_str).collect();
                        parts.extend([package.as_str(), name()]);
                        parts.retain(|part| !part.is_empty());
                        source = Some(Source {
                            file: into.file(&parts.join("/")),
                            has_lines: false,
                            lines: Coverage::default(),
                            branches: Coverage::default(),
                        });
                    }
                    ("line", Some(source)) => {
                        source.has_lines = true;
                        line(&element, source.file, into);
                    }
                    ("counter", Some(source)) => match element.get("type") {
                        Some("LINE") => source.lines = coverage(&element),
                        Some("BRANCH") => source.branches = coverage(&element),
                        _ => {}
                    },
                    _ => {}
                }
            }
            Node::Close(name) => match name.as_str() {
                "group" => drop(groups.pop()),
                "sourcefile" => {
                    if let Some(source) = source.take().filter(|source| !source.has_lines) {
                        into.counted(source.file, source.lines, source.branches);
                    }
                }
                _ => {}
            },
            Node::Text(_) => {}
        }
    }
    Ok(())
}

fn coverage(element: &Element) -> Coverage {
    Coverage {
        covered: count(element.get("covered")).unwrap_or(0),
        missed: count(element.get("missed")).unwrap_or(0),
    }
}

/// `mi` and `ci` count instructions, `mb` and `cb` branches: missed, and covered.
fn line(element: &Element, file: FileId, into: &mut Collector) {
    let number = |name| count(element.get(name));
    let Some(line) = number("nr") else { return };
    into.line(file, line, number("ci").unwrap_or(0) > 0);
    let (missed, covered) = (number("mb").unwrap_or(0), number("cb").unwrap_or(0));
    let all = missed.saturating_add(covered);
    if all > 0 {
        into.branches(file, line, covered, all);
    }
}
