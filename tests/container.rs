//! Builds in containers of a real engine. `tests/run` starts it and makes the images.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

#[path = "container/back.rs"]
mod back;
#[path = "container/commands.rs"]
mod commands;
#[path = "container/faults.rs"]
mod faults;
#[path = "container/files.rs"]
mod files;
#[path = "container/images.rs"]
mod images;
#[path = "container/opening.rs"]
mod opening;
#[path = "container/retry.rs"]
mod retry;
#[path = "container/sources.rs"]
mod sources;
mod support;
#[path = "container/tools.rs"]
mod tools;
