//! Sources that are fetched: real git, from files and over HTTP on loopback, and archives from the S3 that `tests/run`
//! starts.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use buildspec_runner::fetch::archive::Limits;
use buildspec_runner::fetch::{
    self, Error, Fetched, GitSettings, Location, Progress, S3Settings, Settings,
};
use buildspec_runner::process;
use rustix::process::{Pid, Signal, kill_process};
use support::aws::{Bucket, GoBetween, Verdict, command, endpoint, s3_error};
use support::git::{Reply, Repository, Server, git};
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};

const BUILDSPEC: &str = "version: 0.2\nphases:\n  build:\n    commands:\n      - env | grep '^CODEBUILD_S[OR][UC]\\|^CODEBUILD_RES' | LC_ALL=C sort\n      - ls -A\n";

/// How a library that knows no command line fetches; nothing of this machine's git is in it.
fn settings() -> Settings {
    let path = std::env::var_os("PATH");
    let variable = |name: &str, value: &str| (name.into(), value.into());
    Settings {
        git: GitSettings {
            program: process::find_program("git", path.as_deref()),
            variables: vec![
                ("PATH".into(), path.unwrap_or_default()),
                variable("GIT_CONFIG_GLOBAL", "/dev/null"),
                variable("GIT_CONFIG_SYSTEM", "/dev/null"),
            ],
            leave_terminal: None,
        },
        s3: S3Settings::default(),
        limits: Limits::default(),
        first_pause: Duration::ZERO,
    }
}

/// What comes of a source, and the directory that it is in.
fn fetched(
    form: &str,
    settings: &Settings,
) -> (Result<Fetched, Error>, tempfile::TempDir, Vec<Progress>) {
    let place = tempfile::tempdir().expect("a temporary directory can be made");
    let location = Location::parse(form, None).unwrap_or_else(|error| panic!("{form}: {error}"));
    let heard = Mutex::new(Vec::new());
    let watch = |progress| {
        heard
            .lock()
            .expect("no thread panics with it")
            .push(progress);
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let into = place.path().join("src");
    let result = runtime.block_on(async {
        let fetching = fetch::fetch(&location, &into, settings, &watch);
        tokio::time::timeout(wait::LIMIT, fetching)
            .await
            .expect("it ends")
    });
    if result.is_err() {
        let left = fs::read_dir(place.path()).expect("it is there").count();
        assert_eq!(left, 0, "{form}: something is left");
    }
    let heard = heard.into_inner().expect("no thread panicked with it");
    (result, place, heard)
}

#[track_caller]
fn checked_out(form: &str) -> (String, PathBuf, tempfile::TempDir) {
    let (result, place, _) = fetched(form, &settings());
    let commit = result
        .unwrap_or_else(|error| panic!("{form}: {error}: {}", error.help))
        .commit;
    let directory = place.path().join("src");
    (commit.expect("git has commits"), directory, place)
}

fn retries(heard: &[Progress]) -> usize {
    let is_retry = |progress: &&Progress| matches!(progress, Progress::Retry { .. });
    heard.iter().filter(is_retry).count()
}

// SRC-10 SRC-13
#[test]
fn every_form_of_a_revision_is_checked_out() {
    let repository = Repository::with(&[("file", "1")]);
    let first = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["tag", "plain"]);
    repository.git(&["tag", "-a", "annotated", "-m", "x"]);
    repository.git(&["tag", "pkg@1.0"]);
    repository.git(&["checkout", "--quiet", "-b", "feature/x"]);
    let second = repository.commit("second");
    repository.git(&["checkout", "--quiet", "--detach"]);
    let third = repository.commit("third");
    repository.git(&["update-ref", "refs/pull/7/head", "HEAD"]);
    repository.git(&["update-ref", "refs/merge-requests/8/head", "HEAD"]);
    let hidden = repository.commit("of nobody");
    repository.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    // A tag and a branch of one name: the branch is meant.
    repository.git(&["tag", "both", &first]);
    repository.git(&["branch", "both", &second]);
    repository.git(&["checkout", "--quiet", "main"]);
    let short = &second[..9];
    let of_branch = format!("refs/heads/feature/x^{{{first}}}");
    let table = [
        ("", &first),
        ("main", &first),
        ("feature/x", &second),
        ("plain", &first),
        ("annotated", &first),
        ("pkg@1.0", &first),
        ("both", &second),
        ("refs/heads/feature/x", &second),
        ("refs/tags/both", &first),
        ("refs/pull/7/head", &third),
        ("pr/7", &third),
        ("pr/8", &third),
        (&second, &second),
        (short, &second),
        (&hidden, &hidden),
        (&of_branch, &first),
    ];
    for (revision, expected) in table {
        let at = if revision.is_empty() { "" } else { "@" };
        let (commit, directory, _place) =
            checked_out(&format!("{}{at}{revision}", repository.form()));
        assert_eq!(&commit, expected, "{revision}");
        let head = git(&directory, &["rev-parse", "HEAD"]);
        assert_eq!(&head, expected, "{revision}");
        assert_eq!(
            git(&directory, &["rev-parse", "--abbrev-ref", "HEAD"]),
            "HEAD",
            "{revision}"
        );
        assert_eq!(
            git(&directory, &["status", "--porcelain"]),
            "",
            "{revision}"
        );
    }
    // That branch only.
    let (_, directory, _place) = checked_out(&format!("{}@{of_branch}", repository.form()));
    let branches = git(&directory, &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(branches, "refs/remotes/origin/feature/x");
    for missing in [
        "nope",
        "refs/heads/nope",
        "pr/99",
        "0123456",
        &"0".repeat(40),
    ] {
        let (result, _place, heard) =
            fetched(&format!("{}@{missing}", repository.form()), &settings());
        let error = result.expect_err(missing);
        assert_eq!(
            error.of_source(None, Some(missing)),
            format!("reference not found for primary source and source version {missing}")
        );
        assert_eq!(retries(&heard), 0, "{missing}");
    }
}

// SRC-10 SRC-30
#[test]
fn a_repository_that_is_missing_or_empty_is_told() {
    let empty = Repository::new();
    let (result, _place, _) = fetched(&empty.form(), &settings());
    let error = result.expect_err("there is nothing");
    assert_eq!(
        error.of_source(None, None),
        "remote repository is empty for primary source"
    );
    let (result, _place, heard) = fetched("git+file:///nowhere/at/all", &settings());
    let error = result.expect_err("there is nothing");
    assert_eq!(
        error.of_source(Some("lib"), None),
        "repository not found for secondary source lib"
    );
    assert_eq!(retries(&heard), 0);
    let without = Settings {
        git: GitSettings::default(),
        ..settings()
    };
    let (result, _place, _) = fetched(&empty.form(), &without);
    assert!(
        result
            .expect_err("there is no git")
            .message
            .contains("there is no git on PATH")
    );
}

/// SRC-10: a repository of SHA-256.
#[test]
fn commits_may_be_of_another_kind() {
    let repository = Repository::new();
    fs::remove_dir_all(repository.path().join(".git")).expect("it is there");
    repository.git(&[
        "init",
        "--quiet",
        "--initial-branch=main",
        "--object-format=sha256",
    ]);
    let commit = repository.commit("first");
    assert_eq!(commit.len(), 64);
    assert_eq!(checked_out(&repository.form()).0, commit);
    assert_eq!(
        checked_out(&format!("{}@{commit}", repository.form())).0,
        commit
    );
}

// SRC-11
#[test]
fn a_depth_is_a_number_of_commits() {
    let repository = Repository::with(&[("file", "1")]);
    for n in 0..4 {
        repository.commit(&n.to_string());
    }
    let commit = repository.git(&["rev-parse", "HEAD"]);
    let table = [
        ("", "5"),
        ("?depth=1", "1"),
        ("@main?depth=2", "2"),
        ("?depth=0", "5"),
        ("?depth=26", "5"),
        (&format!("@{commit}?depth=1"), "5"),
        (&format!("@refs/heads/main^{{{commit}}}?depth=1"), "5"),
    ];
    for (rest, expected) in table {
        let (_, directory, _place) = checked_out(&format!("{}{rest}", repository.form()));
        assert_eq!(
            git(&directory, &["rev-list", "--count", "HEAD"]),
            expected,
            "{rest}"
        );
    }
}

// SRC-12
#[test]
fn submodules_come_if_they_are_asked_for() {
    let inner = Repository::with(&[("inner.txt", "inner")]);
    let middle = Repository::with(&[("middle.txt", "middle")]);
    middle.git(&[
        "submodule",
        "--quiet",
        "add",
        &inner.path().display().to_string(),
        "inner",
    ]);
    middle.commit("with inner");
    let outer = Repository::with(&[("outer.txt", "outer")]);
    outer.git(&[
        "submodule",
        "--quiet",
        "add",
        &middle.path().display().to_string(),
        "middle",
    ]);
    outer.commit("with middle");
    for (rest, there) in [
        ("", false),
        ("?submodules=true", true),
        ("?depth=1&submodules=true", true),
    ] {
        let (_, directory, _place) = checked_out(&format!("{}{rest}", outer.form()));
        assert!(directory.join("outer.txt").exists(), "{rest}");
        assert_eq!(
            directory.join("middle/inner/inner.txt").exists(),
            there,
            "{rest}"
        );
    }
}

/// SRC-13: a build gets what is in the repository, and nothing that this machine adds.
#[test]
fn hooks_of_templates_stay_away() {
    let repository = Repository::with(&[("file", "1")]);
    let templates = tempfile::tempdir().expect("a temporary directory can be made");
    let hook = templates.path().join("hooks/post-checkout");
    fs::create_dir(templates.path().join("hooks")).expect("it is new");
    support::write_script(&hook, "#!/bin/sh\ntouch hooked\n");
    let mut settings = settings();
    let directory = templates.path().as_os_str().to_owned();
    settings
        .git
        .variables
        .push(("GIT_TEMPLATE_DIR".into(), directory));
    // As a hook of git leads every git.
    settings
        .git
        .variables
        .push(("GIT_DIR".into(), "/nowhere".into()));
    let (result, place, _) = fetched(&repository.form(), &settings);
    result.expect("it is there");
    assert!(!place.path().join("src/hooked").exists());
    let origin = git(&place.path().join("src"), &["remote", "get-url", "origin"]);
    assert_eq!(format!("git+{origin}"), repository.form());
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

/// A server that wants to know who asks.
fn guarded(repository: &Repository) -> Server {
    let known = [
        basic("user", "hush p@ss/w%rd"),
        basic("tok3n-of-somebody", ""),
    ];
    let root = repository.path().parent().map(Path::to_owned);
    Server::new(
        &root.expect("it has a parent"),
        move |request| match request.headers.get("authorization") {
            Some(said) if known.contains(said) => Reply::Serve,
            _ => Reply::Status("401 Unauthorized"),
        },
    )
}

// SRC-14 SRC-30
#[test]
fn what_gives_access_is_given_to_the_server_only() {
    let repository = Repository::with(&[("buildspec.yml", BUILDSPEC)]);
    let server = guarded(&repository);
    let secret = "hush p@ss/w%rd";
    let encoded = "hush%20p%40ss%2Fw%25rd";
    let sandbox = Sandbox::new();
    // A git that writes down what it is called with, and all that its process shows to others.
    let bin = sandbox.path("bin");
    fs::create_dir(&bin).expect("it is new");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = process::find_program("git", Some(&path)).expect("there is git");
    let log = sandbox.path("git.log");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> {}\nexec {} \"$@\"\n",
        log.display(),
        real.display()
    );
    support::write_script(&bin.join("git"), &script);
    let form = server.form(&format!("user:{encoded}@"), "app");
    let events = sandbox.path("events.jsonl");
    let mut command = sandbox.command([
        "run",
        "--log-format",
        "codebuild",
        "--source",
        &form,
        "--verbose",
    ]);
    command.arg("--events").arg(&events);
    command.args(["--source", &format!("lib={form}")]);
    command.env("PATH", format!("{}:{}", bin.display(), path.display()));
    let ran = sandbox
        .finish(&command.bounded_output().expect("it can be started"))
        .expect(0);
    let ran = ran.stdout_has(&format!(
        "CODEBUILD_SOURCE_REPO_URL=http://{}/app\n",
        server.host
    ));
    let calls = fs::read_to_string(&log).expect("git was called");
    assert!(calls.contains("ls-remote"), "{calls}");
    let events = fs::read_to_string(&events).expect("they were written");
    for text in [&ran.stdout, &ran.stderr, &calls, &events] {
        for hidden in [secret, encoded, "hush"] {
            assert!(!text.contains(hidden), "{hidden} is in {text}");
        }
    }
    // Also where it is of no use, and in what is no URL at all.
    for form in [
        server.form("user:hush-hush-wrong@", "app"),
        server.form("user:hush-hush@", "app?deep=1"),
        "git+https://user:hush-hush@host".to_owned(),
        "https://user:hush-hush@host/app".to_owned(),
    ] {
        let ran = run(&sandbox, &["--source", &form]);
        assert!([2, 4].contains(&ran.code), "{}", ran.code);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!all.contains("hush"), "{all}");
    }
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

// SRC-14 SRC-30
#[test]
fn who_is_not_known_is_refused_at_once_and_nobody_is_asked() {
    let repository = Repository::with(&[("buildspec.yml", BUILDSPEC)]);
    let server = guarded(&repository);
    let sandbox = Sandbox::new();
    run(&sandbox, &["--source", &server.form("", "app@main")])
        .expect(4)
        .stdout_has("Phase context status code: CLIENT_ERROR Message: authentication required for primary source and source version main\n")
        .stderr_has("credential helper");
    assert_eq!(server.count(), 1);
    run(
        &sandbox,
        &["--source", &server.form("tok3n-of-somebody@", "app")],
    )
    .expect(0);
    // A helper of the caller's own.
    let helper = sandbox.path("home/.gitconfig");
    let text = "[credential]\n\thelper = \"!f() { echo username=tok3n-of-somebody; echo password=; }; f\"\n";
    fs::write(helper, text).expect("it can be written");
    run(&sandbox, &["--source", &server.form("", "app")]).expect(0);
}

// SRC-7
#[test]
fn what_may_work_later_is_tried_again() {
    let repository = Repository::with(&[("file", "1")]);
    let root = repository
        .path()
        .parent()
        .map(Path::to_owned)
        .expect("it has a parent");
    let busy = |times: usize, status: &'static str| {
        Server::new(&root, move |request| {
            if request.number < times {
                Reply::Status(status)
            } else {
                Reply::Serve
            }
        })
    };
    let table = [
        (2, "503 Service Unavailable", true, 2),
        (4, "500 Internal Server Error", true, 4),
        (5, "503 Service Unavailable", false, 4),
        (1, "404 Not Found", false, 0),
        (1, "403 Forbidden", false, 0),
    ];
    for (times, status, expected, tried_again) in table {
        let server = busy(times, status);
        let (result, _place, heard) = fetched(&server.form("", "app"), &settings());
        assert_eq!(result.is_ok(), expected, "{times} × {status}: {result:?}");
        assert_eq!(retries(&heard), tried_again, "{times} × {status}");
    }
    // Nobody there at all.
    let (result, _place, heard) = fetched("git+http://127.0.0.1:9/app", &settings());
    let error = result.expect_err("nobody answers");
    assert!(
        error
            .message
            .starts_with("Git clone failed: Unable to access"),
        "{error}"
    );
    assert_eq!(retries(&heard), 4);
    // Half of an attempt leaves nothing to the next one.
    let halfway = Server::new(&root, |request| {
        let is_pack = request.line.starts_with("POST") && request.number < 4;
        if is_pack {
            Reply::Status("503 Service Unavailable")
        } else {
            Reply::Serve
        }
    });
    let (result, place, heard) = fetched(&halfway.form("", "app"), &settings());
    result.expect("it works in the end");
    assert!(retries(&heard) > 0);
    assert!(place.path().join("src/file").exists());
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let arguments = [&["run", "--log-format", "codebuild"], arguments].concat();
    let output = sandbox.command(arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

/// Where `<id>` is, in the log and for commands, and in which order.
// SRC-1 SRC-2 SRC-3 SRC-31 ENV-30 ENV-31 ENV-32 ENV-33
#[test]
fn a_build_has_all_of_its_sources() {
    let primary = Repository::with(&[(
        "buildspec.yml",
        &format!(
            "{BUILDSPEC}      - cat $CODEBUILD_SRC_DIR_lib/lib.txt $CODEBUILD_SRC_DIR_here/local.txt\n      - echo new > $CODEBUILD_SRC_DIR_here/made.txt\nartifacts:\n  files: [out.txt]\n"
        ),
    )]);
    primary.write("out.txt", "artifact\n");
    let commit = primary.commit("more");
    let lib = Repository::with(&[("lib.txt", "of the library\n")]);
    lib.git(&["tag", "v1"]);
    let sandbox = Sandbox::new();
    let here = sandbox.path("here");
    fs::create_dir(&here).expect("it is new");
    fs::write(here.join("local.txt"), "of the caller\n").expect("it can be written");
    let form = format!("{}@main", primary.form());
    let ran = run(
        &sandbox,
        &["--source", &format!("lib={}@v1", lib.form()), "--source", &form, "--source", "here=../here"],
    )
    .expect(0)
    .stdout_has(&format!("CODEBUILD_RESOLVED_SOURCE_VERSION={commit}\n"))
    // The sandbox of the repository swallows two slashes.
    .stdout_has("CODEBUILD_SOURCE_REPO_URL=file:<BOX>/app\n")
    .stdout_has("CODEBUILD_SOURCE_REPO_URL_here=\n")
    .stdout_has("CODEBUILD_SOURCE_VERSION=main\nCODEBUILD_SOURCE_VERSION_lib=v1\nCODEBUILD_SRC_DIR=<STATE>/src\nCODEBUILD_SRC_DIR_here=<BOX>/here\nCODEBUILD_SRC_DIR_lib=<STATE>/src_lib\n")
    .stdout_has("\nof the library\nof the caller\n");
    let lines: Vec<&str> = ran
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("[Container] 0000/00/00 00:00:00.000000 "))
        .collect();
    let start = lines
        .iter()
        .position(|line| *line == "Phase is DOWNLOAD_SOURCE")
        .expect("it is there");
    assert_eq!(
        lines[start + 1..start + 8],
        [
            "CODEBUILD_SRC_DIR=<STATE>/src",
            "CODEBUILD_SRC_DIR_lib=<STATE>/src_lib",
            "CODEBUILD_SRC_DIR_here=<BOX>/here",
            "YAML location is <STATE>/src/buildspec.yml",
            "Setting HTTP client timeout to higher timeout for Github and GitHub Enterprise sources",
            "Setting HTTP client timeout to higher timeout for Github and GitHub Enterprise sources",
            "Setting HTTP client timeout to higher timeout for S3 source",
        ]
    );
    assert!(here.join("made.txt").exists());
    // Beside the caller, and called as the repository.
    let artifact = sandbox.source().join(".runner/artifacts/app/out.txt");
    assert_eq!(
        fs::read_to_string(artifact).expect("it is stored"),
        "artifact\n"
    );
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

// SRC-1
#[test]
fn sources_that_contradict_one_another_are_mistakes() {
    let sandbox = Sandbox::with_commands(&["true"]);
    fs::create_dir(sandbox.source().join("a=b")).expect("it is new");
    let table: &[(&[&str], &str)] = &[
        (&["--source", ".", "--source", "."], "one primary source"),
        (&["-C", ".", "--source", "."], "leave one of them out"),
        (
            &["--source", "x=.", "--source", "x=."],
            "two sources are called `x`",
        ),
        (
            &["--source", "x=nowhere"],
            "the source directory nowhere cannot be used",
        ),
        (&["--source", "x=buildspec.yml"], "no directory"),
        (&["--source", "https://host/app"], "write git+https://"),
        (&["--source", "git+https://host/app@a..b"], "is no revision"),
        (
            &[
                "--source",
                "git+https://host/app@a",
                "--source-version",
                "b",
            ],
            "names the version `a`",
        ),
        (&["--source", "s3://bucket"], "names no object"),
        (&["--source", ""], "it is empty"),
    ];
    for (arguments, expected) in table {
        run(&sandbox, arguments).expect(2).stderr_has(expected);
        assert_eq!(sandbox.leftovers(), Vec::<String>::new(), "{arguments:?}");
    }
    fs::write(sandbox.source().join("a=b/buildspec.yml"), BUILDSPEC).expect("it can be written");
    run(&sandbox, &["--source", "./a=b"])
        .expect(0)
        .stdout_has("CODEBUILD_SRC_DIR=<SRC>/a=b\n");
}

// SRC-3 SRC-30
#[test]
fn a_source_without_a_buildspec_or_a_revision_fails_its_phase() {
    let repository = Repository::with(&[("other.yml", BUILDSPEC)]);
    let form = repository.form();
    let sandbox = Sandbox::new();
    run(&sandbox, &["--source", &form])
        .expect(3)
        .stdout_has("CODEBUILD_SRC_DIR=<STATE>/src\n")
        .stdout_has("YAML_FILE_ERROR Message: YAML file does not exist\n");
    run(&sandbox, &["--source", &form, "--file", "other.yml"]).expect(0);
    // The first that is missing is the context, the others are help; what is not there is not in the log.
    let ran = run(
        &sandbox,
        &[
            "--file",
            "other.yml",
            "--source",
            &format!("{form}@nope"),
            "--source",
            &format!("lib={form}@no"),
            "--source",
            &format!("ok={form}"),
        ],
    )
    .expect(4)
    .stdout_has("CODEBUILD_SRC_DIR_ok=<STATE>/src_ok\n")
    .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FAILED\n")
    .stdout_has(
        "CLIENT_ERROR Message: reference not found for primary source and source version nope\n",
    )
    .stderr_has("also: reference not found for secondary source lib and source version no");
    assert!(
        !ran.stdout.contains("CODEBUILD_SRC_DIR=") && !ran.stdout.contains("SRC_DIR_lib="),
        "{}",
        ran.stdout
    );
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

// SRC-6
#[test]
fn a_buildspec_that_cannot_be_used_is_told_before_anything_is_fetched() {
    let repository = Repository::with(&[("file", "1")]);
    let root = repository
        .path()
        .parent()
        .map(Path::to_owned)
        .expect("it has a parent");
    let server = Server::new(&root, |_| Reply::Serve);
    let sandbox = Sandbox::with_buildspec("version: 7\n");
    run(
        &sandbox,
        &["--source", &format!("lib={}", server.form("", "app"))],
    )
    .expect(3);
    assert_eq!(server.count(), 0);
}

// SRC-5
#[test]
fn a_plan_fetches_no_more_than_it_needs() {
    let repository = Repository::with(&[("buildspec.yml", BUILDSPEC)]);
    repository.commit("second");
    let root = repository
        .path()
        .parent()
        .map(Path::to_owned)
        .expect("it has a parent");
    let server = Server::new(&root, |_| Reply::Serve);
    let secondary = Server::new(&root, |_| Reply::Serve);
    let sandbox = Sandbox::new();
    let (form, lib) = (
        server.form("", "app"),
        format!("lib={}", secondary.form("", "app")),
    );
    let plan = |first: &[&str]| {
        let arguments = [first, &["--source", &form, "--source", &lib]].concat();
        let output = sandbox.command(arguments).bounded_output();
        sandbox.finish(&output.expect("the program can be started"))
    };
    plan(&["plan"])
        .expect(0)
        .stdout_has("<STATE>/src/buildspec.yml")
        .stdout_has("lib: <STATE>/src_lib")
        .stderr_has("to read the buildspec in it");
    plan(&["run", "--dry-run"])
        .expect(0)
        .stderr_has("dry run: nothing was run");
    assert_eq!(secondary.count(), 0);
    let before = server.count();
    let mut command = sandbox.command(["plan", "--file", "-", "--source", &form]);
    let mut child = Sandbox::spawn(command.stdin(std::process::Stdio::piped()));
    let mut input = child.stdin.take().expect("it reads");
    input.write_all(BUILDSPEC.as_bytes()).expect("it takes it");
    drop(input);
    sandbox.finish(&wait::output(child)).expect(0);
    assert_eq!(server.count(), before);
    plan(&["plan", "--source-version", "nope"])
        .expect(4)
        .stderr_has("reference not found for primary source and source version nope");
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

/// Processes whose arguments have this in them.
fn processes_with(text: &str) -> BTreeSet<i32> {
    let entries = fs::read_dir("/proc").expect("there is /proc").flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let arguments = fs::read(entry.path().join("cmdline")).ok()?;
            let has = String::from_utf8_lossy(&arguments).contains(text);
            (has && pid != i32::try_from(std::process::id()).ok()?).then_some(pid)
        })
        .collect()
}

// SRC-6 SRC-3
#[test]
fn a_signal_and_the_time_limit_end_what_is_fetched() {
    let repository = Repository::with(&[("buildspec.yml", BUILDSPEC)]);
    let root = repository
        .path()
        .parent()
        .map(Path::to_owned)
        .expect("it has a parent");
    let server = std::sync::Arc::new(Server::new(&root, |_| Reply::Hold));
    let sandbox = Sandbox::new();
    let form = server.form("", "app");
    for (command, code) in [("run", 143), ("plan", 143)] {
        let mut command = sandbox.command([command, "--source", &form]);
        let before = server.count();
        let child = Sandbox::spawn(&mut command);
        let (looked_at, mut expected) = (std::sync::Arc::clone(&server), before);
        expected += 1;
        wait::until("the server is asked", move || looked_at.count() >= expected);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a number"), Signal::TERM).expect("it runs");
        sandbox.finish(&wait::output(child)).expect(code);
        let host = server.host.clone();
        wait::until("git is gone", move || processes_with(&host).is_empty());
        assert_eq!(sandbox.leftovers(), Vec::<String>::new());
    }
    run(&sandbox, &["--source", &form, "--timeout", "1s"])
        .expect(5)
        .stdout_has("DOWNLOAD_SOURCE State: TIMED_OUT");
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

// SRC-3
#[test]
fn what_a_killed_build_has_fetched_is_swept_away() {
    let commands = [
        "mkdir locked && touch locked/file && chmod 500 locked",
        "mkfifo fifo && echo fetched && cat fifo",
    ];
    let commands = commands.map(|command| format!("      - {command}\n"));
    let commands = commands.concat();
    let buildspec = format!("version: 0.2\nphases:\n  build:\n    commands:\n{commands}");
    let repository = Repository::with(&[("buildspec.yml", &buildspec)]);
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["run", "--quiet", "--source", &repository.form()]);
    let mut child = Sandbox::spawn(&mut command);
    let stdout = child.stdout.take().expect("it writes to a pipe");
    let _rest = wait::read_until(stdout, "fetched");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a child has a number"), Signal::KILL).expect("it runs");
    wait::end(child);
    let left = sandbox.leftovers();
    let fifos = left
        .iter()
        .map(|name| sandbox.path("tmp").join(name).join("src/fifo"));
    let fifo = fifos.into_iter().find(|fifo| fifo.exists());
    let fifo = fifo.expect("the source is left");
    // The command that nobody waits for any more ends.
    wait::within("the command", move || {
        drop(fs::OpenOptions::new().write(true).open(fifo));
    });
    let place = sandbox.path("tmp");
    wait::until("it is swept away", move || {
        let next = Sandbox::with_commands(&["true"]);
        let mut command = next.command(["run"]);
        let output = command.env("TMPDIR", &place).bounded_output();
        next.finish(&output.expect("it can be started")).expect(0);
        fs::read_dir(&place).is_ok_and(|mut entries| entries.next().is_none())
    });
}

/// A ZIP archive of these files.
fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        writer.start_file(*name, options).expect("it can be begun");
        writer
            .write_all(content.as_bytes())
            .expect("memory takes everything");
    }
    writer.finish().expect("it can be ended").into_inner()
}

fn run_with(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
    let arguments = [&["run", "--log-format", "codebuild"], arguments].concat();
    let output = command(sandbox, endpoint, &arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

// SRC-17 SRC-25 SRC-31 ENV-32 ENV-33
#[test]
fn an_archive_in_a_bucket_is_a_source() {
    let Some(endpoint) = endpoint("an_archive_in_a_bucket_is_a_source") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "sources-are-there");
    bucket.keep_versions();
    let script = "version: 0.2\nphases:\n  build:\n    commands:\n      - env | grep '^CODEBUILD_S[OR][UC]\\|^CODEBUILD_RES' | LC_ALL=C sort\n      - ./say.sh\n";
    let first = bucket.put_bytes(
        "in/app.zip",
        zip(&[
            ("buildspec.yml", script),
            ("say.sh", "#!/bin/sh\necho first\n"),
        ]),
    );
    bucket.put_bytes(
        "in/app.zip",
        zip(&[
            ("buildspec.yml", script),
            ("say.sh", "#!/bin/sh\necho second\n"),
        ]),
    );
    let sandbox = Sandbox::new();
    let form = "s3://sources-are-there/in/app.zip";
    let ran = run_with(
        &sandbox,
        &endpoint,
        &[
            "--source",
            form,
            "--source",
            &format!("old={form}?versionId={first}"),
        ],
    )
    .expect(0)
    .stdout_has("\nCODEBUILD_SOURCE_REPO_URL=s3://sources-are-there/in/app.zip\n")
    .stdout_has("Setting HTTP client timeout to higher timeout for S3 source\n")
    .stdout_has("\nsecond\n");
    assert!(
        !ran.stdout.contains("CODEBUILD_RESOLVED_SOURCE_VERSION"),
        "{}",
        ran.stdout
    );
    run_with(
        &sandbox,
        &endpoint,
        &["--source", form, "--source-version", &first],
    )
    .expect(0)
    .stdout_has("\nCODEBUILD_SOURCE_VERSION=00000000-0000-0000-0000-000000000000\n")
    .stdout_has("\nfirst\n");
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

// ENV-55
#[test]
fn a_bucket_that_does_not_answer_is_told_of_and_given_up() {
    let silent = GoBetween::new("http://127.0.0.1:1", |_| Verdict::Hold);
    let sandbox = Sandbox::with_commands(&["true"]);
    let arguments = [
        "run",
        "--log-format",
        "codebuild",
        "--source",
        "s3://silent/in.zip",
    ];
    let output = command(&sandbox, &silent.endpoint, &arguments).bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(4)
        .stderr_has("no answer after 10 s: still waiting for s3://silent/in.zip")
        .stdout_has("could not fetch s3://silent/in.zip: ");
}

// SRC-30 SRC-20
#[test]
fn an_object_that_cannot_be_had_is_told_in_the_words_of_s3() {
    let Some(endpoint) = endpoint("an_object_that_cannot_be_had_is_told_in_the_words_of_s3") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "sources-are-not-there");
    bucket.put("text", "this is no archive");
    bucket.put_bytes("out.zip", zip(&[("../out", "x")]));
    bucket.put("folder/", "");
    let sandbox = Sandbox::new();
    let denied = GoBetween::new(&endpoint, |_| {
        s3_error("403 Forbidden", "AccessDenied", "Access Denied")
    });
    let table = [
        (
            &endpoint,
            "s3://sources-are-not-there/none.zip",
            "CLIENT_ERROR Message: NoSuchKey: The specified key does not exist.\n\tstatus code: 404, request id: ",
            "check the bucket, the key and the version",
        ),
        (
            &endpoint,
            "s3://sources-nowhere/none.zip",
            "CLIENT_ERROR Message: NoSuchBucket: ",
            "check the bucket",
        ),
        (
            &denied.endpoint,
            "s3://sources-are-not-there/text",
            "CLIENT_ERROR Message: AccessDenied: Access Denied\n\tstatus code: 403, request id: REQ1, host id: HOST1 for primary source\n",
            "s3:GetObject",
        ),
        (
            &endpoint,
            "s3://sources-are-not-there/text",
            "could not unpack s3://sources-are-not-there/text: it is no ZIP, TAR or TAR.GZ archive\n",
            "as a ZIP archive",
        ),
        (
            &endpoint,
            "s3://sources-are-not-there/out.zip",
            "could not unpack s3://sources-are-not-there/out.zip: entry `../out`: its name leads outside of the archive\n",
            "without this entry",
        ),
        (
            &endpoint,
            "s3://sources-are-not-there/folder/",
            "is a folder, and a source is an archive",
            "name the ZIP archive",
        ),
    ];
    for (endpoint, form, message, help) in table {
        run_with(&sandbox, endpoint, &["--source", form])
            .expect(4)
            .stdout_has(message)
            .stderr_has(help);
        assert_eq!(sandbox.leftovers(), Vec::<String>::new(), "{form}");
    }
}

// SRC-18 SRC-19 SRC-7
#[test]
fn a_bucket_elsewhere_is_asked_there_and_an_answer_that_breaks_off_is_continued() {
    let Some(endpoint) =
        endpoint("a_bucket_elsewhere_is_asked_there_and_an_answer_that_breaks_off_is_continued")
    else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "sources-break-off");
    let noise: Vec<String> = (0..60_000_u64)
        .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let noise = noise.concat();
    let archive = zip(&[("buildspec.yml", BUILDSPEC), ("noise", &noise)]);
    let tag = bucket.put_bytes_tag("app.zip", archive.clone());
    let sandbox = Sandbox::new();
    let form = "s3://sources-break-off/app.zip";
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let elsewhere = GoBetween::new(&endpoint, move |_| {
        let number = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let moved = "HTTP/1.1 301 Moved Permanently\r\nx-amz-bucket-region: eu-central-1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        Verdict::when(number == 0, Verdict::Answer(moved.to_owned()))
    });
    run_with(&sandbox, &elsewhere.endpoint, &["--source", form]).expect(0);
    assert_eq!(elsewhere.count("GET"), 2);
    // The first answer has half of it and breaks off; the text of a response is text, so the archive's first half is sent by
    // hand.
    let half = archive.len() / 2;
    let broken = Halfway::new(&endpoint, archive[..half].to_vec(), archive.len(), tag);
    let ran = run_with(&sandbox, &broken.endpoint, &["--source", form]).expect(0);
    assert!(ran.stderr.contains("Retrying"), "{}", ran.stderr);
    let ranges = broken.ranges();
    assert_eq!(ranges, [None, Some(format!("bytes={half}-"))]);
}

/// A server that sends the first bytes of an object and hangs up, once, and then passes requests on.
struct Halfway {
    endpoint: String,
    seen: std::sync::Arc<Mutex<Vec<Option<String>>>>,
}

impl Halfway {
    fn new(upstream: &str, first: Vec<u8>, size: usize, tag: String) -> Self {
        use std::io::{BufRead as _, BufReader};
        use std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let endpoint = format!(
            "http://{}",
            listener.local_addr().expect("it has an address")
        );
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let log = std::sync::Arc::clone(&seen);
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut reader = BufReader::new(client.try_clone().expect("it can be cloned"));
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n")
                    && reader.read_line(&mut head).is_ok_and(|read| read > 0)
                {}
                let range = head.lines().find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("range: ")
                        .map(str::to_owned)
                });
                let number = {
                    let mut log = log.lock().expect("no thread panics with it");
                    log.push(range);
                    log.len()
                };
                if number == 1 {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: {tag}\r\nConnection: close\r\n\r\n"
                    );
                    let _ = client
                        .write_all(head.as_bytes())
                        .and_then(|()| client.write_all(&first));
                    continue;
                }
                let mut server = TcpStream::connect(&upstream).expect("it is there");
                let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                server.write_all(head.as_bytes()).expect("it takes it");
                let _ = std::io::copy(&mut server, &mut client);
            }
        });
        Self { endpoint, seen }
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.seen.lock().expect("no thread panics with it").clone()
    }
}
