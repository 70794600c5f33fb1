//! How a build goes, told once more from the spec alone: what the program does is compared with it.

use buildspec_runner::phase::{CommandPhase, OnFailure, Phase, RetryScope, Status};
use buildspec_runner::plan::CommandList;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Fine,
    Leak,
    Fail(u8),
    /// It fails until there were so many retries.
    Flaky(usize),
    Fault,
    /// So many wishes to stop come while it runs; it ends when asked, or only by force.
    Stop {
        wishes: usize,
        hard: bool,
    },
    /// It runs until the time limit.
    Hang {
        hard: bool,
    },
}

/// What becomes of the artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Artifacts {
    None,
    There,
    Missing,
}

#[derive(Clone, Debug)]
pub(super) struct Lists {
    pub(super) commands: Vec<Doing>,
    pub(super) finally: Vec<Doing>,
    pub(super) on_failure: Option<OnFailure>,
}

#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) phases: [Lists; 4],
    pub(super) artifacts: Artifacts,
    /// What a retry runs again.
    pub(super) scope: RetryScope,
    /// Whether there is a place to run commands.
    pub(super) broken: bool,
    /// How many wishes to stop come when it is over and clears up behind itself. They change nothing.
    pub(super) late_wishes: usize,
}

/// A command that is run, and what it sees as `CODEBUILD_BUILD_SUCCEEDING`.
pub(super) type Ran = (CommandPhase, CommandList, usize, bool);

/// How a build goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) ran: Vec<Ran>,
    /// Phases, how they end, and whether that aborts the build.
    pub(super) phases: Vec<(Phase, Status, bool)>,
    /// Phases whose failure was followed by a retry.
    pub(super) retries: Vec<CommandPhase>,
    /// How the build ends; nothing if it is left.
    pub(super) end: Option<Status>,
}

/// Why a phase is over before its end.
enum Cut {
    Off(Status),
    Left,
}

impl Build {
    /// How the spec has it go, told once more from the spec alone.
    pub(super) fn story(&self) -> Story {
        let mut story = Story::default();
        if self.broken {
            story
                .phases
                .push((Phase::DownloadSource, Status::Fault, false));
            story.end = Some(Status::Fault);
            return story;
        }
        while self.attempt(&mut story) {}
        story
    }

    /// An attempt at the whole build; whether another one follows.
    fn attempt(&self, story: &mut Story) -> bool {
        story
            .phases
            .push((Phase::DownloadSource, Status::Succeeded, false));
        let mut well = true;
        let mut phases = CommandPhase::ALL.into_iter().zip(&self.phases).peekable();
        while let Some(&(name, lists)) = phases.peek() {
            let well_before = well;
            let mut failed = false;
            for (list, commands) in [
                (CommandList::Commands, &lists.commands),
                (CommandList::Finally, &lists.finally),
            ] {
                match story.run(name, list, commands, &mut well) {
                    Ok(all) => failed |= !all,
                    Err(Cut::Left) => return false,
                    Err(Cut::Off(status)) => {
                        story.phases.push((name.phase(), status, false));
                        // The first phase that did not succeed is how the build ends, unless somebody ended it.
                        let faulted_late = status == Status::Fault && !well_before;
                        story.end = Some(if faulted_late { Status::Failed } else { status });
                        return false;
                    }
                }
            }
            if failed && lists.has_retry_after(&story.retries, name) {
                story.phases.push((name.phase(), Status::Failed, false));
                story.retries.push(name);
                if self.scope == RetryScope::Build {
                    return true;
                }
                well = well_before;
                continue;
            }
            phases.next();
            let aborts = failed && lists.on_failure == Some(OnFailure::Abort);
            let status = if failed {
                Status::Failed
            } else {
                Status::Succeeded
            };
            story.phases.push((name.phase(), status, aborts));
            let early = matches!(name, CommandPhase::Install | CommandPhase::PreBuild);
            let over = early && lists.on_failure != Some(OnFailure::Continue);
            if aborts || (failed && over) {
                story.end = Some(Status::Failed);
                return false;
            }
        }
        let stored = self.artifacts != Artifacts::Missing;
        let status = if stored {
            Status::Succeeded
        } else {
            Status::Failed
        };
        story.phases.push((Phase::UploadArtifacts, status, false));
        story.end = Some(if well { status } else { Status::Failed });
        false
    }
}

impl Lists {
    /// Whether a failure of this phase is followed by one more retry. Every message is one that calls for it.
    fn has_retry_after(&self, retries: &[CommandPhase], name: CommandPhase) -> bool {
        let used = retries.iter().filter(|phase| **phase == name).count();
        match &self.on_failure {
            Some(OnFailure::Retry(retry)) => used < usize::from(retry.count),
            _ => false,
        }
    }
}

impl Story {
    /// Runs a list up to its first failure; whether all went well.
    fn run(
        &mut self,
        phase: CommandPhase,
        list: CommandList,
        commands: &[Doing],
        well: &mut bool,
    ) -> Result<bool, Cut> {
        for (place, doing) in commands.iter().enumerate() {
            self.ran.push((phase, list, place, *well));
            match doing {
                Doing::Flaky(retries) if self.retries.len() < *retries => {
                    *well = false;
                    return Ok(false);
                }
                Doing::Fine | Doing::Leak | Doing::Flaky(_) => {}
                Doing::Fail(_) => {
                    *well = false;
                    return Ok(false);
                }
                Doing::Fault => return Err(Cut::Off(Status::Fault)),
                Doing::Stop { wishes: 3.., .. } => return Err(Cut::Left),
                Doing::Stop { .. } => return Err(Cut::Off(Status::Stopped)),
                Doing::Hang { .. } => return Err(Cut::Off(Status::TimedOut)),
            }
        }
        Ok(true)
    }
}
