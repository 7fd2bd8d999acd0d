//! The `.reg` file as PuTTY on Linux reads it: a folder for `PUTTYDIR` (PuTTY's unix/storage.c).
//! Absent on purpose: anything of its own. It is translated from the very registry entries that Windows gets.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::registry::{Key, Registry, Value, key_name_read};

const PUTTY: &str = "HKEY_CURRENT_USER\\Software\\SimonTatham\\PuTTY\\";

/// Files by their path below `PUTTYDIR`. What is none of PuTTY's is left out.
pub fn files(registry: &Registry) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for key in registry.0.iter().filter(|key| !key.gone) {
        let Some(place) = key.path.strip_prefix(PUTTY) else { continue };
        match place.split_once('\\') {
            Some(("Sessions", name)) => saved(&mut files, "sessions", name, key),
            Some(("SshHostCAs", name)) => saved(&mut files, "sshhostcas", name, key),
            None if place == "SshHostKeys" => {
                files.insert("sshhostkeys".to_owned(), lines(key, ' '));
            }
            Some(_) | None => {}
        }
    }
    files
}

fn saved(files: &mut BTreeMap<String, String>, folder: &str, name: &str, key: &Key) {
    if let Some(name) = key_name_read(name) {
        files.insert(format!("{folder}/{}", file_name(&name)), lines(key, '='));
    }
}

/// Numbers are decimal here, and nothing is quoted.
fn lines(key: &Key, between: char) -> String {
    let mut text = String::new();
    for (name, value) in &key.values {
        // Writing to a String cannot fail.
        match value {
            Value::Text(value) => writeln!(text, "{name}{between}{value}").ok(),
            Value::Number(value) => writeln!(text, "{name}{between}{value}").ok(),
            Value::Gone => None,
        };
    }
    text
}

/// `make_filename` of unix/storage.c.
fn file_name(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'@' | b'_') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}
