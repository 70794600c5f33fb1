//! Where artifacts are kept: a directory of this machine, or a bucket.
//!
//! A concrete facade over two kinds. What both promise (ART-11, ART-13):
//!
//! - What `put` returns was there, whole: its size, and where the place can tell also its checksum, were asked for after
//!   it was stored.
//! - A failure, or a wish to stop, leaves nothing half stored: in a directory, files appear only when all of an artifact is
//!   ready; in a bucket, uploads that were begun are aborted. Whatever is in its place stays there: nothing that is stored is
//!   ever removed.
//! - Memory stays bounded, whatever the size.

mod dir;
mod objects;
mod s3;

pub use dir::{DirectoryStore, Staging, can_write};
pub use objects::{Beginning, Object};
pub use s3::{S3Settings, S3Store, Unfinished};

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};

use crate::directory::{LINK_HELP, Link};
pub use crate::units::hex;

/// A file that is to be stored under a key.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Where it goes: segments with `/`, relative to the store.
    pub key: String,
    /// The same as it really is, where that is not UTF-8, for a place that can keep it.
    pub raw_key: Option<OsString>,
    /// The file.
    pub source: PathBuf,
    /// Whether links on the way to it are followed. Where a container could put one there, they are an error.
    pub follow_links: bool,
    /// Its path in the artifact, for reports.
    pub path: String,
    /// Whether the file is nobody else's, so that it may be moved instead of copied.
    pub consume: bool,
    /// SHA-256 that its content has to have, in hexadecimal, where that is known.
    pub sha256: Option<String>,
    /// Whether it is stored only if there is nothing under its key: else that is [`ErrorKind::Exists`]. Buckets only.
    pub unless_there: bool,
}

impl Upload {
    /// Opens the file for reading.
    fn open(&self) -> io::Result<File> {
        if self.follow_links {
            File::open(&self.source)
        } else {
            crate::view::open_without_links(&self.source)
        }
    }

    /// Whether content with this SHA-256 is what was meant.
    fn check(&self, sha256: &str) -> Result<(), Error> {
        match &self.sha256 {
            Some(meant) if meant != sha256 => Err(Error::changed(&self.source)),
            _ => Ok(()),
        }
    }
}

/// What is known of an archive, kept beside it where the place can (ART-11).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMetadata {
    /// Pairs of name and value.
    pub entries: Vec<(&'static str, String)>,
    /// Media type.
    pub content_type: Option<&'static str>,
}

/// A file in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its path in the artifact.
    pub path: String,
    /// Where it is.
    pub location: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256 of the content, in hexadecimal.
    pub sha256: String,
}

/// What is heard while files are stored.
#[derive(Clone, Debug)]
pub enum Progress {
    /// So many bytes more are there.
    Bytes(u64),
    /// One file is there, verified.
    Stored(Stored),
    /// Something a person should know.
    Note(String),
}

/// Takes progress. Unbounded in name only: it says a few words per file or part.
pub type ProgressSender = mpsc::UnboundedSender<Progress>;

/// A wish to stop that work in any thread can look at and wait for.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(AtomicBool, Notify)>);

impl Stop {
    /// Asks for the end.
    pub fn request(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// The flag, for work that only looks.
    #[must_use]
    pub fn flag(&self) -> &AtomicBool {
        &self.0.0
    }

    /// Waits until it is asked for.
    pub async fn requested(&self) {
        let notified = self.0.1.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_requested() {
            notified.await;
        }
    }
}

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bucket or directory is not there.
    NotFound,
    /// Not allowed.
    Forbidden,
    /// No room.
    NoSpace,
    /// The place cannot be reached.
    Unreachable,
    /// What is there is not what was stored.
    Mismatch,
    /// There is a link on the way.
    Link,
    /// A file of the artifact.
    Source,
    /// An upload that was begun as a trial could not be given up.
    NotGivenUp,
    /// Something is there, and was not to be replaced.
    Exists,
    /// Somebody asked for the end.
    Stopped,
    /// Anything else.
    Other,
}

/// Why something is not stored.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of trouble it is.
    pub kind: ErrorKind,
    /// What happened, in the words of the place.
    pub message: String,
    /// What to do, where that is known.
    pub help: Option<String>,
    /// The error below.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::Forbidden
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            _ => ErrorKind::Other,
        };
        Self {
            kind,
            message: format!("could not {doing} {}: {source}", path.display()),
            help: None,
            source: Some(source.into()),
        }
    }

    /// A directory that could not be made, or gone to.
    fn directory(path: &Path, source: io::Error) -> Self {
        let is_link = Link::of(&source).is_some();
        let error = Self::io("make the directory", path, source);
        if !is_link {
            return error;
        }
        Self {
            kind: ErrorKind::Link,
            message: error.message.replace("make the directory", "write to"),
            help: Some(LINK_HELP.to_owned()),
            ..error
        }
    }

    fn source_file(path: &Path, source: io::Error) -> Self {
        Self {
            kind: ErrorKind::Source,
            ..Self::io("read", path, source)
        }
    }

    fn changed(path: &Path) -> Self {
        Self {
            kind: ErrorKind::Source,
            message: format!("{} changed while it was stored", path.display()),
            help: Some("something still writes to it: wait for its end in a command".to_owned()),
            source: None,
        }
    }

    fn stopped() -> Self {
        Self {
            kind: ErrorKind::Stopped,
            message: "stopped".to_owned(),
            help: None,
            source: None,
        }
    }
}

/// A place for artifacts.
#[derive(Debug)]
pub enum Store {
    /// A directory of this machine.
    Directory(DirectoryStore),
    /// A bucket.
    S3(Box<S3Store>),
}

impl Store {
    /// The place, for people.
    #[must_use]
    pub fn location(&self, key: &str) -> String {
        match self {
            Self::Directory(store) => store.location(key),
            Self::S3(store) => store.location(key),
        }
    }

    /// Whether keys have to be UTF-8.
    #[must_use]
    pub const fn wants_text(&self) -> bool {
        matches!(self, Self::S3(_))
    }

    /// A directory in which an archive is best made before it is stored: on the file system it goes to, where there is
    /// one.
    pub fn make_staging_directory(&self) -> Result<Option<Staging>, Error> {
        match self {
            Self::Directory(store) => store.make_staging_directory().map(Some),
            Self::S3(_) => Ok(None),
        }
    }

    /// Whether something could be stored under this key. Nothing comes of it, and nothing is replaced.
    pub async fn try_writing(&self, key: &str) -> Result<(), Error> {
        match self {
            Self::Directory(store) => store.try_writing(key),
            Self::S3(store) => store.try_writing(key).await,
        }
    }

    /// Stores files: all of them are there afterwards, or this fails. What is in its place by then stays.
    pub async fn put(
        &self,
        uploads: Vec<Upload>,
        metadata: ObjectMetadata,
        progress: &ProgressSender,
        stop: &Stop,
    ) -> Result<(), Error> {
        match self {
            Self::Directory(store) => store.put(uploads, progress, stop).await,
            Self::S3(store) => store.put(uploads, metadata, progress, stop).await,
        }
    }
}
