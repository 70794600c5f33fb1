//! An archive as a file: what is known of it, then the compressed TAR.
//!
//! ```text
//! u32 0x184D2A5C │ u32 length │ JSON, padded with blanks │ zstd frames of a TAR        little-endian
//! ```
//!
//! The first part is a frame that zstd skips, so `zstd -d < FILE | tar -t` reads the whole. Its length is a multiple of
//! [`ALIGN`], known before the rest is: it is written over when the end is known.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Trouble;
use crate::units::hex;

/// Version of this form.
const FORMAT: u32 = 1;

/// Begins a frame that zstd skips.
const MAGIC: u32 = 0x184D_2A5C;

/// What the first part's length is a multiple of, in bytes.
pub(super) const ALIGN: usize = 4096;

/// Longest first part.
const MAX_HEAD: usize = 1024 * 1024;

/// Bytes after which what is written begins to go to the disk: at the end only the rest has to be waited for.
const SYNC_EVERY: u64 = 32 * 1024 * 1024;

/// Bytes that are hashed at once.
const BUFFER: usize = 256 * 1024;

/// What is known of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Version of the form.
    pub format: u32,
    /// `cache.key` after expansion; `None` where there is none.
    pub key: Option<String>,
    /// `cache.paths` as every build calls them.
    pub paths: Vec<String>,
    /// When it was saved, in milliseconds since 1970.
    pub saved: u64,
    /// Files and links in it.
    pub files: u64,
    /// Their content, in bytes.
    pub content_bytes: u64,
    /// SHA-256 of names, modes and content, whatever the times are.
    pub content_sha256: String,
    /// Size of the compressed TAR, in bytes.
    pub archive_bytes: u64,
    /// Its SHA-256.
    pub archive_sha256: String,
}

impl Facts {
    /// The first part of the file, at least as long as it may become.
    fn head(&self, least: usize) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let length = (json.len() + 8).next_multiple_of(ALIGN).max(least);
        let mut head = Vec::with_capacity(length);
        head.extend_from_slice(&MAGIC.to_le_bytes());
        let content = u32::try_from(length - 8).map_err(io::Error::other)?;
        head.extend_from_slice(&content.to_le_bytes());
        head.extend_from_slice(&json);
        head.resize(length, b' ');
        Ok(head)
    }

    /// Reads the first part of a file from its beginning. Gives its length too; nothing if it is no archive of ours.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<(Self, u64)>> {
        let mut prefix = [0; 8];
        if !read_all(from, &mut prefix)? {
            return Ok(None);
        }
        let number = |at: usize| {
            let bytes = prefix[at..at + 4].try_into();
            bytes.map_or(0, u32::from_le_bytes)
        };
        let length = number(4) as usize;
        if number(0) != MAGIC || length > MAX_HEAD {
            return Ok(None);
        }
        let mut json = vec![0; length];
        if !read_all(from, &mut json)? {
            return Ok(None);
        }
        let facts: Option<Self> = serde_json::from_slice(&json).ok();
        let facts = facts.filter(|facts| facts.format == FORMAT);
        Ok(facts.map(|facts| (facts, 8 + length as u64)))
    }
}

/// Fills a buffer; false if there is less.
fn read_all(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// An archive that is being written: a file that is nobody else's yet.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    file: File,
    facts: Facts,
    head: usize,
    hash: Sha256,
    /// Bytes that are not on their way to the disk yet.
    waiting: u64,
    /// Brings what was written to the disk, meanwhile.
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Unfinished {
    /// Begins one in a new file, which is open and has this path; of the facts the key and the paths have to be known.
    pub fn begin(
        (mut file, path): (File, PathBuf),
        key: Option<String>,
        paths: Vec<String>,
    ) -> Result<Self, Trouble> {
        let facts = Facts {
            format: FORMAT,
            key,
            paths,
            ..Facts::default()
        };
        // Room for what is not known yet: the longest numbers and two hashes.
        let unknown = Facts {
            saved: u64::MAX,
            files: u64::MAX,
            content_bytes: u64::MAX,
            archive_bytes: u64::MAX,
            content_sha256: "0".repeat(64),
            archive_sha256: "0".repeat(64),
            ..facts.clone()
        };
        let begun = unknown.head(0).and_then(|head| {
            file.write_all(&head)?;
            Ok((file, head.len()))
        });
        let (file, head) = begun.map_err(|error| Trouble::with_file("write", &path, &error))?;
        Ok(Self {
            path,
            file,
            facts,
            head,
            hash: Sha256::new(),
            waiting: 0,
            syncing: None,
        })
    }

    /// Adds a piece of the compressed TAR.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), Trouble> {
        self.hash.update(chunk);
        self.facts.archive_bytes += chunk.len() as u64;
        self.waiting += chunk.len() as u64;
        let written = self.file.write_all(chunk).and_then(|()| self.sync_so_far());
        written.map_err(|error| Trouble::with_file("write", &self.path, &error))
    }

    /// Has a disk work while files are read and compressed.
    fn sync_so_far(&mut self) -> io::Result<()> {
        let is_busy = self
            .syncing
            .as_ref()
            .is_some_and(|syncing| !syncing.is_finished());
        if self.waiting < SYNC_EVERY || is_busy {
            return Ok(());
        }
        self.synced()?;
        self.waiting = 0;
        let file = self.file.try_clone()?;
        // Where there is no thread for it, the end takes longer.
        self.syncing = thread::Builder::new().spawn(move || file.sync_data()).ok();
        Ok(())
    }

    /// Waits for what is on its way to the disk. The kernel tells of a failure once: who does not listen takes the file for whole.
    fn synced(&mut self) -> io::Result<()> {
        self.syncing.take().map_or(Ok(()), |syncing| {
            syncing
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the disk's thread broke off")))
        })
    }

    /// The end: all of it is on the disk afterwards.
    pub fn finish(
        mut self,
        saved: u64,
        files: u64,
        content_bytes: u64,
        content_sha256: String,
    ) -> Result<Archive, Trouble> {
        let synced = self.synced();
        let facts = Facts {
            saved,
            files,
            content_bytes,
            content_sha256,
            archive_sha256: hex(&self.hash.finalize()),
            ..self.facts
        };
        let (file, path) = (self.file, self.path);
        let written = synced.and_then(|()| {
            file.write_all_at(&facts.head(self.head)?, 0)?;
            file.sync_all()
        });
        written.map_err(|error| Trouble::with_file("write", &path, &error))?;
        Ok(Archive {
            place: path.display().to_string(),
            path,
            facts,
            head: self.head as u64,
        })
    }
}

/// An archive that is whole, as a file.
#[derive(Debug)]
pub struct Archive {
    /// Where it is.
    pub path: PathBuf,
    /// What is known of it.
    pub facts: Facts,
    /// What people call it: where it is kept, which need not be where this file is.
    place: String,
    head: u64,
}

impl Archive {
    /// Opens one and looks whether all of it is there, by its size. Gives the file too, which stays what it is whoever removes
    /// its name meanwhile.
    pub fn open(path: &Path) -> Result<(Self, File), Trouble> {
        let file = File::open(path).map_err(|error| Trouble::with_file("read", path, &error))?;
        Self::of(path, file)
    }

    /// The same for one that is open and has this path.
    pub fn of(path: &Path, file: File) -> Result<(Self, File), Trouble> {
        Self::read(path, file, path.display().to_string())
    }

    /// The same for one that was brought here from where people know it to be.
    pub fn open_as(path: &Path, place: String) -> Result<(Self, File), Trouble> {
        let file = File::open(path).map_err(|error| Trouble::with_file("read", path, &error))?;
        Self::read(path, file, place)
    }

    fn read(path: &Path, mut file: File, place: String) -> Result<(Self, File), Trouble> {
        let failed = |error| Trouble::with_file("read", path, &error);
        let Some((facts, head)) = Facts::read(&mut file).map_err(failed)? else {
            return Err(Trouble::broken(place, "it does not begin as one"));
        };
        let there = file.metadata().map_err(failed)?.len();
        let expected = head.saturating_add(facts.archive_bytes);
        if there != expected {
            let why = format!("it has {there} bytes where {expected} were saved");
            return Err(Trouble::broken(place, why));
        }
        let archive = Self {
            path: path.to_owned(),
            facts,
            place,
            head,
        };
        Ok((archive, file))
    }

    /// Reads all of it and looks whether it is what was saved, before anything is made of it. Leaves the file at the beginning
    /// of the compressed TAR.
    pub fn verify(&self, file: &mut File, stopped: &dyn Fn() -> bool) -> Result<(), Trouble> {
        let failed = |error| Trouble::with_file("read", &self.path, &error);
        file.seek(SeekFrom::Start(self.head)).map_err(failed)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            if stopped() {
                return Err(Trouble::new("stopped"));
            }
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        if hex(&hash.finalize()) != self.facts.archive_sha256 {
            let why = "its content is not what was saved";
            return Err(Trouble::broken(&self.place, why));
        }
        file.seek(SeekFrom::Start(self.head)).map_err(failed)?;
        Ok(())
    }

    /// Size of the file, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.head + self.facts.archive_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: &Path, content: &[u8]) -> Archive {
        let path = directory.join("one.tar.zst");
        let _ = std::fs::remove_file(&path);
        let key = Some("key/with \"quotes\"".to_owned());
        let file = File::create_new(&path).unwrap();
        let identities = vec!["a/**".to_owned()];
        let mut archive = Unfinished::begin((file, path), key, identities).unwrap();
        archive.write(content).unwrap();
        archive.finish(1, 2, 3, "content".to_owned()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let place = tempfile::tempdir().unwrap();
        let wrote = written(place.path(), b"abc");
        let (archive, mut file) = Archive::open(&wrote.path).unwrap();
        assert_eq!(archive.facts, wrote.facts);
        assert_eq!(archive.bytes(), file.metadata().unwrap().len());
        archive.verify(&mut file, &|| false).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"abc");
    }

    #[test]
    fn a_disk_that_works_meanwhile_loses_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("one.tar.zst");
        let file = File::create_new(&path).unwrap();
        let mut archive = Unfinished::begin((file, path.clone()), None, Vec::new()).unwrap();
        archive.write(b"first").unwrap();
        assert!(archive.syncing.is_none());
        archive.waiting = SYNC_EVERY;
        archive.write(b"second").unwrap();
        assert!(archive.syncing.is_some());
        archive.write(b"third").unwrap();
        archive.finish(1, 2, 3, "content".to_owned()).unwrap();
        let (archive, mut file) = Archive::open(&path).unwrap();
        archive.verify(&mut file, &|| false).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"firstsecondthird");
    }

    #[test]
    fn what_a_disk_refused_meanwhile_fails_the_archive() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("one.tar.zst");
        let file = File::create_new(&path).unwrap();
        let mut archive = Unfinished::begin((file, path), None, Vec::new()).unwrap();
        let refusal = || io::Error::from(io::ErrorKind::StorageFull);
        archive.syncing = Some(thread::spawn(move || Err(refusal())));
        let error = archive.finish(1, 2, 3, "content".to_owned()).unwrap_err();
        assert!(error.message.starts_with("could not write "), "{error}");
    }

    #[test]
    fn what_is_cut_or_changed_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = written(place.path(), &[7; 1000]).path;
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 5, 100, ALIGN, ALIGN + 500, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let error = Archive::open(&path).unwrap_err();
            assert!(error.message.contains("is no archive"), "{cut}: {error}");
        }
        let mut changed = whole;
        changed[ALIGN + 500] = 8;
        std::fs::write(&path, &changed).unwrap();
        let (archive, mut file) = Archive::open(&path).unwrap();
        let error = archive.verify(&mut file, &|| false).unwrap_err();
        assert!(error.message.contains("not what was saved"), "{error}");
    }
}
