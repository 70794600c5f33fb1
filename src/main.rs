//! The `runner` program. All of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    ExitCode::from(buildspec_runner::cli::main(&arguments).number())
}
