//! Where commands run.
//!
//! An [`Executor`] opens a [`Session`] for one build; the session runs its commands one after the other. There are two
//! real kinds of place, this machine and a container, and [`scripted`] for tests. What is common to all of them: the
//! wrapper around a command ([`shell`]), the state that is carried from one command to the next, and this contract:
//!
//! - `open` either gives a session or leaves nothing behind.
//! - `run` returns only after everything the command's shell wrote has been passed on. A process that was left in the
//!   background does not hold it; what such a process writes is passed on while later commands run.
//! - `run` returns soon after the cancellation reaches [`Escalation::Kill`], whatever the command does.
//! - `close` ends every process of the build and removes every file the session made. It may be called after any
//!   failure, and twice.
//! - Nothing here prints; nothing here knows phases.

pub mod container;
mod host;
pub mod look;
mod relay;
pub mod scripted;
pub mod shell;
mod terminal;
mod work;

pub use container::{ContainerExecutor, ContainerSession};
pub use host::{HostExecutor, HostSession, find_user};
pub use relay::relay;
pub use terminal::{PseudoTerminal, Raw, Terminal};
pub use work::{Work, WorkPlace, Worker};

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::buildspec::model::{Shell, Version};
use crate::event::Exit;
pub use crate::view::Mount;

/// What a session needs to know of its build.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Where the first command runs, and every command of version 0.1.
    pub source_directory: PathBuf,
    /// Directories of other sources.
    pub secondary_directories: Vec<PathBuf>,
    /// What runs the commands.
    pub shell: Shell,
    /// How commands share their state.
    pub version: Version,
    /// The variables of the first command.
    pub variables: Vec<(OsString, OsString)>,
    /// How long whoever is asked to end has at most.
    pub grace: Duration,
}

/// Where output goes: chunks of bytes, cut anywhere. Bounded, so that a slow reader slows the command down.
pub type Output = mpsc::Sender<Vec<u8>>;

/// How urgently a command is asked to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Escalation {
    /// Not at all.
    #[default]
    None,
    /// Asked to: TERM to its whole group.
    Terminate,
    /// Forced to: KILL to its whole group.
    Kill,
}

/// Tells a running command to end.
pub type Cancel = watch::Receiver<Escalation>;

/// A command that is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'c> {
    /// Its text.
    pub text: &'c str,
    /// What the command sees as `CODEBUILD_BUILD_SUCCEEDING` (PHASE-8).
    pub succeeding: bool,
    /// Whose it is, as `run-as` has it; `None` for whoever runs the session (CMD-17).
    pub user: Option<&'c str>,
}

/// A command that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandEnd {
    /// How its shell ended.
    pub exit: Exit,
    /// Whether it left processes behind.
    pub leaked: bool,
    /// What a person should know, such as a directory that is gone.
    pub notes: Vec<String>,
}

/// Why a text could not be expanded by the build shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandFailure {
    /// Which of the texts, from 0.
    pub index: usize,
    /// How the last command in it ended.
    pub exit: Exit,
}

/// Which builds' containers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None.
    #[default]
    Never,
    /// Those of builds that did not succeed.
    OnFailure,
    /// All.
    Always,
}

impl Keep {
    /// Whether a build that ended so is kept.
    #[must_use]
    pub const fn applies(self, succeeded: bool) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => !succeeded,
            Self::Always => true,
        }
    }
}

/// A place where builds can run.
pub trait Executor {
    /// What it opens.
    type Session: Session;

    /// Name for logs and events.
    const NAME: &'static str;

    /// Makes everything ready for the first command.
    fn open(&self, environment: Environment) -> impl Future<Output = Result<Self::Session, Error>>;

    /// Waits until what was begun for a session is gone that nobody waited for to the end; not for long.
    fn abandon(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }
}

/// An opened place, for one build.
pub trait Session {
    /// Runs one command to its end.
    fn run(
        &mut self,
        command: Command<'_>,
        output: &Output,
        cancel: &mut Cancel,
    ) -> impl Future<Output = Result<CommandEnd, Error>>;

    /// The content of a file, a path as commands see it; `None` if there is none. A file with more bytes than `limit` is an
    /// error.
    fn read_file(
        &mut self,
        path: &Path,
        limit: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Error>>;

    /// Expands texts in the state that the last command left, as its user, and as the build shell does inside double
    /// quotes (ART-8).
    /// What the texts' own commands write to standard error goes to `output`.
    fn expand(
        &mut self,
        texts: &[&str],
        output: &Output,
        cancel: &mut Cancel,
    ) -> impl Future<Output = Result<Result<Vec<OsString>, ExpandFailure>, Error>>;

    /// Whether a name occurs among the variables that the next command would see; a guess that errs on the side of yes.
    fn mentions(&mut self, name: &str) -> impl Future<Output = bool>;

    /// Makes files that commands left readable for this program, as its own user: those of the source, and those in or
    /// below `starts`, paths as commands see them. Gives where they are, if that is not where commands see them.
    fn bring(&mut self, starts: &[PathBuf]) -> impl Future<Output = Result<Vec<Mount>, Error>>;

    /// Has work of this program's own done where commands run, as whoever runs the session. Gives what the worker gave. When
    /// the cancellation is more than none, the work is told to end.
    fn work(
        &mut self,
        work: Work,
        cancel: &mut Cancel,
    ) -> impl Future<Output = Result<Vec<u8>, Error>>;

    /// Passes on what background processes wrote meanwhile, without waiting for more.
    fn drain_background(&mut self, output: &Output) -> impl Future<Output = ()>;

    /// Runs a shell for a person at the terminal, in the state that the last command left, until it ends or is told to.
    /// What is changed in it is not the build's: the next command begins with the same state all the same.
    fn enter(
        &mut self,
        terminal: &Terminal,
        cancel: &mut Cancel,
    ) -> impl Future<Output = Result<Exit, Error>>;

    /// Asks `close` to keep the place for a person to look at, where it can be kept.
    fn keep(&mut self) {}

    /// Asks `close` to leave what became of the sources where it is, because the build begins anew. Gives whether that is
    /// possible: whether this place has copies, and the sources are what they were.
    fn discard(&mut self) -> bool {
        false
    }

    /// Whether the place was kept: after `close`.
    fn is_kept(&self) -> bool {
        false
    }

    /// What a person should know and was not told yet, such as a file that did not come back: after `bring` and `close`.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Ends every process of the build and removes what the session made. Returns how many processes had to be ended.
    fn close(&mut self, output: &Output, cancel: &mut Cancel) -> impl Future<Output = usize>;
}

/// What went wrong with the place itself. A command that fails is no error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The private directory for scripts and state.
    #[error("could not make the build's state directory {}", path.display())]
    StateDirectory {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that has to be read.
    #[error("could not read {}", path.display())]
    ReadFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state directory went away or cannot be written any more.
    #[error("could not write {}", path.display())]
    WriteState {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A command's variables and directory could not be saved, so that the next command would run without them.
    #[error("could not save the variables and the directory that a command left, in {}", directory.display())]
    SaveState {
        /// The state directory.
        directory: PathBuf,
    },
    /// `run-as` names nobody. The build's own fault, not the place's.
    #[error("user: unknown user {user}")]
    UnknownUser {
        /// As the buildspec has it.
        user: String,
    },
    /// The buildspec's shell is not on this machine.
    #[error("there is no shell `{shell}`{}", if shell.contains('/') { "" } else { " on PATH" })]
    ShellMissing {
        /// Which shell.
        shell: String,
    },
    /// The buildspec's shell does not exist on this kind of machine.
    #[error("the shell `{shell}` exists on Windows only")]
    ShellUnsupported {
        /// Which shell.
        shell: String,
    },
    /// One variable is larger than the system passes to a process.
    #[error(
        "the variable `{name}` has {size} bytes; this system passes at most {limit} in one variable"
    )]
    VariableTooLarge {
        /// Which variable.
        name: String,
        /// Its size with name and `=`, in bytes.
        size: usize,
        /// The system's limit, in bytes.
        limit: usize,
    },
    /// All variables together are larger than the system passes to a process.
    #[error(
        "the environment has {size} bytes, more than this system passes to a process; the largest variable is `{largest}`"
    )]
    EnvironmentTooLarge {
        /// Size of all variables, in bytes.
        size: usize,
        /// Name of the largest.
        largest: String,
    },
    /// The source directory cannot be entered.
    #[error("could not enter the source directory {}", path.display())]
    SourceDirectory {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The shell could not be started.
    #[error("could not start {program}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The system has a limit of processes, and as many of them.
    #[error("could not start {program}: there are as many processes as there may be{}", if *in_container { " in the container" } else { "" })]
    TooManyProcesses {
        /// The program.
        program: String,
        /// Whether that is a container's own limit.
        in_container: bool,
    },
    /// The container engine.
    #[error(transparent)]
    Engine(#[from] crate::engine::Error),
    /// The build image.
    #[error("could not use the image {image}: {reason}")]
    Image {
        /// Which image.
        image: String,
        /// Why, in the engine's or the registry's words.
        reason: String,
        /// What to do about it, where that is known.
        help: Option<String>,
    },
    /// What is to be mounted is not there.
    #[error("could not mount the volume `{volume}`: there is no {path} where the engine is")]
    Volume {
        /// As it was asked for.
        volume: String,
        /// Its source.
        path: String,
    },
    /// The buildspec's shell is not in the build image.
    #[error("there is no shell `{shell}` in the image {image}")]
    ImageWithoutShell {
        /// Which image.
        image: String,
        /// Which shell.
        shell: String,
    },
    /// The image's entry point ended before the build began.
    #[error("the entry point of the image {image} ended with status {status} instead of running what it was given{}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    EntryPoint {
        /// Which image.
        image: String,
        /// Its exit status.
        status: i64,
        /// What it wrote last.
        said: String,
    },
    /// The container ended while the build ran.
    #[error("Build container found dead before completing the build: {reason}")]
    FoundDead {
        /// Why, as far as it is known.
        reason: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// Something in the container, in its own words.
    #[error("{message}")]
    InContainer {
        /// What.
        message: String,
    },
    /// A pipe, or waiting for a process.
    #[error("could not {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}
