//! russh's server callbacks, each answered: before the login by [`Login`], after it by [`Sessions`].
//! Absent on purpose: any wait for our own output. These callbacks run in the connection's only task, which has to read
//! and write meanwhile; work is spawned, and a login step waits for the phone at most, in rounds.

use std::sync::Arc;

use russh::server::{ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, Sig, server};

use super::Front;
use super::connection::Shared;
use super::hop::Hops;
use super::login::{Answer, Login};
use super::session::Sessions;
use crate::prompt::Size;
use crate::secret::Secret;

/// One connection's handler.
pub struct Handler {
    login: Login,
    sessions: Sessions,
    hops: Hops,
    shared: Arc<Shared>,
}

/// russh's errors, and nothing else: they end the connection and are for the log.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Broken(#[from] pub russh::Error);

impl Handler {
    /// For a connection that was just accepted.
    pub fn new(front: Arc<Front>, shared: Arc<Shared>) -> Self {
        Self {
            login: Login::new(front.clone(), shared.clone()),
            sessions: Sessions::new(front.clone(), shared.clone()),
            hops: Hops::new(front, shared.clone()),
            shared,
        }
    }
}

fn only(kind: MethodKind) -> MethodSet {
    let mut set = MethodSet::empty();
    set.push(kind);
    set
}

/// An [`Answer`] as RFC 4252 and RFC 4256 say it.
fn auth(answer: Answer) -> server::Auth {
    match answer {
        Answer::No => server::Auth::Reject {
            proceed_with_methods: Some(only(MethodKind::PublicKey)),
            partial_success: false,
        },
        Answer::KeyProven => server::Auth::Reject {
            proceed_with_methods: Some(only(MethodKind::KeyboardInteractive)),
            partial_success: true,
        },
        Answer::Show(text, prompt) => {
            let prompts = prompt.into_iter().map(|(text, echo)| (text.into(), echo)).collect::<Vec<_>>();
            server::Auth::Partial { name: "".into(), instructions: text.into(), prompts: prompts.into() }
        }
        Answer::In => server::Auth::Accept,
        // An empty INFO_REQUEST where one may stand; DISCONNECT follows it.
        Answer::Over => {
            server::Auth::Partial { name: "".into(), instructions: "".into(), prompts: Vec::new().into() }
        }
    }
}

/// The same where russh sends no `INFO_REQUEST`.
fn auth_of_key(answer: Answer) -> server::Auth {
    match answer {
        Answer::Over => auth(Answer::No),
        other @ (Answer::No | Answer::KeyProven | Answer::Show(..) | Answer::In) => auth(other),
    }
}

impl server::Handler for Handler {
    type Error = Broken;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Broken> {
        Ok(self.login.begin())
    }

    async fn auth_none(&mut self, user: &str) -> Result<server::Auth, Broken> {
        Ok(auth_of_key(self.login.other(user, "none").await))
    }

    async fn auth_password(&mut self, user: &str, _password: &str) -> Result<server::Auth, Broken> {
        Ok(auth_of_key(self.login.other(user, "password").await))
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<server::Auth, Broken> {
        Ok(auth_of_key(self.login.offered(user, offer).await))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, Broken> {
        Ok(auth_of_key(self.login.signed(user, key).await))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        _certificate: &ssh_key::Certificate,
    ) -> Result<server::Auth, Broken> {
        Ok(auth_of_key(self.login.other(user, "certificate").await))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<server::Auth, Broken> {
        // One answer is all that was ever asked for; what is not UTF-8 is no code.
        let answers = response.map(|response| {
            response.take(1).map(|a| Secret::new(String::from_utf8(a.to_vec()).unwrap_or_default())).collect()
        });
        Ok(auth(self.login.interactive(user, answers).await))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        let Some(who) = self.login.who() else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        if self.sessions.open(channel, who.clone()) {
            reply.accept().await;
        } else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
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
        self.refuse_channel(reply, "x11").await
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        match self.login.who().cloned() {
            Some(who) => self.hops.open(channel, who, host_to_connect, port_to_connect, reply),
            None => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
        Ok(())
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
        self.refuse_channel(reply, "forwarded-tcpip").await
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        self.refuse_channel(reply, "direct-streamlocal").await
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _pixel_width: u32,
        _pixel_height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Broken> {
        let taken = self.sessions.terminal(channel, term, size(columns, rows));
        answer(session, channel, taken)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        _pixel_width: u32,
        _pixel_height: u32,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        // RFC 4254 §6.7: no reply is sent.
        self.sessions.resize(channel, size(columns, rows));
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Broken> {
        let taken = self.sessions.environment(channel, name, value);
        answer(session, channel, taken)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Broken> {
        let taken = self.sessions.exec(channel, command);
        answer(session, channel, taken)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Broken> {
        let taken = self.sessions.shell(channel);
        answer(session, channel, taken)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Broken> {
        // Accepted, then refused with a sentence: a plain failure shows the person nothing.
        let taken = self.sessions.subsystem(channel, name);
        answer(session, channel, taken)
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
        answer(session, channel, false)
    }

    async fn agent_request(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<bool, Broken> {
        Ok(false)
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _session: &mut Session,
    ) -> Result<(), Broken> {
        // RFC 4254 §6.9: no reply is sent.
        if matches!(signal, Sig::INT | Sig::TERM | Sig::HUP | Sig::QUIT | Sig::KILL) {
            self.sessions.interrupt(channel);
        }
        Ok(())
    }

    fn adjust_window(&mut self, channel: ChannelId, current: u32) -> u32 {
        self.shared.windows.next(&channel, current)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), Broken> {
        self.sessions.typed(channel, data);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Broken> {
        self.sessions.input_ended(channel);
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Broken> {
        self.sessions.closed(channel);
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        _session: &mut Session,
    ) -> Result<bool, Broken> {
        self.sessions.refused_forward(&format!("tcpip-forward {address}:{port}"));
        Ok(false)
    }

    async fn streamlocal_forward(
        &mut self,
        _socket_path: &str,
        _session: &mut Session,
    ) -> Result<bool, Broken> {
        self.sessions.refused_forward("streamlocal-forward");
        Ok(false)
    }
}

impl Handler {
    async fn refuse_channel(&mut self, reply: ChannelOpenHandle, what: &str) -> Result<(), Broken> {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        self.sessions.refused_forward(what);
        Ok(())
    }
}

fn answer(session: &mut Session, channel: ChannelId, taken: bool) -> Result<(), Broken> {
    if taken {
        session.channel_success(channel)?;
    } else {
        session.channel_failure(channel)?;
    }
    Ok(())
}

fn size(columns: u32, rows: u32) -> Size {
    let side = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Size { cols: side(columns), rows: side(rows) }
}
