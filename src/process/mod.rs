//! Operating-system processes: the only module that starts them, signals them, waits for them and knows their numbers.
//!
//! Every process gets a group of its own, named after it, so that a signal reaches all it started. A process that left
//! its group (a daemon) is still found: it is a descendant, and this process adopts orphans ([`adopt_orphans`]).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::event::Exit;
use crate::user::User;

mod becoming;
mod descendants;
mod helper;
mod program;
mod terminal;

pub use self::becoming::{
    SESSION_NAME, TERMINAL_NAME, USER_NAME, become_session, become_terminal_session, become_user,
};
pub use self::descendants::{
    adopt_orphans, clear_ended, end_descendants, kill_descendants, kill_tree,
};
pub use self::helper::{Answer, ask, capture, filter, what_is_said};
pub use self::program::{
    arguments_of_parent, file_of_this_program, find_program, has_terminal, this_program,
    this_program_for_everybody, this_program_for_others,
};
pub use self::terminal::{Interactive, become_interactive, interact, start_at_terminal};

#[cfg(target_os = "linux")]
mod left;
#[cfg(target_os = "linux")]
pub use left::end_marked;

/// Nobody knows here what other processes were started with.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub const fn end_marked(_name: &str, _value: &str) -> usize {
    0
}

/// Bytes that a pipe between a command and this program holds: more than the system's default, so that the two take
/// turns less often. A wish; the system may refuse.
const PIPE_BYTES: usize = 256 * 1024;

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The program: an absolute path.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<&'a OsStr>,
    /// Its directory.
    pub directory: &'a Path,
    /// All of its variables.
    pub variables: &'a [(OsString, OsString)],
    /// This program, to be started in between as [`SESSION_NAME`], where there is a terminal to leave.
    pub leave_terminal: Option<&'a Path>,
    /// Whom it runs as, and this program, to be started in between as [`USER_NAME`].
    pub user: Option<(&'a User, &'a Path)>,
}

/// A started process, the leader of its group. Dropped before its end was awaited, it is ended by force with its group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Group,
    ended: bool,
}

/// A process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(Pid);

/// Starts a process without input, with its standard output and standard error in one pipe: one ordered stream.
pub fn start(start: &Start<'_>) -> io::Result<(Process, pipe::Receiver)> {
    let (reader, writer) = output_pipe()?;
    if let Some((user, _)) = start.user {
        // Else `> /dev/stderr` is refused: it opens the pipe anew.
        let owner = (
            rustix::fs::Uid::from_raw(user.uid),
            rustix::fs::Gid::from_raw(user.gid),
        );
        rustix::fs::fchown(&writer, Some(owner.0), Some(owner.1))?;
    }
    let mut command = command(start);
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let child = command.spawn()?;
    // The writing ends are in `command`: while it lives, the pipe has no end.
    drop(command);
    Ok((Process::of(child)?, reader))
}

/// A process that works for this one: it reports on its standard output, and its standard input ends when this one is gone,
/// however that came about.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub process: Process,
    /// What it reports.
    pub reports: pipe::Receiver,
    /// As long as this is open, whom it works for is there.
    pub lifeline: OwnedFd,
}

/// Starts a process that works for this one, with its standard error in a file.
pub fn start_worker(start: &Start<'_>, errors: std::fs::File) -> io::Result<Worker> {
    let (reports, writer) = output_pipe()?;
    let (input, lifeline) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut command = command(start);
    command.stdin(input).stdout(writer).stderr(errors);
    let child = command.spawn()?;
    // The other ends are in `command`: while it lives, the pipes have no end.
    drop(command);
    Ok(Worker {
        process: Process::of(child)?,
        reports,
        lifeline,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
fn command(start: &Start<'_>) -> Command {
    let mut command = match (start.user, start.leave_terminal) {
        // A group leader cannot make a session, so the helpers make the group together with the session.
        (Some((user, helper)), _) => {
            let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
            let mut command = Command::new(helper);
            command
                .arg0(USER_NAME)
                .args([user.uid.to_string(), user.gid.to_string(), groups.join(",")])
                .arg(start.program);
            command
        }
        (None, Some(helper)) => {
            let mut command = Command::new(helper);
            command.arg0(SESSION_NAME).arg(start.program);
            command
        }
        (None, None) => {
            let mut command = Command::new(start.program);
            command.process_group(0);
            command
        }
    };
    command
        .args(&start.arguments)
        .current_dir(start.directory)
        .env_clear();
    command.envs(start.variables.iter().map(|(name, value)| (name, value)));
    command
}

fn output_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES);
    Ok((pipe::Receiver::from_owned_fd(reader)?, writer))
}

impl Process {
    /// That which was just started, as the leader of its group.
    fn of(child: Child) -> io::Result<Self> {
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let pid =
            pid.ok_or_else(|| io::Error::other("a process that was just started has no number"))?;
        Ok(Self {
            child,
            group: Group(pid),
            ended: false,
        })
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> i32 {
        self.group.0.as_raw_nonzero().get()
    }

    /// Its group.
    #[must_use]
    pub const fn group(&self) -> Group {
        self.group
    }

    /// Waits for its end. May be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<Exit> {
        let status = self.child.wait().await;
        self.ended = true;
        status.map(exit)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The number is this process's until its end was awaited.
        if !self.ended {
            self.group.kill();
        }
    }
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Exited(code),
        (None, Some(signal)) => Exit::Signalled(signal),
        (None, None) => Exit::Unknown,
    }
}

impl Group {
    /// Asks every process of the group to end.
    pub fn terminate(self) {
        self.signal(Signal::TERM);
    }

    /// Ends every process of the group.
    pub fn kill(self) {
        self.signal(Signal::KILL);
    }

    fn signal(self, signal: Signal) {
        // No such group: all are gone, or the leader has not made it yet and can only be reached itself.
        if rustix::process::kill_process_group(self.0, signal) == Err(Errno::SRCH) {
            let _ = rustix::process::kill_process(self.0, signal);
        }
    }

    /// Whether any process of the group is alive. Members that ended and were adopted by this process are cleared away.
    #[must_use]
    pub fn is_alive(self) -> bool {
        while let Ok(Some(_)) = rustix::process::waitpgid(self.0, WaitOptions::NOHANG) {}
        rustix::process::test_kill_process_group(self.0).is_ok()
    }
}

/// How much sooner than whoever started it a build is ended when memory runs out.
const SOONER: i32 = 100;

/// What a build's process does first that an agent has started (AGENT-17): what its commands make has the permissions that it
/// has in CodeBuild, and when memory runs out it goes before the agent and is nothing better than other processes.
pub fn begin_as_build() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let score = "/proc/self/oom_score_adj";
    let inherited = std::fs::read_to_string(score);
    if let Some(inherited) = inherited
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok())
    {
        // Up is for everybody; where it is refused all the same, a build is what it was.
        let _ = std::fs::write(score, (inherited + SOONER).clamp(0, 1000).to_string());
    }
}
