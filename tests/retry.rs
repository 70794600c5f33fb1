//! Retries as a person meets them: limits, the summary, what is left behind.

mod support;

use std::fs;

use support::events;
use support::sandbox::Sandbox;

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
