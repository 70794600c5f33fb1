//! A whole build once more, after a failure that calls for it (PHASE-14 to PHASE-17).

use super::drive::{Driver, Found, Left, describe};
use super::machine::Input;
use crate::event::{EventKind, Retried, Warning};
use crate::exec::{Escalation, Executor, Keep};
use crate::phase::{Phase, RetryScope, Status};
use crate::plan::Plan;

impl Driver {
    /// Tells of a retry. `Some` is what came of making everything ready for a whole build again: a place of its own, with
    /// the variables of the first command. What was fetched is not fetched again.
    pub(super) async fn retry<E: Executor>(
        &mut self,
        executor: &E,
        (plan, found): (&Plan, &Found),
        retried: Retried,
        session: &mut Option<E::Session>,
    ) -> Left<Option<Input>> {
        let (scope, is_first) = (retried.scope, self.outcome.retries == 0);
        self.record(EventKind::Retried(retried));
        if scope == RetryScope::Phase {
            return Some(None);
        }
        if is_first {
            self.record(EventKind::Warning(Warning::new(
                "the retry finds the source directory as the failed attempt left it: it cannot be made new, as CodeBuild makes it",
            )));
        }
        // The place that is kept for a person is that of the last attempt.
        let keep = std::mem::replace(&mut self.keep, Keep::Never);
        self.close(session, Status::Failed).await?;
        self.keep = keep;
        self.start_phase(Phase::DownloadSource);
        self.tell_of(found);
        self.record(EventKind::BuildspecRead(describe(plan)));
        // Whoever asked for the end meanwhile does not wait for another place.
        if *self.cancel.borrow() > Escalation::None {
            return Some(Some(Input::Ready));
        }
        let opened = self.open(executor, plan).await?;
        let mut input = self.opened(plan, opened, session);
        if let (Input::Ready, Some(session)) = (&input, session.as_mut()) {
            input = self.install_runtimes(session, plan).await?;
            if let Input::Ready = input {
                self.restore_cache(session, plan).await?;
            }
        }
        Some(Some(input))
    }
}
