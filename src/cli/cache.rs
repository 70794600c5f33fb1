//! Where a build's cache is kept.

use std::path::{Path, PathBuf};

use super::args::RequestArgs;
use super::{aws, machine, mistake, request};
use crate::aws::Settings as AwsSettings;
use crate::build::BuildCache;
use crate::cache::{CacheBucket, CacheDirectory, CacheStore};
use crate::plan::{ArtifactLocation, BuildRequest, CacheRequest};
use crate::store::{S3Settings, S3Store};

/// What the arguments say of the cache; nothing if the build has none.
pub(super) fn request(
    args: &RequestArgs,
    changeable: &[PathBuf],
) -> Result<Option<CacheRequest>, clap::Error> {
    let Some(text) = &args.cache else {
        return Ok(None);
    };
    Ok(Some(CacheRequest {
        location: location(text, changeable)?,
        namespace: args.cache_namespace.clone(),
        limit: args.cache_limit,
    }))
}

/// The place that a text names; the usual one if it is empty. A directory has no links, but for those that lie where builds
/// can change them.
pub(super) fn location(
    text: &str,
    changeable: &[PathBuf],
) -> Result<ArtifactLocation, clap::Error> {
    if text.is_empty() {
        let usual = usual_directory().ok_or_else(|| {
            mistake("`--cache` alone needs HOME or XDG_CACHE_HOME: name a directory, or s3://BUCKET/PREFIX")
        })?;
        return Ok(ArtifactLocation::Directory(machine::settled(
            &usual, changeable,
        )));
    }
    if let Some(place) = text.strip_prefix("s3://") {
        let (bucket, path) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err(mistake(format!(
                "`{text}` names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX"
            )));
        }
        return Ok(ArtifactLocation::S3 {
            bucket: bucket.to_owned(),
            path: path.trim_matches('/').to_owned(),
        });
    }
    if request::has_scheme(text) {
        return Err(mistake(format!(
            "`{text}` is no place for a cache: write a directory, or s3://BUCKET/PREFIX"
        )));
    }
    let here = machine::directory()
        .map_err(|error| mistake(format!("this directory is gone: {error}")))?;
    Ok(ArtifactLocation::Directory(machine::settled(
        &here.join(text),
        changeable,
    )))
}

/// `runner/caches` where the user's caches are.
fn usual_directory() -> Option<PathBuf> {
    let caches = machine::variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || machine::variable("HOME").map(|home| Path::new(&home).join(".cache"));
    Some(caches.or_else(home)?.join("runner/caches"))
}

/// What a build has of a cache.
pub(super) fn of_build(aws: &AwsSettings, request: &BuildRequest) -> Option<BuildCache> {
    let wanted = request.cache.as_ref()?;
    Some(BuildCache {
        store: store(
            &wanted.location,
            aws.clone(),
            request.artifacts.encryption_key.clone(),
            wanted.limit.is_some(),
        ),
        namespace: wanted
            .namespace
            .clone()
            .unwrap_or_else(|| request.project.as_str().to_owned()),
        limit: wanted.limit,
        temporary_directory: machine::temporary_directory(),
    })
}

/// The directory that a build's cache is kept in, if it is one.
pub(super) fn directory(request: &BuildRequest) -> Option<PathBuf> {
    match &request.cache.as_ref()?.location {
        ArtifactLocation::Directory(root) => Some(root.clone()),
        ArtifactLocation::S3 { .. } => None,
    }
}

/// The store at a place. What is saved in S3 is encrypted with `key`, if there is one (CACHE-27).
pub(super) fn store(
    location: &ArtifactLocation,
    aws: AwsSettings,
    key: Option<String>,
    marks_uses: bool,
) -> CacheStore {
    match location {
        ArtifactLocation::Directory(root) => {
            CacheStore::Directory(CacheDirectory::new(root.clone()))
        }
        ArtifactLocation::S3 { bucket, path } => {
            let store = S3Store::new(S3Settings {
                bucket: bucket.clone(),
                encryption_key: key,
                always_kms: false,
                is_ours_alone: false,
                aws,
                custom_endpoint: aws::has_custom_endpoint(),
                proxy: None,
            });
            let bucket = CacheBucket::new(store, path).mark_uses(marks_uses);
            CacheStore::S3(Box::new(bucket))
        }
    }
}
