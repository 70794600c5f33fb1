//! A server of our own for CloudWatch Logs and EventBridge, `tests/services/cloudwatch`, and events of builds to send there.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use buildspec_runner::agent::logs::about::About;
use buildspec_runner::agent::logs::ship::Pace;
use buildspec_runner::agent::logs::shipping::{EVENTS, QUEUE_LIMIT, Settings};
use buildspec_runner::aws::{Keys, Settings as AwsSettings};
use buildspec_runner::proxy::Variables;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::codepipeline::CodePipeline;
use super::wait::{LIMIT, within};

/// The log group of every test.
pub(crate) const GROUP: &str = "/runner/builds";

/// The server, which is asked as the other one is.
pub(crate) struct CloudWatch(pub(crate) CodePipeline);

/// A stream as it was put.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) messages: Vec<String>,
    pub(crate) times: Vec<i64>,
    /// How many events came in each request.
    pub(crate) batches: Vec<u64>,
}

impl CloudWatch {
    /// A server without anything, unless its Python is not there, which is said.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        CodePipeline::of("cloudwatch").map(Self)
    }

    /// A stream, if it is there.
    #[track_caller]
    pub(crate) fn stream(&self, name: &str) -> Option<Stream> {
        let streams = self.0.ask("GET", "/streams", None);
        let told = streams.get(GROUP)?.get(name)?;
        let pairs = told["messages"].as_array().expect("messages are a list");
        Some(Stream {
            messages: pairs
                .iter()
                .map(|pair| pair[1].as_str().expect("it is text").to_owned())
                .collect(),
            times: pairs.iter().filter_map(|pair| pair[0].as_i64()).collect(),
            batches: told["batches"]
                .as_array()
                .expect("batches are a list")
                .iter()
                .filter_map(Value::as_u64)
                .collect(),
        })
    }

    /// How many calls of an operation came to this.
    #[track_caller]
    pub(crate) fn calls(&self, operation: &str, outcome: &str) -> u64 {
        let calls = self.0.ask("GET", "/calls", None);
        calls[format!("{operation} {outcome}")]
            .as_u64()
            .unwrap_or_default()
    }

    /// Makes coming calls go wrong, as `server.py` says.
    #[track_caller]
    pub(crate) fn fault(&self, fault: &Value) {
        self.0.fault(fault);
    }

    /// How it is reached.
    pub(crate) async fn shared(&self) -> SdkConfig {
        shared(&self.0.endpoint).await
    }
}

/// How services at this address are reached.
pub(crate) async fn shared(endpoint: &str) -> SdkConfig {
    let settings = AwsSettings {
        region: Some(super::aws::REGION.to_owned()),
        keys: Some(Keys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: "not-a-real-secret-key".to_owned(),
            session: None,
        }),
        endpoint: Some(endpoint.to_owned()),
        ..AwsSettings::default()
    };
    settings.loader().load().await
}

/// What an agent does, on a thread that is not waited for too long.
pub(crate) fn agent<T: Send + 'static>(work: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    within("what an agent sends", move || {
        Runtime::new()
            .expect("a runtime can be made")
            .block_on(work())
    })
}

/// Until something is so.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + LIMIT;
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "it did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// As fast as a test wants it.
pub(crate) const FAST: Pace = Pace {
    look: Duration::from_millis(5),
    wait: Duration::from_millis(10),
    first_pause: Duration::from_millis(2),
    longest_pause: Duration::from_millis(20),
    ending: Duration::from_secs(20),
    turn: Duration::from_mins(1),
    survey: Duration::from_millis(10),
};

/// Logs to the group of all tests, and changes nowhere.
pub(crate) fn settings() -> Settings {
    Settings {
        log_group: Some(GROUP.to_owned()),
        event_bus: None,
        queue_limit: QUEUE_LIMIT,
        pace: FAST,
        proxy: Variables::default(),
    }
}

/// The directory of a job whose build writes down what it is told to.
pub(crate) struct Job {
    directory: tempfile::TempDir,
    events: File,
    build: String,
    sequence: u64,
    /// When the next event happens.
    pub(crate) now: Timestamp,
    /// What a log of it has to say.
    pub(crate) expected: String,
}

impl Job {
    /// One that has written nothing.
    pub(crate) fn new() -> Self {
        Self::numbered(3)
    }

    /// One of several, by a number that is its own.
    pub(crate) fn numbered(number: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let events = OpenOptions::new()
            .append(true)
            .create(true)
            .open(directory.path().join(EVENTS))
            .expect("a file can be made");
        Self {
            directory,
            events,
            build: format!("web:1-2-{number}"),
            sequence: 0,
            now: Timestamp::try_from(SystemTime::now() - Duration::from_mins(5))
                .expect("now is a time"),
            expected: String::new(),
        }
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file of it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// What is known of its build.
    pub(crate) fn about(&self) -> About {
        About {
            build_id: self.build.clone(),
            arn: format!(
                "arn:aws:codebuild:us-east-1:123456789012:build/{}",
                self.build
            ),
            initiator: "codepipeline/web-pipeline".to_owned(),
            ..About::default()
        }
    }

    /// The name of its stream.
    pub(crate) fn stream(&self) -> String {
        self.about().stream()
    }

    /// A command writes this.
    pub(crate) fn output(&mut self, text: &str) {
        self.expected.push_str(text);
        self.event("output", &json!({ "text": text }));
    }

    /// Something happens.
    pub(crate) fn event(&mut self, name: &str, fields: &Value) {
        let mut event = json!({
            "sequence": self.sequence,
            "time": format!("{:.6}", self.now),
            "event": name,
        });
        let members = event.as_object_mut().expect("it is an object");
        members.extend(fields.as_object().expect("fields are an object").clone());
        self.raw(&format!("{event}\n"));
        self.sequence += 1;
    }

    /// This stands in the file.
    pub(crate) fn raw(&mut self, text: &str) {
        self.events
            .write_all(text.as_bytes())
            .expect("it can be written");
    }

    /// A file of its directory as JSON.
    pub(crate) fn json(&self, name: &str) -> Value {
        let text = fs::read(self.file(name)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}
