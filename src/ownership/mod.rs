//! Whose something is that a build makes outside of itself, so that it can go when its owner is gone without having
//! cleared up: after `kill -9`, a crash, a power cut (CTR-20 to CTR-24).
//!
//! Two ways, one for each kind of place. A directory is locked for the life of its owner, which the kernel ends whatever
//! happens ([`OwnedDirectory`]). What an engine keeps has labels that say which process made it ([`Owner`]).

mod directory;
mod owner;

pub use directory::{
    AbandonedDirectory, OwnedDirectory, abandoned, is_hidden_name, remove_tree, sweep, sweep_hidden,
};
pub use owner::{Life, Owner};
