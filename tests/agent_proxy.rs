//! What of an agent goes through a proxy, as buildspecs ask for it: output artifacts, and logs.

mod support;

use std::ffi::OsString;
use std::process::Output;
use std::time::Duration;

use buildspec_runner::agent::logs::shipping::{Settings, Shipping};
use buildspec_runner::proxy::Variables;
use serde_json::{Value, json};
use support::cloudwatch::{CloudWatch, GROUP, Job, agent, settings, until};
use support::forward_proxy::{BASIC, ForwardProxy, PASSWORD, USER, dead_port};
use support::sandbox::Sandbox;
use support::stage::{Stage, count, stderr, unzip};
use support::wait;

const UPLOADS: &str = "proxy:\n  upload-artifacts: yes\n";
const LOGS: &str = "proxy:\n  logs: yes\n";

/// A job of a build that makes one file. `more` stands in its buildspec.
fn job(stage: &Stage, name: &str, more: &str, configuration: &Value, outputs: &[&str]) -> String {
    let buildspec = format!(
        "version: 0.2\n{more}phases:\n  build:\n    commands: [echo data > out.txt]\nartifacts:\n  files: out.txt\n"
    );
    let source = stage.source(&format!("{name}/source"), &[("buildspec.yml", &buildspec)]);
    stage.job(configuration, &[source], outputs)
}

/// Runs an agent for one job with these variables. Nothing that it writes has the proxy's password.
#[track_caller]
fn run(stage: &Stage, jobs: &[&str], more: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = stage.agent(&[&["--once"], more].concat());
    command.envs(variables.iter().copied());
    let ran = wait::output(Sandbox::spawn(&mut command));
    assert!(ran.status.success(), "{}", stderr(&ran));
    stage.keeps_secrets(jobs, &ran.stderr);
    for text in [stderr(&ran), stage.answer(jobs[0]).to_string()] {
        assert!(!text.contains(PASSWORD) && !text.contains(BASIC), "{text}");
    }
    ran
}

/// Why a job failed: its kind, and the words.
#[track_caller]
fn failure(stage: &Stage, job: &str) -> (String, String) {
    let details = stage.answer(job)["request"]["failureDetails"].clone();
    let text = |name: &str| details[name].as_str().unwrap_or_default().to_owned();
    (text("type"), text("message"))
}

// AGENT-101
#[test]
fn an_output_goes_through_the_proxy_of_the_agent() {
    let Some(stage) = Stage::new("proxied") else {
        return;
    };
    let proxy = ForwardProxy::anywhere();
    let address = proxy.address_with_credentials();
    let variables = [("HTTP_PROXY", address.as_str())];
    let configuration = json!({ "ProjectName": "web" });
    // Nobody asks for it: everything goes directly.
    let direct = job(&stage, "direct", "", &configuration, &["Direct"]);
    let ran = run(&stage, &[&direct], &[], &variables);
    stage.succeeded(&direct, &ran);
    assert_eq!(proxy.count("", Some(BASIC)), 0);
    // What the action says of proxies is for commands.
    let dead = format!("http://127.0.0.1:{}", dead_port());
    let given =
        json!([{ "name": "HTTP_PROXY", "value": dead }, { "name": "NO_PROXY", "value": "*" }]);
    let configuration = json!({ "ProjectName": "web", "EnvironmentVariables": given.to_string() });
    let proxied = job(&stage, "proxied", UPLOADS, &configuration, &["Out"]);
    let ran = run(&stage, &[&proxied], &[], &variables);
    let answer = stage.answer(&proxied);
    assert_eq!(answer["status"], "Succeeded", "{}", stderr(&ran));
    assert!(
        !stderr(&ran).contains("proxy"),
        "nothing is warned of: {}",
        stderr(&ran)
    );
    let file = ("out.txt".to_owned(), "data\n".to_owned());
    assert_eq!(unzip(stage.bucket.get("out/Out").content), [file]);
    let object = format!("{}/agent-proxied/out/Out", stage.endpoint);
    assert_eq!(proxy.count(&format!("PUT {object}"), Some(BASIC)), 1);
    // Whether it is there is asked the same way, and nothing else goes it.
    let all = proxy.count("", Some(BASIC));
    let of_object =
        ["PUT", "HEAD"].map(|method| proxy.count(&format!("{method} {object}"), Some(BASIC)));
    assert_eq!(of_object.iter().sum::<usize>(), all);
    // A host that needs none, and no proxy at all.
    for (name, variables) in [
        (
            "past",
            &[("HTTP_PROXY", dead.as_str()), ("NO_PROXY", "127.0.0.1")][..],
        ),
        ("without", &[]),
    ] {
        let past = job(&stage, name, UPLOADS, &configuration, &["Past"]);
        let ran = run(&stage, &[&past], &[], variables);
        stage.succeeded(&past, &ran);
    }
    assert_eq!(proxy.count("", Some(BASIC)), all);
}

// AGENT-101
#[test]
fn a_proxy_that_is_not_there_is_named_in_the_answer() {
    let Some(stage) = Stage::new("dead-proxy") else {
        return;
    };
    let port = dead_port();
    let dead = format!("http://{USER}:{PASSWORD}@127.0.0.1:{port}");
    let configuration = json!({ "ProjectName": "web" });
    let failed = job(&stage, "failed", UPLOADS, &configuration, &["Out"]);
    run(&stage, &[&failed], &[], &[("HTTP_PROXY", &dead)]);
    let (kind, message) = failure(&stage, &failed);
    assert_eq!(kind, "SystemUnavailable", "{message}");
    for part in [
        "output artifact Out could not be stored in s3://agent-dead-proxy/out/Out: ",
        &format!("the proxy http://127.0.0.1:{port} did not carry the request"),
        "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(stage.bucket.keys(), ["failed/source"]);
}

// AGENT-101
#[test]
fn what_is_no_address_of_a_proxy_fails_the_job_that_wants_one() {
    let Some(stage) = Stage::new("no-proxy-address") else {
        return;
    };
    let none = format!("socks5://{USER}:{PASSWORD}@127.0.0.1:1");
    let variables = [("HTTPS_PROXY", none.as_str())];
    let configuration = json!({ "ProjectName": "web" });
    let failed = job(&stage, "failed", UPLOADS, &configuration, &["Out"]);
    run(&stage, &[&failed], &[], &variables);
    let (kind, message) = failure(&stage, &failed);
    assert_eq!(kind, "SystemUnavailable", "{message}");
    assert_eq!(
        message,
        "the output artifacts could not be stored: they are to go through a proxy (`proxy.upload-artifacts`), and in the agent's environment HTTPS_PROXY is no address of an HTTP proxy: it has to be like `http://HOST:PORT`"
    );
    let calls = stage.server.calls(&failed);
    assert_eq!(count(&calls, "PutJobFailureResult"), 1, "{calls:?}");
    assert_eq!(stage.bucket.keys(), ["failed/source"]);
    // Nothing is to be stored, or not through a proxy.
    for (name, more, outputs) in [("nothing", UPLOADS, &[][..]), ("direct", "", &["Out"])] {
        let job = job(&stage, name, more, &configuration, outputs);
        run(&stage, &[&job], &[], &variables);
        assert_eq!(stage.answer(&job)["status"], "Succeeded", "{name}");
    }
}

/// How many requests a server was asked.
fn asked(server: &CloudWatch) -> u64 {
    let calls = server.0.ask("GET", "/calls", None);
    let counts = calls.as_object().expect("calls are an object");
    counts.values().filter_map(Value::as_u64).sum()
}

// AGENT-102: from the buildspec to the requests, of which the first goes no other way than the last.
#[test]
fn a_log_goes_through_the_proxy_of_the_agent() {
    let (Some(stage), Some(server)) = (Stage::new("proxied-log"), CloudWatch::start()) else {
        return;
    };
    let proxy = ForwardProxy::anywhere();
    let address = proxy.address_with_credentials();
    let variables = [
        ("HTTP_PROXY", address.as_str()),
        ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", &server.0.endpoint),
    ];
    let configuration = json!({ "ProjectName": "web" });
    let group = ["--cloudwatch-log-group", GROUP];
    let lines = |job: &str| {
        let answer = stage.answer(job);
        let id = answer["request"]["executionDetails"]["externalExecutionId"].clone();
        let id = id.as_str().expect("a build has an id").replace(':', "/");
        server.stream(&id).expect("its log is there").messages
    };
    let direct = job(&stage, "direct", UPLOADS, &configuration, &[]);
    run(&stage, &[&direct], &group, &variables);
    assert!(lines(&direct).len() > 10);
    assert_eq!(proxy.count("", Some(BASIC)), 0);
    let before = asked(&server);
    let proxied = job(&stage, "proxied", LOGS, &configuration, &[]);
    let ran = run(&stage, &[&proxied], &group, &variables);
    assert!(!stderr(&ran).contains("WARN"), "{}", stderr(&ran));
    assert_eq!(lines(&proxied).len(), lines(&direct).len());
    let through = proxy.count(&format!("POST {}/", server.0.endpoint), Some(BASIC));
    assert!(through >= 2);
    assert_eq!(proxy.count("", Some(BASIC)), through);
    assert_eq!(asked(&server) - before, through as u64);
}

/// How an agent sends whose environment has this proxy.
async fn start(server: &CloudWatch, proxy: &str) -> Shipping {
    let environment = ("HTTP_PROXY", proxy);
    let environment = [environment].map(|(name, value)| (OsString::from(name), value.into()));
    let mut settings = Settings {
        proxy: Variables::of(&environment),
        ..settings()
    };
    settings.pace.turn = Duration::from_millis(100);
    Shipping::start(settings, &server.shared().await)
}

/// A build begins, of this number.
fn begun(shipping: &Shipping, number: u32) -> Job {
    let mut job = Job::numbered(number);
    let started =
        json!({ "buildId": job.about().build_id, "projectName": "web", "buildNumber": 1 });
    job.event("build-started", &started);
    job.event("phase-started", &json!({ "phase": "DOWNLOAD_SOURCE" }));
    job.event("source-ready", &json!({ "directory": "/src" }));
    let begun = shipping.begin(job.path(), &job.about());
    begun.expect("its directory can be written");
    job
}

/// Its buildspec is read.
fn read(job: &mut Job, wants_proxy: bool) {
    let mut read = json!({ "version": "0.2", "shell": "sh", "phases": [], "unrecognizedKeys": [] });
    if wants_proxy {
        read["logsThroughProxy"] = json!(true);
    }
    job.event("buildspec-read", &read);
}

fn has(server: &CloudWatch, job: &Job, text: &str) -> bool {
    let stream = server.stream(&job.stream());
    stream.is_some_and(|stream| stream.messages.iter().any(|line| line == text))
}

// AGENT-102: before it is known which way a log goes, none of it goes.
#[test]
fn a_log_waits_until_its_buildspec_is_read() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let proxy = ForwardProxy::anywhere();
        let shipping = start(&server, &proxy.address()).await;
        let mut waiting = begun(&shipping, 1);
        // A later one arrives in the meantime.
        let mut other = begun(&shipping, 2);
        read(&mut other, false);
        other.output("other\n");
        until(|| has(&server, &other, "other\n")).await;
        assert!(server.stream(&waiting.stream()).is_none());
        let before = asked(&server);
        assert_eq!(proxy.count("", None), 0);
        read(&mut waiting, true);
        waiting.output("line\n");
        until(|| has(&server, &waiting, "line\n")).await;
        let stream = server.stream(&waiting.stream()).expect("it is there");
        assert!(stream.messages.len() > 3, "{stream:?}");
        assert!(shipping.finish(waiting.path()));
        until(|| shipping.is_done(waiting.path())).await;
        assert_eq!(asked(&server) - before, proxy.count("POST", None) as u64);
        // A buildspec that cannot be read asks for nothing.
        let mut failed = begun(&shipping, 3);
        let through = proxy.count("", None);
        let end = json!({ "phase": "DOWNLOAD_SOURCE", "phaseStatus": "FAILED", "aborted": false, "contexts": [], "durationSeconds": 0.1 });
        failed.event("phase-finished", &end);
        until(|| server.stream(&failed.stream()).is_some()).await;
        assert_eq!(proxy.count("", None), through);
    });
}

// AGENT-102: a proxy that is out is waited for, and the next agent goes the same way.
#[test]
fn an_outage_of_the_proxy_is_waited_for_and_keeps_no_other_log_waiting() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let proxy = ForwardProxy::anywhere();
        proxy.set_out(true);
        let address = proxy.address_with_credentials();
        let shipping = start(&server, &address).await;
        let mut job = begun(&shipping, 1);
        read(&mut job, true);
        job.output("line\n");
        let trouble = || shipping.status().logs.and_then(|logs| logs.trouble);
        until(|| trouble().is_some()).await;
        let mut other = begun(&shipping, 2);
        read(&mut other, false);
        other.output("other\n");
        assert!(shipping.finish(other.path()));
        until(|| shipping.is_done(other.path()) && shipping.status().queued_builds == 0).await;
        assert!(has(&server, &other, "other\n"));
        // What arrives directly says nothing of the proxy.
        let said = trouble().expect("it is still out");
        let part = format!("the proxy {} did not carry the request", proxy.address());
        assert!(said.contains(&part) && !said.contains(PASSWORD), "{said}");
        assert!(shipping.finish(job.path()));
        assert_eq!(shipping.status().queued_builds, 1);
        shipping.close(Duration::from_millis(20)).await;
        assert!(!shipping.is_done(job.path()));
        assert!(server.stream(&job.stream()).is_none());

        let shipping = start(&server, &address).await;
        shipping.resume(job.path(), &job.about());
        let trouble = || shipping.status().logs.and_then(|logs| logs.trouble);
        until(|| trouble().is_some()).await;
        // Nor does one wait that an earlier agent has left, too (AGENT-68).
        let gone = start(&server, &address).await;
        let mut behind = begun(&gone, 3);
        gone.close(Duration::ZERO).await;
        read(&mut behind, false);
        behind.output("behind\n");
        shipping.resume(behind.path(), &behind.about());
        until(|| shipping.is_done(behind.path())).await;
        assert!(has(&server, &behind, "behind\n"));
        assert!(!shipping.is_done(job.path()));
        let before = asked(&server) - proxy.count("POST", Some(BASIC)) as u64;
        proxy.set_out(false);
        until(|| shipping.is_done(job.path())).await;
        until(|| trouble().is_none()).await;
        assert!(has(&server, &job, "line\n"));
        let through = proxy.count("POST", Some(BASIC)) as u64;
        assert_eq!(asked(&server) - before, through);
        let logs = shipping.status().logs.expect("logs are sent");
        // What was taken up more than once is counted once.
        assert_eq!((logs.lost, logs.queued), (0, logs.sent));
    });
}

// AGENT-102
#[test]
fn a_log_never_goes_past_a_proxy_whose_address_is_none() {
    let Some(server) = CloudWatch::start() else {
        return;
    };
    agent(async move || {
        let none = format!("socks5://{USER}:{PASSWORD}@127.0.0.1:1");
        let shipping = start(&server, &none).await;
        let mut job = begun(&shipping, 1);
        read(&mut job, true);
        let trouble = || shipping.status().logs.and_then(|logs| logs.trouble);
        until(|| trouble().is_some()).await;
        assert_eq!(
            trouble().expect("it is there"),
            format!(
                "could not send to the log group {GROUP} through a proxy, as `proxy.logs` asks: HTTP_PROXY is no address of an HTTP proxy: it has to be like `http://HOST:PORT`"
            )
        );
        assert!(shipping.finish(job.path()));
        shipping.close(Duration::from_millis(20)).await;
        assert!(!shipping.is_done(job.path()));
        assert_eq!(asked(&server), 0);
        // The operator has mended it.
        let shipping = start(&server, "").await;
        shipping.resume(job.path(), &job.about());
        until(|| shipping.is_done(job.path())).await;
        assert!(server.stream(&job.stream()).is_some());
    });
}
