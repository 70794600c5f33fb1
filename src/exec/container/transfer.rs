//! Files across the wall, as TAR streams: source into a container of an engine elsewhere, and back; and what a build left
//! outside of its source.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::session::Container;
use crate::engine;
use crate::exec::Error;

/// Chunks on their way; each has up to [`CHUNK`] bytes.
const CHUNKS: usize = 8;

/// Bytes of a chunk that is sent.
const CHUNK: usize = 256 * 1024;

/// Copies a directory, and files of bytes, into a container that was not started yet or runs.
pub(super) async fn send(
    container: &Container,
    directory: Option<(&Path, &Path)>,
    files: Vec<(PathBuf, PathBuf)>,
) -> Result<(), Error> {
    let (writer, chunks) = mpsc::channel(CHUNKS);
    let directory = directory.map(|(outside, inside)| (outside.to_owned(), inside.to_owned()));
    let packing = tokio::task::spawn_blocking(move || pack(writer, directory, files));
    let stream = futures_util::stream::unfold(chunks, |mut chunks| async move {
        let chunk: Bytes = chunks.recv().await?;
        Some((chunk, chunks))
    });
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    let sent = container
        .engine
        .api()
        .upload_to_container(&container.id, Some(options), bollard::body_stream(stream))
        .await;
    let packed = packing
        .await
        .map_err(io::Error::other)
        .and_then(|packed| packed);
    sent.map_err(|error| {
        Error::Engine(engine::Error::api(
            "copy the source into the container",
            error,
        ))
    })?;
    packed.map_err(|source| Error::System {
        doing: "read the source",
        source,
    })
}

fn pack(
    chunks: mpsc::Sender<Bytes>,
    directory: Option<(PathBuf, PathBuf)>,
    files: Vec<(PathBuf, PathBuf)>,
) -> io::Result<()> {
    let to = io::BufWriter::with_capacity(CHUNK, ToChunks(chunks));
    let mut archive = tar::Builder::new(to);
    archive.follow_symlinks(false);
    archive.mode(tar::HeaderMode::Complete);
    for (outside, inside) in files {
        let mut header = tar::Header::new_gnu();
        let mut file = fs::File::open(&outside)?;
        header.set_size(file.metadata()?.len());
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        let inside = inside.strip_prefix("/").unwrap_or(&inside).to_owned();
        archive.append_data(&mut header, inside, &mut file)?;
    }
    if let Some((outside, inside)) = directory {
        let inside = inside.strip_prefix("/").unwrap_or(&inside).to_owned();
        append(&mut archive, &outside, &inside)?;
    }
    archive.into_inner()?.flush()
}

/// Appends a tree, everything owned by root. Sockets and devices cannot be copied and are left out, as `tar` does.
fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    outside: &Path,
    inside: &Path,
) -> io::Result<()> {
    let mut pending = vec![(outside.to_owned(), inside.to_owned())];
    while let Some((outside, inside)) = pending.pop() {
        let found = match fs::symlink_metadata(&outside) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&found);
        header.set_uid(0);
        header.set_gid(0);
        if found.is_dir() {
            archive.append_data(&mut header, &inside, io::empty())?;
            for entry in fs::read_dir(&outside)? {
                let entry = entry?;
                pending.push((entry.path(), inside.join(entry.file_name())));
            }
        } else if found.is_symlink() {
            header.set_size(0);
            archive.append_link(&mut header, &inside, fs::read_link(&outside)?)?;
        } else if found.is_file() {
            let file = fs::File::open(&outside)?;
            // A file that grows while it is read must not push what follows out of place.
            let size = found.len();
            let padded = file.take(size).chain(io::repeat(0)).take(size);
            archive.append_data(&mut header, &inside, padded)?;
        }
    }
    Ok(())
}

/// Copies a file or a directory out of a container. False if there is none.
pub(super) async fn fetch(
    container: &Container,
    inside: &Path,
    outside: &Path,
) -> Result<bool, Error> {
    unpack_into(container, inside, outside)
        .await
        .map(|kept| kept.is_some())
}

/// Makes a directory outside what one inside is: new files come, changed ones change, removed ones go.
pub(super) async fn replace(
    container: &Container,
    inside: &Path,
    outside: &Path,
) -> Result<(), Error> {
    let Some(kept) = unpack_into(container, inside, outside).await? else {
        return Ok(());
    };
    remove_others(outside, &kept).map_err(|source| Error::System {
        doing: "bring the source back from the container",
        source,
    })
}

async fn unpack_into(
    container: &Container,
    inside: &Path,
    outside: &Path,
) -> Result<Option<HashSet<PathBuf>>, Error> {
    let options = DownloadFromContainerOptionsBuilder::default()
        .path(&inside.to_string_lossy())
        .build();
    let mut stream = Box::pin(
        container
            .engine
            .api()
            .download_from_container(&container.id, Some(options)),
    );
    let (to, chunks) = mpsc::channel(CHUNKS);
    let destination = outside.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || unpack(chunks, &destination));
    let mut broken = None;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                if to.send(Ok(chunk)).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                broken = Some(engine::Error::api(
                    format!("copy {} out of the container", inside.display()),
                    error,
                ));
                let _ = to.send(Err(io::Error::other("broken off"))).await;
                break;
            }
        }
    }
    drop(to);
    let unpacked = unpacking
        .await
        .map_err(io::Error::other)
        .and_then(|kept| kept);
    match broken {
        Some(error) if error.status() == Some(404) => return Ok(None),
        Some(error) => return Err(Error::Engine(error)),
        None => {}
    }
    unpacked.map(Some).map_err(|source| Error::System {
        doing: "copy files out of the container",
        source,
    })
}

/// Unpacks an archive whose entries all begin with one name, which becomes `destination`. Gives every path there is now.
fn unpack(
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    destination: &Path,
) -> io::Result<HashSet<PathBuf>> {
    let mut archive = tar::Archive::new(FromChunks {
        chunks,
        rest: Bytes::new(),
    });
    let mut kept = HashSet::new();
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let path = entry.path()?.into_owned();
        let Some(path) = below(&path, destination) else {
            return Err(leads_outside());
        };
        // What is one file inside may be fetched into one; a directory is never replaced by something else.
        if path == destination && !kind.is_dir() && destination.is_dir() {
            return Err(io::Error::other(
                "the build has put something else in the place of its source directory",
            ));
        }
        check_parents(&path, destination)?;
        kept.insert(path.clone());
        // Pipes, sockets and devices are no content.
        if !(kind.is_dir() || kind.is_file() || kind.is_symlink() || kind.is_hard_link()) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        make_way(&path, kind)?;
        let mode = entry.header().mode()? & 0o777;
        match kind {
            tar::EntryType::Link => link(&entry, &path, destination)?,
            tar::EntryType::Directory => {
                fs::create_dir_all(&path)?;
                // What is in it comes later, and may be more than its owner may add then.
                fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o700))?;
                modes.push((path, mode));
            }
            _ => {
                entry.set_preserve_permissions(false);
                entry.set_preserve_mtime(true);
                entry.unpack(&path)?;
                if kind.is_file() {
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
                }
            }
        }
    }
    for (path, mode) in modes.into_iter().rev() {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(kept)
}

fn leads_outside() -> io::Error {
    io::Error::other("the engine sent a path that leads outside")
}

/// No entry of a directory that was walked is below a link: what claims to be leads somewhere else.
fn check_parents(path: &Path, destination: &Path) -> io::Result<()> {
    let below = path.ancestors().skip(1);
    for parent in below.take_while(|parent| parent.starts_with(destination)) {
        match fs::symlink_metadata(parent) {
            Ok(found) if found.is_symlink() && parent != destination => return Err(leads_outside()),
            _ => {}
        }
    }
    Ok(())
}

/// Hard links name their first path within the archive.
fn link<R: Read>(entry: &tar::Entry<'_, R>, path: &Path, destination: &Path) -> io::Result<()> {
    let target = entry
        .link_name()?
        .and_then(|name| below(&name, destination));
    let Some(target) = target else {
        return Err(leads_outside());
    };
    check_parents(&target, destination)?;
    fs::hard_link(target, path)
}

/// Where an entry goes: without its first name, below the destination.
fn below(path: &Path, destination: &Path) -> Option<PathBuf> {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    parts.next()?;
    let mut target = destination.to_owned();
    for part in parts {
        match part {
            Component::Normal(name) => target.push(name),
            _ => return None,
        }
    }
    Some(target)
}

/// Removes what is in the way of an entry: nothing is written through a link, and no file becomes a directory.
fn make_way(path: &Path, kind: tar::EntryType) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() && kind.is_dir() => Ok(()),
        Ok(found) if found.is_dir() => remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_others(directory: &Path, kept: &HashSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let is_directory = entry.file_type()?.is_dir();
        if kept.contains(&path) {
            if is_directory {
                remove_others(&path, kept)?;
            }
        } else if is_directory {
            remove_tree(&path)?;
        } else if is_copied(entry.file_type()?) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes a directory with all that is in it, also where its own permissions are against it.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(&directory)?.flatten() {
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(directory)
}

/// Whether a kind of file is copied at all: what never went in did not go away in there.
fn is_copied(kind: fs::FileType) -> bool {
    kind.is_file() || kind.is_symlink()
}

/// Writes into a channel, from a thread that may wait.
struct ToChunks(mpsc::Sender<Bytes>);

impl Write for ToChunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Bytes::copy_from_slice(bytes))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads from a channel, in a thread that may wait.
struct FromChunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for FromChunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.rest = chunk?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}
