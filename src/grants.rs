//! The customer's consent as it stands: which firm may work at which site, until when.
//! Absent on purpose: how it is given. Without a switch at the site nobody has given any, and rules that need it refuse.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::names::{Firm, SiteName};

/// The consent of all sites at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    open: BTreeMap<(SiteName, Firm), Timestamp>,
}

impl Snapshot {
    /// A snapshot in which these sites have let these firms in, each until its time.
    pub fn of(open: impl IntoIterator<Item = (SiteName, Firm, Timestamp)>) -> Self {
        Self { open: open.into_iter().map(|(site, firm, until)| ((site, firm), until)).collect() }
    }

    /// Has the site let the firm in at `now`?
    pub fn is_open(&self, site: &SiteName, firm: &Firm, now: Timestamp) -> bool {
        self.open.iter().any(|((s, f), until)| s == site && f == firm && now < *until)
    }
}
