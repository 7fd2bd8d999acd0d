//! Looking into compact JSON without building a tree: parts are slices of the text, read one level at a time.
//! Absent on purpose: writing; and any text that was not written by us compactly.

use std::borrow::Cow;
use std::io::Write;

use serde_json::value::RawValue;

/// A value inside of a text. Two that are equal have equal texts, for both are compact.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Part<'t>(&'t str);

/// What a part holds, one level of it.
pub enum Parts<'t> {
    /// Members in their order.
    Object(Vec<(Cow<'t, str>, Part<'t>)>),
    /// Items in their order.
    Array(Vec<Part<'t>>),
    /// Text, unescaped.
    Text(Cow<'t, str>),
    /// A number, `true`, `false` or `null`.
    Other(&'t str),
}

impl<'t> Part<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        Self(text)
    }

    /// Its JSON.
    #[must_use]
    pub fn text(self) -> &'t str {
        self.0
    }

    /// One level of it.
    #[must_use]
    pub fn parts(self) -> Parts<'t> {
        match self.0.as_bytes().first() {
            Some(b'{') => Parts::Object(self.members()),
            Some(b'[') => Parts::Array(self.items()),
            Some(b'"') => Parts::Text(unescaped(self.0)),
            _ => Parts::Other(self.0),
        }
    }

    /// An object's members; of anything else none.
    #[must_use]
    pub fn members(self) -> Vec<(Cow<'t, str>, Part<'t>)> {
        struct Members<'t>(Vec<(Cow<'t, str>, Part<'t>)>);
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key, Part(value.get())));
                }
                Ok(Members(members))
            }
        }
        use serde::Deserializer;
        let mut deserializer = serde_json::Deserializer::from_str(self.0);
        deserializer.deserialize_map(Visitor).map_or_else(|_| Vec::new(), |members| members.0)
    }

    /// An array's items; of anything else none.
    #[must_use]
    pub fn items(self) -> Vec<Part<'t>> {
        let items: Result<Vec<&'t RawValue>, _> = serde_json::from_str(self.0);
        items.map_or_else(|_| Vec::new(), |items| items.into_iter().map(|item| Part(item.get())).collect())
    }

    /// The member of this name.
    #[must_use]
    pub fn member(self, name: &str) -> Option<Part<'t>> {
        self.members().into_iter().find(|(key, _)| key == name).map(|(_, part)| part)
    }

    /// Text, unescaped, or a number as it is written.
    #[must_use]
    pub fn word(self) -> Option<Cow<'t, str>> {
        match self.0.as_bytes().first()? {
            b'"' => Some(unescaped(self.0)),
            b'-' | b'0'..=b'9' => Some(Cow::Borrowed(self.0)),
            _ => None,
        }
    }

    /// What stands at a JSON pointer (RFC 6901).
    #[must_use]
    pub fn at(self, pointer: &str) -> Option<Part<'t>> {
        let mut here = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            here = match here.0.as_bytes().first()? {
                b'{' => here.member(&token)?,
                b'[' => *here.items().get(token.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(here)
    }
}

/// A key, borrowed where nothing is escaped in it.
struct Key<'t>(Cow<'t, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

fn unescaped(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted);
    if inner.contains('\\') {
        serde_json::from_str::<String>(quoted).map_or(Cow::Borrowed(inner), Cow::Owned)
    } else {
        Cow::Borrowed(inner)
    }
}

/// Compact JSON with line feeds and two spaces a level, as `serde_json` writes it.
pub(crate) fn pretty(text: &str, level: usize, out: &mut dyn Write) -> std::io::Result<()> {
    let (mut level, mut in_string, mut escaped, mut from) = (level, false, false, 0);
    let bytes = text.as_bytes();
    let line = |out: &mut dyn Write, level: usize| -> std::io::Result<()> {
        out.write_all(b"\n")?;
        (0..level).try_for_each(|_| out.write_all(b"  "))
    };
    for (at, byte) in bytes.iter().enumerate() {
        if in_string {
            (in_string, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
            continue;
        }
        let piece = bytes.get(from..=at).unwrap_or_default();
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' if !matches!(bytes.get(at + 1), Some(b'}' | b']')) => {
                out.write_all(piece)?;
                level += 1;
                line(out, level)?;
                from = at + 1;
            }
            b'}' | b']' if !matches!(bytes.get(at.wrapping_sub(1)), Some(b'{' | b'[')) => {
                out.write_all(bytes.get(from..at).unwrap_or_default())?;
                level = level.saturating_sub(1);
                line(out, level)?;
                from = at;
            }
            b',' => {
                out.write_all(piece)?;
                line(out, level)?;
                from = at + 1;
            }
            b':' => {
                out.write_all(piece)?;
                out.write_all(b" ")?;
                from = at + 1;
            }
            _ => {}
        }
    }
    out.write_all(bytes.get(from..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_pointer_and_unescaped() {
        let part = Part::of(r#"{"a/b":[1,{"ü\"":"x\n"}],"c":null}"#);
        assert_eq!(part.at("/a~1b/1/ü\"").and_then(Part::word).as_deref(), Some("x\n"));
        assert_eq!(part.at("/a~1b/0").and_then(Part::word).as_deref(), Some("1"));
        assert_eq!(part.at("").map(Part::text), Some(part.text()));
        for nothing in ["/x", "/a~1b/2", "/c/d", "/a~1b/x"] {
            assert!(part.at(nothing).is_none(), "{nothing}");
        }
        assert!(part.at("/c").and_then(Part::word).is_none());
        assert_eq!(part.members().len(), 2);
        assert!(part.items().is_empty());
    }
}
