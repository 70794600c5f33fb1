//! Image registries: what an image is called, who may push it, and how it gets there.
//!
//! Amazon ECR needs a token that AWS gives out for twelve hours; every other registry needs what Docker's own
//! configuration says. [`Credentials`] knows both. Every build has a Docker configuration of its own ([`isolated`]) in
//! which this program is the credential helper ([`helper`]), so that a plain `docker push` finds what it needs.
//!
//! Images move through the engine: [`push()`] and [`pull()`] say what each layer is at ([`Progress`]), try again what may
//! go better the next time, and report nothing that was not asked for afterwards.

mod auth;
pub mod credentials;
pub mod docker_config;
pub mod ecr;
mod error;
pub mod helper;
pub mod isolated;
pub mod login;
mod principal;
mod progress;
mod pull;
mod push;
pub mod reference;
mod stored;
mod token_cache;
mod transfer;

pub use auth::{RegistryAuth, header_for_all};
pub use credentials::{Credential, Credentials, Secret, Settings};
pub use error::{Error, ErrorKind};
pub use progress::{Layer, LayerState, Progress};
pub use pull::{Pull, Pulled, is_there, pull};
pub use push::{Push, Pushed, push};
pub use reference::Reference;
pub use transfer::{Limits, TransferError, TransferErrorKind};

/// Part of a registry's address that names it: no scheme, no path, lower case.
///
/// Docker writes addresses in several forms: `registry.example.com`, `https://registry.example.com/v2/`, and for its own
/// hub `https://index.docker.io/v1/`.
#[must_use]
pub fn host_of(server: &str) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    match host.to_ascii_lowercase() {
        host if ["docker.io", "registry-1.docker.io"].contains(&host.as_str()) => {
            "index.docker.io".to_owned()
        }
        host => host,
    }
}

/// The address under which Docker keeps credentials for a registry, whatever the form in which somebody wrote it: the
/// host, or the whole address of Docker's hub.
#[must_use]
pub fn server_of(server: &str) -> String {
    match host_of(server) {
        host if host == "index.docker.io" => reference::HUB_SERVER.to_owned(),
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_has_one_name_whatever_the_form_of_its_address() {
        let table = [
            ("registry.example.com", "registry.example.com"),
            ("https://Registry.example.com/v2/", "registry.example.com"),
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("https://index.docker.io/v1/", "index.docker.io"),
            ("docker.io", "index.docker.io"),
            ("", ""),
        ];
        assert_eq!(server_of("docker.io"), reference::HUB_SERVER);
        assert_eq!(server_of("https://h:1/v2/"), "h:1");
        for (server, host) in table {
            assert_eq!(host_of(server), host, "{server}");
            assert_eq!(host_of(&server_of(server)), host, "{server}");
        }
    }
}
