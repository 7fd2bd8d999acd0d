//! What a simulated RISE box answers: the session by cookie, `Referer` and `X-Requested-With`, status, restart, its terminals.
//! Absent on purpose: export and import, the Infomodell, the TI-Gateway's proxy and its token.

pub(super) mod content;

use axum::body::Body;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::koco::SESSION_COOKIE;
use super::network::Own;
use super::replies::{bare, set, value, xml};
use super::{Shared, directory, lock, random};

const CORRELATIONS: [&str; 5] = ["BEKANNT", "ZUGEWIESEN", "GEPAIRT", "AKTIV", "AKTUALISIEREND"];

impl Shared {
    pub(super) async fn rise(&self, request: Request<Body>, own: &Own) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(body) = axum::body::to_bytes(body, 1 << 20).await else {
            return bare(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let path = parts.uri.path();
        if parts.method == Method::GET && path == "/connector.sds" {
            return xml(directory::directory(self.options.make, &lock(&self.firmware)));
        }
        if !self.is_of_its_own_page(&parts.headers) {
            return bare(StatusCode::FORBIDDEN);
        }
        let session = self.cookie_session(&parts.headers);
        if parts.method == Method::GET && path == "/api/v1/users/current" {
            return self.current(session.is_some());
        }
        let Some((id, session)) = session else { return bare(StatusCode::FORBIDDEN) };
        if parts.method == Method::POST && path == "/api/v1/auth/login" {
            return self.rise_login(&id, &body);
        }
        if !session.logged_in {
            return self.no_session();
        }
        match (&parts.method, path) {
            (&Method::GET, "/api/v1/status") if self.closed_to_reads("status") => bare(StatusCode::FORBIDDEN),
            (&Method::GET, "/api/v1/status") => self.folder.answer("status").await,
            // Its body, which may hold the password again, is not kept.
            (&Method::POST, "/api/v1/mgm/reboot") => {
                lock(&self.performed).push(("reboot".into(), Value::Null));
                self.reboot(own).await;
                bare(StatusCode::OK)
            }
            (method, path) => match path.strip_prefix("/api/v1/ctm/") {
                Some(rest) => self.ctm(method, rest, &body),
                None => bare(StatusCode::NOT_FOUND),
            },
        }
    }

    /// Both headers, as the box's own pages send them.
    fn is_of_its_own_page(&self, headers: &HeaderMap) -> bool {
        let base = format!("https://{}", *lock(&self.address));
        let is = |name: &str, wanted: &str| {
            headers.get(name).is_some_and(|value| value.as_bytes() == wanted.as_bytes())
        };
        is("referer", &base) && is("x-requested-with", "RISEHttpRequest")
    }

    fn current(&self, known: bool) -> Response<Body> {
        let mut answer = bare(StatusCode::NO_CONTENT);
        if !known {
            let id = self.new_session(false);
            set(&mut answer, header::SET_COOKIE, &format!("{SESSION_COOKIE}={id}; Path=/; Secure; HttpOnly"));
        }
        answer
    }

    fn rise_login(&self, id: &str, body: &[u8]) -> Response<Body> {
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = |member: &str| sent.get(member).and_then(Value::as_str);
        if said("user") != Some(self.options.user.as_str())
            || said("password") != Some(self.options.password.reveal())
        {
            return bare(StatusCode::UNAUTHORIZED);
        }
        if let Some(session) = lock(&self.sessions).get_mut(id) {
            session.logged_in = true;
        }
        bare(StatusCode::OK)
    }

    fn ctm(&self, method: &Method, rest: &str, body: &[u8]) -> Response<Body> {
        let read = method == Method::GET;
        if (read && self.closed_to_reads("ctm")) || (!read && self.closed_to_writes("ctm")) {
            return bare(StatusCode::FORBIDDEN);
        }
        let done = self.folder.change(|folder| {
            let mut terminals = folder.value("ctm")?;
            let Some(list) = terminals.as_array_mut() else { return Ok(bare(StatusCode::NOT_FOUND)) };
            if read {
                let Some(id) = rest.strip_prefix("state/") else {
                    return Ok(if rest == "state" { value(&terminals) } else { bare(StatusCode::NOT_FOUND) });
                };
                let found =
                    list.iter().find(|terminal| is(terminal, &id.replace("%3A", ":").replace("%3a", ":")));
                return Ok(found.map_or_else(|| bare(StatusCode::NOT_FOUND), value));
            }
            let step = rest.strip_prefix("terminals/").filter(|_| method == Method::POST);
            let Some(step) = step else { return Ok(bare(StatusCode::NOT_FOUND)) };
            let body: Value = match body {
                [] => Value::Null,
                some => match serde_json::from_slice(some) {
                    Ok(body) => body,
                    Err(_) => return Ok(bare(StatusCode::BAD_REQUEST)),
                },
            };
            let answer = self.step(step, &body, list);
            if answer.status().is_success() {
                folder.put("ctm", &terminals)?;
            }
            Ok::<_, std::io::Error>(answer)
        });
        done.unwrap_or_else(|_| bare(StatusCode::INTERNAL_SERVER_ERROR))
    }

    fn step(&self, step: &str, body: &Value, list: &mut Vec<Value>) -> Response<Body> {
        let said = |member: &str| body.get(member).and_then(Value::as_str);
        let port = body.get("tcpPort").and_then(Value::as_u64);
        match (step, said("ipAddress"), port) {
            ("discover", _, _) => return value(&Value::Array(list.clone())),
            ("add", Some(ip), Some(port)) => {
                list.push(content::known(list.len() + 1, ip, port));
                return bare(StatusCode::OK);
            }
            _ => {}
        }
        let Some(id) = said("ctId") else { return bare(StatusCode::BAD_REQUEST) };
        let found = list.iter_mut().find(|terminal| is(terminal, id)).and_then(Value::as_object_mut);
        let Some(terminal) = found else { return bare(StatusCode::NOT_FOUND) };
        let now = terminal.get("CORRELATION").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut put = |member: &str, new: Value| drop(terminal.insert(member.to_owned(), new));
        match (step, now.as_str()) {
            ("assign", "BEKANNT") => put("CORRELATION", json!("ZUGEWIESEN")),
            ("begin-session", "AKTIV") => put("CONNECTED", json!(true)),
            ("end-session", "AKTIV") => put("CONNECTED", json!(false)),
            ("change-correlation", _) => match said("correlation") {
                Some(new) if CORRELATIONS.contains(&new) => put("CORRELATION", json!(new)),
                _ => return bare(StatusCode::BAD_REQUEST),
            },
            ("pairing/initialize", "ZUGEWIESEN") => {
                let session = random();
                lock(&self.performed)
                    .push(("pairing/initialize".into(), json!({"ctId": id, "tlsSessionId": session})));
                return value(&json!({"ctId": id, "fingerprint": fingerprint(id), "tlsSessionId": session}));
            }
            ("pairing/finalize", "ZUGEWIESEN") => {
                let begun = json!({"ctId": id, "tlsSessionId": said("tlsSessionId")});
                let known = lock(&self.performed).iter().any(|(_, body)| *body == begun);
                if !known || said("fingerprint") != Some(fingerprint(id).as_str()) {
                    return bare(StatusCode::BAD_REQUEST);
                }
                put("CORRELATION", json!("GEPAIRT"));
            }
            ("assign" | "begin-session" | "end-session" | "pairing/initialize" | "pairing/finalize", _) => {
                return bare(StatusCode::CONFLICT);
            }
            _ => return bare(StatusCode::NOT_FOUND),
        }
        bare(StatusCode::OK)
    }
}

fn is(terminal: &Value, id: &str) -> bool {
    terminal.get("CTID").and_then(Value::as_str) == Some(id)
}

fn fingerprint(id: &str) -> String {
    format!("DE:MO:{id}")
}
