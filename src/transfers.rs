//! Which files did a relayed session channel move? Reads along with its bytes, as SFTP, scp, rsync or a script on stdin.
//! Absent on purpose: I/O, a clock, SSH. A tap changes no byte and holds none back; what it cannot read it says once, and stops.
//!
//! The relay shows a tap every byte before it sends it on, so that a tap sees each question before its answer:
//!
//! ```text
//! client ──▶ tap.client_sent(bytes) ──▶ target          what was told goes to the journal: one `file` line a move or change
//! client ◀── tap.target_sent(bytes) ◀── target
//! ```
//!
//! What a tap holds is bounded whatever the two ends send: see [`Tap::held`] and the constants of each file.

mod command;
mod event;
mod frames;
mod order;
mod scp;
mod script;
mod sftp;

pub use event::{
    Attributes, Change, Changed, Cut, Direction, Event, Extent, Moved, Name, Outcome, Part, Script, Totals,
    Unreadable,
};
pub use order::{CHANNEL_WAITING_MAX, FILE_CHUNKS_MAX, FILE_WAITING_MAX};
pub use script::KEPT_MAX;
pub use sftp::{NAMES_MAX, OPEN_MAX, PENDING_MAX};

use command::Kind;
use scp::Scp;
use script::{Stdin, Total};
use sftp::Sftp;

/// The most bytes of a path that an event carries; longer ones come with their length and SHA-256. It is Linux's `PATH_MAX`.
pub const NAME_MAX: usize = 4096;

/// Reads along with one session channel, from its request to its end.
#[derive(Debug)]
pub struct Tap(Box<Reader>);

#[derive(Debug)]
enum Reader {
    Sftp(Sftp),
    Scp(Scp),
    Total(Total),
    Stdin(Stdin),
}

impl Tap {
    /// For a `subsystem` request: SFTP for `sftp`, stdin as a script for any other.
    #[must_use]
    pub fn for_subsystem(name: &[u8]) -> Self {
        Self::of(if name == b"sftp" {
            Reader::Sftp(Sftp::default())
        } else {
            Reader::Stdin(Stdin::default())
        })
    }

    /// For an `exec` request: reads as much of the command as tells which program takes the bytes. A command line with any
    /// shell syntax beyond quotes is a script, for what it runs cannot be known from it.
    #[must_use]
    pub fn for_exec(command: &[u8]) -> Self {
        Self::of(match command::kind(command) {
            Kind::Sftp => Reader::Sftp(Sftp::default()),
            Kind::Scp(request) => Reader::Scp(Scp::new(request)),
            Kind::Rsync => Reader::Total(Total::default()),
            Kind::Other => Reader::Stdin(Stdin::default()),
        })
    }

    /// For a shell without a terminal.
    #[must_use]
    pub fn for_shell() -> Self {
        Self::of(Reader::Stdin(Stdin::of_shell()))
    }

    /// The same where what is no file is a person's typing: it is not kept, nor told of.
    #[must_use]
    pub fn without_scripts(self) -> Self {
        match *self.0 {
            Reader::Stdin(_) => Self::of(Reader::Stdin(Stdin::of_terminal())),
            reader @ (Reader::Sftp(_) | Reader::Scp(_) | Reader::Total(_)) => Self::of(reader),
        }
    }

    fn of(reader: Reader) -> Self {
        Self(Box::new(reader))
    }

    /// Bytes that the client sent, in any pieces. Gives what is now known.
    #[must_use]
    pub fn client_sent(&mut self, bytes: &[u8]) -> Vec<Event> {
        match &mut *self.0 {
            Reader::Sftp(sftp) => sftp.client_sent(bytes),
            Reader::Scp(scp) => scp.client_sent(bytes),
            Reader::Total(total) => total.client_sent(bytes),
            Reader::Stdin(stdin) => {
                // An SFTP server started some other way is known by its client's first packet.
                if let Some(first) = stdin.client_sent(bytes) {
                    let mut sftp = Sftp::default();
                    let events = sftp.client_sent(&first);
                    *self.0 = Reader::Sftp(sftp);
                    return events;
                }
                Vec::new()
            }
        }
    }

    /// Bytes that the target sent on its stdout, in any pieces. Gives what is now known.
    #[must_use]
    pub fn target_sent(&mut self, bytes: &[u8]) -> Vec<Event> {
        match &mut *self.0 {
            Reader::Sftp(sftp) => sftp.target_sent(bytes),
            Reader::Scp(scp) => scp.target_sent(bytes),
            Reader::Total(total) => total.target_sent(bytes),
            Reader::Stdin(_) => Vec::new(),
        }
    }

    /// The channel has ended. Gives what was still open, or is told at the end only.
    #[must_use]
    pub fn end(self) -> Vec<Event> {
        match *self.0 {
            Reader::Sftp(sftp) => sftp.end(),
            Reader::Scp(scp) => scp.end(),
            Reader::Total(total) => total.end(),
            Reader::Stdin(stdin) => stdin.end(),
        }
    }

    /// About how many bytes of names, payload and packets the tap holds now.
    #[must_use]
    pub fn held(&self) -> usize {
        match &*self.0 {
            Reader::Sftp(sftp) => sftp.held(),
            Reader::Scp(scp) => scp.held(),
            Reader::Total(_) => 0,
            Reader::Stdin(stdin) => stdin.held(),
        }
    }
}
