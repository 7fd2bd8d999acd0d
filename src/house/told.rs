//! Where notices go, as gateway.toml says, ready for use; reports of fraud on their way there.
//! Absent on purpose: posting.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use crate::config::{Notice, Notify};
use crate::front::Front;
use crate::identity::second_factor::Fraud;
use crate::notify::{About, Notifier, Target, Told};

/// Nowhere, if the file has no `[notify]`.
pub(super) async fn notices(notify: Option<&Notify>) -> anyhow::Result<Option<Target>> {
    let Some(notify) = notify else { return Ok(None) };
    let ca = match &notify.ca {
        Some(ca) => Some(tokio::fs::read(ca).await.with_context(|| format!("{}", ca.display()))?),
        None => None,
    };
    Ok(Some(Target::new(notify, ca.as_deref()).context("[notify]")?))
}

/// Locks whoever reported a question as not theirs, and tells of it, until the gateway ends.
pub(super) async fn alarmed(mut alarms: mpsc::Receiver<Fraud>, front: Arc<Front>, notices: Notifier) {
    while let Some(Fraud { user, key, source }) = alarms.recv().await {
        front.fraud(&user, &key);
        let told = Told {
            notice: Notice::Fraud,
            english: format!(
                "{user} reported a login from {source} as not theirs. All their keys are barred for a day; a new key can be registered."
            ),
            german: format!(
                "{user} hat eine Anmeldung von {source} als fremd gemeldet. Alle Schlüssel der Person sind einen Tag gesperrt; ein neuer kann eingetragen werden."
            ),
            about: About::Login(user, key),
            job: None,
            cause: format!("reported from {source}"),
        };
        notices.tell(told).await;
    }
}
