//! The plan for programs (CLI-5). No value of a variable is in it.

use serde_json::{Value, json};

use crate::buildspec::model::ArtifactIdentifier;
use crate::env::Origin;
use crate::phase::{OnFailure, Status, next};
use crate::plan::{
    ArtifactLocation, ArtifactName, ArtifactPlan, BuildRequest, CachePlan, CommandPlan, Expandable,
    PhasePlan, Plan, ReportPlan,
};

/// Version of this form; grows with a change that a reader has to know of.
const FORMAT: u32 = 1;

/// The plan as JSON.
pub(super) fn plan_json(plan: &Plan, request: &BuildRequest) -> Value {
    let environment = environment_json(plan);
    json!({
        "format": FORMAT,
        "projectName": plan.project.as_str(),
        "sourceDirectory": plan.source_directory.display().to_string(),
        "buildspec": { "location": plan.buildspec_location, "version": plan.version.as_str() },
        "shell": plan.shell.name(),
        "assumeRole": request.role,
        "retryScope": plan.retry_scope.name(),
        "timeoutSeconds": plan.timeout.as_secs(),
        "graceSeconds": plan.grace.as_secs(),
        "environment": environment,
        "runtimeVersions": plan.runtime_versions.iter().map(|asked| json!({ "runtime": asked.runtime, "version": asked.version })).collect::<Vec<_>>(),
        "reports": plan.reports.iter().map(report_json).collect::<Vec<_>>(),
        "cache": plan.cache.as_ref().map(|cache| cache_json(cache, request)),
        "exportedVariables": plan.exported.iter().map(|exported| &exported.name).collect::<Vec<_>>(),
        "phases": plan.phases.iter().map(phase_json).collect::<Vec<_>>(),
        "artifacts": plan.artifacts.iter().map(|artifact| artifact_json(plan, artifact)).collect::<Vec<_>>(),
    })
}

/// All variables by name; what is fetched when the build begins says its type.
fn environment_json(plan: &Plan) -> Vec<Value> {
    let known = plan.environment.iter().map(|variable| {
        let name = variable.name.to_string_lossy().into_owned();
        (name, variable.origin, None)
    });
    let secrets = plan.secrets.iter().map(|secret| {
        let kind = Some(secret.reference.type_name());
        (secret.name.clone(), secret.origin, kind)
    });
    let mut all: Vec<(String, Origin, Option<&str>)> = known
        .filter(|(name, ..)| !plan.is_secret(name))
        .chain(secrets)
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    let all = all.into_iter().map(|(name, origin, kind)| match kind {
        None => json!({ "name": name, "origin": origin.name() }),
        Some(kind) => json!({ "name": name, "origin": origin.name(), "type": kind }),
    });
    all.collect()
}

fn phase_json(phase: &PhasePlan) -> Value {
    let on_failure = phase
        .on_failure
        .as_ref()
        .map(|on_failure| match on_failure {
            OnFailure::Abort => "ABORT",
            OnFailure::Continue => "CONTINUE",
            OnFailure::Retry(_) => "RETRY",
        });
    let retry = match &phase.on_failure {
        Some(OnFailure::Retry(retry)) => {
            json!({ "count": retry.count, "pattern": retry.pattern })
        }
        _ => Value::Null,
    };
    let after = |status| next(phase.name.phase(), status, phase.on_failure.as_ref()).name();
    json!({
        "phase": phase.name.phase().name(),
        "declared": phase.declared,
        "runAs": phase.user,
        "onFailure": on_failure,
        "retry": retry,
        "afterSuccess": after(Status::Succeeded),
        "afterFailure": after(Status::Failed),
        "commands": phase.commands.iter().map(command_json).collect::<Vec<_>>(),
        "finally": phase.finally.iter().map(command_json).collect::<Vec<_>>(),
    })
}

fn command_json(command: &CommandPlan) -> Value {
    json!({
        "index": command.index,
        "command": command.text,
        "line": command.place.line,
        "column": command.place.column,
    })
}

fn report_json(report: &ReportPlan) -> Value {
    let texts = |texts: &[Expandable]| {
        texts
            .iter()
            .map(|text| json!(text.text))
            .collect::<Vec<_>>()
    };
    json!({
        "reportGroup": report.group.text,
        "fileFormat": report.format.as_ref().map_or("JUNITXML", |format| format.text.as_str()),
        "baseDirectory": report.base_directory.as_ref().map(|text| &text.text),
        "files": texts(&report.files),
    })
}

fn cache_json(cache: &CachePlan, request: &BuildRequest) -> Value {
    let texts = |texts: &[Expandable]| {
        texts
            .iter()
            .map(|text| json!(text.text))
            .collect::<Vec<_>>()
    };
    let place = request.cache.as_ref().map(|asked| &asked.location);
    json!({
        "location": place.map(location_json),
        "key": cache.key.as_ref().map(|key| &key.text),
        "fallbackKeys": texts(&cache.fallback_keys),
        "paths": texts(&cache.paths),
        "restores": cache.restores,
        "saves": cache.saves,
    })
}

fn location_json(location: &ArtifactLocation) -> Value {
    match location {
        ArtifactLocation::Directory(root) => json!({ "directory": root.display().to_string() }),
        ArtifactLocation::S3 { bucket, path } => json!({ "bucket": bucket, "path": path }),
    }
}

fn artifact_json(plan: &Plan, artifact: &ArtifactPlan) -> Value {
    let location = location_json(&plan.artifact_location);
    let (name, expanded) = match &artifact.name {
        ArtifactName::Fixed(name) => (name, false),
        ArtifactName::Expanded(name) => (&name.text, true),
    };
    let texts = |texts: &[Expandable]| {
        texts
            .iter()
            .map(|text| json!(text.text))
            .collect::<Vec<_>>()
    };
    json!({
        "artifactIdentifier": artifact.identifier.as_ref().map(ArtifactIdentifier::as_str),
        "location": location,
        "name": name,
        "nameIsExpanded": expanded,
        "packaging": artifact.packaging.name(),
        "namespaceType": artifact.namespace_type.name(),
        "baseDirectory": artifact.base_directory.as_ref().map(|directory| &directory.text),
        "files": texts(&artifact.files),
        "excludePaths": texts(&artifact.exclude_paths),
        "discardPaths": artifact.discard_paths,
        "enableSymlinks": artifact.enable_symlinks,
        "s3Prefix": artifact.s3_prefix.as_ref().map(|prefix| &prefix.text),
        "encryptionKey": plan.encryption_key,
    })
}
