//! Retries as a person meets them: limits, the summary, what is left behind.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;

use support::events;
use support::git::Repository;
use support::sandbox::Sandbox;
use support::wait::Bounded as _;

// PHASE-19
#[test]
fn the_time_limit_is_for_all_attempts_together() {
    for scope in ["build", "phase"] {
        let sandbox = Sandbox::with_buildspec(
            "version: 0.2\nphases:\n  build:\n    on-failure: RETRY-100\n    commands:\n      - sleep 0.2; exit 1\n",
        );
        let ran = sandbox.run([
            "run",
            "--log-format",
            "codebuild",
            "--timeout",
            "1s",
            "--retry-scope",
            scope,
        ]);
        let ran = ran.expect(5);
        assert!(
            ran.stdout.contains("retry 1 of at most 100"),
            "{}",
            ran.stdout
        );
        assert!(!ran.stdout.contains("retry 6 of"), "{}", ran.stdout);
        assert_eq!(sandbox.leftovers(), [] as [String; 0]);
    }
}

// PHASE-18
#[test]
fn the_summary_is_that_of_the_last_attempt() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    on-failure: RETRY\n    commands:\n      - echo x >> n; test $(wc -l < n) -eq 3\n",
    );
    let ran = sandbox.run(["run", "--log-format", "pretty"]).expect(0);
    let (before, summary) = ran.stdout.split_once(" SUMMARY ").expect("a summary");
    assert_eq!(
        before
            .matches("retrying the build after a failure in BUILD")
            .count(),
        2
    );
    assert_eq!(
        before
            .matches("the source directory as the failed attempt left it")
            .count(),
        1
    );
    assert_eq!(summary.matches("SUCCEEDED").count(), 7, "{summary}");
    assert!(summary.contains(" after 2 retries, 1 warning"), "{summary}");
    assert!(!summary.contains("error"), "{summary}");
}

// PHASE-16
#[test]
fn what_an_attempt_left_in_the_background_ends_with_it() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2
phases:
  build:
    on-failure: RETRY-1
    commands:
      - |
        if test -e pid; then
          # What has ended and was not waited for yet is a Z.
          case $(cut -d ' ' -f 3 /proc/$(cat pid)/stat 2>/dev/null) in
            ''|Z) echo it is gone ;;
            *) echo still there ;;
          esac
        fi
      - (exec sleep 600) & echo $! > pid
      - exit 1
",
    );
    let ran = sandbox.run(["run", "--log-format", "codebuild"]).expect(1);
    assert!(ran.stdout.contains("\nit is gone"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("\nstill there"), "{}", ran.stdout);
}

// PHASE-15, PHASE-16
#[test]
fn a_stop_ends_the_attempt_that_runs_and_nothing_follows() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2
phases:
  build:
    on-failure: RETRY
    commands:
      - echo x >> n; test $(wc -l < n) -ge 2
      - kill -TERM $PPID; exec tail -f /dev/null
",
    );
    let log = sandbox.path("events.jsonl");
    sandbox
        .run(["run", "--quiet", "--events", log.to_str().unwrap()])
        .expect(143);
    let events = events::parse(&fs::read_to_string(&log).unwrap());
    events::check_grammar(&events);
    let retries = events
        .iter()
        .filter(|event| event["event"] == "build-retried");
    assert_eq!(retries.count(), 1);
    assert_eq!(
        fs::read_to_string(sandbox.source().join("n")).unwrap(),
        "x\nx\n"
    );
}

/// What each attempt found.
fn found(stdout: &str) -> Vec<&str> {
    let lines = stdout.lines();
    lines.filter(|line| line.starts_with("finds ")).collect()
}

// PHASE-16, PHASE-17: what was fetched is put back, and fetched once; a directory of the caller's stays, and is named.
#[test]
fn a_fetched_source_is_what_it_was_and_another_one_is_warned_of() {
    let build = "version: 0.2
phases:
  build:
    on-failure: RETRY-2
    commands:
      - echo finds $(ls -A) and $(cat sub/file link)
      - chmod 500 sub; rm link; ln -s /etc link; git rm -q --cached sub/file && touch new ${CODEBUILD_SRC_DIR_lib:-.}/new
      - echo x >> $HOME/n; test $(wc -l < $HOME/n) -ge 3
artifacts:
  files: [new]
";
    let repository = Repository::with(&[
        ("buildspec.yml", build),
        ("sub/file", "as it was"),
        ("link", "too"),
    ]);
    let form = repository.form();
    let sandbox = Sandbox::new();
    let ran = sandbox
        .run(["run", "--log-format", "codebuild", "--source", &form])
        .expect(0);
    let finds = "finds .git buildspec.yml link sub and as it wastoo";
    assert_eq!(found(&ran.stdout), [finds; 3], "{}", ran.stderr);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("Fetched").count(), 1, "{}", ran.stderr);
    assert_eq!(sandbox.leftovers(), [] as [String; 0]);

    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("lib")).unwrap();
    let beside = [
        "run",
        "--log-format",
        "codebuild",
        "--source",
        &form,
        "--source",
        "lib=../lib",
    ];
    let ran = sandbox.run(beside).expect(0);
    assert_eq!(found(&ran.stdout), [finds; 3], "{}", ran.stderr);
    let ran =
        ran.stderr_has("the retry finds the directory of `lib` as the failed attempt left it");
    assert_eq!(ran.stderr.matches("as the failed attempt").count(), 1);
    assert!(sandbox.path("lib/new").exists());
}

// PHASE-17: only a retry of the whole build begins anew.
#[test]
fn a_phase_that_runs_again_goes_on_in_its_source() {
    let build = "version: 0.2
phases:
  build:
    on-failure: RETRY-1
    commands:
      - echo x >> n; test $(wc -l < n) -eq 2
";
    let repository = Repository::with(&[("buildspec.yml", build)]);
    let form = repository.form();
    let arguments = ["run", "--log-format", "codebuild", "--source", &form];
    let sandbox = Sandbox::new();
    let phase = [&arguments[..], &["--retry-scope", "phase"]].concat();
    sandbox.run(phase).expect(0);
    // As a whole it never sees the first attempt's line.
    sandbox.run(arguments).expect(1);
    assert_eq!(sandbox.leftovers(), [] as [String; 0]);
}

/// A build of a source that is fetched, whose file takes three quarters of a megabyte.
const LARGE: &str = "version: 0.2
phases:
  build:
    on-failure: RETRY-1
    commands:
      - echo finds $(ls); touch new
      - test -z \"$SPOIL\" || rm -rf \"$TMPDIR\"/*/0
      - exit 3
";

fn large() -> Repository {
    Repository::with(&[("buildspec.yml", LARGE), ("large", &"x".repeat(768 << 10))])
}

// PHASE-21
#[test]
fn without_room_for_a_copy_of_its_source_a_build_goes_on() {
    let (sandbox, repository) = (Sandbox::new(), large());
    let mut command = std::process::Command::new("unshare");
    command
        .args(["-m", "sh", "-c"])
        .arg("mount -t tmpfs -o size=1m none \"$1\" && shift && exec \"$@\"")
        .arg("sh")
        .arg(sandbox.path("tmp"))
        .arg(support::RUNNER)
        .args([
            "run",
            "--log-format",
            "codebuild",
            "--source",
            &repository.form(),
        ]);
    let usual = sandbox.command([""; 0]);
    command.env_clear().current_dir(sandbox.source());
    command.envs(
        usual
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let Ok(output) = command.bounded_output() else {
        return support::skipped("a source that cannot be copied", "no unshare");
    };
    let ran = sandbox.finish(&output);
    if ran.stderr.contains("unshare:") || ran.stderr.contains("mount:") {
        return support::skipped("a source that cannot be copied", "no mounts of its own");
    }
    let ran = ran.expect(1);
    let finds = ["finds buildspec.yml large", "finds buildspec.yml large new"];
    assert_eq!(found(&ran.stdout), finds, "{}", ran.stderr);
    let ran = ran.stderr_has("what was fetched could not be copied to <BOX>/tmp for a retry, which will find it as the failed attempt left it: <STATE>/src: No space left on device");
    ran.stderr_has("the retry finds the source directory as the failed attempt left it");
}

// PHASE-21
#[test]
fn a_source_that_cannot_be_put_back_is_a_fault() {
    let (sandbox, repository) = (Sandbox::new(), large());
    let form = repository.form();
    let spoilt = [
        "run",
        "--log-format",
        "codebuild",
        "--env",
        "SPOIL=1",
        "--source",
        &form,
    ];
    let ran = sandbox.run(spoilt).expect(4);
    let finds = ["finds buildspec.yml large"];
    assert_eq!(found(&ran.stdout), finds, "{}", ran.stderr);
    ran.stderr_has(
        "could not make the source new for a retry: <STATE>/src: No such file or directory",
    );
    assert_eq!(sandbox.leftovers(), [] as [String; 0]);
}
