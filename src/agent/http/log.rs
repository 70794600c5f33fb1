//! The log of a build, out of its file.

use std::io;
use std::path::Path;

use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::Body;

/// Bytes of a log that a page shows, from its end.
const TAIL: u64 = 128 * 1024;

/// Bytes of a whole log that are held at once.
const CHUNK: usize = 64 * 1024;

/// The end of a log, as a page shows it.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Whole lines, without control sequences.
    pub(super) text: String,
    /// Bytes before them.
    pub(super) before: u64,
    /// Whether there is a file.
    pub(super) is_there: bool,
}

/// The end of a log. What cannot be read is nothing yet: a build that has only begun has no file.
pub(super) async fn tail(file: &Path) -> Tail {
    read_tail(file).await.unwrap_or_default()
}

async fn read_tail(file: &Path) -> io::Result<Tail> {
    let mut file = File::open(file).await?;
    let length = file.metadata().await?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(io::SeekFrom::Start(start)).await?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).await?;
    let mut skipped = 0;
    if start > 0 {
        // The first line is only the end of one, unless that is all there is.
        skipped = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
    }
    let text = String::from_utf8_lossy(&bytes[skipped..]);
    let text = anstream::adapter::strip_str(&text).to_string();
    Ok(Tail {
        // What goes back to the beginning of its line, as progress does, is shown as lines.
        text: text.replace("\r\n", "\n").replace('\r', "\n"),
        before: start + skipped as u64,
        is_there: true,
    })
}

/// A whole log, as far as it is written; nothing if there is none.
pub(super) async fn whole(file: &Path) -> Option<Body> {
    let file = File::open(file).await.ok()?;
    let length = file.metadata().await.ok()?.len();
    // What is written meanwhile is for the next who asks: a reader that keeps pace with a build would have no end.
    let frames = ReaderStream::with_capacity(file.take(length), CHUNK).map_ok(Frame::data);
    Some(StreamBody::new(frames).boxed_unsync())
}
