//! What AWS's own settings say, without asking AWS.

use std::ffi::OsString;
use std::path::PathBuf;

use aws_config::SdkConfig;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;

use super::machine;
use crate::aws::{Settings as AwsSettings, has_profile, small_question};
use crate::registry::Settings;

/// The region: the flag, the environment, the profile. Nothing is asked over a network.
pub(super) async fn region(flag: Option<&str>, profile: Option<&str>) -> Option<String> {
    let known = flag
        .map(str::to_owned)
        .or_else(|| machine::text("AWS_REGION"))
        .or_else(|| machine::text("AWS_DEFAULT_REGION"));
    if known.is_some() || !has_profiles() {
        return known;
    }
    let mut provider = ProfileFileRegionProvider::builder();
    if let Some(profile) = profile {
        provider = provider.profile_name(profile);
    }
    provider
        .build()
        .region()
        .await
        .map(|region| region.to_string())
}

fn has_profiles() -> bool {
    let named = machine::variable("AWS_CONFIG_FILE").map(PathBuf::from);
    let usual = || machine::variable("HOME").map(|home| PathBuf::from(home).join(".aws/config"));
    named.or_else(usual).is_some_and(|path| path.is_file())
}

/// The profile that is asked for, if no file has it. The SDK goes on without it, and then says what else it has tried.
pub(super) fn missing_profile(flag: Option<&str>) -> Option<String> {
    let wanted = flag
        .map(str::to_owned)
        .or_else(|| machine::text("AWS_PROFILE"))?;
    let known = has_profile(&wanted, machine::variable);
    (!known && wanted != "default").then_some(wanted)
}

/// How AWS is reached: a region and a profile where they were said, and what this machine has where they were not.
pub(super) fn settings(region: Option<&str>, profile: Option<&str>) -> AwsSettings {
    AwsSettings {
        region: region.map(str::to_owned),
        profile: profile.map(str::to_owned),
        // As with AWS's own tool: keys that happen to be in the environment are another account's (CRED-34).
        only_profile: profile.is_some(),
        missing_profile: missing_profile(profile),
        ..AwsSettings::default()
    }
}

/// What the environment says of registries and their credentials.
pub(super) fn registry_settings(aws: AwsSettings) -> Settings {
    Settings::new(machine::variables(), aws)
}

/// How often a request of a check is tried.
const ATTEMPTS: u32 = 2;

/// Settings for short questions to AWS.
pub(super) async fn configuration(settings: &AwsSettings) -> SdkConfig {
    settings
        .loader()
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(small_question())
        .load()
        .await
}

/// Whether an endpoint other than AWS's own is set for S3.
pub(super) fn has_custom_endpoint() -> bool {
    ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
        .into_iter()
        .any(|name| machine::variable(name).is_some())
}

/// Shortest value that is taken for a real credential: test servers take any, and hiding every `test` helps nobody.
const SHORTEST_CREDENTIAL: usize = 16;

/// Credentials in the environment, which no log may show (LOG-15).
pub(super) fn credentials<'v>(
    variables: impl Iterator<Item = (&'v str, &'v OsString)>,
) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ];
    variables
        .filter(|(name, value)| names.contains(name) && value.len() >= SHORTEST_CREDENTIAL)
        .map(|(_, value)| value.as_bytes().to_vec())
        .collect()
}
