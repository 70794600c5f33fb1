//! What is asked of the place where commands run, and what it answers: texts that cross the wall of a container.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Trouble;
use super::pack::{self, pack};
use super::path::CachePath;
use super::place::Place;
use super::unpack::{self, unpack};
use super::walk::look;
use crate::exec::WorkPlace;

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Make files of an archive that comes in.
    Unpack {
        /// `cache.paths`.
        paths: Vec<CachePath>,
    },
    /// Make an archive that goes out.
    Pack {
        /// `cache.paths`.
        paths: Vec<CachePath>,
        /// What is never taken, where commands run.
        hidden: Vec<PathBuf>,
        /// What [`Unpacked::look`] gave: if it still looks like that, nothing is packed.
        unless: Option<String>,
    },
}

impl Job {
    /// As text.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unpacked {
    /// Files and links.
    pub files: u64,
    /// Their content, in bytes.
    pub bytes: u64,
    /// How it looks, if there is nothing but what was unpacked.
    pub look: Option<String>,
}

/// What was packed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Packed {
    /// Files and links.
    pub files: u64,
    /// Their content, in bytes.
    pub bytes: u64,
    /// SHA-256 of names, modes and content.
    pub content_sha256: String,
}

/// What came of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Done {
    /// All of an archive is files.
    Unpacked(Unpacked),
    /// All files are an archive.
    Packed(Packed),
    /// Nothing was packed: it is what it was.
    Unchanged,
    /// It could not be done, and what was made is gone again.
    Failed(Trouble),
}

impl Done {
    /// What a text says.
    pub fn read(text: &[u8]) -> Result<Self, Trouble> {
        serde_json::from_slice(text).map_err(|error| {
            Trouble::new(format!(
                "the answer about the cache cannot be read: {error}"
            ))
        })
    }
}

/// Does a job where commands run: a [`Worker`](crate::exec::Worker).
#[must_use]
pub fn work(job: &[u8], at: &mut WorkPlace<'_>) -> Vec<u8> {
    let done = do_it(job, at).unwrap_or_else(Done::Failed);
    serde_json::to_vec(&done).unwrap_or_default()
}

fn do_it(job: &[u8], at: &mut WorkPlace<'_>) -> Result<Done, Trouble> {
    let job: Job = serde_json::from_slice(job).map_err(|error| {
        Trouble::new(format!(
            "the question about the cache cannot be read: {error}"
        ))
    })?;
    let place = Place {
        source_directory: at.source_directory,
        owner: at.owner,
        stopped: at.stopped,
    };
    match job {
        Job::Unpack { paths } => {
            let unpack::Counted {
                files,
                items,
                bytes,
            } = unpack(&paths, &place, at.input)?;
            // Only a hint: whoever cannot look packs.
            let seen = look(&paths, &[], at.stopped).ok();
            let seen = seen.filter(|(seen, _)| *seen == items);
            Ok(Done::Unpacked(Unpacked {
                files,
                bytes,
                look: seen.map(|(_, look)| look),
            }))
        }
        Job::Pack {
            paths,
            hidden,
            unless,
        } => {
            if let Some(before) = unless
                && look(&paths, &hidden, at.stopped)?.1 == before
            {
                return Ok(Done::Unchanged);
            }
            let pack::Counted {
                files,
                bytes,
                content_sha256,
            } = pack(&paths, &hidden, &place, at.output)?;
            Ok(Done::Packed(Packed {
                files,
                bytes,
                content_sha256,
            }))
        }
    }
}
