//! The journal's own signature: over the chain's head in `head` lines (SSHSIG), and in the small file `HEAD`.
//! Absent on purpose: making or keeping the key, and any word on when to sign.

use std::fmt::Write as _;
use std::str::FromStr;

use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, Signature, SshSig};

use super::line::{Hash, HeadFields, Links};

/// The SSHSIG namespace of `head` lines, for `ssh-keygen -Y verify -n`.
pub const NAMESPACE: &str = "pforte-journal";
/// The file `HEAD` has a namespace of its own, so that neither signature can stand in for the other.
const RECORD_NAMESPACE: &str = "pforte-journal-head-file";

/// The key cannot sign.
#[derive(Debug, thiserror::Error)]
#[error("the journal's key cannot sign: {0}")]
pub struct CannotSign(#[from] ssh_key::Error);

/// The exact bytes that a `head` line signs: `<seq of the line before> <prev>\n`.
#[must_use]
pub fn signed_text(seq: u64, prev: &Hash) -> String {
    format!("{seq} {prev}\n")
}

/// Signs the chain's head: the number and hash of its last line.
///
/// # Errors
/// The key is encrypted or of an algorithm that cannot sign.
pub(crate) fn sign(key: &PrivateKey, seq: u64, prev: &Hash) -> Result<HeadFields, CannotSign> {
    let signed = signed_text(seq, prev);
    let signature = key.sign(NAMESPACE, HashAlg::Sha512, signed.as_bytes())?.to_pem(LineEnding::LF)?;
    Ok(HeadFields { signature, signed })
}

/// Is this `head` line signed by the key, for just the place where it stands?
pub(crate) fn is_signed(key: &PublicKey, links: &Links, head: &HeadFields) -> bool {
    let signed = signed_text(links.seq.saturating_sub(1), &links.prev);
    head.signed == signed
        && SshSig::from_pem(&head.signature)
            .is_ok_and(|sig| key.verify(NAMESPACE, signed.as_bytes(), &sig).is_ok())
}

/// What the file `HEAD` holds: the last line that was made durable when it was written. As text it always has the same
/// length, within one sector, so that a power cut leaves the old one or the new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub seq: u64,
    pub hash: Hash,
}

impl Record {
    /// The signed record as it stands in the file.
    ///
    /// # Errors
    /// The key cannot sign.
    pub(crate) fn signed(&self, key: &PrivateKey) -> Result<String, CannotSign> {
        let mut text = self.text();
        let signature = key.sign(RECORD_NAMESPACE, HashAlg::Sha512, text.as_bytes())?;
        text.push(' ');
        for byte in signature.signature_bytes() {
            write!(text, "{byte:02x}").ok();
        }
        text.push('\n');
        Ok(text)
    }

    fn text(&self) -> String {
        format!("pforte-head {:020} {}", self.seq, self.hash)
    }

    /// Reads a record back; `None` if it is damaged or not signed by the key.
    pub(crate) fn read(text: &str, key: &PublicKey) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let (Some("pforte-head"), Some(seq), Some(hash), Some(signature), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return None;
        };
        let record = Self { seq: seq.parse().ok()?, hash: Hash::from_str(hash).ok()? };
        let bytes: Option<Vec<u8>> = signature
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let signature = Signature::new(Algorithm::Ed25519, bytes?).ok()?;
        let sig = SshSig::new(key.key_data().clone(), RECORD_NAMESPACE, HashAlg::Sha512, signature).ok()?;
        key.verify(RECORD_NAMESPACE, record.text().as_bytes(), &sig).ok()?;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use ssh_key::private::Ed25519Keypair;

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    #[test]
    fn a_head_counts_for_its_own_place_and_key_only() {
        let prev = Hash::of(b"x");
        let head = sign(&key(1), 16, &prev).unwrap();
        let links = |seq, prev| Links { seq, prev, head: None };
        assert!(is_signed(key(1).public_key(), &links(17, prev), &head));
        assert!(!is_signed(key(1).public_key(), &links(18, prev), &head));
        assert!(!is_signed(key(1).public_key(), &links(17, Hash::ZERO), &head));
        assert!(!is_signed(key(2).public_key(), &links(17, prev), &head));
    }

    #[test]
    fn a_record_reads_back_and_a_changed_or_foreign_one_does_not() {
        let record = Record { seq: 17, hash: Hash::of(b"x") };
        let text = record.signed(&key(1)).unwrap();
        assert_eq!(text.len(), 12 + 20 + 1 + 71 + 1 + 128 + 1);
        assert_eq!(Record::read(&text, key(1).public_key()), Some(record));
        assert_eq!(Record::read(&text, key(2).public_key()), None);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(Record::read(&changed, key(1).public_key()), None, "byte {at}");
        }
    }
}
