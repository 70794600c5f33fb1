//! Test and coverage reports: ten formats become one model, and the model becomes what people and programs read.
//!
//! A file is untrusted and may be of any size. It streams through [`text`] (bytes become characters), [`clip`] (no text is
//! longer than memory allows) and [`xml`] or [`json`] (a parser that expands nothing) into the reader of its format, which
//! hands cases and lines to a [`collect::Collector`] that keeps as much as there is room for.

mod clip;
mod clover;
mod cobertura;
mod collect;
mod cucumber;
mod discover;
mod error;
mod format;
mod hide;
mod jacoco;
mod json;
mod junit;
pub mod made;
mod model;
mod numbers;
mod nunit;
mod nunit2;
mod nunit3;
mod read;
mod simplecov;
mod suites;
mod testng;
mod text;
mod trx;
mod xml;

use std::io::Read;

pub use collect::Limits;
pub use discover::{Discovery, discover};
pub use error::ReadError;
pub use format::Format;
pub use model::{Case, CoveredFile, Problem, Report};

use collect::Collector;

/// Reads files into one report, one after the other.
#[derive(Debug)]
pub struct Reading(Collector);

impl Reading {
    /// Begins with a report that has nothing in it yet.
    #[must_use]
    pub fn new(report: Report, limits: Limits) -> Self {
        Self(Collector::new(report, limits))
    }

    /// Notes what is wrong with a file that cannot be read at all.
    pub fn unreadable(&mut self, name: &str, error: &std::io::Error) {
        self.0.begin_file();
        self.problem(Problem {
            file: Some(name.to_owned()),
            message: error.to_string(),
            help: None,
        });
    }

    /// Reads one more file, until `stopped`. `name` is how commands see it. A file that cannot be read to its end is a problem
    /// of the report; what stands before the mistake is kept. Says whether the file was read to its end.
    pub fn file(&mut self, name: &str, bytes: impl Read, stopped: &dyn Fn() -> bool) -> bool {
        self.0.begin_file();
        let format = self.0.report_mut().format;
        let bytes = read::Stoppable { bytes, stopped };
        let result = read::read(bytes, format, &mut self.0);
        if let Err(error) = &result {
            self.0.report_mut().problems.push(Problem {
                file: Some(name.to_owned()),
                message: error.to_string(),
                help: help(error),
            });
        }
        result.is_ok()
    }

    /// Notes what is wrong besides.
    pub fn problem(&mut self, problem: Problem) {
        self.0.report_mut().problems.push(problem);
    }

    /// The report.
    #[must_use]
    pub fn finish(self) -> Report {
        self.0.finish()
    }
}

/// What to do about a file that could not be read, where that is known.
fn help(error: &ReadError) -> Option<String> {
    let found = match error {
        ReadError::Unexpected { found, .. } => found,
        ReadError::Empty => {
            return Some("there is nothing in the file: did whatever writes it run?".to_owned());
        }
        ReadError::NotXml { json: true } => {
            return Some(format!(
                "the file is JSON: declare `file-format: {}` or `{}`",
                Format::CucumberJson.name(),
                Format::SimpleCov.name()
            ));
        }
        ReadError::NotXml { json: false } => {
            return Some("there is no XML in the file: is it what the test tool wrote?".to_owned());
        }
        ReadError::Truncated { .. } => {
            return Some(
                "the file breaks off: what writes it was ended before it was done".to_owned(),
            );
        }
        _ => return None,
    };
    let others: Vec<&str> = Format::ALL
        .iter()
        .filter(|format| format.roots().contains(&found.as_str()))
        .map(|format| format.name())
        .collect();
    let found = match found.as_str() {
        "packages" => vec![Format::CoberturaXml.name()],
        "project" => vec![Format::CloverXml.name()],
        _ => others,
    };
    (!found.is_empty()).then(|| format!("declare `file-format: {}`", found.join("` or `")))
}
