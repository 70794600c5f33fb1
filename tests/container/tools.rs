//! Runner's own tools in a container, many at once.

use crate::support::container::{busybox, run};
use crate::support::sandbox::Sandbox;
use crate::support::skipped;

/// TOOL-51
#[test]
fn many_tools_at_once_are_all_answered() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "seq 1 200 | xargs -P 40 -n 1 sh -c 'docker images > said.$0 2>&1 || touch failed.$0'",
        "ls failed.* 2> /dev/null | xargs -r -n 1 echo || true",
        "ls said.* | wc -l",
    ]);
    let ran = run(&sandbox, &image, &[]).expect(0).stdout_has("\n200\n");
    assert!(!ran.stdout.contains("failed.1"), "{}", ran.stdout);
    let entries = std::fs::read_dir(sandbox.source()).expect("it is there");
    let failed: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("failed"))
        .collect();
    assert_eq!(failed, Vec::<String>::new());
}

/// Holds more connections than the session inside may have files.
const HOLD: &str = r#"
import os, socket
held = []
for _ in range(200):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(60)
    one.connect(os.environ["RUNNER_TOOL_SOCKET"])
    held.append(one)
print("held", len(held))
"#;

/// TOOL-52
#[test]
fn tools_are_answered_after_files_had_run_out() {
    let Ok(image) = std::env::var("RUNNER_TEST_IMAGE") else {
        skipped("container", "no image with tools; tests/run makes it");
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "ulimit -Sn 1024 && python3 hold.py",
        "docker images > /dev/null && echo answered",
    ])
    .file("hold.py", HOLD);
    run(&sandbox, &image, &["--ulimit", "nofile=64:1024"])
        .expect(0)
        .stdout_has("held 200")
        .stdout_has("\nanswered\n");
}
