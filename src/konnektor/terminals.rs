//! Card terminals: which a box lists, which of another box's they are, and an Infomodell that names them anew.
//! Absent on purpose: guesses. What two things could be is asked.

use std::collections::{BTreeSet, HashMap};

use crate::konnektor::diff::{Change, Diff, plain, segment};
use crate::konnektor::{Error, Given, Json, Part, Profile, Reading};
use crate::names::ServiceName;

/// A card terminal as a box lists it; what it does not say is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terminal {
    /// The box's own name for it.
    pub id: String,
    /// Its network address, as written.
    pub mac: String,
    /// Its host name.
    pub hostname: String,
    /// Its serial number.
    pub serial: String,
    /// Its IP address.
    pub address: String,
    /// `aktiv`, `gepairt`, `zugewiesen`, `bekannt`.
    pub state: String,
}

/// By what a terminal was known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its network address.
    Mac,
    /// Its serial number.
    Serial,
    /// Its host name.
    Hostname,
    /// A person said so.
    Person,
}

/// Which terminal of the old box is which of the new one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remap {
    /// Old id, new id, and what says so.
    pub pairs: Vec<(String, String, By)>,
    /// Old ids, each with the new ones that it could be, or that its marks contradict each other about.
    pub ambiguous: Vec<(String, Vec<String>)>,
    /// Old ids that nothing on the new box looks like.
    pub lost: Vec<String>,
    /// New ids that are in no pair.
    pub unused: Vec<String>,
}

/// A person's answer that fits nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChoice {
    /// No such terminal in the file.
    #[error("there is no card terminal {id} in the file")]
    NoSuchOld {
        /// Escaped.
        id: String,
    },
    /// No such terminal on the box.
    #[error("there is no card terminal {id} on the Konnektor")]
    NoSuchNew {
        /// Escaped.
        id: String,
    },
    /// One was named twice.
    #[error("the card terminal {id} was named twice")]
    Twice {
        /// Escaped.
        id: String,
    },
}

impl BadChoice {
    /// One sentence for a person, German or English.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        match self {
            Self::NoSuchOld { id } if german => format!("In der Datei gibt es kein Kartenterminal {id}"),
            Self::NoSuchNew { id } if german => format!("Am Konnektor gibt es kein Kartenterminal {id}"),
            Self::Twice { id } if german => format!("Das Kartenterminal {id} wurde doppelt genannt"),
            Self::NoSuchOld { .. } | Self::NoSuchNew { .. } | Self::Twice { .. } => self.to_string(),
        }
    }
}

impl By {
    /// What says so, German or English.
    #[must_use]
    pub fn sentence(self, german: bool) -> &'static str {
        match (self, german) {
            (Self::Mac, false) => "by its MAC address",
            (Self::Mac, true) => "an der MAC-Adresse",
            (Self::Serial, false) => "by its serial number",
            (Self::Serial, true) => "an der Seriennummer",
            (Self::Hostname, false) => "by its host name",
            (Self::Hostname, true) => "am Hostnamen",
            (Self::Person, false) => "as you said",
            (Self::Person, true) => "wie Sie sagten",
        }
    }
}

/// The service that lists card terminals.
///
/// # Errors
/// [`Error::NotInProfile`].
pub fn service(profile: &Profile) -> Result<ServiceName, Error> {
    rules(profile).map(|rules| rules.service.clone())
}

/// The service whose texts refer to card terminals, if the profile knows it.
#[must_use]
pub fn references(profile: &Profile) -> Option<&ServiceName> {
    profile.terminals.as_ref().map(|terminals| &terminals.references)
}

/// The card terminals that a box lists.
///
/// # Errors
/// [`Error::NotInProfile`], [`Error::UnknownService`], and why the service was not read.
pub fn terminals(profile: &Profile, reading: &Reading) -> Result<Vec<Terminal>, Error> {
    let rules = rules(profile)?;
    if let Some(read) = reading.services.iter().find(|read| read.service == rules.service) {
        return listed(profile, &read.value);
    }
    let failed = reading.failed.iter().find(|(service, _)| *service == rules.service);
    Err(failed.map_or_else(|| Error::UnknownService { service: rules.service.clone() }, |(_, e)| e.clone()))
}

/// The card terminals that a file lists.
///
/// # Errors
/// [`Error::NotInProfile`], [`Error::UnknownService`].
pub fn terminals_of(profile: &Profile, given: &Given) -> Result<Vec<Terminal>, Error> {
    let service = &rules(profile)?.service;
    let value = given.services.get(service);
    value.map_or_else(
        || Err(Error::UnknownService { service: service.clone() }),
        |value| listed(profile, value),
    )
}

fn rules(profile: &Profile) -> Result<&crate::konnektor::profile::Terminals, Error> {
    profile.terminals.as_ref().ok_or_else(|| Error::NotInProfile { key: "terminals".into() })
}

/// The card terminals in the service's value.
fn listed(profile: &Profile, value: &Json) -> Result<Vec<Terminal>, Error> {
    let rules = rules(profile)?;
    let items = value.at(&rules.list).map(Part::items).unwrap_or_default();
    let of = |item: Part<'_>| {
        let members = item.members();
        let word = |name: &str| {
            let found = members.iter().find(|(key, _)| key == name).and_then(|(_, part)| part.word());
            found.map(std::borrow::Cow::into_owned).unwrap_or_default()
        };
        Terminal {
            id: word(&rules.id),
            mac: word(&rules.mac),
            hostname: word(&rules.hostname),
            serial: word(&rules.serial),
            address: word(&rules.address),
            state: word(&rules.state),
        }
    };
    Ok(items.into_iter().map(of).filter(|terminal| !terminal.id.is_empty()).collect())
}

/// The marks of a terminal that are compared, the strongest first; what it does not have is empty.
fn marks(terminal: &Terminal) -> [(By, String); 3] {
    let bare = |text: &str| text.trim().to_lowercase();
    let mac: String = bare(&terminal.mac).chars().filter(|c| !":-. ".contains(*c)).collect();
    let mac = if mac.chars().all(|c| c == '0') { String::new() } else { mac };
    [(By::Mac, mac), (By::Serial, bare(&terminal.serial)), (By::Hostname, bare(&terminal.hostname))]
}

/// What one terminal could be among others.
enum Match<'t> {
    One(&'t Terminal, By),
    Several(Vec<&'t Terminal>),
    None,
}

/// The strongest mark that finds any decides; weaker ones, and stronger ones that differ, must not contradict it.
fn find<'t>(of: &Terminal, among: &[&'t Terminal]) -> Match<'t> {
    let mine = marks(of);
    let found: Vec<(By, Vec<&'t Terminal>)> = mine
        .iter()
        .enumerate()
        .filter(|(_, (_, mark))| !mark.is_empty())
        .map(|(n, (by, mark))| {
            let alike = |other: &&&Terminal| marks(other).get(n).is_some_and(|(_, theirs)| theirs == mark);
            (*by, among.iter().filter(alike).copied().collect::<Vec<_>>())
        })
        .filter(|(_, alike)| !alike.is_empty())
        .collect();
    let Some((by, strongest)) = found.first() else { return Match::None };
    let all = || {
        let mut all: Vec<&Terminal> = Vec::new();
        for one in found.iter().flat_map(|(_, alike)| alike) {
            if !all.iter().any(|seen| seen.id == one.id) {
                all.push(one);
            }
        }
        Match::Several(all)
    };
    let [one] = strongest.as_slice() else { return all() };
    let agreed = found.iter().all(|(_, alike)| alike.iter().any(|other| other.id == one.id));
    let theirs = marks(one);
    // Hosts are renamed; a network address or serial number that differs is another device.
    let another = mine.iter().zip(&theirs).any(|((kind, mark), (_, their))| {
        *kind != By::Hostname && !mark.is_empty() && !their.is_empty() && mark != their
    });
    if agreed && !another { Match::One(one, *by) } else { all() }
}

/// Which old terminal is which new one: by network address, then serial number, then host name. A match must be the
/// only one both ways, and no mark may speak against it; `chosen` (old id, new id) goes before.
///
/// # Errors
/// [`BadChoice`].
pub fn remap(old: &[Terminal], new: &[Terminal], chosen: &[(String, String)]) -> Result<Remap, BadChoice> {
    let mut remap = Remap::default();
    let (mut gone, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (from, to) in chosen {
        if !old.iter().any(|terminal| terminal.id == *from) {
            return Err(BadChoice::NoSuchOld { id: plain(from, 64) });
        }
        if !new.iter().any(|terminal| terminal.id == *to) {
            return Err(BadChoice::NoSuchNew { id: plain(to, 64) });
        }
        for (id, set) in [(from, &mut gone), (to, &mut taken)] {
            if !set.insert(id.as_str()) {
                return Err(BadChoice::Twice { id: plain(id, 64) });
            }
        }
        remap.pairs.push((from.clone(), to.clone(), By::Person));
    }
    let old: Vec<&Terminal> = old.iter().filter(|terminal| !gone.contains(terminal.id.as_str())).collect();
    let free: Vec<&Terminal> = new.iter().filter(|terminal| !taken.contains(terminal.id.as_str())).collect();
    for terminal in &old {
        let id = terminal.id.clone();
        match find(terminal, &free) {
            Match::None => remap.lost.push(id),
            Match::Several(could) => {
                remap.ambiguous.push((id, could.iter().map(|one| one.id.clone()).collect()));
            }
            Match::One(one, by) => match find(one, &old) {
                Match::One(back, _) if back.id == id => remap.pairs.push((id, one.id.clone(), by)),
                Match::One(..) | Match::Several(_) | Match::None => {
                    remap.ambiguous.push((id, vec![one.id.clone()]));
                }
            },
        }
    }
    let paired: BTreeSet<&str> = remap.pairs.iter().map(|(_, to, _)| to.as_str()).collect();
    let unused = new.iter().filter(|terminal| !paired.contains(terminal.id.as_str()));
    remap.unused = unused.map(|terminal| terminal.id.clone()).collect();
    Ok(remap)
}

/// Puts new ids in the place of old ones, wherever a text is exactly an old id: all at the same time, so that two may
/// swap. Keys and parts of texts stay.
#[must_use]
pub fn rewrite(value: &Json, pairs: &[(String, String, By)]) -> (Json, Diff) {
    let mut diff = Diff::default();
    let quoted = |id: &str| serde_json::Value::from(id).to_string();
    let new: HashMap<String, String> = pairs
        .iter()
        .filter(|(from, to, _)| from != to)
        .map(|(from, to, _)| (quoted(from), quoted(to)))
        .collect();
    let text = value.text();
    let mut out = String::new();
    let (mut copied, mut at, mut here) = (0, 0, Vec::new());
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' => here.push(Place::Member("")),
            b'[' => here.push(Place::Item(0)),
            b'}' | b']' => drop(here.pop()),
            b',' => {
                if let Some(Place::Item(n)) = here.last_mut() {
                    *n += 1;
                }
            }
            b'"' => {
                let end = end_of_text(bytes, at);
                let token = text.get(at..end).unwrap_or_default();
                if bytes.get(end) == Some(&b':') {
                    here.pop();
                    here.push(Place::Member(token));
                } else if let Some(to) = new.get(token) {
                    out.push_str(text.get(copied..at).unwrap_or_default());
                    out.push_str(to);
                    copied = end;
                    diff.note(|| Change {
                        place: pointer(&here),
                        from: Some(plain(token, 80)),
                        to: Some(plain(to, 80)),
                    });
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return (value.clone(), diff);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    (Json::of_text(out), diff)
}

enum Place<'t> {
    /// The key as it is written, quotes and all.
    Member(&'t str),
    Item(usize),
}

fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut escaped = false;
    for (n, byte) in bytes.iter().enumerate().skip(start + 1) {
        match byte {
            b'"' if !escaped => return n + 1,
            b'\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    bytes.len()
}

fn pointer(here: &[Place<'_>]) -> String {
    here.iter()
        .map(|place| match place {
            Place::Item(n) => format!("/{n}"),
            Place::Member(key) => {
                let key: String = serde_json::from_str(key).unwrap_or_default();
                format!("/{}", segment(&key))
            }
        })
        .collect()
}
