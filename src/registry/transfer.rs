//! What a push and a pull have in common: what can go wrong, what is tried again, and how long silence may last.

use std::time::Duration;

use serde_json::Value;

use super::auth;
use super::ecr::{Kind, Registry};
use super::progress::{Layer, Progress};
use super::{Reference, RegistryAuth};
use crate::engine::{self, Body, Engine, Said};

/// How patient a transfer is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How often it is tried again what may go better the next time.
    pub retries: u32,
    /// Longest silence of the engine. Layers report several times a second while bytes move; a registry that puts a
    /// large layer together says nothing for a while.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retries: 3,
            silence: Duration::from_mins(5),
        }
    }
}

/// First pause before another try; each is twice as long as the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Why an image did not get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferErrorKind {
    /// The registry wants to know who it is, and was told nothing.
    NoCredentials,
    /// The registry does not take the credentials, or they do not suffice.
    Denied,
    /// The credentials were good once.
    Expired,
    /// The repository is not there. Amazon ECR makes none by itself.
    NoRepository,
    /// The tag is taken, and the repository keeps tags as they are.
    ImmutableTag,
    /// The engine does not have the image.
    NoImage,
    /// The registry does not have the image.
    NotFound,
    /// The image is for another platform than was asked for.
    Platform,
    /// The registry's certificate is not believed.
    Certificate,
    /// The registry speaks no TLS.
    NoTls,
    /// There is no machine of the registry's name.
    NoHost,
    /// No connection to the registry.
    Unreachable,
    /// The registry, or what is between, failed: 5xx, a broken connection, too many requests.
    Failing,
    /// Nothing was heard for too long.
    Silence,
    /// The engine reports success, but the registry does not have what was pushed.
    Unconfirmed,
    /// The engine itself failed.
    Engine,
    /// What was said fits nothing above.
    Other,
}

impl TransferErrorKind {
    /// Whether another try may go better (IMG-23).
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Unreachable | Self::Failing | Self::Silence)
    }

    /// Whether it is the credentials that were refused, as far as that can be told.
    #[must_use]
    pub const fn is_of_credentials(self) -> bool {
        matches!(self, Self::NoCredentials | Self::Denied | Self::Expired)
    }

    /// Whether what was asked for was refused, rather than something out of order.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::NoCredentials
                | Self::Denied
                | Self::Expired
                | Self::NoRepository
                | Self::ImmutableTag
                | Self::NoImage
                | Self::NotFound
                | Self::Platform
        )
    }
}

/// Why an image did not get there.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not {doing}: {reason}")]
pub struct TransferError {
    /// What was being done: `push IMAGE`.
    pub doing: String,
    /// What kind of trouble it is.
    pub kind: TransferErrorKind,
    /// In the words of the engine or the registry.
    pub reason: String,
    /// What to do, where that can be said.
    pub remedy: Option<String>,
}

/// One transfer: what it is about, and who asks.
pub(super) struct Transfer<'a> {
    pub(super) engine: &'a Engine,
    pub(super) image: &'a Reference,
    pub(super) doing: String,
    pub(super) auth: Option<&'a RegistryAuth>,
    pub(super) limits: Limits,
}

/// Takes progress.
pub(super) type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// How often something was tried, and how long the next pause is.
#[derive(Debug)]
pub(super) struct Tries {
    next: u32,
    of: u32,
    wait: Duration,
}

impl Tries {
    /// Waits until it is time for another try, or gives the error back if that would not help.
    pub(super) async fn again(
        &mut self,
        error: TransferError,
        on_progress: OnProgress<'_>,
    ) -> Result<(), TransferError> {
        let &mut Self { next, of, wait } = self;
        if !error.kind.is_temporary() || next > of {
            return Err(error);
        }
        on_progress(Progress::Retry {
            next,
            of,
            wait,
            reason: error.reason,
        });
        tokio::time::sleep(wait).await;
        self.next += 1;
        self.wait = (wait * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

impl Transfer<'_> {
    /// Tries, none of which has been made.
    pub(super) const fn tries(&self) -> Tries {
        Tries {
            next: 2,
            of: self.limits.retries.saturating_add(1),
            wait: FIRST_PAUSE,
        }
    }

    /// Sends a request whose answer is what the engine does, and takes all that it says. Gives what `take` made of the
    /// records that are about no layer.
    pub(super) async fn stream(
        &self,
        path: &str,
        on_progress: OnProgress<'_>,
        mut take: impl FnMut(&Value),
    ) -> Result<(), TransferError> {
        let headers = [self.auth_header()];
        let begun = self.engine.stream(&self.doing, path, &headers, Body::Empty);
        let mut records = self.heard(begun).await?;
        while let Some(record) = self.heard(records.next()).await? {
            match Said::read(&record) {
                Said::Failed { message, .. } => return Err(self.said(&message)),
                Said::Text(text) => on_progress(Progress::Said(text)),
                Said::Nothing => {}
            }
            match Layer::read(&record) {
                Some(layer) => on_progress(Progress::Layer(layer)),
                None => take(&record),
            }
        }
        Ok(())
    }

    /// Asks the engine for something, with the credentials for the registry.
    pub(super) async fn get(&self, path: &str) -> Result<Value, TransferError> {
        let headers = [self.auth_header()];
        self.heard(self.engine.get(&self.doing, path, &headers))
            .await
    }

    fn auth_header(&self) -> (&'static str, String) {
        let value = auth::header(self.auth, self.image.server());
        ("x-registry-auth", value)
    }

    /// The engine's next word, unless it is silent for too long.
    async fn heard<T>(
        &self,
        word: impl Future<Output = Result<T, engine::Error>>,
    ) -> Result<T, TransferError> {
        let limit = self.limits.silence;
        match tokio::time::timeout(limit, word).await {
            Ok(Ok(word)) => Ok(word),
            Ok(Err(engine::Error::Refused { message, .. })) => Err(self.said(&message)),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => {
                let limit = crate::units::write_duration(limit);
                let reason = format!("nothing was heard of it for {limit}");
                Err(self.error(TransferErrorKind::Silence, &reason))
            }
        }
    }

    /// An error of the engine's own.
    pub(super) fn broken(&self, error: &engine::Error) -> TransferError {
        let reason = match error {
            engine::Error::Connection { reason, .. } => {
                format!("the connection to the engine broke: {reason}")
            }
            other => other.to_string(),
        };
        self.error(TransferErrorKind::Engine, &reason)
    }

    /// An error in the engine's or the registry's words.
    fn said(&self, message: &str) -> TransferError {
        match classify(message) {
            // Docker names the repository here and leaves the tag out.
            TransferErrorKind::NoImage => self.no_image(),
            kind => self.error(kind, message.trim()),
        }
    }

    /// The engine does not have the image.
    pub(super) fn no_image(&self) -> TransferError {
        let reason = format!("the engine has no image {}", written(self.image));
        self.error(TransferErrorKind::NoImage, &reason)
    }

    /// An error with what can be done about it.
    pub(super) fn error(&self, kind: TransferErrorKind, reason: &str) -> TransferError {
        TransferError {
            doing: self.doing.clone(),
            kind,
            reason: reason.to_owned(),
            remedy: remedy(kind, self.image),
        }
    }
}

/// A name as an engine looks it up: by the digest where there is one, else by the tag.
pub(super) fn written(image: &Reference) -> String {
    match (image.digest(), image.tag_meant()) {
        (Some(digest), _) => format!("{}@{digest}", image.name()),
        (None, tag) => format!("{}:{}", image.name(), tag.unwrap_or_default()),
    }
}

/// What kind of trouble a message tells of. Engines pass on the registry's words, or those of Go's network, and no
/// number: so words are all there is. The first that fits counts; the more exact ones come first.
fn classify(message: &str) -> TransferErrorKind {
    use TransferErrorKind as Kind;
    let table: [(Kind, &[&str]); 13] = [
        (Kind::Expired, &["token has expired", "token is expired"]),
        (
            Kind::ImmutableTag,
            &["tag is immutable", "repository is immutable"],
        ),
        (
            Kind::NoImage,
            &[
                "does not exist locally",
                "tag does not exist",
                "no such image",
                "image not known",
            ],
        ),
        (
            Kind::NoRepository,
            &["name unknown", "repository does not exist in the registry"],
        ),
        // Docker says this of what needs a login and of what is not there: registries do not tell which.
        (Kind::Denied, &["pull access denied"]),
        (
            Kind::NotFound,
            &[
                "manifest unknown",
                "no matching manifest",
                "not found: manifest",
            ],
        ),
        (Kind::NoCredentials, &["no basic auth credentials"]),
        (
            Kind::Denied,
            &[
                "denied",
                "unauthorized",
                "401 unauthorized",
                "403 forbidden",
                "authentication required",
            ],
        ),
        (Kind::Certificate, &["x509:"]),
        (Kind::NoTls, &["http response to https client"]),
        // A name server that knows better; one that fails says so in other words.
        (Kind::NoHost, &["no such host"]),
        (
            Kind::Unreachable,
            &[
                "connection refused",
                "temporary failure in name resolution",
                "dial tcp",
                "no route to host",
                "network is unreachable",
                "handshake timeout",
            ],
        ),
        (
            Kind::Failing,
            &[
                "unexpected http status: 5",
                "http status: 5",
                "http status 5",
                "toomanyrequests",
                "429 too many",
                "internal server error",
                "bad gateway",
                "service unavailable",
                "gateway time",
                "connection reset",
                "broken pipe",
                "eof",
                "timeout",
                "deadline exceeded",
                "blob upload unknown",
                "blob upload invalid",
                "server misbehaving",
                "client connection lost",
                "context canceled",
            ],
        ),
    ];
    let message = message.to_ascii_lowercase();
    let fits = |words: &&[&str]| words.iter().any(|word| message.contains(word));
    table
        .iter()
        .find(|(_, words)| fits(words))
        .map_or(Kind::Other, |(kind, _)| *kind)
}

/// What to do.
fn remedy(kind: TransferErrorKind, image: &Reference) -> Option<String> {
    use TransferErrorKind as Kind;
    let host = image.registry();
    let region = ecr_region(host);
    let login = match &region {
        Some(_) => format!("`runner ecr login {host}`"),
        None => format!("`docker login {host}`"),
    };
    Some(match (kind, &region) {
        (Kind::NoCredentials | Kind::Expired, _) => format!("{login} gets credentials"),
        (Kind::Denied, Some(_)) => format!(
            "see whether these AWS credentials may use the repository (the managed policy AmazonEC2ContainerRegistryPowerUser lets push); {login} gets a fresh token"
        ),
        (Kind::Denied, None) => format!(
            "see whether the name is right and this user may use the repository; {login} takes other credentials"
        ),
        (Kind::NoRepository, Some(region)) => format!(
            "`aws ecr create-repository --repository-name {} --region {region}`",
            image.path()
        ),
        (Kind::NoRepository, None) => "see whether the name is right, and create the repository".to_owned(),
        (Kind::ImmutableTag, _) => "push under another tag: this repository keeps tags as they are".to_owned(),
        (Kind::NoImage, _) => format!("`docker images {}` lists those there are; build it, or tag it with this name", image.name()),
        (Kind::NotFound, _) => "see whether tag and platform are right".to_owned(),
        (Kind::Platform, _) => "build it for that platform, or leave `--platform` out".to_owned(),
        (Kind::Certificate, _) => format!(
            "put the certificate of its authority at /etc/docker/certs.d/{host}/ca.crt on the engine's machine"
        ),
        (Kind::NoTls, _) => format!(
            "let the engine speak with it all the same: `\"insecure-registries\": [\"{host}\"]` in /etc/docker/daemon.json"
        ),
        (Kind::NoHost, _) => format!(
            "see whether the name {host} is right; the engine's machine looks it up"
        ),
        (Kind::Unreachable, _) => format!(
            "see whether the engine's machine, which is who connects, can reach {host}"
        ),
        (Kind::Silence, _) => "see what the engine and the registry do; `--idle-timeout` says how long silence may last".to_owned(),
        (Kind::Unconfirmed, _) => "push it again".to_owned(),
        (Kind::Failing | Kind::Engine | Kind::Other, _) => return None,
    })
}

/// The region of a private registry of Amazon ECR.
fn ecr_region(host: &str) -> Option<String> {
    match Registry::parse(host)?.kind() {
        Kind::Private { region, .. } => Some(region.clone()),
        Kind::Public => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // IMG-22, IMG-23
    #[test]
    fn what_is_said_tells_what_kind_of_trouble_it_is() {
        use TransferErrorKind as Kind;
        let table = [
            ("no basic auth credentials", Kind::NoCredentials),
            (
                "denied: Your authorization token has expired. Reauthenticate and try again.",
                Kind::Expired,
            ),
            ("unauthorized: authentication required", Kind::Denied),
            (
                "denied: User: arn:aws:iam::1:user/x is not authorized to perform: ecr:InitiateLayerUpload",
                Kind::Denied,
            ),
            (
                "denied: requested access to the resource is denied",
                Kind::Denied,
            ),
            (
                "name unknown: The repository with name 'web' does not exist in the registry with id '123456789012'",
                Kind::NoRepository,
            ),
            (
                "tag invalid: The image tag '1' already exists in the 'web' repository and cannot be overwritten because the repository is immutable.",
                Kind::ImmutableTag,
            ),
            (
                "An image does not exist locally with the tag: web",
                Kind::NoImage,
            ),
            ("tag does not exist: h/web:latest", Kind::NoImage),
            ("No such image: web:1", Kind::NoImage),
            (
                "manifest for h/web:1 not found: manifest unknown: manifest unknown",
                Kind::NotFound,
            ),
            (
                "no matching manifest for linux/arm64 in the manifest list entries",
                Kind::NotFound,
            ),
            (
                "pull access denied for web, repository does not exist or may require 'docker login'",
                Kind::Denied,
            ),
            (
                "Get \"https://h/v2/\": x509: certificate signed by unknown authority",
                Kind::Certificate,
            ),
            (
                "Get \"https://h/v2/\": http: server gave HTTP response to HTTPS client",
                Kind::NoTls,
            ),
            (
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                Kind::Unreachable,
            ),
            (
                "Get \"https://h/v2/\": dial tcp: lookup h: no such host",
                Kind::NoHost,
            ),
            (
                "Get \"https://h/v2/\": dial tcp: lookup h on 10.0.0.2:53: server misbehaving",
                Kind::Unreachable,
            ),
            (
                "Get \"https://h/v2/\": dial tcp: lookup h: Temporary failure in name resolution",
                Kind::Unreachable,
            ),
            (
                "Get \"https://h/v2/\": dial tcp: lookup h on 10.0.0.2:53: read udp 10.0.0.1:9->10.0.0.2:53: i/o timeout",
                Kind::Unreachable,
            ),
            ("net/http: TLS handshake timeout", Kind::Unreachable),
            (
                "received unexpected HTTP status: 500 Internal Server Error",
                Kind::Failing,
            ),
            (
                "received unexpected HTTP status: 503 Service Unavailable",
                Kind::Failing,
            ),
            ("toomanyrequests: Rate exceeded", Kind::Failing),
            ("Put \"http://h/v2/web/manifests/1\": EOF", Kind::Failing),
            (
                "read tcp 1->2: read: connection reset by peer",
                Kind::Failing,
            ),
            (
                "Get \"https://h/v2/\": net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
                Kind::Failing,
            ),
            ("invalid reference format", Kind::Other),
        ];
        for (message, kind) in table {
            assert_eq!(classify(message), kind, "{message}");
        }
        let temporary = [Kind::Unreachable, Kind::Failing, Kind::Silence];
        assert!(temporary.iter().all(|kind| kind.is_temporary()));
        assert!(!Kind::Denied.is_temporary() && !Kind::Unconfirmed.is_temporary());
        assert!(!Kind::NoHost.is_temporary() && !Kind::NoHost.is_refusal());
        assert!(Kind::Denied.is_refusal() && !Kind::Failing.is_refusal());
    }

    // IMG-22
    #[test]
    fn the_remedy_knows_the_registry() {
        use TransferErrorKind as Kind;
        let of = |image: &str, kind| remedy(kind, &Reference::parse(image).unwrap()).unwrap();
        let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/web:1";
        assert_eq!(
            of(ecr, Kind::NoRepository),
            "`aws ecr create-repository --repository-name team/web --region eu-west-1`"
        );
        assert!(of(ecr, Kind::Expired).starts_with("`runner ecr login 123456789012."));
        assert!(of("host:5000/web", Kind::NoCredentials).starts_with("`docker login host:5000`"));
        assert!(of("host:5000/web", Kind::Denied).contains("docker login"));
        assert!(
            of("h.example.com/web", Kind::Certificate).contains("/certs.d/h.example.com/ca.crt")
        );
        assert_eq!(
            remedy(Kind::Failing, &Reference::parse("web").unwrap()),
            None
        );
        assert_eq!(
            ecr_region("123456789012.dkr-ecr.us-east-1.on.aws").as_deref(),
            Some("us-east-1")
        );
        assert_eq!(
            ecr_region("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com").as_deref(),
            Some("us-east-1")
        );
        assert_eq!(ecr_region("registry.example.com"), None);
    }
}
