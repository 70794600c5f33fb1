//! Files that only their owner can read, replaced as a whole, directories with the permissions that they have to have, and locks
//! between processes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

/// Makes a directory that nobody else can look into, with those above it. One that is there already has to be this user's
/// own, and is closed to others.
///
/// # Errors
///
/// When it cannot be made, or belongs to somebody else.
pub fn directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    let found = fs::metadata(path)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it belongs to somebody else",
        ));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Makes a directory, and those above it that are missing, with these permissions whatever the umask is. What is there already
/// stays as it is.
///
/// # Errors
///
/// When it cannot be made, or something else is there.
pub fn make_all(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        // Not by the way it is made: a umask would take something away.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(above) if !above.as_os_str().is_empty() => {
                make_all(above, mode)?;
                make_all(path, mode)
            }
            _ => Err(error),
        },
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Replaces a file by another one that only its owner can read: at once, so that every reader finds a whole one. After a
/// power cut it may be the old one, or empty.
///
/// # Errors
///
/// When it cannot be written; the old one is there then.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, |file| file.write_all(content))
}

/// Replaces a file as [`write()`] does, and is back when the new one survives a power cut.
///
/// # Errors
///
/// When it cannot be written. It may have been replaced, but not for sure.
pub fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, |file| {
        file.write_all(content)?;
        file.sync_all()
    })?;
    // A name is its directory's.
    path.parent().map_or(Ok(()), sync_directory)
}

/// Is back when what was made, renamed or removed in a directory stays so after a power cut.
///
/// # Errors
///
/// When the directory cannot be opened, or its disk fails.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn replace(path: &Path, put: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| put(&mut file))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// A lock that is held until it is dropped, or the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Takes the lock of this name, for which others may have to be waited for; not longer than `limit`.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] when others have it all this time; what the system says when the file cannot be made.
pub fn lock(path: &Path, limit: Duration) -> io::Result<Lock> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock(file)),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn nobody_else_can_read_what_is_private() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        directory(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        directory(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let file = path.join("file");
        fs::write(&file, "old").unwrap();
        write(&file, b"new").unwrap();
        assert_eq!(
            (mode(&file), fs::read(&file).unwrap()),
            (0o600, b"new".to_vec())
        );
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        write_durably(&file, b"newer").unwrap();
        assert_eq!(
            (mode(&file), fs::read(&file).unwrap()),
            (0o600, b"newer".to_vec())
        );
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        assert!(write(&path.join("nowhere/file"), b"").is_err());
        assert!(write_durably(&path.join("nowhere/file"), b"").is_err());
    }

    #[test]
    fn directories_are_made_as_they_have_to_be_and_left_as_they_are() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b/c");
        // No umask that a test may run with leaves these.
        make_all(&path, 0o777).unwrap();
        for made in ["a", "a/b", "a/b/c"] {
            assert_eq!(mode(&place.path().join(made)), 0o777, "{made}");
        }
        make_all(&path, 0o700).unwrap();
        assert_eq!(mode(&path), 0o777);
        fs::write(path.join("file"), "").unwrap();
        let in_the_way = make_all(&path.join("file"), 0o700).unwrap_err();
        assert_eq!(in_the_way.kind(), io::ErrorKind::AlreadyExists);
        let below = make_all(&path.join("file/x"), 0o700).unwrap_err();
        assert_eq!(below.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_lock_is_waited_for_but_not_for_ever() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let held = lock(&path, Duration::ZERO).unwrap();
        let refused = lock(&path, Duration::from_millis(5)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        drop(held);
        assert!(lock(&path, Duration::ZERO).is_ok());
    }
}
