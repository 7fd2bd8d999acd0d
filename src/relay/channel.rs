//! One session channel of an inner session: what was set up for it, its line in the journal, its record, and what both sides say.
//! Absent on purpose: deciding, and the inner login.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use russh::server::{self, Msg};
use russh::{ChannelMsg, ChannelWriteHalf, Pty, client};

use super::Session;
use super::door::Turn;
use super::scribe::{CannotWrite, Scribe};
use super::target::{Failed, TargetLine};
use crate::asks::{Act, Deed};
use crate::commands::exit;
use crate::flow::{Backlog, GivenUp, Inbox, Overfull, Piece};
use crate::journal::started::{Outcome, Started};

/// RFC 4254 §5.2: `SSH_EXTENDED_DATA_STDERR`.
const STDERR: u32 = 1;
/// For a host to say yes or no to a command.
const PATIENCE: Duration = Duration::from_secs(30);
/// For a client to say what it wants after it has opened a channel.
const WISHING: Duration = Duration::from_mins(2);
/// Variables that one channel may set.
const VARIABLES: usize = 64;

/// May a client set this at a host? R64: a list, and values that mean nothing to a shell.
pub fn may_set(name: &str, value: &str) -> bool {
    let known = name == "LANG" || name == "EMAIL" || (name.starts_with("LC_") && name.len() <= 32);
    known
        && value.len() <= 128
        && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+@=:/,".contains(&b))
}

/// A terminal as the client asked for it (RFC 4254 §6.2).
pub struct Terminal {
    pub term: String,
    pub columns: u32,
    pub rows: u32,
    width: u32,
    height: u32,
    modes: Vec<(Pty, u32)>,
}

/// All that a client said before its command, and the command.
pub struct Wish {
    pub terminal: Option<Terminal>,
    variables: Vec<(String, String)>,
    /// What is not forwarded here.
    refused: Vec<&'static str>,
    pub deed: Deed,
    pub as_asked: Vec<u8>,
    /// A subsystem's name.
    pub subsystem: Option<String>,
}

impl Wish {
    fn refuses(&mut self, what: &'static str) {
        if !self.refused.contains(&what) {
            self.refused.push(what);
        }
    }
}

/// The technician's side of the channel.
struct Client {
    handle: server::Handle,
    out: ChannelWriteHalf<Msg>,
    on_terminal: bool,
}

impl Client {
    async fn say(&self, sentence: &str) {
        let text = if self.on_terminal { format!("{sentence}\r\n") } else { format!("{sentence}\n") };
        // A terminal has one screen for both; and a client that takes nothing is not waited for.
        let saying = async {
            if self.on_terminal {
                self.out.data_bytes(text).await
            } else {
                self.out.extended_data_bytes(STDERR, text).await
            }
        };
        tokio::time::timeout(Duration::from_secs(5), saying).await.ok();
    }

    /// The last frames in their order: exit-status, EOF, CLOSE (RFC 4254 §6.10, §5.3).
    async fn end(&self, code: Option<u32>) {
        let last = async {
            if let Some(code) = code {
                self.out.exit_status(code).await?;
            }
            self.out.eof().await?;
            self.out.close().await
        };
        tokio::time::timeout(Duration::from_mins(1), last).await.ok();
    }

    async fn accept(&self) {
        self.handle.channel_success(self.out.id()).await.ok();
    }

    async fn refuse(&self) {
        self.handle.channel_failure(self.out.id()).await.ok();
    }
}

/// From the channel's opening to its end.
pub async fn serve(
    session: Arc<Session>,
    handle: server::Handle,
    mut inbox: Inbox,
    out: ChannelWriteHalf<Msg>,
    _turn: Turn,
) {
    let stop = session.stop.clone();
    let mut client = Client { handle, out, on_terminal: false };
    let wish = tokio::select! {
        wish = tokio::time::timeout(WISHING, wish(&mut inbox)) => wish.ok().flatten(),
        () = stop.cancelled() => None,
    };
    let Some(wish) = wish else { return client.end(None).await };
    client.on_terminal = wish.terminal.is_some();
    match inbox.beside(session.open(wish.deed.clone(), &wish.as_asked)).await {
        Err(Overfull) => client.end(None).await,
        Ok(Err(refused)) => {
            client.accept().await;
            client.say(&crate::sentences::refused(&refused, session.relays.language)).await;
            let code = match refused {
                crate::gate::Refused::CannotJournal(_) => exit::CANNOT_JOURNAL,
                crate::gate::Refused::Denied { .. } | crate::gate::Refused::Unsettled(_) => exit::REFUSED,
            };
            client.end(Some(code)).await;
        }
        Ok(Ok(started)) => Box::pin(run(&session, &wish, inbox, &client, started)).await,
    }
}

/// Reads requests until one starts something.
async fn wish(inbox: &mut Inbox) -> Option<Wish> {
    let mut wish = Wish {
        terminal: None,
        variables: Vec::new(),
        refused: Vec::new(),
        deed: Deed::Shell,
        as_asked: Vec::new(),
        subsystem: None,
    };
    loop {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "russh's enum: what else a client may say here starts nothing"
        )]
        match inbox.next().await? {
            Piece::Other(ChannelMsg::RequestPty {
                term,
                col_width,
                row_height,
                pix_width,
                pix_height,
                terminal_modes,
                ..
            }) => {
                wish.terminal = Some(Terminal {
                    term: term.chars().filter(|c| !c.is_control()).take(64).collect(),
                    columns: col_width,
                    rows: row_height,
                    width: pix_width,
                    height: pix_height,
                    modes: terminal_modes,
                });
            }
            Piece::Other(ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height }) => {
                if let Some(terminal) = &mut wish.terminal {
                    (terminal.columns, terminal.rows) = (col_width, row_height);
                    (terminal.width, terminal.height) = (pix_width, pix_height);
                }
            }
            Piece::Other(ChannelMsg::SetEnv { variable_name: name, variable_value: value, .. })
                if wish.variables.len() < VARIABLES && may_set(&name, &value) =>
            {
                wish.variables.push((name, value));
            }
            Piece::Other(ChannelMsg::AgentForward { .. }) => wish.refuses("agent"),
            Piece::Other(ChannelMsg::RequestX11 { .. }) => wish.refuses("X11"),
            Piece::Other(ChannelMsg::RequestShell { .. }) => return Some(wish),
            Piece::Other(ChannelMsg::Exec { command, .. }) => {
                return Some(Wish { deed: Deed::Exec, as_asked: command, ..wish });
            }
            Piece::Other(ChannelMsg::RequestSubsystem { name, .. }) => {
                let as_asked = format!("subsystem {name}").into_bytes();
                return Some(Wish { deed: Deed::Subsystem, as_asked, subsystem: Some(name), ..wish });
            }
            Piece::Other(ChannelMsg::Close) => return None,
            _ => {}
        }
    }
}

/// How it ended, for the journal and for the client.
struct Ended {
    exit: Option<u32>,
    cause: Option<String>,
    /// The client has not been told yet.
    sentence: Option<String>,
    /// It ended because it could not be written down.
    unwritten: bool,
}

impl Ended {
    fn because(exit: u32, cause: impl Into<String>, sentence: Option<String>) -> Self {
        Self { exit: Some(exit), cause: Some(cause.into()), sentence, unwritten: false }
    }

    /// There is nobody to tell it to.
    fn untold(cause: &str) -> Self {
        Self { exit: None, cause: Some(cause.into()), sentence: None, unwritten: false }
    }

    fn given_up(why: GivenUp) -> Self {
        match why {
            GivenUp::Overfull(_) => Self::because(exit::FAILED, why.to_string(), None),
            GivenUp::Left => Self::untold("client-closed"),
        }
    }
}

#[derive(Default)]
struct Counted {
    up: AtomicU64,
    down: AtomicU64,
}

async fn run(session: &Session, wish: &Wish, mut inbox: Inbox, client: &Client, started: Started<Act>) {
    let counted = Counted::default();
    let channel = session.numbers.fetch_add(1, Ordering::Relaxed);
    // No record, no session.
    let scribe = match inbox.beside(Scribe::begin(session, wish, channel)).await {
        Ok(Ok(scribe)) => scribe,
        Ok(Err(cannot)) => {
            client.accept().await;
            return finish(inbox, client, started, unwritten(session, &cannot), Outcome::default()).await;
        }
        Err(overfull) => {
            let ended = Ended::because(exit::FAILED, overfull.to_string(), None);
            return finish(inbox, client, started, ended, Outcome::default()).await;
        }
    };
    let work = act(session, wish, &mut inbox, client, &scribe, &counted);
    let mut ended = tokio::select! {
        ended = work => ended,
        cannot = scribe.failed() => unwritten(session, &cannot),
        () = session.stop.cancelled() => Ended::because(exit::FAILED, "session-ended", None),
        () = idled(session.relays.idle, &counted) => {
            let english = "Nothing has come or gone for too long: this session was ended.";
            let german = "Zu lange kam und ging nichts: diese Sitzung wurde beendet.";
            Ended::because(exit::FAILED, "idle", Some(session.pick(english, german).to_owned()))
        }
    };
    let (up, down) = (counted.up.load(Ordering::Relaxed), counted.down.load(Ordering::Relaxed));
    session.moved.up.fetch_add(up, Ordering::Relaxed);
    session.moved.down.fetch_add(down, Ordering::Relaxed);
    // Whatever the client sends meanwhile: this is written to its end.
    let recording = match inbox.letting_go(scribe.end(session, ended.exit)).await {
        Ok(recording) => recording,
        Err(cannot) => {
            if !ended.unwritten {
                ended = unwritten(session, &cannot);
            }
            None
        }
    };
    let outcome =
        Outcome { bytes_in: up, bytes_out: down, channel: Some(channel), recording, ..Outcome::default() };
    finish(inbox, client, started, ended, outcome).await;
}

/// What cannot be written down is not done.
fn unwritten(session: &Session, cannot: &CannotWrite) -> Ended {
    let german = session.pick("en", "de") == "de";
    let sentence = match cannot {
        CannotWrite::Record(why) => why.sentence(german).to_owned(),
        CannotWrite::Journal(_) => crate::sentences::cannot_journal(session.relays.language).to_owned(),
    };
    let ended = Ended::because(exit::CANNOT_JOURNAL, cannot.to_string(), Some(sentence));
    Ended { unwritten: true, ..ended }
}

/// The last line, then the last frames.
async fn finish(mut inbox: Inbox, client: &Client, started: Started<Act>, ended: Ended, outcome: Outcome) {
    let outcome = Outcome { exit: ended.exit.unwrap_or(exit::FAILED), cause: ended.cause, ..outcome };
    // The line first: who has read the end of a command may look for it at once.
    if inbox.letting_go(started.finish(outcome)).await.is_err() {
        tracing::error!("the end of a command at a host could not be journalled");
    }
    if let Some(sentence) = ended.sentence {
        inbox.letting_go(client.say(&sentence)).await;
    }
    // Nobody writes to the client any more; what it still says is let go.
    inbox.letting_go(client.end(ended.exit)).await;
}

/// Returns when nothing has been counted for `idle`.
async fn idled(idle: Duration, counted: &Counted) {
    let all = || counted.up.load(Ordering::Relaxed).wrapping_add(counted.down.load(Ordering::Relaxed));
    let mut seen = all();
    loop {
        tokio::time::sleep(idle).await;
        let now = all();
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// The host's side of the channel.
struct There {
    line: TargetLine,
    inbox: Inbox,
    out: ChannelWriteHalf<client::Msg>,
}

async fn act(
    session: &Session,
    wish: &Wish,
    inbox: &mut Inbox,
    client: &Client,
    scribe: &Scribe,
    counted: &Counted,
) -> Ended {
    let german = session.pick("en", "de") == "de";
    let begun = inbox.while_open(begin(session, wish)).await;
    let mut there = match begun {
        Err(why) => return Ended::given_up(why),
        Ok(Err(failed)) => {
            client.accept().await;
            let sentence = failed.sentence(&session.target.domain(), german);
            return Ended::because(exit::AWAY, failed.to_string(), Some(sentence));
        }
        Ok(Ok(None)) => {
            // As the host said it: some clients try another way then.
            client.refuse().await;
            return Ended::untold("target-refused");
        }
        Ok(Ok(Some(there))) => there,
    };
    client.accept().await;
    for what in &wish.refused {
        let sentence = if german {
            format!("pforte: {what}-Weiterleitung gibt es hier nicht.")
        } else {
            format!("pforte: {what} forwarding is refused here.")
        };
        client.say(&sentence).await;
    }
    let writing = there.line.ledger.writing();
    let (ended, clean) = tokio::select! {
        ended = up(session, inbox, &there.out, client, scribe, counted) => (ended, false),
        down = down(session, &mut there.inbox, client, scribe, counted) => down,
    };
    drop(writing);
    let There { line, inbox: back, out } = there;
    if clean {
        drop(back);
        session.pool.give(line);
    } else {
        // What still runs there ends with its connection.
        out.close().await.ok();
        drop(back);
        line.leave().await;
    }
    ended
}

/// Opens the channel at the host and starts there what was asked for; `None` if the host refuses it.
async fn begin(session: &Session, wish: &Wish) -> Result<Option<There>, Failed> {
    let broken = |e: russh::Error| Failed::Channel(e.to_string());
    let line = session.pool.take(session).await?;
    let opening = tokio::time::timeout(PATIENCE, line.handle.channel_open_session());
    let channel = opening.await.map_err(|_| Failed::Slow)?.map_err(broken)?;
    let (read, out) = channel.split();
    let mut inbox = Inbox::new(read, Backlog::new(&line.ledger));
    let starting = async {
        for (name, value) in &wish.variables {
            out.set_env(false, name.as_str(), value.as_str()).await.map_err(broken)?;
        }
        if let Some(terminal) = &wish.terminal {
            let Terminal { term, columns, rows, width, height, modes } = terminal;
            out.request_pty(true, term, *columns, *rows, *width, *height, modes).await.map_err(broken)?;
            if !answered(&mut inbox).await? {
                return Err(Failed::Channel("no terminal".into()));
            }
        }
        match (&wish.deed, &wish.subsystem) {
            (Deed::Shell, _) => out.request_shell(true).await,
            (Deed::Exec | Deed::Forward(_), _) => out.exec(true, wish.as_asked.as_slice()).await,
            (Deed::Subsystem, name) => out.request_subsystem(true, name.as_deref().unwrap_or_default()).await,
        }
        .map_err(broken)?;
        answered(&mut inbox).await
    };
    let yes = tokio::time::timeout(PATIENCE, starting).await.map_err(|_| Failed::Slow)??;
    if yes { Ok(Some(There { line, inbox, out })) } else { Ok(None) }
}

/// The host's next reply.
async fn answered(inbox: &mut Inbox) -> Result<bool, Failed> {
    inbox.reply().await.ok_or_else(|| Failed::Channel("closed".into()))
}

/// From the technician to the host. Returns when the technician's side is closed.
async fn up(
    session: &Session,
    inbox: &mut Inbox,
    there: &ChannelWriteHalf<client::Msg>,
    client: &Client,
    scribe: &Scribe,
    counted: &Counted,
) -> Ended {
    loop {
        let passed = match inbox.next().await {
            Some(Piece::Data(data)) => {
                counted.up.fetch_add(data.len() as u64, Ordering::Relaxed);
                match inbox.beside(scribe.up(&data)).await {
                    Ok(Ok(())) => inbox.while_open(there.data_bytes(data)).await,
                    Ok(Err(cannot)) => return unwritten(session, &cannot),
                    Err(overfull) => Err(overfull.into()),
                }
            }
            Some(Piece::Other(ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height })) => {
                match inbox.beside(scribe.resize(col_width, row_height)).await {
                    Ok(Ok(())) => {
                        let change = there.window_change(col_width, row_height, pix_width, pix_height);
                        inbox.while_open(change).await
                    }
                    Ok(Err(cannot)) => return unwritten(session, &cannot),
                    Err(overfull) => Err(overfull.into()),
                }
            }
            Some(Piece::Other(ChannelMsg::Signal { signal })) => inbox.while_open(there.signal(signal)).await,
            Some(Piece::Other(ChannelMsg::Eof)) => inbox.while_open(there.eof()).await,
            Some(Piece::Other(ChannelMsg::Close)) | None => {
                return Ended::untold("client-closed");
            }
            // A second command on the same channel (RFC 4254 §6.5: one of them can succeed).
            Some(Piece::Other(
                ChannelMsg::Exec { .. }
                | ChannelMsg::RequestShell { .. }
                | ChannelMsg::RequestSubsystem { .. },
            )) => {
                inbox.beside(client.refuse()).await.ok();
                continue;
            }
            Some(_) => continue,
        };
        match passed {
            Ok(Ok(())) => {}
            // The other direction knows why, and may still be telling the client.
            Ok(Err(_)) => {
                while let Some(piece) = inbox.next().await {
                    if matches!(piece, Piece::Other(ChannelMsg::Close)) {
                        break;
                    }
                }
                return Ended::untold("client-closed");
            }
            Err(why) => return Ended::given_up(why),
        }
    }
}

/// From the host to the technician. Returns when the host's side is closed, and whether it was closed in order.
async fn down(
    session: &Session,
    there: &mut Inbox,
    client: &Client,
    scribe: &Scribe,
    counted: &Counted,
) -> (Ended, bool) {
    let mut ended = Ended { exit: None, cause: None, sentence: None, unwritten: false };
    let mut told = false;
    loop {
        let gone = match there.next().await {
            Some(Piece::Data(data)) => {
                counted.down.fetch_add(data.len() as u64, Ordering::Relaxed);
                match there.beside(scribe.down(&data)).await {
                    Ok(Ok(())) => there.beside(client.out.data_bytes(data)).await,
                    Ok(Err(cannot)) => return (unwritten(session, &cannot), false),
                    Err(overfull) => Err(overfull),
                }
            }
            Some(Piece::Extended(kind, data)) => {
                counted.down.fetch_add(data.len() as u64, Ordering::Relaxed);
                match there.beside(scribe.errors(&data)).await {
                    Ok(Ok(())) => there.beside(client.out.extended_data_bytes(kind, data)).await,
                    Ok(Err(cannot)) => return (unwritten(session, &cannot), false),
                    Err(overfull) => Err(overfull),
                }
            }
            Some(Piece::Other(ChannelMsg::ExitStatus { exit_status })) => {
                (ended.exit, told) = (Some(exit_status), true);
                continue;
            }
            Some(Piece::Other(ChannelMsg::ExitSignal {
                signal_name,
                core_dumped,
                error_message,
                lang_tag,
            })) => {
                ended.cause = Some(format!("signal {signal_name:?}"));
                told = true;
                let id = client.out.id();
                let handle = &client.handle;
                let passing =
                    handle.exit_signal_request(id, signal_name, core_dumped, error_message, lang_tag);
                there.beside(passing).await.ok();
                continue;
            }
            Some(Piece::Other(ChannelMsg::Close)) => {
                if ended.exit.is_none() && !told {
                    ended.cause = Some("no-exit-status".into());
                }
                return (ended, true);
            }
            // EOF is kept until the end: a client that has had it both ways sends CLOSE, which russh answers at once, and
            // then there is no way left for the exit-status.
            Some(Piece::Other(_)) => continue,
            None => {
                ended.cause = Some("target-lost".into());
                if !told {
                    ended.exit = Some(exit::AWAY);
                    ended.sentence = Some("The connection to the host was lost.".into());
                }
                return (ended, false);
            }
        };
        match gone {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                ended.cause = Some("client-gone".into());
                return (ended, false);
            }
            Err(overfull) => {
                return (Ended::because(exit::FAILED, format!("overfull: {overfull}"), None), false);
            }
        }
    }
}
