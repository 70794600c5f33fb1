//! One artifact on its way: packed, described, stored, verified.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::archive::{self, Archive, Packed};
use super::deploy::{self, DeployFile};
use super::place;
use super::select::Manifest;
use crate::event::{ArtifactProgress, ArtifactStage, ArtifactStored, Warning};
use crate::plan::Packaging;
use crate::store::{self, ObjectMetadata, Progress, Staging, Stop, Store, Stored, Upload};

/// How long nothing is stored before it is said; each further time is twice as long (ENV-55). Parts on a slow line take their
/// time.
const QUIET: Duration = Duration::from_secs(30);

/// What is stored, and how.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Identifier; `None` for the primary one.
    pub identifier: Option<String>,
    /// One archive or single files.
    pub packaging: Packaging,
    /// Its key in the store.
    pub key: String,
    /// ARN of the build, kept with an archive.
    pub build_arn: String,
    /// Where an archive is made, if the store has no better place.
    pub temporary_directory: PathBuf,
}

/// What is heard on the way.
#[derive(Clone, Debug)]
pub enum Report {
    /// How far it has come.
    Progress(ArtifactProgress),
    /// One single file of the artifact with this identifier is there.
    FileStored(Option<String>, Stored),
    /// Something a person should know.
    Warning(Warning),
}

/// Takes reports.
pub type ReportSender = mpsc::UnboundedSender<Report>;

/// Why it is not stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive could not be made.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Whether somebody asked for it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        match self {
            Self::Archive(error) => matches!(error, archive::Error::Cancelled),
            Self::Store(error) => error.kind == store::ErrorKind::Stopped,
        }
    }
}

/// Packs and stores one artifact.
pub async fn upload(
    artifact: &Artifact,
    manifest: Manifest,
    store: &Store,
    reports: &ReportSender,
    stop: &Stop,
) -> Result<ArtifactStored, Error> {
    let (manifest, warnings) = look_at_deploy_files(manifest, stop.clone()).await?;
    let keeps_bytes = artifact.packaging == Packaging::None && !store.wants_text();
    let renamed = if keeps_bytes {
        Vec::new()
    } else {
        say_renamed(&manifest)
    };
    for warning in warnings.into_iter().chain(renamed) {
        let _ = reports.send(Report::Warning(warning));
    }
    match artifact.packaging {
        Packaging::Zip => upload_archive(artifact, manifest, store, reports, stop).await,
        Packaging::None => upload_files(artifact, manifest, store, reports, stop).await,
    }
}

async fn upload_files(
    artifact: &Artifact,
    manifest: Manifest,
    store: &Store,
    reports: &ReportSender,
    stop: &Stop,
) -> Result<ArtifactStored, Error> {
    let (uploads, bytes) = list_uploads(artifact.key.clone(), manifest, stop.clone()).await?;
    let files = uploads.len();
    let total = Total {
        identifier: artifact.identifier.clone(),
        files,
        bytes,
    };
    let stored = put(
        store,
        uploads,
        ObjectMetadata::default(),
        &total,
        reports,
        stop,
        true,
    )
    .await?;
    Ok(ArtifactStored {
        identifier: artifact.identifier.clone(),
        location: store.location(&artifact.key),
        packaging: artifact.packaging.name(),
        files,
        bytes: stored.iter().map(|file| file.bytes).sum(),
        sha256: None,
        md5: None,
    })
}

/// The files of a manifest as they go to a store, and their size in all.
async fn list_uploads(
    key: String,
    manifest: Manifest,
    stop: Stop,
) -> Result<(Vec<Upload>, u64), Error> {
    let work = tokio::task::spawn_blocking(move || {
        let mut uploads = Vec::with_capacity(manifest.len());
        let mut bytes = 0;
        for file in manifest.iter() {
            if stop.is_requested() {
                return Err(archive::Error::Cancelled);
            }
            let path = file.stored().into_owned();
            let (source, follow_links) = file
                .place()
                .map_err(|error| archive::Error::read(&file.source(), error))?;
            bytes += std::fs::metadata(&source).map_or(0, |metadata| metadata.len());
            uploads.push(Upload {
                key: place::below(&key, &path),
                raw_key: file
                    .stored_raw()
                    .map(|raw| Path::new(&key).join(raw).into_os_string()),
                source,
                follow_links,
                path,
                consume: false,
                sha256: None,
                unless_there: false,
            });
        }
        Ok((uploads, bytes))
    });
    Ok(work.await.map_err(broke_off)??)
}

async fn upload_archive(
    artifact: &Artifact,
    manifest: Manifest,
    store: &Store,
    reports: &ReportSender,
    stop: &Stop,
) -> Result<ArtifactStored, Error> {
    let files = manifest.len();
    let scratch = match store.make_staging_directory()? {
        Some(directory) => directory,
        None => make_scratch_directory(&artifact.temporary_directory)?,
    };
    let path = scratch.path().join(ARCHIVE);
    let file = scratch.create(ARCHIVE);
    let file = file.map_err(|error| archive::Error::write(&path, error))?;
    let archive = pack(
        artifact,
        manifest,
        (file, path.clone()),
        reports.clone(),
        stop.clone(),
    )
    .await?;
    let metadata = ObjectMetadata {
        entries: vec![
            ("codebuild-content-md5", archive.md5.clone()),
            ("codebuild-content-sha256", archive.sha256.clone()),
            ("codebuild-buildarn", artifact.build_arn.clone()),
        ],
        content_type: Some("application/zip"),
    };
    let upload = Upload {
        key: artifact.key.clone(),
        raw_key: None,
        source: path,
        follow_links: false,
        path: artifact.key.clone(),
        consume: true,
        sha256: Some(archive.sha256.clone()),
        unless_there: false,
    };
    let total = Total {
        identifier: artifact.identifier.clone(),
        files: 1,
        bytes: archive.bytes,
    };
    put(store, vec![upload], metadata, &total, reports, stop, false).await?;
    Ok(ArtifactStored {
        identifier: artifact.identifier.clone(),
        location: store.location(&artifact.key),
        packaging: artifact.packaging.name(),
        files,
        bytes: archive.bytes,
        sha256: Some(archive.sha256),
        md5: Some(archive.md5),
    })
}

fn make_scratch_directory(parent: &Path) -> Result<Staging, Error> {
    Ok(
        Staging::make_in(parent).map_err(|source| archive::Error::Write {
            path: parent.to_owned(),
            source,
        })?,
    )
}

async fn pack(
    artifact: &Artifact,
    manifest: Manifest,
    (file, path): (File, PathBuf),
    reports: ReportSender,
    stop: Stop,
) -> Result<Archive, Error> {
    let identifier = artifact.identifier.clone();
    let work = tokio::task::spawn_blocking(move || {
        let files = manifest.len();
        let bytes = manifest
            .iter()
            .take_while(|_| !stop.is_requested())
            .filter_map(|file| std::fs::metadata(file.place().ok()?.0).ok())
            .map(|m| m.len())
            .sum();
        let mut progress = |packed: Packed| {
            let progress = ArtifactProgress {
                identifier: identifier.clone(),
                stage: ArtifactStage::Packing,
                files_done: packed.files,
                files,
                bytes_done: packed.bytes,
                bytes,
            };
            let _ = reports.send(Report::Progress(progress));
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        archive::write(&manifest, file, &path, workers, &mut progress, stop.flag())
    });
    Ok(work.await.map_err(broke_off)??)
}

/// Name of an archive until it is stored.
const ARCHIVE: &str = "artifact.zip";

fn broke_off(error: tokio::task::JoinError) -> Error {
    let path = PathBuf::from(ARCHIVE);
    Error::Archive(archive::Error::Write {
        path,
        source: std::io::Error::other(error),
    })
}

/// What there is in all.
struct Total {
    identifier: Option<String>,
    files: usize,
    bytes: u64,
}

/// Stores files and passes on what is heard of them.
async fn put(
    store: &Store,
    uploads: Vec<Upload>,
    metadata: ObjectMetadata,
    total: &Total,
    reports: &ReportSender,
    stop: &Stop,
    report_files: bool,
) -> Result<Vec<Stored>, Error> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut stored = Vec::new();
    let mut done = 0;
    let mut hear = |progress: Progress, stored: &mut Vec<Stored>| match progress {
        Progress::Bytes(bytes) => {
            done += bytes;
            let _ = reports.send(Report::Progress(ArtifactProgress {
                identifier: total.identifier.clone(),
                stage: ArtifactStage::Storing,
                files_done: stored.len(),
                files: total.files,
                bytes_done: done.min(total.bytes),
                bytes: total.bytes,
            }));
        }
        Progress::Stored(file) => {
            if report_files {
                let identifier = total.identifier.clone();
                let _ = reports.send(Report::FileStored(identifier, file.clone()));
            }
            stored.push(file);
        }
        Progress::Note(note) => {
            let _ = reports.send(Report::Warning(Warning::new(note)));
        }
    };
    let putting = store.put(uploads, metadata, &sender, stop);
    tokio::pin!(putting);
    let (mut pause, mut waited) = (QUIET, Duration::ZERO);
    let result = loop {
        tokio::select! {
            result = &mut putting => break result,
            Some(progress) = receiver.recv() => {
                (pause, waited) = (QUIET, Duration::ZERO);
                hear(progress, &mut stored);
            }
            () = tokio::time::sleep(pause) => {
                waited += pause;
                pause *= 2;
                let _ = reports.send(Report::Warning(Warning::new(format!(
                    "nothing was stored for {} s: still waiting for {}",
                    waited.as_secs(),
                    store.location("")
                ))));
            }
        }
    };
    while let Ok(progress) = receiver.try_recv() {
        hear(progress, &mut stored);
    }
    result?;
    Ok(stored)
}

/// Most files with another path than their own that are named one by one.
const MAX_RENAMED: usize = 10;

/// What is said of files whose paths are not UTF-8, where paths have to be (ART-17).
fn say_renamed(manifest: &Manifest) -> Vec<Warning> {
    let files = manifest.not_text();
    let more = files.len().saturating_sub(MAX_RENAMED);
    let mut warnings: Vec<Warning> = files
        .take(MAX_RENAMED)
        .map(|file| {
            Warning::new(format!(
                "the path of {} is not UTF-8: it is stored as `{}`",
                file.source().display(),
                file.stored()
            ))
        })
        .collect();
    if more > 0 {
        warnings.push(Warning::new(format!(
            "{more} more files have paths that are not UTF-8"
        )));
    }
    warnings
}

/// Looks at the files that a deploy action will read (ART-15), and gives the manifest back.
async fn look_at_deploy_files(
    manifest: Manifest,
    stop: Stop,
) -> Result<(Manifest, Vec<Warning>), Error> {
    let work = tokio::task::spawn_blocking(move || {
        let warnings = check_deploy_files(&manifest, &stop);
        (manifest, warnings)
    });
    work.await.map_err(broke_off)
}

fn check_deploy_files(manifest: &Manifest, stop: &Stop) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for file in manifest.iter().take_while(|_| !stop.is_requested()) {
        let path = file.stored();
        let Some(deploy_file) = DeployFile::of_path(&path) else {
            continue;
        };
        let mut content = Vec::new();
        let read = file.open().and_then(|open| {
            open.take(deploy_file.max_bytes() + 1)
                .read_to_end(&mut content)
        });
        if read.is_ok() {
            warnings.extend(deploy::check(deploy_file, &path, &content));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::select::{Selection, Workspace, select};
    use super::*;
    use crate::source::LineColumn;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    // ART-13
    #[test]
    fn a_stop_ends_listing() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("a"), "abc").unwrap();
        let selection = Selection {
            identifier: None,
            base_directory: None,
            files: vec![("a".into(), LineColumn { line: 1, column: 1 })],
            exclude_paths: Vec::new(),
            discard_paths: false,
            keep_symlinks: false,
        };
        let workspace = Workspace {
            source_directory: tree.path().to_owned(),
            hidden: Vec::new(),
            mounts: Vec::new(),
        };
        let manifest = select(&selection, &workspace, &|| false).manifest.unwrap();
        let listed =
            |stop: &Stop| block_on(list_uploads("k".into(), manifest.clone(), stop.clone()));
        let stop = Stop::default();
        let (uploads, bytes) = listed(&stop).unwrap();
        assert_eq!((uploads[0].key.as_str(), bytes), ("k/a", 3));
        stop.request();
        assert!(listed(&stop).is_err_and(|error| error.is_stopped()));
    }
}
