//! Why there are no credentials.

use std::error::Error as StdError;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::aws;

/// No credentials came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not {doing}: {why}")]
pub struct Error {
    /// What was being done.
    pub doing: String,
    /// Why it failed, in AWS's words where it has any.
    pub why: String,
    /// What to do.
    pub help: String,
}

impl Error {
    /// What STS answered, or why it did not answer. `help` is for a refusal.
    pub(super) fn of_sts<E>(
        doing: &str,
        error: &SdkError<E, HttpResponse>,
        missing_profile: Option<&str>,
        help: &str,
    ) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let (why, help) = match error.as_service_error() {
            Some(service) => {
                let code = service.code().unwrap_or("an error without a name");
                let said = service.message().unwrap_or("no reason was given");
                (format!("{code}: {said}"), help.to_owned())
            }
            None => {
                let unanswered = aws::unanswered(error, missing_profile);
                (unanswered.why, unanswered.help)
            }
        };
        Self {
            doing: doing.to_owned(),
            why,
            help,
        }
    }
}
