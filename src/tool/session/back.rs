//! The runner's end: what waits, who is led where, and what the build is told of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::visit::{Visited, Waiting};
use super::{Request, Screen, ShellOrder, say};
use crate::exec::{Terminal, relay};
use crate::tool::wire::{self, Frame};

/// How long a connection may take to say what it wants, and a front to start a shell.
const LIMIT: Duration = Duration::from_secs(30);

/// What happens at breakpoints, for the build to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A command waits.
    Reached {
        /// Counts the breakpoints of a build, from 1.
        number: u64,
    },
    /// It waits no longer.
    Left {
        /// Which.
        number: u64,
        /// Whether it was let go; if not, it was ended.
        resumed: bool,
    },
}

/// The debug session of one build: what waits in it. Clones are the same session.
#[derive(Clone, Debug)]
pub struct DebugSession(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    build: String,
    shell: String,
    news: mpsc::UnboundedSender<News>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many breakpoints there were.
    breakpoints: u64,
    /// How many visits there were.
    visits: u64,
    /// Fronts that wait, by the number of their breakpoint.
    fronts: BTreeMap<u64, mpsc::UnboundedSender<Order>>,
    /// Visits that wait for their shell.
    expected: BTreeMap<u64, oneshot::Sender<Line>>,
}

/// What a front is told.
#[derive(Debug)]
enum Order {
    Shell(ShellOrder),
    GoOn,
}

/// A connection of any kind.
type Line = Box<dyn Connection>;

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

impl std::fmt::Debug for dyn Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl DebugSession {
    /// The session of a build with this id (`project:uuid`) and shell (a name or path), and where its news come from.
    #[must_use]
    pub fn new(build: String, shell: String) -> (Self, mpsc::UnboundedReceiver<News>) {
        let (sender, news) = mpsc::unbounded_channel();
        let inner = Inner {
            build,
            shell,
            news: sender,
            state: Mutex::default(),
        };
        (Self(Arc::new(inner)), news)
    }

    /// What a person writes behind `runner shell` to get there: the beginning of the build's number.
    #[must_use]
    pub fn short_name(&self) -> &str {
        let uuid = self.0.build.rsplit(':').next().unwrap_or_default();
        uuid.get(..8).unwrap_or(uuid)
    }

    /// Serves one connection until it ends. `may_visit`: it is one of the user who started the build (TOOL-38).
    pub async fn serve<S>(&self, mut stream: S, may_visit: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let first = tokio::time::timeout(LIMIT, wire::read(&mut stream)).await;
        let Ok(Ok(Some(Frame::Request(json)))) = first else {
            return;
        };
        let Ok(request) = serde_json::from_slice(&json) else {
            return;
        };
        match request {
            Request::Wait => self.wait(stream).await,
            Request::Shell { visit } => {
                let expected = self.state().expected.remove(&visit);
                // Whoever is no longer expected is seen as gone.
                let _ = expected.map(|expected| expected.send(Box::new(stream)));
            }
            Request::GoOn => {
                self.let_go();
                let _ = wire::write(&mut stream, Frame::Exit(0)).await;
            }
            Request::Look if may_visit => {
                let waiting = Waiting {
                    build: self.0.build.clone(),
                    breakpoints: self.state().fronts.len(),
                };
                let _ = say(&mut stream, &waiting).await;
            }
            Request::Visit(screen) if may_visit => match self.lead(None, screen).await {
                // Whoever breaks off is seen as such at the other end.
                Ok(shell) => relay(stream, shell).await,
                Err(why) => refuse(&mut stream, &why).await,
            },
            Request::Look | Request::Visit(_) => {
                refuse(&mut stream, "a build is entered from outside of it").await;
            }
        }
    }

    /// Keeps a command waiting until it is let go or gone.
    async fn wait(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let (orders, mut next) = mpsc::unbounded_channel();
        let number = {
            let mut state = self.state();
            state.breakpoints += 1;
            let number = state.breakpoints;
            state.fronts.insert(number, orders);
            number
        };
        // The build may be over; then nobody wants to know.
        let _ = self.0.news.send(News::Reached { number });
        let (mut from, mut to) = tokio::io::split(stream);
        let resumed = loop {
            tokio::select! {
                order = next.recv() => match order {
                    Some(Order::Shell(order)) => {
                        if say(&mut to, &order).await.is_err() {
                            break false;
                        }
                    }
                    Some(Order::GoOn) => break true,
                    None => break false,
                },
                // A front sends nothing more: this is its end.
                _ = from.read_u8() => break false,
            }
        };
        self.state().fronts.remove(&number);
        // Before the command itself learns of it, so that this is told before its end.
        let _ = self.0.news.send(News::Left { number, resumed });
        if resumed {
            let _ = wire::write(&mut to, Frame::Exit(0)).await;
        }
    }

    /// Lets everything go on that waits.
    pub fn let_go(&self) {
        for front in self.state().fronts.values() {
            let _ = front.send(Order::GoOn);
        }
    }

    /// Lets one command go on, if it still waits.
    pub fn let_one_go(&self, number: u64) {
        if let Some(front) = self.state().fronts.get(&number) {
            let _ = front.send(Order::GoOn);
        }
    }

    /// Gives whoever is at a terminal a shell where a command waits, until that ends.
    ///
    /// Fails, in words, if there is no such shell.
    pub async fn visit(&self, number: u64, terminal: &Terminal) -> Result<Visited, String> {
        let shell = self.lead(Some(number), Screen::of(terminal)).await?;
        let visited = super::visit::show(shell, terminal).await;
        visited.map_err(|error| format!("the terminal cannot be used: {error}"))
    }

    /// The way to a new shell, where this command waits, or the one that came last.
    async fn lead(&self, number: Option<u64>, screen: Screen) -> Result<Line, String> {
        let (arrived, shell) = oneshot::channel();
        {
            let mut state = self.state();
            let number = number.or_else(|| state.fronts.keys().next_back().copied());
            let front = number.and_then(|number| state.fronts.get(&number).cloned());
            let front = front.ok_or("no command of this build waits at a breakpoint")?;
            state.visits += 1;
            let visit = state.visits;
            state.expected.insert(visit, arrived);
            let shell = self.0.shell.clone();
            let order = ShellOrder {
                visit,
                screen,
                shell,
            };
            let _ = front.send(Order::Shell(order));
        }
        match tokio::time::timeout(LIMIT, shell).await {
            Ok(Ok(shell)) => Ok(shell),
            _ => Err("the command that waits started no shell".to_owned()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says no.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), why: &str) {
    let said = wire::write(stream, Frame::Stderr(why.to_owned().into())).await;
    if said.is_ok() {
        let _ = wire::write(stream, Frame::Exit(1)).await;
    }
}
