//! `runner.toml` as the program finds it, and what the command line says instead.

mod support;

use std::fs;

use support::root;
use support::sandbox::{Ran, Sandbox};

/// One warning, of `unknown-key`.
const WARNED: &str = "version: 0.2\nx: 1\nphases:\n  build:\n    commands: [make]\n";
const OFF: &str = "[validate.rules]\nunknown-key = 'off'\n";

fn sandbox() -> Sandbox {
    Sandbox::new().file("a/b/buildspec.yml", WARNED)
}

fn validate(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    sandbox.run(["validate"].iter().chain(arguments))
}

fn is_silent(sandbox: &Sandbox, arguments: &[&str]) -> bool {
    let ran = validate(sandbox, arguments).expect(0);
    assert_eq!(
        ran.stdout.is_empty(),
        ran.stderr.is_empty(),
        "{}",
        ran.stderr
    );
    ran.stdout.is_empty()
}

// LINT-58
#[test]
fn the_nearest_file_counts_up_to_where_the_program_was_started() {
    let path = ["a/b/buildspec.yml"];
    let sandbox = sandbox().file("runner.toml", OFF);
    assert!(is_silent(&sandbox, &path));
    assert!(is_silent(&sandbox, &["a"]));
    let sandbox = sandbox.file("a/runner.toml", "");
    assert!(!is_silent(&sandbox, &path));
    // Above the place where the program was started, a file belongs to something else.
    let sandbox = self::sandbox();
    fs::write(sandbox.path("runner.toml"), OFF).expect("a file can be written");
    assert!(!is_silent(&sandbox, &path));
}

// LINT-58
#[test]
fn in_a_repository_its_top_is_where_the_search_ends() {
    let sandbox = sandbox().file("runner.toml", OFF).file("a/.git/HEAD", "");
    assert!(!is_silent(&sandbox, &["a/b/buildspec.yml"]));
    let sandbox = sandbox.file("a/runner.toml", OFF);
    assert!(is_silent(&sandbox, &["a/b/buildspec.yml"]));
    // The program may be started below the top.
    let mut command = sandbox.command(["validate"]);
    let output = command.current_dir(sandbox.source().join("a/b")).output();
    let ran = sandbox.finish(&output.expect("it can be started"));
    assert_eq!(ran.expect(0).stdout, "");
}

// LINT-58
#[test]
fn another_file_can_be_named_or_none_used() {
    let sandbox = sandbox().file("runner.toml", OFF).file("other.toml", "");
    let path = "a/b/buildspec.yml";
    assert!(!is_silent(&sandbox, &["--config", "other.toml", path]));
    assert!(!is_silent(&sandbox, &["--no-config", path]));
    validate(&sandbox, &["--config", "missing.toml", path])
        .expect(2)
        .stderr_has("could not read missing.toml: there is no such file");
    validate(&sandbox, &["--config", "a", path])
        .expect(2)
        .stderr_has("could not read a: ");
    validate(&sandbox, &["--config", "a", "--no-config", path]).expect(2);
}

// LINT-57
#[test]
fn a_file_that_is_no_text_is_refused_with_a_place() {
    let sandbox = sandbox().file("runner.toml", b"[validate]\n\xff");
    let ran = validate(&sandbox, &["a", "missing.yml"]).expect(2);
    assert_eq!(ran.stdout, "");
    ran.stderr_has("--> runner.toml:2:1");
}

// LINT-55
#[test]
fn the_command_line_wins() {
    let sandbox = sandbox().file(
        "runner.toml",
        "[validate]\nfail-on = 'warning'\nprofile = 'runner'\n[validate.rules]\nunknown-key = 'info'\n",
    );
    validate(&sandbox, &["a"])
        .expect(0)
        .stdout_has("info[unknown-key]");
    let error = ["a", "--rule", "unknown-key=error"];
    validate(&sandbox, &error)
        .expect(1)
        .stdout_has("error[unknown-key]");
    let warning = ["a", "--rule", "BS103=warning"];
    validate(&sandbox, &warning).expect(1);
    validate(&sandbox, &[&warning[..], &["--fail-on", "error"]].concat()).expect(0);
    validate(&sandbox, &["a", "--fail-on", "info"]).expect(1);
    let off = [
        "a",
        "--rule",
        "unknown-key=error",
        "--rule",
        "unknown-key=off",
    ];
    assert!(is_silent(&sandbox, &off));
}

// LINT-55
#[test]
fn mistakes_in_a_flag_say_what_may_have_been_meant() {
    let sandbox = sandbox();
    let table = [
        (
            "unknown-keys=off",
            "there is no rule `unknown-keys`; did you mean `unknown-key`?",
        ),
        (
            "unknown-key=of",
            "expected `error`, `warning`, `info` or `off`, and this is `of`",
        ),
        ("unknown-key", "expected a rule, `=` and a level"),
        ("yaml-syntax=off", "`yaml-syntax` is an error and stays one"),
    ];
    for (rule, said) in table {
        validate(&sandbox, &["a", "--rule", rule])
            .expect(2)
            .stderr_has(said);
    }
}

// LINT-55
#[test]
fn the_file_that_the_readme_shows_is_one() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    let (_, rest) = readme.split_once("```toml\n").expect("it shows one");
    let (shown, _) = rest.split_once("```").expect("a block ends");
    let sandbox = sandbox().file("runner.toml", shown);
    validate(&sandbox, &["a"])
        .expect(1)
        .stdout_has("warning[unknown-key]");
}

// LINT-56
#[test]
fn what_is_excluded_is_passed_over_in_folders_only() {
    let config = "[validate]\nexclude = ['/a/b/']\n";
    let sandbox = sandbox()
        .file("runner.toml", config)
        .file("a/buildspec.yml", WARNED.replace("x: 1\n", ""));
    assert!(is_silent(&sandbox, &["."]));
    assert!(!is_silent(&sandbox, &[".", "a/b/buildspec.yml"]));
}
