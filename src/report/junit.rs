//! JUnit XML, in all the forms in which tools write it.

use super::Format;
use super::collect::{Collector, Draft};
use super::error::ReadError;
use super::model::{MAX_MESSAGE, MAX_NAME, MAX_OUTPUT, shortened};
use super::numbers::{count, seconds};
use super::suites::Suites;
use super::xml::{Element, Node, Xml};
use crate::event::CaseStatus;

pub(super) fn read(xml: &mut Xml<'_>, into: &mut Collector) -> Result<(), ReadError> {
    let mut suites = Suites::default();
    let root = xml.root(Format::JunitXml.roots())?;
    enter(&root, &mut suites, into);
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(element) => match element.name.as_str() {
                "testsuite" | "testsuites" => enter(&element, &mut suites, into),
                "testcase" => {
                    let case = case(xml, &element, Draft::new(suites.current(into), ""))?;
                    into.case(case);
                }
                name @ ("failure" | "error") => {
                    let status = status_of(name);
                    let message = element.first(&["message", "type"]).unwrap_or_default();
                    let output = xml.text(MAX_OUTPUT)?;
                    suites.failed(status, message, &output);
                }
                "properties" | "system-out" | "system-err" => xml.skip()?,
                _ => {}
            },
            Node::Close(name) if name == "testsuite" || name == "testsuites" => suites.leave(into),
            Node::Close(_) | Node::Text(_) => {}
        }
    }
    Ok(())
}

fn enter(element: &Element, suites: &mut Suites, into: &mut Collector) {
    let name = element.first(&["name", "id"]).unwrap_or_default();
    let failed = ["failures", "errors"].map(|what| count(element.get(what)).unwrap_or(0));
    suites.enter(name, failed[0].saturating_add(failed[1]), into);
}

fn status_of(child: &str) -> CaseStatus {
    match child {
        "failure" => CaseStatus::Failed,
        _ => CaseStatus::Error,
    }
}

/// Reads a case to its end.
fn case(xml: &mut Xml<'_>, element: &Element, mut case: Draft) -> Result<Draft, ReadError> {
    case.name = shortened(element.get("name").unwrap_or_default(), MAX_NAME);
    let class = element.first(&["classname", "class", "file"]);
    class.unwrap_or_default().clone_into(&mut case.class);
    case.duration = element.get("time").and_then(seconds);
    let mut written = String::new();
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(child) => match child.name.as_str() {
                name @ ("failure" | "error") => {
                    // Of several, the first failure counts, and an error only where there is none.
                    let status = status_of(name);
                    let first = case.status != CaseStatus::Failed;
                    if first {
                        case.status = status;
                    }
                    let message = child.first(&["message", "type"]).unwrap_or_default();
                    if case.message.is_empty() {
                        case.say(message);
                    }
                    let text = xml.text(MAX_OUTPUT)?;
                    case.write_lines(&text);
                }
                "skipped" => {
                    let message = child.get("message").unwrap_or_default().to_owned();
                    let text = xml.text(MAX_MESSAGE)?;
                    if case.status == CaseStatus::Succeeded {
                        case.status = CaseStatus::Skipped;
                        case.say(if message.is_empty() { &text } else { &message });
                    }
                }
                "system-out" | "system-err" => {
                    let text = xml.text(MAX_OUTPUT)?;
                    super::model::push_limited(&mut written, text.trim_matches('\n'), MAX_OUTPUT);
                    written.push('\n');
                }
                _ => xml.skip()?,
            },
            Node::Close(_) => break,
            Node::Text(_) => {}
        }
    }
    case.write_lines(&written);
    if case.status == CaseStatus::Succeeded {
        case.status = by_attribute(element);
    }
    Ok(case)
}

/// What a case without a child says of itself: some tools have words for it.
fn by_attribute(element: &Element) -> CaseStatus {
    let said =
        ["status", "result"].map(|name| element.get(name).unwrap_or_default().to_ascii_lowercase());
    let says = |words: &[&str]| said.iter().any(|said| words.contains(&said.as_str()));
    if says(&["failed", "failure", "fail"]) {
        CaseStatus::Failed
    } else if says(&["error"]) {
        CaseStatus::Error
    } else if says(&["notrun", "skipped", "disabled", "ignored", "suppressed"]) {
        CaseStatus::Skipped
    } else {
        CaseStatus::Succeeded
    }
}
