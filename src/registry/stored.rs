//! What `docker login` gave to this program as a credential helper: kept in a file of the build, or of the user (REG-9).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::credentials::{Credential, Secret};
use super::ecr::{Registry, USER, now};
use crate::private;

/// Longest wait for another process that changes the file.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// How long a token of ECR's lives. Docker does not say when the one it gives was made, so it counts from here.
const TOKEN_LIFE: u64 = 12 * 60 * 60;

/// A file of credentials.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    /// By the registry's address, as Docker wrote it.
    registries: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    username: String,
    secret: String,
    /// Seconds since 1970.
    stored: u64,
}

impl Entry {
    /// Tokens of ECR's end by themselves, and then stand in the way of a good one.
    fn is_over(&self, server: &str, now: u64) -> bool {
        self.username == USER
            && Registry::parse(server).is_some()
            && now.saturating_sub(self.stored) >= TOKEN_LIFE
    }
}

impl Stored {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self) -> io::Result<Content> {
        match std::fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::default()),
            Err(error) => Err(error),
        }
    }

    /// The credential for a registry, if there is one that is not over.
    pub(super) fn get(&self, server: &str) -> io::Result<Option<Credential>> {
        let content = self.read()?;
        let host = super::host_of(server);
        let found = content.registries.get_key_value(server).or_else(|| {
            let mut all = content.registries.iter();
            all.find(|(other, _)| super::host_of(other) == host)
        });
        Ok(found
            .filter(|(server, entry)| !entry.is_over(server, now()))
            .map(|(server, entry)| Credential {
                server: server.clone(),
                username: entry.username.clone(),
                secret: Secret::new(&entry.secret),
            }))
    }

    /// Addresses and names of all.
    pub(super) fn list(&self) -> io::Result<BTreeMap<String, String>> {
        let names = self.read()?.registries.into_iter();
        Ok(names
            .filter(|(server, entry)| !entry.is_over(server, now()))
            .map(|(server, entry)| (server, entry.username))
            .collect())
    }

    /// Keeps a credential in place of what was there for this registry.
    pub(super) fn put(&self, credential: &Credential) -> io::Result<()> {
        self.change(|registries| {
            let entry = Entry {
                username: credential.username.clone(),
                secret: credential.secret.reveal().to_owned(),
                stored: now(),
            };
            registries.insert(credential.server.clone(), entry);
        })
    }

    /// Forgets the credential for a registry. Says whether there was one.
    pub(super) fn remove(&self, server: &str) -> io::Result<bool> {
        if !self.path.exists() {
            return Ok(false);
        }
        let host = super::host_of(server);
        self.change(|registries| {
            let before = registries.len();
            registries.retain(|other, _| super::host_of(other) != host);
            registries.len() < before
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Entry>) -> T) -> io::Result<T> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        if !directory.exists() {
            private::directory(directory)?;
        }
        let _lock = private::lock(&self.path.with_extension("lock"), LOCK_LIMIT)?;
        let mut content = self.read()?;
        let changed = change(&mut content.registries);
        private::write(&self.path, &serde_json::to_vec(&content)?)?;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(server: &str, secret: &str) -> Credential {
        Credential {
            server: server.to_owned(),
            username: "me".to_owned(),
            secret: Secret::new(secret),
        }
    }

    #[test]
    fn what_was_stored_is_found_until_it_is_erased() {
        let place = tempfile::tempdir().unwrap();
        let stored = Stored::new(place.path().join("made/credentials.json"));
        assert!(stored.get("h.example").unwrap().is_none());
        assert!(!stored.remove("h.example").unwrap());
        stored
            .put(&credential("https://h.example/v1/", "one"))
            .unwrap();
        stored
            .put(&credential("other.example:5000", "two"))
            .unwrap();
        stored
            .put(&credential("https://h.example/v1/", "three"))
            .unwrap();
        let found = stored.get("h.example").unwrap().unwrap();
        assert_eq!(found.secret.reveal(), "three");
        assert_eq!(found.server, "https://h.example/v1/");
        assert_eq!(stored.list().unwrap().len(), 2);
        assert!(stored.remove("https://h.example").unwrap());
        assert!(stored.get("https://h.example/v1/").unwrap().is_none());
        std::fs::write(stored.path(), "broken").unwrap();
        assert!(stored.get("h.example").is_err() && stored.put(&found).is_err());
    }

    #[test]
    fn a_token_that_is_over_is_not_given() {
        let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        let entry = |username: &str| Entry {
            username: username.to_owned(),
            secret: String::new(),
            stored: 0,
        };
        assert!(entry("AWS").is_over(host, TOKEN_LIFE));
        assert!(!entry("AWS").is_over(host, TOKEN_LIFE - 1));
        assert!(!entry("me").is_over(host, TOKEN_LIFE));
        assert!(!entry("AWS").is_over("h.example", TOKEN_LIFE));
    }
}
