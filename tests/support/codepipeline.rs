//! A server of our own that hands out CodePipeline's jobs, `tests/services/codepipeline`: what can be asked of it is said
//! in its `control.py`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::python::has;
use super::root;
use super::sandbox::Sandbox;
use super::wait::{LIMIT, end, within};

/// The server, for the life of this value.
pub(crate) struct CodePipeline {
    /// Its address, as an endpoint.
    pub(crate) endpoint: String,
    child: Option<Child>,
}

impl CodePipeline {
    /// A server without anything, unless its Python is not there, which is said.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        Self::of("codepipeline")
    }

    /// The server of this module, whose control paths are spoken to alike.
    #[track_caller]
    pub(crate) fn of(module: &str) -> Option<Self> {
        if !has(&["botocore"]) {
            return None;
        }
        let mut child = Command::new("python3")
            .args(["-B", "-m", module])
            .current_dir(root().join("tests/services"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be started");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let address = within("the server's address", move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            read.expect("it can be read");
            line
        });
        assert!(address.starts_with("http://127.0.0.1:"), "{address:?}");
        Some(Self {
            endpoint: address.trim_end().to_owned(),
            child: Some(child),
        })
    }

    /// A command of the program with credentials, that finds CodePipeline here and everything else at `others`.
    pub(crate) fn command(&self, sandbox: &Sandbox, others: &str, arguments: &[&str]) -> Command {
        let mut command = super::aws::command(sandbox, others, arguments);
        command.env("AWS_ENDPOINT_URL_CODEPIPELINE", &self.endpoint);
        command
    }

    /// Makes an action type of category Build and version 1 with these properties, and up to five artifacts each way.
    /// Its id.
    #[track_caller]
    pub(crate) fn register(&self, provider: &str, properties: &Value) -> Value {
        self.register_of("Build", provider, properties)
    }

    /// The same of another category.
    #[track_caller]
    pub(crate) fn register_of(&self, category: &str, provider: &str, properties: &Value) -> Value {
        let counts = json!({ "minimumCount": 0, "maximumCount": 5 });
        let asked = json!({
            "category": category,
            "provider": provider,
            "version": "1",
            "configurationProperties": properties,
            "inputArtifactDetails": counts,
            "outputArtifactDetails": counts,
        });
        let made = self.ask("POST", "/action-types", Some(&asked));
        made["actionType"]["id"].clone()
    }

    /// Adds a job, whose members `control.py` lists. Its id.
    #[track_caller]
    pub(crate) fn job(&self, job: &Value) -> String {
        let made = self.ask("POST", "/jobs", Some(job));
        made["id"].as_str().expect("an id is text").to_owned()
    }

    /// All that is known of a job: status, nonces, calls in order, answers that were accepted, credentials.
    #[track_caller]
    pub(crate) fn told(&self, job: &str) -> Value {
        Control(&self.endpoint).told(job)
    }

    /// [`Self::told`] for another thread.
    pub(crate) fn teller(&self, job: &str) -> impl Fn() -> Value + Send + use<> {
        let (other, path) = (
            Self {
                endpoint: self.endpoint.clone(),
                child: None,
            },
            format!("/jobs/{job}"),
        );
        move || other.ask("GET", &path, None)
    }

    /// Calls about a job in order: operation and outcome.
    #[track_caller]
    pub(crate) fn calls(&self, job: &str) -> Vec<(String, String)> {
        let told = self.told(job);
        let text = |call: &Value, name: &str| call[name].as_str().unwrap_or_default().to_owned();
        let calls = told["calls"].as_array().expect("calls are a list");
        let pairs = calls
            .iter()
            .map(|call| (text(call, "operation"), text(call, "outcome")));
        pairs.collect()
    }

    /// Makes coming calls go wrong, as `faults.py` says.
    #[track_caller]
    pub(crate) fn fault(&self, fault: &Value) {
        self.ask("POST", "/faults", Some(fault));
    }

    /// Asks what only tests ask. What is refused fails.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        Control(&self.endpoint).ask(method, path, body)
    }
}

/// Who asks what only tests ask, wherever that is: it has nothing but the address.
pub(crate) struct Control<'a>(pub(crate) &'a str);

impl Control<'_> {
    /// All that is known of a job.
    #[track_caller]
    pub(crate) fn told(&self, job: &str) -> Value {
        self.ask("GET", &format!("/jobs/{job}"), None)
    }

    /// Asks what only tests ask. What is refused fails.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string).unwrap_or_default();
        let (status, answer) = self.http(method, path, &body).expect("it answers");
        assert!(status.contains(" 200 "), "{method} {path}: {answer}");
        serde_json::from_str(&answer).expect("an answer is JSON")
    }

    /// The first line of an answer and its body.
    fn http(&self, method: &str, path: &str, body: &str) -> std::io::Result<(String, String)> {
        let mut stream = TcpStream::connect(self.0.trim_start_matches("http://"))?;
        stream.set_read_timeout(Some(LIMIT))?;
        // The older version, so that the connection ends with the answer.
        write!(
            stream,
            "{method} /_control{path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or_default();
        Ok((status.to_owned(), body.to_owned()))
    }
}

impl Drop for CodePipeline {
    /// Its standard input ends, and so does it. If it had answered what the service's model does not allow, it would have
    /// ended already, with words on standard error.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        drop(child.stdin.take());
        let status = end(child);
        assert!(status.success() || thread::panicking(), "{status}");
    }
}
