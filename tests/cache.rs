//! The cache: restored, saved, kept and removed, in a directory and in buckets.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use buildspec_runner::cache::{CacheDirectory, CacheStore, Unfinished};
use buildspec_runner::store::Stop;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::Digest as _;
use support::aws::{Bucket, GoBetween, Verdict, command, endpoint, s3_error};
use support::sandbox::{Ran, Sandbox, files_below};
use support::wait::{self, Bounded as _};
use support::{events, tree};

/// A build whose commands are these, with this `cache`.
fn project(commands: &[&str], cache: &str) -> Sandbox {
    let items: Vec<String> = commands
        .iter()
        .map(|command| format!("      - {command}\n"))
        .collect();
    Sandbox::with_buildspec(&format!(
        "version: 0.2\nphases:\n  build:\n    commands:\n{}cache:\n{cache}",
        items.concat()
    ))
}

/// A build that makes what it caches unless it is there.
fn downloads(cache: &str) -> Sandbox {
    project(
        &[
            "test -e deps/one && echo restored || { mkdir -p deps/sub; echo 1 > deps/one; echo 2 > deps/sub/two; }",
        ],
        cache,
    )
}

const PATHS: &str = "  paths: ['deps/**/*']\n";

fn place(sandbox: &Sandbox) -> String {
    sandbox.path("cache").display().to_string()
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let place = place(sandbox);
    let arguments = [
        &["run", "--log-format", "codebuild", "--cache", &place],
        arguments,
    ]
    .concat();
    sandbox.run(arguments)
}

fn forget(sandbox: &Sandbox) {
    let _ = fs::remove_dir_all(sandbox.source().join("deps"));
}

/// The archives that are kept, by their names.
fn archives(sandbox: &Sandbox) -> Vec<String> {
    let mut files = tree::files(&sandbox.path("cache"));
    files.retain(|file| file.ends_with(".tar.zst"));
    files
}

fn archive(sandbox: &Sandbox) -> PathBuf {
    let names = archives(sandbox);
    assert_eq!(names.len(), 1, "{names:?}");
    sandbox.path("cache").join(&names[0])
}

fn has_not(ran: &Ran, text: &str) {
    assert!(!ran.stdout.contains(text), "{text:?} in\n{}", ran.stdout);
}

// CACHE-2, CACHE-10, CACHE-12, CACHE-14, CACHE-15
#[test]
fn what_one_build_saves_the_next_one_has() {
    let sandbox = downloads(PATHS);
    run(&sandbox, &[])
        .expect(0)
        .stdout_has("Expanded cache path deps/**/*\n")
        .stdout_has("Unable to download cache: nothing is saved yet\n")
        .stdout_has("Cache saved: 2 files, 4 B, archive of ");
    forget(&sandbox);
    let ran = run(&sandbox, &[])
        .expect(0)
        .stdout_has("\nrestored\n")
        .stdout_has("Cache restored: 2 files, 4 B, archive of ")
        .stdout_has("Cache not saved: nothing has changed\n");
    let order = [
        "Moving to directory",
        "Expanded cache path",
        "Downloading S3 cache...",
        "Unarchiving cache...",
        "Cache restored: ",
        "Registering with agent",
        "Phase complete: DOWNLOAD_SOURCE",
    ];
    let places: Vec<_> = order.iter().map(|line| ran.stdout.find(line)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{}", ran.stdout);
    // The same content with another time is not stored again; other content is.
    let path = archive(&sandbox);
    let before = fs::metadata(&path).expect("it is there").ino();
    let edit = |command: &str| {
        let text = format!(
            "version: 0.2\nphases:\n  build:\n    commands: ['{command}']\ncache:\n{PATHS}"
        );
        fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
        run(&sandbox, &[]).expect(0)
    };
    edit("touch -d 2001-01-01 deps/one").stdout_has("Cache not saved: nothing has changed\n");
    assert_eq!(fs::metadata(&path).expect("it is there").ino(), before);
    edit("chmod 700 deps/one").stdout_has("Cache saved: ");
    edit("rm deps/one").stdout_has("Cache saved: 1 file, ");
    edit("touch deps/three").stdout_has("Cache saved: 2 files, ");
    assert_ne!(
        fs::metadata(archive(&sandbox)).expect("it is there").ino(),
        before
    );
    assert!(sandbox.leftovers().is_empty());
}

// CACHE-15: what is there beside what was restored is saved too.
#[test]
fn files_that_were_there_before_are_saved() {
    let sandbox = downloads(PATHS);
    run(&sandbox, &[]).expect(0);
    fs::write(sandbox.source().join("deps/more"), "3").expect("a file can be written");
    run(&sandbox, &[])
        .expect(0)
        .stdout_has("Cache saved: 3 files, ");
}

// CACHE-2, CACHE-1
#[test]
fn nothing_is_cached_unless_somebody_says_where() {
    let sandbox = downloads(PATHS);
    let ran = sandbox.run(["run", "--log-format", "codebuild"]).expect(0);
    let warnings = ran.stderr.matches("warning: ").count();
    assert_eq!(warnings, 1, "{}", ran.stderr);
    ran.stdout_has("Skip cache due to: the build has no place for a cache\n")
        .stderr_has("warning: `cache` is not used: this build has no place for it\n")
        .stderr_has("help: name one with `--cache DIR`");
    sandbox
        .run(["run", "--strict"])
        .expect(3)
        .stderr_has("`cache` is not used");
    forget(&sandbox);
    // By itself it means the user's own place, with one directory for each project.
    for (variable, directory) in [
        ("HOME", "home/.cache/runner/caches"),
        ("XDG_CACHE_HOME", "xdg/runner/caches"),
    ] {
        let mut command = sandbox.command(["run", "--strict", "--project", "app", "--cache"]);
        if variable == "XDG_CACHE_HOME" {
            command.env(variable, sandbox.path("xdg"));
        }
        let output = command.bounded_output().expect("it can be started");
        sandbox.finish(&output).expect(0);
        let kept = tree::files(&sandbox.path(directory));
        assert!(kept[0].starts_with("app/"), "{kept:?}");
        let mode = fs::metadata(sandbox.path(directory)).expect("it is there");
        assert_eq!(mode.permissions().mode() & 0o077, 0, "CACHE-17");
    }
    let without_paths = project(&["echo hi"], "  key: a\n");
    let ran = run(&without_paths, &[]).expect(0);
    ran.stdout_has("Skip cache due to: no paths specified to be cached\n");
    for wrong in ["s3://", "s3:///x", "http://x"] {
        sandbox
            .run(["run", "--cache", wrong])
            .expect(2)
            .stderr_has(wrong);
    }
    sandbox
        .run(["run", "--cache-limit", "1g"])
        .expect(2)
        .stderr_has("--cache");
}

// CACHE-3, CACHE-8, CACHE-10
#[test]
fn keys_are_looked_for_exactly_and_then_by_their_beginnings() {
    let cache = "  key: v1-$(codebuild-hash-files lock)-$SUFFIX\n  fallback-keys: ['$NOTHING', 'v1-', 'v']\n  paths: ['deps/**/*']\n";
    let sandbox = project(
        &[
            "cat deps/what || true",
            "mkdir -p deps; cat lock > deps/what",
        ],
        cache,
    );
    let lock = |text: &str| {
        fs::write(sandbox.source().join("lock"), text).expect("a file can be written");
        forget(&sandbox);
        run(&sandbox, &["-e", "SUFFIX=x"]).expect(0)
    };
    let first = lock("one\n").stdout_has("nothing is saved under the key v1-");
    has_not(&first, "Cache restored");
    let second = lock("two\n")
        .stdout_has("\none\n")
        .stdout_has("Cache saved: key v1-");
    has_not(&second, "Cache not saved");
    // The newest of those that begin so.
    lock("three\n").stdout_has("\ntwo\n");
    lock("one\n")
        .stdout_has("\none\n")
        .stdout_has("Cache not saved: its key is saved already\n");
    assert_eq!(archives(&sandbox).len(), 3);
    // Another build of the same key has other content: the first one stays.
    fs::write(sandbox.source().join("deps/what"), "other\n").expect("a file can be written");
    let again = lock("one\n");
    again.stdout_has("\none\n");
}

// CACHE-8: without a key they mean nothing.
#[test]
fn fallback_keys_need_a_key() {
    let sandbox = downloads("  key: a1\n  paths: ['deps/**/*']\n");
    run(&sandbox, &[])
        .expect(0)
        .stdout_has("Cache saved: key a1");
    let text = "version: 0.2\nphases: {build: {commands: [\"true\"]}}\ncache:\n  fallback-keys: [a]\n  paths: ['deps/**/*']\n";
    fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
    run(&sandbox, &[])
        .expect(0)
        .stdout_has("Unable to download cache: nothing is saved yet\n");
}

// CACHE-3, CACHE-20
#[test]
fn a_key_that_comes_to_nothing_is_no_key() {
    let long = format!("'{}'", "k".repeat(600));
    let table = [
        ("$NOTHING", "`cache.key` is empty after expansion"),
        ("$(exit 3)", "could not expand `$(exit 3)`: exit status 3"),
        (&long, "`cache.key` has 600 bytes after expansion"),
    ];
    for (key, why) in table {
        let sandbox = downloads(&format!("  key: {key}\n{PATHS}"));
        run(&sandbox, &[])
            .expect(0)
            .stdout_has(&format!("Unable to download cache: {why}"))
            .stderr_has(&format!("warning: the cache was not restored: {why}"))
            .stderr_has("this build saves nothing to the cache either\n");
        assert!(!sandbox.path("cache").exists());
    }
    let sandbox = downloads("  paths: ['deps/**/*', '/**/*']\n");
    run(&sandbox, &[])
        .expect(0)
        .stderr_has("the cache path `/**/*` names the whole file system");
}

// CACHE-9
#[test]
fn other_paths_are_another_cache() {
    let sandbox = downloads("  key: k\n  paths: ['deps/**/*']\n");
    run(&sandbox, &[]).expect(0);
    let text = fs::read_to_string(sandbox.source().join("buildspec.yml")).expect("it is there");
    let other = text.replace("deps/**/*", "deps/*");
    fs::write(sandbox.source().join("buildspec.yml"), other).expect("a file can be written");
    run(&sandbox, &[])
        .expect(0)
        .stdout_has("nothing is saved under the key k\n")
        .stdout_has("Cache saved: key k, 1 file, ");
    assert_eq!(archives(&sandbox).len(), 2);
    // CACHE-2: and so is that of another project, unless they share a name.
    fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
    run(&sandbox, &["--project", "other"])
        .expect(0)
        .stdout_has("nothing is saved under the key k\n");
    let shared = ["--cache-namespace", "shared", "--project"];
    run(&sandbox, &[&shared[..], &["one"]].concat())
        .expect(0)
        .stdout_has("Cache saved");
    run(&sandbox, &[&shared[..], &["two"]].concat())
        .expect(0)
        .stdout_has("Cache restored: key k");
}

// CACHE-11
#[test]
fn an_action_is_one_half() {
    let sandbox = downloads(&format!("  action: restore\n{PATHS}"));
    let ran = run(&sandbox, &[]).expect(0);
    has_not(&ran, "Cache saved");
    assert!(archives(&sandbox).is_empty());
    let action = |action: &str| {
        let text = fs::read_to_string(sandbox.source().join("buildspec.yml")).expect("it is there");
        let text = text
            .replace("restore\n", &format!("{action}\n"))
            .replace("save\n", &format!("{action}\n"));
        fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
        forget(&sandbox);
        run(&sandbox, &[]).expect(0)
    };
    has_not(
        &action("save").stdout_has("Cache saved"),
        "Unable to download",
    );
    let again = action("save").stdout_has("Cache not saved: nothing has changed");
    has_not(&again, "\nrestored\n");
    action("restore").stdout_has("Cache restored");
}

// CACHE-13
#[test]
fn it_is_saved_as_far_as_the_build_comes_to_its_artifacts() {
    let failing = |phase: &str| {
        let sandbox = Sandbox::with_buildspec(&format!(
            "version: 0.2\nphases:\n  {phase}:\n    commands: ['mkdir deps; echo 1 > deps/one', 'exit 7']\nartifacts: {{files: [nowhere]}}\ncache:\n{PATHS}"
        ));
        let ran = run(&sandbox, &[]).expect(1);
        (archives(&sandbox).len(), ran)
    };
    assert_eq!(failing("build").0, 1);
    let (kept, ran) = failing("pre_build");
    assert_eq!(kept, 0, "{}", ran.stdout);
}

// CACHE-12
#[test]
fn a_retry_of_the_whole_build_restores_again() {
    let sandbox = Sandbox::with_buildspec(&format!(
        "version: 0.2\nphases:\n  build:\n    on-failure: RETRY-1\n    commands: ['test -e ../failed || {{ touch ../failed; rm -r deps; exit 1; }}', 'cat deps/one']\ncache:\n{PATHS}"
    ))
    .file("deps/one", "kept\n");
    fs::write(sandbox.path("failed"), "").expect("a file can be written");
    run(&sandbox, &[]).expect(0).stdout_has("Cache saved: ");
    fs::remove_file(sandbox.path("failed")).expect("it can be removed");
    let ran = run(&sandbox, &[])
        .expect(0)
        .stdout_has("\nkept\n")
        .stdout_has("Cache not saved: nothing has changed\n");
    assert_eq!(ran.stdout.matches("Cache restored: ").count(), 2);
}

// CACHE-4, CACHE-5, CACHE-6
#[test]
fn everything_about_files_comes_back() {
    let sandbox = project(
        &[
            "./make.sh",
            // What comes and goes beside what is cached changes nothing of it.
            "touch beside; rm beside",
            // One of the links leads to all of this machine, where reports may be found.
            "export CODEBUILD_CONFIG_AUTO_DISCOVER=false",
        ],
        "  paths: ['deps', 'tools/*/bin/*', '~/.tool/**/*', '$EXTRA/**/*', '../beside/*.txt']\n",
    );
    let make = sandbox.source().join("make.sh");
    support::write_script(
        &make,
        "#!/bin/sh\nset -e\ntest ! -e deps || exit 0\nmkdir -p deps/empty deps/d tools/a/bin tools/a/lib \"$HOME/.tool\" \"$EXTRA\" ../beside\necho run > deps/run; chmod 755 deps/run; ln deps/run deps/again\necho secret > deps/d/s; ln -s ./$(printf '%0150d' 0)//x deps/d/long; ln -s a/../b/ deps/d/odd; chmod 600 deps/d/s; ln -s ../run deps/d/link; ln -s nowhere deps/d/dangling; ln -s / deps/d/root\nmkfifo deps/fifo\nprintf 'n' > 'deps/a name\nwith lines'\necho b > tools/a/bin/b; echo l > tools/a/lib/l\necho t > \"$HOME/.tool/t\"; echo e > \"$EXTRA/e\"; echo x > ../beside/x.txt; echo y > ../beside/y\ntouch -d '2020-02-02 02:02:02.123456789' deps/run deps/d; chmod 750 deps/d\n",
    );
    let extra = sandbox.path("extra").display().to_string();
    let variable = format!("EXTRA={extra}");
    run(&sandbox, &["-e", &variable])
        .expect(0)
        .stdout_has("Cache saved");
    let source = sandbox.source();
    let all =
        ["deps", "tools", "../beside", "../extra", "../home/.tool"].map(|name| source.join(name));
    let look = || -> Vec<_> { all.iter().map(|path| looks(path)).collect() };
    let before = look();
    for path in &all {
        fs::remove_dir_all(path).expect("it can be removed");
    }
    // What is there already is replaced if it is cached, and stays if it is not; a link in the way is not followed.
    fs::create_dir_all(source.join("deps")).expect("a directory can be made");
    fs::write(source.join("deps/run"), "old").expect("a file can be written");
    fs::create_dir_all(sandbox.path("elsewhere")).expect("a directory can be made");
    symlink(sandbox.path("elsewhere"), source.join("deps/d")).expect("a link can be made");
    fs::set_permissions(source.join("deps"), fs::Permissions::from_mode(0o711)).expect("a mode");
    run(&sandbox, &["-e", &variable])
        .expect(0)
        .stdout_has("Cache restored: 13 files")
        .stdout_has("Cache not saved: ");
    let mut expected = before;
    // Neither a pipe nor what no path takes.
    expected[0].retain(|line| !line.starts_with("fifo "));
    expected[1].retain(|line| !line.contains("lib"));
    expected[2].retain(|line| !line.starts_with("y "));
    assert_eq!(look(), expected);
    let mode = fs::metadata(source.join("deps"))
        .expect("it is there")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o711);
    let twins = ["deps/run", "deps/again"]
        .map(|name| fs::metadata(source.join(name)).expect("it is there").ino());
    assert_eq!(twins[0], twins[1]);
    assert!(files_below(&sandbox.path("elsewhere")).is_empty());
}

/// What there is below a directory: names, kinds, modes, times, content.
fn looks(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).expect("it can be read").flatten() {
            let path = entry.path();
            let found = fs::symlink_metadata(&path).expect("it is there");
            let name = path.strip_prefix(root).expect("it is below").display();
            let content = if found.is_symlink() {
                fs::read_link(&path).expect("a link").display().to_string()
            } else if found.is_file() {
                fs::read_to_string(&path).expect("text")
            } else {
                String::new()
            };
            lines.push(format!(
                "{name} {:o} {}.{} {content:?}",
                found.mode(),
                found.mtime(),
                found.mtime_nsec()
            ));
            if found.is_dir() {
                pending.push(path);
            }
        }
    }
    lines.sort();
    lines
}

// CACHE-5
#[test]
fn where_things_go_is_never_cached() {
    let sandbox = project(
        &["echo 1 > one"],
        "  paths: ['**/*']\nartifacts: {files: [one]}\n",
    );
    let log = sandbox.source().join("build.log").display().to_string();
    let inside = sandbox.source().join("kept").display().to_string();
    let arguments = ["run", "--cache", &inside, "--log-file", &log];
    sandbox.run(arguments).expect(0);
    let listed = sandbox
        .run(["cache", "ls", "--json", "--cache", &inside])
        .expect(0);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("it is JSON");
    // The buildspec and `one`, and neither the log, nor the artifact, nor the cache.
    assert_eq!(listed["kept"][0]["files"], 2, "{listed}");
    // Nor is the cache an artifact.
    fs::remove_dir_all(sandbox.source().join(".runner")).expect("it is there");
    let text = fs::read_to_string(sandbox.source().join("buildspec.yml")).expect("it is there");
    let text = text.replace("files: [one]", "files: ['**/*']");
    fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
    sandbox.run(arguments).expect(0);
    let artifacts = tree::files(&sandbox.source().join(".runner/artifacts"));
    assert!(
        artifacts.iter().all(|file| !file.contains("zst")),
        "{artifacts:?}"
    );
}

// CACHE-16, CACHE-20
#[test]
fn an_archive_that_is_no_good_is_said_and_replaced() {
    for (damage, why) in [
        ("cut", "is no archive that can be used: it has "),
        (
            "change",
            "is no archive that can be used: its content is not what was saved",
        ),
        (
            "empty",
            "is no archive that can be used: it does not begin as one",
        ),
        (
            "forged",
            ".tar.zst is no archive that can be used: 0/../../out is not below the paths",
        ),
    ] {
        for key in ["", "  key: k\n"] {
            let sandbox = downloads(&format!("{key}{PATHS}"));
            run(&sandbox, &[]).expect(0);
            let path = archive(&sandbox);
            let whole = fs::read(&path).expect("it can be read");
            let bad = match damage {
                "cut" => whole[..whole.len() / 2 + 2100].to_vec(),
                "change" => {
                    let mut bad = whole;
                    let last = bad.len() - 9;
                    bad[last] ^= 1;
                    bad
                }
                "empty" => Vec::new(),
                _ => forged(&whole),
            };
            fs::write(&path, bad).expect("it can be written");
            forget(&sandbox);
            let ran = run(&sandbox, &[])
                .expect(0)
                .stderr_has("warning: the cache was not restored: ")
                .stderr_has(why)
                .stderr_has("help: what this build saves takes its place\n")
                .stdout_has("Unable to download cache: ")
                .stdout_has("Cache saved: ");
            has_not(&ran, "\nrestored\n");
            assert!(!sandbox.path("out").exists() && !sandbox.source().join("out").exists());
            forget(&sandbox);
            run(&sandbox, &[]).expect(0).stdout_has("\nrestored\n");
        }
    }
}

/// A build of this key whose `deps` has its name, that falls back to `v1-` and to `v`.
fn keyed(sandbox: &Sandbox, key: &str, action: &str) -> Ran {
    let text = format!(
        "version: 0.2\nphases:\n  build:\n    commands: ['cat deps/what || true', 'mkdir -p deps; echo {key} > deps/what']\ncache:\n  key: {key}\n  fallback-keys: ['v1-', 'v']\n{action}{PATHS}"
    );
    fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
    forget(sandbox);
    run(sandbox, &[]).expect(0)
}

fn kept_under(sandbox: &Sandbox, key: &str) -> PathBuf {
    let end = format!("key-{key}.tar.zst");
    let mut names = archives(sandbox);
    names.retain(|name| name.ends_with(&end));
    assert_eq!(names.len(), 1, "{key}");
    sandbox.path("cache").join(&names[0])
}

// CACHE-31: one that cannot be used keeps nobody from the next.
#[test]
fn an_archive_that_is_no_good_does_not_hide_the_others() {
    let restores = "  action: restore\n";
    for damage in ["cut", "change", "empty", "forged"] {
        let sandbox = Sandbox::with_commands(&["true"]);
        for key in ["v1-a", "v1-b", "v1-c"] {
            keyed(&sandbox, key, "");
        }
        let spoil = |key: &str| {
            let path = kept_under(&sandbox, key);
            let whole = fs::read(&path).expect("it can be read");
            let bad = match damage {
                "cut" => whole[..whole.len() - 1].to_vec(),
                "change" => [&whole[..whole.len() - 9], &[7; 9]].concat(),
                "empty" => Vec::new(),
                _ => forged(&whole),
            };
            fs::write(&path, bad).expect("it can be written");
        };
        // The exact one: the newest of the others is restored, and nothing is saved.
        spoil("v1-c");
        let ran = keyed(&sandbox, "v1-c", restores)
            .stdout_has("\nv1-b\n")
            .stdout_has("Cache restored: key v1-b, ")
            .stderr_has("warning: an archive of the cache is passed over: ")
            .stderr_has("key-v1-c.tar.zst is no archive that can be used: ")
            .stderr_has("help: `runner cache rm ");
        assert!(!ran.stderr.contains("takes its place"), "{}", ran.stderr);
        // What the help says can be done.
        let line = ran.stderr.split("`runner cache rm ").nth(1);
        let name = line
            .and_then(|line| line.split('`').next())
            .expect("a name");
        let place = place(&sandbox);
        sandbox
            .run(["cache", "rm", name, "--dry-run", "--cache", &place])
            .expect(0)
            .stdout_has(if damage == "empty" {
                "cannot be used"
            } else {
                "v1-c"
            });
        // Two of them, by a fallback key.
        spoil("v1-b");
        keyed(&sandbox, "v1-x", restores)
            .stdout_has("\nv1-a\n")
            .stderr_has("key-v1-b.tar.zst is no archive")
            .stderr_has("key-v1-c.tar.zst is no archive");
        // The wanted one is written anew; a bad one of another key has nothing to do with it.
        keyed(&sandbox, "v1-c", "")
            .stdout_has("\nv1-a\n")
            .stdout_has("Cache saved: key v1-c");
        keyed(&sandbox, "v1-c", restores).stdout_has("Cache restored: key v1-c");
        // All of them: then it is said that nothing was restored.
        spoil("v1-a");
        spoil("v1-c");
        keyed(&sandbox, "v1-x", restores)
            .stderr_has("warning: the cache was not restored: ")
            .stdout_has("Unable to download cache: ");
        assert!(sandbox.leftovers().is_empty());
    }
}

// CACHE-32: a bad archive of a fallback key is no reason to touch the good one of the key, which another build has saved
// meanwhile.
#[test]
fn only_the_archive_that_is_bad_makes_way() {
    let sandbox = Sandbox::with_commands(&["true"]);
    keyed(&sandbox, "v1-a", "");
    let path = kept_under(&sandbox, "v1-a");
    let whole = fs::read(&path).expect("it can be read");
    fs::write(&path, forged(&whole)).expect("it can be written");
    // The build itself stands for the other one: it puts a good archive under the key while it runs.
    let good = path.with_file_name("key-v1-new.tar.zst");
    let text = format!(
        "version: 0.2\nphases:\n  build:\n    commands: ['mkdir -p deps; echo mine > deps/what; cp {} {}']\ncache:\n  key: v1-new\n  fallback-keys: ['v1-']\n{PATHS}",
        sandbox.path("good").display(),
        good.display()
    );
    fs::write(sandbox.path("good"), &whole).expect("it can be written");
    fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
    forget(&sandbox);
    run(&sandbox, &[])
        .expect(0)
        .stdout_has("Cache not saved: its key is saved already");
    assert_eq!(fs::read(&good).expect("it is there"), whole);
    // Without anything restored, a bad one under the key is replaced all the same.
    fs::write(&good, b"bad").expect("it can be written");
    keyed(&sandbox, "v1-new", "  action: save\n").stdout_has("Cache saved: key v1-new");
}

// CACHE-33: what is left out in silence would be missing for ever.
#[test]
fn a_path_that_cannot_be_read_is_said_and_nothing_is_saved() {
    for key in ["", "  key: k\n"] {
        let sandbox = project(
            &["mkdir deps; echo 1 > deps/one; ln -s circle circle"],
            &format!(
                "{key}  paths: ['deps/**/*', 'circle/below/**/*', 'deps/one/**/*', 'nowhere/**/*']\n"
            ),
        );
        run(&sandbox, &[])
            .expect(0)
            .stderr_has("warning: the cache was not saved: could not read ")
            .stderr_has("circle/below: Too many levels of symbolic links")
            .stderr_has("leave it out of `cache.paths`: a cache without it is not saved\n");
        assert!(archives(&sandbox).is_empty());
        fs::remove_file(sandbox.source().join("circle")).expect("it can be removed");
        let text = fs::read_to_string(sandbox.source().join("buildspec.yml")).expect("it is there");
        let text = text
            .replace("; ln -s circle circle", "")
            .replace("mkdir", "mkdir -p");
        fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
        let ran = run(&sandbox, &[]).expect(0).stdout_has("Cache saved: ");
        assert!(!ran.stderr.contains("warning: "), "{}", ran.stderr);
    }
}

// CACHE-34
#[test]
fn who_removes_does_not_disturb_who_saves() {
    let sandbox = Sandbox::with_commands(&["true"]);
    let place = sandbox.path("cache");
    let store = CacheStore::Directory(CacheDirectory::new(place.clone()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime can be made");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let names: Vec<String> = (0..8)
                .map(|number| format!("app/v/key-{number}.tar.zst"))
                .collect();
            while !done.load(Ordering::Relaxed) {
                runtime.block_on(store.remove(&names));
            }
        });
        for number in 0..2000 {
            let path = sandbox.path("new");
            let file = fs::File::create(&path).expect("a file can be made");
            let begun = Unfinished::begin((file, path), Some("k".to_owned()), Vec::new());
            let archive = begun.and_then(|begun| begun.finish(1, 0, 0, String::new()));
            let archive = archive.expect("an archive can be written");
            let name = format!("app/v/key-{}.tar.zst", number % 8);
            let kept = runtime.block_on(store.keep(&archive, &name, false, &Stop::default()));
            let _ = fs::remove_file(&archive.path);
            if let Err(trouble) = kept {
                done.store(true, Ordering::Relaxed);
                panic!("{number}: {trouble}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// The same archive with other content, in which everything is as it should be but one name. CACHE-7
fn forged(whole: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["0/one", "0/../../out"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let bytes = header.as_old_mut();
        bytes.name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, &b"x"[..]).expect("it can be written");
    }
    let tar = tar.into_inner().expect("it can be written");
    let body = zstd::encode_all(&tar[..], 3).expect("it can be compressed");
    let length = u32::from_le_bytes(whole[4..8].try_into().expect("four bytes")) as usize;
    let mut facts: Value = serde_json::from_slice(&whole[8..8 + length]).expect("it is JSON");
    facts["archiveBytes"] = body.len().into();
    let hash = sha2::Sha256::digest(&body);
    facts["archiveSha256"] = buildspec_runner::units::hex(&hash).into();
    let mut head = serde_json::to_vec(&facts).expect("it is JSON");
    head.resize(length, b' ');
    [&whole[..8], &head, &body].concat()
}

// CACHE-20
#[test]
fn a_place_that_cannot_be_used_is_a_warning() {
    let sandbox = downloads(PATHS);
    // A file where a directory should be: also for root.
    fs::write(sandbox.path("cache"), "").expect("a file can be written");
    run(&sandbox, &[])
        .expect(0)
        .stderr_has("warning: the cache was not saved: could not make a directory in ")
        .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: SUCCEEDED");
    fs::remove_file(sandbox.path("cache")).expect("it can be removed");
    run(&sandbox, &[]).expect(0);
    // Nothing can be made where the files were.
    forget(&sandbox);
    fs::write(sandbox.source().join("deps"), "in the way").expect("a file can be written");
    run(&sandbox, &[])
        .stderr_has("warning: the cache was not restored: could not make the directory ");
    assert_eq!(
        fs::read(sandbox.source().join("deps")).expect("it is there"),
        b"in the way"
    );
}

// CACHE-20: a full disk, which is a small file system of the test's own.
#[test]
fn a_full_disk_is_a_warning() {
    let sandbox = project(
        &["mkdir -p deps; head -c 3000000 /dev/urandom > deps/big"],
        PATHS,
    );
    let cache = sandbox.path("cache");
    fs::create_dir(&cache).expect("a directory can be made");
    let mounted = std::process::Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c"])
        .arg("mount -t tmpfs -o size=1m none \"$1\" && shift && exec \"$@\"")
        .arg("sh")
        .arg(&cache)
        .arg(support::RUNNER)
        .args(["run", "--log-format", "codebuild", "--cache"])
        .arg(&cache)
        .current_dir(sandbox.source())
        .env("TMPDIR", sandbox.path("tmp"))
        .env("HOME", sandbox.path("home"))
        .bounded_output();
    let ran = match mounted {
        Ok(output) => sandbox.finish(&output),
        Err(_) => return support::skipped("a full disk", "no unshare"),
    };
    if ran.stderr.contains("unshare:") || ran.stderr.contains("mount:") {
        return support::skipped("a full disk", "no mounts of one's own");
    }
    ran.expect(0)
        .stderr_has("warning: the cache was not saved: could not write ")
        .stderr_has("No space left on device")
        .stderr_has("help: make room there");
}

// CACHE-14: at a terminal, a line for each end of it.
#[test]
fn people_at_a_terminal_read_what_came_of_it() {
    let sandbox = downloads("  key: $KEY\n  fallback-keys: [deps-]\n  paths: ['deps/**/*']\n");
    let place = place(&sandbox);
    let pretty = |flags: &[&str]| {
        let usual = ["run", "--log-format", "pretty", "--cache", &place];
        sandbox.run([&usual, flags].concat())
    };
    let shown = |key: &str| {
        let key = format!("KEY={key}");
        let ran = pretty(&["-e", &key]).expect(0);
        let lines = ran
            .stdout
            .lines()
            .filter(|line| line.starts_with("cache: "));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.join("\n")
    };
    let first = shown("deps-1");
    assert!(
        first.starts_with("cache: nothing is saved under the key deps-1\ncache: saved in "),
        "{first}"
    );
    assert!(
        first.contains("(key deps-1, 2 files, 4 B, archive of 0 B)"),
        "{first}"
    );
    forget(&sandbox);
    let again = shown("deps-1");
    assert!(again.starts_with("cache: restored in "), "{again}");
    assert!(
        again.ends_with("\ncache: not saved, its key is saved already"),
        "{again}"
    );
    forget(&sandbox);
    let other = shown("deps-2");
    assert!(
        other.starts_with("cache: restored by a fallback key in "),
        "{other}"
    );
    let quiet = pretty(&["-q", "-e", "KEY=deps-2"]).expect(0);
    has_not(&quiet, "cache:");
}

// CACHE-4, CMD-17: what another user's commands left is that user's again.
#[test]
fn what_is_restored_belongs_to_the_user_of_the_commands() {
    if !rustix::process::geteuid().is_root() {
        return support::skipped("a cache under run-as", "needs root");
    }
    let sandbox = downloads(PATHS);
    let path = sandbox.source().join("buildspec.yml");
    let text = fs::read_to_string(&path).expect("it is there");
    let text = text.replacen("version: 0.2\n", "version: 0.2\nrun-as: nobody\n", 1);
    let text = text.replace(
        "&& echo restored",
        "&& echo more >> deps/one && echo restored",
    );
    fs::write(&path, text).expect("it can be written");
    for place in [sandbox.path(""), sandbox.path("tmp"), sandbox.source()] {
        fs::set_permissions(place, fs::Permissions::from_mode(0o777)).expect("they are ours");
    }
    run(&sandbox, &[]).expect(0).stdout_has("Cache saved");
    let owner = |sandbox: &Sandbox| {
        fs::metadata(sandbox.source().join("deps/one"))
            .expect("it is there")
            .uid()
    };
    let nobody = owner(&sandbox);
    assert_ne!(nobody, 0);
    forget(&sandbox);
    run(&sandbox, &[]).expect(0).stdout_has("\nrestored\n");
    assert_eq!(owner(&sandbox), nobody);
}

/// A build with its cache in a bucket, asked to end when a request of this kind for the archive is under way.
fn stopped_at(endpoint: &str, bucket: &str, sandbox: &Sandbox, method: &'static str) -> Ran {
    let held = GoBetween::new(endpoint, move |line| {
        Verdict::when(
            line.starts_with(method) && line.contains(".tar.zst"),
            Verdict::Hold,
        )
    });
    let place = format!("s3://{bucket}/caches");
    let arguments = [
        "run",
        "--log-format",
        "codebuild",
        "--grace",
        "1s",
        "--cache",
        &place,
    ];
    let child = Sandbox::spawn(&mut command(sandbox, &held.endpoint, &arguments));
    held.held
        .recv_timeout(wait::LIMIT)
        .expect("a request for the archive");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a child has a number"), Signal::TERM).expect("it runs");
    sandbox.finish(&wait::output(child))
}

// CACHE-28
#[test]
fn a_stop_while_it_is_saved_or_restored_leaves_nothing_half_done() {
    let Some(endpoint) = endpoint("a stop while the cache is on its way") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "stopped-cache");
    let sandbox = downloads(PATHS);
    stopped_at(&endpoint, "stopped-cache", &sandbox, "PUT").expect(143);
    assert!(bucket.keys().is_empty() && bucket.unfinished() == 0);
    let place = "s3://stopped-cache/caches";
    let arguments = ["run", "--log-format", "codebuild", "--cache", place];
    let saved = command(&sandbox, &endpoint, &arguments).bounded_output();
    sandbox
        .finish(&saved.expect("the program can be started"))
        .expect(0)
        .stdout_has("Cache saved");
    forget(&sandbox);
    let stopped = stopped_at(&endpoint, "stopped-cache", &sandbox, "GET").expect(143);
    // Nothing was restored, and no command ran.
    has_not(&stopped, "restored");
    assert!(!sandbox.source().join("deps").exists());
    assert_eq!(sandbox.leftovers(), [""; 0]);
}

// CACHE-27
#[test]
fn in_a_bucket_it_is_encrypted_with_the_key_that_was_asked_for() {
    let Some(endpoint) = endpoint("a cache encrypted with KMS") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "encrypted-cache");
    let key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555";
    let sandbox = downloads(PATHS);
    let place = "s3://encrypted-cache/caches";
    let arguments = ["run", "--cache", place, "--kms-key", key];
    let saved = command(&sandbox, &endpoint, &arguments).bounded_output();
    sandbox
        .finish(&saved.expect("the program can be started"))
        .expect(0);
    let names = bucket.keys();
    let name = names.iter().find(|name| name.ends_with(".tar.zst"));
    let object = bucket.get(name.expect("an archive"));
    assert_eq!(object.encryption.as_deref(), Some("aws:kms"));
    assert_eq!(object.kms_key.as_deref(), Some(key));
}

// CACHE-29: a full disk below the source, which is a small file system of the test's own.
#[test]
fn a_full_disk_while_it_is_restored_is_a_warning() {
    let sandbox = project(
        &[
            "mkdir -p deps; test -e deps/big || head -c 3000000 /dev/zero > deps/big || echo no room",
        ],
        PATHS,
    );
    run(&sandbox, &[]).expect(0).stdout_has("Cache saved");
    let deps = sandbox.source().join("deps");
    fs::remove_file(deps.join("big")).expect("it is there");
    let mounted = std::process::Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c"])
        .arg("mount -t tmpfs -o size=1m none \"$1\" && shift && exec \"$@\"")
        .arg("sh")
        .arg(&deps)
        .arg(support::RUNNER)
        .args(["run", "--log-format", "codebuild", "--cache"])
        .arg(sandbox.path("cache"))
        .current_dir(sandbox.source())
        .env("TMPDIR", sandbox.path("tmp"))
        .env("HOME", sandbox.path("home"))
        .bounded_output();
    let ran = match mounted {
        Ok(output) => sandbox.finish(&output),
        Err(_) => return support::skipped("a full disk below the source", "no unshare"),
    };
    if ran.stderr.contains("unshare:") || ran.stderr.contains("mount:") {
        return support::skipped("a full disk below the source", "no mounts of one's own");
    }
    ran.expect(0)
        .stderr_has("warning: the cache was not restored: ")
        .stderr_has("No space left on device");
}

// CACHE-17: both are whole, whoever is first.
#[test]
fn builds_at_the_same_time_do_not_disturb_one_another() {
    for key in ["", "  key: k\n"] {
        let sandbox = project(
            &["mkdir deps; head -c 200000 /dev/urandom > deps/a; cp deps/a deps/b"],
            &format!("{key}{PATHS}"),
        );
        let place = place(&sandbox);
        let running: Vec<_> = (0..4)
            .map(|number| {
                let source = sandbox.path(&format!("source{number}"));
                fs::create_dir(&source).expect("a directory can be made");
                tree::copy(&sandbox.source(), &source, &[]);
                let mut command = sandbox.command(["run", "--project", "app", "--cache", &place]);
                Sandbox::spawn(command.current_dir(source))
            })
            .collect();
        for child in running {
            let output = wait::output(child);
            sandbox.finish(&output).expect(0);
        }
        archive(&sandbox);
        let text = format!(
            "version: 0.2\nphases: {{build: {{commands: ['cmp deps/a deps/b']}}}}\ncache:\n{key}{PATHS}"
        );
        fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
        run(&sandbox, &["--project", "app"])
            .expect(0)
            .stdout_has("Cache restored");
        let hidden = fs::read_dir(sandbox.path("cache")).expect("it is there");
        let left: Vec<_> = hidden
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| name.to_string_lossy().starts_with(".runner"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

// CACHE-22
#[test]
fn any_text_is_a_key() {
    let long = "long/".repeat(80);
    for key in ["../../../../etc/x", "/", "a b'c", "ümläut", &long] {
        let sandbox =
            downloads("  key: $KEY\n  fallback-keys: [$BEGINNING]\n  paths: ['deps/**/*']\n");
        let beginning: String = key.chars().take(3).collect();
        let key_is = format!("KEY={key}");
        run(&sandbox, &["-e", &key_is])
            .expect(0)
            .stdout_has("Cache saved");
        archive(&sandbox);
        forget(&sandbox);
        run(&sandbox, &["-e", &key_is])
            .expect(0)
            .stdout_has("\nrestored\n");
        forget(&sandbox);
        let beginning = format!("BEGINNING={beginning}");
        run(&sandbox, &["-e", "KEY=other", "-e", &beginning])
            .expect(0)
            .stdout_has(&format!("Cache restored: key {key}, "));
    }
}

// CACHE-19
#[test]
fn a_limit_lets_go_of_what_was_used_longest_ago() {
    let sandbox = project(
        &["mkdir -p deps; head -c 20000 /dev/urandom > deps/noise"],
        "  key: $KEY\n  paths: ['deps/**/*']\n",
    );
    let save = |key: &str, limit: &str| {
        let key = format!("KEY={key}");
        run(&sandbox, &["-e", &key, "--cache-limit", limit]).expect(0)
    };
    for (key, age) in [("a", 300), ("b", 200), ("c", 100)] {
        save(key, "1MiB").stdout_has("Cache saved");
        let newest = sandbox.path("cache").join(
            archives(&sandbox)
                .into_iter()
                .find(|name| name.contains(&format!("key-{key}.")))
                .expect("it is kept"),
        );
        let file = fs::File::open(newest).expect("it can be opened");
        let used = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000 - age);
        file.set_modified(used).expect("a time can be set");
    }
    // A use counts.
    save("a", "1MiB").stdout_has("Cache restored: key a");
    save("d", "80KiB").stdout_has("Cache saved: key d");
    let kept: Vec<bool> = ["a", "b", "c", "d"]
        .iter()
        .map(|key| {
            archives(&sandbox)
                .iter()
                .any(|name| name.contains(&format!("key-{key}.")))
        })
        .collect();
    assert_eq!(kept, [true, false, true, true]);
    let too_large =
        save("e", "10KiB").stderr_has("warning: the cache was not saved: the archive has 2");
    has_not(&too_large, "Cache saved");
    assert_eq!(archives(&sandbox).len(), 3);
}

// CACHE-23, CACHE-24, CACHE-25
#[test]
fn what_is_kept_is_listed_and_removed() {
    let sandbox = project(
        &["mkdir -p deps; echo 1 > deps/one"],
        "  key: $KEY\n  paths: ['deps/**/*']\n",
    );
    let place = place(&sandbox);
    let cache =
        |arguments: &[&str]| sandbox.run([&["cache"], arguments, &["--cache", &place]].concat());
    cache(&["ls"]).expect(0).stderr_has("nothing is kept in ");
    for (key, project) in [("a", "app"), ("b", "app"), ("a", "other")] {
        run(
            &sandbox,
            &["-e", &format!("KEY={key}"), "--project", project],
        )
        .expect(0);
    }
    let listed = cache(&["ls"]).expect(0).stdout_has("PROJECT  KEY  ");
    assert_eq!(listed.stdout.lines().count(), 4, "{}", listed.stdout);
    let json = |ran: Ran, what: &str| -> Vec<(String, String)> {
        let json: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
        let rows = json[what].as_array().expect("a list").iter();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let mut rows: Vec<_> = rows
            .map(|row| (text(row, "project"), text(row, "key")))
            .collect();
        rows.sort();
        rows
    };
    let pair = |project: &str, key: &str| (project.to_owned(), key.to_owned());
    let app = json(
        cache(&["ls", "--json", "--project", "app"]).expect(0),
        "kept",
    );
    assert_eq!(app, [pair("app", "a"), pair("app", "b")]);
    cache(&["rm", "a", "nowhere"])
        .expect(2)
        .stderr_has("nothing is kept under `nowhere`");
    cache(&["rm", "a", "-n"]).expect(0).stderr_has("dry run");
    assert_eq!(archives(&sandbox).len(), 3);
    let removed = json(cache(&["rm", "a", "--json"]).expect(0), "removed");
    assert_eq!(removed, [pair("app", "a"), pair("other", "a")]);
    assert_eq!(archives(&sandbox).len(), 1);
    cache(&["prune"]).expect(2);
    cache(&["prune", "--unused-for", "1h"])
        .expect(0)
        .stderr_has("there is nothing to remove");
    cache(&["prune", "--limit", "0B"])
        .expect(0)
        .stderr_has("removed ");
    cache(&["rm", "--all"])
        .expect(0)
        .stderr_has("there is nothing to remove");
    assert!(
        tree::files(&sandbox.path("cache"))
            .iter()
            .all(|file| file == ".lock")
    );
}

// CACHE-14
#[test]
fn events_tell_what_the_log_tells() {
    let sandbox = downloads("  key: k\n  paths: ['deps/**/*']\n");
    let file = sandbox.path("events.jsonl");
    let arguments = ["--events", file.to_str().expect("text")];
    let names = |ran: Ran| -> Vec<String> {
        ran.expect(0);
        let stream = events::parse(&fs::read_to_string(&file).expect("it is there"));
        events::check_grammar(&stream);
        let names = stream.iter().filter_map(|event| event["event"].as_str());
        names
            .filter(|name| name.starts_with("cache-"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        names(run(&sandbox, &arguments)),
        ["cache-expanded", "cache-missed", "cache-saved"]
    );
    assert_eq!(
        names(run(&sandbox, &arguments)),
        [
            "cache-expanded",
            "cache-found",
            "cache-fetched",
            "cache-restored",
            "cache-kept"
        ]
    );
    // LOG-15: what is secret in a key is not shown.
    let secret = "AKIAABCDEFGHIJKLMNOP-not-to-be-seen";
    let text = fs::read_to_string(sandbox.source().join("buildspec.yml")).expect("it is there");
    fs::write(
        sandbox.source().join("buildspec.yml"),
        text.replace("key: k", "key: $AWS_SECRET_ACCESS_KEY"),
    )
    .expect("a file");
    let place = place(&sandbox);
    let output = sandbox
        .command(["run", "--log-format", "json", "--cache", &place])
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .bounded_output()
        .expect("it can be started");
    let ran = sandbox
        .finish(&output)
        .expect(0)
        .stdout_has("\"key\":\"***\"");
    has_not(&ran, secret);
}

fn run_s3(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
    let arguments = [
        &["run", "--log-format", "codebuild", "--project", "app"],
        arguments,
    ]
    .concat();
    let output = command(sandbox, endpoint, &arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

// CACHE-2, CACHE-8, CACHE-10, CACHE-15, CACHE-18
#[test]
fn a_bucket_keeps_what_a_directory_keeps() {
    let Some(endpoint) = endpoint("a cache in a bucket") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "caches");
    let sandbox = project(
        &[
            "cat deps/what || true",
            "mkdir -p deps; echo $KEY > deps/what; test -e deps/noise || head -c 20000000 /dev/urandom > deps/noise",
        ],
        "  key: $KEY\n  fallback-keys: ['v/']\n  paths: ['deps/**/*']\n",
    );
    let build = |key: &str| {
        forget(&sandbox);
        run_s3(
            &sandbox,
            &endpoint,
            &[
                "--cache",
                "s3://caches/some/prefix/",
                "-e",
                &format!("KEY={key}"),
            ],
        )
        .expect(0)
    };
    build("v/1")
        .stdout_has("nothing is saved under the key v/1")
        .stdout_has("Cache saved: key v/1, 2 files, 19.1 MiB");
    let keys = bucket.keys();
    assert!(
        keys.len() == 1 && keys[0].starts_with("some/prefix/app/"),
        "{keys:?}"
    );
    build("v/1")
        .stdout_has("\nv/1\n")
        .stdout_has("Cache not saved: its key is saved already");
    build("v/2")
        .stdout_has("Cache restored: key v/1, ")
        .stdout_has("Cache saved: key v/2");
    assert_eq!((bucket.keys().len(), bucket.unfinished()), (2, 0));
    // Without a key it is the last one that counts, written only if it changed.
    let text = fs::read_to_string(sandbox.source().join("buildspec.yml")).expect("it is there");
    let text = text.replace("  key: $KEY\n  fallback-keys: ['v/']\n", "");
    fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
    build("a").stdout_has("Cache saved: 2 files");
    build("a")
        .stdout_has("\na\n")
        .stdout_has("Cache not saved: nothing has changed");
    build("b")
        .stdout_has("\na\n")
        .stdout_has("Cache saved: 2 files");
    assert_eq!(bucket.keys().len(), 3);
    // CACHE-23 to CACHE-25
    let cache = |arguments: &[&str]| {
        let arguments = [
            &["cache"],
            arguments,
            &["--cache", "s3://caches/some/prefix"],
        ]
        .concat();
        let output = command(&sandbox, &endpoint, &arguments).bounded_output();
        sandbox.finish(&output.expect("the program can be started"))
    };
    cache(&["ls"])
        .expect(0)
        .stdout_has("app      v/1 ")
        .stdout_has("(no key)")
        .stderr_has(" in s3://caches/some/prefix/");
    cache(&["rm", "v/1"]).expect(0).stderr_has("removed 19.");
    assert_eq!(bucket.keys().len(), 2);
    cache(&["prune", "--limit", "1MiB"]).expect(0);
    assert!(bucket.keys().is_empty());
    assert!(sandbox.leftovers().is_empty());
}

/// Says which request makes an object.
type IsLast = fn(&str) -> bool;

/// Another build saves under the key between what this one asks and what it stores.
fn saved_first(endpoint: &str, bucket: Arc<Bucket>, is_last: IsLast) -> GoBetween {
    let key = std::sync::Mutex::new(None);
    GoBetween::new(endpoint, move |line| {
        let path = line.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        if is_last(line) && path.contains("key-") {
            let mut key = key.lock().expect("no thread panics with it");
            if key.is_none() {
                let name = path
                    .trim_start_matches('/')
                    .split_once('/')
                    .expect("a key")
                    .1;
                bucket.put(name, "of the first");
                *key = Some(name.to_owned());
            }
        }
        Verdict::Pass
    })
}

// CACHE-30
#[test]
fn of_builds_that_save_under_one_key_in_a_bucket_the_first_one_stays() {
    let Some(endpoint) = endpoint("builds that save under one key") else {
        return;
    };
    let at_once: IsLast = |line| line.starts_with("PUT");
    let in_parts: IsLast = |line| line.starts_with("POST") && line.contains("uploadId=");
    for (name, size, last) in [
        ("first-stays", 20_000, at_once),
        ("first-stays-parts", 20_000_000, in_parts),
    ] {
        let bucket = Arc::new(Bucket::new(&endpoint, name));
        let sandbox = project(
            &[&format!(
                "mkdir -p deps; head -c {size} /dev/urandom > deps/noise"
            )],
            "  key: k\n  paths: ['deps/**/*']\n",
        );
        let place = format!("s3://{name}");
        let between = saved_first(&endpoint, Arc::clone(&bucket), last);
        let ran = run_s3(&sandbox, &between.endpoint, &["--cache", &place])
            .expect(0)
            .stdout_has("Cache not saved: its key is saved already\n");
        assert!(!ran.stderr.contains("warning: "), "{}", ran.stderr);
        let keys = bucket.keys();
        assert_eq!((keys.len(), bucket.unfinished()), (1, 0), "{keys:?}");
        assert_eq!(bucket.get(&keys[0]).content, b"of the first");
        assert_eq!(
            between.count("DELETE"),
            between.counts("DELETE", "uploadId=")
        );
        // What cannot be used makes way, as in a directory.
        run_s3(&sandbox, &endpoint, &["--cache", &place])
            .expect(0)
            .stderr_has("help: what this build saves takes its place\n")
            .stdout_has("Cache saved: key k");
        run_s3(&sandbox, &endpoint, &["--cache", &place])
            .expect(0)
            .stdout_has("Cache restored: key k");
    }
}

// CACHE-30: services that do not know the condition are asked what is there, as well as that can be.
#[test]
fn a_service_without_conditions_keeps_archives_too() {
    let Some(endpoint) = endpoint("a service without conditions") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "no-conditions");
    let first = AtomicBool::new(true);
    let old = GoBetween::new(&endpoint, move |line| {
        let is_first = line.starts_with("PUT") && first.swap(false, Ordering::SeqCst);
        let refusal = s3_error(
            "501 Not Implemented",
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        );
        Verdict::when(is_first, refusal)
    });
    let sandbox = downloads("  key: k\n  paths: ['deps/**/*']\n");
    run_s3(&sandbox, &old.endpoint, &["--cache", "s3://no-conditions"])
        .expect(0)
        .stdout_has("Cache saved: key k");
    assert_eq!((bucket.keys().len(), old.count("PUT")), (1, 2));
}

// CACHE-31
#[test]
fn a_bad_object_does_not_hide_the_others() {
    let Some(endpoint) = endpoint("bad objects of a cache") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "bad-objects");
    let sandbox = project(
        &[
            "cat deps/what || true",
            "mkdir -p deps; echo $KEY > deps/what",
        ],
        "  key: $KEY\n  fallback-keys: ['v1-']\n  paths: ['deps/**/*']\n",
    );
    let build = |key: &str| {
        forget(&sandbox);
        let key = format!("KEY={key}");
        run_s3(
            &sandbox,
            &endpoint,
            &["--cache", "s3://bad-objects", "-e", &key],
        )
        .expect(0)
    };
    build("v1-a");
    build("v1-b");
    let mut keys = bucket.keys();
    keys.retain(|key| key.contains("key-v1-b"));
    let cut = bucket.get(&keys[0]).content;
    bucket.put_bytes(&keys[0], cut[..cut.len() - 1].to_vec());
    let ran = build("v1-c")
        .stdout_has("\nv1-a\n")
        .stderr_has(&format!(
            "warning: an archive of the cache is passed over: s3://bad-objects/{} is no archive",
            keys[0]
        ))
        .stdout_has("Cache saved: key v1-c");
    assert!(
        ran.stderr.contains("help: `runner cache rm "),
        "{}",
        ran.stderr
    );
    build("v1-b").stdout_has("Cache saved: key v1-b");
    build("v1-b").stdout_has("Cache restored: key v1-b");
}

// CACHE-19
#[test]
fn a_bucket_lets_go_of_what_was_used_longest_ago() {
    let Some(endpoint) = endpoint("a limit in a bucket") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "limited-caches");
    let sandbox = project(
        &["mkdir -p deps; head -c 20000 /dev/urandom > deps/noise"],
        "  key: $KEY\n  paths: ['deps/**/*']\n",
    );
    let save = |key: &str, limit: &str| {
        run_s3(
            &sandbox,
            &endpoint,
            &[
                "--cache",
                "s3://limited-caches",
                "--cache-limit",
                limit,
                "-e",
                &format!("KEY={key}"),
            ],
        )
        .expect(0)
    };
    save("a", "1MiB");
    save("b", "1MiB");
    save("a", "1MiB").stdout_has("Cache restored: key a");
    assert!(
        bucket
            .keys()
            .iter()
            .any(|key| key.ends_with("key-a.tar.zst.used"))
    );
    save("c", "60KiB").stdout_has("Cache saved: key c");
    let keys = bucket.keys();
    assert!(keys.iter().any(|key| key.contains("key-c.")), "{keys:?}");
    assert!(
        keys.iter().filter(|key| key.ends_with(".tar.zst")).count() == 2,
        "{keys:?}"
    );
}

// CACHE-18, CACHE-20
#[test]
fn trouble_with_a_bucket_is_a_warning() {
    let Some(endpoint) = endpoint("trouble with the bucket of a cache") else {
        return;
    };
    let sandbox = downloads(PATHS);
    let build = |endpoint: &str, bucket: &str| {
        forget(&sandbox);
        run_s3(&sandbox, endpoint, &["--cache", &format!("s3://{bucket}")])
            .expect(0)
            .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: SUCCEEDED")
    };
    build(&endpoint, "no-such-bucket-of-a-cache")
        .stdout_has("Unable to download cache: NoSuchBucket: ")
        .stderr_has("warning: the cache was not saved: NoSuchBucket: ")
        .stderr_has("help: make the bucket, or name another with `--cache");
    let bucket = Bucket::new(&endpoint, "troubled-caches");
    let denied = GoBetween::new(&endpoint, |_| {
        s3_error("403 Forbidden", "AccessDenied", "Access Denied")
    });
    build(&denied.endpoint, "troubled-caches")
        .stdout_has("Unable to download cache: AccessDenied: Access Denied status code: 403, request id: REQ1")
        .stdout_has("Unable to upload cache: AccessDenied")
        .stderr_has("s3:GetObject, s3:PutObject and s3:ListBucket");
    // Nobody listens on the port of a listener that is gone.
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    build(&gone, "troubled-caches").stderr_has("check the network");
    build(&endpoint, "troubled-caches").stdout_has("Cache saved");
    // An object that breaks off, and one that is cut in half.
    let dropped = GoBetween::new(&endpoint, |line| {
        Verdict::when(line.starts_with("GET"), Verdict::Drop)
    });
    build(&dropped.endpoint, "troubled-caches").stderr_has("warning: the cache was not restored: ");
    let key = bucket.keys().remove(0);
    bucket.put(&key, "half an archive");
    build(&endpoint, "troubled-caches")
        .stderr_has("is no archive that can be used: it does not begin as one")
        .stdout_has("Cache saved");
    build(&endpoint, "troubled-caches").stdout_has("\nrestored\n");
    assert!(sandbox.leftovers().is_empty());
}

// CACHE-26, CACHE-21: a build in a container finds what one on the host has saved.
#[test]
fn a_container_has_the_same_cache() {
    let Ok(image) = std::env::var("RUNNER_TEST_IMAGE") else {
        return support::skipped(
            "a cache in a container",
            "no engine with an image: `tests/run` makes one",
        );
    };
    let sandbox = project(
        &[
            "cat deps/one ~/.tool/t || true",
            "mkdir -p deps ~/.tool; test -e deps/one || echo 1 > deps/one; test -e ~/.tool/t || echo 2 > ~/.tool/t; ls -ln deps/one ~/.tool/t",
        ],
        "  key: k-$(codebuild-hash-files buildspec.yml)\n  paths: ['deps/**/*', '$HOME/.tool/**/*', '/opt/other/**/*']\n",
    );
    let in_a_container = |arguments: &[&str]| {
        let place = place(&sandbox);
        let mut command = sandbox.command([
            "run",
            "--log-format",
            "codebuild",
            "--cache",
            &place,
            "--image",
            &image,
            "--pull",
            "never",
        ]);
        command.args(arguments);
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        let output = command.bounded_output().expect("it can be started");
        sandbox.finish(&output).expect(0)
    };
    in_a_container(&[]).stdout_has("Cache saved: key k-");
    let owner = fs::metadata(sandbox.source()).expect("it is there").uid();
    for how in ["bind", "copy"] {
        forget(&sandbox);
        in_a_container(&["--mount-source", how])
            .stdout_has("Cache restored: key k-")
            .stdout_has("\n1\n2\n")
            .stdout_has("Cache not saved");
        let one = fs::metadata(sandbox.source().join("deps/one")).expect("it came back");
        assert_eq!(one.uid(), owner, "{how}");
    }
    forget(&sandbox);
    run(&sandbox, &[]).expect(0).stdout_has("\n1\n2\n");
    assert!(sandbox.path("home/.tool/t").is_file());
}

// CTR-72
#[test]
fn what_another_build_stages_is_not_cached() {
    let sandbox = project(
        &["mkdir -p deps && echo 1 > deps/one"],
        "  paths: ['**/*']\n",
    );
    let staged = format!(".runner-{}/two", "0123456789abcdef".repeat(2));
    let sandbox = sandbox
        .file(&staged, "2")
        .file("deps/.runner-other/three", "3");
    run(&sandbox, &[])
        .expect(0)
        .stdout_has("Cache saved: 3 files");
}

const KEYED: &str = "  key: k\n  paths: ['deps/sub/**/*', '~/.tool/x/**/*']\n";

/// A build that saves something below the source and below its home, and tells what is there.
fn linked() -> Sandbox {
    project(
        &[
            "mkdir -p deps/sub ~/.tool/x; test -e deps/sub/one || echo 1 > deps/sub/one; test -e ~/.tool/x/t || echo 2 > ~/.tool/x/t",
        ],
        KEYED,
    )
}

/// Replaces a directory by a link.
fn lead(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(from);
    symlink(to, from).expect("a link can be made");
}

// CACHE-35
#[test]
fn what_is_restored_goes_nowhere_that_a_build_can_choose() {
    let sandbox = linked();
    run(&sandbox, &[])
        .expect(0)
        .stdout_has("Cache saved: key k, 2 files");
    let elsewhere = sandbox.path("elsewhere");
    fs::create_dir_all(elsewhere.join("sub")).expect("a directory can be made");
    let (deps, tool) = (sandbox.source().join("deps"), sandbox.path("home/.tool"));
    // The caller's own, and one that stays in the source.
    fs::create_dir(sandbox.source().join("other")).expect("a directory can be made");
    lead(&deps, Path::new("other"));
    lead(&tool, &elsewhere);
    run(&sandbox, &[])
        .expect(0)
        .stdout_has("Cache restored: key k, 2 files");
    assert!(sandbox.source().join("other/sub/one").is_file());
    assert!(elsewhere.join("x/t").is_file());
    fs::remove_dir_all(elsewhere.join("x")).expect("it is a directory");
    // One that leads out of it.
    for link in [&tool, &deps] {
        fs::remove_file(link).expect("it is a link");
    }
    lead(&deps, &elsewhere);
    let ran = run(&sandbox, &["-v"]).expect(0);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for text in [
        "/deps is a link",
        "a build could have made that link",
        "Unable to download cache",
    ] {
        assert!(said.contains(text), "no {text:?} in\n{said}");
    }
}

// CACHE-35
#[test]
fn nothing_is_restored_through_a_link_of_a_build() {
    let sandbox = linked();
    run(&sandbox, &[]).expect(0);
    let elsewhere = sandbox.path("elsewhere");
    fs::create_dir_all(&elsewhere).expect("a directory can be made");
    let nothing = |ran: &Ran| {
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(" is a link"), "{said}");
        let left = tree::files(&elsewhere);
        assert_eq!(left, Vec::<String>::new(), "{said}");
    };
    let only_looks = |sandbox: Sandbox| {
        let text = format!(
            "version: 0.2\nphases:\n  build:\n    commands: ['true']\ncache:\n  action: restore\n{KEYED}"
        );
        sandbox.file("buildspec.yml", text)
    };
    let sandbox = only_looks(sandbox);
    lead(&sandbox.source().join("deps"), &elsewhere);
    nothing(&run(&sandbox, &[]).expect(0));
    fs::remove_file(sandbox.source().join("deps")).expect("it is a link");
    if !rustix::process::geteuid().is_root() {
        return support::skipped("a link of another user", "only root gives files away");
    }
    let tool = sandbox.path("home/.tool");
    lead(&tool, &elsewhere);
    std::os::unix::fs::lchown(&tool, Some(12345), Some(12345)).expect("root may");
    nothing(&run(&sandbox, &[]).expect(0));
}

// CACHE-35, CACHE-21
#[test]
fn in_a_container_nothing_is_restored_through_a_link_either() {
    let Some(image) = support::container::busybox("a cache behind a link") else {
        return;
    };
    let build = |command: &str| {
        format!(
            "version: 0.2\nphases:\n  build:\n    commands: ['{command}']\ncache:\n  key: k\n  paths: ['deps/**/*']\n"
        )
    };
    let mut sandbox = Sandbox::new();
    for (command, said) in [
        ("mkdir deps && echo 1 > deps/one", "Cache saved"),
        ("rm -r deps && ln -s /etc deps", "Cache restored"),
        ("test ! -e /etc/one", "deps is a link"),
    ] {
        sandbox = sandbox.file("buildspec.yml", build(command));
        let place = place(&sandbox);
        let flags = ["--log-format", "codebuild", "--cache", &place];
        let ran = support::container::run(&sandbox, &image, &flags).expect(0);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(all.contains(said), "no {said:?} in\n{all}");
    }
}
