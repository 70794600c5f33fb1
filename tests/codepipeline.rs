//! The server of our own that hands out CodePipeline's jobs, held to the truth by boto3, whose model of the service is
//! AWS's.

mod support;

use serde_json::json;
use support::codepipeline::CodePipeline;
use support::python::judge;
use support::wait::within;

/// Runs a module of Python tests.
fn driven_by_boto3(module: &'static str) {
    let script = format!(
        "\
import sys, unittest
sys.dont_write_bytecode = True
sys.path.insert(0, 'tests/services')
unittest.main(module='{module}', argv=[''])"
    );
    within(module, move || judge(&["boto3"], &script, b""));
}

#[test]
fn operations_are_as_the_services() {
    driven_by_boto3("test_codepipeline");
}

#[test]
fn faults_are_as_they_are_set() {
    driven_by_boto3("test_codepipeline_faults");
}

#[test]
fn logs_and_events_are_as_the_services() {
    driven_by_boto3("test_cloudwatch");
}

#[test]
fn tests_say_what_happens_and_read_what_happened() {
    let Some(server) = CodePipeline::start() else {
        return;
    };
    let project =
        json!([{ "name": "ProjectName", "required": true, "key": true, "secret": false }]);
    let action_type = server.register("Runner", &project);
    let job = server.job(&json!({
        "actionTypeId": action_type,
        "configuration": { "ProjectName": "web" },
    }));
    server.fault(&json!({ "kind": "close", "operation": "AcknowledgeJob", "when": "after" }));
    let told = server.told(&job);
    assert_eq!(told["status"], "Queued");
    assert_eq!(
        told["data"]["actionConfiguration"]["configuration"]["ProjectName"],
        "web"
    );
    assert!(server.calls(&job).is_empty());
    assert_eq!(server.ask("GET", "/faults", None)[0]["met"], 0);
}
