//! When to ask for jobs, and for how many (AGENT-2 to AGENT-5, AGENT-11).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::board::State;
use super::kept;
use super::pipeline::{Error, ErrorKind, Job, Pipeline};
use super::progress::{Pulse, in_rounds};
use super::serve::Agent;
use super::work::{self, Claim};
use crate::event::stamp;

/// Longest pause after polls that failed.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How often it is looked whether there is room again.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(5);

/// Why no more jobs are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Somebody asked for it.
    Drained,
    /// The one job is done.
    Once,
    /// There was no job for long.
    Idle,
    /// The time is over.
    Uptime,
    /// It will never be otherwise.
    Never(Error),
}

/// Pauses that double up to a limit, each with up to half of it more or less, so that many agents do not ask together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// From this pause to that one.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        spread(pause, 0.5)
    }

    /// Something went well: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A time that is up to this share shorter or longer, by chance.
#[must_use]
pub fn spread(time: Duration, share: f64) -> Duration {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let chance = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    time.mul_f64(1.0 - share + 2.0 * share * chance)
}

/// What there is to be done before the next poll.
enum Pause {
    None,
    For(Duration),
}

/// The state of asking.
struct Poller<P> {
    agent: Arc<Agent<P>>,
    slots: Arc<Semaphore>,
    backoff: Backoff,
    pulse: Pulse,
    answered: bool,
    told_no_room: Option<String>,
    failures: u32,
    /// What the last poll that failed came to, if none was answered after it.
    failure: Option<Error>,
    /// Each ends when it is known whose a job is.
    settling: Vec<oneshot::Receiver<()>>,
}

/// Asks for jobs and starts what comes, until there is a reason not to.
pub async fn run<P: Pipeline>(agent: Arc<Agent<P>>, slots: Arc<Semaphore>) -> End {
    let first = agent.settings().interval.max(Duration::from_millis(200));
    let mut poller = Poller {
        pulse: agent.progress.begin("poll", Instant::now()),
        agent,
        slots,
        backoff: Backoff::new(first.min(LONGEST_PAUSE), LONGEST_PAUSE),
        answered: false,
        told_no_room: None,
        failures: 0,
        failure: None,
        settling: Vec::new(),
    };
    poller.run().await
}

impl<P: Pipeline> Poller<P> {
    async fn run(&mut self) -> End {
        let agent = Arc::clone(&self.agent);
        tokio::select! {
            biased;
            () = agent.drain.requested() => End::Drained,
            () = over(agent.settings().max_uptime) => End::Uptime,
            end = self.ask_until() => end,
        }
    }

    async fn ask_until(&mut self) -> End {
        if self.slots.available_permits() == 0 {
            // It works on what an earlier agent has left: whoever started it has not to wait for that (AGENT-90).
            self.agent.board.turn_to(State::Polling);
        }
        loop {
            let permits = self.free_slots().await;
            self.settled().await;
            in_rounds(&self.pulse, kept::make_room(&self.agent)).await;
            let room = self.agent.room.look(&self.agent).await;
            let pause = match self.room(room) {
                Ok(()) => self.poll(permits).await,
                Err(wait) => {
                    drop(permits);
                    Ok(Pause::For(wait))
                }
            };
            match pause {
                Err(end) => return end,
                Ok(Pause::None) => {}
                Ok(Pause::For(time)) => self.sleep(time).await,
            }
            if self.is_idle_too_long() {
                // Nobody knows whether there were jobs for one that never got an answer.
                let never = self.failure.take().filter(|_| !self.answered);
                return never.map_or(End::Idle, End::Never);
            }
        }
    }

    /// All slots that are free: with none, nobody is asked.
    async fn free_slots(&mut self) -> Vec<OwnedSemaphorePermit> {
        let slots = Arc::clone(&self.slots);
        let first = in_rounds(&self.pulse, slots.acquire_owned()).await;
        let mut permits: Vec<OwnedSemaphorePermit> = first.into_iter().collect();
        while !self.agent.settings().once
            && let Ok(more) = Arc::clone(&self.slots).try_acquire_owned()
        {
            permits.push(more);
        }
        permits
    }

    /// Waits until it is known of each job whose it is: until then CodePipeline may hand it out again (AGENT-8). What takes longer
    /// than a poll interval has gone wrong, and holds up no others.
    async fn settled(&mut self) {
        let all = async {
            for job in self.settling.drain(..) {
                // Nothing is sent: it is dropped.
                let _ = job.await;
            }
        };
        let patience = self.agent.settings().interval;
        let _ = in_rounds(&self.pulse, tokio::time::timeout(patience, all)).await;
    }

    async fn sleep(&self, time: Duration) {
        in_rounds(&self.pulse, tokio::time::sleep(time)).await;
    }

    fn is_idle_too_long(&self) -> bool {
        let most = self.agent.settings().max_idle;
        most.is_some_and(|most| self.agent.idle() >= most)
    }

    /// Says what there is to say of the room for jobs. An error is how long to wait for some.
    fn room(&mut self, found: Result<(), String>) -> Result<(), Duration> {
        let agent = &self.agent;
        let Err(why) = found else {
            if self.told_no_room.take().is_some() {
                agent.log.info("there is room again: jobs are taken", &[]);
            }
            agent.board.turn_to(State::Polling);
            return Ok(());
        };
        if self.told_no_room.is_none() {
            agent.log.warn(&format!("no jobs are taken: {why}"), &[]);
        }
        agent.board.no_room(&why);
        self.told_no_room = Some(why);
        Err(LOOK_FOR_ROOM.min(agent.settings().interval))
    }

    async fn poll(&mut self, permits: Vec<OwnedSemaphorePermit>) -> Result<Pause, End> {
        let asked = permits.len();
        let since = Instant::now();
        let number = self.agent.doubts.poll_begins();
        match self.agent.pipeline.poll(asked).await {
            Ok(jobs) => {
                let handed_out = jobs.iter().map(|job| job.id.as_str());
                self.agent
                    .doubts
                    .poll_was_answered(&self.agent, number, handed_out);
                self.agent.board.polled(stamp());
                self.backoff.reset();
                if !self.answered || self.failures > 0 {
                    self.agent.log.info("CodePipeline answers", &[]);
                }
                (self.answered, self.failures, self.failure) = (true, 0, None);
                if !jobs.is_empty() {
                    let room = self.agent.room.look_again(&self.agent).await;
                    if let Err(wait) = self.room(room) {
                        return Ok(Pause::For(wait));
                    }
                }
                let started = self.start(jobs, permits, since).await?;
                // Where there were as many as there could be, there may be more.
                Ok(if started >= asked {
                    Pause::None
                } else {
                    Pause::For(spread(self.agent.settings().interval, 0.2))
                })
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: Error) -> Result<Pause, End> {
        // What was good once may be again: a session that is renewed, a policy that is mended, a type that is made anew. It may
        // be late at first, too: nobody who is there would wait for that, and a service has nothing better to do.
        let is_lasting = matches!(
            error.kind,
            ErrorKind::NoActionType
                | ErrorKind::Invalid
                | ErrorKind::NoCredentials
                | ErrorKind::Denied
        );
        let settings = self.agent.settings();
        if is_lasting && !self.answered && (settings.once || settings.attended) {
            return Err(End::Never(error));
        }
        self.agent.board.poll_failed(&error.message, stamp());
        let pause = self.backoff.pause();
        // The first, and then now and then.
        if self.failures.is_multiple_of(20) {
            let help = error.help.as_deref().filter(|_| is_lasting);
            let help = help.map_or_else(String::new, |help| format!("; {help}"));
            let message = format!("{error}{help}; asked again until it answers");
            if is_lasting {
                self.agent.log.error(&message, &[]);
            } else {
                self.agent.log.warn(&message, &[]);
            }
        }
        self.failures += 1;
        self.failure = Some(error);
        Ok(Pause::For(pause))
    }

    /// Starts each job that is not known, in a slot of its own. How many are this agent's to work on now.
    async fn start(
        &mut self,
        jobs: Vec<Job>,
        mut permits: Vec<OwnedSemaphorePermit>,
        since: Instant,
    ) -> Result<usize, End> {
        let mut started = 0;
        for job in jobs {
            // More than were asked for are handed out again to somebody else.
            if permits.is_empty() {
                break;
            }
            // The same job twice in one answer, or one that runs: it stays what it is (AGENT-8).
            if self.agent.state.knows(&job.id) || !self.agent.begin(&job.id) {
                let about: &[(&str, &str)] = &[("job", &job.id)];
                self.agent
                    .log
                    .info("was handed a job that is known here: left as it is", about);
                continue;
            }
            let Some(claim) = work::claim(&self.agent, &job) else {
                self.agent.end(&job.id);
                continue;
            };
            started += 1;
            let working = self.work(claim, job, since, permits.pop());
            if self.agent.settings().once && in_rounds(&self.pulse, working).await.unwrap_or(true) {
                return Err(End::Once);
            }
        }
        Ok(started)
    }

    /// Works on a job in a task of its own. Whether it was taken.
    fn work(
        &mut self,
        claim: Claim,
        job: Job,
        since: Instant,
        permit: Option<OwnedSemaphorePermit>,
    ) -> JoinHandle<bool> {
        let agent = Arc::clone(&self.agent);
        let (settled, settling) = oneshot::channel();
        self.settling.push(settling);
        tokio::spawn(async move {
            let id = job.id.clone();
            let taken = Box::pin(work::run(&agent, claim, job, since, settled)).await;
            agent.end(&id);
            drop(permit);
            taken
        })
    }
}

/// When the time is over; never if there is no limit.
async fn over(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
