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

use support::aws::{Bucket, command, endpoint};
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

// CMD-1, CMD-2, ENV-5, ART-11, ART-15, LOG-15: the main job, from a commit to an image and a file for the deploy stage.
#[test]
fn an_image_goes_to_ecr_and_its_definition_to_s3() {
    let Some(endpoint) = services("the build for Amazon ECS") else {
        return;
    };
    import_base();
    let bucket = Bucket::new(&endpoint, "ecs-artifacts");
    let sandbox = copy_project(None);
    let commit = commit(&sandbox);
    let arguments = [
        "run",
        "--log-format",
        "codebuild",
        "--packaging",
        "zip",
        "--artifacts",
        "s3://ecs-artifacts/my-pipeline",
        "--project",
        "my-ecs-app",
        "--events",
        "../events.jsonl",
        "-v",
    ];
    let ran = run(&sandbox, &endpoint, &arguments)
        .expect(0)
        .stdout_has("\nLogin Succeeded\n");
    let image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-ecs-app";
    let tag = &commit[..12];
    let page = expect_image(
        &sandbox,
        image,
        tag,
        &ran.stdout,
        &["cat", "/srv/www/index.html", "/srv/www/built.txt"],
    );
    assert_eq!(page, "<h1>my-ecs-app</h1>\nbuilt\n");
    let definitions = stored_file(&bucket, "my-pipeline/my-ecs-app", "imagedefinitions.json");
    let expected = format!(r#"[{{"name":"my-ecs-app-container","imageUri":"{image}:{tag}"}}]"#);
    assert_eq!(definitions, expected);
    let events = fs::read_to_string(sandbox.path("events.jsonl")).expect("it was written");
    assert!(!format!("{}{}{events}", ran.stdout, ran.stderr).contains(TOKEN));
    assert!(sandbox.leftovers().is_empty());
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
    let sandbox = copy_project(None).file("../tools/aws", "#!/bin/sh\necho wrong-password\n");
    commit(&sandbox);
    let tools = sandbox.path("tools");
    fs::set_permissions(
        tools.join("aws"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("permissions can be set");
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
