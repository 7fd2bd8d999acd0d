//! What is noted before each write, and told while it runs.
//! Absent on purpose: the writes.

use std::sync::Mutex;

use async_trait::async_trait;

use super::super::super::jobs::Desk;
use super::super::super::{Ended, Gone, Out, exit};
use super::super::plans::told;
use super::super::said;
use super::super::unfinished::{self, Unfinished};
use crate::config::Language;
use crate::konnektor::restore::{End, Event, Kind, Step, StepResult, Stop, Watch};
use crate::names::{HostPort, KonnektorId, ServiceName};

/// For the journal.
pub(in super::super) fn end_cause(end: &End) -> String {
    match end {
        End::Done => "restore=done".into(),
        End::Failed => "restore=not-all-taken".into(),
        End::Interrupted(e) => format!("restore=interrupted {e}"),
        End::Stopped => "restore=stopped".into(),
    }
}

pub(super) async fn in_the_way(out: &Out, old: &Unfinished) -> Ended {
    let began = format!("{:.0}", old.began);
    let sentence = match out.language {
        Language::English => format!(
            "A restore that {} began at {began} is unfinished: --resume brings it to its end, --undo goes back to {}.",
            old.by, old.before
        ),
        Language::German => format!(
            "Ein Einlesen, das {} um {began} begonnen hat, ist unvollendet: --resume bringt es zu Ende, --undo geht zurück zu {}.",
            old.by, old.before
        ),
    };
    said(out, sentence, exit::FAILED, "unfinished-restore".into()).await
}

/// Where the box is now, and where that is to be written down.
pub(super) async fn moved(out: &Out, to: &HostPort, file: &str) -> Result<(), Gone> {
    out.line(match out.language {
        Language::English => format!("The box is at {to} now. In {file}: address = \"{to}\""),
        Language::German => format!("Das Gerät ist jetzt unter {to}. In {file}: address = \"{to}\""),
    })
    .await
}

/// Notes each step before it is done, and tells how far it is.
pub(super) struct Watcher<'a> {
    desk: &'a Desk,
    id: &'a KonnektorId,
    record: Mutex<Unfinished>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(desk: &'a Desk, id: &'a KonnektorId, record: Unfinished) -> Self {
        Self { desk, id, record: Mutex::new(record) }
    }

    pub(super) fn into_record(self) -> Unfinished {
        self.record.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Watch for Watcher<'_> {
    async fn before(&self, step: &Step) -> Result<(), Stop> {
        if self.desk.job.is_stopped() {
            return Err(Stop);
        }
        let record = {
            let mut record = self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !record.attempted.contains(&step.service) {
                record.attempted.push(step.service.clone());
            }
            if let Kind::Move(to) = &step.kind {
                record.address = Some(to.to_string());
            }
            record.clone()
        };
        unfinished::keep(&self.desk.works, self.id, &record).await.map_err(|e| {
            tracing::error!("a restore stops, for its next step could not be noted: {e}");
            Stop
        })
    }

    async fn after(&self, _step: &Step, _result: &StepResult) {}

    fn told(&self, event: &Event<'_>) {
        let (bar, line) = told(event, self.desk.out.language == Language::German);
        self.desk.job.progress(&bar, &line);
    }
}

pub(super) async fn replaced(out: &Out, file: &str, old: &Unfinished) -> Ended {
    let sentence = match out.language {
        Language::English => format!(
            "{file} is not the file any more with which {} began: hand that one in again, or go back with --undo.",
            old.by
        ),
        Language::German => format!(
            "{file} ist nicht mehr die Datei, mit der {} begonnen hat: geben Sie jene wieder ab, oder gehen Sie mit --undo zurück.",
            old.by
        ),
    };
    said(out, sentence, exit::FAILED, "file-replaced".into()).await
}

pub(super) async fn not_seen(out: &Out, unseen: &[ServiceName]) -> Ended {
    let list: Vec<&str> = unseen.iter().map(ServiceName::as_str).collect();
    let list = list.join(", ");
    let sentence = match out.language {
        Language::English => format!("Not at its end, for the box does not show: {list}. Try again later."),
        Language::German => {
            format!("Nicht am Ende, denn das Gerät zeigt nicht: {list}. Später noch einmal versuchen.")
        }
    };
    said(out, sentence, exit::FAILED, format!("not-read={list}")).await
}
