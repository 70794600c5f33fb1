//! What this program says on standard error itself, beside the log of a build: with nothing in it that is to be hidden.

use std::io::{self, Write as _};
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};

use super::{aws, machine};
use crate::redact::Secrets;

/// What has become known besides the credentials of the environment.
static LEARNED: Mutex<Option<Secrets>> = Mutex::new(None);

/// From now on hides what these hide, too (LOG-24).
pub(super) fn learn(secrets: Secrets) {
    *LEARNED.lock().unwrap_or_else(PoisonError::into_inner) = Some(secrets);
}

/// Writes to standard error; if that is impossible, nobody can be told.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().write_all(hidden(text).as_bytes());
}

/// A text without secrets. Their forms are made only here: it is rare that there is something to say.
fn hidden(text: &str) -> String {
    let variables = machine::variables();
    let variables = variables
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)));
    let credentials = aws::credentials(variables);
    let learned = LEARNED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*learned {
        Some(secrets) => secrets.and(credentials).redact(text),
        None => Secrets::new(credentials).redact(text),
    }
}

/// Whether a panic's own words have a secret in them: then it is said here, without.
pub(super) fn says_panic(panic: &PanicHookInfo<'_>) -> bool {
    let text = panic.to_string();
    let hidden = hidden(&text);
    let is_other = hidden != text;
    if is_other {
        complain(&format!("\n{hidden}\n"));
    }
    is_other
}
