//! What files are, as far as it can be told without reading them: by that it is known what a build changed in its copy of
//! the source, and what somebody else changed outside meanwhile (CTR-56).

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// A kind of file that is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Link,
}

/// What one file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    /// Permissions with the special bits.
    pub(super) mode: u32,
    /// In bytes.
    pub(super) size: u64,
    /// When its content was changed last, in seconds and nanoseconds.
    pub(super) modified: (i64, i64),
    /// When anything of it was changed last, in seconds and nanoseconds: nobody can set it.
    changed: (i64, i64),
    inode: u64,
}

/// What there is below a directory, by paths relative to it. The directory itself has the empty path.
pub(super) type Listing = HashMap<PathBuf, Facts>;

impl Facts {
    /// Those of what was looked at; `None` if it is nothing that is copied, such as a pipe.
    pub(super) fn of(found: &Metadata) -> Option<Self> {
        let kind = found.file_type();
        let kind = if kind.is_dir() {
            Kind::Directory
        } else if kind.is_file() {
            Kind::File
        } else if kind.is_symlink() {
            Kind::Link
        } else {
            return None;
        };
        Some(Self {
            kind,
            mode: found.mode() & 0o7777,
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            inode: found.ino(),
        })
    }

    /// Whether this is the same file as before, with nothing of it changed; for directories, with the same permissions.
    /// Strict: to be used where nobody else changes anything.
    pub(super) fn is_untouched(&self, before: &Self) -> bool {
        match (self.kind, before.kind) {
            (Kind::Directory, Kind::Directory) => self.mode == before.mode,
            _ => self == before,
        }
    }

    /// Whether this is one and the same file, and nothing of it was changed or put into it meanwhile.
    pub(super) fn is_the_same(&self, before: &Self) -> bool {
        self == before
    }

    /// Whether this has the content and the permissions that it had before, as far as can be told; directories, that it is
    /// one.
    pub(super) fn is_as(&self, before: &Self) -> bool {
        match (self.kind, before.kind) {
            (Kind::Directory, Kind::Directory) => true,
            (Kind::File, Kind::File) => {
                (self.mode, self.size, self.modified) == (before.mode, before.size, before.modified)
            }
            (Kind::Link, Kind::Link) => {
                (self.size, self.modified) == (before.size, before.modified)
            }
            _ => false,
        }
    }

    /// As a text without NUL.
    pub(super) fn write(&self) -> String {
        let kind = match self.kind {
            Kind::Directory => 'd',
            Kind::File => 'f',
            Kind::Link => 'l',
        };
        let ((seconds, nanos), (changed, changed_nanos)) = (self.modified, self.changed);
        let (mode, size, inode) = (self.mode, self.size, self.inode);
        format!("{kind} {mode} {size} {seconds} {nanos} {changed} {changed_nanos} {inode}")
    }

    /// What [`Facts::write`] wrote.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = match words.next()? {
            "d" => Kind::Directory,
            "f" => Kind::File,
            "l" => Kind::Link,
            _ => return None,
        };
        Some(Self {
            kind,
            mode: words.next()?.parse().ok()?,
            size: words.next()?.parse().ok()?,
            modified: (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            changed: (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            inode: words.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    // CTR-56
    #[test]
    fn facts_survive_being_written_down_and_tell_changes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "content").unwrap();
        let facts =
            |path: &std::path::Path| Facts::of(&fs::symlink_metadata(path).unwrap()).unwrap();
        let before = facts(&path);
        assert_eq!(Facts::read(&before.write()), Some(before));
        assert_eq!(Facts::read("x 1"), None);
        // Size and time as before, another content.
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut &file, b"CONTENT").unwrap();
        file.set_modified(time).unwrap();
        assert!(facts(&path).is_as(&before));
        assert!(!facts(&path).is_untouched(&before));
        assert!(facts(place.path()).is_untouched(&facts(place.path())));
        assert!(!facts(place.path()).is_as(&before));
    }
}
