//! What comes back from a copy of the source is complete in a directory of its own before anything of the caller's is
//! touched (CTR-13, CTR-58, CTR-59).

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::facts::{Facts, Listing};
use super::transfer::{FromChunks, below, entry_end, leads_outside};
use crate::directory::Directory;
use crate::engine;
use crate::ownership::{OwnedDirectory, remove_tree};

/// The file of the directory that says on this machine where something is staged.
const NOTE: &str = "staging";

/// Longest path that is read there, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Bytes that are copied or compared at once.
const PIECE: usize = 64 * 1024;

/// A directory in the source that is locked for as long as this process lives, and a note of where it is (CTR-59).
#[derive(Debug)]
pub(super) struct Room {
    directory: OwnedDirectory,
    note: Option<OwnedDirectory>,
}

impl Room {
    fn make(source: &Path, notes: &Path) -> io::Result<Self> {
        let note = OwnedDirectory::make_in(notes).ok();
        if let Some(note) = &note {
            use std::os::unix::ffi::OsStrExt as _;
            // Without it the next build of this source sweeps all the same.
            let _ = fs::write(note.path().join(NOTE), source.as_os_str().as_bytes());
        }
        let made = with_write(source, || {
            OwnedDirectory::make_hidden_in(&Directory::open(&source.canonicalize()?)?)
        });
        let made = made.inspect_err(|_| {
            if let Some(note) = &note {
                let _ = fs::remove_dir_all(note.path());
            }
        })?;
        // The build's files are nobody's to read who may not read where they go to.
        fs::set_permissions(made.path(), Permissions::from_mode(0o700))?;
        Ok(Self {
            directory: made,
            note,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let path = self.directory.path().to_owned();
        let _ = with_write(path.parent().unwrap_or(&path), || remove_tree(&path));
        if let Some(note) = &self.note {
            let _ = fs::remove_dir_all(note.path());
        }
    }
}

/// Does something in a directory, also where its own permissions are against it.
fn with_write<T>(directory: &Path, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match work() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let permissions = fs::symlink_metadata(directory)?.permissions();
            let more = Permissions::from_mode(permissions.mode() | 0o700);
            fs::set_permissions(directory, more)?;
            let done = work();
            let _ = fs::set_permissions(directory, permissions);
            done
        }
        done => done,
    }
}

/// The source in which a build had staged something that noted it in this directory; `None` if it is about no source.
#[must_use]
pub fn staged_in(note: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut path = Vec::new();
    let file = File::open(note.join(NOTE)).ok()?;
    file.take(LONGEST).read_to_end(&mut path).ok()?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    path.is_absolute().then_some(path)
}

/// Something that came, by its path relative to the source.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) path: PathBuf,
    pub(super) what: What,
    /// Permissions without the special bits.
    pub(super) mode: u32,
    /// In seconds and nanoseconds.
    pub(super) modified: (i64, i64),
}

/// What came.
#[derive(Debug)]
pub(super) enum What {
    Directory,
    /// It is staged here.
    File(PathBuf),
    /// A file with the content of the one that is there.
    SameFile,
    /// Where it leads.
    Link(PathBuf),
    /// Another name of this one, as a path relative to the source.
    HardLink(PathBuf),
}

/// What is fetched, and what came of it.
#[derive(Debug)]
pub(super) struct Staging {
    /// The source outside.
    pub(super) source: PathBuf,
    /// Where it is noted that something is staged.
    notes: PathBuf,
    pub(super) room: Option<Room>,
    files: u64,
    /// What the session inside saw there; `None` if it is gone.
    pub(super) listed: Option<Listing>,
    /// What of that is to come. What was not there yet comes as well, the first time.
    pub(super) wanted: HashSet<PathBuf>,
    pub(super) first: bool,
    pub(super) arrived: HashMap<PathBuf, Arrived>,
    /// Their order in the archive: a directory comes before what is in it, and a file before its other names.
    pub(super) order: Vec<PathBuf>,
}

impl Staging {
    pub(super) fn new(source: PathBuf, notes: PathBuf) -> Self {
        Self {
            source,
            notes,
            room: None,
            files: 0,
            listed: None,
            wanted: HashSet::new(),
            first: true,
            arrived: HashMap::new(),
            order: Vec::new(),
        }
    }

    /// Takes what is wanted of an archive whose entries all begin with one name.
    pub(super) fn take(&mut self, chunks: FromChunks) -> io::Result<()> {
        let mut archive = tar::Archive::new(chunks);
        let mut end = 0;
        for entry in archive.entries()? {
            let mut entry = entry.map_err(cut_off)?;
            end = entry_end(&entry);
            let path = below(&entry.path()?, Path::new("")).ok_or_else(leads_outside)?;
            if path.as_os_str().is_empty() {
                if !entry.header().entry_type().is_dir() {
                    return Err(io::Error::other(
                        "the build has put something else in the place of its source directory",
                    ));
                }
                continue;
            }
            if self.is_wanted(&path) {
                self.take_entry(&mut entry, &path).map_err(|error| {
                    let path = self.source.join(&path);
                    let reason = format!("{}: {}", path.display(), engine::chain(&error));
                    io::Error::new(error.kind(), reason)
                })?;
            }
        }
        archive.into_inner().expect_end(end)
    }

    fn is_wanted(&self, path: &Path) -> bool {
        match &self.listed {
            None => true,
            Some(listed) => {
                self.wanted.contains(path) || (self.first && !listed.contains_key(path))
            }
        }
    }

    fn take_entry<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &Path,
    ) -> io::Result<()> {
        let seconds = i64::try_from(entry.header().mtime()?).unwrap_or(i64::MAX);
        let what = match entry.header().entry_type() {
            tar::EntryType::Directory => What::Directory,
            tar::EntryType::Symlink => {
                let target = entry.link_name()?.ok_or_else(leads_outside)?;
                What::Link(target.into_owned())
            }
            tar::EntryType::Link => {
                let target = entry.link_name()?;
                let target = target.and_then(|name| below(&name, Path::new("")));
                What::HardLink(target.ok_or_else(leads_outside)?)
            }
            kind if kind.is_file() => self.take_file(entry, path)?,
            // Pipes, sockets and devices are no content.
            _ => return Ok(()),
        };
        let listed = self.listed.as_ref().and_then(|listed| listed.get(path));
        // An archive has whole seconds.
        let exact = listed.map(|facts| facts.modified);
        let arrived = Arrived {
            path: path.to_owned(),
            what,
            mode: entry.header().mode()? & 0o777,
            modified: exact
                .filter(|exact| exact.0 == seconds)
                .unwrap_or((seconds, 0)),
        };
        if self.arrived.insert(path.to_owned(), arrived).is_none() {
            self.order.push(path.to_owned());
        }
        Ok(())
    }

    fn take_file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &Path,
    ) -> io::Result<What> {
        let staged = self.next_name()?;
        let taken = write(entry, &staged).and_then(|()| {
            let there = self.source.join(path);
            Ok(has_real_parents(&self.source, path) && is_same(&staged, &there)?)
        });
        if matches!(taken, Ok(false)) {
            return Ok(What::File(staged));
        }
        let _ = fs::remove_file(&staged);
        taken.map(|_| What::SameFile)
    }

    /// Under this name something can be staged.
    pub(super) fn next_name(&mut self) -> io::Result<PathBuf> {
        let room = match self.room.take() {
            Some(room) => room,
            None => Room::make(&self.source, &self.notes)?,
        };
        self.files += 1;
        let name = room.directory.path().join(self.files.to_string());
        self.room = Some(room);
        Ok(name)
    }
}

fn cut_off(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, error)
}

/// Writes a file that has holes where its content is zero.
fn write<R: Read>(entry: &mut tar::Entry<'_, R>, to: &Path) -> io::Result<()> {
    let mut file = File::create_new(to)?;
    let size = entry.size();
    let (mut piece, mut written) = (vec![0; PIECE], 0);
    while written < size {
        let length = entry.read(&mut piece)?;
        if length == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the engine broke off in the middle of the files",
            ));
        }
        if piece[..length].iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(i64::try_from(length).unwrap_or(i64::MAX)))?;
        } else {
            file.write_all(&piece[..length])?;
        }
        written += length as u64;
    }
    file.set_len(size)
}

/// Whether there is a file with the content of another one.
pub(super) fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let size = fs::symlink_metadata(one)?.len();
    match fs::symlink_metadata(other) {
        Ok(found) if found.is_file() && found.len() == size => {}
        _ => return Ok(false),
    }
    // What cannot be read is not known to be the same.
    let Ok(mut other) = File::open(other) else {
        return Ok(false);
    };
    let mut one = File::open(one)?;
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let length = one.read(&mut left)?;
        if length == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        if other.read_exact(&mut right[..length]).is_err() || left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

/// Whether no link is on the way to a path below a directory.
pub(super) fn has_real_parents(top: &Path, path: &Path) -> bool {
    let mut parents = path.ancestors().skip(1);
    parents.all(|parent| fs::symlink_metadata(top.join(parent)).is_ok_and(|found| found.is_dir()))
}

/// A time of a file, as the system has it.
pub(super) fn time((seconds, nanoseconds): (i64, i64)) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let part = Duration::from_nanos(nanoseconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let whole = if seconds < 0 {
        epoch.checked_sub(whole)
    } else {
        epoch.checked_add(whole)
    };
    whole
        .and_then(|whole| whole.checked_add(part))
        .unwrap_or(epoch)
}

/// What is wanted of a listing: what is new or changed since another one, and what is gone.
pub(super) fn changes(before: &Listing, now: &Listing) -> (HashSet<PathBuf>, Vec<PathBuf>) {
    let untouched = |path: &Path, facts: &Facts| {
        let before = before.get(path);
        before.is_some_and(|before| facts.is_untouched(before))
    };
    let changed = now
        .iter()
        .filter(|(path, facts)| !path.as_os_str().is_empty() && !untouched(path, facts));
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    (
        changed.map(|(path, _)| path.clone()).collect(),
        gone.cloned().collect(),
    )
}
