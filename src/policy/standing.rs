//! May this be done without a person? Only what a `[[schedule]]` of the site's own file orders.
//! Absent on purpose: rules.toml; it is about persons, and there is none here.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Denied, Policy};
use crate::asks::{Chore, Family};
use crate::grants::Snapshot;
use crate::names::{KonnektorId, ServiceName};

/// One `[[schedule]]`, as far as it permits something.
pub(super) struct Order {
    pub(super) konnektor: KonnektorId,
    /// `praxis-mueller.toml:12`
    pub(super) place: Arc<str>,
    pub(super) services: Vec<ServiceName>,
}

/// The site's file orders this. Made by [`Policy::standing`] alone; opens nothing until it is in the journal.
pub struct Standing {
    konnektor: KonnektorId,
    rule: Arc<str>,
    chore: Chore,
}

impl Standing {
    /// The box.
    pub fn konnektor(&self) -> &KonnektorId {
        &self.konnektor
    }

    /// Takes it apart; the journal does that when it starts the work.
    pub(crate) fn into_parts(self) -> (KonnektorId, Arc<str>, Chore) {
        (self.konnektor, self.rule, self.chore)
    }
}

/// What a schedule can have done; which services a backup is of stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routinely {
    /// [`Chore::Backup`]
    Backup,
    /// [`Chore::Check`]
    Check,
    /// [`Chore::Tidy`]
    Tidy,
}

impl Policy {
    /// Does the schedule at `place` (`praxis-mueller.toml:12`) order this of `konnektor`?
    /// A site that is reached over its own link has the last word on what reaches into it.
    pub fn standing(
        &self,
        konnektor: &KonnektorId,
        place: &str,
        what: Routinely,
        (grants, now): (&Snapshot, Timestamp),
    ) -> Result<Standing, Denied> {
        let order = self.orders.iter().find(|order| order.konnektor == *konnektor && *order.place == *place);
        let order = order.ok_or(Denied::NoRule)?;
        if what == Routinely::Backup && self.links.contains(&konnektor.site) {
            let family = Family::KonnektorBackup.as_str();
            let lets = grants.open_to_schedule(&konnektor.site, family, now);
            lets.map_err(|missing| Denied::NoConsent { rule: order.place.clone(), missing })?;
        }
        let chore = match what {
            Routinely::Backup => Chore::Backup { services: order.services.clone() },
            Routinely::Check => Chore::Check,
            Routinely::Tidy => Chore::Tidy,
        };
        Ok(Standing { konnektor: konnektor.clone(), rule: order.place.clone(), chore })
    }

    /// Is there a schedule of this box?
    pub fn orders_anything_of(&self, konnektor: &KonnektorId) -> bool {
        self.orders.iter().any(|order| order.konnektor == *konnektor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_orders_is_denied_another_box_and_another_line_too() {
        let id = |text: &str| {
            let (site, konnektor) = text.split_once('/').unwrap();
            KonnektorId { site: site.parse().unwrap(), konnektor: konnektor.parse().unwrap() }
        };
        let services = vec!["ntpservice".parse().unwrap()];
        let order = Order { konnektor: id("praxis/main"), place: "praxis.toml:12".into(), services };
        let policy = Policy { orders: vec![order], ..Policy::default() };
        let now = "2026-11-21T16:00:00Z".parse().unwrap();
        let nobody = Snapshot::default();
        let ask =
            |konnektor, place| policy.standing(&id(konnektor), place, Routinely::Backup, (&nobody, now));
        let (_, rule, chore) = ask("praxis/main", "praxis.toml:12").ok().unwrap().into_parts();
        assert_eq!((&*rule, chore.as_asked().as_str()), ("praxis.toml:12", "konnektor backup -s ntpservice"));
        for (konnektor, place) in [
            ("praxis/second", "praxis.toml:12"),
            ("other/main", "praxis.toml:12"),
            ("praxis/main", "praxis.toml:13"),
        ] {
            assert_eq!(ask(konnektor, place).err(), Some(Denied::NoRule), "{konnektor} {place}");
        }
        let main = id("praxis/main");
        let none = Policy::default().standing(&main, "praxis.toml:12", Routinely::Tidy, (&nobody, now));
        assert_eq!(none.err(), Some(Denied::NoRule));
        // Over a link, the site is asked too, but for what is kept here.
        let linked = Policy { links: [main.site.clone()].into(), ..policy };
        let at_link = |what| linked.standing(&main, "praxis.toml:12", what, (&nobody, now));
        assert!(matches!(at_link(Routinely::Backup), Err(Denied::NoConsent { .. })));
        assert!(at_link(Routinely::Check).is_ok());
    }
}
