//! The process: signals, drain, limits, and what an earlier agent has left (AGENT-28, AGENT-34 to AGENT-36).

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use super::board::{Board, State};
use super::control::{self, Control};
use super::job::{Allowed, Defaults};
use super::log::Log;
use super::logs::shipping::Shipping;
use super::logs::telling;
use super::pipeline::{Error, Pipeline};
use super::poll::{self, End};
use super::progress::Progress;
use super::state::StateDirectory;
use super::work;
use crate::aws;
use crate::process;
use crate::store::Stop;

/// What an agent does, and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Builds at the same time.
    pub slots: usize,
    /// Time between two polls.
    pub interval: Duration,
    /// One job, and no more.
    pub once: bool,
    /// It ends when there was no job for so long.
    pub max_idle: Option<Duration>,
    /// It takes no more jobs after this time.
    pub max_uptime: Option<Duration>,
    /// Least bytes that have to be free for a job to be taken.
    pub min_free: u64,
    /// How many builds that are over keep their logs.
    pub keep_builds: usize,
    /// How often running jobs are looked after: less than a quarter of an hour, for their credentials.
    pub look_after: Duration,
    /// What actions may ask for.
    pub allowed: Allowed,
    /// What is so where actions do not say.
    pub defaults: Defaults,
    /// Time limit of a build whose action does not say.
    pub timeout: Duration,
    /// Time a command has to end by itself.
    pub grace: Duration,
    /// This program.
    pub program: PathBuf,
    /// Variables of builds' processes.
    pub variables: Vec<(OsString, OsString)>,
    /// Further arguments of builds' processes.
    pub arguments: Vec<OsString>,
    /// How AWS is reached.
    pub aws: aws::Settings,
    /// Whether an endpoint other than AWS's own is set for S3.
    pub custom_endpoint: bool,
}

/// What the agent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// To end, by this signal: at first with its last build, then with its builds stopped, then at once.
    End(i32),
    /// To end with its last build.
    Drain,
    /// To read its configuration again.
    Reload,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it should, with every job answered.
    Well,
    /// At once, by this signal: what is open is answered by the next agent.
    AtOnce(i32),
    /// It will never get a job.
    Never(Error),
}

/// What all tasks of an agent share.
#[derive(Debug)]
pub struct Agent<P> {
    /// CodePipeline.
    pub pipeline: Arc<P>,
    /// What it is to do, until it is told otherwise.
    settings: RwLock<Arc<Settings>>,
    /// What is on disk.
    pub state: StateDirectory,
    /// What is going on.
    pub board: Board,
    /// What it says.
    pub log: Log,
    /// Whether its loops come round.
    pub progress: Progress,
    /// Where logs and changes of builds go, if they go anywhere.
    pub shipping: Option<Shipping>,
    /// No more jobs are taken.
    pub drain: Stop,
    /// Builds are stopped.
    pub cancel: Stop,
    /// Nothing is waited for.
    pub leave: Stop,
    busy: Mutex<Busy>,
}

#[derive(Debug)]
struct Busy {
    jobs: HashSet<String>,
    /// When a job began or ended last.
    last: Instant,
}

impl<P: Pipeline> Agent<P> {
    /// An agent that has done nothing yet.
    pub fn new(
        pipeline: P,
        settings: Settings,
        state: StateDirectory,
        board: Board,
        log: Log,
        shipping: Option<Shipping>,
    ) -> Arc<Self> {
        Arc::new(Self {
            pipeline: Arc::new(pipeline),
            settings: RwLock::new(Arc::new(settings)),
            state,
            board,
            log,
            progress: Progress::new(),
            shipping,
            drain: Stop::default(),
            cancel: Stop::default(),
            leave: Stop::default(),
            busy: Mutex::new(Busy {
                jobs: HashSet::new(),
                last: Instant::now(),
            }),
        })
    }

    /// What it is to do by now. Who keeps this goes on by it.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// It is to do this from now on, with the slots that it has (AGENT-93).
    pub fn follow(&self, settings: Settings) {
        let mut now = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let slots = now.slots;
        *now = Arc::new(Settings { slots, ..settings });
    }

    /// Begins with a job; false if it is worked on already.
    pub fn begin(&self, job: &str) -> bool {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.last = Instant::now();
        busy.jobs.insert(job.to_owned())
    }

    /// Is done with a job.
    pub fn end(&self, job: &str) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.last = Instant::now();
        busy.jobs.remove(job);
    }

    /// How long there was nothing to do.
    pub fn idle(&self) -> Duration {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.jobs.is_empty() {
            busy.last.elapsed()
        } else {
            Duration::ZERO
        }
    }
}

/// Runs an agent to its end. `reload` is called for each wish to read the configuration again.
pub async fn serve<P: Pipeline>(
    agent: Arc<Agent<P>>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    sender: mpsc::UnboundedSender<Command>,
    reload: impl Fn(),
) -> Ended {
    let slots = Arc::new(Semaphore::new(agent.settings().slots));
    let control = Control::listen(agent.state.path());
    if let Err(error) = &control {
        let message = format!("`runner agent status` and `drain` cannot reach this agent: {error}");
        agent.log.warn(&message, &[]);
    }
    let answering = async {
        match &control {
            Ok(control) => {
                let status = || control::status(&agent.board.snapshot());
                control.serve(status, sender).await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    let working = work_until_drained(Arc::clone(&agent), Arc::clone(&slots));
    let listening = async {
        let mut asked = 0;
        while let Some(command) = commands.recv().await {
            if let Some(ended) = obey(&agent, command, &mut asked, &reload) {
                return ended;
            }
        }
        std::future::pending().await
    };
    let mut told = telling::Told::default();
    let ended = tokio::select! {
        ended = working => ended,
        ended = listening => ended,
        () = answering => unreachable!("invariant: it answers for ever"),
        () = telling::tell(&agent, &mut told) => unreachable!("invariant: it tells for ever"),
    };
    if let Some(shipping) = &agent.shipping {
        if !matches!(ended, Ended::AtOnce(_)) {
            shipping.close(LOGS_PATIENCE).await;
        }
        told.tell(&agent, shipping);
    }
    ended
}

/// How long the end of an agent, and of a job that is answered, wait for what is left of logs: the next agent sends it, too.
pub(super) const LOGS_PATIENCE: Duration = Duration::from_secs(15);

/// What a command comes to: the end at once, if anything.
fn obey<P: Pipeline>(
    agent: &Agent<P>,
    command: Command,
    asked: &mut u32,
    reload: &impl Fn(),
) -> Option<Ended> {
    match command {
        Command::Reload => reload(),
        Command::Drain => drain(agent, "was told to drain"),
        Command::End(signal) => {
            *asked += 1;
            match asked {
                1 => drain(agent, "was told to end"),
                2 => {
                    agent
                        .log
                        .warn("was told to end again: builds are stopped", &[]);
                    agent.board.turn_to(State::Stopping);
                    agent.drain.request();
                    agent.cancel.request();
                }
                _ => {
                    let message = "was told to end a third time: leaves at once; open jobs are answered at the next start";
                    agent.log.warn(message, &[]);
                    agent.leave.request();
                    process::kill_descendants();
                    return Some(Ended::AtOnce(signal));
                }
            }
        }
    }
    None
}

fn drain<P: Pipeline>(agent: &Agent<P>, why: &str) {
    if !agent.drain.is_requested() {
        let message = format!("{why}: takes no more jobs, and ends with its last build");
        agent.log.info(&message, &[]);
        agent.board.turn_to(State::Draining);
        agent.drain.request();
    }
}

async fn work_until_drained<P: Pipeline>(agent: Arc<Agent<P>>, slots: Arc<Semaphore>) -> Ended {
    let left = take_up(&agent, &slots);
    let end = poll::run(Arc::clone(&agent), Arc::clone(&slots)).await;
    let ended = match &end {
        End::Never(error) => {
            let help = error
                .help
                .as_deref()
                .map_or_else(String::new, |help| format!("; {help}"));
            agent.log.error(&format!("{error}{help}"), &[]);
            Ended::Never(error.clone())
        }
        End::Drained => Ended::Well,
        End::Once => Ended::Well,
        End::Idle => {
            agent
                .log
                .info("there was no job for long (--max-idle)", &[]);
            Ended::Well
        }
        End::Uptime => {
            let message = "its time is over (--max-uptime): takes no more jobs";
            agent.log.info(message, &[]);
            Ended::Well
        }
    };
    if agent.board.snapshot().state != State::Stopping {
        agent.board.turn_to(State::Draining);
    }
    let all = u32::try_from(agent.settings().slots).unwrap_or(u32::MAX);
    // Builds that run, and what an earlier agent has left.
    let _ = slots.acquire_many(all).await;
    for task in left {
        let _ = task.await;
    }
    agent.log.info("ends: no job is open", &[]);
    ended
}

/// Takes up what an earlier agent has left open. Only what is still to be built needs a slot.
fn take_up<P: Pipeline>(
    agent: &Arc<Agent<P>>,
    slots: &Arc<Semaphore>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let (jobs, broken) = match agent.state.jobs() {
        Ok(found) => found,
        Err(error) => {
            agent
                .log
                .error(&format!("could not read what is open: {error}"), &[]);
            return Vec::new();
        }
    };
    for (path, error) in broken {
        let message = format!("could not read the record in {}: {error}", path.display());
        agent.log.error(&message, &[]);
    }
    let mut tasks = Vec::new();
    for (directory, record) in jobs {
        if let Some(build) = work::remembered(&directory, &record) {
            agent.board.remembered(build);
            if let Some(shipping) = &agent.shipping {
                shipping.resume(directory.path());
            }
            continue;
        }
        let about: &[(&str, &str)] = &[("job", &record.job)];
        agent
            .log
            .info("takes up a job that an earlier agent left open", about);
        agent.begin(&record.job);
        let (agent, slots) = (Arc::clone(agent), Arc::clone(slots));
        tasks.push(tokio::spawn(async move {
            let is_to_build = record.stage == super::state::Stage::Claimed;
            let permit = if is_to_build {
                slots.acquire_owned().await.ok()
            } else {
                None
            };
            let job = record.job.clone();
            Box::pin(work::resume(&agent, directory, record)).await;
            agent.end(&job);
            drop(permit);
        }));
    }
    tasks
}
