//! The gateway as a client of a site's host: its key checked, itself let in, one channel at a time.
//! Absent on purpose: the technician's credentials. They never leave the front door.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use russh::client::{self, AuthResult, ChannelOpenHandle, KeyboardInteractiveAuthResponse, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{
    Channel, ChannelOpenFailure, Disconnect, MethodKind, Preferred, SshId, cipher, compression, kex, mac,
};
use ssh_key::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey};

use super::Session;
use crate::config::{Host, HostProof};
use crate::flow::{Ledger, Line, Role, WINDOW, Wire};
use crate::hops::{Away, dial};
use crate::identity::Who;
use crate::names::{HostName, SiteName};

/// For the key exchange and the login at a host, together.
const PATIENCE: Duration = Duration::from_secs(20);

/// Host keys that no file pins: the first one seen is kept.
#[async_trait]
pub trait HostKeys: Send + Sync {
    /// The key that is kept for this host.
    async fn kept(&self, site: &SiteName, host: &HostName) -> Result<Option<PublicKey>, NotKept>;
    /// Keeps the first one, in the journal too; returns once both are durable.
    async fn first_seen(&self, site: &SiteName, host: &HostName, key: &PublicKey) -> Result<(), NotKept>;
}

/// The kept keys cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("host-keys-not-kept")]
pub struct NotKept;

/// Makes a technician's certificate for one login.
pub trait Certifies: Send + Sync {
    /// A fresh key and its certificate, for a few minutes; its principal is the technician. `forwards`: port forwarding too.
    fn certify(&self, who: &Who, forwards: bool) -> Result<(PrivateKey, Certificate), String>;
}

/// How the gateway logs in at hosts.
pub struct Login {
    /// Its own key, Ed25519.
    pub key: Arc<PrivateKey>,
    /// Its certificate authority.
    pub authority: Arc<dyn Certifies>,
    /// Keys of hosts that no file pins.
    pub host_keys: Arc<dyn HostKeys>,
}

/// Why there is no session at the host. The text is for the journal; [`Failed::sentence`] is for people.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Its site's file has it no longer.
    #[error("host-gone")]
    Gone,
    /// It cannot be reached.
    #[error(transparent)]
    Away(#[from] Away),
    /// It speaks, but no SSH that we accept.
    #[error("target-handshake: {0}")]
    Handshake(String),
    /// It has another key than the one that is pinned or was kept.
    #[error("host-key-changed: expected {expected}, presented {presented}")]
    OtherKey {
        /// The fingerprint of the pinned or kept one.
        expected: String,
        /// Of the one it showed.
        presented: String,
    },
    /// Its first key could not be kept.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// It does not let the gateway in.
    #[error("target-login-refused")]
    NotLetIn,
    /// The gateway cannot make what it would show.
    #[error("no-credential: {0}")]
    NoCredential(String),
    /// It took too long.
    #[error("target-timeout")]
    Slow,
    /// It refuses a channel, or closed.
    #[error("target-channel: {0}")]
    Channel(String),
}

impl Failed {
    /// For the person: what, and who can change it.
    pub fn sentence(&self, host: &str, german: bool) -> String {
        match (self, german) {
            (Failed::OtherKey { .. }, false) => format!(
                "{host} shows another host key than the one that is known, so nothing was done. If it was set up anew, the operator of this gateway has to say so."
            ),
            (Failed::OtherKey { .. }, true) => format!(
                "{host} zeigt einen anderen Host-Schlüssel als den bekannten, darum wurde nichts getan. Wurde er neu aufgesetzt, muss der Betreiber dieses Gateways das eintragen."
            ),
            (Failed::NotLetIn | Failed::NoCredential(_), false) => {
                format!(
                    "{host} does not let this gateway in. Its account there may have changed; tell the operator."
                )
            }
            (Failed::NotLetIn | Failed::NoCredential(_), true) => format!(
                "{host} lässt dieses Gateway nicht ein. Vielleicht hat sich dort das Konto geändert; sagen Sie es dem Betreiber."
            ),
            (why, false) => format!("{host} cannot be reached from here ({why})."),
            (why, true) => format!("{host} ist von hier nicht zu erreichen ({why})."),
        }
    }
}

/// A connection to a host, logged in. Dropped, it is cut.
pub struct TargetLine {
    pub handle: client::Handle<Guest>,
    pub ledger: Arc<Ledger>,
    _cut: Cut,
}

/// Cuts the line when dropped: russh's task has the other end of it, and would wait for the host for ever.
struct Cut(Arc<Line>);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.cut();
    }
}

impl TargetLine {
    /// Can it carry another channel?
    pub fn is_alive(&self) -> bool {
        !self.handle.is_closed()
    }

    /// Says good-bye, then cuts it.
    pub async fn leave(self) {
        let bye = self.handle.disconnect(Disconnect::ByApplication, "", "en");
        tokio::time::timeout(Duration::from_secs(1), bye).await.ok();
    }
}

/// russh's client callbacks: the host's key is checked, and no channel that it opens is taken (R38).
pub struct Guest {
    expected: Option<PublicKey>,
    seen: Arc<Mutex<Option<PublicKey>>>,
}

impl client::Handler for Guest {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let presented = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.clone(),
            // None is asked for.
            PublicKeyOrCertificate::Certificate(_) => return Ok(false),
        };
        let good = self.expected.as_ref().is_none_or(|expected| expected.key_data() == presented.key_data());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented);
        Ok(good)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _connected_address: &str,
        _connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        refuse(reply).await
    }
}

async fn refuse(reply: ChannelOpenHandle) -> Result<(), russh::Error> {
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}

/// What is asked of a host. A known key's own algorithm alone, so that a host with several shows that one.
fn configuration(expected: Option<&PublicKey>) -> client::Config {
    let rsa = [HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) });
    let key: Vec<Algorithm> = match expected.map(PublicKey::algorithm) {
        Some(Algorithm::Rsa { .. }) => rsa.to_vec(),
        Some(other) => vec![other],
        None => {
            let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
            let ecdsa = curves.map(|curve| Algorithm::Ecdsa { curve });
            std::iter::once(Algorithm::Ed25519).chain(ecdsa).chain(rsa).collect()
        }
    };
    let kex = [
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::ECDH_SHA2_NISTP256,
        // Without these four, strict key exchange (CVE-2023-48795) is silently off.
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed("SSH-2.0-pforte")),
        window_size: WINDOW,
        maximum_packet_size: 32 << 10,
        channel_buffer_size: 64,
        preferred: Preferred {
            kex: kex.to_vec().into(),
            key: key.into(),
            cipher: vec![cipher::AES_128_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_GCM].into(),
            mac: vec![mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM].into(),
            compression: vec![compression::NONE].into(),
            ..Preferred::default()
        },
        // The wire may rest for as long as a technician takes nothing: TCP finds a dead host, not a keepalive.
        keepalive_interval: None,
        inactivity_timeout: Some(Duration::from_hours(13)),
        nodelay: true,
        ..client::Config::default()
    }
}

/// Dials the session's host, checks its key, logs in.
pub(super) async fn connect(session: &Session) -> Result<TargetLine, Failed> {
    tokio::time::timeout(PATIENCE, connected(session)).await.map_err(|_| Failed::Slow)?
}

async fn connected(session: &Session) -> Result<TargetLine, Failed> {
    // As the files say now: a changed address or key counts for the session's next channel.
    let target = session.relays.hosts.at(&session.target.site, &session.target.name).ok_or(Failed::Gone)?;
    let host = target.host().ok_or(Failed::Gone)?;
    let keys = &session.relays.login.host_keys;
    let expected = match &host.host_key {
        Some(pinned) => Some(pinned.clone()),
        None => keys.kept(&target.site, &target.name).await?,
    };
    let started = session.started().ok_or(Failed::Gone)?;
    let stream = dial(started.as_ref(), &target).await?;
    // Held no longer than that: its last line is the session's to write.
    drop(started);
    let ledger = Arc::new(Ledger::default());
    let (wire, line) = Wire::new(stream, Role::Client, ledger.clone());
    let cut = Cut(line);
    let seen = Arc::new(Mutex::new(None));
    let guest = Guest { expected: expected.clone(), seen: seen.clone() };
    let config = Arc::new(configuration(expected.as_ref()));
    let made = client::connect_stream(config, wire, guest).await;
    let presented = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let handle = match (made, &expected, &presented) {
        (Ok(handle), _, _) => handle,
        (Err(russh::Error::UnknownKey), Some(expected), Some(presented)) => {
            return Err(Failed::OtherKey {
                expected: fingerprint(expected),
                presented: fingerprint(presented),
            });
        }
        // It has no key of the algorithm that is known any more.
        (
            Err(russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, theirs, .. }),
            Some(expected),
            _,
        ) => {
            return Err(Failed::OtherKey {
                expected: fingerprint(expected),
                presented: format!("none of its kind, but {}", theirs.join(",")),
            });
        }
        (Err(e), _, _) => return Err(Failed::Handshake(e.to_string())),
    };
    let mut made = TargetLine { handle, ledger, _cut: cut };
    if expected.is_none() {
        let presented = presented.ok_or_else(|| Failed::Handshake("no host key".into()))?;
        keys.first_seen(&target.site, &target.name, &presented).await?;
    }
    log_in(&mut made.handle, session, host).await?;
    Ok(made)
}

async fn log_in(handle: &mut client::Handle<Guest>, session: &Session, host: &Host) -> Result<(), Failed> {
    let user = host.login.as_deref().unwrap_or_else(|| session.who.user().as_str());
    let broken = |e: russh::Error| Failed::Handshake(e.to_string());
    let login = &session.relays.login;
    let result = match &host.proof {
        HostProof::Key => {
            let key = PrivateKeyWithHashAlg::new(login.key.clone(), None);
            handle.authenticate_publickey(user, key).await.map_err(broken)?
        }
        HostProof::Certificate => {
            let (key, certificate) = login
                .authority
                .certify(&session.who, !host.forwards.is_empty())
                .map_err(Failed::NoCredential)?;
            handle.authenticate_openssh_cert(user, Arc::new(key), certificate).await.map_err(broken)?
        }
        HostProof::Password(password) => {
            // Many a sshd takes passwords by keyboard-interactive alone; a wrong one is tried once, whichever it is.
            match handle.authenticate_none(user).await.map_err(broken)? {
                AuthResult::Failure { remaining_methods, .. }
                    if remaining_methods.contains(&MethodKind::KeyboardInteractive)
                        && !remaining_methods.contains(&MethodKind::Password) =>
                {
                    return interactive(handle, user, password.reveal()).await;
                }
                AuthResult::Failure { .. } | AuthResult::Success => {}
            }
            handle.authenticate_password(user, password.reveal()).await.map_err(broken)?
        }
    };
    if result.success() { Ok(()) } else { Err(Failed::NotLetIn) }
}

/// One prompt, one answer; a host that asks for more does not get it.
async fn interactive(handle: &mut client::Handle<Guest>, user: &str, password: &str) -> Result<(), Failed> {
    let broken = |e: russh::Error| Failed::Handshake(e.to_string());
    let mut answer = handle.authenticate_keyboard_interactive_start(user, None).await.map_err(broken)?;
    let mut given = false;
    for _ in 0..4 {
        let prompts = match answer {
            KeyboardInteractiveAuthResponse::Success => return Ok(()),
            KeyboardInteractiveAuthResponse::Failure { .. } => return Err(Failed::NotLetIn),
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        let answers = match prompts.as_slice() {
            [] => Vec::new(),
            [prompt] if !prompt.echo && !std::mem::replace(&mut given, true) => vec![password.to_owned()],
            _ => return Err(Failed::NotLetIn),
        };
        answer = handle.authenticate_keyboard_interactive_respond(answers).await.map_err(broken)?;
    }
    Err(Failed::NotLetIn)
}

fn fingerprint(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}
