//! Where this user's container engine is.

use std::path::PathBuf;

use super::machine;
use crate::engine::EndpointSettings;

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
