//! What is left of builds, what is kept of them, and what `runner doctor` says, with a real engine.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use support::aws::{Bucket, endpoint};
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};
use support::{container, skipped, terminal};

/// The image of these tests: Debian's static busybox and nothing else.
const IMAGE: &str = "runner-tests-lifecycle:1";

/// What no engine and no log may know.
const HIDDEN: &str = "hidden-value-of-a-test";

/// One test at a time: every build sweeps, and would clear away what another test looks at.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there is an engine; if not, it is said.
fn has_engine(test: &str) -> bool {
    let info = Command::new("docker").arg("info").bounded_output();
    let there = info.is_ok_and(|output| output.status.success());
    if !there {
        skipped(test, "no container engine; tests/run starts one");
    }
    there
}

/// Makes the image, unless it is there.
fn import_image() {
    let layout = tempfile::tempdir().expect("a temporary directory can be made");
    for directory in ["bin", "tmp"] {
        fs::create_dir(layout.path().join(directory)).expect("a directory can be made");
    }
    let bin = layout.path().join("bin");
    fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
    for applet in ["sh", "cat", "sleep", "touch", "mkdir", "id"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("a link");
    }
    let line = "tar -C \"$0\" -c . | docker import - \"$1\"";
    let arguments = [&layout.path().display().to_string(), IMAGE];
    let made = Command::new("sh")
        .args(["-ec", line])
        .args(arguments)
        .bounded_output();
    assert!(made.expect("sh can be started").status.success());
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).bounded_output();
    let output = output.expect("docker can be started");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Containers of a project, with their names.
fn containers(project: &str, arguments: &[&str]) -> Vec<(String, String)> {
    let label = "io.buildspec-runner.build";
    let filter = format!("label={label}");
    let format = format!("{{{{.ID}}}} {{{{.Names}}}} {{{{.Label \"{label}\"}}}}");
    let listed = [&["ps", "--filter", &filter, "--format", &format], arguments].concat();
    docker(&listed)
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (id, name, build) = (words.next()?, words.next()?, words.next()?);
            let of_project = build.split(':').next() == Some(project);
            of_project.then(|| (id.to_owned(), name.to_owned()))
        })
        .collect()
}

/// A command of the program that knows the engine.
fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(arguments);
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        command.env("DOCKER_HOST", host);
    }
    command
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let output = command(sandbox, arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

fn kill(mut child: Child) {
    child.kill().expect("it can be killed");
    wait::end(child);
}

/// Everything in the sandbox that only a build in the middle of its work may have there.
fn unfinished(sandbox: &Sandbox) -> Vec<String> {
    let staged = fs::read_dir(sandbox.source().join(".runner/artifacts"));
    let staged = staged.into_iter().flatten().flatten();
    let staged = staged.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found = sandbox.leftovers();
    found.extend(staged.filter(|name| name.starts_with(".runner-")));
    found.extend(
        staged_in_source(sandbox)
            .iter()
            .map(|path| path.display().to_string()),
    );
    found
}

/// Where a build stages what comes back from a copy of the source.
fn staged_in_source(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = fs::read_dir(sandbox.source())
        .into_iter()
        .flatten()
        .flatten();
    let is_staging = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(".runner-"))
    };
    entries
        .map(|entry| entry.path())
        .filter(is_staging)
        .collect()
}

/// Types at a terminal of the program that knows the engine.
fn type_at(sandbox: &Sandbox, line: &str, keys: &str) -> Option<Ran> {
    terminal::type_at(sandbox, &command(sandbox, &[]), line, keys)
}

// CTR-20, CTR-21, CTR-22, CTR-23, CTR-59: wherever a build is killed, the next one clears up, and no file is half a file.
#[test]
fn nothing_is_left_after_kill_9_at_every_point() {
    let _alone = alone();
    if !has_engine("kill -9 at every point") {
        return;
    }
    import_image();
    let project = "runner-tests-kills";
    let buildspec = "version: 0.2\nphases:\n  install:\n    commands: ['touch a', 'touch b', 'echo new > changed']\n  build:\n    commands: ['touch d', 'sleep 600 & touch e', 'touch f']\n  post_build:\n    commands: ['touch g']\nartifacts:\n  files: ['**/*']\n";
    let sandbox = Sandbox::with_buildspec(buildspec).file("theirs", "theirs");
    let common = [
        "run",
        "--image",
        IMAGE,
        "--project",
        project,
        "--packaging",
        "zip",
    ];
    let start = |mount: &str| {
        fs::write(sandbox.source().join("changed"), "old\n").expect("it can be written");
        let arguments = [
            &common[..],
            &["--mount-source", mount, "--log-format", "json"],
        ]
        .concat();
        let mut child = Sandbox::spawn(&mut command(&sandbox, &arguments));
        let stdout = child.stdout.take().expect("standard output is a pipe");
        (child, BufReader::new(stdout).lines())
    };
    let (child, lines) = start("copy");
    let events = wait::within("all events", move || lines.count());
    wait::end(child);
    assert!(events > 30, "the build has {events} events");
    let mut left = 0;
    for point in 1..events {
        // In turns: mounted, and copied in and out.
        let mount = if point % 2 == 0 { "bind" } else { "copy" };
        let (child, lines) = start(mount);
        let read = wait::within("so many events", move || lines.take(point).count());
        assert_eq!(read, point, "the build has fewer events");
        kill(child);
        left += containers(project, &["-a"]).len() + unfinished(&sandbox).len();
        let content = |name: &str| fs::read_to_string(sandbox.source().join(name));
        let changed = content("changed").expect("it is there");
        // In what is mounted it is the build's own shell that empties a file before it writes to it.
        let is_between = changed.is_empty() && mount == "bind";
        assert!(
            is_between || ["old\n", "new\n"].contains(&&*changed),
            "at {point}: {changed:?}"
        );
        assert_eq!(content("theirs").expect("it is there"), "theirs");
    }
    assert!(left > 0, "no kill came in the middle of anything");
    let quiet = [&common[..], &["-q"]].concat();
    run(&sandbox, &quiet).expect(0);
    wait::until("every container is removed", move || {
        containers(project, &["-a"]).is_empty()
    });
    assert_eq!(unfinished(&sandbox), [""; 0]);
    assert!(sandbox.source().join("g").exists());
}

// CTR-58, CTR-59: a build that is killed while files come back leaves each of them as it was or as the build left it.
#[test]
fn files_are_whole_where_a_build_is_killed_while_they_come_back() {
    let _alone = alone();
    if !has_engine("kill -9 while files come back") {
        return;
    }
    import_image();
    let project = "runner-tests-back";
    let change = "i=0; while [ $i -lt 400 ]; do echo \"new $i\" > files/$i; i=$((i+1)); done";
    let mut sandbox = Sandbox::with_commands(&[&format!("'{}'", change.replace('\'', "''"))]);
    for number in 0..400 {
        sandbox = sandbox.file(&format!("files/{number}"), format!("old {number}\n"));
    }
    let arguments = [
        "run",
        "-q",
        "--image",
        IMAGE,
        "--project",
        project,
        "--mount-source",
        "copy",
    ];
    let source = sandbox.source();
    let is_new = move |number: usize| {
        let text = fs::read_to_string(source.join(format!("files/{number}")));
        let text = text.expect("it is there");
        let kinds = [format!("old {number}\n"), format!("new {number}\n")];
        let kind = kinds.iter().position(|kind| *kind == text);
        kind.unwrap_or_else(|| panic!("{number}: {text}")) == 1
    };
    // When so many are staged, or when the first one is in its place.
    let mut caught = 0;
    for staged in [1, 100, 399, usize::MAX] {
        let child = Sandbox::spawn(&mut command(&sandbox, &arguments));
        let (looked, looks_new) = (sandbox.source(), is_new.clone());
        wait::until("files come back", move || {
            let names = fs::read_dir(&looked).into_iter().flatten().flatten();
            let rooms =
                names.filter(|entry| entry.file_name().to_string_lossy().starts_with(".runner-"));
            let files = rooms
                .filter_map(|room| fs::read_dir(room.path()).ok())
                .flatten();
            files.count() >= staged || (0..400).any(&looks_new)
        });
        kill(child);
        caught += staged_in_source(&sandbox).len();
        for number in 0..400 {
            is_new(number);
        }
    }
    assert!(caught > 0, "no kill came while files came back");
    run(&sandbox, &["prune"]).expect(0).stdout_has("/.runner-");
    assert!(staged_in_source(&sandbox).is_empty());
    run(&sandbox, &arguments).expect(0);
    assert!((0..400).all(is_new));
    assert_eq!(unfinished(&sandbox), [""; 0]);
    wait::until("every container is removed", move || {
        containers(project, &["-a"]).is_empty()
    });
}

// CTR-22, CTR-23: on the host too, and what belongs to a build that goes on stays.
#[test]
fn only_directories_without_an_owner_go() {
    let _alone = alone();
    let sandbox = Sandbox::with_commands(&["echo ready", "sleep 600"]);
    let start = || {
        let mut child = Sandbox::spawn(&mut command(&sandbox, &["run", "-q"]));
        let stdout = child.stdout.take().expect("standard output is a pipe");
        (child, wait::read_until(stdout, "ready"))
    };
    let (killed, _) = start();
    kill(killed);
    // The state of commands, and Docker's configuration with tools beside it.
    let abandoned = sandbox.leftovers();
    assert_eq!(abandoned.len(), 2);
    let (goes_on, _reader) = start();
    let tmp = sandbox.path("tmp");
    let gone: Vec<_> = abandoned.iter().map(|name| tmp.join(name)).collect();
    wait::until("the abandoned directories are removed", move || {
        !gone.iter().any(|gone| gone.exists())
    });
    assert_eq!(sandbox.leftovers().len(), 2);
    // Neither by hand.
    let host = [("DOCKER_HOST", "unix:///nowhere/docker.sock")];
    let mut prune = command(&sandbox, &["prune"]);
    let pruned = prune
        .envs(host)
        .bounded_output()
        .expect("it can be started");
    sandbox
        .finish(&pruned)
        .expect(4)
        .stderr_has("containers were not looked for")
        .stderr_has("no directory is left of any build");
    assert_eq!(sandbox.leftovers().len(), 2);
    kill(goes_on);
}

// CTR-25: without the runner nothing goes on in the container, and the caller's files are the caller's.
#[test]
fn the_session_inside_ends_everything_when_the_runner_dies() {
    let _alone = alone();
    if !has_engine("the session inside") {
        return;
    }
    import_image();
    let project = "runner-tests-dies";
    let sandbox = Sandbox::with_commands(&["touch made", "sleep 600 & echo ready", "sleep 600"]);
    let usual = command(
        &sandbox,
        &["run", "-q", "--image", IMAGE, "--project", project],
    );
    let mut user = rustix::process::getuid().as_raw();
    // A copy that others may run.
    let program = sandbox.path("runner");
    support::copy_runner(&program);
    let mut runner = Command::new(&program);
    let variables = usual.get_envs();
    runner
        .args(usual.get_args())
        .current_dir(sandbox.source())
        .env_clear()
        .envs(variables.filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    if user == 0 {
        // Root's files would be root's in any case.
        user = 12345;
        let socket = fs::metadata(container::engine_socket());
        let group = socket.expect("the engine has a socket").gid();
        let own = Command::new("chown")
            .args(["-R", "12345"])
            .arg(sandbox.path(""))
            .bounded_output();
        assert!(own.expect("chown can be started").status.success());
        runner.uid(user).gid(group);
    }
    let mut child = Sandbox::spawn(&mut runner);
    let stdout = child.stdout.take().expect("standard output is a pipe");
    let _reader = wait::read_until(stdout, "ready");
    assert_eq!(containers(project, &[]).len(), 1);
    kill(child);
    wait::until("the container stops", move || {
        containers(project, &[]).is_empty()
    });
    let made = fs::metadata(sandbox.source().join("made")).expect("the file is there");
    assert_eq!(made.uid(), user);
    // It was that user's: for others it is not theirs to judge, so it is removed here.
    for (id, _) in containers(project, &["-a"]) {
        docker(&["rm", "-f", &id]);
    }
}

// CLI-12, CTR-30, CTR-31, CTR-32, CTR-20: a failed build is entered, and removed by name.
#[test]
fn a_kept_container_is_entered_and_removed() {
    let _alone = alone();
    if !has_engine("kept containers") {
        return;
    }
    import_image();
    let project = "runner-tests-kept";
    let secret = format!("export TOKEN={HIDDEN}; FOO='b a r'; mkdir -p sub; cd sub");
    let sandbox = Sandbox::with_commands(&[&format!("\"{secret}\""), "exit 3"]);
    let common = [
        "run",
        "-q",
        "--image",
        IMAGE,
        "--project",
        project,
        "--keep",
    ];
    let with = |keep: &str| run(&sandbox, &[&common[..], &[keep]].concat()).expect(1);
    with("never");
    assert!(containers(project, &["-a"]).is_empty());
    with("on-failure").stderr_has("the build's container is kept: enter it with `runner shell ");
    let kept = containers(project, &[]);
    let [(id, name)] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    let uuid = name
        .strip_prefix("runner-kept-")
        .expect("it is called that");
    assert!(!docker(&["inspect", id]).contains(HIDDEN));
    let listed = run(&sandbox, &["shell"]).expect(0);
    assert!(listed.stdout.contains(project) && listed.stdout.contains(IMAGE));
    run(&sandbox, &["shell", uuid])
        .expect(2)
        .stderr_has("needs a terminal");
    run(&sandbox, &["shell", "no-such"])
        .expect(2)
        .stderr_has("there is no kept container");
    let line = format!("runner shell {}", &uuid[..8]);
    // TOOL-53
    let keys = "echo [$FOO/$TOKEN/${PWD##*/}/$CODEBUILD_BUILD_SUCCEEDING]; id -u > ../user\ndocker images\nexit 7\n";
    if let Some(shown) = type_at(&sandbox, &line, keys) {
        shown
            .expect(7)
            .stdout_has(&format!("[b a r/{HIDDEN}/sub/1]"))
            .stdout_has("docker: the build is over, and with it the runner that answers this");
        let user = fs::read_to_string(sandbox.source().join("user"));
        assert_eq!(user.expect("the shell wrote it"), "0\n");
    }
    // A sweep leaves it alone, and so does `prune` without its name.
    run(&sandbox, &["prune"]).expect(0);
    with("never");
    assert_eq!(containers(project, &[]).len(), 1);
    // Its state was in memory.
    docker(&["stop", "-t", "1", id]);
    let stopped = run(&sandbox, &["shell", uuid]).expect(4);
    assert!(stopped.stderr.contains("does not run any more"));
    let shown = run(&sandbox, &["prune", "--dry-run", &uuid[..8]]).expect(0);
    shown.stderr_has("dry run").stdout_has("container");
    run(&sandbox, &["prune", uuid]).expect(0);
    assert!(containers(project, &["-a"]).is_empty());
}

// CTR-30
#[test]
fn keep_is_about_how_the_build_ended() {
    let _alone = alone();
    let sandbox = Sandbox::with_commands(&["echo fine"]);
    run(&sandbox, &["run", "--keep", "always"])
        .expect(2)
        .stderr_has("--image IMAGE");
    if !has_engine("--keep") {
        return;
    }
    import_image();
    let project = "runner-tests-keep";
    let common = [
        "run",
        "-q",
        "--image",
        IMAGE,
        "--project",
        project,
        "--keep",
    ];
    run(&sandbox, &[&common[..], &["on-failure"]].concat()).expect(0);
    assert!(containers(project, &["-a"]).is_empty());
    run(&sandbox, &[&common[..], &["always"]].concat()).expect(0);
    let kept = containers(project, &[]);
    assert_eq!(kept.len(), 1);
    let build = kept[0].1.trim_start_matches("runner-kept-").to_owned();
    run(&sandbox, &["prune", &build]).expect(0);
    assert!(containers(project, &["-a"]).is_empty());
}

// CTR-24: what is abandoned goes, what cannot be judged goes only when somebody says so.
#[test]
fn prune_removes_what_is_nobodys_and_shows_it() {
    let _alone = alone();
    if !has_engine("runner prune") {
        return;
    }
    import_image();
    let project = "runner-tests-prune";
    let sandbox = Sandbox::with_commands(&["echo ready", "sleep 600"]);
    let mut child = Sandbox::spawn(&mut command(
        &sandbox,
        &["run", "-q", "--image", IMAGE, "--project", project],
    ));
    let stdout = child.stdout.take().expect("standard output is a pipe");
    let _reader = wait::read_until(stdout, "ready");
    // It goes on: it is not touched.
    run(&sandbox, &["prune"]).expect(0);
    assert_eq!(containers(project, &[]).len(), 1);
    kill(child);
    let shown = run(&sandbox, &["prune", "--dry-run"]).expect(0);
    assert!(shown.stdout.contains(project), "{}", shown.stdout);
    assert_eq!(containers(project, &["-a"]).len(), 1);
    // Somebody else's, on another machine.
    let label = format!("io.buildspec-runner.build={project}:elsewhere");
    let other = docker(&["create", "--label", &label, IMAGE, "sh"]);
    let removed = run(&sandbox, &["prune", "--json"]).expect(0);
    assert!(
        removed.stdout.contains("\"removed\": true"),
        "{}",
        removed.stdout
    );
    assert_eq!(containers(project, &["-a"]).len(), 1);
    run(&sandbox, &["prune", "--all"])
        .expect(2)
        .stderr_has("`--yes`");
    run(&sandbox, &["prune", "--all", "--dry-run"])
        .expect(0)
        .stdout_has("elsewhere");
    docker(&["rm", &other]);
}

// CTR-33: on the host and in a container, with the state of the failed command; then the build goes on.
#[test]
fn a_shell_after_the_first_failure() {
    let _alone = alone();
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - mkdir -p sub; cd sub; FOO=bar\n      - exit 3\n  post_build:\n    commands:\n      - echo after-$FOO\n      - 'false'\n";
    let sandbox = Sandbox::with_buildspec(buildspec);
    run(&sandbox, &["run", "--shell-on-failure"])
        .expect(2)
        .stderr_has("`--shell-on-failure` needs a terminal");
    let keys = "echo [$FOO/${PWD##*/}]; FOO=changed; export FOO\nexit 9\n";
    let check = |line: &str| {
        let Some(shown) = type_at(&sandbox, line, keys) else {
            return;
        };
        let shown = shown
            .expect(1)
            .stdout_has("this shell has what the failed command left")
            .stdout_has("[bar/sub]")
            .stdout_has("after-bar\r\n");
        assert!(shown.stdout.find("[bar/sub]") < shown.stdout.find("after-bar"));
    };
    check("runner run --shell-on-failure --log-format codebuild");
    if has_engine("--shell-on-failure in a container") {
        import_image();
        check(&format!(
            "runner run --shell-on-failure --log-format codebuild --image {IMAGE} --project runner-tests-shell"
        ));
        assert!(containers("runner-tests-shell", &["-a"]).is_empty());
    }
    assert!(sandbox.leftovers().is_empty());
}

// CTR-40, CTR-41, CTR-43
#[test]
fn the_doctor_says_what_is_missing_and_what_to_do() {
    let sandbox = Sandbox::new().file("in-the-way", "");
    let doctor = |arguments: &[&str]| {
        let arguments = [&["doctor"], arguments].concat();
        let mut command = sandbox.command(&arguments);
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        let output = command
            .bounded_output()
            .expect("the program can be started");
        sandbox.finish(&output)
    };
    doctor(&[])
        .expect(0)
        .stdout_has("– container engine")
        .stdout_has("– AWS credentials")
        .stdout_has("ready");
    doctor(&["--image", "some:1", "--artifacts", "s3://bucket"])
        .expect(4)
        .stdout_has("✘ container engine")
        .stdout_has("✘ AWS region")
        .stdout_has("✘ bucket")
        .stdout_has("→ start Docker or Podman");
    // An AWS that does not answer is nothing that other credentials help against.
    let mut command = sandbox.command(["doctor", "--region", "us-east-1"]);
    command
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .envs([
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ])
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let output = command.bounded_output();
    let ran = sandbox
        .finish(&output.expect("the program can be started"))
        .expect(4)
        .stdout_has("✘ AWS identity")
        .stdout_has("→ check the network, the region and AWS_ENDPOINT_URL");
    assert!(!ran.stdout.contains("expired"), "{}", ran.stdout);
    doctor(&["--artifacts", "in-the-way/artifacts"])
        .expect(4)
        .stdout_has("✘ artifacts");
    doctor(&["--json"])
        .expect(0)
        .stdout_has("\"state\": \"absent\"");
    doctor(&["--artifacts", "s3://"]).expect(2);
}

// CTR-40, CTR-42, CTR-43: with everything there, nothing stays of having looked.
#[test]
fn the_doctor_looks_and_leaves_nothing() {
    let _alone = alone();
    if !has_engine("runner doctor") {
        return;
    }
    import_image();
    let sandbox = Sandbox::new();
    let found = run(&sandbox, &["doctor", "--image", IMAGE]).expect(0);
    let found = found
        .stdout_has("✔ container engine")
        .stdout_has("✔ shell in the image");
    assert!(found.stdout.contains(&format!("{IMAGE} for linux/")));
    let missing = run(&sandbox, &["doctor", "--image", "runner-tests-no-such:1"]);
    missing.expect(4).stdout_has("the engine does not have");
    assert!(containers("doctor", &["-a"]).is_empty());
    let Some(endpoint) = endpoint("runner doctor with AWS") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "doctor");
    let arguments = ["doctor", "--artifacts", "s3://doctor/prefix"];
    let mut command = support::aws::command(&sandbox, &endpoint, &arguments);
    let output = command
        .bounded_output()
        .expect("the program can be started");
    let ran = sandbox
        .finish(&output)
        .expect(0)
        .stdout_has("✔ AWS identity")
        .stdout_has("✔ Amazon ECR")
        .stdout_has("✔ bucket");
    assert!(!ran.stdout.contains("not-a-real-secret-key"));
    assert!(!ran.stdout.contains("auth-token"));
    assert!(bucket.keys().is_empty());
    let arguments = ["doctor", "--artifacts", "s3://no-such-bucket-here"];
    let mut command = support::aws::command(&sandbox, &endpoint, &arguments);
    let output = command
        .bounded_output()
        .expect("the program can be started");
    sandbox.finish(&output).expect(4).stdout_has("NoSuchBucket");
}
