//! The file that is to be restored, whoever wrote or edited it: read once, in a stream, and told apart by its form.
//! Absent on purpose: what is done with it, and any text of it in an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::konnektor::archive::{About, Archive, FORMAT, Sum, containers};
use crate::konnektor::diff::plain;
use crate::konnektor::json::{self, Emit, Emitted};
use crate::konnektor::{Error, Json, Profile};
use crate::names::ServiceName;

/// A larger file is refused.
pub const LARGEST: u64 = 256 * 1024 * 1024;
/// Values in a file: items and members.
const VALUES: usize = 4_000_000;
/// Unknown names that are kept.
const UNKNOWN: usize = 20;
/// Levels of a file: a value's, and two around it.
const DEEPEST: usize = json::DEEPEST + 2;

/// What is to be restored.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The file's head, where it has one.
    pub about: Option<About>,
    /// Each service's value, card holders' data taken out again.
    pub services: BTreeMap<ServiceName, Json>,
    /// Services whose value is not the one that was taken: somebody edited the file.
    pub changed: Vec<ServiceName>,
    /// PKCS#12 containers that are not the ones that were taken, by `/service` and JSON pointer.
    pub containers: Vec<String>,
    /// Names that the profile does not list, escaped, at most 20; their values were left out.
    pub unknown: Vec<String>,
}

/// Why a file cannot be restored; names the place, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadGiven {
    /// Not JSON.
    #[error("line {line}, column {column}: not JSON (UTF-8)")]
    Form {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A Windows editor's "Unicode".
    #[error(
        "the file is UTF-16; save it as UTF-8 (in the editor: Save as, encoding UTF-8) and send it again"
    )]
    Utf16,
    /// More than one head.
    #[error("line {line}, column {column}: a second \"{member}\"")]
    TwoHeads {
        /// `pforte` or `services`.
        member: &'static str,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The head is not of our form.
    #[error("pforte: the file's head is not of this form; without it the file can be restored too")]
    Head,
    /// A form this build does not read.
    #[error("pforte.format: this build reads {FORMAT}, the file is of {found}")]
    Version {
        /// What the file says.
        found: String,
    },
    /// `services` is no object.
    #[error("services: expected an object, a member a service")]
    Services,
    /// No service that the profile lists.
    #[error("there is no service in the file that this make of Konnektor has")]
    NoService,
    /// The same service twice.
    #[error("line {line}, column {column}: {service} is there twice")]
    Twice {
        /// Which.
        service: ServiceName,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Nested deeper than any box takes.
    #[error("line {line}, column {column}: nested deeper than 120 levels")]
    TooDeep {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// An integer of more than 64 bits.
    #[error(
        "line {line}, column {column}: a number too large to be kept exactly; write it as text, in quotes"
    )]
    Inexact {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// More values than any box has: each costs far more memory than its text.
    #[error("the file holds more than {VALUES} values")]
    TooMany,
    /// Larger than 256 MiB.
    #[error("the file is larger than 256 MiB")]
    TooLarge,
    /// The stream failed.
    #[error("the file could not be read to its end")]
    Unread,
}

impl BadGiven {
    /// One sentence for a person, German or English, with the place.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        if !german {
            return self.to_string();
        }
        match self {
            Self::Form { line, column } => format!("Zeile {line}, Spalte {column}: kein JSON (UTF-8)"),
            Self::Utf16 => "Die Datei ist UTF-16; bitte als UTF-8 speichern (im Editor: Speichern unter, Codierung UTF-8) und erneut senden".into(),
            Self::TwoHeads { member, line, column } => format!("Zeile {line}, Spalte {column}: ein zweites \"{member}\""),
            Self::Head => "pforte: der Kopf der Datei hat nicht diese Form; ohne ihn lässt sie sich auch einlesen".into(),
            Self::Version { found } => format!("pforte.format: hier wird {FORMAT} gelesen, die Datei hat {found}"),
            Self::Services => "services: erwartet wird ein Objekt mit einem Eintrag je Dienst".into(),
            Self::NoService => "In der Datei steht kein Dienst, den dieses Konnektor-Fabrikat hat".into(),
            Self::Twice { service, line, column } => format!("Zeile {line}, Spalte {column}: {service} steht doppelt da"),
            Self::TooDeep { line, column } => format!("Zeile {line}, Spalte {column}: tiefer als 120 Ebenen verschachtelt"),
            Self::Inexact { line, column } => format!("Zeile {line}, Spalte {column}: eine Zahl, die zu groß ist, um genau erhalten zu bleiben; bitte als Text in Anführungszeichen schreiben"),
            Self::TooMany => format!("Die Datei enthält mehr als {VALUES} Werte"),
            Self::TooLarge => "Die Datei ist größer als 256 MiB".into(),
            Self::Unread => "Die Datei ließ sich nicht bis zum Ende lesen".into(),
        }
    }
}

impl Given {
    /// Reads a file: ours (`{"pforte": …, "services": {…}}`), or `{service: value, …}` with or without our head.
    ///
    /// # Errors
    /// [`BadGiven`].
    pub fn read(from: &mut dyn Read, profile: &Profile) -> Result<Self, BadGiven> {
        Self::read_within(from, profile, LARGEST)
    }

    fn read_within(from: &mut dyn Read, profile: &Profile, largest: u64) -> Result<Self, BadGiven> {
        let mut first = Vec::with_capacity(4);
        (&mut *from).take(4).read_to_end(&mut first).map_err(|_| BadGiven::Unread)?;
        let text = match first.as_slice() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => return Err(BadGiven::Utf16),
            [0xef, 0xbb, 0xbf, rest @ ..] => rest,
            all => all,
        };
        let mut watched = Watched::new(Read::chain(text, from), largest);
        let mut found = Found { profile, given: Self::default(), head: None, services: false, wrong: None };
        let read = {
            let buffered = std::io::BufReader::with_capacity(65_536, &mut watched);
            let mut deserializer = serde_json::Deserializer::from_reader(buffered);
            Top { found: &mut found }.deserialize(&mut deserializer).and_then(|()| deserializer.end())
        };
        if let Err(error) = read {
            let (line, column) = (error.line(), error.column());
            return Err(match (watched.wrong, found.wrong) {
                (Some(wrong), _) => wrong,
                (None, Some(wrong)) => wrong.at(line, column),
                (None, None) if error.is_io() => BadGiven::Unread,
                (None, None) => BadGiven::Form { line: line.max(1), column },
            });
        }
        let mut given = found.given;
        given.about = found.head.map(|head| about(&head)).transpose()?;
        if given.services.is_empty() {
            return Err(BadGiven::NoService);
        }
        given.hold_against_sums();
        Ok(given)
    }

    /// What differs from the head's sums.
    fn hold_against_sums(&mut self) {
        let Some(about) = &self.about else { return };
        let mut found = BTreeMap::new();
        for (service, value) in &self.services {
            if about.services.get(service) != Some(&Sum::of(value.text().as_bytes())) {
                self.changed.push(service.clone());
                containers(value.part(), &format!("/{service}"), &mut found);
            }
        }
        let of_changed = |pointer: &str| {
            let service = pointer.split('/').nth(1).unwrap_or_default();
            self.changed.iter().any(|changed| changed.as_str() == service)
        };
        let all: BTreeSet<&String> =
            about.pkcs12.keys().filter(|pointer| of_changed(pointer)).chain(found.keys()).collect();
        let differs = all.into_iter().filter(|pointer| found.get(*pointer) != about.pkcs12.get(*pointer));
        self.containers = differs.map(|pointer| plain(pointer, 200)).take(UNKNOWN).collect();
    }
}

/// A backup of today, to go back to it.
impl From<&Archive> for Given {
    fn from(archive: &Archive) -> Self {
        let services = archive.services().map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { about: Some(archive.about.clone()), services, ..Self::default() }
    }
}

fn about(head: &Json) -> Result<About, BadGiven> {
    let format = head.at("/format").map(|part| plain(part.text(), 20)).ok_or(BadGiven::Head)?;
    if format != FORMAT.to_string() {
        return Err(BadGiven::Version { found: format });
    }
    serde_json::from_str(head.text()).map_err(|_| BadGiven::Head)
}

/// What ended the reading; the place is known where the error comes out.
enum Wrong {
    TwoHeads(&'static str),
    Services,
    Twice(ServiceName),
    TooDeep,
}

impl Wrong {
    fn at(self, line: usize, column: usize) -> BadGiven {
        match self {
            Self::TwoHeads(member) => BadGiven::TwoHeads { member, line, column },
            Self::Services => BadGiven::Services,
            Self::Twice(service) => BadGiven::Twice { service, line, column },
            Self::TooDeep => BadGiven::TooDeep { line, column },
        }
    }
}

struct Found<'p> {
    profile: &'p Profile,
    given: Given,
    head: Option<Json>,
    services: bool,
    wrong: Option<Wrong>,
}

impl Found<'_> {
    fn end<E: serde::de::Error>(&mut self, wrong: Wrong) -> E {
        self.wrong = Some(wrong);
        E::custom("not to be restored")
    }

    /// A member that is a service, or nothing we know.
    fn service<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let known = name.parse::<ServiceName>().ok().filter(|name| self.profile.service(name).is_some());
        let Some(service) = known else {
            if self.given.unknown.len() < UNKNOWN {
                self.given.unknown.push(plain(name, 64));
            }
            map.next_value::<IgnoredAny>()?;
            return Ok(());
        };
        if self.given.services.contains_key(&service) {
            return Err(self.end(Wrong::Twice(service)));
        }
        let mut emitted = Emitted::default();
        map.next_value_seed(Emit::new(&mut emitted, Some(&self.profile.personal)))?;
        emitted.text.shrink_to_fit();
        let deepest = self.profile.limits.json_depth;
        // Numbers were looked at before they were read.
        if let Err(Error::TooDeep { .. }) = json::checked(emitted.text.as_bytes(), deepest, &service) {
            return Err(self.end(Wrong::TooDeep));
        }
        self.given.services.insert(service, Json::of_text(emitted.text));
        Ok(())
    }
}

/// The file's outermost object.
struct Top<'f, 'p> {
    found: &'f mut Found<'p>,
}

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let found = self.found;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "pforte" if found.head.is_some() => return Err(found.end(Wrong::TwoHeads("pforte"))),
                "pforte" => found.head = Some(map.next_value()?),
                "services" if found.services => return Err(found.end(Wrong::TwoHeads("services"))),
                "services" => {
                    found.services = true;
                    map.next_value_seed(Services { found: &mut *found })?;
                }
                name => found.service(name, &mut map)?,
            }
        }
        Ok(())
    }
}

/// The object of our own form that holds the services.
struct Services<'f, 'p> {
    found: &'f mut Found<'p>,
}

impl<'de> DeserializeSeed<'de> for Services<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! no_object {
    ($($method:ident: $type:ty),*) => {$(
        fn $method<E: serde::de::Error>(self, _: $type) -> Result<(), E> {
            Err(self.found.end(Wrong::Services))
        }
    )*};
}

impl<'de> Visitor<'de> for Services<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    no_object!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(self.found.end(Wrong::Services))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.found.end::<A::Error>(Wrong::Services))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.found.service(&name, &mut map)?;
        }
        Ok(())
    }
}

/// Looks at the bytes as they pass: how many, how deep, and no integer that would change.
struct Watched<R> {
    from: R,
    largest: u64,
    bytes: u64,
    line: usize,
    column: usize,
    depth: usize,
    values: usize,
    in_string: bool,
    escaped: bool,
    number: Vec<u8>,
    wrong: Option<BadGiven>,
}

/// Bytes of a number that are kept: no integer of 64 bits is longer.
const NUMBER: usize = 32;

impl<R: Read> Watched<R> {
    fn new(from: R, largest: u64) -> Self {
        Self {
            from,
            largest,
            bytes: 0,
            line: 1,
            column: 0,
            depth: 0,
            values: 0,
            in_string: false,
            escaped: false,
            number: Vec::with_capacity(NUMBER),
            wrong: None,
        }
    }

    fn look(&mut self, byte: u8) -> Result<(), BadGiven> {
        if byte == b'\n' {
            (self.line, self.column) = (self.line + 1, 0);
        } else {
            self.column += 1;
        }
        let (line, column) = (self.line, self.column);
        if self.in_string {
            (self.in_string, self.escaped) = (self.escaped || byte != b'"', !self.escaped && byte == b'\\');
            return Ok(());
        }
        if b"+-.eE0123456789".contains(&byte) && (!self.number.is_empty() || !byte.is_ascii_alphabetic()) {
            if self.number.len() < NUMBER {
                self.number.push(byte);
            }
            // A number of many digits may still be one with a fraction: its first bytes decide as far as they go.
            return Ok(());
        }
        if !self.number.is_empty() {
            let exact = self.number.len() < NUMBER && json::exact(&self.number)
                || self.number.iter().any(|b| b".eE".contains(b));
            self.number.clear();
            if !exact {
                return Err(BadGiven::Inexact { line, column });
            }
        }
        match byte {
            b'"' => self.in_string = true,
            b',' => self.values += 1,
            b'[' | b'{' => (self.depth, self.values) = (self.depth + 1, self.values + 1),
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.values > VALUES {
            return Err(BadGiven::TooMany);
        }
        if self.depth > DEEPEST { Err(BadGiven::TooDeep { line, column }) } else { Ok(()) }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.bytes += read as u64;
        let looked = if self.bytes > self.largest {
            Err(BadGiven::TooLarge)
        } else {
            buffer.get(..read).unwrap_or_default().iter().try_for_each(|byte| self.look(*byte))
        };
        looked.map_err(|wrong| {
            self.wrong = Some(wrong);
            std::io::Error::other("not to be restored")
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_the_limit_is_refused_before_its_end_is_seen() {
        let profile = Profile::kocobox().unwrap();
        let mut endless = b"{\"x\": \"".chain(std::io::repeat(b'x'));
        let read = Given::read_within(&mut endless, &profile, 100_000);
        assert_eq!(read.unwrap_err(), BadGiven::TooLarge);
        let text = br#"{"update": {}}"#;
        let within = |largest| Given::read_within(&mut &text[..], &profile, largest);
        assert!(within(text.len() as u64).is_ok());
        assert_eq!(within(text.len() as u64 - 1).unwrap_err(), BadGiven::TooLarge);
    }
}
