//! What a build in a container has of the engine: the images that it built, pulled, loaded or tagged (TOOL-13).
//!
//! Both count, name and content. A name alone is not enough, for others give the same name to other images meanwhile; and
//! what is the same image under a name of somebody else's is left to them.

use std::collections::BTreeSet;

use bollard::models::ImageSummary;
use serde_json::Value;

use crate::engine::Engine;
use crate::registry::Reference;
use crate::tool::backend::{Backend, Failure};

/// What every id of an image begins with.
const ALGORITHM: &str = "sha256:";

/// Images of a build.
#[derive(Debug, Default)]
pub(in crate::tool) struct Own {
    /// Whole ids.
    ids: BTreeSet<String>,
    /// Names as [`complete`] has them.
    names: BTreeSet<String>,
}

impl Own {
    fn add(&mut self, name: &str, id: &str) {
        if !is_id(name, id) {
            self.names.extend(complete(name));
        }
        self.ids.insert(id.to_owned());
    }

    fn forget(&mut self, name: &str) {
        if let Some(name) = complete(name) {
            self.names.remove(&name);
        }
    }

    /// Whether the build gave this name, or moved the image of this digest by one of its names.
    fn has_name(&self, text: &str) -> bool {
        let is_named = |text: &str| match Reference::parse(text) {
            Ok(name) if name.digest().is_some() => {
                let place = format!("{}/{}", name.registry(), name.path());
                let is_there = |rest: &str| rest.starts_with([':', '@']);
                let mut rests = self.names.iter().filter_map(|own| own.strip_prefix(&place));
                rests.any(is_there)
            }
            Ok(_) => complete(text).is_some_and(|name| self.names.contains(&name)),
            Err(_) => false,
        };
        // Podman's engine has short names below a registry of its own.
        is_named(text) || text.strip_prefix("localhost/").is_some_and(is_named)
    }

    /// Whether the image of this id is the build's under this name, or under a part of the id.
    fn has(&self, name: &str, id: &str) -> bool {
        self.ids.contains(id) && (self.has_name(name) || is_id(name, id))
    }

    /// Leaves out of what the engine says of an image the names that others gave it.
    fn hide_names(&self, image: &mut Value) {
        for field in ["RepoTags", "RepoDigests"] {
            if let Some(names) = image[field].as_array_mut() {
                names.retain(|name| name.as_str().is_some_and(|name| self.has_name(name)));
            }
        }
    }

    /// Leaves only what is the build's own.
    pub(super) fn keep_own(&self, images: &mut Vec<ImageSummary>) {
        images.retain(|image| self.ids.contains(&image.id));
        for image in images {
            image.repo_tags.retain(|name| self.has_name(name));
            image.repo_digests.retain(|name| self.has_name(name));
        }
    }
}

/// Whether a text is an id, or the beginning of one, as people write it.
fn is_id(text: &str, id: &str) -> bool {
    let digits = text.strip_prefix(ALGORITHM).unwrap_or(text);
    let whole = id.strip_prefix(ALGORITHM).unwrap_or(id);
    !digits.is_empty() && whole.starts_with(digits)
}

/// A name with all that Docker adds to it; where there is a digest, the tag says nothing.
fn complete(text: &str) -> Option<String> {
    let name = Reference::parse(text).ok()?;
    let end = match (name.digest(), name.tag_meant()) {
        (Some(digest), _) => format!("@{digest}"),
        (None, tag) => format!(":{}", tag.unwrap_or_default()),
    };
    Some(format!("{}/{}{end}", name.registry(), name.path()))
}

/// Fails if the engine has an image that is not the build's. One that it does not have it speaks of in its own words.
pub(super) async fn check(backend: &Backend, doing: &str, name: &str) -> Result<(), Failure> {
    if backend.own().is_none() {
        return Ok(());
    }
    let image = look(backend.engine().await?, name).await?;
    let Some(image) = image else {
        return Ok(());
    };
    let id = image["Id"].as_str().unwrap_or_default();
    if backend.own().is_none_or(|own| own.has(name, id)) {
        return Ok(());
    }
    Err(Failure::new(refused(doing, name)))
}

/// The whole id of an image that is the build's under this name.
pub(super) async fn whole_id(backend: &Backend, name: &str) -> Result<Option<String>, Failure> {
    let image = look(backend.engine().await?, name)
        .await?
        .unwrap_or_default();
    let id = image["Id"].as_str().map(str::to_owned);
    Ok(id.filter(|id| backend.own().is_none_or(|own| own.has(name, id))))
}

/// Why an image is not there for a build.
pub(super) fn refused(doing: &str, name: &str) -> String {
    format!(
        "could not {doing} {name}: this build did not build, pull, load or tag it, and a build in a container has no other images of the engine; `docker pull` it first, or give `--engine-socket` to hand the build the whole engine"
    )
}

/// Fails if an image cannot be removed by this name: by its id it would lose the names that others gave it.
pub(super) async fn check_removal(backend: &Backend, name: &str) -> Result<(), Failure> {
    check(backend, "remove", name).await?;
    if backend.own().is_none_or(|own| own.has_name(name)) {
        return Ok(());
    }
    let image = look(backend.engine().await?, name).await?;
    let image = image.unwrap_or_default();
    let names = ["RepoTags", "RepoDigests"].map(|field| image[field].as_array().cloned());
    let mut names = names.into_iter().flatten().flatten();
    let is_own = |name: Value| {
        let own = backend.own();
        own.is_none_or(|own| name.as_str().is_some_and(|name| own.has_name(name)))
    };
    if names.all(is_own) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "could not remove {name}: the image has names that this build did not give it; remove it by the names that the build gave"
    )))
}

/// Takes an image of the engine as the build's, under this name or without one.
pub(super) async fn note(backend: &Backend, name: &str) -> Result<(), Failure> {
    if backend.own().is_none() {
        return Ok(());
    }
    let image = look(backend.engine().await?, name).await?;
    if let Some(id) = image.as_ref().and_then(|image| image["Id"].as_str())
        && let Some(mut own) = backend.own()
    {
        own.add(name, id);
    }
    Ok(())
}

/// Takes an image that the builder tells of by its id as the build's.
pub(super) async fn note_id(backend: &Backend, id: &str) -> Result<(), Failure> {
    let digits = id.strip_prefix(ALGORITHM).unwrap_or(id);
    // Commands of a build write to the same stream, whatever they like.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    note(backend, id).await
}

/// Forgets a name that is gone.
pub(super) fn forget(backend: &Backend, name: &str) {
    if let Some(mut own) = backend.own() {
        own.forget(name);
    }
}

/// Leaves out of what the engine says of an image the names that others gave it.
pub(super) fn hide_names(backend: &Backend, image: &mut Value) {
    if let Some(own) = backend.own() {
        own.hide_names(image);
    }
}

/// What the engine says of an image, if it has it.
pub(super) async fn look(engine: &Engine, name: &str) -> Result<Option<Value>, Failure> {
    if !super::name::is_name(name) {
        return Err(Failure::new(format!("`{name}` is no name of an image")));
    }
    let path = format!("/images/{name}/json");
    match engine.get(&format!("inspect {name}"), &path, &[]).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:aabbccddeeff";

    fn own() -> Own {
        let mut own = Own::default();
        own.add("h:5000/a:1", ID);
        own.add("b", ID);
        own
    }

    // TOOL-13
    #[test]
    fn an_image_is_the_builds_by_its_names_and_its_id() {
        let own = own();
        for name in [
            "h:5000/a:1",
            "b",
            "b:latest",
            "docker.io/library/b",
            "localhost/b:latest",
            "aabbcc",
            ID,
        ] {
            assert!(own.has(name, ID), "{name}");
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        assert!(own.has(&format!("h:5000/a@{digest}"), ID));
        assert!(!own.has(&format!("h:5000/aa@{digest}"), ID));
        for name in ["h:5000/a:2", "h:5000/a", "b:1", "c", "aabbcd", ""] {
            assert!(!own.has(name, ID), "{name}");
        }
        // The name is somebody else's by now.
        assert!(!own.has("b", "sha256:001122"));
    }

    // TOOL-13
    #[test]
    fn names_that_others_gave_are_hidden() {
        let mut own = own();
        own.forget("b:latest");
        let mut image = serde_json::json!({"Id": ID, "RepoTags": ["b:latest", "h:5000/a:1", "x:1"], "RepoDigests": null});
        own.hide_names(&mut image);
        assert_eq!(image["RepoTags"], serde_json::json!(["h:5000/a:1"]));
        let image = |id: &str| ImageSummary {
            id: id.to_owned(),
            repo_tags: vec!["h:5000/a:1".to_owned(), "x:1".to_owned()],
            ..ImageSummary::default()
        };
        let mut images = vec![image("sha256:001122"), image(ID)];
        own.keep_own(&mut images);
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].repo_tags, ["h:5000/a:1"]);
    }
}
