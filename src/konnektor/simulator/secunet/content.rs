//! What a simulated secunet box holds at first, one file a resource, shaped after the public samples of its answers.
//! Absent on purpose: anything of a real practice. The patients' names are there to be found missing in every backup.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::super::folder::Folder;
use super::super::koco::content::{PATIENTS, pkcs12};

/// Milliseconds, 2026-01-01T00:00:00Z.
const EPOCH: u64 = 1_767_225_600_000;
const TERMINALS: [&str; 2] = ["1f0e7a52-6c1d-4c39-9f62-0a4a3c8d1001", "1f0e7a52-6c1d-4c39-9f62-0a4a3c8d1002"];
const PLACES: [&str; 2] = ["5b2c9d10-3a44-4f0b-8a6e-77d1c2e02001", "5b2c9d10-3a44-4f0b-8a6e-77d1c2e02002"];

/// The resources' files.
pub(super) const RESOURCES: [&str; 14] = [
    "status",
    "version",
    "releaseinfos",
    "basic",
    "zeit",
    "features",
    "info",
    "mandanten",
    "clientsysteme",
    "karten",
    "kartenterminals",
    "protokoll",
    "updates",
    "ksr",
];
/// The file of the protocol settings; its path ends as the one of the KSR settings does.
pub(super) const PROTOCOL: &str = "protokolleinstellungen";

pub(in super::super) fn write_missing(folder: &Folder) -> std::io::Result<()> {
    for name in RESOURCES.into_iter().chain([PROTOCOL]) {
        folder.write_missing(name, || of(name))?;
    }
    Ok(())
}

fn of(name: &str) -> Value {
    match name {
        "status" => {
            json!({"connectorStarted": true, "vpnTiConnected": true, "vpnTiConnectionStateDate": EPOCH,
            "vpnSisConnected": false, "vpnSisConnectionStateDate": EPOCH, "restartRequired": false, "operatingStates": [
            {"mainCondition": "EC_FW_UPDATE_AVAILABLE", "subCondition": null, "severity": "INFO", "severityLevel": 1,
             "errorType": "OPERATIONAL", "errorTypeLevel": 1, "value": false, "parameters": [], "validFrom": EPOCH}]})
        }
        "version" => json!({"fwVersion": "2.0.2", "hwVersion": "2.0.0", "productName": "secunet konnektor",
            "productType": "Highspeedkonnektor", "serialNumber": "DEMO-0000-0002", "buildTime": "2024-08-30T00:00:00Z"}),
        "releaseinfos" => json!([{"fwVersion": "2.0.2", "releaseDate": EPOCH, "notes": "Demo"}]),
        "basic" => {
            json!({"cpuTemperature": 51.5, "memTotal": 8_192_000, "memFree": 4_096_000, "uptime": 86_400,
            "loadAvg1": 0.2, "loadAvg5": 0.3, "loadAvg15": 0.25})
        }
        "zeit" => json!({"time": EPOCH, "timeZone": "Europe/Berlin"}),
        "features" => json!([{"feature": "LAUFZEITVERLAENGERUNG", "licenced": true, "validFrom": EPOCH,
            "validTo": EPOCH + 63_072_000_000_u64, "count": 1, "active": true}]),
        "info" => json!({
            "arbeitsplaetze": [
                {"internalId": PLACES[0], "arbeitsplatzId": "Empfang", "localCardTerminalInternalIds": [TERMINALS[0]], "remoteCardTerminalInternalIds": []},
                {"internalId": PLACES[1], "arbeitsplatzId": "Sprechzimmer1", "localCardTerminalInternalIds": [TERMINALS[1]], "remoteCardTerminalInternalIds": [TERMINALS[0]]}],
            "aufrufkontexte": [{"arbeitsplatzInternalId": PLACES[0], "arbeitsplatzId": "Empfang", "clientSystemId": "PVS", "mandantId": "DE-M-HQ"}]}),
        "mandanten" => json!([{"internalId": "9e107d9d-372b-4b68-8a2d-31d1c2e03001", "mandantId": "DE-M-HQ",
            "managedSmbs": [{"iccsn": "80276883110000000001", "telematikId": null, "commonName": null, "hsm": false, "autoPin": false,
                "activationCode": null, "autoPinVerificationEnabled": false}],
            "assignedCardTerminalInternalIds": TERMINALS,
            "remotePinCardTerminals": [{"arbeitsplatzInternalId": PLACES[0], "cardTerminalInternalId": TERMINALS[1]}],
            "validateTelematikId": false}]),
        "clientsysteme" => {
            json!([{"internalId": "0cc175b9-c0f1-4b6a-831c-399e2697a001", "clientSystemId": "PVS", "certificates": [
            {"internalId": "0cc175b9-c0f1-4b6a-831c-399e2697a002", "filename": "PVS.p12", "keystore": pkcs12(3),
             "certificate": BASE64_STANDARD.encode("DEMO CERTIFICATE PVS"), "cryptType": "ECC", "eccCurve": "NIST",
             "validity": {"valid": true, "notBefore": EPOCH, "notAfter": EPOCH + 157_680_000_000_u64}}]}])
        }
        "karten" => cards(),
        "kartenterminals" => json!([terminal(0), terminal(1)]),
        "protokoll" => {
            json!([{"type": "OP", "timestamp": EPOCH / 1000, "timestampAsDateTime": "2026-01-01T00:00:00Z",
            "severity": "I", "message": "CARD/INSERTED cardHolder=\"Erika Testpatientin\"", "bytes": 51}])
        }
        "updates" => json!({"lastUpdate": EPOCH, "updates": []}),
        "ksr" => json!({"autoUpdateCheck": true, "autoUpdateDownload": false, "supportTrialUpdates": false,
            "autoActivateInventoryNetworks": true, "autoUpdate": false, "autoUpdateWave": "EARLY", "autoUpdateWeekDay": "MONDAY",
            "autoUpdateConnectorDependsOnFinishedTerminalUpdates": true, "autoUpdateTimeHour": "01", "autoUpdateTimeMinute": "00"}),
        PROTOCOL => json!({"logSuccessfulCryptoOps": "DISABLED", "securityLogDays": 180, "logInfo": [
            {"fmName": "system", "severity": "WARNING", "logDays": 30, "performanceLog": "DISABLED"},
            {"fmName": "VSDM", "severity": "INFO", "logDays": 30, "performanceLog": "DISABLED"}]}),
        _ => json!({}),
    }
}

fn cards() -> Value {
    json!([
        {"cardHandle": "SMC-B-1", "type": "SMC_B", "iccsn": "80276883110000000001", "cardTerminalInternalId": TERMINALS[0], "slotNumber": 2, "commonName": "Demopraxis"},
        {"cardHandle": "EGK-7", "type": "EGK", "iccsn": "80276881049999990001", "cardTerminalInternalId": TERMINALS[0], "slotNumber": 1, "cardHolderName": PATIENTS[0], "kvnr": "X110400001"},
        {"cardHandle": "HBA-3", "type": "HBA", "iccsn": "80276883110000000009", "cardTerminalInternalId": TERMINALS[1], "slotNumber": 1, "cardHolderName": PATIENTS[2]}])
}

fn terminal(number: usize) -> Value {
    let (id, label, patient, kvnr) = if number == 0 {
        (TERMINALS[0], "Empfang", PATIENTS[0], "X110400001")
    } else {
        (TERMINALS[1], "Sprechzimmer 1", PATIENTS[1], "X110400002")
    };
    json!({"internalId": id, "cardTerminalId": format!("00:0D:F8:00:01:0{number}"), "label": label, "physical": true,
        "ipAddress": format!("192.168.2.12{number}"), "port": 4742, "hostname": format!("ORGA6100-DEMO{number}"),
        "macAddress": format!("00:0D:F8:00:01:0{number}"), "adminUsername": "admin", "adminPassword": null,
        "pairingConnectorSubjectName": "CN=80276883110000000077, O=secunet", "expirationAuthCertificate": EPOCH + 94_608_000_000_u64,
        "authCertificate": BASE64_STANDARD.encode("DEMO CERTIFICATE SMKT"), "slotCount": 4, "slotInfos": [
            {"slotNumber": 1, "cardHandle": format!("EGK-{number}"), "type": "EGK", "iccsn": "80276881049999990001", "cardHolderName": patient, "kvnr": kvnr},
            {"slotNumber": 2, "cardHandle": "SMC-B-1", "type": "SMC_B", "iccsn": "80276883110000000001", "commonName": "Demopraxis"}],
        "productinformation": {"productCode": "ORGA6100", "fwVersionLocal": "3.9.2"}, "validSicctVersion": true, "correlation": "AKTIV",
        "renewPairingNeeded": false, "connected": true, "userRole": "USER", "autoUpdate": false, "protocolErrorMax": 3,
        "protocolErrorLifetime": {"amount": 600, "unit": "SECONDS"}, "cardStatusSwallowedCheckEnabled": true})
}
