//! The terminal that a person sits at, for a shell among the things of a build; and one that is made for such a shell.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
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
#[derive(Debug)]
#[must_use]
pub struct Raw<'t> {
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
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Shows a line.
    pub async fn say(&self, line: &str) {
        let _ = self.write(format!("{line}\n").as_bytes()).await;
    }

    /// Rows and columns.
    #[must_use]
    pub fn size(&self) -> Option<(u16, u16)> {
        let size = tcgetwinsize(&self.keys).ok()?;
        Some((size.ws_row, size.ws_col)).filter(|(rows, columns)| *rows > 0 && *columns > 0)
    }

    /// Passes every key on as it is from now on.
    pub fn raw(&self) -> io::Result<Raw<'_>> {
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
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        read(&self.keys, buffer).await
    }

    /// Shows bytes.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        write(&self.screen, bytes).await
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

/// The other side of a terminal that was made for a process: who reads and writes it here is its screen and its keys.
#[derive(Debug)]
pub struct PseudoTerminal {
    /// Not pipes, but used as they are: when there is something, and when there is room.
    screen: pipe::Receiver,
    keys: pipe::Sender,
}

impl PseudoTerminal {
    /// Makes one with so many rows and columns, and opens it for a process. Inside of a runtime.
    pub fn open(size: Option<(u16, u16)>) -> io::Result<(Self, File)> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(OsStr::from_bytes(name.as_bytes()), flags, Mode::empty())?;
        let flags = rustix::fs::fcntl_getfl(&ours)?;
        rustix::fs::fcntl_setfl(&ours, flags | OFlags::NONBLOCK)?;
        let made = Self {
            keys: pipe::Sender::from_owned_fd_unchecked(ours.try_clone()?)?,
            screen: pipe::Receiver::from_owned_fd_unchecked(ours)?,
        };
        if let Some((rows, columns)) = size {
            made.resize(rows, columns);
        }
        Ok((made, theirs.into()))
    }

    /// Gives it another size. One that cannot be had changes nothing.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let _ = tcsetwinsize(&self.keys, size);
    }

    /// What is shown; an error when no process has it any more. May be dropped.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        read(&self.screen, buffer).await
    }

    /// What is shown by now, however late the runtime comes to hear of it; an error if that is nothing.
    pub fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::read(&self.screen, &mut *buffer)
        })?)
    }

    /// Types bytes.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        write(&self.keys, bytes).await
    }
}

async fn read(from: &pipe::Receiver, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

async fn write(to: &pipe::Sender, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => bytes = &bytes[written?..],
        }
    }
    Ok(())
}
