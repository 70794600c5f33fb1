//! XML of NUnit 2.

use super::Format;
use super::collect::Collector;
use super::error::ReadError;
use super::nunit::{self, Dialect};
use super::xml::{Element, Xml};
use crate::event::CaseStatus;

pub(super) fn read(xml: &mut Xml<'_>, into: &mut Collector) -> Result<(), ReadError> {
    let dialect = Dialect {
        roots: Format::NunitXml.roots(),
        status,
    };
    nunit::read(xml, into, &dialect)
}

fn status(case: &Element) -> CaseStatus {
    let is_false = |name| {
        case.get(name)
            .is_some_and(|text| text.eq_ignore_ascii_case("false"))
    };
    match case.get("result") {
        Some("Failure") => CaseStatus::Failed,
        Some("Error" | "NotRunnable") => CaseStatus::Error,
        Some("Ignored" | "Skipped" | "Inconclusive") => CaseStatus::Skipped,
        _ if is_false("executed") => CaseStatus::Skipped,
        // The first versions have no result.
        None if is_false("success") => CaseStatus::Failed,
        Some("Success") | None => CaseStatus::Succeeded,
        Some(_) => CaseStatus::Unknown,
    }
}
