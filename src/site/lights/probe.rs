//! Checks that need no root: does the router answer, does a Konnektor. Absent on purpose: any word of ours beyond a greeting.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest as _, Sha256};
use tokio::net::UdpSocket;

use super::words::Sentence;
use crate::names::HostPort;
use crate::site::{dial, network};

/// For a router's answer.
const ROUTER: Duration = Duration::from_secs(2);
/// For a Konnektor's.
const KONNEKTOR: Duration = Duration::from_secs(8);
/// RFC 863: nobody answers there, but the kernel has to ask for the hardware address first.
const DISCARD: u16 = 9;

/// Is the router there? By its hardware address, or by any answer to a connection, a refusal too.
pub(super) async fn router(router: IpAddr) -> Sentence {
    let shown = router.to_string();
    if router.is_ipv4() {
        poke(router).await.ok();
        let known = async {
            while !network::in_neighbours(router) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(ROUTER, known).await.is_ok() {
            return Sentence::RouterAnswers(shown);
        }
    }
    for port in [53, 80, 443] {
        let address = std::net::SocketAddr::new(router, port).to_string();
        let Ok(address) = address.parse::<HostPort>() else { continue };
        match tokio::time::timeout(ROUTER, dial::target(&address)).await {
            Ok(Ok(_)) => return Sentence::RouterAnswers(shown),
            Ok(Err(dial::Away::Refused(e))) if e.kind() == io::ErrorKind::ConnectionRefused => {
                return Sentence::RouterAnswers(shown);
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Sentence::RouterSilent(shown)
}

async fn poke(router: IpAddr) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.send_to(&[], (router, DISCARD)).await.map(|_| ())
}

/// Does a Konnektor answer in TLS, and with the certificate that is pinned (its SHA-256 in hex)?
pub(super) async fn konnektor(address: &HostPort, pinned: Option<&str>) -> Sentence {
    let shown = super::shown(address);
    let stream = match dial::target(address).await {
        Ok(stream) => stream,
        Err(away) => return Sentence::BoxAway { address: shown, cause: away.to_string() },
    };
    let seen = Arc::new(Mutex::new(None));
    let Some(config) = looks_only(&seen) else { return Sentence::NotYet };
    let name = ServerName::IpAddress(IpAddr::from([127, 0, 0, 1]).into());
    let greeting = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream);
    // It always ends in a refusal of ours: the certificate is looked at and never trusted here.
    tokio::time::timeout(KONNEKTOR, greeting).await.ok();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (seen, pinned) {
        (None, _) => Sentence::BoxNoTls { address: shown },
        (Some(seen), Some(pinned)) if seen != pinned => Sentence::BoxOtherCertificate { seen },
        (Some(_), _) => Sentence::BoxAnswers { address: shown },
    }
}

fn looks_only(seen: &Arc<Mutex<Option<String>>>) -> Option<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let looker = Arc::new(Looker { seen: Arc::clone(seen), provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let mut config = config.dangerous().with_custom_certificate_verifier(looker).with_no_client_auth();
    config.enable_sni = false;
    Some(config)
}

/// Looks at a certificate and refuses it, whatever it is.
#[derive(Debug)]
struct Looker {
    seen: Arc<Mutex<Option<String>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let hash = Sha256::digest(end_entity);
        let mut hex = String::with_capacity(64);
        for byte in hash {
            write!(hex, "{byte:02x}").ok();
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(hex);
        Err(rustls::Error::General("looked at only".into()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("looked at only".into()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("looked at only".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
