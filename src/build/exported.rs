//! Exported variables: their values as the last command left them (ENV-40 to ENV-43).

use super::drive::{Driver, Left, broken};
use crate::event::{EventKind, ExportedVariable, Warning};
use crate::exec::{Session, shell};
use crate::phase::{CLIENT_ERROR, PhaseContext};
use crate::plan::{ExportedPlan, Plan};

/// What CodePipeline takes of all output variables of one action together, in bytes.
const MAX_IN_PIPELINE: usize = 122_880;

/// The variable that a command sees before it has decided over it: the machine knows better at the end.
const SUCCEEDING: &str = "CODEBUILD_BUILD_SUCCEEDING";

impl Driver {
    /// Reads the values of a plan's exported variables, once: from then on they are frozen. Gives back why that could not be
    /// done, which no build that is asked for them may pass over.
    pub(super) async fn export<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
    ) -> Left<Result<(), PhaseContext>> {
        if plan.exported.is_empty() || std::mem::replace(&mut self.exported, true) {
            return Some(Ok(()));
        }
        let texts: Vec<String> = plan
            .exported
            .iter()
            .map(|exported| shell::asking(&plan.shell, &exported.name))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let output = self.output.clone();
        let mut cancel = self.cancel.subscribe();
        let read = self
            .attend(session.expand(&texts, &output, &mut cancel))
            .await?;
        let read = match read {
            Ok(Ok(read)) => read,
            Ok(Err(failure)) => {
                let exported = &plan.exported[failure.index];
                let message = format!(
                    "could not read the exported variable {}: {}",
                    exported.name,
                    failure.exit.describe()
                );
                let context = PhaseContext::environment(CLIENT_ERROR, message);
                return Some(Err(context.at(exported.place)));
            }
            Err(error) => return Some(Err(broken(&error))),
        };
        let mut variables = Vec::new();
        for (exported, value) in plan.exported.iter().zip(read) {
            let variable = match value.to_str().map(shell::answer) {
                // What is not set is left out (ENV-41).
                Some(None) => continue,
                Some(Some(value)) => self.exportable(exported, value.to_owned()),
                None => Err("its value is no UTF-8"),
            };
            match variable {
                Ok(variable) => variables.push(variable),
                Err(why) => self.not_exported(exported, why),
            }
        }
        self.warn_of_size(&variables);
        self.record(EventKind::ExportedVariables(variables));
        Some(Ok(()))
    }

    /// A variable that may be seen by everybody.
    fn exportable(
        &self,
        exported: &ExportedPlan,
        value: String,
    ) -> Result<ExportedVariable, &'static str> {
        if self.recorder.gives_away(&value) {
            return Err("there is a secret in its value");
        }
        let value = if exported.name == SUCCEEDING {
            u8::from(self.machine.succeeding()).to_string()
        } else {
            value
        };
        Ok(ExportedVariable {
            name: exported.name.clone(),
            value,
        })
    }

    fn not_exported(&mut self, exported: &ExportedPlan, why: &str) {
        let message = format!("`{}` is not exported: {why}", exported.name);
        self.record(EventKind::Warning(Warning::new(message).at(exported.place)));
    }

    fn warn_of_size(&mut self, variables: &[ExportedVariable]) {
        let size: usize = variables
            .iter()
            .map(|variable| variable.name.len() + variable.value.len())
            .sum();
        if size > MAX_IN_PIPELINE {
            let message = format!(
                "the exported variables have {size} bytes together; CodePipeline takes at most {MAX_IN_PIPELINE}"
            );
            let help = "keep large values in an artifact";
            self.record(EventKind::Warning(Warning::new(message).with_help(help)));
        }
    }
}
