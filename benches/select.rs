//! Selects artifacts in a directory and says how many files there are: the driver of the bench `select`.
//!
//! A program of its own, because a whole build would also copy what it selects.

use std::io::Write as _;

use buildspec_runner::artifact::{Selection, Workspace, select};
use buildspec_runner::source::LineColumn;

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, pattern] = arguments.as_slice() else {
        return Err("usage: select DIRECTORY PATTERN".to_owned());
    };
    let selection = Selection {
        identifier: None,
        base_directory: None,
        files: vec![(pattern.into(), LineColumn { line: 1, column: 1 })],
        exclude_paths: Vec::new(),
        discard_paths: false,
        keep_symlinks: false,
    };
    let workspace = Workspace {
        source_directory: directory.into(),
        hidden: Vec::new(),
        mounts: Vec::new(),
    };
    let manifest = select(&selection, &workspace, &|| false)
        .manifest
        .map_err(|error| format!("could not select: {error:?}"))?;
    writeln!(std::io::stdout(), "{}", manifest.len()).map_err(|error| error.to_string())
}
