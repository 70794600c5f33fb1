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
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::about::About;
use super::changes::Changes;
use super::cloudwatch::CloudWatch;
use super::eventbridge::EventBridge;
use super::lines::LogLines;
use super::ship::{Common, Ended, Orders, Pace, Shipper, Tally};
use super::state::StateFile;
use crate::aws::CONNECT;
use crate::private;

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
    tasks: Vec<JoinHandle<Ended>>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    logs: Option<aws_sdk_cloudwatchlogs::Client>,
    changes: Option<aws_sdk_eventbridge::Client>,
    region: String,
    log_tally: Arc<Tally>,
    change_tally: Arc<Tally>,
    requests: Arc<Semaphore>,
    running: Mutex<HashMap<PathBuf, Build>>,
    /// Builds that are over, the oldest first.
    over: Mutex<VecDeque<PathBuf>>,
    /// Where in its file each build's log begins that is not given up; in the order of the builds.
    forsaken: Mutex<Vec<(PathBuf, Arc<AtomicU64>)>>,
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
            logs: has_group.then(|| aws_sdk_cloudwatchlogs::Client::from_conf(logs)),
            changes: has_bus.then(|| aws_sdk_eventbridge::Client::from_conf(changes)),
            region: shared.region().map(ToString::to_string).unwrap_or_default(),
            settings,
            log_tally: Arc::default(),
            change_tally: Arc::default(),
            requests: Arc::new(Semaphore::new(REQUESTS)),
            running: Mutex::default(),
            over: Mutex::default(),
            forsaken: Mutex::default(),
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
        private::write(&file, &text)
            .map_err(|error| format!("could not write {}: {error}", file.display()))?;
        let orders = watch::Sender::new(Orders::Follow);
        let tasks = self.inner.ship(directory, about, &orders);
        let build = Build { orders, tasks };
        lock(&self.inner.running).insert(directory.to_owned(), build);
        Ok(())
    }

    /// A build is over. Waits until all of it is sent, not longer than `limit`: what is left then is sent in its turn.
    /// Whether nothing is left.
    pub async fn finish(&self, directory: &Path, limit: Duration) -> bool {
        let Some(mut build) = lock(&self.inner.running).remove(directory) else {
            return true;
        };
        build.orders.send_replace(Orders::Finish);
        let all = async {
            let mut done = true;
            for task in &mut build.tasks {
                done &= matches!(task.await, Ok(Ended::Done));
            }
            done
        };
        if timeout(limit, all).await == Ok(true) {
            self.inner.forget(directory);
            return true;
        }
        build.orders.send_replace(Orders::Leave);
        for task in build.tasks {
            if !task.is_finished() {
                // Until a request that is under way has its answer: were it broken off, it would be sent twice.
                let _ = task.await;
            }
        }
        self.resume(directory);
        false
    }

    /// Whether this agent has begun with a build, and not finished it.
    #[must_use]
    pub fn knows(&self, directory: &Path) -> bool {
        lock(&self.inner.running).contains_key(directory)
    }

    /// Whether nothing of a build is to be sent any more: then its directory is of no use here.
    #[must_use]
    pub fn is_done(&self, directory: &Path) -> bool {
        let ways = [
            (self.inner.logs.is_some(), LOG_STATE),
            (self.inner.changes.is_some(), CHANGES_STATE),
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

    /// A build that is over may have something left, by an agent that was here before.
    pub fn resume(&self, directory: &Path) {
        if self.is_done(directory) {
            self.inner.forget(directory);
            return;
        }
        // Its place among those that are given up is that of its age.
        self.inner.forsaken(directory);
        lock(&self.inner.over).push_back(directory.to_owned());
        self.inner.has_more.notify_one();
    }

    /// Leaves everything for the next agent. Waits for requests that are under way, not longer than `limit`.
    pub async fn close(&self, limit: Duration) {
        self.inner.orders.send_replace(Orders::Leave);
        let running: Vec<Build> = lock(&self.inner.running)
            .drain()
            .map(|(_, build)| build)
            .collect();
        for build in &running {
            build.orders.send_replace(Orders::Leave);
        }
        self.keeper.abort();
        self.inner.has_more.notify_one();
        let worker = lock(&self.worker).take();
        let tasks = running.into_iter().flat_map(|build| build.tasks);
        let all = async {
            for task in tasks {
                let _ = task.await;
            }
            if let Some(worker) = worker {
                let _ = worker.await;
            }
        };
        let _ = timeout(limit, all).await;
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
            queued_builds: lock(&inner.over).len(),
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
        if let (Some(client), Some(group)) = (&self.logs, &self.settings.log_group) {
            let to = CloudWatch::new(client.clone(), group.clone(), about.stream());
            let shipper = Shipper::new(
                events.clone(),
                state(LOG_STATE),
                LogLines::default(),
                to,
                self.common(&self.log_tally),
                self.forsaken(directory),
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

    fn forsaken(&self, directory: &Path) -> Arc<AtomicU64> {
        let mut all = lock(&self.forsaken);
        if let Some((_, place)) = all.iter().find(|(path, _)| path == directory) {
            return Arc::clone(place);
        }
        let place = Arc::new(AtomicU64::new(0));
        all.push((directory.to_owned(), Arc::clone(&place)));
        place
    }

    fn forget(&self, directory: &Path) {
        lock(&self.forsaken).retain(|(path, _)| path != directory);
    }

    /// Sees how much is waiting, and gives up the oldest of what is too much.
    fn look(&self) {
        let places = lock(&self.forsaken).clone();
        let waiting: Vec<(u64, u64)> = places.iter().map(|(path, _)| waiting(path)).collect();
        let total: u64 = waiting.iter().map(|(_, bytes)| bytes).sum();
        self.queued_bytes.store(total, Ordering::Relaxed);
        let lengths: Vec<u64> = waiting.iter().map(|(_, bytes)| *bytes).collect();
        let given_up = give_up(&lengths, self.settings.queue_limit);
        for (((_, place), (offset, _)), bytes) in places.iter().zip(&waiting).zip(given_up) {
            if bytes > 0 {
                place.fetch_max(offset + bytes, Ordering::Relaxed);
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

/// Sends what is left of builds that are over, one after the other.
async fn work(inner: Arc<Inner>) {
    while *inner.orders.borrow() != Orders::Leave {
        let Some(directory) = lock(&inner.over).front().cloned() else {
            inner.has_more.notified().await;
            continue;
        };
        let mut ended = true;
        match about(&directory) {
            Ok(about) => {
                for task in inner.ship(&directory, &about, &inner.orders) {
                    ended &= matches!(task.await, Ok(Ended::Done));
                }
            }
            Err(problem) => inner.log_tally.set_trouble(Some(problem)),
        }
        let mut over = lock(&inner.over);
        over.pop_front();
        if ended {
            drop(over);
            inner.forget(&directory);
        }
    }
}

fn about(directory: &Path) -> Result<About, String> {
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
