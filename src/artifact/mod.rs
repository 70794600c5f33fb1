//! Artifacts: which files are kept, how they are packed, where they go.
//!
//! [`mod@select`] finds the files, [`archive`] packs them, [`place`] says where they go, and [`upload`] carries all of it out.

pub mod archive;
mod container;
pub mod deploy;
pub mod glob;
mod miss;
pub mod place;
pub mod scan;
mod select;
pub mod upload;
mod walk;

pub use select::{
    Error as SelectError, Manifest, ManifestFile, Selected, Selection, Workspace, find, select,
    starts, visit,
};
