//! SSH to a gateway: its pinned key checked, our key shown, one channel with the link's subsystem.
//! Absent on purpose: anything else that SSH can do. What the gateway opens unasked is refused.

use std::borrow::Cow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, ChannelOpenHandle, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{
    Channel, ChannelMsg, ChannelOpenFailure, ChannelStream, Disconnect, Preferred, SshId, cipher,
    compression, kex, mac,
};
use ssh_key::{Algorithm, HashAlg, PrivateKey, PublicKey};
use tokio::net::TcpStream;

use crate::link;
use crate::names::SiteName;

/// For the handshake, the login and the subsystem. Long: after its restart a gateway lets its sites wait for their turn.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum NoLine {
    /// It has another key than the pinned one; nothing was sent to it.
    #[error("other-key: {0}")]
    OtherKey(String),
    /// It does not know our key.
    #[error("not-let-in")]
    NotLetIn,
    /// It gives no link.
    #[error("no-subsystem")]
    NoSubsystem,
    /// It speaks no SSH that we accept, or broke off.
    #[error("handshake: {0}")]
    Handshake(String),
    /// It took too long.
    #[error("handshake-timeout")]
    Slow,
}

/// A logged-in connection. Dropped, it is cut.
pub struct Line {
    handle: client::Handle<Guest>,
    _cut: Cut,
}

/// Shuts the connection down: russh's task has the socket, and would wait for the gateway for ever.
struct Cut(OwnedFd);

impl Drop for Cut {
    fn drop(&mut self) {
        rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both).ok();
    }
}

impl Line {
    /// Says good-bye, then cuts it.
    pub async fn leave(self) {
        let bye = self.handle.disconnect(Disconnect::ByApplication, "", "en");
        tokio::time::timeout(Duration::from_secs(1), bye).await.ok();
    }
}

/// Over `stream` to a gateway: proves both, and asks for the subsystem.
///
/// # Errors
/// [`NoLine`]
pub async fn open(
    stream: TcpStream,
    site: &SiteName,
    key: Arc<PrivateKey>,
    pinned: &PublicKey,
) -> Result<(Line, ChannelStream<Msg>), NoLine> {
    let cut = Cut(stream.as_fd().try_clone_to_owned().map_err(|e| NoLine::Handshake(e.to_string()))?);
    // On every way out of here the connection is cut, russh's task with it.
    let opening = opened(stream, site, key, pinned, cut);
    tokio::time::timeout(PATIENCE, opening).await.unwrap_or(Err(NoLine::Slow))
}

async fn opened(
    stream: TcpStream,
    site: &SiteName,
    key: Arc<PrivateKey>,
    pinned: &PublicKey,
    cut: Cut,
) -> Result<(Line, ChannelStream<Msg>), NoLine> {
    let broken = |e: russh::Error| NoLine::Handshake(e.to_string());
    let seen = Arc::new(Mutex::new(None));
    let guest = Guest { pinned: pinned.clone(), seen: seen.clone() };
    let made = client::connect_stream(Arc::new(configuration(pinned)), stream, guest).await;
    let presented = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut handle = match (made, presented) {
        (Ok(handle), _) => handle,
        (Err(russh::Error::UnknownKey), Some(other)) => return Err(NoLine::OtherKey(other)),
        (Err(russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, theirs, .. }), _) => {
            return Err(NoLine::OtherKey(theirs.join(",")));
        }
        (Err(e), _) => return Err(broken(e)),
    };
    let key = PrivateKeyWithHashAlg::new(key, None);
    let let_in = handle.authenticate_publickey(link::login(site), key).await.map_err(broken)?;
    if !let_in.success() {
        return Err(NoLine::NotLetIn);
    }
    let mut channel = handle.channel_open_session().await.map_err(broken)?;
    channel.request_subsystem(true, link::SUBSYSTEM).await.map_err(broken)?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => break,
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            _ => return Err(NoLine::NoSubsystem),
        }
    }
    Ok((Line { handle, _cut: cut }, channel.into_stream()))
}

/// As strict as the gateway's own; the pinned key's algorithm alone.
fn configuration(pinned: &PublicKey) -> client::Config {
    let key = if matches!(pinned.algorithm(), Algorithm::Rsa { .. }) {
        [HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) }).to_vec()
    } else {
        vec![pinned.algorithm()]
    };
    let kex = [
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        // Without these four, strict key exchange (CVE-2023-48795) is silently off.
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(link::IDENT)),
        window_size: 1 << 20,
        maximum_packet_size: 32 << 10,
        channel_buffer_size: 64,
        preferred: Preferred {
            kex: kex.to_vec().into(),
            key: key.into(),
            cipher: vec![cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM].into(),
            mac: vec![mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM].into(),
            compression: vec![compression::NONE].into(),
            ..Preferred::default()
        },
        // The link has words of its own for that.
        keepalive_interval: None,
        inactivity_timeout: Some(link::SILENCE * 4),
        nodelay: true,
        ..client::Config::default()
    }
}

/// russh's callbacks: the gateway's key is checked, and no channel that it opens is taken.
struct Guest {
    pinned: PublicKey,
    seen: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Guest {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let presented = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => key,
            // None is asked for.
            PublicKeyOrCertificate::Certificate(_) => return Ok(false),
        };
        let good = self.pinned.key_data() == presented.key_data();
        if !good {
            let shown = presented.fingerprint(HashAlg::Sha256).to_string();
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        }
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
