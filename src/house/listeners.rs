//! Where the gateway listens. Absent on purpose: accepting.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel holds until we take them. More come in an instant when all sites come back, and one that finds no
/// room there, a technician's too, tries again only after a second.
const BACKLOG: u32 = 4096;

/// Listens at all of them; the addresses have their ports then.
pub(super) fn bound(addresses: &[SocketAddr]) -> anyhow::Result<(Vec<TcpListener>, Vec<SocketAddr>)> {
    let listen = |address: &SocketAddr| listener(*address).with_context(|| format!("listen on {address}"));
    let listeners: Vec<_> = addresses.iter().map(listen).collect::<Result<_, _>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    Ok((listeners, addresses))
}

fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As everywhere: what is left of former connections keeps nobody from listening.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
