//! One file that is open over SFTP: what was read, what was written, and what that makes of it.
//! Absent on purpose: packets. Every doubt leads to `Partly`, and every doubt about order to no hash.

use super::super::event::{Direction, Extent, Moved, Name, Part};
use super::super::order::{Ordered, Ranges, Repeats};

/// The longest read that every server answers in full unless the file ends: draft-02 sections 3 and 6.4.
const READ_IN_FULL: u64 = 32 * 1024;

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: Name,
    pub(super) mode: Mode,
    pub(super) reads: Option<Reads>,
    pub(super) writes: Option<Writes>,
    /// The size that it was last set to: it has exactly these bytes, and what is written after.
    sized: Option<u64>,
    /// Requests on it that have no answer yet.
    pub(super) outstanding: u32,
    /// The answer to its close, once there.
    pub(super) closed: Option<u32>,
}

/// How it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) append: bool,
    /// Emptied or made by the open, so that what is written is all there is.
    pub(super) fresh: bool,
}

#[derive(Debug)]
pub(super) struct Reads {
    ordered: Ordered,
    ranges: Ranges,
    bytes: u64,
    /// The file has no bytes from here on.
    end: Option<u64>,
    /// A short answer to a read that should have been in full: where it ended, and where it should have.
    short: Option<(u64, u64)>,
    failed: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Writes {
    ordered: Ordered,
    ranges: Ranges,
    bytes: u64,
    /// Sent and not answered.
    pub(super) under_way: u32,
    failed: Option<u32>,
}

impl Default for Reads {
    fn default() -> Self {
        let (ranges, bytes) = (Ranges::default(), 0);
        Self { ordered: Ordered::new(Repeats::Skipped), ranges, bytes, end: None, short: None, failed: None }
    }
}

impl Reads {
    pub(super) fn data(&mut self, offset: u64, piece: &[u8], room: &mut usize) {
        self.ordered.put(offset, piece, room);
        self.ranges.add(offset..offset.saturating_add(piece.len() as u64));
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
    }

    /// An answer with data has come to its end.
    pub(super) fn answered(&mut self, offset: u64, asked: u32, got: u32) {
        if got < asked && u64::from(asked) <= READ_IN_FULL {
            let ended = offset.saturating_add(u64::from(got));
            if self.short.is_none_or(|(at, _)| at < ended) {
                self.short = Some((ended, offset.saturating_add(u64::from(asked))));
            }
        }
    }

    /// A read was answered with a status.
    pub(super) fn status(&mut self, offset: u64, status: u32) {
        if status == super::EOF {
            self.end = Some(self.end.map_or(offset, |end| end.min(offset)));
        } else {
            self.failed.get_or_insert(status);
        }
    }

    fn reached_the_end(&self) -> bool {
        let last = self.ranges.end();
        self.end.is_some_and(|end| {
            // A pipelined client asks for the next piece before it knows that this one was short.
            end == last || self.short.is_some_and(|(at, asked)| at == last && (last..=asked).contains(&end))
        })
    }

    fn told(self, path: Name, finished: bool, room: &mut usize) -> Moved {
        let end = self.reached_the_end();
        let last = self.ranges.end();
        let in_order = self.ranges.are_all_up_to(last);
        let sha256 = self.ordered.finish(last, room);
        let extent = match (&sha256, self.failed) {
            _ if !finished => Extent::Unfinished,
            (_, Some(status)) => Extent::Partly(Part::Failed(status)),
            (Err(part), None) => Extent::Partly(*part),
            (Ok(_), None) if !in_order => Extent::Partly(Part::Gap),
            (Ok(_), None) if self.bytes != last => Extent::Partly(Part::Overlap),
            (Ok(_), None) if !end => Extent::Partly(Part::EndNotSeen),
            (Ok(_), None) => Extent::Whole,
        };
        let sha256 = sha256.ok().filter(|_| finished && in_order);
        let (ranges, more_ranges) = self.ranges.told();
        let direction = Direction::Download;
        Moved { path, other: None, direction, bytes: self.bytes, sha256, extent, ranges, more_ranges }
    }
}

impl Writes {
    pub(super) fn data(&mut self, offset: u64, piece: &[u8], room: &mut usize) {
        self.ordered.put(offset, piece, room);
    }

    pub(super) fn answered(&mut self, offset: u64, length: u32, status: u32, room: &mut usize) {
        self.under_way = self.under_way.saturating_sub(1);
        if status == super::OK {
            self.ranges.add(offset..offset.saturating_add(u64::from(length)));
            self.bytes = self.bytes.saturating_add(u64::from(length));
        } else {
            self.failed.get_or_insert(status);
            self.ordered.lose(Part::Failed(status), room);
        }
    }

    /// The target changed the content by itself.
    pub(super) fn reshape(&mut self, room: &mut usize) {
        self.ordered.lose(Part::Reshaped, room);
    }
}

impl File {
    pub(super) fn new(path: Name, mode: Mode) -> Self {
        Self { path, mode, reads: None, writes: None, sized: None, outstanding: 0, closed: None }
    }

    pub(super) fn writes(&mut self) -> &mut Writes {
        let append = self.mode.append;
        self.writes.get_or_insert_with(|| {
            let mut writes = Writes::default();
            if append {
                // Nothing waits yet, so there is no room to give back.
                writes.ordered.lose(Part::Appended, &mut 0);
            }
            writes
        })
    }

    /// Its size was set.
    pub(super) fn resized(&mut self, size: u64, room: &mut usize) {
        self.sized = Some(size);
        if let Some(writes) = &mut self.writes
            && (size < writes.ranges.end() || writes.under_way > 0)
        {
            writes.reshape(room);
        }
    }

    /// What is told of it: at its close, or as unfinished.
    pub(super) fn told(self, room: &mut usize) -> Vec<Moved> {
        let Self { path, mode, reads, writes, sized, closed, .. } = self;
        let mut told = Vec::new();
        if let Some(reads) = reads {
            told.push(reads.told(path.clone(), closed.is_some(), room));
        }
        let emptied = ((mode.fresh || sized == Some(0)) && told.is_empty()).then(Writes::default);
        if let Some(writes) = writes.or(emptied) {
            told.push(writes.told(path, mode.fresh, sized, closed, room));
        }
        told
    }

    pub(super) fn held(&self) -> usize {
        self.path.held() + size_of::<Self>()
    }
}

impl Writes {
    fn told(
        self,
        path: Name,
        fresh: bool,
        sized: Option<u64>,
        closed: Option<u32>,
        room: &mut usize,
    ) -> Moved {
        let last = self.ranges.end();
        let in_order = self.ranges.are_all_up_to(self.bytes);
        let sha256 = self.ordered.finish(self.bytes, room);
        let failed = self.failed.or(closed.filter(|status| *status != super::OK));
        let extent = match (&sha256, failed) {
            _ if closed.is_none() => Extent::Unfinished,
            (_, Some(status)) => Extent::Partly(Part::Failed(status)),
            (Err(part), None) => Extent::Partly(*part),
            (Ok(_), None) if !in_order => Extent::Partly(Part::Gap),
            (Ok(_), None) if sized.is_some_and(|size| last < size) => Extent::Partly(Part::Reshaped),
            (Ok(_), None) if !fresh && sized.is_none() => Extent::Partly(Part::NotEmptied),
            (Ok(_), None) => Extent::Whole,
        };
        let sha256 = sha256.ok().filter(|_| in_order && closed == Some(super::OK));
        let (ranges, more_ranges) = self.ranges.told();
        let direction = Direction::Upload;
        Moved { path, other: None, direction, bytes: self.bytes, sha256, extent, ranges, more_ranges }
    }
}
