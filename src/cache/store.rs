//! Where archives are kept: a directory of this machine, or a bucket. A concrete facade over two kinds that do the same.

use std::fs::File;
use std::path::Path;

use super::Trouble;
use super::archive::{Archive, Facts};
use super::directory::CacheDirectory;
use super::name::Name;
use super::s3::CacheBucket;
use crate::store::Stop;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where.
    pub name: Name,
    /// `cache.key` after expansion.
    pub key: Option<String>,
    /// `fallback-keys` after expansion.
    pub fallback_keys: Vec<String>,
}

/// An archive that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name below the top of the store.
    pub name: String,
    /// Where it is, for people.
    pub location: String,
    /// What is known of it.
    pub facts: Facts,
}

/// The name of an archive that may be meant, and what is known of it; nothing if it is gone by now.
pub(super) type Candidate = (String, Result<Option<Found>, Trouble>);

/// What came of looking for an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The one to restore, if there is one.
    pub found: Option<Found>,
    /// Those on the way to it that cannot be used: their names, and why.
    pub passed: Vec<(String, Trouble)>,
}

/// An archive as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name below the top of the store.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// When it was used last, as far as the store knows, in milliseconds since 1970.
    pub used: u64,
    /// What is known of it; nothing if it is no archive that can be used.
    pub facts: Option<Facts>,
}

/// A place for archives.
#[derive(Debug)]
pub enum CacheStore {
    /// A directory.
    Directory(CacheDirectory),
    /// A bucket.
    S3(Box<CacheBucket>),
}

impl CacheStore {
    /// The top of the store, for people.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Directory(store) => store.root().display().to_string(),
            Self::S3(store) => store.location(""),
        }
    }

    /// Finds what a build would restore: the archive of its key, else the newest of the first of its fallback keys that some
    /// archive's key begins with (CACHE-8). One that cannot be used is passed over (CACHE-31), and so is one of these names,
    /// which turned out to be of no use.
    pub async fn find(&self, wanted: &Wanted, no_use: &[String]) -> Result<Search, Trouble> {
        let mut search = Search::default();
        let exact = wanted.name.of(wanted.key.as_deref());
        if !no_use.contains(&exact) {
            match self.look_up(&exact).await {
                Err(trouble) if trouble.broken => search.passed.push((exact, trouble)),
                looked => search.found = looked?,
            }
        }
        // Without a key they mean nothing.
        let prefixes = wanted.fallback_keys.iter().filter(|_| wanted.key.is_some());
        for prefix in prefixes {
            if search.found.is_some() {
                break;
            }
            self.newest(&wanted.name, prefix, no_use, &mut search)
                .await?;
        }
        Ok(search)
    }

    /// What is known of the archive of this name.
    pub async fn look_up(&self, name: &str) -> Result<Option<Found>, Trouble> {
        match self {
            Self::Directory(store) => store.look_up(name).await,
            Self::S3(store) => store.look_up(name).await,
        }
    }

    async fn newest(
        &self,
        name: &Name,
        prefix: &str,
        no_use: &[String],
        search: &mut Search,
    ) -> Result<(), Trouble> {
        let candidates = match self {
            Self::Directory(store) => store.beginning(&name.prefix(prefix)).await?,
            Self::S3(store) => store.beginning(&name.prefix(prefix)).await?,
        };
        let is_meant = |found: &Found| {
            let key = found.facts.key.as_ref();
            key.is_some_and(|key| key.starts_with(prefix))
        };
        let mut meant = Vec::new();
        for (name, looked) in candidates {
            let is_passed = search.passed.iter().any(|(passed, _)| *passed == name);
            if is_passed || no_use.contains(&name) {
                continue;
            }
            match looked {
                Ok(found) => meant.extend(found.filter(is_meant)),
                Err(trouble) => search.passed.push((name, trouble)),
            }
        }
        let newest = meant.into_iter();
        search.found = newest.max_by_key(|found| (found.facts.saved, found.name.clone()));
        Ok(())
    }

    /// Gets an archive: what is in a directory is opened where it is, what is in a bucket is brought into `temporary`.
    pub async fn fetch(
        &self,
        found: &Found,
        temporary: &Path,
        stop: &Stop,
    ) -> Result<(Archive, File), Trouble> {
        match self {
            Self::Directory(store) => store.fetch(found).await,
            Self::S3(store) => Box::pin(store.fetch(found, temporary, stop)).await,
        }
    }

    /// Keeps an archive under a name. With a key, what is there by now stays, unless it is to be replaced; then this says so.
    pub async fn keep(
        &self,
        archive: &Archive,
        name: &str,
        replaces: bool,
        stop: &Stop,
    ) -> Result<bool, Trouble> {
        let replaces = replaces || archive.facts.key.is_none();
        match self {
            Self::Directory(store) => store.keep(archive, name, replaces).await,
            Self::S3(store) => Box::pin(store.keep(archive, name, replaces, stop)).await,
        }
    }

    /// Everything that is kept, of one namespace or of all.
    pub async fn list(&self, namespace: Option<&str>) -> Result<Vec<Entry>, Trouble> {
        match self {
            Self::Directory(store) => store.list(namespace).await,
            Self::S3(store) => store.list(namespace).await,
        }
    }

    /// Removes archives. Gives why some of them could not be.
    pub async fn remove(&self, names: &[String]) -> Vec<(String, Trouble)> {
        match self {
            Self::Directory(store) => store.remove(names).await,
            Self::S3(store) => store.remove(names).await,
        }
    }

    /// Removes what was used longest ago until the rest fits a size; never `spared`. Gives what was removed.
    pub async fn evict(&self, limit: u64, spared: &str) -> Result<Vec<Entry>, Trouble> {
        let going = over(self.list(None).await?, limit, spared);
        let names: Vec<String> = going.iter().map(|entry| entry.name.clone()).collect();
        match self.remove(&names).await.into_iter().next() {
            Some((_, trouble)) => Err(trouble),
            None => Ok(going),
        }
    }
}

/// What has to go for the rest to fit a size: what was used longest ago first.
#[must_use]
pub fn over(mut entries: Vec<Entry>, limit: u64, spared: &str) -> Vec<Entry> {
    let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
    entries.sort_by(|one, other| (one.used, &one.name).cmp(&(other.used, &other.name)));
    let mut going = Vec::new();
    for entry in entries {
        if total <= limit {
            break;
        }
        if entry.name != spared {
            total -= entry.bytes;
            going.push(entry);
        }
    }
    going
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let entry = |name: &str, bytes, used| Entry {
            name: name.to_owned(),
            bytes,
            used,
            facts: None,
        };
        let entries = vec![
            entry("new", 10, 3),
            entry("old", 10, 1),
            entry("middle", 10, 2),
        ];
        let names = |limit, spared| -> Vec<String> {
            let going = over(entries.clone(), limit, spared);
            going.into_iter().map(|entry| entry.name).collect()
        };
        assert_eq!(names(30, ""), Vec::<String>::new());
        assert_eq!(names(29, ""), ["old"]);
        assert_eq!(names(10, ""), ["old", "middle"]);
        assert_eq!(names(10, "old"), ["middle", "new"]);
        assert_eq!(names(0, "new"), ["old", "middle"]);
    }
}
