//! The ZIP archive of an artifact (ART-10).
//!
//! Small files are compressed by all cores, in chunks that each worker takes in turn, and written in the order of the
//! manifest; large ones are streamed by the writer itself. At no time is more than a few chunks in memory, whatever the
//! size of the artifact.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zip::result::ZipError;
use zip::write::{PreparedZipFile, SimpleFileOptions, ZipFileBuilder, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::select::{Manifest, ManifestFile};

/// Files up to this size are compressed in memory, ahead of their turn.
const SMALL: u64 = 1024 * 1024;

/// Files that a worker takes at once.
const CHUNK: usize = 32;

/// Chunks that each worker may be ahead of the writer.
const AHEAD: usize = 2;

/// Bytes moved at once when a large file is streamed.
const BUFFER: usize = 256 * 1024;

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the artifact.
    #[error("could not read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive itself.
    #[error("could not write the archive {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody asked for the end.
    #[error("stopped")]
    Cancelled,
}

/// How far it has come: files and bytes of their content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Files in the archive.
    pub files: usize,
    /// Bytes of their content.
    pub bytes: u64,
}

/// Writes the archive of a manifest to a new file. `progress` hears of every chunk; `cancelled` is looked at between
/// files. On an error the file is removed.
pub fn write(
    manifest: &Manifest,
    path: &Path,
    workers: usize,
    progress: &mut dyn FnMut(Packed),
    cancelled: &AtomicBool,
) -> Result<Packed, Error> {
    let result = write_all(manifest, path, workers.max(1), progress, cancelled);
    if result.is_err() {
        let _ = fs::remove_file(path);
    }
    result
}

fn write_all(
    manifest: &Manifest,
    path: &Path,
    workers: usize,
    progress: &mut dyn FnMut(Packed),
    cancelled: &AtomicBool,
) -> Result<Packed, Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let file = File::create_new(path).map_err(failed)?;
    let mut writer = Writer {
        zip: ZipWriter::new(Output {
            buffer: BufWriter::with_capacity(BUFFER, file),
            position: 0,
        }),
        path,
        packed: Packed::default(),
        cancelled,
    };
    let chunks = manifest.len().div_ceil(CHUNK);
    let workers = workers.min(chunks);
    thread::scope(|scope| {
        let receivers: Vec<Receiver<Chunk<'_>>> = (0..workers)
            .map(|worker| {
                let (sender, receiver) = sync_channel(AHEAD);
                scope.spawn(move || compress(manifest, worker, workers, cancelled, &sender));
                receiver
            })
            .collect();
        for chunk in 0..chunks {
            // A worker ends early only after it has sent an error or was asked to.
            let Ok(files) = receivers[chunk % workers].recv() else {
                return Err(Error::Cancelled);
            };
            for file in files {
                writer.add(file?)?;
            }
            progress(writer.packed);
        }
        Ok(())
    })?;
    let packed = writer.packed;
    let mut file = writer.zip.finish().map_err(|error| failed(error.into()))?;
    file.flush().map_err(failed)?;
    Ok(packed)
}

/// What becomes of one file.
enum Prepared<'m> {
    /// Compressed in memory.
    Small(Box<PreparedZipFile>, u64),
    /// Streamed when its turn comes.
    Large(ManifestFile<'m>),
    /// A symlink and where it leads.
    Symlink(String, String),
}

type Chunk<'m> = Vec<Result<Prepared<'m>, Error>>;

/// One worker: every `workers`-th chunk, beginning with its own number.
fn compress<'m>(
    manifest: &'m Manifest,
    worker: usize,
    workers: usize,
    cancelled: &AtomicBool,
    sender: &SyncSender<Chunk<'m>>,
) {
    let chunks = manifest.len().div_ceil(CHUNK);
    let mut buffer = Vec::new();
    for chunk in (worker..chunks).step_by(workers) {
        let mut prepared = Vec::with_capacity(CHUNK);
        for index in chunk * CHUNK..((chunk + 1) * CHUNK).min(manifest.len()) {
            if cancelled.load(Ordering::Relaxed) {
                return;
            }
            let file = manifest
                .get(index)
                .expect("invariant: a chunk lies inside its manifest");
            prepared.push(prepare(&file, &mut buffer));
        }
        let failed = prepared.iter().any(Result::is_err);
        if sender.send(prepared).is_err() || failed {
            return;
        }
    }
}

fn prepare<'m>(file: &ManifestFile<'m>, buffer: &mut Vec<u8>) -> Result<Prepared<'m>, Error> {
    let source = file.source();
    let unreadable = |error| Error::Read {
        path: source.clone(),
        source: error,
    };
    if file.symlink {
        let target = fs::read_link(&source).map_err(unreadable)?;
        return Ok(Prepared::Symlink(
            file.stored().into_owned(),
            target.to_string_lossy().into_owned(),
        ));
    }
    let open = File::open(&source).map_err(unreadable)?;
    let metadata = open.metadata().map_err(unreadable)?;
    if metadata.len() > SMALL {
        return Ok(Prepared::Large(*file));
    }
    buffer.clear();
    // One byte more than the limit: a file that grows while it is read must not grow memory.
    let size = (&open)
        .take(SMALL + 1)
        .read_to_end(buffer)
        .map_err(unreadable)? as u64;
    if size > SMALL {
        return Ok(Prepared::Large(*file));
    }
    let mut builder = ZipFileBuilder::new(file.stored(), options(&metadata, size))
        .map_err(|e| unreadable(e.into()))?;
    builder.write_all(buffer).map_err(unreadable)?;
    let prepared = builder.finish().map_err(|error| unreadable(error.into()))?;
    Ok(Prepared::Small(Box::new(prepared), size))
}

/// The archive's file behind a buffer that knows its position. The ZIP writer asks for the position twice a file, and a
/// plain `BufWriter` empties its buffer to answer.
struct Output {
    buffer: BufWriter<File>,
    position: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.buffer.write(bytes)?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.buffer.flush()
    }
}

impl Seek for Output {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if to != SeekFrom::Current(0) {
            self.position = self.buffer.seek(to)?;
        }
        Ok(self.position)
    }
}

struct Writer<'a> {
    zip: ZipWriter<Output>,
    path: &'a Path,
    packed: Packed,
    cancelled: &'a AtomicBool,
}

impl Writer<'_> {
    fn add(&mut self, file: Prepared<'_>) -> Result<(), Error> {
        match file {
            Prepared::Small(prepared, size) => {
                self.zip
                    .add_prepared_file(*prepared)
                    .map_err(|error| self.failed(error))?;
                self.packed.bytes += size;
            }
            Prepared::Large(file) => self.stream(&file)?,
            Prepared::Symlink(name, target) => {
                let options = SimpleFileOptions::default().unix_permissions(0o777);
                self.zip
                    .add_symlink(name, target, options)
                    .map_err(|error| self.failed(error))?;
            }
        }
        self.packed.files += 1;
        Ok(())
    }

    fn stream(&mut self, file: &ManifestFile<'_>) -> Result<(), Error> {
        let source = file.source();
        let unreadable = |error| Error::Read {
            path: source.clone(),
            source: error,
        };
        let mut open = File::open(&source).map_err(unreadable)?;
        let metadata = open.metadata().map_err(unreadable)?;
        let options = options(&metadata, metadata.len());
        self.zip
            .start_file(file.stored(), options)
            .map_err(|error| self.failed(error))?;
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let read = open.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                return Ok(());
            }
            self.zip
                .write_all(&buffer[..read])
                .map_err(|error| self.failed(error.into()))?;
            self.packed.bytes += read as u64;
        }
    }

    fn failed(&self, error: ZipError) -> Error {
        Error::Write {
            path: self.path.to_owned(),
            source: error.into(),
        }
    }
}

/// Permissions and time of a file, in its archive entry.
fn options(metadata: &fs::Metadata, size: u64) -> SimpleFileOptions {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .unix_permissions(metadata.permissions().mode() & 0o7777)
        // A file near the limit may have grown by the time it is read.
        .large_file(size > u64::from(u32::MAX) / 2)
        .last_modified_time(zip_time(modified))
}

/// A time as ZIP has it: UTC, two seconds exact, from 1980 to 2107; what lies outside becomes the nearest.
fn zip_time(time: SystemTime) -> DateTime {
    let earliest = DateTime::default_for_write();
    let Ok(timestamp) = Timestamp::try_from(time) else {
        return earliest;
    };
    let civil = timestamp.to_zoned(TimeZone::UTC).datetime();
    let part = |number: i8| u8::try_from(number).unwrap_or(0);
    let year = u16::try_from(civil.year()).unwrap_or(0);
    DateTime::from_date_and_time(
        year,
        part(civil.month()),
        part(civil.day()),
        part(civil.hour()),
        part(civil.minute()),
        part(civil.second()),
    )
    .unwrap_or(earliest)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::artifact::{Selection, Workspace, select};
    use crate::source::LineColumn;

    fn manifest_of(tree: &Path, keep_symlinks: bool) -> Manifest {
        let selection = Selection {
            identifier: None,
            base_directory: None,
            files: vec![("**/*".into(), LineColumn { line: 1, column: 1 })],
            exclude_paths: Vec::new(),
            discard_paths: false,
            keep_symlinks,
        };
        select(
            &selection,
            &Workspace {
                source_directory: tree.to_owned(),
                hidden: Vec::new(),
            },
            &|| false,
        )
        .manifest
        .unwrap()
    }

    fn pack(tree: &Path, to: &Path, workers: usize) -> Result<Packed, Error> {
        write(
            &manifest_of(tree, true),
            to,
            workers,
            &mut |_| {},
            &AtomicBool::new(false),
        )
    }

    #[test]
    fn an_archive_holds_every_file_with_content_mode_and_links() {
        let tree = tempfile::tempdir().unwrap();
        let out = tempfile::tempdir().unwrap();
        for index in 0..100 {
            fs::write(
                tree.path().join(format!("f{index:03}")),
                format!("content {index}\n").repeat(index),
            )
            .unwrap();
        }
        fs::write(tree.path().join("large"), vec![b'x'; 3_000_000]).unwrap();
        fs::set_permissions(tree.path().join("f001"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("f002", tree.path().join("link")).unwrap();

        let path = out.path().join("a.zip");
        let packed = pack(tree.path(), &path, 3).unwrap();
        assert_eq!(packed.files, 102);

        let mut archive = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let names: Vec<String> = archive
            .file_names()
            .map(|name| name.unwrap().into_owned())
            .collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
        let mut content = String::new();
        archive
            .by_name("f042")
            .unwrap()
            .read_to_string(&mut content)
            .unwrap();
        assert_eq!(content, "content 42\n".repeat(42));
        assert_eq!(archive.by_name("large").unwrap().size(), 3_000_000);
        assert_eq!(
            archive.by_name("f001").unwrap().unix_mode().unwrap() & 0o777,
            0o755
        );
        assert!(archive.by_name("link").unwrap().is_symlink());
    }

    #[test]
    fn the_same_tree_gives_the_same_archive_whatever_the_workers() {
        let tree = tempfile::tempdir().unwrap();
        let out = tempfile::tempdir().unwrap();
        for index in 0..200 {
            fs::write(
                tree.path().join(format!("{index}")),
                format!("{index}").repeat(50),
            )
            .unwrap();
        }
        let archives: Vec<Vec<u8>> = [1, 4]
            .into_iter()
            .map(|workers| {
                let path = out.path().join(format!("{workers}.zip"));
                pack(tree.path(), &path, workers).unwrap();
                fs::read(path).unwrap()
            })
            .collect();
        assert!(archives[0] == archives[1]);
    }

    #[test]
    fn a_file_that_went_away_is_named_and_no_archive_is_left() {
        let tree = tempfile::tempdir().unwrap();
        let out = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("a"), "a").unwrap();
        fs::write(tree.path().join("b"), "b").unwrap();
        let manifest = manifest_of(tree.path(), false);
        fs::remove_file(tree.path().join("b")).unwrap();
        let path = out.path().join("a.zip");
        let error = write(&manifest, &path, 2, &mut |_| {}, &AtomicBool::new(false)).unwrap_err();
        assert!(
            matches!(&error, Error::Read { path, .. } if path.ends_with("b")),
            "{error}"
        );
        assert!(!path.exists());
    }

    #[test]
    fn a_cancelled_archive_leaves_nothing() {
        let tree = tempfile::tempdir().unwrap();
        let out = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("a"), "a").unwrap();
        let path = out.path().join("a.zip");
        let error = write(
            &manifest_of(tree.path(), false),
            &path,
            1,
            &mut |_| {},
            &AtomicBool::new(true),
        );
        assert!(matches!(error, Err(Error::Cancelled)));
        assert!(!path.exists());
    }

    #[test]
    fn times_outside_of_what_zip_knows_become_the_nearest() {
        let old = zip_time(SystemTime::UNIX_EPOCH);
        assert_eq!((old.year(), old.month(), old.day()), (1980, 1, 1));
        let time = zip_time(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000));
        assert_eq!(
            (time.year(), time.month(), time.day(), time.hour()),
            (2023, 11, 14, 22)
        );
    }
}
