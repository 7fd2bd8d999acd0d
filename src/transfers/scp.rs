//! The old scp protocol: lines that announce files and folders, payload, and an answer to each.
//! Absent on purpose: `WinSCP`'s SCP mode, which types its commands into a shell. Source: OpenSSH's scp.c, `source` and `sink`.

mod answers;
mod place;

use std::collections::VecDeque;

use super::command::Request;
use super::event::{Change, Changed, Direction, Event, Extent, Moved, Name, Outcome, Unreadable};
use super::order::Hasher;

/// The longest line: OpenSSH's buffer is 2 KiB; a name has at most 255 bytes almost everywhere.
const LINE_MAX: usize = 8 * 1024;
/// Folders within folders; Linux paths end near 2,000.
const DEPTH_MAX: usize = 2048;
/// Bytes of the folders' names; a path that long cannot be opened.
const PATH_MAX: usize = 64 * 1024;
/// What a sender may send before an answer. Real ones wait; scripts that do not send a few lines and a small file.
const AHEAD_MAX: usize = 256 * 1024;

/// One scp channel.
#[derive(Debug)]
pub(super) struct Scp {
    request: Request,
    sender: Sender,
    line: Vec<u8>,
    /// An answer's text, being passed over.
    refusal: bool,
    /// What the sender sent while an answer was due.
    ahead: VecDeque<u8>,
    /// The answer to a whole file, given before the sender's verdict on it: pscp does not wait for that.
    early: Option<bool>,
    folders: Vec<Vec<u8>>,
    folders_bytes: usize,
    file: Option<File>,
    stopped: bool,
    events: Vec<Event>,
}

/// What comes next from the sender, or what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sender {
    /// The receiver's first answer, or that to a line of times or of a folder's end.
    AwaitsGo,
    /// The answer to a folder's line.
    AwaitsFolder(Vec<u8>),
    /// The answer to a file's line.
    AwaitsFile(Vec<u8>, u64),
    /// The answer to a whole file.
    AwaitsKept,
    Line,
    Payload(u64),
    /// The byte after the payload: whether the sender could read it all.
    Verdict,
    /// The line of a verdict that is none.
    Complaint,
}

#[derive(Debug)]
struct File {
    path: Name,
    other: Option<Name>,
    hasher: Hasher,
    bytes: u64,
    sender_failed: bool,
}

impl Scp {
    pub(super) fn new(request: Request) -> Self {
        Self {
            request,
            sender: Sender::AwaitsGo,
            line: Vec::new(),
            refusal: false,
            ahead: VecDeque::new(),
            early: None,
            folders: Vec::new(),
            folders_bytes: 0,
            file: None,
            stopped: false,
            events: Vec::new(),
        }
    }

    pub(super) fn client_sent(&mut self, bytes: &[u8]) -> Vec<Event> {
        match self.request.direction {
            Direction::Upload => self.read(bytes, Self::sender_sent),
            Direction::Download => self.read(bytes, Self::receiver_sent),
        }
    }

    pub(super) fn target_sent(&mut self, bytes: &[u8]) -> Vec<Event> {
        match self.request.direction {
            Direction::Upload => self.read(bytes, Self::receiver_sent),
            Direction::Download => self.read(bytes, Self::sender_sent),
        }
    }

    fn read(&mut self, bytes: &[u8], by: fn(&mut Self, &[u8]) -> Result<(), Unreadable>) -> Vec<Event> {
        if !self.stopped
            && let Err(why) = by(self, bytes)
        {
            self.unfinished();
            self.events.push(Event::Unreadable(why));
            self.stopped = true;
            (self.line, self.ahead, self.folders) = (Vec::new(), VecDeque::new(), Vec::new());
        }
        std::mem::take(&mut self.events)
    }

    pub(super) fn end(mut self) -> Vec<Event> {
        if !self.stopped {
            self.unfinished();
        }
        self.events
    }

    fn unfinished(&mut self) {
        if let Sender::AwaitsFolder(name) = &self.sender {
            let (path, other) = place::of(&self.request, &self.folders, &name.clone());
            self.tell_folder(path, other, Outcome::Unanswered);
        }
        if let Some(file) = self.file.take() {
            self.tell_file(file, Extent::Unfinished);
        }
    }

    fn sender_sent(&mut self, mut bytes: &[u8]) -> Result<(), Unreadable> {
        while !bytes.is_empty() {
            match self.sender.clone() {
                Sender::AwaitsGo | Sender::AwaitsFolder(_) | Sender::AwaitsFile(..) | Sender::AwaitsKept => {
                    if self.ahead.len().saturating_add(bytes.len()) > AHEAD_MAX {
                        return Err(Unreadable::Ahead);
                    }
                    self.ahead.extend(bytes);
                    return Ok(());
                }
                Sender::Line => {
                    if let Some(line) = self.gather(&mut bytes)? {
                        self.announced(&line)?;
                    }
                }
                Sender::Payload(left) => {
                    let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let (piece, rest) = bytes.split_at_checked(here).unwrap_or((bytes, &[]));
                    bytes = rest;
                    if let Some(file) = &mut self.file {
                        file.hasher.update(piece);
                        file.bytes = file.bytes.saturating_add(here as u64);
                    }
                    let left = left.saturating_sub(here as u64);
                    self.sender = if left == 0 { Sender::Verdict } else { Sender::Payload(left) };
                }
                Sender::Verdict => {
                    let Some((verdict, rest)) = bytes.split_first() else { return Ok(()) };
                    bytes = rest;
                    if let Some(file) = &mut self.file {
                        file.sender_failed |= *verdict != 0;
                    }
                    if *verdict == 0 {
                        self.judged()?;
                    } else {
                        self.sender = Sender::Complaint;
                    }
                }
                Sender::Complaint => {
                    if self.gather(&mut bytes)?.is_some() {
                        self.judged()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The sender has said whether it could read its file.
    fn judged(&mut self) -> Result<(), Unreadable> {
        self.sender = Sender::AwaitsKept;
        self.early.take().map_or(Ok(()), |well| self.answered(well))
    }

    /// Takes up to the end of a line; the line without it.
    fn gather(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        let end = bytes.iter().position(|b| *b == b'\n');
        let (piece, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
        if self.line.len().saturating_add(piece.len()) > LINE_MAX {
            return Err(Unreadable::Malformed);
        }
        self.line.extend_from_slice(piece);
        *bytes = rest.get(1..).unwrap_or_default();
        Ok(end.map(|_| std::mem::take(&mut self.line)))
    }

    fn announced(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        match line.split_first() {
            // A complaint of the sender has no answer.
            Some((1 | 2, _)) => {}
            Some((b'T', _)) => self.sender = Sender::AwaitsGo,
            Some((b'E', [])) => {
                // One E more than D ends a sender within its first folder; OpenSSH's sink just returns.
                if let Some(left) = self.folders.pop() {
                    self.folders_bytes = self.folders_bytes.saturating_sub(left.len());
                }
                self.sender = Sender::AwaitsGo;
            }
            Some((kind @ (b'C' | b'D'), rest)) => {
                let (size, name) = size_and_name(rest).ok_or(Unreadable::Malformed)?;
                self.sender = if *kind == b'C' {
                    Sender::AwaitsFile(name.to_vec(), size)
                } else {
                    Sender::AwaitsFolder(name.to_vec())
                };
            }
            _ => return Err(Unreadable::Malformed),
        }
        Ok(())
    }

    fn tell_folder(&mut self, path: Name, other: Option<Name>, outcome: Outcome) {
        // The target's folders are not changed by a download.
        if self.request.direction == Direction::Upload {
            self.events.push(Event::Changed(Changed { change: Change::FolderMade, path, other, outcome }));
        }
    }

    fn tell_file(&mut self, file: File, extent: Extent) {
        self.events.push(Event::Moved(Moved {
            path: file.path,
            other: file.other,
            direction: self.request.direction,
            bytes: file.bytes,
            sha256: (extent == Extent::Whole).then(|| file.hasher.finish()),
            extent,
            ranges: if file.bytes == 0 { Vec::new() } else { std::iter::once(0..file.bytes).collect() },
            more_ranges: false,
        }));
    }

    pub(super) fn held(&self) -> usize {
        let file = self.file.as_ref().map_or(0, |f| f.path.held() + f.other.as_ref().map_or(0, Name::held));
        self.line.capacity() + self.ahead.capacity() + self.folders_bytes + self.folders.len() * 24 + file
    }
}

/// `0644 1234 name` → size and name, which may have any byte but a newline.
fn size_and_name(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut parts = line.splitn(3, |b| *b == b' ');
    let (mode, size, name) = (parts.next()?, parts.next()?, parts.next()?);
    let octal = !mode.is_empty() && mode.iter().all(|b| (b'0'..=b'7').contains(b));
    let decimal = !size.is_empty() && size.iter().all(u8::is_ascii_digit);
    if !octal || !decimal || name.is_empty() {
        return None;
    }
    Some((std::str::from_utf8(size).ok()?.parse().ok()?, name))
}

#[cfg(test)]
mod tests;
