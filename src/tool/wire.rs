//! Frames: what travels between the two ends of a tool. The module above says which come when.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Longest payload of a frame, in bytes. A longer one is no frame of ours.
const LONGEST: usize = 1024 * 1024;

/// Bytes of content that one frame carries at most.
pub(super) const CHUNK: usize = 128 * 1024;

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// What is asked for, as JSON: the first frame of the front.
    Request(Bytes),
    /// A piece of what the front sends along.
    Body(Bytes),
    /// The body is whole. Without this frame it is not, however the stream ends.
    BodyEnd,
    /// For the standard output of the command, or for the file that takes its place.
    Stdout(Bytes),
    /// For the standard error of the command.
    Stderr(Bytes),
    /// The command's exit code: the last frame of the back.
    Exit(u8),
}

impl Frame {
    fn parts(self) -> (u8, Bytes) {
        match self {
            Self::Request(json) => (b'q', json),
            Self::Body(content) => (b'b', content),
            Self::BodyEnd => (b'e', Bytes::new()),
            Self::Stdout(text) => (b'o', text),
            Self::Stderr(text) => (b'r', text),
            Self::Exit(code) => (b'x', Bytes::copy_from_slice(&[code])),
        }
    }

    fn from_parts(kind: u8, payload: Bytes) -> io::Result<Self> {
        match (kind, payload.len()) {
            (b'q', _) => Ok(Self::Request(payload)),
            (b'b', _) => Ok(Self::Body(payload)),
            (b'e', 0) => Ok(Self::BodyEnd),
            (b'o', _) => Ok(Self::Stdout(payload)),
            (b'r', _) => Ok(Self::Stderr(payload)),
            (b'x', 1) => Ok(Self::Exit(payload[0])),
            _ => Err(not_ours()),
        }
    }
}

fn not_ours() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "what came is no frame of this protocol; both ends have to be of one version of runner",
    )
}

/// Writes one frame and sees it off.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: Frame) -> io::Result<()> {
    let (kind, payload) = frame.parts();
    if payload.len() > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the command has more arguments than a frame holds",
        ));
    }
    let length = u32::try_from(payload.len()).map_err(|_| not_ours())?;
    let mut head = [kind, 0, 0, 0, 0];
    head[1..].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&head).await?;
    stream.write_all(&payload).await?;
    stream.flush().await
}

/// Reads one frame; `None` where the other end stopped between two.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut kind = [0];
    if stream.read(&mut kind).await? == 0 {
        return Ok(None);
    }
    let length = usize::try_from(stream.read_u32().await?).map_err(|_| not_ours())?;
    if length > LONGEST {
        return Err(not_ours());
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Frame::from_parts(kind[0], Bytes::from(payload)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_as_they_were_sent() {
        let frames = [
            Frame::Request(Bytes::from_static(b"{}")),
            Frame::Body(Bytes::from(vec![7; CHUNK])),
            Frame::BodyEnd,
            Frame::Stdout(Bytes::new()),
            Frame::Stderr(Bytes::from_static(b"x")),
            Frame::Exit(252),
        ];
        let (mut one, mut other) = tokio::io::duplex(CHUNK * 4);
        for frame in &frames {
            write(&mut one, frame.clone()).await.expect("it is sent");
        }
        drop(one);
        for frame in frames {
            let came = read(&mut other).await.expect("it can be read");
            assert!(came == Some(frame));
        }
        assert!(read(&mut other).await.expect("an end").is_none());
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error() {
        let table: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\n",
            b"b\x00\x20\x00\x00",
            b"b\x00",
            b"x\x00\x00\x00\x00",
        ];
        for mut bytes in table {
            assert!(read(&mut bytes).await.is_err());
        }
    }
}
