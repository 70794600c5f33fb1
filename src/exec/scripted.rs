//! An executor without processes, for tests of what drives executors.
//!
//! A command is a few words that say how it behaves, one a line:
//!
//! | line | effect |
//! | --- | --- |
//! | `out TEXT` | writes TEXT and a newline |
//! | `exit N` | ends with status N; without it a command ends with 0 |
//! | `hang` | waits until it is asked to end, then is ended by TERM |
//! | `hang hard` | waits until it is forced to end |
//! | `leak` | leaves a process behind |
//! | `fault` | the place itself breaks |
//! | `refuse` | there is no such user |

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{
    Cancel, Command, CommandEnd, Environment, Error, Escalation, Executor, ExpandFailure, Output,
    Session, Terminal, Work,
};
use crate::event::Exit;
use crate::view::Mount;

/// Opens scripted sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScriptedExecutor {
    /// Whether opening fails.
    pub broken: bool,
}

/// A session without processes.
#[derive(Debug, Default)]
pub struct ScriptedSession {
    leaked: usize,
}

impl Executor for ScriptedExecutor {
    type Session = ScriptedSession;

    const NAME: &'static str = "scripted";

    async fn open(&self, environment: Environment) -> Result<ScriptedSession, Error> {
        if self.broken {
            return Err(Error::ShellMissing {
                shell: environment.shell.name().to_owned(),
            });
        }
        Ok(ScriptedSession::default())
    }
}

impl Session for ScriptedSession {
    async fn run(
        &mut self,
        command: Command<'_>,
        output: &Output,
        cancel: &mut Cancel,
    ) -> Result<CommandEnd, Error> {
        let mut end = CommandEnd {
            exit: Exit::Exited(0),
            leaked: false,
            notes: Vec::new(),
        };
        for line in command.text.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("out", text) => {
                    let _ = output.send(format!("{text}\n").into_bytes()).await;
                }
                ("exit", status) => end.exit = Exit::Exited(status.parse().unwrap_or(1)),
                ("hang", how) => {
                    let until = if how == "hard" {
                        Escalation::Kill
                    } else {
                        Escalation::Terminate
                    };
                    let _ = cancel.wait_for(|asked| *asked >= until).await;
                    end.exit = Exit::Signalled(if until == Escalation::Kill { 9 } else { 15 });
                }
                ("leak", _) => {
                    self.leaked += 1;
                    end.leaked = true;
                }
                ("fault", _) => {
                    return Err(Error::System {
                        doing: "go on",
                        source: io::Error::other("scripted"),
                    });
                }
                ("refuse", _) => {
                    let user = command.user.unwrap_or("nobody").to_owned();
                    return Err(Error::UnknownUser { user });
                }
                _ => {}
            }
        }
        Ok(end)
    }

    async fn read_file(&mut self, _path: &Path, _limit: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }

    async fn expand(
        &mut self,
        texts: &[&str],
        _output: &Output,
        _cancel: &mut Cancel,
    ) -> Result<Result<Vec<OsString>, ExpandFailure>, Error> {
        Ok(Ok(texts.iter().map(OsString::from).collect()))
    }

    async fn mentions(&mut self, _name: &str) -> bool {
        false
    }

    async fn bring(&mut self, _starts: &[PathBuf]) -> Result<Vec<Mount>, Error> {
        Ok(Vec::new())
    }

    async fn work(&mut self, work: Work, cancel: &mut Cancel) -> Result<Vec<u8>, Error> {
        super::work::here(work, Path::new("/"), None, cancel).await
    }

    async fn drain_background(&mut self, _output: &Output) {}

    async fn enter(&mut self, _terminal: &Terminal, _cancel: &mut Cancel) -> Result<Exit, Error> {
        Ok(Exit::Exited(0))
    }

    async fn close(&mut self, _output: &Output, _cancel: &mut Cancel) -> usize {
        std::mem::take(&mut self.leaked)
    }
}
