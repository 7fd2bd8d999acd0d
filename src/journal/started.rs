//! [`Permit`] → [`Started`], [`Standing`] → [`Routine`]: the line is on disk, now it may run. No line, no action.
//! Absent on purpose: deciding. A permit is taken as it is, and so is a standing order.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{CannotJournal, Entry, Event, Journal};
use crate::asks::{Ask, Chore};
use crate::clock::Clock;
use crate::identity::{Ended, Who};
use crate::names::{BackupName, KonnektorId};
use crate::policy::{Allowances, Permit, Standing};

/// Permitted, and its `started` line is durable. What runs asks for this and for nothing less.
/// Dropped without [`Started::finish`], it writes a `finished` line that says so, or why its connection was ended.
pub struct Started<A: Ask> {
    ask: A,
    who: Who,
    rule: Arc<str>,
    allowances: Allowances,
    end: End,
}

/// Ordered by a site's file, and its `started` line is durable. Nobody is behind it: no key, no phone, no person.
/// Dropped without [`Routine::finish`], it writes a `finished` line that says so.
pub struct Routine {
    konnektor: KonnektorId,
    rule: Arc<str>,
    chore: Chore,
    end: End,
}

/// What is needed to write the last line.
struct End {
    journal: Journal,
    clock: Clock,
    began: Timestamp,
    line: Option<Entry>,
    /// Says why the connection ended that it was done on.
    ended: Ended,
    /// Given back when the last line is durable: the journal waits for it before it closes.
    open: Option<TaskTrackerToken>,
}

/// How work ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The exit code that the client gets.
    pub exit: u32,
    /// Bytes that came from the client.
    pub bytes_in: u64,
    /// Bytes that went to the client.
    pub bytes_out: u64,
    /// Why it failed, for the journal; free of secrets.
    pub cause: Option<String>,
    /// The number of the session's channel.
    pub channel: Option<u32>,
    /// The recording that was made of it, and its SHA-256.
    pub recording: Option<(String, [u8; 32])>,
}

impl Journal {
    /// Writes the `started` line and waits until it is durable.
    pub async fn start<A: Ask>(&self, permit: Permit<A>, clock: &Clock) -> Result<Started<A>, CannotJournal> {
        let (ask, who, rule, allowances) = permit.into_parts();
        let line = Entry {
            site: ask.site().cloned(),
            target: ask.target(),
            rule: Some(rule.to_string()),
            command: Some(ask.as_asked().to_vec()),
            ..of(&who, Event::Started)
        };
        let end = self.begin(line, who.connection().ended.clone(), clock).await?;
        Ok(Started { ask, who, rule, allowances, end })
    }

    /// The same for what a site's own file orders.
    pub async fn start_standing(&self, standing: Standing, clock: &Clock) -> Result<Routine, CannotJournal> {
        let (konnektor, rule, chore) = standing.into_parts();
        let line = Entry {
            rule: Some(rule.to_string()),
            command: Some(chore.as_asked().into_bytes()),
            ..scheduled(&konnektor, Event::Started)
        };
        let end = self.begin(line, Ended::default(), clock).await?;
        Ok(Routine { konnektor, rule, chore, end })
    }

    async fn begin(&self, line: Entry, ended: Ended, clock: &Clock) -> Result<End, CannotJournal> {
        let (journal, clock, open) = (self.clone(), clock.clone(), Some(self.0.open.token()));
        // In a task of its own: whoever asked may go away while the disk works, and then the line has an end all the same.
        let started = tokio::spawn(async move {
            journal.append(line.clone()).await?;
            let (began, line) = (clock.now(), Some(Entry { event: Event::Finished, ..line }));
            Ok(End { journal, clock, began, line, ended, open })
        });
        started.await.map_err(|_| CannotJournal::Closed)?
    }
}

/// A line about somebody who is logged in.
pub fn of(who: &Who, event: Event) -> Entry {
    Entry {
        session: Some(who.connection().session),
        user: Some(who.user().clone()),
        firm: Some(who.firm().clone()),
        key: Some(who.key().clone()),
        from: Some(who.connection().from),
        factor: Some(who.factor().to_owned()),
        ..Entry::new(event)
    }
}

/// A line about a box that nobody but a schedule is at.
pub fn scheduled(konnektor: &KonnektorId, event: Event) -> Entry {
    Entry {
        factor: Some("schedule".into()),
        site: Some(konnektor.site.clone()),
        target: Some(format!("konnektor/{}", konnektor.konnektor)),
        ..Entry::new(event)
    }
}

impl Routine {
    /// The box.
    pub fn konnektor(&self) -> &KonnektorId {
        &self.konnektor
    }

    /// What is to be done there.
    pub fn chore(&self) -> &Chore {
        &self.chore
    }

    /// Where the order stands, `praxis-mueller.toml:12`.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Writes down that a kept backup is removed, and waits until the line is durable; only then may it go.
    pub async fn removes(&self, name: &BackupName) -> Result<(), CannotJournal> {
        let line = Entry {
            rule: Some(self.rule.to_string()),
            path: Some(name.as_str().as_bytes().to_vec()),
            change: Some("removed".into()),
            ..scheduled(&self.konnektor, Event::File)
        };
        self.end.journal.append(line).await.map(|_| ())
    }

    /// Writes the `finished` line and waits until it is durable.
    pub async fn finish(self, outcome: Outcome) -> Result<(), CannotJournal> {
        self.end.finish(outcome).await
    }
}

impl<A: Ask> Started<A> {
    /// What was permitted.
    pub fn ask(&self) -> &A {
        &self.ask
    }

    /// What that allows beyond the ordinary.
    pub fn allowances(&self) -> Allowances {
        self.allowances
    }

    /// To whom.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// By which rule.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// When it began.
    pub fn began(&self) -> Timestamp {
        self.end.began
    }

    /// Writes the `finished` line and waits until it is durable.
    pub async fn finish(self, outcome: Outcome) -> Result<(), CannotJournal> {
        self.end.finish(outcome).await
    }
}

impl End {
    async fn finish(mut self, outcome: Outcome) -> Result<(), CannotJournal> {
        match self.last_line(outcome) {
            Some(line) => self.journal.append(line).await.map(|_| ()),
            None => Ok(()),
        }
    }

    fn last_line(&mut self, outcome: Outcome) -> Option<Entry> {
        let line = self.line.take()?;
        let took = self.clock.now().duration_since(self.began).as_millis();
        Some(Entry {
            exit: Some(outcome.exit),
            bytes_in: Some(outcome.bytes_in),
            bytes_out: Some(outcome.bytes_out),
            duration_ms: Some(u64::try_from(took).unwrap_or_default()),
            cause: outcome.cause,
            channel: outcome.channel,
            sha256: outcome.recording.as_ref().map(|(_, hash)| *hash),
            recording: outcome.recording.map(|(name, _)| name),
            ..line
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // What was cut with its connection was ended by the same.
        let cause = Some(self.ended.cause().unwrap_or("abandoned").to_owned());
        if let Some(line) = self.last_line(Outcome { exit: 1, cause, ..Outcome::default() })
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (journal, open) = (self.journal.clone(), self.open.take());
            runtime.spawn(async move {
                let _open = open;
                if let Err(e) = journal.append(line).await {
                    tracing::error!("a finished line could not be written: {e}");
                }
            });
        }
    }
}
