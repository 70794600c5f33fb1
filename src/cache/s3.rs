//! A bucket as the place for archives.
//!
//! An object appears whole or not at all. When an archive was used last, the time of an empty object beside it says, made
//! where sizes are limited ([`CacheBucket::mark_uses`]); else when it was saved counts.

use std::collections::HashMap;
use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Trouble;
use super::archive::{ALIGN, Archive, Facts};
use super::name::{ENDING, written};
use super::store::{Candidate, Entry, Found};
use crate::store::{Beginning, Error, ErrorKind, ObjectMetadata, S3Store, Stop, Upload};

/// What the name of the object beside an archive ends in that says when the archive was used.
const USED: &str = ".used";

/// Archives whose beginnings are read at a time when all are listed.
const AT_ONCE: usize = 16;

/// Keeps archives in a bucket.
#[derive(Debug)]
pub struct CacheBucket {
    store: Arc<S3Store>,
    /// What all keys begin with: empty, or with `/` at its end.
    prefix: String,
    marks_uses: bool,
}

impl CacheBucket {
    /// A store below this prefix. Nothing is contacted yet.
    #[must_use]
    pub fn new(store: S3Store, prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        Self {
            store: Arc::new(store),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
            marks_uses: false,
        }
    }

    /// The same, which notes when archives are used.
    #[must_use]
    pub fn mark_uses(self, marks_uses: bool) -> Self {
        Self { marks_uses, ..self }
    }

    /// Where an archive is, for people.
    #[must_use]
    pub fn location(&self, name: &str) -> String {
        self.store.place(&self.key(name))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The beginning of an archive, with what it says.
    async fn begin(&self, name: &str) -> Result<Option<(Beginning, Option<Facts>)>, Error> {
        let key = self.key(name);
        let Some(mut beginning) = self.store.beginning(&key, ALIGN as u64).await? else {
            return Ok(None);
        };
        // More paths than most have.
        let length = beginning
            .content
            .get(4..8)
            .and_then(|bytes| bytes.try_into().ok());
        let length = 8 + u64::from(length.map_or(0, u32::from_le_bytes));
        if length > beginning.content.len() as u64 && length <= 1024 * 1024 {
            match self.store.beginning(&key, length).await? {
                None => return Ok(None),
                Some(longer) => beginning = longer,
            }
        }
        let read = Facts::read(&mut Cursor::new(&beginning.content));
        let facts = read.ok().flatten().map(|(facts, _)| facts);
        Ok(Some((beginning, facts)))
    }

    pub(super) async fn look_up(&self, name: &str) -> Result<Option<Found>, Trouble> {
        let location = self.location(name);
        match self.begin(name).await.map_err(trouble)? {
            None => Ok(None),
            Some((_, None)) => Err(Trouble::broken(&location, "it does not begin as one")),
            Some((_, Some(facts))) => Ok(Some(Found {
                name: name.to_owned(),
                location,
                facts,
            })),
        }
    }

    /// The newest archives whose names begin so, each with what is known of it or why it cannot be used.
    pub(super) async fn beginning(&self, prefix: &str) -> Result<Vec<Candidate>, Trouble> {
        let mut objects = self.store.list(&self.key(prefix)).await.map_err(trouble)?;
        objects.retain(|object| object.key.ends_with(ENDING));
        // The newest first; whether a key begins as it should only the archive says.
        objects.sort_by_key(|object| std::cmp::Reverse(object.modified));
        let looked = objects.iter().take(AT_ONCE).map(|object| async {
            let name = object.key.strip_prefix(&self.prefix).unwrap_or(&object.key);
            (name.to_owned(), self.look_up(name).await)
        });
        Ok(futures_util::future::join_all(looked).await)
    }

    pub(super) async fn fetch(
        &self,
        found: &Found,
        temporary: &Path,
        stop: &Stop,
    ) -> Result<(Archive, File), Trouble> {
        let Some((beginning, _)) = self.begin(&found.name).await.map_err(trouble)? else {
            return Err(Trouble::new(format!(
                "{} was removed meanwhile",
                found.location
            )));
        };
        let path = temporary.join(format!("fetched{ENDING}"));
        let key = self.key(&found.name);
        let fetched = self.store.download(&key, &beginning, &path, stop).await;
        fetched.map_err(trouble)?;
        if self.marks_uses {
            // As with a directory that cannot be written.
            let marker = format!("{key}{USED}");
            let _ = Box::pin(self.store.mark(&marker)).await;
        }
        let place = found.location.clone();
        super::directory::blocking(move || Archive::open_as(&path, place)).await?
    }

    /// The service itself sees to it that of several builds that save under one key the first one stays: nobody can come
    /// between a look and what follows it (CACHE-30).
    pub(super) async fn keep(
        &self,
        archive: &Archive,
        name: &str,
        replaces: bool,
        stop: &Stop,
    ) -> Result<bool, Trouble> {
        match self.put(archive, name, !replaces, stop).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == ErrorKind::Exists => Ok(false),
            // Not every service that speaks as S3 does knows this condition.
            Err(error) if !replaces && error.message.starts_with("NotImplemented") => {
                if matches!(self.look_up(name).await, Ok(Some(_))) {
                    return Ok(false);
                }
                let put = self.put(archive, name, false, stop).await;
                put.map(|()| true).map_err(trouble)
            }
            Err(error) => Err(trouble(error)),
        }
    }

    async fn put(
        &self,
        archive: &Archive,
        name: &str,
        unless_there: bool,
        stop: &Stop,
    ) -> Result<(), Error> {
        let upload = Upload {
            key: self.key(name),
            raw_key: None,
            source: archive.path.clone(),
            path: name.to_owned(),
            consume: false,
            follow_links: true,
            sha256: None,
            unless_there,
        };
        let metadata = ObjectMetadata {
            entries: Vec::new(),
            content_type: Some("application/zstd"),
        };
        let (progress, mut heard) = mpsc::unbounded_channel();
        heard.close();
        let put = self.store.put(vec![upload], metadata, &progress, stop);
        put.await
    }

    pub(super) async fn list(&self, namespace: Option<&str>) -> Result<Vec<Entry>, Trouble> {
        let below = namespace.map(|name| format!("{}/", written(name).replace('.', "%2E")));
        let prefix = self.key(&below.unwrap_or_default());
        let objects = self.store.list(&prefix).await.map_err(trouble)?;
        let last_uses: HashMap<&str, u64> = objects
            .iter()
            .filter_map(|object| Some((object.key.strip_suffix(USED)?, object.modified)))
            .collect();
        let mut entries = Vec::new();
        for object in objects.iter().filter(|object| object.key.ends_with(ENDING)) {
            let name = object.key.strip_prefix(&self.prefix).unwrap_or(&object.key);
            let used = last_uses.get(object.key.as_str()).copied().unwrap_or(0);
            entries.push(Entry {
                name: name.to_owned(),
                bytes: object.bytes,
                used: used.max(object.modified),
                facts: None,
            });
        }
        for some in entries.chunks_mut(AT_ONCE) {
            let beginnings = some.iter().map(|entry| self.begin(&entry.name));
            let beginnings = futures_util::future::join_all(beginnings).await;
            for (entry, beginning) in some.iter_mut().zip(beginnings) {
                entry.facts = beginning.ok().flatten().and_then(|(_, facts)| facts);
            }
        }
        Ok(entries)
    }

    pub(super) async fn remove(&self, names: &[String]) -> Vec<(String, Trouble)> {
        let mut failed = Vec::new();
        for name in names {
            let key = self.key(name);
            if let Err(error) = self.store.delete(&key).await {
                failed.push((name.clone(), trouble(error)));
            } else {
                let _ = self.store.delete(&format!("{key}{USED}")).await;
            }
        }
        failed
    }
}

/// An error of S3 for the cache: what to do differs.
fn trouble(error: Error) -> Trouble {
    let help = match error.kind {
        ErrorKind::NotFound => {
            Some("make the bucket, or name another with `--cache s3://BUCKET/PREFIX`".to_owned())
        }
        ErrorKind::Forbidden if error.message.starts_with("AccessDenied") => Some(
            "check that the credentials may s3:GetObject, s3:PutObject and s3:ListBucket there"
                .to_owned(),
        ),
        _ => error.help,
    };
    Trouble {
        help,
        ..Trouble::new(error.message)
    }
}
