//! Jobs of which nobody knows whose they are: the answer to an acknowledgement was lost, and when it was repeated its nonce was
//! good no more (AGENT-40).
//!
//! Either the first attempt arrived, and the job is this agent's; or it did not, and another worker has been handed the job
//! since. CodePipeline has no question whose answer would tell. So nothing is built. Where the job is handed out once more,
//! nobody had it. Where it is not, it is answered with a failure when another worker would be done with it: for that one the
//! answer comes too late to matter, and without it a pipeline would wait for a day.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};

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

/// How long an answer that is due waits for a poll. An agent whose slots are all taken does not ask, and the pipeline waits.
const ASKED: Duration = Duration::from_mins(30);

/// The jobs in doubt of an agent.
#[derive(Debug)]
pub struct Doubts {
    open: Mutex<BTreeMap<String, (JobDirectory, Stop)>>,
    /// Each job that is being answered has a permit.
    answering: Semaphore,
    /// How many polls were begun.
    polls: AtomicU64,
    /// The number of the last one that was answered, once the doubts about its jobs were settled.
    answered: watch::Sender<u64>,
}

impl Default for Doubts {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            answering: Semaphore::new(MOST as usize),
            polls: AtomicU64::new(0),
            answered: watch::Sender::new(0),
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

    /// Takes a doubt out to answer it, if it is still the one with this stop.
    fn take(&self, job: &str, stop: &Stop) -> bool {
        let mut open = self.open();
        !stop.is_requested() && open.remove(job).is_some()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open().len()
    }

    /// A poll begins: its number.
    pub fn poll_begins(&self) -> u64 {
        self.polls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The poll of this number was answered with these jobs.
    pub fn poll_was_answered<'j, P: Pipeline>(
        &self,
        agent: &Agent<P>,
        number: u64,
        jobs: impl Iterator<Item = &'j str>,
    ) {
        jobs.for_each(|job| self.settle(agent, job));
        self.answered.send_replace(number);
    }

    /// Ends the doubt about a job that was handed out again, if there is one: nobody has it. Then it is as if it had never been
    /// here.
    fn settle<P: Pipeline>(&self, agent: &Agent<P>, job: &str) {
        let mut open = self.open();
        let Some((directory, stop)) = open.remove(job) else {
            return;
        };
        // Whoever has the lock and is not stopped knows that the doubt is theirs.
        stop.request();
        drop(open);
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
        let due = async {
            wait(left).await;
            let _ = tokio::time::timeout(ASKED, asked_again(&agent)).await;
        };
        tokio::select! {
            () = due => {}
            () = stop.requested() => return,
        }
        let job = record.job.clone();
        let _answering = agent.doubts.answering.acquire().await;
        if !agent.doubts.take(&job, &stop) {
            return;
        }
        agent.board.settled(&job);
        agent.begin(&job);
        Box::pin(work::answer_doubt(&agent, directory, record)).await;
        agent.end(&job);
    });
}

/// Waits until a poll was answered that was begun from now on, and CodePipeline had the chance to hand the job out again: nobody
/// may have asked while no agent ran.
async fn asked_again<P: Pipeline>(agent: &Agent<P>) {
    let begun = agent.doubts.polls.load(Ordering::Relaxed);
    let mut answered = agent.doubts.answered.subscribe();
    let _ = answered.wait_for(|number| *number > begun).await;
}

/// A clock that was put back while no agent ran must not make it longer than CodePipeline's own patience.
async fn wait(left: Duration) {
    tokio::time::sleep(left.min(Duration::from_hours(24))).await;
}
