//! Where the container engine is, as the environment has it.

use std::path::PathBuf;
use std::time::Duration;

use super::machine;
use crate::engine::{Endpoint, EndpointSettings, Engine, Error};

/// How long an engine may take to say that it is there.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What the environment says of the engine (IMG-1 to IMG-4).
pub(super) fn settings() -> EndpointSettings {
    let path = |name: &str| machine::variable(name).map(PathBuf::from);
    EndpointSettings {
        host: machine::text("DOCKER_HOST"),
        context: machine::text("DOCKER_CONTEXT"),
        tls: machine::variable("DOCKER_TLS").is_some(),
        tls_verify: machine::variable("DOCKER_TLS_VERIFY").is_some(),
        certificates: path("DOCKER_CERT_PATH"),
        configuration: docker_configuration(),
        runtime_directory: path("XDG_RUNTIME_DIR"),
        home: path("HOME"),
    }
}

/// Docker's configuration directory.
pub(super) fn docker_configuration() -> Option<PathBuf> {
    let named = machine::variable("DOCKER_CONFIG").map(PathBuf::from);
    named.or_else(|| machine::variable("HOME").map(|home| PathBuf::from(home).join(".docker")))
}

/// An error of the engine's, with what to do.
pub(super) fn complaint(error: &Error) -> String {
    match error.remedy() {
        Some(remedy) => format!("error: {error}\nhelp: {remedy}\n"),
        None => format!("error: {error}\n"),
    }
}

/// A connection to it, for a command that is about the engine itself.
pub(super) async fn connect() -> Result<Engine, Error> {
    let settings = settings();
    let endpoint = Endpoint::find(&settings)?;
    in_time(&endpoint, Engine::find(&settings)).await
}

/// A connection to the engine there.
pub(super) async fn connect_to(endpoint: &Endpoint) -> Result<Engine, Error> {
    in_time(endpoint, Engine::connect(endpoint.clone())).await
}

/// An engine has ten seconds to say something.
async fn in_time(
    endpoint: &Endpoint,
    connecting: impl Future<Output = Result<Engine, Error>>,
) -> Result<Engine, Error> {
    let connected = tokio::time::timeout(CONNECT_LIMIT, connecting).await;
    connected.unwrap_or_else(|_| {
        Err(Error::Connection {
            doing: format!("reach the container engine at {endpoint}"),
            reason: format!("it did not answer within {} s", CONNECT_LIMIT.as_secs()),
        })
    })
}
