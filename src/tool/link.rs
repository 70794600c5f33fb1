//! This program under the names of its tools.

use std::io;
use std::path::Path;

use super::Tool;

/// Makes `aws` and `docker` in a directory: links to this program, whose path is given. The directory belongs at the
/// *end* of a PATH, so that real ones are found first (TOOL-1).
pub fn link_into(directory: &Path, program: &Path) -> io::Result<()> {
    for tool in Tool::ALL {
        std::os::unix::fs::symlink(program, directory.join(tool.name()))?;
    }
    Ok(())
}
