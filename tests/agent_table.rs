//! The agent's decisions, by tables: what jobs may ask for, what is on disk, when it asks again.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_credential_types::provider::ProvideCredentials as _;
use buildspec_runner::agent::answer::{Answer, Failure, FailureKind, Success};
use buildspec_runner::agent::board::{About, Board};
use buildspec_runner::agent::input::JobCredentials;
use buildspec_runner::agent::job::{
    Allowed, BuildspecFrom, Defaults, Handover, Order, matches, order,
};
use buildspec_runner::agent::kept::Kept;
use buildspec_runner::agent::log::{Form, Log};
use buildspec_runner::agent::pipeline::{
    self, Artifact, Details, ErrorKind, Job, Nonce, Origin, Pipeline,
};
use buildspec_runner::agent::poll::{Backoff, spread};
use buildspec_runner::agent::progress::LONGEST_ROUND;
use buildspec_runner::agent::serve::{self, Agent, Command, Settings};
use buildspec_runner::agent::state::{OpenError, Record, Stage, StateDirectory};
use buildspec_runner::aws::{self, Keys};
use buildspec_runner::event::stamp;
use buildspec_runner::plan::RequestedValue;
use buildspec_runner::store::Stop;
use tokio::sync::mpsc;

const RECORD: &str = "job.json";

// ── job

fn details(pairs: &[(&str, &str)], inputs: &[&str]) -> Details {
    let configuration = pairs.iter();
    let configuration = configuration.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let artifact = |name: &&str| Artifact {
        name: (*name).to_owned(),
        bucket: "b".to_owned(),
        key: format!("k/{name}"),
        revision: None,
    };
    let mut details = Details {
        configuration: configuration.collect(),
        inputs: inputs.iter().map(artifact).collect(),
        ..Details::default()
    };
    "web-pipeline".clone_into(&mut details.origin.pipeline);
    details
}

fn ask(pairs: &[(&str, &str)], inputs: &[&str]) -> Result<Order, String> {
    order(
        &details(pairs, inputs),
        &Allowed::default(),
        &Defaults::default(),
    )
}

// AGENT-13
#[test]
fn a_buildspec_is_a_path_or_a_text() {
    let table = [
        ("", BuildspecFrom::Default),
        (
            "ci/build.yml",
            BuildspecFrom::Path("ci/build.yml".to_owned()),
        ),
        (
            "version: 0.2\nphases: {}",
            BuildspecFrom::Inline("version: 0.2\nphases: {}".to_owned()),
        ),
        (
            "{version: 0.2, phases: {}}",
            BuildspecFrom::Inline("{version: 0.2, phases: {}}".to_owned()),
        ),
    ];
    for key in ["Buildspec", "BuildspecOverride"] {
        for (text, expected) in &table {
            let found = ask(&[(key, text)], &["S"]).map(|order| order.buildspec);
            assert_eq!(found.as_ref(), Ok(expected), "{text}");
        }
        for text in [
            "/etc/passwd",
            "../x.yml",
            "a/../../x",
            "arn:aws:s3:::b/k",
            "https://h/x.yml",
        ] {
            assert!(ask(&[(key, text)], &["S"]).is_err(), "{text}");
        }
    }
    assert!(
        ask(
            &[("Buildspec", "a.yml"), ("BuildspecOverride", "b.yml")],
            &["S"]
        )
        .is_err()
    );
}

// AGENT-14
#[test]
fn variables_are_those_of_the_codebuild_action() {
    let text = r#"[{"name":"A","value":"1"},{"name":"P","value":"/p","type":"PARAMETER_STORE"},{"name":"S","value":"s:k","type":"SECRETS_MANAGER"}]"#;
    let order = ask(&[("EnvironmentVariables", text)], &["S"]);
    let Ok(order) = order else {
        panic!("{:?}", order.err());
    };
    let handover = Handover {
        build_uuid: String::new(),
        initiator: String::new(),
        resolved_version: None,
        account: None,
        variables: order.variables,
    };
    let values = handover.requested().into_iter().map(|one| one.value);
    let kinds: Vec<&str> = values
        .map(|value| match value {
            RequestedValue::Plaintext(_) => "PLAINTEXT",
            RequestedValue::ParameterStore(_) => "PARAMETER_STORE",
            RequestedValue::SecretsManager(_) => "SECRETS_MANAGER",
            RequestedValue::Given => "nothing",
        })
        .collect();
    assert_eq!(kinds, ["PLAINTEXT", "PARAMETER_STORE", "SECRETS_MANAGER"]);
    let wrong = [
        "{}",
        "[{\"name\":\"\",\"value\":\"hunter2\"}]",
        "[{\"name\":\"A=B\",\"value\":\"hunter2\"}]",
        "[{\"name\":\"A\",\"value\":\"hunter2\",\"type\":\"hunter2\"}]",
        "[{\"name\":\"A\",\"value\":\"hunter2\"},{\"name\":\"A\",\"value\":\"hunter2\"}]",
        "[{\"name\":\"A\",\"value\":\"\",\"type\":\"PARAMETER_STORE\"}]",
        "[{\"name\":\"A\",\"value\":\"hunter2\"",
        "[{\"name\":\"A\",\"valeu\":\"hunter2\"}]",
        "[{\"name\":\"A\",\"value\":\"hunter2\",\"kind\":\"PLAINTEXT\"}]",
        "[{\"name\":\"A\"}]",
        "[{\"name\":\"A\",\"value\":2}]",
        "[{\"value\":\"hunter2\"}]",
        "[\"hunter2\"]",
    ];
    for text in wrong {
        let Err(problem) = ask(&[("EnvironmentVariables", text)], &["S"]) else {
            panic!("{text} is taken");
        };
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

// AGENT-9
#[test]
fn the_primary_source_is_named_or_the_only_one() {
    let primary = |pairs: &[(&str, &str)], inputs: &[&str]| {
        ask(pairs, inputs).map(|order| {
            let names = order.others.iter().map(|other| other.name.clone());
            (order.primary.map(|one| one.name), names.collect::<Vec<_>>())
        })
    };
    assert_eq!(primary(&[], &["A"]), Ok((Some("A".to_owned()), vec![])));
    assert_eq!(primary(&[], &[]), Ok((None, vec![])));
    let named = primary(&[("PrimarySource", "B")], &["A", "B", "C"]);
    assert_eq!(
        named,
        Ok((Some("B".to_owned()), vec!["A".to_owned(), "C".to_owned()]))
    );
    assert!(primary(&[], &["A", "B"]).is_err());
    assert!(primary(&[("PrimarySource", "X")], &["A"]).is_err());
    assert!(primary(&[], &["A/../B"]).is_err());
}

// AGENT-38
#[test]
fn the_place_of_a_source_is_in_the_part_of_aws_that_its_pipeline_is_in() {
    for (pipeline, expected) in [
        (
            "arn:aws:codepipeline:eu-west-1:123456789012:web",
            "arn:aws:s3:::b/k/S",
        ),
        (
            "arn:aws-cn:codepipeline:cn-north-1:123456789012:web",
            "arn:aws-cn:s3:::b/k/S",
        ),
        (
            "arn:aws-us-gov:codepipeline:us-gov-west-1:123456789012:web",
            "arn:aws-us-gov:s3:::b/k/S",
        ),
        ("", "arn:aws:s3:::b/k/S"),
    ] {
        let mut details = details(&[], &["S"]);
        pipeline.clone_into(&mut details.origin.arn);
        let order = order(&details, &Allowed::default(), &Defaults::default());
        let version = order.map(|order| order.source_version);
        assert_eq!(version, Ok(Some(expected.to_owned())));
    }
}

// AGENT-12
#[test]
fn what_cannot_be_is_refused_and_what_is_unknown_is_passed_over() {
    let wrong = [
        ("ProjectName", "a b"),
        ("Timeout", "0"),
        ("Timeout", "1441"),
        ("Timeout", "5m"),
        ("Privileged", "maybe"),
        ("BatchEnabled", "true"),
        ("Executor", "lambda"),
        ("Executor", "docker"),
        ("ServiceRoleArnOverride", "role"),
        // Flags and standard input for a program, and no values.
        ("Buildspec", "-"),
        ("Buildspec", " -"),
        ("BuildspecOverride", "--help"),
        ("Buildspec", "a\0b"),
        ("Image", "--privileged"),
        ("Image", "a\0b"),
        ("Image", "a b"),
        ("Anything", "\0"),
    ];
    for (key, value) in wrong {
        assert!(ask(&[(key, value)], &["S"]).is_err(), "{key} {value}");
    }
    let order = ask(
        &[
            ("Timeout", "90"),
            ("Extra", "x"),
            ("BatchEnabled", "false"),
            ("CombineArtifacts", "true"),
        ],
        &["S"],
    );
    let Ok(order) = order else {
        panic!("{:?}", order.err());
    };
    assert_eq!(order.timeout, Some(Duration::from_mins(90)));
    assert_eq!(order.unknown, ["Extra"]);
    assert_eq!(order.project.as_str(), "web-pipeline");
}

// AGENT-15, AGENT-16
#[test]
fn nothing_is_done_that_is_not_allowed() {
    let list = |items: &[&str]| {
        items
            .iter()
            .map(|item| (*item).to_owned())
            .collect::<Vec<_>>()
    };
    let role = "arn:aws:iam::123456789012:role/build";
    let allowed = Allowed {
        images: list(&["corp/*"]),
        privileged: false,
        executors: list(&["docker"]),
        pipelines: list(&["web-*"]),
        roles: list(&[role]),
    };
    let ask = |pairs: &[(&str, &str)], allowed: &Allowed, image: Option<&str>| {
        let defaults = Defaults {
            image: image.map(str::to_owned),
            executor: None,
        };
        order(&details(pairs, &["S"]), allowed, &defaults).map(|_| ())
    };
    let image = ("Image", "corp/node:22");
    assert_eq!(ask(&[image], &allowed, None), Ok(()));
    assert_eq!(
        ask(&[], &allowed, Some("other")),
        Ok(()),
        "the operator's own"
    );
    assert_eq!(
        ask(&[image, ("ServiceRoleArnOverride", role)], &allowed, None),
        Ok(())
    );
    assert!(ask(&[("Image", "node:22")], &allowed, None).is_err());
    let host = ask(&[], &allowed, None);
    assert!(
        host.as_ref()
            .is_err_and(|why| why.contains("with an Image")),
        "the host is no allowed executor: {host:?}"
    );
    assert!(ask(&[image, ("Privileged", "true")], &allowed, None).is_err());
    let others = Allowed {
        pipelines: list(&["api-*"]),
        ..allowed.clone()
    };
    assert!(ask(&[image], &others, None).is_err());
    let everything = Allowed::default();
    // Out of the container that the operator has chosen nobody comes without a word of the operator's.
    for (image, executor) in [
        (Some("x"), None),
        (Some("x"), Some("docker")),
        (None, Some("docker")),
    ] {
        let defaults = Defaults {
            image: image.map(str::to_owned),
            executor: executor.map(str::to_owned),
        };
        let host = details(&[("Executor", "host")], &["S"]);
        let refused = order(&host, &everything, &defaults).map(|_| ());
        assert!(
            refused
                .as_ref()
                .is_err_and(|why| why.contains("--allow-executor host")),
            "{refused:?}"
        );
        let both = Allowed {
            executors: list(&["host", "docker"]),
            ..everything.clone()
        };
        assert!(order(&host, &both, &defaults).is_ok());
    }
    let host = details(&[("Executor", "host")], &["S"]);
    assert!(order(&host, &everything, &Defaults::default()).is_ok());
    assert_eq!(ask(&[], &everything, None), Ok(()));
    assert!(ask(&[("ServiceRoleArnOverride", role)], &everything, None).is_err());
    assert!(ask(&[image, ("Privileged", "true")], &everything, None).is_err());
    let privileged = Allowed {
        privileged: true,
        ..everything
    };
    assert_eq!(
        ask(&[image, ("Privileged", "true")], &privileged, None),
        Ok(())
    );
}

#[test]
fn patterns_match_whole_texts() {
    let table = [
        ("*", "", true),
        ("a*c", "abbc", true),
        ("a*c", "abcd", false),
        ("*.dkr.ecr.*/web:?", "1.dkr.ecr.x/web:1", true),
        ("web", "web-2", false),
        ("w?b", "wéb", true),
        ("**x", "aax", true),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

// ── state

fn record(job: &str) -> Record {
    Record::new(job, Nonce::new("n1"), Origin::default(), 5)
}

// AGENT-26, AGENT-27
#[test]
fn a_record_is_there_as_it_was_written_and_for_this_user_only() {
    use std::os::unix::fs::MetadataExt as _;
    let place = tempfile::tempdir().expect("it can");
    let state = StateDirectory::open(&place.path().join("a/state")).expect("it can");
    let job = state.claim(&record("j-1")).expect("it can");
    let answer = Answer::failure(FailureKind::JobFailed, "no", Some("p:1".to_owned()));
    let mut later = record("j-1");
    later.stage = Stage::Answering(answer);
    job.write(&later).expect("it can");
    let (jobs, broken) = state.jobs().expect("it can");
    assert_eq!(jobs, [(job.clone(), later)]);
    assert!(broken.is_empty());
    assert!(state.knows("j-1") && !state.knows("j-2"));
    // Others can go through what is root's, to the sources of a build that is theirs (AGENT-98).
    let is_root = rustix::process::geteuid().is_root();
    let closed = if is_root { 0o066 } else { 0o077 };
    for (path, closed) in [
        (job.path().join(RECORD), 0o077),
        (job.path().to_owned(), closed),
        (state.path().to_owned(), closed),
    ] {
        assert_eq!(
            fs::metadata(&path).expect("it can").mode() & closed,
            0,
            "{}",
            path.display()
        );
    }
    assert!(state.claim(&record("../x")).is_err());
}

// AGENT-31
#[test]
fn one_agent_has_a_directory() {
    let place = tempfile::tempdir().expect("it can");
    let first = StateDirectory::open(place.path()).expect("it can");
    assert!(matches!(
        StateDirectory::open(place.path()),
        Err(OpenError::Taken(_))
    ));
    drop(first);
    assert!(StateDirectory::open(place.path()).is_ok());
}

#[test]
fn what_broke_off_is_cleared_away_and_what_cannot_be_read_is_said() {
    let place = tempfile::tempdir().expect("it can");
    let state = StateDirectory::open(place.path()).expect("it can");
    let jobs = state.path().join("jobs");
    fs::create_dir(jobs.join("empty")).expect("it can");
    fs::create_dir(jobs.join("odd")).expect("it can");
    fs::write(jobs.join("odd").join(RECORD), "{}").expect("it can");
    let (found, broken) = state.jobs().expect("it can");
    assert!(found.is_empty());
    assert_eq!(broken.len(), 1);
    assert!(!jobs.join("empty").exists());
}

/// Directories of jobs, and those of them that are kept.
fn kept(state: &StateDirectory, jobs: u8) -> Kept {
    let kept = Kept::default();
    for number in 0..jobs {
        let job = state.claim(&record(&format!("j-{number}")));
        kept.add(job.expect("it can"));
    }
    kept
}

fn left(state: &StateDirectory) -> Vec<String> {
    let jobs = state.jobs().expect("it can").0;
    let mut jobs: Vec<String> = jobs.into_iter().map(|(_, one)| one.job).collect();
    jobs.sort();
    jobs
}

// AGENT-30
#[test]
fn the_last_jobs_are_kept() {
    let place = tempfile::tempdir().expect("it can");
    let state = StateDirectory::open(place.path()).expect("it can");
    // One of them is not over.
    state.claim(&record("open")).expect("it can");
    let kept = kept(&state, 5);
    let held = state.path().join("jobs/j-0");
    kept.trim(2, |job| job.path() != held).expect("it can");
    assert_eq!(left(&state), ["j-0", "j-3", "j-4", "open"]);
    // What was held back is the next to go.
    kept.trim(2, |_| true).expect("it can");
    assert_eq!(left(&state), ["j-3", "j-4", "open"]);
}

// AGENT-37: the oldest go first, and no more of them than it takes.
#[test]
fn old_logs_make_room() {
    let place = tempfile::tempdir().expect("it can");
    let state = StateDirectory::open(place.path()).expect("it can");
    state.claim(&record("open")).expect("it can");
    let kept = kept(&state, 5);
    let held = state.path().join("jobs/j-1");
    let has_room = |most: usize| left(&state).len() <= most;
    let removed = kept.make_room(|| has_room(9), |_| true);
    assert!(matches!(removed, (0, Ok(()))), "{removed:?}");
    let removed = kept.make_room(|| has_room(4), |job| job.path() != held);
    assert!(matches!(removed, (2, Ok(()))), "{removed:?}");
    assert_eq!(left(&state), ["j-1", "j-3", "j-4", "open"]);
    // There may not be enough of them.
    let removed = kept.make_room(|| false, |job| job.path() != held);
    assert!(matches!(removed, (2, Ok(()))), "{removed:?}");
    assert_eq!(left(&state), ["j-1", "open"]);
}

// ── poll

// AGENT-4
#[test]
fn pauses_double_up_to_a_limit() {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
    for middle in [1.0, 2.0, 4.0, 5.0, 5.0] {
        let pause = backoff.pause().as_secs_f64();
        assert!((middle * 0.5..=middle * 1.5).contains(&pause), "{pause}");
    }
    backoff.reset();
    assert!(backoff.pause() <= Duration::from_millis(1500));
}

// AGENT-3
#[test]
fn times_are_spread() {
    let times: std::collections::BTreeSet<Duration> = (0..50)
        .map(|_| spread(Duration::from_secs(10), 0.2))
        .collect();
    assert!(times.len() > 10);
    assert!(
        times
            .iter()
            .all(|time| (8.0..=12.0).contains(&time.as_secs_f64()))
    );
}

// ── credentials

/// A pipeline that gives new keys each time it is asked, unless it fails.
#[derive(Default)]
struct Renewing {
    asked: AtomicU32,
    fails: bool,
}

impl Pipeline for Renewing {
    async fn poll(&self, _: usize) -> Result<Vec<Job>, pipeline::Error> {
        Ok(Vec::new())
    }

    async fn acknowledge(&self, _: &str, _: &Nonce) -> Result<bool, pipeline::Error> {
        Ok(true)
    }

    async fn details(&self, _: &str) -> Result<Details, pipeline::Error> {
        let asked = 1 + self.asked.fetch_add(1, Ordering::Relaxed);
        if self.fails {
            return Err(pipeline::Error::new(ErrorKind::Passing, "not now"));
        }
        Ok(Details {
            credentials: Some(keys(&format!("renewed-{asked}"))),
            ..Details::default()
        })
    }

    async fn succeed(&self, _: &str, _: &Success) -> Result<(), pipeline::Error> {
        Ok(())
    }

    async fn fail(&self, _: &str, _: &Failure) -> Result<(), pipeline::Error> {
        Ok(())
    }
}

fn keys(id: &str) -> Keys {
    Keys {
        id: id.to_owned(),
        secret: "a secret of tests".to_owned(),
        session: None,
    }
}

// AGENT-10: C37
#[tokio::test]
async fn credentials_of_a_job_are_renewed_before_a_quarter_of_an_hour() {
    let minute = Duration::from_mins(1);
    // How old they are, whether new ones can be had, whose are used, and how often it was asked.
    for (age, fails, expected, asked) in [
        (0, false, Some("first"), 0),
        (9, false, Some("first"), 0),
        (10, false, Some("renewed-1"), 1),
        (12, false, Some("renewed-1"), 1),
        // Old ones are used as long as they can be good.
        (13, true, Some("first"), 1),
        (15, true, None, 1),
    ] {
        let pipeline = Arc::new(Renewing {
            fails,
            ..Renewing::default()
        });
        let Some(since) = Instant::now().checked_sub(age * minute) else {
            continue; // This machine is not up for as long.
        };
        let held = JobCredentials::new(Arc::clone(&pipeline), "job", Some(keys("first")), since);
        let given = held.provide_credentials().await.ok();
        let id = given.as_ref().map(|given| given.access_key_id().to_owned());
        assert_eq!(id.as_deref(), expected, "{age} minutes");
        assert_eq!(
            pipeline.asked.load(Ordering::Relaxed),
            asked,
            "{age} minutes"
        );
        if let Some(end) = given.and_then(|given| given.expiry()) {
            let left = end.duration_since(stamp()).unwrap_or_default();
            assert!(left <= 14 * minute, "{age} minutes: {left:?}");
        }
    }
}

// ── progress

/// CodePipeline that hands out one job, and never says that it took its answer.
#[derive(Debug, Default)]
struct Silent {
    polls: AtomicU32,
    told: Stop,
}

impl Pipeline for Silent {
    async fn poll(&self, _: usize) -> Result<Vec<Job>, pipeline::Error> {
        let is_first = self.polls.fetch_add(1, Ordering::Relaxed) == 0;
        let job = Job {
            id: "j1".to_owned(),
            nonce: Nonce::new("1"),
            // Nothing has to be built for what cannot be.
            details: details(&[("Timeout", "soon")], &[]),
        };
        Ok(is_first.then_some(job).into_iter().collect())
    }

    async fn acknowledge(&self, _: &str, _: &Nonce) -> Result<bool, pipeline::Error> {
        Ok(true)
    }

    async fn details(&self, _: &str) -> Result<Details, pipeline::Error> {
        Ok(Details::default())
    }

    async fn succeed(&self, _: &str, _: &Success) -> Result<(), pipeline::Error> {
        std::future::pending().await
    }

    async fn fail(&self, _: &str, _: &Failure) -> Result<(), pipeline::Error> {
        self.told.request();
        std::future::pending().await
    }
}

fn settings() -> Settings {
    Settings {
        slots: 1,
        interval: Duration::from_secs(1),
        once: false,
        max_idle: None,
        max_uptime: None,
        min_free: 0,
        keep_builds: 1,
        attended: false,
        engine: None,
        patience: Duration::from_hours(24),
        look_after: Duration::from_mins(10),
        allowed: Allowed::default(),
        defaults: Defaults::default(),
        timeout: Duration::from_hours(1),
        grace: Duration::from_secs(1),
        program: "/nowhere/runner".into(),
        variables: Vec::new(),
        arguments: Vec::new(),
        aws: aws::Settings::default(),
        custom_endpoint: false,
    }
}

// AGENT-83, AGENT-91: also when nothing is polled for any more.
#[tokio::test]
async fn a_job_that_is_stuck_shows_also_while_the_agent_drains() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let about = About {
        name: "test".to_owned(),
        version: "1",
        action_type: "Build/Runner/1".to_owned(),
        region: "us-east-1".to_owned(),
        pid: 1,
        since: stamp(),
    };
    let log = Log::new(Form::Text, Arc::new(|_: &str| {}));
    let board = Board::new(about, 1, 1);
    let agent = Agent::new(Silent::default(), settings(), state, board, log, None);
    let (sender, commands) = mpsc::unbounded_channel();
    let serving = serve::serve(Arc::clone(&agent), commands, sender.clone(), || {});
    let looking = async {
        agent.pipeline.told.requested().await;
        let later = Instant::now() + LONGEST_ROUND * 2;
        let mut behind = agent.progress.behind(LONGEST_ROUND, later);
        behind.sort_unstable();
        assert_eq!(behind, ["job j1", "poll"]);
        sender.send(Command::Drain).unwrap();
        while !agent.progress.behind(LONGEST_ROUND, later).eq(&["job j1"]) {
            tokio::task::yield_now().await;
        }
        assert!(agent.drain.is_requested());
    };
    tokio::select! {
        ended = serving => panic!("it ended with an open job: {ended:?}"),
        looked = tokio::time::timeout(Duration::from_mins(1), looking) => looked.unwrap(),
    }
}
