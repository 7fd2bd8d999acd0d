//! A session at one `KoCoBox`: a service's answer under the login of the moment, and one new login when it expired.
//! Absent on purpose: how a login is done; see `login.rs`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use reqwest::Method;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::login::Login;
use super::pages;
use crate::konnektor::certificate::Pins;
use crate::konnektor::http::{Answer, shown};
use crate::konnektor::profile::Form;
use crate::konnektor::{Error, Profile, ServiceRead, Spec, json};
use crate::names::ServiceName;
use crate::secret::Secret;

/// How often a service is asked again because another answer made our token old.
const STALE_TOKENS: usize = 6;

/// A session at one box.
pub(super) struct Session {
    spec: Arc<Spec>,
    profile: Arc<Profile>,
    form: Arc<Form>,
    pins: Arc<dyn Pins>,
    login: Mutex<Arc<Login>>,
    /// Who logs in again, or fetches a token for all.
    one_for_all: Semaphore,
    /// Once a token was seen to grow old under parallel readings, they queue.
    one_by_one: AtomicBool,
    /// A new token was asked for and was the old one.
    steady: AtomicBool,
    queue: Semaphore,
}

/// A write or an action.
pub(super) struct Sent<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: Bytes,
    /// The service or action, for errors.
    pub(super) what: &'a str,
}

enum Served {
    Value(ServiceRead),
    LoginPage,
    StaleToken,
}

impl Session {
    /// Posts the login form; the page behind it is fetched by [`Session::land`].
    pub(super) async fn open(
        spec: &Arc<Spec>,
        profile: &Arc<Profile>,
        form: &Arc<Form>,
        pins: Arc<dyn Pins>,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let login = Login::new(spec, profile, form, Arc::clone(&pins), None, 0).await?;
        login.post(deadline).await?;
        Ok(Self {
            spec: Arc::clone(spec),
            profile: Arc::clone(profile),
            form: Arc::clone(form),
            pins,
            login: Mutex::new(Arc::new(login)),
            one_for_all: Semaphore::new(1),
            one_by_one: AtomicBool::new(false),
            steady: AtomicBool::new(false),
            queue: Semaphore::new(1),
        })
    }

    fn is_login(&self, body: &[u8]) -> bool {
        pages::is_login(body, &self.form, self.profile.limits.page_bytes)
    }

    fn login(&self) -> Arc<Login> {
        Arc::clone(&self.login.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn has_landed(&self) -> bool {
        self.login().has_landed()
    }

    pub(super) fn has_token(&self) -> bool {
        self.login().has_token()
    }

    /// Fetches the page behind the login and takes its verdict: in, refused, or a new password first.
    pub(super) async fn land(&self, deadline: Instant) -> Result<(), Error> {
        self.login().land(deadline).await
    }

    /// One service's value, card holders' data taken out; logs in again once if the session ended.
    pub(super) async fn read(&self, service: &ServiceName, deadline: Instant) -> Result<ServiceRead, Error> {
        let mut logged_in_again = false;
        let mut stale = 0;
        loop {
            let login = self.login();
            let turn =
                if self.one_by_one.load(Ordering::Acquire) { self.queue.acquire().await.ok() } else { None };
            let served = self.ask(&login, service, deadline).await?;
            drop(turn);
            match served {
                Served::Value(read) => return Ok(read),
                Served::LoginPage if !logged_in_again => {
                    self.login_again(&login, deadline).await?;
                    logged_in_again = true;
                }
                Served::LoginPage => return Err(Error::SessionExpired),
                Served::StaleToken if stale < STALE_TOKENS => stale += 1,
                Served::StaleToken => return Err(Error::NotAllowed { status: 403 }),
            }
        }
    }

    /// Sends something that changes the box. Sent again only where the box has said that it did not take it: the login
    /// page, or a token of yesterday.
    pub(super) async fn send(&self, sent: &Sent<'_>, deadline: Instant) -> Result<String, Error> {
        let mut logged_in_again = false;
        let mut stale = 0;
        loop {
            let login = self.login();
            if !login.has_token() {
                login.fetch_token(deadline).await?;
            }
            let token = login.token().current();
            let mut ask = login.wire.get(sent.path)?;
            ask.method = sent.method.clone();
            ask.content_type = sent.content_type.map(ToOwned::to_owned);
            ask.body = Some(sent.body.clone());
            ask.token = token.clone().map(|token| (self.form.token.header.clone(), token));
            let answer = login.wire.send(ask, login.bounds(self.profile.limits.page_bytes, deadline)).await?;
            login.note_cookies(&answer, None);
            let status = answer.status.as_u16();
            let led_to_login = match &answer.location {
                Some(url) => {
                    let page = login.wire.follow(
                        login.wire.get(url.path())?,
                        login.bounds(self.profile.limits.page_bytes, deadline),
                    );
                    self.is_login(&page.await?.body)
                }
                None => answer.is_html && self.is_login(&answer.body),
            };
            match status {
                401 | 200..=299 | 301..=308 if led_to_login || status == 401 => {
                    if logged_in_again {
                        return Err(Error::SessionExpired);
                    }
                    self.login_again(&login, deadline).await?;
                    logged_in_again = true;
                }
                // A page where an answer was due says nothing of what became of the write.
                200..=299 if answer.is_html => return Err(Error::Http { status, what: sent.what.into() }),
                // neuserver takes a redirect for a success of `reboot`.
                200..=299 | 302 | 303 => return Ok(shown(&answer.body)),
                403 if stale < STALE_TOKENS
                    && self.token_refused(&login, token.as_ref(), deadline).await? =>
                {
                    stale += 1;
                }
                403 | 404 => return Err(Error::NotAllowed { status }),
                _ => return Err(Error::Http { status, what: sent.what.into() }),
            }
        }
    }

    /// Whether there is another token now than the one that a write was refused with.
    async fn token_refused(
        &self,
        login: &Login,
        sent: Option<&Secret>,
        deadline: Instant,
    ) -> Result<bool, Error> {
        if login.token().moved_from(sent) {
            return Ok(true);
        }
        match login.renew_token(deadline).await {
            Ok(()) => Ok(login.token().moved_from(sent)),
            Err(error) if error.ends_all() => Err(error),
            Err(_) => Ok(false),
        }
    }

    async fn ask(&self, login: &Login, service: &ServiceName, deadline: Instant) -> Result<Served, Error> {
        let sent = login.token().current();
        let mut ask = login.wire.get(&self.profile.read_path(service)?)?;
        ask.content_type = Some(self.profile.read.content_type.clone());
        if self.form.token.send_on_read {
            ask.token = sent.clone().map(|token| (self.form.token.header.clone(), token));
        }
        let bounds = login.bounds(self.profile.limits.service_bytes, deadline);
        let answer = login.wire.follow(ask, bounds).await?;
        login.note_cookies(&answer, Some(service));
        let status = answer.status.as_u16();
        match status {
            200..=299 if answer.is_html && self.is_login(&answer.body) => Ok(Served::LoginPage),
            200..=299 => self.value(service, &answer).map(Served::Value),
            401 => Ok(Served::LoginPage),
            403 if self.token_moved(login, sent.as_ref(), deadline).await? => Ok(Served::StaleToken),
            403 | 404 => Err(Error::NotAllowed { status }),
            _ => Err(Error::Http { status, what: service.to_string() }),
        }
    }

    fn value(&self, service: &ServiceName, answer: &Answer) -> Result<ServiceRead, Error> {
        let bytes = answer.body.len();
        let read = json::read(&answer.body, self.profile.limits.json_depth, service, &self.profile.personal);
        let (value, stripped) = match read {
            Err(Error::NotJson { .. }) if self.is_login(&answer.body) => {
                return Err(Error::SessionExpired);
            }
            other => other?,
        };
        Ok(ServiceRead { service: service.clone(), value, bytes, stripped })
    }

    /// Whether there is another token now than the one that was refused; waits for the login's page if that is under way.
    async fn token_moved(
        &self,
        login: &Login,
        sent: Option<&Secret>,
        deadline: Instant,
    ) -> Result<bool, Error> {
        if !self.form.token.send_on_read {
            return Ok(false);
        }
        login.wait_landed(deadline).await?;
        if !login.has_token() {
            let _turn = self.one_for_all.acquire().await.map_err(|_| Error::NoToken)?;
            if !login.has_token() {
                login.fetch_token(deadline).await?;
            }
        }
        let mut moved = login.token().moved_from(sent);
        if !moved && !self.steady.load(Ordering::Acquire) {
            // Answers can overtake each other, and with them the newest token: it is asked for.
            let _turn = self.one_for_all.acquire().await.map_err(|_| Error::NoToken)?;
            moved = login.token().moved_from(sent)
                || (login.renew_token(deadline).await.is_ok() && login.token().moved_from(sent));
            self.steady.store(!moved, Ordering::Release);
        }
        if moved && sent.is_some() {
            self.one_by_one.store(true, Ordering::Release);
        }
        Ok(moved)
    }

    /// Once a session: who finds that another reader did it already goes on.
    async fn login_again(&self, expired: &Login, deadline: Instant) -> Result<(), Error> {
        expired.wait_landed(deadline).await?;
        let _turn = self.one_for_all.acquire().await.map_err(|_| Error::SessionExpired)?;
        let now = self.login();
        if now.number > expired.number {
            return Ok(());
        }
        if now.number > 0 {
            return Err(Error::SessionExpired);
        }
        tracing::info!(konnektor = %self.spec.id, "the session ended; logging in again, once");
        let pin = now.wire.certificate();
        let login =
            Login::new(&self.spec, &self.profile, &self.form, Arc::clone(&self.pins), pin, now.number + 1)
                .await?;
        login.post(deadline).await?;
        login.land(deadline).await?;
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(login);
        Ok(())
    }

    /// Tells the box, where the profile knows how; nobody waits longer than the dial may take.
    pub(super) async fn logout(&self) {
        if self.form.logout.is_empty() {
            return;
        }
        let deadline = Instant::now() + self.spec.timeouts.connect;
        let login = self.login();
        let Ok(ask) = login.wire.get(&self.form.logout) else { return };
        let bounds = login.bounds(self.profile.limits.page_bytes, deadline);
        if let Err(error) = login.wire.send(ask, bounds).await {
            tracing::debug!(konnektor = %self.spec.id, %error, "logout was not heard");
        }
    }
}
