//! Streams to a site over its own link, each opened on somebody's behalf and for one purpose.
//! Absent on purpose: which link; whoever holds them chooses.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::link::frames::{Head, Reply};
use crate::link::{Stream, read_line, write_line};
use crate::names::SiteName;

/// Why there is no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStream {
    /// The site has no link to any gateway now.
    #[error("site-not-linked")]
    NotLinked,
    /// The link broke, or the site did not answer as it has to.
    #[error("link-broken")]
    Broken,
}

/// Opens streams to sites.
#[async_trait]
pub trait Streams: Send + Sync {
    /// A stream to this site on which the head was said, and what the site answered; it may be no.
    ///
    /// # Errors
    /// [`NoStream`]; whoever waits longer than they like drops it.
    async fn open(&self, site: &SiteName, head: &Head) -> Result<(Stream, Reply), NoStream>;
}

/// Says the head on a fresh stream and waits for the answer. What follows is left in the stream.
///
/// # Errors
/// [`NoStream::Broken`], also after `patience`.
pub async fn ask(mut stream: Stream, head: &Head, patience: Duration) -> Result<(Stream, Reply), NoStream> {
    let asked = async {
        write_line(&mut stream, head).await.ok()?;
        read_line::<Reply>(&mut stream).await.ok()
    };
    match timeout(patience, asked).await {
        Ok(Some(reply)) => Ok((stream, reply)),
        Ok(None) | Err(_) => Err(NoStream::Broken),
    }
}
