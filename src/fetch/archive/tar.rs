//! TAR archives, read as a stream.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use tar::{Archive, Entry, EntryType};

use super::Error;
use super::name::Name;
use super::tree::Tree;

/// Size of what an archive consists of, in bytes.
const BLOCK: u64 = 512;

/// The same, as a length.
const BLOCK_LENGTH: usize = 512;

/// Most bytes that describe one entry: its name, its target, and whatever else it says of itself. They are held in memory.
const MOST_OF_A_HEADER: u64 = 1 << 20;

/// Most bytes behind the end of an archive, which fill it up to a round size.
const MOST_PADDING: u64 = 16 << 20;

/// Whether a block is the header of an entry: the sum of its bytes is in it.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Ok(block) = <&[u8; BLOCK_LENGTH]>::try_from(block) else {
        return false;
    };
    let said = tar::Header::from_byte_slice(block).cksum();
    let sum = block.iter().enumerate().fold(0, |sum: u32, (place, byte)| {
        // The sum itself counts as blanks.
        let byte = if (148..156).contains(&place) {
            b' '
        } else {
            *byte
        };
        sum + u32::from(byte)
    });
    said.is_ok_and(|said| said == sum)
}

/// A reader that is allowed so many bytes at a time, and knows how many there were.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
    position: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        let length = buffer.len().min(most);
        if length == 0 && !buffer.is_empty() {
            return Err(io::Error::other("it describes one entry without end"));
        }
        let count = self.inner.read(&mut buffer[..length])?;
        self.left.set(self.left.get() - count as u64);
        self.position.set(self.position.get() + count as u64);
        Ok(count)
    }
}

/// Unpacks an archive.
pub(super) fn unpack(from: impl Read, tree: &mut Tree<'_>) -> Result<(), Error> {
    let left = Rc::new(Cell::new(0));
    let position = Rc::new(Cell::new(0));
    let mut archive = Archive::new(Metered {
        inner: from,
        left: Rc::clone(&left),
        position: Rc::clone(&position),
    });
    let mut end = 0;
    let mut entries = archive.entries().map_err(broken)?;
    loop {
        left.set(MOST_OF_A_HEADER);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(broken)?;
        left.set(u64::MAX);
        end = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK);
        // It describes what follows it, of which nothing is of use here.
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        tree.begin()?;
        put(&mut entry, tree)?;
        // What is not read yet is not to count for the next header.
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
    }
    if position.get() < end + BLOCK {
        return Err(Error::broken("it ends in the middle"));
    }
    // A compressed stream says at its own end whether all of it was right.
    left.set(MOST_PADDING);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    Ok(())
}

fn put<R: Read>(entry: &mut Entry<'_, R>, tree: &mut Tree<'_>) -> Result<(), Error> {
    let raw = entry.path_bytes().into_owned();
    let refused = |problem: &str| Error::entry(&raw, problem);
    if is_sparse(entry).map_err(broken)? {
        return Err(refused("it is a sparse file, which is not known here"));
    }
    let name = Name::new(&raw).map_err(&refused)?;
    let mode = entry.header().mode().map_err(broken)?;
    let size = entry.size();
    let kind = entry.header().entry_type();
    let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
    match kind {
        EntryType::Directory => tree.directory(&name, mode),
        _ if name.is_top() => Err(refused("it has no name")),
        // Before there were kinds, a directory was a file whose name says so.
        EntryType::Regular if raw.ends_with(b"/") => tree.directory(&name, mode),
        EntryType::Regular | EntryType::Continuous => tree.file(&name, mode, size, entry),
        EntryType::Symlink => tree.link(name, target.unwrap_or_default()),
        EntryType::Link => {
            let target = target.unwrap_or_default();
            let target = Name::new(&target)
                .map_err(|_| refused("it is another name of a file that is not in the archive"))?;
            tree.hard_link(&name, &target)
        }
        _ => Err(refused("it is no file, directory or link")),
    }
}

/// Whether what is stored of a file is only a part of it.
fn is_sparse<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<bool> {
    if entry.header().entry_type().is_gnu_sparse() {
        return Ok(true);
    }
    let Some(extensions) = entry.pax_extensions()? else {
        return Ok(false);
    };
    for extension in extensions {
        if extension?.key_bytes().starts_with(b"GNU.sparse.") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn broken(error: io::Error) -> Error {
    Error::broken(error.to_string())
}
