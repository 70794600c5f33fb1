//! `aws` and `docker` of our own, against a real engine, a real registry under ECR's host names, and AWS's services as
//! moto has them. `tests/run` starts the services.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::aws::{self, endpoint};
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};
use support::{RUNNER, root, skipped, tree};

/// What the registry takes as the password, and no log may show.
const TOKEN: &str = "123456789012-auth-token";

const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// A place whose PATH has our tools and busybox, and neither a real `aws` nor a real `docker`.
struct Place {
    sandbox: Sandbox,
    endpoint: String,
}

impl Place {
    /// One where nothing is asked of any service.
    fn alone() -> Self {
        let sandbox = Sandbox::new();
        let bin = sandbox.path("bin");
        fs::create_dir(&bin).expect("a directory can be made");
        buildspec_runner::tool::link_into(&bin, RUNNER.as_ref()).expect("links can be made");
        for applet in [
            "sh", "cat", "cut", "echo", "printf", "sleep", "mkdir", "rm", "env", "ln",
        ] {
            symlink("/bin/busybox", bin.join(applet)).expect("a link can be made");
        }
        Self {
            sandbox,
            endpoint: "http://127.0.0.1:1".to_owned(),
        }
    }

    /// One with the services, if they are there; if not, it is said.
    fn new(test: &str) -> Option<Self> {
        if std::env::var_os("RUNNER_TEST_REGISTRY").is_none() {
            skipped(test, "no registry; tests/run starts it");
            return None;
        }
        let endpoint = endpoint(test)?;
        import_base();
        Some(Self {
            endpoint,
            ..Self::alone()
        })
    }

    /// A program of this PATH.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let bin = self.sandbox.path("bin");
        let mut command = Command::new(bin.join(program));
        command
            .args(arguments)
            .current_dir(self.sandbox.source())
            .env_clear();
        command
            .env("PATH", &bin)
            .env("HOME", self.sandbox.path("home"))
            .env("DOCKER_CONFIG", self.sandbox.path("docker"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "not-a-real-secret-key")
            .env("AWS_REGION", aws::REGION)
            .env("AWS_ENDPOINT_URL", &self.endpoint);
        if let Some(host) = std::env::var_os("DOCKER_HOST") {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        let output = self.command(program, arguments).bounded_output();
        self.sandbox.finish(&output.expect("it can be started"))
    }

    fn docker(&self, line: &str) -> Ran {
        self.run("docker", &line.split(' ').collect::<Vec<&str>>())
    }

    /// A script of the shell.
    fn script(&self, script: &str) -> Ran {
        self.run("sh", &["-ec", script])
    }

    fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.sandbox = self.sandbox.file(path, content);
        self
    }
}

/// The real engine's own command line, to look at what ours did.
fn real_docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).bounded_output();
    let output = output.expect("docker can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes the image that images of tests start from: Debian's static busybox and nothing else.
fn import_base() {
    let layout = tempfile::tempdir().expect("a temporary directory can be made");
    for directory in ["bin", "tmp", "srv/www"] {
        fs::create_dir_all(layout.path().join(directory)).expect("a directory can be made");
    }
    fs::copy("/bin/busybox", layout.path().join("bin/busybox"))
        .expect("busybox-static is installed");
    for applet in ["sh", "cat", "echo", "httpd", "sleep", "test"] {
        symlink("busybox", layout.path().join("bin").join(applet)).expect("a link");
    }
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.append_dir_all(".", layout.path())
        .expect("a TAR can be made");
    let tar = tar.into_inner().expect("a TAR can be made");
    let mut import = Command::new("docker");
    import.args(["import", "-", "runner-tests-base:1"]);
    let mut import = Sandbox::spawn(import.stdin(Stdio::piped()));
    let mut input = import.stdin.take().expect("it has one");
    input.write_all(&tar).expect("it is taken");
    drop(input);
    assert!(wait::output(import).status.success());
}

// TOOL-1, TOOL-2, TOOL-5, TOOL-7, TOOL-9, TOOL-10: the build for Amazon ECS where there is no `aws` and no `docker`.
#[test]
fn the_build_for_ecs_needs_no_aws_and_no_docker() {
    let Some(place) = Place::new("the build for ECS with our own tools") else {
        return;
    };
    tree::copy(&root().join("testdata/ecs"), &place.sandbox.source(), &[]);
    let mut command = Command::new(RUNNER);
    command.args([
        "run",
        "--log-format",
        "codebuild",
        "-e",
        "CODEBUILD_RESOLVED_SOURCE_VERSION=0123456789abcdef",
    ]);
    for (name, value) in place.command("env", &[]).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.current_dir(place.sandbox.source());
    let output = command
        .bounded_output()
        .expect("the program can be started");
    let ran = place.sandbox.finish(&output).expect(0);
    let ran = ran
        .stdout_has("\nLogin Succeeded\n")
        .stdout_has("0123456789ab: digest: sha256:");
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(TOKEN));
    // The login was the build's: nothing of it is in the user's configuration.
    assert!(!place.sandbox.path("docker").exists());
    let image = format!("{REGISTRY}/my-ecs-app:0123456789ab");
    place
        .docker(&format!("rmi -f {REGISTRY}/my-ecs-app:latest {image}"))
        .expect(0)
        .stdout_has("Untagged: ");
    place
        .docker(&format!("pull {image}"))
        .expect(0)
        .stdout_has(&format!("\n{image}\n"));
    let page = real_docker(&[
        "run",
        "--rm",
        "--network",
        "none",
        &image,
        "cat",
        "/srv/www/index.html",
    ]);
    assert_eq!(page, "<h1>my-ecs-app</h1>");
    place.docker(&format!("rmi -f {image}")).expect(0);
}

// TOOL-5, TOOL-6
#[test]
fn aws_answers_as_the_real_tool_does() {
    let Some(place) = Place::new("aws of our own") else {
        return;
    };
    let aws = |line: &str| place.run("aws", &line.split(' ').collect::<Vec<&str>>());
    let line = format!("{TOKEN}\n");
    assert_eq!(
        aws("ecr get-login-password --region us-east-1")
            .expect(0)
            .stdout,
        line
    );
    assert_eq!(
        aws("sts get-caller-identity --query Account --output text")
            .expect(0)
            .stdout,
        "123456789012\n"
    );
    aws("sts get-caller-identity")
        .expect(0)
        .stdout_has("    \"Account\": \"123456789012\",\n");
    let login = aws("ecr get-login --no-include-email --region us-east-1")
        .expect(0)
        .stdout;
    assert_eq!(
        login,
        format!("docker login -u AWS -p {TOKEN} https://{REGISTRY}\n")
    );
    // TOOL-9: the old way to log in works, and is warned of.
    let ran = place
        .script("$(aws ecr get-login --no-include-email)")
        .expect(0);
    let ran = ran
        .stdout_has("Login Succeeded\n")
        .stderr_has("WARNING! Using --password via the CLI is insecure.");
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(TOKEN));
    place
        .docker(&format!("logout {REGISTRY}"))
        .expect(0)
        .stdout_has("Removing login credentials for ");
    place
        .docker(&format!("logout {REGISTRY}"))
        .expect(0)
        .stdout_has("Not logged in to ");
}

// TOOL-4, TOOL-5
#[test]
fn aws_that_cannot_answer_says_why() {
    let place = Place::alone();
    let aws = |line: &str, without: &[&str]| {
        let mut command = place.command("aws", &line.split(' ').collect::<Vec<&str>>());
        for name in without {
            command.env_remove(name);
        }
        place
            .sandbox
            .finish(&command.bounded_output().expect("it can be started"))
    };
    aws("ecr get-login-password", &["AWS_REGION"])
        .expect(253)
        .stderr_has("no AWS region is set; pass `--region`");
    aws("ecr get-login-password", &["AWS_ACCESS_KEY_ID"])
        .expect(253)
        .stderr_has("no AWS credentials were found");
    aws("ecr get-login-password", &[])
        .expect(255)
        .stderr_has("could not get a token for your own registry: ");
    aws("--version", &[]).expect(0).stdout_has("aws-cli/2");
}

// TOOL-14: keys of the environment do not take the place of a profile that is not there, and do not come before one that is.
#[test]
fn a_profile_that_is_not_there_is_an_error() {
    let place = Place::alone();
    let config = "[profile here]\nregion = us-east-1\ncredential_process = /bin/busybox false\n";
    fs::create_dir_all(place.sandbox.path("home/.aws")).expect("a directory can be made");
    fs::write(place.sandbox.path("home/.aws/config"), config).expect("a file can be written");
    let aws = |line: &str| place.run("aws", &line.split(' ').collect::<Vec<&str>>());
    for line in [
        "ecr get-login-password --profile nowhere",
        "ecr-public get-login-password --profile nowhere",
        "--profile nowhere sts get-caller-identity",
    ] {
        aws(line)
            .expect(255)
            .stderr_has("The config profile (nowhere) could not be found");
    }
    place
        .script("AWS_PROFILE=nowhere aws sts get-caller-identity")
        .expect(255)
        .stderr_has("The config profile (nowhere) could not be found");
    let ran = aws("sts get-caller-identity --profile here").expect(253);
    assert!(!ran.stderr.contains("could not be found"), "{}", ran.stderr);
}

// TOOL-4
#[test]
fn every_unsupported_command_names_what_is_supported() {
    let place = Place::alone();
    let docker = [
        "run a",
        "compose up",
        "exec a b",
        "manifest create a",
        "build --secret id=a .",
        "buildx create",
        "ps",
        "network ls",
    ];
    for line in docker {
        place
            .docker(line)
            .expect(2)
            .stderr_has("docker push [-a] [-q] NAME[:TAG]")
            .stderr_has("install Docker's CLI");
    }
    for line in [
        "s3 cp a b",
        "ecr describe-repositories",
        "sts assume-role --role-arn x",
        "cloudformation deploy",
    ] {
        let ran = place
            .run("aws", &line.split(' ').collect::<Vec<&str>>())
            .expect(252);
        ran.stderr_has("aws sts get-caller-identity")
            .stderr_has("install the AWS CLI");
    }
}

/// SHA-256 of bytes, in hexadecimal, and as bytes.
fn sha256(content: &[u8]) -> (String, [u8; 32]) {
    use sha2::Digest as _;
    let digest: [u8; 32] = sha2::Sha256::digest(content).into();
    (buildspec_runner::units::hex(&digest), digest)
}

// TOOL-17, TOOL-18
#[test]
fn files_are_hashed_in_the_order_of_their_paths() {
    let place = Place::alone()
        .file("a-b/one.lock", "1")
        .file("a/two.lock", "2")
        .file("a/other", "x")
        .file("sub/here", "");
    let hash = |patterns: &str| {
        let script = format!(
            "CODEBUILD_SRC_DIR=$PWD; export CODEBUILD_SRC_DIR; cd sub && codebuild-hash-files {patterns}"
        );
        place.script(&script).expect(0).stdout
    };
    // `-` stands before `/`: in the order of path components `a` would come first.
    let both = [sha256(b"1").1, sha256(b"2").1].concat();
    let expected = format!("{}\n", sha256(&both).0);
    assert_eq!(hash("'**/*.lock'"), expected);
    assert_eq!(
        hash("a/two.lock 'a*/*.lock' \"$PWD/../a-b/one.lock\""),
        expected
    );
    let single = format!("{}\n", sha256(&sha256(b"2").1).0);
    assert_eq!(hash("a/two.lock"), single);
    assert_ne!(hash("a/two.lock a/other"), single);
    place
        .script("CODEBUILD_SRC_DIR=$PWD/sub codebuild-hash-files 'none/*'")
        .expect(0)
        .stderr_has("codebuild-hash-files: no files found in ")
        .stderr_has(" for `none/*`\n")
        .stdout_has("\n");
    let nothing = place.script("test -z \"$(codebuild-hash-files none 2>&-)\"");
    nothing.expect(0);
}

// TOOL-19, TOOL-20
#[test]
fn files_are_found_below_the_directory() {
    let place = Place::alone()
        .file("src/b.test.js", "")
        .file("src/deep/a.test.js", "")
        .file("src/deep/a.js", "")
        .file(".hidden/c.test.js", "");
    let search = |line: &str| place.script(line).expect(0).stdout;
    assert_eq!(
        search("codebuild-glob-search '**/*.test.js' 'src/*.js'"),
        ".hidden/c.test.js\nsrc/b.test.js\nsrc/deep/a.test.js\n"
    );
    assert_eq!(
        search("cd src/deep && CODEBUILD_SRC_DIR=/ codebuild-glob-search '*' '../*'"),
        "../b.test.js\na.js\na.test.js\n"
    );
    // Directories are none.
    assert_eq!(search("codebuild-glob-search src src/deep 2>&-"), "");
    let none = place.script("codebuild-glob-search '*.py' nowhere/x");
    let none = none
        .expect(0)
        .stderr_has("no files found for `*.py`, `nowhere/x`\n");
    assert_eq!(none.stdout, "");
}

// TOOL-21
#[test]
fn a_command_about_files_that_cannot_be_done_prints_nothing() {
    let place = Place::alone().file("a", "1");
    for name in ["codebuild-hash-files", "codebuild-glob-search"] {
        for line in ["", "--json a", "''"] {
            let ran = place.script(&format!("{name} {line}")).expect(2);
            assert_eq!(ran.stdout, "", "{name} {line}");
            ran.stderr_has(&format!("Usage: {name} PATTERN"));
        }
        place
            .script(&format!("{name} --help"))
            .expect(0)
            .stdout_has("Usage: ");
    }
    // A link to itself is a file that nobody can read.
    place
        .script("ln -s /proc/self/mem b && codebuild-hash-files '*'")
        .expect(1)
        .stderr_has("codebuild-hash-files: could not read ");
}

// TOOL-12
#[test]
fn an_engine_that_is_not_there_is_said() {
    let place = Place::alone().file("Dockerfile", "FROM scratch\n");
    for line in [
        "build .",
        "push a",
        "pull a",
        "images",
        "inspect a",
        "version",
        "save a",
        "tag a b",
        "login -u a -p b",
    ] {
        let mut command = place.command("docker", &line.split(' ').collect::<Vec<&str>>());
        command
            .env("DOCKER_HOST", "unix:///nowhere/engine.sock")
            .env_remove("AWS_ENDPOINT_URL");
        let output = command.bounded_output().expect("it can be started");
        let ran = place.sandbox.finish(&output).expect(1);
        ran.stderr_has("could not reach the container engine at unix:///nowhere/engine.sock");
    }
    place
        .docker("--version")
        .expect(0)
        .stdout_has("Docker version ");
}

// IMG-1: what is wrong with an address does not show the password in it.
#[test]
fn a_password_in_docker_host_is_not_shown() {
    let place = Place::alone();
    let mut command = place.command("docker", &["images"]);
    command.env("DOCKER_HOST", "ssh://me:very-secret@h.example");
    let output = command.bounded_output().expect("it can be started");
    let ran = place.sandbox.finish(&output).expect(1);
    assert!(!ran.stderr.contains("very-secret"), "{}", ran.stderr);
    ran.stderr_has("DOCKER_HOST=ssh://me:***@h.example");
}

// TOOL-7, TOOL-8
#[test]
fn images_are_built_from_every_kind_of_context() {
    let Some(place) = Place::new("builds with docker of our own") else {
        return;
    };
    let dockerfile = "ARG BASE\nFROM $BASE AS one\nARG WHO\nCOPY . /c\nRUN echo $WHO > /who\nFROM one AS two\nRUN test ! -e /c/left-out && test -e /c/kept && cat /who\n";
    let place = place
        .file("app/Dockerfile", dockerfile)
        .file("app/.dockerignore", "left-out\nDockerfile\n")
        .file("app/left-out", "x")
        .file("app/kept", "x")
        .file("other/Dockerfile.two", dockerfile);
    let arguments = "--build-arg BASE=runner-tests-base:1 --build-arg WHO=me";
    place.docker(&format!("build -t runner-tests-tool:a -t runner-tests-tool:b --no-cache --target two --label l=v {arguments} app"))
        .expect(0)
        .stdout_has("\nme\n")
        .stdout_has("Successfully tagged runner-tests-tool:b\n");
    // A Dockerfile that is elsewhere, or on standard input.
    place
        .docker(&format!("build -f other/Dockerfile.two {arguments} app"))
        .expect(0);
    place
        .script(&format!(
            "cat other/Dockerfile.two | docker build -f - {arguments} app"
        ))
        .expect(0);
    place.script("printf 'FROM runner-tests-base:1\\nRUN echo from input\\n' | docker build --no-cache -").expect(0).stdout_has("from input\n");
    let quiet = place
        .docker(&format!("build -q {arguments} app"))
        .expect(0)
        .stdout;
    assert!(
        quiet.starts_with("sha256:") && quiet.lines().count() == 1,
        "{quiet}"
    );
    // TOOL-11
    let label = place
        .docker("inspect --format {{.Config.Labels.l}} runner-tests-tool:a")
        .expect(0)
        .stdout;
    assert_eq!(label, "v\n");
    let real = real_docker(&[
        "inspect",
        "--format",
        "{{.Architecture}} {{json .Config.Cmd}}",
        "runner-tests-tool:a",
    ]);
    let own = place.run(
        "docker",
        &[
            "inspect",
            "--format",
            "{{.Architecture}} {{json .Config.Cmd}}",
            "runner-tests-tool:a",
        ],
    );
    assert_eq!(own.expect(0).stdout.trim(), real);
    assert_eq!(
        place
            .docker("images runner-tests-tool")
            .expect(0)
            .stdout
            .trim(),
        real_docker(&["images", "runner-tests-tool"])
    );
    assert_eq!(
        place
            .docker("images -q runner-tests-tool:a")
            .expect(0)
            .stdout
            .trim(),
        real_docker(&["images", "-q", "runner-tests-tool:a"])
    );
    place
        .docker("inspect runner-tests-none")
        .expect(1)
        .stderr_has("No such object: runner-tests-none");
    place
        .docker("inspect ../containers/create")
        .expect(1)
        .stderr_has("`../containers/create` is no name of an image");
    // The exit code is that of the command that failed.
    let place = place.file("bad/Dockerfile", "FROM runner-tests-base:1\nRUN exit 7\n");
    place
        .docker("build bad")
        .expect(7)
        .stderr_has("returned a non-zero code: 7");
    let place = place.file(
        "kit/Dockerfile",
        "FROM runner-tests-base:1\nRUN --mount=type=cache,target=/x true\n",
    );
    place
        .docker("build kit")
        .expect(1)
        .stderr_has("install Docker's CLI with its buildx plug-in");
    place
        .docker("rmi -f runner-tests-tool:a runner-tests-tool:b")
        .expect(0);
}

// TOOL-10
#[test]
fn images_are_saved_and_loaded() {
    let Some(place) = Place::new("save and load with docker of our own") else {
        return;
    };
    place
        .docker("tag runner-tests-base:1 runner-tests-saved:1")
        .expect(0);
    place
        .docker("save -o image.tar runner-tests-saved:1")
        .expect(0);
    place
        .docker("rmi runner-tests-saved:1")
        .expect(0)
        .stdout_has("Untagged: runner-tests-saved:1\n");
    place
        .docker("load -i image.tar")
        .expect(0)
        .stdout_has("Loaded image: runner-tests-saved:1\n");
    place
        .script("docker save runner-tests-saved:1 | docker load")
        .expect(0)
        .stdout_has("Loaded image");
    place
        .docker("save -o none.tar runner-tests-none:1")
        .expect(1)
        .stderr_has("runner-tests-none");
    place.script("printf '' | docker load").expect(1);
    let left = fs::read_dir(place.sandbox.source())
        .expect("it is there")
        .count();
    assert_eq!(left, 1, "only image.tar");
    place.docker("rmi runner-tests-saved:1").expect(0);
}

// TOOL-9, TOOL-10
#[test]
fn a_registry_that_refuses_is_no_success() {
    let Some(place) = Place::new("refusals with docker of our own") else {
        return;
    };
    place
        .script(&format!(
            "echo wrong-password | docker login --username AWS --password-stdin {REGISTRY}"
        ))
        .expect(1)
        .stderr_has("401 Unauthorized");
    place
        .docker(&format!("logout {REGISTRY}"))
        .expect(0)
        .stdout_has("Not logged in to ");
    place
        .script(&format!(
            "printf '' | docker login --username AWS --password-stdin {REGISTRY}"
        ))
        .expect(1)
        .stderr_has("the password on standard input is empty");
    place
        .docker("push 127.0.0.1:1/none")
        .expect(1)
        .stderr_has("could not push 127.0.0.1:1/none:latest: ");
    place
        .docker("tag runner-tests-base:1 127.0.0.1:1/base")
        .expect(0);
    place
        .docker("push 127.0.0.1:1/base")
        .expect(1)
        .stderr_has("connection refused");
    place.docker("rmi 127.0.0.1:1/base").expect(0);
    place
        .docker(&format!("pull {REGISTRY}/none:1"))
        .expect(1)
        .stderr_has("not found");
    // A token is fetched where nobody logged in.
    place
        .docker(&format!(
            "tag runner-tests-base:1 {REGISTRY}/without-login:1"
        ))
        .expect(0);
    place
        .docker(&format!("push {REGISTRY}/without-login:1"))
        .expect(0)
        .stdout_has("1: digest: sha256:");
    place
        .docker(&format!("rmi {REGISTRY}/without-login:1"))
        .expect(0);
    assert!(!place.sandbox.path("docker").exists());
}

// TOOL-9, TOOL-10: an image to start from is in a registry that wants a login, and nobody logged in.
#[test]
fn a_build_starts_from_an_image_of_ecr_without_a_login() {
    let Some(place) = Place::new("a build from ECR with our own tools") else {
        return;
    };
    let repository = format!("{REGISTRY}/start-from");
    for tag in ["a", "b"] {
        place
            .docker(&format!("tag runner-tests-base:1 {repository}:{tag}"))
            .expect(0);
    }
    let pushed = place.docker(&format!("push -a {repository}")).expect(0);
    pushed
        .stdout_has("a: digest: sha256:")
        .stdout_has("b: digest: sha256:");
    place
        .docker(&format!("rmi {repository}:a {repository}:b"))
        .expect(0);
    place
        .docker(&format!("push -a {repository}"))
        .expect(1)
        .stderr_has("the engine has no image of this name");
    let place = place.file(
        "Dockerfile",
        "ARG FROM\nFROM $FROM/start-from:a\nRUN echo built on it\n",
    );
    place
        .docker(&format!(
            "build --no-cache --pull --build-arg FROM={REGISTRY} ."
        ))
        .expect(0)
        .stdout_has("built on it\n");
    place.docker(&format!("rmi {repository}:a")).expect(0);
    place
        .docker(&format!("pull -q {repository}:b"))
        .expect(0)
        .stdout_has(&format!("{repository}:b\n"));
    place.docker(&format!("rmi {repository}:b")).expect(0);
    assert!(!place.sandbox.path("docker").exists());
}

// TOOL-9, REG-10: in a build our `docker` and Docker's own share what is logged in, and the user's configuration is left
// alone; where the configuration is somebody's own, a login goes into it.
#[test]
fn a_login_is_where_the_credential_helper_finds_it() {
    let Some(place) = Place::new("a login of our own docker in a build") else {
        return;
    };
    let bin = place.sandbox.path("bin");
    let real = buildspec_runner::registry::isolated::HELPER_NAME;
    let buildspec = format!(
        "version: 0.2\nphases:\n  build:\n    commands:\n      - echo {TOKEN} | docker login --username AWS --password-stdin {REGISTRY}\n      - printf {REGISTRY} | {real} get > found\n      - docker logout {REGISTRY}\n      - {real} list\n"
    );
    let place = place.file("buildspec.yml", buildspec);
    let run = |more: &[&str]| {
        let mut command = Command::new(RUNNER);
        command
            .args(["run", "--log-format", "codebuild"])
            .args(more);
        command.env_clear();
        for (name, value) in place.command("env", &[]).get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.current_dir(place.sandbox.source());
        let output = command.bounded_output();
        place.sandbox.finish(&output.expect("it can be started"))
    };
    let ran = run(&[]).expect(0);
    ran.stdout_has("\nLogin Succeeded\n")
        .stdout_has("\nRemoving login credentials for ")
        .stdout_has("\n{}\n");
    let found = fs::read_to_string(place.sandbox.source().join("found")).expect("it is written");
    assert!(found.contains("\"Username\":\"AWS\""), "{found}");
    assert!(!place.sandbox.path("docker").exists());
    // Somebody's own configuration.
    symlink(RUNNER, bin.join(real)).expect("a link can be made");
    place
        .script(&format!(
            "echo {TOKEN} | docker login --username AWS --password-stdin {REGISTRY}"
        ))
        .expect(0);
    let config = place.sandbox.path("docker/config.json");
    let text = fs::read_to_string(&config).expect("it is written");
    assert!(text.contains(REGISTRY), "{text}");
    place.docker(&format!("logout {REGISTRY}")).expect(0);
    let text = fs::read_to_string(&config).expect("it is there");
    assert!(!text.contains(REGISTRY), "{text}");
}

// TOOL-7: 200 MB go by in little memory.
#[test]
fn a_large_context_streams() {
    let Some(place) = Place::new("a large context") else {
        return;
    };
    let place = place.file(
        "Dockerfile",
        "FROM runner-tests-base:1\nCOPY large /large\n",
    );
    let file = fs::File::create(place.sandbox.source().join("large")).expect("a file can be made");
    file.set_len(200_000_000).expect("it can be large");
    let child = Sandbox::spawn(&mut place.command(
        "docker",
        &["build", "--no-cache", "-t", "runner-tests-large:1", "."],
    ));
    let pid = child.id();
    let (send, most) = std::sync::mpsc::channel();
    let watch = std::thread::spawn(move || {
        // Until it is gone; each look has the most there ever was.
        let mut most = 0;
        loop {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let Some(now) =
                line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
            else {
                let _ = send.send(most);
                return;
            };
            most = most.max(now);
            std::thread::yield_now();
        }
    });
    let output = wait::output(child);
    place
        .sandbox
        .finish(&output)
        .expect(0)
        .stdout_has("Successfully tagged runner-tests-large:1");
    let most = most.recv_timeout(wait::LIMIT).expect("it was watched");
    watch.join().expect("it ends");
    assert!((1..64 * 1024).contains(&most), "{most} KiB");
    place.docker("rmi -f runner-tests-large:1").expect(0);
}

// TOOL-3: a command that is killed takes its build with it.
#[test]
fn a_front_that_dies_ends_the_work_behind_it() {
    let Some(place) = Place::new("a front that dies") else {
        return;
    };
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let place = place.file(
        "Dockerfile",
        format!("FROM runner-tests-base:1\nLABEL mark={mark}\nRUN echo begun && sleep 1000\n"),
    );
    let mut child = Sandbox::spawn(&mut place.command("docker", &["build", "--no-cache", "."]));
    let stdout = child.stdout.take().expect("it is a pipe");
    let _open = wait::read_until(stdout, "begun");
    let filter = format!("label=mark={mark}");
    let running = |filter: &str| real_docker(&["ps", "-q", "--filter", filter]);
    // The engine passes the first output on before it lists the container as running.
    let listed = filter.clone();
    wait::until("the command is listed", move || {
        !running(&listed).is_empty()
    });
    child.kill().expect("it can be ended");
    wait::end(child);
    wait::until("the engine breaks the build off", move || {
        running(&filter).is_empty()
    });
}

/// A back of ours on a socket, as a container's commands find it.
struct Back {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Back {
    fn new(place: &Place) -> Self {
        use buildspec_runner::engine::{Endpoint, EndpointSettings};
        use buildspec_runner::registry::Settings;
        use buildspec_runner::tool::{Backend, Logins, serve};
        let socket = place.sandbox.path("tool.sock");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        let settings = EndpointSettings {
            host: std::env::var("DOCKER_HOST").ok(),
            ..EndpointSettings::default()
        };
        let endpoint = Endpoint::find(&settings).expect("there is an engine");
        // What the runner's own environment has for this test.
        let home = place.sandbox.path("back");
        let settings = Settings::new(
            vec![("HOME".into(), home.into_os_string())],
            buildspec_runner::aws::Settings::default(),
        );
        let backend = Backend::new(endpoint, Logins::in_memory(), settings);
        let backend = std::sync::Arc::new(backend);
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(&socket).expect("a socket can be made")
        };
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let backend = std::sync::Arc::clone(&backend);
                tokio::spawn(async move { serve(stream, &backend).await });
            }
        });
        Self { socket, runtime }
    }
}

impl Back {
    /// Runs a script whose commands have only the socket.
    fn script(&self, place: &Place, script: &str) -> Ran {
        let mut command = place.command("sh", &["-ec", script]);
        for name in ["DOCKER_HOST", "AWS_ENDPOINT_URL", "DOCKER_CONFIG"] {
            command.env_remove(name);
        }
        command.env("RUNNER_TOOL_SOCKET", &self.socket);
        let output = command.bounded_output();
        place.sandbox.finish(&output.expect("it can be started"))
    }
}

/// What a command says of an image that is not the build's.
const NOT_OWN: &str = "this build did not build, pull, load or tag it";

// TOOL-13: a build in a container has those images of the engine that it made, and no others.
#[test]
fn a_build_in_a_container_has_its_own_images_only() {
    let Some(place) = Place::new("images of a build in a container") else {
        return;
    };
    // Somebody else's: an image with a name of its own, and a container.
    let theirs = "runner-tests-theirs:1";
    real_docker(&["tag", "runner-tests-base:1", theirs]);
    let id = real_docker(&["image", "inspect", "--format", "{{.Id}}", theirs]);
    let container = real_docker(&["create", theirs, "/bin/sh"]);
    let back = Back::new(&place);
    let short = id.trim_start_matches("sha256:").get(..12).expect("an id");
    for line in [
        format!("inspect {theirs}"),
        format!("inspect {short}"),
        format!("image inspect {id}"),
        format!("rmi -f {theirs}"),
        format!("rmi -f {short}"),
        format!("tag {theirs} runner-tests-mine:1"),
        format!("save -o x.tar {theirs}"),
        "save -o x.tar runner-tests-theirs".to_owned(),
        format!("push {theirs}"),
        "push -a runner-tests-theirs".to_owned(),
    ] {
        let ran = back.script(&place, &format!("docker {line}")).expect(1);
        assert!(ran.stderr.contains(NOT_OWN), "{line}: {}", ran.stderr);
        assert!(!ran.stdout.contains("\"Id\""), "{line}");
        ran.stderr_has("--engine-socket");
    }
    back.script(&place, &format!("docker inspect {container}"))
        .expect(1)
        .stderr_has("No such object: ");
    back.script(&place, "docker rmi -f runner-tests-none")
        .expect(0);
    assert_eq!(
        back.script(&place, "docker images -aq").expect(0).stdout,
        ""
    );
    let about = back.script(&place, "docker info --format '{{json .}}'");
    let about = about.expect(0).stdout_has("ServerVersion");
    assert!(!about.stdout.contains("Containers"), "{}", about.stdout);
    back.script(
        &place,
        &format!("docker build --network container:{container} ."),
    )
    .expect(1);
    // A build may start from it, and what it comes to is the build's.
    let place = place.file("Dockerfile", format!("FROM {theirs}\nLABEL of=mine\n"));
    let script = format!(
        "echo {TOKEN} | docker login --username AWS --password-stdin {REGISTRY}
docker build -t runner-tests-mine:1 .
docker inspect runner-tests-mine:1
docker tag runner-tests-mine:1 {REGISTRY}/mine:1
docker push {REGISTRY}/mine:1
docker push -a {REGISTRY}/mine
docker inspect --format '{{{{index .RepoDigests 0}}}}' {REGISTRY}/mine:1
docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}'
docker save -o mine.tar runner-tests-mine
docker rmi runner-tests-mine:1 {REGISTRY}/mine:1
docker load -i mine.tar
docker inspect --format '{{{{.Config.Labels.of}}}}' runner-tests-mine:1
docker pull {REGISTRY}/mine:1
docker rmi {REGISTRY}/mine:1
docker rmi $(docker images -q runner-tests-mine)
echo left: $(docker images -q)"
    );
    back.script(&place, &script)
        .expect(0)
        .stdout_has(&format!("\n{REGISTRY}/mine:1\n"))
        .stdout_has("\nrunner-tests-mine:1\n")
        .stdout_has("\nmine\n")
        .stdout_has("\nleft:\n");
    // The same image as somebody else's: its own name goes, theirs stays, and is not told.
    let place = place.file("Dockerfile", format!("FROM {theirs}\n"));
    let names = "docker build -q -t runner-tests-mine:2 . && docker inspect --format '{{json .RepoTags}}' runner-tests-mine:2";
    back.script(&place, names)
        .expect(0)
        .stdout_has("\n[\"runner-tests-mine:2\"]\n");
    back.script(&place, &format!("docker rmi -f {short}"))
        .expect(1)
        .stderr_has("names that this build did not give it");
    back.script(&place, "docker rmi runner-tests-mine:2")
        .expect(0);
    let still = real_docker(&["image", "inspect", "--format", "{{.Id}}", theirs]);
    assert_eq!(still, id);
    // Somebody gives a name of the build to another image.
    let place = place.file("Dockerfile", format!("FROM {theirs}\nLABEL of=both\n"));
    back.script(&place, "docker build -t runner-tests-mine:3 .")
        .expect(0);
    place
        .docker("build -t runner-tests-mine:4 --label l=v .")
        .expect(0);
    real_docker(&["tag", "runner-tests-mine:4", "runner-tests-mine:3"]);
    back.script(&place, "docker inspect runner-tests-mine:3")
        .expect(1)
        .stderr_has(NOT_OWN);
    real_docker(&["rm", &container]);
    real_docker(&[
        "rmi",
        "-f",
        theirs,
        "runner-tests-mine:3",
        "runner-tests-mine:4",
    ]);
}

// TOOL-15: what the user has for a registry is not given into a container.
#[test]
fn passwords_of_the_user_do_not_go_into_a_container() {
    let place = Place::alone();
    fs::create_dir_all(place.sandbox.path("back/.docker")).expect("a directory can be made");
    let config = r#"{"auths":{"h.example":{"auth":"bWU6dmVyeS1zZWNyZXQ="},"https://index.docker.io/v1/":{"auth":"bWU6dmVyeS1zZWNyZXQ="}}}"#;
    fs::write(place.sandbox.path("back/.docker/config.json"), config)
        .expect("a file can be written");
    let helper = buildspec_runner::registry::isolated::HELPER_NAME;
    symlink(RUNNER, place.sandbox.path("bin").join(helper)).expect("a link can be made");
    let back = Back::new(&place);
    for server in ["h.example", "https://index.docker.io/v1/"] {
        let ran = back.script(&place, &format!("printf {server} | {helper} get"));
        let ran = ran
            .expect(1)
            .stdout_has("credentials not found in native keychain");
        assert!(!ran.stdout.contains("very-secret"), "{}", ran.stdout);
    }
}

// TOOL-14: a profile of the user's that runner was not given is none for a build in a container.
#[test]
fn a_build_in_a_container_has_no_other_profile() {
    let place = Place::alone();
    fs::create_dir_all(place.sandbox.path("back/.aws")).expect("a directory can be made");
    let config = "[profile production]\nregion = us-east-1\n";
    fs::write(place.sandbox.path("back/.aws/config"), config).expect("a file can be written");
    let back = Back::new(&place);
    back.script(&place, "aws sts get-caller-identity --profile production")
        .expect(255)
        .stderr_has("The config profile (production) could not be found")
        .stderr_has("the profile that runner itself was given");
}

// TOOL-2, TOOL-3, TOOL-9: commands that have only a socket; what one logs in with serves the next.
#[test]
fn commands_reach_the_engine_through_a_socket_only() {
    let Some(place) = Place::new("commands through a socket") else {
        return;
    };
    let place = place.file("Dockerfile", "FROM runner-tests-base:1\nRUN echo through\n");
    let back = Back::new(&place);
    let through = |line: &str| back.script(&place, line);
    through(&format!(
        "echo {TOKEN} | docker login --username AWS --password-stdin {REGISTRY}"
    ))
    .expect(0)
    .stdout_has("Login Succeeded\n");
    assert!(!place.sandbox.path("home/.docker").exists());
    let image = format!("{REGISTRY}/through:1");
    through(&format!("docker build --no-cache --push -t {image} ."))
        .expect(0)
        .stdout_has("through\n")
        .stdout_has("1: digest: sha256:");
    through(&format!("docker rmi -f {image}")).expect(0);
    through("docker run x").expect(2);
    let Back { socket, runtime } = back;
    // Only what is back from here has closed the socket; what connects before may be cut off in the middle.
    runtime.shutdown_timeout(wait::LIMIT);
    let mut command = place.command("docker", &["images"]);
    command.env("RUNNER_TOOL_SOCKET", socket);
    let ran = place
        .sandbox
        .finish(&command.bounded_output().expect("it can be started"));
    ran.expect(1)
        .stderr_has("docker: the build is over, and with it the runner that answers this `docker`");
}
