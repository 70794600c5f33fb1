//! What the editor asks and is told.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::protocol::{
    self, About, Around, At, DidChange, DidOpen, Position, VersionedDocumentId, error,
};
use super::transport::{self, Garbage};
use super::{actions, help};
use crate::build::ExitCode;
use crate::cli::config::Configuration;
use crate::cli::machine;
use crate::diagnostic::format::whole_message;
use crate::diagnostic::{Diagnostic, Severity};
use crate::lint::{self, FileKind, Settings, Shellcheck, SourceTree};
use crate::process;
use crate::source::SourceText;

/// The other side of an editor.
pub(super) struct Server<W> {
    output: W,
    documents: BTreeMap<String, Document>,
    state: State,
    /// What was last said of a `runner.toml`, so that it is said once.
    complaint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Running,
    /// The editor has said that it is about to leave.
    Closing,
    /// The editor cannot be written to.
    Gone,
}

/// A text that is open.
struct Document {
    version: i64,
    source: SourceText,
    /// Where it lies; nothing if it is not checked.
    path: Option<PathBuf>,
    /// What was found in this version, once it has been checked.
    findings: Option<Vec<Diagnostic>>,
}

/// An answer: a result, or a code and a message.
type Answer = Result<Value, (i32, String)>;

impl<W: Write> Server<W> {
    pub(super) fn new(output: W) -> Self {
        Self {
            output,
            documents: BTreeMap::new(),
            state: State::New,
            complaint: None,
        }
    }

    /// How the program ends: an editor that leaves in order is a success.
    pub(super) fn end(&self) -> ExitCode {
        match self.state {
            State::Closing => ExitCode::Succeeded,
            _ => ExitCode::Findings,
        }
    }

    /// Takes one message.
    pub(super) fn handle(&mut self, message: Result<Value, Garbage>) -> ControlFlow<()> {
        match message {
            Ok(message) => self.message(&message)?,
            Err(garbage) => {
                let why = format!("this is no message: {}", garbage.why());
                self.answer(&Value::Null, Err((error::PARSE, why)));
            }
        }
        match self.state {
            State::Gone => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn message(&mut self, message: &Value) -> ControlFlow<()> {
        let params = message.get("params").unwrap_or(&Value::Null);
        match (
            message.get("method").and_then(Value::as_str),
            message.get("id"),
        ) {
            (Some("exit"), None) => return ControlFlow::Break(()),
            (Some(method), Some(id)) => {
                let answer = self.request(method, params);
                self.answer(id, answer);
            }
            // What is said and not asked has no answer, not even when it is wrong.
            (Some(method), None) if self.state == State::Running => {
                let _ = self.notification(method, params);
            }
            (Some(_), None) => {}
            // An answer to something that was never asked.
            (None, Some(_)) if message.get("result").or(message.get("error")).is_some() => {}
            (None, id) => {
                let id = id.cloned().unwrap_or_default();
                let why = "a message has a `method`".to_owned();
                self.answer(&id, Err((error::INVALID_REQUEST, why)));
            }
        }
        ControlFlow::Continue(())
    }

    fn request(&mut self, method: &str, params: &Value) -> Answer {
        match (method, self.state) {
            ("initialize", State::New) => {
                self.state = State::Running;
                Ok(capabilities())
            }
            (_, State::New) => Err((
                error::NOT_INITIALIZED,
                "`initialize` comes first".to_owned(),
            )),
            ("shutdown", State::Running) => {
                self.state = State::Closing;
                Ok(Value::Null)
            }
            (_, State::Closing) => {
                let why = "nothing is answered after `shutdown`".to_owned();
                Err((error::INVALID_REQUEST, why))
            }
            ("textDocument/hover", _) => Ok(self.at(&read(params)?, help::hover)),
            ("textDocument/completion", _) => Ok(self.at(&read(params)?, help::completion)),
            ("textDocument/codeAction", _) => Ok(self.actions(&read(params)?)),
            _ => Err((error::METHOD_NOT_FOUND, format!("there is no `{method}`"))),
        }
    }

    /// Asks about a place; null where nothing is known.
    fn at(&self, at: &At, ask: fn(&SourceText, Position) -> Value) -> Value {
        let document = self.documents.get(&at.text_document.uri);
        // Keys are known of buildspecs only.
        let is_buildspec = |path: &PathBuf| FileKind::of(path) == FileKind::Buildspec;
        let document = document.filter(|open| open.path.as_ref().is_some_and(is_buildspec));
        document.map_or(Value::Null, |open| ask(&open.source, at.position))
    }

    fn notification(&mut self, method: &str, params: &Value) -> Result<(), (i32, String)> {
        match method {
            "textDocument/didOpen" => {
                let opened: DidOpen = read(params)?;
                let document = opened.text_document;
                self.open(document.uri, document.version, document.text);
            }
            "textDocument/didChange" => self.change(read(params)?),
            "textDocument/didSave" => {
                let About { text_document } = read(params)?;
                // Another file may be there now, beside the text.
                if let Some(document) = self.documents.get_mut(&text_document.uri) {
                    document.findings = None;
                }
            }
            "textDocument/didClose" => {
                let About { text_document } = read(params)?;
                if self.documents.remove(&text_document.uri).is_some() {
                    self.publish(&text_document.uri, None, &[]);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a new text, unless it is older than the one that is there.
    fn change(&mut self, mut change: DidChange) {
        let VersionedDocumentId { uri, version } = change.text_document;
        let known = self.documents.get(&uri);
        if known.is_some_and(|open| open.version <= version)
            && let Some(last) = change.content_changes.pop()
        {
            self.open(uri, version, last.text);
        }
    }

    fn open(&mut self, uri: String, version: i64, text: String) {
        let path = protocol::path(&uri).filter(|path| FileKind::in_folder(path).is_some());
        let name = path
            .as_ref()
            .map_or_else(|| uri.clone(), |path| path.display().to_string());
        let document = Document {
            version,
            source: SourceText::new(name, text),
            path,
            findings: None,
        };
        self.documents.insert(uri, document);
    }

    /// Checks what has changed since it was last checked, and tells the editor.
    pub(super) fn check_changed(&mut self) {
        let changed = self
            .documents
            .iter()
            .filter(|(_, document)| document.findings.is_none());
        let changed: Vec<String> = changed.map(|(uri, _)| uri.clone()).collect();
        for uri in changed {
            self.check_one(&uri);
        }
    }

    fn check_one(&mut self, uri: &str) {
        let path = self.documents.get(uri).and_then(|open| open.path.clone());
        let config = path.as_ref().map(|path| self.configuration(path));
        let Some(document) = self.documents.get_mut(uri) else {
            return;
        };
        let (Some(path), Some(config)) = (path, config) else {
            document.findings = Some(Vec::new());
            return;
        };
        let findings = check(&document.source, &path, &config);
        let diagnostics: Vec<Value> = findings
            .iter()
            .map(|finding| shown(&document.source, uri, finding))
            .collect();
        let version = document.version;
        document.findings = Some(findings);
        self.publish(uri, Some(version), &diagnostics);
    }

    /// What the project asks for. If its `runner.toml` cannot be used, that is said, and nothing is asked for.
    fn configuration(&mut self, path: &Path) -> Configuration {
        let (configuration, complaint) = match Configuration::around(path) {
            Ok(configuration) => (configuration, None),
            Err(unusable) => (Configuration::default(), Some(unusable.line())),
        };
        if complaint != self.complaint {
            self.complaint.clone_from(&complaint);
            if let Some(complaint) = complaint {
                self.tell(
                    "window/showMessage",
                    &json!({ "type": 1, "message": complaint }),
                );
            }
        }
        configuration
    }

    fn actions(&mut self, around: &Around) -> Value {
        let uri = &around.text_document.uri;
        if self
            .documents
            .get(uri)
            .is_some_and(|open| open.findings.is_none())
        {
            self.check_one(uri);
        }
        let Some(path) = self.documents.get(uri).and_then(|open| open.path.clone()) else {
            return json!([]);
        };
        let config = self.configuration(&path);
        let document = &self.documents[uri];
        let findings = document.findings.as_deref().unwrap_or_default();
        let shown = |finding: &Diagnostic| shown(&document.source, uri, finding);
        let check = |source: &SourceText| check(source, &path, &config);
        let source = &document.source;
        let actions = actions::actions(source, findings, around.range, uri, shown, &check);
        Value::Array(actions)
    }

    fn publish(&mut self, uri: &str, version: Option<i64>, diagnostics: &[Value]) {
        let mut params = json!({ "uri": uri, "diagnostics": diagnostics });
        // The protocol has the version of a document that is open, and no null for one that is not.
        if let Some(version) = version {
            params["version"] = json!(version);
        }
        self.tell("textDocument/publishDiagnostics", &params);
    }

    fn tell(&mut self, method: &str, params: &Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    fn answer(&mut self, id: &Value, answer: Answer) {
        self.write(&match answer {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err((code, message)) => {
                let error = json!({ "code": code, "message": message });
                json!({ "jsonrpc": "2.0", "id": id, "error": error })
            }
        });
    }

    fn write(&mut self, message: &Value) {
        if transport::write(&mut self.output, message).is_err() {
            self.state = State::Gone;
        }
    }
}

fn read<T: DeserializeOwned>(params: &Value) -> Result<T, (i32, String)> {
    T::deserialize(params).map_err(|error| (error::INVALID_PARAMS, error.to_string()))
}

fn capabilities() -> Value {
    json!({
        "capabilities": {
            "positionEncoding": "utf-16",
            "textDocumentSync": { "openClose": true, "change": 1, "save": true },
            "hoverProvider": true,
            "completionProvider": { "triggerCharacters": [" "] },
            "codeActionProvider": { "codeActionKinds": ["quickfix"] },
        },
        "serverInfo": { "name": "runner", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn check(source: &SourceText, path: &Path, config: &Configuration) -> Vec<Diagnostic> {
    if config.excludes(path) {
        return Vec::new();
    }
    let tree = SourceTree::around(path);
    // Whoever installs it while the editor runs has it from the next change on.
    let program = process::find_program("shellcheck", machine::variable("PATH").as_deref());
    let settings = Settings {
        profile: config.profile,
        tree: Some(&tree),
        shellcheck: program.as_deref().map(|program| Shellcheck {
            program,
            all: false,
        }),
        directives: true,
    };
    let mut findings = lint::check(source, FileKind::of(path), &settings);
    config.apply(path, &mut findings);
    findings
}

/// A finding as the editor knows it.
fn shown(source: &SourceText, uri: &str, finding: &Diagnostic) -> Value {
    let severity = match finding.severity {
        Severity::Error => 1,
        Severity::Warning => 2,
        Severity::Info => 3,
    };
    let related = finding.secondary.iter().map(|label| {
        let location = json!({ "uri": uri, "range": protocol::range(source, label.span) });
        json!({ "location": location, "message": label.text })
    });
    let mut shown = json!({
        "range": protocol::range(source, finding.primary.span),
        "severity": severity,
        "code": finding.code.name(),
        "source": "runner",
        "message": whole_message(finding),
        "relatedInformation": related.collect::<Vec<Value>>(),
    });
    if let Some(url) = finding.code.page() {
        shown["codeDescription"] = json!({ "href": url });
    }
    shown
}
