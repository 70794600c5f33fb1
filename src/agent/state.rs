//! What is on disk, so that nothing is lost or answered twice (AGENT-26 to AGENT-31).
//!
//! ```text
//! STATE/lock              held by the agent that uses it
//! STATE/control.sock      what `runner agent drain` and `status` speak to
//! STATE/jobs/ID/job.json  the record: what has been promised and what has been answered
//! STATE/jobs/ID/…         handover, sources, artifacts, log and events of the build
//! ```
//!
//! A record is written in full beside the old one and takes its place when it is on the disk, and so is its name: after a
//! power cut there is one or the other. Only this user can read any of it. With root's others can go through to where the
//! sources of a build are, which lets in whom `run-as` names (AGENT-98).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, StatVfsMountFlags};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::pipeline::{Nonce, Origin};
use crate::ownership::remove_tree;
use crate::private;

/// Version of the record's form.
const FORMAT: u32 = 1;

/// Largest record that is read, in bytes: an answer with all its output variables, written as JSON, is far smaller.
const MAX_RECORD: u64 = 4 * 1024 * 1024;

/// How far a job has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It is about to be acknowledged, or was and nobody knows.
    Claimed,
    /// It may be this agent's or somebody else's.
    Doubtful {
        /// When it is answered with a failure: milliseconds since 1970.
        until: u64,
    },
    /// It is this agent's.
    Working,
    /// This is what it is answered with, or was and nobody knows.
    Answering(Answer),
    /// Its answer is final.
    Done {
        /// How the build ended, as CodeBuild calls it.
        status: String,
        /// Why it did not succeed.
        message: Option<String>,
        /// Whether CodePipeline took the answer.
        taken: bool,
    },
}

/// What is known of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    pub format: u32,
    /// The job's id.
    pub job: String,
    /// What it is acknowledged with; gone as soon as it is of no more use.
    pub nonce: Option<Nonce>,
    /// Where it comes from.
    pub origin: Origin,
    /// The project that is built, once it is known.
    pub project: String,
    /// Id of the build, once it is known.
    pub build: Option<String>,
    /// When it was taken: milliseconds since 1970.
    pub taken: u64,
    /// When it was over: milliseconds since 1970.
    pub ended: Option<u64>,
    /// How far it has come.
    pub stage: Stage,
    /// Whether nobody knows whose it is, also when its answer is given: it may be somebody else's (AGENT-40).
    #[serde(default)]
    pub is_doubtful: bool,
}

impl Record {
    /// That of a job which is about to be acknowledged.
    #[must_use]
    pub fn new(job: &str, nonce: Nonce, origin: Origin, taken: u64) -> Self {
        Self {
            format: FORMAT,
            job: job.to_owned(),
            nonce: Some(nonce),
            origin,
            project: String::new(),
            build: None,
            taken,
            ended: None,
            stage: Stage::Claimed,
            is_doubtful: false,
        }
    }

    /// Whether nothing is to be done for it any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Done { .. })
    }
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another agent has it.
    #[error("another agent uses {}: name another directory with --state, or end that one", .0.display())]
    Taken(PathBuf),
    /// It cannot be made or read.
    #[error("could not use {} for the agent's state: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The directory of one agent.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// Held for as long as this lives.
    _lock: File,
}

impl StateDirectory {
    /// Opens it, or makes it. No other agent can until this one lets it go.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let error = |source: io::Error| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let jobs = path.join("jobs");
        make_private(&jobs).map_err(error)?;
        // An agent with a narrow umask may have made it.
        fs::set_permissions(&jobs, Permissions::from_mode(private_mode())).map_err(error)?;
        let path = path.canonicalize().map_err(error)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(error)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Taken(path)),
            Err(errno) => Err(error(errno.into())),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is free for this user where it is.
    pub fn free(&self) -> io::Result<Free> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(Free {
            bytes: found.f_bavail.saturating_mul(found.f_frsize),
            files: (found.f_files > 0).then_some(found.f_favail),
            read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    /// Makes the directory of a job, with its record on disk. An id that no directory can have is
    /// [`io::ErrorKind::InvalidInput`].
    pub fn claim(&self, record: &Record) -> io::Result<JobDirectory> {
        let job = self.job(&record.job)?;
        let made = make_private(&job.path)
            .and_then(|()| job.write(record))
            .and_then(|()| private::sync_directory(&self.path.join("jobs")));
        match made {
            Ok(()) => Ok(job),
            Err(error) => {
                // What is left would be a job that is known.
                let _ = remove_tree(&job.path);
                Err(error)
            }
        }
    }

    /// Does once what it takes to write a job down, and removes it.
    pub fn try_claim(&self) -> io::Result<()> {
        let path = self.path.join("jobs").join(TRIAL);
        let made = make_private(&path)
            .and_then(|()| private::write_durably(&path.join("record"), &[b' '; TRIAL_BYTES]));
        let removed = remove_tree(&path);
        made.and(removed)
    }

    fn job(&self, id: &str) -> io::Result<JobDirectory> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if id.is_empty() || id.len() > 200 || !id.bytes().all(allowed) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the job has an id that no directory can have",
            ));
        }
        Ok(JobDirectory {
            path: self.path.join("jobs").join(id),
        })
    }

    /// Whether a job is known here, in whatever stage.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.job(id).is_ok_and(|job| job.path.join(RECORD).exists())
    }

    /// Every job that has a record, the oldest first; and directories whose record cannot be read, with the reason. For the
    /// start of an agent: what broke off before there was a record is removed, as nothing was promised then.
    pub fn jobs(&self) -> io::Result<Found> {
        let (mut jobs, mut broken) = self.listed()?;
        broken.retain(|(path, error)| {
            let is_none = error.kind() == io::ErrorKind::NotFound;
            if is_none {
                let _ = remove_tree(path);
            }
            !is_none
        });
        jobs.sort_by_key(|(_, record)| record.taken);
        Ok((jobs, broken))
    }

    fn listed(&self) -> io::Result<Found> {
        let (mut jobs, mut broken) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(self.path.join("jobs"))? {
            let path = entry?.path();
            let job = JobDirectory { path };
            match job.read() {
                Ok(record) => jobs.push((job, record)),
                Err(error) => broken.push((job.path, error)),
            }
        }
        Ok((jobs, broken))
    }
}

/// Jobs with their records, and directories whose record cannot be read, with the reason.
pub type Found = (Vec<(JobDirectory, Record)>, Vec<(PathBuf, io::Error)>);

const RECORD: &str = "job.json";

/// Where it is tried whether a job could be written down: no job has such an id.
const TRIAL: &str = ".trial";

/// Bytes of what is written there: a record with a long answer.
const TRIAL_BYTES: usize = 16 * 1024;

/// What is free on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// How many more files fit; nothing where they are not counted.
    pub files: Option<u64>,
    /// Whether nothing can be written at all.
    pub read_only: bool,
}

const WORK: &str = "work";

/// Where the input artifacts of a job are that was handed over by this file.
#[must_use]
pub fn work_of(handover: &Path) -> Option<PathBuf> {
    handover.parent().map(|job| job.join(WORK))
}

/// The directory of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDirectory {
    path: PathBuf,
}

impl JobDirectory {
    /// That which is there, or would be.
    pub(super) const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where input artifacts are.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join(WORK)
    }

    /// Where the build stores its artifacts.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// Where the build keeps what it makes of reports.
    #[must_use]
    pub fn reports(&self) -> PathBuf {
        self.path.join("reports")
    }

    /// The build's events, one a line.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// The build's log, as CodeBuild writes it.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("build.log")
    }

    /// What the build's process writes to standard error.
    #[must_use]
    pub fn said(&self) -> PathBuf {
        self.path.join("stderr.txt")
    }

    /// What the build's process is handed, and what it holds a lock on for as long as it lives.
    #[must_use]
    pub fn handover(&self) -> PathBuf {
        self.path.join("handover.json")
    }

    /// A buildspec that the action itself has.
    #[must_use]
    pub fn inline(&self) -> PathBuf {
        self.path.join("buildspec.yml")
    }

    /// The number of the build's process, for whoever finds it when the agent is gone.
    #[must_use]
    pub fn number(&self) -> PathBuf {
        self.path.join("pid")
    }

    /// Writes the record so that it is there after a power cut.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        private::write_durably(&self.path.join(RECORD), &text)
    }

    fn read(&self) -> io::Result<Record> {
        let file = File::open(self.path.join(RECORD))?;
        let mut text = Vec::new();
        file.take(MAX_RECORD).read_to_end(&mut text)?;
        let record: Record = serde_json::from_slice(&text)?;
        if record.format == FORMAT {
            Ok(record)
        } else {
            Err(io::Error::other("another version of this program wrote it"))
        }
    }

    /// Removes all of it. For a job that was not built: there is little in it.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.path)
    }

    /// Removes what only the build and its answer need: sources, artifacts, what it was handed and has said. Nobody waits for
    /// that meanwhile: a build may leave very many files.
    pub async fn clear(&self) {
        let places = [self.work(), self.artifacts(), self.reports()];
        let files = [self.handover(), self.inline(), self.said(), self.number()];
        let clearing = tokio::task::spawn_blocking(move || {
            for place in places {
                // Who wrote there when the build was stopped may be at its last file.
                let _ = remove_tree(&place).or_else(|_| remove_tree(&place));
            }
            for file in files {
                let _ = fs::remove_file(file);
            }
        });
        let _ = clearing.await;
    }

    /// Whether the process of the build lives: it holds a lock as long as it does.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let Ok(file) = File::open(self.handover()) else {
            return false;
        };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            == Err(rustix::io::Errno::WOULDBLOCK)
    }
}

/// What is in it is read by nobody else. Only root has commands run that are others', who have to come through.
fn make_private(path: &Path) -> io::Result<()> {
    private::make_all(path, private_mode())
}

fn private_mode() -> u32 {
    let is_root = rustix::process::geteuid().is_root();
    if is_root { 0o711 } else { 0o700 }
}
