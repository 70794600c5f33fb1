//! `runner cache`: what is kept, and how it is removed (CACHE-23 to CACHE-25).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::args::{CacheArgs, CacheLsArgs, CachePlaceArgs, CachePruneArgs, CacheRmArgs};
use super::{aws, cache, complain, mistake, print, shell, start, usage};
use crate::build::ExitCode;
use crate::cache::{CacheStore, Entry, Trouble, over};
use crate::event::stamp;
use crate::units::render_size;

/// Version of the JSON form; grows with a change that a reader has to know of.
const FORMAT: u32 = 1;

/// What a person looks at or removes.
pub(super) fn run(args: &CacheArgs) -> ExitCode {
    let runtime = match start::begin() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let done = runtime.block_on(async {
        match args {
            CacheArgs::Ls(args) => list(args).await,
            CacheArgs::Rm(args) => remove(args).await,
            CacheArgs::Prune(args) => prune(args).await,
        }
    });
    match done {
        Ok(code) => code,
        Err(Failure::Mistake(mistake)) => usage(&mistake),
        Err(Failure::Trouble(Trouble { message, help, .. })) => {
            let help = help.map_or_else(String::new, |help| format!("  help: {help}\n"));
            complain(&format!("error: {message}\n{help}"));
            ExitCode::Fault
        }
    }
}

enum Failure {
    Mistake(clap::Error),
    Trouble(Trouble),
}

impl From<clap::Error> for Failure {
    fn from(mistake: clap::Error) -> Self {
        Self::Mistake(mistake)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

async fn open(args: &CachePlaceArgs) -> Result<CacheStore, clap::Error> {
    let location = cache::location(args.cache.as_deref().unwrap_or_default(), &[])?;
    let region = aws::region(args.region.as_deref(), args.profile.as_deref()).await;
    let aws = aws::settings(region.as_deref(), args.profile.as_deref());
    Ok(cache::store(&location, aws, None, false))
}

/// What is kept, what was used last first.
async fn kept(store: &CacheStore, args: &CachePlaceArgs) -> Result<Vec<Entry>, Trouble> {
    let mut entries = store.list(args.project.as_deref()).await?;
    entries.sort_by(|one, other| (other.used, &one.name).cmp(&(one.used, &other.name)));
    Ok(entries)
}

async fn list(args: &CacheLsArgs) -> Result<ExitCode, Failure> {
    let store = open(&args.place).await?;
    let entries = kept(&store, &args.place).await?;
    if args.place.json {
        return Ok(print_json(&store, "kept", &entries, &[]));
    }
    if entries.is_empty() {
        complain(&format!("nothing is kept in {}\n", store.location()));
        return Ok(ExitCode::Succeeded);
    }
    let code = print(table(&entries, stamp()).as_bytes());
    let total = render_size(entries.iter().map(|entry| entry.bytes).sum());
    complain(&format!("{total} in {}\n", store.location()));
    Ok(code)
}

async fn remove(args: &CacheRmArgs) -> Result<ExitCode, Failure> {
    let store = open(&args.place).await?;
    let entries = kept(&store, &args.place).await?;
    for key in &args.keys {
        if !entries.iter().any(|entry| is_meant(entry, key)) {
            return Err(mistake(format!(
                "nothing is kept under `{key}`: `runner cache ls` lists what there is"
            ))
            .into());
        }
    }
    let meant = |entry: &Entry| args.all || args.keys.iter().any(|key| is_meant(entry, key));
    let going: Vec<Entry> = entries.into_iter().filter(meant).collect();
    Ok(remove_all(&store, &going, args.dry_run, args.place.json).await)
}

fn is_meant(entry: &Entry, wanted: &str) -> bool {
    entry.name == wanted || key(entry) == wanted
}

async fn prune(args: &CachePruneArgs) -> Result<ExitCode, Failure> {
    let store = open(&args.place).await?;
    let entries = kept(&store, &args.place).await?;
    let now = stamp();
    let (mut going, staying): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| {
        args.unused_for
            .is_some_and(|limit| unused(entry, now) > limit)
    });
    if let Some(limit) = args.limit {
        going.extend(over(staying, limit, ""));
    }
    Ok(remove_all(&store, &going, args.dry_run, args.place.json).await)
}

fn unused(entry: &Entry, now: SystemTime) -> Duration {
    now.duration_since(time(entry.used)).unwrap_or_default()
}

async fn remove_all(store: &CacheStore, going: &[Entry], dry_run: bool, json: bool) -> ExitCode {
    let failed = if dry_run {
        Vec::new()
    } else {
        let names: Vec<String> = going.iter().map(|entry| entry.name.clone()).collect();
        store.remove(&names).await
    };
    let shown = if json {
        let what = if dry_run { "wouldRemove" } else { "removed" };
        print_json(store, what, going, &failed)
    } else if going.is_empty() {
        complain("there is nothing to remove\n");
        ExitCode::Succeeded
    } else {
        let code = print(table(going, stamp()).as_bytes());
        let total = render_size(going.iter().map(|entry| entry.bytes).sum());
        complain(&if dry_run {
            format!("dry run: {total} would be removed, and nothing was\n")
        } else {
            format!("removed {total}\n")
        });
        code
    };
    for (name, Trouble { message, .. }) in &failed {
        complain(&format!("error: {name} was not removed: {message}\n"));
    }
    if failed.is_empty() {
        shown
    } else {
        ExitCode::Fault
    }
}

/// The key, or what is shown where there is none.
fn key(entry: &Entry) -> &str {
    match &entry.facts {
        None => "(cannot be used)",
        Some(facts) => facts.key.as_deref().unwrap_or("(no key)"),
    }
}

fn project(entry: &Entry) -> &str {
    entry.name.split('/').next().unwrap_or_default()
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(milliseconds))
        .unwrap_or(UNIX_EPOCH)
}

fn table(entries: &[Entry], now: SystemTime) -> String {
    let row = |entry: &Entry| {
        let facts = entry.facts.clone().unwrap_or_default();
        [
            project(entry).to_owned(),
            printable(key(entry)),
            render_size(entry.bytes),
            facts.files.to_string(),
            shell::age(time(entry.used), now),
            printable(&facts.paths.join(" ")),
        ]
    };
    let head = ["PROJECT", "KEY", "SIZE", "FILES", "UNUSED FOR", "PATHS"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head)
        .chain(entries.iter().map(row))
        .collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate();
        let line: Vec<String> = cells
            .map(|(column, (cell, width))| match column {
                2 | 3 => format!("{cell:>width$}"),
                _ => format!("{cell:width$}"),
            })
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A text with nothing in it that would change a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn print_json(
    store: &CacheStore,
    what: &str,
    entries: &[Entry],
    failed: &[(String, Trouble)],
) -> ExitCode {
    let rows: Vec<Value> = entries
        .iter()
        .map(|entry| row_json(entry, failed))
        .collect();
    let whole = json!({ "format": FORMAT, "location": store.location(), what: rows });
    print(format!("{whole:#}\n").as_bytes())
}

fn row_json(entry: &Entry, failed: &[(String, Trouble)]) -> Value {
    let facts = entry.facts.as_ref();
    let error = failed.iter().find(|(name, _)| *name == entry.name);
    json!({
        "name": entry.name,
        "project": project(entry),
        "isUsable": facts.is_some(),
        "key": facts.and_then(|facts| facts.key.as_ref()),
        "paths": facts.map(|facts| &facts.paths),
        "files": facts.map(|facts| facts.files),
        "contentBytes": facts.map(|facts| facts.content_bytes),
        "archiveBytes": entry.bytes,
        "savedMilliseconds": facts.map(|facts| facts.saved),
        "usedMilliseconds": entry.used,
        "error": error.map(|(_, trouble)| &trouble.message),
    })
}
