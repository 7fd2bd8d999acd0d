//! May this person do this now, and on which terms? Pure: no clock, no I/O, no SSH.

mod hours;
pub mod parse;
mod standing;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::asks::{Ask, Family};
use crate::grants::{Missing, Snapshot};
use crate::identity::Who;
use crate::identity::orders::Under;
use crate::identity::second_factor::Confirmation;
use crate::names::{ActionName, Firm, SiteName, Username};
use hours::Hours;

pub use standing::{Routinely, Standing};

/// The rules in their order; the first that matches decides, and where none does the answer is no.
#[derive(Default)]
pub struct Policy {
    rules: Vec<Rule>,
    sites: BTreeSet<SiteName>,
    /// Those that are reached over their own link: there nothing is done without the customer's consent, whatever a rule says.
    links: BTreeSet<SiteName>,
    /// The standing orders of all sites.
    orders: Vec<standing::Order>,
}

/// One `[[rule]]`.
#[expect(clippy::struct_excessive_bools, reason = "independent conditions, each by its name in the file")]
struct Rule {
    /// `rules.toml:3`
    name: Arc<str>,
    who: Vec<Matches>,
    may: Vec<May>,
    on: Vec<On>,
    needs_consent: bool,
    confirm: bool,
    any_firmware: bool,
    /// The longest work order that may name this; none may without it.
    order: Option<Duration>,
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
    /// `konnektor perform ACTION`, spelled out.
    Action(ActionName),
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
    allowances: Allowances,
}

/// What a permit allows beyond the ordinary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// `firmware = "any"`: boxes are written to though their firmware is not known.
    pub any_firmware: bool,
    /// A rule spells this very action out, so it may be one that no profile lists.
    pub spelled_out: bool,
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
    pub(crate) fn into_parts(self) -> (A, Who, Arc<str>, Allowances) {
        (self.ask, self.who, self.rule, self.allowances)
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
    /// The rule, or the site, wants the customer's consent, and there is none.
    NoConsent {
        /// The rule.
        rule: Arc<str>,
        /// What is missing.
        missing: Missing,
    },
    /// The rule does not allow it in a work order, or not in one that is so long.
    NotInOrders {
        /// The rule.
        rule: Arc<str>,
        /// The longest that it allows.
        longest: Option<Duration>,
    },
    /// The rule wants a second factor of its own for this ask, or no work order names it.
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
    match policy.rule_for(who, &Wish::of(&ask), grants, now) {
        Ok(rule)
            if rule.wants_a_confirmation(&ask, who, now)
                && !confirmation.is_some_and(|c| c.covers(who, &words)) =>
        {
            Err((ask, Denied::NeedsConfirmation { rule: rule.name.clone() }))
        }
        Ok(rule) => {
            let allowances = Allowances {
                any_firmware: rule.any_firmware,
                spelled_out: policy.spells_out(who, &Wish::of(&ask), now),
            };
            let (who, rule) = (who.clone(), rule.name.clone());
            Ok(Permit { ask, who, rule, allowances })
        }
        Err(denied) => Err((ask, denied)),
    }
}

/// What is wished for, as rules see it.
#[derive(Clone, Copy)]
struct Wish<'a> {
    family: Family,
    site: Option<&'a SiteName>,
    action: Option<&'a ActionName>,
}

impl<'a> Wish<'a> {
    fn of(ask: &'a impl Ask) -> Self {
        Self { family: ask.family(), site: ask.site(), action: ask.action() }
    }

    fn at(family: Family, site: Option<&'a SiteName>) -> Self {
        Self { family, site, action: None }
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
        self.rule_for(who, &Wish::at(family, Some(site)), grants, now).map(|rule| Terms {
            rule: rule.name.clone(),
            needs_consent: self.needs_consent(rule, family, site),
            confirm: rule.confirm,
            order: rule.order,
        })
    }

    /// May this be named in a work order of that length?
    pub fn orderable(
        &self,
        who: &Who,
        family: Family,
        site: &SiteName,
        lasts: Duration,
        grants: &Snapshot,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let rule = self.rule_for(who, &Wish::at(family, Some(site)), grants, now)?;
        if rule.order.is_some_and(|longest| lasts <= longest) {
            Ok(())
        } else {
            Err(Denied::NotInOrders { rule: rule.name.clone(), longest: rule.order })
        }
    }

    /// Is what was begun still permitted? A confirmation that was given stays given; what no order that is open names any
    /// more was permitted by none.
    pub fn still(&self, who: &Who, ask: &impl Ask, grants: &Snapshot, now: Timestamp) -> Result<(), Denied> {
        let rule = self.rule_for(who, &Wish::of(ask), grants, now)?;
        let confirmed = || who.has_confirmed(&String::from_utf8_lossy(ask.confirmed_as()));
        let uncovered = || who.under().is_some() && rule.wants_a_confirmation(ask, who, now) && !confirmed();
        if who.has_outlived_its_orders(now) || uncovered() {
            return Err(Denied::NotInOrders { rule: rule.name.clone(), longest: None });
        }
        Ok(())
    }

    /// What the rule that permits this allows beyond it, now; `None`: none permits it.
    pub fn allowances(
        &self,
        who: &Who,
        ask: &impl Ask,
        grants: &Snapshot,
        now: Timestamp,
    ) -> Option<Allowances> {
        let wish = Wish::of(ask);
        let any_firmware = self.rule_for(who, &wish, grants, now).ok()?.any_firmware;
        Some(Allowances { any_firmware, spelled_out: self.spells_out(who, &wish, now) })
    }

    /// Does a rule that counts now spell this very action out?
    fn spells_out(&self, who: &Who, wish: &Wish<'_>, now: Timestamp) -> bool {
        let Some(action) = wish.action else { return false };
        let mut rules = self.matching(who.user(), *wish);
        rules.any(|rule| rule.unmet(who.source(), now).is_none() && rule.spells_out(action))
    }

    /// Is the customer's consent wanted for this, there? A site that is reached over its own link has the last word itself.
    fn needs_consent(&self, rule: &Rule, family: Family, site: &SiteName) -> bool {
        rule.needs_consent || (family.touches_the_site() && self.links.contains(site))
    }

    /// The sites where this person may do something of `family` now, consent or not.
    pub fn sites_for(&self, who: &Who, family: Family, now: Timestamp) -> Vec<SiteName> {
        let may = |site: &&SiteName| {
            self.matching(who.user(), Wish::at(family, Some(*site)))
                .any(|r| r.unmet(who.source(), now).is_none())
        };
        self.sites.iter().filter(may).cloned().collect()
    }

    /// Is this site reached over its own link?
    pub fn is_over_a_link(&self, site: &SiteName) -> bool {
        self.links.contains(site)
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
                if let Some(rule) = self.matching(user, Wish::at(family, Some(site))).next() {
                    let terms = Terms {
                        rule: rule.name.clone(),
                        needs_consent: self.needs_consent(rule, family, site),
                        confirm: rule.confirm,
                        order: rule.order,
                    };
                    found.push((family, site.clone(), terms));
                }
            }
        }
        found
    }

    /// The rules that name this user and what is wished for, in their order.
    fn matching<'p, 'q>(
        &'p self,
        user: &'q Username,
        wish: Wish<'q>,
    ) -> impl Iterator<Item = &'p Rule> + use<'p, 'q> {
        self.rules.iter().filter(move |rule| match (wish.family, wish.site) {
            (Family::Oneself | Family::Order, _) => rule.names(user),
            (_, None) => rule.names(user) && rule.allows(&wish),
            (_, Some(site)) => {
                rule.names(user) && rule.allows(&wish) && rule.covers(site) && self.sites.contains(site)
            }
        })
    }

    fn rule_for(
        &self,
        who: &Who,
        wish: &Wish<'_>,
        grants: &Snapshot,
        now: Timestamp,
    ) -> Result<&Rule, Denied> {
        let (family, site) = (wish.family, wish.site);
        let mut near = None;
        for rule in self.matching(who.user(), *wish) {
            match rule.unmet(who.source(), now) {
                // What is about oneself is open while any rule that names the person has not ended.
                Some(Condition::Hours(_) | Condition::From) if family == Family::Oneself => return Ok(rule),
                Some(condition) => {
                    near = near.or(Some(Denied::NotNow { rule: rule.name.clone(), condition }));
                }
                None => {
                    if let Some(site) = site
                        && self.needs_consent(rule, family, site)
                        && let Err(missing) = grants.open(site, who.user(), family.as_str(), now)
                    {
                        return Err(Denied::NoConsent { rule: rule.name.clone(), missing });
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
    /// The longest work order that may name it.
    pub order: Option<Duration>,
}

impl Rule {
    /// Is a yes wanted for this very ask, whatever was confirmed before?
    fn wants_a_confirmation(&self, ask: &impl Ask, who: &Who, now: Timestamp) -> bool {
        let family = ask.family();
        let named =
            |under: &Under| self.order.is_some_and(|longest| under.covers(family, ask.site(), longest, now));
        if family == Family::Order {
            return true;
        }
        if family == Family::Oneself {
            return who.under().is_some() && ask.acts();
        }
        self.confirm || who.under().is_some_and(|under| !named(under))
    }

    fn names(&self, user: &Username) -> bool {
        self.who.iter().any(|m| match m {
            Matches::User(name) => name == user,
            Matches::Firm(firm) => *firm == user.firm(),
        })
    }

    fn allows(&self, wish: &Wish<'_>) -> bool {
        self.may.iter().any(|m| match m {
            May::Everything => true,
            May::Family(f) => *f == wish.family,
            May::Action(action) => {
                wish.family == Family::KonnektorPerform && wish.action.is_none_or(|wished| wished == action)
            }
        })
    }

    fn spells_out(&self, action: &ActionName) -> bool {
        self.may.iter().any(|m| matches!(m, May::Action(spelled) if spelled == action))
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
