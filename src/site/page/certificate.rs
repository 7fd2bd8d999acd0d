//! A certificate of the page: read from PEM, or made here; until when it counts, and what a browser shows of it.
//! Absent on purpose: files, and when another one is wanted; see `keeper`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// One that we make begins so long before: a browser's clock may be behind ours.
const BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// And lasts so long. With [`BEFORE`] it stays below the 825 days that Apple's systems take (HT210176).
const LASTS: SignedDuration = SignedDuration::from_hours(730 * 24);
/// The first line of a file of ours.
const NAMES: &str = "names:";

/// Why a certificate and its key are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// No certificate at all.
    #[error(
        "holds no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----, the page's own first, then those above it"
    )]
    NoCertificate,
    /// Not one that TLS can use.
    #[error(
        "holds a certificate that TLS cannot use: ask whoever issued it for an X.509 v3 one for a server"
    )]
    Certificate,
    /// No key at all.
    #[error(
        "holds no private key in PEM without a passphrase: it begins with -----BEGIN PRIVATE KEY-----; \
         `openssl pkey -in OLD -out NEW` takes a passphrase off"
    )]
    NoKey,
    /// Not one that TLS can use.
    #[error("holds a key that TLS cannot use: expected EC P-256 or P-384, Ed25519, or RSA from 2048 bits")]
    Key,
    /// Of another certificate.
    #[error("holds the key of another certificate: put in the one that this certificate was asked for with")]
    Pair,
}

impl BadCertificate {
    /// Is it the key's file that is wrong?
    pub fn is_about_key(self) -> bool {
        match self {
            Self::NoCertificate | Self::Certificate => false,
            Self::NoKey | Self::Key | Self::Pair => true,
        }
    }
}

/// A certificate with its chain and its key, ready for use.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    fingerprint: String,
    until: Timestamp,
}

impl Certificate {
    /// Takes the certificate with its chain, and its key, both as PEM.
    ///
    /// # Errors
    /// [`BadCertificate`]; the dates are not looked at.
    pub fn of(certificate: &str, key: &Secret) -> Result<Self, BadCertificate> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let chain = chain.map_err(|_| BadCertificate::NoCertificate)?;
        let leaf = chain.first().cloned().ok_or(BadCertificate::NoCertificate)?;
        let key =
            PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(|_| BadCertificate::NoKey)?;
        let provider = aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(key).map_err(|_| BadCertificate::Key)?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) => {}
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => return Err(BadCertificate::Pair),
            Err(_) => return Err(BadCertificate::Certificate),
        }
        let until = until(&leaf, provider).ok_or(BadCertificate::Certificate)?;
        Ok(Self { key: Arc::new(key), fingerprint: fingerprint(&leaf), until })
    }

    /// What a TLS server takes.
    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// SHA-256 of the certificate, as browsers show it: `AB:CD:…`
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The last moment at which it counts.
    pub fn until(&self) -> Timestamp {
        self.until
    }
}

/// One of our own for these names and addresses, as its file holds it: the names, the certificate, the key.
pub(super) fn make(names: &[String], now: Timestamp) -> Result<Secret, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let day = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(now.saturating_sub(BEFORE).unwrap_or(now));
    params.not_after = day(now.saturating_add(LASTS).unwrap_or(now));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "pforte Fernwartung");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // EC P-256.
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = Zeroizing::new(key.serialize_pem());
    Ok(Secret::new(format!("{NAMES} {}\n{}{}", names.join(" "), certificate.pem(), *key)))
}

/// What [`make`] made, if it was for just these names.
pub(super) fn made_for(names: &[String], file: &Secret) -> Option<Certificate> {
    let first = file.reveal().lines().next()?.strip_prefix(NAMES)?;
    first.split_whitespace().eq(names).then_some(())?;
    Certificate::of(file.reveal(), file).ok()
}

fn fingerprint(leaf: &CertificateDer<'_>) -> String {
    let mut text = String::with_capacity(32 * 3);
    for byte in Sha256::digest(leaf) {
        let colon = if text.is_empty() { "" } else { ":" };
        // Writing to a String does not fail.
        write!(text, "{colon}{byte:02X}").ok();
    }
    text
}

/// The TLS library reads the dates only to judge them: it is asked about the end of time, and its refusal says until when
/// it would have taken it. The dates are judged before the issuer, so that the root does not matter. Instead: another
/// parser of X.509.
fn until(leaf: &CertificateDer<'static>, provider: CryptoProvider) -> Option<Timestamp> {
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider));
    let name = ServerName::try_from("localhost").ok()?;
    let end = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let refused = verifier.build().ok()?.verify_server_cert(leaf, &[], &name, &[], end).err()?;
    let Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) = refused else {
        return None;
    };
    let last = i64::try_from(not_after.as_secs()).ok().and_then(|last| Timestamp::from_second(last).ok());
    // 99991231235959Z, "no end" (RFC 5280 §4.1.2.5), is later than a Timestamp can be.
    Some(last.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn one_of_our_own_counts_for_two_years_and_for_its_names_alone() {
        let both = names(&["192.168.1.5", "fernwartung.praxis.example"]);
        let made = make(&both, at("2026-11-23T13:02:10Z")).unwrap();
        let read = made_for(&both, &made).unwrap();
        assert_eq!(read.until(), at("2028-11-22T00:00:00Z"));
        assert_eq!(read.fingerprint().len(), 95);
        assert!(made_for(&names(&["192.168.1.5"]), &made).is_none());
        assert!(made_for(&names(&["192.168.1.6", "fernwartung.praxis.example"]), &made).is_none());
        let mut roots = RootCertStore::empty();
        let leaf = read.key().cert[0].clone();
        roots.add(leaf.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_795_000_000));
        let taken = |name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&leaf, &[], &name, &[], now).is_ok()
        };
        assert!(both.iter().all(|name| taken(name)));
        assert!(!taken("192.168.1.6") && !taken("praxis.example"));
    }

    #[test]
    fn what_is_no_certificate_or_no_key_of_it_is_told_apart() {
        let text = make(&names(&["a.example"]), at("2026-11-23T13:02:10Z")).unwrap();
        let other = make(&names(&["a.example"]), at("2026-11-23T13:02:10Z")).unwrap();
        let no = Secret::new("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let of = |certificate: &str, key: &Secret| Certificate::of(certificate, key).map(|_| ()).unwrap_err();
        assert_eq!(of("", &text), BadCertificate::NoCertificate);
        assert_eq!(of(broken, &text), BadCertificate::Certificate);
        assert_eq!(of(text.reveal(), &Secret::new(String::new())), BadCertificate::NoKey);
        assert_eq!(of(text.reveal(), &no), BadCertificate::Key);
        assert_eq!(of(text.reveal(), &other), BadCertificate::Pair);
    }
}
