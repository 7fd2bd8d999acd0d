//! A service's value as compact text: parsed within bounds in one pass, so that 50 MB cost 50 MB.
//! Absent on purpose: leniency; what would not come back exactly as it was is refused.

mod emit;
mod parts;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeSeed;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub(crate) use emit::{Emit, Emitted};
pub use parts::{Part, Parts};

use crate::konnektor::Error;
use crate::konnektor::profile::Personal;
use crate::names::ServiceName;

/// No profile may allow more: `serde_json` reads 127 levels, and a backup file puts a value two levels down.
pub(crate) const DEEPEST: usize = 120;

/// One JSON value as compact text, members in their order. Cheap to clone; `Debug` tells its length alone, for it may
/// hold private keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<String>);

impl Json {
    /// The value as text.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self(Arc::new(value.to_string()))
    }

    /// Parses bytes of a person's file: any one JSON value of at most 120 levels.
    ///
    /// # Errors
    /// As those of a box's answer, `service` being named in them.
    pub fn parse(bytes: &[u8], service: &ServiceName) -> Result<Self, Error> {
        checked(bytes, DEEPEST, service)?;
        let (text, _) = emitted(bytes, None).map_err(|_| Error::NotJson { service: service.clone() })?;
        Ok(Self(Arc::new(text)))
    }

    /// An action's data, or its answer; `None`: it is no JSON within bounds.
    #[must_use]
    pub fn of_data(text: &str) -> Option<Self> {
        matches!(scan(text.as_bytes(), DEEPEST), Scan::Fine).then_some(())?;
        emitted(text.as_bytes(), None).ok().map(|(text, _)| Self::of_text(text))
    }

    /// Text that is compact JSON already: made by [`Emit`] or out of [`Parts`].
    pub(crate) fn of_text(text: String) -> Self {
        Self(Arc::new(text))
    }

    /// Compact JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The text's bytes, shared.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        struct Shared(Arc<String>);
        impl AsRef<[u8]> for Shared {
            fn as_ref(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }
        Bytes::from_owner(Shared(Arc::clone(&self.0)))
    }

    /// As a tree; for small ones.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// What stands at a JSON pointer (RFC 6901), without building a tree.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<Part<'_>> {
        Part::of(&self.0).at(pointer)
    }

    /// The whole.
    #[must_use]
    pub fn part(&self) -> Part<'_> {
        Part::of(&self.0)
    }

    /// The same without the members of these names, wherever they stand.
    pub(crate) fn without(&self, keys: &[String]) -> Self {
        if keys.is_empty() {
            return self.clone();
        }
        let rules = Personal { keys: keys.to_vec(), ..Personal::default() };
        emitted(self.0.as_bytes(), Some(&rules))
            .map_or_else(|_| self.clone(), |(text, _)| Self::of_text(text))
    }

    /// The same with card holders' data taken out, and where that was.
    pub(crate) fn stripped(&self, rules: &Personal) -> (Self, Vec<String>) {
        match emitted(self.0.as_bytes(), Some(rules)) {
            Ok((text, places)) if places.is_empty() && text == *self.0 => (self.clone(), places),
            Ok((text, places)) => (Self::of_text(text), places),
            Err(_) => (Self::of_text("null".into()), vec![String::new()]),
        }
    }

    /// Writes it as people read it: two spaces a level, as `serde_json` does.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn pretty(&self, level: usize, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        parts::pretty(&self.0, level, out)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl PartialEq<Value> for Json {
    fn eq(&self, value: &Value) -> bool {
        let text = value.to_string();
        *self.0 == text
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut emitted = Emitted::default();
        Emit::new(&mut emitted, None).deserialize(deserializer)?;
        emitted.text.shrink_to_fit();
        Ok(Self::of_text(emitted.text))
    }
}

/// Parses one JSON value of at most `depth` levels, card holders' data taken out; with it the places where it stood.
///
/// # Errors
/// [`Error::TooDeep`], [`Error::Inexact`], [`Error::NotJson`].
pub(crate) fn read(
    bytes: &[u8],
    depth: usize,
    service: &ServiceName,
    rules: &Personal,
) -> Result<(Json, Vec<String>), Error> {
    checked(bytes, depth, service)?;
    let (text, places) =
        emitted(bytes, Some(rules)).map_err(|_| Error::NotJson { service: service.clone() })?;
    Ok((Json::of_text(text), places))
}

/// Nesting within bounds, and no integer that would change.
pub(crate) fn checked(bytes: &[u8], depth: usize, service: &ServiceName) -> Result<(), Error> {
    match scan(bytes, depth) {
        Scan::Fine => Ok(()),
        Scan::TooDeep => Err(Error::TooDeep { limit: depth }),
        Scan::Inexact => Err(Error::Inexact { service: service.clone() }),
    }
}

fn emitted(bytes: &[u8], rules: Option<&Personal>) -> Result<(String, Vec<String>), serde_json::Error> {
    let mut emitted = Emitted::default();
    // What comes out is no longer than what goes in, but for escapes; and it never runs short of room at its end.
    emitted.text.reserve(bytes.len() + 2 * emit::SPARE);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Emit::new(&mut emitted, rules).deserialize(&mut deserializer)?;
    deserializer.end()?;
    emitted.text.shrink_to_fit();
    Ok((emitted.text, emitted.stripped))
}

enum Scan {
    Fine,
    TooDeep,
    Inexact,
}

/// One pass without recursion: nesting, and integers that do not fit 64 bits (they would become floating point).
fn scan(bytes: &[u8], limit: usize) -> Scan {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut rest = bytes.iter().enumerate();
    while let Some((at, &byte)) = rest.next() {
        if in_string {
            (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let token = number(bytes.get(at..).unwrap_or_default());
                if token.len() > 1 {
                    rest.nth(token.len() - 2);
                }
                if !exact(token) {
                    return Scan::Inexact;
                }
            }
            _ => {}
        }
        if depth > limit {
            return Scan::TooDeep;
        }
    }
    Scan::Fine
}

fn number(from: &[u8]) -> &[u8] {
    let length = from.iter().take_while(|b| b"+-.eE0123456789".contains(b)).count();
    from.get(..length).unwrap_or_default()
}

/// Whether a number as it is written stays what it is.
pub(crate) fn exact(token: &[u8]) -> bool {
    let integer = token.iter().all(|b| b.is_ascii_digit() || *b == b'-');
    let text = std::str::from_utf8(token).unwrap_or_default();
    !integer || token.len() <= 18 || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Value, Error> {
        Json::parse(text.as_bytes(), &"infoservice".parse().unwrap()).map(|json| json.value())
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_count() {
        assert!(of(&format!("{}{}", "[".repeat(120), "]".repeat(120))).is_ok());
        assert_eq!(of(&"[".repeat(100_000)), Err(Error::TooDeep { limit: 120 }));
        assert_eq!(of(&"{\"a\":".repeat(100_000)), Err(Error::TooDeep { limit: 120 }));
        assert!(of(&format!("\"{}\\\"[\"", "[".repeat(1000))).is_ok());
    }

    #[test]
    fn a_number_that_would_change_is_refused_and_one_in_a_string_kept() {
        assert!(of("[18446744073709551615, -9223372036854775808, 1.5, 1e3, -0]").is_ok());
        assert!(matches!(of("{\"iccsn\": 80276001011699901501}"), Err(Error::Inexact { .. })));
        assert_eq!(of("\"80276001011699901501\"").unwrap(), "80276001011699901501");
    }

    #[test]
    fn a_value_is_written_as_serde_json_writes_it() {
        let text = r#" { "z":1, "a": [0.1,1e300,-7,18446744073709551615,3.0,-0.0], "ä\u0000\"": null, "e": {}, "f": [], "t": true} "#;
        let value: Value = serde_json::from_str(text).unwrap();
        let json = Json::parse(text.as_bytes(), &"infoservice".parse().unwrap()).unwrap();
        assert_eq!(json.text(), value.to_string());
        assert_eq!(json, Json::of(&value));
        let mut pretty = Vec::new();
        json.pretty(0, &mut pretty).unwrap();
        assert_eq!(String::from_utf8(pretty).unwrap(), serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(format!("{json:?}"), format!("Json({} bytes)", json.text().len()));
    }

    proptest::proptest! {
        #[test]
        fn any_value_keeps_its_text(seed in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let value = grown(&mut seed.into_iter(), 0);
            let text = serde_json::to_vec_pretty(&value).unwrap();
            let json = Json::parse(&text, &"infoservice".parse().unwrap()).unwrap();
            proptest::prop_assert_eq!(json.text(), value.to_string());
            let mut pretty = Vec::new();
            json.pretty(0, &mut pretty).unwrap();
            proptest::prop_assert_eq!(pretty, text);
        }
    }

    /// A value out of bytes.
    fn grown(seed: &mut impl Iterator<Item = u8>, depth: usize) -> Value {
        match seed.next().unwrap_or(0) % if depth > 5 { 6 } else { 8 } {
            0 => Value::Null,
            1 => Value::Bool(seed.next().is_some_and(|b| b > 9)),
            2 => i64::from(seed.next().unwrap_or(0)).wrapping_mul(-0x0123_4567_89ab).into(),
            3 => (f64::from(seed.next().unwrap_or(0)) * 1.37e-7).into(),
            4 => u64::MAX.into(),
            5 => String::from_utf8_lossy(&seed.take(3).collect::<Vec<_>>()).into_owned().into(),
            6 => (0..seed.next().unwrap_or(0) % 4).map(|_| grown(seed, depth + 1)).collect(),
            _ => {
                let members = (0..seed.next().unwrap_or(0) % 4)
                    .map(|n| (format!("{n}\u{7}\"ü"), grown(seed, depth + 1)));
                Value::Object(members.collect())
            }
        }
    }

    #[test]
    fn html_is_not_json_and_nothing_is_not_json() {
        for text in ["<html></html>", "", "{", "{} {}", "\u{0}"] {
            assert!(matches!(of(text), Err(Error::NotJson { .. })), "{text:?}");
        }
    }
}
