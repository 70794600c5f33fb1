//! Report auto-discovery: files that look like a report of a known format (LOG-14).

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::artifact::{Workspace, visit};

/// How long looking may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How much of a file is read to tell what it is.
const HEAD: usize = 4096;

/// Root elements of the XML formats: JUnit, NUnit 2 and 3, TestNG, TRX, Cobertura and Clover, JaCoCo.
const ROOTS: &[&str] = &[
    "testsuites",
    "testsuite",
    "test-results",
    "test-run",
    "testng-results",
    "TestRun",
    "coverage",
    "report",
];

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// How many files.
    pub files: usize,
    /// How long it took.
    pub duration: Duration,
}

/// Looks below the source directory for reports under a pattern, until the limit or until `stopped`.
#[must_use]
pub fn discover(workspace: &Workspace, pattern: &OsStr, stopped: &dyn Fn() -> bool) -> Discovery {
    let started = Instant::now();
    let files = count(workspace, pattern, &|| {
        started.elapsed() >= LIMIT || stopped()
    });
    Discovery {
        files,
        duration: started.elapsed(),
    }
}

fn count(workspace: &Workspace, pattern: &OsStr, over: &dyn Fn() -> bool) -> usize {
    let mut files = 0;
    visit(workspace, pattern, over, &mut |path| {
        files += usize::from(may_be_report(path) && !over() && is_report(workspace, path));
    });
    files
}

fn extension(path: &Path) -> String {
    path.extension()
        .and_then(OsStr::to_str)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn may_be_report(path: &Path) -> bool {
    matches!(extension(path).as_str(), "xml" | "trx" | "json")
}

fn is_report(workspace: &Workspace, path: &Path) -> bool {
    let mut head = Vec::with_capacity(HEAD);
    let opened = workspace.open(path);
    let read = opened.and_then(|file| file.take(HEAD as u64).read_to_end(&mut head));
    let text = String::from_utf8_lossy(&head);
    read.is_ok()
        && if extension(path) == "json" {
            is_json_report(path, &text)
        } else {
            is_xml_report(&text)
        }
}

/// Whether the first element is one of the known roots, after declarations and comments.
fn is_xml_report(head: &str) -> bool {
    let mut rest = head.trim_start_matches('\u{feff}').trim_start();
    loop {
        let Some(tag) = rest.strip_prefix('<') else {
            return false;
        };
        let end = if tag.starts_with("!--") { "-->" } else { ">" };
        if tag.starts_with(['?', '!']) {
            let Some(at) = tag.find(end) else {
                return false;
            };
            rest = tag[at + end.len()..].trim_start();
        } else {
            let name = tag
                .split(|c: char| c.is_whitespace() || matches!(c, '>' | '/'))
                .next()
                .unwrap_or_default();
            return ROOTS.contains(&name);
        }
    }
}

/// Cucumber writes a list of features, SimpleCov a result set.
fn is_json_report(path: &Path, head: &str) -> bool {
    let simplecov =
        path.file_name() == Some(OsStr::new(".resultset.json")) && head.contains("\"coverage\"");
    let cucumber = head.trim_start().starts_with('[')
        && head.contains("\"keyword\"")
        && head.contains("\"elements\"");
    simplecov || cucumber
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn reports_are_told_from_other_files() {
        let table = [
            (
                "a.xml",
                "<?xml version=\"1.0\"?>\n<!-- made by x > y -->\n<testsuites>",
                true,
            ),
            ("a.xml", "<testsuite name=\"x\"/>", true),
            ("a.xml", "<!DOCTYPE report>\n<report name=\"x\">", true),
            ("a.xml", "<project>", false),
            ("a.xml", "", false),
            ("a.xml", "<?xml", false),
            ("a.trx", "\u{feff}<TestRun id=\"1\">", true),
            ("a.txt", "<testsuite/>", false),
            (
                "a.json",
                "[{\"keyword\":\"Feature\",\"elements\":[]}]",
                true,
            ),
            ("package.json", "{\"coverage\": 1}", false),
            (".resultset.json", "{\"RSpec\":{\"coverage\":{}}}", true),
        ];
        for (name, content, expected) in table {
            let place = tempfile::tempdir().unwrap();
            std::fs::write(place.path().join(name), content).unwrap();
            let workspace = Workspace {
                source_directory: place.path().to_owned(),
                hidden: Vec::new(),
                mounts: Vec::new(),
            };
            let found = count(&workspace, OsStr::new("**/*"), &|| false);
            assert_eq!(found == 1, expected, "{name}: {content}");
        }
    }

    #[test]
    fn the_end_of_the_time_ends_the_walk_too() {
        let place = tempfile::tempdir().unwrap();
        for number in 0..9 {
            let directory = place.path().join(number.to_string());
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("a.xml"), "<testsuite/>").unwrap();
        }
        let workspace = Workspace {
            source_directory: place.path().to_owned(),
            hidden: Vec::new(),
            mounts: Vec::new(),
        };
        let asked = Cell::new(0);
        let over = || {
            asked.set(asked.get() + 1);
            asked.get() > 8
        };
        let found = count(&workspace, OsStr::new("**/*"), &over);
        assert!((1..9).contains(&found), "{found}");
        assert!(asked.get() < 12, "{}", asked.get());
    }
}
