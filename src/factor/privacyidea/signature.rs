//! privacyIDEA's signature on its answers: RSA-PSS with SHA-256 over the JSON without the signature itself.
//! Absent on purpose: making JSON anew in the service's order and spacing; what is read is the very text that was signed.

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPssSaltLength};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use crate::factor::Cause;

/// The service takes the longest salt that fits.
const PSS: &RsaParameters = &const { RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) };
/// How the field begins; it stands in the text once, or nothing counts.
const FIELD: &str = r#""signature": "rsa_sha256_pss:"#;

/// The service's public key.
pub(super) struct Verifier(ParsedPublicKey);

impl Verifier {
    pub(super) fn of_pem(pem: &[u8]) -> Option<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
        ParsedPublicKey::new(PSS, der.as_ref()).ok().map(Self)
    }

    /// The JSON that was signed: `body` without the field.
    pub(super) fn signed(&self, body: &[u8]) -> Result<Vec<u8>, Cause> {
        let cut = || {
            let body = std::str::from_utf8(body).ok()?;
            let (before, rest) = body.split_once(FIELD)?;
            let (digits, after) = rest.split_once('"')?;
            let text = match after.strip_prefix(", ") {
                Some(after) => [before, after].concat(),
                None => [before.strip_suffix(", ")?, after].concat(),
            };
            Some((text.into_bytes(), unhex(digits)?))
        };
        let (text, signature) = cut().ok_or(Cause::BadSignature)?;
        self.0.verify_sig(&text, &signature).map_err(|_| Cause::BadSignature)?;
        Ok(text)
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    });
    pairs.collect()
}
