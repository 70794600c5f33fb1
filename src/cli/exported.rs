//! `--exported FILE`: the exported variables of a build, for what comes after it (ENV-44).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::machine;
use crate::directory::{self, Directory, Link};
use crate::env;
use crate::event::ExportedVariable;
use crate::sink::SinkFailure;

/// The file that was asked for.
pub(super) struct ExportedFile {
    /// As it was written on the command line.
    shown: PathBuf,
    /// Where it is, without links.
    path: PathBuf,
}

impl ExportedFile {
    /// Puts a file without variables there: the values of another build are not taken for those of this one, and a place
    /// that cannot be written is known before anything runs. Links are followed now, but for those that lie where a build
    /// can change them.
    pub(super) fn begin(path: &Path, changeable: &[PathBuf]) -> Result<Self, String> {
        let file = Self {
            shown: path.to_owned(),
            path: machine::settled(path, changeable),
        };
        let begun = match fs::symlink_metadata(&file.path) {
            Ok(found) if found.is_symlink() => {
                let path = file.path.clone();
                Err(io::Error::other(Link { path }))
            }
            Ok(found) if !found.is_file() => Err(io::Error::other("it is no regular file")),
            _ => file.write(&[]),
        };
        match begun {
            Ok(()) => Ok(file),
            Err(error) => Err(format!(
                "error: could not write exported variables to {}: {error}\n{}",
                file.shown.display(),
                machine::help(&error)
            )),
        }
    }

    /// Puts these variables there.
    pub(super) fn finish(&self, variables: &[ExportedVariable]) -> Result<(), SinkFailure> {
        self.write(variables).map_err(|error| SinkFailure {
            sink: format!("the file of exported variables {}", self.shown.display()),
            error,
        })
    }

    /// Replaces the file as a whole, by one that only its owner can read.
    fn write(&self, variables: &[ExportedVariable]) -> io::Result<()> {
        let text = text(&self.path, variables);
        let (parent, name) = directory::split(&self.path)?;
        Directory::open(parent)?.replace(name, 0o600, |out| out.write_all(text.as_bytes()))
    }
}

/// A JSON object in a file of that ending, else NAME=value lines.
fn text(path: &Path, variables: &[ExportedVariable]) -> String {
    let is_json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if !is_json {
        let pairs = variables.iter();
        return env::render_dotenv(pairs.map(|one| (one.name.as_str(), one.value.as_str())));
    }
    let object: Map<String, Value> = variables
        .iter()
        .map(|variable| (variable.name.clone(), variable.value.clone().into()))
        .collect();
    format!("{:#}\n", Value::Object(object))
}
