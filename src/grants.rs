//! The customer's consent as it stands: what each site's leases allow, for as long as they last, and nothing that was not signed there.
//! Absent on purpose: the switch (it is at the site), the link it comes over, and any file: a gateway that starts knows of no consent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::link::lease::{EVERYTHING, Granted, Whose};
use crate::names::{Firm, SiteName, Username};

/// The consent of all sites at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    sites: BTreeMap<SiteName, Vec<Given>>,
}

/// Something that a site allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// To whom.
    pub who: Whose,
    /// Families as rules.toml writes them, or [`EVERYTHING`].
    pub may: BTreeSet<String>,
    /// Until when the lease lasts; it is renewed while the site says so.
    pub until: Timestamp,
    /// Until when the customer has said.
    pub said: Timestamp,
}

/// What is missing for consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The site has no link to this gateway now.
    Link,
    /// Nobody may come.
    Open,
    /// Others may come.
    Name,
    /// They may come, and not for this.
    This,
}

impl Given {
    fn covers(&self, family: &str) -> bool {
        self.may.contains(EVERYTHING) || self.may.contains(family)
    }
}

impl Snapshot {
    /// A snapshot in which these sites have let these firms in for everything, each until its time.
    pub fn of(open: impl IntoIterator<Item = (SiteName, Firm, Timestamp)>) -> Self {
        let mut sites: BTreeMap<SiteName, Vec<Given>> = BTreeMap::new();
        for (site, firm, until) in open {
            let may = BTreeSet::from([EVERYTHING.to_owned()]);
            sites.entry(site).or_default().push(Given { who: Whose::Firm(firm), may, until, said: until });
        }
        Self { sites }
    }

    /// Has the site let this person in for this family at `now`?
    ///
    /// # Errors
    /// What is missing.
    pub fn open(
        &self,
        site: &SiteName,
        user: &Username,
        family: &str,
        now: Timestamp,
    ) -> Result<(), Missing> {
        self.lets(site, |who| who.is(user), family, now)
    }

    /// The same for the gateway's nightly jobs.
    ///
    /// # Errors
    /// What is missing.
    pub fn open_to_schedule(&self, site: &SiteName, family: &str, now: Timestamp) -> Result<(), Missing> {
        self.lets(site, |who| *who == Whose::Schedule, family, now)
    }

    fn lets(
        &self,
        site: &SiteName,
        is: impl Fn(&Whose) -> bool,
        family: &str,
        now: Timestamp,
    ) -> Result<(), Missing> {
        let given = self.sites.get(site).ok_or(Missing::Link)?;
        let counts = |given: &&Given| now < given.until;
        let people = |given: &&Given| given.who != Whose::Schedule;
        let mut theirs = given.iter().filter(counts).filter(|given| is(&given.who)).peekable();
        if theirs.peek().is_some() {
            return if theirs.any(|given| given.covers(family)) { Ok(()) } else { Err(Missing::This) };
        }
        let any = given.iter().filter(counts).any(|given| people(&given));
        Err(if any { Missing::Name } else { Missing::Open })
    }

    /// Has the site a link to this gateway? Then what it allows at `now`.
    pub fn at(&self, site: &SiteName, now: Timestamp) -> Option<Vec<&Given>> {
        Some(self.sites.get(site)?.iter().filter(|given| now < given.until).collect())
    }
}

/// What one link has brought.
struct Held {
    link: u64,
    given: Vec<Ends>,
}

struct Ends {
    who: Whose,
    may: BTreeSet<String>,
    /// By our monotonic clock: the one that counts.
    at: Instant,
    said: Instant,
}

/// The leases that are in force. One link a site; the newest.
pub struct Grants {
    held: Mutex<BTreeMap<SiteName, Held>>,
    changed: watch::Sender<u64>,
}

impl Default for Grants {
    fn default() -> Self {
        Self { held: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Grants {
    fn held(&self) -> MutexGuard<'_, BTreeMap<SiteName, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The site has a link, that allows nothing yet. What an older one brought is gone.
    pub fn linked(&self, site: &SiteName, link: u64) {
        self.held().insert(site.clone(), Held { link, given: Vec::new() });
        self.tell();
    }

    /// The link has ended, and with it all that it brought.
    pub fn unlinked(&self, site: &SiteName, link: u64) {
        let mut held = self.held();
        if held.get(site).is_some_and(|held| held.link == link) {
            held.remove(site);
            drop(held);
            self.tell();
        }
    }

    /// A lease that was checked, in answer to what was asked at `asked`. Instead of all that the link brought before.
    pub fn lease(&self, site: &SiteName, link: u64, asked: Instant, granted: Vec<Granted>) {
        let ends = |granted: Granted| Ends {
            at: asked + granted.lasts,
            said: asked + granted.said,
            who: granted.who,
            may: granted.may,
        };
        let mut held = self.held();
        let Some(held) = held.get_mut(site).filter(|held| held.link == link) else { return };
        held.given = granted.into_iter().map(ends).collect();
        self.tell();
    }

    /// The site has closed.
    pub fn close(&self, site: &SiteName, link: u64) {
        self.lease(site, link, Instant::now(), Vec::new());
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// As it stands, in times of the wall clock. What ended by the monotonic one is not in it.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let instant = Instant::now();
        let wall = |at: Instant| {
            let left = at.saturating_duration_since(instant);
            jiff::SignedDuration::try_from(left)
                .ok()
                .and_then(|left| now.checked_add(left).ok())
                .unwrap_or(now)
        };
        let given = |ends: &Ends| Given {
            who: ends.who.clone(),
            may: ends.may.clone(),
            until: wall(ends.at),
            said: wall(ends.said),
        };
        let sites = self.held();
        let sites = sites.iter().map(|(site, held)| {
            let given = held.given.iter().filter(|ends| ends.at > instant).map(given).collect();
            (site.clone(), given)
        });
        Snapshot { sites: sites.collect() }
    }

    /// Returns when the snapshot may be another than before: something changed since `seen`, or a lease ran out.
    pub async fn moved(&self, seen: &mut watch::Receiver<u64>) {
        let next = {
            let now = Instant::now();
            let held = self.held();
            held.values().flat_map(|held| &held.given).map(|ends| ends.at).filter(|at| *at > now).min()
        };
        let next = next.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { std::future::pending::<()>().await },
            () = tokio::time::sleep_until(next) => {}
        }
    }

    /// For [`Grants::moved`].
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> SiteName {
        "praxis-mueller".parse().unwrap()
    }

    fn granted(who: &str, may: &str, lasts: u64) -> Granted {
        Granted {
            who: who.parse().unwrap(),
            may: BTreeSet::from([may.to_owned()]),
            lasts: Duration::from_secs(lasts),
            said: Duration::from_mins(30),
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T16:00:00Z".parse().unwrap()
    }

    fn asked(grants: &Grants, user: &str, family: &str) -> Result<(), Missing> {
        grants.snapshot(now()).open(&site(), &user.parse().unwrap(), family, now())
    }

    #[tokio::test(start_paused = true)]
    async fn consent_is_what_the_lease_says_for_as_long_as_it_lasts_by_our_own_clock() {
        let grants = Grants::default();
        assert_eq!(asked(&grants, "firm-jane.doe", "hop backup"), Err(Missing::Link));
        grants.linked(&site(), 1);
        assert_eq!(asked(&grants, "firm-jane.doe", "hop backup"), Err(Missing::Open));
        let begun = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        grants.lease(
            &site(),
            1,
            begun,
            vec![granted("firm", "*", 45), granted("other-a.b", "hop backup", 20)],
        );
        assert_eq!(asked(&grants, "firm-jane.doe", "konnektor restore"), Ok(()));
        assert_eq!(asked(&grants, "other-a.b", "hop backup"), Ok(()));
        assert_eq!(asked(&grants, "other-a.b", "hop portal"), Err(Missing::This));
        assert_eq!(asked(&grants, "other-b.b", "hop backup"), Err(Missing::Name));
        let mut seen = grants.watch();
        // Counted from when it was asked for, not from when it came.
        tokio::time::timeout(Duration::from_millis(15_001), grants.moved(&mut seen)).await.unwrap();
        assert_eq!(asked(&grants, "other-a.b", "hop backup"), Err(Missing::Name));
        assert_eq!(asked(&grants, "firm-jane.doe", "hop backup"), Ok(()));
        tokio::time::timeout(Duration::from_millis(25_001), grants.moved(&mut seen)).await.unwrap();
        assert_eq!(asked(&grants, "firm-jane.doe", "hop backup"), Err(Missing::Open));
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_link_brings_nothing_and_takes_nothing_away() {
        let grants = Grants::default();
        grants.linked(&site(), 1);
        grants.linked(&site(), 2);
        grants.lease(&site(), 1, Instant::now(), vec![granted("firm", "*", 45)]);
        assert_eq!(asked(&grants, "firm-jane.doe", "hop backup"), Err(Missing::Open));
        grants.lease(&site(), 2, Instant::now(), vec![granted("firm", "*", 45)]);
        grants.unlinked(&site(), 1);
        assert_eq!(asked(&grants, "firm-jane.doe", "hop backup"), Ok(()));
        grants.close(&site(), 2);
        assert_eq!(asked(&grants, "firm-jane.doe", "hop backup"), Err(Missing::Open));
        grants.unlinked(&site(), 2);
        assert_eq!(asked(&grants, "firm-jane.doe", "hop backup"), Err(Missing::Link));
    }

    #[tokio::test(start_paused = true)]
    async fn nightly_jobs_are_nobody_and_nobody_is_a_nightly_job() {
        let grants = Grants::default();
        grants.linked(&site(), 1);
        grants.lease(&site(), 1, Instant::now(), vec![granted("@schedule", "konnektor backup", 45)]);
        let snapshot = grants.snapshot(now());
        assert_eq!(snapshot.open_to_schedule(&site(), "konnektor backup", now()), Ok(()));
        assert_eq!(snapshot.open_to_schedule(&site(), "konnektor restore", now()), Err(Missing::This));
        assert_eq!(asked(&grants, "firm-jane.doe", "konnektor backup"), Err(Missing::Open));
        grants.lease(&site(), 1, Instant::now(), vec![granted("firm", "*", 45)]);
        let snapshot = grants.snapshot(now());
        assert_eq!(snapshot.open_to_schedule(&site(), "konnektor backup", now()), Err(Missing::Name));
    }
    #[tokio::test(start_paused = true)]
    async fn a_snapshot_that_somebody_kept_lasts_no_longer_than_its_leases() {
        let grants = Grants::default();
        grants.linked(&site(), 1);
        grants.lease(
            &site(),
            1,
            Instant::now(),
            vec![granted("firm", "*", 45), granted("@schedule", "konnektor backup", 45)],
        );
        let kept = grants.snapshot(now());
        let jane = "firm-jane.doe".parse().unwrap();
        let later = |seconds| now() + jiff::SignedDuration::from_secs(seconds);
        assert_eq!(kept.open(&site(), &jane, "hop backup", later(44)), Ok(()));
        assert_eq!(kept.at(&site(), later(44)).map(|given| given.len()), Some(2));
        assert_eq!(kept.open(&site(), &jane, "hop backup", later(45)), Err(Missing::Open));
        assert_eq!(kept.open_to_schedule(&site(), "konnektor backup", later(45)), Err(Missing::Open));
        assert_eq!(kept.at(&site(), later(45)).map(|given| given.len()), Some(0));
    }

    #[test]
    fn a_family_is_allowed_by_its_whole_name_alone() {
        let grants = Grants::default();
        grants.linked(&site(), 1);
        grants.lease(&site(), 1, Instant::now(), vec![granted("firm", "konnektor", 45)]);
        assert_eq!(asked(&grants, "firm-jane.doe", "konnektor backup"), Err(Missing::This));
        assert_eq!(asked(&grants, "firm-jane.doe", "konnektor"), Ok(()));
    }
}
