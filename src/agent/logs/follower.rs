//! Reads a file of JSON Lines that grows, line by line.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Bytes that are read at once.
const READ: usize = 64 * 1024;

/// Longest line that is kept, in bytes. Output is cut into chunks far smaller than this; a command is as long as its
/// buildspec at most.
pub const LONGEST_LINE: usize = 4 * 1024 * 1024;

/// What a step of reading came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'f> {
    /// A whole line, without its end.
    Line(&'f [u8]),
    /// A line longer than [`LONGEST_LINE`], which nothing is known of.
    TooLong,
    /// What has been written so far is read. There may be more later.
    End,
}

/// A file that grows, and how far it is read.
#[derive(Debug)]
pub struct Follower {
    file: File,
    /// What was read and not given out yet.
    buffer: Vec<u8>,
    /// Where the line that was given out last ends in the buffer.
    given: usize,
    /// How far the buffer was searched for the end of a line.
    searched: usize,
    /// Where the buffer begins in the file.
    start: u64,
    /// Whether the rest of a line is passed over.
    is_passing: bool,
}

impl Follower {
    /// Reads a file from its beginning.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            buffer: Vec::new(),
            given: 0,
            searched: 0,
            start: 0,
            is_passing: false,
        })
    }

    /// Where the next line begins in the file.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.start + self.given as u64
    }

    /// Whether the file ends in the middle of a line.
    #[must_use]
    pub fn is_inside_line(&self) -> bool {
        self.is_passing || self.given < self.buffer.len()
    }

    /// How many bytes of the file are not given out yet.
    pub fn waiting(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(self.offset()))
    }

    /// The next line that is whole.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        loop {
            let rest = &self.buffer[self.searched..];
            if let Some(found) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.given..self.searched + found;
                self.given = line.end + 1;
                self.searched = self.given;
                if std::mem::take(&mut self.is_passing) {
                    return Ok(Step::TooLong);
                }
                return Ok(Step::Line(&self.buffer[line]));
            }
            self.searched = self.buffer.len();
            if self.is_passing || self.buffer.len() - self.given > LONGEST_LINE {
                self.is_passing = true;
                self.given = self.buffer.len();
            }
            if !self.fill()? {
                return Ok(Step::End);
            }
        }
    }

    /// Reads on. False at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.given);
        self.start += self.given as u64;
        self.searched -= self.given;
        self.given = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + READ, 0);
        // Where it goes on, whatever an attempt before has read and then failed.
        let at = self.start + length as u64;
        let read = self
            .file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.read(&mut self.buffer[length..]));
        self.buffer
            .truncate(length + read.as_ref().copied().unwrap_or(0));
        Ok(read? > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file() -> (tempfile::NamedTempFile, Follower) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let follower = Follower::open(file.path()).unwrap();
        (file, follower)
    }

    #[test]
    fn a_line_is_given_out_when_it_is_whole() {
        let (mut file, mut follower) = file();
        assert_eq!(follower.step().unwrap(), Step::End);
        file.write_all(b"{\"a\"").unwrap();
        assert_eq!(follower.step().unwrap(), Step::End);
        assert!(follower.is_inside_line());
        assert_eq!((follower.offset(), follower.waiting().unwrap()), (0, 4));
        file.write_all(b":1}\n\nlast\nhalf").unwrap();
        assert_eq!(follower.step().unwrap(), Step::Line(b"{\"a\":1}"));
        assert_eq!(follower.step().unwrap(), Step::Line(b""));
        assert_eq!(follower.offset(), 9);
        assert_eq!(follower.step().unwrap(), Step::Line(b"last"));
        assert_eq!(follower.step().unwrap(), Step::End);
        assert_eq!((follower.offset(), follower.waiting().unwrap()), (14, 4));
    }

    #[test]
    fn a_line_may_be_longer_than_what_is_read_at_once() {
        let (mut file, mut follower) = file();
        let long = vec![b'x'; 3 * READ + 7];
        file.write_all(&long).unwrap();
        assert_eq!(follower.step().unwrap(), Step::End);
        file.write_all(b"\nnext\n").unwrap();
        assert_eq!(follower.step().unwrap(), Step::Line(&long));
        assert_eq!(follower.step().unwrap(), Step::Line(b"next"));
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_takes_no_memory() {
        let (mut file, mut follower) = file();
        let piece = vec![b'x'; 1024 * 1024];
        for _ in 0..9 {
            file.write_all(&piece).unwrap();
            assert_eq!(follower.step().unwrap(), Step::End);
            assert!(follower.buffer.capacity() < 3 * LONGEST_LINE);
        }
        file.write_all(b"\nnext\n").unwrap();
        assert_eq!(follower.step().unwrap(), Step::TooLong);
        assert_eq!(follower.step().unwrap(), Step::Line(b"next"));
        assert_eq!(follower.offset(), 9 * 1024 * 1024 + 6);
    }
}
