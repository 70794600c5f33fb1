//! What an agent hands a build that it runs: things that no flag should say, and the knowledge that it is there (AGENT-17).

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::FlockOperation;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::mistake;
use crate::agent::job::Handover;
use crate::event::StopReason;
use crate::plan::BuildRequest;

/// Largest file that is read: what an action can say is far less.
const MOST: u64 = 1024 * 1024;

/// Adds to a request what an agent says of it.
pub(super) fn apply(handover: &Handover, request: &mut BuildRequest) {
    request.initiator.clone_from(&handover.initiator);
    request.account.clone_from(&handover.account);
    request.start_build_variables.extend(handover.requested());
    request
        .source
        .resolved_version
        .clone_from(&handover.resolved_version);
}

/// What is in the file.
pub(super) fn read(path: &Path) -> Result<Handover, clap::Error> {
    let unreadable = |error: &dyn std::fmt::Display| {
        mistake(format!("could not read {}: {error}", path.display()))
    };
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let read = file.take(MOST).read_to_end(&mut text);
    read.map_err(|error| unreadable(&error))?;
    serde_json::from_slice(&text).map_err(|error| unreadable(&error))
}

/// Holds the file as long as this lives: so the next agent knows that this build goes on.
pub(super) fn hold(path: Option<&Path>) -> Result<Option<File>, clap::Error> {
    let Some(path) = path else { return Ok(None) };
    let file = File::open(path);
    let file =
        file.map_err(|error| mistake(format!("could not open {}: {error}", path.display())))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(error) => Err(mistake(format!(
            "another build holds {}: {error}",
            path.display()
        ))),
    }
}

/// Ends the build when whoever started it is gone: then its end of standard input is closed.
pub(super) fn listen(path: Option<&Path>, signals: &mpsc::UnboundedSender<StopReason>) {
    if path.is_none() {
        return;
    }
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let receiver = input.and_then(pipe::Receiver::from_owned_fd);
    // What is no pipe tells nothing.
    let Ok(mut receiver) = receiver else { return };
    let signals = signals.clone();
    tokio::spawn(async move {
        let mut nothing = [0; 64];
        while receiver.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
        let _ = signals.send(StopReason::Request);
    });
}
