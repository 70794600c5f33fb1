//! Trees of files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// All files below a directory, relative, sorted. Symlinks count as files.
pub(crate) fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(root, "", &mut found);
    found.sort();
    found
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &format!("{path}/"), found);
        } else {
            found.push(path);
        }
    }
}

/// Copies a tree with its permissions and symlinks, without the entries of its top that are left out.
pub(crate) fn copy(from: &Path, to: &Path, without: &[&str]) {
    for entry in fs::read_dir(from).expect("a tree can be read").flatten() {
        let name = entry.file_name();
        if without.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        let kind = entry.file_type().expect("an entry has a type");
        if kind.is_dir() {
            fs::create_dir_all(&target).expect("a directory can be made");
            copy(&source, &target, &[]);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source).expect("a link can be read"), &target)
                .expect("a link can be made");
        } else {
            fs::copy(&source, &target).expect("a file can be copied");
        }
    }
}
