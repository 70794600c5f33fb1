//! The ZIP format, as far as an artifact needs it (APPNOTE.TXT, 4.3 to 4.5): what stands before the content of an entry,
//! and what the end of an archive says of all entries.
//!
//! Content comes here already compressed. That is why no crate does it: the one there is takes content only through
//! compressors of its own, a new one for every file, and of 20,000 small files that is a quarter of the work.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Sizes and places from here on do not fit, and ZIP64 has room for them elsewhere.
const LIMIT: u64 = u32::MAX as u64;

/// The same for the number of entries.
const MANY: u64 = u16::MAX as u64;

/// Version 2.0 of the format: directories and deflate.
const VERSION: u16 = 20;

/// Version 4.5: ZIP64.
const VERSION_ZIP64: u16 = 45;

/// In the upper byte of "made by": the attributes are those of Unix.
const UNIX: u16 = 3 << 8;

/// The name is UTF-8.
const UTF_8: u16 = 1 << 11;

/// Where CRC and sizes stand in the header of an entry.
const CRC_OFFSET: u64 = 14;

/// Where the name begins in the header of an entry.
const NAME_OFFSET: u64 = 30;

/// How content is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// As it is.
    Stored = 0,
    /// As deflate has it, without a frame around it.
    Deflated = 8,
}

/// What is known of content once all of it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// CRC-32 of the original.
    pub(super) crc: u32,
    /// Bytes in the archive.
    pub(super) stored: u64,
    /// Bytes of the original.
    pub(super) original: u64,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    name: Box<str>,
    mode: u32,
    time: Time,
    method: Method,
    large: bool,
    /// Its content; before that is known, zeros.
    pub(super) content: Content,
}

impl Entry {
    /// An entry under this name, with the mode as Unix has it: kind and permissions.
    pub(super) fn new(name: &str, mode: u32, time: Time, method: Method) -> Self {
        Self {
            name: name.into(),
            mode,
            time,
            method,
            large: false,
            content: Content::default(),
        }
    }

    /// The same with room for sizes that do not fit in 32 bits.
    pub(super) fn large(self, large: bool) -> Self {
        Self { large, ..self }
    }

    /// How its content is kept.
    pub(super) fn method(&self) -> Method {
        self.method
    }

    /// Whether it has room for the sizes of its content.
    pub(super) fn has_room(&self) -> bool {
        self.large || self.content.stored.max(self.content.original) < LIMIT
    }

    /// Adds what stands before its content.
    pub(super) fn put_header(&self, out: &mut Vec<u8>) {
        put_u32(out, 0x0403_4b50);
        let extra = if self.large { 4 + 16 } else { 0 };
        self.put_common(out, self.version(0), extra);
        out.extend_from_slice(self.name.as_bytes());
        if self.large {
            self.put_zip64_sizes(out);
        }
    }

    /// What has to be written over its header once its content is known, and how far behind the header's beginning.
    pub(super) fn corrections(&self) -> Vec<(u64, Vec<u8>)> {
        let mut fixed = Vec::new();
        self.put_content(&mut fixed);
        let mut corrections = vec![(CRC_OFFSET, fixed)];
        if self.large {
            let mut sizes = Vec::new();
            self.put_zip64_sizes(&mut sizes);
            corrections.push((NAME_OFFSET + self.name.len() as u64, sizes));
        }
        corrections
    }

    /// Adds its line in the directory, where `offset` is the place of its header.
    fn put_line(&self, out: &mut Vec<u8>, offset: u64) {
        let mut zip64 = Vec::new();
        if self.large {
            put_u64(&mut zip64, self.content.original);
            put_u64(&mut zip64, self.content.stored);
        }
        if offset >= LIMIT {
            put_u64(&mut zip64, offset);
        }
        let extra = if zip64.is_empty() { 0 } else { 4 + len(&zip64) };
        put_u32(out, 0x0201_4b50);
        put_u16(out, UNIX | self.version(offset));
        self.put_common(out, self.version(offset), extra);
        // No comment, the first disk, no internal attributes.
        out.extend_from_slice(&[0; 6]);
        put_u32(out, self.mode << 16);
        put_u32(out, clamp(offset));
        out.extend_from_slice(self.name.as_bytes());
        if extra > 0 {
            put_u16(out, 1);
            put_u16(out, len(&zip64));
            out.extend_from_slice(&zip64);
        }
    }

    fn version(&self, offset: u64) -> u16 {
        if self.large || offset >= LIMIT {
            VERSION_ZIP64
        } else {
            VERSION
        }
    }

    /// What header and directory have in common: from the version to the lengths of name and extra field.
    fn put_common(&self, out: &mut Vec<u8>, version: u16, extra: u16) {
        put_u16(out, version);
        put_u16(out, if self.name.is_ascii() { 0 } else { UTF_8 });
        put_u16(out, self.method as u16);
        put_u16(out, self.time.time);
        put_u16(out, self.time.date);
        self.put_content(out);
        put_u16(out, len(self.name.as_bytes()));
        put_u16(out, extra);
    }

    fn put_content(&self, out: &mut Vec<u8>) {
        put_u32(out, self.content.crc);
        for size in [self.content.stored, self.content.original] {
            put_u32(out, if self.large { u32::MAX } else { clamp(size) });
        }
    }

    fn put_zip64_sizes(&self, out: &mut Vec<u8>) {
        put_u16(out, 1);
        put_u16(out, 16);
        put_u64(out, self.content.original);
        put_u64(out, self.content.stored);
    }
}

/// The directory at the end of an archive.
#[derive(Debug, Default)]
pub(super) struct Directory {
    lines: Vec<u8>,
    entries: u64,
}

impl Directory {
    /// Adds an entry whose header is at `offset`.
    pub(super) fn add(&mut self, entry: &Entry, offset: u64) {
        entry.put_line(&mut self.lines, offset);
        self.entries += 1;
    }

    /// The end of an archive whose entries end at `offset`.
    pub(super) fn finish(self, offset: u64) -> Vec<u8> {
        let (mut out, entries) = (self.lines, self.entries);
        let size = out.len() as u64;
        if entries >= MANY || size >= LIMIT || offset >= LIMIT {
            put_u32(&mut out, 0x0606_4b50);
            // The length of what follows in this record, then who wrote it and who can read it.
            put_u64(&mut out, 44);
            put_u16(&mut out, UNIX | VERSION_ZIP64);
            put_u16(&mut out, VERSION_ZIP64);
            // This disk and that of the directory.
            put_u64(&mut out, 0);
            for number in [entries, entries, size, offset] {
                put_u64(&mut out, number);
            }
            put_u32(&mut out, 0x0706_4b50);
            put_u32(&mut out, 0);
            put_u64(&mut out, offset + size);
            put_u32(&mut out, 1);
        }
        put_u32(&mut out, 0x0605_4b50);
        put_u32(&mut out, 0);
        let entries = u16::try_from(entries).unwrap_or(u16::MAX);
        put_u16(&mut out, entries);
        put_u16(&mut out, entries);
        put_u32(&mut out, clamp(size));
        put_u32(&mut out, clamp(offset));
        put_u16(&mut out, 0);
        out
    }
}

/// A time as ZIP has it: UTC, two seconds exact, from 1980 to 2107.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    date: u16,
    time: u16,
}

impl Time {
    /// 1980-01-01 00:00:00.
    pub(super) const EARLIEST: Self = Self::new(1980, 1, 1, 0, 0, 0);

    /// 2107-12-31 23:59:58.
    pub(super) const LATEST: Self = Self::new(2107, 12, 31, 23, 59, 58);

    const fn new(year: u16, month: u16, day: u16, hour: u16, minute: u16, second: u16) -> Self {
        Self {
            date: (year - 1980) << 9 | month << 5 | day,
            time: hour << 11 | minute << 5 | (second / 2),
        }
    }
}

impl From<SystemTime> for Time {
    /// What lies outside becomes the nearest.
    fn from(time: SystemTime) -> Self {
        let Ok(timestamp) = Timestamp::try_from(time) else {
            return if time < SystemTime::UNIX_EPOCH {
                Self::EARLIEST
            } else {
                Self::LATEST
            };
        };
        let civil = timestamp.to_zoned(TimeZone::UTC).datetime();
        let part = |number: i8| u16::from(number.unsigned_abs());
        match civil.year() {
            ..1980 => Self::EARLIEST,
            2108.. => Self::LATEST,
            year => Self::new(
                year.unsigned_abs(),
                part(civil.month()),
                part(civil.day()),
                part(civil.hour()),
                part(civil.minute()),
                part(civil.second()),
            ),
        }
    }
}

fn put_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// The number, or the largest, which says that ZIP64 has it.
fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn len(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).expect("invariant: names are paths, of a few KiB at most")
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _};
    use std::time::Duration;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn entry(name: &str, text: &[u8], large: bool) -> Entry {
        let mut crc = flate2::Crc::new();
        crc.update(text);
        let entry = Entry::new(name, 0o100_644, Time::EARLIEST, Method::Stored).large(large);
        let content = Content {
            crc: crc.sum(),
            stored: text.len() as u64,
            original: text.len() as u64,
        };
        Entry { content, ..entry }
    }

    #[test]
    fn places_beyond_4_gib_are_found() {
        let mut file = tempfile::tempfile().unwrap();
        let mut directory = Directory::default();
        // The file has a hole before each of them.
        for (place, name) in [(0, "first"), (GIB * 9 / 2, "second"), (GIB * 5, "ärger")] {
            let entry = entry(name, name.as_bytes(), name == "second");
            let mut header = Vec::new();
            entry.put_header(&mut header);
            file.seek(SeekFrom::Start(place)).unwrap();
            file.write_all(&header).unwrap();
            file.write_all(name.as_bytes()).unwrap();
            directory.add(&entry, place);
        }
        let end = file.stream_position().unwrap();
        file.write_all(&directory.finish(end)).unwrap();
        let mut archive = zip::ZipArchive::new(file).unwrap();
        for (index, name) in ["first", "second", "ärger"].into_iter().enumerate() {
            let mut content = String::new();
            let mut file = archive.by_index(index).unwrap();
            assert_eq!(file.name().unwrap(), name);
            file.read_to_string(&mut content).unwrap();
            assert_eq!(content, name);
        }
    }

    #[test]
    fn there_is_no_limit_to_the_number_of_entries() {
        for count in [65_534_usize, 65_535, 65_536, 70_000] {
            let (mut out, mut directory) = (Vec::new(), Directory::default());
            for number in 0..count {
                let entry = entry(&format!("{number}"), b"", false);
                directory.add(&entry, out.len() as u64);
                entry.put_header(&mut out);
            }
            let end = directory.finish(out.len() as u64);
            out.extend_from_slice(&end);
            let archive = zip::ZipArchive::new(Cursor::new(out)).unwrap();
            assert_eq!(archive.len(), count);
        }
    }

    #[test]
    fn a_header_is_corrected_in_place() {
        for large in [false, true] {
            let known = entry("name", b"content", large);
            let mut expected = Vec::new();
            known.put_header(&mut expected);
            let unknown = Entry {
                content: Content::default(),
                ..entry("name", b"content", large)
            };
            let mut header = Vec::new();
            unknown.put_header(&mut header);
            for (offset, bytes) in known.corrections() {
                let offset = usize::try_from(offset).unwrap();
                header[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            assert_eq!(header, expected);
        }
    }

    #[test]
    fn times_outside_of_what_zip_knows_become_the_nearest() {
        let after = |seconds| Time::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(after(0), Time::EARLIEST);
        assert_eq!(after(1_700_000_000), Time::new(2023, 11, 14, 22, 13, 20));
        assert_eq!(after(1 << 33), Time::LATEST);
        assert_eq!(after(1 << 40), Time::LATEST);
    }
}
