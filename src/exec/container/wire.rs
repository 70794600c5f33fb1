//! What this program says to itself across the wall of a container.
//!
//! One pair of pipes carries any number of streams (yamux). The first one is the conversation about commands; every
//! other one is opened from inside, for a tool that needs something from outside ([`Streams::accept`]).
//!
//! A message of the conversation is a head in JSON and a tail of bytes: output, variables and paths need not be text.
//!
//! ```text
//! u32 length of the head │ u32 length of the tail │ head │ tail        big-endian
//! ```

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use yamux::{Config, Connection, ConnectionError, Mode};

use crate::event::Exit;
use crate::exec::{CommandEnd, Error, Escalation, ExpandFailure};

/// Longest head or tail: a command, or all variables of a build.
const MAX_PART: usize = 64 * 1024 * 1024;

/// Streams that wait to be accepted; a tool that opens more waits itself.
const WAITING_STREAMS: usize = 16;

/// What is asked of the session inside.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Be ready for the first command. Tail: the variables.
    Open {
        /// The source directory inside.
        source_directory: PathBuf,
        /// Those of other sources.
        secondary_directories: Vec<PathBuf>,
        /// Name of the shell.
        shell: String,
        /// `0.1` or `0.2`.
        version: String,
        /// How long whoever is asked to end has at most, in milliseconds.
        grace_milliseconds: u64,
        /// Who called this program outside: user and group.
        owner: (u32, u32),
        /// Whether the sources are copies: then nothing in them is anybody's else.
        copied: bool,
        /// What there is of runner's own.
        offers: Offers,
        /// What these directories are outside, in their order, where they have to be the same inside.
        same: Option<Vec<DirectoryFacts>>,
    },
    /// Run a command. Tail: its text.
    Run {
        /// `CODEBUILD_BUILD_SUCCEEDING`
        succeeding: bool,
        /// Whose it is.
        user: Option<String>,
    },
    /// Read a file.
    Read {
        /// Which.
        path: PathBuf,
        /// Most bytes that it may have.
        limit: u64,
    },
    /// Expand texts. Tail: the texts, each ended by NUL.
    Expand,
    /// Whether a variable may be known.
    Mentions {
        /// Its name.
        name: String,
    },
    /// Pass on what background processes wrote.
    Drain,
    /// Give the files of the sources back to their owner.
    HandOver,
    /// List a directory and what there is below it: directories, files and links, as far as they are on its own file system.
    /// They come as output, in parts: what each is and its path relative to the directory, both ended by NUL. What is no
    /// directory is not listed.
    List {
        /// Which.
        directory: PathBuf,
    },
    /// Have work of this program's own done. Tail: what is asked. Bytes of [`Request::Body`] go in, output comes out.
    Work,
    /// A piece of what goes in. Tail: the bytes. There is no answer to it.
    Body,
    /// The end of what goes in. There is no answer to it.
    BodyEnd,
    /// Write down what the last command left, for a shell.
    SaveState,
    /// End everything.
    Close {
        /// Whether the container stays.
        keep: bool,
    },
    /// How urgently the command that runs is asked to end: 1 asked, 2 forced.
    Escalate(u8),
}

/// What a build in a container is offered of runner's own.
#[expect(clippy::struct_excessive_bools, reason = "each is an offer by itself")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// `aws`, `docker` and Docker's credential helper.
    pub tools: bool,
    /// An endpoint for AWS's credentials on loopback.
    pub credentials: bool,
    /// Git's credential helper.
    pub git: bool,
    /// A debug session.
    pub debug: bool,
}

/// What a stream is for that is opened from inside: its first byte says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A tool wants something from outside.
    Tool,
    /// Somebody asks the endpoint for AWS's credentials.
    Credentials,
    /// A command of a debug session (TOOL-33).
    Debug,
}

impl Purpose {
    const fn byte(self) -> u8 {
        match self {
            Self::Tool => b't',
            Self::Credentials => b'c',
            Self::Debug => b'd',
        }
    }

    /// Says what a stream is for.
    pub(super) async fn say(self, stream: &mut TunnelStream) -> io::Result<()> {
        stream.write_all(&[self.byte()]).await?;
        stream.flush().await
    }

    /// What a stream is for, as the other side says: once, before anything else is read.
    ///
    /// # Errors
    ///
    /// The other side is gone, or not of this version.
    pub async fn hear(stream: &mut TunnelStream) -> io::Result<Self> {
        let byte = stream.read_u8().await?;
        let all = [Self::Tool, Self::Credentials, Self::Debug];
        let meant = all.into_iter().find(|purpose| purpose.byte() == byte);
        meant.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// By what one and the same directory is known on both sides of a mount. Not by its device: some file systems have one of
/// their own in each place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DirectoryFacts {
    inode: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// When the directory itself was changed last, in seconds and nanoseconds: nobody can set it.
    changed: (i64, i64),
}

impl DirectoryFacts {
    /// Those of a directory; `None` if it cannot be looked at.
    pub(super) fn of(directory: &Path) -> Option<Self> {
        let found = std::fs::metadata(directory).ok()?;
        Some(Self {
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// What the session inside answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Bytes that the build wrote. Tail: the bytes. Any number of them stand before the answer itself.
    Output,
    /// Ready for the first command.
    Opened,
    /// A source directory is not the one that it has to be. Nothing was done to it.
    Elsewhere,
    /// A command is over.
    Ended {
        exit: WireExit,
        leaked: bool,
        notes: Vec<String>,
    },
    /// A file is read. Tail: its content.
    Content,
    /// There is no such file.
    NoFile,
    /// Texts are expanded. Tail: the texts, each ended by NUL.
    Expanded,
    /// A text could not be expanded.
    NotExpanded { index: usize, exit: WireExit },
    /// Work is done. Tail: what the worker gave.
    Worked,
    /// Whether it is.
    Mentioned(bool),
    /// Done.
    Done,
    /// Everything is ended; so many processes had to be.
    Closed(usize),
    /// It could not be done.
    Failed(WireError),
}

/// How a shell ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum WireExit {
    Exited(i32),
    Signalled(i32),
    Unknown,
}

impl From<Exit> for WireExit {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Exited(code) => Self::Exited(code),
            Exit::Signalled(signal) => Self::Signalled(signal),
            Exit::Unknown => Self::Unknown,
        }
    }
}

impl From<WireExit> for Exit {
    fn from(exit: WireExit) -> Self {
        match exit {
            WireExit::Exited(code) => Self::Exited(code),
            WireExit::Signalled(signal) => Self::Signalled(signal),
            WireExit::Unknown => Self::Unknown,
        }
    }
}

impl WireExit {
    pub(super) fn ended(end: CommandEnd) -> Answer {
        Answer::Ended {
            exit: end.exit.into(),
            leaked: end.leaked,
            notes: end.notes,
        }
    }

    pub(super) fn not_expanded(failure: &ExpandFailure) -> Answer {
        Answer::NotExpanded {
            index: failure.index,
            exit: failure.exit.into(),
        }
    }
}

/// What went wrong inside: what has a remedy of its own keeps its kind.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WireError {
    ShellMissing {
        shell: String,
    },
    ShellUnsupported {
        shell: String,
    },
    VariableTooLarge {
        name: String,
        size: usize,
        limit: usize,
    },
    EnvironmentTooLarge {
        size: usize,
        largest: String,
    },
    UnknownUser {
        user: String,
    },
    TooManyProcesses {
        program: String,
    },
    Other(String),
}

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        match error {
            Error::ShellMissing { shell } => Self::ShellMissing { shell },
            Error::UnknownUser { user } => Self::UnknownUser { user },
            Error::TooManyProcesses { program, .. } => Self::TooManyProcesses { program },
            Error::ShellUnsupported { shell } => Self::ShellUnsupported { shell },
            Error::VariableTooLarge { name, size, limit } => {
                Self::VariableTooLarge { name, size, limit }
            }
            Error::EnvironmentTooLarge { size, largest } => {
                Self::EnvironmentTooLarge { size, largest }
            }
            other => {
                let cause = std::error::Error::source(&other)
                    .map(|cause| format!(": {cause}"))
                    .unwrap_or_default();
                Self::Other(format!("{other}{cause}"))
            }
        }
    }
}

impl WireError {
    /// The error outside, where it happened in this image.
    pub(super) fn into_error(self, image: &str) -> Error {
        match self {
            Self::ShellMissing { shell } => Error::ImageWithoutShell {
                image: image.to_owned(),
                shell,
            },
            Self::ShellUnsupported { shell } => Error::ShellUnsupported { shell },
            Self::VariableTooLarge { name, size, limit } => {
                Error::VariableTooLarge { name, size, limit }
            }
            Self::EnvironmentTooLarge { size, largest } => {
                Error::EnvironmentTooLarge { size, largest }
            }
            Self::UnknownUser { user } => Error::UnknownUser { user },
            Self::TooManyProcesses { program } => Error::TooManyProcesses {
                program,
                in_container: true,
            },
            Self::Other(message) => Error::InContainer { message },
        }
    }
}

/// How urgent an escalation is, as a number.
pub(super) const fn urgency(escalation: Escalation) -> u8 {
    match escalation {
        Escalation::None => 0,
        Escalation::Terminate => 1,
        Escalation::Kill => 2,
    }
}

/// The escalation of a number.
pub(super) const fn escalation(urgency: u8) -> Escalation {
    match urgency {
        0 => Escalation::None,
        1 => Escalation::Terminate,
        _ => Escalation::Kill,
    }
}

/// Texts, each ended by NUL: no path, no variable and no expanded text has one.
pub(super) fn join<'t>(texts: impl IntoIterator<Item = &'t OsStr>) -> Vec<u8> {
    let mut joined = Vec::new();
    for text in texts {
        joined.extend_from_slice(text.as_bytes());
        joined.push(0);
    }
    joined
}

/// The texts that were joined.
pub(super) fn split(joined: &[u8]) -> Vec<OsString> {
    let mut texts: Vec<OsString> = joined
        .split(|byte| *byte == 0)
        .map(|text| OsString::from_vec(text.to_vec()))
        .collect();
    texts.pop();
    texts
}

/// A variable as `NAME=value`.
pub(super) fn assignment((name, value): &(OsString, OsString)) -> OsString {
    let mut text = name.clone();
    text.push("=");
    text.push(value);
    text
}

/// The variable of a `NAME=value`.
pub(super) fn variable(assignment: &OsStr) -> (OsString, OsString) {
    let bytes = assignment.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=');
    let (name, value) = at.map_or((bytes, &b""[..]), |at| (&bytes[..at], &bytes[at + 1..]));
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    (text(name), text(value))
}

/// Sends one message.
pub(super) async fn send<W: AsyncWrite + Unpin>(
    to: &mut W,
    head: &impl Serialize,
    tail: &[u8],
) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let mut message = Vec::with_capacity(8 + head.len() + tail.len());
    for part in [&head[..], tail] {
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        message.extend_from_slice(&length.to_be_bytes());
    }
    message.extend_from_slice(&head);
    message.extend_from_slice(tail);
    to.write_all(&message).await?;
    to.flush().await
}

/// Receives one message; `None` if the other side is gone. Not to be dropped half-way.
pub(super) async fn receive<R: AsyncRead + Unpin, H: DeserializeOwned>(
    from: &mut R,
) -> io::Result<Option<(H, Vec<u8>)>> {
    let head = match from.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let tail = from.read_u32().await?;
    let head = part(from, head).await?;
    let tail = part(from, tail).await?;
    Ok(Some((serde_json::from_slice(&head)?, tail)))
}

async fn part<R: AsyncRead + Unpin>(from: &mut R, length: u32) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    if length > MAX_PART {
        return Err(io::Error::other("a message is longer than any can be"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// One stream of a connection.
pub type TunnelStream = Compat<yamux::Stream>;

/// The streams of one connection. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Streams {
    wanted: mpsc::Sender<oneshot::Sender<TunnelStream>>,
    /// As many as the connection may have: whoever opened one that is not accepted yet waits.
    opened: mpsc::UnboundedReceiver<TunnelStream>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Streams {
    /// The side that began the connection.
    pub(super) fn outside<S>(socket: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::start(socket, Mode::Client)
    }

    /// The side inside the container.
    pub(super) fn inside<S>(socket: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::start(socket, Mode::Server)
    }

    fn start<S>(socket: S, mode: Mode) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut config = Config::default();
        // Output comes in chunks of this size.
        config.set_split_send_size(64 * 1024);
        let connection = Connection::new(socket.compat(), config, mode);
        let (wanted, wishes) = mpsc::channel(WAITING_STREAMS);
        let (arrived, opened) = mpsc::unbounded_channel();
        Self {
            wanted,
            opened,
            driver: tokio::spawn(drive(connection, wishes, arrived)),
        }
    }

    /// What opens streams.
    pub(super) fn opener(&self) -> Opener {
        Opener(self.wanted.clone())
    }

    /// The next stream that the other side opens; `None` if the connection is gone.
    pub(super) async fn accept(&mut self) -> Option<TunnelStream> {
        self.opened.recv().await
    }
}

/// Opens streams of a connection.
#[derive(Clone, Debug)]
pub(super) struct Opener(mpsc::Sender<oneshot::Sender<TunnelStream>>);

impl Opener {
    /// A new stream; `None` if the connection is gone.
    pub(super) async fn open(&self) -> Option<TunnelStream> {
        let (reply, stream) = oneshot::channel();
        self.0.send(reply).await.ok()?;
        stream.await.ok()
    }
}

/// Moves the connection's bytes until it ends.
async fn drive<S>(
    mut connection: Connection<Compat<S>>,
    mut wishes: mpsc::Receiver<oneshot::Sender<TunnelStream>>,
    arrived: mpsc::UnboundedSender<TunnelStream>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut wish: Option<oneshot::Sender<TunnelStream>> = None;
    loop {
        let next = std::future::poll_fn(|context| {
            use std::task::Poll;
            if wish.is_none()
                && let Poll::Ready(Some(wanted)) = wishes.poll_recv(context)
            {
                wish = Some(wanted);
            }
            if wish.is_some()
                && let Poll::Ready(opened) = connection.poll_new_outbound(context)
            {
                return Poll::Ready(Next::Outbound(opened));
            }
            connection.poll_next_inbound(context).map(Next::Inbound)
        });
        match next.await {
            Next::Outbound(Ok(stream)) => {
                if let Some(wish) = wish.take() {
                    let _ = wish.send(stream.compat());
                }
            }
            Next::Inbound(Some(Ok(stream))) => {
                // The connection has to move on whether anybody accepts or not. Nothing is dropped for it: whoever asks for
                // something in there would be told that nobody is here (TOOL-51).
                let _ = arrived.send(stream.compat());
            }
            Next::Outbound(Err(_)) | Next::Inbound(Some(Err(_)) | None) => return,
        }
    }
}

enum Next {
    Outbound(Result<yamux::Stream, ConnectionError>),
    Inbound(Option<Result<yamux::Stream, ConnectionError>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_being_joined() {
        for texts in [vec![], vec![""], vec!["a", "", "b=c\nd"]] {
            let texts: Vec<&OsStr> = texts.into_iter().map(OsStr::new).collect();
            assert_eq!(split(&join(texts.clone())), texts);
        }
        let pair = (OsString::from("A"), OsString::from("b=c"));
        assert_eq!(variable(&assignment(&pair)), pair);
    }

    /// CTR-15: one directory is the same by any way to it; another one is not, though it has the same in it.
    #[test]
    fn a_directory_is_known_by_its_facts() {
        let place = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| place.path().join(name));
        for directory in [&one, &other] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("file"), "").unwrap();
        }
        let facts = DirectoryFacts::of(&one).unwrap();
        assert_eq!(Some(&facts), DirectoryFacts::of(&one.join(".")).as_ref());
        assert_ne!(Some(&facts), DirectoryFacts::of(&other).as_ref());
        let newer = DirectoryFacts {
            changed: (facts.changed.0 + 1, 0),
            ..facts.clone()
        };
        assert_ne!(facts, newer);
        assert_eq!(None, DirectoryFacts::of(&place.path().join("none")));
    }

    /// TOOL-51
    #[tokio::test]
    async fn a_stream_that_nobody_has_accepted_yet_waits() {
        const MANY: usize = 200;
        let (one, other) = tokio::io::duplex(1000);
        let (mut outside, inside) = (Streams::outside(one), Streams::inside(other));
        let opener = inside.opener();
        let mut waiting = Vec::new();
        for number in 0..MANY {
            let mut stream = opener.open().await.unwrap();
            let request = Request::Mentions {
                name: number.to_string(),
            };
            send(&mut stream, &request, &[]).await.unwrap();
            waiting.push(stream);
        }
        for number in 0..MANY {
            let mut stream = outside.accept().await.unwrap();
            let got: Option<(Request, Vec<u8>)> = receive(&mut stream).await.unwrap();
            let Some((Request::Mentions { name }, _)) = got else {
                panic!("{number}: {got:?}");
            };
            assert_eq!(name, number.to_string());
        }
    }

    #[tokio::test]
    async fn messages_and_streams_cross_in_both_directions() {
        let (one, other) = tokio::io::duplex(1000);
        let (outside, mut inside) = (Streams::outside(one), Streams::inside(other));
        let mut asking = outside.opener().open().await.unwrap();
        let tail = vec![7; 3_000_000];
        let answering = tokio::spawn(async move {
            let mut stream = inside.accept().await.unwrap();
            let got: Option<(Request, Vec<u8>)> = receive(&mut stream).await.unwrap();
            let (head, tail) = got.unwrap();
            assert!(matches!(
                head,
                Request::Run {
                    succeeding: true,
                    user: None
                }
            ));
            send(&mut stream, &Answer::Output, &tail).await.unwrap();
            // The other side is gone: no message, and no error.
            let end: Option<(Request, Vec<u8>)> = receive(&mut stream).await.unwrap();
            assert!(end.is_none());
        });
        let run = Request::Run {
            succeeding: true,
            user: None,
        };
        send(&mut asking, &run, &tail).await.unwrap();
        let got: Option<(Answer, Vec<u8>)> = receive(&mut asking).await.unwrap();
        let (head, echoed) = got.unwrap();
        assert!(matches!(head, Answer::Output) && echoed == tail);
        drop((asking, outside));
        answering.await.unwrap();
    }
}
