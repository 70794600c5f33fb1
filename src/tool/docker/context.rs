//! The context of a build as a TAR stream, made while it is sent.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tar::{EntryType, Header};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::ignore::{self, Ignore};
use crate::tool::front::Dockerfile;
use crate::tool::wire::CHUNK;

/// Pieces of a TAR stream that wait for the line.
const WAITING: usize = 4;

/// Longest Dockerfile that is read, in bytes.
const LONGEST_DOCKERFILE: u64 = 1024 * 1024;

/// What an image is built from.
#[derive(Debug)]
pub(in crate::tool) struct Context {
    /// The directory, where there is one.
    directory: Option<PathBuf>,
    ignore: Ignore,
    /// Text of the patterns that the engine gets; it takes the Dockerfile out again by them.
    ignore_text: Option<String>,
    dockerfile: Vec<u8>,
    name: String,
    /// Whether the Dockerfile is not in the directory and has to be added.
    is_added: bool,
}

impl Context {
    /// The context of a command in the directory `here`.
    pub(in crate::tool) fn find(
        here: &Path,
        context: &Path,
        dockerfile: &Dockerfile,
        input: Option<Vec<u8>>,
    ) -> io::Result<Self> {
        let directory = here.join(context);
        let directory = directory.canonicalize().map_err(|error| {
            about(
                &format!("could not use {} as the build context", context.display()),
                &error,
            )
        })?;
        if !directory.is_dir() {
            return Err(io::Error::other(format!(
                "could not use {} as the build context: it is not a directory",
                context.display()
            )));
        }
        let path = match dockerfile {
            Dockerfile::Usual => Some(usual(&directory)),
            Dockerfile::File(path) => Some(here.join(path)),
            Dockerfile::Input => None,
        };
        let text = match (&path, input) {
            (_, Some(text)) => text,
            (Some(path), None) => read_dockerfile(path)?,
            (None, None) => Vec::new(),
        };
        let inside = path
            .as_deref()
            .and_then(|path| name_inside(path, &directory));
        let is_added = inside.is_none();
        let name =
            inside.unwrap_or_else(|| format!(".dockerfile.{}", uuid::Uuid::new_v4().simple()));
        let (ignore, ignore_text) = patterns(path.as_deref(), &directory, &name, is_added)?;
        Ok(Self {
            directory: Some(directory),
            ignore,
            ignore_text,
            dockerfile: text,
            name,
            is_added,
        })
    }

    /// A context that has nothing but this Dockerfile.
    pub(in crate::tool) fn only_dockerfile(text: Vec<u8>) -> io::Result<Self> {
        if text.is_empty() {
            return Err(io::Error::other(
                "nothing came on standard input: neither a Dockerfile nor a context",
            ));
        }
        Ok(Self {
            directory: None,
            ignore: Ignore::default(),
            ignore_text: None,
            dockerfile: text,
            name: "Dockerfile".to_owned(),
            is_added: true,
        })
    }

    /// The Dockerfile's name in the context.
    pub(in crate::tool) fn dockerfile_name(&self) -> &str {
        &self.name
    }

    /// What the Dockerfile says.
    pub(in crate::tool) fn dockerfile_text(&self) -> &[u8] {
        &self.dockerfile
    }

    /// Begins to make the TAR stream. It ends early if nobody takes it.
    pub(in crate::tool) fn archive(self) -> Archive {
        let (sender, chunks) = mpsc::channel(WAITING);
        let maker = tokio::task::spawn_blocking(move || {
            self.write(Pieces {
                sender,
                buffer: Vec::new(),
            })
        });
        Archive {
            chunks,
            maker: Some(maker),
        }
    }

    fn write(&self, pieces: Pieces) -> io::Result<()> {
        let mut tar = tar::Builder::new(pieces);
        if let Some(directory) = &self.directory {
            self.add_below(&mut tar, directory, "")?;
        }
        if let Some(text) = &self.ignore_text {
            add_text(&mut tar, ".dockerignore", text.as_bytes())?;
        }
        if self.is_added {
            add_text(&mut tar, &self.name, &self.dockerfile)?;
        }
        tar.into_inner()?.flush()
    }

    /// Adds what is in a directory, in the order of names.
    fn add_below(
        &self,
        tar: &mut tar::Builder<Pieces>,
        directory: &Path,
        prefix: &str,
    ) -> io::Result<()> {
        let unreadable =
            |error: io::Error| about(&format!("could not read {}", directory.display()), &error);
        let entries = fs::read_dir(directory).map_err(unreadable)?;
        let mut entries = entries
            .collect::<io::Result<Vec<fs::DirEntry>>>()
            .map_err(unreadable)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let Some(name) = entry
                .file_name()
                .to_str()
                .map(|name| format!("{prefix}{name}"))
            else {
                return Err(io::Error::other(format!(
                    "could not pack {}: its name is not UTF-8",
                    path.display()
                )));
            };
            let metadata = fs::symlink_metadata(&path);
            let metadata = metadata
                .map_err(|error| about(&format!("could not read {}", path.display()), &error))?;
            let is_excluded = self.ignore.excludes(&name);
            let is_replaced = name == ".dockerignore" && self.ignore_text.is_some();
            if !is_excluded && !is_replaced {
                add(tar, &path, &name, &metadata)?;
            }
            if metadata.is_dir() && (!is_excluded || self.ignore.may_keep_below(&name)) {
                self.add_below(tar, &path, &format!("{name}/"))?;
            }
        }
        Ok(())
    }
}

/// `Dockerfile`, or `dockerfile` where there is only that.
fn usual(directory: &Path) -> PathBuf {
    let [usual, other] = ["Dockerfile", "dockerfile"].map(|name| directory.join(name));
    if !usual.exists() && other.exists() {
        other
    } else {
        usual
    }
}

fn read_dockerfile(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let opened = File::open(path);
    let read = opened.and_then(|file| file.take(LONGEST_DOCKERFILE + 1).read_to_end(&mut text));
    read.map_err(|error| {
        about(
            &format!("could not read the Dockerfile {}", path.display()),
            &error,
        )
    })?;
    if text.len() as u64 > LONGEST_DOCKERFILE {
        let reason = format!(
            "the Dockerfile {} is longer than {LONGEST_DOCKERFILE} bytes",
            path.display()
        );
        return Err(io::Error::other(reason));
    }
    Ok(text)
}

/// The name of a file in a directory, links resolved.
fn name_inside(path: &Path, directory: &Path) -> Option<String> {
    // The link itself may be in the context and lead out of it; the engine would find nothing behind it.
    let real = path.canonicalize().ok()?;
    real.strip_prefix(directory)
        .ok()?
        .to_str()
        .map(str::to_owned)
}

/// The patterns that hold here, and their text for the engine if it has to be another than the file's.
fn patterns(
    dockerfile: Option<&Path>,
    directory: &Path,
    name: &str,
    is_added: bool,
) -> io::Result<(Ignore, Option<String>)> {
    let file = ignore::file_of(dockerfile, directory);
    let text = match &file {
        Some(path) => fs::read_to_string(path)
            .map_err(|error| about(&format!("could not read {}", path.display()), &error))?,
        None => String::new(),
    };
    let mut ignore = Ignore::parse(&text).map_err(io::Error::other)?;
    // The engine needs both, and takes them out again by the patterns it finds.
    for kept in [".dockerignore", name] {
        if ignore.excludes(kept) {
            ignore.add(&format!("!{kept}")).map_err(io::Error::other)?;
        }
    }
    let is_usual = file.is_none_or(|file| file == directory.join(".dockerignore"));
    let for_engine = match (is_added, is_usual) {
        (false, true) => None,
        (false, false) => Some(text),
        (true, _) => Some(format!("{text}\n.dockerignore\n{name}\n")),
    };
    Ok((ignore, for_engine))
}

/// Adds one file, directory or link. Owners are root, as everybody's are in a context.
fn add(
    tar: &mut tar::Builder<Pieces>,
    path: &Path,
    name: &str,
    metadata: &Metadata,
) -> io::Result<()> {
    let failed = |error: io::Error| about(&format!("could not pack {}", path.display()), &error);
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    let kind = metadata.file_type();
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        tar.append_data(&mut header, format!("{name}/"), io::empty())
            .map_err(failed)
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        let target = fs::read_link(path).map_err(failed)?;
        tar.append_link(&mut header, name, target).map_err(failed)
    } else if kind.is_file() {
        let size = metadata.len();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        let file = File::open(path).map_err(failed)?;
        tar.append_data(&mut header, name, Exactly { file, left: size })
            .map_err(failed)
    } else if kind.is_fifo() {
        header.set_entry_type(EntryType::Fifo);
        tar.append_data(&mut header, name, io::empty())
            .map_err(failed)
    } else {
        // Sockets and devices mean something on this machine only.
        Ok(())
    }
}

fn add_text(tar: &mut tar::Builder<Pieces>, name: &str, text: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(text.len() as u64);
    tar.append_data(&mut header, name, text)
}

/// As many bytes of a file as were promised: what grows is cut, what shrinks is an error.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter while it was read",
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Where the TAR is written to: pieces on their way.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(content);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.buffer);
        if piece.is_empty() {
            return Ok(());
        }
        let sent = self.sender.blocking_send(Bytes::from(piece));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A TAR stream that is being made.
#[derive(Debug)]
pub(in crate::tool) struct Archive {
    chunks: mpsc::Receiver<Bytes>,
    maker: Option<JoinHandle<io::Result<()>>>,
}

impl Archive {
    /// The next piece; `None` only after all of it.
    pub(in crate::tool) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(chunk) = self.chunks.recv().await {
            return Ok(Some(chunk));
        }
        match self.maker.take() {
            Some(maker) => maker.await.map_err(io::Error::other)?.map(|()| None),
            None => Ok(None),
        }
    }
}

/// Whether this is how a TAR begins, or one that is compressed in a way that the engine knows.
pub(in crate::tool) fn is_archive(head: &[u8]) -> bool {
    let compressed: [&[u8]; 4] = [
        b"\x1f\x8b\x08",
        b"BZh",
        b"\xfd7zXZ\x00",
        b"\x28\xb5\x2f\xfd",
    ];
    compressed.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

fn about(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn names(context: Context) -> io::Result<Vec<String>> {
        let mut archive = context.archive();
        let mut bytes = Vec::new();
        while let Some(chunk) = archive.next().await? {
            bytes.extend(chunk);
        }
        let mut tar = tar::Archive::new(bytes.as_slice());
        let entries = tar.entries()?;
        entries
            .map(|entry| Ok(entry?.path()?.display().to_string()))
            .collect()
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory can be made");
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        }
        directory
    }

    // TOOL-7, TOOL-8
    #[tokio::test]
    async fn a_context_has_what_is_not_ignored() {
        let long = format!("src/{}/x", "n".repeat(120));
        let box_ = tree(&[
            ("Dockerfile", "FROM a"),
            (".dockerignore", "*\n!src\nsrc/not\n"),
            ("src/a", "1"),
            ("src/not", "2"),
            (&long, "3"),
            ("big", "4"),
        ]);
        let here = box_.path();
        std::os::unix::fs::symlink("a", here.join("src/link")).expect("a link");
        let context =
            Context::find(here, Path::new("."), &Dockerfile::Usual, None).expect("it is one");
        assert_eq!(context.dockerfile_name(), "Dockerfile");
        let long = long.as_str();
        let expected = [
            ".dockerignore",
            "Dockerfile",
            "src/",
            "src/a",
            "src/link",
            &long[..long.len() - 1],
            long,
        ];
        assert_eq!(names(context).await.expect("it can be packed"), expected);
    }

    // TOOL-7
    #[tokio::test]
    async fn a_dockerfile_from_elsewhere_comes_along() {
        let box_ = tree(&[
            ("docker/D", "FROM b"),
            ("app/x", ""),
            ("docker/D.dockerignore", "y"),
            ("app/y", ""),
        ]);
        for (dockerfile, input) in [
            (Dockerfile::File("docker/D".into()), None),
            (Dockerfile::Input, Some(b"FROM b".to_vec())),
        ] {
            let context = Context::find(box_.path(), Path::new("app"), &dockerfile, input)
                .expect("it is one");
            assert_eq!(context.dockerfile_text(), b"FROM b");
            let name = context.dockerfile_name().to_owned();
            assert!(name.starts_with(".dockerfile."), "{name}");
            let mut expected = vec!["x", "y", ".dockerignore", &name];
            if dockerfile != Dockerfile::Input {
                expected.remove(1);
            }
            assert_eq!(names(context).await.expect("it can be packed"), expected);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_packed_is_said() {
        let box_ = tree(&[("app/x", "")]);
        let find = |context: &str, file: Dockerfile| {
            Context::find(box_.path(), Path::new(context), &file, None)
        };
        let table = [
            (
                find("none", Dockerfile::Usual),
                "could not use none as the build context",
            ),
            (find("app/x", Dockerfile::Usual), "it is not a directory"),
            (
                find("app", Dockerfile::Usual),
                "could not read the Dockerfile",
            ),
        ];
        for (found, message) in table {
            let error = found.expect_err("it cannot be used").to_string();
            assert!(error.contains(message), "{error}");
        }
        fs::write(box_.path().join("app/Dockerfile"), "FROM a").expect("it can be written");
        fs::write(box_.path().join("app/.dockerignore"), "[x").expect("it can be written");
        let error = find("app", Dockerfile::Usual)
            .expect_err("no pattern")
            .to_string();
        assert!(error.contains("`[x` in .dockerignore"), "{error}");
    }

    #[test]
    fn archives_are_known_by_their_beginning() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(is_archive(&tar) && is_archive(b"\x1f\x8b\x08\x00"));
        assert!(!is_archive(b"FROM a\n") && !is_archive(b""));
    }
}
