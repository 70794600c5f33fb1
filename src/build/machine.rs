//! What happens next: a state machine without processes, clocks or files.
//!
//! [`Machine::on`] takes what has happened and gives back what to do, in order. At most one thing is under way at a
//! time, and it is the last of the actions: running a command or storing artifacts. Whatever comes of it is the next
//! input; signals and limits may come before it.

use crate::event::{Exit, Retried, StopReason};
use crate::exec::Escalation;
use crate::phase::{
    self, BUILD_TIMED_OUT, COMMAND_EXECUTION_ERROR, CommandPhase, OnFailure, Phase, PhaseContext,
    RetryScope, Status,
};
use crate::plan::{CommandList, CommandPlan, PhasePlan, Plan};
use crate::source::LineColumn;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// DOWNLOAD_SOURCE is done: there is a plan, and a place to run it.
    Ready,
    /// DOWNLOAD_SOURCE could not be done.
    NotReady(Status, PhaseContext),
    /// The command that was run has ended.
    CommandFinished(Exit),
    /// The command could not be run, and the build is to blame.
    CommandRefused(PhaseContext),
    /// The place where commands run is broken.
    CommandBroken(PhaseContext),
    /// Artifacts are stored, or there are none.
    Stored,
    /// Artifacts are not stored.
    NotStored(Status, PhaseContext),
    /// Somebody asks for the end.
    Stop(StopReason),
    /// The time limit is reached.
    TimeLimit,
    /// The time that was given for a gentle end is over.
    GraceOver,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A phase begins.
    StartPhase(Phase),
    /// Run this command. Its end is the next input.
    Run(CommandPhase, CommandList, usize),
    /// Select and store artifacts. What comes of it is the next input.
    Store,
    /// A phase ends.
    FinishPhase {
        /// Which one.
        phase: Phase,
        /// How.
        status: Status,
        /// Whether `on-failure: ABORT` ends the build here.
        aborted: bool,
        /// Why, if it did not succeed.
        contexts: Vec<PhaseContext>,
    },
    /// A failure calls for a retry. Of a whole build it is the last action: whether everything could be made ready again is
    /// the next input. Of a phase, that phase begins again.
    Retry(Retried),
    /// Ask what is under way to end, this urgently.
    Escalate(Escalation),
    /// Begin to wait for a gentle end.
    StartGrace,
    /// The build is over.
    Finish(Status),
    /// End everything by force and leave, without waiting for anything.
    Leave,
}

/// Where the build stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Downloading,
    Running {
        phase: CommandPhase,
        list: CommandList,
        place: usize,
    },
    Storing,
    Over,
}

/// Why the build ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Stopped,
    TimedOut,
}

/// The phases of the plan, as far as they decide anything.
#[derive(Clone, Debug, Default)]
struct Lists {
    commands: Vec<Item>,
    finally: Vec<Item>,
    on_failure: Option<OnFailure>,
}

/// A command, as far as a failure tells of it.
#[derive(Clone, Debug)]
struct Item {
    text: String,
    place: LineColumn,
}

impl Item {
    fn of(command: &CommandPlan) -> Self {
        Self {
            text: command.text.clone(),
            place: command.place,
        }
    }
}

/// The machine of one build.
#[derive(Clone, Debug)]
pub struct Machine {
    state: State,
    phases: [Lists; 4],
    /// What the phase under way has failed with: the first failure (PHASE-5).
    failure: Option<PhaseContext>,
    /// Whether nothing has failed so far (PHASE-8).
    succeeding: bool,
    /// The same when the phase under way began.
    succeeded_before: bool,
    /// What a retry runs again.
    scope: RetryScope,
    /// How many retries each phase has had.
    retries: [u8; 4],
    /// How the first phase that did not succeed ended.
    status: Status,
    ending: Option<Ending>,
    stops: u8,
}

impl Machine {
    /// The machine of a build whose source is being brought together.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Downloading,
            phases: Default::default(),
            failure: None,
            succeeding: true,
            succeeded_before: true,
            scope: RetryScope::default(),
            retries: [0; 4],
            status: Status::Succeeded,
            ending: None,
            stops: 0,
        }
    }

    /// Tells it what there is to run. Before [`Input::Ready`].
    pub fn load(&mut self, plan: &Plan) {
        self.scope = plan.retry_scope;
        self.phases = plan.phases.each_ref().map(|phase: &PhasePlan| Lists {
            commands: phase.commands.iter().map(Item::of).collect(),
            finally: phase.finally.iter().map(Item::of).collect(),
            on_failure: phase.on_failure.clone(),
        });
    }

    /// What a command sees as `CODEBUILD_BUILD_SUCCEEDING` now.
    #[must_use]
    pub const fn succeeding(&self) -> bool {
        self.succeeding
    }

    /// Takes what has happened and says what to do.
    pub fn on(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Stop(_) => self.stop(&mut actions),
            Input::TimeLimit if self.ending.is_none() && self.state != State::Over => {
                self.ending = Some(Ending::TimedOut);
                actions.extend([Action::Escalate(Escalation::Terminate), Action::StartGrace]);
            }
            Input::GraceOver if self.state != State::Over => {
                actions.push(Action::Escalate(Escalation::Kill));
            }
            Input::TimeLimit | Input::GraceOver => {}
            // What was under way has ended.
            _ if self.ending.is_some() => self.end_early(&mut actions),
            Input::Ready => {
                self.finish_phase(
                    Phase::DownloadSource,
                    Status::Succeeded,
                    Vec::new(),
                    &mut actions,
                );
            }
            Input::NotReady(status, context) => {
                self.finish_phase(Phase::DownloadSource, status, vec![context], &mut actions);
            }
            Input::CommandFinished(exit) => self.command_finished(exit, &mut actions),
            Input::CommandRefused(context) => {
                if let State::Running { phase, .. } = self.state {
                    self.finish_phase(phase.phase(), Status::Failed, vec![context], &mut actions);
                }
            }
            Input::CommandBroken(context) => {
                if let State::Running { phase, .. } = self.state {
                    self.finish_phase(phase.phase(), Status::Fault, vec![context], &mut actions);
                }
            }
            Input::Stored => {
                self.finish_phase(
                    Phase::UploadArtifacts,
                    Status::Succeeded,
                    Vec::new(),
                    &mut actions,
                );
            }
            Input::NotStored(status, context) => {
                self.finish_phase(Phase::UploadArtifacts, status, vec![context], &mut actions);
            }
        }
        actions
    }

    /// The first wish asks what is under way to end, the second forces it, the third does not wait for it (PHASE-9).
    fn stop(&mut self, actions: &mut Vec<Action>) {
        self.stops = self.stops.saturating_add(1);
        match (self.stops, self.ending) {
            (1, None) if self.state != State::Over => {
                self.ending = Some(Ending::Stopped);
                actions.extend([Action::Escalate(Escalation::Terminate), Action::StartGrace]);
            }
            // After the time limit, and while what is left of the build is asked to end, the gentle part is over: whoever
            // asks now wants it to be quick.
            (1 | 2, _) => actions.push(Action::Escalate(Escalation::Kill)),
            _ => actions.push(Action::Leave),
        }
    }

    fn current_phase(&self) -> Phase {
        match self.state {
            State::Downloading => Phase::DownloadSource,
            State::Running { phase, .. } => phase.phase(),
            State::Storing => Phase::UploadArtifacts,
            State::Over => Phase::Completed,
        }
    }

    fn end_early(&mut self, actions: &mut Vec<Action>) {
        let (status, contexts) = match self.ending {
            Some(Ending::TimedOut) => (
                Status::TimedOut,
                vec![PhaseContext::build(
                    BUILD_TIMED_OUT,
                    "Build has timed out. ",
                )],
            ),
            Some(Ending::Stopped) | None => (Status::Stopped, Vec::new()),
        };
        let phase = self.current_phase();
        self.status = status;
        self.state = State::Over;
        actions.push(Action::FinishPhase {
            phase,
            status,
            aborted: false,
            contexts,
        });
        actions.push(Action::Finish(status));
    }

    fn command_finished(&mut self, exit: Exit, actions: &mut Vec<Action>) {
        let State::Running { phase, list, place } = self.state else {
            return;
        };
        if exit.is_success() {
            return self.run_from(phase, list, place + 1, actions);
        }
        let lists = &self.phases[phase as usize];
        let item = match list {
            CommandList::Commands => &lists.commands[place],
            CommandList::Finally => &lists.finally[place],
        };
        self.failure.get_or_insert_with(|| {
            let message = format!(
                "Error while executing command: {}. Reason: {}",
                item.text,
                exit.describe()
            );
            PhaseContext::build(COMMAND_EXECUTION_ERROR, message).at(item.place)
        });
        self.succeeding = false;
        match list {
            CommandList::Commands => self.run_from(phase, CommandList::Finally, 0, actions),
            // The rest of `finally` is skipped as the rest of `commands` is (PHASE-5).
            CommandList::Finally => self.end_of_commands(phase, actions),
        }
    }

    /// Runs the command at this place of the list; at its end the next list, or the end of the phase.
    fn run_from(
        &mut self,
        phase: CommandPhase,
        list: CommandList,
        place: usize,
        actions: &mut Vec<Action>,
    ) {
        let lists = &self.phases[phase as usize];
        let length = match list {
            CommandList::Commands => lists.commands.len(),
            CommandList::Finally => lists.finally.len(),
        };
        if place < length {
            self.state = State::Running { phase, list, place };
            actions.push(Action::Run(phase, list, place));
        } else if list == CommandList::Commands {
            self.run_from(phase, CommandList::Finally, 0, actions);
        } else {
            self.end_of_commands(phase, actions);
        }
    }

    fn end_of_commands(&mut self, phase: CommandPhase, actions: &mut Vec<Action>) {
        let failure = self.failure.take();
        let status = if failure.is_some() {
            Status::Failed
        } else {
            Status::Succeeded
        };
        self.finish_phase(
            phase.phase(),
            status,
            failure.into_iter().collect(),
            actions,
        );
    }

    /// Ends a phase and begins what follows it.
    fn finish_phase(
        &mut self,
        phase: Phase,
        status: Status,
        contexts: Vec<PhaseContext>,
        actions: &mut Vec<Action>,
    ) {
        if let Some(retried) = self.retry(phase, status, &contexts) {
            actions.push(Action::FinishPhase {
                phase,
                status,
                aborted: false,
                contexts,
            });
            return self.begin_again(retried, actions);
        }
        let on_failure = self.on_failure(phase);
        let aborted = status == Status::Failed && on_failure == Some(&OnFailure::Abort);
        let next = phase::next(phase, status, on_failure);
        if status != Status::Succeeded {
            self.succeeding = false;
            if self.status == Status::Succeeded {
                self.status = status;
            }
        }
        actions.push(Action::FinishPhase {
            phase,
            status,
            aborted,
            contexts,
        });
        self.begin(next, actions);
    }

    /// The retry that a failure calls for, if it is due (PHASE-12, PHASE-13). It counts as used.
    fn retry(
        &mut self,
        phase: Phase,
        status: Status,
        contexts: &[PhaseContext],
    ) -> Option<Retried> {
        let phase = commands_of(phase).filter(|_| status == Status::Failed)?;
        let Some(OnFailure::Retry(retry)) = &self.phases[phase as usize].on_failure else {
            return None;
        };
        let used = self.retries[phase as usize];
        let message = contexts.first().map_or("", |context| &context.message);
        retry.is_due(used, message).then(|| {
            self.retries[phase as usize] = used + 1;
            Retried {
                phase,
                scope: self.scope,
                retry: used + 1,
                most: retry.count,
            }
        })
    }

    fn begin_again(&mut self, retried: Retried, actions: &mut Vec<Action>) {
        let phase = retried.phase;
        actions.push(Action::Retry(retried));
        match self.scope {
            // Nothing is left of what has happened but the retries that are used up.
            RetryScope::Build => {
                self.state = State::Downloading;
                self.succeeding = true;
                self.status = Status::Succeeded;
            }
            RetryScope::Phase => {
                self.succeeding = self.succeeded_before;
                self.begin(phase.phase(), actions);
            }
        }
    }

    fn on_failure(&self, phase: Phase) -> Option<&OnFailure> {
        let phase = commands_of(phase)?;
        self.phases[phase as usize].on_failure.as_ref()
    }

    fn begin(&mut self, phase: Phase, actions: &mut Vec<Action>) {
        self.succeeded_before = self.succeeding;
        if let Some(commands) = commands_of(phase) {
            actions.push(Action::StartPhase(phase));
            self.run_from(commands, CommandList::Commands, 0, actions);
        } else if phase == Phase::UploadArtifacts {
            self.state = State::Storing;
            actions.push(Action::StartPhase(phase));
            actions.push(Action::Store);
        } else {
            self.state = State::Over;
            actions.push(Action::Finish(self.status));
        }
    }
}

/// The commands that run in a phase, if any do.
fn commands_of(phase: Phase) -> Option<CommandPhase> {
    CommandPhase::ALL
        .into_iter()
        .find(|commands| commands.phase() == phase)
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Exit = Exit::Exited(1);
    const OK: Exit = Exit::Exited(0);

    /// A machine with these commands and finally commands in each phase.
    fn machine(phases: [(&[&str], &[&str], Option<OnFailure>); 4]) -> Machine {
        let items = |list: &[&str]| {
            let item = |text: &&str| Item {
                text: (*text).to_owned(),
                place: LineColumn { line: 1, column: 1 },
            };
            list.iter().map(item).collect()
        };
        let mut machine = Machine::new();
        machine.phases = phases.map(|(commands, finally, on_failure)| Lists {
            commands: items(commands),
            finally: items(finally),
            on_failure,
        });
        machine
    }

    /// Runs a build in which the named commands fail. Gives back what ran and what ended how, in words.
    fn run(machine: &mut Machine, failing: &[&str]) -> Vec<String> {
        let mut story = Vec::new();
        let mut input = Some(Input::Ready);
        while let Some(happened) = input.take() {
            for action in machine.on(happened) {
                match action {
                    Action::Run(phase, list, place) => {
                        let lists = &machine.phases[phase as usize];
                        let text = match list {
                            CommandList::Commands => lists.commands[place].text.clone(),
                            CommandList::Finally => lists.finally[place].text.clone(),
                        };
                        let exit = if failing.contains(&text.as_str()) {
                            FAILED
                        } else {
                            OK
                        };
                        story.push(text);
                        input = Some(Input::CommandFinished(exit));
                    }
                    Action::Store => input = Some(Input::Stored),
                    Action::FinishPhase {
                        phase,
                        status,
                        aborted,
                        ..
                    } => {
                        story.push(format!(
                            "{phase} {status}{}",
                            if aborted { " aborted" } else { "" }
                        ));
                    }
                    Action::Finish(status) => story.push(format!("{status}")),
                    Action::StartPhase(_) => {}
                    Action::Retry(Retried {
                        phase,
                        scope,
                        retry,
                        ..
                    }) => {
                        story.push(format!("retry {retry} for {}", phase.key()));
                        if scope == RetryScope::Build {
                            input = Some(Input::Ready);
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        story
    }

    fn plain() -> [(
        &'static [&'static str],
        &'static [&'static str],
        Option<OnFailure>,
    ); 4] {
        [
            (&["i"], &["if"], None),
            (&["p"], &[], None),
            (&["b1", "b2"], &["bf1", "bf2"], None),
            (&["o"], &[], None),
        ]
    }

    #[test]
    fn everything_runs_in_order() {
        assert_eq!(
            run(&mut machine(plain()), &[]).join(", "),
            "DOWNLOAD_SOURCE SUCCEEDED, i, if, INSTALL SUCCEEDED, p, PRE_BUILD SUCCEEDED, b1, b2, bf1, bf2, \
             BUILD SUCCEEDED, o, POST_BUILD SUCCEEDED, UPLOAD_ARTIFACTS SUCCEEDED, SUCCEEDED"
        );
    }

    #[test]
    fn a_failure_skips_what_the_table_says() {
        let table = [
            ("i", "i, if, INSTALL FAILED, FAILED"),
            ("if", "i, if, INSTALL FAILED, FAILED"),
            ("p", "i, if, INSTALL SUCCEEDED, p, PRE_BUILD FAILED, FAILED"),
            (
                "b1",
                "b1, bf1, bf2, BUILD FAILED, o, POST_BUILD SUCCEEDED, UPLOAD_ARTIFACTS SUCCEEDED, FAILED",
            ),
            (
                "bf1",
                "b1, b2, bf1, BUILD FAILED, o, POST_BUILD SUCCEEDED, UPLOAD_ARTIFACTS SUCCEEDED, FAILED",
            ),
            (
                "o",
                "o, POST_BUILD FAILED, UPLOAD_ARTIFACTS SUCCEEDED, FAILED",
            ),
        ];
        for (failing, end) in table {
            let story = run(&mut machine(plain()), &[failing]).join(", ");
            assert!(story.ends_with(end), "{failing}: {story}");
        }
    }

    #[test]
    fn on_failure_changes_what_follows() {
        let with = |phase: usize, on_failure: OnFailure| {
            let mut phases = plain();
            phases[phase].2 = Some(on_failure);
            machine(phases)
        };
        let table = [
            (
                0,
                OnFailure::Continue,
                "i",
                "INSTALL FAILED, p, PRE_BUILD SUCCEEDED, b1, b2, bf1, bf2, BUILD SUCCEEDED, o, POST_BUILD SUCCEEDED, UPLOAD_ARTIFACTS SUCCEEDED, FAILED",
            ),
            (
                2,
                OnFailure::Abort,
                "b1",
                "b1, bf1, bf2, BUILD FAILED aborted, FAILED",
            ),
            (
                3,
                OnFailure::Abort,
                "o",
                "o, POST_BUILD FAILED aborted, FAILED",
            ),
            (
                3,
                OnFailure::Continue,
                "o",
                "o, POST_BUILD FAILED, UPLOAD_ARTIFACTS SUCCEEDED, FAILED",
            ),
        ];
        for (phase, on_failure, failing, end) in table {
            let story = run(&mut with(phase, on_failure.clone()), &[failing]).join(", ");
            assert!(story.ends_with(end), "{on_failure:?} of {phase}: {story}");
        }
    }

    fn retrying(phase: usize, on_failure: &str, scope: RetryScope) -> Machine {
        let mut phases = plain();
        phases[phase].2 = Some(OnFailure::parse(on_failure).unwrap());
        let mut machine = machine(phases);
        machine.scope = scope;
        machine
    }

    // PHASE-12, PHASE-14
    #[test]
    fn a_retry_runs_the_build_or_the_phase_again_until_it_is_used_up() {
        let table = [
            (
                1,
                "RETRY-1",
                RetryScope::Build,
                "p",
                "DOWNLOAD_SOURCE SUCCEEDED, i, if, INSTALL SUCCEEDED, p, PRE_BUILD FAILED, retry 1 for pre_build, \
                 DOWNLOAD_SOURCE SUCCEEDED, i, if, INSTALL SUCCEEDED, p, PRE_BUILD FAILED, FAILED",
            ),
            (
                1,
                "RETRY-1",
                RetryScope::Phase,
                "p",
                "DOWNLOAD_SOURCE SUCCEEDED, i, if, INSTALL SUCCEEDED, p, PRE_BUILD FAILED, retry 1 for pre_build, \
                 p, PRE_BUILD FAILED, FAILED",
            ),
            (
                3,
                "RETRY-2",
                RetryScope::Phase,
                "o",
                "o, POST_BUILD FAILED, retry 1 for post_build, o, POST_BUILD FAILED, retry 2 for post_build, \
                 o, POST_BUILD FAILED, UPLOAD_ARTIFACTS SUCCEEDED, FAILED",
            ),
            (
                2,
                "RETRY-no such message",
                RetryScope::Build,
                "b1",
                "b1, bf1, bf2, BUILD FAILED, o, POST_BUILD SUCCEEDED, UPLOAD_ARTIFACTS SUCCEEDED, FAILED",
            ),
            (
                2,
                "RETRY-0",
                RetryScope::Phase,
                "b1",
                "b1, bf1, bf2, BUILD FAILED, o, POST_BUILD SUCCEEDED, UPLOAD_ARTIFACTS SUCCEEDED, FAILED",
            ),
        ];
        for (phase, on_failure, scope, failing, end) in table {
            let story = run(&mut retrying(phase, on_failure, scope), &[failing]).join(", ");
            assert!(story.ends_with(end), "{on_failure} {scope:?}: {story}");
        }
    }

    // PHASE-15
    #[test]
    fn what_ends_a_build_for_good_is_not_retried() {
        let fault = || PhaseContext::environment("CLIENT_ERROR", "no room");
        let stop = || Input::Stop(StopReason::Signal(2));
        let failed = || Input::CommandFinished(FAILED);
        let table = [
            (vec![Input::CommandBroken(fault())], Status::Fault),
            (vec![stop(), failed()], Status::Stopped),
            (vec![Input::TimeLimit, failed()], Status::TimedOut),
        ];
        for scope in [RetryScope::Build, RetryScope::Phase] {
            for (inputs, status) in &table {
                let mut machine = retrying(0, "RETRY", scope);
                machine.on(Input::Ready);
                let mut actions = Vec::new();
                for input in inputs {
                    actions = machine.on(input.clone());
                }
                assert_eq!(actions.last(), Some(&Action::Finish(*status)), "{inputs:?}");
            }
        }
        // While a build is made ready again, it can be stopped and be refused as at its beginning.
        let mut machine = retrying(0, "RETRY", RetryScope::Build);
        machine.on(Input::Ready);
        machine.on(Input::CommandFinished(FAILED));
        machine.on(Input::CommandFinished(OK));
        assert_eq!(machine.current_phase(), Phase::DownloadSource);
        let actions = machine.on(Input::NotReady(Status::Fault, fault()));
        assert_eq!(actions.last(), Some(&Action::Finish(Status::Fault)));
    }

    // PHASE-16
    #[test]
    fn after_a_retry_nothing_has_failed_but_what_failed_before_the_phase() {
        let mut phases = plain();
        phases[1].2 = Some(OnFailure::Continue);
        phases[2].2 = Some(OnFailure::parse("RETRY-1").unwrap());
        for (scope, succeeding) in [(RetryScope::Build, true), (RetryScope::Phase, false)] {
            let mut machine = machine(phases.clone());
            machine.scope = scope;
            let end = |exit| Input::CommandFinished(exit);
            machine.on(Input::Ready);
            for exit in [OK, OK, FAILED, FAILED, OK, OK] {
                machine.on(end(exit));
            }
            assert_eq!(machine.succeeding(), succeeding, "{scope:?}");
        }
    }

    #[test]
    fn the_first_failure_is_the_context() {
        let mut machine = machine(plain());
        for input in [
            Input::Ready,
            Input::CommandFinished(OK),
            Input::CommandFinished(OK),
            Input::CommandFinished(OK),
        ] {
            machine.on(input);
        }
        machine.on(Input::CommandFinished(Exit::Exited(3)));
        assert!(!machine.succeeding());
        let actions = machine.on(Input::CommandFinished(Exit::Exited(4)));
        let Action::FinishPhase { contexts, .. } = &actions[0] else {
            panic!("{actions:?}")
        };
        assert_eq!(
            contexts[0].message,
            "Error while executing command: b1. Reason: exit status 3"
        );
        assert_eq!(contexts.len(), 1);
    }

    /// What stop, time limit and the end of the grace period do, in every state and every order.
    #[test]
    fn the_end_escalates() {
        use Escalation::{Kill, Terminate};
        let gentle = || vec![Action::Escalate(Terminate), Action::StartGrace];
        let force = || vec![Action::Escalate(Kill)];
        let stop = || Input::Stop(StopReason::Signal(2));
        let table = [
            (vec![stop()], gentle()),
            (vec![stop(), stop()], force()),
            (vec![stop(), stop(), stop()], vec![Action::Leave]),
            (vec![stop(), Input::GraceOver], force()),
            (vec![Input::TimeLimit], gentle()),
            (vec![Input::TimeLimit, Input::GraceOver], force()),
            (vec![Input::TimeLimit, stop()], force()),
            (vec![stop(), Input::TimeLimit], vec![]),
            (
                vec![Input::TimeLimit, stop(), stop(), stop()],
                vec![Action::Leave],
            ),
        ];
        let states: [(&str, Vec<Input>); 3] = [
            ("downloading", vec![]),
            ("running", vec![Input::Ready]),
            ("storing", {
                let mut inputs = vec![Input::Ready];
                inputs.extend(std::iter::repeat_n(Input::CommandFinished(OK), 8));
                inputs
            }),
        ];
        for (state, before) in &states {
            for (inputs, expected) in &table {
                let mut machine = machine(plain());
                for input in before {
                    machine.on(input.clone());
                }
                let mut last = Vec::new();
                for input in inputs {
                    last = machine.on(input.clone());
                }
                assert_eq!(&last, expected, "{state}: {inputs:?}");
            }
        }
    }

    #[test]
    fn while_the_build_clears_up_a_wish_hurries_it_and_only_the_third_leaves() {
        let stop = || Input::Stop(StopReason::Signal(2));
        let force = || vec![Action::Escalate(Escalation::Kill)];
        let mut machine = machine(plain());
        machine.on(Input::NotReady(
            Status::Fault,
            PhaseContext::environment("CLIENT_ERROR", "no shell"),
        ));
        assert_eq!(machine.on(stop()), force());
        assert_eq!(machine.on(stop()), force());
        assert_eq!(machine.on(stop()), [Action::Leave]);
    }

    #[test]
    fn after_the_end_was_asked_for_nothing_more_runs() {
        for (asked, status, code) in [
            (Input::Stop(StopReason::Request), Status::Stopped, None),
            (Input::TimeLimit, Status::TimedOut, Some(BUILD_TIMED_OUT)),
        ] {
            let mut machine = machine(plain());
            machine.on(Input::Ready);
            machine.on(asked);
            let actions = machine.on(Input::CommandFinished(Exit::Signalled(15)));
            let contexts = code
                .into_iter()
                .map(|code| PhaseContext::build(code, "Build has timed out. "))
                .collect();
            let phase = Phase::Install;
            assert_eq!(
                actions,
                [
                    Action::FinishPhase {
                        phase,
                        status,
                        aborted: false,
                        contexts
                    },
                    Action::Finish(status)
                ]
            );
            assert_eq!(machine.on(Input::TimeLimit), []);
            assert_eq!(machine.on(Input::GraceOver), []);
        }
    }

    #[test]
    fn a_fault_ends_the_build_at_once() {
        let mut machine = machine(plain());
        machine.on(Input::Ready);
        let context = PhaseContext::environment("CLIENT_ERROR", "no space");
        let actions = machine.on(Input::CommandBroken(context));
        assert_eq!(actions.last(), Some(&Action::Finish(Status::Fault)));
    }
}
