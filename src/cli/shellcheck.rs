//! Where ShellCheck is, if `runner validate` is to ask it.

use std::path::PathBuf;

use super::args::ShellcheckArg;
use super::{complain, machine};
use crate::build::ExitCode;
use crate::process;

/// The program, or that it is not asked. Without one, `auto` says so once, and `on` cannot go on.
pub(super) fn find(asked: ShellcheckArg) -> Result<Option<PathBuf>, ExitCode> {
    if asked == ShellcheckArg::Off {
        return Ok(None);
    }
    let path = machine::variable("PATH");
    let program = process::find_program("shellcheck", path.as_deref());
    match (&program, asked) {
        (None, ShellcheckArg::On) => {
            complain("error: shellcheck is not on PATH\n");
            return Err(ExitCode::Fault);
        }
        (None, _) => complain(
            "note: shellcheck is not on PATH, so commands are checked without it (`--shellcheck off` does not say this)\n",
        ),
        (Some(_), _) => {}
    }
    Ok(program)
}
