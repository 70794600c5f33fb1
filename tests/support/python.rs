//! Judges that others wrote: Python with packages of `tests/requirements.txt`, which `tests/run` puts on the PATH.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::skipped;

/// Whether Python and modules are there. If not, that is said.
pub(crate) fn has(modules: &[&str]) -> bool {
    let imports = format!("import {}", modules.join(", "));
    let there = Command::new("python3")
        .args(["-c", &imports])
        .stderr(Stdio::null())
        .status();
    let has = there.is_ok_and(|status| status.success());
    if !has {
        skipped(
            "python",
            &format!("it has not all of {}", modules.join(", ")),
        );
    }
    has
}

/// Runs a script with `input` on its standard input. False if a module it needs is not there, which is said. What the
/// script complains of is a failure.
#[track_caller]
pub(crate) fn judge(modules: &[&str], script: &str, input: &[u8]) -> bool {
    if !has(modules) {
        return false;
    }
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 can be started");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    stdin.write_all(input).expect("it reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    true
}
