//! What a source that was copied is afterwards, and what it is while files come back.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::container::{
    Started, busybox, command, containers, docker, engine_socket, in_own_mounts, run, start,
};
use crate::support::sandbox::Sandbox;
use crate::support::tree;
use crate::support::wait::{self, Bounded as _};

/// Waits in the container until [`go_on`].
const WAIT: &str = "echo READY; until [ -e /go ]; do sleep 0.05; done";

const COPY: [&str; 2] = ["--mount-source", "copy"];

fn go_on(sandbox: &Sandbox) {
    for container in containers(sandbox) {
        docker(&["exec", &container, "touch", "/go"]);
    }
}

fn ready(sandbox: &Sandbox, image: &str, arguments: &[&str]) -> Started {
    start(sandbox, image, "READY", &[&COPY[..], arguments].concat())
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    fs::read_to_string(sandbox.source().join(name)).unwrap_or_else(|error| format!("{error}"))
}

/// Mode, user, group, links, size, blocks, time in seconds and nanoseconds, content.
type Facts = (u32, u32, u32, u64, u64, u64, i64, i64, Vec<u8>);

/// What files are, with all that copying could change. The time of directories is the caller's own work.
fn snapshot(source: &Path) -> BTreeMap<String, Facts> {
    let mut names = tree::files(source);
    names.extend(["empty", "deep"].map(str::to_owned));
    let of = |name: String| {
        let path = source.join(&name);
        let found = fs::symlink_metadata(&path).expect("it is there");
        let (time, nanos) = if found.is_dir() {
            (0, 0)
        } else {
            (found.mtime(), found.mtime_nsec())
        };
        let content = if found.is_file() {
            fs::read(&path).expect("it can be read")
        } else {
            Vec::new()
        };
        let facts = (
            found.mode(),
            found.uid(),
            found.gid(),
            found.nlink(),
            found.size(),
            found.blocks(),
            time,
            nanos,
            content,
        );
        (name, facts)
    };
    names.into_iter().map(of).collect()
}

/// CTR-60: what a build did not touch is as it was: times to the nanosecond, links, holes, special bits, owners.
#[test]
fn what_is_not_touched_stays_as_it_is() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox =
        Sandbox::with_commands(&["ls -i one two | cut -d' ' -f1 | uniq | wc -l; echo new > made"])
            .file("one", "linked")
            .file("deep/theirs", "theirs")
            .file("old", "old")
            .file("set", "set");
    let at = |name: &str| sandbox.source().join(name);
    fs::hard_link(at("one"), at("two")).expect("a link can be made");
    fs::create_dir(at("empty")).expect("a directory can be made");
    let mode = |name: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(at(name), mode).expect("it can be set");
    };
    mode("empty", 0o1777);
    mode("set", 0o4755);
    std::os::unix::fs::chown(at("deep/theirs"), Some(1234), Some(4321)).expect("tests run as root");
    let sparse = fs::File::create(at("sparse")).expect("it can be made");
    sparse.set_len(10_000_000).expect("it can have holes");
    std::os::unix::fs::symlink("nowhere", at("dangling")).expect("a link can be made");
    let before = snapshot(&sandbox.source());
    let ran = run(&sandbox, &image, &COPY).expect(0);
    // The two names of one file are that in the build too.
    assert!(ran.stdout.contains("\n1\n"), "{}", ran.stdout);
    let mut after = snapshot(&sandbox.source());
    assert!(after.remove("made").is_some());
    assert_eq!(before, after);
}

/// CTR-60: what a build does change has the time that it has in the build, and other names of a file stay.
#[test]
fn what_is_changed_is_as_the_build_left_it() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "echo more >> one && touch -d '2001-02-03 04:05:06' touched && chmod 640 mode && rm -r gone",
        "mkdir file && echo below > file/below && rm -r folder && echo file > folder",
    ])
    .file("one", "linked ")
    .file("touched", "")
    .file("mode", "")
    .file("gone/below", "")
    .file("folder/below", "");
    let sandbox = sandbox.file("plain", "stays");
    let at = |name: &str| sandbox.source().join(name);
    fs::hard_link(at("one"), at("two")).expect("a link can be made");
    let found = |name: &str| fs::symlink_metadata(at(name)).expect("it is there");
    run(&sandbox, &image, &COPY).expect(0);
    assert_eq!(read(&sandbox, "two"), "linked more\n");
    assert_eq!(found("one").ino(), found("two").ino());
    assert_eq!(found("touched").mtime() / 86_400, 11_356);
    assert_eq!(found("mode").mode() & 0o777, 0o640);
    assert_eq!(read(&sandbox, "file/below"), "below\n");
    assert_eq!(read(&sandbox, "folder"), "file\n");
    assert!(!at("gone").exists());
}

/// CTR-56, CTR-57: what the caller changes while the build runs stays theirs, and nothing of the build's is lost.
#[test]
fn what_the_caller_changes_meanwhile_stays() {
    let Some(image) = busybox("container") else {
        return;
    };
    let text = format!(
        "version: 0.2
phases:
  build:
    commands:
      - '{WAIT}'
      - echo build > both && echo build > new && rm removed && rm -r dropped && mkdir -p turned && echo x > turned/x
artifacts:
  files: [both, new, turned/x, theirs]
"
    );
    let sandbox = Sandbox::with_buildspec(&text)
        .file("both", "before")
        .file("edited", "before")
        .file("removed", "before")
        .file("dropped/one", "before");
    let build = ready(&sandbox, &image, &[]);
    for (name, content) in [
        ("both", "mine, and longer"),
        ("edited", "mine"),
        ("removed", "mine"),
        ("added", "mine"),
        ("new", "mine"),
        ("dropped/two", "mine"),
        ("turned", "a file here"),
    ] {
        fs::write(sandbox.source().join(name), content).expect("it can be written");
    }
    go_on(&sandbox);
    let ran = build.finish(&sandbox).expect(0);
    let ran = ran
        .stderr_has("both was changed here while the build ran, and in the build too")
        .stderr_has("removed was changed here while the build ran, and removed in the build");
    for (name, content) in [
        ("both", "mine, and longer"),
        ("edited", "mine"),
        ("removed", "mine"),
        ("added", "mine"),
        ("new", "mine"),
        ("dropped/two", "mine"),
        ("turned", "a file here"),
    ] {
        assert_eq!(read(&sandbox, name), content, "{name}");
    }
    assert!(!sandbox.source().join("dropped/one").exists());
    let names = tree::files(&sandbox.source());
    let beside = |name: &str| {
        let prefix = format!("{name}.from-build-");
        let found = names.iter().find(|found| found.starts_with(&prefix));
        found.unwrap_or_else(|| panic!("{name}: {names:?}, {}", ran.stderr))
    };
    assert_eq!(read(&sandbox, beside("both")), "build\n");
    assert_eq!(read(&sandbox, beside("new")), "build\n");
    assert!(beside("turned").ends_with("/x"));
    // Artifacts are what the build made.
    let stored = sandbox
        .source()
        .join(".runner/artifacts")
        .join(sandbox.project());
    let content = |name: &str| fs::read_to_string(stored.join(name)).expect("it is stored");
    assert_eq!(
        (content("both"), content("new")),
        ("build\n".into(), "build\n".into())
    );
    assert_eq!(tree::files(&stored), ["both", "new", "turned/x"]);
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

/// CTR-58: builds of one source bring back what is theirs, and nothing of each other's is lost.
#[test]
fn two_builds_copy_one_source() {
    let Some(image) = busybox("container") else {
        return;
    };
    let make = "for i in $(seq 1 200); do echo $WHO-$i > $WHO-$i; done; mkdir -p out; echo $WHO > out/$WHO";
    let mut sandbox = Sandbox::with_commands(&[make, WAIT]);
    for number in 0..100 {
        sandbox = sandbox.file(&format!("before/{number}"), format!("before {number}"));
    }
    let builds =
        ["A", "B", "C"].map(|who| ready(&sandbox, &image, &["--env", &format!("WHO={who}")]));
    go_on(&sandbox);
    for build in builds {
        build.finish(&sandbox).expect(0);
    }
    for who in ["A", "B", "C"] {
        assert_eq!(read(&sandbox, &format!("out/{who}")), format!("{who}\n"));
        for number in 1..=200 {
            let name = format!("{who}-{number}");
            assert_eq!(read(&sandbox, &name), format!("{name}\n"));
        }
    }
    for number in 0..100 {
        assert_eq!(
            read(&sandbox, &format!("before/{number}")),
            format!("before {number}")
        );
    }
    assert_eq!(tree::files(&sandbox.source()).len(), 1 + 100 + 3 * 201);
}

/// CTR-59: what a build staged that was killed goes with the next copy, and with `runner prune`, and does not go in.
#[test]
fn what_was_staged_goes_with_the_next_copy() {
    let Some(image) = busybox("container") else {
        return;
    };
    let abandoned = format!(".runner-{}", "0".repeat(32));
    let sandbox = Sandbox::with_commands(&["ls -A . deep"])
        .file(&format!("{abandoned}/1"), "half")
        .file(&format!("deep/{abandoned}/1"), "half")
        .file("runner-incoming", "a name like any other");
    let ran = run(&sandbox, &image, &COPY).expect(0);
    assert!(!ran.stdout.contains(&abandoned), "{}", ran.stdout);
    assert_eq!(
        tree::files(&sandbox.source()),
        ["buildspec.yml", "runner-incoming"]
    );
    fs::create_dir(sandbox.source().join(&abandoned)).expect("a directory can be made");
    let mut prune = sandbox.command(["prune"]);
    prune.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    let output = prune.bounded_output().expect("it starts");
    sandbox.finish(&output).expect(0).stdout_has(&abandoned);
    assert!(!sandbox.source().join(&abandoned).exists());
}

/// CTR-61: where files cannot be copied back it is said which, and they stay where they are; also after a stop.
#[test]
fn what_does_not_come_back_is_kept_and_said() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "echo result > result; head -c 2000000 /dev/urandom > alarge; echo READY; sleep 100",
    ]);
    let inner = command(&sandbox, &image, &COPY);
    let own = r#"mount -t tmpfs -o size=1m tmpfs "$PWD" && cd "$PWD" && printf '%s' "$BUILDSPEC" > buildspec.yml && exec "$@""#;
    let mut child = in_own_mounts(&sandbox, &inner, own)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare can be started");
    let stdout = child.stdout.take().expect("it writes to a pipe");
    let build = Started {
        child: Some(child),
        rest: Some(wait::read_until(stdout, "READY")),
    };
    build.signal(Signal::TERM);
    let ran = build
        .finish(&sandbox)
        .expect(143)
        .stderr_has("not all of the source was copied back")
        .stderr_has("alarge: ")
        .stderr_has("which is kept");
    let kept = containers(&sandbox);
    assert_eq!(kept.len(), 1, "{}", ran.stderr);
    let mut copy = Command::new("docker");
    let place = docker(&["inspect", "--format", "{{.Config.WorkingDir}}", &kept[0]]);
    copy.args(["cp", &format!("{}:{place}/result", kept[0]), "-"]);
    let copied = copy.bounded_output().expect("docker can be started");
    docker(&["rm", "-f", &kept[0]]);
    let mut text = String::new();
    let mut archive = tar::Archive::new(copied.stdout.as_slice());
    let mut entries = archive.entries().expect("an archive");
    let mut entry = entries.next().expect("a file").expect("a whole one");
    entry.read_to_string(&mut text).expect("a text");
    assert_eq!(text, "result\n");
}

/// CTR-62: what a process changes again and again while it is copied is no fault.
#[test]
fn a_background_process_may_change_files_meanwhile() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "(while :; do rm -rf d; mkdir -p d; for i in 1 2 3 4 5 6 7 8 9; do echo x > d/$i; done; done) > /dev/null 2>&1 &",
        "head -c 20000000 /dev/urandom > big; mkdir many; for i in $(seq 1 500); do echo $i > many/$i; done",
    ]);
    for _ in 0..3 {
        run(&sandbox, &image, &COPY).expect(0);
        let many = tree::files(&sandbox.source().join("many"));
        assert_eq!(many.len(), 500);
        fs::remove_dir_all(sandbox.source().join("many")).expect("it is the caller's");
    }
}

/// CTR-4, CTR-63, CTR-64: root's builds of somebody else's source, and somebody's own: whose it is afterwards.
#[test]
fn everybody_keeps_what_is_theirs() {
    let Some(image) = busybox("container") else {
        return;
    };
    let commands = [
        "echo more >> mine && echo more >> theirs && mkdir -p made/deep && echo new > made/deep/file",
        "chown -R 55:66 made && chgrp 77 grouped && chmod -R a-w made",
    ];
    for how in ["bind", "copy"] {
        let sandbox = Sandbox::with_commands(&commands)
            .file("mine", "")
            .file("theirs", "")
            .file("untouched", "")
            .file("grouped", "");
        let at = |name: &str| sandbox.source().join(name);
        for name in ["", "mine", "grouped", "buildspec.yml"] {
            std::os::unix::fs::chown(at(name), Some(1000), Some(1001)).expect("tests run as root");
        }
        for name in ["theirs", "untouched"] {
            std::os::unix::fs::chown(at(name), Some(2000), Some(2001)).expect("tests run as root");
        }
        run(&sandbox, &image, &["--mount-source", how, "--quiet"]).expect(0);
        let whose = |name: &str| {
            let found = fs::symlink_metadata(at(name)).expect("it is there");
            (found.uid(), found.gid())
        };
        for name in ["mine", "made", "made/deep", "made/deep/file", "grouped"] {
            assert_eq!(whose(name), (1000, 1001), "{name} with {how}");
        }
        for name in ["theirs", "untouched"] {
            assert_eq!(whose(name), (2000, 2001), "{name} with {how}");
        }
        let mode = fs::metadata(at("made/deep")).expect("it is there").mode();
        assert_eq!(mode & 0o700, 0o700, "{how}");
    }
}

/// CTR-64: the caller can remove what a build made read-only.
#[test]
fn what_a_build_made_read_only_can_be_removed() {
    let Some(image) = busybox("container") else {
        return;
    };
    let group = fs::metadata(engine_socket())
        .expect("the engine has a socket")
        .gid();
    for how in ["bind", "copy"] {
        let sandbox = Sandbox::with_commands(&[
            "mkdir -p pkg/mod/x && echo m > pkg/mod/x/f && chmod -R a-w pkg",
        ]);
        let nobody = 65534;
        for directory in ["", "source", "home", "state", "tmp", "source/buildspec.yml"] {
            std::os::unix::fs::chown(sandbox.path(directory), Some(nobody), Some(nobody))
                .expect("tests run as root");
        }
        let program = sandbox.path("runner");
        crate::support::copy_runner(&program);
        let usual = command(&sandbox, &image, &["--mount-source", how, "--quiet"]);
        let mut build = Command::new(&program);
        build
            .args(usual.get_args())
            .current_dir(sandbox.source())
            .env_clear()
            .envs(
                usual
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .uid(nobody)
            .gid(group);
        let output = build.bounded_output().expect("it starts");
        sandbox.finish(&output).expect(0);
        let removed = Command::new("rm")
            .args(["-rf", &sandbox.source().join("pkg").display().to_string()])
            .uid(nobody)
            .gid(nobody)
            .bounded_output()
            .expect("rm can be started");
        assert!(removed.status.success(), "{how}: {removed:?}");
    }
}

/// CTR-65: files of the container need not fit into a small file system in memory.
#[test]
fn artifacts_from_elsewhere_do_not_go_through_memory() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2
phases:
  build:
    commands: [mkdir -p /opt/out && head -c 3000000 /dev/zero > /opt/out/file]
artifacts:
  files: ['/opt/out/*']
",
    );
    let small = sandbox.path("small");
    fs::create_dir(&small).expect("a directory can be made");
    let mut inner = command(&sandbox, &image, &["--quiet", "--mount-source", "copy"]);
    inner.env("XDG_RUNTIME_DIR", &small);
    let own = r#"mount -t tmpfs -o size=1m tmpfs "$XDG_RUNTIME_DIR" && "$@""#;
    let output = in_own_mounts(&sandbox, &inner, own).bounded_output();
    sandbox
        .finish(&output.expect("unshare can be started"))
        .expect(0);
}
