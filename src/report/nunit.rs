//! What the XML of NUnit 2 and of NUnit 3 have in common.

use super::collect::{Collector, Draft};
use super::error::ReadError;
use super::model::{MAX_NAME, MAX_OUTPUT, shortened};
use super::numbers::seconds;
use super::suites::{Suites, split_name};
use super::xml::{Element, Node, Xml};
use crate::event::CaseStatus;

/// Suites that stand for one test with several arguments: its cases are of the suite around it.
const OF_ONE_TEST: &[&str] = &[
    "ParameterizedMethod",
    "ParameterizedTest",
    "GenericMethod",
    "Theory",
];

/// How one of the two says things.
pub(super) struct Dialect {
    pub(super) roots: &'static [&'static str],
    pub(super) status: fn(&Element) -> CaseStatus,
}

pub(super) fn read(
    xml: &mut Xml<'_>,
    into: &mut Collector,
    dialect: &Dialect,
) -> Result<(), ReadError> {
    let mut suites = Suites::default();
    let root = xml.root(dialect.roots)?;
    let name = root.first(&["fullname", "name"]).unwrap_or_default();
    let mut names = vec![name.to_owned()];
    suites.enter(name, 0, into);
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(element) => match element.name.as_str() {
                "test-suite" => {
                    let name = match element.get("type") {
                        Some(kind) if OF_ONE_TEST.contains(&kind) => names.last().cloned(),
                        _ => element.first(&["fullname", "name"]).map(str::to_owned),
                    };
                    let name = name.unwrap_or_default();
                    suites.enter(&name, 0, into);
                    names.push(name);
                }
                "test-case" => {
                    let case = case(xml, &element, Draft::new(suites.current(into), ""), dialect)?;
                    into.case(case);
                }
                // That of a suite around one that failed says nothing of its own.
                "failure" if element.get("site") != Some("Child") => {
                    let mut own = Draft::new(suites.current(into), "");
                    failure(xml, &mut own)?;
                    suites.failed(CaseStatus::Error, &own.message, &own.output);
                }
                "failure" | "properties" | "environment" | "settings" | "output"
                | "attachments" => {
                    xml.skip()?;
                }
                _ => {}
            },
            Node::Close(name) if name == "test-suite" => {
                names.pop();
                suites.leave(into);
            }
            Node::Close(_) | Node::Text(_) => {}
        }
    }
    suites.leave(into);
    Ok(())
}

fn case(
    xml: &mut Xml<'_>,
    element: &Element,
    mut case: Draft,
    dialect: &Dialect,
) -> Result<Draft, ReadError> {
    let full = element.first(&["fullname", "name"]).unwrap_or_default();
    let (class, name) = split_name(full);
    case.name = shortened(name, MAX_NAME);
    let class = element.first(&["classname"]).unwrap_or(class);
    class.clone_into(&mut case.class);
    case.duration = element.first(&["duration", "time"]).and_then(seconds);
    case.status = (dialect.status)(element);
    let mut written = String::new();
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(child) => match child.name.as_str() {
                "failure" | "reason" => failure(xml, &mut case)?,
                "output" => written = xml.text(MAX_OUTPUT)?,
                _ => xml.skip()?,
            },
            Node::Close(_) => break,
            Node::Text(_) => {}
        }
    }
    case.write_lines(&written);
    Ok(case)
}

/// Reads `message` and `stack-trace` to the end of the element around them.
fn failure(xml: &mut Xml<'_>, case: &mut Draft) -> Result<(), ReadError> {
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(child) => {
                let text = xml.text(MAX_OUTPUT)?;
                match child.name.as_str() {
                    "message" if case.message.is_empty() => case.say(text.trim()),
                    _ => case.write_lines(&text),
                }
            }
            Node::Close(_) => break,
            Node::Text(_) => {}
        }
    }
    Ok(())
}
