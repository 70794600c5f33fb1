//! All that an agent sends: builds that run, builds that are over, and what an agent before it has left (AGENT-60,
//! AGENT-66 to AGENT-69).

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::about::About;
use super::changes::Changes;
use super::cloudwatch::CloudWatch;
use super::eventbridge::EventBridge;
use super::lines::LogLines;
use super::route::{Chosen, Clients};
use super::ship::{Common, Ended, Marks, Orders, Pace, Shipper, Tally};
use super::state::StateFile;
use crate::aws::CONNECT;
use crate::private;
use crate::proxy::Variables;

/// The file of a job's directory that the build's events are in.
pub const EVENTS: &str = "events.jsonl";

/// How far the log was sent.
pub const LOG_STATE: &str = "cloudwatch.json";

/// How far the changes were sent.
pub const CHANGES_STATE: &str = "eventbridge.json";

/// What is known of the build, for an agent that comes after this one.
const ABOUT: &str = "shipping.json";

/// How long one request may take. It is tried again after that.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Requests that are under way at once. Each has a mebibyte of log several times over.
const REQUESTS: usize = 4;

/// Builds that are over and send the rest of their logs beside each other. Each has a request's worth of log in memory.
const ENDINGS: usize = 8;

/// How long requests that are under way when an agent ends are waited for. What is broken off is sent once more by the next
/// agent.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Where it all goes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Group of CloudWatch Logs.
    pub log_group: Option<String>,
    /// Name or ARN of an event bus.
    pub event_bus: Option<String>,
    /// Most bytes of events whose log may wait: of what is more, the oldest is given up.
    pub queue_limit: u64,
    /// How fast it goes.
    pub pace: Pace,
    /// What names the proxy for logs of builds that ask for one.
    pub proxy: Variables,
}

/// How much is waiting if nothing is said.
pub const QUEUE_LIMIT: u64 = 1024 * 1024 * 1024;

/// What was sent by one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Lines of logs, or changes, that there were to send since the agent was started.
    pub queued: u64,
    /// Those that were accepted since the agent was started.
    pub sent: u64,
    /// Those that were lost since the agent was started.
    pub lost: u64,
    /// What goes wrong at present.
    pub trouble: Option<String>,
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// CloudWatch Logs, if logs go there.
    pub logs: Option<Way>,
    /// EventBridge, if changes go there.
    pub changes: Option<Way>,
    /// Bytes of events whose log is not sent yet.
    pub queued_bytes: u64,
    /// Builds that are over, and whose log or changes are not sent yet.
    pub queued_builds: usize,
}

/// A build of which something is being sent.
#[derive(Debug)]
struct Build {
    orders: watch::Sender<Orders>,
    attending: JoinHandle<()>,
}

/// A build that is over, and of which something is left to be sent.
#[derive(Clone, Debug)]
struct Left {
    directory: PathBuf,
    about: About,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    logs: Option<Arc<Clients>>,
    changes: Option<aws_sdk_eventbridge::Client>,
    region: String,
    log_tally: Arc<Tally>,
    change_tally: Arc<Tally>,
    requests: Arc<Semaphore>,
    /// Builds that run, or were over a moment ago.
    builds: Mutex<HashMap<PathBuf, Build>>,
    endings: Arc<Semaphore>,
    /// Builds whose turn comes later, the oldest first.
    over: Mutex<VecDeque<Left>>,
    /// How many builds are over of which something is not sent yet.
    unsent: watch::Sender<usize>,
    /// Where each build's log stands, in the order of the builds.
    marks: Mutex<Vec<(PathBuf, Arc<Marks>)>>,
    queued_bytes: AtomicU64,
    has_more: Notify,
    orders: watch::Sender<Orders>,
}

/// Sends what builds write down.
#[derive(Debug)]
pub struct Shipping {
    inner: Arc<Inner>,
    keeper: JoinHandle<()>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shipping {
    /// Sends with these credentials, and begins with nothing. Has to be called where tasks can be started.
    #[must_use]
    pub fn start(settings: Settings, shared: &SdkConfig) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .build();
        // What fails is sent again by whoever knows how long there is time.
        let logs = aws_sdk_cloudwatchlogs::config::Builder::from(shared)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.clone())
            .build();
        let changes = aws_sdk_eventbridge::config::Builder::from(shared)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        let has_group = settings.log_group.is_some();
        let has_bus = settings.event_bus.is_some();
        let inner = Arc::new(Inner {
            logs: has_group.then(|| {
                let direct = aws_sdk_cloudwatchlogs::Client::from_conf(logs);
                Arc::new(Clients::new(direct, settings.proxy.clone()))
            }),
            changes: has_bus.then(|| aws_sdk_eventbridge::Client::from_conf(changes)),
            region: shared.region().map(ToString::to_string).unwrap_or_default(),
            settings,
            log_tally: Arc::default(),
            change_tally: Arc::default(),
            requests: Arc::new(Semaphore::new(REQUESTS)),
            builds: Mutex::default(),
            endings: Arc::new(Semaphore::new(ENDINGS)),
            over: Mutex::default(),
            unsent: watch::Sender::new(0),
            marks: Mutex::default(),
            queued_bytes: AtomicU64::new(0),
            has_more: Notify::new(),
            orders: watch::Sender::new(Orders::Finish),
        });
        Self {
            keeper: tokio::spawn(keep(Arc::clone(&inner))),
            worker: Mutex::new(Some(tokio::spawn(work(Arc::clone(&inner))))),
            inner,
        }
    }

    /// A build begins, whose job has this directory. Its events need not be there yet.
    pub fn begin(&self, directory: &Path, about: &About) -> Result<(), String> {
        let text = serde_json::to_vec(about).unwrap_or_default();
        let file = directory.join(ABOUT);
        private::write_durably(&file, &text)
            .map_err(|error| format!("could not write {}: {error}", file.display()))?;
        let orders = watch::Sender::new(Orders::Follow);
        let tasks = self.inner.ship(directory, about, &orders);
        let left = Left {
            directory: directory.to_owned(),
            about: about.clone(),
        };
        // It comes to its end only once it is in there.
        let mut builds = lock(&self.inner.builds);
        let attending = attend(Arc::clone(&self.inner), left, orders.clone(), tasks);
        let attending = tokio::spawn(attending);
        builds.insert(directory.to_owned(), Build { orders, attending });
        Ok(())
    }

    /// A build is over. Nobody waits: the rest is sent beside what else goes on, for a little while, and what is left then
    /// in its turn. False if this agent has not begun with it.
    #[must_use]
    pub fn finish(&self, directory: &Path) -> bool {
        let builds = lock(&self.inner.builds);
        let Some(build) = builds.get(directory) else {
            return false;
        };
        self.inner.unsent.send_modify(|builds| *builds += 1);
        build.orders.send_replace(Orders::Finish);
        true
    }

    /// Whether nothing of a build is to be sent any more: then its directory is of no use here.
    #[must_use]
    pub fn is_done(&self, directory: &Path) -> bool {
        self.inner.is_done(directory)
    }

    /// A build that is over may have something left, by an agent that was here before. `about` is what is known of it where
    /// what that agent wrote down cannot be read (AGENT-64).
    pub fn resume(&self, directory: &Path, about: &About) {
        if self.is_done(directory) {
            self.inner.done(directory);
            return;
        }
        let about = known(directory).unwrap_or_else(|problem| {
            self.inner.log_tally.set_trouble(problem);
            about.clone()
        });
        self.inner.unsent.send_modify(|builds| *builds += 1);
        self.inner.queue(Left {
            directory: directory.to_owned(),
            about,
        });
    }

    /// Waits until everything is sent of builds that are over, no longer than `patience`, and a little for requests that are
    /// under way then. The rest is for the next agent.
    pub async fn close(&self, patience: Duration) {
        let mut unsent = self.inner.unsent.subscribe();
        let _ = timeout(patience, unsent.wait_for(|builds| *builds == 0)).await;
        self.inner.orders.send_replace(Orders::Leave);
        let builds: Vec<Build> = lock(&self.inner.builds)
            .drain()
            .map(|(_, build)| build)
            .collect();
        for build in &builds {
            build.orders.send_replace(Orders::Leave);
        }
        self.keeper.abort();
        self.inner.has_more.notify_one();
        let worker = lock(&self.worker).take();
        let all = async {
            for task in builds
                .into_iter()
                .map(|build| build.attending)
                .chain(worker)
            {
                let _ = task.await;
            }
        };
        let _ = timeout(LAST_REQUESTS, all).await;
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let way = |tally: &Tally| Way {
            queued: tally.queued(),
            sent: tally.accepted(),
            lost: tally.lost(),
            trouble: tally.trouble(),
        };
        let inner = &self.inner;
        Status {
            logs: inner.logs.is_some().then(|| way(&inner.log_tally)),
            changes: inner.changes.is_some().then(|| way(&inner.change_tally)),
            queued_bytes: inner.queued_bytes.load(Ordering::Relaxed),
            queued_builds: *inner.unsent.borrow(),
        }
    }
}

impl Inner {
    fn common(&self, tally: &Arc<Tally>) -> Common {
        Common {
            pace: self.settings.pace,
            tally: Arc::clone(tally),
            requests: Arc::clone(&self.requests),
        }
    }

    /// Starts to send what a build writes down.
    fn ship(
        &self,
        directory: &Path,
        about: &About,
        orders: &watch::Sender<Orders>,
    ) -> Vec<JoinHandle<Ended>> {
        let events = directory.join(EVENTS);
        let state = |name: &str| StateFile::new(directory.join(name));
        let mut tasks = Vec::new();
        if let (Some(clients), Some(group)) = (&self.logs, &self.settings.log_group) {
            let route = Chosen::default();
            let clients = Arc::clone(clients);
            let to = CloudWatch::new(clients, route.clone(), group.clone(), about.stream());
            let shipper = Shipper::new(
                events.clone(),
                state(LOG_STATE),
                LogLines::new(route),
                to,
                self.common(&self.log_tally),
                self.marks(directory),
            );
            tasks.push(tokio::spawn(shipper.run(orders.subscribe())));
        }
        if let (Some(client), Some(bus)) = (&self.changes, &self.settings.event_bus) {
            let to = EventBridge::new(client.clone(), bus.clone());
            let group = self.settings.log_group.clone();
            let shipper = Shipper::new(
                events,
                state(CHANGES_STATE),
                Changes::new(about.clone(), group, self.region.clone()),
                to,
                self.common(&self.change_tally),
                // They are few and small: none is given up.
                Arc::default(),
            );
            tasks.push(tokio::spawn(shipper.run(orders.subscribe())));
        }
        tasks
    }

    fn is_done(&self, directory: &Path) -> bool {
        let ways = [
            (self.logs.is_some(), LOG_STATE),
            (self.changes.is_some(), CHANGES_STATE),
        ];
        let is_open = |name: &str| {
            let sent = StateFile::new(directory.join(name)).read();
            sent.map_or(true, |sent| !sent.done)
        };
        let mut open = ways
            .into_iter()
            .filter(|(is_on, name)| *is_on && is_open(name));
        !directory.join(ABOUT).exists() || open.next().is_none()
    }

    /// Everything of a build is sent: what only this needed goes (AGENT-30).
    fn done(&self, directory: &Path) {
        self.forget(directory);
        for name in [EVENTS, ABOUT] {
            // What cannot be removed is removed with the directory.
            let _ = fs::remove_file(directory.join(name));
        }
    }

    fn queue(&self, left: Left) {
        // Its place among those that are given up is that of its age.
        self.marks(&left.directory);
        lock(&self.over).push_back(left);
        self.has_more.notify_one();
    }

    fn marks(&self, directory: &Path) -> Arc<Marks> {
        let mut all = lock(&self.marks);
        if let Some((_, marks)) = all.iter().find(|(path, _)| path == directory) {
            return Arc::clone(marks);
        }
        let marks = Arc::<Marks>::default();
        all.push((directory.to_owned(), Arc::clone(&marks)));
        marks
    }

    fn forget(&self, directory: &Path) {
        lock(&self.marks).retain(|(path, _)| path != directory);
    }

    /// Sees how much is waiting, and gives up the oldest of what is too much.
    fn look(&self) {
        let all = lock(&self.marks).clone();
        let waiting: Vec<(u64, u64)> = all.iter().map(|(path, _)| waiting(path)).collect();
        let total: u64 = waiting.iter().map(|(_, bytes)| bytes).sum();
        self.queued_bytes.store(total, Ordering::Relaxed);
        let lengths: Vec<u64> = waiting.iter().map(|(_, bytes)| *bytes).collect();
        let given_up = give_up(&lengths, self.settings.queue_limit);
        for (((_, marks), (offset, _)), bytes) in all.iter().zip(&waiting).zip(given_up) {
            if bytes > 0 {
                marks.forsaken.fetch_max(offset + bytes, Ordering::Relaxed);
            }
        }
    }
}

/// Where the events of a build begin whose log is not sent, and how many bytes they are.
fn waiting(directory: &Path) -> (u64, u64) {
    let length = fs::metadata(directory.join(EVENTS)).map_or(0, |events| events.len());
    let sent = StateFile::new(directory.join(LOG_STATE)).read();
    let sent = sent.unwrap_or_default();
    let left = length.saturating_sub(sent.offset);
    (sent.offset, if sent.done { 0 } else { left })
}

/// How much of each is given up, the first ones first, so that what is left is within a limit.
fn give_up(waiting: &[u64], limit: u64) -> Vec<u64> {
    let mut excess = waiting.iter().sum::<u64>().saturating_sub(limit);
    let given_up = waiting.iter().map(|bytes| {
        let given_up = (*bytes).min(excess);
        excess -= given_up;
        given_up
    });
    given_up.collect()
}

async fn keep(inner: Arc<Inner>) {
    loop {
        let looking = Arc::clone(&inner);
        let _ = tokio::task::spawn_blocking(move || looking.look()).await;
        tokio::time::sleep(inner.settings.pace.survey).await;
    }
}

/// Sees to it that a build whose log is sent comes to its end: what takes too long then takes its turn with others.
async fn attend(
    inner: Arc<Inner>,
    left: Left,
    orders: watch::Sender<Orders>,
    tasks: Vec<JoinHandle<Ended>>,
) {
    let mut place = None;
    let late = async {
        place = be_late(&inner, orders.subscribe()).await;
        orders.send_replace(Orders::Leave);
        std::future::pending::<()>().await;
    };
    let is_done = tokio::select! {
        is_done = all(tasks) => is_done,
        () = late => unreachable!("invariant: it waits for ever"),
    };
    drop(place);
    let is_over = *orders.borrow() != Orders::Follow;
    lock(&inner.builds).remove(&left.directory);
    if is_done {
        finished(&inner, left.directory).await;
        if is_over {
            inner.unsent.send_modify(|builds| *builds -= 1);
        }
    } else if *inner.orders.borrow() != Orders::Leave {
        inner.queue(left);
    }
}

/// Until a build has been over for as long as it may send beside others, of which there are not too many.
async fn be_late(
    inner: &Inner,
    mut orders: watch::Receiver<Orders>,
) -> Option<OwnedSemaphorePermit> {
    let _ = orders.wait_for(|order| *order != Orders::Follow).await;
    let place = Arc::clone(&inner.endings).try_acquire_owned().ok()?;
    tokio::time::sleep(inner.settings.pace.ending).await;
    Some(place)
}

/// Whether all that there was to be sent is.
async fn all(tasks: Vec<JoinHandle<Ended>>) -> bool {
    let mut is_done = true;
    for task in tasks {
        is_done &= matches!(task.await, Ok(Ended::Done));
    }
    is_done
}

async fn finished(inner: &Arc<Inner>, directory: PathBuf) {
    let inner = Arc::clone(inner);
    // A file may be large, and its end long.
    let _ = tokio::task::spawn_blocking(move || inner.done(&directory)).await;
}

/// Sends what is left of builds that are over, one after the other.
async fn work(inner: Arc<Inner>) {
    while *inner.orders.borrow() != Orders::Leave {
        let Some(left) = lock(&inner.over).front().cloned() else {
            inner.has_more.notified().await;
            continue;
        };
        let orders = watch::Sender::new(Orders::Finish);
        let tasks = inner.ship(&left.directory, &left.about, &orders);
        let (is_done, is_late) = turn(&inner, &orders, tasks).await;
        {
            let mut over = lock(&inner.over);
            over.pop_front();
            if is_late && !is_done {
                over.push_back(left);
                continue;
            }
        }
        if is_done {
            finished(&inner, left.directory).await;
        }
        // What is left at the end is the next agent's, and is counted until then.
        if is_done || *inner.orders.borrow() != Orders::Leave {
            inner.unsent.send_modify(|builds| *builds -= 1);
        }
    }
}

/// Sends one build. Whether all of it is sent, and whether it had its time and others wait: what keeps this one from being sent,
/// a proxy that is gone say, may not keep them.
async fn turn(
    inner: &Inner,
    orders: &watch::Sender<Orders>,
    tasks: Vec<JoinHandle<Ended>>,
) -> (bool, bool) {
    let sending = all(tasks);
    tokio::pin!(sending);
    let mut ends = inner.orders.subscribe();
    let mut late = false;
    loop {
        tokio::select! {
            is_done = &mut sending => return (is_done, late),
            _ = ends.wait_for(|order| *order == Orders::Leave), if *orders.borrow() != Orders::Leave => {
                orders.send_replace(Orders::Leave);
            }
            () = tokio::time::sleep(inner.settings.pace.turn), if *orders.borrow() != Orders::Leave => {
                if lock(&inner.over).len() > 1 {
                    late = true;
                    orders.send_replace(Orders::Leave);
                }
            }
        }
    }
}

/// Whether an agent has begun to send what this job's build wrote down.
#[must_use]
pub fn is_shipped(directory: &Path) -> bool {
    directory.join(ABOUT).exists()
}

/// What was written down of a build.
fn known(directory: &Path) -> Result<About, String> {
    let file = directory.join(ABOUT);
    let doing = || format!("could not read {}", file.display());
    let text = fs::read(&file).map_err(|error| format!("{}: {error}", doing()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", doing()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_given_up_first_and_no_more_than_is_too_much() {
        let table = [
            (vec![], 10, vec![]),
            (vec![4, 6], 10, vec![0, 0]),
            (vec![4, 7], 10, vec![1, 0]),
            (vec![4, 7, 20], 10, vec![4, 7, 10]),
            (vec![3, 3], 0, vec![3, 3]),
        ];
        for (waiting, limit, expected) in table {
            assert_eq!(give_up(&waiting, limit), expected, "{waiting:?}");
        }
    }
}
