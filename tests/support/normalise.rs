//! What differs from run to run becomes what does not: one place for all tests.

use std::path::Path;
use std::sync::LazyLock;

use regex::{Captures, Regex};

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file compiles")
}

static LOG_TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6}"));
static STATE: LazyLock<Regex> = LazyLock::new(|| pattern(r"/[^\s:'`]*/runner-[0-9a-f]{32}"));
static IN_CONTAINER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"/codebuild/output/src[0-9]{9}/src"));
static BOX: LazyLock<Regex> = LazyLock::new(|| pattern(r"/[^\s:'`]*/\.tmp[A-Za-z0-9]{6}"));
static UUID: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TOOK: LazyLock<Regex> = LazyLock::new(|| pattern(r"took \d+\.\d{6} seconds"));
static ARCHIVE: LazyLock<Regex> = LazyLock::new(|| pattern(r"archive of [0-9.]+ [KMGT]?i?B"));
static DURATION: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(\d+ms|\d+\.\d+s|\d+m\d\ds)\b"));

/// A text as it is written down: `<SRC>` for the source directory, `<STATE>` for the build's private directory,
/// `<BOX>` for the sandbox around both, zeros
/// for times.
pub(crate) fn normalise(text: &str, source: &Path) -> String {
    let text = STATE.replace_all(text, "<STATE>");
    let text = text.replace(&source.display().to_string(), "<SRC>");
    let text = IN_CONTAINER.replace_all(&text, "<SRC>");
    let text = BOX.replace_all(&text, "<BOX>");
    let text = LOG_TIME.replace_all(&text, "0000/00/00 00:00:00.000000");
    let text = TOOK.replace_all(&text, "took 0.000000 seconds");
    let text = ARCHIVE.replace_all(&text, "archive of 0 B");
    let text = UUID.replace_all(&text, |found: &Captures<'_>| {
        found[0].replace(|c: char| c.is_ascii_hexdigit(), "0")
    });
    text.into_owned()
}

/// The same, for text with durations in it.
pub(crate) fn without_durations(text: &str) -> String {
    DURATION.replace_all(text, "0ms").into_owned()
}
