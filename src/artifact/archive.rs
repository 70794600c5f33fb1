//! The ZIP archive of an artifact (ART-10).
//!
//! Small files are compressed by all cores, in chunks that each worker takes in turn, and written in the order of the
//! manifest; large ones are streamed by the writer itself. At no time is more than a few chunks in memory, whatever the
//! size of the artifact.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::write::DeflateEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::container::{Content, Directory, Entry, Method, Time};
use super::select::{Manifest, ManifestFile};
use crate::store::hex;
use crate::view;

/// Files up to this size are compressed in memory, ahead of their turn.
const SMALL: u64 = 1024 * 1024;

/// Files that a worker takes at once.
const CHUNK: usize = 32;

/// Compressed bytes at which a batch is complete: a buffer that grows on is up to twice as large as what is in it.
const BATCH: usize = 1024 * 1024;

/// Chunks that each worker may be ahead of the writer.
const AHEAD: usize = 2;

/// Bytes moved at once when a large file is streamed.
const BUFFER: usize = 256 * 1024;

/// Bits of a mode that say what a file is.
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

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

impl Error {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Read { path, source }
    }

    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Write { path, source }
    }
}

/// How far it has come: files and bytes of their content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Files in the archive.
    pub files: usize,
    /// Bytes of their content.
    pub bytes: u64,
}

/// An archive that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// What is in it.
    pub packed: Packed,
    /// Its size.
    pub bytes: u64,
    /// Its MD5, in hexadecimal.
    pub md5: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Writes the archive of a manifest to a new file, which is open and has this path. `progress` hears of every chunk; `cancelled` is looked at between
/// files. On an error the file is removed.
pub fn write(
    manifest: &Manifest,
    file: File,
    path: &Path,
    workers: usize,
    progress: &mut dyn FnMut(Packed),
    cancelled: &AtomicBool,
) -> Result<Archive, Error> {
    let result = write_all(manifest, file, path, workers.max(1), progress, cancelled);
    if result.is_err() {
        let _ = fs::remove_file(path);
    }
    result
}

fn write_all(
    manifest: &Manifest,
    file: File,
    path: &Path,
    workers: usize,
    progress: &mut dyn FnMut(Packed),
    cancelled: &AtomicBool,
) -> Result<Archive, Error> {
    let mut writer = Writer::new(file, path, cancelled);
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
            let Ok(pieces) = receivers[chunk % workers].recv() else {
                return Err(Error::Cancelled);
            };
            for piece in pieces? {
                match piece {
                    Piece::Batch(batch) => writer.add(&batch)?,
                    Piece::Large(file) => writer.stream(&file)?,
                }
            }
            progress(writer.packed);
        }
        Ok(())
    })?;
    writer.finish()
}

/// What a worker hands over: entries as they stand in the archive, or a file that is streamed when its turn comes.
enum Piece<'m> {
    Batch(Batch),
    Large(ManifestFile<'m>),
}

/// The pieces of one chunk, in order.
type Chunk<'m> = Result<Vec<Piece<'m>>, Error>;

/// Entries of small files, one behind the other.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Each with the place of its header in `bytes`.
    entries: Vec<(Entry, u64)>,
    packed: Packed,
}

/// One worker: every `workers`-th chunk, beginning with its own number.
fn compress<'m>(
    manifest: &'m Manifest,
    worker: usize,
    workers: usize,
    cancelled: &AtomicBool,
    sender: &SyncSender<Chunk<'m>>,
) {
    let chunks = manifest.len().div_ceil(CHUNK);
    let mut packer = Packer::new();
    for chunk in (worker..chunks).step_by(workers) {
        for index in chunk * CHUNK..((chunk + 1) * CHUNK).min(manifest.len()) {
            if cancelled.load(Ordering::Relaxed) {
                return;
            }
            let file = manifest
                .get(index)
                .expect("invariant: a chunk lies inside its manifest");
            if let Err(error) = packer.pack(&file) {
                let _ = sender.send(Err(error));
                return;
            }
        }
        if sender.send(Ok(packer.take())).is_err() {
            return;
        }
    }
}

/// Makes pieces of files. One serves many files: to make a compressor takes a third of the time in which it compresses a
/// small file.
struct Packer<'m> {
    deflate: Compress,
    /// The content of the file at hand, and the same compressed.
    content: Vec<u8>,
    deflated: Vec<u8>,
    batch: Batch,
    pieces: Vec<Piece<'m>>,
}

impl<'m> Packer<'m> {
    fn new() -> Self {
        Self {
            deflate: Compress::new(Compression::default(), false),
            content: Vec::new(),
            deflated: Vec::new(),
            batch: Batch::default(),
            pieces: Vec::new(),
        }
    }

    fn pack(&mut self, file: &ManifestFile<'m>) -> Result<(), Error> {
        let source = file.source();
        let unreadable = |error| Error::read(&source, error);
        self.content.clear();
        if file.symlink {
            let target = file.target().map_err(unreadable)?;
            let target = target.as_os_str().as_bytes();
            self.content.extend_from_slice(target);
            self.add(Entry::new(
                &file.stored(),
                SYMLINK | 0o777,
                Time::EARLIEST,
                Method::Stored,
            ));
            return Ok(());
        }
        let open = file.open().map_err(unreadable)?;
        let metadata = open.metadata().map_err(unreadable)?;
        if metadata.len() <= SMALL {
            // One byte more than the limit: a file that grows while it is read must not grow memory.
            open.take(SMALL + 1)
                .read_to_end(&mut self.content)
                .map_err(unreadable)?;
        }
        if metadata.len().max(self.content.len() as u64) > SMALL {
            self.end_batch();
            self.pieces.push(Piece::Large(*file));
        } else {
            self.batch.packed.bytes += self.content.len() as u64;
            self.add(entry(file, &metadata));
        }
        Ok(())
    }

    /// Adds an entry with the content at hand.
    fn add(&mut self, mut entry: Entry) {
        let mut crc = Crc::new();
        crc.update(&self.content);
        let stored = match entry.method() {
            Method::Stored => &self.content[..],
            Method::Deflated => deflate(&mut self.deflate, &self.content, &mut self.deflated),
        };
        entry.content = Content {
            crc: crc.sum(),
            stored: stored.len() as u64,
            original: self.content.len() as u64,
        };
        let place = self.batch.bytes.len() as u64;
        entry.put_header(&mut self.batch.bytes);
        self.batch.bytes.extend_from_slice(stored);
        self.batch.entries.push((entry, place));
        self.batch.packed.files += 1;
        if self.batch.bytes.len() >= BATCH {
            self.end_batch();
        }
    }

    fn end_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.pieces.push(Piece::Batch(batch));
    }

    /// All pieces since the last time.
    fn take(&mut self) -> Vec<Piece<'m>> {
        self.end_batch();
        std::mem::take(&mut self.pieces)
    }
}

/// Compresses content. The buffer keeps its size from one use to the next.
fn deflate<'b>(compress: &mut Compress, content: &[u8], buffer: &'b mut Vec<u8>) -> &'b [u8] {
    let size = |bytes| usize::try_from(bytes).expect("invariant: it is in memory");
    // Content that cannot be compressed becomes a little longer.
    let room = content.len() + content.len() / 8 + 64;
    if buffer.len() < room {
        buffer.resize(room, 0);
    }
    compress.reset();
    loop {
        let (read, written) = (size(compress.total_in()), size(compress.total_out()));
        let status = compress
            .compress(
                &content[read..],
                &mut buffer[written..],
                FlushCompress::Finish,
            )
            .expect("invariant: deflate takes any content");
        if status == Status::StreamEnd {
            return &buffer[..size(compress.total_out())];
        }
        buffer.resize(buffer.len() * 2, 0);
    }
}

/// The entry of a regular file: its name, permissions and time.
fn entry(file: &ManifestFile<'_>, metadata: &Metadata) -> Entry {
    let mode = REGULAR | metadata.permissions().mode() & 0o7777;
    let time = metadata.modified().map_or(Time::EARLIEST, Time::from);
    Entry::new(&file.stored(), mode, time, Method::Deflated)
}

struct Writer<'a> {
    path: &'a Path,
    cancelled: &'a AtomicBool,
    out: Output,
    directory: Directory,
    packed: Packed,
}

impl<'a> Writer<'a> {
    fn new(file: File, path: &'a Path, cancelled: &'a AtomicBool) -> Self {
        Self {
            path,
            cancelled,
            out: Output {
                buffer: BufWriter::with_capacity(BUFFER, file),
                position: 0,
                hashes: Some(Hashes::default()),
            },
            directory: Directory::default(),
            packed: Packed::default(),
        }
    }

    fn add(&mut self, batch: &Batch) -> Result<(), Error> {
        for (entry, place) in &batch.entries {
            self.directory.add(entry, self.out.position + place);
        }
        self.out
            .write_all(&batch.bytes)
            .map_err(|error| Error::write(self.path, error))?;
        self.packed.files += batch.packed.files;
        self.packed.bytes += batch.packed.bytes;
        Ok(())
    }

    fn stream(&mut self, file: &ManifestFile<'_>) -> Result<(), Error> {
        let source = file.source();
        let unreadable = |error| Error::read(&source, error);
        let path = self.path;
        let failed = |error| Error::write(path, error);
        let mut open = file.open().map_err(unreadable)?;
        let metadata = open.metadata().map_err(unreadable)?;
        // It may have grown by the time it is read.
        let mut entry = entry(file, &metadata).large(metadata.len() > u64::from(u32::MAX) / 2);
        // Its header is corrected later, so that hashes have to wait for the end.
        self.out.hashes = None;
        let place = self.out.position;
        let mut header = Vec::new();
        entry.put_header(&mut header);
        self.out.write_all(&header).map_err(failed)?;
        let begin = self.out.position;
        let mut crc = Crc::new();
        let mut deflate = DeflateEncoder::new(&mut self.out, Compression::default());
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let read = open.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            crc.update(&buffer[..read]);
            deflate.write_all(&buffer[..read]).map_err(failed)?;
        }
        deflate.try_finish().map_err(failed)?;
        let original = deflate.total_in();
        drop(deflate);
        entry.content = Content {
            crc: crc.sum(),
            stored: self.out.position - begin,
            original,
        };
        if !entry.has_room() {
            let text = "it grew beyond 4 GiB while it was read";
            return Err(unreadable(io::Error::other(text)));
        }
        for (offset, bytes) in entry.corrections() {
            self.out.correct(place + offset, &bytes).map_err(failed)?;
        }
        self.directory.add(&entry, place);
        self.packed.files += 1;
        self.packed.bytes += original;
        Ok(())
    }

    fn finish(mut self) -> Result<Archive, Error> {
        let failed = |error| Error::write(self.path, error);
        let end = self.directory.finish(self.out.position);
        self.out.write_all(&end).map_err(failed)?;
        self.out.flush().map_err(failed)?;
        let hashes = match self.out.hashes {
            Some(hashes) => hashes,
            None => read_back(self.path, self.cancelled)?,
        };
        Ok(Archive {
            packed: self.packed,
            bytes: self.out.position,
            md5: hex(&hashes.md5.finalize()),
            sha256: hex(&hashes.sha256.finalize()),
        })
    }
}

/// The archive's file.
struct Output {
    buffer: BufWriter<File>,
    position: u64,
    /// Of all that was written, unless some of it was or will be corrected.
    hashes: Option<Hashes>,
}

impl Output {
    /// Writes over what is there.
    fn correct(&mut self, place: u64, bytes: &[u8]) -> io::Result<()> {
        self.buffer.seek(SeekFrom::Start(place))?;
        self.buffer.write_all(bytes)?;
        self.buffer.seek(SeekFrom::Start(self.position))?;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.buffer.write(bytes)?;
        self.position += written as u64;
        if let Some(hashes) = &mut self.hashes {
            hashes.update(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.buffer.flush()
    }
}

#[derive(Default)]
struct Hashes {
    md5: Md5,
    sha256: Sha256,
}

impl Hashes {
    fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sha256.update(bytes);
    }
}

/// The hashes of a file as it is.
fn read_back(path: &Path, cancelled: &AtomicBool) -> Result<Hashes, Error> {
    let unreadable = |error| Error::read(path, error);
    let mut file = view::open_without_links(path).map_err(unreadable)?;
    let mut hashes = Hashes::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let read = file.read(&mut buffer).map_err(unreadable)?;
        if read == 0 {
            return Ok(hashes);
        }
        hashes.update(&buffer[..read]);
    }
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
                mounts: Vec::new(),
            },
            &|| false,
        )
        .manifest
        .unwrap()
    }

    fn pack(tree: &Path, to: &Path, workers: usize) -> Result<Archive, Error> {
        write(
            &manifest_of(tree, true),
            File::create_new(to).unwrap(),
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
        let written = pack(tree.path(), &path, 3).unwrap();
        assert_eq!(written.packed.files, 102);

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
        // Noise between text, and sizes beyond the window of deflate: what a compressor did before must not show.
        let mut noise = 1_u64;
        for index in 0..100_usize {
            let content: Vec<u8> = (0..index * index * 20)
                .map(|place| {
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    let letter = if index % 3 == 0 { noise } else { noise % 4 };
                    letter.to_le_bytes()[0].wrapping_add(u8::from(place % 7 == 0))
                })
                .collect();
            fs::write(tree.path().join(format!("{index}")), content).unwrap();
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
    fn size_and_hashes_are_those_of_the_file() {
        let tree = tempfile::tempdir().unwrap();
        let out = tempfile::tempdir().unwrap();
        for (name, size) in [("empty", 0), ("small", 1000), ("large", 2_000_000)] {
            fs::write(tree.path().join(name), vec![b'x'; size]).unwrap();
            let path = out.path().join(name);
            let written = pack(tree.path(), &path, 2).unwrap();
            let content = fs::read(path).unwrap();
            assert_eq!(written.bytes, content.len() as u64);
            assert_eq!(written.md5, hex(&Md5::digest(&content)));
            assert_eq!(written.sha256, hex(&Sha256::digest(&content)));
        }
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
        let error = write(
            &manifest,
            File::create_new(&path).unwrap(),
            &path,
            2,
            &mut |_| {},
            &AtomicBool::new(false),
        )
        .unwrap_err();
        assert!(
            matches!(&error, Error::Read { path, .. } if path.ends_with("b")),
            "{error}"
        );
        assert!(!path.exists());
    }

    // ART-13
    #[test]
    fn reading_back_ends_when_it_is_asked_to() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a");
        fs::write(&path, "abc").unwrap();
        let hashes = read_back(&path, &AtomicBool::new(false)).unwrap();
        assert_eq!(hashes.sha256.finalize(), Sha256::digest("abc"));
        let stopped = read_back(&path, &AtomicBool::new(true));
        assert!(matches!(stopped, Err(Error::Cancelled)));
    }

    #[test]
    fn a_cancelled_archive_leaves_nothing() {
        let tree = tempfile::tempdir().unwrap();
        let out = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("a"), "a").unwrap();
        let path = out.path().join("a.zip");
        let error = write(
            &manifest_of(tree.path(), false),
            File::create_new(&path).unwrap(),
            &path,
            1,
            &mut |_| {},
            &AtomicBool::new(true),
        );
        assert!(matches!(error, Err(Error::Cancelled)));
        assert!(!path.exists());
    }
}
