//! `runner mask`, for commands of a build (TOOL-40 to TOOL-44).

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use tokio::net::UnixListener;

use super::{complain, machine, start};
use crate::build::ExitCode;
use crate::exec::container::TOOL_VARIABLE;
use crate::tool::{self, Masks};

/// Variable of a build on a host with the socket that values go to.
pub(super) const VARIABLE: &str = "RUNNER_MASK_SOCKET";

/// Name of that socket in its directory.
const SOCKET: &str = "mask.socket";

/// What is to be hidden.
#[derive(Debug, ClapArgs)]
pub(super) struct MaskArgs {
    /// The value; `-` reads standard input, and keeps it out of the list of processes
    #[arg(value_name = "VALUE", default_value = "-", allow_hyphen_values = true)]
    value: String,
}

/// Hides a value in what the build writes from now on.
pub(super) fn mask(args: &MaskArgs) -> ExitCode {
    let Some(socket) = socket() else {
        complain(
            "error: there is no build to hide a value in\n  help: `runner mask` is for commands of a build; builds with `--no-tools` have no such thing\n",
        );
        return ExitCode::Usage;
    };
    let asked = read(&args.value).and_then(|value| ask(&socket, &value));
    match asked {
        Ok(()) => ExitCode::Succeeded,
        Err(why) => {
            complain(&format!("error: could not mask a value: {why}\n"));
            ExitCode::Tool(1)
        }
    }
}

fn socket() -> Option<PathBuf> {
    let named = machine::variable(VARIABLE).or_else(|| machine::variable(TOOL_VARIABLE));
    named.map(PathBuf::from)
}

/// The value itself, or standard input without the end of its last line.
fn read(value: &str) -> Result<String, String> {
    if value != "-" {
        return Ok(value.to_owned());
    }
    let mut text = Vec::new();
    // One byte more than there may be, and a line end: what is longer is refused by its length.
    let limit = tool::LONGEST_MASKED as u64 + 3;
    io::stdin()
        .take(limit)
        .read_to_end(&mut text)
        .map_err(|error| format!("standard input cannot be read: {error}"))?;
    let text = String::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn ask(socket: &Path, value: &str) -> Result<(), String> {
    start::ask_runner(socket, async |stream| tool::mask(stream, value).await)
}

/// Listens in a directory for what commands of a build on this machine want hidden, for as long as the build lives. Where
/// the socket is; `None` where there can be none.
pub(super) fn listen(directory: &Path, is_for_all: bool, masks: Masks) -> Option<PathBuf> {
    let path = directory.join(SOCKET);
    let listener = UnixListener::bind(&path).ok()?;
    let mode = if is_for_all { 0o666 } else { 0o600 };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).ok()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let masks = masks.clone();
            // What is wrong with a connection is seen at its other end.
            tokio::spawn(async move { drop(tool::serve_mask(stream, &masks).await) });
        }
    });
    Some(path)
}
