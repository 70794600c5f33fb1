//! Report auto-discovery: files that look like a report of a known format (LOG-14).

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Format;
use super::text::Decoder;
use crate::artifact::{Workspace, visit};

/// How long looking may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How much of a file is read to tell what it is.
const HEAD: usize = 4096;

/// Files that are kept to be read; more are only counted.
const MAX_FILES: usize = 10_000;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// How many files.
    pub files: usize,
    /// The first of them, with their format: paths of this program's.
    pub found: Vec<(PathBuf, Format)>,
    /// How long it took.
    pub duration: Duration,
}

/// Looks below the source directory for reports under a pattern, until the limit or until `stopped`.
#[must_use]
pub fn discover(workspace: &Workspace, pattern: &OsStr, stopped: &dyn Fn() -> bool) -> Discovery {
    let started = Instant::now();
    let (files, found) = look(workspace, pattern, &|| {
        started.elapsed() >= LIMIT || stopped()
    });
    Discovery {
        files,
        found,
        duration: started.elapsed(),
    }
}

fn look(
    workspace: &Workspace,
    pattern: &OsStr,
    over: &dyn Fn() -> bool,
) -> (usize, Vec<(PathBuf, Format)>) {
    let (mut files, mut found) = (0, Vec::new());
    visit(workspace, pattern, over, &mut |path| {
        if !may_be_report(path) || over() {
            return;
        }
        if let Some(format) = format_of(workspace, path) {
            files += 1;
            if found.len() < MAX_FILES {
                found.push((path.to_owned(), format));
            }
        }
    });
    (files, found)
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

/// The format of a file, by its beginning.
fn format_of(workspace: &Workspace, path: &Path) -> Option<Format> {
    let mut head = Vec::with_capacity(HEAD);
    let file = workspace.open(path).ok()?;
    let mut text = Decoder::new(file).take(HEAD as u64);
    text.read_to_end(&mut head).ok()?;
    let text = String::from_utf8_lossy(&head);
    if extension(path) == "json" {
        json_format(path, &text)
    } else {
        xml_format(&text)
    }
}

/// The format that begins with the first element, after declarations and comments.
fn xml_format(head: &str) -> Option<Format> {
    let mut rest = head.trim_start_matches('\u{feff}').trim_start();
    loop {
        let tag = rest.strip_prefix('<')?;
        let end = if tag.starts_with("!--") { "-->" } else { ">" };
        if tag.starts_with(['?', '!']) {
            let at = tag.find(end)?;
            rest = tag[at + end.len()..].trim_start();
            continue;
        }
        let name = tag
            .split(|c: char| c.is_whitespace() || matches!(c, '>' | '/'))
            .next()
            .unwrap_or_default();
        return match name {
            "test-run" => Some(Format::Nunit3Xml),
            // Two formats begin so; projects are of the one, packages and rates of the other.
            "coverage" if tag.contains("<project") || tag.contains("clover=") => {
                Some(Format::CloverXml)
            }
            "coverage" => Some(Format::CoberturaXml),
            _ => Format::ALL
                .into_iter()
                .filter(|format| *format != Format::Nunit3Xml)
                .find(|format| format.roots().contains(&name)),
        };
    }
}

/// Cucumber writes a list of features, SimpleCov a result set.
fn json_format(path: &Path, head: &str) -> Option<Format> {
    let is_result_set = path.file_name() == Some(OsStr::new(".resultset.json"));
    if is_result_set && head.contains("\"coverage\"") {
        return Some(Format::SimpleCov);
    }
    let is_list = head.trim_start().starts_with('[');
    let has_features = head.contains("\"keyword\"") && head.contains("\"elements\"");
    (is_list && has_features).then_some(Format::CucumberJson)
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
                Some(Format::JunitXml),
            ),
            ("a.xml", "<testsuite name=\"x\"/>", Some(Format::JunitXml)),
            (
                "a.xml",
                "<!DOCTYPE report>\n<report name=\"x\">",
                Some(Format::JacocoXml),
            ),
            (
                "a.xml",
                "<coverage line-rate=\"1\"><packages/>",
                Some(Format::CoberturaXml),
            ),
            (
                "a.xml",
                "<coverage generated=\"1\"><project/>",
                Some(Format::CloverXml),
            ),
            ("a.xml", "<coverage clover=\"4\">", Some(Format::CloverXml)),
            ("a.xml", "<test-results>", Some(Format::NunitXml)),
            ("a.xml", "<test-run>", Some(Format::Nunit3Xml)),
            ("a.xml", "<test-suite>", None),
            ("a.xml", "<testng-results>", Some(Format::TestngXml)),
            ("a.xml", "<project>", None),
            ("a.xml", "", None),
            ("a.xml", "<?xml", None),
            (
                "a.trx",
                "\u{feff}<TestRun id=\"1\">",
                Some(Format::VisualStudioTrx),
            ),
            ("a.txt", "<testsuite/>", None),
            (
                "a.json",
                "[{\"keyword\":\"Feature\",\"elements\":[]}]",
                Some(Format::CucumberJson),
            ),
            ("package.json", "{\"coverage\": 1}", None),
            (
                ".resultset.json",
                "{\"RSpec\":{\"coverage\":{}}}",
                Some(Format::SimpleCov),
            ),
        ];
        for (name, content, expected) in table {
            let place = tempfile::tempdir().unwrap();
            std::fs::write(place.path().join(name), content).unwrap();
            let workspace = Workspace {
                source_directory: place.path().to_owned(),
                hidden: Vec::new(),
                mounts: Vec::new(),
            };
            let (files, found) = look(&workspace, OsStr::new("**/*"), &|| false);
            let formats: Vec<Format> = found.into_iter().map(|(_, format)| format).collect();
            assert_eq!(formats.first().copied(), expected, "{name}: {content}");
            assert_eq!(files, formats.len());
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
        let (found, _) = look(&workspace, OsStr::new("**/*"), &over);
        assert!((1..9).contains(&found), "{found}");
        assert!(asked.get() < 12, "{}", asked.get());
    }
}
