//! `runner shell`: enters the container of a build that was kept (CTR-31, CTR-32), or a build that waits at a breakpoint
//! (TOOL-35).

use std::path::PathBuf;
use std::time::SystemTime;

use super::args::ShellArgs;
use super::{complain, debug_session, engine, mistake, print, start, terminal, usage};
use crate::build::ExitCode;
use crate::engine::{Engine, Error};
use crate::event::{Exit, stamp};
use crate::exec::Escalation;
use crate::exec::container;
use crate::exec::container::leftovers::{self, BuildContainer, Standing};
use crate::ownership::Owner;
use crate::tool::{self, Visited, Waiting};
use crate::units::render_duration;

const NO_TERMINAL: &str = "a shell needs a terminal: standard input and standard output are none";

/// Enters a container, or lists those that can be entered.
pub(super) fn shell(args: &ShellArgs) -> ExitCode {
    let runtime = match start::begin() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let code = runtime.block_on(async {
        let waiting = waiting().await;
        // What waits needs no engine to be entered.
        if let Some(wanted) = &args.build
            && let Some(build) = waits(&waiting, wanted)
        {
            return visit(build).await;
        }
        let kept = kept().await;
        let (engine, kept) = match (kept, &args.build) {
            (Ok((engine, kept)), _) => (Some(engine), kept),
            (Err(_), None) if !waiting.is_empty() => (None, Vec::new()),
            (Err(error), _) => {
                complain(&engine::complaint(&error));
                return ExitCode::Fault;
            }
        };
        match (&args.build, &engine) {
            (Some(wanted), Some(engine)) => match find(&kept, wanted) {
                Ok(build) => enter(engine, build).await,
                Err(mistake) => usage(&mistake),
            },
            _ => list(&kept, &waiting),
        }
    });
    runtime.shutdown_background();
    code
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    complain(&format!("error: {error}\n"));
    ExitCode::Fault
}

/// Every container that was kept.
async fn kept() -> Result<(Engine, Vec<BuildContainer>), Error> {
    let engine = engine::connect().await?;
    let mut found = leftovers::list(&engine, Owner::this().as_ref(), stamp()).await?;
    found.retain(|container| container.standing == Standing::Kept);
    Ok((engine, found))
}

/// Builds that wait at a breakpoint, with the sockets of their debug sessions.
async fn waiting() -> Vec<(PathBuf, Waiting)> {
    let mut found = debug_session::find().await;
    found.retain(|(_, build)| build.breakpoints > 0);
    found
}

/// The one build that waits which a person means.
fn waits<'w>(waiting: &'w [(PathBuf, Waiting)], wanted: &str) -> Option<&'w (PathBuf, Waiting)> {
    let mut meant = waiting.iter().filter(|(_, one)| means(&one.build, wanted));
    meant.next().filter(|_| meant.next().is_none())
}

/// Gives a shell where a command waits.
async fn visit((socket, build): &(PathBuf, Waiting)) -> ExitCode {
    let Some(terminal) = terminal::interactive() else {
        return usage(&mistake(NO_TERMINAL));
    };
    terminal
        .say("`codebuild-resume` lets the build go on; when this shell ends without it, the build still waits")
        .await;
    match tool::visit(socket, &terminal).await {
        Ok(Visited::Ended(code)) => ExitCode::Shell(code),
        Ok(Visited::Over) => {
            complain("the command at the breakpoint waits no longer\n");
            ExitCode::Succeeded
        }
        Ok(Visited::Refused(why)) => failed(&why),
        Err(error) => {
            complain(&format!(
                "error: could not enter {}: {error}\n",
                build.build
            ));
            ExitCode::Fault
        }
    }
}

fn list(kept: &[BuildContainer], waiting: &[(PathBuf, Waiting)]) -> ExitCode {
    if kept.is_empty() && waiting.is_empty() {
        complain(
            "no container is kept and no build waits: run a build with `--keep on-failure` or `--keep always`, or with `--debug-session`\n",
        );
        return ExitCode::Succeeded;
    }
    let mut text = String::new();
    for (_, one) in waiting {
        text.push_str(&one.build);
        text.push_str("  waits at a breakpoint\n");
    }
    text.push_str(&table(kept, stamp()));
    print(text.as_bytes())
}

/// Builds with what tells them apart.
fn table(kept: &[BuildContainer], now: SystemTime) -> String {
    let widest = kept.iter().map(|one| one.build.len()).max().unwrap_or(0);
    let row = |one: &BuildContainer| {
        let ended = if one.running {
            ""
        } else {
            "  (does not run any more)"
        };
        format!(
            "{:widest$}  {:>8}  {}{ended}\n",
            one.build,
            age(one.created, now),
            one.image
        )
    };
    kept.iter().map(row).collect()
}

/// How old something is, in whole seconds and larger units.
pub(super) fn age(created: SystemTime, now: SystemTime) -> String {
    let age = now.duration_since(created).unwrap_or_default();
    match age.as_secs() {
        0 => "less than a second".to_owned(),
        seconds @ 1..60 => format!("{seconds}s"),
        seconds => render_duration(std::time::Duration::from_secs(seconds)),
    }
}

/// Whether a person means a build by the beginning of its id or number.
fn means(build: &str, wanted: &str) -> bool {
    let uuid = build.rsplit(':').next().unwrap_or_default();
    !wanted.is_empty() && (build.starts_with(wanted) || uuid.starts_with(wanted))
}

/// The one build that a person means.
pub(super) fn find<'k>(
    kept: &'k [BuildContainer],
    wanted: &str,
) -> Result<&'k BuildContainer, clap::Error> {
    let meant = |one: &&BuildContainer| means(&one.build, wanted);
    let exact = kept.iter().find(|one| one.build == wanted);
    let found: Vec<&BuildContainer> = kept.iter().filter(meant).collect();
    match (exact, found.as_slice()) {
        (Some(one), _) => Ok(one),
        (None, [one]) => Ok(*one),
        (None, []) => Err(mistake(format!(
            "there is no kept container of a build `{wanted}`: `runner shell` lists those there are"
        ))),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|one| one.build.as_str()).collect();
            let names = names.join(", ");
            Err(mistake(format!(
                "`{wanted}` is the beginning of several: {names}"
            )))
        }
    }
}

async fn enter(engine: &Engine, build: &BuildContainer) -> ExitCode {
    if !build.running {
        let short = build.build.rsplit(':').next().unwrap_or_default();
        complain(&format!(
            "error: the container of {} does not run any more, and what its last command left was in its memory: remove it with `runner prune {short}`\n",
            build.build
        ));
        return ExitCode::Fault;
    }
    let Some(terminal) = terminal::interactive() else {
        return usage(&mistake(NO_TERMINAL));
    };
    let mut never = tokio::sync::watch::channel(Escalation::None).1;
    match container::enter(engine, &build.id, &terminal, &mut never).await {
        Ok(exit) => code(exit),
        Err(error) => failed(&error),
    }
}

/// What this program ends with when the shell ended so.
fn code(exit: Exit) -> ExitCode {
    match exit {
        Exit::Exited(code) => ExitCode::Shell(u8::try_from(code).unwrap_or(255)),
        Exit::Signalled(signal) => ExitCode::Signal(signal),
        Exit::Unknown => ExitCode::Fault,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // CTR-24
    #[test]
    fn ages_are_whole_seconds_and_more() {
        let now = stamp();
        for (milliseconds, expected) in [
            (0, "less than a second"),
            (999, "less than a second"),
            (1999, "1s"),
            (59_000, "59s"),
            (61_000, "1m01s"),
        ] {
            assert_eq!(
                age(now - Duration::from_millis(milliseconds), now),
                expected
            );
        }
        // A clock that was put back.
        assert_eq!(age(now + Duration::from_mins(1), now), "less than a second");
    }
}
