//! The program at a terminal.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::sandbox::{Ran, Sandbox};
use super::wait::{self, Bounded as _};
use super::{RUNNER, skipped};

/// Types at a terminal of the program, and gives back what it shows and how it ended. The line begins with `runner`; its
/// surroundings are those of `usual`, a command of the sandbox. `None`, and that is said, without script(1).
pub(crate) fn type_at(sandbox: &Sandbox, usual: &Command, line: &str, keys: &str) -> Option<Ran> {
    let there = Command::new("script").arg("--version").bounded_output();
    if there.is_err() {
        skipped("a shell at a terminal", "no script(1)");
        return None;
    }
    let mut script = Command::new("script");
    script.args(["-qec", &line.replacen("runner", RUNNER, 1), "/dev/null"]);
    script.env_clear().current_dir(sandbox.source());
    script.envs(
        usual
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    script.env("TERM", "xterm").stdin(Stdio::piped());
    let mut child = Sandbox::spawn(&mut script);
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    stdin.write_all(keys.as_bytes()).expect("it can be written");
    // The end of it would be typed too.
    let output = wait::output(child);
    drop(stdin);
    Some(sandbox.finish(&output))
}
