//! The end that has the engine, the credentials and the network.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OnceCell, mpsc};

use super::docker::Own;
use super::mask::{self, Masks};
use super::request::{DockerRequest, Operation, Request};
use super::wire::{self, Frame};
use super::{aws, docker};
use crate::engine::{Endpoint, Engine, Error};
use crate::git_credential;
use crate::registry::ecr::Registry;
use crate::registry::reference::ReferenceError;
use crate::registry::{self, Credential, Credentials, RegistryAuth, Settings, TransferError};

/// How long a front may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// How long the engine may take for one piece of a body. A front that went away is not noticed before the end of that.
const BODY_LIMIT: Duration = Duration::from_mins(10);

/// Shortest token of a registry, in bytes; those of Amazon ECR have two thousand and more.
const SHORTEST_TOKEN: usize = 16;

/// Frames that wait for the line.
const WAITING: usize = 8;

/// What commands are done with.
#[derive(Debug)]
pub struct Backend {
    endpoint: Endpoint,
    /// Made at the first use, by whoever needs it first.
    engine: Arc<OnceCell<Engine>>,
    logins: Logins,
    /// What a build in a container has of the engine, which is what it made; without it, there is no limit.
    own: Option<Mutex<Own>>,
    settings: Settings,
    /// Made at the first use.
    credentials: OnceLock<Credentials>,
    masks: Option<Masks>,
    git: Option<Arc<git_credential::Keeper>>,
}

/// Where credentials are kept that a build logs in with.
#[derive(Debug)]
pub enum Logins {
    /// Nowhere but here, by the address of the registry: one backend serves the whole build.
    Memory(Mutex<BTreeMap<String, Credential>>),
    /// Where Docker's configuration says, which is that of the build or the user's own: each command is a process.
    Configuration,
}

/// A command that failed: how it exits, and what it says.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) message: String,
}

impl Failure {
    /// One without a code of its own.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            code: 1,
            message: message.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        Self::new(match &error.remedy {
            Some(remedy) => format!("{error}\nhelp: {remedy}"),
            None => error.to_string(),
        })
    }
}

impl From<registry::Error> for Failure {
    fn from(error: registry::Error) -> Self {
        Self::new(error.with_help())
    }
}

impl Backend {
    /// A backend for the engine at this place; `settings` say which other credentials there are. Nothing is contacted yet,
    /// and no file is read.
    ///
    /// One that serves a whole build ([`Logins::Memory`]) gives it only those images of the engine that the build itself
    /// built, pulled, loaded or tagged (TOOL-13), unless [`Backend::with_whole_engine`] lifts that.
    #[must_use]
    pub fn new(endpoint: Endpoint, logins: Logins, settings: Settings) -> Self {
        let is_of_a_build = matches!(logins, Logins::Memory(_));
        Self {
            endpoint,
            engine: Arc::default(),
            logins,
            own: is_of_a_build.then(Mutex::default),
            settings,
            credentials: OnceLock::new(),
            masks: None,
            git: None,
        }
    }

    /// The same with a connection that others use and make too: an engine is asked once which one it is (IMG-34).
    #[must_use]
    pub fn with_connection(self, engine: Arc<OnceCell<Engine>>) -> Self {
        Self { engine, ..self }
    }

    /// The same, which answers git too.
    #[must_use]
    pub fn with_git(self, git: Option<Arc<git_credential::Keeper>>) -> Self {
        Self { git, ..self }
    }

    /// The same for a build that hides what its commands ask for, and the tokens and passwords that go through here.
    #[must_use]
    pub fn with_masks(self, masks: Masks) -> Self {
        Self {
            masks: Some(masks),
            ..self
        }
    }

    /// Has the build hide what a command is given or gives (LOG-25).
    fn hide(&self, secret: &str) {
        if let Some(masks) = &self.masks {
            masks.hide_password(secret);
        }
    }

    /// The same for a build that has the whole engine anyway, such as by its socket.
    #[must_use]
    pub fn with_whole_engine(self) -> Self {
        Self { own: None, ..self }
    }

    /// The images of the build, where it has no others.
    pub(super) fn own(&self) -> Option<MutexGuard<'_, Own>> {
        self.own.as_ref().map(locked)
    }

    /// The engine.
    pub(super) async fn engine(&self) -> Result<&Engine, Error> {
        self.engine
            .get_or_try_init(|| Engine::connect(self.endpoint.clone()))
            .await
    }

    /// How AWS is reached where a command says nothing else.
    pub(super) const fn aws(&self) -> &crate::aws::Settings {
        &self.settings.aws
    }

    /// Why a profile that a command names is not there for it. A build in a container has that of its runner and no other
    /// of the user's: no file with profiles is in there (TOOL-14).
    pub(super) fn without_profile(&self, profile: &str) -> Option<&'static str> {
        let variable = |name: &str| self.settings.variable(name);
        match &self.logins {
            Logins::Configuration => {
                let known = profile == "default" || crate::aws::has_profile(profile, variable);
                (!known).then_some("check AWS_PROFILE or `--profile`, and the profiles in ~/.aws/config and ~/.aws/credentials")
            }
            // The role is all there is: a profile is what it was taken on with (CRED-11).
            Logins::Memory(_) if self.settings.aws.provider.is_some() => {
                Some("this build has the role that runner was given, and no profile")
            }
            Logins::Memory(_) => {
                let said = self.settings.aws.profile.clone();
                let own = said.or_else(|| variable("AWS_PROFILE")?.into_string().ok());
                let is_own = own.as_deref().unwrap_or("default") == profile;
                let known = is_own && self.settings.aws.missing_profile.is_none();
                (!known).then_some("a build in a container has the profile that runner itself was given, and no other")
            }
        }
    }

    fn registry(&self) -> &Credentials {
        self.credentials
            .get_or_init(|| Credentials::new(self.settings.clone()))
    }

    /// What a registry is spoken to with: what the build logged in with, a token if it is Amazon ECR's, what the user's own
    /// configuration has, else nothing.
    pub(super) async fn credentials(&self, server: &str) -> Result<Option<RegistryAuth>, Failure> {
        let found = self.credential(server).await?;
        Ok(found.map(RegistryAuth::from))
    }

    /// What it is spoken to with after it has refused that, if there is anything (REG-21).
    pub(super) async fn renewed(
        &self,
        server: &str,
        refused: Option<&RegistryAuth>,
        error: &TransferError,
    ) -> Option<RegistryAuth> {
        self.registry().renewed(server, refused, error).await
    }

    /// The same, as it is known.
    async fn credential(&self, server: &str) -> Result<Option<Credential>, Failure> {
        Ok(match &self.logins {
            Logins::Configuration => self.registry().as_docker(server).await?,
            Logins::Memory(logins) => {
                let found = locked(logins).get(server).cloned();
                match found {
                    None => self.registry().for_registry(server).await?,
                    found => found,
                }
            }
        })
    }

    /// What our credential helper gives to commands of the build. Into a container goes what the build itself logged in with
    /// and tokens of ECR, which do not last; the user's own passwords stay outside, where [`Backend::credentials`] uses them
    /// (TOOL-15).
    async fn given_out(&self, server: &str) -> Result<Option<Credential>, Failure> {
        let is_given = match &self.logins {
            Logins::Configuration => true,
            Logins::Memory(logins) => {
                Registry::parse(server).is_some() || locked(logins).contains_key(server)
            }
        };
        if is_given {
            self.credential(server).await
        } else {
            Ok(None)
        }
    }

    /// The registries that the build has logged in to, by their addresses.
    pub(super) async fn logins(&self) -> Result<Vec<String>, Failure> {
        Ok(match &self.logins {
            Logins::Memory(logins) => locked(logins).keys().cloned().collect(),
            Logins::Configuration => self.registry().logins().await?,
        })
    }

    /// Keeps a login for the build.
    pub(super) async fn log_in(&self, credential: Credential) -> Result<(), Failure> {
        match &self.logins {
            Logins::Memory(logins) => {
                locked(logins).insert(credential.server.clone(), credential);
            }
            Logins::Configuration => self.registry().log_in(credential).await?,
        }
        Ok(())
    }

    /// Forgets a login. Says whether there was one.
    pub(super) async fn log_out(&self, server: &str) -> Result<bool, Failure> {
        Ok(match &self.logins {
            Logins::Memory(logins) => locked(logins).remove(server).is_some(),
            Logins::Configuration => self.registry().log_out(server).await?,
        })
    }
}

impl Logins {
    /// None yet, and none to be kept longer than this value.
    #[must_use]
    pub const fn in_memory() -> Self {
        Self::Memory(Mutex::new(BTreeMap::new()))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way back to the front.
#[derive(Debug)]
pub(super) struct Out {
    frames: mpsc::Sender<Frame>,
}

impl Out {
    /// Writes to the command's standard output.
    pub(super) async fn stdout(&self, text: impl Into<Bytes>) -> Result<(), Failure> {
        let text: Bytes = text.into();
        for start in (0..text.len()).step_by(wire::CHUNK) {
            let end = text.len().min(start + wire::CHUNK);
            self.send(Frame::Stdout(text.slice(start..end))).await?;
        }
        Ok(())
    }

    /// Writes to the command's standard error.
    pub(super) async fn stderr(&self, text: impl Into<Bytes>) -> Result<(), Failure> {
        self.send(Frame::Stderr(text.into())).await
    }

    async fn send(&self, frame: Frame) -> Result<(), Failure> {
        self.frames
            .send(frame)
            .await
            .map_err(|_| Failure::new("the command is gone"))
    }
}

/// What the front sends along.
#[derive(Debug)]
pub(super) struct Body {
    /// `None` is its end; a channel that closes without it is a front that went away.
    pieces: mpsc::Receiver<Option<Bytes>>,
}

impl Body {
    /// The pieces. Where the front went away in the middle the stream does not end: half a body must not look like a
    /// whole one, and whoever waits here is dropped (see [`serve`]).
    pub(super) fn into_stream(self) -> impl Stream<Item = Bytes> + Send + 'static {
        futures_util::stream::unfold(self.pieces, |mut pieces| async move {
            match pieces.recv().await {
                Some(Some(piece)) => Some((piece, pieces)),
                Some(None) => None,
                None => std::future::pending().await,
            }
        })
    }
}

/// Serves one command: takes its request from the stream, and answers until its exit code is sent or its front is gone.
pub async fn serve<S>(stream: S, backend: &Backend) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut from_front, mut to_front) = tokio::io::split(stream);
    let first = tokio::time::timeout(REQUEST_LIMIT, wire::read(&mut from_front)).await;
    let json = match first.map_err(|_| io::ErrorKind::TimedOut)?? {
        Some(Frame::Request(json)) => json,
        // A command that needs nothing of us, such as `--version`.
        None => return Ok(()),
        Some(_) => return Err(io::ErrorKind::InvalidData.into()),
    };
    let (frames, mut outgoing) = mpsc::channel(WAITING);
    let (pieces, body) = mpsc::channel(WAITING);
    let body = Body { pieces: body };
    let answering = async move {
        let out = Out { frames };
        let code = Box::pin(answer(&json, body, backend, &out)).await;
        let _ = out.send(Frame::Exit(code)).await;
        Ok::<(), io::Error>(())
    };
    let writing = async {
        while let Some(frame) = outgoing.recv().await {
            wire::write(&mut to_front, frame).await?;
        }
        Ok(())
    };
    let listening = async {
        // Whatever ends it, nobody is there any more.
        let _ = listen(&mut from_front, &pieces).await;
    };
    tokio::select! {
        done = async { tokio::try_join!(answering, writing) } => done.map(|_| ()),
        () = listening => Ok(()),
    }
}

/// Passes the body on. Returns only when the front is gone.
async fn listen(
    from_front: &mut (impl AsyncRead + Unpin),
    pieces: &mpsc::Sender<Option<Bytes>>,
) -> io::Result<()> {
    while let Some(frame) = wire::read(from_front).await? {
        let piece = match frame {
            Frame::Body(piece) => Some(piece),
            Frame::BodyEnd => None,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        // A body that nobody wants any more is read to its end and dropped.
        let _ = tokio::time::timeout(BODY_LIMIT, pieces.send(piece))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?;
    }
    Ok(())
}

/// What is secret in what `aws ecr get-login-password` and `get-login` print: no other word of theirs is so long.
fn passwords(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
        .filter(|word| word.len() >= SHORTEST_TOKEN && !word.starts_with("https://"))
}

async fn answer(json: &[u8], body: Body, backend: &Backend, out: &Out) -> u8 {
    let (name, done) = match serde_json::from_slice(json) {
        Err(_) => (
            "runner",
            Err(Failure::new(
                "this command is not of the version of runner that runs the build",
            )),
        ),
        Ok(Request::Mask { value }) => {
            let hidden = mask::hide(&value, backend.masks.as_ref());
            ("runner", hidden.map(|()| 0).map_err(Failure::new))
        }
        Ok(Request::Git { question }) => {
            let answered = match &backend.git {
                Some(keeper) => keeper.answer(&question).await,
                None => Ok(String::new()),
            };
            let done = match answered {
                Ok(lines) => out.stdout(lines).await.map(|()| 0),
                // Our helper says whose words these are.
                Err(why) => out.stderr(why).await.map(|()| 1),
            };
            ("git-credential-runner", done)
        }
        Ok(Request::Aws(request)) => {
            let gives_passwords = !matches!(request.operation, Operation::Identity { .. });
            let text = aws::answer(request, backend).await;
            if let (Ok(text), true) = (&text, gives_passwords) {
                for password in passwords(text) {
                    backend.hide(password);
                }
            }
            let done = match text {
                Ok(text) => out.stdout(text).await.map(|()| 0),
                Err(failure) => Err(failure),
            };
            ("aws", done)
        }
        Ok(Request::Credential { server }) => {
            let done = match backend.given_out(&server).await {
                Ok(Some(found)) => {
                    backend.hide(found.secret.reveal());
                    out.stdout(found.to_json()).await.map(|()| 0)
                }
                Ok(None) => Ok(0),
                Err(failure) => Err(failure),
            };
            ("docker-credential-runner", done)
        }
        Ok(Request::Docker(request)) => {
            if let DockerRequest::Login { password, .. } = &request {
                backend.hide(&password.0);
            }
            ("docker", docker::answer(request, body, backend, out).await)
        }
    };
    match done {
        Ok(code) => code,
        Err(Failure { code, message }) => {
            let _ = out.stderr(format!("{name}: {message}\n")).await;
            code
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::registry::Secret;
    use crate::registry::isolated::Isolated;

    fn login(password: &str) -> Credential {
        Credential {
            server: "a:1".to_owned(),
            username: "me".to_owned(),
            secret: Secret::new(password),
        }
    }

    fn backend(logins: Logins, settings: Settings) -> Backend {
        let nowhere = Endpoint::Unix("/nowhere/engine.sock".into());
        Backend::new(nowhere, logins, settings)
    }

    fn settings(config: &Path) -> Settings {
        let variables = vec![("DOCKER_CONFIG".into(), config.into())];
        Settings::new(variables, crate::aws::Settings::default())
    }

    // TOOL-9
    #[tokio::test]
    async fn logins_are_kept_for_the_build_and_shown_to_nobody() {
        let place = tempfile::tempdir().expect("a directory can be made");
        let users = place.path().join("users");
        fs::create_dir(&users).expect("a directory can be made");
        let config = "{\"x\":1,\"auths\":{\"b\":{}}}";
        fs::write(users.join("config.json"), config).expect("it can be written");
        let program = Path::new("/bin/sh");
        let isolated = Isolated::make(place.path(), Some(&users), program);
        let isolated = isolated.expect("it can be made");
        let all = [
            backend(Logins::in_memory(), Settings::default()),
            backend(Logins::Configuration, settings(&users)),
            backend(Logins::Configuration, settings(&isolated.config())),
        ];
        for (backend, is_users) in all.into_iter().zip([false, true, false]) {
            assert_eq!(backend.credentials("a:1").await.expect("it is read"), None);
            assert!(!backend.log_out("a:1").await.expect("nothing is there"));
            backend.log_in(login("p:w")).await.expect("it is kept");
            backend.log_in(login("other")).await.expect("it is kept");
            let text = fs::read_to_string(users.join("config.json")).expect("it is there");
            assert_eq!(text.contains("a:1"), is_users, "{text}");
            let found = backend.credentials("a:1").await.expect("it is read");
            assert_eq!(found, Some(login("other").into()));
            assert_eq!(backend.logins().await.expect("they are there"), ["a:1"]);
            assert!(!format!("{backend:?}").contains("other"));
            assert!(backend.log_out("a:1").await.expect("it is forgotten"));
            assert_eq!(backend.credentials("a:1").await.expect("it is read"), None);
            assert!(backend.logins().await.expect("they are there").is_empty());
            let text = fs::read_to_string(users.join("config.json")).expect("it is there");
            let json: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(json, serde_json::json!({"x": 1, "auths": {"b": {}}}));
        }
    }

    // TOOL-15
    #[tokio::test]
    async fn passwords_of_the_user_stay_outside_of_containers() {
        let place = tempfile::tempdir().expect("a directory can be made");
        let config = "{\"auths\":{\"b\":{\"auth\":\"YTpi\"}}}";
        fs::write(place.path().join("config.json"), config).expect("it can be written");
        let inside = backend(Logins::in_memory(), settings(place.path()));
        // A pull outside has it.
        let used = inside.credentials("b").await.expect("it is read");
        assert!(used.is_some());
        assert_eq!(inside.given_out("b").await.expect("it is read"), None);
        let login = Credential {
            server: "b".to_owned(),
            ..login("p:w")
        };
        inside.log_in(login.clone()).await.expect("it is kept");
        let given = inside.given_out("b").await.expect("it is read");
        assert_eq!(given, Some(login));
        let outside = backend(Logins::Configuration, settings(place.path()));
        assert!(outside.given_out("b").await.expect("it is read").is_some());
    }

    fn nowhere() -> Backend {
        backend(Logins::in_memory(), Settings::default())
    }

    // TOOL-3
    #[tokio::test]
    async fn half_a_body_never_looks_whole() {
        use futures_util::StreamExt as _;
        let (pieces, body) = mpsc::channel(4);
        pieces
            .send(Some(Bytes::from_static(b"x")))
            .await
            .expect("it is taken");
        drop(pieces);
        let mut stream = Box::pin(Body { pieces: body }.into_stream());
        assert_eq!(stream.next().await, Some(Bytes::from_static(b"x")));
        assert!(futures_util::poll!(stream.next()).is_pending());
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        for (frame, text) in [
            (
                Frame::Request(Bytes::from_static(b"{\"Other\":1}")),
                "not of the version",
            ),
            (Frame::BodyEnd, ""),
        ] {
            let (mut front, back) = tokio::io::duplex(4096);
            wire::write(&mut front, frame).await.expect("it is sent");
            let served = serve(back, &nowhere()).await;
            assert_eq!(served.is_err(), text.is_empty());
            if !text.is_empty() {
                let Ok(Some(Frame::Stderr(said))) = wire::read(&mut front).await else {
                    panic!("no complaint")
                };
                assert!(String::from_utf8_lossy(&said).contains(text));
                assert!(matches!(
                    wire::read(&mut front).await,
                    Ok(Some(Frame::Exit(1)))
                ));
            }
        }
    }
}
