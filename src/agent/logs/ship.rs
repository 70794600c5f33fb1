//! Sends what a build writes down, from its file of events to a service, at the service's pace (AGENT-60, AGENT-64 to
//! AGENT-67).

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::batch::{Batch, Item, Limits};
use super::follower::{Follower, Step};
use super::route::Route;
use super::state::{Sent, StateFile};

/// Makes items of the lines of a build's events. From the same lines it makes the same items, however often.
pub trait Translate: Send {
    /// What it makes.
    type Item: Item + Send;

    /// Takes a line. What it was given before was made into items, and taken.
    fn feed(&mut self, line: &[u8]) -> Result<(), String>;

    /// The next item of what was fed.
    fn next(&mut self) -> Option<Self::Item>;

    /// Nothing more is fed: what was held back for more is an item now.
    fn end(&mut self);

    /// Says where it is missed that items were lost, if the service is told such things. `next` comes behind it.
    fn gap(&mut self, next: Option<&Self::Item>, lost: u64, why: &str) -> Option<Self::Item>;
}

/// A service that items go to.
pub trait Destination: Send {
    /// What it takes.
    type Item: Item + Send;

    /// What it takes at once.
    fn limits(&self) -> Limits;

    /// Which way it is reached; nothing is sent before that is known.
    fn route(&self) -> Option<Route>;

    /// Sends items, and removes those that need not be sent again, accepted or lost. The ones that stay are sent again, as
    /// are all of them after an error.
    fn put(
        &mut self,
        items: &mut Vec<Self::Item>,
    ) -> impl Future<Output = Result<Refused, String>> + Send;
}

/// Items that a service will never take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub items: u64,
    /// Why, as a phrase.
    pub why: String,
}

/// How fast it goes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often the file is looked at while nothing is in it.
    pub look: Duration,
    /// How long an item waits for others at most before it is sent.
    pub wait: Duration,
    /// The pause after the first failure; each is twice as long as the last.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long a build that is over may send what is left beside others, before it takes its turn.
    pub ending: Duration,
    /// How long it has then, while others wait for theirs.
    pub turn: Duration,
    /// How often it is looked at how much is waiting.
    pub survey: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_millis(250),
            wait: Duration::from_secs(1),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_mins(1),
            ending: Duration::from_secs(15),
            turn: Duration::from_mins(1),
            survey: Duration::from_secs(10),
        }
    }
}

/// What a shipper is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orders {
    /// The build runs.
    Follow,
    /// The build is over, and its file whole.
    Finish,
    /// Leave what is not sent yet for another time.
    Leave,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There is no more to send.
    Done,
    /// Something is left.
    Left,
}

/// What was sent by all shippers of one kind.
#[derive(Debug, Default)]
pub struct Tally {
    queued: AtomicU64,
    accepted: AtomicU64,
    lost: AtomicU64,
    troubles: Mutex<Troubles>,
}

/// What goes wrong. What arrives on one way says nothing of the other one.
#[derive(Debug, Default)]
struct Troubles {
    here: Option<String>,
    directly: Option<String>,
    through_proxy: Option<String>,
}

impl Troubles {
    const fn of(&mut self, route: Route) -> &mut Option<String> {
        match route {
            Route::Directly => &mut self.directly,
            Route::ThroughProxy => &mut self.through_proxy,
        }
    }
}

impl Tally {
    /// Items that there were to send.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Items that were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Items that were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// What went wrong the last time, if nothing went right since.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let troubles = self.troubles();
        let all = [&troubles.here, &troubles.directly, &troubles.through_proxy];
        let all: Vec<&str> = all.into_iter().flatten().map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something on this machine keeps it from being sent.
    pub(super) fn set_trouble(&self, trouble: String) {
        self.troubles().here = Some(trouble);
    }

    /// What came of the last request that went this way.
    fn set_trouble_of(&self, route: Option<Route>, trouble: Option<String>) {
        let mut troubles = self.troubles();
        if trouble.is_none() {
            troubles.here = None;
        }
        *troubles.of(route.unwrap_or(Route::Directly)) = trouble;
    }
}

/// Where a build's log stands, whoever sends it at the moment.
#[derive(Debug, Default)]
pub struct Marks {
    /// Before this place in the file everything is lost that was not sent.
    pub(super) forsaken: AtomicU64,
    /// How many of its items were counted: who takes up a build once more meets some of them again.
    counted: AtomicU64,
}

/// What shippers have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// How fast it goes.
    pub pace: Pace,
    /// What was sent.
    pub tally: Arc<Tally>,
    /// How many requests are under way at once: each has its items in memory more than once.
    pub requests: Arc<Semaphore>,
}

/// How much of the file is read before others have their turn.
const LINES_AT_ONCE: usize = 500;

/// Reasons for one gap beyond this many bytes are not told.
const LONGEST_REASON: usize = 512;

/// Sends what one build writes down to one service.
pub struct Shipper<T: Translate, D> {
    path: PathBuf,
    follower: Option<Follower>,
    translate: T,
    destination: D,
    common: Common,
    file: StateFile,
    sent: Sent,
    batch: Batch<T::Item>,
    /// What had no room in the batch.
    held: Option<T::Item>,
    /// When the batch was begun.
    began: Option<Instant>,
    /// Items that were behind us before we began.
    to_skip: u64,
    /// Lines that nothing can be made of, and which are counted already.
    broken_to_skip: u64,
    /// Where the line begins that was fed last.
    line: u64,
    marks: Arc<Marks>,
    /// How many items came before the next one, sent or not.
    index: u64,
    is_over: bool,
    /// Whether what is missing is missing behind the batch, not before it.
    is_gap_behind: bool,
}

/// What filling a batch came to.
#[derive(Debug, PartialEq, Eq)]
enum Filled {
    Full,
    More,
    End,
}

/// Somebody wants us to leave.
struct Left;

impl<T: Translate, D: Destination<Item = T::Item>> Shipper<T, D> {
    /// Goes on where `state` says, with the events of this file, which may not be there yet.
    pub fn new(
        path: PathBuf,
        state: StateFile,
        translate: T,
        destination: D,
        common: Common,
        marks: Arc<Marks>,
    ) -> Self {
        let sent = state.read().unwrap_or_else(|problem| {
            common.tally.set_trouble(problem);
            Sent::default()
        });
        Self {
            path,
            follower: None,
            batch: Batch::new(destination.limits()),
            translate,
            destination,
            common,
            file: state,
            to_skip: sent.passed,
            index: sent.passed,
            broken_to_skip: sent.broken,
            sent,
            held: None,
            began: None,
            line: 0,
            marks,
            is_over: false,
            is_gap_behind: false,
        }
    }

    /// Sends until the build is over and all is sent, or until it is told to leave.
    pub async fn run(mut self, mut orders: watch::Receiver<Orders>) -> Ended {
        if self.sent.done {
            return Ended::Done;
        }
        loop {
            let filled = self.fill();
            let order = *orders.borrow_and_update();
            match (filled, order) {
                (_, Orders::Leave) => break,
                (Ok(Filled::More), _) => tokio::task::yield_now().await,
                (Ok(Filled::End), Orders::Finish) if !self.is_over => {
                    self.is_over = true;
                    self.end();
                }
                (Ok(Filled::End), Orders::Finish) if self.batch.is_empty() => {
                    if self.tell_gap(&mut orders).await.is_ok() {
                        self.sent.done = true;
                        self.save().await;
                        return Ended::Done;
                    }
                }
                (Ok(Filled::End), Orders::Follow) if !self.is_due() => {
                    wait(&mut orders, self.common.pace.look).await;
                }
                (Ok(_), _) => {
                    if self.send(&mut orders).await.is_err() {
                        break;
                    }
                }
                (Err(error), _) => {
                    let path = self.path.display();
                    self.trouble(format!("could not read {path}: {error}"));
                    if order == Orders::Finish {
                        break;
                    }
                    wait(&mut orders, self.common.pace.longest_pause).await;
                }
            }
        }
        self.save().await;
        Ended::Left
    }

    /// Whether the oldest item has waited long enough, and can go.
    fn is_due(&self) -> bool {
        let pace = self.common.pace;
        let is_due = self.began.is_some_and(|began| began.elapsed() >= pace.wait);
        is_due && self.destination.route().is_some()
    }

    /// Puts items into the batch.
    fn fill(&mut self) -> io::Result<Filled> {
        for _ in 0..LINES_AT_ONCE {
            while let Some(item) = self.held.take().or_else(|| self.next()) {
                // What comes behind a gap comes behind what is said of it.
                let added = if self.is_gap_behind {
                    Err(item)
                } else {
                    self.batch.add(item)
                };
                if let Err(item) = added {
                    self.held = Some(item);
                    return Ok(Filled::Full);
                }
                self.began.get_or_insert_with(Instant::now);
            }
            self.open()?;
            let Some(follower) = &mut self.follower else {
                return Ok(Filled::End);
            };
            let line = follower.offset();
            let problem = match follower.step()? {
                Step::End => return Ok(Filled::End),
                Step::TooLong => Some("an event was too long".to_owned()),
                Step::Line(line) => self.translate.feed(line).err(),
            };
            self.line = line;
            if let Some(problem) = problem {
                self.lose_line(&format!(
                    "the file of events has a line that is none: {problem}"
                ));
            }
        }
        Ok(Filled::More)
    }

    /// Nothing comes any more.
    fn end(&mut self) {
        let is_cut = self.follower.as_ref().is_some_and(Follower::is_inside_line);
        if is_cut {
            // Whoever wrote it was killed, or its disk was full.
            self.lose_line("the file of events ends inside a line");
        }
        self.translate.end();
    }

    /// Nothing was made of a line: it counts as one item, once.
    fn lose_line(&mut self, why: &str) {
        if self.broken_to_skip > 0 {
            self.broken_to_skip -= 1;
            return;
        }
        self.sent.broken += 1;
        self.common.tally.queued.fetch_add(1, Ordering::Relaxed);
        self.lose(1, why);
    }

    /// The next item that was not sent and is to be.
    fn next(&mut self) -> Option<T::Item> {
        loop {
            let item = self.translate.next()?;
            if self.to_skip > 0 {
                self.to_skip -= 1;
                continue;
            }
            self.index += 1;
            if self.marks.counted.fetch_max(self.index, Ordering::Relaxed) < self.index {
                self.common.tally.queued.fetch_add(1, Ordering::Relaxed);
            }
            if self.line < self.marks.forsaken.load(Ordering::Relaxed) {
                self.sent.passed += 1;
                self.lose(1, "too much was waiting to be sent (--log-queue-limit)");
            } else {
                return Some(item);
            }
        }
    }

    fn open(&mut self) -> io::Result<()> {
        if self.follower.is_none() {
            match Follower::open(&self.path) {
                Ok(follower) => self.follower = Some(follower),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn lose(&mut self, items: u64, why: &str) {
        if items == 0 {
            return;
        }
        self.common.tally.lost.fetch_add(items, Ordering::Relaxed);
        self.sent.lost += items;
        if self.sent.untold == 0 {
            self.sent.why.clear();
        }
        self.sent.untold += items;
        self.is_gap_behind = !self.batch.is_empty();
        let known = &mut self.sent.why;
        if known.is_empty() {
            why.clone_into(known);
        } else if !known.contains(why) && known.len() < LONGEST_REASON {
            known.push_str("; ");
            known.push_str(why);
        }
    }

    fn trouble(&self, trouble: String) {
        self.common.tally.set_trouble(trouble);
    }

    fn answered(&self, trouble: Option<String>) {
        let route = self.destination.route();
        self.common.tally.set_trouble_of(route, trouble);
    }

    /// Sends the batch, however often it takes.
    async fn send(&mut self, orders: &mut watch::Receiver<Orders>) -> Result<(), Left> {
        if !self.is_gap_behind {
            self.tell_gap(orders).await?;
        }
        self.is_gap_behind = false;
        let count = self.batch.len() as u64;
        let mut items = std::mem::take(self.batch.items());
        let delivered = self.deliver(&mut items, orders).await;
        let refused = match delivered {
            Ok(refused) => refused,
            Err(left) => return Err(left),
        };
        self.batch.clear();
        self.began = None;
        self.sent.passed += count;
        let accepted = count.saturating_sub(refused.items);
        self.sent.accepted += accepted;
        let tally = &self.common.tally;
        tally.accepted.fetch_add(accepted, Ordering::Relaxed);
        self.lose(refused.items, &refused.why);
        // Items of the line that was fed last may still be before us.
        self.sent.offset = match (&self.held, &self.follower) {
            (None, Some(follower)) => follower.offset(),
            _ => self.line,
        };
        self.save().await;
        Ok(())
    }

    /// Says what is missing, before what comes behind it.
    async fn tell_gap(&mut self, orders: &mut watch::Receiver<Orders>) -> Result<(), Left> {
        if self.sent.untold == 0 {
            return Ok(());
        }
        let next = self.batch.items().first();
        if let Some(gap) = self.translate.gap(next, self.sent.untold, &self.sent.why) {
            self.deliver(&mut vec![gap], orders).await?;
        }
        self.sent.untold = 0;
        self.save().await;
        Ok(())
    }

    /// Sends items until none of them has to be sent any more.
    async fn deliver(
        &mut self,
        items: &mut Vec<T::Item>,
        orders: &mut watch::Receiver<Orders>,
    ) -> Result<Refused, Left> {
        let pace = self.common.pace;
        let mut pause = pace.first_pause;
        let mut all = Refused::default();
        loop {
            let before = items.len();
            match self.put(items, orders).await? {
                Ok(refused) => {
                    all.items += refused.items;
                    if refused.items > 0 {
                        all.why = refused.why;
                    }
                    if items.is_empty() {
                        self.answered(None);
                        return Ok(all);
                    }
                }
                Err(why) => self.answered(Some(why)),
            }
            if items.len() < before {
                pause = pace.first_pause;
            }
            wait(orders, jittered(pause)).await;
            if *orders.borrow_and_update() == Orders::Leave {
                return Err(Left);
            }
            pause = (pause * 2).min(pace.longest_pause);
        }
    }

    async fn put(
        &mut self,
        items: &mut Vec<T::Item>,
        orders: &mut watch::Receiver<Orders>,
    ) -> Result<Result<Refused, String>, Left> {
        let requests = Arc::clone(&self.common.requests);
        // It is never closed; if it were, there would be no limit.
        let _turn = tokio::select! {
            turn = requests.acquire() => turn,
            // Others may have theirs for long: whoever is to leave does not wait for it.
            () = told_to_leave(orders) => return Err(Left),
        };
        Ok(self.destination.put(items).await)
    }

    /// Writes down how far it is. A disk that is full makes no build and no log fail: what is not written down is sent once
    /// more after a start.
    async fn save(&self) {
        let (file, sent) = (self.file.clone(), self.sent.clone());
        let written = tokio::task::spawn_blocking(move || file.write(&sent)).await;
        if let Ok(Err(problem)) = written {
            self.trouble(problem);
        }
    }
}

async fn told_to_leave(orders: &mut watch::Receiver<Orders>) {
    if orders
        .wait_for(|order| *order == Orders::Leave)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}

/// Until the time is over, or there are other orders.
async fn wait(orders: &mut watch::Receiver<Orders>, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        changed = orders.changed() => {
            // Whoever gave them is gone: nothing else is coming, and what is left is left.
            if changed.is_err() {
                tokio::time::sleep(time).await;
            }
        }
    }
}

/// Between half of it and all of it, so that many that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().into_bytes()[0];
    pause / 2 + pause / 2 * u32::from(random) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    // AGENT-102
    #[test]
    fn what_arrives_one_way_says_nothing_of_the_other() {
        let tally = Tally::default();
        let of = |route, trouble: Option<&str>| {
            tally.set_trouble_of(Some(route), trouble.map(str::to_owned));
            tally.trouble()
        };
        tally.set_trouble("disk".to_owned());
        let both = of(Route::ThroughProxy, Some("proxy"));
        assert_eq!(both.as_deref(), Some("disk; proxy"));
        assert_eq!(of(Route::Directly, None).as_deref(), Some("proxy"));
        assert_eq!(of(Route::ThroughProxy, None), None);
    }
}
