//! Work orders: one confirmation for several things in advance. Who comes with the same key from the same address while
//! one is open is let in without another question, and for that alone.
//! Absent on purpose: what rules allow; an order opens nothing that a rule does not.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::second_factor::Confirmation;
use super::{KeyProven, Who};
use crate::asks::{Family, Order};
use crate::clock::Clock;
use crate::names::{Fingerprint, SiteName, Ticket, Username};
use crate::state::{OrderRecord, State, StateError};

/// Orders that one person has open at a time.
const OPEN: usize = 8;
/// How long the state may be out of reach before orders let nobody in: another gateway may have closed them.
const STALE: Duration = Duration::from_secs(10);

/// A confirmed order. Made by [`Orders::begin`] alone, out of a confirmation of these very words.
#[derive(Debug)]
pub struct WorkOrder {
    user: Username,
    key: Fingerprint,
    from: IpAddr,
    ticket: Ticket,
    sites: Vec<SiteName>,
    may: Vec<Family>,
    begun: Timestamp,
    until: Timestamp,
    closed: AtomicBool,
}

impl WorkOrder {
    /// What it is called by.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Where.
    pub fn sites(&self) -> &[SiteName] {
        &self.sites
    }

    /// What.
    pub fn may(&self) -> &[Family] {
        &self.may
    }

    /// The address that it was confirmed from.
    pub fn from(&self) -> IpAddr {
        self.from
    }

    /// When it was confirmed.
    pub fn begun(&self) -> Timestamp {
        self.begun
    }

    /// When it ends.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// How long it was confirmed for.
    pub fn lasts(&self) -> Duration {
        Duration::try_from(self.until.duration_since(self.begun)).unwrap_or(Duration::MAX)
    }

    /// Is it open?
    pub fn is_open(&self, now: Timestamp) -> bool {
        !self.closed.load(Ordering::SeqCst) && now < self.until
    }

    /// Does it name this?
    pub fn covers(&self, family: Family, site: Option<&SiteName>) -> bool {
        self.may.contains(&family) && site.is_some_and(|site| self.sites.contains(site))
    }

    /// The same person's, of the same name and moment.
    fn is_same(&self, other: &Self) -> bool {
        (&self.user, &self.ticket, self.begun) == (&other.user, &other.ticket, other.begun)
    }

    fn record(&self) -> OrderRecord {
        let joined = |words: Vec<&str>| words.join(",");
        OrderRecord {
            user: self.user.to_string(),
            key: self.key.to_string(),
            from: self.from.to_string(),
            ticket: self.ticket.to_string(),
            sites: joined(self.sites.iter().map(SiteName::as_str).collect()),
            may: joined(self.may.iter().map(|family| family.as_str()).collect()),
            begun: self.begun,
            until: self.until,
        }
    }

    /// `None`: the record is of another version, and counts for nothing.
    fn kept(record: &OrderRecord) -> Option<Self> {
        let family = |word: &str| Family::NAMED.into_iter().find(|family| family.as_str() == word);
        Some(Self {
            user: record.user.parse().ok()?,
            key: record.key.parse().ok()?,
            from: record.from.parse().ok()?,
            ticket: record.ticket.parse().ok()?,
            sites: record.sites.split(',').map(|site| site.parse().ok()).collect::<Option<_>>()?,
            may: record.may.split(',').map(family).collect::<Option<_>>()?,
            begun: record.begun,
            until: record.until,
            closed: AtomicBool::new(false),
        })
    }
}

/// The open orders under which somebody was let in; at least one. Made by [`Orders::covering`] alone.
#[derive(Clone, Debug)]
pub struct Under(Arc<[Arc<WorkOrder>]>);

impl Under {
    /// Is any of them open?
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.0.iter().any(|order| order.is_open(now))
    }

    /// Does one that is open, and was confirmed for no longer than `longest`, name this?
    pub fn covers(&self, family: Family, site: Option<&SiteName>, longest: Duration, now: Timestamp) -> bool {
        self.0
            .iter()
            .any(|order| order.is_open(now) && order.lasts() <= longest && order.covers(family, site))
    }

    /// For the journal: `order T-1, T-2`.
    pub(super) fn factor(&self) -> String {
        let tickets: Vec<&str> = self.0.iter().map(|order| order.ticket.as_str()).collect();
        format!("order {}", tickets.join(", "))
    }
}

/// Why an order was not begun.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// There is no confirmation of these words by this person.
    #[error("not-confirmed")]
    NotConfirmed,
    /// One of that name is open.
    #[error("order-open-already")]
    OpenAlready,
    /// The person has too many open.
    #[error("too-many-orders")]
    TooMany,
    /// It could not be written down.
    #[error("state")]
    State(#[from] StateError),
}

/// The open orders of everybody, at every gateway of this state.
pub struct Orders {
    state: State,
    clock: Clock,
    open: Mutex<Vec<Arc<WorkOrder>>>,
    /// Closed here, and perhaps not yet in the state: they never come back from there.
    closed: Mutex<Vec<Arc<WorkOrder>>>,
    /// When they were last read, if anybody follows what other gateways do.
    read: Mutex<Option<Instant>>,
    /// One is written down, or all are read, after the other.
    writing: tokio::sync::Mutex<()>,
}

impl Orders {
    /// Those that were open before.
    ///
    /// # Errors
    /// The database.
    pub async fn open(state: State, clock: Clock) -> Result<Self, StateError> {
        let records = state.open_orders(clock.now()).await?;
        let open = records.iter().filter_map(WorkOrder::kept).map(Arc::new).collect();
        let (closed, read, writing) = Default::default();
        Ok(Self { state, clock, open: Mutex::new(open), closed, read, writing })
    }

    /// Reads all of them again: what another gateway has closed is closed, what it has opened is open where `holds` says
    /// that its key counts from there. Gives how many were closed.
    ///
    /// # Errors
    /// The database; what was open stays so.
    pub async fn refresh(
        &self,
        holds: impl Fn(&Username, &Fingerprint, IpAddr) -> bool,
    ) -> Result<usize, StateError> {
        let _turn = self.writing.lock().await;
        let records = self.state.open_orders(self.clock.now()).await?;
        let kept: Vec<_> = records.iter().filter_map(WorkOrder::kept).map(Arc::new).collect();
        let (gone, unwritten) = self.merge(kept, holds);
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.unwrite(&unwritten).await;
        Ok(gone)
    }

    /// How many were closed elsewhere, and those that are closed here, but not in the state.
    fn merge(
        &self,
        kept: Vec<Arc<WorkOrder>>,
        holds: impl Fn(&Username, &Fingerprint, IpAddr) -> bool,
    ) -> (usize, Vec<Arc<WorkOrder>>) {
        let mut open = self.all();
        let mut gone = 0;
        for order in open.iter().filter(|order| !kept.iter().any(|kept| kept.is_same(order))) {
            order.closed.store(true, Ordering::SeqCst);
            gone += 1;
        }
        let mut unwritten = Vec::new();
        for order in kept {
            let closed = self.closed().iter().find(|closed| closed.is_same(&order)).cloned();
            if let Some(closed) = closed {
                unwritten.push(closed);
            } else if !open.iter().any(|open| open.is_same(&order))
                && holds(&order.user, &order.key, order.from)
            {
                open.push(order);
            }
        }
        (gone, unwritten)
    }

    /// Nobody can say whether they are still open: followed, but not read for a while.
    fn is_stale(&self) -> bool {
        let read = *self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.is_some_and(|read| read.elapsed() > STALE)
    }

    fn closed(&self) -> MutexGuard<'_, Vec<Arc<WorkOrder>>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<WorkOrder>>> {
        let now = self.clock.now();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|order| order.is_open(now));
        open
    }

    /// Begins what `who` has confirmed by these `words`; it is written down before it counts.
    ///
    /// # Errors
    /// [`NotBegun`]
    pub async fn begin(
        &self,
        confirmation: &Confirmation,
        who: &Who,
        words: &str,
        order: &Order,
    ) -> Result<Arc<WorkOrder>, NotBegun> {
        if !confirmation.covers(who, words) {
            return Err(NotBegun::NotConfirmed);
        }
        // As precise as the state is: by this moment an order is known again.
        let begun = Timestamp::from_microsecond(self.clock.now().as_microsecond()).unwrap_or_default();
        let lasts = SignedDuration::try_from(order.lasts).unwrap_or(SignedDuration::ZERO);
        let order = Arc::new(WorkOrder {
            user: who.user().clone(),
            key: who.key().clone(),
            from: who.source(),
            ticket: order.ticket.clone(),
            sites: order.sites.clone(),
            may: order.may.clone(),
            begun,
            until: begun.saturating_add(lasts).unwrap_or(begun),
            closed: AtomicBool::new(false),
        });
        let _turn = self.writing.lock().await;
        {
            let all = self.all();
            let mine = || all.iter().filter(|other| other.user == order.user);
            if mine().any(|other| other.ticket == order.ticket) {
                return Err(NotBegun::OpenAlready);
            }
            if mine().count() >= OPEN {
                return Err(NotBegun::TooMany);
            }
        }
        if !self.state.put_order(&order.record()).await? {
            // Opened at another gateway this very second, or closed here while the state was out of reach.
            return Err(NotBegun::OpenAlready);
        }
        self.all().push(order.clone());
        Ok(order)
    }

    /// The open orders of this person.
    pub fn of(&self, user: &Username) -> Vec<Arc<WorkOrder>> {
        self.all().iter().filter(|order| order.user == *user).cloned().collect()
    }

    /// Closes this person's orders, or the one of that name; gives those that were open. They count no more when this is
    /// called, whether the state can be written or not.
    pub async fn close(&self, user: &Username, ticket: Option<&Ticket>) -> Vec<Arc<WorkOrder>> {
        let mut closed = self.of(user);
        closed.retain(|order| ticket.is_none_or(|ticket| order.ticket == *ticket));
        self.shut(&closed);
        self.forget(&closed).await;
        closed
    }

    async fn forget(&self, closed: &[Arc<WorkOrder>]) {
        let _turn = self.writing.lock().await;
        self.unwrite(closed).await;
    }

    /// What cannot be taken out of the state now is taken out when it is read next.
    async fn unwrite(&self, closed: &[Arc<WorkOrder>]) {
        for order in closed {
            match self.state.end_order(order.user.as_str(), order.ticket.as_str(), order.begun).await {
                Ok(()) => self.closed().retain(|kept| !Arc::ptr_eq(kept, order)),
                Err(e) => {
                    tracing::error!(ticket = %order.ticket, "a closed work order stays in the state: {e}");
                }
            }
        }
    }

    /// Here it is over from now on.
    fn shut(&self, orders: &[Arc<WorkOrder>]) {
        let now = self.clock.now();
        let mut closed = self.closed();
        closed.retain(|order| now < order.until);
        for order in orders {
            order.closed.store(true, Ordering::SeqCst);
            closed.push(order.clone());
        }
    }

    /// Closes all whose key counts no more from where they were confirmed: it may come back, they do not.
    pub fn end_unless(self: &Arc<Self>, holds: impl Fn(&Username, &Fingerprint, IpAddr) -> bool) {
        let mut gone: Vec<_> = self.all().clone();
        gone.retain(|order| !holds(&order.user, &order.key, order.from));
        if gone.is_empty() {
            return;
        }
        self.shut(&gone);
        let orders = self.clone();
        tokio::spawn(async move { orders.forget(&gone).await });
    }

    /// The open orders that this key, from this address, has confirmed; none while nobody can say whether another gateway
    /// has closed them.
    pub fn covering(&self, proof: &KeyProven) -> Option<Under> {
        if self.is_stale() {
            return None;
        }
        let from = proof.connection.from.ip().to_canonical();
        let same = |order: &&Arc<WorkOrder>| {
            order.user == proof.user && order.key == proof.key && order.from == from
        };
        let open: Arc<[_]> = self.all().iter().filter(same).cloned().collect();
        (!open.is_empty()).then_some(Under(open))
    }
}
