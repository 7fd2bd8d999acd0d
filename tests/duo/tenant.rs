//! What one customer's Duo knows, and what it does with a request.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use axum::http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use pforte::clock::Clock;
use serde_json::{Value, json};

use super::{Fault, IKEY, SKEY, wire};

/// What /preauth says.
#[derive(Clone, Debug, Default)]
pub enum Preauth {
    #[default]
    Auth,
    Allow,
    Deny(&'static str),
    Enroll(&'static str),
}

/// What the person does with a push.
#[derive(Clone, Debug, Default)]
pub enum Answer {
    #[default]
    Allow,
    Deny,
    Fraud,
    Timeout,
    LockedOut,
    /// Nothing; a poll is held for so long, and then says that nothing has changed.
    Silent(Duration),
    /// These states, `result` and `status`, one a poll.
    States(Vec<(&'static str, &'static str)>),
}

#[derive(Clone, Debug)]
pub struct Device {
    pub id: &'static str,
    pub number: &'static str,
    pub can: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub struct User {
    pub preauth: Preauth,
    pub answer: Answer,
    /// The policy demands a verified push: with this code.
    pub verified: Option<&'static str>,
    pub devices: Vec<Device>,
    /// Codes that are right, each of them once.
    pub passcodes: Vec<&'static str>,
}

impl Default for User {
    fn default() -> Self {
        let can = vec!["auto", "push", "sms", "phone", "mobile_otp"];
        let phone = Device { id: "DP80Z4GVU82OT8O1BNJF", number: "XXX-XXX-4788", can };
        Self {
            preauth: Preauth::Auth,
            answer: Answer::Allow,
            verified: None,
            devices: vec![phone],
            passcodes: Vec::new(),
        }
    }
}

/// A request that was taken as rightly signed (`ping` needs no signature).
#[derive(Clone, Debug)]
pub struct Seen {
    pub call: String,
    pub version: &'static str,
    pub fields: BTreeMap<String, String>,
}

pub struct Tenant {
    pub ikey: String,
    pub skey: String,
    /// How far Duo's clock is ahead of ours, seconds.
    pub ahead: i64,
    pub users: HashMap<String, User>,
    pub faults: HashMap<&'static str, Fault>,
    /// The application is not of the type Auth API.
    pub other_type: bool,
    pub seen: Vec<Seen>,
    /// Numbers of the errors that were given.
    pub refused: Vec<u32>,
    pub pushes: usize,
    pub texts: usize,
    pub txids: Vec<String>,
    states: HashMap<String, (VecDeque<Value>, Duration)>,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            ikey: IKEY.into(),
            skey: SKEY.into(),
            ahead: 0,
            users: HashMap::new(),
            faults: HashMap::new(),
            other_type: false,
            seen: Vec::new(),
            refused: Vec::new(),
            pushes: 0,
            texts: 0,
            txids: Vec::new(),
            states: HashMap::new(),
        }
    }
}

pub fn fail(code: u32) -> Value {
    json!({ "stat": "FAIL", "code": code, "message": "No", "message_detail": "of this test" })
}

fn ok(response: &Value) -> Value {
    json!({ "stat": "OK", "response": response })
}

fn state(result: &str, status: &str) -> Value {
    json!({ "result": result, "status": status, "status_msg": format!("Duo's words for {status}") })
}

type Answered = Result<Value, (Duration, u32)>;

impl Tenant {
    /// Does this call get a 429? With which headers?
    pub fn throttled(&mut self, call: &str) -> Option<Vec<(&'static str, String)>> {
        match self.faults.get_mut(call) {
            Some(Fault::Throttle(left, header)) if *left > 0 => {
                *left -= 1;
                Some(header.iter().cloned().collect())
            }
            _ => None,
        }
    }

    pub fn take(&mut self, call: &str, head: &Parts, body: &[u8]) -> Answered {
        let answered = self.taken(call, head, body);
        if let Err((_, code)) = &answered {
            self.refused.push(*code);
        }
        answered
    }

    fn taken(&mut self, call: &str, head: &Parts, body: &[u8]) -> Answered {
        let now: Timestamp = Clock::system().now() + SignedDuration::from_secs(self.ahead);
        let time = json!({ "time": now.as_second() });
        if call == "ping" {
            assert!(head.headers.get("authorization").is_none(), "a ping is not signed");
            self.seen.push(Seen { call: call.into(), version: "", fields: BTreeMap::new() });
            return Ok(ok(&time));
        }
        let refuse = |code| (Duration::ZERO, code);
        let keys = (self.ikey.as_str(), self.skey.as_str(), "127.0.0.1");
        let (version, pairs) = wire::verify(keys, now, head, body).map_err(refuse)?;
        if self.other_type {
            return Err(refuse(40301));
        }
        let fields: BTreeMap<_, _> = pairs.into_iter().collect();
        self.seen.push(Seen { call: call.into(), version, fields: fields.clone() });
        let field = |name: &str| fields.get(name).map(String::as_str).ok_or(refuse(40001));
        match (head.method.as_str(), call) {
            ("GET", "check") => Ok(ok(&time)),
            ("GET", "auth_status") => self.status(field("txid")?),
            ("POST", "preauth") => {
                let verified = fields.get("client_supports_verified_push").is_some_and(|v| v == "1");
                let name = field("username")?.to_owned();
                Ok(ok(&self.preauth(&name, verified)))
            }
            ("POST", "auth") => self.auth(&fields).map_err(refuse),
            _ => Err(refuse(40401)),
        }
    }

    fn preauth(&mut self, name: &str, can_verify: bool) -> Value {
        let Some(user) = self.users.get(name).cloned() else {
            return json!({ "result": "enroll", "enroll_portal_url": "https://duo.example/enrol/nobody" });
        };
        let mut answer = match user.preauth {
            Preauth::Allow => return json!({ "result": "allow", "status_msg": "Account is active" }),
            Preauth::Deny(why) => return json!({ "result": "deny", "status_msg": why }),
            Preauth::Enroll(url) => return json!({ "result": "enroll", "enroll_portal_url": url }),
            Preauth::Auth => json!({ "result": "auth", "status_msg": "Account is active" }),
        };
        let devices = user.devices.iter().map(|device| {
            let can =
                device.can.iter().filter(|can| user.verified.is_none() || can_verify || **can != "push");
            let can: Vec<_> = can.collect();
            json!({ "device": device.id, "type": "phone", "number": device.number, "capabilities": can })
        });
        answer["devices"] = devices.collect();
        if let (Some(code), true) = (user.verified, can_verify) {
            answer["txid"] = self.txid("verified").into();
            answer["verification_code"] = code.into();
            answer["expiration"] = 60.into();
        }
        answer
    }

    fn txid(&mut self, kind: &str) -> String {
        let txid = format!("{kind}-45f7c92b-f45f-4862-8545-{:012}", self.txids.len());
        self.txids.push(txid.clone());
        txid
    }

    fn auth(&mut self, fields: &BTreeMap<String, String>) -> Result<Value, u32> {
        let field = |name: &str| fields.get(name).map(String::as_str).ok_or(40001_u32);
        let user = self.users.get(field("username")?).ok_or(40002_u32)?.clone();
        if field("async")? != "1" {
            return Err(40002);
        }
        let mut hold = Duration::from_secs(30);
        let states: VecDeque<Value> = match field("factor")? {
            "push" => {
                field("device")?;
                if user.verified.is_some() && !self.txids.iter().any(|t| Some(t) == fields.get("txid")) {
                    return Err(40002);
                }
                self.pushes += 1;
                let pushed = state("waiting", "pushed");
                match user.answer {
                    Answer::Allow => [pushed, state("allow", "allow")].into(),
                    Answer::Deny => [pushed, state("deny", "deny")].into(),
                    Answer::Fraud => [pushed, state("deny", "fraud")].into(),
                    Answer::Timeout => [pushed, state("deny", "timeout")].into(),
                    Answer::LockedOut => [pushed, state("deny", "locked_out")].into(),
                    Answer::Silent(quiet) => {
                        hold = quiet;
                        [pushed].into()
                    }
                    Answer::States(states) => states.iter().map(|(r, s)| state(r, s)).collect(),
                }
            }
            "sms" => {
                field("device")?;
                self.texts += 1;
                [state("deny", "sent")].into()
            }
            "passcode" => {
                if fields.contains_key("device") {
                    return Err(40002);
                }
                let typed = field("passcode")?;
                let codes = &mut self.users.get_mut(field("username")?).unwrap().passcodes;
                let at = codes.iter().position(|code| *code == typed);
                [at.map_or_else(
                    || state("deny", "deny"),
                    |at| {
                        codes.remove(at);
                        state("allow", "allow")
                    },
                )]
                .into()
            }
            _ => return Err(40002),
        };
        let txid = self.txid("tx");
        self.states.insert(txid.clone(), (states, hold));
        Ok(ok(&json!({ "txid": txid })))
    }

    fn status(&mut self, txid: &str) -> Answered {
        let (states, hold) = self.states.get_mut(txid).ok_or((Duration::ZERO, 40401_u32))?;
        states.pop_front().map(|state| ok(&state)).ok_or((*hold, 40002))
    }
}
