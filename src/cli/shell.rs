//! `runner shell`: enters the container of a build that was kept (CTR-31, CTR-32).

use std::time::SystemTime;

use super::args::ShellArgs;
use super::{complain, engine, mistake, print, terminal, usage};
use crate::build::ExitCode;
use crate::engine::{Engine, Error};
use crate::event::{Exit, stamp};
use crate::exec::Escalation;
use crate::exec::container;
use crate::exec::container::leftovers::{self, BuildContainer, Standing};
use crate::ownership::Owner;
use crate::units::render_duration;

/// Enters a container, or lists those that can be entered.
pub(super) fn shell(args: &ShellArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let code = runtime.block_on(async {
        let (engine, kept) = match kept().await {
            Ok(found) => found,
            Err(error) => {
                complain(&engine::complaint(&error));
                return ExitCode::Fault;
            }
        };
        match &args.build {
            None => list(&kept),
            Some(wanted) => match find(&kept, wanted) {
                Ok(build) => enter(&engine, build).await,
                Err(mistake) => usage(&mistake),
            },
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

fn list(kept: &[BuildContainer]) -> ExitCode {
    if kept.is_empty() {
        complain("no container is kept: run a build with `--keep on-failure` or `--keep always`\n");
        return ExitCode::Succeeded;
    }
    print(table(kept, stamp()).as_bytes())
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

/// The one build that a person means.
pub(super) fn find<'k>(
    kept: &'k [BuildContainer],
    wanted: &str,
) -> Result<&'k BuildContainer, clap::Error> {
    let meant = |one: &&BuildContainer| {
        let uuid = one.build.rsplit(':').next().unwrap_or_default();
        !wanted.is_empty() && (one.build.starts_with(wanted) || uuid.starts_with(wanted))
    };
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
        return usage(&mistake(
            "a shell needs a terminal: standard input and standard output are none",
        ));
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
