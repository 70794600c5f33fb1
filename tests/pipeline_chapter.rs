//! README's chapter about pipelines: its commands, one after the other, against the servers of the tests.

mod support;

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use support::aws::{Bucket, endpoint};
use support::codepipeline::CodePipeline;
use support::root;
use support::sandbox::Sandbox;
use support::stage::{BUILDSPEC, unzip, zip};
use support::wait::{self, Bounded as _};

/// The commands of the chapter, each without the name of the program.
fn commands() -> Vec<Vec<String>> {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    let (_, rest) = readme
        .split_once("## Replace the Build stage of a pipeline in ten minutes\n")
        .expect("the chapter is there");
    let (chapter, _) = rest.split_once("\n## ").expect("another one follows");
    let blocks = chapter.split("```sh\nrunner ").skip(1);
    let lines = blocks.map(|block| block.split_once("\n```").expect("a block ends").0);
    lines
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

/// What a command says that went well.
#[track_caller]
fn good(ran: &Output) -> String {
    let (out, error) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{out}{error}");
    format!("{out}{error}")
}

// AGENT-1, AGENT-50, AGENT-35
#[test]
fn the_chapter_about_pipelines_is_true() {
    let Some(endpoint) = endpoint("README: a pipeline") else {
        return;
    };
    let Some(server) = CodePipeline::start() else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "agent-readme");
    let sandbox = Sandbox::new();
    let run = |arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = server
            .command(&sandbox, &endpoint, &arguments)
            .bounded_output();
        good(&ran.expect("the program can be started"))
    };
    let commands = commands();
    let [register, stage, agent, status, drain] = commands.as_slice() else {
        panic!("the chapter has other commands: {commands:?}");
    };

    let said = run(register);
    assert!(said.contains("codepipeline:PollForJobs"), "{said}");
    let shown: Value = serde_json::from_str(&run(stage)).expect("a stage is JSON");
    let action = &shown["actions"][0];
    let project = &action["configuration"]["ProjectName"];
    assert_eq!(project, "my-project", "{shown}");
    assert_eq!(action["actionTypeId"]["owner"], "Custom", "{shown}");

    bucket.put_bytes(
        "source",
        zip(&[("buildspec.yml", BUILDSPEC), ("name.txt", "blue")]),
    );
    let artifact = |name: &str, key: &str| json!({ "name": name, "location": { "type": "S3", "s3Location": { "bucketName": bucket.name, "objectKey": key } } });
    // What the stage says is what the job of the action has.
    let job = server.job(&json!({
        "actionTypeId": action["actionTypeId"],
        "configuration": action["configuration"],
        "inputArtifacts": [artifact("Source", "source")],
        "outputArtifacts": [artifact("Built", "built")],
        "pipelineContext": { "pipelineName": "web" },
    }));
    let arguments: Vec<&str> = agent.iter().map(String::as_str).collect();
    let agent = Sandbox::spawn(&mut server.command(&sandbox, &endpoint, &arguments));
    let said = wait::within("the job's answer", {
        let told = server.teller(&job);
        move || loop {
            let told = told();
            if let Some(answer) = told["answers"].get(0) {
                break answer.clone();
            }
            std::thread::yield_now();
        }
    });
    assert_eq!(said["status"], "Succeeded", "{said}");
    let files = unzip(bucket.get("built").content);
    assert_eq!(files, [("name.txt".to_owned(), "blue".to_owned())]);
    let said = run(status);
    assert!(said.contains("Runner"), "{said}");
    run(drain);
    good(&wait::output(agent));
}
