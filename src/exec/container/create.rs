//! From settings to a container that waits for its first command.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ExecConfig, HostConfig, Mount as EngineMount, MountType, ResourcesUlimits,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, LogsOptionsBuilder, StartContainerOptions,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::making::Unopened;
use super::marker::Marker;
use super::put_back::Known;
use super::session::{Container, ContainerSession, LastWords, SourcePlace};
use super::volumes::{self, Volumes};
use super::wire::Streams;
use super::{ContainerExecutor, PROGRAM, STATE_DIRECTORY, transfer};
use crate::engine::{self, Endpoint, Engine};
use crate::exec::{Environment, Error, Mount};
use crate::process;

/// Most of what an entry point wrote that is shown when it failed, in bytes.
const SHOWN_LOG: usize = 2000;

/// Why an engine does not have the image of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Why, in the engine's or the registry's words.
    pub reason: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

/// How the source gets into the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceMount {
    /// Mounted if the engine is on this machine, else copied.
    #[default]
    Auto,
    /// Mounted.
    Bind,
    /// Copied in, and back.
    Copy,
}

/// A limit of a process's resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// The limit that processes start with.
    pub soft: i64,
    /// The limit they can raise it to.
    pub hard: i64,
}

impl Ulimit {
    /// The limit in a text such as `nofile=1024:2048` or `core=-1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, limits) = text.split_once('=')?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        Some(Self {
            name: Some(name.to_owned()).filter(|name| !name.is_empty())?,
            soft: soft.parse().ok()?,
            hard: hard.parse().ok()?,
        })
    }
}

pub(super) async fn open(
    executor: &ContainerExecutor,
    engine: Engine,
    environment: Environment,
) -> Result<ContainerSession, Error> {
    let bound = match executor.source_mount {
        SourceMount::Copy => false,
        SourceMount::Bind => true,
        SourceMount::Auto => matches!(engine.endpoint(), Endpoint::Unix(_)),
    };
    let bound = Bound::of(bound);
    if let Some(session) = attempt(executor, &engine, environment.clone(), bound).await? {
        return Ok(session);
    }
    // The path of the source leads to something else where the engine is: its socket is forwarded, or it has mounts of its
    // own.
    let session = attempt(executor, &engine, environment, Bound::default()).await?;
    session.ok_or_else(|| Error::InContainer {
        message: "the session in the container did not find its copy of the source".to_owned(),
    })
}

/// What the engine mounts. What it does not is sent to it.
#[derive(Clone, Default)]
struct Bound {
    sources: bool,
    /// This program, by the name of its file.
    program: Option<PathBuf>,
}

impl Bound {
    /// Sources, and this program if it is where it was: after an upgrade there is another one, or none.
    fn of(sources: bool) -> Self {
        let program = sources.then(process::file_of_this_program).flatten();
        Self { sources, program }
    }
}

/// Makes a container and opens a session in it, or leaves nothing behind. `None` if what the engine mounted is not the source.
async fn attempt(
    executor: &ContainerExecutor,
    engine: &Engine,
    environment: Environment,
    bound: Bound,
) -> Result<Option<ContainerSession>, Error> {
    let (mut made, bound) = create(executor, engine, &environment, bound).await?;
    let opened = start(executor, &made.container, environment, bound).await;
    made.is_answered_for = true;
    if !matches!(opened, Ok(Some(_))) {
        let _ = made.container.remove().await;
    }
    opened
}

/// Makes the container. Gives what is mounted in it.
async fn create(
    executor: &ContainerExecutor,
    engine: &Engine,
    environment: &Environment,
    bound: Bound,
) -> Result<(Unopened, Bound), Error> {
    volumes::check(&executor.volumes, engine)?;
    let volumes = Volumes::of(&executor.volumes);
    let body = body(executor, environment, volumes, &bound);
    // Before there is a container: this process may be killed while the engine makes it.
    let marker = Marker::make(
        &executor.temporary_directory,
        engine.endpoint(),
        &executor.labels,
    );
    let mut options = CreateContainerOptionsBuilder::default();
    if let Some(platform) = &executor.platform {
        options = options.platform(platform);
    }
    let as_asked = Container {
        engine: engine.clone(),
        id: String::new(),
        image: executor.image.clone(),
        build: executor.build().to_owned(),
        limits_memory: executor.memory.is_some(),
        silent: Arc::default(),
        marker: marker.map(Arc::new),
    };
    let making = executor
        .making
        .container(options.build(), body, as_asked)
        .await;
    match making {
        Ok(made) => Ok((made, bound)),
        Err(error) => not_made(executor, engine, environment, bound, error).await,
    }
}

/// Tries again with a copy of the source where the engine does not see it, or tells why there is no container.
async fn not_made(
    executor: &ContainerExecutor,
    engine: &Engine,
    environment: &Environment,
    bound: Bound,
    error: ApiError,
) -> Result<(Unopened, Bound), Error> {
    if let ApiError::DockerResponseServerError { message, .. } = &error
        && let Some(missing) = volumes::refused(&executor.volumes, message)
    {
        return Err(missing);
    }
    match error {
        // The engine is elsewhere, or sees other files than this program does.
        ApiError::DockerResponseServerError { message, .. }
            if bound.sources
                && executor.source_mount == SourceMount::Auto
                && message.contains("bind source path does not exist") =>
        {
            Box::pin(create(executor, engine, environment, Bound::default())).await
        }
        error => {
            let doing = format!("make a container of {}", executor.image);
            Err(Error::Engine(engine::Error::api(doing, error)))
        }
    }
}

fn body(
    executor: &ContainerExecutor,
    environment: &Environment,
    volumes: Volumes,
    bound: &Bound,
) -> ContainerCreateBody {
    let labels: HashMap<String, String> = executor.labels.iter().cloned().collect();
    ContainerCreateBody {
        image: Some(executor.image.clone()),
        // CodeBuild's commands are root's, whatever the image says.
        user: Some("0:0".to_owned()),
        entrypoint: executor.without_entry_point.then(Vec::new),
        cmd: Some(vec![PROGRAM.to_owned()]),
        working_dir: Some(environment.source_directory.display().to_string()),
        labels: Some(labels),
        // One that the image brings would run beside the build.
        healthcheck: Some(bollard::models::HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..Default::default()
        }),
        host_config: Some(host_config(executor, environment, volumes, bound)),
        ..Default::default()
    }
}

fn host_config(
    executor: &ContainerExecutor,
    environment: &Environment,
    volumes: Volumes,
    bound: &Bound,
) -> HostConfig {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let ulimits = executor.ulimits.iter().map(|limit| ResourcesUlimits {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    });
    // Whoever `run-as` names has to get to the files of a command of theirs, by their names (CMD-17).
    let state = (STATE_DIRECTORY.to_owned(), "mode=0711,exec".to_owned());
    let mut all_mounts = mounts(executor, environment, bound);
    all_mounts.extend(volumes.mounts);
    HostConfig {
        binds: Some(volumes.binds),
        mounts: Some(all_mounts),
        tmpfs: Some(HashMap::from([state])),
        memory: executor.memory.map(number),
        // Without it the engine lets a container swap as much again.
        memory_swap: executor.memory.map(number),
        nano_cpus: executor.nano_cpus.map(number),
        shm_size: executor.shm_size.map(number),
        pids_limit: executor.pids_limit.map(number),
        ulimits: Some(ulimits.collect()),
        network_mode: executor.network.clone(),
        extra_hosts: Some(executor.add_hosts.clone()),
        privileged: Some(executor.privileged),
        ..Default::default()
    }
}

fn mounts(
    executor: &ContainerExecutor,
    environment: &Environment,
    bound: &Bound,
) -> Vec<EngineMount> {
    let mount = |source: &Path, target: &Path, read_only: bool| EngineMount {
        source: Some(source.display().to_string()),
        target: Some(target.display().to_string()),
        typ: Some(MountType::BIND),
        read_only: Some(read_only),
        ..Default::default()
    };
    let mut mounts = Vec::new();
    if let Some(program) = &bound.program {
        mounts.push(mount(program, Path::new(PROGRAM), true));
    }
    if bound.sources {
        let places = source_places(executor, environment);
        mounts.extend(
            places
                .iter()
                .map(|place| mount(&place.outside, &place.inside, false)),
        );
    }
    if let (true, Endpoint::Unix(socket)) = (executor.engine_socket, &executor.endpoint) {
        mounts.push(mount(socket, Path::new("/var/run/docker.sock"), false));
    }
    mounts
}

/// Where the sources are on both sides, the primary one first.
fn source_places(executor: &ContainerExecutor, environment: &Environment) -> Vec<Mount> {
    let inside = std::iter::once(&environment.source_directory);
    let outside = std::iter::once(&executor.source_directory);
    inside
        .chain(&environment.secondary_directories)
        .zip(outside.chain(&executor.secondary_directories))
        .map(|(inside, outside)| Mount {
            inside: inside.clone(),
            outside: outside.clone(),
        })
        .collect()
}

async fn start(
    executor: &ContainerExecutor,
    container: &Container,
    environment: Environment,
    bound: Bound,
) -> Result<Option<ContainerSession>, Error> {
    let mut known = Vec::new();
    let program = (executor.program.clone(), PathBuf::from(PROGRAM));
    let programs: Vec<_> = std::iter::once(program)
        .filter(|_| bound.program.is_none())
        .collect();
    let sources = if bound.sources {
        Vec::new()
    } else {
        source_places(executor, &environment)
    };
    if !(programs.is_empty() && sources.is_empty()) {
        let sent = transfer::send(container, sources, programs).await?;
        let sent = sent.into_iter();
        known.extend(sent.map(|sent| Arc::new(Mutex::new(Known::new(sent, executor.build())))));
    }
    let started = container
        .engine
        .api()
        .start_container(&container.id, None::<StartContainerOptions>)
        .await;
    if let Err(error) = started {
        return Err(not_started(container, error));
    }
    let source = SourcePlace {
        places: source_places(executor, &environment),
        bound: bound.sources,
        known,
        // Whoever asks for a mount knows what is there; some engines show it with other numbers.
        to_be_seen: bound.sources && executor.source_mount == SourceMount::Auto,
        temporary_directory: executor.temporary_directory.clone(),
        elsewhere: None,
    };
    let last_words = LastWords::default();
    let streams = match attach(container, last_words.clone()).await {
        Ok(streams) => streams,
        Err(error) => return Err(explain(container, error).await),
    };
    let session = ContainerSession::start(
        container.clone(),
        streams,
        last_words,
        environment,
        source,
        executor.owner,
        executor.outside.clone(),
    );
    match session.await {
        Err(error) => Err(explain(container, error).await),
        opened => opened,
    }
}

fn not_started(container: &Container, error: ApiError) -> Error {
    let image = &container.image;
    let error = engine::Error::api(format!("start a container of {image}"), error);
    let text = error.to_string();
    if text.contains("exec format error") {
        return Error::Image {
            image: image.clone(),
            reason: "it is for another processor, and this machine does not emulate it".to_owned(),
            help: None,
        };
    }
    Error::Engine(error)
}

/// Starts the session inside and connects to it.
async fn attach(container: &Container, last_words: LastWords) -> Result<Streams, Error> {
    let doing = "start runner's session in the container";
    let failed = |error| Error::Engine(engine::Error::api(doing, error));
    let api = container.engine.api();
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        user: Some("0:0".to_owned()),
        cmd: Some(vec![PROGRAM.to_owned(), "session".to_owned()]),
        working_dir: Some("/".to_owned()),
        ..Default::default()
    };
    let exec = api
        .create_exec(&container.id, config)
        .await
        .map_err(failed)?;
    let options = StartExecOptions {
        output_capacity: Some(256 * 1024),
        ..Default::default()
    };
    match api
        .start_exec(&exec.id, Some(options))
        .await
        .map_err(failed)?
    {
        StartExecResults::Attached { output, input } => Ok(Streams::outside(tokio::io::join(
            only_output(output, last_words),
            input,
        ))),
        StartExecResults::Detached => Err(Error::InContainer {
            message: "the engine did not attach to runner's session".to_owned(),
        }),
    }
}

/// Standard output as bytes; standard error is kept for the case that the session breaks down.
fn only_output(
    output: impl futures_util::Stream<Item = Result<LogOutput, ApiError>> + Send + Unpin + 'static,
    last_words: LastWords,
) -> impl AsyncRead + Send + Unpin {
    let last_words = Arc::new(last_words);
    let bytes = output.filter_map(move |record| {
        let last_words = Arc::clone(&last_words);
        std::future::ready(match record {
            Ok(LogOutput::StdOut { message }) => Some(Ok(message)),
            Ok(LogOutput::StdErr { message }) => {
                last_words.add(&message);
                None
            }
            Ok(_) => None,
            Err(error) => Some(Err(std::io::Error::other(error))),
        })
    });
    StreamReader::new(Box::pin(bytes))
}

/// If the container ended before the build began, its image is the reason, not what this program met with.
async fn explain(container: &Container, error: Error) -> Error {
    // Something else than an end, such as a shell that is not there, or nobody to ask.
    if container.is_silent() || !matches!(error, Error::FoundDead { .. } | Error::Engine(_)) {
        return error;
    }
    let Ok(state) = container.settled().await else {
        return error;
    };
    if state.running == Some(true) {
        return error;
    }
    let log = log(container).await;
    Error::EntryPoint {
        image: container.image.clone(),
        status: state.exit_code.unwrap_or_default(),
        said: log,
    }
}

/// The last of what the container's own process wrote.
async fn log(container: &Container) -> String {
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .tail("20");
    let mut records = Box::pin(
        container
            .engine
            .api()
            .logs(&container.id, Some(options.build())),
    );
    let mut text = Vec::new();
    while let Ok(Some(Ok(record))) =
        tokio::time::timeout(Duration::from_secs(5), records.next()).await
    {
        let bytes: Bytes = record.into_bytes();
        text.extend_from_slice(&bytes);
        if text.len() > SHOWN_LOG {
            break;
        }
    }
    // What is no text explains nothing.
    let Ok(text) = String::from_utf8(text) else {
        return String::new();
    };
    let readable = |c: &char| !c.is_control() || *c == '\n';
    text.trim()
        .chars()
        .filter(readable)
        .take(SHOWN_LOG)
        .collect()
}
