//! How AWS is reached: one HTTP client, the limits of every call, and words for what goes wrong before a service has
//! answered.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::client::error::ImdsError;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls;

use crate::proxy;

/// How long a connection may take to come about.
pub const CONNECT: Duration = Duration::from_secs(5);

/// How long a service may take to begin its answer, beside the time that sending takes. Without it one dead connection
/// holds a build for a quarter of an hour.
pub const ANSWER: Duration = Duration::from_mins(1);

/// How long a line may carry nothing at all. With many parts on one slow line each of them has to wait for its turn.
const SILENCE: Duration = Duration::from_mins(1);

/// How often a request is tried before it counts as failed.
const ATTEMPTS: u32 = 5;

/// How long a small question may take with all its attempts, finding credentials included: what takes longer will not come.
pub const SMALL: Duration = Duration::from_secs(30);

/// Where roles of profiles are asked for if no region was said.
const REGION_OF_ROLES: &str = "us-east-1";

/// How long nothing is heard before it is said what is waited for. Each further time is twice as long (ENV-55).
pub const QUIET: Duration = Duration::from_secs(10);

/// Carries work on, and tells how long nothing came of it: after [`QUIET`], then after twice as long, and so on.
pub async fn telling<T>(work: impl Future<Output = T>, mut tell: impl FnMut(Duration)) -> T {
    tokio::pin!(work);
    let (mut pause, mut waited) = (QUIET, Duration::ZERO);
    loop {
        if let Ok(done) = tokio::time::timeout(pause, &mut work).await {
            return done;
        }
        waited += pause;
        tell(waited);
        pause *= 2;
    }
}

/// Limits for small questions, such as who one is.
#[must_use]
pub fn small_question() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(SMALL / 2)
        .operation_timeout(SMALL)
        .build()
}

/// Keys that are given, rather than found where the SDK looks.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// `AWS_ACCESS_KEY_ID`
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret: String,
    /// `AWS_SESSION_TOKEN`, if they are temporary.
    pub session: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({}, …)", self.id)
    }
}

/// Credentials that somebody else has, who renews them.
#[derive(Clone, Debug)]
pub struct Provider(Arc<dyn ProvideCredentials>);

impl Provider {
    /// Those that this has.
    pub fn new(provider: impl ProvideCredentials + 'static) -> Self {
        Self(Arc::new(provider))
    }
}

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Provider {}

/// Which part of AWS is meant, and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The region, where it was said; else what the environment and the profile say.
    pub region: Option<String>,
    /// The profile, where it was said.
    pub profile: Option<String>,
    /// Whether the profile that was said comes before keys of the environment, as `--profile` does with AWS's own tool.
    pub only_profile: bool,
    /// The profile that is asked for, if it is known to be nowhere. Then keys of the environment are all that is looked for:
    /// whoever named a profile does not mean the machine's own role.
    pub missing_profile: Option<String>,
    /// Credentials that come before all that are found, such as those of the build's role.
    pub provider: Option<Provider>,
    /// Keys that come before all others, where there are some.
    pub keys: Option<Keys>,
    /// Another address than AWS's own, where it was said; else what the environment and the profile say.
    pub endpoint: Option<String>,
}

impl Settings {
    /// The credentials that come before all that are found.
    #[must_use]
    pub fn shared_provider(&self) -> Option<SharedCredentialsProvider> {
        let provider = self.provider.as_ref()?;
        Some(SharedCredentialsProvider::from(Arc::clone(&provider.0)))
    }

    /// What every client of AWS begins with. Nothing is contacted, and no file is read, before it is loaded.
    #[must_use]
    pub fn loader(&self) -> ConfigLoader {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(ANSWER)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled()
                    .grace_period(SILENCE)
                    .build(),
            )
            .timeout_config(timeouts);
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.region {
            loader = loader.region(aws_config::Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(Keys {
            id,
            secret,
            session,
        }) = &self.keys
        {
            let from = "the command's environment";
            let keys = Credentials::new(id, secret, session.clone(), None, from);
            loader = loader.credentials_provider(keys);
        } else if let Some(provider) = self.shared_provider() {
            loader = loader.credentials_provider(provider);
        } else if let (true, Some(profile)) = (self.only_profile, &self.profile) {
            // A profile may stand for a role, which STS gives out in every region.
            let region = self.region.as_deref().unwrap_or(REGION_OF_ROLES).to_owned();
            let config = ProviderConfig::without_region()
                .with_http_client(http)
                .with_region(Some(aws_config::Region::new(region)));
            let is_missing = self.missing_profile.is_some();
            loader = loader.credentials_provider(without_keys(&config, profile, is_missing));
        } else if self.missing_profile.is_some() {
            loader = loader.credentials_provider(EnvironmentVariableCredentialsProvider::new());
        }
        loader
    }
}

/// Whether the files of AWS that these variables lead to have a profile. Reads them.
#[must_use]
pub fn has_profile(wanted: &str, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let files = [
        ("AWS_CONFIG_FILE", "~/.aws/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    ];
    files.iter().any(|(name, usual)| {
        let path = variable(name).filter(|path| !path.is_empty());
        let path = path.unwrap_or_else(|| OsString::from(usual));
        let below_home = path.to_str().and_then(|path| path.strip_prefix("~/"));
        let path = match (below_home, variable("HOME")) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => PathBuf::from(&path),
        };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| profile_of(line) == Some(wanted))
    })
}

/// The profile whose section begins at a line of a file of AWS.
fn profile_of(line: &str) -> Option<&str> {
    let (name, _) = line.trim().strip_prefix('[')?.split_once(']')?;
    let name = name.trim();
    let name = match name.strip_prefix("profile") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim(),
        _ => name,
    };
    Some(name.trim_matches(['"', '\'']))
}

/// What the SDK looks for, without keys of the environment: a profile, then what the machine has for one that says nothing.
fn without_keys(
    config: &ProviderConfig,
    profile: &str,
    is_missing: bool,
) -> CredentialsProviderChain {
    let profile = ProfileFileCredentialsProvider::builder()
        .configure(config)
        .profile_name(profile)
        .build();
    let first = CredentialsProviderChain::first_try("Profile", profile);
    if is_missing {
        return first;
    }
    let container = EcsCredentialsProvider::builder().configure(config).build();
    let instance = ImdsCredentialsProvider::builder().configure(config).build();
    first
        .or_else("EcsContainer", container)
        .or_else("Ec2InstanceMetadata", instance)
}

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// What kind of reason.
    pub kind: UnansweredKind,
    /// Why, as a phrase.
    pub why: String,
    /// What to do.
    pub help: String,
    /// Whether the request surely never left: then nothing came of it.
    pub unsent: bool,
}

/// Kinds of reasons why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnansweredKind {
    /// There are no credentials.
    NoCredentials,
    /// There are some, but what gives them out failed.
    BadCredentials,
    /// The network, or the service.
    Network,
}

/// What to do without credentials.
const NAME_CREDENTIALS: &str = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with `--profile`";

/// What to do where credentials should be, and cannot be had.
const CHECK_CREDENTIALS: &str = "check the profile and what gives out its credentials, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// How the SDK begins to say that credentials did not come in time. It has no type for it that others can see.
const FINDING_TIMED_OUT: &str = "identity resolver timed out";

/// No answer came: no credentials, no network, no service.
#[must_use]
pub fn unanswered(error: &(dyn std::error::Error + 'static), missing: Option<&str>) -> Unanswered {
    let (kind, (why, help)) = match (credentials_error(error), missing) {
        (Some(_), Some(profile)) => (UnansweredKind::NoCredentials, missing_profile(profile)),
        (Some(CredentialsError::CredentialsNotLoaded(_)), None) => (
            UnansweredKind::NoCredentials,
            (
                "no AWS credentials were found".to_owned(),
                NAME_CREDENTIALS.to_owned(),
            ),
        ),
        (Some(_), None) => match refused_by_machine(error) {
            Some(reason) => (
                UnansweredKind::NoCredentials,
                (
                    format!(
                        "no AWS credentials were found; this machine's metadata service gives none: {reason}"
                    ),
                    NAME_CREDENTIALS.to_owned(),
                ),
            ),
            None => (
                UnansweredKind::BadCredentials,
                (causes(error).join(": "), CHECK_CREDENTIALS.to_owned()),
            ),
        },
        (None, _)
            if causes(error)
                .iter()
                .any(|cause| cause.starts_with(FINDING_TIMED_OUT)) =>
        {
            (
                UnansweredKind::BadCredentials,
                (
                    "what gives out AWS credentials did not answer in time".to_owned(),
                    CHECK_CREDENTIALS.to_owned(),
                ),
            )
        }
        (None, _) => (
            UnansweredKind::Network,
            (
                causes(error).join(": "),
                if proxy::is_to_blame(error) {
                    "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and whether the proxy is there: artifacts go through it by `proxy.upload-artifacts`".to_owned()
                } else {
                    "check the network, the region and AWS_ENDPOINT_URL".to_owned()
                },
            ),
        ),
    };
    Unanswered {
        kind,
        why,
        help,
        unsent: kind != UnansweredKind::Network || is_of_connecting(error),
    }
}

/// Whether there never was a connection.
fn is_of_connecting(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_it = |error: &(dyn std::error::Error + 'static)| {
        let found = error.downcast_ref::<hyper_util::client::legacy::Error>();
        found.is_some_and(hyper_util::client::legacy::Error::is_connect)
    };
    std::iter::successors(Some(error), |error| error.source()).any(is_it)
}

/// Why nothing can be done without a region, and what to do.
#[must_use]
pub fn no_region(missing: Option<&str>) -> (String, String) {
    match missing {
        Some(profile) => missing_profile(profile),
        None => (
            "no AWS region is set".to_owned(),
            "pass `--region`, set AWS_REGION, or give the profile a region".to_owned(),
        ),
    }
}

fn missing_profile(profile: &str) -> (String, String) {
    (
        format!("there is no AWS profile `{profile}`"),
        "check AWS_PROFILE or `--profile`, and the profiles in ~/.aws/config and ~/.aws/credentials"
            .to_owned(),
    )
}

/// What the search for credentials came to, if it is to blame.
fn credentials_error<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e CredentialsError> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<CredentialsError>())
}

/// In which words the machine's metadata service has refused, if it is to blame. It is asked last: nothing that comes
/// before it, such as the environment and profiles, had any credentials.
fn refused_by_machine(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let by_machine = std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.downcast_ref::<ImdsError>().is_some());
    let last = causes(error).pop().filter(|_| by_machine)?;
    Some(last.trim_end_matches('.').to_owned())
}

/// The words of an error and of all below it, each once.
fn causes(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let words = error.to_string();
        if causes.last().is_none_or(|last| !last.contains(&words)) {
            causes.push(words);
        }
        next = error.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_of_a_profile() {
        let table = [
            ("[default]", Some("default")),
            ("[ dev ] # mine", Some("dev")),
            ("[profile dev]", Some("dev")),
            ("[profile \"a b\"]", Some("a b")),
            ("[profiles]", Some("profiles")),
            ("region = [x]", None),
            ("# [x]", None),
        ];
        for (line, name) in table {
            assert_eq!(profile_of(line), name, "{line}");
        }
    }
}
