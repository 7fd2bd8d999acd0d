//! Connections to a session's host: one carries one channel at a time, and the next channel when that has closed.
//! Absent on purpose: sharing. What one channel does not take would keep its neighbours' words from being read.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use super::Session;
use super::target::{Failed, TargetLine, connect};

/// Connections that wait for the next channel.
const SPARE: usize = 2;

/// The spare connections of one session.
#[derive(Default)]
pub struct Pool {
    spare: Mutex<Vec<TargetLine>>,
    /// The first one, made while the client is still busy logging in.
    ahead: tokio::sync::Mutex<Option<JoinHandle<Result<TargetLine, Failed>>>>,
}

impl Pool {
    /// Makes the first one, for whoever takes it.
    pub fn ahead(session: &Arc<Session>) {
        if let Ok(mut ahead) = session.pool.ahead.try_lock() {
            let (session, stop) = (session.clone(), session.stop.clone());
            *ahead = Some(tokio::spawn(async move {
                tokio::select! { made = connect(&session) => made, () = stop.cancelled() => Err(Failed::Gone) }
            }));
        }
    }

    /// The one that was made ahead, one that waits, or a new one.
    pub async fn take(&self, session: &Session) -> Result<TargetLine, Failed> {
        if let Some(ahead) = self.ahead.lock().await.take()
            && let Ok(made) = ahead.await
            && made.as_ref().map_or(true, TargetLine::is_alive)
        {
            return made;
        }
        let spare = {
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            spare.retain(TargetLine::is_alive);
            spare.pop()
        };
        match spare {
            Some(line) => Ok(line),
            None => connect(session).await,
        }
    }

    /// Gives one back whose channel has closed on both sides.
    pub fn give(&self, line: TargetLine) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE && line.is_alive() {
            spare.push(line);
        }
    }

    /// Cuts those that wait.
    pub fn empty(&self) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
