//! What is being handed in: pieces in memory, counted against the gateway's bound before they are taken. Wiped when let go.
//! Absent on purpose: a disk. Nothing that is half handed in is anywhere but here.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// What is taken at once, and what one permit stands for.
pub const PIECE: usize = 64 << 10;
/// The largest file.
const LARGEST: u64 = crate::commands::files::LARGEST;

/// Why a write was not taken. The file is then no longer what its client means, and is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Beyond the largest file.
    #[error("too-large")]
    TooLarge,
    /// All connections together hold as much as they may.
    #[error("no-room")]
    NoRoom,
}

/// One file's content so far.
pub struct Spool {
    pieces: Vec<Zeroizing<Vec<u8>>>,
    length: u64,
    room: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Spool {
    /// Empty; its pieces are taken out of `room`.
    pub fn new(room: Arc<Semaphore>) -> Self {
        Self { pieces: Vec::new(), length: 0, room, held: None }
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Writes there; what lies between the end and there is zero.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Refused> {
        let end =
            offset.checked_add(data.len() as u64).filter(|end| *end <= LARGEST).ok_or(Refused::TooLarge)?;
        if end > self.length {
            self.resize(end)?;
        }
        let (mut at, mut rest) = (usize::try_from(offset).map_err(|_| Refused::TooLarge)?, data);
        while let Some(piece) = self.pieces.get_mut(at / PIECE).filter(|_| !rest.is_empty()) {
            let room = piece.get_mut(at % PIECE..).unwrap_or_default();
            let n = room.len().min(rest.len());
            let (now, later) = rest.split_at(n);
            for (to, from) in room.iter_mut().zip(now) {
                *to = *from;
            }
            if n == 0 {
                break;
            }
            (at, rest) = (at + n, later);
        }
        Ok(())
    }

    /// Cuts it, or fills it up with zeros.
    pub fn resize(&mut self, length: u64) -> Result<(), Refused> {
        let wanted = usize::try_from(length).ok().filter(|_| length <= LARGEST).ok_or(Refused::TooLarge)?;
        let more = wanted.div_ceil(PIECE).saturating_sub(self.pieces.len());
        if more > 0 {
            let permits = u32::try_from(more).map_err(|_| Refused::TooLarge)?;
            let permit = self.room.clone().try_acquire_many_owned(permits).map_err(|_| Refused::NoRoom)?;
            match &mut self.held {
                Some(held) => held.merge(permit),
                held @ None => *held = Some(permit),
            }
        }
        let less = self.pieces.len().saturating_sub(wanted.div_ceil(PIECE));
        self.pieces.truncate(wanted.div_ceil(PIECE));
        // Each has its whole room from the start, so that it never moves and leaves bytes behind.
        for _ in 0..more {
            self.pieces.push(Zeroizing::new(Vec::with_capacity(PIECE)));
        }
        let last = wanted.div_ceil(PIECE).saturating_sub(1);
        for (n, piece) in self.pieces.iter_mut().enumerate() {
            piece.resize(if n == last { wanted - last * PIECE } else { PIECE }, 0);
        }
        if let (Some(held), true) = (&mut self.held, less > 0) {
            drop(held.split(less));
        }
        self.length = length;
        Ok(())
    }

    /// Up to `len` bytes from there.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut found = Vec::new();
        let Ok(mut at) = usize::try_from(offset) else { return found };
        while let Some(piece) = self.pieces.get(at / PIECE).filter(|_| found.len() < len) {
            let rest = piece.get(at % PIECE..).unwrap_or_default();
            let taken = rest.get(..rest.len().min(len - found.len())).unwrap_or_default();
            if taken.is_empty() {
                break;
            }
            found.extend_from_slice(taken);
            at += taken.len();
        }
        found
    }

    /// Its pieces, and what they are held by: not to be let go before they are.
    pub fn into_pieces(self) -> (Vec<Zeroizing<Vec<u8>>>, Option<OwnedSemaphorePermit>) {
        (self.pieces, self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(spool: &Spool) -> Vec<u8> {
        spool.read(0, usize::MAX)
    }

    #[test]
    fn it_holds_what_a_vec_would_hold() {
        let room = Arc::new(Semaphore::new(64));
        let mut spool = Spool::new(room.clone());
        let mut plain: Vec<u8> = Vec::new();
        let all: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        for (offset, len) in [(0, 10), (5, 100_000), (65_530, 12), (131_072, 1), (200_000, 150_000), (0, 1)] {
            spool.write(offset, &all[..len]).unwrap();
            let start = usize::try_from(offset).unwrap();
            plain.resize(plain.len().max(start + len), 0);
            plain[start..start + len].copy_from_slice(&all[..len]);
            assert_eq!(spool.len(), plain.len() as u64);
            assert!(content(&spool) == plain, "after {len} at {offset}");
        }
        for length in [100_000, 65_536, 70_000, 0, 3] {
            spool.resize(length as u64).unwrap();
            plain.resize(length, 0);
            assert!(content(&spool) == plain, "{length}");
            assert_eq!(64 - room.available_permits(), length.div_ceil(PIECE));
        }
        assert_eq!(spool.read(1, 1), [0]);
        assert!(spool.read(3, 10).is_empty() && spool.read(u64::MAX, 10).is_empty());
        drop(spool);
        assert_eq!(room.available_permits(), 64);
    }

    #[test]
    fn what_is_too_large_or_has_no_room_is_not_taken() {
        let room = Arc::new(Semaphore::new(2));
        let mut spool = Spool::new(room.clone());
        assert_eq!(spool.write(u64::MAX, b"x"), Err(Refused::TooLarge));
        assert_eq!(spool.write(LARGEST, b"x"), Err(Refused::TooLarge));
        assert_eq!(spool.write(2 * PIECE as u64, b"x"), Err(Refused::NoRoom));
        assert_eq!((spool.len(), room.available_permits()), (0, 2));
        spool.write(2 * PIECE as u64 - 1, b"x").unwrap();
        let mut other = Spool::new(room.clone());
        assert_eq!(other.write(0, b"x"), Err(Refused::NoRoom));
        drop(spool);
        other.write(0, b"x").unwrap();
    }
}
