//! Files across the wall, as TAR streams: source into a container of an engine elsewhere, and back; and what a build left
//! outside of its source.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};

use super::facts::{Facts, Kind, Listing};
use super::session::{Container, SILENCE, silence};
use crate::engine;
use crate::exec::{Cancel, Error, Mount};
use crate::ownership::{self, remove_tree};

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

/// Copies directories, and files of bytes, into a container that was not started yet or runs. Gives what there was in each
/// of the directories.
pub(super) async fn send(
    container: &Container,
    directories: Vec<Mount>,
    files: Vec<(PathBuf, PathBuf)>,
) -> Result<Vec<Listing>, Error> {
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
) -> io::Result<Vec<Listing>> {
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
    let mut sent = Vec::new();
    for Mount { inside, outside } in directories {
        let inside = inside.strip_prefix("/").unwrap_or(&inside).to_owned();
        sent.push(append(&mut archive, &outside, &inside)?);
    }
    archive.into_inner()?.flush()?;
    Ok(sent)
}

/// Appends a tree, everything owned by root, and gives what was in it. Sockets and devices cannot be copied and are left
/// out, as `tar` does, and so is what builds stage here.
fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    outside: &Path,
    inside: &Path,
) -> io::Result<Listing> {
    let mut sent = Listing::new();
    // Files with several names, by device and inode.
    let mut names: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let (from, to) = (joined(outside, &path), joined(inside, &path));
        let Some(found) = there(fs::symlink_metadata(&from))? else {
            continue;
        };
        let Some(facts) = Facts::of(&found) else {
            continue;
        };
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&found);
        header.set_uid(0);
        header.set_gid(0);
        match facts.kind {
            Kind::Directory => {
                archive.append_data(&mut header, &to, io::empty())?;
                for entry in there(fs::read_dir(&from))?.into_iter().flatten() {
                    let name = entry?.file_name();
                    if ownership::is_hidden_name(&name) {
                        // A build stages files there, or was killed meanwhile (CTR-59).
                        ownership::sweep_hidden(&from);
                    } else {
                        pending.push(path.join(name));
                    }
                }
            }
            Kind::Link => {
                let Some(target) = there(fs::read_link(&from))? else {
                    continue;
                };
                header.set_size(0);
                archive.append_link(&mut header, &to, target)?;
            }
            Kind::File => {
                let id = (found.dev(), found.ino());
                if let Some(other) = names.get(&id) {
                    header.set_entry_type(tar::EntryType::Link);
                    header.set_size(0);
                    archive.append_link(&mut header, &to, other)?;
                } else {
                    let Some(file) = there(fs::File::open(&from))? else {
                        continue;
                    };
                    // A file that grows while it is read must not push what follows out of place.
                    let padded = file.take(facts.size).chain(io::repeat(0)).take(facts.size);
                    archive.append_data(&mut header, &to, padded)?;
                    if found.nlink() > 1 {
                        names.insert(id, to);
                    }
                }
            }
        }
        sent.insert(path, facts);
    }
    Ok(sent)
}

fn joined(top: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        top.to_owned()
    } else {
        top.join(path)
    }
}

/// What went away meanwhile is not there.
fn there<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was to come and did not: of that, what the engine left out though it was there all the time (an error), what is to
/// be asked for again, and nothing of what is gone.
pub(super) fn left_out<'l>(
    missing: impl Iterator<Item = &'l PathBuf>,
    before: &Listing,
    after: &Listing,
) -> io::Result<HashSet<PathBuf>> {
    let mut again = HashSet::new();
    for path in missing {
        let (Some(was), Some(is)) = (before.get(path), after.get(path)) else {
            continue;
        };
        if was.is_the_same(is) {
            return Err(io::Error::other(format!(
                "the engine left out {}, which is there in the container",
                path.display()
            )));
        }
        again.insert(path.clone());
    }
    Ok(again)
}

/// Copies a file or a directory out of a container, where nobody but this program has anything. Gives every path that came,
/// relative to it; `None` if there is nothing inside.
pub(super) async fn fetch(
    container: &Container,
    inside: &Path,
    outside: &Path,
    cancel: &mut Cancel,
) -> Result<Option<HashSet<PathBuf>>, Error> {
    let destination = outside.to_owned();
    let unpacking = move |chunks| unpack(chunks, &destination);
    let (unpacked, fetched) = read(container, inside, cancel, unpacking).await;
    if !fetched? {
        return Ok(None);
    }
    unpacked?.map(Some).map_err(not_copied)
}

/// That what came could not be copied. What is at the bottom of it, such as a full disk, is said as well.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what `map_err` is given"
)]
pub(super) fn not_copied(error: io::Error) -> Error {
    Error::System {
        doing: "copy files out of the container",
        source: io::Error::new(error.kind(), engine::chain(&error)),
    }
}

/// Reads the archive of a file or directory of a container with `work`. Gives what that gave, and whether there is such a
/// file; or why the engine did not send all of it.
pub(super) async fn read<T: Send + 'static>(
    container: &Container,
    inside: &Path,
    cancel: &mut Cancel,
    work: impl FnOnce(FromChunks) -> T + Send + 'static,
) -> (Result<T, Error>, Result<bool, Error>) {
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
    let working = tokio::task::spawn_blocking(move || work(FromChunks::new(chunks)));
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
    let worked = working
        .await
        .map_err(|error| not_copied(io::Error::other(error)));
    let fetched = match broken {
        Some(error) if error.status() == Some(404) => Ok(false),
        Some(error) => Err(Error::Engine(error)),
        None => Ok(true),
    };
    (worked, fetched)
}

/// Unpacks an archive whose entries all begin with one name, which becomes `destination`. Gives every path that came,
/// relative to it.
fn unpack(chunks: FromChunks, destination: &Path) -> io::Result<HashSet<PathBuf>> {
    let mut archive = tar::Archive::new(chunks);
    let mut kept = HashSet::new();
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    let mut end = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        end = entry_end(&entry);
        let path = entry.path()?.into_owned();
        let Some(path) = below(&path, destination) else {
            return Err(leads_outside());
        };
        check_parents(&path, destination)?;
        let relative = path.strip_prefix(destination).unwrap_or(&path);
        kept.insert(relative.to_owned());
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

/// Where an entry ends in its archive, in bytes.
pub(super) fn entry_end<R: Read>(entry: &tar::Entry<'_, R>) -> u64 {
    entry.raw_file_position() + entry.size().next_multiple_of(BLOCK)
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

fn unpack_file<R: Read>(entry: &mut tar::Entry<'_, R>, path: &Path, mode: u32) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        remove_tree(path)?;
    }
    entry.set_preserve_permissions(false);
    entry.set_preserve_mtime(true);
    let unpacked = entry
        .unpack(path)
        .and_then(|_| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    if unpacked.is_err() {
        let _ = fs::remove_file(path);
    }
    unpacked
}

pub(super) fn leads_outside() -> io::Error {
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
pub(super) fn below(path: &Path, destination: &Path) -> Option<PathBuf> {
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
pub(super) struct FromChunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
    /// How much was read.
    position: u64,
    /// How much was read when a byte other than zero was.
    content: u64,
}

impl FromChunks {
    pub(super) fn new(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self {
            chunks,
            rest: Bytes::new(),
            position: 0,
            content: 0,
        }
    }

    /// Reads to the end, which has to be that of an archive whose last entry ended there: an engine that breaks off ends
    /// its answer as it ends one that is whole.
    pub(super) fn expect_end(mut self, entries: u64) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        if self.content > entries || self.position < entries.saturating_add(END_MARKER) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
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
    use super::super::staging::Staging;
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

    fn chunks(bytes: &[u8]) -> FromChunks {
        let (to, chunks) = mpsc::channel(bytes.len() / 100 + 1);
        for chunk in bytes.chunks(100) {
            to.try_send(Ok(Bytes::copy_from_slice(chunk))).unwrap();
        }
        FromChunks::new(chunks)
    }

    /// CTR-13: wherever the stream is cut, at a border or not, that is an error, and nothing of the caller's is touched.
    #[test]
    fn a_stream_that_is_cut_is_no_archive() {
        let (whole, borders) = archive();
        let one_block = whole.len() - 512;
        let within = borders.iter().map(|border| border + 700);
        let cuts = borders.iter().copied().chain(within).chain([one_block]);
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("changed"), "old").unwrap();
        let staging = || Staging::new(source.clone(), place.path().to_owned());
        for cut in cuts.filter(|cut| *cut < whole.len()) {
            let error = staging().take(chunks(&whole[..cut])).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
            let elsewhere = place.path().join("elsewhere");
            assert!(unpack(chunks(&whole[..cut]), &elsewhere).is_err(), "{cut}");
            assert_eq!(fs::read(source.join("changed")).unwrap(), b"old");
            assert_eq!(fs::read_dir(&source).unwrap().count(), 1, "cut at {cut}");
        }
        let mut staging = staging();
        staging.take(chunks(&whole)).unwrap();
        assert_eq!(staging.order.len(), 4);
        let elsewhere = tempfile::tempdir().unwrap();
        let arrived = unpack(chunks(&whole), elsewhere.path()).unwrap();
        assert_eq!(arrived.len(), 5);
        assert_eq!(fs::read(elsewhere.path().join("last")).unwrap(), [0; 1024]);
    }

    /// CTR-13, CTR-62: what the engine leaves out of an archive that is whole in itself is not taken for removed; what
    /// somebody changed meanwhile is no fault of the engine's.
    #[test]
    fn what_was_there_all_the_time_has_to_come() {
        let source = tempfile::tempdir().unwrap();
        let facts = |name: &str| {
            let path = source.path().join(name);
            fs::write(&path, name).unwrap();
            Facts::of(&fs::symlink_metadata(path).unwrap()).unwrap()
        };
        let (here, new, old) = (facts("here"), facts("new"), facts("old"));
        let at = |name: &str, facts| (PathBuf::from(name), facts);
        let before = Listing::from([at("same", here), at("other", old), at("gone", here)]);
        let after = Listing::from([at("same", here), at("other", new)]);
        let missing = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let error = left_out(missing(&["same"]).iter(), &before, &after).unwrap_err();
        assert!(error.to_string().contains("left out same"), "{error}");
        let again = left_out(missing(&["other", "gone"]).iter(), &before, &after).unwrap();
        assert_eq!(again, HashSet::from(["other".into()]));
    }
}
