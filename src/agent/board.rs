//! What the agent is doing, as one value that its tasks share: whoever does something says so here, and whoever shows
//! something reads a snapshot (AGENT-80, AGENT-81).
//!
//! Nothing here waits, and nothing is ever asked of it by what takes jobs: a page that is read slowly holds a snapshot, not
//! the board. Nothing here is secret either: no nonce, no credentials, and messages come redacted.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::phase::{Phase, Status};

/// Phases that one build can have here; retries repeat them.
const MAX_PHASES: usize = 64;

/// Bytes of a message that are kept: as many as CodePipeline takes.
const MAX_MESSAGE: usize = 5000;

/// Projects whose last build is known after others pushed it out of the list.
const MAX_PROJECTS: usize = 1000;

/// Who the agent is. Does not change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Version of this program.
    pub version: &'static str,
    /// What it polls for, as people read it: `Build/My-Runner/1`.
    pub action_type: String,
    /// Region that it polls.
    pub region: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub since: SystemTime,
}

/// What the agent as a whole is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It reads its state directory and finishes what an earlier one left.
    #[default]
    Starting,
    /// It asks for as many jobs as it has free slots.
    Polling,
    /// It takes no jobs, and will again when the reason is gone: too little room on a disk, an engine that is
    /// away, jobs that may not be acknowledged.
    NoRoom(String),
    /// It takes no more jobs, and ends with its last build.
    Draining,
    /// It ends its builds.
    Stopping,
}

impl State {
    /// Its word in `/status.json` and on pages.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Polling => "polling",
            Self::NoRoom(_) => "no-room",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }

    /// Why it is so, where there is something to say.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NoRoom(reason) => Some(reason),
            _ => None,
        }
    }
}

/// What the agent does with one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// It acknowledged it and makes ready.
    Preparing,
    /// It downloads input artifacts.
    Downloading,
    /// The build runs.
    Building,
    /// It uploads output artifacts.
    Uploading,
    /// It answers CodePipeline, until that is final.
    Answering,
    /// It is done with it.
    Done,
}

impl Activity {
    /// Its word in `/status.json` and on pages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Downloading => "downloading",
            Self::Building => "building",
            Self::Uploading => "uploading",
            Self::Answering => "answering",
            Self::Done => "done",
        }
    }
}

/// A job, as CodePipeline hands it out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// The pipeline; empty if CodePipeline does not say.
    pub pipeline: String,
    /// The stage.
    pub stage: String,
    /// The action.
    pub action: String,
    /// The execution of the pipeline; empty if CodePipeline does not say.
    pub execution: String,
    /// The project that is built.
    pub project: String,
}

/// One phase of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseRow {
    /// Which one.
    pub phase: Phase,
    /// How it stands.
    pub status: Status,
    /// When it began.
    pub since: SystemTime,
    /// How long it took; nothing while it goes on.
    pub duration: Option<Duration>,
}

/// A build that runs or ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// What it is for.
    pub job: Job,
    /// `project:uuid`, as soon as it is known.
    pub id: Option<String>,
    /// What the agent does with it.
    pub activity: Activity,
    /// Since when it does that.
    pub since: SystemTime,
    /// When the job was taken.
    pub taken: SystemTime,
    /// When the agent was done with it.
    pub ended: Option<SystemTime>,
    /// Its phases so far, in their order.
    pub phases: Vec<PhaseRow>,
    /// How it stands.
    pub status: Status,
    /// Why it did not succeed, as it was answered; or why CodePipeline has no answer.
    pub message: Option<String>,
    /// The file with its log.
    pub log: Option<PathBuf>,
}

impl Build {
    fn new(job: Job, at: SystemTime) -> Self {
        Self {
            job,
            id: None,
            activity: Activity::Preparing,
            since: at,
            taken: at,
            ended: None,
            phases: Vec::new(),
            status: Status::InProgress,
            message: None,
            log: None,
        }
    }

    /// What it is called in addresses and on pages: its build id, or the job's until there is one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.job.id)
    }

    /// Whether somebody means this one: by its id, by the uuid in it, or by the id of its job.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let uuid = self.id.as_deref().and_then(|id| id.rsplit(':').next());
        !name.is_empty() && (self.name() == name || uuid == Some(name) || self.job.id == name)
    }

    /// The phase that goes on, or the last one there was.
    #[must_use]
    pub fn phase(&self) -> Option<&PhaseRow> {
        self.phases.last()
    }

    /// How long it took, or takes by now.
    #[must_use]
    pub fn duration(&self, now: SystemTime) -> Duration {
        let end = self.ended.unwrap_or(now);
        end.duration_since(self.taken).unwrap_or_default()
    }

    fn turn(&mut self, activity: Activity, at: SystemTime) {
        if self.activity != activity {
            self.activity = activity;
            self.since = at;
        }
    }

    fn event(&mut self, event: &Value, at: SystemTime) {
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        match text("event") {
            Some("build-started") => self.id = text("buildId").map(ToOwned::to_owned),
            Some("phase-started") => {
                if let Some(phase) = text("phase").and_then(Phase::from_name) {
                    self.phase_started(phase, at);
                }
            }
            Some("phase-finished") => {
                let phase = text("phase").and_then(Phase::from_name);
                let status = text("phaseStatus").and_then(Status::from_name);
                let seconds = event.get("durationSeconds").and_then(Value::as_f64);
                let taken = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                if let (Some(phase), Some(status)) = (phase, status) {
                    self.phase_finished(phase, status, taken.unwrap_or_default(), at);
                }
            }
            _ => {}
        }
    }

    fn phase_started(&mut self, phase: Phase, at: SystemTime) {
        // The oldest go first: what a build does now is what people look for.
        if self.phases.len() >= MAX_PHASES {
            self.phases.remove(0);
        }
        self.phases.push(PhaseRow {
            phase,
            status: Status::InProgress,
            since: at,
            duration: None,
        });
    }

    fn phase_finished(&mut self, phase: Phase, status: Status, took: Duration, at: SystemTime) {
        let is_open = |row: &PhaseRow| row.phase == phase && row.duration.is_none();
        // CodeBuild's log tells of phases that end without having begun, such as SUBMITTED.
        if !self.phases.last().is_some_and(is_open) {
            self.phase_started(phase, at.checked_sub(took).unwrap_or(at));
        }
        if let Some(row) = self.phases.last_mut() {
            row.status = status;
            row.duration = Some(took);
        }
    }

    fn end(&mut self, status: Status, message: Option<&str>, at: SystemTime) {
        self.turn(Activity::Done, at);
        self.ended = Some(at);
        self.status = status;
        self.message = message.map(|text| text[..text.floor_char_boundary(MAX_MESSAGE)].to_owned());
    }
}

/// What is counted from the agent's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Polls that were answered.
    Polls,
    /// Polls that failed.
    PollFailures,
    /// Jobs that were acknowledged and are this agent's.
    JobsTaken,
    /// Jobs that were let go: an invalid nonce, or another worker has them.
    JobsDropped,
    /// Jobs that were answered with a failure before any build, because the operator's rules do not allow them.
    JobsRefused,
    /// Builds that succeeded.
    Succeeded,
    /// Builds that failed.
    Failed,
    /// Builds that met a fault of the environment.
    Faulted,
    /// Builds past their time limit.
    TimedOut,
    /// Builds that were stopped.
    Stopped,
    /// Answers that had to be given again.
    AnswerRetries,
    /// Answers that CodePipeline did not want: the job was stopped or timed out there.
    AnswersRefused,
    /// Bytes of input artifacts.
    InputBytes,
    /// Bytes of output artifacts.
    OutputBytes,
    /// Log events that were queued for CloudWatch Logs.
    LogEventsQueued,
    /// Log events that CloudWatch Logs took.
    LogEventsSent,
    /// Log events that will never be sent.
    LogEventsLost,
    /// Builds whose logs went before their time, as there was too little room.
    BuildsRemoved,
}

impl Counter {
    /// All of them, in the order of [`Counter`].
    pub const ALL: [Self; 18] = [
        Self::Polls,
        Self::PollFailures,
        Self::JobsTaken,
        Self::JobsDropped,
        Self::JobsRefused,
        Self::Succeeded,
        Self::Failed,
        Self::Faulted,
        Self::TimedOut,
        Self::Stopped,
        Self::AnswerRetries,
        Self::AnswersRefused,
        Self::InputBytes,
        Self::OutputBytes,
        Self::LogEventsQueued,
        Self::LogEventsSent,
        Self::LogEventsLost,
        Self::BuildsRemoved,
    ];

    /// Its key in `/status.json`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Polls => "polls",
            Self::PollFailures => "pollFailures",
            Self::JobsTaken => "jobsTaken",
            Self::JobsDropped => "jobsDropped",
            Self::JobsRefused => "jobsRefused",
            Self::Succeeded => "buildsSucceeded",
            Self::Failed => "buildsFailed",
            Self::Faulted => "buildsFaulted",
            Self::TimedOut => "buildsTimedOut",
            Self::Stopped => "buildsStopped",
            Self::AnswerRetries => "answerRetries",
            Self::AnswersRefused => "answersRefused",
            Self::InputBytes => "inputBytes",
            Self::OutputBytes => "outputBytes",
            Self::LogEventsQueued => "logEventsQueued",
            Self::LogEventsSent => "logEventsSent",
            Self::LogEventsLost => "logEventsLost",
            Self::BuildsRemoved => "buildsRemoved",
        }
    }

    /// What counts builds that end like this.
    const fn of(status: Status) -> Option<Self> {
        match status {
            Status::InProgress => None,
            Status::Succeeded => Some(Self::Succeeded),
            Status::Failed => Some(Self::Failed),
            Status::Fault => Some(Self::Faulted),
            Status::TimedOut => Some(Self::TimedOut),
            Status::Stopped => Some(Self::Stopped),
        }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Counters {
    /// How many there were since the agent started.
    #[must_use]
    pub const fn of(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    fn add(&mut self, counter: Counter, more: u64) {
        let count = &mut self.0[counter as usize];
        *count = count.saturating_add(more);
    }
}

/// A poll that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollFailure {
    /// When.
    pub at: SystemTime,
    /// Why.
    pub message: String,
}

/// A job of which nobody knows whose it is (AGENT-40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The job.
    pub job: Job,
    /// When it is answered with a failure, unless it is handed out again.
    pub until: SystemTime,
}

/// How the last build of a project ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    /// How.
    pub status: Status,
    /// When.
    pub at: SystemTime,
}

/// What the agent was doing at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Who it is.
    pub about: About,
    /// What it is about.
    pub state: State,
    /// How many builds it runs at the same time at most.
    pub slots: usize,
    /// Builds that go on, the oldest first.
    pub running: Vec<Arc<Build>>,
    /// Builds that are over, the newest first: as many as are kept.
    pub finished: VecDeque<Arc<Build>>,
    /// Jobs of which nobody knows whose they are. They have no slot.
    pub doubts: Vec<Doubt>,
    /// How the last build of each project ended.
    pub projects: BTreeMap<String, Latest>,
    /// What was counted.
    pub counters: Counters,
    /// Seconds that all builds that ended took together.
    pub build_time: Duration,
    /// The last poll that was answered.
    pub polled: Option<SystemTime>,
    /// The last poll that failed, if none was answered after it.
    pub poll_failure: Option<PollFailure>,
    /// What cannot be sent at the moment, logs or changes of builds, and why.
    pub unsent: BTreeMap<&'static str, String>,
}

impl Snapshot {
    /// Slots without a build. None once there are fewer slots than builds.
    #[must_use]
    pub fn free(&self) -> usize {
        self.slots.saturating_sub(self.running.len())
    }

    /// A build, by one of its names: those that go on first, then the newest.
    #[must_use]
    pub fn build(&self, name: &str) -> Option<&Arc<Build>> {
        let mut builds = self.running.iter().chain(&self.finished);
        builds.find(|build| build.is_called(name))
    }

    /// Log events that wait to be sent.
    #[must_use]
    pub fn log_backlog(&self) -> u64 {
        let counted = |counter| self.counters.of(counter);
        let gone = counted(Counter::LogEventsSent).saturating_add(counted(Counter::LogEventsLost));
        counted(Counter::LogEventsQueued).saturating_sub(gone)
    }
}

/// The board. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub struct Board {
    // Readers take the inner `Arc`; who writes copies only if one of them still has it.
    now: Arc<Mutex<Arc<Snapshot>>>,
    kept: usize,
}

impl Board {
    /// A board of an agent that starts, with this many slots; the last `kept` builds are remembered.
    #[must_use]
    pub fn new(about: About, slots: usize, kept: usize) -> Self {
        let snapshot = Snapshot {
            about,
            state: State::Starting,
            slots,
            running: Vec::new(),
            finished: VecDeque::new(),
            doubts: Vec::new(),
            projects: BTreeMap::new(),
            counters: Counters::default(),
            build_time: Duration::ZERO,
            polled: None,
            poll_failure: None,
            unsent: BTreeMap::new(),
        };
        Self {
            now: Arc::new(Mutex::new(Arc::new(snapshot))),
            kept,
        }
    }

    /// What is going on. Costs a reference count, however much there is.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // No update of the board panics half-way, so what a panic elsewhere left behind is whole.
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn update<T>(&self, change: impl FnOnce(&mut Snapshot) -> T) -> T {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut now))
    }

    fn build(&self, job: &str, change: impl FnOnce(&mut Build)) {
        self.update(|now| {
            let found = now.running.iter_mut().find(|build| build.job.id == job);
            if let Some(build) = found {
                change(Arc::make_mut(build));
            }
        });
    }

    /// The agent as a whole turns to something else.
    pub fn turn_to(&self, state: State) {
        self.update(|now| now.state = state);
    }

    /// It takes no jobs for this reason; one that ends takes none anyway.
    pub fn no_room(&self, why: &str) {
        self.update(|now| {
            if !matches!(now.state, State::Draining | State::Stopping) {
                now.state = State::NoRoom(why.to_owned());
            }
        });
    }

    /// It takes jobs again, if that was all that kept it from it.
    pub fn has_room(&self) {
        self.update(|now| {
            if matches!(now.state, State::NoRoom(_)) {
                now.state = State::Polling;
            }
        });
    }

    /// There are this many slots from now on.
    pub fn set_slots(&self, slots: usize) {
        self.update(|now| now.slots = slots);
    }

    /// A poll was answered, with jobs or without.
    pub fn polled(&self, at: SystemTime) {
        self.update(|now| {
            now.polled = Some(at);
            now.poll_failure = None;
            now.counters.add(Counter::Polls, 1);
        });
    }

    /// A poll failed.
    pub fn poll_failed(&self, message: &str, at: SystemTime) {
        let message = message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned();
        self.update(|now| {
            now.poll_failure = Some(PollFailure { at, message });
            now.counters.add(Counter::PollFailures, 1);
        });
    }

    /// Something cannot be sent for this reason, or can again.
    pub fn sending(&self, what: &'static str, trouble: Option<&str>) {
        self.update(|now| match trouble {
            Some(why) => drop(now.unsent.insert(what, why.to_owned())),
            None => drop(now.unsent.remove(what)),
        });
    }

    /// Something happened, so many times.
    pub fn count(&self, counter: Counter, times: u64) {
        self.update(|now| now.counters.add(counter, times));
    }

    /// A job was acknowledged and is this agent's. It has a slot until [`Board::finished`].
    pub fn taken(&self, job: Job, at: SystemTime) {
        self.update(|now| {
            now.counters.add(Counter::JobsTaken, 1);
            now.running.push(Arc::new(Build::new(job, at)));
        });
    }

    /// Nobody knows whose a job is.
    pub fn doubted(&self, doubt: Doubt) {
        self.update(|now| now.doubts.push(doubt));
    }

    /// A job is in doubt no more.
    pub fn settled(&self, job: &str) {
        self.update(|now| now.doubts.retain(|doubt| doubt.job.id != job));
    }

    /// The agent turns to something else with a job.
    pub fn job_turns_to(&self, job: &str, activity: Activity, at: SystemTime) {
        self.build(job, |build| build.turn(activity, at));
    }

    /// The build of a job has this id.
    pub fn build_is(&self, job: &str, id: &str) {
        self.build(job, |build| build.id = Some(id.to_owned()));
    }

    /// The log of a job's build is in this file.
    pub fn log_is(&self, job: &str, file: PathBuf) {
        self.build(job, |build| build.log = Some(file));
    }

    /// The build of a job said something: a line of its JSON events. What is of no interest here is passed over.
    pub fn event(&self, job: &str, event: &Value, at: SystemTime) {
        let is_kept =
            |name: &str| matches!(name, "build-started" | "phase-started" | "phase-finished");
        let name = event.get("event").and_then(Value::as_str);
        // Most events are output: those cost no lock.
        if name.is_some_and(is_kept) {
            self.build(job, |build| build.event(event, at));
        }
    }

    /// The agent is done with a job: its answer is final. `message` is what was answered, if it is no success, or why CodePipeline
    /// has no answer.
    pub fn finished(&self, job: &str, status: Status, message: Option<&str>, at: SystemTime) {
        let kept = self.kept;
        self.update(|now| {
            let found = now.running.iter().position(|build| build.job.id == job);
            let Some(place) = found else { return };
            let mut build = now.running.remove(place);
            Arc::make_mut(&mut build).end(status, message, at);
            if let Some(counter) = Counter::of(status) {
                now.counters.add(counter, 1);
            }
            now.build_time = now.build_time.saturating_add(build.duration(at));
            remember(now, build, kept);
        });
    }

    /// A build that an earlier agent ended, read from the state directory: the newest last.
    pub fn remembered(&self, build: Build) {
        let kept = self.kept;
        self.update(|now| remember(now, Arc::new(build), kept));
    }
}

fn remember(now: &mut Snapshot, build: Arc<Build>, kept: usize) {
    let latest = Latest {
        status: build.status,
        at: build.ended.unwrap_or(build.since),
    };
    now.projects.insert(build.job.project.clone(), latest);
    if now.projects.len() > MAX_PROJECTS {
        let oldest = now.projects.iter().min_by_key(|(_, latest)| latest.at);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            now.projects.remove(&name);
        }
    }
    now.finished.push_front(build);
    now.finished.truncate(kept);
}
