//! Command lines of the corpus and what they come to.

use super::*;

fn asked(line: &str) -> Result<Call, String> {
    asked_with(line, &[])
}

fn asked_with(line: &str, variables: &[(&str, &str)]) -> Result<Call, String> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let environment = Environment::new(
        variables
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    match read(&words, &environment) {
        Ok(Action::Call(call)) => Ok(*call),
        Ok(Action::Print(text)) => panic!("{line}: {text}"),
        Err(mistake) => Err(mistake.message),
    }
}

fn docker(line: &str) -> DockerRequest {
    match asked(line)
        .unwrap_or_else(|error| panic!("{line}: {error}"))
        .request
    {
        Request::Docker(request) => request,
        Request::Aws(_)
        | Request::Credential { .. }
        | Request::Mask { .. }
        | Request::Git { .. } => panic!("{line}"),
    }
}

fn built(line: &str, variables: &[(&str, &str)]) -> (Build, Upload) {
    let call = asked_with(line, variables).unwrap_or_else(|error| panic!("{line}: {error}"));
    match call.request {
        Request::Docker(DockerRequest::Build(build)) => (*build, call.upload),
        other => panic!("{other:?}"),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

// TOOL-7
#[test]
fn builds_as_they_are_written() {
    let (build, upload) = built(
        "build -t a:1 --tag=b . -f docker/D --build-arg A=1=2 --build-arg B --build-arg C --target t --no-cache --pull --platform linux/amd64 --cache-from x,y --cache-from type=registry,ref=z --label l=v --network host --add-host h:1.2.3.4 -q --progress plain --rm --load --provenance=false",
        &[("B", "from here")],
    );
    let arguments = [("A", Some("1=2")), ("B", Some("from here")), ("C", None)];
    let expected = Build {
        tags: names(&["a:1", "b"]),
        arguments: arguments
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
            .into(),
        labels: [("l".to_owned(), "v".to_owned())].into(),
        cache_from: names(&["x", "y", "z"]),
        hosts: names(&["h:1.2.3.4"]),
        target: Some("t".to_owned()),
        platform: Some("linux/amd64".to_owned()),
        network: Some("host".to_owned()),
        no_cache: true,
        pull: true,
        quiet: true,
        ..Build::default()
    };
    assert_eq!(build, expected);
    let Upload::Context {
        directory,
        dockerfile,
    } = upload
    else {
        panic!("{upload:?}")
    };
    assert_eq!(
        (directory, dockerfile),
        (".".into(), Dockerfile::File("docker/D".into()))
    );
    let (build, _) = built("buildx build --push -t a .", &[]);
    assert!(build.push && !build.pull);
    assert!(matches!(
        built("image build -", &[]).1,
        Upload::ContextFromInput
    ));
    let (_, upload) = built("build -f - dir", &[]);
    assert!(matches!(
        upload,
        Upload::Context {
            dockerfile: Dockerfile::Input,
            ..
        }
    ));
}

// TOOL-9
#[test]
fn logins_as_they_are_written() {
    let login = |line: &str| match docker(line) {
        DockerRequest::Login {
            registry,
            username,
            password,
        } => (registry, username, password.0),
        other => panic!("{other:?}"),
    };
    let table = [
        (
            "login --username AWS --password-stdin 1.dkr.ecr.x.amazonaws.com/app",
            ("1.dkr.ecr.x.amazonaws.com", "AWS", ""),
        ),
        (
            "login -u AWS -p secret https://1.dkr.ecr.x.amazonaws.com",
            ("1.dkr.ecr.x.amazonaws.com", "AWS", "secret"),
        ),
        ("login -u me -p=s", (HUB_SERVER, "me", "s")),
    ];
    for (line, (registry, username, password)) in table {
        assert_eq!(
            login(line),
            (
                registry.to_owned(),
                username.to_owned(),
                password.to_owned()
            )
        );
    }
    let text = format!("{:?}", asked("login -u me -p very-secret"));
    assert!(!text.contains("very-secret"), "{text}");
}

// TOOL-10, TOOL-11
#[test]
fn other_commands_as_they_are_written() {
    let text = |text: &str| Some(text.to_owned());
    let inspect = |containers| DockerRequest::Inspect {
        names: names(&["a"]),
        containers,
        format: text("{{.Architecture}}"),
    };
    let table = [
        (
            "tag a b:1",
            DockerRequest::Tag {
                source: "a".to_owned(),
                target: "b:1".to_owned(),
            },
        ),
        (
            "push a:1",
            DockerRequest::Push {
                image: "a:1".to_owned(),
                all_tags: false,
                quiet: false,
            },
        ),
        (
            "image push --all-tags -q a",
            DockerRequest::Push {
                image: "a".to_owned(),
                all_tags: true,
                quiet: true,
            },
        ),
        (
            "pull --platform linux/arm64 a",
            DockerRequest::Pull {
                image: "a".to_owned(),
                platform: text("linux/arm64"),
                quiet: false,
            },
        ),
        ("images", DockerRequest::Images(Listing::default())),
        (
            "images -q a",
            DockerRequest::Images(Listing {
                reference: text("a"),
                quiet: true,
                ..Listing::default()
            }),
        ),
        (
            "image ls -a --no-trunc",
            DockerRequest::Images(Listing {
                all: true,
                whole_ids: true,
                ..Listing::default()
            }),
        ),
        ("inspect --format={{.Architecture}} a", inspect(true)),
        ("image inspect a --format {{.Architecture}}", inspect(false)),
        (
            "save a b",
            DockerRequest::Save {
                images: names(&["a", "b"]),
            },
        ),
        ("load -q", DockerRequest::Load { quiet: true }),
        (
            "rmi -f a",
            DockerRequest::Remove {
                images: names(&["a"]),
                force: true,
            },
        ),
        (
            "image rm a",
            DockerRequest::Remove {
                images: names(&["a"]),
                force: false,
            },
        ),
        (
            "logout",
            DockerRequest::Logout {
                registry: HUB_SERVER.to_owned(),
            },
        ),
        ("version", DockerRequest::Version { format: None }),
        ("info", DockerRequest::Info { format: None }),
    ];
    for (line, request) in table {
        assert_eq!(docker(line), request, "{line}");
    }
    let save = asked("save a -o x.tar").expect("it is supported");
    assert_eq!(save.output, Some("x.tar".into()));
    assert!(
        matches!(asked("load --input x.tar").expect("it is supported").upload, Upload::File(path) if *path == *"x.tar")
    );
}

// TOOL-4
#[test]
fn what_is_not_supported_is_said() {
    let table = [
        ("", "no command is given"),
        ("run --rm a", "`docker run` is not supported"),
        ("compose up", "`docker compose` is not supported"),
        ("image prune", "`docker image prune` is not supported"),
        ("buildx create", "`docker buildx create` is not supported"),
        ("manifest create a b", "`docker manifest` is not supported"),
        (
            "--config x build .",
            "unknown option `--config` before the command",
        ),
        ("build --secret id=x .", "unknown option `--secret`"),
        ("build -z .", "unknown option `-z`"),
        ("build", "`docker build` takes 1 argument, not 0"),
        ("build . extra", "`docker build` takes 1 argument, not 2"),
        (
            "build --platform linux/amd64,linux/arm64 .",
            "images for several platforms at once need BuildKit, which is not supported here",
        ),
        (
            "build --provenance=true .",
            "`--provenance` needs BuildKit, which is not supported here; only `--provenance=false` is",
        ),
        (
            "build --cache-from type=gha .",
            "`--cache-from type=gha` needs BuildKit, which is not supported here",
        ),
        (
            "build --push .",
            "`--push` needs `--tag NAME`: there is nothing to push without a name",
        ),
        (
            "build https://x.example/y.git",
            "a build context from an address (https://x.example/y.git) is not supported: fetch it first",
        ),
        (
            "build -f x -",
            "`--file` and a context from standard input are not supported together",
        ),
        ("tag a", "`docker tag` takes 2 arguments, not 1"),
        (
            "login -u me",
            "`docker login` needs `--password-stdin`: it cannot ask for a password here",
        ),
        (
            "login",
            "`docker login` needs `--username NAME`: it cannot ask for it here",
        ),
        (
            "login -u me -p x --password-stdin",
            "`--password` and `--password-stdin` are mutually exclusive",
        ),
        ("push -a a:1", "`--all-tags` takes a name without a tag"),
        ("inspect", "`docker inspect` takes at least 1 argument"),
        (
            "inspect --type volume a",
            "`--type volume` is not supported, only `image`",
        ),
        (
            "images --format table",
            "`--format table…` is not supported",
        ),
        ("pull", "`docker pull` takes 1 argument, not 0"),
    ];
    for (line, message) in table {
        assert_eq!(asked(line).map(|_| ()), Err(message.to_owned()), "{line}");
    }
}
