//! Whose files are, where an archive is packed or unpacked.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::pack::OWN;

/// Where an archive is packed or unpacked.
pub(super) struct Place<'p> {
    pub(super) source_directory: &'p Path,
    /// Whose the files of the source are, if not this process's.
    pub(super) owner: Option<(u32, u32)>,
    /// Whether the end was asked for.
    pub(super) stopped: &'p AtomicBool,
}

impl Place<'_> {
    /// Owner and group as an archive has them: what is the build's own has no number of this machine's. Of others', numbers
    /// stay, for whoever may give files to others.
    pub(super) fn owner_in_archive(&self, path: &Path, metadata: &Metadata) -> (u64, u64) {
        let own = rustix::process::geteuid().as_raw();
        let of_source =
            |(uid, _): (u32, u32)| uid == metadata.uid() && path.starts_with(self.source_directory);
        if metadata.uid() == own || self.owner.is_some_and(of_source) {
            (OWN, OWN)
        } else {
            (u64::from(metadata.uid()), u64::from(metadata.gid()))
        }
    }

    /// Owner and group that something from an archive gets here; `None` if it keeps whoever makes it.
    pub(super) fn owner_here(&self, path: &Path, (uid, gid): (u64, u64)) -> Option<(u32, u32)> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        if uid == OWN {
            return self
                .owner
                .filter(|_| path.starts_with(self.source_directory));
        }
        Some((u32::try_from(uid).ok()?, u32::try_from(gid).ok()?))
    }
}
