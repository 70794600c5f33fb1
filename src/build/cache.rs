//! The cache: restored at the end of DOWNLOAD_SOURCE, saved at the end of UPLOAD_ARTIFACTS (CACHE-1 to CACHE-24). Whatever goes
//! wrong is told; none of it changes how a build ends.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::drive::{Driver, Left};
use crate::cache::{
    self, Archive, CachePath, CacheStore, Done, Found, Job, Name, Packed, Trouble, Unfinished,
    Unpacked, Wanted,
};
use crate::event::{
    self, CacheEvent, CacheKept, CacheRestored, CacheSaved, CacheStep, EventKind, Warning,
};
use crate::exec::{self, Session, Work};
use crate::ownership;
use crate::plan::{CachePlan, Expandable, Plan};
use crate::store::{Staging, Stop};

/// Chunks of an archive that are on their way.
const CHUNKS: usize = 8;

/// Name of an archive until it is kept.
const NEW: &str = "new";

/// Bytes of an archive that are sent at once.
const CHUNK: usize = 256 * 1024;

/// Most archives that cannot be used and are named, each in a warning.
const MAX_PASSED: usize = 3;

/// What can be done where nothing better is known.
const GOES_ON: &str = "the build goes on without it; run it again, or look at the place of the cache with `runner cache ls`";

/// What a build has of a cache besides what its buildspec says.
#[derive(Debug)]
pub struct BuildCache {
    /// Where archives are kept.
    pub store: CacheStore,
    /// Whose they are.
    pub namespace: String,
    /// Most bytes that all archives of the store may have together.
    pub limit: Option<u64>,
    /// Where archives may be on their way: large, and gone with the build.
    pub temporary_directory: PathBuf,
}

/// What the build has to know between restoring and saving.
#[derive(Debug)]
pub(super) struct Cached {
    /// The paths after expansion.
    shown: Vec<String>,
    paths: Vec<CachePath>,
    wanted: Wanted,
    /// Where what was restored was kept.
    restored: Option<String>,
    /// How it looked then, if nothing else was there.
    look: Option<String>,
    /// Whether what is kept under the name that would be saved cannot be used.
    broken: bool,
    /// Whether this build saves.
    saves: bool,
}

/// Why a step went no further.
enum Gone {
    /// This is to be told.
    Wrong(Trouble),
    /// The build is to end.
    Stopped,
}

impl From<Trouble> for Gone {
    fn from(trouble: Trouble) -> Self {
        Self::Wrong(trouble)
    }
}

type Step<T> = Result<T, Gone>;

impl Driver {
    /// Restores what the buildspec wants to be cached, as far as there is something.
    pub(super) async fn restore_cache<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
    ) -> Left<()> {
        let Some(planned) = &plan.cache else {
            return Some(());
        };
        let Some(cache) = self.cache.clone() else {
            let reason = "the build has no place for a cache".to_owned();
            self.record_cache(CacheEvent::Skipped { reason });
            return Some(());
        };
        let mut cached = match self.resolve(session, plan, planned, &cache).await? {
            Ok(cached) => cached,
            Err(gone) => {
                self.cache_not_known(planned, gone);
                return Some(());
            }
        };
        self.record_cache(CacheEvent::Expanded {
            paths: cached.shown.clone(),
            key: cached.wanted.key.clone(),
            fallback_keys: cached.wanted.fallback_keys.clone(),
        });
        if planned.restores {
            let restored = self.restore(session, &cache, &mut cached).await?;
            if let Err(gone) = restored {
                self.cache_trouble(CacheStep::Restore, gone);
            }
        }
        self.cached = Some(cached).filter(|_| planned.saves);
        Some(())
    }

    /// Without paths and a key nothing can be restored, and nothing saved either (CACHE-3).
    fn cache_not_known(&mut self, planned: &CachePlan, mut gone: Gone) {
        let step = match (planned.restores, planned.saves) {
            (false, true) => CacheStep::Save,
            _ => CacheStep::Restore,
        };
        if let (Gone::Wrong(trouble), true, true) = (&mut gone, planned.restores, planned.saves) {
            let more = "this build saves nothing to the cache either";
            trouble.help = Some(match trouble.help.take() {
                Some(help) => format!("{help}; {more}"),
                None => more.to_owned(),
            });
        }
        self.cache_trouble(step, gone);
    }

    fn cache_trouble(&mut self, step: CacheStep, gone: Gone) {
        // What was stopped is told by whoever stopped it.
        if let (Gone::Wrong(Trouble { message, help, .. }), false) =
            (gone, self.stop.is_requested())
        {
            let help = help.or_else(|| Some(GOES_ON.to_owned()));
            self.record_cache(CacheEvent::Failed {
                step,
                message,
                help,
            });
        }
    }

    fn record_cache(&mut self, event: CacheEvent) {
        self.record(EventKind::Cache(event));
    }

    /// Expands the texts of the cache as the first command would see them (CACHE-3).
    async fn resolve<S: Session>(
        &mut self,
        session: &mut S,
        plan: &Plan,
        planned: &CachePlan,
        cache: &BuildCache,
    ) -> Left<Step<Cached>> {
        let all: Vec<&Expandable> = planned
            .paths
            .iter()
            .chain(&planned.fallback_keys)
            .chain(&planned.key)
            .collect();
        let mut texts: Vec<&str> = all.iter().map(|text| text.text.as_str()).collect();
        texts.push("$HOME");
        let output = self.output.clone();
        let mut cancel = self.cancel.subscribe();
        let expanded = self
            .attend(session.expand(&texts, &output, &mut cancel))
            .await?;
        let expanded = match expanded {
            Ok(Ok(expanded)) => expanded,
            Ok(Err(failure)) => {
                let text = texts.get(failure.index).copied().unwrap_or_default();
                let message = format!("could not expand `{text}`: {}", failure.exit.describe());
                let help = "the last command in it failed; its output stands above";
                return Some(Err(Trouble::new(message).with_help(help).into()));
            }
            Err(error) => return Some(Err(in_place(&error).into())),
        };
        let texts: Option<Vec<String>> = expanded
            .into_iter()
            .map(|text| text.into_string().ok())
            .collect();
        let Some(texts) = texts else {
            let message = "a path or key of the cache is not UTF-8 after expansion";
            return Some(Err(Trouble::new(message).into()));
        };
        Some(cached(texts, plan, planned, cache).map_err(Gone::from))
    }

    /// Restores the first archive that can be used (CACHE-31).
    async fn restore<S: Session>(
        &mut self,
        session: &mut S,
        cache: &Arc<BuildCache>,
        cached: &mut Cached,
    ) -> Left<Step<()>> {
        let stop = self.stop.clone();
        let exact = cached.wanted.name.of(cached.wanted.key.as_deref());
        let mut no_use: Vec<String> = Vec::new();
        let mut passed: Vec<Trouble> = Vec::new();
        loop {
            let finding = unless_stopped(&stop, cache.store.find(&cached.wanted, &no_use));
            let place = cache.store.location();
            let searched = self.attend_telling(&place, Box::pin(finding)).await?;
            let search = match searched {
                Ok(search) => search,
                Err(gone) => {
                    self.tell_passed(passed);
                    return Some(Err(gone));
                }
            };
            for (name, trouble) in search.passed {
                cached.broken |= name == exact && trouble.broken;
                passed.push(cached.remedied(&name, trouble));
                no_use.push(name);
            }
            let Some(found) = search.found else {
                return Some(self.nothing_found(cached, passed));
            };
            let restored = self.restore_from(session, cache, cached, &found).await?;
            let Err(Gone::Wrong(trouble)) = restored else {
                self.tell_passed(passed);
                return Some(restored);
            };
            if !trouble.broken {
                self.tell_passed(passed);
                return Some(Err(trouble.into()));
            }
            cached.broken |= found.name == exact;
            passed.push(cached.remedied(&found.name, named(trouble, &found)));
            no_use.push(found.name);
        }
    }

    /// There is no archive to restore, or none that can be used.
    fn nothing_found(&mut self, cached: &Cached, mut passed: Vec<Trouble>) -> Step<()> {
        if passed.is_empty() {
            let key = cached.wanted.key.clone();
            self.record_cache(CacheEvent::Missed { key });
            return Ok(());
        }
        let first = passed.remove(0);
        self.tell_passed(passed);
        Err(first.into())
    }

    /// Warns of archives that could not be used: of a few by name.
    fn tell_passed(&mut self, passed: Vec<Trouble>) {
        let more = passed.len().saturating_sub(MAX_PASSED);
        for (index, Trouble { message, help, .. }) in
            passed.into_iter().take(MAX_PASSED).enumerate()
        {
            let others = match more {
                more if more > 0 && index + 1 == MAX_PASSED => {
                    format!(", and so are {more} more that cannot be used")
                }
                _ => String::new(),
            };
            let message = format!("an archive of the cache is passed over: {message}{others}");
            let mut warning = Warning::new(message);
            warning.help = help;
            self.record(EventKind::Warning(warning));
        }
    }

    async fn restore_from<S: Session>(
        &mut self,
        session: &mut S,
        cache: &Arc<BuildCache>,
        cached: &mut Cached,
        found: &Found,
    ) -> Left<Step<()>> {
        let started = Instant::now();
        let stop = self.stop.clone();
        self.record_cache(CacheEvent::Found {
            key: found.facts.key.clone(),
            location: found.location.clone(),
            bytes: found.facts.archive_bytes,
        });
        let staging = match Staging::make_in(&cache.temporary_directory) {
            Ok(staging) => staging,
            Err(error) => {
                let place = &cache.temporary_directory;
                let trouble = Trouble::with_file("make a directory in", place, &error);
                return Some(Err(trouble.into()));
            }
        };
        let fetching = async {
            let fetching = Box::pin(cache.store.fetch(found, staging.path(), &stop));
            let (archive, file) = unless_stopped(&stop, fetching).await?;
            verified(archive, file, stop.clone()).await
        };
        let (archive, file) = match self.attend(Box::pin(fetching)).await? {
            Ok(fetched) => fetched,
            Err(gone) => return Some(Err(gone)),
        };
        self.record_cache(CacheEvent::Fetched);
        let job = Job::Unpack {
            paths: cached.paths.clone(),
        };
        let unpacked = self.unpack(session, job, file, &found.location).await?;
        let Unpacked { files, bytes, look } = match unpacked {
            Ok(unpacked) => unpacked,
            Err(gone) => return Some(Err(gone)),
        };
        self.record_cache(CacheEvent::Restored(CacheRestored {
            is_exact: found.facts.key == cached.wanted.key,
            key: found.facts.key.clone(),
            location: found.location.clone(),
            files,
            bytes,
            archive_bytes: archive.bytes(),
            duration: started.elapsed(),
        }));
        cached.restored = Some(found.name.clone());
        cached.look = look;
        Some(Ok(()))
    }

    async fn unpack<S: Session>(
        &mut self,
        session: &mut S,
        job: Job,
        file: File,
        location: &str,
    ) -> Left<Step<Unpacked>> {
        let (to, input) = mpsc::channel(CHUNKS);
        let (output, nothing) = mpsc::channel(1);
        drop(nothing);
        let feeding = tokio::task::spawn_blocking(move || feed(file, &to));
        let done = self.work(session, job, input, output).await?;
        let fed = feeding.await.ok().and_then(Result::err);
        Some(match (done, fed) {
            (_, Some(error)) => {
                Err(Trouble::new(format!("could not read {location}: {error}")).into())
            }
            (Ok(Done::Unpacked(unpacked)), None) => Ok(unpacked),
            (Ok(Done::Failed(trouble)), None) => Err(trouble.into()),
            (Ok(_), None) => Err(Trouble::new("unpacking gave an answer to something else").into()),
            (Err(gone), None) => Err(gone),
        })
    }

    async fn work<S: Session>(
        &mut self,
        session: &mut S,
        job: Job,
        input: mpsc::Receiver<Vec<u8>>,
        output: mpsc::Sender<Vec<u8>>,
    ) -> Left<Step<Done>> {
        let work = Work {
            worker: cache::work,
            job: job.text(),
            input,
            output,
        };
        let mut cancel = self.cancel.subscribe();
        let answer = self
            .attend(Box::pin(session.work(work, &mut cancel)))
            .await?;
        if self.stop.is_requested() {
            return Some(Err(Gone::Stopped));
        }
        Some(match answer {
            Ok(answer) => Done::read(&answer).map_err(Gone::from),
            Err(error) => Err(in_place(&error).into()),
        })
    }

    /// Saves what the build left, unless it is kept already.
    pub(super) async fn save_cache<S: Session>(&mut self, session: &mut S) -> Left<()> {
        let (Some(cache), Some(cached)) = (self.cache.clone(), self.cached.take()) else {
            return Some(());
        };
        if self.stop.is_requested() {
            return Some(());
        }
        match self.save(session, &cache, cached).await? {
            Ok(event) => self.record_cache(event),
            Err(gone) => self.cache_trouble(CacheStep::Save, gone),
        }
        Some(())
    }

    async fn save<S: Session>(
        &mut self,
        session: &mut S,
        cache: &Arc<BuildCache>,
        cached: Cached,
    ) -> Left<Step<CacheEvent>> {
        let started = Instant::now();
        let stop = self.stop.clone();
        let key = cached.wanted.key.clone();
        let name = cached.wanted.name.of(key.as_deref());
        let kept = |reason| {
            let key = key.clone();
            Some(Ok(CacheEvent::Kept { key, reason }))
        };
        let was_restored = cached.restored.as_ref() == Some(&name);
        let mut known = None;
        // What cannot be used makes way.
        let mut replaces = cached.broken;
        if !replaces {
            if key.is_some() && was_restored {
                return kept(CacheKept::Exists);
            }
            let looking = unless_stopped(&stop, cache.store.look_up(&name));
            match self.attend(Box::pin(looking)).await? {
                Ok(Some(_)) if key.is_some() => return kept(CacheKept::Exists),
                Ok(found) => known = found,
                Err(Gone::Wrong(trouble)) if trouble.broken => replaces = true,
                Err(gone) => return Some(Err(gone)),
            }
        }
        let staging = match staging(cache) {
            Ok(staging) => staging,
            Err(trouble) => return Some(Err(trouble.into())),
        };
        let job = Job::Pack {
            paths: cached.paths.clone(),
            hidden: self.hidden(),
            unless: cached.look.clone().filter(|_| was_restored),
        };
        let identities = cached
            .paths
            .iter()
            .map(|path| path.identity().to_owned())
            .collect();
        let path = staging.path().join(NEW);
        let begun = staging
            .create(NEW)
            .map_err(|error| Trouble::with_file("write", &path, &error))
            .and_then(|file| Unfinished::begin((file, path), key.clone(), identities));
        let unfinished = match begun {
            Ok(unfinished) => unfinished,
            Err(trouble) => return Some(Err(trouble.into())),
        };
        let (unfinished, packed) = match self.pack(session, job, unfinished).await? {
            Ok(Some(packed)) => packed,
            Ok(None) => return kept(CacheKept::Unchanged),
            Err(gone) => return Some(Err(gone)),
        };
        if packed.files == 0 {
            return kept(CacheKept::Nothing);
        }
        let is_known = |facts: &cache::Facts| facts.content_sha256 == packed.content_sha256;
        if known.is_some_and(|found| is_known(&found.facts)) {
            return kept(CacheKept::Unchanged);
        }
        let (files, bytes) = (packed.files, packed.bytes);
        let storing = async {
            let archive = finished(unfinished, packed).await?;
            if cache.limit.is_some_and(|limit| archive.bytes() > limit) {
                return Err(too_large(&archive, cache.limit).into());
            }
            let kept = cache.store.keep(&archive, &name, replaces, &stop).await?;
            Ok::<_, Gone>((archive, kept))
        };
        let (archive, is_new) = match self.attend(Box::pin(storing)).await? {
            Ok(stored) => stored,
            Err(gone) => return Some(Err(gone)),
        };
        if !is_new {
            return kept(CacheKept::Exists);
        }
        let removed = match cache.limit {
            None => 0,
            Some(limit) => {
                let evicting = unless_stopped(&stop, cache.store.evict(limit, &name));
                match self.attend(Box::pin(evicting)).await? {
                    Ok(gone) => gone.len(),
                    Err(gone) => {
                        self.cache_trouble(CacheStep::Evict, gone);
                        0
                    }
                }
            }
        };
        Some(Ok(CacheEvent::Saved(CacheSaved {
            key,
            location: location(cache, &name),
            files,
            bytes,
            archive_bytes: archive.bytes(),
            removed,
            duration: started.elapsed(),
        })))
    }

    /// Packs into an archive; nothing if it is what it was.
    async fn pack<S: Session>(
        &mut self,
        session: &mut S,
        job: Job,
        mut unfinished: Unfinished,
    ) -> Left<Step<Option<(Unfinished, Packed)>>> {
        let (nobody, input) = mpsc::channel(1);
        drop(nobody);
        let (output, mut chunks) = mpsc::channel::<Vec<u8>>(CHUNKS);
        let writing = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = chunks.blocking_recv() {
                unfinished.write(&chunk)?;
            }
            Ok::<_, Trouble>(unfinished)
        });
        let done = self.work(session, job, input, output).await?;
        let written = match writing.await {
            Ok(written) => written,
            Err(error) => Err(Trouble::new(format!(
                "writing the archive broke off: {error}"
            ))),
        };
        Some(match (written, done) {
            // What kept the packer from going on is told by whoever took no more.
            (Err(trouble), _) => Err(trouble.into()),
            (Ok(unfinished), Ok(Done::Packed(packed))) => Ok(Some((unfinished, packed))),
            (Ok(_), Ok(Done::Unchanged)) => Ok(None),
            (Ok(_), Ok(Done::Failed(trouble))) => Err(trouble.into()),
            (Ok(_), Ok(Done::Unpacked(_))) => {
                Err(Trouble::new("packing gave an answer to something else").into())
            }
            (Ok(_), Err(gone)) => Err(gone),
        })
    }

    /// Where artifacts, logs and archives go, as commands see it.
    fn hidden(&self) -> Vec<PathBuf> {
        let workspace = &self.workspace;
        if workspace.mounts.is_empty() {
            return workspace.hidden.clone();
        }
        let inside = |hidden: &PathBuf| {
            workspace.mounts.iter().find_map(|mount| {
                let outside = mount.outside.canonicalize().ok()?;
                let rest = hidden.strip_prefix(outside).ok()?;
                Some(mount.inside.join(rest))
            })
        };
        workspace.hidden.iter().filter_map(inside).collect()
    }
}

/// What texts come to: the paths, then the fallback keys, the key and the home directory.
fn cached(
    mut texts: Vec<String>,
    plan: &Plan,
    planned: &CachePlan,
    cache: &BuildCache,
) -> Result<Cached, Trouble> {
    let home = texts.pop().map(PathBuf::from);
    let home = home.filter(|home| home.is_absolute());
    let key = planned.key.as_ref().and_then(|_| texts.pop());
    let fallback_keys = texts.split_off(planned.paths.len());
    if let Some(key) = &key {
        cache::check_key(key)?;
    }
    let paths: Vec<CachePath> = texts
        .iter()
        .map(|text| CachePath::new(text, &plan.source_directory, home.as_deref()))
        .collect::<Result<_, _>>()?;
    let name = Name {
        namespace: cache.namespace.clone(),
        version: cache::version(&paths),
    };
    Ok(Cached {
        shown: texts,
        paths,
        wanted: Wanted {
            name,
            key,
            // One that came to nothing would be the beginning of every key.
            fallback_keys: fallback_keys
                .into_iter()
                .filter(|prefix| !prefix.is_empty())
                .collect(),
        },
        restored: None,
        look: None,
        broken: false,
        saves: planned.saves,
    })
}

impl Cached {
    /// What can be done about an archive that cannot be used.
    fn remedied(&self, name: &str, trouble: Trouble) -> Trouble {
        if !trouble.broken {
            return trouble;
        }
        let is_own = self.wanted.name.of(self.wanted.key.as_deref()) == name;
        let help = if is_own && self.saves {
            "what this build saves takes its place".to_owned()
        } else {
            format!("`runner cache rm {name}` removes it, with the same `--cache`")
        };
        trouble.with_help(help)
    }
}

/// The same with where the archive is, which whoever unpacks does not know.
fn named(mut trouble: Trouble, found: &Found) -> Trouble {
    if let Some(rest) = trouble.message.strip_prefix(cache::UNNAMED) {
        trouble.message = format!("{}{rest}", found.location);
    }
    trouble
}

/// Where an archive is made: on the file system it goes to, where there is one.
fn staging(cache: &BuildCache) -> Result<Staging, Trouble> {
    match &cache.store {
        CacheStore::Directory(store) => {
            let staging = store.make_staging_directory()?;
            ownership::sweep(store.root());
            Ok(staging)
        }
        CacheStore::S3(_) => {
            let place = &cache.temporary_directory;
            Staging::make_in(place)
                .map_err(|error| Trouble::with_file("make a directory in", place, &error))
        }
    }
}

async fn unless_stopped<T>(stop: &Stop, work: impl Future<Output = Result<T, Trouble>>) -> Step<T> {
    tokio::select! {
        done = work => done.map_err(Gone::from),
        () = stop.requested() => Err(Gone::Stopped),
    }
}

/// All of an archive is what was saved, before anything is made of it.
async fn verified(archive: Archive, mut file: File, stop: Stop) -> Step<(Archive, File)> {
    let reading = tokio::task::spawn_blocking(move || {
        archive.verify(&mut file, &|| stop.is_requested())?;
        Ok::<_, Trouble>((archive, file))
    });
    let read = reading.await.map_err(|error| broke_off(&error))?;
    read.map_err(Gone::from)
}

async fn finished(unfinished: Unfinished, packed: Packed) -> Step<Archive> {
    let now = event::stamp()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let finishing = tokio::task::spawn_blocking(move || {
        unfinished.finish(now, packed.files, packed.bytes, packed.content_sha256)
    });
    let archive = finishing.await.map_err(|error| broke_off(&error))?;
    archive.map_err(Gone::from)
}

fn broke_off(error: &tokio::task::JoinError) -> Trouble {
    Trouble::new(format!("work on the archive broke off: {error}"))
}

/// Sends a file from where it stands, as long as somebody takes it.
fn feed(mut file: File, to: &mpsc::Sender<Vec<u8>>) -> std::io::Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK];
        let read = file.read(&mut chunk)?;
        chunk.truncate(read);
        if read == 0 || to.blocking_send(chunk).is_err() {
            return Ok(());
        }
    }
}

fn in_place(error: &exec::Error) -> Trouble {
    let cause = std::error::Error::source(error);
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    Trouble::new(format!("{error}{cause}"))
}

fn too_large(archive: &Archive, limit: Option<u64>) -> Trouble {
    use crate::units::render_size;
    Trouble::new(format!(
        "the archive has {}, and all of the cache may have {}",
        render_size(archive.bytes()),
        render_size(limit.unwrap_or_default())
    ))
    .with_help("cache less, or raise `--cache-limit`")
}

fn location(cache: &BuildCache, name: &str) -> String {
    match &cache.store {
        CacheStore::Directory(store) => store.root().join(name).display().to_string(),
        CacheStore::S3(store) => store.location(name),
    }
}
