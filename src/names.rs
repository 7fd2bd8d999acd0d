//! The names of people, firms, sites, boxes and files: parsed once at the border, trusted afterwards.
//! Absent on purpose: any look-up, any I/O. What does not parse is never looked up or logged as a name.

mod phone;
mod source;
mod topic;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

pub use phone::Phone;
pub use source::Source;
pub use topic::Topic;

/// Why a text is not the name it was taken for. `Display` is a sentence without the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {form}")]
pub struct BadName {
    /// What was expected: "user", "site", …
    pub what: &'static str,
    /// The grammar, for people.
    pub form: &'static str,
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $form:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(BadName { what: $what, form: $form }) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_name!(
    /// A technician: `firm-given.family`. The first `-` ends the firm.
    Username,
    "user",
    "firm-given.family in lower case, at most 64 bytes",
    is_username
);
text_name!(
    /// A partner firm's Kürzel: `[a-z0-9]{2,16}`.
    Firm,
    "firm",
    "2 to 16 of a-z 0-9",
    is_firm
);
text_name!(
    /// A customer: `[a-z0-9]+(-[a-z0-9]+)*`, at most 63.
    SiteName,
    "site",
    "a-z 0-9 and single dashes, at most 63",
    |t| t.len() <= 63 && is_dashed(t, false)
);
text_name!(
    /// A Konnektor of a site; the same grammar as a site.
    KonnektorName,
    "konnektor",
    "a-z 0-9 and single dashes, at most 63",
    |t| t.len() <= 63 && is_dashed(t, false)
);
text_name!(
    /// A host of a site: `portal`, `backup`, …; the same grammar as a site.
    HostName,
    "host",
    "a-z 0-9 and single dashes, at most 63",
    |t| t.len() <= 63 && is_dashed(t, false)
);
text_name!(
    /// A service of a Konnektor's management interface, `infomodell`, `clientsystem-certificates`, …
    ServiceName,
    "service",
    "a-z 0-9 and single dashes, at most 63",
    |t| t.len() <= 63 && is_dashed(t, false)
);
text_name!(
    /// What a Konnektor can be told to do, `reboot`, `delete-ct`, …
    ActionName,
    "action",
    "a-z 0-9 and single dashes, at most 63",
    |t| t.len() <= 63 && is_dashed(t, false)
);
text_name!(
    /// A kept backup: `YYYY-MM-DD-HH-MM.json` (UTC), a second one in the same minute `…-2.json`.
    BackupName,
    "backup",
    "YYYY-MM-DD-HH-MM.json",
    is_backup_name
);
text_name!(
    /// A file that somebody handed in for a site: `[A-Za-z0-9][A-Za-z0-9._-]{0,95}\.json`.
    IncomingName,
    "incoming file",
    "letters, digits, dots, dashes and underscores, the first one a letter or digit, at most 96, and then .json",
    is_incoming_name
);
text_name!(
    /// What a work order is called by: a ticket's number, `[A-Za-z0-9][A-Za-z0-9._#-]{0,39}`.
    Ticket,
    "ticket",
    "letters, digits, dots, dashes, underscores and #, the first one a letter or digit, at most 40; not list or close",
    is_ticket
);
text_name!(
    /// The SHA-256 fingerprint of a public key as OpenSSH prints it: `SHA256:` and 43 base64 characters.
    Fingerprint,
    "fingerprint",
    "SHA256: and 43 base64 characters",
    is_fingerprint
);

impl Username {
    /// The part before the first `-`.
    #[must_use]
    pub fn firm(&self) -> Firm {
        Firm(self.0.split_once('-').map_or("", |(firm, _)| firm).into())
    }
}

fn is_username(text: &str) -> bool {
    let Some((firm, person)) = text.split_once('-') else { return false };
    let Some((given, family)) = person.split_once('.') else { return false };
    text.len() <= 64 && is_firm(firm) && is_dashed(given, true) && is_dashed(family, true)
}

fn is_firm(text: &str) -> bool {
    (2..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// `[a-z0-9]+(-[a-z0-9]+)*`; with `letter_first` the first part begins with a letter.
fn is_dashed(text: &str, letter_first: bool) -> bool {
    let parts_ok = text
        .split('-')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    parts_ok && (!letter_first || text.as_bytes().first().is_some_and(u8::is_ascii_lowercase))
}

fn is_backup_name(text: &str) -> bool {
    let Some(stem) = text.strip_suffix(".json") else { return false };
    let parts: Vec<&str> = stem.split('-').collect();
    let digits = |part: &str, n: usize| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
    let (date, again) = parts.split_at(parts.len().min(5));
    let [y, mo, d, h, mi] = date else { return false };
    let again_ok = match again {
        [] => true,
        [n] => n.len() <= 4 && n.parse::<u16>().is_ok_and(|n| n >= 2) && !n.starts_with(['0', '+']),
        [..] => false,
    };
    digits(y, 4) && [mo, d, h, mi].iter().all(|p| digits(p, 2)) && again_ok
}

fn is_incoming_name(text: &str) -> bool {
    let Some(stem) = text.strip_suffix(".json") else { return false };
    (1..=96).contains(&stem.len())
        && stem.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_ticket(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._#-".contains(&b))
        && !["list", "close", "liste", "schliessen"].contains(&text)
}

fn is_fingerprint(text: &str) -> bool {
    text.strip_prefix("SHA256:").is_some_and(|b| {
        b.len() == 43 && b.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    })
}

/// A host name or address and a port, as written in `policy/sites`. IPv6 stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: Box<str>,
    port: u16,
}

impl HostPort {
    /// The host: a DNS name or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The same host with another port; `None` for port 0.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Option<Self> {
        (port != 0).then(|| Self { host: self.host.clone(), port })
    }

    /// The TCP port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = BadName { what: "address", form: "host:port, IPv6 in brackets" };
        let (host, port) = text.rsplit_once(':').ok_or(bad)?;
        let port = port.parse::<u16>().ok().filter(|&p| p != 0 && !port.starts_with('+')).ok_or(bad)?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) if matches!(v6.parse::<IpAddr>(), Ok(IpAddr::V6(_))) => v6,
            Some(_) => return Err(bad),
            None => host,
        };
        let dns = !host.is_empty()
            && host.len() <= 253
            && !host.starts_with(['-', '.'])
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        if dns || host.parse::<IpAddr>().is_ok() { Ok(Self { host: host.into(), port }) } else { Err(bad) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One connection of one person, printed as a ULID; every journal line of the connection carries it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(ulid::Ulid);

impl SessionId {
    /// Made from the time in milliseconds since 1970 and 80 random bits.
    #[must_use]
    pub fn new(millis: u64, random: u128) -> Self {
        Self(ulid::Ulid::from_parts(millis, random))
    }
}

impl FromStr for SessionId {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = BadName { what: "session", form: "26 characters of a ULID" };
        ulid::Ulid::from_string(text).map(Self).map_err(|_| bad)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A Konnektor of a site, `praxis-mueller/main`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KonnektorId {
    /// The customer.
    pub site: SiteName,
    /// The box there.
    pub konnektor: KonnektorName,
}

impl fmt::Display for KonnektorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.site, self.konnektor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok<T: FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_ok(), "{text:?} was refused");
        }
    }

    fn bad<T: FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn users_are_firm_given_family_and_nothing_else() {
        ok::<Username>(&["firm-jane.doe", "ab-a.b", "a1b2-anna-lena.meier-schmidt", "12-j2.d2"]);
        bad::<Username>(&[
            "",
            "jane.doe",
            "firm-jane",
            "firm-jane.",
            "firm-.doe",
            "f-jane.doe",
            "-firm-jane.doe",
            "Firm-jane.doe",
            "firm-jane.doe ",
            "firm-jane.doe\n",
            "firm-jane.doe,bob",
            "firm-2jane.doe",
            "firm-jane..doe",
            "firm-jane.d.oe",
            "firm-ja--ne.doe",
            "firm-jane-.doe",
            "firm-j\u{0430}ne.doe",
            "firm-jane.doe\0",
            "../firm-jane.doe",
            "firm_jane.doe",
            "abcdefghijklmnopq-jane.doe",
        ]);
        let long = format!("firm-jane.{}", "d".repeat(54));
        assert_eq!(long.len(), 64);
        ok::<Username>(&[&long]);
        bad::<Username>(&[&format!("{long}d")]);
    }

    #[test]
    fn the_first_dash_ends_the_firm() {
        assert_eq!("ab-anna-lena.x".parse::<Username>().unwrap().firm().as_str(), "ab");
    }

    #[test]
    fn sites_have_single_dashes_only() {
        ok::<SiteName>(&["praxis-mueller", "a", "1", &"a".repeat(63)]);
        bad::<SiteName>(&["", "-a", "a-", "a--b", "A", "a.b", "a/b", "a\n", &"a".repeat(64)]);
    }

    #[test]
    fn backup_names_are_minutes() {
        ok::<BackupName>(&["2026-11-21-16-04.json", "2026-11-21-16-04-2.json"]);
        bad::<BackupName>(&[
            "2026-11-21-16-04",
            "../2026-11-21-16-04.json",
            "2026-11-21-16-04-1.json",
            "2026-11-21-16-04-02.json",
            "2026-11-21-16-04-2-3.json",
            "26-11-21-16-04.json",
            "2026-11-21-16-4.json",
            "2026-11-21-16-04.json.json",
        ]);
    }

    #[test]
    fn incoming_files_have_plain_names_that_end_in_json() {
        ok::<IncomingName>(&[
            "a.json",
            "Praxis_2.edited-3.json",
            "7.json",
            &format!("{}.json", "a".repeat(96)),
        ]);
        bad::<IncomingName>(&[
            "",
            ".json",
            "..json",
            ".a.json",
            "-a.json",
            "../a.json",
            "a/b.json",
            "a\\b.json",
            "a.JSON",
            "a.json.filepart",
            "a b.json",
            "a\0.json",
            "a\n.json",
            "ä.json",
            &format!("{}.json", "a".repeat(97)),
        ]);
    }

    #[test]
    fn addresses_need_a_port_and_no_surprises() {
        ok::<HostPort>(&["10.0.0.2:22", "[::1]:22", "box.example:9443"]);
        bad::<HostPort>(&[
            "10.0.0.2",
            "10.0.0.2:0",
            "::1:22:",
            "a b:22",
            "-x:22",
            "x:+22",
            "x:65536",
            "[x]:22",
            ":22",
        ]);
    }

    proptest::proptest! {
        #[test]
        fn a_parsed_name_prints_as_it_was_written(text in "\\PC{0,70}") {
            if let Ok(user) = text.parse::<Username>() {
                proptest::prop_assert_eq!(user.to_string(), text.clone());
                proptest::prop_assert!(user.firm().as_str().parse::<Firm>().is_ok());
            }
        }
    }
}
