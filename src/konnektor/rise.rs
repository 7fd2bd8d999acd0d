//! The RISE Konnektor: a session cookie first, then a login under it; every request says where it comes from.
//! Absent on purpose: paths of our own; they stand in `rise.toml`. And a logout: none is publicly known.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;

use super::rest::{Badge, Door, JSON, Rest, Standing, credentials};
use crate::konnektor::http::{Answer, Ask, Bounds, Wire};
use crate::konnektor::profile::{CookieSession, Profile};
use crate::konnektor::{Error, Pins, Spec};
use crate::secret::Secret;

/// The driver for a make that knows its visitors by a cookie.
pub(crate) fn driver(spec: Spec, profile: Arc<Profile>, login: CookieSession, pins: Arc<dyn Pins>) -> Rest {
    Rest::new(spec, profile, Arc::new(Lobby { login }), pins)
}

struct Lobby {
    login: CookieSession,
}

impl Lobby {
    /// The session's cookie, if this answer sets it. It is sent by hand, not out of a jar: known tools send it to every
    /// path, whatever path the box set it for.
    fn cookie(&self, answer: &Answer) -> Option<Secret> {
        let name = &self.login.cookie;
        let (_, value) = answer.cookies.iter().rfind(|(set, _)| set == name)?;
        Some(Secret::new(format!("{name}={}", value.reveal())))
    }
}

#[async_trait]
impl Door for Lobby {
    async fn enter(&self, wire: &Wire, spec: &Spec, bounds: Bounds) -> Result<Badge, Error> {
        let CookieSession { open, post, user_field, password_field, requested_with, .. } = &self.login;
        let beside = vec![
            ("referer", format!("https://{}", spec.address)),
            ("x-requested-with", requested_with.clone()),
        ];
        let mut ask = wire.get(open)?;
        ask.headers.clone_from(&beside);
        let opened = wire.send(ask, bounds).await?;
        let Some(cookie) = self.cookie(&opened) else {
            let status = opened.status.as_u16();
            let silent = (200..=299).contains(&status);
            return Err(if silent { Error::NoToken } else { Error::Http { status, what: "login".into() } });
        };
        let ask = Ask {
            method: Method::POST,
            url: wire.url(post)?,
            content_type: Some(JSON.into()),
            token: Some(("cookie".into(), cookie.clone())),
            body: Some(credentials(spec, user_field, password_field)),
            headers: beside.clone(),
        };
        let answer = wire.send(ask, bounds).await?;
        match answer.status.as_u16() {
            // A web server's page for every path is no login.
            200 if !answer.is_html => {
                Ok(Badge { proof: ("cookie", self.cookie(&answer).unwrap_or(cookie)), beside })
            }
            status @ (200 | 404 | 500..=599) => Err(Error::Http { status, what: "login".into() }),
            _ => Err(Error::LoginFailed),
        }
    }

    fn standing(&self, answer: &Answer) -> Standing {
        match answer.status.as_u16() {
            401 => Standing::Over,
            403 => Standing::Unclear,
            _ => Standing::Lives,
        }
    }

    /// A box that still knows our cookie sets no other one.
    async fn is_over(&self, wire: &Wire, badge: &Badge, bounds: Bounds) -> Result<bool, Error> {
        let (header, ours) = &badge.proof;
        let mut ask = wire.get(&self.login.open)?;
        ask.token = Some(((*header).to_owned(), ours.clone()));
        ask.headers.clone_from(&badge.beside);
        let answer = wire.send(ask, bounds).await?;
        Ok(self.cookie(&answer).is_some_and(|cookie| cookie.reveal() != ours.reveal()))
    }

    fn exit(&self) -> Option<(Method, &str)> {
        None
    }
}
