//! What the cache does, in the words of each sink (CACHE-14).

use serde_json::{Value, json};

use super::console::count;
use super::json::seconds;
use crate::event::{CacheEvent, CacheKept, CacheStep, Warning};
use crate::units::{render_duration, render_size};

/// Lines of CodeBuild's log. Those about restoring are its own; of saving none is known.
pub(super) fn log_lines(event: &CacheEvent) -> Vec<String> {
    let line = match event {
        CacheEvent::Skipped { reason } => format!("Skip cache due to: {reason}"),
        CacheEvent::Expanded { paths, .. } => {
            let lines = paths
                .iter()
                .map(|path| format!("Expanded cache path {path}"));
            return lines.collect();
        }
        CacheEvent::Missed { key } => {
            format!("Unable to download cache: {}", missed(key.as_deref()))
        }
        CacheEvent::Found { .. } => "Downloading S3 cache...".to_owned(),
        CacheEvent::Fetched => "Unarchiving cache...".to_owned(),
        CacheEvent::Restored(restored) => format!(
            "Cache restored: {}, took {:.6} seconds",
            what(
                restored.key.as_deref(),
                restored.files,
                restored.bytes,
                restored.archive_bytes
            ),
            seconds(restored.duration)
        ),
        CacheEvent::Kept { reason, .. } => format!("Cache not saved: {}", reason.text()),
        CacheEvent::Saved(saved) => format!(
            "Cache saved: {}, took {:.6} seconds",
            what(
                saved.key.as_deref(),
                saved.files,
                saved.bytes,
                saved.archive_bytes
            ),
            seconds(saved.duration)
        ),
        CacheEvent::Failed { step, message, .. } => {
            let unable = match step {
                CacheStep::Restore => "download cache",
                CacheStep::Save => "upload cache",
                CacheStep::Evict => "make room in the cache",
            };
            format!("Unable to {unable}: {}", in_one_line(message))
        }
    };
    vec![line]
}

/// S3 has its ids in a line of their own.
fn in_one_line(message: &str) -> String {
    message.replace("\n\t", " ").replace('\n', " ")
}

fn missed(key: Option<&str>) -> String {
    match key {
        Some(key) => format!("nothing is saved under the key {key}"),
        None => "nothing is saved yet".to_owned(),
    }
}

fn what(key: Option<&str>, files: u64, bytes: u64, archive_bytes: u64) -> String {
    let key = key.map_or_else(String::new, |key| format!("key {key}, "));
    let files = count(usize::try_from(files).unwrap_or(usize::MAX), "file");
    format!(
        "{key}{files}, {}, archive of {}",
        render_size(bytes),
        render_size(archive_bytes)
    )
}

/// What kept the cache from doing what it should, as a warning.
pub(super) fn warning(event: &CacheEvent) -> Option<Warning> {
    let CacheEvent::Failed {
        step,
        message,
        help,
    } = event
    else {
        return None;
    };
    let what = match step {
        CacheStep::Restore => "the cache was not restored",
        CacheStep::Save => "the cache was not saved",
        CacheStep::Evict => "there was no room to be made in the cache",
    };
    let mut warning = Warning::new(format!("{what}: {}", in_one_line(message)));
    warning.help.clone_from(help);
    Some(warning)
}

/// A line for a person at a terminal.
pub(super) fn told(event: &CacheEvent) -> Option<String> {
    Some(match event {
        CacheEvent::Missed { key } => format!("cache: {}", missed(key.as_deref())),
        CacheEvent::Restored(restored) => {
            let what = what(
                restored.key.as_deref(),
                restored.files,
                restored.bytes,
                restored.archive_bytes,
            );
            let how = if restored.is_exact {
                ""
            } else {
                " by a fallback key"
            };
            let time = render_duration(restored.duration);
            format!("cache: restored{how} in {time} ({what})")
        }
        CacheEvent::Kept { reason, .. } => format!("cache: not saved, {}", reason.text()),
        CacheEvent::Saved(saved) => {
            let what = what(
                saved.key.as_deref(),
                saved.files,
                saved.bytes,
                saved.archive_bytes,
            );
            let others = match saved.removed {
                0 => String::new(),
                removed => format!("; {} made room for it", count(removed, "older one")),
            };
            let time = render_duration(saved.duration);
            format!("cache: saved in {time} ({what}){others}")
        }
        CacheEvent::Skipped { .. }
        | CacheEvent::Expanded { .. }
        | CacheEvent::Found { .. }
        | CacheEvent::Fetched
        | CacheEvent::Failed { .. } => return None,
    })
}

/// The name of an event and its fields.
pub(super) fn event_json(event: &CacheEvent) -> (&'static str, Value) {
    match event {
        CacheEvent::Skipped { reason } => ("cache-skipped", json!({ "reason": reason })),
        CacheEvent::Expanded {
            paths,
            key,
            fallback_keys,
        } => (
            "cache-expanded",
            json!({ "paths": paths, "key": key, "fallbackKeys": fallback_keys }),
        ),
        CacheEvent::Missed { key } => ("cache-missed", json!({ "key": key })),
        CacheEvent::Found {
            key,
            location,
            bytes,
        } => (
            "cache-found",
            json!({ "key": key, "location": location, "archiveBytes": bytes }),
        ),
        CacheEvent::Fetched => ("cache-fetched", json!({})),
        CacheEvent::Restored(restored) => (
            "cache-restored",
            json!({
                "key": restored.key,
                "isExact": restored.is_exact,
                "location": restored.location,
                "files": restored.files,
                "bytes": restored.bytes,
                "archiveBytes": restored.archive_bytes,
                "durationSeconds": seconds(restored.duration),
            }),
        ),
        CacheEvent::Kept { key, reason } => {
            let reason = match reason {
                CacheKept::Exists => "exists",
                CacheKept::Unchanged => "unchanged",
                CacheKept::Nothing => "nothing",
            };
            ("cache-kept", json!({ "key": key, "reason": reason }))
        }
        CacheEvent::Saved(saved) => (
            "cache-saved",
            json!({
                "key": saved.key,
                "location": saved.location,
                "files": saved.files,
                "bytes": saved.bytes,
                "archiveBytes": saved.archive_bytes,
                "removed": saved.removed,
                "durationSeconds": seconds(saved.duration),
            }),
        ),
        CacheEvent::Failed {
            step,
            message,
            help,
        } => {
            let step = match step {
                CacheStep::Restore => "restore",
                CacheStep::Save => "save",
                CacheStep::Evict => "evict",
            };
            (
                "cache-failed",
                json!({ "step": step, "message": message, "help": help }),
            )
        }
    }
}

/// The same event with other texts.
pub(super) fn map(event: CacheEvent, text: impl Fn(String) -> String) -> CacheEvent {
    let optional = |one: Option<String>| one.map(&text);
    match event {
        CacheEvent::Skipped { reason } => CacheEvent::Skipped {
            reason: text(reason),
        },
        CacheEvent::Expanded {
            paths,
            key,
            fallback_keys,
        } => CacheEvent::Expanded {
            paths: paths.into_iter().map(&text).collect(),
            key: optional(key),
            fallback_keys: fallback_keys.into_iter().map(&text).collect(),
        },
        CacheEvent::Missed { key } => CacheEvent::Missed { key: optional(key) },
        CacheEvent::Found {
            key,
            location,
            bytes,
        } => CacheEvent::Found {
            key: optional(key),
            location: text(location),
            bytes,
        },
        CacheEvent::Fetched => CacheEvent::Fetched,
        CacheEvent::Restored(mut restored) => {
            restored.key = optional(restored.key);
            restored.location = text(restored.location);
            CacheEvent::Restored(restored)
        }
        CacheEvent::Kept { key, reason } => CacheEvent::Kept {
            key: optional(key),
            reason,
        },
        CacheEvent::Saved(mut saved) => {
            saved.key = optional(saved.key);
            saved.location = text(saved.location);
            CacheEvent::Saved(saved)
        }
        CacheEvent::Failed {
            step,
            message,
            help,
        } => CacheEvent::Failed {
            step,
            message: text(message),
            help: optional(help),
        },
    }
}
