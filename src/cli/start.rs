//! What a command works in.

use std::io;
use std::path::Path;

use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use super::{ExitCode, complain};

/// A runtime of one thread, which is enough for commands that wait more than they compute; what computes has threads of
/// its own.
///
/// # Errors
///
/// When the system gives no more file descriptors.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}

/// The runtime of a command; where there is none, says so and gives the code to exit with.
pub(super) fn begin() -> Result<Runtime, ExitCode> {
    runtime().map_err(|error| {
        complain(&format!("error: could not start: {error}\n"));
        ExitCode::Fault
    })
}

/// Asks the runner of the build that this command belongs to, which listens at a socket.
///
/// # Errors
///
/// In words: what the runner answers, or why it cannot be reached.
pub(super) fn ask_runner<T>(
    socket: &Path,
    question: impl AsyncFnOnce(UnixStream) -> Result<T, String>,
) -> Result<T, String> {
    let runtime = runtime().map_err(|error| format!("could not start: {error}"))?;
    runtime.block_on(async {
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            let place = socket.display();
            format!("the runner of this build cannot be reached at {place}: {error}")
        })?;
        question(stream).await
    })
}
