//! This program as `docker-credential-runner`, Docker's credential helper (REG-9).
//!
//! Docker waits for it at every pull and push, so that a token from the cache is given out before anything of AWS's, or a
//! runtime, is made.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::path::Path;

use super::{aws, complain, machine, print, start};
use crate::aws::Settings as AwsSettings;
use crate::build::ExitCode;
use crate::exec::container::TOOL_VARIABLE;
use crate::process;
use crate::registry::credentials::Known;
use crate::registry::ecr::{Registry, USER};
use crate::registry::helper::{self, Verb};
use crate::registry::{Credential, Credentials, Error, ErrorKind};
use crate::tool;

/// Most bytes that are read from standard input: an address, or a credential.
const MOST: u64 = 1024 * 1024;

const USAGE: &str =
    "docker-credential-runner is called by Docker: docker-credential-runner get|store|erase|list\n";

/// Answers Docker.
pub(super) fn serve(arguments: &[OsString]) -> ExitCode {
    let verb = match arguments {
        [_, verb] => verb.to_str().unwrap_or_default(),
        _ => "",
    };
    if ["version", "--version"].contains(&verb) {
        let version = env!("CARGO_PKG_VERSION");
        return print(format!("docker-credential-runner (runner) {version}\n").as_bytes());
    }
    let Some(verb) = Verb::parse(verb) else {
        complain(USAGE);
        return ExitCode::Usage;
    };
    match answer(verb) {
        Ok(text) => print(text.as_bytes()),
        // By the protocol, what went wrong is on standard output.
        Err(text) => match print(format!("{text}\n").as_bytes()) {
            ExitCode::Succeeded => ExitCode::BuildFailed,
            fault => fault,
        },
    }
}

fn answer(verb: Verb) -> Result<String, String> {
    let credentials = Credentials::new(aws::registry_settings(AwsSettings::default()));
    match verb {
        Verb::List => list(&credentials),
        Verb::Get => {
            let server = server(&input()?)?;
            match get(&credentials, &server) {
                // Docker's newer builder would end the build for it, where no login at all lets it read.
                Err(error) if Registry::is_public(&server) => {
                    told(&error);
                    helper::got(None)
                }
                found => found.map_err(|error| told(&error)).and_then(helper::got),
            }
        }
        Verb::Store => helper::store(&credentials, &input()?).map(|()| String::new()),
        Verb::Erase => helper::erase(&credentials, &server(&input()?)?).map(|()| String::new()),
    }
}

fn input() -> Result<Vec<u8>, String> {
    let mut input = Vec::new();
    let read = io::stdin().take(MOST).read_to_end(&mut input);
    read.map_err(|error| format!("could not read standard input: {error}"))?;
    Ok(input)
}

fn server(input: &[u8]) -> Result<String, String> {
    match String::from_utf8_lossy(input).trim() {
        "" => Err("no credentials server URL".to_owned()),
        server => Ok(server.to_owned()),
    }
}

/// Docker passes over a helper that fails at a pull or a push, and then says no more than "no basic auth credentials". So
/// the reason stands on standard error too, where it gets into the build's log.
fn told(error: &Error) -> String {
    let text = error.with_help();
    complain(&format!("docker-credential-runner: {text}\n"));
    text
}

fn get(credentials: &Credentials, server: &str) -> Result<Option<Credential>, Error> {
    match (credentials.known(server)?, machine::variable(TOOL_VARIABLE)) {
        (Known::Credential(credential), _) => Ok(Some(credential)),
        (Known::Nothing | Known::AskAws(_), Some(socket)) => from_outside(&socket, server),
        (Known::Nothing, None) => Ok(None),
        (Known::AskAws(registry), None) => from_aws(&[(server.to_owned(), registry)])
            .pop()
            .unwrap_or(Ok(None)),
    }
}

/// In a container: whoever runs the build has the credentials (TOOL-1).
fn from_outside(socket: &OsStr, server: &str) -> Result<Option<Credential>, Error> {
    let failed = |why| unreachable(server, why);
    let question = async |stream| tool::credential(stream, server).await;
    start::ask_runner(Path::new(socket), question).map_err(failed)
}

fn unreachable(server: &str, why: String) -> Error {
    Error {
        kind: ErrorKind::Unreachable,
        doing: format!("log in to {server}"),
        why,
        help: None,
    }
}

/// Asks AWS for all of them at once.
fn from_aws(wanted: &[(String, Registry)]) -> Vec<Result<Option<Credential>, Error>> {
    if let Some(socket) = machine::variable(TOOL_VARIABLE) {
        let ask = |(server, _): &(String, Registry)| from_outside(&socket, server);
        return wanted.iter().map(ask).collect();
    }
    let credentials = Credentials::new(aws::registry_settings(aws::settings(None, None)));
    let runtime = match start::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failed =
                |(server, _): &(String, Registry)| Err(unreachable(server, error.to_string()));
            return wanted.iter().map(failed).collect();
        }
    };
    let asking = wanted
        .iter()
        .map(|(server, registry)| credentials.from_aws(server, registry));
    runtime.block_on(futures_util::future::join_all(asking))
}

/// What is known, and the registries that the `docker` command which asks is going to need, as far as there are tokens: one
/// that is listed and cannot be had would take all the others with it.
fn list(credentials: &Credentials) -> Result<String, String> {
    let mut found = helper::list(credentials).map_err(|error| told(&error))?;
    let needed: Vec<(String, Registry)> =
        helper::needed(&process::arguments_of_parent(), machine::variable)
            .into_iter()
            .filter(|registry| !found.contains_key(registry.host()))
            .map(|registry| (registry.host().to_owned(), registry))
            .collect();
    let mut unknown = Vec::new();
    for (server, registry) in needed {
        match credentials.known(&server) {
            Ok(Known::AskAws(_)) => unknown.push((server, registry)),
            Ok(Known::Credential(credential)) => {
                found.insert(server, credential.username);
            }
            Ok(Known::Nothing) | Err(_) => {}
        }
    }
    if !unknown.is_empty() {
        let answers = from_aws(&unknown);
        for ((server, _), answer) in unknown.into_iter().zip(answers) {
            match answer {
                Ok(Some(_)) => {
                    found.insert(server, USER.to_owned());
                }
                Ok(None) => {}
                Err(error) => {
                    told(&error);
                }
            }
        }
    }
    serde_json::to_string(&found).map_err(|error| error.to_string())
}
