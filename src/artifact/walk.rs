//! One walk over a tree for all patterns of an artifact.
//!
//! A directory is read only if some pattern can still match below it; names are visited in order, so that the same tree
//! gives the same list. Types come from the directory itself; nothing is asked about a file that is not selected.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::glob::{Pattern, State};
use crate::ownership;
use crate::view::{self, Mount};

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Symlink,
    /// A pipe, a socket or a device.
    Special,
}

/// A file that some pattern matches.
#[derive(Debug)]
pub(super) struct Found<'w> {
    /// Its path below the directory the walk began in.
    pub path: &'w [u8],
    /// Index of the first pattern that matches it.
    pub pattern: usize,
    /// Whether it is a symlink that is kept as one.
    pub symlink: bool,
}

/// Something on the way that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// A symlink to nothing.
    Dangling(PathBuf),
    /// A symlink to a directory that was or will be walked by another way; its files are stored once.
    AlreadyWalked(PathBuf),
    /// A pipe, a socket or a device, which is no file to store.
    Special(PathBuf),
}

/// A hidden file or directory that patterns lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    pub path: PathBuf,
    /// Indexes of the patterns that match it, or may match something in it.
    pub patterns: Vec<usize>,
    /// Those of them that go there by name or wildcard, and not just by a `**` that goes everywhere.
    pub named: Vec<usize>,
}

/// Why a walk did not come to its end.
#[derive(Debug)]
pub(super) enum WalkError {
    /// A directory or file that could not be read.
    Read { path: PathBuf, source: io::Error },
    /// Somebody asked for the end.
    Stopped,
}

/// What to look for, and what not.
pub(super) struct Walk<'w> {
    /// For each pattern of the buildspec its alternatives.
    pub patterns: &'w [Vec<Pattern>],
    /// All alternatives of all excluding patterns.
    pub excludes: &'w [Pattern],
    /// Directories and files that are never looked at: where artifacts and logs themselves go. Canonical paths.
    pub hidden: &'w [PathBuf],
    /// Whether symlinks are kept as symlinks.
    pub keep_symlinks: bool,
    /// Where the files of a container are, whose links mean what they mean in there.
    pub mounts: &'w [Mount],
    /// Whether the end was asked for; looked at for every directory and every [`BATCH`] entries.
    pub stopped: &'w dyn Fn() -> bool,
}

/// Entries of a directory that are read or looked at without asking whether to go on.
const BATCH: usize = 1024;

/// How the patterns stand in one directory: first the alternatives of all patterns, then the excludes.
type States = Vec<State>;

struct Walker<'w, 'f> {
    walk: &'w Walk<'w>,
    /// Pattern index of each alternative.
    owner: Vec<usize>,
    alternatives: Vec<&'w Pattern>,
    root: PathBuf,
    /// Path below the root, with a slash at its end unless empty.
    path: Vec<u8>,
    /// What is hidden, as paths below the root.
    hidden: Vec<Vec<u8>>,
    /// Links of a container that the walk is behind: where their names end in `path`, and where they lead.
    detours: Vec<(usize, PathBuf)>,
    /// Directories that were entered through a symlink, by device and inode.
    linked: Vec<(u64, u64)>,
    found: &'f mut dyn FnMut(&Found<'_>),
    oddities: Vec<Oddity>,
    hides: Vec<Hidden>,
    counts: Vec<usize>,
    pruned: Vec<bool>,
    pool: Vec<Listing>,
}

/// What a walk saw besides the files.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// How many files each pattern matched, before excludes took some away.
    pub counts: Vec<usize>,
    /// Whether a pattern may have matched more: directories that are excluded as a whole are not read.
    pub pruned: Vec<bool>,
    pub oddities: Vec<Oddity>,
    pub hidden: Vec<Hidden>,
}

impl Walk<'_> {
    /// Walks the tree below `root` and hands every selected file to `found`, in order.
    pub(super) fn run(
        &self,
        root: &Path,
        found: &mut dyn FnMut(&Found<'_>),
    ) -> Result<Walked, WalkError> {
        let mut owner = Vec::new();
        let mut alternatives = Vec::new();
        for (index, pattern) in self.patterns.iter().enumerate() {
            for alternative in pattern {
                owner.push(index);
                alternatives.push(alternative);
            }
        }
        let states: States = alternatives
            .iter()
            .copied()
            .chain(self.excludes)
            .map(Pattern::start)
            .collect();
        let mut walker = Walker {
            walk: self,
            owner,
            alternatives,
            root: root.to_owned(),
            path: Vec::new(),
            hidden: below(root, self.hidden),
            detours: Vec::new(),
            linked: Vec::new(),
            found,
            oddities: Vec::new(),
            hides: Vec::new(),
            counts: vec![0; self.patterns.len()],
            pruned: vec![false; self.patterns.len()],
            pool: Vec::new(),
        };
        walker.directory(&states)?;
        Ok(Walked {
            counts: walker.counts,
            pruned: walker.pruned,
            oddities: walker.oddities,
            hidden: walker.hides,
        })
    }
}

impl Walker<'_, '_> {
    fn here(&self) -> PathBuf {
        self.root.join(OsStr::from_bytes(&self.path))
    }

    /// Where the path is up to this place in its text.
    fn real(&self, end: usize) -> PathBuf {
        let mut detours = self.detours.iter().rev();
        let (begin, directory) = detours
            .find(|(begin, _)| *begin <= end)
            .map_or((0, &self.root), |(begin, directory)| (*begin, directory));
        let below = self.path[begin..end].strip_prefix(b"/");
        directory.join(OsStr::from_bytes(below.unwrap_or(&self.path[begin..end])))
    }

    fn directory(&mut self, states: &States) -> Result<(), WalkError> {
        let mut listing = self.pool.pop().unwrap_or_default();
        let directory = self.real(self.path.len());
        let read = listing.read(&directory, self.walk);
        let complete = read.map_err(|source| WalkError::Read {
            path: self.here(),
            source,
        })?;
        if !complete {
            return Err(WalkError::Stopped);
        }
        for index in 0..listing.entries.len() {
            if index % BATCH == BATCH - 1 && (self.walk.stopped)() {
                return Err(WalkError::Stopped);
            }
            let (name, kind) = listing.entry(index);
            self.entry(states, name, kind)?;
        }
        listing.clear();
        self.pool.push(listing);
        Ok(())
    }

    fn entry(&mut self, states: &States, name: &[u8], kind: Kind) -> Result<(), WalkError> {
        let length = self.path.len();
        self.path.extend_from_slice(name);
        let result = match kind {
            Kind::File => {
                self.file(states, name, false);
                Ok(())
            }
            Kind::Directory => self.subdirectory(states, name),
            Kind::Symlink => self.symlink(states, name),
            Kind::Special => {
                if self.matching(states, name).is_some() {
                    self.oddities.push(Oddity::Special(self.here()));
                }
                Ok(())
            }
        };
        self.path.truncate(length);
        result
    }

    /// The first pattern that matches a file of this name here.
    fn matching(&self, states: &States, name: &[u8]) -> Option<usize> {
        let mut alternatives = self.alternatives.iter().zip(states).zip(&self.owner);
        alternatives
            .find_map(|((pattern, state), owner)| pattern.accepts(*state, name).then_some(*owner))
    }

    fn file(&mut self, states: &States, name: &[u8], symlink: bool) {
        if self.is_hidden() {
            let matches = |pattern: &Pattern, state| pattern.accepts(state, name);
            let names = |pattern: &Pattern, state| pattern.spells(state, name);
            self.note_hidden(states, &matches, &names);
            return;
        }
        let mut first = None;
        let mut last = None;
        for ((pattern, state), owner) in self.alternatives.iter().zip(states).zip(&self.owner) {
            // Alternatives of one pattern stand next to each other; together they count a file once.
            if last != Some(*owner) && pattern.accepts(*state, name) {
                self.counts[*owner] += 1;
                first = first.or(Some(*owner));
                last = Some(*owner);
            }
        }
        let Some(pattern) = first else { return };
        let mut excludes = self
            .walk
            .excludes
            .iter()
            .zip(&states[self.alternatives.len()..]);
        if excludes.any(|(exclude, state)| exclude.accepts(*state, name)) {
            return;
        }
        (self.found)(&Found {
            path: &self.path,
            pattern,
            symlink,
        });
    }

    fn subdirectory(&mut self, states: &States, name: &[u8]) -> Result<(), WalkError> {
        // What another build stages is there for a moment only, and not its source's (CTR-72).
        if ownership::is_hidden_name(OsStr::from_bytes(name)) {
            return Ok(());
        }
        let Some(below) = self.below(states, name) else {
            return Ok(());
        };
        if self.is_hidden() {
            let leads = |pattern: &Pattern, state| pattern.step(state, name) != 0;
            self.note_hidden(states, &leads, &|pattern, state| pattern.names(state, name));
            return Ok(());
        }
        self.path.push(b'/');
        self.directory(&below)
    }

    fn note_hidden(
        &mut self,
        states: &States,
        leads: &dyn Fn(&Pattern, State) -> bool,
        spells: &dyn Fn(&Pattern, State) -> bool,
    ) {
        let of = |chosen: &dyn Fn(&Pattern, State) -> bool| {
            let alternatives = self.alternatives.iter().zip(states).zip(&self.owner);
            let mut patterns: Vec<usize> = alternatives
                .filter(|((pattern, state), _)| chosen(pattern, **state))
                .map(|(_, owner)| *owner)
                .collect();
            patterns.dedup();
            patterns
        };
        let (patterns, named) = (of(leads), of(spells));
        if !patterns.is_empty() {
            let path = self.here();
            self.hides.push(Hidden {
                path,
                patterns,
                named,
            });
        }
    }

    /// The states one level down; `None` if nothing below can be selected.
    fn below(&mut self, states: &States, name: &[u8]) -> Option<States> {
        let count = self.alternatives.len();
        let mut below: States = Vec::with_capacity(states.len());
        let mut any = 0;
        for (pattern, state) in self.alternatives.iter().zip(states) {
            let next = pattern.step(*state, name);
            any |= next;
            below.push(next);
        }
        if any == 0 {
            return None;
        }
        let mut all_excluded = false;
        for (exclude, state) in self.walk.excludes.iter().zip(&states[count..]) {
            let next = exclude.step(*state, name);
            all_excluded |= exclude.accepts_everything(next);
            below.push(next);
        }
        if all_excluded {
            // Whether these patterns would have matched something in there is not worth reading it for.
            for (owner, state) in self.owner.iter().zip(&below) {
                self.counts[*owner] += usize::from(*state != 0);
                self.pruned[*owner] |= *state != 0;
            }
            return None;
        }
        Some(below)
    }

    fn symlink(&mut self, states: &States, name: &[u8]) -> Result<(), WalkError> {
        let link = self.real(self.path.len());
        let target = view::real(self.walk.mounts, &link);
        let found = target.and_then(|target| Some((fs::metadata(&target).ok()?, target)));
        let Some((metadata, target)) = found else {
            if self.matching(states, name).is_some() {
                self.oddities.push(Oddity::Dangling(self.here()));
            }
            return Ok(());
        };
        let keep = self.walk.keep_symlinks && self.stays_inside(&link);
        if metadata.is_file() || keep {
            self.file(states, name, keep);
            return Ok(());
        }
        if !metadata.is_dir() {
            return Ok(());
        }
        let Some(below) = self.below(states, name) else {
            return Ok(());
        };
        let id = (metadata.dev(), metadata.ino());
        // A tree of links can have more paths than there are atoms. A link back up is never followed; a `**` goes into
        // each directory through one link only, while a pattern that names the link goes through it always.
        let named = self
            .alternatives
            .iter()
            .zip(states)
            .any(|(pattern, state)| pattern.names(*state, name));
        if self.is_hidden() || self.leads_back(id) || (!named && self.linked.contains(&id)) {
            self.oddities.push(Oddity::AlreadyWalked(self.here()));
            return Ok(());
        }
        self.linked.push(id);
        self.detours.push((self.path.len(), target));
        self.path.push(b'/');
        let walked = self.directory(&below);
        self.detours.pop();
        walked
    }

    /// Whether a symlink is relative and leads to something below the root: only then it means the same thing after
    /// the artifact was unpacked somewhere else (ART-7). An archive cannot write down a target that is not UTF-8.
    fn stays_inside(&self, link: &Path) -> bool {
        let Ok(target) = fs::read_link(link) else {
            return false;
        };
        if target.to_str().is_none() {
            return false;
        }
        let mut depth = self.path.iter().filter(|byte| **byte == b'/').count();
        for component in target.components() {
            match component {
                Component::ParentDir if depth == 0 => return false,
                Component::ParentDir => depth -= 1,
                Component::Normal(_) => depth += 1,
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => return false,
            }
        }
        true
    }

    /// Whether a directory is one that the walk is inside of.
    fn leads_back(&self, id: (u64, u64)) -> bool {
        let slashes = self
            .path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        std::iter::once(0)
            .chain(slashes)
            .any(|end| identity(&self.real(end)) == Some(id))
    }

    fn is_hidden(&self) -> bool {
        self.hidden.contains(&self.path)
    }
}

/// Those of the paths that lie below a directory, as paths below it.
fn below(root: &Path, paths: &[PathBuf]) -> Vec<Vec<u8>> {
    let Ok(root) = root.canonicalize() else {
        return Vec::new();
    };
    let relative = paths
        .iter()
        .filter_map(|path| path.strip_prefix(&root).ok());
    relative
        .map(|path| path.as_os_str().as_bytes().to_vec())
        .collect()
}

/// Device and inode: which directory it is, whatever its name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The entries of one directory, sorted by name. Kept and used again: a tree has many directories.
#[derive(Default)]
struct Listing {
    names: Vec<u8>,
    entries: Vec<(u32, u32, Kind)>,
}

impl Listing {
    fn clear(&mut self) {
        self.names.clear();
        self.entries.clear();
    }

    fn entry(&self, index: usize) -> (&[u8], Kind) {
        let (start, length, kind) = self.entries[index];
        (&self.names[start as usize..(start + length) as usize], kind)
    }

    fn push(&mut self, name: &[u8], kind: Kind) {
        let start = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
        self.names.extend_from_slice(name);
        self.entries.push((start, length, kind));
    }

    fn sort(&mut self) {
        let names = &self.names;
        let name =
            |entry: &(u32, u32, Kind)| &names[entry.0 as usize..(entry.0 + entry.1) as usize];
        self.entries.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    }

    /// False if the end was asked for before all entries were there.
    fn read(&mut self, directory: &Path, walk: &Walk<'_>) -> io::Result<bool> {
        self.clear();
        if !self.read_entries(directory, walk)? {
            return Ok(false);
        }
        self.sort();
        Ok(true)
    }

    /// Whether to go on with another entry.
    fn may_go_on(&self, stopped: &dyn Fn() -> bool) -> bool {
        !self.entries.len().is_multiple_of(BATCH) || !stopped()
    }

    #[cfg(target_os = "linux")]
    fn read_entries(&mut self, directory: &Path, walk: &Walk<'_>) -> io::Result<bool> {
        use rustix::fs::{FileType, RawDir};

        let descriptor = view::open_directory(walk.mounts, directory)?;
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut entries = RawDir::new(descriptor, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            if !self.may_go_on(walk.stopped) {
                return Ok(false);
            }
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                FileType::Symlink => Kind::Symlink,
                // Some file systems do not say.
                FileType::Unknown => kind_of(&directory.join(OsStr::from_bytes(name)))?,
                _ => Kind::Special,
            };
            self.push(name, kind);
        }
        Ok(true)
    }

    #[cfg(not(target_os = "linux"))]
    fn read_entries(&mut self, directory: &Path, walk: &Walk<'_>) -> io::Result<bool> {
        for entry in fs::read_dir(directory)? {
            if !self.may_go_on(walk.stopped) {
                return Ok(false);
            }
            let entry = entry?;
            let kind = kind_of(&entry.path())?;
            self.push(entry.file_name().as_bytes(), kind);
        }
        Ok(true)
    }
}

fn kind_of(path: &Path) -> io::Result<Kind> {
    let file_type = fs::symlink_metadata(path)?.file_type();
    Ok(if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Symlink
    } else {
        Kind::Special
    })
}
