//! Every process that comes from this one, to any depth: to find it, and to end it.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

/// Makes orphaned descendants children of this process, so that [`descendants`] finds every one of them.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Clears away adopted processes that have ended. False if this process has no children after that: with
/// [`adopt_orphans`], there are no descendants either.
#[must_use]
fn clear_ended_orphans() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(error) => return error != Errno::CHILD,
        }
    }
}

/// Clears away children that ended and that nobody waits for, for a process that waits for none of its own.
pub fn clear_ended() {
    let _ = clear_ended_orphans();
}

/// Every living process that comes from this one, to any depth.
#[must_use]
fn descendants() -> Vec<i32> {
    descendants_of(rustix::process::getpid().as_raw_nonzero().get())
}

/// Ends a process by force, and every one that comes from it. The number has to be known to be that process's still.
pub fn kill_tree(number: i32) {
    // First those below: without it, nobody would know whose they are.
    let mut all = descendants_of(number);
    all.push(number);
    signal_all(&all, Signal::KILL);
}

fn descendants_of(number: i32) -> Vec<i32> {
    let parents = parents();
    let mut found = vec![number];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == pid)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    found.remove(0);
    found
}

/// All living processes of the system with their parents.
pub(super) fn parents() -> Vec<(i32, i32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_of(pid)?))
        })
        .collect()
}

/// The parent of a living process.
pub(super) fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state parent …`; the name may hold anything, so count from its closing parenthesis.
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat[after_name + 1..]
        .split(|byte| *byte == b' ')
        .filter(|field| !field.is_empty());
    let state = fields.next()?;
    let parent = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    (state != b"Z").then_some(parent)
}

/// Asks, then forces, every process that comes from this one to end, and waits until they have. With `hurry`, force comes
/// at once. Returns how many were there at first.
///
/// Only what is found at the moment is signalled: a number that was remembered may be another process's by now.
pub async fn end_descendants(grace: Duration, hurry: impl Fn() -> bool) -> usize {
    let still_there = || {
        // Looking for descendants reads about every process of the system, and most builds leave none.
        if clear_ended_orphans() {
            descendants()
        } else {
            Vec::new()
        }
    };
    let mut found = still_there();
    let count = found.len();
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_millis(1);
    let mut asked = false;
    let mut forced = Duration::ZERO;
    // A killed process needs a moment to go; one that hangs in the kernel may never.
    while !found.is_empty() && forced < Duration::from_secs(1) {
        let force = waited >= grace || hurry();
        if force || !asked {
            let signal = if force { Signal::KILL } else { Signal::TERM };
            signal_all(&found, signal);
            asked = true;
        }
        tokio::time::sleep(pause).await;
        waited += pause;
        forced += if force { pause } else { Duration::ZERO };
        pause = (pause * 2).min(Duration::from_millis(50));
        found = still_there();
    }
    count
}

/// Ends every process that comes from this one by force, without waiting.
pub fn kill_descendants() {
    signal_all(&descendants(), Signal::KILL);
}

fn signal_all(processes: &[i32], signal: Signal) {
    for pid in processes.iter().copied().filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_process_is_read_whatever_its_name() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        assert!(parents().contains(&(me, parent)));
    }
}
