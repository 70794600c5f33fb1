//! What commands call one thing and this program another: the files of a container, as far as they are here.
//!
//! A link that a container made means a place in there. Whoever followed it here would read what this machine has under
//! that name, so links of a container are followed by their text, and every file is opened without any link on its way:
//! what a container changes in between leads to an error and never to another file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::directory::descend;

/// A directory or file that is called one thing where commands run and another here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// As commands see it: absolute.
    pub inside: PathBuf,
    /// As this program sees it: canonical.
    pub outside: PathBuf,
}

/// Most links on the way to one file, as the system has it.
const MAX_LINKS: u32 = 40;

/// Where this program finds what commands see there; `None` if that is not here. The path has neither `.` nor `..`.
#[must_use]
pub fn outside(mounts: &[Mount], inside: &Path) -> Option<PathBuf> {
    let nearest = mounts
        .iter()
        .filter(|mount| inside.starts_with(&mount.inside))
        .max_by_key(|mount| mount.inside.components().count())?;
    moved(inside, &nearest.inside, &nearest.outside)
}

/// What commands call a path of this program's; `None` if they do not see it.
fn inside(mounts: &[Mount], outside: &Path) -> Option<PathBuf> {
    let nearest = mounts
        .iter()
        .filter(|mount| outside.starts_with(&mount.outside))
        .max_by_key(|mount| mount.outside.components().count())?;
    moved(outside, &nearest.outside, &nearest.inside)
}

fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(from).ok()?;
    Some(if rest.as_os_str().is_empty() {
        to.to_owned()
    } else {
        to.join(rest)
    })
}

/// Where a path of this program's leads to, links followed as commands follow them: a path without links. `None` if it
/// leads nowhere, or to something that is not here (CTR-5). Without mounts commands see what this program sees, and the
/// path is that.
#[must_use]
pub fn real(mounts: &[Mount], path: &Path) -> Option<PathBuf> {
    if mounts.is_empty() {
        return Some(path.to_owned());
    }
    let inside = inside(mounts, path)?;
    let mut pending = parts(&inside);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == "/" {
            here = PathBuf::from("/");
        } else if part == ".." {
            here.pop();
        } else {
            match step(mounts, &here.join(part), pending.is_empty())? {
                Step::To(next) => here = next,
                Step::Link(_) if links == MAX_LINKS => return None,
                Step::Link(target) => {
                    links += 1;
                    pending.extend(parts(&target));
                }
            }
        }
    }
    outside(mounts, &here)
}

/// What is at the next part of a path as commands see it.
enum Step {
    To(PathBuf),
    Link(PathBuf),
}

fn step(mounts: &[Mount], next: &Path, is_last: bool) -> Option<Step> {
    // What is at or above a mount is a directory in there, whatever else is here under that name.
    if mounts.iter().any(|mount| mount.inside.starts_with(next)) {
        return Some(Step::To(next.to_owned()));
    }
    let outside = outside(mounts, next)?;
    let found = fs::symlink_metadata(&outside).ok()?;
    if found.is_symlink() {
        return Some(Step::Link(fs::read_link(&outside).ok()?));
    }
    (found.is_dir() || is_last).then(|| Step::To(next.to_owned()))
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev();
    parts
        .filter(|part| *part != Component::CurDir)
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// Opens a regular file for reading: the path of this program's, links followed as [`real`] does it.
pub fn open(mounts: &[Mount], path: &Path) -> io::Result<File> {
    if mounts.is_empty() {
        return File::open(path);
    }
    // Few paths have a link in them.
    open_without_links(path).or_else(|_| {
        let real = real(mounts, path).ok_or(io::ErrorKind::NotFound)?;
        open_without_links(&real)
    })
}

/// Opens a regular file for reading, whose absolute path has no link in it. A link is an error, also as its last part.
pub fn open_without_links(path: &Path) -> io::Result<File> {
    // What is no regular file could be waited for without end.
    let file = File::from(descend(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// Opens a directory for reading: without mounts wherever the path leads, else a path without links.
pub fn open_directory(mounts: &[Mount], path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    if mounts.is_empty() {
        return Ok(rustix::fs::open(
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )?);
    }
    descend(path, flags)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A source and what was brought from elsewhere in a container, and a file of this machine's that neither has.
    fn container() -> (tempfile::TempDir, Vec<Mount>, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        for directory in ["source/real", "elsewhere/opt/out", "machine"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["source/real/file", "elsewhere/opt/out/file", "machine/file"] {
            fs::write(root.join(file), file).unwrap();
        }
        let mount = |inside: &str, outside: &str| Mount {
            inside: inside.into(),
            outside: root.join(outside),
        };
        let mounts = vec![mount("/build/src", "source"), mount("/", "elsewhere")];
        (place, mounts, root)
    }

    /// CTR-44
    #[test]
    fn a_link_leads_where_the_container_means_it_to() {
        let (_place, mounts, root) = container();
        let machine = root.join("machine/file").display().to_string();
        let cases: &[(&str, Option<&str>)] = &[
            ("/build/src/real/file", Some("source/real/file")),
            ("/build/src/./real/../real/file", Some("source/real/file")),
            ("real/file", Some("source/real/file")),
            ("../src/real/file", Some("source/real/file")),
            ("../../opt/out/file", Some("elsewhere/opt/out/file")),
            ("/../opt/out/file", Some("elsewhere/opt/out/file")),
            ("/opt/out/file", Some("elsewhere/opt/out/file")),
            ("/build/src", Some("source")),
            ("/build/src/real/file/..", None),
            ("/build/src/nothing", None),
            ("/opt/other", None),
            ("link", None),
            (&machine, None),
            ("../machine/file", None),
            ("/etc/passwd", None),
        ];
        for (target, expected) in cases {
            let link = root.join("source/link");
            symlink(target, &link).unwrap();
            let expected = expected.map(|path| root.join(path));
            assert_eq!(real(&mounts, &link), expected, "{target}");
            let read = open(&mounts, &link).and_then(io::read_to_string).ok();
            let content = expected.and_then(|path| fs::read_to_string(path).ok());
            assert_eq!(read, content, "{target}");
            fs::remove_file(&link).unwrap();
        }
        // Without anything from elsewhere, what is not in the source is nowhere.
        symlink("/etc/passwd", root.join("source/link")).unwrap();
        assert_eq!(real(&mounts[..1], &root.join("source/link")), None);
        assert_eq!(real(&mounts[..1], &root.join("machine/file")), None);
    }

    /// CTR-44
    #[test]
    fn nothing_is_opened_through_a_link() {
        let (_place, _, root) = container();
        let file = root.join("source/real/file");
        assert!(open_without_links(&file).is_ok());
        symlink(&file, root.join("source/file")).unwrap();
        symlink(root.join("source/real"), root.join("source/link")).unwrap();
        for path in ["source/file", "source/link/file", "source/real"] {
            assert!(open_without_links(&root.join(path)).is_err(), "{path}");
        }
        let fifo = root.join("source/fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(open_without_links(&fifo).is_err());
    }
}
