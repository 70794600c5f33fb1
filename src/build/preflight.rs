//! What can be known before the first command is found out before it (PRE-1 to PRE-4), so that a build does not fail
//! after twenty minutes for what the first second could have told.

use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tokio::task::JoinHandle;

use super::drive::{Driver, Left};
use super::machine::Input;
use super::upload;
use crate::artifact::place::{self, Place};
use crate::buildspec::model::ArtifactIdentifier;
use crate::event::{EventKind, Warning};
use crate::exec::{Error, Session};
use crate::phase::PhaseContext;
use crate::plan::{
    ArtifactLocation, ArtifactName, ArtifactPlan, Expandable, Packaging, PhasePlan, Plan,
};
use crate::store::{self, ErrorKind};
use crate::units::render_size;
use crate::user;

/// Less room than this, in bytes, is hardly enough for any build.
const LEAST_ROOM: u64 = 64 * 1024 * 1024;

/// Artifacts whose places are tried at a time.
const AT_ONCE: usize = 4;

/// What reports are called where their place is told of.
const REPORTS: &str = "reports";

/// What is being found out while the build is made ready.
pub(super) struct Preflight {
    places: JoinHandle<Vec<Answered>>,
}

/// Whether something can be stored.
struct Answered {
    /// What, for people: `artifacts`, for instance.
    what: String,
    answer: Result<(), store::Error>,
    /// Whether the place is the one that it will have. What may be stored elsewhere is a guess.
    is_exact: bool,
}

impl Driver {
    /// Begins to ask what takes time, beside everything else that is made ready.
    pub(super) fn begin_preflight(&self, plan: &Plan) -> Preflight {
        let is_directory = matches!(plan.artifact_location, ArtifactLocation::Directory(_));
        let mut wanted: Vec<(String, String, bool)> = Vec::new();
        for artifact in &plan.artifacts {
            let what = match &artifact.identifier {
                None => "artifacts".to_owned(),
                Some(identifier) => format!("the artifact {}", identifier.as_str()),
            };
            let (key, is_exact) = trial_key(plan, artifact);
            if wanted.iter().all(|(_, known, _)| *known != key) {
                // What cannot be made in a directory cannot be made below it either.
                wanted.push((what, key, is_exact || is_directory));
            }
        }
        let store = Arc::clone(&self.store);
        let reports = &plan.report_request;
        // By default they are beside the source, and not missed.
        let reports = (!reports.is_default).then(|| reports.directory.clone());
        let places = tokio::spawn(async move {
            let asked = wanted.into_iter().map(|(what, key, is_exact)| {
                let store = Arc::clone(&store);
                async move {
                    let answer = store.try_writing(&key).await;
                    Answered {
                        what,
                        answer,
                        is_exact,
                    }
                }
            });
            let mut answers: Vec<Answered> = stream::iter(asked).buffered(AT_ONCE).collect().await;
            answers.extend(reports.map(|directory| Answered {
                what: REPORTS.to_owned(),
                answer: store::can_write(&directory),
                is_exact: true,
            }));
            answers
        });
        Preflight { places }
    }

    /// Tells what was found out. `input` is what has come of making the build ready; a problem found here is added to it.
    pub(super) async fn end_preflight<S: Session>(
        &mut self,
        preflight: Option<Preflight>,
        session: Option<&mut S>,
        plan: &Plan,
        input: Input,
    ) -> Left<Input> {
        let Some(preflight) = preflight else {
            return Some(input);
        };
        if let Some(session) = session {
            self.look_for_users(session, plan).await?;
        }
        self.look_for_room(plan);
        let mut failures = self.store_answers(preflight, plan).await?.into_iter();
        let input = match (failures.next(), input) {
            (None, input) => input,
            (Some(failure), Input::Ready) => {
                Input::NotReady(failure.status, skippable(failure.context))
            }
            // The build has ended for another reason; its author should know of this one too.
            (Some(failure), input) => {
                self.warn_of(failure.context);
                input
            }
        };
        for failure in failures {
            self.warn_of(failure.context);
        }
        Some(input)
    }

    /// Why something cannot be stored, if it cannot.
    async fn store_answers(
        &mut self,
        preflight: Preflight,
        plan: &Plan,
    ) -> Left<Vec<upload::Failure>> {
        let mut places = preflight.places;
        let stop = self.stop.clone();
        let where_to = match &plan.artifact_location {
            ArtifactLocation::Directory(root) => root.display().to_string(),
            ArtifactLocation::S3 { bucket, .. } => format!("s3://{bucket}"),
        };
        let answering = async {
            tokio::select! {
                answered = &mut places => answered.ok(),
                () = stop.requested() => None,
            }
        };
        let answers = self.attend_telling(&where_to, answering).await?;
        places.abort();
        let mut failures = Vec::new();
        let in_bucket = matches!(plan.artifact_location, ArtifactLocation::S3 { .. });
        let mut told: Vec<(ErrorKind, String)> = Vec::new();
        for Answered {
            what,
            answer,
            is_exact,
        } in answers.unwrap_or_default()
        {
            let Err(error) = answer else { continue };
            // A bucket that is not there, or does not answer, is told of once, and so is a directory; in a bucket, who may store
            // what differs from key to key.
            let is_of_bucket = in_bucket && what != REPORTS;
            let is_known = |(kind, message): &(ErrorKind, String)| {
                if is_of_bucket {
                    *kind == error.kind && error.kind != ErrorKind::Forbidden
                } else {
                    *message == error.message
                }
            };
            if told.iter().any(is_known) {
                continue;
            }
            told.push((error.kind, error.message.clone()));
            let is_guess = !is_exact && error.kind == ErrorKind::Forbidden;
            let is_leftover = error.kind == ErrorKind::NotGivenUp;
            let message = format!("{what} could not be stored: {}", error.message);
            let failure = upload::not_stored(&error, message);
            if is_guess || is_leftover {
                self.warn_of(failure.context);
            } else {
                failures.push(failure);
            }
        }
        Some(failures)
    }

    /// A user who is not there yet may be made by a command, so that it is only said (PRE-3).
    async fn look_for_users<S: Session>(&mut self, session: &mut S, plan: &Plan) -> Left<()> {
        let mut wanted: Vec<(&str, &PhasePlan)> = Vec::new();
        for phase in &plan.phases {
            let runs = !phase.commands.is_empty() || !phase.finally.is_empty();
            let user = phase.user.as_deref().filter(|_| runs);
            if let Some(user) = user.filter(|user| wanted.iter().all(|(known, _)| known != user)) {
                wanted.push((user, phase));
            }
        }
        if wanted.is_empty() {
            return Some(());
        }
        let passwd = self.file_of(session, "/etc/passwd").await?;
        let group = self.file_of(session, "/etc/group").await?;
        for (name, phase) in wanted {
            if user::find(name, &passwd, &group).is_none() {
                let error = Error::UnknownUser {
                    user: name.to_owned(),
                };
                let warning = Warning::new(error.to_string()).with_help(format!(
                    "{} runs as `{name}`: a command before it has to make that user",
                    phase.name.phase().name()
                ));
                self.record(EventKind::Warning(warning));
            }
        }
        Some(())
    }

    /// A file of the place where commands run; what cannot be read has nothing in it.
    async fn file_of<S: Session>(&mut self, session: &mut S, path: &str) -> Left<Vec<u8>> {
        let read = session.read_file(Path::new(path), user::MAX_FILE);
        Some(self.attend(read).await?.ok().flatten().unwrap_or_default())
    }

    /// Little room is no reason to fail, but often becomes one (PRE-4).
    fn look_for_room(&mut self, plan: &Plan) {
        let mut places = vec![self.temporary_directory.clone()];
        if let ArtifactLocation::Directory(root) = &plan.artifact_location {
            places.push(root.clone());
        }
        let mut said = Vec::new();
        for place in places {
            let there = place.ancestors().find(|ancestor| ancestor.exists());
            let Some(disk) = there.and_then(|there| rustix::fs::statvfs(there).ok()) else {
                continue;
            };
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free < LEAST_ROOM && !said.contains(&disk.f_fsid) {
                said.push(disk.f_fsid);
                let message = format!("only {} free at {}", render_size(free), place.display());
                let warning =
                    Warning::new(message).with_help("make room there, before the build needs it");
                self.record(EventKind::Warning(warning));
            }
        }
    }

    fn warn_of(&mut self, context: PhaseContext) {
        let mut warning = Warning::new(context.message);
        warning.help = context.help;
        self.record(EventKind::Warning(warning));
    }
}

/// Adds how the build can be run all the same.
fn skippable(mut context: PhaseContext) -> PhaseContext {
    let skip = "`--no-preflight` begins the build all the same";
    context.help = Some(match context.help {
        Some(help) => format!("{help}; {skip}"),
        None => skip.to_owned(),
    });
    context
}

/// A key under which storing is tried, and whether an artifact goes just there: the place of its archive, or of a file that it
/// could have.
fn trial_key(plan: &Plan, artifact: &ArtifactPlan) -> (String, bool) {
    let (name, identifier) = match &artifact.name {
        ArtifactName::Fixed(name) => (Some(name.as_str()), None),
        ArtifactName::Expanded(text) => {
            let identifier = artifact.identifier.as_ref();
            (literal(text), identifier.map(ArtifactIdentifier::as_str))
        }
    };
    let prefix = artifact.s3_prefix.as_ref().map(literal);
    let known = match (name, prefix) {
        (Some(name), None | Some(Some(_))) => {
            let place = Place {
                identifier,
                s3_prefix: prefix.flatten(),
                ..upload::place(plan, artifact, name)
            };
            place::key(&place).ok()
        }
        _ => None,
    };
    let trial = format!(".runner-preflight-{}", plan.build_uuid);
    match known {
        Some(key) if artifact.packaging == Packaging::Zip => (key, true),
        Some(key) => (place::below(&key, &trial), true),
        None => {
            let place = upload::place(plan, artifact, &trial);
            (place::key(&place).unwrap_or(trial), false)
        }
    }
}

/// What a text comes to whatever the commands do, where that is known (ART-8).
fn literal(text: &Expandable) -> Option<&str> {
    let is_plain = !text.text.is_empty() && !text.text.contains(['$', '`', '\\', '"']);
    is_plain.then_some(text.text.as_str())
}
