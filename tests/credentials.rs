//! Credentials that builds are served: against a server of our own that gives out roles, and, where `tests/run` has started
//! them, against real SDKs, STS in memory and a container engine.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use buildspec_runner::aws::{Keys, Settings};
use buildspec_runner::credentials::{Endpoint, Keeper, Role, RoleArn, Service, Source, Token};
use buildspec_runner::redact::Hider;
use support::aws::{REGION, command, endpoint};
use support::sandbox::{Ran, Sandbox};
use support::skipped;
use support::wait::{self, Bounded as _};
use tokio::runtime::Runtime;

const ROLE: &str = "arn:aws:iam::123456789012:role/deploy";

/// The caller's key, long enough to be taken for a real one.
const CALLER: &str = "AKIACALLER0000000001";

// ── a server that gives out roles ────────────────────────────────────────────────────────────────────────────────────

/// What was asked: by whose key, and the body.
#[derive(Clone, Debug)]
struct Asked {
    key: String,
    body: String,
}

/// How it answers.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Credentials that last so many seconds.
    Life(u64),
    /// Nobody may have the role.
    Refuses,
}

/// STS and the Parameter Store, as far as these tests need them. Each set of credentials has a number of its own.
struct Services {
    endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    mood: Arc<Mutex<Mood>>,
}

impl Services {
    fn new(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mood = Arc::new(Mutex::new(mood));
        let (log, how) = (Arc::clone(&asked), Arc::clone(&mood));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, how) = (Arc::clone(&log), Arc::clone(&how));
                thread::spawn(move || drop(serve(stream, &log, &how)));
            }
        });
        Self {
            endpoint: format!("http://{address}"),
            asked,
            mood,
        }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panics with it").clone()
    }

    /// Questions for a role or a session.
    fn sessions(&self) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.body.contains("Action="));
        asked
    }

    fn change(&self, mood: Mood) {
        *self.mood.lock().expect("no thread panics with it") = mood;
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Asked>>, mood: &Mutex<Mood>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => {
                let signed = value.split("Credential=").nth(1).unwrap_or_default();
                signed
                    .split('/')
                    .next()
                    .unwrap_or_default()
                    .clone_into(&mut key);
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let number = {
        let mut log = log.lock().expect("no thread panics with it");
        log.push(Asked {
            key,
            body: body.clone(),
        });
        log.iter()
            .filter(|asked| asked.body.contains("Action="))
            .count()
    };
    let mood = *mood.lock().expect("no thread panics with it");
    let (status, answer) = answer(&body, number, mood);
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nx-amzn-requestid: 1\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )?;
    stream.shutdown(Shutdown::Write)
}

fn answer(body: &str, number: usize, mood: Mood) -> (&'static str, String) {
    let action = ["AssumeRole", "GetSessionToken"]
        .into_iter()
        .find(|action| body.contains(&format!("Action={action}")));
    match (action, mood) {
        (None, _) => (
            "200 OK",
            r#"{"Parameters":[{"Name":"/app/word","Type":"String","Value":"open-sesame","Version":1}],"InvalidParameters":[]}"#.to_owned(),
        ),
        (Some(_), Mood::Refuses) => (
            "403 Forbidden",
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: me is not authorized to perform: sts:AssumeRole</Message></Error><RequestId>1</RequestId></ErrorResponse>".to_owned(),
        ),
        (Some(action), Mood::Life(seconds)) => {
            let end = SystemTime::now() + Duration::from_secs(seconds);
            let end = DateTime::from(end).fmt(Format::DateTime).expect("a time can be written");
            ("200 OK", format!(
                "<{action}Response><{action}Result><Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>secret-of-session-{number}</SecretAccessKey><SessionToken>token-of-session-{number}</SessionToken><Expiration>{end}</Expiration></Credentials></{action}Result></{action}Response>",
                key(number)
            ))
        }
    }
}

/// The key of a set of credentials.
fn key(number: usize) -> String {
    format!("ASIASESSION{number:09}")
}

// ── on this machine, without any service ─────────────────────────────────────────────────────────────────────────────

fn run(sandbox: &Sandbox, services: &Services, arguments: &[&str]) -> Ran {
    let arguments = [&["run", "--log-format", "codebuild"], arguments].concat();
    let mut command = command(sandbox, &services.endpoint, &arguments);
    command.env("AWS_ACCESS_KEY_ID", CALLER);
    sandbox.finish(
        &command
            .bounded_output()
            .expect("the program can be started"),
    )
}

fn build(commands: &[&str]) -> Sandbox {
    let lines: Vec<String> = commands
        .iter()
        .map(|command| format!("      - {}\n", serde_json::Value::from(*command)))
        .collect();
    Sandbox::with_buildspec(&format!(
        "version: 0.2\nphases:\n  build:\n    commands:\n{}",
        lines.concat()
    ))
}

/// A script that asks the endpoint `$1` times and writes what it says to the files 1, 2, …; the last one is shown too.
const ASK: &str = r#"
import os, sys, urllib.error, urllib.request
uri, token = (os.environ[name] for name in ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"))
for number in range(1, int(sys.argv[1]) + 1):
    said = urllib.request.urlopen(urllib.request.Request(uri, headers={"Authorization": token})).read().decode()
    open(str(number), "w").write(said)
print(said)
"#;

fn said(sandbox: &Sandbox, file: &str) -> serde_json::Value {
    let text = fs::read_to_string(sandbox.source().join(file)).expect("the build wrote it");
    serde_json::from_str(&text).expect("it is JSON")
}

// CRED-2 CRED-3 CRED-4 CRED-7 CRED-11
#[test]
fn commands_have_the_role_and_nothing_of_the_callers() {
    let services = Services::new(Mood::Life(3600));
    let env = "env:\n  parameter-store:\n    WORD: /app/word\n";
    let sandbox = build(&[
        "env > variables",
        "python3 ask.py 1",
        "echo $AWS_CONTAINER_AUTHORIZATION_TOKEN",
    ])
    .file("ask.py", ASK);
    let text = fs::read_to_string(sandbox.source().join("buildspec.yml")).expect("it is there");
    let sandbox = sandbox.file(
        "buildspec.yml",
        text.replace("phases:", &format!("{env}phases:")),
    );
    let flags = [
        ["--assume-role", ROLE],
        ["--external-id", "chosen-by-the-owner"],
        ["--role-duration", "30m"],
        ["--project", "demo"],
    ];
    let ran = run(&sandbox, &services, &flags.concat()).expect(0);
    let variables = fs::read_to_string(sandbox.source().join("variables")).expect("it is there");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"] {
        assert!(!variables.contains(&format!("\n{name}=")), "{variables}");
    }
    assert!(!variables.contains(CALLER) && variables.contains("\nWORD=open-sesame"));
    assert_eq!(said(&sandbox, "1")["AccessKeyId"], key(1));
    assert_eq!(
        said(&sandbox, "1")["SecretAccessKey"],
        "secret-of-session-1"
    );
    assert_eq!(said(&sandbox, "1")["Token"], "token-of-session-1");
    let token = variables
        .lines()
        .find_map(|line| line.strip_prefix("AWS_CONTAINER_AUTHORIZATION_TOKEN="))
        .expect("there is a token");
    for hidden in [&key(1), "secret-of-session-1", "token-of-session-1", token] {
        assert!(
            !ran.stdout.contains(hidden),
            "{hidden} is in {}",
            ran.stdout
        );
    }
    // The role as the caller, once; all else as the role.
    let asked = services.asked();
    let by: Vec<&str> = asked.iter().map(|asked| asked.key.as_str()).collect();
    assert_eq!(by, [CALLER, &key(1)]);
    let body = &asked[0].body;
    for part in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdeploy",
        "RoleSessionName=demo-",
        "ExternalId=chosen-by-the-owner",
        "DurationSeconds=1800",
    ] {
        assert!(body.contains(part), "no {part} in {body}");
    }
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

// CRED-1
#[test]
fn without_a_flag_the_callers_variables_are_passed_on() {
    let services = Services::new(Mood::Refuses);
    let sandbox = build(&["env > variables"]);
    run(&sandbox, &services, &[]).expect(0);
    let variables = fs::read_to_string(sandbox.source().join("variables")).expect("it is there");
    assert!(variables.contains(CALLER) && !variables.contains("AWS_CONTAINER_"));
    assert!(services.asked().is_empty());
}

// CRED-3
#[test]
fn what_a_build_says_itself_of_its_credentials_wins() {
    let services = Services::new(Mood::Life(3600));
    let sandbox = build(&["env > variables"]);
    let flags = [
        "--assume-role",
        ROLE,
        "--env",
        "AWS_PROFILE=mine",
        "--env",
        "AWS_CONFIG_FILE=/mine",
    ];
    run(&sandbox, &services, &flags).expect(0);
    let variables = fs::read_to_string(sandbox.source().join("variables")).expect("it is there");
    for line in ["AWS_PROFILE=mine", "AWS_CONFIG_FILE=/mine"] {
        assert!(variables.lines().any(|found| found == line), "{variables}");
    }
    let flags = [
        "--assume-role",
        ROLE,
        "--env",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/",
    ];
    run(&sandbox, &services, &flags).expect(0);
    let variables = fs::read_to_string(sandbox.source().join("variables")).expect("it is there");
    assert!(
        variables.contains("http://127.0.0.1:1/") && !variables.contains("_AUTHORIZATION_TOKEN")
    );
}

// CRED-2
#[test]
fn a_role_that_cannot_be_had_ends_the_build_before_any_command() {
    let services = Services::new(Mood::Refuses);
    let sandbox = build(&["touch ran"]);
    let ran = run(&sandbox, &services, &["--assume-role", ROLE])
        .expect(4)
        .stdout_has("Phase context status code: CLIENT_ERROR Message: could not assume the role")
        .stdout_has("AccessDenied: User: me is not authorized to perform: sts:AssumeRole")
        .stderr_has("allow the caller `sts:AssumeRole`");
    assert!(!sandbox.source().join("ran").exists(), "{}", ran.stdout);
    for (flags, message) in [
        (
            ["--assume-role", "deploy"],
            "expected arn:aws:iam::ACCOUNT:role/NAME",
        ),
        (["--external-id", "x"], "--assume-role"),
    ] {
        run(&sandbox, &services, &flags)
            .expect(2)
            .stderr_has(message);
    }
    let flags = ["--assume-role", ROLE, "--role-duration", "13h"];
    run(&sandbox, &services, &flags)
        .expect(2)
        .stderr_has("15 minutes to 12 hours");
}

// CRED-6 CRED-7: these end as soon as they come, so that each question is for new ones.
#[test]
fn a_build_outlives_its_session() {
    let services = Services::new(Mood::Life(0));
    let sandbox = build(&["python3 ask.py 3"]).file("ask.py", ASK);
    let ran = run(&sandbox, &services, &["--assume-role", ROLE]).expect(0);
    let numbers: Vec<usize> = (1..=3)
        .map(|file| {
            let found = said(&sandbox, &file.to_string())["AccessKeyId"].clone();
            let found = found.as_str().expect("it is text").to_owned();
            found
                .trim_start_matches("ASIASESSION")
                .parse()
                .expect("a number")
        })
        .collect();
    assert!(
        numbers.is_sorted_by(|one, other| one < other),
        "{numbers:?}"
    );
    assert!(!ran.stdout.contains("ASIASESSION"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("-of-session-"), "{}", ran.stdout);
}

// CRED-5
#[test]
fn an_endpoint_gives_out_sessions_of_the_caller_and_never_the_keys() {
    let services = Services::new(Mood::Life(3600));
    let sandbox = build(&["env > variables", "python3 ask.py 1"]).file("ask.py", ASK);
    run(&sandbox, &services, &["--credentials-endpoint"]).expect(0);
    let sessions = services.sessions();
    assert_eq!(sessions.len(), 1);
    assert!(sessions[0].body.contains("Action=GetSessionToken"));
    assert_eq!(said(&sandbox, "1")["AccessKeyId"], key(1));
    let variables = fs::read_to_string(sandbox.source().join("variables")).expect("it is there");
    assert!(!variables.contains(CALLER));
    // A session that the caller has already, in a profile that commands do not see.
    let profile = "[ci]\naws_access_key_id = ASIAOFTHECALLER00001\naws_secret_access_key = not-a-real-secret-key\naws_session_token = of-the-caller\n";
    let sandbox = build(&[
        "cat $AWS_SHARED_CREDENTIALS_FILE || true",
        "aws configure list-profiles || true",
        "python3 ask.py 1",
    ])
    .file("ask.py", ASK)
    .file("../home/.aws/credentials", profile);
    let mut command = command(
        &sandbox,
        &services.endpoint,
        &["run", "--credentials-endpoint", "--profile", "ci"],
    );
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let output = command
        .bounded_output()
        .expect("the program can be started");
    let ran = sandbox.finish(&output).expect(0);
    assert_eq!(said(&sandbox, "1")["AccessKeyId"], "ASIAOFTHECALLER00001");
    assert_eq!(said(&sandbox, "1")["Token"], "of-the-caller");
    assert!(
        said(&sandbox, "1")["Expiration"]
            .as_str()
            .is_some_and(|end| end.ends_with('Z'))
    );
    assert!(
        !ran.stdout.contains("ASIAOFTHECALLER00001"),
        "{}",
        ran.stdout
    );
    assert_eq!(services.sessions().len(), 1);
}

// CRED-34
#[test]
fn a_profile_that_is_named_comes_before_keys_of_the_environment() {
    let services = Services::new(Mood::Life(3600));
    let profile = "[ci]\naws_access_key_id = ASIAOFTHECALLER00001\naws_secret_access_key = not-a-real-secret-key\naws_session_token = of-the-caller\n";
    let sandbox = build(&["python3 ask.py 1"])
        .file("ask.py", ASK)
        .file("../home/.aws/credentials", profile);
    let flags = ["--credentials-endpoint", "--profile", "ci"];
    run(&sandbox, &services, &flags).expect(0);
    assert_eq!(said(&sandbox, "1")["AccessKeyId"], "ASIAOFTHECALLER00001");
    assert_eq!(services.sessions().len(), 0);
    // Nor do commands get those keys, which would win over the profile there.
    let sandbox =
        build(&["env | grep ^AWS_ | sort > variables"]).file("../home/.aws/credentials", profile);
    run(&sandbox, &services, &["--profile", "ci"]).expect(0);
    let variables = fs::read_to_string(sandbox.source().join("variables")).expect("it is there");
    assert!(variables.contains("AWS_PROFILE=ci\n"), "{variables}");
    assert!(!variables.contains("AWS_ACCESS_KEY_ID") && !variables.contains("AWS_SECRET"));
    // A profile that is nowhere is nobody: not whoever has the keys.
    let flags = ["--credentials-endpoint", "--profile", "gone"];
    let sandbox = build(&["touch ran"]);
    run(&sandbox, &services, &flags)
        .expect(4)
        .stderr_has("there is no AWS profile `gone`");
    assert_eq!(services.sessions().len(), 0);
}

// CRED-9
#[test]
fn the_port_is_closed_when_the_build_is_over() {
    let services = Services::new(Mood::Life(3600));
    for (last, code) in [("true", 0), ("false", 1)] {
        let sandbox = build(&["echo $AWS_CONTAINER_CREDENTIALS_FULL_URI > uri", last]);
        run(&sandbox, &services, &["--assume-role", ROLE]).expect(code);
        let uri = fs::read_to_string(sandbox.source().join("uri")).expect("it is there");
        let address = uri.trim().trim_start_matches("http://").split('/').next();
        let connected = TcpStream::connect(address.expect("there is an address"));
        assert!(connected.is_err(), "{uri}");
    }
}

// CRED-12
#[test]
fn the_doctor_tries_a_role() {
    let services = Services::new(Mood::Refuses);
    let sandbox = Sandbox::new();
    let doctor = |services: &Services| {
        let mut command = command(
            &sandbox,
            &services.endpoint,
            &["doctor", "--assume-role", ROLE],
        );
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        sandbox.finish(
            &command
                .bounded_output()
                .expect("the program can be started"),
        )
    };
    doctor(&services)
        .expect(4)
        .stdout_has("✘ AWS role")
        .stdout_has("AccessDenied");
    services.change(Mood::Life(3600));
    doctor(&services).stdout_has("✔ AWS role");
    let last = services.asked().pop().expect("something was asked");
    assert_eq!(last.key, key(2), "the checks that follow are the role's");
}

// ── the endpoint by itself ───────────────────────────────────────────────────────────────────────────────────────────

fn keeper(services: &Services) -> Arc<Keeper> {
    let role = Role {
        arn: RoleArn::new(ROLE).expect("it is the ARN of a role"),
        session_name: "tests".to_owned(),
        external_id: None,
        duration: None,
    };
    let settings = Settings {
        region: Some(REGION.to_owned()),
        keys: Some(Keys {
            id: CALLER.to_owned(),
            secret: "not-a-real-secret-key".to_owned(),
            session: None,
        }),
        endpoint: Some(services.endpoint.clone()),
        ..Settings::default()
    };
    Keeper::new(Source::Role(role), settings, Hider::default())
}

/// Sends a request as it is written, and gives what comes until the connection is closed.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    let limit = Some(wait::LIMIT);
    stream.set_read_timeout(limit).expect("a limit can be set");
    let _ = stream.write_all(request.as_bytes());
    let mut said = Vec::new();
    // Whoever refuses a request may not read all of it.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

// CRED-8
#[test]
fn the_endpoint_answers_nobody_but_the_build() {
    let services = Services::new(Mood::Life(3600));
    let runtime = Runtime::new().expect("a runtime can be made");
    let token = Token::random();
    assert_ne!(token.reveal(), Token::random().reveal());
    let service = Service::new(keeper(&services), token.clone());
    let endpoint = runtime
        .block_on(Endpoint::listen(service))
        .expect("a port is free");
    let address = endpoint.uri();
    let address = address
        .trim_start_matches("http://")
        .trim_end_matches("/credentials")
        .to_owned();
    let right = format!("Authorization: {}\r\n", token.reveal());
    let (start, _) = token.reveal().split_at(63);
    let table = [
        ("GET /credentials", String::new(), "401 "),
        ("GET /credentials", "Authorization: \r\n".to_owned(), "403 "),
        (
            "GET /credentials",
            format!("Authorization: {start}\r\n"),
            "403 ",
        ),
        (
            "GET /credentials",
            format!("Authorization: Bearer {}\r\n", token.reveal()),
            "403 ",
        ),
        ("GET /elsewhere", String::new(), "401 "),
        ("GET /elsewhere", right.clone(), "404 "),
        ("POST /credentials", right.clone(), "405 "),
        (
            "GET /credentials",
            format!("{right}X: {}\r\n", "x".repeat(100_000)),
            "431 ",
        ),
        (
            "GET /credentials",
            right.clone() + &"X: y\r\n".repeat(100),
            "431 ",
        ),
        ("GET /credentials", right.clone(), "200 "),
        ("nonsense", String::new(), "400 "),
    ];
    for (line, headers, status) in table {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let said = ask(&address, &request);
        // What was cut off while it was sent may end in a reset, before the answer is read.
        let refused = said.is_empty() && headers.len() > 50_000;
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status}")) || refused,
            "{line} {status}: {said}"
        );
        assert_eq!(said.contains("ASIASESSION"), status == "200 ", "{said}");
    }
    // Nobody was asked for the sake of those who were refused.
    assert_eq!(services.sessions().len(), 1);
    services.change(Mood::Refuses);
    let service = Service::new(keeper(&services), token.clone());
    let other = runtime
        .block_on(Endpoint::listen(service))
        .expect("a port is free");
    let uri = other.uri();
    let said = ask(
        uri.trim_start_matches("http://")
            .trim_end_matches("/credentials"),
        &format!("GET /credentials HTTP/1.1\r\nHost: x\r\n{right}\r\n"),
    );
    assert!(
        said.starts_with("HTTP/1.1 502 ") && said.contains("AccessDenied"),
        "{said}"
    );
    drop(endpoint);
    wait::until("the port is closed", move || {
        TcpStream::connect(&address).is_err()
    });
}

// CRED-6
#[test]
fn many_that_ask_at_once_are_one_question_and_what_holds_is_given_while_there_is_nothing_new() {
    let services = Services::new(Mood::Life(3600));
    let runtime = Runtime::new().expect("a runtime can be made");
    let keeper = keeper(&services);
    let all = (0..20).map(|_| keeper.get());
    let all = runtime.block_on(futures_util::future::join_all(all));
    assert!(
        all.iter()
            .all(|one| one.as_ref().is_ok_and(|one| one.access_key_id() == key(1)))
    );
    assert_eq!(services.sessions().len(), 1);
    // Two seconds, of which one is left for renewing; meanwhile the service refuses.
    services.change(Mood::Life(4));
    let keeper = self::keeper(&services);
    let get = |keeper: &Arc<Keeper>| {
        runtime
            .block_on(keeper.get())
            .map(|one| one.access_key_id().to_owned())
    };
    assert_eq!(get(&keeper), Ok(key(2)));
    services.change(Mood::Refuses);
    let asked = Arc::clone(&services.asked);
    let (same, handle) = (Arc::clone(&keeper), runtime.handle().clone());
    wait::until("they are asked for again", move || {
        let got = handle.block_on(same.get());
        assert!(
            got.is_ok_and(|one| one.access_key_id() == key(2)),
            "they still hold"
        );
        asked.lock().expect("no thread panics with it").len() > 2
    });
    let (same, handle) = (keeper, runtime.handle().clone());
    wait::until("they end", move || handle.block_on(same.get()).is_err());
}

// ── real SDKs ────────────────────────────────────────────────────────────────────────────────────────────────────────

// CRED-4 CRED-10
#[test]
fn boto3_and_awss_command_line_find_the_role() {
    let Some(endpoint) = endpoint("boto3_and_awss_command_line_find_the_role") else {
        return;
    };
    let sandbox = build(&[
        "aws sts get-caller-identity --query Arn --output text > by-aws",
        "python3 -c 'import boto3; print(boto3.client(\"sts\").get_caller_identity()[\"Arn\"])' > by-boto3",
        "aws configure set region eu-west-1 --profile mine && aws configure get region --profile mine > profile",
        "echo 123456789012.dkr.ecr.us-east-1.amazonaws.com | docker-credential-runner get > /dev/null",
    ]);
    let flags = ["run", "--assume-role", ROLE, "--project", "demo"];
    let output = command(&sandbox, &endpoint, &flags).bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0);
    for file in ["by-aws", "by-boto3"] {
        let arn = fs::read_to_string(sandbox.source().join(file)).expect("the build wrote it");
        let expected = "arn:aws:sts::123456789012:assumed-role/deploy/demo-";
        assert!(arn.starts_with(expected), "{file}: {arn}");
    }
    let region = fs::read_to_string(sandbox.source().join("profile")).expect("the build wrote it");
    assert_eq!(region, "eu-west-1\n");
    assert!(
        !sandbox.path("home").join(".aws").exists(),
        "the user's files are left alone"
    );
    assert!(
        !sandbox.path("home").join(".cache/runner/ecr").exists(),
        "no token is kept"
    );
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

// CRED-4 CRED-8 CRED-9 CRED-11
#[test]
fn a_container_has_an_endpoint_of_its_own_whatever_its_network() {
    let image = std::env::var("RUNNER_TEST_BUSYBOX").ok();
    let Some(image) = image else {
        skipped(
            "a_container_has_an_endpoint_of_its_own_whatever_its_network",
            "no engine with an image; tests/run starts it",
        );
        return;
    };
    let services = Services::new(Mood::Life(3600));
    let ask = "wget -q -O - --header \"Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN\" $AWS_CONTAINER_CREDENTIALS_FULL_URI";
    for (network, more) in [("bridge", None), ("none", Some("--no-tools"))] {
        let sandbox = build(&[
            "env > variables",
            &format!("{ask} > 1; {ask}"),
            "! wget -q -O - --header 'Authorization: no' $AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ]);
        let flags = [
            "run",
            "--image",
            &image,
            "--network",
            network,
            "--assume-role",
            ROLE,
            "--log-format",
            "codebuild",
        ];
        let flags: Vec<&str> = flags.into_iter().chain(more).collect();
        let mut command: Command = command(&sandbox, &services.endpoint, &flags);
        command.env("AWS_ACCESS_KEY_ID", CALLER);
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        let output = command
            .bounded_output()
            .expect("the program can be started");
        let ran = sandbox
            .finish(&output)
            .expect(0)
            .stdout_has("\"AccessKeyId\":\"***\"");
        let found = said(&sandbox, "1")["AccessKeyId"].clone();
        assert!(
            found
                .as_str()
                .is_some_and(|found| found.starts_with("ASIASESSION")),
            "{found}"
        );
        let variables =
            fs::read_to_string(sandbox.source().join("variables")).expect("it is there");
        assert!(
            !variables.contains("AWS_ACCESS_KEY_ID") && !variables.contains(CALLER),
            "{variables}"
        );
        assert!(!ran.stdout.contains("-of-session-"), "{}", ran.stdout);
    }
    // Our own `aws` in there asks as the role, and knows no profile.
    let sandbox = build(&["aws --profile default sts get-caller-identity", "true"]);
    let flags = [
        "run",
        "--image",
        &image,
        "--assume-role",
        ROLE,
        "--log-format",
        "codebuild",
    ];
    let mut command: Command = command(&sandbox, &services.endpoint, &flags);
    command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    let output = command
        .bounded_output()
        .expect("the program can be started");
    sandbox
        .finish(&output)
        .expect(1)
        .stdout_has("this build has the role that runner was given, and no profile");
}
