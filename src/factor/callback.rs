//! Where phones and providers answer: one listener for all of them, and one-time paths for each open question.
//! Absent on purpose: what an answer looks like (whoever opens a path judges it), and any path that nobody opened.
//!
//! A path is 128 random bits below the hub's address. It leads to one question, and is gone with the question's first
//! answer, when it expires, and when whoever asked has gone. Whatever else is called gets the same 404.

mod listen;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use listen::{BadTls, Tls};

use super::{Cause, Question, Tx, Verdict};
use crate::clock::Clock;

/// The most questions open at once.
const OPEN_LIMIT: usize = 4096;

/// One call of an open path. Its body is read, and at most 16 KiB.
pub struct Call<'c> {
    /// Its method.
    pub method: &'c Method,
    /// Its headers.
    pub headers: &'c HeaderMap,
    /// Its body.
    pub body: &'c [u8],
}

/// What the caller gets.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// A page, or empty.
    pub html: String,
    /// The page's Content-Security-Policy; one that allows nothing unless a page says otherwise.
    pub policy: String,
}

impl Reply {
    /// A status and nothing else.
    #[must_use]
    pub fn bare(status: StatusCode) -> Self {
        let policy = "default-src 'none'; frame-ancestors 'none'".to_owned();
        Self { status, html: String::new(), policy }
    }
}

/// What a call comes to. The reply to a verdict is sent only if it was the question's first.
pub enum Heard {
    /// Nothing: the question stays open.
    Nothing(Reply),
    /// The question's answer.
    Answer(Verdict, Reply),
}

/// Judges the calls of one path.
pub type Judge = Box<dyn Fn(&Call<'_>) -> Heard + Send + Sync>;

struct Asked {
    expires: Timestamp,
    answer: oneshot::Sender<Verdict>,
    paths: Vec<u128>,
}

#[derive(Default)]
struct Table {
    questions: HashMap<Tx, Asked>,
    paths: HashMap<u128, (Tx, Arc<Judge>)>,
}

struct Shared {
    url: Url,
    draw: Box<dyn Fn() -> u128 + Send + Sync>,
    clock: Clock,
    table: Mutex<Table>,
}

/// The hub; a clone is the same one. It outlives the providers that use it.
#[derive(Clone)]
pub struct Callbacks(Arc<Shared>);

impl Callbacks {
    /// `url` is the hub's root as phones and providers reach it; `draw` gives 128 random bits.
    #[must_use]
    pub fn new(url: Url, draw: impl Fn() -> u128 + Send + Sync + 'static, clock: Clock) -> Self {
        Self(Arc::new(Shared { url, draw: Box::new(draw), clock, table: Mutex::default() }))
    }

    /// The hub's root, as phones and providers reach it.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// Serves calls until the future is dropped. Ends by itself only if the listener cannot accept any more.
    pub async fn serve(self, listener: TcpListener, tls: Option<Tls>) -> io::Result<()> {
        listen::serve(self, listener, tls).await
    }

    /// Opens a question for one answer; it is closed, and its paths with it, when the returned value is dropped.
    pub fn open(&self, question: &Question) -> Result<Open, Cause> {
        let (answer, answered) = oneshot::channel();
        let mut table = self.lock();
        if table.questions.len() >= OPEN_LIMIT {
            return Err(Cause::Busy);
        }
        match table.questions.entry(question.tx) {
            Entry::Occupied(_) => Err(Cause::Replay),
            Entry::Vacant(entry) => {
                entry.insert(Asked { expires: question.expires, answer, paths: Vec::new() });
                Ok(Open { hub: self.clone(), tx: question.tx, answered })
            }
        }
    }

    /// Who judges calls of this path now, if it leads to an open question.
    fn judge(&self, path: &str) -> Option<(Tx, Arc<Judge>)> {
        let path: Tx = path.strip_prefix('/')?.parse().ok()?;
        let now = self.0.clock.now();
        let table = self.lock();
        // Looked up by a hash with a key of this process: how long that takes tells nothing about other paths.
        let (tx, judge) = table.paths.get(&path.0)?;
        let open = table.questions.get(tx).is_some_and(|question| question.expires > now);
        open.then(|| (*tx, judge.clone()))
    }

    /// Gives the question its answer, unless it has one, has expired or was dropped.
    fn settle(&self, tx: Tx, verdict: Verdict) -> bool {
        let now = self.0.clock.now();
        let mut table = self.lock();
        let Some(question) = table.close(tx) else { return false };
        // Whoever asked may have gone in this very moment: then nobody takes the answer.
        question.expires > now && question.answer.send(verdict).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn close(&mut self, tx: Tx) -> Option<Asked> {
        let question = self.questions.remove(&tx)?;
        for path in &question.paths {
            self.paths.remove(path);
        }
        Some(question)
    }
}

/// One open question.
pub struct Open {
    hub: Callbacks,
    tx: Tx,
    answered: oneshot::Receiver<Verdict>,
}

impl Open {
    /// A path of this question's own; gives its whole address, which is a secret.
    pub fn path(&self, judge: impl Fn(&Call<'_>) -> Heard + Send + Sync + 'static) -> Result<Url, Cause> {
        let path = (self.hub.0.draw)();
        let mut table = self.hub.lock();
        let table = &mut *table;
        let question = table.questions.get_mut(&self.tx).ok_or(Cause::Replay)?;
        let Entry::Vacant(entry) = table.paths.entry(path) else { return Err(Cause::Replay) };
        entry.insert((self.tx, Arc::new(Box::new(judge))));
        question.paths.push(path);
        self.hub.0.url.join(&Tx::new(path).to_string()).map_err(|_| Cause::NoWayBack)
    }

    /// Waits for the one answer, for ever.
    pub async fn verdict(&mut self) -> Verdict {
        match (&mut self.answered).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Failed(Cause::Replay),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.hub.lock().close(self.tx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{SessionId, Username};

    #[test]
    fn a_question_that_is_over_leaves_no_path_behind() {
        let user: Username = "firm-jane.doe".parse().unwrap();
        let question = Question {
            tx: Tx::new(1),
            firm: user.firm(),
            contact: crate::factor::Contact::default(),
            user,
            key: format!("SHA256:{}", "A".repeat(43)).parse().unwrap(),
            from: "203.0.113.7:50122".parse().unwrap(),
            session: SessionId::new(1, 2),
            purpose: crate::factor::Purpose::Login,
            number: crate::factor::Number::new(37),
            expires: Timestamp::MAX,
        };
        let hub =
            Callbacks::new("https://gw.example/".parse().unwrap(), rand::random::<u128>, Clock::system());
        let nothing = |_: &Call<'_>| Heard::Nothing(Reply::bare(StatusCode::OK));
        for answered in [false, true] {
            let open = hub.open(&question).unwrap();
            let (one, two) = (open.path(nothing).unwrap(), open.path(nothing).unwrap());
            assert_ne!(one, two);
            assert_eq!(hub.lock().paths.len(), 2);
            assert_eq!(answered && hub.settle(question.tx, Verdict::Denied), answered);
            assert!(!answered || hub.lock().paths.is_empty());
            drop(open);
            assert!(hub.lock().paths.is_empty() && hub.lock().questions.is_empty());
        }
    }
}
