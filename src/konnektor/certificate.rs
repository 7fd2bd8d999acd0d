//! Is this the box we mean? Its leaf certificate's SHA-256 is pinned, and the handshake's signature is verified.
//! Absent on purpose: certificate authorities, host names, dates, and any way to accept every certificate.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::konnektor::Error;
use crate::names::{BadName, KonnektorId};

/// The SHA-256 of a leaf certificate in DER: `sha256:` and 64 hex digits (colons between bytes are taken too).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificatePin([u8; 32]);

impl CertificatePin {
    /// The pin of a certificate in DER (of any bytes: their SHA-256).
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl FromStr for CertificatePin {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = BadName { what: "certificate", form: "sha256: and 64 hex digits" };
        let hex: String = text.strip_prefix("sha256:").ok_or(bad)?.chars().filter(|c| *c != ':').collect();
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad);
        }
        for (byte, two) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let two = std::str::from_utf8(two).map_err(|_| bad)?;
            *byte = u8::from_str_radix(two, 16).map_err(|_| bad)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which certificate of a Konnektor: the management interface and `connector.sds` may show different ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pinned {
    /// The box.
    pub konnektor: KonnektorId,
    /// Which of its listeners.
    pub listener: Listener,
}

/// A TLS listener of a Konnektor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The management interface (`KoCoBox`: 9443).
    Management,
    /// `connector.sds` (443).
    Directory,
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listener = match self.listener {
            Listener::Management => "management",
            Listener::Directory => "directory",
        };
        write!(f, "{}:{listener}", self.konnektor)
    }
}

/// A first-seen certificate could not be kept, or another one is kept already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate could not be kept")]
pub struct NotKept;

/// Where certificates seen first are kept and journalled, when the site's file pins none.
#[async_trait]
pub trait Pins: Send + Sync {
    /// The pin kept for this listener, if any.
    async fn pinned(&self, what: &Pinned) -> Option<CertificatePin>;
    /// Keeps the first one seen; [`NotKept`] where that is not wanted or failed.
    async fn first_seen(&self, what: &Pinned, pin: CertificatePin) -> Result<(), NotKept>;
}

/// No certificate is learned: what the site's file does not pin is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct LearnNothing;

#[async_trait]
impl Pins for LearnNothing {
    async fn pinned(&self, _what: &Pinned) -> Option<CertificatePin> {
        None
    }
    async fn first_seen(&self, _what: &Pinned, _pin: CertificatePin) -> Result<(), NotKept> {
        Err(NotKept)
    }
}

/// Compares the leaf with what is expected, and remembers what it refused.
#[derive(Debug)]
pub(crate) struct Verifier {
    expected: Mutex<Option<CertificatePin>>,
    refused: Mutex<Option<CertificatePin>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(crate) fn new(expected: Option<CertificatePin>) -> Arc<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Arc::new(Self { expected: Mutex::new(expected), refused: Mutex::new(None), provider })
    }

    /// From now on this certificate and no other.
    pub(crate) fn expect(&self, pin: CertificatePin) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = Some(pin);
    }

    pub(crate) fn expected(&self) -> Option<CertificatePin> {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last refused handshake was refused for.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let presented = (*self.refused.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(match self.expected() {
            Some(pinned) => Error::CertificateChanged { pinned, presented },
            None => Error::CertificateUnknown { presented },
        })
    }

    /// TLS 1.2 and 1.3 with aws-lc-rs, judged by this verifier.
    pub(crate) fn client_config(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        Ok(ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|_| Error::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(self) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = CertificatePin::of(leaf);
        if self.expected() == Some(presented) {
            return Ok(ServerCertVerified::assertion());
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented);
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
