//! Git's credential helper: what git asks goes to the runner of the build, and its answer comes back (CRED-20, CRED-26).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::request::Request;
use super::wire::{self, Frame};
use crate::git_credential::Keeper;

/// How long an answer may take: that of Secrets Manager, or of the caller's own git, and a little more.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// How long a question may take to come.
const QUESTION_LIMIT: Duration = Duration::from_secs(30);

/// Asks the runner of the build that a stream leads to. Gives lines for git; what went wrong is said in words.
pub async fn ask_git<S>(stream: S, question: &str) -> Result<String, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut answers, mut requests) = tokio::io::split(stream);
    let request = Request::Git {
        question: question.to_owned(),
    };
    let json = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
    let asking = async {
        wire::write(&mut requests, Frame::Request(json.into())).await?;
        let (mut answer, mut why) = (Vec::new(), Vec::new());
        loop {
            match wire::read(&mut answers).await? {
                Some(Frame::Stdout(text)) => answer.extend_from_slice(&text),
                Some(Frame::Stderr(text)) => why.extend_from_slice(&text),
                Some(Frame::Exit(0)) => return Ok(Ok(text_of(&answer))),
                Some(Frame::Exit(_)) => return Ok(Err(text_of(&why))),
                Some(_) | None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    };
    let broken = |error: io::Error| format!("the runner of this build does not answer: {error}");
    match tokio::time::timeout(ANSWER_LIMIT, asking).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => Err(broken(error)),
        Err(_) => Err(broken(io::ErrorKind::TimedOut.into())),
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Serves one question of git's, where there is nothing else to be asked.
pub async fn serve_git<S>(stream: S, keeper: &Keeper) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut from_front, mut to_front) = tokio::io::split(stream);
    let first = tokio::time::timeout(QUESTION_LIMIT, wire::read(&mut from_front)).await;
    let Some(Frame::Request(json)) = first.map_err(|_| io::ErrorKind::TimedOut)?? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let answer = match serde_json::from_slice(&json) {
        Ok(Request::Git { question }) => keeper.answer(&question).await,
        Ok(_) | Err(_) => {
            Err("this build answers nothing but git, and that of its own version".to_owned())
        }
    };
    let (frame, code) = match answer {
        Ok(lines) => (Frame::Stdout(lines.into()), 0),
        Err(why) => (Frame::Stderr(why.into()), 1),
    };
    wire::write(&mut to_front, frame).await?;
    wire::write(&mut to_front, Frame::Exit(code)).await
}
