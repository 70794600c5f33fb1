//! Cases of `testdata/agent`: a job as a pipeline hands it out, and what the agent answers and stores. One folder, one case.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use support::stage::{Stage, stderr, unzip};
use support::{root, tree, updating};

/// `case.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    /// Ids of the spec. `tests/house.rs` reads them.
    #[serde(rename = "ids")]
    _ids: Vec<String>,
    /// Arguments of the agent.
    #[serde(default)]
    args: Vec<String>,
}

/// `job.json`: what is the job's own. Where it comes from, and its places in the bucket, are the same for all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Job {
    configuration: BTreeMap<String, Value>,
    /// Names. What an input artifact has is in the folder of its name; without one it is not in the bucket.
    #[serde(default)]
    input_artifacts: Vec<String>,
    /// Names.
    #[serde(default)]
    output_artifacts: Vec<String>,
}

/// A file of a case.
fn read(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The job of a case, with its inputs in the bucket. Its id.
fn queue(stage: &Stage, name: &str, folder: &Path, job: &Job) -> String {
    let inputs = job.input_artifacts.iter().map(|artifact| {
        let content = folder.join(artifact);
        let key = format!("{artifact}/{name}");
        if !content.is_dir() {
            return stage.artifact(artifact, &key);
        }
        let names = tree::files(&content);
        let texts: Vec<String> = names.iter().map(|file| read(&content, file)).collect();
        let files: Vec<(&str, &str)> = names
            .iter()
            .map(String::as_str)
            .zip(texts.iter().map(String::as_str))
            .collect();
        stage.source(&key, &files)
    });
    let inputs: Vec<Value> = inputs.collect();
    // Each has a place of its own, so that what one case stored is not another's.
    let outputs = job.output_artifacts.iter();
    let outputs: Vec<Value> = outputs
        .map(|artifact| stage.artifact(artifact, &place(name, artifact)))
        .collect();
    // JSON in text is written as JSON in a case.
    let configuration = job.configuration.iter().map(|(key, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (key.clone(), Value::from(text))
    });
    let configuration = Value::Object(configuration.collect());
    let more = json!({ "outputArtifacts": outputs });
    stage.job_with(&configuration, &inputs, &[], &more)
}

fn place(case: &str, artifact: &str) -> String {
    format!("out/{case}/{artifact}")
}

/// What the agent answered, without what is different each time.
fn answer(stage: &Stage, job: &str, project: &str) -> Value {
    let answer = stage.answer(job);
    let request = &answer["request"];
    let mut told = json!({ "status": answer["status"] });
    for details in ["executionDetails", "failureDetails"] {
        let Some(given) = request.get(details) else {
            continue;
        };
        let mut given = given.clone();
        if let Some(id) = given.get_mut("externalExecutionId") {
            let text = id.as_str().unwrap_or_default();
            assert!(text.starts_with(&format!("{project}:")), "{text}");
            *id = json!(format!("{project}:<UUID>"));
        }
        told[details] = given;
    }
    if let Some(variables) = request.get("outputVariables") {
        told["outputVariables"] = variables.clone();
    }
    let text = told.to_string().replace(job, "<JOB>");
    // Whatever the service called the request.
    let request = regex::Regex::new("request id: [A-Za-z0-9]+").expect("it is a pattern");
    let text = request.replace_all(&text, "request id: <ID>");
    let text = text.replace(&stage.sandbox.path("").display().to_string(), "<BOX>/");
    let text = text.replace("<BOX>//", "<BOX>/");
    let text = text.replace("<BOX>/state/runner/agent/jobs/<JOB>/work", "<WORK>");
    serde_json::from_str(&text).expect("it is JSON still")
}

/// All that is in the places of a case: names of artifacts and their files.
fn stored(stage: &Stage, case: &str) -> Value {
    let start = place(case, "");
    let mut found = serde_json::Map::new();
    for key in stage.bucket.keys() {
        if let Some(artifact) = key.strip_prefix(&start) {
            let files = unzip(stage.bucket.get(&key).content);
            let files = files.into_iter().map(|(name, text)| (name, json!(text)));
            found.insert(artifact.to_owned(), Value::Object(files.collect()));
        }
    }
    Value::Object(found)
}

#[test]
fn each_job_is_answered_as_its_case_says() {
    let Some(stage) = Stage::new("cases") else {
        return;
    };
    let mut problems = Vec::new();
    let folders = fs::read_dir(root().join("testdata/agent")).expect("cases are there");
    let mut folders: Vec<_> = folders.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    assert!(folders.len() >= 10, "cases are missing");
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let case: Case = toml::from_str(&read(&folder, "case.toml"))
            .unwrap_or_else(|error| panic!("{name}: case.toml: {error}"));
        let job: Job = serde_json::from_str(&read(&folder, "job.json"))
            .unwrap_or_else(|error| panic!("{name}: job.json: {error}"));
        let project = job.configuration.get("ProjectName");
        let project = project.and_then(Value::as_str).unwrap_or("web-pipeline");
        let id = queue(&stage, &name, &folder, &job);
        let mut arguments = vec!["--once"];
        arguments.extend(case.args.iter().map(String::as_str));
        let ran = stage.run(&arguments);
        assert!(ran.status.success(), "{name}: {}", stderr(&ran));
        stage.keeps_secrets(&[&id], &ran.stderr);
        let found =
            json!({ "answer": answer(&stage, &id, project), "stored": stored(&stage, &name) });
        let text = format!("{found:#}\n");
        let expected = folder.join("expected.json");
        if updating() {
            fs::write(&expected, &text).expect("it can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            problems.push(format!("{name}: {text}"));
        }
    }
    assert!(
        problems.is_empty(),
        "not as expected (UPDATE=1 writes what is so):\n{}",
        problems.join("\n")
    );
}
