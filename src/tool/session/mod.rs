//! `codebuild-breakpoint` and `codebuild-resume` (TOOL-30 to TOOL-39). Without a debug session they do nothing, as on CodeBuild.
//!
//! # Three ends
//!
//! - The **front** ([`pause`], [`resume`]) is the command of the build: it waits where it is called, and starts a shell there for
//!   whoever visits. So the shell has that command's variables, directory and user, on a host as in a container, and nothing has to
//!   be carried there.
//! - The **back** ([`DebugSession`]) is in the runner: it knows what waits, tells the build ([`News`]), and leads visitors to fronts.
//! - The **visitor** ([`mod@visit`]) is at a terminal: the build's own, or that of `runner shell`.
//!
//! # What travels
//!
//! Connections to one socket, of the frames that tools have (`tool`). The first is a request in JSON.
//!
//! | request | from | then |
//! | --- | --- | --- |
//! | `Wait` | front | orders in JSON: a shell for a visit; at last an exit code: the command goes on |
//! | `Shell` | front, for one visit | what a visitor gets and sends |
//! | `GoOn` | front | an exit code |
//! | `Look` | visitor | JSON on what waits, an exit code |
//! | `Visit` | visitor | keys (`b`) and sizes (`q`) go in, what the shell shows (`o`) and its exit code (`x`) come out |
//!
//! A visit that ends without an exit code ended because the command went on, or was ended.

mod back;
mod front;
mod visit;

use std::ffi::OsStr;
use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;

use super::wire::{self, Frame};

pub use back::{DebugSession, News};
pub use front::{Here as CommandPlace, pause, resume};
pub use visit::{Visited, Waiting, look, visit};

/// A command of debug sessions that this program can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionCommand {
    /// `codebuild-breakpoint`
    Breakpoint,
    /// `codebuild-resume`
    Resume,
}

impl SessionCommand {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Breakpoint, Self::Resume];

    /// The command of a name that this program was called by.
    #[must_use]
    pub fn named(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|command| name == command.name())
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Breakpoint => "codebuild-breakpoint",
            Self::Resume => "codebuild-resume",
        }
    }
}

/// The first frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Request {
    /// A command waits until it is let go.
    Wait,
    /// This is the shell of a visit.
    Shell {
        /// Which.
        visit: u64,
    },
    /// Let everything go on that waits.
    GoOn,
    /// Say what waits.
    Look,
    /// Lead me to a shell where a command waits.
    Visit(Screen),
}

/// A visitor's terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Screen {
    /// `TERM`
    kind: Option<String>,
    /// How large it is; none if it does not say.
    size: Option<Size>,
}

/// Rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Size {
    rows: u16,
    columns: u16,
}

/// What a front that waits is told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ShellOrder {
    visit: u64,
    screen: Screen,
    /// The build's shell, by its name or path.
    shell: String,
}

/// Sends something as JSON.
async fn say(stream: &mut (impl AsyncWrite + Unpin), what: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(what).map_err(io::Error::other)?;
    wire::write(stream, Frame::Request(json.into())).await
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    /// What waits longer is not to come.
    const LIMIT: std::time::Duration = std::time::Duration::from_mins(1);

    /// A session that is served at a socket.
    fn served() -> (
        tempfile::TempDir,
        PathBuf,
        DebugSession,
        tokio::sync::mpsc::UnboundedReceiver<News>,
    ) {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let (session, news) = DebugSession::new("p:1".to_owned(), "sh".to_owned());
        let serving = session.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let session = serving.clone();
                tokio::spawn(async move { session.serve(stream, true).await });
            }
        });
        (place, socket, session, news)
    }

    fn here() -> CommandPlace {
        CommandPlace {
            directory: "/".into(),
            variables: vec![("PATH".into(), "/usr/bin:/bin".into())],
            this_program: None,
        }
    }

    // TOOL-33, TOOL-36
    #[tokio::test]
    async fn what_waits_goes_on_when_it_is_let_go() {
        let (_place, socket, _session, mut news) = served();
        // Nothing waits: nothing is done.
        assert_eq!(resume(&socket).await, Ok(()));
        let at = socket.clone();
        let waiting = tokio::spawn(async move { pause(&at, here()).await });
        assert_eq!(news.recv().await, Some(News::Reached { number: 1 }));
        let found = look(&socket).await.unwrap();
        assert_eq!((found.build.as_str(), found.breakpoints), ("p:1", 1));
        assert_eq!(resume(&socket).await, Ok(()));
        assert_eq!(waiting.await.unwrap(), Ok(()));
        let left = News::Left {
            number: 1,
            resumed: true,
        };
        assert_eq!(news.recv().await, Some(left));
        assert_eq!(look(&socket).await.unwrap().breakpoints, 0);
    }

    // TOOL-35
    #[tokio::test]
    async fn a_command_that_is_ended_while_it_waits_is_seen() {
        let (_place, socket, _session, mut news) = served();
        let waiting = tokio::spawn(async move { pause(&socket, here()).await });
        assert_eq!(news.recv().await, Some(News::Reached { number: 1 }));
        waiting.abort();
        let left = News::Left {
            number: 1,
            resumed: false,
        };
        assert_eq!(news.recv().await, Some(left));
    }

    // TOOL-36
    #[tokio::test]
    async fn what_a_shell_has_shown_is_seen_though_its_command_goes_on_at_once() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let (front, mut back) = UnixStream::pair().unwrap();
        let here = CommandPlace {
            directory: place.path().to_owned(),
            // Started in place of this program, it starts what it is given just so.
            this_program: Some("/usr/bin/env".into()),
            ..here()
        };
        let directory = place.path().to_owned();
        let visiting = tokio::spawn(async move {
            wire::read(&mut back).await.unwrap();
            let order = ShellOrder {
                visit: 1,
                screen: Screen::default(),
                shell: "sh".to_owned(),
            };
            say(&mut back, &order).await.unwrap();
            let (mut shell, _) = listener.accept().await.unwrap();
            wire::read(&mut shell).await.unwrap();
            let keys =
                ": > begun; until test -e go; do sleep 0.01; done; echo $((6*7)); : > done\n";
            let keys = Frame::Body(keys.into());
            wire::write(&mut shell, keys).await.unwrap();
            while !directory.join("begun").exists() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            // All of this process rests until the shell has shown what it has to show, and its command may go on.
            std::fs::write(directory.join("go"), "").unwrap();
            let begun = std::time::Instant::now();
            while !directory.join("done").exists() {
                assert!(begun.elapsed() < LIMIT, "the shell does nothing");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            wire::write(&mut back, Frame::Exit(0)).await.unwrap();
            let mut shown = Vec::new();
            while let Ok(Some(frame)) = wire::read(&mut shell).await {
                let Frame::Stdout(bytes) = frame else {
                    panic!("a shell that is over has no status");
                };
                shown.extend_from_slice(&bytes);
            }
            String::from_utf8_lossy(&shown).into_owned()
        });
        let waiting = tokio::time::timeout(LIMIT, front::wait(front, &socket, here));
        assert_eq!(waiting.await.unwrap(), Ok(()));
        let shown = visiting.await.unwrap();
        assert!(shown.contains("42\r\n"), "{shown:?}");
    }

    // TOOL-39
    #[tokio::test]
    async fn a_build_that_is_gone_is_an_error() {
        let (place, socket, session, mut news) = served();
        let nowhere = place.path().join("nowhere");
        assert!(pause(&nowhere, here()).await.is_err());
        assert!(resume(&nowhere).await.is_err());
        assert!(look(&nowhere).await.is_err());
        drop(session);
        let (front, back) = UnixStream::pair().unwrap();
        drop(back);
        assert!(front::wait(front, &socket, here()).await.is_err());
        assert!(news.try_recv().is_err());
    }

    // TOOL-38
    #[tokio::test]
    async fn commands_of_the_build_visit_nobody() {
        let (session, _news) = DebugSession::new("p:1".to_owned(), "sh".to_owned());
        for request in [Request::Look, Request::Visit(Screen::default())] {
            let (mut front, back) = tokio::io::duplex(4096);
            say(&mut front, &request).await.unwrap();
            session.serve(back, false).await;
            let answer = wire::read(&mut front).await.unwrap();
            assert!(matches!(answer, Some(Frame::Stderr(_))), "{request:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_request_ends_the_connection() {
        let (session, mut news) = DebugSession::new("p:1".to_owned(), "sh".to_owned());
        for frame in [Frame::BodyEnd, Frame::Request("{".into())] {
            let (mut front, back) = tokio::io::duplex(4096);
            wire::write(&mut front, frame).await.unwrap();
            session.serve(back, true).await;
            assert!(wire::read(&mut front).await.unwrap().is_none());
        }
        assert!(news.try_recv().is_err());
    }
}
