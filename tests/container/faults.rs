//! Containers and engines that go away, or hang.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::container::{
    Started, busybox, command, containers, docker, engine_socket, in_own_mounts, run, start,
};
use crate::support::engine::{Proxy, answering_engine, hanging_engine};
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

/// CTR-9, CTR-51: a process that was ended for want of memory is told apart from one that failed.
#[test]
fn want_of_memory_is_said() {
    let Some(image) = busybox("container") else {
        return;
    };
    let hungry = "X=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#X}";
    let sandbox = Sandbox::with_commands(&[hungry]);
    run(&sandbox, &image, &["--memory", "64m"])
        .expect(1)
        .stderr_has("the container ran out of memory while this command ran")
        .stderr_has("give it more with `--memory`");
}

/// CTR-45: as many processes as there may be: where nothing can be started, and where a command cannot start another.
#[test]
fn want_of_processes_is_said() {
    let Some(image) = busybox("container") else {
        return;
    };
    for (limit, code) in [("2", 4), ("3", 1)] {
        let sandbox = Sandbox::with_commands(&["echo one | cat"]);
        run(&sandbox, &image, &["--pids-limit", limit])
            .expect(code)
            .stderr_has("as many processes as")
            .stderr_has("`--pids-limit`");
        assert_eq!(containers(&sandbox), Vec::<String>::new());
    }
}

/// CTR-45, CTR-51: the system ends the session itself for want of memory; engines do not tell.
#[test]
fn a_session_without_memory_is_said() {
    let Some(image) = busybox("container") else {
        return;
    };
    let more = "the container may have run out of memory: give it more with `--memory`";
    let other = "the machine may have run out of memory: let the commands do with less";
    for (arguments, said) in [(&["--memory", "64m"][..], more), (&[], other)] {
        let sandbox = Sandbox::with_commands(&["echo ready; sleep 600"]);
        let build = start(&sandbox, &image, "ready", arguments);
        let ids = containers(&sandbox);
        let kill = "kill -9 $(ps -o pid,args | awk '/[r]unner-container session/ {print $1}')";
        // The container may be gone before it has said how this ended.
        let killing = Command::new("docker")
            .args(["exec", &ids[0], "sh", "-c", kill])
            .bounded_output();
        killing.expect("docker can be started");
        build
            .finish(&sandbox)
            .expect(4)
            .stderr_has("runner's own process in the container was ended")
            .stderr_has("unless somebody ended it, ")
            .stderr_has(said);
    }
}

/// CTR-46: a full disk in the container is the command's, one of the caller's is a fault that names it and its file.
#[test]
fn full_disks_are_said() {
    let Some(image) = busybox("container") else {
        return;
    };
    let volume = format!("runner-tests-small-{}", std::process::id());
    let small = ["type=tmpfs", "device=tmpfs", "o=size=64k"];
    let options = small.iter().flat_map(|option| ["--opt", option]);
    let create: Vec<&str> = ["volume", "create"]
        .into_iter()
        .chain(options)
        .chain([volume.as_str()])
        .collect();
    docker(&create);
    let sandbox = Sandbox::with_commands(&["dd if=/dev/zero of=/small/file bs=1k count=200"]);
    let ran = run(&sandbox, &image, &["--volume", &format!("{volume}:/small")]);
    docker(&["volume", "rm", &volume]);
    ran.expect(1).stdout_has("No space left on device");

    let sandbox = Sandbox::with_commands(&["head -c 2000000 /dev/urandom > large"]);
    let inner = command(&sandbox, &image, &["--mount-source", "copy"]);
    let own = r#"mount -t tmpfs -o size=1m tmpfs "$PWD" && cd "$PWD" && printf '%s' "$BUILDSPEC" > buildspec.yml && "$@"; code=$?; ls -A; exit $code"#;
    let output = in_own_mounts(&sandbox, &inner, own).bounded_output();
    let ran = sandbox.finish(&output.expect("unshare can be started"));
    let ran = ran
        .expect(4)
        .stderr_has("large: ")
        .stderr_has("No space left on device")
        .stderr_has("make room");
    assert!(ran.stdout.ends_with("\nbuildspec.yml\n"), "{}", ran.stdout);
    // What did not come back is kept (CTR-61).
    for container in containers(&sandbox) {
        docker(&["rm", "-f", &container]);
    }
}

/// CTR-13: an engine that leaves out a file of what is outside of the source, in an archive that is whole in itself.
#[test]
fn artifacts_from_elsewhere_are_whole_or_a_fault() {
    let Some(image) = busybox("container") else {
        return;
    };
    let text = "version: 0.2
phases:
  build:
    commands:
      - mkdir -p /opt/out && echo one > /opt/out/one && echo two > /opt/out/two
artifacts:
  files: ['/opt/out/*']
";
    let sandbox = Sandbox::with_buildspec(text);
    let socket = sandbox.path("engine.sock");
    answering_engine(&socket, |request| {
        (request.starts_with("GET /v") && request.contains("/archive?path=%2Fopt%2Fout"))
            .then(|| archive_answer(&["one"]))
    });
    let mut command = command(&sandbox, &image, &[]);
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let output = command.bounded_output().expect("it starts");
    sandbox
        .finish(&output)
        .expect(4)
        .stderr_has("the engine left out two, which is there in the container");
}

/// What an engine answers that is asked for `/opt/out`, with these files in it.
fn archive_answer(files: &[&str]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    let added = archive.append_data(&mut header, "out", io::empty());
    added.expect("memory can be written");
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(4);
        let added = archive.append_data(&mut header, format!("out/{file}"), &b"one\n"[..]);
        added.expect("memory can be written");
    }
    let body = archive.into_inner().expect("memory can be written");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// IMG-34: a build asks the engine once which one it is, for its commands too.
#[test]
fn an_engine_is_asked_once_which_one_it_is() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["docker images -q", "docker images -q"]);
    let socket = sandbox.path("engine.sock");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    answering_engine(&socket, move |request| {
        let is_it = request.starts_with("GET /version");
        counted.fetch_add(usize::from(is_it), Ordering::SeqCst);
        None
    });
    let mut command = command(&sandbox, &image, &[]);
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let output = command.bounded_output().expect("it starts");
    sandbox.finish(&output).expect(0);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
