//! The installed package under a real systemd: the unit does what it says.
//!
//! It runs as process 1 of a container, in the container's own cgroup, and sees nothing of the machine's but the network, on
//! which the test's servers listen on loopback.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start programs and look at the environment"
)]

mod support;

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::container::docker;
use support::package::package;
use support::skipped;
use support::stage::{Stage, unzip};
use support::wait::Bounded as _;

/// Becomes systemd, but only where it can reach nothing of the machine's: settings of the kernel have to be closed to it, and
/// the cgroup that it takes for the uppermost must not be the machine's. Otherwise it writes down why not.
const INIT: &str = "\
cannot() { echo \"$*\" > /run/cannot; exec sleep 60; }
test $$ = 1 || cannot 'this is not process 1'
test -x /lib/systemd/systemd || cannot 'the image has no systemd'
test ! -w /proc/sys/fs/file-max || cannot 'the kernel could be set from here'
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup || cannot 'no cgroups of version 2'
test -e /sys/fs/cgroup/cgroup.type || cannot 'the engine gives containers no cgroup of version 2'
# Were the test ended by force, this turns it off.
(sleep 900; kill -48 1) &
exec /lib/systemd/systemd
";

/// A Debian that systemd runs, for the life of this value, with the package of the program at `/package.deb`.
struct Machine {
    container: String,
    _package: tempfile::TempDir,
}

impl Machine {
    /// One that is up, unless there is none to be had here, which is said.
    fn start(test: &str) -> Option<Self> {
        let Ok(image) = std::env::var("RUNNER_TEST_IMAGE") else {
            skipped(test, "no engine with an image; tests/run starts it");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mount = format!("{}:/package.deb:ro", package(directory.path()));
        let container = docker(&[
            "run",
            "--detach",
            "--rm",
            "--network",
            "host",
            "--cgroupns",
            "private",
            // To mount cgroups, and for the namespaces of services.
            "--cap-add",
            "SYS_ADMIN",
            "--security-opt",
            "apparmor=unconfined",
            "--env",
            "container=docker",
            "--tmpfs",
            "/run:mode=755,exec",
            "--tmpfs",
            "/tmp:mode=1777,exec",
            "--volume",
            &mount,
            &image,
            "sh",
            "-c",
            INIT,
        ]);
        let machine = Self {
            container,
            _package: directory,
        };
        let why = machine.sh("timeout 90 sh -c 'until test -e /run/cannot || systemctl is-system-running --wait | grep -q -e running -e degraded; do sleep 0.1; done'; cat /run/cannot || true");
        if why.is_empty() {
            return Some(machine);
        }
        skipped(test, &why);
        None
    }

    /// A script in there, and how it ended.
    #[track_caller]
    fn run(&self, script: &str) -> Output {
        let mut command = Command::new("docker");
        command.args(["exec", &self.container, "sh", "-euc", script]);
        command.bounded_output().expect("docker can be started")
    }

    /// A script in there, which has to succeed; what it wrote.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(
            output.status.success(),
            "{script}\n{}{}",
            text(&output),
            text(&self.run(
                "systemctl status --no-pager runner-agent; journalctl --no-pager --lines 60 || true"
            ))
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until a command succeeds in there.
    #[track_caller]
    fn wait(&self, condition: &str) {
        self.sh(&format!(
            "export condition={}; timeout 90 sh -c 'until eval \"$condition\"; do sleep 0.1; done'",
            quoted(condition)
        ));
    }

    /// Waits until a property of the agent's unit is this.
    #[track_caller]
    fn wait_for(&self, property: &str, value: &str) {
        let show = format!("systemctl show --value --property {property} runner-agent");
        self.wait(&format!("{show} | grep -q -e {}", quoted(value)));
    }

    /// Properties of the agent's unit.
    #[track_caller]
    fn shows<const N: usize>(&self, properties: [&str; N]) -> [String; N] {
        properties.map(|property| {
            self.sh(&format!(
                "systemctl show --value --property {property} runner-agent"
            ))
        })
    }

    /// Installs the package, which starts nothing, and lets the agent find the servers of the test.
    #[track_caller]
    fn install(&self, stage: &Stage) {
        self.sh("dpkg --install /package.deb");
        self.drop_in(
            "test",
            &format!(
                "[Service]\nRestartSec=100ms\nEnvironment=AWS_ACCESS_KEY_ID=AKIDEXAMPLE \
                 AWS_SECRET_ACCESS_KEY=not-a-real-secret-key AWS_ENDPOINT_URL={} AWS_ENDPOINT_URL_CODEPIPELINE={}\n",
                stage.endpoint, stage.server.endpoint
            ),
        );
    }

    /// Adds to the unit.
    #[track_caller]
    fn drop_in(&self, name: &str, content: &str) {
        let directory = "/etc/systemd/system/runner-agent.service.d";
        self.sh(&format!(
            "mkdir -p {directory}; printf %s {} > {directory}/{name}.conf; systemctl daemon-reload",
            quoted(content)
        ));
    }

    /// Writes the agent's configuration, with more of it.
    #[track_caller]
    fn configure(&self, more: &str) {
        let text = format!(
            "[agent]\nprovider = 'Runner'\nregion = 'us-east-1'\npoll-interval = '50ms'\nmin-free-space = '1m'\n{more}\n"
        );
        self.sh(&format!(
            "printf %s {} > /etc/runner/runner.toml",
            quoted(&text)
        ));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["rm", "--force", "--volumes", &self.container])
            .bounded_output();
    }
}

/// One word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A job of a project whose build runs these commands, and keeps the file `out`.
fn job(stage: &Stage, commands: &[&str]) -> String {
    let buildspec = format!(
        "version: 0.2\nphases: {{ build: {{ commands: {} }} }}\nartifacts: {{ files: out }}\n",
        json!(commands)
    );
    let source = stage.source("App/x", &[("buildspec.yml", &buildspec)]);
    stage.job(&json!({ "ProjectName": "web" }), &[source], &["Out"])
}

fn status(answer: &Value) -> &str {
    answer["status"].as_str().unwrap_or_default()
}

// AGENT-90, AGENT-92, AGENT-93, AGENT-94, AGENT-95, AGENT-96
#[test]
fn systemd_starts_reloads_and_stops_the_installed_agent() {
    let test = "systemd_starts_reloads_and_stops_the_installed_agent";
    let Some(stage) = Stage::new("systemd-life") else {
        return;
    };
    let Some(machine) = Machine::start(test) else {
        return;
    };
    machine.install(&stage);
    // The package needs nothing but `passwd`.
    machine.sh("rm /bin/kill");
    assert_eq!(
        machine.shows(["ActiveState", "UnitFileState"]),
        ["inactive", "disabled"]
    );

    // As it comes, nothing says what to poll for: that does not become better by trying it again.
    assert!(!machine.run("systemctl start runner-agent").status.success());
    assert_eq!(
        machine.shows(["ActiveState", "Result", "ExecMainStatus", "NRestarts"]),
        ["failed", "exit-code", "2", "0"]
    );

    // It is started when it says so, and it has said what it does.
    machine.configure("allow-pipeline = ['web-*']");
    machine.sh("systemctl enable --now runner-agent");
    let [active, said] = machine.shows(["ActiveState", "StatusText"]);
    assert_eq!(active, "active");
    assert!(said.starts_with("polls for Build/Runner/1"), "{said}");
    let first = job(
        &stage,
        &[
            "id -un > out; cut -d: -f3 /proc/self/cgroup | tail -n 1 >> out; echo \"${NOTIFY_SOCKET-none}\" >> out",
        ],
    );
    assert_eq!(status(&stage.answered(&first)), "Succeeded");
    let files = unzip(stage.bucket.get("out/Out").content);
    let expected = "runner\n/system.slice/runner-agent.service\nnone\n";
    assert_eq!(files, [("out".to_owned(), expected.to_owned())]);

    let [before] = machine.shows(["MainPID"]);
    machine.configure("allow-pipeline = ['other']");
    machine.sh("systemctl reload runner-agent");
    machine.wait_for("StatusText", "has read its configuration again");
    assert_eq!(status(&stage.answered(&job(&stage, &["true"]))), "Failed");
    machine.configure("allow-pipeline = ['web-*']");
    machine.sh("systemctl restart runner-agent");
    let [after] = machine.shows(["MainPID"]);
    assert_ne!(before, after);

    // Who is stopped lets its build end: TERM is the agent's alone.
    let long = job(
        &stage,
        &[
            "sh -c 'trap \"touch termed\" TERM; touch /tmp/builds; until test -e /tmp/go; do sleep 0.1; done'",
            "test ! -e termed",
            "echo whole > out",
        ],
    );
    machine.wait("test -e /tmp/builds");
    // Neither does an upgrade disturb it.
    machine.sh("dpkg --install /package.deb");
    assert_eq!(
        machine.shows(["ActiveState", "MainPID"]),
        ["active".to_owned(), after]
    );
    machine.sh("systemctl stop --no-block runner-agent");
    machine.wait_for("StatusText", "takes no more jobs; 1 build runs");
    assert_eq!(
        machine.shows(["ActiveState", "SubState"]),
        ["deactivating", "stop-sigterm"]
    );
    machine.sh("touch /tmp/go");
    machine.wait_for("ActiveState", "inactive");
    assert_eq!(machine.shows(["Result"]), ["success"]);
    assert_eq!(status(&stage.answer(&long)), "Succeeded");

    // Narrower, it starts, polls, reloads and ends too.
    machine.sh("cp /usr/share/doc/buildspec-runner/hardened.conf /etc/systemd/system/runner-agent.service.d/; systemctl daemon-reload");
    machine.sh("systemctl start runner-agent");
    let [narrow] = machine.shows(["MainPID"]);
    let status_file = machine.sh(&format!("cat /proc/{narrow}/status"));
    for line in ["NoNewPrivs:\t1", "CapBnd:\t0000000000000000"] {
        assert!(
            status_file.lines().any(|found| found == line),
            "{status_file}"
        );
    }
    let narrowed = job(
        &stage,
        &[
            "mkdir made && echo '#!/bin/sh' > made/it && chmod 755 made/it && made/it && echo whole > out",
        ],
    );
    assert_eq!(status(&stage.answered(&narrowed)), "Succeeded");
    machine.configure("allow-pipeline = ['other']");
    machine.sh("systemctl reload runner-agent");
    machine.wait_for("StatusText", "has read its configuration again");
    assert_eq!(status(&stage.answered(&job(&stage, &["true"]))), "Failed");

    // Who lets it end by itself finds it ended.
    machine.sh("runner agent drain --state /var/lib/runner");
    machine.wait_for("ActiveState", "^inactive$");
    assert_eq!(machine.shows(["Result", "NRestarts"]), ["success", "0"]);
    machine.configure("allow-pipeline = ['web-*']\ngrace = '1s'");
    machine.sh("rm /etc/systemd/system/runner-agent.service.d/hardened.conf /tmp/builds; systemctl daemon-reload; systemctl start runner-agent");

    // A removal has patience with a build, though no more than it says.
    let last = job(&stage, &["touch /tmp/builds; sleep 86398"]);
    machine.wait("test -e /tmp/builds");
    machine.sh("sed -i s/^patience=.*/patience=3/ /var/lib/dpkg/info/buildspec-runner.prerm");
    let said = machine.sh("dpkg --remove buildspec-runner");
    for words in ["ends with its last build", "stops its builds now"] {
        assert!(said.contains(words), "no {words} in {said}");
    }
    let answer = stage.answer(&last);
    let message = answer["request"]["failureDetails"]["message"].as_str();
    assert!(
        message.is_some_and(|text| text.contains("the agent was stopped")),
        "{answer}"
    );
    machine.sh("! pgrep --full '[8]6398'");

    // Purging takes everything along.
    machine.sh("dpkg --purge buildspec-runner");
    assert_eq!(
        machine.shows(["LoadState", "ActiveState"]),
        ["not-found", "inactive"]
    );
    machine.sh("test -z \"$(find / -xdev -name 'runner-agent.service' -o -path /etc/runner -o -path /var/lib/runner -o -path /usr/bin/runner)\"");
    machine.sh("! getent passwd runner; ! getent group runner; ! pgrep runner");
}

// AGENT-28, AGENT-91, AGENT-94
#[test]
fn systemd_restarts_an_agent_that_is_stuck_or_gone() {
    let test = "systemd_restarts_an_agent_that_is_stuck_or_gone";
    let Some(stage) = Stage::new("systemd-restart") else {
        return;
    };
    let Some(machine) = Machine::start(test) else {
        return;
    };
    machine.install(&stage);
    machine.configure("");
    machine.drop_in("watchdog", "[Service]\nWatchdogSec=5s\n");
    machine.sh("systemctl start runner-agent");

    // It does not run any more.
    machine.sh("systemctl kill --kill-whom=main --signal=STOP runner-agent");
    machine.wait_for("NRestarts", "^1$");
    machine.wait_for("ActiveState", "^active$");
    // It runs, and answers whoever asks it, but its loop does not come round.
    stage
        .server
        .fault(&json!({ "operation": "PollForJobs", "kind": "stall" }));
    machine.wait_for("StatusText", "stuck: poll");
    machine.wait_for("NRestarts", "^2$");
    machine.wait_for("ActiveState", "^active$");
    let said = machine.sh("journalctl --no-pager --unit runner-agent");
    assert_eq!(said.matches("Watchdog timeout").count(), 2, "{said}");
    let after = job(&stage, &["echo whole > out"]);
    assert_eq!(status(&stage.answered(&after)), "Succeeded");

    // Ended by force in the middle of a build: the next one answers for it, and nothing of the build is left.
    machine.drop_in("watchdog", "");
    machine.sh("systemctl restart runner-agent");
    let open = job(&stage, &["touch /tmp/builds; exec sleep 86399"]);
    machine.wait("test -e /tmp/builds");
    machine.sh("systemctl kill --kill-whom=main --signal=KILL runner-agent");
    machine.wait_for("NRestarts", "^1$");
    assert_eq!(status(&stage.answered(&open)), "Failed");
    machine.sh("! pgrep --full '[8]6399'");
    machine.wait_for("ActiveState", "^active$");
    let next = job(&stage, &["echo whole > out"]);
    assert_eq!(status(&stage.answered(&next)), "Succeeded");
}
