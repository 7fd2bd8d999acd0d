//! The one inner door: decide, then journal; the only caller of both.
//! Absent on purpose: running anything, and SSH.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::asks::{Ask, Command, Draft, Family, Order, Verb, Which};
use crate::clock::Clock;
use crate::grants::{Missing, Snapshot};
use crate::identity::Who;
use crate::identity::second_factor::Confirmation;
use crate::journal::started::{Routine, Started, of, scheduled};
use crate::journal::{CannotJournal, Entry, Event, Journal};
use crate::names::{KonnektorId, KonnektorName, SiteName};
use crate::policy::{Denied, Policy, Routinely, Terms, decide};

/// What the gate goes by; changed as a whole when files change.
pub struct Rules {
    /// Who may do what where.
    pub policy: Policy,
    /// The Konnektors of each site.
    pub konnektors: BTreeMap<SiteName, BTreeSet<KonnektorName>>,
}

/// The inner door.
pub struct Gate {
    rules: ArcSwap<Rules>,
    grants: ArcSwap<Snapshot>,
    journal: Journal,
    clock: Clock,
}

/// Why the door stays shut. The refusal is in the journal already, unless it is that it cannot be.
#[derive(Debug)]
pub enum Refused {
    /// The policy says no.
    Denied {
        /// What was asked for.
        family: Family,
        /// Where.
        site: Option<SiteName>,
        /// Why not.
        why: Denied,
    },
    /// It is not clear which Konnektor is meant.
    Unsettled(Unsettled),
    /// The journal cannot be written: no new work.
    CannotJournal(CannotJournal),
}

/// Why `-i` is needed, or does not help.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// Nothing of the kind is permitted anywhere.
    Nowhere(Family),
    /// More than one is; these.
    Several(Vec<KonnektorId>),
    /// The site has none, or none of that name; it has these.
    NoSuch(SiteName, Vec<KonnektorName>),
}

impl Gate {
    /// A gate that goes by `rules` until they change.
    pub fn new(rules: Rules, journal: Journal, clock: Clock) -> Self {
        let grants = ArcSwap::from_pointee(Snapshot::default());
        Self { rules: ArcSwap::from_pointee(rules), grants, journal, clock }
    }

    /// From the next ask on, these rules count.
    pub fn change(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// Is this site reached over its own link?
    pub fn is_over_a_link(&self, site: &SiteName) -> bool {
        self.rules.load().policy.is_over_a_link(site)
    }

    /// The consent that counts now.
    pub fn consented(&self) -> Arc<Snapshot> {
        self.grants.load_full()
    }

    /// From the next ask on, this consent counts.
    pub fn consent(&self, grants: Snapshot) {
        self.grants.store(Arc::new(grants));
    }

    /// Opens for `ask`, or says why not. Either way it is in the journal when this returns; only then may anything happen.
    pub async fn open<A: Ask>(
        &self,
        ask: A,
        who: &Who,
        confirmation: Option<&Confirmation>,
    ) -> Result<Started<A>, Refused> {
        let rules = self.rules.load_full();
        let grants = self.grants.load_full();
        match decide(&rules.policy, ask, who, &grants, self.clock.now(), confirmation) {
            Ok(permit) => self.journal.start(permit, &self.clock).await.map_err(Refused::CannotJournal),
            Err((ask, why)) => {
                // Asked back for a confirmation is no refusal yet; the answer to it is.
                if !matches!(why, Denied::NeedsConfirmation { .. }) {
                    let line =
                        Entry { site: ask.site().cloned(), target: ask.target(), ..of(who, Event::Refused) };
                    self.refused(line, why.cause(), why.rule(), ask.as_asked()).await?;
                }
                Err(Refused::Denied { family: ask.family(), site: ask.site().cloned(), why })
            }
        }
    }

    /// Opens for what the schedule at `place` orders of a box; there is no person, so nothing else opens it.
    pub async fn open_standing(
        &self,
        konnektor: &KonnektorId,
        place: &str,
        what: Routinely,
    ) -> Result<Routine, Refused> {
        let rules = self.rules.load_full();
        let grants = self.grants.load_full();
        match rules.policy.standing(konnektor, place, what, (&grants, self.clock.now())) {
            Ok(standing) => {
                self.journal.start_standing(standing, &self.clock).await.map_err(Refused::CannotJournal)
            }
            Err(why) => {
                let line = scheduled(konnektor, Event::Refused);
                self.refused(line, why.cause(), Some(place), b"").await?;
                let family = Family::KonnektorBackup;
                Err(Refused::Denied { family, site: Some(konnektor.site.clone()), why })
            }
        }
    }

    /// Does the site's file still order anything of this box? At another line it is the same order.
    pub fn still_stands(&self, konnektor: &KonnektorId) -> bool {
        self.rules.load().policy.orders_anything_of(konnektor)
    }

    /// Is what runs no longer permitted? Then that is written down, and the reason comes back.
    pub async fn withdrawn<A: Ask>(&self, ask: &A, who: &Who) -> Option<Refused> {
        let (family, site) = (ask.family(), ask.site());
        let why = {
            let (rules, grants) = (self.rules.load(), self.grants.load());
            rules.policy.still(who, ask, &grants, self.clock.now()).err()?
        };
        let line = Entry { site: site.cloned(), target: ask.target(), ..of(who, Event::Refused) };
        let cause = format!("withdrawn: {}", why.cause());
        if let Err(refused) = self.refused(line, &cause, why.rule(), ask.as_asked()).await {
            return Some(refused);
        }
        Some(Refused::Denied { family, site: site.cloned(), why })
    }

    /// As [`Gate::withdrawn`], and whether what the rule allowed beyond the ask is gone.
    pub async fn withdrawn_from<A: Ask>(&self, started: &Started<A>) -> Option<Refused> {
        let (ask, who) = (started.ask(), started.who());
        if let Some(refused) = self.withdrawn(ask, who).await {
            return Some(refused);
        }
        let had = started.allowances();
        let has = {
            let (rules, grants) = (self.rules.load(), self.grants.load());
            rules.policy.allowances(who, ask, &grants, self.clock.now()).unwrap_or_default()
        };
        if (has.any_firmware || !had.any_firmware) && (has.spelled_out || !had.spelled_out) {
            return None;
        }
        let line = Entry { site: ask.site().cloned(), target: ask.target(), ..of(who, Event::Refused) };
        match self.refused(line, "withdrawn: allowance", None, ask.as_asked()).await {
            Ok(()) => {
                Some(Refused::Denied { family: ask.family(), site: ask.site().cloned(), why: Denied::NoRule })
            }
            Err(refused) => Some(refused),
        }
    }

    /// Settles which Konnektor is meant. What cannot be settled is refused, and that is in the journal.
    pub async fn settle(&self, draft: Draft, who: &Who) -> Result<Command, Refused> {
        let rules = self.rules.load_full();
        let Draft { verb, as_asked } = draft;
        let family = verb.family();
        if let Verb::Order(order) = &verb {
            self.orderable(&rules, order, who, &as_asked).await?;
        }
        match verb.settle(|which| self.which(&rules, which, family, who)) {
            Ok(verb) => Ok(Command { verb, as_asked }),
            Err(unsettled) => {
                let cause = match &unsettled {
                    Unsettled::Nowhere(_) => "no-rule",
                    Unsettled::Several(_) => "several-konnektors",
                    Unsettled::NoSuch(..) => "no-such-konnektor",
                };
                self.refused(of(who, Event::Refused), cause, None, &as_asked).await?;
                Err(Refused::Unsettled(unsettled))
            }
        }
    }

    /// Everything that an order names has to be permitted in orders; the first that is not is the refusal.
    async fn orderable(
        &self,
        rules: &Rules,
        order: &Order,
        who: &Who,
        as_asked: &[u8],
    ) -> Result<(), Refused> {
        let (grants, now) = (self.grants.load_full(), self.clock.now());
        for site in &order.sites {
            for family in &order.may {
                let Err(why) = rules.policy.orderable(who, *family, site, order.lasts, &grants, now) else {
                    continue;
                };
                let line = Entry { site: Some(site.clone()), ..of(who, Event::Refused) };
                self.refused(line, why.cause(), why.rule(), as_asked).await?;
                return Err(Refused::Denied { family: *family, site: Some(site.clone()), why });
            }
        }
        Ok(())
    }

    /// Writes down what did not even parse, or was refused for another reason before it came to the policy (R11).
    pub async fn refuse(&self, who: &Who, cause: &str, as_asked: &[u8]) -> Result<(), Refused> {
        self.refused(of(who, Event::Refused), cause, None, as_asked).await
    }

    async fn refused(
        &self,
        line: Entry,
        cause: &str,
        rule: Option<&str>,
        as_asked: &[u8],
    ) -> Result<(), Refused> {
        let line = Entry {
            cause: Some(cause.to_owned()),
            rule: rule.map(ToOwned::to_owned),
            command: Some(as_asked.to_vec()),
            ..line
        };
        self.journal.append(line).await.map(|_| ()).map_err(Refused::CannotJournal)
    }

    fn which(
        &self,
        rules: &Rules,
        which: Which,
        family: Family,
        who: &Who,
    ) -> Result<KonnektorId, Unsettled> {
        let permitted = rules.policy.sites_for(who, family, self.clock.now());
        let (site, named) = match which {
            Which::Only => {
                let mut all = permitted.iter().flat_map(|site| {
                    let boxes = rules.konnektors.get(site).into_iter().flatten();
                    boxes.map(|konnektor| KonnektorId { site: site.clone(), konnektor: konnektor.clone() })
                });
                return match (all.next(), all.next()) {
                    (None, _) => Err(Unsettled::Nowhere(family)),
                    (Some(only), None) => Ok(only),
                    (Some(first), Some(second)) => {
                        Err(Unsettled::Several([first, second].into_iter().chain(all).collect()))
                    }
                };
            }
            Which::At(site) => (site, None),
            Which::Exactly(id) => (id.site, Some(id.konnektor)),
        };
        // Of a site that is not permitted nothing is told, not even whether it is there: the policy refuses it.
        let boxes: Vec<KonnektorName> = match rules.konnektors.get(&site) {
            Some(boxes) if permitted.contains(&site) => boxes.iter().cloned().collect(),
            Some(_) | None => {
                let unknown = || "unknown".parse().map_err(|_| Unsettled::Nowhere(family));
                return Ok(KonnektorId { konnektor: named.map_or_else(unknown, Ok)?, site });
            }
        };
        match (named, boxes.as_slice()) {
            (Some(named), _) if boxes.contains(&named) => Ok(KonnektorId { site, konnektor: named }),
            (None, [only]) => Ok(KonnektorId { site, konnektor: only.clone() }),
            (None, [_, _, ..]) => Err(Unsettled::Several(
                boxes.into_iter().map(|konnektor| KonnektorId { site: site.clone(), konnektor }).collect(),
            )),
            (Some(_) | None, _) => Err(Unsettled::NoSuch(site, boxes)),
        }
    }

    /// The sites where this person may do something of `family`.
    pub fn sites_for(&self, who: &Who, family: Family) -> Vec<SiteName> {
        self.rules.load().policy.sites_for(who, family, self.clock.now())
    }

    /// Why would, or would not, this person be let?
    pub fn explain(&self, who: &Who, family: Family, site: &SiteName) -> Result<Terms, Denied> {
        self.rules.load().policy.explain(who, family, site, &self.grants.load(), self.clock.now())
    }

    /// Is any user's signed key request to be held?
    pub fn holds_keys(&self) -> bool {
        self.rules.load().policy.holds_keys()
    }

    /// Is this user's signed key request to be held until the phone answers?
    pub fn holds_key(&self, user: &crate::names::Username) -> bool {
        self.rules.load().policy.holds_key(user)
    }
}

impl Denied {
    /// For the journal.
    pub fn cause(&self) -> &'static str {
        use crate::policy::Condition;
        match self {
            Denied::NoRule => "no-rule",
            Denied::NotNow { condition: Condition::Until, .. } => "rule-ended",
            Denied::NotNow { condition: Condition::From, .. } => "rule-source",
            Denied::NotNow { condition: Condition::Hours(_), .. } => "rule-hours",
            Denied::NoConsent { missing: Missing::Link, .. } => "no-link",
            Denied::NoConsent { missing: Missing::Open, .. } => "no-consent",
            Denied::NoConsent { missing: Missing::Name, .. } => "not-named",
            Denied::NoConsent { missing: Missing::This, .. } => "not-for-this",
            Denied::NotInOrders { .. } => "not-in-orders",
            Denied::NeedsConfirmation { .. } => "not-confirmed",
        }
    }

    /// Would a confirmation by the second factor do? The gate wrote nothing down then: the answer is still to come.
    pub fn wants_a_confirmation(&self) -> bool {
        matches!(self, Denied::NeedsConfirmation { .. })
    }

    /// The rule that was nearest.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Denied::NoRule => None,
            Denied::NotNow { rule, .. }
            | Denied::NoConsent { rule, .. }
            | Denied::NotInOrders { rule, .. }
            | Denied::NeedsConfirmation { rule } => Some(rule),
        }
    }
}
