//! Whose the files of a mounted source are: before a build, and after it (CTR-4, CTR-63).

use std::collections::HashMap;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

/// What the owner of a directory may do with it once it changed hands: `rm -rf` has to work.
const ALL_OF_OWNER: u32 = 0o700;

/// What is made in a directory with this has its group.
const SET_GROUP: u32 = 0o2000;

/// The sources of a build, and whose what is in them was before it.
#[derive(Debug, Default)]
pub(super) struct Owners(Vec<Place>);

/// One source.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    /// Who gets what the build made: user and group.
    owner: (u32, u32),
    /// Root called this program: then what is made in the place of somebody's is theirs again.
    for_root: bool,
    /// What was not the owner's before the build. All else need not be remembered.
    others: HashMap<PathBuf, Whose>,
}

/// Whose a file was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Whose {
    inode: u64,
    ids: (u32, u32),
}

impl Whose {
    fn of(found: &Metadata) -> Self {
        Self {
            inode: found.ino(),
            ids: (found.uid(), found.gid()),
        }
    }
}

/// Who gets what a build makes in a source: whoever called, or, where that is root or users in here are others than
/// outside, whoever has the source directory.
pub(super) fn owner_of(directory: &Path, caller: (u32, u32), maps_users: bool) -> (u32, u32) {
    match fs::symlink_metadata(directory) {
        Ok(top) if maps_users || caller.0 == 0 => (top.uid(), top.gid()),
        _ => caller,
    }
}

impl Owners {
    /// Looks at sources before the first command. `caller` is who called this program, as user and group.
    pub(super) fn of(
        directories: &[PathBuf],
        caller: (u32, u32),
        maps_users: bool,
    ) -> io::Result<Self> {
        let places = directories
            .iter()
            .map(|directory| Place::of(directory, caller, maps_users));
        places.collect::<io::Result<_>>().map(Self)
    }

    /// Gives what a build made to its owner, and what was somebody else's before back to them: as much as can be, also
    /// after something that cannot.
    pub(super) fn hand_over(&self) -> io::Result<()> {
        let handed = self.0.iter().map(Place::hand_over);
        handed.fold(Ok(()), io::Result::and)
    }
}

impl Place {
    fn of(directory: &Path, caller: (u32, u32), maps_users: bool) -> io::Result<Self> {
        let mut place = Self {
            directory: directory.to_owned(),
            owner: owner_of(directory, caller, maps_users),
            for_root: caller.0 == 0,
            others: HashMap::new(),
        };
        for_each_below(directory, |path, found| {
            let whose = Whose::of(found);
            if whose.ids != place.owner && !place.is_left_by_a_build(found) {
                place.others.insert(path.to_owned(), whose);
            }
            Ok(())
        })?;
        Ok(place)
    }

    /// Root's in the source of somebody else is what a build left that could not give it back.
    fn is_left_by_a_build(&self, found: &Metadata) -> bool {
        found.uid() == 0 && self.owner.0 != 0
    }

    fn hand_over(&self) -> io::Result<()> {
        // Directories that stay whose they are.
        let mut theirs: HashMap<PathBuf, u32> = HashMap::new();
        let mut failed = Ok(());
        let walked = for_each_below(&self.directory, |path, found| {
            let above = path.parent().unwrap_or(path);
            if self.stays(path, found, theirs.get(above).copied()) {
                if found.is_dir() {
                    theirs.insert(path.to_owned(), found.uid());
                }
                return Ok(());
            }
            let given = give(path, found, self.wanted(path, found, above));
            if failed.is_ok() {
                failed = given;
            }
            Ok(())
        });
        walked.and(failed)
    }

    /// Whether something stays whose it is: what was theirs before, and what they made themselves in a directory of theirs
    /// (`above`), as the user of another build does that goes on here.
    fn stays(&self, path: &Path, found: &Metadata, above: Option<u32>) -> bool {
        let is_as_before = self.others.get(path) == Some(&Whose::of(found));
        let is_in_theirs = above == Some(found.uid()) && found.uid() != self.owner.0;
        is_as_before || is_in_theirs
    }

    fn wanted(&self, path: &Path, found: &Metadata, above: &Path) -> (u32, u32) {
        match self.others.get(path) {
            Some(before) if before.inode == found.ino() && found.uid() == self.owner.0 => {
                // The build may give the caller what was another user's.
                (self.owner.0, before.ids.1)
            }
            Some(before) if before.inode == found.ino() || self.for_root => before.ids,
            _ => (self.owner.0, group_in(above).unwrap_or(self.owner.1)),
        }
    }
}

/// The group of what is made in a directory, if the directory says so.
pub(super) fn group_in(directory: &Path) -> Option<u32> {
    let found = fs::symlink_metadata(directory).ok()?;
    (found.mode() & SET_GROUP != 0).then(|| found.gid())
}

fn give(path: &Path, found: &Metadata, wanted: (u32, u32)) -> io::Result<()> {
    if (found.uid(), found.gid()) == wanted {
        return Ok(());
    }
    let given = lchown(path, Some(wanted.0), Some(wanted.1)).and_then(|()| {
        let mode = found.mode() & 0o7777;
        if found.is_dir() && found.uid() != wanted.0 && mode & ALL_OF_OWNER != ALL_OF_OWNER {
            fs::set_permissions(path, Permissions::from_mode(mode | ALL_OF_OWNER))?;
        }
        Ok(())
    });
    match given {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Does something with a directory and all below it, on the same file system: another one in the source is a volume of its
/// own. A directory comes before what is in it.
pub(super) fn for_each_below(
    directory: &Path,
    mut with: impl FnMut(&Path, &Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let top = fs::symlink_metadata(directory)?;
    let mut directories = vec![directory.to_owned()];
    with(directory, &top)?;
    while let Some(directory) = directories.pop() {
        // What goes away meanwhile needs no owner.
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(found) = fs::symlink_metadata(&path) else {
                continue;
            };
            with(&path, &found)?;
            if found.is_dir() && found.dev() == top.dev() {
                directories.push(path);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(path: &Path) -> (u32, u32) {
        Whose::of(&fs::symlink_metadata(path).unwrap()).ids
    }

    /// Only root can give files away: what is looked at is then a rule of nobody's.
    fn is_root() -> bool {
        rustix::process::getuid().is_root()
    }

    /// A source of user 7 and group 8 with these files of others.
    fn source(others: &[(&str, (u32, u32))]) -> tempfile::TempDir {
        let source = tempfile::tempdir().unwrap();
        lchown(source.path(), Some(7), Some(8)).unwrap();
        for (name, (user, group)) in others {
            let path = source.path().join(name);
            if name.ends_with('/') {
                fs::create_dir(&path).unwrap();
            } else {
                fs::write(&path, "before").unwrap();
            }
            lchown(&path, Some(*user), Some(*group)).unwrap();
        }
        source
    }

    // CTR-4, CTR-63
    #[test]
    fn what_was_somebodys_stays_theirs_and_what_is_made_is_the_owners() {
        if !is_root() {
            return;
        }
        let before = [("mine", (7, 8)), ("theirs", (9, 10)), ("group", (7, 11))];
        for caller in [(7, 8), (0, 0)] {
            let source = source(&before);
            let at = |name: &str| source.path().join(name);
            let owners = Owners::of(&[source.path().to_owned()], caller, false).unwrap();
            fs::write(at("theirs"), "changed in its place").unwrap();
            fs::create_dir(at("made")).unwrap();
            fs::write(at("made/file"), "").unwrap();
            lchown(at("made/file"), Some(55), Some(66)).unwrap();
            lchown(at("mine"), Some(7), Some(77)).unwrap();
            fs::set_permissions(at("made"), Permissions::from_mode(0o555)).unwrap();
            owners.hand_over().unwrap();
            for (name, (user, group)) in [("theirs", (9, 10)), ("group", (7, 11))] {
                assert_eq!(ids(&at(name)), (user, group), "{name} for {caller:?}");
            }
            for name in ["mine", "made", "made/file"] {
                assert_eq!(ids(&at(name)), (7, 8), "{name} for {caller:?}");
            }
            // Whoever has it can remove it (CTR-64).
            let mode = fs::metadata(at("made")).unwrap().mode() & 0o777;
            assert_eq!(mode, 0o755);
        }
    }

    // CTR-63
    #[test]
    fn what_is_replaced_and_what_was_left() {
        if !is_root() {
            return;
        }
        let cases = [((7, 8), (7, 8), (7, 8)), ((0, 0), (9, 10), (7, 8))];
        for (caller, replaced, left) in cases {
            let source = source(&[("replaced", (9, 10)), ("left", (0, 0))]);
            let at = |name: &str| source.path().join(name);
            let owners = Owners::of(&[source.path().to_owned()], caller, false).unwrap();
            fs::write(at("new"), "").unwrap();
            fs::rename(at("new"), at("replaced")).unwrap();
            owners.hand_over().unwrap();
            assert_eq!(ids(&at("replaced")), replaced, "for {caller:?}");
            assert_eq!(ids(&at("left")), left, "for {caller:?}");
        }
    }

    // CTR-63
    #[test]
    fn what_the_user_of_another_build_makes_in_a_directory_of_theirs_stays() {
        if !is_root() {
            return;
        }
        let source = source(&[("nb/", (65534, 65534))]);
        let owners = Owners::of(&[source.path().to_owned()], (7, 8), false).unwrap();
        let made = source.path().join("nb/deep");
        fs::create_dir(&made).unwrap();
        fs::write(made.join("file"), "").unwrap();
        fs::write(made.join("of-root"), "").unwrap();
        for path in [&made, &made.join("file")] {
            lchown(path, Some(65534), Some(65534)).unwrap();
        }
        owners.hand_over().unwrap();
        assert_eq!(ids(&made.join("file")), (65534, 65534));
        assert_eq!(ids(&made.join("of-root")), (7, 8));
        assert_eq!(ids(&made), (65534, 65534));
    }

    // CTR-63: what is made in a directory with the set-group bit has its group.
    #[test]
    fn groups_are_inherited_where_a_directory_says_so() {
        if !is_root() {
            return;
        }
        let source = source(&[("shared/", (7, 11))]);
        let shared = source.path().join("shared");
        fs::set_permissions(&shared, Permissions::from_mode(0o2775)).unwrap();
        let owners = Owners::of(&[source.path().to_owned()], (7, 8), false).unwrap();
        fs::write(shared.join("made"), "").unwrap();
        owners.hand_over().unwrap();
        assert_eq!(ids(&shared.join("made")), (7, 11));
        let shared = fs::metadata(&shared).unwrap().mode() & 0o7777;
        assert_eq!(shared, 0o2775);
    }
}
