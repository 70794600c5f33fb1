//! CodePipeline in our words: what can be asked of it, what it answers, and the client that speaks to it.
//!
//! Whatever CodePipeline says of an error is passed on only where it can help and can hold no secret: its words for a request
//! that it does not understand may repeat the nonce (AGENT-33).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_codepipeline::Client;
use aws_sdk_codepipeline::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_codepipeline::operation::RequestId;
use aws_sdk_codepipeline::types;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde::{Deserialize, Serialize};

use super::answer::{Failure, Success};
use crate::aws::{self, CONNECT, Keys, UnansweredKind};

/// How long CodePipeline may take to answer. None of its operations waits for anything.
const ANSWER: Duration = Duration::from_secs(20);

/// How often the client itself sends a request. More patience is ours to have, who can say what is waited for.
const ATTEMPTS: u32 = 2;

/// Longest summary, in characters (documented).
pub const MAX_SUMMARY: usize = 2048;

/// Longest message of a failure, in characters (documented).
pub const MAX_MESSAGE: usize = 5000;

/// Most bytes of all output variables, names and values (documented).
pub const MAX_VARIABLES: usize = 122_880;

/// Whose jobs are asked for. The owner is always `Custom`: nobody else's jobs can be polled for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionType {
    /// `Build` or `Test`.
    pub category: String,
    /// The provider's name.
    pub provider: String,
    /// Its version.
    pub version: String,
}

impl fmt::Display for ActionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            category,
            provider,
            version,
        } = self;
        write!(f, "{category}/{provider}/{version}")
    }
}

/// What a job is acknowledged with. Nothing that is shown has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(String);

impl Nonce {
    /// The nonce with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(…)")
    }
}

/// Where a job comes from. What CodePipeline does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Its ARN.
    pub arn: String,
    /// The stage.
    pub stage: String,
    /// The action.
    pub action: String,
    /// The execution of the pipeline.
    pub execution: String,
}

impl Origin {
    /// The part of AWS that the pipeline is in, as ARNs have it: `aws` unless its own says something else.
    #[must_use]
    pub fn partition(&self) -> &str {
        match self.arn.split(':').collect::<Vec<_>>().as_slice() {
            ["arn", partition, "codepipeline", ..] => partition,
            _ => "aws",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pipeline, self.stage, self.action)
    }
}

/// An input or output artifact, and its place in a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifact {
    /// Its name.
    pub name: String,
    /// Of an input: which revision it is, where that is known.
    pub revision: Option<String>,
    /// The bucket; empty if CodePipeline names none.
    pub bucket: String,
    /// The key in it; empty if CodePipeline names none.
    pub key: String,
}

impl Artifact {
    /// Where it is, as an ARN of S3 in this part of AWS.
    #[must_use]
    pub fn arn(&self, partition: &str) -> String {
        format!("arn:{partition}:s3:::{}/{}", self.bucket, self.key)
    }
}

/// All that a job says but its nonce.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Where it comes from.
    pub origin: Origin,
    /// The action's configuration, with secret values in clear: the reason why this has no `Debug`.
    pub configuration: BTreeMap<String, String>,
    /// Input artifacts.
    pub inputs: Vec<Artifact>,
    /// Output artifacts.
    pub outputs: Vec<Artifact>,
    /// What gives access to the artifacts, for about a quarter of an hour.
    pub credentials: Option<Keys>,
    /// The KMS key that output artifacts are encrypted with; the account's own for S3 if there is none.
    pub encryption_key: Option<String>,
}

/// A job that was handed out.
#[derive(Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What it is acknowledged with.
    pub nonce: Nonce,
    /// What it is about.
    pub details: Details,
}

/// What kind of error it is, by what there is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It may be gone the next time: the network, throttling, the service itself, an answer that is not whole.
    Passing,
    /// There are no credentials.
    NoCredentials,
    /// The credentials are not good, or not good for this.
    Denied,
    /// There is no such action type here.
    NoActionType,
    /// Somebody else has the job, or the nonce is an old one.
    InvalidNonce,
    /// There is no such job.
    NotFound,
    /// The job is not one that can be answered: it was, or its time is over.
    InvalidState,
    /// The output variables are too large.
    TooLarge,
    /// CodePipeline does not take the request.
    Invalid,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What there is to be done.
    pub kind: ErrorKind,
    /// What happened. It has neither nonce nor credentials in it.
    pub message: String,
    /// What to do, where that is known.
    pub help: Option<String>,
    /// Whether CodePipeline has refused the request, so that it surely had no effect.
    pub refused: bool,
}

impl Error {
    /// One of this kind, of which nobody knows whether it had an effect.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
            refused: false,
        }
    }
}

/// What the agent asks of CodePipeline.
pub trait Pipeline: Send + Sync + 'static {
    /// At most so many jobs that nobody works on.
    fn poll(&self, most: usize) -> impl Future<Output = Result<Vec<Job>, Error>> + Send;

    /// Takes a job. Whether it is in progress now, and so this agent's.
    fn acknowledge(
        &self,
        job: &str,
        nonce: &Nonce,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// What a job is about, with new credentials.
    fn details(&self, job: &str) -> impl Future<Output = Result<Details, Error>> + Send;

    /// Answers a job with success.
    fn succeed(
        &self,
        job: &str,
        success: &Success,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Answers a job with failure.
    fn fail(&self, job: &str, failure: &Failure) -> impl Future<Output = Result<(), Error>> + Send;
}

/// CodePipeline itself.
#[derive(Debug)]
pub struct CodePipeline {
    client: Client,
    action: ActionType,
    query: Option<(String, String)>,
    missing_profile: Option<String>,
}

impl CodePipeline {
    /// A client for jobs of this type, with the one query that CodePipeline takes. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// There is no region: what is missing, and what to do.
    pub async fn new(
        settings: &aws::Settings,
        action: ActionType,
        query: Option<(String, String)>,
    ) -> Result<Self, (String, String)> {
        let shared = settings.loader().load().await;
        let missing_profile = settings.missing_profile.clone();
        if shared.region().is_none() {
            return Err(aws::no_region(missing_profile.as_deref()));
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(ANSWER)
            .operation_attempt_timeout(ANSWER + CONNECT)
            .build();
        let config = aws_sdk_codepipeline::config::Builder::from(&shared)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts)
            .build();
        Ok(Self {
            client: Client::from_conf(config),
            action,
            query,
            missing_profile,
        })
    }

    /// The region whose jobs these are.
    #[must_use]
    pub fn region(&self) -> String {
        let region = self.client.config().region();
        region.map(ToString::to_string).unwrap_or_default()
    }

    fn action_type(&self) -> Result<types::ActionTypeId, Error> {
        types::ActionTypeId::builder()
            .category(types::ActionCategory::from(self.action.category.as_str()))
            .owner(types::ActionOwner::Custom)
            .provider(&self.action.provider)
            .version(&self.action.version)
            .build()
            .map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))
    }

    fn error<E>(&self, doing: &str, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        SdkError<E, HttpResponse>: RequestId,
    {
        let Some(response) = error.raw_response() else {
            let unanswered = aws::unanswered(error, self.missing_profile.as_deref());
            let kind = match unanswered.kind {
                UnansweredKind::NoCredentials => ErrorKind::NoCredentials,
                UnansweredKind::BadCredentials | UnansweredKind::Network => ErrorKind::Passing,
            };
            return Error {
                kind,
                message: format!("could not {doing}: {}", unanswered.why),
                help: Some(unanswered.help),
                refused: unanswered.unsent,
            };
        };
        let status = response.status().as_u16();
        let code = error.code();
        let kind = kind(code, status);
        let said = code.map_or_else(|| format!("HTTP {status}"), str::to_owned);
        // Words about who may not do what name no nonce, and are what an operator needs.
        let words = error.message().filter(|_| kind == ErrorKind::Denied);
        // About a signature they may repeat all that was signed, credentials too.
        let words = words.filter(|_| !code.is_some_and(|code| code.contains("Signature")));
        let words = words.and_then(|words| words.lines().next());
        let words = words.map_or_else(String::new, |words| format!(": {words}"));
        let request = error.request_id().unwrap_or("none");
        Error {
            kind,
            message: format!("could not {doing}: {said}{words} (request id {request})"),
            help: help(kind, &self.action),
            refused: code.is_some() && (400..500).contains(&status),
        }
    }
}

/// For what counts once: what the client sent again by itself would be refused for what the first request did, and nobody would
/// know of that one.
fn once() -> aws_sdk_codepipeline::config::Builder {
    let retries = RetryConfig::standard().with_max_attempts(1);
    aws_sdk_codepipeline::config::Builder::default().retry_config(retries)
}

/// What an answer is, by its code and its HTTP status.
fn kind(code: Option<&str>, status: u16) -> ErrorKind {
    match (code.unwrap_or_default(), status) {
        ("InvalidNonceException", _) => ErrorKind::InvalidNonce,
        ("JobNotFoundException", _) => ErrorKind::NotFound,
        ("InvalidJobStateException", _) => ErrorKind::InvalidState,
        ("OutputVariablesSizeExceededException", _) => ErrorKind::TooLarge,
        ("ActionTypeNotFoundException", _) => ErrorKind::NoActionType,
        (code, _) if code.contains("Thrott") || code.contains("TooManyRequests") => {
            ErrorKind::Passing
        }
        ("RequestLimitExceeded" | "SlowDown", _) => ErrorKind::Passing,
        (
            "AccessDeniedException"
            | "AccessDenied"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "OptInRequired"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException",
            _,
        ) => ErrorKind::Denied,
        ("ValidationException" | "SerializationException" | "ValidationError", _) => {
            ErrorKind::Invalid
        }
        (_, 401 | 403) => ErrorKind::Denied,
        _ => ErrorKind::Passing,
    }
}

fn help(kind: ErrorKind, action: &ActionType) -> Option<String> {
    match kind {
        ErrorKind::NoActionType => Some(format!(
            "make the action type {action} with `runner agent register`, or check --provider, --version and the region"
        )),
        ErrorKind::Invalid => Some(format!(
            "check --provider, --version and --category ({action}), and --query: a type with a queryable property needs one"
        )),
        ErrorKind::Denied => Some(
            "check the credentials, this machine's clock, and the policy that `runner agent register` prints".to_owned(),
        ),
        _ => None,
    }
}

impl Pipeline for CodePipeline {
    async fn poll(&self, most: usize) -> Result<Vec<Job>, Error> {
        let mut request = self
            .client
            .poll_for_jobs()
            .action_type_id(self.action_type()?)
            .max_batch_size(i32::try_from(most).unwrap_or(i32::MAX));
        if let Some((name, value)) = &self.query {
            request = request.query_param(name, value);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| self.error("poll for jobs", &error))?;
        // An answer that broke off in the middle can still be one without jobs (AGENT-5).
        let Some(jobs) = answer.jobs else {
            let message = "could not poll for jobs: the answer has no list of jobs";
            return Err(Error::new(ErrorKind::Passing, message));
        };
        Ok(jobs.into_iter().filter_map(job).collect())
    }

    async fn acknowledge(&self, job: &str, nonce: &Nonce) -> Result<bool, Error> {
        let request = self.client.acknowledge_job().job_id(job).nonce(&nonce.0);
        let answer = request.customize().config_override(once()).send().await;
        let answer = answer.map_err(|error| self.error("acknowledge the job", &error))?;
        match answer.status {
            Some(status) => Ok(status == types::JobStatus::InProgress),
            None => Err(Error::new(
                ErrorKind::Passing,
                "could not acknowledge the job: the answer has no status",
            )),
        }
    }

    async fn details(&self, job: &str) -> Result<Details, Error> {
        let answer = self.client.get_job_details().job_id(job).send().await;
        let answer = answer.map_err(|error| self.error("get the job's details", &error))?;
        let data = answer.job_details.and_then(|details| details.data);
        data.map(details).ok_or_else(|| {
            let message = "could not get the job's details: the answer has none";
            Error::new(ErrorKind::Passing, message)
        })
    }

    async fn succeed(&self, job: &str, success: &Success) -> Result<(), Error> {
        let mut execution = types::ExecutionDetails::builder().percent_complete(100);
        execution = execution.set_external_execution_id(success.build.clone());
        execution = execution.set_summary(success.summary.clone());
        let mut request = self
            .client
            .put_job_success_result()
            .job_id(job)
            .execution_details(execution.build());
        for (name, value) in &success.variables {
            request = request.output_variables(name, value);
        }
        let answer = request.customize().config_override(once()).send().await;
        answer
            .map(drop)
            .map_err(|error| self.error("answer the job with success", &error))
    }

    async fn fail(&self, job: &str, failure: &Failure) -> Result<(), Error> {
        let details = types::FailureDetails::builder()
            .r#type(types::FailureType::from(failure.kind.name()))
            .message(&failure.message)
            .set_external_execution_id(failure.build.clone())
            .build()
            .map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
        let request = self.client.put_job_failure_result().job_id(job);
        let request = request.failure_details(details).customize();
        let answer = request.config_override(once()).send().await;
        answer
            .map(drop)
            .map_err(|error| self.error("answer the job with failure", &error))
    }
}

/// A job as it was handed out; one that cannot even be acknowledged is none.
fn job(given: types::Job) -> Option<Job> {
    Some(Job {
        id: given.id?,
        nonce: Nonce(given.nonce?),
        details: given.data.map(details).unwrap_or_default(),
    })
}

fn details(data: types::JobData) -> Details {
    let context = data.pipeline_context;
    let origin = context.map(|context| Origin {
        pipeline: context.pipeline_name.unwrap_or_default(),
        arn: context.pipeline_arn.unwrap_or_default(),
        stage: context
            .stage
            .and_then(|stage| stage.name)
            .unwrap_or_default(),
        action: context
            .action
            .and_then(|action| action.name)
            .unwrap_or_default(),
        execution: context.pipeline_execution_id.unwrap_or_default(),
    });
    let configuration = data.action_configuration;
    let configuration = configuration.and_then(|configuration| configuration.configuration);
    let artifacts = |given: Option<Vec<types::Artifact>>| {
        let given = given.unwrap_or_default();
        given.into_iter().map(artifact).collect()
    };
    Details {
        origin: origin.unwrap_or_default(),
        configuration: configuration.unwrap_or_default().into_iter().collect(),
        inputs: artifacts(data.input_artifacts),
        outputs: artifacts(data.output_artifacts),
        credentials: data.artifact_credentials.map(|given| Keys {
            id: given.access_key_id,
            secret: given.secret_access_key,
            session: Some(given.session_token),
        }),
        encryption_key: data.encryption_key.map(|key| key.id),
    }
}

fn artifact(given: types::Artifact) -> Artifact {
    let place = given.location.and_then(|location| location.s3_location);
    let (bucket, key) = place.map_or_else(Default::default, |place| {
        (place.bucket_name, place.object_key)
    });
    Artifact {
        name: given.name.unwrap_or_default(),
        revision: given.revision,
        bucket,
        key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // AGENT-6, AGENT-7, AGENT-11
    #[test]
    fn an_error_is_what_there_is_to_be_done() {
        let table = [
            (Some("InvalidNonceException"), 400, ErrorKind::InvalidNonce),
            (Some("JobNotFoundException"), 400, ErrorKind::NotFound),
            (
                Some("InvalidJobStateException"),
                400,
                ErrorKind::InvalidState,
            ),
            (
                Some("OutputVariablesSizeExceededException"),
                400,
                ErrorKind::TooLarge,
            ),
            (
                Some("ActionTypeNotFoundException"),
                400,
                ErrorKind::NoActionType,
            ),
            (Some("ThrottlingException"), 400, ErrorKind::Passing),
            (Some("TooManyRequestsException"), 429, ErrorKind::Passing),
            (Some("ServiceUnavailableException"), 503, ErrorKind::Passing),
            (Some("ValidationException"), 400, ErrorKind::Invalid),
            (Some("AccessDeniedException"), 400, ErrorKind::Denied),
            (Some("UnrecognizedClientException"), 400, ErrorKind::Denied),
            (None, 403, ErrorKind::Denied),
            (None, 502, ErrorKind::Passing),
            (None, 200, ErrorKind::Passing),
        ];
        for (code, status, expected) in table {
            assert_eq!(kind(code, status), expected, "{code:?} {status}");
        }
    }
}
