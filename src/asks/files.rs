//! What can be asked for by SFTP on the gateway itself: a look at the tree, kept backups, files that are handed in.
//! Absent on purpose: paths. What a client wrote stands in `as_asked`, for the journal, and is never looked up.

use super::{Ask, Family};
use crate::names::{BackupName, KonnektorId, SiteName};

/// What in the tree of files it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlace {
    /// Which sites and boxes there are for the person: no more than `sites` tells.
    Overview,
    /// Which backups are kept of a box.
    Kept(KonnektorId),
    /// One of them.
    Backup(KonnektorId, BackupName),
    /// The files that were handed in at a site, all of them.
    Incoming(SiteName),
}

/// One request by SFTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAsk {
    /// About what.
    pub place: FilePlace,
    as_asked: Box<[u8]>,
    words: Box<[u8]>,
}

impl FileAsk {
    /// About `place`; `as_asked` is `sftp open /praxis-mueller/main/2026-11-21-16-04.json`, with the path as it came.
    pub fn new(place: FilePlace, as_asked: impl Into<Box<[u8]>>) -> Self {
        let mut ask = Self { place, as_asked: as_asked.into(), words: Box::default() };
        let site = ask.site().map(|site| format!(" -i {site}")).unwrap_or_default();
        ask.words = format!("sftp {}{site}", ask.family().as_str()).into_bytes().into();
        ask
    }

    /// `sftp konnektor show -i praxis-mueller`: what a phone is asked about. One answer counts for all files there.
    pub fn words(&self) -> String {
        String::from_utf8_lossy(&self.words).into_owned()
    }
}

impl Ask for FileAsk {
    fn family(&self) -> Family {
        match self.place {
            FilePlace::Overview => Family::Oneself,
            FilePlace::Kept(_) => Family::KonnektorBackups,
            FilePlace::Backup(..) => Family::KonnektorShow,
            FilePlace::Incoming(_) => Family::KonnektorRestore,
        }
    }

    fn site(&self) -> Option<&SiteName> {
        match &self.place {
            FilePlace::Overview => None,
            FilePlace::Kept(id) | FilePlace::Backup(id, _) => Some(&id.site),
            FilePlace::Incoming(site) => Some(site),
        }
    }

    fn target(&self) -> Option<String> {
        match &self.place {
            FilePlace::Overview => None,
            FilePlace::Kept(id) | FilePlace::Backup(id, _) => Some(format!("konnektor/{}", id.konnektor)),
            FilePlace::Incoming(_) => Some("incoming".to_owned()),
        }
    }

    fn as_asked(&self) -> &[u8] {
        &self.as_asked
    }

    fn confirmed_as(&self) -> &[u8] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_of_the_family_that_a_rule_names() {
        let id = KonnektorId { site: "praxis-mueller".parse().unwrap(), konnektor: "main".parse().unwrap() };
        let name = "2026-11-21-16-04.json".parse().unwrap();
        let cases = [
            (FilePlace::Overview, "whoami", "sftp whoami", None),
            (
                FilePlace::Kept(id.clone()),
                "konnektor backups",
                "sftp konnektor backups -i praxis-mueller",
                Some("konnektor/main"),
            ),
            (
                FilePlace::Backup(id.clone(), name),
                "konnektor show",
                "sftp konnektor show -i praxis-mueller",
                Some("konnektor/main"),
            ),
            (
                FilePlace::Incoming(id.site),
                "konnektor restore",
                "sftp konnektor restore -i praxis-mueller",
                Some("incoming"),
            ),
        ];
        for (place, family, words, target) in cases {
            let ask = FileAsk::new(place, *b"sftp open /x");
            assert_eq!((ask.family().as_str(), ask.words().as_str()), (family, words));
            assert_eq!((ask.target().as_deref(), ask.as_asked()), (target, &b"sftp open /x"[..]));
            assert_eq!(ask.site().is_some(), target.is_some());
        }
    }
}
