//! Runs every folder under `testdata/` as a test of its own. How to add one: `testdata/README.md`.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

#[path = "cases/archives.rs"]
mod archives;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use buildspec_runner::agent::logs::lines::LogLines;
use buildspec_runner::agent::logs::ship::Translate as _;
use buildspec_runner::buildspec;
use buildspec_runner::diagnostic::{Colour, render};
use buildspec_runner::source::SourceText;
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use support::normalise::normalise;
use support::sandbox::{Ran, Sandbox};
use support::wait::Bounded as _;
use support::{events, root, tree, updating};

/// `case.toml`, where a case needs more than its files.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    /// Ids of the spec, where the buildspec has to stay bare. `tests/house.rs` reads them.
    #[serde(default, rename = "ids")]
    _ids: Vec<String>,
    /// Arguments beyond those that every case has.
    #[serde(default)]
    args: Vec<String>,
    /// Variables of the caller.
    #[serde(default)]
    env: std::collections::BTreeMap<String, String>,
    /// A script that makes what files cannot say, in the source directory, before each build: links, permissions, repositories.
    prepare: Option<String>,
    /// How many builds run, one after the other; what is expected is what came of the last.
    builds: Option<u8>,
    /// Whether there is no `buildspec.yml`.
    #[serde(default)]
    without_buildspec: bool,
    /// A program without which the case means nothing, such as `bash`.
    needs: Option<String>,
    /// Whether it means nothing unless this is root, on the host.
    #[serde(default)]
    needs_root: bool,
    /// Why the case means nothing in a container, or something else.
    host_only: Option<String>,
}

/// What a case consists of besides its source.
const OURS: &[&str] = &["expected", "case.toml"];

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for (kind, run) in [
        ("check", check as fn(&Path) -> Outcome),
        ("validate", validate),
        ("plan", plan),
        ("build", build),
        ("container", build_in_a_container),
    ] {
        let directory = if kind == "container" { "build" } else { kind };
        for folder in folders(&root().join("testdata").join(directory)) {
            let name = format!(
                "{kind}::{}",
                folder.file_name().unwrap_or_default().to_string_lossy()
            );
            trials.push(Trial::test(name, move || {
                run(&folder).map_err(Failed::from)
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

type Outcome = Result<(), String>;

fn folders(parent: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

fn read_case(folder: &Path) -> Result<Case, String> {
    let case = match fs::read_to_string(folder.join("case.toml")) {
        Ok(text) => toml::from_str(&text).map_err(|error| format!("case.toml: {error}"))?,
        Err(_) => Case::default(),
    };
    let has_buildspec = folder.join("buildspec.yml").is_file();
    if case.without_buildspec == has_buildspec {
        return Err(
            "a case has a buildspec.yml, or `without-buildspec = true` in case.toml".to_owned(),
        );
    }
    Ok(case)
}

/// Compares what came out with what is expected, or writes it down.
struct Expected<'f> {
    folder: &'f Path,
    known: Vec<&'static str>,
    problems: Vec<String>,
}

impl<'f> Expected<'f> {
    fn new(folder: &'f Path) -> Self {
        Self {
            folder,
            known: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join("expected").join(name)
    }

    /// Compares a file, if it is expected or has to be.
    fn text(&mut self, name: &'static str, actual: &str, required: bool) {
        self.known.push(name);
        let path = self.path(name);
        let expected = fs::read_to_string(&path).ok();
        if updating() {
            // An update never adds what a case does not want to show, except what it must.
            if required || expected.is_some() {
                fs::create_dir_all(path.parent().expect("a file has a directory"))
                    .expect("it can be made");
                fs::write(&path, actual).expect("an expectation can be written");
            }
            return;
        }
        match expected {
            Some(expected) if expected != actual => {
                self.problems.push(format!(
                    "expected/{name} differs:\n{}",
                    difference(&expected, actual)
                ));
            }
            Some(_) => {}
            None if required => self
                .problems
                .push(format!("expected/{name} is missing:\n{actual}")),
            None => {}
        }
    }

    /// Compares a tree; one that is not empty has to be expected.
    fn tree(&mut self, name: &'static str, actual: &Path) {
        self.known.push(name);
        let path = self.path(name);
        if updating() {
            let _ = fs::remove_dir_all(&path);
            if !tree::files(actual).is_empty() {
                fs::create_dir_all(&path).expect("it can be made");
                tree::copy(actual, &path, &[]);
            }
            return;
        }
        let (expected, found) = (tree::files(&path), tree::files(actual));
        if expected != found {
            let lines = |files: &[String]| files.join("\n");
            self.problems.push(format!(
                "expected/{name} differs:\n{}",
                difference(&lines(&expected), &lines(&found))
            ));
            return;
        }
        for file in expected {
            let content = |root: &Path| fs::read(root.join(&file)).unwrap_or_default();
            if content(&path) != content(actual) {
                self.problems
                    .push(format!("expected/{name}/{file} has other content"));
            }
        }
    }

    /// Compares files of the source with what they should have become, as far as they are expected.
    fn tree_of_source(&mut self, name: &'static str, sandbox: &Sandbox) {
        self.known.push(name);
        for file in tree::files(&self.path(name)) {
            let found = fs::read(sandbox.source().join(&file)).unwrap_or_default();
            let path = self.path(name).join(&file);
            if updating() {
                fs::write(path, found).expect("an expectation can be written");
            } else if fs::read(path).unwrap_or_default() != found {
                self.problems.push(format!(
                    "expected/{name}/{file} differs:\n{}",
                    String::from_utf8_lossy(&found)
                ));
            }
        }
    }

    fn verdict(self) -> Outcome {
        let mut problems = self.problems;
        for entry in fs::read_dir(self.folder.join("expected"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !self.known.contains(&name.as_str()) {
                problems.push(format!("expected/{name} is read by nobody"));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("\n"))
        }
    }
}

/// The lines that differ, with those around them.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let same_head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let same_tail = tail.min(old.len() - same_head).min(new.len() - same_head);
    let mut text = String::new();
    for line in &old[same_head.saturating_sub(2)..same_head] {
        text.push_str(&format!("  {line}\n"));
    }
    for line in &old[same_head..old.len() - same_tail] {
        text.push_str(&format!("- {line}\n"));
    }
    for line in &new[same_head..new.len() - same_tail] {
        text.push_str(&format!("+ {line}\n"));
    }
    text
}

/// `check/`: what is found in a buildspec. No `diagnostics.txt` means that nothing is.
fn check(folder: &Path) -> Outcome {
    read_case(folder)?;
    let bytes = fs::read(folder.join("buildspec.yml")).map_err(|error| error.to_string())?;
    let source = SourceText::from_bytes("buildspec.yml", bytes)
        .map_err(|_| "not UTF-8: a case of `build/`")?;
    let (_, diagnostics) = buildspec::check(&source);
    let text = render(&source, &diagnostics, Colour::No);
    let mut expected = Expected::new(folder);
    if updating() && text.is_empty() {
        let _ = fs::remove_dir_all(folder.join("expected"));
    }
    expected.text("diagnostics.txt", &text, !text.is_empty());
    if text.is_empty() && folder.join("expected/diagnostics.txt").exists() && !updating() {
        return Err("nothing was found, and something is expected".to_owned());
    }
    expected.verdict()
}

fn sandbox(folder: &Path, case: &Case) -> Result<Sandbox, String> {
    let sandbox = Sandbox::new();
    tree::copy(folder, &sandbox.source(), OURS);
    prepare(case, &sandbox)?;
    Ok(sandbox)
}

fn prepare(case: &Case, sandbox: &Sandbox) -> Outcome {
    if let Some(script) = &case.prepare {
        let done = Command::new("sh")
            .arg("-ec")
            .arg(script)
            .current_dir(sandbox.source())
            .bounded_output();
        let done = done.map_err(|error| format!("prepare: {error}"))?;
        if !done.status.success() {
            return Err(format!(
                "prepare failed: {}",
                String::from_utf8_lossy(&done.stderr)
            ));
        }
    }
    Ok(())
}

/// `validate/`: what `runner validate` finds. No `findings.txt` means nothing, and exit code 0.
fn validate(folder: &Path) -> Outcome {
    let case = read_case(folder)?;
    if is_missing(folder, &case) {
        return Ok(());
    }
    let sandbox = sandbox(folder, &case)?;
    // What is found does not depend on what the machine has, unless a case is about that.
    let mut arguments = vec!["validate".to_owned()];
    let own = ["--shellcheck", "--list-rules", "--explain"];
    if !case
        .args
        .iter()
        .any(|argument| own.contains(&argument.as_str()))
    {
        arguments.extend(["--shellcheck", "off"].map(str::to_owned));
    }
    arguments.extend(case.args.clone());
    let output = sandbox
        .command(arguments)
        .envs(&case.env)
        .bounded_output()
        .map_err(|error| error.to_string())?;
    let ran = sandbox.finish(&output);
    let mut expected = Expected::new(folder);
    if updating() && ran.stdout.is_empty() && ran.code == 0 {
        for name in ["findings.txt", "exit-code.txt"] {
            let _ = fs::remove_file(folder.join("expected").join(name));
        }
    }
    expected.text("findings.txt", &ran.stdout, !ran.stdout.is_empty());
    expected.text("notes.txt", &ran.stderr, false);
    expected.text(
        "exit-code.txt",
        &format!("{}\n", ran.code),
        ran.code != 0 || folder.join("expected/exit-code.txt").exists(),
    );
    expected.tree_of_source("source", &sandbox);
    expected.verdict()
}

/// `plan/`: what `runner plan` prints.
fn plan(folder: &Path) -> Outcome {
    let case = read_case(folder)?;
    let sandbox = sandbox(folder, &case)?;
    let arguments = ["plan".to_owned()].into_iter().chain(case.args.clone());
    let output = sandbox
        .command(arguments)
        .envs(&case.env)
        .bounded_output()
        .map_err(|error| error.to_string())?;
    let ran = sandbox.finish(&output);
    let mut expected = Expected::new(folder);
    expected.text("plan.txt", &ran.stdout, ran.code == 0);
    expected.text("notes.txt", &ran.stderr, !ran.stderr.is_empty());
    expected.verdict()
}

/// Whether a program is missing without which a case means nothing; then it says so.
fn is_missing(folder: &Path, case: &Case) -> bool {
    let Some(program) = &case.needs else {
        return false;
    };
    let missing = Command::new(program).arg("-c").arg(":").output().is_err();
    if missing {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        support::skipped(&name, &format!("no {program}"));
    }
    missing
}

/// `build/`: a whole build, on the host.
fn build(folder: &Path) -> Outcome {
    build_on(folder, None)
}

/// What an agent makes of the events of a build: the same log (AGENT-61).
fn log_of_events(text: &str) -> Result<String, String> {
    let mut lines = LogLines::default();
    let mut log = String::new();
    for line in text.lines() {
        lines.feed(line.as_bytes())?;
        log.extend(std::iter::from_fn(|| lines.next()).map(|event| event.message));
    }
    lines.end();
    log.extend(std::iter::from_fn(|| lines.next()).map(|event| event.message));
    Ok(log)
}

/// `build/`: the same build in a container has the same events (CTR-1).
fn build_in_a_container(folder: &Path) -> Outcome {
    if updating() {
        return Ok(());
    }
    let Some(image) = std::env::var("RUNNER_TEST_IMAGE").ok() else {
        support::skipped(
            "container",
            "no engine with an image: `tests/run` makes one",
        );
        return Ok(());
    };
    build_on(folder, Some(&image))
}

/// A file about reports, without what changes from run to run.
fn made_of_reports(sandbox: &Sandbox, name: &str) -> String {
    let path = sandbox.source().join(".runner/reports").join(name);
    normalise(
        &fs::read_to_string(path).unwrap_or_default(),
        &sandbox.source(),
    )
}

/// What came of one build.
struct Built {
    /// Its output, normalised.
    ran: Ran,
    /// Its events, as they were written.
    events: String,
    /// Its log, as it was written.
    log: Vec<u8>,
}

fn build_once(case: &Case, sandbox: &Sandbox, image: Option<&str>) -> Result<Built, String> {
    let event_file = sandbox.path("events.jsonl");
    let log_file = sandbox.path("build.log");
    let mut arguments: Vec<String> = ["run", "--log-format", "codebuild", "--events"]
        .map(str::to_owned)
        .to_vec();
    arguments.push(event_file.display().to_string());
    arguments.extend(["--log-file".to_owned(), log_file.display().to_string()]);
    arguments.extend(case.args.clone());
    let mut command = sandbox.command(&arguments);
    if let Some(image) = image {
        command.args(["--image", image, "--pull", "never"]);
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    }
    let output = command
        .envs(&case.env)
        .bounded_output()
        .map_err(|error| error.to_string())?;
    let log = fs::read(&log_file).unwrap_or_default();
    if log != output.stdout {
        return Err("the log file is not what standard output shows".to_owned());
    }
    let ran = sandbox.finish(&output);
    let events = fs::read_to_string(&event_file)
        .map_err(|error| format!("no events: {error}\n{}", ran.stderr))?;
    Ok(Built { ran, events, log })
}

fn build_on(folder: &Path, image: Option<&str>) -> Outcome {
    let case = read_case(folder)?;
    if is_missing(folder, &case) || (image.is_some() && case.host_only.is_some()) {
        return Ok(());
    }
    if image.is_none() && case.needs_root && !rustix::process::geteuid().is_root() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        support::skipped(&name, "this is not root");
        return Ok(());
    }
    let sandbox = sandbox(folder, &case)?;
    let mut built = build_once(&case, &sandbox, image)?;
    for _ in 1..case.builds.unwrap_or(1) {
        prepare(&case, &sandbox)?;
        built = build_once(&case, &sandbox, image)?;
    }
    let Built { ran, events, log } = built;
    let (made, log) = (log_of_events(&events)?, String::from_utf8_lossy(&log));
    if made != log {
        return Err(format!(
            "the log that its events make is not the log of the build\n--- of events\n{made}\n--- of the build\n{log}"
        ));
    }
    let archives = archives::listed(&events)?;
    // Nothing else may be told apart.
    let text = events.replace(r#""executor":"docker""#, r#""executor":"host""#);
    let stream = events::parse(&normalise(&text, &sandbox.source()));
    events::check_grammar(&stream);
    let mut expected = Expected::new(folder);
    expected.text("log.txt", &ran.stdout, false);
    expected.text("notes.txt", &ran.stderr, false);
    expected.text("events.txt", &events::summary(&stream), false);
    expected.text(
        "outcome.txt",
        &events::outcome(&stream, ran.code),
        ran.code != 0,
    );
    expected.text(
        "archives.txt",
        &normalise(&archives, &sandbox.source()),
        false,
    );
    expected.text(
        "summary.json",
        &made_of_reports(&sandbox, "summary.json"),
        false,
    );
    expected.text("junit.xml", &made_of_reports(&sandbox, "junit.xml"), false);
    expected.tree("artifacts", &sandbox.source().join(".runner/artifacts"));
    let leftovers = sandbox.leftovers();
    if !leftovers.is_empty() {
        return Err(format!("the build left {leftovers:?} behind"));
    }
    expected.verdict()
}
