//! How requests travel: one connection each, over a socket, TCP or TLS.
//!
//! Connections are not kept: one costs less than a tenth of a millisecond on a socket, and a connection that carries a
//! command's output belongs to that command for as long as it runs.

use std::io;
use std::time::Duration;

use bollard::BollardRequest;
use bollard::errors::Error as ApiError;
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::tls::Tls;
use super::{ApiVersion, Endpoint, Error};

/// The way to one engine.
#[derive(Debug)]
pub(super) struct Transport {
    endpoint: Endpoint,
    version: Option<ApiVersion>,
    tls: Option<Tls>,
}

impl Transport {
    /// A way to an engine; requests are for this version of its API, or for whichever it likes best.
    pub(super) fn new(endpoint: Endpoint, version: Option<ApiVersion>) -> Result<Self, Error> {
        let tls = match &endpoint {
            Endpoint::Tls {
                address,
                certificates,
                verify,
            } => Some(Tls::new(address, certificates, *verify)?),
            Endpoint::Unix(_) | Endpoint::Tcp(_) => None,
        };
        Ok(Self {
            endpoint,
            version,
            tls,
        })
    }

    /// Sends one request and gives the beginning of its answer.
    pub(super) async fn send(
        &self,
        request: BollardRequest,
    ) -> Result<Response<Incoming>, ApiError> {
        let request = self.versioned(request)?;
        let address = match &self.endpoint {
            Endpoint::Unix(path) => {
                return exchange(UnixStream::connect(path).await?, request).await;
            }
            Endpoint::Tcp(address) | Endpoint::Tls { address, .. } => address,
        };
        let socket = in_time(TcpStream::connect(address)).await?;
        // Requests are small, and each is waited for.
        socket.set_nodelay(true)?;
        match &self.tls {
            None => exchange(socket, request).await,
            Some(tls) => exchange(in_time(tls.connect(socket)).await?, request).await,
        }
    }

    /// The request with the version in its path and the host in a header, as HTTP/1.1 wants it.
    fn versioned(&self, request: BollardRequest) -> Result<BollardRequest, ApiError> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = match self.version {
            Some(version) => format!("/v{version}{path}").parse()?,
            None => path.parse()?,
        };
        parts
            .headers
            .entry(hyper::header::HOST)
            .or_insert(hyper::header::HeaderValue::from_static("engine"));
        Ok(BollardRequest::from_parts(parts, body))
    }
}

/// Longest wait for a connection, and for TLS on it.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

async fn in_time<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no connection within {} s", CONNECT_LIMIT.as_secs()),
        )),
    }
}

async fn exchange<S>(socket: S, request: BollardRequest) -> Result<Response<Incoming>, ApiError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    // It ends with the answer's body, or when nobody wants that any more.
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}
