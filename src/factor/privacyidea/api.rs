//! The four requests of privacyIDEA's validate API, each sent once, each answer held against what was asked.
//! Absent on purpose: what follows from an answer; retries but the one with a new token of the gateway's own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use url::Url;

use super::answer::{Answer, Checked, Status, Triggered};
use super::signature::Verifier;
use super::{PrivacyIdeaConfig, PrivacyIdeaError, Service};
use crate::factor::http::{self, Reply};
use crate::factor::{Cause, Question};
use crate::secret::Secret;

/// Whom a question is for, as the service knows them.
pub(super) struct Who<'q> {
    user: &'q str,
    realm: Option<&'q str>,
    /// Where they come from; the service heeds it where its settings trust the gateway.
    from: String,
    tx: String,
}

impl<'q> Who<'q> {
    pub(super) fn of(question: &'q Question, realm: Option<&'q str>) -> Self {
        Self {
            user: question.contact.external.as_deref().unwrap_or(question.user.as_str()),
            realm,
            from: question.from.ip().to_canonical().to_string(),
            tx: question.tx.to_string(),
        }
    }

    fn fields(&self) -> Fields<'q> {
        let mut fields = vec![("user", self.user)];
        fields.extend(self.realm.map(|realm| ("realm", realm)));
        fields
    }
}

type Fields<'f> = Vec<(&'static str, &'f str)>;

/// The service, and who we are to it.
pub(super) struct Api {
    client: Client,
    base: Url,
    service: Service,
    token: Mutex<Option<Secret>>,
    verifier: Option<Verifier>,
    answer_timeout: Duration,
    requests: AtomicU64,
}

impl Api {
    pub(super) fn new(config: PrivacyIdeaConfig) -> Result<Self, PrivacyIdeaError> {
        let client = http::client(config.ca_pem.as_deref(), config.proxy.as_deref(), config.connect_timeout)?;
        let mut base = config.url;
        // What stands behind the last slash would be replaced by a path, not followed by it.
        base.path_segments_mut().map_err(|()| PrivacyIdeaError::Url)?.pop_if_empty().push("");
        let verifier = config.verify_pem.as_deref().map(Verifier::of_pem);
        let verifier = verifier.map(|found| found.ok_or(PrivacyIdeaError::Verify)).transpose()?;
        Ok(Self {
            client,
            base,
            service: config.service,
            token: Mutex::new(None),
            verifier,
            answer_timeout: config.answer_timeout,
            requests: AtomicU64::new(0),
        })
    }

    /// Has the person's devices of this kind ask them. Sent a second time only if our token had run out: then nothing rang.
    pub(super) async fn trigger(&self, who: &Who<'_>, kind: &str) -> Result<Triggered, Cause> {
        let (token, fresh) = self.token(who).await?;
        let answer = match self.trigger_as(&token, who, kind).await {
            Err(Refused::Unauthorized) if !fresh => {
                self.keep(None);
                let (token, _) = self.token(who).await?;
                self.trigger_as(&token, who, kind).await
            }
            other => other,
        };
        answer.map_err(Cause::from)?.triggered(kind)
    }

    async fn trigger_as(&self, token: &Secret, who: &Who<'_>, kind: &str) -> Result<Answer, Refused> {
        let mut fields = who.fields();
        fields.extend([("type", kind), ("client", &who.from)]);
        let request = self.post("validate/triggerchallenge")?;
        // Not `bearer_auth`: the service reads its own header, so that a server before it may have the other.
        let mut header =
            reqwest::header::HeaderValue::from_str(token.reveal()).map_err(|_| Cause::Credentials)?;
        header.set_sensitive(true);
        self.send(request.header("PI-Authorization", header), who, fields, Place::Body).await
    }

    /// What has become of a transaction. Anybody may ask that, and nothing vouches for the answer.
    pub(super) async fn poll(&self, who: &Who<'_>, transaction: &str) -> Result<Status, Cause> {
        let url = self.url("validate/polltransaction")?;
        let fields = vec![("transaction_id", transaction)];
        self.send(self.client.get(url), who, fields, Place::Query).await?.status()
    }

    /// Does `pass` count, for the transaction or as a code of its own?
    pub(super) async fn check(
        &self,
        who: &Who<'_>,
        pass: &str,
        transaction: Option<&str>,
    ) -> Result<Checked, Cause> {
        let mut fields = who.fields();
        fields.extend([("pass", pass), ("client", &who.from)]);
        fields.extend(transaction.map(|id| ("transaction_id", id)));
        let request = self.post("validate/check")?;
        self.send(request, who, fields, Place::Body).await?.checked()
    }

    /// Our token, and whether it was fetched just now (or cannot be renewed).
    async fn token(&self, who: &Who<'_>) -> Result<(Secret, bool), Cause> {
        let (user, password) = match &self.service {
            Service::Token(token) => return Ok((token.clone(), true)),
            Service::User(user, password) => (user, password),
        };
        let kept = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(token) = kept {
            return Ok((token, false));
        }
        let fields = vec![("username", user.as_str()), ("password", password.reveal())];
        let answer = self.send(self.post("auth")?, who, fields, Place::Body).await?;
        let token = Secret::new(answer.token()?);
        self.keep(Some(token.clone()));
        Ok((token, true))
    }

    fn keep(&self, token: Option<Secret>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    fn url(&self, path: &str) -> Result<Url, Cause> {
        self.base.join(path).map_err(|_| Cause::Malformed)
    }

    fn post(&self, path: &str) -> Result<RequestBuilder, Cause> {
        Ok(self.client.post(self.url(path)?))
    }

    /// One request and its answer, signed for it where that is asked for.
    async fn send(
        &self,
        request: RequestBuilder,
        who: &Who<'_>,
        mut fields: Fields<'_>,
        place: Place,
    ) -> Result<Answer, Refused> {
        let nonce = format!("{}.{}", who.tx, self.requests.fetch_add(1, Ordering::Relaxed));
        if self.verifier.is_some() {
            fields.push(("nonce", &nonce));
        }
        let request = match place {
            Place::Body => request.form(&fields),
            Place::Query => request.query(&fields),
        };
        let reply = tokio::time::timeout(self.answer_timeout, http::exchange(request, self.answer_timeout));
        let reply = reply.await.map_err(|_| Cause::TooSlow)??;
        let status = reply.status;
        if status == StatusCode::UNAUTHORIZED {
            return Err(Refused::Unauthorized);
        }
        if status == StatusCode::FORBIDDEN {
            return Err(Cause::Credentials.into());
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Cause::Throttled.into());
        }
        if status.is_server_error() {
            return Err(Cause::Status(status.as_u16()).into());
        }
        let answer = self.read(&reply, &nonce);
        if status == StatusCode::OK {
            return Ok(answer?);
        }
        Err(answer.map_or(Cause::Status(status.as_u16()), |answer| answer.failure()).into())
    }

    fn read(&self, reply: &Reply, nonce: &str) -> Result<Answer, Cause> {
        let Some(verifier) = &self.verifier else { return reply.json() };
        let answer: Answer =
            serde_json::from_slice(&verifier.signed(&reply.body)?).map_err(|_| Cause::Malformed)?;
        if answer.nonce.as_deref() == Some(nonce) { Ok(answer) } else { Err(Cause::WrongTx) }
    }
}

/// Where a request's fields stand.
#[derive(Clone, Copy)]
enum Place {
    Body,
    Query,
}

/// Why there is no answer; one reason may pass with a new token.
enum Refused {
    Unauthorized,
    For(Cause),
}

impl From<Cause> for Refused {
    fn from(cause: Cause) -> Self {
        Self::For(cause)
    }
}

impl From<Refused> for Cause {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthorized => Self::Credentials,
            Refused::For(cause) => cause,
        }
    }
}
