//! Map comes later.
pub mod artifact;
pub mod build;
pub mod buildspec;
pub mod cli;
pub mod diagnostic;
pub mod env;
pub mod event;
pub mod exec;
pub mod phase;
pub mod plan;
pub mod redact;
pub mod report;
pub mod sink;
pub mod source;
pub mod store;
pub mod units;
