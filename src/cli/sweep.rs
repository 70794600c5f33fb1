//! What builds left that did not end as they should goes beside the next build: directories, and before those that say so
//! what is in an engine (CTR-23, CTR-48, CTR-49).

use std::path::PathBuf;

use super::start;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::event::stamp;
use crate::exec::container::{Left, staged_in};
use crate::ownership::{self, AbandonedDirectory};

/// How long engines may take, all together, from the beginning of the build on.
const ENGINE_LIMIT: Duration = Duration::from_secs(10);

/// After so long an engine that cannot be asked is not asked any more. Whoever uses it meets what is there (CTR-21).
const OLD: Duration = Duration::from_hours(24);

/// A sweep that goes on.
pub(super) struct Sweep {
    remarks: oneshot::Receiver<Vec<String>>,
}

impl Sweep {
    /// Begins one in these places. No engine is asked unless a directory says that one has to be.
    pub(super) fn begin(places: Vec<PathBuf>) -> Self {
        let (tell, remarks) = oneshot::channel();
        std::thread::spawn(move || {
            let places = places.iter();
            let found = places.flat_map(|place| ownership::abandoned(place));
            let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
            for directory in found {
                match Left::read(&directory.path) {
                    None => here.push(directory),
                    Some(left) => elsewhere.push((directory, left)),
                }
            }
            if elsewhere.is_empty() {
                drop(tell);
            } else {
                std::thread::spawn(move || tell.send(ask(elsewhere)));
            }
            for directory in here {
                // What was staged goes first: nobody else knows where it is (CTR-59).
                if let Some(source) = staged_in(&directory.path) {
                    ownership::sweep_hidden(&source);
                }
                let _ = directory.remove();
            }
        });
        Self { remarks }
    }

    /// What stays for now, and why; waits for engines that are being asked. Nothing where none is.
    pub(super) async fn remarks(self) -> Vec<String> {
        // It ends by itself; this is for the case that it does not.
        let limited = tokio::time::timeout(ENGINE_LIMIT * 2, self.remarks).await;
        limited.ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// Asks the engines that these directories name, at the same time and within the limit.
fn ask(found: Vec<(AbandonedDirectory, Left)>) -> Vec<String> {
    let runtime = match start::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return vec![format!("could not look for what builds left: {error}")],
    };
    let clearing = found
        .into_iter()
        .map(|(directory, left)| clear(directory, left, stamp()));
    let cleared = runtime.block_on(futures_util::future::join_all(clearing));
    let mut remarks: Vec<String> = cleared.into_iter().filter_map(Result::err).collect();
    remarks.sort();
    remarks.dedup();
    remarks
}

/// Removes what a build left in an engine, then the directory that says so. Gives why it stays, as a line for people.
pub(super) async fn clear(
    directory: AbandonedDirectory,
    left: Left,
    now: SystemTime,
) -> Result<(), String> {
    let why = match tokio::time::timeout(ENGINE_LIMIT, left.remove()).await {
        Ok(Ok(())) => {
            return directory
                .remove()
                .map_err(|error| format!("could not clear up after a killed build: {error}"));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!(
            "the container engine at {} did not answer within {} s",
            left.endpoint(),
            ENGINE_LIMIT.as_secs()
        ),
    };
    let age = directory.modified.map(|made| now.duration_since(made));
    if age.is_some_and(|age| age.is_ok_and(|age| age > OLD)) {
        let _ = directory.remove();
        return Err(format!(
            "a build that was killed more than a day ago may have left a container, which is not looked for any more: {why}"
        ));
    }
    Err(format!(
        "a build that was killed may have left a container, which the next build looks for again: {why}"
    ))
}
