//! What can go wrong with an engine.

use std::io;
use std::time::Duration;

use super::endpoint::remedy;
use super::{ApiVersion, Endpoint, Origin};

/// What went wrong with the engine itself, or with what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("could not reach the container engine at {endpoint}{by}: {reason}", by = by(origin.as_deref()))]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// Who said that it is there, where that is known.
        origin: Option<Box<Origin>>,
        /// Why, in the system's words.
        reason: String,
        /// What to do.
        remedy: Box<str>,
    },
    /// Somebody takes the connection there, and says nothing.
    #[error("could not reach the container engine at {endpoint}{by}: it did not answer within {} s", limit.as_secs(), by = by(origin.as_deref()))]
    Silent {
        /// Where.
        endpoint: Endpoint,
        /// Who said that it is there, where that is known.
        origin: Option<Box<Origin>>,
        /// How long an answer was waited for.
        limit: Duration,
    },
    /// Its API is older than what this program needs.
    #[error(
        "the container engine at {endpoint} speaks API {version}; this program needs {oldest} (Docker 20.10) or newer"
    )]
    TooOld {
        /// Where.
        endpoint: Endpoint,
        /// What it speaks.
        version: ApiVersion,
        /// What is needed.
        oldest: ApiVersion,
    },
    /// `DOCKER_HOST`, a context or a certificate that cannot be used.
    #[error("could not use {what}: {reason}")]
    Settings {
        /// Such as ``the Docker context `prod` ``.
        what: String,
        /// Why.
        reason: String,
    },
    /// The engine said no.
    #[error("could not {doing}: {message}")]
    Refused {
        /// What was being done, such as `pull IMAGE`.
        doing: String,
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The connection broke, or the engine did not answer in time.
    #[error("could not {doing}: {reason}")]
    Connection {
        /// What was being done.
        doing: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// An error of bollard's as ours.
    #[must_use]
    pub fn api(doing: impl Into<String>, error: bollard::errors::Error) -> Self {
        let doing = doing.into();
        match error {
            bollard::errors::Error::DockerResponseServerError {
                status_code,
                message,
            } => Self::Refused {
                doing,
                status: status_code,
                message: match message.trim() {
                    // What stands between may answer in the engine's place, and say no more.
                    "" => format!("HTTP status {status_code} without a reason"),
                    said => said.to_owned(),
                },
            },
            bollard::errors::Error::RequestTimeoutError => Self::Connection {
                doing,
                reason: "the engine did not answer in time".to_owned(),
            },
            other => Self::Connection {
                doing,
                reason: chain(&other),
            },
        }
    }

    pub(super) fn unreachable(endpoint: &Endpoint, error: bollard::errors::Error) -> Self {
        let kind = match &error {
            bollard::errors::Error::IOError { err } => err.kind(),
            bollard::errors::Error::RequestTimeoutError => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        let remedy = remedy(endpoint, kind).into_boxed_str();
        let reason = match Self::api("", error) {
            Self::Refused { message, .. } => message,
            Self::Connection { reason, .. } => reason,
            other => other.to_string(),
        };
        Self::Unreachable {
            endpoint: endpoint.clone(),
            origin: None,
            reason,
            remedy,
        }
    }

    /// The same, knowing who said where the engine is.
    #[must_use]
    pub(super) fn by(mut self, by: Origin) -> Self {
        if let Self::Unreachable { origin, .. } | Self::Silent { origin, .. } = &mut self {
            *origin = Some(Box::new(by));
        }
        self
    }

    /// What to do about it, where that can be said.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Unreachable { remedy, .. } => Some(remedy),
            Self::Silent { .. } => Some(
                "see whether it answers, with `docker version`; it may have to be started again",
            ),
            Self::TooOld { .. } => Some("upgrade the engine"),
            Self::Settings { .. } | Self::Refused { .. } | Self::Connection { .. } => None,
        }
    }

    /// Whether nobody answers at a place where engines usually listen, and nobody said that one does: there is none.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Unreachable { origin: Some(origin), .. } if **origin == Origin::Usual)
    }

    /// HTTP status of a refusal.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Who said where the engine is, as it stands behind the address.
fn by(origin: Option<&Origin>) -> String {
    origin.map_or_else(String::new, |origin| format!(" ({origin})"))
}

/// An error with all its causes, each said once.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // IMG-5
    #[test]
    fn an_answer_without_a_reason_is_said_to_be_one() {
        let refused = |message: &str| bollard::errors::Error::DockerResponseServerError {
            status_code: 502,
            message: message.to_owned(),
        };
        let said = |message: &str| Error::api("pull x", refused(message)).to_string();
        assert_eq!(
            said(" "),
            "could not pull x: HTTP status 502 without a reason"
        );
        assert_eq!(said("no\n"), "could not pull x: no");
    }

    // CTR-24
    #[test]
    fn there_is_no_engine_only_where_nobody_named_one() {
        let endpoint = Endpoint::Unix("/x.sock".into());
        let unreachable = |by| {
            let error = bollard::errors::Error::RequestTimeoutError;
            Error::unreachable(&endpoint, error).by(by)
        };
        assert!(unreachable(Origin::Usual).is_absence());
        assert!(!unreachable(Origin::Host).is_absence());
        assert!(!unreachable(Origin::Context("prod".to_owned())).is_absence());
    }
}
