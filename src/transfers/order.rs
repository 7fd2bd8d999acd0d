//! Bytes at offsets → the SHA-256 of a file, or the reason why there is none.
//! Absent on purpose: which protocol they came by. Never a wrong hash: what does not close gap by gap has none.

mod ranges;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::event::Part;

pub(super) use ranges::Ranges;

/// The most pieces of one file that wait for an earlier one: as many requests as OpenSSH's sftp keeps under way.
pub const FILE_CHUNKS_MAX: usize = 64;
/// The most bytes of one file that wait for an earlier piece: 64 of 128 KiB.
pub const FILE_WAITING_MAX: usize = 8 << 20;
/// The most bytes of one channel that wait, so that many open files cost no more than two.
pub const CHANNEL_WAITING_MAX: usize = 16 << 20;

/// SHA-256. sha2 is the faster of the two implementations in the house, by 2 to 9 % (`benches/transfers.rs`).
#[derive(Clone, Debug, Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// What becomes of the hash when bytes come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Repeats {
    /// It is lost: a write changes what was there.
    #[default]
    Lose,
    /// What came first counts: a read only looks again.
    Skipped,
}

/// What hashes a file while its bytes come by.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    hasher: Hasher,
    /// All before this is in the hash.
    next: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
    waiting_bytes: usize,
    lost: Option<Part>,
    repeats: Repeats,
}

impl Ordered {
    pub(super) fn new(repeats: Repeats) -> Self {
        Self { repeats, ..Self::default() }
    }

    /// A piece at an offset. `room` is what the channel may still hold; it is taken from and given back to.
    pub(super) fn put(&mut self, offset: u64, piece: &[u8], room: &mut usize) {
        if self.lost.is_some() || piece.is_empty() {
            return;
        }
        match offset.cmp(&self.next) {
            Ordering::Equal => {
                self.hasher.update(piece);
                self.next = self.next.saturating_add(piece.len() as u64);
                self.catch_up(room);
            }
            Ordering::Less => match self.beyond(offset, piece) {
                Some(new) => self.put(self.next, new, room),
                None => self.lose(Part::Overlap, room),
            },
            Ordering::Greater => self.wait(offset, piece, room),
        }
    }

    /// What of a piece that begins before `next` is new; none if repeated bytes are not to be skipped.
    fn beyond<'a>(&self, offset: u64, piece: &'a [u8]) -> Option<&'a [u8]> {
        let known = usize::try_from(self.next.saturating_sub(offset)).unwrap_or(usize::MAX);
        (self.repeats == Repeats::Skipped).then(|| piece.get(known..).unwrap_or_default())
    }

    fn catch_up(&mut self, room: &mut usize) {
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= self.next) {
            let (at, piece) = first.remove_entry();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(piece.len());
            *room = room.saturating_add(piece.len());
            let Some(new) = (if at == self.next { Some(piece.as_slice()) } else { self.beyond(at, &piece) })
            else {
                return self.lose(Part::Overlap, room);
            };
            self.hasher.update(new);
            self.next = self.next.saturating_add(new.len() as u64);
        }
    }

    fn wait(&mut self, offset: u64, piece: &[u8], room: &mut usize) {
        let end = offset.saturating_add(piece.len() as u64);
        let before = self.waiting.range_mut(..=offset).next_back().map(|(at, waits)| {
            let ends = at.saturating_add(waits.len() as u64);
            (ends, waits)
        });
        if let Some((ends, _)) = &before
            && *ends > offset
        {
            if self.repeats == Repeats::Lose || *ends < end {
                self.lose(Part::Overlap, room);
            }
            return;
        }
        let adjoins = before.as_ref().is_some_and(|(ends, _)| *ends == offset);
        let full = self.waiting_bytes.saturating_add(piece.len()) > FILE_WAITING_MAX || piece.len() > *room;
        if full || (!adjoins && self.waiting.len() >= FILE_CHUNKS_MAX) {
            return self.lose(Part::OutOfOrder, room);
        }
        if self.waiting.range(offset..).next().is_some_and(|(at, _)| *at < end) {
            return self.lose(Part::Overlap, room);
        }
        match self.waiting.range_mut(..=offset).next_back().filter(|_| adjoins) {
            Some((_, waits)) => waits.extend_from_slice(piece),
            None => {
                self.waiting.insert(offset, piece.to_vec());
            }
        }
        self.waiting_bytes = self.waiting_bytes.saturating_add(piece.len());
        *room = room.saturating_sub(piece.len());
    }

    /// No hash any more; the first reason stays. Gives back what waited.
    pub(super) fn lose(&mut self, why: Part, room: &mut usize) {
        self.lost.get_or_insert(why);
        self.waiting = BTreeMap::new();
        *room = room.saturating_add(self.waiting_bytes);
        self.waiting_bytes = 0;
    }

    /// The hash of `0..bytes`, or why there is none.
    pub(super) fn finish(mut self, bytes: u64, room: &mut usize) -> Result<[u8; 32], Part> {
        if !self.waiting.is_empty() || (self.lost.is_none() && self.next != bytes) {
            self.lose(Part::Gap, room);
        }
        self.lost.map_or_else(|| Ok(self.hasher.finish()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(bytes: &[u8]) -> [u8; 32] {
        use sha2::Digest as _;
        sha2::Sha256::digest(bytes).into()
    }

    fn put(pieces: &[(u64, &[u8])], bytes: u64) -> Result<[u8; 32], Part> {
        let mut room = CHANNEL_WAITING_MAX;
        let mut ordered = Ordered::default();
        for (offset, piece) in pieces {
            ordered.put(*offset, piece, &mut room);
        }
        let hash = ordered.finish(bytes, &mut room);
        assert_eq!(room, CHANNEL_WAITING_MAX, "what waited was not given back");
        hash
    }

    #[test]
    fn pieces_out_of_order_give_the_hash_of_the_whole() {
        assert_eq!(put(&[(3, b"def"), (6, b"ghi"), (9, b"j"), (0, b"abc")], 10), Ok(hash(b"abcdefghij")));
        assert_eq!(put(&[], 0), Ok(hash(b"")));
    }

    #[test]
    fn a_gap_or_an_overlap_has_no_hash() {
        assert_eq!(put(&[(0, b"abc"), (4, b"e")], 4), Err(Part::Gap));
        assert_eq!(put(&[(1, b"bc")], 2), Err(Part::Gap));
        assert_eq!(put(&[(0, b"abc"), (2, b"c")], 4), Err(Part::Overlap));
        assert_eq!(put(&[(4, b"efgh"), (6, b"g"), (0, b"abcd")], 9), Err(Part::Overlap));
        assert_eq!(put(&[(6, b"g"), (4, b"efgh"), (0, b"abcd")], 9), Err(Part::Overlap));
        assert_eq!(put(&[(4, b"e"), (0, b"abcdef")], 7), Err(Part::Overlap));
    }

    #[test]
    fn what_is_read_again_is_skipped() {
        let mut room = CHANNEL_WAITING_MAX;
        let mut ordered = Ordered::new(Repeats::Skipped);
        for (offset, piece) in [(0, "abc"), (0, "abc"), (1, "bcd"), (6, "gh"), (7, "hi"), (4, "ef")] {
            ordered.put(offset, piece.as_bytes(), &mut room);
        }
        assert_eq!(ordered.finish(8, &mut room), Err(Part::Overlap), "a part of what waits, and more");
        let mut ordered = Ordered::new(Repeats::Skipped);
        for (offset, piece) in
            [(0, "abc"), (0, "abc"), (1, "bcd"), (6, "gh"), (6, "g"), (7, "h"), (4, "ef"), (2, "cdefghi")]
        {
            ordered.put(offset, piece.as_bytes(), &mut room);
        }
        assert_eq!((ordered.finish(9, &mut room), room), (Ok(hash(b"abcdefghi")), CHANNEL_WAITING_MAX));
    }

    #[test]
    fn what_waits_is_bounded_by_file_and_channel() {
        let mut room = CHANNEL_WAITING_MAX;
        let (mut one, mut two, mut three) = (Ordered::default(), Ordered::default(), Ordered::default());
        let piece = vec![1; FILE_WAITING_MAX];
        one.put(1, &piece, &mut room);
        two.put(1, &piece, &mut room);
        assert_eq!(room, 0);
        three.put(1, b"x", &mut room);
        assert_eq!(three.finish(1, &mut room), Err(Part::OutOfOrder));
        one.put(1 + FILE_WAITING_MAX as u64, b"x", &mut room);
        assert_eq!((one.lost, room), (Some(Part::OutOfOrder), FILE_WAITING_MAX));
        two.put(0, b"x", &mut room);
        assert_eq!(two.next, 1 + FILE_WAITING_MAX as u64);
        assert_eq!(room, CHANNEL_WAITING_MAX);
    }

    #[test]
    fn one_piece_too_many_loses_the_hash() {
        let all: Vec<u8> = (0..200u8).collect();
        for (waiting, kept) in [(FILE_CHUNKS_MAX, true), (FILE_CHUNKS_MAX + 1, false)] {
            let mut pieces: Vec<(u64, &[u8])> = Vec::new();
            let odd = (0..waiting).map(|n| 2 * n + 1);
            let even = (0..=waiting).map(|n| 2 * n);
            pieces.extend(odd.chain(even).map(|at| (at as u64, &all[at..=at])));
            let whole = 2 * waiting + 1;
            assert_eq!(
                put(&pieces, whole as u64),
                if kept { Ok(hash(&all[..whole])) } else { Err(Part::OutOfOrder) }
            );
        }
    }
}
