//! The back of `aws`: asks AWS.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::query::Query;
use crate::tool::backend::Failure;
use crate::tool::request::{AwsRequest, Caller, Operation, Secret};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// How long AWS may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long a whole request may take, with all its attempts.
const WHOLE: Duration = Duration::from_mins(2);

/// How often a request is tried.
const ATTEMPTS: u32 = 5;

/// Public ECR gives out its tokens in one region only.
const PUBLIC_REGION: &str = "us-east-1";

/// Exit code where credentials or the region are missing: that of AWS's own tool.
const NOT_CONFIGURED: u8 = 253;

/// Exit code where AWS refused: that of its own tool.
const REFUSED: u8 = 254;

/// Exit code where nobody answered: that of AWS's own tool.
const GENERAL: u8 = 255;

/// Does what is asked.
pub(in crate::tool) async fn answer(request: AwsRequest) -> Result<String, Failure> {
    let AwsRequest { caller, operation } = request;
    let text = match operation {
        Operation::Password => {
            let [token] = tokens(&caller, &[])
                .await?
                .try_into()
                .map_err(|_| nothing_came())?;
            format!("{}\n", token.password.0)
        }
        Operation::PublicPassword => format!("{}\n", public_token(&caller).await?.password.0),
        Operation::Login { registries, email } => {
            let none = if email { "-e none " } else { "" };
            let lines = tokens(&caller, &registries)
                .await?
                .into_iter()
                .map(|token| {
                    let Token {
                        username,
                        password,
                        endpoint,
                    } = token;
                    format!(
                        "docker login -u {username} -p {} {none}{endpoint}\n",
                        password.0
                    )
                });
            lines.collect()
        }
        Operation::Identity { query, text } => identity(&caller, query.as_ref(), text).await?,
    };
    Ok(text)
}

/// The endpoint that was asked for, whatever the service.
macro_rules! with_endpoint {
    ($builder:expr, $caller:expr) => {{
        let mut builder = $builder;
        if let Some(endpoint) = &$caller.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        builder
    }};
}
/// What logs in to one registry.
pub(in crate::tool) struct Token {
    pub(in crate::tool) username: String,
    pub(in crate::tool) password: Secret,
    /// `https://` and the registry's host.
    pub(in crate::tool) endpoint: String,
}

/// What logs in to the registry of this host, if it is one of Amazon ECR's.
pub(in crate::tool) async fn token_for(host: &str) -> Option<Result<Token, Failure>> {
    if host == "public.ecr.aws" {
        return Some(public_token(&Caller::default()).await);
    }
    let region = region_of(host)?;
    let caller = Caller {
        region: Some(region.to_owned()),
        ..Caller::default()
    };
    let tokens = tokens(&caller, &[]).await;
    Some(tokens.and_then(|tokens| tokens.into_iter().next().ok_or_else(nothing_came)))
}

/// The region of a registry of Amazon ECR's, told by its host.
fn region_of(host: &str) -> Option<&str> {
    let (account, rest) = host.split_once(".dkr.")?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let rest = rest
        .strip_prefix("ecr.")
        .or_else(|| rest.strip_prefix("ecr-fips."))?;
    let (region, domain) = rest.split_once('.')?;
    (is_account && ["amazonaws.com", "amazonaws.com.cn"].contains(&domain)).then_some(region)
}

async fn tokens(caller: &Caller, registries: &[String]) -> Result<Vec<Token>, Failure> {
    const DOING: &str = "get an ECR login";
    let config = aws_sdk_ecr::config::Builder::from(&configure(caller, None, DOING).await?);
    let config = with_endpoint!(config, caller);
    let client = aws_sdk_ecr::Client::from_conf(config.build());
    let mut request = client.get_authorization_token();
    if !registries.is_empty() {
        #[expect(
            deprecated,
            reason = "`aws ecr get-login --registry-ids` names accounts, and AWS still takes them"
        )]
        {
            request = request.set_registry_ids(Some(registries.to_vec()));
        }
    }
    let answer = request
        .send()
        .await
        .map_err(|error| refused(DOING, &error))?;
    let data = answer.authorization_data().iter();
    data.map(|data| {
        let endpoint = data.proxy_endpoint().unwrap_or_default();
        token(data.authorization_token().unwrap_or_default(), endpoint)
    })
    .collect()
}

async fn public_token(caller: &Caller) -> Result<Token, Failure> {
    const DOING: &str = "get a login for public ECR";
    let config = configure(caller, Some(PUBLIC_REGION), DOING).await?;
    let config = with_endpoint!(aws_sdk_ecrpublic::config::Builder::from(&config), caller);
    let client = aws_sdk_ecrpublic::Client::from_conf(config.build());
    let answer = client
        .get_authorization_token()
        .send()
        .await
        .map_err(|error| refused(DOING, &error))?;
    let data = answer.authorization_data().ok_or_else(nothing_came)?;
    token(
        data.authorization_token().unwrap_or_default(),
        "https://public.ecr.aws",
    )
}

fn token(encoded: &str, endpoint: &str) -> Result<Token, Failure> {
    let text = BASE64
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(nothing_came)?;
    let (username, password) = text.split_once(':').ok_or_else(nothing_came)?;
    Ok(Token {
        username: username.to_owned(),
        password: Secret(password.to_owned()),
        endpoint: endpoint.to_owned(),
    })
}

async fn identity(caller: &Caller, query: Option<&Query>, text: bool) -> Result<String, Failure> {
    const DOING: &str = "get the caller's identity";
    // STS answers in every region, and the identity is the same.
    let region = caller.region.is_none().then_some("us-east-1");
    let config = aws_sdk_sts::config::Builder::from(&configure(caller, region, DOING).await?);
    let config = with_endpoint!(config, caller);
    let client = aws_sdk_sts::Client::from_conf(config.build());
    let answer = client
        .get_caller_identity()
        .send()
        .await
        .map_err(|error| refused(DOING, &error))?;
    let of = |field: Option<&str>| field.unwrap_or_default().to_owned();
    let values = [of(answer.user_id()), of(answer.account()), of(answer.arn())];
    Ok(Query::show(
        query,
        [&values[0], &values[1], &values[2]],
        text,
    ))
}

async fn configure(
    caller: &Caller,
    region: Option<&'static str>,
    doing: &str,
) -> Result<SdkConfig, Failure> {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(ANSWER)
        .operation_timeout(WHOLE);
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts.build());
    if let Some(profile) = &caller.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(keys) = &caller.keys {
        let session = keys.session.as_ref().map(|session| session.0.clone());
        let credentials = Credentials::new(
            &keys.id,
            &keys.secret.0,
            session,
            None,
            "the build's environment",
        );
        loader = loader.credentials_provider(credentials);
    }
    let said = region.map(str::to_owned).or_else(|| caller.region.clone());
    if let Some(region) = said {
        loader = loader.region(Region::new(region));
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(Failure {
            code: NOT_CONFIGURED,
            message: format!(
                "could not {doing}: no region is known; pass `--region REGION` or set AWS_REGION"
            ),
        });
    }
    Ok(config)
}

fn nothing_came() -> Failure {
    Failure {
        code: REFUSED,
        message: "AWS answered without a login that can be used".to_owned(),
    }
}

/// Why AWS gave no answer, in its own words where it has any.
fn refused<E>(doing: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if let Some(service) = error.as_service_error() {
        let name = service.code().unwrap_or("an error without a name");
        let said = service.message().unwrap_or("no reason was given");
        return Failure {
            code: REFUSED,
            message: format!("could not {doing}: {name}: {said}"),
        };
    }
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    });
    let missing = causes.find_map(|cause| cause.downcast_ref::<CredentialsError>());
    if missing.is_some() {
        let help = "no AWS credentials were found where runner runs: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile";
        return Failure {
            code: NOT_CONFIGURED,
            message: format!("could not {doing}: {help}"),
        };
    }
    let last = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    })
    .last();
    let reason = last.map(ToString::to_string).unwrap_or_default();
    Failure {
        code: GENERAL,
        message: format!("could not {doing}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_of_a_registry_is_in_its_name() {
        let table = [
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                Some("eu-west-1"),
            ),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                Some("us-gov-west-1"),
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                Some("cn-north-1"),
            ),
            ("123456789012.dkr.ecr.eu-west-1.example.com", None),
            ("12345.dkr.ecr.eu-west-1.amazonaws.com", None),
            ("docker.io", None),
        ];
        for (host, region) in table {
            assert_eq!(region_of(host), region, "{host}");
        }
    }

    #[test]
    fn a_token_is_a_name_and_a_password() {
        let token =
            token(&BASE64.encode("AWS:a:b"), "https://x").unwrap_or_else(|_| panic!("it is one"));
        assert_eq!(
            (token.username.as_str(), token.password.0.as_str()),
            ("AWS", "a:b")
        );
        assert!(super::token("!", "").is_err() && super::token(&BASE64.encode("AWS"), "").is_err());
    }
}
