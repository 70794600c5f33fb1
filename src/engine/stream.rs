//! Requests whose answers are streams of JSON records.

use bollard::{BollardRequest, body_full, body_stream};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::Stream;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde_json::Value;

use super::error::chain;
use super::transport::Transport;
use super::{ANSWER_LIMIT, Error};

/// What a request carries.
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes as they become known, such as a TAR stream.
    Stream(std::pin::Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Stream(_) => "Stream",
        })
    }
}

/// Longest record of an engine's that is believed, in bytes.
const MAX_RECORD: usize = 8 * 1024 * 1024;

/// The records of an answer, one JSON value each.
#[derive(Debug)]
pub struct Records {
    doing: String,
    body: Incoming,
    buffer: BytesMut,
}

pub(super) async fn post(
    transport: &Transport,
    doing: &str,
    path: &str,
    headers: &[(&'static str, String)],
    body: Body,
) -> Result<Records, Error> {
    exchange(transport, doing, (Method::POST, path), headers, body).await
}

pub(super) async fn get(
    transport: &Transport,
    doing: &str,
    path: &str,
    headers: &[(&'static str, String)],
) -> Result<Value, Error> {
    let work = async {
        let request = (Method::GET, path);
        let mut records = exchange(transport, doing, request, headers, Body::Empty).await?;
        let record = records.next().await?;
        record.ok_or_else(|| records.broken("the answer is empty"))
    };
    let late = |_| Error::Connection {
        doing: doing.to_owned(),
        reason: "the engine did not answer in time".to_owned(),
    };
    tokio::time::timeout(ANSWER_LIMIT, work)
        .await
        .map_err(late)?
}

/// Sends a request. An answer that is no success is an error.
async fn exchange(
    transport: &Transport,
    doing: &str,
    (method, path): (Method, &str),
    headers: &[(&'static str, String)],
    body: Body,
) -> Result<Records, Error> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request: BollardRequest = request
        .body(match body {
            Body::Empty => body_full(Bytes::new()),
            Body::Stream(stream) => body_stream(stream),
        })
        .map_err(|error| Error::Connection {
            doing: doing.to_owned(),
            reason: error.to_string(),
        })?;
    let answer = transport
        .send(request)
        .await
        .map_err(|error| Error::api(doing, error))?;
    let status = answer.status();
    let mut records = Records {
        doing: doing.to_owned(),
        body: answer.into_body(),
        buffer: BytesMut::new(),
    };
    if status.is_success() {
        return Ok(records);
    }
    let said = records.next().await?;
    let message = said
        .as_ref()
        .and_then(|record| record["message"].as_str())
        .unwrap_or("it gave no reason");
    Err(Error::Refused {
        doing: doing.to_owned(),
        status: status.as_u16(),
        message: message.trim().to_owned(),
    })
}

impl Records {
    /// The next record; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if let Some(record) = self.take()? {
                return Ok(Some(record));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(self.broken(&chain(&error))),
                None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => return Err(self.broken("the answer ended in the middle of a record")),
            }
        }
    }

    /// A whole record out of the buffer, if there is one. Engines write them one after the other, with or without line
    /// ends between.
    fn take(&mut self) -> Result<Option<Value>, Error> {
        let mut values = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<Value>();
        match values.next() {
            Some(Ok(record)) => {
                let used = values.byte_offset();
                self.buffer.advance(used);
                Ok(Some(record))
            }
            Some(Err(error)) if !error.is_eof() => Err(self.broken(&error.to_string())),
            _ if self.buffer.len() > MAX_RECORD => Err(self.broken("a record has no end")),
            _ => Ok(None),
        }
    }

    fn broken(&self, reason: &str) -> Error {
        Error::Connection {
            doing: self.doing.clone(),
            reason: reason.to_owned(),
        }
    }
}
