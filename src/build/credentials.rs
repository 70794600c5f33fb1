//! Credentials that the commands of a build are served, before anything else is done (CRED-2).

use std::sync::Arc;

use super::drive::{Driver, Left};
use super::machine::Input;
use crate::credentials::Keeper;
use crate::phase::{CLIENT_ERROR, PhaseContext, Status};

impl Driver {
    /// Sees to it that there are credentials: a role that cannot be taken on is known now, and not after twenty minutes.
    /// `Some` is what the build has to end with.
    pub(super) async fn take_credentials(
        &mut self,
        keeper: Option<&Arc<Keeper>>,
    ) -> Left<Option<Input>> {
        let Some(keeper) = keeper else {
            return Some(None);
        };
        let stop = self.stop.clone();
        let getting = async {
            tokio::select! {
                got = keeper.get() => Some(got),
                () = stop.requested() => None,
            }
        };
        Some(match self.attend(Box::pin(getting)).await? {
            // What the build ends with has been decided by whoever stopped it.
            None => Some(Input::Ready),
            Some(Ok(_)) => None,
            Some(Err(error)) => {
                let context = PhaseContext::environment(CLIENT_ERROR, error.to_string());
                Some(Input::NotReady(
                    Status::Failed,
                    context.with_help(error.help),
                ))
            }
        })
    }
}
