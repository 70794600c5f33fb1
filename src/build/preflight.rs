//! What can be known before the first command is found out before it (PRE-1 to PRE-4), so that a build does not fail
//! after twenty minutes for what the first second could have told.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::drive::{Driver, Left};
use super::machine::Input;
use super::upload;
use crate::artifact::place;
use crate::event::{EventKind, Warning};
use crate::exec::{Error, Session};
use crate::phase::PhaseContext;
use crate::plan::{ArtifactLocation, ArtifactName, ArtifactPlan, Packaging, PhasePlan, Plan};
use crate::store::{self, ErrorKind};
use crate::units::render_size;
use crate::user;

/// Less room than this, in bytes, is hardly enough for any build.
const LEAST_ROOM: u64 = 64 * 1024 * 1024;

/// What is being found out while the build is made ready.
pub(super) struct Preflight {
    store: Option<Asked>,
}

/// The question whether artifacts can be stored.
struct Asked {
    answer: JoinHandle<Result<(), store::Error>>,
    /// Whether the key is the one that an artifact will have. What may be stored under another one is a guess.
    is_exact: bool,
}

impl Driver {
    /// Begins to ask what takes time, beside everything else that is made ready.
    pub(super) fn begin_preflight(&self, plan: &Plan) -> Preflight {
        let store = plan.artifacts.first().map(|artifact| {
            let (key, is_exact) = trial_key(plan, artifact);
            let store = Arc::clone(&self.store);
            let answer = tokio::spawn(async move { store.try_writing(&key).await });
            Asked { answer, is_exact }
        });
        Preflight { store }
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
        let Some(asked) = preflight.store else {
            return Some(input);
        };
        match (self.store_answer(asked).await?, input) {
            (None, input) => Some(input),
            (Some(failure), Input::Ready) => {
                Some(Input::NotReady(failure.status, skippable(failure.context)))
            }
            // The build has ended for another reason; its author should know of this one too.
            (Some(failure), input) => {
                self.warn_of(failure.context);
                Some(input)
            }
        }
    }

    /// Why artifacts cannot be stored, if they cannot.
    async fn store_answer(&mut self, asked: Asked) -> Left<Option<upload::Failure>> {
        let Asked {
            mut answer,
            is_exact,
        } = asked;
        let stop = self.stop.clone();
        let answered = self
            .attend(async {
                tokio::select! {
                    answered = &mut answer => answered.ok(),
                    () = stop.requested() => None,
                }
            })
            .await?;
        answer.abort();
        let Some(Err(error)) = answered else {
            return Some(None);
        };
        let is_guess = !is_exact && error.kind == ErrorKind::Forbidden;
        let is_leftover = error.kind == ErrorKind::NotGivenUp;
        let message = format!("artifacts could not be stored: {}", error.message);
        let failure = upload::not_stored(&error, message);
        if is_guess || is_leftover {
            self.warn_of(failure.context);
            return Some(None);
        }
        Some(Some(failure))
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

/// A key under which storing is tried, and whether an artifact will have just that one.
fn trial_key(plan: &Plan, artifact: &ArtifactPlan) -> (String, bool) {
    let fixed = match (&artifact.name, &artifact.s3_prefix) {
        (ArtifactName::Fixed(name), None) => place::key(&upload::place(plan, artifact, name)).ok(),
        _ => None,
    };
    let trial = format!(".runner-preflight-{}", plan.build_uuid);
    match fixed {
        Some(key) if artifact.packaging == Packaging::Zip => (key, true),
        Some(key) => (place::below(&key, &trial), false),
        None => {
            let place = upload::place(plan, artifact, &trial);
            (place::key(&place).unwrap_or(trial), false)
        }
    }
}
