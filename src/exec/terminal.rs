//! The terminal that a person sits at, for a shell among the things of a build.

use std::fs::File;
use std::io;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::net::unix::pipe;

/// The terminal of this process, opened anew, so that reading from it can be broken off and loses no key.
#[derive(Debug)]
pub struct Terminal {
    /// Not a pipe, but read as one is: when there is something.
    keys: pipe::Receiver,
    screen: pipe::Sender,
    /// `TERM`: what programs in a container may ask of it.
    kind: Option<String>,
}

/// A terminal that passes every key on as it is. Becomes what it was when this is dropped.
pub(super) struct Raw<'t> {
    terminal: &'t Terminal,
    before: Termios,
}

impl Terminal {
    /// Opens it. `kind` is the caller's `TERM`.
    ///
    /// Fails if there is none. Inside of a runtime.
    pub fn open(kind: Option<String>) -> io::Result<Self> {
        let open = |access| {
            let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
            rustix::fs::open("/dev/tty", flags, Mode::empty())
        };
        Ok(Self {
            keys: pipe::Receiver::from_owned_fd_unchecked(open(OFlags::RDONLY)?)?,
            screen: pipe::Sender::from_owned_fd_unchecked(open(OFlags::WRONLY)?)?,
            kind,
        })
    }

    /// `TERM`
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Shows a line.
    pub async fn say(&self, line: &str) {
        let _ = self.write(format!("{line}\n").as_bytes()).await;
    }

    /// Rows and columns.
    pub(super) fn size(&self) -> Option<(u16, u16)> {
        let size = tcgetwinsize(&self.keys).ok()?;
        Some((size.ws_row, size.ws_col)).filter(|(rows, columns)| *rows > 0 && *columns > 0)
    }

    /// Passes every key on as it is from now on.
    pub(super) fn raw(&self) -> io::Result<Raw<'_>> {
        let before = tcgetattr(&self.keys)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&self.keys, OptionalActions::Drain, &raw)?;
        Ok(Raw {
            terminal: self,
            before,
        })
    }

    /// What is typed; nothing at the end. May be dropped.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.keys.readable().await?;
            match self.keys.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// Shows bytes.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.screen.writable().await?;
            match self.screen.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => bytes = &bytes[written?..],
            }
        }
        Ok(())
    }

    /// The terminal as a file of its own, for a process.
    pub(super) fn file() -> io::Result<File> {
        File::options().read(true).write(true).open("/dev/tty")
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal.keys, OptionalActions::Drain, &self.before);
    }
}
