//! What jobs leave that are over: the last few are kept, and fewer where there is too little room (AGENT-30, AGENT-37).

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::board::Counter;
use super::pipeline::Pipeline;
use super::room::is_short;
use super::serve::Agent;
use super::state::JobDirectory;
use crate::units::render_size;

/// The directories of jobs that are over, the oldest first: nothing on disk is read to know them.
#[derive(Debug, Default)]
pub struct Kept(Mutex<VecDeque<JobDirectory>>);

impl Kept {
    fn all(&self) -> MutexGuard<'_, VecDeque<JobDirectory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job is over.
    pub fn add(&self, job: JobDirectory) {
        self.all().push_back(job);
    }

    /// Removes all but the last `keep`, and but for those that `may_go` holds back.
    pub fn trim(&self, keep: usize, may_go: impl Fn(&JobDirectory) -> bool) -> io::Result<()> {
        let mut all = self.all();
        let many = all.len().saturating_sub(keep);
        let surplus: Vec<JobDirectory> = all.drain(..many).collect();
        drop(all);
        let (go, mut stay): (Vec<_>, Vec<_>) = surplus.into_iter().partition(may_go);
        let mut problem = Ok(());
        for job in go {
            if let Err(error) = job.remove() {
                problem = Err(error);
                stay.push(job);
            }
        }
        self.put_back(stay);
        problem
    }

    /// Removes one after the other, the oldest first, until there is room or no more that `may_go`. How many it were, and what kept one
    /// from going.
    pub fn make_room(
        &self,
        mut has_room: impl FnMut() -> bool,
        may_go: impl Fn(&JobDirectory) -> bool,
    ) -> (usize, io::Result<()>) {
        let (mut stay, mut removed, mut problem) = (Vec::new(), 0, Ok(()));
        while !has_room() {
            let Some(job) = self.all().pop_front() else {
                break;
            };
            if !may_go(&job) {
                stay.push(job);
                continue;
            }
            match job.remove() {
                Ok(()) => removed += 1,
                Err(error) => {
                    problem = Err(error);
                    stay.push(job);
                }
            }
        }
        self.put_back(stay);
        (removed, problem)
    }

    /// They are older than all others.
    fn put_back(&self, jobs: Vec<JobDirectory>) {
        let mut all = self.all();
        for job in jobs.into_iter().rev() {
            all.push_front(job);
        }
    }
}

/// Removes what is more than is to be kept.
pub async fn trim<P: Pipeline>(agent: &Arc<Agent<P>>) {
    let keep = agent.settings().keep_builds;
    let problem = apart(agent, move |agent| {
        agent.kept.trim(keep, |job| may_go(agent, job))
    });
    if let Some(Err(error)) = problem.await {
        complain(agent, &error);
    }
}

/// Removes what old builds left if less is free than has to be.
pub async fn make_room<P: Pipeline>(agent: &Arc<Agent<P>>) {
    let least = agent.settings().min_free;
    let has_room = move |agent: &Agent<P>| {
        let free = agent.state.free();
        !free.is_ok_and(|free| is_short(free, least))
    };
    // It is looked before each poll: nothing else is done where there is room.
    if has_room(agent) || agent.kept.all().is_empty() {
        return;
    }
    let removed = apart(agent, move |agent| {
        let has_room = || has_room(agent);
        agent.kept.make_room(has_room, |job| may_go(agent, job))
    });
    let Some((removed, problem)) = removed.await else {
        return;
    };
    if removed > 0 {
        let message = format!(
            "removed the logs of the {removed} oldest builds: less than {} were free (--min-free-space)",
            render_size(least)
        );
        agent.log.warn(&message, &[]);
        agent.board.count(Counter::BuildsRemoved, removed as u64);
    }
    if let Err(error) = problem {
        complain(agent, &error);
    }
}

fn complain<P: Pipeline>(agent: &Agent<P>, error: &io::Error) {
    let message = format!("could not remove what old builds left: {error}");
    agent.log.warn(&message, &[]);
}

/// Whether nothing of it is still to be sent.
fn may_go<P: Pipeline>(agent: &Agent<P>, job: &JobDirectory) -> bool {
    let shipping = agent.shipping.as_ref();
    shipping.is_none_or(|shipping| shipping.is_done(job.path()))
}

/// Files are many at times, and large: what removes them holds nobody else up.
async fn apart<P: Pipeline, T: Send + 'static>(
    agent: &Arc<Agent<P>>,
    work: impl FnOnce(&Agent<P>) -> T + Send + 'static,
) -> Option<T> {
    let agent = Arc::clone(agent);
    tokio::task::spawn_blocking(move || work(&agent)).await.ok()
}
