//! What says on this machine where a build has a container, for as long as it may have one: so that a build that uses no
//! engine knows whom to ask for what a killed one left (CTR-47, CTR-48).
//!
//! It is a file in a private directory that is locked by the build ([`OwnedDirectory`]). Where the lock is free, the build
//! is gone for certain, and what [`Left`] reads there is nobody's any more.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::leftovers;
use crate::engine::{self, Endpoint, Engine};
use crate::ownership::OwnedDirectory;

/// The file in the directory.
const FILE: &str = "engine.json";

/// Longest such file that is read, in bytes: far longer than any that is written.
const LONGEST: u64 = 64 * 1024;

/// The directory of one container. It goes away with the value if the container was settled, else with the next sweep.
#[derive(Debug)]
pub(super) struct Marker {
    directory: OwnedDirectory,
    settled: AtomicBool,
}

impl Marker {
    /// Makes one in `place` for a container that is about to be made with these labels. `None` where there can be none, as
    /// on a full disk: the build goes on, and a container it leaves is met by the next build that uses the same engine.
    pub(super) fn make(
        place: &Path,
        endpoint: &Endpoint,
        labels: &[(String, String)],
    ) -> Option<Self> {
        let left = Left {
            engine: Address::of(endpoint),
            labels: labels.iter().cloned().collect(),
        };
        let text = serde_json::to_vec(&left).ok()?;
        let marker = Self {
            directory: OwnedDirectory::make_in(place).ok()?,
            settled: AtomicBool::new(false),
        };
        let written = fs::write(marker.directory.path().join(FILE), text);
        if written.is_err() {
            marker.settle();
        }
        written.ok().map(|()| marker)
    }

    /// There is no container any more that nobody answers for, or there never was one.
    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if self.settled.load(Ordering::Relaxed) {
            let _ = fs::remove_dir_all(self.directory.path());
        }
    }
}

/// What a build left in an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    engine: Address,
    /// Those of everything that the build made: its id and its owner (CTR-20).
    labels: BTreeMap<String, String>,
}

/// An [`Endpoint`] as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Address {
    Unix(PathBuf),
    Tcp(String),
    Tls {
        address: String,
        certificates: PathBuf,
        verify: bool,
    },
}

impl Address {
    fn of(endpoint: &Endpoint) -> Self {
        // Whoever reads it may be elsewhere.
        let absolute = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        match endpoint {
            Endpoint::Unix(path) => Self::Unix(absolute(path)),
            Endpoint::Tcp(address) => Self::Tcp(address.clone()),
            Endpoint::Tls {
                address,
                certificates,
                verify,
            } => Self::Tls {
                address: address.clone(),
                certificates: absolute(certificates),
                verify: *verify,
            },
        }
    }

    fn endpoint(&self) -> Endpoint {
        match self.clone() {
            Self::Unix(path) => Endpoint::Unix(path),
            Self::Tcp(address) => Endpoint::Tcp(address),
            Self::Tls {
                address,
                certificates,
                verify,
            } => Endpoint::Tls {
                address,
                certificates,
                verify,
            },
        }
    }
}

impl Left {
    /// What a directory says that a build left there; `None` if it is about no engine.
    #[must_use]
    pub fn read(directory: &Path) -> Option<Self> {
        let mut text = Vec::new();
        let file = File::open(directory.join(FILE)).ok()?;
        file.take(LONGEST).read_to_end(&mut text).ok()?;
        let left: Self = serde_json::from_slice(&text).ok()?;
        // Without labels everything in the engine would be meant.
        left.labels.contains_key(super::BUILD_LABEL).then_some(left)
    }

    /// Where the engine is.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.engine.endpoint()
    }

    /// Asks the engine for what the build left there, and removes it with the volumes that are its own. What was kept stays.
    pub async fn remove(&self) -> Result<(), engine::Error> {
        let engine = Engine::connect(self.endpoint()).await?;
        leftovers::remove_all(&engine, &self.labels).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::abandoned;

    fn labels() -> Vec<(String, String)> {
        vec![(super::super::BUILD_LABEL.to_owned(), "p:1".to_owned())]
    }

    // CTR-47
    #[test]
    fn where_a_container_is_survives_being_written_down() {
        let place = tempfile::tempdir().unwrap();
        for endpoint in [
            Endpoint::Unix("/no/such.sock".into()),
            Endpoint::Tcp("host:2375".to_owned()),
            Endpoint::Tls {
                address: "host:2376".to_owned(),
                certificates: "/no/such".into(),
                verify: true,
            },
        ] {
            let marker = Marker::make(place.path(), &endpoint, &labels()).unwrap();
            let left = Left::read(marker.directory.path()).unwrap();
            assert_eq!(left.endpoint(), endpoint);
            assert_eq!(left.labels.into_iter().collect::<Vec<_>>(), labels());
            marker.settle();
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    // CTR-47
    #[test]
    fn what_was_not_settled_stays_for_a_sweep() {
        let place = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Tcp("host:2375".to_owned());
        let marker = Marker::make(place.path(), &endpoint, &labels()).unwrap();
        assert!(abandoned(place.path()).is_empty());
        drop(marker);
        let found = abandoned(place.path());
        let left = Left::read(&found[0].path);
        assert_eq!(left.unwrap().endpoint(), endpoint);
    }

    // CTR-48
    #[test]
    fn what_cannot_be_read_is_about_no_engine() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(Left::read(place.path()), None);
        for text in [
            "",
            "{",
            r#"{"engine":{"tcp":"host:1"},"labels":{}}"#,
            r#"{"engine":{"ssh":"host"},"labels":{"io.buildspec-runner.build":"p:1"}}"#,
        ] {
            fs::write(place.path().join(FILE), text).unwrap();
            assert_eq!(Left::read(place.path()), None, "{text}");
        }
    }
}
