//! Through a practice's proxy: HTTP `CONNECT` and SOCKS 5. Absent on purpose: proxies that want more than a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;
use zeroize::Zeroizing;

use super::Away;
use crate::names::HostPort;
use crate::secret::Secret;

/// A proxy's answer is no longer than that.
const HEADER: usize = 8 << 10;

/// `CONNECT` (RFC 9110 §9.3.6). Not one byte behind the answer's header is taken.
pub(super) async fn connect(
    mut stream: TcpStream,
    to: &HostPort,
    login: Option<&(String, Secret)>,
) -> Result<TcpStream, Away> {
    let mut ask = Zeroizing::new(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n"));
    if let Some((user, password)) = login {
        let both = Zeroizing::new(format!("{user}:{}", password.reveal()));
        let both = Zeroizing::new(STANDARD.encode(both.as_bytes()));
        ask.push_str("Proxy-Authorization: Basic ");
        ask.push_str(&both);
        ask.push_str("\r\n");
    }
    ask.push_str("\r\n");
    stream.write_all(ask.as_bytes()).await.map_err(Away::Refused)?;
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n\r\n") {
        if header.len() >= HEADER {
            return Err(Away::Proxy("its answer is too long".into()));
        }
        header.push(stream.read_u8().await.map_err(|e| Away::Proxy(format!("it closed: {}", e.kind())))?);
    }
    match status(&header) {
        Some(200..=299) => Ok(stream),
        Some(504) => Err(Away::ProxyNoWay("504".into())),
        Some(407) => Err(Away::Proxy("407: it wants another user or password".into())),
        Some(code) => Err(Away::Proxy(format!("it answers {code}"))),
        None => Err(Away::Proxy("it speaks no HTTP".into())),
    }
}

/// `HTTP/1.1 200 …` → 200
fn status(header: &[u8]) -> Option<u16> {
    let line = header.split(|b| *b == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let code = rest.split(' ').next()?;
    let digits = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| code.parse().ok()).flatten()
}

/// SOCKS 5 (RFC 1928, 1929); the proxy looks the name up.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "three of its causes say that there is no way; all others are a no"
)]
pub(super) async fn socks(
    stream: TcpStream,
    to: &HostPort,
    login: Option<&(String, Secret)>,
) -> Result<TcpStream, Away> {
    use tokio_socks::Error;
    let target = (to.host(), to.port());
    let made = match login {
        None => Socks5Stream::connect_with_socket(stream, target).await,
        Some((user, password)) => {
            Socks5Stream::connect_with_password_and_socket(stream, target, user, password.reveal()).await
        }
    };
    made.map(Socks5Stream::into_inner).map_err(|e| match e {
        Error::NetworkUnreachable | Error::HostUnreachable | Error::TtlExpired => {
            Away::ProxyNoWay(e.to_string())
        }
        // Its words are its own kinds, without what was sent.
        other => Away::Proxy(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_digits_of_http() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407 x\r\n"), Some(407));
        assert_eq!(status(b"HTTP/1.1 502\r\n"), Some(502));
        for bad in ["", "SSH-2.0-x\r\n", "HTTP/2 200\r\n", "HTTP/1.1 +20\r\n", "HTTP/1.1 2000\r\n"] {
            assert_eq!(status(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
