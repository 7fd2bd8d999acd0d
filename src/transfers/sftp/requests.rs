//! What a client asks for: its packets' fields, as far as they tell of files moved or changed.
//! Absent on purpose: answers.

use super::super::event::{Attributes, Change, Changed, Name, Outcome, Unreadable};
use super::super::frames::{Fields, Need};
use super::file::Mode;
use super::{Sftp, WRITE};

const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const RENAME: u8 = 18;
const SYMLINK: u8 = 20;
/// Version 6 alone.
const LINK: u8 = 21;
const EXTENDED: u8 = 200;

/// A request without its answer.
#[derive(Debug)]
pub(super) enum Asked {
    Open(Box<Name>, Mode),
    Read {
        file: Option<u64>,
        offset: u64,
        length: u32,
    },
    Write(Write),
    Close(u64),
    /// With the file whose handle it was asked on, if it was.
    Change(Box<Changed>, Option<u64>),
    /// `version-select`.
    Version(u32),
    Other,
}

/// A write without its answer.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) file: Option<u64>,
    pub(super) offset: u64,
    pub(super) length: u32,
}

impl Asked {
    /// The file that it keeps open.
    pub(super) fn on(&self) -> Option<u64> {
        match self {
            Self::Read { file, .. } | Self::Write(Write { file, .. }) | Self::Change(_, file) => *file,
            Self::Close(file) => Some(*file),
            Self::Open(..) | Self::Version(_) | Self::Other => None,
        }
    }

    pub(super) fn held(&self) -> usize {
        match self {
            Self::Open(path, _) => path.held(),
            Self::Change(changed, _) => changed.path.held() + changed.other.as_ref().map_or(0, Name::held),
            Self::Read { .. } | Self::Write(_) | Self::Close(_) | Self::Version(_) | Self::Other => 0,
        }
    }
}

/// How much of a request is looked at.
pub(super) fn need(kind: u8, gathered: &[u8]) -> Need {
    match kind {
        OPEN | CLOSE | READ | SETSTAT | FSETSTAT | REMOVE | MKDIR | RMDIR | RENAME | SYMLINK | LINK
        | EXTENDED => Need::All,
        WRITE => {
            // Number, handle, offset, length; the payload passes by.
            let mut fields = Fields(gathered);
            let handle = fields.u32().and_then(|_| fields.u32());
            Need::First(match handle {
                Ok(length) => usize::try_from(length).unwrap_or(usize::MAX).saturating_add(20),
                Err(_) => 8,
            })
        }
        _ => Need::First(4),
    }
}

impl Sftp {
    pub(super) fn asked(
        &mut self,
        version: u32,
        kind: u8,
        mut fields: Fields<'_>,
    ) -> Result<Asked, Unreadable> {
        let one = |change, path: &[u8]| Ok(changed(change, Name::new(path), None));
        match kind {
            OPEN => {
                let path = Name::new(fields.string()?);
                Ok(Asked::Open(Box::new(path), mode(version, fields)?))
            }
            CLOSE => Ok(self.handles.remove(fields.string()?).map_or(Asked::Other, Asked::Close)),
            READ => {
                let file = self.handles.get(fields.string()?).copied();
                Ok(Asked::Read { file, offset: fields.u64()?, length: fields.u32()? })
            }
            SETSTAT => {
                let path = Name::new(fields.string()?);
                Ok(attributes(version, fields)?
                    .map_or(Asked::Other, |set| changed(Change::Attributes(set), path, None)))
            }
            FSETSTAT => {
                let file = self.handles.get(fields.string()?).copied();
                let set = attributes(version, fields)?;
                Ok(match (set, file, file.and_then(|f| self.files.get(&f))) {
                    (Some(set), Some(number), Some(file)) => {
                        on(Change::Attributes(set), file.path.clone(), None, number)
                    }
                    _ => Asked::Other,
                })
            }
            REMOVE => one(Change::Removed, fields.string()?),
            MKDIR => one(Change::FolderMade, fields.string()?),
            RMDIR => one(Change::FolderRemoved, fields.string()?),
            RENAME => two(Change::Renamed, &mut fields),
            // OpenSSH and all who follow it send what the link leads to first, against the draft; version 6 made it LINK.
            SYMLINK => two_back(Change::Linked, &mut fields),
            LINK => {
                let (link, to) = (Name::new(fields.string()?), Name::new(fields.string()?));
                let symbolic = fields.byte()? != 0;
                Ok(changed(if symbolic { Change::Linked } else { Change::HardLinked }, link, Some(to)))
            }
            EXTENDED => self.extended(version, fields),
            _ => Ok(Asked::Other),
        }
    }

    fn extended(&mut self, version: u32, mut fields: Fields<'_>) -> Result<Asked, Unreadable> {
        match fields.string()? {
            b"posix-rename@openssh.com" => two(Change::Renamed, &mut fields),
            b"hardlink@openssh.com" => two_back(Change::HardLinked, &mut fields),
            b"copy-file" => two(Change::Copied, &mut fields),
            b"lsetstat@openssh.com" => {
                let path = Name::new(fields.string()?);
                Ok(attributes(version, fields)?
                    .map_or(Asked::Other, |set| changed(Change::Attributes(set), path, None)))
            }
            b"copy-data" => {
                let from = self.handles.get(fields.string()?).copied();
                let (_offset, _length) = (fields.u64()?, fields.u64()?);
                let to = self.handles.get(fields.string()?).copied();
                let path = |file: Option<u64>| file.and_then(|f| self.files.get(&f)).map(|f| f.path.clone());
                Ok(match (path(from), to, path(to)) {
                    (Some(from), Some(number), Some(to)) => on(Change::Copied, from, Some(to), number),
                    _ => Asked::Other,
                })
            }
            b"version-select" => {
                let version = std::str::from_utf8(fields.string()?).ok().and_then(|text| text.parse().ok());
                Ok(version.map_or(Asked::Other, Asked::Version))
            }
            _ => Ok(Asked::Other),
        }
    }
}

fn changed(change: Change, path: Name, other: Option<Name>) -> Asked {
    Asked::Change(Box::new(Changed { change, path, other, outcome: Outcome::Unanswered }), None)
}

fn on(change: Change, path: Name, other: Option<Name>, file: u64) -> Asked {
    Asked::Change(Box::new(Changed { change, path, other, outcome: Outcome::Unanswered }), Some(file))
}

fn two(change: Change, fields: &mut Fields<'_>) -> Result<Asked, Unreadable> {
    let (from, to) = (fields.string()?, fields.string()?);
    Ok(changed(change, Name::new(from), Some(Name::new(to))))
}

fn two_back(change: Change, fields: &mut Fields<'_>) -> Result<Asked, Unreadable> {
    let (to, link) = (fields.string()?, fields.string()?);
    Ok(changed(change, Name::new(link), Some(Name::new(to))))
}

/// The flags of an `OPEN`: draft-02 section 6.3, from version 5 on draft-05 section 6.3.1.
fn mode(version: u32, mut fields: Fields<'_>) -> Result<Mode, Unreadable> {
    if version < 5 {
        let flags = fields.u32()?;
        // APPEND 4, CREAT 8, TRUNC 16, EXCL 32.
        return Ok(Mode { append: flags & 4 != 0, fresh: flags & 16 != 0 || flags & 0x28 == 0x28 });
    }
    let (access, flags) = (fields.u32()?, fields.u32()?);
    // CREATE_NEW 0, CREATE_TRUNCATE 1, OPEN_EXISTING 2, OPEN_OR_CREATE 3, TRUNCATE_EXISTING 4.
    let fresh = matches!(flags & 7, 0 | 1 | 4);
    Ok(Mode { append: access & 4 != 0 || flags & 0x18 != 0, fresh })
}

/// Which attributes are set: draft-02 section 5, from version 4 on draft-05 section 5. Nothing for times alone.
fn attributes(version: u32, mut fields: Fields<'_>) -> Result<Option<Attributes>, Unreadable> {
    let flags = fields.u32()?;
    let mut set = Attributes::default();
    if version >= 4 {
        fields.byte()?;
    }
    if flags & 1 != 0 {
        set.size = Some(fields.u64()?);
    }
    if version >= 4 {
        if version >= 6 && flags & 0x400 != 0 {
            fields.u64()?;
        }
        if flags & 0x80 != 0 {
            set.owner = true;
            fields.string()?;
            fields.string()?;
        }
    } else if flags & 2 != 0 {
        set.owner = true;
        fields.u64()?;
    }
    if flags & 4 != 0 {
        set.mode = Some(fields.u32()?);
    }
    Ok((set != Attributes::default()).then_some(set))
}
