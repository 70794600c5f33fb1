//! From a compressed TAR to files, safely: nothing is made but what the paths take, no link is followed below a root, and on the
//! way to one none that a build could have made (CACHE-7, CACHE-35).
//!
//! Directories are opened one below the other without following links, and everything is made relative to them. Small files
//! are written by several threads. After a failure, what was made goes again.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use rustix::fs::{
    AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, chownat, fchmod, futimens, linkat,
    mkdirat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::Trouble;
use super::path::{CachePath, Matcher, as_path};
use super::place::Place;
use crate::directory::{self, Directory, LINK_HELP, Link};

/// Most threads that write files.
const MAX_WRITERS: usize = 8;

/// Files up to this size, in bytes, are written by other threads.
const SMALL: u64 = 1024 * 1024;

/// Files that wait for a writer: 64 of [`SMALL`] at most are in memory.
const WAITING: usize = 64;

/// Bytes of a large file that are read at once.
const BUFFER: usize = 256 * 1024;

/// Longest path in an archive, in bytes: longer ones cannot be made anyway.
const MAX_NAME: usize = 4096;

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) files: u64,
    /// Files, links and directories.
    pub(super) items: u64,
    pub(super) bytes: u64,
}

/// Unpacks an archive below the roots of the paths.
pub(super) fn unpack(
    paths: &[CachePath],
    place: &Place<'_>,
    input: &mut dyn Read,
) -> Result<Counted, Trouble> {
    let writers = Writers::start();
    let mut unpacker = Unpacker {
        paths,
        matchers: paths.iter().map(CachePath::matcher).collect(),
        roots: paths.iter().map(|path| settled(path, place)).collect(),
        place,
        open: Vec::new(),
        open_root: None,
        made: HashSet::new(),
        directories: Vec::new(),
        links: Vec::new(),
        counted: Counted::default(),
        writers,
    };
    let result = unpacker.run(input);
    let written = unpacker.writers.finish();
    let result = result.and(written).and_then(|()| unpacker.end());
    match result {
        Ok(()) => Ok(unpacker.counted),
        Err(trouble) => {
            unpacker.take_back();
            Err(trouble)
        }
    }
}

struct Unpacker<'u> {
    paths: &'u [CachePath],
    matchers: Vec<Matcher>,
    /// Where the paths begin, links followed as far as they may be. Known before anything is made: what an archive has in it
    /// leads nowhere.
    roots: Vec<PathBuf>,
    place: &'u Place<'u>,
    /// Directories that are open, one in the other: names and descriptors.
    open: Vec<(Vec<u8>, Arc<OwnedFd>)>,
    open_root: Option<(usize, Arc<OwnedFd>)>,
    /// What was made where nothing of this run was before: everything in it was made too.
    made: HashSet<PathBuf>,
    /// Directories that were made, with what they get when everything is in them.
    directories: Vec<(PathBuf, Attributes)>,
    links: Vec<(usize, Vec<u8>, usize, Vec<u8>)>,
    counted: Counted,
    writers: Writers,
}

/// What something gets besides its content.
#[derive(Clone, Copy, Debug)]
struct Attributes {
    mode: u32,
    modified: Timespec,
    owner: Option<(u32, u32)>,
}

/// What an archive is called here: whoever unpacks does not know where it is kept.
pub const UNNAMED: &str = "what was saved";

fn refused(why: impl std::fmt::Display) -> Trouble {
    Trouble::broken(UNNAMED, why)
}

/// Where a path begins: links on the way are followed unless they lead out of the source they are in, and on this machine only
/// those of root's and of whoever runs this. All others are met on the way there.
fn settled(path: &CachePath, place: &Place<'_>) -> PathBuf {
    let own = rustix::process::geteuid().as_raw();
    // In a container all that is there is the image's or the build's.
    let in_container = place.owner.is_some();
    let may_follow = |link: &fs::Metadata| in_container || link.uid() == 0 || link.uid() == own;
    let source = place.source_directory.to_owned();
    directory::settle_by(path.root(), &[source], &may_follow)
}

impl Unpacker<'_> {
    fn run(&mut self, input: &mut dyn Read) -> Result<(), Trouble> {
        let decoder = zstd::Decoder::new(input).map_err(refused)?;
        let mut archive = tar::Archive::new(decoder);
        for entry in archive.entries().map_err(refused)? {
            if self.place.stopped.load(Ordering::Relaxed) {
                return Err(Trouble::new("stopped"));
            }
            self.writers.check()?;
            let mut entry = entry.map_err(refused)?;
            self.entry(&mut entry)?;
        }
        // To the end of the compressed stream, where its checksum is.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(refused)?;
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), Trouble> {
        let kind = entry.header().entry_type();
        let name = entry.path_bytes().into_owned();
        let (index, relative) = self.placed(&name, kind.is_dir())?;
        let path = self.full(index, &relative);
        let attributes = self.attributes(entry, &path)?;
        self.counted.items += 1;
        if !kind.is_dir() {
            self.counted.files += 1;
        }
        match kind {
            tar::EntryType::Directory => self.directory(index, &relative, attributes),
            tar::EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.symlink(index, &relative, &target, attributes)
            }
            tar::EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let (other, target) = self.placed(&target, false)?;
                // The file it is another name of may still be waiting for its writer.
                self.links.push((index, relative, other, target));
                Ok(())
            }
            tar::EntryType::Regular => self.file(entry, index, &relative, attributes),
            other => Err(refused(format!(
                "{} is neither a file nor a directory nor a link, but {other:?}",
                as_path(&name).display()
            ))),
        }
    }

    /// Which path a name in the archive belongs to, and what is below that path's root. Whatever is not the paths' is refused.
    fn placed(&self, name: &[u8], is_directory: bool) -> Result<(usize, Vec<u8>), Trouble> {
        let outside = || {
            refused(format!(
                "{} is not below the paths of this cache",
                as_path(name).display()
            ))
        };
        let name_without_slash = name.strip_suffix(b"/").unwrap_or(name);
        let mut parts = name_without_slash.split(|byte| *byte == b'/');
        let index = parts.next().and_then(|text| std::str::from_utf8(text).ok());
        let index: Option<usize> = index.and_then(|text| text.parse().ok());
        let index = index.filter(|index| *index < self.paths.len());
        let index = index.ok_or_else(outside)?;
        let names: Vec<&[u8]> = parts.collect();
        let plain = |name: &&[u8]| !matches!(*name, b"" | b"." | b"..") && !name.contains(&0);
        if name.len() > MAX_NAME || !names.iter().all(plain) {
            return Err(outside());
        }
        let relative = names.join(&b'/');
        let allowed = match relative.as_slice() {
            b"" => is_directory,
            relative => self.matchers[index].allows(relative, is_directory),
        };
        if allowed {
            Ok((index, relative))
        } else {
            Err(outside())
        }
    }

    fn full(&self, index: usize, relative: &[u8]) -> PathBuf {
        let root = &self.roots[index];
        if relative.is_empty() {
            root.clone()
        } else {
            root.join(as_path(relative))
        }
    }

    fn attributes<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        path: &Path,
    ) -> Result<Attributes, Trouble> {
        let mut modified = Timespec {
            tv_sec: i64::try_from(entry.header().mtime().map_err(refused)?).unwrap_or(0),
            tv_nsec: 0,
        };
        if let Some(extensions) = entry.pax_extensions().map_err(refused)? {
            for extension in extensions {
                let extension = extension.map_err(refused)?;
                if extension.key_bytes() == b"mtime"
                    && let Some(time) = exact_time(extension.value_bytes())
                {
                    modified = time;
                }
            }
        }
        let header = entry.header();
        let owner = (
            header.uid().map_err(refused)?,
            header.gid().map_err(refused)?,
        );
        let owner = self.place.owner_here(path, owner);
        let mode = header.mode().map_err(refused)? & 0o7777;
        Ok(Attributes {
            mode,
            modified,
            owner,
        })
    }

    /// Opens the directory that a path is in. What is missing is made, with permissions that its entry sets later.
    fn parent<'r>(
        &mut self,
        index: usize,
        relative: &'r [u8],
    ) -> Result<(Arc<OwnedFd>, &'r [u8]), Trouble> {
        let (above, name) = match relative.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&relative[..at], &relative[at + 1..]),
            None => (&b""[..], relative),
        };
        let names: Vec<&[u8]> = above
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .collect();
        let root = self.root(index)?;
        let shared = self
            .open
            .iter()
            .zip(&names)
            .take_while(|((open, _), name)| open == *name)
            .count();
        self.open.truncate(shared);
        for depth in shared..names.len() {
            let directory = self.open.last().map_or(&root, |(_, open)| open).clone();
            let path = self.full(index, &names[..=depth].join(&b'/'));
            let (opened, _) = self.open_directory(&directory, names[depth], &path)?;
            self.open.push((names[depth].to_vec(), Arc::new(opened)));
        }
        let directory = self.open.last().map_or(root, |(_, open)| open.clone());
        Ok((directory, name))
    }

    /// The root of a path, reached through no link.
    fn root(&mut self, index: usize) -> Result<Arc<OwnedFd>, Trouble> {
        if let Some((open, root)) = &self.open_root
            && *open == index
        {
            return Ok(Arc::clone(root));
        }
        let path = &self.roots[index];
        let mut made = Vec::new();
        let there = Directory::make(path, 0o777, &mut made);
        self.made.extend(made.first().cloned());
        let failed = |error: io::Error| no_way(path, &error);
        there.map_err(failed)?;
        for directory in &made {
            let own = (super::pack::OWN, super::pack::OWN);
            if let Some((uid, gid)) = self.place.owner_here(directory, own) {
                let _ = std::os::unix::fs::lchown(directory, Some(uid), Some(gid));
            }
        }
        let opened = directory::descend(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let opened = Arc::new(opened.map_err(failed)?);
        self.open.clear();
        self.open_root = Some((index, Arc::clone(&opened)));
        Ok(opened)
    }

    /// Opens a directory, and makes it if it is not there; something else of that name makes way. Gives whether it was made.
    fn open_directory(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        path: &Path,
    ) -> Result<(OwnedFd, bool), Trouble> {
        let name = as_path(name);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(directory, name, flags, Mode::empty());
        let failed = |error: Errno| Trouble::with_file("make the directory", path, &error.into());
        match open() {
            Ok(opened) => return Ok((opened, false)),
            Err(Errno::NOENT) => {}
            // A link or a file.
            Err(Errno::LOOP | Errno::NOTDIR) => {
                unlinkat(directory, name, AtFlags::empty()).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        mkdirat(directory, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
        self.note_made(path);
        open().map(|opened| (opened, true)).map_err(failed)
    }

    /// Remembers what is to go after a failure: only what is not in something that goes anyway.
    fn note_made(&mut self, path: &Path) {
        if !path
            .ancestors()
            .skip(1)
            .any(|above| self.made.contains(above))
        {
            self.made.insert(path.to_owned());
        }
    }

    fn directory(
        &mut self,
        index: usize,
        relative: &[u8],
        attributes: Attributes,
    ) -> Result<(), Trouble> {
        let path = self.full(index, relative);
        let is_new = if relative.is_empty() {
            let was_there = path.is_dir();
            self.root(index)?;
            !was_there
        } else {
            let (directory, name) = self.parent(index, relative)?;
            self.open_directory(&directory, name, &path)?.1
        };
        // A directory that was there keeps what it has.
        if is_new {
            self.directories.push((path, attributes));
        }
        Ok(())
    }

    fn symlink(
        &mut self,
        index: usize,
        relative: &[u8],
        target: &[u8],
        attributes: Attributes,
    ) -> Result<(), Trouble> {
        let path = self.full(index, relative);
        let (directory, name) = self.parent(index, relative)?;
        let name = as_path(name);
        let failed = |error: Errno| Trouble::with_file("make the link", &path, &error.into());
        let is_new = make_way(&directory, name, &path)?;
        symlinkat(as_path(target), &directory, name).map_err(failed)?;
        if is_new {
            self.note_made(&path);
        }
        if let Some((uid, gid)) = attributes.owner {
            let (uid, gid) = ids(uid, gid);
            let _ = chownat(&directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        }
        let times = times(attributes.modified);
        let _ = utimensat(&directory, name, &times, AtFlags::SYMLINK_NOFOLLOW);
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        index: usize,
        relative: &[u8],
        attributes: Attributes,
    ) -> Result<(), Trouble> {
        let size = entry.size();
        let path = self.full(index, relative);
        let (directory, name) = self.parent(index, relative)?;
        self.counted.bytes += size;
        if !self.is_in_made(&path) && fs::symlink_metadata(&path).is_err() {
            self.note_made(&path);
        }
        let mut file = NewFile {
            directory,
            name: name.to_vec(),
            path,
            attributes,
            content: Vec::new(),
        };
        if size > SMALL {
            return file.write(&mut |output| copy_exactly(entry, output, &file.path, size));
        }
        file.content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        entry.read_to_end(&mut file.content).map_err(refused)?;
        if file.content.len() as u64 != size {
            return Err(refused("it ends in the middle of a file"));
        }
        self.writers.send(file)
    }

    fn is_in_made(&self, path: &Path) -> bool {
        !self.made.is_empty() && path.ancestors().any(|above| self.made.contains(above))
    }

    /// What has to wait until all files are there: more names for one file, and the times of directories.
    fn end(&mut self) -> Result<(), Trouble> {
        for (index, relative, other, target) in std::mem::take(&mut self.links) {
            let path = self.full(index, &relative);
            let failed = |error: Errno| Trouble::with_file("make", &path, &error.into());
            let (from, from_name) = self.parent(other, &target)?;
            let from_name = from_name.to_vec();
            let (directory, name) = self.parent(index, &relative)?;
            let is_new = make_way(&directory, as_path(name), &path)?;
            let made = linkat(
                &from,
                as_path(&from_name),
                &directory,
                as_path(name),
                AtFlags::empty(),
            );
            made.map_err(failed)?;
            if is_new {
                self.note_made(&path);
            }
        }
        self.open.clear();
        for (path, attributes) in std::mem::take(&mut self.directories).into_iter().rev() {
            let failed = |error: io::Error| Trouble::with_file("set the mode of", &path, &error);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let directory = directory::descend(&path, flags).map_err(failed)?;
            finish(&directory, attributes).map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }

    /// Removes what was made, as far as it can be.
    fn take_back(&mut self) {
        self.open.clear();
        self.open_root = None;
        for path in &self.made {
            match fs::symlink_metadata(path) {
                Ok(found) if found.is_dir() => drop(fs::remove_dir_all(path)),
                Ok(_) => drop(fs::remove_file(path)),
                Err(_) => {}
            }
        }
    }
}

/// A directory that cannot be made or reached.
fn no_way(path: &Path, error: &io::Error) -> Trouble {
    let trouble = Trouble::with_file("make the directory", path, error);
    match Link::of(error) {
        Some(_) => trouble.with_help(LINK_HELP),
        None => trouble,
    }
}

/// A time as `seconds.fraction`.
fn exact_time(text: &[u8]) -> Option<Timespec> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().take(9).collect();
    let nanoseconds: i64 = format!("{digits:0<9}").parse().ok()?;
    Some(Timespec {
        tv_sec: seconds.parse().ok()?,
        tv_nsec: nanoseconds,
    })
}

fn times(modified: Timespec) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: modified,
    }
}

fn ids(uid: u32, gid: u32) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (
        Some(rustix::fs::Uid::from_raw(uid)),
        Some(rustix::fs::Gid::from_raw(gid)),
    )
}

/// Gives what is open its owner, mode and time; the owner first, for a change of owner takes rights away.
fn finish(open: &OwnedFd, attributes: Attributes) -> rustix::io::Result<()> {
    if let Some((uid, gid)) = attributes.owner {
        let (uid, gid) = ids(uid, gid);
        rustix::fs::fchown(open, uid, gid)?;
    }
    fchmod(open, Mode::from_raw_mode(attributes.mode))?;
    futimens(open, &times(attributes.modified))
}

/// Removes what is in the way of something that is no directory. Gives whether nothing was.
fn make_way(directory: &OwnedFd, name: &Path, path: &Path) -> Result<bool, Trouble> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => Ok(false),
        Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => match fs::remove_dir_all(path) {
            Ok(()) => Ok(false),
            Err(error) => Err(Trouble::with_file("replace", path, &error)),
        },
        Err(error) => Err(Trouble::with_file("replace", path, &error.into())),
    }
}

fn copy_exactly(from: &mut dyn Read, to: &OwnedFd, path: &Path, size: u64) -> Result<(), Trouble> {
    let mut left = size;
    let mut buffer = vec![0; BUFFER];
    while left > 0 {
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = from.read(&mut buffer[..most]).map_err(refused)?;
        if read == 0 {
            return Err(refused("it ends in the middle of a file"));
        }
        write_all(to, &buffer[..read])
            .map_err(|error| Trouble::with_file("write", path, &error))?;
        left -= read as u64;
    }
    Ok(())
}

fn write_all(file: &OwnedFd, mut content: &[u8]) -> io::Result<()> {
    while !content.is_empty() {
        match rustix::io::write(file.as_fd(), content) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => content = &content[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A file that is to be written.
struct NewFile {
    directory: Arc<OwnedFd>,
    name: Vec<u8>,
    path: PathBuf,
    attributes: Attributes,
    content: Vec<u8>,
}

impl NewFile {
    /// Makes the file, in place of whatever is there, and has its content written.
    fn write(
        &self,
        content: &mut dyn FnMut(&OwnedFd) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let failed = |error: Errno| Trouble::with_file("write", &self.path, &error.into());
        let name = as_path(&self.name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(&self.directory, name, flags, Mode::from_raw_mode(0o600));
        let file = match create() {
            Err(Errno::EXIST) => {
                make_way(&self.directory, name, &self.path)?;
                create().map_err(failed)?
            }
            created => created.map_err(failed)?,
        };
        content(&file)?;
        finish(&file, self.attributes).map_err(failed)
    }
}

/// Threads that write small files.
struct Writers {
    files: Option<SyncSender<NewFile>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    failed: Arc<Failed>,
}

#[derive(Default)]
struct Failed {
    is: AtomicBool,
    why: Mutex<Option<Trouble>>,
}

impl Failed {
    fn set(&self, trouble: Trouble) {
        if let Ok(mut why) = self.why.lock() {
            why.get_or_insert(trouble);
        }
        self.is.store(true, Ordering::Release);
    }

    fn check(&self) -> Result<(), Trouble> {
        if !self.is.load(Ordering::Acquire) {
            return Ok(());
        }
        let why = self.why.lock().ok().and_then(|why| why.clone());
        Err(why.unwrap_or_else(|| Trouble::new("a file could not be written")))
    }
}

impl Writers {
    fn start() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let (files, next) = sync_channel(WAITING);
        let next = Arc::new(Mutex::new(next));
        let failed = Arc::new(Failed::default());
        let threads = (0..count.min(MAX_WRITERS))
            .map(|_| {
                let (next, failed) = (Arc::clone(&next), Arc::clone(&failed));
                std::thread::spawn(move || write_files(&next, &failed))
            })
            .collect();
        Self {
            files: Some(files),
            threads,
            failed,
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        self.failed.check()
    }

    fn send(&self, file: NewFile) -> Result<(), Trouble> {
        let sent = self.files.as_ref().map(|files| files.send(file));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => {
                self.check()?;
                Err(Trouble::new("nobody writes the files of the cache"))
            }
        }
    }

    /// Waits until everything is written.
    fn finish(&mut self) -> Result<(), Trouble> {
        self.files = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.failed
                    .set(Trouble::new("writing the files of the cache broke off"));
            }
        }
        self.check()
    }
}

fn write_files(next: &Mutex<Receiver<NewFile>>, failed: &Failed) {
    loop {
        let Ok(Ok(file)) = next.lock().map(|next| next.recv()) else {
            return;
        };
        // After a failure the rest is only taken out of the way.
        if failed.is.load(Ordering::Acquire) {
            continue;
        }
        let written = file.write(&mut |open| {
            write_all(open, &file.content)
                .map_err(|error| Trouble::with_file("write", &file.path, &error))
        });
        if let Err(trouble) = written {
            failed.set(trouble);
        }
    }
}
