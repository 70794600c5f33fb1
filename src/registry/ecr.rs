//! Amazon ECR: which registries are its, and the tokens that open them (REG-2 to REG-4).

use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::DateTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::credentials::Secret;
use super::error::{Error, ErrorKind};
use crate::aws::{self, UnansweredKind};

/// The public registry.
pub const PUBLIC: &str = "public.ecr.aws";

/// The other name of the public registry, which has addresses of both kinds.
const PUBLIC_DUAL_STACK: &str = "ecr-public.aws.com";

/// Where tokens for the public registry are given out.
const PUBLIC_REGION: &str = "us-east-1";

/// The name that every token of ECR's belongs to.
pub const USER: &str = "AWS";

/// Ends of host names: end, partition.
const ENDS: &[(&str, &str)] = &[
    (".amazonaws.com.cn", "aws-cn"),
    (".amazonaws.com", "aws"),
    (".amazonaws.eu", "aws-eusc"),
    (".c2s.ic.gov", "aws-iso"),
    (".sc2s.sgov.gov", "aws-iso-b"),
    (".cloud.adc-e.uk", "aws-iso-e"),
    (".csp.hci.ic.gov", "aws-iso-f"),
];

/// Ends of host names that have addresses of both kinds: end, partition.
const DUAL_STACK_ENDS: &[(&str, &str)] = &[
    (".on.aws", "aws"),
    (".on.amazonwebservices.com.cn", "aws-cn"),
    (".on.amazonwebservices.eu", "aws-eusc"),
];

/// A registry of ECR's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registry {
    host: String,
    kind: Kind,
}

/// The two kinds of registries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An account's own, in one region.
    Private {
        /// Twelve digits.
        account: String,
        /// Such as `eu-central-1`.
        region: String,
        /// Such as `aws` or `aws-cn`.
        partition: &'static str,
        /// Whether its cryptography has to be that of FIPS 140.
        fips: bool,
    },
    /// The one that everybody may read.
    Public,
}

impl Registry {
    /// The registry with this address, if it is one of ECR's.
    #[must_use]
    pub fn parse(server: &str) -> Option<Self> {
        let host = super::host_of(server);
        let name = host.strip_suffix(":443").unwrap_or(&host);
        let kind = match name {
            PUBLIC | PUBLIC_DUAL_STACK => Kind::Public,
            name => private(name)?,
        };
        Some(Self { host, kind })
    }

    /// The registries that a text has the names of, in whatever it is, each once.
    #[must_use]
    pub fn mentioned(text: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c));
        for registry in words.filter_map(|word| Self::parse(word.trim_matches(['.', '-']))) {
            if !found.contains(&registry) {
                found.push(registry);
            }
        }
        found
    }

    /// Whether everybody may read what is in the registry with this address, also without a token (REG-3, REG-15).
    #[must_use]
    pub fn is_public(server: &str) -> bool {
        Self::parse(server).is_some_and(|registry| registry.kind == Kind::Public)
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What one token opens: every registry of a region that the same principal may use (REG-3).
    #[must_use]
    pub(super) fn scope(&self) -> String {
        match &self.kind {
            Kind::Private { region, fips, .. } if *fips => format!("{region}-fips"),
            Kind::Private { region, .. } => region.clone(),
            Kind::Public => "public".to_owned(),
        }
    }
}

fn private(host: &str) -> Option<Kind> {
    let with_end = |ends: &'static [(&'static str, &'static str)]| {
        ends.iter()
            .find_map(|(end, partition)| Some((host.strip_suffix(end)?, *partition)))
    };
    let (rest, partition, service, service_fips) = match with_end(DUAL_STACK_ENDS) {
        Some((rest, partition)) => (rest, partition, ".dkr-ecr.", ".dkr-ecr-fips."),
        None => {
            let (rest, partition) = with_end(ENDS)?;
            (rest, partition, ".dkr.ecr.", ".dkr.ecr-fips.")
        }
    };
    let (account, region, fips) = match rest.split_once(service) {
        Some((account, region)) => (account, region, false),
        None => {
            let (account, region) = rest.split_once(service_fips)?;
            (account, region, true)
        }
    };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_region = region.contains('-')
        && region
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    // GovCloud has the host names of the commercial regions.
    let partition = match partition {
        "aws" if region.starts_with("us-gov-") => "aws-us-gov",
        other => other,
    };
    (is_account && is_region).then(|| Kind::Private {
        account: account.to_owned(),
        region: region.to_owned(),
        partition,
        fips,
    })
}

/// A token, and how long it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The password.
    pub secret: Secret,
    /// When it was given out, in seconds since 1970.
    pub fetched: u64,
    /// When it ends, in seconds since 1970. What is over already was said by a service whose clock is not ours.
    pub expires: u64,
}

/// Asks AWS for a token that opens this registry.
pub async fn ask(settings: &aws::Settings, registry: &Registry) -> Result<Token, Error> {
    let doing = format!("get a token for {}", registry.host());
    let asking = Box::pin(async {
        match registry.kind() {
            Kind::Public => ask_public(settings, &doing).await,
            Kind::Private { region, fips, .. } => {
                let settings = aws::Settings {
                    region: Some(region.clone()),
                    ..settings.clone()
                };
                let logins = ask_private(&settings, *fips, &[], &doing).await?;
                Ok(first(logins)?.token)
            }
        }
    });
    within_limit(&doing, asking).await
}

/// A token with the registry that AWS gave it out for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `https://` and the registry's host.
    pub address: String,
    /// The token.
    pub token: Token,
}

/// Asks AWS for tokens in the caller's region: of the caller's own registry, or of those of these accounts, in their
/// order. There is at least one.
pub async fn ask_accounts(
    settings: &aws::Settings,
    accounts: &[String],
) -> Result<Vec<Login>, Error> {
    let doing = match accounts {
        [] => "get a token for your own registry".to_owned(),
        accounts => format!("get tokens for the registries of {}", accounts.join(", ")),
    };
    let asking = Box::pin(ask_private(settings, false, accounts, &doing));
    within_limit(&doing, asking).await
}

/// Asks AWS for a token of the caller's own registry, in the caller's region.
pub async fn ask_own(settings: &aws::Settings) -> Result<(Registry, Token), Error> {
    let Login { address, token } = first(ask_accounts(settings, &[]).await?)?;
    let registry = Registry::parse(&address).ok_or_else(|| {
        let why = format!("the registry's address is not one of ECR's: `{address}`");
        let help = Some("name the registry".to_owned());
        Error::new(
            ErrorKind::Other,
            "get a token for your own registry",
            why,
            help,
        )
    })?;
    Ok((registry, token))
}

async fn within_limit<T>(
    doing: &str,
    asking: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let answer = tokio::time::timeout(aws::SMALL, asking).await;
    answer.unwrap_or_else(|_| {
        let why = format!(
            "there was no answer within {} seconds",
            aws::SMALL.as_secs()
        );
        let help = "check the network, the region and AWS_ENDPOINT_URL".to_owned();
        Err(Error::new(ErrorKind::Unreachable, doing, why, Some(help)))
    })
}

fn first(logins: Vec<Login>) -> Result<Login, Error> {
    logins
        .into_iter()
        .next()
        .ok_or_else(|| no_token("get a token"))
}

/// Tokens and the addresses of their registries. A token of the caller's account opens registries of other accounts too,
/// and naming them is deprecated; so that is left to those who want the addresses.
async fn ask_private(
    settings: &aws::Settings,
    fips: bool,
    accounts: &[String],
    doing: &str,
) -> Result<Vec<Login>, Error> {
    let shared = settings
        .loader()
        .timeout_config(aws::small_question())
        .load()
        .await;
    let missing = settings.missing_profile.as_deref();
    if shared.region().is_none() {
        let (why, help) = aws::no_region(missing);
        return Err(Error::new(ErrorKind::NoRegion, doing, why, Some(help)));
    }
    let mut config = aws_sdk_ecr::config::Builder::from(&shared);
    // Whoever names an endpoint has chosen its cryptography.
    if fips && shared.endpoint_url().is_none() {
        config = config.use_fips(true);
    }
    let client = aws_sdk_ecr::Client::from_conf(config.build());
    let mut request = client.get_authorization_token();
    if !accounts.is_empty() {
        #[expect(
            deprecated,
            reason = "`aws ecr get-login --registry-ids` names accounts, and AWS still takes them"
        )]
        {
            request = request.set_registry_ids(Some(accounts.to_vec()));
        }
    }
    let answer = request.send().await;
    let answer = answer.map_err(|error| refused(doing, &error, missing))?;
    let logins = answer.authorization_data().iter().map(|data| {
        Some(Login {
            address: data.proxy_endpoint().unwrap_or_default().to_owned(),
            token: token(data.authorization_token(), data.expires_at())?,
        })
    });
    let logins: Option<Vec<Login>> = logins.collect();
    logins
        .filter(|logins| !logins.is_empty())
        .ok_or_else(|| no_token(doing))
}

async fn ask_public(settings: &aws::Settings, doing: &str) -> Result<Token, Error> {
    let settings = aws::Settings {
        region: Some(PUBLIC_REGION.to_owned()),
        ..settings.clone()
    };
    let shared = settings
        .loader()
        .timeout_config(aws::small_question())
        .load()
        .await;
    let client = aws_sdk_ecrpublic::Client::new(&shared);
    let answer = client.get_authorization_token().send().await;
    let answer =
        answer.map_err(|error| refused(doing, &error, settings.missing_profile.as_deref()))?;
    let data = answer.authorization_data();
    data.and_then(|data| token(data.authorization_token(), data.expires_at()))
        .ok_or_else(|| no_token(doing))
}

fn no_token(doing: &str) -> Error {
    let why = "the answer has no token that can be read";
    Error::new(ErrorKind::Other, doing, why, None)
}

/// What AWS gives out: name and password with a colon between them, in Base64.
fn token(text: Option<&str>, expires: Option<&DateTime>) -> Option<Token> {
    let decoded = String::from_utf8(BASE64.decode(text?).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    Some(Token {
        secret: Secret::new(password),
        fetched: now(),
        expires: u64::try_from(expires?.secs()).unwrap_or(0),
    })
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    crate::event::stamp()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Codes of AWS's that say that the credentials are no longer, or never were.
const BAD_CREDENTIALS: &[&str] = &[
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
];

/// An answer that is none, in words.
fn refused<E>(doing: &str, error: &SdkError<E, HttpResponse>, missing: Option<&str>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let SdkError::ServiceError(said) = error else {
        let unanswered = aws::unanswered(error, missing);
        let kind = match unanswered.kind {
            UnansweredKind::NoCredentials | UnansweredKind::BadCredentials => {
                ErrorKind::NoCredentials
            }
            UnansweredKind::Network => ErrorKind::Unreachable,
        };
        return Error::new(kind, doing, unanswered.why, Some(unanswered.help));
    };
    let status = said.raw().status().as_u16();
    let code = said.err().code().unwrap_or("no code");
    let message = said.err().message().unwrap_or("no message");
    let why = format!("AWS answered {code}: {message} (HTTP {status})");
    let (kind, help) = match (code, status) {
        (code, _) if BAD_CREDENTIALS.contains(&code) => (
            ErrorKind::BadCredentials,
            "renew the credentials, for example with `aws sso login`, or name others with `--profile`",
        ),
        ("AccessDeniedException" | "AccessDenied", _) | (_, 401 | 403) => (
            ErrorKind::Denied,
            "allow this user or role `ecr:GetAuthorizationToken` on `*` (for the public registry `ecr-public:GetAuthorizationToken` and `sts:GetServiceBearerToken`)",
        ),
        (_, 500..) => (ErrorKind::Unreachable, "try again later"),
        _ => (ErrorKind::Other, "check the region and the credentials"),
    };
    Error::new(kind, doing, why, Some(help.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private(server: &str) -> Option<(String, String, &'static str, bool)> {
        match Registry::parse(server)?.kind {
            Kind::Private {
                account,
                region,
                partition,
                fips,
            } => Some((account, region, partition, fips)),
            Kind::Public => None,
        }
    }

    #[test]
    fn the_registries_of_ecr_are_known_in_every_partition() {
        const A: &str = "123456789012";
        let table = [
            ("dkr.ecr.us-east-1.amazonaws.com", "us-east-1", "aws", false),
            (
                "dkr.ecr-fips.us-east-1.amazonaws.com",
                "us-east-1",
                "aws",
                true,
            ),
            (
                "dkr.ecr.us-gov-west-1.amazonaws.com",
                "us-gov-west-1",
                "aws-us-gov",
                false,
            ),
            (
                "dkr.ecr.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
                "aws-cn",
                false,
            ),
            (
                "dkr.ecr.us-iso-east-1.c2s.ic.gov",
                "us-iso-east-1",
                "aws-iso",
                false,
            ),
            (
                "dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
                "us-isob-east-1",
                "aws-iso-b",
                false,
            ),
            (
                "dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
                "eu-isoe-west-1",
                "aws-iso-e",
                false,
            ),
            (
                "dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
                "us-isof-south-1",
                "aws-iso-f",
                false,
            ),
            (
                "dkr.ecr.eusc-de-east-1.amazonaws.eu",
                "eusc-de-east-1",
                "aws-eusc",
                false,
            ),
            ("dkr-ecr.eu-west-1.on.aws", "eu-west-1", "aws", false),
            (
                "dkr-ecr-fips.us-gov-east-1.on.aws",
                "us-gov-east-1",
                "aws-us-gov",
                true,
            ),
            (
                "dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
                "cn-north-1",
                "aws-cn",
                false,
            ),
        ];
        for (rest, region, partition, fips) in table {
            let expected = Some((A.to_owned(), region.to_owned(), partition, fips));
            for server in [
                format!("{A}.{rest}"),
                format!("https://{A}.{rest}/v2/"),
                format!("{A}.{}", rest.to_uppercase()),
                format!("{A}.{rest}:443"),
            ] {
                assert_eq!(private(&server), expected, "{server}");
            }
        }
        for public in [PUBLIC, "https://public.ecr.aws/v2/", "ecr-public.aws.com"] {
            assert_eq!(Registry::parse(public).unwrap().kind, Kind::Public);
        }
    }

    #[test]
    fn other_registries_are_not_taken_for_ecr() {
        for server in [
            "",
            "docker.io",
            "https://index.docker.io/v1/",
            "ghcr.io",
            "127.0.0.1:5000",
            "12345.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.example.com",
            "123456789012.dkr.ecr.amazonaws.com",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.a.b-c.amazonaws.com",
            "123456789012.s3.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.on.aws",
            "x.public.ecr.aws",
        ] {
            assert_eq!(Registry::parse(server), None, "{server}");
        }
    }

    #[test]
    fn registries_are_found_in_texts() {
        let text = "FROM 123456789012.dkr.ecr.us-east-1.amazonaws.com/base:1 AS a\n\
            # 210987654321.dkr.ecr.eu-west-1.amazonaws.com.\n\
            FROM public.ecr.aws/docker/library/debian\nFROM 123456789012.dkr.ecr.us-east-1.amazonaws.com/x\n";
        let found = Registry::mentioned(text);
        let hosts: Vec<&str> = found.iter().map(Registry::host).collect();
        let expected = [
            "123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "210987654321.dkr.ecr.eu-west-1.amazonaws.com",
            PUBLIC,
        ];
        assert_eq!(hosts, expected);
    }

    #[test]
    fn a_token_is_a_name_and_a_password_in_base64() {
        let at = DateTime::from_secs(1_800_000_000);
        let read = token(Some(&BASE64.encode("AWS:pass:word")), Some(&at)).unwrap();
        assert_eq!(read.secret.reveal(), "pass:word");
        assert_eq!(read.expires, 1_800_000_000);
        assert!(!format!("{read:?}").contains("pass"));
        for bad in [None, Some("%"), Some("QVdT")] {
            assert_eq!(token(bad, Some(&at)), None);
        }
        assert_eq!(token(Some(&BASE64.encode("AWS:x")), None), None);
    }
}
