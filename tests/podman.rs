//! Builds with Podman: its service on a socket, with a store of the test's own. `tests/run` installs it.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use support::container::Started;
use support::sandbox::{Ran, Sandbox};
use support::skipped;
use support::wait::{self, Bounded as _};

const IMAGE: &str = "localhost/runner-tests-podman:1";

/// Podman's service. It ends with the value, and its store goes.
struct Podman {
    directory: tempfile::TempDir,
    service: Option<Child>,
}

impl Podman {
    /// One with an image of busybox and nothing else. `None` where there is no Podman, or not one that needs no user's set-up.
    fn start() -> Option<Self> {
        let there = Command::new("podman").arg("--version").bounded_output();
        if !there.is_ok_and(|version| version.status.success()) {
            skipped("builds with Podman", "no podman; tests/run installs it");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skipped("builds with Podman", "only root's needs no set-up");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let place = directory.path().display();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{place}/root\"\nrunroot = \"{place}/run\"\n"
        );
        // What works in a container too: its service has no more rights than the tests. Podman 4.3 mixes up limits that are
        // not the same.
        let containers = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=8192:8192\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n";
        for (file, text) in [
            ("storage.conf", storage.as_str()),
            ("containers.conf", containers),
        ] {
            fs::write(directory.path().join(file), text).expect("a file can be written");
        }
        let mut podman = Self {
            directory,
            service: None,
        };
        podman.import();
        let socket = podman.socket();
        let service = podman
            .command(&["system", "service", "--time", "0"])
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        podman.service = Some(service.expect("podman can be started"));
        wait::until("Podman's service", move || {
            UnixStream::connect(&socket).is_ok()
        });
        Some(podman)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("podman.sock")
    }

    /// Podman's own command line, on the same store.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.args(arguments);
        for (variable, file) in [
            ("CONTAINERS_STORAGE_CONF", "storage.conf"),
            ("CONTAINERS_CONF", "containers.conf"),
        ] {
            command.env(variable, self.directory.path().join(file));
        }
        command
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).bounded_output();
        let output = output.expect("podman can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn import(&self) {
        let layout = self.directory.path().join("layout");
        fs::create_dir_all(layout.join("bin")).expect("a directory can be made");
        fs::create_dir(layout.join("tmp")).expect("a directory can be made");
        fs::copy("/bin/busybox", layout.join("bin/busybox")).expect("busybox-static is installed");
        for applet in [
            "sh", "id", "cat", "sleep", "touch", "mkdir", "printf", "test",
        ] {
            std::os::unix::fs::symlink("busybox", layout.join("bin").join(applet)).expect("a link");
        }
        let archive = self
            .directory
            .path()
            .join("layout.tar")
            .display()
            .to_string();
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&layout)
            .args(["-cf", &archive, "."])
            .bounded_output();
        assert!(packed.expect("tar can be started").status.success());
        self.succeed(&["import", "--quiet", &archive, IMAGE]);
    }

    fn containers(&self) -> String {
        self.succeed(&["ps", "--all", "--format", "{{.Names}}"])
    }

    /// A command of the program that knows this engine.
    fn runner(&self, sandbox: &Sandbox, arguments: &[&str]) -> Command {
        let mut command = sandbox.command(arguments);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command
    }

    fn run(&self, sandbox: &Sandbox, arguments: &[&str]) -> Ran {
        let output = self.runner(sandbox, arguments).bounded_output();
        sandbox.finish(&output.expect("the program can be started"))
    }

    /// A build that goes on.
    fn begin(&self, sandbox: &Sandbox) -> Started {
        let mut child = Sandbox::spawn(&mut self.runner(sandbox, &BUILD));
        let stdout = child.stdout.take().expect("standard output is a pipe");
        Started {
            rest: Some(wait::read_until(stdout, "ready")),
            child: Some(child),
        }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Whoever watches a container is no child of the service.
        let _ = self
            .command(&["rm", "--all", "--force", "--time", "0"])
            .bounded_output();
        if let Some(mut service) = self.service.take() {
            let _ = service.kill();
            let _ = service.wait();
        }
        // What it has mounted on itself.
        let place = self.directory.path().join("root");
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(place)
            .bounded_output();
    }
}

/// Without a network: the machine's is left as it is.
const BUILD: [&str; 6] = ["run", "-q", "--network", "none", "--image", IMAGE];

// CTR-52, CTR-73, CTR-3, CTR-4: mounted and copied, with state between commands, artifacts and the caller's files.
#[test]
fn a_build_runs_with_podman() {
    let Some(podman) = Podman::start() else {
        return;
    };
    for mount in ["auto", "copy"] {
        let text = "version: 0.2\nphases:\n  build:\n    commands:\n      - X=kept; test \"$(id -u)$HOME\" = 0/root\n      - echo $X > made; touch gone && echo $CODEBUILD_BUILD_SUCCEEDING\nartifacts:\n  files: [made]\n";
        let sandbox = Sandbox::with_buildspec(text);
        let ran = podman.run(&sandbox, &[&BUILD[..], &["--mount-source", mount]].concat());
        assert_eq!(ran.expect(0).stdout, "1\n", "{mount}");
        for file in ["made", ".runner/artifacts/source/made"] {
            let made = fs::read_to_string(sandbox.source().join(file));
            assert_eq!(made.expect("it is there"), "kept\n");
        }
        assert_eq!(sandbox.leftovers(), [""; 0]);
    }
    // It would run what it has.
    let sandbox = Sandbox::with_commands(&["touch ran"]);
    podman
        .run(
            &sandbox,
            &[&BUILD[..], &["--platform", "linux/s390x"]].concat(),
        )
        .expect(4)
        .stdout_has(", and not for linux/s390x");
    assert!(!sandbox.source().join("ran").exists());
    let sandbox = Sandbox::with_commands(&["exit 7"]);
    podman
        .run(&sandbox, &BUILD)
        .expect(1)
        .stdout_has("exit status 7");
    assert_eq!(podman.containers(), "");
}

// CTR-52, TOOL-2, TOOL-7, TOOL-10, TOOL-13: our own `docker` speaks to Podman too.
#[test]
fn images_are_made_with_podman() {
    let Some(podman) = Podman::start() else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        &format!("printf 'FROM {IMAGE}\\nENV A=b\\nCOPY Dockerfile /\\n' > Dockerfile"),
        "docker build -q -t made:1 . > id",
        "docker inspect --format '{{.Config.Env}}' made:1",
        "docker save -o made.tar made:1 && docker rmi made:1 > removed && docker load -q -i made.tar",
    ]);
    podman
        .run(&sandbox, &BUILD)
        .expect(0)
        .stdout_has(" A=b]\n")
        .stdout_has("Loaded image: docker.io/library/made:1");
}

// CTR-52, CTR-10, CTR-30, CTR-47, CTR-48: a stop, a kept container, and what is left after `kill -9`.
#[test]
fn nothing_is_left_in_podman() {
    let Some(podman) = Podman::start() else {
        return;
    };
    let on_host = "version: 0.2\nphases: { build: { commands: [echo fine] } }\n";
    let sandbox = Sandbox::with_commands(&["echo ready; sleep 600"]).file("host.yml", on_host);
    let build = podman.begin(&sandbox);
    build.signal(Signal::TERM);
    build.finish(&sandbox).expect(143);
    assert_eq!(
        (podman.containers(), sandbox.leftovers().len()),
        (String::new(), 0)
    );
    let mut build = podman.begin(&sandbox);
    build.signal(Signal::KILL);
    wait::end(build.child.take().expect("it ran"));
    assert_eq!(
        (
            podman.containers().lines().count(),
            sandbox.leftovers().len()
        ),
        (1, 1)
    );
    let ran = sandbox.run(["run", "-q", "-f", "host.yml"]).expect(0);
    assert_eq!(ran.stderr, "");
    assert_eq!(
        (podman.containers(), sandbox.leftovers().len()),
        (String::new(), 0)
    );
    let failing = Sandbox::with_commands(&["exit 3"]);
    let arguments = [&BUILD[..], &["--keep", "on-failure"]].concat();
    podman.run(&failing, &arguments).expect(1);
    let kept = podman.containers();
    let uuid = kept
        .strip_prefix("runner-kept-")
        .expect("it is called that");
    podman.run(&failing, &["prune", uuid]).expect(0);
    assert_eq!(podman.containers(), "");
}

// CTR-52, CTR-50: Podman would make the source of a volume, however it is asked.
#[test]
fn a_volume_that_is_not_there_is_not_made_by_podman() {
    let Some(podman) = Podman::start() else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["cat /given/file"]).file("given/file", "mounted\n");
    let typo = sandbox.path("typo");
    let volume = |source: &std::path::Path| format!("{}:/given:ro", source.display());
    let run = |volume: &str| podman.run(&sandbox, &[&BUILD[..], &["--volume", volume]].concat());
    run(&volume(&typo))
        .expect(4)
        .stdout_has("could not mount the volume");
    assert!(!typo.exists());
    let ran = run(&volume(&sandbox.source().join("given"))).expect(0);
    assert_eq!(ran.stdout, "mounted\n");
}

// CTR-52, CTR-9: what has ended is told from an engine that is gone.
#[test]
fn a_container_that_is_killed_in_podman_is_found_dead() {
    let Some(podman) = Podman::start() else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["echo ready; sleep 600"]);
    let build = podman.begin(&sandbox);
    let containers = podman.succeed(&["ps", "-q"]);
    podman.succeed(&["kill", containers.trim()]);
    let ran = build.finish(&sandbox).expect(4);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("Build container found dead"), "{said}");
    assert!(!said.contains("cannot be reached"), "{said}");
    assert_eq!(podman.containers(), "");
}
