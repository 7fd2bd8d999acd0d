//! What the journal says about a site goes to that site too, byte by byte: the customer reads what was done there, and can hold it
//! against the gateway's journal. Absent on purpose: anything about other sites.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Uplinks;
use crate::journal::Tapped;
use crate::link::frames::ToSite;

impl Uplinks {
    /// Passes on what the journal has written, until it closes. A site that takes nothing misses lines, and nobody waits for it.
    pub async fn tell(self: Arc<Self>, mut lines: mpsc::Receiver<Tapped>) {
        while let Some(Tapped { site, line }) = lines.recv().await {
            let Some(link) = self.link(&site) else { continue };
            if link.tell.try_send(Box::new(ToSite::Told { line })).is_err() {
                tracing::debug!(%site, "a line for the site is dropped: it takes nothing");
            }
        }
    }
}
