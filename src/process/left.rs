//! Processes that belong to something that is gone: nobody is their parent who knows of them, and they are known by a variable
//! that they were started with.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::descendants::{parent_of, parents};

/// Largest environment that is looked at, in bytes: the system lets a process have less.
const MAX_ENVIRONMENT: u64 = 8 * 1024 * 1024;

/// How often is looked again for what was started meanwhile, and the time in between.
const ROUNDS: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(10);

/// Ends by force every process that has this variable in its environment, and whatever comes from one of those. Gives how many
/// were found.
///
/// Nothing else is ended: a process is held on to before it is looked at, so that its number is no other one's by then. One that
/// has cleared its environment and whose parent is gone is not found. Blocks for half a second at most.
#[must_use]
pub fn end_marked(name: &str, value: &str) -> usize {
    let mark = format!("{name}={value}");
    let mut count = 0;
    for _ in 0..ROUNDS {
        let found = find(mark.as_bytes());
        if found.is_empty() {
            break;
        }
        count = count.max(found.len());
        for Held { handle, .. } in &found {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
        // A killed process needs a moment to go.
        std::thread::sleep(BETWEEN);
    }
    count
}

/// A process that is stopped and held on to.
struct Held {
    number: i32,
    handle: OwnedFd,
}

impl Held {
    /// Stops a process if `is_it` says of this number, while it is certainly that process's, that it is the right one.
    fn stop(number: i32, is_it: impl FnOnce() -> bool) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(number)?, PidfdFlags::empty()).ok()?;
        let held = Self { number, handle };
        (is_it() && held.is_there()).then_some(held)
    }

    /// Whether the number is this process's still, which starts no more ones from now on.
    fn is_there(&self) -> bool {
        pidfd_send_signal(&self.handle, Signal::STOP).is_ok()
    }
}

/// Every living process with this mark, and every one that comes from one of them.
fn find(mark: &[u8]) -> Vec<Held> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let all = parents();
    let others = all.iter().filter(|(number, _)| *number != own);
    let mut found: Vec<Held> = others
        .filter(|(number, _)| has(*number, mark))
        .filter_map(|(number, _)| Held::stop(*number, || has(*number, mark)))
        .collect();
    // Those that are found are stopped, so what they have started is there by now.
    let all = parents();
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let parent_number = parent.number;
        let below = all.iter().filter(|(number, above)| {
            *above == parent_number
                && *number != own
                && !found.iter().any(|held| held.number == *number)
        });
        let below: Vec<Held> = below
            .filter_map(|(number, _)| {
                Held::stop(*number, || {
                    parent_of(*number) == Some(parent_number) && parent.is_there()
                })
            })
            .collect();
        found.extend(below);
        next += 1;
    }
    found
}

/// Whether a process was started with this in its environment; not if that is not ours to know.
fn has(number: i32, mark: &[u8]) -> bool {
    let Ok(file) = File::open(format!("/proc/{number}/environ")) else {
        return false;
    };
    let mut environment = Vec::new();
    let read = file.take(MAX_ENVIRONMENT).read_to_end(&mut environment);
    read.is_ok() && environment.split(|byte| *byte == 0).any(|one| one == mark)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test that starts processes")]
    fn start(script: &str, mark: Option<&str>) -> std::process::Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        if let Some(mark) = mark {
            command.env("RUNNER_TEST_MARK", mark);
        }
        command.spawn().unwrap()
    }

    fn first_line(child: &mut std::process::Child) -> String {
        let mut line = String::new();
        let output = child.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        line.trim().to_owned()
    }

    #[test]
    fn what_is_marked_is_ended_with_what_comes_from_it_and_nothing_else() {
        let mark = format!("{}:{}", std::process::id(), uuid::Uuid::new_v4());
        let other = format!("{mark}0");
        // One that has cleared its environment, below one that has not.
        let script = "env -i sh -c 'echo $$; exec sleep 600' & wait";
        let mut marked = start(script, Some(&mark));
        let below: i32 = first_line(&mut marked).parse().unwrap();
        let mut others = [
            start("echo; exec sleep 600", Some(&other)),
            start("echo; exec sleep 600", None),
        ];
        for one in &mut others {
            first_line(one);
        }
        assert_eq!(end_marked("RUNNER_TEST_MARK", &mark), 2);
        marked.wait().unwrap();
        assert!(parents().iter().all(|(number, _)| *number != below));
        for one in &mut others {
            assert_eq!(one.try_wait().unwrap(), None);
            one.kill().unwrap();
            one.wait().unwrap();
        }
        assert_eq!(end_marked("RUNNER_TEST_MARK", &mark), 0);
    }
}
