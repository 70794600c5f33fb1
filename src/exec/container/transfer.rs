//! Files across the wall, as TAR streams: source into a container of an engine elsewhere, and back; and what a build left
//! outside of its source.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};

use super::session::{Container, SILENCE, silence};
use crate::engine;
use crate::exec::{Cancel, Error, Mount};

/// Chunks on their way; each has up to [`CHUNK`] bytes.
const CHUNKS: usize = 8;

/// Bytes of a chunk that is sent.
const CHUNK: usize = 256 * 1024;

/// Longest time for a source to get into a container. What moves is given all the time it needs; what does not is given
/// up after a silence.
const UPLOAD_LIMIT: Duration = Duration::from_hours(24);

/// Size of what an archive consists of, in bytes.
const BLOCK: u64 = 512;

/// What stands at the end of an archive, in bytes: two blocks of zeros.
const END_MARKER: u64 = 2 * BLOCK;

/// Under this name beside its own a file is until all of it has come.
const INCOMING: &str = ".runner-incoming";

/// Copies directories, and files of bytes, into a container that was not started yet or runs.
pub(super) async fn send(
    container: &Container,
    directories: Vec<Mount>,
    files: Vec<(PathBuf, PathBuf)>,
) -> Result<(), Error> {
    let (writer, chunks) = mpsc::channel(CHUNKS);
    let (progress, mut moved) = watch::channel(());
    let packing = tokio::task::spawn_blocking(move || pack(writer, directories, files));
    let stream = futures_util::stream::unfold((chunks, progress), |(mut chunks, progress)| async {
        let chunk: Bytes = chunks.recv().await?;
        progress.send_replace(());
        Some((chunk, (chunks, progress)))
    });
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    // The answer comes when everything is there, which may take as long as it moves.
    let api = container.engine.api().clone().with_timeout(UPLOAD_LIMIT);
    let sending =
        api.upload_to_container(&container.id, Some(options), bollard::body_stream(stream));
    let Some(sent) = while_it_moves(sending, &mut moved).await else {
        // Whoever packs sees that nobody takes anything any more.
        let doing = "copy the source into the container";
        return Err(Error::Engine(silent(doing.to_owned())));
    };
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

/// Waits for work for as long as something moves; `None` after a silence.
async fn while_it_moves<T>(
    work: impl Future<Output = T>,
    moved: &mut watch::Receiver<()>,
) -> Option<T> {
    tokio::pin!(work);
    let mut moving = true;
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            still = moved.changed(), if moving => moving = still.is_ok(),
            () = tokio::time::sleep(SILENCE) => return None,
        }
    }
}

fn silent(doing: String) -> engine::Error {
    engine::Error::Connection {
        doing,
        reason: "the engine is connected and says nothing any more".to_owned(),
    }
}

fn pack(
    chunks: mpsc::Sender<Bytes>,
    directories: Vec<Mount>,
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
    for Mount { inside, outside } in directories {
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
                if entry.file_name() == INCOMING {
                    // A build was killed while files came back.
                    let _ = fs::remove_file(entry.path());
                    continue;
                }
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

/// That the engine left something out, if it did: what the session inside saw before `arrived` was sent, and since.
pub(super) fn check_whole(
    outside: &Path,
    arrived: &HashSet<PathBuf>,
    before: &[PathBuf],
    after: &[PathBuf],
) -> io::Result<()> {
    let since: HashSet<&PathBuf> = after.iter().collect();
    let mut missing = left_out(outside, arrived, before).filter(|path| since.contains(path));
    match missing.next() {
        Some(path) => Err(io::Error::other(format!(
            "the engine left out {}, which is there in the container",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// What the session inside saw and did not come.
pub(super) fn left_out<'l>(
    outside: &Path,
    arrived: &HashSet<PathBuf>,
    listed: &'l [PathBuf],
) -> impl Iterator<Item = &'l PathBuf> {
    listed
        .iter()
        .filter(move |path| !arrived.contains(&outside.join(path)))
}

/// Removes what did not come from inside: `arrived` is what did, and is all there is in there.
pub(super) fn mirror(outside: &Path, arrived: &HashSet<PathBuf>) -> io::Result<()> {
    remove_others(outside, arrived)
}

/// Copies a file or a directory out of a container: new files come, changed ones change, none goes. Gives every path that
/// came; `None` if there is nothing inside.
pub(super) async fn fetch(
    container: &Container,
    inside: &Path,
    outside: &Path,
    cancel: &mut Cancel,
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
    let doing = || format!("copy {} out of the container", inside.display());
    loop {
        let error = tokio::select! {
            chunk = stream.next() => match chunk {
                Some(Ok(chunk)) => {
                    if to.send(Ok(chunk)).await.is_err() {
                        break;
                    }
                    continue;
                }
                Some(Err(error)) => engine::Error::api(doing(), error),
                None => break,
            },
            () = silence(cancel) => silent(doing()),
        };
        broken = Some(error);
        let _ = to.send(Err(io::Error::other("broken off"))).await;
        break;
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
    unpacked.map(Some).map_err(|error| Error::System {
        doing: "copy files out of the container",
        // What is at the bottom of it, such as a full disk, is said as well.
        source: io::Error::new(error.kind(), engine::chain(&error)),
    })
}

/// Unpacks an archive whose entries all begin with one name, which becomes `destination`. Gives every path there is now.
fn unpack(
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    destination: &Path,
) -> io::Result<HashSet<PathBuf>> {
    let mut archive = tar::Archive::new(FromChunks::new(chunks));
    let mut kept = HashSet::new();
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    let mut end = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        end = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK);
        let path = entry.path()?.into_owned();
        let Some(path) = below(&path, destination) else {
            return Err(leads_outside());
        };
        check_parents(&path, destination)?;
        kept.insert(path.clone());
        let unpacked = unpack_entry(&mut entry, &path, destination);
        let directory = unpacked.map_err(|error| {
            let reason = format!("{}: {}", path.display(), engine::chain(&error));
            io::Error::new(error.kind(), reason)
        })?;
        modes.extend(directory.map(|mode| (path, mode)));
    }
    for (path, mode) in modes.into_iter().rev() {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    archive.into_inner().expect_end(end)?;
    Ok(kept)
}

/// Makes what an entry says. Gives the mode of a directory, which it gets when everything is in it.
fn unpack_entry<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    path: &Path,
    destination: &Path,
) -> io::Result<Option<u32>> {
    let kind = entry.header().entry_type();
    // What is one file inside may be fetched into one; a directory is never replaced by something else.
    if path == destination && !kind.is_dir() && destination.is_dir() {
        return Err(io::Error::other(
            "the build has put something else in the place of its source directory",
        ));
    }
    // Pipes, sockets and devices are no content.
    if !(kind.is_dir() || kind.is_file() || kind.is_symlink() || kind.is_hard_link()) {
        return Ok(None);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if !kind.is_file() {
        make_way(path, kind)?;
    }
    let mode = entry.header().mode()? & 0o777;
    match kind {
        tar::EntryType::Link => link(entry, path, destination)?,
        tar::EntryType::Directory => {
            fs::create_dir_all(path)?;
            // What is in it comes later, and may be more than its owner may add then.
            fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o700))?;
            return Ok(Some(mode));
        }
        tar::EntryType::Symlink => drop(entry.unpack(path)?),
        _ => unpack_file(entry, path, mode)?,
    }
    Ok(None)
}

/// Puts a file in its place when all of it has come: what is cut off half-way leaves the one that was there.
fn unpack_file<R: Read>(entry: &mut tar::Entry<'_, R>, path: &Path, mode: u32) -> io::Result<()> {
    let incoming = path.with_file_name(INCOMING);
    entry.set_preserve_permissions(false);
    entry.set_preserve_mtime(true);
    let unpacked = entry.unpack(&incoming).and_then(|_| {
        fs::set_permissions(&incoming, fs::Permissions::from_mode(mode))?;
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
            remove_tree(path)?;
        }
        fs::rename(&incoming, path)
    });
    if unpacked.is_err() {
        let _ = fs::remove_file(&incoming);
    }
    unpacked
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
    /// How much was read.
    position: u64,
    /// How much was read when a byte other than zero was.
    content: u64,
}

impl FromChunks {
    fn new(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self {
            chunks,
            rest: Bytes::new(),
            position: 0,
            content: 0,
        }
    }

    /// Reads to the end, which has to be that of an archive whose last entry ended there: an engine that breaks off ends
    /// its answer as it ends one that is whole.
    fn expect_end(mut self, entries: u64) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        if self.content > entries || self.position < entries.saturating_add(END_MARKER) {
            return Err(io::Error::other(
                "the engine broke off in the middle of the files",
            ));
        }
        Ok(())
    }
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
        let read = self.rest.split_to(length);
        if let Some(last) = read.iter().rposition(|byte| *byte != 0) {
            self.content = self.position + last as u64 + 1;
        }
        self.position += read.len() as u64;
        buffer[..length].copy_from_slice(&read);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive as an engine sends one, and where its entries begin and end.
    fn archive() -> (Vec<u8>, Vec<usize>) {
        let mut archive = tar::Builder::new(Vec::new());
        let mut borders = vec![0];
        let files: [(&str, &[u8]); 4] = [
            ("src/changed", b"new"),
            ("src/zeros", &[0; 4096]),
            ("src/more/below", b"deep"),
            ("src/last", &[0; 1024]),
        ];
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        archive
            .append_data(&mut header, "src", io::empty())
            .unwrap();
        borders.push(archive.get_ref().len());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content).unwrap();
            borders.push(archive.get_ref().len());
        }
        (archive.into_inner().unwrap(), borders)
    }

    fn unpack_bytes(bytes: &[u8], destination: &Path) -> io::Result<HashSet<PathBuf>> {
        let (to, chunks) = mpsc::channel(bytes.len() / 100 + 1);
        for chunk in bytes.chunks(100) {
            to.try_send(Ok(Bytes::copy_from_slice(chunk))).unwrap();
        }
        drop(to);
        unpack(chunks, destination)
    }

    fn source() -> tempfile::TempDir {
        let source = tempfile::tempdir().unwrap();
        for name in ["changed", "last", "removed"] {
            fs::write(source.path().join(name), "old").unwrap();
        }
        source
    }

    /// CTR-13: wherever the stream is cut, at a border or not, that is an error, and no file is lost or half a file.
    #[test]
    fn a_stream_that_is_cut_is_no_archive() {
        let (whole, borders) = archive();
        let one_block = whole.len() - 512;
        let within = borders.iter().map(|border| border + 700);
        let cuts = borders.iter().copied().chain(within).chain([one_block]);
        for cut in cuts.filter(|cut| *cut < whole.len()) {
            let source = source();
            let read = |name: &str| fs::read(source.path().join(name)).unwrap();
            let error = unpack_bytes(&whole[..cut], source.path());
            assert!(error.is_err(), "cut at {cut} of {}", whole.len());
            assert_eq!(read("removed"), b"old", "cut at {cut}");
            assert!(
                [&b"old"[..], b"new"].contains(&&*read("changed")),
                "cut at {cut}"
            );
            assert!(
                [&b"old"[..], &[0; 1024]].contains(&&*read("last")),
                "cut at {cut}"
            );
            assert!(!source.path().join(INCOMING).exists(), "cut at {cut}");
        }
        let source = source();
        let arrived = unpack_bytes(&whole, source.path()).unwrap();
        assert_eq!(arrived.len(), 5);
        assert_eq!(fs::read(source.path().join("last")).unwrap(), [0; 1024]);
    }

    /// CTR-13: what the engine leaves out of an archive that is whole in itself is not taken for removed.
    #[test]
    fn only_what_is_gone_inside_too_goes() {
        let paths = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(PathBuf::from).collect() };
        let source = source();
        let arrived: HashSet<PathBuf> = ["changed"].map(|name| source.path().join(name)).into();
        let before = paths(&["changed", "last"]);
        let error = check_whole(source.path(), &arrived, &before, &before).unwrap_err();
        assert!(error.to_string().contains("left out last"), "{error}");
        assert!(source.path().join("removed").exists());
        // It went away in there while files were copied.
        check_whole(source.path(), &arrived, &before, &paths(&["changed"])).unwrap();
        mirror(source.path(), &arrived).unwrap();
        assert!(!source.path().join("removed").exists());
        assert!(!source.path().join("last").exists());
        assert!(source.path().join("changed").exists());
    }
}
