//! The operator's socket: who is in and what they do, an end to it, a look at it. For root, who runs the gateway, and one group.
//! Absent on purpose: anything that lets somebody in or permits something. What is done here is journalled before it is done.

mod end;
mod list;
mod peer;
mod protocol;
mod socket;
mod trial;
mod watch;

pub use protocol::{Act, Ask, Cause, Id, LONGEST, Reply, Request, Say, Session, Typed, VERSION, Way, Why};
pub use socket::NotBound;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::front::Front;
use peer::Operator;

/// Clients at once.
const CLIENTS: usize = 32;
/// Of them, so many may watch: a list and an end are always to be had.
const WATCHERS: usize = 16;
/// For a client to say what it wants, and for it to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients at the end of the gateway.
const PARTING: Duration = Duration::from_secs(1);

/// A bound socket; nobody is served yet.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    group: String,
}

/// What a client is served with.
struct Desk {
    front: Arc<Front>,
    group: String,
    watchers: Arc<Semaphore>,
    stop: CancellationToken,
}

/// A client that may ask.
struct Client {
    operator: Operator,
    input: BufReader<OwnedReadHalf>,
    out: OwnedWriteHalf,
    /// With a client that takes nothing.
    patience: Duration,
}

/// The client takes no answer.
#[derive(Debug, thiserror::Error)]
#[error("the client is gone")]
struct Gone;

impl Control {
    /// Binds the socket: mode 0660, the group's if there is one of that name. What a dead gateway left is replaced.
    pub async fn bind(path: &Path, group: &str) -> Result<Self, NotBound> {
        let id = peer::group(group).map(|group| group.id);
        let listener = socket::bind(path, id).await?;
        Ok(Self { listener, path: path.to_owned(), group: group.to_owned() })
    }

    /// Serves until `stop`, then takes the socket away.
    pub async fn serve(self, front: Arc<Front>, stop: CancellationToken) {
        let watchers = Arc::new(Semaphore::new(WATCHERS));
        let desk = Arc::new(Desk { front, group: self.group, watchers, stop: stop.clone() });
        let seats = Arc::new(Semaphore::new(CLIENTS));
        let mut clients = JoinSet::new();
        loop {
            while clients.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    if let Some((stream, seat)) = seated(stream, &seats) {
                        clients.spawn(desk.clone().client(stream, seat));
                    }
                }
                Err(e) => {
                    tracing::warn!("the operator's socket: {e}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        std::fs::remove_file(&self.path).ok();
        let all = async { while clients.join_next().await.is_some() {} };
        tokio::time::timeout(PARTING, all).await.ok();
    }
}

/// Nobody is waited for: beyond the seats a client gets one line, as far as its socket takes it.
fn seated(stream: UnixStream, seats: &Arc<Semaphore>) -> Option<(UnixStream, OwnedSemaphorePermit)> {
    if let Ok(seat) = seats.clone().try_acquire_owned() {
        return Some((stream, seat));
    }
    turned_away(&stream, Cause::Busy);
    None
}

/// One line, as far as the socket takes it at once.
fn turned_away(stream: &UnixStream, cause: Cause) {
    let at_once = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::send(stream, &Reply::refused(cause).line(), at_once).ok();
}

impl Desk {
    async fn client(self: Arc<Self>, stream: UnixStream, _seat: OwnedSemaphorePermit) {
        let operator = match peer::admit(&stream, &self.group) {
            Ok(operator) => operator,
            Err(peer) => {
                tracing::warn!(%peer, "somebody was refused at the operator's socket");
                turned_away(&stream, Cause::NotPermitted);
                return;
            }
        };
        let (input, out) = stream.into_split();
        let mut client = Client { operator, input: BufReader::new(input), out, patience: PATIENCE };
        let asked = tokio::select! {
            asked = tokio::time::timeout(PATIENCE, client.request()) => asked.unwrap_or(Err(Cause::TooSlow)),
            () = self.stop.cancelled() => return,
        };
        let answered = match asked {
            Ok(Ask::List) => list::serve(&self, &mut client).await,
            Ok(Ask::End { id, why }) => end::serve(&self, &mut client, id, &why).await,
            Ok(Ask::Watch { id }) => watch::serve(&self, &mut client, id).await,
            Ok(Ask::Factor { user, german }) => trial::serve(&self, &mut client, user, german).await,
            Err(cause) => client.refuse(cause).await,
        };
        if let Err(Gone) = answered {
            tracing::debug!(operator = %client.operator, "a client of the operator's socket took no answer");
        }
    }
}

impl Client {
    async fn request(&mut self) -> Result<Ask, Cause> {
        let mut line = Vec::new();
        let mut input = (&mut self.input).take(LONGEST as u64);
        input.read_until(b'\n', &mut line).await.map_err(|_| Cause::BadRequest)?;
        Request::parse(&line)
    }

    async fn say(&mut self, say: Say) -> Result<(), Gone> {
        let line = Reply::from(say).line();
        let written = tokio::time::timeout(self.patience, self.out.write_all(&line)).await;
        written.map_err(|_| Gone)?.map_err(|_| Gone)
    }

    async fn refuse(&mut self, cause: Cause) -> Result<(), Gone> {
        self.say(Say::Refused { cause }).await
    }
}
