//! One job, from its acknowledgement to its end (AGENT-6 to AGENT-25).
//!
//! ```text
//! claimed on disk ─▶ acknowledged ─▶ inputs ─▶ build ─▶ outputs ─▶ answer on disk ─▶ answered
//! ```
//!
//! Whatever goes wrong on the way is an answer, too. A build is a process of its own, `runner run`, that ends with this one:
//! however it is ended, it clears up behind itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::answer::{Answer, FailureKind, Told};
use super::board::{self, Activity, Counter};
use super::child::{self, Finished};
use super::deliver::{Delivered, deliver};
use super::input::{self, AsJob, JobCredentials};
use super::job::{self, Handover, Order};
use super::logs::about::About;
use super::output;
use super::pipeline::{Artifact, Details, ErrorKind, Job, Nonce, Pipeline};
use super::poll::Backoff;
use super::serve::{Agent, LOGS_PATIENCE};
use super::state::{JobDirectory, Record, Stage};
use crate::event::stamp;
use crate::phase::Status;
use crate::store::Stop;

/// How often an output is stored, with new credentials each time.
const STORE_ATTEMPTS: u32 = 4;

/// How long the process of a build that an earlier agent began may take to notice that this agent is gone and to clear up.
const ORPHAN_PATIENCE: Duration = Duration::from_mins(2);

/// Milliseconds since 1970.
#[must_use]
pub fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Works on a job that was handed out at that moment. Whether it was taken.
pub async fn run<P: Pipeline>(agent: &Arc<Agent<P>>, job: Job, since: Instant) -> bool {
    let Job { id, nonce, details } = job;
    let taken = milliseconds(stamp());
    let record = Record::new(&id, nonce.clone(), details.origin.clone(), taken);
    let directory = match agent.state.claim(&record) {
        Ok(directory) => directory,
        Err(error) => {
            let message = format!("a job is left to others: it could not be written down: {error}");
            agent.log.error(&message, &[("job", &id)]);
            return false;
        }
    };
    let mut open = Open {
        agent,
        directory,
        record,
    };
    if !open.acknowledge(&nonce).await {
        return false;
    }
    open.build(details, since).await;
    true
}

/// Goes on with a job that an earlier agent has left open. One that was about to be acknowledged is still a job to be done.
pub async fn resume<P: Pipeline>(agent: &Arc<Agent<P>>, directory: JobDirectory, record: Record) {
    let mut open = Open {
        agent,
        directory,
        record,
    };
    open.wait_for_orphan().await;
    match open.record.stage.clone() {
        Stage::Done { .. } => {}
        Stage::Claimed => open.claimed().await,
        Stage::Working => {
            open.take();
            let message = "the agent ended while the build ran: retry the stage to build it again";
            let build = open.record.build.clone();
            let answer = Answer::failure(FailureKind::SystemUnavailable, message, build);
            open.finish(answer, Status::Fault).await;
        }
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

/// A job that is this agent's, or is about to be.
struct Open<'a, P: Pipeline> {
    agent: &'a Arc<Agent<P>>,
    directory: JobDirectory,
    record: Record,
}

/// Tells a build to end: somebody stops the agent, or the pipeline has given the job up.
struct Watch {
    halt: Stop,
    why: Arc<std::sync::Mutex<Option<&'static str>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const STOPPED: &str =
    "the agent was stopped, and the build with it: retry the stage to build it again";
const GIVEN_UP: &str = "CodePipeline has given the job up, so the build was stopped";

impl<P: Pipeline> Open<'_, P> {
    fn id(&self) -> &str {
        &self.record.job
    }

    fn info(&self, message: &str) {
        let build = self.record.build.as_deref().unwrap_or_default();
        let about = [("job", self.id()), ("build", build)];
        self.agent.log.info(message, &about);
    }

    fn warn(&self, message: &str) {
        let build = self.record.build.as_deref().unwrap_or_default();
        let about = [("job", self.id()), ("build", build)];
        self.agent.log.warn(message, &about);
    }

    /// Takes the job. A question without an answer is repeated with the same nonce. Whether it is this agent's now.
    async fn acknowledge(&self, nonce: &Nonce) -> bool {
        let mut pause = Backoff::new(Duration::from_millis(300), Duration::from_secs(20));
        loop {
            let error = match self.agent.pipeline.acknowledge(self.id(), nonce).await {
                Ok(true) => return true,
                Ok(false) => {
                    self.drop_job("it is not in progress once it is acknowledged");
                    return false;
                }
                Err(error) => error,
            };
            let is_final = matches!(
                error.kind,
                ErrorKind::InvalidNonce
                    | ErrorKind::NotFound
                    | ErrorKind::InvalidState
                    | ErrorKind::Invalid
            );
            if is_final {
                self.drop_job(&error.message);
                return false;
            }
            self.warn(&format!("{error}; asked again with the same nonce"));
            tokio::select! {
                () = tokio::time::sleep(pause.pause()) => {}
                // Nobody knows whose it is: the next agent asks again.
                () = self.agent.cancel.requested() => return false,
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
    async fn claimed(&mut self) {
        let Some(nonce) = self.record.nonce.clone() else {
            self.drop_job("its record has no nonce");
            return;
        };
        if !self.acknowledge(&nonce).await {
            return;
        }
        let since = Instant::now();
        let mut pause = Backoff::new(Duration::from_millis(300), Duration::from_secs(20));
        loop {
            match self.agent.pipeline.details(self.id()).await {
                Ok(details) => return self.build(details, since).await,
                Err(error) if error.kind == ErrorKind::NotFound => {
                    return self.drop_job(&error.message);
                }
                Err(error) => self.warn(&error.message),
            }
            tokio::select! {
                () = tokio::time::sleep(pause.pause()) => {}
                () = self.agent.cancel.requested() => return,
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
            if Instant::now() >= deadline {
                child::end_orphan(&self.directory);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Tells the board that the job is here.
    fn take(&self) {
        let Record {
            job,
            origin,
            project,
            ..
        } = &self.record;
        let job = board::Job {
            id: job.clone(),
            pipeline: origin.pipeline.clone(),
            stage: origin.stage.clone(),
            action: origin.action.clone(),
            execution: origin.execution.clone(),
            project: project.clone(),
        };
        self.agent.board.taken(job, stamp());
    }

    fn turn_to(&self, activity: Activity) {
        self.agent.board.job_turns_to(self.id(), activity, stamp());
    }

    async fn build(&mut self, details: Details, since: Instant) {
        let settings = self.agent.settings();
        let order = job::order(&details, &settings.allowed, &settings.defaults);
        self.record.origin = details.origin.clone();
        self.record.stage = Stage::Working;
        let mut handover = None;
        if let Ok(order) = &order {
            let made = handover_of(order, &details);
            order.project.as_str().clone_into(&mut self.record.project);
            self.record.build = Some(format!("{}:{}", order.project, made.build_uuid));
            handover = Some(made);
        }
        self.take();
        if let Err(error) = self.directory.write(&self.record) {
            self.warn(&format!(
                "could not write down that the job is taken: {error}"
            ));
        }
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

    async fn attempt(
        &self,
        order: &Order,
        handover: &Handover,
        details: Details,
        since: Instant,
    ) -> (Answer, Status) {
        let agent = self.agent;
        let keys = details.credentials.clone();
        if keys.is_none() && !(details.inputs.is_empty() && details.outputs.is_empty()) {
            // Nobody's else would do: the agent's may not do what the pipeline's may.
            let kind = FailureKind::PermissionError;
            let build = self.record.build.clone();
            return (
                Answer::failure(kind, input::NO_CREDENTIALS, build),
                Status::Failed,
            );
        }
        let credentials = JobCredentials::new(Arc::clone(&agent.pipeline), self.id(), keys, since);
        let s3 = AsJob::new(
            &credentials,
            &agent.settings().aws,
            agent.settings().custom_endpoint,
        );
        let watch = self.watch(&credentials);
        self.turn_to(Activity::Downloading);
        let work = self.directory.work();
        let fetched = tokio::select! {
            fetched = input::fetch(order, &work, &credentials, &s3) => fetched,
            () = watch.halt.requested() => return self.halted(&watch),
        };
        match fetched {
            Ok(bytes) => agent.board.count(Counter::InputBytes, bytes),
            Err(not_fetched) => {
                let build = self.record.build.clone();
                let answer = Answer::failure(not_fetched.kind, &not_fetched.message, build);
                return (answer, Status::Failed);
            }
        }
        self.turn_to(Activity::Building);
        self.ship(order, &details);
        agent.board.log_is(self.id(), self.directory.log());
        let finished = child::run(
            agent,
            &self.directory,
            self.id(),
            order,
            handover,
            &watch.halt,
        );
        let Finished { told, exit, said } = match finished.await {
            Ok(finished) => finished,
            Err(message) => {
                let kind = FailureKind::SystemUnavailable;
                let build = self.record.build.clone();
                return (Answer::failure(kind, &message, build), Status::Fault);
            }
        };
        if watch.halt.is_requested() {
            return self.halted(&watch);
        }
        let status = told.status.as_deref().map_or(Status::Fault, status_of);
        let answer = told.answer(exit, &said);
        if matches!(answer, Answer::Failure(_)) {
            let status = if status == Status::Succeeded {
                Status::Fault
            } else {
                status
            };
            return (answer, status);
        }
        self.turn_to(Activity::Uploading);
        match self
            .store(&details, &told, &credentials, &s3, &watch.halt)
            .await
        {
            Ok(()) => (answer, Status::Succeeded),
            Err(_) if watch.halt.is_requested() => self.halted(&watch),
            Err(not_stored) => {
                let build = self.record.build.clone();
                let answer = Answer::failure(not_stored.kind, &not_stored.message, build);
                (answer, Status::Failed)
            }
        }
    }

    /// What a job is answered with whose build was stopped.
    fn halted(&self, watch: &Watch) -> (Answer, Status) {
        let why = watch.why.lock().ok().and_then(|why| *why);
        let message = why.unwrap_or(STOPPED);
        self.warn(message);
        let build = self.record.build.clone();
        let answer = Answer::failure(FailureKind::JobFailed, message, build);
        (answer, Status::Stopped)
    }

    /// Looks after a job while it is worked on: whether somebody wants it still, with new credentials each time.
    fn watch(&self, credentials: &Arc<JobCredentials<P>>) -> Watch {
        let halt = Stop::default();
        let why = Arc::new(std::sync::Mutex::new(None));
        let (stop, said) = (halt.clone(), Arc::clone(&why));
        let (agent, credentials) = (Arc::clone(self.agent), Arc::clone(credentials));
        let task = tokio::spawn(async move {
            let every = agent.settings().look_after;
            let given_up = async {
                loop {
                    tokio::time::sleep(every).await;
                    let renewed = credentials.renew().await;
                    if renewed.is_err_and(|error| error.kind == ErrorKind::NotFound) {
                        return;
                    }
                }
            };
            let reason = tokio::select! {
                () = agent.cancel.requested() => STOPPED,
                () = given_up => GIVEN_UP,
            };
            if let Ok(mut said) = said.lock() {
                *said = Some(reason);
            }
            stop.request();
        });
        Watch { halt, why, task }
    }

    /// Stores every output, one after the other: what is left of them when one fails is taken by nobody.
    async fn store(
        &self,
        details: &Details,
        told: &Told,
        credentials: &Arc<JobCredentials<P>>,
        s3: &AsJob,
        stop: &Stop,
    ) -> Result<(), output::NotStored> {
        let key = details.encryption_key.as_deref();
        for (artifact, stored) in output::select(&details.outputs, &told.artifacts)? {
            let mut pause = Backoff::new(Duration::from_secs(1), Duration::from_secs(20));
            let mut attempt = 1;
            loop {
                let result = Box::pin(output::store(artifact, stored, key, s3, stop)).await;
                let Err(not_stored) = result else { break };
                let is_final = !not_stored.credentials || attempt == STORE_ATTEMPTS;
                if is_final || stop.is_requested() {
                    return Err(not_stored);
                }
                self.warn(&format!("{}; tried again", not_stored.message));
                attempt += 1;
                tokio::select! {
                    () = tokio::time::sleep(pause.pause()) => {}
                    () = stop.requested() => return Err(not_stored),
                }
                let _ = credentials.renew().await;
            }
            self.agent.board.count(Counter::OutputBytes, stored.bytes);
        }
        Ok(())
    }

    /// Has the build's log and changes sent while it runs. No build fails where that cannot be (AGENT-60).
    fn ship(&self, order: &Order, details: &Details) {
        let (Some(shipping), Some(build)) = (&self.agent.shipping, &self.record.build) else {
            return;
        };
        let settings = self.agent.settings();
        let image = order
            .image
            .clone()
            .or_else(|| settings.defaults.image.clone());
        let about = About {
            build_id: build.clone(),
            arn: arn_of(build, &details.origin.arn),
            initiator: format!("codepipeline/{}", details.origin.pipeline),
            image: image.filter(|_| order.executor.as_deref() != Some("host")),
            privileged: order.privileged,
            timeout_minutes: Some(order.timeout.unwrap_or(settings.timeout).as_secs() / 60),
            source: order.primary.as_ref().map(Artifact::arn),
        };
        if let Err(problem) = shipping.begin(self.directory.path(), &about) {
            self.warn(&format!("the build's log is not sent: {problem}"));
        }
    }

    /// Waits a little for what is left of the log; the rest is sent later.
    async fn shipped(&self) {
        if let Some(shipping) = &self.agent.shipping {
            let directory = self.directory.path();
            if !shipping.knows(directory) {
                // An agent before this one has begun with it.
                shipping.resume(directory);
            } else if !shipping.finish(directory, LOGS_PATIENCE).await {
                self.info("the rest of the build's log is sent later");
            }
        }
    }

    /// Answers the job and puts away what it left.
    async fn finish(&mut self, answer: Answer, status: Status) {
        self.turn_to(Activity::Answering);
        let message = answer.message().map(str::to_owned);
        let delivered = deliver(self.agent, &self.directory, &mut self.record, answer).await;
        self.directory.clear();
        if delivered == Delivered::Left {
            return;
        }
        if delivered == Delivered::Unwanted {
            self.agent.board.count(Counter::AnswersRefused, 1);
        }
        // A success that could not be told is none for the pipeline.
        let message = match (&self.record.stage, message) {
            (Stage::Answering(given), _) => given.message().map(str::to_owned),
            (_, message) => message,
        };
        self.record.nonce = None;
        self.record.ended = Some(milliseconds(stamp()));
        self.record.stage = Stage::Done {
            status: status.name().to_owned(),
            message: message.clone(),
            taken: delivered == Delivered::Taken,
        };
        if let Err(error) = self.directory.write(&self.record) {
            self.warn(&format!(
                "could not write down that the job is over: {error}"
            ));
        }
        let first = message.as_deref().and_then(|text| text.lines().next());
        let why = first.map_or_else(String::new, |line| format!(": {line}"));
        self.info(&format!("answered: {status}{why}"));
        self.agent
            .board
            .finished(self.id(), status, message.as_deref(), stamp());
        self.shipped().await;
        let kept = self.agent.settings().keep_builds;
        let may_go = |job: &JobDirectory| {
            let shipping = self.agent.shipping.as_ref();
            shipping.is_none_or(|shipping| shipping.is_done(job.path()))
        };
        if let Err(error) = self.agent.state.forget(kept, may_go) {
            self.warn(&format!("could not remove what old builds left: {error}"));
        }
    }
}

/// The ARN of a build, in the account and region of the pipeline that it is for. Empty if that is not known.
fn arn_of(build: &str, pipeline: &str) -> String {
    match pipeline.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "codepipeline", region, account, ..] => {
            format!("arn:{partition}:codebuild:{region}:{account}:build/{build}")
        }
        _ => String::new(),
    }
}

fn handover_of(order: &Order, details: &Details) -> Handover {
    let primary = order.primary.as_ref();
    Handover {
        build_uuid: uuid::Uuid::new_v4().to_string(),
        initiator: format!("codepipeline/{}", details.origin.pipeline),
        resolved_version: primary.and_then(|artifact| artifact.revision.clone()),
        variables: order.variables.clone(),
    }
}

/// A build's status by CodeBuild's name for it.
fn status_of(name: &str) -> Status {
    let all = [
        Status::Succeeded,
        Status::Failed,
        Status::TimedOut,
        Status::Stopped,
    ];
    all.into_iter()
        .find(|status| status.name() == name)
        .unwrap_or(Status::Fault)
}

/// What is left of a build that an earlier agent ended, as the board remembers it.
#[must_use]
pub fn remembered(directory: &JobDirectory, record: &Record) -> Option<board::Build> {
    let Stage::Done {
        status, message, ..
    } = &record.stage
    else {
        return None;
    };
    let at = |milliseconds: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
    let ended = at(record.ended.unwrap_or(record.taken));
    Some(board::Build {
        job: board::Job {
            id: record.job.clone(),
            pipeline: record.origin.pipeline.clone(),
            stage: record.origin.stage.clone(),
            action: record.origin.action.clone(),
            execution: record.origin.execution.clone(),
            project: record.project.clone(),
        },
        id: record.build.clone(),
        activity: Activity::Done,
        since: ended,
        taken: at(record.taken),
        ended: Some(ended),
        phases: Vec::new(),
        status: status_of(status),
        message: message.clone(),
        log: Some(directory.log()).filter(|log: &std::path::PathBuf| Path::exists(log)),
    })
}
