//! The back of `docker`: what is neither built nor moved.

use bollard::query_parameters::{RemoveImageOptionsBuilder, TagImageOptionsBuilder};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::template::Template;
use super::{build, listing, name, own, transfer};
use crate::engine::{self, Engine, Error};
use crate::registry::reference::HUB_SERVER;
use crate::registry::{Credential, Reference, Secret};
use crate::tool::backend::{Backend, Body, Failure, Out};
use crate::tool::request::DockerRequest;

/// Does what is asked; gives the exit code.
pub(in crate::tool) async fn answer(
    request: DockerRequest,
    body: Body,
    backend: &Backend,
    out: &Out,
) -> Result<u8, Failure> {
    check_names(&request)?;
    match request {
        DockerRequest::Login {
            registry,
            username,
            password,
        } => {
            let secret = Secret::new(password.0);
            let credential = Credential {
                server: registry,
                username,
                secret,
            };
            login(backend, credential, out).await
        }
        DockerRequest::Logout { registry } => logout(backend, &registry, out).await,
        DockerRequest::Build(request) => build::build(*request, body, backend, out).await,
        DockerRequest::Tag { source, target } => tag(backend, &source, &target).await,
        DockerRequest::Push {
            image,
            all_tags,
            quiet,
        } => transfer::push(backend, &image, all_tags, quiet, out).await,
        DockerRequest::Pull {
            image,
            platform,
            quiet,
        } => transfer::pull(backend, &image, platform.as_deref(), quiet, out).await,
        DockerRequest::Images(request) => listing::images(backend, request, out).await,
        DockerRequest::Inspect {
            names,
            containers,
            format,
        } => inspect(backend, &names, containers, format.as_deref(), out).await,
        DockerRequest::Save { images } => transfer::save(backend, &images, out).await,
        DockerRequest::Load { quiet } => transfer::load(backend, body, quiet, out).await,
        DockerRequest::Remove { images, force } => remove(backend, &images, force, out).await,
        DockerRequest::Version { format } => {
            version(backend.engine().await?, format.as_deref(), out).await
        }
        DockerRequest::Info { format } => info(backend, format.as_deref(), out).await,
    }
}

/// Names become parts of the engine's paths: nothing in them may lead elsewhere, whoever wrote the request.
fn check_names(request: &DockerRequest) -> Result<(), Failure> {
    let names = match request {
        DockerRequest::Tag { source, .. } => std::slice::from_ref(source),
        DockerRequest::Inspect { names, .. } => names,
        DockerRequest::Save { images } | DockerRequest::Remove { images, .. } => images,
        _ => &[],
    };
    match names.iter().find(|name| !name::is_name(name)) {
        Some(name) => Err(Failure::new(format!("`{name}` is no name of an image"))),
        None => Ok(()),
    }
}

/// The name for people.
fn shown(registry: &str) -> &str {
    if registry == HUB_SERVER {
        "Docker Hub"
    } else {
        registry
    }
}

/// The engine asks the registry whether it takes these; only then are they kept.
async fn login(backend: &Backend, login: Credential, out: &Out) -> Result<u8, Failure> {
    let doing = format!("log in to {}", shown(&login.server));
    let question = serde_json::json!({
        "username": login.username,
        "password": login.secret.reveal(),
        "serveraddress": login.server,
    });
    let body = Bytes::from(question.to_string());
    let body = engine::Body::Stream(Box::pin(futures_util::stream::once(async { body })));
    let headers = [("content-type", "application/json".to_owned())];
    let engine = backend.engine().await?;
    let mut records = engine.stream(&doing, "/auth", &headers, body).await?;
    let said = records.next().await?.unwrap_or_default();
    backend.log_in(login).await?;
    let said = said["Status"]
        .as_str()
        .filter(|said| !said.is_empty())
        .unwrap_or("Login Succeeded");
    out.stdout(format!("{said}\n")).await?;
    Ok(0)
}

async fn logout(backend: &Backend, registry: &str, out: &Out) -> Result<u8, Failure> {
    let text = if backend.log_out(registry).await? {
        format!("Removing login credentials for {registry}\n")
    } else {
        format!("Not logged in to {registry}\n")
    };
    out.stdout(text).await?;
    Ok(0)
}

async fn tag(backend: &Backend, source: &str, target: &str) -> Result<u8, Failure> {
    let name = Reference::parse(target)?;
    let Some(tag) = name.tag_meant().filter(|_| name.digest().is_none()) else {
        return Err(Failure::new(format!(
            "`{target}` is no name for an image: a digest says what it holds"
        )));
    };
    own::check(backend, "tag", source).await?;
    let options = TagImageOptionsBuilder::new()
        .repo(&name.name())
        .tag(tag)
        .build();
    let doing = format!("tag {source} as {target}");
    let engine = backend.engine().await?;
    let tagged = engine.api().tag_image(source, Some(options)).await;
    tagged.map_err(|error| Error::api(doing, error))?;
    own::note(backend, target).await?;
    Ok(0)
}

async fn inspect(
    backend: &Backend,
    names: &[String],
    containers: bool,
    format: Option<&str>,
    out: &Out,
) -> Result<u8, Failure> {
    let template = format
        .map(Template::parse)
        .transpose()
        .map_err(Failure::new)?;
    let mut found = Vec::new();
    let mut code = 0;
    for name in names {
        if let Err(Failure { message, .. }) = own::check(backend, "inspect", name).await {
            code = 1;
            out.stderr(format!("docker: {message}\n")).await?;
            continue;
        }
        match look(backend, name, containers).await? {
            Some(value) => match &template {
                Some(template) => out.stdout(fill(template, &value)?).await?,
                None => found.push(value),
            },
            None => {
                code = 1;
                out.stderr(format!(
                    "Error: No such {}: {name}\n",
                    if containers { "object" } else { "image" }
                ))
                .await?;
            }
        }
    }
    if template.is_none() {
        out.stdout(format!("{}\n", indented(&Value::from(found))))
            .await?;
    }
    Ok(code)
}

fn fill(template: &Template, value: &Value) -> Result<String, Failure> {
    template
        .fill(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::new(format!("`--format`: {error}")))
}

/// JSON as Docker writes it: four spaces.
fn indented(value: &Value) -> String {
    let mut text = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, form);
    // A value can always be written to memory.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    String::from_utf8_lossy(&text).into_owned()
}

/// What the engine knows under a name: a container's comes first, as with the real tool.
async fn look(backend: &Backend, name: &str, containers: bool) -> Result<Option<Value>, Failure> {
    let engine = backend.engine().await?;
    let doing = format!("inspect {name}");
    // No container is one that a build made with these commands.
    if containers && backend.own().is_none() && !name.contains(['/', ':', '@']) {
        match engine
            .get(&doing, &format!("/containers/{name}/json"), &[])
            .await
        {
            Ok(container) => return Ok(Some(container)),
            Err(error) if error.status() == Some(404) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut image = own::look(engine, name).await?;
    if let Some(image) = &mut image {
        own::hide_names(backend, image);
    }
    Ok(image)
}

async fn remove(
    backend: &Backend,
    images: &[String],
    force: bool,
    out: &Out,
) -> Result<u8, Failure> {
    let engine = backend.engine().await?;
    let mut code = 0;
    for image in images {
        if let Err(Failure { message, .. }) = own::check_removal(backend, image).await {
            code = 1;
            out.stderr(format!("docker: {message}\n")).await?;
            continue;
        }
        let options = RemoveImageOptionsBuilder::new().force(force).build();
        let answer = engine.api().remove_image(image, Some(options), None).await;
        match answer.map_err(|error| Error::api(format!("remove {image}"), error)) {
            Ok(items) => {
                own::forget(backend, image);
                let lines = items
                    .into_iter()
                    .map(|item| match (item.untagged, item.deleted) {
                        (Some(name), _) => format!("Untagged: {name}\n"),
                        (None, Some(id)) => format!("Deleted: {id}\n"),
                        (None, None) => String::new(),
                    });
                out.stdout(lines.collect::<String>()).await?;
            }
            // `-f` of what is not there is no failure.
            Err(error) if force && error.status() == Some(404) => {
                out.stderr(format!("Error: No such image: {image}\n"))
                    .await?;
            }
            Err(error) => {
                code = 1;
                out.stderr(format!("docker: {error}\n")).await?;
            }
        }
    }
    Ok(code)
}

async fn version(engine: &Engine, format: Option<&str>, out: &Out) -> Result<u8, Failure> {
    let server = engine
        .get("ask the engine for its version", "/version", &[])
        .await?;
    let ours = env!("CARGO_PKG_VERSION");
    let text = match format {
        Some(format) => {
            let template = Template::parse(format).map_err(Failure::new)?;
            fill(
                &template,
                &serde_json::json!({"Client": {"Version": ours}, "Server": server}),
            )?
        }
        None => format!(
            "Client: buildspec-runner\n Version:           {ours}\n\nServer: {}\n Engine:\n  Version:          {}\n  API version:      {}\n  OS/Arch:          {}/{}\n",
            engine.name(),
            engine.version(),
            server["ApiVersion"].as_str().unwrap_or_default(),
            server["Os"].as_str().unwrap_or_default(),
            server["Arch"].as_str().unwrap_or_default(),
        ),
    };
    out.stdout(text).await?;
    Ok(0)
}

/// What an engine says of itself that a build in a container is told: nothing of containers and images of others, nor of
/// proxies and registries of the machine.
const TOLD: &[&str] = &[
    "ServerVersion",
    "Driver",
    "OperatingSystem",
    "OSType",
    "Architecture",
    "KernelVersion",
    "CgroupVersion",
    "NCPU",
    "MemTotal",
];

async fn info(backend: &Backend, format: Option<&str>, out: &Out) -> Result<u8, Failure> {
    let engine = backend.engine().await?;
    let mut facts = engine
        .get("ask the engine about itself", "/info", &[])
        .await?;
    if backend.own().is_some()
        && let Some(facts) = facts.as_object_mut()
    {
        facts.retain(|name, _| TOLD.contains(&name.as_str()));
    }
    let text = match format {
        Some(format) => fill(&Template::parse(format).map_err(Failure::new)?, &facts)?,
        None => {
            let names = [
                ("Containers", "Containers"),
                ("Images", "Images"),
                ("Server Version", "ServerVersion"),
                ("Storage Driver", "Driver"),
                ("Operating System", "OperatingSystem"),
                ("OSType", "OSType"),
                ("Architecture", "Architecture"),
                ("CPUs", "NCPU"),
                ("Total Memory", "MemTotal"),
                ("Name", "Name"),
            ];
            let known = names.into_iter().filter_map(|(name, field)| {
                let value = facts.get(field)?;
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                Some(format!(" {name}: {text}\n"))
            });
            format!(
                "Client: buildspec-runner\n Version: {}\n\nServer:\n{}",
                env!("CARGO_PKG_VERSION"),
                known.collect::<String>()
            )
        }
    };
    out.stdout(text).await?;
    Ok(0)
}

/// Passes a stream of the engine's on to standard output.
pub(super) async fn pass_on(
    doing: &str,
    stream: impl futures_util::Stream<Item = Result<Bytes, bollard::errors::Error>>,
    out: &Out,
) -> Result<(), Failure> {
    let mut stream = std::pin::pin!(stream);
    while let Some(piece) = stream.next().await {
        out.stdout(piece.map_err(|error| Error::api(doing, error))?)
            .await?;
    }
    Ok(())
}
