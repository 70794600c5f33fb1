//! Test and coverage reports. For now they are only looked for.

mod discover;

pub use discover::{Discovery, discover};
