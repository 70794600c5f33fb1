//! Builds in containers: from arguments to a [`ContainerExecutor`], and this program's part inside (BOX-1 to BOX-9).

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc};

use super::args::{ContainerArgs, ExecutorArg, RequestArgs};
use super::sources::Sources;
use super::{aws, complain, engine, machine, mistake, start};
use crate::aws::Settings as AwsSettings;
use crate::build::ExitCode;
use crate::cache;
use crate::credentials::Service;
use crate::engine::{Endpoint, Engine};
use crate::exec::container::{Making, Offers, Outside, Purpose, TunnelStream};
use crate::exec::{ContainerExecutor, container};
use crate::git_credential;
use crate::ownership::Owner;
use crate::process;
use crate::tool::{self, Backend, DebugSession, Logins, Masks};

/// AWS's own names of build images, and where AWS publishes those images for everybody.
const PUBLISHED: &[(&str, &str)] = &[
    (
        "aws/codebuild/amazonlinux-",
        "public.ecr.aws/codebuild/amazonlinux-",
    ),
    (
        "aws/codebuild/amazonlinux2-",
        "public.ecr.aws/codebuild/amazonlinux2-",
    ),
];

/// Variables of the caller that a build in a container has too: which account and which services it works with.
const PASSED_ON: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
];

/// The image that a build is to run in; `None` on this machine. A mistake if the arguments contradict each other.
pub(super) fn image(args: &ContainerArgs) -> Result<Option<String>, clap::Error> {
    match (args.executor, &args.image) {
        (Some(ExecutorArg::Host), Some(_)) => Err(mistake(
            "`--image` is for `--executor docker`: on the host there is no image",
        )),
        (Some(ExecutorArg::Docker), None) => Err(mistake(
            "`--executor docker` needs `--image IMAGE`: the image that the project builds in",
        )),
        (_, Some(image)) => mapped(&args.image_map, image).map(Some),
        (_, None) => Ok(None),
    }
}

/// The name of an image, as far as it can be told without the engine.
pub(super) fn image_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty: expected the name of an image".to_owned());
    }
    if text.contains(char::is_whitespace) {
        return Err("expected the name of an image, which has no blanks".to_owned());
    }
    Ok(text.to_owned())
}

/// `SOURCE:TARGET[:OPTIONS]`, with a target that hides nothing that the build needs itself (CTR-7).
pub(super) fn volume(text: &str) -> Result<String, String> {
    let expected = || "expected SOURCE:TARGET, the target absolute".to_owned();
    let (source, rest) = text.split_once(':').ok_or_else(expected)?;
    let target = rest.split(':').next().unwrap_or_default();
    if source.is_empty() || !target.starts_with('/') {
        return Err(expected());
    }
    let place = plain(target);
    let own = container::OWN_DIRECTORIES.iter().map(Path::new);
    let mut hidden = own.filter(|own| own.starts_with(&place) || place.starts_with(own));
    match hidden.next() {
        None => Ok(text.to_owned()),
        Some(own) => Err(format!(
            "`{target}` would hide or change {}, which is the build's own: name another place in the container",
            own.display()
        )),
    }
}

/// A path without `.` and `..`, as the engine reads it.
fn plain(path: &str) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(name) => plain.push(name),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    plain
}

/// The image that stands for a name.
pub(super) fn mapped(map: &[(String, String)], name: &str) -> Result<String, clap::Error> {
    let wanted = map.iter().rev().find(|(from, _)| from == name);
    if let Some((_, image)) = wanted {
        return Ok(image.clone());
    }
    published(name)
}

/// The image of a name as AWS publishes it, if it is one of AWS's own.
fn published(name: &str) -> Result<String, clap::Error> {
    for (from, to) in PUBLISHED {
        if let Some(rest) = name.strip_prefix(from) {
            return Ok(format!("{to}{rest}"));
        }
    }
    if name.starts_with("aws/codebuild/") {
        return Err(mistake(format!(
            "`{name}` is an image that AWS does not publish: name one that you have with `--image-map {name}=IMAGE`"
        )));
    }
    Ok(name.to_owned())
}

/// Where the source of a build is in its container: below a number, as on CodeBuild.
pub(super) fn source_directory(build_uuid: &str) -> PathBuf {
    below_number(number_of(build_uuid))
}

/// Where a secondary source is: below a number of its own, none of those that are `taken`.
pub(super) fn secondary_directory(
    build_uuid: &str,
    identifier: &str,
    taken: &[PathBuf],
) -> PathBuf {
    let mut number = number_of((build_uuid, identifier));
    while taken.contains(&below_number(number)) {
        number += 1;
    }
    below_number(number)
}

/// Nine digits that follow from something.
fn number_of(something: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    something.hash(&mut hasher);
    100_000_000 + hasher.finish() % 900_000_000
}

fn below_number(number: u64) -> PathBuf {
    PathBuf::from(format!("/codebuild/output/src{number}/src"))
}

/// What the environment of a build in a container has before anything is added. The image's own variables are below it.
pub(super) fn environment() -> Vec<(OsString, OsString)> {
    let passed = |name: &str| PASSED_ON.contains(&name) || name.starts_with("AWS_ENDPOINT_URL");
    let mut variables: Vec<(OsString, OsString)> = machine::variables()
        .into_iter()
        .filter(|(name, _)| name.to_str().is_some_and(passed))
        .collect();
    // Whatever the image or its user says.
    variables.push(("HOME".into(), "/root".into()));
    variables
}

/// The executor for a build in a container of this image.
pub(super) fn executor(
    args: &RequestArgs,
    image: String,
    sources: &Sources,
    build_id: &str,
    offered: Offered,
) -> Result<ContainerExecutor, String> {
    let container = &args.container;
    let endpoint = Endpoint::find(&engine::settings()).map_err(|error| error.to_string())?;
    if container.engine_socket && !matches!(endpoint, Endpoint::Unix(_)) {
        return Err(format!(
            "`--engine-socket` mounts the engine's socket, and the engine at {endpoint} has none on this machine"
        ));
    }
    let program = process::this_program()
        .ok_or("this program cannot find itself, to bring itself into the container")?;
    let offers = Offers {
        tools: offered.tools,
        credentials: offered.credentials.is_some(),
        git: offered.git.is_some(),
        debug: offered.debug.is_some(),
    };
    let outside = (offers != Offers::default()).then(|| Outside {
        offers,
        streams: serve(endpoint.clone(), args, offered),
    });
    Ok(ContainerExecutor {
        outside,
        endpoint,
        connected: None,
        image,
        unavailable: None,
        platform: container.platform.as_ref().map(ToString::to_string),
        without_entry_point: container.no_entrypoint,
        privileged: container.privileged,
        engine_socket: container.engine_socket,
        network: container.network.clone(),
        add_hosts: container.add_host.clone(),
        volumes: container
            .volume
            .iter()
            .map(|volume| absolute(volume))
            .collect(),
        memory: container.memory,
        nano_cpus: container.cpus,
        shm_size: container.shm_size,
        ulimits: container.ulimit.clone(),
        pids_limit: container.pids_limit,
        source_mount: container.mount_source.into(),
        source_directory: sources.primary.directory.clone(),
        secondary_directories: sources
            .secondary
            .iter()
            .map(|(_, place)| place.directory.clone())
            .collect(),
        temporary_directory: machine::temporary_directory(),
        program,
        owner: (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        ),
        labels: labels(build_id),
        making: Making::default(),
    })
}

/// What everything that a build makes in an engine is labelled with: the build, and this process (CTR-20).
pub(super) fn labels(build_id: &str) -> Vec<(String, String)> {
    let mut labels = vec![(container::BUILD_LABEL.to_owned(), build_id.to_owned())];
    labels.extend(Owner::this().iter().flat_map(Owner::labels));
    labels
}

/// What a build in a container has of runner's own.
pub(super) struct Offered {
    /// Whether it has tools.
    pub(super) tools: bool,
    /// How this program's calls for the build reach AWS.
    pub(super) aws: AwsSettings,
    /// What its commands have hidden.
    pub(super) masks: Masks,
    /// What serves AWS's credentials to its commands.
    pub(super) credentials: Option<Service>,
    /// What answers git.
    pub(super) git: Option<Arc<git_credential::Keeper>>,
    /// What its breakpoints wait for, if it has a debug session.
    pub(super) debug: Option<DebugSession>,
    /// The connection to the engine, once there is one.
    pub(super) engine: Arc<OnceCell<Engine>>,
}

/// Streams that wait to be served; more at once than any build has.
const WAITING: usize = 64;

/// How long what opened a stream may take to say what for.
const PURPOSE_LIMIT: Duration = Duration::from_secs(10);

/// Serves what is asked for in the container, for as long as the build lives (TOOL-1, CRED-4).
fn serve(endpoint: Endpoint, args: &RequestArgs, offered: Offered) -> mpsc::Sender<TunnelStream> {
    let (connections, mut next) = mpsc::channel::<TunnelStream>(WAITING);
    let registries = aws::registry_settings(offered.aws);
    let backend = Backend::new(endpoint, Logins::in_memory(), registries);
    let backend = backend
        .with_connection(offered.engine)
        .with_masks(offered.masks)
        .with_git(offered.git.clone());
    let backend = Arc::new(if args.container.engine_socket {
        backend.with_whole_engine()
    } else {
        backend
    });
    let answering = Arc::new(Answering {
        backend: offered.tools.then_some(backend),
        credentials: offered.credentials,
        git: offered.git,
        debug: offered.debug,
    });
    tokio::spawn(async move {
        while let Some(connection) = next.recv().await {
            let answering = Arc::clone(&answering);
            // What is wrong with a stream is seen at its other end.
            tokio::spawn(async move { answering.serve(connection).await });
        }
    });
    connections
}

/// Who answers what.
struct Answering {
    /// Tools; `None` where there are none of ours.
    backend: Option<Arc<Backend>>,
    credentials: Option<Service>,
    git: Option<Arc<git_credential::Keeper>>,
    debug: Option<DebugSession>,
}

impl Answering {
    async fn serve(&self, mut stream: TunnelStream) {
        let purpose = tokio::time::timeout(PURPOSE_LIMIT, Purpose::hear(&mut stream)).await;
        let Ok(Ok(purpose)) = purpose else { return };
        if let (Purpose::Debug, Some(debug)) = (purpose, &self.debug) {
            // Nobody in the container is the person outside.
            return debug.serve(stream, false).await;
        }
        match (purpose, &self.backend, &self.git, &self.credentials) {
            (Purpose::Tool, Some(backend), ..) => {
                let _ = Box::pin(tool::serve(stream, backend)).await;
            }
            (Purpose::Tool, None, Some(git), _) => {
                let _ = tool::serve_git(stream, git).await;
            }
            (Purpose::Credentials, .., Some(service)) => service.serve(stream).await,
            _ => {}
        }
    }
}

/// A volume whose source is a path, absolute, as engines want it.
fn absolute(volume: &str) -> String {
    match (volume.split_once(':'), machine::directory()) {
        (Some((source, rest)), Ok(here)) if source.starts_with('.') => {
            format!(
                "{}:{rest}",
                machine::canonical(&here.join(source)).display()
            )
        }
        _ => volume.to_owned(),
    }
}

/// The directories of volumes that a build may write to, without links.
pub(super) fn changeable(args: &ContainerArgs) -> Vec<PathBuf> {
    let volumes = args.volume.iter().map(|volume| absolute(volume));
    volumes
        .filter_map(|volume| {
            let source = volume.split(':').next()?;
            source
                .starts_with('/')
                .then(|| machine::canonical(Path::new(source)))
        })
        .collect()
}

/// What this program does as [`container::CONTAINER_NAME`], inside a container.
pub(super) fn inside(arguments: &[OsString]) -> ExitCode {
    if arguments.get(1).is_some_and(|argument| argument == "shell") {
        let error = container::look(&machine::variables());
        complain(&format!(
            "error: could not start the shell of the build: {error}\n"
        ));
        return ExitCode::Fault;
    }
    let is_session = arguments
        .get(1)
        .is_some_and(|argument| argument == "session");
    let ended = start::runtime().and_then(|runtime| {
        runtime.block_on(async {
            if is_session {
                container::serve(machine::variables(), cache::work).await
            } else {
                container::hold().await
            }
        })
    });
    match ended {
        Ok(()) => ExitCode::Succeeded,
        Err(error) => {
            complain(&format!("error: {error}\n"));
            ExitCode::Fault
        }
    }
}
