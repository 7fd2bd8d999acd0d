//! Streams to a site over its own link, each opened on somebody's behalf and for one purpose.
//! Absent on purpose: which link; whoever holds them chooses.

use async_trait::async_trait;

use super::{NoWay, Uplinks};
use crate::link::Stream;
use crate::link::frames::{Head, Reply};
use crate::names::SiteName;

/// Opens streams to sites.
#[async_trait]
pub trait Streams: Send + Sync {
    /// A stream to this site on which the head was said, and the [`Reply::Open`] that the site answered.
    ///
    /// # Errors
    /// [`NoWay`]; nothing is open then.
    async fn open(&self, site: &SiteName, head: &Head) -> Result<(Stream, Reply), NoWay>;
}

#[async_trait]
impl Streams for Uplinks {
    async fn open(&self, site: &SiteName, head: &Head) -> Result<(Stream, Reply), NoWay> {
        Self::open(self, site, head).await
    }
}
