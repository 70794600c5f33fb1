//! Two connections that become one.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes that are passed on at once.
const CHUNK: usize = 8 * 1024;

/// Passes on what comes from either side to the other one, until nothing more comes from either. The end of one side is that
/// of the other. What a side takes no more takes nothing of what it has said before.
pub async fn relay(one: impl AsyncRead + AsyncWrite, other: impl AsyncRead + AsyncWrite) {
    let (from_one, to_one) = tokio::io::split(one);
    let (from_other, to_other) = tokio::io::split(other);
    tokio::join!(pass(from_one, to_other), pass(from_other, to_one));
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let passed = to.write_all(&buffer[..read]).await;
        if passed.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn either_side_has_what_the_other_one_said_and_its_end() {
        let (mut one, near) = UnixStream::pair().unwrap();
        let (far, mut other) = UnixStream::pair().unwrap();
        let relaying = tokio::spawn(relay(near, far));
        let question = vec![b'q'; 3 * CHUNK];
        let answering = tokio::spawn(async move {
            let mut asked = Vec::new();
            other.read_to_end(&mut asked).await.unwrap();
            other.write_all(b"answer").await.unwrap();
            asked
        });
        one.write_all(&question).await.unwrap();
        one.shutdown().await.unwrap();
        let mut answer = Vec::new();
        one.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        assert_eq!(answering.await.unwrap(), question);
        relaying.await.unwrap();
    }

    // TOOL-36
    #[tokio::test]
    async fn what_was_said_arrives_though_nothing_more_is_taken() {
        let (mut one, near) = UnixStream::pair().unwrap();
        let (far, mut other) = UnixStream::pair().unwrap();
        other.write_all(b"shown").await.unwrap();
        drop(other);
        one.write_all(b"key").await.unwrap();
        relay(near, far).await;
        let mut shown = Vec::new();
        one.read_to_end(&mut shown).await.unwrap();
        assert_eq!(shown, b"shown");
    }
}
