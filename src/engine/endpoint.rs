//! Where the engine is: `DOCKER_HOST`, Docker contexts, and the sockets that engines usually listen on (IMG-1 to IMG-4).

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Error;

/// Where Docker listens unless it was told otherwise.
const USUAL_SOCKET: &str = "/var/run/docker.sock";

/// The name of the context that is none: what holds without any.
const DEFAULT_CONTEXT: &str = "default";

/// Ports of an address that names none: without encryption, and with it.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

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

/// Who said where the engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `DOCKER_HOST`
    Host,
    /// The Docker context of this name.
    Context(String),
    /// Nobody; it is a socket that engines usually listen on.
    Usual,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("`DOCKER_HOST`"),
            Self::Context(name) => write!(f, "the Docker context `{name}`"),
            Self::Usual => f.write_str("the usual socket"),
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
    /// `DOCKER_TLS`: set to anything but nothing. TLS, to whoever answers.
    pub tls: bool,
    /// `DOCKER_TLS_VERIFY`: set to anything but nothing. TLS, to the engine that is meant.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`
    pub certificates: Option<PathBuf>,
    /// Docker's configuration directory: `DOCKER_CONFIG`, else `~/.docker`.
    pub configuration: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, where engines without root have their sockets.
    pub runtime_directory: Option<PathBuf>,
    /// `HOME`, where Docker Desktop has its socket.
    pub home: Option<PathBuf>,
}

/// Whether TLS is spoken, and how.
#[derive(Clone)]
struct Tls {
    certificates: PathBuf,
    verify: bool,
}

impl Endpoint {
    /// The endpoint that Docker's own command line would use; where that names none, the first usual socket there is.
    pub fn find(settings: &EndpointSettings) -> Result<Self, Error> {
        Self::find_with_origin(settings).map(|(endpoint, _)| endpoint)
    }

    /// The same, and who said so.
    pub fn find_with_origin(settings: &EndpointSettings) -> Result<(Self, Origin), Error> {
        if let Some(host) = &settings.host {
            let what = format!("`DOCKER_HOST={}`", without_password(host));
            return Ok((parse(host, settings.tls(), &what)?, Origin::Host));
        }
        match settings.context_name()? {
            Some(name) => Ok((settings.of_context(&name)?, Origin::Context(name))),
            None => Ok((settings.usual(), Origin::Usual)),
        }
    }
}

impl EndpointSettings {
    fn tls(&self) -> Option<Tls> {
        let certificates = self.certificates.clone();
        (self.tls || self.tls_verify).then(|| Tls {
            certificates: certificates
                .or_else(|| self.configuration.clone())
                .unwrap_or_default(),
            verify: self.tls_verify,
        })
    }

    /// The context that is asked for, unless it is the one that is none.
    fn context_name(&self) -> Result<Option<String>, Error> {
        let named = match &self.context {
            Some(name) => Some(name.clone()),
            None => self.current_context()?,
        };
        Ok(named.filter(|name| !name.is_empty() && name != DEFAULT_CONTEXT))
    }

    /// `currentContext` of Docker's configuration.
    fn current_context(&self) -> Result<Option<String>, Error> {
        let Some(directory) = &self.configuration else {
            return Ok(None);
        };
        let path = directory.join("config.json");
        let unusable = |reason: String| Error::Settings {
            what: format!("Docker's configuration {}", path.display()),
            reason,
        };
        match fs::read(&path) {
            // An empty file is what some tools leave where there is nothing to say.
            Ok(text) if text.trim_ascii().is_empty() => Ok(None),
            Ok(text) => {
                let read: Value = serde_json::from_slice(&text)
                    .map_err(|error| unusable(format!("it is not JSON: {error}")))?;
                Ok(read["currentContext"].as_str().map(str::to_owned))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// What a context says. Docker keeps each in a directory that is named by the SHA-256 of its name.
    fn of_context(&self, name: &str) -> Result<Endpoint, Error> {
        let what = format!("the Docker context `{name}`");
        let unusable = |reason: String| Error::Settings {
            what: what.clone(),
            reason,
        };
        let contexts = self.configuration.clone().unwrap_or_default();
        let contexts = contexts.join("contexts");
        let mut id = String::new();
        for byte in Sha256::digest(name.as_bytes()) {
            id.push_str(&format!("{byte:02x}"));
        }
        let path = contexts.join("meta").join(&id).join("meta.json");
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => unusable(format!(
                "there is none of this name below {}; `docker context ls` lists those there are",
                contexts.display()
            )),
            _ => unusable(format!("{}: {error}", path.display())),
        })?;
        let read: Value = serde_json::from_slice(&text)
            .map_err(|error| unusable(format!("{} is not JSON: {error}", path.display())))?;
        let docker = &read["Endpoints"]["docker"];
        let host = docker["Host"]
            .as_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| unusable("it has no endpoint `docker` with a host".to_owned()))?;
        let certificates = contexts.join("tls").join(&id).join("docker");
        let verify = docker["SkipTLSVerify"].as_bool() != Some(true);
        let tls = (certificates.is_dir() || !verify).then_some(Tls {
            certificates,
            verify,
        });
        parse(host, tls, &what)
    }

    /// The first usual socket there is; the first of all where there is none, so that the error names it.
    fn usual(&self) -> Endpoint {
        let sockets = self.usual_sockets();
        let there = sockets.iter().find(|path| path.exists());
        Endpoint::Unix(there.unwrap_or(&sockets[0]).clone())
    }

    fn usual_sockets(&self) -> Vec<PathBuf> {
        let below = |directory: &Option<PathBuf>, path: &str| {
            directory.as_ref().map(|directory| directory.join(path))
        };
        let elsewhere = [
            below(&self.runtime_directory, "docker.sock"),
            below(&self.home, ".docker/run/docker.sock"),
            below(&self.runtime_directory, "podman/podman.sock"),
            Some(PathBuf::from("/run/podman/podman.sock")),
        ];
        std::iter::once(PathBuf::from(USUAL_SOCKET))
            .chain(elsewhere.into_iter().flatten())
            .collect()
    }
}

/// An address for people: a password before its host is left out.
fn without_password(address: &str) -> String {
    let start = address.find("://").map_or(0, |scheme| scheme + 3);
    let (scheme, rest) = address.split_at(start);
    match rest.rsplit_once('@') {
        // A password may have any character, written as it should be or not.
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}{name}:***@{host}"),
            None => address.to_owned(),
        },
        None => address.to_owned(),
    }
}

/// An address as Docker writes it. `what` says whose, for errors.
fn parse(host: &str, tls: Option<Tls>, what: &str) -> Result<Endpoint, Error> {
    let refused = |reason: &str| Error::Settings {
        what: what.to_owned(),
        reason: reason.to_owned(),
    };
    match host.split_once("://") {
        Some(("unix", "")) => Ok(Endpoint::Unix(PathBuf::from(USUAL_SOCKET))),
        Some(("unix", path)) => Ok(Endpoint::Unix(PathBuf::from(path))),
        Some((scheme @ ("tcp" | "http" | "https"), address)) => {
            let tls = tls.or_else(|| {
                (scheme == "https").then(|| Tls {
                    certificates: PathBuf::new(),
                    verify: true,
                })
            });
            let port = if tls.is_some() { TLS_PORT } else { PLAIN_PORT };
            let address = with_port(address, port).ok_or_else(|| {
                refused("expected a host and a port, such as tcp://build.example.com:2376")
            })?;
            Ok(match tls {
                None => Endpoint::Tcp(address),
                Some(Tls {
                    certificates,
                    verify,
                }) => Endpoint::Tls {
                    address,
                    certificates,
                    verify,
                },
            })
        }
        Some(("ssh", _)) => Err(refused(
            "engines over SSH are not supported; forward the socket with `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock USER@HOST` and set DOCKER_HOST=unix:///tmp/docker.sock",
        )),
        Some(("npipe" | "fd", _)) => Err(refused(
            "this program cannot use such an address; set DOCKER_HOST to unix://PATH or tcp://HOST:PORT",
        )),
        _ => Err(refused("expected unix://PATH or tcp://HOST:PORT")),
    }
}

/// `host:port` of an address; nothing if it has more than that, or no host.
fn with_port(address: &str, port: u16) -> Option<String> {
    let address = address.trim_end_matches('/');
    let authority: hyper::http::uri::Authority = address.parse().ok()?;
    let is_plain = !address.contains('@') && !authority.host().is_empty();
    let named = authority.port();
    // A port that is no number is none, and a colon without one is a mistake.
    let is_whole = named.is_some() == address[authority.host().len()..].contains(':');
    (is_plain && is_whole).then(|| match named {
        Some(_) => address.to_owned(),
        None => format!("{address}:{port}"),
    })
}

/// What to do where no engine answers at an endpoint.
pub(super) fn remedy(endpoint: &Endpoint, error: io::ErrorKind) -> String {
    let Endpoint::Unix(path) = endpoint else {
        return match error {
            io::ErrorKind::ConnectionRefused => "nothing listens there: start the engine with this address, or correct DOCKER_HOST or the context".to_owned(),
            _ => "see whether the address is right and the engine listens there; `docker context ls` and DOCKER_HOST say which is used".to_owned(),
        };
    };
    match error {
        io::ErrorKind::NotFound => format!(
            "install Docker (`apt-get install docker.io`) or Podman and start it (`systemctl start docker`); if it listens elsewhere than {}, set DOCKER_HOST",
            path.display()
        ),
        io::ErrorKind::PermissionDenied => "let your user use the engine: `sudo usermod -aG docker $USER`, then log in anew (this gives the user root's powers); or use an engine without root and set DOCKER_HOST to its socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "the socket is there but no engine listens: start it (`systemctl start docker`)".to_owned(),
        _ => "see whether it runs: `docker version`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(settings: &EndpointSettings) -> String {
        match Endpoint::find_with_origin(settings) {
            Ok((endpoint @ Endpoint::Tls { .. }, origin)) => {
                let Endpoint::Tls {
                    address,
                    certificates,
                    verify,
                } = &endpoint
                else {
                    unreachable!()
                };
                format!(
                    "tls {address} {} {verify} by {origin}",
                    certificates.display()
                )
            }
            Ok((endpoint, origin)) => format!("{endpoint} by {origin}"),
            Err(error) => error.to_string(),
        }
    }

    // IMG-1
    #[test]
    fn docker_host_is_a_socket_or_an_address() {
        let table = [
            ("unix:///run/x.sock", "unix:///run/x.sock by `DOCKER_HOST`"),
            ("unix://", "unix:///var/run/docker.sock by `DOCKER_HOST`"),
            (
                "tcp://10.0.0.1:1234",
                "tcp://10.0.0.1:1234 by `DOCKER_HOST`",
            ),
            ("tcp://host", "tcp://host:2375 by `DOCKER_HOST`"),
            ("http://host:80/", "tcp://host:80 by `DOCKER_HOST`"),
            ("tcp://[::1]:2375", "tcp://[::1]:2375 by `DOCKER_HOST`"),
            ("tcp://[::1]", "tcp://[::1]:2375 by `DOCKER_HOST`"),
            ("https://host", "tls host:2376  true by `DOCKER_HOST`"),
        ];
        for (host, expected) in table {
            let settings = EndpointSettings {
                host: Some(host.to_owned()),
                // DOCKER_HOST wins.
                context: Some("other".to_owned()),
                ..EndpointSettings::default()
            };
            assert_eq!(found(&settings), expected, "{host}");
        }
        for (host, expected) in [
            ("ssh://me@host", "ssh -nNT -L"),
            ("npipe:////./pipe/docker_engine", "unix://PATH"),
            ("/var/run/docker.sock", "expected unix://PATH"),
            ("tcp://", "expected a host and a port"),
            ("tcp://host:", "expected a host and a port"),
            ("tcp://host:port", "expected a host and a port"),
            ("tcp://host:1/path", "expected a host and a port"),
            ("tcp://user@host:1", "expected a host and a port"),
        ] {
            let settings = EndpointSettings {
                host: Some(host.to_owned()),
                ..EndpointSettings::default()
            };
            let said = found(&settings);
            assert!(said.starts_with(&format!("could not use `DOCKER_HOST={host}`: ")));
            assert!(said.contains(expected), "{said}");
        }
    }

    // IMG-1
    #[test]
    fn a_password_in_docker_host_is_shown_to_nobody() {
        for (host, shown) in [
            ("ssh://me:hidden@host", "ssh://me:***@host"),
            ("ssh://me:hid/d@en:hidden@host:22", "ssh://me:***@host:22"),
            ("tcp://me:hidden@host:1", "tcp://me:***@host:1"),
            ("me:hidden@host", "me:***@host"),
            ("ssh://me@host", "ssh://me@host"),
        ] {
            let settings = EndpointSettings {
                host: Some(host.to_owned()),
                ..EndpointSettings::default()
            };
            let said = found(&settings);
            assert!(said.contains(&format!("`DOCKER_HOST={shown}`: ")), "{said}");
            assert!(!said.contains("hidden"), "{said}");
        }
    }

    // IMG-3
    #[test]
    fn tls_is_asked_for_by_the_environment() {
        let settings = |tls, tls_verify, certificates: Option<&str>| EndpointSettings {
            host: Some("tcp://host".to_owned()),
            tls,
            tls_verify,
            certificates: certificates.map(PathBuf::from),
            configuration: Some(PathBuf::from("/c")),
            ..EndpointSettings::default()
        };
        let by = "by `DOCKER_HOST`";
        for (settings, expected) in [
            (settings(false, true, None), "tls host:2376 /c true"),
            (settings(false, true, Some("/p")), "tls host:2376 /p true"),
            (settings(true, false, Some("/p")), "tls host:2376 /p false"),
            (settings(true, true, None), "tls host:2376 /c true"),
            // A directory of certificates alone asks for nothing.
            (settings(false, false, Some("/p")), "tcp://host:2375"),
        ] {
            assert_eq!(found(&settings), format!("{expected} {by}"));
        }
    }

    // IMG-2
    #[test]
    fn a_context_is_found_as_docker_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let configuration = directory.path();
        // What `printf prod | sha256sum` says.
        let id = "6754af9632a2745e85c293e5aac0863370d9bd3330b9938c00cadfd215227d77";
        let meta = configuration.join("contexts/meta").join(id);
        fs::create_dir_all(&meta).unwrap();
        let write = |host: &str, skip: bool| {
            let text = format!(
                r#"{{"Name":"prod","Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":{skip}}}}}}}"#
            );
            fs::write(meta.join("meta.json"), text).unwrap();
        };
        write("tcp://host:2376", false);
        let mut settings = EndpointSettings {
            context: Some("prod".to_owned()),
            configuration: Some(configuration.to_owned()),
            ..EndpointSettings::default()
        };
        let by = "by the Docker context `prod`";
        assert_eq!(found(&settings), format!("tcp://host:2376 {by}"));
        let tls = configuration.join("contexts/tls").join(id).join("docker");
        fs::create_dir_all(&tls).unwrap();
        let place = tls.display();
        assert_eq!(found(&settings), format!("tls host:2376 {place} true {by}"));
        write("tcp://host:2376", true);
        assert_eq!(
            found(&settings),
            format!("tls host:2376 {place} false {by}")
        );
        // The one that `docker context use` has chosen.
        settings.context = None;
        fs::write(
            configuration.join("config.json"),
            r#"{"currentContext":"prod"}"#,
        )
        .unwrap();
        assert!(found(&settings).ends_with(by));
        settings.context = Some("default".to_owned());
        assert!(found(&settings).ends_with("by the usual socket"));
        settings.context = Some("gone".to_owned());
        assert!(
            found(&settings).contains("could not use the Docker context `gone`: there is none")
        );
        fs::write(meta.join("meta.json"), r#"{"Endpoints":{}}"#).unwrap();
        settings.context = Some("prod".to_owned());
        assert!(found(&settings).contains("it has no endpoint `docker`"));
        settings.context = None;
        fs::write(configuration.join("config.json"), "{").unwrap();
        assert!(found(&settings).contains("config.json: it is not JSON"));
        fs::write(configuration.join("config.json"), "\n").unwrap();
        assert!(found(&settings).ends_with("by the usual socket"));
    }

    // IMG-4
    #[test]
    fn usual_sockets_are_looked_for_in_order() {
        let settings = EndpointSettings {
            runtime_directory: Some(PathBuf::from("/run/user/1")),
            home: Some(PathBuf::from("/home/a")),
            ..EndpointSettings::default()
        };
        let expected = [
            "/var/run/docker.sock",
            "/run/user/1/docker.sock",
            "/home/a/.docker/run/docker.sock",
            "/run/user/1/podman/podman.sock",
            "/run/podman/podman.sock",
        ];
        assert_eq!(settings.usual_sockets(), expected.map(PathBuf::from));
    }

    // IMG-5
    #[test]
    fn each_way_to_miss_an_engine_has_a_remedy() {
        let socket = Endpoint::Unix(PathBuf::from("/x.sock"));
        let tcp = Endpoint::Tcp("host:1".to_owned());
        for (endpoint, kind, expected) in [
            (&socket, io::ErrorKind::NotFound, "install Docker"),
            (
                &socket,
                io::ErrorKind::PermissionDenied,
                "usermod -aG docker",
            ),
            (
                &socket,
                io::ErrorKind::ConnectionRefused,
                "systemctl start docker",
            ),
            (&socket, io::ErrorKind::Other, "docker version"),
            (
                &tcp,
                io::ErrorKind::ConnectionRefused,
                "nothing listens there",
            ),
            (
                &tcp,
                io::ErrorKind::TimedOut,
                "whether the address is right",
            ),
        ] {
            assert!(remedy(endpoint, kind).contains(expected), "{kind}");
        }
    }
}
