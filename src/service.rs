//! A word to systemd (`sd_notify(3)`): ready, how it is, still alive. Nothing at all where nobody listens.
//! Absent on purpose: what the words say.

use std::time::Duration;

use sd_notify::NotifyState;

fn tell(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::debug!("systemd is not told: {e}");
    }
}

/// The service does its work from now on.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// How it is, in one line; `systemctl status` shows it.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// It is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says again and again that the program still runs its tasks, if the unit wants that (`WatchdogSec=`). Never ends.
pub async fn alive() {
    let Some(within) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut each = tokio::time::interval((within / 3).max(Duration::from_millis(100)));
    loop {
        each.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}
