//! The process: signals, drain, limits, and what an earlier agent has left (AGENT-28, AGENT-34 to AGENT-36).

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::board::{Board, State};
use super::control::{self, Control};
use super::doubt::{self, Doubts};
use super::history;
use super::job::{Allowed, Defaults};
use super::kept::Kept;
use super::log::Log;
use super::logs::shipping::{Shipping, is_shipped};
use super::logs::telling;
use super::pipeline::{Error, Pipeline};
use super::poll::{self, End};
use super::progress::Progress;
use super::room::Room;
use super::state::{JobDirectory, Stage, StateDirectory};
use super::work;
use crate::aws;
use crate::engine::EndpointSettings;
use crate::process;
use crate::store::Stop;
use crate::units::write_duration;

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
    /// Whether a person is there who waits for what it says.
    pub attended: bool,
    /// The engine in which builds run that do not say otherwise, if they run in one.
    pub engine: Option<EndpointSettings>,
    /// How long a pipeline waits for a job: after that it has given it up.
    pub patience: Duration,
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
    /// What is left of jobs that are over.
    pub kept: Kept,
    /// What is going on.
    pub board: Board,
    /// What it says.
    pub log: Log,
    /// Whether its loops come round.
    pub progress: Progress,
    /// Whether jobs may be taken.
    pub room: Room,
    /// Jobs of which nobody knows whose they are.
    pub doubts: Doubts,
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
            kept: Kept::default(),
            board,
            log,
            progress: Progress::new(),
            room: Room::default(),
            doubts: Doubts::default(),
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
    let working = async {
        let ended = work_until_drained(Arc::clone(&agent), Arc::clone(&slots)).await;
        // Who has no patience with it is heard.
        if let Some(shipping) = &agent.shipping {
            send_what_is_left(&agent, shipping).await;
        }
        ended
    };
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
        told.tell(&agent, shipping);
    }
    ended
}

/// How long an agent that ends waits for what is left of logs: the next agent sends it, too.
const LOGS_PATIENCE: Duration = Duration::from_secs(10);

/// Waits a while for what is left of logs, and says so.
async fn send_what_is_left<P: Pipeline>(agent: &Agent<P>, shipping: &Shipping) {
    let say = |message: &str| agent.log.info(message, &[]);
    let left = shipping.status().queued_builds;
    if left > 0 {
        let patience = write_duration(LOGS_PATIENCE);
        say(&format!(
            "waits {patience} at most for what is not sent yet of logs and changes; builds: {left}"
        ));
    }
    shipping.close(LOGS_PATIENCE).await;
    let left = shipping.status().queued_builds;
    if left > 0 {
        say(&format!(
            "leaves what is not sent of logs and changes to the next agent; builds: {left}"
        ));
    }
}

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
    if agent.drain.is_requested() {
        let message = format!("{why}: it ends already, with its last build");
        agent.log.info(&message, &[]);
    } else {
        let message = format!("{why}: takes no more jobs, and ends with its last build");
        agent.log.info(&message, &[]);
        agent.board.turn_to(State::Draining);
        agent.drain.request();
    }
}

async fn work_until_drained<P: Pipeline>(agent: Arc<Agent<P>>, slots: Arc<Semaphore>) -> Ended {
    let left = take_up(&agent, &slots);
    let end = poll::run(Arc::clone(&agent), Arc::clone(&slots)).await;
    // Whyever it ends: what is surely not acknowledged goes back.
    agent.drain.request();
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
    agent.doubts.answered().await;
    match agent.doubts.count() {
        0 => agent.log.info("ends: no job is open", &[]),
        more => {
            let message = format!(
                "ends: jobs of which nobody knows whose they are: {more}; the next agent answers them"
            );
            agent.log.warn(&message, &[]);
        }
    }
    ended
}

/// A place in the line for a slot, before whoever asks later: what was taken once comes before anything new.
fn in_line(
    slots: &Arc<Semaphore>,
) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + use<> {
    let mut waiting = Box::pin(Arc::clone(slots).acquire_owned());
    // Who waits has a place from the first look on.
    let first = waiting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    async move {
        match first {
            Poll::Ready(permit) => permit.ok(),
            Poll::Pending => waiting.await.ok(),
        }
    }
}

/// Removes what only a build and its answer needed, where an earlier agent did not come to it, or knew less of it.
fn clear_ended<P: Pipeline>(agent: &Agent<P>, directory: JobDirectory) {
    let has_readers = agent.shipping.is_some();
    tokio::spawn(async move {
        // What an agent with a log group has begun to send the next such one may go on with.
        if !has_readers && !is_shipped(directory.path()) {
            let _ = std::fs::remove_file(directory.events());
        }
        directory.clear().await;
    });
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
        if let Some(build) = history::remembered(&directory, &record) {
            agent.board.remembered(build);
            if let Some(shipping) = &agent.shipping {
                shipping.resume(directory.path(), &history::about_of(&record));
            }
            clear_ended(agent, directory.clone());
            agent.kept.add(directory);
            continue;
        }
        if let Stage::Doubtful { until } = record.stage {
            let until = SystemTime::UNIX_EPOCH + Duration::from_millis(until);
            doubt::begin(agent, directory, record, until);
            continue;
        }
        let about: &[(&str, &str)] = &[("job", &record.job)];
        agent
            .log
            .info("takes up a job that an earlier agent left open", about);
        agent.begin(&record.job);
        let slot = (record.stage == Stage::Claimed).then(|| in_line(slots));
        let agent = Arc::clone(agent);
        tasks.push(tokio::spawn(async move {
            let permit = match slot {
                Some(slot) => slot.await,
                None => None,
            };
            let job = record.job.clone();
            Box::pin(work::resume(&agent, directory, record)).await;
            agent.end(&job);
            drop(permit);
        }));
    }
    tasks
}
