//! From arguments to a plan: what `run` and `plan` have in common.

use std::path::Path;

use super::args::RequestArgs;
use super::buildspec_file::{self, NotFound};
use super::sources::{Sources, Wanted};
use super::{aws, machine, request, runtimes, terminal};
use crate::buildspec;
use crate::diagnostic::{self, Code, Colour, Diagnostic, render};
use crate::event::{Warning, stamp};
use crate::fetch::Location;
use crate::phase::PhaseContext;
use crate::plan::{BuildRequest, Plan, Runtimes, plan};
use crate::redact::Secrets;
use crate::source::SourceText;

/// Everything that is known before a build begins.
pub(super) struct Loaded {
    /// What was asked for.
    pub(super) request: BuildRequest,
    /// The sources, which are there as long as this is.
    pub(super) sources: Sources,
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
        let known = aws::credentials(variables).into_iter();
        Secrets::new(known.chain(self.sources.secrets()).collect::<Vec<_>>())
    }
}

/// Why there is no plan.
pub(super) struct Refusal {
    /// What CodeBuild says.
    pub(super) context: PhaseContext,
    /// What a person is told.
    pub(super) complaint: String,
}

/// What is asked for, before anything is fetched or read.
pub(super) struct Asked {
    /// The request; of a source that is to be fetched, it has what is known before.
    pub(super) request: BuildRequest,
    /// The sources.
    pub(super) sources: Sources,
}

/// Reads the machine. Only mistakes on the command line are errors here.
pub(super) async fn ask(
    args: &RequestArgs,
    sources: Sources,
    count_build: bool,
) -> Result<Asked, clap::Error> {
    let mut request = request::request(args, &sources, stamp()).await?;
    if count_build {
        request.build_number = machine::next_build_number(&request.project);
    }
    Ok(Asked { request, sources })
}

/// Whether the buildspec is in a source that is yet to be fetched.
pub(super) fn has_to_wait(args: &RequestArgs, asked: &Asked) -> bool {
    let is_given = args.file.as_deref() == Some(Path::new("-"));
    asked.sources.has_to_fetch(Wanted::ForPlan) && !is_given
}

/// Reads the buildspec and makes the plan.
pub(super) async fn read(args: &RequestArgs, asked: Asked) -> Loaded {
    let Asked {
        mut request,
        sources,
    } = asked;
    let directory = sources.primary.directory.clone();
    let colour = terminal::error_colour(args.color);
    let shown = match &sources.primary.location {
        Location::Directory(written) if !args.source.is_empty() || args.directory.is_some() => {
            Some(written.as_path())
        }
        _ => None,
    };
    let found = match buildspec_file::read(&directory, shown, args.file.as_deref()) {
        Ok(found) => found,
        Err(not_found) => {
            let location = not_found
                .location
                .as_deref()
                .map(|location| as_commands_see(location, &directory, &request.source.directory));
            return Loaded {
                location,
                ..refused(
                    args,
                    Asked { request, sources },
                    refuse_file(*not_found, colour),
                )
            };
        }
    };
    let location = as_commands_see(&found.location, &directory, &request.source.directory);
    request.buildspec_location.clone_from(&location);
    let (plan, warnings) = match decide(&found.source, &mut request).await {
        Ok((plan, warnings)) => (Ok(Box::new(plan)), warnings),
        Err(diagnostics) => (Err(refuse(&found.source, &diagnostics, colour)), Vec::new()),
    };
    Loaded {
        request,
        sources,
        name: found.source.name().to_owned(),
        location: Some(location),
        plan,
        warnings,
        source: Some(found.source),
    }
}

/// What is known where there is no buildspec to read.
pub(super) fn refused(args: &RequestArgs, asked: Asked, refusal: Refusal) -> Loaded {
    let Asked { request, sources } = asked;
    Loaded {
        request,
        sources,
        name: name(args),
        location: None,
        plan: Err(refusal),
        warnings: Vec::new(),
        source: None,
    }
}

/// Name of the buildspec for messages, before it is read.
pub(super) fn name(args: &RequestArgs) -> String {
    let file = args.file.as_deref();
    let name = file.unwrap_or(Path::new(buildspec_file::DEFAULT));
    name.display().to_string()
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
