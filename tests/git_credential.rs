//! Git with credentials of a build, against a server of git's own that wants a password. The server is a few lines of Python
//! around `git http-backend`, on loopback.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::sandbox::{Ran, Sandbox};
use support::skipped;
use support::wait::{self, Bounded as _};

const TOKEN: &str = "token-of-the-source-1";

/// Serves the repositories below a directory to those with the password in `PASSWORD`, and writes down the names of all who
/// ask with one. Says its port first.
const SERVER: &str = r#"
import base64, http.server, os, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def serve(self):
        kind, _, shown = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(shown).decode().partition(":")
        if kind:
            with open(os.environ["USERS"], "a") as users:
                users.write(user + "\n")
        if password != os.environ["PASSWORD"]:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=tests")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        variables = dict(os.environ, GIT_PROJECT_ROOT=os.environ["ROOT"], GIT_HTTP_EXPORT_ALL="1",
            PATH_INFO=path, QUERY_STRING=query, REQUEST_METHOD=self.command, REMOTE_USER=user,
            CONTENT_TYPE=self.headers.get("Content-Type", ""), CONTENT_LENGTH=str(len(body)),
            HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""), GIT_PROTOCOL=self.headers.get("Git-Protocol", ""))
        answer = subprocess.run(["git", "http-backend"], input=body, env=variables, stdout=subprocess.PIPE).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = [value.split()[0] for name, value in lines if name == "Status"]
        self.send_response(int(status[0]) if status else 200)
        for name, value in lines:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    do_GET = do_POST = serve
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A server with one repository, `r.git`. It ends with the value.
struct Server {
    place: tempfile::TempDir,
    process: Child,
    /// `127.0.0.1:PORT`
    host: String,
}

impl Server {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory can be made");
        let script = "git init -q --bare r.git && git -C r.git config http.receivepack true && git init -q w && cd w && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m first && git push -q ../r.git HEAD:refs/heads/main && git -C ../r.git symbolic-ref HEAD refs/heads/main";
        let made = Command::new("sh")
            .args(["-c", script])
            .current_dir(place.path())
            .bounded_output()
            .expect("sh can be started");
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{said}");
        wait::heed_signals();
        let mut process = Command::new("python3")
            .args(["-c", SERVER])
            .env("ROOT", place.path())
            .env("USERS", place.path().join("users"))
            .env("PASSWORD", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be started");
        let stdout = process.stdout.take().expect("standard output is a pipe");
        let port = wait::within("the server says its port", move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            read.expect("it can be read");
            line
        });
        let host = format!("127.0.0.1:{}", port.trim());
        Self {
            place,
            process,
            host,
        }
    }

    /// Who has asked with a password, each once.
    fn users(&self) -> Vec<String> {
        let users = fs::read_to_string(self.place.path().join("users")).unwrap_or_default();
        let mut users: Vec<String> = users.lines().map(str::to_owned).collect();
        users.sort();
        users.dedup();
        users
    }

    /// A build that clones the repository, and has more commands.
    fn build(&self, key: &str, more: &[&str]) -> Sandbox {
        let clone = format!("git clone -q http://{}/r.git out", self.host);
        let commands: Vec<String> = std::iter::once(clone.as_str())
            .chain(more.iter().copied())
            .map(|command| format!("      - {}\n", serde_json::Value::from(command)))
            .collect();
        Sandbox::with_buildspec(&format!(
            "version: 0.2\nenv:\n  {key}\nphases:\n  build:\n    commands:\n{}",
            commands.concat()
        ))
    }

    fn grant(&self, source: &str) -> String {
        format!("http://{}={source}", self.host)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const KEY: &str = "git-credential-helper: yes";

fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let arguments = [&["run", "--log-format", "codebuild"], arguments].concat();
    let mut command = sandbox.command(&arguments);
    command
        .env("CODEBUILD_GIT_TOKEN", TOKEN)
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let output = command(sandbox, arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

// CRED-20 CRED-21 CRED-26 CRED-29
#[test]
fn git_has_a_token_that_no_command_sees() {
    let server = Server::new();
    let sandbox = server.build(
        KEY,
        &[
            "env > variables; cat /proc/self/environ >> variables",
            "cd out && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m second && git push -q origin HEAD:refs/heads/second",
            // Whoever asks is told, and the log is not.
            "printf 'protocol=http\\nhost=%s\\n\\n' $HOST | git credential fill",
            "git config --get caller.own",
        ],
    );
    // A helper that would keep the token, as many users have one.
    let settings = "[credential]\n\thelper = store\n[caller]\n\town = from-the-file\n";
    let sandbox = sandbox.file("../home/.gitconfig", settings);
    let grant = server.grant("env:CODEBUILD_GIT_TOKEN");
    let host = format!("HOST={}", server.host);
    let mut command = command(&sandbox, &["--git-credential", &grant, "--env", &host]);
    command
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "caller.own")
        .env("GIT_CONFIG_VALUE_0", "from-the-environment");
    let output = command
        .bounded_output()
        .expect("the program can be started");
    let ran = sandbox
        .finish(&output)
        .expect(0)
        .stdout_has("\npassword=***\n")
        .stdout_has("\nfrom-the-environment\n");
    assert!(
        !ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN),
        "{}",
        ran.stdout
    );
    let variables = fs::read(sandbox.source().join("variables")).expect("the build wrote it");
    let variables = String::from_utf8_lossy(&variables).into_owned();
    assert!(!variables.contains(TOKEN), "{variables}");
    assert!(
        !sandbox.path("home").join(".git-credentials").exists(),
        "nobody kept the token"
    );
    let kept = fs::read_to_string(sandbox.path("home").join(".gitconfig"));
    assert_eq!(kept.expect("it is there"), settings);
    assert_eq!(server.users(), ["x-access-token"]);
    assert!(server.place.path().join("r.git/refs/heads/second").exists());
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

// CRED-20
#[test]
fn without_a_source_it_is_said_and_with_strict_refused() {
    let server = Server::new();
    let sandbox = server.build(KEY, &[]);
    let said = "`git-credential-helper` has no credentials to give: it needs `--git-credential`";
    run(&sandbox, &[]).expect(1).stderr_has(said);
    run(&sandbox, &["--strict"]).expect(3).stderr_has(said);
    // Nobody asked for it.
    let sandbox = server.build("git-credential-helper: no", &[]);
    let grant = server.grant("env:CODEBUILD_GIT_TOKEN");
    run(&sandbox, &["--git-credential", &grant]).expect(1);
    assert_eq!(server.users(), Vec::<String>::new());
}

// CRED-22 CRED-23
#[test]
fn another_host_gets_nothing() {
    let (server, other) = (Server::new(), Server::new());
    let sandbox = other.build(KEY, &[]);
    let grant = server.grant("env:CODEBUILD_GIT_TOKEN");
    run(&sandbox, &["--git-credential", &grant]).expect(1);
    assert_eq!(other.users(), Vec::<String>::new());
    // The host of the source's repository, and a user.
    let origin = format!(
        "git init -q && git remote add origin http://{}/r.git",
        other.host
    );
    let made = Command::new("sh")
        .args(["-c", &origin])
        .current_dir(sandbox.source())
        .bounded_output();
    assert!(made.expect("sh can be started").status.success());
    run(&sandbox, &["--git-credential", "env:CODEBUILD_GIT_TOKEN"]).expect(0);
    assert_eq!(other.users(), ["x-access-token"]);
}

// CRED-23 CRED-24 CRED-28
#[test]
fn what_cannot_be_had_is_known_before_the_first_command() {
    let server = Server::new();
    let sandbox = server.build(KEY, &[]).file("../token", TOKEN);
    let token = sandbox.path("token");
    let mode = |mode| fs::set_permissions(&token, fs::Permissions::from_mode(mode));
    mode(0o644).expect("it can be closed and opened");
    let grant = server.grant(&format!("file:{}", token.display()));
    run(&sandbox, &["--git-credential", &grant])
        .expect(4)
        .stdout_has("others can read it")
        .stderr_has("--git-credential");
    assert!(!sandbox.source().join("out").exists());
    mode(0o600).expect("it can be closed and opened");
    let grant = format!("http://bot@{}=file:{}", server.host, token.display());
    run(&sandbox, &["--git-credential", &grant]).expect(0);
    assert_eq!(server.users(), ["bot"]);
    for (grant, message) in [
        ("env:CODEBUILD_GIT_TOKEN", "has to say which host it is for"),
        (
            "github.com=env:NOT_SET_HERE",
            "the variable `NOT_SET_HERE` is not set here",
        ),
        ("github.com=the-token", "expected [[USER@]HOST=]SOURCE"),
        ("http://github.com=helper", "is no host for a token"),
    ] {
        run(&sandbox, &["--git-credential", grant])
            .expect(2)
            .stderr_has(message);
    }
}

// CRED-24 CRED-29
#[test]
fn the_callers_own_git_is_asked_outside_of_the_source() {
    let server = Server::new();
    let sandbox = server.build(KEY, &[]);
    let stored = format!("http://somebody:{TOKEN}@{}\n", server.host);
    let sandbox = sandbox
        .file("../home/.git-credentials", stored)
        .file("../home/.gitconfig", "[credential]\n\thelper = store\n");
    // What a build says in its source is nothing to run as the caller.
    let trap = "git init -q && git config credential.helper '!touch trapped; false'";
    let made = Command::new("sh")
        .args(["-c", trap])
        .current_dir(sandbox.source())
        .bounded_output();
    assert!(made.expect("sh can be started").status.success());
    let grant = server.grant("helper");
    run(&sandbox, &["--git-credential", &grant]).expect(0);
    assert_eq!(server.users(), ["somebody"]);
    // Nothing there: git says why, and asks nobody else.
    let sandbox = server.build(KEY, &[]);
    run(&sandbox, &["--git-credential", &grant])
        .expect(1)
        .stdout_has("git-credential-runner: no credential for http://127.0.0.1:")
        .stdout_has("the caller's git has none");
}

// CRED-25
#[test]
fn a_secret_of_codebuilds_shape_has_the_token() {
    let Some(endpoint) = support::aws::endpoint("a_secret_of_codebuilds_shape_has_the_token")
    else {
        return;
    };
    let server = Server::new();
    let make = |name: &str, text: &str| {
        let mut command = Command::new("aws");
        command
            .args([
                "secretsmanager",
                "create-secret",
                "--name",
                name,
                "--secret-string",
                text,
            ])
            .args([
                "--endpoint-url",
                &endpoint,
                "--region",
                support::aws::REGION,
            ])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        let made = command.bounded_output().expect("aws can be started");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    make(
        "git/whole",
        &format!(
            r#"{{"ServerType":"GITHUB_ENTERPRISE","AuthType":"PERSONAL_ACCESS_TOKEN","Token":"{TOKEN}"}}"#
        ),
    );
    make("git/field", &format!(r#"{{"token":"{TOKEN}"}}"#));
    make(
        "git/other",
        &format!(
            r#"{{"ServerType":"GITHUB","AuthType":"PERSONAL_ACCESS_TOKEN","Token":"{TOKEN}"}}"#
        ),
    );
    let run = |sandbox: &Sandbox, source: &str| {
        let grant = server.grant(source);
        let arguments = [
            "run",
            "--log-format",
            "codebuild",
            "--git-credential",
            &grant,
        ];
        let output = support::aws::command(sandbox, &endpoint, &arguments).bounded_output();
        sandbox.finish(&output.expect("the program can be started"))
    };
    for source in ["secret:git/whole", "secret:git/field:token"] {
        let ran = run(
            &server.build(KEY, &["cat .git/config out/.git/config || true"]),
            source,
        );
        let ran = ran.expect(0);
        assert!(!ran.stdout.contains(TOKEN), "{}", ran.stdout);
    }
    for (source, why) in [
        ("secret:git/other", "the secret is for GITHUB"),
        ("secret:git/none", "ResourceNotFoundException"),
        (
            "secret:git/field",
            "name the key of a token in another secret as ID:KEY",
        ),
    ] {
        let ran = run(&server.build(KEY, &[]), source)
            .expect(4)
            .stdout_has(why);
        assert!(!ran.stdout.contains(TOKEN), "{}", ran.stdout);
    }
}

// CRED-26 CRED-27
#[test]
fn in_a_container_it_is_the_same() {
    let Some(image) = std::env::var("RUNNER_TEST_IMAGE").ok() else {
        skipped(
            "in_a_container_it_is_the_same",
            "no engine with an image; tests/run starts it",
        );
        return;
    };
    let server = Server::new();
    let grant = server.grant("env:CODEBUILD_GIT_TOKEN");
    for more in [None, Some("--no-tools")] {
        let sandbox = server.build(KEY, &["env > variables"]);
        let project = sandbox.project();
        let arguments = [
            "--image",
            &image,
            "--network",
            "host",
            "--git-credential",
            &grant,
            "--project",
            &project,
        ];
        let arguments: Vec<&str> = arguments.into_iter().chain(more).collect();
        let mut command = command(&sandbox, &arguments);
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        let output = command
            .bounded_output()
            .expect("the program can be started");
        let ran = sandbox.finish(&output).expect(0);
        assert!(!ran.stdout.contains(TOKEN), "{}", ran.stdout);
        let variables = fs::read_to_string(sandbox.source().join("variables"));
        assert!(!variables.expect("the build wrote it").contains(TOKEN));
        assert!(Path::new(&sandbox.source().join("out/.git")).is_dir());
    }
    assert_eq!(server.users(), ["x-access-token"]);
}
