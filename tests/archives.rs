//! Archives of sources that somebody else made: what is unpacked, and what is refused. The archives are made here, byte by
//! byte; the shapes are those that public suites of archives have found to matter.

#![expect(clippy::disallowed_methods, reason = "tests start programs")]

mod support;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use buildspec_runner::fetch::archive::{Error, Limits, Unpacked, unpack};
use support::tree;
use support::wait::Bounded as _;

const UNIX: u16 = 3 << 8;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// Little-endian numbers, one after the other.
fn numbers(fields: &[(u64, usize)]) -> Vec<u8> {
    let bytes = |(number, size): &(u64, usize)| number.to_le_bytes()[..*size].to_vec();
    fields.iter().flat_map(bytes).collect()
}

/// One entry of a ZIP archive, and how it differs from one that is right.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    stored: Vec<u8>,
    method: u16,
    flags: u16,
    made_by: u16,
    attributes: u32,
    crc: u32,
    size: u64,
    extra: Vec<u8>,
    /// CRC and sizes follow the content, with or without a signature before them.
    descriptor: Option<bool>,
    /// Sizes and place are in the extra field of ZIP64.
    large: bool,
}

impl Entry {
    fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        Self {
            name: name.as_ref().to_vec(),
            stored: deflated(content),
            method: DEFLATED,
            flags: 0,
            made_by: UNIX | 0x14,
            attributes: 0o100_644 << 16,
            crc: crc32(content),
            size: content.len() as u64,
            extra: Vec::new(),
            descriptor: None,
            large: false,
        }
    }

    fn stored(name: &str, content: &[u8]) -> Self {
        Self {
            stored: content.to_vec(),
            method: STORED,
            ..Self::file(name, content)
        }
    }

    fn directory(name: &str) -> Self {
        Self::stored(name, b"").mode(0o040_755)
    }

    fn link(name: &str, target: &str) -> Self {
        Self::stored(name, target.as_bytes()).mode(0o120_777)
    }

    fn mode(self, mode: u32) -> Self {
        Self {
            attributes: mode << 16,
            ..self
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn local(&self) -> Vec<u8> {
        let later = self.descriptor.is_some();
        let zero = |number: u64| if later { 0 } else { number };
        let flags = self.flags | if later { 8 } else { 0 };
        let stored = self.stored.len() as u64;
        let mut extra = self.extra.clone();
        let clamp = |number: u64| if self.large { 0xffff_ffff } else { number };
        if self.large {
            extra.extend(numbers(&[
                (1, 2),
                (16, 2),
                (zero(self.size), 8),
                (zero(stored), 8),
            ]));
        }
        let mut bytes = numbers(&[
            (0x0403_4b50, 4),
            (20, 2),
            (flags.into(), 2),
            (self.method.into(), 2),
            (0, 4),
            (zero(self.crc.into()), 4),
            (clamp(zero(stored)), 4),
            (clamp(zero(self.size)), 4),
            (self.name.len() as u64, 2),
            (extra.len() as u64, 2),
        ]);
        bytes.extend(&self.name);
        bytes.extend(extra);
        bytes.extend(&self.stored);
        if let Some(signed) = self.descriptor {
            let width = if self.large { 8 } else { 4 };
            if signed {
                bytes.extend(numbers(&[(0x0807_4b50, 4)]));
            }
            bytes.extend(numbers(&[
                (self.crc.into(), 4),
                (stored, width),
                (self.size, width),
            ]));
        }
        bytes
    }

    fn line(&self, offset: u64) -> Vec<u8> {
        let stored = self.stored.len() as u64;
        let flags = self.flags | if self.descriptor.is_some() { 8 } else { 0 };
        let mut extra = self.extra.clone();
        let clamp = |number: u64| if self.large { 0xffff_ffff } else { number };
        if self.large {
            extra.extend(numbers(&[
                (1, 2),
                (24, 2),
                (self.size, 8),
                (stored, 8),
                (offset, 8),
            ]));
        }
        let mut bytes = numbers(&[
            (0x0201_4b50, 4),
            (self.made_by.into(), 2),
            (20, 2),
            (flags.into(), 2),
            (self.method.into(), 2),
            (0, 4),
            (self.crc.into(), 4),
            (clamp(stored), 4),
            (clamp(self.size), 4),
            (self.name.len() as u64, 2),
            (extra.len() as u64, 2),
            (0, 2),
            (0, 4),
            (self.attributes.into(), 4),
            (clamp(offset), 4),
        ]);
        bytes.extend(&self.name);
        bytes.extend(extra);
        bytes
    }
}

/// A ZIP archive of these entries, as if `before` stood before it.
fn zip_behind(before: u64, entries: &[Entry], comment: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        directory.extend(entry.line(before + bytes.len() as u64));
        bytes.extend(entry.local());
    }
    let (start, size) = (before + bytes.len() as u64, directory.len() as u64);
    let count = entries.len() as u64;
    bytes.extend(directory);
    let large = start >= 0xffff_ffff || count >= 0xffff;
    if large {
        let place = before + bytes.len() as u64;
        bytes.extend(numbers(&[
            (0x0606_4b50, 4),
            (44, 8),
            (45, 2),
            (45, 2),
            (0, 8),
            (count, 8),
            (count, 8),
            (size, 8),
            (start, 8),
        ]));
        bytes.extend(numbers(&[(0x0706_4b50, 4), (0, 4), (place, 8), (1, 4)]));
    }
    let clamp = |number: u64, most: u64| if large { most } else { number };
    bytes.extend(numbers(&[
        (0x0605_4b50, 4),
        (0, 4),
        (clamp(count, 0xffff), 2),
        (clamp(count, 0xffff), 2),
        (clamp(size, 0xffff_ffff), 4),
        (clamp(start, 0xffff_ffff), 4),
        (comment.len() as u64, 2),
    ]));
    bytes.extend(comment.as_bytes());
    bytes
}

fn zip(entries: &[Entry]) -> Vec<u8> {
    zip_behind(0, entries, "")
}

/// Bytes with others in the place of the last that are like `what`.
fn replaced(mut bytes: Vec<u8>, what: &[u8], by: &[u8]) -> Vec<u8> {
    let place = bytes.windows(what.len()).rposition(|window| window == what);
    let place = place.expect("it is there");
    bytes.splice(place..place + what.len(), by.iter().copied());
    bytes
}

/// A place beside which nothing may appear.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        fs::create_dir(directory.path().join("into")).expect("it is new");
        Self { directory }
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("into")
    }

    fn unpack_with(&self, bytes: &[u8], limits: &Limits) -> Result<Unpacked, Error> {
        let archive = self.directory.path().join("archive");
        fs::write(&archive, bytes).expect("an archive can be written");
        let unpacked = unpack(&archive, &self.root(), limits, &AtomicBool::new(false));
        let beside = fs::read_dir(self.directory.path()).expect("it is there");
        assert_eq!(beside.count(), 2, "something is outside");
        unpacked
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, Error> {
        self.unpack_with(bytes, &Limits::default())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn mode(&self, name: &str) -> u32 {
        let found = fs::symlink_metadata(self.root().join(name)).expect("it is there");
        found.permissions().mode() & 0o7777
    }
}

#[track_caller]
fn refused(what: &str, bytes: &[u8], expected: &str) {
    let place = Place::new();
    match place.unpack(bytes) {
        Err(error) => {
            let said = error.to_string();
            assert!(
                said.contains(expected),
                "{what}: {said:?} has no {expected:?}"
            );
            assert!(!said.contains('\x1b'), "{what}: {said:?}");
        }
        Ok(_) => panic!("{what} was unpacked: {:?}", tree::files(&place.root())),
    }
    no_special_files(&place.root());
}

fn no_special_files(directory: &Path) {
    for entry in fs::read_dir(directory).expect("it is there").flatten() {
        let kind = entry.file_type().expect("it has a kind");
        assert!(!kind.is_fifo() && !kind.is_char_device() && !kind.is_block_device());
    }
}

/// What is wrong, an archive that has it, and how it is told.
type Wrong = (&'static str, Vec<u8>, &'static str);

fn wrong_names() -> Vec<Wrong> {
    let file = |name: &str| zip(&[Entry::file(name, "content")]);
    vec![
        ("an absolute path", file("/etc/x"), "absolute path"),
        ("two slashes", file("//x"), "absolute path"),
        ("a drive", file("C:/x"), "absolute path"),
        ("a parent", file("../x"), "outside"),
        ("a parent behind a name", file("a/../../x"), "outside"),
        ("a parent at the end", file("a/.."), "outside"),
        ("no name", file(""), "no name"),
        ("a name of nothing but itself", file("."), "no name"),
        ("NUL in a name", file("a\0b"), "NUL"),
        ("a very long name", file(&"a/".repeat(2500)), "longer"),
        (
            "a part of a name that is too long",
            file(&"a".repeat(300)),
            "write",
        ),
        ("control characters", file("\x1b[2J/../x"), "outside"),
        (
            "a parent as Windows writes it",
            zip(&[Entry::file("..\\x", "").with(|entry| entry.made_by = 20)]),
            "outside",
        ),
        (
            "a drive as Windows writes it",
            zip(&[Entry::file("C:\\x", "").with(|entry| entry.made_by = 20)]),
            "absolute path",
        ),
        (
            "UTF-8 that is none",
            zip(&[Entry::file(b"a\xff", "").with(|entry| entry.flags = 1 << 11)]),
            "not",
        ),
    ]
}

fn wrong_kinds() -> Vec<Wrong> {
    let one = Entry::file("a", "content");
    vec![
        ("twice", zip(&[one.clone(), one.clone()]), "two entries"),
        (
            "twice, written differently",
            zip(&[one.clone(), Entry::file("./a", "other")]),
            "two entries",
        ),
        (
            "a file and a directory",
            zip(&[one.clone(), Entry::file("a/b", "")]),
            "both for a file and for a directory",
        ),
        (
            "a directory and a file",
            zip(&[Entry::file("a/b", ""), one.clone()]),
            "two entries",
        ),
        (
            "a file and an entry for a directory",
            zip(&[one.clone(), Entry::directory("a/")]),
            "both for a file and for a directory",
        ),
        (
            "a link to a root",
            zip(&[Entry::link("l", "/etc")]),
            "absolute path",
        ),
        (
            "a link to a parent",
            zip(&[Entry::link("l", "../x")]),
            "leads outside",
        ),
        (
            "a link up and up",
            zip(&[Entry::link("d/l", "../../x")]),
            "leads outside",
        ),
        (
            "a link whose way goes down first",
            zip(&[Entry::link("l", "."), Entry::link("m", "l/..")]),
            "`..` behind a name",
        ),
        (
            "a link to nothing",
            zip(&[Entry::link("l", "")]),
            "no place",
        ),
        (
            "a link to a very long place",
            zip(&[Entry::link("l", &"a".repeat(5000))]),
            "no place",
        ),
        (
            "a link and a file through it",
            zip(&[
                Entry::link("l", "d"),
                Entry::file("l/x", ""),
                Entry::directory("d/"),
            ]),
            "two entries",
        ),
        (
            "a file and a link of its name",
            zip(&[one.clone(), Entry::link("a", "b")]),
            "two entries",
        ),
        (
            "a link below a link",
            zip(&[Entry::link("l", "d"), Entry::link("l/m", "x")]),
            "two entries",
        ),
        (
            "a pipe",
            zip(&[one.clone().mode(0o010_644)]),
            "no file, directory or link",
        ),
        (
            "a device",
            zip(&[one.clone().mode(0o020_644)]),
            "no file, directory or link",
        ),
        (
            "a disk",
            zip(&[one.clone().mode(0o060_644)]),
            "no file, directory or link",
        ),
        (
            "a socket",
            zip(&[one.clone().mode(0o140_644)]),
            "no file, directory or link",
        ),
        (
            "a directory with content",
            zip(&[Entry::stored("d/", b"x").mode(0o040_755)]),
            "a directory with content",
        ),
    ]
}

/// An archive whose one entry has sizes and place in an extra field, which has not all of them.
fn with_zip64(fields: &[(u64, usize)]) -> Vec<u8> {
    let one = Entry::file("a", "content");
    let extra = numbers(fields);
    let mut bytes = zip(std::slice::from_ref(&one));
    let at = bytes
        .windows(4)
        .rposition(|window| window == b"PK\x01\x02")
        .expect("it is there");
    // They are to be found in the extra field.
    bytes[at + 20..at + 28].fill(0xff);
    bytes[at + 42..at + 46].fill(0xff);
    bytes[at + 30..at + 32].copy_from_slice(
        &u16::try_from(extra.len())
            .expect("it is short")
            .to_le_bytes(),
    );
    let end = at + 46 + 1;
    bytes.splice(end..end, extra.iter().copied());
    // The directory is longer by as much.
    let last = bytes.len() - 22;
    let size = u32::try_from(47 + extra.len()).expect("it is short");
    bytes[last + 12..last + 16].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn wrong_sizes() -> Vec<Wrong> {
    vec![
        (
            "ZIP64 without anything",
            with_zip64(&[(1, 2), (0, 2)]),
            "entry `a`",
        ),
        (
            "ZIP64 without a size",
            with_zip64(&[(1, 2), (8, 2), (7, 8)]),
            "entry `a`",
        ),
        (
            "ZIP64 without a place",
            with_zip64(&[(1, 2), (16, 2), (7, 8), (9, 8)]),
            "entry `a`",
        ),
    ]
}

fn wrong_content() -> Vec<Wrong> {
    let one = Entry::file("a", "content");
    let whole = zip(std::slice::from_ref(&one));
    let text = "some text of no kind".repeat(40);
    // Blocks that no deflate stream has.
    let broken_deflate =
        |stored: &[u8]| zip(&[one.clone().with(|entry| entry.stored = stored.to_vec())]);
    vec![
        ("a text", text.clone().into_bytes(), "no ZIP, TAR or TAR.GZ"),
        ("nothing", Vec::new(), "no ZIP, TAR or TAR.GZ"),
        (
            "a beginning only",
            whole[..whole.len() - 30].to_vec(),
            "no end",
        ),
        (
            "an end that is cut",
            whole[..whole.len() - 1].to_vec(),
            "no end",
        ),
        (
            "another CRC",
            zip(&[one.clone().with(|entry| entry.crc ^= 1)]),
            "cannot be read",
        ),
        (
            "another CRC of a stored file",
            zip(&[Entry::stored("a", b"content").with(|entry| entry.crc ^= 1)]),
            "cannot be read",
        ),
        (
            "another CRC of a link",
            zip(&[Entry::link("l", "a").with(|entry| entry.crc ^= 1)]),
            "cannot be read",
        ),
        (
            "less than it says",
            zip(&[one.clone().with(|entry| entry.size += 1)]),
            "entry `a`",
        ),
        (
            "more than it says",
            zip(&[one.clone().with(|entry| entry.size -= 1)]),
            "entry `a`",
        ),
        (
            "sizes of a stored file that differ",
            zip(&[Entry::stored("a", b"content").with(|entry| entry.size = 5)]),
            "entry `a`",
        ),
        (
            "encrypted",
            zip(&[one.clone().with(|entry| entry.flags = 1)]),
            "encrypted",
        ),
        (
            "strongly encrypted",
            zip(&[one.clone().with(|entry| entry.flags = 1 | 1 << 6)]),
            "encrypted",
        ),
        (
            "encrypted with AES",
            zip(&[one.clone().with(|entry| entry.method = 99)]),
            "encrypted",
        ),
        (
            "shrunk",
            zip(&[one.clone().with(|entry| entry.method = 1)]),
            "method 1",
        ),
        (
            "bzip2",
            zip(&[one.clone().with(|entry| entry.method = 12)]),
            "method 12",
        ),
        (
            "a block of no kind",
            broken_deflate(&[0x07]),
            "cannot be read",
        ),
        (
            "codes that cannot be",
            broken_deflate(&[0x05, 0xff, 0xff, 0xff, 0xff, 0xff]),
            "cannot be read",
        ),
        (
            "a stream that breaks off",
            broken_deflate(&deflated(b"content")[..4]),
            "cannot be read",
        ),
        (
            "a directory without its signature",
            replaced(whole.clone(), b"PK\x01\x02", b"PK\x01\x01"),
            "broken",
        ),
        (
            "an entry without its signature",
            replaced(whole.clone(), b"PK\x03\x04", b"PK\x03\x03"),
            "it is not where",
        ),
        (
            "a second entry without its signature",
            replaced(
                zip(&[one.clone(), Entry::file("b", "")]),
                b"PK\x03\x04",
                b"PK\x03\x03",
            ),
            "entry `b`: it is not where",
        ),
        (
            "more entries than there are",
            {
                let mut bytes = whole.clone();
                let last = bytes.len() - 22;
                bytes[last + 8..last + 12].copy_from_slice(&[2, 0, 2, 0]);
                bytes
            },
            "says that it has 2 entries",
        ),
    ]
}

// SRC-20 SRC-21 SRC-22 SRC-23
#[test]
fn what_is_wrong_with_a_zip_archive_is_refused() {
    let tables = [wrong_names(), wrong_kinds(), wrong_sizes(), wrong_content()].concat();
    for (what, bytes, expected) in &tables {
        refused(what, bytes, expected);
    }
    assert!(tables.len() >= 55, "{}", tables.len());
}

// SRC-20 SRC-22 SRC-23 SRC-25
#[test]
fn what_is_right_in_a_zip_archive_is_unpacked() {
    let long = "line of a file\n".repeat(10_000);
    let unicode_path = |of: &[u8], name: &str| {
        let mut extra = numbers(&[
            (0x7075, 2),
            (5 + name.len() as u64, 2),
            (1, 1),
            (crc32(of).into(), 4),
        ]);
        extra.extend(name.as_bytes());
        extra
    };
    let entries = [
        Entry::directory("empty/"),
        Entry::directory("deep/er/"),
        Entry::file("deep/er/file", "x"),
        Entry::file("without/entry/of/its/own", "y"),
        Entry::file("late/file", "z"),
        Entry::directory("late/"),
        Entry::directory("late/"),
        Entry::file("./a//b/./c", "sloppy"),
        Entry::file("run.sh", "#!/bin/sh").mode(0o100_755),
        Entry::file("private", "p").mode(0o100_600),
        Entry::file("s-bit", "s").mode(0o104_755),
        Entry::file("nothing-said", "n").mode(0),
        Entry::file("unreadable", "u").mode(0o100_000),
        Entry::file("kind-not-said", "k").mode(0o755),
        Entry::stored("stored", b"as it is"),
        Entry::stored("nothing", b""),
        Entry::file("long", &long),
        Entry::file("streamed", "s").with(|entry| entry.descriptor = Some(true)),
        Entry::file("unsigned", "s").with(|entry| entry.descriptor = Some(false)),
        Entry::file("large", "l").with(|entry| entry.large = true),
        Entry::file("large-streamed", "l").with(|entry| {
            entry.large = true;
            entry.descriptor = Some(true);
        }),
        Entry::file("ünï", "said").with(|entry| entry.flags = 1 << 11),
        Entry::file("日本", "not said"),
        Entry::file(b"caf\x82", "CP437"),
        Entry::file(b"\x81ber", "extra")
            .with(|entry| entry.extra = unicode_path(b"\x81ber", "über-ŵ")),
        Entry::file("plain", "extra too")
            .with(|entry| entry.extra = unicode_path(b"plain", "not-so-plain-ŵ")),
        Entry::file(b"\x81lt", "stale")
            .with(|entry| entry.extra = unicode_path(b"another", "wrong")),
        Entry::file("dos\\name", "from DOS").with(|entry| {
            entry.made_by = 20;
            entry.attributes = 0x20;
        }),
        Entry::stored("dos\\folder", b"").with(|entry| {
            entry.made_by = 20;
            entry.attributes = 0x10;
        }),
        Entry::file("back\\slash", "of Unix"),
        Entry::file("time", "t")
            .with(|entry| entry.extra = numbers(&[(0x5455, 2), (5, 2), (1, 1), (0, 4)])),
        Entry::link("link", "deep/er/file"),
        Entry::link("deep/up", "../run.sh"),
        Entry::link("dangling", "nowhere/at/all"),
        Entry::link("a/round", "round"),
    ];
    let place = Place::new();
    let unpacked = place
        .unpack(&zip_behind(0, &entries, "a comment with PK\x05\x06 in it"))
        .expect("it is right");
    assert_eq!(unpacked.entries, entries.len() as u64);
    let table = [
        ("deep/er/file", "x"),
        ("without/entry/of/its/own", "y"),
        ("late/file", "z"),
        ("a/b/c", "sloppy"),
        ("stored", "as it is"),
        ("nothing", ""),
        ("long", &long),
        ("streamed", "s"),
        ("unsigned", "s"),
        ("large", "l"),
        ("large-streamed", "l"),
        ("ünï", "said"),
        ("日本", "not said"),
        ("café", "CP437"),
        ("über-ŵ", "extra"),
        ("not-so-plain-ŵ", "extra too"),
        ("ült", "stale"),
        ("dos/name", "from DOS"),
        ("back\\slash", "of Unix"),
        ("time", "t"),
        ("link", "x"),
        ("deep/up", "#!/bin/sh"),
    ];
    for (name, content) in table {
        assert_eq!(place.read(name), content, "{name}");
    }
    for directory in ["empty", "dos/folder"] {
        assert!(place.root().join(directory).is_dir(), "{directory}");
    }
    assert!(place.root().join("dangling").is_symlink());
    let modes = [
        ("run.sh", 0o755),
        ("private", 0o600),
        ("s-bit", 0o755),
        ("nothing-said", 0o644),
        ("unreadable", 0o644),
        ("kind-not-said", 0o755),
        ("empty", 0o755),
    ];
    for (name, mode) in modes {
        assert_eq!(place.mode(name), mode, "{name}");
    }
}

// SRC-20
#[test]
fn an_archive_may_be_empty_or_have_something_before_it() {
    for (before, entries) in [("", 0), ("#!/bin/sh\nexec unzip $0\n", 1)] {
        let place = Place::new();
        let content = &[Entry::file("a", "content")][..entries];
        let mut bytes = before.as_bytes().to_vec();
        bytes.extend(zip(content));
        let unpacked = place.unpack(&bytes).expect("it is right");
        assert_eq!(unpacked.entries, entries as u64);
    }
}

/// SRC-20: entries beyond 4 GiB, in a file that is a hole for the most part.
#[test]
fn entries_may_be_beyond_four_gibibytes() {
    for before in [0xffff_fffe, 0xffff_ffff, 0x1_0000_0000, 0x1_4000_0001] {
        let place = Place::new();
        let archive = place.directory.path().join("archive");
        let mut file = File::create(&archive).expect("a file can be made");
        let large = Entry::file("a", "far away").with(|entry| entry.large = true);
        file.write_all(b"MZ").expect("it can be written");
        file.seek(SeekFrom::Start(before))
            .expect("it can have a hole");
        file.write_all(&zip_behind(before, &[large], ""))
            .expect("it can be written");
        drop(file);
        let unpacked = unpack(
            &archive,
            &place.root(),
            &Limits::default(),
            &AtomicBool::new(false),
        );
        unpacked.unwrap_or_else(|error| panic!("{before:x}: {error}"));
        assert_eq!(place.read("a"), "far away");
    }
}

/// SRC-20: more entries than the old form of the directory can count.
#[test]
fn entries_may_be_many() {
    let entries: Vec<Entry> = (0..66_000)
        .map(|n| Entry::stored(&format!("{}/{n}", n % 7), b""))
        .collect();
    let place = Place::new();
    let unpacked = place.unpack(&zip(&entries)).expect("it is right");
    assert_eq!(unpacked.entries, 66_000);
}

// SRC-24
#[test]
fn what_would_become_too_much_is_refused() {
    let zeros = vec![0; 4 << 20];
    let bomb = zip(&[Entry::file("zeros", &zeros)]);
    let small = Limits {
        entries: 3,
        bytes: 1 << 20,
        ratio: 10,
        free: 1 << 10,
        links: 20,
    };
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits {
            bytes: 1 << 30,
            free: 1 << 30,
            ..small
        };
        change(&mut limits);
        limits
    };
    let four = ["a", "b", "c", "d"].map(|name| Entry::file(name, "x"));
    // All four say that they are one and the same place: each is small, and all together are not.
    let many = {
        let entry = Entry::file("a", &zeros[..900]);
        let names = ["b", "c"].map(|name| entry.clone().with(|entry| entry.name = name.into()));
        let mut bytes = entry.local();
        let start = bytes.len() as u64;
        let lines: Vec<u8> = std::iter::once(&entry)
            .chain(&names)
            .flat_map(|entry| entry.line(0))
            .collect();
        bytes.extend(&lines);
        bytes.extend(numbers(&[
            (0x0605_4b50, 4),
            (0, 4),
            (3, 2),
            (3, 2),
            (lines.len() as u64, 4),
            (start, 4),
            (0, 2),
        ]));
        bytes
    };
    let lying = {
        let mut entry = Entry::file("zeros", &zeros);
        entry.size = 10;
        entry.crc = crc32(&zeros[..10]);
        zip(&[entry])
    };
    let links = ["l", "m"].map(|name| Entry::link(name, "a-long-way-off"));
    let table: [(&str, Vec<u8>, Limits, &str); 8] = [
        (
            "the ratio",
            bomb.clone(),
            limits(|limits| limits.free = 1 << 10),
            "would become more than",
        ),
        (
            "the size",
            bomb.clone(),
            limits(|limits| limits.bytes = 1 << 20),
            "would become more than 1.0 MiB",
        ),
        (
            "the same thing many times",
            many,
            small,
            "would become more than",
        ),
        (
            "a size that is said to be small",
            lying,
            limits(|_| {}),
            "entry `zeros`",
        ),
        ("the number", zip(&four), small, "more than 3 entries"),
        ("links", zip(&links), small, "too many links"),
        (
            "TAR",
            tar_of(&[("a", b'0', &zeros[..2000])]),
            Limits {
                bytes: 1000,
                ..small
            },
            "would become more than",
        ),
        (
            "TAR.GZ",
            gzipped(&tar_of(&[("a", b'0', &zeros)])),
            limits(|limits| limits.free = 1 << 10),
            "would become more than",
        ),
    ];
    for (what, bytes, limits, expected) in table {
        let place = Place::new();
        let said = place
            .unpack_with(&bytes, &limits)
            .expect_err(what)
            .to_string();
        assert!(said.contains(expected), "{what}: {said}");
        let written: u64 = tree::files(&place.root())
            .iter()
            .map(|file| fs::metadata(place.root().join(file)).map_or(0, |found| found.len()))
            .sum();
        assert!(written <= 1 << 20, "{what}: {written} bytes were written");
    }
    let place = Place::new();
    assert!(place.unpack_with(&bomb, &limits(|_| {})).is_ok());
}

/// SRC-6: whoever stops a build does not wait for an archive.
#[test]
fn unpacking_stops_when_it_is_told_to() {
    let place = Place::new();
    let archive = place.directory.path().join("archive");
    fs::write(&archive, zip(&[Entry::file("a", "x")])).expect("it can be written");
    let stopped = unpack(
        &archive,
        &place.root(),
        &Limits::default(),
        &AtomicBool::new(true),
    );
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    assert!(tree::files(&place.root()).is_empty());
}

/// A header of TAR; `link` is the name that it links to.
fn header(name: &[u8], kind: u8, size: u64, mode: u32, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(100)]);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(156, &[kind]);
    put(157, &link[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(content.len().next_multiple_of(512), 0);
    bytes
}

fn member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name.as_bytes(), kind, content.len() as u64, 0o644, b"");
    bytes.extend(padded(content));
    bytes
}

fn linking(name: &str, kind: u8, target: &str) -> Vec<u8> {
    header(name.as_bytes(), kind, 0, 0o777, target.as_bytes())
}

fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn tar_of(members: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let members: Vec<Vec<u8>> = members
        .iter()
        .map(|(name, kind, content)| member(name, *kind, content))
        .collect();
    tar(&members)
}

/// What a line of an extended header says.
fn extended(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut size = rest.len() + 1;
    while format!("{size}{rest}").len() != size {
        size += 1;
    }
    format!("{size}{rest}").into_bytes()
}

/// An archive with an extended header before a file.
fn of_extended(lines: &[u8]) -> Vec<u8> {
    tar(&[member("x", b'x', lines), member("a", b'0', b"content")])
}

fn wrong_tar_places() -> Vec<Wrong> {
    let file = |name: &str| tar_of(&[(name, b'0', b"content")]);
    let long = format!("../{}", "x".repeat(200));
    vec![
        ("an absolute path", file("/x"), "absolute path"),
        ("a parent", file("../x"), "outside"),
        ("a parent behind a name", file("a/../../x"), "outside"),
        (
            "a long name with a parent",
            tar(&[
                member("././@LongLink", b'L', long.as_bytes()),
                member("a", b'0', b""),
            ]),
            "outside",
        ),
        (
            "an extended name with a parent",
            of_extended(&extended("path", "../x")),
            "outside",
        ),
        (
            "an extended name with NUL",
            of_extended(&extended("path", "a\0b")),
            "NUL",
        ),
        (
            "twice",
            tar_of(&[("a", b'0', b"x"), ("a", b'0', b"y")]),
            "two entries",
        ),
        (
            "a file and a directory",
            tar_of(&[("a", b'0', b"x"), ("a/b", b'0', b"y")]),
            "both for a file",
        ),
        (
            "a link to a root",
            tar(&[linking("l", b'2', "/etc")]),
            "absolute path",
        ),
        (
            "a link to a parent",
            tar(&[linking("l", b'2', "../x")]),
            "leads outside",
        ),
        (
            "a link and a file through it",
            tar(&[linking("l", b'2', "d"), member("l/x", b'0', b"")]),
            "two entries",
        ),
        (
            "a link and a link through it",
            tar(&[linking("l", b'2', "."), linking("m", b'2', "l/..")]),
            "behind a name",
        ),
        (
            "another name of a file outside",
            tar(&[linking("h", b'1', "/etc/passwd")]),
            "not in the archive",
        ),
        (
            "another name of a file above",
            tar(&[linking("h", b'1', "../archive")]),
            "not in the archive",
        ),
        (
            "another name of nothing",
            tar(&[linking("h", b'1', "a")]),
            "does not come before it",
        ),
        (
            "another name of a link",
            tar(&[linking("l", b'2', "a"), linking("h", b'1', "l")]),
            "does not come before it",
        ),
        (
            "another name of a directory",
            tar(&[member("d/", b'5', b""), linking("h", b'1', "d")]),
            "does not come before it",
        ),
    ]
}

fn wrong_tar_content() -> Vec<Wrong> {
    let file = |name: &str| tar_of(&[(name, b'0', b"content")]);
    let whole = file("a");
    let bad_sum = {
        let mut bytes = tar_of(&[("a", b'0', b"x"), ("b", b'0', b"y")]);
        bytes[1024] = b'c';
        bytes
    };
    let mut not_gzip = gzipped(&whole);
    let middle = not_gzip.len() - 5;
    not_gzip[middle] ^= 1;
    vec![
        (
            "a device",
            tar(&[linking("n", b'3', "")]),
            "no file, directory or link",
        ),
        (
            "a disk",
            tar(&[linking("n", b'4', "")]),
            "no file, directory or link",
        ),
        (
            "a pipe",
            tar(&[linking("n", b'6', "")]),
            "no file, directory or link",
        ),
        (
            "a kind of nobody's",
            tar(&[member("n", b'Z', b"")]),
            "no file, directory or link",
        ),
        ("a sparse file", tar(&[member("s", b'S', b"")]), "sparse"),
        (
            "a sparse file of an extended header",
            of_extended(&extended("GNU.sparse.major", "1")),
            "sparse",
        ),
        (
            "an extended header that is none",
            of_extended(b"what is this"),
            "broken",
        ),
        ("a header with another sum", bad_sum, "broken"),
        (
            "a cut in the content",
            tar(&[member("a", b'0', &[1; 2000])])[..1024].to_vec(),
            "entry `a`",
        ),
        (
            "a cut between two",
            whole[..1024].to_vec(),
            "ends in the middle",
        ),
        (
            "a name without end",
            tar(&[
                member("././@LongLink", b'L', &vec![b'a'; 2 << 20]),
                member("a", b'0', b""),
            ]),
            "without end",
        ),
        (
            "a header without end",
            of_extended(&vec![b'1'; 2 << 20]),
            "without end",
        ),
        (
            "a stream that breaks off",
            gzipped(&whole)[..40].to_vec(),
            "broken",
        ),
        ("a stream with another sum", not_gzip, "broken"),
        (
            "a stream of something else",
            gzipped(b"just a text"),
            "broken",
        ),
    ]
}

// SRC-20 SRC-21 SRC-22 SRC-23 SRC-26
#[test]
fn what_is_wrong_with_a_tar_archive_is_refused() {
    let table = [wrong_tar_places(), wrong_tar_content()].concat();
    for (what, bytes, expected) in &table {
        refused(what, bytes, expected);
    }
    assert!(table.len() >= 30, "{}", table.len());
}

// SRC-20 SRC-25 SRC-26
#[test]
fn what_is_right_in_a_tar_archive_is_unpacked() {
    let long = format!("long/{}", "x".repeat(150));
    let longer = format!("longer/{}", "y".repeat(180));
    let mut script = header(b"run.sh", b'0', 4, 0o4755, b"");
    script.extend(padded(b"echo"));
    let members = [
        member("pax_global_header", b'g', &extended("comment", "of git")),
        member("dir/", b'5', b""),
        member("dir/file", b'0', b"content"),
        member("old/style/", 0, b""),
        member("old/file", 0, b"old"),
        member("reserved", b'7', b"contiguous"),
        member("././@LongLink", b'L', long.as_bytes()),
        member("cut", b'0', b"long"),
        member("x", b'x', &extended("path", &longer)),
        member("cut", b'0', b"longer"),
        linking("link", b'2', "dir/file"),
        linking("hard", b'1', "dir/file"),
        script,
    ];
    let plain = tar(&members);
    let two_streams = [gzipped(&plain[..1000]), gzipped(&plain[1000..])].concat();
    for bytes in [plain.clone(), gzipped(&plain), two_streams] {
        let place = Place::new();
        place.unpack(&bytes).expect("it is right");
        let table = [
            ("dir/file", "content"),
            ("old/file", "old"),
            ("reserved", "contiguous"),
            (&long, "long"),
            (&longer, "longer"),
            ("link", "content"),
            ("hard", "content"),
        ];
        for (name, content) in table {
            assert_eq!(place.read(name), content, "{name}");
        }
        assert_eq!(place.mode("run.sh"), 0o755);
        assert!(place.root().join("old/style").is_dir());
        let inode =
            |name: &str| fs::metadata(place.root().join(name)).map_or(0, |found| found.ino());
        assert_eq!(inode("hard"), inode("dir/file"));
    }
}

/// SRC-20: what programs write that people make archives with.
#[test]
fn what_other_programs_write_is_unpacked() {
    let source = tempfile::tempdir().expect("a temporary directory can be made");
    let at = |name: &str| source.path().join("tree").join(name);
    fs::create_dir_all(at("a/b")).expect("a directory can be made");
    fs::write(at("a/b/ü.txt"), "text".repeat(1000)).expect("a file can be written");
    fs::write(at("run"), "#!/bin/sh\n").expect("a file can be written");
    fs::set_permissions(at("run"), fs::Permissions::from_mode(0o755)).expect("it can be set");
    std::os::unix::fs::symlink("a/b", at("link")).expect("a link can be made");
    let programs: [(&str, &[&str]); 4] = [
        ("zip", &["-qry", "../out", "."]),
        (
            "python3",
            &[
                "-c",
                "import shutil; shutil.make_archive('../made', 'zip'); import os; os.rename('../made.zip', '../out')",
            ],
        ),
        ("tar", &["-cf", "../out", "."]),
        ("tar", &["-czf", "../out", "--format=posix", "."]),
    ];
    for (program, arguments) in programs {
        let _ = fs::remove_file(source.path().join("out"));
        let ran = Command::new(program)
            .args(arguments)
            .current_dir(at(""))
            .bounded_output();
        let Ok(ran) = ran else {
            assert!(program != "tar", "there is no tar");
            continue;
        };
        assert!(
            ran.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        let out = if source.path().join("out").exists() {
            "out"
        } else {
            "out.zip"
        };
        let mut bytes = Vec::new();
        let mut file = File::open(source.path().join(out)).expect("it was made");
        file.read_to_end(&mut bytes).expect("it can be read");
        let _ = fs::remove_file(source.path().join(out));
        let place = Place::new();
        let unpacked = place.unpack(&bytes);
        unpacked.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert_eq!(place.read("a/b/ü.txt"), "text".repeat(1000), "{program}");
        assert_eq!(place.mode("run") & 0o111, 0o111, "{program}");
    }
}

/// A disk that fails in the middle is told with what was written to it.
#[test]
fn a_directory_that_is_gone_is_an_error_of_this_machine() {
    let place = Place::new();
    let archive = place.directory.path().join("archive");
    fs::write(&archive, zip(&[Entry::file("a", "x")])).expect("it can be written");
    let gone = place.directory.path().join("gone");
    let unpacked = unpack(&archive, &gone, &Limits::default(), &AtomicBool::new(false));
    let said = unpacked.expect_err("there is no directory").to_string();
    assert!(
        said.contains("could not write") && said.contains("gone/a"),
        "{said}"
    );
    let missing = unpack(
        &place.root().join("none"),
        &gone,
        &Limits::default(),
        &AtomicBool::new(false),
    );
    let kind = |error: Error| match error {
        Error::Io { source, .. } => source.kind(),
        other => panic!("{other}"),
    };
    assert_eq!(missing.map_err(kind), Err(io::ErrorKind::NotFound));
}
