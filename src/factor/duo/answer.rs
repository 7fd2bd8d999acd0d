//! Duo's answers: the envelope, and what is in it for us.
//! Absent on purpose: words for people, and what Duo's own words say; `result` decides.

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::factor::Cause;
use crate::factor::http::Reply;

/// The request's time is off.
const CLOCK: u32 = 40105;
/// A parameter is wrong; of a poll: nothing has changed for as long as Duo holds one.
const PARAMETER: u32 = 40002;

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) cause: Cause,
    /// Duo's own number for it, or 0.
    pub(super) code: u32,
}

impl From<Cause> for Trouble {
    fn from(cause: Cause) -> Self {
        Self { cause, code: 0 }
    }
}

impl Trouble {
    /// Is it our clock?
    pub(super) fn is_clock(self) -> bool {
        self.code == CLOCK
    }

    /// Of a poll: did nothing happen for a while?
    pub(super) fn is_long_poll_over(self) -> bool {
        self.code == PARAMETER
    }

    /// What an operator should look at, where Duo's number says it.
    pub(super) fn hint(self) -> &'static str {
        match self.code {
            40101 => "the credentials are missing",
            40102 => "the ikey is not known there",
            40103 => "the signature is wrong: look at skey and host",
            40104 | CLOCK => "the time is off",
            40301 => "the application in Duo is not of the type Auth API",
            _ => "refused",
        }
    }
}

/// The answer within the envelope: status 200 and `stat` OK, or it is none.
pub(super) fn open(reply: &Reply) -> Result<Value, Trouble> {
    let envelope = reply.json::<Value>();
    if reply.status != StatusCode::OK {
        let code = envelope.ok().as_ref().and_then(code).unwrap_or(0);
        return Err(Trouble { cause: cause(code, reply.status), code });
    }
    let mut envelope = envelope?;
    match envelope.get("stat").and_then(Value::as_str) {
        Some("OK") => Ok(envelope.get_mut("response").map(Value::take).ok_or(Cause::Malformed)?),
        Some("FAIL") => {
            let code = code(&envelope).ok_or(Cause::Malformed)?;
            Err(Trouble { cause: cause(code, reply.status), code })
        }
        _ => Err(Cause::Malformed.into()),
    }
}

/// Comes as a number or as a text.
fn code(envelope: &Value) -> Option<u32> {
    let code = envelope.get("code")?;
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    u32::try_from(number).ok()
}

fn cause(code: u32, status: StatusCode) -> Cause {
    match (code, status) {
        (CLOCK, _) => Cause::Stale,
        (40100..=40199 | 40300..=40399, _) | (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Cause::Credentials
        }
        (_, StatusCode::OK) => Cause::ProviderError,
        (_, status) => Cause::Status(status.as_u16()),
    }
}

/// `/ping`.
#[derive(Deserialize)]
pub(super) struct Ping {
    /// Seconds since 1970.
    pub(super) time: i64,
}

/// `/preauth`.
#[derive(Deserialize)]
pub(super) struct Preauth {
    pub(super) result: String,
    pub(super) status_msg: Option<String>,
    pub(super) devices: Option<Vec<Device>>,
    pub(super) enroll_portal_url: Option<String>,
    pub(super) txid: Option<String>,
    pub(super) verification_code: Option<Value>,
}

impl Preauth {
    /// The number to be typed into the phone, and the transaction it stands for.
    pub(super) fn verified(&self) -> Result<Option<(String, &str)>, Cause> {
        let Some(code) = &self.verification_code else { return Ok(None) };
        let code = code.as_str().map_or_else(|| code.to_string(), str::to_owned);
        let plain = (3..=6).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit());
        match self.txid.as_deref() {
            Some(txid) if plain && is_txid(txid) => Ok(Some((code, txid))),
            _ => Err(Cause::Malformed),
        }
    }
}

/// One of a person's devices.
#[derive(Deserialize)]
pub(super) struct Device {
    #[serde(rename = "device")]
    pub(super) id: Option<String>,
    pub(super) capabilities: Option<Vec<String>>,
    pub(super) number: Option<String>,
}

impl Device {
    pub(super) fn can(&self, what: &str) -> bool {
        self.capabilities.iter().flatten().any(|capability| capability == what)
    }

    /// The end of its number, to be recognised by whose phone it is.
    pub(super) fn masked(&self) -> Option<String> {
        let digits: Vec<char> = self.number.as_deref()?.chars().filter(char::is_ascii_digit).collect();
        let end: String = digits.get(digits.len().checked_sub(4)?..)?.iter().collect();
        Some(format!("…{end}"))
    }
}

/// `/auth` and `/auth_status`.
#[derive(Deserialize)]
pub(super) struct Progress {
    pub(super) txid: Option<String>,
    pub(super) result: Option<String>,
    pub(super) status: Option<String>,
    pub(super) status_msg: Option<String>,
    /// Not sent by Duo so far; where it is, it has to be the person that was asked.
    pub(super) username: Option<String>,
}

/// How a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    Waiting,
    Allowed,
    /// Nobody confirmed: the person or the request is let through by a rule at Duo.
    Bypassed,
    Denied,
    LockedOut,
    Fraud,
    TimedOut,
    /// A code is on its way.
    Sent,
}

impl Progress {
    /// `result` decides; `status` says which no it is. A yes whose status is a no is neither.
    pub(super) fn stands(&self) -> Result<Stands, Cause> {
        match (self.result.as_deref(), self.status.as_deref().unwrap_or_default()) {
            (Some("waiting"), _) => Ok(Stands::Waiting),
            (Some("allow"), "deny" | "fraud" | "locked_out" | "timeout" | "sent") => Err(Cause::Malformed),
            (Some("allow"), "bypass") => Ok(Stands::Bypassed),
            (Some("allow"), _) => Ok(Stands::Allowed),
            (Some("deny"), "fraud") => Ok(Stands::Fraud),
            (Some("deny"), "timeout") => Ok(Stands::TimedOut),
            (Some("deny"), "sent") => Ok(Stands::Sent),
            (Some("deny"), "locked_out") => Ok(Stands::LockedOut),
            (Some("deny"), _) => Ok(Stands::Denied),
            _ => Err(Cause::Malformed),
        }
    }

    /// The transaction that was opened: we asked for one.
    pub(super) fn opened(&self) -> Result<&str, Cause> {
        self.txid.as_deref().filter(|txid| is_txid(txid)).ok_or(Cause::Malformed)
    }
}

/// What can be sent back as it is.
fn is_txid(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn opened(status: u16, body: &str) -> Result<Value, Trouble> {
        let status = StatusCode::from_u16(status).unwrap();
        open(&Reply { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() })
    }

    #[test]
    fn only_status_200_with_stat_ok_is_an_answer() {
        assert_eq!(opened(200, r#"{"stat":"OK","response":{"time":1},"more":2}"#).unwrap()["time"], 1);
        for (status, body, cause, code) in [
            (201, r#"{"stat":"OK","response":{}}"#, Cause::Status(201), 0),
            (200, r#"{"stat":"ok","response":{}}"#, Cause::Malformed, 0),
            (200, r#"{"stat":"OK"}"#, Cause::Malformed, 0),
            (200, r#"{"response":{"result":"allow"}}"#, Cause::Malformed, 0),
            (200, r#"{"stat":"FAIL"}"#, Cause::Malformed, 0),
            (200, r#"{"stat":"FAIL","code":40002}"#, Cause::ProviderError, 40002),
            (200, "[]", Cause::Malformed, 0),
            (200, "<html>", Cause::Malformed, 0),
            (400, r#"{"stat":"FAIL","code":"40002","message":"x"}"#, Cause::Status(400), 40002),
            (401, r#"{"stat":"FAIL","code":40103}"#, Cause::Credentials, 40103),
            (401, r#"{"stat":"FAIL","code":40105}"#, Cause::Stale, 40105),
            (401, "<html>", Cause::Credentials, 0),
            (403, r#"{"stat":"FAIL","code":40301}"#, Cause::Credentials, 40301),
            (500, "", Cause::Status(500), 0),
            (500, r#"{"stat":"OK","response":{"result":"allow"}}"#, Cause::Status(500), 0),
        ] {
            assert_eq!(opened(status, body), Err(Trouble { cause, code }), "{status} {body}");
        }
    }

    #[test]
    fn the_result_decides_and_a_yes_that_says_no_is_neither() {
        let stands = |result: Option<&str>, status: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let (result, status) = (owned(result), owned(status));
            Progress { txid: None, result, status, status_msg: None, username: None }.stands()
        };
        for (result, status, expected) in [
            ("waiting", Some("pushed"), Ok(Stands::Waiting)),
            ("waiting", Some("allow"), Ok(Stands::Waiting)),
            ("allow", Some("allow"), Ok(Stands::Allowed)),
            ("allow", Some("of tomorrow"), Ok(Stands::Allowed)),
            ("allow", None, Ok(Stands::Allowed)),
            ("allow", Some("bypass"), Ok(Stands::Bypassed)),
            ("allow", Some("fraud"), Err(Cause::Malformed)),
            ("allow", Some("sent"), Err(Cause::Malformed)),
            ("deny", Some("allow"), Ok(Stands::Denied)),
            ("deny", Some("of tomorrow"), Ok(Stands::Denied)),
            ("deny", Some("fraud"), Ok(Stands::Fraud)),
            ("deny", Some("timeout"), Ok(Stands::TimedOut)),
            ("deny", Some("sent"), Ok(Stands::Sent)),
            ("deny", Some("locked_out"), Ok(Stands::LockedOut)),
            ("Allow", Some("allow"), Err(Cause::Malformed)),
            ("", Some("allow"), Err(Cause::Malformed)),
        ] {
            assert_eq!(stands(Some(result), status), expected, "{result} {status:?}");
        }
        assert_eq!(stands(None, Some("allow")), Err(Cause::Malformed));
    }

    #[test]
    fn a_verification_code_has_three_to_six_digits_and_its_transaction() {
        let preauth = |code: &str, txid: &str| -> Preauth {
            let text = format!(r#"{{"result":"auth","verification_code":{code},"txid":{txid}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(preauth("\"047\"", "\"t\"").verified(), Ok(Some(("047".into(), "t"))));
        assert_eq!(preauth("123456", "\"t\"").verified(), Ok(Some(("123456".into(), "t"))));
        assert_eq!(preauth("null", "\"t\"").verified(), Ok(None));
        for (code, txid) in
            [("\"47\"", "\"t\""), ("\"1234567\"", "\"t\""), ("\"12a\"", "\"t\""), ("\"123\"", "null")]
        {
            assert_eq!(preauth(code, txid).verified(), Err(Cause::Malformed), "{code} {txid}");
        }
    }

    #[test]
    fn of_a_number_only_the_end_is_shown() {
        let device = |number: &str| Device {
            id: None,
            capabilities: None,
            number: (!number.is_empty()).then(|| number.to_owned()),
        };
        assert_eq!(device("XXX-XXX-4788").masked().as_deref(), Some("…4788"));
        assert_eq!(device("+49 151 2345678").masked().as_deref(), Some("…5678"));
        assert_eq!(device("\u{1b}[2J12").masked(), None);
        assert_eq!(device("").masked(), None);
    }
}
