//! Values that lie with AWS, over real HTTP, against a server that `tests/run` starts.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ssm::types::ParameterType;
use rustix::process::{Pid, Signal, kill_process};
use support::aws::{GoBetween, REGION, Verdict, command, endpoint};
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};
use support::{RUNNER, skipped};
use tokio::runtime::Runtime;

/// The two stores as an administrator has them.
struct Stores {
    runtime: Runtime,
    parameters: aws_sdk_ssm::Client,
    secrets: aws_sdk_secretsmanager::Client,
}

impl Stores {
    fn new(endpoint: &str) -> Self {
        let http = aws_smithy_http_client::Builder::new().build_http();
        let keys = Credentials::new("test", "test", None, None, "tests");
        let parameters = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http.clone())
            .credentials_provider(keys.clone())
            .region(Region::new(REGION))
            .endpoint_url(endpoint)
            .build();
        let secrets = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .credentials_provider(keys)
            .region(Region::new(REGION))
            .endpoint_url(endpoint)
            .build();
        Self {
            runtime: Runtime::new().expect("a runtime can be made"),
            parameters: aws_sdk_ssm::Client::from_conf(parameters),
            secrets: aws_sdk_secretsmanager::Client::from_conf(secrets),
        }
    }

    fn parameter(&self, name: &str, kind: ParameterType, value: &str) {
        let put = self.parameters.put_parameter().name(name).r#type(kind);
        let put = put.value(value).overwrite(true).send();
        self.runtime.block_on(put).expect("a parameter can be put");
    }

    /// Makes a secret, or a new version of it; gives back the ARN and the version.
    fn secret(&self, name: &str, text: &str) -> (String, String) {
        let make = self.secrets.create_secret().name(name).secret_string(text);
        if let Ok(made) = self.runtime.block_on(make.send()) {
            let text = |text: Option<&str>| text.expect("it is in the answer").to_owned();
            return (text(made.arn()), text(made.version_id()));
        }
        let put = self.secrets.put_secret_value().secret_id(name);
        let put = self.runtime.block_on(put.secret_string(text).send());
        let put = put.expect("a secret can be put");
        let text = |text: Option<&str>| text.expect("it is in the answer").to_owned();
        (text(put.arn()), text(put.version_id()))
    }
}

fn run(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
    let arguments = [&["run", "--log-format", "codebuild"], arguments].concat();
    let output = command(sandbox, endpoint, &arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

/// A buildspec that writes its variables to a file, where nothing is hidden, and to the log.
fn buildspec(env: &str, names: &[&str]) -> Sandbox {
    let lines: Vec<String> = names
        .iter()
        .map(|name| format!("      - printf '%s=%s\\n' {name} \"${name}\" | tee -a values.txt\n"))
        .collect();
    let lines = lines.concat();
    Sandbox::with_buildspec(&format!(
        "version: 0.2\nenv:\n{env}phases:\n  build:\n    commands:\n{lines}"
    ))
}

fn values(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.source().join("values.txt")).expect("the build wrote it")
}

// ENV-20 ENV-22 ENV-23 ENV-24 ENV-28
#[test]
fn values_come_from_both_stores_and_are_hidden() {
    let Some(endpoint) = endpoint("values_come_from_both_stores_and_are_hidden") else {
        return;
    };
    let stores = Stores::new(&endpoint);
    let parameter = |name: &str, value: &str| {
        stores.parameter(name, ParameterType::SecureString, value);
    };
    parameter("/both/test/password", "old-secret");
    parameter("/both/test/password", "sesame-open");
    parameter("plain", "plain-value");
    stores.parameter("/both/list", ParameterType::StringList, "one,two,three");
    // More than one question's worth.
    let many: Vec<String> = (0..12).map(|n| format!("/both/many/{n}")).collect();
    for (n, name) in many.iter().enumerate() {
        parameter(name, &format!("value-number-{n}"));
    }
    let json = r#"{"user":"admin-user","port":54321,"deep":{"a":[1]}}"#;
    let (_, first) = stores.secret("both/db", json);
    stores.secret("both/db", r#"{"user":"newer-user"}"#);
    let (arn, _) = stores.secret("both/text", "whole-text");
    let mut env = format!(
        "  variables:\n    STAGE: test\n  parameter-store:\n    A: /both/${{STAGE}}/password\n    OLD: /both/$STAGE/password:1\n    PLAIN: plain\n    LIST: /both/list\n    AGAIN: plain\n  secrets-manager:\n    NEW: both/db:user\n    PREVIOUS: both/db:port:AWSPREVIOUS\n    FIRST: both/db:deep::{first}\n    WHOLE: {arn}\n    BOTH: both/text\n"
    );
    let mut names = vec!["A", "OLD", "PLAIN", "LIST", "AGAIN"];
    names.extend(["NEW", "PREVIOUS", "FIRST", "WHOLE", "BOTH"]);
    let numbered: Vec<String> = (0..12).map(|n| format!("M{n}")).collect();
    let lines: Vec<String> = numbered
        .iter()
        .zip(&many)
        .map(|(name, parameter)| format!("    {name}: {parameter}\n"))
        .collect();
    env = env.replace(
        "  secrets-manager:",
        &format!("{}  secrets-manager:", lines.concat()),
    );
    names.extend(numbered.iter().map(String::as_str));
    let sandbox = buildspec(&env, &names);
    let ran = run(&sandbox, &endpoint, &[])
        .expect(0)
        .stdout_has("Decrypting parameter store environment variables\n")
        .stdout_has("\nA=***\n")
        .stdout_has("\nM11=***\n");
    let values = values(&sandbox);
    let expected = "A=sesame-open\nOLD=old-secret\nPLAIN=plain-value\nLIST=one,two,three\nAGAIN=plain-value\nNEW=newer-user\nPREVIOUS=54321\nFIRST={\"a\":[1]}\nWHOLE=whole-text\nBOTH=whole-text\nM0=value-number-0\n";
    assert!(values.starts_with(expected), "{values}");
    for line in values.lines() {
        let (_, value) = line.split_once('=').expect("a line of NAME=value");
        assert!(!ran.stdout.contains(value), "{value} is in {}", ran.stdout);
        assert!(!ran.stderr.contains(value), "{value} is in {}", ran.stderr);
    }
}

// ENV-21 ENV-23 ENV-24 ENV-25
#[test]
fn what_cannot_be_had_ends_the_build_before_any_command() {
    let Some(endpoint) = endpoint("what_cannot_be_had_ends_the_build_before_any_command") else {
        return;
    };
    let stores = Stores::new(&endpoint);
    stores.secret("missing/json", r#"{"user":"never-shown","b":"c"}"#);
    stores.secret("missing/text", "never-shown");
    let table = [
        (
            "parameter-store",
            "/missing/parameter",
            "Decrypted Variables Error Message: parameter does not exist: /missing/parameter",
            "allow ssm:GetParameters",
        ),
        (
            "secrets-manager",
            "missing/json:User",
            "Secrets Manager Error Message: the secret missing/json has no key User",
            "keys are user, b",
        ),
        (
            "secrets-manager",
            "missing/text:user",
            "Secrets Manager Error Message: the secret missing/text is no JSON object, so it has no key user",
            "store the secret as JSON",
        ),
        (
            "secrets-manager",
            "missing/secret",
            "Secrets Manager Error Message: ResourceNotFoundException: ",
            "missing/secret: check the name",
        ),
    ];
    for (map, reference, message, help) in table {
        let sandbox = buildspec(&format!("  {map}:\n    A: {reference}\n"), &["A"]);
        let ran = run(&sandbox, &endpoint, &[])
            .expect(4)
            .stdout_has(message)
            .stderr_has(help);
        assert!(!sandbox.source().join("values.txt").exists(), "{reference}");
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains("never-shown"), "{text}");
        }
    }
    // All at once.
    let env = "  parameter-store:\n    A: /missing/a\n    B: /missing/b\n  secrets-manager:\n    C: missing/c\n";
    run(&buildspec(env, &["A"]), &endpoint, &[])
        .expect(4)
        .stdout_has("parameter does not exist: /missing/a\n")
        .stderr_has("also: parameter does not exist: /missing/b")
        .stderr_has("also: missing/c: ResourceNotFoundException");
}

// ENV-53
#[test]
fn of_several_missing_secrets_each_is_named() {
    let Some(endpoint) = endpoint("of_several_missing_secrets_each_is_named") else {
        return;
    };
    let env =
        "  secrets-manager:\n    A: missing/one\n    B: missing/two:key\n    C: missing/three\n";
    let ran = run(&buildspec(env, &["A"]), &endpoint, &[])
        .expect(4)
        .stdout_has("Secrets Manager Error Message: ResourceNotFoundException: ");
    for name in ["missing/one: ", "missing/two: ", "missing/three: "] {
        assert!(ran.stderr.contains(name), "{name}\n{}", ran.stderr);
    }
}

// ENV-52: values are there before runtimes are looked at; what the build never came to is not told.
#[test]
fn the_log_of_values_that_cannot_be_had_ends_there() {
    let Some(endpoint) = endpoint("the_log_of_values_that_cannot_be_had_ends_there") else {
        return;
    };
    let table = [
        (
            "  parameter-store:\n    A: /missing/a\n",
            "Decrypting parameter store environment variables\n",
        ),
        (
            "  secrets-manager:\n    A: missing/a\n",
            "Processing environment variables\n",
        ),
    ];
    for (env, last) in table {
        let ran = run(&buildspec(env, &["A"]), &endpoint, &[])
            .expect(4)
            .stdout_has(last);
        for never in [
            "No runtime version selected",
            "Moving to directory",
            "Cache is not defined",
            "Registering with agent",
            "Phases found in YAML",
        ] {
            assert!(!ran.stdout.contains(never), "{never}\n{}", ran.stdout);
        }
        let (_, after) = ran.stdout.split_once(last).expect("it is there");
        let next = after.lines().next().unwrap_or_default();
        assert!(
            next.ends_with("Phase complete: DOWNLOAD_SOURCE State: FAILED"),
            "{next}"
        );
    }
}

// ENV-54
#[test]
fn batches_are_asked_for_at_the_same_time() {
    let Some(endpoint) = endpoint("batches_are_asked_for_at_the_same_time") else {
        return;
    };
    let stores = Stores::new(&endpoint);
    let names: Vec<String> = (0..35).map(|number| format!("A{number}")).collect();
    let mut env = "  parameter-store:\n".to_owned();
    for name in &names {
        stores.parameter(
            &format!("/batch/{name}"),
            ParameterType::String,
            &format!("of {name}"),
        );
        env.push_str(&format!("    {name}: /batch/{name}\n"));
    }
    // Nobody gets an answer before three have asked.
    let asked = AtomicUsize::new(0);
    let between = GoBetween::new(&endpoint, move |_| {
        asked.fetch_add(1, Ordering::SeqCst);
        while asked.load(Ordering::SeqCst) < 3 {
            std::thread::yield_now();
        }
        Verdict::Pass
    });
    let shown: Vec<&str> = names.iter().map(String::as_str).collect();
    let sandbox = buildspec(&env, &shown);
    run(&sandbox, &between.endpoint, &[]).expect(0);
    assert_eq!(between.count("POST"), 4);
    let expected: Vec<String> = names
        .iter()
        .map(|name| format!("{name}=of {name}\n"))
        .collect();
    assert_eq!(values(&sandbox), expected.concat());
}

// ENV-55, PRE-7: a service that says nothing, and a bucket that says nothing, end a build in their time, and not in silence.
#[test]
fn a_silent_service_is_told_of_and_given_up() {
    let silent = GoBetween::new("http://127.0.0.1:1", |_| Verdict::Hold);
    let sandbox = buildspec(
        "  parameter-store:\n    A: /silent/a\n  secrets-manager:\n    B: silent/b\n",
        &["A"],
    );
    let text = fs::read_to_string(sandbox.source().join("buildspec.yml")).expect("it is there");
    let text = format!("{text}artifacts:\n  files: values.txt\n");
    fs::write(sandbox.source().join("buildspec.yml"), text).expect("a file can be written");
    let ran = run(&sandbox, &silent.endpoint, &["--artifacts", "s3://silent"])
        .expect(4)
        .stderr_has(
            "warning: no answer after 10 s: still waiting for AWS, which has the values of A, B\n",
        )
        .stdout_has("Decrypted Variables Error Message: could not get /silent/a: ")
        .stderr_has(
            "warning: artifacts could not be stored: could not begin to store s3://silent/",
        );
    assert!(!ran.stdout.contains("Entering phase"), "{}", ran.stdout);
    // What is asked for at the same time is given up at the same time.
    assert!(
        !ran.stderr.contains("no answer after 70 s"),
        "{}",
        ran.stderr
    );
}

// ENV-20
#[test]
fn what_a_start_says_is_not_asked_for() {
    let Some(endpoint) = endpoint("what_a_start_says_is_not_asked_for") else {
        return;
    };
    let env = "  parameter-store:\n    A: /nowhere/a\n  secrets-manager:\n    B: nowhere/b\n";
    let sandbox = buildspec(env, &["A", "B"]).file("project.env", "B=project\n");
    let flags = ["--env", "A=start", "--env-file", "project.env"];
    run(&sandbox, &endpoint, &flags).expect(0);
    assert_eq!(values(&sandbox), "A=start\nB=project\n");
}

// ENV-25
#[test]
fn a_service_that_is_busy_is_asked_again_and_one_that_refuses_is_quoted() {
    let Some(endpoint) =
        endpoint("a_service_that_is_busy_is_asked_again_and_one_that_refuses_is_quoted")
    else {
        return;
    };
    let stores = Stores::new(&endpoint);
    stores.parameter("/busy/a", ParameterType::String, "patience");
    let sandbox = buildspec("  parameter-store:\n    A: /busy/a\n", &["A"]);
    let refusal = |status: &str, kind: &str, message: &str| {
        let body = format!(r#"{{"__type":"{kind}","message":"{message}"}}"#);
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\nx-amzn-requestid: 1234\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let busy = refusal("400 Bad Request", "ThrottlingException", "Rate exceeded");
    let asked = AtomicUsize::new(0);
    let between = GoBetween::new(&endpoint, move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        Verdict::when(number < 2, Verdict::Answer(busy.clone()))
    });
    run(&sandbox, &between.endpoint, &[]).expect(0);
    assert_eq!(between.count("POST"), 3);
    assert_eq!(values(&sandbox), "A=patience\n");
    let said =
        "User: arn:aws:iam::123456789012:user/x is not authorized to perform: ssm:GetParameters";
    let denied = refusal("400 Bad Request", "AccessDeniedException", said);
    let between = GoBetween::new(&endpoint, move |_| Verdict::Answer(denied.clone()));
    run(&sandbox, &between.endpoint, &[])
        .expect(4)
        .stdout_has(&format!(
            "Decrypted Variables Error Message: AccessDeniedException: {said}\nstatus code: 400, request id: 1234"
        ));
    // Nobody there at all.
    run(&sandbox, "http://127.0.0.1:9", &[])
        .expect(4)
        .stdout_has("Decrypted Variables Error Message: could not get /busy/a: ");
}

// ENV-46 ENV-48 ENV-49
#[test]
fn variables_of_a_start_lie_with_aws_too() {
    let Some(endpoint) = endpoint("variables_of_a_start_lie_with_aws_too") else {
        return;
    };
    let stores = Stores::new(&endpoint);
    stores.parameter("/typed/p", ParameterType::SecureString, "typed-parameter");
    stores.secret("typed/s", r#"{"key":"typed-secret"}"#);
    let sandbox =
        buildspec("  variables:\n    S: p\n", &["A", "B"]).file("project.env", "B=typed/s:key\n");
    let flags = [
        "--env",
        "A=/typed/p",
        "--env-type",
        "A=PARAMETER_STORE",
        "--env-file",
        "project.env",
        "--env-type",
        "B=SECRETS_MANAGER",
    ];
    run(&sandbox, &endpoint, &flags)
        .expect(0)
        .stdout_has("Decrypting parameter store environment variables\n")
        .stdout_has("\nA=***\n")
        .stdout_has("\nB=***\n");
    assert_eq!(values(&sandbox), "A=typed-parameter\nB=typed-secret\n");
    let flags = ["--env", "A=/typed/$S", "--env-type", "A=PARAMETER_STORE"];
    run(&sandbox, &endpoint, &flags)
        .expect(4)
        .stdout_has("parameter does not exist: /typed/$S");
}

// ENV-46 ENV-50
#[test]
fn types_that_mean_nothing_are_refused_before_anything_is_done() {
    let sandbox = buildspec("  variables:\n    A: b\n", &["A"]);
    let table: [(&[&str], &str); 7] = [
        (
            &["--env-type", "A=PARAMETER_STORE"],
            "about a variable that no flag sets",
        ),
        (
            &["--env", "A=x", "--env-type", "A=parameter"],
            "expected NAME=PARAMETER_STORE",
        ),
        (
            &["--env", "A=x", "--env-type", "A"],
            "expected NAME=PARAMETER_STORE",
        ),
        (
            &["--env", "A=", "--env-type", "A=SECRETS_MANAGER"],
            "`A` names no parameter and no secret",
        ),
        (&["--env", "A=x", "--secret", "A"], "`A` is set twice"),
        (&["--secret", "A=x"], "cannot be the name of a variable"),
        (
            &["--secret", "A"],
            "put `A=VALUE` into a file and name that with `--secrets-file`",
        ),
    ];
    for (flags, message) in table {
        let ran = sandbox.run([&["run"], flags].concat());
        ran.expect(2).stderr_has(message);
    }
    assert!(!sandbox.source().join("values.txt").exists());
    for arguments in [
        ["plan", "--secret", "A"].as_slice(),
        &["run", "--dry-run", "--secret", "A"],
    ] {
        sandbox
            .run(arguments)
            .expect(0)
            .stdout_has("start-build  A\n");
    }
}

/// Types at a terminal of the program once it asks, and gives back what it shows and how it ended.
fn type_at(sandbox: &Sandbox, line: &str, keys: &str) -> Option<Ran> {
    let keys = keys.to_owned();
    at_prompt(sandbox, line, move |_, stdin| {
        stdin.write_all(keys.as_bytes()).expect("it can be written");
    })
}

/// The same, and does something else than to type: it has what is shown by then.
fn at_prompt(
    sandbox: &Sandbox,
    line: &str,
    act: impl FnOnce(&str, &mut ChildStdin) + Send + 'static,
) -> Option<Ran> {
    if Command::new("script")
        .arg("--version")
        .bounded_output()
        .is_err()
    {
        skipped("a secret at a terminal", "no script(1)");
        return None;
    }
    let mut script = Command::new("script");
    script.args(["-qec", &line.replacen("runner", RUNNER, 1), "/dev/null"]);
    let usual = sandbox.command::<&str>([]);
    let variables = usual.get_envs();
    script.env_clear().current_dir(sandbox.source());
    script.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    script.env("TERM", "xterm").stdin(Stdio::piped());
    let mut child = Sandbox::spawn(&mut script);
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let mut shown = child.stdout.take().expect("standard output is a pipe");
    // What is typed before it is asked for is not taken.
    let mut ran = wait::within("the program asks and ends", move || {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"(not shown): ")
            && shown.read(&mut byte).expect("it can be read") > 0
        {
            text.push(byte[0]);
        }
        if text.ends_with(b"(not shown): ") {
            act(&String::from_utf8_lossy(&text), &mut stdin);
        }
        shown.read_to_end(&mut text).expect("it can be read");
        // The end of it would be typed too.
        drop(stdin);
        String::from_utf8_lossy(&text).into_owned()
    });
    let ended = sandbox.finish(&wait::output(child));
    ran = ran.replace("\r\n", "\n");
    Some(Ran {
        stdout: ran,
        ..ended
    })
}

// ENV-50
#[test]
fn a_secret_is_typed_and_never_shown() {
    let sandbox = buildspec("  variables:\n    A: b\n", &["A", "LATER"]);
    let line = "runner run --secret A --env LATER=x --log-format codebuild";
    let Some(ran) = type_at(&sandbox, line, "hunter2\x7f22\rthe rest\r") else {
        return;
    };
    let ran = ran
        .expect(0)
        .stdout_has("A (not shown): \n")
        .stdout_has("\nA=***\n");
    assert!(
        !ran.stdout.contains("hunter") && !ran.stdout.contains("the rest"),
        "{}",
        ran.stdout
    );
    assert_eq!(values(&sandbox), "A=hunter22\nLATER=x\n");
    fs::remove_file(sandbox.source().join("values.txt")).expect("it is there");
    // Afterwards the terminal is as it was.
    let line = "runner run --secret A; echo \"code $?\"; stty -a";
    let ran = type_at(&sandbox, line, "half\x03").expect("script(1) is there");
    let ran = ran
        .stdout_has("code 130\n")
        .stdout_has(" echo ")
        .stdout_has(" icanon");
    assert!(!ran.stdout.contains("half") && !sandbox.source().join("values.txt").exists());
    // So it is when somebody else wants the end.
    let line = "sh -c 'echo \"pid=$$\"; exec runner run --secret A'; echo \"code $?\"; stty -a";
    let terminate = |shown: &str, _: &mut ChildStdin| {
        let pid = shown
            .split("pid=")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let pid = pid.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        kill_process(pid.expect("its number"), Signal::TERM).expect("it runs");
    };
    let ran = at_prompt(&sandbox, line, terminate).expect("script(1) is there");
    ran.stdout_has("code 143\n")
        .stdout_has(" echo ")
        .stdout_has(" icanon");
    // Nobody is asked for a build that cannot be.
    let wrong = Sandbox::with_buildspec("version: 0.2\nphase: {}\n");
    let ran = type_at(&wrong, "runner run --secret A", "").expect("script(1) is there");
    let ran = ran.expect(3);
    assert!(!ran.stdout.contains("not shown"), "{}", ran.stdout);
    let line = "runner run --secret A";
    let ran = type_at(&sandbox, line, "\r").expect("script(1) is there");
    ran.expect(2).stdout_has("nothing was typed for `A`");
}
