//! What a build in a container leaves in an engine when it is killed, and builds on the host that meet it. `tests/run` starts
//! the engine.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;
use support::container::{Started, busybox, command, containers, docker};
use support::engine::answering_engine;
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};

/// Of builds in containers one at a time: each clears away in its engine what is nobody's, also what another test looks at.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An engine that is reached by a socket of the test's own, which can be out of the way.
struct Reached {
    socket: PathBuf,
    away: PathBuf,
}

impl Reached {
    fn by(sandbox: &Sandbox) -> Self {
        let socket = sandbox.path("engine.sock");
        answering_engine(&socket, |_| None);
        Self {
            socket,
            away: sandbox.path("engine.away"),
        }
    }

    fn hide(&self) {
        fs::rename(&self.socket, &self.away).expect("it is ours");
    }

    fn show(&self) {
        fs::rename(&self.away, &self.socket).expect("it is ours");
    }
}

/// A place with a build for the container, which goes on until it is killed, and one for the host.
fn place() -> Sandbox {
    let on_host = "version: 0.2\nphases: { build: { commands: [echo fine] } }\n";
    Sandbox::with_commands(&["echo ready; sleep 600"]).file("host.yml", on_host)
}

/// Kills a build in the middle of a command. Gives the id of its container.
fn kill_one(sandbox: &Sandbox, image: &str, engine: &Reached) -> String {
    let mut command = command(sandbox, image, &["-q"]);
    command.env("DOCKER_HOST", format!("unix://{}", engine.socket.display()));
    let mut child = Sandbox::spawn(&mut command);
    let stdout = child.stdout.take().expect("standard output is a pipe");
    let rest = wait::read_until(stdout, "ready");
    let mut build = Started {
        child: Some(child),
        rest: Some(rest),
    };
    build.signal(Signal::KILL);
    wait::end(build.child.take().expect("it ran"));
    let left = containers(sandbox);
    assert_eq!((left.len(), sandbox.leftovers().len()), (1, 1));
    left[0].clone()
}

/// A command of the program that has no engine of its own.
fn elsewhere(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(arguments);
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    command
}

fn finish(sandbox: &Sandbox, mut command: Command) -> Ran {
    let output = command.bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

/// A build on the host, which succeeds whatever is left of others.
fn on_host(sandbox: &Sandbox) -> Ran {
    let ran = finish(
        sandbox,
        elsewhere(sandbox, &["run", "-q", "-f", "host.yml"]),
    );
    let ran = ran.expect(0);
    assert_eq!(ran.stdout, "fine\n");
    ran
}

// CTR-47, CTR-48: the engine that the killed build used is asked, not the one of now.
#[test]
fn a_build_on_the_host_clears_up_in_the_engine_of_a_killed_one() {
    let _alone = alone();
    let Some(image) = busybox("sweep by a build on the host") else {
        return;
    };
    let sandbox = place();
    let engine = Reached::by(&sandbox);
    kill_one(&sandbox, &image, &engine);
    assert_eq!(on_host(&sandbox).stderr, "");
    assert_eq!(containers(&sandbox), [""; 0]);
    assert_eq!(sandbox.leftovers(), [""; 0]);
    // By hand too.
    kill_one(&sandbox, &image, &engine);
    let shown = finish(&sandbox, elsewhere(&sandbox, &["prune", "--dry-run"]));
    shown.expect(4).stdout_has("directory");
    assert_eq!(
        (containers(&sandbox).len(), sandbox.leftovers().len()),
        (1, 1)
    );
    // There is no engine of now, which is said.
    finish(&sandbox, elsewhere(&sandbox, &["prune"])).expect(4);
    assert_eq!(containers(&sandbox), [""; 0]);
    assert_eq!(sandbox.leftovers(), [""; 0]);
}

// CTR-48: killed when the container was kept already, and nobody had noted it.
#[test]
fn what_was_kept_stays() {
    let _alone = alone();
    let Some(image) = busybox("a kept container in a sweep") else {
        return;
    };
    let sandbox = place();
    let engine = Reached::by(&sandbox);
    let id = kill_one(&sandbox, &image, &engine);
    docker(&["rename", &id, &format!("runner-kept-{id}")]);
    on_host(&sandbox);
    let left = containers(&sandbox);
    assert_eq!((left.len(), sandbox.leftovers().len()), (1, 0));
    docker(&["rm", "--force", &id]);
}

// CTR-49: what stays for now is said, and goes when the engine is there again.
#[test]
fn an_engine_that_does_not_answer_is_asked_again_later() {
    let _alone = alone();
    let Some(image) = busybox("a sweep without the engine") else {
        return;
    };
    let sandbox = place();
    let engine = Reached::by(&sandbox);
    let id = kill_one(&sandbox, &image, &engine);
    let stays = || {
        assert_eq!(
            (containers(&sandbox), sandbox.leftovers().len()),
            (vec![id[..12].to_owned()], 1)
        );
    };
    engine.hide();
    on_host(&sandbox).stderr_has(
        "note: a build that was killed may have left a container, which the next build looks for again: could not reach the container engine at ",
    );
    stays();
    finish(&sandbox, elsewhere(&sandbox, &["prune"]))
        .expect(4)
        .stdout_has("not removed: a build that was killed may have left a container");
    stays();
    // Somebody takes the connection, and says nothing.
    let silent = UnixListener::bind(&engine.socket).expect("a fresh place");
    on_host(&sandbox).stderr_has("did not answer within 10 s");
    stays();
    drop(silent);
    engine.show();
    assert_eq!(on_host(&sandbox).stderr, "");
    assert_eq!(containers(&sandbox), [""; 0]);
    assert_eq!(sandbox.leftovers(), [""; 0]);
}

// CTR-49: nobody is told of an engine for ever that is gone for good.
#[test]
fn after_a_day_an_engine_that_does_not_answer_is_forgotten() {
    let _alone = alone();
    let Some(image) = busybox("a sweep a day later") else {
        return;
    };
    let sandbox = place();
    let engine = Reached::by(&sandbox);
    let id = kill_one(&sandbox, &image, &engine);
    engine.hide();
    age(&sandbox.path("tmp").join(&sandbox.leftovers()[0]));
    on_host(&sandbox).stderr_has("is not looked for any more: could not reach");
    assert_eq!(sandbox.leftovers(), [""; 0]);
    assert_eq!(on_host(&sandbox).stderr, "");
    docker(&["rm", "--force", &id]);
}

/// Makes a directory two days old.
fn age(directory: &Path) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_hours(48);
    let open = fs::File::open(directory).expect("it is there");
    open.set_modified(then).expect("it is ours");
}

// CTR-48: a build on the host that meets nothing of the kind asks no engine, nor does one that meets other things.
#[test]
fn a_build_on_the_host_asks_no_engine_without_a_reason() {
    let sandbox = place();
    let abandoned = sandbox
        .path("tmp")
        .join(format!("runner-{}", "0".repeat(32)));
    fs::create_dir(&abandoned).expect("a fresh place");
    let socket = sandbox.path("engine.sock");
    let listener = UnixListener::bind(&socket).expect("a fresh place");
    listener.set_nonblocking(true).expect("it can be");
    for _ in 0..2 {
        let mut command = sandbox.command(["run", "-q", "-f", "host.yml"]);
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        finish(&sandbox, command).expect(0);
        let connected = listener.accept().map(|_| ());
        assert_eq!(connected.unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
