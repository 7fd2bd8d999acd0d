//! A `.reg` file: written, read again, turned round so that it deletes what it made.
//! Absent on purpose: what PuTTY means by it, and value types that the kit does not use.

use std::fmt::Write as _;

/// What stands behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `REG_SZ`
    Text(String),
    /// `REG_DWORD`
    Number(u32),
    /// The name goes.
    Gone,
}

/// `[KEY]` and its values, or `[-KEY]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// From `HKEY_CURRENT_USER` on.
    pub path: String,
    /// The whole key goes.
    pub gone: bool,
    /// In their order.
    pub values: Vec<(String, Value)>,
}

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry(pub Vec<Key>);

/// A line that is none of a `.reg` file, with its number.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No byte order mark, half a character, or half a pair.
    #[error("not UTF-16LE with a byte order mark")]
    Encoding,
    /// The first line is another.
    #[error("no \"{HEADER}\" in the first line")]
    Header,
    /// Neither key, value nor empty.
    #[error("line {0} is no line of a .reg file")]
    Line(usize),
}

const HEADER: &str = "Windows Registry Editor Version 5.00";

impl Registry {
    /// Reads the text of a file, whatever its line ends.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, line)| line != HEADER) {
            return Err(Unreadable::Header);
        }
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let wrong = Unreadable::Line(number + 1);
            if let Some(path) = line.strip_prefix('[') {
                let path = path.strip_suffix(']').ok_or(wrong)?;
                let (gone, path) = path.strip_prefix('-').map_or((false, path), |path| (true, path));
                keys.push(Key { path: path.to_owned(), gone, values: Vec::new() });
                continue;
            }
            match (keys.last_mut(), value(line)) {
                (Some(key), Some(value)) if !key.gone => key.values.push(value),
                _ => return Err(wrong),
            }
        }
        Ok(Self(keys))
    }

    /// Reads a file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (units, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        let (Some((0xFEFF, units)), []) = (units.split_first().map(|(m, u)| (*m, u)), rest) else {
            return Err(Unreadable::Encoding);
        };
        Self::parse(&String::from_utf16(units).map_err(|_| Unreadable::Encoding)?)
    }

    /// UTF-16LE with a byte order mark and CRLF, as regedit writes it.
    pub fn encode(&self) -> Vec<u8> {
        let text = self.to_string().replace('\n', "\r\n");
        std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    }

    /// Deletes what this one makes, and nothing else. In `shared` keys others have values too: only ours go.
    pub fn removal(&self, shared: impl Fn(&str) -> bool) -> Self {
        let keys = self.0.iter().filter(|key| !key.gone);
        let turned = keys.map(|key| {
            let shared = shared(&key.path);
            let gone = key.values.iter().filter(|_| shared).map(|(name, _)| (name.clone(), Value::Gone));
            Key { path: key.path.clone(), gone: !shared, values: gone.collect() }
        });
        Self(turned.collect())
    }
}

impl std::fmt::Display for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEADER}\n")?;
        for Key { path, gone, values } in &self.0 {
            writeln!(f, "[{}{path}]", if *gone { "-" } else { "" })?;
            for (name, value) in values {
                write!(f, "\"{}\"=", escaped(name))?;
                match value {
                    Value::Text(text) => writeln!(f, "\"{}\"", escaped(text))?,
                    Value::Number(number) => writeln!(f, "dword:{number:08x}")?,
                    Value::Gone => writeln!(f, "-")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Within quotes.
pub fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// PuTTY's own escape in a key's name (`escape_registry_key`, windows/utils).
pub fn key_name(name: &str) -> String {
    let mut out = String::new();
    for (at, byte) in name.bytes().enumerate() {
        let odd = matches!(byte, b' ' | b'\\' | b'*' | b'?' | b'%' | ..0x20 | 0x7F..);
        if odd || (at == 0 && byte == b'.') {
            // Writing to a String cannot fail.
            write!(out, "%{byte:02X}").ok();
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

/// The other way; `None` if it is no escaped name.
pub fn key_name_read(name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// `"name"="text"`, `"name"=dword:0000002a` or `"name"=-`, and nothing behind it.
fn value(line: &str) -> Option<(String, Value)> {
    let (name, rest) = quoted(line)?;
    let rest = rest.strip_prefix('=')?;
    if rest == "-" {
        return Some((name, Value::Gone));
    }
    if let Some(digits) = rest.strip_prefix("dword:") {
        let number = (digits.len() == 8).then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
        return Some((name, Value::Number(number)));
    }
    let (text, rest) = quoted(rest)?;
    rest.is_empty().then_some((name, Value::Text(text)))
}

/// A quoted text at the front, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix('"')?.chars();
    let mut inside = String::new();
    loop {
        match chars.next()? {
            '"' => return Some((inside, chars.as_str())),
            '\\' => inside.push(chars.next().filter(|c| matches!(c, '\\' | '"'))?),
            c => inside.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: Value) -> Registry {
        let path = "HKEY_CURRENT_USER\\Software\\x".to_owned();
        Registry(vec![Key { path, gone: false, values: vec![(name.to_owned(), value)] }])
    }

    proptest::proptest! {
        #[test]
        fn what_was_written_reads_as_it_was(name in "[^\\r\\n]{0,20}", text in "[^\\r\\n]{0,40}", number: u32) {
            for value in [Value::Text(text), Value::Number(number), Value::Gone] {
                let registry = one(&name, value);
                proptest::prop_assert_eq!(Registry::decode(&registry.encode()), Ok(registry));
            }
        }

        #[test]
        fn a_key_name_reads_as_it_was(name in "\\PC{0,40}") {
            let escaped = key_name(&name);
            proptest::prop_assert!(!escaped.contains(['\\', ' ', '*', '?']));
            proptest::prop_assert_eq!(key_name_read(&escaped), Some(name));
        }
    }

    #[test]
    fn lines_of_another_kind_are_refused_with_their_number() {
        let parse = |body: &str| Registry::parse(&format!("{HEADER}\n\n{body}\n"));
        for wrong in [
            "\"a\"=\"b\"",
            "[a",
            "[a]\n\"a\"=\"b",
            "[a]\n\"a\"=dword:1",
            "[a]\n\"a\"=hex:00",
            "[a]\nx",
            "[-a]\n\"a\"=\"b\"",
            "[a]\n\"a\"=\"b\" ",
            "[a]\n\"a\"=\"\\x\"",
        ] {
            let line = 2 + wrong.lines().count();
            assert_eq!(parse(wrong), Err(Unreadable::Line(line)), "{wrong}");
        }
        assert_eq!(Registry::parse("REGEDIT4\n\n[a]\n"), Err(Unreadable::Header));
        assert_eq!(Registry::decode(b"Windows Registry"), Err(Unreadable::Encoding));
    }

    #[test]
    fn a_removal_takes_own_keys_whole_and_of_shared_ones_only_its_values() {
        let both = Registry([one("a", Value::Number(1)).0, one("b", Value::Number(2)).0].concat());
        assert!(both.removal(|_| false).0.iter().all(|key| key.gone && key.values.is_empty()));
        let shared = both.removal(|_| true);
        assert!(shared.0.iter().all(|key| !key.gone && key.values.iter().all(|(_, v)| *v == Value::Gone)));
        assert!(shared.to_string().contains("\"b\"=-\n"), "{shared}");
    }
}
