//! `taskdef.json`: the task definition that a blue/green deployment registers.
//!
//! It has the form that ECS takes (`RegisterTaskDefinition`). The form that ECS gives back has more keys, which do no harm.

use super::fields::{describe, field, items, string, text};
use super::json;
use crate::buildspec::yaml::{Node, NodeKind};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::source::{SourceText, Span};

/// What other files say about a task definition.
pub(super) struct TaskDefinition {
    /// Its containers.
    pub(super) containers: Vec<Container>,
}

/// One container.
pub(super) struct Container {
    /// Its name.
    pub(super) name: String,
    /// Its image.
    pub(super) image: String,
    /// The ports it listens at, as written.
    pub(super) ports: Vec<String>,
}

impl TaskDefinition {
    /// Whether an image is to be put in: `<NAME>`.
    pub(super) fn has_placeholder(&self) -> bool {
        let mut images = self.containers.iter().map(|container| &container.image);
        images.any(|image| image.contains('<') && image.contains('>'))
    }
}

/// Reads what other files refer to; nothing of a file that is no task definition.
pub(super) fn read(source: &SourceText) -> Option<TaskDefinition> {
    let root = json::read(source, Code::TaskDefinition).ok()?;
    let containers = items(field(&root, "containerDefinitions")?);
    let value = |node: &Node, key: &str| field(node, key).and_then(string).map(str::to_owned);
    let containers = containers.iter().map(|container| {
        let mappings = field(container, "portMappings").map_or(&[][..], items);
        let ports = mappings
            .iter()
            .filter_map(|one| text(field(one, "containerPort")?));
        Container {
            name: value(container, "name").unwrap_or_default(),
            image: value(container, "image").unwrap_or_default(),
            ports: ports.map(str::to_owned).collect(),
        }
    });
    Some(TaskDefinition {
        containers: containers.collect(),
    })
}

/// Where the first image is written.
pub(super) fn image(source: &SourceText) -> Option<Span> {
    let root = json::read(source, Code::TaskDefinition).ok()?;
    let containers = items(field(&root, "containerDefinitions")?);
    containers
        .iter()
        .find_map(|container| Some(field(container, "image")?.span))
}

pub(super) fn check(source: &SourceText) -> Vec<Diagnostic> {
    let root = match json::read(source, Code::TaskDefinition) {
        Ok(root) => root,
        Err(found) => return vec![*found],
    };
    let mut found = Vec::new();
    if !matches!(root.kind, NodeKind::Mapping(_)) {
        let message = format!("it is {}, where one object is needed", describe(&root));
        found.push(error(root.span, message));
        return found;
    }
    if let (Some(inner), None) = (
        field(&root, "taskDefinition"),
        field(&root, "containerDefinitions"),
    ) {
        found.push(answer_of_describe(&root, inner));
        return found;
    }
    check_family(&root, &mut found);
    check_containers(&root, &mut found);
    check_fargate(&root, &mut found);
    found
}

fn error(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::TaskDefinition, span, message)
}

/// What `aws ecs describe-task-definition` prints has the definition one level deeper.
fn answer_of_describe(root: &Node, inner: &Node) -> Diagnostic {
    let message = "a task definition begins one level deeper, with the value of `taskDefinition`";
    let edits = [
        (
            Span::new(root.span.start(), inner.span.start()),
            String::new(),
        ),
        (Span::new(inner.span.end(), root.span.end()), String::new()),
    ];
    error(root.span, message)
        .with_help("this is what `aws ecs describe-task-definition` prints; it takes `--query taskDefinition`")
        .with_fix("keep only the value of `taskDefinition`", edits)
}

fn check_family(root: &Node, found: &mut Vec<Diagnostic>) {
    match field(root, "family") {
        None => found.push(error(
            Span::at(root.span.start()),
            "a task definition needs `family`",
        )),
        Some(family) if string(family).is_none_or(str::is_empty) => {
            found.push(error(family.span, "`family` is a text that is not empty"));
        }
        Some(_) => {}
    }
}

fn check_containers(root: &Node, found: &mut Vec<Diagnostic>) {
    let Some(containers) = field(root, "containerDefinitions") else {
        let message = "a task definition needs `containerDefinitions`";
        found.push(error(Span::at(root.span.start()), message));
        return;
    };
    if items(containers).is_empty() {
        let message = format!(
            "`containerDefinitions` is {}, where an array with a container is needed",
            match &containers.kind {
                NodeKind::Sequence(_) => "empty",
                _ => describe(containers),
            }
        );
        found.push(error(containers.span, message));
    }
    let mut names: Vec<(&str, Span)> = Vec::new();
    for container in items(containers) {
        for key in ["name", "image"] {
            let value = field(container, key);
            if value.and_then(string).is_none_or(str::is_empty) {
                let place = value.map_or(Span::at(container.span.start()), |value| value.span);
                found.push(error(place, format!("a container needs `{key}`")));
            }
        }
        if let Some(value) = field(container, "name")
            && let Some(name) = string(value)
        {
            if let Some((_, first)) = names.iter().find(|(known, _)| *known == name) {
                let message = format!("there are two containers `{name}`");
                found.push(error(value.span, message).with_secondary(*first, "first here"));
            }
            names.push((name, value.span));
        }
    }
}

/// What ECS refuses of a task that is to run on Fargate.
fn check_fargate(root: &Node, found: &mut Vec<Diagnostic>) {
    let requires = field(root, "requiresCompatibilities").map_or(&[][..], items);
    let Some(fargate) = requires.iter().find(|one| string(one) == Some("FARGATE")) else {
        return;
    };
    let mode = field(root, "networkMode");
    if mode.and_then(string) != Some("awsvpc") {
        let place = mode.map_or(fargate.span, |mode| mode.span);
        let message = "on Fargate, `networkMode` is `awsvpc`";
        found.push(error(place, message));
    }
    for key in ["cpu", "memory"] {
        if field(root, key).and_then(text).is_none_or(str::is_empty) {
            let message =
                format!("on Fargate, a task definition needs `{key}` beside its containers");
            found.push(error(fargate.span, message));
        }
    }
    check_host_ports(root, found);
}

fn check_host_ports(root: &Node, found: &mut Vec<Diagnostic>) {
    let containers = field(root, "containerDefinitions").map_or(&[][..], items);
    let mappings = containers
        .iter()
        .filter_map(|container| field(container, "portMappings"))
        .flat_map(items);
    for mapping in mappings {
        if let (Some(host), Some(own)) =
            (field(mapping, "hostPort"), field(mapping, "containerPort"))
            && let (Some(host_port), Some(own_port)) = (text(host), text(own))
            && host_port != own_port
        {
            let message = format!(
                "on Fargate, `hostPort` is the same as `containerPort`: {own_port}, not {host_port}"
            );
            let finding =
                error(host.span, message).with_secondary(own.span, "the port of the container");
            // 0 leaves the choice to the machine, and some tools write it everywhere.
            let severity = if host_port == "0" {
                Severity::Warning
            } else {
                Severity::Error
            };
            found.push(finding.with_severity(severity));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"family":"web","networkMode":"awsvpc","requiresCompatibilities":["FARGATE"],"cpu":"256","memory":"512","containerDefinitions":[{"name":"web","image":"<IMAGE1_NAME>","portMappings":[{"containerPort":80,"hostPort":80}]}]}"#;

    #[test]
    fn each_part_is_checked() {
        for (good, bad, expected) in [
            ("{", "{", ""),
            (
                "\"family\":\"web\",",
                "",
                "a task definition needs `family`",
            ),
            (
                "containerDefinitions",
                "containers",
                "a task definition needs `containerDefinitions`",
            ),
            ("\"name\":\"web\",", "", "a container needs `name`"),
            ("<IMAGE1_NAME>", "", "a container needs `image`"),
            ("awsvpc", "bridge", "on Fargate, `networkMode` is `awsvpc`"),
            (
                "\"cpu\":\"256\",",
                "",
                "on Fargate, a task definition needs `cpu` beside its containers",
            ),
            (
                "\"hostPort\":80",
                "\"hostPort\":8080",
                "on Fargate, `hostPort` is the same as `containerPort`: 80, not 8080",
            ),
            ("FARGATE", "EC2", ""),
            (
                "]}]}",
                "]},]}",
                "it is not JSON: nothing follows this comma",
            ),
        ] {
            let text = GOOD.replacen(good, bad, 1);
            let source = SourceText::new("taskdef.json", text.as_str());
            let found: Vec<String> = check(&source)
                .iter()
                .map(|found| found.message.clone())
                .collect();
            let first = found.first().map(String::as_str).unwrap_or_default();
            assert_eq!(first, expected, "{text}");
        }
        let source = SourceText::new("taskdef.json", GOOD.replace("<IMAGE1_NAME>", ""));
        assert_eq!(source.slice(check(&source)[0].primary.span), "\"\"");
        let wrapped = format!("{{\"taskDefinition\": {GOOD}}}");
        let found = check(&SourceText::new("taskdef.json", wrapped));
        assert!(found.len() == 1 && found[0].fix.is_some());
    }

    #[test]
    fn what_others_refer_to_is_known() {
        let read = read(&SourceText::new("taskdef.json", GOOD)).unwrap();
        assert!(read.has_placeholder());
        assert_eq!(
            (
                read.containers[0].name.as_str(),
                read.containers[0].ports.as_slice()
            ),
            ("web", &["80".to_owned()][..])
        );
    }
}
