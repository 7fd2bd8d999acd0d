//! Technicians who ask to be let in, and wait for what the practice says.
//! Absent on purpose: who may ask; a command asks for its `Started` first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Link, NoWay, Uplinks};
use crate::link::frames::{Asked, Refusal, ToSite};
use crate::names::SiteName;

/// Asks of one site that wait at once.
const MOST: usize = 16;

/// All asks that wait.
#[derive(Default)]
pub(super) struct Book(Mutex<HashMap<String, Waiting>>);

/// An ask that waits.
struct Waiting {
    site: SiteName,
    user: String,
    answer: oneshot::Sender<bool>,
}

impl Book {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The site has said something about an ask of its own.
    pub(super) fn answered(&self, site: &SiteName, id: &str, allowed: bool) {
        let mut open = self.open();
        if open.get(id).is_some_and(|waiting| waiting.site == *site)
            && let Some(waiting) = open.remove(id)
        {
            drop(open);
            waiting.answer.send(allowed).ok();
        }
    }
}

/// What came of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Let in.
    Allowed,
    /// Not.
    Denied,
    /// The link broke.
    LinkLost,
}

/// An ask that waits. Dropped, the site is told that it is gone.
pub struct Asking {
    uplinks: Arc<Uplinks>,
    link: Arc<Link>,
    id: String,
    left: bool,
    answer: oneshot::Receiver<bool>,
}

impl Uplinks {
    /// Shows this ask at the site.
    ///
    /// # Errors
    /// [`NoWay::NoLink`]; or as many as can wait there are waiting.
    pub async fn ask(self: &Arc<Self>, site: &SiteName, asked: Asked) -> Result<Asking, NoWay> {
        let link = self.link(site).ok_or(NoWay::NoLink)?;
        let (answer, answered) = oneshot::channel();
        let id = asked.id.clone();
        {
            let mut open = self.asks.open();
            let mut there = open.values().filter(|waiting| waiting.site == *site);
            if there.any(|waiting| waiting.user == asked.user) || there.count() >= MOST {
                return Err(NoWay::Refused(Refusal::TooMany));
            }
            open.insert(id.clone(), Waiting { site: site.clone(), user: asked.user.clone(), answer });
        }
        let asking = Asking { uplinks: self.clone(), link: link.clone(), id, left: false, answer: answered };
        link.tell.send(Box::new(ToSite::Ask(asked))).await.map_err(|_| NoWay::NoLink)?;
        Ok(asking)
    }
}

impl Asking {
    /// Nobody waits for the answer any more; at the site it stays.
    pub fn leave(mut self) {
        self.left = true;
    }

    /// Waits for what the practice says.
    pub async fn answer(&mut self) -> Answered {
        tokio::select! {
            answer = &mut self.answer => match answer {
                Ok(true) => Answered::Allowed,
                Ok(false) => Answered::Denied,
                Err(_) => Answered::LinkLost,
            },
            () = self.link.gone.cancelled() => Answered::LinkLost,
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.uplinks.asks.open().remove(&self.id).is_some() && !self.left {
            // A link whose queue is full is told nothing: the ask ends there by its own time.
            self.link.tell.try_send(Box::new(ToSite::AskGone { id: self.id.clone() })).ok();
        }
    }
}
