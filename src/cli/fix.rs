//! `runner validate --fix` and `--diff`: the files that fixes change.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::args::ValidateArgs;
use super::validate::{Checked, plural};
use crate::lint::fix::{Fixed, fix};
use crate::lint::{FileKind, Settings, check};
use crate::source::SourceText;

/// A byte-order mark, which the text of a file does not have.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// How many lines around a change are shown.
const AROUND: usize = 3;

/// Checks a text, and fixes it or shows what that would change, as far as it is asked for. `file` is where the text is from,
/// and what was read there.
pub(super) fn check_and_fix(
    args: &ValidateArgs,
    file: (&Path, &[u8]),
    source: SourceText,
    kind: FileKind,
    settings: &Settings<'_>,
) -> Result<Checked, String> {
    if args.fix {
        let fixed = fix(&source, kind, settings);
        write(file.0, file.1, &fixed)
            .map_err(|error| format!("error: could not write {}: {error}\n", source.name()))?;
        let checked = Checked::new(fixed.source, fixed.findings, kind);
        return Ok(checked.with_fixes(fixed.applied, String::new()));
    }
    let findings = check(&source, kind, settings);
    if args.diff {
        let fixed = fix(&source, kind, settings);
        let diff = diff(&source, &fixed);
        return Ok(Checked::new(source, findings, kind).with_fixes(fixed.applied, diff));
    }
    Ok(Checked::new(source, findings, kind))
}

/// What fixes would change, as a unified diff; empty if that is nothing.
fn diff(before: &SourceText, fixed: &Fixed) -> String {
    if fixed.applied == 0 {
        return String::new();
    }
    TextDiff::from_lines(before.text(), fixed.source.text())
        .unified_diff()
        .context_radius(AROUND)
        .header(before.name(), before.name())
        .to_string()
}

/// How much was fixed, or could be, unless it is nothing; one number a file.
pub(super) fn summary(args: &ValidateArgs, fixed: &[usize]) -> Option<String> {
    let count: usize = fixed.iter().sum();
    let files = fixed.iter().filter(|count| **count > 0).count();
    let verb = if args.diff {
        "`--fix` would fix"
    } else {
        "fixed"
    };
    (count > 0).then(|| {
        format!(
            "{verb} {} in {}\n",
            plural(count, "finding"),
            plural(files, "file")
        )
    })
}

/// Puts the fixed text in the place of the file, whole or not at all. `read` is what the file held when it was checked.
fn write(file: &Path, read: &[u8], fixed: &Fixed) -> io::Result<()> {
    if fixed.applied == 0 {
        return Ok(());
    }
    let mut bytes = Vec::new();
    if read.starts_with(MARK) {
        bytes.extend_from_slice(MARK);
    }
    bytes.extend_from_slice(fixed.source.text().as_bytes());
    // What a link points to is changed, and the link stays.
    let file = fs::canonicalize(file)?;
    let permissions = fs::metadata(&file)?.permissions();
    if permissions.readonly() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (beside, mut new) = create_beside(&file)?;
    let written = new
        .write_all(&bytes)
        .and_then(|()| new.set_permissions(permissions))
        .and_then(|()| new.sync_all())
        .and_then(|()| unchanged(&file, read))
        .and_then(|()| fs::rename(&beside, &file));
    if written.is_err() {
        // It may never have been there; the first error is the one to tell of.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// A new file in the same directory, so that it can take the other's place in one step.
pub(super) fn create_beside(file: &Path) -> io::Result<(PathBuf, fs::File)> {
    let name = format!(
        ".{}.{}",
        file.file_name().unwrap_or_default().to_string_lossy(),
        uuid::Uuid::new_v4().simple()
    );
    let beside = file.with_file_name(name);
    let new = fs::File::create_new(&beside)?;
    Ok((beside, new))
}

/// Nobody wrote to the file since it was read.
fn unchanged(file: &Path, read: &[u8]) -> io::Result<()> {
    if fs::read(file)? == read {
        Ok(())
    } else {
        Err(io::Error::other("it was changed in the meantime"))
    }
}
