//! What flags are when the command line does not say: variables, `runner.toml`, defaults.

mod support;

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;
use serde_json::{Value, json};
use support::sandbox::{Ran, Sandbox};

const BUILDSPEC: &str = "version: 0.2\nphases:\n  build:\n    commands: ['echo built']\n";

fn sandbox(toml: &str) -> Sandbox {
    Sandbox::with_buildspec(BUILDSPEC).file("runner.toml", toml)
}

/// Runs the program with these variables too.
fn run(sandbox: &Sandbox, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(arguments);
    command.envs(variables.iter().copied());
    sandbox.finish(&command.output().expect("it can be started"))
}

/// What a flag of a command comes to, and where from, as `config show` says it.
fn shown(sandbox: &Sandbox, variables: &[(&str, &str)], flag: &str, arguments: &[&str]) -> Value {
    let words = [&["config", "show", "--json"], arguments].concat();
    let ran = run(sandbox, variables, &words).expect(0);
    let all: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    all[arguments.first().copied().unwrap_or("run")][flag].clone()
}

/// The value and, in short, where it comes from.
fn short(shown: &Value) -> (Value, String) {
    let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
    let origin = match text("origin").as_str() {
        "variable" => text("variable"),
        "file" => format!("{}:{}:{}", text("file"), shown["line"], shown["column"]),
        other => other.to_owned(),
    };
    (shown["value"].clone(), origin)
}

// CONF-1 CONF-12
#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let with_file = sandbox("[run]\ntimeout = '20m'\nenv = ['A=1', 'B=2']\n");
    let without = sandbox("");
    let variable = [("RUNNER_TIMEOUT", "30m")];
    let flag = ["run", "--timeout", "40m"];
    for (sandbox, variables, arguments, expected) in [
        (&without, &[][..], &["run"][..], ("60m", "default")),
        (&with_file, &[], &["run"], ("20m", "runner.toml:2:11")),
        (&with_file, &variable, &["run"], ("30m", "RUNNER_TIMEOUT")),
        (&without, &variable, &["run"], ("30m", "RUNNER_TIMEOUT")),
        (&with_file, &variable, &flag, ("40m", "flag")),
        (&with_file, &[], &flag, ("40m", "flag")),
    ] {
        let found = short(&shown(sandbox, variables, "timeout", arguments));
        assert_eq!(found, (json!(expected.0), expected.1.to_owned()));
    }
    // A list is replaced, not added to.
    let list = shown(&with_file, &[], "env", &["run", "-e", "C=3"]);
    assert_eq!(short(&list), (json!(["C=***"]), "flag".to_owned()));
    // They hold for builds, not only for what is shown.
    let sandbox = sandbox("[run]\nproject = 'of-file'\nlog-format = 'json'\n");
    run(&sandbox, &[], &[])
        .expect(0)
        .stdout_has("\"projectName\":\"of-file\"");
    let variables = [("RUNNER_PROJECT", "of-variable")];
    run(&sandbox, &variables, &["run"])
        .expect(0)
        .stdout_has("\"projectName\":\"of-variable\"");
    run(&sandbox, &variables, &["--project", "of-flag"])
        .expect(0)
        .stdout_has("\"projectName\":\"of-flag\"");
    // What is planned is what would run.
    run(&sandbox, &[], &["plan"])
        .expect(0)
        .stdout_has("of-file");
}

// CONF-1
#[test]
fn what_is_stronger_wins_over_what_cannot_stand_beside_it() {
    let verbose = sandbox("[run]\nverbose = true\n");
    for (variables, arguments, expected) in [
        (&[][..], &["run"][..], (true, false)),
        (&[], &["run", "--quiet"], (false, true)),
        (&[("RUNNER_QUIET", "true")], &["run"], (false, true)),
        // What is off forbids nothing.
        (&[("RUNNER_QUIET", "false")], &["run"], (true, false)),
        (&[("RUNNER_VERBOSE", "off")], &["run"], (false, false)),
    ] {
        let value = |flag| shown(&verbose, variables, flag, arguments)["value"].clone();
        let expected = (json!(expected.0), json!(expected.1));
        assert_eq!(
            (value("verbose"), value("quiet")),
            expected,
            "{variables:?} {arguments:?}"
        );
    }
    // In one place it is a mistake, and it says which place.
    let both = sandbox("[run]\nverbose = true\nquiet = true\n");
    run(&both, &[], &["run"])
        .expect(2)
        .stderr_has("cannot be used with")
        .stderr_has("note: `--verbose` is set by runner.toml:2:11\n")
        .stderr_has("note: `--quiet` is set by runner.toml:3:9\n");
}

// CONF-2
#[test]
fn variables_have_the_names_of_flags() {
    let sandbox = sandbox("");
    let value = |variable: (&str, &str), flag: &str, command: &str| {
        short(&shown(&sandbox, &[variable], flag, &[command]))
    };
    for (name, text, flag, expected) in [
        ("RUNNER_IMAGE", "a/b:1", "image", json!("a/b:1")),
        ("RUNNER_NO_TOOLS", "TRUE", "no-tools", json!(true)),
        ("RUNNER_NO_TOOLS", "1", "no-tools", json!(true)),
        ("RUNNER_NO_TOOLS", "yes", "no-tools", json!(true)),
        ("RUNNER_NO_TOOLS", "no", "no-tools", json!(false)),
        ("RUNNER_CACHE", "true", "cache", json!(true)),
        ("RUNNER_CACHE", "s3://b/p", "cache", json!("s3://b/p")),
        (
            "RUNNER_ULIMIT",
            "nofile=1:2\ncore=0\n",
            "ulimit",
            json!(["nofile=1:2", "core=0"]),
        ),
        ("RUNNER_PRIVILEGED", "true", "privileged", json!(true)),
    ] {
        assert_eq!(
            value((name, text), flag, "run"),
            (expected, name.to_owned()),
            "{name}={text}"
        );
    }
    for (name, flag) in [
        ("RUNNER_IMAGE", "image"),
        ("RUNNER_OS", "image"),
        ("RUNNER_DRY_RUN", "image"),
    ] {
        assert_eq!(
            value((name, ""), flag, "run"),
            (Value::Null, "default".to_owned()),
            "{name}"
        );
    }
    let strict = |name| value((name, "true"), "strict", "validate").1;
    assert_eq!(strict("RUNNER_VALIDATE_STRICT"), "RUNNER_VALIDATE_STRICT");
    assert_eq!(strict("RUNNER_STRICT"), "default");
    for (name, text, said) in [
        (
            "RUNNER_NO_TOOLS",
            "maybe",
            "error: RUNNER_NO_TOOLS cannot be used for `--no-tools`: expected true or false, and it is `maybe`",
        ),
        (
            "RUNNER_TIMEOUT",
            "90",
            "error: RUNNER_TIMEOUT cannot be used for `--timeout`: `90` lacks a unit",
        ),
        (
            "RUNNER_PULL",
            "often",
            "error: RUNNER_PULL cannot be used for `--pull`: expected `always`, `missing` or `never`",
        ),
        (
            "RUNNER_NO_CONFIG",
            "x",
            "RUNNER_NO_CONFIG is neither `true` nor `false`",
        ),
    ] {
        run(&sandbox, &[(name, text)], &["run"])
            .expect(2)
            .stderr_has(said);
    }
}

// CONF-3
#[test]
fn every_flag_has_its_counterparts() {
    let sandbox = sandbox("");
    let fixed = [
        "config",
        "debug-session",
        "diff",
        "directory",
        "dry-run",
        "explain",
        "fix",
        "help",
        "json",
        "list-rules",
        "no-config",
        "once",
        "rule",
        "shell-on-failure",
    ];
    let flag = Regex::new(r"(?m)^(?:      |  -\w, )--([a-z-]+)").expect("it is a pattern");
    for command in ["run", "agent", "validate"] {
        let help = run(&sandbox, &[], &[command, "--help"]).expect(0).stdout;
        let mut flags: BTreeSet<&str> = flag
            .captures_iter(&help)
            .filter_map(|found| Some(found.get(1)?.as_str()))
            .filter(|flag| !fixed.contains(flag))
            .collect();
        assert!(flags.len() >= 8, "{command}: {flags:?}");
        let all = run(&sandbox, &[], &["config", "show", "--json", command]).expect(0);
        let all: Value = serde_json::from_str(&all.stdout).expect("it is JSON");
        let shown = all[command].as_object().expect("it is a table");
        flags.retain(|flag| !shown.contains_key(*flag));
        assert!(
            flags.is_empty(),
            "{command}: {flags:?} cannot be configured"
        );
    }
    for key in fixed {
        let table = if ["diff", "explain", "fix", "list-rules", "rule"].contains(&key) {
            "validate"
        } else {
            "run"
        };
        let sandbox = self::sandbox(&format!("[{table}]\n{key} = true\n"));
        let ran = run(&sandbox, &[], &["run"]).expect(2);
        ran.stderr_has(&match key {
            // It is nothing that a command is told, so nobody thinks of it as a key.
            "help" => "unexpected key `help`".to_owned(),
            _ => format!("`{key}` cannot be configured: "),
        });
    }
}

// CONF-4 CONF-5
#[test]
fn values_have_the_kinds_that_flags_have() {
    let directory = Sandbox::with_buildspec(BUILDSPEC);
    let other = directory.path("trusted.toml");
    let value = |line: &str| {
        fs::write(&other, format!("[run]\n{line}\n")).expect("a file can be written");
        let flag = line.split(' ').next().unwrap_or_default();
        let config = other.display().to_string();
        shown(&directory, &[("RUNNER_CONFIG", &config)], flag, &["run"])["value"].clone()
    };
    for (line, expected) in [
        ("image = 'a/b:1'", json!("a/b:1")),
        ("image = \"a\\u002fb\"", json!("a/b")),
        ("no-tools = true", json!(true)),
        ("no-tools = false", json!(false)),
        ("cpus = 1.5", json!("1.5")),
        ("cpus = '1.5'", json!("1.5")),
        ("pids-limit = 100", json!("100")),
        ("fail-under = 80", json!("80")),
        (
            "ulimit = ['core=0', 'nofile=1:2']",
            json!(["core=0", "nofile=1:2"]),
        ),
        ("ulimit = []", Value::Null),
        ("cache = true", json!(true)),
        ("cache = 's3://b/p'", json!("s3://b/p")),
        ("cache = false", Value::Null),
        ("artifacts = '-x'", json!("-x")),
    ] {
        assert_eq!(value(line), expected, "{line}");
    }
}

// CONF-5 CONF-6
#[test]
fn everything_that_is_wrong_is_said_with_its_place() {
    let text = "\
[run]
timeout = 90
imgae = 'a'
pull = 'often'
no-tools = 'yes'
ulimit = 'core=0'
env = [1, true, 'A=1']
memory = 2026-01-01
ulimits = { a = 1 }
project = 'x'
[agent]
jobs = 0
[validate]
strict = 1
colour = 'never'
[rnu]
";
    let expected = [
        ("2:11", "`timeout` cannot be this: `90` lacks a unit"),
        ("3:1", "unexpected key `imgae` in `[run]`"),
        ("3:1", "did you mean `image`?"),
        (
            "4:8",
            "`pull` cannot be this: expected `always`, `missing` or `never`",
        ),
        (
            "5:12",
            "`no-tools` has to be true or false, and this is of type string",
        ),
        (
            "6:10",
            "`ulimit` has to be a list, and this is of type string",
        ),
        (
            "7:11",
            "`env` takes text or a number, and this is of type boolean",
        ),
        (
            "8:10",
            "`memory` takes text or a number, and this is of type datetime",
        ),
        ("9:1", "unexpected key `ulimits` in `[run]`"),
        (
            "10:11",
            "`project` cannot be this: a project name is 2 to 150",
        ),
        ("12:8", "`jobs` cannot be this: 0 is not in 1..=1000"),
        (
            "14:10",
            "`strict` has to be true or false, and this is of type integer",
        ),
        ("15:1", "unexpected key `colour`"),
        ("16:2", "unexpected key `rnu`"),
    ];
    let sandbox = sandbox(text);
    // Whatever command reads it.
    for arguments in [&["run"][..], &["plan"], &["validate"], &["config", "show"]] {
        let mut ran = run(&sandbox, &[], arguments).expect(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        for (place, said) in expected {
            ran = ran
                .stderr_has(&format!("runner.toml:{place}"))
                .stderr_has(said);
        }
    }
    // What only all of it together makes wrong.
    let sandbox = self::sandbox("");
    run(&sandbox, &[("RUNNER_CACHE_LIMIT", "1g")], &["run"])
        .expect(2)
        .stderr_has("the following required arguments were not provided")
        .stderr_has("--cache");
}

// CONF-7
#[test]
fn the_file_is_the_one_that_is_named_or_found() {
    let sandbox = Sandbox::new()
        .file("a/bb/buildspec.yml", BUILDSPEC)
        .file("runner.toml", "[run]\nproject = 'top'\n")
        .file("other.toml", "[run]\nproject = 'other'\n");
    let project = |variables: &[(&str, &str)], arguments: &[&str]| {
        let words = [arguments, &["-C", "a/bb", "--log-format", "json"]].concat();
        let ran = run(&sandbox, variables, &words).expect(0).stdout;
        let name = Regex::new("\"projectName\":\"([^\"]+)\"").expect("it is a pattern");
        name.captures(&ran).expect("it is there")[1].to_owned()
    };
    assert_eq!(project(&[], &["run"]), "top");
    assert_eq!(project(&[], &["run", "--config", "other.toml"]), "other");
    assert_eq!(
        project(&[("RUNNER_CONFIG", "other.toml")], &["run"]),
        "other"
    );
    assert_eq!(
        project(
            &[("RUNNER_CONFIG", "missing.toml")],
            &["run", "--config", "other.toml"]
        ),
        "other"
    );
    assert_eq!(project(&[], &["run", "--no-config"]), "bb");
    assert_eq!(
        project(&[("RUNNER_CONFIG", "other.toml")], &["run", "--no-config"]),
        "bb"
    );
    assert_eq!(project(&[("RUNNER_NO_CONFIG", "true")], &["run"]), "bb");
    run(&sandbox, &[], &["run", "--config", "missing.toml"])
        .expect(2)
        .stderr_has("could not read missing.toml: there is no such file");
    run(
        &sandbox,
        &[],
        &["run", "--config", "other.toml", "--no-config"],
    )
    .expect(2);
    // The nearest one counts.
    let sandbox = sandbox.file("a/bb/runner.toml", "[run]\nproject = 'near'\n");
    let shown = shown(&sandbox, &[], "project", &["run", "-C", "a/bb"]);
    assert_eq!(
        short(&shown),
        (json!("near"), "a/bb/runner.toml:2:11".to_owned())
    );
    // An agent does not read what lies where it was started.
    let sandbox = self::sandbox("[agent]\njobs = 7\n");
    assert_eq!(
        self::shown(&sandbox, &[], "jobs", &["agent"])["value"],
        json!("1")
    );
    let named = self::shown(&sandbox, &[], "jobs", &["agent", "--config", "runner.toml"]);
    assert_eq!(short(&named), (json!("7"), "runner.toml:2:8".to_owned()));
}

/// What a repository has to say nothing of, a line each as it would be in its file.
const LOOSENING: &[&str] = &[
    "privileged = true",
    "engine-socket = true",
    "volume = ['/:/host']",
    "network = 'host'",
    "executor = 'host'",
    "assume-role = 'arn:aws:iam::123456789012:role/admin'",
    "profile = 'production'",
    "credentials-endpoint = true",
    "git-credential = ['evil.example=env:TOKEN']",
    "env = ['A=1', 'AWS_SECRET_ACCESS_KEY']",
    "env-file = ['/etc/passwd']",
    "secrets-file = ['/etc/passwd']",
    "cache = true",
    "artifacts = '/home'",
    "reports = '/home'",
    "log-file = '/home/x'",
    "events = '/home/x'",
    "exported = '/home/x'",
    "source = ['/etc']",
];

// CONF-8
#[test]
fn a_file_in_a_source_tree_gives_a_build_nothing_of_the_machine() {
    for line in LOOSENING {
        let sandbox = sandbox(&format!("[run]\n{line}\n"));
        let key = line.split(' ').next().unwrap_or_default();
        let ran = run(&sandbox, &[], &["run"]).expect(2);
        assert_eq!(ran.stdout, "", "{line}");
        ran.stderr_has(&format!("a file in a source tree cannot set `{key}`: "))
            .stderr_has("runner.toml:2:")
            .stderr_has(&format!("RUNNER_{}", key.to_uppercase().replace('-', "_")))
            .stderr_has("--config runner.toml");
        // Nothing of it is done in other ways.
        let is_for_runs_alone = ["events", "exported", "log-file"].contains(&key);
        run(&sandbox, &[], &["plan"]).expect(if is_for_runs_alone { 0 } else { 2 });
        run(&sandbox, &[], &["run", "--no-config"]).expect(0);
        // Who names the file trusts it.
        let named = shown(&sandbox, &[], key, &["run", "--config", "runner.toml"]);
        assert_eq!(named["origin"], "file", "{line}");
    }
    // What is said anyway is not the file's.
    let sandbox = sandbox("[run]\nprofile = 'production'\n");
    let shown = shown(&sandbox, &[], "profile", &["run", "--profile", "mine"]);
    assert_eq!(short(&shown), (json!("mine"), "flag".to_owned()));
    // What is off gives nothing.
    let off = self::sandbox("[run]\nprivileged = false\nengine-socket = false\n");
    run(&off, &[], &["run"]).expect(0);
}

// CONF-8
#[test]
fn a_file_in_a_source_tree_makes_a_build_another_one() {
    let sandbox = sandbox(
        "[run]\nproject = 'web'\ntimeout = '5m'\nenv = ['GREETING=hello']\nlog-format = 'codebuild'\nstrict = true\n",
    );
    let sandbox = sandbox.file(
        "buildspec.yml",
        "version: 0.2\nphases:\n  build:\n    commands: ['echo \"$GREETING from $CODEBUILD_BUILD_ID\"']\n",
    );
    run(&sandbox, &[], &["run"])
        .expect(0)
        .stdout_has("hello from web:");
}

// CONF-10
#[test]
fn what_is_configured_is_in_nobodys_arguments() {
    let sandbox = sandbox("[run]\nenv = ['FROM_FILE=in-a-file-4711']\n").file(
        "buildspec.yml",
        "version: 0.2\nphases:\n  build:\n    commands:\n      - cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' > all.txt || true\n      - test -s all.txt\n",
    );
    let all = |variables: &[(&str, &str)]| {
        run(&sandbox, variables, &["run"]).expect(0);
        fs::read_to_string(sandbox.source().join("all.txt")).expect("it is text")
    };
    assert!(!all(&[]).contains("in-a-file-4711"));
    let variables = [("RUNNER_ENV", "FROM_VARIABLE=in-a-variable-4711")];
    assert!(!all(&variables).contains("in-a-variable-4711"));
    // The test would see it.
    run(&sandbox, &[], &["run", "-e", "A=on-the-line-4711"]).expect(0);
    let seen = fs::read_to_string(sandbox.source().join("all.txt")).expect("it is text");
    assert!(seen.contains("on-the-line-4711"));
}

// CONF-12
#[test]
fn what_is_shown_is_a_file_that_says_the_same() {
    let sandbox = sandbox(
        "[run]\nimage = 'a/b:1'\nulimit = ['core=0']\ncpus = 1.5\nverbose = true\nshell = 'bash'\n[validate]\nformat = 'json'\n[agent]\njobs = 3\narguments = ['--cpus', '2']\n",
    );
    let show = |arguments: &[&str]| {
        run(&sandbox, &[], &[&["config", "show"], arguments].concat())
            .expect(0)
            .stdout
    };
    let all = show(&[]);
    for line in [
        "[run]",
        "[agent]",
        "[validate]",
        "image = \"a/b:1\"",
        "ulimit = [\"core=0\"]",
        "verbose = true",
        "timeout = \"60m\"",
        "format = \"json\"",
    ] {
        assert!(
            all.lines().any(|found| found == line),
            "no {line} in\n{all}"
        );
    }
    fs::write(sandbox.source().join("again.toml"), &all).expect("a file can be written");
    let again: String = ["run", "agent", "validate"]
        .map(|command| show(&["--config", "again.toml", command]))
        .join("\n");
    // The agent reads no file that is not named, so here it has its defaults.
    assert_eq!(again, all);
    let origins = show(&["--origin", "run", "--timeout", "5m"]);
    for line in [
        r"timeout = .5m. +# command line",
        r"image = .a/b:1. +# runner.toml:2:9",
        r"grace = .10s. +# default",
    ] {
        let pattern = Regex::new(&format!("(?m)^{line}$")).expect("it is a pattern");
        assert!(pattern.is_match(&origins), "no {line} in\n{origins}");
    }
    let named = show(&["--config", "runner.toml", "agent"]);
    assert!(
        named.contains("jobs = \"3\"\n") && named.contains("arguments = [\"--cpus\", \"2\"]\n"),
        "{named}"
    );
    run(&sandbox, &[], &["config", "show", "prune"])
        .expect(2)
        .stderr_has("`prune` cannot be configured: expected `run`, `agent` or `validate`");
    run(&sandbox, &[], &["config", "show", "run", "--tiemout", "5m"])
        .expect(2)
        .stderr_has("--timeout");
}

// CONF-14
#[test]
fn one_file_serves_builds_in_containers_and_on_the_host() {
    let of_containers = "pull = 'always'\nimage-map = ['a=b']\nmemory = '1g'\ncpus = 1\nno-entrypoint = true\n\
        shm-size = '1m'\npids-limit = 9\nulimit = ['core=0']\nadd-host = ['a:127.0.0.1']\nplatform = 'linux/arm64'\nkeep = 'always'\n";
    let machine = "mount-source = 'copy'\nnetwork = 'none'\nvolume = ['/a:/b']\nprivileged = true\nengine-socket = true\n";
    let built = |ran: Ran| ran.expect(0).stdout_has("built");
    let found = sandbox(&format!("[run]\n{of_containers}"));
    for command in [&[][..], &["run"]] {
        built(run(&found, &[], command));
    }
    run(&found, &[], &["plan"]).expect(0);
    let named = found.file("named.toml", format!("[run]\n{of_containers}{machine}"));
    built(run(&named, &[], &["run", "--config", "named.toml"]));
    let variables = [
        ("RUNNER_PULL", "never"),
        ("RUNNER_MOUNT_SOURCE", "bind"),
        ("RUNNER_MEMORY", "1g"),
        ("RUNNER_PRIVILEGED", "true"),
        ("RUNNER_KEEP", "on-failure"),
    ];
    built(run(&named, &variables, &["run", "--no-config"]));
    // They are there for the builds that have one.
    for (flag, value) in [("pull", "always"), ("memory", "1g"), ("keep", "always")] {
        let found = shown(&named, &[], flag, &["run"]);
        assert_eq!(found["value"], json!(value), "{flag}");
        assert_eq!(found["origin"], "file", "{flag}");
    }
    // Whoever writes a flag by hand wants a container.
    run(&named, &variables, &["run", "--pids-limit", "5"])
        .expect(2)
        .stderr_has("`--pids-limit` is for builds in containers: add `--image IMAGE`");
    run(&named, &[], &["run", "--keep", "always"])
        .expect(2)
        .stderr_has("`--keep` keeps containers");
}

// CONF-14 CONF-1
#[test]
fn where_builds_run_is_what_the_strongest_says() {
    let sandbox = sandbox("[run]\nimage = 'a/b:1'\npull = 'never'\n");
    let nowhere = ("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let on_host = |variables: &[(&str, &str)], arguments: &[&str]| {
        run(&sandbox, variables, arguments)
            .expect(0)
            .stdout_has("built");
    };
    let in_container = |variables: &[(&str, &str)], arguments: &[&str]| {
        run(&sandbox, variables, arguments)
            .expect(4)
            .stderr_has("/nonexistent/docker.sock");
    };
    in_container(&[nowhere], &["run"]);
    on_host(&[nowhere], &["run", "--executor", "host"]);
    let host = ("RUNNER_EXECUTOR", "host");
    on_host(&[nowhere, host], &["run"]);
    in_container(&[nowhere, host], &["run", "--image", "c"]);
    in_container(&[nowhere, host], &["run", "--executor", "docker"]);
    run(
        &sandbox,
        &[],
        &["run", "--executor", "host", "--image", "c"],
    )
    .expect(2)
    .stderr_has("on the host there is no image");
}

// CONF-12
#[test]
fn defaults_of_containers_are_shown() {
    let sandbox = sandbox("");
    for (flag, value) in [("pull", "missing"), ("mount-source", "auto")] {
        let found = short(&shown(&sandbox, &[], flag, &["run"]));
        assert_eq!(found, (json!(value), "default".to_owned()), "{flag}");
    }
}

// CONF-13
#[test]
fn values_of_variables_are_not_shown() {
    let sandbox = sandbox("[run]\nenv = ['TOKEN=very-secret']\n");
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["config", "show", "--origin", "run"],
    ] {
        let ran = run(&sandbox, &[], arguments)
            .expect(0)
            .stdout_has("TOKEN=***");
        assert!(!ran.stdout.contains("very-secret"));
    }
}

// LINT-55 CONF-1
#[test]
fn flags_of_the_linter_have_counterparts_too() {
    let sandbox = Sandbox::new()
        .file(
            "buildspec.yml",
            "version: 0.2\nx: 1\nphases:\n  build:\n    commands: [make]\n",
        )
        .file(
            "runner.toml",
            "[validate]\nstrict = true\nformat = 'jsonl'\n",
        );
    run(&sandbox, &[], &["validate"])
        .expect(1)
        .stdout_has("\"name\":\"unknown-key\"");
    run(&sandbox, &[], &["validate", "--fail-on", "error"]).expect(0);
    run(
        &sandbox,
        &[("RUNNER_VALIDATE_STRICT", "false")],
        &["validate"],
    )
    .expect(0);
    run(&sandbox, &[], &["validate", "--list-rules"])
        .expect(0)
        .stdout_has("unknown-key");
    run(
        &sandbox,
        &[("RUNNER_VALIDATE_FORMAT", "text")],
        &["validate"],
    )
    .expect(1)
    .stdout_has("warning[unknown-key]");
}
