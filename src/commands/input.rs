//! Standard input of a command that reads a file from it: collected while it comes, bounded, given whole.
//! Absent on purpose: SSH; the front's callbacks only push here, and never wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use zeroize::Zeroizing;

/// The largest file that is read from standard input.
pub const LARGEST: usize = 128 << 20;
/// All such files together, while they wait.
const TOGETHER: usize = 512 << 20;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Why there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoInput {
    /// More than [`LARGEST`], or too many at once.
    TooLarge,
    /// The line dropped before its end.
    Cut,
}

/// What comes in.
#[derive(Default)]
pub struct Input {
    state: Mutex<Collected>,
    changed: Notify,
}

#[derive(Default)]
struct Collected {
    bytes: Zeroizing<Vec<u8>>,
    end: Option<Result<(), NoInput>>,
}

impl Input {
    fn state(&self) -> MutexGuard<'_, Collected> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some more of it. Beyond the bound it is let go, and that is the answer.
    pub fn push(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        let waiting = WAITING.fetch_add(bytes.len(), Ordering::SeqCst) + bytes.len();
        state.bytes.extend_from_slice(bytes);
        if waiting > TOGETHER || state.bytes.len() > LARGEST {
            finish(&mut state, Err(NoInput::TooLarge));
            drop(state);
            self.changed.notify_one();
        }
    }

    /// EOF.
    pub fn end(&self) {
        self.close(Ok(()));
    }

    /// The line is gone.
    pub fn cut(&self) {
        self.close(Err(NoInput::Cut));
    }

    fn close(&self, end: Result<(), NoInput>) {
        let mut state = self.state();
        if state.end.is_none() {
            match end {
                Ok(()) => state.end = Some(Ok(())),
                Err(_) => finish(&mut state, end),
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Returns once its end is there, whichever it is: until then nobody who waits for it should hold what others want.
    pub async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().end.is_some() {
                return;
            }
            changed.await;
        }
    }

    /// All of it, once; a second call finds nothing.
    ///
    /// # Errors
    /// [`NoInput`].
    pub async fn whole(&self) -> Result<Zeroizing<Vec<u8>>, NoInput> {
        loop {
            {
                let mut state = self.state();
                match state.end {
                    Some(Ok(())) => {
                        let bytes = std::mem::take(&mut state.bytes);
                        WAITING.fetch_sub(bytes.len(), Ordering::SeqCst);
                        return Ok(bytes);
                    }
                    Some(Err(no)) => return Err(no),
                    None => {}
                }
            }
            self.changed.notified().await;
        }
    }
}

fn finish(state: &mut Collected, end: Result<(), NoInput>) {
    let bytes = std::mem::take(&mut state.bytes);
    WAITING.fetch_sub(bytes.len(), Ordering::SeqCst);
    state.end = Some(end);
}

impl Drop for Input {
    fn drop(&mut self) {
        WAITING.fetch_sub(self.state().bytes.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_comes_whole_or_not_at_all() {
        let input = Input::default();
        input.push(b"{\"a\":");
        input.push(b"1}");
        input.end();
        input.push(b"late");
        assert_eq!(input.whole().await.unwrap().as_slice(), b"{\"a\":1}");
        let input = Input::default();
        input.push(b"{");
        input.cut();
        input.end();
        assert_eq!(input.whole().await.unwrap_err(), NoInput::Cut);
    }

    #[tokio::test]
    async fn more_than_the_bound_is_let_go() {
        let input = Input::default();
        let piece = vec![0; 16 << 20];
        (0..9).for_each(|_| input.push(&piece));
        assert_eq!(input.whole().await.unwrap_err(), NoInput::TooLarge);
        assert!(input.state().bytes.is_empty());
    }
}
