//! From a pipeline's source to its deploy stage: the agent builds and pushes an image, and what the deploy actions read of it
//! is what is in the registry.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::process::Command;

use serde_json::json;
use support::python::judge;
use support::sandbox::Sandbox;
use support::skipped;
use support::stage::{Stage, stderr, unzip};
use support::wait;

const BUILDSPEC: &str = r#"version: 0.2
env:
  exported-variables: [DIGEST]
  variables:
    REPOSITORY: 123456789012.dkr.ecr.us-east-1.amazonaws.com/agent-web
phases:
  build:
    commands:
      - docker build -q -t "$REPOSITORY:$TAG" .
  post_build:
    commands:
      - docker push "$REPOSITORY:$TAG"
      - DIGEST=$(docker inspect --format '{{index .RepoDigests 0}}' "$REPOSITORY:$TAG")
      - printf '[{"name":"web","imageUri":"%s"}]' "$DIGEST" > imagedefinitions.json
      - printf '{"ImageURI":"%s"}' "$DIGEST" > imageDetail.json
artifacts:
  files: imagedefinitions.json
  secondary-artifacts:
    Definitions: { files: imagedefinitions.json }
    BlueGreen: { files: [appspec.yaml, taskdef.json, imageDetail.json] }
"#;

const TASK: &str = r#"{ "family": "web", "containerDefinitions": [ { "name": "web", "image": "<IMAGE1_NAME>", "memory": 64, "essential": true } ] }"#;

const APPSPEC: &str = "\
version: 0.0
Resources:
  - TargetService:
      Type: AWS::ECS::Service
      Properties:
        TaskDefinition: <TASK_DEFINITION>
        LoadBalancerInfo:
          ContainerName: web
          ContainerPort: 80
";

/// What the deploy actions do with the artifacts, against moto's ECS (14.7 to 14.12 of what is known of them).
const DEPLOY: &str = r#"
import io, json, sys, zipfile, boto3
asked = json.load(sys.stdin)
at = dict(endpoint_url=asked["endpoint"], region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
s3, ecs = boto3.client("s3", **at), boto3.client("ecs", **at)

def artifact(key):
    body = s3.get_object(Bucket=asked["bucket"], Key=key)["Body"].read()
    return zipfile.ZipFile(io.BytesIO(body))

# ECS, standard: the image of each named container is replaced in the task definition that the service uses.
old = ecs.register_task_definition(family="web", containerDefinitions=[{"name": "web", "image": "old", "memory": 64}])
ecs.create_cluster(clusterName="c")
ecs.create_service(cluster="c", serviceName="s", taskDefinition=old["taskDefinition"]["taskDefinitionArn"], desiredCount=1)
for key in asked["standard"]:
    text = artifact(key).read("imagedefinitions.json")
    assert len(text) <= 100 * 1024
    definitions = json.loads(text)
    assert isinstance(definitions, list) and all(set(one) == {"name", "imageUri"} for one in definitions), definitions
    service = ecs.describe_services(cluster="c", services=["s"])["services"][0]
    task = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    images = {one["name"]: one["imageUri"] for one in definitions}
    containers = task["containerDefinitions"]
    assert set(images) <= {one["name"] for one in containers}
    for one in containers:
        one["image"] = images.get(one["name"], one["image"])
    new = ecs.register_task_definition(family="web", containerDefinitions=containers)["taskDefinition"]
    ecs.update_service(cluster="c", service="s", taskDefinition=new["taskDefinitionArn"])
    service = ecs.describe_services(cluster="c", services=["s"])["services"][0]
    task = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    assert [one["image"] for one in task["containerDefinitions"]] == [asked["digest"]], task

# CodeDeployToECS: placeholders are replaced, and the AppSpec names the new revision.
green = artifact(asked["green"])
assert sorted(green.namelist()) == ["appspec.yaml", "imageDetail.json", "taskdef.json"], green.namelist()
image = json.loads(green.read("imageDetail.json"))["ImageURI"]
task = json.loads(green.read("taskdef.json").decode().replace("<IMAGE1_NAME>", image))
made = ecs.register_task_definition(**task)["taskDefinition"]
assert made["containerDefinitions"][0]["image"] == asked["digest"]
appspec = green.read("appspec.yaml").decode().replace("<TASK_DEFINITION>", made["taskDefinitionArn"])
assert f"TaskDefinition: {made['taskDefinitionArn']}\n" in appspec, appspec
"#;

// AGENT-1, AGENT-18, AGENT-19, AGENT-21
#[test]
fn what_the_deploy_stage_reads_is_what_was_pushed() {
    let test = "agent: deploy";
    let Some(base) = std::env::var_os("RUNNER_TEST_BUSYBOX") else {
        return skipped(test, "no engine and no registry; tests/run starts them");
    };
    let Some(stage) = Stage::new("deploy") else {
        return;
    };
    let dockerfile = format!(
        "FROM {}\nRUN echo agent > /root/made\n",
        base.to_string_lossy()
    );
    let source = stage.source(
        "App/one",
        &[
            ("buildspec.yml", BUILDSPEC),
            ("Dockerfile", &dockerfile),
            ("taskdef.json", TASK),
            ("appspec.yaml", APPSPEC),
        ],
    );
    let variables = json!([{ "name": "TAG", "value": "v1" }]).to_string();
    let configuration = json!({ "ProjectName": "web", "EnvironmentVariables": variables });
    let inputs = [source];
    let standard = stage.job(&configuration, &inputs, &["Image"]);
    let green = stage.job(&configuration, &inputs, &["Definitions", "BlueGreen"]);
    let mut command = stage.agent(&["--max-idle", "1s"]);
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        command.env("DOCKER_HOST", host);
    }
    // Debian's engine brings no plug-in for the newer builder.
    command.env("DOCKER_BUILDKIT", "0");
    let ran = wait::output(Sandbox::spawn(&mut command));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let answer = stage.answer(&standard);
    assert_eq!(answer["status"], "Succeeded", "{answer}");
    assert_eq!(
        stage.answer(&green)["status"],
        "Succeeded",
        "{}",
        stage.answer(&green)
    );
    let digest = answer["request"]["outputVariables"]["DIGEST"].as_str();
    let digest = digest.expect("it is exported").to_owned();
    assert!(digest.contains("agent-web@sha256:"), "{digest}");
    let files = unzip(stage.bucket.get("out/Image").content);
    assert_eq!(files.len(), 1, "{files:?}");
    let asked = json!({
        "endpoint": stage.endpoint,
        "bucket": stage.bucket.name,
        "standard": ["out/Image", "out/Definitions"],
        "green": "out/BlueGreen",
        "digest": digest,
    });
    judge(&["boto3"], DEPLOY, asked.to_string().as_bytes());
    // It is in the registry, and not only on this machine.
    let removed = Command::new("docker")
        .args(["image", "rm", "--force", &digest])
        .output();
    removed.expect("docker can be started");
    let mut pull = stage
        .server
        .command(&stage.sandbox, &stage.endpoint, &["pull", &digest]);
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        pull.env("DOCKER_HOST", host);
    }
    let pulled = wait::output(Sandbox::spawn(&mut pull));
    assert!(pulled.status.success(), "{}", stderr(&pulled));
    stage.keeps_secrets(&[&standard, &green], &ran.stderr);
}
