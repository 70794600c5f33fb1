//! A container as the place where commands run.
//!
//! One container per build. This program is in it too: what runs there as [`serve()`] opens the very session that a host
//! has ([`HostSession`](super::HostSession)), so commands, their state, their output and their end are the same in both
//! places by construction, and a command costs what it costs on the host instead of what an engine takes to start a
//! process. Outside, [`ContainerSession`] speaks to it over the pipes of one exec ([`wire`]).
//!
//! ```text
//! runner ──▶ ContainerSession ══ exec: stdin, stdout (yamux) ══▶ serve ──▶ HostSession ──▶ shell ──▶ command
//!    ╰─────▶ engine: create, start, inspect, remove                hold: what the image's entry point runs
//! ```
//!
//! - Variables cross in the conversation. None is in the container's configuration, so `inspect` shows no secret.
//! - State is in a file system in memory of the container's own; the program is mounted or copied beside it.
//! - When the conversation breaks, the session inside ends every process and gives files back to their owner.

mod back;
mod create;
mod enter;
mod facts;
pub mod leftovers;
mod making;
mod marker;
mod owners;
mod put_back;
mod serve;
mod session;
mod staging;
mod tools;
mod transfer;
mod volumes;
mod wire;

pub use create::{SourceMount, Ulimit, Unavailable};
pub use enter::enter;
pub use making::Making;
pub use marker::Left;
pub use serve::{hold, look, serve};
pub use session::ContainerSession;
pub use staging::staged_in;
pub use wire::{Offers, Purpose, TunnelStream};

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::{Environment, Error, Executor};
use crate::engine::{self, Endpoint, Engine};

/// `argv[0]` under which this program is what a container runs: with the argument `session` what [`serve()`] does, without
/// one what [`hold`] does. Some images' entry points pass on one argument only.
pub const CONTAINER_NAME: &str = "runner-container";

/// Directories of a container that are the build's own: what the session keeps, and the source. Nothing of the caller's can
/// be mounted over them or in them.
pub const OWN_DIRECTORIES: [&str; 2] = ["/codebuild/runner", "/codebuild/output"];

/// This program, in a container.
const PROGRAM: &str = "/codebuild/runner/bin/runner-container";

/// The end of PATH in a container: this program under the names of tools.
const TOOL_DIRECTORY: &str = "/codebuild/runner/tools";

/// This program as git's credential helper, in a container.
pub const GIT_HELPER: &str = "/codebuild/runner/tools/git-credential-runner";

/// Where tools find the session that carries their streams out.
pub const TOOL_SOCKET: &str = "/codebuild/runner/tools/socket";

/// Where commands of a debug session find the runner.
const DEBUG_SOCKET: &str = "/codebuild/runner/tools/debug.socket";

/// Variable with the socket of a build's debug session, on a host too.
pub const DEBUG_VARIABLE: &str = "RUNNER_DEBUG_SOCKET";

/// Docker's configuration in a container: it has our credential helper.
const DOCKER_DIRECTORY: &str = "/codebuild/runner/docker";

/// Names under which this program is a tool.
const TOOLS: &[&str] = &[
    "aws",
    "codebuild-breakpoint",
    "codebuild-glob-search",
    "codebuild-hash-files",
    "codebuild-resume",
    "docker",
    "docker-credential-runner",
    "runner",
];

/// What to do where a container has as many processes as it may have.
pub const MORE_PROCESSES: &str =
    "let the container have more with `--pids-limit`, or run less at the same time";

/// Whose memory it was that ran out, and what to do about it: a container without a limit has all of its machine's.
const fn memory_of(is_limited: bool) -> (&'static str, &'static str) {
    if is_limited {
        (
            "the container",
            "give it more with `--memory`, or let the commands do with less",
        )
    } else {
        (
            "the machine",
            "let the commands do with less, or build where there is more",
        )
    }
}

/// Variable with [`TOOL_SOCKET`].
pub const TOOL_VARIABLE: &str = "RUNNER_TOOL_SOCKET";

/// Where a session keeps its state: in memory.
const STATE_DIRECTORY: &str = "/codebuild/runner/state";

/// Where the state of a build is whose container is kept: in memory too, and root's alone.
const KEPT_DIRECTORY: &str = "/codebuild/runner/state/kept";

/// Label with the build's id: `project:uuid`.
pub const BUILD_LABEL: &str = "io.buildspec-runner.build";

/// What names of containers that are kept begin with; the build's uuid follows. The engine can rename a container but not
/// give it another label.
const KEPT_NAME: &str = "runner-kept-";

/// Says that the image's entry point ran what it was given, and has the number of that process.
const READY_FILE: &str = "/codebuild/runner/state/ready";

/// What a container has of runner's own, and who answers for it.
#[derive(Clone, Debug)]
pub struct Outside {
    /// What there is.
    pub offers: Offers,
    /// Where streams go to be served that are opened in there ([`Purpose`]).
    pub streams: mpsc::Sender<TunnelStream>,
}

/// Runs commands in a container of an engine.
#[derive(Clone, Debug)]
pub struct ContainerExecutor {
    /// Where the engine is.
    pub endpoint: Endpoint,
    /// What came of reaching it, where somebody has done so already.
    pub connected: Option<Result<Engine, engine::Error>>,
    /// The image.
    pub image: String,
    /// Why the engine does not have the image, if that is known: then nothing can be opened. Images come to the engine
    /// before, for whoever waits for one wants to see it come.
    pub unavailable: Option<Unavailable>,
    /// What the engine is to run it as, such as `linux/arm64`.
    pub platform: Option<String>,
    /// `--entrypoint` is taken away from the image.
    pub without_entry_point: bool,
    /// Full access to the machine's devices.
    pub privileged: bool,
    /// The engine's socket is mounted.
    pub engine_socket: bool,
    /// Name of a network, `host` or `none`.
    pub network: Option<String>,
    /// `NAME:ADDRESS`
    pub add_hosts: Vec<String>,
    /// `SOURCE:TARGET[:OPTIONS]`, as the engine wants it.
    pub volumes: Vec<String>,
    /// Limit of memory, in bytes.
    pub memory: Option<u64>,
    /// Limit of processors, in billionths of one.
    pub nano_cpus: Option<u64>,
    /// Size of `/dev/shm`, in bytes.
    pub shm_size: Option<u64>,
    /// Limits of processes' resources.
    pub ulimits: Vec<Ulimit>,
    /// Most processes and threads.
    pub pids_limit: Option<u64>,
    /// How the source gets in.
    pub source_mount: SourceMount,
    /// The source directory outside.
    pub source_directory: PathBuf,
    /// Those of other sources, in the order in which a build names them.
    pub secondary_directories: Vec<PathBuf>,
    /// Where files of the build may be put, as many as artifacts have.
    pub temporary_directory: PathBuf,
    /// This program, as a file that can be read as long as this process lives. It is mounted where its name leads to it still.
    pub program: PathBuf,
    /// Who calls this program: user and group. What a build makes in its source is theirs, or, where that is root,
    /// whoever's the source directory is (CTR-4).
    pub owner: (u32, u32),
    /// What there is of runner's own in the container, if anything.
    pub outside: Option<Outside>,
    /// Labels of everything that is made.
    pub labels: Vec<(String, String)>,
    /// What the engine was asked for and has not answered yet.
    pub making: Making,
}

impl ContainerExecutor {
    /// The build's id.
    fn build(&self) -> &str {
        let label = self.labels.iter().find(|(name, _)| name == BUILD_LABEL);
        label.map_or("", |(_, build)| build)
    }
}

impl Executor for ContainerExecutor {
    type Session = ContainerSession;

    const NAME: &'static str = "docker";

    async fn open(&self, environment: Environment) -> Result<ContainerSession, Error> {
        let engine = match self.connected.clone() {
            Some(connected) => connected?,
            None => Engine::connect(self.endpoint.clone()).await?,
        };
        if let Some(Unavailable { reason, help }) = self.unavailable.clone() {
            return Err(Error::Image {
                image: self.image.clone(),
                reason,
                help,
            });
        }
        // Beside the build: what it costs is what the engine takes to list a few containers.
        tokio::spawn(leftovers::sweep(engine.clone(), crate::event::stamp()));
        create::open(self, engine, environment).await
    }

    async fn abandon(&self) {
        self.making.abandon().await;
    }
}
