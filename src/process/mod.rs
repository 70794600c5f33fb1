//! Operating-system processes: the only module that starts them, signals them, waits for them and knows their numbers.
//!
//! Every process gets a group of its own, named after it, so that a signal reaches all it started. A process that left
//! its group (a daemon) is still found: it is a descendant, and this process adopts orphans ([`adopt_orphans`]).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::event::Exit;
use crate::user::User;

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

/// `argv[0]` under which this program only leaves its terminal and becomes another one (CMD-10).
pub const SESSION_NAME: &str = "runner-session";

/// `argv[0]` under which this program only becomes another user and then another program (CMD-17).
pub const USER_NAME: &str = "runner-user";

/// `argv[0]` under which this program only takes its standard input for its terminal and becomes another program (TOOL-33).
pub const TERMINAL_NAME: &str = "runner-terminal";

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
fn parents() -> Vec<(i32, i32)> {
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
fn parent_of(pid: i32) -> Option<i32> {
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

/// This program, as something to start as [`SESSION_NAME`]. A path of its own may be another program's before the build
/// is over: an update, or a build that makes this program.
#[must_use]
pub fn this_program() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        Some(running)
    } else {
        std::env::current_exe().ok()
    }
}

/// The file of this program by a name that leads to it for others too; `None` once it was replaced or removed: an upgrade, while
/// a build or an agent goes on.
#[must_use]
pub fn file_of_this_program() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let running = this_program()?;
    let named = running.canonicalize().ok()?;
    let identity = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    // What the system calls a removed file may be the name of another one.
    (identity(&running)? == identity(&named)?).then_some(named)
}

/// This program, as something that other processes can start while this one lives, even if its file was replaced or removed
/// meanwhile.
#[must_use]
pub fn this_program_for_others() -> Option<PathBuf> {
    let running = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    if running.exists() {
        Some(running)
    } else {
        std::env::current_exe().ok()
    }
}

/// The file of this program, if every user of this machine can start it.
#[must_use]
pub fn this_program_for_everybody() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    // What was replaced or removed meanwhile has a name that leads nowhere.
    let own = std::env::current_exe().ok()?.canonicalize().ok()?;
    let passes = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o001 != 0);
    own.ancestors().all(passes).then_some(own)
}

/// Leaves the terminal and becomes another program: what this program does when it is started as [`SESSION_NAME`].
/// Returns only if that fails.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
pub fn become_session(program: &OsStr, arguments: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    if let Err(error) = rustix::process::setsid() {
        return error.into();
    }
    std::process::Command::new(program).args(arguments).exec()
}

/// Makes standard input the terminal of a session of its own and becomes another program: what this program does when it is
/// started as [`TERMINAL_NAME`]. Returns only if that fails.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
pub fn become_terminal_session(program: &OsStr, arguments: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    let taken = rustix::process::setsid()
        .and_then(|_| rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()));
    if let Err(error) = taken {
        return error.into();
    }
    std::process::Command::new(program).args(arguments).exec()
}

/// A program that a person works with at the terminal.
#[derive(Clone, Debug)]
pub struct Interactive {
    /// The program: an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its directory.
    pub directory: PathBuf,
    /// All of its variables.
    pub variables: Vec<(OsString, OsString)>,
}

/// Runs a program at this process's terminal until it ends; dropped before, it is ended by force. It is in the group of
/// this process, which has the terminal, and makes one of its own if it wants to, as shells do.
pub async fn interact(interactive: &Interactive, terminal: std::fs::File) -> io::Result<Exit> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut command = Command::new(&interactive.program);
    command
        .args(&interactive.arguments)
        .current_dir(&interactive.directory)
        .env_clear()
        .envs(
            interactive
                .variables
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal)
        .kill_on_drop(true);
    command.spawn()?.wait().await.map(exit)
}

/// Starts a program at a terminal of its own, in a session of its own; `helper` is this program, to be started in between as
/// [`TERMINAL_NAME`].
pub fn start_at_terminal(
    interactive: &Interactive,
    terminal: std::fs::File,
    helper: &Path,
) -> io::Result<Process> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut command = Command::new(helper);
    let variables = interactive.variables.iter();
    command
        .arg0(TERMINAL_NAME)
        .arg(&interactive.program)
        .args(&interactive.arguments)
        .current_dir(&interactive.directory)
        .env_clear()
        .envs(variables.map(|(name, value)| (name, value)))
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal);
    Process::of(command.spawn()?)
}

/// Becomes a program that a person works with. Returns only if that fails.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
pub fn become_interactive(interactive: &Interactive) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    std::process::Command::new(&interactive.program)
        .args(&interactive.arguments)
        .current_dir(&interactive.directory)
        .env_clear()
        .envs(
            interactive
                .variables
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .exec()
}

/// Becomes another user and then another program: what this program does when it is started as [`USER_NAME`], with the
/// numbers of the user, the group and all groups, the program and its arguments. Returns only if that fails: what could not
/// be done, and why.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
pub fn become_user(arguments: &[OsString]) -> (String, io::Error) {
    use std::os::unix::process::CommandExt as _;
    let [uid, gid, groups, program, arguments @ ..] = arguments else {
        let reason = io::Error::from(io::ErrorKind::InvalidInput);
        return ("become another user".to_owned(), reason);
    };
    if let Err(error) = take_user(uid, gid, groups) {
        return (format!("become user {}", uid.display()), error);
    }
    // A shell would not say whom it may not, and would go on somewhere else.
    if let Err(error) = std::fs::read_dir(".") {
        let doing = format!("enter the source directory as user {}", uid.display());
        return (doing, error);
    }
    if let Some(script) = arguments.last()
        && let Err(error) = std::fs::File::open(script)
    {
        let doing = format!("read {} as user {}", script.display(), uid.display());
        return (doing, error);
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    (format!("start {}", program.display()), error)
}

/// Leaves the terminal and becomes this user, for good. This process has one thread.
fn take_user(uid: &OsStr, gid: &OsStr, groups: &OsStr) -> io::Result<()> {
    use rustix::thread::{Gid, Uid, set_thread_gid, set_thread_groups, set_thread_uid};
    let number = |text: &str| {
        let number = text.parse::<u32>().map_err(io::Error::other)?;
        Ok::<u32, io::Error>(number)
    };
    let groups = groups.to_string_lossy();
    let groups = groups
        .split(',')
        .map(|group| number(group).map(Gid::from_raw));
    let groups = groups.collect::<io::Result<Vec<Gid>>>()?;
    rustix::process::setsid()?;
    set_thread_groups(&groups)?;
    set_thread_gid(Gid::from_raw(number(&gid.to_string_lossy())?))?;
    set_thread_uid(Uid::from_raw(number(&uid.to_string_lossy())?))?;
    Ok(())
}

/// The output of a short-lived helper program, such as `git`, or `None` if it is not there, fails or takes too long.
pub async fn capture(
    program: &str,
    arguments: &[&OsStr],
    directory: &Path,
    limit: Duration,
) -> Option<Vec<u8>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(directory)
        .process_group(0)
        .kill_on_drop(true);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let output = tokio::time::timeout(limit, command.output())
        .await
        .ok()?
        .ok()?;
    output.status.success().then_some(output.stdout)
}

/// The beginning of what a short-lived program writes to standard output and standard error, or `None` if it cannot be
/// started. It is ended when it takes longer than `limit`, or has written more than anybody wants to know.
pub async fn what_is_said(
    program: &Path,
    arguments: &[&str],
    directory: &Path,
    variables: &[(OsString, OsString)],
    limit: Duration,
) -> Option<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let start = Start {
        program,
        arguments: arguments.iter().map(OsStr::new).collect(),
        directory,
        variables,
        leave_terminal: None,
        user: None,
    };
    let (mut process, reader) = self::start(&start).ok()?;
    let mut said = Vec::new();
    let reading = async {
        let _ = reader.take(MOST_SAID).read_to_end(&mut said).await;
    };
    let _ = tokio::time::timeout(limit, reading).await;
    // Also after success: nothing of it goes on.
    process.group().kill();
    let _ = process.wait().await;
    Some(said)
}

/// Most that a program is listened to, in bytes.
const MOST_SAID: u64 = 64 * 1024;

/// The output of a helper program that reads `input`, or `None` if it is not there, is ended by a signal, takes longer than
/// `limit`, or writes more than `most` bytes. Its status is the caller's to judge by what it wrote.
#[must_use]
pub fn filter(
    program: &Path,
    arguments: &[&str],
    input: &[u8],
    limit: Duration,
    most: u64,
) -> Option<Vec<u8>> {
    use std::io::{Read as _, Write as _};
    use std::os::unix::process::CommandExt as _;
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let group = Group(Pid::from_raw(i32::try_from(child.id()).ok()?)?);
    let (mut to, from) = (child.stdin.take()?, child.stdout.take()?);
    let (done, output) = std::sync::mpsc::channel();
    let input = input.to_vec();
    // What the program does not want to read is no fault of its.
    std::thread::spawn(move || to.write_all(&input));
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = from.take(most + 1).read_to_end(&mut text);
        // Nobody listens any longer when the time is over.
        let _ = done.send(read.map(|_| text));
    });
    let read = output.recv_timeout(limit).ok().and_then(Result::ok);
    // Also after success: with it gone, neither thread waits for a pipe.
    group.kill();
    let status = child.wait().ok()?;
    // Killed after its output had ended is as good as ended.
    let ended = status.code().is_some() || status.signal() == Some(Signal::KILL.as_raw());
    read.filter(|text| ended && text.len() as u64 <= most)
}

/// What a helper program said.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote to standard output. May hold secrets: the reason why this has no `Debug`.
    pub output: Vec<u8>,
}

/// Asks a helper program: gives it `input`, and returns what it wrote to standard output once it has ended. It has this
/// process's variables, with `variables` in place of those of the same name.
///
/// Fails if it cannot be started, takes longer than `limit`, or writes more than `most` bytes. Either way nothing of its
/// group is left.
pub fn ask(
    program: &Path,
    arguments: &[&str],
    variables: &[(&str, &OsStr)],
    input: &[u8],
    limit: Duration,
    most: u64,
) -> io::Result<Answer> {
    use std::io::{Read as _, Write as _};
    use std::os::unix::process::CommandExt as _;
    let deadline = Instant::now() + limit;
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = Group(group.ok_or_else(|| io::Error::other("a process without a number"))?);
    let (to, from) = (child.stdin.take(), child.stdout.take());
    let (done, output) = std::sync::mpsc::channel();
    let input = input.to_vec();
    // What the program does not want to read is no fault of its.
    std::thread::spawn(move || to.map(|mut to| to.write_all(&input)));
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = from.map(|from| from.take(most + 1).read_to_end(&mut text));
        // Nobody listens any longer when the time is over.
        let _ = done.send(read.transpose().map(|_| text));
    });
    let read = output
        .recv_timeout(limit)
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
        .flatten()
        .and_then(|text| {
            if text.len() as u64 > most {
                Err(io::Error::other("it wrote far more than an answer"))
            } else {
                Ok(text)
            }
        });
    let ended = read.and_then(|text| Ok((text, wait_until(&mut child, deadline)?)));
    // What it left behind, or the program itself if it did not end.
    group.kill();
    if ended.is_err() {
        let _ = child.wait();
    }
    let (output, status) = ended?;
    Ok(Answer {
        exit: exit(status),
        output,
    })
}

/// Waits for the end of a process that has closed its output.
fn wait_until(child: &mut std::process::Child, deadline: Instant) -> io::Result<ExitStatus> {
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The arguments of the program that started this one, its name first; nothing where the system does not say.
#[must_use]
pub fn arguments_of_parent() -> Vec<OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    let text = rustix::process::getppid()
        .and_then(|pid| std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok());
    text.unwrap_or_default()
        .split_inclusive(|byte| *byte == 0)
        .map(|argument| {
            OsString::from_vec(argument.strip_suffix(&[0]).unwrap_or(argument).to_vec())
        })
        .collect()
}

/// Whether this process has a terminal that its children would have too.
#[must_use]
pub fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// The absolute path of a program: itself if it is a path, else the first of that name on `path`.
#[must_use]
pub fn find_program(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |candidate: &PathBuf| {
        candidate.is_file() && rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    std::env::split_paths(path?)
        .map(|directory| directory.join(name))
        .find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_path_and_on_path() {
        assert_eq!(
            find_program("/bin/sh", None),
            Some(PathBuf::from("/bin/sh"))
        );
        assert_eq!(find_program("/bin/no-such-shell", None), None);
        let found = find_program("sh", Some(OsStr::new("/nowhere:/bin:/usr/bin"))).unwrap();
        assert!(found.ends_with("sh") && found.is_absolute());
        assert_eq!(find_program("sh", None), None);
        assert_eq!(
            find_program("passwd", Some(OsStr::new("/etc"))),
            None,
            "not executable"
        );
    }

    #[test]
    fn a_filter_ends_whatever_it_does() {
        let run = |script: &str, input: &[u8]| {
            let limit = Duration::from_millis(300);
            filter(Path::new("/bin/sh"), &["-c", script], input, limit, 1000)
        };
        assert_eq!(run("cat; exit 1", b"text").as_deref(), Some(&b"text"[..]));
        assert_eq!(run("exec sleep 600", b""), None);
        assert_eq!(run("yes", b""), None);
        // More than a pipe holds, and nobody reads it.
        assert_eq!(
            run("echo", &vec![b'x'; 1 << 20]).as_deref(),
            Some(&b"\n"[..])
        );
        let nowhere = filter(Path::new("/nowhere"), &[], b"", Duration::MAX, 1);
        assert_eq!(nowhere, None);
    }

    #[test]
    fn a_helper_that_is_asked_ends_whatever_it_does() {
        const HELPER: Duration = Duration::from_secs(9);
        let ask = |script: &str, input: &[u8]| {
            let limit = Duration::from_millis(300);
            let variables = [("GREETING", OsStr::new("hello"))];
            let shell = Path::new("/bin/sh");
            let answer = ask(shell, &["-c", script], &variables, input, limit, 1000);
            answer
                .map(|answer| (answer.exit, String::from_utf8(answer.output).unwrap()))
                .map_err(|error| error.kind())
        };
        let said = ask("echo $GREETING; cat; exit 3", b"you");
        assert_eq!(said, Ok((Exit::Exited(3), "hello\nyou".to_owned())));
        assert_eq!(ask("exec sleep 600", b""), Err(io::ErrorKind::TimedOut));
        let closed = ask("exec >&-; exec sleep 600", b"");
        assert_eq!(closed, Err(io::ErrorKind::TimedOut));
        assert_eq!(ask("yes", b""), Err(io::ErrorKind::Other));
        assert!(super::ask(Path::new("/nowhere"), &[], &[], b"", HELPER, 1).is_err());
    }

    #[test]
    fn the_parent_of_a_process_is_read_whatever_its_name() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        assert!(parents().contains(&(me, parent)));
    }
}
