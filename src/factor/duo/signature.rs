//! How a request to Duo is signed: its parameters in one canonical order, and an HMAC-SHA512 over what is sent.
//! Absent on purpose: sending, and HMAC-SHA1, which Duo's own clients no longer use.
//!
//! Source: Duo Auth API v2, "Authentication"; the lines of version 5 are those of Duo's own clients for Python and Go.

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::secret::Secret;

/// Which lines are signed, and how a POST carries its parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signature {
    /// Version 5: a JSON body, signed by its hash.
    #[default]
    V5,
    /// Version 2: a form, signed as it is.
    V2,
}

/// A request's parameters. Values may be secret: there is no `Debug`.
#[derive(Default)]
pub(super) struct Params(Vec<(&'static str, String)>);

impl Params {
    /// One more.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// One more, if there is a value.
    pub(super) fn with_some(self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// `key=value&…`, encoded and sorted: what is signed, and what a query or a form sends.
    pub(super) fn line(&self) -> String {
        let mut pairs: Vec<_> = self.0.iter().map(|(k, v)| (encode(k), encode(v))).collect();
        pairs.sort();
        let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        pairs.join("&")
    }

    /// A JSON object, its keys sorted, without spaces.
    pub(super) fn json(&self) -> String {
        let mut pairs: Vec<_> = self.0.iter().collect();
        pairs.sort();
        let object: serde_json::Map<_, _> =
            pairs.into_iter().map(|(k, v)| ((*k).to_owned(), serde_json::Value::from(v.as_str()))).collect();
        serde_json::Value::Object(object).to_string()
    }
}

/// Percent-encodes every byte but `A-Z a-z 0-9 _ . ~ -`, with upper-case hex.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'~' | b'-') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.extend(char::from_digit(u32::from(digit), 16).map(|d| d.to_ascii_uppercase()));
            }
        }
    }
    encoded
}

/// What is signed of one request.
pub(super) struct Signed<'a> {
    pub(super) date: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// The query of a GET; nothing for a POST.
    pub(super) query: &'a str,
    /// The body of a POST, as it is sent; nothing for a GET.
    pub(super) body: &'a str,
}

/// The credentials of one application at one host.
pub(super) struct Signer {
    ikey: String,
    key: hmac::Key,
    host: String,
}

impl Signer {
    /// `host` without its port, in any case of letters.
    pub(super) fn new(ikey: &str, skey: &Secret, host: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA512, skey.reveal().as_bytes());
        Self { ikey: ikey.to_owned(), key, host: host.to_ascii_lowercase() }
    }

    /// The lines that are signed.
    fn canonical(&self, signature: Signature, signed: &Signed<'_>) -> String {
        let Signed { date, method, path, query, body } = signed;
        let head = format!("{date}\n{}\n{}\n{path}\n", method.to_ascii_uppercase(), self.host);
        match signature {
            // A form is its own canonical line; one of both is empty.
            Signature::V2 => format!("{head}{query}{body}"),
            // The last line is that of the X-Duo-* headers: we send none.
            Signature::V5 => format!("{head}{query}\n{}\n{}", sha512(body), sha512("")),
        }
    }

    /// The value of `Authorization`.
    pub(super) fn authorization(&self, signature: Signature, signed: &Signed<'_>) -> String {
        let tag = hmac::sign(&self.key, self.canonical(signature, signed).as_bytes());
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", self.ikey, hex(tag.as_ref()))))
    }
}

fn sha512(text: &str) -> String {
    hex(digest::digest(&digest::SHA512, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |hex, byte| hex + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests;
