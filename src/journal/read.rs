//! The journal's files as a stream of raw lines, in order and in constant memory.
//! Absent on purpose: what a line means, and any write.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;

use super::line::LINE_MAX;

/// A line as it stands in a file.
#[derive(Clone, Debug)]
pub(crate) struct RawLine {
    /// The file's name in the folder, `2026-11-21.jsonl`.
    pub file: Arc<str>,
    /// Counted from 1.
    pub number: u64,
    /// Without its newline; of a line longer than [`LINE_MAX`] only the first bytes.
    pub bytes: Vec<u8>,
    pub end: End,
}

/// How a raw line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Newline,
    /// The file ended first.
    Torn,
    /// It went on past [`LINE_MAX`] and was skipped.
    TooLong,
}

/// The day a journal file is named after; `None` for every other file.
pub(crate) fn day_of(name: &str) -> Option<Date> {
    let stem = name.strip_suffix(".jsonl").filter(|s| s.len() == 10)?;
    stem.parse().ok()
}

/// The journal's files in the folder, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn days(dir: &Path) -> io::Result<Vec<Date>> {
    let mut days = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        if let Some(day) = entry?.file_name().to_str().and_then(day_of) {
            days.push(day);
        }
    }
    days.sort_unstable();
    Ok(days)
}

pub(crate) fn file_name(day: Date) -> String {
    format!("{day}.jsonl")
}

/// Opens a file of the folder for reading; a symbolic link is refused.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The lines of one file.
pub(crate) struct FileLines {
    reader: BufReader<File>,
    name: Arc<str>,
    number: u64,
}

impl FileLines {
    pub(crate) fn open(dir: &Path, day: Date) -> io::Result<Self> {
        let name = file_name(day);
        let reader = BufReader::with_capacity(256 * 1024, open(&dir.join(&name))?);
        Ok(Self { reader, name: name.into(), number: 0 })
    }

    /// The next line, `None` at the file's end.
    pub(crate) fn next(&mut self) -> io::Result<Option<RawLine>> {
        let limit = LINE_MAX as u64 + 1;
        let mut bytes = Vec::with_capacity(512);
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut bytes)? as u64;
        if read == 0 {
            return Ok(None);
        }
        let end = if bytes.last() == Some(&b'\n') {
            bytes.pop();
            End::Newline
        } else if read < limit {
            End::Torn
        } else {
            self.reader.skip_until(b'\n')?;
            End::TooLong
        };
        self.number += 1;
        Ok(Some(RawLine { file: Arc::clone(&self.name), number: self.number, bytes, end }))
    }
}

/// The lines of several files, one file open at a time.
pub(crate) struct Lines {
    dir: PathBuf,
    days: std::vec::IntoIter<Date>,
    file: Option<FileLines>,
}

impl Lines {
    pub(crate) fn new(dir: &Path, days: Vec<Date>) -> Self {
        Self { dir: dir.to_owned(), days: days.into_iter(), file: None }
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<RawLine>> {
        loop {
            if let Some(file) = &mut self.file
                && let Some(line) = file.next()?
            {
                return Ok(Some(line));
            }
            let Some(day) = self.days.next() else { return Ok(None) };
            self.file = Some(FileLines::open(&self.dir, day)?);
        }
    }
}
