//! The person's end: a terminal that shows a shell where a command waits.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use super::{Request, Screen, Size, say};
use crate::exec::Terminal;
use crate::tool::wire::{self, Frame};

/// How long a build may take to say what waits in it.
const LIMIT: Duration = Duration::from_secs(2);

/// How a visit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visited {
    /// The shell ended, with this status.
    Ended(u8),
    /// The command went on, or was ended.
    Over,
    /// There was no shell: why.
    Refused(String),
}

/// What waits in a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The build: `project:uuid`.
    pub build: String,
    /// How many of its commands wait at breakpoints.
    pub breakpoints: usize,
}

/// What waits in the build whose debug session is at this socket.
pub async fn look(socket: &Path) -> io::Result<Waiting> {
    let looking = async {
        let mut stream = UnixStream::connect(socket).await?;
        say(&mut stream, &Request::Look).await?;
        match wire::read(&mut stream).await? {
            Some(Frame::Request(json)) => Ok(serde_json::from_slice(&json)?),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let found = tokio::time::timeout(LIMIT, looking).await;
    found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A shell where a command of the build waits whose debug session is at this socket, until it ends.
pub async fn visit(socket: &Path, terminal: &Terminal) -> io::Result<Visited> {
    let mut stream = UnixStream::connect(socket).await?;
    say(&mut stream, &Request::Visit(Screen::of(terminal))).await?;
    show(stream, terminal).await
}

impl Screen {
    /// That of a terminal.
    pub(super) fn of(terminal: &Terminal) -> Self {
        Self {
            kind: terminal.kind().map(str::to_owned),
            size: size_of(terminal),
        }
    }
}

fn size_of(terminal: &Terminal) -> Option<Size> {
    let (rows, columns) = terminal.size()?;
    Some(Size { rows, columns })
}

/// Shows what comes and sends what is typed, until the other end says that it is over.
pub(super) async fn show<S>(stream: S, terminal: &Terminal) -> io::Result<Visited>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from, mut to) = tokio::io::split(stream);
    let _raw = terminal.raw()?;
    let mut sizes = signal(SignalKind::window_change())?;
    let showing = async {
        let mut refusal = Vec::new();
        loop {
            match wire::read(&mut from).await {
                Ok(Some(Frame::Stdout(shown))) => terminal.write(&shown).await?,
                Ok(Some(Frame::Stderr(why))) => refusal.extend_from_slice(&why),
                Ok(Some(Frame::Exit(code))) if refusal.is_empty() => {
                    return Ok(Visited::Ended(code));
                }
                Ok(Some(Frame::Exit(_))) => {
                    let why = String::from_utf8_lossy(&refusal).into_owned();
                    return Ok(Visited::Refused(why));
                }
                Ok(_) | Err(_) => return Ok(Visited::Over),
            }
        }
    };
    let typing = async {
        let mut keys = [0; 4096];
        loop {
            let sent = tokio::select! {
                read = terminal.read(&mut keys) => match read {
                    Ok(read) if read > 0 => {
                        let typed = bytes::Bytes::copy_from_slice(&keys[..read]);
                        wire::write(&mut to, Frame::Body(typed)).await
                    }
                    // The terminal is gone.
                    _ => break,
                },
                _ = sizes.recv() => match size_of(terminal) {
                    Some(size) => say(&mut to, &size).await,
                    None => Ok(()),
                },
            };
            if sent.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        shown = showing => shown,
        () = typing => Ok(Visited::Over),
    }
}
