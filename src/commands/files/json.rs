//! Is it one JSON value, in UTF-8, of bounded depth? Read to its end, and nothing of it is kept.
//! Absent on purpose: what it says.

use std::fmt;
use std::io::Read;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::FileFailed;

/// One value and nothing behind it. `serde_json` goes 128 levels deep at most.
pub(super) fn check(pieces: &[Zeroizing<Vec<u8>>]) -> Result<(), FileFailed> {
    let reader = Chain { pieces, at: 0 };
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let read = Value::deserialize(&mut deserializer).and_then(|Value| deserializer.end());
    read.map_err(|e| FileFailed::NotJson { line: e.line(), column: e.column() })
}

/// The pieces, one behind the other.
struct Chain<'p> {
    pieces: &'p [Zeroizing<Vec<u8>>],
    at: usize,
}

impl Read for Chain<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while let Some((first, others)) = self.pieces.split_first() {
            let rest = first.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                (self.pieces, self.at) = (others, 0);
                continue;
            }
            let n = rest.len().min(into.len());
            for (to, from) in into.iter_mut().zip(rest) {
                *to = *from;
            }
            self.at += n;
            return Ok(n);
        }
        Ok(0)
    }
}

/// Any value. Unlike `IgnoredAny`, whose depth nobody bounds, and whose texts nobody reads as UTF-8.
struct Value;

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<Value>()?.is_some() {}
        Ok(Value)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        while members.next_entry::<String, Value>()?.is_some() {}
        Ok(Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_json(text: &[u8]) -> bool {
        // In pieces of three bytes: no border may matter.
        let pieces: Vec<_> = text.chunks(3).map(|piece| Zeroizing::new(piece.to_vec())).collect();
        check(&pieces).is_ok()
    }

    #[test]
    fn one_value_is_json_and_anything_else_is_not() {
        for text in ["{}", "[1, 2.5e3, -7]", "\"ä\\u00e4\"", " null\n", r#"{"a": {"b": [true, false, "c"]}}"#]
        {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        for text in
            ["", " ", "{", "{}{}", "{} x", "{1: 2}", "nul", "\u{feff}{}", "[1,]", "{'a': 1}", "<?xml?>"]
        {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
        assert!(!is_json(b"\"\xff\""), "no UTF-8");
        assert!(!is_json(b"\xff\xfe{\x00}\x00"), "UTF-16");
    }

    #[test]
    fn what_is_too_deep_is_not_taken() {
        let nested = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(is_json(nested(100).as_bytes()));
        assert!(!is_json(nested(200).as_bytes()));
        assert!(!is_json(nested(1_000_000).as_bytes()));
    }

    #[test]
    fn where_it_stopped_is_told_and_nothing_of_the_content() {
        let pieces = [Zeroizing::new(b"{\n  \"name\": geheim\n}".to_vec())];
        let failed = check(&pieces).unwrap_err();
        assert_eq!(failed, FileFailed::NotJson { line: 2, column: 11 });
    }
}
