//! The cache of a build: what it restores before its first command and saves after its artifacts (CACHE-1 to CACHE-24).
//!
//! ```text
//! cache.paths ─▶ CachePath ─▶ walk ─▶ pack ─▶ archive ─▶ CacheStore        where commands run │ where runner is
//!                             files ◀─ unpack ◀─ archive ◀─ CacheStore
//! ```
//!
//! - Where commands run, [`work`] packs and unpacks: on the host in this process, in a container in the session there, with
//!   the same code and as a stream, so that nothing but the archive crosses the wall.
//! - Where runner is, [`CacheStore`] finds, keeps and removes archives: in a directory or a bucket, with the same names and
//!   the same content. An [`Archive`] is one file: what is known of it in a frame that zstd skips, then a compressed TAR.
//!
//! An entry of an archive names the place of its path in `cache.paths` and what is below that path's root. So it can
//! only come back below the same path, wherever that is in the build that restores it; whatever else it says is refused.
//!
//! Nothing in here can fail a build: whoever calls gets a [`Trouble`] to tell of.

mod archive;
mod directory;
mod job;
mod name;
mod pack;
mod path;
mod place;
mod s3;
mod store;
mod unpack;
mod walk;

pub use archive::{Archive, Facts, Unfinished};
pub use directory::CacheDirectory;
pub use job::{Done, Job, Packed, Unpacked, work};
pub use name::{Name, check_key};
pub use path::{CachePath, version};
pub use s3::CacheBucket;
pub use store::{CacheStore, Entry, Found, Search, Wanted, over};
pub use unpack::UNNAMED;

use serde::{Deserialize, Serialize};

/// What kept the cache from doing what it should. Never a reason for a build to fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    /// What was being done, to what, and why it failed.
    pub message: String,
    /// What to do, where that is known.
    pub help: Option<String>,
    /// Whether it is the archive itself that cannot be used, so that another one has to take its place.
    pub broken: bool,
}

impl Trouble {
    /// Trouble without a remedy.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            broken: false,
        }
    }

    /// An archive that cannot be used.
    pub(crate) fn broken(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self {
            message: format!("{what} is no archive that can be used: {why}"),
            help: Some("`runner cache rm` removes it".to_owned()),
            broken: true,
        }
    }

    /// Trouble with a file or directory.
    pub(crate) fn with_file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let help = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "make room there, or keep the cache smaller with `--cache-limit`"
            }
            ErrorKind::PermissionDenied => "check whose it is, and who may read and write there",
            ErrorKind::ReadOnlyFilesystem => "nothing can be written there: choose another place",
            ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::DirectoryNotEmpty => {
                "something else of that name is in the way: remove it"
            }
            _ => "look at what is there, and at the disk",
        };
        Self::new(format!("could not {doing} {}: {error}", path.display())).with_help(help)
    }

    /// Adds the remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
