//! The hook contract's data: the question as JSON, the answer's words, and the signature over both.
//! Absent on purpose: HTTP and processes; the webhook and the exec hook carry these bytes.
//!
//! A signature is HMAC-SHA256 (RFC 2104) over `timestamp.body`, the timestamp in decimal seconds since 1970. The same key
//! signs both directions. They cannot be taken for each other: a question has no `result`, an answer needs one.

use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Cause, Purpose, Question, Verdict, message};
use crate::secret::Secret;

/// The header with the time of signing, seconds since 1970.
pub(crate) const TIMESTAMP: &str = "x-pforte-timestamp";
/// The header with `v1=` and 64 hex digits.
pub(crate) const SIGNATURE: &str = "x-pforte-signature";
/// How far the signer's clock may be from ours, seconds.
const SKEW: i64 = 60;

#[derive(Serialize)]
struct Body<'a> {
    tx: String,
    user: &'a str,
    firm: &'a str,
    key_fp: &'a str,
    client_ip: String,
    client_port: u16,
    session: String,
    purpose: &'static str,
    command: Option<&'a str>,
    site: Option<&'a str>,
    code: u8,
    expires_at: String,
    message_de: String,
    message_en: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<&'a str>,
}

/// The question as one line of JSON without a newline.
pub(super) fn body(question: &Question, callback_url: Option<&str>) -> Vec<u8> {
    let (purpose, command, site) = match &question.purpose {
        Purpose::Login => ("login", None, None),
        Purpose::Command { command, site } => ("command", Some(command.as_str()), site.as_ref()),
    };
    let body = Body {
        tx: question.tx.to_string(),
        user: question.user.as_str(),
        firm: question.firm.as_str(),
        key_fp: question.key.as_str(),
        client_ip: question.from.ip().to_canonical().to_string(),
        client_port: question.from.port(),
        session: question.session.to_string(),
        purpose,
        command,
        site: site.map(crate::names::SiteName::as_str),
        code: question.number.value(),
        expires_at: question.expires.to_string(),
        message_de: message(question, true),
        message_en: message(question, false),
        callback_url,
    };
    // Strings and numbers only: serde_json has no way to fail here; an empty body would be refused by any provider.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The words an answer may carry.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    Allow,
    Deny,
    Fraud,
    Timeout,
    Error,
    Pending,
}

impl Word {
    /// The verdict, or none while the person has not answered.
    pub(super) fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Allow => Some(Verdict::Allowed),
            Self::Deny => Some(Verdict::Denied),
            Self::Fraud => Some(Verdict::Fraud),
            Self::Timeout => Some(Verdict::TimedOut),
            Self::Error => Some(Verdict::Failed(Cause::ProviderError)),
            Self::Pending => None,
        }
    }
}

/// An answer; fields that we do not know are the provider's own business.
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) tx: String,
    pub(super) result: Option<Word>,
    pub(super) user: Option<String>,
    pub(super) timestamp: Option<i64>,
    pub(super) status_url: Option<String>,
}

impl Answer {
    /// Parses and holds it against the question: an answer names its tx, and if it names a person, the right one.
    pub(super) fn to(question: &Question, body: &[u8]) -> Result<Self, Cause> {
        let answer: Self = serde_json::from_slice(body).map_err(|_| Cause::Malformed)?;
        if answer.tx != question.tx.to_string() {
            return Err(Cause::WrongTx);
        }
        if answer.user.as_deref().is_some_and(|user| user != question.user.as_str()) {
            return Err(Cause::WrongPerson);
        }
        Ok(answer)
    }
}

/// The shared key, ready for use.
pub(crate) struct Key(hmac::Key);

impl Key {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes()))
    }

    /// The two header values for `signed` at `now`.
    pub(super) fn sign(&self, now: Timestamp, signed: &[u8]) -> (String, String) {
        let (timestamp, digits) = self.mark(now, signed);
        (timestamp, format!("v1={digits}"))
    }

    /// The time of signing, and the signature's 64 hex digits.
    pub(crate) fn mark(&self, now: Timestamp, signed: &[u8]) -> (String, String) {
        let timestamp = now.as_second().to_string();
        let mut context = hmac::Context::with_key(&self.0);
        context.update(timestamp.as_bytes());
        context.update(b".");
        context.update(signed);
        let mut signature = String::with_capacity(64);
        for byte in context.sign().as_ref() {
            let digits = [byte >> 4, byte & 15];
            signature.extend(digits.into_iter().filter_map(|digit| char::from_digit(digit.into(), 16)));
        }
        (timestamp, signature)
    }

    /// Were these bytes signed with our key, at most [`SKEW`] seconds from `now`? The comparison takes constant time.
    pub(super) fn verify(
        &self,
        now: Timestamp,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
    ) -> Result<(), Cause> {
        let (Some(timestamp), Some(signature)) = (timestamp, signature) else {
            return Err(Cause::BadSignature);
        };
        let tag = signature.strip_prefix("v1=").and_then(unhex).ok_or(Cause::BadSignature)?;
        let mut signed = Vec::with_capacity(timestamp.len() + 1 + body.len());
        signed.extend_from_slice(timestamp.as_bytes());
        signed.push(b'.');
        signed.extend_from_slice(body);
        hmac::verify(&self.0, &signed, &tag).map_err(|_| Cause::BadSignature)?;
        fresh(now, timestamp.parse().map_err(|_| Cause::BadSignature)?)
    }
}

/// Is `signed_at`, seconds since 1970, near enough to `now`?
pub(super) fn fresh(now: Timestamp, signed_at: i64) -> Result<(), Cause> {
    if now.as_second().saturating_sub(signed_at).saturating_abs() <= SKEW {
        Ok(())
    } else {
        Err(Cause::Stale)
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 has no case with a dot in the data; this one was computed with `openssl dgst -sha256 -hmac secret`.
    #[test]
    fn a_signature_is_the_hmac_of_timestamp_dot_body() {
        let key = Key::new(&Secret::new("secret".into()));
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let (timestamp, signature) = key.sign(now, b"{}");
        assert_eq!(timestamp, "1700000000");
        assert_eq!(signature, "v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163");
        let verify = |at: i64, signature: &str, body: &[u8]| {
            key.verify(Timestamp::from_second(at).unwrap(), Some(&timestamp), Some(signature), body)
        };
        assert_eq!(verify(1_700_000_060, &signature, b"{}"), Ok(()));
        assert_eq!(verify(1_700_000_061, &signature, b"{}"), Err(Cause::Stale));
        assert_eq!(verify(1_699_999_939, &signature, b"{}"), Err(Cause::Stale));
        assert_eq!(verify(1_700_000_000, &signature, b"{ }"), Err(Cause::BadSignature));
        assert_eq!(verify(1_700_000_000, &signature[3..], b"{}"), Err(Cause::BadSignature));
        assert_eq!(verify(1_700_000_000, "v1=é", b"{}"), Err(Cause::BadSignature));
        assert_eq!(verify(1_700_000_000, &format!("v1={}", "0".repeat(64)), b"{}"), Err(Cause::BadSignature));
        assert_eq!(key.verify(now, None, Some(&signature), b"{}"), Err(Cause::BadSignature));
    }
}
