//! The rules of the house: layers, statements and their cases, findings and their pages, documents that say what is so.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use buildspec_runner::build::ExitCode;
use buildspec_runner::buildspec::keys::{self, Key, Kind, Section};
use buildspec_runner::diagnostic::{Code, Severity};
use regex::Regex;
use support::wait::Bounded as _;
use support::{root, tree, updating};

/// Every module with its layer. A module may use its own layer and those below it.
const LAYERS: &[(&str, u8)] = &[
    ("diagnostic", 0),
    ("source", 0),
    ("units", 0),
    ("buildspec", 1),
    ("env", 1),
    ("phase", 1),
    ("plan", 1),
    ("runtime", 1),
    ("user", 1),
    ("aws", 2),
    ("credentials", 2),
    ("directory", 2),
    ("engine", 2),
    ("event", 2),
    ("exec", 2),
    ("fetch", 2),
    ("git_credential", 2),
    ("ownership", 2),
    ("private", 2),
    ("process", 2),
    ("proxy", 2),
    ("redact", 2),
    ("registry", 2),
    ("secret", 2),
    ("sink", 2),
    ("store", 2),
    ("view", 2),
    ("artifact", 3),
    ("build", 3),
    ("cache", 3),
    ("lint", 3),
    ("report", 3),
    ("tool", 3),
    ("agent", 4),
    ("cli", 4),
];

/// Modules of one layer that do not know one another: each is a way out into the world of its own.
const STRANGERS: &[&str] = &["exec", "fetch", "registry", "secret", "sink", "store"];

static ID: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b([A-Z]{3,5}-[0-9]+)\b"));
static STATEMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)^\*\*`([A-Z]+-[0-9]+)` — "));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file compiles")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Source files with their module and text.
fn sources() -> Vec<(PathBuf, String, String)> {
    tree::files(&root().join("src"))
        .into_iter()
        .map(|path| {
            let module = path.split(['/', '.']).next().unwrap_or_default().to_owned();
            let text = read(&root().join("src").join(&path));
            (PathBuf::from(path), module, text)
        })
        .collect()
}

#[test]
fn modules_use_their_own_layer_or_lower_ones() {
    let layer: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    let edge = pattern(r"\bcrate::(\{|\w+)");
    let mut problems = Vec::new();
    for (path, module, text) in sources() {
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let Some(own) = layer.get(module.as_str()) else {
            problems.push(format!("src/{}: `{module}` has no layer", path.display()));
            continue;
        };
        for found in edge.captures_iter(&text) {
            let to = &found[1];
            let stranger = STRANGERS.contains(&to) && STRANGERS.contains(&module.as_str());
            match layer.get(to) {
                // A group would hide its edges from this test.
                None => problems.push(format!("src/{}: `crate::{to}`", path.display())),
                Some(_) if module == "agent" && to == "cli" => {
                    problems.push(format!("src/{}: {module} uses {to}", path.display()));
                }
                Some(other) if other > own || (stranger && to != module) => {
                    problems.push(format!("src/{}: {module} uses {to}", path.display()));
                }
                Some(_) => {}
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_crate_lists_its_modules_by_layer() {
    let text = read(&root().join("src/lib.rs"));
    let declared: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let expected: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(declared, expected);
}

/// Ids of statements with the file they are in.
fn statements() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in tree::files(&root().join("spec")) {
        for statement in STATEMENT.captures_iter(&read(&root().join("spec").join(&file))) {
            let before = found.insert(statement[1].to_owned(), file.clone());
            assert_eq!(before, None, "{} is stated twice", &statement[1]);
        }
    }
    found
}

/// Folders of cases, with their kind and name.
fn cases() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for kind in ["check", "validate", "plan", "build", "agent"] {
        let entries = fs::read_dir(root().join("testdata").join(kind)).expect("cases are there");
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push((format!("{kind}/{name}"), entry.path()));
        }
    }
    found.sort();
    found
}

/// Ids that a case says it shows: in the comments its buildspec begins with, or in `case.toml`.
fn ids_of_case(folder: &Path) -> BTreeSet<String> {
    let buildspec = fs::read(folder.join("buildspec.yml")).unwrap_or_default();
    let buildspec = String::from_utf8_lossy(&buildspec).into_owned();
    let head: String = buildspec
        .trim_start_matches('\u{feff}')
        .split(['\r', '\n'])
        .take_while(|line| line.starts_with('#') || line.is_empty())
        .collect();
    let toml = fs::read_to_string(folder.join("case.toml")).unwrap_or_default();
    let listed = toml
        .lines()
        .find(|line| line.starts_with("ids"))
        .unwrap_or_default();
    ids_in(&format!("{head} {listed}"))
}

/// Everything that has the form of an id of ours.
fn ids_in(text: &str) -> BTreeSet<String> {
    let families: BTreeSet<String> = statements()
        .keys()
        .filter_map(|id| Some(id.split_once('-')?.0.to_owned()))
        .collect();
    ID.captures_iter(text)
        .map(|id| id[1].to_owned())
        .filter(|id| {
            id.split_once('-')
                .is_some_and(|(family, _)| families.contains(family))
        })
        .collect()
}

fn comments_of(text: &str) -> String {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("//"))
        .collect::<Vec<&str>>()
        .join("\n")
}

#[test]
fn every_statement_has_a_test_and_every_citation_a_statement() {
    let statements = statements();
    assert!(statements.len() > 50, "the statements are not found");
    let mut tested = Vec::new();
    let mut problems = Vec::new();
    for (name, folder) in cases() {
        let ids = ids_of_case(&folder);
        if ids.is_empty() {
            problems.push(format!("testdata/{name} names no statement"));
        }
        tested.extend(ids.into_iter().map(|id| (id, name.clone())));
    }
    for file in tree::files(&root().join("tests")) {
        if Path::new(&file)
            .extension()
            .is_some_and(|kind| kind == "rs")
            && file != "house.rs"
        {
            let text = read(&root().join("tests").join(&file));
            tested.extend(
                ids_in(&comments_of(&text))
                    .into_iter()
                    .map(|id| (id, file.clone())),
            );
        }
    }
    for (id, file) in &statements {
        if !tested.iter().any(|(cited, _)| cited == id) {
            problems.push(format!("spec/{file}: {id} has no test"));
        }
    }
    let in_sources = sources().into_iter().flat_map(|(path, _, text)| {
        let ids = ids_in(&comments_of(&text)).into_iter();
        ids.map(move |id| (id, path.display().to_string()))
    });
    for (id, by) in tested.into_iter().chain(in_sources) {
        if !statements.contains_key(&id) {
            problems.push(format!("{id} is cited by {by} and stated nowhere"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// How a key is written in `spec/conformance.md`; nothing for one that only leads to others, or belongs to batch builds.
fn path_of_key(key: &Key) -> Option<String> {
    let inner = matches!(
        key.kind,
        Kind::Section(_) | Kind::Sections(_) | Kind::Named(_)
    );
    let above = match key.section {
        Section::TopLevel if inner && key.name != "batch" => return None,
        Section::TopLevel => "",
        Section::Env => "env.",
        Section::OldEnv => "environment_variables.",
        Section::Proxy => "proxy.",
        Section::Phases => "phases.",
        Section::InstallPhase if key.name == "runtime-versions" => "phases.install.",
        Section::InstallPhase | Section::Phase => "phases.*.",
        Section::ReportGroup => "reports.*.",
        Section::Artifacts => "artifacts.",
        Section::SecondaryArtifact => "artifacts.secondary-artifacts.*.",
        Section::Cache => "cache.",
        _ => return None,
    };
    Some(format!("{above}{}", key.name))
}

#[test]
fn what_is_shown_where_is_whole_and_true() {
    let page = read(&root().join("spec/conformance.md"));
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let firsts: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.split(" | ").next()?.strip_prefix("| "))
        .collect();
    let count = |first: &str| firsts.iter().filter(|found| **found == first).count();
    let mut problems = Vec::new();
    let keys: BTreeSet<String> = keys::ALL.iter().filter_map(path_of_key).collect();
    let keys = keys.into_iter().map(|key| format!("`{key}`"));
    for expected in (1..=37).map(|number| format!("C{number}")).chain(keys) {
        if count(&expected) != 1 {
            problems.push(format!("{expected} is there {} times", count(&expected)));
        }
    }
    let known = statements();
    let link = pattern(r"\[([^\]]+)\]\(\.\./([^)]+)\)");
    for row in rows {
        for id in ids_in(row).into_iter().filter(|id| !known.contains_key(id)) {
            problems.push(format!("{id} is no statement: {row}"));
        }
        for found in link.captures_iter(row) {
            let (name, path) = (&found[1], root().join(&found[2]));
            let is_test = found[2].starts_with("tests/");
            if !path.is_file() || (is_test && !read(&path).contains(&format!("fn {name}("))) {
                problems.push(format!("{name} is not there: {row}"));
            }
        }
        let is_row = row.contains('`') || row.starts_with("| C");
        let says_why = row.contains("not in this version");
        if is_row && !says_why && !link.is_match(row) {
            problems.push(format!("nothing shows it: {row}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Keys in a document, as `path_of_key` writes them, with `*` for a name of the author's or a phase.
fn keys_in(value: &serde_yaml::Value, above: &str, found: &mut BTreeSet<String>) {
    let serde_yaml::Value::Mapping(mapping) = value else {
        return;
    };
    for (key, value) in mapping {
        let Some(name) = key.as_str() else { continue };
        let below = match above {
            "reports." | "artifacts.secondary-artifacts." => format!("{above}*."),
            "phases." => {
                found.insert(format!("phases.{name}"));
                if value.get("runtime-versions").is_some() {
                    found.insert(format!("phases.{name}.runtime-versions"));
                }
                "phases.*.".to_owned()
            }
            _ => {
                found.insert(format!("{above}{name}"));
                format!("{above}{name}.")
            }
        };
        keys_in(value, &below, found);
    }
}

#[test]
fn every_key_is_used_in_a_case_on_the_host_and_in_a_container() {
    let mut used = BTreeSet::new();
    for (name, folder) in cases() {
        let toml = fs::read_to_string(folder.join("case.toml")).unwrap_or_default();
        let Ok(text) = fs::read_to_string(folder.join("buildspec.yml")) else {
            continue;
        };
        if name.starts_with("build/") && !toml.contains("host-only") {
            // What cannot be read shows no key.
            let value = serde_yaml::from_str(text.trim_start_matches('\u{feff}'));
            keys_in(&value.unwrap_or_default(), "", &mut used);
        }
    }
    // Version 0.1 is read as 0.2, which `check/` shows.
    let missing: BTreeSet<String> = keys::ALL
        .iter()
        .filter_map(path_of_key)
        .filter(|key| !used.contains(key) && !key.starts_with("environment_variables."))
        .collect();
    assert_eq!(missing, BTreeSet::new(), "no case shows them in both");
}

#[test]
fn every_statement_says_how_sure_it_is() {
    let labels = pattern(r"\((?:[^()]*\b)?(documented|observed|inferred|assumed|ours)\b");
    let is_end = pattern(r"\((?:[^()]*\b)?(documented|observed|inferred|assumed|ours)\b[^()]*\)$");
    let mut problems = Vec::new();
    for file in tree::files(&root().join("spec")) {
        let text = read(&root().join("spec").join(&file));
        let starts: Vec<usize> = STATEMENT
            .find_iter(&text)
            .map(|found| found.start())
            .collect();
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(text.len());
            let statement = &text[*start..end];
            // What says so twice has been joined from two.
            let paragraph = statement.split("\n\n").next().unwrap_or_default();
            let sources = paragraph.lines().filter(|line| is_end.is_match(line));
            if !labels.is_match(statement) || sources.count() > 1 {
                problems.push(format!("spec/{file}: {}", statement.trim_end()));
            }
        }
    }
    assert!(
        problems.is_empty(),
        "no source is given, or more than one, for\n{}",
        problems.join("\n")
    );
}

/// The file that a case is about: the buildspec, or the first of those it has instead.
fn main_file(folder: &Path) -> PathBuf {
    let buildspec = folder.join("buildspec.yml");
    let mut files = tree::files(folder).into_iter().map(PathBuf::from);
    let other = files.find(|file| !file.starts_with("expected") && file != Path::new("case.toml"));
    match other {
        Some(other) if !buildspec.is_file() => folder.join(other),
        _ => buildspec,
    }
}

/// The shortest case whose expectations show a finding: its name, its buildspec and what is said.
fn example_of(code: Code) -> Option<(String, String, String)> {
    let heads = ["error", "warning", "info"].map(|kind| format!("{kind}[{}]", code.name()));
    let mut shown = Vec::new();
    for (name, folder) in cases() {
        for file in ["diagnostics.txt", "findings.txt", "notes.txt"] {
            let Ok(text) = fs::read_to_string(folder.join("expected").join(file)) else {
                continue;
            };
            if heads.iter().any(|head| text.contains(head.as_str())) {
                let bytes = fs::read(main_file(&folder)).unwrap_or_default();
                let buildspec = String::from_utf8_lossy(&bytes);
                let buildspec = buildspec.trim_start_matches('\u{feff}').replace('\0', "");
                // The whole of what is said stands in the case; the page shows what belongs to this finding.
                let part: Vec<&str> = text
                    .split("\n\n")
                    .filter(|part| heads.iter().any(|head| part.contains(head.as_str())))
                    .collect();
                shown.push((name.clone(), buildspec, part.join("\n\n")));
            }
        }
    }
    shown.into_iter().min_by_key(|(name, buildspec, _)| {
        // A case named after the finding is there to show it.
        let named = name.ends_with(&format!("/{}", code.name()));
        (!named, buildspec.len(), name.clone())
    })
}

/// `spec/diagnostics.md`, made from the table of findings and from cases.
fn page_of_diagnostics() -> String {
    let mut page = "# Findings\n\nWhat can be said of a buildspec. This page is made from the table in `src/diagnostic/code.rs` and from\ncases; `UPDATE=1 cargo test --test house` makes it anew.\n".to_owned();
    for code in Code::ALL {
        let info = code.info();
        let severity = match info.severity {
            Severity::Error => "an error",
            Severity::Warning => "a warning",
            Severity::Info => "for information",
        };
        page.push_str(&format!(
            "\n## `{}` {}\n\n{} It is {severity}.\n",
            info.name, info.id, info.why
        ));
        let (case, buildspec, said) =
            example_of(*code).unwrap_or_else(|| panic!("no case shows {}", info.name));
        page.push_str(&format!(
            "\nCase [{case}](../testdata/{case}):\n\n```yaml\n{}\n```\n\n```text\n{}\n```\n",
            buildspec.trim_end(),
            said.trim_matches('\n')
        ));
    }
    page
}

#[test]
fn every_finding_has_a_case_without_it() {
    let mut problems = Vec::new();
    for code in Code::ALL {
        let case = root().join("testdata/validate").join(code.name());
        let clean = root().join(format!("testdata/validate/{}-clean", code.name()));
        let is_clean = clean.is_dir() && !clean.join("expected/findings.txt").exists();
        if !case.is_dir() || !is_clean {
            problems.push(format!("{} or its -clean", case.display()));
        }
    }
    assert!(
        problems.is_empty(),
        "missing, or not clean:\n{}",
        problems.join("\n")
    );
}

#[test]
fn every_finding_has_a_case_and_its_page_is_up_to_date() {
    let path = root().join("spec/diagnostics.md");
    let page = page_of_diagnostics();
    if updating() {
        fs::write(&path, &page).expect("the page can be written");
    }
    assert!(
        read(&path) == page,
        "spec/diagnostics.md is not what the cases say: UPDATE=1 cargo test --test house"
    );
}

// CLI-3
#[test]
fn exit_codes_are_the_same_in_the_readme_and_in_help() {
    let readme = read(&root().join("README.md"));
    let help = std::process::Command::new(support::RUNNER)
        .args(["run", "--help"])
        .bounded_output()
        .expect("the program can be started");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for (number, meaning) in ExitCode::MEANINGS {
        let row = format!("| {number} | {meaning} |");
        assert!(readme.contains(&row), "README.md: no {row}");
        let line = pattern(&format!(
            r"(?m)^ +{} +{}$",
            regex::escape(number),
            regex::escape(meaning)
        ));
        assert!(line.is_match(&help), "--help: no {number} {meaning}");
    }
    let table = readme
        .lines()
        .filter(|line| pattern(r"^\| (\d+|128\+n) \|").is_match(line));
    assert_eq!(table.count(), ExitCode::MEANINGS.len());
}
