//! Runtimes of the build image, selected before the first phase with commands (RUN-1 to RUN-5).

use std::path::Path;

use tokio::sync::mpsc;

use super::drive::{Driver, Left, broken};
use super::machine::Input;
use crate::event::{EventKind, Exit, Warning};
use crate::exec::{self, Session};
use crate::phase::{COMMAND_EXECUTION_ERROR, PhaseContext, Status};
use crate::plan::{Plan, RuntimePlan, RuntimeSource};
use crate::runtime::{Install, MAX_TABLE, TABLE_PATH, Table};

/// Chunks of output that wait to be kept.
const OUTPUT_CHUNKS: usize = 16;

/// What is kept of the output of a runtime's command, for the case that it fails, in bytes.
const KEPT_OUTPUT: usize = 16 * 1024;

/// CodeBuild's words.
const NO_TABLE: &str =
    "Skipping install of runtimes. Runtime version selection is not supported by this build image";

impl Driver {
    /// Selects the runtimes that the buildspec names, if the image is to bring them.
    pub(super) async fn install_runtimes<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
    ) -> Left<Input> {
        let (RuntimeSource::Image { strict }, Some(first)) =
            (plan.runtime_source, plan.runtime_versions.first())
        else {
            return Some(Input::Ready);
        };
        let reading = session.read_file(Path::new(TABLE_PATH), MAX_TABLE);
        let table = match self.attend(reading).await? {
            Ok(Some(table)) => table,
            Ok(None) => return Some(self.without_table(strict, first)),
            Err(error) => return Some(Input::NotReady(Status::Fault, broken(&error))),
        };
        let table = match Table::parse(&table) {
            Ok(table) => table,
            Err(problem) => {
                let message = format!("could not read the image's {TABLE_PATH}: {problem}");
                let context = PhaseContext::environment(crate::phase::CLIENT_ERROR, message);
                return Some(Input::NotReady(Status::Fault, context));
            }
        };
        let asked = match self.expand_versions(session, plan).await? {
            Ok(asked) => asked,
            Err(input) => return Some(input),
        };
        let (choices, installs) = table.select(&asked);
        for choice in choices {
            self.record(EventKind::RuntimeChosen(choice));
        }
        match installs {
            Ok(installs) => self.run_installs(session, &installs).await,
            Err(problem) => {
                let context = PhaseContext::buildspec(problem.to_string()).at(first.place);
                Some(Input::NotReady(Status::Failed, context))
            }
        }
    }

    /// An image that selects nothing has what it has (RUN-7).
    fn without_table(&mut self, strict: bool, first: &RuntimePlan) -> Input {
        self.record(EventKind::RuntimesSkipped);
        let message = format!("`runtime-versions` are not selected: the image has no {TABLE_PATH}");
        let help = "the tools that are in the image are used; choose one of AWS's images, or remove `runtime-versions`";
        if strict {
            let context = PhaseContext::buildspec(NO_TABLE).with_help(help);
            return Input::NotReady(Status::Failed, context.at(first.place));
        }
        let warning = Warning::new(message).with_help(help).at(first.place);
        self.record(EventKind::Warning(warning));
        Input::Ready
    }

    /// Variables in versions, as the first command would see them: those of the image count too.
    async fn expand_versions<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
    ) -> Left<Result<Vec<(String, String)>, Input>> {
        let texts: Vec<&str> = plan
            .runtime_versions
            .iter()
            .map(|runtime| runtime.version.as_str())
            .collect();
        let output = self.output.clone();
        let mut cancel = self.cancel.subscribe();
        let expanded = self
            .attend(session.expand(&texts, &output, &mut cancel))
            .await?;
        Some(match expanded {
            Ok(Ok(versions)) => {
                let versions = versions.iter().map(|version| version.to_string_lossy());
                let names = plan.runtime_versions.iter();
                let pairs = names.zip(versions);
                Ok(pairs
                    .map(|(runtime, version)| (runtime.runtime.clone(), version.into_owned()))
                    .collect())
            }
            Ok(Err(failure)) => {
                let runtime = &plan.runtime_versions[failure.index];
                let message = format!(
                    "the version `{}` of {} could not be expanded: {}",
                    runtime.version,
                    runtime.runtime,
                    failure.exit.describe()
                );
                let context = PhaseContext::buildspec(message).at(runtime.place);
                Err(Input::NotReady(Status::Failed, context))
            }
            Err(error) => Err(Input::NotReady(Status::Fault, broken(&error))),
        })
    }

    /// Runs the image's commands. As on CodeBuild nothing is seen of them, unless one fails.
    async fn run_installs<S: Session>(
        &mut self,
        session: &mut S,
        installs: &[Install],
    ) -> Left<Input> {
        for Install { runtime, command } in installs {
            let order = exec::Command {
                text: command,
                succeeding: true,
                user: None,
            };
            let mut cancel = self.cancel.subscribe();
            let (output, chunks) = mpsc::channel(OUTPUT_CHUNKS);
            let keeping = tokio::spawn(keep(chunks));
            let ended = self
                .attend(session.run(order, &output, &mut cancel))
                .await?;
            drop(output);
            let exit = match ended {
                Ok(end) => end.exit,
                Err(error) => return Some(Input::NotReady(Status::Fault, broken(&error))),
            };
            if !exit.is_success() {
                let kept = keeping.await.unwrap_or_default();
                return Some(self.install_failed(runtime, command, exit, kept));
            }
        }
        Some(Input::Ready)
    }

    fn install_failed(
        &mut self,
        runtime: &str,
        command: &str,
        exit: Exit,
        output: Vec<u8>,
    ) -> Input {
        if !output.is_empty() {
            self.recorder.output(output);
        }
        let message = format!(
            "Error while executing command: {command}. Reason: {}",
            exit.describe()
        );
        let help = format!("the command stands in the image's {TABLE_PATH}, for {runtime}");
        let context = PhaseContext::build(COMMAND_EXECUTION_ERROR, message).with_help(help);
        Input::NotReady(Status::Failed, context)
    }
}

/// The last of what is written.
async fn keep(mut chunks: mpsc::Receiver<Vec<u8>>) -> Vec<u8> {
    let mut kept: Vec<u8> = Vec::new();
    let mut cut = false;
    while let Some(chunk) = chunks.recv().await {
        kept.extend_from_slice(&chunk);
        let over = kept.len().saturating_sub(KEPT_OUTPUT);
        cut |= over > 0;
        kept.drain(..over);
    }
    if cut {
        // The end of a secret would not be known for one.
        let line = kept.iter().position(|byte| *byte == b'\n');
        kept.drain(..line.map_or(kept.len(), |at| at + 1));
    }
    kept
}
