//! A visit as the page, the list and the signed report show it. Absent on purpose: any change of it.

use super::{Visit, desk};
use crate::site::desk::{Past, Presence};

/// Deeds that the page shows of somebody who is in.
const SHOWN: usize = 200;

impl Visit {
    pub(super) fn presence(&self) -> Presence {
        let mut at: Vec<String> = self.streams.values().cloned().collect();
        at.dedup();
        Presence {
            visit: self.name.clone(),
            user: self.user.clone(),
            firm: self.firm.clone(),
            since: self.since,
            why: self.why.clone(),
            at,
            deeds: self.deeds.iter().skip(self.deeds.len().saturating_sub(SHOWN)).cloned().collect(),
        }
    }

    pub(super) fn past(&self, reported: bool) -> Past {
        Past {
            visit: self.name.clone(),
            user: self.user.clone(),
            firm: self.firm.clone(),
            why: self.why.clone(),
            since: self.since,
            until: self.last.0.max(self.since),
            ended: self.last.1.as_str().to_owned(),
            deeds: self.deeds.len(),
            reported,
        }
    }

    pub(super) fn report(&self, (site, title): (&str, &str)) -> desk::Visit {
        desk::Visit {
            site: site.to_owned(),
            title: title.to_owned(),
            gateway: self.via.title.clone(),
            past: self.past(true),
            deeds_done: self.deeds.clone(),
            left_out: self.left_out,
            lines: self.lines.clone(),
        }
    }
}
