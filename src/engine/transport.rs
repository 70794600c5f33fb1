//! How requests travel: one connection each, over a socket, TCP or TLS.
//!
//! Connections are not kept: one costs less than a tenth of a millisecond on a socket, and a connection that carries a
//! command's output belongs to that command for as long as it runs.

use bollard::BollardRequest;
use bollard::errors::Error as ApiError;
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{ApiVersion, Endpoint, Error};

/// The way to one engine.
#[derive(Debug)]
pub(super) struct Transport {
    endpoint: Endpoint,
    version: Option<ApiVersion>,
}

impl Transport {
    /// A way to an engine; requests are for this version of its API, or for whichever it likes best.
    pub(super) fn new(endpoint: Endpoint, version: Option<ApiVersion>) -> Result<Self, Error> {
        if let Endpoint::Tls { address, .. } = &endpoint {
            return Err(Error::Settings {
                what: format!("the container engine at {address}"),
                reason: "TLS is not supported yet".to_owned(),
            });
        }
        Ok(Self { endpoint, version })
    }

    /// Sends one request and gives the beginning of its answer.
    pub(super) async fn send(
        &self,
        request: BollardRequest,
    ) -> Result<Response<Incoming>, ApiError> {
        let request = self.versioned(request)?;
        match &self.endpoint {
            Endpoint::Unix(path) => exchange(UnixStream::connect(path).await?, request).await,
            Endpoint::Tcp(address) | Endpoint::Tls { address, .. } => {
                exchange(TcpStream::connect(address).await?, request).await
            }
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
