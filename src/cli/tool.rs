//! This program as `aws`, `docker` or a command about files: called by one of these names.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use super::{aws, complain, engine, machine, start};
use crate::engine::Endpoint;
use crate::exec::container::TOOL_VARIABLE;
use crate::tool::{self, Backend, Environment, FileCommand, Here, Logins, Surroundings, Tool};

/// Runs a tool; `arguments` are those behind its name. Gives the exit code.
pub(super) fn run(tool: Tool, arguments: &[OsString]) -> u8 {
    let runtime = match start::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("{}: could not start: {error}\n", tool.name()));
            return 1;
        }
    };
    let code = runtime.block_on(async {
        match around() {
            Ok(around) => match machine::variable(TOOL_VARIABLE) {
                Some(socket) => through(tool, arguments, PathBuf::from(socket), around).await,
                None => Box::pin(here(tool, arguments, around)).await,
            },
            Err(error) => {
                complain(&format!(
                    "{}: this directory is gone: {error}\n",
                    tool.name()
                ));
                1
            }
        }
    });
    // Standard input that nobody reads any more must not keep the process.
    runtime.shutdown_background();
    code
}

/// Runs a command about files; `arguments` are those behind its name. Gives the exit code.
pub(super) fn run_about_files(command: FileCommand, arguments: &[OsString]) -> u8 {
    let directory = match machine::directory() {
        Ok(directory) => directory,
        Err(error) => {
            complain(&format!(
                "{}: this directory is gone: {error}\n",
                command.name()
            ));
            return 1;
        }
    };
    let here = Here {
        directory,
        source_directory: machine::variable("CODEBUILD_SRC_DIR").map(PathBuf::from),
    };
    let mut output = BufWriter::new(io::stdout().lock());
    let code = command.run(arguments, &here, &mut output, &mut io::stderr().lock());
    match output.flush() {
        Ok(()) => code,
        Err(_) => code.max(1),
    }
}

type Standard = Surroundings<tokio::io::Stdin, tokio::io::Stdout, tokio::io::Stderr>;

fn around() -> io::Result<Standard> {
    Ok(Surroundings {
        directory: machine::directory()?,
        environment: Environment::new(machine::variables()),
        stdin: tokio::io::stdin(),
        stdout: tokio::io::stdout(),
        stderr: tokio::io::stderr(),
    })
}

/// Pause where so many wait for the runner that no more may.
const AFTER_FULL: std::time::Duration = std::time::Duration::from_millis(50);

/// In a container: the back is where the socket leads.
async fn through(tool: Tool, arguments: &[OsString], socket: PathBuf, around: Standard) -> u8 {
    let connected = loop {
        match tokio::net::UnixStream::connect(&socket).await {
            // As many wait already as may: they are served one after the other.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(AFTER_FULL).await;
            }
            connected => break connected,
        }
    };
    match connected {
        Ok(stream) => tool::run(tool, arguments, stream, around).await,
        // Of a container that was kept only the socket's name is left (TOOL-53).
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let name = tool.name();
            complain(&format!(
                "{name}: the build is over, and with it the runner that answers this `{name}`: run it outside of the container, or in a build\n"
            ));
            1
        }
        Err(error) => {
            complain(&format!(
                "{}: could not reach the runner of this build at {}: {error}\n",
                tool.name(),
                socket.display()
            ));
            1
        }
    }
}

/// On a host: both ends are here.
async fn here(tool: Tool, arguments: &[OsString], around: Standard) -> u8 {
    let endpoint = match Endpoint::find(&engine::settings()) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            complain(&format!("{}: {error}\n", tool.name()));
            return 1;
        }
    };
    // Logins go where the real tool's would: into the configuration that the environment names.
    let backend = Backend::new(
        endpoint,
        Logins::Configuration,
        aws::registry_settings(aws::settings(None, None)),
    );
    Box::pin(tool::run_here(tool, arguments, &backend, around)).await
}
