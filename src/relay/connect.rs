//! `connect backup -i SITE`: the same relay from the gateway's own prompt, for those whose client cannot jump.
//! Absent on purpose: an inner login. The prompt is within the person's own connection, both factors proven.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::wish::{Terminal, Wish};
use super::{Phase, Relays, Session, channel};
use crate::asks::{Deed, Relay};
use crate::commands::{Sink, exit};
use crate::flow::Inbox;
use crate::gate::Refused;
use crate::hops::Target;
use crate::identity::Who;
use crate::identity::second_factor::Confirmation;
use crate::journal::started::Started;

/// A prompt from which somebody goes on.
pub struct Connect {
    /// The relays' parts.
    pub relays: Arc<Relays>,
    /// Who.
    pub who: Who,
    /// Where to.
    pub target: Target,
    /// What was asked for.
    pub ask: Relay,
    /// It is in the journal.
    pub started: Started<Relay>,
    /// What the phone said, where the rule wants it.
    pub confirmation: Option<Confirmation>,
    /// Keys, and changes of the size.
    pub inbox: Inbox,
    /// The screen.
    pub screen: Arc<dyn Sink>,
    /// The terminal's name, columns and rows.
    pub terminal: (String, u32, u32),
    /// The number of the connection's next relayed channel.
    pub numbers: Arc<AtomicU32>,
    /// Cancelled when the connection has to end.
    pub stop: CancellationToken,
}

impl Connect {
    /// To the shell's end at the host; its exit code.
    pub async fn run(self) -> u32 {
        let Self { relays, who, target, ask, started, confirmation, inbox, screen, terminal, numbers, stop } =
            self;
        let session = Session::new(relays, who, target, ask, Some(started), numbers);
        if let Some(confirmation) = confirmation {
            session.confirmation.set(confirmation).ok();
        }
        session.phase.send_replace(Phase::In);
        let (term, columns, rows) = terminal;
        let wish = Wish {
            terminal: Some(Terminal { term, columns, rows, width: 0, height: 0, modes: Vec::new() }),
            variables: Vec::new(),
            refused: Vec::new(),
            deed: Deed::Shell,
            as_asked: b"shell".to_vec(),
            subsystem: None,
        };
        let client = Client::Prompt(screen);
        // What is withdrawn or stopped ends the work in order: its last lines are written.
        let work = Box::pin(shell(&session, &wish, inbox, &client));
        let watch = async {
            tokio::select! {
                refused = session.withdrawn() => {
                    session.ends("withdrawn");
                    session.stop.cancel();
                    client.say(&crate::sentences::refused(&refused, session.relays.language)).await;
                }
                () = stop.cancelled() => {
                    session.ends("client-gone");
                    session.stop.cancel();
                }
            }
            std::future::pending::<()>().await;
        };
        let code = tokio::select! { code = work => code, () = watch => exit::FAILED };
        session.close().await;
        code
    }
}

async fn shell(session: &Session, wish: &Wish, mut inbox: Inbox, client: &Client) -> u32 {
    match inbox.beside(session.open(Deed::Shell, &wish.as_asked)).await {
        Ok(Ok(started)) => channel::run(session, wish, inbox, client, started).await,
        Ok(Err(refused)) => {
            client.say(&crate::sentences::refused(&refused, session.relays.language)).await;
            match refused {
                Refused::CannotJournal(_) => exit::CANNOT_JOURNAL,
                Refused::Denied { .. } | Refused::Unsettled(_) => exit::REFUSED,
            }
        }
        Err(_) => exit::FAILED,
    }
}
