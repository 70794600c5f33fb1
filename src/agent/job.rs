//! What a job asks for: its action's configuration, read and held against what the operator allows (AGENT-12 to AGENT-16).
//! Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pipeline::{Artifact, Details};
use crate::credentials::RoleArn;
use crate::env;
use crate::plan::{ProjectName, RequestedValue, RequestedVariable};

/// Most minutes that a build may be given: the pipeline's own patience with a custom action (documented).
const MAX_TIMEOUT: u64 = 24 * 60;

/// Keys of the configuration that mean something here.
pub const KEYS: [&str; 12] = [
    "ProjectName",
    "Buildspec",
    "BuildspecOverride",
    "Image",
    "EnvironmentVariables",
    "PrimarySource",
    "Timeout",
    "Privileged",
    "Executor",
    "ServiceRoleArnOverride",
    "BatchEnabled",
    "CombineArtifacts",
];

/// What the operator allows jobs to ask for. A list that is empty allows everything, but for what gives rights: privileged
/// containers and roles are only what is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Images, with `*` and `?`.
    pub images: Vec<String>,
    /// Whether containers may have the machine's rights.
    pub privileged: bool,
    /// `host`, `docker`.
    pub executors: Vec<String>,
    /// Names of pipelines, with `*` and `?`.
    pub pipelines: Vec<String>,
    /// ARNs of roles, with `*` and `?`.
    pub roles: Vec<String>,
}

/// Where the buildspec is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildspecFrom {
    /// `buildspec.yml` in the primary source.
    Default,
    /// This file, relative to the primary source.
    Path(String),
    /// This text.
    Inline(String),
}

/// A variable as a build is handed it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    name: String,
    value: String,
    #[serde(rename = "type")]
    kind: String,
}

/// What only an agent says of a build, for the process that runs it: a file that nobody else can read (AGENT-17).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// UUID of the build.
    pub build_uuid: String,
    /// `CODEBUILD_INITIATOR`.
    pub initiator: String,
    /// `CODEBUILD_RESOLVED_SOURCE_VERSION`, where it is known.
    pub resolved_version: Option<String>,
    /// The pipeline's account, for the ARNs of the build; a build of an older agent has none.
    #[serde(default)]
    pub account: Option<String>,
    /// Variables of this start.
    pub variables: Vec<Variable>,
}

impl Handover {
    /// The variables as a request has them.
    #[must_use]
    pub fn requested(&self) -> Vec<RequestedVariable> {
        let variables = self.variables.iter();
        variables
            .map(|variable| RequestedVariable {
                name: variable.name.clone(),
                value: match variable.kind.as_str() {
                    "PARAMETER_STORE" => RequestedValue::ParameterStore(variable.value.clone()),
                    "SECRETS_MANAGER" => RequestedValue::SecretsManager(variable.value.clone()),
                    _ => RequestedValue::Plaintext(OsString::from(&variable.value)),
                },
            })
            .collect()
    }
}

/// What a job asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    /// The project.
    pub project: ProjectName,
    /// Where the buildspec is.
    pub buildspec: BuildspecFrom,
    /// The build image; the agent's own default if there is none.
    pub image: Option<String>,
    /// Where commands run; the agent's own default if it does not say.
    pub executor: Option<String>,
    /// Whether the container has the machine's rights.
    pub privileged: bool,
    /// Variables of this start.
    pub variables: Vec<Variable>,
    /// The input artifact that is the primary source; nothing if there are none.
    pub primary: Option<Artifact>,
    /// The others.
    pub others: Vec<Artifact>,
    /// Where the primary source is: its ARN in S3.
    pub source_version: Option<String>,
    /// Time limit.
    pub timeout: Option<Duration>,
    /// Role that the build runs as.
    pub role: Option<RoleArn>,
    /// Keys that mean nothing here.
    pub unknown: Vec<String>,
}

/// What the agent does where a job says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The build image.
    pub image: Option<String>,
    /// Where commands run.
    pub executor: Option<String>,
}

/// Reads what a job asks for. An error says what is wrong with the configuration, or what is not allowed, and shows no value
/// that could be secret.
pub fn order(details: &Details, allowed: &Allowed, defaults: &Defaults) -> Result<Order, String> {
    let pipeline = &details.origin.pipeline;
    check(&allowed.pipelines, "pipeline", pipeline)?;
    let configuration = &details.configuration;
    let get = |key: &str| {
        let value = configuration.get(key).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    };
    if flag("BatchEnabled", get("BatchEnabled"))? {
        return Err(
            "the action's BatchEnabled asks for a batch build, and this agent has none: leave it out, or build its parts in actions of their own"
                .to_owned(),
        );
    }
    check_texts(configuration)?;
    let (primary, others) = sources(&details.inputs, get("PrimarySource"))?;
    let order = Order {
        project: project(get("ProjectName"), pipeline)?,
        buildspec: buildspec(configuration)?,
        image: get("Image").map(image).transpose()?,
        executor: get("Executor").map(str::to_lowercase),
        privileged: flag("Privileged", get("Privileged"))?,
        variables: variables(get("EnvironmentVariables"))?,
        source_version: primary
            .as_ref()
            .map(|artifact| artifact.arn(details.origin.partition())),
        primary,
        others,
        timeout: get("Timeout").map(minutes).transpose()?,
        role: get("ServiceRoleArnOverride").map(role).transpose()?,
        unknown: unknown(configuration),
    };
    check_allowed(&order, allowed, defaults)?;
    check_outputs(&details.outputs)?;
    Ok(order)
}

/// Nobody gives more than the operator allows. What the operator has set as default needs no permission.
fn check_allowed(order: &Order, allowed: &Allowed, defaults: &Defaults) -> Result<(), String> {
    if let Some(image) = &order.image {
        check(&allowed.images, "image", image)?;
    }
    let usual = match &defaults.executor {
        Some(executor) => Some(executor.as_str()),
        None => defaults.image.as_ref().map(|_| "docker"),
    };
    let executor = match (&order.executor, &order.image) {
        (Some(executor), _) if !["host", "docker"].contains(&executor.as_str()) => {
            return Err("the action's Executor is `host` or `docker`".to_owned());
        }
        (Some(executor), Some(_)) if executor == "host" => {
            return Err(
                "the action has an Image, and its Executor is `host`: leave one of them out"
                    .to_owned(),
            );
        }
        (Some(executor), _) => executor.as_str(),
        (None, Some(_)) => "docker",
        (None, None) => usual.unwrap_or("host"),
    };
    if usual != Some(executor) {
        check(&allowed.executors, "executor", executor).map_err(|why| match order.executor {
            None if executor == "host" => {
                format!("{why}: with an Image, the action's build runs in a container")
            }
            _ => why,
        })?;
        // Who has builds run in containers has reasons to; an empty list says nothing against them.
        if usual == Some("docker") && allowed.executors.is_empty() {
            return Err(format!(
                "the action's Executor is `{executor}`, and builds of this agent run in containers (--allow-executor {executor} allows it)"
            ));
        }
    }
    if executor == "docker" && order.image.is_none() && defaults.image.is_none() {
        return Err("the build is to run in a container, and nobody names an image: set the action's Image, or the agent's --image".to_owned());
    }
    if order.privileged && !allowed.privileged {
        return Err("the action asks for a privileged container, and this agent allows none (--allow-privileged)".to_owned());
    }
    match &order.role {
        Some(role) if !allowed.roles.iter().any(|one| matches(one, role.as_str())) => Err(format!(
            "the role {} is not allowed on this agent (--allow-role)",
            role.as_str()
        )),
        _ => Ok(()),
    }
}

fn check(list: &[String], what: &str, value: &str) -> Result<(), String> {
    if list.is_empty() || list.iter().any(|one| matches(one, value)) {
        Ok(())
    } else {
        Err(format!(
            "the {what} `{value}` is not allowed on this agent (--allow-{what})"
        ))
    }
}

/// Whether a text is what a pattern says, in which `*` is any text and `?` any one character.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` is, and how much of the text it stands for.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                None => return false,
                Some((at, from)) => {
                    *from += 1;
                    (p, t) = (*at + 1, *from);
                }
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn project(name: Option<&str>, pipeline: &str) -> Result<ProjectName, String> {
    match name {
        None => Ok(ProjectName::from_directory_name(pipeline)),
        Some(name) => ProjectName::new(name).ok_or_else(|| {
            format!(
                "the action's ProjectName `{name}` is none: 2 to 150 letters, digits, `-` and `_`, a letter or digit first"
            )
        }),
    }
}

fn buildspec(configuration: &BTreeMap<String, String>) -> Result<BuildspecFrom, String> {
    let filled = |key: &str| {
        let value = configuration.get(key);
        value.filter(|value| !value.trim().is_empty())
    };
    let (key, text) = match (filled("Buildspec"), filled("BuildspecOverride")) {
        (Some(one), Some(other)) if one != other => {
            return Err(
                "the action has a Buildspec and another BuildspecOverride: leave one of them out"
                    .to_owned(),
            );
        }
        (Some(text), _) => ("Buildspec", text),
        (None, Some(text)) => ("BuildspecOverride", text),
        (None, None) => return Ok(BuildspecFrom::Default),
    };
    let trimmed = text.trim();
    if trimmed.contains('\n') || trimmed.starts_with(['{', '"']) || trimmed.starts_with("version:")
    {
        return Ok(BuildspecFrom::Inline(text.clone()));
    }
    if trimmed.starts_with("arn:") || trimmed.contains("://") {
        return Err(format!(
            "the action's {key} names a file elsewhere: write the text of the buildspec, or its path in the primary source"
        ));
    }
    // What is outside is this machine's, and what is wrong with a file is said with words out of it.
    if trimmed.starts_with('/') || trimmed.split('/').any(|part| part == "..") {
        return Err(format!(
            "the action's {key} `{trimmed}` leads out of the primary source: write a path in it"
        ));
    }
    // Alone it is standard input for `runner run`, which is nothing for a file to be.
    if trimmed.starts_with('-') || trimmed.contains(char::is_control) {
        return Err(format!(
            "the action's {key} is no path: write `./` before a name that begins with `-`"
        ));
    }
    Ok(BuildspecFrom::Path(trimmed.to_owned()))
}

/// Refuses what no argument of a program can have, before anything is made of it.
fn check_texts(configuration: &BTreeMap<String, String>) -> Result<(), String> {
    let odd = configuration.iter().find(|(_, value)| value.contains('\0'));
    match odd {
        Some((key, _)) => Err(format!("the action's {key} has a NUL in it")),
        None => Ok(()),
    }
}

fn image(text: &str) -> Result<String, String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    if text.starts_with('-') || text.contains(is_odd) {
        return Err("the action's Image is no name of an image".to_owned());
    }
    Ok(text.to_owned())
}

fn flag(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value.map(str::to_lowercase).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(format!("the action's {key} is `true` or `false`")),
    }
}

fn minutes(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(minutes) if (1..=MAX_TIMEOUT).contains(&minutes) => Ok(Duration::from_mins(minutes)),
        _ => Err(format!(
            "the action's Timeout is a number of minutes from 1 to {MAX_TIMEOUT}"
        )),
    }
}

fn role(text: &str) -> Result<RoleArn, String> {
    RoleArn::new(text).ok_or_else(|| {
        "the action's ServiceRoleArnOverride is no ARN of a role: write arn:aws:iam::ACCOUNT:role/NAME".to_owned()
    })
}

/// The CodeBuild action's JSON. Values are shown to nobody.
fn variables(text: Option<&str>) -> Result<Vec<Variable>, String> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    let wrong = |what: &str| format!("the action's EnvironmentVariables {what}");
    let written: Vec<BTreeMap<String, Value>> = serde_json::from_str(text).map_err(|error| {
        wrong(&format!(
            "are no list of {{\"name\", \"value\", \"type\"}} in JSON (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    let mut variables: Vec<Variable> = Vec::new();
    for entry in written {
        let variable = variable(&entry).map_err(|what| wrong(&what))?;
        if variables.iter().any(|known| known.name == variable.name) {
            return Err(wrong(&format!("set {} twice", variable.name)));
        }
        variables.push(variable);
    }
    Ok(variables)
}

/// One entry of it. What nobody knows is a mistake: left out, it would be an empty variable of a green build.
fn variable(entry: &BTreeMap<String, Value>) -> Result<Variable, String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let name = text("name").ok_or("have an entry without a `name`")?;
    if let Err(problem) = env::check_name(name) {
        return Err(format!("have a name that cannot be one: {problem}"));
    }
    let known = ["name", "value", "type"];
    if let Some(key) = entry.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!(
            "say `{key}` of {name}: known are `name`, `value` and `type`"
        ));
    }
    let value = text("value").ok_or_else(|| format!("give {name} no `value` that is a text"))?;
    let kind = match entry.get("type") {
        None | Some(Value::Null) => "PLAINTEXT",
        Some(kind) => kind.as_str().unwrap_or_default(),
    };
    if !["PLAINTEXT", "PARAMETER_STORE", "SECRETS_MANAGER"].contains(&kind) {
        return Err(format!(
            "give {name} a type that is not PLAINTEXT, PARAMETER_STORE or SECRETS_MANAGER"
        ));
    }
    if kind != "PLAINTEXT" && value.is_empty() {
        return Err(format!("say of {name} no parameter and no secret"));
    }
    if value.contains('\0') {
        return Err(format!("give {name} a value that no variable can have"));
    }
    Ok(Variable {
        name: name.to_owned(),
        value: value.to_owned(),
        kind: kind.to_owned(),
    })
}

/// The primary source: the one that is named, or the only one there is.
fn sources(
    inputs: &[Artifact],
    primary: Option<&str>,
) -> Result<(Option<Artifact>, Vec<Artifact>), String> {
    for (index, input) in inputs.iter().enumerate() {
        if input.name.is_empty() || !is_artifact_name(&input.name) {
            return Err("an input artifact has a name that cannot be one".to_owned());
        }
        if inputs[..index].iter().any(|other| other.name == input.name) {
            return Err(format!("two input artifacts are called {}", input.name));
        }
    }
    let at = match (primary, inputs) {
        (_, []) => return Ok((None, Vec::new())),
        (None, [_]) => Some(0),
        (None, _) => {
            return Err(
                "the action has several input artifacts: its PrimarySource has to name one of them"
                    .to_owned(),
            );
        }
        (Some(name), _) => inputs.iter().position(|input| input.name == name),
    };
    let Some(at) = at else {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(format!(
            "the action's PrimarySource is none of its input artifacts: {}",
            names.join(", ")
        ));
    };
    let mut others = inputs.to_vec();
    let primary = others.remove(at);
    Ok((Some(primary), others))
}

fn is_artifact_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    name.len() <= 100 && name.bytes().all(allowed)
}

fn check_outputs(outputs: &[Artifact]) -> Result<(), String> {
    match outputs
        .iter()
        .find(|output| output.bucket.is_empty() || output.key.is_empty())
    {
        Some(output) => Err(format!(
            "output artifact {} has no place to go to",
            output.name
        )),
        None => Ok(()),
    }
}

fn unknown(configuration: &BTreeMap<String, String>) -> Vec<String> {
    let keys = configuration.keys();
    keys.filter(|key| !KEYS.contains(&key.as_str()))
        .cloned()
        .collect()
}
