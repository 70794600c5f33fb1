//! What systemd is told of the agent, by datagrams to the socket that it names (AGENT-90 to AGENT-92).
//!
//! Nothing is said, and nothing costs, where no such socket is named. What cannot be said is no reason to end: the caller
//! learns of it once, when the socket is looked at.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::MissedTickBehavior;

use super::progress::Progress;

/// Variables of systemd that are the agent's own: a build that had them could speak in its name.
pub const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// How long the socket may take to take a datagram.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// Bytes of a status line.
const MAX_STATUS: usize = 500;

/// What the environment says, as `cli` read it.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `NOTIFY_SOCKET`
    pub socket: Option<OsString>,
    /// `WATCHDOG_USEC`
    pub watchdog: Option<OsString>,
    /// `WATCHDOG_PID`
    pub watchdog_pid: Option<OsString>,
}

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Neither a path from the root nor an abstract name.
    #[error("NOTIFY_SOCKET is `{0}`: expected an absolute path, or @ and a name")]
    Name(String),
    /// It is too long, or the system has no more sockets.
    #[error("could not use NOTIFY_SOCKET `{0}`: {1}")]
    Socket(String, #[source] io::Error),
}

/// Speaks to systemd, if it listens. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    to: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Speaks to the socket that the environment names, as the process `pid`.
    pub fn new(environment: &Environment, pid: u32) -> Result<Self, NotifyError> {
        let Some(name) = environment
            .socket
            .as_deref()
            .filter(|name| !name.is_empty())
        else {
            return Ok(Self::default());
        };
        let shown = || name.to_string_lossy().into_owned();
        let failed = |error| NotifyError::Socket(shown(), error);
        let address = match name.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => return Err(NotifyError::Name(shown())),
        };
        let address = address.map_err(failed)?;
        let socket = UnixDatagram::unbound().map_err(failed)?;
        // A full queue must not stop the agent.
        socket.set_write_timeout(Some(SEND_LIMIT)).map_err(failed)?;
        Ok(Self {
            to: Some(Arc::new((socket, address))),
            watchdog: watchdog(environment, pid),
        })
    }

    /// Whether somebody listens.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.to.is_some()
    }

    /// How often the watchdog wants to hear of progress at least; nothing if there is none.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The agent is up, or up again after [`Notifier::reloading`].
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// What it is doing, in a line that `systemctl status` shows.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", line(status)));
    }

    /// It reads its configuration again. [`Notifier::ready`] has to follow.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It ends; `status` says what it still waits for.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    /// Feeds the watchdog for as long as every loop comes round within its interval, and no longer: what is stuck is for
    /// systemd to end. Returns at once if there is no watchdog, else never.
    pub async fn feed(&self, progress: &Progress) {
        let Some(interval) = self.watchdog else {
            return;
        };
        // Half of the interval is what systemd recommends; a third bears one lost datagram.
        let mut ticks = tokio::time::interval(interval / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let _ = self.feed_once(progress, Instant::now());
        }
    }

    /// Feeds the watchdog unless a loop is behind; says whether it did.
    #[must_use]
    pub fn feed_once(&self, progress: &Progress, now: Instant) -> bool {
        let Some(interval) = self.watchdog else {
            return false;
        };
        let behind = progress.behind(interval, now);
        if behind.is_empty() {
            self.send("WATCHDOG=1");
        } else {
            self.status(&format!("stuck: {}", behind.join(", ")));
        }
        behind.is_empty()
    }

    fn send(&self, message: &str) {
        if let Some(to) = &self.to {
            // Nobody can be told that systemd cannot be told.
            let _ = to.0.send_to_addr(message.as_bytes(), &to.1);
        }
    }
}

fn watchdog(environment: &Environment, pid: u32) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    if let Some(of) = &environment.watchdog_pid
        && number(of) != Some(u64::from(pid))
    {
        return None;
    }
    let micros = number(environment.watchdog.as_deref()?)?;
    (micros > 0).then(|| Duration::from_micros(micros))
}

/// One line, of a bounded length: another line would be another message.
fn line(text: &str) -> String {
    let shown = &text[..text.floor_char_boundary(MAX_STATUS)];
    shown.replace(|c: char| c.is_control(), " ")
}
