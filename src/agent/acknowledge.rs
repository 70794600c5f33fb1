//! Taking a job: whose it is once it was acknowledged (AGENT-6, AGENT-7).

use std::time::{Duration, Instant};

use super::pipeline::{ErrorKind, Nonce, Pipeline};
use super::poll::Backoff;
use super::progress::Pulse;
use super::serve::Agent;

/// How often a call is tried that is denied: credentials may be new by then.
pub(super) const REFUSALS: u32 = 6;

/// How long an agent that ends tries to find out whether a job is its own. After that the next agent asks.
const LAST_TRIES: Duration = Duration::from_secs(30);

/// What an acknowledgement came to.
#[derive(Debug)]
pub(super) enum Acknowledged {
    /// The job is this agent's.
    Ours,
    /// It is not, for this reason: no result is given.
    No(String),
    /// The agent ends before anybody knows.
    Left,
    /// The answer to an attempt was lost, and the nonce is good no more: because of that attempt, or because somebody else has
    /// the job by now.
    Doubtful,
}

/// A job that is to be acknowledged.
pub(super) struct Attempt<'a> {
    pub(super) job: &'a str,
    pub(super) nonce: &'a Nonce,
    pub(super) pulse: &'a Pulse,
    /// When CodePipeline has given the job up.
    pub(super) deadline: Instant,
    /// Whether an attempt may have arrived that nobody has an answer to.
    pub(super) unanswered: bool,
}

impl Attempt<'_> {
    /// Acknowledges the job. A question without an answer is repeated with the same nonce.
    pub(super) async fn run<P: Pipeline>(mut self, agent: &Agent<P>) -> Acknowledged {
        let mut pause = Backoff::new(Duration::from_millis(300), Duration::from_secs(20));
        let mut refusals = 0;
        let ends = async {
            agent.drain.requested().await;
            tokio::time::sleep(LAST_TRIES).await;
        };
        tokio::pin!(ends);
        loop {
            self.pulse.beat(Instant::now());
            let error = match agent.pipeline.acknowledge(self.job, self.nonce).await {
                Ok(true) => {
                    allowed(agent);
                    return Acknowledged::Ours;
                }
                Ok(false) => {
                    allowed(agent);
                    let why = "it is not in progress once it is acknowledged";
                    return Acknowledged::No(why.to_owned());
                }
                Err(error) => error,
            };
            match error.kind {
                ErrorKind::InvalidNonce if self.unanswered => {
                    allowed(agent);
                    return Acknowledged::Doubtful;
                }
                ErrorKind::InvalidNonce
                | ErrorKind::NotFound
                | ErrorKind::InvalidState
                | ErrorKind::Invalid => {
                    allowed(agent);
                    return Acknowledged::No(error.message);
                }
                ErrorKind::Denied | ErrorKind::NoCredentials => {
                    refusals += 1;
                    denied(agent, &error);
                    if refusals >= REFUSALS && !self.unanswered {
                        return Acknowledged::No(error.message);
                    }
                }
                _ => self.unanswered |= !error.refused,
            }
            if Instant::now() >= self.deadline {
                let why = "CodePipeline has given it up by now, whosever it was";
                return Acknowledged::No(why.to_owned());
            }
            let message = format!("{error}; asked again with the same nonce");
            agent.log.warn(&message, &[("job", self.job)]);
            tokio::select! {
                () = tokio::time::sleep(pause.pause()) => {}
                // Nobody has it, and somebody else will be handed it.
                () = agent.drain.requested(), if !self.unanswered => {
                    return Acknowledged::No("the agent ends".to_owned());
                }
                () = &mut ends => return Acknowledged::Left,
                () = agent.cancel.requested() => return Acknowledged::Left,
            }
        }
    }
}

/// Whatever CodePipeline said, this agent may acknowledge jobs.
fn allowed<P: Pipeline>(agent: &Agent<P>) {
    if agent.room.release() {
        agent.board.has_room();
    }
}

/// Jobs that may not be acknowledged are left in the queue for a while.
fn denied<P: Pipeline>(agent: &Agent<P>, error: &super::pipeline::Error) {
    let help = error.help.as_deref();
    let help = help.map_or_else(String::new, |help| format!("; {help}"));
    let why = format!("{error}{help}");
    agent.room.hold(&why, agent.settings().interval);
    agent.board.no_room(&why);
}
