//! The `runner` program. All of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(buildspec_runner::cli::main(std::env::args_os().collect()).number())
}
