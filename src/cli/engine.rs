//! Where this user's container engine is.

use std::path::PathBuf;
use std::time::Duration;

use super::machine;
use crate::engine::{Endpoint, EndpointSettings, Engine, Error};

/// How long an engine may take to say that it is there.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What the environment says of it.
pub(super) fn settings() -> EndpointSettings {
    let home = || machine::variable("HOME").map(|home| PathBuf::from(home).join(".docker"));
    EndpointSettings {
        host: machine::text("DOCKER_HOST"),
        context: machine::text("DOCKER_CONTEXT"),
        tls_verify: machine::variable("DOCKER_TLS_VERIFY").is_some(),
        certificates: machine::variable("DOCKER_CERT_PATH").map(PathBuf::from),
        configuration: machine::variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(home),
        runtime_directory: machine::variable("XDG_RUNTIME_DIR").map(PathBuf::from),
    }
}

/// A connection to it, for a command that is about the engine itself.
pub(super) async fn connect() -> Result<Engine, Error> {
    let endpoint = Endpoint::find(&settings())?;
    let connected = tokio::time::timeout(CONNECT_LIMIT, Engine::connect(endpoint.clone())).await;
    connected.unwrap_or_else(|_| {
        Err(Error::Connection {
            doing: format!("reach the container engine at {endpoint}"),
            reason: "it did not answer in time".to_owned(),
        })
    })
}
