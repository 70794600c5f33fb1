//! Image registries: what an image is called, who may push it, and how it gets there.
//!
//! Amazon ECR needs a token that AWS gives out for twelve hours; every other registry needs what Docker's own
//! configuration says. Images move through the engine: [`push()`] and [`pull()`] say what each layer is at ([`Progress`]),
//! try again what may go better the next time, and report nothing that was not asked for afterwards.

mod auth;
mod progress;
mod pull;
mod push;
pub mod reference;
mod transfer;

pub use auth::RegistryAuth;
pub use progress::{Layer, LayerState, Progress};
pub use pull::{Pull, Pulled, pull};
pub use push::{Push, Pushed, push};
pub use reference::Reference;
pub use transfer::{Limits, TransferError, TransferErrorKind};
