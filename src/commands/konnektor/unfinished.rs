//! A restore that is not at its end: what is needed to resume it, or to undo it.
//! Absent on purpose: values of services; the vault has them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{Ended, Out, Works, exit};
use super::said;
use crate::asks::{Certificates, Source};
use crate::names::{BackupName, IncomingName, KonnektorId, ServiceName};

/// Kept in the state from before the first write until all is as wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unfinished {
    /// Kept of this box: what is restored.
    pub(super) kept: Option<BackupName>,
    /// Or handed in.
    pub(super) incoming: Option<IncomingName>,
    /// The sum of what was handed in, as it was then.
    #[serde(default)]
    pub(super) sum: Option<String>,
    /// What the box held before.
    pub(super) before: BackupName,
    /// `new`, `overwrite`, `delete`.
    pub(super) certificates: String,
    /// These alone, if any is named.
    pub(super) services: Vec<ServiceName>,
    /// What may have been written.
    pub(super) attempted: Vec<ServiceName>,
    /// Where the box may be by now, beside the site's file.
    pub(super) address: Option<String>,
    /// Whether it came to its last step: then a new restore may take its place.
    pub(super) at_its_end: bool,
    /// Whether it is an undo.
    pub(super) undo: bool,
    /// Who began it.
    pub(super) by: String,
    /// When.
    pub(super) began: Timestamp,
}

impl Unfinished {
    pub(super) fn source(&self) -> Option<Source> {
        let kept = self.kept.clone().map(Source::Kept);
        kept.or_else(|| self.incoming.clone().map(Source::Incoming))
    }

    pub(super) fn certificates(&self) -> Certificates {
        match self.certificates.as_str() {
            "overwrite" => Certificates::Overwrite,
            "delete" => Certificates::Delete,
            _ => Certificates::New,
        }
    }
}

pub(super) fn word(certificates: Certificates) -> String {
    match certificates {
        Certificates::New => "new",
        Certificates::Overwrite => "overwrite",
        Certificates::Delete => "delete",
    }
    .to_owned()
}

/// What is unfinished at a box.
pub(super) async fn at(works: &Works, out: &Out, id: &KonnektorId) -> Result<Option<Unfinished>, Ended> {
    match works.state.unfinished(&id.to_string()).await {
        Ok(None) => Ok(None),
        Ok(Some(record)) => match serde_json::from_str(&record) {
            Ok(unfinished) => Ok(Some(unfinished)),
            Err(e) => Err(state_failed(out, &e.to_string()).await),
        },
        Err(e) => Err(state_failed(out, &e.to_string()).await),
    }
}

/// Kept durably before what it is about is done.
pub(super) async fn keep(works: &Works, id: &KonnektorId, record: &Unfinished) -> Result<(), String> {
    let text = serde_json::to_string(record).map_err(|e| e.to_string())?;
    works.state.keep_unfinished(&id.to_string(), &text).await.map_err(|e| e.to_string())
}

/// It is at a good end.
pub(super) async fn forget(works: &Works, out: &Out, id: &KonnektorId) -> Result<(), Ended> {
    match works.state.forget_unfinished(&id.to_string()).await {
        Ok(()) => Ok(()),
        Err(e) => Err(state_failed(out, &e.to_string()).await),
    }
}

pub(super) async fn state_failed(out: &Out, cause: &str) -> Ended {
    tracing::error!("state: {cause}");
    let english = "The gateway's state cannot be read or written, so nothing was begun. Tell its operator.";
    let german = "Der Zustand des Gateways ist nicht les- oder schreibbar, also wurde nichts begonnen. Sagen Sie es dem Betreiber.";
    said(out, out.pick(english, german).to_owned(), exit::FAILED, "state".into()).await
}
