//! The Debian package of the program under test.

use std::path::Path;
use std::process::Command;

use super::wait::Bounded as _;
use super::{RUNNER, root};

/// Makes it in a directory; its path.
#[track_caller]
pub(crate) fn package(directory: &Path) -> String {
    let output = Command::new(root().join("packaging/deb"))
        // A debug build is large, and packing it takes longer than anything that is done with it.
        .env("DEB_COMPRESSION", "none")
        .arg(RUNNER)
        .arg(directory)
        .bounded_output()
        .expect("it can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}
