//! A directory as the place for artifacts.
//!
//! Files are written to a hidden staging directory beside their place and moved there when all of them are complete, so
//! that a reader sees an artifact whole or not at all, and a failure leaves nothing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags};
use sha2::{Digest as _, Sha256};

use super::{Error, ErrorKind, Progress, ProgressSender, Stop, Stored, Upload, hex};
use crate::directory::{self, Directory, Link};
use crate::ownership::OwnedDirectory;

/// Bytes copied at once.
const BUFFER: usize = 256 * 1024;

/// How often a file is moved to its place, while others remove the directory that it goes to.
const TRIES: u32 = 100;

/// Keeps artifacts in a directory of this machine.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: PathBuf,
}

/// A directory for what is not complete yet. It goes away whatever happens, and with it the directories that were made
/// on the way to it, as far as nothing was stored in them.
#[derive(Debug)]
pub struct Staging {
    owned: OwnedDirectory,
    directory: Directory,
    made: Vec<PathBuf>,
}

impl Staging {
    /// Makes one in a directory that is this user's.
    pub fn make_in(parent: &Path) -> io::Result<Self> {
        let owned = OwnedDirectory::make_in(&parent.canonicalize()?)?;
        Self::at(owned, Vec::new())
    }

    /// Makes one with a hidden name in a directory, beside what it is for.
    pub fn make_beside(parent: &Directory) -> io::Result<Self> {
        Self::at(OwnedDirectory::make_hidden_in(parent)?, Vec::new())
    }

    fn at(owned: OwnedDirectory, made: Vec<PathBuf>) -> io::Result<Self> {
        let directory = Directory::open(owned.path());
        // What is in nobody's charge would stay.
        let directory = directory.inspect_err(|_| remove(&owned, &made))?;
        Ok(Self {
            owned,
            directory,
            made,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.owned.path()
    }

    /// Makes a file in it, for this program to fill.
    pub fn create(&self, name: &str) -> io::Result<File> {
        self.directory.create_new(OsStr::new(name), 0o666)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        remove(&self.owned, &self.made);
    }
}

fn remove(owned: &OwnedDirectory, made: &[PathBuf]) {
    // Its name is not to be guessed: nothing else has it, wherever the way to it leads by now.
    let _ = fs::remove_dir_all(owned.path());
    for made in made.iter().rev() {
        // One that holds something stays.
        let _ = directory::remove_empty(made);
    }
}

/// Where the files of an artifact go: below the root of a store.
struct Target<'s> {
    store: &'s DirectoryStore,
    root: Directory,
    /// The directory of the file before: most often the next one goes there too.
    last: Option<(PathBuf, Directory)>,
}

impl Target<'_> {
    /// The directory with this path below the root, made if it is not there.
    fn parent(&mut self, relative: &Path, made: &mut Vec<PathBuf>) -> Result<&Directory, Error> {
        if self.last.as_ref().is_none_or(|(path, _)| path != relative) {
            let opened = self.root.make_below(relative, 0o777, made);
            let opened = opened.map_err(|error| {
                let in_the_way = matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
                );
                let error = Error::directory(&self.store.path(relative), error);
                let help =
                    "a file of that name is in the way: remove it, or choose another artifact name";
                let help = in_the_way.then(|| help.to_owned());
                Error {
                    help: help.or(error.help),
                    ..error
                }
            })?;
            self.last = Some((relative.to_owned(), opened));
        }
        Ok(self.last.as_ref().map_or(&self.root, |(_, open)| open))
    }
}

impl DirectoryStore {
    /// A store below this directory, which is made when something is stored. Its path is absolute, and through no link
    /// on it anything is stored.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn location(&self, key: &str) -> String {
        self.path(key).display().to_string()
    }

    fn path(&self, key: impl AsRef<Path>) -> PathBuf {
        self.root.join(key)
    }

    pub(super) fn make_staging_directory(&self) -> Result<Staging, Error> {
        self.begin().map(|(_, staging)| staging)
    }

    /// Makes the root, if it is not there, and a staging directory in it.
    fn begin(&self) -> Result<(Directory, Staging), Error> {
        let mut made = Vec::new();
        let failed = |error| Error::directory(&self.root, error);
        let begun = Directory::make(&self.root, 0o777, &mut made)
            .and_then(|root| OwnedDirectory::make_hidden_in(&root).map(|owned| (root, owned)));
        let begun = begun.inspect_err(|_| {
            for made in made.iter().rev() {
                let _ = directory::remove_empty(made);
            }
        });
        let (root, owned) = begun.map_err(failed)?;
        let staging = Staging::at(owned, made).map_err(failed)?;
        Ok((root, staging))
    }

    /// Whether a file could be stored under this key: by way of a directory of this store's own, in its place.
    pub(super) fn try_writing(&self, key: &str) -> Result<(), Error> {
        can_write(&self.root)?;
        let path = self.path(key);
        can_write(path.parent().unwrap_or(&self.root))
    }

    pub(super) async fn put(
        &self,
        uploads: Vec<Upload>,
        progress: &ProgressSender,
        stop: &Stop,
    ) -> Result<(), Error> {
        let (store, progress, stop) = (self.clone(), progress.clone(), stop.clone());
        let work = tokio::task::spawn_blocking(move || store.put_all(&uploads, &progress, &stop));
        work.await.map_err(|error| Error {
            kind: ErrorKind::Other,
            message: "storing artifacts broke off".to_owned(),
            help: None,
            source: Some(error.into()),
        })?
    }

    fn put_all(
        &self,
        uploads: &[Upload],
        progress: &ProgressSender,
        stop: &Stop,
    ) -> Result<(), Error> {
        let (root, mut staging) = self.begin()?;
        let mut staged = Vec::with_capacity(uploads.len());
        for (number, upload) in uploads.iter().enumerate() {
            if stop.is_requested() {
                return Err(Error::stopped());
            }
            let temporary = number.to_string();
            let (bytes, sha256) = if upload.consume {
                let hashed = hash(upload, progress, stop)?;
                take(&upload.source, &staging.directory, &temporary)
                    .map_err(|error| Error::io("move", &upload.source, error))?;
                hashed
            } else {
                copy(upload, &staging.directory, &temporary, progress, stop)?
            };
            upload.check(&sha256)?;
            staged.push((temporary, bytes, sha256));
        }
        let mut target = Target {
            store: self,
            root,
            last: None,
        };
        let staged = uploads.iter().zip(staged);
        for (stored, (upload, (temporary, bytes, sha256))) in staged.enumerate() {
            let relative = match &upload.raw_key {
                Some(raw) => Path::new(raw),
                None => Path::new(&upload.key),
            };
            let placed = self.place(&mut target, &mut staging, &temporary, relative, bytes);
            if let Ok(false) = &placed {
                let _ = progress.send(Progress::Note(format!(
                    "{} was stored, and then replaced by somebody else",
                    self.path(relative).display()
                )));
            }
            if let (Err(_), true) = (&placed, stored > 0) {
                let _ = progress.send(Progress::Note(format!(
                    "what was stored in {} before that ({stored} file{}) stays: nothing that is stored is removed",
                    self.root.display(),
                    if stored == 1 { "" } else { "s" }
                )));
            }
            placed?;
            let location = self.location(&upload.key);
            let _ = progress.send(Progress::Stored(Stored {
                path: upload.path.clone(),
                location,
                bytes,
                sha256,
            }));
        }
        staging.made.clear();
        Ok(())
    }

    /// Moves a file to where it belongs, and makes the directory for it. Whether it is still there; false if it is somebody
    /// else's by now (ART-33).
    fn place(
        &self,
        target: &mut Target<'_>,
        staging: &mut Staging,
        temporary: &str,
        relative: &Path,
        bytes: u64,
    ) -> Result<bool, Error> {
        let path = self.path(relative);
        let (parent, name) =
            directory::split(relative).map_err(|error| Error::io("write", &path, error))?;
        let own = staging.directory.look_at(OsStr::new(temporary)).ok();
        let own = own.map(|found| found.identity);
        let mut tries = 0;
        loop {
            let opened = target.parent(parent, &mut staging.made)?;
            tries += 1;
            match move_into_place(&staging.directory, temporary, opened, name) {
                // A build at the same time that failed has taken the directory away again, which it had made.
                Err(error) if error.kind == ErrorKind::NotFound && tries < TRIES => {
                    target.last = None;
                }
                moved => {
                    moved?;
                    return verify(opened, name, bytes, own);
                }
            }
        }
    }
}

/// Whether files could be made in a directory. What is not there yet is not made for it: then the nearest one above counts.
pub fn can_write(directory: &Path) -> Result<(), Error> {
    for there in directory.ancestors() {
        let doing = if there == directory {
            "write to"
        } else {
            "make a directory in"
        };
        let access = Access::WRITE_OK | Access::EXEC_OK;
        let accessible = Directory::open(there).and_then(|open| {
            let can = rustix::fs::accessat(&open, ".", access, AtFlags::empty());
            Ok(can?)
        });
        match accessible {
            // It is further up that something is, and can be written to or is in the way.
            Err(_) if fs::symlink_metadata(there).is_err() => {}
            Err(error) if Link::of(&error).is_some() => {
                return Err(Error::directory(directory, error));
            }
            accessible => {
                return accessible.map_err(|error| Error::io(doing, there, error));
            }
        }
    }
    Ok(())
}

/// Moves a file that is nobody else's into a directory.
fn take(file: &Path, to: &Directory, new: &str) -> io::Result<()> {
    let (parent, name) = directory::split(file)?;
    Directory::open(parent)?.rename(name, to, OsStr::new(new))
}

fn move_into_place(
    staging: &Directory,
    temporary: &str,
    parent: &Directory,
    name: &OsStr,
) -> Result<(), Error> {
    let moved = staging.rename(OsStr::new(temporary), parent, name);
    moved.map_err(|error| {
        let help = (error.kind() == io::ErrorKind::IsADirectory).then(|| {
            "a directory of that name is in the way: remove it, or choose another artifact name"
                .to_owned()
        });
        Error {
            help,
            ..Error::io("write", &parent.path().join(name), error)
        }
    })
}

/// Copies one file with its permissions. Returns its size and SHA-256.
fn copy(
    from: &Upload,
    to: &Directory,
    name: &str,
    progress: &ProgressSender,
    stop: &Stop,
) -> Result<(u64, String), Error> {
    let path = to.path().join(name);
    let unwritable = |error| Error::io("write", &path, error);
    let mut target = to.create_new(OsStr::new(name), 0o666).map_err(unwritable)?;
    let (permissions, copied) = read_through(from, progress, stop, &mut |chunk| {
        target.write_all(chunk).map_err(unwritable)
    })?;
    target.set_permissions(permissions).map_err(unwritable)?;
    Ok(copied)
}

/// Size and SHA-256 of a file.
fn hash(upload: &Upload, progress: &ProgressSender, stop: &Stop) -> Result<(u64, String), Error> {
    read_through(upload, progress, stop, &mut |_| Ok(())).map(|(_, hashed)| hashed)
}

/// Reads a file to its end, hands on every chunk, and hashes all of it.
fn read_through(
    upload: &Upload,
    progress: &ProgressSender,
    stop: &Stop,
    chunk: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(fs::Permissions, (u64, String)), Error> {
    let path = &upload.source;
    let unreadable = |error| Error::source_file(path, error);
    let mut source = upload.open().map_err(unreadable)?;
    let metadata = source.metadata().map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0;
    loop {
        if stop.is_requested() {
            return Err(Error::stopped());
        }
        let read = source.read(&mut buffer).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        chunk(&buffer[..read])?;
        bytes += read as u64;
        let _ = progress.send(Progress::Bytes(read as u64));
    }
    if bytes != metadata.len() {
        return Err(Error::changed(path));
    }
    let permissions = fs::Permissions::from_mode(metadata.permissions().mode() & 0o777);
    Ok((permissions, (bytes, hex(&hash.finalize()))))
}

/// Looks whether all of a file is there; false if it is somebody else's by now (ART-33).
fn verify(
    parent: &Directory,
    name: &OsStr,
    bytes: u64,
    own: Option<(u64, u64)>,
) -> Result<bool, Error> {
    let path = parent.path().join(name);
    let found = parent
        .look_at(name)
        .map_err(|error| Error::io("look at", &path, error))?;
    if own.is_some_and(|own| own != found.identity) {
        return Ok(false);
    }
    let there = found.bytes;
    if there != bytes {
        let message = format!(
            "{} has {there} bytes where {bytes} were written",
            path.display()
        );
        return Err(Error {
            kind: ErrorKind::Mismatch,
            message,
            help: None,
            source: None,
        });
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn upload(source: &Path, key: &str) -> Upload {
        Upload {
            key: key.to_owned(),
            raw_key: None,
            source: source.to_owned(),
            follow_links: true,
            path: key.to_owned(),
            consume: false,
            sha256: None,
            unless_there: false,
        }
    }

    fn put(
        store: &DirectoryStore,
        uploads: &[Upload],
        stop: &Stop,
    ) -> (Result<(), Error>, Vec<Stored>) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let result = store.put_all(uploads, &sender, stop);
        drop(sender);
        let mut stored = Vec::new();
        while let Ok(progress) = receiver.try_recv() {
            if let Progress::Stored(file) = progress {
                stored.push(file);
            }
        }
        (result, stored)
    }

    fn everything_below(root: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    directories.push(entry.path());
                } else {
                    found.push(
                        entry
                            .path()
                            .strip_prefix(root)
                            .unwrap()
                            .display()
                            .to_string(),
                    );
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn files_are_stored_with_their_hash_and_permissions() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("tool");
        fs::write(&source, "abc").unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o755)).unwrap();
        let store = DirectoryStore::new(place.path().canonicalize().unwrap().join("out"));
        let (result, stored) = put(&store, &[upload(&source, "app/bin/tool")], &Stop::default());
        result.unwrap();
        assert_eq!(
            stored[0].sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(everything_below(store.root()), ["app/bin/tool"]);
        let mode = fs::metadata(store.path("app/bin/tool"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("a");
        fs::write(&source, "a").unwrap();
        let store = DirectoryStore::new(place.path().canonicalize().unwrap().join("out"));
        let uploads = [
            upload(&source, "a"),
            upload(&place.path().join("gone"), "b"),
        ];
        let (result, stored) = put(&store, &uploads, &Stop::default());
        assert_eq!(result.unwrap_err().kind, ErrorKind::Source);
        assert!(stored.is_empty());
        assert!(!store.root().exists());

        let stop = Stop::default();
        stop.request();
        let (result, _) = put(&store, &uploads[..1], &stop);
        assert_eq!(result.unwrap_err().kind, ErrorKind::Stopped);
        assert!(!store.root().exists());

        fs::create_dir(store.root()).unwrap();
        let (result, _) = put(&store, &uploads, &Stop::default());
        result.unwrap_err();
        assert!(store.root().is_dir(), "it was there before");
    }

    #[test]
    fn content_that_is_not_what_was_meant_is_not_stored() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("a");
        fs::write(&source, "abd").unwrap();
        let store = DirectoryStore::new(place.path().canonicalize().unwrap().join("out"));
        let meant = Upload {
            sha256: Some(hex(&Sha256::digest("abc"))),
            ..upload(&source, "a")
        };
        let (result, _) = put(&store, &[meant], &Stop::default());
        assert_eq!(result.unwrap_err().kind, ErrorKind::Source);
        assert_eq!(everything_below(store.root()), Vec::<String>::new());
    }

    // ART-33
    #[test]
    fn a_file_of_somebody_else_is_no_failure() {
        let place = tempfile::tempdir().unwrap();
        let (ours, theirs) = (place.path().join("ours"), place.path().join("theirs"));
        fs::write(&ours, "ours").unwrap();
        fs::write(&theirs, "longer").unwrap();
        let open = Directory::open(&place.path().canonicalize().unwrap()).unwrap();
        let own = open.look_at(OsStr::new("ours")).ok();
        let own = own.map(|found| found.identity);
        let verify = |name: &str, bytes| verify(&open, OsStr::new(name), bytes, own);
        assert!(verify("ours", 4).unwrap());
        assert!(!verify("theirs", 4).unwrap());
        let short = verify("ours", 5).unwrap_err();
        assert_eq!(short.kind, ErrorKind::Mismatch);
    }

    // ART-13
    #[test]
    fn what_is_stored_stays_when_something_is_in_the_way_of_the_rest() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("a");
        fs::write(&source, "new").unwrap();
        let store = DirectoryStore::new(place.path().join("out"));
        fs::create_dir_all(store.path("b")).unwrap();
        fs::write(store.path("kept"), "somebody's own").unwrap();
        let uploads = [upload(&source, "a"), upload(&source, "b")];
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let result = store.put_all(&uploads, &sender, &Stop::default());
        result.unwrap_err();
        drop(sender);
        let mut notes = Vec::new();
        while let Ok(progress) = receiver.try_recv() {
            if let Progress::Note(note) = progress {
                notes.push(note);
            }
        }
        assert!(notes[0].contains("(1 file) stays"), "{notes:?}");
        assert_eq!(everything_below(store.root()), ["a", "kept"]);
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("a");
        fs::write(&source, "a").unwrap();
        let store = DirectoryStore::new(place.path().canonicalize().unwrap().join("out"));
        put(&store, &[upload(&source, "app")], &Stop::default())
            .0
            .unwrap();
        let error = put(&store, &[upload(&source, "app/x")], &Stop::default())
            .0
            .unwrap_err();
        assert!(
            error
                .help
                .unwrap()
                .contains("a file of that name is in the way")
        );
        fs::create_dir(store.path("dir")).unwrap();
        let error = put(&store, &[upload(&source, "dir")], &Stop::default())
            .0
            .unwrap_err();
        assert!(
            error
                .help
                .unwrap()
                .contains("a directory of that name is in the way")
        );
    }
}
