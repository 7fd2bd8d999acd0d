//! Connections to a session's host: one carries one channel at a time, and the next channel when that has closed.
//! Absent on purpose: sharing. What one channel does not take would keep its neighbours' words from being read.

use std::sync::{Mutex, PoisonError};

use super::Session;
use super::target::{Failed, TargetLine, connect};

/// Connections that wait for the next channel.
const SPARE: usize = 2;

/// The spare connections of one session.
#[derive(Default)]
pub struct Pool(Mutex<Vec<TargetLine>>);

impl Pool {
    /// One that waits, or a new one.
    pub async fn take(&self, session: &Session) -> Result<TargetLine, Failed> {
        let spare = {
            let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE && line.is_alive() {
            spare.push(line);
        }
    }

    /// Cuts those that wait.
    pub fn empty(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
