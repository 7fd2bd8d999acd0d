//! The inner session's server: lets in the person who is in already, with the key they came with, and answers every request.
//! Absent on purpose: any wait for our own output, and any other way in. Work is spawned; a login waits for the phone at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use russh::server::{
    Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session as Ssh, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, MethodSet, Pty, server};

use super::pool::Pool;
use super::{Phase, Session, channel, forward};
use crate::asks::Ask;
use crate::config::Language;
use crate::factor::Reach;
use crate::flow::{Backlog, Inbox};
use crate::gate::Refused;
use crate::identity::SamePerson;
use crate::identity::second_factor::{Asked, Confirmation, Confirming, Show};
use crate::secret::Secret;
use crate::sentences;

/// Channels of an inner session at once.
const AT_ONCE: usize = 64;
/// Channels in its life: russh keeps 3.3 KiB of each that we close first.
const OPENED: usize = 16_384;
/// Refused logins and requests of one inner session that are written down; the connection ends soon after anyway.
const WRITTEN: usize = 32;
/// A client is sent an empty `INFO_REQUEST` this often, and so known to live.
const ROUND: Duration = Duration::from_secs(8);

/// russh's errors, and nothing else.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Broken(#[from] pub russh::Error);

enum Login {
    Stranger,
    /// The key is proven; the phone is asked.
    Asking(SamePerson, Option<Box<Confirming>>),
    In,
    Over,
}

/// One inner session's handler.
pub struct Door {
    session: Arc<Session>,
    login: Login,
    open: Arc<AtomicUsize>,
    opened: usize,
    written: usize,
}

/// One of [`AT_ONCE`].
pub struct Turn(Arc<AtomicUsize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn only(kind: MethodKind) -> MethodSet {
    let mut set = MethodSet::empty();
    set.push(kind);
    set
}

fn no() -> Auth {
    Auth::Reject { proceed_with_methods: Some(only(MethodKind::PublicKey)), partial_success: false }
}

fn show(text: String, prompt: Option<(String, bool)>) -> Auth {
    let prompts = prompt.into_iter().map(|(text, echo)| (text.into(), echo)).collect::<Vec<_>>();
    Auth::Partial { name: "".into(), instructions: text.into(), prompts: prompts.into() }
}

impl Door {
    /// Nobody is in.
    pub fn new(session: Arc<Session>) -> Self {
        Self { session, login: Login::Stranger, open: Arc::default(), opened: 0, written: 0 }
    }

    fn is_in(&self) -> bool {
        matches!(self.login, Login::In)
    }

    /// Written down, the first few of them.
    async fn refuse(&mut self, cause: &str, asked: &str) {
        self.written += 1;
        if self.written > WRITTEN {
            return;
        }
        let session = &self.session;
        let line = crate::journal::Entry {
            cause: Some(cause.to_owned()),
            command: Some(asked.as_bytes().to_vec()),
            ..session.line(crate::journal::Event::Refused)
        };
        if session.relays.journal.append(line).await.is_err() {
            tracing::error!("a refusal in an inner session could not be journalled");
        }
    }

    fn let_in(&mut self, _proof: SamePerson) -> Auth {
        self.login = Login::In;
        self.session.phase.send_replace(Phase::In);
        // Meanwhile the client asks for its first channel.
        Pool::ahead(&self.session);
        Auth::Accept
    }

    /// The key is proven: in, or asked for more if the rule says so.
    fn proven(&mut self, same: SamePerson) -> Auth {
        if self.session.started().is_some() {
            return self.let_in(same);
        }
        self.login = Login::Asking(same, None);
        Auth::Reject {
            proceed_with_methods: Some(only(MethodKind::KeyboardInteractive)),
            partial_success: true,
        }
    }

    /// A round of keyboard-interactive: the phone is asked, or the code is checked.
    async fn asked(&mut self, answers: Option<Vec<Secret>>) -> Auth {
        let Login::Asking(same, question) = std::mem::replace(&mut self.login, Login::Over) else {
            return no();
        };
        let mut says = Vec::new();
        let mut asking = if let Some(asking) = question {
            asking
        } else {
            let (session, factor) = (&self.session, self.session.relays.factor.load_full());
            says.push(sentences::the_way_to(&session.target.domain(), session.relays.language));
            let words = session.ask.0.words();
            let number = factor.number();
            Box::new(factor.confirm(&session.who, &words, session.ask.site(), number, Reach::ALL))
        };
        let typed = answers.and_then(|answers| answers.into_iter().next());
        match asking.next(typed, ROUND).await {
            Asked::Open(Show { says: more, prompt, .. }) => {
                let language = self.session.relays.language;
                says.extend(more.iter().map(|say| sentences::said(say, language)));
                let text: String = says.iter().map(|say| sentences::ascii(say) + "\n").collect();
                self.login = Login::Asking(same, Some(asking));
                let prompt = prompt
                    .map(|(prompt, words)| (sentences::prompt(&prompt, &words, language), prompt.echoes()));
                show(text, prompt)
            }
            Asked::Confirmed(confirmation) => self.confirmed(same, confirmation).await,
            Asked::Refused(why) => {
                let asked = self.session.ask.0.words();
                self.refuse(&why.to_string(), &asked).await;
                let sentence = sentences::not_confirmed(&why, self.session.relays.language);
                self.over(sentence)
            }
        }
    }

    async fn confirmed(&mut self, same: SamePerson, confirmation: Confirmation) -> Auth {
        let session = self.session.clone();
        let opened = session.relays.gate.open(session.ask.clone(), &session.who, Some(&confirmation)).await;
        match opened {
            Ok(started) => {
                session.begin(started);
                session.confirmation.set(confirmation).ok();
                self.let_in(same)
            }
            Err(refused @ (Refused::Denied { .. } | Refused::Unsettled(_) | Refused::CannotJournal(_))) => {
                self.over(sentences::refused(&refused, session.relays.language))
            }
        }
    }

    /// DISCONNECT with a reason; nothing more is asked.
    fn over(&mut self, sentence: String) -> Auth {
        self.login = Login::Over;
        self.session.ends("not-let-in");
        let session = self.session.clone();
        tokio::spawn(async move {
            session.goodbye(Disconnect::NoMoreAuthMethodsAvailable, &sentence).await;
        });
        show(String::new(), None)
    }

    /// Another channel, if there is room.
    fn turn(&mut self) -> Option<Turn> {
        self.opened += 1;
        let turn = Turn(self.open.clone());
        let room = self.open.fetch_add(1, Ordering::SeqCst) < AT_ONCE && self.opened <= OPENED;
        room.then_some(turn)
    }

    async fn refuse_channel(&mut self, reply: ChannelOpenHandle, what: &str) {
        let session = &self.session;
        let sentence = session.pick("that is not forwarded here", "das wird hier nicht weitergeleitet");
        reply.reject(ChannelOpenFailure::Other { code: 1, reason: sentence.to_owned() }).await;
        self.refuse("not-forwarded", what).await;
    }
}

impl server::Handler for Door {
    type Error = Broken;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Broken> {
        if user != self.session.who.user().as_str() {
            // Every client begins with this request: said at once, for a plain "permission denied" helps nobody.
            self.refuse("inner-login-as-another-user", user).await;
            let who = self.session.who.user();
            let sentence = match self.session.relays.language {
                Language::English => format!("Here you are who you are at the gateway: log in as {who}"),
                Language::German => {
                    format!("Hier sind Sie, wer Sie am Gateway sind: melden Sie sich als {who} an")
                }
            };
            self.over(sentence);
        }
        Ok(no())
    }

    async fn auth_password(&mut self, user: &str, _password: &str) -> Result<Auth, Broken> {
        self.refuse("inner-login: password", user).await;
        Ok(no())
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Broken> {
        let relays = &self.session.relays;
        let who = &self.session.who;
        let known = user.parse().is_ok_and(|user: crate::names::Username| {
            let keys = relays.keys.load();
            user == *who.user()
                && keys.would_prove(&user, &offer, who.source(), relays.clock.now()).is_ok()
                && offer.public_key.fingerprint(ssh_key::HashAlg::Sha256).to_string() == who.key().as_str()
        });
        if known {
            return Ok(Auth::Accept);
        }
        let asked = format!("{user} {}", offer.public_key.fingerprint(ssh_key::HashAlg::Sha256));
        let cause = if user == who.user().as_str() {
            "inner-login-with-another-key"
        } else {
            "inner-login-as-another-user"
        };
        self.refuse(cause, &asked).await;
        Ok(no())
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Broken> {
        if !matches!(self.login, Login::Stranger) {
            return Ok(no());
        }
        let relays = self.session.relays.clone();
        let same = relays.keys.load().prove_same(&self.session.who, user, &key, relays.clock.now());
        match same {
            Ok(same) => Ok(self.proven(same)),
            Err(why) => {
                self.refuse(&why.to_string(), user).await;
                Ok(no())
            }
        }
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        _certificate: &ssh_key::Certificate,
    ) -> Result<Auth, Broken> {
        self.refuse("inner-login: certificate", user).await;
        Ok(no())
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Broken> {
        if user != self.session.who.user().as_str() {
            self.login = Login::Over;
            self.refuse("inner-login-as-another-user", user).await;
            return Ok(no());
        }
        let answers = response.map(|response| {
            response.take(1).map(|a| Secret::new(String::from_utf8(a.to_vec()).unwrap_or_default())).collect()
        });
        Ok(self.asked(answers).await)
    }

    fn adjust_window(&mut self, channel: ChannelId, current: u32) -> u32 {
        self.session.windows.next(&channel, current)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        ssh: &mut Ssh,
    ) -> Result<(), Broken> {
        if !self.is_in() {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        }
        let Some(turn) = self.turn() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            self.refuse("too-many-channels", "session").await;
            return Ok(());
        };
        let (session, handle) = (self.session.clone(), ssh.handle());
        let backlog = Backlog::new(&session.ledger);
        session.windows.watch(channel.id(), &backlog);
        let (read, out) = channel.split();
        let inbox = Inbox::new(read, backlog);
        reply.accept().await;
        let tasks = session.tasks.clone();
        tasks.spawn(channel::serve(session, handle, inbox, out, turn));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _ssh: &mut Ssh,
    ) -> Result<(), Broken> {
        if !self.is_in() {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        }
        let asked = format!("direct-tcpip {host}:{port}");
        let registered = forward::registered(&self.session, host, port);
        let (Some(to), Some(turn)) = (registered, self.turn()) else {
            self.refuse_channel(reply, &asked).await;
            return Ok(());
        };
        let session = self.session.clone();
        let backlog = Backlog::new(&session.ledger);
        session.windows.watch(channel.id(), &backlog);
        let (read, out) = channel.split();
        let inbox = Inbox::new(read, backlog);
        let tasks = session.tasks.clone();
        tasks.spawn(forward::serve(session, inbox, out, reply, to, asked, turn));
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _ssh: &mut Ssh,
    ) -> Result<(), Broken> {
        self.refuse_channel(reply, "x11").await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _ssh: &mut Ssh,
    ) -> Result<(), Broken> {
        self.refuse_channel(reply, "forwarded-tcpip").await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _ssh: &mut Ssh,
    ) -> Result<(), Broken> {
        self.refuse_channel(reply, &format!("direct-streamlocal {path}")).await;
        Ok(())
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _ssh: &mut Ssh) -> Result<bool, Broken> {
        self.refuse("not-forwarded", &format!("tcpip-forward {address}:{port}")).await;
        Ok(false)
    }

    async fn streamlocal_forward(&mut self, path: &str, _ssh: &mut Ssh) -> Result<bool, Broken> {
        self.refuse("not-forwarded", &format!("streamlocal-forward {path}")).await;
        Ok(false)
    }

    // What stands between a channel's opening and its command is answered here, at once and in order (RFC 4254 §5.4);
    // the channel's task reads the same requests out of its inbox and acts on them.

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _pixel_width: u32,
        _pixel_height: u32,
        _modes: &[(Pty, u32)],
        ssh: &mut Ssh,
    ) -> Result<(), Broken> {
        Ok(ssh.channel_success(channel)?)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        ssh: &mut Ssh,
    ) -> Result<(), Broken> {
        if super::wish::may_set(name, value) {
            Ok(ssh.channel_success(channel)?)
        } else {
            Ok(ssh.channel_failure(channel)?)
        }
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        ssh: &mut Ssh,
    ) -> Result<(), Broken> {
        Ok(ssh.channel_failure(channel)?)
    }

    async fn agent_request(&mut self, _channel: ChannelId, _ssh: &mut Ssh) -> Result<bool, Broken> {
        Ok(false)
    }
}
