//! May this be done without a person? Only what a `[[schedule]]` of the site's own file orders.
//! Absent on purpose: rules.toml; it is about persons, and there is none here.

use std::sync::Arc;

use super::{Denied, Policy};
use crate::asks::Chore;
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
    pub fn standing(
        &self,
        konnektor: &KonnektorId,
        place: &str,
        what: Routinely,
    ) -> Result<Standing, Denied> {
        let order = self.orders.iter().find(|order| order.konnektor == *konnektor && *order.place == *place);
        let order = order.ok_or(Denied::NoRule)?;
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
        let ask = |konnektor, place| policy.standing(&id(konnektor), place, Routinely::Backup);
        let (_, rule, chore) = ask("praxis/main", "praxis.toml:12").ok().unwrap().into_parts();
        assert_eq!((&*rule, chore.as_asked().as_str()), ("praxis.toml:12", "konnektor backup -s ntpservice"));
        for (konnektor, place) in [
            ("praxis/second", "praxis.toml:12"),
            ("other/main", "praxis.toml:12"),
            ("praxis/main", "praxis.toml:13"),
        ] {
            assert_eq!(ask(konnektor, place).err(), Some(Denied::NoRule), "{konnektor} {place}");
        }
        let none = Policy::default().standing(&id("praxis/main"), "praxis.toml:12", Routinely::Tidy);
        assert_eq!(none.err(), Some(Denied::NoRule));
    }
}
