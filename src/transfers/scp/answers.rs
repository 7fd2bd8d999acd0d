//! What a receiver answers: a NUL for yes, a line for no; and what the sender may then go on with.
//! Absent on purpose: the text of a no.

use super::super::event::{Extent, Outcome, Part, Unreadable};
use super::super::order::Hasher;
use super::{DEPTH_MAX, File, PATH_MAX, Scp, Sender, place};

impl Scp {
    pub(super) fn receiver_sent(&mut self, mut bytes: &[u8]) -> Result<(), Unreadable> {
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

    pub(super) fn answered(&mut self, well: bool) -> Result<(), Unreadable> {
        match std::mem::replace(&mut self.sender, Sender::Line) {
            Sender::AwaitsGo => {}
            Sender::AwaitsFolder(name) => {
                let (path, other) = place::of(&self.request, &self.folders, &name);
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
                    let (path, other) = place::of(&self.request, &self.folders, &name);
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
}
