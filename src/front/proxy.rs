//! The PROXY header of a load balancer (`proxy-protocol.txt`, versions 1 and 2): from listed peers demanded, from nobody else read.
//! Absent on purpose: trust in anything else it says.

use std::net::SocketAddr;
use std::time::Duration;

use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longer headers carry extras that nobody needs here.
const LONGEST: usize = 1024;

/// Why there is no client's address.
#[derive(Debug, thiserror::Error)]
pub enum NoHeader {
    /// None, or a broken or too long one.
    #[error("proxy-header-malformed")]
    Malformed,
    /// A header without a client: a health check.
    #[error("proxy-header-without-client")]
    NoClient,
    /// The connection ended or broke.
    #[error("proxy-connection-broken")]
    Io(#[from] std::io::Error),
}

/// Reads the header, and not a byte behind it; gives the client's address. The caller sets the deadline.
pub async fn client(stream: &mut TcpStream) -> Result<SocketAddr, NoHeader> {
    let mut seen = [0; LONGEST];
    let mut before = 0;
    loop {
        let n = stream.peek(&mut seen).await?;
        let header = seen.get(..n).unwrap_or_default();
        let parsed = HeaderResult::parse(header);
        if parsed.is_complete() {
            let (length, client) = client_of(&parsed)?;
            let mut consumed = vec![0; length];
            stream.read_exact(&mut consumed).await?;
            return client.ok_or(NoHeader::NoClient);
        }
        if n == 0
            || n == LONGEST
            || (n == before && stream.ready(tokio::io::Interest::READABLE).await?.is_read_closed())
        {
            return Err(NoHeader::Malformed);
        }
        before = n;
        // What was peeked at stays readable, so there is nothing to wait for but time.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn client_of(parsed: &HeaderResult<'_>) -> Result<(usize, Option<SocketAddr>), NoHeader> {
    match parsed {
        HeaderResult::V1(Ok(header)) => {
            let client = match &header.addresses {
                v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
                v1::Addresses::Tcp6(a) => Some((a.source_address, a.source_port).into()),
                v1::Addresses::Unknown => None,
            };
            Ok((header.header.len(), client))
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match (&header.command, &header.addresses) {
                (v2::Command::Proxy, v2::Addresses::IPv4(a)) => {
                    Some((a.source_address, a.source_port).into())
                }
                (v2::Command::Proxy, v2::Addresses::IPv6(a)) => {
                    Some((a.source_address, a.source_port).into())
                }
                (v2::Command::Proxy, v2::Addresses::Unix(_) | v2::Addresses::Unspecified)
                | (v2::Command::Local, _) => None,
            };
            Ok((header.len(), client))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(NoHeader::Malformed),
    }
}
