//! An SSH client inside the test: quick enough to come by the hundred, and bound to any loopback address.
//! Absent on purpose: judging the server's key; the system's ssh does that in other tests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Session};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Disconnect, Preferred, client, kex};
use tokio::net::{TcpSocket, TcpStream};

/// Takes any host key.
pub struct Anybody;

impl client::Handler for Anybody {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }

    async fn auth_banner(&mut self, _: &str, _: &mut Session) -> Result<(), russh::Error> {
        Ok(())
    }
}

/// A client that is in.
pub struct Client(Handle<Anybody>);

/// What a command gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The exit code; `None` if the connection ended before it.
    pub code: Option<u32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// 127.0.0.1.
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The same key exchange for every server: curve25519.
pub fn configuration() -> Arc<client::Config> {
    let kex = [
        kex::CURVE25519,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    let preferred = Preferred { kex: kex.to_vec().into(), ..Preferred::default() };
    Arc::new(client::Config { preferred, nodelay: true, ..client::Config::default() })
}

/// A private key in OpenSSH's format.
pub fn key(path: &Path) -> Arc<PrivateKey> {
    Arc::new(PrivateKey::read_openssh_file(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// A TCP connection from this source address.
pub async fn dial(to: SocketAddr, from: IpAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Client {
    /// Key, then the phone where one is asked for. `Ok(None)`: refused.
    pub async fn log_in(
        config: Arc<client::Config>,
        to: SocketAddr,
        from: IpAddr,
        user: &str,
        key: Arc<PrivateKey>,
    ) -> Result<Option<Self>, russh::Error> {
        let mut handle = client::connect_stream(config, dial(to, from).await?, Anybody).await?;
        match handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, None)).await? {
            AuthResult::Success => return Ok(Some(Self(handle))),
            AuthResult::Failure { partial_success: true, .. } => {}
            AuthResult::Failure { partial_success: false, .. } => return Ok(None),
        }
        let mut next = handle.authenticate_keyboard_interactive_start(user, None).await?;
        for _round in 0..20 {
            next = match next {
                KeyboardInteractiveAuthResponse::Success => return Ok(Some(Self(handle))),
                KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(None),
                KeyboardInteractiveAuthResponse::InfoRequest { .. } => {
                    handle.authenticate_keyboard_interactive_respond(Vec::new()).await?
                }
            };
        }
        Ok(None)
    }

    /// Runs one command to its end.
    pub async fn exec(&self, command: &str) -> Result<Answer, russh::Error> {
        let mut channel = self.0.channel_open_session().await?;
        channel.exec(false, command).await?;
        let mut answer = Answer { code: None, stdout: String::new(), stderr: String::new() };
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => answer.stdout.push_str(&String::from_utf8_lossy(&data)),
                ChannelMsg::ExtendedData { data, .. } => {
                    answer.stderr.push_str(&String::from_utf8_lossy(&data));
                }
                ChannelMsg::ExitStatus { exit_status } => answer.code = Some(exit_status),
                _ => {}
            }
        }
        Ok(answer)
    }

    /// Opens a prompt and reads until it is there.
    pub async fn prompt(&self, sign: &[u8]) -> Result<russh::Channel<client::Msg>, russh::Error> {
        let mut channel = self.0.channel_open_session().await?;
        channel.request_pty(false, "xterm", 80, 24, 0, 0, &[]).await?;
        channel.request_shell(false).await?;
        let mut seen = Vec::new();
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::Data { data } = message {
                seen.extend_from_slice(&data);
                if seen.windows(sign.len()).any(|window| window == sign) {
                    return Ok(channel);
                }
            }
        }
        Err(russh::Error::Disconnect)
    }

    /// Opens a direct-tcpip channel and sends one byte through it.
    #[allow(dead_code, reason = "the benches' alone")]
    pub async fn hop(&self, host: &str, port: u16) -> Result<russh::Channel<client::Msg>, russh::Error> {
        let channel = self.0.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 1).await?;
        channel.data_bytes(vec![1]).await?;
        Ok(channel)
    }

    /// Returns when the server has ended the connection; `false` if it does not within `at_most`.
    pub async fn is_ended(&self, at_most: Duration) -> bool {
        let ended = async {
            while !self.0.is_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(at_most, ended).await.is_ok()
    }

    /// Says good-bye and waits for the end.
    pub async fn leave(self) -> Result<(), russh::Error> {
        self.0.disconnect(Disconnect::ByApplication, "", "").await?;
        // The end of the TCP connection, not more: an error there is no news.
        self.0.await.or(Ok(()))
    }
}
