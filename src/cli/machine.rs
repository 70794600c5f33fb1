//! What the machine says: variables, directories, signals, counters. The one reader of the process's environment.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::directory::{self, Directory, LINK_HELP, Link};
use crate::event::StopReason;
use crate::plan::{ProjectName, Users};

/// Every variable of this process.
pub(super) fn variables() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// One variable of this process, even if it is set to nothing.
pub(super) fn variable_or_empty(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// One variable of this process, if it is set to something.
pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// One variable of this process as text.
pub(super) fn text(name: &str) -> Option<String> {
    variable(name)?.into_string().ok()
}

/// The directory this process was started in.
pub(super) fn directory() -> io::Result<PathBuf> {
    std::env::current_dir()
}

/// Where private files of a build go: in memory where the system has such a place for its users, else where temporary
/// files go.
pub(super) fn private_directory() -> PathBuf {
    let usable = |path: &PathBuf| {
        path.is_absolute()
            && path.is_dir()
            && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
    };
    variable("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(usable)
        .unwrap_or_else(std::env::temp_dir)
}

/// Where large temporary files go.
pub(super) fn temporary_directory() -> PathBuf {
    std::env::temp_dir()
}

/// Who started this build.
pub(super) fn initiator() -> String {
    let user = text("USER").or_else(|| text("LOGNAME"));
    user.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()))
}

/// As whom this process can run commands.
pub(super) fn users() -> Users {
    let own = rustix::process::geteuid();
    if own.is_root() && cfg!(target_os = "linux") {
        return Users::Any;
    }
    let number = own.as_raw().to_string();
    let accounts = fs::read("/etc/passwd").unwrap_or_default();
    let names = accounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        (uid == number.as_bytes()).then(|| String::from_utf8_lossy(name).into_owned())
    });
    let mut known: Vec<String> = names.collect();
    known.push(number);
    Users::Only(known)
}

/// The next number of a project's builds (ENV-4). They are counted in a file of the user's; where there can be none,
/// every build is the first.
pub(super) fn next_build_number(project: &ProjectName) -> u64 {
    count_up(project).unwrap_or(1)
}

/// Where programs keep what is to outlive them.
fn state_directory() -> Option<PathBuf> {
    let state = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || variable("HOME").map(|home| Path::new(&home).join(".local/state"));
    state.or_else(home)
}

/// Where an agent keeps its state if nobody says otherwise.
pub(super) fn agent_directory() -> Option<PathBuf> {
    state_directory().map(|state| state.join("runner/agent"))
}

fn count_up(project: &ProjectName) -> io::Result<u64> {
    let state = state_directory().ok_or(io::ErrorKind::NotFound)?;
    let directory = state.join("runner/projects").join(project.as_str());
    let path = directory.join("build-number");
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(&directory)?;
            open()?
        }
        other => other?,
    };
    // Builds that start at the same moment get different numbers.
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    let mut last = String::new();
    file.read_to_string(&mut last)?;
    let next = last.trim().parse::<u64>().unwrap_or(0).saturating_add(1);
    file.rewind()?;
    file.write_all(format!("{next}\n").as_bytes())?;
    Ok(next)
}

/// Signals that end a build, except those that whoever started this program has asked to ignore, as `nohup` does.
pub(super) fn stop_signals() -> Vec<i32> {
    const INTERRUPT: i32 = 2;
    const TERMINATE: i32 = 15;
    const HANG_UP: i32 = 1;
    const QUIT: i32 = 3;
    let ignored = ignored_signals();
    [INTERRUPT, TERMINATE, HANG_UP, QUIT]
        .into_iter()
        .filter(|signal| ignored & (1 << (signal - 1)) == 0)
        .collect()
}

fn ignored_signals() -> u64 {
    let mut status = String::new();
    let read =
        File::open("/proc/self/status").and_then(|mut file| file.read_to_string(&mut status));
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    read.ok()
        .and(mask)
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Sends a reason for every signal that arrives.
pub(super) fn listen_for_signals(
    sender: &tokio::sync::mpsc::UnboundedSender<StopReason>,
) -> io::Result<()> {
    for number in stop_signals() {
        let mut signals =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(number))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if sender.send(StopReason::Signal(number)).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Whether two paths are of one regular file, or would be if something wrote to them.
pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(a), Ok(b)) => a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        (Err(_), Err(_)) => canonical(one) == canonical(other),
        _ => false,
    }
}

/// A path without links, as far as it exists.
pub(super) fn canonical(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
            return if rest.as_os_str().is_empty() {
                real
            } else {
                real.join(rest)
            };
        }
    }
    path.to_owned()
}

/// Where a path of the caller's leads now, through no link that lies in one of the directories that builds can change
/// (CTR-66).
pub(super) fn settled(path: &Path, changeable: &[PathBuf]) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    directory::settle(&path, changeable)
}

/// Opens a file for what a build says, and empties it. Where a build can change the way to it, that has no links.
pub(super) fn create(path: &Path, changeable: &[PathBuf]) -> io::Result<File> {
    let settled = settled(path, changeable);
    if !changeable.iter().any(|above| settled.starts_with(above)) {
        // Whatever it is: a file, a terminal, a pipe that another program reads.
        return File::create(path);
    }
    let (parent, name) = directory::split(&settled)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    Directory::open(parent)?.open_file(name, flags)
}

/// What to do about an error, as a line, where that is known.
pub(super) fn help(error: &io::Error) -> String {
    match Link::of(error) {
        Some(_) => format!("help: {LINK_HELP}\n"),
        None => String::new(),
    }
}
