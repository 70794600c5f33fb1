//! Debug sessions: the socket of a build's, the commands of a build that use it, and how a person finds it (TOOL-33 to TOOL-39).

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::{complain, machine, start};
use crate::exec;
use crate::exec::container::DEBUG_VARIABLE;
use crate::ownership::OwnedDirectory;
use crate::plan::Plan;
use crate::process;
use crate::tool::{self, CommandPlace, DebugSession, SessionCommand, Waiting};

/// Name of the socket in its directory.
const SOCKET: &str = "debug.socket";

/// The socket of a build's debug session, for as long as this lives.
pub(super) struct Door {
    directory: OwnedDirectory,
}

impl Door {
    /// Opens one in a directory of its own in `place`, for this user and those users of this machine. Inside of a runtime.
    pub(super) fn open(place: &Path, users: Vec<u32>, session: DebugSession) -> io::Result<Self> {
        let directory = if users.is_empty() {
            OwnedDirectory::make_in(place)?
        } else {
            OwnedDirectory::make_passable_in(place)?
        };
        let door = Self { directory };
        let listener = UnixListener::bind(door.socket())?;
        let mode = if users.is_empty() { 0o600 } else { 0o666 };
        std::fs::set_permissions(door.socket(), Permissions::from_mode(mode))?;
        tokio::spawn(serve(listener, users, session));
        Ok(door)
    }

    /// Where it is.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.directory.path());
    }
}

/// The users of a build's commands, as numbers of this machine. Whom the buildspec names wrongly runs nothing.
pub(super) fn users(plan: &Plan) -> Vec<u32> {
    let named = plan.phases.iter().filter_map(|phase| phase.user.as_deref());
    let found = named.filter_map(|name| exec::find_user(name).ok()?);
    found.map(|user| user.uid).collect()
}

/// Serves whoever comes, if it is one of those (TOOL-38).
async fn serve(listener: UnixListener, users: Vec<u32>, session: DebugSession) {
    let own = rustix::process::geteuid().as_raw();
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(peer) = stream.peer_cred() else {
            continue;
        };
        let is_own = peer.uid() == own || peer.uid() == 0;
        if is_own || users.contains(&peer.uid()) {
            let session = session.clone();
            tokio::spawn(async move { session.serve(stream, is_own).await });
        }
    }
}

/// Builds of this user with a debug session, with their sockets. Those that do not answer are none.
pub(super) async fn find() -> Vec<(PathBuf, Waiting)> {
    let mut places = vec![machine::private_directory(), machine::temporary_directory()];
    places.dedup();
    let mut found = Vec::new();
    for socket in places.iter().flat_map(|place| sockets(place)) {
        if let Ok(waiting) = tool::look(&socket).await {
            found.push((socket, waiting));
        }
    }
    found.sort_by(|(_, one), (_, other)| one.build.cmp(&other.build));
    found
}

/// Sockets of this user's builds in a directory.
fn sockets(place: &Path) -> Vec<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"runner-"))
        .filter(|entry| {
            entry
                .metadata()
                .is_ok_and(|found| found.is_dir() && found.uid() == own)
        })
        .map(|entry| entry.path().join(SOCKET))
        .filter(|socket| socket.exists())
        .collect()
}

/// Is `codebuild-breakpoint` or `codebuild-resume`. Gives the exit code; without a debug session nothing is done (TOOL-31).
pub(super) fn command(command: SessionCommand) -> u8 {
    let Some(socket) = machine::variable(DEBUG_VARIABLE).map(PathBuf::from) else {
        return 0;
    };
    let done = match start::runtime() {
        Ok(runtime) => runtime.block_on(async {
            match command {
                SessionCommand::Breakpoint => tool::pause(&socket, here()?).await,
                SessionCommand::Resume => tool::resume(&socket).await,
            }
        }),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(()) => 0,
        Err(why) => {
            complain(&format!("{}: {why}\n", command.name()));
            1
        }
    }
}

fn here() -> Result<CommandPlace, String> {
    let directory =
        machine::directory().map_err(|error| format!("this directory is gone: {error}"))?;
    let mut variables: Vec<(OsString, OsString)> = machine::variables();
    // This program's own path, which shells put there.
    variables.retain(|(name, _)| name != "_");
    Ok(CommandPlace {
        directory,
        variables,
        this_program: process::this_program(),
    })
}
