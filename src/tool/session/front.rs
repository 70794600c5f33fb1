//! The command's end: waits where the build called it, and starts shells there.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Request, Screen, ShellOrder, Size, say};
use crate::buildspec::model::Shell;
use crate::event::Exit;
use crate::exec::{PseudoTerminal, shell};
use crate::process::{self, Interactive, Process};
use crate::tool::wire::{self, Frame};

/// How long the runner may take to hear a request.
const LIMIT: Duration = Duration::from_secs(30);

/// How long what a shell has shown may take to arrive after its end: others may have its terminal still.
const AFTER_END: Duration = Duration::from_millis(200);

/// Bytes of a terminal that travel at once.
const CHUNK: usize = 16 * 1024;

/// Where a command of the build is.
#[derive(Clone, Debug)]
pub struct Here {
    /// Its directory.
    pub directory: PathBuf,
    /// All of its variables.
    pub variables: Vec<(OsString, OsString)>,
    /// This program, which gives a shell its terminal ([`process::TERMINAL_NAME`]).
    pub this_program: Option<PathBuf>,
}

/// Waits until the build's debug session lets this command go. What went wrong is said in words.
pub async fn pause(socket: &Path, here: Here) -> Result<(), String> {
    let stream = connect(socket).await?;
    wait(stream, socket, here).await
}

/// The same, at a connection.
pub(super) async fn wait(stream: UnixStream, socket: &Path, here: Here) -> Result<(), String> {
    let (mut orders, mut requests) = tokio::io::split(stream);
    say(&mut requests, &Request::Wait)
        .await
        .map_err(|error| gone(&error))?;
    let here = Arc::new(here);
    // Dropped with this: shells whose command goes on are over.
    let mut shells = JoinSet::new();
    let (goes_on, going_on) = watch::channel(false);
    loop {
        match wire::read(&mut orders).await {
            Ok(Some(Frame::Exit(_))) => {
                let _ = goes_on.send(true);
                // Each passes on what it has shown.
                let shown = async { while shells.join_next().await.is_some() {} };
                let _ = tokio::time::timeout(AFTER_END, shown).await;
                return Ok(());
            }
            Ok(Some(Frame::Request(json))) => {
                let order: ShellOrder =
                    serde_json::from_slice(&json).map_err(|error| gone(&error.into()))?;
                let shell = serve_shell(
                    socket.to_owned(),
                    order,
                    Arc::clone(&here),
                    going_on.clone(),
                );
                shells.spawn(shell);
            }
            Ok(_) => return Err(gone(&io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(gone(&error)),
        }
    }
}

/// Lets every command of the build go on that waits. What went wrong is said in words.
pub async fn resume(socket: &Path) -> Result<(), String> {
    let mut stream = connect(socket).await?;
    let asking = async {
        say(&mut stream, &Request::GoOn).await?;
        match wire::read(&mut stream).await? {
            Some(Frame::Exit(0)) => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let asked = tokio::time::timeout(LIMIT, asking).await;
    asked
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| gone(&error))
}

async fn connect(socket: &Path) -> Result<UnixStream, String> {
    UnixStream::connect(socket).await.map_err(|error| {
        format!(
            "the runner of this build cannot be reached at {}: {error}",
            socket.display()
        )
    })
}

fn gone(error: &io::Error) -> String {
    format!("the runner of this build does not answer any more: {error}")
}

/// Starts a shell, and connects it with its visitor until either ends or the command goes on.
async fn serve_shell(
    socket: PathBuf,
    order: ShellOrder,
    here: Arc<Here>,
    going_on: watch::Receiver<bool>,
) {
    let Ok(mut stream) = UnixStream::connect(&socket).await else {
        return;
    };
    let visit = order.visit;
    if say(&mut stream, &Request::Shell { visit }).await.is_err() {
        return;
    }
    let (from, mut to) = tokio::io::split(stream);
    let (terminal, shell) = match start(&order, &here) {
        Ok(started) => started,
        Err(error) => {
            let text = format!(
                "could not start {} where the command waits: {error}",
                order.shell
            );
            let _ = wire::write(&mut to, Frame::Stderr(text.into())).await;
            let _ = wire::write(&mut to, Frame::Exit(1)).await;
            return;
        }
    };
    if let Some(exit) = join(terminal, shell, (from, &mut to), going_on).await {
        let _ = wire::write(&mut to, Frame::Exit(exit)).await;
    }
}

/// Starts the build's shell at a terminal of its own.
fn start(order: &ShellOrder, here: &Here) -> io::Result<(PseudoTerminal, Process)> {
    let Screen { kind, size } = &order.screen;
    let shell = Shell::parse(&order.shell).unwrap_or_default();
    let variable = |name: &str| {
        let found = here.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_os_str())
    };
    let program = process::find_program(&order.shell, variable("PATH"));
    let program = program.ok_or(io::ErrorKind::NotFound)?;
    let arguments = shell::for_a_person(&shell, &program);
    let mut variables = here.variables.clone();
    if let (Some(kind), None) = (kind, variable("TERM")) {
        variables.push(("TERM".into(), kind.into()));
    }
    let (terminal, file) = PseudoTerminal::open(size.map(|size| (size.rows, size.columns)))?;
    let interactive = Interactive {
        program,
        arguments: arguments.iter().map(OsString::from).collect(),
        directory: here.directory.clone(),
        variables,
    };
    let helper = here.this_program.as_deref();
    let helper = helper.ok_or_else(|| io::Error::other("this program cannot find itself"))?;
    let shell = process::start_at_terminal(&interactive, file, helper)?;
    Ok((terminal, shell))
}

/// Passes on what is typed and shown. The shell's exit code; `None` if its visitor left or the command goes on.
async fn join(
    terminal: PseudoTerminal,
    mut shell: Process,
    (mut from, to): (impl AsyncRead + Unpin, &mut (impl AsyncWrite + Unpin)),
    mut going_on: watch::Receiver<bool>,
) -> Option<u8> {
    let typing = async {
        loop {
            match wire::read(&mut from).await {
                Ok(Some(Frame::Body(keys))) => terminal.write(&keys).await.ok()?,
                Ok(Some(Frame::Request(json))) => {
                    let size: Size = serde_json::from_slice(&json).ok()?;
                    terminal.resize(size.rows, size.columns);
                }
                _ => return None::<()>,
            }
        }
    };
    tokio::pin!(typing);
    let mut buffer = vec![0; CHUNK];
    let mut ended: Option<(u8, Instant)> = None;
    loop {
        let limit = ended.map_or_else(Instant::now, |(_, limit)| limit);
        tokio::select! {
            read = terminal.read(&mut buffer) => match read {
                Ok(read) if read > 0 => show(to, &buffer[..read]).await?,
                // Nobody has the other side any more.
                _ => break,
            },
            exit = shell.wait(), if ended.is_none() => {
                ended = Some((code(exit.ok()), Instant::now() + AFTER_END));
            }
            () = tokio::time::sleep_until(limit), if ended.is_some() => break,
            _ = &mut typing => return None,
            () = goes_on(&mut going_on) => break,
        }
    }
    // What stands on the screen by now is its visitor's, however late this process comes to read it. Others may have the
    // terminal still, and never end.
    let until = Instant::now() + AFTER_END;
    while Instant::now() < until
        && let Ok(read @ 1..) = terminal.read_now(&mut buffer)
    {
        show(to, &buffer[..read]).await?;
    }
    match ended {
        Some((code, _)) => Some(code),
        None if *going_on.borrow() => None,
        None => Some(code(shell.wait().await.ok())),
    }
}

/// Passes on what was shown; nothing if nobody takes it.
async fn show(to: &mut (impl AsyncWrite + Unpin), shown: &[u8]) -> Option<()> {
    let shown = bytes::Bytes::copy_from_slice(shown);
    wire::write(to, Frame::Stdout(shown)).await.ok()
}

/// Until the command goes on.
async fn goes_on(going_on: &mut watch::Receiver<bool>) {
    let _ = going_on.wait_for(|goes_on| *goes_on).await;
}

/// A status as shells give it on.
fn code(exit: Option<Exit>) -> u8 {
    match exit {
        Some(Exit::Exited(code)) => u8::try_from(code).unwrap_or(255),
        Some(Exit::Signalled(signal)) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
        Some(Exit::Unknown) | None => 255,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_shells() {
        for (exit, expected) in [
            (Some(Exit::Exited(9)), 9),
            (Some(Exit::Exited(999)), 255),
            (Some(Exit::Signalled(9)), 137),
            (None, 255),
        ] {
            assert_eq!(code(exit), expected);
        }
    }
}
