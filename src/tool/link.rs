//! This program under the names of its tools.

use std::io;
use std::path::Path;

use super::{FileCommand, SessionCommand, Tool};

/// What this program is called, for commands that ask something of the build they are in.
const OWN_NAME: &str = "runner";

/// Makes `aws`, `docker` and the commands that build images of CodeBuild have in a directory: links to this program, whose
/// path is given. The directory belongs at the *end* of a PATH, so that real ones are found first (TOOL-1).
pub fn link_into(directory: &Path, program: &Path) -> io::Result<()> {
    let tools = Tool::ALL.map(Tool::name);
    let commands = FileCommand::ALL.map(FileCommand::name);
    let sessions = SessionCommand::ALL.map(SessionCommand::name);
    let ours = commands.into_iter().chain(sessions).chain([OWN_NAME]);
    for name in tools.into_iter().chain(ours) {
        std::os::unix::fs::symlink(program, directory.join(name))?;
    }
    Ok(())
}
