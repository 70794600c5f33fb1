//! Images that go to a registry and come from it, through a real engine: what is said, what is tried again, and what is
//! left when it fails. Each test has a registry of its own on loopback; `tests/run` starts the engine.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start programs and look at the environment"
)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use support::aws::{GoBetween, Verdict};
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};
use support::{noise, root, skipped, tls};

const USER: &str = "somebody";
const PASSWORD: &str = "correct-horse-battery";

/// Whether an engine and a registry can be had; if not, it is said.
fn services(test: &str) -> bool {
    let there = std::env::var_os("RUNNER_TEST_REGISTRY").is_some();
    if !there {
        skipped(test, "no container engine; tests/run starts it");
    }
    there
}

fn succeed(command: &mut Command) -> String {
    let output = command
        .bounded_output()
        .expect("the program can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A registry on loopback that knows one user. It ends with the value.
struct Registry {
    address: String,
    directory: tempfile::TempDir,
    process: Child,
}

impl Registry {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it has an address").to_string();
        drop(free);
        let users = succeed(Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]));
        let place = directory.path().display();
        fs::write(directory.path().join("users"), users).expect("a file can be written");
        let settings = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {place}/data }} }}\nhttp: {{ addr: '{address}', relativeurls: true }}\nauth: {{ htpasswd: {{ realm: tests, path: {place}/users }} }}\n"
        );
        let settings_file = directory.path().join("registry.yml");
        fs::write(&settings_file, settings).expect("a file can be written");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(settings_file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let there = address.clone();
        wait::until("a registry", move || {
            std::net::TcpStream::connect(&there).is_ok()
        });
        Self {
            address,
            directory,
            process,
        }
    }

    /// Whether it has a repository.
    fn has(&self, repository: &str) -> bool {
        let repositories = self
            .directory
            .path()
            .join("data/docker/registry/v2/repositories");
        repositories
            .join(repository)
            .join("_manifests/tags")
            .is_dir()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An image that the engine has. It goes away with the value.
struct Image(String);

impl Image {
    /// One of a layer for each content.
    fn new(address: &str, repository: &str, contents: &[&[u8]]) -> Self {
        let name = format!("{address}/{repository}:1");
        let context = tempfile::tempdir().expect("a temporary directory can be made");
        let mut recipe = "FROM scratch\n".to_owned();
        for (number, content) in contents.iter().enumerate() {
            let file = format!("layer-{number}");
            fs::write(context.path().join(&file), content).expect("a file can be written");
            recipe.push_str(&format!("COPY {file} /{file}\n"));
        }
        fs::write(context.path().join("Dockerfile"), recipe).expect("a file can be written");
        succeed(
            Command::new("docker")
                .args(["build", "-q", "-t", &name])
                .arg(context.path())
                // Debian's engine brings no plug-in for the newer builder.
                .env("DOCKER_BUILDKIT", "0"),
        );
        Self(name)
    }

    /// The same under another tag.
    fn tag(&self, name: &str) -> Self {
        succeed(Command::new("docker").args(["tag", &self.0, name]));
        Self(name.to_owned())
    }

    /// Its name without the tag.
    fn repository(&self) -> &str {
        self.0.rsplit_once(':').expect("it has a tag").0
    }

    fn remove(&self) {
        succeed(Command::new("docker").args(["image", "rm", "-f", &self.0]));
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["image", "rm", "-f", &self.0])
            .bounded_output();
    }
}

/// Bytes that no compression makes less of, and that no test has stored before.
fn new_noise(size: usize) -> Vec<u8> {
    let mut bytes = uuid::Uuid::new_v4().into_bytes().to_vec();
    bytes.extend(noise(size));
    bytes
}

/// A place whose user has logged in to these registries with this password.
fn logged_in(addresses: &[&str], password: &str) -> Sandbox {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
    let entries: Vec<String> = addresses
        .iter()
        .map(|address| format!(r#""{address}":{{"auth":"{auth}"}}"#))
        .collect();
    let text = format!("{{\"auths\":{{{}}}}}", entries.join(","));
    Sandbox::new().file("../home/.docker/config.json", text)
}

/// The program as its user would run it, with the engine that tests have.
fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(arguments);
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        command.env("DOCKER_HOST", host);
    }
    command
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let output = command(sandbox, arguments).bounded_output();
    let ran = sandbox.finish(&output.expect("the program can be started"));
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(PASSWORD));
    ran
}

/// Files in the source, hidden ones too.
fn files(sandbox: &Sandbox) -> Vec<String> {
    support::tree::files(&sandbox.source())
}

/// An answer of a registry that is no success.
fn answer(status: &str, code: &str) -> Verdict {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{code} of the test"}}]}}"#);
    Verdict::Answer(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}

/// A registry behind a go-between, whose address the images are named by.
fn behind(
    registry: &Registry,
    judge: impl Fn(&str) -> Verdict + Send + Sync + 'static,
) -> (GoBetween, String) {
    let between = GoBetween::new(&registry.address, judge);
    let address = between.endpoint.trim_start_matches("http://").to_owned();
    (between, address)
}

fn is_manifest(line: &str) -> bool {
    line.starts_with("PUT ") && line.contains("/manifests/")
}

// IMG-20, IMG-24, IMG-25, IMG-26, IMG-27, IMG-30, IMG-31
#[test]
fn an_image_is_pushed_and_comes_back_by_its_digest() {
    if !services("push and pull") {
        return;
    }
    let registry = Registry::start();
    let sandbox = logged_in(&[&registry.address], PASSWORD);
    let image = Image::new(
        &registry.address,
        "team/web",
        &[&new_noise(3_000_000), b"two\n"],
    );
    let latest = image.tag(&format!("{}:latest", image.repository()));
    let arguments = [
        "push",
        &image.0,
        &latest.0,
        "--image-definitions",
        "web=imagedefinitions.json",
        "--image-detail",
        "imageDetail.json",
        "--platform",
        "linux/amd64",
    ];
    let ran = run(&sandbox, &arguments).expect(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let by_digest = lines[0];
    assert!(by_digest.starts_with(&format!("{}@sha256:", image.repository())));
    assert_eq!(lines, [by_digest, by_digest]);
    // The second tag finds the layers where the first has put them.
    let heads = |word: &str| {
        ran.stderr
            .lines()
            .filter(|line| line.trim_start().starts_with(word))
            .count()
    };
    assert_eq!(
        (heads("Pushed"), heads("Exists")),
        (2 + 2, 2),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("(2 layers, 2 there already) in"),
        "{}",
        ran.stderr
    );
    let read =
        |name: &str| fs::read_to_string(sandbox.source().join(name)).expect("it was written");
    let digest = by_digest.split_once('@').expect("it has a digest").1;
    assert_eq!(
        read("imagedefinitions.json"),
        format!("[{{\"name\":\"web\",\"imageUri\":\"{by_digest}\"}}]\n")
    );
    assert_eq!(
        read("imageDetail.json"),
        format!(
            "{{\"Version\":\"1.0\",\"ImageURI\":\"{by_digest}\",\"ImageDigest\":\"{digest}\",\"ImageTags\":[\"1\",\"latest\"],\"RepositoryName\":\"team/web\"}}\n"
        )
    );
    // The linter of this program, who knows what the deploy actions want, has nothing to say.
    run(
        &sandbox,
        &["validate", "imagedefinitions.json", "imageDetail.json"],
    )
    .expect(0);
    latest.remove();
    image.remove();
    let pulled = run(&sandbox, &["pull", "--quiet", &image.0, by_digest]).expect(0);
    assert_eq!(pulled.stdout, format!("{by_digest}\n{by_digest}\n"));
    assert_eq!(pulled.stderr, "");
    succeed(Command::new("docker").args(["image", "rm", "-f", by_digest]));
}

// IMG-21, IMG-23: what may go better the next time is tried again, by the engine or by this program.
#[test]
fn a_hiccup_of_the_registry_is_no_failure() {
    if !services("hiccups of a registry") {
        return;
    }
    let registry = Registry::start();
    let (manifests, uploads) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (between, address) = behind(&registry, move |line| {
        if line.starts_with("POST ") && uploads.fetch_add(1, Ordering::SeqCst) == 0 {
            return Verdict::Drop;
        }
        match is_manifest(line).then(|| manifests.fetch_add(1, Ordering::SeqCst)) {
            Some(0) => answer("503 Service Unavailable", "UNAVAILABLE"),
            Some(1) => Verdict::Drop,
            _ => Verdict::Pass,
        }
    });
    let sandbox = logged_in(&[&address], PASSWORD);
    let image = Image::new(&address, "web", &[&new_noise(100_000)]);
    let ran = run(&sandbox, &["push", &image.0])
        .expect(0)
        // A layer that the engine itself tries again.
        .stderr_has(" in 5 seconds\n")
        .stderr_has("Retrying in 1.0s (try 2 of 4): ")
        .stderr_has("Retrying in 2.0s (try 3 of 4): ");
    assert_eq!(between.count("PUT /v2/web/manifests/"), 3);
    assert!(ran.stdout.contains("/web@sha256:"));
    assert!(registry.has("web"));
}

// IMG-26: at a terminal layers on their way are bars, which go away, and layers that are there are lines, which stay.
#[test]
fn a_terminal_shows_bars() {
    if !services("bars at a terminal") {
        return;
    }
    let registry = Registry::start();
    let uploads = AtomicUsize::new(0);
    let (_between, address) = behind(&registry, move |line| {
        let is_first = line.starts_with("POST ") && uploads.fetch_add(1, Ordering::SeqCst) == 0;
        Verdict::when(is_first, Verdict::Drop)
    });
    let sandbox = logged_in(&[&address], PASSWORD);
    let image = Image::new(&address, "web", &[&new_noise(100_000)]);
    let shown = format!("{} push {}", support::RUNNER, image.0);
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &shown, "/dev/null"]);
    let place = command(&sandbox, &[]);
    terminal
        .env_clear()
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh");
    terminal.envs(
        place
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    terminal.current_dir(sandbox.source());
    let output = terminal.bounded_output().expect("script is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    // A bar begins at the left again; a line ends.
    let has = |part: &str| assert!(text.contains(part), "no {part:?} in {text:?}");
    has("\x1b[1;33m    Retrying\x1b[0m ");
    has(" in 5 seconds");
    has("\x1b[2K");
    has("\x1b[1;32m      Pushed\x1b[0m ");
    has(&format!("{}@sha256:", image.repository()));
    let last = text.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with(image.repository()), "{last:?}");
}

// IMG-23, IMG-33: an outage is a fault, and what was there before is there after it.
#[test]
fn an_outage_of_the_registry_writes_nothing() {
    if !services("an outage of a registry") {
        return;
    }
    let registry = Registry::start();
    let (between, address) = behind(&registry, |line| {
        Verdict::when(
            is_manifest(line),
            answer("500 Internal Server Error", "UNKNOWN"),
        )
    });
    let sandbox = logged_in(&[&address], PASSWORD).file("i.json", "before");
    let image = Image::new(&address, "web", &[&new_noise(1000)]);
    let arguments = [
        "push",
        &image.0,
        "--retries",
        "1",
        "--image-definitions",
        "web=i.json",
    ];
    let ran = run(&sandbox, &arguments)
        .expect(4)
        .stderr_has("error: could not push ");
    assert_eq!(ran.stdout, "");
    assert_eq!(between.count("PUT /v2/web/manifests/"), 2);
    assert_eq!(files(&sandbox), ["i.json"]);
    let kept = fs::read_to_string(sandbox.source().join("i.json"));
    assert_eq!(kept.expect("it is there"), "before");
    // Nobody there at all.
    let gone = image.tag("127.0.0.1:1/web:1");
    run(&sandbox, &["push", &gone.0, "--retries", "1"])
        .expect(4)
        .stderr_has("Retrying in 1.0s (try 2 of 2): ")
        .stderr_has("connection refused\nhelp: see whether the engine's machine, which is who connects, can reach 127.0.0.1:1\n");
    run(&sandbox, &["pull", "127.0.0.1:1/web:1", "--retries", "0"])
        .expect(4)
        .stderr_has("error: could not pull 127.0.0.1:1/web:1: ");
}

// IMG-11, IMG-22: a refusal is not tried again, and says what to do.
#[test]
fn a_refusal_is_said_with_what_to_do() {
    if !services("refusals of a registry") {
        return;
    }
    let registry = Registry::start();
    let image = Image::new(&registry.address, "web", &[&new_noise(1000)]);
    let stranger = Sandbox::new();
    run(&stranger, &["push", &image.0])
        .expect(1)
        .stderr_has("no basic auth credentials\nhelp: `docker login 127.0.0.1:");
    let wrong = logged_in(&[&registry.address], "not-the-password");
    let ran = run(&wrong, &["push", &image.0])
        .expect(1)
        .stderr_has("unauthorized: authentication required\nhelp: ");
    assert!(!ran.stderr.contains("Retrying") && !ran.stderr.contains("not-the-password"));
    run(&wrong, &["pull", &image.0])
        .expect(1)
        .stderr_has("help: ");
    let sandbox = logged_in(&[&registry.address], PASSWORD);
    let missing = format!("{}/gone:1", registry.address);
    run(&sandbox, &["push", &missing])
        .expect(1)
        .stderr_has(&format!("the engine has no image {missing}\nhelp: "));
    run(&sandbox, &["push", "--platform", "linux/amd64", &missing])
        .expect(1)
        .stderr_has(&format!("the engine has no image {missing}\nhelp: "));
    run(&sandbox, &["pull", &missing])
        .expect(1)
        .stderr_has("manifest unknown\nhelp: see whether tag and platform are right\n");
    // IMG-12
    run(&sandbox, &["push", "--platform", "linux/arm64", &image.0])
        .expect(1)
        .stderr_has("it is for linux/amd64, not for linux/arm64\nhelp: ");
    assert!(!registry.has("web"));
    run(&sandbox, &["push", "--quiet", &image.0]).expect(0);
    run(&sandbox, &["pull", "--platform", "linux/arm64", &image.0])
        .expect(1)
        .stderr_has("linux/arm64");
    // ECR says both of these; the words are those of its documentation and of issues.
    for (code, message) in [("NAME_UNKNOWN", "name unknown"), ("DENIED", "denied")] {
        let (_between, address) = behind(&registry, move |line| {
            Verdict::when(line.starts_with("POST "), answer("403 Forbidden", code))
        });
        let sandbox = logged_in(&[&address], PASSWORD);
        // A repository that has none of its layers yet.
        let image = image.tag(&format!("{address}/other:1"));
        run(&sandbox, &["push", &image.0])
            .expect(1)
            .stderr_has(message)
            .stderr_has("\nhelp: ");
    }
}

// IMG-23
#[test]
fn silence_has_an_end() {
    if !services("a registry that says nothing") {
        return;
    }
    let registry = Registry::start();
    let (_between, address) = behind(&registry, |line| {
        Verdict::when(is_manifest(line), Verdict::Hold)
    });
    let sandbox = logged_in(&[&address], PASSWORD);
    let image = Image::new(&address, "web", &[&new_noise(1000)]);
    run(
        &sandbox,
        &["push", &image.0, "--retries", "0", "--idle-timeout", "2s"],
    )
    .expect(4)
    .stderr_has("nothing was heard of it for 2s\nhelp: ");
}

// IMG-23, IMG-35: a registry that stops to take a layer, in the middle of it: what was sent fills buffers on the way.
#[test]
fn a_registry_that_takes_no_more_of_a_layer_has_an_end() {
    if !services("a registry that takes nothing") {
        return;
    }
    let registry = Registry::start();
    let (between, address) = behind(&registry, |line| {
        Verdict::when(line.starts_with("PATCH "), Verdict::Stall)
    });
    let sandbox = logged_in(&[&address], PASSWORD);
    let image = Image::new(&address, "web", &[&new_noise(30_000_000)]);
    let arguments = ["push", &image.0, "--retries", "1", "--idle-timeout", "2s"];
    let definitions = ["--image-definitions", "web=i.json"];
    let ran = run(&sandbox, &[&arguments[..], &definitions].concat())
        .expect(4)
        .stderr_has("Retrying in 1.0s (try 2 of 2): nothing was heard of it for 2s")
        .stderr_has("nothing was heard of it for 2s\nhelp: ");
    assert_eq!(ran.stdout, "");
    assert_eq!(between.count("PUT "), 0);
    assert!(files(&sandbox).is_empty());
    assert!(!registry.has("web"));
}

// IMG-24: the engine's word alone is not enough where the registry can be asked.
#[test]
fn a_push_is_a_success_only_if_the_registry_has_it() {
    if !services("asking the registry back") {
        return;
    }
    let registry = Registry::start();
    let asks = |line: &str| line.contains("/manifests/sha256:") && !line.starts_with("PUT ");
    let (_lost, address) = behind(&registry, move |line| {
        Verdict::when(asks(line), answer("404 Not Found", "MANIFEST_UNKNOWN"))
    });
    let sandbox = logged_in(&[&address], PASSWORD);
    let image = Image::new(&address, "web", &[&new_noise(1000)]);
    let arguments = ["push", &image.0, "--image-definitions", "web=i.json"];
    let ran = run(&sandbox, &arguments)
        .expect(4)
        .stderr_has("was pushed, but asked for it the registry says: ");
    assert_eq!(ran.stdout, "");
    assert!(files(&sandbox).is_empty());
    // Whoever may push and not pull cannot ask.
    let (_denying, address) = behind(&registry, move |line| {
        Verdict::when(asks(line), answer("403 Forbidden", "DENIED"))
    });
    let sandbox = logged_in(&[&address], PASSWORD);
    let image = image.tag(&format!("{address}/web:1"));
    run(&sandbox, &["push", &image.0])
        .expect(0)
        .stdout_has("/web@sha256:")
        .stderr_has("Note the registry could not be asked whether it has ");
}

// IMG-28, IMG-33: Ctrl-C ends it at once, and no file is half written.
#[test]
fn a_push_that_is_interrupted_leaves_nothing() {
    if !services("an interrupted push") {
        return;
    }
    let registry = Registry::start();
    let (between, address) = behind(&registry, |line| {
        Verdict::when(line.starts_with("PATCH "), Verdict::Hold)
    });
    let sandbox = logged_in(&[&address], PASSWORD);
    let image = Image::new(&address, "web", &[&new_noise(1_000_000)]);
    let arguments = [
        "push",
        &image.0,
        "--image-definitions",
        "web=imagedefinitions.json",
        "--image-detail",
        "imageDetail.json",
    ];
    let child = Sandbox::spawn(&mut command(&sandbox, &arguments));
    let held = between.held;
    wait::within("a layer on its way", move || held.recv().expect("it comes"));
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a child has a number"), Signal::INT).expect("it can be told");
    let ran = sandbox.finish(&wait::output(child)).expect(130);
    assert_eq!(ran.stdout, "");
    assert!(files(&sandbox).is_empty(), "{:?}", files(&sandbox));
    assert!(!registry.has("web"));
}

// IMG-29, IMG-32, IMG-33
#[test]
fn mistakes_are_said_before_anything_is_pushed() {
    let sandbox = Sandbox::new();
    let digest = format!("h/a@sha256:{}", "0".repeat(64));
    for (arguments, said) in [
        (&["push"][..], "<IMAGE>..."),
        (&["push", "Web:1"], "capital letters"),
        (&["push", &digest], "a push needs a tag"),
        (
            &["push", "h/a", "--image-definitions", "i.json"],
            "expected NAME=FILE",
        ),
        (
            &["push", "h/a", "h/b", "--image-detail", "d.json"],
            "describes one image",
        ),
        (
            &["push", "h/a", "h/b", "--image-definitions", "a=i.json"],
            "2 times, in their order",
        ),
        (
            &["pull", "h/a", "--platform", "arm64"],
            "expected OS/ARCHITECTURE",
        ),
        (&["pull", "h/a", "--retries", "21"], "0..=20"),
        (&["pull", "h/a", "--idle-timeout", "5"], "lacks a unit"),
    ] {
        let ran = sandbox.run(arguments).expect(2).stderr_has(said);
        assert_eq!(ran.stdout, "");
    }
    sandbox
        .run(["push", "h/a", "--image-detail", "gone/d.json"])
        .expect(4)
        .stderr_has("error: could not write gone/d.json: ");
}

// IMG-1, IMG-2, IMG-5
#[test]
fn an_engine_that_is_not_there_is_said_with_who_said_it_was() {
    let sandbox = Sandbox::new();
    let pull = |variables: &[(&str, &str)]| {
        let mut command = sandbox.command(["pull", "busybox"]);
        command.envs(variables.iter().copied());
        let output = command.bounded_output();
        sandbox.finish(&output.expect("the program can be started"))
    };
    pull(&[("DOCKER_HOST", "unix:///nowhere/docker.sock")])
        .expect(4)
        .stderr_has("error: could not reach the container engine at unix:///nowhere/docker.sock (`DOCKER_HOST`): ")
        .stderr_has("\nhelp: install Docker");
    pull(&[("DOCKER_HOST", "tcp://127.0.0.1:1")])
        .expect(4)
        .stderr_has("nothing listens there");
    pull(&[("DOCKER_HOST", "ssh://somebody@build")])
        .expect(4)
        .stderr_has("engines over SSH are not supported");
    pull(&[("DOCKER_CONTEXT", "gone")])
        .expect(4)
        .stderr_has("could not use the Docker context `gone`: there is none of this name");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    // Whoever accepts and hangs up is no engine.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    pull(&[("DOCKER_HOST", &format!("tcp://{address}"))])
        .expect(4)
        .stderr_has("error: could not reach the container engine at tcp://127.0.0.1:");
}

// IMG-4
#[test]
fn the_first_usual_socket_there_is_is_used() {
    use buildspec_runner::engine::{Endpoint, EndpointSettings};
    let place = tempfile::tempdir().expect("a temporary directory can be made");
    let path = |name: &str| place.path().join(name);
    let settings = EndpointSettings {
        runtime_directory: Some(path("run")),
        home: Some(path("home")),
        ..EndpointSettings::default()
    };
    let usual = PathBuf::from("/var/run/docker.sock");
    let ours = [
        path("run/podman/podman.sock"),
        path("home/.docker/run/docker.sock"),
        path("run/docker.sock"),
    ];
    // Each that comes stands before those that were there.
    for socket in ours {
        fs::create_dir_all(socket.parent().expect("it is in a directory"))
            .expect("a directory can be made");
        fs::write(&socket, "").expect("a file can be written");
        let expected = if usual.exists() { &usual } else { &socket };
        let found = Endpoint::find(&settings).expect("nothing names another");
        assert_eq!(found, Endpoint::Unix(expected.clone()));
    }
}

/// Certificates of an authority, a server on loopback and a client, as Docker names them.
fn certificates(directory: &Path) -> PathBuf {
    let place = directory.join("certificates");
    fs::create_dir(&place).expect("a directory can be made");
    let script = "
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca-key.pem -out ca.pem -subj '/CN=tests' -addext 'basicConstraints=critical,CA:TRUE'
        for who in server client; do
          openssl req -newkey rsa:2048 -nodes -keyout $who-key.pem -out $who.csr -subj \"/CN=$who\"
          printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > $who.ext
          openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out $who.pem -extfile $who.ext
        done
        mkdir docker && cp ca.pem docker/ && cp client.pem docker/cert.pem && cp client-key.pem docker/key.pem
        mkdir alone && cp ca.pem alone/
    ";
    succeed(Command::new("sh").args(["-ec", script]).current_dir(&place));
    place
}

/// A server that takes the engine's TLS upon itself, and wants a certificate of its clients. Gives its port.
fn engine_with_tls(certificates: &Path) -> u16 {
    let file = |name: &str| certificates.join(name);
    let authorities = file("ca.pem");
    let config = tls::config(
        &file("server.pem"),
        &file("server-key.pem"),
        Some(&authorities),
    );
    let engine = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = engine.strip_prefix("unix://");
    let socket = PathBuf::from(socket.unwrap_or("/var/run/docker.sock"));
    tls::serve(config, tls::Upstream::Socket(socket)).port()
}

// IMG-3
#[test]
fn an_engine_elsewhere_is_reached_with_tls() {
    if !services("an engine with TLS") {
        return;
    }
    let sandbox = Sandbox::new();
    let place = certificates(&sandbox.path("tmp"));
    let port = engine_with_tls(&place);
    let path = |name: &str| place.join(name).display().to_string();
    let pull = |host: &str, name: &str, value: &str, directory: &str| {
        let mut command = sandbox.command(["pull", "127.0.0.1:1/x", "--retries", "0"]);
        command
            .env("DOCKER_HOST", format!("tcp://{host}:{port}"))
            .env(name, value)
            .env("DOCKER_CERT_PATH", path(directory));
        let output = command.bounded_output();
        sandbox
            .finish(&output.expect("the program can be started"))
            .expect(4)
    };
    // The engine was reached if it says that the registry was not.
    let reached = "127.0.0.1:1: connect: connection refused";
    pull("127.0.0.1", "DOCKER_TLS_VERIFY", "1", "docker").stderr_has(reached);
    pull("127.0.0.1", "DOCKER_TLS", "1", "docker").stderr_has(reached);
    // The certificate is for the address, not for the name.
    pull("localhost", "DOCKER_TLS", "1", "docker").stderr_has(reached);
    pull("localhost", "DOCKER_TLS_VERIFY", "1", "docker")
        .stderr_has("could not reach the container engine");
    let ran = pull("127.0.0.1", "DOCKER_TLS_VERIFY", "1", "alone");
    assert!(!ran.stderr.contains(reached), "{}", ran.stderr);
    fs::remove_file(place.join("docker/key.pem")).expect("it can be removed");
    pull("127.0.0.1", "DOCKER_TLS_VERIFY", "1", "docker").stderr_has("docker/key.pem is missing");
}

// IMG-20: the commands of the README are those that are tested here.
#[test]
fn the_readme_shows_a_push_as_it_is() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    for part in [
        "runner push \"$REPOSITORY:$TAG\" --image-definitions web=imagedefinitions.json",
        "runner pull ",
    ] {
        assert!(readme.contains(part), "{part}");
    }
}
