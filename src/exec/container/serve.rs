//! The inside of the wall: this program in the container, which runs commands there as it does on a host.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::facts::Facts;
use super::owners::{self, Owners, for_each_below};
use super::session::PULSE;
use super::wire::{
    self, Answer, DirectoryFacts, Opener, Request, Streams, TunnelStream, WireError, WireExit,
};
use super::{KEPT_DIRECTORY, MORE_PROCESSES, READY_FILE, STATE_DIRECTORY, memory_of, tools};
use crate::buildspec::model::{Shell, Version};
use crate::exec::host::find_user;
use crate::exec::{
    Command, Environment, Error, Escalation, Executor as _, HostExecutor, HostSession,
    Session as _, Work, Worker,
};
use crate::user::User;

/// Chunks of output that wait for the way out.
const OUTPUT_CHUNKS: usize = 16;

/// From this size on, in bytes, a part of a list is sent.
const LIST_PART: usize = 64 * 1024;

/// Longest wait for the image's entry point to run what it was given. Those of AWS's images start a Docker daemon first.
const ENTRY_POINT_LIMIT: Duration = Duration::from_mins(2);

/// The container's first process, or what the image's entry point runs: says that it is there, and waits for the end.
pub async fn hold() -> io::Result<()> {
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut children = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())?;
    let pid = rustix::process::getpid().as_raw_nonzero();
    let new = format!("{READY_FILE}.new");
    fs::write(&new, pid.to_string())?;
    fs::rename(&new, READY_FILE)?;
    loop {
        tokio::select! {
            _ = end.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // As the first process of a container it inherits what others leave behind.
            _ = children.recv() => crate::process::clear_ended(),
        }
    }
}

/// Becomes the shell of a build whose container was kept, or that waits for its end. Returns only if that fails.
/// `variables` are those of the exec.
#[must_use]
pub fn look(variables: &[(OsString, OsString)]) -> io::Error {
    let kind = variables.iter().find(|(name, _)| name == "TERM");
    let kind = kind.map(|(_, value)| value.as_os_str());
    crate::exec::look::become_shell(Path::new(KEPT_DIRECTORY), kind)
}

/// The session: answers what is asked on standard input, on standard output, until the build ends or whoever asks is
/// gone. `variables` are those of the container, `worker` does what is no command.
pub async fn serve(variables: Vec<(OsString, OsString)>, worker: Worker) -> io::Result<()> {
    let socket = tokio::io::join(standard_input()?, standard_output()?);
    let mut streams = Streams::inside(socket);
    let Some(conversation) = streams.accept().await else {
        return Ok(());
    };
    let (requests, answers) = tokio::io::split(conversation);
    let mut server = Server::new(requests, answers, variables, streams.opener(), worker);
    let ended = server.serve().await;
    server.leave().await;
    ended
}

fn standard_input() -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)
}

fn standard_output() -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)
}

struct Server {
    /// The way out for tools.
    outside: Opener,
    requests: mpsc::Receiver<(Request, Vec<u8>)>,
    /// Ends whoever reads requests.
    reader: tokio::task::JoinHandle<()>,
    answers: WriteHalf<TunnelStream>,
    variables: Vec<(OsString, OsString)>,
    session: Option<HostSession>,
    /// Directories of sources, that of the primary one first.
    source_directories: Vec<PathBuf>,
    /// Whose what is in them was, where they are the caller's own and no copies.
    owners: Arc<Owners>,
    /// Who the files of the primary source belong to.
    owner: (u32, u32),
    /// Whom the last command ran as, if not as root.
    user: Option<User>,
    /// The container outlives the build.
    kept: bool,
    cancel: watch::Sender<Escalation>,
    worker: Worker,
}

impl Server {
    fn new(
        requests: ReadHalf<TunnelStream>,
        answers: WriteHalf<TunnelStream>,
        variables: Vec<(OsString, OsString)>,
        outside: Opener,
        worker: Worker,
    ) -> Self {
        let (received, next) = mpsc::channel(1);
        let cancel = watch::channel(Escalation::None).0;
        Self {
            outside,
            requests: next,
            reader: tokio::spawn(read(requests, received, cancel.clone())),
            answers,
            variables,
            session: None,
            source_directories: Vec::new(),
            owners: Arc::default(),
            owner: (0, 0),
            user: None,
            kept: false,
            cancel,
            worker,
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        while let Some((request, tail)) = self.requests.recv().await {
            // What is left of work that ended before all had come in.
            if matches!(request, Request::Body | Request::BodyEnd) {
                continue;
            }
            let (answer, tail) = self.answer(request, &tail).await;
            wire::send(&mut self.answers, &answer, &tail).await?;
        }
        Ok(())
    }

    /// Whoever asked is gone, or the build is over: nothing goes on in here.
    async fn leave(&mut self) {
        self.reader.abort();
        if let Some(mut session) = self.session.take() {
            let (output, _) = mpsc::channel(1);
            self.cancel.send_replace(Escalation::Kill);
            session.close(&output, &mut self.cancel.subscribe()).await;
            let _ = self.owners.hand_over();
        }
        if self.kept {
            return;
        }
        let pid = fs::read_to_string(READY_FILE).ok();
        let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?));
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    async fn answer(&mut self, request: Request, tail: &[u8]) -> (Answer, Vec<u8>) {
        let answer = match request {
            Request::Open {
                source_directory,
                secondary_directories,
                shell,
                version,
                grace_milliseconds,
                owner,
                copied,
                offers,
                same,
            } => {
                // Before anything is done to it: at the end its files are given to the caller.
                let mut directories = vec![source_directory.clone()];
                directories.extend(secondary_directories.iter().cloned());
                if same.is_some_and(|same| facts(&directories) != Some(same)) {
                    return (Answer::Elsewhere, Vec::new());
                }
                let mut environment = Environment {
                    source_directory,
                    secondary_directories,
                    shell: Shell::parse(&shell).unwrap_or_default(),
                    version: Version::parse(&version).unwrap_or(Version::V0_2),
                    variables: self.variables(tail),
                    grace: Duration::from_millis(grace_milliseconds),
                };
                let variables = &mut environment.variables;
                if let Err(error) = tools::offer(offers, variables, &self.outside).await {
                    let message =
                        format!("could not put what is runner's own into the container: {error}");
                    return (Answer::Failed(WireError::Other(message)), Vec::new());
                }
                self.owner = owners::owner_of(&environment.source_directory, owner, maps_users());
                self.source_directories = directories;
                self.open(environment, (!copied).then_some(owner)).await
            }
            Request::Run { succeeding, user } => self.run(succeeding, user, tail).await,
            Request::Read { path, limit } => return self.read_file(&path, limit).await,
            Request::Expand => return self.expand(tail).await,
            Request::Mentions { name } => match &mut self.session {
                Some(session) => Ok(Answer::Mentioned(session.mentions(&name).await)),
                None => Err(not_open()),
            },
            Request::Drain => self.drain().await,
            Request::HandOver => {
                let owners = Arc::clone(&self.owners);
                let handed = self.at_it(move |_| owners.hand_over()).await;
                handed.map(|()| Answer::Done).map_err(|error| {
                    WireError::Other(format!("could not give files back to their owner: {error}"))
                })
            }
            Request::List { directory } => {
                let listed = self.at_it(move |paths| list(&directory, paths)).await;
                listed.map(|()| Answer::Done).map_err(|error| {
                    WireError::Other(format!(
                        "could not read what there is in the container: {error}"
                    ))
                })
            }
            Request::Work => return self.work(tail.to_vec()).await,
            Request::SaveState => self.save_state().map(|()| Answer::Done),
            Request::Close { keep } => {
                let saved = if keep { self.save_state() } else { Ok(()) };
                let closed = self.close().await;
                let _ = self.owners.hand_over();
                self.kept = keep && saved.is_ok();
                saved.map(|()| closed)
            }
            // Heard by whoever reads requests.
            Request::Escalate(_) | Request::Body | Request::BodyEnd => Ok(Answer::Done),
        };
        (answer.unwrap_or_else(Answer::Failed), Vec::new())
    }

    /// The container's variables, and over them those of the plan.
    fn variables(&self, tail: &[u8]) -> Vec<(OsString, OsString)> {
        let planned: Vec<(OsString, OsString)> = wire::split(tail)
            .iter()
            .map(|text| wire::variable(text))
            .collect();
        let mut variables = self.variables.clone();
        variables.retain(|(name, _)| planned.iter().all(|(other, _)| other != name));
        variables.extend(planned);
        variables
    }

    /// Makes everything ready for the first command. `caller` is whose the sources are, unless they are copies.
    async fn open(
        &mut self,
        environment: Environment,
        caller: Option<(u32, u32)>,
    ) -> Result<Answer, WireError> {
        let (output, chunks) = mpsc::channel(OUTPUT_CHUNKS);
        let directories = self.source_directories.clone();
        // While the container's first process starts.
        let looking = beside(move || match caller {
            Some(caller) => Owners::of(&directories, caller, maps_users()),
            None => Ok(Owners::default()),
        });
        let ready = async {
            await_entry_point().await?;
            looking
                .await
                .map_err(io::Error::other)
                .and_then(|owners| owners)
                .map_err(|error| {
                    WireError::Other(format!(
                        "could not see whose the files of the source are: {error}"
                    ))
                })
        };
        let ready = passing_on(alive(ready, output), chunks, &mut self.answers);
        self.owners = Arc::new(ready.await?);
        let path = environment
            .variables
            .iter()
            .find(|(name, _)| name == "PATH");
        let executor = HostExecutor {
            temporary_directory: PathBuf::from(STATE_DIRECTORY),
            path: path.map(|(_, value)| value.clone()),
            this_program: crate::process::this_program(),
            users_directories: Vec::new(),
            entrance: None,
            has_terminal: false,
        };
        self.session = Some(executor.open(environment).await?);
        Ok(Answer::Opened)
    }

    async fn run(
        &mut self,
        succeeding: bool,
        user: Option<String>,
        text: &[u8],
    ) -> Result<Answer, WireError> {
        let text = String::from_utf8_lossy(text).into_owned();
        self.open_source_to(user.as_deref())?;
        let command = Command {
            text: &text,
            succeeding,
            user: user.as_deref(),
        };
        let session = self.session.as_mut().ok_or_else(not_open)?;
        let mut cancel = self.cancel.subscribe();
        let (output, chunks) = mpsc::channel(OUTPUT_CHUNKS);
        let before = Wants::now();
        let end = passing_on(
            session.run(command, &output, &mut cancel),
            chunks,
            &mut self.answers,
        );
        let mut end = end.await?;
        end.notes.extend(Wants::now().since(before));
        Ok(WireExit::ended(end))
    }

    /// CodeBuild's agent lets whoever `run-as` names read the source and run what is in it (CMD-17).
    fn open_source_to(&mut self, name: Option<&str>) -> Result<(), WireError> {
        let user = name.map(find_user).transpose()?.flatten();
        if self.user != user {
            if let Some(user) = &user {
                let mut granted = self.source_directories.iter();
                granted
                    .try_for_each(|directory| grant(directory, user))
                    .map_err(|error| {
                        let name = name.unwrap_or_default();
                        WireError::Other(format!("could not let {name} read the source: {error}"))
                    })?;
            }
            self.user = user;
        }
        Ok(())
    }

    async fn read_file(&mut self, path: &Path, limit: u64) -> (Answer, Vec<u8>) {
        let Some(session) = self.session.as_mut() else {
            return (Answer::Failed(not_open()), Vec::new());
        };
        match session.read_file(path, limit).await {
            Ok(Some(content)) => (Answer::Content, content),
            Ok(None) => (Answer::NoFile, Vec::new()),
            Err(error) => (Answer::Failed(error.into()), Vec::new()),
        }
    }

    async fn expand(&mut self, tail: &[u8]) -> (Answer, Vec<u8>) {
        let Some(session) = self.session.as_mut() else {
            return (Answer::Failed(not_open()), Vec::new());
        };
        let texts = wire::split(tail);
        let texts: Vec<&str> = texts.iter().filter_map(|text| text.to_str()).collect();
        let mut cancel = self.cancel.subscribe();
        let (output, chunks) = mpsc::channel(OUTPUT_CHUNKS);
        let expanded = passing_on(
            session.expand(&texts, &output, &mut cancel),
            chunks,
            &mut self.answers,
        );
        match expanded.await {
            Ok(Ok(texts)) => {
                let texts = texts.iter().map(OsString::as_os_str);
                (Answer::Expanded, wire::join(texts))
            }
            Ok(Err(failure)) => (WireExit::not_expanded(&failure), Vec::new()),
            Err(error) => (Answer::Failed(error.into()), Vec::new()),
        }
    }

    async fn drain(&mut self) -> Result<Answer, WireError> {
        let session = self.session.as_mut().ok_or_else(not_open)?;
        let (output, chunks) = mpsc::channel(OUTPUT_CHUNKS);
        passing_on(session.drain_background(&output), chunks, &mut self.answers).await;
        Ok(Answer::Done)
    }

    /// Does something with files that may take long, and passes on what it writes. Whoever asked sees that it goes on.
    async fn at_it(
        &mut self,
        work: impl FnOnce(&mpsc::Sender<Vec<u8>>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let (output, chunks) = mpsc::channel(OUTPUT_CHUNKS);
        let written = output.clone();
        let working = tokio::task::spawn_blocking(move || work(&written));
        let ended = passing_on(alive(working, output), chunks, &mut self.answers);
        ended.await.map_err(io::Error::other)?
    }

    /// Has work done: hands on what comes in and what goes out, both at once.
    async fn work(&mut self, job: Vec<u8>) -> (Answer, Vec<u8>) {
        let Some(session) = self.session.as_mut() else {
            return (Answer::Failed(not_open()), Vec::new());
        };
        let (incoming, input) = mpsc::channel(OUTPUT_CHUNKS);
        let (output, mut outgoing) = mpsc::channel(OUTPUT_CHUNKS);
        let work = Work {
            worker: self.worker,
            job,
            input,
            output: output.clone(),
        };
        let mut cancel = self.cancel.subscribe();
        let working = alive(
            session.work_for(work, Some(self.owner), &mut cancel),
            output,
        );
        tokio::pin!(working);
        let mut incoming = Some(incoming);
        let mut piece: Option<Vec<u8>> = None;
        let done = loop {
            let wanted = incoming.clone().filter(|_| piece.is_some());
            let room = async {
                match wanted {
                    Some(incoming) => incoming.reserve_owned().await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(chunk) = outgoing.recv() => {
                    let _ = wire::send(&mut self.answers, &Answer::Output, &chunk).await;
                }
                done = &mut working => break done,
                permit = room => match (permit, piece.take()) {
                    (Some(permit), Some(piece)) => drop(permit.send(piece)),
                    // The worker wants no more.
                    _ => incoming = None,
                },
                request = self.requests.recv(), if piece.is_none() && incoming.is_some() => match request {
                    Some((Request::Body, bytes)) => piece = Some(bytes),
                    _ => incoming = None,
                },
            }
        };
        while let Ok(chunk) = outgoing.try_recv() {
            let _ = wire::send(&mut self.answers, &Answer::Output, &chunk).await;
        }
        match done {
            Ok(answer) => (Answer::Worked, answer),
            Err(error) => (Answer::Failed(error.into()), Vec::new()),
        }
    }

    fn save_state(&self) -> Result<(), WireError> {
        let session = self.session.as_ref().ok_or_else(not_open)?;
        let saved = session.end_state().save(Path::new(KEPT_DIRECTORY));
        saved.map_err(|error| {
            WireError::Other(format!("could not write down the build's state: {error}"))
        })
    }

    async fn close(&mut self) -> Answer {
        let Some(mut session) = self.session.take() else {
            return Answer::Closed(0);
        };
        let mut cancel = self.cancel.subscribe();
        let (output, chunks) = mpsc::channel(OUTPUT_CHUNKS);
        let ended = passing_on(
            session.close(&output, &mut cancel),
            chunks,
            &mut self.answers,
        );
        Answer::Closed(ended.await)
    }
}

/// Hands on requests one by one; what is urgent takes effect at once. When nobody asks any more, what runs is ended.
async fn read(
    mut requests: ReadHalf<TunnelStream>,
    received: mpsc::Sender<(Request, Vec<u8>)>,
    cancel: watch::Sender<Escalation>,
) {
    while let Ok(Some((request, tail))) = wire::receive(&mut requests).await {
        if let Request::Escalate(urgency) = request {
            cancel.send_replace(wire::escalation(urgency));
        } else if received.send((request, tail)).await.is_err() {
            return;
        }
    }
    cancel.send_replace(Escalation::Kill);
}

/// Carries work on and sends what it writes out meanwhile.
async fn passing_on<T>(
    work: impl Future<Output = T>,
    mut chunks: mpsc::Receiver<Vec<u8>>,
    answers: &mut WriteHalf<TunnelStream>,
) -> T {
    tokio::pin!(work);
    let result = loop {
        tokio::select! {
            biased;
            Some(chunk) = chunks.recv() => {
                // Nobody listens any more: the work is told by whoever reads requests.
                let _ = wire::send(answers, &Answer::Output, &chunk).await;
            }
            result = &mut work => break result,
        }
    };
    while let Ok(chunk) = chunks.try_recv() {
        let _ = wire::send(answers, &Answer::Output, &chunk).await;
    }
    result
}

/// Gives a sign of life now and then while something is done: output of no bytes.
async fn alive<T>(work: impl Future<Output = T>, output: mpsc::Sender<Vec<u8>>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(PULSE) => drop(output.try_send(Vec::new())),
        }
    }
}

fn not_open() -> WireError {
    WireError::Other("no build is open".to_owned())
}

/// Does what may take a while on a thread of its own; where there may be no more threads, here and now: a limit on processes
/// is said when a command meets it, not before.
fn beside<T: Send + 'static>(
    work: impl Fn() -> T + Send + Sync + 'static,
) -> tokio::sync::oneshot::Receiver<T> {
    let work = Arc::new(work);
    let (done, result) = tokio::sync::oneshot::channel();
    let theirs = Arc::clone(&work);
    let started = std::thread::Builder::new().spawn(move || drop(done.send(theirs())));
    if started.is_ok() {
        return result;
    }
    let (done, result) = tokio::sync::oneshot::channel();
    let _ = done.send(work());
    result
}

/// Waits until the image's entry point has run [`hold`].
async fn await_entry_point() -> Result<(), WireError> {
    let ready = async {
        while !Path::new(READY_FILE).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(ENTRY_POINT_LIMIT, ready)
        .await
        .map_err(|_| {
            WireError::Other(
                "the image's entry point did not run the command it was given".to_owned(),
            )
        })
}

/// What directories are; `None` if one cannot be looked at.
fn facts(directories: &[PathBuf]) -> Option<Vec<DirectoryFacts>> {
    let facts = directories
        .iter()
        .map(|directory| DirectoryFacts::of(directory));
    facts.collect()
}

/// Writes what is below a directory, and the directory itself, in parts: facts, NUL, the path relative to it, NUL. What no
/// copy of it has is left out: pipes, sockets and devices.
fn list(directory: &Path, paths: &mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    match fs::symlink_metadata(directory) {
        Ok(found) if found.is_dir() => {}
        // The source may be something else by now.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut part = Vec::new();
    for_each_below(directory, |path, found| {
        let relative = path.strip_prefix(directory).unwrap_or(path);
        if let Some(facts) = Facts::of(found) {
            let facts = OsString::from(facts.write());
            part.extend_from_slice(&wire::join([facts.as_os_str(), relative.as_os_str()]));
        }
        if part.len() < LIST_PART {
            return Ok(());
        }
        send_part(paths, std::mem::take(&mut part))
    })?;
    send_part(paths, part)
}

fn send_part(paths: &mpsc::Sender<Vec<u8>>, part: Vec<u8>) -> io::Result<()> {
    paths.blocking_send(part).map_err(io::Error::other)
}

/// Lets a user read the source and run what can be run in it: gives them what their rights do not reach. Others keep their
/// rights, and at the end all of it goes back to its owner.
fn grant(directory: &Path, user: &User) -> io::Result<()> {
    for_each_below(directory, |path, found| {
        if reaches(found, user) {
            return Ok(());
        }
        match lchown(path, Some(user.uid), None) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
}

/// Whether a user may read a file, and run or enter it if anybody may.
fn reaches(found: &fs::Metadata, user: &User) -> bool {
    if !found.is_dir() && !found.is_file() {
        return true;
    }
    let wanted = if found.mode() & 0o111 == 0 { 0o4 } else { 0o5 };
    let shift = if found.uid() == user.uid {
        // A file that its owner may not read is nobody's to read.
        return true;
    } else if user.groups.contains(&found.gid()) {
        3
    } else {
        0
    };
    (found.mode() >> shift) & wanted == wanted
}

/// How often a limit of the container was in the way, as far as the system tells.
#[derive(Clone, Copy)]
struct Wants {
    /// Processes that were ended for want of memory.
    memory: u64,
    /// Processes and threads that could not be started.
    processes: u64,
}

impl Wants {
    fn now() -> Self {
        // The second version of control groups, and the first one.
        Self {
            memory: counted(
                "oom_kill ",
                [
                    "/sys/fs/cgroup/memory.events",
                    "/sys/fs/cgroup/memory/memory.oom_control",
                ],
            ),
            processes: counted(
                "max ",
                [
                    "/sys/fs/cgroup/pids.events",
                    "/sys/fs/cgroup/pids/pids.events",
                ],
            ),
        }
    }

    /// What to say of a command that ran meanwhile.
    fn since(self, before: Self) -> impl Iterator<Item = String> {
        let memory = (self.memory > before.memory).then(|| {
            let (whose, help) = memory_of(limits_memory());
            format!(
                "{whose} ran out of memory while this command ran, and the system ended a process of the build: {help}"
            )
        });
        let processes = (self.processes > before.processes).then(|| {
            format!(
                "the container had as many processes as it may have, and this command could not start another: {MORE_PROCESSES}"
            )
        });
        memory.into_iter().chain(processes)
    }
}

/// Whether this container has a limit of memory of its own. Where that cannot be told it has none.
fn limits_memory() -> bool {
    // The first version of control groups writes the largest number there is, in whole pages, for none.
    const NONE: u64 = 1 << 62;
    let files = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limits = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    limits
        .filter_map(|limit| limit.trim().parse::<u64>().ok())
        .any(|limit| limit < NONE)
}

/// The sum of the numbers behind a word in such of these files as there are.
fn counted(word: &str, files: [&str; 2]) -> u64 {
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    texts
        .flat_map(|text| {
            let counts = text.lines().filter_map(|line| line.strip_prefix(word));
            counts
                .filter_map(|count| count.parse::<u64>().ok())
                .collect::<Vec<u64>>()
        })
        .sum()
}

/// Whether users in here are others outside. Whoever is user 0 in here need not be outside: an engine without root, or with user
/// namespaces, maps users.
fn maps_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_whitespace();
    !(fields.next() == Some("0") && fields.next() == Some("0"))
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> Self {
        let error: Error = error.into_error("");
        Self::other(error.to_string())
    }
}
