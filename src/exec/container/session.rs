//! The outside of the wall: a build's session in a container, seen from here.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::models::ContainerState;
use bollard::query_parameters::{KillContainerOptions, RenameContainerOptionsBuilder};
use tokio::io::WriteHalf;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::marker::Marker;
use super::put_back::Known;
use super::wire::{self, Answer, DirectoryFacts, Offers, Request, Streams, TunnelStream};
use super::{KEPT_NAME, Outside, leftovers, memory_of};
use crate::engine::Engine;
use crate::event::Exit;
use crate::exec::{
    Cancel, Command, CommandEnd, Environment, Error, Escalation, ExpandFailure, Output, Session,
    Terminal, Work,
};
use crate::ownership::OwnedDirectory;
use crate::view::Mount;

/// How long the session inside may take to end what was to be ended by force. After that the container is ended.
const AFTER_KILL: Duration = Duration::from_secs(8);

/// How long an engine may take to say what became of a container, or to remove it.
const ENGINE_LIMIT: Duration = Duration::from_secs(30);

/// How long an engine may take to remove a container where nobody believes that it will.
pub(super) const LAST_RESORT: Duration = Duration::from_secs(5);

/// Longest silence of an engine that is to pass something on, and of a session that has something else to do than to run
/// what a build wants: that says every few seconds that it is still at it ([`PULSE`]). As long as that of services over the
/// network, which may be between this program and the engine.
pub(super) const SILENCE: Duration = Duration::from_mins(1);

/// Time between two signs of life of a session that has a lot to do: several within any limit.
pub(super) const PULSE: Duration = Duration::from_secs(2);

/// What is kept of what this program in the container says when it breaks down, in bytes.
const MAX_LAST_WORDS: usize = 4096;

/// One build in a container.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "none of them follows from another"
)]
pub struct ContainerSession {
    pub(super) container: Container,
    /// Moves the bytes of the conversation and of tools, and hands on the streams that tools open.
    carrier: JoinHandle<()>,
    requests: WriteHalf<TunnelStream>,
    answers: mpsc::Receiver<(Answer, Vec<u8>)>,
    last_words: LastWords,
    grace: Duration,
    pub(super) source: SourcePlace,
    /// Whether nothing ran since files were given back to their owner, and brought back.
    pub(super) is_back: bool,
    /// What a person should know, and was not told yet.
    pub(super) notes: Vec<String>,
    /// Whether nothing of the sources is wanted any more.
    discarded: bool,
    keep: bool,
    kept: bool,
    closed: bool,
    /// How urgently the build is asked to end, as whoever ran something last told.
    pub(super) cancel: Cancel,
}

/// Where the sources are on both sides.
#[derive(Debug)]
pub(super) struct SourcePlace {
    /// The directories, that of the primary source first.
    pub(super) places: Vec<Mount>,
    /// Whether both sides are one. Else what is inside is a copy, and has to come back.
    pub(super) bound: bool,
    /// What is known of each of the copies; nothing where both sides are one.
    pub(super) known: Vec<Arc<Mutex<Known>>>,
    /// Whether that is to be seen by the session inside before it does anything.
    pub(super) to_be_seen: bool,
    /// Where the directory for files from elsewhere in the container is made.
    pub(super) temporary_directory: PathBuf,
    /// That directory, once there are such files.
    pub(super) elsewhere: Option<OwnedDirectory>,
}

/// A container that is this program's to remove.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) engine: Engine,
    pub(super) id: String,
    pub(super) image: String,
    /// The build's id.
    pub(super) build: String,
    /// Whether the container has a limit of memory.
    pub(super) limits_memory: bool,
    /// Whether the engine was silent for too long: it is asked for nothing any more but to remove the container.
    pub(super) silent: Arc<AtomicBool>,
    /// What says on this machine that there is the container.
    pub(super) marker: Option<Arc<Marker>>,
}

/// What this program in the container wrote to its standard error.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWords(Arc<Mutex<Vec<u8>>>);

impl LastWords {
    pub(super) fn add(&self, words: &[u8]) {
        if let Ok(mut kept) = self.0.lock() {
            let room = MAX_LAST_WORDS.saturating_sub(kept.len());
            kept.extend_from_slice(&words[..words.len().min(room)]);
        }
    }

    fn text(&self) -> String {
        let kept = self.0.lock().map(|kept| kept.clone()).unwrap_or_default();
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}

impl SourcePlace {
    /// What the directories are outside, where that is to be seen inside.
    fn seen(&self) -> Option<Vec<DirectoryFacts>> {
        let places = self.places.iter().filter(|_| self.to_be_seen);
        let seen: Option<Vec<DirectoryFacts>> = places
            .map(|place| DirectoryFacts::of(&place.outside))
            .collect();
        seen.filter(|seen| !seen.is_empty())
    }

    fn clear(&mut self) {
        if let Some(elsewhere) = self.elsewhere.take() {
            let _ = std::fs::remove_dir_all(elsewhere.path());
        }
    }
}

impl Container {
    /// Removes the container with all that is in it. An engine that was silent already is not waited for long.
    pub(super) async fn remove(&self) -> Result<(), crate::engine::Error> {
        let removed = leftovers::remove(&self.engine, &self.id);
        let removed = if self.is_silent() {
            timeout(LAST_RESORT, removed)
                .await
                .unwrap_or_else(|_| Err(no_answer("remove the build's container")))
        } else {
            removed.await
        };
        removed.map(|()| self.settle())
    }

    /// No sweep has to look for it any more.
    pub(super) fn settle(&self) {
        if let Some(marker) = &self.marker {
            marker.settle();
        }
    }

    /// The same for whoever cannot wait as one waits elsewhere, such as something that is dropped.
    pub(super) fn remove_at_once(&self) {
        let container = self.clone();
        // No runtime can be waited for in here; this one is of its own, and ends.
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                let limit = LAST_RESORT;
                let _ = runtime.block_on(async { timeout(limit, container.remove()).await });
            }
        });
        let _ = removing.join();
    }

    /// Its id as people are shown it.
    fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    pub(super) fn fall_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// Gives the container the name of one that is kept: from then on no sweep takes it for abandoned.
    async fn mark_kept(&self) -> bool {
        let uuid = self.build.rsplit(':').next().unwrap_or_default();
        let name = format!("{KEPT_NAME}{uuid}");
        let options = RenameContainerOptionsBuilder::default().name(&name).build();
        let renamed = self.engine.api().rename_container(&self.id, options);
        let is_kept = matches!(timeout(ENGINE_LIMIT, renamed).await, Ok(Ok(())));
        if is_kept {
            self.settle();
        }
        is_kept
    }

    async fn kill(&self) {
        let killed = self
            .engine
            .api()
            .kill_container(&self.id, None::<KillContainerOptions>);
        if timeout(LAST_RESORT, killed).await.is_err() {
            // It passed nothing on before, and now it does nothing: nobody waits for more of the same (CTR-14).
            self.fall_silent();
        }
    }

    /// Its state, after its processes have begun to end: the engine notices the last of them a moment later.
    pub(super) async fn settled(&self) -> Result<ContainerState, crate::engine::Error> {
        let mut state = self.look().await?;
        for _ in 0..LOOKS {
            if state
                .as_ref()
                .is_some_and(|state| state.running != Some(true))
            {
                break;
            }
            sleep(BETWEEN_LOOKS).await;
            state = self.look().await?;
        }
        Ok(state.unwrap_or_default())
    }

    /// Its state; `None` where the engine says one that is not of Docker's API: Podman does, of a container that has ended and
    /// was not cleared up yet.
    async fn look(&self) -> Result<Option<ContainerState>, crate::engine::Error> {
        let doing = "look at the build's container";
        let inspected = self.engine.api().inspect_container(
            &self.id,
            None::<bollard::query_parameters::InspectContainerOptions>,
        );
        match timeout(ENGINE_LIMIT, inspected).await {
            Ok(Ok(found)) => Ok(Some(found.state.unwrap_or_default())),
            Ok(Err(bollard::errors::Error::JsonDataError { .. })) => Ok(None),
            Ok(Err(error)) => Err(crate::engine::Error::api(doing, error)),
            Err(_) => Err(no_answer(doing)),
        }
    }
}

impl ContainerSession {
    /// Opens the build's session; `None` if the engine mounted another directory than the source.
    pub(super) async fn start(
        container: Container,
        mut streams: Streams,
        last_words: LastWords,
        environment: Environment,
        source: SourcePlace,
        owner: (u32, u32),
        outside: Option<Outside>,
    ) -> Result<Option<Self>, Error> {
        let Some(conversation) = streams.opener().open().await else {
            return Err(found_dead(&container, &last_words).await);
        };
        let offers = outside.as_ref().map(|outside| outside.offers);
        let offers = offers.unwrap_or_default();
        let streams_out = outside.map(|outside| outside.streams);
        let (answers, requests) = tokio::io::split(conversation);
        let (heard, next) = mpsc::channel(4);
        tokio::spawn(listen(answers, heard));
        let mut session = Self {
            container,
            carrier: tokio::spawn(async move {
                while let Some(stream) = streams.accept().await {
                    match &streams_out {
                        // Where too many are served already the others wait. If nobody is there, it is seen as closed.
                        Some(streams) => drop(streams.send(stream).await),
                        None => drop(stream),
                    }
                }
            }),
            requests,
            answers: next,
            last_words,
            grace: environment.grace,
            source,
            is_back: false,
            discarded: false,
            notes: Vec::new(),
            keep: false,
            kept: false,
            closed: false,
            cancel: tokio::sync::watch::channel(Escalation::None).1,
        };
        let opened = session.open(&environment, owner, offers).await;
        if let Ok(true) = opened {
            return Ok(Some(session));
        }
        // Whoever made the container has to look at it before it goes.
        session.closed = true;
        opened.map(|_| None)
    }

    /// Makes the session inside ready. False if its source directory is not the one outside, though it should be.
    async fn open(
        &mut self,
        environment: &Environment,
        owner: (u32, u32),
        offers: Offers,
    ) -> Result<bool, Error> {
        let variables: Vec<OsString> = environment.variables.iter().map(wire::assignment).collect();
        let variables = wire::join(variables.iter().map(OsString::as_os_str));
        for _ in 0..LOOKS {
            let same = self.source.seen();
            let request = Request::Open {
                source_directory: environment.source_directory.clone(),
                secondary_directories: environment.secondary_directories.clone(),
                shell: environment.shell.name().to_owned(),
                version: environment.version.as_str().to_owned(),
                grace_milliseconds: u64::try_from(environment.grace.as_millis())
                    .unwrap_or(u64::MAX),
                owner,
                copied: !self.source.bound,
                offers,
                same: same.clone(),
            };
            match self.ask(&request, &variables).await? {
                (Answer::Opened, _) => {
                    self.look_at_copies().await?;
                    return Ok(true);
                }
                // Somebody changed it meanwhile: what was compared was older than what was found.
                (Answer::Elsewhere, _) if self.source.seen() != same => {}
                (Answer::Elsewhere, _) => return Ok(false),
                (other, _) => return Err(self.unexpected(other)),
            }
        }
        // Nobody can tell.
        Ok(false)
    }

    /// Asks something that writes no output and is not stopped, but may not be silent either.
    pub(super) async fn ask(
        &mut self,
        request: &Request,
        tail: &[u8],
    ) -> Result<(Answer, Vec<u8>), Error> {
        let (output, mut nowhere) = mpsc::channel(1);
        tokio::spawn(async move { while nowhere.recv().await.is_some() {} });
        self.ask_aloud(request, tail, &output).await
    }

    /// Asks something that is not stopped, but may not be silent either.
    pub(super) async fn ask_aloud(
        &mut self,
        request: &Request,
        tail: &[u8],
        output: &Output,
    ) -> Result<(Answer, Vec<u8>), Error> {
        let mut never = tokio::sync::watch::channel(Escalation::None).1;
        let limit = Some(self.cancel.clone());
        self.exchange(request, tail, output, &mut never, limit)
            .await
    }

    /// Asks, passes output on until the answer comes, and carries on whatever is to be ended meanwhile. What is not said to
    /// be `hurried` may be silent: commands have the build's time limit.
    async fn exchange(
        &mut self,
        request: &Request,
        tail: &[u8],
        output: &Output,
        cancel: &mut Cancel,
        mut hurried: Option<Cancel>,
    ) -> Result<(Answer, Vec<u8>), Error> {
        if self.container.is_silent() {
            return Err(silent());
        }
        match timeout(SILENCE, wire::send(&mut self.requests, request, tail)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.found_dead().await),
            Err(_) => {
                self.container.fall_silent();
                return Err(silent());
            }
        }
        let mut chunk: Option<Vec<u8>> = None;
        let mut asked = Escalation::None;
        let mut patience_over: Option<Instant> = None;
        loop {
            let wanted = *cancel.borrow_and_update();
            if wanted > asked {
                asked = wanted;
                let urgency = Request::Escalate(wire::urgency(asked));
                let _ = wire::send(&mut self.requests, &urgency, &[]).await;
                if asked == Escalation::Kill {
                    patience_over = Instant::now().checked_add(AFTER_KILL);
                }
            }
            tokio::select! {
                Ok(()) = cancel.changed() => {}
                permit = output.reserve(), if chunk.is_some() => {
                    if let (Ok(permit), Some(chunk)) = (permit, chunk.take()) {
                        permit.send(chunk);
                    }
                }
                answer = self.answers.recv(), if chunk.is_none() => match answer {
                    Some((Answer::Output, bytes)) => chunk = Some(bytes),
                    Some((Answer::Failed(error), _)) => {
                        return Err(error.into_error(&self.container.image));
                    }
                    Some(answer) => return Ok(answer),
                    None => return Err(self.found_dead().await),
                },
                () = maybe_silence(&mut hurried), if chunk.is_none() => {
                    self.container.fall_silent();
                    return Err(silent());
                }
                () = sleep_until(patience_over.unwrap_or_else(Instant::now)), if patience_over.is_some() => {
                    self.container.kill().await;
                    return Err(Error::InContainer {
                        message: "the container did not end the command, and was ended itself".to_owned(),
                    });
                }
            }
        }
    }

    /// What to say where the source did not come back.
    fn not_back(&self, why: &str) -> String {
        let id = self.container.short_id();
        let what = if self.kept {
            format!(
                "what the build made is in its container {id}, which is kept: `docker cp` gets it out"
            )
        } else {
            "what the build made is lost".to_owned()
        };
        format!("not all of the source was copied back: {why}; {what}")
    }

    async fn found_dead(&self) -> Error {
        found_dead(&self.container, &self.last_words).await
    }

    pub(super) fn unexpected(&self, answer: Answer) -> Error {
        match answer {
            Answer::Failed(error) => error.into_error(&self.container.image),
            other => Error::InContainer {
                message: format!(
                    "the session in the container gave an answer to something else: {other:?}"
                ),
            },
        }
    }
}

/// Where this program finds a directory of the container.
pub(super) fn mount(inside: &Path, outside: &Path) -> Result<Mount, Error> {
    let outside = outside.canonicalize().map_err(|source| Error::System {
        doing: "find the files of the container",
        source,
    })?;
    Ok(Mount {
        inside: inside.to_owned(),
        outside,
    })
}

/// Sends what is asked of a worker, and what goes in, until that ends, is enough, or the work is to end.
async fn feed(
    requests: &mut WriteHalf<TunnelStream>,
    job: &[u8],
    mut input: mpsc::Receiver<Vec<u8>>,
    enough: &Notify,
    cancel: &mut Cancel,
) -> std::io::Result<()> {
    wire::send(requests, &Request::Work, job).await?;
    loop {
        tokio::select! {
            chunk = input.recv() => match chunk {
                Some(chunk) => wire::send(requests, &Request::Body, &chunk).await?,
                None => break,
            },
            () = enough.notified() => break,
            Ok(asked) = cancel.wait_for(|asked| *asked > Escalation::None) => {
                let urgency = Request::Escalate(wire::urgency(*asked));
                wire::send(requests, &urgency, &[]).await?;
                break;
            }
        }
    }
    wire::send(requests, &Request::BodyEnd, &[]).await
}

/// Ends when an engine has been silent for too long; after the build was to be ended by force, that is soon.
pub(super) async fn silence(cancel: &mut Cancel) {
    let hurried = async {
        match cancel.wait_for(|asked| *asked == Escalation::Kill).await {
            Ok(_) => {}
            // Nobody is there to hurry anybody.
            Err(_) => std::future::pending().await,
        }
        sleep(AFTER_KILL).await;
    };
    let _ = timeout(SILENCE, hurried).await;
}

/// [`silence`], where there is a limit.
async fn maybe_silence(hurried: &mut Option<Cancel>) {
    match hurried {
        Some(cancel) => silence(cancel).await,
        None => std::future::pending().await,
    }
}

fn no_answer(doing: &str) -> crate::engine::Error {
    crate::engine::Error::Connection {
        doing: doing.to_owned(),
        reason: "the engine did not answer in time".to_owned(),
    }
}

fn silent() -> Error {
    let why = "the container engine is connected and passes nothing on any more";
    let help = "see whether it answers, with `docker version` and `docker ps`; it may have to be started again, and `runner prune` removes what is left of the build";
    dead(why, Some(help.to_owned()))
}

/// Hands on every answer until the connection ends.
async fn listen(
    mut answers: tokio::io::ReadHalf<TunnelStream>,
    heard: mpsc::Sender<(Answer, Vec<u8>)>,
) {
    while let Ok(Some(answer)) = wire::receive(&mut answers).await {
        if heard.send(answer).await.is_err() {
            return;
        }
    }
}

/// Time between two of them.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// How often it is asked whether a container has ended whose session has, before that is taken for an end of its own.
const LOOKS: u32 = 50;

/// Why the session inside is gone.
pub(super) async fn found_dead(container: &Container, last_words: &LastWords) -> Error {
    let state = match container.settled().await {
        Ok(state) => state,
        Err(error) if error.status() == Some(404) => {
            return dead("somebody removed the container while the build ran", None);
        }
        Err(error) => {
            let why = format!("the container engine cannot be reached any more: {error}");
            return dead(&why, None);
        }
    };
    let said = last_words.text();
    if state.oom_killed == Some(true) {
        let (whose, help) = memory_of(container.limits_memory);
        return dead(&format!("{whose} ran out of memory"), Some(help.to_owned()));
    }
    if state.running == Some(true) {
        let why = if said.is_empty() {
            "runner's own process in the container was ended".to_owned()
        } else {
            format!("runner's own process in the container broke down: {said}")
        };
        // Engines tell of the container's first process only: nobody knows who ended this one.
        let (whose, help) = memory_of(container.limits_memory);
        let help = format!("unless somebody ended it, {whose} may have run out of memory: {help}");
        return dead(&why, said.is_empty().then_some(help));
    }
    let why = match state.exit_code {
        Some(137) => "it was killed".to_owned(),
        Some(exit) => format!("it ended with status {exit}"),
        None => "it ended".to_owned(),
    };
    dead(&why, None)
}

fn dead(why: &str, help: Option<String>) -> Error {
    Error::FoundDead {
        reason: why.to_owned(),
        help,
    }
}

impl Session for ContainerSession {
    async fn run(
        &mut self,
        command: Command<'_>,
        output: &Output,
        cancel: &mut Cancel,
    ) -> Result<CommandEnd, Error> {
        self.is_back = false;
        self.cancel = cancel.clone();
        let request = Request::Run {
            succeeding: command.succeeding,
            user: command.user.map(str::to_owned),
        };
        let answer = self
            .exchange(&request, command.text.as_bytes(), output, cancel, None)
            .await?;
        match answer.0 {
            Answer::Ended {
                exit,
                leaked,
                notes,
            } => Ok(CommandEnd {
                exit: exit.into(),
                leaked,
                notes,
            }),
            other => Err(self.unexpected(other)),
        }
    }

    async fn read_file(&mut self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let request = Request::Read {
            path: path.to_owned(),
            limit,
        };
        match self.ask(&request, &[]).await? {
            (Answer::Content, content) => Ok(Some(content)),
            (Answer::NoFile, _) => Ok(None),
            (other, _) => Err(self.unexpected(other)),
        }
    }

    async fn expand(
        &mut self,
        texts: &[&str],
        output: &Output,
        cancel: &mut Cancel,
    ) -> Result<Result<Vec<OsString>, ExpandFailure>, Error> {
        let tail = wire::join(texts.iter().map(OsStr::new));
        match self
            .exchange(&Request::Expand, &tail, output, cancel, None)
            .await?
        {
            (Answer::Expanded, texts) => Ok(Ok(wire::split(&texts))),
            (Answer::NotExpanded { index, exit }, _) => Ok(Err(ExpandFailure {
                index,
                exit: Exit::from(exit),
            })),
            (other, _) => Err(self.unexpected(other)),
        }
    }

    async fn mentions(&mut self, name: &str) -> bool {
        let request = Request::Mentions {
            name: name.to_owned(),
        };
        // It errs on the side of yes.
        !matches!(
            self.ask(&request, &[]).await,
            Ok((Answer::Mentioned(false), _))
        )
    }

    async fn bring(&mut self, starts: &[PathBuf]) -> Result<Vec<Mount>, Error> {
        self.bring_source_back().await?;
        let mut mounts = self.source_mounts().await?;
        for start in starts {
            let is_here = |place: &Mount| start.starts_with(&place.inside);
            if !self.source.places.iter().any(is_here) {
                self.bring_elsewhere(start).await?;
            }
        }
        if let Some(elsewhere) = &self.source.elsewhere {
            mounts.push(mount(Path::new("/"), elsewhere.path())?);
        }
        Ok(mounts)
    }

    async fn work(&mut self, work: Work, cancel: &mut Cancel) -> Result<Vec<u8>, Error> {
        if self.container.is_silent() {
            return Err(silent());
        }
        self.is_back = false;
        self.cancel = cancel.clone();
        let Work {
            job, input, output, ..
        } = work;
        let mut hurried = cancel.clone();
        let answer = {
            let enough = Notify::new();
            let sending = feed(&mut self.requests, &job, input, &enough, cancel);
            tokio::pin!(sending);
            let mut sent = false;
            loop {
                tokio::select! {
                    answer = self.answers.recv() => match answer {
                        // A sign of life.
                        Some((Answer::Output, bytes)) if bytes.is_empty() => {}
                        // Whoever takes it knows why it takes no more.
                        Some((Answer::Output, bytes)) => drop(output.send(bytes).await),
                        answer => {
                            if !sent {
                                enough.notify_one();
                                let _ = timeout(SILENCE, &mut sending).await;
                            }
                            break answer;
                        }
                    },
                    // What could not be sent, the end of the answers tells.
                    _ = &mut sending, if !sent => sent = true,
                    () = silence(&mut hurried) => {
                        self.container.fall_silent();
                        return Err(silent());
                    }
                }
            }
        };
        match answer {
            Some((Answer::Worked, answer)) => Ok(answer),
            Some((other, _)) => Err(self.unexpected(other)),
            None => Err(self.found_dead().await),
        }
    }

    async fn drain_background(&mut self, output: &Output) {
        let _ = self.ask_aloud(&Request::Drain, &[], output).await;
    }

    async fn enter(&mut self, terminal: &Terminal, cancel: &mut Cancel) -> Result<Exit, Error> {
        self.cancel = cancel.clone();
        match self.ask(&Request::SaveState, &[]).await? {
            (Answer::Done, _) => {}
            (other, _) => return Err(self.unexpected(other)),
        }
        let Container { engine, id, .. } = &self.container;
        super::enter(engine, id, terminal, cancel).await
    }

    fn keep(&mut self) {
        self.keep = true;
    }

    fn discard(&mut self) -> bool {
        self.discarded = !self.source.bound;
        self.discarded
    }

    fn is_kept(&self) -> bool {
        self.kept
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    async fn close(&mut self, output: &Output, cancel: &mut Cancel) -> usize {
        if self.closed {
            return 0;
        }
        self.cancel = cancel.clone();
        let limit = self.grace.saturating_add(AFTER_KILL).min(ENGINE_LIMIT);
        // A container whose source does not come back is entered where it can be, so its session stays as well.
        let comes_back = !self.source.bound && !self.discarded;
        let may_stay = self.keep || comes_back;
        let request = Request::Close { keep: may_stay };
        let answer = timeout(limit, self.exchange(&request, &[], output, cancel, None));
        let (ended, is_sound) = match answer.await {
            Ok(Ok((Answer::Closed(ended), _))) => (ended, true),
            _ => (0, false),
        };
        // What was ended may have written until then.
        self.is_back &= ended == 0;
        // Also after a failure or a stop. Mounted files were given back by the session inside.
        let lost = if !comes_back || self.is_back {
            None
        } else if self.container.is_silent() {
            Some("the engine does not answer any more".to_owned())
        } else {
            let back = self.bring_source_back().await;
            back.err().map(|error| crate::engine::chain(&error))
        };
        // A container whose session is gone cannot be entered.
        let is_wanted = (self.keep && is_sound) || lost.is_some();
        self.kept = is_wanted && self.container.mark_kept().await;
        if let Some(why) = lost {
            self.notes.push(self.not_back(&why));
        }
        if !self.kept
            && let Err(error) = self.container.remove().await
        {
            let id = self.container.short_id();
            self.notes.push(format!(
                "the build's container {id} is left: {error}; `runner prune` removes it"
            ));
        }
        self.source.clear();
        self.closed = true;
        ended
    }
}

impl Drop for ContainerSession {
    /// The last resort, where a build ends without [`Session::close`]: a panic, or a third signal.
    fn drop(&mut self) {
        self.carrier.abort();
        if self.closed {
            return;
        }
        self.source.clear();
        self.container.remove_at_once();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;
    use crate::engine::Endpoint;

    /// An engine that says which one it is, and then nothing to anybody.
    async fn frozen_engine(listener: UnixListener) {
        let mut held = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = client.read(&mut request).await.unwrap_or(0);
            if String::from_utf8_lossy(&request[..read]).contains("/version") {
                let body = r#"{"ApiVersion":"1.47","Version":"0"}"#;
                let begin =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                let answer = format!("{begin}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = client.write_all(answer.as_bytes()).await;
            } else {
                held.push(client);
            }
        }
    }

    /// CTR-14
    #[tokio::test]
    async fn an_engine_that_does_not_even_kill_is_not_waited_for_again() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("engine.sock");
        tokio::spawn(frozen_engine(UnixListener::bind(&socket).unwrap()));
        let engine = Engine::connect(Endpoint::Unix(socket)).await.unwrap();
        let container = Container {
            engine,
            id: "0".to_owned(),
            image: "image".to_owned(),
            build: "project:0".to_owned(),
            limits_memory: false,
            silent: Arc::default(),
            marker: None,
        };
        assert!(!container.is_silent());
        container.kill().await;
        assert!(container.is_silent());
    }
}
