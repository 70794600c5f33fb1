//! The program as its users meet it: arguments, exit codes, signals, streams, and what goes wrong around it.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};
use support::{RUNNER, events, skipped};

/// A command line in a shell, with the program as `$0`.
fn shell(sandbox: &Sandbox, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(RUNNER);
    let like = sandbox.command::<&str>([]);
    command.current_dir(sandbox.source()).env_clear();
    for (name, value) in like.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.stdin(Stdio::null());
    command
}

fn run_shell(sandbox: &Sandbox, script: &str) -> Ran {
    let output = shell(sandbox, script).bounded_output();
    sandbox.finish(&output.expect("a shell can be started"))
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("a process number");
    let pid = Pid::from_raw(pid).expect("a process number");
    kill_process(pid, signal).expect("a child can be signalled");
}

/// A build whose events are read as they happen.
struct Live {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<Value>,
}

impl Live {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let all = ["run", "--log-format", "json"].iter().chain(arguments);
        let mut child = Sandbox::spawn(&mut sandbox.command(all));
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let _ = sender.send(line.expect("events are lines"));
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// The next line, or `None` at the end.
    fn next(&mut self) -> Option<String> {
        match self.lines.recv_timeout(wait::LIMIT) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                panic!("no event and no end after {:#?}", self.seen);
            }
        }
    }

    /// Reads until an event of this name has this text in it.
    fn until(&mut self, name: &str, text: &str) {
        while let Some(line) = self.next() {
            let event: Value = serde_json::from_str(&line).expect("events are JSON");
            let found = event["event"] == name && line.contains(text);
            self.seen.push(event);
            if found {
                return;
            }
        }
        panic!("no {name} with {text:?} in {:#?}", self.seen);
    }

    /// Reads to the end. Returns all events and the exit code.
    fn end(mut self) -> (Vec<Value>, i32) {
        while let Some(line) = self.next() {
            self.seen
                .push(serde_json::from_str(&line).expect("events are JSON"));
        }
        let status = wait::end(self.child);
        (self.seen, status.code().expect("it ends by itself"))
    }
}

fn outcome(stream: &[Value], code: i32) -> String {
    events::check_grammar(stream);
    events::outcome(stream, code)
}

fn output_of(stream: &[Value]) -> String {
    let texts = stream.iter().filter(|event| event["event"] == "output");
    texts
        .map(|event| event["text"].as_str().unwrap_or_default())
        .collect()
}

/// Root may do everything; what depends on permissions is tried as another user.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

// ── exit codes ───────────────────────────────────────────────────────────────────────────────────────────────────────

// CLI-1, CLI-3
#[test]
fn exit_codes_say_who_has_to_act() {
    let table = [
        (vec!["true"], vec![], 0),
        (vec!["exit 3"], vec![], 1),
        (vec!["true"], vec!["--no-such-flag"], 2),
        (vec!["a: b"], vec![], 3),
        (vec!["true"], vec!["--shell", "/opt/nowhere/sh"], 4),
        (vec!["sleep 600"], vec!["--timeout", "200ms"], 5),
        (vec!["kill -TERM $PPID; sleep 600"], vec![], 143),
    ];
    for (commands, flags, code) in table {
        Sandbox::with_commands(&commands).run(flags).expect(code);
    }
}

// CLI-3
#[test]
fn help_has_the_exit_codes_and_every_subcommand() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(["--help"]).expect(0);
    for text in [
        "Exit codes:",
        "128+n",
        "run ",
        "plan ",
        "completions ",
        "--artifacts",
    ] {
        assert!(ran.stdout.contains(text), "no {text:?} in {}", ran.stdout);
    }
    let version = sandbox.run(["--version"]).expect(0);
    assert_eq!(
        version.stdout,
        format!("runner {}\n", env!("CARGO_PKG_VERSION"))
    );
}

// ── mistakes on the command line ─────────────────────────────────────────────────────────────────────────────────────

// CLI-2, CLI-6, CLI-7, CLI-8, CLI-11
#[test]
fn mistakes_on_the_command_line_are_told_before_anything_runs() {
    let sandbox = Sandbox::with_commands(&["touch ran"])
        .file("broken.env", "A=1\nB\n")
        .file("a-file", "");
    std::os::unix::fs::symlink("a-file", sandbox.source().join("linked"))
        .expect("a link can be made");
    let table: &[(&[&str], &str)] = &[
        (&["--log-fromat", "json"], "--log-format"),
        (
            &["--log-format", "xml"],
            "[possible values: auto, pretty, codebuild, json]",
        ),
        (&["rnu"], "unrecognized subcommand"),
        (&["-v", "-q"], "cannot be used with"),
        (&["--timeout", "60"], "`60` lacks a unit: write `90s`"),
        (&["--timeout", "0s"], "more time than none"),
        (&["--timeout", "soon"], "--timeout"),
        (&["--env", "2A=b"], "`2A` cannot be the name of a variable"),
        (
            &["--env", "NOT_SET_ANYWHERE"],
            "write `--env NOT_SET_ANYWHERE=VALUE`",
        ),
        (&["--env-file", "nowhere.env"], "could not read nowhere.env"),
        (&["--env-file", "broken.env"], "broken.env, line 2"),
        (&["--project", "x"], "2 to 150"),
        (&["--shell", "fish"], "expected `/bin/sh`"),
        (&["--artifacts", "s3://"], "s3://BUCKET/PREFIX"),
        (
            &["--artifacts", "gs://bucket"],
            "`gs://bucket` is no place for artifacts: write a directory, or s3://BUCKET/PREFIX",
        ),
        (&["--artifacts", "S3://bucket"], "s3://BUCKET/PREFIX"),
        (&["--log-file", "-"], "`--log-format codebuild` writes"),
        (&["--events", "-"], "`--log-format json` writes"),
        (
            &["--log-file", "x", "--events", "./x"],
            "`--events ./x` would overwrite what `--log-file` writes",
        ),
        (
            &["--log-file", "a-file", "--events", "linked"],
            "`--events linked` would overwrite what `--log-file` writes",
        ),
        (
            &["--log-file", "buildspec.yml"],
            "`--log-file buildspec.yml` would overwrite the buildspec",
        ),
        (
            &["-f", "a-file", "--events", "a-file", "--dry-run"],
            "would overwrite the buildspec",
        ),
        (&["--packaging", "tar"], "possible values: none, zip"),
        (&["-C", "nowhere"], "nowhere"),
        (&["-C", "a-file"], "a-file"),
        (&["plan", "--log-file", "x"], "--log-file"),
        (&["completions", "tcsh"], "possible values"),
    ];
    for (flags, text) in table {
        let ran = sandbox.run(*flags).expect(2).stderr_has(text);
        assert!(ran.stdout.is_empty(), "{flags:?}: {}", ran.stdout);
    }
    assert!(!sandbox.source().join("ran").exists());
    // What is no file can be named twice.
    sandbox
        .run(["run", "--log-file", "/dev/null", "--events", "/dev/null"])
        .expect(0);
}

// CLI-2
#[test]
fn a_directory_that_is_gone_is_said() {
    let sandbox = Sandbox::with_commands(&["true"]);
    let script = "mkdir gone && cd gone && rmdir ../gone && \"$0\" run";
    run_shell(&sandbox, script)
        .expect(2)
        .stderr_has("this directory is gone");
}

// ── the buildspec from elsewhere ─────────────────────────────────────────────────────────────────────────────────────

// SPEC-1, CLI-2
#[test]
fn a_buildspec_comes_from_standard_input_or_a_named_file() {
    let text = "version: 0.2\nphases:\n  build:\n    commands:\n      - echo from $WHERE\n";
    let sandbox = Sandbox::new().file("ci/other.yml", text);
    sandbox
        .run_with_input(["-f", "-", "-e", "WHERE=stdin"], text.as_bytes())
        .expect(0)
        .stdout_has("from stdin\n");
    sandbox
        .run(["--file", "ci/other.yml", "--env", "WHERE=file"])
        .expect(0)
        .stdout_has("from file\n");
    let script = "cd / && \"$0\" -C \"$OLDPWD\" -f ci/other.yml -e WHERE=afar";
    run_shell(&sandbox, script)
        .expect(0)
        .stdout_has("from afar\n");
    sandbox
        .run_with_input(["-f", "-"], b"version: 0.2\nphases: [")
        .expect(3)
        .stderr_has("--> <stdin>:2:");
}

// SPEC-1, PHASE-11
#[test]
fn a_buildspec_or_a_source_that_may_not_be_read_is_the_machines_fault() {
    let sandbox = Sandbox::with_commands(&["true"]);
    let copy = sandbox.path("runner");
    support::copy_runner(&copy);
    let open = fs::Permissions::from_mode(0o777);
    for path in [sandbox.path("."), sandbox.path("tmp"), sandbox.path("home")] {
        fs::set_permissions(path, open.clone()).expect("permissions can be set");
    }
    let as_other = if is_root() {
        "setpriv --reuid=65534 --regid=65534 --clear-groups "
    } else {
        ""
    };
    let run = |flags: &str| {
        let script = format!("cd ..; exec {as_other}\"$PWD/runner\" run -C source {flags}");
        run_shell(&sandbox, &script)
    };
    let buildspec = sandbox.source().join("buildspec.yml");
    let closed = fs::Permissions::from_mode(0o000);
    fs::set_permissions(&buildspec, closed.clone()).expect("permissions can be set");
    run("")
        .expect(4)
        .stderr_has("could not read source/buildspec.yml: Permission denied")
        .stderr_has("help: check its permissions");
    fs::set_permissions(&buildspec, open.clone()).expect("permissions can be set");
    let source = sandbox.source();
    // Entered, but not listed: artifacts could not be selected, and nobody would know.
    fs::set_permissions(&source, fs::Permissions::from_mode(0o311))
        .expect("permissions can be set");
    run("")
        .expect(4)
        .stderr_has("could not enter the source directory");
    fs::set_permissions(&source, closed).expect("permissions can be set");
    run("").expect(4);
    fs::set_permissions(&source, open).expect("permissions can be set");
}

// ENV-9, PHASE-11
#[test]
fn a_missing_bash_is_the_machines_fault_and_says_what_to_do() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nenv:\n  shell: bash\nphases:\n  build:\n    commands: [touch ran]\n",
    );
    fs::create_dir(sandbox.path("bin")).expect("a directory can be made");
    let mut command = sandbox.command(["run"]);
    let output = command.env("PATH", sandbox.path("bin")).bounded_output();
    let ran = sandbox.finish(&output.expect("the program can be started"));
    ran.expect(4)
        .stderr_has("error: there is no shell `bash` on PATH")
        .stderr_has("help: install `bash`, or run with `--shell /bin/sh`");
    assert!(!sandbox.source().join("ran").exists());
}

// ── plan, dry run, completions ───────────────────────────────────────────────────────────────────────────────────────

// CLI-4
#[test]
fn a_dry_run_runs_nothing() {
    let sandbox = Sandbox::with_commands(&["touch ran"]);
    for flag in ["--dry-run", "-n"] {
        sandbox
            .run(["run", flag])
            .expect(0)
            .stdout_has("touch ran")
            .stderr_has("dry run: nothing was run");
    }
    assert_eq!(
        fs::read_dir(sandbox.source()).expect("it is there").count(),
        1
    );
    assert_eq!(
        fs::read_dir(sandbox.path("state"))
            .expect("it is there")
            .count(),
        0
    );
}

// CLI-5
#[test]
fn a_plan_shows_no_value_of_a_variable() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nenv:\n  variables:\n    A: hidden-one\nphases:\n  build:\n    commands: [make]\n",
    )
    .file("p.env", "B=hidden-two\n");
    for flags in [&["plan"][..], &["plan", "--json"], &["run", "-n"]] {
        let more = ["--env-file", "p.env", "--env", "C=hidden-three"];
        let mut command = sandbox.command(flags.iter().chain(&more));
        let output = command.env("D", "hidden-four").bounded_output();
        let ran = sandbox.finish(&output.expect("the program can be started"));
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(text.contains("make") && !text.contains("hidden"), "{text}");
    }
}

// CLI-9
#[test]
fn completions_are_made_for_five_shells() {
    let sandbox = Sandbox::new();
    for name in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = sandbox.run(["completions", name]).expect(0);
        assert!(ran.stdout.contains("log-format"), "{name}");
    }
    if Command::new("bash")
        .arg("-c")
        .arg(":")
        .bounded_output()
        .is_err()
    {
        return skipped("completions in bash", "no bash");
    }
    let script = "\"$0\" completions bash > c && bash -uc '. ./c; COMP_WORDS=(runner run --log-f); COMP_CWORD=2; \
                  COMP_LINE=\"runner run --log-f\"; _runner runner --log-f run; printf \"%s\\n\" \"${COMPREPLY[@]}\"'";
    run_shell(&sandbox, script)
        .expect(0)
        .stdout_has("--log-format\n");
}

// ── the caller's environment ─────────────────────────────────────────────────────────────────────────────────────────

// ENV-1, CLI-8
#[test]
fn the_callers_variables_reach_the_build_and_can_be_passed_on() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nenv:\n  variables: {A: buildspec, B: buildspec}\nphases:\n  build:\n    commands: ['echo $A $B $C']\n",
    );
    let mut command = sandbox.command(["-e", "B"]);
    let output = command
        .env("A", "caller")
        .env("B", "caller")
        .env("C", "caller")
        .bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0)
        .stdout_has("\nbuildspec caller caller\n");
}

// ENV-4
#[test]
fn builds_of_a_project_are_counted() {
    let sandbox = Sandbox::with_commands(&["echo \"number $CODEBUILD_BUILD_NUMBER\""]);
    for number in 1..=3 {
        sandbox
            .run(["run"])
            .expect(0)
            .stdout_has(&format!("\nnumber {number}\n"));
    }
    sandbox
        .run(["--project", "other"])
        .expect(0)
        .stdout_has("\nnumber 1\n");
    let mut command = sandbox.command(["run"]);
    let output = command.env("XDG_STATE_HOME", "/dev/null").bounded_output();
    let ran = sandbox.finish(&output.expect("the program can be started"));
    ran.expect(0).stdout_has("\nnumber 1\n");
}

// ENV-11, LOG-15
#[test]
fn settings_of_aws_reach_the_commands_and_credentials_are_hidden() {
    let sandbox = Sandbox::with_commands(&[
        "echo \"$AWS_ENDPOINT_URL_S3 $AWS_REGION $AWS_DEFAULT_REGION $AWS_PROFILE\"",
        "echo \"<$AWS_SECRET_ACCESS_KEY>\"; test ${#AWS_SECRET_ACCESS_KEY} = 40",
    ]);
    let mut command = sandbox.command(["--region", "eu-central-1"]);
    let output = command
        .env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
        .env("AWS_PROFILE", "ci")
        .env(
            "AWS_SECRET_ACCESS_KEY",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        )
        .bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0)
        .stdout_has("\nhttp://127.0.0.1:1 eu-central-1 eu-central-1 ci\n")
        .stdout_has("\n<***>\n");
}

// CRED-34
#[test]
fn a_profile_that_is_named_comes_before_keys_of_the_environment() {
    let sandbox = Sandbox::with_commands(&["echo \"[$AWS_PROFILE$AWS_SECRET_ACCESS_KEY]\""]);
    let mut command = sandbox.command(["--profile", "ci"]);
    let output = command
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "not-a-real-secret-key")
        .bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0)
        .stdout_has("\n[ci]\n");
}

// CMD-9, ENV-1: what no process can be given is said by name; what one can be given works.
#[test]
fn large_environments_work_up_to_the_systems_limits() {
    let sandbox = Sandbox::with_commands(&["echo ${#V9}; /bin/true"]);
    let value = "x".repeat(100_000);
    let lines = |count: usize| {
        (0..count)
            .map(|number| format!("V{number}={value}"))
            .collect::<Vec<String>>()
            .join("\n")
    };
    fs::write(sandbox.path("large.env"), lines(10)).expect("a file can be written");
    fs::write(sandbox.path("too-large.env"), lines(60)).expect("a file can be written");
    fs::write(
        sandbox.path("one.env"),
        format!("BIG={}\n", value.repeat(2)),
    )
    .expect("a file can be written");
    sandbox
        .run(["--env-file", "../large.env"])
        .expect(0)
        .stdout_has("\n100000\n");
    sandbox
        .run(["--env-file", "../one.env"])
        .expect(4)
        .stderr_has("the variable `BIG` has 200004 bytes; this system passes at most 131071")
        .stderr_has("help: pass the value in a file instead");
    sandbox
        .run(["--env-file", "../too-large.env"])
        .expect(4)
        .stderr_has("more than this system passes to a process; the largest variable is `V");
}

// ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// CMD-11: every byte arrives, in whatever lines.
#[test]
fn output_of_any_shape_arrives_byte_for_byte() {
    let sandbox = Sandbox::with_commands(&[
        "head -c 10485760 /dev/zero | tr '\\0' '\\001'",
        "printf 'a\\0b\\377c\\n'",
    ]);
    let output = sandbox
        .command(["run"])
        .bounded_output()
        .expect("the program can be started");
    assert!(output.status.success());
    let ones = output.stdout.iter().filter(|byte| **byte == 1).count();
    assert_eq!(ones, 10_485_760);
    let find = |needle: &[u8]| {
        output
            .stdout
            .windows(needle.len())
            .any(|window| window == needle)
    };
    assert!(find(b"\na\0b\xffc\n"));
}

// LOG-16
#[test]
fn a_log_that_cannot_be_written_is_told_and_nothing_else_suffers() {
    for (flag, what) in [
        ("--log-file", "the log file"),
        ("--events", "the events file"),
    ] {
        let sandbox = Sandbox::with_commands(&["echo fine"]);
        sandbox
            .run([flag, "/dev/full"])
            .expect(4)
            .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: SUCCEEDED")
            .stderr_has(&format!(
                "error: {what} /dev/full is incomplete: No space left on device"
            ));
        let failing = Sandbox::with_commands(&["false"]);
        failing
            .run([flag, "/dev/full"])
            .expect(1)
            .stderr_has("is incomplete");
        sandbox
            .run([flag, "no/such/directory"])
            .expect(4)
            .stderr_has("could not write the")
            .stderr_has("No such file or directory");
    }
    let sandbox = Sandbox::with_commands(&["touch ran"]);
    run_shell(&sandbox, "\"$0\" run > /dev/full")
        .expect(4)
        .stderr_has("standard output is incomplete");
    assert!(sandbox.source().join("ran").exists());
}

// LOG-18, LOG-17
#[test]
fn the_log_file_is_codebuilds_log_whatever_the_console_shows() {
    let sandbox = Sandbox::with_commands(&["echo one", "printf two", "false"]);
    let flags = ["--log-file", "../log", "--color", "always", "--log-format"];
    let text = || {
        let text = fs::read_to_string(sandbox.path("log")).expect("the log is there");
        support::normalise::normalise(&text, &sandbox.source())
    };
    let plain = sandbox
        .run(flags.iter().chain(&["codebuild"]))
        .expect(1)
        .stdout;
    assert_eq!(text(), plain);
    for format in ["pretty", "json"] {
        sandbox.run(flags.iter().chain(&[format])).expect(1);
        assert_eq!(text(), plain);
    }
}

// EVENT-1, EVENT-3, LOG-16
#[test]
fn json_on_standard_output_is_what_the_events_file_has() {
    let sandbox = Sandbox::with_commands(&["echo é; printf '\\377'", "false"]);
    let output = sandbox
        .command(["run", "--log-format", "json", "--events", "../events"])
        .bounded_output()
        .expect("the program can be started");
    assert_eq!(
        output.stdout,
        fs::read(sandbox.path("events")).expect("it is there")
    );
    let stream = events::parse(&String::from_utf8(output.stdout).expect("JSON is UTF-8"));
    events::check_grammar(&stream);
    assert_eq!(stream[0]["format"], 1);
    assert_eq!(output_of(&stream), "é\n");
    assert!(stream.iter().any(|event| event["base64"] == "/w=="));
}

// LOG-13
#[test]
fn quiet_and_verbose_change_notes_and_never_the_log() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nenv:\n  git-credential-helper: yes\nphases:\n  build:\n    commands: ['echo out', 'false']\n",
    );
    let usual = sandbox
        .run(["run", "--log-format", "codebuild"])
        .expect(1)
        .stderr_has("warning: ")
        .stderr_has("error: `false` failed with exit status 1");
    let quiet = sandbox
        .run(["run", "-q", "--log-format", "codebuild"])
        .expect(1)
        .stderr_has("error: `false` failed with exit status 1");
    assert!(!quiet.stderr.contains("warning"), "{}", quiet.stderr);
    let verbose = sandbox
        .run(["run", "-v", "--log-format", "codebuild"])
        .expect(1)
        .stderr_has("after a failure POST_BUILD follows");
    assert_eq!(usual.stdout, quiet.stdout);
    assert_eq!(usual.stdout, verbose.stdout);
}

// LOG-13: without a form that was asked for, quiet means quiet, also in a pipe.
#[test]
fn quiet_shows_what_commands_write_and_what_went_wrong() {
    let ran = Sandbox::with_commands(&["echo out", "echo err >&2"])
        .run(["run", "-q"])
        .expect(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\nerr\n", "")
    );
    let ran = Sandbox::with_commands(&["echo out", "exit 7"])
        .run(["run", "-q"])
        .expect(1)
        .stdout_has("exit status 7")
        .stdout_has("buildspec.yml:6:9");
    assert!(ran.stdout.starts_with("out\n"), "{}", ran.stdout);
}

/// Runs a command line at a terminal, and gives back what it shows.
fn at_terminal(sandbox: &Sandbox, line: &str, variables: &[(&str, &str)]) -> Option<String> {
    if Command::new("script")
        .arg("--version")
        .bounded_output()
        .is_err()
    {
        skipped("what is shown at a terminal", "no script(1)");
        return None;
    }
    let mut command = shell(sandbox, "exec script -qec \"$LINE\" /dev/null");
    command
        .env("LINE", line.replace("runner", RUNNER))
        .env("TERM", "xterm-256color");
    command.envs(variables.iter().copied());
    let output = command.bounded_output().expect("script(1) can be started");
    Some(String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n"))
}

// LOG-17
#[test]
fn a_terminal_gets_the_pretty_log_in_the_colours_it_wants() {
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let sandbox = Sandbox::with_commands(&["echo hello", "exit 7"]);
    let coloured = "\x1b[1;31mFAILED\x1b[0m in ";
    let plain = "\nFAILED in ";
    let table: &[Row] = &[
        ("runner run", &[], coloured),
        ("runner run", &[("NO_COLOR", "1")], plain),
        (
            "runner run",
            &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")],
            coloured,
        ),
        ("runner run", &[("TERM", "dumb")], plain),
        ("runner run --color never", &[], plain),
        ("runner run --color always", &[("NO_COLOR", "1")], coloured),
        ("runner run | cat", &[], "\n[Container] "),
        ("runner run --log-format pretty | cat", &[], plain),
        ("runner run --log-format codebuild", &[], "\n[Container] "),
    ];
    for (line, variables, text) in table {
        let Some(shown) = at_terminal(&sandbox, line, variables) else {
            return;
        };
        assert!(
            shown.contains(text),
            "{line} {variables:?}: no {text:?} in {shown}"
        );
        let escapes = shown.contains('\x1b');
        assert_eq!(
            escapes,
            text.contains('\x1b'),
            "{line} {variables:?}: {shown}"
        );
    }
    let shown = at_terminal(&sandbox, "runner run", &[("NO_COLOR", "1")]).unwrap_or_default();
    let shown = support::normalise::without_durations(&support::normalise::normalise(
        &shown,
        &sandbox.source(),
    ));
    let expected = "\
build 10 of source (source:00000000-0000-0000-0000-000000000000)
buildspec.yml version 0.2 · /bin/sh on this host

── BUILD ───────────────────────────────────────────────────────────────────────
$ echo hello                                                     buildspec.yml:5
hello
$ exit 7                                                         buildspec.yml:6
✗ exit status 7 after 0ms

── SUMMARY ─────────────────────────────────────────────────────────────────────
✔ DOWNLOAD_SOURCE  SUCCEEDED 0ms
✔ INSTALL          SUCCEEDED 0ms
✔ PRE_BUILD        SUCCEEDED 0ms
✗ BUILD            FAILED    0ms
✔ POST_BUILD       SUCCEEDED 0ms
✔ UPLOAD_ARTIFACTS SUCCEEDED 0ms

error: `exit 7` failed with exit status 7
  --> buildspec.yml:6:9 in phase BUILD

FAILED in 0ms
";
    assert_eq!(shown, expected);
}

// LOG-13: every reason is told, also that of a later phase, and no command is blamed for a stop or a limit.
#[test]
fn the_reasons_of_a_failure_are_told_at_the_end() {
    let ran = Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    commands:\n      - |\n        false\n        exit 3\nartifacts:\n  files: [nope]\n",
    )
    .run(["run", "--log-format", "pretty"])
    .expect(1)
    .stdout_has("\nerror: `false …` failed with exit status 3\n  --> buildspec.yml:5:9 in phase BUILD\n")
    .stdout_has("\nerror: no matching artifact paths found\n");
    assert_eq!(ran.stdout.matches("\nerror: ").count(), 2);
    for form in ["pretty", "codebuild"] {
        let ran = Sandbox::with_commands(&["while :; do :; done"])
            .run(["run", "--timeout", "50ms", "--log-format", form])
            .expect(5);
        let said = [ran.stdout, ran.stderr].concat();
        let expected = "error: Build has timed out.\n  --> buildspec.yml:5:9 in phase BUILD\n";
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("` failed with"), "{said}");
    }
}

// LOG-15, CLI-5: a credential that somebody wrote into a command is in no plan either.
#[test]
fn plans_show_no_credentials() {
    let key = "AKIAIOSFODNN7EXAMPLE";
    let sandbox = Sandbox::with_commands(&[&format!("aws configure set aws_access_key_id {key}")]);
    for arguments in [
        &["plan"][..],
        &["plan", "--json"],
        &["run", "-n"],
        &["run", "-v"],
    ] {
        let mut command = sandbox.command(arguments);
        // The command need not exist to be shown.
        let output = command.env("AWS_ACCESS_KEY_ID", key).output();
        let ran = sandbox.finish(&output.expect("the program can be started"));
        let shown = [ran.stdout, ran.stderr].concat();
        assert!(
            shown.contains("aws_access_key_id ***"),
            "{arguments:?}: {shown}"
        );
        assert!(!shown.contains(key), "{arguments:?}: {shown}");
    }
}

// LOG-17: a terminal without UTF-8 gets ASCII.
#[test]
fn a_terminal_without_utf_8_gets_ascii() {
    let sandbox = Sandbox::with_commands(&["true"]);
    let Some(shown) = at_terminal(&sandbox, "runner run", &[("LANG", "C"), ("NO_COLOR", "1")])
    else {
        return;
    };
    assert!(shown.is_ascii() && shown.contains("+ BUILD "), "{shown}");
}

// CMD-10
#[test]
fn commands_never_have_a_terminal() {
    let sandbox =
        Sandbox::with_commands(&["cat; sh -c '</dev/tty' || echo none; test -t 1 || echo no-tty"]);
    let Some(shown) = at_terminal(&sandbox, "runner run --log-format codebuild", &[]) else {
        return;
    };
    assert!(shown.contains("\nnone\nno-tty\n"), "{shown}");
}

// ── stop, limits, and what is left ───────────────────────────────────────────────────────────────────────────────────

// PHASE-9, LOG-12
#[test]
fn the_first_signal_asks_the_whole_group_to_end() {
    for (number, sent, code) in [
        (2, Signal::INT, 130),
        (15, Signal::TERM, 143),
        (1, Signal::HUP, 129),
        (3, Signal::QUIT, 131),
    ] {
        let sandbox = Sandbox::with_buildspec(
            "\
version: 0.2
phases:
  build:
    commands:
      - |
        trap 'wait; echo outer; exit 9' TERM
        (trap 'echo inner; exit' TERM; echo ready; while :; do sleep 0.01; done) &
        while :; do sleep 0.01; done
    finally:
      - echo never
  post_build:
    commands: [echo never]
",
        );
        let mut live = Live::start(&sandbox, &[]);
        live.until("output", "ready");
        signal(&live.child, sent);
        let (stream, code_of) = live.end();
        let output = output_of(&stream);
        // The shells themselves say "Terminated" in between.
        let said: Vec<&str> = output
            .lines()
            .filter(|line| *line != "Terminated")
            .collect();
        assert_eq!(said, ["ready", "inner", "outer"]);
        assert_eq!(
            outcome(&stream, code_of),
            format!(
                "DOWNLOAD_SOURCE SUCCEEDED\nINSTALL SUCCEEDED\nPRE_BUILD SUCCEEDED\nBUILD STOPPED\nbuild STOPPED\nexit code {code}\n"
            )
        );
        assert!(
            stream
                .iter()
                .any(|event| event["event"] == "stop-requested" && event["signal"] == number)
        );
        assert!(sandbox.leftovers().is_empty());
    }
}

const STUBBORN: &str = "trap '' TERM INT; echo ready; while :; do sleep 0.01; done";

// PHASE-9
#[test]
fn whoever_does_not_end_in_time_is_killed() {
    let sandbox = Sandbox::with_commands(&[STUBBORN]);
    let mut live = Live::start(&sandbox, &["--grace", "50ms"]);
    live.until("output", "ready");
    signal(&live.child, Signal::TERM);
    let (stream, code) = live.end();
    assert!(outcome(&stream, code).ends_with("BUILD STOPPED\nbuild STOPPED\nexit code 143\n"));
    assert!(
        stream
            .iter()
            .any(|event| event["event"] == "command-finished" && event["signal"] == 9)
    );
}

// PHASE-9
#[test]
fn a_second_signal_does_not_wait() {
    let sandbox = Sandbox::with_commands(&[STUBBORN]);
    let mut live = Live::start(&sandbox, &["--grace", "10h"]);
    live.until("output", "ready");
    signal(&live.child, Signal::INT);
    live.until("stop-requested", "");
    signal(&live.child, Signal::INT);
    let (stream, code) = live.end();
    assert!(outcome(&stream, code).ends_with("BUILD STOPPED\nbuild STOPPED\nexit code 130\n"));
}

// PHASE-9: nobody reads the output, so nothing of the build can be written any more; the third wish leaves all the same.
#[test]
fn a_third_signal_leaves_at_once() {
    let sandbox = Sandbox::with_commands(&["echo $$ > pid; echo ready; exec cat /dev/zero"]);
    let mut child = Sandbox::spawn(&mut sandbox.command(["run", "--grace", "10h"]));
    let stdout = wait::read_until(child.stdout.take().expect("a pipe"), "ready");
    // Three signals of three kinds, so that none of them is taken for another.
    for wish in [Signal::INT, Signal::TERM, Signal::HUP] {
        signal(&child, wish);
    }
    let status = wait::end(child);
    // Which of three signals that arrive together comes first is not told.
    assert!(matches!(status.code(), Some(130 | 143 | 129)), "{status}");
    drop(stdout);
    assert!(sandbox.leftovers().is_empty());
    // It has been killed, but nobody waited for it.
    let pid = sandbox.source().join("pid");
    wait::until("the end of the command", move || is_gone(&pid));
}

// LOG-19, PHASE-9, PHASE-10: a reader that does not read holds up a build, but neither its end nor that of its command.
#[test]
fn a_reader_that_does_not_read_does_not_keep_a_build_from_its_end() {
    // More than a pipe holds, and less than all the queues on the way do.
    let fill = "echo $$ > pid; head -c 400000 /dev/zero; touch ../filled; exec yes";
    for (flags, wish, code) in [
        (&["--grace", "10h"][..], Some(Signal::INT), 130),
        (&["--grace", "0s", "--timeout", "1s"], None, 5),
    ] {
        let sandbox = Sandbox::with_commands(&[fill]);
        let mut child = Sandbox::spawn(&mut sandbox.command(["run"].iter().chain(flags)));
        let unread = child.stdout.take();
        let mut stderr = child.stderr.take().expect("a pipe");
        if let Some(wish) = wish {
            let filled = sandbox.path("filled");
            wait::until("output that nobody reads", move || filled.exists());
            signal(&child, wish);
        }
        assert_eq!(wait::end(child).code(), Some(code));
        drop(unread);
        let mut said = String::new();
        stderr.read_to_string(&mut said).expect("it can be read");
        if wish.is_some() {
            let told = "error: standard output is incomplete: nobody took ";
            assert!(
                said.contains(told) && said.contains(" bytes of output in time"),
                "{said}"
            );
        }
        let pid = sandbox.source().join("pid");
        assert!(!pid.exists() || is_gone(&pid));
        assert!(sandbox.leftovers().is_empty());
    }
}

// PHASE-9: a FIFO is waited for before anything has begun, and whoever does not want to wait leaves as from any program.
#[test]
fn a_file_for_the_log_that_nobody_reads_can_be_left() {
    for flag in ["--log-file", "--events"] {
        let sandbox = Sandbox::with_commands(&["touch ran"]);
        let made = Command::new("mkfifo")
            .arg(sandbox.path("fifo"))
            .bounded_output();
        assert!(made.expect("mkfifo(1) is there").status.success());
        let other = if flag == "--events" {
            "--log-file"
        } else {
            "--events"
        };
        // The log file is opened first; with the other order it is the FIFO itself that has to be noticed.
        let mut command = sandbox.command(["run", other, "../other", flag, "../fifo"]);
        let child = Sandbox::spawn(&mut command);
        let status = format!("/proc/{}/status", child.id());
        let other = sandbox.path("other");
        wait::until("the program to wait", move || {
            let sleeps = fs::read_to_string(&status).is_ok_and(|text| text.contains("State:\tS"));
            sleeps && (flag == "--log-file" || other.exists())
        });
        signal(&child, Signal::INT);
        let ran = sandbox.finish(&wait::output(child));
        ran.expect(130);
        assert!(!sandbox.source().join("ran").exists());
    }
}

/// Whether the process whose number is in this file is no more.
fn is_gone(file: &Path) -> bool {
    let pid = fs::read_to_string(file).expect("a process number was written");
    match fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Err(_) => true,
        // A zombie is only a number that nobody has asked for yet.
        Ok(stat) => stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z')),
    }
}

// PHASE-9
#[test]
fn a_signal_that_the_caller_ignores_is_not_listened_to() {
    let sandbox = Sandbox::with_commands(&["echo ready; read -r line < ../go; echo \"$line\""]);
    let made = Command::new("mkfifo")
        .arg(sandbox.path("go"))
        .bounded_output();
    assert!(made.expect("mkfifo(1) is there").status.success());
    let mut child = Sandbox::spawn(&mut shell(&sandbox, "trap '' HUP; exec \"$0\" run"));
    let mut stdout = wait::read_until(child.stdout.take().expect("a pipe"), "ready");
    signal(&child, Signal::HUP);
    let go = sandbox.path("go");
    wait::within("a command that reads", move || fs::write(go, "went on\n"))
        .expect("a command reads it");
    let rest = wait::within("the rest of the output", move || {
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).map(|_| rest)
    });
    let rest = rest.expect("it can be read");
    assert!(rest.contains("went on\n"), "{rest}");
    assert_eq!(wait::end(child).code(), Some(0));
}

// PHASE-9: like any program, a build whose reader goes away ends; 141 is 128 + PIPE.
#[test]
fn a_reader_that_goes_away_stops_the_build() {
    let sandbox = Sandbox::with_commands(&["echo $$ > pid; while :; do echo line; done"]);
    let mut child = Sandbox::spawn(&mut sandbox.command(["run"]));
    drop(wait::read_until(
        child.stdout.take().expect("a pipe"),
        "line",
    ));
    assert_eq!(wait::end(child).code(), Some(141));
    assert!(is_gone(&sandbox.source().join("pid")));
    assert!(sandbox.leftovers().is_empty());
}

// PHASE-10, LOG-12
#[test]
fn the_time_limit_ends_a_build_in_whatever_it_is_doing() {
    let ends = |commands: &[&str], phase: &str| {
        let sandbox = Sandbox::with_commands(commands);
        let ran = sandbox
            .run(["--timeout", "300ms", "--grace", "0s"])
            .expect(5);
        assert!(
            ran.stdout
                .contains(&format!("Phase complete: {phase} State: TIMED_OUT")),
            "{}",
            ran.stdout
        );
        assert!(
            ran.stdout.ends_with(
                "Phase context status code: BUILD_TIMED_OUT Message: Build has timed out. \n"
            ),
            "{}",
            ran.stdout
        );
        ran.stderr_has("error: Build has timed out.");
    };
    ends(&["sleep 600"], "BUILD");
    ends(&[STUBBORN], "BUILD");
    ends(&["sleep 600 & wait"], "BUILD");
}

// CMD-16
#[test]
fn nothing_survives_the_end_of_a_build() {
    let sandbox = Sandbox::with_commands(&[
        "sleep 600 & echo $! > plain",
        "setsid sh -c 'echo $$ > daemon; exec sleep 600' & while ! [ -s daemon ]; do :; done",
        "(setsid sh -c 'trap \"\" TERM HUP; echo $$ > stubborn; while :; do sleep 1; done' &) ; while ! [ -s stubborn ]; do :; done",
    ]);
    // However long a command may take to end: what is left behind has two seconds.
    for grace in ["50ms", "10h"] {
        sandbox
            .run(["--grace", grace])
            .expect(0)
            // The stubborn one may be between two of its own.
            .stderr_has(
                " processes that commands left in the background were ended with the build",
            );
        for name in ["plain", "daemon", "stubborn"] {
            let file = sandbox.source().join(name);
            assert!(is_gone(&file), "{name}");
            fs::remove_file(file).expect("it can be removed");
        }
    }
}

// CMD-10: an update, or a build of this very program, takes away the file that runs.
#[test]
fn a_program_that_is_replaced_while_it_runs_goes_on() {
    let sandbox = Sandbox::with_commands(&[
        "rm ../copy; echo '#!/bin/false' > ../copy; chmod +x ../copy",
        "echo went on",
    ]);
    support::copy_runner(&sandbox.path("copy"));
    let Some(shown) = at_terminal(&sandbox, "../copy run --log-format codebuild", &[]) else {
        return;
    };
    assert!(shown.contains("\nwent on\n"), "{shown}");
}

// CMD-4: what bash alone may assign is no state, whoever exports it: the caller or a command.
#[test]
fn variables_of_bash_itself_do_not_disturb_later_items() {
    if Command::new("bash")
        .arg("-c")
        .arg(":")
        .bounded_output()
        .is_err()
    {
        return skipped("variables of bash itself", "no bash");
    }
    let sandbox = Sandbox::with_commands(&[
        "export UID SHELLOPTS BASHOPTS PPID; A='x y'",
        "echo \"[$A] [$(env | grep -c '^UID=')]\"",
    ]);
    let bash = wait::within("bash", || {
        Command::new("sh")
            .args(["-c", "command -v bash"])
            .bounded_output()
    });
    let bash = String::from_utf8(bash.expect("a shell can be started").stdout).expect("a path");
    fs::create_dir(sandbox.path("bin")).expect("a directory can be made");
    std::os::unix::fs::symlink(bash.trim(), sandbox.path("bin/sh")).expect("a link can be made");
    let path = std::env::var("PATH").expect("PATH is text");
    for shell in ["bash", "sh"] {
        let mut command = sandbox.command(["run", "--shell", shell]);
        command
            .env("PATH", format!("{}:{path}", sandbox.path("bin").display()))
            .env("SHELLOPTS", "braceexpand")
            .env("BASHOPTS", "cmdhist");
        let output = command.bounded_output();
        let ran = sandbox
            .finish(&output.expect("the program can be started"))
            .expect(0)
            .stdout_has("\n[x y] [1]\n");
        assert!(!ran.stdout.contains("readonly"), "{}", ran.stdout);
    }
}

// CMD-8, PHASE-11: a file system of a few kilobytes, for this process only.
#[test]
fn a_full_disk_is_a_fault_and_loses_nothing_in_silence() {
    let sandbox = Sandbox::with_commands(&[
        "A=1",
        "head -c 200000 /dev/zero > ../tmp/fill; true",
        "echo never",
    ]);
    let mount = "mount -t tmpfs none ../tmp -o size=64k";
    let possible = shell(&sandbox, &format!("unshare -m sh -c '{mount}'")).bounded_output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return skipped("a full disk", "no file system can be mounted here");
    }
    let script = format!("export RUNNER=\"$0\"; unshare -m sh -c '{mount} && \"$RUNNER\" run'");
    let ran = run_shell(&sandbox, &script)
        .expect(4)
        .stdout_has("Phase complete: BUILD State: FAULT")
        .stderr_has("help: make room there, or point TMPDIR somewhere else");
    assert!(!ran.stdout.contains("never"), "{}", ran.stdout);
    // How the command ended is not known, so nothing is said of it.
    assert!(!ran.stdout.contains("did not exit"), "{}", ran.stdout);
    run_shell(
        &sandbox,
        &script.replace(" run'", " run --log-format pretty'"),
    )
    .expect(4)
    .stdout_has("help: make room there, or point TMPDIR somewhere else");
    // From the beginning.
    let script =
        format!("export RUNNER=\"$0\"; unshare -m sh -c '{mount},nr_inodes=1 && \"$RUNNER\" run'");
    run_shell(&sandbox, &script)
        .expect(4)
        .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FAULT")
        .stderr_has("could not make the build's state directory");
}

// PHASE-11, ART-13: no room for artifacts.
#[test]
fn no_room_for_artifacts_is_a_fault_and_leaves_nothing() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    commands:\n      - head -c 100000 /dev/urandom > a\n      - head -c 10 /dev/urandom > b\nartifacts:\n  files: [a, b]\n",
    );
    fs::create_dir(sandbox.path("out")).expect("a directory can be made");
    let mount = "mount -t tmpfs -o size=64k none ../out";
    let possible = shell(&sandbox, &format!("unshare -m sh -c '{mount}'")).bounded_output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return skipped(
            "no room for artifacts",
            "no file system can be mounted here",
        );
    }
    for packaging in ["none", "zip"] {
        let script = format!(
            "export RUNNER=\"$0\"; unshare -m sh -c '{mount} && \"$RUNNER\" run --artifacts ../out --packaging {packaging}; \
             code=$?; find ../out -type f; exit $code'"
        );
        let ran = run_shell(&sandbox, &script)
            .expect(4)
            .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: FAULT")
            .stderr_has("No space left on device");
        assert!(!ran.stdout.contains("../out/"), "{}", ran.stdout);
    }
}

// ART-14: what keeps S3 from being asked at all is said in words of its own.
#[test]
fn a_missing_region_or_profile_is_said() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    commands:\n      - touch a\nartifacts:\n  files: [a]\n",
    );
    let run = |variables: &[(&str, &str)]| {
        let mut command = sandbox.command(["run", "--artifacts", "s3://anyone"]);
        command
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            .envs(variables.iter().copied());
        sandbox
            .finish(&command.output().expect("the program can be started"))
            .expect(4)
    };
    run(&[])
        .stderr_has("no AWS region is set")
        .stderr_has("help: pass `--region`, set AWS_REGION");
    for region in [&[][..], &[("AWS_REGION", "us-east-1")]] {
        run(&[&[("AWS_PROFILE", "nowhere")], region].concat())
            .stderr_has("there is no AWS profile `nowhere`")
            .stderr_has("help: check AWS_PROFILE or `--profile`");
    }
}

// ART-17
#[test]
fn paths_that_are_not_utf_8_never_become_one() {
    let make = r#"mkdir -p out; cd out; echo > x%FE; for byte in 376 377; do echo $byte > "$(printf "x\\$byte")"; done"#;
    let sandbox = Sandbox::with_commands(&[make]);
    let path = sandbox.source().join("buildspec.yml");
    let text = fs::read_to_string(&path).expect("a buildspec can be read");
    let artifacts = "artifacts:\n  base-directory: out\n  files: ['*']\n  name: app\n";
    fs::write(&path, format!("{text}{artifacts}")).expect("a file can be written");

    let ran = sandbox.run(["run"]).expect(0).stderr_has("stored: x%FE% (");
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    let entries = fs::read_dir(sandbox.source().join(".runner/artifacts/app"));
    let mut names: Vec<Vec<u8>> = entries
        .expect("the artifact is there")
        .flatten()
        .map(|entry| entry.file_name().as_bytes().to_vec())
        .collect();
    names.sort();
    assert_eq!(names, [&b"x%FE"[..], b"x\xfe", b"x\xff"]);

    sandbox
        .run(["run", "--packaging", "zip", "--artifacts", "../zip"])
        .expect(0)
        .stderr_has("is not UTF-8: it is stored as `x%FE%`")
        .stderr_has("is not UTF-8: it is stored as `x%FF`");
    let archive = File::open(sandbox.path("zip/app")).expect("the archive is there");
    let mut archive = zip::ZipArchive::new(archive).expect("it is an archive");
    for (name, content) in [("x%FE", "\n"), ("x%FE%", "376\n"), ("x%FF", "377\n")] {
        let mut found = String::new();
        let mut file = archive.by_name(name).expect("the file is in it");
        file.read_to_string(&mut found).expect("it can be read");
        assert_eq!(found, content, "{name}");
    }
}

// CMD-8
#[test]
fn state_is_where_nobody_else_can_look() {
    let sandbox = Sandbox::with_commands(&["stat -c '%a' ../tmp/runner-*"]);
    sandbox.run(["run"]).expect(0).stdout_has("\n700\n");
    let runtime = sandbox.path("run");
    fs::create_dir(&runtime).expect("a directory can be made");
    let sandbox_two =
        Sandbox::with_commands(&["ls -d \"$XDG_RUNTIME_DIR\"/runner-* && ! ls -d ../tmp/runner-*"]);
    let mut command = sandbox_two.command(["run"]);
    let output = command.env("XDG_RUNTIME_DIR", &runtime).bounded_output();
    sandbox_two
        .finish(&output.expect("the program can be started"))
        .expect(0);
    assert_eq!(fs::read_dir(&runtime).expect("it is there").count(), 0);
}

// ENV-3: what git says, from wherever the source was cloned.
#[test]
fn the_commit_is_known_from_shallow_and_detached_clones() {
    if Command::new("git")
        .arg("--version")
        .bounded_output()
        .is_err()
    {
        return skipped("commits of clones", "no git");
    }
    let sandbox = Sandbox::new();
    let script = "git init -q -b main origin && cd origin && mkdir sub && \
                printf 'version: 0.2\\nphases:\\n  build:\\n    commands:\\n      - echo \"[$CODEBUILD_RESOLVED_SOURCE_VERSION] [$CODEBUILD_SOURCE_REPO_URL] [$CODEBUILD_SOURCE_VERSION]\"\\n' > sub/buildspec.yml && \
                cp sub/buildspec.yml . && git add . && git -c user.name=t -c user.email=t@example.com commit -qm one && \
                git -c user.name=t -c user.email=t@example.com commit -q --allow-empty -m two && cd .. && \
                git clone -q --depth 1 \"file://$PWD/origin\" shallow && git clone -q origin detached && \
                git -C detached checkout -q HEAD~1 && git -C origin worktree add -q ../worktree && git -C shallow rev-parse HEAD && git -C detached rev-parse HEAD";
    let made = run_shell(&sandbox, script).expect(0).stdout;
    let heads: Vec<&str> = made.split_whitespace().collect();
    for (directory, commit, url) in [
        ("origin", heads[0], ""),
        ("shallow", heads[0], "file://<SRC>/origin"),
        ("shallow/sub", heads[0], "file://<SRC>/origin"),
        ("detached", heads[1], "<SRC>/origin"),
        ("worktree", heads[0], ""),
    ] {
        let ran = sandbox
            .run(["-C", directory, "--source-version", "v1"])
            .expect(0);
        let line = format!("\n[{commit}] [{url}] [v1]\n");
        assert!(ran.stdout.contains(&line), "{directory}: {}", ran.stdout);
    }
}

// CMD-12: no shell here can stand in for PowerShell, so this needs a real one.
#[test]
fn powershell_carries_location_and_variables_on() {
    if Command::new("pwsh")
        .arg("-Version")
        .bounded_output()
        .is_err()
    {
        return skipped("PowerShell", "no pwsh");
    }
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nenv:\n  shell: powershell.exe\nphases:\n  build:\n    commands:\n      - $x = 5; $Env:Y = 'six'\n      \
         - Set-Location sub\n      - Write-Output \"[$x] [$Env:Y] [$(Split-Path -Leaf (Get-Location))]\"\n      - /bin/sh -c 'exit 7'\n",
    );
    let sandbox = sandbox.file("sub/file", "");
    sandbox
        .run(["run"])
        .expect(1)
        .stdout_has("\n[5] [six] [sub]\n")
        .stdout_has("Reason: exit status 7");
}

// LINT-3, LINT-5
#[test]
fn what_git_ignores_is_not_looked_through_and_an_empty_folder_is_said() {
    let wrong = "version: 0.2\nphases:\n  test: {}\n";
    let sandbox = Sandbox::new()
        .file(".gitignore", "made/\n")
        .file("made/buildspec.yml", wrong)
        .file(".git/buildspec.yml", wrong)
        .file("ci/.gitignore", "buildspec-old.yml\n")
        .file("ci/buildspec-old.yml", wrong)
        .file("ci/my-BuildSpec-test.YAML", wrong)
        .file("empty/readme.txt", "nothing");
    let ran = sandbox.run(["validate", "."]).expect(1);
    assert!(
        ran.stdout.contains("ci/my-BuildSpec-test.YAML:3:3"),
        "{}",
        ran.stdout
    );
    assert!(
        !ran.stdout.contains("made") && !ran.stdout.contains("old"),
        "{}",
        ran.stdout
    );
    ran.stderr_has("1 error in 1 file");
    // Whoever names a file wants it checked.
    let named = sandbox.run(["validate", "made/buildspec.yml"]).expect(1);
    named.stdout_has("made/buildspec.yml:3:3");
    let empty = sandbox.run(["validate", "empty"]).expect(4);
    empty.stderr_has("there is no buildspec below empty");
}

// LINT-3
#[test]
fn files_beside_one_that_cannot_be_read_are_checked_all_the_same() {
    let sandbox = Sandbox::with_buildspec("version: 0.2\nphases:\n  test: {}\n");
    let ran = sandbox.run(["validate", "gone.yml", "buildspec.yml"]);
    let ran = ran
        .expect(4)
        .stderr_has("could not read gone.yml: there is no such file");
    ran.stdout_has("buildspec.yml:3:3");
}

// LINT-3, LINT-5
#[test]
fn standard_input_is_checked_as_a_file() {
    let sandbox = Sandbox::new();
    let wrong = b"version: 0.2\nphases:\n  test: {}\n";
    let ran = sandbox.run_with_input(["validate", "-"], wrong).expect(1);
    ran.stdout_has("<stdin>:3:3");
    let right = b"version: 0.2\nphases:\n  build:\n    commands: make\n";
    let ran = sandbox.run_with_input(["validate", "-"], right).expect(0);
    assert_eq!(ran.stdout + &ran.stderr, "");
    sandbox.run_with_input(["validate", "-"], b"").expect(1);
}

// LINT-38
#[test]
fn files_that_are_no_buildspecs_are_findings_and_nothing_worse() {
    let deep = format!("version: 0.2\nphases: {}", "[".repeat(10_000));
    let nested = format!("version: 0.2\nphases:\n  {}", "- ".repeat(10_000));
    let level = |name: char, of: char| {
        format!(
            "{name}: &{name} [{}]\n",
            vec![format!("*{of}"); 9].join(", ")
        )
    };
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    bomb.extend(('b'..='j').zip('a'..='i').map(|(name, of)| level(name, of)));
    let files: [(&str, &[u8], &str); 5] = [
        ("nothing.yml", b"", "error["),
        ("binary.yml", b"\x7fELF\x02\x01\x00\xff\xfe\x00", "error["),
        ("deep.yml", deep.as_bytes(), "error["),
        ("nested.yml", nested.as_bytes(), "error["),
        ("bomb.yml", bomb.as_bytes(), "error[limit-exceeded]"),
    ];
    for (name, content, said) in files {
        let sandbox = Sandbox::new().file(name, content);
        let ran = sandbox.run(["validate", name]).expect(1).stdout_has(said);
        assert!(
            ran.stdout.len() < 100_000,
            "{name}: {} bytes",
            ran.stdout.len()
        );
    }
}

// LINT-38
#[test]
fn a_file_beyond_all_bounds_is_read_in_part() {
    let sandbox = Sandbox::with_buildspec("version: 0.2\nphases:\n  build:\n    commands: make\n");
    let large = File::create(sandbox.source().join("large.yml")).expect("it can be made");
    large
        .set_len(2 * 1024 * 1024 * 1024)
        .expect("a file may have holes");
    // With a bound of the memory, reading all of it would end the program. What threads set aside has to fit.
    let limited = "ulimit -v 600000; exec \"$0\" validate large.yml buildspec.yml";
    let ran = run_shell(&sandbox, limited).expect(1);
    let ran = ran.stdout_has("error[limit-exceeded]");
    assert!(ran.stdout.len() < 10_000, "{} bytes", ran.stdout.len());
}

// LINT-1, LINT-2
#[test]
fn the_buildspecs_that_the_readme_shows_have_nothing_to_be_found_in_them() {
    let sandbox = Sandbox::new();
    let files = ["ecs", "demo"].map(|name| {
        let file = support::root().join("testdata").join(name);
        file.join("buildspec.yml").display().to_string()
    });
    let arguments = ["validate", "--fail-on", "info", &files[0], &files[1]];
    let output = sandbox.command(arguments).output();
    let ran = sandbox.finish(&output.expect("the program can be started"));
    // Said where ShellCheck is not installed.
    let notes: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| !line.starts_with("note: shellcheck is not on PATH"))
        .collect();
    assert_eq!(
        (ran.code, ran.stdout.as_str(), notes.join("\n").as_str()),
        (0, "", "")
    );
}

// CMD-17, SPEC-22: only root can become somebody else; whoever is that user already needs not to.
#[test]
fn run_as_somebody_else_is_said_where_it_cannot_be() {
    use buildspec_runner::plan::{Users, plan};
    use buildspec_runner::source::SourceText;
    use buildspec_runner::{buildspec, diagnostic};
    let text =
        "version: 0.2\nrun-as: builder\nphases:\n  build:\n    run-as: '1000'\n    commands: id\n";
    let source = SourceText::from_bytes("buildspec.yml", text.into()).expect("it is text");
    let (buildspec, _) = buildspec::read(&source).expect("it is right");
    let only = |names: &[&str]| Users::Only(names.iter().map(|name| (*name).to_owned()).collect());
    let table = [
        (Users::Any, 0, [Some("builder"), Some("1000")]),
        (only(&["builder", "1000"]), 0, [None, None]),
        (only(&["other", "1000"]), 1, [None, None]),
        (only(&["other", "7"]), 2, [None, None]),
    ];
    for (users, warnings, expected) in table {
        let mut request = support::request::request(Path::new("/src"), Path::new("/artifacts"));
        request.users = users;
        let (plan_made, said) = plan(&source, &buildspec, &request).expect("it can be planned");
        assert_eq!(said.len(), warnings, "{said:?}");
        let user = |phase: usize| plan_made.phases[phase].user.as_deref();
        assert_eq!([user(0), user(2)], expected);
        request.strict = true;
        let refused = plan(&source, &buildspec, &request)
            .err()
            .unwrap_or_default();
        assert_eq!(refused.len(), warnings);
        assert_eq!(diagnostic::has_error(&refused), warnings > 0);
    }
}

// CTR-24: what was asked for and could not be done is no success, and nobody says more than was looked at.
#[test]
fn prune_without_an_engine_says_what_it_did_not_do() {
    let sandbox = Sandbox::new();
    let prune = |host: Option<&str>, arguments: &[&str]| {
        let mut command = sandbox.command([&["prune"], arguments].concat());
        command.envs(host.map(|host| ("DOCKER_HOST", host)));
        let output = command.bounded_output();
        sandbox.finish(&output.expect("the program can be started"))
    };
    let named = Some("unix:///nowhere/docker.sock");
    let ran = prune(named, &[]).expect(4);
    let ran = ran.stderr_has("containers were not looked for");
    assert!(!ran.stderr.contains("nothing is left"), "{}", ran.stderr);
    prune(named, &["--json"])
        .expect(4)
        .stdout_has("\"containers_looked_for\": false");
    prune(Some("ssh://host"), &[])
        .expect(4)
        .stderr_has("containers were not looked for");
    let usual = ["/var/run/docker.sock", "/run/podman/podman.sock"];
    if usual.iter().any(|socket| Path::new(socket).exists()) {
        skipped("runner prune without an engine", "there is one");
        return;
    }
    let ran = prune(None, &[]).expect(0);
    let ran = ran.stderr_has("containers were not looked for");
    assert!(!ran.stderr.contains("nothing is left"), "{}", ran.stderr);
}

// CTR-7: a volume over what the build needs itself is a mistake, before anything is asked of an engine.
#[test]
fn volumes_hide_nothing_of_the_builds_own() {
    let sandbox = Sandbox::with_commands(&["true"]);
    for target in [
        "/",
        "/codebuild",
        "/codebuild/",
        "/codebuild/runner",
        "//codebuild/./output/x",
        "/tmp/../codebuild/runner/state:ro",
    ] {
        let volume = format!("/tmp:{target}");
        let path = target.trim_end_matches(":ro");
        sandbox
            .run(["run", "--image", "x", "--volume", &volume])
            .expect(2)
            .stderr_has(&format!("`{path}` would hide"));
    }
    for target in ["/codebuild/image", "/codebuilder", "/cache:ro"] {
        let volume = format!("/tmp:{target}");
        sandbox
            .run(["plan", "--image", "x", "--volume", &volume])
            .expect(0);
    }
    for image in ["", " ", "a b"] {
        sandbox
            .run(["run", "--image", image])
            .expect(2)
            .stderr_has("the name of an image");
    }
}

// IMG-5, IMG-34: an engine that takes a connection and never answers, and one that answers with nothing, are told with a
// reason, whatever command meets them.
#[test]
fn every_engine_that_is_not_reached_has_a_reason() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let empty = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = |listener: &std::net::TcpListener| {
        let address = listener.local_addr().expect("it listens");
        format!("tcp://{address}")
    };
    let (silent_host, empty_host) = (port(&silent), port(&empty));
    thread::spawn(move || {
        for stream in empty.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let commands: &[&[&str]] = &[
        &["prune"],
        &["push", "localhost/a:1"],
        &["pull", "localhost/a:1"],
        &["run", "--image", "a"],
        &["shell", "a"],
    ];
    let cases = commands.iter().flat_map(|command| {
        [
            (command, &silent_host, "it did not answer within 10 s"),
            (command, &empty_host, "HTTP status 502 without a reason"),
        ]
    });
    thread::scope(|scope| {
        for (arguments, host, reason) in cases {
            scope.spawn(move || {
                let sandbox = Sandbox::with_commands(&["true"]);
                let mut command = sandbox.command(*arguments);
                let output = command.env("DOCKER_HOST", host).bounded_output();
                sandbox
                    .finish(&output.expect("the program can be started"))
                    .expect(4)
                    .stderr_has(reason)
                    .stderr_has("DOCKER_HOST")
                    .stderr_has("help: ");
            });
        }
    });
    drop(silent);
}

// ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// REP-16
#[test]
fn reports_of_an_earlier_build_are_not_taken_for_those_of_this_one() {
    let report = "<testsuite><testcase name='one'/></testsuite>";
    let sandbox = Sandbox::with_commands(&["'true'"]).file("report.xml", report);
    let made = sandbox.source().join(".runner/reports");
    sandbox.run(["run"]).expect(0);
    assert!(made.join("junit.xml").exists());
    fs::write(made.join("own.txt"), "").expect("it can be written");
    fs::remove_file(sandbox.source().join("report.xml")).expect("it is there");
    sandbox.run(["run"]).expect(0);
    let left: Vec<_> = fs::read_dir(&made)
        .expect("it is there")
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    // A directory that somebody named is theirs.
    let named = sandbox.source().join("named");
    fs::create_dir(&named).expect("it can be made");
    fs::write(named.join("junit.xml"), report).expect("it can be written");
    sandbox
        .run([
            "run",
            "--reports",
            "named",
            "--env",
            "CODEBUILD_CONFIG_AUTO_DISCOVER=false",
        ])
        .expect(0);
    assert!(named.join("index.html").exists());
}

// REP-17
#[test]
fn a_report_that_cannot_be_expanded_leaves_the_others() {
    let report = "<testsuite><testcase name='one'/></testsuite>";
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands: ['true']\nreports:\n  broken:\n    files: ['$(exit 3).xml']\n  fine:\n    files: [report.xml]\n";
    let sandbox = Sandbox::with_buildspec(buildspec).file("report.xml", report);
    let ran = sandbox.run(["run"]).expect(1);
    let ran = ran
        .stderr_has("broken: [could not expand `$(exit 3).xml`: exit status 3]")
        .stderr_has("buildspec.yml:7:");
    assert!(
        ran.stderr.contains("fine: SUCCEEDED") || ran.stderr.contains("-fine"),
        "{}",
        ran.stderr
    );
    let made = sandbox.source().join(".runner/reports/junit.xml");
    let made = fs::read_to_string(made).expect("what was read is written");
    assert!(made.contains("one"), "{made}");
}

// CLI-13
#[test]
fn the_plan_shows_the_cache_and_the_role() {
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands: ['true']\ncache:\n  key: deps-$X\n  fallback-keys: [deps-]\n  action: restore\n  paths: ['deps/**/*']\n";
    let sandbox = Sandbox::with_buildspec(buildspec);
    sandbox
        .run(["plan"])
        .expect(0)
        .stdout_has("cache      nowhere: it is kept where `--cache` says\n");
    let role = "arn:aws:iam::123456789012:role/builds";
    let flags = ["--cache", "s3://bucket/caches", "--assume-role", role];
    sandbox
        .run([&["plan"], &flags[..]].concat())
        .expect(0)
        .stdout_has(&format!("role       {role}\n"))
        .stdout_has("cache      s3://bucket/caches\n  key          deps-$X\n  fallback     deps-\n  path         deps/**/*\n  action       restored only\n");
    let shown = sandbox
        .run([&["plan", "--json"], &flags[..]].concat())
        .expect(0);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["assumeRole"], role);
    assert_eq!(shown["cache"]["location"]["bucket"], "bucket");
    assert_eq!(shown["cache"]["key"], "deps-$X");
    assert_eq!(
        (&shown["cache"]["restores"], &shown["cache"]["saves"]),
        (&true.into(), &false.into())
    );
}
