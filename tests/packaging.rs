//! The unit for systemd, the Debian package and the image: made, looked at, installed, used, removed.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start programs and look at the environment"
)]

mod support;

use std::fs;
use std::process::Command;

use serde_json::json;
use support::container::{busybox, docker};
use support::package::package;
use support::stage::{Stage, unzip};
use support::wait::Bounded as _;
use support::{RUNNER, root, skipped};

/// Runs a program to its end; what it wrote, on either way, and whether it succeeded.
fn ran(command: &mut Command) -> (bool, String) {
    let output = command
        .bounded_output()
        .expect("the program can be started");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn is_there(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .bounded_output()
        .is_ok()
}

/// The unit, whole, with the program where the package has it; and with the drop-in, if asked.
fn unit(directory: &tempfile::TempDir, is_hardened: bool) -> std::path::PathBuf {
    let text = fs::read_to_string(root().join("packaging/runner-agent.service"))
        .expect("the unit is there");
    let path = directory.path().join("runner-agent.service");
    fs::write(&path, text.replace("/usr/bin/runner", RUNNER)).expect("a file can be written");
    if is_hardened {
        let below = directory.path().join("runner-agent.service.d");
        fs::create_dir(&below).expect("a directory can be made");
        fs::copy(
            root().join("packaging/hardened.conf"),
            below.join("hardened.conf"),
        )
        .expect("it can be copied");
    }
    path
}

// AGENT-94
#[test]
fn systemd_understands_the_units() {
    if !is_there("systemd-analyze") {
        skipped(
            "systemd_understands_the_units",
            "there is no systemd-analyze",
        );
        return;
    }
    for is_hardened in [false, true] {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let unit = unit(&directory, is_hardened);
        let (succeeded, said) = ran(Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&unit));
        assert!(
            succeeded && said.is_empty(),
            "hardened: {is_hardened}\n{said}"
        );
        if is_hardened {
            let mut command = Command::new("systemd-analyze");
            // In tenths, and lower is safer; `OK` begins below 50.
            command
                .args([
                    "security",
                    "--offline=true",
                    "--no-pager",
                    "--threshold",
                    "25",
                ])
                .arg(&unit);
            let (succeeded, said) = ran(&mut command);
            assert!(succeeded, "{said}");
        }
    }
}

// AGENT-94
#[test]
fn the_unit_lets_builds_end() {
    let unit = fs::read_to_string(root().join("packaging/runner-agent.service"))
        .expect("the unit is there");
    for line in [
        "Type=notify",
        "NotifyAccess=main",
        "KillMode=mixed",
        "KillSignal=SIGTERM",
        "TimeoutStopSec=36h",
        "Restart=on-failure",
        "SuccessExitStatus=130 131 143",
        "RestartPreventExitStatus=2",
        "User=runner",
        "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'",
    ] {
        assert!(unit.lines().any(|found| found == line), "no {line}");
    }
    // The watchdog has to be more patient than the agent's own limit of a round.
    let watchdog = unit
        .lines()
        .find_map(|line| line.strip_prefix("WatchdogSec="))
        .expect("there is one");
    let minutes: u64 = watchdog
        .trim_end_matches("min")
        .parse()
        .expect("it is in minutes");
    let round = buildspec_runner::agent::progress::LONGEST_ROUND;
    assert!(
        std::time::Duration::from_mins(minutes) > round,
        "{watchdog}"
    );
}

// AGENT-95
#[test]
fn the_package_has_what_an_agent_needs() {
    if !is_there("dpkg-deb") {
        skipped(
            "the_package_has_what_an_agent_needs",
            "there is no dpkg-deb",
        );
        return;
    }
    let directory = tempfile::tempdir().expect("a directory can be made");
    let package = package(directory.path());
    let (succeeded, listed) = ran(Command::new("dpkg-deb").args(["--contents", &package]));
    assert!(succeeded, "{listed}");
    for line in [
        "-rwxr-xr-x root/root ./usr/bin/runner",
        "-rw-r--r-- root/root ./usr/lib/systemd/system/runner-agent.service",
        "-rw-r----- root/root ./etc/runner/runner.toml",
        "-rw-r--r-- root/root ./usr/share/man/man1/runner.1.gz",
        "-rw-r--r-- root/root ./usr/share/man/man1/runner-agent.1.gz",
        "-rw-r--r-- root/root ./usr/share/man/man1/runner-run.1.gz",
        "-rw-r--r-- root/root ./usr/share/bash-completion/completions/runner",
        "-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_runner",
        "-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/runner.fish",
        "-rw-r--r-- root/root ./usr/share/doc/buildspec-runner/copyright",
        "-rw-r--r-- root/root ./usr/share/doc/buildspec-runner/hardened.conf",
    ] {
        let mut words = line.split(' ');
        let (rights, owner, path) = (
            words.next().unwrap(),
            words.next().unwrap(),
            words.next().unwrap(),
        );
        let has = |found: &str| {
            found.starts_with(rights)
                && found.contains(owner)
                && found.ends_with(&format!(" {path}"))
        };
        assert!(listed.lines().any(has), "no {line} in\n{listed}");
    }
    let (_, control) = ran(Command::new("dpkg-deb").args(["--field", &package]));
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        control.contains(&format!("\nVersion: {version}\n")),
        "{control}"
    );
    let (_, conffiles) = ran(Command::new("dpkg-deb").args(["--info", &package, "conffiles"]));
    assert_eq!(conffiles, "/etc/runner/runner.toml\n");
}

/// What is done in a Debian of its own, line by line; whatever fails ends it.
const LIFE: &str = r#"
set -eu
find / -xdev \( -path /proc -o -path /var/lib/dpkg -o -path /var/log -o -path /tmp -o -path /var/cache \) -prune -o -print | sort > /tmp/before
cp /etc/passwd /etc/group /tmp/
dpkg --install /package.deb
runner --version
runner config show --origin agent | grep 'jobs = "1"'
stat -c '%U:%G %a' /etc/runner/runner.toml | grep '^root:runner 640$'
getent passwd runner | grep ':/var/lib/runner:/usr/sbin/nologin$'
# The administrator's file is obeyed, and only who may read it.
printf '[agent]\nprovider = "Runner"\njobs = 3\n' > /etc/runner/runner.toml
runner config show --origin agent | grep 'jobs = "3" .*# /etc/runner/runner.toml:3:8$'
# A build, as the user of the package.
mkdir -p /var/lib/runner && chown runner: /var/lib/runner
printf 'version: 0.2\nphases:\n  build:\n    commands: ["id -un > who"]\n' > /var/lib/runner/buildspec.yml
cd /var/lib/runner
setpriv --reuid runner --regid runner --clear-groups env HOME=/var/lib/runner runner run
grep '^runner$' who
cd /
# The same again is an upgrade: what was written stays.
dpkg --install /package.deb
grep 'jobs = 3' /etc/runner/runner.toml
dpkg --remove buildspec-runner
test ! -e /usr/bin/runner
test -e /etc/runner/runner.toml
dpkg --purge buildspec-runner
find / -xdev \( -path /proc -o -path /var/lib/dpkg -o -path /var/log -o -path /tmp -o -path /var/cache \) -prune -o -print | sort > /tmp/after
diff /tmp/before /tmp/after | grep -v -e '/etc/passwd-' -e '/etc/group-' -e '/etc/shadow-' -e '/etc/gshadow-' -e '/etc/subuid' -e '/etc/subgid' -e '^[0-9,]*[acd][0-9,]*$' > /tmp/left || true
cat /tmp/left
test ! -s /tmp/left
diff /tmp/passwd /etc/passwd
diff /tmp/group /etc/group
echo all is as it was
"#;

// AGENT-95 AGENT-96
#[test]
fn the_package_is_installed_used_and_purged() {
    let Ok(image) = std::env::var("RUNNER_TEST_IMAGE") else {
        skipped(
            "the_package_is_installed_used_and_purged",
            "no engine with an image; tests/run starts it",
        );
        return;
    };
    let directory = tempfile::tempdir().expect("a directory can be made");
    let package = package(directory.path());
    let mount = format!("{package}:/package.deb:ro");
    let mut command = Command::new("docker");
    command.args([
        "run",
        "--rm",
        "--network",
        "none",
        "--volume",
        &mount,
        &image,
        "sh",
        "-xc",
        LIFE,
    ]);
    let (succeeded, said) = ran(&mut command);
    assert!(succeeded, "{said}");
}

/// The agent as its unit starts it, in a Debian of its own that has the network of this machine: one job, and it is purged.
const ONE_JOB: &str = r#"
set -eu
dpkg --install /package.deb
printf '[agent]\nprovider = "Runner"\nregion = "us-east-1"\npoll-interval = "50ms"\nmin-free-space = "1m"\n' > /etc/runner/runner.toml
start=$(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/runner-agent.service)
# What systemd does for User=, StateDirectory=, WorkingDirectory= and UMask=.
install -d -o runner -g runner -m 700 /var/lib/runner
cd /var/lib/runner
umask 077
setpriv --reuid runner --regid runner --init-groups env HOME=/var/lib/runner $start --once
test -n "$(ls /var/lib/runner/jobs)"
cd /
dpkg --purge buildspec-runner
test ! -e /var/lib/runner
test ! -e /etc/runner
"#;

// AGENT-94 AGENT-95 AGENT-96
#[test]
fn the_installed_agent_does_a_job_as_its_unit_starts_it() {
    let Ok(image) = std::env::var("RUNNER_TEST_IMAGE") else {
        skipped(
            "the_installed_agent_does_a_job_as_its_unit_starts_it",
            "no engine with an image; tests/run starts it",
        );
        return;
    };
    let Some(stage) = Stage::new("package") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands: ['id -un > who; pwd | cut -d/ -f1-4 >> who']\nartifacts: { files: who }\n";
    let source = stage.source("App/x", &[("buildspec.yml", buildspec)]);
    let job = stage.job(&json!({ "ProjectName": "web" }), &[source], &["Out"]);
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mount = format!("{}:/package.deb:ro", package(directory.path()));
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--network", "host", "--volume", &mount]);
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "not-a-real-secret-key"),
        ("AWS_ENDPOINT_URL", &stage.endpoint),
        ("AWS_ENDPOINT_URL_CODEPIPELINE", &stage.server.endpoint),
    ] {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    command.args([&image, "sh", "-xc", ONE_JOB]);
    let (succeeded, said) = ran(&mut command);
    assert!(succeeded, "{said}");
    assert_eq!(stage.answer(&job)["status"], "Succeeded", "{said}");
    let files = unzip(stage.bucket.get("out/Out").content);
    let who = ("who".to_owned(), "runner\n/var/lib/runner\n".to_owned());
    assert_eq!(files, [who]);
}

// AGENT-97
#[test]
fn the_image_is_the_binary_and_nothing_else() {
    if busybox("the_image_is_the_binary_and_nothing_else").is_none() {
        return;
    }
    let context = tempfile::tempdir().expect("a directory can be made");
    fs::copy(RUNNER, context.path().join("runner")).expect("it can be copied");
    fs::write(
        context.path().join("buildspec.yml"),
        "version: 0.2\nphases:\n  build:\n    commands: [make]\n",
    )
    .expect("a file can be written");
    let file = root().join("packaging/Dockerfile").display().to_string();
    let place = context.path().display().to_string();
    for (base, number) in [
        ("scratch".to_owned(), 1),
        (std::env::var("RUNNER_TEST_IMAGE").unwrap_or_default(), 2),
    ] {
        let tag = format!("runner-tests/runner-{number}:{}", std::process::id());
        docker(&[
            "build",
            "--quiet",
            "--file",
            &file,
            "--build-arg",
            &format!("BASE={base}"),
            "--tag",
            &tag,
            &place,
        ]);
        let run = |arguments: &[&str]| {
            let mount = format!("{place}/buildspec.yml:/checked/buildspec.yml:ro");
            docker(
                &[
                    &["run", "--rm", "--network", "none", "--volume", &mount, &tag],
                    arguments,
                ]
                .concat(),
            )
        };
        let said = [
            run(&["--version"]),
            run(&["plan", "-C", "/checked"]),
            run(&["validate", "/checked/buildspec.yml"]),
        ];
        let healthy = docker(&["run", "--rm", "--network", "none", &tag]);
        let _ = Command::new("docker")
            .args(["image", "rm", "--force", &tag])
            .bounded_output();
        assert!(said[0].starts_with("runner "), "{said:?}");
        assert!(said[1].contains("make"), "{said:?}");
        assert!(healthy.contains("Usage: "), "{healthy}");
    }
}
