//! The tree that a person sees by SFTP: what a path means, and how an entry is shown.
//! Absent on purpose: a file system. A path is taken apart into checked names; what does not come apart so is nothing.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::wire::Attributes;
use crate::names::{BackupName, IncomingName, KonnektorId, SiteName};

/// A path's length that is still looked at; no path of the tree is near it.
const LONGEST: usize = 4096;
/// The folder of a site where files are handed in.
pub const INCOMING: &str = "incoming";

/// What a path means, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// `/`
    Root,
    /// `/SITE`
    Site(SiteName),
    /// `/SITE/KONNEKTOR`
    Konnektor(KonnektorId),
    /// `/SITE/KONNEKTOR/2026-11-21-16-04.json`
    Backup(KonnektorId, BackupName),
    /// `/SITE/incoming`
    Incoming(SiteName),
    /// `/SITE/incoming/NAME`
    Handed(SiteName, Name),
}

/// A file's name in `incoming`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// What it is kept under.
    Final(IncomingName),
    /// What a client calls it until it is whole: `x.json.filepart`, `.#x.json`. Never kept.
    Passing(Box<str>),
}

impl Name {
    fn of(text: &str) -> Option<Self> {
        let plain =
            text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-#".contains(&b));
        match text.parse() {
            Ok(name) => Some(Self::Final(name)),
            Err(_) if plain && (text.ends_with(".filepart") || text.starts_with(".#")) => {
                Some(Self::Passing(text.into()))
            }
            Err(_) => None,
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Name::Final(name) => name.as_str(),
            Name::Passing(name) => name,
        }
    }
}

impl Node {
    /// The site that it is at.
    pub fn site(&self) -> Option<&SiteName> {
        match self {
            Node::Root => None,
            Node::Site(site) | Node::Incoming(site) | Node::Handed(site, _) => Some(site),
            Node::Konnektor(id) | Node::Backup(id, _) => Some(&id.site),
        }
    }
}

/// A path's parts from the root on; `..` leads no higher than there. `None`: no text, too long, or with a control character.
fn parts(path: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(path).ok().filter(|text| text.len() <= LONGEST)?;
    if text.chars().any(char::is_control) {
        return None;
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(parts)
}

/// The path written out; whether anything is there is another question.
pub fn absolute(path: &[u8]) -> Option<String> {
    parts(path).map(|parts| format!("/{}", parts.join("/")))
}

/// What it means, if it can mean anything.
pub fn node(path: &[u8]) -> Option<Node> {
    let parts = parts(path)?;
    let (site, rest) = match parts.split_first() {
        None => return Some(Node::Root),
        Some((site, rest)) => (site.parse::<SiteName>().ok()?, rest),
    };
    match rest {
        [] => Some(Node::Site(site)),
        [INCOMING] => Some(Node::Incoming(site)),
        [INCOMING, name] => Some(Node::Handed(site, Name::of(name)?)),
        [konnektor] => Some(Node::Konnektor(KonnektorId { site, konnektor: konnektor.parse().ok()? })),
        [konnektor, name] => {
            let id = KonnektorId { site, konnektor: konnektor.parse().ok()? };
            Some(Node::Backup(id, name.parse().ok()?))
        }
        _ => None,
    }
}

/// Is it a name in a site's `incoming` that could never be kept? Then whose.
pub fn misnamed(path: &[u8]) -> Option<SiteName> {
    match parts(path)?.as_slice() {
        [site, INCOMING, _] => site.parse().ok(),
        _ => None,
    }
}

/// An entry as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name in its folder.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub bytes: u64,
    /// Seconds since 1970.
    pub time: i64,
    /// Whose.
    pub owner: Option<String>,
}

/// What an entry is, and what can be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder that shows what is there.
    Folder,
    /// A folder that takes files.
    Drop,
    /// A kept backup.
    Kept,
    /// A file that was handed in.
    Handed,
}

impl Row {
    /// A folder.
    pub fn folder(name: &str, kind: Kind, now: Timestamp) -> Self {
        Self { name: name.to_owned(), kind, bytes: 0, time: now.as_second(), owner: None }
    }

    /// For a program.
    pub fn attributes(&self) -> Attributes {
        let mode = match self.kind {
            Kind::Folder => 0o040_555,
            Kind::Drop => 0o040_755,
            Kind::Kept => 0o100_444,
            Kind::Handed => 0o100_644,
        };
        Attributes { size: self.bytes, mode, time: u32::try_from(self.time).unwrap_or_default() }
    }

    /// For people: `ls -l`.
    pub fn long(&self, now: Timestamp) -> String {
        let letters = match self.kind {
            Kind::Folder => "dr-xr-xr-x",
            Kind::Drop => "drwxr-xr-x",
            Kind::Kept => "-r--r--r--",
            Kind::Handed => "-rw-r--r--",
        };
        let owner = self.owner.as_deref().unwrap_or("pforte");
        let firm = owner.split_once('-').map_or("pforte", |(firm, _)| firm);
        let time = Timestamp::from_second(self.time).unwrap_or_default();
        // As ls does: the time of what is younger than half a year, the year of what is older.
        let recent = now.checked_sub((183 * 24).hours()).is_ok_and(|then| (then..=now).contains(&time));
        let date = time.to_zoned(TimeZone::UTC);
        let date = date.strftime(if recent { "%b %e %H:%M" } else { "%b %e  %Y" });
        format!("{letters}    1 {owner:<12} {firm:<8} {:>10} {date} {}", self.bytes, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(path: &str) -> String {
        node(path.as_bytes()).map_or_else(|| "nothing".into(), |node| format!("{node:?}"))
    }

    #[test]
    fn a_path_means_a_place_in_the_tree_or_nothing() {
        for path in ["", "/", ".", "./", "//", "/..", "../../..", "/praxis-mueller/.."] {
            assert_eq!(node(path.as_bytes()), Some(Node::Root), "{path}");
        }
        assert_eq!(means("/praxis-mueller/"), "Site(praxis-mueller)");
        assert_eq!(means("praxis-mueller/./incoming"), "Incoming(praxis-mueller)");
        assert_eq!(means("/praxis-mueller/incoming/a.json"), "Handed(praxis-mueller, Final(a.json))");
        assert_eq!(
            means("/praxis-mueller/incoming/a.json.filepart"),
            "Handed(praxis-mueller, Passing(\"a.json.filepart\"))"
        );
        assert!(means("/praxis-mueller/main/2026-11-21-16-04.json").starts_with("Backup("));
        assert!(means("/../../praxis-mueller/x/../main").starts_with("Konnektor("));
        for path in [
            "/etc/passwd/x",
            "/a/b/c/d",
            "/praxis-mueller/main/notes.txt",
            "/praxis-mueller/main/2026-11-21-16-04.json.age",
            "/praxis-mueller/incoming/a.txt",
            "/praxis-mueller/incoming/.#../x",
            "/praxis-mueller/incoming/a.json/x",
            "/Praxis",
            "/praxis-mueller\0",
            "/praxis-mueller/ma\u{200b}in",
            "/praxis-mueller\\main",
            "~",
        ] {
            assert_eq!(means(path), "nothing", "{path:?}");
        }
        assert_eq!(node(b"/praxis\xff"), None);
        assert_eq!(node(&b"/a/..".repeat(1 << 18)), None, "a path of more than a megabyte");
    }

    #[test]
    fn a_path_is_written_out_from_the_root() {
        assert_eq!(absolute(b".").as_deref(), Some("/"));
        assert_eq!(absolute(b"a/../../b//c/").as_deref(), Some("/b/c"));
        assert_eq!(absolute(b"\xff"), None);
        assert_eq!(absolute(b"a\x1b[2J"), None);
    }

    #[test]
    fn a_long_name_has_date_size_and_owner() {
        let now: Timestamp = "2026-11-22T01:00:00Z".parse().unwrap();
        let mut row = Row {
            name: "2026-11-21-16-04.json".into(),
            kind: Kind::Kept,
            bytes: 12345,
            time: "2026-11-21T16:04:05Z".parse::<Timestamp>().unwrap().as_second(),
            owner: Some("firm-jane.doe".into()),
        };
        assert_eq!(
            row.long(now),
            "-r--r--r--    1 firm-jane.doe firm          12345 Nov 21 16:04 2026-11-21-16-04.json"
        );
        row.time = "2024-02-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
        assert!(row.long(now).contains(" Feb  1  2024 "), "{}", row.long(now));
    }
}
