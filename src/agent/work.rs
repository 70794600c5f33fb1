//! One job, from its acknowledgement to its end (AGENT-6 to AGENT-25).
//!
//! ```text
//! claimed on disk ─▶ acknowledged ─▶ inputs ─▶ build ─▶ outputs ─▶ answer on disk ─▶ answered
//! ```
//!
//! Whatever goes wrong on the way is an answer, too. A build is a process of its own, `runner run`, that ends with this one:
//! however it is ended, it clears up behind itself.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::acknowledge::{Acknowledged, Attempt, REFUSALS};
use super::answer::{Answer, FailureKind};
use super::attempt::STOPPED;
use super::board::{Activity, Counter};
use super::child;
use super::deliver::{Delivered, deliver};
use super::doubt;
use super::history::{about_of, job_of, milliseconds, taken_at};
use super::job::{self, Handover, Order};
use super::kept;
use super::pipeline::{Details, ErrorKind, Job, Nonce, Pipeline};
use super::poll::Backoff;
use super::progress::{Pulse, in_rounds};
use super::serve::{Agent, Settings};
use super::state::{JobDirectory, Record, Stage};
use crate::event::stamp;
use crate::phase::Status;

/// How long the process of a build that an earlier agent began may take to notice that this agent is gone and to clear up.
const ORPHAN_PATIENCE: Duration = Duration::from_mins(2);

/// How long a job is still answered at least after a restart, whatever the clock says of the time before.
const AFTER_RESTART: Duration = Duration::from_mins(15);

/// A job that is written down.
pub struct Claim {
    directory: JobDirectory,
    record: Record,
}

/// Writes a job down before it is acknowledged. Nothing if that cannot be, which is said: then the job is left to others, and no
/// other is asked for until there is room (AGENT-6, AGENT-37).
pub fn claim<P: Pipeline>(agent: &Agent<P>, job: &Job) -> Option<Claim> {
    let taken = milliseconds(stamp());
    let origin = job.details.origin.clone();
    let record = Record::new(&job.id, job.nonce.clone(), origin, taken);
    match agent.state.claim(&record) {
        Ok(directory) => Some(Claim { directory, record }),
        Err(error) => {
            // Another job's id may be better; any other reason is the disk's.
            if error.kind() != io::ErrorKind::InvalidInput {
                agent.room.unwritten();
            }
            let message = format!("a job is left to others: it could not be written down: {error}");
            agent.log.error(&message, &[("job", &job.id)]);
            None
        }
    }
}

/// Works on a job that was handed out at that moment. Whether it was taken. `settled` is dropped as soon as that is known.
pub async fn run<P: Pipeline>(
    agent: &Arc<Agent<P>>,
    claim: Claim,
    job: Job,
    since: Instant,
    settled: oneshot::Sender<()>,
) -> bool {
    let deadline = since + agent.settings().patience;
    let mut open = Open::new(agent, claim.directory, claim.record, deadline);
    let taken = open.acknowledge(&job.nonce, false).await;
    drop(settled);
    match taken {
        Taken::Ours => open.build(job.details, since).await,
        Taken::Doubtful => {
            open.doubt().await;
            // Who is to do one job has done none.
            return false;
        }
        Taken::No => return false,
    }
    true
}

/// Goes on with a job that an earlier agent has left open. One that was about to be acknowledged is still a job to be done.
pub async fn resume<P: Pipeline>(agent: &Arc<Agent<P>>, directory: JobDirectory, record: Record) {
    let deadline = Instant::now() + left(&agent.settings(), &record);
    let mut open = Open::new(agent, directory, record, deadline);
    open.wait_for_orphan().await;
    open.end_left().await;
    match open.record.stage.clone() {
        Stage::Done { .. } | Stage::Doubtful { .. } => {}
        Stage::Claimed => open.claimed().await,
        // Nothing was begun yet.
        Stage::Working if open.record.build.is_none() => open.taken().await,
        Stage::Working => {
            open.take();
            let message = "the agent ended while the build ran: retry the stage to build it again";
            let build = open.record.build.clone();
            let answer = Answer::failure(FailureKind::SystemUnavailable, message, build);
            open.finish(answer, Status::Fault).await;
        }
        Stage::Answering(answer) if open.record.is_doubtful => open.answer_doubt(answer).await,
        Stage::Answering(answer) => {
            open.take();
            let status = match &answer {
                Answer::Success(_) => Status::Succeeded,
                Answer::Failure(_) => Status::Failed,
            };
            open.finish(answer, status).await;
        }
    }
}

/// Answers a job of which nobody knows whose it is, now that any other worker would be done with it (AGENT-40).
pub async fn answer_doubt<P: Pipeline>(
    agent: &Arc<Agent<P>>,
    directory: JobDirectory,
    record: Record,
) {
    let deadline = Instant::now() + left(&agent.settings(), &record);
    let open = Open::new(agent, directory, record, deadline);
    let message = "the answer to an acknowledgement of the job was lost, and nobody else has answered the job: it was not built; retry the stage to build it";
    let answer = Answer::failure(FailureKind::SystemUnavailable, message, None);
    open.answer_doubt(answer).await;
}

/// How long CodePipeline waits for an answer to a job that was handed out before this agent was there. What the wall clock says
/// of that time may be wrong by any amount.
fn left(settings: &Settings, record: &Record) -> Duration {
    let patience = settings.patience;
    let left = patience.saturating_sub(age(record));
    left.max(AFTER_RESTART.min(patience))
}

/// How long ago that was.
fn age(record: &Record) -> Duration {
    stamp().duration_since(taken_at(record)).unwrap_or_default()
}

/// A job that is this agent's, or is about to be.
pub(super) struct Open<'a, P: Pipeline> {
    pub(super) agent: &'a Arc<Agent<P>>,
    /// What held when the job was taken: its build goes on by it (AGENT-93).
    pub(super) settings: Arc<Settings>,
    pub(super) directory: JobDirectory,
    pub(super) record: Record,
    /// When its pipeline has given it up.
    pub(super) deadline: Instant,
    pub(super) pulse: Pulse,
}

/// Whose a job is.
enum Taken {
    Ours,
    /// Not ours, or nobody knows and the next agent asks.
    No,
    Doubtful,
}

impl<'a, P: Pipeline> Open<'a, P> {
    fn new(
        agent: &'a Arc<Agent<P>>,
        directory: JobDirectory,
        record: Record,
        deadline: Instant,
    ) -> Self {
        let pulse = agent
            .progress
            .begin(format!("job {}", record.job), Instant::now());
        Self {
            settings: agent.settings(),
            agent,
            directory,
            record,
            deadline,
            pulse,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.record.job
    }

    fn info(&self, message: &str) {
        let build = self.record.build.as_deref().unwrap_or_default();
        let about = [("job", self.id()), ("build", build)];
        self.agent.log.info(message, &about);
    }

    pub(super) fn warn(&self, message: &str) {
        let build = self.record.build.as_deref().unwrap_or_default();
        let about = [("job", self.id()), ("build", build)];
        self.agent.log.warn(message, &about);
    }

    /// Keeps the record, which says this by now.
    fn write_down(&self, what: &str) {
        if let Err(error) = self.directory.write(&self.record) {
            self.warn(&format!("could not write down that {what}: {error}"));
        }
    }

    /// Takes the job. `unanswered` says that an earlier agent may have taken it.
    async fn acknowledge(&self, nonce: &Nonce, unanswered: bool) -> Taken {
        let attempt = Attempt {
            job: self.id(),
            nonce,
            pulse: &self.pulse,
            deadline: self.deadline,
            unanswered,
        };
        match attempt.run(self.agent).await {
            Acknowledged::Ours => Taken::Ours,
            Acknowledged::Doubtful => Taken::Doubtful,
            Acknowledged::No(why) => {
                self.drop_job(&why);
                Taken::No
            }
            Acknowledged::Left => {
                let message = "the agent ends before it knows whether the job is its own: the next one asks again";
                self.warn(message);
                Taken::No
            }
        }
    }

    /// Nobody knows whose the job is: it is waited until any other worker would be done with it.
    async fn doubt(mut self) {
        let settings = &self.settings;
        let mut limit = settings.timeout;
        match self.agent.pipeline.details(self.id()).await {
            Ok(details) => {
                let order = job::order(&details, &settings.allowed, &settings.defaults);
                limit = order.ok().and_then(|order| order.timeout).unwrap_or(limit);
                self.record.origin = details.origin;
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                return self.drop_job(&error.message);
            }
            Err(error) => self.warn(&error.message),
        }
        let limit = (limit + settings.grace + child::BEYOND).min(settings.patience);
        let until = stamp() + limit;
        self.record.stage = Stage::Doubtful {
            until: milliseconds(until),
        };
        self.record.nonce = None;
        self.record.is_doubtful = true;
        self.write_down("nobody knows whose the job is");
        doubt::begin(self.agent, self.directory, self.record, until);
    }

    /// Answers a job that may be somebody else's.
    async fn answer_doubt(mut self, answer: Answer) {
        match self.deliver(answer).await {
            Delivered::Left => {}
            // Somebody else has answered it, or will; or nobody has it: then it is handed out again, and is a job like others.
            Delivered::Unwanted | Delivered::Before => {
                self.drop_job("CodePipeline wants no answer of this agent's to it");
            }
            delivered => {
                self.take();
                self.put_away(delivered, Status::Fault).await;
            }
        }
    }

    /// It is somebody else's: no result is given.
    fn drop_job(&self, why: &str) {
        self.info(&format!("left the job to others: {why}"));
        self.agent.board.count(Counter::JobsDropped, 1);
        if let Err(error) = self.directory.remove() {
            self.warn(&format!("could not remove what it left: {error}"));
        }
    }

    /// One that an earlier agent was about to acknowledge, or had acknowledged.
    async fn claimed(mut self) {
        let Some(nonce) = self.record.nonce.clone() else {
            self.drop_job("its record has no nonce");
            return;
        };
        match self.acknowledge(&nonce, true).await {
            Taken::Ours => {}
            Taken::Doubtful => return self.doubt().await,
            Taken::No => return,
        }
        // From here on nobody is asked again whose it is, and nobody else will do it.
        self.record.nonce = None;
        self.record.stage = Stage::Working;
        self.write_down("the job is taken");
        self.taken().await;
    }

    /// One that is this agent's, and of which nothing is known but its id.
    async fn taken(mut self) {
        let since = Instant::now();
        let mut pause = Backoff::new(Duration::from_millis(300), Duration::from_secs(20));
        let mut refusals = 0;
        loop {
            self.pulse.beat(Instant::now());
            let error = match self.agent.pipeline.details(self.id()).await {
                Ok(details) => return self.build(details, since).await,
                Err(error) => error,
            };
            match error.kind {
                ErrorKind::NotFound => return self.drop_job(&error.message),
                ErrorKind::Denied | ErrorKind::NoCredentials => refusals += 1,
                _ => {}
            }
            if refusals >= REFUSALS || Instant::now() >= self.deadline {
                let kind = match error.kind {
                    ErrorKind::Denied | ErrorKind::NoCredentials => FailureKind::PermissionError,
                    _ => FailureKind::SystemUnavailable,
                };
                self.take();
                let answer = Answer::failure(kind, &error.message, None);
                return self.finish(answer, Status::Fault).await;
            }
            self.warn(&error.message);
            tokio::select! {
                () = tokio::time::sleep(pause.pause()) => {}
                () = self.agent.cancel.requested() => {
                    self.take();
                    let answer = Answer::failure(FailureKind::JobFailed, STOPPED, None);
                    return self.finish(answer, Status::Stopped).await;
                }
            }
        }
    }

    /// Waits until the build's process of an earlier agent is gone; it ends by itself, and is helped in the end.
    async fn wait_for_orphan(&self) {
        let deadline = Instant::now() + ORPHAN_PATIENCE;
        let mut told = false;
        while self.directory.is_running() {
            if !std::mem::replace(&mut told, true) {
                self.info("waits for what is left of its build to end");
            }
            if Instant::now() < deadline {
                self.pulse.beat(Instant::now());
            } else {
                child::end_orphan(&self.directory);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends what is left of a build whose process is gone and could not clear up.
    async fn end_left(&self) {
        if let Some(build) = &self.record.build {
            child::end_left(&self.agent.log, self.id(), build).await;
        }
    }

    /// Tells the board that the job is here, and what is there of its build: after a restart, or before it has begun.
    fn take(&self) {
        let board = &self.agent.board;
        board.taken(job_of(&self.record), taken_at(&self.record));
        if let Some(build) = &self.record.build {
            board.build_is(self.id(), build);
        }
        let log = self.directory.log();
        if log.exists() {
            board.log_is(self.id(), log);
        }
    }

    pub(super) fn turn_to(&self, activity: Activity) {
        self.agent.board.job_turns_to(self.id(), activity, stamp());
    }

    async fn build(&mut self, details: Details, since: Instant) {
        let settings = &self.settings;
        let order = job::order(&details, &settings.allowed, &settings.defaults);
        self.record.origin = details.origin.clone();
        self.record.stage = Stage::Working;
        self.record.nonce = None;
        let mut handover = None;
        if let Ok(order) = &order {
            let made = handover_of(order, &details);
            order.project.as_str().clone_into(&mut self.record.project);
            self.record.build = Some(format!("{}:{}", order.project, made.build_uuid));
            handover = Some(made);
        }
        self.take();
        self.write_down("the job is taken");
        self.info(&format!("took a job of {}", details.origin));
        let (answer, status) = match (order, handover) {
            (Ok(order), Some(handover)) => {
                self.say_unknown(&order);
                Box::pin(self.attempt(&order, &handover, details, since)).await
            }
            (Ok(_), None) => unreachable!("invariant: every order has its handover"),
            (Err(message), _) => {
                self.agent.board.count(Counter::JobsRefused, 1);
                let kind = FailureKind::ConfigurationError;
                (Answer::failure(kind, &message, None), Status::Failed)
            }
        };
        self.finish(answer, status).await;
    }

    fn say_unknown(&self, order: &Order) {
        if !order.unknown.is_empty() {
            let keys = order.unknown.join(", ");
            self.warn(&format!(
                "the action's configuration has keys that mean nothing here: {keys}"
            ));
        }
    }

    /// What is left of the log is sent while other jobs are worked on (AGENT-68).
    fn leave_to_be_sent(&self) {
        let directory = self.directory.path();
        match &self.agent.shipping {
            Some(shipping) if shipping.finish(directory) => {}
            // An agent before this one has begun with it.
            Some(shipping) => shipping.resume(directory, &about_of(&self.record)),
            // Then nobody reads them.
            None => drop(std::fs::remove_file(self.directory.events())),
        }
    }

    /// Answers the job and puts away what it left.
    async fn finish(&mut self, answer: Answer, status: Status) {
        self.turn_to(Activity::Answering);
        let delivered = self.deliver(answer).await;
        if delivered != Delivered::Left {
            self.put_away(delivered, status).await;
        }
    }

    /// Answers the job; what its build needed is needed no more then.
    async fn deliver(&mut self, answer: Answer) -> Delivered {
        self.record.nonce = None;
        let (agent, deadline) = (self.agent, self.deadline);
        let record = &mut self.record;
        let delivered = deliver(
            agent,
            &self.directory,
            record,
            answer,
            deadline,
            &self.pulse,
        )
        .await;
        in_rounds(&self.pulse, self.directory.clear()).await;
        delivered
    }

    /// Remembers how a job ended.
    async fn put_away(&mut self, delivered: Delivered, status: Status) {
        let (status, message) = self.said(delivered, status);
        self.record.ended = Some(milliseconds(stamp()));
        self.record.stage = Stage::Done {
            status: status.name().to_owned(),
            message: message.clone(),
            taken: matches!(delivered, Delivered::Taken | Delivered::Before),
        };
        self.write_down("the job is over");
        self.agent
            .board
            .finished(self.id(), status, message.as_deref(), stamp());
        self.leave_to_be_sent();
        self.agent.kept.add(self.directory.clone());
        in_rounds(&self.pulse, kept::trim(self.agent)).await;
    }

    /// Says what CodePipeline was told, and gives back what the board has of it: how the job ended, and why (AGENT-24).
    fn said(&self, delivered: Delivered, status: Status) -> (Status, Option<String>) {
        let given = match &self.record.stage {
            Stage::Answering(given) => given.message(),
            _ => None,
        };
        // A success that could not be told is none for the pipeline.
        let status = match (status, given) {
            (Status::Succeeded, Some(_)) => Status::Fault,
            (status, _) => status,
        };
        let first = given.and_then(|text| text.lines().next());
        let why = first.map_or_else(String::new, |line| format!(": {line}"));
        let without = match delivered {
            Delivered::Taken | Delivered::Left => {
                self.info(&format!("answered: {status}{why}"));
                return (status, given.map(str::to_owned));
            }
            Delivered::Before => {
                let message = "CodePipeline has an answer, and the receipt of one was lost before";
                self.info(&format!("answered: {status}{why} ({message})"));
                return (status, given.map(str::to_owned));
            }
            Delivered::Unwanted => {
                "CodePipeline wants no answer any more: the job was stopped, or answered by somebody else, or its time was over"
            }
            Delivered::Refused => "CodePipeline takes no answer to the job",
            Delivered::Late => "CodePipeline could not be told in time",
        };
        self.agent.board.count(Counter::AnswersRefused, 1);
        // A success that nobody knows of is none.
        let told = match status {
            Status::Succeeded => Status::Fault,
            status => status,
        };
        let message = format!("not answered: {without}; here it ended as {status}");
        self.warn(&format!("{message}{why}"));
        let given = given.map_or_else(String::new, |given| format!("\n{given}"));
        (told, Some(format!("{message}{given}")))
    }
}

fn handover_of(order: &Order, details: &Details) -> Handover {
    let primary = order.primary.as_ref();
    Handover {
        build_uuid: uuid::Uuid::new_v4().to_string(),
        initiator: format!("codepipeline/{}", details.origin.pipeline),
        resolved_version: primary.and_then(|artifact| artifact.revision.clone()),
        account: details.origin.arn.split(':').nth(4).map(str::to_owned),
        variables: order.variables.clone(),
    }
}
