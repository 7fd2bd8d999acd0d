//! Where notices go, as gateway.toml says, ready for use.
//! Absent on purpose: posting.

use anyhow::Context;

use crate::config::Notify;
use crate::notify::Target;

/// Nowhere, if the file has no `[notify]`.
pub(super) async fn notices(notify: Option<&Notify>) -> anyhow::Result<Option<Target>> {
    let Some(notify) = notify else { return Ok(None) };
    let ca = match &notify.ca {
        Some(ca) => Some(tokio::fs::read(ca).await.with_context(|| format!("{}", ca.display()))?),
        None => None,
    };
    Ok(Some(Target::new(notify, ca.as_deref()).context("[notify]")?))
}
