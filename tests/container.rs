//! Builds in containers of a real engine. `tests/run` starts it and makes the images.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use support::sandbox::{Ran, Sandbox};
use support::skipped;
use support::wait::{self, Bounded as _};

/// An image with nothing but busybox, if there is an engine; if not, it is said.
fn busybox(test: &str) -> Option<String> {
    let image = std::env::var("RUNNER_TEST_BUSYBOX").ok();
    if image.is_none() {
        skipped(test, "no engine with an image; tests/run starts it");
    }
    image
}

/// `docker`, which has to succeed.
#[track_caller]
fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).bounded_output();
    let output = output.expect("docker can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// An image like another one, with a change such as `USER 5`. It goes away with the value.
struct Image(String);

impl Image {
    fn of(base: &str, name: &str, changes: &[&str]) -> Self {
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
fn command(sandbox: &Sandbox, image: &str, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(["run", "--image", image]);
    command
        .args(["--project", &sandbox.project()])
        .args(arguments);
    command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    command
}

fn run(sandbox: &Sandbox, image: &str, arguments: &[&str]) -> Ran {
    let output = command(sandbox, image, arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

/// The containers of builds of this sandbox that the engine has, running or not.
fn containers(sandbox: &Sandbox) -> Vec<String> {
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
fn start(sandbox: &Sandbox, image: &str, line: &'static str, arguments: &[&str]) -> Started {
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
struct Started {
    child: Option<std::process::Child>,
    rest: Option<io::BufReader<std::process::ChildStdout>>,
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::TERM);
        }
    }
}

impl Started {
    fn signal(&self, signal: Signal) {
        let pid = self
            .child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
            .and_then(Pid::from_raw)
            .expect("a child has a number");
        kill_process(pid, signal).expect("it runs");
    }

    /// Its end, with everything it wrote after the line that was waited for.
    fn finish(mut self, sandbox: &Sandbox) -> Ran {
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

/// CTR-4: what root wrote inside belongs to the caller afterwards, and the caller can remove it.
#[test]
fn files_belong_to_the_caller_afterwards() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "mkdir -m 700 made && echo secret > made/file && chmod 600 made/file && ln -s nowhere made/link",
        "false",
    ]);
    let socket = engine_socket();
    let group = fs::metadata(&socket)
        .expect("the engine has a socket")
        .gid();
    let nobody = 65534;
    for directory in ["", "source", "home", "state", "tmp", "source/buildspec.yml"] {
        std::os::unix::fs::chown(sandbox.path(directory), Some(nobody), Some(nobody))
            .expect("tests run as root");
    }
    let program = sandbox.path("runner");
    fs::copy(support::RUNNER, &program).expect("a copy that others may run");
    let mut command = Command::new(&program);
    command
        .args(["run", "--image", &image, "--quiet"])
        .current_dir(sandbox.source())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", sandbox.path("home"))
        .env("TMPDIR", sandbox.path("tmp"))
        .env("XDG_STATE_HOME", sandbox.path("state"))
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .uid(nobody)
        .gid(group);
    let output = command.bounded_output().expect("it starts");
    sandbox.finish(&output).expect(1);
    let made = sandbox.source().join("made");
    for path in [made.clone(), made.join("file"), made.join("link")] {
        let found = fs::symlink_metadata(&path).expect("it is there");
        assert_eq!(found.uid(), nobody, "{}", path.display());
    }
    let removed = Command::new("rm")
        .args(["-rf", &made.display().to_string()])
        .uid(nobody)
        .gid(nobody)
        .bounded_output()
        .expect("rm can be started");
    assert!(removed.status.success() && !made.exists());
}

/// The socket of the engine that tests use.
fn engine_socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let path = host
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock");
    PathBuf::from(path)
}

/// CTR-5: artifacts from outside of the source, as commands see it, and none from this machine.
#[test]
fn artifacts_come_from_anywhere_in_the_container() {
    let Some(image) = busybox("container") else {
        return;
    };
    let text = "version: 0.2
phases:
  build:
    commands:
      - mkdir -p /opt/out/deep && echo one > /opt/out/one && echo two > /opt/out/deep/two
      - mkdir -p in && echo three > in/three
      - echo four > ../four
artifacts:
  files:
    - /opt/out/**/*
    - $CODEBUILD_SRC_DIR/in/*
    - ../four
    - /etc/hostname.of.this.machine
";
    for how in ["bind", "copy"] {
        let sandbox = Sandbox::with_buildspec(text);
        run(&sandbox, &image, &["--mount-source", how]).expect(0);
        let stored = support::tree::files(
            &sandbox
                .source()
                .join(".runner/artifacts")
                .join(sandbox.project()),
        );
        let expected = ["four", "in/three", "opt/out/deep/two", "opt/out/one"];
        assert_eq!(stored, expected, "{how}");
        assert_eq!(sandbox.leftovers(), Vec::<String>::new());
    }
}

/// CTR-3, CTR-13: a source that is copied comes back as the build left it, whether the build succeeds or fails.
#[test]
fn a_copied_source_comes_back() {
    let Some(image) = busybox("container") else {
        return;
    };
    for (last, code) in [("true", 0), ("false", 1)] {
        let sandbox = Sandbox::with_commands(&[
            "cat kept && echo new > new && rm removed && echo more >> changed && rm -r folder && echo file > folder",
            "mkdir empty && ln -s kept link && ln new hard && chmod 640 new",
            last,
        ])
        .file("kept", "as it was\n")
        .file("removed", "")
        .file("changed", "less\n")
        .file("folder/inside", "");
        run(&sandbox, &image, &["--mount-source", "copy", "--quiet"])
            .expect(code)
            .stdout_has("as it was");
        let read = |name: &str| fs::read_to_string(sandbox.source().join(name)).unwrap_or_default();
        assert_eq!(
            (read("changed"), read("new")),
            ("less\nmore\n".into(), "new\n".into())
        );
        assert_eq!(
            (read("folder"), read("hard"), read("link")),
            ("file\n".into(), "new\n".into(), "as it was\n".into())
        );
        assert!(!sandbox.source().join("removed").exists());
        assert!(sandbox.source().join("empty").is_dir());
        let mode = fs::metadata(sandbox.source().join("new"))
            .expect("it is there")
            .mode();
        assert_eq!(mode & 0o777, 0o640);
    }
}

/// CTR-3: what is in the place of the source afterwards is a directory, or the caller's stays as it was.
#[test]
fn a_source_that_became_something_else_is_a_fault() {
    let Some(image) = busybox("container") else {
        return;
    };
    for end in ["ln -s real src", "echo file > src"] {
        let sandbox = Sandbox::with_commands(&[&format!("cd .. && mv src real && {end}")])
            .file("precious", "mine");
        run(&sandbox, &image, &["--mount-source", "copy"])
            .expect(4)
            .stderr_has("in the place of its source directory");
        let kept = fs::read_to_string(sandbox.source().join("precious"));
        assert_eq!(kept.expect("it is there"), "mine");
    }
}

/// CTR-3: directories that may not be written to come back too, and pipes do not.
#[test]
fn a_copied_source_may_have_any_permissions() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "mkdir -p shut/below && echo a > shut/below/file && chmod -R a-w shut && mkfifo pipe",
        "echo b > set && chmod 4755 set",
    ]);
    let arguments = ["--mount-source", "copy", "--quiet"];
    run(&sandbox, &image, &arguments).expect(0);
    let mode = |name: &str| {
        let found = fs::symlink_metadata(sandbox.source().join(name)).expect("it is there");
        found.mode() & 0o7777
    };
    assert_eq!(
        (mode("shut"), mode("shut/below/file"), mode("set")),
        (0o555, 0o444, 0o755)
    );
    assert!(!sandbox.source().join("pipe").exists());
    // The next build meets them again.
    fs::write(
        sandbox.source().join("buildspec.yml"),
        "version: 0.2\nphases:\n  build:\n    commands: [rm -rf shut]\n",
    )
    .expect("it can be written");
    run(&sandbox, &image, &arguments).expect(0);
    assert!(!sandbox.source().join("shut").exists());
}

/// CTR-5: a link of the container's never leads to a file of this machine.
#[test]
fn links_do_not_lead_out_of_the_container() {
    let Some(image) = busybox("container") else {
        return;
    };
    for how in ["bind", "copy"] {
        let sandbox = Sandbox::new();
        let secret = sandbox.path("secret");
        fs::create_dir(&secret).expect("a directory can be made");
        fs::write(secret.join("file"), "of this machine").expect("it can be written");
        let secret = secret.display();
        let text = format!(
            "version: 0.2
phases:
  build:
    commands:
      - mkdir out && echo fine > out/fine && ln -s {secret}/file out/absolute && ln -s ../../secret/file out/relative
      - ln -s {secret} out/directory && ln -s fine out/inside
artifacts:
  base-directory: out
  files: ['**/*']
"
        );
        let sandbox = sandbox.file("buildspec.yml", text);
        let ran = run(&sandbox, &image, &["--mount-source", how]).expect(0);
        ran.stderr_has("leads nowhere: it is not stored");
        let root = sandbox
            .source()
            .join(".runner/artifacts")
            .join(sandbox.project());
        assert_eq!(support::tree::files(&root), ["fine", "inside"], "{how}");
    }
}

/// CTR-3: an engine that is spoken to over TCP is taken for one elsewhere, and gets a copy.
#[test]
fn an_engine_elsewhere_gets_a_copy() {
    let Some(image) = busybox("container") else {
        return;
    };
    let proxy = Proxy::start(&engine_socket());
    let sandbox = Sandbox::with_commands(&["mount | grep -c $CODEBUILD_SRC_DIR; echo made > made"]);
    let mut command = command(&sandbox, &image, &["--quiet"]);
    command.env("DOCKER_HOST", proxy.address());
    let output = command.bounded_output().expect("it starts");
    let ran = sandbox.finish(&output).expect(0);
    assert_eq!(ran.stdout, "0\n");
    assert!(sandbox.source().join("made").is_file());
}

/// CTR-15: an engine on a socket of this machine that sees another directory under the path of the source gets a copy, and
/// the other directory stays as it is; one that sees the same gets a mount.
#[test]
fn only_the_same_directory_is_mounted() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["mount | grep -c $CODEBUILD_SRC_DIR; echo made > made"]);
    let ran = run(&sandbox, &image, &["--quiet"]).expect(0);
    assert_eq!(ran.stdout, "1\n");
    fs::remove_file(sandbox.source().join("made")).expect("it was made");
    let other = sandbox.source().join("other");
    fs::write(&other, "of the engine's directory").expect("it can be written");
    std::os::unix::fs::chown(&other, Some(65534), None).expect("tests run as root");

    // Only the program sees this file system of its own.
    let own = r#"mount -t tmpfs tmpfs "$PWD" && cd "$PWD" && printf '%s' "$BUILDSPEC" > buildspec.yml && "$@" && cat made"#;
    let inner = command(&sandbox, &image, &["--quiet"]);
    let mut outer = Command::new("unshare");
    outer
        .args(["-m", "sh", "-c", own, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(sandbox.source())
        .env_clear();
    for (name, value) in inner.get_envs() {
        outer.envs(value.map(|value| (name, value)));
    }
    let text = fs::read_to_string(sandbox.source().join("buildspec.yml"));
    outer.env("BUILDSPEC", text.expect("it is there"));
    let output = outer.bounded_output().expect("unshare can be started");
    let ran = sandbox.finish(&output).expect(0);
    assert_eq!(ran.stdout, "0\nmade\n");
    assert!(!sandbox.source().join("made").exists());
    let found = fs::metadata(&other).expect("it is there");
    assert_eq!(found.uid(), 65534, "given to somebody else");
    assert_eq!(containers(&sandbox), Vec::<String>::new());
}

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

/// An engine on a socket which passes everything on until a request is the one: then the beginning of its answer, and from
/// there on nothing to anybody, though every connection stays open.
fn hanging_engine(socket: &Path, is_the_one: impl Fn(&str) -> bool + Send + Sync + 'static) {
    let listener = std::os::unix::net::UnixListener::bind(socket).expect("a fresh place");
    let hangs = Arc::new(AtomicBool::new(false));
    let is_the_one = Arc::new(is_the_one);
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let (hangs, is_the_one) = (Arc::clone(&hangs), Arc::clone(&is_the_one));
            thread::spawn(move || {
                let mut engine = UnixStream::connect(engine_socket()).expect("the engine is there");
                let mut request = vec![0; 64 * 1024];
                let read = client.read(&mut request).unwrap_or(0);
                if is_the_one(&String::from_utf8_lossy(&request[..read])) {
                    hangs.store(true, Ordering::SeqCst);
                    let _ = engine.write_all(&request[..read]);
                    let mut head = [0; 1];
                    let mut seen = Vec::new();
                    while !seen.ends_with(b"\r\n\r\n") && engine.read_exact(&mut head).is_ok() {
                        seen.extend(head);
                    }
                    let _ = client.write_all(&seen);
                } else if !hangs.load(Ordering::SeqCst) {
                    let _ = engine.write_all(&request[..read]);
                    let clone = |one: &UnixStream| one.try_clone().expect("a socket can be cloned");
                    let (from, to) = (clone(&client), clone(&engine));
                    thread::spawn(move || pass(from, to, |to| to.shutdown(Shutdown::Write)));
                    return pass(engine, client, |to| to.shutdown(Shutdown::Write));
                }
                // Until the program gives up.
                let _ = io::copy(&mut client, &mut io::sink());
            });
        }
    });
}

/// CTR-6: no image, no shell, another processor, and never a fallback to the host.
#[test]
fn what_is_wrong_with_an_image_is_said() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["touch ran"]);
    let refused = [
        (
            "runner-tests/none:1",
            vec!["--pull", "never"],
            "the engine does not have it, and `--pull never` forbids to pull it",
        ),
        ("127.0.0.1:9/none:1", vec![], "connection refused"),
        (&image, vec!["--platform", "linux/s390x"], "linux/s390x"),
        (
            &image,
            vec!["--shell", "bash"],
            "there is no shell `bash` in the image",
        ),
    ];
    for (image, arguments, message) in refused {
        let ran = run(&sandbox, image, &arguments)
            .expect(4)
            .stderr_has(message);
        let code = "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE";
        assert_eq!(
            ran.stdout.contains(code),
            image.contains("none"),
            "{}",
            ran.stdout
        );
    }
    let mut command = command(&sandbox, &image, &[]);
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let output = command.bounded_output().expect("it starts");
    sandbox
        .finish(&output)
        .expect(4)
        .stderr_has("could not reach the container engine at unix:///nowhere/docker.sock");
    assert!(!sandbox.source().join("ran").exists());
}

/// CTR-6: one name stands for another.
#[test]
fn images_are_mapped() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["echo mapped"]);
    let name = "aws/codebuild/standard:7.0";
    run(
        &sandbox,
        name,
        &["--quiet", "--image-map", &format!("{name}={image}")],
    )
    .expect(0)
    .stdout_has("mapped");
    let output = sandbox.command(["run", "--memory", "1g"]).bounded_output();
    sandbox
        .finish(&output.expect("it starts"))
        .expect(2)
        .stderr_has("`--memory` is for builds in containers");
    run(&sandbox, name, &[])
        .expect(2)
        .stderr_has("--image-map aws/codebuild/standard:7.0=IMAGE");
}

/// CTR-7: limits and other settings reach the container.
#[test]
fn settings_reach_the_container() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "cat /etc/hosts | grep -c '192.0.2.1.*example.test'",
        "ulimit -n",
        "ls /sys/class/net",
        "cat /mounted/file",
        "df -k /dev/shm | tail -n 1 | awk '{print $2}'",
    ])
    .file("given/file", "mounted\n");
    let volume = format!("{}:/mounted:ro", sandbox.source().join("given").display());
    let arguments = [
        "--quiet",
        "--network",
        "none",
        "--add-host",
        "example.test:192.0.2.1",
        "--ulimit",
        "nofile=777",
        "--volume",
        &volume,
        "--shm-size",
        "8m",
        "--memory",
        "256m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "100",
    ];
    let ran = run(&sandbox, &image, &arguments).expect(0);
    assert_eq!(ran.stdout, "1\n777\nlo\nmounted\n8192\n");
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

/// Passes connections on to a socket, until it is cut: an engine that is reached over TCP, and one that goes away.
struct Proxy {
    port: u16,
    cut: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<(TcpStream, UnixStream)>>>,
}

impl Proxy {
    fn start(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let cut = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (is_cut, opened, socket) = (
            Arc::clone(&cut),
            Arc::clone(&connections),
            socket.to_owned(),
        );
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(engine) = UnixStream::connect(&socket) else {
                    continue;
                };
                join(&client, &engine);
                if let Ok(mut opened) = opened.lock() {
                    opened.push((client, engine));
                }
            }
        });
        Self {
            port,
            cut,
            connections,
        }
    }

    fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for (client, engine) in self.connections.lock().expect("nobody failed").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = engine.shutdown(Shutdown::Both);
        }
    }
}

fn join(client: &TcpStream, engine: &UnixStream) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
    let cloned = |stream: &UnixStream| stream.try_clone().expect("a socket can be cloned");
    let (from, to) = (clone(client), cloned(engine));
    thread::spawn(move || pass(from, to, |to| to.shutdown(Shutdown::Write)));
    let (from, to) = (cloned(engine), clone(client));
    thread::spawn(move || pass(from, to, |to| to.shutdown(Shutdown::Write)));
}

fn pass<R: Read, W: Write>(mut from: R, mut to: W, end: impl Fn(&W) -> io::Result<()>) {
    let _ = io::copy(&mut from, &mut to);
    let _ = end(&to);
}
