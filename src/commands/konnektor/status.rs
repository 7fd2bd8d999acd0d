//! `konnektor status`: what the box says of itself, and how it is.
//! Absent on purpose: cards and persons; the profile names what is shown.

use serde_json::json;

use super::super::{Ended, Gone, Out, Works};
use super::{failed, visitor};
use crate::asks::{Command, Form};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::{Identity, Status, status_of};
use crate::names::KonnektorId;
use crate::prompt::printable;

/// Runs it.
pub(super) async fn status(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    id: &KonnektorId,
) -> Result<Ended, Ended> {
    let (driver, _) = works.konnektors.open(id, visitor(started), out).await?;
    let identity = match driver.identify().await {
        Ok(identity) => identity,
        Err(e) => return Err(failed(out, &e).await),
    };
    let status = status_of(driver.as_ref()).await;
    driver.logout().await;
    let status = match status {
        Ok(status) => status,
        Err(e) => return Err(failed(out, &e).await),
    };
    let known = driver.profile().knows_firmware(&identity.firmware);
    told(out, started.ask().form() == Form::Json, &id.to_string(), (&identity, &status, known)).await?;
    Ok(Ended::done())
}

/// Says what a box is and how it is; `known`: its firmware may be written to.
pub(crate) async fn told(
    out: &Out,
    json: bool,
    name: &str,
    (identity, status, known): (&Identity, &Status, bool),
) -> Result<(), Gone> {
    if json {
        let lines = status.lines.iter().map(|line| {
            json!({"what": line.english, "value": line.value.as_ref().map(crate::konnektor::Json::value)})
        });
        let whole = json!({
            "konnektor": name,
            "product": identity.product_name,
            "vendor": identity.vendor_id,
            "firmware": identity.firmware,
            "firmware_known": known,
            "hardware": identity.hardware,
            "serial": status.serial,
            "status": lines.collect::<Vec<_>>(),
        });
        return out.json(&whole).await;
    }
    let german = out.language == Language::German;
    let firmware = match (known, german) {
        (true, _) => identity.firmware.clone(),
        (false, false) => format!("{} (not known here: read only)", identity.firmware),
        (false, true) => format!("{} (hier nicht bekannt: nur lesen)", identity.firmware),
    };
    let serial = status.serial.clone().unwrap_or_else(|| "?".into());
    let rows = [
        ("Konnektor", name.to_owned()),
        (out.pick("Product", "Produkt"), identity.product_name.clone()),
        ("Firmware", firmware),
        ("Hardware", identity.hardware.clone()),
        (out.pick("Serial number", "Seriennummer"), serial),
    ];
    for (what, value) in rows {
        out.line(format!("{what}\t{}", printable(&value))).await?;
    }
    for line in &status.lines {
        let name = if german { &line.german } else { &line.english };
        let value = line.value.as_ref().map_or_else(
            || "?".to_owned(),
            |value| {
                let part = value.part();
                part.word().map_or_else(|| part.text().to_owned(), std::borrow::Cow::into_owned)
            },
        );
        out.line(format!("{name}\t{}", printable(&value.chars().take(2000).collect::<String>()))).await?;
    }
    Ok(())
}
