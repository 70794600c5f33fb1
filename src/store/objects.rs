//! What there is in a bucket: listing, reading, removing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::s3::{self, ErrorContext, S3Store};
use super::{Error, ErrorKind, Stop};

/// Bytes that one request gets.
const PART: u64 = 8 * 1024 * 1024;

/// Requests at a time.
const REQUESTS: usize = 6;

/// Most answers of a listing, of a thousand objects each.
const MAX_PAGES: usize = 1000;

/// Bytes a second that the slowest line carries on which a download is not given up.
const SLOWEST_LINE: u64 = 64 * 1024;

/// How long anything may take, however small.
const LEAST: Duration = crate::aws::SMALL;

/// An object as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// When it was stored, in milliseconds since 1970.
    pub modified: u64,
}

/// The beginning of an object.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Its first bytes.
    pub content: Vec<u8>,
    /// Size of the whole, in bytes.
    pub bytes: u64,
    /// Which content it is: another one has another tag.
    pub tag: Option<String>,
}

impl S3Store {
    fn context_of(&self, key: &str) -> ErrorContext {
        ErrorContext {
            bucket: self.settings.bucket.clone(),
            key: key.to_owned(),
            missing_profile: self.settings.aws.missing_profile.clone(),
        }
    }

    /// Where an object is, for people.
    #[must_use]
    pub fn place(&self, key: &str) -> String {
        self.location(key)
    }

    /// Every object whose key begins so.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let client = self.ready("list").await?;
        let mut objects = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let request = client
                .list_objects_v2()
                .bucket(&self.settings.bucket)
                .prefix(prefix)
                .set_continuation_token(next.take())
                .send();
            let page = in_time(LEAST, request).await?;
            let page =
                page.map_err(|error| self.context_of(prefix).service_error("list", error))?;
            for object in page.contents() {
                let modified = object
                    .last_modified()
                    .and_then(|time| time.to_millis().ok());
                objects.push(Object {
                    key: object.key().unwrap_or_default().to_owned(),
                    bytes: object
                        .size()
                        .and_then(|size| u64::try_from(size).ok())
                        .unwrap_or(0),
                    modified: modified
                        .and_then(|time| u64::try_from(time).ok())
                        .unwrap_or(0),
                });
            }
            next = page.next_continuation_token().map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(objects)
    }

    /// The first bytes of an object; nothing if there is none.
    pub async fn beginning(&self, key: &str, bytes: u64) -> Result<Option<Beginning>, Error> {
        let client = self.ready("read").await?;
        let request = client
            .get_object()
            .bucket(&self.settings.bucket)
            .key(key)
            .range(format!("bytes=0-{}", bytes.saturating_sub(1)))
            .send();
        let object = match in_time(LEAST, request).await? {
            Ok(object) => object,
            Err(error) => {
                let error = self.context_of(key).service_error("read", error);
                // The bucket that is not there is no object that is not there.
                let is_missing = error.message.starts_with("NoSuchKey:");
                return if is_missing { Ok(None) } else { Err(error) };
            }
        };
        // `bytes 0-4095/123456`
        let total = object
            .content_range()
            .and_then(|range| range.rsplit('/').next());
        let total = total.and_then(|total| total.parse().ok());
        let length = object
            .content_length()
            .and_then(|length| u64::try_from(length).ok());
        let tag = object.e_tag().map(str::to_owned);
        let content = in_time(LEAST, object.body.collect()).await?;
        let content = content
            .map_err(|error| self.broken_off(key, error))?
            .to_vec();
        Ok(Some(Beginning {
            bytes: total.or(length).unwrap_or(content.len() as u64),
            content,
            tag,
        }))
    }

    /// Brings an object into a file that is made, several parts at a time.
    pub async fn download(
        self: &Arc<Self>,
        key: &str,
        beginning: &Beginning,
        to: &Path,
        stop: &Stop,
    ) -> Result<(), Error> {
        let file = File::create_new(to).and_then(|file| {
            file.set_len(beginning.bytes)?;
            Ok(file)
        });
        let file = Arc::new(file.map_err(|error| Error::io("write", to, error))?);
        let mut running = JoinSet::new();
        let mut starts = (0..beginning.bytes.div_ceil(PART)).map(|part| part * PART);
        loop {
            while running.len() < REQUESTS {
                let Some(start) = starts.next() else { break };
                let end = (start + PART).min(beginning.bytes) - 1;
                let (store, file, key) = (Arc::clone(self), Arc::clone(&file), key.to_owned());
                let (tag, to) = (beginning.tag.clone(), to.to_owned());
                running.spawn(async move {
                    let content = Box::pin(store.part(&key, tag, start, end)).await?;
                    let written =
                        tokio::task::spawn_blocking(move || file.write_all_at(&content, start));
                    let written = written.await.map_err(std::io::Error::other);
                    written
                        .and_then(|written| written)
                        .map_err(|error| Error::io("write", &to, error))
                });
            }
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => return Ok(()),
                    Some(ended) => ended.map_err(s3::broke_off)??,
                },
                () = stop.requested() => return Err(Error::stopped()),
            }
        }
    }

    async fn part(
        &self,
        key: &str,
        tag: Option<String>,
        start: u64,
        end: u64,
    ) -> Result<Vec<u8>, Error> {
        let request = self
            .client()
            .await
            .get_object()
            .bucket(&self.settings.bucket)
            .key(key)
            .range(format!("bytes={start}-{end}"))
            .set_if_match(tag)
            .send();
        let bytes = end - start + 1;
        // All parts share one line.
        let limit = LEAST + Duration::from_secs(bytes * REQUESTS as u64 / SLOWEST_LINE);
        let whole = async {
            let object = request
                .await
                .map_err(|error| self.context_of(key).service_error("read", error))?;
            let content = object.body.collect().await;
            content.map_err(|error| self.broken_off(key, error))
        };
        let content = Box::pin(in_time(limit, whole)).await??.to_vec();
        if content.len() as u64 != bytes {
            let message = format!("{} broke off", self.location(key));
            return Err(Error {
                kind: ErrorKind::Unreachable,
                message,
                help: None,
                source: None,
            });
        }
        Ok(content)
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let client = self.ready("remove").await?;
        let request = client
            .delete_object()
            .bucket(&self.settings.bucket)
            .key(key)
            .send();
        let removed = in_time(LEAST, request).await?;
        removed
            .map(drop)
            .map_err(|error| self.context_of(key).service_error("remove", error))
    }

    /// Stores an object without content: what counts is when.
    pub async fn mark(&self, key: &str) -> Result<(), Error> {
        let client = self.ready("write").await?;
        let request = client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(key)
            .send();
        let stored = Box::pin(in_time(LEAST, request)).await?;
        stored
            .map(drop)
            .map_err(|error| self.context_of(key).service_error("write", error))
    }

    fn broken_off(
        &self,
        key: &str,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        Error {
            kind: ErrorKind::Unreachable,
            message: format!("{} broke off: {error}", self.location(key)),
            help: Some("check the network".to_owned()),
            source: Some(error.into()),
        }
    }
}

/// Work that ends in time, whatever the other side does.
async fn in_time<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Error> {
    // A request is a large future.
    let in_time = tokio::time::timeout(limit, Box::pin(work)).await;
    in_time.map_err(|_| Error {
        kind: ErrorKind::Unreachable,
        message: format!("no answer came within {} s", limit.as_secs()),
        help: Some("check the network, the region and AWS_ENDPOINT_URL".to_owned()),
        source: None,
    })
}
