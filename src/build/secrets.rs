//! Values that lie with AWS, before the first command (ENV-23 to ENV-28).

use std::ffi::OsString;

use super::drive::{Driver, Left};
use super::machine::Input;
use crate::env::{self, Origin};
use crate::event::{EventKind, Warning};
use crate::phase::{PhaseContext, Status};
use crate::plan::Plan;
use crate::redact;
use crate::secret::{Error, Fetched, SecretSource};

impl Driver {
    /// Gets the values of a plan's secrets, hides them from everything that is recorded from now on, and only then makes
    /// variables of them. `Some` is what the build has to end with.
    pub(super) async fn fetch_secrets(
        &mut self,
        source: &SecretSource,
        plan: &mut Plan,
    ) -> Left<Option<Input>> {
        if plan.secrets.is_empty() {
            return Some(None);
        }
        let stop = self.stop.clone();
        let fetching = async {
            tokio::select! {
                fetched = source.fetch(&plan.secrets) => Some(fetched),
                () = stop.requested() => None,
            }
        };
        let names: Vec<&str> = plan.secrets.iter().map(|secret| &*secret.name).collect();
        let what = format!("AWS, which has the values of {}", some_of(&names));
        let fetched = self.attend_telling(&what, Box::pin(fetching)).await?;
        match fetched {
            // What the build ends with has been decided by whoever stopped it.
            None => Some(Some(Input::Ready)),
            Some(Err(error)) => Some(Some(Input::NotReady(Status::Failed, context(&error)))),
            Some(Ok(fetched)) => {
                self.hide(&fetched);
                for Fetched { name, value } in fetched {
                    let planned = plan.secrets.iter().find(|secret| secret.name == name);
                    let origin = planned.map_or(Origin::Buildspec, |secret| secret.origin);
                    env::set_late(&mut plan.environment, origin, &name, OsString::from(value));
                }
                Some(None)
            }
        }
    }

    fn hide(&mut self, fetched: &[Fetched]) {
        let values = fetched.iter().map(|fetched| fetched.value.as_bytes());
        self.recorder.hide(values.flat_map(redact::forms));
        for Fetched { name, value } in fetched {
            if !value.is_empty() && value.len() < redact::SHORTEST {
                let shortest = redact::SHORTEST;
                let warning = Warning::new(format!(
                    "the value of {name} is shorter than {shortest} bytes and is not hidden in the log: it would hide ordinary text everywhere"
                ));
                self.record(EventKind::Warning(warning));
            }
        }
    }
}

/// A few names, and how many more there are.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn context(error: &Error) -> PhaseContext {
    let first = error.first();
    PhaseContext::environment(first.status_code, &first.message).with_help(error.help())
}
