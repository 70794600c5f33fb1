//! Builds in containers of the engine that `tests/run` starts.

use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::sandbox::{Ran, Sandbox};
use super::skipped;
use super::wait::{self, Bounded as _};

/// An image with nothing but busybox, if there is an engine; if not, it is said.
pub(crate) fn busybox(test: &str) -> Option<String> {
    let image = std::env::var("RUNNER_TEST_BUSYBOX").ok();
    if image.is_none() {
        skipped(test, "no engine with an image; tests/run starts it");
    }
    image
}

/// `docker`, which has to succeed.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).bounded_output();
    let output = output.expect("docker can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// An image like another one, with a change such as `USER 5`. It goes away with the value.
pub(crate) struct Image(pub(crate) String);

impl Image {
    pub(crate) fn of(base: &str, name: &str, changes: &[&str]) -> Self {
        let image = format!("runner-tests/{name}:{}", std::process::id());
        let container = docker(&["create", base, "none"]);
        let changes = changes.iter().flat_map(|change| ["--change", change]);
        let arguments: Vec<&str> = ["commit"]
            .into_iter()
            .chain(changes)
            .chain([container.as_str(), image.as_str()])
            .collect();
        docker(&arguments);
        docker(&["rm", &container]);
        Self(image)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["image", "rm", "--force", &self.0])
            .bounded_output();
    }
}

/// A command of the program that runs the sandbox's build in an image.
pub(crate) fn command(sandbox: &Sandbox, image: &str, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(["run", "--image", image]);
    command
        .args(["--project", &sandbox.project()])
        .args(arguments);
    command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    command
}

pub(crate) fn run(sandbox: &Sandbox, image: &str, arguments: &[&str]) -> Ran {
    let output = command(sandbox, image, arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

/// The containers of builds of this sandbox that the engine has, running or not.
pub(crate) fn containers(sandbox: &Sandbox) -> Vec<String> {
    let project = sandbox.project();
    let format = "{{.ID}} {{.Label \"io.buildspec-runner.build\"}}";
    docker(&["ps", "-a", "--format", format])
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, build)| build.starts_with(&format!("{project}:")))
        .map(|(id, _)| id.to_owned())
        .collect()
}

/// A build that was started and writes its output to a pipe; `started` once it wrote this line.
pub(crate) fn start(
    sandbox: &Sandbox,
    image: &str,
    line: &'static str,
    arguments: &[&str],
) -> Started {
    let mut command = command(sandbox, image, arguments);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let stdout = child.stdout.take().expect("it writes to a pipe");
    let rest = wait::read_until(stdout, line);
    Started {
        child: Some(child),
        rest: Some(rest),
    }
}

/// A build that runs. Dropped, it is asked to end: a test that fails leaves nothing behind.
pub(crate) struct Started {
    pub(crate) child: Option<std::process::Child>,
    pub(crate) rest: Option<io::BufReader<std::process::ChildStdout>>,
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::TERM);
        }
    }
}

impl Started {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self
            .child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
            .and_then(Pid::from_raw)
            .expect("a child has a number");
        kill_process(pid, signal).expect("it runs");
    }

    /// Its end, with everything it wrote after the line that was waited for.
    pub(crate) fn finish(mut self, sandbox: &Sandbox) -> Ran {
        let (sent, text) = std::sync::mpsc::channel();
        let mut rest = self.rest.take().expect("it was not read yet");
        let mut child = self.child.take().expect("it runs");
        thread::spawn(move || {
            let mut text = Vec::new();
            let _ = rest.read_to_end(&mut text);
            sent.send(text)
        });
        let mut stderr = child.stderr.take().expect("it writes to a pipe");
        let status = wait::end(child);
        let stdout = text.recv_timeout(wait::LIMIT).expect("its output ends");
        let mut errors = Vec::new();
        stderr.read_to_end(&mut errors).expect("it can be read");
        sandbox.finish(&std::process::Output {
            status,
            stdout,
            stderr: errors,
        })
    }
}

/// The socket of the engine that tests use.
pub(crate) fn engine_socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let path = host
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock");
    PathBuf::from(path)
}

/// A command in mounts of its own: a script of the shell, which has the command in `$@` and the sandbox's buildspec in
/// `$BUILDSPEC`. What the script mounts only that command sees.
pub(crate) fn in_own_mounts(sandbox: &Sandbox, inner: &Command, script: &str) -> Command {
    let mut outer = Command::new("unshare");
    outer
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(sandbox.source())
        .env_clear();
    for (name, value) in inner.get_envs() {
        outer.envs(value.map(|value| (name, value)));
    }
    let text = std::fs::read_to_string(sandbox.source().join("buildspec.yml"));
    outer.env("BUILDSPEC", text.expect("it is there"));
    outer
}
