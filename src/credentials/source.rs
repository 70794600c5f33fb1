//! Where credentials come from: a role, or whoever runs the build.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_sts::Client;
use aws_sdk_sts::types;

use super::error::Error;
use crate::aws::{self, Settings};

/// Longest name of a session, in bytes, that STS takes.
const LONGEST_NAME: usize = 64;

/// Name of a role: `arn:aws:iam::ACCOUNT:role/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleArn(String);

impl RoleArn {
    /// The ARN, if the text is one of a role.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        let &["arn", partition, "iam", "", account, resource] = fields.as_slice() else {
            return None;
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let name = resource.strip_prefix("role/")?;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        (partition.starts_with("aws") && is_account && is_name).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where STS is asked for it if no region was said.
    fn region(&self) -> &'static str {
        match self.0.split(':').nth(1) {
            Some("aws-cn") => "cn-north-1",
            Some("aws-us-gov") => "us-gov-west-1",
            _ => "us-east-1",
        }
    }
}

/// A role that is taken on for a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Which.
    pub arn: RoleArn,
    /// What the session is called in AWS's logs.
    pub session_name: String,
    /// What the role's trust policy may want of whoever takes it on.
    pub external_id: Option<String>,
    /// How long one set of credentials lasts; an hour if it is not said. A build may take longer.
    pub duration: Option<Duration>,
}

impl Role {
    /// The name of a build's session: that of the project, as much of it as there is room for, and the build's uuid (CRED-2).
    #[must_use]
    pub fn session_name(project: &str, uuid: &str) -> String {
        let room = LONGEST_NAME.saturating_sub(uuid.len() + 1);
        let project = project.get(..room).unwrap_or(project);
        format!("{project}-{uuid}")
    }
}

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// What the SDK finds for whoever runs the build. Keys that last for ever are not given out, but a session of them
    /// (CRED-5).
    Caller,
    /// A role that the caller takes on.
    Role(Role),
}

impl Source {
    /// Asks for credentials. Each question ends.
    pub(super) async fn ask(&self, settings: &Settings) -> Result<Credentials, Error> {
        match self {
            Self::Role(role) => assume(settings, role).await,
            Self::Caller => of_caller(settings).await,
        }
    }

    /// What is being done, for errors.
    pub(super) fn doing(&self) -> String {
        match self {
            Self::Role(role) => format!("{ASSUMING} {}", role.arn.as_str()),
            Self::Caller => "get credentials for the build".to_owned(),
        }
    }
}

/// What is being done when a role is taken on, for errors; whoever answers for a build knows them by it.
pub const ASSUMING: &str = "assume the role";

/// Takes a role on.
async fn assume(settings: &Settings, role: &Role) -> Result<Credentials, Error> {
    const HELP: &str = "allow the caller `sts:AssumeRole` on this role, and let the role's trust policy name the caller and the external id; `runner doctor --assume-role` says who the caller is";
    let doing = format!("{ASSUMING} {}", role.arn.as_str());
    let answer = sts(settings, role.arn.region())
        .await
        .assume_role()
        .role_arn(role.arn.as_str())
        .role_session_name(&role.session_name)
        .set_external_id(role.external_id.clone())
        .set_duration_seconds(role.duration.map(seconds))
        .send()
        .await;
    let missing = settings.missing_profile.as_deref();
    let answer = answer.map_err(|error| Error::of_sts(&doing, &error, missing, HELP))?;
    temporary(answer.credentials(), doing)
}

async fn of_caller(settings: &Settings) -> Result<Credentials, Error> {
    const DOING: &str = "get credentials for the build";
    // Everything is looked for anew: files of profiles may have been renewed.
    let config = settings.loader().load().await;
    let none = |why: String, help: String| Error {
        doing: DOING.to_owned(),
        why,
        help,
    };
    let missing = settings.missing_profile.as_deref();
    let found = match config.credentials_provider() {
        Some(provider) => provider.provide_credentials().await,
        None => {
            Err(aws_credential_types::provider::error::CredentialsError::not_loaded_no_source())
        }
    };
    let found = found.map_err(|error| {
        let unanswered = aws::unanswered(&error, missing);
        none(unanswered.why, unanswered.help)
    })?;
    if found.session_token().is_some() {
        return Ok(found);
    }
    let answer = sts(settings, "us-east-1")
        .await
        .get_session_token()
        .send()
        .await;
    let help = "allow the caller `sts:GetSessionToken`, or name a role with `--assume-role`";
    let answer = answer.map_err(|error| {
        Error::of_sts("get a session of the caller's keys", &error, missing, help)
    })?;
    temporary(answer.credentials(), DOING.to_owned())
}

/// STS, in the region that was said, else in this one.
async fn sts(settings: &Settings, region: &str) -> Client {
    let settings = Settings {
        region: settings.region.clone().or_else(|| Some(region.to_owned())),
        ..settings.clone()
    };
    let loader = settings.loader().timeout_config(aws::small_question());
    Client::new(&loader.load().await)
}

fn temporary(found: Option<&types::Credentials>, doing: String) -> Result<Credentials, Error> {
    let Some(found) = found else {
        return Err(Error {
            doing,
            why: "there are no credentials in AWS's answer".to_owned(),
            help: "check AWS_ENDPOINT_URL".to_owned(),
        });
    };
    let session = Some(found.session_token().to_owned());
    Ok(Credentials::new(
        found.access_key_id(),
        found.secret_access_key(),
        session,
        SystemTime::try_from(*found.expiration()).ok(),
        "AWS STS",
    ))
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_arns_of_roles() {
        let table = [
            ("arn:aws:iam::123456789012:role/deploy", Some("us-east-1")),
            (
                "arn:aws:iam::123456789012:role/ci/deploy@x",
                Some("us-east-1"),
            ),
            ("arn:aws-cn:iam::123456789012:role/r", Some("cn-north-1")),
            (
                "arn:aws-us-gov:iam::123456789012:role/r",
                Some("us-gov-west-1"),
            ),
            ("arn:aws:iam::123456789012:user/me", None),
            ("arn:aws:sts::123456789012:assumed-role/r/s", None),
            ("arn:aws:iam::12345:role/r", None),
            ("arn:aws:iam::123456789012:role/", None),
            ("arn:aws:iam::123456789012:role/a b", None),
            ("deploy", None),
            ("", None),
        ];
        for (text, region) in table {
            let arn = RoleArn::new(text);
            assert_eq!(arn.as_ref().map(RoleArn::region), region, "{text}");
        }
    }

    // CRED-2
    #[test]
    fn a_session_is_named_by_its_build() {
        let uuid = "00000000-0000-4000-8000-000000000000";
        assert_eq!(Role::session_name("demo", uuid), format!("demo-{uuid}"));
        let long = Role::session_name(&"p".repeat(150), uuid);
        assert_eq!(long.len(), LONGEST_NAME);
        assert!(long.ends_with(uuid));
    }
}
