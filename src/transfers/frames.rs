//! SFTP's packets out of a byte stream: length, type, and of the body no more than is needed; payload passes by in pieces.
//! Absent on purpose: what a packet means. Source: draft-ietf-secsh-filexfer-02, section 3.

use super::event::Unreadable;

/// The longest packet, without its length: `SFTP_MAX_MSG_LENGTH` of OpenSSH's sftp-common.h, which ends the session beyond.
pub(super) const PACKET_MAX: u32 = 256 * 1024;
/// A buffer larger than this is given back after its packet.
const BUFFER_KEPT: usize = 4 * 1024;

/// How much of a packet's body is gathered before it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The first so many bytes, or all there are; then the rest passes by as payload.
    First(usize),
    /// All of it.
    All,
}

/// What a stream gave next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// All that came is used up.
    Nothing,
    /// A packet's type, the gathered part of its body, and the length of the rest.
    Head(u8, Vec<u8>, u32),
    /// A piece of the rest of its body; of a packet with no rest there is none.
    Rest(&'a [u8]),
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    state: State,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Length,
    Kind(u32),
    Body(u8, u32),
    Rest(u32),
}

impl Frames {
    /// Takes from `input` up to the next step. `need` says for a type and what is gathered of it how much to gather.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        need: impl Fn(u8, &[u8]) -> Need,
    ) -> Result<Step<'a>, Unreadable> {
        loop {
            match self.state {
                State::Length => {
                    if !self.gather(input, 4) {
                        return Ok(Step::Nothing);
                    }
                    let length = self.buffer.first_chunk().map_or(0, |four| u32::from_be_bytes(*four));
                    self.buffer.clear();
                    if length > PACKET_MAX {
                        return Err(Unreadable::LongPacket(length));
                    }
                    let body = length.checked_sub(1).ok_or(Unreadable::Malformed)?;
                    self.state = State::Kind(body);
                }
                State::Kind(body) => {
                    let Some((kind, rest)) = input.split_first() else { return Ok(Step::Nothing) };
                    *input = rest;
                    self.state = State::Body(*kind, body);
                }
                State::Body(kind, length) => {
                    let all = usize::try_from(length).map_err(|_| Unreadable::LongPacket(length))?;
                    let want = match need(kind, &self.buffer) {
                        Need::All => all,
                        Need::First(bytes) => bytes.min(all),
                    };
                    if self.buffer.len() < want {
                        if !self.gather(input, want) {
                            return Ok(Step::Nothing);
                        }
                        continue;
                    }
                    let body = std::mem::take(&mut self.buffer);
                    let left = u32::try_from(all.saturating_sub(body.len())).unwrap_or(0);
                    self.state = if left == 0 { State::Length } else { State::Rest(left) };
                    return Ok(Step::Head(kind, body, left));
                }
                State::Rest(left) => {
                    let here = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if here == 0 {
                        return Ok(Step::Nothing);
                    }
                    let (piece, rest) = input.split_at_checked(here).unwrap_or((input, &[]));
                    *input = rest;
                    let left = left.saturating_sub(u32::try_from(here).unwrap_or(left));
                    self.state = if left == 0 { State::Length } else { State::Rest(left) };
                    return Ok(Step::Rest(piece));
                }
            }
        }
    }

    /// Hands a told head's buffer back, so that the next packet needs no new one.
    pub(super) fn reuse(&mut self, mut buffer: Vec<u8>) {
        if self.buffer.capacity() == 0 && buffer.capacity() <= BUFFER_KEPT {
            buffer.clear();
            self.buffer = buffer;
        }
    }

    /// Fills the buffer up to `want`; whether it is full. Grows with what came, not with what was announced.
    fn gather(&mut self, input: &mut &[u8], want: usize) -> bool {
        let here = want.saturating_sub(self.buffer.len()).min(input.len());
        let (piece, rest) = input.split_at_checked(here).unwrap_or((input, &[]));
        self.buffer.extend_from_slice(piece);
        *input = rest;
        self.buffer.len() >= want
    }

    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
    }
}

/// Reads the fields of a body from front to back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Unreadable::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A `uint32`.
    pub(super) fn u32(&mut self) -> Result<u32, Unreadable> {
        let (four, rest) = self.0.split_first_chunk().ok_or(Unreadable::Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*four))
    }

    /// A `uint64`.
    pub(super) fn u64(&mut self) -> Result<u64, Unreadable> {
        let (eight, rest) = self.0.split_first_chunk().ok_or(Unreadable::Malformed)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*eight))
    }

    /// A `string`.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| Unreadable::Malformed)?)
    }

    /// A `byte`.
    pub(super) fn byte(&mut self) -> Result<u8, Unreadable> {
        self.take(1)?.first().copied().ok_or(Unreadable::Malformed)
    }
}
