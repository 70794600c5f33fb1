//! The image of a build, and the settings of its container.

use crate::support::container::{busybox, command, containers, engine_socket, run};
use crate::support::engine::Proxy;
use crate::support::sandbox::Sandbox;
use crate::support::wait::Bounded as _;

/// CTR-6, CTR-73: no image, no shell, another processor, and never a fallback to the host.
#[test]
fn what_is_wrong_with_an_image_is_said() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["touch ran"]);
    let refused = [
        (
            "runner-tests/none:1",
            vec!["--pull", "never"],
            "the engine does not have it, and `--pull never` forbids to pull it",
        ),
        ("127.0.0.1:9/none:1", vec![], "connection refused"),
        (
            &image,
            vec!["--platform", "linux/s390x"],
            ", and not for linux/s390x",
        ),
        (
            &image,
            vec!["--shell", "bash"],
            "there is no shell `bash` in the image",
        ),
    ];
    for (image, arguments, message) in refused {
        let ran = run(&sandbox, image, &arguments)
            .expect(4)
            .stderr_has(message);
        let code = "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE";
        assert_eq!(
            ran.stdout.contains(code),
            image.contains("none") || arguments.contains(&"--platform"),
            "{}",
            ran.stdout
        );
    }
    let mut command = command(&sandbox, &image, &[]);
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let output = command.bounded_output().expect("it starts");
    sandbox
        .finish(&output)
        .expect(4)
        .stderr_has("could not reach the container engine at unix:///nowhere/docker.sock");
    assert!(!sandbox.source().join("ran").exists());
}

/// CTR-6: one name stands for another.
#[test]
fn images_are_mapped() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["echo mapped"]);
    let name = "aws/codebuild/standard:7.0";
    run(
        &sandbox,
        name,
        &["--quiet", "--image-map", &format!("{name}={image}")],
    )
    .expect(0)
    .stdout_has("mapped");
    let output = sandbox.command(["run", "--memory", "1g"]).bounded_output();
    sandbox
        .finish(&output.expect("it starts"))
        .expect(2)
        .stderr_has("`--memory` is for builds in containers");
    run(&sandbox, name, &[])
        .expect(2)
        .stderr_has("--image-map aws/codebuild/standard:7.0=IMAGE");
}

/// CTR-50: a source of a volume that is not there is refused, and nothing is made in its place; on this machine by either way
/// to ask for it, elsewhere by the engine.
#[test]
fn a_volume_that_is_not_there_is_refused() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&["touch ran"]);
    let typo = sandbox.path("typo");
    let far = Proxy::start(&engine_socket()).address();
    for (engine, options) in [(None, ""), (None, ":ro"), (None, ":z"), (Some(&far), "")] {
        let volume = format!("{}:/mounted{options}", typo.display());
        let mut command = command(&sandbox, &image, &["--volume", &volume]);
        command.envs(engine.map(|engine| ("DOCKER_HOST", engine)));
        let output = command.bounded_output().expect("it starts");
        sandbox
            .finish(&output)
            .expect(4)
            .stderr_has("could not mount the volume `")
            .stderr_has(&format!("/typo:/mounted{options}`: there is no "))
            .stderr_has("help: make it, or correct `--volume`");
        assert!(!typo.exists(), "{options}");
    }
    assert!(!sandbox.source().join("ran").exists());
    assert_eq!(containers(&sandbox), Vec::<String>::new());
    assert!(sandbox.leftovers().is_empty());
}

/// CTR-7: limits and other settings reach the container.
#[test]
fn settings_reach_the_container() {
    let Some(image) = busybox("container") else {
        return;
    };
    let sandbox = Sandbox::with_commands(&[
        "cat /etc/hosts | grep -c '192.0.2.1.*example.test'",
        "ulimit -n",
        "ls /sys/class/net",
        "cat /mounted/file",
        "df -k /dev/shm | tail -n 1 | awk '{print $2}'",
    ])
    .file("given/file", "mounted\n");
    let volume = format!("{}:/mounted:ro", sandbox.source().join("given").display());
    let arguments = [
        "--quiet",
        "--network",
        "none",
        "--add-host",
        "example.test:192.0.2.1",
        "--ulimit",
        "nofile=777",
        "--volume",
        &volume,
        "--shm-size",
        "8m",
        "--memory",
        "256m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "100",
    ];
    let ran = run(&sandbox, &image, &arguments).expect(0);
    assert_eq!(ran.stdout, "1\n777\nlo\nmounted\n8192\n");
}
