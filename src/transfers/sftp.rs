//! SFTP as OpenSSH, PuTTY, `WinSCP`, paramiko and sshfs speak it: which request each answer belongs to, which file each handle is.
//! Absent on purpose: listings and attributes that are only read. Sources: draft-ietf-secsh-filexfer-02 (version 3), -05 and -13
//! for what later versions changed, OpenSSH's PROTOCOL for its extensions.

mod answers;
mod file;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use super::event::{Event, Unreadable};
use super::frames::{Fields, Frames, Step};
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
const WRITE: u8 = 6;

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
}
