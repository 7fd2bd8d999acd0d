//! May this person do this now, and on which terms? Pure: no clock, no I/O, no SSH.

mod hours;
pub mod parse;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::asks::{Ask, Family};
use crate::grants::Snapshot;
use crate::identity::Who;
use crate::identity::second_factor::Confirmation;
use crate::names::{Firm, SiteName, Username};
use hours::Hours;

/// The rules in their order; the first that matches decides, and where none does the answer is no.
#[derive(Default)]
pub struct Policy {
    rules: Vec<Rule>,
    sites: BTreeSet<SiteName>,
}

/// One `[[rule]]`.
struct Rule {
    /// `rules.toml:3`
    name: Arc<str>,
    who: Vec<Matches>,
    may: Vec<May>,
    on: Vec<On>,
    needs_consent: bool,
    confirm: bool,
    until: Option<Timestamp>,
    from: Option<Vec<IpNet>>,
    hours: Option<Hours>,
    hold_key: bool,
}

enum Matches {
    User(Username),
    Firm(Firm),
}

enum May {
    Everything,
    Family(Family),
}

enum On {
    Everywhere,
    Site(SiteName),
}

/// This principal may do this, by this rule. Made by [`decide`] alone; opens nothing until it is in the journal.
pub struct Permit<A> {
    ask: A,
    who: Who,
    rule: Arc<str>,
}

impl<A> Permit<A> {
    /// What is permitted.
    pub fn ask(&self) -> &A {
        &self.ask
    }

    /// To whom.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// By which rule, `rules.toml:3`.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Takes the permit apart; the journal does that when it starts the work.
    pub(crate) fn into_parts(self) -> (A, Who, Arc<str>) {
        (self.ask, self.who, self.rule)
    }
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No rule matches; a site that does not exist looks the same.
    NoRule,
    /// A rule would match but for its `until`, `from` or `hours`.
    NotNow {
        /// The rule.
        rule: Arc<str>,
        /// Which condition.
        condition: Condition,
    },
    /// The rule wants the customer's consent, and there is none.
    NoConsent {
        /// The rule.
        rule: Arc<str>,
    },
    /// The rule wants a second factor of its own for this ask.
    NeedsConfirmation {
        /// The rule.
        rule: Arc<str>,
    },
}

/// A condition of a rule that is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its `until` has passed.
    Until,
    /// The client's address is not in its `from`.
    From,
    /// It is not within its `hours`, which read so.
    Hours(String),
}

/// May `who` do `ask` at `now`? `confirmation` is what the person's phone said to this very ask, if it was asked.
///
/// Same input, same answer. The ask comes back with the refusal.
pub fn decide<A: Ask>(
    policy: &Policy,
    ask: A,
    who: &Who,
    grants: &Snapshot,
    now: Timestamp,
    confirmation: Option<&Confirmation>,
) -> Result<Permit<A>, (A, Denied)> {
    let words = String::from_utf8_lossy(ask.confirmed_as()).into_owned();
    match policy.rule_for(who, ask.family(), ask.site(), grants, now) {
        Ok(rule)
            if rule.confirm
                && ask.family() != Family::Oneself
                && !confirmation.is_some_and(|c| c.covers(who, &words)) =>
        {
            Err((ask, Denied::NeedsConfirmation { rule: rule.name.clone() }))
        }
        Ok(rule) => Ok(Permit { ask, who: who.clone(), rule: rule.name.clone() }),
        Err(denied) => Err((ask, denied)),
    }
}

impl Policy {
    /// Why would, or would not, this person be let? As [`decide`], but for something that is only asked about.
    pub fn explain(
        &self,
        who: &Who,
        family: Family,
        site: &SiteName,
        grants: &Snapshot,
        now: Timestamp,
    ) -> Result<Terms, Denied> {
        self.rule_for(who, family, Some(site), grants, now).map(|rule| Terms {
            rule: rule.name.clone(),
            needs_consent: rule.needs_consent,
            confirm: rule.confirm,
        })
    }

    /// Is what was begun still permitted? A confirmation that was given stays given.
    pub fn still(
        &self,
        who: &Who,
        family: Family,
        site: Option<&SiteName>,
        grants: &Snapshot,
        now: Timestamp,
    ) -> Result<(), Denied> {
        self.rule_for(who, family, site, grants, now).map(|_| ())
    }

    /// The sites where this person may do something of `family` now, consent or not.
    pub fn sites_for(&self, who: &Who, family: Family, now: Timestamp) -> Vec<SiteName> {
        let may = |site: &&SiteName| {
            self.matching(who.user(), family, Some(site)).any(|r| r.unmet(who.source(), now).is_none())
        };
        self.sites.iter().filter(may).cloned().collect()
    }

    /// Is there a rule with `batch = "hold-key"`?
    pub fn holds_keys(&self) -> bool {
        self.rules.iter().any(|rule| rule.hold_key)
    }

    /// Is the signed key request of this user to be held until the phone answers?
    pub fn holds_key(&self, user: &Username) -> bool {
        self.rules.iter().any(|rule| rule.hold_key && rule.names(user))
    }

    /// Every (rule, family, site) by which `user` may do something, conditions left aside; for `pforte check`.
    pub fn reach(&self, user: &Username) -> Vec<(Family, SiteName, Terms)> {
        let mut found = Vec::new();
        for site in &self.sites {
            for family in Family::NAMED {
                if let Some(rule) = self.matching(user, family, Some(site)).next() {
                    let terms = Terms {
                        rule: rule.name.clone(),
                        needs_consent: rule.needs_consent,
                        confirm: rule.confirm,
                    };
                    found.push((family, site.clone(), terms));
                }
            }
        }
        found
    }

    /// The rules that name this user, this family and this site, in their order.
    fn matching<'p, 'q>(
        &'p self,
        user: &'q Username,
        family: Family,
        site: Option<&'q SiteName>,
    ) -> impl Iterator<Item = &'p Rule> + use<'p, 'q> {
        self.rules.iter().filter(move |rule| match (family, site) {
            (Family::Oneself, _) => rule.names(user),
            (family, None) => rule.names(user) && rule.allows(family),
            (family, Some(site)) => {
                rule.names(user) && rule.allows(family) && rule.covers(site) && self.sites.contains(site)
            }
        })
    }

    fn rule_for(
        &self,
        who: &Who,
        family: Family,
        site: Option<&SiteName>,
        grants: &Snapshot,
        now: Timestamp,
    ) -> Result<&Rule, Denied> {
        let mut near = None;
        for rule in self.matching(who.user(), family, site) {
            match rule.unmet(who.source(), now) {
                // What is about oneself is open while any rule that names the person has not ended.
                Some(Condition::Hours(_) | Condition::From) if family == Family::Oneself => return Ok(rule),
                Some(condition) => {
                    near = near.or(Some(Denied::NotNow { rule: rule.name.clone(), condition }));
                }
                None => {
                    let consent = site.is_none_or(|site| grants.is_open(site, who.firm(), now));
                    if rule.needs_consent && !consent {
                        return Err(Denied::NoConsent { rule: rule.name.clone() });
                    }
                    return Ok(rule);
                }
            }
        }
        Err(near.unwrap_or(Denied::NoRule))
    }
}

/// On which terms a rule lets somebody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `rules.toml:3`
    pub rule: Arc<str>,
    /// Only while the customer consents.
    pub needs_consent: bool,
    /// Only with a second factor for each ask.
    pub confirm: bool,
}

impl Rule {
    fn names(&self, user: &Username) -> bool {
        self.who.iter().any(|m| match m {
            Matches::User(name) => name == user,
            Matches::Firm(firm) => *firm == user.firm(),
        })
    }

    fn allows(&self, family: Family) -> bool {
        self.may.iter().any(|m| match m {
            May::Everything => true,
            May::Family(f) => *f == family,
        })
    }

    fn covers(&self, site: &SiteName) -> bool {
        self.on.iter().any(|o| match o {
            On::Everywhere => true,
            On::Site(name) => name == site,
        })
    }

    fn unmet(&self, source: IpAddr, now: Timestamp) -> Option<Condition> {
        if self.until.is_some_and(|until| now >= until) {
            return Some(Condition::Until);
        }
        if self.from.as_ref().is_some_and(|nets| !nets.iter().any(|net| net.contains(&source))) {
            return Some(Condition::From);
        }
        match &self.hours {
            Some(hours) if !hours.contain(now) => Some(Condition::Hours(hours.to_string())),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests;
