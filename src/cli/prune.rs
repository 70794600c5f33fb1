//! `runner prune`: removes what builds left that did not end as they should, by hand (CTR-24).

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::json;

use super::args::PruneArgs;
use super::{complain, engine, machine, mistake, print, shell, start, sweep, usage};
use crate::build::ExitCode;
use crate::engine::{Engine, Error};
use crate::event::stamp;
use crate::exec::container::leftovers::{self, BuildContainer, Standing};
use crate::exec::container::{Left, staged_in};
use crate::ownership::{self, AbandonedDirectory, Owner};

/// What there is to remove.
struct Found {
    engine: Option<Engine>,
    containers: Vec<BuildContainer>,
    directories: Vec<AbandonedDirectory>,
    now: SystemTime,
}

/// One thing, and what became of it.
struct Row {
    kind: &'static str,
    what: String,
    build: Option<String>,
    age: String,
    error: Option<String>,
}

/// Removes what is nobody's any more, or what was named.
pub(super) fn prune(args: &PruneArgs) -> ExitCode {
    match start::begin() {
        Ok(runtime) => runtime.block_on(prune_all(args)),
        Err(code) => code,
    }
}

async fn prune_all(args: &PruneArgs) -> ExitCode {
    let mut unreachable = None;
    let mut found = Found {
        engine: None,
        containers: Vec::new(),
        directories: Vec::new(),
        now: stamp(),
    };
    match containers(found.now).await {
        Ok((engine, containers)) => {
            found.engine = Some(engine);
            found.containers = containers;
        }
        Err(error) => unreachable = Some(error),
    }
    if let Err(mistake) = choose(&mut found, args) {
        return usage(&mistake);
    }
    if args.all && !args.dry_run && !args.yes && !found.containers.is_empty() {
        match ask(&found) {
            Ok(true) => {}
            Ok(false) => return ExitCode::Succeeded,
            Err(mistake) => return usage(&mistake),
        }
    }
    // Whoever finds one holds it: not while somebody thinks about an answer.
    if args.builds.is_empty() {
        found.directories = directories();
    }
    let rows = remove(found, args.dry_run).await;
    let failed = rows.iter().any(|row| row.error.is_some());
    let shown = show(&rows, args, unreachable.is_none());
    let missed = unreachable.is_some_and(|error| not_looked(&error, args));
    match shown {
        ExitCode::Succeeded if failed || missed => ExitCode::Fault,
        shown => shown,
    }
}

/// Says that there may be containers all the same: directories can be cleared away without an engine. Gives whether that
/// is a failure, as it is unless there is simply no engine.
fn not_looked(error: &Error, args: &PruneArgs) -> bool {
    if error.is_absence() && args.builds.is_empty() {
        complain(&format!("note: {error}\ncontainers were not looked for\n"));
        return false;
    }
    complain(&engine::complaint(error));
    complain("containers were not looked for\n");
    true
}

async fn containers(now: SystemTime) -> Result<(Engine, Vec<BuildContainer>), Error> {
    let engine = engine::connect().await?;
    let found = leftovers::list(&engine, Owner::this().as_ref(), now).await?;
    Ok((engine, found))
}

/// Leaves what is to be removed.
fn choose(found: &mut Found, args: &PruneArgs) -> Result<(), clap::Error> {
    let containers = std::mem::take(&mut found.containers);
    if found.engine.is_some() && !args.builds.is_empty() {
        let kept: Vec<BuildContainer> = containers
            .into_iter()
            .filter(|one| one.standing == Standing::Kept)
            .collect();
        for wanted in &args.builds {
            let one = shell::find(&kept, wanted)?;
            if found.containers.iter().all(|other| other.id != one.id) {
                found.containers.push(one.clone());
            }
        }
        return Ok(());
    }
    found.containers = containers
        .into_iter()
        .filter(|one| match one.standing {
            Standing::Abandoned => true,
            Standing::Kept | Standing::Unknown => args.all,
            Standing::InUse => false,
        })
        .collect();
    Ok(())
}

fn directories() -> Vec<AbandonedDirectory> {
    let mut places: Vec<PathBuf> =
        vec![machine::private_directory(), machine::temporary_directory()];
    places.dedup();
    let mut found: Vec<AbandonedDirectory> = places
        .iter()
        .flat_map(|place| ownership::abandoned(place))
        .collect();
    // What was staged in sources goes before the notes of where that is (CTR-59).
    let noted = found.iter().filter_map(|found| staged_in(&found.path));
    let sources: BTreeSet<PathBuf> = noted.chain(machine::directory()).collect();
    let staged = sources
        .iter()
        .flat_map(|source| ownership::abandoned(source))
        .filter(|staged| {
            staged
                .path
                .file_name()
                .is_some_and(ownership::is_hidden_name)
        });
    found.splice(0..0, staged.collect::<Vec<_>>());
    found
}

/// Asks before what somebody may still want goes. A mistake where nobody can answer.
fn ask(found: &Found) -> Result<bool, clap::Error> {
    if !io::stdin().is_terminal() {
        return Err(mistake(
            "`--all` removes kept containers too, and asks first: without a terminal, say `--yes`",
        ));
    }
    let mut question = String::new();
    for one in &found.containers {
        question.push_str(&text(&row_of(one, found.now)));
    }
    question.push_str("remove them? [y/N] ");
    complain(&question);
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn row_of(one: &BuildContainer, now: SystemTime) -> Row {
    Row {
        kind: "container",
        what: one.id.get(..12).unwrap_or(&one.id).to_owned(),
        build: Some(one.build.clone()),
        age: shell::age(one.created, now),
        error: None,
    }
}

async fn remove(found: Found, dry_run: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for one in &found.containers {
        let mut row = row_of(one, found.now);
        if let (Some(engine), false) = (&found.engine, dry_run) {
            let removed = leftovers::remove(engine, &one.id).await;
            row.error = removed.err().map(|error| error.to_string());
        }
        rows.push(row);
    }
    for one in found.directories {
        let mut row = Row {
            kind: "directory",
            what: one.path.display().to_string(),
            build: None,
            age: one
                .modified
                .map_or_else(String::new, |modified| shell::age(modified, found.now)),
            error: None,
        };
        if !dry_run {
            row.error = match Left::read(&one.path) {
                // The engine that it names may be another one than that of now.
                Some(left) => sweep::clear(one, left, found.now).await.err(),
                None => one.remove().err().map(|error| error.to_string()),
            };
        }
        rows.push(row);
    }
    rows
}

fn text(row: &Row) -> String {
    let build = row.build.as_deref().unwrap_or("-");
    let error = row.error.as_ref();
    let error = error.map_or_else(String::new, |error| format!("  not removed: {error}"));
    format!(
        "{:9}  {:>8}  {build}  {}{error}\n",
        row.kind, row.age, row.what
    )
}

fn show(rows: &[Row], args: &PruneArgs, has_engine: bool) -> ExitCode {
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "kind": row.kind,
                    "what": row.what,
                    "build": row.build,
                    "age": row.age,
                    "removed": !args.dry_run && row.error.is_none(),
                    "error": row.error,
                })
            })
            .collect();
        return print(
            format!(
                "{:#}\n",
                json!({ "format": 1, "containers_looked_for": has_engine, "found": rows })
            )
            .as_bytes(),
        );
    }
    if rows.is_empty() {
        complain(if has_engine {
            "nothing is left of any build\n"
        } else {
            "no directory is left of any build\n"
        });
        return ExitCode::Succeeded;
    }
    let code = print(rows.iter().map(text).collect::<String>().as_bytes());
    if args.dry_run {
        complain("dry run: nothing was removed\n");
    }
    code
}
