//! Cucumber JSON: a list of features, each with scenarios, each with steps.

use std::io::Read;

use serde::de::{MapAccess, SeqAccess};

use super::collect::{Collector, Draft, SuiteId};
use super::error::ReadError;
use super::json::{self, Step, Walk, ignore, not_this, text};
use super::model::{MAX_NAME, shortened};
use crate::event::CaseStatus;

/// Nanoseconds of a second.
const PER_SECOND: f64 = 1e9;

pub(super) fn read(bytes: impl Read, into: &mut Collector) -> Result<(), ReadError> {
    json::read(bytes, Seed(into), "a list of features")
}

/// The way to a seed for any lifetime.
struct Seed<'c>(&'c mut Collector);

impl<'de> serde::de::DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        Walk(Features(self.0)).deserialize(deserializer)
    }
}

struct Features<'c>(&'c mut Collector);

impl<'de> Step<'de> for Features<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, _: &mut A) -> Result<(), A::Error> {
        Err(not_this(&format!("a map with `{key}`")))
    }

    fn item<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        let suite = self.0.unnamed_suite();
        let feature = Feature {
            into: self.0,
            suite,
            name: String::new(),
            uri: String::new(),
            background: Steps::default(),
        };
        Ok(list.next_element_seed(Walk(feature))?.is_some())
    }

    fn other(&mut self) -> bool {
        false
    }
}

struct Feature<'c> {
    into: &'c mut Collector,
    suite: SuiteId,
    name: String,
    uri: String,
    /// What the background before the next scenario came to.
    background: Steps,
}

impl<'de> Step<'de> for Feature<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "name" => self.name = text(map)?,
            "uri" => self.uri = text(map)?,
            "elements" => {
                let elements = Elements {
                    into: self.into,
                    suite: self.suite,
                    background: &mut self.background,
                };
                map.next_value_seed(Walk(elements))?;
            }
            _ => ignore(map)?,
        }
        Ok(())
    }

    fn end(&mut self) {
        let name = if self.name.is_empty() {
            &self.uri
        } else {
            &self.name
        };
        self.into.name_suite(self.suite, name);
    }
}

struct Elements<'c> {
    into: &'c mut Collector,
    suite: SuiteId,
    background: &'c mut Steps,
}

impl<'de> Step<'de> for Elements<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        ignore(map)
    }

    fn item<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        let mut scenario = Scenario {
            case: Draft::new(self.suite, ""),
            is_map: false,
            is_background: false,
            steps: Steps::default(),
        };
        if list.next_element_seed(Walk(&mut scenario))?.is_none() {
            return Ok(false);
        }
        if !scenario.is_map {
            return Ok(true);
        }
        if scenario.is_background {
            *self.background = scenario.steps;
            return Ok(true);
        }
        // What failed before a scenario failed for it: its own steps are only skipped.
        let mut steps = std::mem::take(self.background);
        steps.add(scenario.steps);
        self.into.case(steps.into_case(scenario.case));
        Ok(true)
    }
}

struct Scenario {
    case: Draft,
    is_map: bool,
    is_background: bool,
    steps: Steps,
}

impl<'de> Step<'de> for &mut Scenario {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "name" => self.case.name = shortened(&text(map)?, MAX_NAME),
            "type" => self.is_background = text(map)? == "background",
            "steps" | "before" | "after" => map.next_value_seed(Walk(StepList(&mut self.steps)))?,
            _ => ignore(map)?,
        }
        Ok(())
    }

    fn end(&mut self) {
        self.is_map = true;
    }
}

/// What all steps together came to.
#[derive(Default)]
struct Steps {
    passed: usize,
    failed: usize,
    undefined: usize,
    skipped: usize,
    unknown: usize,
    /// Nanoseconds.
    duration: Option<f64>,
    message: String,
    output: String,
}

impl Steps {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.undefined += other.undefined;
        self.skipped += other.skipped;
        self.unknown += other.unknown;
        if let Some(more) = other.duration {
            self.duration = Some(self.duration.unwrap_or(0.0) + more);
        }
        if self.message.is_empty() {
            self.message = other.message;
        }
        super::model::push_limited(&mut self.output, &other.output, super::model::MAX_OUTPUT);
    }

    /// The law of 8.6 for steps: the worst of them counts.
    const fn status(&self) -> CaseStatus {
        if self.failed > 0 {
            CaseStatus::Failed
        } else if self.undefined > 0 {
            CaseStatus::Error
        } else if self.unknown > 0 {
            CaseStatus::Unknown
        } else if self.skipped > 0 {
            CaseStatus::Skipped
        } else if self.passed > 0 {
            CaseStatus::Succeeded
        } else {
            // Nothing was carried out.
            CaseStatus::Skipped
        }
    }

    fn into_case(self, mut case: Draft) -> Draft {
        case.status = self.status();
        case.duration = self
            .duration
            .and_then(|nanoseconds| super::numbers::units(&nanoseconds.to_string(), PER_SECOND));
        case.say(&self.message);
        case.write_lines(&self.output);
        case
    }
}

struct StepList<'s>(&'s mut Steps);

impl<'de> Step<'de> for StepList<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        ignore(map)
    }

    fn item<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        let mut step = OneStep {
            steps: self.0,
            name: String::new(),
            result: Outcome::default(),
            has_result: false,
        };
        let there = list.next_element_seed(Walk(&mut step))?.is_some();
        if there {
            step.count();
        }
        Ok(there)
    }
}

struct OneStep<'s> {
    steps: &'s mut Steps,
    name: String,
    result: Outcome,
    has_result: bool,
}

impl OneStep<'_> {
    fn count(self) {
        let Self {
            steps,
            name,
            result,
            has_result,
        } = self;
        let counter = match result.status.to_ascii_lowercase().as_str() {
            "passed" => &mut steps.passed,
            "failed" => &mut steps.failed,
            "undefined" | "ambiguous" => &mut steps.undefined,
            "skipped" | "pending" => &mut steps.skipped,
            // A comment, or a hook that tells nothing.
            "" if !has_result => return,
            _ => &mut steps.unknown,
        };
        *counter += 1;
        if let Some(duration) = result.duration {
            steps.duration = Some(steps.duration.unwrap_or(0.0) + duration);
        }
        let told = match result.status.to_ascii_lowercase().as_str() {
            "failed" | "ambiguous" => result.error,
            "undefined" => format!("undefined step: {name}"),
            _ => return,
        };
        if steps.message.is_empty() {
            let first = told.lines().next().unwrap_or_default();
            steps.message = shortened(first, super::model::MAX_MESSAGE);
        }
        let text = format!("{name}\n{told}\n");
        super::model::push_limited(&mut steps.output, &text, super::model::MAX_OUTPUT);
    }
}

impl<'de> Step<'de> for &mut OneStep<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "name" => self.name = shortened(&text(map)?, MAX_NAME),
            "result" => {
                self.has_result = true;
                map.next_value_seed(Walk(&mut self.result))?;
            }
            "before" | "after" => map.next_value_seed(Walk(StepList(self.steps)))?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct Outcome {
    status: String,
    duration: Option<f64>,
    error: String,
}

impl<'de> Step<'de> for &mut Outcome {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "status" => self.status = text(map)?,
            "duration" => self.duration = map.next_value::<json::Loose>()?.number(),
            "error_message" => self.error = text(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}
