//! Where the container engine is, as the environment has it.

use std::path::PathBuf;

use super::machine;
use crate::engine::{EndpointSettings, Engine, Error};

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

/// A connection to it.
pub(super) async fn connect() -> Result<Engine, Error> {
    Engine::find(&settings()).await
}
