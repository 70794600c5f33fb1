//! Clover XML.

use super::Format;
use super::collect::{Collector, FileId};
use super::error::ReadError;
use super::numbers::count;
use super::xml::{Element, Node, Xml};
use crate::event::Coverage;

pub(super) fn read(xml: &mut Xml<'_>, into: &mut Collector) -> Result<(), ReadError> {
    xml.root(Format::CloverXml.roots())?;
    let mut file: Option<FileId> = None;
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(element) => match element.name.as_str() {
                // Cobertura begins with the same element.
                "packages" if xml.parent() == "coverage" => {
                    return Err(ReadError::Unexpected {
                        expected: "project",
                        found: element.name,
                    });
                }
                "file" => {
                    let path = element.first(&["path", "name"]).unwrap_or_default();
                    file = Some(into.file(&path.replace('\\', "/")));
                }
                "metrics" if xml.parent() == "file" => {
                    if let Some(file) = file {
                        metrics(&element, file, into);
                    }
                }
                "line" => {
                    if let Some(file) = file {
                        line(&element, file, into);
                    }
                }
                _ => {}
            },
            Node::Close(name) if name == "file" => file = None,
            Node::Close(_) | Node::Text(_) => {}
        }
    }
    Ok(())
}

fn metrics(element: &Element, file: FileId, into: &mut Collector) {
    let coverage = |all, covered| {
        let all = count(element.get(all))?;
        let covered = count(element.get(covered)).unwrap_or(0).min(all);
        Some(Coverage {
            covered,
            missed: all - covered,
        })
    };
    if let Some(lines) = coverage("statements", "coveredstatements") {
        let branches = coverage("conditionals", "coveredconditionals").unwrap_or_default();
        into.counted(file, lines, branches);
    }
}

fn line(element: &Element, file: FileId, into: &mut Collector) {
    let number = count(element.get("num"));
    let (Some(number), true) = (number, element.get("type") != Some("method")) else {
        return;
    };
    let taken = ["truecount", "falsecount"].map(|name| count(element.get(name)));
    let reached = count(element.get("count")).or(taken[0]).unwrap_or(0) > 0;
    let reached = reached || taken.iter().flatten().any(|count| *count > 0);
    into.line(file, number, reached);
    if element.get("type") == Some("cond") {
        let covered = taken.iter().flatten().filter(|count| **count > 0).count();
        into.branches(file, number, covered as u64, 2);
    }
}
