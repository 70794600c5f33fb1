//! Reads one file into a report.

use std::io::{self, Read};

use super::collect::Collector;
use super::error::ReadError;
use super::xml::Xml;
use super::{
    Format, clover, cobertura, cucumber, jacoco, junit, nunit2, nunit3, simplecov, testng, trx,
};

/// Reads a file of this format. What stands before a mistake in it is kept.
pub(super) fn read(
    bytes: impl Read,
    format: Format,
    into: &mut Collector,
) -> Result<(), ReadError> {
    match format {
        Format::CucumberJson => return cucumber::read(bytes, into),
        Format::SimpleCov => return simplecov::read(bytes, into),
        _ => {}
    }
    let mut xml = Xml::new(bytes);
    let xml = &mut xml;
    match format {
        Format::NunitXml => nunit2::read(xml, into),
        Format::Nunit3Xml => nunit3::read(xml, into),
        Format::TestngXml => testng::read(xml, into),
        Format::VisualStudioTrx => trx::read(xml, into),
        Format::CoberturaXml => cobertura::read(xml, into),
        Format::CloverXml => clover::read(xml, into),
        Format::JacocoXml => jacoco::read(xml, into),
        Format::JunitXml | Format::CucumberJson | Format::SimpleCov => junit::read(xml, into),
    }
}

/// Ends when somebody asks for the end: a file of any size is no reason to wait.
pub(super) struct Stoppable<'s, R> {
    pub(super) bytes: R,
    pub(super) stopped: &'s dyn Fn() -> bool,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.stopped)() {
            return Err(io::Error::other("stopped"));
        }
        self.bytes.read(buffer)
    }
}
