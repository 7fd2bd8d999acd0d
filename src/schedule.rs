//! Backups by themselves: each `[[schedule]]` of a site's file runs at its time, once, whichever gateway comes first.
//! Absent on purpose: a person. What runs stands in the site's file; the gate, the journal and the jobs are the same.
//!
//! Beside the backups, of each box that has a schedule: hourly, is a good backup missing; daily, old ones go; weekly, all
//! that is kept is opened.

mod due;
mod plan;
mod run;
mod times;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::{Id, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use due::{Due, due, plan};
pub use plan::{NextRun, Plan, next_runs};
pub use times::{Moment, Times};

use crate::commands::Works;
use crate::config::{Config, Language, Notice};
use crate::names::KonnektorId;
use crate::notify::Notifier;
use crate::state::StateError;

/// Runs at once.
const AT_ONCE: usize = 4;
/// A look at least so often: clocks jump.
const TICK: Duration = Duration::from_secs(30);
/// And never so soon again.
const PAUSE: Duration = Duration::from_millis(200);
/// Jobs that are looked at for one that still runs.
const LOOKED_AT: u32 = 1000;
/// How long a close waits for what runs.
const GRACE: Duration = Duration::from_secs(45);

/// What all runs share.
struct Shared {
    works: Arc<Works>,
    notices: Notifier,
    plan: ArcSwap<Plan>,
    wake: Notify,
    stop: CancellationToken,
    /// When this gateway did.
    started: Timestamp,
    /// Which gateway takes a slot: this one, of this start.
    holder: String,
    language: Language,
}

/// The task that runs schedules.
pub struct Scheduler {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

impl Scheduler {
    /// Follows the schedules of `config` until `stop`. `holder` is a name that no other gateway has.
    pub fn start(
        works: Arc<Works>,
        notices: Notifier,
        config: &Config,
        holder: String,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            started: works.clock.now(),
            works,
            notices,
            plan: ArcSwap::from_pointee(Plan::of(config)),
            wake: Notify::new(),
            stop,
            holder,
            language: config.gateway.language,
        });
        let task = Some(tokio::spawn(Arc::clone(&shared).follow()));
        Self { shared, task }
    }

    /// From now on these schedules count. What runs goes on, unless its box has none any more.
    pub fn change(&self, plan: Plan) {
        self.shared.plan.store(Arc::new(plan));
        self.look();
    }

    /// Looks at the clock now.
    pub fn look(&self) {
        self.shared.wake.notify_one();
    }

    /// After its `stop`: waits until what runs has come to an end and is written down.
    pub async fn close(&mut self) {
        if let Some(task) = self.task.take()
            && tokio::time::timeout(GRACE, task).await.is_err()
        {
            tracing::warn!("a schedule was cut at the end");
        }
    }
}

impl Shared {
    async fn follow(self: Arc<Self>) {
        self.tell_unfinished().await;
        let mut runs = JoinSet::new();
        let mut names: BTreeMap<Id, String> = BTreeMap::new();
        loop {
            let wait = match self.look(&mut runs, &mut names).await {
                Ok(wait) => wait,
                Err(e) => {
                    tracing::error!("schedules: {e}");
                    TICK
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(done) = runs.join_next_with_id(), if !runs.is_empty() => {
                    let id = match done {
                        Ok((id, ())) => id,
                        Err(e) => e.id(),
                    };
                    names.remove(&id);
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // Each has heard `stop` as well.
        while runs.join_next().await.is_some() {}
    }

    /// Begins what is due, and says how long nothing will be.
    async fn look(
        self: &Arc<Self>,
        runs: &mut JoinSet<()>,
        names: &mut BTreeMap<Id, String>,
    ) -> Result<Duration, StateError> {
        let plan = self.plan.load_full();
        let state = &self.works.state;
        let now = self.works.clock.now();
        let mut slots = state.slots().await?;
        let mut began = false;
        for (name, times) in plan.times() {
            let (Some(latest), Some(next)) = (times.latest(now), times.next(now, None)) else { continue };
            if slots.get(name).is_none_or(|taken| taken.slot > next.slot) {
                state.begin_slots(name, latest.slot, next.slot).await?;
                began = true;
            }
        }
        if began {
            slots = state.slots().await?;
        }
        for due in due::plan(plan.times(), &slots, now, self.started) {
            let Some((name, item)) = plan.item(due.nth) else { continue };
            if names.values().any(|running| running == name) {
                continue;
            }
            if due.at > now {
                let wait = Duration::try_from(due.at.duration_since(now)).unwrap_or(TICK);
                return Ok(wait.clamp(PAUSE, TICK));
            }
            if runs.len() >= AT_ONCE {
                return Ok(TICK);
            }
            let run = Arc::clone(self).run(name.clone(), item.clone(), due.slot);
            names.insert(runs.spawn(run).id(), name.clone());
        }
        Ok(TICK)
    }

    /// Restores that the last run of the gateway left in their midst.
    async fn tell_unfinished(&self) {
        let boxes: Vec<KonnektorId> = self.works.konnektors.known.load().keys().cloned().collect();
        for id in boxes {
            if let Err(e) = self.tell_unfinished_at(&id).await {
                tracing::error!("schedules: {e}");
            }
        }
    }

    /// A restore that is not at its end, and that no job is at work at, here or at another gateway.
    async fn tell_unfinished_at(&self, id: &KonnektorId) -> Result<(), StateError> {
        let (state, name) = (&self.works.state, id.to_string());
        if state.unfinished(&name).await?.is_none() {
            return Ok(());
        }
        let at_work = |job: &crate::state::JobRecord| job.konnektor == name && job.ended.is_none();
        if !state.jobs(LOOKED_AT).await?.iter().any(at_work) {
            self.tell_daily(words::interrupted(id), Notice::RestoreInterrupted, id).await;
        }
        Ok(())
    }
}
