//! What runs right now on connections that are in: ways to hosts, and what is done in them. It can be told to end, and a screen followed.
//! Absent on purpose: the connections themselves (`front`), deciding who may look, and any wait: what runs is never held up here.

mod screen;

pub use screen::{Lost, Picture, Piece, Screen, Watcher};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::names::{HostName, SessionId, SiteName};

/// All that runs.
#[derive(Default)]
pub struct Live {
    ways: Mutex<BTreeMap<u64, Arc<Way>>>,
    next: AtomicU64,
}

/// Bytes that were passed on.
#[derive(Debug, Default)]
pub struct Counted {
    /// From the technician.
    pub up: AtomicU64,
    /// To the technician.
    pub down: AtomicU64,
}

/// Whether the gateway sees what goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// It does not.
    Sealed,
    /// It does, and keeps it.
    Recorded,
}

/// A way to a host.
pub struct Way {
    /// The connection it belongs to.
    pub session: SessionId,
    /// The customer.
    pub site: SiteName,
    /// The host there.
    pub host: HostName,
    /// Is it looked into?
    pub inner: Inner,
    /// Since when.
    pub since: Timestamp,
    /// Bytes of what has ended in it; of a sealed one, all.
    pub counted: Arc<Counted>,
    acts: Mutex<BTreeMap<u32, Arc<Act>>>,
}

/// What an act is.
#[derive(Clone, Debug)]
pub struct About {
    /// `shell`, `exec`, `subsystem`, `forward`.
    pub kind: &'static str,
    /// The words that were asked for; empty for a shell.
    pub command: Vec<u8>,
    /// Columns and rows, where there is a terminal.
    pub terminal: Option<(u32, u32)>,
    /// The recording's name.
    pub recording: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// One thing that is done at a host: a channel of a relayed session.
pub struct Act {
    /// Its number, as recordings have it.
    pub channel: u32,
    /// What it is.
    pub about: About,
    /// Its bytes so far.
    pub counted: Counted,
    /// There if it has a terminal.
    pub screen: Option<Screen>,
    end: CancellationToken,
    why: OnceLock<String>,
}

/// It is listed until this is dropped.
pub struct Present {
    live: Arc<Live>,
    number: u64,
    way: Arc<Way>,
}

/// It is listed until this is dropped; then those who watch are told.
pub struct Doing {
    way: Arc<Way>,
    act: Arc<Act>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counted {
    /// Both, up first.
    pub fn read(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

impl Live {
    /// A way to a host begins.
    pub fn begin(
        self: &Arc<Self>,
        session: SessionId,
        (site, host): (SiteName, HostName),
        inner: Inner,
        since: Timestamp,
    ) -> Present {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (counted, acts) = (Arc::default(), Mutex::default());
        let way = Arc::new(Way { session, site, host, inner, since, counted, acts });
        locked(&self.ways).insert(number, way.clone());
        Present { live: self.clone(), number, way }
    }

    /// All ways, the oldest first.
    pub fn ways(&self) -> Vec<Arc<Way>> {
        locked(&self.ways).values().cloned().collect()
    }

    /// What is done on one connection.
    pub fn acts(&self, session: SessionId) -> Vec<(Arc<Way>, Arc<Act>)> {
        let ways = self.ways().into_iter().filter(|way| way.session == session);
        ways.flat_map(|way| way.acts().into_iter().map(move |act| (way.clone(), act))).collect()
    }

    /// One of them.
    pub fn act(&self, session: SessionId, channel: u32) -> Option<(Arc<Way>, Arc<Act>)> {
        self.acts(session).into_iter().find(|(_, act)| act.channel == channel)
    }
}

impl Way {
    /// What is done in it, in the order of their numbers.
    pub fn acts(&self) -> Vec<Arc<Act>> {
        locked(&self.acts).values().cloned().collect()
    }

    /// Bytes so far, up first.
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |(up, down): (u64, u64), act: &Arc<Act>| {
            let (more_up, more_down) = act.counted.read();
            (up.saturating_add(more_up), down.saturating_add(more_down))
        };
        self.acts().iter().fold(self.counted.read(), sum)
    }
}

impl Act {
    /// Ends it; the person reads `why`. `false` if it is ending already.
    pub fn end(&self, why: &str) -> bool {
        let first = self.why.set(why.to_owned()).is_ok();
        self.end.cancel();
        first
    }

    /// Returns the reason when somebody has ended it.
    pub async fn ended(&self) -> &str {
        self.end.cancelled().await;
        self.why.get().map_or("", String::as_str)
    }

    /// Output that the person's terminal gets.
    pub fn shown(&self, bytes: &bytes::Bytes) {
        if let Some(screen) = &self.screen {
            screen.shown(bytes);
        }
    }

    /// The person's terminal has another size.
    pub fn resized(&self, columns: u32, rows: u32) {
        if let Some(screen) = &self.screen {
            screen.resized(columns, rows);
        }
    }
}

impl Present {
    /// Something is begun in it. The number is one that no other act of the connection has.
    pub fn begin(&self, channel: u32, about: About) -> Doing {
        let screen = about.terminal.map(|(columns, rows)| Screen::new(columns, rows));
        let (end, why) = (CancellationToken::new(), OnceLock::new());
        let act = Arc::new(Act { channel, about, counted: Counted::default(), screen, end, why });
        locked(&self.way.acts).insert(channel, act.clone());
        Doing { way: self.way.clone(), act }
    }

    /// Bytes of what has ended in it.
    pub fn counted(&self) -> &Arc<Counted> {
        &self.way.counted
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        locked(&self.live.ways).remove(&self.number);
    }
}

impl std::ops::Deref for Doing {
    type Target = Act;
    fn deref(&self) -> &Act {
        &self.act
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        locked(&self.way.acts).remove(&self.act.channel);
        if let Some(screen) = &self.act.screen {
            screen.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(live: &Arc<Live>, session: SessionId) -> Present {
        let place = ("praxis-mueller".parse().unwrap(), "backup".parse().unwrap());
        live.begin(session, place, Inner::Recorded, Timestamp::UNIX_EPOCH)
    }

    fn about(terminal: Option<(u32, u32)>) -> About {
        let (command, recording) = (b"uptime".to_vec(), None);
        About { kind: "exec", command, terminal, recording, since: Timestamp::UNIX_EPOCH }
    }

    #[tokio::test]
    async fn what_runs_is_listed_until_it_is_dropped_and_the_first_reason_to_end_it_stays() {
        let (live, session) = (Arc::new(Live::default()), SessionId::new(1, 2));
        let way = present(&live, session);
        let act = way.begin(3, about(None));
        act.counted.down.fetch_add(5, Ordering::Relaxed);
        way.counted().down.fetch_add(7, Ordering::Relaxed);
        assert_eq!(live.ways()[0].bytes(), (0, 12));
        assert!(live.act(session, 4).is_none() && live.act(SessionId::new(1, 3), 3).is_none());
        let (_, found) = live.act(session, 3).unwrap();
        assert!(found.end("maintenance is over"));
        assert!(!found.end("something else"));
        assert_eq!(act.ended().await, "maintenance is over");
        drop(act);
        assert!(live.acts(session).is_empty());
        drop(way);
        assert!(live.ways().is_empty());
    }

    #[tokio::test]
    async fn who_watches_is_told_of_the_end_though_they_hold_the_act() {
        let (live, session) = (Arc::new(Live::default()), SessionId::new(1, 2));
        let way = present(&live, session);
        let act = way.begin(0, about(Some((80, 24))));
        let (_, held) = live.act(session, 0).unwrap();
        let (_, mut watcher) = held.screen.as_ref().unwrap().watch().unwrap();
        drop(act);
        assert_eq!(watcher.next().await, Ok(None));
        assert!(held.screen.as_ref().unwrap().watch().is_none());
    }
}
