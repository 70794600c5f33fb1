//! The variables of a build's first command.

use std::ffi::{OsStr, OsString};
use std::time::UNIX_EPOCH;

use super::make::build_id;
use super::request::{BuildRequest, RequestedValue, RequestedVariable, SecondarySource};
use super::types::SecretPlan;
use crate::buildspec::Buildspec;
use crate::buildspec::model::Variable;
use crate::env::{EnvironmentBuilder, EnvironmentVariable, Origin, SecretReference, expand};

/// All variables of the first command (ENV-1 to ENV-8).
#[must_use]
pub fn plan_environment(buildspec: &Buildspec, request: &BuildRequest) -> Vec<EnvironmentVariable> {
    let mut environment = EnvironmentBuilder::default();
    for (name, value) in &request.environment {
        // CRED-3
        if request.serves_credentials && leads_to_credentials(name) {
            continue;
        }
        environment.set(Origin::Environment, name.clone(), value.clone());
    }
    if let Some(region) = &request.region {
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            environment.set(Origin::Default, name, region);
        }
    }
    for Variable { name, value } in &buildspec.variables {
        environment.set(Origin::Buildspec, &name.value, &value.value);
    }
    for (origin, RequestedVariable { name, value }) in requested(request) {
        if let RequestedValue::Plaintext(value) = value {
            environment.set(origin, name, value);
        }
    }
    for (name, value) in runner_variables(request) {
        environment.set(Origin::Runner, name, value);
    }
    for (name, value) in secondary_variables(request) {
        environment.set(Origin::Runner, name, value);
    }
    environment.finish()
}

/// What the project and the start say, of each name what each of them says last.
fn requested(request: &BuildRequest) -> impl Iterator<Item = (Origin, &RequestedVariable)> {
    let of = |origin: Origin, variables: &'_ [RequestedVariable]| {
        let is_last = |place: usize| {
            let mut later = variables[place + 1..].iter();
            !later.any(|later| later.name == variables[place].name)
        };
        let places: Vec<usize> = (0..variables.len())
            .filter(|place| is_last(*place))
            .collect();
        (origin, places)
    };
    let lists = [
        (Origin::Project, &request.project_variables),
        (Origin::StartBuild, &request.start_build_variables),
    ];
    lists.into_iter().flat_map(move |(origin, variables)| {
        let (origin, places) = of(origin, variables);
        places
            .into_iter()
            .map(move |place| (origin, &variables[place]))
    })
}

/// Variables that lead an SDK to credentials. A build that gets its own from an endpoint has none of its caller's.
const OF_CREDENTIALS: &[&str] = &[
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

fn leads_to_credentials(name: &OsStr) -> bool {
    OF_CREDENTIALS.iter().any(|known| name == *known)
}

/// What has to be fetched, each name once: what the start says of it rather than what the project says, and that rather than
/// what the buildspec says; and nothing of which somebody above says a value (ENV-5, ENV-47).
pub(super) fn plan_secrets(
    buildspec: &Buildspec,
    request: &BuildRequest,
    environment: &[EnvironmentVariable],
) -> Vec<SecretPlan> {
    let said = |name: &str| {
        let found = environment.binary_search_by(|v| v.name.as_os_str().cmp(OsStr::new(name)));
        found.ok().map(|place| environment[place].origin)
    };
    let requested = requested(request).filter_map(|(origin, variable)| {
        let reference = match &variable.value {
            RequestedValue::Plaintext(_) => return None,
            RequestedValue::ParameterStore(name) => {
                SecretReference::Parameter { name: name.clone() }
            }
            RequestedValue::SecretsManager(text) => SecretReference::secret(text),
            RequestedValue::Given => SecretReference::Given,
        };
        Some(SecretPlan {
            name: variable.name.clone(),
            origin,
            reference,
        })
    });
    let mut planned: Vec<SecretPlan> = Vec::new();
    for secret in secrets_of(buildspec, environment)
        .into_iter()
        .chain(requested)
    {
        if said(&secret.name).is_none_or(|origin| origin <= secret.origin) {
            planned.retain(|lower| lower.name != secret.name);
            planned.push(secret);
        }
    }
    planned
}

/// Those of the buildspec: of one name the secret rather than the parameter (ENV-6). References are expanded with the
/// variables that are known (ENV-22).
fn secrets_of(buildspec: &Buildspec, environment: &[EnvironmentVariable]) -> Vec<SecretPlan> {
    let known = |name: &str| {
        let found = environment.binary_search_by(|v| v.name.as_os_str().cmp(OsStr::new(name)));
        found.ok().map(|place| &environment[place])
    };
    let value = |name: &str| Some(known(name)?.value.to_string_lossy().into_owned());
    let parameters = buildspec.parameter_store.iter().filter(|parameter| {
        let mut secrets = buildspec.secrets_manager.iter();
        !secrets.any(|secret| secret.name.value == parameter.name.value)
    });
    let parameters = parameters.map(|variable| {
        let name = expand(&variable.value.value, value);
        (variable, SecretReference::Parameter { name })
    });
    let secrets = buildspec.secrets_manager.iter().map(|variable| {
        let text = expand(&variable.value.value, value);
        (variable, SecretReference::secret(&text))
    });
    parameters
        .chain(secrets)
        .map(|(Variable { name, .. }, reference)| SecretPlan {
            name: name.value.clone(),
            origin: Origin::Buildspec,
            reference,
        })
        .collect()
}

/// CodeBuild's account in names when nobody has said which it is; its local agent uses the same (ENV-2).
const NO_ACCOUNT: &str = "000000000000";

/// The partition of AWS that a region belongs to, as ARNs have it.
#[must_use]
pub fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// `CODEBUILD_*` as far as they make sense off AWS (ENV-2, ENV-3).
fn runner_variables(request: &BuildRequest) -> Vec<(&'static str, OsString)> {
    let region = request.region.as_deref().unwrap_or("us-east-1");
    let account = request.account.as_deref().unwrap_or(NO_ACCOUNT);
    let partition = partition(region);
    let arn = |service: &str, resource: &str| {
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    };
    let since_epoch = request
        .start_time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let key = match &request.artifacts.encryption_key {
        Some(key) => key.clone(),
        None => arn("kms", "alias/aws/s3"),
    };
    let text = |text: &str| OsString::from(text);
    let mut variables = vec![
        ("CODEBUILD_BATCH_BUILD_IDENTIFIER", text("")),
        (
            "CODEBUILD_BUILD_ARN",
            arn("codebuild", &format!("build/{}", build_id(request))).into(),
        ),
        ("CODEBUILD_BUILD_ID", build_id(request).into()),
        (
            "CODEBUILD_BUILD_NUMBER",
            request.build_number.to_string().into(),
        ),
        ("CODEBUILD_BUILD_SUCCEEDING", text("1")),
        ("CODEBUILD_CI", text("true")),
        ("CODEBUILD_INITIATOR", text(&request.initiator)),
        ("CODEBUILD_KMS_KEY_ID", key.into()),
        ("CODEBUILD_LOG_PATH", text(&request.build_uuid)),
        (
            "CODEBUILD_PROJECT_ARN",
            arn("codebuild", &format!("project/{}", request.project)).into(),
        ),
        (
            "CODEBUILD_SOURCE_REPO_URL",
            text(request.source.repository_url.as_deref().unwrap_or_default()),
        ),
        (
            "CODEBUILD_SRC_DIR",
            request.source.directory.clone().into_os_string(),
        ),
        (
            "CODEBUILD_START_TIME",
            since_epoch.as_millis().to_string().into(),
        ),
    ];
    if let Some(version) = &request.source.version {
        variables.push(("CODEBUILD_SOURCE_VERSION", text(version)));
    }
    if let Some(version) = &request.source.resolved_version {
        variables.push(("CODEBUILD_RESOLVED_SOURCE_VERSION", text(version)));
    }
    variables
}

/// `CODEBUILD_*_<identifier>` of the other sources (ENV-30, ENV-31, ENV-32).
fn secondary_variables(request: &BuildRequest) -> Vec<(String, OsString)> {
    let mut variables = Vec::new();
    for SecondarySource { identifier, source } in &request.secondary_sources {
        let mut set = |name: &str, value: OsString| {
            variables.push((format!("CODEBUILD_{name}_{identifier}"), value));
        };
        set("SRC_DIR", source.directory.clone().into_os_string());
        let url = source.repository_url.as_deref().unwrap_or_default();
        set("SOURCE_REPO_URL", url.into());
        if let Some(version) = &source.version {
            set("SOURCE_VERSION", version.into());
        }
    }
    variables
}
