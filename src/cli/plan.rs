//! `runner plan`: what a build would do. Names of variables and where they come from, never their values.

use std::time::Instant;

use tokio::sync::mpsc;

use super::args::{PlanArgs, RequestArgs};
use super::identity::Identity;
use super::load::{self, Asked, Loaded, Refusal};
use super::provision::Stops;
use super::sources::{Sources, Wanted};
use super::{complain, machine, plan_json, print, start, usage};
use crate::build::ExitCode;
use crate::env::Origin;
use crate::event::StopReason;
use crate::phase::{OnFailure, Phase, RetryScope, Status, next};
use crate::plan::{
    ArtifactLocation, ArtifactName, ArtifactPlan, BuildRequest, CachePlan, CommandPlan, PhasePlan,
    Plan, RuntimeSource,
};
use crate::units::write_duration;

/// Shows the plan of a build.
pub(super) fn plan(args: &PlanArgs) -> ExitCode {
    let runtime = match start::begin() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    runtime.block_on(async {
        let asked = match Sources::of(&args.request) {
            Ok(sources) => load::ask(&args.request, sources, false).await,
            Err(mistake) => Err(mistake),
        };
        match asked {
            Err(mistake) => usage(&mistake),
            Ok(asked) => of(&args.request, asked, false, args.json).await,
        }
    })
}

/// Prints the plan of a build, or why there is none. A primary source that is elsewhere is fetched for the buildspec in it,
/// as little of it as goes; other sources are not (SRC-5).
pub(super) async fn of(args: &RequestArgs, mut asked: Asked, quiet: bool, json: bool) -> ExitCode {
    if !load::has_to_wait(args, &asked) {
        return show(&load::read(args, asked).await, json);
    }
    let (signals, mut heard) = mpsc::unbounded_channel();
    if let Err(error) = machine::listen_for_signals(&signals) {
        complain(&format!("error: could not listen for signals: {error}\n"));
        return ExitCode::Fault;
    }
    let stops = Stops {
        heard: &mut heard,
        back: &signals,
    };
    let deadline = Instant::now().checked_add(args.timeout);
    let identity = Identity::of(args, &asked.request);
    let asking = (args, &identity.aws);
    let arrived = asked
        .sources
        .fetch(Wanted::ForPlan, asking, quiet, deadline, stops);
    let mut arrived = Box::pin(arrived).await;
    if let Ok(StopReason::Signal(number)) = heard.try_recv() {
        return ExitCode::Signal(number);
    }
    let Some((context, complaint)) = arrived.refusal.take() else {
        asked.request.source.resolved_version = arrived.commit;
        return show(&load::read(args, asked).await, json);
    };
    show(
        &load::refused(args, asked, Refusal { context, complaint }),
        json,
    )
}

/// Prints the plan, or why there is none.
pub(super) fn show(loaded: &Loaded, json: bool) -> ExitCode {
    let plan = match &loaded.plan {
        Ok(plan) => plan,
        Err(refusal) => {
            complain(&refusal.complaint);
            return match refusal.context.blame {
                crate::phase::Blame::Environment => ExitCode::Fault,
                _ => ExitCode::BuildspecInvalid,
            };
        }
    };
    for warning in &loaded.warnings {
        if let Some(source) = &loaded.source {
            let warning = load::as_event(source, warning);
            complain(&crate::sink::render_warning(&warning, &loaded.name));
        }
    }
    if json {
        let mut text = serde_json::to_string_pretty(&plan_json::plan_json(plan, &loaded.request))
            .unwrap_or_default();
        text.push('\n');
        return print(loaded.secrets().redact(&text).as_bytes());
    }
    print(loaded.secrets().redact(&text(loaded)).as_bytes())
}

/// The plan as text; empty if there is none.
pub(super) fn text(loaded: &Loaded) -> String {
    match &loaded.plan {
        Ok(plan) => render(plan, &loaded.name, &loaded.request),
        Err(_) => String::new(),
    }
}

fn render(plan: &Plan, name: &str, request: &BuildRequest) -> String {
    let mut text = String::new();
    let mut field = |label: &str, value: &str| text.push_str(&format!("{label:<10} {value}\n"));
    field(
        "buildspec",
        &format!(
            "{} (version {})",
            plan.buildspec_location,
            plan.version.as_str()
        ),
    );
    field("project", plan.project.as_str());
    field("source", &plan.source_directory.display().to_string());
    for (identifier, directory) in &plan.secondary_sources {
        field("", &format!("{identifier}: {}", directory.display()));
    }
    field("shell", plan.shell.name());
    if !plan.runtime_versions.is_empty() {
        let asked = plan.runtime_versions.iter();
        let asked: Vec<String> = asked
            .map(|asked| format!("{} {}", asked.runtime, asked.version))
            .collect();
        let who = match plan.runtime_source {
            RuntimeSource::Machine => "what is on PATH is used",
            RuntimeSource::Image { .. } => "selected in the image",
        };
        field("runtimes", &format!("{} ({who})", asked.join(", ")));
    }
    if let Some(role) = &request.role {
        field("role", role);
    }
    field(
        "limits",
        &format!(
            "{} in all, {} to end when stopped",
            write_duration(plan.timeout),
            write_duration(plan.grace)
        ),
    );
    text.push('\n');
    text.push_str(&environment(plan));
    for phase in &plan.phases {
        text.push('\n');
        text.push_str(&render_phase(phase, plan.retry_scope, name));
    }
    text.push('\n');
    if !plan.exported.is_empty() {
        let names = plan.exported.iter().map(|exported| exported.name.clone());
        let names: Vec<String> = names.collect();
        text.push_str(&format!("exported   {}\n\n", names.join(", ")));
    }
    for report in &plan.reports {
        let format = report.format.as_ref();
        let files = report.files.iter().map(|file| file.text.as_str());
        let files: Vec<&str> = files.collect();
        text.push_str(&format!(
            "report     {} ({}) of {}\n",
            report.group.text,
            format.map_or("JUNITXML", |format| format.text.as_str()),
            files.join(", ")
        ));
    }
    if !plan.reports.is_empty() {
        text.push('\n');
    }
    if let Some(cache) = &plan.cache {
        text.push_str(&render_cache(cache, request));
        text.push('\n');
    }
    if plan.artifacts.is_empty() {
        text.push_str("artifacts  none\n");
    }
    for artifact in &plan.artifacts {
        text.push_str(&render_artifact(plan, artifact));
    }
    text
}

/// Variables by origin; those that the caller has anyway are only counted.
fn environment(plan: &Plan) -> String {
    let mut text = "environment\n".to_owned();
    let of = |origin: Origin| {
        plan.environment
            .iter()
            .filter(move |variable| variable.origin == origin)
    };
    for origin in [
        Origin::StartBuild,
        Origin::Project,
        Origin::Buildspec,
        Origin::Default,
        Origin::Runner,
    ] {
        let secrets = plan.secrets.iter().filter(|one| one.origin == origin);
        let mut names: Vec<String> = of(origin)
            .map(|variable| variable.name.to_string_lossy().into_owned())
            .filter(|name| !plan.is_secret(name))
            .chain(secrets.map(|one| one.name.clone()))
            .collect();
        names.sort();
        if !names.is_empty() {
            text.push_str(&wrapped(origin.name(), &names));
        }
    }
    let count = of(Origin::Environment).count();
    text.push_str(&format!(
        "  {:<12} {count} variables of the caller\n",
        Origin::Environment.name()
    ));
    text
}

/// A label and names, wrapped at 100 columns.
fn wrapped(label: &str, names: &[String]) -> String {
    let mut text = format!("  {label:<12}");
    let mut column = text.len();
    for name in names {
        if column + 1 + name.len() > 100 {
            text.push_str(&format!("\n  {:<12}", ""));
            column = 14;
        }
        text.push(' ');
        text.push_str(name);
        column += 1 + name.len();
    }
    text.push('\n');
    text
}

fn render_phase(phase: &PhasePlan, scope: RetryScope, name: &str) -> String {
    let title = phase.name.phase().name();
    let mut text = if phase.declared {
        let user = phase.user.as_ref();
        let user = user.map_or(String::new(), |user| format!("as {user}; "));
        format!("{title:<10} {user}{}\n", after_failure(phase, scope))
    } else {
        format!("{title:<10} not in the buildspec\n")
    };
    for command in &phase.commands {
        text.push_str(&render_command(command, name));
    }
    if !phase.finally.is_empty() {
        text.push_str("  finally\n");
    }
    for command in &phase.finally {
        text.push_str(&render_command(command, name));
    }
    text
}

/// What follows a failure of this phase, in words.
fn after_failure(phase: &PhasePlan, scope: RetryScope) -> String {
    let said = match &phase.on_failure {
        None => String::new(),
        Some(OnFailure::Abort) => " (on-failure: ABORT)".to_owned(),
        Some(OnFailure::Continue) => " (on-failure: CONTINUE)".to_owned(),
        Some(OnFailure::Retry(retry)) => {
            let when = match retry.pattern.as_str() {
                ".*" => String::new(),
                pattern => format!(", after failures that match `{pattern}`"),
            };
            let times = if retry.count == 1 { "time" } else { "times" };
            format!(
                " (on-failure: RETRY of the {}, at most {} {times}{when})",
                scope.name(),
                retry.count
            )
        }
    };
    match next(
        phase.name.phase(),
        Status::Failed,
        phase.on_failure.as_ref(),
    ) {
        Phase::Finalizing => format!("a failure ends the build{said}"),
        following => format!("after a failure {following} follows{said}"),
    }
}

fn render_command(command: &CommandPlan, name: &str) -> String {
    let mut lines = command.text.trim_end().lines();
    let first = lines.next().unwrap_or_default();
    let more = lines.count();
    let rest = match more {
        0 => String::new(),
        1 => " … (1 more line)".to_owned(),
        more => format!(" … ({more} more lines)"),
    };
    format!("  {name}:{:<5} {first}{rest}\n", command.place.line)
}

/// What is cached, and where.
fn render_cache(cache: &CachePlan, request: &BuildRequest) -> String {
    let place = match request.cache.as_ref().map(|asked| &asked.location) {
        None => "nowhere: it is kept where `--cache` says".to_owned(),
        Some(location) => shown(location),
    };
    let mut text = format!("{:<10} {place}\n", "cache");
    let mut field = |label: &str, value: &str| text.push_str(&format!("  {label:<12} {value}\n"));
    if let Some(key) = &cache.key {
        field("key", &key.text);
    }
    for key in &cache.fallback_keys {
        field("fallback", &key.text);
    }
    for path in &cache.paths {
        field("path", &path.text);
    }
    match (cache.restores, cache.saves) {
        (true, false) => field("action", "restored only"),
        (false, true) => field("action", "saved only"),
        _ => {}
    }
    text
}

fn shown(location: &ArtifactLocation) -> String {
    match location {
        ArtifactLocation::Directory(root) => root.display().to_string(),
        ArtifactLocation::S3 { bucket, path } if path.is_empty() => format!("s3://{bucket}"),
        ArtifactLocation::S3 { bucket, path } => format!("s3://{bucket}/{path}"),
    }
}

fn render_artifact(plan: &Plan, artifact: &ArtifactPlan) -> String {
    let label = artifact
        .identifier
        .as_ref()
        .map_or("artifact".to_owned(), |id| {
            format!("artifact {}", id.as_str())
        });
    let place = shown(&plan.artifact_location);
    let name = match &artifact.name {
        ArtifactName::Fixed(name) => name.clone(),
        ArtifactName::Expanded(name) => {
            let below = artifact.identifier.as_ref();
            let below = below.map_or(String::new(), |identifier| {
                format!("{}/", identifier.as_str())
            });
            format!("{below}{} (expanded after the last command)", name.text)
        }
    };
    let mut text = format!("{label:<10} {place}\n");
    let mut field = |label: &str, value: &str| text.push_str(&format!("  {label:<12} {value}\n"));
    field("name", &name);
    field("packaging", artifact.packaging.name());
    field("namespace", artifact.namespace_type.name());
    field(
        "directory",
        artifact
            .base_directory
            .as_ref()
            .map_or(".", |directory| &directory.text),
    );
    for file in &artifact.files {
        field("files", &file.text);
    }
    for path in &artifact.exclude_paths {
        field("exclude", &path.text);
    }
    if artifact.discard_paths {
        field("paths", "discarded");
    }
    if artifact.enable_symlinks {
        field("symlinks", "kept");
    }
    if let Some(key) = &plan.encryption_key {
        field("encryption", key);
    }
    text
}
