//! Which files an artifact consists of, and under which paths (ART-3 to ART-7).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::glob::{self, Pattern, PatternError};
use super::walk::{Hidden, Oddity, Walk, WalkError};
use crate::event::{ArtifactSelected, DirectorySelection, Warning};
use crate::source::LineColumn;
use crate::view::{self, Mount};

/// What to select: an artifact of the plan with its texts expanded.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Identifier of the artifact; `None` for the primary one.
    pub identifier: Option<String>,
    /// `base-directory`, where it was given.
    pub base_directory: Option<OsString>,
    /// `files`, each with its place in the buildspec.
    pub files: Vec<(OsString, LineColumn)>,
    /// `exclude-paths`.
    pub exclude_paths: Vec<OsString>,
    /// Whether only file names are kept.
    pub discard_paths: bool,
    /// Whether symlinks stay symlinks.
    pub keep_symlinks: bool,
}

/// Where to select.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The source directory: absolute.
    pub source_directory: PathBuf,
    /// What is never selected: where artifacts and logs themselves go. Canonical paths of this machine.
    pub hidden: Vec<PathBuf>,
    /// Where directories are that commands see in another place. If there are any, nothing else of what commands see is
    /// here: what a container calls one thing must not be taken for what this machine calls so.
    pub mounts: Vec<Mount>,
}

impl Workspace {
    /// Where this program finds what commands see there. What is not here may be something else of this machine's under
    /// that name: [`Workspace::directory`] knows.
    #[must_use]
    pub fn outside(&self, path: &Path) -> PathBuf {
        if self.mounts.is_empty() {
            return path.to_owned();
        }
        let path = normalised(path);
        view::outside(&self.mounts, &path).unwrap_or(path)
    }

    /// Where this program finds a directory that commands see there, if it is one.
    fn directory(&self, path: &Path) -> Option<PathBuf> {
        view::real(&self.mounts, &self.outside(path)).filter(|directory| directory.is_dir())
    }

    /// Where this program finds the base directory of a pattern, if the pattern means the same here as for commands.
    fn plain_directory(&self, base: &Path, text: &OsStr) -> Option<PathBuf> {
        let directory = self.directory(base)?;
        if self.mounts.is_empty() {
            return Some(directory);
        }
        let start = literal_part(&base.join(text));
        let below = start.strip_prefix(normalised(base)).ok()?;
        let mut parts = below.ancestors().map(|part| directory.join(part));
        (!parts.any(|part| part != directory && part.is_symlink())).then_some(directory)
    }

    /// Opens a regular file for reading, a path of this program's.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        view::open(&self.mounts, path)
    }
}

/// Where the walks of a selection begin, as commands see it: a single file itself, where a pattern names one.
#[must_use]
pub fn starts(selection: &Selection, source_directory: &Path) -> Vec<PathBuf> {
    let base = selection.base_directory.as_deref().unwrap_or_default();
    let base = literal_part(&source_directory.join(base));
    let patterns = selection
        .files
        .iter()
        .map(|(text, _)| literal_part(&base.join(text)))
        .filter(|start| !start.starts_with(&base));
    let mut starts: Vec<PathBuf> = patterns.collect();
    starts.insert(0, base.clone());
    starts
}

/// A path up to its first segment with a wildcard, without `.` and `..`.
fn literal_part(path: &Path) -> PathBuf {
    let wild = |segment: &OsStr| {
        let bytes = segment.as_bytes();
        bytes.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
    };
    let literal: PathBuf = path
        .components()
        .take_while(|part| !wild(part.as_os_str()))
        .collect();
    normalised(&literal)
}

/// The files of an artifact, in the order in which they are stored.
///
/// Kept small: a tree may have hundreds of thousands of files, and their paths stand in one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    roots: Vec<Root>,
    paths: Vec<u8>,
    entries: Vec<Entry>,
    discard_paths: bool,
    /// Stored paths that are not UTF-8, by place in `entries`, as text that no other file has.
    written: BTreeMap<usize, String>,
    /// Where the files of a container are.
    mounts: Vec<Mount>,
}

/// Where a walk began, and what stands before the walked paths in the artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Root {
    directory: PathBuf,
    /// Empty, or with a slash at its end.
    prefix: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    length: u32,
    root: u32,
    symlink: bool,
}

/// One file of an artifact.
#[derive(Clone, Copy, Debug)]
pub struct ManifestFile<'m> {
    root: &'m Root,
    path: &'m [u8],
    discard_paths: bool,
    written: Option<&'m str>,
    mounts: &'m [Mount],
    /// Whether it is stored as a symlink.
    pub symlink: bool,
}

impl<'m> ManifestFile<'m> {
    /// What the file is called: links on the way to it may be a container's, and mean nothing here.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        self.root.directory.join(OsStr::from_bytes(self.path))
    }

    /// Opens the file for reading.
    pub fn open(&self) -> io::Result<File> {
        view::open(self.mounts, &self.source())
    }

    /// Where the file is, and whether links on the way are this machine's, to be followed. A file of a container has no
    /// links on its way, but may have one by the time it is opened.
    pub fn place(&self) -> io::Result<(PathBuf, bool)> {
        let place = view::real(self.mounts, &self.source()).ok_or(io::ErrorKind::NotFound)?;
        Ok((place, self.mounts.is_empty()))
    }

    /// What a symlink says that is stored as one.
    pub fn target(&self) -> io::Result<PathBuf> {
        let source = self.source();
        let (Some(parent), Some(name)) = (source.parent(), source.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let parent = view::real(self.mounts, parent).ok_or(io::ErrorKind::NotFound)?;
        std::fs::read_link(parent.join(name))
    }

    /// Its path in the artifact: relative, with `/`, never empty, without `.` and `..`. Where the path is not UTF-8, this
    /// is what is written in its place (ART-17); no two files have the same.
    #[must_use]
    pub fn stored(&self) -> Cow<'m, str> {
        if let Some(written) = self.written {
            return Cow::Borrowed(written);
        }
        match self.stored_bytes() {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The path in the artifact as it is, if it is not UTF-8.
    #[must_use]
    pub fn stored_raw(&self) -> Option<OsString> {
        self.written
            .map(|_| OsString::from_vec(self.stored_bytes().into_owned()))
    }

    fn stored_bytes(&self) -> Cow<'m, [u8]> {
        if self.discard_paths {
            let name = self.path.rsplit(|byte| *byte == b'/').next();
            return Cow::Borrowed(name.unwrap_or(self.path));
        }
        if self.root.prefix.is_empty() {
            return Cow::Borrowed(self.path);
        }
        Cow::Owned([&self.root.prefix[..], self.path].concat())
    }
}

impl Manifest {
    /// How many files there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The file at this place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<ManifestFile<'_>> {
        self.entries.get(index).map(|entry| self.file(index, entry))
    }

    /// All files, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ManifestFile<'_>> {
        let entries = self.entries.iter().enumerate();
        entries.map(|(index, entry)| self.file(index, entry))
    }

    /// The files whose paths are not UTF-8.
    #[must_use]
    pub fn not_text(&self) -> impl ExactSizeIterator<Item = ManifestFile<'_>> {
        let indexes = self.written.keys();
        indexes.map(|&index| self.file(index, &self.entries[index]))
    }

    /// Finds a text for every path that is not UTF-8: `%` and two digits for each byte that is no character, and more
    /// `%` behind it while another file has that path.
    fn write_paths(&mut self) {
        let raw: Vec<(usize, Vec<u8>)> = self
            .iter()
            .enumerate()
            .filter(|(_, file)| std::str::from_utf8(file.path).is_err() || !file.root.is_text())
            .map(|(index, file)| (index, file.stored_bytes().into_owned()))
            .filter(|(_, path)| std::str::from_utf8(path).is_err())
            .collect();
        if raw.is_empty() {
            return;
        }
        let mut taken: HashSet<Vec<u8>> = self
            .iter()
            .map(|file| file.stored_bytes().into_owned())
            .collect();
        for (index, path) in raw {
            let mut written = percent(&path);
            while !taken.insert(written.clone().into_bytes()) {
                written.push('%');
            }
            self.written.insert(index, written);
        }
    }

    fn file(&self, index: usize, entry: &Entry) -> ManifestFile<'_> {
        let path = &self.paths[entry.start as usize..(entry.start + entry.length) as usize];
        let root = &self.roots[entry.root as usize];
        ManifestFile {
            root,
            path,
            discard_paths: self.discard_paths,
            written: self.written.get(&index).map(String::as_str),
            mounts: &self.mounts,
            symlink: entry.symlink,
        }
    }

    fn push(&mut self, root: u32, path: &[u8], symlink: bool) {
        let start = bounded(self.paths.len());
        self.paths.extend_from_slice(path);
        self.entries.push(Entry {
            start,
            length: bounded(path.len()),
            root,
            symlink,
        });
    }
}

impl Root {
    fn is_text(&self) -> bool {
        std::str::from_utf8(&self.prefix).is_ok()
    }
}

fn percent(path: &[u8]) -> String {
    path.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

/// Offsets have 32 bits: 4 GiB of paths are more than any artifact has.
fn bounded(number: usize) -> u32 {
    u32::try_from(number).expect("invariant: an artifact has less than 4 GiB of paths")
}

/// Why nothing could be selected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No directory of that name.
    #[error("no matching base directory path found for {text}")]
    NoBaseDirectory {
        /// `base-directory` after expansion.
        text: String,
    },
    /// No pattern matched anything, or everything is excluded.
    #[error("no matching artifact paths found")]
    NothingMatched {
        /// What was matched and is excluded.
        excluded: Option<String>,
    },
    /// Somebody asked for the end.
    #[error("stopped")]
    Stopped,
    /// A pattern that cannot be used.
    #[error("the pattern `{pattern}` cannot be used: {reason}")]
    Pattern {
        /// The pattern after expansion.
        pattern: String,
        /// Why.
        reason: PatternError,
    },
    /// A directory that cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The result: what was selected, as far as it went, what there is to say about it, and why it failed if it did.
#[derive(Debug)]
pub struct Selected {
    /// For the log.
    pub summary: ArtifactSelected,
    /// The files, or why there are none.
    pub manifest: Result<Manifest, Error>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// Selects the files of one artifact, unless `stopped` says that nobody wants them any more.
#[must_use]
pub fn select(
    selection: &Selection,
    workspace: &Workspace,
    stopped: &dyn Fn() -> bool,
) -> Selected {
    let base = selection
        .base_directory
        .as_deref()
        .filter(|text| !text.is_empty())
        .unwrap_or(OsStr::new("."));
    let mut selector = Selector {
        selection,
        workspace,
        stopped,
        excluded: Vec::new(),
        summary: ArtifactSelected {
            identifier: selection.identifier.clone(),
            base_directory: base.to_string_lossy().into_owned(),
            directories: Vec::new(),
            files: 0,
        },
        warnings: Vec::new(),
        manifest: Manifest {
            discard_paths: selection.discard_paths,
            mounts: workspace.mounts.clone(),
            ..Manifest::default()
        },
    };
    let result = selector.run(base);
    selector.manifest.write_paths();
    let Selector {
        mut summary,
        warnings,
        manifest,
        ..
    } = selector;
    let manifest = result.map(|()| {
        summary.files = manifest.len();
        manifest
    });
    Selected {
        summary,
        manifest,
        warnings,
    }
}

/// Hands every file of the source that a pattern matches to `found`, as it is met, until `stopped`.
pub fn visit(
    workspace: &Workspace,
    pattern: &OsStr,
    stopped: &dyn Fn() -> bool,
    found: &mut dyn FnMut(&Path),
) {
    let place = LineColumn { line: 1, column: 1 };
    let wanted = Wanted::new(pattern, place, &workspace.source_directory);
    let Some(start) = workspace.directory(&wanted.start.directory) else {
        return;
    };
    let walk = Walk {
        patterns: &[wanted.alternatives],
        excludes: &[],
        hidden: &workspace.hidden,
        mounts: &workspace.mounts,
        keep_symlinks: false,
        stopped,
    };
    // Whoever looks for what may be there can do without what cannot be read.
    let _ = walk.run(&start, &mut |file| {
        found(&start.join(OsStr::from_bytes(file.path)));
    });
}

/// Hands every file that a pattern matches, seen from `directory`, to `found`: links are followed, and only files are handed
/// on. Unlike [`visit`], what cannot be read is an error.
pub fn find(
    directory: &Path,
    pattern: &OsStr,
    found: &mut dyn FnMut(PathBuf),
) -> Result<(), Error> {
    let place = LineColumn { line: 1, column: 1 };
    let wanted = Wanted::new(pattern, place, directory);
    let start = wanted.start.directory;
    if !start.is_dir() {
        return Ok(());
    }
    let walk = Walk {
        patterns: &[wanted.alternatives],
        excludes: &[],
        hidden: &[],
        mounts: &[],
        keep_symlinks: false,
        stopped: &|| false,
    };
    let walked = walk.run(&start, &mut |file| {
        found(start.join(OsStr::from_bytes(file.path)));
    });
    match walked {
        Ok(_) => Ok(()),
        Err(WalkError::Read { path, source }) => Err(Error::Read { path, source }),
        Err(WalkError::Stopped) => Err(Error::Stopped),
    }
}

struct Selector<'s> {
    selection: &'s Selection,
    workspace: &'s Workspace,
    stopped: &'s dyn Fn() -> bool,
    /// Patterns whose matches are excluded, with their number.
    excluded: Vec<String>,
    summary: ArtifactSelected,
    warnings: Vec<Warning>,
    manifest: Manifest,
}

impl Selector<'_> {
    fn run(&mut self, base: &OsStr) -> Result<(), Error> {
        let directories = expand_directories(self.workspace, base, self.stopped)?;
        if directories.is_empty() {
            return Err(Error::NoBaseDirectory {
                text: base.to_string_lossy().into_owned(),
            });
        }
        let several = directories.len() > 1;
        for (shown, directory) in directories {
            self.in_directory(&directory, shown)?;
        }
        if several || self.selection.discard_paths {
            self.resolve_collisions();
        }
        if self.manifest.is_empty() {
            let excluded = (!self.excluded.is_empty()).then(|| self.excluded.join(", "));
            return Err(Error::NothingMatched { excluded });
        }
        Ok(())
    }

    fn in_directory(&mut self, directory: &Path, shown: String) -> Result<(), Error> {
        let patterns = self
            .selection
            .files
            .iter()
            .map(|(text, place)| Wanted::new(text, *place, directory));
        let patterns: Vec<Wanted> = patterns.collect();
        let excludes = self.excludes(directory)?;
        let mut seen = Seen {
            counts: vec![0; patterns.len()],
            pruned: vec![false; patterns.len()],
            hidden: Vec::new(),
        };
        for (start, group) in group_by_start(&patterns) {
            self.walk(directory, &start, &group, &patterns, &excludes, &mut seen)?;
        }
        self.say_hidden(&seen);
        for (index, wanted) in patterns.iter().enumerate() {
            match (seen.counts[index], seen.pruned[index]) {
                (0, _) => self.explain_miss(index, wanted, directory, &seen)?,
                (count, pruned) => {
                    let least = if pruned { "at least " } else { "" };
                    let files = if count == 1 { "file" } else { "files" };
                    let text = format!("`{}` matched {least}{count} {files}", wanted.shown);
                    self.excluded.push(text);
                }
            }
        }
        let counts = seen.counts;
        let patterns = patterns
            .iter()
            .map(|wanted| wanted.shown.clone())
            .zip(counts)
            .collect();
        self.summary.directories.push(DirectorySelection {
            directory: shown,
            patterns,
        });
        Ok(())
    }

    /// Walks once for all patterns that begin in one directory, and keeps what they match in the order of the patterns.
    fn walk(
        &mut self,
        base: &Path,
        start: &Root,
        group: &[usize],
        patterns: &[Wanted],
        excludes: &[Pattern],
        seen: &mut Seen,
    ) -> Result<(), Error> {
        let Some(directory) = self.workspace.directory(&start.directory) else {
            return Ok(());
        };
        let alternatives: Vec<Vec<Pattern>> = group
            .iter()
            .map(|&index| patterns[index].alternatives.clone())
            .collect();
        // Excludes are relative to the base directory; elsewhere they mean nothing.
        let excludes = if start.directory == base {
            excludes
        } else {
            &[]
        };
        let walk = Walk {
            patterns: &alternatives,
            excludes,
            hidden: &self.workspace.hidden,
            mounts: &self.workspace.mounts,
            // A link without its path leads somewhere else.
            keep_symlinks: self.selection.keep_symlinks && !self.selection.discard_paths,
            stopped: self.stopped,
        };
        let root = bounded(self.manifest.roots.len());
        self.manifest.roots.push(Root {
            directory: directory.clone(),
            prefix: start.prefix.clone(),
        });
        let before = self.manifest.entries.len();
        let mut matched_by: Vec<u32> = Vec::new();
        let manifest = &mut self.manifest;
        let walked = walk.run(&directory, &mut |found| {
            manifest.push(root, found.path, found.symlink);
            matched_by.push(bounded(found.pattern));
        });
        let walked = walked.map_err(|error| match error {
            WalkError::Read { path, source } => Error::Read { path, source },
            WalkError::Stopped => Error::Stopped,
        })?;
        if group.len() > 1 {
            in_order_of_patterns(&mut self.manifest.entries[before..], &matched_by);
        }
        for (place, &index) in group.iter().enumerate() {
            seen.counts[index] = walked.counts[place];
            seen.pruned[index] = walked.pruned[place];
        }
        seen.hidden
            .extend(walked.hidden.into_iter().map(|mut hidden| {
                for place in hidden.patterns.iter_mut().chain(&mut hidden.named) {
                    *place = group[*place];
                }
                hidden
            }));
        self.warnings
            .extend(walked.oddities.iter().map(warning_about));
        Ok(())
    }

    fn excludes(&self, directory: &Path) -> Result<Vec<Pattern>, Error> {
        let mut excludes = Vec::new();
        for text in self
            .selection
            .exclude_paths
            .iter()
            .filter(|text| !text.is_empty())
        {
            let relative = Path::new(text)
                .strip_prefix(directory)
                .unwrap_or(Path::new(text));
            match glob::parse(relative.as_os_str().as_bytes()) {
                Ok(patterns) => excludes.extend(patterns),
                Err(PatternError::Empty) => {}
                Err(reason) => {
                    return Err(Error::Pattern {
                        pattern: text.to_string_lossy().into_owned(),
                        reason,
                    });
                }
            }
        }
        Ok(excludes)
    }

    /// Of several files with one stored path the last one counts (ART-6).
    fn resolve_collisions(&mut self) {
        let mut places: HashMap<Vec<u8>, usize> = HashMap::with_capacity(self.manifest.len());
        let mut kept = vec![true; self.manifest.len()];
        let mut lost: Vec<(String, String, String)> = Vec::new();
        for (index, file) in self.manifest.iter().enumerate() {
            if let Some(earlier) = places.insert(file.stored_bytes().into_owned(), index) {
                kept[earlier] = false;
                let first = self
                    .manifest
                    .file(earlier, &self.manifest.entries[earlier])
                    .source();
                let second = file.source();
                if first != second {
                    lost.push((
                        file.stored().into_owned(),
                        self.shown(&first),
                        self.shown(&second),
                    ));
                }
            }
        }
        let mut keep = kept.into_iter();
        self.manifest
            .entries
            .retain(|_| keep.next().unwrap_or(true));
        let more = lost.len().saturating_sub(MAX_COLLISIONS);
        for (stored, first, second) in lost.into_iter().take(MAX_COLLISIONS) {
            let message = format!(
                "`{first}` and `{second}` are both stored as `{stored}`: only the last one is kept"
            );
            self.warnings.push(Warning::new(message));
        }
        if more > 0 {
            self.warnings.push(Warning::new(format!(
                "{more} more files are lost to files of the same stored path"
            )));
        }
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(self.workspace.outside(&self.workspace.source_directory))
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// Says what a pattern names and does not get (ART-16). A pattern that gets nothing at all has its own words.
    fn say_hidden(&mut self, seen: &Seen) {
        for hidden in &seen.hidden {
            let gets_nothing = |&index: &usize| seen.counts[index] == 0;
            if !hidden.named.is_empty() && !hidden.named.iter().any(gets_nothing) {
                let message = self.about_hidden(hidden);
                self.warnings.push(Warning::new(message));
            }
        }
    }

    fn about_hidden(&self, hidden: &Hidden) -> String {
        let path = self.shown(&hidden.path);
        if hidden.path.is_dir() {
            format!("artifacts are stored in `{path}`: nothing in there is selected")
        } else {
            format!("this build writes to `{path}`: it is not selected")
        }
    }

    /// Says why a pattern matched nothing, and what it may have been meant to match (ART-9).
    fn explain_miss(
        &mut self,
        index: usize,
        wanted: &Wanted,
        directory: &Path,
        seen: &Seen,
    ) -> Result<(), Error> {
        if (self.stopped)() {
            return Err(Error::Stopped);
        }
        let message = format!("`{}` matched no file", wanted.shown);
        let mut warning = Warning::new(message).at(wanted.place);
        let named = |hidden: &&Hidden| hidden.named.contains(&index);
        let reached = |hidden: &&Hidden| hidden.patterns.contains(&index);
        let about = |hidden: &Hidden| self.about_hidden(hidden);
        warning.help = seen
            .hidden
            .iter()
            .find(named)
            .map(about)
            .or_else(|| {
                let base = self.workspace.plain_directory(directory, &wanted.text)?;
                super::miss::explain(&base, &wanted.text, &self.workspace.hidden)
            })
            .or_else(|| seen.hidden.iter().find(reached).map(about));
        self.warnings.push(warning);
        Ok(())
    }
}

/// What the walks of one base directory saw, by pattern.
struct Seen {
    counts: Vec<usize>,
    pruned: Vec<bool>,
    hidden: Vec<Hidden>,
}

/// Most lost files that are named one by one.
const MAX_COLLISIONS: usize = 10;

/// A pattern of `files`, ready to walk.
struct Wanted {
    /// After expansion.
    text: OsString,
    shown: String,
    place: LineColumn,
    start: Root,
    /// Empty for a text that can match nothing.
    alternatives: Vec<Pattern>,
}

impl Wanted {
    fn new(text: &OsStr, place: LineColumn, base: &Path) -> Self {
        let bytes = text.as_bytes();
        let outside = bytes.starts_with(b"/")
            || bytes
                .split(|byte| *byte == b'/')
                .any(|segment| segment == b"..");
        let (start, rest) = if outside {
            outside_start(bytes, base)
        } else {
            (inside_start(base), bytes.to_vec())
        };
        let alternatives = glob::parse(&rest).unwrap_or_default();
        Self {
            text: text.to_owned(),
            shown: text.to_string_lossy().into_owned(),
            place,
            start,
            alternatives,
        }
    }
}

fn inside_start(base: &Path) -> Root {
    Root {
        directory: base.to_owned(),
        prefix: Vec::new(),
    }
}

/// A pattern that is absolute or climbs with `..`: the part up to the last `..`, or up to the first wildcard, is where
/// the walk begins. Files inside the base directory are stored relative to it, as ever; others keep their path, without
/// the leading slash and without `..` (ART-5).
fn outside_start(text: &[u8], base: &Path) -> (Root, Vec<u8>) {
    let absolute = text.starts_with(b"/");
    let segments: Vec<&[u8]> = text
        .split(|byte| *byte == b'/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let wild = |segment: &&[u8]| {
        segment
            .iter()
            .any(|byte| matches!(byte, b'*' | b'?' | b'['))
    };
    let last_up = segments
        .iter()
        .rposition(|segment| *segment == b"..")
        .map_or(0, |at| at + 1);
    let first_wild = segments
        .iter()
        .position(wild)
        .unwrap_or(segments.len().saturating_sub(1));
    let cut = last_up
        .max(first_wild.min(segments.len().saturating_sub(1)))
        .min(segments.len());
    let literal = segments[..cut].join(&b'/');
    let literal = OsString::from_vec(if absolute {
        [b"/", &literal[..]].concat()
    } else {
        literal
    });
    let directory = base.join(&literal);
    let rest = segments[cut..].join(&b'/');
    let lexical = normalised(&directory);
    let stored = match lexical.strip_prefix(normalised(base)) {
        Ok(inside) => inside.to_owned(),
        Err(_) if absolute => lexical,
        Err(_) => normalised(Path::new(&literal)),
    };
    let stored = stored.as_os_str().as_bytes();
    let prefix = with_slash(stored.strip_prefix(b"/").unwrap_or(stored));
    (Root { directory, prefix }, rest)
}

/// A path without `.` and `..`, by its text alone; a `..` with nothing before it goes.
fn normalised(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                result.pop();
            }
            other => result.push(other),
        }
    }
    result
}

fn with_slash(path: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        Vec::new()
    } else {
        [path, b"/"].concat()
    }
}

/// Patterns that begin in one directory, together, in the order of the first of each.
fn group_by_start(patterns: &[Wanted]) -> Vec<(Root, Vec<usize>)> {
    let mut groups: Vec<(Root, Vec<usize>)> = Vec::new();
    for (index, wanted) in patterns
        .iter()
        .enumerate()
        .filter(|(_, wanted)| !wanted.alternatives.is_empty())
    {
        match groups.iter_mut().find(|(start, _)| *start == wanted.start) {
            Some((_, group)) => group.push(index),
            None => groups.push((wanted.start.clone(), vec![index])),
        }
    }
    groups
}

/// Sorts by the first pattern that matched, keeping the order of the walk within one pattern.
fn in_order_of_patterns(entries: &mut [Entry], matched_by: &[u32]) {
    let mut keyed: Vec<(u32, Entry)> = matched_by
        .iter()
        .copied()
        .zip(entries.iter().copied())
        .collect();
    keyed.sort_by_key(|(pattern, _)| *pattern);
    for (place, (_, entry)) in entries.iter_mut().zip(keyed) {
        *place = entry;
    }
}

fn warning_about(oddity: &Oddity) -> Warning {
    match oddity {
        Oddity::Dangling(path) => Warning::new(format!(
            "the symlink {} leads nowhere: it is not stored",
            path.display()
        )),
        Oddity::AlreadyWalked(path) => Warning::new(format!(
            "the symlink {} leads to a directory that is stored already: its files are not stored again",
            path.display()
        )),
        Oddity::Special(path) => Warning::new(format!(
            "{} is no regular file: it is not stored",
            path.display()
        )),
    }
}

/// The directories that `base-directory` stands for, as they are shown and as they are, in order (ART-2).
fn expand_directories(
    workspace: &Workspace,
    base: &OsStr,
    stopped: &dyn Fn() -> bool,
) -> Result<Vec<(String, PathBuf)>, Error> {
    let source = &workspace.source_directory;
    let text = base.as_bytes();
    let wild = text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
    if !wild {
        let directory: PathBuf = source.join(base).components().collect();
        let found = workspace
            .directory(&directory)
            .map(|_| (base.to_string_lossy().into_owned(), directory));
        return Ok(found.into_iter().collect());
    }
    let absolute = text.starts_with(b"/");
    let mut found = vec![if absolute {
        PathBuf::from("/")
    } else {
        source.to_owned()
    }];
    for segment in text
        .split(|byte| *byte == b'/')
        .filter(|segment| !segment.is_empty() && *segment != b".")
    {
        let mut next = Vec::new();
        for directory in &found {
            one_level(workspace, directory, segment, stopped, &mut next)?;
        }
        next.dedup();
        found = next;
    }
    let show = |path: &Path| {
        path.strip_prefix(source)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    Ok(found.into_iter().map(|path| (show(&path), path)).collect())
}

/// The directories below one directory that a segment stands for.
fn one_level(
    workspace: &Workspace,
    directory: &Path,
    segment: &[u8],
    stopped: &dyn Fn() -> bool,
    found: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    if stopped() {
        return Err(Error::Stopped);
    }
    let wild = segment
        .iter()
        .any(|byte| matches!(byte, b'*' | b'?' | b'['));
    if !wild {
        let below = directory.join(OsStr::from_bytes(segment));
        if workspace.directory(&below).is_some() {
            found.push(below);
        }
        return Ok(());
    }
    let any_depth = segment == b"**";
    if any_depth {
        found.push(directory.to_owned());
    }
    let pattern = glob::parse(segment).unwrap_or_default();
    let unreadable = |source| Error::Read {
        path: directory.to_owned(),
        source,
    };
    let mut names = Vec::new();
    let here = workspace.directory(directory);
    let here = here.unwrap_or_else(|| workspace.outside(directory));
    for entry in std::fs::read_dir(here).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name());
    }
    names.sort();
    for name in names {
        let below = directory.join(&name);
        let matches = any_depth
            || pattern
                .iter()
                .any(|pattern| pattern.accepts(pattern.start(), name.as_bytes()));
        if !matches || workspace.directory(&below).is_none() {
            continue;
        }
        if any_depth {
            if !workspace.outside(&below).is_symlink() {
                one_level(workspace, &below, segment, stopped, found)?;
            }
        } else {
            found.push(below);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PLACE: LineColumn = LineColumn { line: 1, column: 1 };

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for file in files {
            let path = tree.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        tree
    }

    fn workspace(tree: &tempfile::TempDir) -> Workspace {
        Workspace {
            source_directory: tree.path().to_owned(),
            hidden: Vec::new(),
            mounts: Vec::new(),
        }
    }

    fn selection(base: &str, files: &[&str]) -> Selection {
        Selection {
            identifier: None,
            base_directory: (!base.is_empty()).then(|| base.into()),
            files: files
                .iter()
                .map(|file| (OsString::from(file), PLACE))
                .collect(),
            exclude_paths: Vec::new(),
            discard_paths: false,
            keep_symlinks: false,
        }
    }

    fn stored(selected: &Selected) -> Vec<String> {
        let manifest = selected
            .manifest
            .as_ref()
            .unwrap_or_else(|error| panic!("{error}"));
        manifest
            .iter()
            .map(|file| file.stored().into_owned())
            .collect()
    }

    fn messages(selected: &Selected) -> Vec<&str> {
        selected
            .warnings
            .iter()
            .map(|warning| warning.message.as_str())
            .collect()
    }

    #[test]
    fn stored_paths_are_relative_to_the_base_directory() {
        let tree = tree(&[
            "out/linux/app",
            "out/linux/doc/readme.md",
            "out/mac/app",
            "notes.txt",
        ]);
        let table: [(&str, &[&str], bool, &[&str]); 9] = [
            ("", &["out/linux/*"], false, &["out/linux/app"]),
            ("out/linux", &["**/*"], false, &["app", "doc/readme.md"]),
            ("out/linux", &["*/readme.md"], false, &["doc/readme.md"]),
            ("./out/linux/", &["**/*"], false, &["app", "doc/readme.md"]),
            ("out/*", &["**/*"], false, &["doc/readme.md", "app"]),
            ("out/*", &["**/*"], true, &["readme.md", "app"]),
            ("", &["missing.txt", "notes.txt"], false, &["notes.txt"]),
            (
                "",
                &["notes.txt", "**/*.txt", "notes.txt"],
                false,
                &["notes.txt"],
            ),
            (
                "",
                &["out/mac/*", "notes.txt", "out/linux/app"],
                false,
                &["out/mac/app", "notes.txt", "out/linux/app"],
            ),
        ];
        for (base, files, discard_paths, expected) in table {
            let selection = Selection {
                discard_paths,
                ..selection(base, files)
            };
            let selected = select(&selection, &workspace(&tree), &|| false);
            assert_eq!(stored(&selected), expected, "{base} {files:?}");
            assert_eq!(selected.summary.files, expected.len());
        }
    }

    #[test]
    fn what_is_excluded_is_not_selected() {
        let tree = tree(&[
            "a.js",
            "a.map",
            ".env",
            "lib/b.js",
            "lib/b.map",
            "node_modules/x/y.js",
            ".git/config",
        ]);
        let exclude = ["**/*.map", "node_modules/**/*", "**/.*", "**/.*/**/*"]
            .map(OsString::from)
            .to_vec();
        let selection = Selection {
            exclude_paths: exclude,
            ..selection("", &["**/*"])
        };
        let selected = select(&selection, &workspace(&tree), &|| false);
        assert_eq!(stored(&selected), ["a.js", "lib/b.js"]);
    }

    #[test]
    fn paths_outside_the_base_directory_are_kept_without_dots() {
        let tree = tree(&["src/a", "other/b", "src/sub/c"]);
        let source = tree.path().join("src");
        let workspace = Workspace {
            source_directory: source.clone(),
            hidden: Vec::new(),
            mounts: Vec::new(),
        };
        let absolute = |rest: &str| format!("{}/{rest}", tree.path().display());
        let outside = absolute("other/b").trim_start_matches('/').to_owned();
        let table = [
            ("../other/*".to_owned(), "other/b".to_owned()),
            ("sub/../a".to_owned(), "a".to_owned()),
            (absolute("other/*"), outside.clone()),
            (absolute("src/../other/b"), outside),
            (absolute("src/sub/**/*"), "sub/c".to_owned()),
        ];
        for (pattern, expected) in table {
            let selected = select(&selection("", &[&pattern]), &workspace, &|| false);
            assert_eq!(stored(&selected), [expected], "{pattern}");
            let manifest = selected.manifest.unwrap();
            assert!(manifest.get(0).unwrap().source().is_file(), "{pattern}");
        }
    }

    #[test]
    fn the_last_of_equal_stored_paths_wins_and_the_loss_is_said() {
        let tree = tree(&["a/app", "b/app", "c/other"]);
        let selection = Selection {
            discard_paths: true,
            ..selection("", &["**/*"])
        };
        let selected = select(&selection, &workspace(&tree), &|| false);
        assert_eq!(stored(&selected), ["app", "other"]);
        let manifest = selected.manifest.as_ref().unwrap();
        assert!(manifest.get(0).unwrap().source().ends_with("b/app"));
        assert_eq!(
            messages(&selected),
            ["`a/app` and `b/app` are both stored as `app`: only the last one is kept"]
        );
    }

    #[test]
    fn symlinks_are_followed_kept_or_named() {
        let tree = tree(&["real/f", "d/x"]);
        let at = |name: &str| tree.path().join(name);
        symlink("real", at("link")).unwrap();
        symlink("real/f", at("f")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("..", at("d/up")).unwrap();
        symlink("../real", at("d/again")).unwrap();

        let followed = select(&selection("", &["**/*"]), &workspace(&tree), &|| false);
        assert_eq!(stored(&followed), ["d/again/f", "d/x", "f", "real/f"]);
        let said: Vec<_> = messages(&followed)
            .into_iter()
            .map(|m| m.replace(tree.path().to_str().unwrap(), ""))
            .collect();
        assert_eq!(
            said,
            [
                "the symlink /d/up leads to a directory that is stored already: its files are not stored again",
                "the symlink /dangling leads nowhere: it is not stored",
                "the symlink /link leads to a directory that is stored already: its files are not stored again",
            ]
        );

        let named = select(
            &selection("", &["link/*", "d/again/*"]),
            &workspace(&tree),
            &|| false,
        );
        assert_eq!(stored(&named), ["link/f", "d/again/f"]);

        symlink(tree.path().join("real/f"), at("d/absolute")).unwrap();
        symlink("../../elsewhere", at("d/outside")).unwrap();
        let kept = Selection {
            keep_symlinks: true,
            ..selection("", &["**/*"])
        };
        let kept = select(&kept, &workspace(&tree), &|| false);
        assert_eq!(
            stored(&kept),
            [
                "d/absolute",
                "d/again",
                "d/up",
                "d/x",
                "f",
                "link",
                "real/f"
            ]
        );
        let links: Vec<bool> = kept
            .manifest
            .as_ref()
            .unwrap()
            .iter()
            .map(|file| file.symlink)
            .collect();
        assert_eq!(links, [false, true, true, false, true, true, false]);
    }

    #[test]
    fn where_artifacts_go_is_never_selected() {
        let tree = tree(&["a", ".runner/artifacts/old", "build.log"]);
        let hidden = [".runner/artifacts", "build.log"];
        let hidden = hidden
            .map(|name| tree.path().join(name).canonicalize().unwrap())
            .to_vec();
        let workspace = Workspace {
            source_directory: tree.path().to_owned(),
            hidden,
            mounts: Vec::new(),
        };
        assert_eq!(
            stored(&select(&selection("", &["**/*"]), &workspace, &|| false)),
            ["a"]
        );
        assert_eq!(
            stored(&select(
                &selection(".", &["*", ".runner/**/*", "a"]),
                &workspace,
                &|| false
            )),
            ["a"]
        );
        for (pattern, said) in [
            ("*", None),
            ("**/*", None),
            (
                "*.log",
                Some("this build writes to `build.log`: it is not selected"),
            ),
            (
                ".runner/*/*",
                Some("artifacts are stored in `.runner/artifacts`: nothing in there is selected"),
            ),
        ] {
            let selected = select(&selection("", &[pattern]), &workspace, &|| false);
            let help = selected.warnings.first().and_then(|w| w.help.as_deref());
            assert_eq!(help, said, "{pattern}");
        }
    }

    /// CTR-72
    #[test]
    fn what_another_build_stages_is_never_selected() {
        let staged = format!(".runner-{}", "0123456789abcdef".repeat(2));
        let tree = tree(&[
            "a",
            ".runner-short/b",
            &format!("{staged}/c"),
            &format!("d/{staged}/e"),
        ]);
        for (patterns, expected) in [
            (&["**/*"][..], &[".runner-short/b", "a"][..]),
            (&[".runner-*/*"], &[".runner-short/b"]),
        ] {
            let workspace = Workspace {
                source_directory: tree.path().to_owned(),
                hidden: Vec::new(),
                mounts: Vec::new(),
            };
            let selected = select(&selection("", patterns), &workspace, &|| false);
            assert_eq!(stored(&selected), expected, "{patterns:?}");
            assert!(selected.warnings.is_empty(), "{patterns:?}");
        }
    }

    #[test]
    fn a_stop_ends_the_selection_wherever_it_is() {
        let tree = tree(&["a/1", "b/2", "c/3"]);
        for allowed in 0..3 {
            let asked = std::cell::Cell::new(0);
            let stopped = || asked.replace(asked.get() + 1) >= allowed;
            let selected = select(&selection("", &["**/*"]), &workspace(&tree), &stopped);
            assert!(
                matches!(selected.manifest, Err(Error::Stopped)),
                "{allowed}"
            );
            assert_eq!(asked.get(), allowed + 1);
        }
    }

    #[test]
    fn nothing_selected_is_an_error_that_says_what_was_near() {
        let tree = tree(&["dist/app.js", "build/lib.js", "Readme.md"]);
        let table = [
            (
                "",
                "dist",
                Some("`dist` is a directory: write `dist/**/*` for the files in it"),
            ),
            (
                "",
                "dist/",
                Some("`dist` is a directory: write `dist/**/*` for the files in it"),
            ),
            (
                "",
                "dits/app.js",
                Some("there is no directory `dits`; did you mean `dist`?"),
            ),
            ("", "lib.js", Some("there is `build/lib.js`")),
            ("", "readme.md", Some("did you mean `Readme.md`?")),
            ("", "*.js", Some("there is `build/lib.js`, `dist/app.js`")),
            (
                "",
                "",
                Some("nothing was left of it after variables were expanded"),
            ),
            ("", "zzz", None),
        ];
        for (base, pattern, help) in table {
            let selected = select(&selection(base, &[pattern]), &workspace(&tree), &|| false);
            assert!(
                matches!(selected.manifest, Err(Error::NothingMatched { .. })),
                "{pattern}"
            );
            assert_eq!(selected.warnings.len(), 1, "{pattern}");
            assert_eq!(selected.warnings[0].help.as_deref(), help, "{pattern}");
        }
        let selected = select(&selection("nope", &["*"]), &workspace(&tree), &|| false);
        let error = selected.manifest.unwrap_err().to_string();
        assert_eq!(error, "no matching base directory path found for nope");
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_an_error_and_not_a_gap() {
        let tree = tree(&["a/b"]);
        let walk = Walk {
            patterns: &[glob::parse(b"**/*").unwrap()],
            excludes: &[],
            hidden: &[],
            mounts: &[],
            keep_symlinks: false,
            stopped: &|| false,
        };
        let error = walk
            .run(&tree.path().join("gone"), &mut |_| {})
            .err()
            .unwrap();
        assert!(matches!(error, WalkError::Read { path, .. } if path.ends_with("gone")));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
        #[test]
        fn a_selection_is_a_part_of_the_tree_in_a_fixed_order(
            files in proptest::collection::btree_set("[ab](/[ab]{1,2}){0,3}", 1..12),
            patterns in proptest::collection::vec("(\\*\\*/)?[ab*]{1,2}(/[ab*]{1,2})?", 1..4),
        ) {
            // A name cannot be a file and a directory at once.
            let whole: Vec<&str> = files.iter().map(String::as_str)
                .filter(|file| !files.iter().any(|other| other.starts_with(&format!("{file}/")))).collect();
            let tree = tree(&whole);
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let first = select(&selection("", &patterns), &workspace(&tree), &|| false);
            let second = select(&selection("", &patterns), &workspace(&tree), &|| false);
            if let (Ok(a), Ok(b)) = (&first.manifest, &second.manifest) {
                let stored_a: Vec<_> = a.iter().map(|file| file.stored().into_owned()).collect();
                let stored_b: Vec<_> = b.iter().map(|file| file.stored().into_owned()).collect();
                proptest::prop_assert_eq!(&stored_a, &stored_b);
                let mut unique = stored_a.clone();
                unique.sort();
                unique.dedup();
                proptest::prop_assert_eq!(unique.len(), stored_a.len());
                for file in stored_a {
                    proptest::prop_assert!(whole.contains(&file.as_str()), "{}", file);
                }
            } else {
                proptest::prop_assert_eq!(first.manifest.is_err(), second.manifest.is_err());
            }
        }
    }
}
