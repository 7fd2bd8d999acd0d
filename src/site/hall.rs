//! The desk, over everything that the site has: what somebody does is written down, then done, then told to the gateways.
//! Absent on purpose: HTML and terminals. And a way to open anything from outside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::desk::{Access, Action, Ask, By, Desk, Named, NotDone, Report, Switch as Shown, View};
use super::lights::Lights;
use super::premises::Premises;
use super::record::Line;
use super::switch::{Change, Ended};
use super::{agent, network};
use crate::link::frames::ToGateway;
use crate::link::lease::Whose;
use crate::names::Username;

/// How often ends are looked for.
const TICK: Duration = Duration::from_millis(100);
/// How often a visit's draft is written.
const DRAFTS: Duration = Duration::from_secs(5);
/// After a disk that took no report.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two changes that are told.
const TOLD: Duration = Duration::from_millis(200);
/// Past visits in a view.
const SHOWN: usize = 50;

/// The site's desk.
pub struct Hall {
    premises: Arc<Premises>,
    lights: Arc<Lights>,
    /// Where the page is in the network, as it says itself.
    access: watch::Receiver<Vec<Access>>,
    /// One change at a time; what closes waits for nobody.
    turn: Mutex<()>,
    changes: watch::Sender<u64>,
}

impl Hall {
    /// Over these premises; `access` tells where the page is.
    pub fn new(premises: Arc<Premises>, access: watch::Receiver<Vec<Access>>) -> Arc<Self> {
        let lights = Arc::new(Lights::new(Arc::clone(&premises)));
        Arc::new(Self { premises, lights, access, turn: Mutex::default(), changes: watch::Sender::new(0) })
    }

    /// Holds the links, the lights and the record until `stop`; what is not reported then is a draft.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        self.premises.note(Line { event: "started", ..Line::default() }).await;
        if self.premises.switch.standing().when_possible {
            let most = self.premises.settings.switch.most;
            let by = "when-possible".to_owned();
            if let Err(e) = self.change(Change::Open(most), "opened", None, by).await {
                tracing::error!("the link does not open by itself: {e}");
            }
        }
        let mut tasks = JoinSet::new();
        for number in 0..self.premises.links.len() {
            tasks.spawn(agent::run(Arc::clone(&self.premises), number, stop.clone()));
        }
        let (network, time) = (self.premises.network.clone(), self.premises.time.clone());
        tasks.spawn(network::watch(network, time, stop.clone()));
        tasks.spawn(Arc::clone(&self.lights).run(stop.clone()));
        tasks.spawn(Arc::clone(&self).tell(stop.clone()));
        tasks.spawn(Arc::clone(&self).shelve(stop.clone()));
        self.tick(&stop).await;
        while tasks.join_next().await.is_some() {}
        self.draft().await;
        self.premises.note(Line { event: "stopped", ..Line::default() }).await;
    }

    /// What ends by itself, ends within 100 ms; the record has no part in that.
    async fn tick(&self, stop: &CancellationToken) {
        let mut each = tokio::time::interval(TICK);
        each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = each.tick() => {}
                () = stop.cancelled() => return,
            }
            for ended in self.premises.switch.tick() {
                let (event, who) = match ended {
                    Ended::Closed => ("closed", None),
                    Ended::Named(who) => ("withdrawn", Some(who.to_string())),
                };
                let line = Line { event, who, by: Some("time".into()), ..Line::default() };
                let premises = Arc::clone(&self.premises);
                // A disk that hangs must not keep the next end from coming.
                tokio::spawn(async move { premises.note(line).await });
            }
        }
    }

    /// Reports that are due, and drafts of those that are not.
    async fn shelve(self: Arc<Self>, stop: CancellationToken) {
        let after = self.premises.settings.report_after;
        let mut each = tokio::time::interval(TICK * 2);
        each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drafted = tokio::time::Instant::now();
        loop {
            tokio::select! {
                _ = each.tick() => {}
                () = stop.cancelled() => return,
            }
            for visit in self.premises.visits.tend(after) {
                let name = visit.past.visit.clone();
                let (reports, now) = (Arc::clone(&self.premises.shelf), self.premises.time.now().wall);
                let put = tokio::task::spawn_blocking(move || reports.put(&visit, now)).await;
                match put {
                    Ok(Ok(())) => {
                        self.premises.visits.shelved(&name);
                        let line = Line { event: "reported", visit: Some(name), ..Line::default() };
                        self.premises.note(line).await;
                    }
                    Ok(Err(e)) => {
                        tracing::error!("the report of a visit cannot be written, and is tried again: {e}");
                        tokio::select! {
                            () = tokio::time::sleep(AGAIN) => {}
                            () = stop.cancelled() => return,
                        }
                    }
                    Err(e) => tracing::error!("the report of a visit: {e}"),
                }
            }
            if drafted.elapsed() >= DRAFTS {
                self.draft().await;
                drafted = tokio::time::Instant::now();
            }
        }
    }

    async fn draft(&self) {
        for visit in self.premises.visits.changed() {
            let reports = Arc::clone(&self.premises.shelf);
            let drafted = tokio::task::spawn_blocking(move || reports.draft(&visit)).await;
            if let Ok(Err(e)) = drafted {
                tracing::warn!("how a visit stands cannot be written: {e}");
            }
        }
    }

    /// Counts up what changed, at most every 200 ms.
    async fn tell(self: Arc<Self>, stop: CancellationToken) {
        let premises = &self.premises;
        let (mut switch, mut visits) = (premises.switch.changes(), premises.visits.changes());
        let (mut asks, mut lights) = (premises.asks.changes(), self.lights.changes());
        let mut access = self.access.clone();
        loop {
            let changed = tokio::select! {
                changed = switch.changed() => changed,
                changed = visits.changed() => changed,
                changed = asks.changed() => changed,
                changed = lights.changed() => changed,
                // Without a page nobody ever says where it is.
                Ok(()) = access.changed() => Ok(()),
                () = stop.cancelled() => return,
            };
            if changed.is_err() {
                return;
            }
            self.changes.send_modify(|n| *n += 1);
            tokio::time::sleep(TOLD).await;
        }
    }

    /// Planned, written down, done.
    async fn change(
        &self,
        change: Change,
        event: &'static str,
        who: Option<String>,
        by: String,
    ) -> Result<(), NotDone> {
        let planned = self.premises.switch.plan(change)?;
        let line = Line { event, who, until: planned.shown, by: Some(by), ..Line::default() };
        self.premises.write_down(line).await.map_err(|e| NotDone::Broken(e.to_string()))?;
        self.premises.switch.apply(planned)
    }

    async fn stand(&self, by: String, set: impl Fn(&mut super::switch::Standing)) -> Result<(), NotDone> {
        let _turn = self.turn.lock().await;
        let mut standing = self.premises.switch.standing();
        set(&mut standing);
        let broken = |e: std::io::Error| NotDone::Broken(e.to_string());
        let words = format!(
            "backup-only {}, when-possible {}",
            if standing.backup_only { "on" } else { "off" },
            if standing.when_possible { "on" } else { "off" }
        );
        self.premises.keep(standing).await.map_err(broken)?;
        self.change(Change::Stand(standing), "standing", Some(words), by).await
    }

    /// Done first: nothing keeps a door open.
    async fn close(&self, by: String) {
        self.premises.switch.close();
        self.premises.note(Line { event: "closed", by: Some(by), ..Line::default() }).await;
    }

    async fn withdraw(&self, who: &str, by: String) -> Result<(), NotDone> {
        let whose: Whose = who.parse().map_err(|_| NotDone::NoSuchName)?;
        if !self.premises.switch.withdraw(&whose) {
            return Err(NotDone::Gone);
        }
        // The gateways hear of it by the change; their sessions of it end at once, too.
        let is = |user: &str| user.parse::<Username>().is_ok_and(|user| whose.is(&user));
        for (session, via) in self.premises.visits.sessions(is) {
            self.say_to(&via.fingerprint, ToGateway::End { session });
        }
        let line = Line { event: "withdrawn", who: Some(who.to_owned()), by: Some(by), ..Line::default() };
        self.premises.note(line).await;
        Ok(())
    }

    async fn end(&self, visit: &str, by: String) -> Result<(), NotDone> {
        let (user, session, via) = self.premises.visits.end(visit).ok_or(NotDone::Gone)?;
        if let Ok(user) = user.parse::<Username>() {
            let shown_out = self.premises.switch.plan(Change::ShowOut(user));
            shown_out.and_then(|planned| self.premises.switch.apply(planned))?;
        }
        self.say_to(&via.fingerprint, ToGateway::End { session });
        let (who, visit) = (Some(user), Some(visit.to_owned()));
        self.premises.note(Line { event: "ended", who, visit, by: Some(by), ..Line::default() }).await;
        Ok(())
    }

    fn say_to(&self, fingerprint: &str, what: ToGateway) {
        if let Some(link) = self.premises.links.iter().find(|link| link.via.fingerprint == fingerprint) {
            link.say(what);
        }
    }

    fn asked(&self, id: &str) -> Result<(usize, String, Ask), NotDone> {
        self.premises.asks.find(id).ok_or(NotDone::Gone)
    }

    fn answer(&self, (gateway, own): (usize, String), allowed: bool) {
        self.premises.asks.gone(gateway, &own);
        if let Some(link) = self.premises.links.get(gateway) {
            link.say(ToGateway::Answer { id: own, allowed });
        }
    }

    async fn grant(&self, id: &str, by: String) -> Result<(), NotDone> {
        let _turn = self.turn.lock().await;
        let (gateway, own, ask) = self.asked(id)?;
        let lasts = Duration::from_secs(u64::from(ask.minutes) * 60).min(self.premises.settings.switch.most);
        let user: Username = ask.user.parse().map_err(|_| NotDone::NoSuchName)?;
        if !self.premises.switch.is_open() {
            self.change(Change::Open(lasts), "opened", None, by.clone()).await?;
        }
        let change = Change::Allow(Whose::User(user), Some(lasts));
        self.change(change, "allowed", Some(ask.user), by).await?;
        self.answer((gateway, own), true);
        Ok(())
    }

    async fn deny(&self, id: &str, by: String) -> Result<(), NotDone> {
        let (gateway, own, ask) = self.asked(id)?;
        self.answer((gateway, own), false);
        let line = Line { event: "denied", who: Some(ask.user), by: Some(by), ..Line::default() };
        self.premises.note(line).await;
        Ok(())
    }

    async fn allow(&self, who: String, by: String) -> Result<(), NotDone> {
        let _turn = self.turn.lock().await;
        let whose = who.parse().map_err(|_| NotDone::NoSuchName)?;
        self.change(Change::Allow(whose, None), "allowed", Some(who), by).await
    }

    async fn open(&self, change: Change, by: String) -> Result<(), NotDone> {
        let _turn = self.turn.lock().await;
        self.change(change, "opened", None, by).await
    }
}

#[async_trait]
impl Desk for Hall {
    fn view(&self) -> View {
        let premises = &self.premises;
        let (settings, seen) = (&premises.settings, premises.switch.seen());
        let named = seen.named.into_iter().map(|(who, until)| {
            let firm = match &who {
                Whose::Firm(firm) => firm.to_string(),
                Whose::User(user) => user.firm().to_string(),
                Whose::Schedule => String::new(),
            };
            Named { who: who.to_string(), title: premises.firm_title(&firm), until }
        });
        let mut visits = premises.visits.over();
        visits.extend(premises.shelf.kept(SHOWN));
        visits.truncate(SHOWN);
        View {
            site: settings.name.to_string(),
            title: settings.title.clone(),
            now: premises.time.now().wall,
            zone: settings.zone_name.clone(),
            switch: Shown {
                open: seen.until.is_some(),
                until: seen.until,
                most_minutes: u32::try_from(seen.most.as_secs() / 60).unwrap_or(u32::MAX),
                backup_only: seen.standing.backup_only,
                when_possible: seen.standing.when_possible,
            },
            named: named.collect(),
            firms: settings.firms.clone(),
            lights: self.lights.now(),
            present: premises.visits.present(),
            asks: premises.asks.all(),
            visits,
            access: self.access.borrow().clone(),
        }
    }

    async fn act(&self, action: Action, by: By) -> Result<(), NotDone> {
        let by = match by {
            By::Page(from) => format!("page {from}"),
            By::Terminal(user) => format!("terminal {user}"),
        };
        match action {
            Action::Open { minutes } => {
                self.open(Change::Open(Duration::from_secs(u64::from(minutes) * 60)), by).await
            }
            Action::OpenToday => self.open(Change::OpenToday, by).await,
            Action::Close => {
                self.close(by).await;
                Ok(())
            }
            Action::Allow { who } => self.allow(who, by).await,
            Action::Withdraw { who } => self.withdraw(&who, by).await,
            Action::Grant { ask } => self.grant(&ask, by).await,
            Action::Deny { ask } => self.deny(&ask, by).await,
            Action::End { visit } => self.end(&visit, by).await,
            Action::BackupOnly { on } => self.stand(by, |standing| standing.backup_only = on).await,
            Action::WhenPossible { on } => self.stand(by, |standing| standing.when_possible = on).await,
        }
    }

    async fn report(&self, visit: &str) -> Option<Report> {
        let (reports, visit) = (Arc::clone(&self.premises.shelf), visit.to_owned());
        tokio::task::spawn_blocking(move || reports.report(&visit)).await.ok().flatten()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
