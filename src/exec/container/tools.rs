//! Tools in a container: where they are found, and how what they want gets out.
//!
//! Our own `aws`, `docker` and credential helper stand at the end of PATH, so real ones are used where there are any. What
//! they ask for is answered outside: each connection to a socket in here becomes a stream of the session's connection.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use super::wire::Opener;
use super::{DOCKER_DIRECTORY, PROGRAM, TOOL_DIRECTORY, TOOL_SOCKET, TOOL_VARIABLE, TOOLS};

/// PATH where neither the image nor the build has one: what a shell takes then.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variable that names Docker's configuration.
const DOCKER_CONFIG: &str = "DOCKER_CONFIG";

/// Puts the tools in their place and serves them. To be called once.
pub(super) fn offer(variables: &mut Vec<(OsString, OsString)>, outside: Opener) -> io::Result<()> {
    fs::create_dir_all(TOOL_DIRECTORY)?;
    for tool in TOOLS {
        link(&Path::new(TOOL_DIRECTORY).join(tool))?;
    }
    let listener = UnixListener::bind(TOOL_SOCKET)?;
    // Commands of other users are the build's too.
    fs::set_permissions(TOOL_SOCKET, Permissions::from_mode(0o666))?;
    tokio::spawn(carry(listener, outside));
    append_to_path(variables);
    variables.push((TOOL_VARIABLE.into(), TOOL_SOCKET.into()));
    if variables.iter().all(|(name, _)| name != DOCKER_CONFIG) {
        fs::create_dir_all(DOCKER_DIRECTORY)?;
        // What `docker` writes there beside it, it writes as whoever runs it.
        fs::set_permissions(DOCKER_DIRECTORY, Permissions::from_mode(0o1777))?;
        let config = Path::new(DOCKER_DIRECTORY).join("config.json");
        fs::write(config, "{\"credsStore\": \"runner\"}\n")?;
        variables.push((DOCKER_CONFIG.into(), DOCKER_DIRECTORY.into()));
    }
    Ok(())
}

fn link(path: &Path) -> io::Result<()> {
    match symlink(PROGRAM, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

fn append_to_path(variables: &mut Vec<(OsString, OsString)>) {
    if variables.iter().all(|(name, _)| name != "PATH") {
        variables.push(("PATH".into(), USUAL_PATH.into()));
    }
    for (_, path) in variables.iter_mut().filter(|(name, _)| name == "PATH") {
        // An empty entry would be the current directory.
        if !path.is_empty() {
            path.push(":");
        }
        path.push(TOOL_DIRECTORY);
    }
}

/// Carries every connection out, until the session ends.
async fn carry(listener: UnixListener, outside: Opener) {
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(join(connection, outside.clone()));
    }
}

async fn join(mut connection: UnixStream, outside: Opener) {
    if let Some(mut stream) = outside.open().await {
        // Whoever breaks off is seen as such at the other end.
        let _ = tokio::io::copy_bidirectional(&mut connection, &mut stream).await;
    }
}
