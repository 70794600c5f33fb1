//! Whatever commands do, what is told of a build is whole and true.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use buildspec_runner::artifact::Workspace;
use buildspec_runner::build::{CommandCredentials, Finished, Outcome, Prepared, World, drive};
use buildspec_runner::buildspec;
use buildspec_runner::event::{BuildStarted, Event, EventKind, Exit, Grammar, StopReason};
use buildspec_runner::exec::scripted::{ScriptedExecutor, ScriptedSession};
use buildspec_runner::exec::{
    Cancel, Command, CommandEnd, Environment, Error, Escalation, Executor, ExpandFailure, Keep,
    Mount, Output, Session, Terminal, Work,
};
use buildspec_runner::phase::{CommandPhase, OnFailure, Phase, Retry, RetryScope, Status};
use buildspec_runner::plan::plan;
use buildspec_runner::redact::Secrets;
use buildspec_runner::secret::SecretSource;
use buildspec_runner::sink::{Collected, Recorder, event_json};
use buildspec_runner::source::SourceText;
use buildspec_runner::store::{DirectoryStore, Store};
use proptest::test_runner::TestCaseError;
use tokio::sync::mpsc;

use super::going::{Artifacts, Build, Doing, Lists, Ran};
use super::support::{events, request};
use super::{Strategy, any, prop, prop_oneof, proptest, tries};

/// Scripted commands that may also bring wishes to stop the build.
struct Stoppable {
    scripted: ScriptedExecutor,
    reason: StopReason,
    late_wishes: usize,
    wishes: mpsc::UnboundedSender<StopReason>,
    succeeding: Arc<Mutex<Vec<bool>>>,
}

struct StoppableSession {
    scripted: ScriptedSession,
    reason: StopReason,
    late_wishes: usize,
    wishes: mpsc::UnboundedSender<StopReason>,
    succeeding: Arc<Mutex<Vec<bool>>>,
}

impl Executor for Stoppable {
    type Session = StoppableSession;

    const NAME: &'static str = "stoppable";

    async fn open(&self, environment: Environment) -> Result<StoppableSession, Error> {
        Ok(StoppableSession {
            scripted: self.scripted.open(environment).await?,
            reason: self.reason,
            late_wishes: self.late_wishes,
            wishes: self.wishes.clone(),
            succeeding: Arc::clone(&self.succeeding),
        })
    }
}

impl Session for StoppableSession {
    async fn run(
        &mut self,
        command: Command<'_>,
        output: &Output,
        cancel: &mut Cancel,
    ) -> Result<CommandEnd, Error> {
        self.succeeding
            .lock()
            .expect("nobody panicked with it")
            .push(command.succeeding);
        for _ in command.text.lines().filter(|line| *line == "wish") {
            let _ = self.wishes.send(self.reason);
        }
        self.scripted.run(command, output, cancel).await
    }

    async fn read_file(&mut self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        self.scripted.read_file(path, limit).await
    }

    async fn expand(
        &mut self,
        texts: &[&str],
        output: &Output,
        cancel: &mut Cancel,
    ) -> Result<Result<Vec<OsString>, ExpandFailure>, Error> {
        self.scripted.expand(texts, output, cancel).await
    }

    async fn mentions(&mut self, name: &str) -> bool {
        self.scripted.mentions(name).await
    }

    async fn bring(&mut self, starts: &[PathBuf]) -> Result<Vec<Mount>, Error> {
        self.scripted.bring(starts).await
    }

    async fn work(&mut self, work: Work, cancel: &mut Cancel) -> Result<Vec<u8>, Error> {
        self.scripted.work(work, cancel).await
    }

    async fn drain_background(&mut self, output: &Output) {
        self.scripted.drain_background(output).await;
    }

    async fn enter(&mut self, terminal: &Terminal, cancel: &mut Cancel) -> Result<Exit, Error> {
        self.scripted.enter(terminal, cancel).await
    }

    async fn close(&mut self, output: &Output, cancel: &mut Cancel) -> usize {
        // Only where nobody asked before: what a second and a third wish do is a matter of the commands.
        if *cancel.borrow() == Escalation::None && self.late_wishes > 0 {
            for _ in 0..self.late_wishes {
                let _ = self.wishes.send(self.reason);
            }
            let _ = cancel.wait_for(|asked| *asked == Escalation::Kill).await;
        }
        self.scripted.close(output, cancel).await
    }
}

/// The script of a command. Each says its own name first.
fn script(name: &str, doing: Doing) -> String {
    let hang = |hard| if hard { "hang hard" } else { "hang" };
    let does = match doing {
        Doing::Fine => String::new(),
        Doing::Leak => "leak".to_owned(),
        Doing::Fail(status) => format!("exit {status}"),
        Doing::Flaky(_) => unreachable!("a script does not know what ran before"),
        Doing::Fault => "fault".to_owned(),
        Doing::Stop { wishes, hard } => format!("{}{}", "wish\n".repeat(wishes), hang(hard)),
        Doing::Hang { hard } => hang(hard).to_owned(),
    };
    format!("out {name}\n{does}")
}

fn yaml(build: &Build) -> String {
    let mut yaml = "version: 0.2\nphases:\n".to_owned();
    for (phase, lists) in CommandPhase::ALL.iter().zip(&build.phases) {
        yaml.push_str(&format!("  {}:\n", phase.key()));
        match lists.on_failure {
            None => {}
            Some(OnFailure::Abort) => yaml.push_str("    on-failure: ABORT\n"),
            Some(OnFailure::Continue) => yaml.push_str("    on-failure: CONTINUE\n"),
            Some(OnFailure::Retry(ref retry)) => {
                yaml.push_str(&format!("    on-failure: RETRY-{}\n", retry.count));
            }
        }
        for (list, commands) in [("commands", &lists.commands), ("finally", &lists.finally)] {
            yaml.push_str(&format!("    {list}:\n"));
            for (place, doing) in commands.iter().enumerate() {
                let script = script(&format!("{}-{list}-{place}", phase.key()), *doing);
                yaml.push_str(&format!("      - {script:?}\n"));
            }
        }
    }
    match build.artifacts {
        Artifacts::None => {}
        Artifacts::There => yaml.push_str("artifacts:\n  files: there\n"),
        Artifacts::Missing => yaml.push_str("artifacts:\n  files: missing\n"),
    }
    yaml
}

/// What is known of a build after it.
struct Told {
    finished: Finished,
    events: Vec<Event>,
    succeeding: Vec<bool>,
}

fn run(build: &Build, reason: StopReason, timeout: Duration) -> Told {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("source")).expect("a directory can be made");
    fs::write(path("source/there"), "content").expect("a file can be written");
    let source = SourceText::new("buildspec.yml", yaml(build));
    let (read, _) = buildspec::read(&source).unwrap_or_else(|found| panic!("{found:#?}"));
    let mut request = request::request(&path("source"), &path("artifacts"));
    request.retry_scope = build.scope;
    let (plan, _) = plan(&source, &read, &request).expect("there is nothing unsupported in it");
    let prepared = Prepared {
        started: BuildStarted {
            build_id: "demo:1".to_owned(),
            project: "demo".to_owned(),
            build_number: 1,
            executor: Stoppable::NAME,
            runner_version: "0",
        },
        sources: Vec::new(),
        own_sources: Vec::new(),
        was_fetching: false,
        buildspec_location: None,
        plan: Ok(Box::new(plan)),
        warnings: Vec::new(),
        started_at: Instant::now(),
        timeout,
        grace: Duration::from_millis(2),
        keep: Keep::Never,
        shell_on_failure: None,
        debugging: None,
        preflight: true,
        scan_artifacts: false,
    };
    let (collected, succeeding) = (Collected::default(), Arc::default());
    let events = collected.events();
    let (wishes, signals) = mpsc::unbounded_channel();
    let finished = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(async {
            let world = World {
                credentials: CommandCredentials::default(),
                cache: None,
                executor: Stoppable {
                    scripted: ScriptedExecutor {
                        broken: build.broken,
                    },
                    reason,
                    late_wishes: build.late_wishes,
                    wishes,
                    succeeding: Arc::clone(&succeeding),
                },
                secrets: SecretSource::default(),
                store: Arc::new(Store::Directory(DirectoryStore::new(path("artifacts")))),
                workspace: Workspace {
                    source_directory: path("source"),
                    hidden: Vec::new(),
                    mounts: Vec::new(),
                },
                temporary_directory: directory.path().to_owned(),
                recorder: Recorder::start(vec![Box::new(collected)], Secrets::default()),
            };
            drive(prepared, world, signals).await
        });
    assert_eq!(
        stored(&path("artifacts")),
        stored_as_told(&finished.outcome),
        "{build:?}"
    );
    let events = events.lock().expect("nobody panicked with it").clone();
    let succeeding = succeeding.lock().expect("nobody panicked with it").clone();
    Told {
        finished,
        events,
        succeeding,
    }
}

/// How many files are in the place for artifacts.
fn stored(artifacts: &Path) -> usize {
    let below = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
    below(artifacts)
        .flat_map(|entry| below(&entry.path()))
        .count()
}

fn stored_as_told(outcome: &Outcome) -> usize {
    outcome
        .artifacts
        .iter()
        .map(|artifact| artifact.files)
        .sum()
}

fn doing() -> impl Strategy<Value = Doing> + Clone {
    prop_oneof![
        20 => prop::sample::select(vec![Doing::Fine, Doing::Leak]),
        4 => (1..=255_u8).prop_map(Doing::Fail),
        1 => prop::sample::select(vec![Doing::Fault]),
        1 => (1..=3_usize, any::<bool>()).prop_map(|(wishes, hard)| Doing::Stop { wishes, hard }),
    ]
}

fn build(doing: impl Strategy<Value = Doing> + Clone) -> impl Strategy<Value = Build> {
    let retry = Retry {
        count: 2,
        pattern: ".*".to_owned(),
    };
    let policies = [
        None,
        Some(OnFailure::Abort),
        Some(OnFailure::Continue),
        Some(OnFailure::Retry(retry)),
    ];
    let commands = prop::collection::vec(doing, 0..3);
    let lists = (
        commands.clone(),
        commands,
        prop::sample::select(policies.to_vec()),
    )
        .prop_map(|(commands, finally, on_failure)| Lists {
            commands,
            finally,
            on_failure,
        });
    let artifacts = [
        Artifacts::None,
        Artifacts::There,
        Artifacts::There,
        Artifacts::Missing,
    ];
    let phases = [lists.clone(), lists.clone(), lists.clone(), lists];
    (
        phases,
        prop::sample::select(artifacts.to_vec()),
        prop::sample::select(vec![RetryScope::Build, RetryScope::Phase]),
        prop::bool::weighted(0.05),
        0..=2_usize,
    )
        .prop_map(|(phases, artifacts, scope, broken, late_wishes)| {
            let retries = |lists: &Lists| matches!(lists.on_failure, Some(OnFailure::Retry(_)));
            // Between two attempts a wish is not too late.
            let late_wishes = if phases.iter().any(retries) {
                0
            } else {
                late_wishes
            };
            Build {
                phases,
                artifacts,
                scope,
                broken,
                late_wishes,
            }
        })
}

fn reason() -> impl Strategy<Value = StopReason> {
    prop::sample::select(vec![
        StopReason::Signal(2),
        StopReason::Signal(15),
        StopReason::Request,
    ])
}

fn ran(told: &Told) -> Vec<Ran> {
    let started = told.events.iter().filter_map(|event| match &event.kind {
        EventKind::CommandStarted(command) => Some(command),
        _ => None,
    });
    started
        .zip(&told.succeeding)
        .map(|(command, succeeding)| (command.phase, command.list, command.index, *succeeding))
        .collect()
}

fn phases(told: &Told) -> Vec<(Phase, Status, bool)> {
    let ends = told.events.iter().filter_map(|event| match event.kind {
        EventKind::PhaseFinished {
            phase,
            status,
            aborted,
            ..
        } => Some((phase, status, aborted)),
        _ => None,
    });
    ends.collect()
}

/// What holds for every build that came to its end.
fn check(told: &Told, reason: StopReason) -> Result<(), String> {
    let mut grammar = Grammar::default();
    let mut fold = Outcome::default();
    for event in &told.events {
        grammar.accept(event)?;
        fold.event(event);
    }
    if !grammar.is_complete() {
        return Err("the stream has no end".to_owned());
    }
    let json: Vec<_> = told.events.iter().map(event_json).collect();
    events::check_grammar(&json);
    let outcome = &told.finished.outcome;
    if fold != *outcome {
        return Err(format!(
            "the outcome is {outcome:?}, its events say {fold:?}"
        ));
    }
    let retried = |event: &Event| matches!(event.kind, EventKind::Retried(_));
    let last = told.events.iter().rposition(retried).unwrap_or_default();
    let failed = told.events[last..].iter().any(|event| {
        matches!(&event.kind, EventKind::CommandFinished { exit, .. } if !exit.is_success())
    });
    if failed && outcome.status == Status::Succeeded {
        return Err("a command failed, and the build succeeded".to_owned());
    }
    let code = match (outcome.status, reason) {
        (Status::Succeeded, _) => 0,
        (Status::Failed, _) => 1,
        (Status::Fault, _) => 4,
        (Status::TimedOut, _) => 5,
        (Status::Stopped, StopReason::Signal(2)) => 130,
        (Status::Stopped, StopReason::Signal(15)) => 143,
        (Status::Stopped, StopReason::Request) => 6,
        (status, reason) => return Err(format!("{status} {reason:?}")),
    };
    if outcome.exit_code().number() != code {
        return Err(format!("{:?} is not {code}", outcome.exit_code()));
    }
    let written: Vec<u8> = told
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Output { bytes } => Some(bytes.as_slice()),
            _ => None,
        })
        .flatten()
        .copied()
        .collect();
    let names = ran(told)
        .into_iter()
        .map(|(phase, list, place, _)| format!("{}-{}-{place}\n", phase.key(), list.key()));
    if written != names.collect::<String>().into_bytes() {
        return Err(format!(
            "what was written is {:?}",
            String::from_utf8_lossy(&written)
        ));
    }
    Ok(())
}

proptest! {
    #![proptest_config(tries(250))]

    // EVENT-2, PHASE-3, PHASE-4, PHASE-5, PHASE-7, PHASE-8, PHASE-9, PHASE-11, CLI-3, ART-1, CMD-11
    #[test]
    fn every_build_goes_as_the_spec_has_it_and_every_stream_is_a_sentence(
        build in build(doing()),
        reason in reason(),
    ) {
        let told = run(&build, reason, Duration::from_hours(1));
        let story = build.story();
        match story.end {
            // Who asks three times gets no more than the status.
            None => proptest::prop_assert_eq!(told.finished.outcome.status, Status::Stopped),
            Some(status) => {
                check(&told, reason).map_err(TestCaseError::fail)?;
                proptest::prop_assert_eq!(phases(&told), story.phases);
                proptest::prop_assert_eq!(ran(&told), story.ran);
                proptest::prop_assert_eq!(told.finished.outcome.status, status);
            }
        }
    }
}

proptest! {
    #![proptest_config(tries(40))]

    // EVENT-2, PHASE-10, CLI-3
    #[test]
    fn a_build_that_hangs_is_timed_out_and_its_stream_is_a_sentence(
        build in build(prop_oneof![
            6 => prop::sample::select(vec![Doing::Fine, Doing::Leak]),
            1 => any::<bool>().prop_map(|hard| Doing::Hang { hard }),
        ]),
    ) {
        let story = build.story();
        proptest::prop_assume!(story.end == Some(Status::TimedOut));
        let told = run(&build, StopReason::Request, Duration::from_millis(5));
        check(&told, StopReason::Request).map_err(TestCaseError::fail)?;
        proptest::prop_assert_eq!(told.finished.outcome.status, Status::TimedOut);
        // On a slow machine the limit is reached before the command that would wait for it.
        let phases = phases(&told);
        proptest::prop_assert!(phases.len() <= story.phases.len());
        proptest::prop_assert_eq!(phases.last().map(|(_, status, _)| *status), Some(Status::TimedOut));
        let ended = told.events.iter().rev().find_map(|event| match event.kind {
            EventKind::CommandFinished { exit, .. } => Some(exit),
            _ => None,
        });
        if phases == story.phases && ran(&told) == story.ran {
            proptest::prop_assert!(matches!(ended, Some(Exit::Signalled(15 | 9))), "{:?}", ended);
        }
    }
}
