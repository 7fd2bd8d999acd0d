//! A recording read back, frame by frame, each held against the one before. Absent on purpose: mending; what does not fit is said.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use age::x25519::Identity;
use sha2::{Digest, Sha256};

use super::RecordingName;
use super::cast::{self, Event, Header, hex};
use super::tape::{FRAME_MAX, Link, MAGIC};

/// Why a recording, or the rest of it, cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// There is none of that name.
    #[error("there is no such recording")]
    NotFound,
    /// It was cut before its header was whole.
    #[error("the recording was cut before anything was recorded")]
    Nothing,
    /// None of the keys opens it.
    #[error("the recording is encrypted for another key")]
    WrongIdentity,
    /// A frame was changed, is missing, or stands elsewhere; the first has number 0.
    #[error("the recording is damaged at frame {frame}: {what}")]
    Damaged {
        /// Its number.
        frame: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("the recording cannot be read: {0}")]
    Disk(String),
}

impl Unreadable {
    pub(super) fn of(error: &std::io::Error) -> Self {
        if error.kind() == ErrorKind::NotFound { Self::NotFound } else { Self::Disk(error.to_string()) }
    }
}

/// How a recording ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With its last frame: nothing is missing.
    Whole {
        /// The exit code, where there was one.
        exit: Option<u32>,
        /// The target's output in bytes, as it came.
        output_bytes: u64,
        /// How many lines were typed.
        typed: u64,
    },
    /// In the midst: the gateway was killed, or its disk was full.
    Cut,
}

/// A recording's events in their order.
pub struct Playback {
    file: BufReader<File>,
    identities: Arc<[Identity]>,
    header: Header,
    frame: u64,
    prev: String,
    events: VecDeque<Event>,
    ending: Option<Ending>,
    failed: bool,
}

impl Playback {
    pub(super) fn open(
        folder: &Path,
        name: &RecordingName,
        identities: Arc<[Identity]>,
    ) -> Result<Self, Unreadable> {
        let file = File::open(name.path(folder)).map_err(|e| Unreadable::of(&e))?;
        let mut file = BufReader::new(file);
        let mut magic = Vec::new();
        (&mut file).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(|e| Unreadable::of(&e))?;
        if magic.len() < MAGIC.len() && MAGIC.starts_with(&magic) {
            return Err(Unreadable::Nothing);
        }
        if magic != MAGIC {
            return Err(Unreadable::Damaged { frame: 0, what: "this is no recording" });
        }
        let sealed = frame(&mut file, 0)?.ok_or(Unreadable::Nothing)?;
        let (link, lines) = opened(&sealed, 0, &hex(&Sha256::digest(MAGIC)), &identities)?;
        let damaged = |what| Unreadable::Damaged { frame: 0, what };
        let first = lines.lines().next().unwrap_or_default();
        let header: Header = serde_json::from_str(first).map_err(|_| damaged("its header is none"))?;
        if link.end.is_some() || header.version != 3 {
            return Err(damaged("its header is none"));
        }
        let ours = &header.pforte;
        if ours.session != name.session().to_string() || ours.channel != name.channel() {
            return Err(damaged("it belongs to another session"));
        }
        Ok(Self {
            file,
            identities,
            header,
            frame: 1,
            prev: hex(&Sha256::digest(&sealed)),
            events: VecDeque::new(),
            ending: None,
            failed: false,
        })
    }

    /// Who, where, when, on what terminal.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How it ends; known once the iterator is through without an error.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// How many frames were read and found sound.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frame
    }

    fn more(&mut self) -> Result<(), Unreadable> {
        let Some(sealed) = frame(&mut self.file, self.frame)? else {
            self.ending = Some(Ending::Cut);
            return Ok(());
        };
        let (link, lines) = opened(&sealed, self.frame, &self.prev, &self.identities)?;
        let damaged = |what| Unreadable::Damaged { frame: self.frame, what };
        for line in lines.lines() {
            self.events.push_back(cast::event(line).ok_or_else(|| damaged("a line in it is no event"))?);
        }
        if let Some(end) = link.end {
            let mut rest = [0];
            if self.file.read(&mut rest).map_err(|e| Unreadable::of(&e))? > 0 {
                self.events.clear();
                return Err(Unreadable::Damaged { frame: self.frame + 1, what: "it comes after the last" });
            }
            let (exit, output_bytes, typed) = (end.exit, end.output_bytes, end.typed);
            self.ending = Some(Ending::Whole { exit, output_bytes, typed });
        }
        self.frame += 1;
        self.prev = hex(&Sha256::digest(&sealed));
        Ok(())
    }
}

impl Iterator for Playback {
    type Item = Result<Event, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            if self.failed || self.ending.is_some() {
                return None;
            }
            if let Err(error) = self.more() {
                self.failed = true;
                self.events.clear();
                return Some(Err(error));
            }
        }
    }
}

/// The next frame; none where the file ends before the frame does.
fn frame(file: &mut BufReader<File>, number: u64) -> Result<Option<Vec<u8>>, Unreadable> {
    let mut length = Vec::new();
    file.by_ref().take(4).read_to_end(&mut length).map_err(|e| Unreadable::of(&e))?;
    let Ok(length) = <[u8; 4]>::try_from(length.as_slice()) else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_MAX {
        return Err(Unreadable::Damaged { frame: number, what: "its length is impossible" });
    }
    let mut sealed = Vec::new();
    file.by_ref().take(length as u64).read_to_end(&mut sealed).map_err(|e| Unreadable::of(&e))?;
    Ok((sealed.len() == length).then_some(sealed))
}

/// A frame's plaintext: what it says of itself, and its lines.
fn opened(
    sealed: &[u8],
    number: u64,
    prev: &str,
    identities: &[Identity],
) -> Result<(Link, String), Unreadable> {
    let damaged = |what| Unreadable::Damaged { frame: number, what };
    let decryptor = age::Decryptor::new_buffered(sealed).map_err(|_| damaged("it was changed"))?;
    let all = identities.iter().map(|identity| identity as &dyn age::Identity);
    let mut reader = decryptor.decrypt(all).map_err(|error| {
        let other = matches!(error, age::DecryptError::NoMatchingKeys) && number == 0;
        if other { Unreadable::WrongIdentity } else { damaged("it was changed") }
    })?;
    let mut plain = String::new();
    reader.read_to_string(&mut plain).map_err(|_| damaged("it was changed"))?;
    let (first, lines) = plain.split_once('\n').ok_or(damaged("it is none of ours"))?;
    let link: Link = serde_json::from_str(first).map_err(|_| damaged("it is none of ours"))?;
    if link.frame != number {
        return Err(damaged("another frame stands in its place"));
    }
    if link.prev != prev {
        return Err(damaged("it does not follow the one before"));
    }
    Ok((link, lines.to_owned()))
}
