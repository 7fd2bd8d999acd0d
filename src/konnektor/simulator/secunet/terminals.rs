//! What a simulated secunet box lets do with a card terminal: activate, connect, unassign, remove.
//! Absent on purpose: finding and pairing one; the paths are not publicly known.

use axum::body::Body;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::super::Shared;
use super::super::replies::bare;

impl Shared {
    /// 404 for an unknown terminal, 409 where its present state has no such step.
    pub(super) fn terminal(&self, method: &Method, id: &str, step: &[&str]) -> Response<Body> {
        if self.closed_to_writes("kartenterminals") {
            return bare(StatusCode::FORBIDDEN);
        }
        let done = self.folder.change(|folder| {
            let mut terminals = folder.value("kartenterminals")?;
            let Some(list) = terminals.as_array_mut() else { return Ok(StatusCode::NOT_FOUND) };
            let at = list.iter().position(|terminal| terminal.get("internalId") == Some(&json!(id)));
            let Some(at) = at else { return Ok(StatusCode::NOT_FOUND) };
            let status = if method == Method::DELETE && step.is_empty() {
                list.remove(at);
                StatusCode::OK
            } else {
                list.get_mut(at).map_or(StatusCode::NOT_FOUND, |terminal| stepped(method, step, terminal))
            };
            if status == StatusCode::OK {
                folder.put("kartenterminals", &terminals)?;
            }
            Ok::<_, std::io::Error>(status)
        });
        bare(done.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

fn stepped(method: &Method, step: &[&str], terminal: &mut Value) -> StatusCode {
    let Some(terminal) = terminal.as_object_mut() else { return StatusCode::NOT_FOUND };
    let now = terminal.get("correlation").and_then(Value::as_str).unwrap_or_default();
    let put = method == Method::PUT;
    let (correlation, connected) = match (put, step, now) {
        (true, ["aktivieren"], "GEPAIRT" | "AKTIV") => ("AKTIV", None),
        (true, ["verbinden"], "AKTIV") => ("AKTIV", Some(true)),
        (false, ["aktivieren"], "AKTIV") => ("GEPAIRT", Some(false)),
        (false, ["zuweisen"], "ZUGEWIESEN" | "GEPAIRT" | "AKTIV") => ("BEKANNT", Some(false)),
        (true, ["aktivieren" | "verbinden"], _) | (false, ["aktivieren" | "zuweisen"], _) => {
            return StatusCode::CONFLICT;
        }
        _ => return StatusCode::NOT_FOUND,
    };
    terminal.insert("correlation".into(), json!(correlation));
    if let Some(connected) = connected {
        terminal.insert("connected".into(), json!(connected));
    }
    StatusCode::OK
}
