//! How far something of a build was sent, on disk (AGENT-64).

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::private;

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sent {
    /// Items that are behind us, counted from the beginning of the build: accepted or lost. What makes items of events
    /// makes the same ones each time.
    pub passed: u64,
    /// Where in the file of events the first line begins that has items before us, in bytes.
    pub offset: u64,
    /// Items that were accepted.
    pub accepted: u64,
    /// Items that were lost.
    pub lost: u64,
    /// Lines of the file of events that nothing could be made of, counted from its beginning.
    pub broken: u64,
    /// Those of what was lost that nothing was said of where they are missing.
    pub untold: u64,
    /// Why they were lost, as a phrase.
    pub why: String,
    /// Whether the build is over and there is no more to send.
    pub done: bool,
}

/// The file that says so.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file of this name.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What it says. Where there is none, nothing was sent yet; one that cannot be read is none, which is said in the
    /// error, and everything is sent once more: twice is better than never.
    pub fn read(&self) -> Result<Sent, String> {
        let doing = || format!("could not read {}", self.path.display());
        match fs::read(&self.path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", doing()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sent::default()),
            Err(error) => Err(format!("{}: {error}", doing())),
        }
    }

    /// Replaces it as a whole, and is back when that survives a power cut.
    pub fn write(&self, sent: &Sent) -> Result<(), String> {
        let text = serde_json::to_vec(sent).unwrap_or_default();
        private::write_durably(&self.path, &text)
            .map_err(|error| format!("could not write {}: {error}", self.path.display()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_broken_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path().join("logs.json"));
        assert_eq!(file.read(), Ok(Sent::default()));
        let sent = Sent {
            passed: 3,
            offset: 17,
            lost: 1,
            why: "gone".to_owned(),
            ..Sent::default()
        };
        file.write(&sent).unwrap();
        assert_eq!(file.read(), Ok(sent));
        fs::write(file.path(), "{\"passed\":").unwrap();
        assert!(file.read().unwrap_err().contains("logs.json: EOF"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
