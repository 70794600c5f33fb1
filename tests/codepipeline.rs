//! The server of our own that hands out CodePipeline's jobs, held to the truth by boto3, whose model of the service is
//! AWS's.

mod support;

use serde_json::json;
use support::codepipeline::CodePipeline;
use support::python::judge;
use support::wait::within;

#[test]
fn boto3_finds_the_server_to_be_as_the_service() {
    let script = "\
import sys, unittest
sys.dont_write_bytecode = True
unittest.main(module=None, argv=['', 'discover', '--start-directory', 'tests/services'])";
    within("tests/services", || judge(&["boto3"], script, b""));
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
