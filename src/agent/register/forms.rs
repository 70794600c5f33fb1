//! An action type written down: for the AWS CLI, for CloudFormation; the policy of the agent; a stage (AGENT-53).

use serde_json::{Map, Value, json};

use super::{ARTIFACTS, ActionType, OWNER, PROJECT_NAME, PROPERTIES, Property};
use crate::plan::partition;

/// What the stage has for a project, where none was named.
const SOME_PROJECT: &str = "my-project";

/// What the agent's policy is about.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The region; everywhere if there is none.
    pub region: Option<String>,
    /// The group of CloudWatch Logs that the agent writes to.
    pub log_group: Option<String>,
    /// The event bus that the agent sends to: a name or an ARN.
    pub event_bus: Option<String>,
}

impl Scope {
    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or("*")
    }

    /// The part of AWS that the region is in.
    fn partition(&self) -> &'static str {
        partition(self.region.as_deref().unwrap_or_default())
    }

    /// An ARN of the caller's own account, which the one that has the policy is.
    fn arn(&self, rest: &str) -> String {
        let (service, resource) = rest.split_once(' ').unwrap_or((rest, ""));
        format!(
            "arn:{}:{service}:{}:*:{resource}",
            self.partition(),
            self.region()
        )
    }
}

/// The request of `CreateCustomActionType`.
#[must_use]
pub fn request(action: &ActionType) -> Value {
    let property = |property: &Property| {
        let mut fields = json!({
            "name": property.name,
            "required": property.required,
            "key": property.required,
            "secret": false,
        });
        // Not the whole truth if it were there for every key: at most one may have it.
        if action.is_queryable(property) {
            fields["queryable"] = json!(true);
        }
        fields["description"] = json!(property.description);
        fields["type"] = json!("String");
        fields
    };
    let counts =
        |(fewest, most): (i32, i32)| json!({ "minimumCount": fewest, "maximumCount": most });
    let mut fields = json!({
        "category": action.category.name(),
        "provider": action.provider,
        "version": action.version,
    });
    let settings = settings(action);
    if !settings.is_empty() {
        fields["settings"] = Value::Object(settings);
    }
    fields["configurationProperties"] = PROPERTIES.iter().map(property).collect();
    fields["inputArtifactDetails"] = counts(ARTIFACTS[0]);
    fields["outputArtifactDetails"] = counts(ARTIFACTS[1]);
    fields
}

fn settings(action: &ActionType) -> Map<String, Value> {
    let templates = [
        ("entityUrlTemplate", &action.entity_url),
        ("executionUrlTemplate", &action.execution_url),
    ];
    let given = templates
        .into_iter()
        .filter_map(|(name, template)| Some((name.to_owned(), json!(template.as_ref()?))));
    given.collect()
}

/// A command of the AWS CLI that makes it, for a shell.
#[must_use]
pub fn cli(action: &ActionType, scope: &Scope) -> String {
    let region = match &scope.region {
        Some(region) => format!(" --region {region}"),
        None => String::new(),
    };
    // Nothing in it can have an apostrophe but an address.
    let request = format!("{:#}", request(action)).replace('\'', r"'\''");
    format!("aws codepipeline create-custom-action-type{region} --cli-input-json '{request}'\n")
}

/// A CloudFormation template that makes it.
#[must_use]
pub fn cloudformation(action: &ActionType) -> String {
    let properties = upper(request(action));
    let template = json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": format!("The action type {}, whose jobs `runner agent` does", action.id()),
        "Resources": {
            "RunnerActionType": {
                "Type": "AWS::CodePipeline::CustomActionType",
                // A pipeline that uses it stops working without it.
                "DeletionPolicy": "Retain",
                "UpdateReplacePolicy": "Retain",
                "Properties": properties,
            },
        },
    });
    yaml(&template, 0)
}

/// The same with names as CloudFormation has them: the API's, beginning with a capital.
fn upper(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|letter| letter.to_ascii_uppercase());
                (first.into_iter().chain(letters).collect(), upper(value))
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.into_iter().map(upper).collect(),
        other => other,
    }
}

/// YAML in blocks. Texts stand in the double quotes of JSON, which YAML reads alike.
fn yaml(value: &Value, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let field = |name: &str, value: &Value| match value {
        Value::Object(_) => format!("{name}:\n{}", yaml(value, indent + 2)),
        Value::Array(_) => format!("{name}:\n{}", yaml(value, indent + 2)),
        plain => format!("{name}: {plain}\n"),
    };
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{pad}{}", field(name, value)));
            fields.collect()
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| {
                let block = yaml(item, indent + 2);
                format!("{pad}- {}", block.trim_start())
            });
            items.collect()
        }
        plain => format!("{pad}{plain}\n"),
    }
}

/// The least that an agent has to be allowed (AGENT-54).
#[must_use]
pub fn policy(action: &ActionType, scope: &Scope) -> Value {
    let allow = |id: &str, actions: &[&str], resource: Value| json!({ "Sid": id, "Effect": "Allow", "Action": actions, "Resource": resource });
    // AWS's guide to policies writes the one, its errors the other; IAM heeds capitals.
    let spellings = ["actiontype", "actionType"];
    let action_types =
        spellings.map(|kind| scope.arn(&format!("codepipeline {kind}:{}", action.resource())));
    let mut statements = vec![
        allow("Poll", &["codepipeline:PollForJobs"], json!(action_types)),
        // IAM knows no resource that these could be limited to.
        allow(
            "WorkOnJobs",
            &[
                "codepipeline:AcknowledgeJob",
                "codepipeline:GetJobDetails",
                "codepipeline:PutJobSuccessResult",
                "codepipeline:PutJobFailureResult",
            ],
            json!("*"),
        ),
    ];
    if let Some(group) = &scope.log_group {
        let group = scope.arn(&format!("logs log-group:{group}"));
        statements.push(allow(
            "Logs",
            &[
                "logs:CreateLogGroup",
                "logs:CreateLogStream",
                "logs:PutLogEvents",
            ],
            json!([group, format!("{group}:log-stream:*")]),
        ));
    }
    if let Some(bus) = &scope.event_bus {
        let bus = if bus.starts_with("arn:") {
            bus.clone()
        } else {
            scope.arn(&format!("events event-bus/{bus}"))
        };
        statements.push(allow("Events", &["events:PutEvents"], json!(bus)));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// A stage of a pipeline that uses it (AGENT-55).
#[must_use]
pub fn stage(action: &ActionType, project: Option<&str>) -> Value {
    let name = action.category.name();
    json!({
        "name": name,
        "actions": [{
            "name": name,
            "actionTypeId": {
                "category": name,
                "owner": OWNER,
                "provider": action.provider,
                "version": action.version,
            },
            "runOrder": 1,
            "configuration": { PROJECT_NAME: project.unwrap_or(SOME_PROJECT) },
            "inputArtifacts": [{ "name": "SourceArtifact" }],
            "outputArtifacts": [{ "name": "BuildArtifact" }],
        }],
    })
}
