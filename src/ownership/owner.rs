//! A process that owns something, told apart from every other: the one who had the number before it, the one who will
//! have it, and those of other machines.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use rustix::io::Errno;
use rustix::process::Pid;

/// What all labels of this program begin with.
const PREFIX: &str = "io.buildspec-runner.owner";

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose it is.
    user: u32,
    /// Its number.
    pid: i32,
    /// When it started, in ticks since the system did: two processes of one number differ in it.
    start_time: u64,
    /// Which start of which system: `/proc/sys/kernel/random/boot_id`.
    boot: String,
    /// Where its number counts: the inode of its PID namespace.
    namespace: u64,
}

/// Whether an owner is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is.
    Alive,
    /// It is not.
    Gone,
    /// It is, or was, on another machine or in another PID namespace, or is another user's: it cannot be judged from here.
    Unknown,
}

impl Owner {
    /// This process; `None` where the system does not say.
    #[must_use]
    pub fn this() -> Option<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Some(Self {
            user: rustix::process::getuid().as_raw(),
            pid,
            start_time: living(pid).ok()??,
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .ok()?
                .trim()
                .to_owned(),
            namespace: fs::metadata("/proc/self/ns/pid").ok()?.ino(),
        })
    }

    /// The owner as labels: names and values.
    #[must_use]
    pub fn labels(&self) -> Vec<(String, String)> {
        let label = |name: &str, value: String| (format!("{PREFIX}.{name}"), value);
        vec![
            label("user", self.user.to_string()),
            label("pid", self.pid.to_string()),
            label("start-time", self.start_time.to_string()),
            label("boot", self.boot.clone()),
            label("pid-namespace", self.namespace.to_string()),
        ]
    }

    /// The owner that labels tell of, if they are whole.
    #[must_use]
    pub fn of<'l>(label: impl Fn(&str) -> Option<&'l str>) -> Option<Self> {
        let label = |name: &str| label(&format!("{PREFIX}.{name}"));
        Some(Self {
            user: label("user")?.parse().ok()?,
            pid: label("pid")?.parse().ok()?,
            start_time: label("start-time")?.parse().ok()?,
            boot: label("boot")?.to_owned(),
            namespace: label("pid-namespace")?.parse().ok()?,
        })
    }

    /// Its number.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it is still there, as far as `here` can tell.
    #[must_use]
    pub fn life(&self, here: &Self) -> Life {
        let same_place = self.boot == here.boot && self.namespace == here.namespace;
        if !same_place || self.user != here.user {
            return Life::Unknown;
        }
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Life::Unknown;
        };
        if rustix::process::test_kill_process(pid) == Err(Errno::SRCH) {
            return Life::Gone;
        }
        match living(self.pid) {
            Ok(Some(start_time)) if start_time == self.start_time => Life::Alive,
            Ok(_) => Life::Gone,
            // Who cannot be looked at is not gone.
            Err(_) => Life::Unknown,
        }
    }
}

/// When a process started; nothing if there is none, or one that has ended and that nobody has waited for. An error if
/// that cannot be told.
fn living(pid: i32) -> io::Result<Option<u64>> {
    let stat = match fs::read(format!("/proc/{pid}/stat")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        stat => stat?,
    };
    state_and_start(&stat)
        .map(|(state, start_time)| (!matches!(state, "Z" | "X")).then_some(start_time))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `pid (name) state …`; the name may hold anything, so count from its closing parenthesis. The 22nd field is the start.
fn state_and_start(stat: &[u8]) -> Option<(&str, u64)> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(after_name + 1..)?).ok()?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_being_written_down() {
        let owner = Owner::this().unwrap();
        let labels = owner.labels();
        let find = |name: &str| {
            let found = labels.iter().find(|(label, _)| label == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(Owner::of(find), Some(owner.clone()));
        assert_eq!(Owner::of(|_| None), None);
        assert_eq!(owner.life(&owner), Life::Alive);
    }

    #[test]
    fn only_what_is_certain_is_said_of_others() {
        let here = Owner::this().unwrap();
        let other = |change: fn(&mut Owner)| {
            let mut other = here.clone();
            change(&mut other);
            other.life(&here)
        };
        assert_eq!(other(|owner| owner.start_time += 1), Life::Gone);
        // Numbers end far below.
        assert_eq!(other(|owner| owner.pid = i32::MAX - 1), Life::Gone);
        assert_eq!(other(|owner| owner.pid = 0), Life::Unknown);
        assert_eq!(other(|owner| owner.boot.push('x')), Life::Unknown);
        assert_eq!(other(|owner| owner.namespace += 1), Life::Unknown);
        assert_eq!(other(|owner| owner.user += 1), Life::Unknown);
    }
}
