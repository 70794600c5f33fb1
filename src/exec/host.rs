//! This machine as the place where commands run.
//!
//! State lives in a private directory outside the source: the script of the command that is running, the variables and
//! the directory that the last one left. It goes away with the build.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, fchown,
    lchown,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::look::{self, EndState};
use super::shell::{self, StateFiles};
use super::{
    Cancel, Command, CommandEnd, Environment, Error, Escalation, Executor, ExpandFailure, Output,
    Session, Terminal, Work, work,
};
use crate::buildspec::model::Shell;
use crate::event::Exit;
use crate::ownership::OwnedDirectory;
use crate::process::{self, Process, Start};
use crate::user::{self, User};
use crate::view::Mount;

/// Largest variable that Linux passes to a process, with name and `=`, in bytes.
const MAX_VARIABLE: usize = 128 * 1024 - 1;

/// Bytes read from a command at once.
const CHUNK: usize = 64 * 1024;

/// Longest that processes have to end by themselves when the build they were left behind by is over (CMD-16).
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// How long a command is not given up on where no more files can be opened.
const PATIENCE_WITHOUT_FILES: Duration = Duration::from_secs(10);

/// Time between two attempts to start it.
const BETWEEN_STARTS: Duration = Duration::from_millis(50);

/// How long a killed process may take to be gone; one that hangs in the kernel longer is left behind.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// How many chunks of background output wait for a reader before the background process has to wait too.
const BACKGROUND_CHUNKS: usize = 16;

/// Runs commands on this machine, as the user who runs this program. Every process that comes from this one belongs to the
/// build and ends with it: one build a process.
#[derive(Clone, Debug)]
pub struct HostExecutor {
    /// Where the state directory is made: a directory that only this user can read what is in.
    pub temporary_directory: PathBuf,
    /// PATH on which shells are looked for: the caller's, whatever the build's variables say (C17).
    pub path: Option<OsString>,
    /// This program, to be started before commands that must not have a terminal, or are another user's.
    pub this_program: Option<PathBuf>,
    /// Whether there is a terminal that commands must not have (CMD-10).
    pub has_terminal: bool,
    /// Directories of the build's own, outside of its state, that belong to the user of the command that runs (CMD-17).
    pub users_directories: Vec<PathBuf>,
    /// The directory of the build's own that its sources are in, if it has one that is closed to others: the user of the
    /// command that runs may go through it (AGENT-98).
    pub entrance: Option<PathBuf>,
}

/// One build on this machine.
#[derive(Debug)]
pub struct HostSession {
    environment: Environment,
    program: PathBuf,
    this_program: Option<PathBuf>,
    has_terminal: bool,
    users_directories: Vec<PathBuf>,
    entrance: Option<PathBuf>,
    state: OwnedDirectory,
    /// Whom the last command ran as, if not as this process: what is in the state is that user's.
    user: Option<User>,
    script: PathBuf,
    env: PathBuf,
    next_env: PathBuf,
    next_dir: PathBuf,
    expanded: PathBuf,
    /// What is in `env.sh`, for the case that a command removes it.
    saved_env: Vec<u8>,
    /// Where the last command left.
    directory: OsString,
    succeeding: bool,
    background: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
    closed: bool,
}

impl Executor for HostExecutor {
    type Session = HostSession;

    const NAME: &'static str = "host";

    async fn open(&self, environment: Environment) -> Result<HostSession, Error> {
        let program = self.find_shell(&environment.shell)?;
        check_sizes(&environment.variables)?;
        fs::read_dir(&environment.source_directory).map_err(|source| Error::SourceDirectory {
            path: environment.source_directory.clone(),
            source,
        })?;
        process::adopt_orphans();
        let state = OwnedDirectory::make_in(&self.temporary_directory)
            .map_err(|source| no_state_directory(&self.temporary_directory, source))?;
        let file = |name: &str| state.path().join(name);
        let session = HostSession {
            program,
            this_program: self.this_program.clone(),
            has_terminal: self.has_terminal,
            users_directories: self.users_directories.clone(),
            entrance: self.entrance.clone(),
            user: None,
            script: file(shell::script_name(&environment.shell)),
            env: file("env.sh"),
            next_env: file("env.sh.next"),
            next_dir: file("dir.txt.next"),
            expanded: file("expanded"),
            saved_env: Vec::new(),
            directory: environment.source_directory.clone().into_os_string(),
            succeeding: true,
            background: mpsc::channel(BACKGROUND_CHUNKS),
            closed: false,
            state,
            environment,
        };
        write_file(&session.env, b"")?;
        Ok(session)
    }
}

impl HostExecutor {
    fn find_shell(&self, shell: &Shell) -> Result<PathBuf, Error> {
        let name = match shell {
            Shell::Cmd => {
                return Err(Error::ShellUnsupported {
                    shell: shell.name().to_owned(),
                });
            }
            Shell::Posix(_) | Shell::PowerShell => shell.name(),
        };
        let missing = || Error::ShellMissing {
            shell: name.to_owned(),
        };
        process::find_program(name, self.path.as_deref()).ok_or_else(missing)
    }
}

fn no_state_directory(path: &Path, source: io::Error) -> Error {
    Error::StateDirectory {
        path: path.to_owned(),
        source,
    }
}

/// Refuses variables that no process can be started with, by name, before a start fails without one.
fn check_sizes(variables: &[(OsString, OsString)]) -> Result<(), Error> {
    for (name, value) in variables {
        let size = name.len() + value.len() + 1;
        if cfg!(target_os = "linux") && size > MAX_VARIABLE {
            let name = name.to_string_lossy().into_owned();
            return Err(Error::VariableTooLarge {
                name,
                size,
                limit: MAX_VARIABLE,
            });
        }
    }
    Ok(())
}

/// Reads a file of at most so many bytes. What is no file, such as a FIFO, is not waited for.
fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut content = Vec::new();
    File::open(path)?
        .take(limit + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(content)
}

/// The user that `run-as` names here; `None` if this process is that user already.
pub fn find_user(name: &str) -> Result<Option<User>, Error> {
    let file = |path: &str| {
        let mut content = Vec::new();
        // A place without users is a place without that user.
        if let Ok(file) = File::open(path) {
            let _ = file.take(user::MAX_FILE).read_to_end(&mut content);
        }
        content
    };
    let found = user::find(name, &file("/etc/passwd"), &file("/etc/group"));
    let found = found.ok_or_else(|| Error::UnknownUser {
        user: name.to_owned(),
    })?;
    let own = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    Ok(Some(found).filter(|user| (user.uid, user.gid) != own))
}

/// Whether a user cannot go through a directory, as its rights say.
fn is_closed(directory: &Path, user: &User) -> bool {
    let Ok(found) = fs::metadata(directory) else {
        return false;
    };
    let needed = if found.uid() == user.uid {
        0o100
    } else if user.groups.contains(&found.gid()) {
        0o010
    } else {
        0o001
    };
    user.uid != 0 && found.mode() & needed == 0
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    fs::write(path, content).map_err(|source| Error::WriteState {
        path: path.to_owned(),
        source,
    })
}

impl Session for HostSession {
    async fn run(
        &mut self,
        command: Command<'_>,
        output: &Output,
        cancel: &mut Cancel,
    ) -> Result<CommandEnd, Error> {
        let user = command.user.map(find_user).transpose()?.flatten();
        self.succeeding = command.succeeding;
        let mut notes = Vec::new();
        self.restore_state(&mut notes)?;
        self.hand_state_to(user)?;
        let working_directory = self.working_directory(&mut notes)?;
        let shell = &self.environment.shell;
        let script = shell::script(
            shell,
            self.environment.version,
            &self.directory,
            command.succeeding,
            command.text,
            &self.files(),
        );
        let (exit, leaked) = self
            .run_script(&script, &working_directory, output, cancel)
            .await?;
        self.commit_state(&mut notes)?;
        Ok(CommandEnd {
            exit,
            leaked,
            notes,
        })
    }

    async fn read_file(&mut self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        match read_at_most(path, limit) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::ReadFile {
                path: path.to_owned(),
                source,
            }),
        }
    }

    async fn expand(
        &mut self,
        texts: &[&str],
        output: &Output,
        cancel: &mut Cancel,
    ) -> Result<Result<Vec<OsString>, ExpandFailure>, Error> {
        let dynamic: Vec<usize> = (0..texts.len())
            .filter(|&i| shell::needs_expansion(&self.environment.shell, texts[i]))
            .collect();
        let mut expanded: Vec<OsString> = texts.iter().map(OsString::from).collect();
        if dynamic.is_empty() {
            return Ok(Ok(expanded));
        }
        self.restore_state(&mut Vec::new())?;
        let Environment { shell, version, .. } = &self.environment;
        let asked: Vec<&str> = dynamic.iter().map(|&index| texts[index]).collect();
        let script = shell::expand_script(
            shell,
            *version,
            &self.directory,
            self.succeeding,
            &asked,
            &self.files(),
        );
        let working_directory = self.working_directory(&mut Vec::new())?;
        let (exit, _) = self
            .run_script(&script, &working_directory, output, cancel)
            .await?;
        let answers = self.take_answers()?;
        for (&index, place) in dynamic.iter().zip(0..) {
            match answers.get(place) {
                Some((Exit::Exited(0), text)) => expanded[index].clone_from(text),
                Some((failed, _)) => {
                    return Ok(Err(ExpandFailure {
                        index,
                        exit: *failed,
                    }));
                }
                // The shell gave up at this text: a quote or a parenthesis that is not closed.
                None => return Ok(Err(ExpandFailure { index, exit })),
            }
        }
        Ok(Ok(expanded))
    }

    async fn mentions(&mut self, name: &str) -> bool {
        let saved = self
            .saved_env
            .windows(name.len())
            .any(|window| window == name.as_bytes());
        saved
            || self
                .environment
                .variables
                .iter()
                .any(|(known, _)| known.as_bytes().starts_with(name.as_bytes()))
    }

    async fn bring(&mut self, _starts: &[PathBuf]) -> Result<Vec<Mount>, Error> {
        Ok(Vec::new())
    }

    async fn work(&mut self, work: Work, cancel: &mut Cancel) -> Result<Vec<u8>, Error> {
        self.work_for(work, None, cancel).await
    }

    async fn drain_background(&mut self, output: &Output) {
        while let Ok(chunk) = self.background.1.try_recv() {
            let _ = output.send(chunk).await;
        }
    }

    async fn enter(&mut self, terminal: &Terminal, cancel: &mut Cancel) -> Result<Exit, Error> {
        let failed = |source| Error::System {
            doing: "start a shell at the terminal",
            source,
        };
        self.restore_state(&mut Vec::new())?;
        let place = self.state.path().join("look");
        self.end_state().save(&place).map_err(failed)?;
        let shell = look::shell_of(&place, terminal.kind().map(OsStr::new)).map_err(failed)?;
        let device = Terminal::file().map_err(failed)?;
        let ended = tokio::select! {
            ended = process::interact(&shell, device) => ended.map_err(failed),
            Ok(_) = cancel.wait_for(|asked| *asked > Escalation::None) => Ok(Exit::Signalled(9)),
        };
        let _ = fs::remove_dir_all(&place);
        ended
    }

    async fn close(&mut self, output: &Output, cancel: &mut Cancel) -> usize {
        let grace = self.environment.grace.min(LEFT_BEHIND);
        let hurry = || *cancel.borrow() == Escalation::Kill;
        // Whoever is asked to end may have something to say first.
        let ended = tokio::select! {
            ended = process::end_descendants(grace, hurry) => ended,
            never = forward(&mut self.background.1, output) => match never {},
        };
        self.drain_background(output).await;
        let _ = fs::remove_dir_all(self.state.path());
        self.closed = true;
        ended
    }
}

impl Drop for HostSession {
    /// The last resort, where a build ends without [`Session::close`]: a panic, or a third signal.
    fn drop(&mut self) {
        if !self.closed {
            process::kill_descendants();
            let _ = fs::remove_dir_all(self.state.path());
        }
    }
}

impl HostSession {
    /// Has work done, where the files of the source are somebody's.
    pub(super) async fn work_for(
        &mut self,
        work: Work,
        owner: Option<(u32, u32)>,
        cancel: &mut Cancel,
    ) -> Result<Vec<u8>, Error> {
        work::here(work, &self.environment.source_directory, owner, cancel).await
    }

    /// What the last command left.
    pub(super) fn end_state(&self) -> EndState {
        EndState {
            shell: self.environment.shell.clone(),
            program: self.program.clone(),
            version: self.environment.version,
            variables: self.environment.variables.clone(),
            saved: self.saved_env.clone(),
            directory: self.directory.clone(),
            source_directory: self.environment.source_directory.clone(),
            succeeding: self.succeeding,
        }
    }

    fn files(&self) -> StateFiles<'_> {
        StateFiles {
            env: &self.env,
            next_env: &self.next_env,
            next_dir: &self.next_dir,
            expanded: &self.expanded,
        }
    }

    /// Where the shell process itself starts: the source directory, as CodeBuild's agent has it. The script then goes
    /// where the last command left; if that is gone, the command runs here, after the shell has said so (CMD-6).
    fn working_directory(&self, notes: &mut Vec<String>) -> Result<PathBuf, Error> {
        let here = &self.environment.source_directory;
        // Anywhere else, a command that clears its directory would clear somebody else's.
        fs::read_dir(here).map_err(|source| Error::SourceDirectory {
            path: here.clone(),
            source,
        })?;
        if !Path::new(&self.directory).is_dir() {
            let gone = Path::new(&self.directory).display();
            notes.push(format!(
                "the directory {gone} is gone: the command ran in {}",
                here.display()
            ));
        }
        Ok(here.clone())
    }

    /// Puts back what a command has removed: `rm -rf /tmp/*` does no harm to a build on CodeBuild either.
    fn restore_state(&mut self, notes: &mut Vec<String>) -> Result<(), Error> {
        if self.env.exists() && self.place().exists() {
            return Ok(());
        }
        let path = self.state.path();
        if !path.exists() {
            self.state = OwnedDirectory::make(path.to_owned())
                .map_err(|source| no_state_directory(path, source))?;
        }
        self.lay_out()?;
        notes.push(format!(
            "a command removed the build's own files in {}: they were put back",
            self.state.path().display()
        ));
        Ok(())
    }

    /// Where commands write to.
    fn place(&self) -> PathBuf {
        match self.user {
            None => self.state.path().to_owned(),
            Some(_) => self.state.path().join("user"),
        }
    }

    /// Makes the state that of another user (CMD-17). What the user before could write to is gone before the next one, or
    /// this process, uses a file of that name.
    fn hand_state_to(&mut self, user: Option<User>) -> Result<(), Error> {
        if self.user == user {
            return Ok(());
        }
        if self.user.is_some() {
            self.clear(fs::remove_dir_all(self.place()))?;
        }
        for file in [&self.script, &self.env] {
            self.clear(fs::remove_file(file))?;
        }
        self.user = user;
        let place = self.place();
        self.next_env = place.join("env.sh.next");
        self.next_dir = place.join("dir.txt.next");
        self.expanded = place.join("expanded");
        self.hand_over_directories()?;
        self.open_entrance()?;
        self.lay_out()
    }

    /// Gives the directories that go from user to user to the one whose command is next. What is in them stays whose it is.
    fn hand_over_directories(&self) -> Result<(), Error> {
        let owner = self.user.as_ref().map_or_else(
            || {
                let own = rustix::process::geteuid().as_raw();
                (own, rustix::process::getegid().as_raw())
            },
            |user| (user.uid, user.gid),
        );
        for path in &self.users_directories {
            // A command may have removed it, or put a link in its place.
            match lchown(path, Some(owner.0), Some(owner.1)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    let path = path.clone();
                    return Err(Error::WriteState { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets the user whose command is next through to the sources, by their group: nobody else gets there who knows the way,
    /// and the directory stays whose it is.
    fn open_entrance(&self) -> Result<(), Error> {
        let (Some(path), Some(user)) = (&self.entrance, &self.user) else {
            return Ok(());
        };
        chown(path, None, Some(user.gid))
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o710)))
            .map_err(|source| Error::WriteState {
                path: path.clone(),
                source,
            })?;
        let Some(closed) = path.ancestors().find(|place| is_closed(place, user)) else {
            return Ok(());
        };
        let why = format!(
            "{} is closed to the user of `run-as`: name another place with the agent's --state",
            closed.display()
        );
        Err(Error::SourceDirectory {
            path: self.environment.source_directory.clone(),
            source: io::Error::new(io::ErrorKind::PermissionDenied, why),
        })
    }

    fn clear(&self, removed: io::Result<()>) -> Result<(), Error> {
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::WriteState {
                path: self.state.path().to_owned(),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Makes what a command finds: its variables, and for another user a directory to write to. Others may go through the
    /// state directory to it, and read nothing on the way.
    fn lay_out(&self) -> Result<(), Error> {
        let failed = |path: &Path, source| Error::WriteState {
            path: path.to_owned(),
            source,
        };
        let mode = if self.user.is_some() { 0o711 } else { 0o700 };
        fs::set_permissions(self.state.path(), Permissions::from_mode(mode))
            .map_err(|source| failed(self.state.path(), source))?;
        if let Some(user) = &self.user {
            let place = self.place();
            let there = match fs::DirBuilder::new().mode(0o700).create(&place) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                created => created,
            };
            there
                .and_then(|()| chown(&place, Some(user.uid), Some(user.gid)))
                .map_err(|source| failed(&place, source))?;
        }
        self.write(&self.env, &self.saved_env)
    }

    /// Writes a file of the state directory that the user of the command can read, and nobody else.
    fn write(&self, path: &Path, content: &[u8]) -> Result<(), Error> {
        let Some(user) = &self.user else {
            return write_file(path, content);
        };
        let write = || {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true);
            let mut file = options.mode(0o600).open(path)?;
            file.write_all(content)?;
            fchown(&file, Some(user.uid), Some(user.gid))
        };
        write().map_err(|source| Error::WriteState {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads what a command wrote. Another user may have put anything there, in the hope that this process can read it.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let Some(user) = &self.user else {
            return fs::read(path);
        };
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let mut file: File = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        let found = file.metadata()?;
        if !found.is_file() || found.uid() != user.uid {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok(content)
    }

    async fn run_script(
        &mut self,
        script: &[u8],
        directory: &Path,
        output: &Output,
        cancel: &mut Cancel,
    ) -> Result<(Exit, bool), Error> {
        let (mut process, reader) = self.begin(script, directory, cancel).await?;
        let mut running = Running {
            reader: Some(reader),
            buffer: Vec::new(),
        };
        let exit = self.wait(&mut process, &mut running, output, cancel).await;
        running.drain(output).await;
        let leaked = process.group().is_alive();
        if let Some(reader) = running.reader {
            tokio::spawn(read_in_background(reader, self.background.0.clone()));
        }
        Ok((
            exit.map_err(|source| Error::System {
                doing: "wait for a command",
                source,
            })?,
            leaked,
        ))
    }

    /// Starts a script, also where no more files can be opened just now: what the command before it had open of this
    /// process may still be about to be closed (TOOL-52).
    async fn begin(
        &self,
        script: &[u8],
        directory: &Path,
        cancel: &Cancel,
    ) -> Result<(Process, pipe::Receiver), Error> {
        let mut patience = PATIENCE_WITHOUT_FILES;
        loop {
            let started = self
                .write(&self.script, script)
                .and_then(|()| self.start(directory));
            match started {
                Err(error)
                    if !patience.is_zero()
                        && is_out_of_files(&error)
                        && *cancel.borrow() == Escalation::None =>
                {
                    tokio::time::sleep(BETWEEN_STARTS).await;
                    patience = patience.saturating_sub(BETWEEN_STARTS);
                }
                started => return started,
            }
        }
    }

    fn start(&self, directory: &Path) -> Result<(Process, pipe::Receiver), Error> {
        let mut arguments: Vec<&OsStr> = shell::arguments(&self.environment.shell)
            .iter()
            .map(OsStr::new)
            .collect();
        arguments.push(self.script.as_os_str());
        let start = Start {
            program: &self.program,
            arguments,
            directory,
            variables: &self.environment.variables,
            leave_terminal: self.this_program.as_deref().filter(|_| self.has_terminal),
            user: self.user.as_ref().zip(self.this_program.as_deref()),
        };
        process::start(&start).map_err(|source| {
            if Errno::from_io_error(&source) == Some(Errno::TOOBIG) {
                return environment_too_large(&self.environment.variables);
            }
            let program = self.program.display().to_string();
            if Errno::from_io_error(&source) == Some(Errno::AGAIN) {
                return Error::TooManyProcesses {
                    program,
                    in_container: false,
                };
            }
            Error::Spawn { program, source }
        })
    }

    /// Passes output on until the shell has ended, and carries out what is asked of it meanwhile.
    async fn wait(
        &mut self,
        process: &mut Process,
        running: &mut Running,
        output: &Output,
        cancel: &mut Cancel,
    ) -> io::Result<Exit> {
        let group = process.group();
        let mut asked = Escalation::None;
        loop {
            let wanted = *cancel.borrow_and_update();
            if wanted > asked {
                asked = wanted;
                match asked {
                    Escalation::None => {}
                    Escalation::Terminate => group.terminate(),
                    Escalation::Kill => {
                        group.kill();
                        let end = tokio::time::timeout(AFTER_KILL, process.wait()).await;
                        return end.unwrap_or(Ok(Exit::Signalled(9)));
                    }
                }
            }
            tokio::select! {
                // In this order: what was written before the end is passed on before the end is noticed only by
                // `drain`, so a command that writes without pause still ends when it ends.
                biased;
                exit = process.wait() => return exit,
                Ok(()) = cancel.changed() => {}
                () = running.pass_on(output), if running.reader.is_some() => {}
                never = forward(&mut self.background.1, output) => match never {},
            }
        }
    }

    /// Makes the state that a command has just saved the state of the next one.
    ///
    /// Neither file: the command never came to its end (`exit`, `set -e`), and the state before it stands (CMD-7). One
    /// without the other: writing failed half-way, and going on would lose variables.
    fn commit_state(&mut self, notes: &mut Vec<String>) -> Result<(), Error> {
        if !self.state.path().exists() {
            let state = self.state.path().display();
            notes.push(format!("a command removed {state}, so the variables it set and the directory it left are lost"));
            return Ok(());
        }
        let lost = || Error::SaveState {
            directory: self.state.path().to_owned(),
        };
        let saved = match self.read(&self.next_dir) {
            Ok(saved) => saved,
            Err(_) if !self.next_env.exists() => return self.check_room(),
            Err(_) => return Err(lost()),
        };
        let Some(directory) = saved.strip_suffix(b"\n") else {
            return Err(lost());
        };
        let directory = OsString::from_vec(directory.to_vec());
        let saved = self.read(&self.next_env).map_err(|_| lost())?;
        let before = saved.len();
        self.saved_env = shell::without_own_variables(saved);
        if self.user.is_some() {
            // Whose place it is could exchange files in it meanwhile: what was read is what counts.
            self.write(&self.env, &self.saved_env)?;
            fs::remove_file(&self.next_env).map_err(|_| lost())?;
        } else {
            if self.saved_env.len() != before {
                write_file(&self.next_env, &self.saved_env)?;
            }
            fs::rename(&self.next_env, &self.env).map_err(|_| lost())?;
        }
        fs::remove_file(&self.next_dir).map_err(|_| lost())?;
        self.directory = directory;
        Ok(())
    }

    /// A file system without room for another file looks like a command that never came to its end. It is the same to the
    /// shell, but not to the build: what the command set would be lost without a word.
    fn check_room(&self) -> Result<(), Error> {
        let path = self.state.path().join("env.sh.next");
        let made = fs::write(&path, b"").and_then(|()| fs::remove_file(&path));
        made.map_err(|source| Error::WriteState { path, source })
    }

    /// What the expanding script wrote: pairs of status and text, each ended by NUL.
    fn take_answers(&self) -> Result<Vec<(Exit, OsString)>, Error> {
        let written = match self.read(&self.expanded) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(Error::WriteState {
                    path: self.expanded.clone(),
                    source,
                });
            }
        };
        let _ = fs::remove_file(&self.expanded);
        let mut fields = written.split(|byte| *byte == 0);
        let mut answers = Vec::new();
        while let (Some(status), Some(text)) = (fields.next(), fields.next()) {
            let status = std::str::from_utf8(status)
                .ok()
                .and_then(|status| status.parse().ok())
                .unwrap_or(1);
            answers.push((Exit::Exited(status), OsStr::from_bytes(text).to_owned()));
        }
        Ok(answers)
    }
}

/// Whether this process, or the system, has as many files open as it may have.
fn is_out_of_files(error: &Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source()).any(|error| {
        let number = error.downcast_ref().and_then(Errno::from_io_error);
        matches!(number, Some(Errno::MFILE | Errno::NFILE))
    })
}

fn environment_too_large(variables: &[(OsString, OsString)]) -> Error {
    let size = |(name, value): &(OsString, OsString)| name.len() + value.len() + 2;
    let largest = variables
        .iter()
        .max_by_key(|variable| size(variable))
        .map(|(name, _)| name);
    Error::EnvironmentTooLarge {
        size: variables.iter().map(size).sum(),
        largest: largest
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    }
}

/// The output of the command that is running.
struct Running {
    /// `None` once all of it was read: no process holds the other end any more.
    reader: Option<pipe::Receiver>,
    buffer: Vec<u8>,
}

impl Running {
    /// Waits for output and passes on what is there. May be dropped while it waits for output; not while it passes on,
    /// which is why the chunk is kept until the receiver has it.
    async fn pass_on(&mut self, output: &Output) {
        if self.buffer.is_empty() {
            let Some(reader) = &self.reader else { return };
            if reader.readable().await.is_err() {
                self.reader = None;
                return;
            }
            self.read();
        }
        if !self.buffer.is_empty()
            && let Ok(permit) = output.reserve().await
        {
            permit.send(std::mem::take(&mut self.buffer));
        }
    }

    /// Reads what is there into the buffer. False if there is nothing for now, or nothing any more.
    fn read(&mut self) -> bool {
        let Some(reader) = &self.reader else {
            return false;
        };
        let mut chunk = Vec::with_capacity(CHUNK);
        match reader.try_read_buf(&mut chunk) {
            Ok(0) => self.reader = None,
            Ok(_) => {
                self.buffer = chunk;
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.reader = None,
        }
        false
    }

    /// Passes on everything that was written up to now. A process that goes on writing in the background is cut off
    /// after one pipe's worth; its rest comes later.
    async fn drain(&mut self, output: &Output) {
        let mut drained = 0;
        loop {
            if !self.buffer.is_empty() {
                drained += self.buffer.len();
                if output.send(std::mem::take(&mut self.buffer)).await.is_err() {
                    return;
                }
            }
            if drained > MAX_DRAIN || !self.read() {
                return;
            }
        }
    }
}

/// More than any pipe holds: what a command's own shell wrote before its end is in the pipe, and no more than this.
const MAX_DRAIN: usize = 4 * 1024 * 1024;

/// Passes on what background processes write. May be dropped at any time and loses nothing: a chunk is taken only when
/// there is room for it.
async fn forward(
    background: &mut mpsc::Receiver<Vec<u8>>,
    output: &Output,
) -> std::convert::Infallible {
    loop {
        let chunk = match output.reserve().await {
            Ok(permit) => background.recv().await.map(|chunk| permit.send(chunk)),
            Err(_) => None,
        };
        if chunk.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

async fn read_in_background(reader: pipe::Receiver, output: mpsc::Sender<Vec<u8>>) {
    let mut running = Running {
        reader: Some(reader),
        buffer: Vec::new(),
    };
    while running.reader.is_some() && !output.is_closed() {
        running.pass_on(&output).await;
    }
}
