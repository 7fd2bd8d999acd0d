//! HTTP as every provider speaks it: one request, one bounded reply, nowhere else than told.
//! Absent on purpose: retries (a second request is a second push on somebody's phone), redirects, cookies, and any
//! proxy that the configuration does not name.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::Cause;

/// The most bytes of a reply.
pub const REPLY_LIMIT: usize = 64 * 1024;

/// Why a client cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadClient {
    /// The CA file holds no usable certificate.
    #[error("no usable certificate in the CA file")]
    Ca,
    /// The proxy's address is none.
    #[error("proxy: expected http://HOST:PORT")]
    Proxy,
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls,
}

/// A reply, read to its end.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most [`REPLY_LIMIT`] bytes.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; anything else is [`Cause::Malformed`].
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Cause> {
        serde_json::from_slice(&self.body).map_err(|_| Cause::Malformed)
    }
}

/// A pool of connections: as many idle ones as logins come at once, kept for 60 s.
///
/// `ca_pem` are the certificates that alone are trusted, without them the system's; `proxy` is where CONNECT goes.
/// Headers have no time of their own here: the question's expiry ends the wait.
pub fn client(
    ca_pem: Option<&[u8]>,
    proxy: Option<&str>,
    connect_timeout: Duration,
) -> Result<Client, BadClient> {
    choose_tls_provider();
    let mut builder = Client::builder()
        .user_agent(concat!("pforte/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(Duration::from_mins(1))
        .pool_max_idle_per_host(64);
    if let Some(proxy) = proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(|_| BadClient::Proxy)?);
    }
    if let Some(pem) = ca_pem {
        let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| BadClient::Ca)?;
        if certificates.is_empty() {
            return Err(BadClient::Ca);
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|_| BadClient::Tls)
}

/// Sends `request` and reads its reply: any status but a redirection, which is [`Cause::Redirect`]; the body within
/// `body_timeout` and [`REPLY_LIMIT`].
pub async fn exchange(request: RequestBuilder, body_timeout: Duration) -> Result<Reply, Cause> {
    let mut reply = request.send().await.map_err(|e| cause(&e))?;
    let status = reply.status();
    if status.is_redirection() {
        return Err(Cause::Redirect);
    }
    let body = tokio::time::timeout(body_timeout, bounded(&mut reply));
    let body = body.await.map_err(|_| Cause::TooSlow)??;
    Ok(Reply { status, headers: reply.headers().clone(), body })
}

async fn bounded(reply: &mut Response) -> Result<Vec<u8>, Cause> {
    let limit = u64::try_from(REPLY_LIMIT).unwrap_or(u64::MAX);
    if reply.content_length().is_some_and(|length| length > limit) {
        return Err(Cause::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(|e| cause(&e))? {
        if body.len() + chunk.len() > REPLY_LIMIT {
            return Err(Cause::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A header that stands there exactly once, as text.
pub fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// Does it lead to this machine, whatever names mean?
pub(super) fn here(url: &reqwest::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn cause(error: &reqwest::Error) -> Cause {
    if error.is_timeout() {
        Cause::TimedOutConnecting
    } else if error.is_redirect() {
        Cause::Redirect
    } else if error.is_body() || error.is_decode() {
        Cause::Malformed
    } else {
        Cause::Unreachable
    }
}

/// reqwest is built without a TLS provider of its own and takes the process's.
pub(crate) fn choose_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::aws_lc_rs::default_provider().install_default().is_err()
    {
        tracing::debug!("another thread chose the TLS provider first");
    }
}
