//! A whole build once more, after a failure that calls for it (PHASE-14 to PHASE-17).

use super::drive::{Driver, Found, Left, describe};
use super::machine::Input;
use crate::event::{EventKind, Retried, SourceReady, Warning};
use crate::exec::{Escalation, Executor, Keep, Session};
use crate::fetch::Originals;
use crate::phase::{CLIENT_ERROR, Phase, PhaseContext, RetryScope, Status};
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
        // A copy of the sources goes with its place, and the next place has another one.
        let has_copies = session.as_mut().is_some_and(Session::discard);
        if is_first && !has_copies {
            self.warn_of_what_stays(found);
        }
        // The place that is kept for a person is that of the last attempt.
        let keep = std::mem::replace(&mut self.keep, Keep::Never);
        self.close(session, Status::Failed).await?;
        self.keep = keep;
        self.start_phase(Phase::DownloadSource);
        let made_new = if has_copies {
            Ok(())
        } else {
            self.put_originals_back().await?
        };
        self.tell_of(found);
        self.record(EventKind::BuildspecRead(describe(plan)));
        // Whoever asked for the end meanwhile does not wait for another place.
        if *self.cancel.borrow() > Escalation::None {
            return Some(Some(Input::Ready));
        }
        if let Err(context) = made_new {
            return Some(Some(Input::NotReady(Status::Fault, context)));
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

    /// Keeps the build's own sources as they are, if a retry may want them. Where that cannot be done, a retry finds them as
    /// a failed attempt left them, and the build goes on.
    pub(super) async fn keep_originals(&mut self, plan: &Plan, found: &Found) -> Left<()> {
        if found.own.is_empty() || !plan.may_begin_again() {
            return Some(());
        }
        let directories = found.own.iter().map(|(_, directory)| directory.clone());
        let place = self.temporary_directory.clone();
        let keeping = Originals::keep(directories.collect(), &place);
        match self.unless_ended(keeping).await? {
            Some(Ok(originals)) => self.originals = Some(originals),
            Some(Err(error)) => self.record(EventKind::Warning(Warning::new(format!(
                "what was fetched could not be copied to {} for a retry, which will find it as the failed attempt left it: {error}",
                place.display()
            )))),
            None => {}
        }
        Some(())
    }

    /// Makes the build's own sources what they were when it began.
    async fn put_originals_back(&mut self) -> Left<Result<(), PhaseContext>> {
        let Some(originals) = self.originals.take() else {
            return Some(Ok(()));
        };
        let put_back = self.unless_ended(originals.put_back()).await?;
        self.originals = Some(originals);
        Some(put_back.unwrap_or(Ok(())).map_err(|error| {
            PhaseContext::environment(
                CLIENT_ERROR,
                format!("could not make the source new for a retry: {error}"),
            )
            .with_help("its copy is where temporary files are: see that there is room, and that commands leave alone what is not theirs")
        }))
    }

    /// Waits for work, but no longer than until somebody asks for the end: then it is `None`.
    async fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Left<Option<T>> {
        let ended = self.asked(Escalation::Terminate);
        self.attend(async {
            tokio::select! {
                biased;
                done = work => Some(done),
                () = ended => None,
            }
        })
        .await
    }

    /// Says which sources a retry finds as the failed attempt left them: those that are not the build's own (PHASE-17).
    fn warn_of_what_stays(&mut self, found: &Found) {
        let is_own = |source: &SourceReady| {
            let mut own = found.own.iter();
            self.originals.is_some() && own.any(|(identifier, _)| *identifier == source.identifier)
        };
        let stays: Vec<Option<&str>> = found
            .sources
            .iter()
            .filter(|source| !is_own(source))
            .map(|source| source.identifier.as_deref())
            .collect();
        let message = match stays.as_slice() {
            [] => return,
            [None, ..] => "the retry finds the source directory as the failed attempt left it: it cannot be made new, as CodeBuild makes it".to_owned(),
            others => {
                let names: Vec<String> = others
                    .iter()
                    .map(|name| format!("`{}`", name.unwrap_or_default()))
                    .collect();
                format!(
                    "the retry finds the directory of {} as the failed attempt left it: it cannot be made new, as CodeBuild makes it",
                    names.join(", ")
                )
            }
        };
        self.record(EventKind::Warning(Warning::new(message)));
    }
}
