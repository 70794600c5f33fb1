//! `runner lsp`: the linter inside an editor (LINT-63 to LINT-67).
//!
//! One thread reads what the editor writes, so that the other one can see that a text has changed again before it
//! checks it. The part of the protocol that is needed is small, and has its types here.

mod actions;
mod help;
mod protocol;
mod server;
mod transport;

use std::io;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;

use self::server::Server;
use crate::build::ExitCode;

/// Most messages that wait; the editor waits when there are more.
const QUEUE: usize = 256;

/// Serves an editor over standard input and output until it says so or goes away.
pub(super) fn serve() -> ExitCode {
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(message) = transport::read(&mut input) {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    let mut server = Server::new(io::stdout());
    loop {
        let message = match receiver.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => return server.end(),
            Err(TryRecvError::Empty) => {
                // Nothing waits, so what there is now is what the editor shows.
                server.check_changed();
                match receiver.recv() {
                    Ok(message) => message,
                    Err(_) => return server.end(),
                }
            }
        };
        if server.handle(message).is_break() {
            return server.end();
        }
    }
}
