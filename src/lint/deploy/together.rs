//! Files of one deployment: whether they fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::task_definition::TaskDefinition;
use super::{appspec, image_definitions, task_definition};
use crate::diagnostic::{Code, Diagnostic, Severity, nearest, one_of};
use crate::lint::FileKind;
use crate::source::{SourceText, Span};

/// Files that were given together, each with its kind. What is found comes with the number of the file it is about.
///
/// Files of one folder belong together; or all of them, if there is no more than one of each kind.
#[must_use]
pub fn check_together(files: &[(FileKind, &SourceText)]) -> Vec<(usize, Diagnostic)> {
    let deploy = || (0..files.len()).filter(|index| files[*index].0 != FileKind::Buildspec);
    let kinds: BTreeSet<FileKind> = deploy().map(|index| files[index].0).collect();
    let mut groups: BTreeMap<&Path, BTreeMap<FileKind, usize>> = BTreeMap::new();
    let one_of_each = kinds.len() == deploy().count();
    for index in deploy() {
        let (kind, source) = files[index];
        let folder = Path::new(source.name()).parent().filter(|_| !one_of_each);
        groups
            .entry(folder.unwrap_or(Path::new("")))
            .or_default()
            .insert(kind, index);
    }
    groups
        .values()
        .flat_map(|group| check_group(files, group))
        .collect()
}

fn check_group(
    files: &[(FileKind, &SourceText)],
    group: &BTreeMap<FileKind, usize>,
) -> Vec<(usize, Diagnostic)> {
    let of = |kind: FileKind| group.get(&kind).map(|index| (*index, files[*index].1));
    let mut found = Vec::new();
    let Some((task_file, source)) = of(FileKind::TaskDefinition) else {
        return found;
    };
    let Some(definition) = task_definition::read(source) else {
        return found;
    };
    let name = source.name();
    if let Some((index, source)) = of(FileKind::AppSpec) {
        let problems = check_target(source, &definition, name);
        found.extend(problems.into_iter().map(|problem| (index, problem)));
    }
    if let Some((index, source)) = of(FileKind::ImageDefinitions) {
        let problems = check_names(source, &definition, name);
        found.extend(problems.into_iter().map(|problem| (index, problem)));
    }
    if let Some((_, detail)) = of(FileKind::ImageDetail) {
        let problem = check_placeholder(source, &definition, detail.name());
        found.extend(problem.map(|problem| (task_file, problem)));
    }
    found
}

fn unfit(span: Span, message: String) -> Diagnostic {
    Diagnostic::new(Code::DeployFilesDoNotFit, span, message)
}

/// The names of the containers, as a phrase.
fn names_of(definition: &TaskDefinition) -> Vec<&str> {
    let names = definition.containers.iter().map(|one| one.name.as_str());
    names.collect()
}

/// The container that gets the traffic has to be there, with its port.
fn check_target(source: &SourceText, definition: &TaskDefinition, file: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let Some(target) = appspec::target(source).filter(|target| target.of_new_definition) else {
        return found;
    };
    let Some((name, span)) = target.container else {
        return found;
    };
    let Some(container) = definition.containers.iter().find(|one| one.name == name) else {
        let names = names_of(definition);
        let message = format!(
            "`{file}` has no container `{name}`, only {}",
            one_of(&names).replace(" or ", " and ")
        );
        let mut problem = unfit(span, message);
        problem.help = nearest(&name, names).map(|near| format!("did you mean `{near}`?"));
        found.push(problem);
        return found;
    };
    if let Some((port, span)) = target.port
        && port.parse::<u16>().is_ok()
        && !container.ports.contains(&port)
    {
        let ports: Vec<&str> = container.ports.iter().map(String::as_str).collect();
        let has = if ports.is_empty() {
            "none".to_owned()
        } else {
            one_of(&ports).replace(" or ", " and ")
        };
        let message = format!("container `{name}` of `{file}` has no port {port}, but {has}");
        found.push(unfit(span, message));
    }
    found
}

/// The names in the image definitions should be containers. The deploy action looks at the task definition that the service
/// has, which need not be the one beside.
fn check_names(source: &SourceText, definition: &TaskDefinition, file: &str) -> Vec<Diagnostic> {
    let names = names_of(definition);
    let unknown = image_definitions::names(source)
        .into_iter()
        .filter(|(name, _)| !name.is_empty() && !names.contains(&name.as_str()));
    unknown
        .map(|(name, span)| {
            let message = format!("`{file}` has no container `{name}`, only {}", one_of(&names).replace(" or ", " and "));
            unfit(span, message)
                .with_severity(Severity::Warning)
                .with_help(format!("if the service runs this task definition, the deploy action would fail with: The AWS ECS container {name} does not exist"))
        })
        .collect()
}

/// An image that is delivered has to be asked for.
fn check_placeholder(
    source: &SourceText,
    definition: &TaskDefinition,
    file: &str,
) -> Option<Diagnostic> {
    if definition.has_placeholder() {
        return None;
    }
    let span = task_definition::image(source)?;
    let message =
        format!("the image of `{file}` is put in nowhere: no image here is a placeholder");
    let problem = unfit(span, message)
        .with_severity(Severity::Warning)
        .with_help("write `<IMAGE1_NAME>` here, and give the deploy action that name as `Image1ContainerName`");
    Some(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = r#"{"family":"f","containerDefinitions":[{"name":"web","image":"<IMAGE1_NAME>","portMappings":[{"containerPort":80}]}]}"#;

    fn appspec(name: &str, port: &str) -> String {
        format!(
            "version: 0.0\nResources:\n  - S:\n      Type: AWS::ECS::Service\n      Properties:\n        TaskDefinition: <TASK_DEFINITION>\n        LoadBalancerInfo: {{ContainerName: {name}, ContainerPort: {port}}}\n"
        )
    }

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<(FileKind, SourceText)> = files
            .iter()
            .map(|(name, text)| (FileKind::of(Path::new(name)), SourceText::new(*name, *text)))
            .collect();
        let given: Vec<_> = sources
            .iter()
            .map(|(kind, source)| (*kind, source))
            .collect();
        let found = check_together(&given).into_iter();
        found
            .map(|(index, problem)| format!("{}: {}", files[index].0, problem.message))
            .collect()
    }

    #[test]
    fn names_and_ports_have_to_be_there() {
        let none: [&str; 0] = [];
        assert_eq!(
            messages(&[
                ("taskdef.json", TASK),
                ("appspec.yml", &appspec("web", "80"))
            ]),
            none
        );
        assert_eq!(
            messages(&[
                ("taskdef.json", TASK),
                ("appspec.yml", &appspec("wed", "80"))
            ]),
            ["appspec.yml: `taskdef.json` has no container `wed`, only `web`"]
        );
        assert_eq!(
            messages(&[
                ("a/taskdef.json", TASK),
                ("appspec.yml", &appspec("web", "8080"))
            ]),
            ["appspec.yml: container `web` of `a/taskdef.json` has no port 8080, but `80`"]
        );
        assert_eq!(
            messages(&[
                ("taskdef.json", TASK),
                (
                    "imagedefinitions.json",
                    r#"[{"name":"app","imageUri":"x:1"}]"#
                )
            ]),
            ["imagedefinitions.json: `taskdef.json` has no container `app`, only `web`"]
        );
    }

    #[test]
    fn an_image_needs_a_placeholder() {
        let fixed = TASK.replace("<IMAGE1_NAME>", "x:1");
        let detail = ("imageDetail.json", r#"{"ImageURI":"x:2"}"#);
        assert_eq!(messages(&[("taskdef.json", TASK), detail]).len(), 0);
        assert_eq!(
            messages(&[("taskdef.json", &fixed), detail]),
            [
                "taskdef.json: the image of `imageDetail.json` is put in nowhere: no image here is a placeholder"
            ]
        );
    }

    #[test]
    fn files_of_different_folders_are_not_mixed_up() {
        let (one, other) = (appspec("web", "80"), appspec("other", "80"));
        let files = [
            ("a/taskdef.json", TASK),
            ("a/appspec.yml", one.as_str()),
            ("b/appspec.yml", other.as_str()),
        ];
        assert_eq!(messages(&files).len(), 0);
    }
}
