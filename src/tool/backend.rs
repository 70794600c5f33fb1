//! The end that has the engine, the credentials and the network.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::Stream;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OnceCell, mpsc};

use super::request::{Request, Secret};
use super::wire::{self, Frame};
use super::{aws, docker};
use crate::engine::{Endpoint, Engine, Error};

/// How long a front may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// How long the engine may take for one piece of a body. A front that went away is not noticed before the end of that.
const BODY_LIMIT: Duration = Duration::from_mins(10);

/// Frames that wait for the line.
const WAITING: usize = 8;

/// What commands are done with.
#[derive(Debug)]
pub struct Backend {
    endpoint: Endpoint,
    /// Made at the first use.
    engine: OnceCell<Engine>,
    logins: Logins,
}

/// Credentials for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password, or a token that takes its place.
    pub password: Secret,
}

/// Where credentials are kept that a build logs in with.
#[derive(Debug)]
pub enum Logins {
    /// Nowhere but here, by the host of the registry: one backend serves the whole build.
    Memory(Mutex<BTreeMap<String, Login>>),
    /// `config.json` in a directory of the build's own, in Docker's form: each command is a process.
    Directory(PathBuf),
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

impl Backend {
    /// A backend for the engine at this place. Nothing is contacted yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, logins: Logins) -> Self {
        Self {
            endpoint,
            engine: OnceCell::new(),
            logins,
        }
    }

    /// The engine.
    pub(super) async fn engine(&self) -> Result<&Engine, Error> {
        self.engine
            .get_or_try_init(|| Engine::connect(self.endpoint.clone()))
            .await
    }

    /// Where logins are kept.
    pub(super) const fn logins(&self) -> &Logins {
        &self.logins
    }

    /// What a registry is spoken to with: what the build logged in with, a token if it is Amazon ECR's, else nothing.
    pub(super) async fn credentials(&self, registry: &str) -> Result<Option<Login>, Failure> {
        if let Some(login) = self.logins.all()?.remove(registry) {
            return Ok(Some(login));
        }
        match aws::token_for(registry).await {
            None => Ok(None),
            Some(token) => token.map(|token| {
                Some(Login {
                    username: token.username,
                    password: token.password,
                })
            }),
        }
    }
}

impl Logins {
    /// None yet, and none to be kept longer than this value.
    #[must_use]
    pub const fn in_memory() -> Self {
        Self::Memory(Mutex::new(BTreeMap::new()))
    }

    /// All of them, by registry.
    pub(super) fn all(&self) -> io::Result<BTreeMap<String, Login>> {
        match self {
            Self::Memory(logins) => Ok(logins
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()),
            Self::Directory(directory) => Ok(logins_of(&read_config(directory)?)),
        }
    }

    /// Keeps one, or forgets it. Says whether there was one before.
    pub(super) fn set(&self, registry: &str, login: Option<Login>) -> io::Result<bool> {
        match self {
            Self::Memory(logins) => {
                let mut logins = logins.lock().unwrap_or_else(PoisonError::into_inner);
                let before = match login {
                    Some(login) => logins.insert(registry.to_owned(), login),
                    None => logins.remove(registry),
                };
                Ok(before.is_some())
            }
            Self::Directory(directory) => change_config(directory, registry, login),
        }
    }
}

fn read_config(directory: &Path) -> io::Result<Value> {
    let path = directory.join("config.json");
    let about =
        |reason: String| io::Error::other(format!("could not read {}: {reason}", path.display()));
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(serde_json::json!({})),
        Err(error) => Err(about(error.to_string())),
        // What serde says of the place is safe; the text itself has passwords.
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
            Ok(_) => Err(about("it is not a JSON object".to_owned())),
            Err(error) => Err(about(format!(
                "line {}, column {}: it is not JSON",
                error.line(),
                error.column()
            ))),
        },
    }
}

fn logins_of(config: &Value) -> BTreeMap<String, Login> {
    let entries = config["auths"].as_object().into_iter().flatten();
    entries
        .filter_map(|(registry, entry)| {
            let text = BASE64.decode(entry["auth"].as_str()?).ok()?;
            let text = String::from_utf8(text).ok()?;
            let (username, password) = text.split_once(':')?;
            let login = Login {
                username: username.to_owned(),
                password: Secret(password.to_owned()),
            };
            let host = docker::registry_host(registry);
            Some((host.to_owned(), login))
        })
        .collect()
}

/// Changes one entry and keeps the rest. Two commands at once wait for each other; the file is never half of one.
fn change_config(directory: &Path, registry: &str, login: Option<Login>) -> io::Result<bool> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let lock = fs::File::open(directory)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    let mut config = read_config(directory)?;
    let auths = &mut config["auths"];
    if !auths.is_object() {
        *auths = serde_json::json!({});
    }
    let entries = auths.as_object_mut().ok_or(io::ErrorKind::InvalidData)?;
    let before = entries.remove(registry).is_some();
    if let Some(Login { username, password }) = login {
        let auth = BASE64.encode(format!("{username}:{}", password.0));
        entries.insert(registry.to_owned(), serde_json::json!({ "auth": auth }));
    }
    let temporary = directory.join(format!(".config.json.{}", uuid::Uuid::new_v4().simple()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = io::Write::write_all(&mut file, format!("{config:#}\n").as_bytes())
        .and_then(|()| fs::rename(&temporary, directory.join("config.json")));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map(|()| before)
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

async fn answer(json: &[u8], body: Body, backend: &Backend, out: &Out) -> u8 {
    let (name, done) = match serde_json::from_slice(json) {
        Err(_) => (
            "runner",
            Err(Failure::new(
                "this command is not of the version of runner that runs the build",
            )),
        ),
        Ok(Request::Aws(request)) => {
            let text = aws::answer(request).await;
            let done = match text {
                Ok(text) => out.stdout(text).await.map(|()| 0),
                Err(failure) => Err(failure),
            };
            ("aws", done)
        }
        Ok(Request::Docker(request)) => {
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
    use super::*;

    fn login(password: &str) -> Login {
        Login {
            username: "me".to_owned(),
            password: Secret(password.to_owned()),
        }
    }

    // TOOL-9
    #[test]
    fn logins_are_kept_for_the_build_and_shown_to_nobody() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory can be made");
        let config = directory.path().join("own");
        fs::create_dir(&config).expect("a directory can be made");
        fs::write(
            config.join("config.json"),
            "{\"x\": 1, \"auths\": {\"b\": {}}}",
        )
        .expect("it can be written");
        for logins in [Logins::in_memory(), Logins::Directory(config.clone())] {
            assert!(!logins.set("a:1", Some(login("p:w"))).expect("it is kept"));
            assert!(logins.set("a:1", Some(login("other"))).expect("it is kept"));
            assert_eq!(
                logins.all().expect("they are there").get("a:1"),
                Some(&login("other"))
            );
            assert!(!format!("{logins:?}").contains("other"));
            assert!(logins.set("a:1", None).expect("it is forgotten"));
            assert!(logins.all().expect("they are there").is_empty());
        }
        let path = config.join("config.json");
        assert_eq!(
            fs::metadata(&path)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(
            serde_json::from_str::<Value>(&text).expect("JSON"),
            serde_json::json!({"x": 1, "auths": {"b": {}}})
        );
        fs::write(&path, "[").expect("it can be written");
        assert!(Logins::Directory(config).all().is_err());
    }

    fn nowhere() -> Backend {
        Backend::new(
            Endpoint::Unix("/nowhere/engine.sock".into()),
            Logins::in_memory(),
        )
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
