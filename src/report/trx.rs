//! Visual Studio TRX.

use std::collections::HashMap;

use super::Format;
use super::collect::{Collector, Draft, SuiteId};
use super::error::ReadError;
use super::model::{MAX_MESSAGE, MAX_NAME, MAX_OUTPUT, shortened};
use super::numbers::clock;
use super::suites::split_name;
use super::xml::{Element, Node, Xml};
use crate::event::CaseStatus;

/// Results come before the tests they are of, so that the class of a case is known late.
#[derive(Default)]
struct Tests {
    suites: HashMap<String, SuiteId>,
    /// The test that is being defined.
    current: Option<SuiteId>,
    /// What the run itself says went wrong.
    run: Option<Draft>,
}

pub(super) fn read(xml: &mut Xml<'_>, into: &mut Collector) -> Result<(), ReadError> {
    let root = xml.root(Format::VisualStudioTrx.roots())?;
    let mut tests = Tests::default();
    let before = into.failures();
    while let Some(node) = xml.next()? {
        let Node::Open(element) = node else { continue };
        match element.name.as_str() {
            "UnitTestResult"
            | "TestResult"
            | "WebTestResult"
            | "GenericTestResult"
            | "ManualTestResult"
            | "TestResultAggregation" => {
                result(xml, &element, &mut tests, into)?;
            }
            "UnitTest" => {
                tests.current = element
                    .get("id")
                    .and_then(|id| tests.suites.get(id).copied());
            }
            "TestMethod" => {
                let class = element.get("className").unwrap_or_default();
                // Old ones have the assembly behind it.
                let class = class.split(',').next().unwrap_or_default();
                if let Some(suite) = tests.current.filter(|_| !class.is_empty()) {
                    into.name_suite(suite, class);
                }
            }
            "ResultSummary" if element.get("outcome").is_some_and(is_bad) => {
                let name = root.get("name").unwrap_or("test run");
                let mut run = Draft::new(into.suite(""), name);
                run.status = CaseStatus::Error;
                run.say("the run failed, and no case tells of it");
                tests.run = Some(run);
            }
            "RunInfo" | "StdOut" => {
                let text = xml.text(MAX_OUTPUT)?;
                if let Some(run) = &mut tests.run {
                    run.write_lines(&text);
                }
            }
            _ => {}
        }
    }
    match tests.run {
        Some(run) if into.failures() == before => into.case(run),
        _ => {}
    }
    Ok(())
}

fn is_bad(outcome: &str) -> bool {
    ["Failed", "Error", "Aborted", "Timeout"].contains(&outcome)
}

fn status(outcome: Option<&str>) -> CaseStatus {
    match outcome {
        Some("Passed") => CaseStatus::Succeeded,
        Some("Failed" | "Timeout" | "Aborted") => CaseStatus::Failed,
        Some("NotExecuted" | "Inconclusive") => CaseStatus::Skipped,
        // What is the first of its kind is left out by whoever writes it.
        Some("Error") | None => CaseStatus::Error,
        Some(_) => CaseStatus::Unknown,
    }
}

/// Reads a result to its end. One that has others in it stands for them.
fn result(
    xml: &mut Xml<'_>,
    element: &Element,
    tests: &mut Tests,
    into: &mut Collector,
) -> Result<(), ReadError> {
    let full = element.get("testName").unwrap_or_default();
    let (class, name) = split_name(full);
    let suite = match element.get("testId") {
        Some(id) => *tests
            .suites
            .entry(shortened(id, MAX_NAME))
            .or_insert_with(|| {
                let suite = into.unnamed_suite();
                into.name_suite(suite, class);
                suite
            }),
        None => into.suite(class),
    };
    let mut case = Draft::new(suite, name);
    case.status = status(element.get("outcome"));
    case.duration = element.get("duration").and_then(clock);
    let (mut written, mut has_inner) = (String::new(), false);
    let mut depth = 1_usize;
    while depth > 0 {
        match xml.next()? {
            Some(Node::Open(child)) => match child.name.as_str() {
                "Message" if xml.parent() == "ErrorInfo" => {
                    case.say(xml.text(MAX_MESSAGE * 4)?.trim());
                }
                "StackTrace" => {
                    let text = xml.text(MAX_OUTPUT)?;
                    case.write_lines(&text);
                }
                "StdOut" | "StdErr" | "DebugTrace" | "TextMessages" => {
                    let text = xml.text(MAX_OUTPUT)?;
                    super::model::push_limited(&mut written, text.trim_matches('\n'), MAX_OUTPUT);
                    written.push('\n');
                }
                "UnitTestResult" | "TestResult" => {
                    has_inner = true;
                    result(xml, &child, tests, into)?;
                }
                _ => depth += 1,
            },
            Some(Node::Close(_)) => depth -= 1,
            Some(Node::Text(_)) => {}
            None => break,
        }
    }
    case.write_lines(&written);
    if !has_inner {
        into.case(case);
    }
    Ok(())
}
