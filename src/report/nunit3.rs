//! XML of NUnit 3.

use super::Format;
use super::collect::Collector;
use super::error::ReadError;
use super::nunit::{self, Dialect};
use super::xml::{Element, Xml};
use crate::event::CaseStatus;

pub(super) fn read(xml: &mut Xml<'_>, into: &mut Collector) -> Result<(), ReadError> {
    let dialect = Dialect {
        roots: Format::Nunit3Xml.roots(),
        status,
    };
    nunit::read(xml, into, &dialect)
}

fn status(case: &Element) -> CaseStatus {
    match (case.get("result"), case.get("label")) {
        (Some("Failed"), Some("Error" | "Invalid" | "Cancelled")) => CaseStatus::Error,
        (Some("Failed"), _) => CaseStatus::Failed,
        (Some("Skipped" | "Inconclusive"), _) => CaseStatus::Skipped,
        (Some("Passed" | "Warning"), _) => CaseStatus::Succeeded,
        _ => CaseStatus::Unknown,
    }
}
