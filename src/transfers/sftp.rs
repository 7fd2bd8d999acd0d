//! SFTP as OpenSSH, PuTTY, `WinSCP`, paramiko and sshfs speak it: which request each answer belongs to, which file each handle is.
//! Absent on purpose: listings and attributes that are only read. Sources: draft-ietf-secsh-filexfer-02 (version 3), -05 and -13
//! for what later versions changed, OpenSSH's PROTOCOL for its extensions.

mod file;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use super::event::{Change, Changed, Event, Name, Outcome, Unreadable};
use super::frames::{Fields, Frames, Need, Step};
use super::order::CHANNEL_WAITING_MAX;
use file::File;
use requests::{Asked, Write};

/// The most requests without an answer; OpenSSH's sftp keeps 64, `-R` may ask for more.
pub const PENDING_MAX: usize = 4096;
/// The most files open at once: the usual limit of open files of a server's process.
pub const OPEN_MAX: usize = 1024;
/// The most bytes of names in open files and unanswered requests together.
pub const NAMES_MAX: usize = 4 << 20;
/// The longest handle: draft-02, section 6.3.
const HANDLE_MAX: usize = 256;

/// `SSH_FX_OK`.
const OK: u32 = 0;
/// `SSH_FX_EOF`.
const EOF: u32 = 1;

const INIT: u8 = 1;
const VERSION: u8 = 2;
const WRITE: u8 = 6;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
/// Types that an answer has: `STATUS` to `ATTRS`, and `EXTENDED_REPLY`.
const ANSWERS: std::ops::RangeInclusive<u8> = 101..=105;
const EXTENDED_REPLY: u8 = 201;

/// One SFTP channel.
#[derive(Debug)]
pub(super) struct Sftp {
    client: Frames,
    target: Frames,
    /// The write whose payload is coming by: file, offset, bytes left.
    writing: Option<(Option<u64>, u64, u32)>,
    reading: Option<Reading>,
    offered: Option<u32>,
    version: Option<u32>,
    pending: BTreeMap<u32, Asked>,
    handles: HashMap<Box<[u8]>, u64>,
    files: BTreeMap<u64, File>,
    next_file: u64,
    /// What names and requests take.
    names: usize,
    /// What may still wait for an earlier piece.
    room: usize,
    stopped: bool,
    events: Vec<Event>,
}

/// A read whose answer is coming by.
#[derive(Debug)]
struct Reading {
    file: u64,
    at: u64,
    left: u32,
}

impl Default for Sftp {
    fn default() -> Self {
        Self {
            client: Frames::default(),
            target: Frames::default(),
            writing: None,
            reading: None,
            offered: None,
            version: None,
            pending: BTreeMap::new(),
            handles: HashMap::new(),
            files: BTreeMap::new(),
            next_file: 0,
            names: 0,
            room: CHANNEL_WAITING_MAX,
            stopped: false,
            events: Vec::new(),
        }
    }
}

impl Sftp {
    pub(super) fn client_sent(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.read(bytes, Self::requests)
    }

    pub(super) fn target_sent(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.read(bytes, Self::answers)
    }

    fn read(&mut self, bytes: &[u8], by: fn(&mut Self, &[u8]) -> Result<(), Unreadable>) -> Vec<Event> {
        if !self.stopped
            && let Err(why) = by(self, bytes)
        {
            let mut events = std::mem::take(self).end();
            events.push(Event::Unreadable(why));
            self.stopped = true;
            return events;
        }
        std::mem::take(&mut self.events)
    }

    pub(super) fn end(mut self) -> Vec<Event> {
        for (_, asked) in std::mem::take(&mut self.pending) {
            if let Asked::Change(changed, _) = asked {
                self.events.push(Event::Changed(*changed));
            }
        }
        for (_, file) in std::mem::take(&mut self.files) {
            self.events.extend(file.told(&mut self.room).into_iter().map(Event::Moved));
        }
        self.events
    }

    pub(super) fn held(&self) -> usize {
        let waiting = CHANNEL_WAITING_MAX.saturating_sub(self.room);
        let requests = self.pending.len().saturating_mul(size_of::<(u32, Asked)>());
        self.client.held() + self.target.held() + self.names + requests + waiting
    }

    fn requests(&mut self, mut bytes: &[u8]) -> Result<(), Unreadable> {
        loop {
            match self.client.next(&mut bytes, requests::need)? {
                Step::Nothing => return Ok(()),
                Step::Head(kind, body, rest) => {
                    self.writing = None;
                    self.request(kind, &body, rest)?;
                    self.client.reuse(body);
                }
                Step::Rest(piece) => {
                    if let Some((file, at, left)) = &mut self.writing {
                        let here = piece.get(..usize::try_from(*left).unwrap_or(0)).unwrap_or(piece);
                        if let Some(file) = file.and_then(|file| self.files.get_mut(&file)) {
                            file.writes().data(*at, here, &mut self.room);
                        }
                        *at = at.saturating_add(here.len() as u64);
                        *left = left.saturating_sub(u32::try_from(here.len()).unwrap_or(*left));
                    }
                }
            }
        }
    }

    fn request(&mut self, kind: u8, body: &[u8], rest: u32) -> Result<(), Unreadable> {
        if kind == INIT {
            self.offered = Some(Fields(body).u32()?);
            return Ok(());
        }
        let version = self.version.ok_or(Unreadable::TooEarly)?;
        if self.pending.len() >= PENDING_MAX {
            return Err(Unreadable::TooManyRequests);
        }
        let mut fields = Fields(body);
        let id = fields.u32()?;
        if self.pending.contains_key(&id) {
            return Err(Unreadable::NumberTwice);
        }
        let asked =
            if kind == WRITE { self.write(fields, rest)? } else { self.asked(version, kind, fields)? };
        self.names = self.names.saturating_add(asked.held());
        if self.names > NAMES_MAX {
            return Err(Unreadable::TooManyNames);
        }
        if let Some(file) = asked.on().and_then(|file| self.files.get_mut(&file)) {
            file.outstanding = file.outstanding.saturating_add(1);
        }
        self.pending.insert(id, asked);
        Ok(())
    }

    fn write(&mut self, mut fields: Fields<'_>, rest: u32) -> Result<Asked, Unreadable> {
        let handle = fields.string()?;
        let (offset, length) = (fields.u64()?, fields.u32()?);
        if handle.len() > HANDLE_MAX || length > rest {
            return Err(Unreadable::Malformed);
        }
        let file = self.handles.get(handle).copied();
        if let Some(file) = file.and_then(|file| self.files.get_mut(&file)) {
            let writes = file.writes();
            writes.under_way = writes.under_way.saturating_add(1);
        }
        self.writing = Some((file, offset, length));
        Ok(Asked::Write(Write { file, offset, length }))
    }

    fn answers(&mut self, mut bytes: &[u8]) -> Result<(), Unreadable> {
        loop {
            match self.target.next(&mut bytes, answer_need)? {
                Step::Nothing => return Ok(()),
                Step::Head(kind, body, rest) => {
                    self.reading = None;
                    self.answer(kind, &body, rest)?;
                    self.target.reuse(body);
                }
                Step::Rest(piece) => self.data(piece),
            }
        }
    }

    /// A piece of a `DATA` that is coming by.
    fn data(&mut self, piece: &[u8]) {
        let Some(Reading { file: number, at, left }) = &mut self.reading else { return };
        let here = piece.get(..usize::try_from(*left).unwrap_or(0)).unwrap_or(piece);
        if let Some(file) = self.files.get_mut(number) {
            file.reads.get_or_insert_default().data(*at, here, &mut self.room);
        }
        *at = at.saturating_add(here.len() as u64);
        *left = left.saturating_sub(u32::try_from(here.len()).unwrap_or(*left));
        if *left == 0 {
            let number = *number;
            self.reading = None;
            self.settle(number);
        }
    }

    fn answer(&mut self, kind: u8, body: &[u8], rest: u32) -> Result<(), Unreadable> {
        let mut fields = Fields(body);
        if kind == VERSION {
            let told = fields.u32()?;
            let offered = self.offered.ok_or(Unreadable::Unasked)?;
            self.version = Some(told.min(offered));
            return Ok(());
        }
        if !ANSWERS.contains(&kind) && kind != EXTENDED_REPLY {
            return Ok(());
        }
        let asked = self.pending.remove(&fields.u32()?).ok_or(Unreadable::Unasked)?;
        self.names = self.names.saturating_sub(asked.held());
        let status = if kind == STATUS { Some(fields.u32()?) } else { None };
        match asked {
            Asked::Open(path, mode) if kind == HANDLE => self.opened(fields.string()?, *path, mode)?,
            Asked::Other if kind == HANDLE => {
                // A folder's; it must not be a file's.
                if self.handles.contains_key(fields.string()?) {
                    return Err(Unreadable::HandleTwice);
                }
            }
            Asked::Read { file, offset, length } if kind == DATA => {
                let got = fields.u32()?;
                if got > rest || got > length {
                    return Err(Unreadable::Malformed);
                }
                let number = file.ok_or(Unreadable::UnknownHandle)?;
                let file = self.files.get_mut(&number).ok_or(Unreadable::UnknownHandle)?;
                file.reads.get_or_insert_default().answered(offset, length, got);
                file.outstanding = file.outstanding.saturating_sub(1);
                if got == 0 {
                    self.settle(number);
                } else {
                    self.reading = Some(Reading { file: number, at: offset, left: got });
                }
            }
            Asked::Read { file: Some(number), offset, .. } => {
                if let (Some(file), Some(status)) = (self.files.get_mut(&number), status) {
                    file.reads.get_or_insert_default().status(offset, status);
                }
                self.answered_on(number);
            }
            Asked::Write(write) => self.written(&write, status)?,
            Asked::Close(number) => {
                if let Some(file) = self.files.get_mut(&number) {
                    file.closed = Some(status.unwrap_or(OK));
                }
                self.answered_on(number);
            }
            Asked::Change(changed, on) => self.changed(*changed, on, status),
            Asked::Version(version) if status == Some(OK) => self.version = Some(version),
            Asked::Open(..) | Asked::Read { .. } | Asked::Version(_) | Asked::Other => {
                if kind == DATA {
                    return Err(Unreadable::Unasked);
                }
            }
        }
        Ok(())
    }

    fn opened(&mut self, handle: &[u8], path: Name, mode: file::Mode) -> Result<(), Unreadable> {
        if handle.len() > HANDLE_MAX {
            return Err(Unreadable::Malformed);
        }
        if self.files.len() >= OPEN_MAX {
            return Err(Unreadable::TooManyFiles);
        }
        if self.handles.insert(handle.into(), self.next_file).is_some() {
            return Err(Unreadable::HandleTwice);
        }
        let file = File::new(path, mode);
        self.names = self.names.saturating_add(file.held());
        self.files.insert(self.next_file, file);
        self.next_file = self.next_file.saturating_add(1);
        Ok(())
    }

    fn written(&mut self, write: &Write, status: Option<u32>) -> Result<(), Unreadable> {
        let status = status.ok_or(Unreadable::Malformed)?;
        let Some(number) = write.file else {
            // A guessed or closed handle: the target refuses it, or the tap has lost the thread.
            return if status == OK { Err(Unreadable::UnknownHandle) } else { Ok(()) };
        };
        if let Some(file) = self.files.get_mut(&number) {
            file.writes().answered(write.offset, write.length, status, &mut self.room);
        }
        self.answered_on(number);
        Ok(())
    }

    fn changed(&mut self, changed: Changed, on: Option<u64>, status: Option<u32>) {
        let outcome = match status {
            Some(OK) => Outcome::Done,
            Some(status) => Outcome::Failed(status),
            None => Outcome::Unanswered,
        };
        if outcome == Outcome::Done {
            let room = &mut self.room;
            // The same file by its handle, or open under the same path.
            let path =
                if changed.change == Change::Copied { changed.other.as_ref() } else { Some(&changed.path) };
            let same = self.files.iter_mut().filter(|(n, f)| on == Some(**n) || Some(&f.path) == path);
            match changed.change {
                Change::Attributes(set) => {
                    for (_, file) in same {
                        if let Some(size) = set.size {
                            file.resized(size, room);
                        }
                    }
                }
                Change::Copied => same.for_each(|(_, file)| file.writes().reshape(room)),
                Change::Removed
                | Change::Renamed
                | Change::FolderMade
                | Change::FolderRemoved
                | Change::Linked
                | Change::HardLinked => {}
            }
        }
        self.events.push(Event::Changed(Changed { outcome, ..changed }));
        if let Some(number) = on {
            self.answered_on(number);
        }
    }

    fn answered_on(&mut self, number: u64) {
        if let Some(file) = self.files.get_mut(&number) {
            file.outstanding = file.outstanding.saturating_sub(1);
        }
        self.settle(number);
    }

    /// Tells a file that is closed and has no request under way.
    fn settle(&mut self, number: u64) {
        if self.files.get(&number).is_some_and(|file| file.closed.is_some() && file.outstanding == 0)
            && let Some(file) = self.files.remove(&number)
        {
            self.names = self.names.saturating_sub(file.held());
            self.events.extend(file.told(&mut self.room).into_iter().map(Event::Moved));
        }
    }
}

/// How much of an answer is looked at; listings and messages pass by.
fn answer_need(kind: u8, _: &[u8]) -> Need {
    match kind {
        STATUS | DATA => Need::First(8),
        HANDLE => Need::First(8 + HANDLE_MAX),
        _ => Need::First(4),
    }
}
