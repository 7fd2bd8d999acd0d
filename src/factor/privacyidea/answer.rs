//! What privacyIDEA answers, and what of it counts.
//! Absent on purpose: its sentences; they are translated, and decide nothing here.

use serde::Deserialize;

use crate::factor::Cause;

/// "The user does not exist" among the service's error codes.
const NO_USER: i64 = 904;

/// Any answer; fields that we do not know are the service's own business.
#[derive(Deserialize)]
pub(super) struct Answer {
    result: Outcome,
    detail: Option<Detail>,
    pub(super) nonce: Option<String>,
}

#[derive(Deserialize)]
struct Outcome {
    status: bool,
    value: Option<serde_json::Value>,
    authentication: Option<String>,
    error: Option<ErrorOf>,
}

#[derive(Deserialize)]
struct ErrorOf {
    code: i64,
}

#[derive(Default, Deserialize)]
struct Detail {
    #[serde(default)]
    multi_challenge: Vec<Challenge>,
    challenge_status: Option<String>,
    serial: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Challenge {
    #[serde(rename = "type")]
    kind: String,
    serial: String,
    transaction_id: Option<String>,
    presence_answer: Option<String>,
}

/// What was triggered.
pub(super) struct Triggered {
    /// The name of the transaction: letters and digits.
    pub(super) transaction: String,
    /// The devices that may answer.
    pub(super) serials: Vec<String>,
    /// What has to be pressed on the phone.
    pub(super) number: Option<String>,
}

impl Triggered {
    /// The end of its name: enough to find it in the service's log, too little to ask for it.
    pub(super) fn tail(&self) -> String {
        let end: Vec<char> = self.transaction.chars().rev().take(4).collect();
        std::iter::once('…').chain(end.into_iter().rev()).collect()
    }

    /// Is the device that the service names one of those that were asked?
    pub(super) fn holds(&self, serial: Option<&str>) -> Result<(), Cause> {
        match serial {
            Some(serial) if self.serials.iter().any(|known| known == serial) => Ok(()),
            Some(_) | None => Err(Cause::WrongTx),
        }
    }
}

/// How far the phone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Accepted,
    Refused,
}

/// What a check came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// By this device; none is named where a policy lets people pass without one.
    Accepted(Option<String>),
    Refused,
    /// It was taken for a PIN.
    Challenged,
}

impl Answer {
    /// What an answer with a failure's status says.
    pub(super) fn failure(&self) -> Cause {
        match &self.result.error {
            Some(error) if error.code == NO_USER => Cause::NotEnrolled,
            Some(_) => Cause::ProviderError,
            None => Cause::Malformed,
        }
    }

    /// The answer itself, unless it says that it is none.
    fn good(self) -> Result<(Outcome, Detail), Cause> {
        if self.result.status && self.result.error.is_none() {
            Ok((self.result, self.detail.unwrap_or_default()))
        } else {
            Err(self.failure())
        }
    }

    /// Of `auth`: the token.
    pub(super) fn token(self) -> Result<String, Cause> {
        let (result, _) = self.good()?;
        let token = result.value.as_ref().and_then(|value| value.get("token")?.as_str());
        token.map(str::to_owned).ok_or(Cause::Malformed)
    }

    /// Of `triggerchallenge`: the challenges of this kind; without a policy the service triggers others too.
    pub(super) fn triggered(self, kind: &str) -> Result<Triggered, Cause> {
        let (_, detail) = self.good()?;
        let said = detail.message.is_some_and(|message| !message.is_empty());
        let none = if said && detail.multi_challenge.is_empty() {
            // A device was there, but could not be reached.
            Cause::ProviderError
        } else {
            Cause::NotEnrolled
        };
        let mut ours = detail.multi_challenge.into_iter().filter(|challenge| challenge.kind == kind);
        let first = ours.next().ok_or(none)?;
        let transaction = first.transaction_id.ok_or(Cause::Malformed)?;
        if !(1..=64).contains(&transaction.len()) || !transaction.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Cause::Malformed);
        }
        let mut serials = vec![first.serial];
        for other in ours {
            if other.transaction_id.as_ref() != Some(&transaction) {
                return Err(Cause::WrongTx);
            }
            // Two phones, one question: a number that only one of them knows cannot be told.
            if other.presence_answer != first.presence_answer {
                return Err(Cause::Malformed);
            }
            serials.push(other.serial);
        }
        Ok(Triggered { transaction, serials, number: first.presence_answer })
    }

    /// Of `polltransaction`. Its `authentication` says REJECT while it waits; only the status tells.
    pub(super) fn status(self) -> Result<Status, Cause> {
        let (_, detail) = self.good()?;
        match detail.challenge_status.as_deref() {
            Some("pending") => Ok(Status::Pending),
            Some("accept") => Ok(Status::Accepted),
            Some("declined" | "cancelled") => Ok(Status::Refused),
            Some(_) | None => Err(Cause::Malformed),
        }
    }

    /// Of `validate/check`.
    pub(super) fn checked(self) -> Result<Checked, Cause> {
        let (result, detail) = self.good()?;
        let value = result.value.as_ref().and_then(serde_json::Value::as_bool).ok_or(Cause::Malformed)?;
        match (value, result.authentication.as_deref()) {
            (true, Some("ACCEPT")) => Ok(Checked::Accepted(detail.serial)),
            (false, Some("CHALLENGE")) => Ok(Checked::Challenged),
            (false, Some("REJECT" | "DECLINED")) => Ok(Checked::Refused),
            (true | false, Some(_) | None) => Err(Cause::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn only_value_and_authentication_together_are_a_yes() {
        let check = |value: &str, said: &str| {
            let text =
                format!(r#"{{"result":{{"status":true,"value":{value}{said}}},"detail":{{"serial":"S"}}}}"#);
            answer(&text).checked()
        };
        assert_eq!(check("true", r#","authentication":"ACCEPT""#), Ok(Checked::Accepted(Some("S".into()))));
        assert_eq!(check("false", r#","authentication":"REJECT""#), Ok(Checked::Refused));
        assert_eq!(check("false", r#","authentication":"CHALLENGE""#), Ok(Checked::Challenged));
        for (value, said) in [
            ("true", ""),
            ("true", r#","authentication":"REJECT""#),
            ("false", r#","authentication":"ACCEPT""#),
            ("1", r#","authentication":"ACCEPT""#),
            ("\"true\"", r#","authentication":"ACCEPT""#),
            ("null", r#","authentication":"ACCEPT""#),
            ("true", r#","authentication":"accept""#),
        ] {
            assert_eq!(check(value, said), Err(Cause::Malformed), "{value} {said}");
        }
        let failed = r#"{"result":{"status":false,"value":true,"authentication":"ACCEPT"}}"#;
        assert_eq!(answer(failed).checked(), Err(Cause::Malformed));
    }

    #[test]
    fn challenges_of_two_transactions_or_with_two_numbers_are_none() {
        let one = |tx: &str, number: &str| {
            format!(r#"{{"type":"push","serial":"S","transaction_id":{tx},"presence_answer":{number}}}"#)
        };
        let of = |challenges: &[String]| {
            let list = challenges.join(",");
            let text = format!(
                r#"{{"result":{{"status":true,"value":1}},"detail":{{"multi_challenge":[{list}]}}}}"#
            );
            answer(&text).triggered("push").map(|t| (t.transaction.clone(), t.serials.len(), t.tail()))
        };
        let good = one("\"0123456\"", "\"45\"");
        assert_eq!(of(&[good.clone(), good.clone()]), Ok(("0123456".into(), 2, "…3456".into())));
        assert_eq!(of(&[good.clone(), one("\"7\"", "\"45\"")]), Err(Cause::WrongTx));
        assert_eq!(of(&[good.clone(), one("\"0123456\"", "\"46\"")]), Err(Cause::Malformed));
        for bad in ["null", "\"\"", "\"a/b\"", "\"1&user=x\""] {
            assert_eq!(of(&[one(bad, "null")]), Err(Cause::Malformed), "{bad}");
        }
        let sms = good.replace("push", "sms");
        assert_eq!(of(&[sms]), Err(Cause::NotEnrolled));
    }
}
