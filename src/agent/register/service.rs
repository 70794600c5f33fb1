//! Makes an action type at CodePipeline, or finds out what is there (AGENT-56).

use std::error::Error as StdError;

use aws_sdk_codepipeline::Client;
use aws_sdk_codepipeline::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_codepipeline::types::{
    ActionCategory, ActionConfigurationProperty, ActionConfigurationPropertyType, ActionOwner,
    ActionType as Found, ActionTypeSettings, ArtifactDetails,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{ARTIFACTS, ActionType, Category, OWNER, PROPERTIES, Property};
use crate::aws;

/// What CodePipeline adds to action types by itself: no difference.
const ADDED_BY_CODEPIPELINE: &str = "JobList";

/// Pages of a list that are read at most: AWS allows 50 action types of one's own in a region.
const MOST_PAGES: usize = 100;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It was made.
    Made,
    /// It was there, as it would have been made.
    Same,
    /// One of that name and version was there, and differs in these things.
    Different(Vec<String>),
}

/// Why it could not be made, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not {doing}: {why}")]
pub struct Error {
    doing: String,
    why: String,
    /// What to do.
    pub help: String,
}

impl Error {
    /// Nothing can be made where no region is known.
    #[must_use]
    pub fn no_region(action: &ActionType, missing_profile: Option<&str>) -> Self {
        let (why, help) = aws::no_region(missing_profile);
        Self {
            doing: format!("create the action type {}", action.id()),
            why,
            help,
        }
    }
}

/// Makes it, unless it is there.
pub async fn register(
    client: &Client,
    action: &ActionType,
    missing_profile: Option<&str>,
) -> Result<Registered, Error> {
    if let Some(found) = find(client, action, missing_profile).await? {
        let differences = differences(action, &found);
        return Ok(if differences.is_empty() {
            Registered::Same
        } else {
            Registered::Different(differences)
        });
    }
    let doing = format!("create the action type {}", action.id());
    let build = |error| Error {
        doing: doing.clone(),
        why: format!("{error}"),
        help: "this is a bug in runner: please report it".to_owned(),
    };
    let mut request = client
        .create_custom_action_type()
        .category(category(action.category))
        .provider(&action.provider)
        .version(&action.version)
        .set_settings(settings(action))
        .input_artifact_details(artifacts(ARTIFACTS[0]))
        .output_artifact_details(artifacts(ARTIFACTS[1]));
    for property in &PROPERTIES {
        request = request.configuration_properties(configuration(action, property).map_err(build)?);
    }
    match request.send().await {
        Ok(_) => Ok(Registered::Made),
        Err(error) => Err(refused(
            &doing,
            "CreateCustomActionType",
            &error,
            missing_profile,
        )),
    }
}

type Built<T> = Result<T, aws_sdk_codepipeline::error::BuildError>;

fn category(category: Category) -> ActionCategory {
    match category {
        Category::Build => ActionCategory::Build,
        Category::Test => ActionCategory::Test,
    }
}

fn artifacts((fewest, most): (i32, i32)) -> ArtifactDetails {
    ArtifactDetails::builder()
        .minimum_count(fewest)
        .maximum_count(most)
        .build()
}

fn settings(action: &ActionType) -> Option<ActionTypeSettings> {
    let ActionType {
        entity_url,
        execution_url,
        ..
    } = action;
    let settings = ActionTypeSettings::builder()
        .set_entity_url_template(entity_url.clone())
        .set_execution_url_template(execution_url.clone())
        .build();
    (entity_url.is_some() || execution_url.is_some()).then_some(settings)
}

fn configuration(action: &ActionType, property: &Property) -> Built<ActionConfigurationProperty> {
    ActionConfigurationProperty::builder()
        .name(property.name)
        .description(property.description)
        .required(property.required)
        .key(property.required)
        .secret(false)
        .set_queryable(action.is_queryable(property).then_some(true))
        .r#type(ActionConfigurationPropertyType::String)
        .build()
}

/// The action type of that name and version.
async fn find(
    client: &Client,
    action: &ActionType,
    missing_profile: Option<&str>,
) -> Result<Option<Found>, Error> {
    let mut next = None;
    for _ in 0..MOST_PAGES {
        let asked = client
            .list_action_types()
            .action_owner_filter(ActionOwner::Custom)
            .set_next_token(next)
            .send()
            .await;
        let page = asked.map_err(|error| {
            let doing = "list the action types of this account";
            refused(doing, "ListActionTypes", &error, missing_profile)
        })?;
        if let Some(found) = page.action_types().iter().find(|one| is(action, one)) {
            return Ok(Some(found.clone()));
        }
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    Ok(None)
}

fn is(action: &ActionType, found: &Found) -> bool {
    found.id().is_some_and(|id| {
        id.owner().as_str() == OWNER
            && id.category().as_str() == action.category.name()
            && id.provider() == action.provider
            && id.version() == action.version
    })
}

/// In what the one that is there differs, each as a phrase.
fn differences(action: &ActionType, found: &Found) -> Vec<String> {
    let mut said = Vec::new();
    let there = found.action_configuration_properties();
    for property in &PROPERTIES {
        match there.iter().find(|one| one.name() == property.name) {
            None => said.push(format!("it has no key {}", property.name)),
            Some(one) => said.extend(
                differs(action, property, one).map(|what| format!("{}: {what}", property.name)),
            ),
        }
    }
    let is_ours = |name: &str| PROPERTIES.iter().any(|one| one.name == name);
    let others = there
        .iter()
        .filter(|one| !is_ours(one.name()) && one.name() != ADDED_BY_CODEPIPELINE);
    said.extend(
        others.map(|one| format!("it has the key {}, which agents do not know", one.name())),
    );
    let details = [
        ("input", found.input_artifact_details(), ARTIFACTS[0]),
        ("output", found.output_artifact_details(), ARTIFACTS[1]),
    ];
    for (side, details, (fewest, most)) in details {
        let has = details.map(|one| (one.minimum_count(), one.maximum_count()));
        if has != Some((fewest, most)) {
            let has = has.map_or_else(String::new, |(a, b)| format!(", not {a} to {b}"));
            said.push(format!("{side} artifacts: {fewest} to {most}{has}"));
        }
    }
    said.extend(templates(action, found));
    said
}

/// In what a key that is there differs. Descriptions are for people, and make no difference.
fn differs(
    action: &ActionType,
    property: &Property,
    found: &ActionConfigurationProperty,
) -> Option<&'static str> {
    let is_queryable = action.is_queryable(property);
    match () {
        () if found.required() != property.required && property.required => {
            Some("it is not required there")
        }
        () if found.required() != property.required => Some("it is required there"),
        () if found.secret() => Some("it is secret there"),
        () if found.queryable() != is_queryable && is_queryable => {
            Some("polls cannot name it there")
        }
        () if found.queryable() != is_queryable => Some("polls have to name it there"),
        () if found
            .r#type()
            .is_some_and(|kind| *kind != ActionConfigurationPropertyType::String) =>
        {
            Some("it is no text there")
        }
        () => None,
    }
}

fn templates(action: &ActionType, found: &Found) -> Vec<String> {
    let settings = found.settings();
    let pairs = [
        (
            "entity",
            &action.entity_url,
            settings.and_then(|one| one.entity_url_template()),
        ),
        (
            "execution",
            &action.execution_url,
            settings.and_then(|one| one.execution_url_template()),
        ),
    ];
    let differing = pairs
        .into_iter()
        .filter(|(_, wanted, there)| wanted.as_deref() != *there);
    differing
        .map(|(name, wanted, there)| {
            let said = |url: Option<&str>| url.map_or("none".to_owned(), |url| format!("`{url}`"));
            format!(
                "address of the {name}: {} there, {} wanted",
                said(there),
                said(wanted.as_deref())
            )
        })
        .collect()
}

/// What CodePipeline said, or why it said nothing.
fn refused<E>(
    doing: &str,
    operation: &str,
    error: &SdkError<E, HttpResponse>,
    missing_profile: Option<&str>,
) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let Some(service) = error.as_service_error() else {
        let unanswered = aws::unanswered(error, missing_profile);
        return Error {
            doing: doing.to_owned(),
            why: unanswered.why,
            help: unanswered.help,
        };
    };
    let code = service.code().unwrap_or("an error without a name");
    let said = service.message().unwrap_or("no reason was given");
    let help = match code {
        "AccessDeniedException" => {
            format!(
                "allow codepipeline:{operation} to these credentials, or take others with `--profile`"
            )
        }
        "ValidationException" => {
            "a version is used once, also where it was deleted: name another one with `--version`"
                .to_owned()
        }
        "LimitExceededException" => {
            "delete an action type that no pipeline uses, or ask AWS for more".to_owned()
        }
        _ => "check the account, the region, and what the caller's credentials may do".to_owned(),
    };
    Error {
        doing: doing.to_owned(),
        why: format!("{code}: {said}"),
        help,
    }
}
