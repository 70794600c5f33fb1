//! One build, from its first event to its last.
//!
//! All policy is in [`machine`], which is pure: what follows what, what a failure, a signal or the time limit changes.
//! [`mod@drive`] is the only loop: it feeds the machine and carries out what it says. [`outcome`] is a fold over the events.

mod breakpoint;
mod cache;
mod credentials;
mod drive;
mod exported;
mod machine;
mod outcome;
mod preflight;
mod reports;
mod retry;
mod runtimes;
mod secrets;
mod upload;
mod waiting;

pub use breakpoint::Debugging;
pub use cache::BuildCache;
pub use credentials::CommandCredentials;
pub use drive::{Finished, Prepared, StopSignals, World, drive};
pub use machine::{Action, Input, Machine};
pub use outcome::{ExitCode, Outcome, PhaseOutcome};
