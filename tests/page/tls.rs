//! The page behind TLS with a certificate of its own making, and a client that looks at what it is shown before it trusts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use pforte::clock::Clock;
use pforte::site::desk::Access;
use pforte::site::page::Listener;
use pforte::site::page::keeper::{self, Keeper, Source};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{Answer, FakeDesk, Served, parse};

/// How often the keeper looks in a test.
const EACH: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// The page on loopback, plain, and on a second address, with TLS.
pub struct Sealed {
    pub served: Served,
    pub address: SocketAddr,
    pub state: tempfile::TempDir,
    pub told: watch::Receiver<Vec<Access>>,
    pub keeper: Arc<Keeper>,
    stop: CancellationToken,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Sealed {
    /// With a certificate that the page makes.
    pub async fn own() -> Self {
        let state = tempfile::tempdir().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "fernwartung.praxis.example".to_owned()];
        let source = Source::Own { file: state.path().join(keeper::FILE), names };
        Self::with(state, source, Listener::tls).await
    }

    /// With the operator's files in `state`.
    pub async fn given(state: tempfile::TempDir) -> Self {
        let (certificate, key) = (state.path().join("page.pem"), state.path().join("page.key"));
        Self::with(state, Source::Given { certificate, key }, Listener::strict_tls).await
    }

    async fn with(
        state: tempfile::TempDir,
        source: Source,
        listener: impl FnOnce(TcpListener, Arc<rustls::ServerConfig>) -> Listener,
    ) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, mut kept) = (CancellationToken::new(), None);
        let served = Served::with(FakeDesk::new(), |mut settings| {
            let (keeper, told) = keeping(&source, address, settings.clock.clone());
            settings.listeners.push(listener(socket, keeper.config().unwrap()));
            kept = Some((keeper, told));
            settings
        })
        .await;
        let (keeper, told) = kept.unwrap();
        tokio::spawn(Arc::clone(&keeper).run(EACH, stop.clone()));
        Self { served, address, state, told, keeper, stop }
    }

    pub fn origin(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn file(&self) -> PathBuf {
        self.state.path().join(keeper::FILE)
    }

    /// Base64 of the SHA-256 of the public key in the file.
    pub fn key_hash(&self) -> String {
        use rcgen::PublicKeyData as _;
        let text = std::fs::read_to_string(self.file()).unwrap();
        let from = text.find("-----BEGIN PRIVATE KEY-----").unwrap();
        let key = rcgen::KeyPair::from_pem(&text[from..]).unwrap();
        base64::engine::general_purpose::STANDARD.encode(Sha256::digest(key.subject_public_key_info()))
    }

    /// Until what is told is so.
    pub async fn until(&mut self, is: impl FnMut(&Access) -> bool) -> Access {
        let mut is = is;
        let told = self.told.wait_for(|all| all.first().is_some_and(&mut is));
        tokio::time::timeout(PATIENCE, told).await.expect("it does not come").unwrap()[0].clone()
    }

    /// One request over TLS; Host, Origin and Connection are added unless they are there.
    pub async fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let (mut stream, _) = dial(self.address, rustls::ALL_VERSIONS).await.unwrap();
        let mut text = format!("{line} HTTP/1.1\r\n");
        let origin = self.origin();
        for (name, value) in [("Host", &origin[8..]), ("Origin", &origin)] {
            if !headers.iter().any(|(there, _)| *there == name) {
                text += &format!("{name}: {value}\r\n");
            }
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n";
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("an answer in time").ok();
        parse(&String::from_utf8_lossy(&all))
    }

    /// The fingerprint of what is served now.
    pub async fn fingerprint(&self) -> String {
        dial(self.address, rustls::ALL_VERSIONS).await.unwrap().1
    }
}

/// A keeper of that source, and what it tells.
pub fn keeping(
    source: &Source,
    address: SocketAddr,
    clock: Clock,
) -> (Arc<Keeper>, watch::Receiver<Vec<Access>>) {
    let (tell, told) = watch::channel(vec![]);
    let first = source.read(clock.now()).unwrap();
    (Keeper::new(source.clone(), first, format!("https://{address}/"), clock, tell), told)
}

/// As a browser shows it: SHA-256 in capitals, with colons.
pub fn fingerprint(der: &[u8]) -> String {
    Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// A TLS connection whose certificate nobody has judged, and its fingerprint.
pub async fn dial(
    address: SocketAddr,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<(TlsStream<TcpStream>, String)> {
    let looked = Arc::new(Look(Mutex::default(), Arc::new(aws_lc_rs::default_provider())));
    let config = ClientConfig::builder_with_provider(looked.1.clone())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(looked.clone())
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let seen = looked.0.lock().unwrap().clone();
    Ok((stream, seen))
}

/// An operator's pair in `folder`: `page.pem` and `page.key`, good until that day; its fingerprint.
pub fn put(folder: &Path, until: (i32, u8, u8)) -> String {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    private(&folder.join("page.key"), &key.serialize_pem());
    std::fs::write(folder.join("page.pem"), made.pem()).unwrap();
    fingerprint(made.der())
}

/// A file for its owner alone.
pub fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Keeps the fingerprint of what it was shown.
#[derive(Debug)]
struct Look(Mutex<String>, Arc<CryptoProvider>);

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = fingerprint(leaf);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            leaf,
            signed,
            &self.1.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            leaf,
            signed,
            &self.1.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.signature_verification_algorithms.supported_schemes()
    }
}
