//! UPLOAD_ARTIFACTS: texts are expanded, files selected, artifacts stored, reports looked for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::drive::{Driver, Left, broken};
use super::machine::Input;
use crate::artifact::place::{self, Place};
use crate::artifact::scan;
use crate::artifact::upload::{self, Artifact};
use crate::artifact::{Manifest, SelectError, Selected, Selection, select, starts};
use crate::event::{ArtifactProgress, ArtifactStage, EventKind, Warning};
use crate::exec::{Escalation, Session};
use crate::phase::{CLIENT_ERROR, PhaseContext, Status};
use crate::plan::{ArtifactLocation, ArtifactName, ArtifactPlan, Expandable, Packaging, Plan};
use crate::source::LineColumn;
use crate::store;

/// Why the phase did not succeed.
pub(super) struct Failure {
    pub(super) status: Status,
    pub(super) context: PhaseContext,
}

impl Failure {
    pub(super) fn build(message: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            context: PhaseContext::build(CLIENT_ERROR, message),
        }
    }
}

/// An artifact's texts after expansion.
struct Expanded {
    selection: Selection,
    name: String,
    s3_prefix: Option<String>,
}

impl Driver {
    /// Stores every artifact of the plan, and reads its reports: those also after an artifact that could not be stored
    /// (REP-1).
    pub(super) async fn store_artifacts<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
    ) -> Left<Input> {
        let stored = self.store_all(session, plan).await?;
        let reported = self.read_reports(session, plan, stored.is_ok()).await?;
        let failure = match (stored, reported) {
            (Ok(()), Ok(())) => return Some(Input::Stored),
            (Ok(()), Err(failure)) | (Err(failure), Ok(())) => failure,
            (Err(failure), Err(second)) => {
                self.record(EventKind::Warning(Warning::new(second.context.message)));
                failure
            }
        };
        Some(Input::NotStored(failure.status, failure.context))
    }

    async fn read_reports<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
        all_stored: bool,
    ) -> Left<Result<(), Failure>> {
        // Whoever stops a build does not wait for its reports.
        if self.stop.is_requested() || (!all_stored && plan.reports.is_empty()) {
            return Some(Ok(()));
        }
        let mut collected = match self.collect_reports(session, plan).await? {
            Ok(collected) => collected,
            Err(failure) => return Some(Err(failure)),
        };
        if all_stored {
            self.discover_reports(session, plan, &mut collected).await?;
        }
        if self.stop.is_requested() {
            return Some(Ok(()));
        }
        self.finish_reports(plan, collected).await
    }

    async fn store_all<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
    ) -> Left<Result<(), Failure>> {
        // Also without artifacts: a source that does not come back is no success.
        if let Err(failure) = self.bring(session, &[]).await? {
            return Some(Err(failure));
        }
        for artifact in &plan.artifacts {
            if let Err(failure) = self.store_artifact(session, plan, artifact).await? {
                return Some(Err(failure));
            }
        }
        Some(Ok(()))
    }

    async fn store_artifact<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
        artifact: &ArtifactPlan,
    ) -> Left<Result<(), Failure>> {
        let expanded = match self.expand(session, artifact).await? {
            Ok(expanded) => expanded,
            Err(failure) => return Some(Err(failure)),
        };
        let selection = expanded.selection.clone();
        let starts = starts(&selection, &self.workspace.source_directory);
        if let Err(failure) = self.bring(session, &starts).await? {
            return Some(Err(failure));
        }
        let workspace = self.workspace.clone();
        let stop = self.stop.clone();
        let selecting = tokio::task::spawn_blocking(move || {
            select(&selection, &workspace, &|| stop.is_requested())
        });
        let Ok(Selected {
            summary,
            manifest,
            warnings,
        }) = self.attend(selecting).await?
        else {
            return Some(Err(Failure::build("selecting artifacts broke off")));
        };
        self.record(EventKind::ArtifactSelected(summary));
        for warning in warnings {
            self.record(EventKind::Warning(warning));
        }
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => return Some(Err(Self::not_selected(&error, artifact))),
        };
        let manifest = self.scan(manifest, &expanded.selection).await?;
        let key = Self::key(plan, artifact, &expanded);
        let key = match key.and_then(|key| self.take_place(key, artifact)) {
            Ok(key) => key,
            Err(failure) => return Some(Err(failure)),
        };
        let job = Artifact {
            identifier: expanded.selection.identifier,
            packaging: artifact.packaging,
            key,
            build_arn: build_arn(plan),
            temporary_directory: self.temporary_directory.clone(),
        };
        self.record(EventKind::ArtifactProgress(ArtifactProgress {
            identifier: job.identifier.clone(),
            stage: if artifact.packaging == Packaging::Zip {
                ArtifactStage::Packing
            } else {
                ArtifactStage::Storing
            },
            files_done: 0,
            files: manifest.len(),
            bytes_done: 0,
            bytes: 0,
        }));
        let (stop, reports) = (self.stop.clone(), self.reports.clone());
        let mut forced = self.cancel.subscribe();
        let store = Arc::clone(&self.store);
        let result = self
            .attend(Box::pin(async {
                tokio::select! {
                    result = upload::upload(&job, manifest, &store, &reports, &stop) => Some(result),
                    // A second wish does not wait for an upload to clear up behind itself.
                    _ = forced.wait_for(|escalation| *escalation == Escalation::Kill) => None,
                }
            }))
            .await?;
        Some(match result {
            Some(Ok(stored)) => {
                self.record(EventKind::ArtifactStored(stored));
                Ok(())
            }
            Some(Err(error)) => Err(Self::not_stored(&error)),
            None => Err(Failure::build("stopped")),
        })
    }

    /// Looks for secrets in what is to be stored, if that is wanted, and warns of every file that has one (ART-30).
    async fn scan(&mut self, manifest: Manifest, selection: &Selection) -> Left<Manifest> {
        let secrets = self.recorder.hidden_by_now();
        if !self.scan_artifacts || secrets.is_empty() {
            return Some(manifest);
        }
        let manifest = Arc::new(manifest);
        let (theirs, stop) = (Arc::clone(&manifest), self.stop.clone());
        let scanning = tokio::task::spawn_blocking(move || {
            scan::scan(&theirs, &secrets, &|| stop.is_requested())
        });
        let found = self.attend(scanning).await?.unwrap_or_default();
        for warning in scan::warnings(selection.identifier.as_deref(), &found) {
            self.record(EventKind::Warning(warning));
        }
        Some(
            Arc::into_inner(manifest)
                .expect("invariant: the scan is over, and has dropped its own"),
        )
    }

    /// Makes what may be selected readable here.
    pub(super) async fn bring<S: Session>(
        &mut self,
        session: &mut S,
        starts: &[PathBuf],
    ) -> Left<Result<(), Failure>> {
        let brought = self.attend(session.bring(starts)).await?;
        self.pass_on(session.notes());
        Some(match brought {
            Ok(mounts) => {
                self.workspace.mounts = mounts;
                Ok(())
            }
            Err(error) => Err(Failure {
                status: Status::Fault,
                context: broken(&error),
            }),
        })
    }

    /// Expands texts in the state that the last command left (ART-8).
    pub(super) async fn expand_texts<S: Session>(
        &mut self,
        session: &mut S,
        all: &[&Expandable],
    ) -> Left<Result<Vec<OsString>, Failure>> {
        let texts: Vec<&str> = all.iter().map(|text| text.text.as_str()).collect();
        let output = self.output.clone();
        let mut cancel = self.cancel.subscribe();
        let expanded = self
            .attend(session.expand(&texts, &output, &mut cancel))
            .await?;
        Some(match expanded {
            Ok(Ok(results)) => Ok(results),
            Ok(Err(failure)) => {
                let text = all[failure.index];
                let message = format!(
                    "could not expand `{}`: {}",
                    text.text,
                    failure.exit.describe()
                );
                let mut failure = Failure::build(message);
                failure.context = failure
                    .context
                    .at(text.place)
                    .with_help("the last command in it failed; its output stands above");
                Err(failure)
            }
            Err(error) => Err(Failure {
                status: Status::Fault,
                context: broken(&error),
            }),
        })
    }

    /// Expands every text of an artifact in the state that the last command left (ART-8).
    async fn expand<S: Session>(
        &mut self,
        session: &mut S,
        artifact: &ArtifactPlan,
    ) -> Left<Result<Expanded, Failure>> {
        let name = match &artifact.name {
            ArtifactName::Expanded(name) => Some(name),
            ArtifactName::Fixed(_) => None,
        };
        let all: Vec<&Expandable> = artifact
            .base_directory
            .iter()
            .chain(&artifact.files)
            .chain(&artifact.exclude_paths)
            .chain(name)
            .chain(&artifact.s3_prefix)
            .collect();
        let mut results = match self.expand_texts(session, &all).await? {
            Ok(results) => results.into_iter(),
            Err(failure) => return Some(Err(failure)),
        };
        let mut take = |count: usize| results.by_ref().take(count).collect::<Vec<OsString>>();
        let base_directory = take(artifact.base_directory.iter().count()).pop();
        let files = take(artifact.files.len());
        let exclude_paths = take(artifact.exclude_paths.len());
        let expanded_name = take(name.iter().count()).pop();
        let s3_prefix = take(artifact.s3_prefix.iter().count()).pop();
        let places = artifact.files.iter().map(|file| file.place);
        let name = match (&artifact.name, expanded_name) {
            (_, Some(expanded)) => match expanded.into_string() {
                Ok(name) => name,
                Err(_) => {
                    return Some(Err(Failure::build(
                        "the artifact name is not UTF-8 after expansion",
                    )));
                }
            },
            (ArtifactName::Fixed(name), None) => name.clone(),
            (ArtifactName::Expanded(name), None) => name.text.clone(),
        };
        Some(Ok(Expanded {
            selection: Selection {
                identifier: artifact
                    .identifier
                    .as_ref()
                    .map(|identifier| identifier.as_str().to_owned()),
                base_directory,
                files: files.into_iter().zip(places).collect(),
                exclude_paths,
                discard_paths: artifact.discard_paths,
                // Only an archive can hold a symlink.
                keep_symlinks: artifact.enable_symlinks && artifact.packaging == Packaging::Zip,
            },
            name,
            s3_prefix: s3_prefix.map(|prefix| prefix.to_string_lossy().into_owned()),
        }))
    }

    fn key(plan: &Plan, artifact: &ArtifactPlan, expanded: &Expanded) -> Result<String, Failure> {
        let place = Place {
            identifier: match &artifact.name {
                ArtifactName::Expanded(_) => expanded.selection.identifier.as_deref(),
                ArtifactName::Fixed(_) => None,
            },
            s3_prefix: expanded.s3_prefix.as_deref(),
            ..place(plan, artifact, &expanded.name)
        };
        place::key(&place).map_err(|error| {
            let mut failure = Failure::build(error.to_string());
            failure.context.place = name_place(artifact);
            if failure.context.place.is_some() {
                failure.context.help =
                    Some("check the variables in it, or pass `--artifact-name`".to_owned());
            }
            failure
        })
    }

    /// Gives an artifact its place, unless another one of this build has it already: one would replace the other (ART-24).
    fn take_place(&mut self, key: String, artifact: &ArtifactPlan) -> Result<String, Failure> {
        let taken = self.places.iter().find(|(place, _)| *place == key);
        if let Some((_, other)) = taken {
            let other = match other {
                Some(other) => format!("the secondary artifact `{}`", other.as_str()),
                None => "the primary artifact".to_owned(),
            };
            let mut failure = Failure::build(format!("`{key}` is the place of {other} already"));
            failure.context.place = name_place(artifact);
            failure.context.help = Some(
                "give one of them another `name`, or the primary one `--artifact-name`".to_owned(),
            );
            return Err(failure);
        }
        self.places.push((key.clone(), artifact.identifier.clone()));
        Ok(key)
    }

    fn not_selected(error: &SelectError, artifact: &ArtifactPlan) -> Failure {
        match error {
            SelectError::NoBaseDirectory { .. } => {
                let mut failure = Failure::build(error.to_string());
                failure.context.place = artifact.base_directory.as_ref().map(|text| text.place);
                failure.context.help = Some(
                    "it is looked for below the source directory, wherever the last command went"
                        .to_owned(),
                );
                failure
            }
            SelectError::NothingMatched { excluded } => {
                let mut failure = Failure::build(error.to_string());
                failure.context.help = excluded
                    .as_ref()
                    .map(|matched| format!("`exclude-paths` takes everything away: {matched}"));
                failure
            }
            SelectError::Pattern { .. } | SelectError::Stopped => Failure::build(error.to_string()),
            SelectError::Read { source, .. } => Failure::build(format!("{error}: {source}")),
        }
    }

    fn not_stored(error: &upload::Error) -> Failure {
        if error.is_stopped() {
            return Failure::build("stopped");
        }
        let in_phase = |message: &str| format!("Error in UPLOAD_ARTIFACTS phase: {message}");
        match error {
            upload::Error::Archive(crate::artifact::archive::Error::Read { source, .. }) => {
                Failure::build(in_phase(&format!("{error}: {source}")))
            }
            upload::Error::Archive(_) => {
                let cause = std::error::Error::source(error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let context =
                    PhaseContext::environment(CLIENT_ERROR, in_phase(&format!("{error}: {cause}")));
                Failure {
                    status: Status::Fault,
                    context,
                }
            }
            upload::Error::Store(error) => {
                let message = in_phase(&error.message);
                not_stored(error, message)
            }
        }
    }
}

/// What becomes of a build whose store says this (ART-14).
pub(super) fn not_stored(error: &store::Error, message: String) -> Failure {
    let mut failure = match error.kind {
        store::ErrorKind::Source => Failure::build(message),
        // No answer, no room, not what was sent, or not where it was meant to go.
        store::ErrorKind::Unreachable
        | store::ErrorKind::NoSpace
        | store::ErrorKind::Mismatch
        | store::ErrorKind::Link => Failure {
            status: Status::Fault,
            context: PhaseContext::environment(CLIENT_ERROR, message),
        },
        _ => Failure {
            status: Status::Failed,
            context: PhaseContext::environment(CLIENT_ERROR, message),
        },
    };
    failure.context.help.clone_from(&error.help);
    failure
}

/// Where an artifact of this name goes.
pub(super) fn place<'p>(plan: &'p Plan, artifact: &ArtifactPlan, name: &'p str) -> Place<'p> {
    Place {
        path: match &plan.artifact_location {
            ArtifactLocation::Directory(_) => "",
            ArtifactLocation::S3 { path, .. } => path,
        },
        namespace_type: artifact.namespace_type,
        build_uuid: &plan.build_uuid,
        identifier: None,
        name,
        s3_prefix: None,
        packaging: artifact.packaging,
    }
}

fn name_place(artifact: &ArtifactPlan) -> Option<LineColumn> {
    match &artifact.name {
        ArtifactName::Expanded(name) => Some(name.place),
        ArtifactName::Fixed(_) => None,
    }
}

fn build_arn(plan: &Plan) -> String {
    let arn = plan
        .environment
        .iter()
        .find(|variable| variable.name == "CODEBUILD_BUILD_ARN");
    arn.map(|variable| variable.value.to_string_lossy().into_owned())
        .unwrap_or_default()
}
