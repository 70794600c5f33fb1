//! This program becomes another one: started by its own hand in between, it leaves a terminal, takes one, or becomes another
//! user first.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;

/// `argv[0]` under which this program only leaves its terminal and becomes another one (CMD-10).
pub const SESSION_NAME: &str = "runner-session";

/// `argv[0]` under which this program only becomes another user and then another program (CMD-17).
pub const USER_NAME: &str = "runner-user";

/// `argv[0]` under which this program only takes its standard input for its terminal and becomes another program (TOOL-33).
pub const TERMINAL_NAME: &str = "runner-terminal";

/// Leaves the terminal and becomes another program: what this program does when it is started as [`SESSION_NAME`].
/// Returns only if that fails.
#[must_use]
pub fn become_session(program: &OsStr, arguments: &[OsString]) -> io::Error {
    let left = rustix::process::setsid();
    left.map_or_else(io::Error::from, |_| become_program(program, arguments))
}

/// Makes standard input the terminal of a session of its own and becomes another program: what this program does when it is
/// started as [`TERMINAL_NAME`]. Returns only if that fails.
#[must_use]
pub fn become_terminal_session(program: &OsStr, arguments: &[OsString]) -> io::Error {
    let taken = rustix::process::setsid()
        .and_then(|_| rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()));
    taken.map_or_else(io::Error::from, |()| become_program(program, arguments))
}

/// Becomes another program. Returns only if that fails.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
fn become_program(program: &OsStr, arguments: &[OsString]) -> io::Error {
    std::process::Command::new(program).args(arguments).exec()
}

/// Becomes another user and then another program: what this program does when it is started as [`USER_NAME`], with the
/// numbers of the user, the group and all groups, the program and its arguments. Returns only if that fails: what could not
/// be done, and why.
#[must_use]
pub fn become_user(arguments: &[OsString]) -> (String, io::Error) {
    let [uid, gid, groups, program, arguments @ ..] = arguments else {
        let reason = io::Error::from(io::ErrorKind::InvalidInput);
        return ("become another user".to_owned(), reason);
    };
    if let Err(error) = take_user(uid, gid, groups) {
        return (format!("become user {}", uid.display()), error);
    }
    // A shell would not say whom it may not, and would go on somewhere else.
    if let Err(error) = std::fs::read_dir(".") {
        let doing = format!("enter the source directory as user {}", uid.display());
        return (doing, error);
    }
    if let Some(script) = arguments.last()
        && let Err(error) = std::fs::File::open(script)
    {
        let doing = format!("read {} as user {}", script.display(), uid.display());
        return (doing, error);
    }
    let error = become_program(program, arguments);
    (format!("start {}", program.display()), error)
}

/// Leaves the terminal and becomes this user, for good. This process has one thread.
fn take_user(uid: &OsStr, gid: &OsStr, groups: &OsStr) -> io::Result<()> {
    use rustix::thread::{Gid, Uid, set_thread_gid, set_thread_groups, set_thread_uid};
    let number = |text: &str| {
        let number = text.parse::<u32>().map_err(io::Error::other)?;
        Ok::<u32, io::Error>(number)
    };
    let groups = groups.to_string_lossy();
    let groups = groups
        .split(',')
        .map(|group| number(group).map(Gid::from_raw));
    let groups = groups.collect::<io::Result<Vec<Gid>>>()?;
    rustix::process::setsid()?;
    set_thread_groups(&groups)?;
    set_thread_gid(Gid::from_raw(number(&gid.to_string_lossy())?))?;
    set_thread_uid(Uid::from_raw(number(&uid.to_string_lossy())?))?;
    Ok(())
}
