//! Programs that a person works with.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::becoming::TERMINAL_NAME;
use super::{Process, exit};
use crate::event::Exit;

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
