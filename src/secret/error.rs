//! Why a value could not be had.

use std::error::Error as StdError;

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;

use crate::aws;

/// The words that CodeBuild has in the place of a status code where parameters could not be had.
pub(super) const PARAMETERS: &str = "Decrypted Variables Error";

/// The same for secrets.
pub(super) const SECRETS: &str = "Secrets Manager Error";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What stands where a status code is otherwise.
    pub status_code: &'static str,
    /// What is wrong, in the words of CodeBuild where they are known.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Values that could not be had: everything that is wrong, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.first().message)]
pub struct Error {
    problems: Vec<Problem>,
}

impl Error {
    /// `None` if nothing is wrong.
    pub(super) fn of(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self { problems })
    }

    /// What the phase is blamed on.
    #[must_use]
    pub fn first(&self) -> &Problem {
        &self.problems[0]
    }

    /// The rest, and what to do about the first.
    #[must_use]
    pub fn help(&self) -> String {
        let mut help = self.first().help.clone();
        for problem in &self.problems[1..] {
            help.push_str("\nalso: ");
            help.push_str(&problem.message);
        }
        help
    }
}

/// What a service answered, or why it did not answer.
pub(super) fn refused<E>(
    status_code: &'static str,
    error: &SdkError<E, HttpResponse>,
    missing_profile: Option<&str>,
    names: &str,
) -> Problem
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let Some(service) = error.as_service_error() else {
        let unanswered = aws::unanswered(error, missing_profile);
        return Problem {
            status_code,
            message: format!("could not get {names}: {}", unanswered.why),
            help: unanswered.help,
        };
    };
    let code = service.code().unwrap_or("an error without a name");
    let said = service.message().unwrap_or("no reason was given");
    let mut message = format!("{code}: {said}");
    if let Some(response) = error.raw_response() {
        let status = StatusCode::as_u16(response.status());
        message.push_str(&format!("\nstatus code: {status}"));
        if let Some(request) = response.headers().get("x-amzn-requestid") {
            message.push_str(&format!(", request id: {request}"));
        }
    }
    Problem {
        status_code,
        message,
        help: format!(
            "{names}: check the name, the account, the region, and what the caller's credentials may read; `runner doctor` says whose they are"
        ),
    }
}
