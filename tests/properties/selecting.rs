//! What is selected is what the patterns say, and nothing else.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use buildspec_runner::artifact::{SelectError, Selection, Workspace, select};
use buildspec_runner::source::LineColumn;
use proptest::test_runner::TestCaseError;

use super::{Strategy, any, prop, prop_oneof, proptest, tries};

/// Whether a pattern means a file: the dialect in its plainest words. Segment by segment; a segment may take several
/// names, which only one with `**` in it can match.
fn means(pattern: &[&str], names: &[&str]) -> bool {
    match pattern {
        [] => names.is_empty(),
        [stars] if is_globstar(stars) => !names.is_empty(),
        [stars, rest @ ..] if is_globstar(stars) => {
            means(rest, names) || (!names.is_empty() && means(pattern, &names[1..]))
        }
        [segment, rest @ ..] => (1..=names.len()).any(|taken| {
            let text: Vec<char> = names[..taken].join("/").chars().collect();
            let segment: Vec<char> = segment.chars().collect();
            segment_means(&segment, &text) && means(rest, &names[taken..])
        }),
    }
}

fn is_globstar(segment: &str) -> bool {
    segment.len() > 1 && segment.chars().all(|character| character == '*')
}

fn segment_means(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', '*', rest @ ..] => {
            segment_means(rest, text) || (!text.is_empty() && segment_means(pattern, &text[1..]))
        }
        ['*', rest @ ..] => {
            segment_means(rest, text)
                || (text.first().is_some_and(|first| *first != '/')
                    && segment_means(pattern, &text[1..]))
        }
        ['?', rest @ ..] => {
            text.first().is_some_and(|first| *first != '/') && segment_means(rest, &text[1..])
        }
        ['[', rest @ ..] => match (set(rest), text) {
            (Some((holds, rest)), [first, tail @ ..]) => {
                *first != '/' && holds(*first) && segment_means(rest, tail)
            }
            (Some(_), []) => false,
            // A bracket that is not closed stands for itself.
            (None, text) => text.first() == Some(&'[') && segment_means(rest, &text[1..]),
        },
        [letter, rest @ ..] => text.first() == Some(letter) && segment_means(rest, &text[1..]),
    }
}

/// The characters of a set, after its opening bracket, and what follows it.
fn set(text: &[char]) -> Option<(impl Fn(char) -> bool, &[char])> {
    let (negated, body) = match text {
        ['!' | '^', body @ ..] => (true, body),
        body => (false, body),
    };
    // A closing bracket in first place stands for itself.
    let end = 1 + body
        .iter()
        .skip(1)
        .position(|character| *character == ']')?;
    let inside = body[..end].to_vec();
    let holds = move |wanted: char| {
        let mut rest = &inside[..];
        let mut found = false;
        while let [first, tail @ ..] = rest {
            if let ['-', last, tail @ ..] = tail {
                found |= (*first..=*last).contains(&wanted);
                rest = tail;
            } else {
                found |= *first == wanted;
                rest = tail;
            }
        }
        found != negated
    };
    Some((holds, &body[end + 1..]))
}

/// The segments of a pattern that mean something.
fn segments(pattern: &str) -> Vec<&str> {
    pattern
        .split('/')
        .filter(|segment| !matches!(*segment, "" | "."))
        .collect()
}

fn pattern_means(pattern: &str, path: &str) -> bool {
    let pattern = segments(pattern);
    !pattern.is_empty() && means(&pattern, &path.split('/').collect::<Vec<_>>())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => prop::sample::select(&[".a", "a.js", "b.js", "{a,b}", "[", "]", "é", "a b", "-", "c"][..])
            .prop_map(str::to_owned),
    ]
}

fn segment() -> impl Strategy<Value = String> {
    let odd = [
        "**", "**", "*", "***", "?", "a?", "*.js", "**.js", ".*", "a*", "*b", "a**", "**b", "a**b",
        "**a**", "a**b**a", "*a**?", "[ab]", "[!a]*", "[^a]b", "[a-c]*", "[]]", "[!]]", "[a", "a[",
        "[b-]", "{a,b}", ".", "", "*é*", "a b",
    ];
    prop_oneof![2 => prop::sample::select(odd.to_vec()).prop_map(str::to_owned), 1 => name()]
}

fn pattern() -> impl Strategy<Value = String> {
    let last = segment().prop_filter("a pattern names files", |segment| !segment.is_empty());
    (prop::collection::vec(segment(), 0..3), last, any::<bool>()).prop_map(|(first, last, dot)| {
        let joined: String = first.into_iter().map(|segment| segment + "/").collect();
        // An empty segment in front would make it absolute.
        let relative = joined.trim_start_matches('/');
        format!("{}{relative}{last}", if dot { "./" } else { "" })
    })
}

/// Paths of files that can be in one tree.
fn tree() -> impl Strategy<Value = BTreeSet<String>> {
    let path = prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"));
    prop::collection::vec(path, 1..10).prop_map(|paths| {
        let mut files = BTreeSet::new();
        for path in paths {
            let inside = |outer: &str, inner: &str| inner.starts_with(&format!("{outer}/"));
            if !files
                .iter()
                .any(|file: &String| inside(file, &path) || inside(&path, file))
            {
                files.insert(path);
            }
        }
        files
    })
}

fn make(directory: &Path, files: &BTreeSet<String>) {
    for file in files {
        let path = directory.join(file);
        let parent = path.parent().expect("a file has a directory");
        fs::create_dir_all(parent).expect("a directory can be made");
        fs::write(path, file).expect("a file can be written");
    }
}

/// Stored paths of what is selected, in order; nothing if nothing is.
fn selected(directory: &Path, files: &[String], excludes: &[String]) -> Vec<String> {
    let place = LineColumn { line: 1, column: 1 };
    let selection = Selection {
        identifier: None,
        base_directory: None,
        files: files
            .iter()
            .map(|file| (OsString::from(file), place))
            .collect(),
        exclude_paths: excludes.iter().map(OsString::from).collect(),
        discard_paths: false,
        keep_symlinks: false,
    };
    let workspace = Workspace {
        source_directory: directory.to_owned(),
        hidden: Vec::new(),
        mounts: Vec::new(),
    };
    match select(&selection, &workspace, &|| false).manifest {
        Ok(manifest) => manifest
            .iter()
            .map(|file| {
                let stored = file.stored().into_owned();
                let content = fs::read_to_string(file.source());
                assert_eq!(content.expect("a selected file can be read"), stored);
                stored
            })
            .collect(),
        Err(SelectError::NothingMatched { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(tries(300))]

    // ART-3, ART-4
    #[test]
    fn what_is_selected_is_what_the_patterns_mean(
        files in tree(),
        patterns in prop::collection::vec(pattern(), 1..4),
        excludes in prop::collection::vec(pattern(), 0..3),
    ) {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path(), &files);
        let found = selected(directory.path(), &patterns, &excludes);

        let first = |file: &String| patterns.iter().position(|pattern| pattern_means(pattern, file));
        let excluded = |file: &String| excludes.iter().any(|pattern| pattern_means(pattern, file));
        let meant: BTreeSet<String> =
            files.iter().filter(|file| first(file).is_some() && !excluded(file)).cloned().collect();
        let set: BTreeSet<String> = found.iter().cloned().collect();
        proptest::prop_assert_eq!(&set, &meant);
        proptest::prop_assert_eq!(set.len(), found.len(), "a file is selected twice: {:?}", found);
        proptest::prop_assert!(found.iter().map(first).is_sorted(), "not pattern by pattern: {:?}", found);
        proptest::prop_assert_eq!(selected(directory.path(), &patterns, &excludes), found);
    }

    // ART-3, ART-4
    #[test]
    fn two_stars_a_slash_and_a_star_select_every_file(files in tree()) {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path(), &files);
        fs::create_dir_all(directory.path().join("empty/directory")).unwrap();
        let found = selected(directory.path(), &["**/*".to_owned()], &[]);
        let set: BTreeSet<String> = found.iter().cloned().collect();
        if set.len() != found.len() || set != files {
            Err(TestCaseError::fail(format!("{found:?} of {files:?}")))?;
        }
    }
}
