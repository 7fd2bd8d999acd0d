//! One login at a `KoCoBox`: the form, the page behind it, the cookies and the token that came with it.
//! Absent on purpose: a second try of a refused password; the account could be locked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::Serializer;

use super::pages::{self, Page};
use super::token::Token;
use crate::konnektor::certificate::{CertificatePin, Listener, Pinned, Pins};
use crate::konnektor::http::{Answer, Ask, Bounds, Target, Wire};
use crate::konnektor::profile::Form;
use crate::konnektor::{Error, Profile, Spec};
use crate::names::ServiceName;

/// A login with a client of its own: a late answer under an older login changes neither its cookies nor its token.
pub(super) struct Login {
    pub(super) wire: Wire,
    /// Counted from 0.
    pub(super) number: u64,
    spec: Arc<Spec>,
    profile: Arc<Profile>,
    form: Arc<Form>,
    token: Mutex<Token>,
    /// Where the form led to, until that page was fetched.
    landing: Mutex<Option<Url>>,
    landed: watch::Sender<bool>,
}

impl Login {
    /// A client without session; `pin` is the certificate of an earlier login.
    pub(super) async fn new(
        spec: &Arc<Spec>,
        profile: &Arc<Profile>,
        form: &Arc<Form>,
        pins: Arc<dyn Pins>,
        pin: Option<CertificatePin>,
        number: u64,
    ) -> Result<Self, Error> {
        let target = Target {
            scheme: "https",
            address: &spec.address,
            pinned: Pinned { konnektor: spec.id.clone(), listener: Listener::Management },
            configured: pin.or(spec.certificate),
            welcome: None,
            timeouts: spec.timeouts,
            connections: spec.slots(),
        };
        Ok(Self {
            wire: Wire::new(target, pins).await?,
            number,
            spec: Arc::clone(spec),
            profile: Arc::clone(profile),
            form: Arc::clone(form),
            token: Mutex::default(),
            landing: Mutex::new(None),
            landed: watch::Sender::new(false),
        })
    }

    pub(super) fn has_landed(&self) -> bool {
        *self.landed.borrow()
    }

    pub(super) fn has_token(&self) -> bool {
        self.token().current().is_some()
    }

    pub(super) async fn wait_landed(&self, deadline: Instant) -> Result<(), Error> {
        let mut landed = self.landed.subscribe();
        let waited = tokio::time::timeout_at(deadline, landed.wait_for(|landed| *landed)).await;
        waited.map_err(|_| Error::TimedOut)?.map(|_| ()).map_err(|_| Error::Dropped)
    }

    /// Posts the form; the page behind it is fetched by [`Login::land`].
    pub(super) async fn post(&self, deadline: Instant) -> Result<(), Error> {
        let bounds = self.bounds(self.profile.limits.page_bytes, deadline);
        let mut answer = self.wire.send(self.filled_form()?, bounds).await?;
        // Tomcat's FormAuthenticator says 408 or 400 to a form without a session of its own, and only where the password
        // was not refused: that gets the error page. Others may answer 403 to a wrong password, so it has no second try.
        if matches!(answer.status.as_u16(), 400 | 408) {
            let entry = self.wire.follow(self.wire.get(&self.form.entry)?, bounds).await?;
            if let Page::PasswordChange = pages::judge(&entry.body, &self.form) {
                return Err(Error::PasswordChangeForced);
            }
            answer = self.wire.send(self.filled_form()?, bounds).await?;
        }
        self.note_cookies(&answer, None);
        if let Some(url) = answer.location.take() {
            *self.landing.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
            return Ok(());
        }
        match answer.status.as_u16() {
            401 | 403 => Err(Error::LoginFailed),
            200..=299 => match pages::judge(&answer.body, &self.form) {
                Page::Login => Err(Error::LoginFailed),
                Page::PasswordChange => Err(Error::PasswordChangeForced),
                Page::Token(token) => {
                    self.token().take_from_page(token);
                    self.landed.send_replace(true);
                    Ok(())
                }
                Page::Other => Ok(()),
            },
            status => Err(Error::Http { status, what: "login".into() }),
        }
    }

    fn filled_form(&self) -> Result<Ask, Error> {
        let login = &self.form;
        let body = Serializer::new(String::new())
            .append_pair(&login.user_field, &self.spec.user)
            .append_pair(&login.password_field, self.spec.password.reveal())
            .finish();
        let url = self.wire.url(&login.post)?;
        let content_type = Some(login.content_type.clone());
        Ok(Ask {
            method: reqwest::Method::POST,
            url,
            content_type,
            token: None,
            body: Some(body.into()),
            headers: Vec::new(),
        })
    }

    /// Fetches the page behind the login and takes its verdict: in, refused, or a new password first.
    pub(super) async fn land(&self, deadline: Instant) -> Result<(), Error> {
        let bounds = self.bounds(self.profile.limits.page_bytes, deadline);
        let start = self.wire.url(&self.form.start)?;
        let url = self.landing.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ask = self.wire.get(&self.form.start)?;
        ask.url = url.unwrap_or_else(|| start.clone());
        let page = self.wire.follow(ask, bounds).await?;
        let mut found = self.judge_page(&page)?;
        if !found && page.url != start {
            let page = self.wire.follow(self.wire.get(&self.form.start)?, bounds).await?;
            found = self.judge_page(&page)?;
        }
        tracing::debug!(konnektor = %self.spec.id, token_in_page = found, "logged in");
        self.landed.send_replace(true);
        Ok(())
    }

    /// Whether the page carried a token.
    fn judge_page(&self, page: &Answer) -> Result<bool, Error> {
        let status = page.status.as_u16();
        match pages::judge(&page.body, &self.form) {
            Page::Token(token) => {
                self.token().take_from_page(token);
                self.note_cookies(page, None);
                Ok(true)
            }
            Page::Login => Err(Error::LoginFailed),
            Page::PasswordChange => Err(Error::PasswordChangeForced),
            Page::Other => match status {
                200..=299 => Ok(false),
                401 | 403 => Err(Error::LoginFailed),
                _ => Err(Error::Http { status, what: "start page".into() }),
            },
        }
    }

    /// Asks anew for the token, where it came from.
    pub(super) async fn renew_token(&self, deadline: Instant) -> Result<(), Error> {
        if !self.token().is_of_page() {
            return self.fetch_token(deadline).await;
        }
        let bounds = self.bounds(self.profile.limits.page_bytes, deadline);
        let page = self.wire.follow(self.wire.get(&self.form.start)?, bounds).await?;
        self.judge_page(&page).map(|_| ())
    }

    /// The page had none: the service that hands it out is asked.
    pub(super) async fn fetch_token(&self, deadline: Instant) -> Result<(), Error> {
        let source = &self.form.token.cookie_service;
        let mut ask = self.wire.get(&self.profile.read_path(source)?)?;
        ask.content_type = Some(self.profile.read.content_type.clone());
        let answer = self.wire.follow(ask, self.bounds(self.profile.limits.service_bytes, deadline)).await?;
        self.note_cookies(&answer, Some(source));
        Ok(())
    }

    pub(super) fn token(&self) -> MutexGuard<'_, Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_cookies(&self, answer: &Answer, service: Option<&ServiceName>) {
        let tokens = service == Some(&self.form.token.cookie_service);
        self.token().note_cookies(&answer.cookies, tokens, &self.form.token.session_cookies);
    }

    pub(super) fn bounds(&self, bytes: usize, deadline: Instant) -> Bounds {
        let limits = self.profile.limits;
        Bounds { bytes, redirects: limits.redirects, cookies: limits.cookies, deadline }
    }
}
