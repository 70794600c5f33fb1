//! Asks a person for what is to be seen by nobody (ENV-50).

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use crate::build::StopSignals;
use crate::event::StopReason;

/// Longest answer, in bytes: no process can have a longer value.
const LONGEST: usize = 128 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NotAsked {
    /// Whoever was asked wants the end (Ctrl-C), or somebody else does: the signal.
    Stopped(i32),
    /// Nobody could be asked, or the answer is of no use.
    Because(String),
}

/// Whether somebody can be asked for a value; if not, why.
pub(super) fn can_ask(name: &str) -> Result<(), String> {
    let there = io::stdin().is_terminal() && open().is_ok();
    there.then_some(()).ok_or_else(|| format!(
        "`--secret {name}` asks at a terminal, and standard input is none: put `{name}=VALUE` into a file and name that with `--secrets-file`"
    ))
}

fn open() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

/// Asks for a value at the terminal, and shows nothing of what is typed. Whoever asks for the end meanwhile gets it, with the
/// terminal as it was.
pub(super) async fn ask(name: &str, stops: &mut StopSignals) -> Result<String, NotAsked> {
    let failed = |error: io::Error| NotAsked::Because(format!("could not ask for {name}: {error}"));
    let terminal = open().map_err(failed)?;
    let mut keys = terminal.try_clone().map_err(failed)?;
    let answer = {
        let quiet = Quiet::begin(&terminal).map_err(failed)?;
        let mut shown = &terminal;
        let _ = write!(shown, "{name} (not shown): ");
        // Nobody waits for it where a signal comes first: it ends with the program.
        let reading = tokio::task::spawn_blocking(move || read(&mut keys));
        let answer = tokio::select! {
            answer = reading => answer.unwrap_or_else(|error| Err(failed(io::Error::other(error)))),
            Some(reason) = stops.recv() => Err(NotAsked::Stopped(match reason {
                StopReason::Signal(number) => number,
                StopReason::OutputClosed | StopReason::Request => TERMINATE,
            })),
        };
        let _ = writeln!(shown);
        drop(quiet);
        answer?
    };
    match String::from_utf8(answer) {
        Ok(text) if text.is_empty() => {
            Err(NotAsked::Because(format!("nothing was typed for `{name}`")))
        }
        Ok(text) => Ok(text),
        Err(_) => Err(NotAsked::Because(format!(
            "what was typed for `{name}` is not UTF-8"
        ))),
    }
}

/// A terminal that shows nothing and passes every key on, so that Ctrl-C does not leave it like that. What was not read is
/// forgotten at the end: the rest of a text with several lines is nobody's to see either.
struct Quiet<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Quiet<'t> {
    fn begin(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        let shown = LocalModes::ECHO | LocalModes::ECHONL;
        quiet
            .local_modes
            .remove(shown | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// What is typed up to the end of the line.
fn read(keys: &mut impl io::Read) -> Result<Vec<u8>, NotAsked> {
    let mut typed = Vec::new();
    let mut keys = keys.take(2 * LONGEST as u64);
    let mut key = [0];
    loop {
        match keys.read(&mut key) {
            Ok(0) => return Ok(typed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(NotAsked::Because(format!(
                    "could not read the terminal: {error}"
                )));
            }
        }
        match key[0] {
            b'\r' | b'\n' | CTRL_D => return Ok(typed),
            CTRL_C | CTRL_BACKSLASH => return Err(NotAsked::Stopped(INTERRUPT)),
            BACKSPACE | DELETE => remove_last(&mut typed),
            CTRL_U => typed.clear(),
            _ if typed.len() == LONGEST => {
                return Err(NotAsked::Because(
                    "this is longer than any variable can be (128 KiB)".to_owned(),
                ));
            }
            byte => typed.push(byte),
        }
    }
}

/// Numbers of signals.
const INTERRUPT: i32 = 2;
const TERMINATE: i32 = 15;

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const CTRL_BACKSLASH: u8 = 0x1c;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;

/// Takes back the last character, which may be several bytes.
fn remove_last(typed: &mut Vec<u8>) {
    while let Some(byte) = typed.pop() {
        if byte & 0b1100_0000 != 0b1000_0000 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ENV-50
    #[test]
    fn keys_make_an_answer() {
        let table: [(&[u8], Option<&str>); 8] = [
            (b"secret\rmore", Some("secret")),
            (b"secret\n", Some("secret")),
            (b"secrex\x7ft\r", Some("secret")),
            ("aé\u{8}b\r".as_bytes(), Some("ab")),
            (b"wrong\x15right\r", Some("right")),
            (b"\x7f\x7fa\x04", Some("a")),
            (b"no end", Some("no end")),
            (b"half\x03", None),
        ];
        for (mut keys, expected) in table {
            let answer = read(&mut keys).ok();
            assert_eq!(
                answer.as_deref(),
                expected.map(str::as_bytes),
                "{expected:?}"
            );
        }
        let mut endless = io::repeat(b'x');
        assert!(matches!(read(&mut endless), Err(NotAsked::Because(_))));
    }
}
