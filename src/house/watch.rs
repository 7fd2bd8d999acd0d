//! Tells when a file of the configuration has changed: by inotify, or by SIGHUP.
//! Absent on purpose: what has changed. All of it is read again.

use std::path::Path;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Changes to come.
pub struct Changes {
    told: mpsc::Receiver<()>,
    hangup: Option<tokio::signal::unix::Signal>,
    /// Something has changed and was not handed on yet; outlives a `next` that is dropped half way.
    due: bool,
    _watcher: Option<notify::RecommendedWatcher>,
}

/// Watches `policy`, `keys` and `secrets` below `dir`.
pub fn changes(dir: &Path) -> Changes {
    let (tell, told) = mpsc::channel(1);
    let heard = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) && tell.try_send(()).is_err() {
            // One is waiting already; it means the same.
        }
    };
    let mut watcher = notify::recommended_watcher(heard)
        .map_err(|e| tracing::error!("changes are seen by SIGHUP only: {e}"))
        .ok();
    for folder in ["policy", "keys", "secrets"] {
        let path = dir.join(folder);
        if let Some(watcher) = &mut watcher
            && path.is_dir()
            && let Err(e) = watcher.watch(&path, RecursiveMode::Recursive)
        {
            tracing::error!("{} is not watched, send SIGHUP after changes: {e}", path.display());
        }
    }
    let hangup = signal(SignalKind::hangup()).map_err(|e| tracing::error!("SIGHUP: {e}")).ok();
    Changes { told, hangup, due: false, _watcher: watcher }
}

impl Changes {
    /// Returns once something has changed and then been quiet for a tenth of a second, or after half a second; at once
    /// on SIGHUP. Dropped before it returns, it loses nothing: the next call returns for the same change.
    pub async fn next(&mut self) {
        let Self { told, hangup, due, .. } = self;
        let hangup = async {
            match hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        let changed = async {
            if !*due && told.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            *due = true;
            let settle = async {
                while let Ok(Some(())) = tokio::time::timeout(Duration::from_millis(100), told.recv()).await {
                }
            };
            tokio::time::timeout(Duration::from_millis(500), settle).await.ok();
        };
        tokio::select! {
            () = changed => {}
            _ = hangup => {}
        }
        self.due = false;
    }
}
