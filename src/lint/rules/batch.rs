//! What is said of batches. A build of one buildspec ignores `batch` (SPEC-21), so nothing here is an error.

use std::collections::{HashMap, HashSet};

use super::Rule;
use crate::buildspec::{
    self,
    ast::{BatchEnv, BatchMatrix, BatchStrategy, BatchTask},
};
use crate::diagnostic::{Code, Diagnostic, Severity, nearest};
use crate::lint::shell::SimpleCommand;
use crate::lint::{SourceTree, Subject, paths};
use crate::source::{MAX_BYTES, SourceText, Span, Spanned};

pub(super) const RULES: &[Rule] = &[
    identifier_duplicate,
    depends_on_unknown,
    depends_on_cycle,
    matrix_empty_axis,
    matrix_explosion,
    referenced_buildspecs,
    unknown_compute,
    ignore_failure_with_dependants,
    fanout_without_test_command,
    env_shadowing,
];

/// How many builds a batch may have if its project says nothing else; commonly reported.
const MAX_BUILDS: usize = 100;

fn strategies<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Spanned<BatchStrategy>> {
    let batch = subject.buildspec.batch.iter();
    batch.flat_map(|batch| &batch.strategies)
}

/// The lists and graphs, each with its builds.
fn lists<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a [BatchTask]> {
    strategies(subject).filter_map(|strategy| match &strategy.value {
        BatchStrategy::List(tasks) | BatchStrategy::Graph(tasks) => Some(tasks.as_slice()),
        _ => None,
    })
}

fn graphs<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a [BatchTask]> {
    strategies(subject).filter_map(|strategy| match &strategy.value {
        BatchStrategy::Graph(tasks) => Some(tasks.as_slice()),
        _ => None,
    })
}

fn matrices<'a>(subject: &Subject<'a>) -> impl Iterator<Item = (Span, &'a BatchMatrix)> {
    strategies(subject).filter_map(|strategy| match &strategy.value {
        BatchStrategy::Matrix(matrix) => Some((strategy.span, matrix.as_ref())),
        _ => None,
    })
}

/// Builds are told apart by their identifiers.
fn identifier_duplicate(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for tasks in lists(subject) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for identifier in tasks.iter().filter_map(|task| task.identifier.as_ref()) {
            match seen.get(identifier.value.as_str()) {
                Some(first) => {
                    let message = format!("a second build `{}`", identifier.value);
                    let diagnostic =
                        Diagnostic::new(Code::BatchIdentifierDuplicate, identifier.span, message)
                            .with_secondary(*first, "the first one");
                    diagnostics.push(diagnostic);
                }
                None => {
                    seen.insert(&identifier.value, identifier.span);
                }
            }
        }
    }
}

/// The builds of a graph by their identifiers.
fn by_name(tasks: &[BatchTask]) -> HashMap<&str, &BatchTask> {
    let named = tasks.iter().filter_map(|task| {
        let identifier = task.identifier.as_ref()?;
        Some((identifier.value.as_str(), task))
    });
    named.collect()
}

/// A build waits for builds that exist.
fn depends_on_unknown(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for tasks in graphs(subject) {
        let known = by_name(tasks);
        for name in tasks.iter().flat_map(|task| &task.depend_on) {
            if known.contains_key(name.value.as_str()) {
                continue;
            }
            let message = format!("there is no build `{}` in this batch", name.value);
            let mut diagnostic = Diagnostic::new(Code::DependsOnUnknown, name.span, message);
            let mut names: Vec<&str> = known.keys().copied().collect();
            names.sort_unstable();
            diagnostic.help =
                nearest(&name.value, names).map(|known| format!("did you mean `{known}`?"));
            diagnostics.push(diagnostic);
        }
    }
}

/// No build waits for itself, directly or through others.
fn depends_on_cycle(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for tasks in graphs(subject) {
        let left = never_starting(tasks);
        let mut done: HashSet<&str> = HashSet::new();
        for task in tasks {
            let name = task.identifier.as_ref().map(|name| name.value.as_str());
            let Some(start) = name.filter(|name| left.contains_key(name)) else {
                continue;
            };
            if let Some(cycle) = cycle_from(start, &left, &mut done) {
                diagnostics.push(cycle);
            }
        }
    }
}

/// What can never start: builds that are left when all those are taken away that wait for nothing that is left.
fn never_starting(tasks: &[BatchTask]) -> HashMap<&str, &BatchTask> {
    let mut left = by_name(tasks);
    let mut waiting: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (name, task) in &left {
        let needs: HashSet<&str> = dependencies(task)
            .filter(|on| left.contains_key(on))
            .collect();
        open.insert(name, needs.len());
        for on in needs {
            waiting.entry(on).or_default().push(name);
        }
    }
    let mut ready: Vec<&str> = open
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(name, _)| *name)
        .collect();
    while let Some(name) = ready.pop() {
        left.remove(name);
        for other in waiting.remove(name).unwrap_or_default() {
            let count = open.entry(other).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                ready.push(other);
            }
        }
    }
    left
}

fn dependencies(task: &BatchTask) -> impl Iterator<Item = &str> {
    task.depend_on.iter().map(|name| name.value.as_str())
}

/// Follows what is waited for until a build comes up again; `None` if that leads to what was followed before.
fn cycle_from<'t>(
    start: &'t str,
    left: &HashMap<&'t str, &'t BatchTask>,
    done: &mut HashSet<&'t str>,
) -> Option<Diagnostic> {
    let mut path: Vec<(&str, &Spanned<String>)> = Vec::new();
    let mut at = start;
    while done.insert(at) {
        let mut waits = left.get(at)?.depend_on.iter();
        let on = waits.find(|on| left.contains_key(on.value.as_str()))?;
        path.push((at, on));
        at = &on.value;
    }
    // The build that came up again is where the cycle begins, unless another path had led there.
    let first = path.iter().position(|(name, _)| *name == at)?;
    let cycle = &path[first..];
    let names = cycle.iter().map(|(name, _)| *name).chain([at]);
    let message = match cycle {
        [_] => format!("`{at}` waits for itself"),
        _ => {
            let names: Vec<&str> = names.collect();
            format!("these builds wait for one another: {}", names.join(" → "))
        }
    };
    let diagnostic = Diagnostic::new(Code::DependsOnCycle, cycle[0].1.span, message);
    let others = cycle[1..].iter();
    Some(others.fold(diagnostic, |diagnostic, (name, on)| {
        diagnostic.with_secondary(on.span, format!("`{name}` waits for `{}`", on.value))
    }))
}

/// Every list of a matrix has something in it.
fn matrix_empty_axis(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for axis in matrices(subject).flat_map(|(_, matrix)| &matrix.empty_axes) {
        let message = format!("`{}` has no value, so the matrix has no build", axis.value);
        let diagnostic = Diagnostic::new(Code::MatrixEmptyAxis, axis.span, message)
            .with_help("give it a value, or take it out");
        diagnostics.push(diagnostic);
    }
}

/// A batch has room for what its matrix multiplies to.
fn matrix_explosion(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for (span, matrix) in matrices(subject) {
        let fixed = [&matrix.buildspecs, &matrix.compute_types, &matrix.images];
        let lists = fixed
            .into_iter()
            .chain(matrix.variables.iter().map(|(_, values)| values));
        let sizes: Vec<usize> = lists.map(Vec::len).filter(|size| *size > 0).collect();
        let builds = sizes
            .iter()
            .fold(1_usize, |all, size| all.saturating_mul(*size));
        if builds <= MAX_BUILDS {
            continue;
        }
        let factors: Vec<String> = sizes
            .iter()
            .filter(|size| **size > 1)
            .map(usize::to_string)
            .collect();
        let message = format!("this matrix has {builds} builds");
        let diagnostic = Diagnostic::new(Code::MatrixExplosion, span, message).labelled(format!(
            "{}, and all of them start at once",
            factors.join(" × ")
        ));
        diagnostics.push(diagnostic);
    }
}

/// Buildspecs that builds of the batch name.
fn references<'a>(subject: &Subject<'a>) -> Vec<&'a Spanned<String>> {
    let of_tasks = lists(subject)
        .flatten()
        .filter_map(|task| task.buildspec.as_ref());
    let of_matrices = matrices(subject).flat_map(|(_, matrix)| &matrix.buildspecs);
    of_tasks.chain(of_matrices).collect()
}

/// What a build of the batch runs is in the source, and has no batch of its own.
fn referenced_buildspecs(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(tree) = subject.tree else { return };
    let mut read: HashMap<String, Option<Severity>> = HashMap::new();
    for reference in references(subject) {
        let text = reference.value.as_str();
        let is_path = !text.contains([':', '\n', '$', '{']) && !text.is_empty();
        let Some(path) = paths::plain(text).filter(|path| is_path && !path.starts_with('/')) else {
            continue;
        };
        let Some(found) = tree.find(&path) else {
            if tree.is_repository() && !path.contains("..") {
                diagnostics.push(missing(tree, reference, &path));
            }
            continue;
        };
        let nested = read
            .entry(found.clone())
            .or_insert_with(|| nested_batch(subject, tree, &found));
        if let Some(severity) = nested {
            let message = format!("`{text}` has a `batch` of its own, which is not looked at");
            let diagnostic = Diagnostic::new(Code::NestedBatch, reference.span, message)
                .with_severity(*severity);
            diagnostics.push(match severity {
                Severity::Warning => diagnostic.labelled("and nothing else to run"),
                _ => diagnostic,
            });
        }
    }
}

fn missing(tree: &SourceTree, reference: &Spanned<String>, path: &str) -> Diagnostic {
    let message = format!("there is no `{path}` in the source");
    let mut diagnostic = Diagnostic::new(Code::BuildspecMissing, reference.span, message);
    diagnostic.help = tree
        .nearest(path)
        .map(|near| format!("did you mean `{near}`?"));
    diagnostic
}

/// How bad it is that this file has a batch: nothing would be run, or its phases only.
fn nested_batch(subject: &Subject<'_>, tree: &SourceTree, path: &str) -> Option<Severity> {
    let bytes = tree.head(path, MAX_BYTES);
    let source = SourceText::from_bytes(path, bytes).ok()?;
    if source.text() == subject.source.text() {
        return None;
    }
    let (other, _) = buildspec::check(&source);
    other.batch.as_ref()?;
    Some(if other.has_phases() {
        Severity::Info
    } else {
        Severity::Warning
    })
}

/// Every environment that the batch sets.
fn environments<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a BatchEnv> {
    let of_tasks = lists(subject).flatten().map(|task| &task.env);
    of_tasks.chain(matrices(subject).map(|(_, matrix)| &matrix.static_env))
}

/// Compute and environment types are CodeBuild's.
fn unknown_compute(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    const COMPUTE: &[&str] = &[
        "BUILD_GENERAL1_SMALL",
        "BUILD_GENERAL1_MEDIUM",
        "BUILD_GENERAL1_LARGE",
        "BUILD_GENERAL1_XLARGE",
        "BUILD_GENERAL1_2XLARGE",
        "BUILD_LAMBDA_1GB",
        "BUILD_LAMBDA_2GB",
        "BUILD_LAMBDA_4GB",
        "BUILD_LAMBDA_8GB",
        "BUILD_LAMBDA_10GB",
        "ATTRIBUTE_BASED_COMPUTE",
        "CUSTOM_INSTANCE_TYPE",
    ];
    const ENVIRONMENTS: &[&str] = &[
        "LINUX_CONTAINER",
        "LINUX_GPU_CONTAINER",
        "ARM_CONTAINER",
        "WINDOWS_CONTAINER",
        "WINDOWS_SERVER_2019_CONTAINER",
        "WINDOWS_SERVER_2022_CONTAINER",
        "LINUX_LAMBDA_CONTAINER",
        "ARM_LAMBDA_CONTAINER",
        "LINUX_EC2",
        "ARM_EC2",
        "WINDOWS_EC2",
        "MAC_ARM",
    ];
    let mut check = |value: &Spanned<String>, what: &str, known: &[&str]| {
        if known.contains(&value.value.as_str()) || value.value.contains('$') {
            return;
        }
        let message = format!("CodeBuild knows no {what} `{}`", value.value);
        let diagnostic = Diagnostic::new(Code::UnknownCompute, value.span, message);
        diagnostics.push(match nearest(&value.value, known.iter().copied()) {
            Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
            None => diagnostic.labelled(format!("expected one of {}", known.join(", "))),
        });
    };
    let in_matrices = matrices(subject).flat_map(|(_, matrix)| &matrix.compute_types);
    let in_tasks = environments(subject).filter_map(|env| env.compute_type.as_ref());
    for value in in_tasks.chain(in_matrices) {
        check(value, "compute type", COMPUTE);
    }
    for value in environments(subject).filter_map(|env| env.environment_type.as_ref()) {
        check(value, "environment type", ENVIRONMENTS);
    }
}

/// What waits for a build whose failure is ignored starts after the failure too.
fn ignore_failure_with_dependants(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for tasks in graphs(subject) {
        for task in tasks {
            let ignored = task.ignore_failure.as_ref().filter(|flag| flag.value);
            let (Some(flag), Some(name)) = (ignored, &task.identifier) else {
                continue;
            };
            let mut waits = tasks.iter().flat_map(|task| &task.depend_on);
            if let Some(first) = waits.find(|on| on.value == name.value) {
                let message = format!("others start even if `{}` fails", name.value);
                let diagnostic =
                    Diagnostic::new(Code::IgnoreFailureWithDependants, flag.span, message)
                        .with_secondary(first.span, "this build waits for it");
                diagnostics.push(diagnostic);
            }
        }
    }
}

/// A fan-out splits tests with CodeBuild's own tool.
fn fanout_without_test_command(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let fanout =
        strategies(subject).find(|strategy| matches!(strategy.value, BatchStrategy::Fanout(_)));
    let Some(fanout) = fanout.filter(|_| !subject.items.is_empty()) else {
        return;
    };
    let splits = subject.items.iter().any(|item| {
        let text = item.text();
        text.contains("codebuild-tests-run") || text.contains("CODEBUILD_BATCH_BUILD_IDENTIFIER")
    });
    let opaque = subject
        .scripts()
        .any(|(_, script)| script.commands.iter().any(runs_more));
    if splits || opaque || !subject.is_posix_shell() {
        return;
    }
    let diagnostic = Diagnostic::new(
        Code::FanoutWithoutTestCommand,
        fanout.span,
        "every build of this fan-out does the same work",
    )
    .with_help("run the tests with `codebuild-tests-run`, which gives each build its share");
    diagnostics.push(diagnostic);
}

/// Whether it is not seen here what this runs: a script, or a target of some other file.
fn runs_more(command: &SimpleCommand) -> bool {
    const RUNNERS: &[&str] = &[
        "make", "npm", "yarn", "pnpm", "bash", "sh", "source", ".", "eval", "task", "just",
        "python", "python3", "node", "tox", "nox", "rake", "gradle", "mvn",
    ];
    match (command.program(), command.words.first()) {
        (Some(program), Some(word)) => RUNNERS.contains(&program) || word.text.contains('/'),
        _ => true,
    }
}

/// A build of the batch that runs this file sets what the file sets too: its own value wins.
fn env_shadowing(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let own = &subject.buildspec.env.variables;
    let of_tasks = lists(subject)
        .flatten()
        .filter(|task| task.buildspec.is_none())
        .flat_map(|task| &task.env.variables)
        .map(|variable| (&variable.name, Some(&variable.value.value)));
    let of_matrices = matrices(subject)
        .filter(|(_, matrix)| matrix.buildspecs.is_empty())
        .flat_map(|(_, matrix)| &matrix.variables)
        .map(|(name, _)| (name, None));
    let mut said: HashSet<&str> = HashSet::new();
    for (name, value) in of_tasks.chain(of_matrices) {
        let Some(shadowed) = own.iter().find(|own| own.name.value == name.value) else {
            continue;
        };
        if value == Some(&shadowed.value.value) || !said.insert(&name.value) {
            continue;
        }
        let message = format!("this `{}` wins over the one of the buildspec", name.value);
        let diagnostic = Diagnostic::new(Code::EnvShadowing, name.span, message)
            .with_secondary(shadowed.name.span, "not used in such a build");
        diagnostics.push(diagnostic);
    }
}
