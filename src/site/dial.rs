//! TCP from the site: to a gateway, through a proxy if `site.toml` says so, and to what it lists. Nothing else is dialled.
//! Absent on purpose: an address that a gateway sent. What it asks for is looked up in the list first.

mod proxy;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::config::{Gateway, ProxyKind};
use crate::names::HostPort;

/// How long what `site.toml` lists may take to answer.
const TARGET: Duration = Duration::from_secs(8);
/// For a gateway: a name's look-up, and a connection. Short, for a network that comes back is only found by trying again.
const GATEWAY: Duration = Duration::from_secs(3);
/// For what a proxy has to say.
const PROXY: Duration = Duration::from_secs(10);
/// Addresses of one name, at most.
const ADDRESSES: usize = 4;
/// The next address of a name is tried after so long, as well.
const STAGGER: Duration = Duration::from_millis(300);

/// Why nobody was reached.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// Its name leads nowhere.
    #[error("no-address: {0}")]
    NoAddress(io::Error),
    /// Its name leads to what is no host: everybody, nobody, a group.
    #[error("bad-address: {0}")]
    BadAddress(IpAddr),
    /// It said no, or there is no way to it.
    #[error("connect-failed: {0}")]
    Refused(io::Error),
    /// It said nothing.
    #[error("connect-timeout")]
    Silent,
    /// The proxy says no.
    #[error("proxy: {0}")]
    Proxy(String),
    /// The proxy finds no way.
    #[error("proxy-no-way: {0}")]
    ProxyNoWay(String),
}

impl Away {
    /// Is it the network that is away, not somebody who said no?
    pub fn is_network(&self) -> bool {
        match self {
            Self::NoAddress(_) | Self::Silent | Self::ProxyNoWay(_) => true,
            Self::BadAddress(_) | Self::Proxy(_) => false,
            Self::Refused(e) => {
                !matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
            }
        }
    }
}

/// Dials what `site.toml` lists.
///
/// # Errors
/// [`Away`], after 8 s at the latest.
pub async fn target(address: &HostPort) -> Result<TcpStream, Away> {
    let dialling = async {
        let stream = raced(look_up(address).await?).await?;
        prepare(&stream, Duration::from_secs(30), 90_000).map_err(Away::Refused)?;
        Ok(stream)
    };
    tokio::time::timeout(TARGET, dialling).await.unwrap_or(Err(Away::Silent))
}

/// Dials a gateway at one of its addresses.
///
/// # Errors
/// [`Away`]
pub async fn gateway(gateway: &Gateway, address: &HostPort) -> Result<TcpStream, Away> {
    let first = gateway.proxy.as_ref().map_or(address, |proxy| &proxy.address);
    let found = tokio::time::timeout(GATEWAY, look_up(first)).await.unwrap_or(Err(Away::Silent))?;
    let stream = tokio::time::timeout(GATEWAY, raced(found)).await.unwrap_or(Err(Away::Silent))?;
    // A dead way is found by our own words on the link too; TCP finds it where we wait for the first ones.
    prepare(&stream, Duration::from_secs(15), 40_000).map_err(Away::Refused)?;
    let Some(proxy) = &gateway.proxy else { return Ok(stream) };
    let through = async {
        match proxy.kind {
            ProxyKind::Http => proxy::connect(stream, address, proxy.login.as_ref()).await,
            ProxyKind::Socks5 => proxy::socks(stream, address, proxy.login.as_ref()).await,
        }
    };
    tokio::time::timeout(PROXY, through).await.unwrap_or(Err(Away::Silent))
}

/// Where a name leads.
///
/// # Errors
/// [`Away`]: nowhere, or to what is no host.
pub async fn look_up(address: &HostPort) -> Result<Vec<SocketAddr>, Away> {
    let found = tokio::net::lookup_host((address.host(), address.port())).await.map_err(Away::NoAddress)?;
    let mut last = Away::NoAddress(io::ErrorKind::NotFound.into());
    let mut good = Vec::new();
    for address in found.take(ADDRESSES) {
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255]) {
            last = Away::BadAddress(ip);
        } else {
            good.push(address);
        }
    }
    if good.is_empty() { Err(last) } else { Ok(good) }
}

/// The first one that answers; a broken IPv6 holds nobody up (after RFC 8305).
async fn raced(addresses: Vec<SocketAddr>) -> Result<TcpStream, Away> {
    let dial = async |(at, address): (u32, SocketAddr)| {
        tokio::time::sleep(STAGGER * at).await;
        #[expect(clippy::disallowed_methods, reason = "the address is of site.toml")]
        TcpStream::connect(address).await
    };
    let mut dialled: FuturesUnordered<_> = (0..).zip(addresses).map(dial).collect();
    let mut last = Away::Silent;
    while let Some(done) = dialled.next().await {
        match done {
            Ok(stream) => return Ok(stream),
            Err(e) => last = Away::Refused(e),
        }
    }
    Err(last)
}

/// No Nagle; dead peers found by TCP.
fn prepare(stream: &TcpStream, idle: Duration, unanswered_millis: u32) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, idle)?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, unanswered_millis)?;
    Ok(())
}
