//! Builds that wait at breakpoints of a debug session, on the host and in a container.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::container;
use support::sandbox::{Ran, Sandbox};
use support::terminal::type_at;
use support::wait::{self, Bounded as _};
use support::{events, skipped};

/// A build whose second command waits in the middle, with variables of its own.
const WAITS: &[&str] = &[
    "mkdir -p sub; cd sub; FIRST=one",
    "'SECOND=two; codebuild-breakpoint; echo \"went on with $SECOND $CHANGED\"'",
];

/// A command of the program, in a container if there is an image.
fn command(sandbox: &Sandbox, image: Option<&str>, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(["run", "--debug-session", "--log-format", "codebuild"]);
    if let Some(image) = image {
        command.args(["--image", image, "--project", &sandbox.project()]);
    }
    command.args(arguments);
    command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    command
}

/// The same as a line for a terminal.
fn line(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy());
    format!("runner {}", words.collect::<Vec<_>>().join(" "))
}

/// Both places where a build can be; the container only where there is an engine.
fn places(test: &str) -> Vec<Option<String>> {
    let image = container::busybox(test);
    std::iter::once(None).chain(image.map(Some)).collect()
}

/// A build that waits at a breakpoint, and says so.
struct Waiting {
    child: Child,
    log: BufReader<ChildStdout>,
    /// What is behind `runner shell` to get there.
    name: String,
}

impl Waiting {
    fn begin(mut command: Command) -> Self {
        let mut child = Sandbox::spawn(&mut command);
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let (log, name) = wait::within("a breakpoint", move || {
            let mut log = BufReader::new(stdout);
            let mut line = String::new();
            loop {
                line.clear();
                let read = log.read_line(&mut line).expect("it can be read");
                assert_ne!(read, 0, "the build ended without a breakpoint");
                if let Some((_, rest)) =
                    line.split_once("Waiting at a breakpoint: get there with `runner shell ")
                {
                    let name = rest.split('`').next().unwrap_or_default().to_owned();
                    return (log, name);
                }
            }
        });
        Self { child, log, name }
    }

    /// Sends a signal.
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a number"), signal).expect("it is there");
    }

    /// Waits for its end; what it wrote after the breakpoint.
    fn finish(self, sandbox: &Sandbox) -> Ran {
        let Self { child, mut log, .. } = self;
        let rest = wait::within("the rest of the log", move || {
            let mut rest = String::new();
            log.read_to_string(&mut rest).expect("it can be read");
            rest
        });
        let mut ran = sandbox.finish(&wait::output(child));
        ran.stdout = rest;
        ran
    }
}

// TOOL-33, TOOL-34, TOOL-37
#[test]
fn at_a_terminal_a_breakpoint_is_a_shell_there() {
    let sandbox = Sandbox::with_commands(WAITS);
    let look = "echo \"[$FIRST/$SECOND/${PWD##*/}]\"; CHANGED=yes; export CHANGED\n";
    for image in places("a breakpoint at a terminal in a container") {
        let command = command(&sandbox, image.as_deref(), &[]);
        for leaving in ["codebuild-resume\n", "exit 9\n"] {
            let keys = format!("{look}{leaving}");
            let Some(shown) = type_at(&sandbox, &command, &line(&command), &keys) else {
                return;
            };
            // What was changed in it is not the build's, and how it ended neither.
            let shown = shown
                .expect(0)
                .stdout_has("Waiting at a breakpoint")
                .stdout_has("[one/two/sub]")
                .stdout_has("Going on after a breakpoint")
                .stdout_has("went on with two \r\n");
            let at = |text: &str| shown.stdout.find(text);
            assert!(at("[one/two/sub]") < at("Going on"), "{}", shown.stdout);
        }
        if image.is_some() {
            assert!(container::containers(&sandbox).is_empty());
        }
    }
    assert!(sandbox.leftovers().is_empty());
}

// TOOL-35, TOOL-36, TOOL-37
#[test]
fn without_a_terminal_it_waits_for_another_one() {
    let sandbox = Sandbox::with_commands(WAITS);
    for image in places("a breakpoint without a terminal in a container") {
        let events = sandbox.path("events.jsonl");
        let events = events.to_str().expect("a path of ours is text");
        let waiting = Waiting::begin(command(&sandbox, image.as_deref(), &["--events", events]));
        let usual = sandbox.command([""; 0]);
        let name = waiting.name.clone();
        let enter = |keys: &str| type_at(&sandbox, &usual, &format!("runner shell {name}"), keys);
        let Some(looked) = enter("echo \"[$FIRST/$SECOND/${PWD##*/}]\"\nexit 9\n") else {
            return;
        };
        looked.expect(9).stdout_has("[one/two/sub]");
        // Whoever leaves without a word leaves it waiting.
        let listed = sandbox.run(["shell"]).expect(0);
        assert!(listed.stdout.contains("waits at a breakpoint"));
        let left = enter("codebuild-resume\n").expect("script is there");
        left.expect(0).stdout_has("waits no longer");
        waiting
            .finish(&sandbox)
            .expect(0)
            .stdout_has("went on with two");
        let told = std::fs::read_to_string(events).expect("events are written");
        let told: Vec<Value> = events::parse(&told);
        events::check_grammar(&told);
        let find = |name: &str| {
            let found = told.iter().find(|event| event["event"] == name);
            found.unwrap_or_else(|| panic!("no {name}")).clone()
        };
        let reached = find("breakpoint-reached");
        assert_eq!(reached["breakpoint"], 1);
        assert_eq!(reached["atTerminal"], false);
        assert_eq!(reached["build"], name);
        let gone_on = find("breakpoint-left");
        assert_eq!(
            (&gone_on["breakpoint"], &gone_on["resumed"]),
            (&reached["breakpoint"], &Value::Bool(true))
        );
    }
    assert!(sandbox.leftovers().is_empty());
    // Whatever there is of an engine.
    let listed = sandbox.run(["shell"]);
    assert!(!listed.stdout.contains("waits"), "{}", listed.stdout);
}

// TOOL-35: a stop ends the wait, and so does the build's time limit.
#[test]
fn a_wait_ends_with_the_build() {
    let sandbox = Sandbox::with_commands(&["codebuild-breakpoint"]);
    for image in places("the end of a wait in a container") {
        let waiting = Waiting::begin(command(&sandbox, image.as_deref(), &[]));
        waiting.signal(Signal::TERM);
        waiting
            .finish(&sandbox)
            .expect(143)
            .stdout_has("A command was ended at a breakpoint");
        // On a slow machine the time of a build may be over before it gets to its command.
        let ended = ["1s", "5s", "25s"].into_iter().map(|limit| {
            let timed = ["--timeout", limit];
            let output = command(&sandbox, image.as_deref(), &timed).bounded_output();
            let ran = sandbox.finish(&output.expect("the program can be started"));
            ran.expect(5)
        });
        let mut waits = ended.filter(|ran| ran.stdout.contains("Waiting at a breakpoint"));
        assert!(waits.next().is_some(), "no time was enough to get there");
        if image.is_some() {
            assert!(container::containers(&sandbox).is_empty());
        }
    }
    assert!(sandbox.leftovers().is_empty());
}

// TOOL-37, TOOL-38: as the command's user, and for nobody else's.
#[test]
fn the_shell_is_the_commands_user() {
    if !rustix::process::geteuid().is_root() {
        return skipped("a breakpoint under run-as", "needs root");
    }
    let buildspec = "version: 0.2\nrun-as: nobody\nphases:\n  build:\n    commands:\n      - codebuild-breakpoint\n";
    let sandbox = Sandbox::with_buildspec(buildspec);
    // Another user has to get there, and runner itself with it.
    for path in [sandbox.path(""), sandbox.path("tmp"), sandbox.source()] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(path, mode).expect("they are ours");
    }
    let waiting = Waiting::begin(command(&sandbox, None, &[]));
    let enter = format!("runner shell {}", waiting.name);
    let usual = sandbox.command([""; 0]);
    let keys = "echo \"[$(id -un)]\"\ncodebuild-resume\n";
    let Some(shown) = type_at(&sandbox, &usual, &enter, keys) else {
        return;
    };
    shown.expect(0).stdout_has("[nobody]");
    waiting.finish(&sandbox).expect(0);
    assert!(sandbox.leftovers().is_empty());
}

// TOOL-54
#[test]
fn nothing_but_the_command_line_makes_a_build_wait() {
    let sandbox = Sandbox::with_commands(&["codebuild-breakpoint", "echo went on"])
        .file("named.toml", "[run]\ndebug-session = true\n");
    let mut command = sandbox.command(["run", "--timeout", "10s"]);
    command.env("RUNNER_DEBUG_SESSION", "true");
    let output = command.bounded_output();
    let ran = sandbox.finish(&output.expect("the program can be started"));
    let ran = ran.expect(0).stdout_has("went on");
    assert!(!ran.stdout.contains("breakpoint:"), "{}", ran.stdout);
    sandbox
        .run(["run", "--config", "named.toml"])
        .expect(2)
        .stderr_has("`debug-session` cannot be configured: it is for a person who is there");
}

// TOOL-31, TOOL-39: a build inside of a build with a session has none of its own, and a session that is gone is an error.
#[test]
fn what_is_asked_of_a_session_that_is_not_there() {
    let sandbox = Sandbox::with_commands(&["codebuild-breakpoint", "codebuild-resume"]);
    let mut command = sandbox.command(["run"]);
    command.env("RUNNER_DEBUG_SOCKET", "/nowhere/debug.socket");
    let output = command.bounded_output();
    let ran = sandbox.finish(&output.expect("the program can be started"));
    ran.expect(0);
    let leads_nowhere = Sandbox::with_commands(&[
        "export RUNNER_DEBUG_SOCKET=/nowhere/debug.socket",
        "codebuild-breakpoint",
    ]);
    leads_nowhere
        .run(["run", "--debug-session"])
        .expect(1)
        .stdout_has("codebuild-breakpoint: the runner of this build cannot be reached at /nowhere");
    leads_nowhere
        .run(["run", "--debug-session", "--no-tools"])
        .expect(2)
        .stderr_has("cannot be used with");
}
