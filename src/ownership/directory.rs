//! Directories that are locked as long as their owner lives.
//!
//! The lock is the kernel's (`flock`), on the directory itself: it ends with the process however that ends, and it holds
//! across PID namespaces. Where a file system has no locks a directory has a name that is never taken for abandoned.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, fstat, mkdirat, openat, statat, unlinkat,
};

use crate::directory::Directory;

/// What names of private directories begin with; 32 hexadecimal digits follow.
const PREFIX: &str = "runner-";

/// What names of directories begin with that could not be locked: nobody looks for those.
const UNLOCKED_PREFIX: &str = "runner-unlocked-";

/// A private directory of this process. It does not go away by itself.
#[derive(Debug)]
pub struct OwnedDirectory {
    path: PathBuf,
    /// Held for as long as this lives; `None` where there are no locks.
    _lock: Option<OwnedFd>,
}

impl OwnedDirectory {
    /// Makes one with a name of its own in `parent`, which only this user can look into.
    pub fn make_in(parent: &Path) -> io::Result<Self> {
        Self::make_named(Parent::at(parent), "", 0o700, lock)
    }

    /// As [`OwnedDirectory::make_in`], but others can get at what they know the name of. It is for the user to see to what
    /// is in it.
    pub fn make_passable_in(parent: &Path) -> io::Result<Self> {
        let made = Self::make_in(parent)?;
        // Not by the way it is made: a umask would take that away.
        fs::set_permissions(made.path(), Permissions::from_mode(0o711))?;
        Ok(made)
    }

    /// Makes one with a hidden name of its own in a directory, with the permissions that directories have by default.
    pub fn make_hidden_in(parent: &Directory) -> io::Result<Self> {
        Self::make_named(Parent::open(parent), ".", 0o777, lock)
    }

    /// Makes one here, in place of one that was lost and which only this user can look into.
    pub fn make(path: PathBuf) -> io::Result<Self> {
        if is_unlocked(&path) {
            return Self::without_lock(&Spot::of(path), 0o700);
        }
        Self::make_with(Spot::of(path), 0o700, lock)
    }

    /// Makes one with a name of its own behind a prefix. Where there are no locks the name is one that nobody looks for:
    /// in this process's hands it must not be somebody else's to clear away.
    fn make_named(parent: Parent<'_>, prefix: &str, mode: u32, take: Take) -> io::Result<Self> {
        let spot = parent.spot(&format!("{prefix}{}", name(PREFIX)));
        match Self::make_with(spot, mode, take) {
            Err(error) if has_no_locks(&error) => {
                let name = format!("{prefix}{}", name(UNLOCKED_PREFIX));
                Self::without_lock(&parent.spot(&name), mode)
            }
            other => other,
        }
    }

    fn without_lock(spot: &Spot<'_>, mode: u32) -> io::Result<Self> {
        spot.make(mode)?;
        Ok(Self {
            path: spot.path.clone(),
            _lock: None,
        })
    }

    fn make_with(spot: Spot<'_>, mode: u32, take: Take) -> io::Result<Self> {
        loop {
            spot.make(mode)?;
            match take(&spot, FlockOperation::LockExclusive) {
                Ok(lock) if is_at(&lock, &spot) => {
                    return Ok(Self {
                        path: spot.path,
                        _lock: Some(lock),
                    });
                }
                // Before it was locked somebody who clears up has taken it for abandoned.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let _ = unlinkat(spot.above, &spot.name, AtFlags::REMOVEDIR);
                    return Err(error);
                }
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What takes the lock of a directory.
type Take = fn(&Spot<'_>, FlockOperation) -> io::Result<OwnedFd>;

/// Where a directory is made: below what is open, or wherever a path leads.
#[derive(Clone, Copy)]
struct Parent<'d> {
    open: BorrowedFd<'d>,
    /// What a name is joined to, for who is open: nothing where that is the directory itself.
    before: &'d Path,
    path: &'d Path,
}

impl<'d> Parent<'d> {
    const fn at(path: &'d Path) -> Self {
        Self {
            open: CWD,
            before: path,
            path,
        }
    }

    fn open(directory: &'d Directory) -> Self {
        Self {
            open: directory.as_fd(),
            before: Path::new(""),
            path: directory.path(),
        }
    }

    fn spot(self, name: &str) -> Spot<'d> {
        Spot {
            above: self.open,
            name: self.before.join(name),
            path: self.path.join(name),
        }
    }
}

/// The place of one directory: by its name below what is open, and by its path.
struct Spot<'d> {
    above: BorrowedFd<'d>,
    name: PathBuf,
    path: PathBuf,
}

impl Spot<'static> {
    fn of(path: PathBuf) -> Self {
        Self {
            above: CWD,
            name: path.clone(),
            path,
        }
    }
}

impl Spot<'_> {
    fn make(&self, mode: u32) -> io::Result<()> {
        Ok(mkdirat(self.above, &self.name, Mode::from_raw_mode(mode))?)
    }
}

fn name(prefix: &str) -> String {
    format!("{prefix}{}", uuid::Uuid::new_v4().simple())
}

/// Whether a directory has the name of one that could not be locked.
fn is_unlocked(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.trim_start_matches('.').starts_with(UNLOCKED_PREFIX))
}

/// Whether it is the file system that has no locks, or none now: not this process that has no more files to open, say.
fn has_no_locks(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let without = [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|error| without.contains(&error))
}

fn is_ours(name: &str) -> bool {
    let name = name.strip_prefix('.').unwrap_or(name);
    name.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() == 32
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// Whether something has a name of hidden directories that this program makes beside other things
/// ([`OwnedDirectory::make_hidden_in`]), locked or not.
#[must_use]
pub fn is_hidden_name(name: &OsStr) -> bool {
    let name = name.to_str().and_then(|name| name.strip_prefix('.'));
    name.is_some_and(|name| {
        let unlocked = name.strip_prefix(UNLOCKED_PREFIX);
        is_ours(name) || unlocked.is_some_and(|rest| is_ours(&format!("{PREFIX}{rest}")))
    })
}

fn lock(spot: &Spot<'_>, how: FlockOperation) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let directory = openat(spot.above, &spot.name, flags, Mode::empty())?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&directory, how))?;
    Ok(directory)
}

/// Whether what is open is still what has that name.
fn is_at(directory: &OwnedFd, spot: &Spot<'_>) -> bool {
    let there = statat(spot.above, &spot.name, AtFlags::SYMLINK_NOFOLLOW);
    match (fstat(directory), there) {
        (Ok(open), Ok(there)) => (open.st_dev, open.st_ino) == (there.st_dev, there.st_ino),
        _ => false,
    }
}

/// A directory whose owner is gone. Nobody else clears it away as long as this lives.
#[derive(Debug)]
pub struct AbandonedDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// When something was last put in it or taken away.
    pub modified: Option<SystemTime>,
    _lock: OwnedFd,
}

impl AbandonedDirectory {
    /// Removes it with all that is in it.
    pub fn remove(self) -> io::Result<()> {
        remove_tree(&self.path)
    }
}

/// Removes a directory with all that is in it, also where its own permissions are against it, as those of what a build
/// unpacked may be. One that is not there is removed.
pub fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        removed => return removed,
    }
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        let _ = fs::set_permissions(&directory, Permissions::from_mode(0o700));
        for entry in fs::read_dir(&directory)?.flatten() {
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(directory)
}

/// The directories in `parent` that this program made for this user, and whose owners are gone.
#[must_use]
pub fn abandoned(parent: &Path) -> Vec<AbandonedDirectory> {
    let user = rustix::process::getuid().as_raw();
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_ours))
        .filter_map(|entry| {
            let path = entry.path();
            let found = fs::symlink_metadata(&path).ok()?;
            if !found.is_dir() || found.uid() != user {
                return None;
            }
            let spot = Spot::of(path.clone());
            let lock = lock(&spot, FlockOperation::NonBlockingLockExclusive).ok()?;
            let modified = found.modified().ok();
            is_at(&lock, &spot).then_some(AbandonedDirectory {
                path,
                modified,
                _lock: lock,
            })
        })
        .collect()
}

/// Removes what [`abandoned`] finds, as far as it can be removed.
pub fn sweep(parent: &Path) {
    for directory in abandoned(parent) {
        let _ = directory.remove();
    }
}

/// Removes what of [`abandoned`] is hidden: in a directory of the caller's nothing else is this program's.
pub fn sweep_hidden(parent: &Path) {
    for directory in abandoned(parent) {
        if directory.path.file_name().is_some_and(is_hidden_name) {
            let _ = directory.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn names_are_told_from_others() {
        assert!(is_ours(&name(PREFIX)) && is_ours(&format!(".{}", name(PREFIX))));
        let digits = "0".repeat(32);
        for other in [
            format!("runner-{digits}0"),
            format!("runner-{}", "G".repeat(32)),
            format!("other-{digits}"),
            "runner-".to_owned(),
            "runner-tests".to_owned(),
            name(UNLOCKED_PREFIX),
        ] {
            assert!(!is_ours(&other), "{other}");
        }
    }

    #[test]
    fn what_is_owned_stays_and_what_is_abandoned_goes() {
        let place = tempfile::tempdir().unwrap();
        let mine = OwnedDirectory::make_in(place.path()).unwrap();
        let there = Directory::open(&place.path().canonicalize().unwrap()).unwrap();
        let hidden = OwnedDirectory::make_hidden_in(&there).unwrap();
        let dropped = OwnedDirectory::make_in(place.path()).unwrap();
        fs::write(dropped.path().join("env.sh"), "SECRET=1").unwrap();
        let gone = dropped.path().to_owned();
        drop(dropped);
        let other = place.path().join("runner-tests");
        fs::create_dir(&other).unwrap();
        let link = place.path().join(name(PREFIX));
        std::os::unix::fs::symlink(&other, &link).unwrap();
        let found = abandoned(place.path());
        assert_eq!(found.len(), 1);
        // Whoever looks holds it: nobody else finds it meanwhile.
        assert!(abandoned(place.path()).is_empty());
        drop(found);
        sweep(place.path());
        assert!(!gone.exists());
        assert!(mine.path().is_dir() && hidden.path().is_dir());
        assert!(other.is_dir() && link.is_symlink());
        let path = mine.path().to_owned();
        drop((mine, hidden));
        sweep(place.path());
        assert!(!path.exists());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }

    #[test]
    fn whoever_makes_a_directory_has_it_whatever_is_swept_meanwhile() {
        let place = tempfile::tempdir().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    sweep(place.path());
                }
            });
            for _ in 0..2000 {
                let made = OwnedDirectory::make_in(place.path());
                let written = made.and_then(|made| fs::write(made.path().join("env.sh"), ""));
                if written.is_err() {
                    over.store(true, Ordering::Relaxed);
                }
                written.unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    // CTR-22
    #[test]
    fn what_cannot_be_locked_is_never_swept() {
        let place = tempfile::tempdir().unwrap();
        for prefix in ["", "."] {
            let made =
                OwnedDirectory::make_named(Parent::at(place.path()), prefix, 0o700, |_, _| {
                    Err(rustix::io::Errno::NOLCK.into())
                });
            let path = made.unwrap().path().to_owned();
            // A lock that there is later says nothing of the one who had none.
            sweep(place.path());
            assert!(path.is_dir());
            fs::remove_dir(&path).unwrap();
            let again = OwnedDirectory::make(path.clone()).unwrap();
            sweep(place.path());
            assert!(again.path().is_dir());
            fs::remove_dir(&path).unwrap();
        }
    }

    // CTR-22
    #[test]
    fn a_lock_that_is_not_had_is_an_error_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let made = OwnedDirectory::make_named(Parent::at(place.path()), "", 0o700, |_, _| {
            Err(rustix::io::Errno::MFILE.into())
        });
        let error = made.unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::MFILE.raw_os_error())
        );
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_there_is_nobody_elses() {
        let place = tempfile::tempdir().unwrap();
        let mine = OwnedDirectory::make_in(place.path()).unwrap();
        let again = OwnedDirectory::make(mine.path().to_owned());
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
