//! Files of other programs that are taken for buildspecs, because of their name or by mistake.

use super::yaml::{Document, Entry, Node, NodeKind};
use crate::diagnostic::{Code, Diagnostic, nearest};

/// Other formats by keys of their top level that stand there together.
const FORMATS: &[(&str, &[&str])] = &[
    ("a GitHub Actions workflow", &["jobs", "on"]),
    ("a GitHub action", &["runs", "name"]),
    (
        "a CloudFormation template",
        &["Resources", "AWSTemplateFormatVersion"],
    ),
    ("a Kubernetes manifest", &["kind", "apiVersion"]),
    ("a Docker Compose file", &["services"]),
];

/// Oracle's build specifications have the name and the version of ours. What tells them is the list of steps for one
/// component; with `phases` or version 0.2 a file is a buildspec all the same.
const ORACLE: &str = "a build specification of Oracle Cloud DevOps";

/// Keys that say that a buildspec was meant, wherever they stand: those of the top level, and those that land there when
/// something is indented wrongly or only a part of a file is shown. `version` is everybody's.
const OURS: &[&str] = &[
    "run-as",
    "env",
    "environment_variables",
    "proxy",
    "batch",
    "phases",
    "reports",
    "artifacts",
    "cache",
    "shell",
    "variables",
    "parameter-store",
    "secrets-manager",
    "exported-variables",
    "install",
    "pre_build",
    "build",
    "post_build",
    "runtime-versions",
    "commands",
    "finally",
    "on-failure",
    "files",
    "file-format",
    "base-directory",
    "secondary-artifacts",
    "paths",
    "build-list",
    "build-graph",
    "build-matrix",
    "build-fanout",
];

/// Versions that say what a file is: a buildspec, or the AppSpec file of a deployment, which has findings of its own.
const VERSIONS: &[&str] = &["0.0", "0.1", "0.2"];

/// What there is to say of a file that is certainly no buildspec.
pub(super) fn find(document: &Document) -> Option<Diagnostic> {
    let root = document.root.as_ref().filter(|_| document.complete)?;
    let NodeKind::Mapping(entries) = &root.kind else {
        return None;
    };
    let find = |key: &str| entries.iter().find(|entry| entry.key.value == key);
    if find("phases").is_some() || find("batch").is_some() {
        return None;
    }
    if let Some(component) = find("component").filter(|_| is_of_oracle(entries)) {
        return Some(not_ours(
            component,
            format!("this is {ORACLE}, not a buildspec"),
        ));
    }
    if find("version").is_some_and(|version| is_version(version, VERSIONS)) {
        return None;
    }
    let known = FORMATS.iter().find_map(|(name, keys)| {
        let all = keys.iter().all(|key| find(key).is_some());
        all.then(|| (find(keys[0]), format!("this is {name}, not a buildspec")))
    });
    let (entry, message) = known.or_else(|| {
        let unlike = unlike(entries)?;
        Some((
            Some(unlike),
            "this is not a buildspec: none of its keys is one of a buildspec".to_owned(),
        ))
    })?;
    Some(not_ours(entry?, message))
}

fn not_ours(place: &Entry, message: String) -> Diagnostic {
    Diagnostic::new(Code::NotABuildspec, place.key.span, message)
        .with_help("a buildspec has `version: 0.2` and `phases`; name the file that does")
}

/// Whether this is version 0.1 with a list of steps, each of which has a type.
fn is_of_oracle(entries: &[Entry]) -> bool {
    let find = |key: &str| entries.iter().find(|entry| entry.key.value == key);
    let typed = |step: &Node| matches!(&step.kind, NodeKind::Mapping(keys) if keys.iter().any(|entry| entry.key.value == "type"));
    let steps = find("steps").is_some_and(|steps| match &steps.value.kind {
        NodeKind::Sequence(steps) => !steps.is_empty() && steps.iter().all(typed),
        _ => false,
    });
    steps && find("version").is_some_and(|version| is_version(version, &["0.1"]))
}

fn is_version(version: &Entry, known: &[&str]) -> bool {
    matches!(&version.value.kind, NodeKind::Scalar(scalar) if known.contains(&scalar.text.as_str()))
}

/// The first key with something below it, if there are several keys and not one of them reminds of a buildspec.
fn unlike(entries: &[Entry]) -> Option<&Entry> {
    let others: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.key.value != "version")
        .collect();
    let ours = |entry: &&Entry| nearest(&entry.key.value, OURS.iter().copied()).is_some();
    if others.len() < 2 || others.iter().any(ours) {
        return None;
    }
    let holds_something = |entry: &&Entry| !matches!(entry.value.kind, NodeKind::Scalar(_));
    others.into_iter().find(holds_something)
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;
    use crate::source::SourceText;

    fn message(text: &str) -> Option<String> {
        let (document, _) = yaml::read(&SourceText::new("x", text));
        find(&document).map(|diagnostic| diagnostic.message)
    }

    #[test]
    fn what_reminds_of_a_buildspec_is_one_with_mistakes() {
        for text in [
            "phase:\n  build: {}\nmore: {}\n",
            "version: 0.2\nsteps: []\nimages: []\n",
            "version: 0.0\nResources: []\nHooks: []\n",
            "version: 0.2\ncomponent: build\nsteps: [{type: Command}]\n",
            "version: 0.1\ncomponent: build\nsteps: [{type: Command}]\nphases: {}\n",
            "version: 0.1\ncomponent: build\nsteps: [make]\n",
            "version: 0.1\nsteps: [{type: Command}]\n",
            "on: push\njobs: {}\nphases: {}\n",
            "a: 1\nb: 2\n",
            "images: {}\n",
            "commands: [make]\nname: x\n",
            "- a\n",
            "a: [\n",
        ] {
            assert_eq!(message(text), None, "{text}");
        }
    }

    #[test]
    fn other_formats_are_known_by_their_keys() {
        let workflow = message("on: push\nenv: {A: b}\njobs: {}\n");
        assert!(workflow.is_some_and(|text| text.contains("GitHub Actions")));
        let of_oracle = message(
            "version: 0.1\ncomponent: build\nrunAs: root\nenv: {}\nsteps:\n  - type: Command\n",
        );
        assert!(of_oracle.is_some_and(|text| text.contains("Oracle")));
        assert!(message("version: 2.9.0\nname: &a x\nimages: {a: !join [*a]}\n").is_some());
    }
}
