//! Jobs of which nobody knows whose they are: the answer to an acknowledgement was lost, and when it was repeated its nonce was
//! good no more (AGENT-40).
//!
//! Either the first attempt arrived, and the job is this agent's; or it did not, and another worker has been handed the job
//! since. CodePipeline has no question whose answer would tell. So nothing is built. Where the job is handed out once more,
//! nobody had it. Where it is not, it is answered with a failure when another worker would be done with it: for that one the
//! answer comes too late to matter, and without it a pipeline would wait for a day.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;

use super::board;
use super::history;
use super::log::moment;
use super::pipeline::Pipeline;
use super::serve::Agent;
use super::state::{JobDirectory, Record};
use super::work;
use crate::event::stamp;
use crate::store::Stop;

/// More jobs are never answered at the same time.
const MOST: u32 = 1 << 16;

/// How often it is looked at least whether CodePipeline was asked.
const LOOK: Duration = Duration::from_secs(1);

/// The jobs in doubt of an agent.
#[derive(Debug)]
pub struct Doubts {
    open: Mutex<BTreeMap<String, (JobDirectory, Stop)>>,
    /// Each job that is being answered has a permit.
    answering: Semaphore,
}

impl Default for Doubts {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            answering: Semaphore::new(MOST as usize),
        }
    }
}

impl Doubts {
    fn open(&self) -> MutexGuard<'_, BTreeMap<String, (JobDirectory, Stop)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the jobs that are being answered: they are in doubt no more.
    pub async fn answered(&self) {
        let _ = self.answering.acquire_many(MOST).await;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open().len()
    }

    /// Ends the doubt about a job that was handed out again, if there is one: nobody has it. Then it is as if it had never been
    /// here.
    pub fn settle<P: Pipeline>(&self, agent: &Agent<P>, job: &str) {
        let Some((directory, stop)) = self.open().remove(job) else {
            return;
        };
        stop.request();
        agent.board.settled(job);
        let about: &[(&str, &str)] = &[("job", job)];
        let message = "the job is handed out again, so nobody had it";
        agent.log.info(message, about);
        if let Err(error) = directory.remove() {
            let message = format!("could not remove what it left: {error}");
            agent.log.warn(&message, about);
        }
    }
}

/// Says that a job is in doubt, and waits in the background until whoever has it would be done.
pub(super) fn begin<P: Pipeline>(
    agent: &Arc<Agent<P>>,
    directory: JobDirectory,
    record: Record,
    until: SystemTime,
) {
    let left = until.duration_since(stamp()).unwrap_or_default();
    let about: &[(&str, &str)] = &[("job", &record.job)];
    let message = format!(
        "nobody knows whose the job of {} is: the answer to an acknowledgement was lost, and its nonce is good no more. It is not built; unless it is handed out again it is answered with a failure at {}, when any other worker would be done. Stop the pipeline's execution to end it before",
        record.origin,
        moment(until)
    );
    agent.log.error(&message, about);
    agent.board.doubted(board::Doubt {
        job: history::job_of(&record),
        until,
    });
    let stop = Stop::default();
    let entry = (directory.clone(), stop.clone());
    agent.doubts.open().insert(record.job.clone(), entry);
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        tokio::select! {
            () = wait(left) => {}
            () = stop.requested() => return,
        }
        asked_again(&agent).await;
        let job = record.job.clone();
        let _answering = agent.doubts.answering.acquire().await;
        if agent.doubts.open().remove(&job).is_none() {
            return;
        }
        agent.board.settled(&job);
        agent.begin(&job);
        Box::pin(work::answer_doubt(&agent, directory, record)).await;
        agent.end(&job);
    });
}

/// Waits until CodePipeline was asked twice from now on, and had the chance to hand the job out again: nobody may have asked
/// while no agent ran.
async fn asked_again<P: Pipeline>(agent: &Agent<P>) {
    let mut last = agent.board.snapshot().polled;
    for _ in 0..2 {
        let pause = agent.settings().interval.min(LOOK);
        loop {
            tokio::time::sleep(pause).await;
            let polled = agent.board.snapshot().polled;
            if polled != last {
                last = polled;
                break;
            }
        }
    }
}

/// A clock that was put back while no agent ran must not make it longer than CodePipeline's own patience.
async fn wait(left: Duration) {
    tokio::time::sleep(left.min(Duration::from_hours(24))).await;
}
