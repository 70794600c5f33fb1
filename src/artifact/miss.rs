//! Why a pattern matched nothing: the nearest thing that is there (ART-9).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::diagnostic::nearest;

/// How many directory entries are looked at: enough for a source tree, little enough to be done at once.
const MAX_ENTRIES: usize = 20_000;

/// How many near misses are named.
const MAX_NAMED: usize = 3;

/// One phrase that helps, if there is one.
pub(super) fn explain(base: &Path, text: &OsStr, hidden: &[PathBuf]) -> Option<String> {
    let shown = text.to_string_lossy();
    if text.is_empty() {
        return Some("nothing was left of it after variables were expanded".to_owned());
    }
    let path = base.join(text);
    if path.is_dir() {
        let directory = shown.trim_end_matches('/');
        return Some(format!(
            "`{directory}` is a directory: write `{directory}/**/*` for the files in it"
        ));
    }
    missing_directory(base, text)
        .or_else(|| empty_directory(base, text, hidden))
        .or_else(|| same_name_elsewhere(base, text, hidden))
}

/// The directory in which a pattern looks for anything, if there is nothing in it.
fn empty_directory(base: &Path, text: &OsStr, hidden: &[PathBuf]) -> Option<String> {
    let wild = |segment: &&[u8]| {
        segment
            .iter()
            .any(|byte| matches!(byte, b'*' | b'?' | b'['))
    };
    let bytes = text.as_bytes();
    let segments: Vec<&[u8]> = bytes.split(|byte| *byte == b'/').collect();
    let literal = segments.iter().position(wild)?;
    let directory = OsStr::from_bytes(&bytes[..segments[..literal].join(&b'/').len()]);
    if directory.is_empty() && literal > 0 {
        return None;
    }
    let place = if literal == 0 {
        "the base directory".to_owned()
    } else {
        format!("`{}`", directory.to_string_lossy())
    };
    let path = base.join(directory);
    if fs::read_dir(&path).ok()?.next().is_none() {
        return Some(format!("{place} is empty"));
    }
    let real = path.canonicalize().ok()?;
    if hidden.iter().any(|hidden| hidden.starts_with(&real)) {
        return None;
    }
    let anything = segments[literal..]
        .iter()
        .all(|segment| segment.iter().all(|byte| *byte == b'*'));
    let everywhere = segments[literal..].iter().any(|segment| segment.len() > 1);
    match (anything, everywhere) {
        (true, true) => Some(format!("there is no file in {place}")),
        (true, false) => Some(format!(
            "there is no file directly in {place}: write `**/*` for those further down"
        )),
        (false, _) => None,
    }
}

/// The first directory on the way that is not there, and one that is called much the same.
fn missing_directory(base: &Path, text: &OsStr) -> Option<String> {
    let segments: Vec<&OsStr> = text
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|segment| !segment.is_empty() && *segment != b".")
        .map(OsStr::from_bytes)
        .collect();
    let wild = |segment: &OsStr| {
        segment
            .as_bytes()
            .iter()
            .any(|byte| matches!(byte, b'*' | b'?' | b'['))
    };
    let mut here = if text.as_bytes().starts_with(b"/") {
        PathBuf::from("/")
    } else {
        base.to_owned()
    };
    let (_, directories) = segments.split_last()?;
    for segment in directories {
        if wild(segment) {
            return None;
        }
        let next = here.join(segment);
        if !next.is_dir() {
            let wanted = segment.to_string_lossy();
            let names: Vec<String> = names(&here, |entry| entry.path().is_dir());
            let similar = nearest(&wanted, names.iter().map(String::as_str));
            let place = if here == base {
                String::new()
            } else {
                format!(" in {}", relative(base, &here))
            };
            return Some(match similar {
                Some(similar) => {
                    format!("there is no directory `{wanted}`{place}; did you mean `{similar}`?")
                }
                None => format!("there is no directory `{wanted}`{place}"),
            });
        }
        here = next;
    }
    None
}

/// Files of the same or nearly the same name that are somewhere else.
fn same_name_elsewhere(base: &Path, text: &OsStr, hidden: &[PathBuf]) -> Option<String> {
    let name = Path::new(text).file_name()?;
    let mut found = Vec::new();
    let mut left = MAX_ENTRIES;
    let mut directories = vec![base.to_owned()];
    let pattern = super::glob::parse(name.as_bytes()).ok()?;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            left = left.checked_sub(1)?;
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory {
                let skip = matches!(entry.file_name().as_bytes(), b".git" | b"node_modules");
                if !skip && !path.canonicalize().is_ok_and(|path| hidden.contains(&path)) {
                    directories.push(path);
                }
            } else if pattern
                .iter()
                .any(|p| p.accepts(p.start(), entry.file_name().as_bytes()))
            {
                found.push(relative(base, &path));
            }
        }
    }
    if found.is_empty() {
        return similar_beside(base, text);
    }
    found.sort_by_key(|path| (path.matches('/').count(), path.clone()));
    let more = found.len().saturating_sub(MAX_NAMED);
    let named: Vec<String> = found
        .iter()
        .take(MAX_NAMED)
        .map(|path| format!("`{path}`"))
        .collect();
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(format!("there is {}{rest}", named.join(", ")))
}

/// A file beside the place that is called much the same.
fn similar_beside(base: &Path, text: &OsStr) -> Option<String> {
    let path = base.join(text);
    let directory = path.parent()?;
    let wanted = path.file_name()?.to_string_lossy().into_owned();
    let names = names(directory, |entry| entry.path().is_file());
    let similar = nearest(&wanted, names.iter().map(String::as_str))?;
    Some(format!(
        "did you mean `{}`?",
        relative(base, &directory.join(similar))
    ))
}

fn names(directory: &Path, wanted: impl Fn(&fs::DirEntry) -> bool) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .take(MAX_ENTRIES)
        .filter(|entry| wanted(entry))
        .map(|entry: fs::DirEntry| OsString::into_string(entry.file_name()).unwrap_or_default())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names
}

fn relative(base: &Path, path: &Path) -> String {
    path.strip_prefix(base)
        .unwrap_or(path)
        .display()
        .to_string()
}
