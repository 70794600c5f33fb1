//! How an agent is spoken to on its machine: a socket in its state directory, which only its user can reach (AGENT-35).
//!
//! One question a connection, one line each way.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::board::{Activity, Snapshot};
use super::log::moment;
use super::serve::Command;

/// Name of the socket.
const SOCKET: &str = "control.sock";

/// Longest question, in bytes.
const MAX_QUESTION: u64 = 1024;

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// How long a question may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Listens in a state directory.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Begins to listen. Whoever has the directory's lock is the only one.
    pub fn listen(state: &Path) -> io::Result<Self> {
        let path = state.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let directory = std::fs::File::open(state)?;
        let listener = UnixListener::bind(short(&directory))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Answers, for as long as it is waited for.
    pub async fn serve(
        &self,
        snapshot: impl Fn() -> Value,
        commands: mpsc::UnboundedSender<Command>,
    ) {
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else {
                // No more files, say: that passes.
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let conversation = async {
                let (read, mut write) = stream.split();
                let mut question = String::new();
                let mut reader = tokio::io::BufReader::new(read.take(MAX_QUESTION));
                reader.read_line(&mut question).await?;
                let answer = match question.trim() {
                    "status" => snapshot(),
                    "drain" => {
                        let _ = commands.send(Command::Drain);
                        json!({ "ok": true })
                    }
                    "reload" => {
                        let _ = commands.send(Command::Reload);
                        json!({ "ok": true })
                    }
                    _ => json!({ "error": "ask for status, drain or reload" }),
                };
                write.write_all(format!("{answer}\n").as_bytes()).await
            };
            // Who asks and does not listen is not waited for.
            let _ = tokio::time::timeout(LIMIT, conversation).await;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A name for the socket that is short whatever the directory's is: addresses of sockets have a hundred bytes.
fn short(directory: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Asks the agent of a state directory. `None` if there is none.
pub fn ask(state: &Path, question: &str) -> io::Result<Option<Value>> {
    let directory = match std::fs::File::open(state) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut stream = match UnixStream::connect(short(&directory)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer)?;
    Ok(Some(serde_json::from_str(&answer)?))
}

/// What the agent does, for `runner agent status`.
#[must_use]
pub fn status(snapshot: &Snapshot) -> Value {
    let builds: Vec<Value> = snapshot
        .running
        .iter()
        .map(|build| {
            json!({
                "job": build.job.id,
                "build": build.id,
                "pipeline": build.job.pipeline,
                "stage": build.job.stage,
                "action": build.job.action,
                "project": build.job.project,
                "activity": activity(build.activity),
                "phase": build.phase().map(|row| row.phase.name()),
                "since": moment(build.taken),
            })
        })
        .collect();
    let finished: Vec<Value> = snapshot
        .finished
        .iter()
        .take(10)
        .map(|build| {
            json!({
                "job": build.job.id,
                "build": build.id,
                "pipeline": build.job.pipeline,
                "stage": build.job.stage,
                "action": build.job.action,
                "project": build.job.project,
                "status": build.status.name(),
                "message": build.message,
                "since": moment(build.taken),
                "ended": build.ended.map(moment),
            })
        })
        .collect();
    let doubts = snapshot.doubts.iter().map(|doubt| {
        json!({
            "job": doubt.job.id,
            "pipeline": doubt.job.pipeline,
            "stage": doubt.job.stage,
            "action": doubt.job.action,
            "until": moment(doubt.until),
        })
    });
    json!({
        "actionType": snapshot.about.action_type,
        "region": snapshot.about.region,
        "version": snapshot.about.version,
        "pid": snapshot.about.pid,
        "since": moment(snapshot.about.since),
        "state": snapshot.state.word(),
        "reason": snapshot.state.reason(),
        "slots": snapshot.slots,
        "free": snapshot.free(),
        "polled": snapshot.polled.map(moment),
        "pollFailure": snapshot.poll_failure.as_ref().map(|failure| &failure.message),
        "unsent": snapshot.unsent,
        "inDoubt": doubts.collect::<Vec<Value>>(),
        "running": builds,
        "finished": finished,
    })
}

const fn activity(activity: Activity) -> &'static str {
    activity.word()
}
