//! Requests to one box over pinned TLS: bounded in bytes, headers, cookies, redirects and time.
//! Absent on purpose: proxies, decompression, other hosts, and what the answers mean.

use std::collections::BTreeSet;
use std::error::Error as Cause;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::cookie::{CookieStore, Jar};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
    SET_COOKIE,
};
use reqwest::{Client, Method, StatusCode, redirect};
use rustls::CertificateError;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::konnektor::certificate::{Pinned, Pins, Verifier};
use crate::konnektor::{CertificatePin, Error, Timeouts};
use crate::names::HostPort;
use crate::secret::Secret;

/// From here on an answer counts as large.
const LARGE: usize = 1 << 20;

/// How much of an answer is taken, and how often a redirect is followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes: usize,
    pub(crate) redirects: usize,
    pub(crate) cookies: usize,
    pub(crate) deadline: Instant,
}

/// One request.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) content_type: Option<String>,
    pub(crate) token: Option<(String, Secret)>,
    pub(crate) body: Option<Bytes>,
    /// Headers beside these.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// One answer, its body whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    pub(crate) is_html: bool,
    /// Where it redirects to, on the same origin.
    pub(crate) location: Option<Url>,
    /// Cookies set on the way here: name, value.
    pub(crate) cookies: Vec<(String, Secret)>,
    /// The `Authorization` header of the answer, as some boxes hand out their token.
    pub(crate) authorization: Option<Secret>,
    pub(crate) url: Url,
}

/// The client for one listener of one box.
pub(crate) struct Wire {
    client: Client,
    base: Url,
    verifier: Arc<Verifier>,
    pinned: Pinned,
    learn: bool,
    welcome: Option<CertificatePin>,
    pins: Arc<dyn Pins>,
}

/// What a [`Wire`] is made for.
pub(crate) struct Target<'a> {
    pub(crate) scheme: &'static str,
    pub(crate) address: &'a HostPort,
    pub(crate) pinned: Pinned,
    pub(crate) configured: Option<CertificatePin>,
    /// Taken without asking where nothing is pinned: the certificate of the box's other listener.
    pub(crate) welcome: Option<CertificatePin>,
    pub(crate) timeouts: Timeouts,
    pub(crate) connections: usize,
}

impl Wire {
    pub(crate) async fn new(target: Target<'_>, pins: Arc<dyn Pins>) -> Result<Self, Error> {
        let expected = match target.configured {
            Some(pin) => Some(pin),
            None => pins.pinned(&target.pinned).await,
        };
        let verifier = Verifier::new(expected);
        let client = Client::builder()
            .tls_backend_preconfigured(verifier.client_config()?)
            .cookie_provider(Arc::new(BoundedJar::default()))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .http1_only()
            .connect_timeout(target.timeouts.connect)
            .read_timeout(target.timeouts.read)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(target.connections)
            .build()
            .map_err(|_| Error::Setup)?;
        let base =
            Url::parse(&format!("{}://{}/", target.scheme, target.address)).map_err(|_| Error::Setup)?;
        Ok(Self {
            client,
            base,
            verifier,
            pinned: target.pinned,
            learn: expected.is_none(),
            welcome: target.welcome,
            pins,
        })
    }

    pub(crate) fn url(&self, path: &str) -> Result<Url, Error> {
        let url = self.base.join(path).map_err(|_| Error::Setup)?;
        if url.origin() == self.base.origin() { Ok(url) } else { Err(Error::Setup) }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Ask, Error> {
        let url = self.url(path)?;
        Ok(Ask { method: Method::GET, url, content_type: None, token: None, body: None, headers: Vec::new() })
    }

    /// The certificate this client insists on.
    pub(crate) fn certificate(&self) -> Option<CertificatePin> {
        self.verifier.expected()
    }

    /// Sends, and follows redirects on the same origin with GET.
    pub(crate) async fn follow(&self, ask: Ask, bounds: Bounds) -> Result<Answer, Error> {
        let Ask { content_type, token, headers, .. } = &ask;
        let (content_type, token, headers) = (content_type.clone(), token.clone(), headers.clone());
        let mut answer = self.send(ask, bounds).await?;
        let mut cookies = std::mem::take(&mut answer.cookies);
        let mut hops = 0;
        while let Some(url) = answer.location.take() {
            hops += 1;
            if hops > bounds.redirects {
                return Err(Error::TooManyRedirects);
            }
            let (content_type, token, headers) = (content_type.clone(), token.clone(), headers.clone());
            let next = Ask { method: Method::GET, url, content_type, token, body: None, headers };
            answer = self.send(next, bounds).await?;
            cookies.append(&mut answer.cookies);
        }
        answer.cookies = cookies;
        Ok(answer)
    }

    /// Sends once and follows nothing. A certificate seen for the first time is kept first, then asked again.
    pub(crate) async fn send(&self, ask: Ask, bounds: Bounds) -> Result<Answer, Error> {
        let limited = async {
            match self.once(&ask, bounds).await {
                Err(Error::CertificateUnknown { presented }) if self.learn => {
                    if self.welcome != Some(presented) {
                        let kept = self.pins.first_seen(&self.pinned, presented).await;
                        kept.map_err(|_| Error::CertificateUnknown { presented })?;
                    }
                    self.verifier.expect(presented);
                    self.once(&ask, bounds).await
                }
                other => other,
            }
        };
        timeout_at(bounds.deadline, limited).await.map_err(|_| Error::TimedOut)?
    }

    async fn once(&self, ask: &Ask, bounds: Bounds) -> Result<Answer, Error> {
        let mut request = self
            .client
            .request(ask.method.clone(), ask.url.clone())
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(content_type) = &ask.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some((name, token)) = &ask.token {
            let mut value = HeaderValue::from_str(token.reveal()).map_err(|_| Error::NoToken)?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &ask.body {
            request = request.body(body.clone());
        }
        let mut response = request.send().await.map_err(|e| self.cause(&e))?;
        let headers = response.headers();
        let cookies = cookies(headers, bounds.cookies)?;
        if headers.get(CONTENT_ENCODING).is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(Error::Encoded);
        }
        let is_html = headers
            .get(CONTENT_TYPE)
            .is_some_and(|v| v.as_bytes().to_ascii_lowercase().starts_with(b"text/html"));
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let authorization = authorization.map(|value| Secret::new(value.to_owned()));
        let status = response.status();
        let location = self.location(status, headers, &ask.url)?;
        let limit = bounds.bytes;
        if response.content_length().is_some_and(|n| n > limit as u64) {
            return Err(Error::TooLarge { limit });
        }
        // No more than the limit is set aside, whatever the box announces.
        let announced = response.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let mut body = Vec::with_capacity(announced);
        while let Some(chunk) = response.chunk().await.map_err(|e| self.cause(&e))? {
            if body.len() + chunk.len() > limit {
                return Err(Error::TooLarge { limit });
            }
            if body.len() > LARGE && body.capacity() - body.len() < chunk.len() {
                // Memory that is not written to costs nothing; growing by doubling would cost the size once more.
                body.reserve_exact(limit - body.len());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body, is_html, location, cookies, authorization, url: ask.url.clone() })
    }

    fn location(&self, status: StatusCode, headers: &HeaderMap, from: &Url) -> Result<Option<Url>, Error> {
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let Some(text) = headers.get(LOCATION).and_then(|v| v.to_str().ok()) else { return Ok(None) };
        let mut url = from.join(text).map_err(|_| Error::RedirectElsewhere)?;
        url.set_fragment(None);
        if url.origin() == self.base.origin() && url.username().is_empty() {
            Ok(Some(url))
        } else {
            Err(Error::RedirectElsewhere)
        }
    }

    fn cause(&self, error: &reqwest::Error) -> Error {
        let mut cause: Option<&(dyn Cause + 'static)> = Some(error);
        while let Some(at) = cause {
            let tls: Option<&rustls::Error> = at.downcast_ref();
            match tls {
                Some(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
                    return self.verifier.refusal().unwrap_or(Error::TlsFailed);
                }
                Some(_) => return Error::TlsFailed,
                None => {}
            }
            if let Some(http) = at.downcast_ref::<hyper::Error>() {
                if http.is_parse_too_large() {
                    return Error::TooManyHeaders;
                }
                if http.is_parse() {
                    return Error::NotHttp;
                }
            }
            // An io::Error's source is the source of what it wraps: what it wraps itself would be missed.
            cause = match at.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
                Some(wrapped) => Some(wrapped),
                None => at.source(),
            };
        }
        if error.is_connect() {
            Error::Away
        } else if error.is_timeout() {
            Error::TimedOut
        } else {
            Error::Dropped
        }
    }
}

/// What a box answered to a write or an action, for a person: at most the first 4 KiB of it, as text.
pub(crate) fn shown(body: &[u8]) -> String {
    const KEPT: usize = 4096;
    String::from_utf8_lossy(body.get(..body.len().min(KEPT)).unwrap_or_default()).trim().to_owned()
}

/// The cookies an answer sets; names and values are taken as they stand (RFC 6265, section 5.2).
fn cookies(headers: &HeaderMap, most: usize) -> Result<Vec<(String, Secret)>, Error> {
    let set: Vec<&HeaderValue> = headers.get_all(SET_COOKIE).iter().collect();
    if set.len() > most || set.iter().any(|value| value.len() > 8192) {
        return Err(Error::TooManyHeaders);
    }
    let parsed = set.iter().filter_map(|value| {
        let (name, value) = value.to_str().ok()?.split(';').next()?.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (!value.is_empty()).then(|| (name.trim().to_owned(), Secret::new(value.to_owned())))
    });
    Ok(parsed.collect())
}

/// The usual cookie jar, with a bound on the names it ever takes; what is more is not kept.
#[derive(Default)]
struct BoundedJar {
    jar: Jar,
    names: Mutex<BTreeSet<String>>,
}

impl CookieStore for BoundedJar {
    fn set_cookies(&self, headers: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        const MOST: usize = 64;
        let headers: Vec<&HeaderValue> = headers.take(MOST + 1).collect();
        if headers.len() > MOST {
            return;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        for header in headers {
            let name = header.to_str().ok().and_then(|text| text.split('=').next()).unwrap_or("").trim();
            if header.len() <= 8192 && (names.len() < MOST || names.contains(name)) {
                names.insert(name.to_owned());
                // The jar logs cookies with their values unless they are Secure; we keep none for http.
                let secure = [header.as_bytes(), b"; Secure"].concat();
                if let Ok(header) = HeaderValue::from_bytes(&secure) {
                    self.jar.set_cookies(&mut std::iter::once(&header), url);
                }
            }
        }
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        self.jar.cookies(url)
    }
}
