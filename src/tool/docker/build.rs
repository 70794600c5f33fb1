//! The back of `docker build`: the engine's own builder, which every engine has.

use std::collections::BTreeSet;

use serde_json::json;

use super::{own, transfer};
use crate::engine::{self, Said};
use crate::registry::{self, Reference};
use crate::tool::backend::{Backend, Body, Failure, Out};
use crate::tool::request::Build;

/// Builds an image, and pushes it if that is asked for.
pub(super) async fn build(
    request: Build,
    body: Body,
    backend: &Backend,
    out: &Out,
) -> Result<u8, Failure> {
    const DOING: &str = "build an image";
    if request.push {
        // What cannot be pushed is better known before the build than after it.
        for tag in &request.tags {
            Reference::parse(tag)?;
        }
    }
    if backend.own().is_some() && joins_container(&request) {
        return Err(Failure::new(
            "`--network container:…` is not there for a build in a container: other containers of the engine are not the build's",
        ));
    }
    let engine = backend.engine().await?;
    let headers = [
        ("content-type", "application/x-tar".to_owned()),
        (
            "X-Registry-Config",
            credentials(&request, backend, out).await?,
        ),
    ];
    let body = engine::Body::Stream(Box::pin(body.into_stream()));
    let mut records = engine
        .stream(
            DOING,
            &format!("/build?{}", query(&request)),
            &headers,
            body,
        )
        .await?;
    let mut built = None;
    while let Some(record) = records.next().await? {
        if let Some(id) = record["aux"]["ID"].as_str() {
            built = Some(id.to_owned());
        }
        match Said::read(&record) {
            Said::Text(text) => {
                built = built_in(&text, request.quiet).or(built);
                out.stdout(text).await?;
            }
            Said::Nothing => {}
            Said::Failed { code, message } => {
                out.stderr(format!("{message}\n{}", help(&message))).await?;
                return Ok(code.unwrap_or(1));
            }
        }
    }
    // No fake green: an engine that goes away in the middle ends its answer too.
    let Some(built) = built else {
        return Err(Failure::new(format!(
            "could not {DOING}: the engine ended without an image"
        )));
    };
    own::note_id(backend, &built).await?;
    for name in &request.tags {
        own::note(backend, name).await?;
    }
    if request.push {
        for tag in &request.tags {
            transfer::push(backend, tag, false, request.quiet, out).await?;
        }
    }
    Ok(0)
}

/// The image that a line of the builder tells of.
fn built_in(text: &str, quiet: bool) -> Option<String> {
    let told = text.strip_prefix("Successfully built ");
    let told = told.or_else(|| Some(text).filter(|text| quiet && is_id(text.trim_end())));
    told.map(|id| id.trim_end().to_owned())
}

/// Whether a text is the id of an image and nothing else: Docker writes `sha256:` before it, Podman does not.
fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether commands of the build would run in the network of another container.
fn joins_container(request: &Build) -> bool {
    let network = request.network.as_deref();
    network.is_some_and(|network| network.starts_with("container:"))
}

/// What to do about errors that only this builder has.
fn help(message: &str) -> &'static str {
    if message.contains("requires BuildKit")
        || message.contains("BuildKit is enabled")
        || message.contains("unknown flag: mount")
    {
        "This is runner's own `docker`, which uses the engine's classic builder. For BuildKit, install Docker's CLI with its buildx plug-in in the build's image or on this machine; runner uses what is on PATH first.\n"
    } else {
        ""
    }
}

/// The request's parameters in the engine's form.
fn query(request: &Build) -> String {
    let mut pairs: Vec<(&str, String)> = vec![
        ("dockerfile", request.dockerfile.clone()),
        ("rm", "1".to_owned()),
    ];
    pairs.extend(request.tags.iter().map(|tag| ("t", tag.clone())));
    pairs.extend(
        request
            .hosts
            .iter()
            .map(|host| ("extrahosts", host.clone())),
    );
    for (name, is_set) in [
        ("nocache", request.no_cache),
        ("pull", request.pull),
        ("q", request.quiet),
    ] {
        if is_set {
            pairs.push((name, "1".to_owned()));
        }
    }
    let optional = [
        ("target", &request.target),
        ("platform", &request.platform),
        ("networkmode", &request.network),
    ];
    pairs.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?))),
    );
    pairs.push(("buildargs", json!(request.arguments).to_string()));
    pairs.push(("labels", json!(request.labels).to_string()));
    pairs.push(("cachefrom", json!(request.cache_from).to_string()));
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<String>>().join("&")
}

/// A text as part of a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Credentials of every registry that the build may need: those it logged in to, and those its Dockerfile names. An
/// image that is there already needs none, so what cannot be had is only said.
async fn credentials(request: &Build, backend: &Backend, out: &Out) -> Result<String, Failure> {
    let servers = servers(request, backend.logins().await?);
    let asked = servers.iter().map(|server| backend.credentials(server));
    let answers = futures_util::future::join_all(asked).await;
    let mut all = Vec::new();
    for (server, answer) in servers.into_iter().zip(answers) {
        match answer {
            Ok(auth) => all.extend(auth.map(|auth| (server, auth))),
            Err(Failure { message, .. }) => {
                let text = format!("docker: warning: no credentials for {server}: {message}\n");
                out.stderr(text).await?;
            }
        }
    }
    Ok(registry::header_for_all(&all))
}

/// The addresses of the registries that a build may need.
fn servers(request: &Build, logins: Vec<String>) -> BTreeSet<String> {
    let images = request.bases.iter().chain(&request.cache_from);
    let named = images.filter_map(|image| Some(Reference::parse(image).ok()?.server().to_owned()));
    let mentioned = request.registries.iter().cloned();
    logins.into_iter().chain(named).chain(mentioned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_that_a_build_may_need() {
        let text = |text: &str| text.to_owned();
        let request = Build {
            bases: vec![text("h:1/a"), text("b"), text("not a name")],
            cache_from: vec![text("h:2/c:1")],
            registries: vec![text("h:3"), text("h:1")],
            ..Build::default()
        };
        let found: Vec<String> = servers(&request, vec![text("h:4")]).into_iter().collect();
        let hub = registry::reference::HUB_SERVER;
        assert_eq!(found, ["h:1", "h:2", "h:3", "h:4", hub]);
    }

    #[test]
    fn a_request_in_the_engines_form() {
        let request = Build {
            tags: vec!["a:1".to_owned(), "b".to_owned()],
            dockerfile: "docker/D".to_owned(),
            arguments: [
                ("A".to_owned(), Some("1 2".to_owned())),
                ("B".to_owned(), None),
            ]
            .into(),
            target: Some("t".to_owned()),
            no_cache: true,
            ..Build::default()
        };
        assert_eq!(
            query(&request),
            "dockerfile=docker%2FD&rm=1&t=a%3A1&t=b&nocache=1&target=t&buildargs=%7B%22A%22%3A%221%202%22%2C%22B%22%3Anull%7D&labels=%7B%7D&cachefrom=%5B%5D"
        );
    }

    #[test]
    fn a_text_in_a_query() {
        assert_eq!(
            encoded("a/b:1 {\"x\"}&é"),
            "a%2Fb%3A1%20%7B%22x%22%7D%26%C3%A9"
        );
    }
}
