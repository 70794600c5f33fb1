//! `runner man`: manual pages, made from what `--help` says (AGENT-95).

use std::path::Path;

use clap::CommandFactory as _;

use super::args::Args;
use super::complain::complain;
use crate::build::ExitCode;

/// Writes a page for each command into a directory.
pub(super) fn man(directory: &Path) -> ExitCode {
    match clap_mangen::generate_to(Args::command(), directory) {
        Ok(()) => ExitCode::Succeeded,
        Err(error) => {
            let shown = directory.display();
            complain(&format!(
                "error: could not write manual pages to {shown}: {error}\n"
            ));
            ExitCode::Fault
        }
    }
}
