//! An image goes to a registry.

use serde_json::Value;

use super::progress::Progress;
use super::transfer::{Limits, OnProgress, Transfer, TransferError, TransferErrorKind, written};
use super::{Reference, RegistryAuth};
use crate::engine::{Engine, Platform};

/// An image that is to go to its registry.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Its name, with the tag that it shall have there.
    pub image: &'a Reference,
    /// What it has to be for; nothing is pushed otherwise.
    pub platform: Option<&'a Platform>,
    /// Who pushes.
    pub auth: Option<&'a RegistryAuth>,
    /// How patient it is.
    pub limits: Limits,
}

/// An image that is in its registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// `sha256:…` of its manifest.
    pub digest: String,
    /// Bytes of its manifest.
    pub size: u64,
}

/// Pushes an image. What is returned is there: the registry was asked for it by its digest (IMG-24).
///
/// Dropping the future ends the push: the engine stops when nobody listens.
pub async fn push(
    engine: &Engine,
    push: &Push<'_>,
    on_progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Pushed, TransferError> {
    let transfer = Transfer {
        engine,
        image: push.image,
        doing: format!("push {}", written(push.image)),
        auth: push.auth,
        limits: push.limits,
    };
    if let Some(platform) = push.platform {
        check_platform(&transfer, platform).await?;
    }
    let mut tries = transfer.tries();
    let pushed = loop {
        match attempt(&transfer, on_progress).await {
            Ok(pushed) => break pushed,
            Err(error) => tries.again(error, on_progress).await?,
        }
    };
    confirm(&transfer, &pushed, on_progress).await?;
    Ok(pushed)
}

async fn check_platform(transfer: &Transfer<'_>, wanted: &Platform) -> Result<(), TransferError> {
    let image = written(transfer.image);
    let inspected = transfer.engine.inspect(&image).await;
    let Some(facts) = inspected.map_err(|error| transfer.broken(&error))? else {
        return Err(transfer.no_image());
    };
    if facts.platform.is(wanted) {
        return Ok(());
    }
    let reason = format!("it is for {}, not for {wanted}", facts.platform);
    Err(transfer.error(TransferErrorKind::Platform, &reason))
}

async fn attempt(
    transfer: &Transfer<'_>,
    on_progress: OnProgress<'_>,
) -> Result<Pushed, TransferError> {
    let image = transfer.image;
    let Some(tag) = image.tag_meant() else {
        let reason = "a digest says what it holds; a push needs a tag";
        return Err(transfer.error(TransferErrorKind::Other, reason));
    };
    let path = format!("/images/{}/push?tag={tag}", image.name());
    let mut pushed = None;
    let take = |record: &Value| {
        if let Some(done) = pushed_of(record) {
            pushed = Some(done);
        }
    };
    transfer.stream(&path, on_progress, take).await?;
    pushed.ok_or_else(|| {
        let reason = "the engine ended without the digest of what it pushed";
        transfer.error(TransferErrorKind::Unconfirmed, reason)
    })
}

/// What a push ends with: the record with the digest.
fn pushed_of(record: &Value) -> Option<Pushed> {
    let aux = &record["aux"];
    let digest = aux["Digest"].as_str()?;
    digest.starts_with("sha256:").then(|| Pushed {
        digest: digest.to_owned(),
        size: aux["Size"].as_u64().unwrap_or(0),
    })
}

/// Asks the registry, through the engine, for what was pushed: by digest, because a tag may be someone else's by now.
/// Where nobody may ask, or the engine cannot, what the engine has written down of the push has to do.
async fn confirm(
    transfer: &Transfer<'_>,
    pushed: &Pushed,
    on_progress: OnProgress<'_>,
) -> Result<(), TransferError> {
    let by_digest = format!("{}@{}", transfer.image.name(), pushed.digest);
    let path = format!("/distribution/{by_digest}/json");
    let mut tries = transfer.tries();
    let answer = loop {
        match transfer.get(&path).await {
            Ok(answer) => break Ok(answer),
            Err(error) => {
                if let Err(error) = tries.again(error, on_progress).await {
                    break Err(error);
                }
            }
        }
    };
    let reason = match answer {
        Ok(answer) if answer["Descriptor"]["digest"] == pushed.digest.as_str() => return Ok(()),
        Ok(answer) => {
            let other = &answer["Descriptor"]["digest"];
            let reason = format!(
                "the registry has {other} where {} was pushed",
                pushed.digest
            );
            return Err(transfer.error(TransferErrorKind::Unconfirmed, &reason));
        }
        Err(error) if may_not_ask(transfer, &error) => error.reason,
        Err(error) => {
            let reason = format!(
                "{} was pushed, but asked for it the registry says: {}",
                pushed.digest, error.reason
            );
            return Err(transfer.error(TransferErrorKind::Unconfirmed, &reason));
        }
    };
    let inspected = transfer.engine.inspect(&written(transfer.image)).await;
    let facts = inspected.map_err(|error| transfer.broken(&error))?;
    if !facts.is_some_and(|facts| facts.digests.contains(&by_digest)) {
        let reason = format!("the engine does not know {by_digest}");
        return Err(transfer.error(TransferErrorKind::Unconfirmed, &reason));
    }
    on_progress(Progress::Note(format!(
        "the registry could not be asked whether it has {by_digest}: {reason}"
    )));
    Ok(())
}

fn may_not_ask(transfer: &Transfer<'_>, error: &TransferError) -> bool {
    use TransferErrorKind as Kind;
    transfer.engine.name() == "Podman" || matches!(error.kind, Kind::Denied | Kind::NoCredentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    // IMG-24
    #[test]
    fn only_the_record_with_the_digest_tells_of_success() {
        let read = |text: &str| pushed_of(&serde_json::from_str(text).unwrap());
        let digest = format!("sha256:{}", "0".repeat(64));
        let record = format!(r#"{{"aux":{{"Tag":"1","Digest":"{digest}","Size":528}}}}"#);
        assert_eq!(read(&record), Some(Pushed { digest, size: 528 }));
        assert_eq!(read(r#"{"status":"1: digest: sha256:00 size: 528"}"#), None);
        assert_eq!(read(r#"{"aux":{"ID":"sha256:00"}}"#), None);
        assert_eq!(read(r#"{"aux":{"Digest":""}}"#), None);
    }
}
