//! One line of a key file, in the format of `authorized_keys(5)`: options, key, comment.
//! Absent on purpose: options other than `expiry-time` and `from`. One that we would not obey is refused.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::authorized_keys::ConfigOpts;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};

use super::NoKey;
use crate::names::Fingerprint;

/// A registered key and the conditions on it.
#[derive(Clone)]
pub struct KeyLine {
    pub key: KeyData,
    pub fingerprint: Fingerprint,
    pub comment: String,
    expiry: Option<Timestamp>,
    from: Option<Vec<Pattern>>,
}

impl KeyLine {
    /// Parses a line that is neither empty nor a comment; the error is a sentence.
    pub fn parse(line: &str) -> Result<Self, String> {
        let (options, rest) = split_options(line);
        let key: PublicKey = rest.parse().map_err(|e| format!("no OpenSSH public key: {e}"))?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let fingerprint = fingerprint.parse().map_err(|e| format!("{e}"))?;
        let mut found = Self {
            key: key.key_data().clone(),
            fingerprint,
            comment: String::from_utf8_lossy(key.comment().as_bytes()).into_owned(),
            expiry: None,
            from: None,
        };
        let options =
            ConfigOpts::new(options).map_err(|_| "the options before the key cannot be read".to_owned())?;
        for option in options.iter() {
            found.option(option)?;
        }
        Ok(found)
    }

    fn option(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        match name.to_ascii_lowercase().as_str() {
            "expiry-time" if self.expiry.is_some() => return Err(twice("expiry-time")),
            "from" if self.from.is_some() => return Err(twice("from")),
            "expiry-time" => self.expiry = Some(expiry(value)?),
            "from" => {
                let patterns: Result<Vec<Pattern>, String> = value.split(',').map(Pattern::parse).collect();
                self.from = Some(patterns?);
            }
            other => {
                let other = other.escape_debug();
                return Err(format!(
                    "the option \"{other}\" is not known here: only expiry-time and from are obeyed"
                ));
            }
        }
        Ok(())
    }

    /// Is the key in force at `now`, from this address?
    pub fn in_force(&self, from: IpAddr, now: Timestamp) -> Result<(), NoKey> {
        if self.expiry.is_some_and(|expiry| now >= expiry) {
            return Err(NoKey::Expired);
        }
        match &self.from {
            Some(patterns) if !Pattern::list_matches(patterns, from.to_canonical()) => Err(NoKey::Source),
            Some(_) | None => Ok(()),
        }
    }
}

fn twice(option: &str) -> String {
    format!("the option \"{option}\" stands twice: which of them is meant?")
}

/// Splits at the first space outside of quotes, unless the line begins with the key itself.
fn split_options(line: &str) -> (&str, &str) {
    if ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| line.starts_with(kind)) {
        return ("", line);
    }
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                let (options, rest) = line.split_at(at);
                return (options, rest.trim_start());
            }
            _ => {}
        }
    }
    ("", line)
}

/// `YYYYMMDD[Z]` or `YYYYMMDDHHMM[SS][Z]`; the system's time zone without `Z` (`authorized_keys(5)`).
fn expiry(text: &str) -> Result<Timestamp, String> {
    let (digits, zone) = match text.strip_suffix('Z') {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    let padded = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        _ => digits.to_owned(),
    };
    let time = if padded.bytes().all(|b| b.is_ascii_digit()) {
        DateTime::strptime("%Y%m%d%H%M%S", &padded).ok()
    } else {
        None
    };
    time.and_then(|t| t.to_zoned(zone).ok())
        .map(|z| z.timestamp())
        .ok_or_else(|| "expiry-time: expected YYYYMMDD or YYYYMMDDHHMM".to_owned())
}

/// One entry of `from=`: a network, or an address with `*` and `?`; `!` in front refuses.
#[derive(Clone)]
struct Pattern {
    refuses: bool,
    form: Form,
}

#[derive(Clone)]
enum Form {
    Net(IpNet),
    Glob(String),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (refuses, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let wrong =
            || format!("from: \"{}\" is no address or network; names are not looked up", text.escape_debug());
        let form = if let Ok(net) = text.parse::<IpNet>() {
            if net.trunc() != net {
                return Err(format!("from: {text} has bits beyond its mask; did you mean {}?", net.trunc()));
            }
            Form::Net(net)
        } else if let Ok(address) = text.parse::<IpAddr>() {
            Form::Net(address.into())
        } else if !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit() || b".:*?".contains(&b)) {
            Form::Glob(text.to_ascii_lowercase())
        } else {
            return Err(wrong());
        };
        Ok(Self { refuses, form })
    }

    fn matches(&self, address: IpAddr) -> bool {
        match &self.form {
            Form::Net(net) => net.contains(&address),
            Form::Glob(glob) => glob_matches(glob.as_bytes(), address.to_string().as_bytes()),
        }
    }

    /// A refusing pattern that matches wins over all others (`ssh_config(5)`, PATTERNS).
    fn list_matches(patterns: &[Self], address: IpAddr) -> bool {
        let hit = |refuses: bool| patterns.iter().any(|p| p.refuses == refuses && p.matches(address));
        !hit(true) && hit(false)
    }
}

/// `*` and `?` over bytes; texts here are addresses of at most 45 bytes.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    match (glob.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            glob_matches(rest, text) || text.split_first().is_some_and(|(_, later)| glob_matches(glob, later))
        }
        (Some((b'?', g)), Some((_, t))) => glob_matches(g, t),
        (Some((a, g)), Some((b, t))) if a == b => glob_matches(g, t),
        _ => false,
    }
}

/// The kind of a key for a sentence: `RSA of 2048 bits`, `ecdsa-sha2-nistp256`.
pub fn describe(key: &KeyData) -> String {
    match key.rsa() {
        Some(rsa) => {
            let exponent = rsa.e().as_positive_bytes().unwrap_or_default();
            let exponent =
                exponent.iter().fold(0_u64, |n, byte| n.saturating_mul(256).saturating_add(u64::from(*byte)));
            format!("RSA of {} bits with exponent {exponent}", rsa.key_size())
        }
        None => key.algorithm().to_string(),
    }
}
