//! The process of a build: `runner run` with the flags that people have (AGENT-17).
//!
//! It reports what follows from it on its standard output, and ends when its standard input does: then this process is gone,
//! whatever ended it. Its log and all its events it writes to files by itself, so that they are whole then, too (AGENT-67).
//! What it has to know and nobody else may is in a file, on which it holds a lock for as long as it lives.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::answer::Told;
use super::board::Board;
use super::input;
use super::job::{BuildspecFrom, Handover, Order};
use super::log::Log;
use super::pipeline::{Artifact, Pipeline};
use super::progress::{Pulse, in_rounds};
use super::serve::{Agent, Settings};
use super::state::JobDirectory;
use crate::credentials::RoleArn;
use crate::event::{Exit, stamp};
use crate::plan::ProjectName;
use crate::private;
use crate::process::{self, Start, Worker};
use crate::store::Stop;
use crate::units::write_duration;

/// Longest line of events that is believed.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Most bytes of standard error that are kept for an answer.
const MAX_SAID: u64 = 16 * 1024;

/// How long a build may take beyond its own limits to end: clearing up, storing artifacts on this machine.
pub(super) const BEYOND: Duration = Duration::from_mins(30);

/// How long a build that is to end may take beyond its grace.
const BEYOND_GRACE: Duration = Duration::from_secs(30);

/// How long what a process has written may take to arrive once it has ended.
const LAST_REPORTS: Duration = Duration::from_secs(5);

/// A build's process that ended.
pub struct Finished {
    /// What it told.
    pub told: Told,
    /// How it ended.
    pub exit: Exit,
    /// The end of what it wrote to standard error, and what is not whole.
    pub said: String,
}

/// What a build is to be.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// What held when the job was taken (AGENT-93).
    pub settings: &'a Settings,
    /// Where it works.
    pub directory: &'a JobDirectory,
    /// The job's id.
    pub job: &'a str,
    /// What the job asks for.
    pub order: &'a Order,
    /// What the build is told.
    pub handover: &'a Handover,
}

/// Runs the build of a job to its end. `halt` asks it to end, then forces it. An error is why it could not be started.
pub async fn run<P: Pipeline>(
    agent: &Agent<P>,
    given: Given<'_>,
    halt: &Stop,
    pulse: &Pulse,
) -> Result<Finished, String> {
    let Given {
        settings,
        directory,
        job,
        order,
        handover,
    } = given;
    let failed = |error: io::Error| format!("could not start the build: {error}");
    prepare(directory, order, handover).map_err(failed)?;
    let arguments = arguments(settings, directory, order);
    let errors = log_file(&directory.said()).map_err(failed)?;
    let build = format!("{}:{}", order.project, handover.build_uuid);
    // Whatever it starts has this, whoever starts it.
    let mut variables = settings.variables.clone();
    variables.retain(|(name, _)| name != MARK);
    variables.push((MARK.into(), build.clone().into()));
    let start = Start {
        program: &settings.program,
        arguments: arguments.iter().map(OsString::as_os_str).collect(),
        directory: directory.path(),
        variables: &variables,
        leave_terminal: None,
        user: None,
    };
    let worker = process::start_worker(&start, errors).map_err(failed)?;
    let _ = std::fs::write(directory.number(), worker.process.number().to_string());
    let reading = Reading {
        told: Told::default(),
        board: &agent.board,
        job,
        rest: Vec::new(),
        incomplete: None,
    };
    let limit = order.timeout.unwrap_or(settings.timeout) + settings.grace + BEYOND;
    let limits = (limit, settings.grace);
    let finished = attend(worker, reading, halt, limits, directory, pulse).await;
    if !matches!(finished.exit, Exit::Exited(_)) {
        end_left(&agent.log, job, &build).await;
    }
    Ok(finished)
}

/// The variable by which processes of a build are known when nobody is left who started them: every command has it, with the
/// build's id, which no other build has.
const MARK: &str = "CODEBUILD_BUILD_ID";

/// Ends every process of a build whose own process is gone: ended by force, it ended none of those it started (AGENT-28).
pub async fn end_left(log: &Log, job: &str, build: &str) {
    let id = build.to_owned();
    let ending = tokio::task::spawn_blocking(move || process::end_marked(MARK, &id));
    match ending.await {
        Ok(0) | Err(_) => {}
        Ok(count) => {
            let message = format!("ended what was left of its build: processes: {count}");
            log.warn(&message, &[("job", job), ("build", build)]);
        }
    }
}

/// Ends what an earlier agent has left of a build. Its process holds its lock, so the number is its own still.
pub fn end_orphan(directory: &JobDirectory) {
    let number = std::fs::read_to_string(directory.number());
    if let Some(number) = number.ok().and_then(|text| text.trim().parse().ok()) {
        process::kill_tree(number);
    }
}

fn log_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Writes what the process is handed.
fn prepare(directory: &JobDirectory, order: &Order, handover: &Handover) -> io::Result<()> {
    private::write_durably(&directory.handover(), &serde_json::to_vec(handover)?)?;
    if let BuildspecFrom::Inline(text) = &order.buildspec {
        private::write_durably(&directory.inline(), text.as_bytes())?;
    }
    // The process writes into these, and their permissions stay.
    for place in [directory.artifacts(), directory.reports()] {
        private::make_all(&place, 0o700)?;
    }
    log_file(&directory.events())?;
    log_file(&directory.log()).map(drop)
}

/// The arguments of `runner`. Nothing secret is among them: everybody on this machine can read them.
///
/// A value stands in one argument with its flag, so that it is none itself, whatever it begins with.
fn arguments(settings: &Settings, directory: &JobDirectory, order: &Order) -> Vec<OsString> {
    let work = directory.work();
    // What lies in the source has nothing to say here, nor what the agent's user has configured for builds of theirs.
    let mut all: Vec<OsString> = vec!["run".into(), "--no-config".into()];
    let mut add = |flag: &str, value: &OsStr| {
        let mut argument = OsString::from(flag);
        argument.push("=");
        argument.push(value);
        all.push(argument);
    };
    add("--job", directory.handover().as_os_str());
    add("--directory", input::directory(&work, None).as_os_str());
    for artifact in &order.others {
        let mut source = OsString::from(format!("{}=", artifact.name));
        source.push(input::directory(&work, Some(artifact)));
        add("--source", &source);
    }
    if let Some(version) = &order.source_version {
        add("--source-version", version.as_ref());
    }
    add("--project", order.project.as_str().as_ref());
    match &order.buildspec {
        BuildspecFrom::Default => {}
        BuildspecFrom::Path(path) => add("--file", path.as_ref()),
        BuildspecFrom::Inline(_) => add("--file", directory.inline().as_os_str()),
    }
    let image = order.image.as_ref().or(match order.executor.as_deref() {
        Some("host") => None,
        _ => settings.defaults.image.as_ref(),
    });
    if let Some(image) = image {
        add("--image", image.as_ref());
    }
    let default = settings.defaults.executor.as_ref();
    // An image that the action names is for a container, whatever the default is.
    let executor = order
        .executor
        .as_ref()
        .or(default.filter(|_| order.image.is_none()));
    if let Some(executor) = executor {
        add("--executor", executor.as_ref());
    }
    if let Some(role) = &order.role {
        add(ROLE, role.as_str().as_ref());
    }
    if let Some(region) = &settings.aws.region {
        add("--region", region.as_ref());
    }
    let timeout = order.timeout.unwrap_or(settings.timeout);
    add("--timeout", write_duration(timeout).as_ref());
    add("--grace", write_duration(settings.grace).as_ref());
    add("--artifacts", directory.artifacts().as_os_str());
    add("--packaging", "zip".as_ref());
    add("--artifact-name", "primary".as_ref());
    add("--reports", directory.reports().as_os_str());
    add("--log-format", "json".as_ref());
    add("--log-file", directory.log().as_os_str());
    add("--events", directory.events().as_os_str());
    add("--color", "never".as_ref());
    // What the operator says of every build gives way to what the action says of this one.
    let mut more = settings.arguments.clone();
    if order.role.is_some() {
        more = without_role(&more);
    }
    if order.privileged && !more.iter().any(|argument| argument == PRIVILEGED) {
        all.push(PRIVILEGED.into());
    }
    all.extend(more);
    all
}

const ROLE: &str = "--assume-role";
const PRIVILEGED: &str = "--privileged";

/// Arguments without the role.
fn without_role(arguments: &[OsString]) -> Vec<OsString> {
    let mut rest = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        let with_value = bytes
            .strip_prefix(ROLE.as_bytes())
            .is_some_and(|after| after.starts_with(b"="));
        if argument == ROLE {
            arguments.next();
        } else if !with_value {
            rest.push(argument.clone());
        }
    }
    rest
}

/// The arguments that builds have: where an action says as little as it can, and where it says all that it can. Whoever has an
/// agent can so find out beforehand whether the arguments for every build go together with them.
#[must_use]
pub fn command_lines(settings: &Settings) -> [Vec<OsString>; 2] {
    let directory = JobDirectory::at("/job".into());
    let least = Order {
        project: ProjectName::from_directory_name("project"),
        buildspec: BuildspecFrom::Default,
        image: None,
        executor: None,
        privileged: false,
        variables: Vec::new(),
        primary: None,
        others: Vec::new(),
        source_version: None,
        timeout: None,
        role: None,
        unknown: Vec::new(),
    };
    let most = Order {
        buildspec: BuildspecFrom::Path("buildspec.yml".to_owned()),
        image: Some("image".to_owned()),
        executor: Some("docker".to_owned()),
        privileged: true,
        others: vec![Artifact {
            name: "other".to_owned(),
            ..Artifact::default()
        }],
        source_version: Some("version".to_owned()),
        role: RoleArn::new("arn:aws:iam::123456789012:role/role"),
        ..least.clone()
    };
    [least, most].map(|order| arguments(settings, &directory, &order))
}

/// Reads what the process reports.
struct Reading<'a> {
    told: Told,
    board: &'a Board,
    job: &'a str,
    /// The beginning of a line.
    rest: Vec<u8>,
    /// Why not everything is known.
    incomplete: Option<String>,
}

impl Reading<'_> {
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            if self.rest.len() > MAX_LINE {
                self.rest.clear();
                self.incomplete = Some("an event was too long".to_owned());
            }
            return;
        };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        for line in lines.split(|byte| *byte == b'\n') {
            self.line(line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        if let Ok(event) = serde_json::from_slice::<Value>(line) {
            self.told.event(&event);
            self.board.event(self.job, &event, stamp());
        }
    }

    async fn all(&mut self, reports: &mut pipe::Receiver) {
        let mut chunk = vec![0; CHUNK];
        while let Ok(read) = reports.read(&mut chunk).await
            && read > 0
        {
            self.take(&chunk[..read]);
        }
    }
}

/// Reads and waits until the process has ended; asks it to end, and forces it, where that is wanted.
async fn attend(
    worker: Worker,
    mut reading: Reading<'_>,
    halt: &Stop,
    (limit, grace): (Duration, Duration),
    directory: &JobDirectory,
    pulse: &Pulse,
) -> Finished {
    let Worker {
        mut process,
        mut reports,
        lifeline,
    } = worker;
    let (group, number) = (process.group(), process.number());
    let ending = async {
        let asked = async {
            tokio::select! {
                () = halt.requested() => {}
                () = tokio::time::sleep(limit) => {}
            }
        };
        in_rounds(pulse, asked).await;
        group.terminate();
        in_rounds(pulse, tokio::time::sleep(grace + BEYOND_GRACE)).await;
        process::kill_tree(number);
        // What does not even end by force is stuck, and shows as that.
        std::future::pending::<()>().await;
    };
    let waited = async {
        let mut exit = None;
        tokio::select! {
            ended = process.wait() => exit = Some(ended),
            () = reading.all(&mut reports) => {}
        }
        match exit {
            Some(exit) => {
                // What is in the pipe still; whoever else holds it open is not waited for.
                let _ = tokio::time::timeout(LAST_REPORTS, reading.all(&mut reports)).await;
                exit
            }
            None => process.wait().await,
        }
    };
    let exit = tokio::select! {
        exit = waited => exit,
        () = ending => unreachable!("invariant: it never ends by itself"),
    };
    drop(lifeline);
    let mut said = end_of(&directory.said()).unwrap_or_default();
    let mut exit = exit.unwrap_or(Exit::Unknown);
    if let Some(why) = &reading.incomplete {
        said.push_str(&format!(
            "\nnot all that the build reported could be read: {why}"
        ));
        if exit.is_success() {
            exit = Exit::Unknown;
        }
    }
    Finished {
        told: reading.told,
        exit,
        said,
    }
}

/// The end of what was written to a file.
fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_SAID)))?;
    let mut text = Vec::new();
    file.take(MAX_SAID).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
