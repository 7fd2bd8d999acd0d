//! russh's server callbacks on a link: one key, one channel, one subsystem; every other request is refused.
//! Absent on purpose: people. No user name but `site:NAME` is looked at here.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use russh::server::{self, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty};
use ssh_key::PublicKey;
use tokio::sync::oneshot;

use super::Uplinks;
use crate::identity::Machine;
use crate::journal::{Entry, Event};
use crate::link::SUBSYSTEM;
use crate::names::{SessionId, SiteName};

/// A machine that has proven its key and asked for its link.
pub struct Proof {
    /// Whose.
    pub machine: Machine,
    /// The key: leases are signed with it.
    pub key: PublicKey,
    /// What the link goes over.
    pub channel: Channel<Msg>,
}

/// One connection's handler. Boxed: russh's task holds it in four places.
pub struct Door(Box<Inside>);

struct Inside {
    uplinks: Arc<Uplinks>,
    session: SessionId,
    from: SocketAddr,
    machine: Option<(Machine, PublicKey)>,
    channel: Option<Channel<Msg>>,
    proven: Option<oneshot::Sender<Proof>>,
}

/// russh's errors, and nothing else.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Broken(#[from] russh::Error);

impl Door {
    /// For a connection that was just accepted.
    pub fn new(
        uplinks: Arc<Uplinks>,
        (session, from): (SessionId, SocketAddr),
        proven: oneshot::Sender<Proof>,
    ) -> Self {
        Self(Box::new(Inside { uplinks, session, from, machine: None, channel: None, proven: Some(proven) }))
    }

    /// Boxed: what is awaited in a callback lies in russh's task for as long as the link lives.
    fn refuse<'a>(&'a self, user: &'a str, cause: String) -> BoxFuture<'a, server::Auth> {
        let line = Entry {
            session: Some(self.0.session),
            from: Some(self.0.from),
            claimed: Some(user.as_bytes().to_vec()),
            target: Some("link".into()),
            cause: Some(cause),
            ..Entry::new(Event::Refused)
        };
        Box::pin(async move {
            self.0.uplinks.refused(line).await;
            no()
        })
    }
}

fn no() -> server::Auth {
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    server::Auth::Reject { proceed_with_methods: Some(methods), partial_success: false }
}

fn site_of(user: &str) -> Option<SiteName> {
    user.strip_prefix("site:")?.parse().ok()
}

async fn prohibited(reply: ChannelOpenHandle) -> Result<(), Broken> {
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}

impl server::Handler for Door {
    type Error = Broken;

    async fn auth_none(&mut self, _user: &str) -> Result<server::Auth, Broken> {
        Ok(no())
    }

    async fn auth_password(&mut self, user: &str, _password: &str) -> Result<server::Auth, Broken> {
        Ok(self.refuse(user, "password".into()).await)
    }

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        _offer: PublicKeyOffer<'_>,
    ) -> Result<server::Auth, Broken> {
        // Every key is worth a signature: which ones are registered is nobody's to learn.
        Ok(server::Auth::Accept)
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, Broken> {
        if self.0.machine.is_some() {
            return Ok(no());
        }
        let Some(site) = site_of(user) else {
            return Ok(self.refuse(user, "no-site-name".into()).await);
        };
        let (keys, now) = (self.0.uplinks.parts.keys.load(), self.0.uplinks.parts.clock.now());
        match keys.prove_machine(&site, &key, self.0.from.ip(), now) {
            Ok(machine) => {
                self.0.machine = Some((machine, key.public_key.clone()));
                Ok(server::Auth::Accept)
            }
            Err(why) => Ok(self.refuse(user, why.to_string()).await),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        if self.0.machine.is_some() && self.0.channel.is_none() && self.0.proven.is_some() {
            self.0.channel = Some(channel);
            reply.accept().await;
            return Ok(());
        }
        prohibited(reply).await
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Broken> {
        if name == SUBSYSTEM
            && self.0.channel.as_ref().is_some_and(|open| open.id() == channel)
            && let (Some(channel), Some((machine, key)), Some(proven)) =
                (self.0.channel.take(), self.0.machine.take(), self.0.proven.take())
        {
            let id = channel.id();
            if proven.send(Proof { machine, key, channel }).is_ok() {
                session.channel_success(id)?;
                return Ok(());
            }
        }
        session.channel_failure(channel)?;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        prohibited(reply).await
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        prohibited(reply).await
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        prohibited(reply).await
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        prohibited(reply).await
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _pixel_width: u32,
        _pixel_height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Broken> {
        Ok(session.channel_failure(channel)?)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Broken> {
        Ok(session.channel_failure(channel)?)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Broken> {
        Ok(session.channel_failure(channel)?)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Broken> {
        Ok(session.channel_failure(channel)?)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _x11_auth_protocol: &str,
        _x11_auth_cookie: &str,
        _x11_screen_number: u32,
        session: &mut Session,
    ) -> Result<(), Broken> {
        Ok(session.channel_failure(channel)?)
    }

    async fn agent_request(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<bool, Broken> {
        Ok(false)
    }

    async fn tcpip_forward(
        &mut self,
        _address: &str,
        _port: &mut u32,
        _session: &mut Session,
    ) -> Result<bool, Broken> {
        Ok(false)
    }

    async fn streamlocal_forward(
        &mut self,
        _socket_path: &str,
        _session: &mut Session,
    ) -> Result<bool, Broken> {
        Ok(false)
    }
}
