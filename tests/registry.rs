//! Credentials for registries: the helper as Docker calls it, the cache of tokens, `runner ecr login`, and builds that push
//! and pull without logging in. `tests/run` starts the services.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use buildspec_runner::registry::Reference;
use support::aws::{GoBetween, Verdict, command, endpoint};
use support::engine::answering_engine;
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};
use support::{RUNNER, skipped};

/// A registry of ECR's, as `tests/run` makes it.
const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// The same account's in another region.
const OTHER_HOST: &str = "012345678910.dkr.ecr.us-west-2.amazonaws.com";

/// What the registry takes as the password.
const PASSWORD: &str = "123456789012-auth-token";

/// `AWS:` and that password, in Base64.
const TOKEN: &str = "QVdTOjEyMzQ1Njc4OTAxMi1hdXRoLXRva2Vu";

const NOT_FOUND: &str = "credentials not found in native keychain\n";

/// An answer of AWS's, whole.
fn answer(status: &str, body: &str) -> Verdict {
    Verdict::Answer(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}

/// An answer with a token that ends then, in seconds since 1970.
fn token(expires: u64) -> Verdict {
    let data = format!(
        r#"{{"authorizationData":[{{"authorizationToken":"{TOKEN}","expiresAt":{expires},"proxyEndpoint":"https://{HOST}"}}]}}"#
    );
    answer("200 OK", &data)
}

/// AWS, as far as these tests need it: every request has this answer.
fn aws(verdict: Verdict) -> GoBetween {
    GoBetween::new("http://127.0.0.1:1", move |_| verdict.clone())
}

/// Far from now.
const LATER: u64 = 32_000_000_000;

/// The helper, called as Docker calls it.
fn helper_command(sandbox: &Sandbox, endpoint: &str, verb: &str) -> Command {
    let link = sandbox.path("docker-credential-runner");
    if !link.is_symlink() {
        std::os::unix::fs::symlink(RUNNER, &link).expect("a link can be made");
    }
    let template = command(sandbox, endpoint, &[verb]);
    let mut command = Command::new(link);
    command.arg(verb).current_dir(sandbox.source()).env_clear();
    let variables = template.get_envs();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    command
}

fn helper(sandbox: &Sandbox, endpoint: &str, verb: &str, input: &str) -> Ran {
    let mut command = helper_command(sandbox, endpoint, verb);
    let mut child = Sandbox::spawn(command.stdin(Stdio::piped()));
    let mut to = child.stdin.take().expect("standard input is a pipe");
    to.write_all(input.as_bytes()).expect("it is read");
    drop(to);
    sandbox.finish(&wait::output(child))
}

fn secret_of(ran: &Ran) -> String {
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    answer["Secret"]
        .as_str()
        .expect("it has a secret")
        .to_owned()
}

/// Gives the user a Docker configuration.
fn configure(sandbox: &Sandbox, text: &str) {
    let directory = sandbox.path("home/.docker");
    fs::create_dir_all(&directory).expect("a directory can be made");
    fs::write(directory.join("config.json"), text).expect("a file can be written");
}

fn mode(path: &Path) -> u32 {
    let found = fs::metadata(path).expect("it is there");
    found.permissions().mode() & 0o777
}

// REG-2, REG-3, REG-6, REG-9
#[test]
fn a_token_is_asked_for_once_and_kept_where_nobody_else_can_read_it() {
    let (sandbox, aws) = (Sandbox::new(), aws(token(LATER)));
    let first = helper(&sandbox, &aws.endpoint, "get", HOST).expect(0);
    let expected =
        format!("{{\"ServerURL\":\"{HOST}\",\"Username\":\"AWS\",\"Secret\":\"{PASSWORD}\"}}");
    assert_eq!(first.stdout.trim_end(), expected);
    // Another account in the same region, and the same in another form.
    let account = HOST.replace("1234", "4321");
    for server in [HOST, &format!("https://{HOST}"), &account] {
        helper(&sandbox, &aws.endpoint, "get", server).expect(0);
    }
    assert_eq!(aws.count("POST"), 1);
    helper(&sandbox, &aws.endpoint, "get", OTHER_HOST).expect(0);
    assert_eq!(aws.count("POST"), 2);
    let cache = sandbox.path("home/.cache/runner/ecr");
    assert_eq!(mode(&cache), 0o700);
    for entry in fs::read_dir(&cache).expect("it is there").flatten() {
        assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
    }
    // Logging out forgets it.
    helper(&sandbox, &aws.endpoint, "erase", HOST).expect(0);
    helper(&sandbox, &aws.endpoint, "get", HOST).expect(0);
    assert_eq!(aws.count("POST"), 3);
}

// REG-7
#[test]
fn of_twenty_processes_one_asks() {
    let (sandbox, aws) = (Sandbox::new(), aws(token(LATER)));
    let mut children = Vec::new();
    for _ in 0..20 {
        let mut command = helper_command(&sandbox, &aws.endpoint, "get");
        let mut child = Sandbox::spawn(command.stdin(Stdio::piped()));
        let mut to = child.stdin.take().expect("standard input is a pipe");
        to.write_all(HOST.as_bytes()).expect("it is read");
        children.push(child);
    }
    for child in children {
        let ran = sandbox.finish(&wait::output(child)).expect(0);
        assert_eq!(secret_of(&ran), PASSWORD);
    }
    assert_eq!(aws.count("POST"), 1);
}

// REG-4
#[test]
fn a_token_that_is_over_is_given_out_and_not_kept() {
    let (sandbox, aws) = (Sandbox::new(), aws(token(1_420_070_400)));
    for calls in 1..3 {
        let ran = helper(&sandbox, &aws.endpoint, "get", HOST).expect(0);
        assert_eq!(secret_of(&ran), PASSWORD);
        assert_eq!(aws.count("POST"), calls);
    }
}

// REG-5
#[test]
fn another_principal_gets_another_token() {
    let (sandbox, aws) = (Sandbox::new(), aws(token(LATER)));
    for (key, calls) in [("AKIAONE", 1), ("AKIATWO", 2), ("AKIAONE", 2)] {
        let mut command = helper_command(&sandbox, &aws.endpoint, "get");
        command.env("AWS_ACCESS_KEY_ID", key);
        let mut child = Sandbox::spawn(command.stdin(Stdio::piped()));
        let mut to = child.stdin.take().expect("standard input is a pipe");
        to.write_all(HOST.as_bytes()).expect("it is read");
        drop(to);
        sandbox.finish(&wait::output(child)).expect(0);
        assert_eq!(aws.count("POST"), calls, "{key}");
    }
}

// REG-8, REG-9
#[test]
fn other_registries_are_those_of_the_users_configuration() {
    let (sandbox, aws) = (Sandbox::new(), aws(Verdict::Drop));
    let get = |server: &str| helper(&sandbox, &aws.endpoint, "get", server);
    let unknown = get("unknown.example").expect(1);
    assert_eq!(unknown.stdout, NOT_FOUND);
    configure(&sandbox, r#"{"auths":{"h.example":{"auth":"bWU6cHc="}}}"#);
    assert_eq!(secret_of(&get("h.example").expect(0)), "pw");
    assert_eq!(get("unknown.example").expect(1).stdout, NOT_FOUND);
    let listed = helper(&sandbox, &aws.endpoint, "list", "").expect(0);
    assert_eq!(listed.stdout.trim_end(), r#"{"h.example":"me"}"#);
    configure(&sandbox, "{ broken");
    get("h.example")
        .expect(1)
        .stdout_has("it is no JSON object");
    get("").expect(1).stdout_has("no credentials server URL");
    helper(&sandbox, &aws.endpoint, "dance", "").expect(2);
    assert_eq!(aws.count(""), 0);
}

// REG-8, REG-9
#[test]
fn what_was_stored_is_found_until_it_is_erased() {
    let (sandbox, aws) = (Sandbox::new(), aws(token(LATER)));
    let call = |verb: &str, input: &str| helper(&sandbox, &aws.endpoint, verb, input);
    for server in ["h.example", HOST] {
        let said = format!(r#"{{"ServerURL":"{server}","Username":"me","Secret":"said"}}"#);
        call("store", &said).expect(0);
        assert_eq!(secret_of(&call("get", server).expect(0)), "said");
        call("list", "")
            .expect(0)
            .stdout_has(&format!("\"{server}\":\"me\""));
        call("erase", server).expect(0);
    }
    assert_eq!(call("get", "h.example").expect(1).stdout, NOT_FOUND);
    assert_eq!(secret_of(&call("get", HOST).expect(0)), PASSWORD);
    call("store", "nonsense")
        .expect(1)
        .stdout_has("expected a JSON object");
    assert!(!sandbox.path("home/.docker").exists());
}

// REG-3, REG-8, REG-9
#[test]
fn why_there_is_no_token_is_said_where_a_log_shows_it() {
    let sandbox = Sandbox::new();
    let denied = r#"{"__type":"AccessDeniedException","message":"no"}"#;
    let aws = aws(answer("400 Bad Request", denied));
    let ran = helper(&sandbox, &aws.endpoint, "get", HOST)
        .expect(1)
        .stdout_has("ecr:GetAuthorizationToken");
    assert!(ran.stderr.contains("AccessDeniedException: no"));
    // The user's own login serves then.
    configure(
        &sandbox,
        &format!(r#"{{"auths":{{"{HOST}":{{"auth":"bWU6cHc="}}}}}}"#),
    );
    let ran = helper(&sandbox, &aws.endpoint, "get", HOST).expect(0);
    assert_eq!(secret_of(&ran), "pw");
    let mut command = helper_command(&sandbox, &aws.endpoint, "get");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env_remove(name);
    }
    let mut child = Sandbox::spawn(command.stdin(Stdio::piped()));
    let mut to = child.stdin.take().expect("standard input is a pipe");
    to.write_all(b"public.ecr.aws").expect("it is read");
    drop(to);
    // Without AWS credentials the public registry is used without a token.
    assert_eq!(
        sandbox.finish(&wait::output(child)).expect(1).stdout,
        NOT_FOUND
    );
}

// REG-15: nobody who may not ask for a token of the public registry is kept from reading there, and whoever needs one is
// told what to do.
#[test]
fn a_token_of_the_public_registry_that_is_denied_is_said_in_words() {
    let denied = r#"{"__type":"AccessDeniedException","message":"not authorized to perform: ecr-public:GetAuthorizationToken"}"#;
    let aws = aws(answer("400 Bad Request", denied));
    let sandbox = Sandbox::new();
    let why = "could not get a token for public.ecr.aws: AWS answered AccessDeniedException: not authorized to perform: ecr-public:GetAuthorizationToken";
    let help = "`ecr-public:GetAuthorizationToken` and `sts:GetServiceBearerToken`";
    let ran = helper(&sandbox, &aws.endpoint, "get", "public.ecr.aws").expect(1);
    let ran = ran.stderr_has(why).stderr_has(help);
    assert_eq!(ran.stdout, NOT_FOUND);
    login(&sandbox, &aws.endpoint, &["public.ecr.aws"])
        .expect(4)
        .stderr_has(why)
        .stderr_has(help);
    let sandbox = Sandbox::with_commands(&[
        "'\"$(dirname \"$(command -v docker-credential-runner)\")/aws\" ecr-public get-login-password --region us-east-1'",
    ]);
    run(&sandbox, &aws.endpoint, &[])
        .expect(1)
        .stdout_has("AccessDeniedException")
        .stdout_has("ecr-public:GetAuthorizationToken");
}

// REG-1; the whole table is beside the code.
#[test]
fn names_of_images_are_completed_as_docker_does() {
    let table = [
        ("debian", "docker.io", "library/debian"),
        ("team/app:1", "docker.io", "team/app"),
        ("localhost/app", "localhost", "app"),
        (
            "registry.example:5000/a/b:1",
            "registry.example:5000",
            "a/b",
        ),
    ];
    for (text, registry, path) in table {
        let name = Reference::parse(text).expect("it is a name");
        assert_eq!((name.registry(), name.path()), (registry, path));
        assert_eq!(name.to_string(), text);
    }
}

/// Runs `runner ecr login` with these arguments.
fn login(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
    let arguments = [&["ecr", "login"], arguments].concat();
    let output = command(sandbox, endpoint, &arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

// REG-12
#[test]
fn a_login_by_wish_is_in_the_users_configuration() {
    let (sandbox, aws) = (Sandbox::new(), aws(token(1_900_000_000)));
    configure(&sandbox, "{\n  \"z\": 1,\n  \"a\": 2\n}\n");
    let file = sandbox.path("home/.docker/config.json");
    login(&sandbox, &aws.endpoint, &[])
        .expect(0)
        .stdout_has(&format!(
            "{HOST}: logged in until 2030-03-17T17:46:40Z, kept in "
        ))
        .stderr_has("not encrypted");
    let text = fs::read_to_string(&file).expect("it is there");
    let expected = format!(
        "{{\n  \"z\": 1,\n  \"a\": 2,\n  \"auths\": {{\n    \"{HOST}\": {{\n      \"auth\": \"{TOKEN}\"\n    }}\n  }}\n}}\n"
    );
    assert_eq!(text, expected);
    assert_eq!(mode(&file), 0o600);
    let printed = login(&sandbox, &aws.endpoint, &["--print", HOST]).expect(0);
    assert_eq!(printed.stdout, format!("{PASSWORD}\n"));
    login(&sandbox, &aws.endpoint, &["--helper", OTHER_HOST])
        .expect(0)
        .stderr_has("docker-credential-runner is not on PATH");
    login(&sandbox, &aws.endpoint, &[HOST, OTHER_HOST])
        .expect(0)
        .stdout_has(&format!(
            "{OTHER_HOST}: logged in until 2030-03-17T17:46:40Z, docker-credential-runner gets"
        ));
    assert_eq!(
        fs::read_to_string(&file)
            .expect("it is there")
            .matches(TOKEN)
            .count(),
        1
    );
    login(&sandbox, &aws.endpoint, &["ghcr.io"])
        .expect(2)
        .stderr_has("no registry of Amazon ECR");
    login(&sandbox, &aws.endpoint, &["--print", HOST, OTHER_HOST]).expect(2);
}

// REG-12
#[test]
fn a_login_that_fails_says_why_and_what_to_do() {
    let sandbox = Sandbox::new();
    let expired = r#"{"__type":"ExpiredTokenException","message":"over"}"#;
    let aws = aws(answer("400 Bad Request", expired));
    login(&sandbox, &aws.endpoint, &[HOST])
        .expect(4)
        .stderr_has(&format!(
            "could not get a token for {HOST}: AWS answered ExpiredTokenException"
        ))
        .stderr_has("aws sso login");
    assert!(!sandbox.path("home/.docker").exists());
    let without = |names: &[&str]| {
        let mut command = command(&sandbox, &aws.endpoint, &["ecr", "login"]);
        for name in names {
            command.env_remove(name);
        }
        let output = command.bounded_output();
        sandbox
            .finish(&output.expect("the program can be started"))
            .expect(4)
    };
    without(&["AWS_REGION"])
        .stderr_has("no AWS region is set")
        .stderr_has("--region");
    without(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
        .stderr_has("no AWS credentials were found")
        .stderr_has("AWS_PROFILE");
}

// REG-13: nothing has any, and what is asked last refuses.
#[test]
fn a_machine_that_gives_no_credentials_is_said_in_words() {
    let machine = aws(answer("403 Forbidden", ""));
    for arguments in [["ecr", "login", HOST], ["ecr", "login", "public.ecr.aws"]] {
        let sandbox = Sandbox::new();
        let mut command = sandbox.command(arguments);
        command
            .env_remove("AWS_EC2_METADATA_DISABLED")
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &machine.endpoint);
        let output = command.bounded_output();
        let ran = sandbox.finish(&output.expect("the program can be started"));
        ran.expect(4)
            .stderr_has(&format!("could not get a token for {}: no AWS credentials were found; this machine's metadata service gives none: ", arguments[2]))
            .stderr_has("help: set AWS_PROFILE");
    }
}

fn run(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
    run_program(Path::new(RUNNER), sandbox, endpoint, arguments)
}

/// As [`run`], by this name of the program.
fn run_program(program: &Path, sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
    let arguments = [&["run", "--log-format", "codebuild"], arguments].concat();
    let template = command(sandbox, endpoint, &arguments);
    let mut command = Command::new(program);
    command.args(&arguments).current_dir(sandbox.source());
    command.env_clear().stdin(Stdio::null());
    let variables = template.get_envs();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        command.env("DOCKER_HOST", host);
    }
    command.env("DOCKER_BUILDKIT", "0");
    let output = command.bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

// REG-10, REG-11
#[test]
fn a_build_has_a_docker_configuration_of_its_own() {
    let aws = aws(token(LATER));
    let sandbox = Sandbox::with_commands(&[
        "cat \"$DOCKER_CONFIG/config.json\"",
        "ls \"$DOCKER_CONFIG/contexts\"",
        "echo h.example | docker-credential-runner get",
        &format!("echo {HOST} | docker-credential-runner get > got && grep -c Secret got"),
        "rm got",
    ]);
    configure(
        &sandbox,
        r#"{"currentContext":"mine","auths":{"h.example":{"auth":"bWU6cHc="}}}"#,
    );
    fs::create_dir_all(sandbox.path("home/.docker/contexts/meta")).expect("a directory");
    let before = fs::read(sandbox.path("home/.docker/config.json")).expect("it is there");
    run(&sandbox, &aws.endpoint, &[])
        .expect(0)
        .stdout_has("\"currentContext\": \"mine\",\n  \"credsStore\": \"runner\"\n}")
        .stdout_has("\nmeta\n")
        .stdout_has("\"Secret\":\"pw\"")
        .stdout_has("\n1\n");
    assert_eq!(
        fs::read(sandbox.path("home/.docker/config.json")).expect("it is there"),
        before
    );
    assert!(sandbox.leftovers().is_empty());
    let sandbox = Sandbox::with_commands(&[
        "echo \"[$DOCKER_CONFIG]\"",
        "command -v docker-credential-runner || echo none",
    ]);
    for arguments in [["--no-ecr-login", "--verbose"], ["-e", "DOCKER_CONFIG="]] {
        run(&sandbox, &aws.endpoint, &arguments)
            .expect(0)
            .stdout_has("\n[]\n")
            .stdout_has("\nnone\n");
    }
}

// REG-14, CMD-17: whoever a command runs as has the helper, the tools and a place for logins, and nobody has another's.
#[test]
fn every_user_of_a_build_has_credentials() {
    if !rustix::process::geteuid().is_root() {
        skipped(
            "credentials of several users",
            "only root runs commands as others",
        );
        return;
    }
    let aws = aws(token(LATER));
    let log_in = |password: &str| {
        format!(
            "echo '{{\"ServerURL\":\"h.example\",\"Username\":\"me\",\"Secret\":\"{password}\"}}' | docker-credential-runner store"
        )
    };
    let got = "echo h.example | docker-credential-runner get | tr -d '\\n'; echo";
    let of_ecr = format!("echo {HOST} | docker-credential-runner get | grep -c Secret");
    // As Docker's own tool does after a login.
    let rewrite = "cp \"$DOCKER_CONFIG/config.json\" \"$DOCKER_CONFIG/new\" && mv -f \"$DOCKER_CONFIG/new\" \"$DOCKER_CONFIG/config.json\"";
    let modes = "stat -c 'mode %a %u' \"$DOCKER_CONFIG\"; stat -c '%a %u' \"$DOCKER_CONFIG\"/runner-credentials-*.json";
    let buildspec = serde_json::json!({
        "version": 0.2,
        "run-as": "12345",
        "phases": {
            "install": {"run-as": "root", "commands": [log_in("of-root")]},
            "pre_build": {"commands": [
                "grep credsStore \"$DOCKER_CONFIG/config.json\"",
                of_ecr, got, log_in("of-one"), got, rewrite, modes,
                "tools=$(dirname \"$(command -v docker-credential-runner)\"); \"$tools/docker\" no-such-command 2>&1 | grep -c supported",
            ]},
            "build": {"run-as": "12346", "commands": [
                got, "cat \"$DOCKER_CONFIG\"/runner-credentials-12345.json 2>/dev/null || echo hidden", of_ecr,
            ]},
            "post_build": {"run-as": "root", "commands": [got, modes]},
        },
    });
    let sandbox = Sandbox::with_buildspec(&buildspec.to_string());
    configure(&sandbox, r#"{"auths":{"h.example":{"auth":"bWU6cHc="}}}"#);
    let open = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    open(&sandbox.path(""), 0o711);
    open(&sandbox.path("home"), 0o700);
    let check = |program: &Path| {
        let ran = run_program(program, &sandbox, &aws.endpoint, &[]).expect(0);
        let lines: Vec<&str> = ran
            .stdout
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('['))
            .collect();
        let said = lines.join("\n");
        let secret = |password: &str| {
            format!("{{\"ServerURL\":\"h.example\",\"Username\":\"me\",\"Secret\":\"{password}\"}}")
        };
        assert_eq!(
            said,
            format!(
                "  \"credsStore\": \"runner\"\n1\n{}\n{}\nmode 700 12345\n600 0\n600 12345\n1\n{}\nhidden\n1\n{}\nmode 700 0\n600 0\n600 12345",
                NOT_FOUND.trim_end(),
                secret("of-one"),
                NOT_FOUND.trim_end(),
                secret("of-root"),
            ),
            "{}",
            ran.stderr
        );
        assert!(sandbox.leftovers().is_empty(), "{:?}", sandbox.leftovers());
    };
    check(Path::new(RUNNER));
    // A program that only root can reach.
    let closed = sandbox.path("closed");
    fs::create_dir(&closed).expect("a directory can be made");
    open(&closed, 0o700);
    let program = closed.join("runner");
    if fs::hard_link(RUNNER, &program).is_err() {
        support::copy_runner(&program);
    }
    check(&program);
}

/// Docker's command line with its newer builder, if there is one: in Debian it is in the command line up to version 20.10, and
/// a package of its own later.
fn docker_with_buildkit() -> Option<&'static str> {
    let place = tempfile::tempdir().expect("a temporary directory can be made");
    fs::write(place.path().join("Dockerfile"), "FROM scratch\n").expect("a file can be written");
    ["docker", "/usr/bin/docker"].into_iter().find(|program| {
        let mut build = Command::new(program);
        build.args(["build", "-q"]).arg(place.path());
        let ended = build.env("DOCKER_BUILDKIT", "1").bounded_output();
        ended.is_ok_and(|output| output.status.success())
    })
}

// REG-16, REG-10: the newer builder asks for what it needs while it builds, and nobody has logged in.
#[test]
fn buildkit_finds_a_token_too() {
    let test = "a token for BuildKit";
    let Some(endpoint) = services(test) else {
        return;
    };
    let Some(docker) = docker_with_buildkit() else {
        return skipped(test, "Docker's command line has no BuildKit here");
    };
    import("runner-tests-buildkit:1");
    let (base, made) = (
        format!("{HOST}/bk-base:1"),
        format!("{OTHER_HOST}/bk-made:1"),
    );
    let sandbox = Sandbox::with_commands(&[
        &format!("docker tag runner-tests-buildkit:1 {base}"),
        &format!("docker push -q {base}"),
        &format!("docker image rm -f {base}"),
        &format!("printf 'FROM {base}\\nCOPY a /a\\n' > Dockerfile && touch a"),
        &format!("DOCKER_BUILDKIT=1 {docker} build --no-cache -t {made} ."),
        &format!("docker push -q {made}"),
    ]);
    let ran = run(&sandbox, &endpoint, &[]).expect(0);
    assert!(!ran.stdout.contains(PASSWORD));
    assert!(!sandbox.path("home/.docker").exists());
    assert_eq!(sandbox.leftovers(), [""; 0]);
    // Without the helper the registry refuses.
    let remove_base = format!("docker image rm -f {base} {made}");
    let build = format!("DOCKER_BUILDKIT=1 {docker} build --no-cache .");
    let refused = Sandbox::with_commands(&[&remove_base, &build])
        .file("Dockerfile", format!("FROM {base}\nCOPY Dockerfile /\n"));
    run(&refused, &endpoint, &["--no-ecr-login"]).expect(1);
    remove(&[
        &base.replace(":1", ""),
        &made.replace(":1", ""),
        "runner-tests-buildkit",
    ]);
}

// REG-14, REG-10: Docker's own `docker login` by another user of the build, who reaches the engine by a socket of the test's.
#[test]
fn another_user_of_a_build_logs_in_with_docker() {
    let test = "a login of another user";
    let Some(endpoint) = services(test) else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        return skipped(test, "only root runs commands as others");
    }
    import("runner-tests-login:1");
    let image = format!("{HOST}/reg-login:1");
    let log_in =
        |password: &str| format!("echo {password} | docker login -u AWS --password-stdin {HOST}");
    let buildspec = serde_json::json!({
        "version": 0.2,
        "run-as": "12345",
        "phases": {
            "install": {"commands": [
                format!("if {}; then exit 9; fi", log_in("wrong")),
                log_in(PASSWORD),
                format!("docker tag runner-tests-login:1 {image}"),
                format!("docker push -q {image}"),
            ]},
            "build": {"run-as": "12346", "commands": [
                "docker-credential-runner list < /dev/null".to_owned(),
                log_in(PASSWORD),
            ]},
            "post_build": {"commands": [
                "docker-credential-runner list < /dev/null".to_owned(),
                format!("docker logout {HOST}"),
            ]},
        },
    });
    let sandbox = Sandbox::with_buildspec(&buildspec.to_string());
    let socket = sandbox.path("engine.sock");
    answering_engine(&socket, |_| None);
    let open = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    open(&sandbox.path(""), 0o711);
    open(&sandbox.path("home"), 0o700);
    open(&socket, 0o666);
    let host = format!("DOCKER_HOST=unix://{}", socket.display());
    let ran = run(&sandbox, &endpoint, &["-e", &host]).expect(0);
    assert_eq!(
        ran.stdout.matches("Login Succeeded\n").count(),
        2,
        "{}",
        ran.stdout
    );
    let listed = format!("\n{{\"{HOST}\":\"AWS\"}}\n");
    // Of the first user, and not of the second one before it has logged in.
    ran.stdout_has("\n{}\n").stdout_has(&listed);
    assert!(!sandbox.path("home/.docker").exists());
    assert_eq!(sandbox.leftovers(), [""; 0]);
    remove(&[&image.replace(":1", ""), "runner-tests-login"]);
}

/// Whether the engine and the registry are there; if not, it is said.
fn services(test: &str) -> Option<String> {
    if std::env::var_os("RUNNER_TEST_REGISTRY").is_none() {
        skipped(test, "no registry; tests/run starts it");
        return None;
    }
    endpoint(test)
}

/// An image of nothing but a file.
fn import(name: &str) {
    let script = format!(
        "d=$(mktemp -d) && echo {name} > $d/f && tar -C $d -c . | docker import - {name} && rm -r $d"
    );
    let output = Command::new("sh").args(["-ec", &script]).bounded_output();
    assert!(output.expect("a shell can be started").status.success());
}

/// Removes every image of these repositories, those that have only a digest left too.
fn remove(repositories: &[&str]) {
    for repository in repositories {
        let script = format!(
            "docker images -q --no-trunc {repository} | sort -u | xargs -r docker image rm -f"
        );
        let output = Command::new("sh").args(["-c", &script]).bounded_output();
        assert!(output.expect("a shell can be started").status.success());
    }
}

// REG-8, REG-9, REG-10: real pushes and pulls, and a build whose base image is in ECR, without a login.
#[test]
fn builds_push_and_pull_without_logging_in() {
    let Some(endpoint) = services("pushes without a login") else {
        return;
    };
    import("runner-tests-registry:1");
    let (base, made) = (
        format!("{HOST}/reg-base:1"),
        format!("{OTHER_HOST}/reg-made:1"),
    );
    let sandbox = Sandbox::with_commands(&[
        &format!("docker tag runner-tests-registry:1 {base}"),
        &format!("docker push -q {base}"),
        &format!("docker image rm -f {base}"),
        &format!("printf 'FROM {base}\\nCOPY a /a\\n' > Dockerfile && touch a"),
        &format!("docker build -q -t {made} ."),
        &format!("docker push -q {made}"),
        &format!("docker image rm -f {made} && docker pull -q {made}"),
    ]);
    run(&sandbox, &endpoint, &[]).expect(0);
    assert!(!sandbox.path("home/.docker").exists());
    assert!(sandbox.leftovers().is_empty());
    // With nothing set up, the same is refused; in which words is the engine's business.
    let refused = Sandbox::with_commands(&[&format!("docker pull -q {made}")]);
    run(&refused, &endpoint, &["--no-ecr-login"]).expect(1);
    // A login in the buildspec counts, also a wrong one; another logs in again.
    let wrong = format!(
        "echo '{{\"ServerURL\":\"{HOST}\",\"Username\":\"AWS\",\"Secret\":\"wrong\"}}' | docker-credential-runner store"
    );
    let quoted = format!("'{}'", wrong.replace('\'', "''"));
    let logged_in = Sandbox::with_commands(&[
        &quoted,
        &format!("if docker pull -q {base}; then exit 9; fi"),
        &format!("echo {PASSWORD} | docker login -u AWS --password-stdin {HOST}"),
        &format!("docker pull -q {base}"),
        &format!("docker logout {HOST}"),
        &format!("docker pull -q {base}"),
    ]);
    run(&logged_in, &endpoint, &[])
        .expect(0)
        .stdout_has("Login Succeeded");
    assert!(!logged_in.path("home/.docker").exists());
    remove(&[
        &base.replace(":1", ""),
        &made.replace(":1", ""),
        "runner-tests-registry",
    ]);
}
