//! Builds that are to end before their container is ready.

use rustix::process::Signal;

use crate::support::container::{self, Image, Started, busybox, command, containers};
use crate::support::sandbox::Sandbox;
use crate::support::wait::{self, Bounded as _};

/// What an image begins with that never hands over.
const HANGS: &str = r#"ENTRYPOINT ["/bin/sh","-c","sleep 1000"]"#;

/// CTR-68: each of these would wait for the entry point as long as one may take, and that twice is longer than a test waits.
#[test]
fn a_container_that_is_not_ready_keeps_nobody() {
    let Some(base) = busybox("container") else {
        return;
    };
    wait::within("the end of two builds", move || {
        let image = Image::of(&base, "hangs", &[HANGS]);
        let sandbox = Sandbox::with_commands(&["echo RAN"]);
        let ran = container::run(&sandbox, &image.0, &["--timeout", "5s", "--grace", "1s"]);
        let ran = ran.expect(5);
        assert!(!ran.stdout.contains("\nRAN\n"), "{}", ran.stdout);
        assert_eq!(containers(&sandbox), Vec::<String>::new());

        let mut command = command(&sandbox, &image.0, &["--grace", "1h"]);
        let child = Sandbox::spawn(&mut command);
        let build = Started {
            child: Some(child),
            rest: None,
        };
        while containers(&sandbox).is_empty() {
            std::thread::yield_now();
        }
        build.signal(Signal::TERM);
        build.signal(Signal::INT);
        let mut build = build;
        let child = build.child.take().expect("it runs");
        let ran = sandbox.finish(&wait::output(child));
        // Of two signals that arrive together the kernel says which comes first.
        assert!(
            matches!(ran.code, 130 | 143),
            "{}: {}",
            ran.code,
            ran.stderr
        );
        assert_eq!(containers(&sandbox), Vec::<String>::new());
    });
}

/// CTR-70
#[test]
fn flags_of_containers_are_refused_on_the_host() {
    let sandbox = Sandbox::with_commands(&["touch ran"]);
    for flag in [
        ["--pull", "always"],
        ["--pull", "missing"],
        ["--mount-source", "copy"],
        ["--image-map", "a=b"],
    ] {
        let mut command = sandbox.command(["run", flag[0], flag[1]]);
        let output = command.bounded_output().expect("it starts");
        let said = format!("`{}` is for builds in containers", flag[0]);
        sandbox.finish(&output).expect(2).stderr_has(&said);
    }
    assert!(!sandbox.source().join("ran").exists());
}
