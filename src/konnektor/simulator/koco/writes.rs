//! What changes a simulated `KoCoBox`: `json-store`, `perform`, and the hands that reset, pair and update it.
//! Absent on purpose: the real box's way of writing; it is not publicly known, and `json-store` is an assumption.

use std::net::IpAddr;

use axum::body::Body;
use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::super::folder::{Folder, Received};
use super::super::network::{Own, Turn};
use super::super::replies::{self, refusal, status};
use super::super::{HandError, Shared, lock};
use super::content::{LAN_ADDRESS, SERVICES, factory};
use super::physical::mac;
use crate::names::ServiceName;

/// Those whose body is looked into; all others are taken as they are, of whatever size.
const LOOKED_INTO: [&str; 5] =
    ["cardservice", "cardterminals", "cardterminalservice", "lanwanservice", "protocolservice"];
const PAIRED_ANEW_FROM: usize = 11;
const GAINED: (&str, &str) = ("LOG_NEW", "X");

/// A refused write.
type Refused = (StatusCode, &'static str);

fn broken(_: std::io::Error) -> Refused {
    (StatusCode::INTERNAL_SERVER_ERROR, "storage")
}

/// What `lanwanservice` calls the box's address.
pub(in super::super) fn lan_address(folder: &Folder) -> String {
    let held = folder.value("lanwanservice").unwrap_or_default();
    held.get(LAN_ADDRESS).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Shared {
    /// One service's whole value.
    pub(super) async fn store(
        &self,
        service: &str,
        headers: &HeaderMap,
        body: Body,
        own: &Own,
    ) -> Response<Body> {
        let known = service.parse::<ServiceName>().is_ok_and(|name| self.folder.has(name.as_str()));
        if self.closed_to_writes(service) {
            return status(StatusCode::FORBIDDEN);
        }
        if !known {
            return refusal(StatusCode::NOT_FOUND, "unknown service");
        }
        if service == "infoservice" {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "read only");
        }
        let is_json = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        if !is_json {
            return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json is wanted");
        }
        let received = match self.folder.receive(body).await {
            Ok(received) => received,
            Err(status) => return refusal(status, "the body is not taken"),
        };
        match self.folder.change(|folder| self.apply(folder, service, &received)) {
            Ok(None) => {}
            Ok(Some(to)) => {
                let to = (to, lock(&self.address).port()).into();
                if *lock(&self.address) != to {
                    own.finish();
                    self.turn(Turn::Move(to, self.options.old_address_closes_after)).await;
                }
            }
            Err((status, message)) => return refusal(status, message),
        }
        replies::value(&json!({"result": "OK"}))
    }

    /// Gives the address the box is to move to, where the write says one.
    fn apply(&self, folder: &Folder, service: &str, received: &Received) -> Result<Option<IpAddr>, Refused> {
        if !folder.same_kind(service, received) {
            return Err((StatusCode::BAD_REQUEST, "the value's kind is wrong"));
        }
        if !LOOKED_INTO.contains(&service) {
            return folder.keep(service, received).map(|()| None).map_err(broken);
        }
        let mut value = received.value().map_err(broken)?;
        let held = folder.value(service).unwrap_or_default();
        let mut moves = None;
        match service {
            "cardterminals" => paired_as_before(&mut value, &held)?,
            "lanwanservice" => moves = self.address_of(&value, &held)?,
            "protocolservice" => keep_gained(&mut value, &held),
            _ => {}
        }
        let mut physical = lock(&self.physical);
        physical.look(folder);
        physical.show(service, &mut value);
        physical.save(folder).map_err(broken)?;
        folder.put(service, &value).map_err(broken)?;
        Ok(moves)
    }

    fn address_of(&self, value: &Value, held: &Value) -> Result<Option<IpAddr>, Refused> {
        let Some(wanted) = value.get(LAN_ADDRESS) else { return Ok(None) };
        if held.get(LAN_ADDRESS) == Some(wanted) {
            return Ok(None);
        }
        match wanted.as_str() {
            Some(home) if home == self.home.0 => Ok(Some(self.home.1)),
            other => match other.and_then(|text| text.parse().ok()) {
                Some(address) => Ok(Some(address)),
                None => Err((StatusCode::BAD_REQUEST, "no address")),
            },
        }
    }

    pub(super) async fn perform(&self, action: &str, body: Body, own: &Own) -> Response<Body> {
        let Ok(body) = axum::body::to_bytes(body, 1 << 20).await else {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long");
        };
        let body = match body.as_ref() {
            [] => Value::Null,
            some => match serde_json::from_slice(some) {
                Ok(body) => body,
                Err(_) => return refusal(StatusCode::BAD_REQUEST, "the body is not JSON"),
            },
        };
        let done = match action {
            "reboot" => Ok(()),
            "delete-ct" => self.folder.change(|folder| delete_terminal(folder, &body)),
            other if self.options.actions.iter().any(|action| action == other) => Ok(()),
            _ => Err((StatusCode::NOT_FOUND, "unknown action")),
        };
        if let Err((status, message)) = done {
            return refusal(status, message);
        }
        lock(&self.performed).push((action.to_owned(), body));
        if action == "reboot" {
            self.reboot(own).await;
        }
        replies::value(&json!({"result": "OK"}))
    }

    pub(in super::super) fn factory_reset(&self) -> std::io::Result<()> {
        self.folder.change(|folder| {
            let mut physical = lock(&self.physical);
            physical.look(folder);
            physical.save(folder)?;
            let held = folder.value("protocolservice").unwrap_or_default();
            for service in SERVICES {
                let at_factory = factory(service, &lan_address(folder), &self.options.user);
                let Some(mut value) = at_factory else { continue };
                if service == "protocolservice" {
                    keep_gained(&mut value, &held);
                }
                physical.show(service, &mut value);
                folder.put(service, &value)?;
            }
            Ok(())
        })
    }

    pub(in super::super) fn pair(&self, wanted: &str) -> Result<String, HandError> {
        self.folder.change(|folder| {
            let mut terminals = folder.value("cardterminals")?;
            let wanted = mac(&json!({"MAC_ADRESS": wanted}));
            let fresh = fresh_id(&terminals);
            let mut all = terminals.as_array_mut().into_iter().flatten();
            let terminal = all
                .find(|terminal| mac(terminal) == wanted)
                .and_then(Value::as_object_mut)
                .ok_or(HandError::NoTerminal)?;
            let paired_anew = terminal.get("CORRELATION") != Some(&json!("aktiv"));
            terminal.insert("CORRELATION".into(), json!("aktiv"));
            terminal.insert("CONNECTED".into(), json!(true));
            let mut id = terminal.get("CTID").and_then(Value::as_str).unwrap_or_default().to_owned();
            if paired_anew && self.options.new_ids_on_pairing {
                terminal.insert("CTID".into(), json!(fresh));
                let mut physical = lock(&self.physical);
                physical.look(folder);
                physical.rename(&id, &fresh);
                physical.save(folder)?;
                for service in ["cardservice", "cardterminalservice"] {
                    let mut value = folder.value(service)?;
                    physical.show(service, &mut value);
                    folder.put(service, &value)?;
                }
                id = fresh;
            }
            folder.put("cardterminals", &terminals)?;
            Ok(id)
        })
    }

    pub(in super::super) fn update_firmware(&self, firmware: &str) -> std::io::Result<()> {
        self.folder.change(|folder| {
            for (service, member, new) in
                [("infoservice", "FW_VERSION", firmware), ("protocolservice", GAINED.0, GAINED.1)]
            {
                let mut value = folder.value(service)?;
                if let Some(object) = value.as_object_mut() {
                    object.insert(member.to_owned(), json!(new));
                }
                folder.put(service, &value)?;
            }
            firmware.clone_into(&mut lock(&self.firmware));
            Ok(())
        })
    }
}

/// A terminal is paired where it was, never because a write says so.
fn paired_as_before(value: &mut Value, held: &Value) -> Result<(), Refused> {
    for terminal in value.as_array_mut().into_iter().flatten() {
        let Some(key) = mac(terminal) else {
            return Err((StatusCode::BAD_REQUEST, "a terminal without MAC_ADRESS"));
        };
        let before = held.as_array().into_iter().flatten().find(|held| mac(held).as_ref() == Some(&key));
        let state = |member: &str| before.and_then(|before| before.get(member)).cloned();
        let (correlation, connected) = (state("CORRELATION"), state("CONNECTED"));
        if let Some(terminal) = terminal.as_object_mut() {
            terminal.insert("CORRELATION".into(), correlation.unwrap_or_else(|| json!("bekannt")));
            terminal.insert("CONNECTED".into(), connected.unwrap_or_else(|| json!(false)));
        }
    }
    Ok(())
}

fn keep_gained(value: &mut Value, held: &Value) {
    if let (Some(value), Some(gained)) = (value.as_object_mut(), held.get(GAINED.0)) {
        value.entry(GAINED.0).or_insert_with(|| gained.clone());
    }
}

fn delete_terminal(folder: &Folder, body: &Value) -> Result<(), Refused> {
    let Some(id) = body.get("CTID").and_then(Value::as_str) else {
        return Err((StatusCode::BAD_REQUEST, "CTID is wanted"));
    };
    let mut terminals = folder.value("cardterminals").map_err(broken)?;
    let Some(list) = terminals.as_array_mut() else { return Err((StatusCode::NOT_FOUND, "no terminals")) };
    let before = list.len();
    list.retain(|terminal| terminal.get("CTID").and_then(Value::as_str) != Some(id));
    if list.len() == before {
        return Err((StatusCode::NOT_FOUND, "unknown CTID"));
    }
    folder.put("cardterminals", &terminals).map_err(broken)
}

fn fresh_id(terminals: &Value) -> String {
    let taken = |id: &String| {
        terminals.as_array().into_iter().flatten().any(|terminal| terminal.get("CTID") == Some(&json!(id)))
    };
    let ids = (PAIRED_ANEW_FROM..).map(|number| format!("CT_ID_{number:04}"));
    ids.filter(|id| !taken(id)).take(1).collect()
}
