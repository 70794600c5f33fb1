//! The front of our credential helper, in a container: what it does not know itself, it asks the back for.

use tokio::io::{AsyncRead, AsyncWrite};

use super::request::Request;
use super::wire::{self, Frame};
use crate::registry::Credential;

/// Asks the back that a stream leads to who the user is for a registry. What went wrong is said in its words.
pub async fn credential<S>(stream: S, server: &str) -> Result<Option<Credential>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut answers, mut requests) = tokio::io::split(stream);
    let request = Request::Credential {
        server: server.to_owned(),
    };
    let json = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
    let broken = |error: std::io::Error| format!("could not ask runner for credentials: {error}");
    wire::write(&mut requests, Frame::Request(json.into()))
        .await
        .map_err(broken)?;
    let (mut answer, mut errors) = (Vec::new(), Vec::new());
    loop {
        match wire::read(&mut answers).await.map_err(broken)? {
            Some(Frame::Stdout(text)) => answer.extend_from_slice(&text),
            Some(Frame::Stderr(text)) => errors.extend_from_slice(&text),
            Some(Frame::Exit(0)) => return Ok(Credential::from_json(&answer)),
            Some(Frame::Exit(_)) => return Err(String::from_utf8_lossy(&errors).trim().to_owned()),
            Some(_) | None => {
                return Err("could not ask runner for credentials: no answer".to_owned());
            }
        }
    }
}
