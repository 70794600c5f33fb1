//! Says to systemd what the board says (AGENT-90).

use std::time::Duration;

use super::board::{Board, Snapshot, State};
use super::notify::Notifier;
use super::progress::Progress;

/// How often the board is looked at. What is said is for people: nothing waits for it.
const LOOK: Duration = Duration::from_secs(1);

/// How often until it is up: whoever started it waits for that.
const LOOK_AT_START: Duration = Duration::from_millis(20);

/// What has been said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    is_ready: bool,
    is_stopping: bool,
    status: String,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// That it is up.
    Ready(String),
    /// What it does.
    Status(String),
    /// That it ends.
    Stopping(String),
}

impl Said {
    /// What is new on the board.
    pub fn next(&mut self, board: &Snapshot) -> Option<Say> {
        if board.state == State::Starting {
            return None;
        }
        let ends = matches!(board.state, State::Draining | State::Stopping);
        let status = line(board);
        let is_news = self.status != status;
        self.status.clone_from(&status);
        if !self.is_ready {
            self.is_ready = true;
            return Some(Say::Ready(status));
        }
        if ends && !self.is_stopping {
            self.is_stopping = true;
            return Some(Say::Stopping(status));
        }
        is_news.then_some(Say::Status(status))
    }
}

/// The board in a line.
fn line(board: &Snapshot) -> String {
    let builds = match board.running.len() {
        0 => "nothing runs".to_owned(),
        1 => "1 build runs".to_owned(),
        more => format!("{more} builds run"),
    };
    let (slots, kind) = (board.slots, &board.about.action_type);
    match (&board.state, &board.poll_failure) {
        (State::Starting, _) => "starting".to_owned(),
        (State::NoRoom(why), _) => format!("takes no jobs: {why}; {builds}"),
        (State::Draining, _) => format!("takes no more jobs; {builds}"),
        (State::Stopping, _) => format!("stops its builds; {builds}"),
        (State::Polling, Some(failure)) => {
            format!("polling for {kind} fails: {}; {builds}", failure.message)
        }
        (State::Polling, None) => format!("polls for {kind} with {slots} slots; {builds}"),
    }
}

/// Says what is new, and feeds the watchdog, for as long as it is let. Returns at once if nobody listens.
pub async fn attend(notifier: &Notifier, board: &Board, progress: &Progress) {
    if !notifier.is_heard() {
        return;
    }
    let telling = async {
        let mut said = Said::default();
        loop {
            match said.next(&board.snapshot()) {
                Some(Say::Ready(status)) => notifier.ready(&status),
                Some(Say::Status(status)) => notifier.status(&status),
                Some(Say::Stopping(status)) => notifier.stopping(&status),
                None => {}
            }
            tokio::time::sleep(if said.is_ready { LOOK } else { LOOK_AT_START }).await;
        }
    };
    tokio::join!(telling, notifier.feed(progress));
}
