//! Making the plan.

use super::environment::{plan_environment, plan_secrets};
use super::exported::plan_exported;
use super::reports::plan_reports;
use super::request::{BuildRequest, NamespaceType, Runtimes, Users};
use super::types::{
    ArtifactName, ArtifactPlan, CachePlan, CommandPlan, Expandable, PhasePlan, Plan, RuntimePlan,
    RuntimeSource,
};
use super::unsupported::{self, Given};
use crate::buildspec::Buildspec;
use crate::buildspec::model::{self, ArtifactIdentifier, Variable};
use crate::diagnostic::{self, Diagnostic};
use crate::phase::CommandPhase;
use crate::source::{SourceText, Spanned};

/// Makes the plan, with what the author should know; or says why there can be none.
pub fn plan(
    source: &SourceText,
    buildspec: &Buildspec,
    request: &BuildRequest,
) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let given = Given {
        request: Some(request),
    };
    unsupported::check(buildspec, given, &mut diagnostics);
    let reports = plan_reports(source, buildspec, request.strict, &mut diagnostics);
    let artifacts = plan_artifacts(source, buildspec, request);
    diagnostic::sort(&mut diagnostics);
    if diagnostic::has_error(&diagnostics) {
        return Err(diagnostics);
    }
    let shell = request
        .shell
        .clone()
        .or_else(|| buildspec.shell.as_ref().map(|shell| shell.value.clone()));
    let install = buildspec.phase(CommandPhase::Install);
    let runtimes = install
        .and_then(|phase| phase.runtime_versions.as_ref())
        .map(|runtimes| &runtimes.value);
    let environment = plan_environment(buildspec, request);
    let secrets = plan_secrets(buildspec, request, &environment);
    let exported = plan_exported(source, buildspec, &secrets, &mut diagnostics);
    diagnostic::sort(&mut diagnostics);
    let plan = Plan {
        build_id: build_id(request),
        build_uuid: request.build_uuid.clone(),
        project: request.project.clone(),
        build_number: request.build_number,
        source_directory: request.source.directory.clone(),
        secondary_sources: request
            .secondary_sources
            .iter()
            .map(|other| (other.identifier.clone(), other.source.directory.clone()))
            .collect(),
        buildspec_location: request.buildspec_location.clone(),
        version: buildspec.version,
        shell: shell.unwrap_or_default(),
        proxy: buildspec.proxy,
        git_credentials: buildspec.git_credential_helper.is_some() && request.has_git_credentials,
        secrets,
        exported,
        environment,
        phases: CommandPhase::ALL.map(|name| plan_phase(source, buildspec, request, name)),
        runtime_versions: runtimes
            .into_iter()
            .flatten()
            .map(|Variable { name, value }| RuntimePlan {
                runtime: name.value.clone(),
                version: value.value.clone(),
                place: source.start_of(name.span),
            })
            .collect(),
        runtime_source: match request.runtimes {
            Runtimes::OfImage => RuntimeSource::Image {
                strict: request.strict,
            },
            Runtimes::OnMachine(_) => RuntimeSource::Machine,
        },
        artifacts,
        reports,
        report_request: request.reports.clone(),
        artifact_location: request.artifacts.location.clone(),
        encryption_key: request.artifacts.encryption_key.clone(),
        region: request.region.clone(),
        unrecognized: buildspec.unrecognized.clone(),
        cache: plan_cache(source, buildspec),
        retry_scope: request.retry_scope,
        timeout: request.timeout,
        grace: request.grace,
    };
    Ok((plan, diagnostics))
}

/// What builds of this buildspec would not honour, if nothing is asked for beyond it.
#[must_use]
pub fn limits(buildspec: &Buildspec) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    unsupported::check(buildspec, Given::default(), &mut diagnostics);
    diagnostics
}

/// `project:uuid`.
pub(super) fn build_id(request: &BuildRequest) -> String {
    format!("{}:{}", request.project, request.build_uuid)
}

fn plan_phase(
    source: &SourceText,
    buildspec: &Buildspec,
    request: &BuildRequest,
    name: CommandPhase,
) -> PhasePlan {
    let phase = buildspec.phase(name);
    let user = phase
        .and_then(|phase| phase.run_as.as_ref())
        .or(buildspec.run_as.as_ref());
    let commands = |commands: &[model::Command]| {
        commands
            .iter()
            .map(|command| CommandPlan {
                index: command.index,
                text: command.text.value.clone(),
                place: source.start_of(command.text.span),
            })
            .collect()
    };
    PhasePlan {
        name,
        declared: phase.is_some(),
        user: user
            .map(|user| user.value.clone())
            .filter(|user| !user.is_empty() && request.users == Users::Any),
        on_failure: phase
            .and_then(|phase| phase.on_failure.as_ref())
            .map(|on_failure| on_failure.value.clone()),
        commands: phase
            .map(|phase| commands(&phase.commands))
            .unwrap_or_default(),
        finally: phase
            .map(|phase| commands(&phase.finally))
            .unwrap_or_default(),
    }
}

/// Without paths there is no cache (CACHE-1).
fn plan_cache(source: &SourceText, buildspec: &Buildspec) -> Option<CachePlan> {
    let cache = buildspec.cache.as_ref()?;
    let expandable = |text: &Spanned<String>| Expandable {
        text: text.value.clone(),
        place: source.start_of(text.span),
    };
    let paths = cache.paths.as_ref().filter(|paths| !paths.is_empty())?;
    let fallback_keys = cache.key.as_ref().and(cache.fallback_keys.as_ref());
    let action = cache.action.as_ref().map(|action| action.value.as_str());
    Some(CachePlan {
        paths: paths.iter().map(expandable).collect(),
        key: cache.key.as_ref().map(expandable),
        fallback_keys: fallback_keys
            .iter()
            .flat_map(|keys| &keys.value)
            .map(expandable)
            .collect(),
        restores: action != Some("save"),
        saves: action != Some("restore"),
    })
}

fn plan_artifacts(
    source: &SourceText,
    buildspec: &Buildspec,
    request: &BuildRequest,
) -> Vec<ArtifactPlan> {
    let Some(artifacts) = &buildspec.artifacts else {
        return Vec::new();
    };
    let primary = artifacts.primary.iter().map(|artifact| (None, artifact));
    let secondary = artifacts
        .secondary
        .iter()
        .map(|(identifier, artifact)| (Some(&identifier.value), artifact));
    primary
        .chain(secondary)
        .map(|(identifier, artifact)| plan_artifact(source, identifier, artifact, request))
        .collect()
}

fn plan_artifact(
    source: &SourceText,
    identifier: Option<&ArtifactIdentifier>,
    artifact: &model::Artifact,
    request: &BuildRequest,
) -> ArtifactPlan {
    let settings = &request.artifacts;
    let expandable = |text: &Spanned<String>| Expandable {
        text: text.value.clone(),
        place: source.start_of(text.span),
    };
    let all = |texts: &[Spanned<String>]| texts.iter().map(expandable).collect();
    let name = match (identifier, &settings.name, &artifact.name) {
        (None, Some(requested), _) => ArtifactName::Fixed(requested.clone()),
        (_, _, Some(name)) => ArtifactName::Expanded(expandable(name)),
        // ART-19
        (Some(identifier), _, None) => ArtifactName::Fixed(identifier.as_str().to_owned()),
        (None, None, None) => ArtifactName::Fixed(request.project.as_str().to_owned()),
    };
    let with_build_id = settings.namespace_type == NamespaceType::BuildId;
    ArtifactPlan {
        identifier: identifier.cloned(),
        base_directory: artifact.base_directory.as_ref().map(expandable),
        files: all(&artifact.files),
        exclude_paths: all(&artifact.exclude_paths),
        discard_paths: artifact.discard_paths,
        enable_symlinks: artifact.enable_symlinks,
        name,
        s3_prefix: artifact
            .s3_prefix
            .as_ref()
            .filter(|_| with_build_id)
            .map(expandable),
        packaging: settings.packaging,
        namespace_type: settings.namespace_type,
    }
}
