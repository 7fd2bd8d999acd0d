//! `pforte konnektor`: what the gateway's commands do, from the practice's own PC, for whoever has the box's password.
//! Absent on purpose: policy and journal. Who sits here is the box's own administrator.

mod arguments;
mod backup;
mod files;
mod looks;
mod password;
mod perform;
mod pins;
mod place;
mod record;
mod remap;
mod restore;
mod seat;
mod terminal;

pub(crate) use terminal::hidden;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::commands::{Ended, Gone, Out, Sink, Terminal, exit};
use crate::config::Language;

pub use arguments::Options;
use arguments::{Doing, Lang};
use seat::Room;
use terminal::{Person, Streams};
use words::{Words, complain};

/// What Ctrl-C has come to.
#[derive(Default)]
struct Stop {
    /// Something is being written: the next safe place is waited for.
    delicate: AtomicBool,
    /// Told to stop there.
    stopped: AtomicBool,
}

impl Stop {
    /// Returns when the work is to be dropped where it stands.
    async fn at_once(&self, words: Words, heard: Option<(Signal, Signal)>) {
        let Some((mut interrupt, mut terminate)) = heard else {
            // Then the signals do what they always do.
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if !self.delicate.load(Ordering::Acquire) || self.stopped.swap(true, Ordering::AcqRel) {
                return;
            }
            complain(words.pick(
                "\nStops before the next step, once this one is read back. Ctrl-C again stops at once.",
                "\nHält vor dem nächsten Schritt an, wenn dieser geprüft ist. Noch einmal Strg-C hält sofort an.",
            ));
        }
    }
}

/// Everything to standard error: where a program reads standard output.
struct Aside;

#[async_trait]
impl Sink for Aside {
    async fn output(&self, data: bytes::Bytes) -> Result<(), Gone> {
        Streams.errors(data).await
    }
    async fn errors(&self, data: bytes::Bytes) -> Result<(), Gone> {
        Streams.errors(data).await
    }
    async fn progress(&self, bar: &str, line: &str) -> Result<(), Gone> {
        Streams.progress(bar, line).await
    }
}

/// Runs it; the exit code: 0 done, 1 ran and failed, 64 usage, 69 the Konnektor is away, 77 refused, 78 configuration.
pub async fn run(options: Options) -> u8 {
    let Options { globals, doing } = options;
    let words = Words::of(globals.lang.map(|lang| lang == Lang::De));
    let stop = Arc::new(Stop::default());
    let out = |sink: Arc<dyn Sink>| Out::new(sink, words.language, Terminal::Later);
    let told = if globals.json { out(Arc::new(Aside)) } else { out(Arc::new(Streams)) };
    let out = out(Arc::new(Streams));
    let (clock, person) = (Clock::system(), Person);
    let room = Room { globals, out, told, words, clock, stop: Arc::clone(&stop), person };
    // Heard before anything is asked: Ctrl-C at the password gives the terminal its echo back.
    let heard = signal(SignalKind::interrupt()).ok().zip(signal(SignalKind::terminate()).ok());
    let ended = tokio::select! {
        ended = work(room, doing) => ended.unwrap_or_else(|ended| ended),
        () = stop.at_once(words, heard) => {
            let resume = if stop.delicate.load(Ordering::Acquire) {
                words.pick(
                    "Stopped in the middle of a step. restore --resume brings it to its end, restore --undo goes back.",
                    "Mitten in einem Schritt angehalten. einlesen --resume bringt es zu Ende, einlesen --undo geht zurück.",
                )
            } else {
                words.pick("Stopped.", "Angehalten.")
            };
            complain(&format!("\n{resume}"));
            Ended::failed(exit::FAILED, "stopped")
        }
    };
    ended.code().try_into().unwrap_or(1)
}

async fn work(room: Room, doing: Doing) -> Result<Ended, Ended> {
    match doing {
        Doing::Backup(backup) => backup::run(room, &backup).await,
        Doing::Restore(restore) => restore::run(room, &restore).await,
        Doing::Perform(perform) => perform::run(room, &perform).await,
        Doing::Status => looks::status(room).await,
        Doing::Diff(diff) => looks::diff(room, &diff).await,
        Doing::Terminals => looks::terminals(room).await,
        Doing::Remap(remap) => remap::run(room, &remap).await,
    }
}

fn is_german(language: Language) -> bool {
    language == Language::German
}
