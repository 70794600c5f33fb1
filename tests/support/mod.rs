//! What the tests have in common.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

pub(crate) mod aws;
pub(crate) mod cloudwatch;
pub(crate) mod codepipeline;
pub(crate) mod container;
pub(crate) mod engine;
pub(crate) mod events;
pub(crate) mod forward_proxy;
pub(crate) mod git;
pub(crate) mod normalise;
pub(crate) mod oracle;
pub(crate) mod package;
pub(crate) mod python;
pub(crate) mod request;
pub(crate) mod sandbox;
pub(crate) mod sound;
pub(crate) mod stage;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod tree;
pub(crate) mod wait;

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The program under test.
pub(crate) const RUNNER: &str = env!("CARGO_BIN_EXE_runner");

/// The root of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether expectations are written instead of compared.
pub(crate) fn updating() -> bool {
    std::env::var_os("UPDATE").is_some_and(|value| value == "1")
}

/// Real buildspecs from public repositories, read in place where they are at hand.
pub(crate) fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("RUNNER_CORPUS").map(PathBuf::from);
    let beside = root().parent().map(|parent| parent.join("shared/corpus"));
    named.or(beside).filter(|path| path.is_dir())
}

/// Says that a test did not run: on standard error, and in the file that `tests/run` reads, for which `cargo test` would
/// hide it otherwise.
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("skipped: {what}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("RUNNER_SKIPS") {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("a skip can be written down");
    }
}

/// Copies the program, by another process: a file that this one has open for writing while another test starts a program
/// cannot be run.
#[track_caller]
pub(crate) fn copy_runner(to: &Path) {
    use wait::Bounded as _;
    let copied = std::process::Command::new("cp")
        .arg(RUNNER)
        .arg(to)
        .bounded_output();
    assert!(
        copied.is_ok_and(|copied| copied.status.success()),
        "a copy of the program"
    );
}

/// Writes a script that can be run, by another process for the same reason.
#[track_caller]
pub(crate) fn write_script(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut writer = std::process::Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let input = writer.stdin.take().expect("it is a pipe");
    { input }
        .write_all(text.as_bytes())
        .expect("it is read to its end");
    assert!(wait::end(writer).success(), "{}", path.display());
}

/// Bytes that no compression makes less of.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
