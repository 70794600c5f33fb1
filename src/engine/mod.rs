//! The container engine: the one connection to Docker, or to what speaks its API, such as Podman.
//!
//! [`Endpoint`] says where it is, [`Engine`] is the connection. bollard knows the API's requests and answers
//! ([`Engine::api`]); how they travel is ours ([`transport`]), for two reasons: bollard asks for no API version, and its
//! types leave out which layer a push is at ([`Engine::stream`]).
//!
//! Below [`exec`](crate::exec), which runs builds in containers, and [`registry`](crate::registry), which moves images.

mod endpoint;
mod error;
mod image;
mod record;
mod stream;
mod tls;
mod transport;

pub use endpoint::{Endpoint, EndpointSettings, Origin};
pub use error::{Error, chain};
pub use image::{ImageFacts, Platform};
pub use record::Said;
pub use stream::{Body, Records};

use std::sync::Arc;
use std::time::Duration;

use bollard::{ClientVersion, Docker};

use self::transport::Transport;

/// The newest API version whose behaviour this program knows. An engine that is older is spoken to in its own.
const NEWEST_API: ApiVersion = ApiVersion(1, 47);

/// The oldest API version with all that is needed: Docker 20.10 and Podman 4.
const OLDEST_API: ApiVersion = ApiVersion(1, 41);

/// Longest wait for an engine to say which one it is: an engine that works has nothing to do for that.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for an engine to begin an answer. Starting a container takes seconds on a busy machine; answers that
/// take as long as their work does (a pull, a push) begin at once.
const ANSWER_LIMIT: Duration = Duration::from_mins(2);

/// A version of the engine's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(pub u16, pub u16);

impl ApiVersion {
    /// The version in a text such as `1.41`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A connection to an engine that has answered.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    transport: Arc<Transport>,
    endpoint: Endpoint,
    version: String,
    api_version: ApiVersion,
    name: &'static str,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("endpoint", &self.endpoint)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Finds the engine and reaches it. Errors say who said that it is there.
    pub async fn find(settings: &EndpointSettings) -> Result<Self, Error> {
        let (endpoint, origin) = Endpoint::find_with_origin(settings)?;
        Self::connect(endpoint)
            .await
            .map_err(|error| error.by(origin))
    }

    /// Reaches the engine and agrees on an API version with it.
    pub async fn connect(endpoint: Endpoint) -> Result<Self, Error> {
        let unversioned = Transport::new(endpoint.clone(), None)?;
        let unversioned = client(Arc::new(unversioned))?;
        let answer = tokio::time::timeout(VERSION_LIMIT, unversioned.version()).await;
        let answer = answer.map_err(|_| Error::Silent {
            endpoint: endpoint.clone(),
            origin: None,
            limit: VERSION_LIMIT,
        })?;
        let answer = answer.map_err(|error| Error::unreachable(&endpoint, error))?;
        let offered = answer.api_version.as_deref().and_then(ApiVersion::parse);
        let offered = offered.unwrap_or(OLDEST_API);
        if offered < OLDEST_API {
            return Err(Error::TooOld {
                endpoint,
                version: offered,
                oldest: OLDEST_API,
            });
        }
        let api_version = offered.min(NEWEST_API);
        let transport = Arc::new(Transport::new(endpoint.clone(), Some(api_version))?);
        let is_podman = answer
            .components
            .iter()
            .flatten()
            .any(|part| part.name.starts_with("Podman"));
        Ok(Self {
            docker: client(Arc::clone(&transport))?,
            transport,
            endpoint,
            version: answer.version.unwrap_or_default(),
            api_version,
            name: if is_podman { "Podman" } else { "Docker" },
        })
    }

    /// The typed API.
    #[must_use]
    pub const fn api(&self) -> &Docker {
        &self.docker
    }

    /// Where it is.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The engine's own version, such as `20.10.24`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The version of its API that is spoken.
    #[must_use]
    pub const fn api_version(&self) -> ApiVersion {
        self.api_version
    }

    /// `Docker` or `Podman`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Sends a request whose answer is a stream of JSON records, such as a push, and gives the records as they come.
    ///
    /// `path` begins with `/`, has its query, and no version. `doing` says what for, for errors: `push IMAGE`.
    pub async fn stream(
        &self,
        doing: &str,
        path: &str,
        headers: &[(&'static str, String)],
        body: Body,
    ) -> Result<Records, Error> {
        stream::post(&self.transport, doing, path, headers, body).await
    }

    /// Asks for something whose answer is one JSON value, with headers that bollard cannot write as the engine reads them.
    ///
    /// `path` and `doing` are as for [`Engine::stream`].
    pub async fn get(
        &self,
        doing: &str,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<serde_json::Value, Error> {
        stream::get(&self.transport, doing, path, headers).await
    }
}

fn client(transport: Arc<Transport>) -> Result<Docker, Error> {
    let send = move |request| {
        let transport = Arc::clone(&transport);
        async move { transport.send(request).await }
    };
    // bollard writes the version into no path; the transport does.
    let version = ClientVersion {
        major_version: usize::from(NEWEST_API.0),
        minor_version: usize::from(NEWEST_API.1),
    };
    let limit = ANSWER_LIMIT.as_secs();
    Docker::connect_with_custom_transport(send, Some("http://engine"), limit, &version)
        .map_err(|error| Error::api("prepare the connection to the engine", error))
}
