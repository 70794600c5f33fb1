//! The end where the command runs: it reads arguments and files, and writes what comes back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::docker::{self, context};
use super::options::Problem;
use super::request::{DockerRequest, Request, Secret};
use super::wire::{self, CHUNK, Frame};
use super::{Tool, aws};

/// Longest password that is read from standard input, in bytes.
const LONGEST_PASSWORD: u64 = 64 * 1024;

/// Longest Dockerfile that is read from standard input, in bytes.
const LONGEST_DOCKERFILE: u64 = 1024 * 1024;

/// Variables of the command.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// These variables.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// A variable as text, if it is set to something.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = self.0.get(std::ffi::OsStr::new(name))?;
        value
            .to_str()
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }
}

/// What a command has of its surroundings.
#[derive(Debug)]
pub struct Surroundings<I, O, E> {
    /// The directory it was started in.
    pub directory: PathBuf,
    /// Its variables.
    pub environment: Environment,
    /// Its standard input.
    pub stdin: I,
    /// Its standard output.
    pub stdout: O,
    /// Its standard error.
    pub stderr: E,
}

/// What a command line comes to.
#[derive(Debug)]
pub(super) enum Action {
    /// This text is all of it.
    Print(String),
    /// The back has to be asked.
    Call(Box<Call>),
}

/// What the back is asked for, and what goes and comes with it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) upload: Upload,
    /// The file that gets what would go to standard output.
    pub(super) output: Option<PathBuf>,
}

/// What goes to the back behind the request.
#[derive(Debug)]
pub(super) enum Upload {
    Nothing,
    /// Standard input has the password of the request.
    Password,
    /// The request has it from the command line, where others could read it.
    PasswordInArguments,
    /// Standard input as it is.
    Input,
    /// A file.
    File(PathBuf),
    /// The directory that an image is built from, and where its Dockerfile is.
    Context {
        directory: PathBuf,
        dockerfile: Dockerfile,
    },
    /// Standard input: a Dockerfile, or a TAR of a whole context.
    ContextFromInput,
}

/// Where a Dockerfile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dockerfile {
    /// `Dockerfile` at the top of the context.
    Usual,
    /// This file, in the context or elsewhere.
    File(PathBuf),
    /// Standard input.
    Input,
}

/// A command line that asks for what is not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) message: String,
    /// What else to write about it, instead of the list of what is supported.
    pub(super) hint: Option<String>,
}

impl Mistake {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn option(problem: Problem) -> Self {
        Self::new(match problem {
            Problem::Unknown(option) => format!("unknown option `{option}`"),
            Problem::NoValue(option) => format!("`{option}` needs a value"),
            Problem::NotABool(option) => format!("`{option}` is neither true nor false"),
        })
    }
}

/// Runs a command: `arguments` are those behind its name, `stream` leads to a back. Gives the exit code.
pub async fn run<S, I, O, E>(
    tool: Tool,
    arguments: &[OsString],
    stream: S,
    mut around: Surroundings<I, O, E>,
) -> u8
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    I: AsyncRead + Unpin + Send,
    O: AsyncWrite + Unpin + Send,
    E: AsyncWrite + Unpin + Send,
{
    let words = arguments
        .iter()
        .map(|word| word.to_str().map(str::to_owned));
    let action = match words.collect::<Option<Vec<String>>>() {
        None => Err(Mistake::new("an argument is not UTF-8")),
        Some(words) if tool == Tool::Aws => aws::read(&words, &around.environment),
        Some(words) => docker::read(&words, &around.environment),
    };
    let done = match action {
        Err(mistake) => {
            let text = complaint(tool, &mistake);
            let _ = around.stderr.write_all(text.as_bytes()).await;
            Ok(tool.unsupported())
        }
        Ok(Action::Print(text)) => around.stdout.write_all(text.as_bytes()).await.map(|()| 0),
        Ok(Action::Call(call)) => Box::pin(self::call(*call, stream, &mut around)).await,
    };
    let code = match done {
        Ok(code) => code,
        Err(error) => {
            let text = format!("{}: {error}\n", tool.name());
            let _ = around.stderr.write_all(text.as_bytes()).await;
            tool.failed()
        }
    };
    let _ = around.stdout.flush().await;
    let _ = around.stderr.flush().await;
    code
}

/// What is wrong, what would be right, and where the real tool is.
fn complaint(tool: Tool, mistake: &Mistake) -> String {
    let name = tool.name();
    let mut text = format!("{name}: {}\n", mistake.message);
    if let Some(hint) = &mistake.hint {
        text.push_str(&format!("{hint}\n"));
    } else {
        text.push_str(&format!(
            "This is runner's own `{name}`, there because none is installed. It has:\n"
        ));
        for line in tool.supported() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text.push_str(&format!(
        "For all of it, install {}; runner uses what is on PATH first.\n",
        tool.real()
    ));
    text
}

async fn call<S, I, O, E>(
    call: Call,
    stream: S,
    around: &mut Surroundings<I, O, E>,
) -> io::Result<u8>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    I: AsyncRead + Unpin + Send,
    O: AsyncWrite + Unpin + Send,
    E: AsyncWrite + Unpin + Send,
{
    let Surroundings {
        directory,
        stdin,
        stdout,
        stderr,
        ..
    } = around;
    let Call {
        mut request,
        upload,
        output,
    } = call;
    if matches!(upload, Upload::PasswordInArguments) {
        let warning = "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n";
        stderr.write_all(warning.as_bytes()).await?;
    }
    let body = prepare(&mut request, upload, directory, stdin).await?;
    let mut output = match output {
        Some(path) => Some(Output::create(directory.join(path)).await?),
        None => None,
    };
    let (mut from_back, mut to_back) = tokio::io::split(stream);
    let json = serde_json::to_vec(&request)?;
    wire::write(&mut to_back, Frame::Request(Bytes::from(json)))
        .await
        .map_err(|error| gone(&error))?;
    let code = {
        let sending = send(body, stdin, &mut to_back);
        let receiving = receive(&mut from_back, output.as_mut(), stdout, stderr);
        tokio::pin!(sending, receiving);
        // An answer may come before all is sent: whatever is left then is wanted by nobody.
        tokio::select! {
            code = &mut receiving => code?,
            sent = &mut sending => {
                sent?;
                receiving.await?
            }
        }
    };
    if let Some(output) = output {
        output.finish(code == 0).await?;
    }
    Ok(code)
}

/// What is sent behind the request.
enum Body {
    Nothing,
    Input { read_already: Bytes },
    File(tokio::fs::File),
    Archive(context::Archive),
}

/// Reads what the request needs to be whole.
async fn prepare(
    request: &mut Request,
    upload: Upload,
    directory: &std::path::Path,
    stdin: &mut (impl AsyncRead + Unpin),
) -> io::Result<Body> {
    match (upload, request) {
        (Upload::Password, Request::Docker(DockerRequest::Login { password, .. })) => {
            let text =
                read_limited(stdin, LONGEST_PASSWORD, "the password on standard input").await?;
            let text = String::from_utf8(text)
                .map_err(|_| io::Error::other("the password on standard input is not UTF-8"))?;
            *password = Secret(text.trim_end_matches(['\r', '\n']).to_owned());
            if password.0.is_empty() {
                return Err(io::Error::other(
                    "the password on standard input is empty: the command that was to write it failed",
                ));
            }
            Ok(Body::Nothing)
        }
        (Upload::File(path), _) => {
            let path = directory.join(path);
            let opened = tokio::fs::File::open(&path).await;
            opened
                .map(Body::File)
                .map_err(|error| about(&format!("could not read {}", path.display()), &error))
        }
        (
            Upload::Context {
                directory: context,
                dockerfile,
            },
            Request::Docker(DockerRequest::Build(build)),
        ) => {
            let text = match dockerfile {
                Dockerfile::Input => Some(
                    read_limited(
                        stdin,
                        LONGEST_DOCKERFILE,
                        "the Dockerfile on standard input",
                    )
                    .await?,
                ),
                Dockerfile::File(_) | Dockerfile::Usual => None,
            };
            let plan = context::Context::find(directory, &context, &dockerfile, text)?;
            plan.dockerfile_name().clone_into(&mut build.dockerfile);
            docker::dockerfile::note(plan.dockerfile_text(), build);
            Ok(Body::Archive(plan.archive()))
        }
        (Upload::ContextFromInput, Request::Docker(DockerRequest::Build(build))) => {
            // What is a TAR, or compressed, is known by how it begins.
            let mut head = vec![0; 512];
            let mut length = 0;
            while length < head.len() {
                match stdin.read(&mut head[length..]).await? {
                    0 => break,
                    read => length += read,
                }
            }
            head.truncate(length);
            if context::is_archive(&head) {
                // What is in it is not looked through.
                docker::dockerfile::note(b"", build);
                return Ok(Body::Input {
                    read_already: Bytes::from(head),
                });
            }
            head.extend(
                read_limited(
                    stdin,
                    LONGEST_DOCKERFILE,
                    "the Dockerfile on standard input",
                )
                .await?,
            );
            let plan = context::Context::only_dockerfile(head)?;
            plan.dockerfile_name().clone_into(&mut build.dockerfile);
            docker::dockerfile::note(plan.dockerfile_text(), build);
            Ok(Body::Archive(plan.archive()))
        }
        (Upload::Input, _) => Ok(Body::Input {
            read_already: Bytes::new(),
        }),
        _ => Ok(Body::Nothing),
    }
}

async fn read_limited(
    stream: &mut (impl AsyncRead + Unpin),
    limit: u64,
    what: &str,
) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    stream.take(limit + 1).read_to_end(&mut text).await?;
    if text.len() as u64 > limit {
        return Err(io::Error::other(format!(
            "{what} is longer than {limit} bytes"
        )));
    }
    Ok(text)
}

/// Sends the body. Fails only if the body cannot be had; a back that does not listen says why by itself.
async fn send(
    body: Body,
    stdin: &mut (impl AsyncRead + Unpin),
    to_back: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    match body {
        Body::Nothing => return Ok(()),
        Body::Input { read_already } => {
            if !read_already.is_empty()
                && wire::write(to_back, Frame::Body(read_already))
                    .await
                    .is_err()
            {
                return Ok(());
            }
            if !copy(stdin, to_back).await? {
                return Ok(());
            }
        }
        Body::File(mut file) => {
            if !copy(&mut file, to_back).await? {
                return Ok(());
            }
        }
        Body::Archive(mut archive) => {
            while let Some(chunk) = archive.next().await? {
                if wire::write(to_back, Frame::Body(chunk)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    let _ = wire::write(to_back, Frame::BodyEnd).await;
    Ok(())
}

/// Whether the back took all of it.
async fn copy(
    source: &mut (impl AsyncRead + Unpin),
    to_back: &mut (impl AsyncWrite + Unpin),
) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = source.read(&mut chunk).await?;
        if read == 0 {
            return Ok(true);
        }
        let content = Bytes::copy_from_slice(&chunk[..read]);
        if wire::write(to_back, Frame::Body(content)).await.is_err() {
            return Ok(false);
        }
    }
}

/// Writes what comes until the exit code does.
async fn receive(
    from_back: &mut (impl AsyncRead + Unpin),
    mut output: Option<&mut Output>,
    stdout: &mut (impl AsyncWrite + Unpin),
    stderr: &mut (impl AsyncWrite + Unpin),
) -> io::Result<u8> {
    loop {
        match wire::read(from_back).await.map_err(|error| gone(&error))? {
            Some(Frame::Stdout(text)) => match &mut output {
                Some(output) => output.write(&text).await?,
                None => {
                    stdout.write_all(&text).await?;
                    stdout.flush().await?;
                }
            },
            Some(Frame::Stderr(text)) => {
                stderr.write_all(&text).await?;
                stderr.flush().await?;
            }
            Some(Frame::Exit(code)) => return Ok(code),
            Some(_) | None => return Err(gone(&io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn gone(error: &io::Error) -> io::Error {
    about("the runner of this build does not answer any more", error)
}

fn about(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// A file that is there only when it is whole.
struct Output {
    path: PathBuf,
    temporary: PathBuf,
    file: tokio::fs::File,
}

impl Output {
    async fn create(path: PathBuf) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
        let temporary = path.with_file_name(name);
        let file = tokio::fs::File::create_new(&temporary).await;
        let file =
            file.map_err(|error| about(&format!("could not write {}", path.display()), &error))?;
        Ok(Self {
            path,
            temporary,
            file,
        })
    }

    async fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(content).await;
        written.map_err(|error| about(&format!("could not write {}", self.path.display()), &error))
    }

    async fn finish(mut self, is_whole: bool) -> io::Result<()> {
        if is_whole {
            self.file.flush().await?;
            tokio::fs::rename(&self.temporary, &self.path).await?;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Where it is whole there is no such file any more.
        let _ = std::fs::remove_file(&self.temporary);
    }
}
