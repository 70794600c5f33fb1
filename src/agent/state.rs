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

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
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
    /// What it is acknowledged with; gone when the job is over.
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
        make_private(&path.join("jobs")).map_err(error)?;
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

    /// Bytes that are free for this user where it is.
    pub fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Makes the directory of a job, with its record on disk.
    pub fn claim(&self, record: &Record) -> io::Result<JobDirectory> {
        let job = self.job(&record.job)?;
        make_private(&job.path)?;
        job.write(record).inspect_err(|_| {
            let _ = remove_tree(&job.path);
        })?;
        private::sync_directory(&self.path.join("jobs"))?;
        Ok(job)
    }

    fn job(&self, id: &str) -> io::Result<JobDirectory> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if id.is_empty() || id.len() > 200 || !id.bytes().all(allowed) {
            return Err(io::Error::other(
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

    /// Every job that has a record, the oldest first; and directories whose record cannot be read, with the reason.
    pub fn jobs(&self) -> io::Result<Found> {
        let (mut jobs, mut broken) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(self.path.join("jobs"))? {
            let path = entry?.path();
            let job = JobDirectory { path };
            match job.read() {
                Ok(record) => jobs.push((job, record)),
                // It broke off before there was one: nothing was promised.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let _ = remove_tree(&job.path);
                }
                Err(error) => broken.push((job.path, error)),
            }
        }
        jobs.sort_by_key(|(_, record)| record.taken);
        Ok((jobs, broken))
    }

    /// Removes what jobs left that are over, but for the last `keep`, and for those that `may_go` holds back.
    pub fn forget(&self, keep: usize, may_go: impl Fn(&JobDirectory) -> bool) -> io::Result<()> {
        let (jobs, _) = self.jobs()?;
        let over: Vec<JobDirectory> = jobs
            .into_iter()
            .filter(|(_, record)| record.is_over())
            .map(|(job, _)| job)
            .collect();
        let many = over.len().saturating_sub(keep);
        for job in over.into_iter().take(many).filter(|job| may_go(job)) {
            remove_tree(&job.path)?;
        }
        Ok(())
    }
}

/// Jobs with their records, and directories whose record cannot be read, with the reason.
pub type Found = (Vec<(JobDirectory, Record)>, Vec<(PathBuf, io::Error)>);

const RECORD: &str = "job.json";

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

    /// Removes all of it.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.path)
    }

    /// Removes what only the build needs: sources, artifacts, what it was handed.
    pub fn clear(&self) {
        for place in [self.work(), self.artifacts()] {
            // Who wrote there when the build was stopped may be at its last file.
            let _ = remove_tree(&place).or_else(|_| remove_tree(&place));
        }
        let _ = fs::remove_file(self.handover());
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
    let is_root = rustix::process::geteuid().is_root();
    make_directory(path, if is_root { 0o711 } else { 0o700 })
}

pub(super) fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}
