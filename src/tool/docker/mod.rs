//! `docker`: what builds of images need of it.

mod answer;
mod build;
pub(super) mod context;
pub(super) mod dockerfile;
mod ignore;
mod listing;
mod name;
mod own;
mod template;
mod transfer;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub(super) use answer::answer;
pub(super) use own::Own;

use super::front::{Action, Call, Dockerfile, Environment, Mistake, Upload};
use super::options::{self, Parsed, Spec, switch, value};
use super::request::{Build, DockerRequest, Listing, Request, Secret};
use crate::registry::Reference;
use crate::registry::reference::HUB_SERVER;
use crate::registry::server_of;

/// What is supported, as people write it.
pub(super) const SUPPORTED: &[&str] = &[
    "docker login [-u USER] [-p PASSWORD | --password-stdin] [REGISTRY]",
    "docker logout [REGISTRY]",
    "docker build [-t NAME]… [-f FILE] [--build-arg NAME[=VALUE]]… [--target STAGE] [--no-cache] [--pull] [--push] [--platform OS/ARCH] [--cache-from IMAGE]… [--label NAME=VALUE]… [--network NAME] [--add-host NAME:IP]… [--quiet] DIR|-",
    "docker tag IMAGE NAME",
    "docker push [-a] [-q] NAME[:TAG]",
    "docker pull [-q] [--platform OS/ARCH] NAME[:TAG|@DIGEST]",
    "docker images [-a] [-q] [--no-trunc] [--filter NAME=VALUE]… [--format TEMPLATE] [NAME[:TAG]]",
    "docker inspect [--format TEMPLATE] NAME…",
    "docker save [-o FILE] IMAGE…",
    "docker load [-q] [-i FILE]",
    "docker rmi [-f] IMAGE…",
    "docker version, docker info [--format TEMPLATE]",
];

/// One command.
struct Command {
    name: &'static str,
    options: &'static [Spec],
    read: fn(&Parsed, &Environment) -> Result<Call, Mistake>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "login",
        options: LOGIN,
        read: login,
    },
    Command {
        name: "logout",
        options: &[],
        read: logout,
    },
    Command {
        name: "build",
        options: BUILD,
        read: build,
    },
    Command {
        name: "tag",
        options: &[],
        read: tag,
    },
    Command {
        name: "push",
        options: PUSH,
        read: push,
    },
    Command {
        name: "pull",
        options: PULL,
        read: pull,
    },
    Command {
        name: "images",
        options: IMAGES,
        read: images,
    },
    Command {
        name: "inspect",
        options: INSPECT,
        read: inspect,
    },
    Command {
        name: "save",
        options: SAVE,
        read: save,
    },
    Command {
        name: "load",
        options: LOAD,
        read: load,
    },
    Command {
        name: "rmi",
        options: REMOVE,
        read: remove,
    },
    Command {
        name: "version",
        options: FORMAT,
        read: version,
    },
    Command {
        name: "info",
        options: FORMAT,
        read: info,
    },
];

const LOGIN: &[Spec] = &[
    value("username").or('u'),
    value("password").or('p'),
    switch("password-stdin"),
];
const PUSH: &[Spec] = &[
    switch("all-tags").or('a'),
    switch("quiet").or('q'),
    switch("disable-content-trust"),
];
const PULL: &[Spec] = &[
    value("platform"),
    switch("quiet").or('q'),
    switch("disable-content-trust"),
];
const IMAGES: &[Spec] = &[
    switch("all").or('a'),
    switch("quiet").or('q'),
    switch("no-trunc"),
    value("filter").or('f'),
    value("format"),
];
const INSPECT: &[Spec] = &[value("format").or('f'), value("type")];
const SAVE: &[Spec] = &[value("output").or('o')];
const LOAD: &[Spec] = &[value("input").or('i'), switch("quiet").or('q')];
const REMOVE: &[Spec] = &[switch("force").or('f')];
const FORMAT: &[Spec] = &[value("format").or('f')];
const BUILD: &[Spec] = &[
    value("tag").or('t'),
    value("file").or('f'),
    value("build-arg"),
    value("label"),
    value("target"),
    value("platform"),
    value("cache-from"),
    value("network"),
    value("add-host"),
    value("progress"),
    value("provenance"),
    value("sbom"),
    switch("no-cache"),
    switch("pull"),
    switch("push"),
    switch("load"),
    switch("quiet").or('q'),
    switch("rm"),
    switch("force-rm"),
    switch("compress"),
    switch("disable-content-trust"),
];

/// What these words ask for.
pub(super) fn read(words: &[String], environment: &Environment) -> Result<Action, Mistake> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["--version" | "-v", ..] = words[..] {
        return Ok(Action::Print(format!(
            "Docker version {}, build buildspec-runner (runner's own commands over the engine's API)\n",
            env!("CARGO_PKG_VERSION")
        )));
    }
    let (name, rest): (&str, &[&str]) = match words[..] {
        [] => return Err(Mistake::new("no command is given")),
        // `docker image build` is `docker build`; a few have other names there.
        ["image", "ls" | "list", ref rest @ ..] => ("images", rest),
        ["image", "rm" | "remove", ref rest @ ..] => ("rmi", rest),
        ["image", name, ref rest @ ..]
            if ["build", "push", "pull", "tag", "save", "load"].contains(&name) =>
        {
            (name, rest)
        }
        ["image", "inspect", ref rest @ ..] => {
            return command("inspect", rest, environment)
                .map(only_images)
                .map(|call| Action::Call(Box::new(call)));
        }
        ["buildx" | "builder", "build", ref rest @ ..] => ("build", rest),
        ["system", "info", ref rest @ ..] => ("info", rest),
        [
            group @ ("image" | "buildx" | "builder" | "system"),
            name,
            ..,
        ] => return Err(unsupported(&format!("{group} {name}"))),
        [option, ..] if option.starts_with('-') => {
            return Err(Mistake::new(format!(
                "unknown option `{option}` before the command"
            )));
        }
        [name, ref rest @ ..] => (name, rest),
    };
    command(name, rest, environment).map(|call| Action::Call(Box::new(call)))
}

fn unsupported(name: &str) -> Mistake {
    Mistake::new(format!("`docker {name}` is not supported"))
}

fn command(name: &str, words: &[&str], environment: &Environment) -> Result<Call, Mistake> {
    let command = COMMANDS.iter().find(|command| command.name == name);
    let command = command.ok_or_else(|| unsupported(name))?;
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let parsed = options::parse(command.options, &words).map_err(Mistake::option)?;
    (command.read)(&parsed, environment)
}

fn only_images(mut call: Call) -> Call {
    if let Request::Docker(DockerRequest::Inspect { containers, .. }) = &mut call.request {
        *containers = false;
    }
    call
}

fn ask(request: DockerRequest) -> Call {
    Call {
        request: Request::Docker(request),
        upload: Upload::Nothing,
        output: None,
    }
}

/// The operands, of which there have to be this many.
fn exactly<'p, const N: usize>(
    parsed: &'p Parsed,
    command: &str,
) -> Result<&'p [String; N], Mistake> {
    parsed.operands.as_slice().try_into().map_err(|_| {
        let found = parsed.operands.len();
        Mistake::new(format!(
            "`docker {command}` takes {N} argument{}, not {found}",
            if N == 1 { "" } else { "s" }
        ))
    })
}

fn at_least_one(parsed: &Parsed, command: &str) -> Result<Vec<String>, Mistake> {
    if parsed.operands.is_empty() {
        return Err(Mistake::new(format!(
            "`docker {command}` takes at least 1 argument"
        )));
    }
    Ok(parsed.operands.clone())
}

fn owned(value: Option<&str>) -> Option<String> {
    value.map(str::to_owned)
}

/// The registry that a command is for, by the address that its credentials are kept under.
fn registry(parsed: &Parsed, command: &str) -> Result<String, Mistake> {
    match parsed.operands.as_slice() {
        [] => Ok(HUB_SERVER.to_owned()),
        [address] => Ok(server_of(address)),
        _ => Err(Mistake::new(format!(
            "`docker {command}` takes 1 argument at most"
        ))),
    }
}

fn login(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let registry = registry(parsed, "login")?;
    let from_stdin = parsed.is_on("password-stdin");
    let password = owned(parsed.value("password"));
    let Some(username) = owned(parsed.value("username")).filter(|name| !name.is_empty()) else {
        return Err(Mistake::new(
            "`docker login` needs `--username NAME`: it cannot ask for it here",
        ));
    };
    let upload = match (from_stdin, &password) {
        (true, Some(_)) => {
            return Err(Mistake::new(
                "`--password` and `--password-stdin` are mutually exclusive",
            ));
        }
        (true, None) => Upload::Password,
        (false, Some(_)) => Upload::PasswordInArguments,
        (false, None) => {
            return Err(Mistake::new(
                "`docker login` needs `--password-stdin`: it cannot ask for a password here",
            ));
        }
    };
    let password = Secret(password.unwrap_or_default());
    Ok(Call {
        upload,
        ..ask(DockerRequest::Login {
            registry,
            username,
            password,
        })
    })
}

fn logout(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let registry = registry(parsed, "logout")?;
    Ok(ask(DockerRequest::Logout { registry }))
}

fn build(parsed: &Parsed, environment: &Environment) -> Result<Call, Mistake> {
    let [context] = exactly(parsed, "build")?;
    for option in ["provenance", "sbom"] {
        if parsed.value(option).is_some_and(|value| value != "false") {
            return Err(Mistake::new(format!(
                "`--{option}` needs BuildKit, which is not supported here; only `--{option}=false` is"
            )));
        }
    }
    let platform = owned(parsed.value("platform"));
    if platform
        .as_ref()
        .is_some_and(|platform| platform.contains(','))
    {
        return Err(Mistake::new(
            "images for several platforms at once need BuildKit, which is not supported here",
        ));
    }
    let tags: Vec<String> = parsed.values("tag").map(str::to_owned).collect();
    if parsed.is_on("push") && tags.is_empty() {
        return Err(Mistake::new(
            "`--push` needs `--tag NAME`: there is nothing to push without a name",
        ));
    }
    let list = |name: &str| {
        parsed
            .values(name)
            .flat_map(|value| value.split(','))
            .map(str::to_owned)
            .collect()
    };
    let request = Build {
        tags,
        arguments: arguments(parsed, environment),
        labels: parsed.values("label").map(pair).collect(),
        cache_from: cache_from(parsed)?,
        hosts: list("add-host"),
        target: owned(parsed.value("target")),
        platform: platform.or_else(|| environment.text("DOCKER_DEFAULT_PLATFORM")),
        network: owned(parsed.value("network")).filter(|network| network != "default"),
        no_cache: parsed.is_on("no-cache"),
        pull: parsed.is_on("pull"),
        quiet: parsed.is_on("quiet"),
        push: parsed.is_on("push"),
        ..Build::default()
    };
    Ok(Call {
        upload: source(parsed, context)?,
        ..ask(DockerRequest::Build(Box::new(request)))
    })
}

/// Where the context and the Dockerfile are.
fn source(parsed: &Parsed, context: &str) -> Result<Upload, Mistake> {
    let is_address = ["http://", "https://", "git://", "git@", "github.com/"]
        .iter()
        .any(|start| context.starts_with(start));
    if is_address {
        return Err(Mistake::new(format!(
            "a build context from an address ({context}) is not supported: fetch it first"
        )));
    }
    let file = parsed.value("file").filter(|file| !file.is_empty());
    match (context, file) {
        ("-", Some(_)) => Err(Mistake::new(
            "`--file` and a context from standard input are not supported together",
        )),
        ("-", None) => Ok(Upload::ContextFromInput),
        (directory, file) => Ok(Upload::Context {
            directory: PathBuf::from(directory),
            dockerfile: match file {
                None => Dockerfile::Usual,
                Some("-") => Dockerfile::Input,
                Some(path) => Dockerfile::File(PathBuf::from(path)),
            },
        }),
    }
}

/// Build arguments; one without a value has that of the environment, or none at all.
fn arguments(parsed: &Parsed, environment: &Environment) -> BTreeMap<String, Option<String>> {
    let given = parsed
        .values("build-arg")
        .map(|argument| match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument.to_owned(), environment.text(argument)),
        });
    given.collect()
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// Images whose layers may be used again: names, also in the form of the newer builder.
fn cache_from(parsed: &Parsed) -> Result<Vec<String>, Mistake> {
    let mut images = Vec::new();
    for value in parsed.values("cache-from") {
        if !value.contains("type=") {
            images.extend(value.split(',').map(str::to_owned));
            continue;
        }
        let reference = value.split(',').find_map(|part| part.strip_prefix("ref="));
        match reference {
            Some(reference) if value.split(',').any(|part| part == "type=registry") => {
                images.push(reference.to_owned());
            }
            _ => {
                return Err(Mistake::new(format!(
                    "`--cache-from {value}` needs BuildKit, which is not supported here"
                )));
            }
        }
    }
    Ok(images)
}

fn tag(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let [source, target] = exactly(parsed, "tag")?;
    Ok(ask(DockerRequest::Tag {
        source: source.clone(),
        target: target.clone(),
    }))
}

fn push(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let [image] = exactly(parsed, "push")?;
    let all_tags = parsed.is_on("all-tags");
    if all_tags && Reference::parse(image).is_ok_and(|image| image.tag().is_some()) {
        return Err(Mistake::new("`--all-tags` takes a name without a tag"));
    }
    Ok(ask(DockerRequest::Push {
        image: image.clone(),
        all_tags,
        quiet: parsed.is_on("quiet"),
    }))
}

fn pull(parsed: &Parsed, environment: &Environment) -> Result<Call, Mistake> {
    let [image] = exactly(parsed, "pull")?;
    Ok(ask(DockerRequest::Pull {
        image: image.clone(),
        platform: owned(parsed.value("platform"))
            .or_else(|| environment.text("DOCKER_DEFAULT_PLATFORM")),
        quiet: parsed.is_on("quiet"),
    }))
}

fn images(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    if parsed.operands.len() > 1 {
        return Err(Mistake::new("`docker images` takes 1 argument at most"));
    }
    let format = format_of(parsed)?;
    if format
        .as_ref()
        .is_some_and(|format| format.starts_with("table"))
    {
        return Err(Mistake::new("`--format table…` is not supported"));
    }
    Ok(ask(DockerRequest::Images(Listing {
        reference: parsed.operands.first().cloned(),
        filters: parsed.values("filter").map(str::to_owned).collect(),
        all: parsed.is_on("all"),
        quiet: parsed.is_on("quiet"),
        whole_ids: parsed.is_on("no-trunc"),
        format,
    })))
}

/// A template that can be filled in: what is wrong with it is said before anything is asked.
fn format_of(parsed: &Parsed) -> Result<Option<String>, Mistake> {
    let Some(format) = parsed.value("format").filter(|format| !format.is_empty()) else {
        return Ok(None);
    };
    template::Template::parse(format).map_err(Mistake::new)?;
    Ok(Some(format.to_owned()))
}

fn inspect(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let containers = match parsed.value("type") {
        None => true,
        Some("image") => false,
        Some(other) => {
            return Err(Mistake::new(format!(
                "`--type {other}` is not supported, only `image`"
            )));
        }
    };
    let names = at_least_one(parsed, "inspect")?;
    Ok(ask(DockerRequest::Inspect {
        names,
        containers,
        format: format_of(parsed)?,
    }))
}

fn save(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let output = parsed
        .value("output")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    Ok(Call {
        output,
        ..ask(DockerRequest::Save {
            images: at_least_one(parsed, "save")?,
        })
    })
}

fn load(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let [] = exactly(parsed, "load")?;
    let upload = match parsed.value("input").filter(|path| !path.is_empty()) {
        Some(path) => Upload::File(PathBuf::from(path)),
        None => Upload::Input,
    };
    Ok(Call {
        upload,
        ..ask(DockerRequest::Load {
            quiet: parsed.is_on("quiet"),
        })
    })
}

fn remove(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let images = at_least_one(parsed, "rmi")?;
    Ok(ask(DockerRequest::Remove {
        images,
        force: parsed.is_on("force"),
    }))
}

fn version(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let [] = exactly(parsed, "version")?;
    Ok(ask(DockerRequest::Version {
        format: format_of(parsed)?,
    }))
}

fn info(parsed: &Parsed, _: &Environment) -> Result<Call, Mistake> {
    let [] = exactly(parsed, "info")?;
    Ok(ask(DockerRequest::Info {
        format: format_of(parsed)?,
    }))
}

#[cfg(test)]
mod tests;
