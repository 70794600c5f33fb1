//! Git repositories of tests, and a server for them on loopback.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::wait::Bounded as _;

/// A repository in a directory of its own.
pub(crate) struct Repository {
    directory: tempfile::TempDir,
}

impl Repository {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let repository = Self { directory };
        fs::create_dir(repository.path()).expect("it is new");
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// One with files in its first commit.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let repository = Self::new();
        for (name, content) in files {
            repository.write(name, content);
        }
        repository.commit("first");
        repository
    }

    /// Its work tree.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("app")
    }

    /// `git+file://…`
    pub(crate) fn form(&self) -> String {
        format!("git+file://{}", self.path().display())
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("it can be made");
        fs::write(path, content).expect("a file can be written");
    }

    /// Commits everything; gives the commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.path(), arguments)
    }
}

/// Runs git, which has to succeed; gives what it says.
#[track_caller]
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .bounded_output()
        .expect("git can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// What a server does with a request.
pub(crate) enum Reply {
    /// What git does with it.
    Serve,
    /// Answers with this status.
    Status(&'static str),
    /// Never answers.
    Hold,
}

/// A request as a judge sees it.
pub(crate) struct Request {
    /// `GET /app/info/refs?…`
    pub(crate) line: String,
    /// Headers, names in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// How many came before it.
    pub(crate) number: usize,
}

type Judge = dyn Fn(&Request) -> Reply + Send + Sync;

/// Git over HTTP on loopback.
pub(crate) struct Server {
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves repositories below a directory.
    pub(crate) fn new(
        root: &Path,
        judge: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let host = listener
            .local_addr()
            .expect("it has an address")
            .to_string();
        let judge: Arc<Judge> = Arc::new(judge);
        let (root, seen) = (root.to_owned(), Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (judge, root, log) = (Arc::clone(&judge), root.clone(), Arc::clone(&log));
                thread::spawn(move || {
                    let _ = answer(stream, &root, &*judge, &log);
                });
            }
        });
        Self { host, seen }
    }

    /// `git+http://…`, with `access` before the host.
    pub(crate) fn form(&self, access: &str, repository: &str) -> String {
        format!("git+http://{access}{}/{repository}", self.host)
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("no thread panics with it").len()
    }
}

fn answer(
    stream: TcpStream,
    root: &Path,
    judge: &Judge,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim_end().to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let number = {
        let mut seen = seen.lock().expect("no thread panics with it");
        seen.push(line.clone());
        seen.len() - 1
    };
    let request = Request {
        line,
        headers,
        number,
    };
    match judge(&request) {
        Reply::Serve => serve(&mut stream, root, &request, &body),
        Reply::Status(status) => {
            let challenge = if status.starts_with("401") {
                "WWW-Authenticate: Basic realm=\"tests\"\r\n"
            } else {
                ""
            };
            write!(
                stream,
                "HTTP/1.1 {status}\r\n{challenge}Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
        }
        Reply::Hold => reader.read_to_end(&mut body).map(drop),
    }
}

/// As a web server runs git's own part of it.
fn serve(
    stream: &mut TcpStream,
    root: &Path,
    request: &Request,
    body: &[u8],
) -> std::io::Result<()> {
    let mut words = request.line.split(' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(body)?;
    }
    let output = child.wait_with_output()?.stdout;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
    let status = status.unwrap_or("200 OK");
    let rest: Vec<&str> = head
        .lines()
        .filter(|line| !line.starts_with("Status: "))
        .collect();
    let content = output.get(end + 4..).unwrap_or_default();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rest.join("\r\n"),
        content.len()
    )?;
    stream.write_all(content)
}
