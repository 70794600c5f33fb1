//! Credentials that the commands of a build are given, before anything else is done (CRED-2, CRED-28).

use std::sync::Arc;

use super::drive::{Driver, Left};
use super::machine::Input;
use crate::credentials::Keeper;
use crate::git_credential;
use crate::phase::{CLIENT_ERROR, PhaseContext, Status};

/// What has the credentials that the commands of a build are given.
#[derive(Clone, Debug, Default)]
pub struct CommandCredentials {
    /// AWS's, if they are served.
    pub aws: Option<Arc<Keeper>>,
    /// Git's, if the buildspec asks for them.
    pub git: Option<Arc<git_credential::Keeper>>,
}

impl CommandCredentials {
    /// Whether they can be had; else what is wrong, and what to do.
    async fn check(&self) -> Result<(), (String, String)> {
        if let Some(keeper) = &self.aws {
            let got = keeper.get().await;
            got.map_err(|error| (error.to_string(), error.help))?;
        }
        if let Some(keeper) = &self.git {
            keeper
                .check()
                .await
                .map_err(|why| (why, GIT_HELP.to_owned()))?;
        }
        Ok(())
    }
}

const GIT_HELP: &str = "check what `--git-credential` says, and that the build's credentials of AWS may read the secret";

impl Driver {
    /// Sees to it that there are credentials: a role that cannot be taken on is known now, and not after twenty minutes.
    /// `Some` is what the build has to end with.
    pub(super) async fn take_credentials(
        &mut self,
        given: &CommandCredentials,
    ) -> Left<Option<Input>> {
        if given.aws.is_none() && given.git.is_none() {
            return Some(None);
        }
        let stop = self.stop.clone();
        let checking = async {
            tokio::select! {
                checked = given.check() => Some(checked),
                () = stop.requested() => None,
            }
        };
        Some(match self.attend(Box::pin(checking)).await? {
            // What the build ends with has been decided by whoever stopped it.
            None => Some(Input::Ready),
            Some(Ok(())) => None,
            Some(Err((message, help))) => {
                let context = PhaseContext::environment(CLIENT_ERROR, message);
                Some(Input::NotReady(Status::Failed, context.with_help(help)))
            }
        })
    }
}
