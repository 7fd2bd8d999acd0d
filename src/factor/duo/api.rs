//! One call to Duo: signed with Duo's own time, bounded in time and size, tried again only where Duo asks for that.
//! Absent on purpose: which calls there are in what order; and trying again after anything but 429 or a clock that is off.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::answer::{self, Ping, Trouble};
use super::signature::{Params, Signature, Signed, Signer};
use crate::factor::http::{self, Reply};
use crate::factor::{Cause, Line};

/// How long Duo's time is known once it was asked for.
const TIME_LASTS: Duration = Duration::from_hours(4);
/// The longest wait between two tries, if Duo names none.
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

/// A call that is signed.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) params: Params,
    /// How long the answer's head may take: a poll is held, all else is not.
    pub(super) head: Head,
}

/// How long the answer's head may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// As long as any answer of a service that is well.
    AtOnce,
    /// As long as the question is open.
    Held,
}

/// How patient one question is.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Nothing counts from here on.
    pub(super) until: Instant,
    /// Random bits, so that many that were sent away do not come back at once.
    pub(super) seed: u128,
}

impl Patience {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// What Duo's clock showed, and when.
#[derive(Clone, Copy)]
struct Anchor {
    theirs: Timestamp,
    at: Instant,
}

/// One application at one host of Duo's.
pub(super) struct Api {
    pub(super) client: Client,
    pub(super) base: Url,
    pub(super) signer: Signer,
    pub(super) signature: Signature,
    pub(super) answer_timeout: Duration,
    pub(super) body_timeout: Duration,
    anchor: Mutex<Option<Anchor>>,
}

impl Api {
    /// Dials nothing. `base` is `https://HOST[:PORT]/`.
    pub(super) fn new(
        client: Client,
        base: Url,
        (signer, signature): (Signer, Signature),
        answer_timeout: Duration,
        body_timeout: Duration,
    ) -> Self {
        Self { client, base, signer, signature, answer_timeout, body_timeout, anchor: Mutex::new(None) }
    }

    /// The answer to `call`. One that Duo finds off in time is made once more with the time asked for anew, unless `once`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        call: &Call,
        once: Once,
        patience: &Patience,
        line: &mut Line,
    ) -> Result<T, Trouble> {
        let mut again = once == Once::MayRepeat;
        loop {
            let now = self.time(patience, line).await?;
            let trouble = match self.answered(call, now, patience, line).await {
                Ok(value) => return serde_json::from_value(value).map_err(|_| Cause::Malformed.into()),
                Err(trouble) => trouble,
            };
            if trouble.is_clock() {
                *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            if trouble.code != 0 && call.head == Head::AtOnce {
                line.step(format!("duo: {}: error {} ({})", call.path, trouble.code, trouble.hint())).await;
            }
            if !(trouble.is_clock() && std::mem::take(&mut again)) {
                return Err(trouble);
            }
        }
    }

    async fn answered(
        &self,
        call: &Call,
        anchor: Anchor,
        patience: &Patience,
        line: &mut Line,
    ) -> Result<serde_json::Value, Trouble> {
        let make = || self.signed(call, anchor.now().ok_or(Cause::Malformed)?);
        let reply = self.patiently(call.path, call.head, &make, patience, line).await?;
        answer::open(&reply)
    }

    /// Duo's time, asked for if it is not known.
    async fn time(&self, patience: &Patience, line: &mut Line) -> Result<Anchor, Trouble> {
        let known = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(anchor) = known.filter(|anchor| anchor.at.elapsed() < TIME_LASTS) {
            return Ok(anchor);
        }
        let path = "/auth/v2/ping";
        let make = || Ok(Request::new(Method::GET, self.url(path, "")));
        let reply = self.patiently(path, Head::AtOnce, &make, patience, line).await?;
        let ping: Ping = serde_json::from_value(answer::open(&reply)?).map_err(|_| Cause::Malformed)?;
        let theirs = Timestamp::from_second(ping.time).map_err(|_| Cause::Malformed)?;
        let anchor = Anchor { theirs, at: Instant::now() };
        *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = Some(anchor);
        line.step("duo: answers, its time is known").await;
        Ok(anchor)
    }

    /// Sends what `make` makes, and again each time when Duo wants less of us and the question lasts that long.
    async fn patiently(
        &self,
        path: &str,
        head: Head,
        make: &(dyn Fn() -> Result<Request, Cause> + Sync),
        patience: &Patience,
        line: &mut Line,
    ) -> Result<Reply, Cause> {
        let mut pause = Duration::from_secs(1);
        for tick in 0_u32.. {
            let reply = self.send(make()?, head).await?;
            if reply.status != StatusCode::TOO_MANY_REQUESTS {
                return Ok(reply);
            }
            let wait = retry_after(&reply.headers, self.known_time());
            let wait = wait.unwrap_or(pause).saturating_add(jitter(patience.seed, tick));
            line.step(format!("duo: {path}: asks for fewer requests, wait {} s", wait.as_secs())).await;
            if wait >= patience.left() {
                return Err(Cause::Throttled);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(Cause::Throttled)
    }

    async fn send(&self, request: Request, head: Head) -> Result<Reply, Cause> {
        let request = reqwest::RequestBuilder::from_parts(self.client.clone(), request);
        let exchange = http::exchange(request, self.body_timeout);
        match head {
            Head::Held => exchange.await,
            Head::AtOnce => {
                let longest = self.answer_timeout.saturating_add(self.body_timeout);
                tokio::time::timeout(longest, exchange).await.unwrap_or(Err(Cause::TooSlow))
            }
        }
    }

    fn signed(&self, call: &Call, now: Timestamp) -> Result<Request, Cause> {
        let date = rfc2822::DateTimePrinter::new().timestamp_to_string(&now).map_err(|_| Cause::Malformed)?;
        let line = call.params.line();
        let (query, body, form) = match (&call.method, self.signature) {
            (&Method::GET, _) => (line, String::new(), None),
            (_, Signature::V2) => (String::new(), line, Some("application/x-www-form-urlencoded")),
            (_, Signature::V5) => (String::new(), call.params.json(), Some("application/json")),
        };
        let signed =
            Signed { date: &date, method: call.method.as_str(), path: call.path, query: &query, body: &body };
        let authorization = self.signer.authorization(self.signature, &signed);
        let mut request = Request::new(call.method.clone(), self.url(call.path, &query));
        let mut authorization = HeaderValue::try_from(authorization).map_err(|_| Cause::Credentials)?;
        authorization.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(DATE, HeaderValue::try_from(date).map_err(|_| Cause::Malformed)?);
        if let Some(form) = form {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(form));
            *request.body_mut() = Some(body.into());
        }
        Ok(request)
    }

    fn url(&self, path: &str, query: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    fn known_time(&self) -> Option<Timestamp> {
        let anchor = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        anchor.and_then(Anchor::now)
    }
}

impl Anchor {
    /// Duo's time now. Our own clock has no part in it: it may be wrong, or be put right meanwhile.
    fn now(self) -> Option<Timestamp> {
        let since = SignedDuration::try_from(self.at.elapsed()).ok()?;
        self.theirs.checked_add(since).ok()
    }
}

/// May a call be made a second time if Duo finds it off in time?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Once {
    /// It changes nothing.
    MayRepeat,
    /// It rings somebody's phone, or uses a code up.
    Only,
}

/// Seconds, or a date by Duo's clock. What is neither is nothing.
fn retry_after(headers: &HeaderMap, now: Option<Timestamp>) -> Option<Duration> {
    let value = ["retry-after", "x-retry-after"].into_iter().find_map(|name| http::only(headers, name))?;
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(Duration::try_from(date.duration_since(now?)).unwrap_or(Duration::ZERO))
}

/// Up to a second, other each time.
fn jitter(seed: u128, tick: u32) -> Duration {
    let [.., high, low] = seed.rotate_right(tick.wrapping_mul(16)).to_be_bytes();
    Duration::from_millis(u64::from(u16::from_be_bytes([high, low])) * 1000 / 65536)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn how_long_to_wait_is_seconds_or_a_date_by_duos_clock() {
        let now = "2026-11-21T16:04:05Z".parse().ok();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(retry_after(&headers(&[("retry-after", "7")]), now), seconds(7));
        assert_eq!(retry_after(&headers(&[("x-retry-after", " 8 ")]), now), seconds(8));
        let date = "Sat, 21 Nov 2026 16:04:35 GMT";
        assert_eq!(retry_after(&headers(&[("retry-after", date)]), now), seconds(30));
        assert_eq!(
            retry_after(&headers(&[("retry-after", "Sat, 21 Nov 2026 16:00:00 GMT")]), now),
            seconds(0)
        );
        assert_eq!(retry_after(&headers(&[("retry-after", date)]), None), None);
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(&headers(&[("retry-after", nonsense)]), now), None, "{nonsense}");
        }
    }

    #[test]
    fn chance_adds_less_than_a_second_and_not_the_same_each_time() {
        assert_eq!(jitter(0, 0), Duration::ZERO);
        assert!(jitter(u128::MAX, 3) < Duration::from_secs(1));
        assert_ne!(jitter(0x1234_5678, 0), jitter(0x1234_5678, 1));
    }
}
