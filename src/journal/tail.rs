//! Where did the journal stop? Finds the last good line, and says what a crash or a hand did to the end.
//! Absent on purpose: the whole chain (that is `verify`), and any repair: the writer cuts what is named torn here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use ssh_key::PublicKey;

use super::head::Record;
use super::line::{Hash, LINE_MAX, Links};
use super::{OpenError, folder, read};

/// The end of the journal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The newest file; `None` in an empty folder.
    pub day: Option<Date>,
    /// Bytes of the newest file that are good.
    pub len: u64,
    /// The last good line's number; 0 before the first.
    pub seq: u64,
    /// The last good line's hash.
    pub hash: Hash,
    /// Is the last line of all a `head`?
    pub sealed: bool,
    /// What stands behind the last good line.
    pub torn: Option<Vec<u8>>,
    /// The file `HEAD` is missing or not readable beside existing lines.
    pub headless: bool,
}

/// Reads the end of the newest file and checks its last two lines, and `HEAD`, against each other.
///
/// # Errors
/// [`OpenError::Broken`] where the last lines do not follow each other, [`OpenError::CutOff`] where `HEAD` knows of later ones.
pub(crate) fn find(dir: &Path, key: &PublicKey) -> Result<Tail, OpenError> {
    let failed = |source| OpenError::Io { what: "read the journal in", path: dir.to_owned(), source };
    let days = read::days(dir).map_err(failed)?;
    let newest = days.last().copied();
    let mut tail =
        Tail { day: newest, len: 0, seq: 0, hash: Hash::ZERO, sealed: true, torn: None, headless: false };
    let mut after: Option<(Links, PathBuf, u64)> = None;
    'files: for day in days.into_iter().rev() {
        let path = dir.join(read::file_name(day));
        let file = read::open(&path).map_err(failed)?;
        let mut ends = last_lines(&file).map_err(failed)?;
        if Some(day) == newest {
            tail.len = ends.len;
            // A whole line that is no line of a journal was torn too: the disk kept its newline and not its middle.
            if ends.lines.last().is_some_and(|(_, line)| Links::read(line).is_none())
                && let Some((offset, mut line)) = ends.lines.pop()
            {
                line.push(b'\n');
                line.append(&mut ends.torn);
                ends.torn = line;
                tail.len = offset;
            }
            tail.torn = Some(ends.torn).filter(|t| !t.is_empty());
        } else if !ends.torn.is_empty() {
            return Err(broken(&path, ends.len, "its last line is torn"));
        }
        for (offset, line) in ends.lines.into_iter().rev() {
            let links = Links::read(&line).ok_or_else(|| broken(&path, offset, "not a line of a journal"))?;
            let hash = Hash::of(&line);
            if let Some((next, next_path, next_offset)) = after {
                if next.prev != hash || next.seq != links.seq + 1 {
                    return Err(broken(&next_path, next_offset, "it does not follow the line before it"));
                }
                break 'files;
            }
            tail.seq = links.seq;
            tail.hash = hash;
            tail.sealed = links.head.is_some();
            after = Some((links, path.clone(), offset));
        }
    }
    check_head(dir, key, &mut tail)?;
    Ok(tail)
}

fn check_head(dir: &Path, key: &PublicKey, tail: &mut Tail) -> Result<(), OpenError> {
    let text = folder::read_head(dir).map_err(|source| OpenError::Io {
        what: "read HEAD in",
        path: dir.to_owned(),
        source,
    })?;
    let Some(record) = Record::read(&text, key) else {
        tail.headless = tail.seq > 0;
        return Ok(());
    };
    if record.seq > tail.seq {
        return Err(OpenError::CutOff { dir: dir.to_owned(), first: tail.seq + 1, last: record.seq });
    }
    if record.seq == tail.seq && record.hash != tail.hash {
        let path = tail.day.map(|day| dir.join(read::file_name(day))).unwrap_or_default();
        return Err(broken(&path, tail.len.saturating_sub(1), "it was changed after HEAD was signed for it"));
    }
    Ok(())
}

/// The last whole lines of a file with their offsets (at most three), the bytes up to the last newline, and the rest.
struct Ends {
    lines: Vec<(u64, Vec<u8>)>,
    len: u64,
    torn: Vec<u8>,
}

fn last_lines(file: &File) -> io::Result<Ends> {
    let size = file.metadata()?.len();
    // Room for three lines and a torn one; more of a torn end is looked for in steps.
    let mut window = 4 * (LINE_MAX as u64 + 1);
    loop {
        let start = size.saturating_sub(window);
        let mut bytes = vec![0; usize::try_from(size - start).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, start)?;
        let newlines = bytes.split(|&b| b == b'\n').count() - 1;
        if newlines < 4 && start > 0 && window < 64 << 20 {
            window *= 4;
            continue;
        }
        let mut offset = start;
        let mut lines = Vec::new();
        let mut torn = Vec::new();
        for part in bytes.split_inclusive(|&b| b == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(line) => lines.push((offset, line.to_vec())),
                None => torn = part.to_vec(),
            }
            offset += part.len() as u64;
        }
        let skip = lines.len().saturating_sub(3);
        lines.drain(..skip);
        return Ok(Ends { lines, len: size - torn.len() as u64, torn });
    }
}

/// Names file and line; the line is counted only now that somebody wants to know.
fn broken(path: &Path, offset: u64, why: &'static str) -> OpenError {
    let line = std::fs::read(path).map_or(0, |bytes| {
        let before = bytes.get(..usize::try_from(offset).unwrap_or(usize::MAX)).unwrap_or(&bytes);
        before.split(|&b| b == b'\n').count()
    });
    OpenError::Broken { path: path.to_owned(), line, why }
}
