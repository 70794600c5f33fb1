//! The back of `aws`: asks AWS.

use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::query::Query;
use crate::aws::{self, Keys, Settings, UnansweredKind};
use crate::registry::ecr::{self, Login, Registry, Token};
use crate::registry::{Error, ErrorKind};
use crate::tool::backend::{Backend, Failure};
use crate::tool::request::{AwsRequest, Caller, Operation};

/// STS answers in every region, and the identity is the same.
const REGION_OF_STS: &str = "us-east-1";

/// Exit code where credentials or the region are missing: that of AWS's own tool.
const NOT_CONFIGURED: u8 = 253;

/// Exit code where AWS refused: that of its own tool.
const REFUSED: u8 = 254;

/// Exit code where nobody answered: that of AWS's own tool.
const GENERAL: u8 = 255;

/// Does what is asked; where the command says nothing else, AWS is reached by the settings of the back.
pub(in crate::tool) async fn answer(
    request: AwsRequest,
    backend: &Backend,
) -> Result<String, Failure> {
    let AwsRequest { caller, operation } = request;
    let named = caller.profile.as_deref();
    let missing = named.and_then(|profile| Some((profile, backend.without_profile(profile)?)));
    if let Some((profile, help)) = missing {
        return Err(Failure {
            code: GENERAL,
            message: format!("The config profile ({profile}) could not be found; {help}"),
        });
    }
    let settings = settings(caller, backend.aws());
    match operation {
        Operation::Password => {
            let logins = ecr::ask_accounts(&settings, &[])
                .await
                .map_err(|error| failure(&error))?;
            Ok(logins
                .iter()
                .take(1)
                .map(|login| line(&login.token))
                .collect())
        }
        Operation::PublicPassword => match Registry::parse(ecr::PUBLIC) {
            Some(public) => {
                let token = ecr::ask(&settings, &public)
                    .await
                    .map_err(|error| failure(&error))?;
                Ok(line(&token))
            }
            None => Ok(String::new()),
        },
        Operation::Login { registries, email } => {
            let logins = ecr::ask_accounts(&settings, &registries).await;
            let logins = logins.map_err(|error| failure(&error))?;
            Ok(logins.iter().map(|login| command(login, email)).collect())
        }
        Operation::Identity { query, text } => identity(settings, query.as_ref(), text).await,
    }
}

fn line(token: &Token) -> String {
    format!("{}\n", token.secret.reveal())
}

/// What `ecr get-login` writes: a command that logs in.
fn command(login: &Login, email: bool) -> String {
    let Login { address, token } = login;
    let none = if email { "-e none " } else { "" };
    let (user, password) = (ecr::USER, token.secret.reveal());
    format!("docker login -u {user} -p {password} {none}{address}\n")
}

/// How AWS is reached for this caller.
fn settings(caller: Caller, usual: &Settings) -> Settings {
    let Caller {
        region,
        profile,
        keys,
        endpoint,
    } = caller;
    let missing = usual.missing_profile.clone();
    let missing = missing.filter(|missing| profile.as_ref().is_none_or(|named| named == missing));
    Settings {
        only_profile: (profile.is_some() || usual.only_profile) && keys.is_none(),
        region: region.or_else(|| usual.region.clone()),
        profile: profile.or_else(|| usual.profile.clone()),
        missing_profile: missing,
        provider: usual.provider.clone(),
        keys: keys.map(|keys| Keys {
            id: keys.id,
            secret: keys.secret.0,
            session: keys.session.map(|session| session.0),
        }),
        endpoint,
    }
}

async fn identity(
    settings: Settings,
    query: Option<&Query>,
    text: bool,
) -> Result<String, Failure> {
    let missing = settings.missing_profile.clone();
    let settings = Settings {
        region: settings.region.or_else(|| Some(REGION_OF_STS.to_owned())),
        ..settings
    };
    let loader = settings.loader().timeout_config(aws::small_question());
    let client = aws_sdk_sts::Client::new(&loader.load().await);
    let answer = client.get_caller_identity().send().await;
    let answer = answer.map_err(|error| unknown(&error, missing.as_deref()))?;
    let of = |field: Option<&str>| field.unwrap_or_default().to_owned();
    let values = [of(answer.user_id()), of(answer.account()), of(answer.arn())];
    Ok(Query::show(
        query,
        [&values[0], &values[1], &values[2]],
        text,
    ))
}

/// Why there is no token, with the code of AWS's own tool.
fn failure(error: &Error) -> Failure {
    let code = match error.kind {
        ErrorKind::NoCredentials | ErrorKind::NoRegion => NOT_CONFIGURED,
        ErrorKind::BadCredentials | ErrorKind::Denied | ErrorKind::Other => REFUSED,
        ErrorKind::Unreachable | ErrorKind::File | ErrorKind::Helper => GENERAL,
    };
    Failure {
        code,
        message: error.with_help(),
    }
}

/// Why AWS does not say who the caller is, in its own words where it has any.
fn unknown(
    error: &SdkError<GetCallerIdentityError, HttpResponse>,
    missing: Option<&str>,
) -> Failure {
    const DOING: &str = "could not get the caller's identity";
    if let Some(service) = error.as_service_error() {
        let name = service.code().unwrap_or("an error without a name");
        let said = service.message().unwrap_or("no reason was given");
        return Failure {
            code: REFUSED,
            message: format!("{DOING}: {name}: {said}"),
        };
    }
    let unanswered = aws::unanswered(error, missing);
    Failure {
        code: match unanswered.kind {
            UnansweredKind::NoCredentials | UnansweredKind::BadCredentials => NOT_CONFIGURED,
            UnansweredKind::Network => GENERAL,
        },
        message: format!("{DOING}: {}; {}", unanswered.why, unanswered.help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::request::{self, Secret};

    // TOOL-5
    #[test]
    fn what_a_command_says_comes_before_what_is_usual() {
        let usual = Settings {
            region: Some("eu-west-1".to_owned()),
            profile: Some("usual".to_owned()),
            missing_profile: Some("usual".to_owned()),
            ..Settings::default()
        };
        assert_eq!(settings(Caller::default(), &usual), usual);
        let caller = Caller {
            region: Some("us-east-1".to_owned()),
            profile: Some("other".to_owned()),
            keys: Some(request::Keys {
                id: "A".to_owned(),
                secret: Secret("hidden".to_owned()),
                session: None,
            }),
            endpoint: None,
        };
        let found = settings(caller, &usual);
        let said = (found.region.as_deref(), found.profile.as_deref());
        assert_eq!(said, (Some("us-east-1"), Some("other")));
        assert_eq!(found.missing_profile, None);
        assert!(!found.only_profile);
        let caller = Caller {
            profile: Some("other".to_owned()),
            ..Caller::default()
        };
        assert!(settings(caller, &usual).only_profile);
        assert!(!format!("{found:?}").contains("hidden"));
    }
}
