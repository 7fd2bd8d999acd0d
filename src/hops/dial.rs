//! A TCP connection to a host of a site. The one place from where hosts are dialled.
//! Absent on purpose: an address that somebody sent. What is dialled is what the permit's target says.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::asks::{Hop, Relay};
use crate::journal::started::Started;
use crate::names::HostPort;

/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// Why a host could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// Its name leads nowhere.
    #[error("no-address: {0}")]
    NoAddress(std::io::Error),
    /// Its name leads to what is no host: everybody, nobody, a group (R63).
    #[error("bad-address: {0}")]
    BadAddress(IpAddr),
    /// It said no, or nobody is there.
    #[error("connect-failed: {0}")]
    Refused(std::io::Error),
    /// It said nothing.
    #[error("connect-timeout")]
    Silent,
}

/// What shows that a host may be dialled: work that is permitted and journalled.
pub trait MayDial {}
impl MayDial for Started<Hop> {}
impl MayDial for Started<Relay> {}

/// Dials `address`, which `started`'s target has in its site's file.
pub async fn dial<S: MayDial>(_started: &S, address: &HostPort) -> Result<TcpStream, Away> {
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((address.host(), address.port())));
    let found = found.await.map_err(|_| Away::Silent)?.map_err(Away::NoAddress)?;
    let mut last = Away::NoAddress(std::io::ErrorKind::NotFound.into());
    for address in found.take(4) {
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255]) {
            last = Away::BadAddress(ip);
            continue;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the address is of policy/sites, and a permit was shown"
        )]
        let connecting = TcpStream::connect(address);
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(Ok(stream)) => {
                prepare(&stream).map_err(Away::Refused)?;
                return Ok(stream);
            }
            Ok(Err(e)) => last = Away::Refused(e),
            Err(_) => last = Away::Silent,
        }
    }
    Err(last)
}

/// As towards the technician: no Nagle, dead peers found by TCP.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, 90_000)?;
    Ok(())
}
