//! Fetching sources: objects of S3 and git repositories become directories (SRC-7 to SRC-30).
//!
//! Whoever wants a source says where it is ([`Location`]), where it is to go, and how the world is reached ([`Settings`]);
//! nothing of that comes from the command line or the environment of this process by itself. What comes back is what is
//! there now ([`Fetched`]), or why it is not ([`Error`]), in the words of CodeBuild where they are known. After an error
//! there is nothing left of it. Every wait in here has a limit, and whoever stops waiting ends what is under way.

pub mod archive;
mod error;
mod git;
mod location;
mod originals;
mod s3;

pub use error::Error;
pub use git::GitSettings;
pub use location::{Credentials, GitLocation, Location, Revision, RevisionKind, S3Location};
pub use originals::Originals;
pub use s3::S3Settings;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ownership::remove_tree;

/// How often a source is tried before it counts as not there.
const ATTEMPTS: u32 = 5;

/// How the world is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How git is run.
    pub git: GitSettings,
    /// How S3 is reached.
    pub s3: S3Settings,
    /// How much an archive may make of itself.
    pub limits: archive::Limits,
    /// The pause before the second attempt; each further one is twice as long.
    pub first_pause: Duration,
}

/// What was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The commit that is checked out; only of git.
    pub commit: Option<String>,
    /// The version of the object, or its entity tag where its bucket keeps no versions; only of S3.
    pub object_version: Option<String>,
}

/// What is heard meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are there, of so many where that is known.
    Received {
        /// Bytes that are there.
        bytes: u64,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// Nothing was heard for so long.
    Silence {
        /// Since the last question.
        waited: Duration,
    },
    /// Something failed that may not fail again.
    Retry {
        /// Number of the next attempt, from 2.
        next: u32,
        /// How many there are.
        of: u32,
        /// How long it is waited for.
        wait: Duration,
        /// Why the last one failed.
        reason: String,
    },
}

/// Hears of progress.
pub type Watch<'w> = &'w (dyn Fn(Progress) + Sync);

/// Fetches a source into a directory, which is made for it. What is no longer waited for ends by itself, soon.
///
/// # Errors
///
/// [`Error`]: the source is not there, and nothing of it is.
///
/// # Panics
///
/// A directory of this machine needs no fetching, and cannot be.
pub async fn fetch(
    location: &Location,
    into: &Path,
    settings: &Settings,
    watch: Watch<'_>,
) -> Result<Fetched, Error> {
    let fetched = match location {
        Location::Git(at) => Box::pin(git::fetch(at, into, settings, watch)).await,
        Location::S3(at) => Box::pin(s3::fetch(at, into, settings, watch)).await,
        Location::Directory(_) => unreachable!("invariant: only what is elsewhere is fetched"),
    };
    if fetched.is_err() {
        let _ = remove_tree(into);
    }
    fetched
}

impl Settings {
    /// The pause after this many failed attempts, from 1.
    fn pause(&self, failed: u32) -> Duration {
        self.first_pause.saturating_mul(1 << (failed - 1).min(16))
    }

    /// Says that there will be another attempt, and waits for its time.
    async fn wait(&self, failed: u32, reason: &str, watch: Watch<'_>) {
        let wait = self.pause(failed);
        watch(Progress::Retry {
            next: failed + 1,
            of: ATTEMPTS,
            wait,
            reason: reason.to_owned(),
        });
        tokio::time::sleep(wait).await;
    }
}

/// Tells work in another thread to end when nobody waits for it any more.
struct EndWithMe(Arc<AtomicBool>);

impl Drop for EndWithMe {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
