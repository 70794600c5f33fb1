//! Work of this program's own where commands run: what needs the files of the build, and is no command.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::{Cancel, Error, Escalation};

/// Bytes that are sent at once.
const CHUNK: usize = 256 * 1024;

/// Does a job: a function of this program, the same on both sides of the wall of a container. It takes what is asked, and
/// gives the answer.
pub type Worker = fn(&[u8], &mut WorkPlace<'_>) -> Vec<u8>;

/// What a worker has.
pub struct WorkPlace<'p> {
    /// The source directory, where commands run.
    pub source_directory: &'p Path,
    /// Whose the files of the source are, if not this process's: user and group.
    pub owner: Option<(u32, u32)>,
    /// Bytes that come in.
    pub input: &'p mut (dyn Read + Send),
    /// Bytes that go out.
    pub output: &'p mut (dyn Write + Send),
    /// Whether the end was asked for.
    pub stopped: &'p AtomicBool,
}

/// Work that is to be done.
#[derive(Debug)]
pub struct Work {
    /// Who does it on this side of the wall; on the other side it is the same one.
    pub worker: Worker,
    /// What is asked.
    pub job: Vec<u8>,
    /// Chunks that go in; they end with the sender.
    pub input: mpsc::Receiver<Vec<u8>>,
    /// Where chunks go that come out.
    pub output: mpsc::Sender<Vec<u8>>,
}

/// Does work in this process.
pub(super) async fn here(
    work: Work,
    source_directory: &Path,
    owner: Option<(u32, u32)>,
    cancel: &mut Cancel,
) -> Result<Vec<u8>, Error> {
    let Work {
        worker,
        job,
        input,
        output,
    } = work;
    let stopped = Arc::new(AtomicBool::new(false));
    let (directory, told) = (source_directory.to_owned(), Arc::clone(&stopped));
    let working = tokio::task::spawn_blocking(move || {
        let mut input = FromChunks {
            chunks: input,
            rest: Vec::new(),
            position: 0,
        };
        let mut output = BufWriter::with_capacity(CHUNK, ToChunks(output));
        worker(
            &job,
            &mut WorkPlace {
                source_directory: &directory,
                owner,
                input: &mut input,
                output: &mut output,
                stopped: &told,
            },
        )
    });
    tokio::pin!(working);
    let done = tokio::select! {
        done = &mut working => done,
        _ = cancel.wait_for(|asked| *asked > Escalation::None) => {
            stopped.store(true, Ordering::Relaxed);
            working.await
        }
    };
    done.map_err(|error| Error::System {
        doing: "do work beside the commands",
        source: io::Error::other(error),
    })
}

/// Chunks as a stream.
struct FromChunks {
    chunks: mpsc::Receiver<Vec<u8>>,
    rest: Vec<u8>,
    position: usize,
}

impl Read for FromChunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.rest.len() {
            match self.chunks.blocking_recv() {
                Some(chunk) => (self.rest, self.position) = (chunk, 0),
                None => return Ok(0),
            }
        }
        let rest = &self.rest[self.position..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.position += length;
        Ok(length)
    }
}

/// A stream as chunks.
struct ToChunks(mpsc::Sender<Vec<u8>>);

impl Write for ToChunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(bytes.to_vec());
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
