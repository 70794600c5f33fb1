//! Changes of a build's state and phases, in the form of CodeBuild's own events (AGENT-70).

use std::collections::VecDeque;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::about::About;
use super::batch::Item;
use super::lines::is_event;
use super::ship::Translate;

/// Who says so: names that begin with `aws.` are AWS's own (AGENT-71).
pub const SOURCE: &str = "runner.codebuild";

/// Largest entry that a bus takes, in bytes.
pub const LARGEST_ENTRY: usize = 256 * 1024;

/// Longest text of a phase's context, in bytes: it may have a whole command in it.
const LONGEST_CONTEXT: usize = 4096;

/// Most phases that are told: a build that is retried has them several times.
const MOST_PHASES: usize = 40;

/// An entry for a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Milliseconds since 1970.
    pub time: i64,
    /// `CodeBuild Build State Change` or `CodeBuild Build Phase Change`.
    pub detail_type: &'static str,
    /// The rest, as JSON.
    pub detail: String,
    /// The build's ARN.
    pub resource: String,
}

impl Item for Change {
    fn size(&self) -> usize {
        // As EventBridge counts: 14 bytes are the time.
        14 + SOURCE.len() + self.detail_type.len() + self.detail.len() + self.resource.len()
    }

    fn time(&self) -> i64 {
        self.time
    }
}

/// Makes changes of a build's events.
#[derive(Debug)]
pub struct Changes {
    about: About,
    /// Group and stream of its log, and the region.
    log: Option<(String, String)>,
    region: String,
    made: VecDeque<Change>,
    /// When the last event was, and none is before it.
    now: Timestamp,
    began: Option<Timestamp>,
    build_number: u64,
    executor: String,
    phase: String,
    phase_began: Timestamp,
    phases: VecDeque<Value>,
    artifact: Map<String, Value>,
    is_over: bool,
}

impl Changes {
    /// Those of a build. `group` is where its log goes.
    #[must_use]
    pub fn new(about: About, group: Option<String>, region: String) -> Self {
        Self {
            log: group.map(|group| (group, about.stream())),
            about,
            region,
            made: VecDeque::new(),
            now: Timestamp::UNIX_EPOCH,
            began: None,
            build_number: 0,
            executor: String::new(),
            phase: "SUBMITTED".to_owned(),
            phase_began: Timestamp::UNIX_EPOCH,
            phases: VecDeque::new(),
            artifact: Map::new(),
            is_over: false,
        }
    }

    fn started(&mut self, event: &Value) {
        self.began = Some(self.now);
        self.phase_began = self.now;
        self.build_number = event["buildNumber"].as_u64().unwrap_or_default();
        text(event, "executor").clone_into(&mut self.executor);
        self.state("IN_PROGRESS", "SUBMITTED");
    }

    fn phase_finished(&mut self, event: &Value) {
        let (phase, status) = (text(event, "phase"), text(event, "phaseStatus"));
        let seconds = event["durationSeconds"].as_f64().unwrap_or_default();
        let contexts: Vec<String> = event["contexts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(context)
            .collect();
        let (began, ended) = (moment(self.phase_began), moment(self.now));
        // CodeBuild's own are whole seconds.
        let seconds = seconds.round();
        let told = json!({
            "phase-context": contexts,
            "start-time": began,
            "end-time": ended,
            "duration-in-seconds": seconds,
            "phase-type": phase,
            "phase-status": status,
        });
        self.phases.push_back(told);
        if self.phases.len() > MOST_PHASES {
            self.phases.pop_front();
        }
        let fields = json!({
            "completed-phase": phase,
            "completed-phase-status": status,
            "completed-phase-context": format!("[{}]", contexts.join(", ")),
            "completed-phase-start": began,
            "completed-phase-end": ended,
            "completed-phase-duration-seconds": seconds,
        });
        self.make("CodeBuild Build Phase Change", fields);
    }

    fn stored(&mut self, event: &Value) {
        // Secondary artifacts have no place in CodeBuild's form.
        if !event["artifactIdentifier"].is_null() {
            return;
        }
        for (name, field) in [
            ("md5sum", "md5"),
            ("sha256sum", "sha256"),
            ("location", "location"),
        ] {
            if let Some(value) = event[field].as_str() {
                self.artifact.insert(name.to_owned(), json!(value));
            }
        }
    }

    fn finished(&mut self, status: &str) {
        self.is_over = true;
        let completed = json!({ "start-time": moment(self.now), "phase-type": "COMPLETED" });
        self.phases.push_back(completed);
        self.state(status, "COMPLETED");
    }

    fn state(&mut self, status: &str, phase: &str) {
        let fields = json!({
            "build-status": status,
            "current-phase": phase,
            "current-phase-context": "[]",
        });
        self.make("CodeBuild Build State Change", fields);
    }

    fn make(&mut self, detail_type: &'static str, mut detail: Value) {
        detail["project-name"] = json!(self.about.project());
        detail["build-id"] = json!(self.about.arn);
        detail["version"] = json!("1");
        detail["additional-information"] = self.information();
        self.made.push_back(Change {
            time: self.now.as_millisecond(),
            detail_type,
            detail: detail.to_string(),
            resource: self.about.arn.clone(),
        });
    }

    fn information(&self) -> Value {
        let about = &self.about;
        let mut environment = json!({
            "privileged-mode": about.privileged,
            "compute-type": "CUSTOM",
            "type": if self.executor == "docker" { "LINUX_CONTAINER" } else { "LINUX_HOST" },
            // Values may be secrets, and who reads a bus need not know them.
            "environment-variables": [],
        });
        if let Some(image) = &about.image {
            environment["image"] = json!(image);
        }
        let mut fields = json!({
            "build-number": self.build_number,
            "build-complete": self.is_over,
            "build-start-time": self.began.map(moment),
            "initiator": about.initiator,
            "artifact": self.artifact,
            "environment": environment,
            "source": { "type": "CODEPIPELINE" },
            "phases": self.phases,
        });
        if let Some(minutes) = about.timeout_minutes {
            fields["timeout-in-minutes"] = json!(minutes);
        }
        if let Some(source) = &about.source {
            fields["source"]["location"] = json!(source);
        }
        if let Some((group, stream)) = &self.log {
            fields["logs"] = json!({
                "group-name": group,
                "stream-name": stream,
                "deep-link": deep_link(&self.region, group, stream),
            });
        }
        fields
    }
}

impl Translate for Changes {
    type Item = Change;

    fn feed(&mut self, line: &[u8]) -> Result<(), String> {
        // Of these there are most.
        if is_event(line, "output") {
            return Ok(());
        }
        let event: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let time: Timestamp = text(&event, "time")
            .parse()
            .map_err(|error: jiff::Error| error.to_string())?;
        self.now = self.now.max(time);
        match text(&event, "event") {
            "build-started" => self.started(&event),
            "phase-started" => {
                text(&event, "phase").clone_into(&mut self.phase);
                self.phase_began = self.now;
            }
            "phase-finished" => self.phase_finished(&event),
            "artifact-stored" => self.stored(&event),
            "build-finished" => self.finished(text(&event, "buildStatus")),
            _ => {}
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Change> {
        self.made.pop_front()
    }

    fn end(&mut self) {
        // Its process was killed: nobody is to wait for the end of it.
        if self.began.is_some() && !self.is_over {
            self.finished("FAULT");
        }
    }

    fn gap(&mut self, _next: Option<&Change>, _lost: u64, _why: &str) -> Option<Change> {
        // CodeBuild has no such event, and rules would not know it. The agent's status has the number.
        None
    }
}

fn text<'e>(event: &'e Value, field: &str) -> &'e str {
    event[field].as_str().unwrap_or_default()
}

fn context(context: &Value) -> String {
    let mut said = format!(
        "{}: {}",
        text(context, "statusCode"),
        text(context, "message")
    );
    if said.len() > LONGEST_CONTEXT {
        said.truncate(said.floor_char_boundary(LONGEST_CONTEXT));
        said.push('…');
    }
    said
}

/// `Sep 1, 2017 4:12:29 PM`, UTC.
fn moment(time: Timestamp) -> String {
    let time = time.to_zoned(TimeZone::UTC);
    time.strftime("%b %-d, %Y %-I:%M:%S %p").to_string()
}

/// Where the console shows a stream. What is no letter or digit is escaped twice, the percent sign written `$`.
fn deep_link(region: &str, group: &str, stream: &str) -> String {
    let escaped = |text: &str| -> String {
        let bytes = text.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("$25{other:02X}"),
        });
        bytes.collect()
    };
    format!(
        "https://console.aws.amazon.com/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{}/log-events/{}",
        escaped(group),
        escaped(stream)
    )
}
