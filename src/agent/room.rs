//! Whether jobs may be taken now, and why not: no room on the disk, CodePipeline that lets none be acknowledged, an engine that
//! is away (AGENT-7, AGENT-37, AGENT-39).
//!
//! What is asked for and then left is handed to another worker only after some time, so nothing is asked for that cannot be
//! done.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pipeline::Pipeline;
use super::serve::Agent;
use super::state::{Free, StateDirectory};
use crate::engine::{EndpointSettings, Engine};
use crate::units::render_size;

/// Least files that have to fit: sources, and what builds make of them.
const LEAST_FILES: u64 = 1000;

/// How long an engine that has answered is believed to be there while there are no jobs. Asking more often would wake up one
/// that is started for each question.
const ENGINE_IDLE: Duration = Duration::from_mins(1);

/// Longest pause after jobs that could not be acknowledged.
const LONGEST_HOLD: Duration = Duration::from_mins(15);

/// How many poll intervals the first such pause has.
const HOLD_INTERVALS: u32 = 6;

/// What is known of the agent's room.
#[derive(Debug, Default)]
pub struct Room(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The last job could not be written down.
    unwritten: bool,
    held: Option<Held>,
    /// When the engine has answered last.
    engine: Option<Instant>,
}

/// No jobs are taken until then.
#[derive(Clone, Debug)]
struct Held {
    why: String,
    until: Instant,
    pause: Duration,
}

impl Room {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job could not be written down: none is asked for until one could be.
    pub fn unwritten(&self) {
        self.known().unwritten = true;
    }

    /// Jobs may not be acknowledged: none is asked for during a pause that doubles each time. To this agent they are of no
    /// use, and each one that it takes from the queue others wait for.
    pub fn hold(&self, why: &str, interval: Duration) {
        self.hold_from(Instant::now(), why, interval);
    }

    fn hold_from(&self, now: Instant, why: &str, interval: Duration) {
        let mut known = self.known();
        // Jobs of one poll are denied together, and one is denied several times: it lasts until some time after the last.
        if let Some(held) = known.held.as_mut().filter(|held| now < held.until) {
            held.until = held.until.max(now + held.pause.min(interval));
            return;
        }
        let last = known.held.as_ref().map(|held| held.pause);
        let pause = last.map_or(interval * HOLD_INTERVALS, |last| last * 2);
        let pause = pause.min(LONGEST_HOLD);
        known.held = Some(Held {
            why: why.to_owned(),
            until: now + pause,
            pause,
        });
    }

    /// Jobs may be acknowledged. Whether that is news.
    pub fn release(&self) -> bool {
        self.known().held.take().is_some()
    }

    /// Whether there is room for a job; an error says why not.
    pub async fn look<P: Pipeline>(&self, agent: &Agent<P>) -> Result<(), String> {
        let held = self.known().held.clone();
        if let Some(held) = held.filter(|held| Instant::now() < held.until) {
            return Err(held.why);
        }
        self.disk(&agent.state, agent.settings().min_free)?;
        self.engine(agent, ENGINE_IDLE).await
    }

    /// Whether what a job needs is there still, now that there is one.
    pub async fn look_again<P: Pipeline>(&self, agent: &Agent<P>) -> Result<(), String> {
        self.engine(agent, Duration::ZERO).await
    }

    fn disk(&self, state: &StateDirectory, least: u64) -> Result<(), String> {
        let place = state.path().display();
        let not_written =
            |error: io::Error| format!("no job can be written down in {place}: {error}");
        match state.free() {
            Ok(free) => enough(free, least, &place.to_string())?,
            Err(error) => {
                return Err(format!(
                    "could not find out how much is free in {place}: {error}"
                ));
            }
        }
        // A quota, or a disk that is read-only since something went wrong, shows when something is written.
        let is_unwritten = self.known().unwritten;
        if is_unwritten {
            state.try_claim().map_err(not_written)?;
            self.known().unwritten = false;
        }
        Ok(())
    }

    /// Whether the engine answers in which builds run, if it is one that they run in unless they say otherwise.
    async fn engine<P: Pipeline>(
        &self,
        agent: &Agent<P>,
        believed: Duration,
    ) -> Result<(), String> {
        let Some(settings) = agent.settings().engine.clone() else {
            return Ok(());
        };
        let answered = self.known().engine;
        if answered.is_some_and(|answered| answered.elapsed() < believed) {
            return Ok(());
        }
        let found = ask(&settings).await;
        self.known().engine = found.is_ok().then(Instant::now);
        found
    }
}

async fn ask(settings: &EndpointSettings) -> Result<(), String> {
    match Engine::find(settings).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let help = error
                .remedy()
                .map_or_else(String::new, |help| format!("; {help}"));
            Err(format!("{error}{help}"))
        }
    }
}

/// Whether it would help to remove something.
pub(super) fn is_short(free: Free, least: u64) -> bool {
    !free.read_only && enough(free, least, "").is_err()
}

fn enough(free: Free, least: u64, place: &str) -> Result<(), String> {
    if free.read_only {
        return Err(format!("nothing can be written in {place}"));
    }
    if free.bytes < least {
        return Err(format!(
            "{} are free in {place}, and it takes {} (--min-free-space)",
            render_size(free.bytes),
            render_size(least)
        ));
    }
    match free.files {
        Some(files) if files < LEAST_FILES => Err(format!(
            "{files} more files fit in {place}, and it takes {LEAST_FILES}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // AGENT-37
    #[test]
    fn room_is_bytes_and_files_on_a_disk_that_can_be_written() {
        let free = Free {
            bytes: 100,
            files: Some(LEAST_FILES),
            read_only: false,
        };
        assert_eq!(enough(free, 100, "x"), Ok(()));
        // There are filesystems that do not count their files.
        assert_eq!(
            enough(
                Free {
                    files: None,
                    ..free
                },
                100,
                "x"
            ),
            Ok(())
        );
        let few = Free {
            files: Some(LEAST_FILES - 1),
            ..free
        };
        let read_only = Free {
            read_only: true,
            ..free
        };
        for (free, least, why) in [
            (free, 101, "--min-free-space"),
            (few, 100, "999 more files"),
            (read_only, 100, "nothing can be written"),
        ] {
            assert!(enough(free, least, "x").is_err_and(|said| said.contains(why)));
        }
    }

    // AGENT-7
    #[test]
    fn a_pause_doubles_until_a_job_is_acknowledged() {
        let room = Room::default();
        let pause = || room.known().held.as_ref().map(|held| held.pause);
        let interval = Duration::from_secs(10);
        let mut pauses = Vec::new();
        let mut now = Instant::now();
        for _ in 0..6 {
            room.hold_from(now, "no", interval);
            // Another one of the same poll.
            room.hold_from(now, "no", interval);
            pauses.push(pause().unwrap().as_secs());
            now += pause().unwrap();
        }
        assert_eq!(pauses, [60, 120, 240, 480, 900, 900]);
        assert!(room.release());
        assert!(!room.release());
        assert_eq!(pause(), None);
    }
}
