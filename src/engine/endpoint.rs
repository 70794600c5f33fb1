//! Where the engine is: `DOCKER_HOST`, Docker contexts, and the sockets that engines usually listen on.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Error;

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket of this machine.
    Unix(PathBuf),
    /// A host and a port, without encryption.
    Tcp(String),
    /// A host and a port, with TLS.
    Tls {
        /// `host:port`.
        address: String,
        /// Directory with `ca.pem`, `cert.pem` and `key.pem`, as far as there are such files.
        certificates: PathBuf,
        /// Whether the engine has to show a certificate of `ca.pem`'s, or of the system's authorities.
        verify: bool,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) | Self::Tls { address, .. } => write!(f, "tcp://{address}"),
        }
    }
}

/// What decides where the engine is, as the caller's environment has it.
#[derive(Clone, Debug, Default)]
pub struct EndpointSettings {
    /// `DOCKER_HOST`
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`
    pub context: Option<String>,
    /// `DOCKER_TLS_VERIFY`: set to anything but nothing.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`
    pub certificates: Option<PathBuf>,
    /// Docker's configuration directory: `DOCKER_CONFIG`, else `~/.docker`.
    pub configuration: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, where engines without root have their sockets.
    pub runtime_directory: Option<PathBuf>,
}

impl Endpoint {
    /// The endpoint that Docker's own command line would use; where that names none, the first usual socket there is.
    pub fn find(settings: &EndpointSettings) -> Result<Self, Error> {
        if let Some(host) = &settings.host {
            return Self::parse(host);
        }
        let usual = Path::new("/var/run/docker.sock");
        Ok(Self::Unix(usual.to_owned()))
    }

    fn parse(host: &str) -> Result<Self, Error> {
        match host.split_once("://") {
            Some(("unix", path)) => Ok(Self::Unix(PathBuf::from(path))),
            Some(("tcp" | "http", address)) => {
                Ok(Self::Tcp(address.trim_end_matches('/').to_owned()))
            }
            _ => Err(Error::Settings {
                what: format!("`DOCKER_HOST={host}`"),
                reason: "expected unix://PATH or tcp://HOST:PORT".to_owned(),
            }),
        }
    }
}
