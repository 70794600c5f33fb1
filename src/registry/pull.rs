//! An image comes from a registry.

use serde_json::Value;

use super::progress::Progress;
use super::transfer::{Limits, OnProgress, Transfer, TransferError, TransferErrorKind, written};
use super::{Reference, RegistryAuth};
use crate::engine::{Engine, ImageFacts, Platform};

/// An image that is to come from its registry.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// Its name, with tag or digest.
    pub image: &'a Reference,
    /// What it has to be for, where that is not left to the engine.
    pub platform: Option<&'a Platform>,
    /// Who pulls.
    pub auth: Option<&'a RegistryAuth>,
    /// How patient it is.
    pub limits: Limits,
}

/// An image that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// `sha256:…` by which the registry has it.
    pub digest: String,
    /// What it is.
    pub facts: ImageFacts,
}

/// Pulls an image. What is returned is there: the engine was asked for it afterwards (IMG-25).
///
/// Dropping the future ends the pull: the engine stops when nobody listens.
pub async fn pull(
    engine: &Engine,
    pull: &Pull<'_>,
    on_progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Pulled, TransferError> {
    let transfer = Transfer {
        engine,
        image: pull.image,
        doing: format!("pull {}", written(pull.image)),
        auth: pull.auth,
        limits: pull.limits,
    };
    let path = path(pull.image, pull.platform);
    let mut tries = transfer.tries();
    let said = loop {
        match attempt(&transfer, &path, on_progress).await {
            Ok(said) => break said,
            Err(error) => tries.again(error, on_progress).await?,
        }
    };
    confirm(&transfer, said, pull.platform).await
}

/// Asks the registry, through the engine, whether it has an image for whoever asks. Nothing is pulled.
pub async fn is_there(engine: &Engine, pull: &Pull<'_>) -> Result<(), TransferError> {
    let transfer = Transfer {
        engine,
        image: pull.image,
        doing: format!("ask for {}", written(pull.image)),
        auth: pull.auth,
        limits: pull.limits,
    };
    let path = format!("/distribution/{}/json", written(pull.image));
    transfer.get(&path).await.map(drop)
}

/// Gives the digest, if the engine says it.
async fn attempt(
    transfer: &Transfer<'_>,
    path: &str,
    on_progress: OnProgress<'_>,
) -> Result<Option<String>, TransferError> {
    let mut digest = None;
    let take = |record: &Value| {
        if let Some(said) = digest_of(record) {
            digest = Some(said.to_owned());
        }
    };
    transfer.stream(path, on_progress, take).await?;
    Ok(digest)
}

fn path(image: &Reference, platform: Option<&Platform>) -> String {
    let tag = image.digest().or_else(|| image.tag_meant());
    let mut path = format!("/images/create?fromImage={}", image.name());
    if let Some(tag) = tag {
        path.push_str(&format!("&tag={tag}"));
    }
    if let Some(platform) = platform {
        path.push_str(&format!("&platform={platform}"));
    }
    path
}

/// The digest that Docker says at the end of a pull.
fn digest_of(record: &Value) -> Option<&str> {
    record["status"].as_str()?.strip_prefix("Digest: ")
}

/// Asks the engine for what came. Podman does not say the digest; then it is what the engine has written down.
async fn confirm(
    transfer: &Transfer<'_>,
    said: Option<String>,
    platform: Option<&Platform>,
) -> Result<Pulled, TransferError> {
    let inspected = transfer.engine.inspect(&written(transfer.image)).await;
    let Some(facts) = inspected.map_err(|error| transfer.broken(&error))? else {
        let reason = "the engine ended without an error, and does not have the image";
        return Err(transfer.error(TransferErrorKind::Unconfirmed, reason));
    };
    let Some(digest) = known_digest(transfer.image, &facts, said.as_deref()) else {
        let reason = "the engine has an image of this name, but not the one that was pulled";
        return Err(transfer.error(TransferErrorKind::Unconfirmed, reason));
    };
    if let Some(wanted) = platform.filter(|wanted| !facts.platform.is(wanted)) {
        let reason = format!(
            "the registry has it for {}, not for {wanted}",
            facts.platform
        );
        return Err(transfer.error(TransferErrorKind::Platform, &reason));
    }
    Ok(Pulled { digest, facts })
}

/// The digest by which the engine has an image from its registry: the one that was said, if there was one, else the one
/// that came last.
fn known_digest(image: &Reference, facts: &ImageFacts, said: Option<&str>) -> Option<String> {
    let mut of_image = facts.digests.iter().rev().filter_map(|known| {
        let (name, digest) = known.split_once('@')?;
        // Podman writes names in full.
        let full = format!("{}/{}", image.registry(), image.path());
        (name == image.name() || name == full).then_some(digest)
    });
    let wanted = said.or_else(|| image.digest());
    of_image
        .find(|digest| wanted.is_none_or(|wanted| wanted == *digest))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_asks_for_a_tag_or_a_digest() {
        let image = |text: &str| Reference::parse(text).unwrap();
        let digest = format!("sha256:{}", "a".repeat(64));
        let arm = Platform::parse("linux/arm64");
        for (name, platform, expected) in [
            ("busybox", None, "busybox&tag=latest".to_owned()),
            ("h:1/a/b:2", None, "h:1/a/b&tag=2".to_owned()),
            (
                "h:1/a",
                arm.as_ref(),
                "h:1/a&tag=latest&platform=linux/arm64".to_owned(),
            ),
            (
                &format!("h:1/a@{digest}"),
                None,
                format!("h:1/a&tag={digest}"),
            ),
            (
                &format!("h:1/a:2@{digest}"),
                None,
                format!("h:1/a&tag={digest}"),
            ),
        ] {
            let expected = format!("/images/create?fromImage={expected}");
            assert_eq!(path(&image(name), platform), expected, "{name}");
        }
    }

    // IMG-25
    #[test]
    fn what_was_pulled_is_what_the_engine_has() {
        let image = Reference::parse("h:1/web:1").unwrap();
        let facts = ImageFacts {
            digests: ["h:1/web@sha256:a", "h:1/web@sha256:b", "other@sha256:c"]
                .map(str::to_owned)
                .to_vec(),
            ..ImageFacts::default()
        };
        let known = |said| known_digest(&image, &facts, said);
        assert_eq!(known(Some("sha256:a")).as_deref(), Some("sha256:a"));
        assert_eq!(known(None).as_deref(), Some("sha256:b"));
        assert_eq!(known(Some("sha256:c")), None);
    }
}
