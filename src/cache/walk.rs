//! One walk over what `cache.paths` take: in an order that is always the same, links never followed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};

use super::Trouble;
use super::path::{CachePath, Matcher, Standing, as_path, is_in};
use crate::ownership;
use crate::units::hex;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Symlink,
}

/// Something that a path takes, or a directory on the way to it.
pub(super) struct Item<'w> {
    /// The place of the path in `cache.paths`.
    pub(super) index: usize,
    /// Its path below the root, without a slash at either end; empty for the root itself.
    pub(super) relative: &'w [u8],
    /// Where it is.
    pub(super) source: &'w Path,
    pub(super) metadata: &'w Metadata,
    pub(super) kind: Kind,
}

/// Takes items.
pub(super) type Visit<'v> = dyn FnMut(&Item<'_>) -> Result<(), Trouble> + 'v;

/// Visits everything that the paths take, each thing once. A path that is not there takes nothing.
pub(super) fn walk(
    paths: &[CachePath],
    hidden: &[PathBuf],
    stopped: &AtomicBool,
    visit: &mut Visit<'_>,
) -> Result<(), Trouble> {
    let matchers: Vec<Matcher> = paths.iter().map(CachePath::matcher).collect();
    for (index, path) in paths.iter().enumerate() {
        let found = match fs::metadata(path.root()) {
            Err(error) if is_absence(&error) => continue,
            found => found.map_err(|error| unreadable(path.root(), &error))?,
        };
        if !found.is_dir() {
            continue;
        }
        let mut walker = Walker {
            index,
            root: path.root(),
            matcher: &matchers[index],
            // Where one root is in another, what an earlier path takes is not taken again.
            earlier: paths[..index]
                .iter()
                .zip(&matchers)
                .filter(|(earlier, _)| {
                    let (one, other) = (earlier.root(), path.root());
                    one.starts_with(other) || other.starts_with(one)
                })
                .collect(),
            hidden,
            stopped,
            visit,
            waiting: vec![(0, found)],
        };
        walker.directory(&mut Vec::new(), &matchers[index].start())?;
    }
    Ok(())
}

struct Walker<'w, 'v, 'f> {
    index: usize,
    root: &'w Path,
    matcher: &'w Matcher,
    earlier: Vec<(&'w CachePath, &'w Matcher)>,
    hidden: &'w [PathBuf],
    stopped: &'w AtomicBool,
    visit: &'f mut Visit<'v>,
    /// Directories that this walk is inside of and that nobody was told of yet: how long their path is.
    waiting: Vec<(usize, Metadata)>,
}

impl Walker<'_, '_, '_> {
    fn here(&self, relative: &[u8]) -> PathBuf {
        if relative.is_empty() {
            self.root.to_owned()
        } else {
            self.root.join(as_path(relative))
        }
    }

    fn directory(&mut self, relative: &mut Vec<u8>, standing: &Standing) -> Result<(), Trouble> {
        let directory = self.here(relative);
        let mut names: Vec<(Vec<u8>, fs::FileType)> = Vec::new();
        let entries = match fs::read_dir(&directory) {
            Err(error) if is_absence(&error) => return Ok(()),
            entries => entries.map_err(|error| unreadable(&directory, &error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&directory, &error))?;
            let kind = entry
                .file_type()
                .map_err(|error| unreadable(&entry.path(), &error))?;
            names.push((entry.file_name().as_bytes().to_vec(), kind));
        }
        names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (name, kind) in names {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(Trouble::new("stopped"));
            }
            let length = relative.len();
            if length > 0 {
                relative.push(b'/');
            }
            relative.extend_from_slice(&name);
            self.entry(relative, &name, kind, standing)?;
            relative.truncate(length);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        relative: &mut Vec<u8>,
        name: &[u8],
        kind: fs::FileType,
        standing: &Standing,
    ) -> Result<(), Trouble> {
        let taken = self.matcher.takes(standing, name);
        let below = if kind.is_dir() {
            self.matcher.step(standing, name)
        } else {
            None
        };
        if !taken && below.is_none() {
            return Ok(());
        }
        let source = self.here(relative);
        // What another build stages is there for a moment only, and not its source's (CTR-72).
        if kind.is_dir() && ownership::is_hidden_name(as_path(name).as_os_str()) {
            return Ok(());
        }
        if is_in(&source, self.hidden) || self.is_taken_before(&source, kind.is_dir()) {
            return Ok(());
        }
        let metadata = match fs::symlink_metadata(&source) {
            // It went away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            metadata => metadata.map_err(|error| unreadable(&source, &error))?,
        };
        if metadata.is_dir() {
            let depth = self.waiting.len();
            self.waiting.push((relative.len(), metadata));
            if taken {
                self.tell_of_directories(relative)?;
            }
            if let Some(below) = below {
                self.directory(relative, &below)?;
            }
            self.waiting.truncate(depth);
            return Ok(());
        }
        let kind = match &metadata {
            file if file.is_file() => Kind::File,
            link if link.is_symlink() => Kind::Symlink,
            // Pipes, sockets and devices are no content.
            _ => return Ok(()),
        };
        self.tell_of_directories(relative)?;
        (self.visit)(&Item {
            index: self.index,
            relative,
            source: &source,
            metadata: &metadata,
            kind,
        })
    }

    /// Tells of the directories on the way, before what is in them.
    fn tell_of_directories(&mut self, relative: &[u8]) -> Result<(), Trouble> {
        for (length, metadata) in std::mem::take(&mut self.waiting) {
            let relative = &relative[..length];
            let source = self.here(relative);
            (self.visit)(&Item {
                index: self.index,
                relative,
                source: &source,
                metadata: &metadata,
                kind: Kind::Directory,
            })?;
        }
        Ok(())
    }

    fn is_taken_before(&self, source: &Path, is_directory: bool) -> bool {
        !is_directory
            && self.earlier.iter().any(|(path, matcher)| {
                let relative = source.strip_prefix(path.root());
                relative
                    .is_ok_and(|relative| matcher.allows(relative.as_os_str().as_bytes(), false))
            })
    }
}

/// What is known of everything that the paths take, by what nobody can set: two looks that give the same saw the same.
pub(super) fn look(
    paths: &[CachePath],
    hidden: &[PathBuf],
    stopped: &AtomicBool,
) -> Result<(u64, String), Trouble> {
    let mut hash = Sha256::new();
    let mut items = 0;
    walk(paths, hidden, stopped, &mut |item| {
        items += 1;
        hash.update(item.source.as_os_str().as_bytes());
        let found = item.metadata;
        hash.update(found.mode().to_le_bytes());
        // A directory changes with everything that is made in it or beside what is taken; what is taken tells of itself.
        if item.kind == Kind::Directory {
            return Ok(());
        }
        for number in [
            found.dev(),
            found.ino(),
            found.size(),
            found.ctime().cast_unsigned(),
            found.ctime_nsec().cast_unsigned(),
        ] {
            hash.update(number.to_le_bytes());
        }
        Ok(())
    })?;
    Ok((items, hex(&hash.finalize())))
}

/// Only what is not there may be left out in silence: an archive without what cannot be read would be taken for a whole one,
/// with a key for ever (CACHE-33).
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Trouble {
    Trouble::with_file("read", path, error).with_help(
        "make it readable for the user of the build, or leave it out of `cache.paths`: a cache without it is not saved",
    )
}
