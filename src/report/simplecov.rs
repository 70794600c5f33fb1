//! JSON of the Ruby gem `simplecov`: `.resultset.json`, with the results of each command, and its `coverage.json`.

use std::io::Read;

use serde::de::{MapAccess, SeqAccess};

use super::collect::{Collector, FileId};
use super::error::ReadError;
use super::json::{self, Loose, Step, Walk, ignore, not_this};

pub(super) fn read(bytes: impl Read, into: &mut Collector) -> Result<(), ReadError> {
    json::read(bytes, Seed(into), "results by command")
}

struct Seed<'c>(&'c mut Collector);

impl<'de> serde::de::DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        Walk(Commands {
            into: self.0,
            found: false,
        })
        .deserialize(deserializer)
    }
}

/// The commands whose results are in the file; in `coverage.json`, the results themselves.
struct Commands<'c> {
    into: &'c mut Collector,
    /// Whether there is anything of coverage.
    found: bool,
}

impl<'de> Step<'de> for Commands<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "coverage" {
            self.found = true;
            return map.next_value_seed(Walk(Files(self.into)));
        }
        let command = Command {
            into: self.into,
            found: &mut self.found,
        };
        map.next_value_seed(Walk(command))
    }

    fn item<A: SeqAccess<'de>>(&mut self, _: &mut A) -> Result<bool, A::Error> {
        Err(not_this("a list"))
    }

    fn other(&mut self) -> bool {
        false
    }
}

struct Command<'c> {
    into: &'c mut Collector,
    found: &'c mut bool,
}

impl<'de> Step<'de> for Command<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "coverage" {
            *self.found = true;
            map.next_value_seed(Walk(Files(self.into)))
        } else {
            ignore(map)
        }
    }
}

struct Files<'c>(&'c mut Collector);

impl<'de> Step<'de> for Files<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, path: &str, map: &mut A) -> Result<(), A::Error> {
        let file = self.0.file(path);
        map.next_value_seed(Walk(OneFile {
            lines: Lines {
                into: self.0,
                file,
                number: 0,
            },
        }))
    }
}

/// A file: in old versions its lines, in new ones a map with them.
struct OneFile<'c> {
    lines: Lines<'c>,
}

impl<'de> Step<'de> for OneFile<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "lines" => map.next_value_seed(Walk(&mut self.lines)),
            "branches" => map.next_value_seed(Walk(Conditions {
                into: self.lines.into,
                file: self.lines.file,
                number: 0,
            })),
            _ => ignore(map),
        }
    }

    fn item<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        (&mut self.lines).item(list)
    }
}

/// How often each line was reached: a number, or nothing where it is no code.
struct Lines<'c> {
    into: &'c mut Collector,
    file: FileId,
    number: u64,
}

impl<'de> Step<'de> for &mut Lines<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        ignore(map)
    }

    fn item<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        let Some(hits) = list.next_element::<Loose>()? else {
            return Ok(false);
        };
        self.number += 1;
        if let Some(hits) = hits.number() {
            self.into.line(self.file, self.number, hits > 0.0);
        }
        Ok(true)
    }
}

/// Branches by condition, or a list of all of them. Which line they are at is not needed: the place among all is enough to
/// know them again in the results of another command.
struct Conditions<'c> {
    into: &'c mut Collector,
    file: FileId,
    number: u64,
}

impl<'de> Step<'de> for Conditions<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(Walk(Hits {
            into: self.into,
            file: self.file,
            number: &mut self.number,
        }))
    }

    fn item<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        let mut branch = Branch(None);
        let there = list.next_element_seed(Walk(&mut branch))?.is_some();
        if let Some(hits) = branch.0.filter(|_| there) {
            self.number += 1;
            self.into
                .branches(self.file, self.number, u64::from(hits > 0.0), 1);
        }
        Ok(there)
    }
}

/// The branches of one condition.
struct Hits<'c> {
    into: &'c mut Collector,
    file: FileId,
    number: &'c mut u64,
}

impl<'de> Step<'de> for Hits<'_> {
    fn entry<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        if let Some(hits) = map.next_value::<Loose>()?.number() {
            *self.number += 1;
            self.into
                .branches(self.file, *self.number, u64::from(hits > 0.0), 1);
        }
        Ok(())
    }
}

/// One of a list of branches, with how often it was reached.
struct Branch(Option<f64>);

impl<'de> Step<'de> for &mut Branch {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "coverage" {
            self.0 = map.next_value::<Loose>()?.number();
            return Ok(());
        }
        ignore(map)
    }
}
