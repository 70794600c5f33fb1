//! The build for Amazon ECS against a real engine, a real registry under ECR's host names, and AWS's own command line.
//! `tests/run` starts the services.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::{Cursor, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::aws::{Bucket, GoBetween, Verdict, command, endpoint};
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};
use support::{corpus, root, skipped, tree};

/// What the registry takes as the password, and no log may show.
const TOKEN: &str = "123456789012-auth-token";

/// Whether the services are there; if not, it is said.
fn services(test: &str) -> Option<String> {
    if std::env::var_os("RUNNER_TEST_REGISTRY").is_none() {
        skipped(test, "no registry; tests/run starts it");
        return None;
    }
    endpoint(test)
}

/// Makes the image that images of tests start from: Debian's static busybox and nothing else.
fn import_base() {
    let layout = tempfile::tempdir().expect("a temporary directory can be made");
    let path = layout.path();
    for directory in ["bin", "tmp", "srv/www"] {
        fs::create_dir_all(path.join(directory)).expect("a directory can be made");
    }
    fs::copy("/bin/busybox", path.join("bin/busybox")).expect("busybox-static is installed");
    for applet in ["sh", "cat", "echo", "httpd"] {
        std::os::unix::fs::symlink("busybox", path.join("bin").join(applet)).expect("a link");
    }
    let tar = Command::new("tar")
        .args(["-C", &path.display().to_string(), "-c", "."])
        .stdout(Stdio::piped())
        .spawn();
    let mut tar = tar.expect("tar can be started");
    let layer = tar.stdout.take().expect("tar writes to a pipe");
    let imported = Command::new("docker")
        .args(["import", "-", "runner-tests-base:1"])
        .stdin(layer)
        .stdout(Stdio::null())
        .spawn();
    assert!(wait::end(imported.expect("docker can be started")).success());
    assert!(wait::end(tar).success());
}

/// Makes the source a repository with one commit, which is returned.
fn commit(sandbox: &Sandbox) -> String {
    let script = "git init -q -b main && git add . && git -c user.name=t -c user.email=t@example.com commit -qm one && git rev-parse HEAD";
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(sandbox.source())
        .bounded_output();
    let output = output.expect("git can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs the build as its user would, with the services as AWS.
fn run(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
    let mut command = command(sandbox, endpoint, arguments);
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        command.env("DOCKER_HOST", host);
    }
    // Debian's engine brings no plug-in for the newer builder.
    command.env("DOCKER_BUILDKIT", "0");
    let output = command.bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

/// Logs the user in to the registry of an image: the build has left nothing in the user's home (REG-10, REG-12).
fn log_in(sandbox: &Sandbox, image: &str) {
    assert!(!sandbox.path("home/.docker").exists());
    let endpoint = endpoint("a login").expect("the services are there");
    let output = command(sandbox, &endpoint, &["ecr", "login", image]).bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0);
}

/// `docker`, as the user whose home it is.
fn docker(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = Command::new("docker");
    command.args(arguments).env("HOME", sandbox.path("home"));
    let output = command.bounded_output();
    sandbox.finish(&output.expect("docker can be started"))
}

/// The file of an archive in a bucket.
fn stored_file(bucket: &Bucket, key: &str, name: &str) -> String {
    let archive = bucket.get(key).content;
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).expect("an archive can be read");
    assert_eq!(archive.len(), 1);
    let mut text = String::new();
    let mut file = archive.by_name(name).expect("the file is in it");
    file.read_to_string(&mut text).expect("it is text");
    text
}

/// The digest that a push of this tag reported in the log.
fn digest_of_push(log: &str, tag: &str) -> String {
    let line = log
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{tag}: digest: ")))
        .unwrap_or_else(|| panic!("no push of {tag} in\n{log}"));
    line.split(' ').next().unwrap_or_default().to_owned()
}

/// Fails unless the image that was pushed is the one that comes back, by its digest and by both tags.
fn expect_image(sandbox: &Sandbox, image: &str, tag: &str, log: &str, check: &[&str]) -> String {
    log_in(sandbox, image);
    let digest = digest_of_push(log, tag);
    assert_eq!(digest_of_push(log, "latest"), digest);
    let by_digest = format!("{image}@{digest}");
    for name in [format!("{image}:latest"), format!("{image}:{tag}")] {
        docker(sandbox, &["image", "rm", "-f", &name]).expect(0);
        docker(sandbox, &["pull", "-q", &name]).expect(0);
        docker(sandbox, &["image", "rm", "-f", &name]).expect(0);
    }
    docker(sandbox, &["pull", "-q", &by_digest]).expect(0);
    let arguments = [
        &["run", "--rm", "--network", "none", by_digest.as_str()],
        check,
    ]
    .concat();
    let shown = docker(sandbox, &arguments).expect(0).stdout;
    docker(sandbox, &["image", "rm", "-f", &by_digest]).expect(0);
    shown
}

fn copy_project(buildspec: Option<&Path>) -> Sandbox {
    let sandbox = Sandbox::new();
    tree::copy(&root().join("testdata/ecs"), &sandbox.source(), &[]);
    if let Some(buildspec) = buildspec {
        fs::copy(buildspec, sandbox.source().join("buildspec.yml")).expect("a file can be copied");
    }
    sandbox
}

/// Where the main job runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// On the host, with the command lines of AWS and Docker.
    Host,
    /// On a host that has neither.
    BareHost,
    /// In a container with Docker's command line and the engine's socket.
    EngineSocket,
    /// In a container of an image with nothing but busybox.
    Busybox,
}

/// A directory with the programs that commands of the main job use, and neither `aws` nor `docker`.
fn few_programs(sandbox: &Sandbox) -> std::path::PathBuf {
    let directory = sandbox.path("few");
    fs::create_dir(&directory).expect("a directory can be made");
    for program in ["sh", "cut", "cat", "printf", "git"] {
        let found = Command::new("sh")
            .args([
                "-c",
                &format!("command -v {program} || echo /usr/bin/{program}"),
            ])
            .bounded_output()
            .expect("sh can be started");
        let found = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        let found = Path::new(&found);
        let found = if found.is_absolute() {
            found.to_owned()
        } else {
            Path::new("/usr/bin").join(program)
        };
        std::os::unix::fs::symlink(found, directory.join(program)).expect("a link");
    }
    directory
}

// CMD-1, CMD-2, ENV-5, ART-11, ART-15, LOG-15, REG-10, TOOL-1, CTR-7: the main job, from a commit to an image and a file for
// the deploy stage, unchanged in every place that it can run in.
#[test]
fn an_image_goes_to_ecr_and_its_definition_to_s3() {
    let Some(endpoint) = services("the build for Amazon ECS") else {
        return;
    };
    let images = ["RUNNER_TEST_IMAGE", "RUNNER_TEST_BUSYBOX"].map(std::env::var);
    let [Ok(debian), Ok(busybox)] = images else {
        return skipped(
            "the build for Amazon ECS",
            "no images; tests/run makes them",
        );
    };
    import_base();
    let bucket = Bucket::new(&endpoint, "ecs-artifacts");
    let docker_program = "/usr/bin/docker:/usr/bin/docker:ro";
    for way in [Way::Host, Way::BareHost, Way::EngineSocket, Way::Busybox] {
        let sandbox = copy_project(None).file("way", format!("{way:?}"));
        let commit = commit(&sandbox);
        let key = format!("my-pipeline-{way:?}");
        let place = format!("s3://ecs-artifacts/{key}");
        let mut arguments = vec!["run", "--log-format", "codebuild", "--packaging", "zip"];
        arguments.extend(["--artifacts", &place, "--project", "my-ecs-app", "-v"]);
        arguments.extend(["--events", "../events.jsonl"]);
        let path = match way {
            Way::BareHost => Some(format!("PATH={}", few_programs(&sandbox).display())),
            _ => None,
        };
        match way {
            Way::Host => {}
            Way::BareHost => arguments.extend(["--env", path.as_deref().unwrap_or_default()]),
            Way::EngineSocket => {
                arguments.extend([
                    "--image",
                    &debian,
                    "--engine-socket",
                    "--volume",
                    docker_program,
                ]);
                arguments.extend(["--env", "DOCKER_BUILDKIT=0"]);
            }
            Way::Busybox => arguments.extend(["--image", &busybox]),
        }
        let ran = run(&sandbox, &endpoint, &arguments)
            .expect(0)
            .stdout_has("Login Succeeded\n");
        let image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-ecs-app";
        let tag = &commit[..12];
        let page = expect_image(
            &sandbox,
            image,
            tag,
            &ran.stdout,
            &["cat", "/srv/www/index.html", "/srv/www/built.txt"],
        );
        assert_eq!(page, "<h1>my-ecs-app</h1>\nbuilt\n", "{way:?}");
        let definitions = stored_file(
            &bucket,
            &format!("{key}/my-ecs-app"),
            "imagedefinitions.json",
        );
        let expected = format!(r#"[{{"name":"my-ecs-app-container","imageUri":"{image}:{tag}"}}]"#);
        assert_eq!(definitions, expected, "{way:?}");
        let events = fs::read_to_string(sandbox.path("events.jsonl")).expect("it was written");
        assert!(!format!("{}{}{events}", ran.stdout, ran.stderr).contains(TOKEN));
        assert!(
            sandbox.leftovers().is_empty(),
            "{way:?}: {:?}",
            sandbox.leftovers()
        );
    }
}

// REG-9, REG-10, TOOL-1: in a container a plain push finds its token outside; no credentials of AWS's are in there.
#[test]
fn a_container_pushes_to_ecr_without_logging_in() {
    let Some(endpoint) = services("a push from a container") else {
        return;
    };
    let Ok(debian) = std::env::var("RUNNER_TEST_IMAGE") else {
        return skipped("a push from a container", "no image; tests/run makes it");
    };
    import_base();
    let image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/from-a-container:1";
    let sandbox = Sandbox::with_commands(&[
        "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_ENDPOINT_URL",
        &format!(
            "env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY -u AWS_ENDPOINT_URL docker push {image}"
        ),
        "cat $DOCKER_CONFIG/config.json",
    ]);
    docker(&sandbox, &["tag", "runner-tests-base:1", image]).expect(0);
    for volume in [None, Some("/usr/bin/docker:/usr/bin/docker:ro")] {
        let mut arguments = vec!["run", "--image", &debian, "--engine-socket"];
        arguments.extend(volume.iter().flat_map(|volume| ["--volume", *volume]));
        let ran = run(&sandbox, &endpoint, &arguments).expect(0);
        let ran = ran.stdout_has("1: digest: sha256:");
        assert!(!ran.stdout.contains(TOKEN));
    }
    docker(&sandbox, &["image", "rm", "-f", image]).expect(0);
}

/// An image of builds that lies in the registry, where nobody comes to it without a token. It goes away with the value.
struct PrivateImage {
    name: String,
    base: String,
    endpoint: String,
}

impl PrivateImage {
    /// The name of one that was not published yet.
    fn new(test: &str, repository: &str) -> Option<Self> {
        let endpoint = services(test)?;
        let Ok(base) = std::env::var("RUNNER_TEST_BUSYBOX") else {
            skipped(test, "no image; tests/run makes it");
            return None;
        };
        let name = format!("123456789012.dkr.ecr.us-east-1.amazonaws.com/{repository}:1");
        Some(Self {
            name,
            base,
            endpoint,
        })
    }

    /// Puts one under the name that has this version as a variable: here and in the registry. Gives its id.
    fn publish(&self, version: u8) -> String {
        let sandbox = Sandbox::new();
        let made = docker(&sandbox, &["create", &self.base, "none"]).expect(0);
        let container = made.stdout.trim();
        let change = format!("ENV VERSION={version}");
        let arguments = ["commit", "--change", &change, container, &self.name];
        let id = docker(&sandbox, &arguments).expect(0).stdout;
        docker(&sandbox, &["rm", container]).expect(0);
        let arguments = ["push", "--quiet", &self.name];
        run(&sandbox, &self.endpoint, &arguments).expect(0);
        id.trim().to_owned()
    }

    /// Takes it away from the engine.
    fn remove(&self) {
        docker(&Sandbox::new(), &["image", "rm", "-f", &self.name]);
    }

    /// A build in it, by an AWS that is somewhere else.
    fn build_by(&self, sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
        let arguments = [&["run", "--image", &self.name], arguments].concat();
        let ran = run(sandbox, endpoint, &arguments);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(TOKEN));
        ran
    }

    fn build(&self, sandbox: &Sandbox, arguments: &[&str]) -> Ran {
        self.build_by(sandbox, &self.endpoint, arguments)
    }
}

impl Drop for PrivateImage {
    fn drop(&mut self) {
        let repository = self.name.trim_end_matches(":1");
        let script = format!(
            "docker images -q --no-trunc {repository} | sort -u | xargs -r docker image rm -f"
        );
        let _ = Command::new("sh").args(["-c", &script]).bounded_output();
    }
}

/// How a build says that there is no image.
const UNABLE: &str = "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE";

// CTR-6, CTR-12, REG-8: nobody has logged in; progress is on standard error, and standard output is the build's.
#[test]
fn a_build_runs_in_a_private_image() {
    let Some(image) = PrivateImage::new("a build in a private image", "build-image") else {
        return;
    };
    let first = image.publish(1);
    image.remove();
    let sandbox = Sandbox::with_commands(&["echo version $VERSION"]);
    let json = ["--log-format", "json"];
    let ran = image.build(&sandbox, &json).expect(0);
    let ran = ran.stdout_has("version 1").stderr_has("  Pulling 1234");
    let ran = ran.stderr_has(&format!("Pulled {} (", image.name));
    for line in ran.stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("it is an event");
    }
    assert!(!sandbox.path("home/.docker").exists());
    // A newer one is taken if that is wished.
    image.publish(2);
    docker(&sandbox, &["tag", &first, &image.name]).expect(0);
    for (policy, version) in [("missing", 1), ("never", 1), ("always", 2), ("always", 2)] {
        let ran = image.build(&sandbox, &["--pull", policy]).expect(0);
        let ran = ran.stdout_has(&format!("version {version}"));
        assert_eq!(
            ran.stderr.contains("Pulling"),
            policy == "always",
            "{}",
            ran.stderr
        );
    }
    let quiet = image
        .build(&sandbox, &["--pull", "always", "--quiet"])
        .expect(0);
    assert_eq!(
        (quiet.stdout.as_str(), quiet.stderr.as_str()),
        ("version 2\n", "")
    );
    image.remove();
    let platform = ["--platform", "linux/amd64"];
    image
        .build(&sandbox, &platform)
        .expect(0)
        .stderr_has("Pulled");
    assert!(sandbox.leftovers().is_empty(), "{:?}", sandbox.leftovers());
}

// CTR-6, CTR-12: what is wrong is said as `runner pull` says it, and the build ends as one whose image cannot be had.
#[test]
fn a_private_image_that_cannot_be_had_ends_the_build() {
    let Some(image) = PrivateImage::new("private images that cannot be had", "build-refused")
    else {
        return;
    };
    image.publish(1);
    image.remove();
    let sandbox = Sandbox::with_commands(&["touch ran"]);
    let refused = |ran: Ran, message: &str, help: &str| {
        let ran = ran.expect(4).stdout_has(UNABLE);
        let ran = ran.stdout_has(message).stdout_has(help);
        assert!(!ran.stderr.contains("Retrying"), "{}", ran.stderr);
        assert!(!sandbox.source().join("ran").exists());
        ran
    };
    let json = |more: &[&'static str]| [&["--log-format", "json"], more].concat();
    let never = image.build(&sandbox, &json(&["--pull", "never"]));
    let never = refused(never, "`--pull never` forbids to pull it", "");
    assert!(!never.stderr.contains("Pulling"));
    let other = image.build(&sandbox, &json(&["--platform", "linux/s390x"]));
    refused(other, "linux/s390x", "leave `--platform` out");
    image.remove();
    // A token that the registry does not take.
    let body = r#"{"authorizationData":[{"authorizationToken":"QVdTOndyb25n","expiresAt":32000000000,"proxyEndpoint":"https://h"}]}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let aws = GoBetween::new("http://127.0.0.1:1", move |_| {
        Verdict::Answer(answer.clone())
    });
    let stranger = Sandbox::with_commands(&["touch ran"]);
    let wrong = image.build_by(&stranger, &aws.endpoint, &json(&[]));
    refused(
        wrong,
        "unauthorized",
        "these AWS credentials may use the repository",
    );
    // No AWS credentials at all.
    let stranger = Sandbox::with_commands(&["touch ran"]);
    let arguments = [&["run", "--image", &image.name], json(&[]).as_slice()].concat();
    let mut nobody = command(&stranger, &image.endpoint, &arguments);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        nobody.env_remove(name);
    }
    nobody.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    let output = nobody.bounded_output().expect("the program can be started");
    refused(
        stranger.finish(&output),
        "no AWS credentials were found",
        "set AWS_PROFILE",
    );
}

// CTR-12, PHASE-9: a pull ends as a build does, by a signal and by the time limit.
#[test]
fn a_build_is_stopped_while_its_image_is_pulled() {
    let Some(endpoint) = services("a stop while an image is pulled") else {
        return;
    };
    for (arguments, signal, code, status) in [
        (&[][..], Some(Signal::INT), 130, "STOPPED"),
        (&[], Some(Signal::TERM), 143, "STOPPED"),
        (&["--timeout", "3s"], None, 5, "TIMED_OUT"),
    ] {
        let registry = GoBetween::new("http://127.0.0.1:1", |_| Verdict::Hold);
        let image = format!("{}/web:1", registry.endpoint.trim_start_matches("http://"));
        let sandbox = Sandbox::with_commands(&["touch ran"]);
        let arguments = [
            &["run", "--log-format", "json", "--image", &image],
            arguments,
        ]
        .concat();
        let mut command = command(&sandbox, &endpoint, &arguments);
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        let child = Sandbox::spawn(&mut command);
        let held = registry.held;
        if let Some(signal) = signal {
            wait::within("the pull", move || held.recv().expect("it comes"));
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.expect("a child has a number"), signal).expect("it can be told");
        }
        let ran = sandbox.finish(&wait::output(child)).expect(code);
        let ran = ran.stdout_has(&format!("\"buildStatus\":\"{status}\""));
        assert!(!ran.stdout.contains(UNABLE), "{}", ran.stdout);
        // Nor has it waited for the end of the pull, which is tried again where nobody ends it.
        assert!(!ran.stderr.contains("Retrying"), "{}", ran.stderr);
        assert!(!sandbox.source().join("ran").exists());
        assert!(sandbox.leftovers().is_empty(), "{:?}", sandbox.leftovers());
    }
}

// CMD-1, ENV-5: the buildspec of AWS's own user guide, as it stands there.
#[test]
fn the_buildspec_of_the_user_guide_runs_unchanged() {
    let Some(endpoint) = services("the buildspec of the user guide") else {
        return;
    };
    let Some(corpus) = corpus() else {
        return skipped("corpus", "the buildspec of the user guide is not here");
    };
    import_base();
    let bucket = Bucket::new(&endpoint, "guide-artifacts");
    let buildspec = corpus.join("docs/codepipeline__ecs-cd-pipeline__01.buildspec.yml");
    let sandbox = copy_project(Some(&buildspec));
    let commit = commit(&sandbox);
    let arguments = [
        "run",
        "--log-format",
        "codebuild",
        "--packaging",
        "zip",
        "--artifacts",
        "s3://guide-artifacts",
        "--project",
        "guide",
    ];
    let ran = run(&sandbox, &endpoint, &arguments).expect(0);
    let image = "012345678910.dkr.ecr.us-west-2.amazonaws.com/hello-world";
    let tag = &commit[..7];
    expect_image(
        &sandbox,
        image,
        tag,
        &ran.stdout,
        &["cat", "/srv/www/index.html"],
    );
    let definitions = stored_file(&bucket, "guide", "imagedefinitions.json");
    assert_eq!(
        definitions,
        format!(r#"[{{"name":"hello-world","imageUri":"{image}:{tag}"}}]"#)
    );
}

// PHASE-2, PHASE-3: a registry that refuses, or is not there, ends the build where CodeBuild would end it.
#[test]
fn a_failed_login_ends_the_build_before_anything_is_built() {
    let Some(endpoint) = services("a failed login") else {
        return;
    };
    let sandbox = copy_project(None);
    commit(&sandbox);
    let tools = sandbox.path("tools");
    fs::create_dir(&tools).expect("it is new");
    support::write_script(&tools.join("aws"), "#!/bin/sh\necho wrong-password\n");
    let path = std::env::var("PATH").expect("PATH is text");
    let path = format!("PATH={}:{path}", tools.display());
    run(
        &sandbox,
        &endpoint,
        &["run", "--log-format", "codebuild", "-e", &path],
    )
    .expect(1)
    .stdout_has("401 Unauthorized\n")
    .stdout_has("Phase complete: PRE_BUILD State: FAILED\n")
    .stderr_has("buildspec.yml:15");
    let sandbox = Sandbox::with_commands(&[
        "echo secret | docker login --username AWS --password-stdin 127.0.0.1:1",
        "echo never",
    ]);
    let ran = run(&sandbox, &endpoint, &["run", "--log-format", "codebuild"])
        .expect(1)
        .stdout_has("connection refused\n")
        .stdout_has("Phase complete: BUILD State: FAILED\n");
    assert!(!ran.stdout.contains("\nnever\n"));
}

/// An image of a shell, users and these files, which goes away with the value. `None` if there is no engine.
struct Image {
    name: String,
}

impl Image {
    fn new(test: &str, files: &[(&str, &str)]) -> Option<Self> {
        let engine = Command::new("docker").arg("version").bounded_output();
        if !engine.is_ok_and(|version| version.status.success()) {
            skipped(test, "no engine; tests/run starts one");
            return None;
        }
        let layout = tempfile::tempdir().expect("a temporary directory can be made");
        let path = layout.path();
        for directory in ["bin", "tmp", "root", "etc"] {
            fs::create_dir_all(path.join(directory)).expect("a directory can be made");
        }
        fs::copy("/bin/busybox", path.join("bin/busybox")).expect("busybox-static is installed");
        for applet in ["sh", "cat", "chmod", "id", "ls", "mkdir", "stat", "touch"] {
            std::os::unix::fs::symlink("busybox", path.join("bin").join(applet)).expect("a link");
        }
        for (file, content) in files {
            let file = path.join(file);
            let parent = file.parent().expect("a file has a directory");
            fs::create_dir_all(parent).expect("a directory can be made");
            fs::write(file, content).expect("a file can be written");
        }
        let name = format!("runner-tests-{}:1", test.replace(' ', "-"));
        let tar = Command::new("tar")
            .args(["--owner=0", "--group=0", "--mode=a+rX", "-C"])
            .arg(path)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn();
        let mut tar = tar.expect("tar can be started");
        let imported = Command::new("docker")
            .args(["import", "--change", "ENV IMAGE_PYTHON=3.10", "-", &name])
            .stdin(tar.stdout.take().expect("tar writes to a pipe"))
            .stdout(Stdio::null())
            .spawn();
        assert!(wait::end(imported.expect("docker can be started")).success());
        assert!(wait::end(tar).success());
        Some(Self { name })
    }

    /// Runs a build in a container of this image.
    fn run(&self, buildspec: &str, arguments: &[&str]) -> (Sandbox, Ran) {
        let sandbox = Sandbox::with_buildspec(buildspec).file("private/file", "mine\n");
        for (path, mode) in [("", 0o700), ("private", 0o700), ("private/file", 0o600)] {
            let rights = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(sandbox.source().join(path), rights).expect("they can be set");
        }
        let mut command = sandbox.command(["run", "--log-format", "codebuild"]);
        command.args(["--image", &self.name, "--pull", "never"]);
        command.args(arguments);
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        let output = command.bounded_output();
        let ran = sandbox.finish(&output.expect("the program can be started"));
        (sandbox, ran)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["image", "rm", "-f", &self.name])
            .bounded_output();
    }
}

const PASSWD: (&str, &str) = (
    "etc/passwd",
    "root:x:0:0::/root:/bin/sh\nbuilder:x:1000:100::/home:/bin/sh\n",
);
const GROUP: (&str, &str) = ("etc/group", "users:x:100:\ntools:x:7:builder\n");
const RUNTIMES: (&str, &str) = (
    "codebuild/image/config/runtimes.yml",
    r#"
version: 0.1
runtimes:
  python:
    versions:
      3.9:
        commands:
          - echo unseen
          - export PYTHON=3.9
      3.10:
        commands:
          - export PYTHON=$IMAGE_PYTHON
  java:
    versions:
      corretto8: { commands: [JAVA=8] }
      corretto11: { commands: [JAVA=11] }
  android:
    versions:
      29: { requires: { java: [corretto8] }, commands: ['ANDROID="29 on $JAVA"'] }
      30: { commands: ["echo half way; exit 7"] }
  nodejs:
    versions:
      20: { commands: [NODE=20] }
      default: { commands: ["NODE=own-$VERSION"] }
"#,
);

// CMD-17, CMD-18: users are those of the image; what their rights do not reach in the source is theirs, until the end.
#[test]
fn run_as_names_users_of_the_image() {
    use std::os::unix::fs::MetadataExt as _;
    let Some(image) = Image::new("run as", &[PASSWD, GROUP]) else {
        return;
    };
    let buildspec = r#"
version: 0.2
run-as: builder
phases:
  pre_build:
    commands:
      - echo "$(id -u):$(id -g) $(id -G) at $HOME"; cat private/file; touch private/made
  build:
    run-as: root
    commands: 'echo "$(id -u) $(stat -c %u private/file)"; touch root'
"#;
    for arguments in [&[][..], &["--mount-source", "copy"]] {
        let (sandbox, ran) = image.run(buildspec, arguments);
        ran.expect(0)
            .stdout_has("\n1000:100 100 7 at /root\nmine\n")
            .stdout_has("\n0 1000\n");
        let owner = rustix::process::geteuid().as_raw();
        for file in ["", "private", "private/file", "private/made", "root"] {
            let found = fs::metadata(sandbox.source().join(file)).expect("it is there");
            assert_eq!(found.uid(), owner, "{file}");
        }
    }
    let unknown = buildspec.replace("run-as: builder", "run-as: nobody");
    let (_, ran) = image.run(&unknown, &[]);
    ran.expect(1)
        .stdout_has("Reason: user: unknown user nobody\n");
}

fn with_runtimes(runtimes: &str) -> String {
    format!(
        "version: 0.2\nenv: {{ variables: {{ MINE: 3.x }} }}\nphases:\n  install:\n    runtime-versions: {runtimes}\n  build:\n    commands: ['echo \"[$PYTHON|$JAVA|$ANDROID|$NODE|$VERSION]\"']\n"
    )
}

// RUN-1, RUN-2, RUN-3, RUN-5
#[test]
fn runtimes_of_the_image_are_selected() {
    let Some(image) = Image::new("runtimes", &[PASSWD, RUNTIMES]) else {
        return;
    };
    let selecting = |runtime: &str, version: &str| {
        format!("Selecting '{runtime}' runtime version '{version}' based on manual selections...\n")
    };
    let table = [
        ("{ python: 3.9 }", selecting("python", "3.9"), "[3.9||||]"),
        (
            "{ python: $MINE }",
            "Resolved 'python' runtime alias '3.x' to '3.10'.\n".to_owned(),
            "[3.10||||]",
        ),
        (
            "{ python: '${IMAGE_PYTHON}' }",
            selecting("python", "3.10"),
            "[3.10||||]",
        ),
        (
            "{ android: 29, python: 3.9 }",
            "Selecting 'java' runtime version 'corretto8' based on dependencies of 'android'...\n"
                .to_owned(),
            "[3.9|8|29 on 8||]",
        ),
        (
            "{ nodejs: 18.1.2 }",
            selecting("nodejs", "18.1.2"),
            "[|||own-18.1.2|]",
        ),
    ];
    for (runtimes, told, set) in table {
        let (_, ran) = image.run(&with_runtimes(runtimes), &["--strict"]);
        let ran = ran
            .expect(0)
            .stdout_has(&told)
            .stdout_has(&format!("\n{set}\n"));
        assert!(!ran.stdout.contains("unseen"), "{}", ran.stdout);
        assert_eq!(ran.stderr, "");
        let (before, after) = ran
            .stdout
            .split_once("Processing environment variables\n")
            .expect("the log has it");
        assert!(before.contains("YAML location") && after.contains("Moving to directory"));
    }
}

// RUN-3, RUN-4, RUN-5
#[test]
fn runtimes_that_cannot_be_selected_end_the_build_before_its_commands() {
    let Some(image) = Image::new("no runtimes", &[PASSWD, RUNTIMES]) else {
        return;
    };
    let table = [
        (
            "{ python: 3.1 }",
            3,
            "YAML_FILE_ERROR Message: Unknown runtime version named '3.1' of python. This build image has the following versions: 3.9, 3.10\n",
        ),
        (
            "{ docker: 20 }",
            3,
            "YAML_FILE_ERROR Message: Unknown runtime named 'docker'. This build image has the following runtimes: android, java, nodejs, python\n",
        ),
        (
            "{ android: 29, java: corretto11 }",
            3,
            "'java' version 'corretto11' has already been manually selected. Not attempting to override.\n",
        ),
        (
            "{ android: latest }",
            1,
            "COMMAND_EXECUTION_ERROR Message: Error while executing command: echo half way; exit 7. Reason: exit status 7\n",
        ),
        ("{ python: '$(' }", 3, "could not be expanded"),
    ];
    for (runtimes, code, told) in table {
        let (sandbox, ran) = image.run(&with_runtimes(runtimes), &[]);
        let ran = ran
            .expect(code)
            .stdout_has(told)
            .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FAILED\n")
            .stderr_has("error: ")
            .stderr_has(" phase DOWNLOAD_SOURCE\n");
        assert!(
            !ran.stdout.contains("Moving to directory"),
            "{}",
            ran.stdout
        );
        assert!(!ran.stdout.contains("Entering phase"), "{}", ran.stdout);
        assert!(sandbox.leftovers().is_empty());
    }
    let (_, ran) = image.run(&with_runtimes("{ android: 30 }"), &[]);
    ran.expect(1).stdout_has("\nhalf way\n");
}

// RUN-1, RUN-7
#[test]
fn an_image_without_a_table_has_what_it_has() {
    let Some(image) = Image::new("no table", &[PASSWD]) else {
        return;
    };
    let skipping = "Skipping install of runtimes. Runtime version selection is not supported by this build image\n";
    let buildspec = with_runtimes("{ python: 3.9 }");
    let (_, ran) = image.run(&buildspec, &[]);
    ran.expect(0)
        .stdout_has(skipping)
        .stdout_has("\n[||||]\n")
        .stderr_has("the image has no /codebuild/image/config/runtimes.yml");
    let (_, ran) = image.run(&buildspec, &["--strict"]);
    ran.expect(3).stdout_has(skipping);
    let bad = ("codebuild/image/config/runtimes.yml", "runtimes: [python]");
    let Some(image) = Image::new("bad table", &[PASSWD, bad]) else {
        return;
    };
    let (_, ran) = image.run(&buildspec, &[]);
    ran.expect(4)
        .stdout_has("DOWNLOAD_SOURCE State: FAULT\n")
        .stdout_has("could not read the image's /codebuild/image/config/runtimes.yml");
}

// REG-21: somebody has revoked the token that the cache has.
#[test]
fn a_token_that_is_refused_is_asked_for_again() {
    let Some(image) = PrivateImage::new("a revoked token", "revoked") else {
        return;
    };
    image.publish(1);
    // A token that lasts: moto's are over already, and never kept.
    let answer = r#"{"authorizationData":[{"authorizationToken":"QVdTOjEyMzQ1Njc4OTAxMi1hdXRoLXRva2Vu","expiresAt":32000000000,"proxyEndpoint":"https://123456789012.dkr.ecr.us-east-1.amazonaws.com"}]}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    );
    let aws = GoBetween::new("http://127.0.0.1:1", move |_| {
        Verdict::Answer(answer.clone())
    });
    let sandbox = Sandbox::new();
    let push = ["push", "--quiet", &image.name];
    let pull = ["pull", "--quiet", &image.name];
    run(&sandbox, &aws.endpoint, &push).expect(0);
    let cache = sandbox.path("home/.cache/runner/ecr");
    let revoke = || {
        let mut revoked = 0;
        for entry in fs::read_dir(&cache).expect("the cache is there").flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            if let Ok(mut token) = serde_json::from_str::<serde_json::Value>(&text) {
                token["token"] = "a-token-that-was-revoked".into();
                fs::write(entry.path(), token.to_string()).expect("it can be written");
                revoked += 1;
            }
        }
        assert_eq!(revoked, 1, "there is one token");
    };
    for again in [push, pull] {
        revoke();
        let before = aws.count("POST");
        run(&sandbox, &aws.endpoint, &again).expect(0);
        assert_eq!(aws.count("POST"), before + 1, "{again:?}");
    }
}

// CTR-71
#[test]
fn the_doctor_asks_the_registry_for_an_image() {
    let Some(image) = PrivateImage::new("the doctor and a registry", "doctor") else {
        return;
    };
    image.publish(1);
    image.remove();
    let sandbox = Sandbox::new();
    let doctor = |arguments: &[&str]| {
        let arguments = [&["doctor", "--image"], arguments].concat();
        run(&sandbox, &image.endpoint, &arguments)
    };
    let found = "the engine does not have 123456789012.dkr.ecr.us-east-1.amazonaws.com/doctor:1 yet; its registry does";
    doctor(&[&image.name]).expect(0).stdout_has(found);
    let map = format!("aws/codebuild/standard:7.0={}", image.name);
    doctor(&["aws/codebuild/standard:7.0", "--image-map", &map])
        .expect(0)
        .stdout_has(found);
    let other = image.name.replace("doctor:1", "doctor:2");
    doctor(&[&other])
        .expect(4)
        .stdout_has("and cannot pull it: ");
}

// REG-2, REG-3, REG-9: the public registry has a token of its own, and AWS's build images come from there.
#[test]
fn images_of_the_public_registry_come_with_its_token() {
    let Some(image) = PrivateImage::new("the public registry", "public") else {
        return;
    };
    let answer = r#"{"authorizationData":{"authorizationToken":"QVdTOjEyMzQ1Njc4OTAxMi1hdXRoLXRva2Vu","expiresAt":32000000000}}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    );
    let aws = GoBetween::new("http://127.0.0.1:1", move |_| {
        Verdict::Answer(answer.clone())
    });
    // Refused without a token: by the registry of these tests, which AWS's own is not.
    let image = PrivateImage {
        name: "public.ecr.aws/codebuild/amazonlinux-x86_64-standard:1".to_owned(),
        base: image.base.clone(),
        endpoint: aws.endpoint.clone(),
    };
    image.publish(1);
    image.remove();
    let sandbox = Sandbox::new();
    run(&sandbox, &aws.endpoint, &["pull", "--quiet", &image.name])
        .expect(0)
        .stdout_has("sha256:");
    image.remove();
    // Docker itself, in a build.
    let sandbox = Sandbox::with_commands(&[&format!("docker pull {}", image.name)]);
    run(&sandbox, &aws.endpoint, &["run"])
        .expect(0)
        .stdout_has("Status: Downloaded newer image");
    image.remove();
    let sandbox = Sandbox::with_commands(&["echo version $VERSION"]);
    let name = "aws/codebuild/amazonlinux-x86_64-standard:1";
    run(&sandbox, &aws.endpoint, &["run", "--image", name])
        .expect(0)
        .stdout_has("version 1");
    assert!(aws.count("POST") > 0);
}
