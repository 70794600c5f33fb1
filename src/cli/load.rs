//! From arguments to a plan: what `run` and `plan` have in common.

use std::path::{Path, PathBuf};

use super::args::RequestArgs;
use super::buildspec_file::{self, NotFound};
use super::{aws, machine, request, runtimes, terminal};
use crate::buildspec;
use crate::diagnostic::{self, Code, Colour, Diagnostic, render};
use crate::event::{Warning, stamp};
use crate::phase::PhaseContext;
use crate::plan::{BuildRequest, Plan, Runtimes, plan};
use crate::redact::Secrets;
use crate::source::SourceText;

/// Everything that is known before a build begins.
pub(super) struct Loaded {
    /// What was asked for.
    pub(super) request: BuildRequest,
    /// The source directory.
    pub(super) directory: PathBuf,
    /// Name of the buildspec for messages.
    pub(super) name: String,
    /// Where the buildspec was found, if it was.
    pub(super) location: Option<String>,
    /// The plan, or why there is none.
    pub(super) plan: Result<Box<Plan>, Refusal>,
    /// What the author should know.
    pub(super) warnings: Vec<Diagnostic>,
    /// The buildspec's text, where it could be read.
    pub(super) source: Option<SourceText>,
}

impl Loaded {
    /// What may be in nothing that is shown (LOG-15).
    pub(super) fn secrets(&self) -> Secrets {
        let plan = self.plan.as_ref().ok();
        let planned = plan.into_iter().flat_map(|plan| &plan.environment);
        let planned = planned.map(|variable| (&variable.name, &variable.value));
        // The caller's are not among them where commands are served others.
        let callers = self.request.environment.iter();
        let callers = callers.map(|(name, value)| (name, value));
        let variables = planned
            .chain(callers)
            .filter_map(|(name, value)| Some((name.to_str()?, value)));
        Secrets::new(aws::credentials(variables))
    }
}

/// Why there is no plan.
pub(super) struct Refusal {
    /// What CodeBuild says.
    pub(super) context: PhaseContext,
    /// What a person is told.
    pub(super) complaint: String,
}

/// Reads the machine and the buildspec and makes the plan. Only mistakes on the command line are errors here.
pub(super) async fn load(args: &RequestArgs, count_build: bool) -> Result<Loaded, clap::Error> {
    let directory = request::source_directory(args)?;
    let mut request = request::request(args, &directory, stamp()).await?;
    if count_build {
        request.build_number = machine::next_build_number(&request.project);
    }
    let colour = terminal::error_colour(args.color);
    let found =
        match buildspec_file::read(&directory, args.directory.as_deref(), args.file.as_deref()) {
            Ok(found) => found,
            Err(not_found) => {
                let name = args.file.as_ref().map_or_else(
                    || "buildspec.yml".to_owned(),
                    |file| file.display().to_string(),
                );
                let location = not_found.location.as_deref().map(|location| {
                    as_commands_see(location, &directory, &request.source.directory)
                });
                let plan = Err(refuse_file(*not_found, colour));
                return Ok(Loaded {
                    request,
                    directory,
                    name,
                    location,
                    plan,
                    warnings: Vec::new(),
                    source: None,
                });
            }
        };
    let location = as_commands_see(&found.location, &directory, &request.source.directory);
    request.buildspec_location.clone_from(&location);
    let (plan, warnings) = match decide(&found.source, &mut request).await {
        Ok((plan, warnings)) => (Ok(Box::new(plan)), warnings),
        Err(diagnostics) => (Err(refuse(&found.source, &diagnostics, colour)), Vec::new()),
    };
    Ok(Loaded {
        request,
        directory,
        name: found.source.name().to_owned(),
        location: Some(location),
        plan,
        warnings,
        source: Some(found.source),
    })
}

/// A place in the source directory as it is called where commands run.
fn as_commands_see(location: &str, outside: &Path, inside: &Path) -> String {
    match Path::new(location).strip_prefix(outside) {
        Ok(rest) => inside.join(rest).display().to_string(),
        Err(_) => location.to_owned(),
    }
}

/// All findings of all stages; an error in the buildspec itself keeps the plan from being tried.
async fn decide(
    source: &SourceText,
    request: &mut BuildRequest,
) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (buildspec, mut warnings) = buildspec::read(source)?;
    if let Runtimes::OnMachine(found) = &request.runtimes
        && found.is_empty()
    {
        request.runtimes = Runtimes::OnMachine(runtimes::look(&buildspec, request).await);
    }
    match plan(source, &buildspec, request) {
        Ok((plan, more)) => {
            warnings.extend(more);
            diagnostic::sort(&mut warnings);
            Ok((plan, warnings))
        }
        Err(mut diagnostics) => {
            diagnostics.extend(warnings);
            diagnostic::sort(&mut diagnostics);
            Err(diagnostics)
        }
    }
}

fn refuse(source: &SourceText, diagnostics: &[Diagnostic], colour: Colour) -> Refusal {
    // CodeBuild looks at nothing of a file that is no YAML, so a syntax error is what it tells of (SPEC-8).
    let errors = || {
        diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
    };
    let first = errors()
        .find(|error| matches!(error.code, Code::YamlSyntax | Code::GlobWithoutQuotes))
        .or_else(|| errors().next());
    let context =
        PhaseContext::buildspec(first.map(Diagnostic::context_message).unwrap_or_default());
    Refusal {
        context,
        complaint: render(source, diagnostics, colour),
    }
}

fn refuse_file(not_found: NotFound, colour: Colour) -> Refusal {
    let complaint = match &not_found.diagnostic {
        Some(placed) => render(&placed.0, std::slice::from_ref(&placed.1), colour),
        None => {
            let mut text = format!("error: {}\n", not_found.message);
            if let Some(help) = &not_found.help {
                text.push_str(&format!("  help: {help}\n"));
            }
            text
        }
    };
    Refusal {
        context: not_found.context,
        complaint,
    }
}

/// A finding as an event.
pub(super) fn as_event(source: &SourceText, diagnostic: &Diagnostic) -> Warning {
    Warning {
        message: diagnostic.message.clone(),
        help: diagnostic.help.clone(),
        place: Some(source.start_of(diagnostic.primary.span)),
    }
}
