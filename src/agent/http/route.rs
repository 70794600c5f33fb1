//! From a request to what goes back.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::host::Names;
use super::{Body, badge, log, metrics, page, status};
use crate::agent::board::{Board, Build, Snapshot, State};
use crate::agent::progress::{LONGEST_ROUND, Progress};

/// Longest target of a request, in bytes: a build id is at most 200.
const MAX_TARGET: usize = 2000;

/// What goes with every answer: it is what its type says, no page may frame it, no other origin may read it, and nobody keeps it.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
];

/// Pages bring their style with them, show their own badges, and run and load nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What an agent shows.
#[derive(Clone, Debug)]
pub struct Site {
    board: Board,
    progress: Progress,
    names: Names,
}

/// What goes back, but for what always does.
pub(super) struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: Body,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Answer {
    pub(super) fn new(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Self {
        let never = |never: Infallible| -> io::Error { match never {} };
        let body = Full::new(body.into()).map_err(never).boxed_unsync();
        Self { status, kind, body }
    }

    pub(super) const fn stream(kind: &'static str, body: Body) -> Self {
        let status = StatusCode::OK;
        Self { status, kind, body }
    }

    fn text(status: StatusCode, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    fn html(html: String) -> Self {
        Self::new(StatusCode::OK, "text/html; charset=utf-8", html)
    }

    fn svg(svg: String) -> Self {
        Self::new(StatusCode::OK, "image/svg+xml", svg)
    }

    fn missing(what: &str) -> Self {
        Self::text(StatusCode::NOT_FOUND, what)
    }
}

impl Site {
    /// Shows this board to those who call it by one of these names.
    #[must_use]
    pub const fn new(board: Board, progress: Progress, names: Names) -> Self {
        Self {
            board,
            progress,
            names,
        }
    }

    /// Answers a request at a moment, on both clocks.
    pub(super) async fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        now: (SystemTime, Instant),
    ) -> Response<Body> {
        let answer = match self.refusal(method, uri, headers) {
            Some(refusal) => refusal,
            None => self.show(uri.path(), now).await,
        };
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status;
        let sent = response.headers_mut();
        sent.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.kind));
        for (name, value) in ALWAYS {
            sent.insert(name, HeaderValue::from_static(value));
        }
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            sent.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    fn refusal(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Answer> {
        if !self.names.has(uri, headers) {
            let why =
                "this agent is not called by that name; --listen-host says by which others it is";
            return Some(Answer::text(StatusCode::MISDIRECTED_REQUEST, why));
        }
        if ![Method::GET, Method::HEAD].contains(method) {
            let why = "this can only be read";
            return Some(Answer::text(StatusCode::METHOD_NOT_ALLOWED, why));
        }
        if uri.to_string().len() > MAX_TARGET {
            let why = "nothing here has so long a name";
            return Some(Answer::text(StatusCode::URI_TOO_LONG, why));
        }
        None
    }

    async fn show(&self, path: &str, now: (SystemTime, Instant)) -> Answer {
        let board = self.board.snapshot();
        let behind = || self.progress.behind(LONGEST_ROUND, now.1);
        match path {
            "/" => Answer::html(page::overview(&board, &behind(), now.0)),
            "/healthz" => health(&behind()),
            "/readyz" => readiness(&board, &behind()),
            "/status.json" => {
                let status = status::status(&board, &behind(), now.0);
                Answer::new(StatusCode::OK, "application/json", format!("{status:#}\n"))
            }
            "/metrics" => {
                let text = metrics::text(&board, &metrics::Process::read().await);
                Answer::new(StatusCode::OK, metrics::KIND, text)
            }
            _ => self.build(path, &board, now.0).await,
        }
    }

    async fn build(&self, path: &str, board: &Snapshot, now: SystemTime) -> Answer {
        if let Some(project) = path
            .strip_prefix("/badge/")
            .and_then(|name| name.strip_suffix(".svg"))
        {
            let latest = decoded(project).and_then(|project| board.projects.get(&project).copied());
            // A picture that is missing says less than one that says so.
            return Answer::svg(badge::badge(latest.map(|latest| latest.status)));
        }
        let Some(rest) = path.strip_prefix("/builds/") else {
            return Answer::missing("there is nothing here");
        };
        let (name, part) = rest
            .split_once('/')
            .map_or((rest, None), |(name, part)| (name, Some(part)));
        let found = decoded(name).and_then(|name| board.build(&name).map(Arc::clone));
        match (found, part) {
            (None, Some("badge.svg")) => Answer::svg(badge::badge(None)),
            (None, _) => Answer::missing("this agent knows no such build, or no more"),
            (Some(build), Some("badge.svg")) => Answer::svg(badge::badge(Some(build.status))),
            (Some(build), Some("log")) => whole_log(&build).await,
            (Some(build), None | Some("still")) => {
                let tail = match &build.log {
                    Some(file) => log::tail(file).await,
                    None => log::Tail::default(),
                };
                Answer::html(page::build(board, &build, &tail, part.is_some(), now))
            }
            (Some(_), Some(_)) => Answer::missing("there is nothing here"),
        }
    }
}

async fn whole_log(build: &Build) -> Answer {
    let opened = match &build.log {
        Some(file) => log::whole(file).await,
        None => None,
    };
    opened.map_or_else(
        || Answer::missing("this build has no log here"),
        |body| Answer::stream("text/plain; charset=utf-8", body),
    )
}

/// A part of a path as it is meant.
fn decoded(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(Into::into)
}

/// AGENT-83
fn health(behind: &[String]) -> Answer {
    if behind.is_empty() {
        return Answer::text(StatusCode::OK, "ok");
    }
    let why = format!("stuck: {}", behind.join(", "));
    Answer::text(StatusCode::SERVICE_UNAVAILABLE, &why)
}

/// AGENT-84
fn readiness(board: &Snapshot, behind: &[String]) -> Answer {
    let why = match &board.state {
        _ if !behind.is_empty() => format!("stuck: {}", behind.join(", ")),
        State::Starting => "starting".to_owned(),
        State::NoRoom(reason) => format!("no jobs are taken: {reason}"),
        State::Draining => "draining".to_owned(),
        State::Stopping => "stopping".to_owned(),
        State::Polling => match (&board.poll_failure, board.polled) {
            (Some(failure), _) => format!("polling fails: {}", failure.message),
            (None, None) => "not polled yet".to_owned(),
            (None, Some(_)) => return Answer::text(StatusCode::OK, "ready"),
        },
    };
    Answer::text(StatusCode::SERVICE_UNAVAILABLE, &why)
}
