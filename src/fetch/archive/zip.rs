//! ZIP archives. The directory at the end of an archive is what counts; it is read entry by entry, in one bounded buffer.

use std::fs::File;
use std::io::Read;

use rawzip::extra_fields::ExtraFieldId;
use rawzip::{
    CompressionMethod, CreatorSystem, FileReader, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipArchive,
    ZipArchiveEntryWayfinder, ZipFileHeaderRecord, ZipLocator,
};

use super::Error;
use super::name::{self, Name};
use super::tree::{DIRECTORY_MODE, FILE_MODE, Tree};

/// The kind of a file in its mode.
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const REGULAR: u32 = 0o100_000;

/// Says in the attributes of DOS that it is a directory.
const DOS_DIRECTORY: u32 = 0x10;

/// Bit 11 of the flags: the name is UTF-8.
const UTF_8: u16 = 1 << 11;

/// The name in UTF-8, beside one that need not be: Info-ZIP's "Unicode Path".
const UNICODE_PATH: u16 = 0x7075;

/// Longest target of a link, in bytes.
const LONGEST_TARGET: u64 = 4096;

/// What is to be made of an entry.
struct Entry {
    /// As the archive has it, for messages.
    raw: Vec<u8>,
    name: Name,
    kind: u32,
    mode: u32,
    size: u64,
    method: CompressionMethod,
    place: ZipArchiveEntryWayfinder,
}

/// Ends of archives that are looked at in one file: all but one are in comments, or in what is stored.
const ENDS: usize = 16;

/// Whether a file has the directory of a ZIP archive somewhere at its end.
pub(super) fn has_directory(file: &File) -> bool {
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    file.try_clone()
        .is_ok_and(|file| open(file, &mut buffer).is_ok())
}

/// Finds the end of an archive. Bytes that look like one may stand in its comment.
fn open(file: File, buffer: &mut [u8]) -> Result<ZipArchive<FileReader>, Error> {
    let size = file
        .metadata()
        .map_err(|error| Error::broken(error.to_string()))?;
    let mut end = size.len();
    let mut reader = FileReader::from(file);
    let locator = ZipLocator::new();
    for _ in 0..ENDS {
        match locator.locate_in_reader(reader, buffer, end) {
            Ok(archive) => return Ok(archive),
            Err((same, error)) => match error.eocd_offset() {
                Some(offset) if offset < end => (reader, end) = (same, offset),
                _ => break,
            },
        }
    }
    Err(Error::broken(
        "it has no end: it may be a part of an archive only",
    ))
}

/// Unpacks an archive.
pub(super) fn unpack(file: File, tree: &mut Tree<'_>) -> Result<(), Error> {
    let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let archive = open(file, &mut buffer)?;
    let said = archive.entries_hint();
    let mut entries = archive.entries(&mut buffer);
    while let Some(record) = entries.next_entry().map_err(broken)? {
        tree.begin()?;
        let entry = read(&record)?;
        put(&archive, entry, tree)?;
    }
    // What does not count further than 65,535 begins anew there.
    let found = tree.entries();
    if found < said || !(found - said).is_multiple_of(65_536) {
        return Err(Error::broken(format!(
            "it says that it has {said} entries, and has {found}"
        )));
    }
    Ok(())
}

/// What an entry of the directory says, as far as it can be had.
fn read(record: &ZipFileHeaderRecord<'_>) -> Result<Entry, Error> {
    let raw = record.file_path().as_bytes().to_vec();
    let refused = |problem: &str| Error::entry(&raw, problem);
    if record.flags().is_encrypted() || record.compression_method() == CompressionMethod::AES {
        return Err(refused("it is encrypted"));
    }
    let system = record.version_made_by().creator_system();
    let from_unix = matches!(system, CreatorSystem::UNIX | CreatorSystem::MACOS);
    let mut text = decoded(record).map_err(&refused)?;
    if !from_unix {
        // There `\` is what stands between names, whatever the format says.
        text.iter_mut()
            .filter(|byte| **byte == b'\\')
            .for_each(|byte| *byte = b'/');
    }
    let name = Name::new(&text).map_err(refused)?;
    let attributes = record.external_attributes();
    let unix = if from_unix { attributes >> 16 } else { 0 };
    let is_directory = text.ends_with(b"/") || (!from_unix && attributes & DOS_DIRECTORY != 0);
    let kind = match unix & KIND {
        0 | REGULAR if is_directory => DIRECTORY,
        0 => REGULAR,
        kind => kind,
    };
    let mode = match (unix & 0o777, kind) {
        (0, DIRECTORY) => DIRECTORY_MODE,
        (0, _) => FILE_MODE,
        (mode, _) => mode,
    };
    Ok(Entry {
        name,
        kind,
        mode,
        size: record.uncompressed_size_hint(),
        method: record.compression_method(),
        place: record.wayfinder(),
        raw,
    })
}

/// The name of an entry in UTF-8 (SRC-22). What does not say that it is UTF-8 often is all the same.
fn decoded(record: &ZipFileHeaderRecord<'_>) -> Result<Vec<u8>, &'static str> {
    let path = record.file_path();
    let raw = path.as_bytes();
    let unicode = record
        .extra_fields()
        .find(|(id, _)| *id == ExtraFieldId::new(UNICODE_PATH));
    // It counts as long as it is of this very name, and not of one that was changed since.
    if let Some((_, [1, a, b, c, d, text @ ..])) = unicode
        && u32::from_le_bytes([*a, *b, *c, *d]) == rawzip::crc32(raw)
        && std::str::from_utf8(text).is_ok()
    {
        return Ok(text.to_vec());
    }
    match std::str::from_utf8(raw) {
        Ok(_) => Ok(raw.to_vec()),
        Err(_) if record.flags().bits() & UTF_8 != 0 => {
            Err("its name is said to be UTF-8 and is not")
        }
        Err(_) => Ok(name::from_code_page_437(raw).into_bytes()),
    }
}

fn put(archive: &ZipArchive<FileReader>, entry: Entry, tree: &mut Tree<'_>) -> Result<(), Error> {
    let refused = |problem: String| Error::entry(&entry.raw, problem);
    match entry.kind {
        DIRECTORY if entry.size > 0 => Err(refused("it is a directory with content".to_owned())),
        DIRECTORY => tree.directory(&entry.name, entry.mode),
        REGULAR | LINK if entry.name.is_top() => Err(refused("it has no name".to_owned())),
        REGULAR => {
            let mut content = content(archive, &entry)?;
            tree.file(&entry.name, entry.mode, entry.size, &mut content)
        }
        LINK if entry.size > LONGEST_TARGET => {
            Err(refused("it is a link to no place at all".to_owned()))
        }
        LINK => {
            let mut target = Vec::new();
            content(archive, &entry)?
                .take(LONGEST_TARGET + 1)
                .read_to_end(&mut target)
                .map_err(|error| refused(format!("its content cannot be read: {error}")))?;
            tree.link(entry.name, target)
        }
        _ => Err(refused("it is no file, directory or link".to_owned())),
    }
}

/// The content of an entry. Its end is an error unless size and CRC-32 are those of the directory.
fn content<'a>(
    archive: &'a ZipArchive<FileReader>,
    entry: &Entry,
) -> Result<Box<dyn Read + 'a>, Error> {
    let refused = |problem: String| Error::entry(&entry.raw, problem);
    let found = archive
        .get_entry(entry.place)
        .map_err(|error| refused(format!("it is not where the archive says: {error}")))?;
    let stored = found.reader();
    match entry.method {
        CompressionMethod::STORE => Ok(Box::new(found.verifying_reader(stored))),
        CompressionMethod::DEFLATE => {
            let plain = flate2::read::DeflateDecoder::new(stored);
            Ok(Box::new(found.verifying_reader(plain)))
        }
        other => Err(refused(format!(
            "it is compressed by method {}, and only deflate is known here",
            other.as_u16()
        ))),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn broken(error: rawzip::Error) -> Error {
    Error::broken(error.to_string())
}
