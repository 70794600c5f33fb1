//! How an agent is looked after: what it listens on, what systemd is told, and its configuration, once more when it is told to
//! read it again.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueHint};

use super::agent::ServeArgs;
use super::args::Command;
use super::refused::Refused;
use super::{configured, mistake};
use crate::agent::attend::attend;
use crate::agent::board::Board;
use crate::agent::http::{self, Server};
use crate::agent::log::Log;
use crate::agent::notify::{Environment, Notifier, VARIABLES};
use crate::agent::progress::Progress;

/// Where the agent shows itself, and which configuration there is. That is read before there are arguments.
#[derive(Debug, ClapArgs)]
pub(super) struct OperationArgs {
    /// Serve health, metrics and a status page over HTTP, on loopback: such as 127.0.0.1:9310
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Operation")]
    listen: Option<SocketAddr>,

    /// A name that the agent is called by there, besides localhost; with one, `--listen` may be any address
    #[arg(
        long,
        value_name = "NAME",
        requires = "listen",
        help_heading = "Operation"
    )]
    listen_host: Vec<String>,

    /// Configuration to use [default: /etc/runner/runner.toml, if it is there]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Operation")]
    config: Option<PathBuf>,

    /// Use no runner.toml
    #[arg(long, conflicts_with = "config", help_heading = "Operation")]
    no_config: bool,
}

/// What looks after an agent. What it opened is closed when it goes.
#[derive(Debug)]
pub(super) struct Operation {
    _server: Option<Server>,
    notifier: Notifier,
    board: Board,
    progress: Progress,
}

impl OperationArgs {
    /// Refuses an address that the agent may not be reached at: that does not pass by itself.
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        let checked = self.listen.map_or(Ok(()), |address| {
            http::may_listen(address, &self.listen_host)
        });
        checked.map_err(mistake)
    }
}

impl Operation {
    /// Begins to listen, and finds out whom to tell.
    pub(super) async fn begin(
        args: &OperationArgs,
        variables: &[(OsString, OsString)],
        board: &Board,
        progress: &Progress,
        log: &Log,
    ) -> Result<Self, String> {
        let get = |name: &str| {
            let found = variables.iter().find(|(other, _)| other == name);
            found.map(|(_, value)| value.clone())
        };
        let environment = Environment {
            socket: get("NOTIFY_SOCKET"),
            watchdog: get("WATCHDOG_USEC"),
            watchdog_pid: get("WATCHDOG_PID"),
        };
        let notifier = Notifier::new(&environment, std::process::id());
        let notifier = notifier.map_err(|error| error.to_string())?;
        let server = match args.listen {
            Some(address) => {
                let hosts = &args.listen_host;
                let server = Server::listen(address, hosts, board.clone(), progress.clone());
                let server = server.await.map_err(|error| error.to_string())?;
                log.info("listens", &[("address", &server.address().to_string())]);
                Some(server)
            }
            None => None,
        };
        Ok(Self {
            _server: server,
            notifier,
            board: board.clone(),
            progress: progress.clone(),
        })
    }

    /// Tells systemd what the board says while something else is done.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let attending = async {
            attend(&self.notifier, &self.board, &self.progress).await;
            std::future::pending::<()>().await;
        };
        let done = tokio::select! {
            done = work => done,
            () = attending => unreachable!("invariant: it attends for ever"),
        };
        // Who is told to end with nothing to wait for is gone before the board is looked at again.
        self.notifier.stopping("ends");
        done
    }

    /// Reads the configuration again, as it was read for these arguments, and gives it on; what is wrong with it is said, and
    /// nothing changes (AGENT-93).
    pub(super) fn reload(
        &self,
        arguments: &[OsString],
        log: &Log,
        follow: impl FnOnce(&ServeArgs) -> Result<(), clap::Error>,
    ) {
        self.notifier.reloading();
        let followed = configured::parse(arguments).and_then(|args| match args.command {
            Some(Command::Agent(args)) => follow(&args.serve).map_err(Refused::from),
            _ => unreachable!("invariant: the same arguments name the same command"),
        });
        match followed {
            Ok(()) => {
                let rest =
                    "what it polls for, its slots and where it listens change with a restart";
                let message = format!("follows its configuration as it is now; {rest}");
                log.info(&message, &[]);
            }
            Err(refused) => {
                let why = refused.line();
                let message = format!("the configuration cannot be used, goes on as before: {why}");
                log.error(&message, &[]);
            }
        }
        self.notifier.ready("has read its configuration again");
    }
}

/// What else systemd tells a service of itself. To a build it would say that it is one.
const OF_SERVICE: [&str; 11] = [
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "CREDENTIALS_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "CACHE_DIRECTORY",
    "LOGS_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
];

/// What builds get of the agent's environment: neither what is for its own flags, nor what lets them speak to systemd in its
/// name (AGENT-93, CONF-9).
pub(super) fn handed_on(mut variables: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let is_own = |name: &OsStr| {
        let of_service = VARIABLES.iter().chain(&OF_SERVICE);
        name.as_bytes().starts_with(b"RUNNER_") || of_service.into_iter().any(|own| name == *own)
    };
    variables.retain(|(name, _)| !is_own(name));
    variables
}
