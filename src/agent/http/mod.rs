//! What an agent shows over HTTP: whether it lives, what it does, and its builds (AGENT-82 to AGENT-89).
//!
//! Everything here can only be read. Who may reach the port may read it: so it is on loopback unless the operator says
//! otherwise, and it answers only to names that are the agent's, so that no page of somebody else can ask for it.

mod badge;
mod host;
mod log;
mod metrics;
mod page;
mod route;
mod status;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::board::Board;
use super::progress::Progress;
use crate::event::stamp;

pub use host::Names;
pub use route::Site;

/// Connections that are served at the same time. Whoever comes then is let in all the same: another one has to go.
const CONNECTIONS: usize = 64;

/// How long whoever asks may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may live: a long log over a slow line takes its time.
const CONNECTION_LIMIT: Duration = Duration::from_mins(2);

/// Most of a request that is held, in bytes, and most headers.
const MAX_REQUEST: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// Pause after a connection that could not be taken, such as for want of file descriptors.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What goes back.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Why an agent cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port would be open to others, and nobody said by which names.
    #[error(
        "{0} can be reached from other machines: whoever reaches it reads the logs of builds. To have it so, say with --listen-host by which name it is called"
    )]
    Open(SocketAddr),
    /// The system does not give it.
    #[error("could not listen on {0}: {1}")]
    Bind(SocketAddr, #[source] io::Error),
}

/// Whether an agent with these names may be reached there at all (AGENT-82).
pub fn may_listen(address: SocketAddr, hosts: &[String]) -> Result<(), ListenError> {
    if address.ip().is_loopback() || !hosts.is_empty() {
        Ok(())
    } else {
        Err(ListenError::Open(address))
    }
}

/// Listens for as long as it lives: when it is dropped, the port is closed and every connection with it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    /// Begins to listen. `hosts` are names besides those of loopback that the agent is called by (AGENT-82).
    pub async fn listen(
        address: SocketAddr,
        hosts: &[String],
        board: Board,
        progress: Progress,
    ) -> Result<Self, ListenError> {
        may_listen(address, hosts)?;
        let failed = |error| ListenError::Bind(address, error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let names = Names::new(address.ip(), hosts);
        let site = Arc::new(Site::new(board, progress, names));
        Ok(Self {
            address,
            serving: tokio::spawn(serve_all(listener, site)),
        })
    }

    /// Where it listens: the port is a real one, even if 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A connection that is served.
struct Served {
    serving: AbortHandle,
    /// Whether it has said what it wants.
    has_asked: Arc<AtomicBool>,
}

/// Of those that are served, the oldest first, the one that goes when there are too many: who says nothing, else who has had
/// the most time. So nobody keeps others from asking whether the agent lives (AGENT-89).
fn to_go(served: &VecDeque<Served>) -> usize {
    let is_silent = |one: &Served| !one.has_asked.load(Ordering::Relaxed);
    served.iter().position(is_silent).unwrap_or(0)
}

async fn serve_all(listener: TcpListener, site: Arc<Site>) {
    let mut connections = JoinSet::new();
    let mut served: VecDeque<Served> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    served.retain(|one| !one.serving.is_finished());
                    if served.len() >= CONNECTIONS
                        && let Some(one) = served.remove(to_go(&served))
                    {
                        one.serving.abort();
                    }
                    let has_asked = Arc::new(AtomicBool::new(false));
                    let serving = serve(connection, Arc::clone(&site), Arc::clone(&has_asked));
                    let serving = connections.spawn(serving);
                    served.push_back(Served { serving, has_asked });
                }
                Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection: one request, in bounded time. What is wrong with it is seen at its other end.
async fn serve(connection: TcpStream, site: Arc<Site>, has_asked: Arc<AtomicBool>) {
    let answering = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        answer(request, &site)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_REQUEST)
        .serve_connection(TokioIo::new(connection), answering);
    let _ = tokio::time::timeout(CONNECTION_LIMIT, serving).await;
}

async fn answer(request: Request<Incoming>, site: &Site) -> Result<Response<Body>, Infallible> {
    // What comes with a request is never read: nothing here takes any.
    let (head, _) = request.into_parts();
    let now = (stamp(), Instant::now());
    Ok(site
        .answer(&head.method, &head.uri, &head.headers, now)
        .await)
}
