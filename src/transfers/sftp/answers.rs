//! What a server answers: each answer finds its request, and what was asked has happened or not.
//! Absent on purpose: listings, attributes and messages, which pass by.

use super::super::event::{Change, Changed, Event, Name, Outcome, Unreadable};
use super::super::frames::{Fields, Need, Step};
use super::file::{File, Mode};
use super::requests::{Asked, Write};
use super::{HANDLE_MAX, OK, OPEN_MAX, Reading, Sftp};

const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
/// Types that an answer has: `STATUS` to `ATTRS`, and `EXTENDED_REPLY`.
const ANSWERS: std::ops::RangeInclusive<u8> = 101..=105;
const EXTENDED_REPLY: u8 = 201;

impl Sftp {
    pub(super) fn answers(&mut self, mut bytes: &[u8]) -> Result<(), Unreadable> {
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
        if kind == DATA && !matches!(asked, Asked::Read { .. }) {
            return Err(Unreadable::Unasked);
        }
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
            Asked::Open(..) | Asked::Read { .. } | Asked::Version(_) | Asked::Other => {}
        }
        Ok(())
    }

    fn opened(&mut self, handle: &[u8], path: Name, mode: Mode) -> Result<(), Unreadable> {
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
