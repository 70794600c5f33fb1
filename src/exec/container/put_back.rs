//! What came back from a copy of the source is put into the caller's: what they changed meanwhile stays (CTR-56, CTR-57).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Timespec, Timestamps};

use super::facts::{Facts, Kind, Listing};
use super::owners;
use super::staging::{Arrived, Staging, What, has_real_parents, is_same, time};
use crate::directory::Directory;
use crate::ownership::{OwnedDirectory, remove_tree};

/// How long another build may take to put its files in their places.
const LOCK_LIMIT: Duration = Duration::from_mins(10);

/// Time between two looks at whether it has.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What is known of a source that is copied.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What the caller's files were when they were read, or when something was put in their place.
    pub(super) sent: Listing,
    /// What the copy was then.
    pub(super) inside: Listing,
    /// What was changed here and in the build: the build's is beside the caller's, under these paths.
    beside: HashMap<PathBuf, PathBuf>,
    /// What names end with of what is put beside.
    suffix: OsString,
    /// What a person should know, and was not told yet.
    notes: Vec<String>,
}

impl Known {
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    pub(super) fn new(sent: Listing, build: &str) -> Self {
        let uuid = build.rsplit(':').next().unwrap_or(build);
        let short = uuid.get(..8).unwrap_or(uuid);
        Self {
            sent,
            suffix: format!(".from-build-{short}").into(),
            ..Self::default()
        }
    }

    /// Whether something of the build's is not where commands left it.
    pub(super) fn has_beside(&self) -> bool {
        !self.beside.is_empty()
    }

    /// Puts what came where it belongs, and removes what is `gone` in the build, if it still is what went in.
    pub(super) fn put_back(&mut self, staging: &mut Staging, gone: &[PathBuf]) -> io::Result<()> {
        if staging.order.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let source = staging.source.clone();
        let _lock = lock(&source, &mut self.notes)?;
        let mut putting = Putting {
            top: fs::symlink_metadata(&source)?,
            source,
            known: self,
            opened: Vec::new(),
        };
        let put = putting.put(staging, gone);
        putting.close();
        put
    }
}

/// Has the source for itself among builds that copy. Where a file system has no locks, nobody has.
fn lock(source: &Path, notes: &mut Vec<String>) -> io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let directory = rustix::fs::open(source, flags, Mode::empty())?;
    let began = Instant::now();
    let mut waited = false;
    loop {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if began.elapsed() < LOCK_LIMIT => waited = true,
            Err(Errno::WOULDBLOCK) => {
                let reason = format!(
                    "another build has been bringing files back to {} for {} minutes",
                    source.display(),
                    LOCK_LIMIT.as_secs() / 60
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            Err(Errno::INTR) => {}
            Err(_) => return Ok(None),
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    if waited && began.elapsed() >= Duration::from_secs(1) {
        notes.push(format!(
            "waited {} s for another build to bring its files back to {}",
            began.elapsed().as_secs(),
            source.display()
        ));
    }
    Ok(Some(directory))
}

struct Putting<'k> {
    source: PathBuf,
    top: Metadata,
    known: &'k mut Known,
    /// Directories, and the permissions that they get at the end.
    opened: Vec<(PathBuf, u32)>,
}

impl Putting<'_> {
    fn put(&mut self, staging: &mut Staging, gone: &[PathBuf]) -> io::Result<()> {
        self.remove(gone)?;
        let order = std::mem::take(&mut staging.order);
        for path in &order {
            let Some(arrived) = staging.arrived.remove(path) else {
                continue;
            };
            self.put_one(staging, &arrived).map_err(|error| {
                let path = self.source.join(path);
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    /// Gives directories their own permissions back.
    fn close(&mut self) {
        for (directory, mode) in std::mem::take(&mut self.opened).into_iter().rev() {
            let _ = fs::set_permissions(directory, Permissions::from_mode(mode));
        }
    }

    fn remove(&mut self, gone: &[PathBuf]) -> io::Result<()> {
        let mut gone: Vec<&PathBuf> = gone.iter().collect();
        // What is in a directory comes before it.
        gone.sort_unstable_by(|one, other| other.cmp(one));
        for path in gone {
            self.remove_one(path).map_err(|error| {
                let path = self.source.join(path);
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    fn remove_one(&mut self, path: &Path) -> io::Result<()> {
        let there = self.source.join(path);
        let Some(sent) = self.known.sent.get(path).copied() else {
            return Ok(());
        };
        if !has_real_parents(&self.source, path) {
            return Ok(());
        }
        let Some(found) = look(&there)? else {
            self.known.sent.remove(path);
            return Ok(());
        };
        if !Facts::of(&found).is_some_and(|found| found.is_as(&sent)) {
            self.known.notes.push(format!(
                "{} was changed here while the build ran, and removed in the build: it stays",
                there.display()
            ));
            return Ok(());
        }
        self.open(&there)?;
        let removed = if found.is_dir() {
            match fs::remove_dir(&there) {
                // Something is in it that is not the build's.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
                removed => removed,
            }
        } else {
            fs::remove_file(&there)
        };
        removed?;
        self.known.sent.remove(path);
        Ok(())
    }

    fn put_one(&mut self, staging: &mut Staging, arrived: &Arrived) -> io::Result<()> {
        let there = self.place(&arrived.path)?;
        let found = look(&there)?;
        match &arrived.what {
            What::Directory => self.put_directory(arrived, &there, found.as_ref()),
            What::SameFile => self.touch(arrived, &there, found.as_ref()),
            What::File(staged) => {
                if is_same(staged, &there)? {
                    return self.touch(arrived, &there, found.as_ref());
                }
                fs::set_permissions(staged, Permissions::from_mode(arrived.mode))?;
                set_time(staged, arrived.modified)?;
                self.move_in(arrived, staged, &there, found.as_ref())
            }
            What::Link(target) => {
                let is_there = found.as_ref().is_some_and(Metadata::is_symlink);
                if is_there && fs::read_link(&there)? == *target {
                    return Ok(());
                }
                let staged = staging.next_name()?;
                std::os::unix::fs::symlink(target, &staged)?;
                set_time(&staged, arrived.modified)?;
                self.move_in(arrived, &staged, &there, found.as_ref())
            }
            What::HardLink(target) => {
                let target = self.place(target)?;
                let of_target = fs::symlink_metadata(&target)?;
                let id = |found: &Metadata| (found.dev(), found.ino());
                if found
                    .as_ref()
                    .is_some_and(|found| id(found) == id(&of_target))
                {
                    return Ok(());
                }
                let staged = staging.next_name()?;
                fs::hard_link(&target, &staged)?;
                if !self.is_as_sent(&arrived.path, found.as_ref()) && is_same(&staged, &there)? {
                    return Ok(());
                }
                self.move_in(arrived, &staged, &there, found.as_ref())
            }
        }
    }

    /// Where a path of the build's is here, in a directory that is there and can be written to.
    fn place(&mut self, path: &Path) -> io::Result<PathBuf> {
        let mut there = self.source.clone();
        let mut inside = PathBuf::new();
        let names: Vec<_> = path.components().collect();
        for (number, name) in names.iter().enumerate() {
            inside.push(name);
            match self.known.beside.get(&inside) {
                Some(beside) => there.clone_from(beside),
                None => there.push(name),
            }
            if number + 1 == names.len() {
                break;
            }
            match look(&there)? {
                Some(found) if found.is_dir() => {}
                // Somebody removed it here, and it has something new in the build.
                None => self.make_directory(&there, 0o755)?,
                Some(_) => {
                    there = self.beside(&inside, &there);
                    self.make_directory(&there, 0o755)?;
                }
            }
        }
        self.open(&there)?;
        Ok(there)
    }

    /// Lets something be put into the directory of a path, or be taken away.
    fn open(&mut self, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(path);
        let mode = fs::symlink_metadata(parent)?.mode() & 0o7777;
        if mode & 0o300 == 0o300 || rustix::process::geteuid().is_root() {
            return Ok(());
        }
        fs::set_permissions(parent, Permissions::from_mode(mode | 0o700))?;
        self.opened.push((parent.to_owned(), mode));
        Ok(())
    }

    /// Whether what is there is what went in, or was put there.
    fn is_as_sent(&self, path: &Path, found: Option<&Metadata>) -> bool {
        match (found, self.known.sent.get(path)) {
            (None, _) => true,
            (Some(found), Some(sent)) => Facts::of(found).is_some_and(|found| found.is_as(sent)),
            (Some(_), None) => false,
        }
    }

    /// Another place for what cannot be where it belongs: what is there is the caller's.
    fn beside(&mut self, path: &Path, there: &Path) -> PathBuf {
        let mut name = there.file_name().unwrap_or_default().to_owned();
        name.push(&self.known.suffix);
        let beside = there.with_file_name(name);
        self.known.notes.push(format!(
            "{} was changed here while the build ran, and in the build too: yours stays, the build's is {}",
            there.display(),
            beside.display()
        ));
        self.known.beside.insert(path.to_owned(), beside.clone());
        beside
    }

    fn make_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            done => done?,
        }
        let found = fs::symlink_metadata(path)?;
        self.own(path, path, None)?;
        let special = found.mode() & 0o7000;
        fs::set_permissions(path, Permissions::from_mode(special | mode | 0o700))
    }

    fn put_directory(
        &mut self,
        arrived: &Arrived,
        there: &Path,
        found: Option<&Metadata>,
    ) -> io::Result<()> {
        let before = self.known.inside.get(&arrived.path).copied();
        match found {
            Some(found) if found.is_dir() => {
                let before = before.filter(|before| before.kind == Kind::Directory);
                let was = before.map_or(found.mode(), |before| before.mode) & 0o777;
                if was != arrived.mode {
                    let mode = found.mode() & 0o7000 | arrived.mode;
                    self.opened.push((there.to_owned(), mode));
                }
                return Ok(());
            }
            None => {
                self.make_directory(there, arrived.mode)?;
                self.finish_directory(arrived, there)?;
            }
            Some(_) if self.is_as_sent(&arrived.path, found) => {
                fs::remove_file(there)?;
                self.make_directory(there, arrived.mode)?;
                self.finish_directory(arrived, there)?;
            }
            Some(_) => {
                let beside = self.beside(&arrived.path, there);
                return self.make_directory(&beside, arrived.mode);
            }
        }
        self.remember(&arrived.path, there);
        Ok(())
    }

    /// What is in it comes later, and may be more than its owner may add then.
    fn finish_directory(&mut self, arrived: &Arrived, there: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(there)?;
        // It was root's in the build and changes hands (CTR-64).
        let all = if found.uid() == 0 { 0 } else { 0o700 };
        let mode = found.mode() & 0o7000 | arrived.mode | all;
        self.opened.push((there.to_owned(), mode));
        Ok(())
    }

    /// Gives a file that has the build's content what the build changed besides.
    fn touch(
        &mut self,
        arrived: &Arrived,
        there: &Path,
        found: Option<&Metadata>,
    ) -> io::Result<()> {
        let Some(found) = found else {
            // It is as it was sent, and gone here: whoever removed it meanwhile meant it. It is said all the same (CTR-62).
            self.known.notes.push(format!(
                "{} was removed here while it came back, and stays so",
                arrived.path.display()
            ));
            return Ok(());
        };
        if !self.is_as_sent(&arrived.path, Some(found)) {
            return Ok(());
        }
        let Some(before) = self.known.inside.get(&arrived.path).copied() else {
            return Ok(());
        };
        // An archive has whole seconds, unless the session inside has said more.
        let is_exact = arrived.modified.1 != 0;
        let is_touched = before.modified.0 != arrived.modified.0
            || (is_exact && before.modified.1 != arrived.modified.1);
        if is_touched {
            set_time(there, arrived.modified)?;
        }
        if before.mode & 0o777 != arrived.mode {
            let mode = found.mode() & 0o7000 | arrived.mode;
            fs::set_permissions(there, Permissions::from_mode(mode))?;
        }
        self.remember(&arrived.path, there);
        Ok(())
    }

    /// Puts what is staged in its place, as a whole, or beside what the caller has there.
    fn move_in(
        &mut self,
        arrived: &Arrived,
        staged: &Path,
        there: &Path,
        found: Option<&Metadata>,
    ) -> io::Result<()> {
        let may_go = self.is_as_sent(&arrived.path, found);
        // What is not empty has something of the caller's.
        let may_go = may_go
            && match found {
                Some(found) if found.is_dir() => fs::remove_dir(there).is_ok(),
                _ => true,
            };
        let is_beside = self.known.beside.contains_key(&arrived.path);
        if may_go || is_beside {
            self.own(staged, there, found)?;
            rename(staged, there)?;
            if !is_beside {
                self.remember(&arrived.path, there);
            }
            return Ok(());
        }
        let beside = self.beside(&arrived.path, there);
        self.own(staged, &beside, None)?;
        rename(staged, &beside)
    }

    fn remember(&mut self, path: &Path, there: &Path) {
        let facts = fs::symlink_metadata(there).ok();
        if let Some(facts) = facts.as_ref().and_then(Facts::of) {
            self.known.sent.insert(path.to_owned(), facts);
        }
    }

    /// Gives what is staged to whoever what it replaces belongs to; what is new, to whoever calls, or, where that is root,
    /// to whoever has the source (CTR-63).
    fn own(&self, staged: &Path, there: &Path, replaced: Option<&Metadata>) -> io::Result<()> {
        let is_root = rustix::process::geteuid().is_root();
        let above = there.parent().unwrap_or(there);
        let inherited = replaced
            .map(MetadataExt::gid)
            .or_else(|| owners::group_in(above));
        if is_root {
            let user = replaced.map_or(self.top.uid(), MetadataExt::uid);
            let group = inherited.unwrap_or(self.top.gid());
            return lchown(staged, Some(user), Some(group));
        }
        let group = inherited.unwrap_or_else(|| rustix::process::getegid().as_raw());
        if fs::symlink_metadata(staged)?.gid() != group {
            // Nobody can give what they have to a group that they are not in.
            let _ = lchown(staged, None, Some(group));
        }
        Ok(())
    }
}

/// What is there, if anything is.
fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets when the content of a file or link was changed, and nothing behind a link.
fn set_time(path: &Path, modified: (i64, i64)) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_file()
        && let Ok(file) = File::open(path)
    {
        return file.set_times(FileTimes::new().set_modified(time(modified)));
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: modified.0,
            tv_nsec: modified.1,
        },
    };
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(
        rustix::fs::CWD,
        path,
        &times,
        nofollow,
    )?)
}

/// Renames, also onto another file system in the source.
fn rename(staged: &Path, there: &Path) -> io::Result<()> {
    match fs::rename(staged, there) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        renamed => return renamed,
    }
    let parent = Directory::open(&there.parent().unwrap_or(there).canonicalize()?)?;
    let room = OwnedDirectory::make_hidden_in(&parent)?;
    let copy = room.path().join("copy");
    let copied = copy_to(staged, &copy).and_then(|()| fs::rename(&copy, there));
    let _ = remove_tree(room.path());
    copied
}

fn copy_to(from: &Path, to: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    if found.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to)?;
    lchown(to, Some(found.uid()), Some(found.gid()))?;
    fs::set_permissions(to, Permissions::from_mode(found.mode() & 0o7777))?;
    set_time(to, (found.mtime(), found.mtime_nsec()))
}
