//! secunet's Einbox-, Rechenzentrums- and Highspeedkonnektor: a login whose answer's `Authorization` header is the session.
//! Absent on purpose: paths of our own; they stand in `secunet.toml`. And a guess at what a forced new password looks like.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;

use super::rest::{Badge, Door, JSON, Rest, Standing, credentials};
use crate::konnektor::http::{Answer, Ask, Bounds, Wire};
use crate::konnektor::profile::{Bearer, Profile};
use crate::konnektor::{Error, Pins, Spec};

/// The driver for a make that hands out a bearer header.
pub(crate) fn driver(spec: Spec, profile: Arc<Profile>, login: Bearer, pins: Arc<dyn Pins>) -> Rest {
    Rest::new(spec, profile, Arc::new(Desk { login }), pins)
}

struct Desk {
    login: Bearer,
}

#[async_trait]
impl Door for Desk {
    /// The header goes back as it came. Without one the login failed, whatever the status says.
    async fn enter(&self, wire: &Wire, spec: &Spec, bounds: Bounds) -> Result<Badge, Error> {
        let Bearer { post, user_field, password_field, .. } = &self.login;
        let ask = Ask {
            method: Method::POST,
            url: wire.url(post)?,
            content_type: Some(JSON.into()),
            token: None,
            body: Some(credentials(spec, user_field, password_field)),
            headers: Vec::new(),
        };
        let answer = wire.send(ask, bounds).await?;
        let token = answer.authorization.filter(|value| !value.reveal().trim().is_empty());
        match (answer.status.as_u16(), token) {
            (200..=299, Some(token)) => Ok(Badge { proof: ("authorization", token), beside: Vec::new() }),
            (200..=299 | 400 | 401 | 403, _) => Err(Error::LoginFailed),
            (status, _) => Err(Error::Http { status, what: "login".into() }),
        }
    }

    fn standing(&self, answer: &Answer) -> Standing {
        if answer.status.as_u16() == 401 { Standing::Over } else { Standing::Lives }
    }

    async fn is_over(&self, _wire: &Wire, _badge: &Badge, _bounds: Bounds) -> Result<bool, Error> {
        Ok(false)
    }

    fn exit(&self) -> Option<(Method, &str)> {
        let path = self.login.logout.as_str();
        (!path.is_empty()).then_some((Method::DELETE, path))
    }
}
