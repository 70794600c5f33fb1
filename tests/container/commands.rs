//! What commands find in a container, how they are stopped, and what becomes of their output.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;

use crate::support::container::{Image, busybox, command, containers, docker, run, start};
use crate::support::sandbox::Sandbox;
use crate::support::wait::{self, Bounded as _};

/// CTR-2, CTR-3: root, `/root`, the image's variables and none of the caller's, whatever the image's user is.
#[test]
fn commands_are_roots_whatever_the_image_says() {
    let Some(base) = busybox("container") else {
        return;
    };
    let image = Image::of(
        &base,
        "user",
        &["USER 5:6", "ENV FROM_IMAGE=yes HOME=/nowhere"],
    );
    let sandbox = Sandbox::with_commands(&[
        "echo $(id -u):$(id -g) $HOME $FROM_IMAGE ${CALLER:-none} $USER.",
        "echo here $PWD $CODEBUILD_SRC_DIR",
    ]);
    let mut command = command(&sandbox, &image.0, &["--quiet"]);
    let output = command.env("CALLER", "seen").bounded_output();
    let ran = sandbox.finish(&output.expect("it starts")).expect(0);
    assert_eq!(ran.stdout, "0:0 /root yes none .\nhere <SRC> <SRC>\n");
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

/// CTR-2, TOOL-2: keys of AWS that the caller's environment has are there; its files with others are not.
#[test]
fn keys_of_the_callers_environment_are_there() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "echo ${AWS_ACCESS_KEY_ID:+id} ${AWS_SECRET_ACCESS_KEY:+secret} ${AWS_SHARED_CREDENTIALS_FILE:-none}",
    ]);
    let mut command = command(&sandbox, &image, &["--quiet"]);
    command
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "not-a-real-secret-key")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/home/me/keys");
    let output = command.bounded_output();
    let ran = sandbox.finish(&output.expect("it starts")).expect(0);
    assert_eq!(ran.stdout, "id secret none\n");
}

/// CTR-2: an entry point that runs its arguments is run; one that does not is told of, and can be left out.
#[test]
fn the_entry_point_is_run() {
    let Some(base) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["cat /entered"]);
    let script = r#"ENTRYPOINT ["/bin/sh","-c","sleep 0.3; echo through the entry point > /entered; eval \"$@\"","--"]"#;
    let image = Image::of(&base, "entered", &[script]);
    run(&sandbox, &image.0, &["--quiet"])
        .expect(0)
        .stdout_has("through the entry point");

    let image = Image::of(
        &base,
        "failing",
        &[r#"ENTRYPOINT ["/bin/sh","-c","echo no licence; exit 3"]"#],
    );
    let ran = run(&sandbox, &image.0, &[]).expect(4);
    let ran =
        ran.stderr_has("ended with status 3 instead of running what it was given: no licence");
    ran.stderr_has("--no-entrypoint");
    run(&sandbox, &image.0, &["--no-entrypoint"])
        .expect(1)
        .stderr_has("`cat /entered` failed");
    assert_eq!(containers(&sandbox), Vec::<String>::new());
}

/// CTR-8: nothing of a build's variables is in what the engine shows, or in the arguments of a process.
#[test]
fn variables_are_in_no_configuration() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["echo ready; read line < go", "echo over"]);
    let fifo = sandbox.source().join("go");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .bounded_output()
            .expect("it starts")
            .status
            .success()
    );
    let build = start(
        &sandbox,
        &image,
        "ready",
        &["--env", "SECRET=the-hidden-value"],
    );
    let ids = containers(&sandbox);
    assert_eq!(ids.len(), 1);
    let shown = docker(&["inspect", &ids[0]]);
    assert!(
        !shown.contains("the-hidden-value") && !shown.contains("SECRET"),
        "{shown}"
    );
    let processes = docker(&["top", &ids[0], "-o", "pid,args"]);
    assert!(!processes.contains("the-hidden-value"), "{processes}");
    fs::write(&fifo, "go\n").expect("the command reads");
    build.finish(&sandbox).expect(0);
    assert_eq!(containers(&sandbox), Vec::<String>::new());
}

/// CTR-10: stopped, whatever the command does, and nothing is left.
#[test]
fn builds_are_stopped_as_on_the_host() {
    let Some(image) = busybox("container") else {
        return;
    };
    let gentle = "trap 'echo cleaned; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    for (script, signal, code) in [
        (gentle, Signal::INT, 130),
        (gentle, Signal::TERM, 143),
        (stubborn, Signal::TERM, 143),
    ] {
        let sandbox = Sandbox::with_commands(&[&format!("{script:?}").replace("\\'", "'")]);
        let build = start(&sandbox, &image, "ready", &["--grace", "200ms"]);
        build.signal(signal);
        let ran = build.finish(&sandbox).expect(code);
        assert_eq!(
            ran.stdout.contains("cleaned"),
            script == gentle,
            "{}",
            ran.stdout
        );
        assert_eq!(containers(&sandbox), Vec::<String>::new());
        assert_eq!(sandbox.leftovers(), Vec::<String>::new());
    }
    let sandbox = Sandbox::with_commands(&["sleep 600"]);
    run(&sandbox, &image, &["--timeout", "1s", "--grace", "100ms"]).expect(5);
}

/// CTR-10: a fork bomb meets its limit, and the build can still be ended.
#[test]
fn a_fork_bomb_is_ended() {
    let Some(image) = busybox("container") else {
        return;
    };
    let bomb = "echo ready; b() { b | b & }; b; sleep 600";
    let sandbox = Sandbox::with_commands(&[&format!("{bomb:?}")]);
    let build = start(
        &sandbox,
        &image,
        "ready",
        &["--pids-limit", "60", "--grace", "100ms"],
    );
    build.signal(Signal::TERM);
    build.finish(&sandbox).expect(143);
    assert_eq!(containers(&sandbox), Vec::<String>::new());
}

/// CTR-11: output is streamed through, all of it, whatever its amount.
#[test]
fn a_gigabyte_of_output_comes_through() {
    let Some(image) = busybox("container") else {
        return;
    };
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";
    let sandbox = Sandbox::with_commands(&[&format!("yes {line} | head -c 1073741824")]);
    let mut command = command(&sandbox, &image, &["--quiet"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be started");
    let mut stdout = child.stdout.take().expect("it writes to a pipe");
    let counted = thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
    assert!(wait::end(child).success());
    let counted = counted
        .join()
        .expect("it was counted")
        .expect("it can be read");
    assert!(counted >= 1 << 30, "{counted}");
}
