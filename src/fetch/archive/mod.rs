//! Archives that somebody else made, unpacked into a directory that nobody else has: ZIP, TAR and compressed TAR (SRC-20 to
//! SRC-26).
//!
//! An archive is believed nothing. What it says leads to exactly one of two ends: everything in it is below the directory,
//! whole and checked, or there is an error and whoever asked removes the directory. Nothing is left out in silence.
//!
//! | file | what is there |
//! | --- | --- |
//! | [`name`] | which names of entries are places below a directory |
//! | [`tree`] | the directory: what may be written, and how much |
//! | [`zip`], [`tar`] | the two formats |
//!
//! How nothing gets outside: names have no `..`, and links are made last of all, so that while there is anything to write
//! there is no link to write through. Memory is bounded by [`Limits`] for whatever grows with an archive.

mod name;
mod tar;
mod tree;
mod zip;

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::units::render_size;

/// How much an archive may make of itself (SRC-24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most entries.
    pub entries: u64,
    /// Most bytes of all files together.
    pub bytes: u64,
    /// Most bytes of all files together for each byte of the archive. Counts beyond `free` only.
    pub ratio: u64,
    /// So many bytes are never too much for the archive they come from.
    pub free: u64,
    /// Most bytes of all links together, names and targets: they are held in memory.
    pub links: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            entries: 1_000_000,
            bytes: 100 * GIB,
            ratio: 200,
            free: GIB,
            links: 64 << 20,
        }
    }
}

impl Limits {
    /// Most bytes that an archive of this size may become.
    fn bytes_of(&self, archive: u64) -> u64 {
        archive
            .saturating_mul(self.ratio)
            .max(self.free)
            .min(self.bytes)
    }
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is none that is known.
    #[error("it is no ZIP, TAR or TAR.GZ archive")]
    UnknownFormat,
    /// It is not whole, or not what its format demands.
    #[error("the archive is broken: {0}")]
    Broken(String),
    /// An entry that cannot be had as the archive has it.
    #[error("entry {entry}: {problem}")]
    Entry {
        /// Name of the entry, fit to be shown.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More than is allowed.
    #[error("{0}")]
    TooMuch(String),
    /// The directory, or the file that the archive is.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it could not be done.
        source: io::Error,
    },
    /// Somebody asked for the end.
    #[error("stopped")]
    Stopped,
}

impl Error {
    fn entry(name: &[u8], problem: impl Into<String>) -> Self {
        Self::Entry {
            entry: name::shown(name),
            problem: problem.into(),
        }
    }

    fn broken(problem: impl Into<String>) -> Self {
        Self::Broken(problem.into())
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::UnknownFormat => "store the source as a ZIP archive",
            Self::Broken(_) => "make the archive anew and store it again",
            Self::Entry { .. } => {
                "make the archive without this entry, in the directory that it is to be unpacked in"
            }
            Self::TooMuch(_) => "make the archive smaller, or divide it among several sources",
            Self::Io { .. } => "see whether there is room, and whether files can be made there",
            Self::Stopped => "start the build again",
        }
    }
}

/// A format, told by the first bytes of an archive: names of objects say little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Zip,
    Tar,
    TarGz,
}

impl Format {
    /// That of a file which begins like this. `start` has all of its first 512 bytes that there are.
    fn of(start: &[u8]) -> Option<Self> {
        match start {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            [0x1f, 0x8b, ..] => Some(Self::TarGz),
            // The oldest form has no mark, but a sum that nothing else has by chance.
            _ if tar::is_header(start) => Some(Self::Tar),
            _ => None,
        }
    }
}

/// Unpacks an archive into a directory that is empty and nobody else's. `stop` ends it soon. After an error something of the
/// archive may be there.
///
/// # Errors
///
/// [`Error`] says what is wrong with the archive, or with the directory.
pub fn unpack(
    archive: &Path,
    into: &Path,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<Unpacked, Error> {
    let io = |doing: &'static str| {
        move |source: io::Error| Error::Io {
            doing,
            path: archive.to_owned(),
            source,
        }
    };
    let mut file = File::open(archive).map_err(io("open"))?;
    let size = file.metadata().map_err(io("look at"))?.len();
    let mut start = Vec::new();
    let read = file.by_ref().take(512).read_to_end(&mut start);
    read.and_then(|_| file.rewind()).map_err(io("read"))?;
    let mut tree = tree::Tree::new(into, limits, size, stop);
    match Format::of(&start) {
        Some(Format::Zip) => zip::unpack(file, &mut tree)?,
        Some(Format::Tar) => tar::unpack(io::BufReader::new(file), &mut tree)?,
        Some(Format::TarGz) => {
            // Several streams in a row are one, as for gzip itself.
            let plain = flate2::bufread::MultiGzDecoder::new(io::BufReader::new(file));
            tar::unpack(plain, &mut tree)?;
        }
        // A self-extracting archive begins with its program, and an empty file with nothing.
        None if zip::has_directory(&file) => zip::unpack(file, &mut tree)?,
        None => return Err(Error::UnknownFormat),
    }
    tree.finish()
}

/// More bytes than may be.
fn too_many_bytes(limit: u64, archive: u64) -> Error {
    Error::TooMuch(format!(
        "the archive has {} and would become more than {}",
        render_size(archive),
        render_size(limit)
    ))
}
