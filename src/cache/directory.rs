//! A directory as the place for archives.
//!
//! A build writes an archive beside the others under a name that nobody looks for, and gives it its name when all of it is on
//! the disk. Whoever removes holds a lock meanwhile, but waits for it only so long; whoever reads needs none: a file that is
//! open stays what it is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{FlockOperation, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use super::Trouble;
use super::archive::{Archive, Facts};
use super::name::{ENDING, written};
use super::store::{Candidate, Entry, Found};
use crate::directory::{self, Directory, LINK_HELP, Link};
use crate::store::Staging;
use crate::view;

/// How long a lock is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// Time between two tries to get it.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Mode of directories that are made: for this user only.
const PRIVATE: u32 = 0o700;

/// How often an archive is given its name, while others remove the directory that it goes to.
const TRIES: u32 = 10_000;

/// The file that is locked.
const LOCK: &str = ".lock";

/// Keeps archives in a directory of this machine.
#[derive(Clone, Debug)]
pub struct CacheDirectory {
    root: PathBuf,
}

impl CacheDirectory {
    /// A store below this directory, which is made when something is kept. Its path is absolute, and no link on it is
    /// followed.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A private directory beside the archives, to make one in.
    pub fn make_staging_directory(&self) -> Result<Staging, Trouble> {
        let made = Directory::make(&self.root, PRIVATE, &mut Vec::new())
            .and_then(|root| Staging::make_beside(&root));
        made.map_err(|error| trouble("make a directory in", &self.root, &error))
    }

    pub(super) async fn look_up(&self, name: &str) -> Result<Option<Found>, Trouble> {
        let (store, name) = (self.clone(), name.to_owned());
        blocking(move || store.look_up_now(&name)).await?
    }

    fn look_up_now(&self, name: &str) -> Result<Option<Found>, Trouble> {
        let path = self.root.join(name);
        match fs::metadata(&path) {
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(Trouble::with_file("read", &path, &error)),
            Ok(_) => {}
        }
        let (archive, _) = open(&path)?;
        Ok(Some(Found {
            name: name.to_owned(),
            location: path.display().to_string(),
            facts: archive.facts,
        }))
    }

    /// Archives whose names begin so, each with what is known of it or why it cannot be used.
    pub(super) async fn beginning(&self, prefix: &str) -> Result<Vec<Candidate>, Trouble> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        blocking(move || {
            let (directory, start) = prefix.rsplit_once('/').unwrap_or(("", &prefix));
            let mut found = Vec::new();
            for name in names_in(&store.root.join(directory))? {
                if name.starts_with(start) && name.ends_with(ENDING) {
                    let name = format!("{directory}/{name}");
                    let looked = store.look_up_now(&name);
                    found.push((name, looked));
                }
            }
            Ok(found)
        })
        .await?
    }

    pub(super) async fn fetch(&self, found: &Found) -> Result<(Archive, File), Trouble> {
        let path = self.root.join(&found.name);
        blocking(move || {
            let opened = open(&path)?;
            let now = || Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            };
            let times = Timestamps {
                last_access: now(),
                last_modification: now(),
            };
            // Where nothing can be written, nothing is ever removed either.
            let _ = rustix::fs::futimens(&opened.1, &times);
            Ok(opened)
        })
        .await?
    }

    pub(super) async fn keep(
        &self,
        archive: &Archive,
        name: &str,
        replaces: bool,
    ) -> Result<bool, Trouble> {
        let (from, to) = (archive.path.clone(), self.root.join(name));
        blocking(move || {
            let moved = keep_now(&from, &to, replaces);
            moved.map_err(|error| trouble("write", &to, &error))
        })
        .await?
    }

    pub(super) async fn list(&self, namespace: Option<&str>) -> Result<Vec<Entry>, Trouble> {
        let store = self.clone();
        let namespace = namespace.map(|name| written(name).replace('.', "%2E"));
        blocking(move || store.list_now(namespace.as_deref())).await?
    }

    fn list_now(&self, namespace: Option<&str>) -> Result<Vec<Entry>, Trouble> {
        let mut entries = Vec::new();
        for one in names_in(&self.root)? {
            if namespace.is_some_and(|wanted| wanted != one) || one.starts_with('.') {
                continue;
            }
            for version in names_in(&self.root.join(&one))? {
                let directory = self.root.join(&one).join(&version);
                for file in names_in(&directory)? {
                    if file.ends_with(ENDING) {
                        let name = format!("{one}/{version}/{file}");
                        entries.extend(entry(name, &directory.join(file)));
                    }
                }
            }
        }
        Ok(entries)
    }

    pub(super) async fn remove(&self, names: &[String]) -> Vec<(String, Trouble)> {
        let (store, names) = (self.clone(), names.to_vec());
        let removed = blocking(move || store.remove_now(&names)).await;
        removed.unwrap_or_else(|trouble| vec![(String::new(), trouble)])
    }

    fn remove_now(&self, names: &[String]) -> Vec<(String, Trouble)> {
        let _lock = self.lock();
        let mut failed = Vec::new();
        for name in names {
            let path = self.root.join(name);
            let removed = directory::split(&path)
                .and_then(|(parent, name)| Directory::open(parent)?.remove_file(name));
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failed.push((name.clone(), trouble("remove", &path, &error)));
                }
                _ => {}
            }
            // As far as nothing else is in them.
            let above = path.ancestors().skip(1);
            for directory in above.take_while(|directory| *directory != self.root) {
                if directory::remove_empty(directory).is_err() {
                    break;
                }
            }
        }
        failed
    }

    /// Others that remove wait; who cannot get the lock in time goes on without.
    fn lock(&self) -> Option<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let root = Directory::open(&self.root).ok()?;
        let file = root.open_file(OsStr::new(LOCK), flags).ok()?;
        let mut left = LOCK_LIMIT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(file.into()),
                Err(Errno::WOULDBLOCK | Errno::INTR) if left > Duration::ZERO => {
                    std::thread::sleep(BETWEEN_TRIES);
                    left = left.saturating_sub(BETWEEN_TRIES);
                }
                Err(_) => return None,
            }
        }
    }
}

/// Opens an archive for reading.
fn open(path: &Path) -> Result<(Archive, File), Trouble> {
    let file = view::open_without_links(path).map_err(|error| trouble("read", path, &error))?;
    Archive::of(path, file)
}

/// Moves an archive to its name. Gives whether it was moved: unless it replaces what is there, whoever was first stays.
fn keep_now(from: &Path, to: &Path, replaces: bool) -> io::Result<bool> {
    let (staging, old) = directory::split(from)?;
    let (parent, new) = directory::split(to)?;
    let staging = Directory::open(staging)?;
    let mut tries = 0;
    let moved = loop {
        let made = Directory::make(parent, PRIVATE, &mut Vec::new());
        let moved = made.and_then(|target| {
            if replaces {
                staging.rename(old, &target, new).map(|()| true)
            } else {
                move_unless_there((&staging, old), (&target, new))
            }
        });
        tries += 1;
        match moved {
            // Whoever has removed the last archive in it has removed the directory too, since it was made.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                std::thread::yield_now();
            }
            moved => break moved?,
        }
    };
    // The name too is on the disk.
    let _ = directory::descend(parent, OFlags::RDONLY | OFlags::DIRECTORY)
        .and_then(|parent| File::from(parent).sync_all());
    Ok(moved)
}

/// What went wrong, and what to do if a link is in the way.
fn trouble(doing: &str, path: &Path, error: &io::Error) -> Trouble {
    let trouble = Trouble::with_file(doing, path, error);
    match Link::of(error) {
        Some(_) => trouble.with_help(LINK_HELP),
        None => trouble,
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn entry(name: String, path: &Path) -> Option<Entry> {
    let found = fs::metadata(path).ok()?;
    let used = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let facts = File::open(path).and_then(|mut file| Facts::read(&mut file));
    Some(Entry {
        name,
        bytes: found.len(),
        used: u64::try_from(used.as_millis()).unwrap_or(u64::MAX),
        facts: facts.ok().flatten().map(|(facts, _)| facts),
    })
}

/// Names in a directory, sorted; none if it is not there.
fn names_in(directory: &Path) -> Result<Vec<String>, Trouble> {
    let entries = match fs::read_dir(directory) {
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        entries => entries.map_err(|error| Trouble::with_file("read", directory, &error))?,
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Moves a file unless there is one of that name: whoever was first stays. Gives whether it was moved.
fn move_unless_there(
    (from, old): (&Directory, &OsStr),
    (to, new): (&Directory, &OsStr),
) -> io::Result<bool> {
    use rustix::fs::{AtFlags, linkat, renameat_with};
    match renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // Not every file system can; a second name cannot take the place of a first one either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            match linkat(from, old, to, new, AtFlags::empty()) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Trouble::new(format!("work on the cache broke off: {error}")))
}
