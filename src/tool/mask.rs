//! `runner mask`: a command of a build has a value hidden that came up while it ran (TOOL-40 to TOOL-44).
//!
//! The value goes through the socket of the build's tools, or on a host through one that is there for this alone: never
//! through arguments of a process of ours, a file or a variable.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::request::{Request, Secret};
use super::wire::{self, Frame};
use crate::redact::{self, Hider};

/// Longest value, in bytes: that of Secrets Manager.
pub const LONGEST: usize = 64 * 1024;

/// Bytes of values that commands of one build may have hidden: all forms of them are held in memory, thirty times as much.
const MOST: usize = 1024 * 1024;

/// How long the build may take to hide a value, and a command to say which.
const LIMIT: Duration = Duration::from_secs(30);

/// Has the build that a stream leads to hide a value, and returns when it is hidden. What went wrong is said in words.
pub async fn mask<S>(stream: S, value: &str) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    check(value)?;
    let (mut answers, mut requests) = tokio::io::split(stream);
    let request = Request::Mask {
        value: Secret(value.to_owned()),
    };
    let json = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
    let broken = |error: io::Error| format!("the runner of this build does not answer: {error}");
    let asking = async {
        wire::write(&mut requests, Frame::Request(json.into())).await?;
        let mut why = Vec::new();
        loop {
            match wire::read(&mut answers).await? {
                Some(Frame::Stderr(text)) => why.extend_from_slice(&text),
                Some(Frame::Exit(0)) => return Ok(Ok(())),
                Some(Frame::Exit(_)) => {
                    return Ok(Err(String::from_utf8_lossy(&why).trim().to_owned()));
                }
                Some(_) | None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    };
    match tokio::time::timeout(LIMIT, asking).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => Err(broken(error)),
        Err(_) => Err(broken(io::ErrorKind::TimedOut.into())),
    }
}

/// Why a value cannot be hidden. It is never in what is said.
fn check(value: &str) -> Result<(), String> {
    let shortest = redact::SHORTEST;
    match value.len() {
        0 => Err("the value is empty: the command that was to write it failed".to_owned()),
        length if length < shortest => Err(format!(
            "the value is shorter than {shortest} bytes and is not hidden: it would hide ordinary text everywhere"
        )),
        length if length > LONGEST => Err(format!("the value is longer than {LONGEST} bytes")),
        _ => Ok(()),
    }
}

/// What commands of one build have hidden.
#[derive(Clone, Debug)]
pub struct Masks {
    hider: Hider,
    /// Bytes of values that there is room for.
    room: Arc<AtomicUsize>,
}

impl Masks {
    /// None yet; `hider` leads to whoever writes.
    #[must_use]
    pub fn new(hider: Hider) -> Self {
        Self {
            hider,
            room: Arc::new(AtomicUsize::new(MOST)),
        }
    }

    /// Hides a value in all its forms. Whether there was room for it.
    pub(super) fn hide(&self, value: &str) -> bool {
        let taken = self
            .room
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |room| {
                room.checked_sub(value.len())
            });
        if taken.is_ok() {
            self.hider.hide(redact::forms(value.as_bytes()));
        }
        taken.is_ok()
    }

    /// Hides a password that this program itself gives or gets for the build. There are few of those.
    pub(super) fn hide_password(&self, password: &str) {
        self.hider.hide(redact::forms(password.as_bytes()));
    }
}

/// Serves one command on a host: it may have a value hidden, and nothing else.
pub async fn serve_mask<S>(stream: S, masks: &Masks) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut from_front, mut to_front) = tokio::io::split(stream);
    let first = tokio::time::timeout(LIMIT, wire::read(&mut from_front)).await;
    let Some(Frame::Request(json)) = first.map_err(|_| io::ErrorKind::TimedOut)?? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let hidden = match serde_json::from_slice(&json) {
        Ok(Request::Mask { value }) => hide(&value, Some(masks)),
        Ok(_) | Err(_) => Err("this command is not of the version of runner that runs the build"),
    };
    if let Err(why) = hidden {
        wire::write(&mut to_front, Frame::Stderr(why.into())).await?;
    }
    wire::write(&mut to_front, Frame::Exit(u8::from(hidden.is_err()))).await
}

/// Hides a value; says why it is not hidden.
pub(super) fn hide(value: &Secret, masks: Option<&Masks>) -> Result<(), &'static str> {
    match masks {
        Some(masks) if masks.hide(&value.0) => Ok(()),
        Some(_) => Err("this build hides as much as it can already"),
        None => Err("this build hides nothing for its commands"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn masked(value: &str) -> (Result<(), String>, Vec<Vec<u8>>) {
        let hider = Hider::default();
        let masks = Masks::new(hider.clone());
        let (front, back) = tokio::io::duplex(1024);
        let (said, _) = tokio::join!(mask(front, value), serve_mask(back, &masks));
        (said, hider.take())
    }

    // TOOL-42
    #[tokio::test]
    async fn a_value_that_cannot_be_hidden_is_refused_and_not_repeated() {
        let (said, values) = masked("fine-value").await;
        assert_eq!(said, Ok(()));
        assert_eq!(values, redact::forms(b"fine-value"));
        let long = "x".repeat(LONGEST + 1);
        for value in ["", "abc", &long] {
            let (said, values) = masked(value).await;
            let said = said.expect_err("it is refused");
            assert!(
                values.is_empty() && (value.is_empty() || !said.contains(value)),
                "{said}"
            );
        }
    }
}
