//! The source and artifacts: what goes into a container and what comes back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::support::container::{busybox, command, containers, engine_socket, in_own_mounts, run};
use crate::support::engine::Proxy;
use crate::support::sandbox::Sandbox;
use crate::support::tree;
use crate::support::wait::Bounded as _;

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
    crate::support::copy_runner(&program);
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
        let stored = tree::files(
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
        assert_eq!(tree::files(&root), ["fine", "inside"], "{how}");
    }
}

/// CTR-44: a link with an absolute path leads to what is at that path in the container, wherever the link is on the way.
#[test]
fn absolute_links_lead_to_places_of_the_container() {
    let Some(image) = busybox("container") else {
        return;
    };
    let text = "version: 0.2
phases:
  build:
    commands:
      - mkdir -p out real/deep /opt/out && echo one > real/deep/one && echo two > real/two && echo three > /opt/out/three
      - ln -s $CODEBUILD_SRC_DIR/real out/directory && ln -s $CODEBUILD_SRC_DIR/real/two out/two
      - ln -s /etc/hostname out/hostname && ln -s $CODEBUILD_SRC_DIR/out base
      - ln -s $CODEBUILD_SRC_DIR/real /opt/out/back
artifacts:
  base-directory: base
  files: ['**/*', '/opt/out/**/*']
";
    let expected = [
        "directory/deep/one",
        "directory/two",
        "opt/out/back/deep/one",
        "opt/out/back/two",
        "opt/out/three",
        "two",
    ];
    for how in ["bind", "copy"] {
        let sandbox = Sandbox::with_buildspec(text);
        let ran = run(&sandbox, &image, &["--mount-source", how]).expect(0);
        ran.stderr_has("hostname leads nowhere: it is not stored");
        let root = sandbox.source().join(".runner/artifacts");
        let root = root.join(sandbox.project());
        assert_eq!(tree::files(&root), expected, "{how}");
        let content = fs::read_to_string(root.join("directory/deep/one"));
        assert_eq!(content.expect("it is stored"), "one\n");
    }
}

/// CTR-44: what this machine has under a name of the container's is not looked at for hints either.
#[test]
fn hints_are_about_the_container() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::new();
    let machine = sandbox.path("machine");
    fs::create_dir_all(machine.join("secret-name")).expect("a directory can be made");
    let machine = machine.display();
    let text = format!(
        "version: 0.2
phases:
  build:
    commands: [echo one > one && ln -s {machine} link && mkdir -p {machine}]
artifacts:
  files: [one, link/secret-nam/x, {machine}/secret-nam/x]
"
    );
    let sandbox = sandbox.file("buildspec.yml", text);
    let ran = run(&sandbox, &image, &[]).expect(0);
    assert!(!ran.stderr.contains("secret-name"), "{}", ran.stderr);
    ran.stderr_has("secret-nam/x` matched no file");
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
    let output = in_own_mounts(&sandbox, &inner, own).bounded_output();
    let output = output.expect("unshare can be started");
    let ran = sandbox.finish(&output).expect(0);
    assert_eq!(ran.stdout, "0\nmade\n");
    assert!(!sandbox.source().join("made").exists());
    let found = fs::metadata(&other).expect("it is there");
    assert_eq!(found.uid(), 65534, "given to somebody else");
    assert_eq!(containers(&sandbox), Vec::<String>::new());
}
