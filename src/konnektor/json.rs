//! A service's answer, parsed within bounds.
//! Absent on purpose: leniency; what would not come back exactly as it was is refused.

use serde_json::Value;

use crate::konnektor::Error;
use crate::names::ServiceName;

/// No profile may allow more: `serde_json` reads 127 levels, and a backup file puts a value two levels down.
pub(crate) const DEEPEST: usize = 120;

/// Parses one JSON value of at most `depth` levels.
///
/// # Errors
/// [`Error::TooDeep`], [`Error::Inexact`], [`Error::NotJson`].
pub(crate) fn parse(bytes: &[u8], depth: usize, service: &ServiceName) -> Result<Value, Error> {
    match scan(bytes, depth) {
        Scan::Fine => {}
        Scan::TooDeep => return Err(Error::TooDeep { limit: depth }),
        Scan::Inexact => return Err(Error::Inexact { service: service.clone() }),
    }
    serde_json::from_slice(bytes).map_err(|_| Error::NotJson { service: service.clone() })
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

fn exact(token: &[u8]) -> bool {
    let integer = token.iter().all(|b| b.is_ascii_digit() || *b == b'-');
    let text = std::str::from_utf8(token).unwrap_or_default();
    !integer || token.len() <= 18 || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Value, Error> {
        parse(text.as_bytes(), DEEPEST, &"infoservice".parse().unwrap())
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
    fn html_is_not_json_and_nothing_is_not_json() {
        for text in ["<html></html>", "", "{", "{} {}", "\u{0}"] {
            assert!(matches!(of(text), Err(Error::NotJson { .. })), "{text:?}");
        }
    }
}
