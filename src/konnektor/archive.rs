//! The backup file: readable JSON, one value a service, with what, when, who, and a SHA-256 for each.
//! Absent on purpose: encryption and storage (the vault's), and writing back to a box.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::konnektor::{CertificatePin, Identity, Json, Part, Parts, Reading};
use crate::names::{KonnektorId, ServiceName, SessionId, Username};

/// The version of the file's form.
pub const FORMAT: u32 = 1;

/// Length and SHA-256 of something in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// Bytes.
    pub bytes: usize,
    /// `sha256:` and hex.
    pub sha256: String,
}

impl Sum {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let sha256 = CertificatePin::of(bytes).to_string();
        Self { bytes: bytes.len(), sha256 }
    }
}

/// The file's head, member `pforte`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// [`FORMAT`].
    pub format: u32,
    /// The make, `KoCoBox MED+`.
    pub product: String,
    /// `ProductVendorID` of `connector.sds`.
    pub vendor: String,
    /// Firmware version.
    pub firmware: String,
    /// Hardware version.
    pub hardware: String,
    /// Serial number, where known.
    pub serial: Option<String>,
    /// `site/konnektor`.
    pub konnektor: String,
    /// When it was read, UTC.
    pub taken: Timestamp,
    /// Who had it read (TIP1-A_4815 wants a natural person); none without a gateway in between.
    pub by: Option<Username>,
    /// The session whose journal lines tell more.
    pub session: Option<String>,
    /// Of each service's value, written compactly in the file's order of members.
    pub services: BTreeMap<ServiceName, Sum>,
    /// What could not be read, and why (English).
    pub failed: BTreeMap<ServiceName, String>,
    /// Where card holders' data was taken out (TIP1-A_5647): `/service` and a JSON pointer into the box's answer.
    pub stripped: Vec<String>,
    /// PKCS#12 containers, by `/service` and JSON pointer: of the bytes behind the base64.
    pub pkcs12: BTreeMap<String, Sum>,
}

/// Who took a backup of what, and when.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// What the box said of itself.
    pub identity: Identity,
    /// Its name here.
    pub konnektor: KonnektorId,
    /// Now.
    pub taken: Timestamp,
    /// The technician.
    pub by: Option<Username>,
    /// The technician's connection.
    pub session: Option<SessionId>,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The head.
    #[serde(rename = "pforte")]
    pub about: About,
    services: BTreeMap<ServiceName, Json>,
}

/// Why a file is not a backup; names the place, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArchive {
    /// Not JSON, or not of this form.
    #[error("line {line}, column {column}: not a backup of this form")]
    Form {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A form this build does not read.
    #[error("pforte.format: this build reads {FORMAT}, the file is of {found}")]
    Version {
        /// What the file says.
        found: u32,
    },
    /// `site/konnektor` does not parse.
    #[error("pforte.konnektor: expected site/konnektor")]
    Konnektor,
    /// A service is listed in the head and missing below.
    #[error("services.{service}: listed in pforte.services, but missing")]
    Missing {
        /// Which.
        service: ServiceName,
    },
    /// A service has no sum in the head.
    #[error("services.{service}: not listed in pforte.services")]
    Unlisted {
        /// Which.
        service: ServiceName,
    },
    /// A service's value is not what was taken.
    #[error("services.{service}: changed since the backup was taken (SHA-256 differs)")]
    Changed {
        /// Which.
        service: ServiceName,
    },
    /// A PKCS#12 container is not what was taken, or is not there.
    #[error("pforte.pkcs12: the container at {pointer} is not the one that was taken")]
    Pkcs12 {
        /// Where.
        pointer: String,
    },
}

impl BadArchive {
    /// One sentence for a person, German or English, with the place.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        if !german {
            return self.to_string();
        }
        match self {
            Self::Form { line, column } => {
                format!("Zeile {line}, Spalte {column}: keine Sicherung dieser Form")
            }
            Self::Version { found } => {
                format!("pforte.format: hier wird {FORMAT} gelesen, die Datei hat {found}")
            }
            Self::Konnektor => "pforte.konnektor: erwartet wird site/konnektor".into(),
            Self::Missing { service } => {
                format!("services.{service}: in pforte.services genannt, fehlt aber")
            }
            Self::Unlisted { service } => format!("services.{service}: in pforte.services nicht genannt"),
            Self::Changed { service } => {
                format!("services.{service}: seit der Sicherung verändert (SHA-256 weicht ab)")
            }
            Self::Pkcs12 { pointer } => {
                format!("pforte.pkcs12: der Container bei {pointer} ist nicht der gesicherte")
            }
        }
    }
}

impl Archive {
    /// The backup of a reading.
    #[must_use]
    pub fn of(reading: Reading, stamp: Stamp) -> Self {
        let Stamp { identity, konnektor, taken, by, session } = stamp;
        let mut about = About {
            format: FORMAT,
            product: identity.product_name,
            vendor: identity.vendor_id,
            firmware: identity.firmware,
            hardware: identity.hardware,
            serial: identity.serial,
            konnektor: konnektor.to_string(),
            taken,
            by,
            session: session.map(|session| session.to_string()),
            services: BTreeMap::new(),
            failed: BTreeMap::new(),
            stripped: Vec::new(),
            pkcs12: BTreeMap::new(),
        };
        for (service, error) in reading.failed {
            about.failed.insert(service, error.sentence(false));
        }
        let mut services = BTreeMap::new();
        for read in reading.services {
            let name = read.service;
            about.stripped.extend(read.stripped.iter().map(|pointer| format!("/{name}{pointer}")));
            containers(read.value.part(), &format!("/{name}"), &mut about.pkcs12);
            about.services.insert(name.clone(), Sum::of(read.value.text().as_bytes()));
            services.insert(name, read.value);
        }
        Self { about, services }
    }

    /// The file: pretty JSON with a line feed at its end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing into memory does not fail.
        self.write_to(&mut text).ok();
        text
    }

    /// Writes the file, without a copy of it in memory.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let about = serde_json::to_value(&self.about).map_err(std::io::Error::other)?;
        out.write_all(b"{\n  \"pforte\": ")?;
        Json::of(&about).pretty(1, out)?;
        out.write_all(b",\n  \"services\": ")?;
        write_services(self.services(), 1, out)?;
        out.write_all(b"\n}\n")
    }

    /// Reads a file back and holds every value against its sum.
    ///
    /// # Errors
    /// [`BadArchive`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadArchive> {
        Self::checked(serde_json::from_slice(bytes))
    }

    /// The same out of a stream, without a copy of it in memory.
    ///
    /// # Errors
    /// [`BadArchive`]; a stream that fails is [`BadArchive::Form`].
    pub fn read_from(from: &mut dyn std::io::Read) -> Result<Self, BadArchive> {
        Self::checked(serde_json::from_reader(std::io::BufReader::with_capacity(65_536, from)))
    }

    fn checked(read: serde_json::Result<Self>) -> Result<Self, BadArchive> {
        let archive = read.map_err(|e| BadArchive::Form { line: e.line(), column: e.column() })?;
        archive.check()?;
        Ok(archive)
    }

    fn check(&self) -> Result<(), BadArchive> {
        let about = &self.about;
        if about.format != FORMAT {
            return Err(BadArchive::Version { found: about.format });
        }
        self.konnektor()?;
        if let Some(service) = about.services.keys().find(|name| !self.services.contains_key(*name)) {
            return Err(BadArchive::Missing { service: service.clone() });
        }
        let mut found = BTreeMap::new();
        for (service, value) in &self.services {
            let Some(sum) = about.services.get(service) else {
                return Err(BadArchive::Unlisted { service: service.clone() });
            };
            if Sum::of(value.text().as_bytes()) != *sum {
                return Err(BadArchive::Changed { service: service.clone() });
            }
            containers(value.part(), &format!("/{service}"), &mut found);
        }
        let differs = about.pkcs12.iter().find(|(pointer, sum)| found.get(*pointer) != Some(*sum));
        differs.map_or(Ok(()), |(pointer, _)| Err(BadArchive::Pkcs12 { pointer: pointer.clone() }))
    }

    /// The box it was taken from. The vault's files must be held against it: age proves no sender.
    ///
    /// # Errors
    /// [`BadArchive::Konnektor`].
    pub fn konnektor(&self) -> Result<KonnektorId, BadArchive> {
        let (site, konnektor) = self.about.konnektor.split_once('/').ok_or(BadArchive::Konnektor)?;
        let site = site.parse().map_err(|_| BadArchive::Konnektor)?;
        let konnektor = konnektor.parse().map_err(|_| BadArchive::Konnektor)?;
        Ok(KonnektorId { site, konnektor })
    }

    /// One service's value.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Json> {
        self.services.get(name)
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &Json)> {
        self.services.iter()
    }
}

/// `{ service: value, … }`, as people read it.
///
/// # Errors
/// Those of `out`.
pub fn write_services<'s>(
    services: impl Iterator<Item = (&'s ServiceName, &'s Json)>,
    level: usize,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let indent = "  ".repeat(level + 1);
    let mut any = false;
    for (name, value) in services {
        write!(out, "{}\n{indent}\"{name}\": ", if any { "," } else { "{" })?;
        value.pretty(level + 1, out)?;
        any = true;
    }
    if any { write!(out, "\n{}}}", "  ".repeat(level)) } else { out.write_all(b"{}") }
}

/// Finds PKCS#12 containers: base64 of at least 64 bytes that begin as an ASN.1 SEQUENCE with a version 3, DER or BER.
/// They are not parsed: real ones are BER with brainpool keys.
pub(crate) fn containers(value: Part<'_>, at: &str, found: &mut BTreeMap<String, Sum>) {
    // Large values without any are not taken apart.
    if memchr::memmem::find(value.text().as_bytes(), b"\"MI").is_none() {
        return;
    }
    match value.parts() {
        Parts::Text(text) => {
            if let Some(sum) = container(&text) {
                found.insert(at.to_owned(), sum);
            }
        }
        Parts::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| containers(*item, &format!("{at}/{n}"), found));
        }
        Parts::Object(members) => members.iter().for_each(|(key, member)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            containers(*member, &format!("{at}/{key}"), found);
        }),
        Parts::Other(_) => {}
    }
}

/// The sum of what is behind the base64, where this text is a PKCS#12 container.
pub(crate) fn container(text: &str) -> Option<Sum> {
    if text.len() < 88 || !text.starts_with("MI") {
        return None;
    }
    let joined: String = text.split_ascii_whitespace().collect();
    let bytes = BASE64_STANDARD.decode(joined).ok()?;
    let head = bytes.get(..8).unwrap_or_default();
    head.windows(3).any(|three| three == [2, 1, 3]).then(|| Sum::of(&bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::konnektor::{Error, ServiceRead};

    #[expect(clippy::needless_pass_by_value, reason = "called with json!")]
    fn archive(value: Value) -> Archive {
        let service: ServiceName = "infomodell".parse().unwrap();
        let read = ServiceRead { service, value: Json::of(&value), bytes: 1, stripped: vec!["/a/0".into()] };
        let failed = vec![("update".parse().unwrap(), Error::NotAllowed { status: 403 })];
        let id = KonnektorId { site: "praxis".parse().unwrap(), konnektor: "main".parse().unwrap() };
        let stamp = Stamp {
            identity: Identity::default(),
            konnektor: id,
            taken: "2026-11-21T16:04:00Z".parse().unwrap(),
            by: Some("firm-jane.doe".parse().unwrap()),
            session: Some(SessionId::new(1, 2)),
        };
        Archive::of(Reading { services: vec![read], failed }, stamp)
    }

    #[test]
    fn a_backup_reads_back_as_it_was_order_and_numbers_kept() {
        let text = "{\"z\":1,\"a\":[0.1,1e300,-7,18446744073709551615,3.0],\"ä\\u0000\":null}";
        let value: Value = serde_json::from_str(text).unwrap();
        let archive = archive(value);
        let back = Archive::parse(&archive.to_json()).unwrap();
        assert_eq!(back, archive);
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(back.service(&"infomodell".parse().unwrap()).unwrap(), &value);
        let form: Value = serde_json::from_slice(&archive.to_json()).unwrap();
        let pretty = format!("{}\n", serde_json::to_string_pretty(&form).unwrap());
        assert_eq!(String::from_utf8(archive.to_json()).unwrap(), pretty);
        assert_eq!(Archive::read_from(&mut archive.to_json().as_slice()).unwrap(), archive);
        assert_eq!(back.about.stripped, ["/infomodell/a/0"]);
    }

    #[test]
    fn a_changed_file_is_refused_with_the_place() {
        let text = String::from_utf8(archive(json!({"name": "Empfang"})).to_json()).unwrap();
        let of = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Archive::parse(text.replace(from, to).as_bytes()).unwrap_err()
        };
        let service: ServiceName = "infomodell".parse().unwrap();
        assert_eq!(of("Empfang", "Eingang"), BadArchive::Changed { service: service.clone() });
        assert_eq!(of("\"format\": 1", "\"format\": 2"), BadArchive::Version { found: 2 });
        assert_eq!(of("praxis/main", "praxis"), BadArchive::Konnektor);
        assert_eq!(
            of(
                "\"services\": {\n    \"infomodell\": {\n      \"name\"",
                "\"services\": {\n    \"other\": {\n      \"name\""
            ),
            BadArchive::Missing { service }
        );
        assert!(matches!(of("\"pforte\"", "\"porte\""), BadArchive::Form { line: 2, .. }));
        assert!(matches!(Archive::parse(b"").unwrap_err(), BadArchive::Form { .. }));
    }

    #[test]
    fn the_deepest_value_a_profile_allows_reads_back() {
        let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
        let archive = archive(serde_json::from_str(&deep).unwrap());
        assert_eq!(Archive::parse(&archive.to_json()).unwrap(), archive);
    }

    #[test]
    fn pkcs12_is_kept_byte_for_byte_and_summed_and_other_base64_is_not() {
        let bytes = [&[0x30, 0x80, 2, 1, 3][..], &[7; 200]].concat();
        let text = BASE64_STANDARD.encode(&bytes);
        let certificate =
            BASE64_STANDARD.encode([&[0x30, 0x82, 1, 0, 0x30, 0x82, 1, 0][..], &[7; 200]].concat());
        let archive = archive(json!({"list": [{"p12": text, "cert": certificate}]}));
        assert_eq!(archive.about.pkcs12.len(), 1);
        assert_eq!(archive.about.pkcs12["/infomodell/list/0/p12"], Sum::of(&bytes));
    }
}
