//! A place of its own for one run of the program: source, home, state, temporary files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::RUNNER;
use super::normalise::normalise;
use super::wait::{self, Bounded as _};

/// A fresh directory with everything a run needs. It goes away with the value.
pub(crate) struct Sandbox {
    directory: tempfile::TempDir,
}

/// What came of a run.
pub(crate) struct Ran {
    /// Exit code; 128+n if a signal ended the program itself.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails with everything that was written unless the code is the expected one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Fails unless standard output has this text.
    #[track_caller]
    pub(crate) fn stdout_has(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} in\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails unless standard error has this text.
    #[track_caller]
    pub(crate) fn stderr_has(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in\n--- stderr\n{}\n--- stdout\n{}",
            self.stderr,
            self.stdout
        );
        self
    }
}

impl Sandbox {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        for name in ["source", "home", "state", "tmp"] {
            fs::create_dir(directory.path().join(name))
                .expect("a directory can be made in a fresh one");
        }
        Self { directory }
    }

    /// One with this buildspec.
    pub(crate) fn with_buildspec(text: &str) -> Self {
        Self::new().file("buildspec.yml", text)
    }

    /// One whose phase `build` has these commands, each a list item as it would be written after `- `.
    pub(crate) fn with_commands(commands: &[&str]) -> Self {
        let items: Vec<String> = commands
            .iter()
            .map(|command| format!("      - {command}\n"))
            .collect();
        Self::with_buildspec(&format!(
            "version: 0.2\nphases:\n  build:\n    commands:\n{}",
            items.concat()
        ))
    }

    /// Adds a file to the source.
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.source().join(path);
        fs::create_dir_all(path.parent().expect("a file has a directory"))
            .expect("a directory can be made");
        fs::write(path, content).expect("a file can be written");
        self
    }

    /// The source directory.
    pub(crate) fn source(&self) -> PathBuf {
        // A build may remove it.
        let directory = self.directory.path().canonicalize();
        directory.expect("the sandbox is there").join("source")
    }

    /// A name that no other sandbox has, for a project.
    pub(crate) fn project(&self) -> String {
        let name = self.directory.path().file_name().unwrap_or_default();
        format!("box{}", name.to_string_lossy().trim_start_matches('.'))
    }

    /// A path beside the source.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command of the program, in the source directory, with an environment of its own.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(RUNNER);
        command
            .args(arguments)
            .current_dir(self.source())
            .env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.path("home"))
            .env("XDG_STATE_HOME", self.path("state"));
        command
            .env("TMPDIR", self.path("tmp"))
            // No test asks the metadata service of a cloud.
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("LANG", "C.UTF-8")
            .env("USER", "tester");
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        let output = self.command(arguments).bounded_output();
        self.finish(&output.expect("the program can be started"))
    }

    /// Runs the program with this on its standard input.
    pub(crate) fn run_with_input<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Ran {
        let mut command = self.command(arguments);
        let mut child = Self::spawn(command.stdin(Stdio::piped()));
        child
            .stdin
            .take()
            .expect("standard input is a pipe")
            .write_all(input)
            .expect("it can be written");
        self.finish(&wait::output(child))
    }

    /// Starts a command with its output in pipes.
    pub(crate) fn spawn(command: &mut Command) -> Child {
        wait::heed_signals();
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started")
    }

    /// What came of it, normalised.
    pub(crate) fn finish(&self, output: &Output) -> Ran {
        let text = |bytes: &[u8]| normalise(&String::from_utf8_lossy(bytes), &self.source());
        let signalled = || 128 + output.status.signal().unwrap_or(0);
        Ran {
            code: output.status.code().unwrap_or_else(signalled),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Everything that is left where it should not be: private directories of builds.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("tmp")).expect("the temporary directory is there");
        entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// Files below a directory with their content, directories left out.
pub(crate) fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    super::tree::files(root)
        .into_iter()
        .map(|path| {
            let content = fs::read(root.join(&path)).expect("a listed file can be read");
            (path, content)
        })
        .collect()
}
