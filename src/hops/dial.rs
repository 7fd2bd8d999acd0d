//! A connection to a host of a site: over TCP, or through the site's own link. The one place from where hosts are reached.
//! Absent on purpose: an address that somebody sent. What is dialled is what the permit's target says.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::Target;
use crate::asks::{Ask, Hop, Relay};
use crate::flow::Socket;
use crate::journal::started::Started;
use crate::link::Stream;
use crate::link::frames::{Head, Visitor, Wish};
use crate::names::HostPort;
use crate::uplink::NoWay;

/// What a way over a link holds in each direction, beside the kernel.
const PIECE: usize = 32 << 10;
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
    /// The site's file has it no longer.
    #[error("host-gone")]
    Gone,
    /// The site's link does not lead there.
    #[error(transparent)]
    Link(#[from] NoWay),
}

/// What shows that a host may be dialled: work that is permitted and journalled.
pub trait MayDial {
    /// On whose behalf, for the site.
    fn visitor(&self) -> Visitor;
}

impl MayDial for Started<Hop> {
    fn visitor(&self) -> Visitor {
        visitor(self)
    }
}

impl MayDial for Started<Relay> {
    fn visitor(&self) -> Visitor {
        visitor(self)
    }
}

fn visitor<A: Ask>(started: &Started<A>) -> Visitor {
    let (who, ask) = (started.who(), started.ask());
    Visitor {
        user: who.user().to_string(),
        session: who.connection().session.to_string(),
        family: ask.family().as_str().to_owned(),
        command: String::from_utf8_lossy(ask.confirmed_as()).into_owned(),
    }
}

/// Reaches the host that `started` is about, at the address that its site's file has.
pub async fn dial<S: MayDial>(started: &S, target: &Target) -> Result<Socket, Away> {
    let address = &target.host().ok_or(Away::Gone)?.address;
    match target.link() {
        None => direct(address).await.map(Socket::Tcp),
        Some(links) => {
            let head = Head { visitor: started.visitor(), wish: Wish::dial(address) };
            let (stream, _) = links.open(&target.site, &head).await?;
            bridge(stream).map_err(Away::Refused)
        }
    }
}

/// A socket whose other end goes over the link, each direction ended by itself.
fn bridge(mut stream: Stream) -> std::io::Result<Socket> {
    let (ours, mut theirs) = UnixStream::pair()?;
    tokio::spawn(async move {
        let both = tokio::io::copy_bidirectional_with_sizes(&mut theirs, &mut stream, PIECE, PIECE);
        if let Err(e) = both.await {
            tracing::debug!("a way over a link broke: {e}");
        }
    });
    Ok(Socket::Pair(ours))
}

async fn direct(address: &HostPort) -> Result<TcpStream, Away> {
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
