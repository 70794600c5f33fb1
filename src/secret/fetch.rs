//! Everything that a build needs, at once.

use std::collections::{HashMap, HashSet};

use aws_config::SdkConfig;
use futures_util::future::join_all;

use super::error::{Error, PARAMETERS, Problem, SECRETS};
use super::{parameter_store, secrets_manager};
use crate::aws;
use crate::env::SecretReference;
use crate::plan::SecretPlan;
use secrets_manager::Wanted;

/// A variable and its value, which is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Name of the variable.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fetched({}, …)", self.name)
    }
}

/// Where values come from.
#[derive(Clone, Debug, Default)]
pub struct SecretSource {
    /// Values that are given, by name of the variable: AWS is not asked for them (ENV-26).
    pub given: Vec<Fetched>,
    /// How AWS is reached.
    pub aws: aws::Settings,
}

impl SecretSource {
    /// Gets the values of all these variables, in their order. AWS is asked once for everything that lies in one place, and
    /// for everything at the same time; each question ends (ENV-25).
    ///
    /// # Errors
    ///
    /// Everything that is wrong, where anything is. No value is in it.
    pub async fn fetch(&self, wanted: &[SecretPlan]) -> Result<Vec<Fetched>, Error> {
        let (given, asked): (Vec<&SecretPlan>, Vec<&SecretPlan>) = wanted
            .iter()
            .partition(|secret| self.given(&secret.name).is_some());
        let mut values: HashMap<&str, String> = HashMap::new();
        for secret in given {
            let given = self.given(&secret.name).map(|given| given.value.clone());
            values.insert(&secret.name, given.unwrap_or_default());
        }
        let mut problems = Vec::new();
        if !asked.is_empty() {
            let (found, wrong) = self.ask(&asked).await;
            problems = wrong;
            values.extend(found);
        }
        problems.extend(
            values
                .iter()
                .filter_map(|(name, value)| impossible(name, value)),
        );
        if let Some(error) = Error::of(problems) {
            return Err(error);
        }
        let fetched = wanted.iter().filter_map(|SecretPlan { name, .. }| {
            let value = values.remove(name.as_str())?;
            let name = name.clone();
            Some(Fetched { name, value })
        });
        Ok(fetched.collect())
    }

    fn given(&self, name: &str) -> Option<&Fetched> {
        self.given.iter().rfind(|given| given.name == name)
    }

    async fn ask<'p>(&self, asked: &[&'p SecretPlan]) -> (HashMap<&'p str, String>, Vec<Problem>) {
        let missing = self.aws.missing_profile.as_deref();
        let loader = self.aws.loader().timeout_config(aws::small_question());
        let config = loader.load().await;
        if config.region().is_none() {
            let status_code = match asked[0].reference {
                SecretReference::Parameter { .. } => PARAMETERS,
                SecretReference::Secret { .. } | SecretReference::Given => SECRETS,
            };
            let (message, help) = aws::no_region(missing);
            let problem = Problem {
                status_code,
                message,
                help,
                about: None,
            };
            return (HashMap::new(), vec![problem]);
        }
        let (parameters, secrets) = tokio::join!(
            read_parameters(&config, asked, missing),
            read_secrets(&config, asked, missing)
        );
        let (parameters, mut problems) = parameters;
        let mut values = HashMap::new();
        for secret in asked {
            let value = match &secret.reference {
                SecretReference::Given => Some(Err(not_given(&secret.name))),
                SecretReference::Parameter { name } => parameters.get(name).cloned().map(Ok),
                SecretReference::Secret { id, json_key, .. } => {
                    let whole = secrets.get(&version(&secret.reference));
                    whole.map(|whole| match (whole, json_key) {
                        (Err(problem), _) => Err(problem.clone()),
                        (Ok(whole), None) => Ok(whole.clone()),
                        (Ok(whole), Some(key)) => secrets_manager::field(id, whole, key),
                    })
                }
            };
            match value {
                Some(Ok(value)) => {
                    values.insert(secret.name.as_str(), value);
                }
                Some(Err(problem)) if !problems.contains(&problem) => problems.push(problem),
                // It is among the problems already.
                Some(Err(_)) | None => {}
            }
        }
        (values, problems)
    }
}

/// Whoever starts the build said that it would hand a value over, and did not.
fn not_given(name: &str) -> Problem {
    Problem {
        status_code: SECRETS,
        message: format!("no value was given for {name}"),
        help: "give one with `--secrets-file`".to_owned(),
        about: None,
    }
}

/// What no process can have for a value (ENV-27).
fn impossible(name: &str, value: &str) -> Option<Problem> {
    // Linux has no room for longer ones: `NAME=value` and the NUL at its end.
    const LONGEST: usize = 128 * 1024;
    let (message, help) = if value.contains('\0') {
        let message =
            format!("the value of {name} has a NUL character, which no variable can hold");
        (message, "store it without, for instance as Base64")
    } else if name.len() + value.len() + 2 > LONGEST {
        let message = format!("the value of {name} is longer than any variable can be (128 KiB)");
        (message, "store it in a file that the build downloads")
    } else {
        return None;
    };
    Some(Problem {
        status_code: SECRETS,
        message,
        help: help.to_owned(),
        about: None,
    })
}

/// The version that a reference to a secret means.
fn version(reference: &SecretReference) -> Option<Wanted> {
    match reference {
        SecretReference::Parameter { .. } | SecretReference::Given => None,
        SecretReference::Secret {
            id, stage, version, ..
        } => Some(Wanted {
            id: id.clone(),
            stage: stage.clone(),
            version: version.clone(),
        }),
    }
}

async fn read_parameters(
    config: &SdkConfig,
    asked: &[&SecretPlan],
    missing: Option<&str>,
) -> (HashMap<String, String>, Vec<Problem>) {
    let mut known = HashSet::new();
    let names: Vec<&str> = asked
        .iter()
        .filter_map(|secret| match &secret.reference {
            SecretReference::Parameter { name } => Some(name.as_str()),
            SecretReference::Secret { .. } | SecretReference::Given => None,
        })
        .filter(|name| known.insert(*name))
        .collect();
    if names.is_empty() {
        return Default::default();
    }
    let client = aws_sdk_ssm::Client::new(config);
    parameter_store::read(&client, &names, missing).await
}

async fn read_secrets(
    config: &SdkConfig,
    asked: &[&SecretPlan],
    missing: Option<&str>,
) -> HashMap<Option<Wanted>, Result<String, Problem>> {
    let wanted: HashSet<Wanted> = asked
        .iter()
        .filter_map(|secret| version(&secret.reference))
        .collect();
    if wanted.is_empty() {
        return HashMap::new();
    }
    let client = aws_sdk_secretsmanager::Client::new(config);
    let read = wanted.into_iter().map(|wanted| {
        let client = &client;
        async move {
            let read = secrets_manager::read(client, &wanted, missing).await;
            (Some(wanted), read)
        }
    });
    join_all(read).await.into_iter().collect()
}
