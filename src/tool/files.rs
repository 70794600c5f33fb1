//! `codebuild-hash-files` and `codebuild-glob-search`: what a build asks of its files (TOOL-16 to TOOL-21).
//!
//! Unlike [`Tool`](super::Tool)s these have one end only: all they need is where they run.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::artifact::{self, SelectError};
use crate::units::hex;

/// Bytes of a file that are read at once.
const BUFFER: usize = 256 * 1024;

/// Exit code for a command line that cannot be used.
const USAGE: u8 = 2;

/// Exit code for files that cannot be read, and for output that nobody takes.
const FAILED: u8 = 1;

/// A command about files that this program can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileCommand {
    /// `codebuild-hash-files`
    HashFiles,
    /// `codebuild-glob-search`
    GlobSearch,
}

/// Where a command about files is run.
#[derive(Clone, Debug)]
pub struct Here {
    /// The directory it was started in.
    pub directory: PathBuf,
    /// `CODEBUILD_SRC_DIR`, where it is set.
    pub source_directory: Option<PathBuf>,
}

impl FileCommand {
    /// Both.
    pub const ALL: [Self; 2] = [Self::HashFiles, Self::GlobSearch];

    /// The command of a name that this program was called by.
    #[must_use]
    pub fn named(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|command| name == command.name())
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HashFiles => "codebuild-hash-files",
            Self::GlobSearch => "codebuild-glob-search",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::HashFiles => {
                "Prints one SHA-256 over the content of all files of the source that match, for a `cache.key`.\n\
                 Patterns are relative to CODEBUILD_SRC_DIR, whatever the directory is."
            }
            Self::GlobSearch => {
                "Prints the files that match, one a line, relative to this directory."
            }
        }
    }

    fn usage(self) -> String {
        format!(
            "Usage: {} PATTERN…\n\n{}\n`*` stays within one directory, `**` does not. Quote patterns, or the shell expands them.\n",
            self.name(),
            self.about()
        )
    }

    /// Runs it: `arguments` are those behind its name. Gives the exit code.
    pub fn run(
        self,
        arguments: &[OsString],
        here: &Here,
        output: &mut dyn Write,
        errors: &mut dyn Write,
    ) -> u8 {
        let patterns = match read(arguments) {
            Ok(Some(patterns)) => patterns,
            Ok(None) => return u8::from(output.write_all(self.usage().as_bytes()).is_err()),
            Err(mistake) => {
                let _ = write!(errors, "{}: {mistake}\n{}", self.name(), self.usage());
                return USAGE;
            }
        };
        let done = match self {
            Self::HashFiles => hash_files(&patterns, here, output, errors),
            Self::GlobSearch => glob_search(&patterns, here, output, errors),
        };
        match done {
            Ok(()) => 0,
            Err(error) => {
                let _ = writeln!(errors, "{}: {error}", self.name());
                FAILED
            }
        }
    }
}

/// The patterns of a command line; nothing if help is wanted.
fn read(arguments: &[OsString]) -> Result<Option<Vec<&OsStr>>, String> {
    let mut patterns = Vec::new();
    let mut only_patterns = false;
    for argument in arguments {
        match argument.as_bytes() {
            _ if only_patterns => patterns.push(argument.as_os_str()),
            b"--" => only_patterns = true,
            b"-h" | b"--help" => return Ok(None),
            [b'-', _, ..] => return Err(format!("unknown option `{}`", argument.display())),
            b"" => return Err("a pattern is empty".to_owned()),
            _ => patterns.push(argument.as_os_str()),
        }
    }
    if patterns.is_empty() {
        return Err("no pattern is given".to_owned());
    }
    Ok(Some(patterns))
}

/// Every file that some pattern matches, once, sorted by the bytes of their paths.
fn matching(directory: &Path, patterns: &[&OsStr]) -> Result<BTreeSet<Sorted>, io::Error> {
    let mut files = BTreeSet::new();
    for pattern in patterns {
        let found = artifact::find(directory, pattern, &mut |path| {
            files.insert(Sorted(relative(&plain(&path), &plain(directory))));
        });
        found.map_err(|error| match error {
            SelectError::Read { ref source, .. } => io::Error::other(format!("{error}: {source}")),
            other => io::Error::other(other),
        })?;
    }
    Ok(files)
}

/// A path without `.` and `..`: two ways to one file are one file.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// A path as it is written from a directory, up as far as need be.
fn relative(path: &Path, directory: &Path) -> PathBuf {
    let shared = directory
        .ancestors()
        .find(|above| path.starts_with(above))
        .unwrap_or(Path::new(""));
    let up = directory.strip_prefix(shared).unwrap_or(directory);
    let mut relative: PathBuf = up.components().map(|_| Component::ParentDir).collect();
    relative.push(path.strip_prefix(shared).unwrap_or(path));
    relative
}

/// A path in the order of its bytes: that of components would differ from one tool to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sorted(PathBuf);

impl Ord for Sorted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let bytes = |path: &Self| path.0.as_os_str().as_bytes().to_vec();
        bytes(self).cmp(&bytes(other))
    }
}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// SHA-256 of the SHA-256s of all files, in the order of their paths (TOOL-17).
fn hash_files(
    patterns: &[&OsStr],
    here: &Here,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<()> {
    let source = here.source_directory.as_ref();
    let directory = source
        .filter(|path| path.is_dir())
        .unwrap_or(&here.directory);
    let files = matching(directory, patterns)?;
    if files.is_empty() {
        writeln!(
            errors,
            "codebuild-hash-files: no files found in {} for {}",
            directory.display(),
            shown(patterns)
        )?;
        return writeln!(output);
    }
    let mut whole = Sha256::new();
    for Sorted(path) in files {
        let path = directory.join(path);
        whole.update(hash_file(&path).map_err(|error| {
            io::Error::other(format!("could not read {}: {error}", path.display()))
        })?);
    }
    writeln!(output, "{}", hex(&whole.finalize()))
}

fn hash_file(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Files, one a line (TOOL-19). That there are none is no line of output: whoever reads it would take it for a file.
fn glob_search(
    patterns: &[&OsStr],
    here: &Here,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<()> {
    let files = matching(&here.directory, patterns)?;
    if files.is_empty() {
        return writeln!(
            errors,
            "codebuild-glob-search: no files found for {}",
            shown(patterns)
        );
    }
    for Sorted(path) in files {
        output.write_all(path.as_os_str().as_bytes())?;
        output.write_all(b"\n")?;
    }
    Ok(())
}

fn shown(patterns: &[&OsStr]) -> String {
    let quoted: Vec<String> = patterns
        .iter()
        .map(|pattern| format!("`{}`", pattern.display()))
        .collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_patterns_are_told_apart() {
        let told = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            read(&words)
                .map(|patterns| patterns.map(|patterns| patterns.len()))
                .map_err(|mistake| mistake.split('`').next().unwrap_or_default().to_owned())
        };
        assert_eq!(told(&["a", "b/**"]), Ok(Some(2)));
        assert_eq!(told(&["a", "--help"]), Ok(None));
        assert_eq!(told(&["--", "--help", "-x"]), Ok(Some(2)));
        assert_eq!(told(&["-"]), Ok(Some(1)));
        assert_eq!(told(&["--json", "a"]), Err("unknown option ".to_owned()));
        assert_eq!(told(&[]), Err("no pattern is given".to_owned()));
        assert_eq!(told(&[""]), Err("a pattern is empty".to_owned()));
    }
}
