//! Keeps credentials, and renews them before they end (CRED-6, CRED-7).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};

use super::error::Error;
use super::source::Source;
use crate::aws::{SMALL, Settings};
use crate::event::stamp;
use crate::redact::{self, Hider};

/// With how much time left credentials are renewed, if they last long enough. SDKs ask for new ones with a quarter of an hour
/// left, and have to get some that are new.
const AHEAD: Duration = Duration::from_mins(16);

/// How long whoever asks waits for new ones while the old ones still hold. SDKs give up after two seconds.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Time between two tries to renew what still holds, where the first one failed.
const BETWEEN_TRIES: Duration = Duration::from_secs(10);

/// Longest time to get credentials: two questions.
const LIMIT: Duration = Duration::from_secs(SMALL.as_secs() * 2);

/// Credentials and when they came.
#[derive(Clone)]
struct Lease {
    credentials: Credentials,
    since: SystemTime,
}

impl Lease {
    /// Whether nothing has to be done yet. Credentials that say no end may have one: they are looked for anew each time
    /// (CRED-5), so that whoever renews them where they come from does so for the build, too.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let Some(end) = self.credentials.expiry() else {
            return false;
        };
        let life = end.duration_since(self.since).unwrap_or_default();
        let left = end.duration_since(now).unwrap_or_default();
        left > AHEAD.min(life / 2)
    }

    /// Whether they are still good for anything.
    fn holds(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_none_or(|end| end > now)
    }
}

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    /// When renewing failed last.
    failed: Option<SystemTime>,
}

/// Has the credentials of one build.
pub struct Keeper {
    source: Source,
    aws: Settings,
    hider: Hider,
    state: Mutex<State>,
    /// Held by the one that asks AWS.
    asking: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({:?}, …)", self.source)
    }
}

impl Keeper {
    /// One for credentials from there; `aws` says how AWS is reached as the caller. What is secret is told to `hider` before
    /// anybody else sees it. Nothing is asked yet.
    #[must_use]
    pub fn new(source: Source, aws: Settings, hider: Hider) -> Arc<Self> {
        Arc::new(Self {
            source,
            aws,
            hider,
            state: Mutex::default(),
            asking: tokio::sync::Mutex::new(()),
        })
    }

    /// The credentials, which hold for a while yet: those that are known, else new ones. Ends within a minute.
    pub async fn get(self: &Arc<Self>) -> Result<Credentials, Error> {
        let now = stamp();
        let known = self.state().lease.clone();
        let usable = match known {
            Some(lease) if lease.is_fresh(now) || self.just_failed(now, &lease) => {
                return Ok(lease.credentials);
            }
            known => known.filter(|lease| lease.holds(now)),
        };
        // It goes on though whoever asks goes away: the next one has what comes of it.
        let keeper = Arc::clone(self);
        let renewing = tokio::spawn(async move { keeper.renew().await });
        let ended = match usable {
            None => renewing.await,
            Some(lease) => match tokio::time::timeout(PATIENCE, renewing).await {
                Ok(Ok(Ok(new))) => return Ok(new),
                _ => return Ok(lease.credentials),
            },
        };
        ended.unwrap_or_else(|_| Err(self.failed("it was broken off")))
    }

    fn just_failed(&self, now: SystemTime, lease: &Lease) -> bool {
        let failed = self.state().failed;
        let since = failed.and_then(|failed| now.duration_since(failed).ok());
        lease.holds(now) && since.is_some_and(|since| since < BETWEEN_TRIES)
    }

    /// Of many that want new ones at the same time, one asks.
    async fn renew(&self) -> Result<Credentials, Error> {
        let _asking = self.asking.lock().await;
        let known = self.state().lease.clone();
        if let Some(lease) = known.filter(|lease| lease.is_fresh(stamp())) {
            return Ok(lease.credentials);
        }
        let asked = tokio::time::timeout(LIMIT, self.source.ask(&self.aws)).await;
        let asked = asked.unwrap_or_else(|_| Err(self.failed("there was no answer in time")));
        let now = stamp();
        if asked.is_err() {
            self.state().failed = Some(now);
        }
        let credentials = asked?;
        self.hide(&credentials);
        *self.state() = State {
            lease: Some(Lease {
                credentials: credentials.clone(),
                since: now,
            }),
            failed: None,
        };
        Ok(credentials)
    }

    fn hide(&self, credentials: &Credentials) {
        let values = [
            Some(credentials.access_key_id()),
            Some(credentials.secret_access_key()),
            credentials.session_token(),
        ];
        let values = values.into_iter().flatten();
        self.hider
            .hide(values.flat_map(|value| redact::forms(value.as_bytes())));
    }

    fn failed(&self, why: &str) -> Error {
        Error {
            doing: self.source.doing(),
            why: why.to_owned(),
            help: "check the network, the region and AWS_ENDPOINT_URL".to_owned(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A keeper for calls of this program's own.
#[derive(Debug)]
pub(super) struct Own(pub(super) Arc<Keeper>);

impl ProvideCredentials for Own {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let got = self.0.get().await;
            got.map_err(CredentialsError::provider_error)
        })
    }
}

impl Keeper {
    /// The same credentials for calls of this program's own.
    #[must_use]
    pub fn provider(self: &Arc<Self>) -> crate::aws::Provider {
        crate::aws::Provider::new(Own(Arc::clone(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    // CRED-6
    #[test]
    fn credentials_are_renewed_before_they_end() {
        let lease = |life: Option<u64>| Lease {
            credentials: Credentials::new("A", "b", None, life.map(at), "tests"),
            since: at(0),
        };
        let table = [
            (Some(3600), 0, true, true),
            (Some(3600), 2639, true, true),
            (Some(3600), 2640, false, true),
            (Some(3600), 3600, false, false),
            (Some(900), 449, true, true),
            (Some(900), 450, false, true),
            (Some(0), 0, false, false),
            (None, 1_000_000, false, true),
        ];
        for (life, now, fresh, holds) in table {
            let lease = lease(life);
            let found = (lease.is_fresh(at(now)), lease.holds(at(now)));
            assert_eq!(found, (fresh, holds), "{life:?} {now}");
        }
    }
}
