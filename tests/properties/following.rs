//! What follows what: the laws of the table, and every way to fail against a second telling of how a build goes.

use std::path::Path;

use buildspec_runner::build::{Action, Input, Machine};
use buildspec_runner::buildspec;
use buildspec_runner::event::Exit;
use buildspec_runner::phase::{CommandPhase, OnFailure, Phase, Retry, RetryScope, Status, next};
use buildspec_runner::plan::{CommandList, Plan, plan};
use buildspec_runner::source::SourceText;

use super::going::{Artifacts, Build, Doing, Lists, Story};
use super::support::request;

const ORDER: [Phase; 11] = [
    Phase::Submitted,
    Phase::Queued,
    Phase::Provisioning,
    Phase::DownloadSource,
    Phase::Install,
    Phase::PreBuild,
    Phase::Build,
    Phase::PostBuild,
    Phase::UploadArtifacts,
    Phase::Finalizing,
    Phase::Completed,
];

fn every_on_failure() -> [Option<OnFailure>; 4] {
    let retry = Retry {
        count: 3,
        pattern: ".*".to_owned(),
    };
    [
        None,
        Some(OnFailure::Abort),
        Some(OnFailure::Continue),
        Some(OnFailure::Retry(retry)),
    ]
}

/// Every phase that has one after it, with the one after it and every `on-failure`.
fn steps() -> impl Iterator<Item = (Phase, Phase, Option<OnFailure>)> {
    ORDER.windows(2).flat_map(|pair| {
        every_on_failure()
            .into_iter()
            .map(|on_failure| (pair[0], pair[1], on_failure))
    })
}

fn runs_commands(phase: Phase) -> bool {
    CommandPhase::ALL
        .iter()
        .any(|commands| commands.phase() == phase)
}

// PHASE-1, PHASE-2
#[test]
fn success_leads_to_the_phase_that_stands_next_whatever_on_failure_says() {
    for (phase, after, on_failure) in steps() {
        assert_eq!(
            next(phase, Status::Succeeded, on_failure.as_ref()),
            after,
            "{phase}"
        );
    }
}

// PHASE-3
#[test]
fn a_failure_leads_to_post_build_to_the_upload_or_to_the_end() {
    for (phase, _, on_failure) in steps() {
        let expected = match phase {
            Phase::Build => Phase::PostBuild,
            Phase::PostBuild => Phase::UploadArtifacts,
            Phase::Finalizing => Phase::Completed,
            _ => Phase::Finalizing,
        };
        // A retry that is used up changes nothing.
        if matches!(on_failure, None | Some(OnFailure::Retry(_))) {
            assert_eq!(
                next(phase, Status::Failed, on_failure.as_ref()),
                expected,
                "{phase}"
            );
        }
    }
}

// PHASE-7
#[test]
fn abort_leads_to_the_end_and_continue_to_the_next_phase() {
    for (phase, after, _) in steps().filter(|(phase, ..)| runs_commands(*phase)) {
        let (abort, carry_on) = (OnFailure::Abort, OnFailure::Continue);
        assert_eq!(
            next(phase, Status::Failed, Some(&abort)),
            Phase::Finalizing,
            "{phase}"
        );
        assert_eq!(
            next(phase, Status::Failed, Some(&carry_on)),
            after,
            "{phase}"
        );
    }
}

// PHASE-9, PHASE-10, PHASE-11
#[test]
fn after_a_stop_a_time_limit_or_a_fault_nothing_runs() {
    for (phase, _, on_failure) in steps() {
        for status in [Status::Fault, Status::TimedOut, Status::Stopped] {
            let after = next(phase, status, on_failure.as_ref());
            assert!(after >= Phase::Finalizing, "{phase} {status}: {after}");
        }
    }
}

// PHASE-1
#[test]
fn a_build_never_goes_back() {
    let all = [
        Status::InProgress,
        Status::Succeeded,
        Status::Failed,
        Status::Fault,
        Status::TimedOut,
        Status::Stopped,
    ];
    for (phase, _, on_failure) in steps() {
        for status in all {
            let after = next(phase, status, on_failure.as_ref());
            assert!(after > phase, "{phase} {status}: {after}");
        }
    }
    assert_eq!(
        next(Phase::Completed, Status::Succeeded, None),
        Phase::Completed
    );
}

/// Where a phase fails: nowhere, in `commands`, in `finally`, or in both, always or until there were so many retries; each
/// time before the last command.
const FAILING: [(Doing, Doing); 4] = [
    (Doing::Fine, Doing::Fine),
    (Doing::Fail(1), Doing::Fine),
    (Doing::Flaky(1), Doing::Fail(2)),
    (Doing::Fail(1), Doing::Flaky(2)),
];

fn plan_with(on_failure: [Option<&OnFailure>; 4], scope: RetryScope) -> Plan {
    let mut yaml = "version: 0.2\nphases:\n".to_owned();
    for (phase, on_failure) in CommandPhase::ALL.iter().zip(on_failure) {
        yaml.push_str(&format!(
            "  {}:\n    commands: [a, b]\n    finally: [c, d]\n",
            phase.key()
        ));
        match on_failure {
            None => {}
            Some(OnFailure::Abort) => yaml.push_str("    on-failure: ABORT\n"),
            Some(OnFailure::Continue) => yaml.push_str("    on-failure: CONTINUE\n"),
            Some(OnFailure::Retry(retry)) => {
                yaml.push_str(&format!("    on-failure: RETRY-{}\n", retry.count));
            }
        }
    }
    let source = SourceText::new("buildspec.yml", yaml);
    let (read, _) = buildspec::read(&source).expect("there is no mistake in it");
    let mut request = request::request(Path::new("/source"), Path::new("/artifacts"));
    request.retry_scope = scope;
    let planned = plan(&source, &read, &request);
    planned.expect("there is nothing unsupported in it").0
}

/// How the machine has a build go.
fn go(mut machine: Machine, build: &Build) -> Story {
    let mut story = Story::default();
    let mut input = Input::Ready;
    loop {
        let mut happened = None;
        for action in machine.on(input.clone()) {
            match action {
                Action::Run(phase, list, place) => {
                    story.ran.push((phase, list, place, machine.succeeding()));
                    let lists = &build.phases[phase as usize];
                    let doing = match list {
                        CommandList::Commands => lists.commands[place],
                        CommandList::Finally => lists.finally[place],
                    };
                    let status = match doing {
                        Doing::Fail(status) => status,
                        Doing::Flaky(retries) if story.retries.len() < retries => 3,
                        _ => 0,
                    };
                    happened = Some(Input::CommandFinished(Exit::Exited(status.into())));
                }
                Action::Store => happened = Some(Input::Stored),
                Action::FinishPhase {
                    phase,
                    status,
                    aborted,
                    contexts,
                } => {
                    assert_eq!(contexts.is_empty(), status == Status::Succeeded, "{phase}");
                    story.phases.push((phase, status, aborted));
                }
                Action::Finish(status) => {
                    story.end = Some(status);
                    return story;
                }
                Action::Retry(retried) => {
                    story.retries.push(retried.phase);
                    if retried.scope == RetryScope::Build {
                        happened = Some(Input::Ready);
                    }
                }
                Action::StartPhase(_) => {}
                other => panic!("{other:?}"),
            }
        }
        input = happened.expect("until the end something is under way");
    }
}

// PHASE-2, PHASE-3, PHASE-4, PHASE-5, PHASE-7, PHASE-8, PHASE-12, PHASE-14, PHASE-16
#[test]
fn every_way_to_fail_goes_as_the_spec_has_it() {
    let retry = Retry {
        count: 1,
        pattern: ".*".to_owned(),
    };
    let policies = [
        None,
        Some(OnFailure::Abort),
        Some(OnFailure::Continue),
        Some(OnFailure::Retry(retry)),
    ];
    for policy in 0..512_usize {
        let scope = if policy < 256 {
            RetryScope::Build
        } else {
            RetryScope::Phase
        };
        let on_failure = [policy >> 6, policy >> 4, policy >> 2, policy]
            .map(|index| policies[index & 3].as_ref());
        let mut machine = Machine::new();
        machine.load(&plan_with(on_failure, scope));
        for failing in 0..256_usize {
            let ways = [
                failing >> 6,
                failing >> 4 & 3,
                failing >> 2 & 3,
                failing & 3,
            ];
            let lists = |phase: usize| {
                let (command, finally) = FAILING[ways[phase]];
                Lists {
                    commands: vec![command, Doing::Fine],
                    finally: vec![finally, Doing::Fine],
                    on_failure: on_failure[phase].cloned(),
                }
            };
            let build = Build {
                phases: [lists(0), lists(1), lists(2), lists(3)],
                artifacts: Artifacts::None,
                scope,
                broken: false,
                late_wishes: 0,
            };
            let story = go(machine.clone(), &build);
            assert_eq!(story, build.story(), "{build:?}");
            // Every failure is the end of a build, unless a retry followed it.
            let failed = story.phases.iter();
            let failed = failed.filter(|(_, status, _)| *status == Status::Failed);
            let lasting = match scope {
                RetryScope::Phase => failed.count() - story.retries.len(),
                RetryScope::Build => {
                    let begin = |(phase, ..): &(Phase, _, _)| *phase == Phase::DownloadSource;
                    let last = story.phases.iter().rposition(begin).unwrap_or_default();
                    let last = story.phases[last..].iter();
                    last.filter(|(_, status, _)| *status == Status::Failed)
                        .count()
                }
            };
            assert_eq!(
                story.end == Some(Status::Succeeded),
                lasting == 0,
                "{build:?}"
            );
        }
    }
}
