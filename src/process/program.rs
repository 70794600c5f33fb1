//! Programs as files: this one by names that lead to it for whoever starts it, and others by theirs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// This program, as something to start as [`SESSION_NAME`](super::SESSION_NAME). A path of its own may be another program's before the build
/// is over: an update, or a build that makes this program.
#[must_use]
pub fn this_program() -> Option<PathBuf> {
    running_as("/proc/self/exe".into())
}

/// The system's name for the program that runs, where there is one.
fn running_as(name: PathBuf) -> Option<PathBuf> {
    if name.exists() {
        Some(name)
    } else {
        std::env::current_exe().ok()
    }
}

/// The file of this program by a name that leads to it for others too; `None` once it was replaced or removed: an upgrade, while
/// a build or an agent goes on.
#[must_use]
pub fn file_of_this_program() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let running = this_program()?;
    let named = running.canonicalize().ok()?;
    let identity = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    // What the system calls a removed file may be the name of another one.
    (identity(&running)? == identity(&named)?).then_some(named)
}

/// This program, as something that other processes can start while this one lives, even if its file was replaced or removed
/// meanwhile.
#[must_use]
pub fn this_program_for_others() -> Option<PathBuf> {
    running_as(format!("/proc/{}/exe", std::process::id()).into())
}

/// The file of this program, if every user of this machine can start it.
#[must_use]
pub fn this_program_for_everybody() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    // What was replaced or removed meanwhile has a name that leads nowhere.
    let own = std::env::current_exe().ok()?.canonicalize().ok()?;
    let passes = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o001 != 0);
    own.ancestors().all(passes).then_some(own)
}

/// The arguments of the program that started this one, its name first; nothing where the system does not say.
#[must_use]
pub fn arguments_of_parent() -> Vec<OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    let text = rustix::process::getppid()
        .and_then(|pid| std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok());
    text.unwrap_or_default()
        .split_inclusive(|byte| *byte == 0)
        .map(|argument| {
            OsString::from_vec(argument.strip_suffix(&[0]).unwrap_or(argument).to_vec())
        })
        .collect()
}

/// Whether this process has a terminal that its children would have too.
#[must_use]
pub fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// The absolute path of a program: itself if it is a path, else the first of that name on `path`.
#[must_use]
pub fn find_program(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |candidate: &PathBuf| {
        candidate.is_file() && rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    std::env::split_paths(path?)
        .map(|directory| directory.join(name))
        .find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_path_and_on_path() {
        assert_eq!(
            find_program("/bin/sh", None),
            Some(PathBuf::from("/bin/sh"))
        );
        assert_eq!(find_program("/bin/no-such-shell", None), None);
        let found = find_program("sh", Some(OsStr::new("/nowhere:/bin:/usr/bin"))).unwrap();
        assert!(found.ends_with("sh") && found.is_absolute());
        assert_eq!(find_program("sh", None), None);
        assert_eq!(
            find_program("passwd", Some(OsStr::new("/etc"))),
            None,
            "not executable"
        );
    }
}
