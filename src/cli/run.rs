//! `runner run`

use std::fs::{File, Permissions};
use std::io::{self, BufWriter};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, mpsc};

use super::args::{KeepArg, MountArg, RunArgs};
use super::complain::learn;
use super::debug_session::{self, Door};
use super::exported::ExportedFile;
use super::git_credential::{self as git, Here as GitHere};
use super::identity::{Here, Identity};
use super::load::{self, Asked, Loaded, Refusal};
use super::provision::{self, Stops};
use super::request::{self, DEFAULT_ARTIFACTS};
use super::sources::{self, Arrived, Sources};
use super::sweep::Sweep;
use super::variables::{self, NotGiven};
use super::{
    aws, buildspec_file, cache, complain, container, handover, machine, mask, mistake, plan, proxy,
    start, terminal, usage,
};
use crate::agent::state::work_of;
use crate::artifact::Workspace;
use crate::aws::Settings as AwsSettings;
use crate::build::{
    BuildCache, CommandCredentials, Debugging, ExitCode, Finished, Prepared, StopSignals, World,
    drive,
};
use crate::credentials::Service;
use crate::engine::Engine;
use crate::env::{self, EnvironmentVariable};
use crate::event::{BuildStarted, SourceReady, StopReason};
use crate::exec::container::{DEBUG_VARIABLE, GIT_HELPER, SourceMount, TOOL_SOCKET};
use crate::exec::{Executor, HostExecutor, Keep, Terminal};
use crate::git_credential;
use crate::ownership::OwnedDirectory;
use crate::plan::{ArtifactLocation, BuildRequest, Plan};
use crate::process;
use crate::registry::isolated::{self, Isolated};
use crate::report::made::FILES;
use crate::secret::{Fetched, SecretSource};
use crate::sink::{
    CodebuildLog, Console, ConsoleFormat, JsonLines, Pretty, Recorder, Sink, SinkFailure,
    WithoutOutput,
};
use crate::store::{DirectoryStore, S3Settings, S3Store, Store};
use crate::tool::{self, DebugSession, Masks};

/// Runs a build.
pub(super) fn run(args: RunArgs) -> ExitCode {
    let started_at = Instant::now();
    if args.request.job.is_some() {
        process::begin_as_build();
    }
    let runtime = match start::begin() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let _held = match handover::hold(args.request.job.as_deref()) {
        Ok(held) => held,
        Err(mistake) => return usage(&mistake),
    };
    let code = runtime.block_on(async {
        match ask(&args).await {
            Err(mistake) => usage(&mistake),
            Ok(asked) if args.dry_run => dry_run(&args, asked).await,
            Ok(asked) => match variables::given(&args.request) {
                Ok(given) => Box::pin(build(args, asked, given, started_at)).await,
                Err(mistake) => usage(&mistake),
            },
        }
    });
    // Work that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    code
}

/// What the arguments ask for; a mistake if they cannot mean it.
async fn ask(args: &RunArgs) -> Result<Asked, clap::Error> {
    let sources = Sources::of(&args.request)?;
    check_files(args, &sources)?;
    if sources.has_to_fetch(sources::Wanted::All) {
        // Nobody waits for a source to be told of a mistake.
        shell_on_failure(args)?;
        check_keep(args)?;
    }
    load::ask(&args.request, sources, !args.dry_run).await
}

/// Refuses files to write that are the same, or the buildspec: one would take the place of the other.
fn check_files(args: &RunArgs, sources: &Sources) -> Result<(), clap::Error> {
    let outputs = [
        ("--log-file", Some("codebuild"), &args.log_file),
        ("--events", Some("json"), &args.events),
        ("--exported", None, &args.exported),
    ];
    let mut taken = Vec::new();
    if args.request.file.as_deref() != Some(Path::new("-")) {
        let name = args.request.file.as_deref();
        let path = sources
            .primary
            .directory
            .join(name.unwrap_or(Path::new(buildspec_file::DEFAULT)));
        taken.push(("the buildspec", path));
    }
    for (flag, format, path) in outputs {
        let Some(written) = path else { continue };
        if written.as_os_str() == "-" {
            return Err(mistake(match format {
                Some(format) => format!(
                    "`{flag} -` is no file: `--log-format {format}` writes this to standard output"
                ),
                None => format!("`{flag} -` is no file: write `{flag} ./-` for one of that name"),
            }));
        }
        let here = machine::directory()
            .map_err(|error| mistake(format!("this directory is gone: {error}")))?;
        let path = here.join(written);
        if let Some((other, _)) = taken
            .iter()
            .find(|(_, other)| machine::same_file(other, &path))
        {
            return Err(mistake(format!(
                "`{flag} {}` would overwrite {other}: name another file",
                written.display()
            )));
        }
        taken.push((written_by(flag), path));
    }
    Ok(())
}

/// What is in the file of a flag.
fn written_by(flag: &str) -> &'static str {
    match flag {
        "--log-file" => "what `--log-file` writes",
        _ => "what `--events` writes",
    }
}

async fn dry_run(args: &RunArgs, asked: Asked) -> ExitCode {
    let code = plan::of(&args.request, asked, args.quiet, false).await;
    if code == ExitCode::Succeeded {
        complain("dry run: nothing was run\n");
    }
    code
}

/// A build whose sources are there, as far as they can be, and whose sinks are open.
struct Begun {
    loaded: Loaded,
    arrived: Arrived,
    identity: Identity,
    sinks: Vec<Box<dyn Sink>>,
    exported: Option<ExportedFile>,
    signals: mpsc::UnboundedSender<StopReason>,
    stop_signals: StopSignals,
}

/// Reads what can be read at once, opens the sinks, hears signals, and fetches what has to be fetched.
async fn begin(args: &RunArgs, asked: Asked, started_at: Instant) -> Result<Begun, ExitCode> {
    // What can be read at once is. Until there are sinks a signal does what it does to any program (PHASE-9).
    let known = if load::has_to_wait(&args.request, &asked) {
        Err(asked)
    } else {
        Ok(load::read(&args.request, asked).await)
    };
    let name = name_of(args, &known);
    let changeable = request::changeable(
        &args.request,
        match &known {
            Ok(loaded) => &loaded.sources,
            Err(asked) => &asked.sources,
        },
    );
    // A FIFO is opened when somebody reads it.
    let sinks = match sinks(args, &name, &changeable) {
        Ok(sinks) => sinks,
        Err(complaint) => {
            complain(&complaint);
            return Err(ExitCode::Fault);
        }
    };
    let exported = match args
        .exported
        .as_deref()
        .map(|path| ExportedFile::begin(path, &changeable))
        .transpose()
    {
        Ok(exported) => exported,
        Err(complaint) => {
            complain(&complaint);
            return Err(ExitCode::Fault);
        }
    };
    let (signals, mut stop_signals) = listen()?;
    handover::listen(args.request.job.as_deref(), &signals);
    let stops = Stops {
        heard: &mut stop_signals,
        back: &signals,
    };
    let identity = Identity::of(&args.request, request_of(&known));
    let fetched = fetch(args, known, &identity, started_at, stops);
    let (loaded, arrived) = Box::pin(fetched).await;
    match &loaded.plan {
        Err(refusal) => complain(&refusal.complaint),
        Ok(_) if args.verbose => complain(&loaded.secrets().redact(&plan::text(&loaded))),
        Ok(_) => {}
    }
    Ok(Begun {
        loaded,
        arrived,
        identity,
        sinks,
        exported,
        signals,
        stop_signals,
    })
}

async fn build(
    args: RunArgs,
    asked: Asked,
    mut secrets: Vec<Fetched>,
    mut started_at: Instant,
) -> ExitCode {
    let Begun {
        mut loaded,
        arrived,
        identity,
        sinks,
        exported,
        signals,
        mut stop_signals,
    } = match Box::pin(begin(&args, asked, started_at)).await {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    match type_secrets(&args, &loaded, &mut secrets, &mut stop_signals).await {
        Ok(taken) => started_at += taken,
        Err(code) => return code,
    }
    let image = match container::image(&args.request.container) {
        Ok(image) => image,
        Err(mistake) => return usage(&mistake),
    };
    // It goes away when this function returns: after the build, whatever came of it.
    let given = give(&args, &mut loaded, &identity, image.is_some()).await;
    let (mut given, store) = match given.and_then(|given| Ok((given, store(&identity, &loaded)?))) {
        Ok(given) => given,
        Err(why) => {
            complain(&format!("error: {why}\n"));
            return ExitCode::Fault;
        }
    };
    let shell_on_failure = match check_keep(&args).and_then(|()| shell_on_failure(&args)) {
        Ok(terminal) => terminal,
        Err(mistake) => return usage(&mistake),
    };
    if has_users(&loaded) {
        loaded.sources.open_to_users();
    }
    let swept = sweep(&args, &loaded);
    let kept_build = loaded.request.build_uuid.clone();
    let wanted = Wanted {
        keep: args.keep.into(),
        shell_on_failure,
        debugging: given.debugging.take(),
        preflight: !args.no_preflight,
        scan_artifacts: args.scan_artifacts,
    };
    let sources = Ready {
        was_fetching: loaded.sources.has_to_fetch(sources::Wanted::All),
        // What an agent has fetched for a job is that job's build's.
        own: loaded.sources.own(args.request.job.is_some()),
        arrived: arrived.ready(&loaded.request),
    };
    let recorder = recorder(sinks, &loaded, &identity);
    let mut surroundings = Surroundings {
        credentials: CommandCredentials {
            aws: identity.keeper(),
            git: given.git.clone(),
        },
        secrets: SecretSource {
            given: secrets,
            aws: identity.aws.clone(),
        },
        store: Arc::new(store),
        cache: cache::of_build(&identity.aws, &loaded.request),
        workspace: workspace(&args, &loaded),
        recorder,
        stop_signals,
    };
    let Finished {
        outcome,
        mut sink_failures,
        kept,
        secrets,
    } = match image {
        None => {
            let host = host(&args, &loaded, &given);
            Box::pin(surroundings.drive(host, loaded, sources, started_at, wanted)).await
        }
        Some(image) => {
            let build_id = build_id(&loaded.request);
            let connection: Arc<OnceCell<Engine>> = Arc::default();
            match container::executor(
                &args.request,
                image,
                &loaded.sources,
                &build_id,
                container::Offered {
                    tools: !args.no_tools,
                    aws: identity.aws.clone(),
                    masks: Masks::new(identity.hider()),
                    credentials: given.service.take(),
                    git: given.git.clone(),
                    debug: given.debug.clone(),
                    engine: Arc::clone(&connection),
                },
            ) {
                Ok(mut executor) => {
                    // What was fetched goes away with this program, and a container that is kept stays.
                    if sources.was_fetching && args.keep != KeepArg::Never {
                        executor.source_mount = SourceMount::Copy;
                    }
                    if loaded.plan.is_ok() {
                        let deadline = started_at.checked_add(loaded.request.timeout);
                        let stops = Stops {
                            heard: &mut surroundings.stop_signals,
                            back: &signals,
                        };
                        let provided =
                            provision::image(&args, &mut executor, &identity.aws, deadline, stops);
                        Box::pin(provided).await;
                        if let Some(Ok(engine)) = &executor.connected {
                            let _ = connection.set(engine.clone());
                        }
                    }
                    Box::pin(surroundings.drive(executor, loaded, sources, started_at, wanted))
                        .await
                }
                Err(error) => {
                    complain(&format!("error: {error}\n"));
                    return ExitCode::Fault;
                }
            }
        }
    };
    learn(secrets);
    if kept {
        complain(&kept_note(&kept_build));
    }
    tell(swept, outcome.stopped_by.is_some()).await;
    let exported = exported.map(|file| file.finish(&outcome.exported));
    sink_failures.extend(exported.and_then(Result::err));
    finish(outcome.exit_code(), &sink_failures).await
}

/// What events go through. What is fetched is hidden in the last words of a bug as well.
fn recorder(sinks: Vec<Box<dyn Sink>>, loaded: &Loaded, identity: &Identity) -> Recorder {
    let mut recorder = Recorder::start(sinks, loaded.secrets());
    recorder.heed(identity.hider());
    recorder.tell(learn);
    recorder
}

/// Asks for what is to be typed: nobody types anything for a build that cannot be. How long it took, which counts for no limit.
async fn type_secrets(
    args: &RunArgs,
    loaded: &Loaded,
    secrets: &mut Vec<Fetched>,
    stop_signals: &mut StopSignals,
) -> Result<Duration, ExitCode> {
    let asking = Instant::now();
    if loaded.plan.is_err() {
        return Ok(Duration::ZERO);
    }
    match variables::typed(&args.request, secrets, stop_signals).await {
        Ok(()) => Ok(asking.elapsed()),
        Err(NotGiven::Mistake(mistake)) => Err(usage(&mistake)),
        Err(NotGiven::Stopped(signal)) => Err(ExitCode::Signal(signal)),
    }
}

/// The build's id: `project:uuid`.
fn build_id(request: &BuildRequest) -> String {
    format!("{}:{}", request.project, request.build_uuid)
}

/// What was asked for.
fn request_of(known: &Result<Loaded, Asked>) -> &BuildRequest {
    match known {
        Ok(loaded) => &loaded.request,
        Err(asked) => &asked.request,
    }
}

/// Name of the buildspec for messages.
fn name_of(args: &RunArgs, known: &Result<Loaded, Asked>) -> String {
    match known {
        Ok(loaded) => loaded.name.clone(),
        Err(_) => load::name(&args.request),
    }
}

/// Hears signals from now on.
fn listen() -> Result<(mpsc::UnboundedSender<StopReason>, StopSignals), ExitCode> {
    let (signals, stop_signals) = mpsc::unbounded_channel();
    match machine::listen_for_signals(&signals) {
        Ok(()) => Ok((signals, stop_signals)),
        Err(error) => {
            complain(&format!("error: could not listen for signals: {error}\n"));
            Err(ExitCode::Fault)
        }
    }
}

/// Fetches the sources that are elsewhere, and reads the buildspec if it was in one of them. What cannot be fetched leaves a
/// build without a plan (SRC-30).
async fn fetch(
    args: &RunArgs,
    known: Result<Loaded, Asked>,
    identity: &Identity,
    started_at: Instant,
    stops: Stops<'_>,
) -> (Loaded, Arrived) {
    let request = &args.request;
    let sources = match &known {
        // Nothing is run, so nothing is needed.
        Ok(loaded) if loaded.plan.is_err() => None,
        Ok(loaded) => Some(&loaded.sources),
        Err(asked) => Some(&asked.sources),
    };
    let deadline = started_at.checked_add(request.timeout);
    let mut arrived = match sources.filter(|sources| sources.has_to_fetch(sources::Wanted::All)) {
        None => Arrived::nothing(),
        Some(sources) => {
            let wanted = sources::Wanted::All;
            let asking = (request, &identity.aws);
            sources
                .fetch(wanted, asking, args.quiet, deadline, stops)
                .await
        }
    };
    let refusal = arrived.refusal.take();
    // The phase tells it, with what to do.
    let refusal = refusal.map(|(context, _)| Refusal {
        context,
        complaint: String::new(),
    });
    let loaded = match (known, refusal) {
        (Ok(loaded), None) => loaded,
        (Ok(loaded), Some(refusal)) => Loaded {
            plan: Err(refusal),
            ..loaded
        },
        (Err(asked), Some(refusal)) => load::refused(request, asked, refusal),
        (Err(mut asked), None) => {
            asked
                .request
                .source
                .resolved_version
                .clone_from(&arrived.commit);
            load::read(request, asked).await
        }
    };
    (loaded, arrived)
}

/// What a person wants of a build besides its result.
struct Wanted {
    keep: Keep,
    shell_on_failure: Option<Terminal>,
    debugging: Option<Debugging>,
    preflight: bool,
    scan_artifacts: bool,
}

/// What of the sources a build is told.
struct Ready {
    was_fetching: bool,
    own: Vec<(Option<String>, PathBuf)>,
    arrived: Vec<SourceReady>,
}

/// Refuses to keep what there is not (CTR-30), or what would lose its source (SRC-4).
fn check_keep(args: &RunArgs) -> Result<(), clap::Error> {
    let container = &args.request.container;
    if args.keep == KeepArg::Never {
        return Ok(());
    }
    if container::image(container)?.is_none() {
        return Err(mistake(
            "`--keep` keeps containers, and this build has none: run it in one with `--image IMAGE`",
        ));
    }
    let elsewhere = Sources::of(&args.request)?.has_to_fetch(sources::Wanted::All);
    if elsewhere && container.mount_source == MountArg::Bind {
        return Err(mistake(
            "`--keep` keeps no source that was fetched and is mounted: leave `--mount-source bind` out, and it is copied",
        ));
    }
    Ok(())
}

/// The terminal for `--shell-on-failure`; a mistake if there is none (CTR-33).
fn shell_on_failure(args: &RunArgs) -> Result<Option<Terminal>, clap::Error> {
    if !args.shell_on_failure {
        return Ok(None);
    }
    terminal::interactive().map(Some).ok_or_else(|| {
        mistake(
            "`--shell-on-failure` needs a terminal: standard input and standard output are none",
        )
    })
}

/// How a kept container is entered and removed (CTR-30).
fn kept_note(uuid: &str) -> String {
    let short = uuid.get(..8).unwrap_or(uuid);
    format!(
        "the build's container is kept: enter it with `runner shell {short}`, remove it with `runner prune {short}`\n"
    )
}

/// Clears away what builds of this user left that did not end as they should, beside this one (CTR-23). Where an engine is
/// used, all containers in it are looked at besides.
fn sweep(args: &RunArgs, loaded: &Loaded) -> Sweep {
    let mut places = vec![machine::private_directory(), machine::temporary_directory()];
    places.dedup();
    if let (ArtifactLocation::Directory(root), false) =
        (&loaded.request.artifacts.location, args.dry_run)
    {
        places.push(root.clone());
    }
    Sweep::begin(places)
}

/// What the sweep could not do. Whoever has stopped the build waits for no engine.
async fn tell(sweep: Sweep, stopped: bool) {
    if stopped {
        return;
    }
    for remark in sweep.remarks().await {
        complain(&format!("note: {remark}\n"));
    }
}

/// Whether commands of a build are others' than this process's.
fn has_users(loaded: &Loaded) -> bool {
    let mut phases = loaded.plan.iter().flat_map(|plan| &plan.phases);
    phases.any(|phase| phase.user.is_some())
}

/// Where small files of a build go: what is for one user only has no place for the files of another.
fn place_for(has_users: bool) -> PathBuf {
    if has_users {
        machine::temporary_directory()
    } else {
        machine::private_directory()
    }
}

fn host(args: &RunArgs, loaded: &Loaded, given: &Given) -> HostExecutor {
    let docker_config = given.offered.as_ref();
    let docker_config = docker_config.and_then(|offered| offered.docker_config.as_ref());
    let docker_config = docker_config.map(Isolated::config);
    HostExecutor {
        temporary_directory: place_for(has_users(loaded)),
        users_directories: docker_config
            .into_iter()
            .chain(given.here.as_ref().map(Here::profiles))
            .collect(),
        entrance: args.request.job.as_deref().and_then(work_of),
        path: machine::variable("PATH"),
        this_program: process::this_program(),
        has_terminal: process::has_terminal(),
    }
}

/// Everything a build touches besides the place where its commands run.
struct Surroundings {
    credentials: CommandCredentials,
    secrets: SecretSource,
    store: Arc<Store>,
    cache: Option<BuildCache>,
    workspace: Workspace,
    recorder: Recorder,
    stop_signals: StopSignals,
}

impl Surroundings {
    async fn drive<E: Executor>(
        self,
        executor: E,
        loaded: Loaded,
        sources: Ready,
        started_at: Instant,
        wanted: Wanted,
    ) -> Finished {
        let world = World {
            executor,
            credentials: self.credentials,
            secrets: self.secrets,
            store: self.store,
            cache: self.cache,
            workspace: self.workspace,
            temporary_directory: machine::temporary_directory(),
            recorder: self.recorder,
        };
        let (prepared, sources) = prepare(loaded, sources, started_at, wanted, E::NAME);
        let finished = drive(prepared, world, self.stop_signals).await;
        // What was fetched is there until here.
        drop(sources);
        finished
    }
}

/// What a build is given, for as long as it lives.
#[derive(Default)]
struct Given {
    /// On this machine: an endpoint with credentials, if they are served.
    here: Option<Here>,
    /// On this machine: runner's own.
    offered: Option<Offered>,
    /// In a container: what serves credentials, if they are served.
    service: Option<Service>,
    /// What answers git, if it is given credentials.
    git: Option<Arc<git_credential::Keeper>>,
    /// On this machine: what git asks.
    git_here: Option<GitHere>,
    /// A copy of this program for that, for users who cannot reach this one.
    copy: Option<OwnedDirectory>,
    /// Its debug session, and what the build hears of it.
    debug: Option<DebugSession>,
    debugging: Option<Debugging>,
    /// Where that is found.
    door: Option<Door>,
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy {
            let _ = std::fs::remove_dir_all(copy.path());
        }
    }
}

impl Given {
    /// Gives the build a debug session (TOOL-33).
    fn debug(&mut self, build: String, plan: &mut Plan, in_container: bool) -> Result<(), String> {
        let (session, news) = DebugSession::new(build, plan.shell.name().to_owned());
        let users = if in_container {
            Vec::new()
        } else {
            debug_session::users(plan)
        };
        let place = place_for(!users.is_empty());
        let door = Door::open(&place, users, session.clone()).map_err(|error| {
            format!(
                "could not make the socket of the debug session in {}: {error}",
                place.display()
            )
        })?;
        if !in_container {
            let socket = door.socket().into();
            env::set_default(&mut plan.environment, DEBUG_VARIABLE, socket);
        }
        self.door = Some(door);
        self.debug = Some(session.clone());
        self.debugging = Some(Debugging {
            session,
            news,
            terminal: terminal::interactive(),
        });
        Ok(())
    }
}

/// Gives a build what belongs to the place where it runs, and leads its variables there.
async fn give(
    args: &RunArgs,
    loaded: &mut Loaded,
    identity: &Identity,
    in_container: bool,
) -> Result<Given, String> {
    let mut given = Given::default();
    let has_users = has_users(loaded);
    let loaded_build = build_id(&loaded.request);
    let Ok(plan) = &mut loaded.plan else {
        return Ok(given);
    };
    // That of a build around this one is not this one's.
    plan.environment
        .retain(|variable| variable.name != DEBUG_VARIABLE);
    if plan.git_credentials {
        let repository = loaded.request.source.repository_url.as_deref();
        let grants = git::grants(&args.request, repository).map_err(|error| error.to_string())?;
        let keeper = git::keeper(grants.clone(), &identity.aws, identity.hider());
        given.git = Some(Arc::clone(&keeper));
        if in_container {
            git::configure(&mut plan.environment, &grants, Path::new(GIT_HELPER));
            git::lead_to(&mut plan.environment, Path::new(TOOL_SOCKET));
        } else {
            let place = place_for(has_users);
            let program = program(&place, has_users, &mut given.copy);
            let program = program.ok_or("this program cannot find itself, to be git's helper")?;
            let here = GitHere::make(&place, &program, keeper, has_users);
            let here = here.map_err(|error| format!("could not make git's helper: {error}"))?;
            here.add_to(&mut plan.environment, &grants);
            given.git_here = Some(here);
        }
    }
    if args.debug_session {
        given.debug(loaded_build, plan, in_container)?;
    }
    if in_container {
        // What is in a container has none of this machine's files.
        given.service = identity.service(&mut plan.environment);
    } else {
        let place = place_for(has_users);
        let here = identity.serve_here(&mut plan.environment, &place).await;
        given.here =
            here.map_err(|error| format!("could not serve AWS credentials on loopback: {error}"))?;
        given.offered = Some(offer(args, &mut plan.environment, has_users));
        if let (Some(offered), false) = (&given.offered, args.no_tools) {
            offered.listen(identity, &mut plan.environment, has_users);
        }
    }
    Ok(given)
}

/// What a build on this machine has of runner's own, beside its state.
struct Offered {
    docker_config: Option<Isolated>,
    tools: Option<OwnedDirectory>,
    /// Where a copy of this program is, for users who cannot reach this one.
    copy: Option<OwnedDirectory>,
}

impl Offered {
    /// Hears of values that commands of the build have hidden, and tells them where (TOOL-43).
    fn listen(
        &self,
        identity: &Identity,
        environment: &mut Vec<EnvironmentVariable>,
        has_users: bool,
    ) {
        let isolated = self.docker_config.as_ref().map(Isolated::bin);
        let own = self.tools.as_ref().map(|own| own.path().to_owned());
        let masks = Masks::new(identity.hider());
        let socket = isolated
            .or(own)
            .and_then(|directory| mask::listen(&directory, has_users, masks));
        if let Some(socket) = socket {
            env::set_default(environment, mask::VARIABLE, socket.into());
        }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        for directory in [self.tools.take(), self.copy.take()].into_iter().flatten() {
            let _ = std::fs::remove_dir_all(directory.path());
        }
    }
}

/// Makes what a build on this machine is offered, and leads its variables there.
fn offer(args: &RunArgs, environment: &mut Vec<EnvironmentVariable>, has_users: bool) -> Offered {
    let place = place_for(has_users);
    let mut offered = Offered {
        docker_config: None,
        tools: None,
        copy: None,
    };
    // That of a build around this one is not this one's.
    environment.retain(|variable| variable.name != mask::VARIABLE);
    let wants_config = !args.no_ecr_login && isolated::is_wanted(environment);
    if !wants_config && args.no_tools {
        return offered;
    }
    let Some(program) = program(&place, has_users, &mut offered.copy) else {
        return offered;
    };
    if wants_config {
        offered.docker_config = docker_config(environment, &place, &program);
    }
    match &offered.docker_config {
        _ if args.no_tools => {}
        // Its programs are at the end of PATH already.
        Some(isolated) => {
            let _ = tool::link_into(&isolated.bin(), &program);
        }
        None => offered.tools = tools(environment, &place, &program),
    }
    offered
}

/// This program, as what every user of the build can start. Where only this user can, it is a copy.
fn program(place: &Path, has_users: bool, copy: &mut Option<OwnedDirectory>) -> Option<PathBuf> {
    if !has_users {
        return process::this_program_for_others();
    }
    // What is running is shown to its own user only (`/proc/PID/exe`), so that others need the file.
    process::this_program_for_everybody().or_else(|| {
        let directory = copy.insert(OwnedDirectory::make_passable_in(place).ok()?);
        let path = directory.path().join("runner");
        std::fs::copy(process::this_program()?, &path).ok()?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).ok()?;
        Some(path)
    })
}

/// Puts our own `aws` and `docker` at the end of PATH (TOOL-1). A build that has them already misses nothing without.
fn tools(
    environment: &mut [EnvironmentVariable],
    place: &Path,
    program: &Path,
) -> Option<OwnedDirectory> {
    let directory = OwnedDirectory::make_passable_in(place).ok()?;
    // As far as it can be done.
    let _ = tool::link_into(directory.path(), program);
    for variable in environment
        .iter_mut()
        .filter(|variable| variable.name == "PATH")
    {
        variable.value.push(":");
        variable.value.push(directory.path());
    }
    Some(directory)
}

/// Gives a build a Docker configuration of its own, in which this program has the credentials (REG-10). Without one the
/// build runs as well, and logs in by itself.
fn docker_config(
    environment: &mut Vec<EnvironmentVariable>,
    place: &Path,
    program: &Path,
) -> Option<Isolated> {
    let user = aws::registry_settings(AwsSettings::default()).docker_config;
    match Isolated::make(place, user.as_deref(), program) {
        Ok(isolated) => {
            isolated.add_to(environment);
            Some(isolated)
        }
        Err(error) => {
            complain(&format!(
                "warning: {error}; this build has to log in to Amazon ECR by itself\n"
            ));
            None
        }
    }
}

fn prepare(
    loaded: Loaded,
    ready: Ready,
    started_at: Instant,
    wanted: Wanted,
    executor: &'static str,
) -> (Prepared, Sources) {
    let Loaded {
        request,
        sources,
        location,
        plan,
        warnings,
        source,
        ..
    } = loaded;
    let warnings = source
        .iter()
        .flat_map(|source| {
            warnings
                .iter()
                .map(move |warning| load::as_event(source, warning))
        })
        .collect();
    let prepared = Prepared {
        started: BuildStarted {
            build_id: build_id(&request),
            project: request.project.as_str().to_owned(),
            build_number: request.build_number,
            executor,
            runner_version: env!("CARGO_PKG_VERSION"),
        },
        sources: ready.arrived,
        own_sources: ready.own,
        was_fetching: ready.was_fetching,
        buildspec_location: location,
        plan: plan.map_err(|refusal| refusal.context),
        warnings,
        started_at,
        timeout: request.timeout,
        grace: request.grace,
        keep: wanted.keep,
        shell_on_failure: wanted.shell_on_failure,
        debugging: wanted.debugging,
        preflight: wanted.preflight,
        scan_artifacts: wanted.scan_artifacts,
    };
    (prepared, sources)
}

/// How long a complaint at the end may take: a terminal that was told to wait (Ctrl-S) takes neither log nor complaint.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A log that could not be written does not change how the build ended, but nobody may take it for a success (LOG-16).
async fn finish(code: ExitCode, failures: &[SinkFailure]) -> ExitCode {
    let mut text = String::new();
    for SinkFailure { sink, error } in failures {
        text.push_str(&format!("error: {sink} is incomplete: {error}\n"));
    }
    if !text.is_empty() {
        let telling = tokio::task::spawn_blocking(move || complain(&text));
        let _ = tokio::time::timeout(LAST_WORDS, telling).await;
    }
    if code == ExitCode::Succeeded && !failures.is_empty() {
        ExitCode::Fault
    } else {
        code
    }
}

fn store(identity: &Identity, loaded: &Loaded) -> Result<Store, String> {
    Ok(match &loaded.request.artifacts.location {
        ArtifactLocation::Directory(root) => Store::Directory(DirectoryStore::new(root.clone())),
        ArtifactLocation::S3 { bucket, .. } => Store::S3(Box::new(S3Store::new(S3Settings {
            bucket: bucket.clone(),
            encryption_key: loaded.request.artifacts.encryption_key.clone(),
            always_kms: false,
            is_ours_alone: false,
            aws: identity.aws.clone(),
            custom_endpoint: aws::has_custom_endpoint(),
            proxy: proxy::of_uploads(loaded)?,
        }))),
    })
}

/// Where artifacts come from; what this program itself writes there is none of them.
fn workspace(args: &RunArgs, loaded: &Loaded) -> Workspace {
    // The default place too, wherever these artifacts go: an earlier build may have left its own there.
    let default = loaded.sources.beside.join(DEFAULT_ARTIFACTS);
    let store = match &loaded.request.artifacts.location {
        ArtifactLocation::Directory(root) => Some(root.clone()),
        ArtifactLocation::S3 { .. } => None,
    };
    let files = [&args.log_file, &args.events, &args.exported]
        .into_iter()
        .flatten()
        .cloned();
    // Of what is made of reports, too: an earlier build's file is no report of this one.
    let reports = &loaded.request.reports.directory;
    let made = FILES.map(|name| machine::canonical(reports).join(name));
    Workspace {
        source_directory: loaded.request.source.directory.clone(),
        hidden: std::iter::once(default)
            .chain(store)
            .chain(cache::directory(&loaded.request))
            .chain(files)
            .chain(made)
            .map(|path: PathBuf| machine::canonical(&path))
            .collect(),
        mounts: Vec::new(),
    }
}

fn sinks(
    args: &RunArgs,
    buildspec: &str,
    changeable: &[PathBuf],
) -> Result<Vec<Box<dyn Sink>>, String> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    let console = |error: io::Error| format!("error: could not use standard output: {error}\n");
    match terminal::console_format(args.log_format, args.quiet) {
        ConsoleFormat::Pretty => {
            let place = match &args.request.container.image {
                Some(image) => format!("in {image}"),
                None => "on this host".to_owned(),
            };
            let style =
                terminal::pretty_style(args.request.color, args.quiet, buildspec.to_owned(), place);
            let stdout = Console::stdout().map_err(console)?;
            sinks.push(Box::new(Pretty::new(stdout, style)));
        }
        format => {
            let console =
                Console::new(format, buildspec.to_owned(), args.quiet).map_err(console)?;
            sinks.push(match args.request.job {
                // Nothing follows from output for an agent, which has it in the files.
                Some(_) => Box::new(WithoutOutput(console)),
                None => Box::new(console),
            });
        }
    }
    if let Some(path) = &args.log_file {
        sinks.push(Box::new(CodebuildLog::new(
            open(path, "log file", changeable)?,
            format!("the log file {}", path.display()),
        )));
    }
    if let Some(path) = &args.events {
        sinks.push(Box::new(JsonLines::new(
            open(path, "events file", changeable)?,
            format!("the events file {}", path.display()),
        )));
    }
    Ok(sinks)
}

fn open(path: &Path, what: &str, changeable: &[PathBuf]) -> Result<BufWriter<File>, String> {
    let file = machine::create(path, changeable).map_err(|error| {
        format!(
            "error: could not write the {what} {}: {error}\n{}",
            path.display(),
            machine::help(&error)
        )
    })?;
    Ok(BufWriter::with_capacity(16 * 1024, file))
}
