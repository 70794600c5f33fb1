//! An agent, a server that hands it jobs, and a bucket.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::RUNNER;
use super::aws::{Bucket, endpoint};
use super::codepipeline::{CodePipeline, Control};
use super::sandbox::Sandbox;
use super::wait;

/// Keys that actions of these tests may have.
pub(crate) const KEYS: [&str; 10] = [
    "BatchEnabled",
    "ProjectName",
    "Buildspec",
    "Image",
    "EnvironmentVariables",
    "PrimarySource",
    "Timeout",
    "Privileged",
    "ServiceRoleArnOverride",
    "Extra",
];

pub(crate) const BUILDSPEC: &str = "\
version: 0.2
env:
  exported-variables: [TAG]
phases:
  build:
    commands:
      - export TAG=v-$(cat name.txt)
      - mkdir -p out && cp name.txt out/
artifacts:
  base-directory: out
  files: ['**/*']
";

/// A server with one action type, a bucket, and a place for the agent.
pub(crate) struct Stage {
    pub(crate) server: CodePipeline,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) sandbox: Sandbox,
    pub(crate) endpoint: String,
    pub(crate) action_type: Value,
}

impl Stage {
    /// Nothing if the services are not there, which is said. Names of buckets are the tests'.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let endpoint = endpoint(&format!("agent: {test}"))?;
        let server = CodePipeline::start()?;
        let properties: Vec<Value> = KEYS
            .iter()
            .map(|name| json!({ "name": name, "required": false, "key": *name == "ProjectName", "secret": *name == "EnvironmentVariables" }))
            .collect();
        let action_type = server.register("Runner", &json!(properties));
        Some(Self {
            bucket: Arc::new(Bucket::new(&endpoint, &format!("agent-{test}"))),
            server,
            sandbox: Sandbox::new(),
            endpoint,
            action_type,
        })
    }

    /// The command of an agent that asks often.
    pub(crate) fn agent(&self, more: &[&str]) -> Command {
        let mut arguments = vec!["agent", "--provider", "Runner"];
        for (flag, value) in [("--poll-interval", "50ms"), ("--min-free-space", "1m")] {
            if !more.contains(&flag) {
                arguments.extend([flag, value]);
            }
        }
        arguments.extend(more);
        self.server
            .command(&self.sandbox, &self.endpoint, &arguments)
    }

    /// Runs an agent to its end.
    #[track_caller]
    pub(crate) fn run(&self, more: &[&str]) -> Output {
        wait::output(Sandbox::spawn(&mut self.agent(more)))
    }

    /// Stores a source.
    pub(crate) fn source(&self, key: &str, files: &[(&str, &str)]) -> Value {
        self.bucket.put_bytes(key, zip(files));
        let name = key.split('/').next().unwrap_or(key);
        self.artifact(name, key)
    }

    pub(crate) fn artifact(&self, name: &str, key: &str) -> Value {
        json!({ "name": name, "location": { "type": "S3", "s3Location": { "bucketName": self.bucket.name, "objectKey": key } } })
    }

    /// A job with one source and what else a test wants of it.
    pub(crate) fn job(&self, configuration: &Value, inputs: &[Value], outputs: &[&str]) -> String {
        self.job_with(configuration, inputs, outputs, &json!({}))
    }

    pub(crate) fn job_with(
        &self,
        configuration: &Value,
        inputs: &[Value],
        outputs: &[&str],
        more: &Value,
    ) -> String {
        let outputs: Vec<Value> = outputs
            .iter()
            .map(|name| self.artifact(name, &format!("out/{name}")))
            .collect();
        let mut job = json!({
            "actionTypeId": self.action_type,
            "configuration": configuration,
            "inputArtifacts": inputs,
            "outputArtifacts": outputs,
            "pipelineContext": { "pipelineName": "web-pipeline" },
        });
        let members = more.as_object().expect("members are an object");
        for (name, value) in members {
            job[name] = value.clone();
        }
        self.server.job(&job)
    }

    /// The one answer of a job.
    #[track_caller]
    pub(crate) fn answer(&self, job: &str) -> Value {
        let told = self.server.told(job);
        let answers = told["answers"].as_array().expect("answers are a list");
        assert_eq!(answers.len(), 1, "{told:#}");
        json!({ "status": answers[0]["status"], "request": answers[0]["request"] })
    }

    /// Fails unless a job was answered once, with a success, by the agent that ran so.
    #[track_caller]
    pub(crate) fn succeeded(&self, job: &str, ran: &Output) {
        let answer = self.answer(job);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(answer["status"], "Succeeded", "{said} {answer}");
    }

    /// The one answer of a job, when the agent has given it.
    #[track_caller]
    pub(crate) fn answered(&self, job: &str) -> Value {
        let (endpoint, id) = (self.server.endpoint.clone(), job.to_owned());
        wait::until("the job is answered", move || {
            Control(&endpoint).told(&id)["answers"]
                .as_array()
                .is_some_and(|answers| !answers.is_empty())
        });
        self.answer(job)
    }

    /// What nobody may read anywhere of these jobs.
    pub(crate) fn secrets(&self, jobs: &[&str]) -> Vec<String> {
        let mut secrets = vec!["not-a-real-secret-key".to_owned(), "hunter2".to_owned()];
        for job in jobs {
            let told = self.server.told(job);
            let nonces = told["nonces"].as_array().into_iter().flatten();
            secrets.extend(nonces.filter_map(|nonce| nonce.as_str().map(str::to_owned)));
            for issued in told["credentials"].as_array().into_iter().flatten() {
                let keys = issued["credentials"].as_object().into_iter().flatten();
                secrets.extend(keys.filter_map(|(_, value)| value.as_str().map(str::to_owned)));
            }
        }
        secrets
    }

    /// Fails if anything that is secret is anywhere in what the agent wrote, on standard error, to its directory or in an
    /// answer.
    #[track_caller]
    pub(crate) fn keeps_secrets(&self, jobs: &[&str], written: &[u8]) {
        let secrets = self.secrets(jobs);
        let text = String::from_utf8_lossy(written).into_owned();
        let told = jobs
            .iter()
            .map(|job| self.server.told(job)["answers"].to_string());
        let told = told.collect::<Vec<String>>().join("\n");
        let state = self.sandbox.path("");
        let files = super::tree::files(&state);
        let texts = files.iter().filter_map(|path| {
            let text = fs::read(state.join(path)).ok()?;
            Some((path.as_str(), String::from_utf8_lossy(&text).into_owned()))
        });
        let all: Vec<(&str, String)> = texts
            .chain([("standard error", text), ("an answer", told)])
            .collect();
        for (place, text) in &all {
            for secret in &secrets {
                assert!(!text.contains(secret), "{place} has {secret}: {text}");
            }
        }
    }
}

/// An archive of files with their content.
pub(crate) fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).expect("a file can begin");
        writer
            .write_all(content.as_bytes())
            .expect("it can be written");
    }
    writer.finish().expect("an archive can end").into_inner()
}

/// Files of an archive.
pub(crate) fn unzip(archive: Vec<u8>) -> Vec<(String, String)> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(archive)).expect("it is a ZIP");
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).expect("an entry can be read");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("it is text");
        let name = file.name().expect("names are text").into_owned();
        files.push((name, text));
    }
    files
}

/// The same command with another program, which has these arguments before those of the command.
pub(crate) fn by(command: &Command, program: impl AsRef<OsStr>, before: &[&str]) -> Command {
    let mut other = Command::new(program);
    other.args(before).args(command.get_args()).env_clear();
    let set = |(name, value): (_, Option<_>)| Some((name, value?));
    other.envs(command.get_envs().filter_map(set));
    other.current_dir(command.get_current_dir().expect("every command has one"));
    other.stdin(Stdio::null());
    other
}

/// The same command with the umask of the package's unit, which leaves nothing to others.
pub(crate) fn narrow(command: &Command) -> Command {
    let script = "umask 077 && exec \"$0\" \"$@\"";
    by(command, "/bin/sh", &["-c", script, RUNNER])
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a child has a number"), signal).expect("it lives");
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn count(calls: &[(String, String)], operation: &str) -> usize {
    calls.iter().filter(|(name, _)| name == operation).count()
}
