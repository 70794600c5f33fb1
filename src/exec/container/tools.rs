//! Tools in a container: where they are found, and how what they want gets out.
//!
//! Our own `aws`, `docker` and credential helper stand at the end of PATH, so real ones are used where there are any. What
//! they ask for is answered outside: each connection to a socket in here becomes a stream of the session's connection.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::wire::{Offers, Opener, Purpose};
use super::{
    DEBUG_SOCKET, DEBUG_VARIABLE, DOCKER_DIRECTORY, GIT_HELPER, PROGRAM, TOOL_DIRECTORY,
    TOOL_SOCKET, TOOL_VARIABLE, TOOLS,
};
use crate::exec::relay;

/// PATH where neither the image nor the build has one: what a shell takes then.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Pause after a connection that could not be taken.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Most connections of one kind that are carried out at once; others wait until one of them is over. All together fewer
/// than the streams that the session's connection may have, of which one too many would end it. No kind waits for another.
const MOST_TOOLS: usize = 256;
const MOST_CREDENTIALS: usize = 64;
const MOST_DEBUGGERS: usize = 16;

/// Variable that names Docker's configuration.
const DOCKER_CONFIG: &str = "DOCKER_CONFIG";

/// Variable that leads SDKs to the endpoint for AWS's credentials, and where they are there.
const CREDENTIALS_VARIABLE: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const CREDENTIALS_PATH: &str = "/credentials";

/// Puts what is offered in its place and serves it. To be called once.
pub(super) async fn offer(
    offers: Offers,
    variables: &mut Vec<(OsString, OsString)>,
    outside: &Opener,
) -> io::Result<()> {
    let room = |most: usize| Arc::new(Semaphore::new(most));
    if offers.tools || offers.git {
        let room = room(MOST_TOOLS);
        listen(TOOL_SOCKET, outside.clone(), Purpose::Tool, room)?;
    }
    if offers.debug {
        let room = room(MOST_DEBUGGERS);
        listen(DEBUG_SOCKET, outside.clone(), Purpose::Debug, room)?;
        variables.push((DEBUG_VARIABLE.into(), DEBUG_SOCKET.into()));
    }
    if offers.git {
        link(Path::new(GIT_HELPER))?;
    }
    if offers.tools {
        offer_tools(variables)?;
    }
    if offers.credentials {
        offer_credentials(variables, outside.clone(), room(MOST_CREDENTIALS)).await?;
    }
    Ok(())
}

/// Listens on loopback in here. What is asked there is answered outside, where the token is looked at and the credentials
/// are.
async fn offer_credentials(
    variables: &mut Vec<(OsString, OsString)>,
    outside: Opener,
    room: Arc<Semaphore>,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let uri = format!("http://127.0.0.1:{port}{CREDENTIALS_PATH}");
    variables.retain(|(name, _)| name != CREDENTIALS_VARIABLE);
    variables.push((CREDENTIALS_VARIABLE.into(), uri.into()));
    tokio::spawn(async move {
        while let Some(place) = place_in(&room).await {
            match listener.accept().await {
                Ok((connection, _)) => {
                    let purpose = Purpose::Credentials;
                    tokio::spawn(join(connection, outside.clone(), purpose, place));
                }
                // Such as no more file descriptors: some will be free again.
                Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
            }
        }
    });
    Ok(())
}

/// Makes the directory of the tools, and a socket in it.
fn listen(socket: &str, outside: Opener, purpose: Purpose, room: Arc<Semaphore>) -> io::Result<()> {
    fs::create_dir_all(TOOL_DIRECTORY)?;
    let listener = UnixListener::bind(socket)?;
    // Commands of other users are the build's too.
    fs::set_permissions(socket, Permissions::from_mode(0o666))?;
    tokio::spawn(carry(listener, outside, purpose, room));
    Ok(())
}

fn offer_tools(variables: &mut Vec<(OsString, OsString)>) -> io::Result<()> {
    for tool in TOOLS {
        link(&Path::new(TOOL_DIRECTORY).join(tool))?;
    }
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
async fn carry(listener: UnixListener, outside: Opener, purpose: Purpose, room: Arc<Semaphore>) {
    while let Some(place) = place_in(&room).await {
        match listener.accept().await {
            Ok((connection, _)) => {
                tokio::spawn(join(connection, outside.clone(), purpose, place));
            }
            // Such as no more file descriptors: some will be free again (TOOL-52).
            Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
        }
    }
}

/// A place for one more connection, once there is one.
async fn place_in(room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(room).acquire_owned().await.ok()
}

async fn join(
    connection: impl AsyncRead + AsyncWrite,
    outside: Opener,
    purpose: Purpose,
    _place: OwnedSemaphorePermit,
) {
    if let Some(mut stream) = outside.open().await
        && purpose.say(&mut stream).await.is_ok()
    {
        // Whoever breaks off is seen as such at the other end.
        relay(connection, stream).await;
    }
}
