//! Directories that this program writes into, reached through no link (CTR-66, CTR-67).
//!
//! A build can put a link wherever it can write, and what this program writes there for it would land where the link leads:
//! with the rights of the caller, outside of the container. So where an output goes is decided before the build begins
//! ([`settle`]), and every later write goes down to it from the root, one directory after the other, through no link
//! ([`Directory`]). What is open then stays what it is, whatever is moved meanwhile.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Most links on the way to one file, as the system has it.
const MAX_LINKS: u32 = 40;

/// A directory on the way: one that may be passed need not be one that may be read.
#[cfg(target_os = "linux")]
const ON_THE_WAY: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const ON_THE_WAY: OFlags = OFlags::RDONLY;

/// What to do about a [`Link`].
pub const LINK_HELP: &str = "a build could have made that link, so nothing is written through it: remove it, or name the directory it leads to";

/// A link on the way to a place that is written to.
#[derive(Debug, thiserror::Error)]
#[error("{} is a link", path.display())]
pub struct Link {
    /// Where it is.
    pub path: PathBuf,
}

impl Link {
    /// The link that is the reason of an error, if one is.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Where an absolute path leads now, links followed: as the caller means it. A link in one of the directories that builds can
/// change, which are given without links, is followed only within that directory: where it leads out of it, it stays in the
/// path, and who goes there finds it.
#[must_use]
pub fn settle(path: &Path, changeable: &[PathBuf]) -> PathBuf {
    settle_by(path, changeable, &|_| true)
}

/// The same where links that do not belong to the right users stay in the path as well.
#[must_use]
pub fn settle_by(
    path: &Path,
    changeable: &[PathBuf],
    may_follow: &dyn Fn(&fs::Metadata) -> bool,
) -> PathBuf {
    let target_of = |link: &Path| {
        let target = fs::read_link(link).ok()?;
        let metadata = fs::symlink_metadata(link).ok()?;
        may_follow(&metadata).then_some(target)
    };
    let mut pending = parts(path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    // Once a link of a build's was followed: what must not be left, and the path up to that link with what came after it.
    let mut led: Option<(&Path, PathBuf)> = None;
    while let Some(part) = pending.pop() {
        if part == "/" {
            here = PathBuf::from("/");
        } else if part == ".." {
            here.pop();
        } else {
            let next = here.join(&part);
            let target = target_of(&next).filter(|_| links < MAX_LINKS);
            let within = changeable.iter().find(|above| here.starts_with(above));
            match (target, within) {
                (None, _) => here = next,
                (Some(target), within) => {
                    links += 1;
                    if let (Some(within), None) = (within, &led) {
                        let unfollowed = pending.iter().rev();
                        led = Some((within, unfollowed.fold(next, |path, part| path.join(part))));
                    }
                    pending.extend(parts(&target));
                }
            }
        }
        match &led {
            Some((within, unfollowed)) if !here.starts_with(within) => return unfollowed.clone(),
            _ => {}
        }
    }
    here
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<std::ffi::OsString> {
    let parts = path.components().rev();
    parts
        .filter(|part| *part != Component::CurDir)
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// Opens what has an absolute path, going down from the root through no link, nor to one.
pub fn descend(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut parts = path.components().peekable();
    let mut here: Option<OwnedFd> = None;
    let mut reached = PathBuf::new();
    while let Some(part) = parts.next() {
        let flags = match parts.peek() {
            Some(_) => ON_THE_WAY | OFlags::DIRECTORY,
            None => flags,
        };
        let name = part.as_os_str();
        let above = here.as_ref().map_or(rustix::fs::CWD, AsFd::as_fd);
        let next = open_at(above, &reached, name, flags)?;
        reached.push(name);
        here = Some(next);
    }
    here.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Opens what has a name in a directory. A link is an error that says so.
fn open_at(
    above: BorrowedFd<'_>,
    above_path: &Path,
    name: &OsStr,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(0o666);
    rustix::io::retry_on_intr(|| rustix::fs::openat(above, name, flags, mode)).map_err(|error| {
        let may_be_link = matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::MLINK);
        if may_be_link && kind_at(above, name) == Ok(FileType::Symlink) {
            let path = above_path.join(name);
            io::Error::other(Link { path })
        } else {
            error.into()
        }
    })
}

fn kind_at(above: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<FileType> {
    let found = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode))
}

/// A directory that is open, and what it was called when it was opened.
#[derive(Debug)]
pub struct Directory {
    open: OwnedFd,
    path: PathBuf,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }
}

/// A regular file that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its size, in bytes.
    pub bytes: u64,
    /// Which file it is, whatever it is called: its device and its number there.
    pub identity: (u64, u64),
}

impl Directory {
    /// Opens one with an absolute path, through no link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let open = descend(path, ON_THE_WAY | OFlags::DIRECTORY)?;
        let path = path.to_owned();
        Ok(Self { open, path })
    }

    /// Opens one, and makes it and those above it with these permissions as far as they are missing. Tells which were made, those
    /// above first, also if it fails half-way.
    pub fn make(path: &Path, permissions: u32, made: &mut Vec<PathBuf>) -> io::Result<Self> {
        Self::open(Path::new("/"))?.make_below(path, permissions, made)
    }

    /// The same for one below this one, by a path that leads to no other.
    pub fn make_below(
        &self,
        relative: &Path,
        permissions: u32,
        made: &mut Vec<PathBuf>,
    ) -> io::Result<Self> {
        let mut here = Self {
            open: self.open.try_clone()?,
            path: self.path.clone(),
        };
        for part in relative.components() {
            match part {
                Component::Normal(name) => here = here.make_one(name, permissions, made)?,
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            }
        }
        Ok(here)
    }

    fn make_one(
        &self,
        name: &OsStr,
        permissions: u32,
        made: &mut Vec<PathBuf>,
    ) -> io::Result<Self> {
        let path = self.path.join(name);
        let flags = ON_THE_WAY | OFlags::DIRECTORY;
        let open = match open_at(self.as_fd(), &self.path, name, flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(&self.open, name, Mode::from_raw_mode(permissions)) {
                    Ok(()) => made.push(path.clone()),
                    // Another build was faster.
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open_at(self.as_fd(), &self.path, name, flags)
            }
            opened => opened,
        };
        Ok(Self { open: open?, path })
    }

    /// What it was called when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file that is not there yet.
    pub fn create_new(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.open, name, flags, Mode::from_raw_mode(mode));
        Ok(rustix::io::retry_on_intr(open)?.into())
    }

    /// Opens a file of it that is no link, in the ways the flags say.
    pub fn open_file(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        open_at(self.as_fd(), &self.path, name, flags).map(File::from)
    }

    /// Moves what has a name to another name in another directory, where it takes the place of what is there.
    pub fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.open, name, &to.open, new)?)
    }

    /// Size of a regular file of it, in bytes; an error for what is none.
    pub fn file_size(&self, name: &OsStr) -> io::Result<u64> {
        self.look_at(name).map(|found| found.bytes)
    }

    /// What a regular file of it is; an error for what is none.
    pub fn look_at(&self, name: &OsStr) -> io::Result<Found> {
        let found = rustix::fs::statat(&self.open, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no regular file"));
        }
        let bytes = u64::try_from(found.st_size).map_err(io::Error::other)?;
        Ok(Found {
            bytes,
            identity: (found.st_dev, found.st_ino),
        })
    }

    /// Removes a file or a link.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.open, name, AtFlags::empty())?)
    }

    /// Removes a directory that has nothing in it.
    pub fn remove_directory(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.open, name, AtFlags::REMOVEDIR)?)
    }

    /// Replaces a file as a whole: a reader sees the old one or the new one.
    pub fn replace(
        &self,
        name: &OsStr,
        mode: u32,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let unique = uuid::Uuid::new_v4().simple();
        let new = format!(".{}.{unique}", name.to_string_lossy());
        let new = OsStr::new(&new);
        let written = self.create_new(new, mode).and_then(|file| {
            let mut out = io::BufWriter::new(file);
            content(&mut out)?;
            out.flush()
        });
        let written = written.and_then(|()| self.rename(new, self, name));
        if written.is_err() {
            let _ = self.remove_file(new);
        }
        written
    }
}

/// Removes a directory that has nothing in it, by an absolute path through no link.
pub fn remove_empty(path: &Path) -> io::Result<()> {
    let (parent, name) = split(path)?;
    Directory::open(parent)?.remove_directory(name)
}

/// A path as the directory it is in and the name it has there.
pub fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let both = path.parent().zip(path.file_name());
    both.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        for directory in ["source/out", "elsewhere/deep", "victim"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        (place, root)
    }

    /// CTR-66
    #[test]
    fn links_of_the_caller_are_followed_and_those_a_build_can_make_are_not() {
        let (_place, root) = place();
        let source = root.join("source");
        symlink(root.join("victim"), source.join("planted")).unwrap();
        symlink("planted", source.join("twice")).unwrap();
        symlink("out", source.join("inner")).unwrap();
        symlink("../victim", source.join("up")).unwrap();
        symlink("../inner/../../victim", source.join("out/down")).unwrap();
        symlink(root.join("elsewhere"), root.join("mine")).unwrap();
        symlink(&source, root.join("to-source")).unwrap();
        symlink("to-itself", root.join("to-itself")).unwrap();
        symlink(root.join("source/planted"), root.join("through")).unwrap();
        let cases: &[(&str, &str)] = &[
            ("source/out/a", "source/out/a"),
            ("source/planted/a", "source/planted/a"),
            // Not out of it by any way.
            ("source/twice/a", "source/twice/a"),
            ("source/up/a", "source/up/a"),
            ("source/out/down/a", "source/out/down/a"),
            // Within it a build can write in any case.
            ("source/inner/a", "source/out/a"),
            ("source/out/../planted/a", "source/planted/a"),
            ("source/../mine/a", "elsewhere/a"),
            ("mine/deep/../a/./b", "elsewhere/a/b"),
            ("to-source/planted/a", "source/planted/a"),
            ("through/a", "source/planted/a"),
            ("missing/a", "missing/a"),
        ];
        for (path, expected) in cases {
            let settled = settle(&root.join(path), std::slice::from_ref(&source));
            assert_eq!(settled, root.join(expected), "{path}");
        }
        // Nobody's own.
        let path = root.join("mine/a");
        let settled = settle_by(&path, &[], &|link| !link.is_symlink());
        assert_eq!(settled, path);
        // It ends, and what is there is a link.
        let settled = settle(&root.join("to-itself"), &[]);
        let error = Directory::open(&settled).unwrap_err();
        assert!(Link::of(&error).is_some(), "{error}");
    }

    /// CTR-66
    #[test]
    fn nothing_is_made_through_a_link() {
        let (_place, root) = place();
        symlink(root.join("victim"), root.join("source/link")).unwrap();
        let mut made = Vec::new();
        for path in ["source/link", "source/link/a/b"] {
            let error = Directory::make(&root.join(path), 0o777, &mut made).unwrap_err();
            assert_eq!(Link::of(&error).unwrap().path, root.join("source/link"));
        }
        assert_eq!(fs::read_dir(root.join("victim")).unwrap().count(), 0);
        assert_eq!(made, Vec::<PathBuf>::new());

        let there = Directory::make(&root.join("source/a/b"), 0o777, &mut made).unwrap();
        assert_eq!(made, [root.join("source/a"), root.join("source/a/b")]);
        // What is open stays what it is, whatever has its name by now.
        fs::rename(root.join("source/a"), root.join("source/moved")).unwrap();
        symlink(root.join("victim"), root.join("source/a")).unwrap();
        there
            .replace(OsStr::new("file"), 0o600, |out| out.write_all(b"text"))
            .unwrap();
        let text = fs::read_to_string(root.join("source/moved/b/file")).unwrap();
        assert_eq!(text, "text");
        assert_eq!(fs::read_dir(root.join("victim")).unwrap().count(), 0);
        let names = fs::read_dir(root.join("source/moved/b")).unwrap();
        assert_eq!(names.count(), 1);
    }

    /// CTR-66
    #[test]
    fn a_link_in_the_place_of_a_file_is_replaced_and_never_written_through() {
        let (_place, root) = place();
        let victim = root.join("victim/file");
        fs::write(&victim, "mine").unwrap();
        symlink(&victim, root.join("source/out/file")).unwrap();
        let out = Directory::open(&root.join("source/out")).unwrap();
        let name = OsStr::new("file");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let error = out.open_file(name, flags).unwrap_err();
        assert!(Link::of(&error).is_some(), "{error}");
        out.file_size(name).unwrap_err();
        out.replace(name, 0o600, |out| out.write_all(b"new"))
            .unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(out.file_size(name).unwrap(), 3);
    }
}
