//! The one loop: feeds the machine, carries out what it says, and makes events of what happens.
//!
//! While something is under way the loop listens to everything at once: output, the end of the work, signals, the time
//! limit, the end of the grace period, and a reader that goes away. Nothing in it waits for anything else. A reader that
//! does not read slows a build down; it does not keep one from its end (LOG-19).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::breakpoint::{self, Breakpoints, Debugging};
use super::cache::{BuildCache, Cached};
use super::credentials::CommandCredentials;
use super::machine::{Action, Input, Machine};
use super::outcome::Outcome;
use crate::artifact::Workspace;
use crate::artifact::upload::Report;
use crate::buildspec::model::ArtifactIdentifier;
use crate::env::SecretReference;
use crate::event::{
    BuildStarted, BuildspecRead, CommandStarted, EventKind, Exit, RuntimesNamed, SourceReady,
    StopReason, Warning,
};
use crate::exec::{self, Environment, Escalation, Executor, Keep, Session, Terminal};
use crate::fetch::Originals;
use crate::phase::{
    CLIENT_ERROR, COMMAND_EXECUTION_ERROR, CommandPhase, Phase, PhaseContext, Status,
    UNABLE_TO_PULL_IMAGE,
};
use crate::plan::{CommandList, CommandPlan, Plan, RuntimeSource};
use crate::redact::Secrets;
use crate::secret::SecretSource;
use crate::sink::{Recorder, SinkFailure};
use crate::store::{Stop, Store};

/// Chunks of output that wait for the loop.
const OUTPUT_CHUNKS: usize = 16;

/// How long the sinks have for what is left to write, once somebody has asked for the end or the time limit was reached
/// (LOG-19). For as long, whoever still writes then waits for them.
pub(super) const LAST_WRITES: Duration = Duration::from_secs(2);

/// Least time between two reports of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Wishes for the end, from signals or other programs.
pub type StopSignals = mpsc::UnboundedReceiver<StopReason>;

/// What is known before the first phase.
#[derive(Debug)]
pub struct Prepared {
    /// For the first event.
    pub started: BuildStarted,
    /// Sources that are there, the primary one first; none of those that could not be fetched.
    pub sources: Vec<SourceReady>,
    /// Those of them that nobody but this build has, by identifier, with their directories: what was fetched for it. A retry
    /// may make them new (PHASE-17).
    pub own_sources: Vec<(Option<String>, PathBuf)>,
    /// Whether sources were fetched: then somebody may have asked for the end already, or its time may have come.
    pub was_fetching: bool,
    /// Where the buildspec was found, if it was.
    pub buildspec_location: Option<String>,
    /// The plan, or why there is none.
    pub plan: Result<Box<Plan>, PhaseContext>,
    /// What the author should know.
    pub warnings: Vec<Warning>,
    /// When the build began.
    pub started_at: std::time::Instant,
    /// Time limit of the whole build.
    pub timeout: Duration,
    /// Time between the request to end and the end by force.
    pub grace: Duration,
    /// Whether the place where the commands ran is kept.
    pub keep: Keep,
    /// Where a person wants a shell after the first command that fails.
    pub shell_on_failure: Option<Terminal>,
    /// Where commands wait at breakpoints, if they do (TOOL-33).
    pub debugging: Option<Debugging>,
    /// Whether what can be known is found out before the first command (PRE-1).
    pub preflight: bool,
    /// Whether artifacts are looked through for secrets before they are stored.
    pub scan_artifacts: bool,
}

/// Everything outside that a build touches.
pub struct World<E> {
    /// Where commands run.
    pub executor: E,
    /// What has the credentials that commands are given.
    pub credentials: CommandCredentials,
    /// Where values come from that the buildspec only names.
    pub secrets: SecretSource,
    /// Where artifacts go.
    pub store: Arc<Store>,
    /// Where what is cached is kept, if it is.
    pub cache: Option<BuildCache>,
    /// Where artifacts come from.
    pub workspace: Workspace,
    /// Where archives may be made: private, and gone with the build.
    pub temporary_directory: PathBuf,
    /// Where events go.
    pub recorder: Recorder,
}

/// A build that is over.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// Sinks that could not write.
    pub sink_failures: Vec<SinkFailure>,
    /// Whether the place where the commands ran was kept.
    pub kept: bool,
    /// What was hidden at the end.
    pub secrets: Secrets,
}

/// Runs a build from its first event to its last.
pub async fn drive<E: Executor>(
    mut prepared: Prepared,
    world: World<E>,
    signals: StopSignals,
) -> Finished {
    let mut driver = Driver::new(
        &mut prepared,
        world.recorder,
        world.store,
        world.workspace,
        world.temporary_directory,
        signals,
    );
    driver.cache = world.cache.map(Arc::new);
    let mut session = None;
    let finished = driver
        .build(
            prepared,
            (&world.executor, &world.secrets, &world.credentials),
            &mut session,
        )
        .await;
    // Dropping a session that was not closed ends its processes by force.
    drop(session);
    if finished.is_none() {
        driver.outcome.status = Status::Stopped;
        return Finished {
            outcome: driver.outcome,
            sink_failures: Vec::new(),
            kept: false,
            secrets: driver.recorder.hidden_by_now(),
        };
    }
    driver.finish().await
}

/// Where the sources and the buildspec are.
pub(super) struct Found {
    pub(super) sources: Vec<SourceReady>,
    /// Those that nobody but this build has.
    pub(super) own: Vec<(Option<String>, PathBuf)>,
    buildspec_location: Option<String>,
}

/// Whoever asked to leave at once gets `None` for everything.
pub(super) type Left<T> = Option<T>;

/// The state of the loop.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact by itself: none of them decides another"
)]
pub(super) struct Driver {
    pub(super) machine: Machine,
    pub(super) recorder: Recorder,
    pub(super) outcome: Outcome,
    pub(super) store: Arc<Store>,
    /// Where what is cached is kept, if it is.
    pub(super) cache: Option<Arc<BuildCache>>,
    /// What was restored and is to be saved.
    pub(super) cached: Option<Cached>,
    pub(super) workspace: Workspace,
    pub(super) temporary_directory: PathBuf,
    /// Where sessions send output.
    pub(super) output: mpsc::Sender<Vec<u8>>,
    chunks: mpsc::Receiver<Vec<u8>>,
    /// Where uploads report.
    pub(super) reports: mpsc::UnboundedSender<Report>,
    heard: mpsc::UnboundedReceiver<Report>,
    signals: StopSignals,
    closed: watch::Receiver<bool>,
    /// Tells commands to end.
    pub(super) cancel: watch::Sender<Escalation>,
    /// Tells uploads to end.
    pub(super) stop: Stop,
    pub(super) deadline: Option<Instant>,
    grace: Duration,
    grace_over: Option<Instant>,
    /// Whether the end was asked for, or its time has come: from then on nothing waits for the sinks for long.
    pub(super) hurried: bool,
    patience_over: Option<Instant>,
    build_started: Instant,
    phase_started: Instant,
    last_progress: Option<Instant>,
    pub(super) keep: Keep,
    kept: bool,
    shell_on_failure: Option<Terminal>,
    pub(super) breakpoints: Option<Breakpoints>,
    pub(super) scan_artifacts: bool,
    /// Whether the exported variables were read.
    pub(super) exported: bool,
    /// What a retry makes the build's own sources of.
    pub(super) originals: Option<Originals>,
    /// Keys of the artifacts that are stored, with their identifiers.
    pub(super) places: Vec<(String, Option<ArtifactIdentifier>)>,
}

impl Driver {
    fn new(
        prepared: &mut Prepared,
        recorder: Recorder,
        store: Arc<Store>,
        workspace: Workspace,
        temporary_directory: PathBuf,
        signals: StopSignals,
    ) -> Self {
        let started = Instant::from_std(prepared.started_at);
        let (output, chunks) = mpsc::channel(OUTPUT_CHUNKS);
        let (reports, heard) = mpsc::unbounded_channel();
        Self {
            machine: Machine::new(),
            closed: recorder.closed(),
            recorder,
            outcome: Outcome::default(),
            store,
            cache: None,
            cached: None,
            workspace,
            temporary_directory,
            output,
            chunks,
            reports,
            heard,
            signals,
            cancel: watch::channel(Escalation::None).0,
            stop: Stop::default(),
            deadline: started.checked_add(prepared.timeout),
            grace: prepared.grace,
            grace_over: None,
            hurried: false,
            patience_over: None,
            build_started: started,
            phase_started: started,
            last_progress: None,
            keep: prepared.keep,
            kept: false,
            shell_on_failure: prepared.shell_on_failure.take(),
            breakpoints: prepared.debugging.take().map(Breakpoints::new),
            scan_artifacts: prepared.scan_artifacts,
            exported: false,
            originals: None,
            places: Vec::new(),
        }
    }

    async fn build<E: Executor>(
        &mut self,
        prepared: Prepared,
        (executor, secrets, credentials): (&E, &SecretSource, &CommandCredentials),
        session: &mut Option<E::Session>,
    ) -> Left<()> {
        let Prepared {
            started,
            sources,
            own_sources,
            was_fetching,
            buildspec_location,
            plan,
            warnings,
            preflight,
            ..
        } = prepared;
        let found = Found {
            sources,
            own: own_sources,
            buildspec_location,
        };
        self.record(EventKind::BuildStarted(started));
        self.record(EventKind::PhaseStarted {
            phase: Phase::DownloadSource,
        });
        self.tell_of(&found);
        for warning in warnings {
            self.record(EventKind::Warning(warning));
        }
        if was_fetching {
            self.attend(std::future::ready(())).await?;
        }
        let (plan, mut input) = match plan {
            Err(context) => (None, Input::NotReady(Status::Failed, context)),
            Ok(mut plan) => {
                self.record(EventKind::BuildspecRead(describe(&plan)));
                self.clear_reports(&plan);
                let mut ending = self.take_credentials(credentials).await?;
                // Nothing can be found out as a role that cannot be had.
                let preflight = preflight && ending.is_none();
                let preflight = preflight.then(|| self.begin_preflight(&plan));
                if ending.is_none() {
                    ending = self.fetch_secrets(secrets, &mut plan).await?;
                }
                let made = match ending {
                    Some(input) => input,
                    None => {
                        self.keep_originals(&plan, &found).await?;
                        let opened = self.open(executor, &plan).await?;
                        self.opened(&plan, opened, session)
                    }
                };
                let mut input = self
                    .end_preflight(preflight, session.as_mut(), &plan, made)
                    .await?;
                if let (Input::Ready, Some(session)) = (&input, session.as_mut()) {
                    input = self.install_runtimes(session, &plan).await?;
                    if let Input::Ready = input {
                        self.restore_cache(session, &plan).await?;
                    }
                }
                (Some(plan), input)
            }
        };
        let mut not_exported = None;
        loop {
            let mut next = None;
            for action in self.machine.on(input) {
                match action {
                    Action::StartPhase(phase) => {
                        if phase == Phase::UploadArtifacts {
                            not_exported = self.freeze(session, plan.as_deref()).await?;
                        }
                        self.start_phase(phase);
                    }
                    Action::Retry(retried) => {
                        let Some(plan) = plan.as_deref() else {
                            continue;
                        };
                        let again = (plan, &found);
                        next = self.retry(executor, again, retried, session).await?;
                    }
                    Action::FinishPhase {
                        phase,
                        status,
                        aborted,
                        contexts,
                    } => {
                        let duration = self.phase_started.elapsed();
                        self.record(EventKind::PhaseFinished {
                            phase,
                            status,
                            aborted,
                            contexts,
                            duration,
                        });
                    }
                    Action::Run(phase, list, place) => {
                        let (Some(session), Some(plan)) = (session.as_mut(), plan.as_ref()) else {
                            continue;
                        };
                        next = Some(self.run(session, plan, phase, list, place).await?);
                    }
                    Action::Store => {
                        let (Some(session), Some(plan)) = (session.as_mut(), plan.as_ref()) else {
                            continue;
                        };
                        next = Some(match not_exported.take() {
                            Some(context) => Input::NotStored(Status::Fault, context),
                            None => self.store_artifacts(session, plan).await?,
                        });
                        // Whatever came of the artifacts (CACHE-13).
                        self.save_cache(session).await?;
                    }
                    Action::Finish(status) => {
                        // A build that failed before POST_BUILD gives on what is known (ENV-40).
                        if status == Status::Failed {
                            let failed = self.freeze(session, plan.as_deref()).await?;
                            if let Some(context) = failed {
                                self.record(EventKind::Warning(Warning::new(context.message)));
                            }
                        }
                        self.close(session, status).await?;
                        let duration = self.build_started.elapsed();
                        self.record(EventKind::BuildFinished { status, duration });
                        return Some(());
                    }
                    Action::Escalate(_) | Action::StartGrace | Action::Leave => {
                        self.carry_out(&action)?;
                    }
                }
            }
            input = next.expect("invariant: until the end, something is always under way");
        }
    }

    pub(super) fn start_phase(&mut self, phase: Phase) {
        self.phase_started = Instant::now();
        self.record(EventKind::PhaseStarted { phase });
    }

    pub(super) fn tell_of(&mut self, found: &Found) {
        for source in &found.sources {
            self.record(EventKind::SourceReady(source.clone()));
        }
        if let Some(location) = found.buildspec_location.clone() {
            self.record(EventKind::BuildspecFound { location });
        }
    }

    /// Until somebody asks for the end, at least so urgently.
    pub(super) fn asked(&self, at_least: Escalation) -> impl Future<Output = ()> + use<> {
        let mut cancel = self.cancel.subscribe();
        async move {
            let asked = cancel.wait_for(|asked| *asked >= at_least).await.is_ok();
            if !asked {
                // Nobody is there to ask.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Opens a place for commands. Whoever asked for the end waits for it no longer than for a command (CTR-68).
    pub(super) async fn open<E: Executor>(
        &mut self,
        executor: &E,
        plan: &Plan,
    ) -> Left<Result<E::Session, exec::Error>> {
        let forced = self.asked(Escalation::Kill);
        let environment = environment(plan);
        let opening = async {
            tokio::select! {
                opened = executor.open(environment) => opened,
                // What was made for it goes with it.
                () = forced => {
                    executor.abandon().await;
                    Err(exec::Error::InContainer {
                        message: "the build was ended before the place for its commands was ready".to_owned(),
                    })
                }
            }
        };
        self.attend(opening).await
    }

    pub(super) fn opened<S>(
        &mut self,
        plan: &Plan,
        opened: Result<S, exec::Error>,
        session: &mut Option<S>,
    ) -> Input {
        match opened {
            Ok(opened) => {
                *session = Some(opened);
                self.machine.load(plan);
                Input::Ready
            }
            Err(error) => Input::NotReady(Status::Fault, broken(&error)),
        }
    }

    async fn run<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
        phase: CommandPhase,
        list: CommandList,
        place: usize,
    ) -> Left<Input> {
        let command = &plan.phases[phase as usize].list(list)[place];
        self.record(EventKind::CommandStarted(CommandStarted {
            phase,
            list,
            index: command.index,
            text: command.text.clone(),
            place: command.place,
        }));
        let started = Instant::now();
        let order = exec::Command {
            text: &command.text,
            succeeding: self.machine.succeeding(),
            user: plan.phases[phase as usize].user.as_deref(),
        };
        let output = self.output.clone();
        let mut cancel = self.cancel.subscribe();
        let end = self
            .attend(session.run(order, &output, &mut cancel))
            .await?;
        Some(match end {
            Ok(end) => {
                let duration = started.elapsed();
                self.record(EventKind::CommandFinished {
                    exit: end.exit,
                    duration,
                    leaked: end.leaked,
                });
                for note in end.notes {
                    self.record(EventKind::Warning(Warning::new(note).at(command.place)));
                }
                if !end.exit.is_success() {
                    self.look(session).await?;
                }
                Input::CommandFinished(end.exit)
            }
            Err(error) => {
                self.record(EventKind::CommandFinished {
                    exit: Exit::Unknown,
                    duration: started.elapsed(),
                    leaked: false,
                });
                if matches!(error, exec::Error::UnknownUser { .. }) {
                    return Some(Input::CommandRefused(refused(command, &error)));
                }
                Input::CommandBroken(broken(&error).at(command.place))
            }
        })
    }

    /// Lets a person look around after the first command that fails, before anything follows it (CTR-33).
    async fn look<S: Session>(&mut self, session: &mut S) -> Left<()> {
        let ending = *self.cancel.borrow() > Escalation::None;
        let (Some(terminal), false) = (self.shell_on_failure.take(), ending) else {
            return Some(());
        };
        // What a person looks at counts for no limit, and the log up to here comes first.
        let deadline = self.deadline.take();
        let begun = Instant::now();
        self.recorder.settle(LAST_WRITES).await;
        terminal
            .say("this shell has what the failed command left; when it ends, the build goes on as if it had not been there")
            .await;
        let mut cancel = self.cancel.subscribe();
        let looked = self.attend(session.enter(&terminal, &mut cancel)).await?;
        self.deadline = deadline.and_then(|deadline| deadline.checked_add(begun.elapsed()));
        if let Err(error) = looked {
            let mut message = format!("there was no shell to look around with: {error}");
            if let Some(source) = std::error::Error::source(&error) {
                message.push_str(&format!(": {source}"));
            }
            self.record(EventKind::Warning(Warning::new(message)));
        }
        Some(())
    }

    /// Reads the exported variables, if that was not done yet. Gives back why it could not be done.
    async fn freeze<S: Session>(
        &mut self,
        session: &mut Option<S>,
        plan: Option<&Plan>,
    ) -> Left<Option<PhaseContext>> {
        let (Some(session), Some(plan)) = (session.as_mut(), plan) else {
            return Some(None);
        };
        Some(self.export(session, plan).await?.err())
    }

    pub(super) async fn close<S: Session>(
        &mut self,
        session: &mut Option<S>,
        status: Status,
    ) -> Left<()> {
        if let Some(mut open) = session.take() {
            if self.keep.applies(status == Status::Succeeded) {
                open.keep();
            }
            let output = self.output.clone();
            let mut cancel = self.cancel.subscribe();
            let ended = self.attend(open.close(&output, &mut cancel)).await?;
            self.kept = open.is_kept();
            self.pass_on(open.notes());
            // Whoever stops a build wants all of it to end.
            if ended > 0 && self.outcome.stopped_by.is_none() {
                self.record(EventKind::Warning(left_behind(ended)));
            }
            self.end_breakpoints();
        }
        Some(())
    }

    /// Warns of what a session has to say.
    pub(super) fn pass_on(&mut self, notes: Vec<String>) {
        for note in notes {
            self.record(EventKind::Warning(Warning::new(note)));
        }
    }

    /// Waits for the sinks, but not for ever (LOG-19). Whoever asks again meanwhile leaves without them.
    async fn finish(self) -> Finished {
        let Self {
            mut recorder,
            outcome,
            mut signals,
            deadline,
            hurried,
            kept,
            ..
        } = self;
        let soon = Instant::now() + LAST_WRITES;
        let limit = if hurried {
            Some(soon)
        } else {
            deadline.map(|deadline| deadline.max(soon))
        };
        let over = async {
            tokio::select! {
                Some(_) = signals.recv() => {}
                () = at(limit) => {}
            }
        };
        let secrets = recorder.hidden_by_now();
        let sink_failures = recorder.finish(over).await;
        Finished {
            outcome,
            sink_failures,
            kept,
            secrets,
        }
    }

    pub(super) fn record(&mut self, kind: EventKind) {
        let event = self.recorder.record(kind);
        self.outcome.event(&event);
    }

    /// Carries work on and listens to everything else meanwhile. `None` if somebody wants to leave at once.
    pub(super) async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Left<T> {
        tokio::pin!(work);
        let result = loop {
            let drained = self.recorder.is_drained();
            // Whoever is asked to end must not be kept from it by a reader that does not read.
            let takes = drained || (self.hurried && self.recorder.has_room());
            // What is written or ends while the terminal is a shell's is shown after it.
            let visited = self.is_visited();
            let takes = takes && (self.hurried || !visited);
            tokio::select! {
                biased;
                Some(reason) = self.signals.recv() => self.stop_asked(reason)?,
                () = until_closed(&mut self.closed), if self.outcome.stopped_by.is_none() => {
                    self.stop_asked(StopReason::OutputClosed)?;
                }
                () = at(self.deadline) => {
                    self.deadline = None;
                    self.hurry();
                    self.tell(Input::TimeLimit)?;
                }
                () = at(self.grace_over) => {
                    self.grace_over = None;
                    self.tell(Input::GraceOver)?;
                }
                () = at(self.patience_over) => {
                    self.patience_over = None;
                    self.recorder.lose_patience();
                }
                result = &mut work, if self.hurried || !visited => break result,
                () = self.recorder.drain(), if !drained => {}
                Some(chunk) = self.chunks.recv(), if takes => self.recorder.output(chunk),
                Some(report) = self.heard.recv(), if takes => self.report(report),
                // Last: what was written before it comes before it.
                happened = breakpoint::happens(&mut self.breakpoints) => {
                    self.at_breakpoint(happened).await;
                }
            }
        };
        // What was sent before the work ended belongs before whatever comes next.
        while let Ok(chunk) = self.chunks.try_recv() {
            self.recorder.output(chunk);
        }
        while let Ok(report) = self.heard.try_recv() {
            self.report(report);
        }
        while let Some(news) = self.breakpoints.as_mut().and_then(Breakpoints::untold) {
            self.tell_of_breakpoint(news);
        }
        Some(result)
    }

    fn is_visited(&self) -> bool {
        self.breakpoints
            .as_ref()
            .is_some_and(Breakpoints::has_terminal)
    }

    fn stop_asked(&mut self, reason: StopReason) -> Left<()> {
        self.record(EventKind::StopRequested { by: reason });
        self.hurry();
        self.tell(Input::Stop(reason))
    }

    fn hurry(&mut self) {
        if !self.hurried {
            self.hurried = true;
            if let Some(breakpoints) = &self.breakpoints {
                breakpoints.hurry();
            }
            self.patience_over = Instant::now().checked_add(LAST_WRITES);
        }
    }

    fn tell(&mut self, input: Input) -> Left<()> {
        for action in self.machine.on(input) {
            self.carry_out(&action)?;
        }
        Some(())
    }

    fn carry_out(&mut self, action: &Action) -> Left<()> {
        match action {
            Action::Escalate(escalation) => {
                self.stop.request();
                self.cancel.send_replace(*escalation);
            }
            Action::StartGrace => self.grace_over = Instant::now().checked_add(self.grace),
            Action::Leave => return None,
            _ => {}
        }
        Some(())
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Progress(progress) => {
                let now = Instant::now();
                let due = self
                    .last_progress
                    .is_none_or(|last| now.duration_since(last) >= PROGRESS_EVERY);
                if due {
                    self.last_progress = Some(now);
                    self.record(EventKind::ArtifactProgress(progress));
                }
            }
            Report::FileStored(identifier, file) => self.record(EventKind::ArtifactFileStored {
                identifier,
                path: file.path,
                location: file.location,
                bytes: file.bytes,
                sha256: file.sha256,
            }),
            Report::Warning(warning) => self.record(EventKind::Warning(warning)),
        }
    }
}

async fn until_closed(closed: &mut watch::Receiver<bool>) {
    if closed.wait_for(|closed| *closed).await.is_err() {
        // The sinks' thread has ended; that says nothing about a reader.
        std::future::pending::<()>().await;
    }
}

pub(super) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn left_behind(processes: usize) -> Warning {
    let message = match processes {
        1 => "1 process that a command left in the background was ended with the build".to_owned(),
        _ => format!(
            "{processes} processes that commands left in the background were ended with the build"
        ),
    };
    Warning::new(message)
}

pub(super) fn describe(plan: &Plan) -> BuildspecRead {
    let declared = plan.phases.iter().filter(|phase| phase.declared);
    BuildspecRead {
        version: plan.version.as_str(),
        shell: plan.shell.name().to_owned(),
        phases: declared
            .map(|phase| (phase.name, phase.commands.len()))
            .collect(),
        unrecognized: plan
            .unrecognized
            .iter()
            .map(|unknown| (unknown.section.clone(), unknown.keys.clone()))
            .collect(),
        runtimes: match plan.runtime_source {
            _ if plan.runtime_versions.is_empty() => RuntimesNamed::None,
            RuntimeSource::Machine => RuntimesNamed::OfMachine,
            RuntimeSource::Image { .. } => RuntimesNamed::OfImage,
        },
        has_cache: plan.cache.is_some(),
        has_parameters: plan
            .secrets
            .iter()
            .any(|secret| matches!(secret.reference, SecretReference::Parameter { .. })),
        has_fetched: !plan.secrets.is_empty(),
        proxy: plan.proxy,
    }
}

pub(super) fn environment(plan: &Plan) -> Environment {
    Environment {
        source_directory: plan.source_directory.clone(),
        secondary_directories: plan
            .secondary_sources
            .iter()
            .map(|(_, directory)| directory.clone())
            .collect(),
        shell: plan.shell.clone(),
        version: plan.version,
        variables: plan
            .environment
            .iter()
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect(),
        grace: plan.grace,
    }
}

/// A command that cannot be run as asked is the build's own failure.
fn refused(command: &CommandPlan, error: &exec::Error) -> PhaseContext {
    let message = format!(
        "Error while executing command: {}. Reason: {error}",
        command.text
    );
    let help =
        "`run-as` has to name a user of `/etc/passwd` in the place where commands run, or a number";
    PhaseContext::build(COMMAND_EXECUTION_ERROR, message)
        .at(command.place)
        .with_help(help)
}

/// A broken place is a fault: what is wrong, and what to do about it.
pub(super) fn broken(error: &exec::Error) -> PhaseContext {
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        message.push_str(&format!(": {source}"));
    }
    let code = match error {
        exec::Error::Image { .. } => UNABLE_TO_PULL_IMAGE,
        _ => CLIENT_ERROR,
    };
    let mut context = PhaseContext::environment(code, message);
    context.help = remedy(error);
    context
}

/// What to do about a broken place, where that is known.
fn remedy(error: &exec::Error) -> Option<String> {
    match error {
        exec::Error::ShellMissing { shell } => Some(format!(
            "install `{shell}`, or run with `--shell /bin/sh` if the commands allow it"
        )),
        exec::Error::ShellUnsupported { .. } => {
            Some("run it on Windows, or choose another shell with `--shell`".to_owned())
        }
        exec::Error::VariableTooLarge { .. } | exec::Error::EnvironmentTooLarge { .. } => {
            Some("pass the value in a file instead".to_owned())
        }
        exec::Error::StateDirectory { .. }
        | exec::Error::WriteState { .. }
        | exec::Error::SaveState { .. } => {
            Some("make room there, or point TMPDIR somewhere else".to_owned())
        }
        exec::Error::ImageWithoutShell { shell, .. } => Some(format!(
            "use an image that has `{shell}`, or another shell with `--shell`"
        )),
        exec::Error::EntryPoint { .. } => Some(
            "run without it, with `--no-entrypoint`, or use an image whose entry point runs its arguments"
                .to_owned(),
        ),
        exec::Error::FoundDead { help, .. } | exec::Error::Image { help, .. } => help.clone(),
        exec::Error::Volume { .. } => Some(
            "make it, or correct `--volume`: Docker's `-v` would make an empty directory of it".to_owned(),
        ),
        exec::Error::Engine(error) => error.remedy().map(str::to_owned),
        exec::Error::TooManyProcesses { in_container, .. } => Some(if *in_container {
            exec::container::MORE_PROCESSES.to_owned()
        } else {
            "end processes that are not needed, or raise the limit: see `ulimit -u`, and `TasksMax` where systemd runs this"
                .to_owned()
        }),
        exec::Error::System { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            Some("make room there".to_owned())
        }
        exec::Error::InContainer { .. }
        | exec::Error::UnknownUser { .. }
        | exec::Error::ReadFile { .. }
        | exec::Error::SourceDirectory { .. }
        | exec::Error::Spawn { .. }
        | exec::Error::System { .. } => None,
    }
}
