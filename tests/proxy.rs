//! Artifacts that go through a proxy, to buckets on the server that `tests/run` starts.

#![expect(clippy::disallowed_methods, reason = "tests start programs")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::aws::{Bucket, command, endpoint};
use support::forward_proxy::{BASIC, ForwardProxy, PASSWORD, USER, dead_port};
use support::sandbox::{Ran, Sandbox};
use support::tls;
use support::wait::Bounded as _;

/// A name that no resolver knows: only a proxy reaches it. The services take a name that begins so for one with the bucket in
/// the path.
const HOST: &str = "localhost.proxied.test";

fn project(more: &str) -> Sandbox {
    Sandbox::with_buildspec(&format!(
        "version: 0.2\n{more}phases:\n  build:\n    commands:\n      - echo data > out.txt\nartifacts:\n  files: out.txt\n  name: out\n"
    ))
}

const THROUGH: &str = "proxy:\n  upload-artifacts: yes\n";

/// Runs a build whose artifacts go to this bucket, with these variables.
fn run(sandbox: &Sandbox, endpoint: &str, bucket: &str, variables: &[(&str, &str)]) -> Ran {
    let location = format!("s3://{bucket}");
    let arguments = ["run", "--log-format", "codebuild", "--packaging", "none"];
    let arguments = [&arguments[..], &["--artifacts", &location]].concat();
    let mut command = command(sandbox, endpoint, &arguments);
    command.envs(variables.iter().copied());
    let output = command.bounded_output();
    let ran = sandbox.finish(&output.expect("the program can be started"));
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains(PASSWORD) && !text.contains(BASIC), "{text}");
    }
    ran
}

// ENV-56: an endpoint of plain HTTP, as requests in the absolute form.
#[test]
fn an_artifact_goes_through_the_proxy() {
    let Some(services) = endpoint("artifacts through a proxy") else {
        return;
    };
    let bucket = Bucket::new(&services, "through-proxy");
    let upstream = services.trim_start_matches("http://");
    let proxy = ForwardProxy::new(upstream, None);
    let address = proxy.address_with_credentials();
    let far = format!("http://{HOST}");
    let sandbox = project(THROUGH);
    run(&sandbox, &far, &bucket.name, &[("HTTP_PROXY", &address)]).expect(0);
    assert_eq!(bucket.get("out/out.txt").content, b"data\n");
    let put = format!("PUT http://{HOST}/through-proxy/out/out.txt");
    assert_eq!(proxy.count(&put, Some(BASIC)), 1);
    // The trial before the first command, too (PRE-2).
    let trial = format!("POST http://{HOST}/through-proxy/out");
    assert!(proxy.count(&trial, Some(BASIC)) >= 1);
}

// ENV-56: variables of this start are the project's, what a buildspec sets is only for commands.
#[test]
fn variables_of_the_project_name_the_proxy() {
    let Some(services) = endpoint("who names a proxy") else {
        return;
    };
    let bucket = Bucket::new(&services, "project-proxy");
    let upstream = services.trim_start_matches("http://");
    let proxy = ForwardProxy::new(upstream, None);
    let dead = format!("http://127.0.0.1:{}", dead_port());
    let sandbox = project(&format!(
        "env:\n  variables:\n    HTTP_PROXY: {dead}\n{THROUGH}"
    ));
    let given = format!("HTTP_PROXY={}", proxy.address());
    let far = format!("http://{HOST}");
    let arguments = ["run", "--packaging", "none", "--env", &given];
    let arguments = [&arguments[..], &["--artifacts", "s3://project-proxy"]].concat();
    let mut started = command(&sandbox, &far, &arguments);
    let output = started.env("HTTP_PROXY", &dead).bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0);
    assert_eq!(bucket.get("out/out.txt").content, b"data\n");
    // Only the buildspec names one: there is none.
    run(&sandbox, &services, &bucket.name, &[]).expect(0);
}

// ENV-56
#[test]
fn what_needs_no_proxy_is_reached_without() {
    let Some(services) = endpoint("hosts without a proxy") else {
        return;
    };
    let bucket = Bucket::new(&services, "past-proxy");
    let dead = format!("http://{USER}:{PASSWORD}@127.0.0.1:{}", dead_port());
    let past = [("HTTP_PROXY", dead.as_str()), ("NO_PROXY", "127.0.0.1")];
    run(&project(THROUGH), &services, &bucket.name, &past).expect(0);
    // Not asked for, or asked not to.
    for more in ["", "proxy:\n  upload-artifacts: no\n"] {
        let dead = [("HTTP_PROXY", dead.as_str())];
        run(&project(more), &services, &bucket.name, &dead).expect(0);
    }
    let small = [("http_proxy", dead.as_str()), ("no_proxy", "*")];
    run(&project(THROUGH), &services, &bucket.name, &small).expect(0);
    assert_eq!(bucket.get("out/out.txt").content, b"data\n");
}

// ENV-56
#[test]
fn a_proxy_that_is_not_there_is_named() {
    let port = dead_port();
    let dead = format!("http://{USER}:{PASSWORD}@127.0.0.1:{port}");
    let sandbox = project(THROUGH);
    let far = format!("http://{HOST}");
    for (endpoint, variable) in [
        (far.as_str(), "HTTP_PROXY"),
        ("https://s3.proxied.test", "HTTPS_PROXY"),
    ] {
        let ran = run(&sandbox, endpoint, "anywhere", &[(variable, &dead)]).expect(4);
        let said = format!("the proxy http://127.0.0.1:{port} did not carry the request");
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("check HTTP_PROXY, HTTPS_PROXY"),
            "{}",
            ran.stderr
        );
    }
}

// ENV-56
#[test]
fn a_proxy_that_refuses_is_named() {
    let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let proxy = ForwardProxy::new("127.0.0.1:1", Some(answer));
    let address = proxy.address();
    let sandbox = project(THROUGH);
    let far = format!("http://{HOST}");
    for (endpoint, variable) in [
        (far.as_str(), "HTTP_PROXY"),
        ("https://s3.proxied.test", "HTTPS_PROXY"),
    ] {
        let said = format!("the proxy {address} did not carry the request: ");
        run(&sandbox, endpoint, "anywhere", &[(variable, &address)])
            .expect(4)
            .stderr_has(&said);
    }
    assert!(proxy.count("CONNECT s3.proxied.test:443", None) >= 1);
}

// ENV-56
#[test]
fn what_is_no_address_of_a_proxy_ends_the_build_before_it_begins() {
    let sandbox = project(THROUGH);
    let variables = [(
        "HTTPS_PROXY",
        "socks5://somebody:sesame-open-wide@127.0.0.1:1",
    )];
    let ran = run(&sandbox, "http://127.0.0.1:1", "anywhere", &variables)
        .expect(4)
        .stderr_has("error: could not send artifacts through a proxy, as `proxy.upload-artifacts` asks: HTTPS_PROXY is no address of an HTTP proxy");
    assert!(!ran.stdout.contains("Entering phase"), "{}", ran.stdout);
    // Where nothing is uploaded there is nothing to send anywhere.
    let mut local = sandbox.command(["run", "--artifacts", "kept"]);
    let output = local.envs(variables).bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0);
}

/// Certificates of an authority of its own for a server of that name.
fn certificates(sandbox: &Sandbox) -> PathBuf {
    let place = sandbox.path("certificates");
    fs::create_dir_all(&place).expect("a directory can be made");
    let script = format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca-key.pem -out ca.pem -subj '/CN=tests' -addext 'basicConstraints=critical,CA:TRUE'
        openssl req -newkey rsa:2048 -nodes -keyout key.pem -out server.csr -subj '/CN=server'
        printf 'subjectAltName=DNS:{HOST}\\nextendedKeyUsage=serverAuth\\n' > server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out server.pem -extfile server.ext"
    );
    let made = Command::new("sh")
        .args(["-ec", &script])
        .current_dir(&place)
        .bounded_output()
        .expect("a shell can be started");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    place
}

/// The services behind TLS. Gives the address.
fn services_with_tls(certificates: &Path, upstream: &str) -> String {
    let file = |name: &str| certificates.join(name);
    let config = tls::config(&file("server.pem"), &file("key.pem"), None);
    tls::serve(config, tls::Upstream::Address(upstream.to_owned())).to_string()
}

// ENV-56: an endpoint of HTTPS, as a tunnel. The proxy sees nothing of what is in it.
#[test]
fn an_artifact_goes_through_a_tunnel() {
    let Some(services) = endpoint("artifacts through a tunnel") else {
        return;
    };
    let bucket = Bucket::new(&services, "through-tunnel");
    let sandbox = project(THROUGH);
    let certificates = certificates(&sandbox);
    let behind = services_with_tls(&certificates, services.trim_start_matches("http://"));
    let proxy = ForwardProxy::new(&behind, None);
    let address = proxy.address_with_credentials();
    let authority = certificates.join("ca.pem");
    let variables = [
        ("HTTPS_PROXY", address.as_str()),
        ("SSL_CERT_FILE", authority.to_str().expect("it is text")),
    ];
    run(
        &sandbox,
        &format!("https://{HOST}"),
        &bucket.name,
        &variables,
    )
    .expect(0);
    assert_eq!(bucket.get("out/out.txt").content, b"data\n");
    assert!(proxy.count(&format!("CONNECT {HOST}:443 "), Some(BASIC)) >= 1);
    assert_eq!(proxy.count("PUT", None), 0);
}
