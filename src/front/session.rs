//! The session channels of one connection: what was set up for each, and the task that runs in it.
//! Absent on purpose: deciding and doing. A line goes to [`Front::serve`]; here it only gets its terminal.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::FutureExt;
use russh::server::Msg;
use russh::{Channel, ChannelId, ChannelMsg, ChannelWriteHalf, Disconnect};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Front;
use super::connection::Shared;
use super::files::{Desk, Files, Table};
use super::replies::Outgoing;
use super::seat::{Keys, Seat};
use super::serve::Given;
use super::talk::talk;
use crate::asks::Verb;
use crate::commands::{self, Foreground, Input, Out, Sink, Terminal, exit};
use crate::config::Language;
use crate::flow::{Backlog, Feed, Inbox, Piece};
use crate::identity::Who;
use crate::prompt::{Keyboard, Prompt, Size};

/// Environment variables that one channel may set, all that are not kept included.
const VARIABLES: usize = 64;
/// Sessions that one connection may open in its life: russh keeps 3.3 KiB of each that we close first.
const OPENED: usize = 4096;
/// Forwards and channels that are refused on one connection before it is ended (R66).
const REFUSALS: usize = 1000;
/// Refusals of that kind that are written down one by one; the rest is a number in the connection's last line (R96).
const WRITTEN_REFUSALS: usize = 32;

/// One session channel.
struct Running {
    who: Who,
    /// There until a request has started the channel's one task.
    idle: Option<ChannelWriteHalf<Msg>>,
    terminal: Option<(String, Size)>,
    language: Option<Language>,
    variables: usize,
    keyboard: Option<Arc<Keyboard>>,
    /// Where a terminal's keys go while somebody is connected on from it.
    keys: Option<Arc<Keys>>,
    /// Standard input of a command that reads a file from it.
    input: Option<Arc<Input>>,
    /// Where an SFTP client's packets go.
    feed: Option<Arc<Feed>>,
    interrupt: Arc<tokio::sync::Notify>,
    task: Option<tokio::task::AbortHandle>,
    outgoing: Option<Arc<Outgoing>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(input) = &self.input {
            input.cut();
        }
    }
}

/// All session channels of a connection. Dropped with it, and all that runs in them too.
pub struct Sessions {
    front: Arc<Front>,
    shared: Arc<Shared>,
    open: HashMap<ChannelId, Running>,
    tasks: JoinSet<()>,
    files: Arc<Table>,
    refusals: usize,
    opened: usize,
}

impl Sessions {
    /// None yet.
    pub fn new(front: Arc<Front>, shared: Arc<Shared>) -> Self {
        Self {
            front,
            shared,
            open: HashMap::new(),
            tasks: JoinSet::new(),
            files: Arc::default(),
            refusals: 0,
            opened: 0,
        }
    }

    /// A new session channel; `false` if there are too many.
    pub fn open(&mut self, channel: Channel<Msg>, who: Who) -> bool {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|_, running| !running.outgoing.as_ref().is_some_and(|o| o.has_ended()));
        if self.open.len() >= self.front.keeper.limits().sessions_per_connection {
            self.refused("too-many-sessions", "session");
            return false;
        }
        self.opened += 1;
        if self.opened > OPENED {
            self.refused("too-many-channels", "session");
            self.end("too-many-channels", "Too many channels on one connection. Please connect again.");
            return false;
        }
        let id = channel.id();
        // The read half is dropped: input comes by the callbacks, and so nothing ever waits for a reader (rule 15).
        let (_, half) = channel.split();
        let running = Running {
            who,
            idle: Some(half),
            terminal: None,
            language: None,
            variables: 0,
            keyboard: None,
            keys: None,
            input: None,
            feed: None,
            interrupt: Arc::default(),
            task: None,
            outgoing: None,
        };
        self.open.insert(id, running);
        true
    }

    /// `pty-req`: once, and before anything runs.
    pub fn terminal(&mut self, channel: ChannelId, term: &str, size: Size) -> bool {
        match self.open.get_mut(&channel) {
            Some(running) if running.idle.is_some() && running.terminal.is_none() => {
                let term: String = term.chars().take(64).collect();
                running.keys = Some(Keys::new(term.clone(), size));
                running.terminal = Some((term, size));
                true
            }
            Some(_) | None => false,
        }
    }

    /// `window-change`.
    pub fn resize(&mut self, channel: ChannelId, size: Size) {
        if let Some(running) = self.open.get_mut(&channel) {
            if let Some((_, known)) = &mut running.terminal {
                *known = size;
            }
            if let Some(keyboard) = &running.keyboard {
                keyboard.resize(size);
            }
            if let Some(keys) = &running.keys {
                keys.resize(size);
            }
        }
    }

    /// `env`: `LANG` and `LC_*` choose the language of sentences; nothing else is taken (R64).
    pub fn environment(&mut self, channel: ChannelId, name: &str, value: &str) -> bool {
        let Some(running) = self.open.get_mut(&channel) else { return false };
        running.variables += 1;
        let ours = name == "LANG" || (name.starts_with("LC_") && name.len() <= 32);
        let plain =
            value.len() <= 64 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@=;:/".contains(&b));
        if !ours || !plain || running.variables > VARIABLES || running.idle.is_none() {
            return false;
        }
        if ["LANG", "LC_ALL", "LC_MESSAGES"].contains(&name) && !value.is_empty() {
            let german = value.starts_with("de");
            // LC_ALL is stronger than LANG (POSIX.1-2017 §8.2), in whichever order they come.
            if name != "LANG" || running.language.is_none() {
                running.language = Some(if german { Language::German } else { Language::English });
            }
        }
        true
    }

    /// `exec`.
    pub fn exec(&mut self, channel: ChannelId, command: &[u8]) -> bool {
        let command: Box<[u8]> = command.into();
        let wish = commands::parse(&command).ok().map(|draft| draft.verb);
        let Some(running) = self.open.get_mut(&channel) else { return false };
        if running.idle.is_none() {
            return false;
        }
        // Set up before the client's next packet, which may be its input.
        if wish.as_ref().is_some_and(Verb::reads_input) {
            running.input = Some(Arc::default());
        }
        let input = running.input.clone();
        if wish.as_ref().is_some_and(Verb::asks_back)
            && input.is_none()
            && let Some((term, size)) = running.terminal.clone()
        {
            let (screen, shown) = mpsc::channel(4);
            let (prompt, keyboard) = Prompt::open(&term, size, screen.clone());
            running.keyboard = Some(Arc::new(keyboard));
            return self.start(channel, move |job| talk(job, prompt, screen, shown, Some(command)));
        }
        self.start(channel, move |job| async move {
            let seat = job.seat(job.outgoing.clone());
            let given = Given { prompt: None, seat: seat.as_ref(), input, foreground: &job.foreground };
            job.front.serve(&command, &job.who, &job.out, given).await
        })
    }

    /// `subsystem`: `sftp`, whose files are the vault's and no file system's (R62), and no other.
    pub fn subsystem(&mut self, channel: ChannelId, name: &str) -> bool {
        if name == "sftp" {
            return self.sftp(channel);
        }
        let asked: Box<[u8]> = format!("subsystem {name}").into_bytes().into();
        self.start(channel, move |job| async move {
            if job.front.gate.refuse(&job.who, "no-subsystem", &asked).await.is_err() {
                return job.front.cannot_journal(&job.out).await;
            }
            let english =
                "This gateway has no file system and no subsystem but sftp. What there is: ssh GATEWAY help";
            let german =
                "Dieses Gateway hat kein Dateisystem und kein Subsystem außer sftp. Was es gibt: ssh GATEWAY help";
            super::told(&job.out, job.out.pick(english, german), exit::REFUSED).await
        })
    }

    fn sftp(&mut self, channel: ChannelId) -> bool {
        let Some(running) = self.open.get_mut(&channel) else { return false };
        if running.idle.is_none() {
            return false;
        }
        let backlog = Backlog::new(&self.shared.ledger);
        self.shared.windows.watch(channel, &backlog);
        let feed = Feed::new(backlog);
        running.feed = Some(feed.clone());
        let table = self.files.clone();
        self.start(channel, move |job| async move {
            let Job { front, who, out, outgoing, shared, .. } = job;
            let stop = shared.stop.clone();
            let gone = CancellationToken::new();
            let _when_dropped = gone.clone().drop_guard();
            let desk = Desk::new(front.clone(), who, shared, table, out.language);
            let session = Files::new(desk).run(Inbox::fed(feed.clone()), outgoing, stop, gone);
            // In a task of its own: its last lines are written, though the channel is gone.
            let code = match tokio::spawn(session).await {
                Ok(code) => code,
                Err(_) => front.panicked(&out).await,
            };
            feed.close();
            code
        })
    }

    /// `shell`: the prompt, where there is a terminal to show it on.
    pub fn shell(&mut self, channel: ChannelId) -> bool {
        let Some(running) = self.open.get_mut(&channel) else { return false };
        if running.idle.is_none() {
            return false;
        }
        let Some((term, size)) = running.terminal.clone() else {
            return self.start(channel, |job| async move {
                let english = "There is no terminal, so there is no prompt. Give a command: ssh GATEWAY konnektor backup";
                let german = "Ohne Terminal gibt es keine Eingabe. Nennen Sie einen Befehl: ssh GATEWAY konnektor backup";
                if job.front.gate.refuse(&job.who, "no-terminal", b"").await.is_err() {
                    return job.front.cannot_journal(&job.out).await;
                }
                super::told(&job.out, job.out.pick(english, german), exit::USAGE).await
            });
        };
        let (screen, shown) = mpsc::channel(4);
        let (prompt, keyboard) = Prompt::open(&term, size, screen.clone());
        running.keyboard = Some(Arc::new(keyboard));
        self.start(channel, move |job| talk(job, prompt, screen, shown, None))
    }

    /// Starts the channel's one task; `false` if it has had one.
    fn start<F, Running>(&mut self, channel: ChannelId, run: F) -> bool
    where
        F: FnOnce(Job) -> Running + Send + 'static,
        Running: Future<Output = u32> + Send,
    {
        let Some(running) = self.open.get_mut(&channel) else { return false };
        let Some(half) = running.idle.take() else { return false };
        let on_terminal = running.terminal.is_some();
        let outgoing = Arc::new(Outgoing::new(half, on_terminal));
        running.outgoing = Some(outgoing.clone());
        let language = running.language.unwrap_or(self.front.language);
        let terminal = if on_terminal { Terminal::Screen } else { Terminal::None };
        let job = Job {
            front: self.front.clone(),
            who: running.who.clone(),
            out: Out::new(outgoing.clone(), language, terminal),
            outgoing: outgoing.clone(),
            keyboard: running.keyboard.clone(),
            keys: running.keys.clone(),
            channel,
            shared: self.shared.clone(),
            foreground: Arc::default(),
        };
        let foreground = job.foreground.clone();
        let (interrupt, stop) = (running.interrupt.clone(), self.shared.stop.clone());
        let front = self.front.clone();
        let mut task = Box::pin(async move {
            let out = job.out.clone();
            let work = AssertUnwindSafe(run(job)).catch_unwind();
            let code = tokio::select! {
                done = work => match done {
                    Ok(code) => code,
                    Err(_) => front.panicked(&out).await,
                },
                // The connection has to end: what runs ends now, not when its client has heard of it.
                () = stop.cancelled() => return,
                () = interrupt.notified() => {
                    foreground.interrupt();
                    super::told(&out, out.pick("Interrupted.", "Abgebrochen."), exit::FAILED).await
                }
            };
            outgoing.end(code).await;
        });
        // Its first step is taken here and waits for nothing: the line in the journal is queued before the client's next
        // packet, which may be a farewell that ends the task.
        if task.as_mut().now_or_never().is_none() {
            running.task = Some(self.tasks.spawn(task));
        }
        true
    }

    /// `signal`, for the channel's task.
    pub fn interrupt(&mut self, channel: ChannelId) {
        if let Some(running) = self.open.get(&channel) {
            running.interrupt.notify_one();
        }
    }

    /// Input. A prompt takes it; no command does, so it is let go.
    pub fn typed(&mut self, channel: ChannelId, data: &[u8]) {
        let Some(running) = self.open.get(&channel) else { return };
        if let Some(input) = &running.input {
            return input.push(data);
        }
        if let Some(feed) = &running.feed {
            return feed.push(Piece::Data(Bytes::copy_from_slice(data)));
        }
        if running.keys.as_ref().is_some_and(|keys| keys.typed(data)) {
            return;
        }
        if let Some(keyboard) = &running.keyboard {
            keyboard.type_bytes(data);
        } else if running.terminal.is_some() && data.contains(&0x03) {
            // Ctrl-C at a terminal without a prompt: `ssh -t gateway konnektor backup`.
            running.interrupt.notify_one();
        }
    }

    /// EOF from the client.
    pub fn input_ended(&mut self, channel: ChannelId) {
        let Some(running) = self.open.get(&channel) else { return };
        if let Some(input) = &running.input {
            input.end();
        }
        if let Some(feed) = &running.feed {
            feed.push(Piece::Other(ChannelMsg::Eof));
        }
        if let Some(keys) = &running.keys {
            keys.hang_up();
        }
        if let Some(keyboard) = &running.keyboard {
            keyboard.hang_up();
        }
    }

    /// CLOSE from the client: what runs there ends.
    pub fn closed(&mut self, channel: ChannelId) {
        // What is dropped with it cuts its input.
        if let Some(running) = self.open.remove(&channel)
            && let Some(task) = &running.task
        {
            task.abort();
        }
    }

    /// A forward or a channel that is not opened here.
    pub fn refused_forward(&mut self, what: &str) {
        self.refused("forwarding-not-open", what);
    }

    /// Written down, up to a number, then counted; beyond another number the connection ends.
    fn refused(&mut self, cause: &'static str, what: &str) {
        self.refusals += 1;
        let Some(who) = self.shared.who.get().cloned() else { return };
        if self.refusals == REFUSALS {
            self.end("too-many-refusals", "Too many refused requests.");
        }
        if self.refusals > WRITTEN_REFUSALS {
            self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (front, what) = (self.front.clone(), what.as_bytes().to_vec());
        // Not one of the connection's own tasks: the line is written, though its client is gone.
        tokio::spawn(async move {
            if front.gate.refuse(&who, cause, &what).await.is_err() {
                tracing::error!("a refused channel or forward could not be journalled");
            }
        });
    }

    fn end(&self, cause: &'static str, text: &str) {
        if self.shared.connection.ended.set(cause) {
            self.shared.goodbye(Disconnect::ByApplication, text.to_owned());
        }
    }
}

/// What a channel's task works with.
pub(super) struct Job {
    pub(super) front: Arc<Front>,
    pub(super) who: Who,
    pub(super) out: Out,
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) keyboard: Option<Arc<Keyboard>>,
    keys: Option<Arc<Keys>>,
    channel: ChannelId,
    shared: Arc<Shared>,
    pub(super) foreground: Arc<Foreground>,
}

impl Job {
    /// The terminal, if there is one, with this screen.
    pub(super) fn seat(&self, screen: Arc<dyn Sink>) -> Option<Seat> {
        let keys = self.keys.clone()?;
        Some(Seat::new(keys, screen, self.channel, self.shared.clone(), self.shared.numbers.clone()))
    }
}
