//! README is true to the letter: what it shows is what happens. `UPDATE=1 cargo test --test readme` writes it anew.
//!
//! In a `console` block each line after `% ` is run by a shell, in a directory that holds a copy of `testdata/demo`,
//! with the program on the PATH, one after the other as a reader would; what follows is what both streams show.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::normalise::{normalise, without_durations};
use support::sandbox::Sandbox;
use support::wait::Bounded as _;
use support::{RUNNER, root, tree, updating};

/// Where README says that the reader is.
const HOME: &str = "/home/you";

/// What stands in the README instead of what differs from run to run.
fn even(text: &str, place: &Path) -> String {
    // Said where ShellCheck is not installed.
    let text: String = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("note: shellcheck is not on PATH"))
        .collect();
    without_durations(&normalise(
        &text.replace(HOME, &place.display().to_string()),
        place,
    ))
}

/// Splitting at prompts has taken the last line's end.
fn end_line(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') {
        text.to_owned()
    } else {
        format!("{text}\n")
    }
}

/// Runs a command where the ones before it have led to.
fn run(sandbox: &Sandbox, directory: &mut String, line: &str) -> String {
    if let Some(to) = line.strip_prefix("cd ") {
        *directory = format!("{directory}/{to}");
        return String::new();
    }
    let programs = Path::new(RUNNER)
        .parent()
        .expect("a program is in a directory");
    let place = sandbox.command([""; 0]);
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{{ {line}\n}} 2>&1")])
        .env_clear()
        .envs(
            place
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .current_dir(sandbox.source().join(directory.trim_start_matches('/')));
    let path = std::env::var("PATH").expect("PATH is text");
    command.env("PATH", format!("{}:{path}", programs.display()));
    let output = command.bounded_output().expect("a shell can be started");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

// CLI-1, LOG-17
#[test]
fn what_the_readme_shows_is_what_happens() {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md is there");
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.source().join("demo")).expect("a directory can be made");
    tree::copy(
        &root().join("testdata/demo"),
        &sandbox.source().join("demo"),
        &[".runner", "dist"],
    );
    let mut directory = String::new();
    let (mut written, mut commands) = (String::new(), 0);
    let mut parts = readme.split("```console\n");
    written.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (block, rest) = part.split_once("```\n").expect("a block ends");
        written.push_str("```console\n");
        for shown in format!("\n{block}").split("\n% ").skip(1) {
            let (line, expected) = shown.split_once('\n').unwrap_or((shown, ""));
            let expected = end_line(expected);
            let found = run(&sandbox, &mut directory, line);
            commands += 1;
            let place = sandbox.source();
            written.push_str(&format!("% {line}\n"));
            if even(&found, &place) == even(&expected, &place) || !updating() {
                assert_eq!(even(&found, &place), even(&expected, &place), "% {line}");
                written.push_str(&expected);
            } else {
                written.push_str(&found.replace(&place.display().to_string(), HOME));
            }
        }
        written.push_str("```\n");
        written.push_str(rest);
    }
    assert!(commands >= 6, "the blocks are not found");
    if updating() {
        fs::write(&path, written).expect("README.md can be written");
    }
}

// CLI-1, LOG-1: the first of the two commands. The second is what runs this test.
#[test]
fn the_two_commands_are_what_the_readme_says() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    for command in ["cargo run --release -- run -C testdata/demo", "tests/run"] {
        assert!(
            readme.contains(&format!("\n```sh\n{command}\n```\n")),
            "{command}"
        );
    }
    assert!(root().join("tests/run").is_file());
    let sandbox = Sandbox::new();
    let demo = sandbox.source().join("testdata/demo");
    fs::create_dir_all(&demo).expect("a directory can be made");
    tree::copy(&root().join("testdata/demo"), &demo, &[".runner", "dist"]);
    let ran = sandbox.run(["run", "-C", "testdata/demo"]).expect(0);
    assert!(ran.stdout.ends_with("Phase complete: UPLOAD_ARTIFACTS State: SUCCEEDED\n[Container] 0000/00/00 00:00:00.000000 Phase context status code:  Message: \n"));
    let stored = tree::files(&demo.join(".runner/artifacts"));
    assert_eq!(stored.len(), 5, "{stored:?}");
}

// Every file that a document of ours leads to is there.
#[test]
fn links_lead_somewhere() {
    let mut documents: Vec<String> = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "testdata/README.md",
    ]
    .map(str::to_owned)
    .to_vec();
    documents.extend(
        tree::files(&root().join("spec"))
            .into_iter()
            .filter(|file| Path::new(file).extension().is_some_and(|kind| kind == "md"))
            .map(|file| format!("spec/{file}")),
    );
    let mut links = 0;
    for document in documents {
        let path = root().join(&document);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
        {
            let target = target.0.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            links += 1;
            let to = path
                .parent()
                .expect("a document is in a directory")
                .join(target);
            assert!(to.exists(), "{document} leads to {target}");
        }
    }
    assert!(links > 10, "the links are not found");
}
