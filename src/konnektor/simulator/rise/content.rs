//! What a simulated RISE box holds at first: its status and its terminals, shaped after the public samples.
//! Absent on purpose: cards; its terminals tell the used slots' numbers only.

use serde_json::{Value, json};

use super::super::folder::Folder;

pub(in super::super) fn write_missing(folder: &Folder) -> std::io::Result<()> {
    folder.write_missing(
        "status",
        || json!({"vpnState": {"tiOnline": true, "sisOnline": false}, "serialNumber": "DEMO-0000-0003"}),
    )?;
    folder.write_missing("ctm", || json!([terminal(1, "AKTIV", true), terminal(2, "BEKANNT", false)]))
}

/// One as `discover` and `add` make it known.
pub(super) fn known(number: usize, ip: &str, port: u64) -> Value {
    let mut terminal = terminal(number, "BEKANNT", false);
    if let Some(terminal) = terminal.as_object_mut() {
        terminal.insert("IP_ADDRESS".into(), json!(ip));
        terminal.insert("TCP_PORT".into(), json!(port));
    }
    terminal
}

fn terminal(number: usize, correlation: &str, connected: bool) -> Value {
    let mac = format!("00:0D:F8:00:02:{number:02X}");
    json!({"ACTIVEROLE": "USER", "ADMIN_USERNAME": "", "CONNECTED": connected, "CORRELATION": correlation, "CTID": mac,
        "EHEALTH_INTERFACE_VERSION": "1.0.0", "HOSTNAME": format!("ORGA6100-DEMO{number}"), "IP_ADDRESS": format!("192.168.2.13{number}"),
        "IS_PHYSICAL": true, "MAC_ADDRESS": mac, "PRODUCTINFORMATION": {"fwVersionLocal": "3.9.2", "productCode": "ORGA6100"},
        "SLOTCOUNT": 4, "SLOTS_USED": [4], "SMKT_AUT": "REVNTyBDRVJUSUZJQ0FURSBTTUtU", "TCP_PORT": 8278, "VALID_VERSION": true})
}
