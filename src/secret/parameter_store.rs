//! The Parameter Store of Systems Manager (ENV-23).

use std::collections::HashMap;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::SdkError;
use aws_sdk_ssm::operation::get_parameters::{GetParametersError, GetParametersOutput};
use aws_sdk_ssm::types::Parameter;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures_util::stream::{self, StreamExt as _};

use super::error::{PARAMETERS, Problem, refused};

/// How many parameters one question may be about.
const AT_ONCE: usize = 10;

/// How many questions are asked at a time: the service allows few a second.
const QUESTIONS: usize = 4;

/// Reads parameters, decrypted. What is not in the result is among the problems, in the order of the names (ENV-54).
pub(super) async fn read(
    client: &Client,
    names: &[&str],
    missing_profile: Option<&str>,
) -> (HashMap<String, String>, Vec<Problem>) {
    let mut values = HashMap::new();
    let mut problems = Vec::new();
    // Questions that borrow nothing: others wait for them in tasks of their own.
    let questions: Vec<_> = names
        .chunks(AT_ONCE)
        .map(|batch| {
            ask(
                client.clone(),
                batch.iter().map(|&name| name.into()).collect(),
            )
        })
        .collect();
    let mut answers = stream::iter(questions).buffered(QUESTIONS);
    while let Some((batch, asked)) = answers.next().await {
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                let names = batch.join(", ");
                problems.push(refused(PARAMETERS, &error, missing_profile, &names));
                continue;
            }
        };
        for name in batch {
            let found = find(answer.parameters(), &name);
            match found.and_then(Parameter::value) {
                Some(value) => {
                    let value = value.to_owned();
                    values.insert(name, value);
                }
                None => problems.push(missing(&name)),
            }
        }
    }
    (values, problems)
}

type Asked = Result<GetParametersOutput, SdkError<GetParametersError, HttpResponse>>;

/// One question, with the names that it is about.
async fn ask(client: Client, names: Vec<String>) -> (Vec<String>, Asked) {
    let asked = client
        .get_parameters()
        .set_names(Some(names.clone()))
        .with_decryption(true)
        .send()
        .await;
    (names, asked)
}

/// The parameter that was asked for by this name among those of an answer.
fn find<'a>(found: &'a [Parameter], asked: &str) -> Option<&'a Parameter> {
    // A version that somebody else asked for by number may be in the same answer, and need not say so: the plain name is the
    // newest.
    found
        .iter()
        .filter(|parameter| is(parameter, asked))
        .max_by_key(|parameter| parameter.version())
}

/// Whether this may be what was asked for: by name or ARN, with or without a version or a label.
fn is(parameter: &Parameter, asked: &str) -> bool {
    let (asked, wanted) = split_selector(asked);
    let version = parameter.version().to_string();
    let chosen = match (wanted, parameter.selector()) {
        (Some(wanted), Some(selector)) => selector.trim_start_matches(':') == wanted,
        (Some(wanted), None) => version == wanted,
        (None, selector) => selector.is_none(),
    };
    let bare = |name: &str| name.trim_start_matches('/').to_owned();
    chosen && (parameter.name().map(bare) == Some(bare(asked)) || parameter.arn() == Some(asked))
}

/// The name or ARN, and the version or label behind it.
fn split_selector(asked: &str) -> (&str, Option<&str>) {
    // arn:aws:ssm:<region>:<account>:parameter/<name>
    let colons = if asked.starts_with("arn:") { 5 } else { 0 };
    match asked.match_indices(':').nth(colons) {
        Some((colon, _)) => (&asked[..colon], Some(&asked[colon + 1..])),
        None => (asked, None),
    }
}

fn missing(name: &str) -> Problem {
    Problem {
        status_code: PARAMETERS,
        message: format!("parameter does not exist: {name}"),
        help: format!(
            "create the parameter in this account and region, correct its name, or allow ssm:GetParameters on it: to AWS {name} is not there for who may not read it"
        ),
        about: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_known_by_what_it_was_asked_by() {
        let arn = "arn:aws:ssm:us-east-1:123456789012:parameter/a/b";
        let table = [
            ("/a/b", None, "/a/b", true),
            ("/a/b", Some(":3"), "/a/b:3", true),
            ("/a/b", Some(":live"), "/a/b:live", true),
            ("/a/b", None, arn, true),
            ("/a/b", Some(":3"), &format!("{arn}:3"), true),
            ("b", None, "/b", true),
            ("/a/b", None, "/a", false),
            ("/a/b", None, "/a/b:7", true),
            ("/a/b", None, "/a/b:3", false),
            ("/a/b", Some(":3"), "/a/b", false),
            ("/a/b", Some(":3"), "/a/c:3", false),
        ];
        for (name, selector, asked, expected) in table {
            let found = Parameter::builder()
                .name(name)
                .set_selector(selector.map(str::to_owned))
                .arn(arn)
                .version(7)
                .build();
            assert_eq!(is(&found, asked), expected, "{asked}");
        }
    }
}
