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
    /// What of, where the message does not say so.
    pub about: Option<String>,
}

impl Problem {
    /// The message, with what it is about.
    fn whole(&self) -> String {
        match &self.about {
            Some(about) => format!("{about}: {}", self.message),
            None => self.message.clone(),
        }
    }
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

    /// What the first is about and what to do about it, then the rest with what each is about (ENV-53).
    #[must_use]
    pub fn help(&self) -> String {
        let first = self.first();
        let mut help = match &first.about {
            Some(about) => format!("{about}: {}", first.help),
            None => first.help.clone(),
        };
        for problem in &self.problems[1..] {
            help.push_str("\nalso: ");
            help.push_str(&problem.whole());
            if problem.help != first.help {
                help.push_str("\n      ");
                help.push_str(&problem.help);
            }
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
            about: None,
        };
    };
    let code = service.code().unwrap_or("an error without a name");
    let said = service.message().unwrap_or("no reason was given");
    let mut message = format!("{code}: {said}");
    let mut status = None;
    if let Some(response) = error.raw_response() {
        let answered = StatusCode::as_u16(response.status());
        status = Some(answered);
        message.push_str(&format!("\nstatus code: {answered}"));
        if let Some(request) = response.headers().get("x-amzn-requestid") {
            message.push_str(&format!(", request id: {request}"));
        }
    }
    Problem {
        status_code,
        message,
        help: remedy(code, status).to_owned(),
        about: Some(names.to_owned()),
    }
}

/// What to do about an answer of this code and status.
fn remedy(code: &str, status: Option<u16>) -> &'static str {
    let is_throttled = ["Throttl", "TooManyUpdates", "TooManyRequests"]
        .iter()
        .any(|word| code.contains(word));
    if is_throttled {
        "AWS takes no more questions of this account for the moment: start the build again later, or ask for a higher limit"
    } else if status.is_some_and(|status| status >= 500) || code.starts_with("InternalS") {
        "that is trouble of the service itself: start the build again later"
    } else if code.starts_with("AccessDenied") {
        "check what the caller's credentials may read, and the key that encrypts it; `runner doctor` says whose they are"
    } else if code.contains("NotFound") {
        "check the name, the account and the region; `runner doctor` says whose credentials are used"
    } else {
        "check the name, the account, the region, and what the caller's credentials may read; `runner doctor` says whose they are"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(message: &str, help: &str, about: Option<&str>) -> Problem {
        Problem {
            status_code: SECRETS,
            message: message.to_owned(),
            help: help.to_owned(),
            about: about.map(str::to_owned),
        }
    }

    // ENV-53
    #[test]
    fn every_problem_says_what_it_is_about() {
        let error = Error::of(vec![
            problem("NotFound: no such secret", "check it", Some("one")),
            problem("NotFound: no such secret", "check it", Some("two")),
            problem("parameter does not exist: /three", "make it", None),
        ]);
        let help = error.expect("something is wrong").help();
        let expected = "one: check it\nalso: two: NotFound: no such secret\nalso: parameter does not exist: /three\n      make it";
        assert_eq!(help, expected);
    }

    // ENV-53: who cannot do anything about it is not sent to look for a slip of the pen.
    #[test]
    fn what_to_do_is_about_what_went_wrong() {
        let table = [
            ("InternalServerError", Some(500), "trouble of the service"),
            ("InternalServiceError", Some(500), "trouble of the service"),
            ("ServiceUnavailable", Some(503), "trouble of the service"),
            ("ThrottlingException", Some(400), "takes no more questions"),
            ("AccessDeniedException", Some(400), "may read"),
            ("ResourceNotFoundException", Some(400), "check the name"),
            ("ValidationException", Some(400), "check the name"),
        ];
        for (code, status, expected) in table {
            let help = remedy(code, status);
            assert!(help.contains(expected), "{code}: {help}");
        }
    }
}
