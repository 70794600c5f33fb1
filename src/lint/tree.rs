//! The tree of files that a buildspec lies in.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crate::diagnostic::nearest;

/// A source tree, which is looked at and never changed.
#[derive(Clone, Debug)]
pub struct SourceTree {
    /// What `CODEBUILD_SRC_DIR` would be: the top of the repository, or the directory of the file.
    root: PathBuf,
    /// The directory of the file, which is below the top.
    own: PathBuf,
    /// What is the same for every file of the tree.
    listing: Arc<Listing>,
}

/// What is known of a tree, each part once somebody asks for it.
#[derive(Debug, Default)]
struct Listing {
    files: OnceLock<Vec<String>>,
    ignored: OnceLock<ignore::gitignore::Gitignore>,
    /// Names in directories, by their paths from the top.
    names: Mutex<HashMap<String, Arc<Vec<String>>>>,
}

/// Trees of many files, so that a tree with many buildspecs is looked through once.
#[derive(Debug, Default)]
pub struct SourceTrees(Mutex<Trees>);

#[derive(Debug, Default)]
struct Trees {
    /// By the directory of a file as it was given.
    of_directories: HashMap<PathBuf, SourceTree>,
    /// By the top of the tree.
    listings: HashMap<PathBuf, Arc<Listing>>,
}

impl SourceTrees {
    /// The tree that this file lies in, as [`SourceTree::around`] finds it.
    #[must_use]
    pub fn around(&self, file: &Path) -> SourceTree {
        let directory = file.parent().unwrap_or(file);
        let mut known = self
            .0
            .lock()
            .expect("invariant: nothing panics while it has the trees");
        if let Some(tree) = known.of_directories.get(directory) {
            return tree.clone();
        }
        let mut tree = SourceTree::around(file);
        let listing = known.listings.entry(tree.root.clone()).or_default();
        tree.listing = Arc::clone(listing);
        known
            .of_directories
            .insert(directory.to_owned(), tree.clone());
        tree
    }
}

/// Most entries of a tree that are looked at; a larger one is looked at in part.
const MAX_ENTRIES: usize = 20_000;

impl SourceTree {
    /// The tree that this file lies in: up to the next directory with `.git`, else its own directory.
    #[must_use]
    pub fn around(file: &Path) -> Self {
        let own = file.parent().unwrap_or(Path::new("."));
        let own = if own == Path::new("") {
            Path::new(".")
        } else {
            own
        };
        // A relative path says nothing of the directories above the one this program runs in.
        let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
        let root = own
            .ancestors()
            .find(|directory| directory.join(".git").exists())
            .unwrap_or(&own);
        Self {
            root: root.to_owned(),
            own,
            listing: Arc::default(),
        }
    }

    /// Where a path from the top leads, unless that is outside: what is there differs from machine to machine, and says
    /// nothing of the source.
    fn inside(&self, path: &str) -> Option<PathBuf> {
        let mut depth = 0_usize;
        for component in Path::new(path).components() {
            match component {
                Component::Normal(_) => depth += 1,
                Component::CurDir => {}
                Component::ParentDir => depth = depth.checked_sub(1)?,
                Component::RootDir | Component::Prefix(_) => return None,
            }
        }
        Some(self.root.join(path))
    }

    /// Whether it is a repository, so that what is not in it is not in the source either.
    #[must_use]
    pub fn is_repository(&self) -> bool {
        self.root.join(".git").exists()
    }

    /// A path from the top as it is found: from the top, or from a directory between it and the file, since a part of a
    /// repository may be the source of a project of its own. The path comes back as one from the top.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<String> {
        let between = self.own.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mut tops: Vec<&Path> = between.ancestors().collect();
        tops.reverse();
        tops.into_iter()
            .map(|top| top.join(path).to_string_lossy().into_owned())
            .find(|path| self.exists(path))
    }

    /// The names in a directory, sorted. They are read once: many files may ask for what is not in the same directory.
    #[must_use]
    pub fn names(&self, directory: &str) -> Arc<Vec<String>> {
        let mut known = self
            .listing
            .names
            .lock()
            .expect("invariant: nothing panics while it has the names");
        if let Some(names) = known.get(directory) {
            return Arc::clone(names);
        }
        let names = Arc::new(self.read_names(directory));
        known.insert(directory.to_owned(), Arc::clone(&names));
        names
    }

    fn read_names(&self, directory: &str) -> Vec<String> {
        let entries = self.inside(directory).map(fs::read_dir);
        let names = entries
            .into_iter()
            .flatten()
            .flatten()
            .flatten()
            .take(MAX_ENTRIES)
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The path in the same directory whose name is nearest to this one's, if one is near.
    #[must_use]
    pub fn nearest(&self, path: &str) -> Option<String> {
        let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
        let names = self.names(directory);
        let near = nearest(name, names.iter().map(String::as_str))?;
        let before = path.strip_suffix(name).unwrap_or_default();
        Some(format!("{before}{near}"))
    }

    /// Paths of its files that git does not ignore, sorted, as far as they are looked at.
    #[must_use]
    pub fn files(&self) -> &[String] {
        self.listing.files.get_or_init(|| self.list())
    }

    fn list(&self) -> Vec<String> {
        let walk = ignore::WalkBuilder::new(&self.root)
            .hidden(false)
            .require_git(false)
            .filter_entry(|entry| entry.file_name() != ".git")
            .build();
        let files = walk
            .take(MAX_ENTRIES)
            .flatten()
            .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
        let mut files: Vec<String> = files
            .filter_map(|entry| {
                let path = entry.path().strip_prefix(&self.root).ok()?;
                Some(path.to_string_lossy().into_owned())
            })
            .collect();
        files.sort();
        files
    }

    /// Whether git ignores a file of this path, going by the rules at the top: it is one that a build makes.
    #[must_use]
    pub fn is_ignored(&self, path: &str) -> bool {
        let rules = self.listing.ignored.get_or_init(|| {
            let (rules, _) = ignore::gitignore::Gitignore::new(self.root.join(".gitignore"));
            rules
        });
        rules
            .matched_path_or_any_parents(self.root.join(path), false)
            .is_ignore()
    }

    /// Its top.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this file lies directly at the top.
    #[must_use]
    pub fn has_at_top(&self, file: &Path) -> bool {
        let file = std::path::absolute(file);
        file.is_ok_and(|file| file.parent() == Some(&self.root))
    }

    /// Whether there is a file or directory at this path from the top. Of what is outside, nobody knows that it is not.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.inside(path).is_none_or(|path| path.exists())
    }

    /// Whether there is a file at this path.
    #[must_use]
    pub fn is_file(&self, path: &str) -> bool {
        self.inside(path).is_some_and(|path| path.is_file())
    }

    /// Whether there is a directory at this path.
    #[must_use]
    pub fn is_directory(&self, path: &str) -> bool {
        self.inside(path).is_some_and(|path| path.is_dir())
    }

    /// Whether a file may be run as a program.
    #[must_use]
    pub fn is_executable(&self, path: &str) -> bool {
        let data = self.inside(path).map(fs::metadata);
        data.is_some_and(|data| {
            data.is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
    }

    /// The first bytes of a file; nothing if it cannot be read.
    #[must_use]
    pub fn head(&self, path: &str, bytes: usize) -> Vec<u8> {
        use std::io::Read as _;
        let mut head = Vec::new();
        if let Some(Ok(file)) = self.inside(path).map(fs::File::open) {
            // What cannot be read says nothing about the buildspec.
            let _ = file.take(bytes as u64).read_to_end(&mut head);
        }
        head
    }
}
