//! What a build comes to, as CodePipeline is told (AGENT-20 to AGENT-24). Pure: events go in, an answer comes out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pipeline::{MAX_MESSAGE, MAX_SUMMARY, MAX_VARIABLES};
use crate::credentials::ASSUMING;
use crate::event::Exit;

/// What to do where the buildspec is not there: CodeBuild's words do not say.
const NO_FILE: &str = "put a buildspec.yml into the root of the primary source, or name its path or write its text in the action's BuildspecOverride";

/// Most bytes of a text that is quoted inside a message.
const MAX_QUOTED: usize = 2000;

/// Kinds of failures, as CodePipeline has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The build ran and failed.
    JobFailed,
    /// The action's configuration or the buildspec cannot be used.
    ConfigurationError,
    /// Something may not be read or done.
    PermissionError,
    /// An input artifact cannot be had.
    RevisionUnavailable,
    /// This machine, or what it needs.
    SystemUnavailable,
}

impl FailureKind {
    /// CodePipeline's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::JobFailed => "JobFailed",
            Self::ConfigurationError => "ConfigurationError",
            Self::PermissionError => "PermissionError",
            Self::RevisionUnavailable => "RevisionUnavailable",
            Self::SystemUnavailable => "SystemUnavailable",
        }
    }
}

/// The answer for a build that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// Id of the build.
    pub build: Option<String>,
    /// What there is to say, if anything: an empty one is refused.
    pub summary: Option<String>,
    /// Output variables.
    pub variables: BTreeMap<String, String>,
}

/// The answer for anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// Why: 1 to 5000 characters.
    pub message: String,
    /// Id of the build, if there was one.
    pub build: Option<String>,
}

impl Failure {
    /// One whose message fits.
    #[must_use]
    pub fn new(kind: FailureKind, message: &str, build: Option<String>) -> Self {
        let message = fit(message, MAX_MESSAGE);
        // An empty one is refused.
        let message = if message.trim().is_empty() {
            "the build failed without a reason".to_owned()
        } else {
            message
        };
        Self {
            kind,
            message,
            build,
        }
    }
}

/// What CodePipeline is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The action succeeded.
    Success(Success),
    /// It did not.
    Failure(Failure),
}

impl Answer {
    /// A failure of this kind.
    #[must_use]
    pub fn failure(kind: FailureKind, message: &str, build: Option<String>) -> Self {
        Self::Failure(Failure::new(kind, message, build))
    }

    /// The same with the id of the build, where it has none: a build that ended before it said so was one nevertheless.
    #[must_use]
    pub fn with_build(mut self, id: Option<&String>) -> Self {
        let build = match &mut self {
            Self::Success(success) => &mut success.build,
            Self::Failure(failure) => &mut failure.build,
        };
        if build.is_none() {
            *build = id.cloned();
        }
        self
    }

    /// Why it is no success.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Success(_) => None,
            Self::Failure(failure) => Some(&failure.message),
        }
    }

    /// The same with less in it, and what is missing then; nothing if there is nothing to leave out. `too_large` says that
    /// it is the output variables that CodePipeline does not take.
    #[must_use]
    pub fn shortened(&self, too_large: bool) -> Option<(Self, String)> {
        match self {
            Self::Success(success) if too_large && !success.variables.is_empty() => {
                let mut less = success.clone();
                let largest = less.variables.iter().max_by_key(|(_, value)| value.len());
                let name = largest.map(|(name, _)| name.clone()).unwrap_or_default();
                less.variables.remove(&name);
                Some((Self::Success(less), format!("output variable {name}")))
            }
            Self::Success(success) if success.summary.is_some() => {
                let mut less = success.clone();
                less.summary = None;
                Some((Self::Success(less), "the summary".to_owned()))
            }
            Self::Success(success) if !success.variables.is_empty() => {
                let mut less = success.clone();
                less.variables.clear();
                let what = "all output variables".to_owned();
                Some((Self::Success(less), what))
            }
            Self::Success(success) if success.build.is_some() => {
                let less = Success::default();
                Some((Self::Success(less), "the build's id".to_owned()))
            }
            Self::Failure(failure) if failure.message.chars().count() > 500 => {
                let mut less = failure.clone();
                less.message = fit(&less.message, 500);
                Some((Self::Failure(less), "most of the message".to_owned()))
            }
            Self::Failure(failure) if failure.build.is_some() => {
                let less = Failure {
                    build: None,
                    message: plain(&failure.message),
                    ..failure.clone()
                };
                Some((Self::Failure(less), "the build's id".to_owned()))
            }
            _ => None,
        }
    }
}

/// An artifact that a build has stored on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredArtifact {
    /// Its identifier; `None` for the primary one.
    pub identifier: Option<String>,
    /// Its file.
    pub location: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// SHA-256 of it, in hexadecimal.
    pub sha256: Option<String>,
    /// MD5 of it, in hexadecimal.
    pub md5: Option<String>,
}

/// Why a phase did not succeed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// CodeBuild's code.
    pub code: String,
    /// The text.
    pub message: String,
    /// `buildspec`, `build` or `environment`.
    pub blame: String,
    /// What to do.
    pub help: Option<String>,
    /// Line of the buildspec.
    pub line: Option<u64>,
}

/// What a build has said of itself: a fold over its JSON events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `project:uuid`.
    pub build: Option<String>,
    /// Where the buildspec is.
    pub buildspec: Option<String>,
    /// How it ended; nothing if it has not said so.
    pub status: Option<String>,
    /// Phases that did not succeed, and why.
    pub failed: Vec<(String, Reason)>,
    /// Artifacts that are stored.
    pub artifacts: Vec<StoredArtifact>,
    /// Whether its buildspec wants artifacts to go through a proxy.
    pub uploads_through_proxy: bool,
    /// Whether its buildspec is the action's own text, and no file that anybody knows.
    pub is_inline: bool,
    /// Variables that it gives on.
    pub exported: Vec<(String, String)>,
    /// Its phases, in the order in which they ended.
    last_phase: Option<String>,
}

fn text(event: &Value, name: &str) -> Option<String> {
    event.get(name)?.as_str().map(str::to_owned)
}

impl Told {
    /// Takes the next event.
    pub fn event(&mut self, event: &Value) {
        match event.get("event").and_then(Value::as_str) {
            Some("build-started") => self.build = text(event, "buildId"),
            Some("buildspec-found") => self.buildspec = text(event, "location"),
            Some("buildspec-read") => {
                let asked = event.get("uploadsThroughProxy");
                self.uploads_through_proxy = asked.and_then(Value::as_bool) == Some(true);
            }
            Some("phase-finished") => self.phase(event),
            Some("build-retried") => self.retried(event),
            Some("artifact-stored") => self.artifacts.push(StoredArtifact {
                identifier: text(event, "artifactIdentifier"),
                location: text(event, "location").unwrap_or_default(),
                bytes: event.get("bytes").and_then(Value::as_u64).unwrap_or(0),
                sha256: text(event, "sha256"),
                md5: text(event, "md5"),
            }),
            Some("exported-variables") => {
                let variables = event.get("variables").and_then(Value::as_array);
                let variables = variables.into_iter().flatten();
                self.exported = variables
                    .filter_map(|one| Some((text(one, "name")?, text(one, "value")?)))
                    .collect();
            }
            Some("build-finished") => self.status = text(event, "buildStatus"),
            _ => {}
        }
    }

    fn phase(&mut self, event: &Value) {
        let phase = text(event, "phase").unwrap_or_default();
        if text(event, "phaseStatus").as_deref() != Some("SUCCEEDED") {
            let context = event.get("contexts").and_then(|contexts| contexts.get(0));
            let reason = context.map_or_else(Reason::default, |context| Reason {
                code: text(context, "statusCode").unwrap_or_default(),
                message: text(context, "message").unwrap_or_default(),
                blame: text(context, "blame").unwrap_or_default(),
                help: text(context, "help"),
                line: context.get("line").and_then(Value::as_u64),
            });
            self.failed.push((phase.clone(), reason));
        }
        self.last_phase = Some(phase);
    }

    /// What a retry repeats has not happened, as for a build's own outcome (PHASE-18).
    fn retried(&mut self, event: &Value) {
        if text(event, "scope").as_deref() == Some("phase") {
            let phase = text(event, "phase");
            if self.failed.last().map(|(phase, _)| phase) == phase.as_ref() {
                self.failed.pop();
            }
        } else {
            self.failed.clear();
        }
    }

    /// What CodePipeline is told of a build that ended like this; `said` is what it wrote to standard error. A success is one
    /// as far as the build is concerned: its artifacts have yet to be stored.
    #[must_use]
    pub fn answer(&self, exit: Exit, said: &str) -> Answer {
        let failure = |kind, message: &str| Answer::failure(kind, message, self.build.clone());
        let said = match said.trim() {
            "" => String::new(),
            said => format!("\n{}", last(said, MAX_QUOTED)),
        };
        match self.status.as_deref() {
            Some("SUCCEEDED") if exit.is_success() => Answer::Success(self.success()),
            Some("SUCCEEDED") => {
                let message = format!("the build succeeded, and its record is not whole{said}");
                failure(FailureKind::SystemUnavailable, &message)
            }
            Some("FAILED") => self.failed(),
            Some("TIMED_OUT") => {
                let why = self.why("the build took longer than it may");
                failure(FailureKind::JobFailed, &why)
            }
            Some("STOPPED") => failure(FailureKind::JobFailed, &self.why("the build was stopped")),
            Some(_) => {
                // What its event said is among what it wrote, too.
                let known = self.failed.first().map(|(_, reason)| reason.message.trim());
                let is_told = known.is_some_and(|known| !known.is_empty() && said.contains(known));
                let said = if is_told { "" } else { said.as_str() };
                let why = self.why("the build met a fault of this machine");
                let why = format!("{why}{said}");
                failure(FailureKind::SystemUnavailable, &why)
            }
            None => {
                let how = exit.describe();
                let after = match &self.last_phase {
                    Some(phase) => format!(" after phase {phase}"),
                    None => String::new(),
                };
                let message = format!("the build ended{after} without a result: {how}{said}");
                // What the agent says by itself was tried at its start, so it is what the action says that cannot be used.
                let kind = match exit {
                    Exit::Exited(2) if self.build.is_none() => FailureKind::ConfigurationError,
                    _ => FailureKind::SystemUnavailable,
                };
                failure(kind, &message)
            }
        }
    }

    fn failed(&self) -> Answer {
        let reason = self.failed.first();
        let kind = reason.map_or(FailureKind::JobFailed, |(phase, reason)| {
            kind(phase, reason)
        });
        Answer::failure(kind, &self.why("the build failed"), self.build.clone())
    }

    /// Why the first phase that did not succeed ended so.
    fn why(&self, otherwise: &str) -> String {
        let Some((phase, reason)) = self.failed.first() else {
            return otherwise.to_owned();
        };
        let (code, message) = (reason.code.as_str(), reason.message.trim_end());
        let what = match (code, message) {
            ("", "") => otherwise.to_owned(),
            ("", message) => message.to_owned(),
            (code, "") => format!("{code}: {otherwise}"),
            (code, message) => format!("{code}: {message}"),
        };
        let place = match (&self.buildspec, reason.line) {
            (_, Some(line)) if self.is_inline => {
                format!(", the action's own buildspec, line {line}")
            }
            (Some(buildspec), Some(line)) => {
                let name = buildspec.rsplit('/').next().unwrap_or_default();
                format!(", {name} line {line}")
            }
            _ => String::new(),
        };
        let help = reason.help.as_deref().map(str::trim);
        let help = help.filter(|help| !help.is_empty());
        let is_missing = ["YAML file does not exist", "no such file or directory"]
            .iter()
            .any(|words| message.ends_with(words));
        let help = help.or((code == "YAML_FILE_ERROR" && is_missing).then_some(NO_FILE));
        let help = help.map_or_else(String::new, |help| format!("\n{help}"));
        format!("{what} (phase {phase}{place}){help}")
    }

    fn success(&self) -> Success {
        let (variables, left_out) = variables(&self.exported);
        let left_out = (!left_out.is_empty())
            .then(|| format!("left out of the output variables: {}", left_out.join(", ")));
        Success {
            build: self.build.clone(),
            summary: left_out.map(|text| fit(&text, MAX_SUMMARY)),
            variables,
        }
    }
}

/// What kind of failure it is for CodePipeline (AGENT-22).
fn kind(phase: &str, reason: &Reason) -> FailureKind {
    const BY_COMMANDS: [&str; 5] = [
        "INSTALL",
        "PRE_BUILD",
        "BUILD",
        "POST_BUILD",
        "UPLOAD_ARTIFACTS",
    ];
    const OF_SECRETS: [&str; 2] = ["Decrypted Variables Error", "Secrets Manager Error"];
    match reason.code.as_str() {
        _ if reason.blame == "buildspec" => FailureKind::ConfigurationError,
        "YAML_FILE_ERROR" => FailureKind::ConfigurationError,
        code if OF_SECRETS.iter().any(|known| code.starts_with(known)) => {
            FailureKind::PermissionError
        }
        _ if is_refused_role(&reason.message) => FailureKind::PermissionError,
        _ if BY_COMMANDS.contains(&phase) => FailureKind::JobFailed,
        _ if reason.blame == "environment" => FailureKind::SystemUnavailable,
        _ => FailureKind::JobFailed,
    }
}

/// Whether STS has refused the build's role. A service that does not answer, or not now, is no matter of permissions.
fn is_refused_role(message: &str) -> bool {
    const PASSING: [&str; 4] = ["Internal", "RequestExpired", "Thrott", "Unavailable"];
    let role = message
        .strip_prefix("could not ")
        .and_then(|rest| rest.strip_prefix(ASSUMING));
    let code = role
        .and_then(|rest| rest.trim_start().split_once(": "))
        .and_then(|(_, why)| why.split_once(':'))
        .map(|(code, _)| code);
    code.is_some_and(|code| {
        let is_code = code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_code && !PASSING.iter().any(|passing| code.contains(passing))
    })
}

/// Output variables of exported ones, in their order as long as they fit, and what was left out.
fn variables(exported: &[(String, String)]) -> (BTreeMap<String, String>, Vec<String>) {
    let mut kept = BTreeMap::new();
    let mut left_out = Vec::new();
    let mut size = 0;
    for (name, value) in exported {
        let more = name.len() + value.len();
        if is_variable_name(name) && size + more <= MAX_VARIABLES {
            size += more;
            kept.insert(name.clone(), value.clone());
        } else {
            left_out.push(name.clone());
        }
    }
    (kept, left_out)
}

fn is_variable_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"@-_".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

/// At most so many characters; what does not fit goes from the middle, because a message begins with what happened and ends
/// with why.
#[must_use]
pub fn fit(text: &str, most: usize) -> String {
    const GAP: &str = "\n[…]\n";
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(GAP.chars().count());
    let head = room * 2 / 3;
    let tail = count - (room - head);
    let before: String = text.chars().take(head).collect();
    let after: String = text.chars().skip(tail).collect();
    format!("{before}{GAP}{after}")
}

/// The end of a text, from the beginning of a line if it is cut.
fn last(text: &str, most: usize) -> &str {
    let start = text.ceil_char_boundary(text.len().saturating_sub(most));
    match text[start..].split_once('\n') {
        Some((_, whole)) if start > 0 => whole,
        _ => &text[start..],
    }
}

/// Without anything but printable ASCII and ends of lines.
fn plain(text: &str) -> String {
    let plain = |c: char| {
        if c == '\n' || c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        }
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(events: &[Value]) -> Told {
        let mut told = Told::default();
        for event in events {
            told.event(event);
        }
        told
    }

    fn phase(phase: &str, status: &str, code: &str, blame: &str) -> Value {
        json!({"event": "phase-finished", "phase": phase, "phaseStatus": status,
               "contexts": [{"statusCode": code, "message": "words", "blame": blame, "help": "do it", "line": 7}]})
    }

    fn finished(status: &str) -> Value {
        json!({"event": "build-finished", "buildStatus": status})
    }

    // AGENT-22
    #[test]
    fn a_failure_is_of_the_kind_that_says_who_has_to_act() {
        use FailureKind::{ConfigurationError, JobFailed, PermissionError, SystemUnavailable};
        let table = [
            (
                "DOWNLOAD_SOURCE",
                "FAILED",
                "YAML_FILE_ERROR",
                "buildspec",
                ConfigurationError,
            ),
            (
                "DOWNLOAD_SOURCE",
                "FAILED",
                "Decrypted Variables Error",
                "environment",
                PermissionError,
            ),
            (
                "DOWNLOAD_SOURCE",
                "FAILED",
                "Secrets Manager Error",
                "environment",
                PermissionError,
            ),
            (
                "DOWNLOAD_SOURCE",
                "FAILED",
                "CLIENT_ERROR",
                "environment",
                SystemUnavailable,
            ),
            (
                "PROVISIONING",
                "FAILED",
                "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE",
                "environment",
                SystemUnavailable,
            ),
            (
                "BUILD",
                "FAILED",
                "COMMAND_EXECUTION_ERROR",
                "build",
                JobFailed,
            ),
            (
                "UPLOAD_ARTIFACTS",
                "FAILED",
                "CLIENT_ERROR",
                "build",
                JobFailed,
            ),
            ("BUILD", "TIMED_OUT", "BUILD_TIMED_OUT", "build", JobFailed),
            ("BUILD", "STOPPED", "", "build", JobFailed),
            (
                "BUILD",
                "FAULT",
                "CLIENT_ERROR",
                "environment",
                SystemUnavailable,
            ),
        ];
        for (name, status, code, blame, expected) in table {
            let told = told(&[phase(name, status, code, blame), finished(status)]);
            let Answer::Failure(failure) = told.answer(Exit::Exited(1), "") else {
                panic!("{name} {status} is no success");
            };
            assert_eq!(failure.kind, expected, "{name} {status} {code}");
        }
    }

    // AGENT-22
    #[test]
    fn a_role_that_is_refused_is_a_matter_of_permissions_and_a_service_that_is_away_is_not() {
        let role = "could not assume the role arn:aws:iam::123456789012:role/a";
        for (why, is_refused) in [
            ("AccessDenied: User: x is not authorized", true),
            ("InvalidClientTokenId: no such key", true),
            ("Throttling: Rate exceeded", false),
            ("InternalFailure: no reason was given", false),
            ("could not reach http://127.0.0.1:1: refused", false),
        ] {
            assert_eq!(
                is_refused_role(&format!("{role}: {why}")),
                is_refused,
                "{why}"
            );
        }
        assert!(!is_refused_role("could not write x: AccessDenied: no"));
    }

    // AGENT-23
    #[test]
    fn a_message_says_what_happened_where_and_what_to_do() {
        let events = [
            json!({"event": "build-started", "buildId": "web:1"}),
            json!({"event": "buildspec-found", "location": "/x/ci/buildspec.yml"}),
            phase("BUILD", "FAILED", "COMMAND_EXECUTION_ERROR", "build"),
            phase("UPLOAD_ARTIFACTS", "FAILED", "CLIENT_ERROR", "build"),
            finished("FAILED"),
        ];
        let Answer::Failure(failure) = told(&events).answer(Exit::Exited(1), "") else {
            panic!("it failed");
        };
        assert_eq!(
            failure.message,
            "COMMAND_EXECUTION_ERROR: words (phase BUILD, buildspec.yml line 7)\ndo it"
        );
        assert_eq!(failure.build.as_deref(), Some("web:1"));
        // A text of the action's is no file, though it has the name of one for the build.
        let mut told = told(&events);
        told.is_inline = true;
        let answer = told.answer(Exit::Exited(1), "");
        assert_eq!(
            answer.message(),
            Some(
                "COMMAND_EXECUTION_ERROR: words (phase BUILD, the action's own buildspec, line 7)\ndo it"
            )
        );
    }

    // AGENT-23
    #[test]
    fn a_buildspec_that_is_not_there_is_said_with_what_to_do() {
        let events = [
            json!({"event": "phase-finished", "phase": "DOWNLOAD_SOURCE", "phaseStatus": "FAILED",
                   "contexts": [{"statusCode": "YAML_FILE_ERROR", "message": "YAML file does not exist", "blame": "buildspec"}]}),
            finished("FAILED"),
        ];
        let answer = told(&events).answer(Exit::Exited(3), "");
        let expected =
            format!("YAML_FILE_ERROR: YAML file does not exist (phase DOWNLOAD_SOURCE)\n{NO_FILE}");
        assert_eq!(answer.message(), Some(expected.as_str()));
    }

    // AGENT-20: nothing but a build that says so, and ends so, is a success.
    #[test]
    fn only_a_success_is_one() {
        let succeeded = told(&[finished("SUCCEEDED")]);
        assert!(matches!(
            succeeded.answer(Exit::Exited(0), ""),
            Answer::Success(_)
        ));
        let others = [
            (told(&[finished("SUCCEEDED")]), Exit::Exited(4)),
            (told(&[finished("SUCCEEDED")]), Exit::Signalled(9)),
            (told(&[finished("IN_PROGRESS")]), Exit::Exited(0)),
            (Told::default(), Exit::Exited(0)),
        ];
        for (told, exit) in others {
            let answer = told.answer(exit, "error: no room\n");
            let Answer::Failure(failure) = answer else {
                panic!("{told:?} {exit:?} is no success");
            };
            assert_eq!(failure.kind, FailureKind::SystemUnavailable);
            assert!(
                failure.message.ends_with("error: no room"),
                "{}",
                failure.message
            );
        }
    }

    #[test]
    fn what_is_repeated_has_not_failed() {
        let failed = || phase("BUILD", "FAILED", "X", "build");
        for scope in ["build", "phase"] {
            let retried = json!({"event": "build-retried", "phase": "BUILD", "scope": scope});
            let told = told(&[failed(), retried, finished("SUCCEEDED")]);
            assert!(told.failed.is_empty(), "{scope}");
        }
    }

    // AGENT-21
    #[test]
    fn output_variables_are_those_that_fit() {
        let large = "x".repeat(MAX_VARIABLES);
        let exported = [
            ("A", "1"),
            ("B C", "2"),
            ("BIG", large.as_str()),
            ("Z", "26"),
        ];
        let exported = exported.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (kept, left_out) = variables(&exported);
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["A", "Z"]);
        assert_eq!(left_out, ["B C", "BIG"]);
        let whole = [("N".to_owned(), large[1..].to_owned())];
        assert_eq!(variables(&whole).1, Vec::<String>::new());
        assert_eq!(variables(&[("N".to_owned(), large)]).1, ["N"]);
    }

    // AGENT-23, AGENT-24
    #[test]
    fn texts_fit_and_are_never_empty() {
        let long = format!("{}é", "ä".repeat(MAX_MESSAGE));
        let failure = Failure::new(FailureKind::JobFailed, &long, None);
        assert_eq!(failure.message.chars().count(), MAX_MESSAGE);
        assert!(failure.message.ends_with('é'));
        let empty = Failure::new(FailureKind::JobFailed, " \n", None);
        assert!(!empty.message.trim().is_empty());
    }

    // AGENT-25
    #[test]
    fn an_answer_that_is_not_taken_is_given_with_less() {
        let variables = [("A", "1"), ("B", "22")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let mut answer = Answer::Success(Success {
            build: Some("web:1".to_owned()),
            summary: Some("words".to_owned()),
            variables: variables.into(),
        });
        let mut missing = Vec::new();
        while let Some((less, what)) = answer.shortened(missing.is_empty()) {
            missing.push(what);
            answer = less;
        }
        let expected = [
            "output variable B",
            "the summary",
            "all output variables",
            "the build's id",
        ];
        assert_eq!(missing, expected);
        assert_eq!(answer, Answer::Success(Success::default()));
        let mut answer =
            Answer::failure(FailureKind::JobFailed, &"é".repeat(5000), Some("b".into()));
        let mut steps = 0;
        while let Some((less, _)) = answer.shortened(false) {
            answer = less;
            steps += 1;
        }
        assert_eq!(steps, 2);
        assert!(answer.message().is_some_and(str::is_ascii));
    }
}
