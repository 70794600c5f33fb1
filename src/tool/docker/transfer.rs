//! The back of `docker push`, `pull`, `save` and `load`, and how the engine's progress reads without a terminal.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE as BASE64;
use serde_json::Value;

use super::answer::pass_on;
use super::reference::Reference;
use crate::engine::{self, Engine, Records};
use crate::tool::backend::{Backend, Body, Failure, Login, Out};

/// What one record of the engine's is for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A text for standard output.
    Text(String),
    /// A bar's new length, or a fact for programs.
    Nothing,
    /// It failed, with this code if a command of a build did.
    Failed {
        /// Exit code, if there is one.
        code: Option<u8>,
        /// The engine's words.
        message: String,
    },
}

/// Reads a record.
pub(super) fn said(record: &Value) -> Said {
    let detail = &record["errorDetail"];
    if let Some(message) = detail["message"]
        .as_str()
        .or_else(|| record["error"].as_str())
    {
        let code = detail["code"]
            .as_u64()
            .and_then(|code| u8::try_from(code).ok());
        return Said::Failed {
            code: code.filter(|code| *code != 0),
            message: message.trim().to_owned(),
        };
    }
    if let Some(text) = record["stream"].as_str() {
        return Said::Text(text.to_owned());
    }
    let is_bar = record["progressDetail"]["current"].is_number() || record["progress"].is_string();
    match (record["status"].as_str(), record["id"].as_str()) {
        (Some(_), _) if is_bar => Said::Nothing,
        (Some(status), Some(id)) if !id.is_empty() => Said::Text(format!("{id}: {status}\n")),
        (Some(status), _) => Said::Text(format!("{status}\n")),
        (None, _) => Said::Nothing,
    }
}

/// Credentials in the engine's form, a header's value.
pub(super) fn header(login: Option<&Login>, registry: &str) -> String {
    let json = match login {
        Some(login) => serde_json::json!({
            "username": login.username,
            "password": login.password.0,
            "serveraddress": registry,
        }),
        None => serde_json::json!({}),
    };
    BASE64.encode(json.to_string())
}

/// A text as part of a query.
pub(super) fn encoded(text: &str) -> String {
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

fn reference(image: &str) -> Result<Reference, Failure> {
    Reference::parse(image).ok_or_else(|| Failure::new(format!("`{image}` is no name of an image")))
}

/// Writes records as lines; gives each to `look`.
async fn show(
    mut records: Records,
    doing: &str,
    quiet: bool,
    out: &Out,
    mut look: impl FnMut(&Value),
) -> Result<(), Failure> {
    while let Some(record) = records.next().await? {
        match said(&record) {
            Said::Text(text) if !quiet => out.stdout(text).await?,
            Said::Text(_) | Said::Nothing => {}
            Said::Failed { message, .. } => {
                return Err(Failure::new(format!("could not {doing}: {message}")));
            }
        }
        look(&record);
    }
    Ok(())
}

/// Pushes an image, or all its tags.
pub(super) async fn push(
    backend: &Backend,
    image: &str,
    all_tags: bool,
    quiet: bool,
    out: &Out,
) -> Result<u8, Failure> {
    let name = reference(image)?;
    if name.digest.is_some() {
        return Err(Failure::new(format!(
            "`{image}` cannot be pushed: a digest is no tag"
        )));
    }
    let tag = match (&name.tag, all_tags) {
        (_, true) => None,
        (Some(tag), false) => Some(tag.clone()),
        (None, false) => {
            if !quiet {
                out.stdout("Using default tag: latest\n").await?;
            }
            Some("latest".to_owned())
        }
    };
    let doing = format!("push {image}");
    let engine = backend.engine().await?;
    let login = backend.credentials(&name.registry).await?;
    let headers = [("X-Registry-Auth", header(login.as_ref(), &name.registry))];
    let query = tag
        .map(|tag| format!("?tag={}", encoded(&tag)))
        .unwrap_or_default();
    let path = format!("/images/{}/push{query}", name.name);
    let records = engine
        .stream(&doing, &path, &headers, engine::Body::Empty)
        .await?;
    let mut digest = None;
    show(records, &doing, quiet, out, |record| {
        if let Some(found) = record["aux"]["Digest"].as_str() {
            digest = Some(found.to_owned());
        }
    })
    .await?;
    // What the engine does not confirm was not pushed.
    match digest {
        Some(_) if quiet => out.stdout(format!("{}\n", name.canonical())).await?,
        Some(_) => {}
        None => {
            return Err(Failure::new(format!(
                "could not {doing}: the engine ended without a digest"
            )));
        }
    }
    Ok(0)
}

/// Pulls an image.
pub(super) async fn pull(
    backend: &Backend,
    image: &str,
    platform: Option<&str>,
    quiet: bool,
    out: &Out,
) -> Result<u8, Failure> {
    let name = reference(image)?;
    if name.tag.is_none() && name.digest.is_none() && !quiet {
        out.stdout("Using default tag: latest\n").await?;
    }
    let doing = format!("pull {image}");
    let engine = backend.engine().await?;
    let login = backend.credentials(&name.registry).await?;
    let headers = [("X-Registry-Auth", header(login.as_ref(), &name.registry))];
    let which = name
        .digest
        .as_deref()
        .or(name.tag.as_deref())
        .unwrap_or("latest");
    let mut path = format!(
        "/images/create?fromImage={}&tag={}",
        encoded(&name.name),
        encoded(which)
    );
    if let Some(platform) = platform {
        path.push_str(&format!("&platform={}", encoded(platform)));
    }
    let records = engine
        .stream(&doing, &path, &headers, engine::Body::Empty)
        .await?;
    show(records, &doing, quiet, out, |_| {}).await?;
    out.stdout(format!("{}\n", name.canonical())).await?;
    Ok(0)
}

/// Sends images as a TAR.
pub(super) async fn save(engine: &Engine, images: &[String], out: &Out) -> Result<u8, Failure> {
    let names: Vec<&str> = images.iter().map(String::as_str).collect();
    let doing = format!("save {}", names.join(", "));
    pass_on(&doing, engine.api().export_images(&names), out).await?;
    Ok(0)
}

/// Takes images from a TAR.
pub(super) async fn load(
    engine: &Engine,
    body: Body,
    quiet: bool,
    out: &Out,
) -> Result<u8, Failure> {
    let doing = "load images";
    let headers = [("content-type", "application/x-tar".to_owned())];
    let body = engine::Body::Stream(Box::pin(body.into_stream()));
    let records = engine
        .stream(
            doing,
            &format!("/images/load?quiet={}", u8::from(quiet)),
            &headers,
            body,
        )
        .await?;
    let mut loaded = false;
    show(records, doing, false, out, |record| {
        loaded |= record["stream"]
            .as_str()
            .is_some_and(|text| text.contains("Loaded image"));
    })
    .await?;
    if !loaded {
        return Err(Failure::new(
            "could not load images: there was none in what came",
        ));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_as_lines() {
        let text = |text: &str| Said::Text(text.to_owned());
        let table = [
            (
                r#"{"status":"Preparing","progressDetail":{},"id":"a1"}"#,
                text("a1: Preparing\n"),
            ),
            (
                r#"{"status":"Pushing","progressDetail":{"current":1,"total":2},"progress":"[>","id":"a1"}"#,
                Said::Nothing,
            ),
            (
                r#"{"status":"latest: digest: sha256:1 size: 2"}"#,
                text("latest: digest: sha256:1 size: 2\n"),
            ),
            (
                r#"{"progressDetail":{},"aux":{"Tag":"latest"}}"#,
                Said::Nothing,
            ),
            (
                r#"{"stream":"Step 1/2 : FROM a"}"#,
                text("Step 1/2 : FROM a"),
            ),
            (
                r#"{"errorDetail":{"message":"denied"},"error":"denied"}"#,
                Said::Failed {
                    code: None,
                    message: "denied".to_owned(),
                },
            ),
            (
                r#"{"errorDetail":{"code":3,"message":"m"},"error":"m"}"#,
                Said::Failed {
                    code: Some(3),
                    message: "m".to_owned(),
                },
            ),
        ];
        for (record, expected) in table {
            assert_eq!(
                said(&serde_json::from_str(record).expect("JSON")),
                expected,
                "{record}"
            );
        }
    }

    #[test]
    fn a_text_in_a_query() {
        assert_eq!(
            encoded("a/b:1 {\"x\"}&é"),
            "a%2Fb%3A1%20%7B%22x%22%7D%26%C3%A9"
        );
    }
}
