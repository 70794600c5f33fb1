//! Tells the board, and whoever reads the agent's own lines, how logs and changes fare (AGENT-66, AGENT-67).

use std::time::Duration;

use super::shipping::{Shipping, Way};
use crate::agent::board::Counter;
use crate::agent::pipeline::Pipeline;
use crate::agent::serve::Agent;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(2);

/// What the board knows already.
#[derive(Debug, Default)]
pub struct Told {
    logs: Way,
    changes: Way,
}

/// Tells for ever; where nothing is sent there is nothing to tell.
pub async fn tell<P: Pipeline>(agent: &Agent<P>, told: &mut Told) {
    let Some(shipping) = &agent.shipping else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(EVERY).await;
        told.tell(agent, shipping);
    }
}

impl Told {
    /// Tells what is new.
    pub fn tell<P: Pipeline>(&mut self, agent: &Agent<P>, shipping: &Shipping) {
        let status = shipping.status();
        if let Some(now) = status.logs {
            let counters = [
                (Counter::LogEventsQueued, now.queued, &mut self.logs.queued),
                (Counter::LogEventsSent, now.sent, &mut self.logs.sent),
                (Counter::LogEventsLost, now.lost, &mut self.logs.lost),
            ];
            for (counter, now, before) in counters {
                agent.board.count(counter, now.saturating_sub(*before));
                *before = now;
            }
            trouble(
                agent,
                "logs to CloudWatch Logs",
                &mut self.logs,
                now.trouble,
            );
        }
        if let Some(now) = status.changes {
            trouble(
                agent,
                "changes to the event bus",
                &mut self.changes,
                now.trouble,
            );
        }
    }
}

/// Says what keeps something from being sent once, and once that nothing does any more.
fn trouble<P: Pipeline>(
    agent: &Agent<P>,
    what: &'static str,
    known: &mut Way,
    now: Option<String>,
) {
    match (&known.trouble, &now) {
        (None, Some(why)) => {
            let message =
                format!("could not send {what}: {why}; it is kept, and sent when it can be");
            agent.log.warn(&message, &[]);
        }
        (Some(_), None) => agent.log.info(&format!("sends {what} again"), &[]),
        _ => {}
    }
    if known.trouble != now {
        agent.board.sending(what, now.as_deref());
    }
    known.trouble = now;
}
