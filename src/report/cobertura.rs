//! Cobertura XML.

use super::Format;
use super::collect::{Collector, FileId};
use super::error::ReadError;
use super::numbers::{count, is_true};
use super::xml::{Element, Node, Xml};

pub(super) fn read(xml: &mut Xml<'_>, into: &mut Collector) -> Result<(), ReadError> {
    xml.root(Format::CoberturaXml.roots())?;
    let mut file = None;
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(element) => match element.name.as_str() {
                // Clover begins with the same element.
                "project" if xml.parent() == "coverage" => {
                    return Err(ReadError::Unexpected {
                        expected: "packages",
                        found: element.name,
                    });
                }
                "class" => {
                    let path = element.first(&["filename", "name"]).unwrap_or_default();
                    file = Some(into.file(&path.replace('\\', "/")));
                }
                "line" => {
                    if let Some(file) = file {
                        line(&element, file, into);
                    }
                }
                _ => {}
            },
            Node::Close(name) if name == "class" => file = None,
            Node::Close(_) | Node::Text(_) => {}
        }
    }
    Ok(())
}

fn line(element: &Element, file: FileId, into: &mut Collector) {
    let Some(number) = count(element.get("number")) else {
        return;
    };
    into.line(file, number, count(element.get("hits")).unwrap_or(0) > 0);
    if !is_true(element.get("branch")) {
        return;
    }
    // `50% (1/2)`
    let told = element.get("condition-coverage").unwrap_or_default();
    let counts = told
        .split_once('(')
        .and_then(|(_, counts)| counts.split_once('/'));
    if let Some((covered, all)) = counts {
        let all = all.trim_end_matches(|c: char| !c.is_ascii_digit());
        if let (Some(covered), Some(all)) = (count(Some(covered)), count(Some(all))) {
            into.branches(file, number, covered, all);
        }
    }
}
