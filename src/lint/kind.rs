//! What a file is, by its name.

use std::path::Path;

/// A kind of file that can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A buildspec.
    Buildspec,
}

impl FileKind {
    /// What a file of this name is. A name that says nothing is taken for a buildspec's: whoever names a file wants it
    /// checked, and buildspecs have names of all kinds.
    #[must_use]
    pub fn of(_path: &Path) -> Self {
        Self::Buildspec
    }
}
