//! Sources as they came, for a build that begins anew (PHASE-17, PHASE-21).

use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::EndWithMe;
use crate::ownership::{OwnedDirectory, remove_tree};

/// Copies of directories, made before any command could change them. They go with the value.
#[derive(Debug)]
pub struct Originals {
    room: OwnedDirectory,
    /// What was copied, in the order of its copies.
    directories: Vec<PathBuf>,
}

impl Originals {
    /// Copies directories into one of their own in `parent`. Whoever waits for it no longer ends it soon, and nothing is left.
    ///
    /// # Errors
    ///
    /// What the system says: mostly that there is no room.
    pub async fn keep(directories: Vec<PathBuf>, parent: &Path) -> io::Result<Self> {
        let originals = Self {
            room: OwnedDirectory::make_in(parent)?,
            directories,
        };
        let pairs = originals.pairs();
        in_another_thread(move |ended| {
            pairs.iter().try_for_each(|(directory, copy)| {
                copy_tree(directory, copy, ended).map_err(|error| of(directory, &error))
            })
        })
        .await?;
        Ok(originals)
    }

    /// Makes the directories what they were. They stay themselves, or whoever has one open would see another.
    ///
    /// # Errors
    ///
    /// What the system says; the directories are then neither what they were nor what they had become.
    pub async fn put_back(&self) -> io::Result<()> {
        let pairs = self.pairs();
        in_another_thread(move |ended| {
            pairs.iter().try_for_each(|(directory, copy)| {
                empty(directory)
                    .and_then(|()| copy_tree(copy, directory, ended))
                    .map_err(|error| of(directory, &error))
            })
        })
        .await
    }

    /// Directories with their copies.
    fn pairs(&self) -> Vec<(PathBuf, PathBuf)> {
        let numbered = self.directories.iter().cloned().enumerate();
        numbered
            .map(|(number, directory)| (directory, self.room.path().join(number.to_string())))
            .collect()
    }
}

impl Drop for Originals {
    fn drop(&mut self) {
        // Whoever was told to end may still be at its last file.
        let _ = remove_tree(self.room.path()).or_else(|_| remove_tree(self.room.path()));
    }
}

async fn in_another_thread(
    work: impl FnOnce(&AtomicBool) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    let _end = EndWithMe(Arc::clone(&ended));
    let done = tokio::task::spawn_blocking(move || work(&ended));
    done.await.map_err(io::Error::other)?
}

/// The same error, with what it is about.
fn of(directory: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", directory.display()))
}

/// Removes all that is in a directory. What a build has put in its place goes, and is followed nowhere.
fn empty(directory: &Path) -> io::Result<()> {
    match fs::symlink_metadata(directory) {
        // A build may have closed it.
        Ok(found) if found.is_dir() => {
            fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        }
        Ok(_) => fs::remove_file(directory)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Copies a tree with owners, permissions, times and links; pipes, sockets and devices, which no source has, are left out.
fn copy_tree(from: &Path, to: &Path, ended: &AtomicBool) -> io::Result<()> {
    let mut directories = Vec::new();
    let mut pending = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = pending.pop() {
        match fs::create_dir(&to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for entry in fs::read_dir(&from)? {
            if ended.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let found = entry.metadata()?;
            if found.is_dir() {
                pending.push((from, to));
            } else if found.is_symlink() {
                symlink(fs::read_link(&from)?, &to)?;
                own_as(&found, &to)?;
            } else if found.is_file() {
                copy_file(&from, &to, &found)?;
            }
        }
        directories.push((to, fs::symlink_metadata(&from)?));
    }
    // What is written into a directory changes its time, and not all can be written into.
    for (directory, found) in directories.iter().rev() {
        own_as(found, directory)?;
        fs::set_permissions(directory, found.permissions())?;
        set_times(found, &File::open(directory)?)?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, found: &Metadata) -> io::Result<()> {
    fs::copy(from, to)?;
    own_as(found, to)?;
    // A change of the owner takes some of them away.
    fs::set_permissions(to, found.permissions())?;
    // A file without any permission cannot be opened, and its time means nothing to anybody.
    File::open(to).map_or(Ok(()), |file| set_times(found, &file))
}

fn set_times(found: &Metadata, file: &File) -> io::Result<()> {
    let times = FileTimes::new().set_modified(found.modified()?);
    file.set_times(times.set_accessed(found.accessed()?))
}

/// Gives it the owner that it had, which only root has to do, and can.
fn own_as(found: &Metadata, to: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    lchown(to, Some(found.uid()), Some(found.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything below a directory with what makes it what it is.
    fn tree(directory: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut pending = vec![directory.to_owned()];
        while let Some(next) = pending.pop() {
            let facts = fs::symlink_metadata(&next).expect("it is there");
            let content = match &facts {
                _ if facts.is_symlink() => fs::read_link(&next).map(|to| format!("{to:?}")),
                _ if facts.is_dir() => Ok(String::new()),
                _ => fs::read_to_string(&next),
            };
            found.push(format!(
                "{} {:o} {} {content:?}",
                next.display(),
                facts.mode(),
                if facts.is_symlink() {
                    0
                } else {
                    facts.mtime_nsec() + facts.mtime()
                },
            ));
            if facts.is_dir() {
                let entries = fs::read_dir(&next).expect("it can be read").flatten();
                pending.extend(entries.map(|entry| entry.path()));
            }
        }
        found.sort();
        found
    }

    #[tokio::test]
    async fn what_commands_did_to_a_source_is_gone() {
        let place = tempfile::tempdir().expect("a directory can be made");
        let source = place.path().join("src");
        fs::create_dir_all(source.join("sub/deep")).expect("a directory can be made");
        fs::create_dir(source.join("closed")).expect("a directory can be made");
        fs::write(source.join("sub/deep/file"), "as it was").expect("a file can be written");
        fs::write(source.join("script"), "#!/bin/sh\n").expect("a file can be written");
        fs::write(source.join("gone"), "").expect("a file can be written");
        symlink("nowhere", source.join("link")).expect("a link can be made");
        let mode = |path: &str, mode| {
            let permissions = Permissions::from_mode(mode);
            fs::set_permissions(source.join(path), permissions).expect("they are ours");
        };
        mode("script", 0o751);
        mode("closed", 0o555);
        let before = tree(&source);
        let originals = Originals::keep(vec![source.clone()], place.path());
        let originals = originals.await.expect("there is room");
        for _ in 0..2 {
            fs::write(source.join("sub/deep/file"), "another").expect("a file can be written");
            fs::remove_file(source.join("gone")).expect("it is there");
            fs::remove_file(source.join("link")).expect("it is there");
            symlink("/", source.join("link")).expect("a link can be made");
            fs::create_dir(source.join("new")).expect("a directory can be made");
            fs::write(source.join("new/file"), "").expect("a file can be written");
            mode("script", 0o600);
            mode("new", 0o000);
            originals.put_back().await.expect("it can be put back");
            assert_eq!(tree(&source), before);
        }
        // Whatever stands in its place.
        remove_tree(&source).expect("it can be removed");
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("a directory can be made");
        fs::write(elsewhere.join("file"), "stays").expect("a file can be written");
        symlink(&elsewhere, &source).expect("a link can be made");
        originals.put_back().await.expect("it can be put back");
        assert_eq!(tree(&source), before);
        assert!(elsewhere.join("file").exists());
        drop(originals);
        let left = fs::read_dir(place.path()).expect("it is there").count();
        assert_eq!(left, 2);
    }
}
