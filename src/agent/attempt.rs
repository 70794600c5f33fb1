//! What is done for a job that is this agent's: its inputs, its build, its outputs (AGENT-12 to AGENT-19). Whatever goes wrong on
//! the way is an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{Answer, FailureKind, Told};
use super::board::{Activity, Counter};
use super::child::{self, Finished};
use super::history::{about_of, status_of};
use super::input::{self, AsJob, JobCredentials};
use super::job::{BuildspecFrom, Handover, Order};
use super::logs::about::About;
use super::output;
use super::pipeline::{Artifact, Details, ErrorKind, Pipeline};
use super::poll::Backoff;
use super::progress::in_rounds;
use super::work::Open;
use crate::phase::Status;
use crate::store::{Stop, Unfinished};

/// How often an output is stored, with new credentials each time.
const STORE_ATTEMPTS: u32 = 4;

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

pub(super) const STOPPED: &str =
    "the agent was stopped, and the build with it: retry the stage to build it again";
const GIVEN_UP: &str = "CodePipeline has given the job up, so the build was stopped";
const TOO_LATE: &str = "the build was stopped: a pipeline waits a day for a job, and that is over";

impl<P: Pipeline> Open<'_, P> {
    /// Does it, and gives what CodePipeline is answered.
    pub(super) async fn attempt(
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
            &self.settings.aws,
            self.settings.custom_endpoint,
        );
        let watch = self.watch(&credentials);
        self.turn_to(Activity::Downloading);
        let work = self.directory.work();
        let fetched = tokio::select! {
            fetched = in_rounds(&self.pulse, input::fetch(order, &work, &credentials, &s3)) => fetched,
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
        self.ship(order);
        agent.board.log_is(self.id(), self.directory.log());
        let given = child::Given {
            settings: &self.settings,
            directory: &self.directory,
            job: self.id(),
            order,
            handover,
        };
        let finished = child::run(agent, given, &watch.halt, &self.pulse);
        let Finished {
            mut told,
            exit,
            said,
        } = match finished.await {
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
        told.is_inline = matches!(order.buildspec, BuildspecFrom::Inline(_));
        let status = told.status.as_deref().map_or(Status::Fault, status_of);
        let answer = told
            .answer(exit, &said)
            .with_build(self.record.build.as_ref());
        if matches!(answer, Answer::Failure(_)) {
            let status = if status == Status::Succeeded {
                Status::Fault
            } else {
                status
            };
            return (answer, status);
        }
        self.turn_to(Activity::Uploading);
        let stored = self.store(&details, &told, &credentials, &s3, &watch.halt);
        match in_rounds(&self.pulse, stored).await {
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
        let (settings, deadline) = (Arc::clone(&self.settings), self.deadline);
        let task = tokio::spawn(async move {
            let every = settings.look_after;
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
                () = tokio::time::sleep_until(deadline.into()) => TOO_LATE,
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
        let selected = output::select(&details.outputs, &told.artifacts)?;
        let environment = &self.settings.variables;
        let s3 = &AsJob {
            proxy: output::proxy(&details.outputs, told, environment)?,
            ..s3.clone()
        };
        for (artifact, stored) in selected {
            let mut pause = Backoff::new(Duration::from_secs(1), Duration::from_secs(20));
            let mut attempt = 1;
            let mut left = Vec::new();
            loop {
                let to = output::place(artifact, key, s3);
                to.give_up(left).await;
                let note = |note: &str| self.warn(note);
                let result = Box::pin(output::store(&to, artifact, stored, note, stop)).await;
                left = to.unfinished();
                let Err(not_stored) = result else { break };
                let is_final = !not_stored.credentials || attempt == STORE_ATTEMPTS;
                if is_final || stop.is_requested() {
                    self.give_up(artifact, left, credentials, s3).await;
                    return Err(not_stored);
                }
                self.warn(&format!("{}; tried again", not_stored.message));
                attempt += 1;
                tokio::select! {
                    () = tokio::time::sleep(pause.pause()) => {}
                    () = stop.requested() => {
                        self.give_up(artifact, left, credentials, s3).await;
                        return Err(not_stored);
                    }
                }
                let _ = credentials.renew().await;
            }
            self.agent.board.count(Counter::OutputBytes, stored.bytes);
        }
        Ok(())
    }

    /// Parts that stay behind cost the owner of the pipeline money: new credentials may do what the old ones could not.
    async fn give_up(
        &self,
        artifact: &Artifact,
        left: Vec<Unfinished>,
        credentials: &JobCredentials<P>,
        s3: &AsJob,
    ) {
        if left.is_empty() {
            return;
        }
        let _ = credentials.renew().await;
        let to = output::place(artifact, None, s3);
        to.give_up(left).await;
        if !to.unfinished().is_empty() {
            self.warn(&format!(
                "parts of an upload to s3://{}/{} stay there: a rule of the bucket's life cycle (AbortIncompleteMultipartUpload) removes them",
                artifact.bucket, artifact.key
            ));
        }
    }

    /// Has the build's log and changes sent while it runs. No build fails where that cannot be (AGENT-60).
    fn ship(&self, order: &Order) {
        let Some(shipping) = &self.agent.shipping else {
            return;
        };
        let settings = &self.settings;
        let image = order
            .image
            .clone()
            .or_else(|| settings.defaults.image.clone());
        let about = About {
            image: image.filter(|_| order.executor.as_deref() != Some("host")),
            privileged: order.privileged,
            timeout_minutes: Some(order.timeout.unwrap_or(settings.timeout).as_secs() / 60),
            source: order.source_version.clone(),
            ..about_of(&self.record)
        };
        if let Err(problem) = shipping.begin(self.directory.path(), &about) {
            self.warn(&format!("the build's log is not sent: {problem}"));
        }
    }
}
