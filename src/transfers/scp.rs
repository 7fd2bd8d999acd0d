//! The old scp protocol: lines that announce files and folders, payload, and an answer to each.
//! Absent on purpose: `WinSCP`'s SCP mode, which types its commands into a shell. Source: OpenSSH's scp.c, `source` and `sink`.

use std::collections::VecDeque;

use super::command::{Request, file_name};
use super::event::{Change, Changed, Direction, Event, Extent, Moved, Name, Outcome, Part, Unreadable};
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
            let (path, other) = self.place(&name.clone());
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

    fn receiver_sent(&mut self, mut bytes: &[u8]) -> Result<(), Unreadable> {
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = rest;
            if self.refusal {
                self.refusal = *byte != b'\n';
                if !self.refusal {
                    self.answered(false)?;
                }
            } else if *byte == 0 {
                self.answered(true)?;
            } else {
                // \x01 and \x02 with a text; anything else is taken as its first letter, as `response` in scp.c does.
                self.refusal = *byte != b'\n';
                if !self.refusal {
                    self.answered(false)?;
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, well: bool) -> Result<(), Unreadable> {
        match std::mem::replace(&mut self.sender, Sender::Line) {
            Sender::AwaitsGo => {}
            Sender::AwaitsFolder(name) => {
                let (path, other) = self.place(&name);
                self.tell_folder(path, other, if well { Outcome::Done } else { Outcome::Failed(1) });
                if well {
                    self.folders_bytes = self.folders_bytes.saturating_add(name.len());
                    self.folders.push(name);
                    if self.folders.len() > DEPTH_MAX || self.folders_bytes > PATH_MAX {
                        return Err(Unreadable::TooDeep);
                    }
                }
            }
            Sender::AwaitsFile(name, size) => {
                if well {
                    let (path, other) = self.place(&name);
                    self.file =
                        Some(File { path, other, hasher: Hasher::default(), bytes: 0, sender_failed: false });
                    self.sender = if size == 0 { Sender::Verdict } else { Sender::Payload(size) };
                }
            }
            Sender::AwaitsKept => {
                if let Some(file) = self.file.take() {
                    let extent = match (file.sender_failed, well) {
                        (true, _) => Extent::Partly(Part::SenderFailed),
                        (false, true) => Extent::Whole,
                        (false, false) => Extent::Partly(Part::Failed(1)),
                    };
                    self.tell_file(file, extent);
                }
            }
            busy @ (Sender::Verdict | Sender::Complaint) if self.early.is_none() => {
                self.sender = busy;
                self.early = Some(well);
            }
            // Not asked: a receiver that gives up in the middle says so, and ends.
            busy @ (Sender::Line | Sender::Payload(_) | Sender::Verdict | Sender::Complaint) => {
                self.sender = busy;
                if well {
                    return Err(Unreadable::Unasked);
                }
            }
        }
        let ahead: Vec<u8> = std::mem::take(&mut self.ahead).into();
        self.sender_sent(&ahead)
    }

    /// Where a name lies: under the command's path, and where else if that is no folder.
    fn place(&self, name: &[u8]) -> (Name, Option<Name>) {
        let below = self.folders.iter().map(Vec::as_slice).chain([name]);
        match self.request.direction {
            Direction::Upload => {
                let base = self.request.paths.first().map_or(b"".as_slice(), Vec::as_slice);
                let folder = self.request.folder || matches!(file_name(base), b"" | b"." | b"..");
                let other = (!folder).then(|| Name::new(&joined(base, below.clone().skip(1))));
                (Name::new(&joined(base, below)), other)
            }
            Direction::Download => {
                let first = self.folders.first().map_or(name, Vec::as_slice);
                let named = |path: &&Vec<u8>| file_name(trimmed(path)) == first;
                let base = self.request.paths.iter().find(named).or(match self.request.paths.as_slice() {
                    [one] => Some(one),
                    _ => None,
                });
                let base = base.map_or(b"".as_slice(), |path| trimmed(path));
                let above = base.get(..base.len().saturating_sub(file_name(base).len())).unwrap_or_default();
                (Name::new(&joined(above, below)), None)
            }
        }
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

fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    path.get(..end).unwrap_or(path)
}

fn joined<'a>(base: &[u8], names: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut path = base.to_vec();
    for name in names {
        if !path.is_empty() && !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}

#[cfg(test)]
mod tests;
