//! Looking for secrets in what is about to be stored (ART-30 to ART-32).

use super::select::{Manifest, ManifestFile};
use crate::event::Warning;
use crate::redact::Secrets;

/// Files that are named, at most; the others are counted.
const NAMED: usize = 20;

/// The files that have a secret in them or in their names, by their paths in the artifact. What cannot be read is left to
/// whoever stores it. Ends early when `is_stopped` says so.
pub fn scan(manifest: &Manifest, secrets: &Secrets, is_stopped: &dyn Fn() -> bool) -> Vec<String> {
    manifest
        .iter()
        .take_while(|_| !is_stopped())
        .filter(|file| has_secret(file, secrets))
        .map(|file| file.stored().into_owned())
        .collect()
}

fn has_secret(file: &ManifestFile<'_>, secrets: &Secrets) -> bool {
    let name = file.stored();
    let is_in = |mut reader: &mut dyn std::io::Read| secrets.is_in(&mut reader);
    is_in(&mut name.as_bytes()).unwrap_or(false)
        || file
            .open()
            .is_ok_and(|mut open| is_in(&mut open).unwrap_or(false))
}

/// What a person is told of such files. Whoever shows it hides what is secret in their names.
#[must_use]
pub fn warnings(artifact: Option<&str>, found: &[String]) -> Vec<Warning> {
    let place = artifact.map_or_else(
        || "the artifact".to_owned(),
        |name| format!("the artifact `{name}`"),
    );
    let help = "whoever can read the artifact can read the secret: leave the file out with `exclude-paths`, or do not write the value into it";
    let named = found
        .iter()
        .take(NAMED)
        .map(|path| Warning::new(format!("`{path}` in {place} contains a secret")).with_help(help));
    let more = found.len().saturating_sub(NAMED);
    let counted =
        (more > 0).then(|| Warning::new(format!("{more} more files in {place} contain a secret")));
    named.chain(counted).collect()
}
