//! Whether every loop of the agent still comes round (AGENT-91).
//!
//! A loop has a [`Pulse`] and beats it each time it has really done its work once: asked for jobs, looked at a build, waited for
//! either within a limit. Nothing beats on a loop's behalf. What is behind is stuck, and both systemd's watchdog and `/healthz`
//! are told so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest that a loop may take for one round, with all that it waits for in it. The watchdog's interval has to be longer.
pub const LONGEST_ROUND: Duration = Duration::from_secs(90);

/// How long one look at what is waited for takes: then the loop has come round once more.
const ROUND: Duration = Duration::from_secs(30);

/// Waits for what has an end of its own, such as a call with limits, and looks up now and then.
pub async fn in_rounds<T>(pulse: &Pulse, waiting: impl Future<Output = T>) -> T {
    tokio::pin!(waiting);
    loop {
        pulse.beat(Instant::now());
        if let Ok(done) = tokio::time::timeout(ROUND, &mut waiting).await {
            pulse.beat(Instant::now());
            return done;
        }
    }
}

/// The loops of the agent. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Loops>>);

#[derive(Debug, Default)]
struct Loops {
    next: u64,
    open: BTreeMap<u64, Round>,
}

#[derive(Debug)]
struct Round {
    name: String,
    began: Instant,
}

/// One loop's sign of life. The loop is over when this is dropped.
#[derive(Debug)]
pub struct Pulse {
    progress: Progress,
    id: u64,
}

impl Progress {
    /// No loops yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn loops(&self) -> MutexGuard<'_, Loops> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A loop begins; `name` is for people, such as `poll` or `job 1234`.
    #[must_use]
    pub fn begin(&self, name: impl Into<String>, now: Instant) -> Pulse {
        let mut loops = self.loops();
        let id = loops.next;
        loops.next += 1;
        let name = name.into();
        loops.open.insert(id, Round { name, began: now });
        Pulse {
            progress: self.clone(),
            id,
        }
    }

    /// The names of loops that have not come round for longer than this, the oldest first.
    #[must_use]
    pub fn behind(&self, limit: Duration, now: Instant) -> Vec<String> {
        let loops = self.loops();
        let late = |round: &&Round| now.saturating_duration_since(round.began) > limit;
        let names = loops.open.values().filter(late);
        names.map(|round| round.name.clone()).collect()
    }
}

impl Pulse {
    /// The loop came round.
    pub fn beat(&self, now: Instant) {
        if let Some(round) = self.progress.loops().open.get_mut(&self.id) {
            round.began = now;
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.progress.loops().open.remove(&self.id);
    }
}
