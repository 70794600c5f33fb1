//! Laws that hold for everything, checked with what nobody would think of writing down.
//!
//! Each law is stated a second time here, as plainly as it can be said, and compared with what the program does. What is
//! generated is small and strange rather than large; a counterexample that was found becomes a case or a unit test.

#[path = "properties/following.rs"]
mod following;
#[path = "properties/going.rs"]
mod going;
#[path = "properties/reading.rs"]
mod reading;
#[path = "properties/reporting.rs"]
mod reporting;
#[path = "properties/selecting.rs"]
mod selecting;
mod support;
#[path = "properties/telling.rs"]
mod telling;
#[path = "properties/writing.rs"]
mod writing;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

/// How often a law is tried. Counterexamples go to cases by hand, never to files.
fn tries(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// The buildspecs of the cases.
static BUILDSPECS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut texts: Vec<String> = ["check", "build"]
        .iter()
        .flat_map(|kind| fs::read_dir(support::root().join("testdata").join(kind)))
        .flatten()
        .filter_map(|folder| fs::read_to_string(folder.ok()?.path().join("buildspec.yml")).ok())
        .collect();
    texts.sort();
    assert!(texts.len() > 100, "the cases are not where they were");
    texts
});
