//! `runner agent register`, against a server of our own that botocore's model of the service judges.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::codepipeline::CodePipeline;
use support::sandbox::{Ran, Sandbox};
use support::wait::Bounded as _;

/// An address that nothing answers at: what asks AWS fails there.
const NOBODY: &str = "http://127.0.0.1:9";

fn register(server: &CodePipeline, arguments: &[&str]) -> Ran {
    let sandbox = Sandbox::new();
    let arguments = [&["agent", "register"], arguments].concat();
    let output = server
        .command(&sandbox, NOBODY, &arguments)
        .bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

/// What is printed where AWS cannot be asked.
fn printed(arguments: &[&str]) -> String {
    let sandbox = Sandbox::new();
    let arguments = [&["agent", "register"], arguments].concat();
    let output = support::aws::command(&sandbox, NOBODY, &arguments).bounded_output();
    let ran = sandbox.finish(&output.expect("the program can be started"));
    ran.expect(0).stdout
}

fn as_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The action type as the service has it, as boto3 would see it.
fn listed(server: &CodePipeline) -> Vec<Value> {
    let types = server.ask("GET", "/action-types", None);
    types.as_array().expect("types are a list").clone()
}

/// The JSON texts in what is said, in their order.
fn objects(said: &str) -> Vec<Value> {
    let starts = said.match_indices("\n{\n");
    let text = |(start, _): (usize, &str)| {
        let rest = &said[start + 1..];
        let end = rest.find("\n}\n").expect("an object ends");
        as_json(&rest[..end + 2])
    };
    starts.map(text).collect()
}

// AGENT-50 AGENT-51 AGENT-56
#[test]
fn an_action_type_is_made_once() {
    let Some(server) = CodePipeline::start() else {
        return;
    };
    let first = register(&server, &[]).expect(0);
    assert!(
        first
            .stdout
            .starts_with("The action type Build/Custom/Runner/1 is made in us-east-1.\n"),
        "{}",
        first.stdout
    );
    let types = listed(&server);
    let made = types
        .iter()
        .find(|one| one["id"]["owner"] == "Custom")
        .expect("it is there");
    assert_eq!(
        made["id"],
        json!({ "category": "Build", "owner": "Custom", "provider": "Runner", "version": "1" })
    );
    let properties = made["actionConfigurationProperties"].as_array();
    let properties = properties.expect("it has properties");
    let names: Vec<&str> = properties
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    let expected = [
        "ProjectName",
        "PrimarySource",
        "BuildspecOverride",
        "EnvironmentVariables",
        "Image",
        "Timeout",
        "BatchEnabled",
        "CombineArtifacts",
        "ServiceRoleArnOverride",
        "JobList",
    ];
    assert_eq!(names, expected);
    for (index, property) in properties.iter().enumerate().take(9) {
        let is_first = index == 0;
        assert_eq!(property["required"], is_first, "{property}");
        assert_eq!(property["key"], is_first, "{property}");
        assert_eq!(property["secret"], false, "{property}");
        assert_eq!(property["queryable"] == true, is_first, "{property}");
    }
    assert_eq!(made.get("settings"), None);
    assert_eq!(
        made["inputArtifactDetails"],
        json!({ "minimumCount": 1, "maximumCount": 5 })
    );
    assert_eq!(
        made["outputArtifactDetails"],
        json!({ "minimumCount": 0, "maximumCount": 5 })
    );
    let again = register(&server, &[]).expect(0);
    assert!(
        again.stdout.starts_with(
            "The action type Build/Custom/Runner/1 is there already in us-east-1, as it would be made.\n"
        ),
        "{}",
        again.stdout
    );
    assert_eq!(
        objects(&first.stdout),
        objects(&again.stdout),
        "{}",
        again.stdout
    );
    assert_eq!(objects(&first.stdout).len(), 2, "{}", first.stdout);
    assert_eq!(listed(&server).len(), types.len());
}

// AGENT-56
#[test]
fn another_one_of_that_version_is_told_apart() {
    let Some(server) = CodePipeline::start() else {
        return;
    };
    // On a page of its own.
    server.ask("POST", "/settings", Some(&json!({ "pageSize": 1 })));
    server.register(
        "Other",
        &json!([{ "name": "ProjectName", "required": true, "key": true, "secret": false }]),
    );
    server.register(
        "Runner",
        &json!([
            { "name": "ProjectName", "required": true, "key": true, "secret": true },
            { "name": "Timeout", "required": false, "key": false, "secret": false, "type": "Number" },
            { "name": "Colour", "required": false, "key": false, "secret": false },
        ]),
    );
    let ran = register(&server, &["--execution-url", "https://ci.example/x"]).expect(2);
    assert_eq!(ran.stdout, "");
    for line in [
        "error: another action type Build/Custom/Runner/1 is there already:\n",
        "  - ProjectName: it is secret there\n",
        "  - it has no key PrimarySource\n",
        "  - Timeout: it is no text there\n",
        "  - it has the key Colour, which agents do not know\n",
        "  - input artifacts: 1 to 5, not 0 to 5\n",
        "  - address of the execution: none there, `https://ci.example/x` wanted\n",
        "help: an action type is never changed: make the next one with `--version`",
    ] {
        assert!(ran.stderr.contains(line), "no {line:?} in {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("output"), "{}", ran.stderr);
    register(&server, &["--version", "2"]).expect(0);
    register(&server, &["--version", "2", "--all-projects"])
        .expect(2)
        .stderr_has("  - ProjectName: polls have to name it there\n");
    register(&server, &["--version", "3", "--all-projects"]).expect(0);
    register(&server, &["--version", "3"])
        .expect(2)
        .stderr_has("  - ProjectName: polls cannot name it there\n");
}

// AGENT-52
#[test]
fn addresses_are_there_where_they_are_given() {
    let Some(server) = CodePipeline::start() else {
        return;
    };
    let entity = "https://ci.example/{Config:ProjectName}";
    let execution = "https://ci.example/{Config:ProjectName}/{ExternalExecutionId}";
    let flags = ["--entity-url", entity, "--execution-url", execution];
    register(&server, &flags).expect(0);
    let types = listed(&server);
    let made = types.iter().find(|one| one["id"]["owner"] == "Custom");
    assert_eq!(
        made.expect("it is there")["settings"],
        json!({ "entityUrlTemplate": entity, "executionUrlTemplate": execution })
    );
    register(&server, &flags)
        .expect(0)
        .stdout_has("is there already");
    register(&server, &["--entity-url", "https://x/{Config:Image}"])
        .expect(2)
        .stderr_has("`{Config:Image}` is not filled in by CodePipeline");
}

// AGENT-56
#[test]
fn what_aws_refuses_is_said_with_what_to_do() {
    let Some(server) = CodePipeline::start() else {
        return;
    };
    let denied = json!({
        "kind": "error",
        "operation": "CreateCustomActionType",
        "code": "AccessDeniedException",
        "message": "not you",
    });
    server.fault(&denied);
    register(&server, &[])
        .expect(4)
        .stderr_has("error: could not create the action type Build/Custom/Runner/1: AccessDeniedException: not you\n")
        .stderr_has("help: allow codepipeline:CreateCustomActionType to these credentials");
    server.ask("DELETE", "/faults", None);
    // Deleted, and its version with it.
    register(&server, &[]).expect(0);
    server.ask("DELETE", "/action-types", None);
    register(&server, &[])
        .expect(4)
        .stderr_has("could not create the action type Build/Custom/Runner/1: ValidationException: ")
        .stderr_has("name another one with `--version`");
}

// AGENT-56
#[test]
fn without_a_region_or_an_answer_nothing_is_made() {
    let sandbox = Sandbox::new();
    let run = |endpoint: &str, region: bool| {
        let mut command = support::aws::command(&sandbox, endpoint, &["agent", "register"]);
        if !region {
            command.env_remove("AWS_REGION");
        }
        let output = command.bounded_output();
        sandbox.finish(&output.expect("the program can be started"))
    };
    run(NOBODY, false).expect(4).stderr_has(
        "error: could not create the action type Build/Custom/Runner/1: no AWS region is set\n",
    );
    run(NOBODY, true)
        .expect(4)
        .stderr_has("error: could not list the action types of this account: ");
}

// AGENT-53
#[test]
fn what_the_aws_cli_would_make_is_the_same() {
    let Some(server) = CodePipeline::start() else {
        return;
    };
    let url = "https://ci.example/it's/{ExternalExecutionId}";
    let flags = [
        "--execution-url",
        url,
        "--category",
        "test",
        "--provider",
        "R-1",
    ];
    let text = printed(&[&["--print", "cli"], &flags[..]].concat());
    // A shell says what the AWS CLI would be called with.
    let script = format!("aws() {{ printf '%s\\0' \"$@\"; }}\n{text}");
    let output = Command::new("sh").args(["-c", &script]).bounded_output();
    let output = output.expect("a shell can be started");
    let words = String::from_utf8(output.stdout).expect("words are text");
    let words: Vec<&str> = words.split_terminator('\0').collect();
    let [service, operation, region, name, option, request] = words[..] else {
        panic!("{words:?}");
    };
    assert_eq!(
        [service, operation, region, name, option],
        [
            "codepipeline",
            "create-custom-action-type",
            "--region",
            "us-east-1",
            "--cli-input-json"
        ]
    );
    server.ask("POST", "/action-types", Some(&as_json(request)));
    register(&server, &flags)
        .expect(0)
        .stdout_has("The action type Test/Custom/R-1/1 is there already");
}

/// The same with names that begin with small letters: the API's.
fn lower(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let first = name[..1].to_ascii_lowercase();
                (first + &name[1..], lower(value))
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.into_iter().map(lower).collect(),
        other => other,
    }
}

// AGENT-53
#[test]
fn what_cloudformation_would_make_is_the_same() {
    let Some(server) = CodePipeline::start() else {
        return;
    };
    let text = printed(&["--print", "cloudformation", "--entity-url", "https://x/"]);
    let template: Value = serde_yaml::from_str(&text).expect("a template is YAML");
    assert_eq!(template["AWSTemplateFormatVersion"], "2010-09-09");
    let resources = template["Resources"].as_object().expect("it has resources");
    assert_eq!(resources.len(), 1);
    let resource = &resources["RunnerActionType"];
    assert_eq!(resource["Type"], "AWS::CodePipeline::CustomActionType");
    // Pipelines of others may use it.
    for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
        assert_eq!(resource[policy], "Retain");
    }
    let properties = resource["Properties"].as_object().expect("it has some");
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "Category",
            "Provider",
            "Version",
            "Settings",
            "ConfigurationProperties",
            "InputArtifactDetails",
            "OutputArtifactDetails"
        ]
    );
    let first = &properties["ConfigurationProperties"][0];
    let names: Vec<&String> = first.as_object().expect("an object").keys().collect();
    assert_eq!(
        names,
        [
            "Name",
            "Required",
            "Key",
            "Secret",
            "Queryable",
            "Description",
            "Type"
        ]
    );
    let request = lower(resource["Properties"].clone());
    server.ask("POST", "/action-types", Some(&request));
    register(&server, &["--entity-url", "https://x/"])
        .expect(0)
        .stdout_has("is there already");
}

// AGENT-54
#[test]
fn the_policy_allows_what_the_agent_does_and_no_more() {
    let policy = as_json(&printed(&["--print", "iam"]));
    let expected = json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Poll",
                "Effect": "Allow",
                "Action": ["codepipeline:PollForJobs"],
                "Resource": [
                    "arn:aws:codepipeline:us-east-1:*:actiontype:Custom/Build/Runner/1",
                    "arn:aws:codepipeline:us-east-1:*:actionType:Custom/Build/Runner/1",
                ],
            },
            {
                "Sid": "WorkOnJobs",
                "Effect": "Allow",
                "Action": [
                    "codepipeline:AcknowledgeJob",
                    "codepipeline:GetJobDetails",
                    "codepipeline:PutJobSuccessResult",
                    "codepipeline:PutJobFailureResult",
                ],
                "Resource": "*",
            },
        ],
    });
    assert_eq!(policy, expected);
    let flags = [
        "--print",
        "iam",
        "--region",
        "cn-north-1",
        "--cloudwatch-log-group",
        "/runner/builds",
        "--event-bus",
        "ci",
    ];
    let policy = as_json(&printed(&flags));
    let statements = policy["Statement"].as_array().expect("it has statements");
    let group = "arn:aws-cn:logs:cn-north-1:*:log-group:/runner/builds";
    assert_eq!(
        statements[2],
        json!({
            "Sid": "Logs",
            "Effect": "Allow",
            "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": [group, format!("{group}:log-stream:*")],
        })
    );
    assert_eq!(
        statements[3],
        json!({
            "Sid": "Events",
            "Effect": "Allow",
            "Action": ["events:PutEvents"],
            "Resource": "arn:aws-cn:events:cn-north-1:*:event-bus/ci",
        })
    );
    let bus = "arn:aws:events:eu-west-1:123456789012:event-bus/ci";
    let policy = as_json(&printed(&["--print", "iam", "--event-bus", bus]));
    assert_eq!(policy["Statement"][2]["Resource"], bus);
}

// AGENT-55
#[test]
fn the_stage_is_one_of_codebuilds_with_another_provider_and_owner() {
    let stage = as_json(&printed(&["--print", "stage", "--project", "web"]));
    let expected = json!({
        "name": "Build",
        "actions": [{
            "name": "Build",
            "actionTypeId": {
                "category": "Build",
                "owner": "Custom",
                "provider": "Runner",
                "version": "1",
            },
            "runOrder": 1,
            "configuration": { "ProjectName": "web" },
            "inputArtifacts": [{ "name": "SourceArtifact" }],
            "outputArtifacts": [{ "name": "BuildArtifact" }],
        }],
    });
    assert_eq!(stage, expected);
    let stage = as_json(&printed(&["--print", "stage"]));
    assert_eq!(
        stage["actions"][0]["configuration"]["ProjectName"],
        "my-project"
    );
}

// AGENT-51: a job whose configuration is a CodeBuild action's, with all it may have, is one that the action type takes.
#[test]
fn the_configuration_of_a_codebuild_action_is_taken_as_it_is() {
    let Some(server) = CodePipeline::start() else {
        return;
    };
    register(&server, &[]).expect(0);
    let job = json!({
        "actionTypeId": { "category": "Build", "owner": "Custom", "provider": "Runner", "version": "1" },
        "configuration": {
            "ProjectName": "web",
            "PrimarySource": "SourceArtifact",
            "BatchEnabled": "false",
            "CombineArtifacts": "false",
            "EnvironmentVariables": "[{\"name\":\"STAGE\",\"value\":\"test\",\"type\":\"PLAINTEXT\"}]",
            "BuildspecOverride": "ci/buildspec.yml",
            "ServiceRoleArnOverride": "arn:aws:iam::123456789012:role/build",
        },
        "inputArtifacts": [{
            "name": "SourceArtifact",
            "location": { "type": "S3", "s3Location": { "bucketName": "pipeline-bucket", "objectKey": "a/b" } },
        }],
    });
    server.job(&job);
}
