//! The tree of files that a buildspec lies in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A source tree, which is looked at and never changed.
#[derive(Debug)]
pub struct SourceTree {
    /// What `CODEBUILD_SRC_DIR` would be: the top of the repository, or the directory of the file.
    root: PathBuf,
}

impl SourceTree {
    /// The tree that this file lies in: up to the next directory with `.git`, else its own directory.
    #[must_use]
    pub fn around(file: &Path) -> Self {
        let own = file.parent().unwrap_or(Path::new("."));
        let root = own
            .ancestors()
            .find(|directory| directory.join(".git").exists())
            .unwrap_or(own);
        Self {
            root: root.to_owned(),
        }
    }

    /// Its top.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether there is a file or directory at this path from the top.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Whether there is a file at this path.
    #[must_use]
    pub fn is_file(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }

    /// Whether there is a directory at this path.
    #[must_use]
    pub fn is_directory(&self, path: &str) -> bool {
        self.root.join(path).is_dir()
    }

    /// Whether a file may be run as a program.
    #[must_use]
    pub fn is_executable(&self, path: &str) -> bool {
        fs::metadata(self.root.join(path))
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    }

    /// The first bytes of a file; nothing if it cannot be read.
    #[must_use]
    pub fn head(&self, path: &str, bytes: usize) -> Vec<u8> {
        use std::io::Read as _;
        let mut head = Vec::new();
        if let Ok(file) = fs::File::open(self.root.join(path)) {
            // What cannot be read says nothing about the buildspec.
            let _ = file.take(bytes as u64).read_to_end(&mut head);
        }
        head
    }
}
