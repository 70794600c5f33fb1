//! The AppSpec file: what CodeDeploy deploys, and which functions it calls on the way.
//!
//! Here is what all have in common, and the rules of deployments to ECS; those to machines and of functions have files
//! of their own.

mod function;
mod machines;

use std::path::Path;

use super::fields::{entries, entry, field, items, text};
use super::json;
use crate::buildspec::yaml::{self, Entry, Node, NodeKind};
use crate::diagnostic::{Code, Diagnostic, Severity, nearest, one_of};
use crate::source::{SourceText, Span};

const SERVICE: &str = "AWS::ECS::Service";
const FUNCTION: &str = "AWS::Lambda::Function";
const TYPES: &[&str] = &[SERVICE, FUNCTION];
const TOP: &[&str] = &["version", "Resources", "Hooks"];
const PROPERTIES: &[&str] = &[
    "TaskDefinition",
    "LoadBalancerInfo",
    "PlatformVersion",
    "NetworkConfiguration",
    "CapacityProviderStrategy",
];
const NETWORK: &[&str] = &["Subnets", "SecurityGroups", "AssignPublicIp"];
const HOOKS: &[&str] = &[
    "BeforeInstall",
    "AfterInstall",
    "AfterAllowTestTraffic",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
];
/// Keys that are right where they stand, so that no other one is meant.
const KEYS: &[&str] = &[
    "version",
    "Type",
    "Properties",
    "TaskDefinition",
    "ContainerName",
    "ContainerPort",
];
/// What the pipeline replaces by the new revision.
const PLACEHOLDER: &str = "<TASK_DEFINITION>";

/// What an AppSpec says of the container that gets the traffic.
pub(super) struct Target {
    /// Its name, and where it is written.
    pub(super) container: Option<(String, Span)>,
    /// Its port.
    pub(super) port: Option<(String, Span)>,
    /// Whether it is a container of the task definition that is about to be registered, and not of one that is there.
    pub(super) of_new_definition: bool,
}

pub(super) fn check(source: &SourceText) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let Some(root) = read(source, &mut found) else {
        return found;
    };
    if !matches!(root.kind, NodeKind::Mapping(_)) {
        let message = format!("an AppSpec is a mapping, and this is {}", root.describe());
        found.push(error(root.span, message));
        return found;
    }
    check_version(&root, &mut found);
    if machines::is_meant(&root) {
        machines::check(source, &root, &mut found);
    } else {
        check_resources(&root, &mut found);
    }
    found
}

/// The container that an AppSpec for ECS names.
pub(super) fn target(source: &SourceText) -> Option<Target> {
    let root = read(source, &mut Vec::new())?;
    let resource = items(resources(&root)?).first()?;
    let service = &entries(resource).first()?.value;
    let properties = field(service, "Properties")?;
    let balancer = field(properties, "LoadBalancerInfo")?;
    let definition = field(properties, "TaskDefinition").and_then(text);
    let written = |key| {
        let value = field(balancer, key)?;
        Some((text(value)?.to_owned(), value.span))
    };
    Some(Target {
        container: written("ContainerName"),
        port: written("ContainerPort"),
        of_new_definition: definition.is_some_and(|written| written.starts_with('<')),
    })
}

fn read(source: &SourceText, found: &mut Vec<Diagnostic>) -> Option<Node> {
    if Path::new(source.name())
        .extension()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("json"))
    {
        return json::read(source, Code::AppSpec)
            .map_err(|problem| found.push(*problem))
            .ok();
    }
    let (document, problems) = yaml::read(source);
    let complete = document.complete;
    found.extend(problems);
    match document.root.filter(|_| complete) {
        Some(root) => Some(root),
        None => {
            if found.is_empty() {
                found.push(error(Span::at(0), "the file is empty"));
            }
            None
        }
    }
}

fn error(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::AppSpec, span, message)
}

fn warning(span: Span, message: impl Into<String>) -> Diagnostic {
    error(span, message).with_severity(Severity::Warning)
}

/// A finding about a key that is missing, with the key that was written in its place.
fn missing(place: Span, of: &str, key: &str, written: &[Entry]) -> Diagnostic {
    let diagnostic = error(place, format!("{of} needs `{key}`"));
    let names = written.iter().map(|entry| entry.key.value.as_str());
    let names = names.filter(|name| !KEYS.contains(name));
    match nearest(key, names) {
        Some(near) => diagnostic.with_help(format!("write `{key}` for `{near}`")),
        None => diagnostic,
    }
}

fn check_version(root: &Node, found: &mut Vec<Diagnostic>) {
    match entry(root, "version") {
        None => found.push(
            missing(top_of(root), "an AppSpec", "version", &[]).with_help("write `version: 0.0`"),
        ),
        Some(version) => match text(&version.value) {
            Some("0.0") => {}
            written => {
                let written = written.unwrap_or_else(|| version.value.describe());
                let message = format!("the version of an AppSpec is 0.0, not {written}");
                let edit = (version.value.span, "0.0".to_owned());
                let is_scalar = matches!(version.value.kind, NodeKind::Scalar(_));
                let diagnostic = error(version.value.span, message);
                found.push(if is_scalar && !version.value.span.is_empty() {
                    diagnostic.with_fix("write `0.0`", [edit])
                } else {
                    diagnostic
                });
            }
        },
    }
}

fn resources(root: &Node) -> Option<&Node> {
    let found = entries(root)
        .iter()
        .find(|entry| entry.key.value.eq_ignore_ascii_case("Resources"));
    found.map(|entry| &entry.value)
}

fn check_resources(root: &Node, found: &mut Vec<Diagnostic>) {
    let Some(resources) = resources(root) else {
        found.push(missing(
            top_of(root),
            "an AppSpec",
            "Resources",
            entries(root),
        ));
        return;
    };
    let NodeKind::Sequence(list) = &resources.kind else {
        found.push(unlike(resources, "Resources", "a list"));
        return;
    };
    let mut kind = None;
    match list.as_slice() {
        [] => found.push(error(resources.span, "`Resources` names nothing to deploy")),
        [first, rest @ ..] => {
            kind = check_resource(first, found);
            if let Some(second) = rest.first() {
                let message = "an AppSpec has one resource: this one would not be deployed";
                found.push(warning(second.span, message));
            }
        }
    }
    match kind {
        Some(SERVICE) => {
            unknown_keys(root, "an AppSpec for ECS", TOP, found);
            check_hooks(root, found);
        }
        Some(_) => function::check_top(root, found),
        None => {}
    }
}

/// Checks what is to be deployed; returns its type, if it is one of those that there are.
fn check_resource(resource: &Node, found: &mut Vec<Diagnostic>) -> Option<&'static str> {
    let [named] = entries(resource) else {
        let message = "a resource is one name with what belongs to it below";
        found.push(
            error(resource.span, message)
                .with_help("write `- TargetService:`, and the rest two levels deeper"),
        );
        return None;
    };
    let service = &named.value;
    // AWS shows functions with small letters too.
    let small = field(service, "type").filter(|kind| text(kind) == Some(FUNCTION));
    let Some(kind) = field(service, "Type").or(small) else {
        let place = named.key.span;
        found.push(missing(place, "a resource", "Type", entries(service)));
        return None;
    };
    match text(kind).unwrap_or_default() {
        SERVICE => {
            check_service(named, found);
            Some(SERVICE)
        }
        FUNCTION => {
            function::check_resource(named, found);
            Some(FUNCTION)
        }
        written => {
            found.push(unknown_type(kind, written));
            None
        }
    }
}

fn unknown_type(kind: &Node, written: &str) -> Diagnostic {
    let message = format!("`{written}` is nothing that CodeDeploy deploys");
    let mut diagnostic = error(kind.span, message).labelled(format!("expected {}", one_of(TYPES)));
    diagnostic.help =
        nearest(written, TYPES.iter().copied()).map(|known| format!("did you mean `{known}`?"));
    diagnostic
}

fn check_service(named: &Entry, found: &mut Vec<Diagnostic>) {
    let service = &named.value;
    match field(service, "Properties") {
        Some(properties) => check_properties(named.key.span, properties, found),
        None => found.push(missing(
            named.key.span,
            "a service",
            "Properties",
            entries(service),
        )),
    }
}

fn check_properties(place: Span, properties: &Node, found: &mut Vec<Diagnostic>) {
    match field(properties, "TaskDefinition") {
        Some(definition) => check_task_definition(definition, found),
        None => found.push(missing(
            place,
            "a service",
            "TaskDefinition",
            entries(properties),
        )),
    }
    match entry(properties, "LoadBalancerInfo") {
        Some(balancer) => check_balancer(balancer.key.span, &balancer.value, found),
        None => found.push(missing(
            place,
            "a service",
            "LoadBalancerInfo",
            entries(properties),
        )),
    }
    if let Some(network) = field(properties, "NetworkConfiguration") {
        check_network(network, found);
    }
    unknown_keys(properties, "`Properties`", PROPERTIES, found);
}

fn check_task_definition(definition: &Node, found: &mut Vec<Diagnostic>) {
    let Some(written) = text(definition).filter(|text| !text.is_empty()) else {
        let message = format!("`TaskDefinition` is {}", described(definition));
        found.push(
            error(definition.span, message)
                .with_help(format!("in a pipeline, write `{PLACEHOLDER}`")),
        );
        return;
    };
    if written.starts_with('<') && written.ends_with('>') && written != PLACEHOLDER {
        let message = format!("the pipeline replaces `{PLACEHOLDER}`, and nothing else");
        let diagnostic = warning(definition.span, message)
            .with_help("unless a command of the build writes this file, write that placeholder");
        found.push(diagnostic);
    }
}

fn check_balancer(place: Span, balancer: &Node, found: &mut Vec<Diagnostic>) {
    for key in ["ContainerName", "ContainerPort"] {
        match field(balancer, key) {
            None => found.push(missing(place, "`LoadBalancerInfo`", key, entries(balancer))),
            Some(value) if text(value).is_none_or(str::is_empty) => {
                let message = format!("`{key}` is {}", described(value));
                found.push(error(value.span, message));
            }
            Some(_) => {}
        }
    }
    let Some(port) = field(balancer, "ContainerPort") else {
        return;
    };
    if let Some(written) = text(port).filter(|text| !text.is_empty() && !is_template(text))
        && !matches!(written.parse::<u16>(), Ok(1..))
    {
        let message = format!("`{written}` is no port");
        found.push(error(port.span, message).labelled("expected a number from 1 to 65535"));
    }
}

/// What another program puts a value into before CodeDeploy sees it.
fn is_template(text: &str) -> bool {
    text.contains(['<', '$', '{', '%'])
}

fn check_network(network: &Node, found: &mut Vec<Diagnostic>) {
    let Some(vpc) = entry(network, "AwsvpcConfiguration") else {
        return;
    };
    let absent: Vec<&str> = NETWORK
        .iter()
        .copied()
        .filter(|key| field(&vpc.value, key).is_none())
        .collect();
    if !absent.is_empty() && absent.len() < NETWORK.len() {
        let message = format!(
            "`AwsvpcConfiguration` needs {}, all or none",
            one_of(NETWORK).replace(" or ", " and ")
        );
        found.push(warning(vpc.key.span, message));
    }
    if let Some(assign) = field(&vpc.value, "AssignPublicIp")
        && let Some(written) = text(assign).filter(|text| !is_template(text))
        && !["ENABLED", "DISABLED"].contains(&written)
    {
        let message = format!("`AssignPublicIp` is `ENABLED` or `DISABLED`, not `{written}`");
        found.push(error(assign.span, message));
    }
}

fn check_hooks(root: &Node, found: &mut Vec<Diagnostic>) {
    let Some(hooks) = field(root, "Hooks") else {
        return;
    };
    let NodeKind::Sequence(list) = &hooks.kind else {
        if !hooks.is_null() {
            let message = "`Hooks` is a list of single entries: `- AfterInstall: function`";
            found.push(warning(hooks.span, message));
        }
        return;
    };
    for hook in list.iter().flat_map(entries) {
        if !HOOKS.contains(&hook.key.value.as_str()) {
            found.push(unknown_hook(hook, "a deployment to ECS", HOOKS));
        }
    }
}

/// A finding about an event at which nothing is called.
fn unknown_hook(hook: &Entry, of: &str, known: &[&str]) -> Diagnostic {
    let name = hook.key.value.as_str();
    let message = format!("{of} has no hook `{name}`");
    let mut diagnostic =
        warning(hook.key.span, message).labelled(format!("expected {}", one_of(known)));
    diagnostic.help =
        nearest(name, known.iter().copied()).map(|known| format!("did you mean `{known}`?"));
    diagnostic
}

fn unknown_keys(node: &Node, of: &str, known: &[&str], found: &mut Vec<Diagnostic>) {
    for entry in entries(node) {
        if !known.contains(&entry.key.value.as_str()) {
            found.push(unknown_key(entry, of, known));
        }
    }
}

fn unknown_key(entry: &Entry, of: &str, known: &[&str]) -> Diagnostic {
    let name = entry.key.value.as_str();
    let mut diagnostic = warning(entry.key.span, format!("{of} has no key `{name}`"));
    diagnostic.help =
        nearest(name, known.iter().copied()).map(|known| format!("did you mean `{known}`?"));
    diagnostic
}

/// What stands where a text is needed.
fn described(value: &Node) -> &'static str {
    match text(value) {
        Some(text) if text.trim().is_empty() => "an empty text",
        _ => value.describe(),
    }
}

/// A finding about a value of another kind than the key has.
fn unlike(value: &Node, key: &str, kind: &str) -> Diagnostic {
    let message = format!("`{key}` is {kind}, and this is {}", value.describe());
    error(value.span, message)
}

/// Where to say that something is missing from the whole.
fn top_of(root: &Node) -> Span {
    entries(root)
        .first()
        .map_or(Span::at(root.span.start()), |entry| entry.key.span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version: 0.0
Resources:
  - TargetService:
      Type: AWS::ECS::Service
      Properties:
        TaskDefinition: <TASK_DEFINITION>
        LoadBalancerInfo:
          ContainerName: web
          ContainerPort: 80
Hooks:
  - AfterInstall: check
";

    pub(super) fn messages(name: &str, text: &str) -> Vec<String> {
        let source = SourceText::new(name, text);
        let found = check(&source).into_iter();
        found
            .map(|found| {
                let place = source.start_of(found.primary.span);
                format!("{place} {} {}", found.severity.word(), found.message)
            })
            .collect()
    }

    #[test]
    fn each_part_is_checked() {
        assert_eq!(messages("appspec.yaml", GOOD), Vec::<String>::new());
        for (good, bad, expected) in [
            (
                "0.0",
                "0.1",
                "1:10 error the version of an AppSpec is 0.0, not 0.1",
            ),
            ("version: 0.0\n", "", "1:1 error an AppSpec needs `version`"),
            (
                "Resources",
                "resource",
                "1:1 error an AppSpec needs `Resources`",
            ),
            (
                "ECS::Service",
                "ECS::Task",
                "4:13 error `AWS::ECS::Task` is nothing that CodeDeploy deploys",
            ),
            (
                "      Type: AWS::ECS::Service\n",
                "",
                "3:5 error a resource needs `Type`",
            ),
            (
                "TaskDefinition:",
                "TaskDef:",
                "3:5 error a service needs `TaskDefinition`",
            ),
            (
                "<TASK_DEFINITION>",
                "<TASKDEF>",
                "6:25 warning the pipeline replaces `<TASK_DEFINITION>`, and nothing else",
            ),
            ("<TASK_DEFINITION>", "'<TASK_DEFINITION>'", ""),
            (
                "<TASK_DEFINITION>",
                "",
                "6:24 error `TaskDefinition` is nothing",
            ),
            (
                "<TASK_DEFINITION>",
                "\"\"",
                "6:25 error `TaskDefinition` is an empty text",
            ),
            (
                "          ContainerPort: 80\n",
                "",
                "7:9 error `LoadBalancerInfo` needs `ContainerPort`",
            ),
            ("80", "http", "9:26 error `http` is no port"),
            ("80", "$PORT", ""),
            ("80", "\"80\"", ""),
            (
                "AfterInstall",
                "ApplicationStart",
                "11:5 warning a deployment to ECS has no hook `ApplicationStart`",
            ),
            (
                "Hooks",
                "hooks",
                "10:1 warning an AppSpec for ECS has no key `hooks`",
            ),
            (
                "  - TargetService",
                "    TargetService",
                "3:5 error `Resources` is a list, and this is a mapping",
            ),
        ] {
            let text = GOOD.replacen(good, bad, 1);
            let found = messages("appspec.yaml", &text);
            let first = found.first().map(String::as_str).unwrap_or_default();
            assert_eq!(first, expected, "{text}");
        }
    }

    #[test]
    fn one_in_json_is_read_as_json() {
        let good = "{\"version\":0.0,\"Resources\":[{\"S\":{\"Type\":\"AWS::ECS::Service\",\"Properties\":{\"TaskDefinition\":\"<TASK_DEFINITION>\",\"LoadBalancerInfo\":{\"ContainerName\":\"a\",\"ContainerPort\":80}}}}]}";
        assert_eq!(messages("appspec.json", good), Vec::<String>::new());
        let found = messages("appspec.json", &good.replace("80}", "80,}"));
        assert_eq!(
            found,
            ["1:171 error it is not JSON: nothing follows this comma"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_once() {
        assert_eq!(messages("appspec.yml", ""), ["1:1 error the file is empty"]);
        assert_eq!(messages("appspec.yml", "a: b: c").len(), 1);
        assert_eq!(
            messages("appspec.yml", "- a"),
            ["1:1 error an AppSpec is a mapping, and this is a list"]
        );
    }
}
