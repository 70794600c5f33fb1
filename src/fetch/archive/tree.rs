//! The directory that an archive is unpacked in.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::name::Name;
use super::{Error, Limits, Unpacked, too_many_bytes};
use crate::private;

/// Bytes that are copied at a time.
const CHUNK: usize = 64 * 1024;

/// Permissions of a file whose archive says nothing of them.
pub(super) const FILE_MODE: u32 = 0o644;

/// Permissions of a directory whose archive says nothing of them.
pub(super) const DIRECTORY_MODE: u32 = 0o755;

/// What is written, and how much of it there may be still.
pub(super) struct Tree<'l> {
    root: PathBuf,
    limits: &'l Limits,
    stop: &'l AtomicBool,
    /// Size of the archive, in bytes.
    archive: u64,
    /// Most bytes of all files.
    most: u64,
    done: Unpacked,
    /// Links that are made when everything else is there, with their targets.
    links: Vec<(Name, Vec<u8>)>,
    link_bytes: u64,
    buffer: Vec<u8>,
    /// The directory that was made or found last: most files are beside one another.
    parent: PathBuf,
}

impl<'l> Tree<'l> {
    /// Nothing yet, in this directory, from an archive of this size.
    pub(super) fn new(root: &Path, limits: &'l Limits, archive: u64, stop: &'l AtomicBool) -> Self {
        Self {
            root: root.to_owned(),
            limits,
            stop,
            archive,
            most: limits.bytes_of(archive),
            done: Unpacked::default(),
            links: Vec::new(),
            link_bytes: 0,
            buffer: vec![0; CHUNK],
            parent: root.to_owned(),
        }
    }

    /// Counts an entry. Before anything else is done with it.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.go_on()?;
        self.done.entries += 1;
        if self.done.entries > self.limits.entries {
            let most = self.limits.entries;
            return Err(Error::TooMuch(format!(
                "the archive has more than {most} entries"
            )));
        }
        Ok(())
    }

    /// How many entries there were.
    pub(super) fn entries(&self) -> u64 {
        self.done.entries
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        Ok(())
    }

    /// A directory. One that is there already, for a file in it or twice in the archive, gets these permissions.
    pub(super) fn directory(&mut self, name: &Name, mode: u32) -> Result<(), Error> {
        let path = self.root.join(name.path());
        Self::make_directory(&path, name)?;
        if name.is_top() {
            return Ok(());
        }
        // Its owner has to get on with it, and to get rid of it.
        let mode = mode & 0o777 | 0o700;
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .map_err(io("set permissions of", &path))
    }

    fn make_directory(path: &Path, name: &Name) -> Result<(), Error> {
        match private::make_all(path, DIRECTORY_MODE) {
            Ok(()) => Ok(()),
            Err(error) if is_in_the_way(&error) => Err(file_and_directory(name)),
            Err(error) => Err(io("make", path)(error)),
        }
    }

    fn make_parent(&mut self, path: &Path, name: &Name) -> Result<(), Error> {
        let parent = path.parent().unwrap_or(&self.root).to_owned();
        if parent != self.parent {
            Self::make_directory(&parent, name)?;
            self.parent = parent;
        }
        Ok(())
    }

    /// A file with exactly these bytes. `size` is what the archive says of them before they are read: no more are written.
    pub(super) fn file(
        &mut self,
        name: &Name,
        mode: u32,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), Error> {
        let room = self.most.saturating_sub(self.done.bytes);
        if size > room {
            return Err(too_many_bytes(self.most, self.archive));
        }
        let path = self.root.join(name.path());
        self.make_parent(&path, name)?;
        let mut options = OpenOptions::new();
        // New in any case: two entries of one name are two answers to one question.
        options.write(true).create_new(true).mode(0o600);
        let mut file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(twice(name)),
            Err(error) if is_in_the_way(&error) => return Err(file_and_directory(name)),
            Err(error) => return Err(io("write", &path)(error)),
        };
        let mut written: u64 = 0;
        loop {
            self.go_on()?;
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(name, &error)),
            };
            written += count as u64;
            if written > size {
                return Err(entry(name, "it has more content than the archive says"));
            }
            file.write_all(&self.buffer[..count])
                .map_err(io("write", &path))?;
        }
        if written != size {
            return Err(entry(name, "it has less content than the archive says"));
        }
        self.done.bytes += written;
        // Its owner has to read it, whatever the archive says.
        let mode = Permissions::from_mode(mode & 0o777 | 0o400);
        file.set_permissions(mode)
            .map_err(io("set permissions of", &path))
    }

    /// A symbolic link, which is made at the end.
    pub(super) fn link(&mut self, name: Name, target: Vec<u8>) -> Result<(), Error> {
        name.may_link_to(&target).map_err(|problem| {
            let target = super::name::shown(&target);
            entry(&name, format!("{problem}: {target}"))
        })?;
        self.link_bytes += (name.path().as_os_str().len() + target.len()) as u64;
        if self.link_bytes > self.limits.links {
            return Err(Error::TooMuch("the archive has too many links".to_owned()));
        }
        self.links.push((name, target));
        Ok(())
    }

    /// Another name of a file that came before.
    pub(super) fn hard_link(&mut self, name: &Name, of: &Name) -> Result<(), Error> {
        let (path, target) = (self.root.join(name.path()), self.root.join(of.path()));
        if !fs::symlink_metadata(&target).is_ok_and(|found| found.is_file()) {
            return Err(entry(
                name,
                "it is another name of a file that does not come before it",
            ));
        }
        self.make_parent(&path, name)?;
        match fs::hard_link(&target, &path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(twice(name)),
            Err(error) if is_in_the_way(&error) => Err(file_and_directory(name)),
            Err(error) => Err(io("link", &path)(error)),
        }
    }

    /// Makes the links. Until here nothing could be written through one.
    pub(super) fn finish(mut self) -> Result<Unpacked, Error> {
        let links = std::mem::take(&mut self.links);
        // All directories first: the parent of a link may be the place of another one, and then it must not be gone through.
        for (name, _) in &links {
            self.make_parent(&self.root.join(name.path()), name)?;
        }
        for (name, target) in &links {
            self.go_on()?;
            let path = self.root.join(name.path());
            match symlink(std::ffi::OsStr::from_bytes(target), &path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(twice(name)),
                Err(error) => return Err(io("link", &path)(error)),
            }
        }
        Ok(self.done)
    }
}

fn entry(name: &Name, problem: impl Into<String>) -> Error {
    Error::entry(name.path().as_os_str().as_bytes(), problem)
}

fn twice(name: &Name) -> Error {
    entry(name, "there are two entries of this name")
}

fn file_and_directory(name: &Name) -> Error {
    entry(
        name,
        "the archive has one name both for a file and for a directory",
    )
}

/// What a decoder meets with is wrong with the archive; what the disk meets with is not, but it cannot be told apart here.
fn unreadable(name: &Name, error: &io::Error) -> Error {
    entry(name, format!("its content cannot be read: {error}"))
}

fn is_in_the_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory | ErrorKind::IsADirectory
    )
}

fn io<'p>(doing: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Error + 'p {
    move |source| Error::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
