//! Map comes later.
pub mod buildspec;
pub mod diagnostic;
pub mod env;
pub mod event;
pub mod phase;
pub mod plan;
pub mod redact;
pub mod source;
pub mod units;
