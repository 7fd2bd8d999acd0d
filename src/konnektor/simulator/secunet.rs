//! What a simulated secunet box answers: the bearer token's login, its resources, the settings and terminals it lets change.
//! Absent on purpose: factory backup, users and network; their paths are not publicly known.

pub(super) mod content;
mod terminals;

use axum::body::Body;
use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::network::Own;
use super::replies::{bare, set, value, xml};
use super::{Role, Session, Shared, directory, lock, random};
use content::PROTOCOL;

const LOGIN: &str = "/rest/mgmt/ak/konten/login";
pub(super) const LOGOUT: &str = "/rest/mgmt/ak/konten/profil/logout";
/// Of a request's body; the real box's is not known.
const BODY_LIMIT: usize = 1 << 20;

impl Shared {
    pub(super) async fn secunet(&self, request: Request<Body>, own: &Own) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
            return bare(StatusCode::PAYLOAD_TOO_LARGE);
        };
        match (&parts.method, parts.uri.path()) {
            (&Method::GET, "/connector.sds") => {
                return xml(directory::directory(self.options.make, &lock(&self.firmware)));
            }
            (&Method::POST, LOGIN) => return self.bearer_login(&body),
            _ => {}
        }
        let Some((token, _)) = self.bearer_session(&parts.headers) else { return self.no_session() };
        match (&parts.method, parts.uri.path()) {
            (&Method::DELETE, LOGOUT) => {
                lock(&self.sessions).remove(&token);
                bare(StatusCode::NO_CONTENT)
            }
            (&Method::POST, "/rest/mgmt/nk/system") => {
                if !matches!(body.as_ref(), b"" | b"{}" | b"\"\"") {
                    return bare(StatusCode::BAD_REQUEST);
                }
                lock(&self.performed).push(("system".into(), Value::Null));
                self.reboot(own).await;
                bare(StatusCode::OK)
            }
            (_, path) => match path.strip_prefix("/rest/mgmt/") {
                Some(rest) => self.resource(&parts, rest, &body),
                None => bare(StatusCode::NOT_FOUND),
            },
        }
    }

    pub(super) fn bearer_session(&self, headers: &HeaderMap) -> Option<(String, Session)> {
        let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let session = lock(&self.sessions).get(token).cloned()?;
        Some((token.to_owned(), session))
    }

    fn bearer_login(&self, body: &[u8]) -> Response<Body> {
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = |member: &str| sent.get(member).and_then(Value::as_str);
        if said("username") != Some(self.options.user.as_str())
            || said("password") != Some(self.options.password.reveal())
        {
            return bare(StatusCode::UNAUTHORIZED);
        }
        if (self.options.role == Role::Remote) != self.options.remote_port {
            return bare(StatusCode::FORBIDDEN);
        }
        if self.options.forced_password_change {
            let mut answer = value(&json!({"message": "password change required"}));
            *answer.status_mut() = StatusCode::FORBIDDEN;
            return answer;
        }
        let token = format!("Bearer eyJhbGciOiJIUzI1NiJ9.{}.{}", random(), random());
        lock(&self.sessions).insert(token.clone(), Session { logged_in: true, token: String::new() });
        let mut answer = bare(StatusCode::NO_CONTENT);
        set(&mut answer, header::AUTHORIZATION, &token);
        answer
    }

    fn resource(&self, parts: &Parts, rest: &str, body: &[u8]) -> Response<Body> {
        let words: Vec<&str> = rest.split('/').collect();
        match (&parts.method, words.as_slice()) {
            (&Method::GET, ["ak", "dienste", "status", "ping"]) => bare(StatusCode::OK),
            (&Method::GET, ["ak", "dienste", "karten", "smb", card, mandant, "pin"]) => {
                self.pin(card, mandant)
            }
            (&Method::POST, ["ak", "dienste", "karten", "smb", card, mandant, terminal, "pin"]) => {
                if self.options.role == Role::Remote {
                    return bare(StatusCode::FORBIDDEN);
                }
                let asked = json!({"cardHandle": card, "mandantId": mandant, "ctId": terminal});
                lock(&self.performed).push(("pin".into(), asked));
                self.pin(card, mandant)
            }
            (&Method::POST, ["ak", "dienste", "protokoll", "datei", "system", "OP", from, to]) => {
                self.log_entries(from, to)
            }
            (&Method::PUT, ["ak", "dienste", "ksr", "informationen", "update"]) => {
                self.carried_out("ksr/update", Value::Null)
            }
            (&Method::PUT, ["ak", "dienste", "ksr", "download", update]) => {
                self.carried_out("ksr/download", json!(update))
            }
            (&Method::PUT, ["ak", "dienste", "ksr", "einplanen"]) => {
                match serde_json::from_slice::<Value>(body) {
                    Ok(plan) if plan.get("updateId").is_some() => self.carried_out("ksr/einplanen", plan),
                    _ => bare(StatusCode::BAD_REQUEST),
                }
            }
            (&Method::GET, ["ak", "dienste", one @ ("karten" | "kartenterminals"), id]) => self.one(one, id),
            (&Method::GET, ["ak", "dienste", "kartenterminals", id, "erweitert"]) => {
                self.one("kartenterminals", id)
            }
            (&Method::PUT | &Method::DELETE, ["ak", "dienste", "kartenterminals", id, rest @ ..]) => {
                self.terminal(&parts.method, id, rest)
            }
            (method, words) => match (method, file(words)) {
                (_, None) => bare(StatusCode::NOT_FOUND),
                (&Method::GET, Some(name)) => self.shown(name),
                (&Method::PUT, Some(name @ ("ksr" | PROTOCOL))) => {
                    let strict =
                        parts.uri.query().is_some_and(|query| query.split('&').any(|q| q == "strict=true"));
                    self.settings(name, strict, body)
                }
                _ => bare(StatusCode::METHOD_NOT_ALLOWED),
            },
        }
    }

    fn carried_out(&self, action: &str, body: Value) -> Response<Body> {
        if self.closed_to_writes("updates") {
            return bare(StatusCode::FORBIDDEN);
        }
        lock(&self.performed).push((action.to_owned(), body));
        bare(StatusCode::OK)
    }

    /// A resource as this role sees it.
    fn seen(&self, name: &str) -> Result<Value, StatusCode> {
        let remote = self.options.role == Role::Remote;
        if self.closed_to_reads(name) || (remote && name == "clientsysteme") {
            return Err(StatusCode::FORBIDDEN);
        }
        let mut seen = self.folder.value(name).map_err(|_| StatusCode::NOT_FOUND)?;
        if name == "version"
            && let Some(version) = seen.as_object_mut()
        {
            version.insert("fwVersion".into(), json!(*lock(&self.firmware)));
        }
        if name == "info"
            && let Some(info) = seen.as_object_mut()
        {
            info.insert("kartenTerminals".into(), self.seen("kartenterminals")?);
            info.insert("mandanten".into(), self.seen("mandanten")?);
        }
        if remote && name == "karten" {
            hide_persons(&mut seen);
        }
        if remote && name == "kartenterminals" {
            let terminals = seen.as_array_mut().into_iter().flatten();
            terminals.filter_map(|terminal| terminal.get_mut("slotInfos")).for_each(hide_persons);
        }
        Ok(seen)
    }

    fn shown(&self, name: &str) -> Response<Body> {
        match self.seen(name) {
            Ok(seen) => value(&seen),
            Err(status) => bare(status),
        }
    }

    fn one(&self, name: &str, id: &str) -> Response<Body> {
        let seen = match self.seen(name) {
            Ok(seen) => seen,
            Err(status) => return bare(status),
        };
        let is_it =
            |one: &&Value| ["internalId", "cardHandle"].iter().any(|key| one.get(key) == Some(&json!(id)));
        match seen.as_array().into_iter().flatten().find(is_it) {
            Some(one) => value(one),
            None => bare(StatusCode::NOT_FOUND),
        }
    }

    fn pin(&self, card: &str, mandant: &str) -> Response<Body> {
        let held = |name: &str, key: &str, wanted: &str| {
            let all = self.folder.value(name).unwrap_or_default();
            all.as_array().into_iter().flatten().any(|one| one.get(key) == Some(&json!(wanted)))
        };
        if !held("karten", "cardHandle", card) || !held("mandanten", "mandantId", mandant) {
            return bare(StatusCode::NOT_FOUND);
        }
        value(&json!({"status": "VERIFIABLE", "retries": 3}))
    }

    /// 404 where there are none (smcb-unlocker).
    fn log_entries(&self, from: &str, to: &str) -> Response<Body> {
        let (Ok(from), Ok(to)) = (from.parse::<u64>(), to.parse::<u64>()) else {
            return bare(StatusCode::BAD_REQUEST);
        };
        let mut entries = self.folder.value("protokoll").unwrap_or_default();
        if let Some(entries) = entries.as_array_mut() {
            let time = |entry: &Value| entry.get("timestamp").and_then(Value::as_u64);
            entries.retain(|entry| time(entry).is_some_and(|time| (from..=to).contains(&time)));
            if self.options.role == Role::Remote {
                entries.retain(|entry| !entry.to_string().contains("cardHolder"));
            }
        }
        if entries.as_array().is_none_or(Vec::is_empty) {
            bare(StatusCode::NOT_FOUND)
        } else {
            value(&entries)
        }
    }

    /// Assumed of `strict=true`: just the members that the box holds, no more and no less.
    fn settings(&self, name: &str, strict: bool, body: &[u8]) -> Response<Body> {
        if self.closed_to_writes(name) {
            return bare(StatusCode::FORBIDDEN);
        }
        let Ok(Value::Object(sent)) = serde_json::from_slice(body) else {
            return bare(StatusCode::BAD_REQUEST);
        };
        let stored = self.folder.change(|folder| {
            let held = folder.value(name)?;
            let whole = held.as_object().is_some_and(|held| {
                held.len() == sent.len() && held.keys().all(|key| sent.contains_key(key))
            });
            if strict && whole {
                folder.put(name, &Value::Object(sent)).map(|()| StatusCode::OK)
            } else {
                Ok(StatusCode::BAD_REQUEST)
            }
        });
        bare(stored.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

fn file(words: &[&str]) -> Option<&'static str> {
    Some(match words {
        ["ak", "dienste", "status"] => "status",
        ["ak", "dienste", "status", "version"] => "version",
        ["ak", "dienste", "status", "releaseinfos"] => "releaseinfos",
        ["nk", "status", "basic"] => "basic",
        ["nk", "ntp", "zeit"] => "zeit",
        ["nk", "licence", "features"] => "features",
        ["ak", "info"] => "info",
        ["ak", "info", "mandanten"] => "mandanten",
        ["ak", "info", "clientsysteme"] => "clientsysteme",
        ["ak", "dienste", "karten"] => "karten",
        ["ak", "dienste", "kartenterminals"] => "kartenterminals",
        ["nk", "protokoll", "einstellungen"] => PROTOCOL,
        ["ak", "dienste", "ksr", "informationen", "updates-konnektor"] => "updates",
        ["ak", "dienste", "ksr", "einstellungen"] => "ksr",
        _ => return None,
    })
}

/// eGK and HBA are hidden from the Remote-Admin (HSK manual, table 3).
fn hide_persons(cards: &mut Value) {
    if let Some(cards) = cards.as_array_mut() {
        cards.retain(|card| !matches!(card.get("type").and_then(Value::as_str), Some("EGK" | "HBA")));
    }
}
