//! Programs that a person works with.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
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

/// A program to be started with the directory and the variables of an interactive one: itself, or what becomes it.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
fn command(program: &Path, interactive: &Interactive) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    let variables = interactive.variables.iter();
    command
        .current_dir(&interactive.directory)
        .env_clear()
        .envs(variables.map(|(name, value)| (name, value)));
    command
}

/// The same with its input and output at a terminal.
fn at_terminal(terminal: std::fs::File, mut command: std::process::Command) -> io::Result<Command> {
    command
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal);
    Ok(Command::from(command))
}

/// Runs a program at this process's terminal until it ends; dropped before, it is ended by force. It is in the group of
/// this process, which has the terminal, and makes one of its own if it wants to, as shells do.
pub async fn interact(interactive: &Interactive, terminal: std::fs::File) -> io::Result<Exit> {
    let mut command = command(&interactive.program, interactive);
    command.args(&interactive.arguments);
    let mut command = at_terminal(terminal, command)?;
    command.kill_on_drop(true);
    command.spawn()?.wait().await.map(exit)
}

/// Starts a program at a terminal of its own, in a session of its own; `helper` is this program, to be started in between as
/// [`TERMINAL_NAME`].
pub fn start_at_terminal(
    interactive: &Interactive,
    terminal: std::fs::File,
    helper: &Path,
) -> io::Result<Process> {
    let mut command = command(helper, interactive);
    command
        .arg0(TERMINAL_NAME)
        .arg(&interactive.program)
        .args(&interactive.arguments);
    Process::of(at_terminal(terminal, command)?.spawn()?)
}

/// Becomes a program that a person works with. Returns only if that fails.
#[must_use]
pub fn become_interactive(interactive: &Interactive) -> io::Error {
    let mut command = command(&interactive.program, interactive);
    command.args(&interactive.arguments).exec()
}
