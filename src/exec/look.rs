//! A shell for a person who wants to see what a build left: the variables, the directory and the user of its last command
//! (CTR-30 to CTR-32).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::shell;
use crate::buildspec::model::{Shell, Version};
use crate::process::{self, Interactive};

/// The state that a build's last command left, and the shell that shows it.
#[derive(Clone, Debug)]
pub struct EndState {
    /// The shell's name in the buildspec.
    pub shell: Shell,
    /// The shell itself.
    pub program: PathBuf,
    /// How the commands shared their state.
    pub version: Version,
    /// The variables that every command began with.
    pub variables: Vec<(OsString, OsString)>,
    /// What the last command saved: shell code.
    pub saved: Vec<u8>,
    /// Where the last command left.
    pub directory: OsString,
    /// The source directory.
    pub source_directory: PathBuf,
    /// `CODEBUILD_BUILD_SUCCEEDING`
    pub succeeding: bool,
}

/// Where the files of a saved state are.
struct Files {
    variables: PathBuf,
    saved: PathBuf,
    script: PathBuf,
    start: PathBuf,
}

impl Files {
    fn of(directory: &Path, shell: &Shell) -> Self {
        Self {
            variables: directory.join("variables"),
            saved: directory.join("env.sh"),
            script: directory.join(shell::script_name(shell)),
            start: directory.join("start"),
        }
    }
}

impl EndState {
    /// Writes it down, to be shown later. Only this user can read it.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        let made = fs::DirBuilder::new().mode(0o700).create(directory);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let files = Files::of(directory, &self.shell);
        let script = shell::interactive_script(
            &self.shell,
            self.version,
            &self.program,
            &self.directory,
            self.succeeding,
            &files.saved,
        );
        let variables = self
            .variables
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
        let mut start = vec![self.program.as_os_str(), self.source_directory.as_os_str()];
        start.extend(
            shell::interactive_arguments(&self.shell)
                .iter()
                .map(OsStr::new),
        );
        start.push(files.script.as_os_str());
        let start: Vec<&[u8]> = start.into_iter().map(OsStr::as_bytes).collect();
        write(&files.variables, &variables.collect::<Vec<u8>>())?;
        write(&files.saved, &self.saved)?;
        write(&files.script, &script)?;
        write(&files.start, &start.join(&0))
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(content)
}

/// The shell of a state that was saved in a directory. `kind` is the terminal's: `TERM`, unless the build has one.
pub fn shell_of(directory: &Path, kind: Option<&OsStr>) -> io::Result<Interactive> {
    let files = Files::of(directory, &Shell::default());
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let start = fs::read(&files.start)?;
    let mut start = start.split(|byte| *byte == 0).map(text);
    let (Some(program), Some(source_directory)) = (start.next(), start.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut variables: Vec<(OsString, OsString)> = fs::read(&files.variables)?
        .split(|byte| *byte == 0)
        .filter_map(|variable| {
            let at = variable.iter().position(|byte| *byte == b'=')?;
            Some((text(&variable[..at]), text(&variable[at + 1..])))
        })
        .collect();
    if let Some(kind) = kind
        && variables.iter().all(|(name, _)| name != "TERM")
    {
        variables.push(("TERM".into(), kind.to_owned()));
    }
    Ok(Interactive {
        program: program.into(),
        arguments: start.collect(),
        directory: source_directory.into(),
        variables,
    })
}

/// Becomes the shell of a saved state. Returns only if that fails.
#[must_use]
pub fn become_shell(directory: &Path, kind: Option<&OsStr>) -> io::Error {
    match shell_of(directory, kind) {
        Ok(shell) => process::become_interactive(&shell),
        Err(error) => error,
    }
}
