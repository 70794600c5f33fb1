//! Containers and engines that go away, or hang.

use std::fs;
use std::process::Stdio;
use std::thread;

use crate::support::container::{
    Started, busybox, command, containers, docker, engine_socket, run, start,
};
use crate::support::engine::{Proxy, hanging_engine};
use crate::support::sandbox::Sandbox;
use crate::support::wait::{self, Bounded as _};

/// CTR-13, CTR-14: an engine that hangs, whose connections stay open: when the session is opened, and when files come back.
#[test]
fn an_engine_that_hangs_is_a_fault() {
    let Some(image) = busybox("container") else {
        return;
    };
    let cases = [
        (
            "POST /v",
            "/start HTTP",
            "bind",
            "passes nothing on any more",
        ),
        ("GET /v", "/archive?path=", "copy", "says nothing any more"),
    ];
    let builds = cases.map(|(method, path, how, message)| {
        let image = image.clone();
        thread::spawn(move || {
            let sandbox = Sandbox::with_commands(&["echo made > made"]).file("kept", "mine");
            let socket = sandbox.path("engine.sock");
            hanging_engine(&socket, move |request| {
                request.starts_with(method)
                    && request.contains(path)
                    && (how == "copy" || request.contains("/exec/"))
            });
            let mut command = command(&sandbox, &image, &["--mount-source", how]);
            command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
            let output = command.bounded_output().expect("it starts");
            sandbox.finish(&output).expect(4).stderr_has(message);
            let kept = fs::read_to_string(sandbox.source().join("kept"));
            assert_eq!(kept.expect("it is there"), "mine");
            // It could not be asked to remove the container.
            for id in containers(&sandbox) {
                docker(&["rm", "--force", &id]);
            }
        })
    });
    for build in builds {
        build.join().expect("the build ends with a fault");
    }
}

/// CTR-9: whatever becomes of the container or the engine, the build ends with a fault that says so.
#[test]
fn a_container_that_dies_is_a_fault() {
    let Some(image) = busybox("container") else {
        return;
    };
    for how in ["kill", "rm"] {
        let sandbox = Sandbox::with_commands(&["echo ready; sleep 600"]);
        let build = start(&sandbox, &image, "ready", &[]);
        let ids = containers(&sandbox);
        match how {
            "kill" => docker(&["kill", &ids[0]]),
            _ => docker(&["rm", "--force", &ids[0]]),
        };
        let ran = build.finish(&sandbox).expect(4);
        ran.stderr_has("Build container found dead before completing the build");
        assert_eq!(containers(&sandbox), Vec::<String>::new());
    }
}

/// CTR-9: the engine goes away in the middle of a build.
#[test]
fn an_engine_that_goes_away_is_a_fault() {
    let Some(image) = busybox("container") else {
        return;
    };
    let proxy = Proxy::start(&engine_socket());
    let sandbox = Sandbox::with_commands(&["echo ready; sleep 600"]);
    let mut command = command(&sandbox, &image, &[]);
    command.env("DOCKER_HOST", proxy.address());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let stdout = child.stdout.take().expect("it writes to a pipe");
    let rest = wait::read_until(stdout, "ready");
    proxy.cut();
    let ran = Started {
        child: Some(child),
        rest: Some(rest),
    }
    .finish(&sandbox)
    .expect(4);
    ran.stderr_has("the container engine cannot be reached any more");
    // It could not be asked to remove the container.
    for id in containers(&sandbox) {
        docker(&["rm", "--force", &id]);
    }
}

/// CTR-9: a process that was ended for want of memory is told apart from one that failed.
#[test]
fn want_of_memory_is_said() {
    let Some(image) = busybox("container") else {
        return;
    };
    let hungry = "X=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#X}";
    let sandbox = Sandbox::with_commands(&[hungry]);
    run(&sandbox, &image, &["--memory", "64m"])
        .expect(1)
        .stderr_has("ran out of memory");
}
