//! Input artifacts: fetched with the job's own credentials, each into a directory of its own (AGENT-9, AGENT-10).
//!
//! The credentials are good for a quarter of an hour. Whoever uses them asks here each time, and gets new ones in time.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use tokio::sync::Mutex;

use super::answer::FailureKind;
use super::job::Order;
use super::pipeline::{Artifact, Error, Pipeline};
use crate::aws::{self, Keys, Provider};
use crate::event::stamp;
use crate::fetch::archive::Limits;
use crate::fetch::{self, GitSettings, Location, Progress, S3Location, S3Settings, Settings};
use crate::private;
use crate::proxy::Proxy;

/// How long credentials are good for, less what a request needs that begins at the last moment.
const LIFE: Duration = Duration::from_mins(14);

/// How old credentials may be for something that begins with them.
const FRESH: Duration = Duration::from_mins(10);

/// How often an artifact is asked for, with new credentials each time: the client itself tries each request again, too.
const ATTEMPTS: u32 = 3;

/// The pause before the second attempt; the next is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// Why artifacts cannot be had without credentials.
pub const NO_CREDENTIALS: &str = "CodePipeline gave no credentials for the artifacts";

/// Credentials of one job, renewed before they end.
pub struct JobCredentials<P> {
    pipeline: Arc<P>,
    job: String,
    held: Mutex<(Option<Keys>, Instant)>,
}

impl<P> fmt::Debug for JobCredentials<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobCredentials({}, …)", self.job)
    }
}

impl<P: Pipeline> JobCredentials<P> {
    /// Those that a job came with, at that moment.
    pub fn new(pipeline: Arc<P>, job: &str, keys: Option<Keys>, since: Instant) -> Arc<Self> {
        Arc::new(Self {
            pipeline,
            job: job.to_owned(),
            held: Mutex::new((keys, since)),
        })
    }

    /// Gets new ones. An error says what CodePipeline says.
    pub async fn renew(&self) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        self.renew_in(&mut held).await
    }

    async fn renew_in(&self, held: &mut (Option<Keys>, Instant)) -> Result<(), Error> {
        let asked = Instant::now();
        let details = self.pipeline.details(&self.job).await?;
        // An answer without credentials does not make those bad that are known.
        if details.credentials.is_some() {
            *held = (details.credentials, asked);
        }
        Ok(())
    }

    async fn get(&self) -> Result<Credentials, CredentialsError> {
        let mut held = self.held.lock().await;
        if held.1.elapsed() >= FRESH {
            let renewed = self.renew_in(&mut held).await;
            // Old ones may still be good for what they are wanted for.
            if let (Err(error), true) = (renewed, held.1.elapsed() >= LIFE) {
                return Err(CredentialsError::provider_error(error));
            }
        }
        let (keys, since) = &*held;
        let keys = keys
            .as_ref()
            .ok_or_else(|| CredentialsError::not_loaded(NO_CREDENTIALS))?;
        let left = LIFE.saturating_sub(since.elapsed());
        Ok(Credentials::new(
            &keys.id,
            &keys.secret,
            keys.session.clone(),
            Some(stamp() + left),
            "CodePipeline",
        ))
    }
}

impl<P: Pipeline> ProvideCredentials for JobCredentials<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }
}

/// How S3 is reached as a job.
#[derive(Clone, Debug)]
pub struct AsJob {
    /// With its credentials, and in its region.
    pub aws: aws::Settings,
    /// Whether an endpoint other than AWS's own is set.
    pub custom_endpoint: bool,
    /// What is stored goes through it; what is fetched does not (AGENT-101).
    pub proxy: Option<Proxy>,
}

impl AsJob {
    /// As a job with these credentials; what is known of AWS is the agent's.
    pub fn new<P: Pipeline>(
        credentials: &Arc<JobCredentials<P>>,
        agent: &aws::Settings,
        custom_endpoint: bool,
    ) -> Self {
        let shared: Arc<dyn ProvideCredentials> = Arc::clone(credentials) as _;
        Self {
            aws: aws::Settings {
                region: agent.region.clone(),
                endpoint: agent.endpoint.clone(),
                provider: Some(Provider::new(shared)),
                ..aws::Settings::default()
            },
            custom_endpoint,
            proxy: None,
        }
    }
}

/// Why there are no sources.
pub struct NotFetched {
    /// Who has to act.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
}

/// Where the source of an artifact is below the directory of its job.
#[must_use]
pub fn directory(work: &Path, artifact: Option<&Artifact>) -> PathBuf {
    match artifact {
        None => work.join("src"),
        Some(artifact) => work.join(format!("src_{}", artifact.name)),
    }
}

/// Fetches every input artifact of a job into directories below `work`. Gives the bytes that came.
pub async fn fetch<P: Pipeline>(
    order: &Order,
    work: &Path,
    credentials: &Arc<JobCredentials<P>>,
    s3: &AsJob,
) -> Result<u64, NotFetched> {
    let primary = directory(work, None);
    private::make_all(work, 0o700).map_err(|error| no_room(work, &error))?;
    let mut bytes = 0;
    match &order.primary {
        Some(artifact) => bytes += fetch_one(artifact, &primary, credentials, s3).await?,
        None => make_source(&primary)?,
    }
    for artifact in &order.others {
        let into = directory(work, Some(artifact));
        bytes += fetch_one(artifact, &into, credentials, s3).await?;
    }
    Ok(bytes)
}

/// Makes the directory of a source: one that every user may go into who gets as far as that (AGENT-98).
fn make_source(path: &Path) -> Result<(), NotFetched> {
    private::make_all(path, 0o755).map_err(|error| no_room(path, &error))
}

fn no_room(path: &Path, error: &std::io::Error) -> NotFetched {
    NotFetched {
        kind: FailureKind::SystemUnavailable,
        message: format!("could not make {}: {error}", path.display()),
    }
}

async fn fetch_one<P: Pipeline>(
    artifact: &Artifact,
    into: &Path,
    credentials: &Arc<JobCredentials<P>>,
    s3: &AsJob,
) -> Result<u64, NotFetched> {
    let failed = |kind, why: &str| NotFetched {
        kind,
        message: format!("input artifact {}: {why}", artifact.name),
    };
    if artifact.bucket.is_empty() || artifact.key.is_empty() {
        let why = "CodePipeline does not say where it is";
        return Err(failed(FailureKind::RevisionUnavailable, why));
    }
    let at = Location::S3(S3Location {
        bucket: artifact.bucket.clone(),
        key: artifact.key.clone(),
        version: None,
    });
    let received = std::sync::atomic::AtomicU64::new(0);
    let watch = |progress: Progress| {
        if let Progress::Received { bytes, .. } = progress {
            received.store(bytes, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let mut attempt = 1;
    loop {
        make_source(into)?;
        let fetched = fetch::fetch(&at, into, &settings(s3), &watch).await;
        let Err(error) = fetched else {
            return Ok(received.into_inner());
        };
        if attempt == ATTEMPTS || is_final(&error) {
            let kind = kind(&error);
            return Err(failed(kind, &format!("{}\n{}", error.message, error.help)));
        }
        tokio::time::sleep(PAUSE * attempt).await;
        attempt += 1;
        // Also when it seems to be something else: a bucket that denies says nothing of credentials that are over. If there
        // are no new ones, the old ones are tried.
        let _ = credentials.renew().await;
    }
}

/// Whether new credentials cannot help.
fn is_final(error: &fetch::Error) -> bool {
    let message = &error.message;
    is_ours(message) || message.starts_with("NoSuch") || message.starts_with("could not unpack")
}

/// Whether it is this machine that has no room, or no rights. A connection that breaks off is an error of the system, too, and
/// says nothing of this machine.
fn is_ours(message: &str) -> bool {
    let is_of_network = message.starts_with("could not fetch");
    message.starts_with("could not write") || (message.contains("(os error ") && !is_of_network)
}

fn kind(error: &fetch::Error) -> FailureKind {
    if is_ours(&error.message) {
        FailureKind::SystemUnavailable
    } else {
        FailureKind::RevisionUnavailable
    }
}

fn settings(s3: &AsJob) -> Settings {
    Settings {
        git: GitSettings::default(),
        s3: S3Settings {
            aws: s3.aws.clone(),
            custom_endpoint: s3.custom_endpoint,
        },
        limits: Limits::default(),
        first_pause: PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // AGENT-9
    #[test]
    fn a_machine_without_room_is_not_a_network_that_breaks_off() {
        for (message, expected) in [
            (
                "could not fetch s3://b/k: dispatch failure: Connection reset by peer (os error 104)",
                FailureKind::RevisionUnavailable,
            ),
            (
                "NoSuchKey: it is not there",
                FailureKind::RevisionUnavailable,
            ),
            (
                "could not write s3://b/k to /x: No space left on device (os error 28)",
                FailureKind::SystemUnavailable,
            ),
            (
                "could not unpack s3://b/k: could not make /x: Permission denied (os error 13)",
                FailureKind::SystemUnavailable,
            ),
        ] {
            let error = fetch::Error::new(message, "help");
            assert_eq!(kind(&error), expected, "{message}");
        }
    }
}
