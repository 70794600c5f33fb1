//! Gives credentials to whoever has the build's token, over HTTP, as SDKs ask for them in containers of AWS (CRED-4, CRED-8,
//! CRED-9).

use std::convert::Infallible;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::error::Error;
use super::keeper::Keeper;
use crate::event::stamp;

/// Variable that leads SDKs to the endpoint.
pub const URI_VARIABLE: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// Variable with what SDKs have to show there.
pub const TOKEN_VARIABLE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

/// Where credentials are.
const PATH: &str = "/credentials";

/// Connections that are served at the same time; more wait.
const CONNECTIONS: usize = 32;

/// How long whoever asks may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may live: getting new credentials takes a minute at most.
const CONNECTION_LIMIT: Duration = Duration::from_secs(75);

/// Most of a request that is held, in bytes, and most headers.
const MAX_REQUEST: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// How long credentials are said to hold where nobody knows: SDKs want to hear of an end, and ask again with a quarter of an
/// hour left. So they hear of what took the place of the old ones within minutes.
const UNKNOWN_END: Duration = Duration::from_mins(20);

/// Pause after a connection that could not be taken, such as for want of file descriptors.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What opens the endpoint of one build.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A new one that nobody can guess: 244 random bits of the system's.
    #[must_use]
    pub fn random() -> Self {
        let half = || uuid::Uuid::new_v4().simple();
        Self(format!("{}{}", half(), half()))
    }

    /// Its text, for those who are to have it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is it. How long that takes says nothing about how much of it is right.
    fn is(&self, shown: &HeaderValue) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

/// Serves the credentials of one build.
#[derive(Clone, Debug)]
pub struct Service {
    keeper: Arc<Keeper>,
    token: Token,
    room: Arc<Semaphore>,
}

impl Service {
    /// Serves what the keeper has to whoever shows the token.
    #[must_use]
    pub fn new(keeper: Arc<Keeper>, token: Token) -> Self {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        Self {
            keeper,
            token,
            room,
        }
    }

    /// The URI of an endpoint on loopback with this port.
    #[must_use]
    pub fn uri(port: u16) -> String {
        format!("http://127.0.0.1:{port}{PATH}")
    }

    /// Serves one connection: one request, in bounded time. What is wrong with it is seen at its other end.
    pub async fn serve<S>(&self, connection: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Ok(_room) = self.room.acquire().await else {
            return;
        };
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_LIMIT)
            .keep_alive(false)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_REQUEST)
            .serve_connection(
                TokioIo::new(connection),
                service_fn(|request| self.answer(request)),
            );
        let _ = tokio::time::timeout(CONNECTION_LIMIT, serving).await;
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let shown = request.headers().get(AUTHORIZATION);
        let refusal = match shown {
            None => Some((StatusCode::UNAUTHORIZED, "there is no token in the request")),
            Some(shown) if !self.token.is(shown) => {
                Some((StatusCode::FORBIDDEN, "this is not the token of the build"))
            }
            Some(_) if request.uri().path() != PATH => {
                Some((StatusCode::NOT_FOUND, "there is nothing here"))
            }
            Some(_) if request.method() != Method::GET => {
                Some((StatusCode::METHOD_NOT_ALLOWED, "this can only be read"))
            }
            Some(_) => None,
        };
        if let Some((status, message)) = refusal {
            let code = status.canonical_reason().unwrap_or_default();
            return Ok(response(status, &json!({"code": code, "message": message})));
        }
        Ok(match self.keeper.get().await {
            Ok(credentials) => response(StatusCode::OK, &form(&credentials, stamp())),
            Err(error) => response(StatusCode::BAD_GATEWAY, &refused(&error)),
        })
    }
}

/// Credentials as SDKs read them.
fn form(credentials: &Credentials, now: SystemTime) -> Value {
    let end = credentials.expiry().unwrap_or(now + UNKNOWN_END);
    json!({
        "AccessKeyId": credentials.access_key_id(),
        "SecretAccessKey": credentials.secret_access_key(),
        "Token": credentials.session_token().unwrap_or_default(),
        "Expiration": written(end),
    })
}

/// A time in whole seconds: not every SDK reads parts of them.
fn written(time: SystemTime) -> String {
    let time = DateTime::from_secs(DateTime::from(time).secs());
    time.fmt(Format::DateTime).unwrap_or_default()
}

fn refused(error: &Error) -> Value {
    json!({"code": "CredentialsUnavailable", "message": error.to_string()})
}

fn response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Listens on loopback for as long as it lives: when it is dropped, the port is closed and every connection with it.
#[derive(Debug)]
pub struct Endpoint {
    port: u16,
    serving: JoinHandle<()>,
}

impl Endpoint {
    /// Begins to listen, on a port that is free.
    ///
    /// # Errors
    ///
    /// The system has no such port.
    pub async fn listen(service: Service) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let serving = tokio::spawn(serve_all(listener, service));
        Ok(Self { port, serving })
    }

    /// Where it is.
    #[must_use]
    pub fn uri(&self) -> String {
        Service::uri(self.port)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve_all(listener: TcpListener, service: Service) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((connection, _)) => {
                    let service = service.clone();
                    connections.spawn(async move { service.serve(connection).await });
                }
                Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
