//! From files to a compressed TAR.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Trouble;
use super::path::{CachePath, as_path};
use super::place::Place;
use super::walk::{Item, Kind, walk};
use crate::units::hex;

/// zstd's own default: three quarters of what it can save for a tenth of the time.
const LEVEL: i32 = 3;

/// Bytes of a file that are read at once, and bytes that are compressed at once: a TAR is written in far smaller pieces, and each of
/// them would take the compressor's locks.
const BUFFER: usize = 256 * 1024;

/// What an archive says of the owner of files that are the build's own: whoever unpacks them.
pub(super) const OWN: u64 = 0;

/// What was packed.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) content_sha256: String,
}

/// Packs everything that the paths take; nothing is written if that is nothing.
pub(super) fn pack(
    paths: &[CachePath],
    hidden: &[PathBuf],
    place: &Place<'_>,
    output: &mut dyn Write,
) -> Result<Counted, Trouble> {
    let mut packer = Packer::new(output, place)?;
    walk(paths, hidden, place.stopped, &mut |item| packer.add(item))?;
    packer.finish()
}

struct Packer<'p, 'o> {
    place: &'p Place<'p>,
    archive: tar::Builder<BufWriter<zstd::Encoder<'static, &'o mut dyn Write>>>,
    hash: Sha256,
    counted: Counted,
    /// Where files with more than one name are in the archive.
    linked: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

fn not_written(error: &io::Error) -> Trouble {
    Trouble::new(format!("could not write the archive: {error}"))
}

impl<'p, 'o> Packer<'p, 'o> {
    fn new(output: &'o mut dyn Write, place: &'p Place<'p>) -> Result<Self, Trouble> {
        let made = zstd::Encoder::new(output, LEVEL).and_then(|mut encoder| {
            encoder.include_checksum(true)?;
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            if workers > 1 {
                encoder.multithread(u32::try_from(workers.min(16)).unwrap_or(1))?;
            }
            Ok(encoder)
        });
        let encoder = made.map_err(|error| not_written(&error))?;
        let mut archive = tar::Builder::new(BufWriter::with_capacity(BUFFER, encoder));
        archive.follow_symlinks(false);
        Ok(Self {
            place,
            archive,
            hash: Sha256::new(),
            counted: Counted::default(),
            linked: HashMap::new(),
            buffer: vec![0; BUFFER],
        })
    }

    fn add(&mut self, item: &Item<'_>) -> Result<(), Trouble> {
        let name = name_of(item);
        self.describe(item, &name);
        match item.kind {
            Kind::Directory => self.directory(item, &name),
            Kind::Symlink => self.symlink(item, &name),
            Kind::File => self.file(item, &name),
        }
    }

    /// What the content is besides the bytes of files. Modes count, times and owners do not.
    fn describe(&mut self, item: &Item<'_>, name: &Path) {
        self.hash.update(name.as_os_str().as_bytes());
        let kind = match item.kind {
            Kind::Directory => b"\0d",
            Kind::File => b"\0f",
            Kind::Symlink => b"\0l",
        };
        self.hash.update(kind);
        let mode = if item.kind == Kind::Symlink {
            0
        } else {
            item.metadata.permissions().mode()
        };
        self.hash.update(mode.to_le_bytes());
    }

    fn header(&self, item: &Item<'_>, kind: tar::EntryType) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(item.metadata.permissions().mode() & 0o7777);
        let (uid, gid) = self.place.owner_in_archive(item.source, item.metadata);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(u64::try_from(item.metadata.mtime()).unwrap_or(0));
        header
    }

    /// What does not fit in a header: times as exact as the file system has them, which tools compare, and long targets.
    fn extend(&mut self, metadata: &Metadata, target: Option<&[u8]>) -> io::Result<()> {
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        let time = (nanoseconds != 0 && seconds >= 0)
            .then(|| format!("{seconds}.{nanoseconds:09}").into_bytes());
        let time = time.as_deref().map(|time| ("mtime", time));
        let target = target.map(|target| ("linkpath", target));
        if time.is_none() && target.is_none() {
            return Ok(());
        }
        self.archive
            .append_pax_extensions(time.into_iter().chain(target))
    }

    fn directory(&mut self, item: &Item<'_>, name: &Path) -> Result<(), Trouble> {
        let mut header = self.header(item, tar::EntryType::Directory);
        let written = self
            .extend(item.metadata, None)
            .and_then(|()| self.archive.append_data(&mut header, name, io::empty()));
        written.map_err(|error| not_written(&error))
    }

    fn symlink(&mut self, item: &Item<'_>, name: &Path) -> Result<(), Trouble> {
        let target = fs::read_link(item.source)
            .map_err(|error| super::walk::unreadable(item.source, &error))?;
        self.link(
            item,
            name,
            tar::EntryType::Symlink,
            target.as_os_str().as_bytes(),
        )
    }

    /// A link, with its target letter for letter.
    fn link(
        &mut self,
        item: &Item<'_>,
        name: &Path,
        kind: tar::EntryType,
        target: &[u8],
    ) -> Result<(), Trouble> {
        self.hash.update(target);
        self.hash.update([0]);
        self.counted.files += 1;
        let mut header = self.header(item, kind);
        let is_long = header.set_link_name_literal(target).is_err();
        let written = self
            .extend(item.metadata, is_long.then_some(target))
            .and_then(|()| self.archive.append_data(&mut header, name, io::empty()));
        written.map_err(|error| not_written(&error))
    }

    fn file(&mut self, item: &Item<'_>, name: &Path) -> Result<(), Trouble> {
        if item.metadata.nlink() > 1 {
            let id = (item.metadata.dev(), item.metadata.ino());
            if let Some(first) = self.linked.get(&id) {
                let first = first.as_os_str().as_bytes().to_vec();
                return self.link(item, name, tar::EntryType::Link, &first);
            }
            self.linked.insert(id, name.to_owned());
        }
        let unreadable = |error| super::walk::unreadable(item.source, &error);
        let mut file = match File::open(item.source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(unreadable)?,
        };
        let size = item.metadata.len();
        self.hash.update(size.to_le_bytes());
        let mut header = self.header(item, tar::EntryType::Regular);
        header.set_size(size);
        self.extend(item.metadata, None)
            .map_err(|error| not_written(&error))?;
        let mut reader = Hashed {
            file: &mut file,
            left: size,
            hash: &mut self.hash,
            failed: None,
        };
        let written = if size <= self.buffer.len() as u64 {
            let buffer = &mut self.buffer[..usize::try_from(size).unwrap_or(0)];
            match reader.read_exact(buffer) {
                Ok(()) => self.archive.append_data(&mut header, name, &*buffer),
                Err(error) => Err(error),
            }
        } else {
            self.archive.append_data(&mut header, name, &mut reader)
        };
        if let Some(error) = reader.failed {
            return Err(match error.kind() {
                io::ErrorKind::UnexpectedEof => Trouble::new(format!(
                    "{} changed while it was read",
                    item.source.display()
                ))
                .with_help("something still writes to it: wait for its end in a command"),
                _ => unreadable(error),
            });
        }
        written.map_err(|error| not_written(&error))?;
        self.counted.files += 1;
        self.counted.bytes += size;
        Ok(())
    }

    fn finish(self) -> Result<Counted, Trouble> {
        let ended = self
            .archive
            .into_inner()
            .and_then(|pieces| pieces.into_inner().map_err(io::IntoInnerError::into_error))
            .and_then(zstd::Encoder::finish)
            .and_then(Write::flush);
        ended.map_err(|error| not_written(&error))?;
        Ok(Counted {
            content_sha256: hex(&self.hash.finalize()),
            ..self.counted
        })
    }
}

/// `<place of the path>/<what is below its root>`
fn name_of(item: &Item<'_>) -> PathBuf {
    let mut name = PathBuf::from(item.index.to_string());
    if !item.relative.is_empty() {
        name.push(as_path(item.relative));
    }
    name
}

/// Exactly so many bytes of a file, hashed. Why there are fewer is kept: an archive's writer takes an early end for the end.
struct Hashed<'h> {
    file: &'h mut File,
    left: u64,
    hash: &'h mut Sha256,
    failed: Option<io::Error>,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = match self.file.read(&mut buffer[..most]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        match read {
            Ok(read) => {
                self.left -= read as u64;
                self.hash.update(&buffer[..read]);
                Ok(read)
            }
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}
