//! TestNG XML.

use super::Format;
use super::collect::{Collector, Draft};
use super::error::ReadError;
use super::model::{MAX_MESSAGE, MAX_NAME, MAX_OUTPUT, shortened};
use super::numbers::{is_true, units};
use super::xml::{Element, Node, Xml};
use crate::event::CaseStatus;

pub(super) fn read(xml: &mut Xml<'_>, into: &mut Collector) -> Result<(), ReadError> {
    xml.root(Format::TestngXml.roots())?;
    let (mut suite, mut test, mut class) = (String::new(), String::new(), String::new());
    while let Some(node) = xml.next()? {
        let Node::Open(element) = node else { continue };
        let name = || element.get("name").unwrap_or_default().to_owned();
        match element.name.as_str() {
            "suite" => suite = name(),
            "test" => test = name(),
            "class" => class = name(),
            "test-method" => {
                let within = into.suite(if test.is_empty() { &suite } else { &test });
                let mut draft = Draft::new(within, "");
                draft.class.clone_from(&class);
                if let Some(case) = method(xml, &element, draft)? {
                    into.case(case);
                }
            }
            "reporter-output" | "groups" => xml.skip()?,
            _ => {}
        }
    }
    Ok(())
}

/// Reads a method to its end. What sets up and tears down is no case, unless it fails: nobody else would tell of it.
fn method(
    xml: &mut Xml<'_>,
    element: &Element,
    mut case: Draft,
) -> Result<Option<Draft>, ReadError> {
    let sets_up = is_true(element.get("is-config"));
    case.name = shortened(element.get("name").unwrap_or_default(), MAX_NAME);
    case.duration = element.get("duration-ms").and_then(|text| units(text, 1e3));
    case.status = match (element.get("status"), sets_up) {
        (Some("PASS"), _) => CaseStatus::Succeeded,
        (Some("FAIL"), false) => CaseStatus::Failed,
        (Some("FAIL"), true) => CaseStatus::Error,
        (Some("SKIP"), _) => CaseStatus::Skipped,
        _ => CaseStatus::Unknown,
    };
    let mut parameters = Vec::new();
    let mut within = Vec::new();
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(child) => match (child.name.as_str(), within.last().map(String::as_str)) {
                ("message", Some("exception")) => case.say(xml.text(MAX_MESSAGE * 4)?.trim()),
                ("full-stacktrace" | "short-stacktrace", _) => {
                    let text = xml.text(MAX_OUTPUT)?;
                    case.write_lines(text.trim());
                }
                ("line", Some("reporter-output")) => {
                    let text = xml.text(MAX_OUTPUT)?;
                    case.write_lines(text.trim());
                }
                ("value", Some("param")) if parameters.len() < 16 => {
                    parameters.push(shortened(xml.text(MAX_NAME)?.trim(), 100));
                }
                _ => within.push(child.name),
            },
            Node::Close(_) if within.pop().is_none() => break,
            Node::Close(_) | Node::Text(_) => {}
        }
    }
    if !parameters.is_empty() {
        case.name = shortened(
            &format!("{}({})", case.name, parameters.join(", ")),
            MAX_NAME,
        );
    }
    Ok((!sets_up || case.status == CaseStatus::Error).then_some(case))
}
